// Package postgrestest gives tests real, migrated databases: one cluster for
// the test process, started at the first use, and a fresh database for each
// test. Everything goes away with the process, however it ends.
package postgrestest

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/causality-project/causality/backend/internal/platform/postgres"
	"github.com/jackc/pgx/v5"
)

const template = "causality" // the supervised cluster's own database, migrated

var (
	shared = sync.OnceValues(startShared)
	serial atomic.Int64
)

// New opens a fresh, migrated database. Its Run is running, so notifications
// are delivered; all of it ends with the test.
func New(t testing.TB) *postgres.Server {
	t.Helper()
	return Open(t, Empty(t))
}

// Empty creates a fresh, migrated database and returns its URL, for tests that
// start a server of their own.
func Empty(t testing.TB) string {
	t.Helper()
	cluster, err := shared()
	if err != nil {
		t.Fatalf("start PostgreSQL for tests: %v", err)
	}
	name := fmt.Sprintf("test_%d", serial.Add(1))
	cluster.exec(t, "CREATE DATABASE "+name+" TEMPLATE "+template)
	t.Cleanup(func() { cluster.exec(t, "DROP DATABASE "+name+" WITH (FORCE)") })
	return fmt.Sprintf("host='%s' port=5432 user=%s dbname=%s sslmode=disable", cluster.admin.Host, cluster.admin.User, name)
}

// Open opens the database behind a URL of Empty, with Run running.
func Open(t testing.TB, url string) *postgres.Server {
	t.Helper()
	return run(t, postgres.Config{URL: url, MaxConns: 8})
}

// Supervised starts a cluster for this test alone, so that its server can be
// killed: Status tells its process id. Costs about a second.
func Supervised(t testing.TB) *postgres.Server {
	t.Helper()
	dir, err := tempDir()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	return run(t, postgres.Config{Dir: filepath.Join(dir, "db"), Settings: map[string]string{"fsync": "off"}})
}

func run(t testing.TB, cfg postgres.Config) *postgres.Server {
	t.Helper()
	cfg.Logger = slog.New(slog.DiscardHandler)
	server, err := postgres.Open(t.Context(), cfg)
	if err != nil {
		t.Fatalf("open database: %v", err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	var running sync.WaitGroup
	running.Go(func() { _ = server.Run(ctx) })
	t.Cleanup(func() {
		cancel()
		running.Wait()
		end, cancel := context.WithTimeout(context.Background(), 20*time.Second)
		defer cancel()
		if err := server.Close(end); err != nil {
			t.Errorf("close database: %v", err)
		}
	})
	return server
}

type cluster struct {
	admin    *pgx.ConnConfig
	server   *postgres.Server // both are kept, or the garbage collector would end them
	lifeline io.Closer
	mu       sync.Mutex // CREATE DATABASE wants its template to itself
}

func (c *cluster) exec(t testing.TB, sql string) {
	t.Helper()
	c.mu.Lock()
	defer c.mu.Unlock()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	conn, err := pgx.ConnectConfig(ctx, c.admin)
	if err != nil {
		t.Fatalf("connect to PostgreSQL for tests: %v", err)
	}
	defer conn.Close(ctx)
	if _, err := conn.Exec(ctx, sql); err != nil {
		t.Fatalf("%s: %v", sql, err)
	}
}

func startShared() (*cluster, error) {
	dir, err := tempDir()
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
	defer cancel()
	server, err := postgres.Open(ctx, postgres.Config{
		Dir:    filepath.Join(dir, "db"),
		Logger: slog.New(slog.DiscardHandler),
		Settings: map[string]string{
			"fsync": "off", "full_page_writes": "off", "max_connections": "200", "autovacuum": "off",
			"shared_buffers": "64MB", "max_worker_processes": "0", "wal_level": "minimal", "max_wal_senders": "0",
		},
	})
	if err != nil {
		return nil, errors.Join(err, os.RemoveAll(dir))
	}
	server.Pool().Close() // the template must have no connections
	admin := server.OwnerConfig()
	admin.Database = "postgres"
	lifeline, err := removeAfterUs(dir, server.Status(ctx).PID)
	if err != nil {
		return nil, errors.Join(err, server.Close(ctx), os.RemoveAll(dir))
	}
	return &cluster{admin: admin, server: server, lifeline: lifeline}, nil
}

// tempDir is short, for sockets, and can be entered by the server's user.
func tempDir() (string, error) {
	dir, err := os.MkdirTemp("", "pgtest")
	if err != nil {
		return "", err
	}
	return dir, os.Chmod(dir, 0o755)
}

// removeAfterUs leaves a shell behind that waits for our end, which it sees by
// its input closing, ends the server and removes the directory. A test process
// has no last moment of its own: it may be killed.
func removeAfterUs(dir string, pid int) (lifeline io.Closer, err error) {
	const script = `read -r _; kill -QUIT "$1" 2>/dev/null; while kill -0 "$1" 2>/dev/null; do sleep 0.05; done; rm -rf -- "$2"`
	cmd := exec.Command("/bin/sh", "-c", script, "sh", strconv.Itoa(pid), dir)
	cmd.Dir = "/"
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if lifeline, err = cmd.StdinPipe(); err != nil {
		return nil, err
	}
	return lifeline, cmd.Start()
}
