package driver

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/causality-project/causality/sdk/core"
)

// accepted is the answer of a server that takes n events, n below 128.
func accepted(n byte) core.Response { return core.Response{Status: 200, Body: []byte{1 << 3, n}} }

func open(t *testing.T, cfg Config) *Driver {
	t.Helper()
	d, err := Open(cfg)
	if err != nil {
		t.Fatal(err)
	}
	return d
}

func TestOpenNeedsAWayToSend(t *testing.T) {
	t.Parallel()
	if _, err := Open(Config{}); err == nil || !strings.Contains(err.Error(), "Send") {
		t.Errorf("Open = %v, want it to name Send", err)
	}
}

func TestDoAddsWhatTheVisitorKnowsAndKeepsItAcrossRestarts(t *testing.T) {
	t.Parallel()
	var body []byte
	cfg := Config{
		Core:      core.Config{Visitor: &core.VisitorConfig{}},
		QueueFile: filepath.Join(t.TempDir(), "queue"),
		Send:      func(_ context.Context, b []byte) (core.Response, error) { body = b; return accepted(1), nil },
	}
	visitor := func(d *Driver) (anonymous, user string) {
		_ = d.Do(func(c *core.Core, _ core.Micros) (bool, error) {
			anonymous, user = c.Visitor().AnonymousID(), c.Visitor().UserID()
			return false, nil
		})
		return
	}
	d := open(t, cfg)
	err := d.Do(func(c *core.Core, now core.Micros) (bool, error) {
		c.Visitor().Identify(now, "u1")
		return c.Track(now, &core.Event{Name: "tapped"})
	})
	if err := errors.Join(err, d.Flush(t.Context())); err != nil {
		t.Fatal(err)
	}
	anonymous, user := visitor(d)
	if user != "u1" || anonymous == "" || !strings.Contains(string(body), "u1") || !strings.Contains(string(body), anonymous) {
		t.Errorf("the body names %q and %q: %t", user, anonymous, strings.Contains(string(body), anonymous))
	}
	if err := d.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
	d = open(t, cfg)
	if again, user := visitor(d); again != anonymous || user != "u1" {
		t.Errorf("after a restart the visitor is %q, %q, want %q, u1", again, user, anonymous)
	}
	if err := d.Close(t.Context()); err != nil {
		t.Error(err)
	}
}

func TestNoticesSayWhatHappenedInOneSentence(t *testing.T) {
	t.Parallel()
	file := filepath.Join(t.TempDir(), "queue")
	if err := os.WriteFile(file, []byte(strings.Repeat("not a queue", 1000)), 0o600); err != nil {
		t.Fatal(err)
	}
	var lock sync.Mutex
	var told []Notice
	answers := []core.Response{{Status: 503}, {Status: 503}, accepted(1), {Status: 400}}
	d := open(t, Config{
		QueueFile: file,
		Send: func(context.Context, []byte) (core.Response, error) {
			lock.Lock()
			defer lock.Unlock()
			r := answers[0]
			answers = answers[1:]
			if r.Status != 200 {
				return r, errors.New("the server answered no")
			}
			return r, nil
		},
		Notify: func(n Notice) {
			lock.Lock()
			defer lock.Unlock()
			told = append(told, n)
			panic("a host's mistake")
		},
	})
	add := func() {
		t.Helper()
		if err := d.Add(&core.Event{Name: "x"}); err != nil {
			t.Fatal(err)
		}
	}
	add()
	for range 2 {
		if err := d.Flush(t.Context()); !errors.Is(err, ErrUndelivered) {
			t.Errorf("Flush = %v, want ErrUndelivered", err)
		}
	}
	if err := d.Flush(t.Context()); err != nil {
		t.Error(err)
	}
	add()
	if err := errors.Join(d.Flush(t.Context()), d.Close(t.Context())); err != nil {
		t.Error(err)
	}
	var got []string
	for _, n := range told {
		got = append(got, strings.ReplaceAll(n.String(), file, "queue"))
	}
	want := []string{
		"causality: the queue file was damaged; its events are lost and a new one was begun: open queue: the queue file is damaged: invalid database; the damaged file is queue.damaged",
		"causality: events were not delivered and stay queued: 1: the server answered no",
		"causality: events were not delivered and stay queued: 1: the server answered no",
		"causality: events are delivered again: 1",
		"causality: the server refused a batch; its halves are tried, and an event that it refuses alone is dropped: the server answered no",
		"causality: events dropped: 1 (unreadable)",
	}
	if strings.Join(got, "\n") != strings.Join(want, "\n") {
		t.Errorf("told\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
	var levels []Level
	for _, n := range told {
		levels = append(levels, n.Level())
	}
	if want := []Level{Error, Warn, Debug, Info, Warn, Warn}; !slices.Equal(levels, want) {
		t.Errorf("levels are %v, want %v", levels, want)
	}
}
