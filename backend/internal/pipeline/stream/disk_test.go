//go:build linux

package stream

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/causality-project/causality/backend/internal/platform/fault"
)

// smallDisk mounts a tmpfs that only this test sees. Where mounting is not
// allowed it returns false, and the caller checks the guard alone.
func smallDisk(t *testing.T, bytes int) (string, bool) {
	t.Helper()
	dir := t.TempDir()
	if err := syscall.Mount("tmpfs", dir, "tmpfs", 0, fmt.Sprintf("size=%d", bytes)); err != nil {
		if !errors.Is(err, syscall.EPERM) && !errors.Is(err, syscall.EACCES) {
			t.Fatal(err)
		}
		return dir, false
	}
	t.Cleanup(func() {
		if err := syscall.Unmount(dir, syscall.MNT_DETACH); err != nil {
			t.Error(err)
		}
	})
	return dir, true
}

func bigBatch(tag string) *Batch {
	b := smallBatch(10, tag)
	for i := range b.Events {
		b.Events[i].Properties = `{"x":"` + strings.Repeat("x", 20<<10) + `"}`
	}
	return b
}

func eventually(t *testing.T, what string, done func() bool) {
	t.Helper()
	deadline := time.Now().Add(60 * time.Second)
	for !done() {
		if time.Now().After(deadline) {
			t.Fatalf("%s did not come about", what)
		}
		time.Sleep(20 * time.Millisecond)
	}
}

func TestAFullDiskIsUnavailableAndLosesNothing(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct{ free int64 }{
		"within the reserve":               {2 << 20},
		"when others eat the reserve, too": {100 << 10},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			disk, mounted := smallDisk(t, 48<<20)
			if !mounted {
				t.Log("no right to mount a tmpfs here: the full disk is checked where there is one (CI runs as root)")
				return
			}
			s := openStream(t, Config{Dir: filepath.Join(disk, "stream")})
			acked := map[string]bool{}
			for i := range 10 {
				tag := fmt.Sprint("before", i)
				publish(t, s, Live, bigBatch(tag))
				acked[tag+"-0"] = true
			}
			// Somebody else fills the disk. The guard is told nothing, so that
			// the write itself meets the end where there is no reserve left.
			filler := filepath.Join(disk, "filler")
			fillDisk(t, filler, tt.free)
			if tt.free < 1<<20 {
				s.disk.off.Store(true)
			}
			var refused error
			for i := 0; refused == nil && i < 1000; i++ {
				tag := fmt.Sprint("full", i)
				if refused = s.Publish(t.Context(), Live, bigBatch(tag)); refused == nil {
					acked[tag+"-0"] = true
				}
			}
			var f *fault.Error
			if !errors.As(refused, &f) || f.Kind != fault.Unavailable || f.RetryAfter <= 0 {
				t.Fatalf("publishing to a full disk: %v", refused)
			}
			s.disk.off.Store(false)
			if err := os.Remove(filler); err != nil {
				t.Fatal(err)
			}
			var again *Batch
			eventually(t, "recovery after there is room", func() bool {
				again = bigBatch("after")
				return s.Publish(t.Context(), Live, again) == nil
			})
			acked["after-0"] = true
			got := map[string]bool{}
			last := uint64(0)
			for _, m := range fetchAll(t, s, Live, 1) {
				if m.Err != nil || m.Seq <= last {
					t.Errorf("message %d after %d: %v", m.Seq, last, m.Err)
				}
				last = m.Seq
				got[m.Batch.Events[0].Name] = true
			}
			for tag := range acked {
				if !got[tag] {
					t.Errorf("%s was acknowledged and is gone", tag)
				}
			}
			if err := s.Ready(t.Context()); err != nil {
				t.Error(err)
			}
		})
	}
}

// fillDisk writes until only so many bytes are free.
func fillDisk(t *testing.T, path string, free int64) {
	t.Helper()
	file, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = file.Close() }()
	for size := int64(0); ; {
		var disk syscall.Statfs_t
		if err := syscall.Statfs(filepath.Dir(path), &disk); err != nil {
			t.Fatal(err)
		}
		left := int64(disk.Bavail)*disk.Bsize - free
		if left < disk.Bsize {
			return
		}
		n, err := file.Write(make([]byte, min(left, 4<<20)))
		size += int64(n)
		if err != nil {
			t.Fatal(err)
		}
	}
}
