package lake

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"

	"github.com/causality-project/causality/backend/internal/pipeline/lake/parquetv1"
	"github.com/causality-project/causality/backend/internal/pipeline/stream"
	"github.com/causality-project/causality/backend/internal/platform/event"
)

// smallPolicy settles whatever there is into objects of a few hundred rows, and
// merges no settled ones again.
func smallPolicy(c *compactionState) {
	c.policy = defaultPolicy
	c.policy.settleRows, c.policy.full, c.policy.target = 1, 1, 12<<10
}

// spread makes events of many users over the months from March 2026 on.
func spread(n, users, months int) []event.Event {
	events := make([]event.Event, n)
	for i := range events {
		id, _ := uuid.NewV7()
		events[i] = track(event.ID(id), []string{"page_view", "purchase"}[i%2])
		events[i].TS = start.AddDate(0, i%months, 0).Add(time.Duration(i*7919%2_000_000) * time.Second)
		events[i].AnonymousID = fmt.Sprint("visitor-", i/months%users)
		events[i].Properties = fmt.Sprintf(`{"plan": "plan %d", "price": %d.5}`, i%3, i%100)
	}
	return events
}

// due does what compaction does in the background.
func (h *house) due() {
	h.t.Helper()
	if err := h.lake.compactDue(h.ctx); err != nil {
		h.t.Fatal(err)
	}
}

func (h *house) entries() []entry {
	h.t.Helper()
	var entries []entry
	err := h.db.Tx(h.ctx, func(ctx context.Context, tx pgx.Tx) (err error) {
		entries, err = entriesOf(ctx, tx, h.workspace, h.app)
		return err
	})
	if err != nil {
		h.t.Fatal(err)
	}
	return entries
}

func (h *house) objectIDs() (ids []string) {
	for _, e := range h.entries() {
		if e.Kind == kindEvents {
			ids = append(ids, e.ID)
		}
	}
	return ids
}

func TestObjectsSettleByMonthAndUsersWithTheirProjections(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	smallPolicy(&h.lake.compaction)
	h.exec(`UPDATE apps SET time_zone = 'Australia/Lord_Howe' WHERE app_id = $1`, h.app)
	events := spread(3000, 90, 3)
	events[0].Type, events[0].UserID = event.Identify, "user"
	for part := range slices.Chunk(events, 1000) {
		h.send(stream.Live, part...)
		h.settle()
	}
	h.due()
	months, split := map[time.Time]bool{}, false
	s, err := h.lake.Snapshot(h.ctx, h.app, time.Time{}, time.Time{})
	must(h, err)
	s.Release()
	var rows int64
	for _, o := range s.Objects {
		var kinds []string
		for _, p := range o.Projections {
			kinds = append(kinds, p.Kind+" "+p.Zone)
		}
		if want := []string{"by_event ", "event_days Australia/Lord_Howe", "user_days Australia/Lord_Howe"}; !slices.Equal(kinds, want) {
			t.Errorf("projections %q, want %q", kinds, want)
		}
		rows += o.Projections[0].Rows
	}
	if rows != 2999 {
		t.Errorf("by_event has %d rows, want those of the 2999 tracked events", rows)
	}
	for _, e := range h.entries() {
		months[e.Period] = true
		split = split || e.BucketBits > 0
		if e.MinTS.Before(e.Period) || !e.MaxTS.Before(e.Period.AddDate(0, 1, 0)) {
			t.Errorf("an object of %v holds events from %v to %v", e.Period, e.MinTS, e.MaxTS)
		}
	}
	if len(months) != 3 || months[time.Time{}] || !split {
		t.Errorf("settled into months %v, split by users: %v", months, split)
	}
	h.holds(h.app, idsOf(events))
}

func TestLateEventsRewriteNothing(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	smallPolicy(&h.lake.compaction)
	h.send(stream.Live, spread(3000, 90, 3)...)
	h.settle()
	h.due()
	before, written := h.objectIDs(), h.lake.compaction.bytesWritten
	late := spread(30, 5, 1)
	h.send(stream.Live, late...)
	h.settle()
	h.due()
	after := h.objectIDs()
	for _, id := range before {
		if !slices.Contains(after, id) {
			t.Errorf("object %s was rewritten for late events", id)
		}
	}
	if more := h.lake.compaction.bytesWritten - written; len(after) != len(before)+1 || more > written/3 {
		t.Errorf("%d objects became %d, and %d bytes were written after %d", len(before), len(after), more, written)
	}
	h.verified()
}

func TestLinksRewriteOnlyObjectsThatTheyTouch(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	smallPolicy(&h.lake.compaction)
	events := spread(2000, 50, 4)
	for i := range events {
		if i%4 != 2 && events[i].AnonymousID == "visitor-7" {
			events[i].AnonymousID = "visitor-8" // visitor-7 comes in the third month alone
		}
	}
	h.send(stream.Live, events...)
	h.settle()
	h.due()
	before := h.entries()
	h.lake.compaction.policy.settleRows = 1_000_000 // the links' own events stay loose
	var links []event.Event
	for n := range 200 {
		links = append(links, identify(1000+n, n, fmt.Sprint("stranger-", n), "somebody"))
	}
	links = append(links, identify(2000, 1, "visitor-7", "seven"))
	h.send(stream.Live, links...)
	h.settle()
	h.due()
	var number int64
	h.query(`SELECT link_number FROM lake_apps WHERE app_id = $1`, []any{&number}, h.app)
	after := h.entries()
	for _, was := range before {
		if was.Kind != kindEvents {
			continue
		}
		touched := was.Period.Month() == time.May && h.holdsVisitor(was.Key, "visitor-7")
		now := slices.IndexFunc(after, func(e entry) bool { return e.ID == was.ID })
		switch {
		case touched && now >= 0:
			t.Errorf("an object of %v holds rows of the linked visitor and was not rewritten", was.Period)
		case !touched && now < 0:
			t.Errorf("an object of %v holds none of the linked visitor's rows and was rewritten", was.Period)
		case !touched && after[now].LinkNumber != number:
			t.Errorf("an object without moved rows is folded through %d, want %d", after[now].LinkNumber, number)
		}
	}
	var seven int
	for _, row := range h.foldedSettled() {
		if row.AnonymousID == "visitor-7" {
			seven++
			if row.person != event.UserKey("seven") {
				t.Fatal("a settled row still has the visitor's own key")
			}
		}
	}
	if seven == 0 {
		t.Error("the visitor's rows are gone")
	}
	h.holds(h.app, idsOf(events, links))
}

// foldedSettled reads settled rows with the keys that they are stored with.
func (h *house) foldedSettled() (rows []stored) {
	h.t.Helper()
	for _, e := range h.entries() {
		if e.Kind == kindEvents && !e.Period.IsZero() {
			rows = append(rows, h.rowsOf(e.Key)...)
		}
	}
	return rows
}

func (h *house) rowsOf(key string) (rows []stored) {
	h.t.Helper()
	err := h.lake.withFile(h.ctx, key, func(file *parquetv1.File) error {
		reader := file.Read()
		defer reader.Close()
		for range file.Rows() {
			row, err := reader.Next()
			if err != nil {
				return err
			}
			rows = append(rows, stored{Event: parquetv1.Decode(row), person: parquetv1.UserKey(row)})
		}
		return nil
	})
	must(h, err)
	return rows
}

func (h *house) holdsVisitor(key, anonymousID string) bool {
	return slices.ContainsFunc(h.rowsOf(key), func(r stored) bool { return r.AnonymousID == anonymousID })
}

func TestAnObjectThatCannotBeReadIsSetAside(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	smallPolicy(&h.lake.compaction)
	h.lake.compaction.policy.settleRows = 1 << 40
	h.lake.compaction.policy.fresh = 3
	var damaged string
	for n := range 4 {
		h.send(stream.Live, spread(100, 5, 1)...)
		h.settle()
		if n == 1 {
			all := h.entries()
			damaged = all[len(all)-1].Key
		}
	}
	path, err := h.objects.Local(h.ctx, damaged)
	must(h, err)
	data, err := os.ReadFile(path)
	must(h, err)
	for i := 4; i < len(data)/2; i++ {
		data[i] ^= 0x5a
	}
	must(h, os.WriteFile(path, data, 0o600))
	for range 5 {
		h.due()
	}
	var levels []int
	for _, e := range h.entries() {
		levels = append(levels, e.Level)
	}
	slices.Sort(levels)
	if !slices.Equal(levels, []int{0, 1}) {
		t.Errorf("objects of levels %v, want the damaged one and the three others merged", levels)
	}
	app := h.lake.compaction.app(h.app)
	for _, bad := range app.bad {
		if bad.tries != 1 || !bad.retryAt.After(time.Now().Add(firstReread/2)) {
			t.Errorf("it was tried %d times, again at %v", bad.tries, bad.retryAt)
		}
	}
	status := h.lake.compaction.status()
	if len(app.bad) != 1 || status.State != "degraded" || !strings.Contains(status.Message, damaged) {
		t.Errorf("status %+v, want the object named", status)
	}
}

func TestProjectionsAreCompletedAndFollowTheTimeZone(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	smallPolicy(&h.lake.compaction)
	events := spread(1000, 20, 2)
	h.send(stream.Live, events...)
	h.settle()
	h.due()
	kinds := func() (kinds []string) {
		for _, e := range h.entries() {
			if e.Source != "" {
				kinds = append(kinds, e.Kind+" "+e.Zone)
			}
		}
		slices.Sort(kinds)
		return slices.Compact(kinds)
	}
	h.exec(`DELETE FROM lake_objects WHERE kind = 'event_days' OR kind = 'by_event'`)
	h.due()
	if got := kinds(); !slices.Equal(got, []string{"by_event ", "event_days UTC", "user_days UTC"}) {
		t.Errorf("projections %q, want the missing ones derived", got)
	}
	h.verified()
	h.exec(`UPDATE apps SET time_zone = 'Asia/Kathmandu' WHERE app_id = $1`, h.app)
	h.due()
	if got := kinds(); !slices.Equal(got, []string{"by_event ", "event_days Asia/Kathmandu", "user_days Asia/Kathmandu"}) {
		t.Errorf("projections %q, want days of the new zone alone", got)
	}
	h.holds(h.app, idsOf(events))
}

func TestPromotedColumnsComeWithMergesAndWhenAsked(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	smallPolicy(&h.lake.compaction)
	first, second := spread(200, 20, 1), spread(200, 20, 1)
	h.send(stream.Live, first...)
	h.settle()
	h.due()
	before := h.objectIDs()
	_, err := h.lake.cfg.Catalog.Promote(h.ctx, h.app, "plan", "text")
	must(h, err)
	h.send(stream.Live, second...)
	h.settle()
	h.due()
	s, err := h.lake.Snapshot(h.ctx, h.app, time.Time{}, time.Time{})
	must(h, err)
	s.Release()
	for _, o := range s.Objects {
		if old := slices.Contains(before, o.ID); old == slices.Contains(o.Columns, "plan") {
			t.Errorf("object from before the promotion: %v, columns %q", old, o.Columns)
		}
	}
	h.compact()
	for _, e := range h.entries() {
		if e.Kind == kindEvents && !slices.Contains(e.Columns, "plan") {
			t.Error("an object lacks the column although everything was to be compacted")
		}
	}
	h.holds(h.app, idsOf(first, second))
}

// A merge whose inputs are rewritten by somebody else leaves nothing.
func TestAnOvertakenMergeLeavesNothing(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	events := spread(300, 20, 2)
	for part := range slices.Chunk(events, 100) {
		h.send(stream.Live, part...)
		h.settle()
	}
	ids := h.objectIDs()
	late, err := h.lake.loadRewrite(h.ctx, h.workspace, h.app, ids)
	must(h, err)
	late.settle, late.level = true, 2
	other, err := h.lake.loadRewrite(h.ctx, h.workspace, h.app, ids[1:])
	must(h, err)
	other.level = 1
	must(h, other.run(h.ctx))
	if err := late.run(h.ctx); !errors.Is(err, errOvertaken) {
		t.Fatalf("error %v, want %v", err, errOvertaken)
	}
	stored := 0
	for _, err := range h.objects.List(h.ctx, "") {
		must(h, err)
		stored++
	}
	if stored != 4 { // three of the sink, one of the other merge
		t.Errorf("%d objects in the store, want 4", stored)
	}
	h.holds(h.app, idsOf(events))
}

func TestASnapshotIsExactWhateverItsListWasReadFrom(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	smallPolicy(&h.lake.compaction)
	exact := func(step string) {
		t.Helper()
		kept, err := h.lake.Snapshot(h.ctx, h.app, time.Time{}, time.Time{})
		must(h, err)
		kept.Release()
		h.lake.listings.forget(h.app)
		anew, err := h.lake.Snapshot(h.ctx, h.app, time.Time{}, time.Time{})
		must(h, err)
		anew.Release()
		text := func(s *Snapshot) string { return fmt.Sprintf("%d %+v", s.Version, s.Objects) }
		if text(kept) != text(anew) {
			t.Errorf("%s: from what was kept\n%s\nread anew\n%s", step, text(kept), text(anew))
		}
		if len(kept.Objects) == 0 {
			t.Errorf("%s: nothing", step)
		}
	}
	for n := range 3 {
		h.send(stream.Live, spread(300, 30, 2)...)
		h.settle()
		exact(fmt.Sprint("run ", n))
		if n == 1 {
			h.due()
			exact("settled")
		}
	}
	h.exec(`DELETE FROM lake_objects WHERE kind = 'user_days'`)
	exact("without a projection")
	h.due()
	exact("derived")
	h.compact()
	exact("compacted")
	must(h, h.lake.Rebuild(h.ctx, "", func(RebuildProgress) {}))
	exact("rebuilt")
	from, to := start.AddDate(0, 1, 0), start.AddDate(0, 2, 0)
	s, err := h.lake.Snapshot(h.ctx, h.app, from, to)
	must(h, err)
	s.Release()
	for _, o := range s.Objects {
		if o.MaxTS.Before(from) || !o.MinTS.Before(to) {
			t.Errorf("an object from %v to %v is outside the range asked for", o.MinTS, o.MaxTS)
		}
	}
}

func TestCompactionWaitsForAnErasure(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	smallPolicy(&h.lake.compaction)
	h.send(stream.Live, spread(100, 10, 1)...)
	h.settle()
	h.stop()
	h.exec(`INSERT INTO erasures (erasure_id, workspace_id, app_id, state, requested_by, keys, hashes) VALUES (gen_random_uuid(), $1, $2, 'rewriting', 'test', '{1}', '{}')`, h.workspace, h.app)
	before := h.objectIDs()
	h.due()
	if after := h.objectIDs(); !slices.Equal(before, after) {
		t.Error("objects were merged while an erasure is under way")
	}
	h.exec(`UPDATE erasures SET state = 'done'`)
	h.due()
	if after := h.objectIDs(); slices.Equal(before, after) {
		t.Error("nothing was merged once the erasure was done")
	}
}
