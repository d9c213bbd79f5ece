package causality

import (
	"errors"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
)

const fullDiskFile = "CAUSALITY_TEST_FULL_DISK"

// TestAFullDiskIsSaidAndDeliveryGoesOn runs in a process of its own, whose files
// cannot grow beyond 256 KiB.
func TestAFullDiskIsSaidAndDeliveryGoesOn(t *testing.T) {
	if file := os.Getenv(fullDiskFile); file != "" {
		trackOnFullDisk(t, file)
		return
	}
	t.Parallel()
	child := exec.Command(os.Args[0], "-test.run=^TestAFullDiskIsSaid", "-test.count=1")
	child.Env = append(os.Environ(), fullDiskFile+"="+filepath.Join(t.TempDir(), "queue"))
	if out, err := child.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
}

func trackOnFullDisk(t *testing.T, file string) {
	limit := syscall.Rlimit{Cur: 256 << 10, Max: 256 << 10}
	if err := syscall.Setrlimit(syscall.RLIMIT_FSIZE, &limit); err != nil {
		t.Fatal(err)
	}
	s := &server{}
	var up atomic.Bool
	c := start(t, roundTripper(func(r *http.Request) (*http.Response, error) {
		if up.Load() {
			return s.RoundTrip(r)
		}
		return nil, errors.New("the network is down")
	}), func(o *Options) { o.QueueFile = file })
	kept := 0
	for {
		err := c.Track(t.Context(), Event{
			Name: strconv.Itoa(kept), UserID: "u1", Properties: Properties{"pad": strings.Repeat("p", 20_000)},
		})
		if errors.Is(err, ErrQueueFull) {
			break
		}
		if err != nil || kept > 10_000 {
			t.Fatalf("after %d events: %v, want ErrQueueFull", kept, err)
		}
		kept++
		if kept == 5 { // some fit on the disk
			if err := c.Flush(t.Context()); !errors.Is(err, ErrUndelivered) || c.Stats().QueueError != nil {
				t.Fatal(err)
			}
		}
	}
	if err := c.Flush(t.Context()); !errors.Is(err, ErrUndelivered) || c.Stats().QueueError == nil {
		t.Fatalf("Flush = %v, stats %+v; want both to say that the disk is full", err, c.Stats())
	}
	up.Store(true)
	if err := c.Flush(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := c.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
	at := 0
	for _, r := range s.seen() {
		for _, name := range r.names {
			if name != strconv.Itoa(at) {
				t.Fatalf("event %s arrived in place of %d", name, at)
			}
			at++
		}
	}
	if stats := c.Stats(); at != kept || stats.Dropped["queue_full"] == 0 || stats.QueueError != nil {
		t.Errorf("%d of %d kept events arrived, stats %+v", at, kept, stats)
	}
}
