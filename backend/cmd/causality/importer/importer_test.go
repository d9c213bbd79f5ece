package importer

import (
	"bytes"
	"errors"
	"io"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/parquet-go/parquet-go"

	eventv1 "github.com/causality-project/causality/proto/gen/causality/event/v1"
)

// readAll reads a CSV and returns its rows and its broken ones.
func readAll(t *testing.T, text string, delimiter byte) (columns []string, rows [][]string, broken []string) {
	t.Helper()
	r, err := newCSVReader(strings.NewReader(text), delimiter)
	if err != nil {
		t.Fatal(err)
	}
	for {
		row, err := r.Next()
		var bad *RowError
		switch {
		case errors.Is(err, io.EOF):
			return r.Columns(), rows, broken
		case errors.As(err, &bad):
			broken = append(broken, bad.Error())
		case err != nil:
			t.Fatal(err)
		default:
			var cells []string
			for _, v := range row.Values {
				cells = append(cells, v.Text)
			}
			rows = append(rows, cells)
		}
	}
}

func TestCSVAsPeopleWriteIt(t *testing.T) {
	t.Parallel()
	tests := map[string]struct {
		text   string
		rows   [][]string
		broken []string
	}{
		"plain":                {"a,b\n1,2\n", [][]string{{"1", "2"}}, nil},
		"no last line end":     {"a,b\n1,2", [][]string{{"1", "2"}}, nil},
		"byte order mark":      {"\xef\xbb\xbfa,b\n1,2\n", [][]string{{"1", "2"}}, nil},
		"CRLF":                 {"a,b\r\n1,2\r\n", [][]string{{"1", "2"}}, nil},
		"semicolons":           {"a;b\n1,5;2\n", [][]string{{"1,5", "2"}}, nil},
		"tabs":                 {"a\tb\n1\t2\n", [][]string{{"1", "2"}}, nil},
		"bars":                 {"a|b\n1|2\n", [][]string{{"1", "2"}}, nil},
		"delimiter in quotes":  {"\"a;x\",b\n1,2\n", [][]string{{"1", "2"}}, nil},
		"quotes":               {"a,b\n\"x, \"\"y\"\"\",2\n", [][]string{{`x, "y"`, "2"}}, nil},
		"line break in quotes": {"a,b\n\"x\ny\",2\n3,4\n", [][]string{{"x\ny", "2"}, {"3", "4"}}, nil},
		"quote inside a cell":  {"a,b\n5\" disk,2\n", [][]string{{`5" disk`, "2"}}, nil},
		"empty cells":          {"a,b\n,\n", [][]string{{"", ""}}, nil},
		"blank lines":          {"a,b\n\n1,2\n\n", [][]string{{"1", "2"}}, nil},
		"one column":           {"a\nx\n", [][]string{{"x"}}, nil},
		"too few columns":      {"a,b\n1\n3,4\n", [][]string{{"3", "4"}}, []string{"line 2: the row has 1 columns, the header 2"}},
		"too many columns":     {"a,b\n1,2,3\n3,4\n", [][]string{{"3", "4"}}, []string{"line 2: the row has 3 columns, the header 2"}},
		"text after a quote": {"a,b\n1,\"x\"y\n3,4\n", [][]string{{"3", "4"}},
			[]string{"line 2, column 6: after a closing quote comes neither a delimiter nor the end of the row; write a quote inside a cell twice"}},
		"quote never closed": {"a,b\n1,\"x\n3,4\n5,6\n", [][]string{{"3", "4"}, {"5", "6"}},
			[]string{"line 2, column 3: a quote is opened here and never closed"}},
		"not UTF-8": {"a,b\n1,\xff\n3,4\n", [][]string{{"3", "4"}}, []string{"line 2: the 2nd column is not UTF-8"}},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			_, rows, broken := readAll(t, tt.text, 0)
			if !reflect.DeepEqual(rows, tt.rows) || !reflect.DeepEqual(broken, tt.broken) {
				t.Errorf("rows %q, broken %q", rows, broken)
			}
		})
	}
}

func TestOneBrokenRowSwallowsNoOther(t *testing.T) {
	t.Parallel()
	var text bytes.Buffer
	text.WriteString("a,b\n1,\"open\n")
	for range 400_000 { // beyond what one row may hold
		text.WriteString("1,2\n")
	}
	text.WriteString("x," + strings.Repeat("y", maxRecord) + "\nlast,1\n")
	_, rows, broken := readAll(t, text.String(), 0)
	if len(rows) != 400_001 || rows[len(rows)-1][0] != "last" || len(broken) != 2 {
		t.Errorf("%d rows, broken %q", len(rows), broken)
	}
}

func TestHeadersThatCannotBeMeant(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]string{
		"":              "empty",
		"a,,c\n":        "column 2 has no name",
		"a,b,a\n":       `columns 1 and 3 are both named "a"`,
		"\xff\xfea\x00": "UTF-16",
		"a,b\r1,2\r":    "end in CR alone",
	} {
		if _, err := newCSVReader(strings.NewReader(text), 0); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v", text, err)
		}
	}
}

func TestACellIsANumberOnlyIfNothingIsLost(t *testing.T) {
	t.Parallel()
	for cell, want := range map[string]Kind{
		"": Absent, "0": JSON, "7": JSON, "-7": JSON, "11.77": JSON, "0.5": JSON, "-0.25": JSON, "1000000": JSON, "9007199254740992": JSON,
		"00001": Text, "1.10": Text, "12.00": Text, "+5": Text, ".5": Text, "5.": Text, "1e3": Text, "-0": Text, "0x10": Text, "1_000": Text,
		"9007199254740993": Text, "NaN": Text, "Inf": Text, "-": Text, "true": Text, " 7": Text, "1,5": Text,
	} {
		if got := cellKind(cell); got != want {
			t.Errorf("%q: %d, want %d", cell, got, want)
		}
	}
}

func mapped(t *testing.T, columns []string, event string, wanted map[string]string, zone string) *mapping {
	t.Helper()
	location, err := time.LoadLocation(zone)
	if err != nil {
		t.Fatal(err)
	}
	m, _, err := newMapping(columns, event, wanted, location, true)
	if err != nil {
		t.Fatal(err)
	}
	return m
}

func row(line int64, cells ...string) Row {
	r := Row{Line: line}
	for _, cell := range cells {
		r.Values = append(r.Values, Value{Kind: cellKind(cell), Text: cell})
	}
	return r
}

func build(t *testing.T, m *mapping, columns []string, r Row) *eventv1.Event {
	t.Helper()
	e, broken := m.build(columns, r)
	if broken != nil {
		t.Fatal(broken)
	}
	return e
}

func TestUnmappedColumnsBecomePropertiesAsTheyStand(t *testing.T) {
	t.Parallel()
	columns := []string{"customer_id", "date", "cds", "amount_usd", "note", "on"}
	m := mapped(t, columns, "purchase", map[string]string{"user_id": "customer_id", "timestamp": "date"}, "UTC")
	e := build(t, m, columns, row(2, "00001", "1997-01-01", "1", "12.00", "", "true"))
	if e.GetName() != "purchase" || e.GetUserId() != "00001" || e.GetTimestamp().AsTime() != time.Date(1997, 1, 1, 0, 0, 0, 0, time.UTC) {
		t.Errorf("got %v", e)
	}
	if want := `{"amount_usd":"12.00","cds":1,"on":"true"}`; e.GetProperties() != want {
		t.Errorf("properties %s, want %s", e.GetProperties(), want)
	}
}

func TestEqualRowsCountAndASecondImportAddsNothing(t *testing.T) {
	t.Parallel()
	columns := []string{"who", "date", "n"}
	wanted := map[string]string{"user_id": "who", "timestamp": "date"}
	ids := func(columns []string, rows ...Row) (all []string) {
		m := mapped(t, columns, "buy", wanted, "UTC")
		for _, r := range rows {
			all = append(all, build(t, m, columns, r).GetId())
		}
		return all
	}
	rows := []Row{row(2, "a", "1997-01-01", "1"), row(3, "a", "1997-01-01", "1"), row(4, "b", "1997-01-01", "1"), row(5, "a", "1997-01-01", "1")}
	first, again := ids(columns, rows...), ids(columns, rows...)
	if !reflect.DeepEqual(first, again) {
		t.Error("the same file gave other ids")
	}
	seen := map[string]bool{}
	for _, id := range first {
		if seen[id] || id[14] != '8' {
			t.Errorf("id %s", id)
		}
		seen[id] = true
	}
	moved := ids([]string{"n", "who", "date"}, row(2, "1", "a", "1997-01-01"))
	if moved[0] != first[0] {
		t.Error("the order of columns changed an id")
	}
	if other := mapped(t, columns, "sell", wanted, "UTC"); build(t, other, columns, rows[0]).GetId() == first[0] {
		t.Error("another event has the same id")
	}
}

func TestTimesAsFilesHoldThem(t *testing.T) {
	t.Parallel()
	berlin, err := time.LoadLocation("Europe/Berlin")
	if err != nil {
		t.Fatal(err)
	}
	tests := map[string]string{
		"2026-03-30":                "2026-03-29T22:00:00Z",
		"19970101":                  "1996-12-31T23:00:00Z",
		"2026-03-30 01:00:00":       "2026-03-29T23:00:00Z",
		"2026-03-30T01:00:00.25":    "2026-03-29T23:00:00.25Z",
		"2026-03-30T01:00:00Z":      "2026-03-30T01:00:00Z",
		"2026-03-30 01:00:00+02:00": "2026-03-29T23:00:00Z",
		"2026-03-30 01:00:00 UTC":   "2026-03-30T01:00:00Z",
		"1774832400":                "2026-03-30T01:00:00Z",
		"1774832400250":             "2026-03-30T01:00:00.25Z",
		"2026/03/30":                "2026-03-29T22:00:00Z",
	}
	for text, want := range tests {
		got, err := parseTime(text, berlin)
		if err != nil || got.UTC().Format(time.RFC3339Nano) != want {
			t.Errorf("%s: %v %v, want %s", text, got.UTC(), err, want)
		}
	}
	for _, text := range []string{"", "yesterday", "2026-13-01", "30.03.2026", "12", "2026-03-30 01:00:00 CEST"} {
		if _, err := parseTime(text, berlin); err == nil {
			t.Errorf("%q was read as a time", text)
		}
	}
}

func TestBrokenRowsNameLineAndColumn(t *testing.T) {
	t.Parallel()
	columns := []string{"who", "date", "what"}
	m := mapped(t, columns, "", map[string]string{"user_id": "who", "timestamp": "date", "event": "what"}, "UTC")
	for cells, want := range map[[3]string]string{
		{"a", "soon", "buy"}:    `line 9, column 2: timestamp: "soon" is no time`,
		{"a", "", "buy"}:        "line 9, column 2: timestamp: the cell is empty",
		{"a", "1997-01-01", ""}: "line 9, column 3: event: the cell is empty",
	} {
		if _, broken := m.build(columns, row(9, cells[:]...)); broken == nil || !strings.HasPrefix(broken.Error(), want) {
			t.Errorf("%v: %v", cells, broken)
		}
	}
}

func TestWishesThatCannotBeMet(t *testing.T) {
	t.Parallel()
	columns := []string{"who", "date"}
	tests := map[string]struct {
		event  string
		wanted map[string]string
		want   string
	}{
		"missing column":   {"buy", map[string]string{"timestamp": "day"}, `the file has no column "day"; it has who, date`},
		"unknown field":    {"buy", map[string]string{"colour": "who"}, `an event has no field "colour"; there are anonymous_id`},
		"no event":         {"", map[string]string{"timestamp": "date"}, "Give --event NAME"},
		"two events":       {"buy", map[string]string{"timestamp": "date", "event": "who"}, "contradict"},
		"no time":          {"buy", map[string]string{"user_id": "who"}, "Give --map timestamp=COLUMN with one of who, date"},
		"one column twice": {"buy", map[string]string{"timestamp": "date", "user_id": "date"}, "mapped to both"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if _, _, err := newMapping(columns, tt.event, tt.wanted, time.UTC, true); err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("got %v", err)
			}
		})
	}
}

func TestNDJSONKeepsValuesAsTheyStand(t *testing.T) {
	t.Parallel()
	text := "{\"user_id\":\"u1\",\"timestamp\":\"2026-01-01\",\"n\":1.10,\"list\":[1, 2],\"none\":null}\n\n{broken\n[1]\n{\"a\":1} {}\n{\"timestamp\":\"2026-01-02\"}"
	r := newNDJSONReader(strings.NewReader(text))
	m, notes, err := newMapping(r.Columns(), "x", nil, time.UTC, false)
	if err != nil || len(notes) != 2 {
		t.Fatal(err, notes)
	}
	first, err := r.Next()
	if err != nil {
		t.Fatal(err)
	}
	if e := build(t, m, nil, first); e.GetUserId() != "u1" || e.GetProperties() != `{"list":[1,2],"n":1.10}` {
		t.Errorf("got %v", e)
	}
	for _, line := range []string{"line 3", "line 4", "line 5"} {
		var bad *RowError
		if _, err := r.Next(); !errors.As(err, &bad) || !strings.HasPrefix(bad.Error(), line) {
			t.Errorf("%s: %v", line, err)
		}
	}
	if last, err := r.Next(); err != nil || last.Line != 6 {
		t.Errorf("%v %v", last, err)
	}
	if _, err := r.Next(); !errors.Is(err, io.EOF) {
		t.Error(err)
	}
}

func TestParquetKeepsTypes(t *testing.T) {
	t.Parallel()
	type record struct {
		Who   string    `parquet:"who"`
		At    time.Time `parquet:"at,timestamp(microsecond)"`
		Price int64     `parquet:"price,decimal(2:10)"`
		N     int32     `parquet:"n"`
		Share float64   `parquet:"share"`
		Maybe *string   `parquet:"maybe,optional"`
	}
	path := filepath.Join(t.TempDir(), "rows.parquet")
	at := time.Date(2026, 3, 1, 12, 0, 0, 250_000_000, time.UTC)
	if err := parquet.WriteFile(path, []record{{"00001", at, -1200, 7, 0.1, nil}, {"b", at, 5, -1, 2, nil}}); err != nil {
		t.Fatal(err)
	}
	file, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = file.Close() }()
	info, _ := file.Stat()
	r, err := newParquetReader(file, info.Size())
	if err != nil {
		t.Fatal(err)
	}
	m := mapped(t, r.Columns(), "x", map[string]string{"user_id": "who", "timestamp": "at"}, "UTC")
	first, err := r.Next()
	if err != nil {
		t.Fatal(err)
	}
	e := build(t, m, r.Columns(), first)
	if e.GetUserId() != "00001" || !e.GetTimestamp().AsTime().Equal(at) || e.GetProperties() != `{"n":7,"price":-12.00,"share":0.1}` {
		t.Errorf("got %v", e)
	}
	if _, err := r.Next(); err != nil {
		t.Error(err)
	}
	if _, err := r.Next(); !errors.Is(err, io.EOF) {
		t.Error(err)
	}
}
