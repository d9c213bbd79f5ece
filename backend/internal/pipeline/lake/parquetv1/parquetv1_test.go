package parquetv1

import (
	"bytes"
	"database/sql"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	_ "github.com/duckdb/duckdb-go/v2"
	"github.com/google/go-cmp/cmp"
	"github.com/google/uuid"

	"github.com/causality-project/causality/backend/internal/platform/event"
)

// sampleRows makes events of about 500 bytes, sorted as objects hold them.
func sampleRows(n int) []Row {
	random := rand.New(rand.NewPCG(1, 2))
	base := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	names := []string{"page_view", "add_to_cart", "purchase", "search", "signup"}
	rows := make([]Row, n)
	for i := range rows {
		id, _ := uuid.NewV7()
		user := random.IntN(n/10 + 1)
		e := &event.Event{
			ID: event.ID(id), Type: event.Track, Name: names[random.IntN(len(names))],
			TS: base.Add(time.Duration(random.Int64N(int64(time.Hour)))).Truncate(time.Microsecond), ReceivedAt: base.Add(time.Hour),
			AnonymousID: fmt.Sprintf("anon-%08d", user), SessionID: fmt.Sprintf("session-%08d", user),
			Properties: fmt.Sprintf(`{"price":%d,"sku":"sku-%d","title":"A thing that is sold","position":%d,"list":"home"}`, random.IntN(9999), random.IntN(500), random.IntN(20)),
			Context: event.Context{
				Platform: "web", OS: "macOS", OSVersion: "15.1", Browser: "Firefox", DeviceType: "desktop", Country: "DE", City: "Berlin", Locale: "de-DE",
				PageURL: fmt.Sprintf("https://shop.example/products/%d?ref=home", random.IntN(500)), PagePath: fmt.Sprintf("/products/%d", random.IntN(500)),
				ReferrerHost: "search.example", UTMSource: "newsletter", Library: "causality-js", LibraryVersion: "1.0.0",
				Rest: `{"screen":{"width":1440,"height":900},"time_zone":"Europe/Berlin"}`,
			},
		}
		if user%3 == 0 {
			e.UserID = fmt.Sprintf("user-%08d", user)
		}
		rows[i] = Row{Event: e, Seq: int64(i), UserKey: e.OwnKey()}
		if e.Name == "purchase" {
			rows[i].Revenue, rows[i].HasRevenue, rows[i].Currency = float64(i)/4, true, "EUR"
		}
	}
	slices.SortFunc(rows, func(a, b Row) int { return Compare(&a, &b) })
	return rows
}

func TestRowsSurviveTheRoundTrip(t *testing.T) {
	t.Parallel()
	rows := sampleRows(3000)
	rows[7].Event.OriginalTS = time.Date(1970, 1, 2, 0, 0, 0, 0, time.UTC)
	rows[8].Event.Type, rows[8].Event.Traits = event.Identify, `{"set":{"plan":"pro"}}`
	rows[9].Event.Type, rows[9].Event.PreviousID = event.Alias, "old"
	rows[10].Event.Type, rows[10].Event.GroupType, rows[10].Event.GroupID = event.Group, "company", "acme"
	rows[11].UserKey = 0

	for attempt := range 2 { // the second uses the first one's writer again
		var out bytes.Buffer
		if err := Write(&out, "app", rows, map[string]string{"causality.manifest": fmt.Sprint(attempt)}); err != nil {
			t.Fatal(err)
		}
		file, err := Open(bytes.NewReader(out.Bytes()), int64(out.Len()))
		if err != nil {
			t.Fatal(err)
		}
		if file.Rows() != int64(len(rows)) {
			t.Fatalf("footer states %d rows, want %d", file.Rows(), len(rows))
		}
		if got, _ := file.Metadata("causality.manifest"); got != fmt.Sprint(attempt) {
			t.Errorf("metadata %q, want %d", got, attempt)
		}
		reader := file.Read()
		for i := range rows {
			row, err := reader.Next()
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(*rows[i].Event, Decode(row)); diff != "" {
				t.Fatalf("row %d (-written +read):\n%s", i, diff)
			}
			if UserKey(row) != rows[i].UserKey || Seq(row) != rows[i].Seq {
				t.Fatalf("row %d: key %d seq %d, want %d %d", i, UserKey(row), Seq(row), rows[i].UserKey, rows[i].Seq)
			}
		}
		if _, err := reader.Next(); !errors.Is(err, io.EOF) {
			t.Errorf("after the last row: %v, want EOF", err)
		}
		if err := reader.Close(); err != nil {
			t.Error(err)
		}
		var ids []event.ID
		if err := file.ReadIDs(func(some []event.ID) error { ids = append(ids, some...); return nil }); err != nil {
			t.Fatal(err)
		}
		if len(ids) != len(rows) || ids[2999] != rows[2999].Event.ID {
			t.Errorf("read %d ids, want %d in order", len(ids), len(rows))
		}
	}
}

// columns are what SQL sees in an object, by name and type, in file order.
var columns = [][2]string{
	{"app_id", "VARCHAR"},
	{"seq", "BIGINT"},
	{"event_id", "UUID"},
	{"event", "VARCHAR"},
	{"type", "VARCHAR"},
	{"user_key", "BIGINT"},
	{"user_id", "VARCHAR"},
	{"anonymous_id", "VARCHAR"},
	{"session_key", "BIGINT"},
	{"session_id", "VARCHAR"},
	{"ts", "TIMESTAMP WITH TIME ZONE"},
	{"original_ts", "TIMESTAMP WITH TIME ZONE"},
	{"received_at", "TIMESTAMP WITH TIME ZONE"},
	{"platform", "VARCHAR"},
	{"os", "VARCHAR"},
	{"os_version", "VARCHAR"},
	{"app_version", "VARCHAR"},
	{"device_model", "VARCHAR"},
	{"device_type", "VARCHAR"},
	{"browser", "VARCHAR"},
	{"country", "VARCHAR"},
	{"region", "VARCHAR"},
	{"city", "VARCHAR"},
	{"locale", "VARCHAR"},
	{"page_url", "VARCHAR"},
	{"page_path", "VARCHAR"},
	{"referrer_host", "VARCHAR"},
	{"utm_source", "VARCHAR"},
	{"utm_medium", "VARCHAR"},
	{"utm_campaign", "VARCHAR"},
	{"utm_term", "VARCHAR"},
	{"utm_content", "VARCHAR"},
	{"revenue", "DOUBLE"},
	{"currency", "VARCHAR"},
	{"library", "VARCHAR"},
	{"library_version", "VARCHAR"},
	{"correlation_id", "VARCHAR"},
	{"groups", "VARCHAR"},
	{"context", "VARCHAR"},
	{"properties", "VARCHAR"},
	{"traits", "VARCHAR"},
	{"group_type", "VARCHAR"},
	{"group_id", "VARCHAR"},
	{"previous_id", "VARCHAR"},
}

// The engine that answers questions must read the columns by their documented
// types, in row groups that it can read in parallel.
func TestDuckDBReadsTheDocumentedTypes(t *testing.T) {
	t.Parallel()
	rows := sampleRows(RowGroupRows + 1000)
	path := filepath.Join(t.TempDir(), "events.parquet")
	write(t, path, rows)

	db, err := sql.Open("duckdb", "")
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	described, err := db.Query(fmt.Sprintf("SELECT column_name, column_type FROM (DESCRIBE SELECT * FROM '%s')", path))
	if err != nil {
		t.Fatal(err)
	}
	defer described.Close()
	var got [][2]string
	for described.Next() {
		var c [2]string
		if err := described.Scan(&c[0], &c[1]); err != nil {
			t.Fatal(err)
		}
		got = append(got, c)
	}
	if diff := cmp.Diff(columns, got); diff != "" {
		t.Errorf("columns (-documented +read):\n%s", diff)
	}

	var groups, count, found int64
	var id string
	if err := db.QueryRow(fmt.Sprintf("SELECT count(DISTINCT row_group_id) FROM parquet_metadata('%s')", path)).Scan(&groups); err != nil {
		t.Fatal(err)
	}
	wantID := uuid.UUID(rows[0].Event.ID).String()
	query := fmt.Sprintf("SELECT count(*), min(event_id::text) FILTER (seq = %d), count(*) FILTER (event_id = '%s') FROM '%s'", rows[0].Seq, wantID, path)
	if err := db.QueryRow(query).Scan(&count, &id, &found); err != nil {
		t.Fatal(err)
	}
	if groups != 2 || count != int64(len(rows)) || id != wantID || found != 1 {
		t.Errorf("groups %d rows %d id %s found %d; want 2, %d, %s, 1", groups, count, id, found, len(rows), wantID)
	}
	// Absent text is NULL, never empty.
	var empty, absent int64
	if err := db.QueryRow(fmt.Sprintf("SELECT count(*) FILTER (user_id = ''), count(*) FILTER (user_id IS NULL) FROM '%s'", path)).Scan(&empty, &absent); err != nil {
		t.Fatal(err)
	}
	if empty != 0 || absent == 0 {
		t.Errorf("%d empty and %d absent user ids", empty, absent)
	}
}

func TestOpenRefusesOtherLayouts(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "other.parquet")
	db, err := sql.Open("duckdb", "")
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	if _, err := db.Exec(fmt.Sprintf("COPY (SELECT 1 AS x) TO '%s' (FORMAT parquet)", path)); err != nil {
		t.Fatal(err)
	}
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := Open(bytes.NewReader(data), int64(len(data))); err == nil || !strings.Contains(err.Error(), "columns") {
		t.Errorf("Open = %v, want a sentence about columns", err)
	}
	if _, err := Open(bytes.NewReader(data[:len(data)-5]), int64(len(data)-5)); err == nil {
		t.Error("a cut file opens")
	}
}

func write(t testing.TB, path string, rows []Row) {
	t.Helper()
	file, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	if err := Write(file, "app", rows, nil); err != nil {
		t.Fatal(err)
	}
}

func BenchmarkWrite(b *testing.B) {
	for _, n := range []int{10, 1000, 10_000, 100_000} {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			rows := sampleRows(n)
			var size int64
			for b.Loop() {
				var out counter
				if err := Write(&out, "app", rows, nil); err != nil {
					b.Fatal(err)
				}
				size = int64(out)
			}
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/float64(n), "ns/event")
			b.ReportMetric(float64(size)/float64(n), "B/event")
		})
	}
}

type counter int64

func (c *counter) Write(p []byte) (int, error) { *c += counter(len(p)); return len(p), nil }
