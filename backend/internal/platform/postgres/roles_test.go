package postgres_test

import (
	"context"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/causality-project/causality/backend/internal/platform/postgres"
	"github.com/causality-project/causality/backend/internal/platform/postgres/postgrestest"
	"github.com/jackc/pgx/v5"
)

// withoutTenant lists the tables that hold no tenant's rows; a new one needs a
// reason to be here.
var withoutTenant = []string{
	"goose_db_version", // the schema's own version
	"lake_forgets",     // which replicas have let go of objects that an erasure deletes
	"lake_offsets",     // how far streams have landed, over all workspaces
	"lake_restores",    // which backups the database was made from
	"leases",           // which process does what
	"replicas",         // the processes of the installation
	"sessions",         // people sign in to the installation; only functions reach these three
	"sign_in_links",
	"users",
}

func collect(t *testing.T, server *postgres.Server, query string, args ...any) []string {
	t.Helper()
	rows, err := server.Pool().Query(t.Context(), query, args...)
	if err != nil {
		t.Fatal(err)
	}
	list, err := pgx.CollectRows(rows, pgx.RowTo[string])
	if err != nil {
		t.Fatal(err)
	}
	return list
}

func TestEveryTableEitherBelongsToTenantsOrIsNamedHere(t *testing.T) {
	t.Parallel()
	server := postgrestest.New(t)
	const tables = `FROM pg_class c WHERE c.relnamespace = 'public'::regnamespace AND c.relkind IN ('r', 'p', 'm', 'f')`
	const tenant = `EXISTS (SELECT FROM pg_attribute a WHERE a.attrelid = c.oid AND a.attname = 'workspace_id' AND NOT a.attisdropped)`
	if got := collect(t, server, "SELECT c.relname::text "+tables+" AND NOT "+tenant+" ORDER BY 1"); !slices.Equal(got, withoutTenant) {
		t.Errorf("tables without workspace_id: %v, want %v", got, withoutTenant)
	}
	if got := collect(t, server, "SELECT c.relname::text "+tables+" AND "+tenant+" AND NOT (c.relrowsecurity AND c.relforcerowsecurity)"); len(got) > 0 {
		t.Errorf("tenant tables without forced row-level security: %v", got)
	}
	if got := collect(t, server, `SELECT c.relname::text `+tables+` AND `+tenant+` AND NOT EXISTS (
		SELECT FROM pg_policy p WHERE p.polrelid = c.oid AND p.polname = 'tenant' AND p.polcmd = '*' AND p.polroles = ARRAY['causality_app'::regrole::oid]
		AND pg_get_expr(p.polqual, p.polrelid) = '(workspace_id = current_workspace())')`); len(got) > 0 {
		t.Errorf("tenant tables without the tenant policy: %v", got)
	}
	if got := collect(t, server, `SELECT p.polname || ' on ' || p.polrelid::regclass FROM pg_policy p
		WHERE p.polname NOT IN ('tenant', 'owner') OR p.polname = 'owner' AND p.polroles <> ARRAY[(SELECT c.relowner FROM pg_class c WHERE c.oid = p.polrelid)]`); len(got) > 0 {
		t.Errorf("policies that widen access: %v", got)
	}
	if got := collect(t, server, `SELECT table_name || ' ' || privilege_type FROM information_schema.role_table_grants
		WHERE grantee IN ('causality_app', 'PUBLIC') AND table_schema = 'public'
		AND (table_name IN ('sessions', 'sign_in_links', 'users', 'goose_db_version') OR privilege_type IN ('TRUNCATE', 'REFERENCES', 'TRIGGER'))`); len(got) > 0 {
		t.Errorf("grants that go round the functions: %v", got)
	}
}

func TestTheAppRoleOwnsNothingAndBypassesNothing(t *testing.T) {
	t.Parallel()
	server := postgrestest.New(t)
	var user string
	var plain bool
	err := server.Pool().QueryRow(t.Context(), `SELECT current_user, NOT (rolsuper OR rolbypassrls OR rolcreaterole OR rolcreatedb OR rolcanlogin)
		FROM pg_roles WHERE rolname = current_user`).Scan(&user, &plain)
	if err != nil || user != postgres.AppRole || !plain {
		t.Errorf("the pool works as %s, plain %v, %v", user, plain, err)
	}
	if got := collect(t, server, `SELECT classid::regclass || ' ' || objid FROM pg_shdepend
		WHERE refobjid = 'causality_app'::regrole AND deptype = 'o' AND dbid = (SELECT oid FROM pg_database WHERE datname = current_database())`); len(got) > 0 {
		t.Errorf("causality_app owns: %v", got)
	}
	if got := collect(t, server, "SELECT rolname::text FROM pg_roles WHERE rolname <> 'causality_app' AND pg_has_role('causality_app', oid, 'MEMBER')"); len(got) > 0 {
		t.Errorf("causality_app can become: %v", got)
	}
	if _, err := server.Pool().Exec(t.Context(), "CREATE TABLE public.mine ()"); err == nil {
		t.Error("causality_app can create tables")
	}
}

func TestDefinerFunctionsAreClosedToOthers(t *testing.T) {
	t.Parallel()
	server := postgrestest.New(t)
	const definers = "FROM pg_proc p WHERE p.pronamespace = 'public'::regnamespace AND p.prosecdef"
	if got := collect(t, server, "SELECT p.proname::text "+definers); len(got) == 0 {
		t.Fatal("no SECURITY DEFINER function was found")
	}
	if got := collect(t, server, "SELECT p.proname::text "+definers+` AND NOT coalesce(p.proconfig @> ARRAY['search_path=pg_catalog, public, pg_temp'], false)`); len(got) > 0 {
		t.Errorf("SECURITY DEFINER without a safe search_path: %v", got)
	}
	if got := collect(t, server, "SELECT p.proname::text "+definers+` AND EXISTS (SELECT FROM aclexplode(coalesce(p.proacl, acldefault('f', p.proowner))) WHERE grantee = 0)`); len(got) > 0 {
		t.Errorf("SECURITY DEFINER that everybody may call: %v", got)
	}
}

// admin is a connection of the tests' superuser to one database, and the
// keywords that reach it as another role.
func admin(t *testing.T, url string) *pgx.Conn {
	t.Helper()
	conn, err := pgx.Connect(t.Context(), url)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close(context.Background()) })
	return conn
}

// plainOwner makes a database that belongs to a role without any privilege but
// those named, as managed PostgreSQL gives.
func plainOwner(t *testing.T, privileges string) (url, role string, super *pgx.Conn) {
	t.Helper()
	super = admin(t, postgrestest.Empty(t))
	role = fmt.Sprintf("owner_%d", time.Now().UnixNano())
	for _, statement := range []string{
		"CREATE ROLE " + role + " LOGIN NOSUPERUSER NOBYPASSRLS " + privileges,
		"CREATE DATABASE " + role + " OWNER " + role + " TEMPLATE template0",
	} {
		if _, err := super.Exec(t.Context(), statement); err != nil {
			t.Fatal(err)
		}
	}
	t.Cleanup(func() {
		_, _ = super.Exec(context.Background(), "DROP DATABASE "+role+" WITH (FORCE)")
		_, _ = super.Exec(context.Background(), "DROP ROLE "+role)
	})
	cfg := super.Config()
	return fmt.Sprintf("host='%s' port=5432 user=%s dbname=%s sslmode=disable", cfg.Host, role, role), role, super
}

func openPlain(t *testing.T, url string) (*postgres.Server, error) {
	t.Helper()
	server, err := postgres.Open(t.Context(), postgres.Config{URL: url, Logger: slog.New(slog.DiscardHandler)})
	if err == nil {
		t.Cleanup(func() { _ = server.Close(context.Background()) })
	}
	return server, err
}

func TestAnOwnerWithoutPowersServesAlike(t *testing.T) {
	t.Parallel()
	url, role, super := plainOwner(t, "")
	_, err := openPlain(t, url)
	if err == nil || !strings.Contains(err.Error(), fmt.Sprintf("GRANT causality_app TO \"%s\"", role)) || !strings.Contains(err.Error(), "CREATE ROLE causality_app NOLOGIN") {
		t.Fatalf("err = %v, want the two statements that an administrator must run", err)
	}
	if _, err := super.Exec(t.Context(), "GRANT causality_app TO "+role); err != nil {
		t.Fatal(err)
	}
	server, err := openPlain(t, url)
	if err != nil {
		t.Fatal(err)
	}
	ctx, pool := t.Context(), server.Pool()
	var workspace string
	if err := pool.QueryRow(ctx, "SELECT ensure_workspace(gen_random_uuid(), 'default', gen_random_uuid(), 'Owner')::text").Scan(&workspace); err != nil {
		t.Fatal(err)
	}
	tx, err := pool.Begin(ctx)
	if err != nil {
		t.Fatal(err)
	}
	defer tx.Rollback(context.Background())
	for _, statement := range []string{
		"SET LOCAL app.current_workspace_id = '" + workspace + "'",
		"INSERT INTO apps (app_id, workspace_id, name) SELECT gen_random_uuid(), current_workspace(), 'shop'",
		"INSERT INTO keys (key_id, workspace_id, app_id, kind, key_hash, display) SELECT gen_random_uuid(), workspace_id, app_id, 'write', 'hash', '' FROM apps",
	} {
		if _, err := tx.Exec(ctx, statement); err != nil {
			t.Fatalf("%s: %v", statement, err)
		}
	}
	if err := tx.Commit(ctx); err != nil {
		t.Fatal(err)
	}
	for name, query := range map[string]string{
		"find_key": "SELECT count(*) FROM find_key('hash')", "usable_keys": "SELECT count(*) FROM usable_keys(10)",
		"find_workspace": "SELECT count(*) FROM find_workspace('default')", "all_workspaces": "SELECT count(*) FROM all_workspaces()",
		"find_owner": "SELECT count(*) FROM find_owner('" + workspace + "')",
	} {
		var n int
		if err := pool.QueryRow(ctx, query).Scan(&n); err != nil || n != 1 {
			t.Errorf("%s found %d rows (%v), want 1", name, n, err)
		}
	}
	var n int
	if err := pool.QueryRow(ctx, "SELECT count(*) FROM apps").Scan(&n); err == nil {
		t.Errorf("without a scope %d apps are seen", n)
	}
}

func TestRolesThatMustNotServeAreRefused(t *testing.T) {
	t.Parallel()
	url, role, super := plainOwner(t, "CREATEROLE")
	if _, err := super.Exec(t.Context(), "GRANT causality_app TO "+role); err != nil {
		t.Fatal(err)
	}
	if _, err := openPlain(t, url); err != nil {
		t.Errorf("an owner who may create roles: %v", err)
	}
	for _, wrong := range []string{"://", "postgres://%zz"} {
		if _, err := openPlain(t, wrong); err == nil || !strings.Contains(err.Error(), "cannot be read") {
			t.Errorf("URL %q: %v", wrong, err)
		}
	}
}

func TestReplicasThatStartAtOnceMigrateOnce(t *testing.T) {
	t.Parallel()
	url, role, super := plainOwner(t, "")
	if _, err := super.Exec(t.Context(), "GRANT causality_app TO "+role); err != nil {
		t.Fatal(err)
	}
	errs := make(chan error, 4)
	for range cap(errs) {
		go func() {
			server, err := postgres.Open(context.Background(), postgres.Config{URL: url, Logger: slog.New(slog.DiscardHandler)})
			if err == nil {
				err = server.Close(context.Background())
			}
			errs <- err
		}()
	}
	for range cap(errs) {
		if err := <-errs; err != nil {
			t.Error(err)
		}
	}
}
