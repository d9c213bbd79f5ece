package lake

import (
	"fmt"
	"syscall"
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/causality-project/causality/backend/internal/pipeline/lake/seen"
	"github.com/causality-project/causality/backend/internal/pipeline/stream"
	"github.com/causality-project/causality/backend/internal/platform/event"
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
