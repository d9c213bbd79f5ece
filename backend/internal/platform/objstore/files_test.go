package objstore

import (
	"io"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/causality-project/causality/backend/internal/platform/fault"
)

func TestAnotherUserMayReadAnObjectAndNeverWriteIt(t *testing.T) {
	t.Parallel()
	f := open(t)
	if err := put(f, "a/b/one", "first"); err != nil {
		t.Fatal(err)
	}
	path, err := f.Local(t.Context(), "a/b/one")
	if err != nil {
		t.Fatal(err)
	}
	file, err := os.Stat(path)
	if err != nil {
		t.Fatal(err)
	}
	folder, err := os.Stat(filepath.Dir(path))
	if err != nil {
		t.Fatal(err)
	}
	if file.Mode().Perm() != 0o644 || folder.Mode().Perm() != 0o755 {
		t.Errorf("modes %v and %v", file.Mode(), folder.Mode())
	}
	if entries, _ := os.ReadDir(filepath.Dir(path)); len(entries) != 1 {
		t.Errorf("%d entries, want no leftovers", len(entries))
	}
}

func TestUsageCountsObjectsAndRoom(t *testing.T) {
	t.Parallel()
	f := open(t)
	for _, key := range []string{"a", "b/c"} {
		if err := put(f, key, "12345"); err != nil {
			t.Fatal(err)
		}
	}
	usage, err := f.Usage(t.Context())
	if err != nil || usage.Objects != 2 || usage.UsedBytes != 10 || usage.FreeBytes == 0 || usage.TotalBytes < usage.FreeBytes {
		t.Errorf("usage %+v, %v", usage, err)
	}
}

func TestKeysCannotLeaveTheRoot(t *testing.T) {
	t.Parallel()
	f := open(t)
	for _, key := range []string{"../x", "/etc/x", "a/" + temporaryPrefix + "x"} {
		if err := put(f, key, "x"); err == nil {
			t.Errorf("key %q is taken", key)
		}
		if _, err := f.Local(t.Context(), key); err == nil {
			t.Errorf("key %q has a path", key)
		}
	}
}

func TestWhatCrashedWritersLeftIsRemoved(t *testing.T) {
	t.Parallel()
	root := t.TempDir()
	old, young := filepath.Join(root, temporaryPrefix+"old"), filepath.Join(root, temporaryPrefix+"young")
	for _, path := range []string{old, young} {
		if err := os.WriteFile(path, nil, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Chtimes(old, time.Now(), time.Now().Add(-2*staleAfter)); err != nil {
		t.Fatal(err)
	}
	f, err := NewFiles(root)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(old); err == nil {
		t.Error("the old leftover is still there")
	}
	if _, err := os.Stat(young); err != nil {
		t.Error("a file that may still be written is gone")
	}
	if got := keys(t, f, ""); len(got) != 0 {
		t.Errorf("leftovers are listed: %v", got)
	}
}

func TestAFullDiskIsSaidToBeFull(t *testing.T) {
	t.Parallel()
	f := open(t)
	_, err := f.Create(t.Context(), "a/b", func(io.Writer) error { return &os.PathError{Op: "write", Path: "x", Err: syscall.ENOSPC} })
	if !fault.Is(err, fault.Unavailable) || !strings.Contains(err.Error(), "The disk is full") {
		t.Errorf("error %v, want Unavailable that says that the disk is full", err)
	}
}
