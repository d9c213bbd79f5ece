package lake

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/causality-project/causality/backend/internal/account/tenancy"
	"github.com/causality-project/causality/backend/internal/pipeline/lake/seen"
	"github.com/causality-project/causality/backend/internal/platform/failpoint"
	"github.com/causality-project/causality/backend/internal/platform/fault"
)

const (
	collectEvery = time.Minute
	orphansEvery = time.Hour
	// An object that nothing lists may be about to be listed: none is collected
	// before any run or merge that could list it must have ended.
	orphanGrace = 6 * time.Hour
	// aloneGrace replaces Config.Grace when people ask for garbage to be deleted and
	// no other process can be reading it: it covers the moment between a question's
	// look at the manifest and its hold on the objects.
	aloneGrace = 10 * time.Second

	// CollectorLock is the advisory lock of PostgreSQL that a backup holds while it
	// copies the objects that it found listed: garbage stays until it is done.
	CollectorLock = 0x6361_7573_616c_0001
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
		if free, err := collectorIsFree(ctx, tx); err != nil || !free {
			return err
		}
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

// collectorIsFree keeps a backup from beginning before tx ends, unless one runs.
func collectorIsFree(ctx context.Context, tx pgx.Tx) (free bool, err error) {
	if err := tx.QueryRow(ctx, `SELECT pg_try_advisory_xact_lock_shared($1)`, int64(CollectorLock)).Scan(&free); err != nil {
		return false, fmt.Errorf("look for a running backup: %w", err)
	}
	return free, nil
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
			if err != nil || !live.hold(&e) || e.CreatedAt.After(before) {
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
var errOlderManifest error = fault.New(fault.Conflict, "The manifest lists objects that the store does not hold: --object-store names another one, the manifest is older than the store, or objects were lost. Run `causality lake verify`, and `causality lake rebuild` if the database was restored from a backup.")

// listedObjects are those that the manifest lists of an app.
type listedObjects []entry

// hold reports whether every event of an object that nothing lists is in listed
// ones. Each output of a merge names the commits of all of them, so only those of
// a settled object's own month and users count for it, and what has not settled.
func (l listedObjects) hold(e *entry) bool {
	if len(e.Sources) == 0 {
		return false
	}
	var sources []seen.Ranges
	for i := range l {
		if e.Kind != kindEvents || e.Period.IsZero() || l[i].Period.IsZero() || l[i].Kind == kindEvents && l[i].shares(e) {
			sources = append(sources, l[i].Sources)
		}
	}
	return seen.Union(sources...).Covers(e.Sources)
}

// shares reports whether two settled objects are of one month and have users in
// common.
func (e *entry) shares(other *entry) bool {
	bits := min(e.BucketBits, other.BucketBits)
	return e.Period.Equal(other.Period) && e.Bucket>>(e.BucketBits-bits) == other.Bucket>>(other.BucketBits-bits)
}

// orphans lists an app's objects older than before that neither the manifest
// nor the garbage names, and what the manifest lists. It is
// errOlderManifest when objects that are listed are missing.
func (l *Lake) orphans(ctx context.Context, workspaceID, appID string, before time.Time) ([]string, listedObjects, error) {
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
	var live listedObjects
	missing := 0
	err = l.cfg.DB.Tx(ctx, func(ctx context.Context, tx pgx.Tx) error {
		entries, err := list(ctx, tx)
		if err != nil {
			return err
		}
		live = entries
		for i := range entries {
			_, was := listedBefore[entries[i].Key]
			if _, is := there[entries[i].Key]; was && !is {
				missing++
			}
			delete(stored, entries[i].Key)
		}
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

// Collected is an object that nothing lists.
type Collected struct {
	Key     string
	Bytes   int64
	Deleted bool // or would be, in a dry run
	Why     string
}

// Collect deletes an app's garbage and orphans now, or those of all apps of
// ctx's workspace for an empty appID, as far as that is safe, and says of each
// why. A dry run deletes nothing.
func (l *Lake) Collect(ctx context.Context, appID string, dryRun bool, yield func(Collected)) error {
	workspaceID, err := tenancy.Workspace(ctx)
	if err != nil {
		return err
	}
	apps, err := l.appsOf(ctx, workspaceID, appID)
	if err != nil {
		return err
	}
	for _, app := range apps {
		sizes := map[string]int64{}
		for object, err := range l.cfg.Objects.List(ctx, appPrefix(app)) {
			if err != nil {
				return err
			}
			sizes[object.Key] = object.Bytes
		}
		if err := l.collectGarbageNow(ctx, workspaceID, app, dryRun, sizes, yield); err != nil {
			return err
		}
		if err := l.collectOrphansNow(ctx, workspaceID, app, dryRun, sizes, yield); err != nil {
			return err
		}
	}
	return nil
}

func (l *Lake) collectGarbageNow(ctx context.Context, workspaceID, appID string, dryRun bool, sizes map[string]int64, yield func(Collected)) error {
	grace := l.cfg.Grace
	if l.cfg.Leases == nil {
		grace = min(grace, aloneGrace)
	}
	return l.cfg.DB.Tx(ctx, func(ctx context.Context, tx pgx.Tx) error {
		free, err := collectorIsFree(ctx, tx)
		if err != nil {
			return err
		}
		rows, err := tx.Query(ctx, `SELECT g.key, g.removed_at, g.removed_at > now() - $3::interval, EXISTS (SELECT FROM iceberg.held_objects h WHERE h.key = g.key)
			FROM lake_garbage g WHERE g.workspace_id = $1 AND starts_with(g.key, $2) AND NOT EXISTS (SELECT FROM lake_objects o WHERE o.key = g.key)
			ORDER BY g.key FOR UPDATE OF g SKIP LOCKED`, workspaceID, appPrefix(appID), grace)
		if err != nil {
			return fmt.Errorf("list garbage: %w", err)
		}
		type garbage struct {
			key              string
			removedAt        time.Time
			young, published bool
		}
		all, err := pgx.CollectRows(rows, func(row pgx.CollectableRow) (g garbage, err error) {
			return g, row.Scan(&g.key, &g.removedAt, &g.young, &g.published)
		})
		if err != nil {
			return fmt.Errorf("list garbage: %w", err)
		}
		keys := make([]string, len(all))
		for i := range all {
			keys[i] = all[i].key
		}
		held := l.holds.among(keys)
		var gone []string
		for _, g := range all {
			c := Collected{Key: g.key, Bytes: sizes[g.key]}
			_, read := held[g.key]
			switch {
			case read:
				c.Why = "A question is reading it; it is deleted after that."
			case !free:
				c.Why = "A backup is being made and may copy it; it is deleted after that."
			case g.published:
				c.Why = "A published snapshot still names it; it is deleted once that has expired."
			case g.young:
				c.Why = "It left the manifest a moment ago and a question may be about to read it; it is deleted after " + g.removedAt.Add(grace).UTC().Format(time.RFC3339) + "."
			default:
				c.Why, c.Deleted = "It left the manifest at "+g.removedAt.UTC().Format(time.RFC3339)+".", true
			}
			if c.Deleted && !dryRun {
				if err := l.cfg.Objects.Delete(ctx, g.key); err != nil {
					return err
				}
				gone = append(gone, g.key)
			}
			yield(c)
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

func (l *Lake) collectOrphansNow(ctx context.Context, workspaceID, appID string, dryRun bool, sizes map[string]int64, yield func(Collected)) error {
	now := time.Now()
	orphans, live, err := l.orphans(ctx, workspaceID, appID, now)
	if err != nil {
		return err
	}
	slices.Sort(orphans)
	for _, key := range orphans {
		c := Collected{Key: key, Bytes: sizes[key]}
		e, err := l.readEntry(ctx, key)
		switch {
		case ctx.Err() != nil:
			return ctx.Err()
		case err != nil:
			c.Why = fmt.Sprintf("Nothing lists it, and it cannot be read (%v): keep a copy elsewhere if you need it, then delete it yourself.", err)
		case !live.hold(&e):
			c.Why = "Nothing lists it, and it holds events that no listed object holds: run `causality lake rebuild`, which reads it."
		case e.CreatedAt.After(now.Add(-orphanGrace)):
			c.Why = "Nothing lists it yet, and a run or a merge may be about to; it is deleted after " + e.CreatedAt.Add(orphanGrace).UTC().Format(time.RFC3339) + "."
		default:
			c.Why, c.Deleted = "A crash left it; its events are in other objects.", true
		}
		if c.Deleted && !dryRun {
			if err := l.cfg.Objects.Delete(ctx, key); err != nil {
				return err
			}
		}
		yield(c)
	}
	return nil
}
