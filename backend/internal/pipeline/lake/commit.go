package lake

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"math"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/causality-project/causality/backend/internal/account/tenancy"
	"github.com/causality-project/causality/backend/internal/pipeline/catalog"
	"github.com/causality-project/causality/backend/internal/pipeline/lake/parquetv1"
	"github.com/causality-project/causality/backend/internal/pipeline/lake/seen"
	"github.com/causality-project/causality/backend/internal/pipeline/stream"
	"github.com/causality-project/causality/backend/internal/platform/event"
	"github.com/causality-project/causality/backend/internal/platform/failpoint"
	"github.com/causality-project/causality/backend/internal/platform/fault"
)

const (
	keepRejected = 10_000 // newest refused events of an app
	gapTries     = 5      // of a commit, while others commit faster than their ids are read in
	seqBits      = 16     // of a row's seq: its place in the message; the rest is the message's sequence
)

// commit lands the messages of one run in one PostgreSQL transaction. It locks
// the rows of all apps that the run touches before it looks at anything, so
// that what it finds seen, linked and counted holds until it commits; the
// objects are written meanwhile. A crash before the commit leaves objects that
// nothing lists, and a run that comes again.
type commit struct {
	lake     *Lake
	lane     stream.Lane
	from, to uint64
	at       time.Time // of the try, by the database's clock: replicas' clocks differ, and a rebuild orders tries by it
	apps     []*appRun
	objects  []entry
}

// appRun is one app's part of a run.
type appRun struct {
	workspaceID string
	appID       string
	messages    []*stream.Message

	// The app's row, as locked.
	commits    int64
	linkNumber int64
	erasures   int64
	totals     totals

	rows     []parquetv1.Row
	ids      []event.ID // of rows
	stored   int64
	repeats  int64
	late     int64 // of erased people, from before their erasure
	rejected int64
	dropped  int64
	received time.Time
	links    linkChange
	hops     *hops
	catalog  *catalog.Batch
}

func newCommit(l *Lake, lane stream.Lane, from, to uint64, messages []stream.Message) *commit {
	c := &commit{lake: l, lane: lane, from: from, to: to}
	byApp := map[[2]string]*appRun{}
	for i := range messages {
		m := &messages[i]
		key := [2]string{m.Batch.WorkspaceID, m.Batch.AppID}
		run := byApp[key]
		if run == nil {
			run = &appRun{workspaceID: strings.Clone(key[0]), appID: strings.Clone(key[1])}
			byApp[key] = run
			c.apps = append(c.apps, run)
		}
		run.messages = append(run.messages, m)
	}
	// One order for all sinks: two of them never wait for each other.
	slices.SortFunc(c.apps, func(a, b *appRun) int {
		return cmp.Or(strings.Compare(a.workspaceID, b.workspaceID), strings.Compare(a.appID, b.appID))
	})
	return c
}

func (c *commit) run(ctx context.Context) error {
	err := c.lake.cfg.DB.TxAll(ctx, c.transact)
	for tries := 0; errors.Is(err, errGap) && tries < gapTries; tries++ {
		// Read without the apps' rows, so that other sinks go on meanwhile.
		for _, run := range c.apps {
			if err := c.lake.warmUp(ctx, run.workspaceID, run.appID); err != nil {
				return fmt.Errorf("app %s: %w", run.appID, err)
			}
		}
		err = c.lake.cfg.DB.TxAll(ctx, c.transact)
	}
	if err != nil {
		for _, run := range c.apps {
			c.lake.resolve.forget(run.appID)
		}
		return err
	}
	// Committed. What follows only spares work: after a crash here it is made
	// anew from the objects.
	for _, run := range c.apps {
		run.catalog.Committed()
		if len(run.rows) == 0 {
			continue
		}
		if err := c.lake.seen.Add(run.appID, seen.One(run.commits), run.ids); err != nil {
			c.lake.log.ErrorContext(ctx, "remember committed ids", "app", run.appID, "err", err)
		}
	}
	return nil
}

func (c *commit) transact(ctx context.Context, tx tenancy.ScopedTx) error {
	c.objects = nil
	for _, run := range c.apps {
		if err := tx.Scope(ctx, run.workspaceID); err != nil {
			return err
		}
		if err := run.lock(ctx, tx); err != nil {
			return err
		}
	}
	if err := c.moveOffset(ctx, tx); err != nil {
		return err
	}
	for _, run := range c.apps {
		if err := tx.Scope(ctx, run.workspaceID); err != nil {
			return err
		}
		if err := c.landApp(ctx, tx, run); err != nil {
			return fmt.Errorf("app %s: %w", run.appID, err)
		}
	}
	failpoint.Hit("lake.before-commit")
	return nil
}

// moveOffset claims the run: a sink that is not where the offset stands has lost.
func (c *commit) moveOffset(ctx context.Context, tx pgx.Tx) error {
	err := tx.QueryRow(ctx, `UPDATE lake_offsets SET last_seq = $4, committed_at = now() WHERE lane = $1 AND incarnation = $2 AND last_seq = $3
		RETURNING clock_timestamp()`, c.lane, c.lake.cfg.Stream.Incarnation(c.lane), int64(c.from)-1, int64(c.to)).Scan(&c.at)
	if errors.Is(err, pgx.ErrNoRows) {
		return errStale
	}
	if err != nil {
		return fmt.Errorf("move the sink's offset: %w", err)
	}
	return nil
}

// lock takes the app's row, made at its first event.
func (r *appRun) lock(ctx context.Context, tx pgx.Tx) error {
	const read = `SELECT commits, link_number, erasures, duplicates, rejected, dropped, erased, erased_late, expired
		FROM lake_apps WHERE workspace_id = $1 AND app_id = $2 FOR UPDATE`
	into := []any{&r.commits, &r.linkNumber, &r.erasures, &r.totals.Duplicates, &r.totals.Rejected, &r.totals.Dropped,
		&r.totals.Erased, &r.totals.Late, &r.totals.Expired}
	err := tx.QueryRow(ctx, read, r.workspaceID, r.appID).Scan(into...)
	if errors.Is(err, pgx.ErrNoRows) {
		if _, err = tx.Exec(ctx, `INSERT INTO lake_apps (workspace_id, app_id) VALUES ($1, $2) ON CONFLICT DO NOTHING`, r.workspaceID, r.appID); err == nil {
			err = tx.QueryRow(ctx, read, r.workspaceID, r.appID).Scan(into...)
		}
	}
	if err != nil {
		return fmt.Errorf("lock app %s: %w", r.appID, err)
	}
	return nil
}

func (c *commit) landApp(ctx context.Context, tx pgx.Tx, run *appRun) error {
	if err := c.gather(ctx, tx, run); err != nil {
		return err
	}
	if err := c.resolve(ctx, tx, run); err != nil {
		return err
	}
	var batch pgx.Batch
	run.links.queue(&batch, run.workspaceID, run.appID)
	if len(run.rows) > 0 {
		run.commits++
		object, err := c.write(ctx, run)
		if err != nil {
			return err
		}
		object.queueInsert(&batch)
		c.objects = append(c.objects, object)
	}
	run.queueRejected(&batch)
	batch.Queue(`UPDATE lake_apps SET version = version + 1, commits = $3, link_number = $4, stored = stored + $5,
		duplicates = duplicates + $6, rejected = rejected + $7, dropped = dropped + $8, last_received_at = greatest(last_received_at, $9),
		erased_late = erased_late + $10
		WHERE workspace_id = $1 AND app_id = $2`,
		run.workspaceID, run.appID, run.commits, run.links.number, run.stored, run.repeats, run.rejected, run.dropped, orNil(run.received), run.late)
	if err := tx.SendBatch(ctx, &batch).Close(); err != nil {
		return fmt.Errorf("list object: %w", err)
	}
	if !run.links.empty() {
		failpoint.Hit("links.before-commit")
	}
	return run.catalog.Commit(ctx, tx)
}

// gather makes rows of the events that are new: not in the run before, and not
// committed. The first accepted copy of an id wins.
func (c *commit) gather(ctx context.Context, tx pgx.Tx, run *appRun) error {
	run.rows, run.ids, run.stored, run.repeats, run.rejected, run.dropped, run.late = nil, nil, 0, 0, 0, 0, 0
	count := 0
	for _, m := range run.messages {
		count += len(m.Batch.Events)
	}
	candidates := make([]parquetv1.Row, 0, count)
	for _, m := range run.messages {
		for i := range m.Batch.Events {
			candidates = append(candidates, parquetv1.Row{Event: &m.Batch.Events[i], Seq: int64(m.Seq)<<seqBits | int64(i&(1<<seqBits-1))})
		}
		run.rejected += int64(len(m.Batch.Rejected))
		for _, n := range m.Batch.Dropped {
			run.dropped += max(n, 0)
		}
		if m.Batch.ReceivedAt.After(run.received) {
			run.received = m.Batch.ReceivedAt
		}
	}
	run.stored = int64(count)
	slices.SortFunc(candidates, func(a, b parquetv1.Row) int {
		if c := bytes.Compare(a.Event.ID[:], b.Event.ID[:]); c != 0 {
			return c
		}
		return cmp.Compare(a.Seq, b.Seq)
	})
	candidates = slices.CompactFunc(candidates, func(a, b parquetv1.Row) bool { return a.Event.ID == b.Event.ID })
	ids := make([]event.ID, len(candidates))
	for i := range candidates {
		ids[i] = candidates[i].Event.ID
	}
	if err := c.lake.catchUp(ctx, tx, run.workspaceID, run.appID, run.commits); err != nil {
		return err
	}
	known, err := c.lake.seen.Contains(run.appID, ids)
	if err != nil {
		return err
	}
	erased, err := c.lake.late.at(ctx, tx, run.workspaceID, run.appID, run.erasures)
	if err != nil {
		return err
	}
	run.rows = candidates[:0]
	for i := range candidates {
		switch {
		case known[i]:
		case erased.drops(candidates[i].Event):
			run.late++
		default:
			run.rows = append(run.rows, candidates[i])
			run.ids = append(run.ids, ids[i])
		}
	}
	run.repeats = run.stored - run.late - int64(len(run.rows))
	run.catalog = c.lake.cfg.Catalog.Begin(run.workspaceID, run.appID)
	for i := range run.rows {
		row := &run.rows[i]
		run.catalog.Observe(row.Event, func(name string, kind catalog.Kind, raw string) { money(row, name, kind, raw) })
	}
	return nil
}

// money fills the columns of the properties revenue and currency. Text counts
// as a number where every other measure would take it as one.
func money(row *parquetv1.Row, name string, kind catalog.Kind, raw string) {
	switch name {
	case "revenue":
		if kind == catalog.Text {
			raw = strings.TrimSpace(catalog.Unquote(raw))
			if !isNumber(raw) {
				return
			}
		} else if kind != catalog.Number {
			return
		}
		if v, err := strconv.ParseFloat(raw, 64); err == nil && !math.IsInf(v, 0) && !math.IsNaN(v) {
			row.Revenue, row.HasRevenue = v, true
		}
	case "currency":
		if kind == catalog.Text {
			row.Currency = catalog.Unquote(raw)
		}
	}
}

// isNumber leaves out what ParseFloat would take and semantics do not know:
// hexadecimal, infinite and underscored numbers.
func isNumber(s string) bool {
	return s != "" && strings.Trim(s, "0123456789+-.eE") == ""
}

// resolve finds the person of every row, with the run's own links applied.
func (c *commit) resolve(ctx context.Context, tx pgx.Tx, run *appRun) error {
	var linking []*event.Event
	keys := make(map[int64]struct{}, len(run.rows)/4)
	for i := range run.rows {
		row := &run.rows[i]
		row.UserKey = row.Event.OwnKey()
		if row.UserKey != 0 {
			keys[row.UserKey] = struct{}{}
		}
		if row.Event.Type == event.Identify || row.Event.Type == event.Alias {
			linking = append(linking, row.Event)
		}
	}
	var err error
	run.links = linkChange{number: run.linkNumber}
	if len(linking) > 0 {
		if run.links, err = planLinks(ctx, tx, run.workspaceID, run.appID, run.linkNumber, linking); err != nil {
			return err
		}
		for i := range run.links.insert {
			keys[run.links.insert[i].toKey] = struct{}{}
		}
	}
	run.hops = c.lake.resolve.at(run.appID, run.linkNumber)
	if err := run.hops.learn(ctx, tx, run.workspaceID, run.appID, keys); err != nil {
		return err
	}
	run.hops.apply(&run.links)
	for i := range run.rows {
		run.rows[i].UserKey = run.hops.person(run.rows[i].UserKey)
	}
	slices.SortFunc(run.rows, func(a, b parquetv1.Row) int { return parquetv1.Compare(&a, &b) })
	return nil
}

// write makes the run's object and reads its footer back before anything lists it.
func (c *commit) write(ctx context.Context, run *appRun) (entry, error) {
	incarnation := c.lake.cfg.Stream.Incarnation(c.lane)
	name := fmt.Sprintf("%s-%s-%d-%d", c.lane, incarnation, c.from, c.to)
	object, err := newEntry(run.workspaceID, run.appID, 0, run.rows[0].Event.ReceivedAt, name)
	if err != nil {
		return entry{}, err
	}
	object.CreatedAt = c.at.UTC()
	object.Lane, object.Incarnation, object.FirstSeq, object.LastSeq = c.lane, incarnation, c.from, c.to
	object.Rows, object.Sources, object.LinkNumber = int64(len(run.rows)), seen.One(run.commits), run.links.number
	object.Totals = run.totals
	object.Totals.Duplicates += run.repeats
	object.Totals.Rejected += run.rejected
	object.Totals.Dropped += run.dropped
	object.Totals.Late += run.late
	for i := range run.rows {
		e := run.rows[i].Event
		object.extend(e.TS, e.ReceivedAt)
	}
	metadata, err := object.metadata()
	if err != nil {
		return entry{}, err
	}
	failpoint.Hit("lake.before-write")
	object.Bytes, err = c.lake.cfg.Objects.Create(ctx, object.Key, func(out io.Writer) (err error) {
		defer func() {
			if cause := recover(); cause != nil {
				err = fmt.Errorf("%w: %v", errUnwritable, cause)
			}
		}()
		return parquetv1.Write(out, run.appID, run.rows, metadata)
	})
	if err != nil {
		return entry{}, err
	}
	failpoint.Hit("lake.after-write")
	if err := c.lake.checkFooter(ctx, &object); err != nil {
		return entry{}, fmt.Errorf("object %s reads back wrong: %w", object.Key, err)
	}
	return object, nil
}

// extend widens the ranges to an event's times.
func (e *entry) extend(ts, receivedAt time.Time) {
	if e.MinTS.IsZero() || ts.Before(e.MinTS) {
		e.MinTS = ts
	}
	if ts.After(e.MaxTS) {
		e.MaxTS = ts
	}
	if e.MinReceivedAt.IsZero() || receivedAt.Before(e.MinReceivedAt) {
		e.MinReceivedAt = receivedAt
	}
	if receivedAt.After(e.MaxReceivedAt) {
		e.MaxReceivedAt = receivedAt
	}
}

// queueRejected stores what people may want to see of refused events and lets
// go of the oldest beyond the bound.
func (r *appRun) queueRejected(batch *pgx.Batch) {
	if r.rejected == 0 {
		return
	}
	var times []time.Time
	var indexes []int32
	var ids, names, codes, fields, messages, events []string
	for i := len(r.messages) - 1; i >= 0; i-- {
		m := r.messages[i]
		for j := len(m.Batch.Rejected) - 1; j >= 0 && len(ids) < keepRejected; j-- {
			refused := &m.Batch.Rejected[j]
			times, indexes = append(times, m.Batch.ReceivedAt), append(indexes, int32(refused.Index))
			ids, names = append(ids, catalog.Storable(refused.ID)), append(names, catalog.Storable(refused.Name))
			codes, fields = append(codes, catalog.Storable(refused.Code)), append(fields, catalog.Storable(refused.Field))
			messages, events = append(messages, catalog.Storable(refused.Message)), append(events, catalog.Storable(refused.Event))
		}
	}
	// Gathered newest first, for the bound; stored oldest first, for the order of
	// their numbers.
	slices.Reverse(times)
	slices.Reverse(indexes)
	for _, texts := range [][]string{ids, names, codes, fields, messages, events} {
		slices.Reverse(texts)
	}
	batch.Queue(`INSERT INTO rejected_events (workspace_id, app_id, received_at, index, event_id, name, code, field, message, event)
		SELECT $1::uuid, $2::uuid, received_at, index, id, name, code, field, message, event
		FROM unnest($3::timestamptz[], $4::int[], $5::text[], $6::text[], $7::text[], $8::text[], $9::text[], $10::text[])
		  WITH ORDINALITY AS u (received_at, index, id, name, code, field, message, event, place)
		ORDER BY place`,
		r.workspaceID, r.appID, times, indexes, ids, names, codes, fields, messages, events)
	batch.Queue(`DELETE FROM rejected_events WHERE workspace_id = $1 AND app_id = $2 AND rejected_id <= (
		SELECT rejected_id FROM rejected_events WHERE workspace_id = $1 AND app_id = $2 ORDER BY rejected_id DESC OFFSET $3 LIMIT 1)`,
		r.workspaceID, r.appID, keepRejected)
}

// isOurs reports whether an error may lie in the messages themselves, so that
// trying them one by one can help. An outage never does: waiting helps then.
func isOurs(err error) bool {
	if fault.Is(err, fault.Unavailable) || errors.Is(err, context.DeadlineExceeded) || errors.Is(err, context.Canceled) {
		return false
	}
	var refusal *pgconn.PgError
	if errors.As(err, &refusal) {
		// Data exceptions and violated constraints, such as an app that is gone.
		return strings.HasPrefix(refusal.Code, "22") || strings.HasPrefix(refusal.Code, "23")
	}
	return errors.Is(err, errUnwritable)
}

// errUnwritable marks events that the Parquet writer itself refuses.
var errUnwritable = errors.New("events cannot be written")
