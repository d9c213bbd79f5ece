package objstore

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/causality-project/causality/backend/internal/platform/fault"
	"github.com/causality-project/causality/backend/internal/platform/objstore/s3test"
)

// stored puts an object of noise into the bucket, past the cache.
func stored(t *testing.T, server *s3test.Server, key string, size int) []byte {
	t.Helper()
	data := make([]byte, size)
	noise := rand.NewChaCha8([32]byte{byte(size)})
	_, _ = noise.Read(data)
	if err := server.Put(t.Context(), "p/"+key, data); err != nil {
		t.Fatal(err)
	}
	return data
}

// fetched makes ranges readable and says how many requests and bytes it took.
func fetched(t *testing.T, server *s3test.Server, c *Cache, key string, size int, ranges []Range) (requests, bytes int64) {
	t.Helper()
	r, b := server.Proxy.Traffic()
	if err := c.Fetch(t.Context(), key, int64(size), ranges); err != nil {
		t.Fatal(err)
	}
	requests, bytes = server.Proxy.Traffic()
	return requests - r, bytes - b
}

func TestCacheFetchesWhatIsAskedForOnce(t *testing.T) {
	t.Parallel()
	server := s3test.Start(t)
	const size = 2 << 20
	data := stored(t, server, "x", size)
	c := newCache(t, newS3(t, server, "p"), t.TempDir(), 0)
	far := int64(1 << 20)
	for i, test := range []struct {
		ranges          []Range
		requests, bytes int64
	}{
		{[]Range{{100, 50}}, 1, 50},
		{[]Range{{100, 50}, {120, 10}}, 0, 0},
		{[]Range{{far, 100}, {far + 100 + nearGap, 100}}, 1, 200 + nearGap}, // near: one request
		{[]Range{{far + 300_000, 10}, {far + 310_000 + nearGap, 10}}, 2, 20},
		{[]Range{{50, 200}}, 2, 150}, // around what is there
		{[]Range{}, 0, 0},
		{nil, 5, size - 200 - 200 - nearGap - 20},
		{nil, 0, 0},
	} {
		requests, bytes := fetched(t, server, c, "x", size, test.ranges)
		if requests != test.requests || bytes != test.bytes {
			t.Errorf("step %d: %d requests of %d bytes, want %d of %d", i, requests, bytes, test.requests, test.bytes)
		}
		got, err := os.ReadFile(c.Path("x"))
		if err != nil || len(got) != size {
			t.Fatalf("step %d: %d bytes, %v", i, len(got), err)
		}
		for _, r := range test.ranges {
			if !bytesEqual(got, data, r) {
				t.Errorf("step %d: %+v is not what was stored", i, r)
			}
		}
	}
	for _, bad := range []Range{{-1, 2}, {size, 1}, {0, size + 1}, {1, -1}} {
		if err := c.Fetch(t.Context(), "x", size, []Range{bad}); err == nil {
			t.Errorf("%+v was fetched", bad)
		}
	}
	info, err := os.Stat(c.Path("x"))
	if err != nil || info.Mode().Perm() != 0o644 {
		t.Errorf("mode %v, %v", info.Mode(), err)
	}
}

func bytesEqual(a, b []byte, r Range) bool {
	return bytes.Equal(a[r.Offset:r.end()], b[r.Offset:r.end()])
}

func TestManyWhoWantTheSameMakeOneRequest(t *testing.T) {
	t.Parallel()
	server := s3test.Start(t)
	const size = 1 << 20
	data := stored(t, server, "x", size)
	c := newCache(t, newS3(t, server, "p"), t.TempDir(), 0)
	ranges := []Range{{0, 1000}, {500_000, 1000}}
	var first atomic.Bool
	server.Proxy.Inject(func(*http.Request) s3test.Fault {
		return s3test.Fault{Delay: 50 * time.Millisecond, Refuse: first.CompareAndSwap(false, true)}
	})
	before, _ := server.Proxy.Traffic()
	impatient, cancel := context.WithCancel(t.Context())
	var wait sync.WaitGroup
	for i := range 20 {
		wait.Go(func() {
			ctx := t.Context()
			if i == 0 {
				ctx = impatient // whoever gives up leaves its work to the others
			}
			if err := c.Fetch(ctx, "x", size, ranges); err != nil && i != 0 {
				t.Error(err)
			}
			if i == 1 {
				cancel()
			}
		})
	}
	wait.Wait()
	cancel()
	after, _ := server.Proxy.Traffic()
	if after-before > 6 {
		t.Errorf("%d requests", after-before)
	}
	got, err := os.ReadFile(c.Path("x"))
	if err != nil || !bytesEqual(got, data, ranges[0]) || !bytesEqual(got, data, ranges[1]) {
		t.Errorf("not what was stored, %v", err)
	}
}

func TestCopiesOutliveTheProcessIfTheyAreWhole(t *testing.T) {
	t.Parallel()
	server := s3test.Start(t)
	const size = 300_000
	s3 := newS3(t, server, "p")
	dir := t.TempDir()
	first := newCache(t, s3, dir, 0)
	data := map[string][]byte{}
	for _, key := range []string{"good", "damaged", "a/cut", "lost"} {
		data[key] = stored(t, server, key, size)
		fetched(t, server, first, key, size, []Range{{0, 1000}, {200_000, 5000}})
	}
	if _, err := NewCache(s3, CacheConfig{Dir: dir, Logger: discard()}); err == nil || !strings.Contains(err.Error(), "another process") {
		t.Errorf("a second user of the directory: %v", err)
	}
	if err := first.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
	// What a crash or a bad disk can leave.
	flip(t, first.Path("damaged"), 202_000)
	if err := os.Truncate(first.Path("a/cut"), 1000); err != nil {
		t.Fatal(err)
	}
	if err := os.Remove(first.Path("lost")); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(first.Dir(), "stray"), make([]byte, 10), 0o644); err != nil {
		t.Fatal(err)
	}
	journal, err := os.OpenFile(filepath.Join(dir, "journal"), os.O_APPEND|os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	_, _ = journal.WriteString(`{"k":"good","s":300000,"o":7000`) // torn
	_ = journal.Close()

	second := newCache(t, s3, dir, 0)
	for key, want := range map[string]int64{"good": 0, "damaged": 1, "a/cut": 2, "lost": 2} {
		if requests, _ := fetched(t, server, second, key, size, []Range{{0, 1000}, {200_000, 5000}}); requests != want {
			t.Errorf("%s: %d requests, want %d", key, requests, want)
		}
		got, err := os.ReadFile(second.Path(key))
		if err != nil || !bytesEqual(got, data[key], Range{0, 1000}) || !bytesEqual(got, data[key], Range{200_000, 5000}) {
			t.Errorf("%s is not what was stored, %v", key, err)
		}
	}
	if _, err := os.Stat(filepath.Join(second.Dir(), "stray")); err == nil {
		t.Error("a file that nobody knows is still there")
	}
	// Somebody clears the directory of a running process.
	if err := os.Remove(second.Path("good")); err != nil {
		t.Fatal(err)
	}
	if requests, _ := fetched(t, server, second, "good", size, []Range{{0, 1000}}); requests != 1 {
		t.Errorf("%d requests for a copy that somebody removed", requests)
	}
}

func flip(t *testing.T, path string, at int64) {
	t.Helper()
	file, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	var b [1]byte
	if _, err := file.ReadAt(b[:], at); err != nil {
		t.Fatal(err)
	}
	b[0] ^= 1
	if _, err := file.WriteAt(b[:], at); err != nil {
		t.Fatal(err)
	}
}

func TestCacheKeepsItsBoundAndWhatIsPinned(t *testing.T) {
	t.Parallel()
	server := s3test.Start(t)
	const size = 100_000
	c := newCache(t, newS3(t, server, "p"), t.TempDir(), 350_000)
	there := func() (found string) {
		for i := range 6 {
			if _, err := os.Stat(c.Path(fmt.Sprint("f/", i))); err == nil {
				found += fmt.Sprint(i)
			}
		}
		return found
	}
	for i := range 6 {
		stored(t, server, fmt.Sprint("f/", i), size)
	}
	unpin := c.Pin([]string{"f/0"})
	for _, step := range []struct {
		fetch int
		there string
	}{{0, "0"}, {1, "01"}, {2, "012"}, {1, "012"}, {3, "013"}, {4, "034"}} {
		fetched(t, server, c, fmt.Sprint("f/", step.fetch), size, nil)
		if got := there(); got != step.there {
			t.Errorf("after %d: %s are there, want %s", step.fetch, got, step.there)
		}
	}
	also := c.Pin([]string{"f/3", "f/4"})
	err := c.Fetch(t.Context(), "f/5", size, nil)
	if !fault.Is(err, fault.Exhausted) || !strings.Contains(err.Error(), "--object-cache-bytes") {
		t.Errorf("everything is pinned: %v, want Exhausted that names the flag", err)
	}
	also()
	unpin()
	unpin()
	fetched(t, server, c, "f/5", size, nil)
	if got := there(); strings.Contains(got, "0") || !strings.Contains(got, "5") {
		t.Errorf("%s are there, want 5 and no more 0", got)
	}
	if entries, _ := os.ReadDir(c.Dir()); len(entries) != 1 {
		t.Errorf("%d entries, want the one folder", len(entries))
	}
}

func TestAFullDiskEvictsAndIsTold(t *testing.T) {
	t.Parallel()
	server := s3test.Start(t)
	mount := t.TempDir()
	if out, err := exec.Command("mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", mount).CombinedOutput(); err != nil {
		t.Logf("cannot mount a small file system (%s): only root can prove this", bytes.TrimSpace(out))
		return
	}
	t.Cleanup(func() { _ = syscall.Unmount(mount, syscall.MNT_DETACH) })
	c := newCache(t, newS3(t, server, "p"), filepath.Join(mount, "cache"), 1<<30)
	for i := range 4 {
		stored(t, server, fmt.Sprint("f", i), 400_000)
	}
	for i := range 4 { // each fits, two do, three do not
		fetched(t, server, c, fmt.Sprint("f", i), 400_000, nil)
	}
	stored(t, server, "large", 3<<20)
	if err := c.Fetch(t.Context(), "large", 3<<20, nil); !fault.Is(err, fault.Unavailable) || !strings.Contains(err.Error(), "full") {
		t.Errorf("an object larger than the disk: %v, want Unavailable that says so", err)
	}
	fetched(t, server, c, "f0", 400_000, nil)
	if err := put(c, "new", strings.Repeat("x", 2<<20)); err != nil {
		t.Errorf("a full cache must not keep objects from being written: %v", err)
	}
}

func TestForgottenCopiesAreGoneAndReadersNeverSeeZeros(t *testing.T) {
	t.Parallel()
	server := s3test.Start(t)
	const size = 3 << 20
	data := stored(t, server, "x", size)
	c := newCache(t, newS3(t, server, "p"), t.TempDir(), 0)
	r, err := c.Open(t.Context(), "x")
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	stop := make(chan struct{})
	var wait sync.WaitGroup
	wait.Go(func() {
		for {
			select {
			case <-stop:
				return
			default:
				if err := c.Forget(context.Background(), "x", "unknown"); err != nil {
					t.Error(err)
				}
			}
		}
	})
	p := make([]byte, 10_000)
	for i := range 60 {
		at := int64(i) * 50_000
		n, err := r.ReadAt(p, at)
		if err != nil && !errors.Is(err, io.EOF) {
			if fault.Is(err, fault.Unavailable) {
				continue // it was removed under the reader's hands, and the error says so
			}
			t.Fatal(err)
		}
		if !bytes.Equal(p[:n], data[at:at+int64(n)]) {
			t.Fatalf("at %d: not what was stored", at)
		}
	}
	close(stop)
	wait.Wait()
	if err := c.Forget(t.Context(), "x"); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(c.Path("x")); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the copy is still there: %v", err)
	}
}

func TestAnObjectThatIsNotTheOneIsRefused(t *testing.T) {
	t.Parallel()
	server := s3test.Start(t)
	c := newCache(t, newS3(t, server, "p"), t.TempDir(), 0)
	stored(t, server, "x", 100_000)
	if err := c.Fetch(t.Context(), "x", 99_999, []Range{{0, 10}}); !fault.Is(err, fault.Unavailable) || !strings.Contains(err.Error(), "lake verify") {
		t.Errorf("another size: %v, want Unavailable that names lake verify", err)
	}
	stored(t, server, "y", 100_000)
	fetched(t, server, c, "y", 100_000, []Range{{0, 10}})
	if err := server.Put(t.Context(), "p/y", make([]byte, 100_000)); err != nil {
		t.Fatal(err)
	}
	if err := c.Fetch(t.Context(), "y", 100_000, []Range{{90_000, 10}}); !fault.Is(err, fault.Unavailable) || !strings.Contains(err.Error(), "changed") {
		t.Errorf("another content: %v, want Unavailable that says so", err)
	}
	if err := c.Fetch(t.Context(), "nothing", 10, nil); !errors.Is(err, ErrNotFound) {
		t.Errorf("no object: %v, want ErrNotFound", err)
	}
}

func TestWhatWasWrittenIsReadWithoutAsking(t *testing.T) {
	t.Parallel()
	server := s3test.Start(t)
	c := newCache(t, newS3(t, server, "p"), t.TempDir(), 0)
	text := strings.Repeat("text", 10_000)
	if err := put(c, "a/x", text); err != nil {
		t.Fatal(err)
	}
	if requests, _ := fetched(t, server, c, "a/x", len(text), nil); requests != 0 {
		t.Errorf("%d requests", requests)
	}
	path, err := c.Local(t.Context(), "a/x")
	if err != nil {
		t.Fatal(err)
	}
	if got, err := os.ReadFile(path); err != nil || string(got) != text {
		t.Errorf("%d bytes, %v", len(got), err)
	}
}
