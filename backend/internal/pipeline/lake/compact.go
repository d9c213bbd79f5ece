package lake

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"

	"github.com/causality-project/causality/backend/internal/account/tenancy"
	"github.com/causality-project/causality/backend/internal/pipeline/catalog"
	"github.com/causality-project/causality/backend/internal/pipeline/lake/parquetv1"
)

const (
	shareOfCPU  = 0.7             // of one core, in the background
	shareBehind = 0.25            // while events wait longer than behindAfter to land
	behindAfter = 3 * time.Second // of the oldest event that waits
	firstRetry  = 5 * time.Second // after a failure of an app, doubling
	lastRetry   = 10 * time.Minute
	firstReread = time.Minute // of an object that could not be read, doubling
	lastReread  = 6 * time.Hour
)

// compactionState is what compaction remembers of apps, and what Status and
// Stats tell of it.
type compactionState struct {
	policy policy // zero: the default one

	mu   sync.Mutex
	apps map[string]*compactedApp

	merges       int64
	rows         int64 // written by merges
	bytesRead    int64
	bytesWritten int64
	bytesDerived int64 // of bytesWritten: projections
	busy         time.Duration
}

// compactedApp is what is remembered of one app. A restart forgets it, which
// costs a look at each app.
type compactedApp struct {
	seen     int64  // version at which nothing was due
	zone     string // likewise
	folds    map[uuid.UUID]*foldCheck
	bad      map[uuid.UUID]*badObject
	failures int
	retryAt  time.Time
	trouble  error // of the last try
	since    time.Time
}

// badObject is one that a merge could not read. The app's others go on.
type badObject struct {
	key     string
	err     error
	tries   int
	retryAt time.Time
}

func (s *compactionState) app(appID string) *compactedApp {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.apps == nil {
		s.apps = map[string]*compactedApp{}
	}
	a := s.apps[appID]
	if a == nil {
		a = &compactedApp{seen: -1, folds: map[uuid.UUID]*foldCheck{}, bad: map[uuid.UUID]*badObject{}}
		s.apps[appID] = a
	}
	return a
}

// wrote counts what a rewrite or derivation did.
func (s *compactionState) wrote(inputs, outputs []entry) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.merges++
	for i := range inputs {
		s.bytesRead += inputs[i].Bytes
	}
	for i := range outputs {
		s.bytesWritten += outputs[i].Bytes
		if outputs[i].Kind == kindEvents {
			s.rows += outputs[i].Rows
		} else {
			s.bytesDerived += outputs[i].Bytes
		}
	}
}

// succeeded and failed note how an app's last task went.
func (s *compactionState) succeeded(a *compactedApp) {
	s.mu.Lock()
	defer s.mu.Unlock()
	a.failures, a.trouble = 0, nil
}

func (s *compactionState) failed(a *compactedApp, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if a.trouble == nil {
		a.since = time.Now()
	}
	a.trouble = err
	a.retryAt = time.Now().Add(min(firstRetry<<min(a.failures, 10), lastRetry))
	a.failures++
}

func (s *compactionState) unreadable(a *compactedApp, id uuid.UUID, key string, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	bad := a.bad[id]
	if bad == nil {
		bad = &badObject{key: key}
		a.bad[id] = bad
	}
	bad.err = err
	bad.retryAt = time.Now().Add(min(firstReread<<min(bad.tries, 12), lastReread))
	bad.tries++
}

// avoid lists the objects that are not to be read for now, and forgets those
// that are gone from the manifest.
func (s *compactionState) avoid(a *compactedApp, objects []*listed) map[uuid.UUID]bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	avoid := map[uuid.UUID]bool{}
	if len(a.bad)+len(a.folds) == 0 {
		return avoid
	}
	live := make(map[uuid.UUID]struct{}, len(objects))
	for _, o := range objects {
		live[o.id] = struct{}{}
	}
	gone := func(id uuid.UUID) bool { _, ok := live[id]; return !ok }
	maps.DeleteFunc(a.folds, func(id uuid.UUID, _ *foldCheck) bool { return gone(id) })
	maps.DeleteFunc(a.bad, func(id uuid.UUID, _ *badObject) bool { return gone(id) })
	for id, bad := range a.bad {
		if time.Now().Before(bad.retryAt) {
			avoid[id] = true
		}
	}
	return avoid
}

// reread reports whether an object that could not be read is to be tried again.
func (s *compactionState) reread(a *compactedApp) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, bad := range a.bad {
		if !time.Now().Before(bad.retryAt) {
			return true
		}
	}
	return false
}

func (s *compactionState) status() Status {
	s.mu.Lock()
	defer s.mu.Unlock()
	status := Status{Name: "Compaction", State: "ok", Figures: []Figure{{"merges", float64(s.merges), ""}, {"rows merged", float64(s.rows), "events"}}}
	var sentences []string
	for _, id := range slices.Sorted(maps.Keys(s.apps)) {
		a := s.apps[id]
		if a.trouble != nil {
			sentences = append(sentences, fmt.Sprintf("Objects of app %s have not been merged since %s; questions get slower and stay right. Cause: %v.",
				id, a.since.UTC().Format(time.RFC3339), a.trouble))
		}
		for _, bad := range a.bad {
			sentences = append(sentences, fmt.Sprintf("The object %s cannot be read and is left out of merges until %s: %v. `causality lake verify` tells what is wrong with it.",
				bad.key, bad.retryAt.UTC().Format(time.RFC3339), bad.err))
		}
	}
	if len(sentences) > 0 {
		status.State = "degraded"
		if len(sentences) > 3 {
			sentences = append(sentences[:3], fmt.Sprintf("And %d more; the log names them.", len(sentences)-3))
		}
		status.Message = strings.Join(sentences, " ")
	}
	return status
}

// thresholds are those that tests may have scaled.
func (l *Lake) thresholds() policy {
	if l.compaction.policy == (policy{}) {
		return defaultPolicy
	}
	return l.compaction.policy
}

// compactInBackground does whatever is due, one task at a time over all apps.
func (l *Lake) compactInBackground(ctx context.Context) {
	ticker := time.NewTicker(l.cfg.Compaction)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		}
		if err := l.compactDue(ctx); err != nil && ctx.Err() == nil {
			l.log.ErrorContext(ctx, "compaction will try again", "err", err)
		}
	}
}

// compactDue gives each app one task in turn until none has anything due, so
// that a busy app does not keep the others waiting.
func (l *Lake) compactDue(ctx context.Context) error {
	workspaces, err := l.cfg.DB.Workspaces(ctx)
	if err != nil {
		return err
	}
	for _, workspaceID := range workspaces {
		ctx := tenancy.WithWorkspace(ctx, workspaceID)
		for more := true; more; {
			apps, err := l.changedApps(ctx, workspaceID)
			if err != nil {
				return err
			}
			more = false
			for _, appID := range apps {
				done, err := l.compactOnce(ctx, workspaceID, appID, compactOptions{share: l.spareShare(ctx)})
				if ctx.Err() != nil {
					return ctx.Err()
				}
				if err != nil {
					l.log.ErrorContext(ctx, "compaction of an app will try again", "app", appID, "err", err)
				}
				more = more || done.task.work != nothing && err == nil
			}
		}
	}
	return nil
}

// changedApps lists the apps that may have something due.
func (l *Lake) changedApps(ctx context.Context, workspaceID string) ([]string, error) {
	type state struct {
		id, zone string
		version  int64
	}
	var states []state
	err := l.cfg.DB.Tx(ctx, func(ctx context.Context, tx pgx.Tx) error {
		rows, err := tx.Query(ctx, `SELECT l.app_id::text, l.version, a.time_zone FROM lake_apps l JOIN apps a USING (workspace_id, app_id)
			WHERE l.workspace_id = $1 ORDER BY l.app_id`, workspaceID)
		if err != nil {
			return fmt.Errorf("find objects to merge: %w", err)
		}
		states, err = pgx.CollectRows(rows, func(row pgx.CollectableRow) (s state, err error) {
			err = row.Scan(&s.id, &s.version, &s.zone)
			return s, err
		})
		if err != nil {
			return fmt.Errorf("find objects to merge: %w", err)
		}
		return nil
	})
	var apps []string
	for _, s := range states {
		a := l.compaction.app(s.id)
		if time.Now().Before(a.retryAt) {
			continue
		}
		if s.version != a.seen || s.zone != a.zone || a.failures > 0 || l.compaction.reread(a) {
			apps = append(apps, s.id)
		}
	}
	return apps, err
}

// spareShare is how much of a core compaction may take now.
func (l *Lake) spareShare(ctx context.Context) func() float64 {
	share, at := shareOfCPU, time.Time{}
	return func() float64 {
		if time.Since(at) > time.Second {
			share, at = shareOfCPU, time.Now()
			if l.Lag(ctx).Oldest > behindAfter {
				share = shareBehind
			}
		}
		return share
	}
}

// CompactProgress is told after each merge.
type CompactProgress struct {
	ObjectsBefore int
	ObjectsAfter  int
	Rows          int64 // rewritten so far
}

// Compact does for an app, or for all apps of ctx's workspace for an empty appID,
// all that can be done: everything is settled, small objects are merged, links
// folded, promoted columns filled and projections made.
func (l *Lake) Compact(ctx context.Context, appID string, report func(CompactProgress)) error {
	workspaceID, err := tenancy.Workspace(ctx)
	if err != nil {
		return err
	}
	apps, err := l.appsOf(ctx, workspaceID, appID)
	if err != nil {
		return err
	}
	var progress CompactProgress
	for _, app := range apps {
		n, err := l.countObjects(ctx, workspaceID, app)
		if err != nil {
			return err
		}
		progress.ObjectsBefore += n
	}
	progress.ObjectsAfter = progress.ObjectsBefore
	report(progress)
	for _, app := range apps {
		options := compactOptions{asked: true, share: func() float64 { return 1 }, columns: -1}
		for {
			done, err := l.compactOnce(ctx, workspaceID, app, options)
			if err != nil {
				return fmt.Errorf("compact app %s: %w", app, err)
			}
			if done.task.work == nothing {
				break
			}
			// Splitting what was merged again and again would never end.
			if done.task.work == regroup && done.outputs >= len(done.task.inputs) {
				options.grouped = true
			}
			// Nor would rewriting for columns, if this machine's clock were behind.
			if done.task.work == columns {
				if options.columns < 0 {
					options.columns = progress.ObjectsAfter
				}
				options.columns--
			}
			progress.ObjectsAfter += done.outputs - done.replaced
			progress.Rows += done.rows
			report(progress)
		}
	}
	return nil
}

func (l *Lake) countObjects(ctx context.Context, workspaceID, appID string) (n int, err error) {
	err = l.cfg.DB.Tx(tenancy.WithWorkspace(ctx, workspaceID), func(ctx context.Context, tx pgx.Tx) error {
		return tx.QueryRow(ctx, `SELECT count(*) FROM lake_objects WHERE workspace_id = $1 AND app_id = $2 AND kind = 'events'`, workspaceID, appID).Scan(&n)
	})
	return n, err
}

// appsOf lists the apps of a workspace, or the one asked for.
func (l *Lake) appsOf(ctx context.Context, workspaceID, appID string) ([]string, error) {
	if appID != "" {
		return []string{appID}, nil
	}
	var apps []string
	err := l.cfg.DB.Tx(tenancy.WithWorkspace(ctx, workspaceID), func(ctx context.Context, tx pgx.Tx) error {
		rows, err := tx.Query(ctx, `SELECT app_id::text FROM apps WHERE workspace_id = $1 ORDER BY created_at`, workspaceID)
		if err != nil {
			return err
		}
		apps, err = pgx.CollectRows(rows, pgx.RowTo[string])
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("list apps: %w", err)
	}
	return apps, nil
}

// compactOptions say how a task is chosen and done.
type compactOptions struct {
	asked   bool           // by a person
	grouped bool           // small objects are not merged for being small
	columns int            // objects that may be rewritten for columns; negative: any number
	share   func() float64 // of one core
}

// compacted is what one call of compactOnce did.
type compacted struct {
	task     task
	outputs  int // objects of events that were written
	replaced int
	rows     int64
}

// compactOnce does one task of an app, or finds that there is none.
func (l *Lake) compactOnce(ctx context.Context, workspaceID, appID string, options compactOptions) (done compacted, err error) {
	l.compacting.Lock()
	defer l.compacting.Unlock()
	ctx = tenancy.WithWorkspace(ctx, workspaceID)
	app := l.compaction.app(appID)
	var head manifestHead
	var list *listing
	var resting bool // while an erasure is under way its objects are its own
	c := circumstances{asked: options.asked, folds: app.folds, column: map[string]time.Time{}}
	err = l.cfg.DB.Tx(ctx, func(ctx context.Context, tx pgx.Tx) error {
		if err := tx.QueryRow(ctx, `SELECT time_zone FROM apps WHERE workspace_id = $1 AND app_id = $2`, workspaceID, appID).Scan(&c.zone); err != nil {
			return fmt.Errorf("read the app's time zone: %w", err)
		}
		if err := tx.QueryRow(ctx, `SELECT `+restsForErasure, workspaceID, appID).Scan(&resting); err != nil {
			return fmt.Errorf("look for erasures: %w", err)
		}
		head, list, err = l.readListing(ctx, tx, workspaceID, appID)
		return err
	})
	if err != nil || resting {
		return done, err
	}
	if options.asked && options.columns != 0 {
		promotions, err := l.cfg.Catalog.Promotions(ctx, appID)
		if err != nil {
			return done, err
		}
		for _, p := range promotions {
			c.column[p.Name] = p.At
		}
	}
	c.links, c.avoid = head.links, l.compaction.avoid(app, list.objects)
	p := l.thresholds()
	if options.grouped {
		p.full = 0
	}
	done.task = p.next(list.objects, &c)
	if done.task.work == nothing {
		if !options.asked {
			app.seen, app.zone = head.version, c.zone
		}
		l.compaction.succeeded(app)
		return done, nil
	}
	pace := &pacer{adapt: options.share, since: time.Now()}
	started := time.Now()
	err = l.perform(ctx, workspaceID, appID, app, &done, options.asked, pace.wait)
	l.compaction.mu.Lock()
	l.compaction.busy += time.Since(started) - pace.waited
	l.compaction.mu.Unlock()
	switch {
	case err == nil, errors.Is(err, errOvertaken): // looks again
		l.compaction.succeeded(app)
		return done, nil
	case ctx.Err() != nil:
		return done, ctx.Err()
	}
	if l.findUnreadable(ctx, app, done.task.inputs) && !options.asked {
		return done, nil // the others go on without them
	}
	l.compaction.failed(app, err)
	return done, err
}

// perform does a task.
func (l *Lake) perform(ctx context.Context, workspaceID, appID string, app *compactedApp, done *compacted, asked bool, pace func(context.Context) error) error {
	t := &done.task
	if t.work == derive {
		err := l.deriveProjections(ctx, workspaceID, appID, t.inputs[0].ID, pace)
		return err
	}
	if t.work == fold {
		rewrite, err := l.checkFolds(ctx, workspaceID, appID, app, t, asked, pace)
		if err != nil || rewrite == nil {
			return err
		}
		t.inputs, t.bits = []*listed{rewrite}, rewrite.bits
	}
	ids := make([]string, len(t.inputs))
	level := 0
	for i, o := range t.inputs {
		ids[i] = o.ID
		level = max(level, o.level)
	}
	r, err := l.loadRewrite(ctx, workspaceID, appID, ids)
	if err != nil {
		return err
	}
	r.pace, r.target, r.bits = pace, l.thresholds().target, t.bits
	switch t.work {
	case mergeFresh:
		r.level = 1
	case settle:
		r.settle, r.level = true, 2
	case regroup:
		r.settle, r.level = true, level+1
	default:
		r.settle, r.level = true, level
	}
	if err := r.run(ctx); err != nil {
		return err
	}
	done.outputs, done.replaced, done.rows = len(r.result.Parts), len(r.inputs), r.result.Rows
	return nil
}

// checkFolds counts the rows of objects that links have moved. Objects without
// any are folded by saying so. It returns the first with enough to be rewritten.
func (l *Lake) checkFolds(ctx context.Context, workspaceID, appID string, app *compactedApp, t *task, asked bool, pace func(context.Context) error) (rewrite *listed, err error) {
	for _, o := range t.inputs {
		if check := app.folds[o.id]; check != nil && check.rewrite {
			return o, nil
		}
	}
	var links Links
	err = l.cfg.DB.Tx(ctx, func(ctx context.Context, tx pgx.Tx) error {
		var number int64
		if err := tx.QueryRow(ctx, `SELECT link_number FROM lake_apps WHERE workspace_id = $1 AND app_id = $2`, workspaceID, appID).Scan(&number); err != nil {
			return fmt.Errorf("read person links: %w", err)
		}
		oldest := number
		for _, o := range t.inputs {
			oldest = min(oldest, o.LinkNumber)
		}
		links, err = readLinks(ctx, tx, workspaceID, appID, number, oldest)
		return err
	})
	if err != nil {
		return nil, err
	}
	var untouched []string
	for _, o := range t.inputs {
		moved, err := l.countMoved(ctx, o.Key, &links, pace)
		if err != nil {
			l.compaction.unreadable(app, o.id, o.Key, err)
			return nil, fmt.Errorf("count the moved rows of %s: %w", o.Key, err)
		}
		pending := links.Number - o.LinkNumber
		share := float64(moved) / float64(max(o.Rows, 1))
		check := &foldCheck{rewrite: moved > 0 && (asked || share >= l.thresholds().foldShare || pending > l.thresholds().foldPending)}
		// When the share is reached at the rate so far, but neither at once nor never.
		times := 8.0
		if share > 0 {
			times = min(max(l.thresholds().foldShare/share, 2), 8)
		}
		check.next = min(o.LinkNumber+int64(float64(pending)*times), max(o.LinkNumber+l.thresholds().foldPending, links.Number)+1)
		app.folds[o.id] = check
		switch {
		case moved == 0:
			delete(app.folds, o.id)
			untouched = append(untouched, o.ID)
		case check.rewrite && rewrite == nil:
			rewrite = o
		}
	}
	if len(untouched) > 0 {
		if err := l.advance(ctx, workspaceID, appID, untouched, links.Number); err != nil {
			return nil, err
		}
	}
	return rewrite, nil
}

// findUnreadable reads the inputs of a task that failed and sets aside those
// that are damaged or gone, unless none can be read: then it is the store.
func (l *Lake) findUnreadable(ctx context.Context, app *compactedApp, inputs []*listed) bool {
	bad := map[*listed]error{}
	for _, o := range inputs {
		err := l.withFile(ctx, o.Key, func(file *parquetv1.File) error { return readThrough(ctx, file) })
		if ctx.Err() != nil {
			return false
		}
		if err != nil {
			bad[o] = err
		}
	}
	if len(bad) == 0 || len(bad) == len(inputs) && len(inputs) > 1 {
		return false
	}
	for o, err := range bad {
		l.log.ErrorContext(ctx, "an object cannot be merged", "key", o.Key, "err", err)
		l.compaction.unreadable(app, o.id, o.Key, err)
	}
	return true
}

// pacer keeps a worker to a share of one core, so that ingest has the rest.
type pacer struct {
	share  float64
	adapt  func() float64 // asked for the share now; nil: it stays
	since  time.Time
	waited time.Duration
}

func (p *pacer) wait(ctx context.Context) error {
	worked := time.Since(p.since)
	if worked < 20*time.Millisecond {
		return ctx.Err()
	}
	share := p.share
	if p.adapt != nil {
		share = p.adapt()
	}
	if share >= 1 {
		p.since = time.Now()
		return ctx.Err()
	}
	pause := time.Duration(float64(worked) * (1 - share) / share)
	timer := time.NewTimer(pause)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-timer.C:
	}
	p.waited += pause
	p.since = time.Now()
	return nil
}

// promotedOf turns the catalog's promotions into columns of the outputs.
func promotedOf(promotions []catalog.Promotion) []parquetv1.Promoted {
	var columns []parquetv1.Promoted
	for _, p := range promotions {
		columns = append(columns, parquetv1.Promoted{Name: p.Name, Number: p.Kind == catalog.Number})
	}
	return columns
}
