package stream

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/causality-project/causality/backend/internal/platform/fault"
	streamv1 "github.com/causality-project/causality/proto/gen/causality/stream/v1"
	"github.com/nats-io/nats.go"
	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"
)

// store writes batches as one message, as if they had waited together.
func store(t *testing.T, s *Stream, batches ...*Batch) {
	t.Helper()
	var group []*waiter
	for _, b := range batches {
		group = append(group, &waiter{data: AppendBatch(nil, b), events: b.Count()})
	}
	if _, err := s.commit(s.lanes[Live], group, nil); err != nil {
		t.Fatal(err)
	}
}

func TestConcurrentPublishesShareMessagesAndKeepEachSendersOrder(t *testing.T) {
	t.Parallel()
	s := openStream(t, Config{})
	const senders, each = 32, 20
	if events, _, err := s.Waiting(t.Context(), Live, 0); err != nil || events != 0 {
		t.Fatal(events, err)
	}
	var sending sync.WaitGroup
	for sender := range senders {
		sending.Go(func() {
			for i := range each {
				if err := s.Publish(t.Context(), Live, smallBatch(i+1, fmt.Sprintf("%d:%d", sender, i))); err != nil {
					t.Error(err)
				}
			}
		})
	}
	sending.Wait()
	info, err := s.info(t.Context(), s.link.Load(), s.lanes[Live])
	if err != nil {
		t.Fatal(err)
	}
	if info.State.Msgs > senders*each/2 {
		t.Errorf("%d publishes by %d senders took %d messages", senders*each, senders, info.State.Msgs)
	}
	next := map[int]int{}
	last := uint64(0)
	messages := fetchAll(t, s, Live, 1)
	for _, m := range messages {
		var sender, i int
		if _, err := fmt.Sscanf(m.Batch.Events[0].Name, "%d:%d-0", &sender, &i); err != nil || m.Err != nil {
			t.Fatal(err, m.Err)
		}
		if i != next[sender] || len(m.Batch.Events) != i+1 || m.Seq <= last {
			t.Errorf("batch %d of sender %d with %d events at %d after %d, want batch %d", i, sender, len(m.Batch.Events), m.Seq, last, next[sender])
		}
		next[sender]++
		last = m.Seq
	}
	if len(messages) != senders*each {
		t.Errorf("%d of %d batches are stored", len(messages), senders*each)
	}
	if events, _, err := s.Waiting(t.Context(), Live, 0); err != nil || events != senders*each*(each+1)/2 {
		t.Errorf("waiting = %d, %v", events, err)
	}
	if state, err := s.State(t.Context(), Live); err != nil || state.LastSeq != last {
		t.Errorf("last sequence = %d, %v; want %d", state.LastSeq, err, last)
	}
}

func TestAReaderGoesOnWithinAGroup(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	s := openStream(t, Config{Dir: dir})
	var names []string
	for i, size := range []int{3, 1, 0, groupMost, 2} {
		var batches []*Batch
		for j := range size {
			batches = append(batches, smallBatch(j+1, fmt.Sprint(i, "/", j)))
			names = append(names, fmt.Sprint(i, "/", j, "-0"))
		}
		if size > 0 {
			store(t, s, batches...)
		} else if err := s.mark(t.Context(), s.link.Load()); err != nil {
			t.Fatal(err)
		}
	}
	all := fetchAll(t, s, Live, 1)
	check := func(s *Stream) {
		t.Helper()
		from := uint64(1)
		for i, name := range names {
			messages, err := s.Fetch(t.Context(), Live, from, FetchLimit{Messages: 1})
			if err != nil || len(messages) != 1 || messages[0].Batch.Events[0].Name != name || messages[0].Seq != all[i].Seq {
				t.Fatalf("from %d: %v, %v; want %s", from, messages, err, name)
			}
			var want int64
			for _, m := range all[i:] {
				want += int64(len(m.Batch.Events))
			}
			events, oldest, err := s.Waiting(t.Context(), Live, from-1)
			if err != nil || events != want || !oldest.Equal(all[i].At) {
				t.Errorf("waiting after %d = %d, %v, %v; want %d, %v", from-1, events, oldest, err, want, all[i].At)
			}
			from = messages[0].Seq + 1
		}
		if events, _, err := s.Waiting(t.Context(), Live, from-1); err != nil || events != 0 {
			t.Errorf("waiting at the end = %d, %v", events, err)
		}
	}
	check(s)
	if err := s.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
	s = openStream(t, Config{Dir: dir})
	check(s)
	// A purge through the middle of a group leaves the group.
	if err := s.Purge(t.Context(), Live, all[4].Seq, 0, 0); err != nil {
		t.Fatal(err)
	}
	if rest := fetchAll(t, s, Live, all[4].Seq+1); len(rest) != len(all)-5 || rest[0].Seq != all[5].Seq {
		t.Errorf("%d batches after the purge, want %d", len(rest), len(all)-5)
	}
}

func TestARefusedGroupIsRefusedForEachAndStoredForNone(t *testing.T) {
	t.Parallel()
	s := openStream(t, Config{MaxBytes: 256 << 10})
	var mu sync.Mutex
	var accepted []string
	refused := 0
	var sending sync.WaitGroup
	for sender := range 24 {
		sending.Go(func() {
			for i := range 40 {
				tag := fmt.Sprint(sender, "/", i)
				err := s.Publish(t.Context(), Live, smallBatch(10, tag))
				mu.Lock()
				if err == nil {
					accepted = append(accepted, tag+"-0")
				} else if refused++; !fault.Is(err, fault.Unavailable) {
					t.Error(err)
				}
				mu.Unlock()
			}
		})
	}
	sending.Wait()
	if refused == 0 || len(accepted) == 0 {
		t.Fatalf("%d accepted, %d refused", len(accepted), refused)
	}
	var stored []string
	for _, m := range fetchAll(t, s, Live, 1) {
		stored = append(stored, m.Batch.Events[0].Name)
	}
	slices.Sort(stored)
	slices.Sort(accepted)
	if !slices.Equal(stored, accepted) {
		t.Errorf("%d accepted, %d stored", len(accepted), len(stored))
	}
}

func TestAGroupIsBounded(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct{ bytes, events, want int }{
		"by count":        {1, 1, groupMost},
		"by bytes":        {groupMostBytes / 4, 1, 4},
		"by events":       {1, groupMostEvents / 3, 3},
		"large ones pass": {groupMostBytes * 2, 1, 1},
	} {
		ln := &lane{queue: make(chan *waiter, maxInFlight)}
		for range 100 {
			ln.queue <- &waiter{data: make([]byte, tt.bytes), events: tt.events}
		}
		total := 0
		for next := (*waiter)(nil); next != nil || len(ln.queue) > 0; {
			if next == nil {
				next = <-ln.queue
			}
			var group []*waiter
			if group, next = ln.gather(nil, next); total == 0 && len(group) != tt.want {
				t.Errorf("%s: %d in the first group, want %d", name, len(group), tt.want)
			}
			total += len(group)
		}
		if total != 100 {
			t.Errorf("%s: %d of 100 taken", name, total)
		}
	}
}

func TestASenderWhoseContextEndsLeavesTheQueue(t *testing.T) {
	t.Parallel()
	ln := &lane{queue: make(chan *waiter, maxInFlight), drained: make(chan struct{})}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	for range 10 { // either way in: it may never enter the queue at all
		if err := ln.enqueue(ctx, []byte("x"), 1); !errors.Is(err, context.Canceled) {
			t.Fatal(err)
		}
	}
	for len(ln.queue) > 0 {
		if group, next := ln.gather(nil, <-ln.queue); len(group) > 0 || next != nil {
			t.Error("a batch whose sender has gone is written")
		}
	}
	close(ln.drained)
	if err := ln.enqueue(t.Context(), []byte("x"), 1); !errors.Is(err, errClosed) {
		t.Errorf("after the end: %v", err)
	}
}

func TestCloseFinishesWhatIsBeingPublished(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	s := openStream(t, Config{Dir: dir})
	var mu sync.Mutex
	accepted := map[string]bool{}
	var sending sync.WaitGroup
	started := make(chan struct{}, 1<<10)
	for sender := range 8 {
		sending.Go(func() {
			for i := 0; ; i++ {
				tag := fmt.Sprint(sender, "/", i)
				if err := s.Publish(t.Context(), Live, smallBatch(1, tag)); err != nil {
					return
				}
				mu.Lock()
				accepted[tag+"-0"] = true
				mu.Unlock()
				select {
				case started <- struct{}{}:
				default:
				}
			}
		})
	}
	for range 50 {
		<-started
	}
	if err := s.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
	sending.Wait()
	s = openStream(t, Config{Dir: dir})
	messages, err := s.Fetch(t.Context(), Live, 1, FetchLimit{Messages: 1 << 20})
	if err != nil {
		t.Fatal(err)
	}
	for _, m := range messages {
		delete(accepted, m.Batch.Events[0].Name)
	}
	if len(accepted) > 0 {
		t.Errorf("%d accepted batches are gone", len(accepted))
	}
}

func TestAGroupIsTheGeneratedMessage(t *testing.T) {
	t.Parallel()
	s := openStream(t, Config{})
	first, second := fullBatch(t), smallBatch(2, "second")
	store(t, s, first, second)
	var found []byte
	err := s.direct(t.Context(), s.link.Load(), s.lanes[Live], directGet{Seq: s.lanes[Live].horizon.Load(), Batch: 1}, func(_ uint64, _ time.Time, header nats.Header, data []byte) {
		found = data
		if header.Get(batchesHeader) != "2" || header.Get(eventsHeader) != fmt.Sprint(first.Count()+2) {
			t.Errorf("headers %v", header)
		}
	})
	var group streamv1.Group
	if err != nil || proto.Unmarshal(found, &group) != nil || len(group.Batches) != 2 || len(group.Batches[1].Events) != 2 {
		t.Fatalf("%v, %v", &group, err)
	}
	theirs, err := (proto.MarshalOptions{Deterministic: true}).Marshal(&group)
	if err != nil || !bytes.Equal(found, theirs) {
		t.Error("the generated code writes the same group in other bytes")
	}
}

func TestAnUnreadableGroupIsOneUnreadableMessage(t *testing.T) {
	t.Parallel()
	good := protowire.AppendBytes(protowire.AppendTag(nil, 1, protowire.BytesType), AppendBatch(nil, smallBatch(1, "x")))
	for name, tt := range map[string]struct {
		count string
		data  []byte
	}{
		"cut":           {"1", good[:len(good)-1]},
		"another count": {"2", good},
		"another field": {"1", protowire.AppendBytes(protowire.AppendTag(nil, 2, protowire.BytesType), nil)},
		"too many":      {"65", []byte(strings.Repeat(string(good), 65))},
	} {
		calls := 0
		ungroup(3, nats.Header{batchesHeader: {tt.count}}, tt.data, func(seq uint64, data []byte, err error) {
			calls++
			if seq != lastSeq(3) || !bytes.Equal(data, tt.data) || !errors.Is(err, errMalformed) {
				t.Errorf("%s: %d, %v", name, seq, err)
			}
		})
		if calls != 1 {
			t.Errorf("%s: %d messages", name, calls)
		}
	}
}
