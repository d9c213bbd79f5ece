package stream

import (
	"context"
	"fmt"
	"log/slog"
	"testing"
	"time"

	"github.com/causality-project/causality/backend/internal/platform/event"
	"github.com/causality-project/causality/backend/internal/platform/fault"
)

func openStream(t testing.TB, cfg Config) *Stream {
	t.Helper()
	if cfg.Dir == "" {
		cfg.Dir = t.TempDir()
	}
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	s, err := Open(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
		defer cancel()
		if err := s.Close(ctx); err != nil {
			t.Error(err)
		}
	})
	return s
}

func smallBatch(events int, tag string) *Batch {
	b := &Batch{WorkspaceID: "w", AppID: "a", ReceivedAt: time.UnixMicro(1_700_000_000_000_001).UTC()}
	for i := range events {
		b.Events = append(b.Events, event.Event{
			ID: event.ID{1, byte(i)}, Type: event.Track, Name: fmt.Sprintf("%s-%d", tag, i),
			TS: time.UnixMicro(1_700_000_000_000_000).UTC(),
		})
	}
	return b
}

func publish(t testing.TB, s *Stream, lane Lane, b *Batch) {
	t.Helper()
	if err := s.Publish(t.Context(), lane, b); err != nil {
		t.Fatal(err)
	}
}

func fetchAll(t testing.TB, s *Stream, lane Lane, from uint64) []Message {
	t.Helper()
	messages, err := s.Fetch(t.Context(), lane, from, FetchLimit{})
	if err != nil {
		t.Fatal(err)
	}
	return messages
}

func TestPublishedBatchesAreFetchedInOrderAndSurviveReopening(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	s := openStream(t, Config{Dir: dir})
	for i := range 5 {
		publish(t, s, Live, smallBatch(i+1, fmt.Sprint("b", i)))
	}
	publish(t, s, Import, smallBatch(1, "imported"))
	incarnation := s.Incarnation(Live)
	check := func(s *Stream) {
		t.Helper()
		got := fetchAll(t, s, Live, 1)
		if len(got) != 5 {
			t.Fatalf("fetched %d messages, want 5", len(got))
		}
		for i, m := range got {
			if m.Err != nil || len(m.Batch.Events) != i+1 || m.Batch.Events[0].Name != fmt.Sprintf("b%d-0", i) {
				t.Errorf("message %d = %+v", i, m)
			}
			if i > 0 && m.Seq <= got[i-1].Seq {
				t.Errorf("sequence %d after %d", m.Seq, got[i-1].Seq)
			}
		}
		if rest := fetchAll(t, s, Live, got[2].Seq+1); len(rest) != 2 || rest[0].Seq != got[3].Seq {
			t.Errorf("fetch from the middle = %d messages", len(rest))
		}
		events, oldest, err := s.Waiting(t.Context(), Live, got[1].Seq)
		if err != nil || events != 3+4+5 || !oldest.Equal(got[2].At) {
			t.Errorf("waiting = %d, %v, %v; want 12, %v", events, oldest, err, got[2].At)
		}
	}
	check(s)
	if err := s.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
	s = openStream(t, Config{Dir: dir})
	check(s)
	if s.Incarnation(Live) != incarnation || incarnation == "" || incarnation == s.Incarnation(Import) {
		t.Errorf("incarnations %q then %q, import %q", incarnation, s.Incarnation(Live), s.Incarnation(Import))
	}
	if other := openStream(t, Config{}); other.Incarnation(Live) == incarnation {
		t.Error("a new stream has the incarnation of an old one")
	}
}

func TestFetchWaitsForTheFirstMessageAndStopsAtItsLimits(t *testing.T) {
	t.Parallel()
	s := openStream(t, Config{})
	state, err := s.State(t.Context(), Live)
	if err != nil {
		t.Fatal(err)
	}
	got := make(chan []Message, 1)
	go func() {
		messages, _ := s.Fetch(t.Context(), Live, state.LastSeq+1, FetchLimit{Messages: 1, Wait: time.Minute})
		got <- messages
	}()
	publish(t, s, Live, smallBatch(3, "x"))
	if m := <-got; len(m) != 1 || len(m[0].Batch.Events) != 3 {
		t.Fatalf("fetched %v", m)
	}
	for range 9 {
		publish(t, s, Live, smallBatch(3, "x"))
	}
	for name, tt := range map[string]struct {
		limit FetchLimit
		want  int
	}{
		"messages": {FetchLimit{Messages: 4, Wait: time.Minute}, 4},
		"rows":     {FetchLimit{Rows: 7, Wait: time.Minute}, 3},
		"bytes":    {FetchLimit{Bytes: 1, Wait: time.Minute}, 1},
		"none":     {FetchLimit{}, 10},
	} {
		messages, err := s.Fetch(t.Context(), Live, 1, tt.limit)
		if err != nil || len(messages) != tt.want {
			t.Errorf("%s: %d messages, %v; want %d", name, len(messages), err, tt.want)
		}
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if m, _ := s.Fetch(ctx, Live, 1<<40, FetchLimit{Wait: time.Minute}); len(m) != 0 {
		t.Errorf("a cancelled fetch returned %d messages", len(m))
	}
}

func TestAFullLaneIsUnavailableUntilItIsPurged(t *testing.T) {
	t.Parallel()
	s := openStream(t, Config{MaxBytes: 64 << 10})
	var err error
	for range 1000 {
		if err = s.Publish(t.Context(), Live, smallBatch(10, "fill")); err != nil {
			break
		}
	}
	var full *fault.Error
	if !fault.Is(err, fault.Unavailable) {
		t.Fatalf("publishing into a full lane: %v", err)
	}
	full = err.(*fault.Error)
	if full.RetryAfter <= 0 {
		t.Error("a full lane does not say when to come back")
	}
	publish(t, s, Import, smallBatch(1, "the other lane goes on"))
	state, err := s.State(t.Context(), Live)
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Purge(t.Context(), Live, state.LastSeq/2, 0, 0); err != nil {
		t.Fatal(err)
	}
	after, err := s.State(t.Context(), Live)
	if want := firstSeq(state.LastSeq/2/groupMost + 1); err != nil || after.FirstSeq != want {
		t.Fatalf("first sequence after purge = %d, %v; want %d", after.FirstSeq, err, want)
	}
	publish(t, s, Live, smallBatch(1, "room again"))
}

func TestPurgeKeepsWhatIsYoung(t *testing.T) {
	t.Parallel()
	s := openStream(t, Config{})
	for range 10 {
		publish(t, s, Live, smallBatch(5, "x"))
	}
	state, _ := s.State(t.Context(), Live)
	if err := s.Purge(t.Context(), Live, state.LastSeq, time.Hour, 1<<30); err != nil {
		t.Fatal(err)
	}
	if after, _ := s.State(t.Context(), Live); after.FirstSeq != state.FirstSeq {
		t.Errorf("purged young messages: first %d, was %d", after.FirstSeq, state.FirstSeq)
	}
	if err := s.Purge(t.Context(), Live, state.LastSeq, time.Hour, state.Bytes/2); err != nil {
		t.Fatal(err)
	}
	after, _ := s.State(t.Context(), Live)
	if after.FirstSeq <= state.FirstSeq || after.LastSeq != state.LastSeq || after.Bytes > state.Bytes*6/10 {
		t.Errorf("purge by bytes left %+v of %+v", after, state)
	}
}

func TestFollowSeesWhatComesAfterwards(t *testing.T) {
	t.Parallel()
	s := openStream(t, Config{})
	publish(t, s, Live, smallBatch(1, "before"))
	ctx, cancel := context.WithCancel(t.Context())
	names := make(chan string, 16)
	started := make(chan struct{})
	done := make(chan error, 1)
	go func() {
		close(started)
		done <- s.Follow(ctx, Live, func(m Message) { names <- m.Batch.Events[0].Name })
	}()
	<-started
	// Follow starts at an instant of its own: publish until one arrives.
	var first string
	for i := 0; first == ""; i++ {
		publish(t, s, Live, smallBatch(1, fmt.Sprint("after", i)))
		select {
		case first = <-names:
		case <-time.After(10 * time.Millisecond):
		}
	}
	if first == "before-0" {
		t.Error("the follower saw an earlier message")
	}
	cancel()
	if err := <-done; err != nil {
		t.Error(err)
	}
}

func TestDeadLettersAreKept(t *testing.T) {
	t.Parallel()
	s := openStream(t, Config{})
	if err := s.DeadLetter(t.Context(), Live, Message{Seq: 7, Raw: []byte("garbage")}, "unreadable:\nbecause"); err != nil {
		t.Fatal(err)
	}
	if n, err := s.DeadLetters(t.Context()); err != nil || n != 1 {
		t.Errorf("dead letters = %d, %v", n, err)
	}
}
