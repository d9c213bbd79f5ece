//go:build failpoints

package lake

import (
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/causality-project/causality/backend/internal/pipeline/stream"
)

// One erasure that is killed at each of its steps, one after the other: every
// life takes it up where the last one was cut off.
func TestAnErasureThatIsKilledAtEachStepErasesAllTheSame(t *testing.T) {
	t.Parallel()
	h, url := newVictimHouse(t)
	h.open()
	c := makeCrowd(1)
	h.live(c)
	dead := makeCrowd(2)
	letter := stream.AppendBatch(nil, &stream.Batch{WorkspaceID: h.workspace, AppID: h.app, ReceivedAt: time.Now().UTC(), Events: dead.all()})
	if err := h.stream.DeadLetter(h.ctx, stream.Live, stream.Message{Seq: 1, Raw: letter}, "a test"); err != nil {
		t.Fatal(err)
	}
	left := h.mentions([]string{secret}) // and a copy of each that a crash could have left
	for _, name := range left {
		path := filepath.Join(h.dir, "objects", name)
		content, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(strings.TrimSuffix(path, ".parquet")+"-left.parquet", content, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	h.close()
	who := "ann"
	for _, point := range []string{
		"erase.after-record", "erase.after-enforce", "erase.after-log", "compaction.before-write", "compaction.after-write", "compaction.after-write:2",
		"erase.before-commit", "compaction.before-commit", "compaction.after-commit", "erase.after-rewrite", "erase.before-cleaning",
		"erase.after-dead-letters", "erase.after-clean", "erase.before-deleting", "erase.after-forget", "erase.after-delete", "erase.after-delete:3", "erase.before-orphans",
		"erase.before-proving", "erase.after-receipt",
	} {
		h.victim(url, []string{"LAKE_TEST_ERASE=" + who, "CAUSALITY_FAILPOINT=" + point}, func(p *os.Process, _ func() int) {
			if !died(p, 9) {
				t.Errorf("the process never passed %s", point)
			}
		})
		who = "resume"
		if t.Failed() {
			return
		}
	}
	h.victim(url, []string{"LAKE_TEST_ERASE=resume"}, func(p *os.Process, _ func() int) {
		if !died(p, 0) {
			t.Error("the erasure does not end")
		}
	})
	h.open()
	h.settle()
	h.holds(h.app, idsOf(c.others))
	h.catalogAgrees()
	if files := h.mentions([]string{secret}, annKeys...); len(files) > 0 {
		t.Errorf("something of ann is left in %v", files)
	}
	all, err := h.lake.Erasures(h.ctx, h.app)
	if err != nil || len(all) != 1 || all[0].State != eraseDone {
		t.Fatalf("erasures %+v, %v", all, err)
	}
	receipt := h.receiptOf(all[0].Receipt)
	if receipt.Events != int64(len(c.ann)) || receipt.IDs != int64(len(c.ann)) || len(receipt.Elsewhere.UnlistedObjects) < len(left) {
		t.Errorf("%d events, %d ids, want %d; unlisted objects %v, want copies of %v", receipt.Events, receipt.IDs, len(c.ann), receipt.Elsewhere.UnlistedObjects, left)
	}
	letters := 0
	err = h.stream.EachDeadLetter(h.ctx, func(letter *stream.DeadLetter) error {
		letters++
		if letter.Batch.Count() != len(dead.others) {
			t.Errorf("a dead letter holds %d events, want the %d of others", letter.Batch.Count(), len(dead.others))
		}
		return nil
	})
	if err != nil || letters != 1 {
		t.Errorf("%d dead letters, %v", letters, err)
	}
	h.send(stream.Live, c.ann...)
	h.settle()
	h.holds(h.app, idsOf(c.others))
}

// died waits for the end of a process, and kills it when that does not come. It
// reports whether the process ended by itself with this status: that of the
// kernel, 9 for a process that was killed.
func died(p *os.Process, status int) bool {
	for deadline := time.Now().Add(patience); time.Now().Before(deadline); time.Sleep(time.Millisecond) {
		state, err := os.ReadFile("/proc/" + strconv.Itoa(p.Pid) + "/stat")
		if err != nil {
			return false
		}
		if fields := strings.Fields(string(state)); strings.Contains(string(state), ") Z ") {
			return fields[len(fields)-1] == strconv.Itoa(status)
		}
	}
	_ = p.Kill()
	return false
}
