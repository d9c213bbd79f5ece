package causality

import (
	"bufio"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"
)

const (
	killChildFile = "CAUSALITY_TEST_KILL_FILE"
	killChildFrom = "CAUSALITY_TEST_KILL_FROM"
)

// TestKillLosesNothingThatFlushConfirmed kills a process that tracks and flushes
// into a queue file, again and again, and then delivers what the file holds.
func TestKillLosesNothingThatFlushConfirmed(t *testing.T) {
	if file := os.Getenv(killChildFile); file != "" {
		trackUntilKilled(t, file)
		return
	}
	t.Parallel()
	file := filepath.Join(t.TempDir(), "queue")
	confirmed := map[string]bool{}
	next := 0
	for range 20 {
		last := killOnce(t, file, next)
		for n := next; n <= last; n++ {
			confirmed[strconv.Itoa(n)] = true
		}
		next = last + 10_000 // beyond whatever the child had tracked unconfirmed
	}
	s := &server{}
	c := start(t, s, func(o *Options) { o.QueueFile = file })
	if stats := c.Stats(); stats.InMemory || stats.QueueError != nil {
		t.Fatalf("the file did not survive: %+v", stats)
	}
	if err := c.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
	before := -1
	for _, r := range s.seen() {
		for _, name := range r.names {
			n, err := strconv.Atoi(name)
			if err != nil || n <= before {
				t.Fatalf("event %s follows event %d", name, before)
			}
			before = n
			delete(confirmed, name)
		}
	}
	if len(confirmed) > 0 {
		t.Errorf("%d confirmed events are lost", len(confirmed))
	}
}

// killOnce returns the last event that the child had confirmed before its death.
func killOnce(t *testing.T, file string, from int) int {
	child := exec.Command(os.Args[0], "-test.run=^TestKillLosesNothing", "-test.count=1")
	child.Env = append(os.Environ(), killChildFile+"="+file, fmt.Sprintf("%s=%d", killChildFrom, from))
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
		n, err := strconv.Atoi(strings.TrimPrefix(lines.Text(), "confirmed "))
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

func trackUntilKilled(t *testing.T, file string) {
	down := roundTripper(func(*http.Request) (*http.Response, error) { return nil, errors.New("the network is down") })
	c := start(t, down, func(o *Options) { o.QueueFile = file })
	if stats := c.Stats(); stats.InMemory || stats.QueueError != nil {
		t.Fatalf("the file cannot be used: %+v", stats)
	}
	n, err := strconv.Atoi(os.Getenv(killChildFrom))
	if err != nil {
		t.Fatal(err)
	}
	for {
		for range 1 + rand.IntN(50) {
			track(t, c, strconv.Itoa(n))
			n++
		}
		if err := c.Flush(t.Context()); !errors.Is(err, ErrUndelivered) || c.Stats().QueueError != nil {
			t.Fatalf("Flush = %v", err)
		}
		fmt.Println("confirmed", n-1)
	}
}
