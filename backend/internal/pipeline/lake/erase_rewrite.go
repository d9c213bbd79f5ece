package lake

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/causality-project/causality/backend/internal/account/tenancy"
	"github.com/causality-project/causality/backend/internal/pipeline/catalog"
	"github.com/causality-project/causality/backend/internal/pipeline/lake/parquetv1"
	"github.com/causality-project/causality/backend/internal/pipeline/lake/seen"
	"github.com/causality-project/causality/backend/internal/platform/event"
	"github.com/causality-project/causality/backend/internal/platform/failpoint"
)

// restsForErasure is true in SQL for an app, named by $1 and $2, whose objects
// only its erasure may rewrite now: it knows them by their commits.
const restsForErasure = `EXISTS (SELECT FROM erasures WHERE workspace_id = $1 AND app_id = $2 AND state NOT IN ('requested', 'done'))`

// covers says whether an object may hold events from before the erasure took
// force. Later ones hold none that it concerns: those of a person were let go.
func (e *erasure) covers(o *entry) bool {
	return len(o.Sources) > 0 && o.Sources[0] <= e.commits
}

// eraseFromObjects rewrites every object that holds an event of the erasure. It
// looks again until a pass finds none, and so finds done what was done before a
// crash.
func (l *Lake) eraseFromObjects(ctx context.Context, e *erasure) error {
	if err := l.writeLog(ctx, e); err != nil {
		return err
	}
	failpoint.Hit("erase.after-log")
	t := e.target()
	clean := map[string]struct{}{}
	for {
		entries, number, err := l.liveEvents(ctx, e.workspaceID, e.AppID)
		if err != nil {
			return err
		}
		var dirty []entry
		for i := range entries {
			o := &entries[i]
			if _, done := clean[o.ID]; done || !e.covers(o) || !t.overlaps(o) {
				continue
			}
			var f found
			err := l.withFile(ctx, o.Key, func(file *parquetv1.File) (err error) {
				f, err = t.scan(ctx, file)
				return err
			})
			if err != nil {
				return fmt.Errorf("scan %s: %w", o.Key, err)
			}
			if f.rows == 0 && !(f.misplaced && o.LinkNumber < number) {
				clean[o.ID] = struct{}{}
				continue
			}
			dirty = append(dirty, *o)
		}
		if len(dirty) == 0 {
			return nil
		}
		e.record.Found = len(e.record.Rewritten) + len(dirty)
		for len(dirty) > 0 {
			group := together(dirty)
			dirty = dirty[len(group):]
			if err := l.eraseGroup(ctx, e, t, group); err != nil && !errors.Is(err, errOvertaken) {
				return err
			}
			l.erasing.tell()
		}
	}
}

// liveEvents lists an app's live objects of events, settled ones last, and the
// number of its last link.
func (l *Lake) liveEvents(ctx context.Context, workspaceID, appID string) (entries []entry, number int64, err error) {
	err = l.cfg.DB.Tx(tenancy.WithWorkspace(ctx, workspaceID), func(ctx context.Context, tx pgx.Tx) error {
		err := tx.QueryRow(ctx, `SELECT link_number FROM lake_apps WHERE workspace_id = $1 AND app_id = $2`, workspaceID, appID).Scan(&number)
		if errors.Is(err, pgx.ErrNoRows) {
			return nil
		}
		if err != nil {
			return fmt.Errorf("read manifest: %w", err)
		}
		all, err := entriesOf(ctx, tx, workspaceID, appID)
		entries = entries[:0]
		for _, settled := range []bool{false, true} {
			for i := range all {
				if all[i].Kind == kindEvents && all[i].Period.IsZero() != settled {
					entries = append(entries, all[i])
				}
			}
		}
		return err
	})
	return entries, number, err
}

// together takes objects from the front that are rewritten in one go: loose ones
// within the bounds of a merge, or one settled object.
func together(objects []entry) []entry {
	var rows, bytes int64
	for i := range objects {
		o := &objects[i]
		rows += o.Rows
		bytes += o.Bytes
		if i > 0 && (!o.Period.IsZero() || !objects[0].Period.IsZero() || i >= defaultPolicy.jobInputs || rows > defaultPolicy.jobRows || bytes > defaultPolicy.jobBytes) {
			return objects[:i]
		}
	}
	return objects
}

// loadPlain prepares a rewrite that leaves objects where they are, and lists the
// projections that go with them, by object.
func (l *Lake) loadPlain(ctx context.Context, workspaceID, appID string, group []entry) (*rewrite, map[string][]string, error) {
	ids := make([]string, len(group))
	for i := range group {
		ids[i] = group[i].ID
	}
	r, err := l.loadRewrite(ctx, workspaceID, appID, ids)
	if err != nil {
		return nil, nil, err
	}
	r.level = 1
	if first := &r.inputs[0]; !first.Period.IsZero() {
		r.level, r.settle, r.bits = first.Level, true, first.BucketBits
	}
	pace := pacer{share: shareOfCPU, adapt: l.spareShare(ctx), since: time.Now()}
	r.pace = pace.wait
	projections := map[string][]string{}
	err = l.cfg.DB.Tx(ctx, func(ctx context.Context, tx pgx.Tx) error {
		rows, err := tx.Query(ctx, `SELECT source_id::text, key FROM lake_objects WHERE workspace_id = $1 AND source_id = ANY ($2::uuid[]) ORDER BY key`, workspaceID, ids)
		if err != nil {
			return fmt.Errorf("read projections: %w", err)
		}
		var source, key string
		_, err = pgx.ForEachRow(rows, []any{&source, &key}, func() error {
			projections[source] = append(projections[source], key)
			return nil
		})
		return err
	})
	return r, projections, err
}

// eraseGroup rewrites some objects without the events, and with them in one
// transaction what stays of these: their ids.
func (l *Lake) eraseGroup(ctx context.Context, e *erasure, t *target, group []entry) error {
	l.compacting.Lock()
	defer l.compacting.Unlock()
	ctx = tenancy.WithWorkspace(ctx, e.workspaceID)
	r, projections, err := l.loadPlain(ctx, e.workspaceID, e.AppID, group)
	if err != nil {
		return err
	}
	var removal *catalog.Removal
	err = l.cfg.DB.Tx(ctx, func(ctx context.Context, tx pgx.Tx) (err error) {
		removal, err = l.cfg.Catalog.BeginRemoval(ctx, tx, e.workspaceID, e.AppID)
		return err
	})
	if err != nil {
		return err
	}
	previous := map[event.ID]struct{}{}
	counts := make([]int64, len(r.inputs))
	for i := range r.inputs {
		err := l.withFile(ctx, r.inputs[i].Key, func(file *parquetv1.File) error {
			f, err := t.scan(ctx, file)
			if err != nil {
				return err
			}
			counts[i] = f.rows
			if err := f.observe(ctx, file, removal); err != nil {
				return err
			}
			ids, err := t.aliases(ctx, file)
			for id := range ids {
				previous[id] = struct{}{}
			}
			return err
		})
		if err != nil {
			return fmt.Errorf("scan %s: %w", r.inputs[i].Key, err)
		}
	}
	var ids []event.ID
	r.keep = t.keeper(previous)
	r.removed = func(id event.ID) error {
		ids = append(ids, id)
		return nil
	}
	r.also = func(ctx context.Context, tx pgx.Tx) error {
		return l.noteErased(ctx, tx, e, r, projections, ids, counts, removal)
	}
	if err := r.run(ctx); err != nil {
		return err
	}
	failpoint.Hit("erase.after-rewrite")
	l.cfg.Catalog.Forget(e.AppID)
	return nil
}

// noteErased is the part of the swap that is the erasure's: ids that stay known,
// counters, the catalog, and the record of what was done.
func (l *Lake) noteErased(ctx context.Context, tx pgx.Tx, e *erasure, r *rewrite, projections map[string][]string,
	ids []event.ID, counts []int64, removal *catalog.Removal,
) error {
	// Another process may work on the same erasure, if it has not noticed yet
	// that it lost its lease: the row tells what was done.
	var record eraseRecord
	err := tx.QueryRow(ctx, `SELECT record FROM erasures WHERE workspace_id = $1 AND erasure_id = $2 FOR UPDATE`, e.workspaceID, e.ID).Scan(&record)
	if err != nil {
		return fmt.Errorf("read the erasure's record: %w", err)
	}
	record.Found = max(record.Found, e.record.Found)
	if len(ids) > 0 {
		sources := make([]seen.Ranges, len(r.inputs))
		for i := range r.inputs {
			sources[i] = r.inputs[i].Sources
		}
		kept, err := l.storeErased(ctx, e.workspaceID, e.AppID, ids, seen.Union(sources...), r.totals, e.activeAt)
		if err != nil {
			return err
		}
		var batch pgx.Batch
		kept.queueInsert(&batch)
		batch.Queue(`UPDATE lake_apps SET erased = erased + $3 WHERE workspace_id = $1 AND app_id = $2`, e.workspaceID, e.AppID, len(ids))
		if err := tx.SendBatch(ctx, &batch).Close(); err != nil {
			return fmt.Errorf("list erased ids: %w", err)
		}
		record.IDs += kept.Rows
		record.IDObjects = append(record.IDObjects, kept.Key)
	}
	if err := removal.Commit(ctx, tx); err != nil {
		return err
	}
	outputs := make([]string, len(r.outputs))
	for i := range r.outputs {
		outputs[i] = r.outputs[i].Key
	}
	for i := range r.inputs {
		record.Rewritten = append(record.Rewritten, erasedObject{Old: r.inputs[i].Key, With: projections[r.inputs[i].ID], New: outputs, Events: counts[i]})
	}
	record.Events += int64(len(ids))
	text, err := json.Marshal(&record)
	if err != nil {
		return err
	}
	if _, err := tx.Exec(ctx, `UPDATE erasures SET record = $3 WHERE workspace_id = $1 AND erasure_id = $2`, e.workspaceID, e.ID, string(text)); err != nil {
		return fmt.Errorf("note what was erased: %w", err)
	}
	e.record = record
	failpoint.Hit("erase.before-commit")
	return nil
}
