package main

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
)

// measureTrend compares a daily trend by event over 20 million events with
// ClickHouse on the same Parquet files, in the same run: ./bench/trend does, in a
// process of its own, so that its engine's memory counts against nobody.
func measureTrend(ctx context.Context, _ string) ([]result, error) {
	arguments := []string{"run", "./bench/trend"}
	if python := os.Getenv("CAUSALITY_BENCH_PYTHON"); python != "" {
		arguments = append(arguments, "--python", python)
	}
	command := exec.CommandContext(ctx, "go", arguments...)
	command.Stderr = os.Stderr
	out, err := command.Output()
	if err != nil {
		return nil, fmt.Errorf("bench/trend: %w", err)
	}
	var results []result
	if err := json.Unmarshal(out, &results); err != nil {
		return nil, fmt.Errorf("bench/trend printed no results: %w", err)
	}
	for i := range results {
		results[i].AtLeast, results[i].Aim = pointer(1), pointer(0.5) // of the ratio
	}
	return results, nil
}
