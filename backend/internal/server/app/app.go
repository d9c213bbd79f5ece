// Package app is the one place where everything is put together: configuration,
// the data directory, every room with its neighbours, and the order in which
// they start and stop. It decides nothing about events, questions or people.
package app

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"runtime"
	"runtime/debug"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"golang.org/x/sync/errgroup"

	"github.com/causality-project/causality/backend/internal/account/identity"
	"github.com/causality-project/causality/backend/internal/account/identity/identityrpc"
	"github.com/causality-project/causality/backend/internal/account/tenancy"
	"github.com/causality-project/causality/backend/internal/account/tenancy/tenancyrpc"
	"github.com/causality-project/causality/backend/internal/analysis/query"
	"github.com/causality-project/causality/backend/internal/analysis/query/duckdb"
	"github.com/causality-project/causality/backend/internal/analysis/query/lakesource"
	"github.com/causality-project/causality/backend/internal/analysis/query/trino"
	"github.com/causality-project/causality/backend/internal/pipeline/catalog"
	"github.com/causality-project/causality/backend/internal/pipeline/ingest"
	"github.com/causality-project/causality/backend/internal/pipeline/ingest/ingestrpc"
	"github.com/causality-project/causality/backend/internal/pipeline/lake"
	"github.com/causality-project/causality/backend/internal/pipeline/lake/lakerpc"
	"github.com/causality-project/causality/backend/internal/pipeline/live"
	"github.com/causality-project/causality/backend/internal/pipeline/stream"
	"github.com/causality-project/causality/backend/internal/platform/fault"
	"github.com/causality-project/causality/backend/internal/platform/lease"
	"github.com/causality-project/causality/backend/internal/platform/objstore"
	"github.com/causality-project/causality/backend/internal/platform/postgres"
	"github.com/causality-project/causality/backend/internal/platform/telemetry"
	"github.com/causality-project/causality/backend/internal/server/backup"
	"github.com/causality-project/causality/backend/internal/server/health"
	"github.com/causality-project/causality/backend/internal/server/web"
)

// stopTimeout is what each step of stopping may take before the next is begun.
// Most take milliseconds; it is for answers in hand, and for a step that hangs.
const stopTimeout = 20 * time.Second

// App is a running process.
type App struct {
	cfg     resolved
	log     *slog.Logger
	dir     *dataDir
	started time.Time
	address net.Addr
	users   *identity.Users
	owner   string // of the default workspace
	web     *web.Server

	failed chan error // the first background failure
	stops  []step     // in the order of starting
	once   sync.Once
	err    error
}

type step struct {
	name string
	stop func(context.Context) error
}

// Start brings everything up and returns when it serves. On failure nothing is
// left running. version is the program's own.
func Start(ctx context.Context, cfg Config, version string, log *slog.Logger) (_ *App, err error) {
	checked, err := cfg.resolve()
	if err != nil {
		return nil, err
	}
	a := &App{cfg: checked, log: log, started: time.Now(), failed: make(chan error, 1)}
	defer func() {
		if err != nil {
			err = errors.Join(err, a.Close(context.WithoutCancel(ctx)))
		}
	}()
	if a.dir, err = openDataDir(checked.Data); err != nil {
		return nil, err
	}
	a.onStop("lock", func(context.Context) error { return a.dir.Close() })
	// Listening comes before everything that takes time: a port in use is said at
	// once, and whoever calls meanwhile waits instead of being refused.
	listeners, err := a.listen()
	if err != nil {
		return nil, err
	}
	traces, err := telemetry.NewTraces(ctx, version)
	if err != nil {
		return nil, err
	}
	a.onStop("traces", traces.Close)
	handlers, parts, err := a.rooms(ctx, version)
	if err != nil {
		return nil, err
	}
	webConfig := web.Config{
		PublicURL: checked.publicURL, TrustedProxies: checked.proxies, Auth: parts.auth, Apps: parts.apps,
		Handlers: handlers, Roles: checked.roles.String(), Registry: parts.registry, Traces: traces.Provider, Logger: log,
		SDKPaths: checked.SDKPaths, IngestPaths: checked.IngestPaths,
	}
	if err := a.serve(webConfig, parts, listeners); err != nil {
		return nil, err
	}
	a.web.SetReady(true)
	log.InfoContext(ctx, "ready", "url", a.URL(), "data", checked.Data, "version", version, "seconds", time.Since(a.started).Seconds())
	return a, nil
}

type listeners struct{ tcp, local, metrics net.Listener }

func (a *App) listen() (l listeners, err error) {
	open := func(flag, address string) (net.Listener, error) {
		listener, err := listenOn(flag, address)
		if err != nil {
			return nil, err
		}
		a.onStop("listener", func(context.Context) error { return ignoreClosed(listener.Close()) })
		return listener, nil
	}
	if l.tcp, err = open("--listen", a.cfg.Listen); err != nil {
		return l, err
	}
	a.address = l.tcp.Addr()
	if a.cfg.MetricsListen != "" {
		if l.metrics, err = open("--metrics-listen", a.cfg.MetricsListen); err != nil {
			return l, err
		}
	}
	return l, nil
}

// listenOn opens the address that a flag names.
func listenOn(flag, address string) (net.Listener, error) {
	listener, err := net.Listen("tcp", address)
	if errors.Is(err, syscall.EADDRINUSE) {
		return nil, fmt.Errorf("another program listens on %s already; stop it or choose another address with %s", address, flag)
	}
	if err != nil {
		return nil, fmt.Errorf("cannot listen on %s: %w; choose another address with %s", address, err, flag)
	}
	return listener, nil
}

// parts are what the doors need of the rooms.
type parts struct {
	auth     *identity.Authenticator
	apps     *tenancy.Apps
	registry *prometheus.Registry
	live     *live.Hub
}

// rooms opens the stores and puts the rooms on them.
func (a *App) rooms(ctx context.Context, version string) (h web.Handlers, p parts, err error) {
	database, events, err := a.stores(ctx)
	if err != nil {
		return h, p, err
	}
	objects, readable, err := a.readableObjects(ctx)
	if err != nil {
		return h, p, err
	}
	p.registry = telemetry.NewRegistry()
	db := tenancy.NewDB(database.Pool(), a.log)
	p.apps = tenancy.NewApps(db, database)
	keys := identity.NewKeys(db, database, a.log)
	a.users = identity.NewUsers(db, database.Pool())
	p.auth = identity.NewAuthenticator(a.users, keys)
	workspace, err := a.users.EnsureDefault(ctx)
	if err != nil {
		return h, p, err
	}
	owner, err := a.users.Owner(ctx, workspace.ID)
	if err != nil {
		return h, p, err
	}
	a.owner = owner.ID
	a.background("PostgreSQL", database.Run)
	a.background("keys", keys.Run)

	leases := lease.New(database.Pool(), a.dir.marker.Replica, a.cfg.roles.String(), a.log)
	a.background("leases", leases.Run)
	seen := catalog.New(db)
	publication, err := lake.NewPublication(lake.PublicationConfig{
		Objects: objects, DB: db, Root: a.objectsRoot(), Off: a.cfg.Publish == "", Logger: a.log,
	})
	if err != nil {
		return h, p, err
	}
	store, err := lake.New(lake.Config{
		Objects: objects, DB: db, Stream: events, Catalog: seen, CacheDir: a.dir.join("cache"), Leases: leases,
		Land: a.cfg.roles.sink, Maintain: a.cfg.roles.worker, Publication: publication,
		MaxRows: a.cfg.SinkMaxRows, MaxBytes: int(a.cfg.SinkMaxBytes), MaxAge: a.cfg.SinkMaxAge, Logger: a.log,
	})
	if err != nil {
		return h, p, err
	}
	if a.cfg.roles.worker {
		if err := a.settleRestore(ctx, database, db, store); err != nil {
			return h, p, err
		}
	}
	a.background("lake", store.Run)
	if a.cfg.roles.ingest {
		front, err := ingest.New(ingest.Config{Keys: keys, Apps: p.apps, Stream: events, Metrics: p.registry, Logger: a.log})
		if err != nil {
			return h, p, err
		}
		h.Ingest, err = ingestrpc.New(ingestrpc.Config{Front: front, Authenticator: p.auth, Paths: a.cfg.IngestPaths, Metrics: p.registry, Logger: a.log})
		if err != nil {
			return h, p, err
		}
	}
	report := health.New(health.Config{
		Postgres: database, Stream: events, Lake: store, Objects: objects, Apps: p.apps,
		PostgresDir: a.ownDir("postgres", a.cfg.DatabaseURL), StreamDir: a.ownDir("stream", a.cfg.NatsURL),
		Versions: versions(version), Started: a.started, Logger: a.log,
	})
	p.registry.MustRegister(report)
	h.Health = report
	h.Lake = lakerpc.New(store, p.apps)
	if !a.cfg.roles.api {
		return h, p, nil
	}
	p.live = live.New(events, a.log)
	a.background("live", p.live.Run)
	source := lakesource.Promoted(lakesource.New(store), seen)
	var engine query.Engine
	if a.cfg.QueryEngine == "trino" {
		engine, err = a.trino()
		source = lakesource.Published(source, publication)
	} else {
		engine, err = a.duckdb(readable)
	}
	if err != nil {
		return h, p, err
	}
	h.API = &web.API{
		Identity: identityrpc.New(identityrpc.Config{Users: a.users, Keys: keys, Apps: p.apps, PublicURL: a.URL}),
		Tenancy:  tenancyrpc.New(p.apps, keys),
	}
	return h, p, a.answers(h.API, p, seen, source, engine)
}

// settleRestore compares the manifest of a database that came out of a backup
// with the objects, before anything is collected.
func (a *App) settleRestore(ctx context.Context, database *postgres.Server, db *tenancy.DB, store *lake.Lake) error {
	var unfinished, restored bool
	if err := database.Pool().QueryRow(ctx, "SELECT to_regnamespace($1) IS NOT NULL", backup.Unfinished).Scan(&unfinished); err != nil {
		return fmt.Errorf("look for a restored backup: %w", err)
	}
	if unfinished { // the restore was cut off at its end
		if err := backup.Finish(ctx, database.OwnerConfig()); err != nil {
			return err
		}
	}
	if err := database.Pool().QueryRow(ctx, "SELECT EXISTS (SELECT FROM lake_restores WHERE rebuilt_at IS NULL)").Scan(&restored); err != nil {
		return fmt.Errorf("look for a restored backup: %w", err)
	}
	if !restored {
		return nil
	}
	a.log.InfoContext(ctx, "this database was restored from a backup: comparing the manifest with the objects")
	workspaces, err := db.Workspaces(ctx)
	if err != nil {
		return err
	}
	for _, workspaceID := range workspaces {
		err := store.Rebuild(tenancy.WithWorkspace(ctx, workspaceID), "", func(p lake.RebuildProgress) {
			for _, problem := range p.Problems {
				a.log.WarnContext(ctx, "after the restore", "object", problem.Object, "problem", problem.What)
			}
		})
		if err != nil {
			return fmt.Errorf("compare the restored manifest with the objects: %w", err)
		}
	}
	if _, err := database.Pool().Exec(ctx, "UPDATE lake_restores SET rebuilt_at = now() WHERE rebuilt_at IS NULL"); err != nil {
		return fmt.Errorf("note that the restore is settled: %w", err)
	}
	return nil
}

// stores opens PostgreSQL and the stream side by side: each takes most of a
// start's time.
func (a *App) stores(ctx context.Context) (*postgres.Server, *stream.Stream, error) {
	var database *postgres.Server
	var events *stream.Stream
	var group errgroup.Group
	group.Go(func() (err error) {
		database, err = postgres.Open(ctx, a.postgresConfig())
		return err
	})
	group.Go(func() (err error) {
		events, err = stream.Open(ctx, stream.Config{
			Dir: a.dir.join("stream"), URL: a.cfg.NatsURL, MaxBytes: a.cfg.StreamMaxBytes, Shards: a.cfg.StreamShards, Logger: a.log,
			Cluster: a.streamCluster(),
		})
		return err
	})
	err := group.Wait()
	if database != nil {
		a.onStop("PostgreSQL", database.Close)
	}
	if events != nil {
		a.onStop("stream", events.Close)
	}
	return database, events, err
}

// objects opens the object store.
func (a *App) objects(ctx context.Context) (objstore.Store, error) {
	if a.cfg.bucket != nil {
		bucket := *a.cfg.bucket
		bucket.Logger = a.log
		return objstore.NewS3(ctx, bucket)
	}
	// Objects are readable by the query engine's user, who gets their folder handed
	// in; the closed folder around it keeps every other user of the machine out.
	if err := os.MkdirAll(a.dir.join("lake"), 0o700); err != nil {
		return nil, fmt.Errorf("data directory: %w", err)
	}
	return objstore.NewFiles(a.cfg.objects)
}

// readableObjects opens the object store and says in which folder an engine
// reads objects: their own, or that of the local copies of a bucket's.
func (a *App) readableObjects(ctx context.Context) (objects objstore.Store, folder string, err error) {
	if objects, err = a.objects(ctx); err != nil || a.cfg.bucket == nil {
		return objects, a.cfg.objects, err
	}
	bucket := objects.(*objstore.S3)
	if err := bucket.Check(ctx); err != nil {
		// A bucket that is away for a while must not keep ingest from starting:
		// events wait in the stream. What needs a person is said at once.
		var f *fault.Error
		if !errors.As(err, &f) || f.RetryAfter == 0 {
			return nil, "", err
		}
		a.log.WarnContext(ctx, "the object store does not answer; events wait in the stream until it does", "err", err)
	}
	if err := os.MkdirAll(a.dir.join("lake"), 0o700); err != nil { // as for files
		return nil, "", fmt.Errorf("data directory: %w", err)
	}
	cache, err := objstore.NewCache(bucket, objstore.CacheConfig{Dir: filepath.Join(a.dir.join("lake"), "cache"), Bytes: a.cfg.ObjectCache, Logger: a.log})
	if err != nil {
		return nil, "", err
	}
	a.onStop("object cache", cache.Close)
	a.background("object store", cache.Run)
	return cache, cache.Dir(), nil
}

// objectsRoot is how readers of published tables find the root of the objects.
func (a *App) objectsRoot() string {
	if a.cfg.bucket != nil {
		return strings.TrimRight("s3://"+a.cfg.bucket.Bucket+"/"+a.cfg.bucket.Prefix, "/")
	}
	return "file://" + a.cfg.objects
}

func (a *App) duckdb(readable string) (query.Engine, error) {
	engine, err := duckdb.New(duckdb.Config{
		MemoryBytes: a.cfg.QueryMemory, TempDir: a.dir.join("cache"), ReadDirs: []string{readable}, Logger: a.log,
	})
	if err != nil {
		return nil, err
	}
	a.onStop("queries", engine.Close)
	return engine, nil
}

func (a *App) trino() (query.Engine, error) {
	engine, err := trino.New(trino.Config{
		URL: a.cfg.TrinoURL, User: a.cfg.TrinoUser, Password: a.cfg.TrinoPassword, CAFile: a.cfg.TrinoCA, Logger: a.log,
	})
	if err != nil {
		return nil, err
	}
	a.onStop("queries", engine.Close)
	return engine, nil
}

func (a *App) streamCluster() stream.Cluster {
	if a.cfg.NatsCluster == "" {
		return stream.Cluster{}
	}
	return stream.Cluster{
		Name: a.dir.marker.Replica, Listen: a.cfg.NatsCluster, Routes: a.cfg.NatsPeers, ClientListen: a.cfg.NatsListen, Token: a.cfg.NatsToken,
	}
}

func (a *App) postgresConfig() postgres.Config {
	return postgres.Config{URL: a.cfg.DatabaseURL, Dir: a.dir.join("postgres"), BinDir: a.cfg.PostgresBin, Logger: a.log}
}

// serve opens the doors.
func (a *App) serve(cfg web.Config, p parts, l listeners) error {
	// The hub's handler needs the server's end, which exists only after it.
	stopping := make(chan struct{})
	if cfg.Handlers.API != nil {
		cfg.Handlers.Live = p.live.Handler(p.apps, stopping, web.WriteFault(a.log))
	}
	server, err := web.New(cfg)
	if err != nil {
		return err
	}
	a.web = server
	socket := SocketPath(a.cfg.Data)
	if err := makeSocketDir(a.cfg.Data, socket); err != nil {
		return err
	}
	if l.local, err = web.ListenLocal(socket); err != nil {
		return err
	}
	if l.metrics != nil {
		metrics := &http.Server{Handler: telemetry.MetricsHandler(p.registry), ReadTimeout: 10 * time.Second, WriteTimeout: 30 * time.Second}
		a.until("metrics", func() error { return metrics.Serve(l.metrics) }, metrics.Shutdown)
	}
	a.onStop("socket", func(context.Context) error { return ignoreGone(os.Remove(socket)) })
	var group errgroup.Group
	a.until("web", func() error {
		group.Go(func() error { return server.Serve(l.tcp) })
		group.Go(func() error { return server.Serve(l.local) })
		return group.Wait()
	}, func(ctx context.Context) error {
		close(stopping)
		return server.Close(ctx)
	})
	return nil
}

// onStop adds a step of stopping; steps run in the reverse order.
func (a *App) onStop(name string, stop func(context.Context) error) {
	a.stops = append(a.stops, step{name, stop})
}

// background runs something that works until its context ends. Ending before is
// a failure of the process.
func (a *App) background(name string, run func(context.Context) error) {
	ctx, cancel := context.WithCancel(context.Background())
	a.until(name, func() error { return run(ctx) }, func(context.Context) error {
		cancel()
		return nil
	})
}

// until runs something that works until stop is called, and waits for its end.
func (a *App) until(name string, run func() error, stop func(context.Context) error) {
	ended := make(chan error, 1)
	stopping := make(chan struct{})
	go func() {
		err := run()
		select {
		case <-stopping:
		default:
			if err == nil {
				err = errors.New("ended by itself")
			}
			select {
			case a.failed <- fmt.Errorf("%s: %w", name, err):
			default: // an earlier failure is stopping the process already
			}
			err = nil
		}
		ended <- err
	}()
	a.onStop(name, func(ctx context.Context) error {
		close(stopping)
		err := stop(ctx)
		select {
		case runErr := <-ended:
			if errors.Is(runErr, http.ErrServerClosed) || errors.Is(runErr, context.Canceled) {
				runErr = nil
			}
			return errors.Join(err, runErr)
		case <-ctx.Done():
			return errors.Join(err, errors.New("did not end in time"))
		}
	})
}

// Run waits until ctx ends or a part fails, and returns that part's error. Close
// must still be called.
func (a *App) Run(ctx context.Context) error {
	select {
	case <-ctx.Done():
		return nil
	case err := <-a.failed:
		return err
	}
}

// Close stops in the reverse order of starting: intake first, then what works on
// events in hand, the stores last. It may be called again.
func (a *App) Close(ctx context.Context) error {
	a.once.Do(func() {
		var problems []error
		for _, s := range slices.Backward(a.stops) {
			limited, cancel := context.WithTimeout(ctx, stopTimeout)
			if err := s.stop(limited); err != nil {
				problems = append(problems, fmt.Errorf("stop %s: %w", s.name, err))
			}
			cancel()
		}
		a.err = errors.Join(problems...)
	})
	return a.err
}

// URL is where people reach this server.
func (a *App) URL() string {
	if a.cfg.publicURL != nil {
		return strings.TrimRight(a.cfg.publicURL.String(), "/")
	}
	return a.LocalURL()
}

// LocalURL is where programs on this machine reach the server.
func (a *App) LocalURL() string {
	host, port, err := net.SplitHostPort(a.address.String())
	if err != nil {
		return "http://" + a.address.String()
	}
	if ip := net.ParseIP(host); ip != nil && ip.IsUnspecified() {
		host = "localhost"
	}
	return "http://" + net.JoinHostPort(host, port)
}

// Data is the data directory.
func (a *App) Data() string { return a.cfg.Data }

// FirstLink is a link that signs the owner in, at the first start; later it is
// empty.
func (a *App) FirstLink(ctx context.Context) (string, error) {
	if !a.dir.marker.OwnerInvitedAt.IsZero() {
		return "", nil
	}
	link, err := a.link(ctx, identity.FirstLinkValidity)
	if err != nil {
		return "", err
	}
	return link, a.dir.ownerInvited()
}

// Link is a fresh link that signs the owner in.
func (a *App) Link(ctx context.Context) (string, error) { return a.link(ctx, identity.LinkValidity) }

func (a *App) link(ctx context.Context, validity time.Duration) (string, error) {
	token, _, err := a.users.CreateSignInLink(ctx, a.owner, validity)
	if err != nil {
		return "", err
	}
	return identity.SignInURL(a.URL(), token), nil
}

func (a *App) ownDir(name, elsewhere string) string {
	if elsewhere != "" {
		return ""
	}
	return a.dir.join(name)
}

// Migrate brings the database to this version without serving.
func Migrate(ctx context.Context, cfg Config, log *slog.Logger) (err error) {
	checked, err := cfg.resolve()
	if err != nil {
		return err
	}
	dir, err := openDataDir(checked.Data)
	if err != nil {
		return err
	}
	a := &App{cfg: checked, log: log, dir: dir}
	database, err := postgres.Open(ctx, a.postgresConfig())
	if err == nil {
		err = database.Close(context.WithoutCancel(ctx))
	}
	return errors.Join(err, dir.Close())
}

// versions names what the binary is built from.
func versions(own string) []health.Version {
	all := []health.Version{{Name: "Causality", Version: own}, {Name: "Go", Version: strings.TrimPrefix(runtime.Version(), "go")}}
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return all
	}
	for _, module := range info.Deps {
		switch module.Path {
		case "github.com/nats-io/nats-server/v2":
			all = append(all, health.Version{Name: "NATS", Version: strings.TrimPrefix(module.Version, "v")})
		case "github.com/duckdb/duckdb-go-bindings":
			all = append(all, health.Version{Name: "DuckDB", Version: duckdbVersion(module.Version)})
		}
	}
	return all
}

// duckdbVersion reads the engine's version out of the module's: v0.10505.0 is
// DuckDB 1.5.5.
func duckdbVersion(module string) string {
	fields := strings.Split(module, ".")
	if len(fields) == 3 {
		var n int
		if _, err := fmt.Sscanf(fields[1], "%d", &n); err == nil && n >= 10_000 {
			return fmt.Sprintf("%d.%d.%d", n/10_000, n/100%100, n%100)
		}
	}
	return module
}

func ignoreClosed(err error) error {
	if errors.Is(err, net.ErrClosed) {
		return nil
	}
	return err
}

func ignoreGone(err error) error {
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	return err
}
