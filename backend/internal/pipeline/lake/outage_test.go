package lake

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"

	"github.com/causality-project/causality/backend/internal/pipeline/stream"
	"github.com/causality-project/causality/backend/internal/platform/event"
	"github.com/causality-project/causality/backend/internal/platform/objstore"
	"github.com/causality-project/causality/backend/internal/platform/postgres/postgrestest"
)

func TestPostgreSQLMayDieAndComeBack(t *testing.T) {
	t.Parallel()
	server := postgrestest.Supervised(t)
	h := newHouseOn(t, server)
	var all []event.Event
	for range 3 {
		events := someEvents(100)
		h.send(stream.Live, events[:50]...)
		pid := server.Status(h.ctx).PID
		if pid == 0 {
			t.Fatal("no process to kill")
		}
		if err := syscall.Kill(pid, syscall.SIGKILL); err != nil {
			t.Fatal(err)
		}
		h.send(stream.Live, events[50:]...) // accepted meanwhile
		all = append(all, events...)
		h.settle()
		h.until("the database is back", func() bool {
			now := server.Status(h.ctx)
			return now.PID != pid && now.PID != 0
		})
	}
	h.holds(h.app, idsOf(all))
	h.send(stream.Live, all...)
	h.settle()
	h.holds(h.app, idsOf(all))
}

// A real disk that is full: a file system of 4 MiB in memory.
func TestAFullDiskHoldsEventsUpAndLosesNone(t *testing.T) {
	t.Parallel()
	mount := t.TempDir()
	if out, err := exec.Command("mount", "-t", "tmpfs", "-o", "size=4m", "tmpfs", mount).CombinedOutput(); err != nil {
		// Without the right to mount, a store that cannot be written stands in.
		t.Logf("cannot mount a file system (%s); a store that cannot be written stands in", bytes.TrimSpace(out))
		unwritable(t)
		return
	}
	t.Cleanup(func() { _ = syscall.Unmount(mount, syscall.MNT_DETACH) })
	files, err := objstore.NewFiles(filepath.Join(mount, "objects"))
	if err != nil {
		t.Fatal(err)
	}
	h := newHouse(t, func(c *Config) { c.Objects = files })
	first := someEvents(10)
	h.send(stream.Live, first...)
	h.settle()
	filler := filepath.Join(mount, "filler")
	if err := fill(filler); err != nil {
		t.Fatal(err)
	}
	second := someEvents(2000)
	for part := range slices.Chunk(second, 500) {
		h.send(stream.Live, part...)
	}
	h.until("the status tells of the full disk", func() bool { return saysFull(h) })
	if err := os.Remove(filler); err != nil {
		t.Fatal(err)
	}
	h.settle()
	h.holds(h.app, idsOf(first, second))
}

func saysFull(h *house) bool {
	for _, s := range h.lake.Status(h.ctx) {
		if s.State != "ok" && strings.Contains(s.Message, "no space left") && strings.Contains(s.Message, "not lost") {
			return true
		}
	}
	return false
}

// fill takes all room that is left.
func fill(path string) error {
	file, err := os.Create(path)
	if err != nil {
		return err
	}
	defer file.Close()
	for size := 64 << 10; size > 0; {
		if _, err := file.Write(make([]byte, size)); errors.Is(err, syscall.ENOSPC) {
			size /= 2
		} else if err != nil {
			return fmt.Errorf("fill the disk: %w", err)
		}
	}
	return nil
}

// unwritable does the same on a store whose folder is in the way.
func unwritable(t *testing.T) {
	h := newHouse(t)
	first, second := someEvents(10), someEvents(500)
	h.send(stream.Live, first...)
	h.settle()
	objects := filepath.Join(h.dir, "objects")
	aside := objects + "-aside"
	if err := os.Rename(objects, aside); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(objects, nil, 0o600); err != nil { // in the way of every folder
		t.Fatal(err)
	}
	h.send(stream.Live, second...)
	h.until("the status tells", func() bool {
		return slices.ContainsFunc(h.lake.Status(h.ctx), func(s Status) bool { return strings.Contains(s.Message, "not lost") })
	})
	if err := errors.Join(os.Remove(objects), os.Rename(aside, objects)); err != nil {
		t.Fatal(err)
	}
	h.settle()
	h.holds(h.app, idsOf(first, second))
}
