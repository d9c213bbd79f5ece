// Package tenancy keeps one workspace's rows from another: it owns the scope
// that a context carries, the transaction that binds it for PostgreSQL's
// row-level security, and the workspaces and apps themselves. It refuses to
// know who is asking; identity decides which workspace a caller may see.
package tenancy

import (
	"context"
	"fmt"
	"log/slog"
	"time"

	"github.com/causality-project/causality/backend/internal/platform/fault"
	"github.com/causality-project/causality/backend/internal/platform/postgres"
	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
)

type scopeKey struct{}

// WithWorkspace scopes ctx to one workspace. An id that is no UUID scopes to
// nothing: every use of it fails.
func WithWorkspace(ctx context.Context, workspaceID string) context.Context {
	return context.WithValue(ctx, scopeKey{}, workspaceID)
}

// Workspace returns the scope of ctx in canonical form. A missing scope is a
// defect of the caller and an error, never "all workspaces".
func Workspace(ctx context.Context) (string, error) {
	id, _ := ctx.Value(scopeKey{}).(string)
	return canonical(id)
}

func canonical(workspaceID string) (string, error) {
	if workspaceID == "" {
		return "", fault.New(fault.Internal, "no workspace in scope")
	}
	id, err := uuid.Parse(workspaceID)
	if err != nil {
		return "", fault.Wrap(err, fault.Internal, "the workspace in scope is no UUID")
	}
	return id.String(), nil
}

// acquireTimeout bounds the wait for a connection: past it the database is
// busy or away, and saying so beats queueing.
const acquireTimeout = 5 * time.Second

// DB runs transactions in the scope of a workspace.
type DB struct {
	pool *pgxpool.Pool
	log  *slog.Logger
}

// NewDB uses a pool that works as causality_app.
func NewDB(pool *pgxpool.Pool, log *slog.Logger) *DB { return &DB{pool: pool, log: log} }

// Tx runs fn in a transaction that sees the workspace of ctx and nothing else,
// and commits when fn returns nil. An outage of the database comes back as
// fault.Unavailable; after one during the commit, the commit may have happened.
func (db *DB) Tx(ctx context.Context, fn func(ctx context.Context, tx pgx.Tx) error) error {
	id, err := Workspace(ctx)
	if err != nil {
		return err
	}
	// One round trip for both; id is a canonical UUID, so it needs no quoting.
	begin := fmt.Sprintf("BEGIN; SET LOCAL app.current_workspace_id = '%s'", id)
	return db.run(ctx, begin, fn)
}

// ScopedTx is a worker's transaction. It starts without a scope, in which
// tenants' tables cannot be read.
type ScopedTx struct{ pgx.Tx }

// Scope turns the transaction to another workspace.
func (tx ScopedTx) Scope(ctx context.Context, workspaceID string) error {
	return Scope(ctx, tx.Tx, workspaceID)
}

// Scope binds tx to a workspace until the transaction ends or is scoped anew.
func Scope(ctx context.Context, tx pgx.Tx, workspaceID string) error {
	id, err := canonical(workspaceID)
	if err != nil {
		return err
	}
	if _, err := tx.Exec(ctx, "SET LOCAL app.current_workspace_id = '"+id+"'"); err != nil {
		return fmt.Errorf("scope transaction: %w", err)
	}
	return nil
}

// TxAll runs one transaction that a worker scopes to several workspaces, one
// after the other. It ignores the scope of ctx.
func (db *DB) TxAll(ctx context.Context, fn func(ctx context.Context, tx ScopedTx) error) error {
	return db.run(ctx, "BEGIN", func(ctx context.Context, tx pgx.Tx) error { return fn(ctx, ScopedTx{tx}) })
}

func (db *DB) run(ctx context.Context, begin string, fn func(context.Context, pgx.Tx) error) (err error) {
	defer func() { err = postgres.Fault(ctx, err) }()
	acquire, cancel := context.WithTimeout(ctx, acquireTimeout)
	tx, err := db.pool.BeginTx(acquire, pgx.TxOptions{BeginQuery: begin})
	cancel()
	if err != nil {
		return fmt.Errorf("begin: %w", err)
	}
	committed := false
	defer func() {
		if committed {
			return
		}
		// Also when fn panics or ctx has ended: the connection goes back clean.
		end, cancel := context.WithTimeout(context.WithoutCancel(ctx), 5*time.Second)
		defer cancel()
		_ = tx.Rollback(end)
	}()
	if err := fn(ctx, tx); err != nil {
		return err
	}
	if err := tx.Commit(ctx); err != nil {
		return fmt.Errorf("commit: %w", err)
	}
	committed = true
	return nil
}

// Workspaces lists every workspace of the installation, oldest first, for the
// workers that serve all of them, each in its own scope.
func (db *DB) Workspaces(ctx context.Context) ([]string, error) {
	rows, err := db.pool.Query(ctx, "SELECT workspace_id::text FROM all_workspaces()")
	if err != nil {
		return nil, postgres.Fault(ctx, fmt.Errorf("list workspaces: %w", err))
	}
	ids, err := pgx.CollectRows(rows, pgx.RowTo[string])
	if err != nil {
		return nil, postgres.Fault(ctx, fmt.Errorf("list workspaces: %w", err))
	}
	return ids, nil
}
