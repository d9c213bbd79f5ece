// Command bench measures the platform against the goals it has set itself and
// prints a table; `make bench` runs it. Each figure comes from the real binary
// or from the packages' own Go benchmarks, beside its peer in the same run,
// because machines are noisy and only ratios travel.
package main

import (
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"text/tabwriter"
	"time"
)

// result is one line of latest.json.
type result struct {
	Name      string   `json:"name"`
	Value     float64  `json:"value"`
	Unit      string   `json:"unit"`
	Peer      string   `json:"peer,omitempty"`
	PeerValue *float64 `json:"peerValue,omitempty"`
	Ratio     *float64 `json:"ratio,omitempty"`
	AtLeast   *float64 `json:"atLeast,omitempty"` // the bound: a floor, or for times and memory a ceiling
	Aim       *float64 `json:"aim,omitempty"`
}

type report struct {
	Machine string   `json:"machine"`
	Date    string   `json:"date"`
	Results []result `json:"results"`
}

func main() {
	binary := flag.String("binary", "causality", "the server to measure")
	out := flag.String("out", "bench/latest.json", "where to keep the results")
	only := flag.String("only", "", "comma-separated: start,idle,ingest,sdk,web,mobile,matrix,trend,lake,publication")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()

	wanted := func(name string) bool { return *only == "" || strings.Contains(","+*only+",", ","+name+",") }
	measures := []struct {
		name string
		run  func(context.Context, string) ([]result, error)
	}{
		{"start", measureStart},
		{"idle", measureIdle},
		{"ingest", measureIngest},
		{"sdk", measureSDK},
		{"web", measureWeb},
		{"mobile", measureMobile},
		{"matrix", measureMatrix},
		{"trend", measureTrend},
		{"lake", measureLake},
		{"publication", measurePublication},
	}
	path, err := filepath.Abs(*binary)
	if err != nil {
		fail(err)
	}
	var all []result
	failed := false
	for _, measure := range measures {
		if !wanted(measure.name) || ctx.Err() != nil {
			continue
		}
		fmt.Fprintf(os.Stderr, "measuring %s\n", measure.name)
		results, err := measure.run(ctx, path)
		if err != nil {
			fmt.Fprintf(os.Stderr, "%s: %v\n", measure.name, err)
			failed = true
		}
		all = append(all, results...)
	}
	print(all)
	if err := write(*out, all); err != nil {
		fail(err)
	}
	if failed {
		os.Exit(1)
	}
}

func print(results []result) {
	table := tabwriter.NewWriter(os.Stdout, 2, 4, 2, ' ', 0)
	fmt.Fprintln(table, "what\tmeasured\tpeer\tratio\tat least\taim")
	for _, r := range results {
		fmt.Fprintf(table, "%s\t%s %s\t%s\t%s\t%s\t%s\n", r.Name, figure(&r.Value), r.Unit,
			strings.TrimSpace(r.Peer+" "+figure(r.PeerValue)), figure(r.Ratio), figure(r.AtLeast), figure(r.Aim))
	}
	table.Flush()
}

func figure(value *float64) string {
	switch {
	case value == nil:
		return ""
	case *value >= 1000:
		return fmt.Sprintf("%.0f", *value)
	default:
		return fmt.Sprintf("%.3g", *value)
	}
}

// write keeps the results, and of what was not measured this time the last ones.
func write(path string, results []result) error {
	var before report
	if raw, err := os.ReadFile(path); err == nil {
		if err := json.Unmarshal(raw, &before); err != nil {
			return fmt.Errorf("%s: %w", path, err)
		}
	}
	for _, old := range before.Results {
		if !slices.ContainsFunc(results, func(r result) bool { return r.Name == old.Name }) {
			results = append(results, old)
		}
	}
	raw, err := json.MarshalIndent(report{
		Machine: fmt.Sprintf("%s/%s, %d cores, %s", runtime.GOOS, runtime.GOARCH, runtime.NumCPU(), runtime.Version()),
		Date:    time.Now().UTC().Format(time.RFC3339),
		Results: results,
	}, "", "  ")
	if err != nil {
		return err
	}
	return os.WriteFile(path, append(raw, '\n'), 0o644)
}

func fail(err error) {
	fmt.Fprintln(os.Stderr, "bench:", err)
	os.Exit(1)
}

func pointer(value float64) *float64 { return &value }
