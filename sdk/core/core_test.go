package core

import (
	"errors"
	"slices"
	"strings"
	"testing"
)

// settleCommands does what the core asks, as a driver with a good disk, and gives
// the last request.
func settleCommands(c *Core, now Micros) (sent *Request) {
	for {
		command, more := c.Poll(now)
		if !more {
			return sent
		}
		if command.Commit != nil {
			c.Committed(now, true)
		}
		if command.Send != nil {
			sent = command.Send
		}
	}
}

func TestTheOldestMakeRoomForTheNewest(t *testing.T) {
	t.Parallel()
	c := newCore(t, Config{QueueBytes: 2 << 20})
	now := Micros(1_790_000_000) * Second
	added := 0
	for range 1000 {
		now += 200 * Millisecond
		if _, err := c.Track(now, &Event{Name: "large", Properties: map[string]any{"s": strings.Repeat("s", 10_000)}}); err != nil {
			t.Fatal(err)
		}
		added++
		if r := settleCommands(c, now+100*Millisecond); r != nil {
			c.Answered(now, r.Attempt, Response{})
		}
		if s := c.Stats(); s.QueuedBytes > 2<<20 {
			t.Fatalf("%d bytes are queued", s.QueuedBytes)
		}
	}
	s := c.Stats()
	if s.Queued+int(s.Dropped[Overflow]) != added || s.Queued < 200 || len(s.Dropped) != 1 {
		t.Errorf("of %d events %d are queued, and dropped are %v", added, s.Queued, s.Dropped)
	}
	if last := c.blocks[len(c.blocks)-1]; last.at != now {
		t.Error("the newest event was dropped")
	}
}

func TestAClockSetBackDoesNotMakeAWaitEndless(t *testing.T) {
	t.Parallel()
	c := newCore(t, Config{})
	now := Micros(1_790_000_000) * Second
	if _, err := c.Track(now, &Event{Name: "a"}); err != nil {
		t.Fatal(err)
	}
	c.Flush(now)
	c.Answered(now, settleCommands(c, now).Attempt, Response{Status: 503, RetryAfter: 2 * Hour})
	if _, err := c.Track(now, &Event{Name: "b"}); err != nil {
		t.Fatal(err)
	}
	now -= 30 * Day
	settleCommands(c, now)
	if at := c.Deadline(now); at > now+Hour {
		t.Errorf("the next attempt is %d hours away", (at-now)/Hour)
	}
	if c.openEvents != 0 {
		t.Error("an event waits for the clock before it is stored")
	}
}

func TestWhatTheQueueLostIsCountedAndTheRestIsSent(t *testing.T) {
	t.Parallel()
	c := newCore(t, Config{})
	now := Micros(1_790_000_000) * Second
	for _, name := range []string{"a", "b", "c"} {
		if _, err := c.Track(now, &Event{Name: name}); err != nil {
			t.Fatal(err)
		}
		now += 100 * Millisecond
		settleCommands(c, now)
	}
	c.Flush(now)
	r := settleCommands(c, now)
	c.Lost(now, 1, 2)
	if c.Answered(now, r.Attempt, Response{Status: 200, Body: []byte{8, 3}}) {
		t.Error("the answer of an attempt without its events was taken")
	}
	if r = settleCommands(c, now); r == nil || r.First != 3 || r.Events != 1 {
		t.Fatalf("request %+v, want block 3 alone", r)
	}
	c.Answered(now, r.Attempt, Response{Status: 200, Body: []byte{8, 1}})
	if s := c.Stats(); s.Sent != 1 || s.Dropped[Damaged] != 2 || s.Queued != 0 {
		t.Errorf("stats are %+v", s)
	}
}

func TestAServerCannotMakeTheCountsGrowWithoutBound(t *testing.T) {
	t.Parallel()
	c := newCore(t, Config{})
	now := Micros(1_790_000_000) * Second
	for n := range 200 {
		if _, err := c.Track(now, &Event{Name: "a"}); err != nil {
			t.Fatal(err)
		}
		c.Flush(now)
		rejection := appendText(nil, 3, strings.Repeat("x", n+1))
		body := append([]byte{3<<3 | wireBytes, byte(len(rejection))}, rejection...)
		if len(rejection) > 127 {
			body = append([]byte{3<<3 | wireBytes, byte(len(rejection)) | 0x80, byte(len(rejection) >> 7)}, rejection...)
		}
		c.Answered(now, settleCommands(c, now).Attempt, Response{Status: 200, Body: body})
	}
	total := uint64(0)
	for _, n := range c.Stats().Dropped {
		total += n
	}
	if n := len(c.Stats().Dropped); n > maxCodes+1 || total != 200 {
		t.Errorf("%d reasons with %d events, want at most %d with 200", n, total, maxCodes+1)
	}
	if _, err := c.Track(now, &Event{}); err == nil {
		t.Fatal("an event without a name was taken")
	}
	if n := c.Stats().Dropped[Invalid]; n != 1 || !strings.Contains(string(c.encodeState()), string(Invalid)) {
		t.Errorf("then %d events are counted as invalid, want 1, which the server is told", n)
	}
}

func TestAddRefusesWhatCannotBeHandedOver(t *testing.T) {
	t.Parallel()
	c := newCore(t, Config{BufferBytes: maxBlockBytes})
	kept := 0
	var err error
	for err == nil {
		if _, err = c.Track(1, &Event{Name: "a"}); err == nil {
			kept++
		}
	}
	if s := c.Stats(); !errors.Is(err, ErrQueueFull) || s.Dropped[QueueFull] != 1 || s.Queued != kept {
		t.Errorf("%v after %d events, stats %+v", err, kept, s)
	}
}

func TestANumberIsSentAsItIsWritten(t *testing.T) {
	t.Parallel()
	for _, text := range []string{"0", "-0", "12", "1.50", "1e400", "-1.5E+07", "123456789012345678901234567890", "0e0"} {
		e := Event{Name: "a", Properties: map[string]any{"n": Number(text)}, Traits: &Traits{Add: map[string]any{"n": Number(text)}}}
		encoded, err := Encode(nil, 1, &e, nil)
		if err != nil || strings.Count(string(encoded.Bytes()), `{"n":`+text+"}") != 2 {
			t.Errorf("%s became %q (%v)", text, encoded.Bytes(), err)
		}
	}
	for _, text := range []string{"", "-", "+1", "01", "-01", ".5", "1.", "1.e1", "1e", "1e+", "0x1", "1 ", " 1", "1,2", "NaN", "Infinity", "1e1.5", "--1"} {
		_, err := Encode(nil, 1, &Event{Name: "a", Properties: map[string]any{"n": Number(text)}}, nil)
		var refused *InvalidError
		if !errors.As(err, &refused) || refused.Field != "properties.n" {
			t.Errorf("%q is a number (%v)", text, err)
		}
	}
}

func TestABlockThatCannotBeIsToldBesideWhatTheStateHas(t *testing.T) {
	t.Parallel()
	cfg := Config{Random: random()}
	before := newCore(t, cfg)
	before.FileLost(1)
	for name, start := range map[string]func(stored ...BlockInfo) *Core{
		"one's own queue": func(stored ...BlockInfo) *Core {
			c, err := New(cfg, before.encodeState(), stored)
			if err != nil {
				t.Fatal(err)
			}
			return c
		},
		"a shared queue": func(stored ...BlockInfo) *Core {
			c := newCore(t, Config{Shared: true})
			c.Lead(1, before.encodeState(), stored)
			return c
		},
	} {
		c := start(BlockInfo{Seq: 1, At: 1, Events: 2}, BlockInfo{Seq: 2, At: 1, Events: 1, Bytes: 60})
		if n := c.unreported[slices.Index(reported[:], Damaged)]; n != 3 || c.Stats().Queued != 1 {
			t.Errorf("%s: the server will be told of %d, %d are queued", name, n, c.Stats().Queued)
		}
	}
}
