// Package querytest gives tests a real engine over real Parquet files, written
// to the lake's column list. Only tests import it.
package querytest

import (
	"cmp"
	"context"
	"crypto/sha256"
	"database/sql"
	"database/sql/driver"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	duck "github.com/duckdb/duckdb-go/v2"

	"github.com/causality-project/causality/backend/internal/analysis/query"
	"github.com/causality-project/causality/backend/internal/analysis/query/duckdb"
	"github.com/causality-project/causality/backend/internal/platform/event"
)

const workerVariable = "CAUSALITY_QUERYTEST_WORKER"

// Main runs a package's tests; the test binary is its own query worker. Call it
// from TestMain.
func Main(m *testing.M) {
	if os.Getenv(workerVariable) != "" {
		os.Exit(duckdb.WorkerMain(os.Stdin, os.Stdout))
	}
	os.Exit(m.Run())
}

// Pool starts an engine that ends with the test.
func Pool(t testing.TB, change func(*duckdb.Config)) *duckdb.Pool {
	t.Helper()
	cfg := duckdb.Config{
		Command: []string{"/proc/self/exe"}, Env: []string{workerVariable + "=1"},
		MemoryBytes: 512 << 20, QueueLength: 1_000, TempDir: t.TempDir(), Logger: slog.New(slog.DiscardHandler),
	}
	if change != nil {
		change(&cfg)
	}
	pool, err := duckdb.New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
		defer cancel()
		if err := pool.Close(ctx); err != nil {
			t.Errorf("close the pool: %v", err)
		}
	})
	return pool
}

// Event is a stored row. A zero Type is TRACK, a zero ID is made of the position.
type Event struct {
	ID                             event.ID
	Type                           event.Type
	Name, User, Anonymous, Session string
	At                             time.Time
	Properties                     string            // JSON
	Columns                        map[string]string // other text columns, such as country
	Traits, GroupType, GroupID     string
	Groups                         string
	Key                            int64 // as the sink resolved it; zero: by the event's own ids
}

// UserKey is the person's key as stored; zero for nobody.
func (e Event) UserKey() int64 {
	if e.Key != 0 {
		return e.Key
	}
	own := event.Event{UserID: e.User, AnonymousID: e.Anonymous}
	return own.OwnKey()
}

var textColumns = []string{
	"platform", "os", "os_version", "app_version", "device_model", "device_type", "browser", "country", "region", "city", "locale", "page_url",
	"page_path", "referrer_host", "utm_source", "utm_medium", "utm_campaign", "utm_term", "utm_content", "currency", "library",
	"library_version", "correlation_id",
}

// Write stores events as one object, sorted as the sink sorts.
func Write(t testing.TB, linkNumber int64, events []Event) query.Object {
	t.Helper()
	return WriteFor(t, "app", linkNumber, events)
}

// FileColumns are the columns of an object of Write, by name and type.
func FileColumns() []query.Column {
	columns := []query.Column{
		{Name: "app_id", Type: "VARCHAR"}, {Name: "seq", Type: "BIGINT"}, {Name: "event_id", Type: "UUID"}, {Name: "event", Type: "VARCHAR"},
		{Name: "type", Type: "VARCHAR"}, {Name: "user_key", Type: "BIGINT"}, {Name: "user_id", Type: "VARCHAR"}, {Name: "anonymous_id", Type: "VARCHAR"},
		{Name: "session_key", Type: "BIGINT"}, {Name: "session_id", Type: "VARCHAR"}, {Name: "ts", Type: "TIMESTAMPTZ"},
		{Name: "original_ts", Type: "TIMESTAMPTZ"}, {Name: "received_at", Type: "TIMESTAMPTZ"}, {Name: "revenue", Type: "DOUBLE"},
	}
	for _, name := range append([]string{"groups", "context", "properties", "traits", "group_type", "group_id", "previous_id"}, textColumns...) {
		columns = append(columns, query.Column{Name: name, Type: "VARCHAR"})
	}
	return columns
}

// WriteFor is Write for an app of this id.
func WriteFor(t testing.TB, app string, linkNumber int64, events []Event) query.Object {
	t.Helper()
	events = slices.Clone(events)
	for i := range events {
		if events[i].ID == (event.ID{}) {
			sum := sha256.Sum256(fmt.Appendf(nil, "%s %d", t.Name(), i))
			events[i].ID = event.ID(sum[:16])
		}
		events[i].Type = cmp.Or(events[i].Type, event.Track)
	}
	slices.SortStableFunc(events, func(a, b Event) int {
		return cmp.Or(cmp.Compare(a.UserKey(), b.UserKey()), a.At.Compare(b.At), slices.Compare(a.ID[:], b.ID[:]))
	})
	connector, err := duck.NewConnector("", nil)
	check(t, err)
	defer connector.Close()
	db := sql.OpenDB(connector)
	defer db.Close()
	db.SetMaxOpenConns(1)
	ctx := context.Background()
	conn, err := db.Conn(ctx)
	check(t, err)
	defer conn.Close()

	var definition []string
	for _, c := range FileColumns() {
		definition = append(definition, c.Name+" "+c.Type)
	}
	_, err = conn.ExecContext(ctx, "CREATE TABLE rows ("+strings.Join(definition, ", ")+")")
	check(t, err)
	check(t, conn.Raw(func(raw any) error {
		appender, err := duck.NewAppenderFromConn(raw.(driver.Conn), "", "rows")
		if err != nil {
			return err
		}
		for i, e := range events {
			var key, sessionKey any
			if k := e.UserKey(); k != 0 {
				key = k
			}
			if e.Session != "" {
				sessionKey = event.SessionKey(e.Session)
			}
			row := []driver.Value{
				app, int64(i), duck.UUID(e.ID), e.Name, e.Type.String(), key, absent(e.User), absent(e.Anonymous), sessionKey, absent(e.Session),
				e.At, nil, e.At, nil, absent(e.Groups), nil, absent(e.Properties), absent(e.Traits), absent(e.GroupType), absent(e.GroupID), nil,
			}
			for _, column := range textColumns {
				row = append(row, absent(e.Columns[column]))
			}
			if err := appender.AppendRow(row...); err != nil {
				return err
			}
		}
		return appender.Close()
	}))
	dir := t.TempDir()
	path := filepath.Join(dir, "events.parquet")
	check(t, os.Chmod(filepath.Dir(dir), 0o755)) // the worker is another user when this one is root
	_, err = conn.ExecContext(ctx, "COPY rows TO "+query.Text(path)+" (FORMAT parquet, COMPRESSION zstd)")
	check(t, err)
	check(t, os.Chmod(path, 0o644))
	info, err := os.Stat(path)
	check(t, err)
	return query.Object{ID: path, Path: path, Rows: int64(len(events)), Bytes: info.Size(), LinkNumber: linkNumber}
}

func absent(s string) driver.Value {
	if s == "" {
		return nil
	}
	return s
}

func check(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// Source serves one snapshot to every question.
type Source query.Snapshot

// Snapshot implements query.Source.
func (s Source) Snapshot(context.Context, string, time.Time, time.Time) (query.Snapshot, error) {
	snapshot := query.Snapshot(s)
	snapshot.Release = func() {}
	return snapshot, nil
}

// WriteLinks stores person links as the lake publishes them and returns the
// file's path.
func WriteLinks(t testing.TB, app string, links query.Links) string {
	t.Helper()
	db, err := sql.Open("duckdb", "")
	check(t, err)
	defer db.Close()
	db.SetMaxOpenConns(1)
	ctx := context.Background()
	_, err = db.ExecContext(ctx, "CREATE TABLE rows (app_id VARCHAR, kind VARCHAR, id VARCHAR, from_key BIGINT, to_key BIGINT)")
	check(t, err)
	add := func(kind string, key, id any, to int64) {
		_, err := db.ExecContext(ctx, "INSERT INTO rows VALUES (?, ?, ?, ?, ?)", app, kind, id, key, to)
		check(t, err)
	}
	for from, to := range links.ByKey {
		add("key", from, nil, to)
	}
	for id, to := range links.Changed {
		add("visitor", nil, id, to)
	}
	for id, to := range links.ChangedUsers {
		add("user", nil, id, to)
	}
	path := filepath.Join(t.TempDir(), "links.parquet")
	_, err = db.ExecContext(ctx, "COPY rows TO "+query.Text(path)+" (FORMAT parquet)")
	check(t, err)
	return path
}
