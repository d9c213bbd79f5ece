package seen

import (
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"runtime"
	"slices"
	"syscall"
	"testing"
	"time"

	"github.com/causality-project/causality/backend/internal/platform/event"
)

// BenchmarkDay is what one app's day costs: ids of that many events committed in
// runs of 50,000, as they come, a few seconds out of order. Then the questions
// of a run of new events, of the same run sent again at once, and of events of
// the whole day sent again in any order, 10,000 at a time. cpu-s/day is the
// processor's share of the day's 86,400 seconds.
func BenchmarkDay(b *testing.B) {
	for _, perDay := range []int{10_000_000, 100_000_000} {
		b.Run(fmt.Sprint(perDay/1_000_000, "M"), func(b *testing.B) {
			for b.Loop() {
				day(b, perDay)
			}
		})
	}
}

const benchRun = 50_000

func day(b *testing.B, perDay int) {
	store, err := Open(b.TempDir(), 0)
	if err != nil {
		b.Fatal(err)
	}
	random := rand.New(rand.NewPCG(1, 2))
	start := time.Date(2026, 3, 1, 0, 0, 0, 0, time.UTC)
	at := func(n int) event.ID {
		when := start.Add(time.Duration(float64(n)/float64(perDay)*86_400e9) - time.Duration(random.IntN(3000))*time.Millisecond)
		return idAt(max(when.UnixMilli(), start.UnixMilli()), random.Uint64())
	}
	sorted := func(ids []event.ID) []event.ID {
		slices.SortFunc(ids, func(a, b event.ID) int { return slices.Compare(a[:], b[:]) })
		return ids
	}
	var kept []event.ID // one in a thousand, of the whole day
	var adding time.Duration
	ids := make([]event.ID, benchRun)
	for n := 0; n < perDay; n += benchRun {
		for i := range ids {
			ids[i] = at(n + i)
		}
		sorted(ids)
		began := cpu()
		if err := store.Add("app", One(int64(n/benchRun+1)), ids); err != nil {
			b.Fatal(err)
		}
		adding += cpu() - began
		for i := 0; i < benchRun; i += 1000 {
			kept = append(kept, ids[i])
		}
	}
	ask := func(name string, want bool, next func() []event.ID) {
		asked, spent := 0, time.Duration(0)
		for spent < time.Second && asked < 5_000_000 {
			some := next()
			began := cpu()
			found, err := store.Contains("app", some)
			if err != nil {
				b.Fatal(err)
			}
			spent += cpu() - began
			if slices.Contains(found, !want) {
				b.Fatalf("%s: an answer is wrong", name)
			}
			asked += len(some)
		}
		b.ReportMetric(float64(asked)/spent.Seconds(), name+"/cpu-s")
	}
	ask("new", false, func() []event.ID {
		some := make([]event.ID, 10_000)
		for i := range some {
			some[i] = idAt(start.Add(86_399*time.Second).UnixMilli()+int64(random.IntN(1000)), random.Uint64())
		}
		return sorted(some)
	})
	ask("again-soon", true, func() []event.ID { return slices.Clone(ids[:10_000]) })
	ask("again-late", true, func() []event.ID {
		some := make([]event.ID, 10_000)
		for i := range some {
			some[i] = kept[random.IntN(len(kept))]
		}
		return sorted(some)
	})
	kept, ids = nil, nil
	runtime.GC()
	var memory runtime.MemStats
	runtime.ReadMemStats(&memory)
	disk, mapped := store.Bytes()
	b.ReportMetric(float64(disk)/float64(perDay), "disk-B/id")
	b.ReportMetric(float64(mapped)/(1<<20), "mapped-MB")
	b.ReportMetric(float64(memory.HeapInuse)/(1<<20), "heap-MB")
	b.ReportMetric(adding.Seconds(), "cpu-s/day")
	if err := store.Close(); err != nil {
		b.Fatal(err)
	}
}

func idAt(milliseconds int64, random uint64) (id event.ID) {
	binary.BigEndian.PutUint64(id[:], uint64(milliseconds)<<16|0x7000|random&0xfff)
	binary.BigEndian.PutUint64(id[8:], random*0x9e3779b97f4a7c15|1<<63)
	return id
}

// cpu is the processor time of this process, all threads.
func cpu() time.Duration {
	var usage syscall.Rusage
	_ = syscall.Getrusage(syscall.RUSAGE_SELF, &usage)
	return time.Duration(usage.Utime.Nano() + usage.Stime.Nano())
}
