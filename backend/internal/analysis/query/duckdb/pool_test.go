package duckdb_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/causality-project/causality/backend/internal/analysis/query"
	"github.com/causality-project/causality/backend/internal/analysis/query/duckdb"
	"github.com/causality-project/causality/backend/internal/analysis/query/querytest"
	"github.com/causality-project/causality/backend/internal/platform/fault"
)

func TestMain(m *testing.M) { querytest.Main(m) }

var noon = time.Date(2026, 3, 2, 12, 0, 0, 0, time.UTC)

func tables(t testing.TB) query.Tables {
	t.Helper()
	object := querytest.Write(t, 0, []querytest.Event{{Name: "a", User: "u", At: noon, Properties: `{"n":1}`}, {Name: "b", User: "u", At: noon}})
	return query.TablesOf(query.Snapshot{Objects: []query.Object{object}})
}

func ask(pool *duckdb.Pool, request query.Request) (*query.Answer, error) {
	ctx, cancel := context.WithTimeout(context.Background(), 60*time.Second)
	defer cancel()
	return query.Collect(ctx, pool, request)
}

// Each line tries to write, to read what is not the app's, to change the
// sandbox, or to run more than one statement. None may get past the guard, and
// the files must be as they were.
func TestAttacksAreRefused(t *testing.T) {
	t.Parallel()
	tables := tables(t)
	file := tables.Files[0]
	outside := filepath.Join(t.TempDir(), "out.csv")
	attacks := []string{
		// Writing.
		"COPY (SELECT 1) TO '" + outside + "'",
		"COPY events TO '" + file + "' (use_tmp_file false)",
		"EXPLAIN ANALYZE COPY (SELECT 1) TO '" + outside + "'",
		"EXPLAIN (ANALYZE) COPY (SELECT 1) TO '" + outside + "'",
		"EXPLAIN COPY (SELECT 1) TO '" + outside + "'",
		"EXPLAIN/**/ANALYZE SELECT 1",
		"explain -- x\nanalyze SELECT 1",
		"EXPLAIN EXPLAIN SELECT 1",
		"EXPORT DATABASE '" + filepath.Dir(outside) + "'",
		"CREATE TABLE t AS SELECT 1", "CREATE VIEW v AS SELECT 1", "CREATE MACRO m() AS 1", "CREATE OR REPLACE VIEW events AS SELECT 1",
		"CREATE FUNCTION f(x) AS x", "CREATE SECRET s (TYPE s3)", "CREATE SEQUENCE s",
		"INSERT INTO events SELECT * FROM events", "UPDATE events SET event = 'x'", "DELETE FROM events", "DROP VIEW events", "ALTER VIEW events RENAME TO e",
		"TRUNCATE events", "VACUUM", "CHECKPOINT", "ANALYZE",
		// The sandbox.
		"SET memory_limit = '100GB'", "RESET memory_limit", "SET enable_external_access = true", "SET lock_configuration = false", "SET TimeZone = 'UTC'",
		"PRAGMA enable_profiling", "PRAGMA database_list", "PRAGMA version", "PRAGMA enable_profiling='query_tree'; SELECT 1",
		"ATTACH 'x.db'", "ATTACH ':memory:' AS m", "DETACH memory", "USE memory", "INSTALL httpfs", "LOAD httpfs", "FORCE INSTALL httpfs", "UPDATE EXTENSIONS",
		"CALL pragma_version()", "BEGIN", "COMMIT", "PREPARE p AS SELECT 1", "EXECUTE p", "DEALLOCATE p", "SET VARIABLE x = 1",
		// More than one statement.
		"SELECT 1; SELECT 2", "SELECT 1; DROP VIEW events", "SELECT 1;;SELECT 2", "SELECT 1 /* ; */ ; COPY events TO '" + outside + "'",
		"SELECT 1 -- x\n; SELECT 2", "SELECT ';' ; SELECT 2", "SELECT $$;$$; SELECT 2", "SELECT 1) ; SELECT (2", "SELECT 1) AS a; DROP VIEW events; SELECT * FROM (SELECT 1",
		// Files.
		"SELECT * FROM '" + file + "'", "FROM '/etc/passwd'", "SELECT * FROM \"/etc/passwd\"", "SELECT * FROM 'x.parquet'", "FROM \"x.csv\"", "FROM 'https://example.com/x.csv'",
		"SELECT * FROM read_parquet('" + file + "')", "SELECT * FROM parquet_scan('" + file + "')", "SELECT * FROM read_csv('/etc/passwd')", "SELECT * FROM read_csv_auto('/etc/passwd')",
		"SELECT * FROM read_text('/etc/passwd')", "SELECT * FROM read_blob('/etc/passwd')", "SELECT * FROM read_json('/etc/passwd')", "SELECT * FROM read_ndjson_objects('/etc/passwd')",
		"SELECT * FROM glob('/*')", "SELECT * FROM sniff_csv('/etc/passwd')", "SELECT * FROM parquet_metadata('" + file + "')", "SELECT * FROM parquet_schema('" + file + "')",
		"SELECT * FROM parquet_kv_metadata('" + file + "')", "SELECT * FROM parquet_file_metadata('" + file + "')", "SELECT * FROM parquet_bloom_probe('" + file + "', 'event', 'a')",
		"SELECT (SELECT content FROM read_text('/etc/passwd'))", "SELECT * FROM events WHERE event IN (SELECT content FROM read_text('/etc/passwd'))",
		"WITH x AS (SELECT * FROM read_text('/etc/passwd')) FROM x", "SELECT * FROM (VALUES (1)) JOIN read_text('/etc/passwd') ON true",
		"SELECT 1 UNION ALL SELECT content FROM read_text('/etc/passwd')", "SELECT * FROM range(1), LATERAL (SELECT * FROM read_text('/etc/passwd'))",
		"SELECT 1 ORDER BY (SELECT content FROM read_text('/etc/passwd'))", "SELECT 1 LIMIT (SELECT length(content) FROM read_text('/etc/passwd'))",
		"SELECT count(*) FILTER (WHERE EXISTS (FROM read_text('/etc/passwd')))", "SELECT [x FOR x IN (SELECT content FROM read_text('/etc/passwd'))]",
		"SELECT sum(1) OVER (ORDER BY (SELECT content FROM read_text('/etc/passwd')))", "SELECT CASE WHEN (SELECT true FROM read_text('/etc/passwd')) THEN 1 END",
		"DESCRIBE '/etc/passwd'", "SUMMARIZE '" + file + "'", "DESCRIBE SELECT * FROM read_text('/etc/passwd')", "FROM range((SELECT length(content) FROM read_text('/etc/passwd')))",
		"WITH \"x.parquet\" AS (SELECT 1) SELECT * FROM \"x.parquet\"", "WITH \"/etc/passwd\" AS (SELECT 1) SELECT 1",
		"SELECT * FROM (WITH secrets AS (SELECT 1) FROM secrets), secrets",
		// A WITH query that is named like what its own text, or an earlier query's, wants to reach.
		"WITH sqlite_master AS (FROM sqlite_master) FROM sqlite_master", "WITH lake_rows AS (SELECT * FROM lake_rows) FROM lake_rows",
		"WITH duckdb_views AS MATERIALIZED (FROM DUCKDB_VIEWS) FROM duckdb_views", "WITH a AS (FROM sqlite_master), sqlite_master AS (SELECT 1) FROM a",
		"WITH RECURSIVE sqlite_master AS (SELECT name FROM sqlite_master UNION ALL SELECT name FROM sqlite_master WHERE false) FROM sqlite_master",
		"WITH RECURSIVE a AS (FROM sqlite_master), sqlite_master AS (SELECT 1) FROM a",
		"WITH RECURSIVE lake_rows AS (SELECT event FROM lake_rows UNION SELECT event FROM lake_rows) FROM lake_rows",
		"SELECT (WITH lake_rows AS (FROM lake_rows) SELECT count(*) FROM lake_rows)", "WITH x AS (FROM (WITH lake_rows AS (FROM lake_rows) FROM lake_rows)) FROM x",
		// The catalogue and the process.
		"SELECT * FROM duckdb_settings()", "SELECT * FROM duckdb_tables()", "SELECT * FROM duckdb_views()", "SELECT * FROM duckdb_secrets()", "SELECT * FROM duckdb_functions()",
		"SELECT * FROM duckdb_temporary_files()", "SELECT * FROM duckdb_memory()", "SELECT * FROM pragma_table_info('events')", "SELECT * FROM pragma_show('events')",
		"SELECT * FROM pragma_storage_info('events')", "SELECT * FROM information_schema.tables", "SELECT * FROM pg_catalog.pg_class", "SELECT * FROM sqlite_master", "SELECT * FROM duckdb_tables",
		"SELECT * FROM lake_rows", "SELECT * FROM main.lake_rows", "SELECT * FROM memory.main.events", "SELECT * FROM main.events", "SELECT * FROM link_keys", "SHOW TABLES", "SHOW ALL TABLES",
		"SHOW DATABASES", "DESCRIBE", "SHOW memory_limit", "SELECT getenv('HOME')", "SELECT current_setting('allowed_paths')", "SELECT current_setting('temp_directory')", "SELECT version()",
		"SELECT current_database()", "SELECT current_schemas(true)", "SELECT getvariable('x')", "SELECT write_log('x')", "SELECT nextval('s')", "SELECT pg_get_viewdef(1)",
		"SELECT * FROM query('SELECT 1')", "SELECT * FROM query_table('events')", "SELECT * FROM query_table(['events'])", "SELECT json_serialize_sql('SELECT 1')",
		"SELECT * FROM json_execute_serialized_sql('{}')", "SELECT * FROM sql_auto_complete('S')", "SELECT * FROM repeat_row(1, num_rows = 5)", "SELECT * FROM test_all_types()",
		"SELECT * FROM seq_scan('events')", "SELECT * FROM arrow_scan(1, 2, 3)", "SELECT * FROM pandas_scan(1)", "SELECT pg_catalog.getenv('x')", "SELECT system.main.getenv('x')",
		"SELECT * FROM checkpoint()", "SELECT * FROM force_checkpoint()", "SELECT * FROM which_secret('x', 's3')", "SELECT * FROM icu_calendar_names()",
		"SELECT * FROM events AT (VERSION => 1)", "PIVOT events ON event USING count(*)", "FROM unknown_table", "SELECT error('x')", "SELECT sleep_ms(100000)",
		// Nonsense.
		"", ";", "-- nothing", "/* nothing", "selec 1", "SELECT '", "SELECT \x00", "EXPLAIN", "EXPLAIN ;", "(((((",
	}
	before, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	pool := querytest.Pool(t, nil)
	var wait sync.WaitGroup
	for _, sql := range attacks {
		wait.Go(func() {
			answer, err := ask(pool, query.Request{SQL: sql, Tables: tables})
			if err == nil {
				t.Errorf("%q ran: %v", sql, answer.Rows)
				return
			}
			var f *fault.Error
			if !errors.As(err, &f) || f.Kind != fault.Invalid {
				t.Errorf("%q: %v, want an Invalid fault", sql, err)
			} else if strings.Contains(f.Message, filepath.Dir(file)) && !strings.Contains(sql, file) {
				t.Errorf("%q shows a path: %s", sql, f.Message)
			}
		})
	}
	wait.Wait()
	after, err := os.ReadFile(file)
	if err != nil || string(after) != string(before) {
		t.Errorf("the object changed (%v)", err)
	}
	if _, err := os.Stat(outside); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("a file was written: %v", err)
	}
}

// The guard is one wall. Behind it DuckDB's own locks must hold for SQL that is
// not guarded.
func TestSandboxHoldsWithoutTheGuard(t *testing.T) {
	t.Parallel()
	tables := tables(t)
	pool := querytest.Pool(t, nil)
	for _, sql := range []string{
		"SELECT * FROM read_text('/etc/passwd')", "FROM '/etc/passwd'", "SELECT * FROM glob('/*')", "SELECT * FROM read_parquet('/tmp/*.parquet')",
	} {
		if answer, err := ask(pool, query.Request{SQL: sql, Tables: tables, Trusted: true}); err == nil {
			t.Errorf("%q ran: %v", sql, answer.Rows)
		}
	}
}

func TestMemoryBombsEndOneQueryOnly(t *testing.T) {
	t.Parallel()
	tables := tables(t)
	pool := querytest.Pool(t, func(c *duckdb.Config) { c.MemoryBytes, c.TempBytes = 128<<20, 64<<20 })
	bombs := []string{
		"SELECT count(DISTINCT (a.range, b.range)) FROM range(100000) a, range(100000) b",
		"SELECT list(a.range) FROM range(1000000000) a",
		"SELECT length(repeat('x', 1000000000)) + length(repeat('y', 1000000000)) + length(repeat('z', 1500000000))",
		"SELECT repeat('x', 1000000000)",
		"WITH RECURSIVE r(s) AS (SELECT 'x' UNION ALL SELECT s || s FROM r) SELECT max(length(s)) FROM r",
		"SELECT string_agg(repeat('x', 10000)) FROM range(1000000)",
		"SELECT * FROM range(50000000) a ORDER BY hash(a.range)",
	}
	var wait sync.WaitGroup
	for _, sql := range bombs {
		wait.Go(func() {
			_, err := ask(pool, query.Request{SQL: sql, Tables: tables, Timeout: 20 * time.Second, MaxBytes: 64 << 20})
			if kind := fault.KindOf(err); err == nil || kind != fault.Exhausted && kind != fault.Invalid {
				t.Errorf("%q: %v", sql, err)
			}
		})
	}
	wait.Wait()
	if answer, err := ask(pool, query.Request{SQL: "SELECT count(*) FROM events", Tables: tables}); err != nil || answer.Rows[0][0].Text != "2" {
		t.Errorf("the query after the bombs: %v, %v", answer, err)
	}
}

const endless = "SELECT count(*) FROM range(10000000000) a, range(10000000000) b WHERE (a.range * b.range) % 7 = 3"

func TestCancelTakesEffectWithinASecond(t *testing.T) {
	t.Parallel()
	pool := querytest.Pool(t, nil)
	ctx, cancel := context.WithCancel(context.Background())
	running := make(chan struct{})
	time.AfterFunc(500*time.Millisecond, func() { close(running); cancel() })
	_, err := query.Collect(ctx, pool, query.Request{SQL: endless})
	<-running
	stopped := time.Now()
	if !fault.Is(err, fault.Canceled) {
		t.Fatalf("error %v, want Canceled", err)
	}
	// The engine's process must be free, or gone, too.
	if _, err := ask(pool, query.Request{SQL: "SELECT 1"}); err != nil {
		t.Fatal(err)
	}
	if took := time.Since(stopped); took > 2*time.Second {
		t.Errorf("the next answer came after %s", took)
	}
}

func TestTimeoutSaysItsLimit(t *testing.T) {
	t.Parallel()
	_, err := ask(querytest.Pool(t, nil), query.Request{SQL: endless, Timeout: 300 * time.Millisecond})
	if !fault.Is(err, fault.Exhausted) || !strings.Contains(err.Error(), "0.3 s limit") {
		t.Errorf("error %v, want Exhausted that names the limit", err)
	}
}

func TestKilledEngineIsReplaced(t *testing.T) {
	t.Parallel()
	pool := querytest.Pool(t, nil)
	killed := make(chan error, 1)
	sink := sinkFunc(func(row []query.Cell) error {
		if row[0].Text == "0" {
			killed <- killChildrenOf(t, os.Getpid(), pool)
		}
		return nil
	})
	_, err := pool.Query(context.Background(), query.Request{SQL: "SELECT range, repeat('x', 1000) FROM range(100000)"}, sink)
	if kill := <-killed; kill != nil {
		t.Fatal(kill)
	}
	if !fault.Is(err, fault.Exhausted) {
		t.Errorf("error %v, want Exhausted", err)
	}
	if _, err := ask(pool, query.Request{SQL: "SELECT 1"}); err != nil {
		t.Error(err)
	}
}

type sinkFunc func([]query.Cell) error

func (f sinkFunc) Columns([]query.Column) error { return nil }
func (f sinkFunc) Row(row []query.Cell) error   { return f(row) }

func killChildrenOf(_ *testing.T, _ int, pool *duckdb.Pool) error {
	pids := duckdb.Children(pool)
	if len(pids) != 1 {
		return fmt.Errorf("children %v, want one", pids)
	}
	return syscall.Kill(pids[0], syscall.SIGKILL)
}

func TestSinkErrorEndsTheQueryAndKeepsTheEngine(t *testing.T) {
	t.Parallel()
	pool := querytest.Pool(t, nil)
	full := errors.New("the disk is full")
	n := 0
	_, err := pool.Query(context.Background(), query.Request{SQL: "SELECT range FROM range(1000000)"}, sinkFunc(func([]query.Cell) error {
		n++
		return full
	}))
	if !errors.Is(err, full) || n != 1 {
		t.Errorf("error %v after %d rows", err, n)
	}
}

func TestLimitsCutAndRefuse(t *testing.T) {
	t.Parallel()
	pool := querytest.Pool(t, nil)
	answer, err := ask(pool, query.Request{SQL: "SELECT * FROM range(10)", MaxRows: 3})
	if err != nil || len(answer.Rows) != 3 || !answer.Truncated {
		t.Errorf("%d rows, truncated %v, %v", len(answer.Rows), answer.Truncated, err)
	}
	answer, err = ask(pool, query.Request{SQL: "SELECT * FROM range(3)", MaxRows: 3})
	if err != nil || len(answer.Rows) != 3 || answer.Truncated {
		t.Errorf("exactly the limit: %d rows, truncated %v, %v", len(answer.Rows), answer.Truncated, err)
	}
	_, err = ask(pool, query.Request{SQL: "SELECT repeat('x', 1000) FROM range(2000)", MaxBytes: 1 << 20})
	if !fault.Is(err, fault.Exhausted) {
		t.Errorf("error %v, want Exhausted", err)
	}
}

func TestQueueIsBoundedAndFair(t *testing.T) {
	t.Parallel()
	pool := querytest.Pool(t, func(c *duckdb.Config) { c.Processes, c.QueueLength = 1, 2 })
	ctx, cancel := context.WithCancel(context.Background())
	var wait sync.WaitGroup
	started := make(chan struct{})
	wait.Go(func() {
		var once sync.Once
		_, _ = pool.Query(ctx, query.Request{Workspace: "greedy", SQL: "SELECT range FROM range(100000)"}, sinkFunc(func([]query.Cell) error {
			once.Do(func() { close(started) })
			<-ctx.Done()
			return ctx.Err()
		}))
	})
	<-started
	order := make(chan string, 3)
	for i, workspace := range []string{"greedy", "greedy", "modest"} {
		wait.Go(func() {
			if _, err := ask(pool, query.Request{Workspace: workspace, SQL: "SELECT 1"}); err != nil {
				t.Error(err)
			}
			order <- workspace
		})
		deadline := time.Now().Add(5 * time.Second)
		for duckdb.Waiting(pool) <= i && time.Now().Before(deadline) {
			time.Sleep(time.Millisecond)
		}
	}
	if _, err := ask(pool, query.Request{Workspace: "greedy", SQL: "SELECT 1"}); !fault.Is(err, fault.Exhausted) {
		t.Errorf("a third of one workspace: %v, want Exhausted", err)
	}
	cancel()
	wait.Wait()
	if first, second := <-order, <-order; first != "greedy" || second != "modest" {
		t.Errorf("served %s, %s; want greedy, modest", first, second)
	}
}

func TestEngineReadsWhereItsUserCannotEnter(t *testing.T) {
	t.Parallel()
	if os.Geteuid() != 0 {
		return // only root's data directories need it
	}
	dir := t.TempDir()
	tables := tables(t)
	objects := filepath.Join(dir, "root's home", "objects")
	if err := os.MkdirAll(objects, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(filepath.Dir(objects), 0o700); err != nil {
		t.Fatal(err)
	}
	data, err := os.ReadFile(tables.Files[0])
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(objects, "events.parquet")
	if err := os.WriteFile(path, data, 0o644); err != nil {
		t.Fatal(err)
	}
	tables = query.TablesOf(query.Snapshot{Objects: []query.Object{{Path: path}}})
	pool := querytest.Pool(t, func(c *duckdb.Config) { c.ReadDirs = []string{objects} })
	if answer, err := ask(pool, query.Request{SQL: "SELECT count(*) FROM events", Tables: tables}); err != nil || answer.Rows[0][0].Text != "2" {
		t.Errorf("answer %v, %v", answer, err)
	}
	if _, err := ask(pool, query.Request{SQL: "COPY (SELECT 1) TO '" + path + "'", Tables: tables, Trusted: true}); err == nil {
		t.Error("the engine wrote into a directory that it may only read")
	}
}

func TestProfilesCannotCorruptFrames(t *testing.T) {
	t.Parallel()
	pool := querytest.Pool(t, nil)
	tables := tables(t)
	tables.Setup = append(tables.Setup, "PRAGMA enable_profiling")
	if answer, err := ask(pool, query.Request{SQL: "SELECT count(*) FROM events", Tables: tables}); err != nil || answer.Rows[0][0].Text != "2" {
		t.Errorf("answer %v, %v", answer, err)
	}
}

func TestAMissingOrDamagedObjectIsTold(t *testing.T) {
	t.Parallel()
	pool := querytest.Pool(t, nil)
	event := []querytest.Event{{Name: "a", User: "u", At: noon, Properties: `{"n":1}`}}
	whole := querytest.Write(t, 0, event)
	for _, test := range []struct {
		state, says string
		damage      func(data []byte) []byte
	}{
		{"missing", "missing.parquet", func([]byte) []byte { return nil }},
		{"empty", "empty.parquet", func([]byte) []byte { return []byte{} }},
		{"cut", "cut.parquet", func(data []byte) []byte { return data[:len(data)/2] }},
		{"damaged", "A stored object", func(data []byte) []byte { clear(data[4 : len(data)/2]); return data }},
	} {
		object := querytest.Write(t, 0, event)
		data, err := os.ReadFile(object.Path)
		if err != nil {
			t.Fatal(err)
		}
		object.Path = filepath.Join(filepath.Dir(object.Path), test.state+".parquet")
		if data = test.damage(data); data != nil {
			if err := os.WriteFile(object.Path, data, 0o644); err != nil {
				t.Fatal(err)
			}
		}
		for _, objects := range [][]query.Object{{whole, object}, {object, whole}} {
			_, err = ask(pool, query.Request{SQL: "SELECT * FROM events", Tables: query.TablesOf(query.Snapshot{Objects: objects})})
			if !fault.Is(err, fault.Unavailable) || !strings.Contains(err.Error(), test.says) || !strings.Contains(err.Error(), "lake verify") ||
				strings.Contains(err.Error(), filepath.Dir(object.Path)) {
				t.Errorf("%s: %v, want Unavailable that says %q and no path", test.state, err, test.says)
			}
		}
	}
	if _, err := ask(pool, query.Request{SQL: "SELECT 'whole.parquet'::INT"}); !fault.Is(err, fault.Invalid) {
		t.Errorf("an ordinary mistake: %v, want Invalid", err)
	}
}

func TestParametersWithoutValuesAreTold(t *testing.T) {
	t.Parallel()
	pool := querytest.Pool(t, nil)
	for sql, params := range map[string][]any{
		"SELECT $1": nil, "SELECT ?, ?": {1.0}, "SELECT $wanted": nil, "EXPLAIN SELECT $1": nil,
	} {
		if _, err := ask(pool, query.Request{SQL: sql, Params: params}); !fault.Is(err, fault.Invalid) || !strings.Contains(err.Error(), "a value for each") {
			t.Errorf("%s: error %v, want Invalid that asks for values", sql, err)
		}
	}
}

func TestErrorsPointAtTheirPlace(t *testing.T) {
	t.Parallel()
	pool := querytest.Pool(t, nil)
	tables := tables(t)
	for sql, want := range map[string]string{
		"SELECT usr_id FROM events":       `"user_id"`,
		"SELECT 1 FROM events\nWHERE x (": "LINE 2: WHERE x (",
		"SELECT * FROM evnts":             "the tables are events, users, groups and sessions",
		"SELECT 'x'::INT":                 "Could not convert",
	} {
		_, err := ask(pool, query.Request{SQL: sql, Tables: tables})
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v, want %q in it", sql, err, want)
		}
	}
}
