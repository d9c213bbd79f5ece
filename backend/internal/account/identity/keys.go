package identity

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/causality-project/causality/backend/internal/account/tenancy"
	"github.com/causality-project/causality/backend/internal/platform/fault"
	"github.com/causality-project/causality/backend/internal/platform/postgres"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	"golang.org/x/time/rate"
)

// Key is what the front door knows of a key.
type Key struct {
	ID, WorkspaceID, AppID string
	Kind                   string  // write or secret
	RateLimit              float64 // events a second; 0: none
	IPPolicy               string  // of its app: keep, truncate or drop
}

const (
	// maxKnown bounds the keys in memory, about 40 MB.
	maxKnown = 100_000
	// maxMissing bounds the unknown keys that are remembered as such.
	maxMissing = 10_000
	missingFor = time.Minute

	lookUpsPerSecond = 200
	lookUpBurst      = 400
	lookUpsAtOnce    = 4
	lookUpTimeout    = 3 * time.Second

	touchEvery = time.Minute
	maxTouched = 4096
)

// Keys answers which key a request carries, from memory: it starts with all
// usable keys and hears of every change. A key that it has not seen is looked
// up, a bounded number of times a second. While the database is away the keys
// in memory keep working.
type Keys struct {
	db   *tenancy.DB
	pool *pgxpool.Pool
	log  *slog.Logger

	known sync.Map     // digest → *entry; read without a lock
	count atomic.Int64 // of known, roughly
	epoch atomic.Int64 // moves every touchEvery

	mu       sync.Mutex
	heard    bool                 // notifications arrive
	moves    uint64               // counts notifications: a read that straddles one is not kept
	missing  map[digest]time.Time // until when a key is held to be unknown
	notified []digest             // while loading: what has changed meanwhile
	loading  bool

	limiter *rate.Limiter
	slots   chan struct{}
	load    chan struct{} // holds one token when everything is to be loaded anew
	touched chan string   // ids of keys in use
}

type entry struct {
	key     Key
	expires time.Time // zero: never
	revoked bool
	touched atomic.Int64 // the epoch in which use was last noted
}

// Listening is what Keys needs of postgres.Server.
type Listening interface {
	Pool() *pgxpool.Pool
	Listen(channel string, l postgres.Listener)
}

// NewKeys reads keys from server, and manages them through db. Run keeps them
// warm.
func NewKeys(db *tenancy.DB, server Listening, log *slog.Logger) *Keys {
	k := &Keys{
		db: db, pool: server.Pool(), log: log,
		missing: map[digest]time.Time{},
		limiter: rate.NewLimiter(lookUpsPerSecond, lookUpBurst),
		slots:   make(chan struct{}, lookUpsAtOnce),
		load:    make(chan struct{}, 1),
		touched: make(chan string, maxTouched),
	}
	k.epoch.Store(1)
	server.Listen("causality_keys", postgres.Listener{
		Up: func(context.Context) {
			k.hear(true)
			k.loadSoon()
		},
		Notify: k.notify,
		Down:   func() { k.hear(false) },
	})
	return k
}

// Find returns the key with the text raw. It fails with fault.Unauthenticated
// for an unknown key, fault.Denied for a revoked or expired one,
// fault.RateLimited while too many unknown keys are tried, and
// fault.Unavailable when the key is not in memory and the database is away.
//
// It is called for every request: a known key costs one hash and one lock-free
// look-up.
func (k *Keys) Find(ctx context.Context, raw string) (Key, error) {
	var text [64]byte
	if len(raw) > len(text) {
		return Key{}, errUnknownKey()
	}
	hash := sha256.Sum256(text[:copy(text[:], raw)])
	if found, ok := k.known.Load(hash); ok {
		return k.judge(found.(*entry))
	}
	if !wellFormed(raw) {
		return Key{}, errUnknownKey()
	}
	found, err := k.lookUp(ctx, hash)
	if err != nil {
		return Key{}, err
	}
	if found == nil {
		return Key{}, errUnknownKey()
	}
	return k.judge(found)
}

func (k *Keys) judge(e *entry) (Key, error) {
	switch {
	case e.revoked:
		return Key{}, fault.New(fault.Denied, "This key was revoked. Use another key of the app; the web app lists them under Settings")
	case !e.expires.IsZero() && !time.Now().Before(e.expires):
		return Key{}, fault.New(fault.Denied, "This key was rotated and is no longer valid. Use its successor; the web app lists keys under Settings")
	}
	if epoch := k.epoch.Load(); e.touched.Load() != epoch && e.touched.Swap(epoch) != epoch {
		select {
		case k.touched <- e.key.ID:
		default: // so many keys in one minute that this one waits for the next
		}
	}
	return e.key, nil
}

func errUnknownKey() error {
	return fault.New(fault.Unauthenticated, "This key is not known. Check it for missing characters, or create one with: causality keys create --app APP --kind write")
}

// lookUp asks the database about a key that is not in memory; nil is unknown.
func (k *Keys) lookUp(ctx context.Context, hash digest) (*entry, error) {
	if k.isMissing(hash) {
		return nil, nil
	}
	if !k.limiter.Allow() {
		return nil, &fault.Error{Kind: fault.RateLimited, Message: "Too many unknown keys were tried. Try again in a second", RetryAfter: time.Second}
	}
	ctx, cancel := context.WithTimeout(ctx, lookUpTimeout)
	defer cancel()
	select {
	case k.slots <- struct{}{}:
		defer func() { <-k.slots }()
	case <-ctx.Done():
		return nil, keyOutage(ctx.Err())
	}
	// Another request may have brought it while this one waited.
	if found, ok := k.known.Load(hash); ok {
		return found.(*entry), nil
	}
	found, err := k.refresh(ctx, hash)
	if err != nil {
		return nil, keyOutage(err)
	}
	return found, nil
}

func keyOutage(err error) error {
	return &fault.Error{
		Kind:       fault.Unavailable,
		Message:    "The key cannot be checked, because the database is away. Send again in a few seconds",
		RetryAfter: 5 * time.Second,
		Err:        err,
	}
}

// refresh reads one key and keeps what it found, unless the key changed while
// it was read; then it reads again.
func (k *Keys) refresh(ctx context.Context, hash digest) (*entry, error) {
	for attempt := 0; ; attempt++ {
		k.mu.Lock()
		moves := k.moves
		k.mu.Unlock()
		found := &entry{}
		err := scanEntry(k.pool.QueryRow(ctx, "SELECT key_id::text, workspace_id::text, app_id::text, kind, rate_limit, ip_policy, expires_at, revoked_at IS NOT NULL FROM find_key($1)", hash[:]), found)
		if errors.Is(err, pgx.ErrNoRows) {
			found = nil
		} else if err != nil {
			return nil, fmt.Errorf("find key: %w", err)
		}
		k.mu.Lock()
		if k.moves != moves && attempt < 10 {
			k.mu.Unlock()
			continue
		}
		if k.moves == moves {
			k.keep(hash, found)
		}
		k.mu.Unlock()
		return found, nil
	}
}

func scanEntry(row pgx.Row, e *entry, before ...any) error {
	var expires *time.Time
	err := row.Scan(append(before, &e.key.ID, &e.key.WorkspaceID, &e.key.AppID, &e.key.Kind, &e.key.RateLimit, &e.key.IPPolicy, &expires, &e.revoked)...)
	if expires != nil {
		e.expires = *expires
	}
	return err
}

// keep remembers an answer; nil is unknown. k.mu is held.
func (k *Keys) keep(hash digest, found *entry) {
	if found == nil {
		k.drop(hash)
		if len(k.missing) >= maxMissing {
			clear(k.missing)
		}
		k.missing[hash] = time.Now().Add(missingFor)
		return
	}
	delete(k.missing, hash)
	old, replaced := k.known.Swap(hash, found)
	if replaced {
		found.touched.Store(old.(*entry).touched.Load())
		return
	}
	if k.count.Add(1) <= maxKnown {
		return
	}
	// Any tenth goes: who is used still comes back with one look-up.
	spare := maxKnown / 10
	k.known.Range(func(key, _ any) bool {
		if key != hash {
			k.drop(key.(digest))
			spare--
		}
		return spare > 0
	})
}

func (k *Keys) drop(hash digest) {
	if _, was := k.known.LoadAndDelete(hash); was {
		k.count.Add(-1)
	}
}

func (k *Keys) isMissing(hash digest) bool {
	k.mu.Lock()
	defer k.mu.Unlock()
	until, ok := k.missing[hash]
	return ok && k.heard && time.Now().Before(until)
}

func (k *Keys) hear(heard bool) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.heard = heard
	k.moves++
	clear(k.missing)
}

// notify hears that a key was made or changed: the payload is its hash.
func (k *Keys) notify(ctx context.Context, payload string) {
	text, err := hex.DecodeString(payload)
	if err != nil || len(text) != sha256.Size {
		k.log.WarnContext(ctx, "notification about a key is no hash", "payload", payload)
		return
	}
	k.changed(ctx, digest(text))
}

// changed reads a key anew. When that fails it is forgotten, so that a revoked
// key cannot live on in memory.
func (k *Keys) changed(ctx context.Context, hash digest) {
	k.mu.Lock()
	k.moves++
	delete(k.missing, hash)
	if k.loading {
		k.notified = append(k.notified, hash)
	}
	k.mu.Unlock()
	ctx, cancel := context.WithTimeout(ctx, lookUpTimeout)
	defer cancel()
	if _, err := k.refresh(ctx, hash); err != nil {
		k.drop(hash)
		k.log.WarnContext(ctx, "changed key could not be read; it is looked up when it is used", "err", err)
	}
}

func (k *Keys) loadSoon() {
	select {
	case k.load <- struct{}{}:
	default:
	}
}

// Run loads keys when listening begins, and notes which are used, at most once
// a minute each. It returns nil when ctx ends.
func (k *Keys) Run(ctx context.Context) error {
	tick := time.NewTicker(touchEvery)
	defer tick.Stop()
	retry := time.NewTimer(time.Hour)
	defer retry.Stop()
	for {
		select {
		case <-ctx.Done():
			last, cancel := context.WithTimeout(context.WithoutCancel(ctx), 2*time.Second)
			defer cancel()
			k.noteUse(last)
			return nil
		case <-tick.C:
			k.epoch.Add(1)
			k.noteUse(ctx)
		case <-k.load:
			if err := k.loadAll(ctx); err != nil && ctx.Err() == nil {
				k.log.WarnContext(ctx, "keys could not be loaded", "err", err)
				retry.Reset(time.Second)
			} else {
				k.noteUse(ctx)
			}
		case <-retry.C:
			k.loadSoon()
		}
	}
}

// loadAll replaces what is in memory by what the database holds, so that
// nothing that changed unheard survives.
func (k *Keys) loadAll(ctx context.Context) error {
	k.mu.Lock()
	k.loading, k.notified = true, nil
	k.mu.Unlock()
	defer func() {
		k.mu.Lock()
		again := k.notified
		k.loading, k.notified = false, nil
		k.mu.Unlock()
		for _, hash := range again {
			k.changed(ctx, hash)
		}
	}()
	ctx, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	rows, err := k.pool.Query(ctx, "SELECT key_hash, key_id::text, workspace_id::text, app_id::text, kind, rate_limit, ip_policy, expires_at, revoked_at IS NOT NULL FROM usable_keys($1)", maxKnown)
	if err != nil {
		return fmt.Errorf("load keys: %w", err)
	}
	defer rows.Close()
	usable := map[digest]*entry{}
	for rows.Next() {
		var hash []byte
		e := &entry{}
		if err := scanEntry(rows, e, &hash); err != nil {
			return fmt.Errorf("load keys: %w", err)
		}
		usable[digest(hash)] = e
	}
	if err := rows.Err(); err != nil {
		return fmt.Errorf("load keys: %w", err)
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	k.moves++ // a look-up that began before may be older than this
	k.known.Range(func(key, _ any) bool {
		if _, still := usable[key.(digest)]; !still {
			k.drop(key.(digest))
		}
		return true
	})
	for hash, e := range usable {
		k.keep(hash, e)
	}
	return nil
}

// noteUse writes when the keys that wait were last used. It may be lost.
func (k *Keys) noteUse(ctx context.Context) {
	var ids []string
	for len(ids) < maxTouched {
		select {
		case id := <-k.touched:
			ids = append(ids, id)
			continue
		default:
		}
		break
	}
	if len(ids) == 0 {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	if _, err := k.pool.Exec(ctx, "SELECT touch_keys($1::uuid[])", ids); err != nil && ctx.Err() == nil {
		k.log.WarnContext(ctx, "use of keys could not be noted", "keys", len(ids), "err", err)
	}
}
