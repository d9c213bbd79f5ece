package lake

import (
	"context"
	"os"
	"slices"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/google/uuid"
)

// BenchmarkPublication publishes commit after commit of a manifest that grows by
// two objects each, a hundred of which become one now and then, and reports what
// a commit costs at the end. As many snapshots are kept as an hour has commits.
// PUBLISH_COMMITS (10,000) and PUBLISH_OBJECTS, there from the start (0), change
// the size; run it with -benchtime=1x.
func BenchmarkPublication(b *testing.B) {
	commits, objects := size("PUBLISH_COMMITS", 10_000), size("PUBLISH_OBJECTS", 0)
	h := newHouse(b)
	h.stop()
	p := h.publication()
	p.cfg.Retain = 25 * time.Second // about 1,800 commits at the speed that is expected
	h.exec(`INSERT INTO lake_apps (workspace_id, app_id) VALUES ($1, $2)`, h.workspace, h.app)
	insert := func(n int) {
		keys := make([]string, n)
		for i := range keys {
			keys[i] = appPrefix(h.app) + "year=2026/month=03/day=01/hour=00/" + uuid.NewString() + ".parquet"
		}
		h.exec(`INSERT INTO lake_objects (object_id, workspace_id, app_id, key, kind, level, schema_version, rows, bytes, min_ts, max_ts,
			min_received_at, max_received_at, link_number, sources, created_at, version)
			SELECT gen_random_uuid(), $1, $2, key, 'events', 0, 1, 50000, 3000000, now(), now(), now(), now(), 0, '{1,1}', now(), (SELECT version + 1 FROM lake_apps WHERE app_id = $2) FROM unnest($3::text[]) AS key`,
			h.workspace, h.app, keys)
		h.exec(`UPDATE lake_apps SET version = version + 1 WHERE app_id = $1`, h.app)
	}
	for b.Loop() {
		if objects > 0 {
			insert(objects)
		}
		var took []time.Duration
		var cpu time.Duration
		for i := range commits {
			insert(2)
			if i%50 == 49 {
				h.exec(`DELETE FROM lake_objects WHERE object_id IN (SELECT object_id FROM lake_objects WHERE app_id = $1 ORDER BY created_at DESC LIMIT 99)`, h.app)
			}
			began, before := time.Now(), processorTime()
			if err := p.round(h.ctx, roundOptions{}); err != nil {
				b.Fatal(err)
			}
			took = append(took, time.Since(began))
			if commits-i <= lastCommits {
				cpu += processorTime() - before
			}
		}
		last := slices.Sorted(slices.Values(took[max(len(took)-lastCommits, 0):]))
		b.ReportMetric(float64(last[len(last)/2].Microseconds())/1000, "ms/commit")
		b.ReportMetric(float64(last[len(last)*95/100].Microseconds())/1000, "ms/commit-p95")
		b.ReportMetric(float64(cpu.Microseconds())/1000/float64(len(last)), "cpu-ms/commit")
		b.ReportMetric(float64(p.events.Objects()), "objects")
		b.ReportMetric(float64(p.events.Snapshots()), "snapshots")
	}
}

const lastCommits = 500 // those that are measured

func size(name string, otherwise int) int {
	if n, err := strconv.Atoi(os.Getenv(name)); err == nil {
		return n
	}
	return otherwise
}

// BenchmarkPublicationDelay measures the time from a commit of the manifest to
// the commit of the tables that mirrors it, with the publisher running as it
// does in a server.
func BenchmarkPublicationDelay(b *testing.B) {
	h := newHouse(b)
	h.stop()
	p := h.publication()
	p.cfg.Every = 2 * time.Second
	h.exec(`INSERT INTO lake_apps (workspace_id, app_id) VALUES ($1, $2)`, h.workspace, h.app)
	ctx, cancel := context.WithCancel(h.ctx)
	var running sync.WaitGroup
	running.Go(func() { p.Run(ctx) })
	var delays []time.Duration
	for b.Loop() {
		for i := range 20 {
			time.Sleep(time.Duration(i*37%20) * 100 * time.Millisecond) // at any point of the publisher's pause
			h.exec(`UPDATE lake_apps SET version = version + 1 WHERE app_id = $1`, h.app)
			began := time.Now()
			var version int64
			h.query(`SELECT version FROM lake_apps WHERE app_id = $1`, []any{&version}, h.app)
			h.until("the change is published", func() bool {
				instant, err := p.Instant(h.ctx, h.app)
				return err == nil && instant.Version >= version
			})
			delays = append(delays, time.Since(began))
		}
	}
	cancel()
	running.Wait()
	slices.Sort(delays)
	b.ReportMetric(delays[len(delays)/2].Seconds(), "s-delay")
	b.ReportMetric(delays[len(delays)*95/100].Seconds(), "s-delay-p95")
}
