package lake

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/causality-project/causality/backend/internal/account/tenancy"
	"github.com/causality-project/causality/backend/internal/pipeline/lake/seen"
	"github.com/causality-project/causality/backend/internal/pipeline/stream"
	"github.com/causality-project/causality/backend/internal/platform/event"
	"github.com/causality-project/causality/backend/internal/platform/fault"
)

// emptyTables loses everything that the lake keeps in PostgreSQL.
func (h *house) emptyTables() {
	h.t.Helper()
	for _, table := range []string{"lake_objects", "lake_removals", "lake_garbage", "person_links", "catalog_events", "catalog_event_days", "catalog_properties", "lake_apps"} {
		h.exec(`DELETE FROM ` + table)
	}
	owner, err := pgx.ConnectConfig(h.ctx, h.server.OwnerConfig())
	if err != nil {
		h.t.Fatal(err)
	}
	defer owner.Close(h.ctx)
	if _, err := owner.Exec(h.ctx, `DELETE FROM lake_offsets`); err != nil {
		h.t.Fatal(err)
	}
}

func TestRebuildRestoresEverythingFromTheObjects(t *testing.T) {
	t.Parallel()
	for name, withCache := range map[string]bool{"with the cache": true, "without the cache": false} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			h := newHouse(t)
			other := h.addApp()
			first, second := someEvents(300), someEvents(200)
			for part := range slices.Chunk(first, 30) {
				h.send(stream.Live, part...)
				h.settle()
			}
			h.compact() // its inputs are garbage that is still there: they must not come back
			for part := range slices.Chunk(second, 50) {
				h.send(stream.Import, part...)
				h.settle()
			}
			h.send(stream.Live, first[:20]...)
			h.sendTo(other, stream.Live, someEvents(10)...)
			h.send(stream.Live, identify(1, 1, "a", "u1"), visit(2, "a", ""))
			h.settle()
			before, _, err := h.lake.Counters(h.ctx, "")
			if err != nil {
				t.Fatal(err)
			}
			rows, catalogBefore := h.rows(h.app), h.catalogRows()
			h.close()
			h.emptyTables()
			if !withCache {
				if err := os.RemoveAll(filepath.Join(h.dir, "cache")); err != nil {
					t.Fatal(err)
				}
			}
			h.openStopped()
			h.rebuild()
			h.start()
			h.settle()
			after, _, err := h.lake.Counters(h.ctx, "")
			if err != nil {
				t.Fatal(err)
			}
			if after.Queryable != before.Queryable {
				t.Errorf("%d queryable, %d before", after.Queryable, before.Queryable)
			}
			byID := map[event.ID]stored{}
			for _, row := range rows {
				byID[row.ID] = row
			}
			again := h.rows(h.app)
			for _, row := range again {
				if byID[row.ID] != row {
					t.Fatalf("row changed from %+v to %+v", byID[row.ID], row)
				}
			}
			if len(again) != len(rows) {
				t.Errorf("%d rows, %d before", len(again), len(rows))
			}
			if got := h.catalogRows(); !slices.Equal(got, catalogBefore) {
				t.Errorf("catalog %v, before %v", got, catalogBefore)
			}
			h.verified()
			// What was seen is known, and new events land.
			fresh := someEvents(10)
			h.send(stream.Live, append(fresh, first...)...)
			h.send(stream.Import, second...)
			h.settle()
			h.holds(h.app, append(idsOf(first, second, fresh), id(1), id(2)))
		})
	}
}

// The store holds what settling, merging again and crashes leave: inputs that wait
// to be collected or are gone, and outputs of merges that were never committed.
func TestRebuildFindsOutWhichMergesWereCommitted(t *testing.T) {
	t.Parallel()
	tests := map[string]func(h *house){
		"inputs are there": func(*house) {},
		"inputs are gone":  func(h *house) { must(h, h.lake.collectGarbage(h.ctx, time.Now().Add(time.Hour))) },
		"a merge that was not committed": func(h *house) {
			must(h, h.lake.collectGarbage(h.ctx, time.Now().Add(time.Hour)))
			h.crashedMerge(h.objectIDs()[:3], 0)
		},
		"a merge that was not finished": func(h *house) { h.crashedMerge(h.objectIDs()[1:4], 1) },
		"its inputs went elsewhere": func(h *house) {
			ids := h.objectIDs()[:3]
			h.crashedMerge(ids, 1)
			r, err := h.lake.loadRewrite(h.ctx, h.workspace, h.app, ids)
			must(h, err)
			r.settle, r.level = true, 3
			must(h, r.run(h.ctx))
			must(h, h.lake.collectGarbage(h.ctx, time.Now().Add(time.Hour)))
		},
		"some inputs are gone": func(h *house) {
			var key string
			h.query(`SELECT min(key) FROM lake_garbage WHERE key LIKE '%merged-1%' OR key LIKE '%events-%'`, []any{&key})
			must(h, h.objects.Delete(h.ctx, key))
		},
	}
	for name, crash := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			h := newHouse(t)
			smallPolicy(&h.lake.compaction)
			h.lake.compaction.policy.fresh, h.lake.compaction.policy.settleRows = 3, 700
			h.lake.compaction.policy.full, h.lake.compaction.policy.small = 24<<10, 4
			var events []event.Event
			for range 9 {
				some := spread(150, 40, 2)
				some[0].Type, some[0].UserID = event.Identify, "user of "+some[0].AnonymousID
				events = append(events, some...)
				h.send(stream.Live, some...)
				h.settle()
				h.due()
			}
			h.stop()
			crash(h)
			rows, live := h.rows(h.app), len(h.entries())
			h.close()
			h.emptyTables()
			h.openStopped()
			h.rebuild()
			if again := len(h.entries()); name == "inputs are there" && (again < live-1 || again > live) { // the last run may land again
				t.Errorf("%d objects are listed, %d before", again, live)
			}
			h.start()
			h.settle()
			byID := map[event.ID]stored{}
			for _, row := range rows {
				byID[row.ID] = row
			}
			for _, row := range h.rows(h.app) {
				if byID[row.ID] != row {
					t.Fatalf("row changed from %+v to %+v", byID[row.ID], row)
				}
			}
			h.holds(h.app, idsOf(events))
			h.due()
			h.holds(h.app, idsOf(events))
		})
	}
}

// crashedMerge leaves the objects of a merge that ended before its commit, but
// for some of its parts.
func (h *house) crashedMerge(ids []string, without int) {
	h.t.Helper()
	r, err := h.lake.loadRewrite(h.ctx, h.workspace, h.app, ids)
	must(h, err)
	r.settle, r.level = true, 3
	r.also = func(context.Context, pgx.Tx) error { return errors.New("crash") }
	if err := r.run(h.ctx); err == nil {
		h.t.Fatal("it was committed")
	}
	for i := range r.outputs {
		if r.outputs[i].Kind == kindEvents && without > 0 {
			without--
			must(h, h.objects.Delete(h.ctx, r.outputs[i].Key))
		}
	}
}

func TestMergesAreChosenByWhatTheStoreTellsOfThem(t *testing.T) {
	t.Parallel()
	sunk := func(id string) entry {
		n := int64(id[0])
		return entry{ID: id, Kind: kindEvents, Incarnation: "an earlier one", FirstSeq: uint64(n), LastSeq: uint64(n), Sources: seen.One(n)}
	}
	output := func(id, merge string, parts int, inputs ...string) entry {
		return entry{ID: id, Kind: kindEvents, Level: 2, Merge: merge, Parts: parts, Inputs: inputs, CreatedAt: at(len(id) + int(id[0]))}
	}
	tests := map[string]struct {
		stored []entry
		live   string
	}{
		"complete":                  {[]entry{sunk("x"), sunk("y"), output("a", "m", 2, "x", "y"), output("b", "m", 2, "x", "y")}, "a b"},
		"not finished":              {[]entry{sunk("x"), sunk("y"), output("a", "m", 2, "x", "y")}, "x y"},
		"inputs gone":               {[]entry{output("a", "m", 1, "x", "y")}, "a"},
		"one part was merged again": {[]entry{output("b", "m", 2, "x"), output("c", "n", 1, "a")}, "b c"},
		"one part was merged again, not collected":  {[]entry{output("a", "m", 2, "x"), output("b", "m", 2, "x"), output("c", "n", 1, "a")}, "b c"},
		"of rivals the one whose inputs are gone":   {[]entry{sunk("z"), output("a", "m", 1, "x", "y"), output("b", "n", 1, "x", "z")}, "a z"},
		"of rivals the complete one":                {[]entry{output("a", "m", 1, "x", "y"), output("b", "n", 2, "x", "y")}, "a"},
		"of rivals the latest":                      {[]entry{sunk("x"), output("a", "m", 1, "x"), output("b", "n", 1, "x")}, "b"},
		"of rivals the one that was merged again":   {[]entry{output("a", "m", 1, "x"), output("b", "n", 1, "x"), output("c", "o", 1, "a")}, "c"},
		"a part was dropped, an input is collected": {[]entry{sunk("y"), output("a", "m", 2, "x", "y")}, "a y"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := &rebuild{}
			live, _ := r.choose(tt.stored)
			var ids []string
			for _, e := range live {
				ids = append(ids, e.ID)
			}
			slices.Sort(ids)
			if got := strings.Join(ids, " "); got != tt.live {
				t.Errorf("live are %q, want %q", got, tt.live)
			}
		})
	}
}

func TestNothingIsCollectedWhileAListedObjectIsMissing(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	for range 2 {
		h.send(stream.Live, someEvents(20)...)
		h.settle()
	}
	h.stop()
	ids := h.objectIDs()
	h.crashedMerge(ids, 0)
	orphans, _, err := h.lake.orphans(h.ctx, h.workspace, h.app, time.Now().Add(time.Hour))
	must(h, err)
	if len(orphans) != 4 { // of events, and three projections
		t.Fatalf("%d orphans, want 4", len(orphans))
	}
	first := h.entries()[0]
	must(h, h.objects.Delete(h.ctx, first.Key))
	must(h, h.lake.collectOrphans(h.ctx, time.Now().Add(time.Hour)))
	for _, key := range orphans {
		if _, err := h.lake.readEntry(h.ctx, key); err != nil {
			t.Errorf("%s was collected: %v", key, err)
		}
	}
	if _, _, err := h.lake.orphans(h.ctx, h.workspace, h.app, time.Now().Add(time.Hour)); !errors.Is(err, errOlderManifest) {
		t.Errorf("error %v, want %v", err, errOlderManifest)
	}
}

func (h *house) catalogRows() (lines []string) {
	h.t.Helper()
	err := h.db.Tx(h.ctx, func(ctx context.Context, tx pgx.Tx) error {
		rows, err := tx.Query(ctx, `SELECT concat_ws(' ', name, count, first_seen, last_seen) FROM catalog_events WHERE app_id = $1
			UNION ALL SELECT concat_ws(' ', event, name, types, count, array_length(samples, 1)) FROM catalog_properties WHERE app_id = $1 ORDER BY 1`, h.app)
		if err != nil {
			return err
		}
		lines, err = pgx.CollectRows(rows, pgx.RowTo[string])
		return err
	})
	if err != nil {
		h.t.Fatal(err)
	}
	return lines
}

// A database restored from an old backup: the stream has purged what the
// manifest lacks. The sink must wait rather than bury the objects.
func TestAnOldDatabaseIsNoticedAndRebuilt(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	first := someEvents(50)
	h.send(stream.Live, first...)
	h.settle()
	second := someEvents(50)
	for part := range slices.Chunk(second, 10) {
		h.send(stream.Live, part...)
		h.settle()
	}
	h.stop()
	state, err := h.stream.State(h.ctx, stream.Live)
	if err != nil {
		t.Fatal(err)
	}
	if err := h.stream.Purge(h.ctx, stream.Live, state.LastSeq, 0, 0); err != nil {
		t.Fatal(err)
	}
	// The state after the first run.
	h.exec(`DELETE FROM lake_objects WHERE app_id = $1 AND first_seq > (SELECT min(first_seq) FROM lake_objects)`, h.app)
	h.exec(`UPDATE lake_apps SET commits = 1, stored = 50`)
	if err := h.db.TxAll(h.ctx, func(ctx context.Context, tx tenancy.ScopedTx) error {
		_, err := tx.Exec(ctx, `UPDATE lake_offsets SET last_seq = 1 WHERE lane = 'live'`)
		return err
	}); err != nil {
		t.Fatal(err)
	}
	h.close()
	h.open()
	h.until("the sink says what is wrong", func() bool {
		for _, s := range h.lake.Status(h.ctx) {
			if strings.Contains(s.Message, "lake rebuild") {
				return true
			}
		}
		return false
	})
	// Nothing that the old manifest lacks may be taken for an orphan.
	if err := h.lake.collectOrphans(h.ctx, time.Now().Add(time.Hour)); err != nil {
		t.Fatal(err)
	}
	h.rebuild()
	fresh := someEvents(10)
	h.send(stream.Live, fresh...)
	h.settle()
	h.until("the sink lands again", func() bool { return h.lake.sinks[stream.Live].loaded.Load() })
	h.settle()
	h.holds(h.app, idsOf(first, second, fresh))
}

// monthsApart sends events of two months and settles them: one object each.
func (h *house) monthsApart() (ids []event.ID, objects []Object) {
	h.t.Helper()
	events := someEvents(100)
	for i := range events {
		if i%2 > 0 {
			events[i].TS = events[i].TS.AddDate(0, -2, 0)
		}
		ids = append(ids, events[i].ID)
	}
	h.send(stream.Live, events...)
	h.settle()
	h.compact()
	s, err := h.lake.Snapshot(h.ctx, h.app, time.Time{}, time.Time{})
	must(h, err)
	s.Release()
	if len(s.Objects) != 2 {
		h.t.Fatalf("%d objects, want one a month", len(s.Objects))
	}
	return ids, s.Objects
}

// collectAll deletes all garbage, whatever its age.
func (h *house) collectAll() {
	h.t.Helper()
	must(h, h.lake.collectGarbage(tenancy.WithWorkspace(h.ctx, h.workspace), time.Now().Add(time.Hour)))
}

// What a merge wrote for another month holds the same commits, not the same
// events.
func TestALostSettledObjectThatComesBackIsNotCollected(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	ids, objects := h.monthsApart()
	h.collectAll()
	h.stop()
	lost := filepath.Join(t.TempDir(), "lost")
	must(h, os.Rename(objects[0].Path, lost))
	h.rebuild()
	must(h, os.Rename(lost, objects[0].Path))
	must(h, h.lake.collectOrphans(h.ctx, time.Now().Add(time.Hour)))
	h.rebuild()
	h.start()
	h.holds(h.app, ids)
}

func TestRebuildGoesOnWithoutAnObjectWhosePagesAreDamaged(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	ids, objects := h.monthsApart()
	h.collectAll()
	h.stop()
	whole, err := os.ReadFile(objects[0].Path)
	must(h, err)
	damaged := slices.Clone(whole)
	for i := range damaged[4:100] {
		damaged[4+i] ^= 0x5a
	}
	must(h, os.WriteFile(objects[0].Path, damaged, 0o600))
	var problems []Problem
	must(h, h.lake.Rebuild(h.ctx, h.app, func(p RebuildProgress) { problems = append(problems, p.Problems...) }))
	if len(problems) != 1 || problems[0].Object != objects[0].Key || !strings.Contains(problems[0].What, "cannot be used") {
		t.Errorf("problems %v, want one that names %s", problems, objects[0].Key)
	}
	if rows := h.rows(h.app); len(rows) != len(ids)/2 {
		t.Errorf("%d rows of the other month, want %d", len(rows), len(ids)/2)
	}
	must(h, os.WriteFile(objects[0].Path, whole, 0o600))
	h.rebuild()
	h.start()
	h.holds(h.app, ids)
}

func TestVerifyFindsWhatIsWrong(t *testing.T) {
	t.Parallel()
	tests := map[string]struct {
		damage func(h *house, o Object)
		want   string
	}{
		"missing": {func(h *house, o Object) { must(h, os.Remove(o.Path)) }, "missing"},
		"cut":     {func(h *house, o Object) { must(h, os.Chmod(o.Path, 0o600)); must(h, os.Truncate(o.Path, o.Bytes-10)) }, "bytes"},
		"a changed byte": {func(h *house, o Object) {
			data, err := os.ReadFile(o.Path)
			must(h, err)
			for i := 4; i < len(data)/2; i++ {
				data[i] ^= 0x5a
			}
			must(h, os.WriteFile(o.Path, data, 0o600))
		}, "damaged"},
		"another row count": {func(h *house, _ Object) { h.exec(`UPDATE lake_objects SET rows = rows + 1`) }, "rows"},
		"other times":       {func(h *house, _ Object) { h.exec(`UPDATE lake_objects SET max_ts = max_ts + interval '1 s'`) }, "times"},
		"unlisted":          {func(h *house, _ Object) { h.exec(`DELETE FROM lake_objects`) }, "Nothing lists"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			h := newHouse(t, func(c *Config) { c.Grace = time.Nanosecond })
			h.send(stream.Live, someEvents(200)...)
			h.settle()
			h.stop()
			h.verified()
			s, err := h.lake.Snapshot(h.ctx, h.app, time.Time{}, time.Time{})
			if err != nil {
				t.Fatal(err)
			}
			s.Release()
			tt.damage(h, s.Objects[0])
			var found []string
			if err := h.lake.Verify(h.ctx, h.app, func(p VerifyProgress) {
				for _, problem := range p.Problems {
					found = append(found, problem.What)
				}
			}); err != nil {
				t.Fatal(err)
			}
			if !slices.ContainsFunc(found, func(s string) bool { return strings.Contains(s, tt.want) }) {
				t.Errorf("found %q, want a sentence about %q", found, tt.want)
			}
		})
	}
}

func must(h *house, err error) {
	h.t.Helper()
	if err != nil {
		h.t.Fatal(err)
	}
}

// What a crashed run left is collected, and nothing else.
func TestOrphansAreCollectedOnlyWhenTheirEventsAreElsewhere(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	h.send(stream.Live, someEvents(20)...)
	h.settle()
	s, err := h.lake.Snapshot(h.ctx, h.app, time.Time{}, time.Time{})
	must(h, err)
	s.Release()
	// A copy of the object under the name of another try: the same commit.
	data, err := os.ReadFile(s.Objects[0].Path)
	must(h, err)
	orphan := strings.TrimSuffix(s.Objects[0].Path, ".parquet") + "0.parquet"
	must(h, os.WriteFile(orphan, data, 0o600))
	must(h, h.lake.collectOrphans(h.ctx, time.Now().Add(-time.Hour)))
	if _, err := os.Stat(orphan); err != nil {
		t.Error("an orphan was collected before its time")
	}
	must(h, h.lake.collectOrphans(h.ctx, time.Now().Add(time.Hour)))
	if _, err := os.Stat(orphan); err == nil {
		t.Error("the orphan is still there")
	}
	h.exec(`DELETE FROM lake_objects`)
	must(h, h.lake.collectOrphans(h.ctx, time.Now().Add(time.Hour)))
	if _, err := os.Stat(s.Objects[0].Path); err != nil {
		t.Error("an object that alone holds its events was collected")
	}
}

// Started with another store by mistake, the manifest is all that tells of the
// right one.
func TestARebuildFromAnEmptyStoreChangesNothing(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	all := someEvents(30)
	h.send(stream.Live, all...)
	h.settle()
	objects := filepath.Join(h.dir, "objects")
	if err := os.Rename(objects, objects+"-aside"); err != nil {
		t.Fatal(err)
	}
	if err := h.lake.Rebuild(h.ctx, h.app, func(RebuildProgress) {}); !fault.Is(err, fault.Conflict) {
		t.Errorf("rebuild: %v", err)
	}
	if err := h.lake.Collect(h.ctx, h.app, true, func(Collected) {}); !fault.Is(err, fault.Conflict) {
		t.Errorf("gc: %v", err)
	}
	if _, err := h.lake.CountErase(h.ctx, EraseRequest{AppID: h.app, Event: all[0].Name}); !fault.Is(err, fault.Conflict) {
		t.Errorf("count of an erasure: %v", err)
	}
	if err := os.Rename(objects+"-aside", objects); err != nil {
		t.Fatal(err)
	}
	h.holds(h.app, idsOf(all))
	h.rebuild()
	h.holds(h.app, idsOf(all))
}
