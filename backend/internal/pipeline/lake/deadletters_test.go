package lake

import (
	"slices"
	"testing"
	"time"

	"github.com/causality-project/causality/backend/internal/pipeline/stream"
	"github.com/causality-project/causality/backend/internal/platform/event"
	"github.com/causality-project/causality/backend/internal/platform/fault"
)

func TestDeadLettersAreReplayedOnceAndBelongToTheirWorkspace(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	stored, dead, other := someEvents(5), someEvents(7), someEvents(3)
	h.send(stream.Live, stored...)
	h.settle()
	setAside := func(workspace, app string, events ...event.Event) {
		t.Helper()
		raw := []byte("\x2a\xffbroken")
		if workspace != "" {
			raw = stream.AppendBatch(nil, &stream.Batch{WorkspaceID: workspace, AppID: app, ReceivedAt: time.Now().UTC(), Events: events})
		}
		if err := h.stream.DeadLetter(h.ctx, stream.Live, stream.Message{Seq: 9, Raw: raw}, "a test"); err != nil {
			t.Fatal(err)
		}
	}
	setAside(h.workspace, h.app, dead...)
	setAside("11111111-1111-4111-8111-111111111111", h.app, other...)
	setAside("", "")
	account := func() Counters {
		t.Helper()
		sum, _, err := h.lake.Counters(h.ctx, "")
		if err != nil {
			t.Fatal(err)
		}
		if sum.Accepted != sum.Stored+sum.Waiting+sum.DeadLetters {
			t.Errorf("accepted = stored + waiting + dead letters does not hold: %+v", sum)
		}
		return sum
	}
	if sum := account(); sum.DeadLetters != 10 || sum.Accepted != 15 {
		t.Errorf("counters %+v", sum)
	}
	numbers := func(operator bool) (found []uint64) {
		t.Helper()
		letters, more, err := h.lake.DeadLetters(h.ctx, operator)
		if err != nil || more {
			t.Fatal(more, err)
		}
		for _, letter := range letters {
			found = append(found, letter.Number)
		}
		return found
	}
	if got := numbers(false); !slices.Equal(got, []uint64{1}) {
		t.Errorf("a workspace sees the letters %v", got)
	}
	if got := numbers(true); !slices.Equal(got, []uint64{1, 3}) {
		t.Errorf("the operator sees the letters %v of a workspace", got)
	}
	if _, err := h.lake.ReplayDeadLetters(h.ctx, false, []uint64{2}); !fault.Is(err, fault.NotFound) {
		t.Errorf("another workspace's letter: %v", err)
	}
	// Sent by the client meanwhile, too.
	h.send(stream.Live, dead[:2]...)
	h.settle()
	done, err := h.lake.ReplayDeadLetters(h.ctx, true, nil)
	if err != nil || done != (Replayed{Letters: 1, Events: 7, Unreadable: 1}) {
		t.Errorf("replayed %+v, %v", done, err)
	}
	h.holds(h.app, idsOf(stored, dead))
	if got := numbers(true); !slices.Equal(got, []uint64{3}) {
		t.Errorf("left: %v", got)
	}
	if letters, events, err := h.lake.DropDeadLetters(h.ctx, true, []uint64{3}); letters != 1 || events != 0 || err != nil {
		t.Errorf("dropped %d letters, %d events, %v", letters, events, err)
	}
	if sum := account(); sum.DeadLetters != 3 || sum.Duplicates != 2 {
		t.Errorf("counters %+v", sum)
	}
}
