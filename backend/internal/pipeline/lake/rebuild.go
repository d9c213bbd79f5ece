package lake

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/parquet-go/parquet-go"

	"github.com/causality-project/causality/backend/internal/account/tenancy"
	"github.com/causality-project/causality/backend/internal/pipeline/catalog"
	"github.com/causality-project/causality/backend/internal/pipeline/lake/merge"
	"github.com/causality-project/causality/backend/internal/pipeline/lake/parquetv1"
	"github.com/causality-project/causality/backend/internal/pipeline/lake/seen"
	"github.com/causality-project/causality/backend/internal/pipeline/stream"
	"github.com/causality-project/causality/backend/internal/platform/event"
	"github.com/causality-project/causality/backend/internal/platform/fault"
)

// RebuildProgress is told after each object.
type RebuildProgress struct {
	Objects      int
	ObjectsTotal int
	Rows         int64
	Problems     []Problem // found since the last time
}

// Rebuild makes an app's manifest anew from its objects alone, or that of all
// apps of ctx's workspace for an empty appID: the list of objects, counters,
// person links, catalog, seen ids and, where it is lost or older than the
// stream, the sink's offset. Events that are still in the stream land again if
// they have to; the list of refused events is kept as it is.
func (l *Lake) Rebuild(ctx context.Context, appID string, report func(RebuildProgress)) error {
	workspaceID, err := tenancy.Workspace(ctx)
	if err != nil {
		return err
	}
	apps, err := l.appsOf(ctx, workspaceID, appID)
	if err != nil {
		return err
	}
	if err := l.rebuildApps(ctx, workspaceID, apps, report); err != nil {
		return err
	}
	for _, app := range apps {
		if err := l.reapplyErasures(ctx, workspaceID, app); err != nil {
			return fmt.Errorf("erase again what was erased from app %s: %w", app, err)
		}
	}
	return nil
}

// rebuildApps lets no merge of this process run meanwhile.
func (l *Lake) rebuildApps(ctx context.Context, workspaceID string, apps []string, report func(RebuildProgress)) error {
	l.compacting.Lock()
	defer l.compacting.Unlock()
	r := &rebuild{lake: l, workspaceID: workspaceID, report: report}
	for _, app := range apps {
		if err := r.read(ctx, app); err != nil {
			return err
		}
	}
	report(r.progress)
	r.progress.Problems = nil
	for lane, s := range l.sinks {
		if err := r.restoreOffset(ctx, lane); err != nil {
			return err
		}
		s.loaded.Store(false)
	}
	for _, app := range apps {
		before := r.progress
		err := r.app(ctx, app)
		for bad := (*unreadableError)(nil); errors.As(err, &bad); err = r.app(ctx, app) {
			r.progress.Objects, r.progress.Rows, r.progress.ObjectsTotal = before.Objects, before.Rows, r.progress.ObjectsTotal-1
			r.leaveOut(app, bad)
			report(r.progress)
			r.progress.Problems = nil
		}
		if err != nil {
			return fmt.Errorf("rebuild app %s: %w", app, err)
		}
	}
	return nil
}

// unreadableError is the damage of an object's contents. It hides its cause, an
// unexpected end for example, which would pass for the database's.
type unreadableError struct {
	key  string
	what string
}

func (e *unreadableError) Error() string { return e.key + " cannot be read: " + e.what }

// leaveOut goes on without an object, as without one whose footer is damaged.
func (r *rebuild) leaveOut(appID string, bad *unreadableError) {
	r.entries[appID] = slices.DeleteFunc(r.entries[appID], func(e entry) bool { return e.Key == bad.key })
	r.unusable(bad.key, bad.what)
}

func (r *rebuild) unusable(key, why string) {
	r.problem(key, fmt.Sprintf("The object cannot be used: %s. Restore it from a backup and rebuild again, or move it away.", why))
}

type rebuild struct {
	lake        *Lake
	workspaceID string
	report      func(RebuildProgress)
	progress    RebuildProgress
	entries     map[string][]entry // by app, as the objects carry them
	offsets     map[stream.Lane]laneOffset
}

type laneOffset struct {
	incarnation string
	last        uint64
}

// read collects the manifest rows that an app's objects carry.
func (r *rebuild) read(ctx context.Context, appID string) error {
	if r.entries == nil {
		r.entries, r.offsets = map[string][]entry{}, map[stream.Lane]laneOffset{}
	}
	before := len(r.progress.Problems)
	for object, err := range r.lake.cfg.Objects.List(ctx, appPrefix(appID)) {
		if err != nil {
			return err
		}
		if !strings.HasSuffix(object.Key, ".parquet") {
			continue
		}
		e, err := r.lake.readEntry(ctx, object.Key)
		switch {
		case ctx.Err() != nil:
			return ctx.Err()
		case storeAway(err): // what is left out for it would be missing from every answer
			return fmt.Errorf("read %s: %w", object.Key, err)
		case err != nil:
			r.unusable(object.Key, err.Error())
		case e.Key != object.Key || e.AppID != appID || e.WorkspaceID != r.workspaceID:
			r.problem(object.Key, "The object belongs elsewhere and was left out: its own row names "+e.Key+".")
		default:
			e.Bytes = object.Bytes
			r.entries[appID] = append(r.entries[appID], e)
			r.progress.ObjectsTotal++
		}
	}
	if len(r.entries[appID]) == 0 && len(r.progress.Problems) == before {
		return r.emptied(ctx, appID)
	}
	return nil
}

// emptied refuses to make an empty manifest of one that lists objects: then the
// wrong store is looked at, or it is lost with all that it held.
func (r *rebuild) emptied(ctx context.Context, appID string) error {
	var listed int
	err := r.lake.cfg.DB.Tx(ctx, func(ctx context.Context, tx pgx.Tx) error {
		return tx.QueryRow(ctx, `SELECT count(*) FROM lake_objects WHERE workspace_id = $1 AND app_id = $2`, r.workspaceID, appID).Scan(&listed)
	})
	if err != nil {
		return fmt.Errorf("read manifest: %w", err)
	}
	if listed > 0 {
		return fault.New(fault.Conflict, "The store holds no object of app %s, and the manifest lists %d; nothing was changed. See that --object-store names the right store, or restore a backup.", appID, listed)
	}
	return nil
}

func (r *rebuild) problem(object, what string) {
	r.progress.Problems = append(r.progress.Problems, Problem{object, what})
}

// restoreOffset settles where a lane goes on. An offset that fits the stream is
// kept. A lost one is derived: an object of the run [a,b] could only be written
// after everything before a had landed.
func (r *rebuild) restoreOffset(ctx context.Context, lane stream.Lane) error {
	state, err := r.lake.cfg.Stream.State(ctx, lane)
	if err != nil {
		return err
	}
	offset := laneOffset{incarnation: r.lake.cfg.Stream.Incarnation(lane)}
	for _, entries := range r.entries {
		for i := range entries {
			if e := &entries[i]; e.Level == 0 && e.Lane == lane && e.Incarnation == offset.incarnation && e.FirstSeq > 0 {
				offset.last = max(offset.last, e.FirstSeq-1)
			}
		}
	}
	if state.FirstSeq > 0 {
		offset.last = max(offset.last, state.FirstSeq-1)
	}
	err = r.lake.cfg.DB.TxAll(ctx, func(ctx context.Context, tx tenancy.ScopedTx) error {
		var stored string
		var last int64
		err := tx.QueryRow(ctx, `SELECT incarnation, last_seq FROM lake_offsets WHERE lane = $1 FOR UPDATE`, lane).Scan(&stored, &last)
		if err == nil && stored == offset.incarnation && uint64(last)+1 >= state.FirstSeq {
			offset.last = uint64(last)
			return nil
		}
		if err != nil && !errors.Is(err, pgx.ErrNoRows) {
			return err
		}
		_, err = tx.Exec(ctx, `INSERT INTO lake_offsets (lane, incarnation, last_seq) VALUES ($1, $2, $3)
			ON CONFLICT (lane) DO UPDATE SET incarnation = excluded.incarnation, last_seq = excluded.last_seq, committed_at = now()`,
			lane, offset.incarnation, int64(offset.last))
		return err
	})
	if err != nil {
		return fmt.Errorf("restore the sink's offset: %w", err)
	}
	r.offsets[lane] = offset
	return nil
}

// choose picks the objects that are live, events before all others, and those
// that they make superfluous.
func (r *rebuild) choose(entries []entry) (live, superseded []entry) {
	var fresh, unnamed, merged, erased, derived []entry
	for _, e := range entries {
		switch {
		case e.Kind == kindErased:
			erased = append(erased, e)
		case e.Kind != kindEvents:
			derived = append(derived, e)
		case e.Merge != "":
			merged = append(merged, e)
		case e.Level > 0:
			unnamed = append(unnamed, e)
		default:
			// Those beyond the offset come again from the stream.
			if offset := r.offsets[e.Lane]; e.Incarnation != offset.incarnation || e.FirstSeq <= offset.last {
				fresh = append(fresh, e)
			}
		}
	}
	live, superseded = chooseUnnamed(unnamed, chooseRuns(fresh))
	chosen, replaced := chooseMerges(merged, entries)
	// The largest first: of copies of an id the first one read stays.
	slices.SortStableFunc(chosen, func(a, b entry) int { return cmp.Compare(b.Level, a.Level) })
	live = slices.DeleteFunc(append(chosen, live...), func(e entry) bool {
		_, gone := replaced[e.ID]
		if gone {
			superseded = append(superseded, e)
		}
		return gone
	})
	sources := make(map[string]struct{}, len(live))
	for i := range live {
		sources[live[i].ID] = struct{}{}
	}
	live = append(live, erased...)
	// Of several projections of an object and kind the newest counts.
	slices.SortFunc(derived, func(a, b entry) int { return cmp.Or(b.CreatedAt.Compare(a.CreatedAt), strings.Compare(b.ID, a.ID)) })
	type derivation struct{ source, kind string }
	have := map[derivation]struct{}{}
	for _, e := range derived {
		_, lives := sources[e.Source]
		_, taken := have[derivation{e.Source, e.Kind}]
		if !lives || taken {
			superseded = append(superseded, e)
			continue
		}
		have[derivation{e.Source, e.Kind}] = struct{}{}
		live = append(live, e)
	}
	return live, superseded
}

// chooseRuns picks the fresh objects that count: of the tries of one run, the
// last. Runs of a lane follow one another, so a try that reaches into the next
// run has failed.
func chooseRuns(fresh []entry) (runs []entry) {
	slices.SortFunc(fresh, func(a, b entry) int {
		return cmp.Or(strings.Compare(string(a.Lane), string(b.Lane)), strings.Compare(a.Incarnation, b.Incarnation),
			cmp.Compare(a.FirstSeq, b.FirstSeq), strings.Compare(a.AppID, b.AppID), a.CreatedAt.Compare(b.CreatedAt), strings.Compare(a.ID, b.ID))
	})
	for i := 0; i < len(fresh); {
		end := i + 1
		for end < len(fresh) && fresh[end].Lane == fresh[i].Lane && fresh[end].Incarnation == fresh[i].Incarnation && fresh[end].FirstSeq == fresh[i].FirstSeq {
			end++
		}
		tries := fresh[i:end]
		if end < len(fresh) && fresh[end].Lane == fresh[i].Lane && fresh[end].Incarnation == fresh[i].Incarnation {
			next := fresh[end].FirstSeq
			if fitting := slices.DeleteFunc(slices.Clone(tries), func(e entry) bool { return e.LastSeq >= next }); len(fitting) > 0 {
				tries = fitting
			}
		}
		runs = append(runs, tries[len(tries)-1])
		i = end
	}
	return runs
}

// chooseUnnamed decides among objects of merges that did not name their inputs,
// as they were written before objects settled, and runs of the sink. Such an
// object holds its sources whole, and a later one holds an earlier one whole or
// not at all. So the latest come first.
func chooseUnnamed(merged, runs []entry) (live, superseded []entry) {
	slices.SortFunc(merged, func(a, b entry) int {
		return cmp.Or(b.CreatedAt.Compare(a.CreatedAt), strings.Compare(b.ID, a.ID))
	})
	var held seen.Ranges
	for _, e := range append(merged, runs...) {
		switch {
		case e.Level > 0 && held.Overlaps(e.Sources):
			if held.Covers(e.Sources) {
				superseded = append(superseded, e)
			}
		case e.Level == 0 && held.Covers(e.Sources): // it went into a chosen merged one
			superseded = append(superseded, e)
		default:
			live = append(live, e)
			if e.Level > 0 {
				held = seen.Union(held, e.Sources)
			}
		}
	}
	return live, superseded
}

// lineage is a merge as its outputs in the store tell of it.
type lineage struct {
	outputs  []entry
	inputs   []string
	complete bool // all of its outputs are there
	consumed bool // a merge took an output, which was live then: this one was committed
	gone     int  // inputs that are not in the store, as after a commit
}

// chooseMerges decides which merges were committed, and returns their outputs and
// the ids of what they replaced. Where it cannot be known it takes what loses no
// row; ids that are then in two objects are found by reading them.
func chooseMerges(merged, all []entry) (chosen []entry, replaced map[string]struct{}) {
	byID := map[string]*lineage{}
	stored, taken := map[string]struct{}{}, map[string]struct{}{}
	for i := range all {
		stored[all[i].ID] = struct{}{}
	}
	for _, e := range merged {
		m := byID[e.Merge]
		if m == nil {
			m = &lineage{inputs: e.Inputs}
			byID[e.Merge] = m
			for _, id := range e.Inputs {
				taken[id] = struct{}{}
				if _, ok := stored[id]; !ok {
					m.gone++
				}
			}
		}
		m.outputs = append(m.outputs, e)
	}
	merges := make([]*lineage, 0, len(byID))
	for _, m := range byID {
		m.complete = len(m.outputs) >= max(m.outputs[0].Parts, 1)
		for i := range m.outputs {
			if _, ok := taken[m.outputs[i].ID]; ok {
				m.consumed = true
			}
		}
		merges = append(merges, m)
	}
	slices.SortFunc(merges, func(a, b *lineage) int {
		first := func(a, b bool) int {
			switch {
			case a && !b:
				return -1
			case b && !a:
				return 1
			}
			return 0
		}
		last := func(m *lineage) *entry { return &m.outputs[len(m.outputs)-1] }
		return cmp.Or(first(a.consumed, b.consumed), first(a.complete, b.complete),
			cmp.Compare(b.gone*len(a.inputs), a.gone*len(b.inputs)), // a larger share of the inputs
			last(b).CreatedAt.Compare(last(a).CreatedAt), strings.Compare(last(b).ID, last(a).ID))
	})
	replaced = map[string]struct{}{}
	for _, m := range merges {
		rival, lost := false, false // lost: an input is in no other object that counts
		for _, id := range m.inputs {
			_, done := replaced[id]
			_, there := stored[id]
			rival = rival || done
			lost = lost || !done && !there
		}
		switch {
		case m.complete && !rival:
			for _, id := range m.inputs {
				replaced[id] = struct{}{}
			}
		case !m.consumed && !lost:
			continue // it never was committed, or another rewrote the same objects
		}
		chosen = append(chosen, m.outputs...)
	}
	return chosen, replaced
}

// app rebuilds one app in one transaction, under the lock of its row: its sink
// waits meanwhile, and events wait in the stream.
func (r *rebuild) app(ctx context.Context, appID string) error {
	live, superseded := r.choose(r.entries[appID])
	// Objects of an earlier numbering could share numbers; dedupe works on them.
	var commits int64
	var sums totals
	var last time.Time
	for i := range live {
		commits = max(commits, live[i].Sources.Last())
		sums.Duplicates = max(sums.Duplicates, live[i].Totals.Duplicates)
		sums.Rejected = max(sums.Rejected, live[i].Totals.Rejected)
		sums.Dropped = max(sums.Dropped, live[i].Totals.Dropped)
		sums.Erased = max(sums.Erased, live[i].Totals.Erased)
		sums.Late = max(sums.Late, live[i].Totals.Late)
		sums.Expired = max(sums.Expired, live[i].Totals.Expired)
		if live[i].MaxReceivedAt.After(last) {
			last = live[i].MaxReceivedAt
		}
	}
	content := &appContent{rebuild: r, appID: appID, keepers: map[event.ID]keeper{}}
	err := r.lake.cfg.DB.Tx(ctx, func(ctx context.Context, tx pgx.Tx) error {
		if _, err := tx.Exec(ctx, `SET LOCAL statement_timeout = 0; SET LOCAL idle_in_transaction_session_timeout = 0`); err != nil {
			return err
		}
		if _, err := tx.Exec(ctx, `INSERT INTO lake_apps (workspace_id, app_id) VALUES ($1, $2) ON CONFLICT DO NOTHING`, r.workspaceID, appID); err != nil {
			return err
		}
		if _, err := tx.Exec(ctx, `SELECT FROM lake_apps WHERE workspace_id = $1 AND app_id = $2 FOR UPDATE`, r.workspaceID, appID); err != nil {
			return err
		}
		for _, table := range []string{"lake_objects", "lake_removals", "person_links", "catalog_events", "catalog_event_days", "catalog_properties"} {
			if _, err := tx.Exec(ctx, `DELETE FROM `+table+` WHERE workspace_id = $1 AND app_id = $2`, r.workspaceID, appID); err != nil {
				return err
			}
		}
		r.lake.cfg.Catalog.Forget(appID)
		r.lake.resolve.forget(appID)
		if err := r.lake.seen.Reset(appID); err != nil {
			return err
		}
		if err := content.read(ctx, tx, live); err != nil {
			return err
		}
		linkNumber, err := content.storeLinks(ctx, tx, live)
		if err != nil {
			return err
		}
		var batch pgx.Batch
		var rows int64
		keys := make([]string, len(live))
		for i := range live {
			live[i].LinkNumber = 0 // the links are numbered anew
			live[i].queueInsert(&batch)
			if live[i].Kind == kindEvents {
				rows += live[i].Rows
			}
			keys[i] = live[i].Key
		}
		batch.Queue(`DELETE FROM lake_garbage WHERE key = ANY ($1)`, keys)
		var dead []string
		for i := range superseded {
			dead = append(dead, superseded[i].Key)
		}
		batch.Queue(`INSERT INTO lake_garbage (key, workspace_id) SELECT unnest($1::text[]), $2::uuid ON CONFLICT DO NOTHING`, dead, r.workspaceID)
		batch.Queue(`UPDATE lake_apps SET version = greatest(version, $3) + 2 * $10::bigint, commits = greatest(commits, $3), link_number = $4,
			duplicates = greatest(duplicates, $5), rejected = greatest(rejected, $7), dropped = greatest(dropped, $8),
			erased = greatest(erased, $11), erased_late = greatest(erased_late, $12), expired = greatest(expired, $13),
			stored = $6 + greatest(duplicates, $5) + greatest(erased, $11) + greatest(erased_late, $12) + greatest(expired, $13),
			last_received_at = greatest(last_received_at, $9)
			WHERE workspace_id = $1 AND app_id = $2`,
			r.workspaceID, appID, commits, linkNumber, sums.Duplicates, rows, sums.Rejected, sums.Dropped, orNil(last), maxBehind,
			sums.Erased, sums.Late, sums.Expired) // far enough that every reader reads the list anew
		if err := tx.SendBatch(ctx, &batch).Close(); err != nil {
			return fmt.Errorf("write manifest: %w", err)
		}
		return r.lake.seen.Cover(appID, seen.Union(seen.Ranges{1, max(commits, 1)}))
	})
	if err != nil {
		return errors.Join(err, r.lake.seen.Reset(appID))
	}
	// Not before the commit: a question meanwhile would bring the old links back.
	r.lake.links.forget(appID)
	r.lake.listings.forget(appID)
	return content.dropRepeats(ctx, live)
}

// appContent is what an app's rows tell beside themselves.
type appContent struct {
	*rebuild
	appID   string
	linking []*event.Event
	keepers map[event.ID]keeper // of ids that several objects hold
}

// keeper is the copy of a repeated id that stays: the one that was accepted
// first, or none of an id that was erased.
type keeper struct {
	object          int // index in live; -1: not known yet, erasedKeeper: none
	receivedAt, seq int64
}

const erasedKeeper = -2

func (c *appContent) read(ctx context.Context, tx pgx.Tx, live []entry) error {
	// Erased ids first, so that an event that comes back under one is noticed.
	for i := range live {
		if live[i].Kind != kindErased {
			continue
		}
		err := c.lake.readErased(ctx, live[i].Key, func(ids []event.ID) error { return c.lake.seen.Add(c.appID, nil, slices.Clone(ids)) })
		if err != nil {
			return fmt.Errorf("read %s: %w", live[i].Key, err)
		}
	}
	for i := range live {
		if live[i].Kind == kindEvents {
			if err := c.readObject(ctx, tx, &live[i]); err != nil {
				return fmt.Errorf("read %s: %w", live[i].Key, err)
			}
			c.progress.Rows += live[i].Rows
		}
		c.progress.Objects++
		c.report(c.progress)
		c.progress.Problems = nil
	}
	if len(c.keepers) == 0 {
		return nil
	}
	for i := range live {
		var err error
		switch live[i].Kind {
		case kindErased:
			err = c.lake.readErased(ctx, live[i].Key, func(ids []event.ID) error {
				for _, id := range ids {
					if _, repeated := c.keepers[id]; repeated {
						c.keepers[id] = keeper{object: erasedKeeper}
					}
				}
				return nil
			})
		case kindEvents:
			err = c.findKeepers(ctx, i, live[i].Key)
		}
		if err != nil {
			return fmt.Errorf("read %s: %w", live[i].Key, err)
		}
	}
	return nil
}

// findKeepers compares an object's copies of repeated ids with those before.
func (c *appContent) findKeepers(ctx context.Context, object int, key string) error {
	return c.lake.withFile(ctx, key, func(file *parquetv1.File) (err error) {
		reader := file.Read()
		defer func() { err = errors.Join(err, reader.Close()) }()
		for {
			row, err := reader.Next()
			if errors.Is(err, io.EOF) {
				return ctx.Err()
			}
			if err != nil {
				return err
			}
			id := parquetv1.ID(row)
			have, repeated := c.keepers[id]
			if !repeated || have.object == erasedKeeper {
				continue
			}
			this := keeper{object, parquetv1.ReceivedAt(row), parquetv1.Seq(row)}
			if have.object < 0 || cmp.Or(cmp.Compare(this.receivedAt, have.receivedAt), cmp.Compare(this.seq, have.seq)) < 0 {
				c.keepers[id] = this
			}
		}
	})
}

// dropRepeats rewrites the objects that hold copies of ids that stay elsewhere.
func (c *appContent) dropRepeats(ctx context.Context, live []entry) error {
	if len(c.keepers) == 0 {
		return nil
	}
	for i := range live {
		if live[i].Kind != kindEvents {
			continue
		}
		drop := false
		err := c.lake.withFile(ctx, live[i].Key, func(file *parquetv1.File) error {
			within := map[event.ID]struct{}{}
			return file.ReadIDs(func(ids []event.ID) error {
				for _, id := range ids {
					keeper, repeated := c.keepers[id]
					_, twice := within[id]
					if repeated {
						within[id] = struct{}{}
					}
					drop = drop || repeated && (keeper.object != i || twice)
				}
				return ctx.Err()
			})
		})
		if err != nil {
			return fmt.Errorf("read %s: %w", live[i].Key, err)
		}
		if !drop {
			continue
		}
		r, err := c.lake.loadRewrite(ctx, c.workspaceID, c.appID, []string{live[i].ID})
		if err != nil {
			return err
		}
		r.inPlace()
		r.keep = func(row *merge.Row) bool {
			keeper, repeated := c.keepers[row.ID]
			return !repeated || keeper.object == i
		}
		r.also = func(ctx context.Context, tx pgx.Tx) error {
			_, err := tx.Exec(ctx, `UPDATE lake_apps SET duplicates = duplicates + $3 WHERE workspace_id = $1 AND app_id = $2`, c.workspaceID, c.appID, r.result.Removed)
			return err
		}
		if err := r.run(ctx); err != nil {
			return fmt.Errorf("drop repeats from %s: %w", live[i].Key, err)
		}
	}
	return nil
}

// readObject takes an object's ids, links and catalog entries.
func (c *appContent) readObject(ctx context.Context, tx pgx.Tx, object *entry) error {
	ids := make([]event.ID, 0, object.Rows)
	observed := c.lake.cfg.Catalog.Begin(c.workspaceID, c.appID)
	err := c.lake.withFile(ctx, object.Key, func(file *parquetv1.File) (err error) {
		reader := file.Read()
		defer func() { err = errors.Join(err, reader.Close()) }()
		for {
			row, err := reader.Next()
			if errors.Is(err, io.EOF) {
				return nil
			}
			if err != nil {
				return err
			}
			e := parquetv1.Decode(row)
			ids = append(ids, e.ID)
			observed.Observe(&e, nil)
			if e.Type == event.Identify || e.Type == event.Alias {
				c.linking = append(c.linking, &e)
			}
			if len(ids)%4096 == 0 && ctx.Err() != nil {
				return ctx.Err()
			}
		}
	})
	var away *fault.Error
	switch {
	case err != nil && ctx.Err() == nil && !errors.As(err, &away):
		return &unreadableError{object.Key, err.Error()}
	case err != nil:
		return err
	}
	slices.SortFunc(ids, func(a, b event.ID) int { return slices.Compare(a[:], b[:]) })
	known, err := c.lake.seen.Contains(c.appID, ids)
	if err != nil {
		return err
	}
	for i := range ids {
		if known[i] || i > 0 && ids[i] == ids[i-1] {
			c.keepers[ids[i]] = keeper{object: -1}
		}
	}
	if err := c.lake.seen.Add(c.appID, nil, ids); err != nil {
		return err
	}
	if err := observed.Commit(ctx, tx); err != nil {
		return err
	}
	observed.Committed()
	return nil
}

// storeLinks works the person links out of all IDENTIFY and ALIAS events. The
// objects' keys were resolved through links whose numbers are lost, some of them
// corrected since; each id whose rows carry a key that the new links do not lead
// on from gets an undone link, so that readers look at the id itself.
func (c *appContent) storeLinks(ctx context.Context, tx pgx.Tx, live []entry) (int64, error) {
	change, err := planLinks(ctx, tx, c.workspaceID, c.appID, 0, c.linking)
	if err != nil {
		return 0, err
	}
	now := hops{next: map[int64]int64{}}
	now.apply(&change)
	wrong := map[[2]string]int64{} // kind and id → the key that misleads
	for i := range live {
		if live[i].Kind != kindEvents {
			continue
		}
		err := c.lake.withFile(ctx, live[i].Key, func(file *parquetv1.File) (err error) {
			reader := file.Read()
			defer func() { err = errors.Join(err, reader.Close()) }()
			for {
				row, err := reader.Next()
				if errors.Is(err, io.EOF) {
					return nil
				}
				if err != nil {
					return err
				}
				c.findMisleading(row, &now, wrong)
			}
		})
		if err != nil {
			return 0, fmt.Errorf("read %s: %w", live[i].Key, err)
		}
	}
	if len(wrong) > 0 {
		for id, key := range wrong {
			change.number++
			k := link{number: change.number, kind: id[0], fromID: id[1], toKey: key, undone: true, why: "earlier", fromKey: event.AnonymousKey(id[1])}
			if k.kind == kindAlias {
				k.fromKey = event.UserKey(id[1])
			}
			k.ts = time.Unix(0, 0).UTC()
			change.insert = append(change.insert, k)
		}
		change.number++ // they were undone by a later change than their own
	}
	var batch pgx.Batch
	change.queue(&batch, c.workspaceID, c.appID)
	if len(wrong) > 0 {
		batch.Queue(`UPDATE person_links SET undone_number = $3 WHERE workspace_id = $1 AND app_id = $2 AND to_id = ''`, c.workspaceID, c.appID, change.number)
	}
	if batch.Len() > 0 {
		if err := tx.SendBatch(ctx, &batch).Close(); err != nil {
			return 0, fmt.Errorf("write person links: %w", err)
		}
	}
	return change.number, nil
}

func (c *appContent) findMisleading(row parquet.Row, now *hops, wrong map[[2]string]int64) {
	key := parquetv1.UserKey(row)
	if key == 0 {
		return
	}
	kind, id := kindAlias, parquetv1.UserID(row)
	own := int64(0)
	if id != "" {
		own = event.UserKey(id)
	} else {
		kind, id = kindIdentify, parquetv1.AnonymousID(row)
		own = event.AnonymousKey(id)
	}
	if person := now.person(own); now.person(key) != person {
		wrong[[2]string{kind, catalog.Storable(id)}] = key
	}
}
