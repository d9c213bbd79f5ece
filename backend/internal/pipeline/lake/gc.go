package lake

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/causality-project/causality/backend/internal/account/tenancy"
	"github.com/causality-project/causality/backend/internal/platform/fault"
)

// aloneGrace replaces Config.Grace when people ask for garbage to be deleted and
// no other process can be reading it: it covers the moment between a question's
// look at the manifest and its hold on the objects.
const aloneGrace = 10 * time.Second

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
		case len(e.Sources) == 0 || !live.Covers(e.Sources):
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

// Republish makes the published tables anew from the manifest.
func (l *Lake) Republish(ctx context.Context) error {
	if l.cfg.Publication == nil {
		return fault.New(fault.Unsupported, "Nothing is published by this server. Publishing begins with: causality serve --publish iceberg")
	}
	return l.cfg.Publication.Rebuild(ctx)
}
