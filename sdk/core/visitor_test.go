package core

import (
	"strings"
	"testing"

	"pgregory.net/rapid"
)

// textOf is what a core holds of the events that it was given.
func textOf(c *Core) string {
	text := string(c.open)
	for _, b := range c.unsaved {
		text += string(b.Data)
	}
	return text
}

func TestACoreWithAVisitorSaysInEachEventWhoItWas(t *testing.T) {
	t.Parallel()
	c := newCore(t, Config{Visitor: &VisitorConfig{Background: 30 * Second}})
	now := Micros(1_790_000_000) * Second
	c.Visitor().Foreground(now)
	c.Visitor().Identify(now, "ada")
	c.Visitor().Join("company", "acme")
	e := &Event{Name: "a"}
	if _, err := c.Track(now, e); err != nil {
		t.Fatal(err)
	}
	text := textOf(c)
	for _, want := range []string{c.Visitor().AnonymousID(), c.Visitor().SessionID(), "ada", "company", "acme"} {
		if want == "" || !strings.Contains(text, want) {
			t.Errorf("the event does not hold %q", want)
		}
	}
	if e.UserID != "" || e.SessionID != "" || e.Groups != nil {
		t.Errorf("the caller's event became %+v", e)
	}
}

// save gives the state of the next commit, at the latest a tenth of a second later.
func save(t *testing.T, c *Core, now Micros) []byte {
	t.Helper()
	if at := c.Deadline(now); at > now+commitWithin {
		t.Fatalf("the visitor is saved only after %d µs", at-now)
	}
	var state []byte
	for {
		command, more := c.Poll(now + commitWithin)
		if !more {
			return state
		}
		if command.Commit != nil {
			state = command.Commit.State
			c.Committed(now+commitWithin, true)
		}
	}
}

func TestTheVisitorOutlivesTheProcess(t *testing.T) {
	t.Parallel()
	cfg := Config{Visitor: &VisitorConfig{Background: 30 * Second}, Random: random()}
	c := newCore(t, cfg)
	now := Micros(1_790_000_000) * Second
	c.Visitor().Foreground(now)
	first := save(t, c, now)
	c.Visitor().Identify(now, "ada")
	c.Visitor().Join("company", "acme")
	c.Visitor().Background(now)
	state := save(t, c, now)
	if string(first) == string(state) {
		t.Error("what changed was not saved")
	}
	again, err := New(cfg, state, nil)
	if err != nil {
		t.Fatal(err)
	}
	again.Visitor().Foreground(now + 30*Second)
	before, after := c.Visitor(), again.Visitor()
	if after.AnonymousID() != before.AnonymousID() || after.SessionID() != before.SessionID() || after.UserID() != "ada" || after.groups["company"] != "acme" {
		t.Errorf("%+v came back as %+v", before, after)
	}
}

func TestASaveThatFailsIsTriedAgain(t *testing.T) {
	t.Parallel()
	c := newCore(t, Config{Visitor: &VisitorConfig{}})
	now := Micros(1_790_000_000) * Second
	c.Visitor().Identify(now, "ada")
	now += commitWithin
	if command, _ := c.Poll(now); command.Commit == nil {
		t.Fatal("nothing is saved")
	}
	c.Committed(now, false)
	if at := c.Deadline(now); at != now+commitRetry {
		t.Errorf("the next attempt is in %d µs", at-now)
	}
	if state := save(t, c, now+commitRetry); !strings.Contains(string(state), "ada") {
		t.Error("the visitor is not in the state")
	}
}

func TestOptingOutForgetsTheVisitor(t *testing.T) {
	t.Parallel()
	cfg := Config{Visitor: &VisitorConfig{}, Random: random()}
	c := newCore(t, cfg)
	now := Micros(1_790_000_000) * Second
	if _, err := c.Track(now, &Event{Name: "a"}); err != nil {
		t.Fatal(err)
	}
	c.Visitor().Identify(now, "ada")
	id := c.Visitor().AnonymousID()
	save(t, c, now)
	c.OptOut()
	if _, err := c.Track(now, &Event{Name: "b"}); err != nil {
		t.Fatal(err)
	}
	if v := c.Visitor(); v.AnonymousID() != "" || v.UserID() != "" || v.SessionID() != "" {
		t.Errorf("the visitor is still %+v", v)
	}
	c.Visitor().Foreground(now) // the app goes on, and must leave no trace
	state := save(t, c, now)
	if strings.Contains(string(state), "ada") || strings.Contains(string(state), c.Visitor().AnonymousID()) {
		t.Errorf("the state still names somebody: %q", state)
	}
	if at := c.Deadline(now + Second); at != Never {
		t.Errorf("there is something to do at %d", at)
	}
	again, err := New(cfg, state, nil)
	if err != nil {
		t.Fatal(err)
	}
	again.OptIn()
	if _, err := again.Track(now, &Event{Name: "c"}); err != nil {
		t.Fatal(err)
	}
	if now := again.Visitor().AnonymousID(); now == "" || now == id {
		t.Errorf("after opting in the visitor is %q, was %q", now, id)
	}
}

func TestAClosedCoreBeginsNoSession(t *testing.T) {
	t.Parallel()
	c := newCore(t, Config{Visitor: &VisitorConfig{}})
	c.Close()
	if _, err := c.Track(1, &Event{Name: "a"}); err != ErrClosed || c.Visitor().SessionID() != "" {
		t.Errorf("%v, session %q", err, c.Visitor().SessionID())
	}
}

func TestASharedQueueHasNoVisitor(t *testing.T) {
	t.Parallel()
	if _, err := New(Config{Shared: true, Visitor: &VisitorConfig{}, Random: random()}, nil, nil); err == nil {
		t.Error("both are allowed")
	}
}

func TestEventsThatWereFilledKeepTheirGroups(t *testing.T) {
	t.Parallel()
	v := NewVisitor(VisitorConfig{Random: random()}, nil)
	v.Join("company", "acme")
	var e Event
	v.Fill(1, &e)
	v.Join("company", "apex")
	v.Join("team", "red")
	if len(e.Groups) != 1 || e.Groups["company"] != "acme" {
		t.Errorf("the groups of an earlier event became %v", e.Groups)
	}
}

func TestAVisitorWithoutSessionsNamesNone(t *testing.T) {
	t.Parallel()
	v := NewVisitor(VisitorConfig{NoSessions: true, Random: random()}, nil)
	e, own := Event{}, Event{SessionID: "mine"}
	v.Fill(1, &e)
	v.Fill(2, &own)
	if e.SessionID != "" || e.AnonymousID == "" || own.SessionID != "mine" {
		t.Errorf("the events are %+v and %+v", e, own)
	}
}

// TestTwoPeopleNeverBecomeOne plays random days of a device that several people use.
func TestTwoPeopleNeverBecomeOne(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		cfg := VisitorConfig{Idle: 30 * Minute, Background: 30 * Second, Longest: Hour, Random: random()}
		v := NewVisitor(cfg, nil)
		now := Micros(1_790_000_000) * Second
		owner := map[string]string{} // user by anonymous id, and by session
		began := map[string]Micros{} // sessions
		var last Event
		var lastAt Micros
		steady := true // the clock was not set back since the last event
		step := func(most Micros) { now += Micros(rapid.Int64Range(0, int64(most)).Draw(t, "wait")) }
		event := func(t *rapid.T, most Micros) {
			step(most)
			e := Event{Name: "event"}
			v.Fill(now, &e)
			for _, id := range []string{e.AnonymousID, e.SessionID} {
				if before := owner[id]; before != "" && before != e.UserID {
					t.Fatalf("%s was %q's and is %q's", id, before, e.UserID)
				}
				owner[id] = e.UserID
			}
			if _, known := began[e.SessionID]; !known {
				began[e.SessionID] = now
			} else if steady && now-began[e.SessionID] > cfg.Longest {
				t.Fatalf("a session lasts %d minutes", (now-began[e.SessionID])/Minute)
			}
			if steady && lastAt > 0 && now-lastAt > cfg.Idle && e.SessionID == last.SessionID {
				t.Fatal("a session went on after half an hour of silence")
			}
			if !steady {
				clear(began)
				began[e.SessionID] = now
			}
			last, lastAt, steady = e, now, true
		}
		t.Repeat(map[string]func(*rapid.T){
			"event": func(t *rapid.T) { event(t, 45*Minute) },
			"events": func(t *rapid.T) {
				for range 8 {
					event(t, 20*Minute)
				}
			},
			"identify": func(t *rapid.T) {
				v.Identify(now, rapid.SampledFrom([]string{"ada", "grace", "", " "}).Draw(t, "user"))
			},
			"reset":      func(*rapid.T) { v.Reset(now) },
			"background": func(t *rapid.T) { v.Background(now); step(Minute) },
			"foreground": func(*rapid.T) { v.Foreground(now) },
			"restart":    func(t *rapid.T) { v = NewVisitor(cfg, v.State()); step(Minute) },
			"clock is set back": func(t *rapid.T) {
				var before, after Event
				v.Fill(now, &before)
				now -= Micros(rapid.Int64Range(0, int64(Day)).Draw(t, "back"))
				steady = false
				if v.Fill(now, &after); after.SessionID != before.SessionID {
					t.Fatal("a clock set back ended a session")
				}
			},
		})
	})
}

func FuzzVisitorState(f *testing.F) {
	v := NewVisitor(VisitorConfig{Random: random()}, nil)
	f.Add(v.State())
	v.Identify(1, "ada")
	v.Join("company", "acme")
	v.Background(2)
	f.Add(v.State())
	f.Add([]byte("\x0a\x01a\x12\x01u\x22\x01s\x28\xff\xff\xff\xff\xff\xff\xff\xff\x7f\x30\x80\x80\x80\x80\x80\x80\x80\x80\x80\x01"))
	f.Add([]byte("\x1a\x04\x0a\x01k\x12\x1a\x06\x0a\x01k\x12\x01g\x0b"))
	f.Fuzz(func(t *testing.T, state []byte) {
		cfg := VisitorConfig{Idle: 30 * Minute, Background: 30 * Second, Random: random()}
		now := Micros(1_790_000_000) * Second
		v := NewVisitor(cfg, state)
		if v.Changed() {
			t.Error("a visitor that was just loaded has changed")
		}
		e := Event{Name: "a"}
		v.Fill(now, &e)
		if !usable(e.AnonymousID) || !usable(e.SessionID) || e.UserID != "" && !usable(e.UserID) || len(e.Groups) > maxGroups {
			t.Fatalf("an event is filled as %+v", e)
		}
		if _, err := Encode(nil, now, &e, nil); err != nil {
			t.Fatal(err) // no state may keep events from being recorded
		}
		again := NewVisitor(cfg, v.State())
		before := e
		again.Fill(now, &e)
		if e.SessionID != before.SessionID || again.AnonymousID() != before.AnonymousID || again.UserID() != before.UserID || len(again.groups) != len(v.groups) {
			t.Fatalf("%+v came back as %+v", v, again)
		}
		if again.Fill(now+30*Minute+1, &Event{}); again.SessionID() == before.SessionID {
			t.Fatal("a session does not end")
		}
	})
}
