package trino

import (
	"log/slog"
	"strings"
	"testing"

	"github.com/causality-project/causality/backend/internal/analysis/query"
	"github.com/causality-project/causality/backend/internal/platform/fault"
)

const app = "0197f1a0-0000-7000-8000-000000000001"

func engine(t *testing.T) *Engine {
	t.Helper()
	e, err := New(Config{URL: "https://trino.example:8443", Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = e.Close(t.Context()) })
	return e
}

func TestOnlyOneSelectOfTheTablesPasses(t *testing.T) {
	t.Parallel()
	e := engine(t)
	for _, sql := range []string{
		"", ";", "-- nothing", "DELETE FROM events", "INSERT INTO events SELECT 1", "SELECT 1; SELECT 2", "SELECT 1; DROP TABLE x", "SHOW TABLES", "DESCRIBE events", "CALL x()",
		"SET SESSION a = 1", "SET ROLE admin", "USE x", "EXECUTE x", "EXECUTE IMMEDIATE 'SELECT 1'", "PREPARE x FROM SELECT 1", "EXPLAIN ANALYZE SELECT 1", "EXPLAIN (TYPE IO) SELECT 1", "EXPLAIN DELETE FROM events",
		"WITH FUNCTION f() RETURNS bigint RETURN 1 SELECT f()", "WITH SESSION query_max_execution_time = '9d' SELECT 1", "with\nsession x.y=1 select 1",
		"SELECT * FROM causality.lake.events", "SELECT * FROM lake.events", `SELECT * FROM "causality"."lake"."events"`, "SELECT * FROM system.runtime.queries", "SELECT * FROM information_schema.tables",
		"SELECT * FROM events, system.runtime.nodes", "SELECT * FROM events e JOIN system.runtime.nodes n ON true", "SELECT * FROM (events CROSS JOIN system.runtime.nodes)", "SELECT * FROM ((system.runtime.nodes))",
		"SELECT (SELECT count(*) FROM system.runtime.nodes)", "SELECT 1 WHERE EXISTS (SELECT 1 FROM a.b)", "WITH x AS (SELECT * FROM a.b) SELECT * FROM x", "SELECT 1 UNION SELECT 2 FROM a.b", "TABLE a.b", "(TABLE a.b)",
		"SELECT * FROM UNNEST(ARRAY[1]), a.b", "SELECT * FROM events WHERE x IN (TABLE a.b)", "SELECT EXTRACT(year FROM ts) FROM a.b", "SELECT 1 IS DISTINCT FROM 2 FROM a.b", "SELECT * FROM /* c */ a /* c */ . b",
		"SELECT * FROM TABLE(system.table_changes('a', 'b', 1, 2))", "SELECT * FROM TABLE (x())", "SELECT causality.lake.f()", "SELECT system.builtin.abs(1)", `SELECT "$path" FROM events`, `SELECT e."$file_modified_time" FROM events e`,
		"SELECT * FROM lake_rows", "SELECT * FROM Link_Keys", "SELECT 1)", "SELECT 1 FROM events) UNION (SELECT 1 FROM events", "SELECT 'a\x00'",
		"SELECT * FROM events LEFT JOIN LATERAL (SELECT 1 FROM a.b) ON true", "SELECT * FROM events GROUP BY 1 HAVING count(*) > (SELECT 1 FROM a.b)",
	} {
		if out, err := e.compose(query.Request{App: app, SQL: sql}); !fault.Is(err, fault.Invalid) {
			t.Errorf("%q passes as %q, %v", sql, out.sql, err)
		}
	}
	for _, sql := range []string{
		"SELECT 1", "SELECT 'a; b' -- ;\n;", "SELECT e.ts, e.event FROM events AS e WHERE e.event = 'a.b'", `SELECT "a""b".c FROM (VALUES 1) "a""b"(c)`, "VALUES (1, 'x')", "(SELECT 1)", "TABLE events",
		"SELECT EXTRACT(year FROM e.ts), trim(BOTH 'x' FROM e.event), a IS NOT DISTINCT FROM e.b FROM events e, (VALUES 1) AS v(a)", "EXPLAIN SELECT 1", "SELECT substring(event FROM 2) FROM events e ORDER BY e.ts, e.event",
		"WITH function AS (SELECT 1) SELECT * FROM function", "SELECT 1.5e0 FROM events e WHERE e.x.y.z = 1", "SELECT * FROM events JOIN users USING (user_key), UNNEST(ARRAY[1, 2]) AS u(n)",
	} {
		if _, err := e.compose(query.Request{App: app, SQL: sql}); err != nil {
			t.Errorf("%q: %v", sql, err)
		}
	}
}

// The text that people wrote stays in its lines and columns, so that errors point
// into it.
func TestTablesComeBeforeTheText(t *testing.T) {
	t.Parallel()
	e := engine(t)
	sql := "WITH recursive\n  x(n) AS (SELECT count(*) FROM events)\nSELECT n FROM x;"
	out, err := e.compose(query.Request{App: app, SQL: sql, Zone: "Europe/Berlin", Published: query.Published{Events: 7}})
	if err != nil {
		t.Fatal(err)
	}
	lines := strings.Split(out.sql, "\n")[out.before:]
	if got, want := strings.Join(lines, "\n"), ",             \n  x(n) AS (SELECT count(*) FROM events)\nSELECT n FROM x"; got != want {
		t.Errorf("the text became %q", got)
	}
	for _, want := range []string{"FROM causality.lake.events FOR VERSION AS OF 7 WHERE app_id = '" + app + "'", "ts AT TIME ZONE 'Europe/Berlin' AS ts", "WITH RECURSIVE lake_rows(seq,"} {
		if !strings.Contains(out.sql, want) {
			t.Errorf("%q is not in %s", want, out.sql)
		}
	}
	if strings.Contains(out.sql, "causality.lake.links") {
		t.Error("persons are looked up where nobody counts them")
	}
}

func TestConfigNamesWhatIsWrong(t *testing.T) {
	t.Parallel()
	for url, want := range map[string]string{
		"":                          "is not https://host:port",
		"trino:8443":                "is not https://host:port",
		"http://trino.example":      "must be https",
		"https://u:p@trino.example": "CAUSALITY_TRINO_PASSWORD",
	} {
		if _, err := New(Config{URL: url, Logger: slog.New(slog.DiscardHandler)}); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v, want %q", url, err, want)
		}
	}
}
