package lake

import (
	"context"
	"fmt"
	"runtime"
	"syscall"
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/causality-project/causality/backend/internal/account/tenancy"
	"github.com/causality-project/causality/backend/internal/pipeline/lake/seen"
	"github.com/causality-project/causality/backend/internal/pipeline/stream"
	"github.com/causality-project/causality/backend/internal/platform/event"
	"github.com/causality-project/causality/backend/internal/platform/postgres/postgrestest"
)

// BenchmarkSinkCommit lands runs of 10,000 events of about 500 bytes in 100
// messages: dedupe, links, catalog, object and PostgreSQL transaction. Reading
// the stream is left out; PostgreSQL's own processor time too.
func BenchmarkSinkCommit(b *testing.B) {
	h := newHouse(b)
	h.send(stream.Import, someEvents(1)...)
	h.settle()
	h.stop()
	const perMessage, perRun = 100, 10_000
	from := h.lake.sinks[stream.Live].committed.Load() + 1
	var events int
	cpu := processorTime()
	for b.Loop() {
		b.StopTimer()
		before := processorTime()
		messages := make([]stream.Message, perRun/perMessage)
		for i := range messages {
			messages[i] = stream.Message{Seq: from + uint64(i), Batch: stream.Batch{WorkspaceID: h.workspace, AppID: h.app,
				ReceivedAt: time.Now().UTC().Truncate(time.Microsecond), Events: shopEvents(perMessage)}}
		}
		cpu += processorTime() - before
		b.StartTimer()
		to := messages[len(messages)-1].Seq
		if err := newCommit(h.lake, stream.Live, from, to, messages).run(h.ctx); err != nil {
			b.Fatal(err)
		}
		from = to + 1
		events += perRun
	}
	b.ReportMetric(float64((processorTime()-cpu).Nanoseconds())/float64(events), "cpu-ns/event")
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(events), "ns/event")
}

// BenchmarkSink lands what waits in the stream, as the sink does after an
// outage: 200,000 events of about 500 bytes in requests of 100, from the stream
// to the committed manifest. PostgreSQL's own processor time is left out.
func BenchmarkSink(b *testing.B) {
	const perMessage, total = 100, 200_000
	events := 0
	var cpu, elapsed time.Duration
	for b.Loop() {
		b.StopTimer()
		h := &house{t: b, dir: b.TempDir(), server: postgrestest.New(b)}
		h.workspace = makeWorkspace(b, h.server)
		h.ctx = tenancy.WithWorkspace(context.Background(), h.workspace)
		h.db = tenancy.NewDB(h.server.Pool(), discard())
		h.app = h.addApp()
		h.openStopped(func(c *Config) { c.MaxAge = time.Second })
		for range total / perMessage {
			h.send(stream.Live, shopEvents(perMessage)...)
		}
		runtime.GC()
		before, began := processorTime(), time.Now()
		b.StartTimer()
		h.start()
		for h.lake.sinks[stream.Live].landedEvents() < total {
			time.Sleep(10 * time.Millisecond)
		}
		b.StopTimer()
		cpu, elapsed, events = cpu+processorTime()-before, elapsed+time.Since(began), events+total
		h.close()
		b.StartTimer()
	}
	b.ReportMetric(float64(events)/cpu.Seconds(), "events/cpu-s")
	b.ReportMetric(float64(events)/elapsed.Seconds(), "events/s")
}

// landedEvents counts what this process has landed.
func (s *sink) landedEvents() (n int64) {
	m := &s.lake.lag
	m.mu.Lock()
	defer m.mu.Unlock()
	for i := range m.minutes {
		for _, count := range m.minutes[i].counts {
			n += count
		}
	}
	return n
}

// processorTime is what this process has used, all threads.
func processorTime() time.Duration {
	var usage syscall.Rusage
	_ = syscall.Getrusage(syscall.RUSAGE_SELF, &usage)
	return time.Duration(usage.Utime.Nano() + usage.Stime.Nano())
}

func shopEvents(n int) []event.Event {
	now := time.Now().UTC().Truncate(time.Microsecond)
	events := make([]event.Event, n)
	for i := range events {
		id, _ := uuid.NewV7()
		events[i] = event.Event{
			ID: event.ID(id), Type: event.Track, Name: []string{"page_view", "product_view", "add_to_cart", "search"}[i%4], TS: now, ReceivedAt: now,
			AnonymousID: fmt.Sprintf("anon-%06d", i*7919%5000), SessionID: fmt.Sprintf("session-%06d", i*7919%5000),
			Properties: fmt.Sprintf(`{"price":%d.5,"sku":"sku-%d","title":"A thing that is sold","position":%d,"list":"home"}`, i, i%500, i%20),
			Context: event.Context{Platform: "web", OS: "macOS", OSVersion: "15.1", Browser: "Firefox", DeviceType: "desktop", Country: "DE", City: "Berlin",
				Locale: "de-DE", PageURL: fmt.Sprintf("https://shop.example/products/%d?ref=home", i%500), PagePath: fmt.Sprintf("/products/%d", i%500),
				ReferrerHost: "search.example", UTMSource: "newsletter", Library: "causality-js", LibraryVersion: "1.0.0",
				Rest: `{"screen":{"width":1440,"height":900},"time_zone":"Europe/Berlin"}`},
		}
	}
	return events
}

// BenchmarkDedupe asks a store of a million ids for 1,000 of them, of random
// ids, which is the worst case: each needs a bisection in each file.
func BenchmarkDedupe(b *testing.B) {
	store, err := seen.Open(b.TempDir(), 0)
	if err != nil {
		b.Fatal(err)
	}
	ids := make([]event.ID, 1_000_000)
	for i := range ids {
		ids[i] = event.ID(uuid.New())
	}
	if err := store.Add("app", seen.One(1), ids); err != nil {
		b.Fatal(err)
	}
	asked := idsOf([]event.Event{})
	for i := range 1000 {
		asked = append(asked, ids[i*1000])
	}
	sortIDs(asked)
	for b.Loop() {
		found, err := store.Contains("app", asked)
		if err != nil || !found[500] {
			b.Fatal(err, "not found")
		}
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/1000, "ns/id")
}

// BenchmarkPlan reads what a question needs of a manifest of 100,000 objects:
// with nothing new, after a run of the sink, and after a merge.
func BenchmarkPlan(b *testing.B) {
	h := newHouse(b)
	h.stop()
	h.exec(`INSERT INTO lake_apps (workspace_id, app_id, version) VALUES ($1, $2, 1)`, h.workspace, h.app)
	const list = `INSERT INTO lake_objects (object_id, workspace_id, app_id, key, kind, level, schema_version, rows, bytes,
		min_ts, max_ts, min_received_at, max_received_at, link_number, sources, created_at, version, source_id)
		SELECT ('018f0000-' || lpad(to_hex(n / 4096), 4, '0') || '-7' || lpad(to_hex(n % 4096), 3, '0') || '-8000-' || lpad(to_hex(n), 12, '0'))::uuid, $1::uuid, $2::uuid,
		  'app_id=' || $2::text || '/year=2026/month=01/day=01/hour=00/' || k || '-' || n || '.parquet', kind, 2, 1, 500000, 40000000,
		  t, t + interval '1 h', t, t + interval '1 h', 0, ARRAY[n, n], t, 1, NULL::uuid
		FROM generate_series($3::bigint, $4::bigint) n, unnest($5::text[]) WITH ORDINALITY u(kind, k),
		LATERAL (SELECT '2026-01-01Z'::timestamptz + interval '1 h' * (n % 8760) AS t) times`
	h.exec(list, h.workspace, h.app, 1, 100_000, []string{"events"})
	h.exec(`ANALYZE lake_objects`)
	month := time.Date(2026, 6, 1, 0, 0, 0, 0, time.UTC)
	read := func(b *testing.B, from, to time.Time, least int) {
		b.Helper()
		s, err := h.lake.Snapshot(h.ctx, h.app, from, to)
		if err != nil {
			b.Fatal(err)
		}
		if len(s.Objects) < least {
			b.Fatalf("%d objects, want at least %d", len(s.Objects), least)
		}
		s.Release()
	}
	b.Run("first", func(b *testing.B) {
		for b.Loop() {
			h.lake.listings.forget(h.app)
			read(b, month, month.AddDate(0, 1, 0), 7900)
		}
	})
	b.Run("month", func(b *testing.B) {
		for b.Loop() {
			read(b, month, month.AddDate(0, 1, 0), 7900)
		}
	})
	b.Run("all", func(b *testing.B) {
		for b.Loop() {
			read(b, time.Time{}, time.Time{}, 100_000)
		}
	})
	next := 100_001
	b.Run("after-a-run", func(b *testing.B) {
		for b.Loop() {
			b.StopTimer()
			h.exec(list, h.workspace, h.app, next, next, []string{"events"})
			h.exec(`UPDATE lake_apps SET version = version + 1 WHERE app_id = $1`, h.app)
			h.exec(`UPDATE lake_objects SET version = (SELECT version FROM lake_apps WHERE app_id = $1) WHERE sources[1] = $2`, h.app, next)
			next++
			b.StartTimer()
			read(b, month, month.AddDate(0, 1, 0), 7900)
		}
	})
	gone := 1
	b.Run("after-a-merge", func(b *testing.B) {
		for b.Loop() {
			b.StopTimer()
			h.exec(`DELETE FROM lake_objects WHERE app_id = $1 AND sources[1] BETWEEN $2 AND $2 + 9`, h.app, gone)
			gone += 10
			b.StartTimer()
			read(b, month, month.AddDate(0, 1, 0), 7000)
		}
	})
}
