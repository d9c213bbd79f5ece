package queue

import (
	"os"
	"path/filepath"
	"strconv"
	"testing"

	"github.com/causality-project/causality/sdk/core"
)

// eventBytes is the size of a usual event: ten properties and a context.
const eventBytes = 500

// BenchmarkCommit measures a queue file that is full, where each commit drops what
// it adds: ev/s when every event is a commit of its own, and when a hundred share
// one. BenchmarkSync beside it is what the disk allows.
func BenchmarkCommit(b *testing.B) {
	for _, events := range []int{1, 100} {
		b.Run(strconv.Itoa(events), func(b *testing.B) {
			f, _, err := Open(filepath.Join(b.TempDir(), "queue"))
			if err != nil {
				b.Fatal(err)
			}
			defer f.Close()
			state := make([]byte, 200)
			block := core.Block{At: 1, Events: events, Data: make([]byte, events*eventBytes)}
			full := uint64(16 << 20 / len(block.Data))
			var fill core.Change
			for block.Seq < full {
				block.Seq++
				fill.Append = append(fill.Append, block)
			}
			if err := f.Commit(fill); err != nil {
				b.Fatal(err)
			}
			b.ResetTimer()
			for b.Loop() {
				block.Seq++
				drop := core.Range{First: block.Seq - full, Last: block.Seq - full}
				if err := f.Commit(core.Change{Append: []core.Block{block}, Delete: []core.Range{drop}, State: state}); err != nil {
					b.Fatal(err)
				}
			}
			b.ReportMetric(float64(b.N*events)/b.Elapsed().Seconds(), "ev/s")
		})
	}
}

// BenchmarkSync writes the same events one after another to a plain file and syncs
// it as often: the limit of any durable queue here.
func BenchmarkSync(b *testing.B) {
	for _, events := range []int{1, 100} {
		b.Run(strconv.Itoa(events), func(b *testing.B) {
			f, err := os.Create(filepath.Join(b.TempDir(), "log"))
			if err != nil {
				b.Fatal(err)
			}
			defer f.Close()
			data := make([]byte, events*eventBytes)
			for b.Loop() {
				if _, err := f.Write(data); err != nil {
					b.Fatal(err)
				}
				if err := f.Sync(); err != nil {
					b.Fatal(err)
				}
			}
			b.ReportMetric(float64(b.N*events)/b.Elapsed().Seconds(), "ev/s")
		})
	}
}
