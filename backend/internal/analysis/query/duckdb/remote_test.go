package duckdb_test

import (
	"context"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/parquet-go/parquet-go"

	"github.com/causality-project/causality/backend/internal/analysis/query"
	"github.com/causality-project/causality/backend/internal/analysis/query/duckdb"
	"github.com/causality-project/causality/backend/internal/analysis/query/querytest"
	"github.com/causality-project/causality/backend/internal/platform/fault"
)

// sparse are copies of objects that hold what was asked for and zeros elsewhere.
type sparse struct {
	t        *testing.T
	objects  map[string]string // originals by copies
	withhold string            // a column that is never there, unless all is asked for

	mu    sync.Mutex
	asked []string
	whole bool
}

var sparseCopies atomic.Int64

func newSparse(t *testing.T, objects []query.Object) (*sparse, []query.Object) {
	t.Helper()
	s := &sparse{t: t, objects: map[string]string{}}
	objects = slices.Clone(objects)
	for i := range objects {
		path := strings.TrimSuffix(objects[i].Path, ".parquet") + fmt.Sprintf("-%d.parquet", sparseCopies.Add(1))
		s.objects[path] = objects[i].Path
		if err := os.WriteFile(path, nil, 0o644); err != nil {
			t.Fatal(err)
		}
		if err := os.Truncate(path, objects[i].Bytes); err != nil {
			t.Fatal(err)
		}
		objects[i].Path = path
	}
	return s, objects
}

func (s *sparse) load(_ context.Context, paths, columns []string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.whole = s.whole || columns == nil
	s.asked = append(s.asked, columns...)
	for _, path := range paths {
		if err := s.fill(path, columns); err != nil {
			return err
		}
	}
	return nil
}

func (s *sparse) fill(path string, columns []string) error {
	original, err := os.Open(s.objects[path])
	if err != nil {
		return err
	}
	defer original.Close()
	info, err := original.Stat()
	if err != nil {
		return err
	}
	out, err := os.OpenFile(path, os.O_WRONLY, 0)
	if err != nil {
		return err
	}
	defer out.Close()
	part := func(at, n int64) error {
		_, err := io.Copy(io.NewOffsetWriter(out, at), io.NewSectionReader(original, at, n))
		return err
	}
	if columns == nil {
		return part(0, info.Size())
	}
	file, err := parquet.OpenFile(original, info.Size())
	if err != nil {
		return err
	}
	end := int64(0)
	for _, group := range file.Metadata().RowGroups {
		for _, column := range group.Columns {
			m := column.MetaData
			start := m.DataPageOffset
			if m.DictionaryPageOffset > 0 {
				start = min(start, m.DictionaryPageOffset)
			}
			end = max(end, start+m.TotalCompressedSize)
			name := m.PathInSchema[0]
			if name == s.withhold || !slices.Contains(columns, name) {
				continue
			}
			if err := part(start, m.TotalCompressedSize); err != nil {
				return err
			}
		}
	}
	return part(end, info.Size()-end)
}

func remoteEvents() (first, second []querytest.Event) {
	at := time.Date(2026, 3, 2, 12, 0, 0, 0, time.UTC)
	for i := range 3000 {
		e := querytest.Event{
			Name: []string{"view", "buy", "it's"}[i%3], User: fmt.Sprint("user-", i%50), Anonymous: fmt.Sprint("device-", i%70), Session: fmt.Sprint("s", i%90),
			At: at.Add(time.Duration(i) * time.Minute), Properties: fmt.Sprintf(`{"n":%d,"plan":"p%d"}`, i, i%4),
			Columns: map[string]string{"country": []string{"DE", "FR"}[i%2], "page_path": fmt.Sprint("/", i%11)},
		}
		if first = append(first, e); i%5 == 0 {
			e.Properties = `{}`
			second = append(second, e)
		}
	}
	return first, second
}

func TestQueriesLoadTheColumnsThatTheyRead(t *testing.T) {
	t.Parallel()
	first, second := remoteEvents()
	objects := []query.Object{querytest.Write(t, 0, first), querytest.Write(t, 5, second)}
	links := query.Links{Number: 5, ByKey: map[int64]int64{first[0].UserKey(): first[1].UserKey()}}
	whole := query.TablesOf(query.Snapshot{Objects: objects, Links: links})
	pool := querytest.Pool(t, nil)
	for sql, want := range map[string]string{
		"SELECT count(*) FROM events":                                                                                            "type",
		"SELECT count(DISTINCT user_key) FROM events WHERE event = 'it''s'":                                                      "=event =type event type user_key",
		"SELECT country, count(*) FROM events WHERE page_path IN ('/1', '/3') GROUP BY ALL ORDER BY ALL":                         "country page_path type",
		"SELECT sum((properties->>'n')::INT) FROM events WHERE ts >= '2026-03-03' AND country LIKE '%E'":                         "country properties ts type",
		"SELECT session_id FROM events WHERE user_id = 'user-7' ORDER BY ts DESC LIMIT 3":                                        "=user_id session_id ts type user_id",
		"WITH a AS (SELECT event_id, event FROM events) SELECT event, count(DISTINCT event_id) FROM a GROUP BY ALL ORDER BY ALL": "event event_id type",
		"SELECT user_id, events FROM users ORDER BY ALL LIMIT 5":                                                                 "event_id ts type user_id user_key",
		"SELECT count(*) FROM events a JOIN events b USING (event_id) WHERE a.country = 'DE'":                                    "event_id country type",
	} {
		t.Run(sql, func(t *testing.T) {
			t.Parallel()
			expected, err := ask(pool, query.Request{SQL: sql, Tables: whole})
			if err != nil {
				t.Fatal(err)
			}
			s, objects := newSparse(t, objects)
			answer, err := ask(pool, query.Request{SQL: sql, Tables: query.TablesOf(query.Snapshot{Objects: objects, Links: links, Load: s.load})})
			if err != nil {
				t.Fatal(err)
			}
			if fmt.Sprint(answer.Rows) != fmt.Sprint(expected.Rows) || fmt.Sprint(answer.Columns) != fmt.Sprint(expected.Columns) {
				t.Errorf("%v\nwant %v", answer, expected)
			}
			if s.whole {
				t.Error("whole files were loaded")
			}
			for _, name := range strings.Fields(want) {
				if !slices.Contains(s.asked, name) {
					t.Errorf("asked for %q, %s is missing", s.asked, name)
				}
			}
			for _, name := range s.asked {
				if name == "properties" && !strings.Contains(want, name) {
					t.Errorf("asked for %q", s.asked)
				}
			}
		})
	}
}

// Whatever a plan does not tell must end in an error of the engine, never in
// rows made of zeros, and the query must then run over whole files.
func TestAColumnThatIsNotThereIsNeverReadAsRows(t *testing.T) {
	t.Parallel()
	first, _ := remoteEvents()
	objects := []query.Object{querytest.Write(t, 0, first)}
	whole := query.TablesOf(query.Snapshot{Objects: objects})
	pool := querytest.Pool(t, nil)
	for _, name := range []string{"event_id", "event", "user_key", "session_key", "session_id", "ts", "country", "properties"} {
		for _, sql := range []string{
			"SELECT count(%[1]s), min(%[1]s::VARCHAR), max(%[1]s::VARCHAR) FROM events",
			"SELECT count(*) FROM events WHERE length(%[1]s::VARCHAR) %% 2 = 0",
		} {
			sql := fmt.Sprintf(sql, name)
			t.Run(sql, func(t *testing.T) {
				t.Parallel()
				expected, err := ask(pool, query.Request{SQL: sql, Tables: whole})
				if err != nil {
					t.Fatal(err)
				}
				s, objects := newSparse(t, objects)
				s.withhold = name
				answer, err := ask(pool, query.Request{SQL: sql, Tables: query.TablesOf(query.Snapshot{Objects: objects, Load: s.load})})
				if err != nil {
					t.Fatal(err)
				}
				if fmt.Sprint(answer.Rows) != fmt.Sprint(expected.Rows) {
					t.Errorf("%v, want %v", answer.Rows, expected.Rows)
				}
				if !s.whole {
					t.Errorf("it ran without %s", name)
				}
			})
		}
	}
}

func TestPeoplesMistakesLoadNothing(t *testing.T) {
	t.Parallel()
	first, _ := remoteEvents()
	pool := querytest.Pool(t, nil)
	s, objects := newSparse(t, []query.Object{querytest.Write(t, 0, first)})
	tables := query.TablesOf(query.Snapshot{Objects: objects, Load: s.load})
	for _, sql := range []string{"SELECT nothing FROM events", "DROP TABLE events", "SELECT country::INT FROM events"} {
		if _, err := ask(pool, query.Request{SQL: sql, Tables: tables}); !fault.Is(err, fault.Invalid) {
			t.Errorf("%s: %v, want Invalid", sql, err)
		}
	}
	if answer, err := ask(pool, query.Request{SQL: "EXPLAIN SELECT properties FROM events", Tables: tables}); err != nil || len(answer.Rows) == 0 {
		t.Errorf("EXPLAIN: %v, %v", answer, err)
	}
	if s.whole || slices.Contains(s.asked, "properties") {
		t.Errorf("asked for %q, whole files: %v", s.asked, s.whole)
	}
}

func TestObjectsThatDoNotArriveHoldNobodyElseUp(t *testing.T) {
	t.Parallel()
	first, _ := remoteEvents()
	object := querytest.Write(t, 0, first)
	pool := querytest.Pool(t, func(c *duckdb.Config) { c.Processes = 1 })
	waiting := make(chan struct{})
	slow := query.TablesOf(query.Snapshot{Objects: []query.Object{object}, Load: func(ctx context.Context, _, _ []string) error {
		close(waiting)
		<-ctx.Done()
		return ctx.Err()
	}})
	ended := make(chan error, 1)
	go func() {
		_, err := ask(pool, query.Request{SQL: "SELECT count(*) FROM events", Tables: slow, Timeout: 3 * time.Second})
		ended <- err
	}()
	<-waiting
	if _, err := ask(pool, query.Request{SQL: "SELECT count(*) FROM events", Tables: query.TablesOf(query.Snapshot{Objects: []query.Object{object}})}); err != nil {
		t.Error(err)
	}
	select {
	case err := <-ended:
		t.Errorf("the slow question ended first: %v", err)
	default:
	}
	if err := <-ended; !fault.Is(err, fault.Exhausted) || !strings.Contains(err.Error(), "3 s") {
		t.Errorf("the slow question: %v, want Exhausted that names the limit", err)
	}
}
