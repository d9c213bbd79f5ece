// Package lake turns the stream into Parquet objects and knows which of them
// count. It owns the layout of objects, the manifest in PostgreSQL, the sink
// with its dedupe and person links, compaction, retention and erasure, the
// mirror in Iceberg, and the checking and rebuilding of all these. It refuses to
// know how questions are asked: they get a Snapshot.
package lake

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"path/filepath"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/causality-project/causality/backend/internal/account/tenancy"
	"github.com/causality-project/causality/backend/internal/pipeline/catalog"
	"github.com/causality-project/causality/backend/internal/pipeline/lake/seen"
	"github.com/causality-project/causality/backend/internal/pipeline/stream"
	"github.com/causality-project/causality/backend/internal/platform/lease"
	"github.com/causality-project/causality/backend/internal/platform/objstore"
)

// Config says what a Lake works with. Zero values of the bounds select the
// stated defaults.
type Config struct {
	Objects objstore.Store
	DB      *tenancy.DB
	Stream  *stream.Stream
	Catalog *catalog.Catalog

	// Leases shares the work out among replicas; nil: this process alone does
	// what Land and Maintain name.
	Leases   *lease.Leases
	Land     bool // run sinks: land what the stream holds
	Maintain bool // merge, collect, publish, erase: what one replica does for all

	// Publication mirrors the manifest into Iceberg while this process maintains;
	// nil: nothing is published.
	Publication *Publication

	CacheDir   string        // for what can be made anew: seen ids; required
	CacheBytes int64         // of seen ids mapped into memory; default 256 MiB
	MaxRows    int           // of a run of the sink; default 50,000
	MaxBytes   int           // of a run's messages; default 32 MiB
	MaxAge     time.Duration // longest wait for a run to fill; default 1 s

	// Compaction turns the background merging off when negative; otherwise it
	// is the pause between two looks. Default 5 s.
	Compaction time.Duration
	// Grace is how long an object that left the manifest is kept at least;
	// default 15 min.
	Grace time.Duration
	// ForgetPatience is how long an erasure waits for questions that still read
	// an object that is to be deleted; default 1 min.
	ForgetPatience time.Duration

	Logger *slog.Logger // required
}

func (c *Config) complete() error {
	var errs []error
	for name, missing := range map[string]bool{
		"Objects": c.Objects == nil, "DB": c.DB == nil, "Stream": c.Stream == nil, "Catalog": c.Catalog == nil,
		"CacheDir": c.CacheDir == "", "Logger": c.Logger == nil,
	} {
		if missing {
			errs = append(errs, fmt.Errorf("%s is missing", name))
		}
	}
	for name, n := range map[string]int64{"CacheBytes": c.CacheBytes, "MaxRows": int64(c.MaxRows), "MaxBytes": int64(c.MaxBytes), "MaxAge": int64(c.MaxAge), "Grace": int64(c.Grace), "ForgetPatience": int64(c.ForgetPatience)} {
		if n < 0 {
			errs = append(errs, fmt.Errorf("%s is negative", name))
		}
	}
	orDefault(&c.MaxRows, 50_000)
	orDefault(&c.MaxBytes, 32<<20)
	orDefault(&c.MaxAge, time.Second)
	orDefault(&c.Compaction, 5*time.Second)
	orDefault(&c.Grace, 15*time.Minute)
	orDefault(&c.ForgetPatience, forgetPatience)
	return errors.Join(errs...)
}

func orDefault[T comparable](v *T, value T) {
	var zero T
	if *v == zero {
		*v = value
	}
}

// Lake is the store of all apps' events.
type Lake struct {
	cfg  Config
	log  *slog.Logger
	seen *seen.Store

	sinks map[stream.Lane]*sink
	lag   lagMeter
	holds holds
	links linkCache

	listings listings
	resolve  resolver
	warmth   warmth
	late     lateCache

	compacting sync.Mutex // one compaction at a time, whoever asks for it
	compaction compactionState
	erasing    *eraseState
	dead       atomic.Pointer[stream.DeadCount] // the last count
}

// New opens the lake. Nothing runs until Run; questions are answered at once.
func New(cfg Config) (*Lake, error) {
	if err := cfg.complete(); err != nil {
		return nil, fmt.Errorf("lake: invalid configuration: %w", err)
	}
	ids, err := seen.Open(filepath.Join(cfg.CacheDir, "seen"), cfg.CacheBytes)
	if err != nil {
		return nil, fmt.Errorf("lake: %w", err)
	}
	l := &Lake{cfg: cfg, log: cfg.Logger, seen: ids, erasing: newEraseState()}
	l.sinks = map[stream.Lane]*sink{}
	for _, lane := range cfg.Stream.Lanes() {
		l.sinks[lane] = &sink{lake: l, lane: lane}
	}
	return l, nil
}

// Run does this replica's part until ctx ends: it lands events, and maintains
// what has landed. It finishes the run in hand before it returns. It retries
// whatever fails: while PostgreSQL or the object store is away events wait in
// the stream.
func (l *Lake) Run(ctx context.Context) error {
	group, ctx := errgroup.WithContext(ctx)
	l.warmth.begin(ctx)
	if l.cfg.Land {
		group.Go(func() error { return l.land(ctx) })
		if l.cfg.Leases != nil {
			group.Go(func() error { l.warmInBackground(ctx); return nil })
		}
	}
	if l.cfg.Maintain {
		group.Go(func() error { return l.cfg.Leases.Lead(ctx, "maintenance", l.maintain) })
	}
	if l.cfg.Leases != nil {
		group.Go(func() error { l.forgetInBackground(ctx); return nil })
	}
	group.Go(func() error { <-ctx.Done(); return nil }) // a replica without a part answers questions
	err := group.Wait()
	l.warmth.end()
	return errors.Join(err, l.seen.Close())
}

// land runs the sinks of this replica's share of the lanes.
func (l *Lake) land(ctx context.Context) error {
	names := make([]string, 0, len(l.sinks))
	for lane := range l.sinks {
		names = append(names, string(lane))
	}
	return l.cfg.Leases.Share(ctx, names, func(ctx context.Context, name string) error {
		l.sinks[stream.Lane(name)].run(ctx)
		return nil
	})
}

// maintain does what one replica does for all, until ctx ends.
func (l *Lake) maintain(ctx context.Context) error {
	var tasks sync.WaitGroup
	if l.cfg.Compaction > 0 {
		tasks.Go(func() { l.compactInBackground(ctx) })
	}
	tasks.Go(func() { l.collectInBackground(ctx) })
	tasks.Go(func() { l.eraseInBackground(ctx) })
	tasks.Go(func() { l.retainInBackground(ctx) })
	if l.cfg.Publication != nil {
		tasks.Go(func() { l.cfg.Publication.Run(ctx) })
	}
	tasks.Wait()
	return nil
}
