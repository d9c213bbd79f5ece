package merge

import (
	"bytes"
	"context"
	"database/sql"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	_ "github.com/duckdb/duckdb-go/v2"
	gocmp "github.com/google/go-cmp/cmp"

	"github.com/causality-project/causality/backend/internal/analysis/query"
	"github.com/causality-project/causality/backend/internal/pipeline/lake/parquetv1"
)

// duck is the query engine, with the macros that questions use.
type duck struct{ *sql.DB }

func newDuck(t *testing.T) duck {
	t.Helper()
	db, err := sql.Open("duckdb", "")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = db.Close() })
	for _, statement := range query.TablesOf(query.Snapshot{}).Setup {
		if strings.HasPrefix(statement, "CREATE MACRO") {
			if _, err := db.Exec(statement); err != nil {
				t.Fatal(err)
			}
		}
	}
	return duck{db}
}

func (d duck) count(t *testing.T, query string) (n int64) {
	t.Helper()
	if err := d.QueryRow(query).Scan(&n); err != nil {
		t.Fatalf("%s: %v", query, err)
	}
	return n
}

// same fails unless two queries have the same rows, in the order of a column rn.
func (d duck) same(t *testing.T, what, a, b string) {
	t.Helper()
	n := d.count(t, fmt.Sprintf("SELECT (SELECT count(*) FROM (%[1]s EXCEPT ALL %[2]s)) + (SELECT count(*) FROM (%[2]s EXCEPT ALL %[1]s))", a, b))
	if n != 0 {
		t.Errorf("%s: %d rows differ", what, n)
	}
}

func (d duck) columns(t *testing.T, path string) (columns [][2]string) {
	t.Helper()
	rows, err := d.Query(fmt.Sprintf("SELECT column_name, column_type FROM (DESCRIBE SELECT * FROM '%s')", path))
	if err != nil {
		t.Fatal(err)
	}
	defer rows.Close()
	for rows.Next() {
		var c [2]string
		if err := rows.Scan(&c[0], &c[1]); err != nil {
			t.Fatal(err)
		}
		columns = append(columns, c)
	}
	return columns
}

const timestamps = "TIMESTAMP WITH TIME ZONE"

// The engine reads every object by its documented columns, finds in the
// projections what the events say, in their order, and in promoted columns what
// the JSON says, where they are listed as complete.
func TestTheEngineFindsTheEventsInTheirProjections(t *testing.T) {
	t.Parallel()
	promote := []parquetv1.Promoted{{Name: "plan"}, {Name: "price", Number: true}, {Name: "x", Number: true}, {Name: "absent"}, {Name: "a.b"}}
	for seed, zoneName := range []string{"UTC", "Europe/Berlin", "America/St_Johns"} {
		t.Run(zoneName, func(t *testing.T) {
			t.Parallel()
			db := newDuck(t)
			zone, err := time.LoadLocation(zoneName)
			if err != nil {
				t.Fatal(err)
			}
			random := rand.New(rand.NewPCG(uint64(seed), 9))
			fresh := func(n, seq int) *parquetv1.File {
				rows := randomRows(random, n, seq)
				for i := range rows { // only some objects have what columns cannot say, and only of one year
					if (seq%2 == 0 || rows[i].Event.TS.Year() < 2026) && rows[i].Event.Properties != "" {
						rows[i].Event.Properties = fmt.Sprintf(`{"plan":"%c","x":%d,"price":%d.50,"a.b":"é"}`, 'a'+i%3, i%4, i%9)
					}
				}
				return object(t, rows)
			}
			base := Job{AppID: "app", Settle: true, Zone: zone, TempDir: t.TempDir(), dictionary: 1 + seed%2*dictionaryBytes}
			// Objects that have some of the columns already, of which some complete.
			var earlier shelf
			first := base
			first.Inputs, first.Create, first.Promote = []*parquetv1.File{fresh(500, 1000), fresh(500, 3001)}, earlier.create, promote[:2]
			if _, err := Run(t.Context(), first); err != nil {
				t.Fatal(err)
			}
			second := base
			second.Inputs, second.Promote = []*parquetv1.File{fresh(400, 5000), fresh(10, 7001)}, promote
			if seed%2 == 0 {
				second.Inputs = second.Inputs[:1]
			}
			for _, name := range slices.Sorted(mapsKeys(earlier.objects)) {
				if strings.HasSuffix(name, "-"+Events) {
					second.Inputs = append(second.Inputs, open(t, earlier.objects[name]))
				}
			}
			second.Stale = slices.Repeat([]bool{true}, len(second.Inputs))
			second.Resolve = links
			dir := t.TempDir()
			path := func(part *Part, kind string) string {
				return filepath.Join(dir, fmt.Sprintf("%s-%d-%s.parquet", part.Period.Format("200601"), part.Bucket, kind))
			}
			second.Create = func(_ context.Context, part *Part, kind string, write func(io.Writer) error) (int64, error) {
				var out bytes.Buffer
				if err := write(&out); err != nil {
					return 0, err
				}
				return int64(out.Len()), os.WriteFile(path(part, kind), out.Bytes(), 0o600)
			}
			result, err := Run(t.Context(), second)
			if err != nil {
				t.Fatal(err)
			}
			complete := map[string]int{}
			for _, part := range result.Parts {
				events := path(part, Events)
				checkColumns(t, db, func(kind string) string { return path(part, kind) })
				for _, p := range promote {
					column := `"` + p.Column() + `"`
					json := "property_text(properties, " + query.Text(query.Pointer(p.Name)) + ")"
					unsaid := "coalesce(json_type(properties, " + query.Text(query.Pointer(p.Name)) + "), '') IN ('ARRAY', 'OBJECT')"
					if p.Number {
						json = "text_number(" + json + ")"
						unsaid = "coalesce(json_type(properties, " + query.Text(query.Pointer(p.Name)) + "), 'NULL') NOT IN ('NULL', 'DOUBLE', 'UBIGINT', 'BIGINT')"
					}
					if n := db.count(t, fmt.Sprintf("SELECT count(*) FROM '%s' WHERE %s IS DISTINCT FROM %s AND NOT %s", events, column, json, unsaid)); n != 0 {
						t.Errorf("%s of %d rows is not what the JSON says", column, n)
					}
					said := db.count(t, fmt.Sprintf("SELECT count(*) FROM '%s' WHERE %s", events, unsaid)) == 0
					if slices.Contains(part.Columns, p.Name) != said {
						t.Errorf("%s of %s is listed as complete: %t; it is: %t", column, events, !said, said)
					}
					if said {
						complete[p.Name]++
					}
				}
				hot := "platform, os, app_version, device_type, browser, country, locale, page_path, referrer_host, utm_source, utm_medium, utm_campaign, revenue, p_plan, p_price, p_x, p_absent, \"p_a.b\""
				numbered := func(kind, columns string) string {
					return fmt.Sprintf("SELECT file_row_number + 1 AS rn, %s FROM read_parquet('%s', file_row_number = true)", columns, path(part, kind))
				}
				db.same(t, "by_event", numbered(ByEvent, "event, user_key, ts, "+hot), fmt.Sprintf(
					"SELECT row_number() OVER (ORDER BY event, user_key NULLS FIRST, ts, event_id) AS rn, event, user_key, ts, %s FROM '%s' WHERE type = 'TRACK'", hot, events))
				day := "CAST(timezone('" + zoneName + "', ts) AS DATE)"
				db.same(t, "event_days", numbered(EventDays, "event, day, user_key, n"), fmt.Sprintf(
					"SELECT row_number() OVER (ORDER BY event, day, user_key NULLS FIRST) AS rn, * FROM (SELECT event, %s AS day, user_key, count(*) AS n FROM '%s' WHERE type = 'TRACK' GROUP BY ALL)", day, events))
				db.same(t, "user_days", numbered(UserDays, "user_key, day, n"), fmt.Sprintf(
					"SELECT row_number() OVER (ORDER BY user_key NULLS FIRST, day) AS rn, * FROM (SELECT user_key, %s AS day, count(*) AS n FROM '%s' WHERE type = 'TRACK' GROUP BY ALL)", day, events))
				for _, kind := range []string{ByEvent, EventDays, UserDays} {
					if n := db.count(t, fmt.Sprintf("SELECT count(*) FROM '%s'", path(part, kind))); n != part.Objects[kind].Rows {
						t.Errorf("%s has %d rows, the part states %d", kind, n, part.Objects[kind].Rows)
					}
				}
			}
			if complete["plan"] == 0 || complete["price"] == 0 || complete["plan"] == len(result.Parts) || complete["absent"] != len(result.Parts) {
				t.Errorf("complete by column: %v of %d parts; the inputs do not try both ways", complete, len(result.Parts))
			}
		})
	}
}

func mapsKeys(m map[string][]byte) func(func(string) bool) {
	return func(yield func(string) bool) {
		for k := range m {
			if !yield(k) {
				return
			}
		}
	}
}

func checkColumns(t *testing.T, db duck, path func(kind string) string) {
	t.Helper()
	promoted := [][2]string{{"p_plan", "VARCHAR"}, {"p_price", "DOUBLE"}, {"p_x", "DOUBLE"}, {"p_absent", "VARCHAR"}, {"p_a.b", "VARCHAR"}}
	events := db.columns(t, path(Events))
	if len(events) != parquetv1.ColPromoted+len(promoted) {
		t.Errorf("events has %d columns", len(events))
	} else if diff := gocmp.Diff(promoted, events[parquetv1.ColPromoted:]); diff != "" {
		t.Errorf("events (-want +got):\n%s", diff)
	}
	byEvent := [][2]string{{"event", "VARCHAR"}, {"user_key", "BIGINT"}, {"ts", timestamps}}
	for _, name := range []string{"platform", "os", "app_version", "device_type", "browser", "country", "locale", "page_path", "referrer_host", "utm_source", "utm_medium", "utm_campaign"} {
		byEvent = append(byEvent, [2]string{name, "VARCHAR"})
	}
	for kind, want := range map[string][][2]string{
		ByEvent:   append(append(byEvent, [2]string{"revenue", "DOUBLE"}), promoted...),
		EventDays: {{"event", "VARCHAR"}, {"day", "DATE"}, {"user_key", "BIGINT"}, {"n", "BIGINT"}},
		UserDays:  {{"user_key", "BIGINT"}, {"day", "DATE"}, {"n", "BIGINT"}},
	} {
		if diff := gocmp.Diff(want, db.columns(t, path(kind))); diff != "" {
			t.Errorf("%s (-want +got):\n%s", kind, diff)
		}
	}
}

// The same job writes the same bytes, in whatever order its inputs come.
func TestOutputsDoNotDependOnTheOrderOfInputs(t *testing.T) {
	t.Parallel()
	random := rand.New(rand.NewPCG(1, 1))
	inputs := make([]*parquetv1.File, 5)
	for i := range inputs {
		inputs[i] = object(t, randomRows(random, 300, 1000*i))
	}
	job := Job{AppID: "app", Settle: true, Zone: time.UTC, Promote: []parquetv1.Promoted{{Name: "plan"}, {Name: "x", Number: true}}, TempDir: t.TempDir(), Target: 20_000}
	var first shelf
	job.Inputs, job.Create = inputs, first.create
	if _, err := Run(t.Context(), job); err != nil {
		t.Fatal(err)
	}
	for range 3 {
		var again shelf
		job.Create = again.create
		job.Inputs = slices.Clone(inputs)
		random.Shuffle(len(inputs), func(i, j int) { job.Inputs[i], job.Inputs[j] = job.Inputs[j], job.Inputs[i] })
		if _, err := Run(t.Context(), job); err != nil {
			t.Fatal(err)
		}
		for name, data := range first.objects {
			if !bytes.Equal(data, again.objects[name]) {
				t.Errorf("%s differs", name)
			}
		}
	}
}

// What a job holds in memory stays under what its documentation says.
func TestMemoryIsBounded(t *testing.T) {
	const rows = 200_000
	inputs := shop(t, rows, 8)
	live := func() int64 {
		runtime.GC()
		runtime.GC() // pools let go at the second
		var stats runtime.MemStats
		runtime.ReadMemStats(&stats)
		return int64(stats.HeapAlloc)
	}
	before := live()
	var most, calls int64
	job := Job{
		AppID: "app", Inputs: inputs, Settle: true, Zone: time.UTC, Promote: []parquetv1.Promoted{{Name: "product_id"}}, TempDir: t.TempDir(), dictionary: 1 << 20,
		Pace: func(ctx context.Context) error {
			if calls++; calls%80 == 0 {
				most = max(most, live()-before)
			}
			return ctx.Err()
		},
		Create: func(_ context.Context, _ *Part, _ string, write func(io.Writer) error) (int64, error) {
			var n counter
			err := write(&n)
			return int64(n), err
		},
	}
	result, err := Run(t.Context(), job)
	if err != nil {
		t.Fatal(err)
	}
	// The dictionary is small here, so that the rest of what is fixed shows.
	limit := result.Rows*bytesPerRow + 2*spoolMemory
	t.Logf("%d rows: %d MiB at most, the limit is %d", result.Rows, most>>20, limit>>20)
	if calls < 500 || most > limit {
		t.Errorf("%d MiB at most, want %d; %d samples", most>>20, limit>>20, calls/80)
	}
}
