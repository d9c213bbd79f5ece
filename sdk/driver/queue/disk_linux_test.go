package queue

import (
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"testing"

	"github.com/causality-project/causality/sdk/core"
)

const fullDiskChild = "CAUSALITY_TEST_FULL_DISK"

// TestAFullDiskRefusesCleanly runs in a process of its own, whose files cannot
// grow beyond 256 KiB.
func TestAFullDiskRefusesCleanly(t *testing.T) {
	if path := os.Getenv(fullDiskChild); path != "" {
		fillDisk(t, path)
		return
	}
	t.Parallel()
	child := exec.Command(os.Args[0], "-test.run=^TestAFullDiskRefusesCleanly$", "-test.count=1")
	child.Env = append(os.Environ(), fullDiskChild+"="+filepath.Join(t.TempDir(), "queue"))
	if out, err := child.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
}

func fillDisk(t *testing.T, path string) {
	limit := syscall.Rlimit{Cur: 256 << 10, Max: 256 << 10}
	if err := syscall.Setrlimit(syscall.RLIMIT_FSIZE, &limit); err != nil {
		t.Fatal(err)
	}
	f := open(t, path)
	defer f.Close()
	stored := uint64(0)
	var full error
	for seq := uint64(1); seq < 1000 && full == nil; seq++ {
		if full = f.Commit(core.Change{Append: []core.Block{{Seq: seq, Events: 1, Data: make([]byte, 8<<10)}}}); full == nil {
			stored = seq
		}
	}
	if full == nil || errors.Is(full, ErrDamaged) || stored == 0 {
		t.Fatalf("after %d blocks: %v, want a plain refusal", stored, full)
	}
	got, lost, err := f.Read(1, 1000)
	if err != nil || len(lost) > 0 || len(got) != int(stored) {
		t.Fatalf("%d blocks read (%v, lost %v), want %d", len(got), err, lost, stored)
	}
	commit(t, f, core.Change{Delete: []core.Range{{First: 1, Last: stored}}})
	commit(t, f, core.Change{Append: blocks(1001)})
	wantBlocks(t, f, 1, 2000, 1001)
}
