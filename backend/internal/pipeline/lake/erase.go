package lake

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"

	"github.com/causality-project/causality/backend/internal/account/tenancy"
	"github.com/causality-project/causality/backend/internal/pipeline/lake/parquetv1"
	"github.com/causality-project/causality/backend/internal/pipeline/stream"
	"github.com/causality-project/causality/backend/internal/platform/event"
	"github.com/causality-project/causality/backend/internal/platform/failpoint"
	"github.com/causality-project/causality/backend/internal/platform/fault"
	"github.com/causality-project/causality/backend/internal/platform/objstore"
)

// EraseRequest says which events of an app are to go: those that fulfil every
// condition that is given, of which there must be one.
type EraseRequest struct {
	AppID       string
	UserID      string    // a person, with all ids that are linked to it
	AnonymousID string    // a person likewise, by an anonymous id
	Event       string    // tracked events of this name
	From, To    time.Time // of the events' time; zero: open, To is excluded
	By          string    // who asks, for the receipt
}

func (r *EraseRequest) check() error {
	var wrong []fault.Field
	add := func(name, message string) { wrong = append(wrong, fault.Field{Name: name, Message: message}) }
	if r.UserID != "" && r.AnonymousID != "" {
		add("anonymousId", "give either a user id or an anonymous id: both lead to the same person")
	}
	if r.UserID == "" && r.AnonymousID == "" && r.Event == "" && r.From.IsZero() && r.To.IsZero() {
		add("userId", "say what to erase: a person, an event's name or a range of times")
	}
	if !r.From.IsZero() && !r.To.IsZero() && !r.From.Before(r.To) {
		add("to", "must be after from")
	}
	return fault.InvalidFields(wrong)
}

// seeds are the keys that the search for the person's ids begins with, and
// their hashes.
func (r *EraseRequest) seeds() (keys []int64, hashes []string) {
	if r.UserID != "" {
		return []int64{event.UserKey(r.UserID)}, []string{hashOfID(r.UserID)}
	}
	if r.AnonymousID != "" {
		return []int64{event.AnonymousKey(r.AnonymousID)}, []string{hashOfID(r.AnonymousID)}
	}
	return []int64{}, []string{}
}

// hashOfID is how an id stands in receipts.
func hashOfID(id string) string {
	sum := sha256.Sum256([]byte(id))
	return hex.EncodeToString(sum[:])
}

// States of an erasure. Each is left only when all that belongs to it is done,
// and can be begun again after a crash.
const (
	eraseRequested = "requested" // waits until the stream has landed what it held
	eraseRewriting = "rewriting" // in force; objects are rewritten without the events
	eraseCleaning  = "cleaning"  // links, refused events and dead letters go
	eraseDeleting  = "deleting"  // old objects, caches and the stream's rest go
	eraseProving   = "proving"   // everything is scanned
	eraseDone      = "done"
)

// Erasure is an erasure as people see it. Nobody's id stands in it in clear.
type Erasure struct {
	ID          string
	AppID       string
	State       string
	RequestedBy string
	RequestedAt time.Time
	FinishedAt  time.Time // zero: not yet
	UserHashes  []string  // SHA-256 of the person's ids; empty: everybody
	Event       string
	From, To    time.Time
	Problem     string // why the last try failed; it is tried again
	Objects     int    // found to be rewritten so far
	Rewritten   int
	Events      int64  // removed so far
	Receipt     string // JSON, once it is done
}

// erasure is a row of erasures.
type erasure struct {
	Erasure
	workspaceID     string
	keys            []int64
	lanes           landed
	activeAt        time.Time
	commits         int64
	receivedThrough time.Time
	linkNumber      int64
	record          eraseRecord
}

const erasureColumns = `erasure_id::text, workspace_id::text, app_id::text, state, requested_by, requested_at, keys, hashes, event, from_ts, to_ts,
	lanes, active_at, commits, received_through, link_number, record, problem, receipt, finished_at`

func scanErasure(row pgx.CollectableRow) (*erasure, error) {
	var e erasure
	var from, to, active, received, finished *time.Time
	err := row.Scan(&e.ID, &e.workspaceID, &e.AppID, &e.State, &e.RequestedBy, &e.RequestedAt, &e.keys, &e.UserHashes, &e.Event, &from, &to,
		&e.lanes, &active, &e.commits, &received, &e.linkNumber, &e.record, &e.Problem, &e.Receipt, &finished)
	for into, t := range map[*time.Time]*time.Time{&e.From: from, &e.To: to, &e.activeAt: active, &e.receivedThrough: received, &e.FinishedAt: finished, &e.RequestedAt: &e.RequestedAt} {
		if t != nil {
			*into = t.UTC()
		}
	}
	e.Objects, e.Rewritten, e.Events = max(e.record.Found, len(e.record.Rewritten)), len(e.record.Rewritten), e.record.Events
	return &e, err
}

// target is what the erasure concerns.
func (e *erasure) target() *target {
	t := &target{keys: make(map[int64]struct{}, len(e.keys)), name: e.Event, from: micros(e.From, minTime), to: micros(e.To, maxTime),
		before: e.RequestedAt.UnixMicro(), receivedTo: micros(e.receivedThrough, maxTime)}
	for _, key := range e.keys {
		t.keys[key] = struct{}{}
	}
	return t
}

// Erase removes events of an app of ctx's workspace and returns the receipt. It
// reports at each step. When ctx ends the erasure goes on without the caller:
// the replica that maintains the store does the work, and takes it up again
// after a crash.
func (l *Lake) Erase(ctx context.Context, request EraseRequest, report func(Erasure)) (receipt string, err error) {
	if err := request.check(); err != nil {
		return "", err
	}
	workspaceID, err := tenancy.Workspace(ctx)
	if err != nil {
		return "", err
	}
	id, err := l.recordErasure(ctx, workspaceID, request)
	if err != nil {
		return "", err
	}
	failpoint.Hit("erase.after-record")
	l.wakeErasing()
	for {
		news := l.erasing.news()
		e, err := l.erasure(ctx, id)
		if err != nil {
			return "", err
		}
		report(e.Erasure)
		if e.State == eraseDone {
			return e.Receipt, nil
		}
		select {
		case <-ctx.Done():
			return "", fmt.Errorf("erasure %s goes on: %w", id, ctx.Err())
		case <-news:
		case <-time.After(erasePoll): // another replica does the work
		}
	}
}

// recordErasure writes down what is wanted and where the stream stands: what it
// holds now is concerned too.
func (l *Lake) recordErasure(ctx context.Context, workspaceID string, r EraseRequest) (string, error) {
	id, err := uuid.NewV7()
	if err != nil {
		return "", fmt.Errorf("erasure id: %w", err)
	}
	lanes, err := l.standing(ctx)
	if err != nil {
		return "", err
	}
	where, err := json.Marshal(lanes)
	if err != nil {
		return "", fmt.Errorf("record erasure: %w", err)
	}
	keys, hashes := r.seeds()
	err = l.cfg.DB.Tx(ctx, func(ctx context.Context, tx pgx.Tx) error {
		_, err := tx.Exec(ctx, `INSERT INTO erasures (erasure_id, workspace_id, app_id, requested_by, keys, hashes, event, from_ts, to_ts, lanes)
			VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)`,
			id, workspaceID, r.AppID, r.By, keys, hashes, r.Event, orNil(r.From), orNil(r.To), string(where))
		return err
	})
	if err != nil {
		return "", fmt.Errorf("record erasure: %w", err)
	}
	return id.String(), nil
}

// standing is how far each lane of the stream reaches now.
func (l *Lake) standing(ctx context.Context) (landed, error) {
	lanes := landed{}
	for lane := range l.sinks {
		state, err := l.cfg.Stream.State(ctx, lane)
		if err != nil {
			return nil, err
		}
		at := lanes[lane]
		at.Incarnation, at.Last = l.cfg.Stream.Incarnation(lane), state.LastSeq
		lanes[lane] = at
	}
	return lanes, nil
}

// erasure reads one of ctx's workspace.
func (l *Lake) erasure(ctx context.Context, id string) (*erasure, error) {
	all, err := l.readErasures(ctx, `erasure_id = $2`, id)
	if err != nil {
		return nil, err
	}
	if len(all) == 0 {
		return nil, fault.New(fault.NotFound, "No erasure %q in this workspace. List them with: causality lake erasures", id)
	}
	return all[0], nil
}

func (l *Lake) readErasures(ctx context.Context, where string, args ...any) (all []*erasure, err error) {
	workspaceID, err := tenancy.Workspace(ctx)
	if err != nil {
		return nil, err
	}
	err = l.cfg.DB.Tx(ctx, func(ctx context.Context, tx pgx.Tx) error {
		rows, err := tx.Query(ctx, `SELECT `+erasureColumns+` FROM erasures WHERE workspace_id = $1 AND `+where+` ORDER BY requested_at DESC, erasure_id`,
			append([]any{workspaceID}, args...)...)
		if err != nil {
			return err
		}
		all, err = pgx.CollectRows(rows, scanErasure)
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("read erasures: %w", err)
	}
	return all, nil
}

// Erasures lists those of an app of ctx's workspace, or of all its apps for an
// empty appID, newest first.
func (l *Lake) Erasures(ctx context.Context, appID string) ([]Erasure, error) {
	all, err := l.readErasures(ctx, `($2 = '' OR app_id::text = $2)`, appID)
	if err != nil {
		return nil, err
	}
	list := make([]Erasure, len(all))
	for i, e := range all {
		list[i] = e.Erasure
	}
	return list, nil
}

// Receipt is that of a finished erasure of ctx's workspace, as JSON.
func (l *Lake) Receipt(ctx context.Context, id string) (string, error) {
	if _, err := uuid.Parse(id); err != nil {
		return "", fault.InvalidField("id", "%q is no id of an erasure; list them with: causality lake erasures", id)
	}
	e, err := l.erasure(ctx, id)
	if err != nil {
		return "", err
	}
	if e.State != eraseDone {
		why := ""
		if e.Problem != "" {
			why = " Its last try failed and is repeated: " + e.Problem
		}
		return "", fault.New(fault.Conflict, "The erasure is not finished yet; it is %s.%s", e.State, why)
	}
	return e.Receipt, nil
}

// EraseCounts is what an erasure would remove now.
type EraseCounts struct {
	Events      int64
	Objects     int // that would be rewritten
	IDs         int // of the person
	Links       int64
	Rejected    int64
	DeadLetters int64 // events in them
	Waiting     int64 // events in the stream that were not looked at
}

// CountErase counts and changes nothing.
func (l *Lake) CountErase(ctx context.Context, request EraseRequest) (counts EraseCounts, err error) {
	if err := request.check(); err != nil {
		return counts, err
	}
	workspaceID, err := tenancy.Workspace(ctx)
	if err != nil {
		return counts, err
	}
	e := &erasure{workspaceID: workspaceID}
	e.AppID, e.Event, e.From, e.To = request.AppID, request.Event, request.From, request.To
	e.keys, _ = request.seeds()
	var entries []entry
	err = l.cfg.DB.Tx(ctx, func(ctx context.Context, tx pgx.Tx) error {
		if err := tx.QueryRow(ctx, `SELECT now()`).Scan(&e.RequestedAt); err != nil {
			return err
		}
		if e.keys, _, err = personOf(ctx, tx, workspaceID, e.AppID, e.keys, nil); err != nil {
			return err
		}
		counts.IDs = len(e.keys)
		err := tx.QueryRow(ctx, `SELECT count(*) FROM person_links WHERE workspace_id = $1 AND app_id = $2 AND (from_key = ANY ($3) OR to_key = ANY ($3))`,
			workspaceID, e.AppID, e.keys).Scan(&counts.Links)
		if err != nil {
			return err
		}
		refused, err := refusedOf(ctx, tx, e)
		if err != nil {
			return err
		}
		counts.Rejected = int64(len(refused))
		entries, err = entriesOf(ctx, tx, workspaceID, e.AppID)
		return err
	})
	if err != nil {
		return counts, fmt.Errorf("count what to erase: %w", err)
	}
	t := e.target()
	var keys []string
	for i := range entries {
		keys = append(keys, entries[i].Key)
	}
	defer l.holds.hold(keys)()
	for i := range entries {
		if entries[i].Kind != kindEvents || !t.overlaps(&entries[i]) {
			continue
		}
		err := l.withFile(ctx, entries[i].Key, func(file *parquetv1.File) error {
			found, err := t.scan(ctx, file)
			if found.rows > 0 {
				counts.Events += found.rows
				counts.Objects++
			}
			return err
		})
		if errors.Is(err, objstore.ErrNotFound) {
			return counts, fault.Wrap(err, fault.Conflict, "The object %s is missing, so nothing can be counted. `causality lake verify` says what is wrong, and how to mend it.", entries[i].Key)
		}
		if err != nil {
			return counts, fmt.Errorf("scan %s: %w", entries[i].Key, err)
		}
	}
	err = l.cfg.Stream.EachDeadLetter(ctx, func(letter *stream.DeadLetter) error {
		_, removed := t.split(letter, e)
		counts.DeadLetters += int64(removed)
		return ctx.Err()
	})
	if err != nil {
		return counts, err
	}
	sum, _, err := l.Counters(ctx, "")
	counts.Waiting = sum.Waiting
	return counts, err
}

// personOf finds all ids that are linked to those of the given keys, whichever
// way, and their hashes beside the given ones.
func personOf(ctx context.Context, tx pgx.Tx, workspaceID, appID string, seeds []int64, hashes []string) ([]int64, []string, error) {
	if len(seeds) == 0 {
		return seeds, hashes, nil
	}
	known := map[int64]struct{}{}
	all := append([]int64{}, seeds...)
	for _, key := range seeds {
		known[key] = struct{}{}
	}
	for ask := seeds; len(ask) > 0; {
		links, err := queryLinks(ctx, tx, `undone_at IS NULL AND (from_key = ANY ($3) OR to_key = ANY ($3))`, workspaceID, appID, ask)
		if err != nil {
			return nil, nil, err
		}
		ask = nil
		for i := range links {
			for key, id := range map[int64]string{links[i].fromKey: links[i].fromID, links[i].toKey: links[i].toID} {
				if _, ok := known[key]; ok {
					continue
				}
				known[key] = struct{}{}
				all, ask = append(all, key), append(ask, key)
				if id != "" {
					hashes = append(hashes, hashOfID(id))
				}
			}
		}
	}
	return all, hashes, nil
}

// eraseLog is what is kept of an erasure beside the objects, so that a rebuild
// applies it to whatever a backup brings back.
type eraseLog struct {
	ID              string    `json:"id"`
	WorkspaceID     string    `json:"workspace"`
	AppID           string    `json:"app"`
	RequestedBy     string    `json:"requestedBy"`
	RequestedAt     time.Time `json:"requestedAt"`
	Keys            []int64   `json:"keys,omitempty"`
	Hashes          []string  `json:"hashes,omitempty"`
	Event           string    `json:"event,omitempty"`
	From            time.Time `json:"from,omitzero"`
	To              time.Time `json:"to,omitzero"`
	ActiveAt        time.Time `json:"activeAt"`
	ReceivedThrough time.Time `json:"receivedThrough"`
}

const (
	erasuresFolder = "erasures/"
	receiptSuffix  = ".receipt.json"
	logSuffix      = ".erasure.json"
	largestLog     = 64 << 20
)

func erasurePrefix(appID string) string { return erasuresFolder + appPrefix(appID) }

func (e *erasure) logKey() string     { return erasurePrefix(e.AppID) + e.ID + logSuffix }
func (e *erasure) receiptKey() string { return erasurePrefix(e.AppID) + e.ID + receiptSuffix }

// readErasureLogs reads the log of an app's erasures from the object store.
func (l *Lake) readErasureLogs(ctx context.Context, workspaceID, appID string) ([]eraseLog, error) {
	var logs []eraseLog
	for object, err := range l.cfg.Objects.List(ctx, erasurePrefix(appID)) {
		if err != nil {
			return nil, err
		}
		if !strings.HasSuffix(object.Key, logSuffix) {
			continue
		}
		text, err := l.readSmall(ctx, object.Key)
		if err != nil {
			return nil, err
		}
		var log eraseLog
		if err := json.Unmarshal([]byte(text), &log); err != nil {
			return nil, fmt.Errorf("the erasure that %s records cannot be read: %w; restore that object", object.Key, err)
		}
		if log.WorkspaceID == workspaceID && log.AppID == appID {
			logs = append(logs, log)
		}
	}
	return logs, nil
}

// readSmall reads a whole object of text.
func (l *Lake) readSmall(ctx context.Context, key string) (text string, err error) {
	object, err := l.cfg.Objects.Open(ctx, key)
	if err != nil {
		return "", err
	}
	defer func() { err = errors.Join(err, object.Close()) }()
	if object.Size() > largestLog {
		return "", fmt.Errorf("%s has %d bytes, which is more than anything written there", key, object.Size())
	}
	buf := make([]byte, object.Size())
	if n, err := object.ReadAt(buf, 0); err != nil && n < len(buf) {
		return "", fmt.Errorf("read %s: %w", key, err)
	}
	return string(buf), nil
}
