package lake

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/causality-project/causality/backend/internal/account/tenancy"
	"github.com/causality-project/causality/backend/internal/pipeline/lake/seen"
	"github.com/causality-project/causality/backend/internal/platform/failpoint"
)

const (
	collectEvery = time.Minute
	orphansEvery = time.Hour
	// An object that nothing lists may be about to be listed: none is collected
	// before any run or merge that could list it must have ended.
	orphanGrace = 6 * time.Hour
)

func (l *Lake) collectInBackground(ctx context.Context) {
	ticker := time.NewTicker(collectEvery)
	defer ticker.Stop()
	orphansAt := time.Now().Add(orphansEvery)
	for {
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		}
		workspaces, err := l.cfg.DB.Workspaces(ctx)
		for _, workspaceID := range workspaces {
			if err == nil {
				err = l.collectGarbage(tenancy.WithWorkspace(ctx, workspaceID), time.Now().Add(-l.cfg.Grace))
			}
		}
		if err == nil && time.Now().After(orphansAt) {
			orphansAt = time.Now().Add(orphansEvery)
			for _, workspaceID := range workspaces {
				if err == nil {
					err = l.collectOrphans(tenancy.WithWorkspace(ctx, workspaceID), time.Now().Add(-orphanGrace))
				}
			}
		}
		if err != nil && ctx.Err() == nil {
			l.log.WarnContext(ctx, "collect garbage", "err", err)
		}
	}
}

// collectGarbage deletes the objects that left the manifest before the given
// time and that neither a question of this process nor a published snapshot
// reads.
func (l *Lake) collectGarbage(ctx context.Context, before time.Time) error {
	return l.cfg.DB.Tx(ctx, func(ctx context.Context, tx pgx.Tx) error {
		rows, err := tx.Query(ctx, `SELECT g.key FROM lake_garbage g WHERE g.removed_at < $1
			AND NOT EXISTS (SELECT FROM lake_objects o WHERE o.key = g.key)
			AND NOT EXISTS (SELECT FROM iceberg.held_objects h WHERE h.key = g.key)
			ORDER BY g.removed_at LIMIT 1000 FOR UPDATE SKIP LOCKED`, before)
		if err != nil {
			return fmt.Errorf("list garbage: %w", err)
		}
		keys, err := pgx.CollectRows(rows, pgx.RowTo[string])
		if err != nil {
			return fmt.Errorf("list garbage: %w", err)
		}
		held := l.holds.among(keys)
		gone := keys[:0]
		for _, key := range keys {
			if _, ok := held[key]; ok {
				continue
			}
			// Deleted first: should the transaction fail, the next round finds
			// nothing to delete.
			failpoint.Hit("collect.before-delete")
			if err := l.cfg.Objects.Delete(ctx, key); err != nil {
				return err
			}
			failpoint.Hit("collect.after-delete")
			gone = append(gone, key)
		}
		if len(gone) == 0 {
			return nil
		}
		if _, err := tx.Exec(ctx, `DELETE FROM lake_garbage WHERE key = ANY ($1)`, gone); err != nil {
			return fmt.Errorf("strike garbage: %w", err)
		}
		return nil
	})
}

// collectOrphans deletes what crashed runs and merges left: objects that nothing
// lists and whose commits are all in objects that are listed. Anything else
// stays: when the manifest is lost or old, objects look like orphans and are
// what it is rebuilt from.
func (l *Lake) collectOrphans(ctx context.Context, before time.Time) error {
	workspaceID, err := tenancy.Workspace(ctx)
	if err != nil {
		return err
	}
	apps, err := l.appsOf(ctx, workspaceID, "")
	if err != nil {
		return err
	}
	for _, appID := range apps {
		orphans, live, err := l.orphans(ctx, workspaceID, appID, before)
		if errors.Is(err, errOlderManifest) {
			l.log.ErrorContext(ctx, "nothing that the manifest does not list is collected", "app", appID, "err", err)
			continue
		}
		if err != nil {
			return err
		}
		for _, key := range orphans {
			e, err := l.readEntry(ctx, key)
			if err != nil || len(e.Sources) == 0 || !live.Covers(e.Sources) || e.CreatedAt.After(before) {
				continue
			}
			if err := l.cfg.Objects.Delete(ctx, key); err != nil {
				return err
			}
			l.log.InfoContext(ctx, "collected an object that nothing lists", "key", key)
		}
	}
	return nil
}

// errOlderManifest says that objects are listed which the store does not hold.
// What nothing lists may then be what took their place.
var errOlderManifest = errors.New("the manifest lists objects that the store does not hold: it is older than the store, or objects were lost; run `causality lake verify`, and `causality lake rebuild` if the database was restored from a backup")

// orphans lists an app's objects older than before that neither the manifest
// nor the garbage names, and the commits that listed objects hold. It is
// errOlderManifest when objects that are listed are missing.
func (l *Lake) orphans(ctx context.Context, workspaceID, appID string, before time.Time) ([]string, seen.Ranges, error) {
	// Read before the listing too: what is listed all the while must be there.
	listedBefore := map[string]struct{}{}
	list := func(ctx context.Context, tx pgx.Tx) ([]entry, error) { return entriesOf(ctx, tx, workspaceID, appID) }
	err := l.cfg.DB.Tx(ctx, func(ctx context.Context, tx pgx.Tx) error {
		entries, err := list(ctx, tx)
		for i := range entries {
			listedBefore[entries[i].Key] = struct{}{}
		}
		return err
	})
	if err != nil {
		return nil, nil, err
	}
	stored, there := map[string]struct{}{}, map[string]struct{}{}
	for object, err := range l.cfg.Objects.List(ctx, appPrefix(appID)) {
		if err != nil {
			return nil, nil, err
		}
		there[object.Key] = struct{}{}
		if object.ModifiedAt.Before(before) && strings.HasSuffix(object.Key, ".parquet") {
			stored[object.Key] = struct{}{}
		}
	}
	// Read after the listing: what was listed meanwhile is no orphan.
	var live seen.Ranges
	missing := 0
	err = l.cfg.DB.Tx(ctx, func(ctx context.Context, tx pgx.Tx) error {
		entries, err := list(ctx, tx)
		if err != nil {
			return err
		}
		sources := make([]seen.Ranges, len(entries))
		for i := range entries {
			_, was := listedBefore[entries[i].Key]
			if _, is := there[entries[i].Key]; was && !is {
				missing++
			}
			delete(stored, entries[i].Key)
			sources[i] = entries[i].Sources
		}
		live = seen.Union(sources...)
		rows, err := tx.Query(ctx, `SELECT key FROM lake_garbage WHERE workspace_id = $1`, workspaceID)
		if err != nil {
			return fmt.Errorf("list garbage: %w", err)
		}
		var key string
		_, err = pgx.ForEachRow(rows, []any{&key}, func() error {
			delete(stored, key)
			return nil
		})
		return err
	})
	if err != nil {
		return nil, nil, err
	}
	if missing > 0 {
		return nil, nil, fmt.Errorf("app %s: %d objects: %w", appID, missing, errOlderManifest)
	}
	keys := make([]string, 0, len(stored))
	for key := range stored {
		keys = append(keys, key)
	}
	return keys, live, nil
}

// readEntry reads the manifest row that an object of any kind carries.
func (l *Lake) readEntry(ctx context.Context, key string) (entry, error) {
	rows, e, err := l.footerOf(ctx, key)
	if err == nil && rows != e.Rows {
		err = fmt.Errorf("its footer states %d rows, its manifest row %d", rows, e.Rows)
	}
	return e, err
}
