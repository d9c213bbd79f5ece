//go:build failpoints

package lake

import (
	"os"
	"strconv"
	"strings"
	"testing"
	"time"
)

// Every named point of a publication, passed a few times before the kill.
func TestThePublicationIsTheManifestAfterAKillAtANamedPoint(t *testing.T) {
	t.Parallel()
	h, url := newVictimHouse(t)
	// One after the other on one lake, so that each begins with what the one
	// before left behind.
	for _, point := range []string{
		"publish.after-links:1", "publish.after-links:4", "publish.after-events:3", "publish.before-commit:1", "publish.before-commit:5",
		"publish.after-commit:1", "publish.after-commit:4", "publish.after-delete:1",
	} {
		died := false
		h.victim(url, []string{"LAKE_TEST_PUBLISH=1", "CAUSALITY_FAILPOINT=" + point}, func(p *os.Process, _ func() int) {
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
	}
	h.publishedExactly()
}
