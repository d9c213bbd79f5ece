package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"regexp"
	"strconv"
	"strings"
)

// measureWeb takes the sizes of the browser SDK as it is served, and what it costs
// in Chromium beside its peers on the same page.
func measureWeb(ctx context.Context, _ string) ([]result, error) {
	var results []result
	var errs []error
	size := func(name, file string, atLeast, aim *float64) {
		info, err := os.Stat("internal/server/web/sdk/" + file)
		if err != nil {
			errs = append(errs, fmt.Errorf("%w: run make build", err))
			return
		}
		results = append(results, result{Name: name, Value: float64(info.Size()) / 1000, Unit: "KB", AtLeast: atLeast, Aim: aim})
	}
	size("causality.js, gzip", "causality.js.gz", pointer(4.096), pointer(3.277))
	size("causality-core.js, which it loads, gzip", "causality-core.js.gz", nil, nil)
	size("causality-worker.js, loaded in its place for the Go core, gzip", "causality-worker.js.gz", nil, nil)
	size("Go core as WebAssembly, brotli", "core.wasm.br", pointer(440), pointer(425))

	const mine = "track in the page, 4 properties, median: "
	goals := map[string][2]float64{
		mine + "TypeScript core":  {50, 25},
		mine + "WebAssembly core": {20, 8},
		"warm Worker ready":       {60, 40},
	}
	for _, script := range [][]string{{"../wasm/js/bench/peers", "measure.mjs"}, {"../wasm/js", "bench/wasm.mjs"}} {
		printed, err := printedBy(ctx, script[0], "node", script[1])
		errs = append(errs, err)
		for _, r := range printed {
			if strings.HasPrefix(r.Name, "causality") || strings.HasPrefix(r.Name, "Go core") {
				continue // measured above, as it is served
			}
			for name, goal := range goals {
				if strings.HasPrefix(r.Name, name) {
					r.AtLeast, r.Aim = &goal[0], &goal[1]
				}
			}
			results = append(results, r)
		}
	}
	return results, errors.Join(errs...)
}

// measureMobile takes the size of the library that phones get, built for this
// machine; the release workflow measures each of theirs.
func measureMobile(ctx context.Context, _ string) ([]result, error) {
	results, err := printedBy(ctx, "..", "mobile/bind", "size")
	for i := range results {
		results[i].AtLeast, results[i].Aim = pointer(1_200_000), pointer(1_000_000)
	}
	return results, err
}

// measureMatrix sends the same events from every platform over a line that loses
// answers to a server that is killed, and counts.
func measureMatrix(ctx context.Context, _ string) ([]result, error) {
	command := exec.CommandContext(ctx, "go", "test", "-count=1", "-run", "^TestEveryPlatformDeliversEachEventOnce$", "-v", ".")
	command.Dir = "e2e"
	out, err := command.CombinedOutput()
	match := regexp.MustCompile(`matrix: (\d+) events lost, (-?\d+) doubled`).FindSubmatch(out)
	if match == nil {
		return nil, fmt.Errorf("the matrix did not end: %w\n%s", err, out)
	}
	var results []result
	for i, what := range []string{"lost", "doubled"} {
		n, err := strconv.ParseFloat(string(match[i+1]), 64)
		if err != nil {
			return nil, err
		}
		results = append(results, result{Name: "events " + what + " over the matrix of platforms", Value: n, Unit: "events", AtLeast: pointer(0), Aim: pointer(0)})
	}
	return results, err
}

// measureQueue compares the SDK's queue file with what the disk allows.
func measureQueue(ctx context.Context) ([]result, error) {
	var results []result
	for _, q := range []struct {
		name, commits string
		atLeast       float64
	}{{"one commit per event", "1", 4000}, {"100 events per commit", "100", 200_000}} {
		value, err := goBench(ctx, "../sdk/driver/queue", "BenchmarkCommit/"+q.commits, "ev/s")
		if err != nil {
			return results, err
		}
		limit, err := goBench(ctx, "../sdk/driver/queue", "BenchmarkSync/"+q.commits, "ev/s")
		if err != nil {
			return results, err
		}
		share := value / limit
		results = append(results, result{Name: "queue file of the SDK, " + q.name, Value: value, Unit: "events/s", Peer: "plain file, synced as often", PeerValue: &limit, Ratio: &share, AtLeast: pointer(q.atLeast)})
	}
	return results, nil
}

// printedBy runs a program that prints results as JSON: a list, or one a line.
func printedBy(ctx context.Context, dir, program string, args ...string) ([]result, error) {
	command := exec.CommandContext(ctx, program, args...)
	command.Dir = dir
	if strings.Contains(program, "/") {
		command.Path = dir + "/" + program
		command.Dir = ""
	}
	command.Stderr = os.Stderr
	out, err := command.Output()
	if err != nil {
		return nil, fmt.Errorf("%s %s: %w", program, strings.Join(args, " "), err)
	}
	var list []result
	if json.Unmarshal(out, &list) == nil {
		return list, nil
	}
	lines := json.NewDecoder(bytes.NewReader(out))
	for lines.More() {
		var r result
		if err := lines.Decode(&r); err != nil {
			return nil, fmt.Errorf("%s %s printed no results: %w", program, strings.Join(args, " "), err)
		}
		list = append(list, r)
	}
	return list, nil
}
