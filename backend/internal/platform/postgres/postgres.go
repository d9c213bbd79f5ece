// Package postgres owns the one PostgreSQL of an installation: it finds or
// starts the server, brings the schema up to date, keeps a bounded pool that
// works as causality_app, and hears its notifications. It refuses to know any
// table: rooms bring their own SQL, and tenancy brings the scope.
//
// Without a configured URL the server is a child process with its cluster in
// Config.Dir, reached through a socket only its owner can enter. A cluster of
// another major version, or anything else that is found in that place, is
// refused and never touched.
package postgres

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
)

// AppRole is the role that the server works as. It owns nothing and is subject
// to row-level security.
const AppRole = "causality_app"

// Config says where PostgreSQL is. Zero values select the stated defaults.
type Config struct {
	// URL of a server that somebody else runs (DATABASE_URL); its role owns the
	// schema. Empty: a child process serves the cluster in Dir.
	URL string
	// Dir holds the cluster of the child, and beside it Dir.lock and Dir.log.
	Dir string
	// BinDir holds postgres and initdb. Empty: PATH, then the directories where
	// distributions put them, the newest first.
	BinDir string
	// Settings are passed to the child after our own, as "-c name=value".
	Settings map[string]string
	// MaxConns bounds the pool; default 16.
	MaxConns int32
	// StatementTimeout ends a statement that runs away; default 30 s. A
	// transaction that needs longer says so with SET LOCAL.
	StatementTimeout time.Duration
	// ConnectTimeout bounds how long Open waits for a configured server, and each
	// later attempt to connect; default 10 s.
	ConnectTimeout time.Duration
	// StartTimeout bounds how long Open waits for the child, which may have to
	// recover from a crash; default 2 min.
	StartTimeout time.Duration
	// Fill, when set, is called before the schema is migrated, with the owner's
	// connection and the directory of PostgreSQL's programs: a backup is restored
	// there. Its failure is Open's.
	Fill   func(ctx context.Context, owner *pgx.ConnConfig, binDir string) error
	Logger *slog.Logger // required
}

func (c *Config) complete() error {
	if c.Logger == nil {
		return errors.New("postgres: Config.Logger is required")
	}
	if c.URL == "" && c.Dir == "" {
		return errors.New("postgres: set a database URL or a directory for the database")
	}
	if c.MaxConns <= 0 {
		c.MaxConns = 16
	}
	if c.StatementTimeout <= 0 {
		c.StatementTimeout = 30 * time.Second
	}
	if c.ConnectTimeout <= 0 {
		c.ConnectTimeout = 10 * time.Second
	}
	if c.StartTimeout <= 0 {
		c.StartTimeout = 2 * time.Minute
	}
	return nil
}

// Server is an open, migrated database.
type Server struct {
	cfg     Config
	cluster *cluster // nil when the URL is configured
	owner   *pgx.ConnConfig
	pool    *pgxpool.Pool
	hub     *hub

	closeOnce sync.Once
	closeErr  error
}

// Open connects to the configured server or starts the child, creates the
// cluster at the first start, and migrates. When it fails, nothing is left
// running. Its errors are sentences for the person who starts the server.
func Open(ctx context.Context, cfg Config) (*Server, error) {
	if err := cfg.complete(); err != nil {
		return nil, err
	}
	s := &Server{cfg: cfg}
	if err := s.open(ctx); err != nil {
		stop, cancel := context.WithTimeout(context.WithoutCancel(ctx), 30*time.Second)
		defer cancel()
		return nil, errors.Join(err, s.Close(stop))
	}
	return s, nil
}

func (s *Server) open(ctx context.Context) (err error) {
	if s.cfg.URL != "" {
		s.owner, err = pgx.ParseConfig(s.cfg.URL)
		if err != nil {
			// pgx's message repeats the URL, with its password taken out.
			return fmt.Errorf("the database URL cannot be read: %w", err)
		}
		s.owner.ConnectTimeout = s.cfg.ConnectTimeout
	} else {
		s.cluster, err = openCluster(ctx, s.cfg)
		if err != nil {
			return err
		}
		if s.owner, err = s.cluster.database(ctx, s.cfg.ConnectTimeout); err != nil {
			return err
		}
	}
	if err := s.fill(ctx); err != nil {
		return err
	}
	if err := migrate(ctx, s.owner, s.cfg.Logger); err != nil {
		return err
	}
	if s.pool, err = s.newPool(ctx); err != nil {
		return err
	}
	s.hub = newHub(s.pool.Config().ConnConfig, s.cfg.Logger)
	return nil
}

func (s *Server) fill(ctx context.Context) error {
	if s.cfg.Fill == nil {
		return nil
	}
	if err := ensureAppRole(ctx, s.owner); err != nil {
		return err
	}
	if s.cluster != nil {
		return s.cfg.Fill(ctx, s.owner.Copy(), s.cluster.bin.dir)
	}
	dir, _, err := Find(ctx, s.cfg.BinDir)
	if err != nil {
		return err
	}
	return s.cfg.Fill(ctx, s.owner.Copy(), dir)
}

func (s *Server) newPool(ctx context.Context) (*pgxpool.Pool, error) {
	cfg, err := pgxpool.ParseConfig("")
	if err != nil {
		return nil, fmt.Errorf("pool: %w", err)
	}
	cfg.ConnConfig = s.owner.Copy()
	cfg.ConnConfig.ConnectTimeout = s.cfg.ConnectTimeout
	cfg.MaxConns = s.cfg.MaxConns
	cfg.MinConns = 0
	cfg.MaxConnIdleTime = time.Minute // an idle backend holds some megabytes
	cfg.MaxConnLifetime = time.Hour
	cfg.HealthCheckPeriod = 15 * time.Second
	setup := fmt.Sprintf("SET ROLE %s; SET statement_timeout = %d; SET idle_in_transaction_session_timeout = '2min'; SET TIME ZONE 'UTC'",
		AppRole, s.cfg.StatementTimeout.Milliseconds())
	cfg.ConnConfig.AfterConnect = nil
	cfg.AfterConnect = func(ctx context.Context, conn *pgx.Conn) error {
		_, err := conn.Exec(ctx, setup)
		return err
	}
	pool, err := pgxpool.NewWithConfig(ctx, cfg)
	if err != nil {
		return nil, fmt.Errorf("pool: %w", err)
	}
	return pool, nil
}

// Pool works as causality_app. Tenants' rows are reached through tenancy.DB,
// which brings the scope that they need.
func (s *Server) Pool() *pgxpool.Pool { return s.pool }

// OwnerConfig connects as the owner of the schema: for migrations and tests,
// never for serving.
func (s *Server) OwnerConfig() *pgx.ConnConfig { return s.owner.Copy() }

// State says how well the database serves.
type State string

const (
	OK       State = "ok"
	Degraded State = "degraded" // serves slowly, or was restarted within the last minute
	Down     State = "down"
)

// Status is what the health page shows.
type Status struct {
	State      State
	Message    string // a sentence unless the state is ok
	Version    string // as the server says it, such as "15.18"; empty while down
	Supervised bool
	PID        int // of the supervised server; 0 while there is none
}

// Status asks the server, and waits for two seconds at most.
func (s *Server) Status(ctx context.Context) Status {
	status := Status{State: OK, Supervised: s.cluster != nil}
	if s.cluster != nil {
		status.PID = s.cluster.pid()
	}
	ctx, cancel := context.WithTimeout(ctx, 2*time.Second)
	defer cancel()
	began := time.Now()
	err := s.pool.QueryRow(ctx, "SELECT split_part(current_setting('server_version'), ' ', 1)").Scan(&status.Version)
	switch {
	case err != nil && s.cluster != nil && status.PID == 0:
		status.State, status.Message = Down, "PostgreSQL stopped and is being started again."
	case err != nil:
		status.State, status.Message = Down, "PostgreSQL does not answer: "+reason(err)+"."
	case time.Since(began) > time.Second:
		status.State, status.Message = Degraded, "PostgreSQL needs more than a second to answer."
	case s.cluster != nil && s.cluster.restartedWithin(time.Minute):
		status.State, status.Message = Degraded, "PostgreSQL was started again within the last minute."
	}
	return status
}

// Run keeps the child alive, restarting it with a growing pause, and delivers
// notifications to listeners. It returns nil when ctx ends; the server stays up
// until Close.
func (s *Server) Run(ctx context.Context) error {
	var work sync.WaitGroup
	work.Go(func() { s.hub.run(ctx) })
	if s.cluster != nil {
		work.Go(func() { s.cluster.run(ctx) })
	}
	work.Wait()
	return nil
}

// Close ends the pool and stops the child, which finishes what it has begun and
// writes a clean shutdown; when ctx ends first it is stopped at once and
// recovers at its next start. Close can be repeated.
func (s *Server) Close(ctx context.Context) error {
	s.closeOnce.Do(func() {
		if s.pool != nil {
			closed := make(chan struct{})
			go func() {
				s.pool.Close() // waits for connections that are in use
				close(closed)
			}()
			select {
			case <-closed:
			case <-time.After(5 * time.Second): // stopping the server ends them
			case <-ctx.Done():
			}
		}
		if s.cluster != nil {
			s.closeErr = s.cluster.close(ctx)
		}
	})
	return s.closeErr
}
