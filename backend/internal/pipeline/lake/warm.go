package lake

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/jackc/pgx/v5"
	"golang.org/x/sync/singleflight"

	"github.com/causality-project/causality/backend/internal/account/tenancy"
	"github.com/causality-project/causality/backend/internal/pipeline/lake/parquetv1"
	"github.com/causality-project/causality/backend/internal/pipeline/lake/seen"
	"github.com/causality-project/causality/backend/internal/platform/event"
)

const (
	// gapMost is how many objects a commit reads the ids of while it holds the
	// app's row: what other sinks committed a moment ago. More are read before.
	gapMost   = 16
	warmEvery = 2 * time.Second
)

// errGap ends a commit whose app has more committed ids to read in than it
// should hold the app's row for.
var errGap = errors.New("committed ids are to be read in first")

// warmth knows how far each app's seen ids go, so that only newer objects need
// a look.
type warmth struct {
	mu      sync.Mutex
	apps    map[string]warm
	life    context.Context    // of Run; nil before it
	reading singleflight.Group // one read of an app's ids at a time
	running sync.WaitGroup
}

// begin lets reads live until ctx ends; end waits for them.
func (w *warmth) begin(ctx context.Context) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.life = ctx
}

func (w *warmth) end() {
	w.running.Wait()
	w.mu.Lock()
	defer w.mu.Unlock()
	w.life = nil
}

// until is the context of a read.
func (w *warmth) until(ctx context.Context) (context.Context, context.CancelFunc) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.life == nil {
		return context.WithCancel(context.WithoutCancel(ctx))
	}
	return context.WithCancel(w.life)
}

// warm says that the ids of all objects that were listed at a version of the
// app are in, by which commits 1 through commits are covered.
type warm struct{ version, commits int64 }

func (w *warmth) get(appID string) warm {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.apps[appID]
}

func (w *warmth) set(appID string, at warm) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.apps == nil {
		w.apps = map[string]warm{}
	}
	w.apps[appID] = at
}

// gap is what the store of seen ids lacks of an app.
type gap struct {
	objects []entry // in the order of their first commit
	then    warm    // once they are read
}

// gapOf finds what was committed without this process, or by it before a crash:
// of commits 1 through commits. Nil: nothing.
func (l *Lake) gapOf(ctx context.Context, tx pgx.Tx, workspaceID, appID string, commits int64) (*gap, error) {
	covered, err := l.seen.Covered(appID)
	if err != nil {
		return nil, err
	}
	if commits == 0 || covered.Covers(seen.Ranges{1, commits}) {
		return nil, nil
	}
	g := &gap{then: warm{commits: commits}}
	if err := tx.QueryRow(ctx, `SELECT version FROM lake_apps WHERE workspace_id = $1 AND app_id = $2`, workspaceID, appID).Scan(&g.then.version); err != nil {
		return nil, fmt.Errorf("read manifest: %w", err)
	}
	known := l.warmth.get(appID)
	if known.commits == 0 || !covered.Covers(seen.Ranges{1, known.commits}) {
		known.version = -1
	}
	listed, err := entriesAfter(ctx, tx, workspaceID, appID, known.version)
	if err != nil {
		return nil, err
	}
	for _, e := range listed {
		if (e.Kind == kindEvents || e.Kind == kindErased) && len(e.Sources) > 0 && !covered.Covers(e.Sources) {
			g.objects = append(g.objects, e)
		}
	}
	slices.SortFunc(g.objects, func(a, b entry) int { return cmp.Compare(a.Sources[0], b.Sources[0]) })
	return g, nil
}

// closeGap reads the ids in.
func (l *Lake) closeGap(ctx context.Context, appID string, g *gap) error {
	var read seen.Ranges // by objects whose commits reach into each other's
	for i := range g.objects {
		e := &g.objects[i]
		// Several objects may hold the rows of one commit, so none of the numbers
		// is covered before every such object is read.
		if len(read) > 0 && read.Last() < e.Sources[0] {
			if err := l.seen.Cover(appID, read); err != nil {
				return err
			}
			read = nil
		}
		if err := l.readIDs(ctx, e); err != nil {
			return fmt.Errorf("read the ids of %s: %w", e.Key, err)
		}
		read = seen.Union(read, e.Sources)
	}
	// Numbers that no object carries any more were used by none, or their rows
	// have expired: there is nothing to read for them.
	if err := l.seen.Cover(appID, seen.Ranges{1, g.then.commits}); err != nil {
		return err
	}
	l.warmth.set(appID, g.then)
	return nil
}

// catchUp closes a small gap of an app whose row is locked: nothing is committed
// meanwhile. errGap says that it is larger.
func (l *Lake) catchUp(ctx context.Context, tx pgx.Tx, workspaceID, appID string, commits int64) error {
	g, err := l.gapOf(ctx, tx, workspaceID, appID, commits)
	if err != nil || g == nil {
		return err
	}
	if len(g.objects) > gapMost {
		return errGap
	}
	return l.closeGap(ctx, appID, g)
}

func (l *Lake) readIDs(ctx context.Context, e *entry) error {
	add := func(ids []event.ID) error {
		if err := ctx.Err(); err != nil {
			return err
		}
		return l.seen.Add(e.AppID, nil, ids)
	}
	if e.Kind == kindErased {
		return l.readErased(ctx, e.Key, add)
	}
	return l.withFile(ctx, e.Key, func(file *parquetv1.File) error { return file.ReadIDs(add) })
}

// entriesAfter lists an app's live objects that were listed after a version.
func entriesAfter(ctx context.Context, tx pgx.Tx, workspaceID, appID string, version int64) ([]entry, error) {
	rows, err := tx.Query(ctx, `SELECT `+entryColumns+` FROM lake_objects WHERE workspace_id = $1 AND app_id = $2 AND version > $3
		ORDER BY created_at, object_id`, workspaceID, appID, version)
	if err != nil {
		return nil, fmt.Errorf("read manifest: %w", err)
	}
	entries, err := pgx.CollectRows(rows, scanEntry)
	if err != nil {
		return nil, fmt.Errorf("read manifest: %w", err)
	}
	return entries, nil
}

// warmUp closes a gap of any size without holding up the app's commits. An
// object that is merged or erased meanwhile ends it with an error; the next try
// reads what took its place. It goes on when ctx ends, for whoever asks next,
// until Run ends.
func (l *Lake) warmUp(ctx context.Context, workspaceID, appID string) error {
	done := l.warmth.reading.DoChan(appID, func() (any, error) {
		l.warmth.running.Add(1)
		defer l.warmth.running.Done()
		work, cancel := l.warmth.until(ctx)
		defer cancel()
		var g *gap
		err := l.cfg.DB.TxAll(work, func(ctx context.Context, tx tenancy.ScopedTx) error {
			if err := tx.Scope(ctx, workspaceID); err != nil {
				return err
			}
			var commits int64
			err := tx.QueryRow(ctx, `SELECT commits FROM lake_apps WHERE workspace_id = $1 AND app_id = $2`, workspaceID, appID).Scan(&commits)
			if errors.Is(err, pgx.ErrNoRows) {
				g = nil
				return nil
			}
			if err != nil {
				return fmt.Errorf("read app %s: %w", appID, err)
			}
			g, err = l.gapOf(ctx, tx, workspaceID, appID, commits)
			return err
		})
		if err != nil || g == nil {
			return nil, err
		}
		return nil, l.closeGap(work, appID, g)
	})
	select {
	case result := <-done:
		return result.Err
	case <-ctx.Done():
		return ctx.Err()
	}
}

// warmInBackground keeps the seen ids of all apps near what other replicas
// commit, until ctx ends: one that takes a lane over needs only the newest.
func (l *Lake) warmInBackground(ctx context.Context) {
	tick := time.NewTicker(warmEvery)
	defer tick.Stop()
	for {
		if err := l.warmAll(ctx); err != nil && ctx.Err() == nil {
			l.log.WarnContext(ctx, "committed ids could not be read in; trying again", "err", err)
		}
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
	}
}

func (l *Lake) warmAll(ctx context.Context) error {
	workspaces, err := l.cfg.DB.Workspaces(ctx)
	if err != nil {
		return err
	}
	var problems []error
	for _, workspaceID := range workspaces {
		apps := map[string]int64{}
		err := l.cfg.DB.Tx(tenancy.WithWorkspace(ctx, workspaceID), func(ctx context.Context, tx pgx.Tx) error {
			rows, err := tx.Query(ctx, `SELECT app_id::text, commits FROM lake_apps WHERE workspace_id = $1`, workspaceID)
			if err != nil {
				return err
			}
			var appID string
			var commits int64
			_, err = pgx.ForEachRow(rows, []any{&appID, &commits}, func() error { apps[appID] = commits; return nil })
			return err
		})
		if err != nil {
			return fmt.Errorf("list apps: %w", err)
		}
		for appID, commits := range apps {
			covered, err := l.seen.Covered(appID)
			if err == nil && commits > 0 && !covered.Covers(seen.Ranges{1, commits}) {
				err = l.warmUp(ctx, workspaceID, appID)
			}
			if ctx.Err() != nil {
				return ctx.Err()
			}
			if err != nil {
				problems = append(problems, fmt.Errorf("app %s: %w", appID, err))
			}
		}
	}
	return errors.Join(problems...)
}
