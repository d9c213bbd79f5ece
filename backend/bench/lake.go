package main

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"regexp"
	"strconv"
)

// measureLake loads, compacts and checks the sample shop's events, 5 million of
// them, in a process of its own, so that its memory counts against nobody.
func measureLake(ctx context.Context, _ string) ([]result, error) {
	results, err := printedBy(ctx, ".", "go", "run", "./bench/store", "--events", "5000000")
	if err != nil {
		return results, err
	}
	figures := []struct {
		name, bench, metric, unit string
		scale, atLeast, aim       float64
	}{
		{"planning a month over 100,000 manifest objects, after a run of the sink", "BenchmarkPlan/after-a-run", "ns/op", "ms", 1e-6, 50, 10},
		{"planning a month over 100,000 manifest objects, first question of a process", "BenchmarkPlan/first", "ns/op", "ms", 1e-6, 0, 0},
		{"write amplification: bytes written with the sink's and the projections against bytes sunk", "BenchmarkCompaction", "bytes-written/bytes-sunk", "×", 1, 3, 2},
	}
	for _, f := range figures {
		value, err := goBench(ctx, "internal/pipeline/lake", f.bench, f.metric)
		if err != nil {
			return results, err
		}
		r := result{Name: f.name, Value: value * f.scale, Unit: f.unit}
		if f.atLeast > 0 {
			r.AtLeast, r.Aim = pointer(f.atLeast), pointer(f.aim)
		}
		results = append(results, r)
	}
	cold, err := coldRead(ctx)
	return append(results, cold...), err
}

// measurePublication publishes 10,000 commits, and some at any moment.
func measurePublication(ctx context.Context, _ string) ([]result, error) {
	commit, err := goBench(ctx, "internal/pipeline/lake", "BenchmarkPublication", "ms/commit", "-benchtime", "1x")
	if err != nil {
		return nil, err
	}
	delay, err := goBench(ctx, "internal/pipeline/lake", "BenchmarkPublicationDelay", "s-delay-p95", "-benchtime", "1x")
	if err != nil {
		return nil, err
	}
	return []result{
		{Name: "publication to Iceberg, a commit after 10,000, median", Value: commit, Unit: "ms", AtLeast: pointer(100), Aim: pointer(30)},
		{Name: "publication to Iceberg, delay from the manifest, p95", Value: delay, Unit: "s", AtLeast: pointer(30), Aim: pointer(5)},
	}, nil
}

var coldRatio = regexp.MustCompile(`(\S+): \d+ objects of \d+ bytes, \d+ of the columns, \d+ fetched: ratio ([0-9.]+)`)

// coldRead reads what the test of the range cache measures on a real S3 server.
func coldRead(ctx context.Context) ([]result, error) {
	command := exec.CommandContext(ctx, "go", "test", "-count=1", "-v", "-run", "^TestAColdReadFetchesTheColumnsThatItReads$", "./internal/pipeline/lake")
	command.Stderr = os.Stderr
	out, err := command.Output()
	if err != nil {
		return nil, fmt.Errorf("cold read of S3: %w\n%s", err, out)
	}
	var results []result
	for _, match := range coldRatio.FindAllSubmatch(out, -1) {
		ratio, err := strconv.ParseFloat(string(match[2]), 64)
		if err != nil {
			return nil, err
		}
		results = append(results, result{Name: fmt.Sprintf("cold S3 read of a 30-day trend (%s), bytes fetched against those of its columns", match[1]), Value: ratio, Unit: "×",
			AtLeast: pointer(1.3), Aim: pointer(1.05)})
	}
	if len(results) == 0 {
		return nil, fmt.Errorf("cold read of S3 printed no ratio:\n%s", out)
	}
	return results, nil
}
