//go:build failpoints

package lake

import (
	"os"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/causality-project/causality/backend/internal/platform/event"
)

// Every named point of the way from the stream into the manifest, passed a few
// times before the kill.
func TestNothingIsLostOrDoubledByAKillAtANamedPoint(t *testing.T) {
	t.Parallel()
	for _, point := range []string{
		"lake.before-write:1", "lake.before-write:6", "lake.after-write:1", "lake.after-write:7", "links.before-commit:3",
		"lake.before-commit:1", "lake.before-commit:5", "lake.after-commit:1", "lake.after-commit:5", "lake.before-purge:4",
		"compaction.before-write:2", "compaction.after-write:1", "compaction.after-write:3", "compaction.after-write:11",
		"compaction.before-commit:2", "compaction.after-commit:2", "collect.before-delete:2", "collect.after-delete:3",
		"projection.before-write:2", "projection.before-commit:1",
	} {
		t.Run(strings.ReplaceAll(point, ":", "-"), func(t *testing.T) {
			t.Parallel()
			h, url := newVictimHouse(t)
			var acknowledged []event.ID
			for range 2 {
				died := false
				ids := h.victim(url, []string{"CAUSALITY_FAILPOINT=" + point}, func(p *os.Process, have func() int) {
					deadline := time.Now().Add(patience)
					for time.Now().Before(deadline) {
						if state, err := os.ReadFile("/proc/" + strconv.Itoa(p.Pid) + "/stat"); err != nil || strings.Contains(string(state), ") Z ") {
							died = true
							return
						}
						time.Sleep(time.Millisecond)
					}
					_ = p.Kill()
				})
				if !died {
					t.Fatalf("the process never passed %s", point)
				}
				acknowledged = append(acknowledged, ids...)
			}
			h.survived(acknowledged)
		})
	}
}
