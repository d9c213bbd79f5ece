package main

import "context"

// measureTrend compares a daily trend by event over 20 million events with
// ClickHouse on the same Parquet files, in the same run.
func measureTrend(ctx context.Context, _ string) ([]result, error) {
	ours, err := goBench(ctx, "internal/analysis/insights", "BenchmarkTrendAgainstClickHouse", "ours-s")
	if err != nil {
		return nil, err
	}
	return []result{{Name: "daily trend by event over 20 million events", Value: ours, Unit: "s", Peer: "ClickHouse (chdb)", AtLeast: pointer(1), Aim: pointer(0.5)}}, nil
}
