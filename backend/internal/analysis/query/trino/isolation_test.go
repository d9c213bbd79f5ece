//go:build trino

package trino_test

import (
	"context"
	"database/sql"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	client "github.com/trinodb/trino-go-client/trino"

	"github.com/causality-project/causality/backend/internal/analysis/query"
	"github.com/causality-project/causality/backend/internal/analysis/query/querytest"
	"github.com/causality-project/causality/backend/internal/analysis/query/trino/trinotest"
)

// ask sends SQL as it is to the server, as the client that our password belongs to,
// or another: no guard, no WITH.
func ask(t *testing.T, server *trinotest.Server, login, password, as, text string, headers ...sql.NamedArg) (string, error) {
	t.Helper()
	uri := strings.Replace(server.URL, "https://", "https://"+login+":"+strings.ReplaceAll(password, " ", "%20")+"@", 1)
	connector, err := client.NewConnector(&client.Config{ServerURI: uri, SSLCertPath: server.CAFile, DisableExplicitPrepare: true})
	if err != nil {
		t.Fatal(err)
	}
	db := sql.OpenDB(connector)
	defer db.Close()
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
	defer cancel()
	arguments := []any{sql.Named("X-Trino-User", as)}
	for _, h := range headers {
		arguments = append(arguments, h)
	}
	rows, err := db.QueryContext(ctx, text, arguments...)
	if err != nil {
		return "", err
	}
	defer rows.Close()
	columns, err := rows.Columns()
	if err != nil {
		return "", err
	}
	var out strings.Builder
	for rows.Next() {
		values, targets := make([]any, len(columns)), make([]any, len(columns))
		for i := range values {
			targets[i] = &values[i]
		}
		if err := rows.Scan(targets...); err != nil {
			return "", err
		}
		fmt.Fprintln(&out, values...)
	}
	return out.String(), rows.Err()
}

// Two apps are stored. Whatever is sent as the first one's user reads nothing of
// the second, changes nothing, and sees nothing of the server: by the rules alone,
// without the guard.
func TestRulesKeepAppsApart(t *testing.T) {
	t.Parallel()
	server := trinotest.Start(t)
	mine, other := trinotest.NewApp(), trinotest.NewApp()
	links := query.Links{ByKey: map[int64]int64{1: 2}, Changed: map[string]int64{"secret-visitor": 3}}
	server.Lake.Add(t, mine, []querytest.Event{{Name: "mine", User: "me", At: noon}}, query.Links{ByKey: map[int64]int64{7: 8}})
	server.Lake.Add(t, other, []querytest.Event{{Name: "secret-event", User: "secret-user", At: noon, Properties: `{"p":"secret-value"}`}}, links)
	table := "causality.lake.events"

	t.Run("reads are of the own app", func(t *testing.T) {
		t.Parallel()
		for text, want := range map[string]string{
			"SELECT count(*), min(event) FROM " + table:                                                                               "1 mine\n",
			"SELECT count(*) FROM " + table + " WHERE app_id = '" + other + "'":                                                       "0\n",
			"SELECT count(*) FROM " + table + " WHERE app_id = '" + other + "' OR true":                                               "1\n",
			"SELECT from_key FROM causality.lake.links":                                                                               "7\n",
			"SELECT count(*) FROM causality.lake.links WHERE app_id <> current_user":                                                  "0\n",
			"SELECT count(DISTINCT app_id) FROM (SELECT app_id FROM " + table + " UNION ALL SELECT app_id FROM causality.lake.links)": "1\n",
		} {
			got, err := ask(t, server, trinotest.User, trinotest.Password, mine, text)
			if err != nil || got != want {
				t.Errorf("%s: %q, %v; want %q", text, got, err, want)
			}
		}
	})

	denied := []string{
		// Tables beside the tables, and where their files lie.
		`SELECT * FROM causality.lake."events$files"`, `SELECT * FROM causality.lake."events$snapshots"`, `SELECT * FROM causality.lake."events$partitions"`,
		`SELECT * FROM causality.lake."events$manifests"`, `SELECT * FROM causality.lake."events$history"`, `SELECT * FROM causality.lake."events$refs"`,
		`SELECT * FROM causality.lake."events$properties"`, `SELECT * FROM causality.lake."events$entries"`, `SELECT * FROM causality.lake."events$all_entries"`,
		`SELECT * FROM causality.lake."events$metadata_log_entries"`, `SELECT * FROM causality.lake."events$all_manifests"`, `SELECT * FROM causality.lake."links$files"`,
		`SELECT "$path" FROM ` + table, `SELECT "$partition" FROM ` + table, `SELECT "$file_modified_time" FROM ` + table, `SELECT "$path" FROM causality.lake.links`,
		`SELECT count(*) FROM ` + table + ` WHERE "$path" LIKE 'f%'`,
		// Table functions, which row filters do not reach.
		"SELECT * FROM TABLE(causality.system.table_changes('lake', 'events', 1, 2))",
		"SELECT * FROM TABLE(causality.system.table_changes(schema_name => 'lake', table_name => 'events', start_snapshot_id => 1, end_snapshot_id => 2))",
		// The server.
		"SELECT * FROM system.runtime.queries", "SELECT * FROM system.runtime.nodes", "SELECT * FROM system.runtime.tasks", "SELECT * FROM system.metadata.catalogs",
		"SELECT * FROM system.metadata.table_properties", "SELECT * FROM system.metadata.table_comments", "SELECT * FROM system.jdbc.tables",
		"CALL system.runtime.kill_query('x', 'y')",
		// Definitions and statistics of files.
		"SHOW CREATE TABLE " + table, "SHOW CREATE SCHEMA causality.lake", "SHOW CREATE TABLE causality.lake.links", "SHOW GRANTS",
		// Changes.
		"INSERT INTO " + table + " (app_id) VALUES ('" + mine + "')", "DELETE FROM " + table, "UPDATE " + table + " SET event = 'x'", "TRUNCATE TABLE " + table,
		"MERGE INTO " + table + " e USING causality.lake.links l ON false WHEN NOT MATCHED THEN INSERT (app_id) VALUES ('x')",
		"DROP TABLE " + table, "ALTER TABLE " + table + " ADD COLUMN x varchar", "ALTER TABLE " + table + " RENAME TO causality.lake.x", "COMMENT ON TABLE " + table + " IS 'x'",
		"ALTER TABLE " + table + " EXECUTE optimize", "ALTER TABLE " + table + " EXECUTE expire_snapshots", "ALTER TABLE " + table + " SET PROPERTIES format_version = 1",
		"ALTER TABLE " + table + " SET AUTHORIZATION \"" + mine + "\"", "ANALYZE " + table,
		"CREATE TABLE causality.lake.x AS SELECT * FROM " + table, "CREATE TABLE causality.lake.x (a varchar)", "CREATE VIEW causality.lake.x AS SELECT * FROM " + table,
		"CREATE MATERIALIZED VIEW causality.lake.x AS SELECT * FROM " + table, "CREATE SCHEMA causality.x", "DROP SCHEMA causality.lake", "ALTER SCHEMA causality.lake RENAME TO x",
		"CREATE FUNCTION causality.lake.f() RETURNS bigint RETURN 1", "CREATE CATALOG x USING memory", "DROP CATALOG causality",
		"GRANT SELECT ON " + table + " TO ROLE public", "DENY SELECT ON " + table + " TO ROLE public", "REVOKE SELECT ON " + table + " FROM ROLE public", "CREATE ROLE x", "DROP ROLE x",
		// Procedures.
		"CALL causality.system.register_table('lake', 'x', 'file:///tmp')", "CALL causality.system.unregister_table('lake', 'events')",
		"CALL causality.system.rollback_to_snapshot('lake', 'events', 1)", "CALL causality.system.add_files_from_table('lake', 'events')",
		// Settings and other selves.
		"SET ROLE ADMIN", "SET ROLE ALL IN causality", "SET SESSION query_max_memory = '10GB'", "SET SESSION query_max_run_time = '10d'",
		"SET SESSION causality.projection_pushdown_enabled = false", "SET SESSION AUTHORIZATION '" + other + "'", "SET SESSION AUTHORIZATION 'admin'", "WITH SESSION join_distribution_type = 'BROADCAST' SELECT 1",
		// Statements in statements.
		"EXECUTE IMMEDIATE 'DELETE FROM " + table + "'", "EXECUTE IMMEDIATE 'SELECT * FROM system.runtime.queries'", "EXPLAIN ANALYZE DELETE FROM " + table,
		"EXPLAIN ANALYZE SELECT * FROM system.runtime.queries", "EXPLAIN DELETE FROM " + table,
		// What is not there for this user must not be told from what is not there at all.
		"SELECT * FROM causality.lake.nothing", "SELECT * FROM causality.public.nothing", "SELECT * FROM nothing.lake.events",
	}
	t.Run("everything else is denied", func(t *testing.T) {
		t.Parallel()
		for _, text := range denied {
			got, err := ask(t, server, trinotest.User, trinotest.Password, mine, text)
			if err == nil {
				t.Errorf("%s ran: %q", text, got)
			} else if strings.Contains(err.Error(), "secret") || strings.Contains(err.Error(), other) && !strings.Contains(text, other) {
				t.Errorf("%s: the error tells of another app: %v", text, err)
			}
		}
	})

	t.Run("what may be listed tells nothing of others", func(t *testing.T) {
		t.Parallel()
		for _, text := range []string{
			"SHOW STATS FOR " + table, "SHOW ROLES", "SHOW CURRENT ROLES", "SELECT * FROM system.information_schema.tables", "SHOW STATS FOR (SELECT * FROM " + table + ")", "SHOW CATALOGS", "SHOW SCHEMAS FROM causality", "SHOW TABLES FROM causality.lake", "SHOW COLUMNS FROM " + table,
			"SHOW SESSION", "SHOW FUNCTIONS", "SELECT * FROM causality.information_schema.tables", "SELECT * FROM causality.information_schema.columns",
			"SELECT * FROM causality.information_schema.views", "SELECT * FROM causality.information_schema.schemata", "SELECT * FROM causality.information_schema.table_privileges",
			"SELECT * FROM causality.information_schema.roles", "SELECT * FROM causality.information_schema.enabled_roles", "SELECT * FROM system.jdbc.schemas",
			"EXPLAIN SELECT * FROM " + table, "EXPLAIN (TYPE IO, FORMAT JSON) SELECT * FROM " + table + " WHERE app_id = '" + other + "'", "EXPLAIN ANALYZE SELECT * FROM " + table,
			"EXECUTE IMMEDIATE 'SELECT event FROM " + table + "'", "SELECT current_user, current_catalog, current_schema, current_groups(), version()",
			"DESCRIBE " + table, "SELECT * FROM " + table + " FOR TIMESTAMP AS OF now()",
		} {
			got, err := ask(t, server, trinotest.User, trinotest.Password, mine, text)
			if err != nil {
				got = err.Error() // denied, which is as well
			}
			if strings.Contains(got, "secret") || strings.Contains(strings.ReplaceAll(got, "app_id = '"+other, ""), other) && !strings.Contains(text, other) || strings.Contains(got, "$files") {
				t.Errorf("%s tells: %s", text, got)
			}
		}
	})

	t.Run("nobody else gets in", func(t *testing.T) {
		t.Parallel()
		const one = "SELECT count(*) FROM causality.lake.events"
		for name, attempt := range map[string]func() (string, error){
			"a wrong password":          func() (string, error) { return ask(t, server, trinotest.User, "wrong", mine, one) },
			"a user without a password": func() (string, error) { return ask(t, server, mine, trinotest.Password, mine, one) },
			"the service itself":        func() (string, error) { return ask(t, server, trinotest.User, trinotest.Password, trinotest.User, one) },
			"an administrator":          func() (string, error) { return ask(t, server, trinotest.User, trinotest.Password, "admin", one) },
			"no app's id":               func() (string, error) { return ask(t, server, trinotest.User, trinotest.Password, "app_1", one) },
			"a pattern of ids":          func() (string, error) { return ask(t, server, trinotest.User, trinotest.Password, ".*", one) },
			"an id with more around":    func() (string, error) { return ask(t, server, trinotest.User, trinotest.Password, mine+"x", one) },
			"another role": func() (string, error) {
				return ask(t, server, trinotest.User, trinotest.Password, mine, one, sql.Named("X-Trino-Role", map[string]string{"system": "ROLE{admin}"}))
			},
			"an original user of choice": func() (string, error) {
				return ask(t, server, trinotest.User, trinotest.Password, "admin", one, sql.Named("X-Trino-Original-User", mine))
			},
			"a property of the session": func() (string, error) {
				return ask(t, server, trinotest.User, trinotest.Password, mine, one, sql.Named("X-Trino-Session", "query_max_run_time=10d"))
			},
			"a property of the catalogue": func() (string, error) {
				return ask(t, server, trinotest.User, trinotest.Password, mine, one, sql.Named("X-Trino-Session", "causality.projection_pushdown_enabled=false"))
			},
			"a prepared statement that deletes": func() (string, error) {
				return ask(t, server, trinotest.User, trinotest.Password, mine, "EXECUTE p", sql.Named("X-Trino-Prepared-Statement", "p=DELETE+FROM+causality.lake.events"))
			},
		} {
			if got, err := attempt(); err == nil {
				t.Errorf("%s got in: %q", name, got)
			}
		}
	})

	t.Run("an unknown app sees nothing", func(t *testing.T) {
		t.Parallel()
		if got, err := ask(t, server, trinotest.User, trinotest.Password, trinotest.NewApp(), "SELECT count(*) FROM causality.lake.events"); err != nil || got != "0\n" {
			t.Errorf("%q, %v", got, err)
		}
	})
}

// A rules file without a section leaves what the section is about open to all, so
// every section that Trino has must be there.
func TestRulesFailClosed(t *testing.T) {
	t.Parallel()
	data, err := os.ReadFile(filepath.Join("..", "..", "..", "..", "deploy", "trino", "etc", "rules.json"))
	if err != nil {
		t.Fatal(err)
	}
	var rules map[string]json.RawMessage
	if err := json.Unmarshal(data, &rules); err != nil {
		t.Fatal(err)
	}
	for _, section := range []string{
		"catalogs", "schemas", "tables", "queries", "system_session_properties", "catalog_session_properties", "functions", "procedures",
		"impersonation", "system_information", "authorization",
	} {
		if _, ok := rules[section]; !ok {
			t.Errorf("rules.json has no %s: Trino would allow all of it", section)
		}
	}
}
