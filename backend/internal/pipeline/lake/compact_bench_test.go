package lake

import (
	"os"
	"runtime"
	"strconv"
	"syscall"
	"testing"
	"time"

	"github.com/causality-project/causality/backend/internal/pipeline/stream"
)

// BenchmarkCompaction settles a million events with their projections, as they
// come: objects of the sink merge to level 1 and then settle, so that each event
// is rewritten twice. PostgreSQL's own processor time is left out.
func BenchmarkCompaction(b *testing.B) {
	objects, perObject := 100, 10_000
	if n, err := strconv.Atoi(os.Getenv("LAKE_BENCH_OBJECTS")); err == nil {
		objects = n
	}
	var events, rewritten, sunk, read, written, derived int64
	var cpu, elapsed time.Duration
	for b.Loop() {
		b.StopTimer()
		h := newHouse(b)
		h.send(stream.Live, someEvents(1)...)
		h.settle()
		h.stop()
		h.lake.compaction.policy = defaultPolicy
		h.lake.compaction.policy.fresh, h.lake.compaction.policy.settleRows = 50, 1<<40
		from := h.lake.sinks[stream.Live].committed.Load() + 1
		for range objects {
			messages := make([]stream.Message, perObject/100)
			for i := range messages {
				messages[i] = stream.Message{Seq: from + uint64(i), Batch: stream.Batch{WorkspaceID: h.workspace, AppID: h.app,
					ReceivedAt: time.Now().UTC().Truncate(time.Microsecond), Events: shopEvents(100)}}
			}
			to := messages[len(messages)-1].Seq
			if err := newCommit(h.lake, stream.Live, from, to, messages).run(h.ctx); err != nil {
				b.Fatal(err)
			}
			from = to + 1
		}
		for _, e := range h.entries() {
			events += e.Rows
			sunk += e.Bytes
		}
		runtime.GC()
		before, began := processorTime(), time.Now()
		b.StartTimer()
		h.due() // to level 1
		h.lake.compaction.policy.settleRows = 1
		h.lake.compaction.app(h.app).seen = -1
		h.due()
		b.StopTimer()
		cpu, elapsed = cpu+processorTime()-before, elapsed+time.Since(began)
		c := &h.lake.compaction
		rewritten, read, written, derived = rewritten+c.rows, read+c.bytesRead, written+c.bytesWritten, derived+c.bytesDerived
		for _, e := range h.entries() {
			if e.Period.IsZero() {
				b.Fatal("an object is not settled")
			}
		}
		b.StartTimer()
	}
	b.ReportMetric(float64(events)/cpu.Seconds(), "events/cpu-s")
	b.ReportMetric(float64(rewritten)/cpu.Seconds(), "rows-written/cpu-s")
	b.ReportMetric(float64(events+rewritten)/float64(events), "writes/event")
	b.ReportMetric(float64(sunk+written)/float64(sunk), "bytes-written/bytes-sunk")
	b.ReportMetric(float64(derived)/float64(events), "projection-B/event")
	b.ReportMetric(float64(peakMemory())/(1<<20), "peak-MiB")
	b.ReportMetric(elapsed.Seconds()/float64(b.N), "s/run")
}

// peakMemory is the most that this process has held resident.
func peakMemory() int64 {
	var usage syscall.Rusage
	_ = syscall.Getrusage(syscall.RUSAGE_SELF, &usage)
	return usage.Maxrss << 10
}
