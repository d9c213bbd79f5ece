package lake

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"sync"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/causality-project/causality/backend/internal/account/tenancy"
	"github.com/causality-project/causality/backend/internal/pipeline/stream"
	"github.com/causality-project/causality/backend/internal/platform/failpoint"
	"github.com/causality-project/causality/backend/internal/platform/objstore"
)

const (
	erasePoll  = 2 * time.Second        // between looks for what another replica was asked to erase
	eraseRetry = 5 * time.Second        // after a failure
	landPoll   = 100 * time.Millisecond // while the stream still holds what it held at the request
	// proofRounds bounds how often an erasure begins anew within one try because
	// the proof has found something.
	proofRounds = 3
)

// eraseRecord is what an erasure has done so far. It is kept in its row, each
// part written by the transaction that does it.
type eraseRecord struct {
	Again     int            `json:"again,omitempty"` // times that a rebuild has applied it anew
	Found     int            `json:"found,omitempty"` // objects to rewrite
	Rewritten []erasedObject `json:"rewritten,omitempty"`
	Events    int64          `json:"events,omitempty"` // removed from objects
	IDs       int64          `json:"ids,omitempty"`    // that stay known
	IDObjects []string       `json:"idObjects,omitempty"`

	Links       int64 `json:"links,omitempty"`
	Rejected    int64 `json:"rejected,omitempty"`
	DeadEvents  int64 `json:"deadEvents,omitempty"`
	DeadLetters int64 `json:"deadLetters,omitempty"` // that lost events
	DeadUnread  int64 `json:"deadUnread,omitempty"`  // that cannot be read, and stay

	Deleted   int                    `json:"deleted,omitempty"` // objects that were garbage
	Orphans   []string               `json:"orphans,omitempty"` // objects that nothing listed
	Replicas  []string               `json:"replicas,omitempty"`
	Published bool                   `json:"published,omitempty"`
	Stream    map[stream.Lane]uint64 `json:"stream,omitempty"`
	Proof     *eraseProof            `json:"proof,omitempty"`
}

// erasedObject is an object that was rewritten without the events.
type erasedObject struct {
	Old    string   `json:"old"`
	With   []string `json:"with,omitempty"` // its projections, which went with it
	New    []string `json:"new"`            // of all objects that were rewritten with it; none: nothing is left
	Events int64    `json:"events"`
}

// eraseProof is the last look at everything.
type eraseProof struct {
	At          time.Time `json:"at"`
	Objects     int       `json:"objectsScanned"`
	Projections int       `json:"projectionsScanned"`
	Rows        int64     `json:"rowsScanned"`
	Matches     int64     `json:"matches"`
	OldGone     int       `json:"oldObjectsGone"`
}

// eraseReceipt is what people get and can show.
type eraseReceipt struct {
	Version     int       `json:"receipt"`
	ID          string    `json:"erasure"`
	WorkspaceID string    `json:"workspace"`
	AppID       string    `json:"app"`
	RequestedBy string    `json:"requestedBy"`
	RequestedAt time.Time `json:"requestedAt"`
	InForceAt   time.Time `json:"inForceAt"`
	FinishedAt  time.Time `json:"finishedAt"`
	Seconds     float64   `json:"seconds"`
	Again       int       `json:"again,omitempty"`

	What struct {
		UserHashes []string   `json:"userSha256,omitempty"` // SHA-256 of the person's ids
		Event      string     `json:"event,omitempty"`
		From       *time.Time `json:"from,omitempty"`
		To         *time.Time `json:"to,omitempty"`
	} `json:"what"`

	Events    int64          `json:"eventsRemoved"`
	Objects   []erasedObject `json:"objectsRewritten"`
	IDs       int64          `json:"idsThatStayKnown"`
	IDObjects []string       `json:"idObjects"`
	Stream    map[string]any `json:"streamPurgedThrough"`
	Elsewhere struct {
		PersonLinks     int64    `json:"personLinks"`
		RefusedEvents   int64    `json:"refusedEvents"`
		DeadLetters     int64    `json:"deadLetters"`
		DeadEvents      int64    `json:"deadLetterEvents"`
		UnreadableDead  int64    `json:"unreadableDeadLettersKept"`
		GarbageObjects  int      `json:"garbageObjectsDeleted"`
		UnlistedObjects []string `json:"unlistedObjectsDeleted"`
		Replicas        []string `json:"replicasThatForgot"`
		Published       bool     `json:"publishedSnapshotsExpired"`
	} `json:"elsewhere"`
	Proof *eraseProof `json:"proof"`
}

// eraseState is what this process knows of erasures at work.
type eraseState struct {
	mu      sync.Mutex
	changed chan struct{} // closed at the next change
	kick    chan struct{} // holds one token: look now
	work    sync.Mutex    // one erasure at a time in this process
	trouble error         // of the last try of any
	since   time.Time
}

func newEraseState() *eraseState {
	return &eraseState{changed: make(chan struct{}), kick: make(chan struct{}, 1)}
}

func (s *eraseState) news() <-chan struct{} {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.changed
}

func (s *eraseState) tell() {
	s.mu.Lock()
	defer s.mu.Unlock()
	close(s.changed)
	s.changed = make(chan struct{})
}

func (s *eraseState) record(err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if err != nil && s.trouble == nil {
		s.since = time.Now()
	}
	s.trouble = err
}

func (s *eraseState) status() (Status, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.trouble == nil {
		return Status{}, false
	}
	return Status{Name: "Erasure", State: "degraded", Message: fmt.Sprintf("An erasure has not gone on since %s and is tried again. Cause: %v.",
		s.since.UTC().Format(time.RFC3339), s.trouble)}, true
}

func (l *Lake) wakeErasing() {
	select {
	case l.erasing.kick <- struct{}{}:
	default:
	}
}

// eraseInBackground works on what is recorded, one erasure at a time over all
// apps, until ctx ends.
func (l *Lake) eraseInBackground(ctx context.Context) {
	for {
		wait := erasePoll
		waits, err := l.eraseDue(ctx)
		if ctx.Err() != nil {
			return
		}
		l.erasing.record(err)
		switch {
		case err != nil:
			wait = eraseRetry
			l.log.ErrorContext(ctx, "erasure will try again", "err", err)
		case waits:
			wait = landPoll
		}
		timer := time.NewTimer(wait)
		select {
		case <-ctx.Done():
		case <-timer.C:
		case <-l.erasing.kick:
		}
		timer.Stop()
	}
}

// eraseDue reports whether an erasure waits for the stream.
func (l *Lake) eraseDue(ctx context.Context) (waits bool, err error) {
	workspaces, err := l.cfg.DB.Workspaces(ctx)
	if err != nil {
		return false, err
	}
	var problems []error
	for _, workspaceID := range workspaces {
		ctx := tenancy.WithWorkspace(ctx, workspaceID)
		due, err := l.readErasures(ctx, `state <> 'done'`)
		if err != nil {
			return false, err
		}
		for _, e := range slices.Backward(due) { // oldest first
			waiting, err := l.eraseOne(ctx, e)
			waits = waits || waiting
			if ctx.Err() != nil {
				return waits, ctx.Err()
			}
			if err == nil {
				continue
			}
			problems = append(problems, fmt.Errorf("erasure %s, %s: %w", e.ID, e.State, err))
			if err := l.noteErasure(ctx, e, err.Error()); err != nil {
				problems = append(problems, err)
			}
		}
	}
	return waits, errors.Join(problems...)
}

// noteErasure says why an erasure does not go on.
func (l *Lake) noteErasure(ctx context.Context, e *erasure, problem string) error {
	defer l.erasing.tell()
	return l.cfg.DB.Tx(ctx, func(ctx context.Context, tx pgx.Tx) error {
		_, err := tx.Exec(ctx, `UPDATE erasures SET problem = $3 WHERE workspace_id = $1 AND erasure_id = $2`, e.workspaceID, e.ID, problem)
		return err
	})
}

// eraseOne takes one erasure as far as it goes. Each step does again what a
// crash has cut off, and finds done what was.
func (l *Lake) eraseOne(ctx context.Context, e *erasure) (waits bool, err error) {
	l.erasing.work.Lock()
	defer l.erasing.work.Unlock()
	for rounds := 0; ; {
		var next string
		switch e.State {
		case eraseRequested:
			passed, err := l.hasLanded(ctx, e.lanes)
			if err != nil || !passed {
				return !passed, err
			}
			next, err = eraseRewriting, l.enforce(ctx, e)
			if err != nil {
				return false, err
			}
		case eraseRewriting:
			next, err = eraseCleaning, l.eraseFromObjects(ctx, e)
		case eraseCleaning:
			next, err = eraseDeleting, l.eraseElsewhere(ctx, e)
		case eraseDeleting:
			next, err = eraseProving, l.eraseRemains(ctx, e)
		case eraseProving:
			var proof *eraseProof
			if proof, err = l.prove(ctx, e); err != nil {
				break
			}
			if proof.Matches > 0 {
				if rounds++; rounds >= proofRounds {
					return false, fmt.Errorf("the proof still finds %d events in the store", proof.Matches)
				}
				next = eraseRewriting
				break
			}
			e.record.Proof = proof
			return false, l.finishErasure(ctx, e)
		default:
			return false, nil
		}
		if err != nil {
			return false, err
		}
		failpoint.Hit("erase.before-" + next)
		if err := l.enterErasure(ctx, e, next); err != nil {
			return false, err
		}
	}
}

// enterErasure moves an erasure on to a state and writes down what was done.
func (l *Lake) enterErasure(ctx context.Context, e *erasure, state string) error {
	err := l.cfg.DB.Tx(ctx, func(ctx context.Context, tx pgx.Tx) error {
		return e.update(ctx, tx, state)
	})
	if err != nil {
		return fmt.Errorf("note the erasure's state: %w", err)
	}
	e.State, e.Problem = state, ""
	l.erasing.tell()
	return nil
}

func (e *erasure) update(ctx context.Context, tx pgx.Tx, state string) error {
	record, err := json.Marshal(&e.record)
	if err != nil {
		return err
	}
	_, err = tx.Exec(ctx, `UPDATE erasures SET state = $3, record = $4, problem = '' WHERE workspace_id = $1 AND erasure_id = $2`,
		e.workspaceID, e.ID, state, string(record))
	return err
}

// hasLanded reports whether the lanes have passed where they stood.
func (l *Lake) hasLanded(ctx context.Context, lanes landed) (bool, error) {
	var now landed
	err := l.cfg.DB.TxAll(ctx, func(ctx context.Context, tx tenancy.ScopedTx) error {
		return tx.QueryRow(ctx, `SELECT `+offsetsJSON).Scan(&now)
	})
	if err != nil {
		return false, fmt.Errorf("read the sinks' offsets: %w", err)
	}
	for lane, stood := range lanes {
		if now[lane].Incarnation == stood.Incarnation && now[lane].Last >= stood.Last || l.cfg.Stream.Incarnation(lane) != stood.Incarnation {
			continue
		}
		// The last sequences of a lane may hold no batch.
		after := now[lane].Last
		if now[lane].Incarnation != stood.Incarnation {
			after = 0
		}
		events, _, err := l.cfg.Stream.Waiting(ctx, lane, after)
		if err != nil {
			return false, err
		}
		if events > 0 {
			return false, nil
		}
	}
	return true, nil
}

// enforce puts an erasure into force, under the lock of the app's row: all ids
// of the person are known from now on, a commit that follows lets its late
// events go, and what was committed until now is looked through. Merges of the
// app rest until it is done.
func (l *Lake) enforce(ctx context.Context, e *erasure) error {
	err := l.cfg.DB.Tx(ctx, func(ctx context.Context, tx pgx.Tx) error {
		if _, err := tx.Exec(ctx, `INSERT INTO lake_apps (workspace_id, app_id) VALUES ($1, $2) ON CONFLICT DO NOTHING`, e.workspaceID, e.AppID); err != nil {
			return err
		}
		var received *time.Time
		err := tx.QueryRow(ctx, `UPDATE lake_apps SET erasures = erasures + 1 WHERE workspace_id = $1 AND app_id = $2
			RETURNING commits, link_number, last_received_at`, e.workspaceID, e.AppID).Scan(&e.commits, &e.linkNumber, &received)
		if err != nil {
			return fmt.Errorf("lock app: %w", err)
		}
		keys, hashes, err := personOf(ctx, tx, e.workspaceID, e.AppID, e.keys, slices.Clone(e.UserHashes))
		if err != nil {
			return err
		}
		err = tx.QueryRow(ctx, `UPDATE erasures SET keys = $3, hashes = $4, active_at = now(), commits = $5, link_number = $6,
			received_through = greatest(now(), $7), state = 'rewriting' WHERE workspace_id = $1 AND erasure_id = $2
			RETURNING active_at, received_through`,
			e.workspaceID, e.ID, keys, hashes, e.commits, e.linkNumber, received).Scan(&e.activeAt, &e.receivedThrough)
		if err != nil {
			return err
		}
		e.keys, e.UserHashes = keys, hashes
		e.activeAt, e.receivedThrough = e.activeAt.UTC(), e.receivedThrough.UTC()
		return nil
	})
	if err != nil {
		return fmt.Errorf("put the erasure into force: %w", err)
	}
	failpoint.Hit("erase.after-enforce")
	return nil
}

// writeLog keeps the erasure beside the objects.
func (l *Lake) writeLog(ctx context.Context, e *erasure) error {
	text, err := json.Marshal(&eraseLog{ID: e.ID, WorkspaceID: e.workspaceID, AppID: e.AppID, RequestedBy: e.RequestedBy, RequestedAt: e.RequestedAt,
		Keys: e.keys, Hashes: e.UserHashes, Event: e.Event, From: e.From, To: e.To, ActiveAt: e.activeAt, ReceivedThrough: e.receivedThrough})
	if err != nil {
		return fmt.Errorf("write the erasure's log: %w", err)
	}
	return l.createText(ctx, e.logKey(), text)
}

// createText stores a small object; one that is there already is as good.
func (l *Lake) createText(ctx context.Context, key string, text []byte) error {
	_, err := l.cfg.Objects.Create(ctx, key, func(out io.Writer) error {
		_, err := out.Write(text)
		return err
	})
	if errors.Is(err, objstore.ErrExists) {
		return nil
	}
	return err
}

// finishErasure writes the receipt, into the object store first: a crash between
// the two finds it there.
func (l *Lake) finishErasure(ctx context.Context, e *erasure) error {
	key := e.receiptKey()
	if e.record.Again > 0 {
		key = fmt.Sprintf("%s%s.%d%s", erasurePrefix(e.AppID), e.ID, e.record.Again, receiptSuffix)
	}
	text, err := e.receipt(time.Now().UTC().Truncate(time.Millisecond))
	if err != nil {
		return err
	}
	if err := l.createText(ctx, key, text); err != nil {
		return fmt.Errorf("store the receipt: %w", err)
	}
	failpoint.Hit("erase.after-receipt")
	stored, err := l.readSmall(ctx, key)
	if err != nil {
		return err
	}
	err = l.cfg.DB.Tx(ctx, func(ctx context.Context, tx pgx.Tx) error {
		if err := e.update(ctx, tx, eraseDone); err != nil {
			return err
		}
		_, err := tx.Exec(ctx, `UPDATE erasures SET receipt = $3, finished_at = now() WHERE workspace_id = $1 AND erasure_id = $2`, e.workspaceID, e.ID, stored)
		return err
	})
	if err != nil {
		return fmt.Errorf("store the receipt: %w", err)
	}
	e.State = eraseDone
	l.log.InfoContext(ctx, "erased", "erasure", e.ID, "app", e.AppID, "events", e.record.Events, "objects", len(e.record.Rewritten))
	l.erasing.tell()
	return nil
}

func (e *erasure) receipt(now time.Time) ([]byte, error) {
	r := eraseReceipt{Version: 1, ID: e.ID, WorkspaceID: e.workspaceID, AppID: e.AppID, RequestedBy: e.RequestedBy, RequestedAt: e.RequestedAt,
		InForceAt: e.activeAt, FinishedAt: now, Seconds: now.Sub(e.RequestedAt).Seconds(), Again: e.record.Again,
		Events: e.record.Events, Objects: e.record.Rewritten, IDs: e.record.IDs, IDObjects: e.record.IDObjects, Proof: e.record.Proof}
	r.What.UserHashes, r.What.Event, r.What.From, r.What.To = e.UserHashes, e.Event, orNil(e.From), orNil(e.To)
	r.Stream = map[string]any{}
	for lane, seq := range e.record.Stream {
		r.Stream[string(lane)] = seq
	}
	r.Elsewhere.PersonLinks, r.Elsewhere.RefusedEvents = e.record.Links, e.record.Rejected
	r.Elsewhere.DeadLetters, r.Elsewhere.DeadEvents, r.Elsewhere.UnreadableDead = e.record.DeadLetters, e.record.DeadEvents, e.record.DeadUnread
	r.Elsewhere.GarbageObjects, r.Elsewhere.UnlistedObjects = e.record.Deleted, e.record.Orphans
	r.Elsewhere.Replicas, r.Elsewhere.Published = e.record.Replicas, e.record.Published
	var out bytes.Buffer
	encoder := json.NewEncoder(&out)
	encoder.SetIndent("", "  ")
	if err := encoder.Encode(&r); err != nil {
		return nil, fmt.Errorf("write the receipt: %w", err)
	}
	return out.Bytes(), nil
}
