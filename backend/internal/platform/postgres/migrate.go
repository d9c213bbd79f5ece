package postgres

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"time"

	"github.com/causality-project/causality/backend/db/migrations"
	"github.com/causality-project/causality/backend/internal/platform/failpoint"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/stdlib"
	"github.com/pressly/goose/v3"
	"github.com/pressly/goose/v3/lock"
)

// oldest is the first major version whose SQL the migrations are written in.
const oldest = 14

// migrate brings the schema to this program's version, each migration in its
// own transaction, one process at a time. A schema that a newer program wrote
// is refused: it may mean things that this one would break.
func migrate(ctx context.Context, owner *pgx.ConnConfig, log *slog.Logger) error {
	return migrateFS(ctx, owner, migrations.FS, log)
}

func migrateFS(ctx context.Context, owner *pgx.ConnConfig, files fs.FS, log *slog.Logger) error {
	if err := ensureAppRole(ctx, owner); err != nil {
		return err
	}
	db := stdlib.OpenDB(*owner.Copy())
	defer db.Close()
	locker, err := lock.NewPostgresSessionLocker(lock.WithLockTimeout(1, 300))
	if err != nil {
		return fmt.Errorf("migrate: %w", err)
	}
	provider, err := goose.NewProvider(goose.DialectPostgres, db, files,
		goose.WithSessionLocker(locker), goose.WithDisableGlobalRegistry(true), goose.WithLogger(goose.NopLogger()))
	if err != nil {
		return fmt.Errorf("migrate: %w", err)
	}
	current, target, err := provider.GetVersions(ctx)
	if err != nil {
		return fmt.Errorf("the database's schema version cannot be read: %w", err)
	}
	switch {
	case current > target:
		return fmt.Errorf("the database has schema version %d, and this program knows versions up to %d: start the newer causality that wrote it, or restore a backup from before that upgrade", current, target)
	case current == target:
		return nil
	}
	failpoint.Hit("postgres.before-migrate")
	began := time.Now()
	if _, err := provider.Up(ctx); err != nil {
		return fmt.Errorf("the database's schema could not be brought from version %d to %d; what was done of it is kept and the next start goes on: %w", current, target, err)
	}
	log.InfoContext(ctx, "database migrated", "from", current, "to", target, "seconds", time.Since(began).Seconds())
	return nil
}

// ensureAppRole makes the role that the server works as. Roles belong to the
// whole cluster, so this is no migration: a schema that is restored elsewhere
// needs it again.
func ensureAppRole(ctx context.Context, owner *pgx.ConnConfig) error {
	conn, err := connectPatiently(ctx, owner)
	if err != nil {
		return fmt.Errorf("the database cannot be reached: %s", reason(err))
	}
	defer conn.Close(context.WithoutCancel(ctx))

	var version int
	var user string
	var exists, unsafe, member bool
	look := `SELECT current_setting('server_version_num')::int, current_user, r.oid IS NOT NULL,
	                coalesce(r.rolsuper OR r.rolbypassrls, false), coalesce(pg_has_role(current_user, r.oid, 'MEMBER'), false)
	         FROM (SELECT 1) one LEFT JOIN pg_roles r ON r.rolname = $1`
	if err := conn.QueryRow(ctx, look, AppRole).Scan(&version, &user, &exists, &unsafe, &member); err != nil {
		return fmt.Errorf("the database's roles cannot be read: %w", err)
	}
	quoted := pgx.Identifier{user}.Sanitize()
	switch {
	case version < oldest*10_000:
		return fmt.Errorf("the database is PostgreSQL %d, and causality needs %d or newer", version/10_000, oldest)
	case user == AppRole:
		return fmt.Errorf("the database URL signs in as %s, which must own nothing: use the role that owns the database", AppRole)
	case unsafe:
		return fmt.Errorf("the role %s may bypass row-level security, which keeps workspaces apart; as an administrator run: ALTER ROLE %s NOSUPERUSER NOBYPASSRLS", AppRole, AppRole)
	}
	create := fmt.Sprintf("CREATE ROLE %s NOLOGIN", AppRole)
	grant := fmt.Sprintf("GRANT %s TO %s", AppRole, quoted)
	administrator := fmt.Sprintf("the role %q may not set up the role %s that causality works as; as an administrator run: %s; %s;", user, AppRole, create, grant)
	if !exists {
		if _, err := conn.Exec(ctx, create); denied(err) {
			return errors.New(administrator)
		} else if err != nil && !duplicate(err) {
			return fmt.Errorf("create role %s: %w", AppRole, err)
		}
	}
	if !member {
		if _, err := conn.Exec(ctx, grant); denied(err) {
			return errors.New(administrator)
		} else if err != nil && !duplicate(err) {
			return fmt.Errorf("grant role %s: %w", AppRole, err)
		}
	}
	return nil
}

// connectPatiently tries for as long as one attempt may last, since a database
// that starts beside us refuses connections at first.
func connectPatiently(ctx context.Context, owner *pgx.ConnConfig) (*pgx.Conn, error) {
	end := time.Now().Add(owner.ConnectTimeout)
	for {
		conn, err := pgx.ConnectConfig(ctx, owner)
		if err == nil || !away(err) || hasCode(err, "08004") || time.Now().After(end) {
			return conn, err
		}
		select {
		case <-ctx.Done():
			return nil, errors.Join(ctx.Err(), err)
		case <-time.After(100 * time.Millisecond):
		}
	}
}

func denied(err error) bool { return hasCode(err, "42501") }

// duplicate covers the races of processes that start at once on one cluster.
func duplicate(err error) bool { return hasCode(err, "42710") || hasCode(err, "23505") }

func hasCode(err error, code string) bool {
	var answer *pgconn.PgError
	return errors.As(err, &answer) && answer.Code == code
}
