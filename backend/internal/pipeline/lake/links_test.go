package lake

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/causality-project/causality/backend/internal/pipeline/stream"
	"github.com/causality-project/causality/backend/internal/platform/event"
)

// at makes the n-th second.
func at(n int) time.Time { return start.Add(time.Duration(n) * time.Second) }

func identify(n, second int, anonymous, user string) event.Event {
	return event.Event{ID: id(n), Type: event.Identify, Name: "identify", TS: at(second), AnonymousID: anonymous, UserID: user}
}

func alias(n, second int, previous, user string) event.Event {
	return event.Event{ID: id(n), Type: event.Alias, Name: "alias", TS: at(second), PreviousID: previous, UserID: user}
}

func visit(n int, anonymous, user string) event.Event {
	e := track(id(n), "visit")
	e.AnonymousID, e.UserID = anonymous, user
	return e
}

// persons tells who each visit counts for, by event id.
func (h *house) persons() map[event.ID]int64 {
	h.t.Helper()
	persons := map[event.ID]int64{}
	for _, row := range h.rows(h.app) {
		if row.Type == event.Track {
			persons[row.ID] = row.person
		}
	}
	return persons
}

// The visits of every case: anonymous a and b, both with and without a user.
var visits = []event.Event{
	visit(1, "a", ""), visit(2, "b", ""), visit(3, "a", "u1"), visit(4, "", "u1"), visit(5, "", "u2"), visit(6, "", "u3"), visit(7, "a", "u2"),
	visit(8, "", ""),
}

func TestPersonLinksMeanTheSameInAnyOrder(t *testing.T) {
	t.Parallel()
	u := event.UserKey
	a, b := event.AnonymousKey("a"), event.AnonymousKey("b")
	tests := map[string]struct {
		links []event.Event
		want  [8]int64 // persons of the visits
	}{
		"nothing linked": {nil, [8]int64{a, b, u("u1"), u("u1"), u("u2"), u("u3"), u("u2"), 0}},
		"the first identify counts, another user's moves nothing": {
			[]event.Event{identify(101, 10, "a", "u1"), identify(102, 20, "a", "u2")},
			[8]int64{u("u1"), b, u("u1"), u("u1"), u("u2"), u("u3"), u("u2"), 0}},
		"equal times: the smaller event id counts": {
			[]event.Event{identify(102, 10, "a", "u1"), identify(101, 10, "a", "u2")},
			[8]int64{u("u2"), b, u("u1"), u("u1"), u("u2"), u("u3"), u("u2"), 0}},
		"two visitors are one user": {
			[]event.Event{identify(101, 10, "a", "u1"), identify(102, 20, "b", "u1")},
			[8]int64{u("u1"), u("u1"), u("u1"), u("u1"), u("u2"), u("u3"), u("u2"), 0}},
		"users merge by alias alone, and chains resolve": {
			[]event.Event{identify(101, 10, "a", "u1"), alias(102, 20, "u1", "u2"), alias(103, 30, "u2", "u3")},
			[8]int64{u("u3"), b, u("u3"), u("u3"), u("u3"), u("u3"), u("u3"), 0}},
		"an alias that would close a circle is passed over": {
			[]event.Event{alias(101, 10, "u1", "u2"), alias(102, 20, "u2", "u3"), alias(103, 30, "u3", "u1")},
			[8]int64{a, b, u("u3"), u("u3"), u("u3"), u("u3"), u("u3"), 0}},
		"of two aliases from one user the first counts": {
			[]event.Event{identify(104, 1, "a", "u1"), alias(101, 10, "u1", "u2"), alias(102, 5, "u1", "u3")},
			[8]int64{u("u3"), b, u("u3"), u("u3"), u("u2"), u("u3"), u("u2"), 0}},
		"an earlier alias breaks a circle another way": {
			[]event.Event{identify(104, 1, "a", "u1"), identify(105, 2, "b", "u2"), alias(101, 10, "u1", "u2"), alias(102, 5, "u2", "u1"), alias(103, 20, "u2", "u3")},
			[8]int64{u("u1"), u("u1"), u("u1"), u("u1"), u("u1"), u("u3"), u("u1"), 0}},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			want := map[event.ID]int64{}
			for i, e := range visits {
				want[e.ID] = tt.want[i]
			}
			h := newHouse(t)
			for seed := range uint64(3) {
				h.app = h.addApp() // links are an app's own
				events := append(slices.Clone(visits), tt.links...)
				random := rand.New(rand.NewPCG(seed, 7))
				if seed > 0 {
					random.Shuffle(len(events), func(i, j int) { events[i], events[j] = events[j], events[i] })
				}
				compared := func(when string) {
					t.Helper()
					for id, person := range h.persons() {
						if person != want[id] {
							t.Errorf("seed %d, %s: visit %x counts for %d, want %d", seed, when, id[8:], person, want[id])
						}
					}
				}
				for part := range slices.Chunk(events, 1+random.IntN(3)) {
					h.send(stream.Live, part...)
					h.settle()
					if random.IntN(4) == 0 {
						h.compact() // some objects are folded through what was known then
					}
				}
				compared("as landed")
				h.compact()
				compared("compacted")
				for _, row := range h.foldedRows() {
					if row.Type == event.Track && row.person != want[row.ID] {
						t.Errorf("seed %d: visit %x is folded to %d, want %d", seed, row.ID[8:], row.person, want[row.ID])
					}
				}
				h.rebuild()
				compared("rebuilt")
				h.compact()
				compared("rebuilt and compacted")
				h.holds(h.app, idsOf(events))
			}
		})
	}
}

// foldedRows reads the keys as they stand in the objects.
func (h *house) foldedRows() []stored {
	h.t.Helper()
	rows := h.rows(h.app)
	s, err := h.lake.Snapshot(h.ctx, h.app, time.Time{}, time.Time{})
	if err != nil {
		h.t.Fatal(err)
	}
	defer s.Release()
	for _, o := range s.Objects {
		if o.LinkNumber != s.Links.Number {
			h.t.Errorf("object %s is folded through %d of %d", o.Key, o.LinkNumber, s.Links.Number)
		}
	}
	return rows
}

func (h *house) rebuild() {
	h.t.Helper()
	err := h.lake.Rebuild(h.ctx, "", func(p RebuildProgress) {
		for _, problem := range p.Problems {
			h.t.Errorf("rebuild: %s: %s", problem.Object, problem.What)
		}
	})
	if err != nil {
		h.t.Fatal(err)
	}
}

func TestCompactionFoldsManyMovedRows(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	var events []event.Event
	for n := range 5_000 {
		e := visit(n, fmt.Sprint("visitor-", n%50), "")
		e.ID = id(n)
		e.ID[1], e.ID[2] = byte(n>>8), byte(n>>16)
		events = append(events, e)
	}
	for part := range slices.Chunk(events, 2000) {
		h.send(stream.Import, part...)
	}
	h.settle()
	var links []event.Event
	for n := range 50 {
		links = append(links, identify(1_000_000+n, n, fmt.Sprint("visitor-", n), fmt.Sprint("user-", n%10)))
	}
	h.send(stream.Live, links...)
	h.settle()
	h.compact()
	persons := map[int64]int{}
	for _, row := range h.foldedRows() {
		persons[row.person]++
	}
	if len(persons) != 10 {
		t.Errorf("%d persons, want 10", len(persons))
	}
	h.holds(h.app, idsOf(events, links))
}
