package lake

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/causality-project/causality/backend/internal/account/tenancy"
	"github.com/causality-project/causality/backend/internal/pipeline/lake/merge"
	"github.com/causality-project/causality/backend/internal/platform/failpoint"
)

const (
	retainEvery = 24 * time.Hour // an app's retention
	retainLook  = 10 * time.Minute
	// rewriteAfter is how far past the limit an object's oldest event must be
	// before the object is rewritten for it: each is rewritten about four times
	// while its month expires, and events stay at most so much longer.
	rewriteAfter = 7 * 24 * time.Hour
	// knownFor is how long an id stays known at least after its event was
	// received. An object with younger ones is left alone until then: the ids of
	// what expires are kept nowhere else, so that an event of an earlier time that
	// is sent again within the week is not taken for a new one.
	knownFor = 7 * 24 * time.Hour
)

// RetentionReport is what retention has done for an app so far.
type RetentionReport struct {
	Days      int
	LastRun   time.Time // zero: not yet
	Limit     time.Time // of the last run: events before it had to go
	Dropped   int64     // whole objects, ever
	Rewritten int64     // objects, ever
	Rows      int64     // events removed, ever
	Problem   string    // of the last run; empty: none
}

// retainInBackground applies each app's retention once a day, until ctx ends.
func (l *Lake) retainInBackground(ctx context.Context) {
	for {
		if err := l.retainDue(ctx); err != nil && ctx.Err() == nil {
			l.log.ErrorContext(ctx, "retention will try again", "err", err)
		}
		if !sleep(ctx, retainLook) {
			return
		}
	}
}

// expiring is an app whose retention is due, and the limit by the database's
// clock.
type expiring struct {
	appID    string
	limit    time.Time // events before it have expired
	received time.Time // of events received before it the ids may be forgotten
}

func (l *Lake) retainDue(ctx context.Context) error {
	workspaces, err := l.cfg.DB.Workspaces(ctx)
	if err != nil {
		return err
	}
	var problems []error
	for _, workspaceID := range workspaces {
		ctx := tenancy.WithWorkspace(ctx, workspaceID)
		var due []expiring
		err := l.cfg.DB.Tx(ctx, func(ctx context.Context, tx pgx.Tx) error {
			rows, err := tx.Query(ctx, `SELECT a.app_id::text, now() - make_interval(days => a.retention_days), now() - $3::interval
				FROM apps a JOIN lake_apps l USING (workspace_id, app_id) LEFT JOIN retention_runs r USING (workspace_id, app_id)
				WHERE a.workspace_id = $1 AND a.retention_days IS NOT NULL AND (r.ran_at IS NULL OR r.ran_at < now() - $2::interval OR r.problem <> ''
				  OR r.limit_ts < r.ran_at - make_interval(days => a.retention_days + 1))`, workspaceID, retainEvery, knownFor)
			if err != nil {
				return fmt.Errorf("find apps with retention: %w", err)
			}
			due, err = pgx.CollectRows(rows, func(row pgx.CollectableRow) (e expiring, err error) {
				return e, row.Scan(&e.appID, &e.limit, &e.received)
			})
			return err
		})
		if err != nil {
			return err
		}
		for i := range due {
			err := l.retain(ctx, workspaceID, &due[i])
			if ctx.Err() != nil {
				return ctx.Err()
			}
			problem := ""
			if err != nil {
				problem = err.Error()
				problems = append(problems, fmt.Errorf("retention of app %s: %w", due[i].appID, err))
			}
			if err := l.noteRetention(ctx, workspaceID, &due[i], problem); err != nil {
				problems = append(problems, err)
			}
		}
	}
	return errors.Join(problems...)
}

// retain drops an app's objects whose events have all expired, and rewrites
// those whose oldest have for a while. It never touches an object that holds an
// event whose id must still be known.
func (l *Lake) retain(ctx context.Context, workspaceID string, app *expiring) error {
	entries, _, err := l.liveEvents(ctx, workspaceID, app.appID)
	if err != nil {
		return err
	}
	var whole, partly []entry
	for i := range entries {
		switch o := &entries[i]; {
		case !o.MaxReceivedAt.Before(app.received):
		case o.MaxTS.Before(app.limit):
			whole = append(whole, *o)
		case o.MinTS.Before(app.limit.Add(-rewriteAfter)):
			partly = append(partly, *o)
		}
	}
	if len(whole) > 0 {
		if err := l.dropExpired(ctx, workspaceID, app, whole); err != nil {
			return err
		}
	}
	for len(partly) > 0 {
		group := together(partly)
		partly = partly[len(group):]
		// Somebody else has rewritten them: the next run looks again.
		if err := l.rewriteExpired(ctx, workspaceID, app, group); err != nil && !errors.Is(err, errOvertaken) {
			return err
		}
	}
	return nil
}

// dropExpired takes whole objects out of the manifest.
func (l *Lake) dropExpired(ctx context.Context, workspaceID string, app *expiring, whole []entry) error {
	l.compacting.Lock()
	defer l.compacting.Unlock()
	ids, rows := make([]string, len(whole)), int64(0)
	for i := range whole {
		ids[i] = whole[i].ID
		rows += whole[i].Rows
	}
	err := l.cfg.DB.Tx(ctx, func(ctx context.Context, tx pgx.Tx) error {
		rests, err := lockToExpire(ctx, tx, workspaceID, app.appID, rows)
		if err != nil || rests {
			return err
		}
		if err := unlist(ctx, tx, workspaceID, ids); err != nil {
			return err
		}
		failpoint.Hit("retention.before-commit")
		return countExpired(ctx, tx, workspaceID, app, len(whole), 0, rows)
	})
	if errors.Is(err, errOvertaken) {
		return nil
	}
	return err
}

// lockToExpire locks the app's row and counts what expires. An app that is being
// erased from rests.
func lockToExpire(ctx context.Context, tx pgx.Tx, workspaceID, appID string, rows int64) (rests bool, err error) {
	err = tx.QueryRow(ctx, `UPDATE lake_apps SET version = version + 1, expired = expired + CASE WHEN `+restsForErasure+` THEN 0 ELSE $3 END
		WHERE workspace_id = $1 AND app_id = $2 RETURNING `+restsForErasure, workspaceID, appID, rows).Scan(&rests)
	if err != nil {
		return false, fmt.Errorf("lock app: %w", err)
	}
	return rests, nil
}

// rewriteExpired leaves the expired events out of some objects.
func (l *Lake) rewriteExpired(ctx context.Context, workspaceID string, app *expiring, group []entry) error {
	l.compacting.Lock()
	defer l.compacting.Unlock()
	r, _, err := l.loadPlain(ctx, workspaceID, app.appID, group)
	if err != nil {
		return err
	}
	limit := app.limit.UnixMicro()
	r.keep = func(row *merge.Row) bool { return row.TS >= limit }
	r.also = func(ctx context.Context, tx pgx.Tx) error {
		rests, err := lockToExpire(ctx, tx, workspaceID, app.appID, r.result.Removed)
		if err == nil && rests {
			err = errOvertaken
		}
		if err != nil {
			return err
		}
		failpoint.Hit("retention.before-commit")
		return countExpired(ctx, tx, workspaceID, app, 0, len(group), r.result.Removed)
	}
	return r.run(ctx)
}

func countExpired(ctx context.Context, tx pgx.Tx, workspaceID string, app *expiring, dropped, rewritten int, rows int64) error {
	_, err := tx.Exec(ctx, `INSERT INTO retention_runs AS r (workspace_id, app_id, ran_at, limit_ts, dropped, rewritten, rows)
		VALUES ($1, $2, '-infinity', $3, $4, $5, $6) ON CONFLICT (workspace_id, app_id) DO UPDATE SET
		dropped = r.dropped + excluded.dropped, rewritten = r.rewritten + excluded.rewritten, rows = r.rows + excluded.rows`,
		workspaceID, app.appID, app.limit, dropped, rewritten, rows)
	if err != nil {
		return fmt.Errorf("count what has expired: %w", err)
	}
	return nil
}

func (l *Lake) noteRetention(ctx context.Context, workspaceID string, app *expiring, problem string) error {
	return l.cfg.DB.Tx(ctx, func(ctx context.Context, tx pgx.Tx) error {
		_, err := tx.Exec(ctx, `INSERT INTO retention_runs (workspace_id, app_id, ran_at, limit_ts, problem) VALUES ($1, $2, now(), $3, $4)
			ON CONFLICT (workspace_id, app_id) DO UPDATE SET ran_at = now(), limit_ts = excluded.limit_ts, problem = excluded.problem`,
			workspaceID, app.appID, app.limit, problem)
		if err != nil {
			return fmt.Errorf("note the run of retention: %w", err)
		}
		return nil
	})
}

// retentionOf reports on the apps of a workspace that have a retention.
func retentionOf(ctx context.Context, tx pgx.Tx, workspaceID string) (map[string]*RetentionReport, error) {
	rows, err := tx.Query(ctx, `SELECT a.app_id::text, a.retention_days, nullif(r.ran_at, '-infinity'), r.limit_ts,
		coalesce(r.dropped, 0), coalesce(r.rewritten, 0), coalesce(r.rows, 0), coalesce(r.problem, '')
		FROM apps a LEFT JOIN retention_runs r USING (workspace_id, app_id) WHERE a.workspace_id = $1 AND a.retention_days IS NOT NULL`, workspaceID)
	if err != nil {
		return nil, fmt.Errorf("read retention: %w", err)
	}
	reports := map[string]*RetentionReport{}
	var appID string
	var ran, limit *time.Time
	var r RetentionReport
	_, err = pgx.ForEachRow(rows, []any{&appID, &r.Days, &ran, &limit, &r.Dropped, &r.Rewritten, &r.Rows, &r.Problem}, func() error {
		report := r
		if ran != nil && limit != nil {
			report.LastRun, report.Limit = ran.UTC(), limit.UTC()
		}
		reports[appID] = &report
		return nil
	})
	return reports, err
}
