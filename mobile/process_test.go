//go:build unix

package mobile

import (
	"bufio"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/causality-project/causality/sdk/core"
)

const (
	killDir  = "CAUSALITY_TEST_KILL_DIR"
	killFrom = "CAUSALITY_TEST_KILL_FROM"
	fullDir  = "CAUSALITY_TEST_FULL_DIR"
)

// TestKillLosesNothingThatWasSaidToBeStored kills a process that records and
// flushes without a network, again and again, and then delivers what its file holds.
func TestKillLosesNothingThatWasSaidToBeStored(t *testing.T) {
	if dir := os.Getenv(killDir); dir != "" {
		recordUntilKilled(t, dir)
		return
	}
	t.Parallel()
	dir := t.TempDir()
	stored := map[string]bool{}
	next := 0
	for range 10 {
		last := killOnce(t, dir, next)
		for n := next; n <= last; n++ {
			stored[strconv.Itoa(n)] = true
		}
		next = last + 10_000 // beyond whatever the child had recorded after that
	}
	s := serve(t)
	c := ready(t, open(t, dir, s, nil))
	if stats := c.Stats(); stats.Storage() != "file" || stats.QueueError() != "" {
		t.Fatalf("the file did not survive: %s, %s", stats.Storage(), stats.QueueError())
	}
	flush(t, c)
	before, anonymous := -1, c.AnonymousID()
	for _, e := range s.seen() {
		n, err := strconv.Atoi(e.name)
		if err != nil || n <= before {
			t.Fatalf("event %q follows event %d", e.name, before)
		}
		if e.anonymous != anonymous {
			t.Fatalf("event %q is of visitor %q, not %q", e.name, e.anonymous, anonymous)
		}
		before = n
		delete(stored, e.name)
	}
	if len(stored) > 0 {
		t.Errorf("%d events that were said to be stored are lost", len(stored))
	}
}

// killOnce returns the last event that the child had said to be stored.
func killOnce(t *testing.T, dir string, from int) int {
	child := exec.Command(os.Args[0], "-test.run=^TestKillLosesNothing", "-test.count=1")
	child.Env = append(os.Environ(), killDir+"="+dir, fmt.Sprintf("%s=%d", killFrom, from))
	out, err := child.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := child.Start(); err != nil {
		t.Fatal(err)
	}
	last := from - 1
	lines := bufio.NewScanner(out)
	enough := 1 + rand.IntN(20)
	for lines.Scan() {
		n, err := strconv.Atoi(strings.TrimPrefix(lines.Text(), "stored "))
		if err != nil {
			t.Fatalf("the child says %q", lines.Text())
		}
		last = n
		if enough--; enough == 0 {
			// Somewhere within the next few commits.
			time.AfterFunc(time.Duration(rand.IntN(2000))*time.Microsecond, func() { _ = child.Process.Kill() })
		}
	}
	var death *exec.ExitError
	if err := child.Wait(); !errors.As(err, &death) || death.ProcessState.Exited() {
		t.Fatalf("the child ended by itself: %v", err)
	}
	return last
}

func recordUntilKilled(t *testing.T, dir string) {
	c := open(t, dir, sending(func(*Reply) error { return errors.New("the network is down") }), nil)
	n, err := strconv.Atoi(os.Getenv(killFrom))
	if err != nil {
		t.Fatal(err)
	}
	for {
		for range 1 + rand.IntN(50) {
			track(t, c, strconv.Itoa(n))
			n++
		}
		if err := c.Flush(30_000); err == nil {
			t.Fatal("delivered without a network")
		}
		if stats := c.Stats(); stats.Storage() != "file" || stats.QueueError() != "" {
			t.Fatalf("the file cannot be used: %s, %s", stats.Storage(), stats.QueueError())
		}
		fmt.Println("stored", n-1)
	}
}

// TestAFullDiskIsSaidAndDeliveryGoesOn runs in a process of its own, whose files
// cannot grow beyond 256 KiB.
func TestAFullDiskIsSaidAndDeliveryGoesOn(t *testing.T) {
	if dir := os.Getenv(fullDir); dir != "" {
		recordOnFullDisk(t, dir)
		return
	}
	t.Parallel()
	child := exec.Command(os.Args[0], "-test.run=^TestAFullDiskIsSaid", "-test.count=1")
	child.Env = append(os.Environ(), fullDir+"="+t.TempDir())
	if out, err := child.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
}

func recordOnFullDisk(t *testing.T, dir string) {
	limit := syscall.Rlimit{Cur: 256 << 10, Max: 256 << 10}
	if err := syscall.Setrlimit(syscall.RLIMIT_FSIZE, &limit); err != nil {
		t.Fatal(err)
	}
	s := serve(t)
	s.down.Store(true)
	log := &logs{}
	c := ready(t, open(t, dir, s, log))
	p := NewProperties()
	p.PutString("pad", strings.Repeat("p", 20_000))
	kept := 0
	for ; ; kept++ {
		err := c.Track(strconv.Itoa(kept), p)
		if errors.Is(err, core.ErrQueueFull) {
			break
		}
		if err != nil || kept > 10_000 {
			t.Fatalf("after %d events: %v, want ErrQueueFull", kept, err)
		}
	}
	if err := c.Flush(30_000); err == nil || c.Stats().QueueError() == "" {
		t.Fatalf("Flush = %v, queue error %q; want both to say that the disk is full", err, c.Stats().QueueError())
	}
	s.down.Store(false)
	flush(t, c)
	if err := c.Close(30_000); err != nil {
		t.Fatal(err)
	}
	var want []string
	for i := range kept {
		want = append(want, strconv.Itoa(i))
	}
	if got := names(s.seen()); !slices.Equal(got, want) {
		t.Errorf("%d of %d kept events arrived, or in another order", len(got), kept)
	}
	if !log.has("error", "takes no events") {
		t.Errorf("the observer heard %q", log.all())
	}
}
