//go:build trino

package trino_test

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/causality-project/causality/backend/internal/analysis/query"
	"github.com/causality-project/causality/backend/internal/analysis/query/querytest"
	"github.com/causality-project/causality/backend/internal/analysis/query/trino"
	"github.com/causality-project/causality/backend/internal/analysis/query/trino/trinotest"
	"github.com/causality-project/causality/backend/internal/platform/event"
	"github.com/causality-project/causality/backend/internal/platform/fault"
)

func itoa(n int64) string { return strconv.FormatInt(n, 10) }

func TestPersonLinksApply(t *testing.T) {
	t.Parallel()
	server := trinotest.Start(t)
	ann, bob, device, shared := event.UserKey("ann"), event.UserKey("bob"), event.AnonymousKey("device"), event.AnonymousKey("shared")
	app := trinotest.NewApp()
	server.Lake.Add(t, app, []querytest.Event{
		{Name: "visit", Anonymous: "device", At: noon},                    // by key: ann
		{Name: "visit", Anonymous: "device", At: noon, Key: ann},          // folded already
		{Name: "visit", Anonymous: "shared", At: noon, Key: bob},          // folded to bob, since corrected: ann
		{Name: "visit", User: "bob", Anonymous: "shared", At: noon},       // its own user id wins
		{Name: "visit", User: "old-ann", At: noon},                        // alias, by key
		{Name: "visit", User: "moved", Anonymous: "x", At: noon, Key: 42}, // alias, corrected
		{Name: "visit", At: noon},                                         // nobody
		{Name: "visit", Anonymous: "stranger", At: noon},
	}, query.Links{
		ByKey:   map[int64]int64{device: ann, event.UserKey("old-ann"): ann, shared: bob},
		Changed: map[string]int64{"shared": ann}, ChangedUsers: map[string]int64{"moved": ann},
	})
	got := run(t, server.Engine(t, nil), app, "SELECT CASE user_key WHEN "+itoa(ann)+" THEN 'ann' WHEN "+itoa(bob)+" THEN 'bob' WHEN "+itoa(event.AnonymousKey("stranger"))+
		" THEN 'stranger' ELSE coalesce(CAST(user_key AS varchar), 'nobody') END AS who, count(*) FROM events GROUP BY 1 ORDER BY 1")
	if want := "ann|5\nbob|1\nnobody|1\nstranger|1"; got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
}

// Each person is one case of folding: what is done to key k, and its value then.
func TestTraitsFold(t *testing.T) {
	t.Parallel()
	tests := map[string]struct {
		changes []string
		want    string
	}{
		"set replaces":                   {[]string{`{"set":{"k":"a"}}`, `{"set":{"k":"b"}}`}, `b`},
		"setOnce keeps what is known":    {[]string{`{"set":{"k":"a"}}`, `{"setOnce":{"k":"b"}}`}, `a`},
		"setOnce where nothing is known": {[]string{`{"setOnce":{"k":"a"}}`, `{"setOnce":{"k":"b"}}`}, `a`},
		"set after setOnce":              {[]string{`{"setOnce":{"k":"a"}}`, `{"set":{"k":"b"}}`}, `b`},
		"unset forgets":                  {[]string{`{"set":{"k":"a"}}`, `{"unset":["k"]}`}, `NULL`},
		"setOnce after unset":            {[]string{`{"set":{"k":"a"}}`, `{"unset":["k"]}`, `{"setOnce":{"k":"c"}}`}, `c`},
		"add starts at zero":             {[]string{`{"add":{"k":2}}`, `{"add":{"k":3.5}}`}, `5.5`},
		"add to a set number":            {[]string{`{"set":{"k":10}}`, `{"add":{"k":-1}}`}, `9.0`},
		"set after add":                  {[]string{`{"add":{"k":2}}`, `{"set":{"k":7}}`, `{"add":{"k":1}}`}, `8.0`},
		"setOnce after add keeps":        {[]string{`{"add":{"k":2}}`, `{"setOnce":{"k":7}}`}, `2.0`},
		"add to text leaves it":          {[]string{`{"set":{"k":"x"}}`, `{"add":{"k":1}}`}, `x`},
		"null is missing":                {[]string{`{"set":{"k":"a"}}`, `{"set":{"k":null}}`}, `NULL`},
		"other keys stay apart":          {[]string{`{"set":{"k":"a","j":"b"}}`, `{"set":{"j":"c"}}`}, `a`},
	}
	server := trinotest.Start(t)
	app := trinotest.NewApp()
	var events []querytest.Event
	for name, tt := range tests {
		for i, change := range tt.changes {
			events = append(events, querytest.Event{Type: event.Identify, Name: "$identify", User: name, At: noon.Add(time.Duration(i) * time.Second), Traits: change})
		}
	}
	server.Lake.Add(t, app, events, query.Links{})
	got := run(t, server.Engine(t, nil), app, "SELECT user_id, json_extract_scalar(traits, '$.k') FROM users")
	for _, line := range strings.Split(got, "\n") {
		name, value, _ := strings.Cut(line, "|")
		if tests[name].want != value {
			t.Errorf("%s: got %s, want %s", name, value, tests[name].want)
		}
		delete(tests, name)
	}
	for name := range tests {
		t.Errorf("%s: there is no such user", name)
	}
}

func TestGroupsAndSessions(t *testing.T) {
	t.Parallel()
	server := trinotest.Start(t)
	engine, app := server.Engine(t, nil), trinotest.NewApp()
	server.Lake.Add(t, app, []querytest.Event{
		{Name: "a", User: "u", Session: "s", At: noon, Groups: `{"company":"acme","team/x":"1"}`, Columns: map[string]string{"page_path": "/in"}},
		{Name: "b", User: "u", Session: "s", At: noon.Add(time.Minute), Groups: `{"company":"acme"}`, Columns: map[string]string{"page_path": "/out"}},
		{Name: "b", User: "u", Session: "s", At: noon.Add(2 * time.Minute)},
		{Name: "c", User: "v", Session: "s", At: noon},
		{Name: "$group", Type: event.Group, User: "u", At: noon, GroupType: "company", GroupID: "acme", Traits: `{"set":{"plan":"pro"}}`},
	}, query.Links{})
	if got, want := run(t, engine, app, "SELECT group_type, group_id, events, json_extract_scalar(traits, '$.plan') FROM groups ORDER BY 1"), "company|acme|2|pro\nteam/x|1|1|NULL"; got != want {
		t.Errorf("groups\n%s\nwant\n%s", got, want)
	}
	if got, want := run(t, engine, app, "SELECT session_id, events, seconds, first_event, entry_page, exit_page FROM sessions ORDER BY events DESC"), "s|3|120|a|/in|/out\ns|1|0|c|NULL|NULL"; got != want {
		t.Errorf("sessions\n%s\nwant\n%s", got, want)
	}
}

func TestTablesHaveTheColumnsOfTheirSchema(t *testing.T) {
	t.Parallel()
	engine := trinotest.Start(t).Engine(t, nil)
	promoted := []query.Promoted{{Name: `it's "p"`}, {Name: "n", Number: true}}
	for _, table := range query.Schema(promoted...) {
		answer, err := query.Collect(context.Background(), engine, query.Request{App: trinotest.NewApp(), Promoted: promoted, Zone: "Europe/Berlin", SQL: "SELECT * FROM " + table.Name})
		if err != nil {
			t.Fatal(err)
		}
		var got, want []string
		for _, c := range answer.Columns {
			got = append(got, c.Name+" "+c.Type)
		}
		for _, c := range table.Columns {
			want = append(want, c.Name+" "+c.Type)
		}
		if g, w := strings.Join(got, "\n"), strings.Join(want, "\n"); g != w {
			t.Errorf("%s has\n%s\nand says\n%s", table.Name, g, w)
		}
	}
}

func TestValuesKeepTheirText(t *testing.T) {
	t.Parallel()
	tests := []struct{ expression, want string }{
		{`'00001'`, "00001"},
		{`DECIMAL '17014118346046923173168730371588410572'`, "17014118346046923173168730371588410572"},
		{`CAST(1.10 AS DECIMAL(9,2))`, "1.10"},
		{`0.1e0`, "0.1"}, {`1e300`, "1e+300"}, {`nan()`, "NaN"}, {`-infinity()`, "-Infinity"}, {`REAL '1.1'`, "1.1"},
		{`9007199254740993`, "9007199254740993"},
		{`NULL`, "NULL"}, {`''`, ""}, {`true`, "true"}, {`'é😀"'`, `é😀"`},
		{`TIMESTAMP '2026-03-29 00:59:59 UTC'`, "2026-03-29T01:59:59+01:00"},
		{`TIMESTAMP '2026-03-29 01:00:00.000001 UTC'`, "2026-03-29T03:00:00.000001+02:00"},
		{`TIMESTAMP '2026-03-28 21:00:00 America/New_York'`, "2026-03-29T03:00:00+02:00"},
		{`TIMESTAMP '2026-03-29 02:30:00'`, "2026-03-29T02:30:00"}, // which Berlin does not have
		{`DATE '2026-03-29'`, "2026-03-29"},
		{`TIME '01:02:03'`, "01:02:03"},
		{`UUID '0197f1a0-0000-7000-8000-000000000001'`, "0197f1a0-0000-7000-8000-000000000001"},
		{`ARRAY[1, NULL, 3]`, "[1,null,3]"},
		{`CAST(ROW('x', ARRAY[true]) AS ROW(a varchar, b array(boolean)))`, `{"a":"x","b":[true]}`},
		{`MAP(ARRAY['k'], ARRAY[1])`, `{"k":1}`},
		{`X'DEAD'`, `\xdead`},
		{`JSON '{"n":1}'`, `{"n":1}`},
	}
	columns, want := make([]string, len(tests)), make([]string, len(tests))
	for i, tt := range tests {
		columns[i], want[i] = fmt.Sprintf("%s AS c%d", tt.expression, i), tt.want
	}
	got := strings.Split(run(t, trinotest.Start(t).Engine(t, nil), trinotest.NewApp(), "SELECT "+strings.Join(columns, ", ")), "|")
	if len(got) != len(want) {
		t.Fatalf("%d columns, want %d", len(got), len(want))
	}
	for i := range want {
		if got[i] != want[i] {
			t.Errorf("%s: got %q, want %q", tests[i].expression, got[i], want[i])
		}
	}
}

// The text of numbers in JSON, as breakdowns and conditions see it, and times
// written as text, are those of the other engine.
func TestPropertiesReadAsWithTheOtherEngine(t *testing.T) {
	t.Parallel()
	numbers := []string{
		`5`, `5.0`, `-0.0`, `0.5`, `1e1`, `12345678.5`, `-12345678.25`, `1234567890123456789`, `0.000001`, `0.0000015`, `1e-7`, `2.5e-9`, `1e20`, `1.5e21`, `123456789012345680000.0`,
		`100000000.0`, `9007199254740993`, `"5.0"`, `true`, `null`, `"x"`, `""`, `[1.0,"a",null]`, `{"a":1}`, `0.1`, `1.10`,
	}
	times := []string{
		`"2026-03-29"`, `"2026-03-29T01:30:00Z"`, `"2026-03-29 01:30"`, `"2026-03-29T01:30:00.123456+02"`, `"2026-03-29T01:30:00-0430"`, `"2026-03-29T01:30:00+05:45"`,
		`"2026-07-01 00:00:00"`, `1774735200000`, `1774735200000.5`, `-99999`, `"2026-13-01"`, `"soon"`, `"2026-03-29T25:00:00Z"`, `12`, `"2026-02-30"`,
	}
	texts := []string{`" 20 "`, `"1e2"`, `".5"`, `"+7."`, `"1,000"`, `"0x10"`, `"nan"`, `"1e999"`, `"1 2"`, `"1d"`, `"\t3"`, `3.25`}
	var properties []string
	for _, v := range append(append(numbers, times...), texts...) {
		properties = append(properties, `{"k":`+v+`}`)
	}
	// The app's rows of the one, the same values of the other.
	server := trinotest.Start(t)
	app := trinotest.NewApp()
	var events []querytest.Event
	for i, p := range properties {
		events = append(events, querytest.Event{Name: strconv.Itoa(1000 + i), At: noon, Properties: p})
	}
	server.Lake.Add(t, app, events, query.Links{})
	const j = "property_text(json_extract(properties, '$[\"k\"]'))"
	got := strings.Split(run(t, server.Engine(t, nil), app, "SELECT event, "+j+", text_number("+j+"), text_time("+j+", 'Europe/Berlin') FROM events ORDER BY event"), "\n")
	pool := query.New(querytest.Pool(t, nil), querytest.Source{Objects: []query.Object{querytest.Write(t, 0, events)}})
	const d = "property_text(properties, '/k')"
	want, err := pool.Run(context.Background(), query.App{ID: app, WorkspaceID: "w", TimeZone: "UTC"},
		"SELECT event, "+d+", text_number("+d+"), epoch_us(text_time("+d+", 'Europe/Berlin')) FROM events ORDER BY event", nil, 0)
	if err != nil {
		t.Fatal(err)
	}
	for i, row := range want.Rows {
		var cells []string
		for _, c := range row {
			if c.Null {
				c.Text = "NULL"
			}
			cells = append(cells, c.Text)
		}
		if w := strings.Join(cells, "|"); i >= len(got) || got[i] != w {
			t.Errorf("%s: got %s, want %s", properties[i], got[i], w)
		}
	}
}

func TestErrorsPointAtTheirPlace(t *testing.T) {
	t.Parallel()
	engine := trinotest.Start(t).Engine(t, nil)
	for text, want := range map[string]string{
		"SELECT usr_id FROM events":                           "Column 'usr_id' cannot be resolved\n\nLINE 1: SELECT usr_id FROM events\n               ^",
		"SELECT 1 FROM events\nWHERE x (":                     "LINE 2: WHERE x (",
		"WITH x AS (SELECT 1)\nSELECT y FROM x, events":       "LINE 2: SELECT y FROM x, events\n               ^",
		"SELECT * FROM evnts":                                 "There is no table \"evnts\"; the tables are events, users, groups and sessions.",
		"SELECT * FROM lake_rows":                             "There is no table",
		"SELECT CAST('x' AS integer)":                         "Cannot cast",
		"SELECT ?":                                            "",
		"WITH events AS (SELECT 1 AS n) SELECT n FROM events": "give it another name",
	} {
		_, err := answer(t, engine, query.Request{App: trinotest.NewApp(), SQL: text})
		if !fault.Is(err, fault.Invalid) || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v, want %q in it", text, err, want)
		}
	}
}

const endless = "SELECT count(*) FROM UNNEST(sequence(1, 10000)) a(x), UNNEST(sequence(1, 10000)) b(y), UNNEST(sequence(1, 10000)) c(z) WHERE (x * y * z) % 7 = 3"

func TestAQueryEndsWhenItMust(t *testing.T) {
	t.Parallel()
	server := trinotest.Start(t)
	engine, app := server.Engine(t, nil), trinotest.NewApp()
	run(t, engine, app, "SELECT 1")

	ctx, cancel := context.WithCancel(context.Background())
	time.AfterFunc(2*time.Second, cancel)
	_, err := query.Collect(ctx, engine, query.Request{App: app, SQL: endless})
	if !fault.Is(err, fault.Canceled) {
		t.Errorf("canceled: %v", err)
	}
	if _, err = answer(t, engine, query.Request{App: app, SQL: endless, Timeout: 2 * time.Second}); !fault.Is(err, fault.Exhausted) || !strings.Contains(err.Error(), "2 s limit") {
		t.Errorf("at its limit: %v, want Exhausted that names it", err)
	}
	if _, err = answer(t, engine, query.Request{App: app, SQL: "SELECT array_agg(x || repeat_text) FROM (SELECT lpad('', 100000, 'x') AS repeat_text, CAST(n AS varchar) AS x FROM UNNEST(sequence(1, 10000)) t(n))"}); !fault.Is(err, fault.Exhausted) {
		t.Errorf("too much memory: %v, want Exhausted", err)
	}
	got, err := query.Collect(context.Background(), engine, query.Request{App: app, SQL: "SELECT * FROM UNNEST(sequence(1, 10000))", MaxRows: 3})
	if err != nil || len(got.Rows) != 3 || !got.Truncated {
		t.Errorf("more rows than allowed: %v", err)
	}
	if got, err = query.Collect(context.Background(), engine, query.Request{App: app, SQL: "SELECT * FROM UNNEST(sequence(1, 3))", MaxRows: 3}); err != nil || len(got.Rows) != 3 || got.Truncated {
		t.Errorf("exactly the rows allowed: %v", err)
	}
	if _, err = answer(t, engine, query.Request{App: app, SQL: "SELECT lpad('', 1000, 'x') FROM UNNEST(sequence(1, 3000))", MaxBytes: 1 << 20}); !fault.Is(err, fault.Exhausted) {
		t.Errorf("more bytes than allowed: %v", err)
	}
	full := errors.New("the disk is full")
	_, err = engine.Query(context.Background(), query.Request{App: app, SQL: "SELECT * FROM UNNEST(sequence(1, 10000))"}, sink(func() error { return full }))
	if !errors.Is(err, full) {
		t.Errorf("a sink that fails: %v", err)
	}
	// Nothing of all this is left running.
	deadline := time.Now().Add(20 * time.Second)
	for {
		running, err := ask(t, server, trinotest.User, trinotest.Password, app, "SELECT 1")
		if err == nil && running == "1\n" {
			break
		}
		if time.Now().After(deadline) {
			t.Fatalf("Trino is still busy: %v", err)
		}
	}
}

type sink func() error

func (sink) Columns([]query.Column) error { return nil }
func (s sink) Row([]query.Cell) error     { return s() }

func TestWhoCannotBeReachedIsNamed(t *testing.T) {
	t.Parallel()
	server := trinotest.Start(t)
	for want, change := range map[string]func(*trino.Config){
		"does not answer": func(c *trino.Config) { c.URL = "https://127.0.0.1:1" },
		"refuses us":      func(c *trino.Config) { c.Password = "wrong" },
		"certificate":     func(c *trino.Config) { c.CAFile = "" },
	} {
		_, err := answer(t, server.Engine(t, change), query.Request{App: trinotest.NewApp(), SQL: "SELECT 1"})
		if !fault.Is(err, fault.Unavailable) || !strings.Contains(err.Error(), want) {
			t.Errorf("%v, want Unavailable with %q", err, want)
		}
	}
	if _, err := answer(t, server.Engine(t, nil), query.Request{App: "admin", SQL: "SELECT 1"}); err == nil {
		t.Error("a query without an app ran")
	}
}
