package tenancy_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/causality-project/causality/backend/internal/account/tenancy"
	"github.com/causality-project/causality/backend/internal/platform/fault"
	"github.com/causality-project/causality/backend/internal/platform/postgres"
	"github.com/causality-project/causality/backend/internal/platform/postgres/postgrestest"
	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
)

func open(t *testing.T) (*postgres.Server, *tenancy.DB) {
	t.Helper()
	server := postgrestest.New(t)
	return server, tenancy.NewDB(server.Pool(), slog.New(slog.DiscardHandler))
}

// workspace makes one and returns a context in its scope.
func workspace(t *testing.T, server *postgres.Server, slug string) context.Context {
	t.Helper()
	var id string
	if err := server.Pool().QueryRow(t.Context(), "SELECT ensure_workspace(gen_random_uuid(), $1, gen_random_uuid(), 'Owner')::text", slug).Scan(&id); err != nil {
		t.Fatal(err)
	}
	return tenancy.WithWorkspace(t.Context(), id)
}

func TestAMissingScopeIsAnError(t *testing.T) {
	t.Parallel()
	server, db := open(t)
	scoped := workspace(t, server, "one")
	if _, err := tenancy.NewApps(db, server).Create(scoped, "shop", "", nil); err != nil {
		t.Fatal(err)
	}
	for name, ctx := range map[string]context.Context{
		"none":   t.Context(),
		"empty":  tenancy.WithWorkspace(t.Context(), ""),
		"no id":  tenancy.WithWorkspace(t.Context(), "'; DROP TABLE apps; --"),
		"a slug": tenancy.WithWorkspace(t.Context(), "one"),
	} {
		err := db.Tx(ctx, func(context.Context, pgx.Tx) error {
			t.Errorf("%s: the transaction ran", name)
			return nil
		})
		if !fault.Is(err, fault.Internal) {
			t.Errorf("%s: err = %v, want an internal fault", name, err)
		}
	}
	// Also where the transaction exists and only the scope was forgotten, on a
	// connection that was scoped before as on a fresh one.
	for range 3 {
		err := db.TxAll(t.Context(), func(ctx context.Context, tx tenancy.ScopedTx) error {
			var n int
			return tx.QueryRow(ctx, "SELECT count(*) FROM apps").Scan(&n)
		})
		if err == nil {
			t.Error("an unscoped read of apps answered")
		}
		if err := db.Tx(scoped, func(context.Context, pgx.Tx) error { return nil }); err != nil {
			t.Fatal(err)
		}
	}
}

func TestAWorkerScopesOneTransactionToEachWorkspaceInTurn(t *testing.T) {
	t.Parallel()
	server, db := open(t)
	apps := tenancy.NewApps(db, server)
	for _, slug := range []string{"one", "two"} {
		if _, err := apps.Create(workspace(t, server, slug), "shop of "+slug, "", nil); err != nil {
			t.Fatal(err)
		}
	}
	ids, err := db.Workspaces(t.Context())
	if err != nil || len(ids) != 2 {
		t.Fatalf("workspaces = %v, %v", ids, err)
	}
	var seen []string
	err = db.TxAll(t.Context(), func(ctx context.Context, tx tenancy.ScopedTx) error {
		for _, id := range ids {
			if err := tx.Scope(ctx, id); err != nil {
				return err
			}
			rows, err := tx.Query(ctx, "SELECT name FROM apps")
			if err != nil {
				return err
			}
			names, err := pgx.CollectRows(rows, pgx.RowTo[string])
			if err != nil {
				return err
			}
			seen = append(seen, names...)
		}
		return tx.Scope(ctx, "not an id")
	})
	if !fault.Is(err, fault.Internal) {
		t.Errorf("scope to no id: %v", err)
	}
	if want := []string{"shop of one", "shop of two"}; !slices.Equal(seen, want) {
		t.Errorf("saw %v, want %v", seen, want)
	}
}

func TestTxRollsBackWhenItsFunctionFailsOrPanics(t *testing.T) {
	t.Parallel()
	server, db := open(t)
	ctx := workspace(t, server, "one")
	insert := func(ctx context.Context, tx pgx.Tx) {
		id, _ := tenancy.Workspace(ctx)
		if _, err := tx.Exec(ctx, "INSERT INTO apps (app_id, workspace_id, name) VALUES (gen_random_uuid(), $1, 'half')", id); err != nil {
			t.Error(err)
		}
	}
	failed := errors.New("failed")
	if err := db.Tx(ctx, func(ctx context.Context, tx pgx.Tx) error { insert(ctx, tx); return failed }); !errors.Is(err, failed) {
		t.Errorf("err = %v", err)
	}
	func() {
		defer func() { _ = recover() }()
		_ = db.Tx(ctx, func(ctx context.Context, tx pgx.Tx) error { insert(ctx, tx); panic("defect") })
	}()
	if list, err := tenancy.NewApps(db, server).List(ctx); err != nil || len(list) != 0 {
		t.Errorf("apps = %v, %v, want none", list, err)
	}
	if n := server.Pool().Stat().AcquiredConns(); n != 0 {
		t.Errorf("%d connections are still held", n)
	}
}

// made lists the tenant tables whose rows ensure_workspace makes.
var made = []string{"workspaces", "memberships"}

// allowed gives values for columns whose checks refuse the plain one of their
// type: extend it when a new table needs it.
var allowed = map[string]string{
	"keys.kind": "'write'", "apps.ip_policy": "'keep'", "apps.time_zone": "'UTC'",
	"lake_objects.kind": "'events'", "person_links.kind": "'identify'",
	"erasures.keys": "'{1}'", "promoted_properties.kind": "'text'",
}

// plain gives each type a value, the same in both workspaces.
var plain = map[string]string{
	"uuid": "gen_random_uuid()", "text": "'same'", "bytea": "'same'", "timestamp with time zone": "now()", "date": "'2026-01-01'",
	"bigint": "1", "integer": "1", "smallint": "1", "double precision": "1", "boolean": "true", "jsonb": "'{}'", "ARRAY": "'{}'",
}

// fill returns a statement that writes one row of workspace $1 and its app $2
// into a tenant table. Columns that must be unique over all workspaces get a
// random value.
func fill(t *testing.T, server *postgres.Server, table string) string {
	t.Helper()
	rows, err := server.Pool().Query(t.Context(), `SELECT c.column_name, c.data_type, EXISTS (
			SELECT FROM pg_index i JOIN pg_attribute a ON a.attrelid = i.indrelid AND a.attnum = ANY (i.indkey)
			WHERE i.indrelid = c.table_name::regclass AND i.indisunique AND i.indnatts = 1 AND a.attname = c.column_name)
		FROM information_schema.columns c WHERE c.table_schema = 'public' AND c.table_name = $1
		AND c.is_nullable = 'NO' AND c.column_default IS NULL AND c.is_identity = 'NO'`, table)
	if err != nil {
		t.Fatal(err)
	}
	var columns, values []string
	var column, kind string
	var unique bool
	if _, err := pgx.ForEachRow(rows, []any{&column, &kind, &unique}, func() error {
		value, known := allowed[table+"."+column]
		switch {
		case column == "workspace_id":
			value = "$1::uuid"
		case column == "app_id":
			value = "$2::uuid"
		case known:
		case unique && kind == "text":
			value = "gen_random_uuid()::text"
		case unique && kind == "bytea":
			value = "gen_random_uuid()::text::bytea"
		default:
			value = plain[kind]
		}
		if value == "" {
			return fmt.Errorf("column %s.%s has the type %s, which this test has no value for", table, column, kind)
		}
		columns, values = append(columns, column), append(values, value)
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	// $2 is mentioned even where no column takes it.
	return fmt.Sprintf("INSERT INTO %s (%s) SELECT %s WHERE $2::uuid IS NOT NULL", table, strings.Join(columns, ", "), strings.Join(values, ", "))
}

// tenantTables asks the catalogue, parents first.
func tenantTables(t *testing.T, server *postgres.Server) []string {
	t.Helper()
	rows, err := server.Pool().Query(t.Context(), `SELECT c.relname FROM pg_class c JOIN pg_attribute a ON a.attrelid = c.oid AND a.attname = 'workspace_id'
		WHERE c.relnamespace = 'public'::regnamespace AND c.relkind IN ('r', 'p')
		ORDER BY CASE c.relname WHEN 'workspaces' THEN 0 WHEN 'apps' THEN 1 ELSE 2 END, c.relname`)
	if err != nil {
		t.Fatal(err)
	}
	tables, err := pgx.CollectRows(rows, pgx.RowTo[string])
	if err != nil {
		t.Fatal(err)
	}
	return tables
}

func TestTwoWorkspacesWithTheSameContentsNeverSeeEachOther(t *testing.T) {
	t.Parallel()
	server, db := open(t)
	scopes := []context.Context{workspace(t, server, "one"), workspace(t, server, "two")}
	tables := tenantTables(t, server)
	for _, ctx := range scopes {
		id, _ := tenancy.Workspace(ctx)
		app := uuid.NewString()
		for _, table := range tables {
			if slices.Contains(made, table) {
				continue
			}
			statement := fill(t, server, table)
			if err := db.Tx(ctx, func(ctx context.Context, tx pgx.Tx) error {
				_, err := tx.Exec(ctx, statement, id, app)
				return err
			}); err != nil {
				t.Fatalf("%s: %v", table, err)
			}
		}
	}
	for i, ctx := range scopes {
		own, _ := tenancy.Workspace(ctx)
		other, _ := tenancy.Workspace(scopes[1-i])
		for _, table := range tables {
			err := db.Tx(ctx, func(ctx context.Context, tx pgx.Tx) error {
				var mine, all int
				if err := tx.QueryRow(ctx, fmt.Sprintf("SELECT count(*) FILTER (WHERE workspace_id = $1), count(*) FROM %s", table), own).Scan(&mine, &all); err != nil {
					return err
				}
				if mine != 1 || all != 1 {
					t.Errorf("%s: sees %d rows, %d of its own, want 1 and 1", table, all, mine)
				}
				return nil
			})
			if err != nil {
				t.Errorf("%s: %v", table, err)
			}
			for _, statement := range []string{"UPDATE %s SET workspace_id = workspace_id WHERE workspace_id = $1", "DELETE FROM %s WHERE workspace_id = $1"} {
				err := db.Tx(ctx, func(ctx context.Context, tx pgx.Tx) error {
					tag, err := tx.Exec(ctx, fmt.Sprintf(statement, table), other)
					if tag.RowsAffected() != 0 {
						t.Errorf("%s: "+statement+" touched another workspace's row", table, table)
					}
					return err
				})
				if err != nil && !strings.Contains(err.Error(), "permission denied") {
					t.Errorf("%s: %v", table, err)
				}
			}
			if !slices.Contains(made, table) {
				statement := fill(t, server, table)
				err := db.Tx(ctx, func(ctx context.Context, tx pgx.Tx) error {
					_, err := tx.Exec(ctx, statement, other, uuid.NewString())
					return err
				})
				if err == nil || !strings.Contains(err.Error(), "row-level security") {
					t.Errorf("%s: writing a row into another workspace: %v", table, err)
				}
			}
		}
	}
}

func TestAppsAreFoundByIDAndName(t *testing.T) {
	t.Parallel()
	server, db := open(t)
	ctx := workspace(t, server, "one")
	apps := tenancy.NewApps(db, server)
	if _, err := apps.Get(ctx, "shop"); !fault.Is(err, fault.NotFound) || !strings.Contains(err.Error(), "causality apps create") {
		t.Errorf("without apps: %v", err)
	}
	shop, err := apps.Create(ctx, " shop ", "Europe/Berlin", nil)
	if err != nil {
		t.Fatal(err)
	}
	if shop.Name != "shop" || shop.TimeZone != "Europe/Berlin" || shop.IPPolicy != "truncate" {
		t.Errorf("created %+v", shop)
	}
	for _, which := range []string{shop.ID, strings.ToUpper(shop.ID), "shop"} {
		if got, err := apps.Get(ctx, which); err != nil || got != shop {
			t.Errorf("Get(%s) = %+v, %v", which, got, err)
		}
	}
	if _, err := apps.Get(ctx, "shp"); !fault.Is(err, fault.NotFound) || !strings.Contains(err.Error(), "shop") {
		t.Errorf("Get of a misspelt name: %v, want the names there are", err)
	}
	if _, err := apps.Create(ctx, "shop", "", nil); !fault.Is(err, fault.Conflict) {
		t.Errorf("second shop: %v", err)
	}
	if _, err := apps.Get(workspace(t, server, "two"), shop.ID); !fault.Is(err, fault.NotFound) {
		t.Errorf("from another workspace: %v", err)
	}
}

func TestRetentionIsSetKeptAndTakenBack(t *testing.T) {
	t.Parallel()
	server, db := open(t)
	ctx := workspace(t, server, "one")
	apps := tenancy.NewApps(db, server)
	if app, err := apps.Create(ctx, "shop", "", nil); err != nil || app.RetentionDays != 0 {
		t.Fatalf("created %+v, %v: events must be kept for ever until somebody says otherwise", app, err)
	}
	name, days, forever := "store", 90, 0
	for _, step := range []struct {
		update tenancy.AppUpdate
		want   int
	}{{tenancy.AppUpdate{RetentionDays: &days}, 90}, {tenancy.AppUpdate{Name: &name}, 90}, {tenancy.AppUpdate{RetentionDays: &forever}, 0}} {
		which := "shop"
		if app, err := apps.Get(ctx, name); err == nil {
			which = app.ID
		}
		if app, err := apps.Update(ctx, which, step.update); err != nil || app.RetentionDays != step.want {
			t.Errorf("%+v, %v; want %d days", app, err, step.want)
		}
	}
}

func TestWrongFieldsOfAnAppAreAllNamedAtOnce(t *testing.T) {
	t.Parallel()
	server, db := open(t)
	ctx := workspace(t, server, "one")
	apps := tenancy.NewApps(db, server)
	if _, err := apps.Create(ctx, "shop", "", nil); err != nil {
		t.Fatal(err)
	}
	text := func(s string) *string { return &s }
	number := func(n int) *int { return &n }
	tests := map[string]struct {
		update tenancy.AppUpdate
		fields []string
	}{
		"all":             {tenancy.AppUpdate{Name: text(" "), TimeZone: text("Mars/Base"), IPPolicy: text("sell")}, []string{"name", "timeZone", "ipPolicy"}},
		"local zone":      {tenancy.AppUpdate{TimeZone: text("Local")}, []string{"timeZone"}},
		"empty zone":      {tenancy.AppUpdate{TimeZone: text("")}, []string{"timeZone"}},
		"path as zone":    {tenancy.AppUpdate{TimeZone: text("../etc/passwd")}, []string{"timeZone"}},
		"long name":       {tenancy.AppUpdate{Name: text(strings.Repeat("ä", 101))}, []string{"name"}},
		"name like an id": {tenancy.AppUpdate{Name: text(uuid.NewString())}, []string{"name"}},
		"control":         {tenancy.AppUpdate{Name: text("a\x00b")}, []string{"name"}},
		"retention":       {tenancy.AppUpdate{RetentionDays: number(-1)}, []string{"retentionDays"}},
		"long retention":  {tenancy.AppUpdate{RetentionDays: number(36_501)}, []string{"retentionDays"}},
	}
	for name, tt := range tests {
		_, err := apps.Update(ctx, "shop", tt.update)
		var wrong *fault.Error
		if !errors.As(err, &wrong) || wrong.Kind != fault.Invalid {
			t.Errorf("%s: %v", name, err)
			continue
		}
		var fields []string
		for _, field := range wrong.Fields {
			fields = append(fields, field.Name)
		}
		if !slices.Equal(fields, tt.fields) {
			t.Errorf("%s: fields %v, want %v", name, fields, tt.fields)
		}
	}
	longest, err := apps.Update(ctx, "shop", tenancy.AppUpdate{Name: text(strings.Repeat("ä", 100)), IPPolicy: text("drop")})
	if err != nil || longest.IPPolicy != "drop" || longest.TimeZone != "UTC" {
		t.Errorf("update = %+v, %v", longest, err)
	}
}

func TestAChangeOfAnAppShowsInOtherProcesses(t *testing.T) {
	t.Parallel()
	url := postgrestest.Empty(t)
	here, there := postgrestest.Open(t, url), postgrestest.Open(t, url)
	log := slog.New(slog.DiscardHandler)
	ctx := workspace(t, here, "one")
	appsHere := tenancy.NewApps(tenancy.NewDB(here.Pool(), log), here)
	appsThere := tenancy.NewApps(tenancy.NewDB(there.Pool(), log), there)
	app, err := appsHere.Create(ctx, "shop", "", nil)
	if err != nil {
		t.Fatal(err)
	}
	for _, zone := range []string{"Asia/Tokyo", "Europe/Paris", "America/New_York"} {
		if _, err := appsHere.Update(ctx, app.ID, tenancy.AppUpdate{TimeZone: &zone}); err != nil {
			t.Fatal(err)
		}
		if got, _ := appsHere.Get(ctx, app.ID); got.TimeZone != zone {
			t.Errorf("where it was changed: %s, want %s at once", got.TimeZone, zone)
		}
		for end := time.Now().Add(10 * time.Second); ; {
			got, err := appsThere.Get(ctx, app.ID)
			if err == nil && got.TimeZone == zone {
				break
			}
			if time.Now().After(end) {
				t.Fatalf("elsewhere: %+v, %v, want %s", got, err, zone)
			}
			time.Sleep(time.Millisecond)
		}
	}
}
