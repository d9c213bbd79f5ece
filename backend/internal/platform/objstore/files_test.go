package objstore

import (
	"context"
	"errors"
	"io"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"
)

func open(t *testing.T) *Files {
	t.Helper()
	f, err := NewFiles(filepath.Join(t.TempDir(), "objects"))
	if err != nil {
		t.Fatal(err)
	}
	return f
}

func put(f *Files, key, text string) error {
	_, err := f.Create(context.Background(), key, func(w io.Writer) error { _, err := io.WriteString(w, text); return err })
	return err
}

func keys(t *testing.T, f *Files, prefix string) (found []string) {
	t.Helper()
	for o, err := range f.List(t.Context(), prefix) {
		if err != nil {
			t.Fatal(err)
		}
		found = append(found, o.Key)
	}
	return found
}

func TestObjectsAreWholeAndNeverOverwritten(t *testing.T) {
	t.Parallel()
	f := open(t)
	if err := put(f, "a/b/one", "first"); err != nil {
		t.Fatal(err)
	}
	if err := put(f, "a/b/one", "second"); !errors.Is(err, ErrExists) {
		t.Errorf("a second Create: %v, want ErrExists", err)
	}
	failure := errors.New("halfway")
	_, err := f.Create(t.Context(), "a/b/two", func(w io.Writer) error { _, _ = io.WriteString(w, "half"); return failure })
	if !errors.Is(err, failure) {
		t.Errorf("a failing write: %v", err)
	}
	if got := keys(t, f, ""); !slices.Equal(got, []string{"a/b/one"}) {
		t.Errorf("objects %v", got)
	}
	r, err := f.Open(t.Context(), "a/b/one")
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	text := make([]byte, r.Size())
	if _, err := r.ReadAt(text, 0); err != nil || string(text) != "first" {
		t.Errorf("read %q, %v", text, err)
	}
	path, err := f.Local(t.Context(), "a/b/one")
	if err != nil {
		t.Fatal(err)
	}
	// Another uid may read and never write.
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

func TestListFollowsPrefixesAndDeleteForgets(t *testing.T) {
	t.Parallel()
	f := open(t)
	for _, key := range []string{"app_id=1/x", "app_id=1/y/z", "app_id=12/x", "other"} {
		if err := put(f, key, key); err != nil {
			t.Fatal(err)
		}
	}
	if got := keys(t, f, "app_id=1/"); !slices.Equal(got, []string{"app_id=1/x", "app_id=1/y/z"}) {
		t.Errorf("app_id=1/: %v", got)
	}
	if got := keys(t, f, "app_id=1"); len(got) != 3 {
		t.Errorf("app_id=1: %v", got)
	}
	if got := keys(t, f, "nothing/here/"); len(got) != 0 {
		t.Errorf("nothing/here/: %v", got)
	}
	for range 2 {
		if err := f.Delete(t.Context(), "app_id=1/y/z"); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := f.Open(t.Context(), "app_id=1/y/z"); !errors.Is(err, ErrNotFound) {
		t.Errorf("open a deleted object: %v", err)
	}
	usage, err := f.Usage(t.Context())
	if err != nil || usage.Objects != 3 || usage.FreeBytes == 0 || usage.TotalBytes < usage.FreeBytes {
		t.Errorf("usage %+v, %v", usage, err)
	}
}

func TestKeysCannotLeaveTheRoot(t *testing.T) {
	t.Parallel()
	f := open(t)
	for _, key := range []string{"", ".", "..", "../x", "a/../../x", "/etc/x", "a//b", `a\b`, "a/" + temporaryPrefix + "x", "a\x00"} {
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
