package lake

import (
	"context"
	"errors"
	"fmt"

	"github.com/jackc/pgx/v5"

	"github.com/causality-project/causality/backend/internal/account/tenancy"
	"github.com/causality-project/causality/backend/internal/pipeline/lake/parquetv1"
	"github.com/causality-project/causality/backend/internal/platform/objstore"
)

// reapplyErasures applies the erasures of an app, as they are recorded beside
// its objects, to what a rebuild has listed: objects of a backup may hold again
// what was erased, and a restored database may know nothing of it. It returns
// when that is gone. The app must be rebuilt, and no merge of this process may
// be held up meanwhile.
func (l *Lake) reapplyErasures(ctx context.Context, workspaceID, appID string) error {
	ctx = tenancy.WithWorkspace(ctx, workspaceID)
	logs, err := l.readErasureLogs(ctx, workspaceID, appID)
	if err != nil || len(logs) == 0 {
		return err
	}
	for i := range logs {
		if err := l.restoreErasure(ctx, &logs[i]); err != nil {
			return fmt.Errorf("restore erasure %s: %w", logs[i].ID, err)
		}
	}
	err = l.cfg.DB.Tx(ctx, func(ctx context.Context, tx pgx.Tx) error {
		// The row of the app may be new: without the counter nobody would look
		// for erasures that are in force.
		_, err := tx.Exec(ctx, `UPDATE lake_apps SET erasures = erasures + 1 WHERE workspace_id = $1 AND app_id = $2`, workspaceID, appID)
		return err
	})
	if err != nil {
		return fmt.Errorf("put erasures into force again: %w", err)
	}
	again, err := l.returned(ctx, workspaceID, appID)
	if err != nil {
		return err
	}
	for _, e := range again {
		err := l.cfg.DB.Tx(ctx, func(ctx context.Context, tx pgx.Tx) error {
			// Numbers of commits and links are those of the rebuilt manifest.
			return tx.QueryRow(ctx, `UPDATE erasures e SET state = 'rewriting', record = jsonb_build_object('again', $4::int), commits = l.commits,
				link_number = l.link_number FROM lake_apps l WHERE e.workspace_id = $1 AND e.erasure_id = $2 AND l.workspace_id = $1 AND l.app_id = $3
				RETURNING l.commits, l.link_number`, workspaceID, e.ID, appID, e.record.Again+1).Scan(&e.commits, &e.linkNumber)
		})
		if err != nil {
			return fmt.Errorf("apply erasure %s again: %w", e.ID, err)
		}
		e.State, e.record = eraseRewriting, eraseRecord{Again: e.record.Again + 1}
		l.log.WarnContext(ctx, "objects hold again what was erased; erasing it again", "app", appID, "erasure", e.ID)
		if _, err := l.eraseOne(ctx, e); err != nil {
			return fmt.Errorf("apply erasure %s again: %w", e.ID, err)
		}
	}
	return nil
}

// restoreErasure makes the row of an erasure that the database does not know, so
// that late events of its person meet it.
func (l *Lake) restoreErasure(ctx context.Context, log *eraseLog) error {
	e := &erasure{}
	e.ID, e.AppID = log.ID, log.AppID
	receipt, err := l.readSmall(ctx, e.receiptKey())
	if err != nil && !errors.Is(err, objstore.ErrNotFound) {
		return err
	}
	// One that was not finished goes on where its record does not matter.
	state, keys, hashes := eraseDone, log.Keys, log.Hashes
	if receipt == "" {
		state = eraseRewriting
	}
	if keys == nil {
		keys, hashes = []int64{}, []string{}
	}
	return l.cfg.DB.Tx(ctx, func(ctx context.Context, tx pgx.Tx) error {
		_, err := tx.Exec(ctx, `INSERT INTO erasures (erasure_id, workspace_id, app_id, state, requested_by, requested_at, keys, hashes, event, from_ts, to_ts,
			  active_at, received_through, receipt, finished_at, commits, link_number)
			SELECT $1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, CASE WHEN $14 <> '' THEN now() END, l.commits, l.link_number
			FROM lake_apps l WHERE l.workspace_id = $2 AND l.app_id = $3
			ON CONFLICT (erasure_id) DO NOTHING`,
			log.ID, log.WorkspaceID, log.AppID, state, log.RequestedBy, log.RequestedAt, keys, hashes, log.Event, orNil(log.From), orNil(log.To),
			log.ActiveAt, log.ReceivedThrough, receipt)
		return err
	})
}

// returned lists the finished erasures of an app whose events are in the store
// again, be it in objects that the rebuild found superfluous and did not list.
func (l *Lake) returned(ctx context.Context, workspaceID, appID string) ([]*erasure, error) {
	all, err := l.readErasures(ctx, `app_id = $2 AND active_at IS NOT NULL AND state = 'done'`, appID)
	if err != nil || len(all) == 0 {
		return nil, err
	}
	entries, _, err := l.liveEvents(ctx, workspaceID, appID)
	if err != nil {
		return nil, err
	}
	live := len(entries)
	unlisted, err := l.unlistedEvents(ctx, workspaceID, appID)
	if err != nil {
		return nil, err
	}
	entries = append(entries, unlisted...)
	people := target{keys: map[int64]struct{}{}} // all of them: most objects hold none
	targets := make([]*target, len(all))
	found := make([]bool, len(all))
	for i, e := range all {
		targets[i] = e.target()
		for key := range targets[i].keys {
			people.keys[key] = struct{}{}
		}
	}
	for i := range entries {
		o := &entries[i]
		err := l.withFile(ctx, o.Key, func(file *parquetv1.File) error {
			any := false
			if people.person() {
				var err error
				if _, any, err = people.scanIDs(ctx, file, make([]bool, file.Rows())); err != nil {
					return err
				}
			}
			for n, t := range targets {
				if found[n] || !t.overlaps(o) || t.person() && !any {
					continue
				}
				f, err := t.scan(ctx, file)
				if err != nil {
					return err
				}
				found[n] = f.rows > 0
			}
			return nil
		})
		if i >= live && errors.Is(err, objstore.ErrNotFound) {
			continue // it was collected meanwhile
		}
		if err != nil {
			return nil, fmt.Errorf("scan %s: %w", o.Key, err)
		}
	}
	var again []*erasure
	for i, e := range all {
		if !found[i] {
			err := l.cfg.DB.Tx(ctx, func(ctx context.Context, tx pgx.Tx) error {
				refused, err := refusedOf(ctx, tx, e)
				found[i] = len(refused) > 0
				return err
			})
			if err != nil {
				return nil, err
			}
		}
		if found[i] {
			again = append(again, e)
		}
	}
	return again, nil
}

// unlistedEvents reads the rows of an app's objects of events that the manifest
// does not name. One that cannot be read was told of by the rebuild, and stays.
func (l *Lake) unlistedEvents(ctx context.Context, workspaceID, appID string) (entries []entry, err error) {
	var keys []string
	err = l.cfg.DB.Tx(ctx, func(ctx context.Context, tx pgx.Tx) (err error) {
		keys, err = l.unlisted(ctx, tx, workspaceID, appID)
		return err
	})
	if err != nil {
		return nil, err
	}
	for _, key := range keys {
		e, err := l.readEntry(ctx, key)
		if ctx.Err() != nil {
			return nil, ctx.Err()
		}
		if storeAway(err) {
			return nil, fmt.Errorf("look through %s: %w", key, err)
		}
		if err == nil && e.Kind == kindEvents {
			entries = append(entries, e)
		}
	}
	return entries, nil
}
