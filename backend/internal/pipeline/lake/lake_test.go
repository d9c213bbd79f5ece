package lake

import (
	"context"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/causality-project/causality/backend/internal/pipeline/stream"
	"github.com/causality-project/causality/backend/internal/platform/event"
)

func TestEventsLandOnceAndAreQueryable(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	other := h.addApp()
	first, second, third := someEvents(100), someEvents(50), someEvents(20)
	h.send(stream.Live, first...)
	h.send(stream.Live, append(second, first[:10]...)...)
	h.sendTo(other, stream.Live, third...)
	h.settle()
	h.holds(h.app, idsOf(first, second))
	h.holds(other, idsOf(third))
	c, _, err := h.lake.Counters(h.ctx, "")
	if err != nil {
		t.Fatal(err)
	}
	if c.Accepted != 180 || c.Stored != 180 || c.Duplicates != 10 || c.Queryable != 170 || c.LastReceivedAt.IsZero() {
		t.Errorf("counters %+v", c)
	}
	if lag := h.lake.Lag(h.ctx); lag.P95 <= 0 || lag.P95 > 30*time.Second || len(lag.History) == 0 {
		t.Errorf("lag %+v", lag)
	}
	for _, s := range h.lake.Status(h.ctx) {
		if s.State != "ok" {
			t.Errorf("status %+v", s)
		}
	}
}

func TestIdsOfEveryKindAreKnownAgainAfterRestarts(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	var random []event.Event
	for n := range 300 {
		random = append(random, track(id(n), "import"))
	}
	timed := someEvents(300)
	for round, keepCache := range []bool{true, true, false, true} {
		h.send(stream.Live, timed...)
		h.send(stream.Import, random...)
		h.settle()
		h.holds(h.app, idsOf(random, timed))
		h.close()
		if !keepCache {
			if err := os.RemoveAll(filepath.Join(h.dir, "cache")); err != nil {
				t.Fatal(err)
			}
		}
		h.open()
		c, _, err := h.lake.Counters(h.ctx, h.app)
		if err != nil {
			t.Fatal(err)
		}
		if c.Duplicates != int64(round*600) {
			t.Errorf("round %d: %d duplicates, want %d", round, c.Duplicates, round*600)
		}
	}
}

// The same events race through both lanes: the lanes meet at the app's row.
func TestTheSameEventsThroughBothLanesCountOnce(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	events := someEvents(2000)
	for part := range slices.Chunk(events, 20) {
		h.send(stream.Live, part...)
		h.send(stream.Import, part...)
	}
	h.settle()
	h.holds(h.app, idsOf(events))
}

func TestTheFirstAcceptedCopyWins(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	first := track(id(1), "first")
	second := track(id(1), "second")
	h.send(stream.Live, first, second)
	h.send(stream.Live, second)
	h.settle()
	if rows := h.rows(h.app); len(rows) != 1 || rows[0].Name != "first" {
		t.Errorf("rows %+v, want the first copy alone", rows)
	}
}

func TestADuplicateIsKnownAfterCompaction(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	events := someEvents(100)
	for part := range slices.Chunk(events, 10) {
		h.send(stream.Live, part...)
		h.settle()
	}
	h.compact()
	h.close()
	if err := os.RemoveAll(filepath.Join(h.dir, "cache")); err != nil { // known from the merged object alone
		t.Fatal(err)
	}
	h.open()
	h.send(stream.Live, events...)
	h.settle()
	h.holds(h.app, idsOf(events))
}

func (h *house) compact() {
	h.t.Helper()
	if err := h.lake.Compact(h.ctx, "", func(CompactProgress) {}); err != nil {
		h.t.Fatal(err)
	}
}

func (h *house) liveObjects() int {
	h.t.Helper()
	s, err := h.lake.Snapshot(h.ctx, h.app, time.Time{}, time.Time{})
	if err != nil {
		h.t.Fatal(err)
	}
	defer s.Release()
	return len(s.Objects)
}

func TestCompactionMergesAndGarbageWaitsForQuestions(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	events := someEvents(500)
	for part := range slices.Chunk(events, 50) {
		h.send(stream.Live, part...)
		h.settle()
	}
	question, err := h.lake.Snapshot(h.ctx, h.app, time.Time{}, time.Time{})
	if err != nil {
		t.Fatal(err)
	}
	before := h.rows(h.app)
	h.compact()
	if n := h.liveObjects(); n != 1 {
		t.Errorf("%d objects after compaction, want 1", n)
	}
	h.holds(h.app, idsOf(events))
	after := h.rows(h.app)
	if !slices.IsSortedFunc(after, func(a, b stored) int {
		switch {
		case a.person != b.person:
			if a.person < b.person {
				return -1
			}
			return 1
		case !a.TS.Equal(b.TS):
			return a.TS.Compare(b.TS)
		}
		return slices.Compare(a.ID[:], b.ID[:])
	}) {
		t.Error("merged rows are out of order")
	}
	byID := map[event.ID]stored{}
	for _, row := range before {
		byID[row.ID] = row
	}
	for _, row := range after {
		if byID[row.ID] != row {
			t.Fatalf("row changed from %+v to %+v", byID[row.ID], row)
		}
	}
	// The question still reads the old objects; then they go.
	if err := h.lake.collectGarbage(h.ctx, time.Now().Add(time.Hour)); err != nil {
		t.Fatal(err)
	}
	for _, o := range question.Objects {
		if _, err := os.Stat(o.Path); err != nil {
			t.Errorf("an object of a running question is gone: %v", err)
		}
	}
	question.Release()
	// So does a backup that began meanwhile.
	if err := h.server.Pool().AcquireFunc(t.Context(), func(backup *pgxpool.Conn) error {
		if _, err := backup.Exec(t.Context(), `SELECT pg_advisory_lock($1)`, int64(CollectorLock)); err != nil {
			return err
		}
		if err := h.lake.collectGarbage(h.ctx, time.Now().Add(time.Hour)); err != nil {
			return err
		}
		_, err := backup.Exec(t.Context(), `SELECT pg_advisory_unlock($1)`, int64(CollectorLock))
		return err
	}); err != nil {
		t.Fatal(err)
	}
	for _, o := range question.Objects {
		if _, err := os.Stat(o.Path); err != nil {
			t.Errorf("an object is gone that a backup may be copying: %v", err)
		}
	}
	if err := h.lake.collectGarbage(h.ctx, time.Now().Add(time.Hour)); err != nil {
		t.Fatal(err)
	}
	for _, o := range question.Objects {
		if _, err := os.Stat(o.Path); err == nil {
			t.Errorf("garbage %s is still there", o.Key)
		}
	}
	h.holds(h.app, idsOf(events))
}

func TestASnapshotReadsOnlyWhatItsRangeMeets(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	for day := range 5 {
		e := track(id(day), "visit")
		e.TS = start.AddDate(0, 0, day)
		h.send(stream.Live, e)
		h.settle()
	}
	for name, tt := range map[string]struct {
		from, to time.Time
		want     int
	}{
		"all":            {want: 5},
		"from":           {from: start.AddDate(0, 0, 3), want: 2},
		"to is excluded": {to: start.AddDate(0, 0, 1), want: 1},
		"one day":        {from: start.AddDate(0, 0, 2), to: start.AddDate(0, 0, 3), want: 1},
		"outside":        {from: start.AddDate(1, 0, 0), want: 0},
	} {
		s, err := h.lake.Snapshot(h.ctx, h.app, tt.from, tt.to)
		if err != nil {
			t.Fatal(err)
		}
		if len(s.Objects) != tt.want {
			t.Errorf("%s: %d objects, want %d", name, len(s.Objects), tt.want)
		}
		if s.FreshTo.IsZero() {
			t.Errorf("%s: not said how fresh it is", name)
		}
		s.Release()
	}
	if _, err := h.lake.Snapshot(context.Background(), h.app, time.Time{}, time.Time{}); err == nil {
		t.Error("a snapshot without a workspace in scope")
	}
}

// Whatever is acknowledged before the instant a snapshot names is in it.
func TestASnapshotIsCompleteToTheInstantItNames(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	h.send(stream.Live, someEvents(1)...)
	h.settle()
	h.stop() // nothing lands from here on
	h.send(stream.Live, someEvents(1)...)
	before := time.Now()
	s, err := h.lake.Snapshot(h.ctx, h.app, time.Time{}, time.Time{})
	if err != nil {
		t.Fatal(err)
	}
	s.Release()
	if s.FreshTo.IsZero() || s.FreshTo.After(before) {
		t.Errorf("fresh to %v although an event accepted before %v waits", s.FreshTo, before)
	}
}

func TestRefusedEventsAndDropsAreCounted(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	err := h.stream.Publish(h.ctx, stream.Live, &stream.Batch{WorkspaceID: h.workspace, AppID: h.app, ReceivedAt: time.Now().UTC(),
		Rejected: []event.Rejected{{Index: 3, ID: "x", Name: "bad\x00name", Code: "missing_name", Field: "name", Message: "broken \xff text", Event: "{}"}},
		Dropped:  map[string]int64{"age": 4}})
	if err != nil {
		t.Fatal(err)
	}
	h.until("the refused event is counted", func() bool {
		c, _, err := h.lake.Counters(h.ctx, h.app)
		return err == nil && c.Rejected == 1 && c.Dropped == 4
	})
}

// A message for an app that is gone must not hold up the lane.
func TestAPoisonMessageIsSetAside(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	before, after := someEvents(5), someEvents(5)
	h.send(stream.Live, before...)
	h.sendTo("00000000-0000-4000-8000-000000000001", stream.Live, someEvents(1)...)
	h.send(stream.Live, after...)
	h.settle()
	h.holds(h.app, idsOf(before, after))
	h.until("the dead letter is counted", func() bool { n, err := h.stream.DeadLetters(h.ctx); return err == nil && n == 1 })
	found := false
	for _, s := range h.lake.Status(h.ctx) {
		found = found || s.State == "degraded" && strings.Contains(s.Message, "dead letter")
	}
	if !found {
		t.Error("the status does not tell")
	}
}
