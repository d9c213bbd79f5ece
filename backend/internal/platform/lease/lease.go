// Package lease says which replica does what, by rows in PostgreSQL with the
// database's clock: replicas' own clocks do not matter, only that a second is
// about a second on each.
//
// Leases spare work; they are no locks. A process that was stopped for a while
// goes on with what it held before it notices, so whoever works under a lease
// makes sure by other means that a stale holder changes nothing.
package lease

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
)

const (
	// TTL is how long a replica that no longer shows up keeps what it held.
	// With one look every second the others go on within TTL and 2 s more.
	TTL        = 6 * time.Second
	roundEvery = time.Second
	// roundLimit bounds one exchange with the database, so that several fit into
	// the life of a lease.
	roundLimit = 2 * time.Second
	// margin is between the moment when a holder that cannot renew stops, and
	// the one when another may begin.
	margin      = time.Second
	forgetAfter = "1 day" // rows of replicas that are gone
)

// Leases is this process's part in the installation. It is safe for concurrent
// use. A nil *Leases is a process that is alone: it leads and runs everything.
type Leases struct {
	id, roles string
	session   uuid.UUID
	pool      *pgxpool.Pool
	own       *pgxpool.Pool // set by Run before anything can be held
	log       *slog.Logger

	mu      sync.Mutex
	pending map[*claim]struct{} // of all Lead and Share calls
	kick    chan struct{}       // holds one token: look now
}

// claim is one piece of work that this process would do.
type claim struct {
	name   string
	shared bool
	take   func(*claim) // starts the work; called with the lock, when the lease is held

	// Guarded by Leases.mu.
	held  bool
	timer *time.Timer // ends ctx before the lease ends
	ctx   context.Context
	end   context.CancelFunc
}

// Replica is a process of the installation that is alive.
type Replica struct {
	ID        string
	Roles     string
	StartedAt time.Time
	SeenAt    time.Time
	Holds     []string // names of the work that it does now
}

// New makes this process's part. replicaID names it among all processes of the
// installation and is the same after a restart: what its last life held is free
// at once. roles are for people. Nothing is held before Run runs.
func New(pool *pgxpool.Pool, replicaID, roles string, log *slog.Logger) *Leases {
	return &Leases{
		id: replicaID, roles: roles, session: uuid.New(), pool: pool, log: log,
		pending: map[*claim]struct{}{}, kick: make(chan struct{}, 1),
	}
}

// ID names this replica among those of the installation; empty for one that is
// alone.
func (l *Leases) ID() string {
	if l == nil {
		return ""
	}
	return l.id
}

// Run shows that this replica is alive and renews what it holds, until ctx
// ends; what is held must have ended by then. It returns an error only when
// another process runs under the same id. While the database is away nothing
// is renewed, and what was held ends.
func (l *Leases) Run(ctx context.Context) error {
	if l == nil {
		<-ctx.Done()
		return nil
	}
	if l.id == "" {
		return errors.New("leases: the replica has no id")
	}
	// Connections of its own: renewing must not queue behind questions, nor a
	// release behind a renewal.
	cfg := l.pool.Config()
	cfg.MaxConns, cfg.MinConns, cfg.MinIdleConns = 2, 0, 0
	own, err := pgxpool.NewWithConfig(ctx, cfg)
	if err != nil {
		return fmt.Errorf("leases: %w", err)
	}
	defer own.Close()
	l.own = own
	l.enterPatiently(ctx)
	tick := time.NewTicker(roundEvery)
	defer tick.Stop()
	for {
		if err := l.round(ctx); errors.Is(err, errDisplaced) {
			l.dropAll()
			return err
		} else if err != nil && ctx.Err() == nil {
			l.log.WarnContext(ctx, "leases could not be renewed; trying again", "err", err)
		}
		select {
		case <-ctx.Done():
			l.dropAll()
			l.leave(context.WithoutCancel(ctx))
			return nil
		case <-tick.C:
		case <-l.kick:
		}
	}
}

func (l *Leases) enterPatiently(ctx context.Context) {
	for {
		limited, cancel := context.WithTimeout(ctx, roundLimit)
		err := l.enter(limited)
		cancel()
		if err == nil || ctx.Err() != nil {
			return
		}
		l.log.WarnContext(ctx, "the replica cannot be entered in the database; trying again", "err", err)
		select {
		case <-ctx.Done():
		case <-time.After(roundEvery):
		}
	}
}

// enter replaces the last life of this replica and frees what it held.
func (l *Leases) enter(ctx context.Context) error {
	return pgx.BeginFunc(ctx, l.own, func(tx pgx.Tx) error {
		_, err := tx.Exec(ctx, `DELETE FROM leases WHERE holder = (SELECT session FROM replicas WHERE replica_id = $1)`, l.id)
		if err == nil {
			_, err = tx.Exec(ctx, `INSERT INTO replicas (replica_id, session, roles, wants) VALUES ($1, $2, $3, '{}')
				ON CONFLICT (replica_id) DO UPDATE SET session = excluded.session, roles = excluded.roles, wants = '{}', started_at = now(), seen_at = now()`,
				l.id, l.session, l.roles)
		}
		if err == nil {
			_, err = tx.Exec(ctx, `DELETE FROM replicas WHERE seen_at < now() - interval '`+forgetAfter+`'`)
		}
		return err
	})
}

// leave gives everything back at a graceful end.
func (l *Leases) leave(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, roundLimit)
	defer cancel()
	var batch pgx.Batch
	batch.Queue(`DELETE FROM leases WHERE holder = $1`, l.session)
	batch.Queue(`DELETE FROM replicas WHERE replica_id = $1 AND session = $2`, l.id, l.session)
	if err := l.own.SendBatch(ctx, &batch).Close(); err != nil {
		// The rows expire by themselves.
		l.log.WarnContext(ctx, "leases could not be given back", "err", err)
	}
}

var errDisplaced = errors.New("another process runs with this replica's id: each needs its own, and this one ends")

// round renews, and takes what is free and due to this replica.
func (l *Leases) round(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, roundLimit)
	defer cancel()
	began := time.Now() // before the database's: the lease ends there no earlier than TTL from here
	l.mu.Lock()
	wants, held := []string{}, []string{}
	for c := range l.pending {
		if c.shared {
			wants = append(wants, c.name)
		}
		if c.held && c.ctx.Err() == nil {
			held = append(held, c.name)
		}
	}
	l.mu.Unlock()
	slices.Sort(wants)
	slices.Sort(held)

	var sharers []sharer
	renewed := map[string]bool{}
	entered := false
	var batch pgx.Batch
	batch.Queue(`INSERT INTO replicas (replica_id, session, roles, wants) VALUES ($1, $2, $3, $4)
		ON CONFLICT (replica_id) DO UPDATE SET seen_at = now(), wants = excluded.wants WHERE replicas.session = excluded.session
		RETURNING true`, l.id, l.session, l.roles, wants).Query(func(rows pgx.Rows) (err error) {
		_, err = pgx.ForEachRow(rows, []any{&entered}, func() error { return nil })
		return err
	})
	batch.Queue(`UPDATE leases SET expires_at = now() + $3::interval WHERE holder = $1 AND name = ANY ($2) RETURNING name`,
		l.session, held, TTL).Query(func(rows pgx.Rows) error {
		var name string
		_, err := pgx.ForEachRow(rows, []any{&name}, func() error { renewed[name] = true; return nil })
		return err
	})
	batch.Queue(`SELECT replica_id, wants FROM replicas WHERE seen_at > now() - $1::interval ORDER BY replica_id`, TTL).Query(func(rows pgx.Rows) (err error) {
		sharers, err = pgx.CollectRows(rows, func(row pgx.CollectableRow) (s sharer, err error) {
			return s, row.Scan(&s.id, &s.wants)
		})
		return err
	})
	if err := l.own.SendBatch(ctx, &batch).Close(); err != nil {
		return err
	}
	if !entered {
		return errDisplaced
	}
	mine := deal(sharers, l.id)
	due := l.settle(began, renewed, mine)
	if len(due) == 0 {
		return nil
	}
	return l.acquire(ctx, due)
}

// settle applies a round: it prolongs what was renewed, ends what was lost or
// is due to another replica, and returns the names that this one should take.
func (l *Leases) settle(began time.Time, renewed, mine map[string]bool) (due []string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for c := range l.pending {
		switch {
		case !c.held:
			if !c.shared || mine[c.name] {
				due = append(due, c.name)
			}
		case !renewed[c.name] || c.shared && !mine[c.name]:
			c.end() // what runs ends, and gives the lease back
		case c.timer.Stop():
			c.timer.Reset(time.Until(began.Add(TTL - margin)))
		}
	}
	slices.Sort(due) // one order for all replicas: none waits for another in a circle
	return slices.Compact(due)
}

// acquire takes those of the names that are free.
func (l *Leases) acquire(ctx context.Context, due []string) error {
	began := time.Now()
	rows, err := l.own.Query(ctx, `INSERT INTO leases (name, holder, expires_at)
		SELECT name, $2, now() + $3::interval FROM unnest($1::text[]) WITH ORDINALITY AS due (name, place) ORDER BY place
		ON CONFLICT (name) DO UPDATE SET holder = excluded.holder, expires_at = excluded.expires_at WHERE leases.expires_at <= now() OR leases.holder = excluded.holder
		RETURNING name`, due, l.session, TTL)
	if err != nil {
		return err
	}
	taken, err := pgx.CollectRows(rows, pgx.RowTo[string])
	if err != nil {
		return err
	}
	for _, name := range taken {
		if !l.hold(name, began) { // nobody wants it any more
			l.release(ctx, name)
			continue
		}
		l.log.InfoContext(ctx, "this replica took over", "work", name)
	}
	return nil
}

func (l *Leases) hold(name string, began time.Time) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	for c := range l.pending {
		if c.name == name && !c.held {
			c.held = true
			var end context.CancelFunc
			c.ctx, end = context.WithCancel(c.ctx)
			c.end = end
			c.timer = time.AfterFunc(time.Until(began.Add(TTL-margin)), end)
			c.take(c)
			return true
		}
	}
	return false
}

func (l *Leases) dropAll() {
	l.mu.Lock()
	defer l.mu.Unlock()
	for c := range l.pending {
		if c.held {
			c.end()
		}
	}
}

// release gives a lease back, so that others need not wait for its end.
func (l *Leases) release(ctx context.Context, name string) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), roundLimit)
	defer cancel()
	if _, err := l.own.Exec(ctx, `DELETE FROM leases WHERE name = $1 AND holder = $2`, name, l.session); err != nil {
		l.log.WarnContext(ctx, "a lease could not be given back and ends by itself", "work", name, "err", err)
	}
}

// sharer is a living replica and the work that it shares in.
type sharer struct {
	id    string
	wants []string
}

// deal hands each name to one of the replicas that share in it, in turn, and
// returns those of one of them. Every replica that sees the same ones deals the
// same way.
func deal(sharers []sharer, id string) map[string]bool {
	var names []string
	for i := range sharers {
		names = append(names, sharers[i].wants...)
	}
	slices.Sort(names)
	mine := map[string]bool{}
	dealt := make([]int, len(sharers))
	for _, name := range slices.Compact(names) {
		to := -1
		for i := range sharers {
			if slices.Contains(sharers[i].wants, name) && (to < 0 || dealt[i] < dealt[to]) {
				to = i
			}
		}
		dealt[to]++
		mine[name] = sharers[to].id == id
	}
	return mine
}

// Lead calls run whenever this replica holds the named work; at most one
// replica does. run's ctx ends when the work is lost or ctx ends; then Lead
// waits for run and tries again, until ctx ends. A run that returns before its
// ctx has ended also ends Lead, with its error.
func (l *Leases) Lead(ctx context.Context, name string, run func(ctx context.Context) error) error {
	return l.work(ctx, []string{name}, false, func(ctx context.Context, _ string) error { return run(ctx) })
}

// Share calls run, each in a goroutine of its own, for this replica's fair part
// of the names: those who share in the same names deal them out in their sorted
// order, and anew when a replica comes or goes. A name is run by one replica at
// a time. Otherwise it is as Lead.
func (l *Leases) Share(ctx context.Context, names []string, run func(ctx context.Context, name string) error) error {
	return l.work(ctx, names, true, run)
}

func (l *Leases) work(ctx context.Context, names []string, shared bool, run func(context.Context, string) error) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	var (
		mu    sync.Mutex
		errs  []error
		tasks sync.WaitGroup
	)
	ended := func(err error) {
		mu.Lock()
		defer mu.Unlock()
		errs = append(errs, err)
		cancel()
	}
	if l == nil {
		for _, name := range names {
			tasks.Go(func() {
				if err := run(ctx, name); ctx.Err() == nil {
					ended(err)
				}
			})
		}
		tasks.Wait()
		return errors.Join(errs...)
	}
	claims := make([]*claim, len(names))
	l.mu.Lock()
	for i, name := range names {
		claims[i] = &claim{name: name, shared: shared, ctx: ctx}
		claims[i].take = func(c *claim) {
			tasks.Go(func() {
				err := run(c.ctx, c.name)
				if c.ctx.Err() == nil {
					ended(err)
				}
				l.log.InfoContext(ctx, "this replica gave up", "work", c.name)
				l.release(ctx, c.name)
				l.mu.Lock()
				c.timer.Stop()
				c.end()
				c.held, c.ctx = false, ctx
				l.mu.Unlock()
			})
		}
		l.pending[claims[i]] = struct{}{}
	}
	l.mu.Unlock()
	l.lookNow()
	<-ctx.Done()
	l.mu.Lock()
	for _, c := range claims {
		delete(l.pending, c)
	}
	l.mu.Unlock()
	tasks.Wait()
	return errors.Join(errs...)
}

func (l *Leases) lookNow() {
	select {
	case l.kick <- struct{}{}:
	default:
	}
}

// Replicas lists the replicas that are alive, by id.
func (l *Leases) Replicas(ctx context.Context) ([]Replica, error) {
	if l == nil {
		return nil, nil
	}
	rows, err := l.pool.Query(ctx, `SELECT r.replica_id, r.roles, r.started_at, r.seen_at,
		ARRAY(SELECT name FROM leases WHERE holder = r.session AND expires_at > now() ORDER BY name)
		FROM replicas r WHERE r.seen_at > now() - $1::interval`, TTL)
	if err != nil {
		return nil, fmt.Errorf("list replicas: %w", err)
	}
	replicas, err := pgx.CollectRows(rows, func(row pgx.CollectableRow) (r Replica, err error) {
		return r, row.Scan(&r.ID, &r.Roles, &r.StartedAt, &r.SeenAt, &r.Holds)
	})
	if err != nil {
		return nil, fmt.Errorf("list replicas: %w", err)
	}
	slices.SortFunc(replicas, func(a, b Replica) int { return cmp.Compare(a.ID, b.ID) })
	return replicas, nil
}
