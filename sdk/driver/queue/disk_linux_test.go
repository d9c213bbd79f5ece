package queue

import (
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"sync/atomic"
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

// TestWhoeverWaitsForTheLockGetsNoFileThatWasReplaced takes the lock the moment
// that it is free, as a process does that starts just then.
func TestWhoeverWaitsForTheLockGetsNoFileThatWasReplaced(t *testing.T) {
	t.Parallel()
	for range 10 {
		path := filepath.Join(t.TempDir(), "queue")
		f := open(t, path)
		waiting, err := os.Open(path)
		if err != nil {
			t.Fatal(err)
		}
		outcome := make(chan error, 1)
		go func() {
			for syscall.Flock(int(waiting.Fd()), syscall.LOCK_EX|syscall.LOCK_NB) != nil {
			}
			named, err := os.Open(path)
			if err != nil {
				outcome <- err
				return
			}
			if syscall.Flock(int(named.Fd()), syscall.LOCK_EX|syscall.LOCK_NB) == nil {
				err = errors.New("the queue has no owner for a moment, or a file without a name")
			}
			outcome <- errors.Join(err, named.Close())
		}()
		f.shrinkAbove(0, nil)
		if err := errors.Join(<-outcome, f.Close(), waiting.Close()); err != nil {
			t.Error(err)
		}
	}
}

// TestAProcessThatStartsIsNeverRobbedOfWhatItStored lets many open a damaged file,
// and one that will be made smaller, at once.
func TestAProcessThatStartsIsNeverRobbedOfWhatItStored(t *testing.T) {
	t.Parallel()
	begin := map[string]func(path string){
		"damaged": func(path string) {
			if err := os.WriteFile(path, make([]byte, 32<<10), 0o600); err != nil {
				t.Fatal(err)
			}
		},
		"empty and large": func(path string) {
			f := open(t, path)
			defer f.Close()
			commit(t, f, core.Change{Append: []core.Block{{Seq: 1, Events: 1, Data: make([]byte, compactOpened)}}})
			commit(t, f, core.Change{Delete: []core.Range{{First: 1, Last: 1}}})
		},
	}
	for name, begin := range begin {
		for range 5 {
			path := filepath.Join(t.TempDir(), "queue")
			begin(path)
			var stored atomic.Int64
			var group sync.WaitGroup
			for range 8 {
				group.Go(func() {
					f, contents, err := Open(path)
					if err != nil {
						return // another has it
					}
					next := uint64(1)
					if n := len(contents.Blocks); n > 0 {
						next = contents.Blocks[n-1].Seq + 1
					}
					if f.Commit(core.Change{Append: blocks(next)}) == nil {
						stored.Add(1)
					}
					_ = f.Close()
				})
			}
			group.Wait()
			f, contents, err := Open(path)
			if err != nil {
				t.Fatal(err)
			}
			_ = f.Close()
			if int64(len(contents.Blocks)) != stored.Load() || contents.SetAside != "" {
				t.Errorf("%s: %d blocks were stored, the file has %d, set aside %q", name, stored.Load(), len(contents.Blocks), contents.SetAside)
			}
		}
	}
}
