package objstore

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"path/filepath"
	"slices"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/causality-project/causality/backend/internal/platform/objstore/s3test"
)

// Every store keeps the same promises. The suite is run against each with a
// fresh, empty one.
func TestStores(t *testing.T) {
	t.Parallel()
	server := s3test.Start(t)
	var prefixes atomic.Int64
	stores := map[string]func(t *testing.T) Store{
		"files": func(t *testing.T) Store { return open(t) },
		"S3":    func(t *testing.T) Store { return newS3(t, server, fmt.Sprint("run-", prefixes.Add(1))) },
		"cache": func(t *testing.T) Store {
			return newCache(t, newS3(t, server, fmt.Sprint("run-", prefixes.Add(1))), t.TempDir(), 0)
		},
	}
	for name, fresh := range stores {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			for name, promise := range promises {
				t.Run(name, func(t *testing.T) { t.Parallel(); promise(t, fresh(t)) })
			}
		})
	}
}

func newS3(t *testing.T, server *s3test.Server, prefix string) *S3 {
	t.Helper()
	cfg, err := ParseS3(server.URL(prefix))
	if err != nil {
		t.Fatal(err)
	}
	cfg.Logger = discard()
	store, err := NewS3(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	return store
}

func discard() *slog.Logger { return slog.New(slog.DiscardHandler) }

func newCache(t *testing.T, s3 *S3, dir string, most int64) *Cache {
	t.Helper()
	cache, err := NewCache(s3, CacheConfig{Dir: dir, Bytes: most, Logger: discard()})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = cache.Close(context.Background()) })
	return cache
}

var promises = map[string]func(*testing.T, Store){
	"an object is whole and never overwritten": func(t *testing.T, s Store) {
		if err := put(s, "a/b/one", "first"); err != nil {
			t.Fatal(err)
		}
		if err := put(s, "a/b/one", "second"); !errors.Is(err, ErrExists) {
			t.Errorf("a second Create: %v, want ErrExists", err)
		}
		failure := errors.New("halfway")
		_, err := s.Create(t.Context(), "a/b/two", func(w io.Writer) error { _, _ = io.WriteString(w, "half"); return failure })
		if !errors.Is(err, failure) {
			t.Errorf("a failing write: %v", err)
		}
		if got := keys(t, s, ""); !slices.Equal(got, []string{"a/b/one"}) {
			t.Errorf("objects %v", got)
		}
		if got := read(t, s, "a/b/one"); got != "first" {
			t.Errorf("read %q", got)
		}
	},
	"an empty object is an object": func(t *testing.T, s Store) {
		if err := put(s, "empty", ""); err != nil {
			t.Fatal(err)
		}
		if got := read(t, s, "empty"); got != "" {
			t.Errorf("read %q", got)
		}
	},
	"a reader reads anywhere and knows the end": func(t *testing.T, s Store) {
		if err := put(s, "x", "0123456789"); err != nil {
			t.Fatal(err)
		}
		r, err := s.Open(t.Context(), "x")
		if err != nil {
			t.Fatal(err)
		}
		defer r.Close()
		for _, test := range []struct {
			at   int64
			room int
			want string
			err  error
		}{{0, 3, "012", nil}, {7, 3, "789", nil}, {7, 4, "789", io.EOF}, {10, 1, "", io.EOF}, {11, 1, "", io.EOF}, {4, 0, "", nil}} {
			p := make([]byte, test.room)
			n, err := r.ReadAt(p, test.at)
			if string(p[:n]) != test.want || !errors.Is(err, test.err) || (test.err == nil && err != nil) {
				t.Errorf("%d bytes at %d: %q, %v; want %q, %v", test.room, test.at, p[:n], err, test.want, test.err)
			}
		}
		if r.Size() != 10 {
			t.Errorf("size %d", r.Size())
		}
	},
	"listing follows prefixes and deleting forgets": func(t *testing.T, s Store) {
		for _, key := range []string{"app_id=1/x", "app_id=1/y/z", "app_id=12/x", "other"} {
			if err := put(s, key, key); err != nil {
				t.Fatal(err)
			}
		}
		if got := keys(t, s, "app_id=1/"); !slices.Equal(got, []string{"app_id=1/x", "app_id=1/y/z"}) {
			t.Errorf("app_id=1/: %v", got)
		}
		if got := keys(t, s, "app_id=1"); len(got) != 3 {
			t.Errorf("app_id=1: %v", got)
		}
		if got := keys(t, s, "nothing/here/"); len(got) != 0 {
			t.Errorf("nothing/here/: %v", got)
		}
		for object, err := range s.List(t.Context(), "app_id=12/") {
			if err != nil || object.Bytes != int64(len("app_id=12/x")) || object.ModifiedAt.IsZero() {
				t.Errorf("listed %+v, %v", object, err)
			}
		}
		for range 2 {
			if err := s.Delete(t.Context(), "app_id=1/y/z"); err != nil {
				t.Fatal(err)
			}
		}
		if _, err := s.Open(t.Context(), "app_id=1/y/z"); !errors.Is(err, ErrNotFound) {
			t.Errorf("open a deleted object: %v", err)
		}
		if err := put(s, "app_id=1/y/z", "again"); err != nil {
			t.Errorf("a key that was deleted is free: %v", err)
		}
	},
	"keys that could mean something else are refused": func(t *testing.T, s Store) {
		for _, key := range []string{"", ".", "..", "../x", "a/../../x", "/etc/x", "a//b", `a\b`, "a\x00", "a/"} {
			if err := put(s, key, "x"); err == nil {
				t.Errorf("key %q is taken", key)
			}
			if _, err := s.Open(t.Context(), key); err == nil {
				t.Errorf("key %q is opened", key)
			}
			if err := s.Delete(t.Context(), key); err == nil {
				t.Errorf("key %q is deleted", key)
			}
		}
	},
	"names of the layout survive": func(t *testing.T, s Store) {
		key := "app_id=6f9619ff-8b86-d011-b42d-00cf4fc964ff/year=2026/month=03/a b+c&ü.parquet"
		if err := put(s, key, "x"); err != nil {
			t.Fatal(err)
		}
		if got := keys(t, s, ""); !slices.Equal(got, []string{key}) {
			t.Errorf("objects %q", got)
		}
		if got := read(t, s, key); got != "x" {
			t.Errorf("read %q", got)
		}
	},
	"one of many who create a key wins": func(t *testing.T, s Store) {
		var wins atomic.Int64
		var wait sync.WaitGroup
		for i := range 8 {
			wait.Go(func() {
				err := put(s, "wanted", fmt.Sprint(i))
				if err == nil {
					wins.Add(1)
				} else if !errors.Is(err, ErrExists) {
					t.Error(err)
				}
			})
		}
		wait.Wait()
		if wins.Load() != 1 {
			t.Errorf("%d won", wins.Load())
		}
	},
	"an ended context ends the work": func(t *testing.T, s Store) {
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		if _, err := s.Create(ctx, "x", func(w io.Writer) error { return nil }); !errors.Is(err, context.Canceled) {
			t.Errorf("create: %v", err)
		}
		if _, err := s.Open(ctx, "x"); !errors.Is(err, context.Canceled) {
			t.Errorf("open: %v", err)
		}
		if err := s.Delete(ctx, "x"); !errors.Is(err, context.Canceled) {
			t.Errorf("delete: %v", err)
		}
		if got := keys(t, s, ""); len(got) != 0 {
			t.Errorf("objects %v", got)
		}
	},
	"large objects arrive whole": func(t *testing.T, s Store) {
		want := make([]byte, 2*partSize+12345)
		for i := range want {
			want[i] = byte(i ^ i>>8 ^ i>>16)
		}
		write := func(w io.Writer) error {
			for at := 0; at < len(want); at += 1 << 20 {
				if _, err := w.Write(want[at:min(at+1<<20, len(want))]); err != nil {
					return err
				}
			}
			return nil
		}
		if n, err := s.Create(t.Context(), "large", write); err != nil || n != int64(len(want)) {
			t.Fatalf("%d bytes, %v", n, err)
		}
		if _, err := s.Create(t.Context(), "large", write); !errors.Is(err, ErrExists) {
			t.Errorf("a second Create: %v, want ErrExists", err)
		}
		failure := errors.New("halfway")
		_, err := s.Create(t.Context(), "half", func(w io.Writer) error { return errors.Join(write(w), failure) })
		if !errors.Is(err, failure) {
			t.Errorf("a failing write: %v", err)
		}
		if got := keys(t, s, ""); !slices.Equal(got, []string{"large"}) {
			t.Errorf("objects %v", got)
		}
		if read(t, s, "large") != string(want) {
			t.Error("it is not what was written")
		}
	},
}

func put(s Store, key, text string) error {
	_, err := s.Create(context.Background(), key, func(w io.Writer) error { _, err := io.WriteString(w, text); return err })
	return err
}

func read(t *testing.T, s Store, key string) string {
	t.Helper()
	r, err := s.Open(t.Context(), key)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	text := make([]byte, r.Size())
	if _, err := r.ReadAt(text, 0); err != nil && !errors.Is(err, io.EOF) {
		t.Fatal(err)
	}
	return string(text)
}

func keys(t *testing.T, s Store, prefix string) (found []string) {
	t.Helper()
	for o, err := range s.List(t.Context(), prefix) {
		if err != nil {
			t.Fatal(err)
		}
		found = append(found, o.Key)
	}
	return found
}

func open(t *testing.T) *Files {
	t.Helper()
	f, err := NewFiles(filepath.Join(t.TempDir(), "objects"))
	if err != nil {
		t.Fatal(err)
	}
	return f
}
