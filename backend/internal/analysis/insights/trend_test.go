package insights_test

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/causality-project/causality/backend/internal/analysis/insights"
	"github.com/causality-project/causality/backend/internal/analysis/query"
	"github.com/causality-project/causality/backend/internal/analysis/query/querytest"
	"github.com/causality-project/causality/backend/internal/platform/calendar"
	"github.com/causality-project/causality/backend/internal/platform/event"
)

func TestMain(m *testing.M) { querytest.Main(m) }

var app = query.App{ID: "a", WorkspaceID: "w", Name: "shop", TimeZone: "UTC"}

func at(t testing.TB, text string) time.Time {
	t.Helper()
	instant, err := time.Parse(time.RFC3339, text)
	if err != nil {
		t.Fatal(err)
	}
	return instant
}

// engine is shared by the tests of one function.
func service(t testing.TB, engine query.Engine, now string, snapshot query.Snapshot) *insights.Service {
	t.Helper()
	s, err := insights.New(insights.Config{Engine: engine, Source: querytest.Source(snapshot), Now: func() time.Time { return at(t, now) }})
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func number(v *float64) string {
	if v == nil {
		return "-"
	}
	return fmt.Sprintf("%.10g", *v)
}

// stage is an engine under test: store puts events where it reads them, as those
// of an app of their own.
type stage struct {
	engine query.Engine
	name   string
	store  func(t testing.TB, events []querytest.Event) (query.App, query.Snapshot)
	// shows says for which cases the SQL page must run what the answer shows.
	shows func(name string) bool
}

func onDuckDB(t testing.TB) stage {
	t.Helper()
	return stage{querytest.Pool(t, nil), "duckdb", func(t testing.TB, events []querytest.Event) (query.App, query.Snapshot) {
		if len(events) == 0 {
			return app, query.Snapshot{}
		}
		return app, one(t, events...)
	}, func(string) bool { return true }}
}

// play stores events and returns who answers questions about them.
func (s stage) play(t testing.TB, now string, events ...querytest.Event) (*insights.Service, query.App, query.Snapshot) {
	t.Helper()
	app, snapshot := s.store(t, events)
	service, err := insights.New(insights.Config{Engine: s.engine, EngineName: s.name, Source: querytest.Source(snapshot), Now: func() time.Time { return at(t, now) }})
	if err != nil {
		t.Fatal(err)
	}
	return service, app, snapshot
}

// render writes an answer as "id[group] total: point point …", a line a series;
// an unfinished point has a tilde.
func render(series []insights.AnswerSeries) string {
	var lines []string
	for _, s := range series {
		line := s.ID
		if s.Group != nil {
			line += "[" + strings.Join(s.Group, ",") + "]"
		}
		line += " " + number(s.Total) + ":"
		for _, p := range s.Points {
			line += " " + number(p.Value)
			if !p.Complete {
				line += "~"
			}
		}
		lines = append(lines, line)
	}
	return strings.Join(lines, "\n")
}

func one(t testing.TB, events ...querytest.Event) query.Snapshot {
	t.Helper()
	return query.Snapshot{Objects: []query.Object{querytest.Write(t, 0, events)}}
}

func day(n int) calendar.Range {
	return calendar.Range{From: "2026-03-02", To: fmt.Sprintf("2026-03-%02d", 2+n)} // a Monday
}

// on is noon of the nth day of the range.
func on(n int) time.Time { return time.Date(2026, 3, 2+n, 12, 0, 0, 0, time.UTC) }

func ev(name, user string, n int, more ...string) querytest.Event {
	e := querytest.Event{Name: name, User: user, At: on(n)}
	if len(more) > 0 {
		e.Properties = more[0]
	}
	return e
}

func total(measure string) []insights.Series {
	return []insights.Series{{Event: "e", Measure: insights.Measure{Kind: measure}}}
}

func of(property, agg string) []insights.Series {
	return []insights.Series{{Event: "e", Measure: insights.Measure{Kind: "property", Property: property, Agg: agg}}}
}

// Every answer is worked out by hand.
func TestTrends(t *testing.T) {
	t.Parallel()
	testTrends(t, onDuckDB(t))
}

func testTrends(t *testing.T, stage stage) {
	// Users a, a, b, nobody; then a; then nobody.
	basic := []querytest.Event{
		ev("e", "a", 0), ev("e", "a", 0), ev("e", "b", 0), ev("e", "", 0), ev("e", "a", 1), ev("e", "", 2), ev("other", "c", 0),
		{Name: "e", Type: event.Identify, User: "z", At: on(0)}, // not counted
	}
	// u1 X, Y, Z; u2 X; u3 Z (semantics 11, row 20).
	letters := []querytest.Event{
		ev("e", "u1", 0, `{"l":"X"}`), ev("e", "u1", 0, `{"l":"Y"}`), ev("e", "u1", 0, `{"l":"Z"}`), ev("e", "u2", 0, `{"l":"X"}`), ev("e", "u3", 0, `{"l":"Z"}`),
	}
	// pro, missing, "", null, [pro,x] (row 21).
	plans := []querytest.Event{
		ev("e", "a", 0, `{"p":"pro"}`), ev("e", "b", 0), ev("e", "c", 0, `{"p":""}`), ev("e", "d", 0, `{"p":null}`), ev("e", "f", 0, `{"p":["pro","x"]}`),
	}
	// 10, "20", " 5 ", "1e1", "$30", "1,000", true, null, "" (row 22).
	var amounts []querytest.Event
	for _, v := range []string{`10`, `"20"`, `" 5 "`, `"1e1"`, `"$30"`, `"1,000"`, `true`, `null`, `""`} {
		amounts = append(amounts, ev("e", "a", 0, `{"n":`+v+`}`))
	}
	durations := []querytest.Event{ev("e", "a", 0, `{"n":1}`), ev("e", "a", 0, `{"n":2}`), ev("e", "a", 0, `{"n":10}`), ev("e", "a", 0, `{"n":20}`)}
	where := func(op string, values ...any) *insights.Filter {
		return &insights.Filter{Property: "p", Op: op, Values: values}
	}
	sessions := []querytest.Event{
		{Name: "e", User: "a", Session: "s", At: on(0)}, {Name: "e", User: "a", Session: "s", At: on(1)},
		{Name: "e", User: "b", Session: "s", At: on(1)}, {Name: "e", User: "b", At: on(1)},
	}
	by := func(p string) []insights.Breakdown { return []insights.Breakdown{{Property: p}} }
	tests := map[string]struct {
		events []querytest.Event
		spec   insights.Trend
		now    string
		want   string
	}{
		"total counts events of nobody too":       {basic, insights.Trend{Range: day(3), Series: total("total")}, "", "A 6: 4 1 1"},
		"unique users, not summed":                {basic, insights.Trend{Range: day(3), Series: total("uniqueUsers")}, "", "A 2: 2 1 0"},
		"per user is total over users":            {basic, insights.Trend{Range: day(3), Series: total("perUser")}, "", "A 3: 2 1 -"},
		"any event":                               {basic, insights.Trend{Range: day(1), Series: []insights.Series{{}}}, "", "A 5: 5"},
		"two series in one pass":                  {basic, insights.Trend{Range: day(1), Series: []insights.Series{{Event: "e"}, {Event: "other", Measure: insights.Measure{Kind: "uniqueUsers"}}, {}}}, "", "A 4: 4\nB 1: 1\nC 5: 5"},
		"cumulative uniques are running distinct": {basic, insights.Trend{Range: day(3), Series: total("uniqueUsers"), Cumulative: true}, "", "A 2: 2 2 2"},
		"cumulative totals are running sums":      {basic, insights.Trend{Range: day(3), Series: total("total"), Cumulative: true}, "", "A 6: 4 5 6"},
		"rolling mean reads before the range":     {basic, insights.Trend{Range: calendar.Range{From: "2026-03-03", To: "2026-03-05"}, Series: total("total"), Rolling: 2}, "", "A 2: 2.5 1"},
		"rolling uniques are distinct over k":     {basic, insights.Trend{Range: calendar.Range{From: "2026-03-03", To: "2026-03-06"}, Series: total("uniqueUsers"), Rolling: 2}, "", "A 1: 2 1 0"},
		"rolling leaves the running bucket out":   {basic, insights.Trend{Range: day(2), Series: total("total"), Rolling: 2}, "2026-03-03T13:00:00Z", "A 5: 2 4~"},
		"sessions, in each bucket, once in total": {sessions, insights.Trend{Range: day(2), Series: total("sessions")}, "", "A 2: 1 2"},
		"cumulative sessions":                     {sessions, insights.Trend{Range: day(2), Series: total("sessions"), Cumulative: true}, "", "A 2: 1 2"},
		"Other is recomputed, ties by text":       {letters, insights.Trend{Range: day(1), Series: total("uniqueUsers"), Breakdowns: by("l"), Top: 1}, "", "A[X] 2: 2\nA[Other] 2: 2"},
		"the range's users are not the sum":       {letters, insights.Trend{Range: day(1), Series: total("uniqueUsers")}, "", "A 3: 3"},
		"is not includes missing":                 {plans, insights.Trend{Range: day(1), Series: total("total"), Where: where("isNot", "pro")}, "", "A 3: 3"},
		"is matches an element":                   {plans, insights.Trend{Range: day(1), Series: total("total"), Where: where("is", "pro")}, "", "A 2: 2"},
		"is set: null is missing, empty is not":   {plans, insights.Trend{Range: day(1), Series: total("total"), Where: where("isSet")}, "", "A 3: 3"},
		"is not set":                              {plans, insights.Trend{Range: day(1), Series: total("total"), Where: where("isNotSet")}, "", "A 2: 2"},
		"is empty text":                           {plans, insights.Trend{Range: day(1), Series: total("total"), Where: where("is", "")}, "", "A 1: 1"},
		"a list is in each element's group":       {plans, insights.Trend{Range: day(1), Series: total("total"), Breakdowns: by("p")}, "", "A[(not set)] 2: 2\nA[pro] 2: 2\nA[(empty)] 1: 1\nA[x] 1: 1"},
		"numbers as text":                         {amounts, insights.Trend{Range: day(1), Series: of("n", "sum")}, "", "A 45: 45\nskipped 4 missing 1"},
		"average":                                 {amounts, insights.Trend{Range: day(1), Series: of("n", "avg")}, "", "A 11.25: 11.25\nskipped 4 missing 1"},
		"median of numbers as text":               {amounts, insights.Trend{Range: day(1), Series: of("n", "median")}, "", "A 10: 10\nskipped 4 missing 1"},
		"median":                                  {durations, insights.Trend{Range: day(1), Series: of("n", "median")}, "", "A 6: 6"},
		"p90":                                     {durations, insights.Trend{Range: day(1), Series: of("n", "p90")}, "", "A 17: 17"},
		"of nothing: sum 0":                       {durations, insights.Trend{Range: day(2), Series: of("x", "sum")}, "", "A 0: 0 0\nskipped 0 missing 4"},
		"of nothing: max null":                    {durations, insights.Trend{Range: day(2), Series: of("n", "max")}, "", "A 20: 20 -"},
		"formula: x/0 is null, totals of totals": {basic, insights.Trend{Range: day(3), Series: []insights.Series{{Event: "e"}, {Event: "other"}},
			Formulas: []insights.Formula{{ID: "F", Expr: "G*100"}, {ID: "G", Expr: "A/B"}}}, "", "A 6: 4 1 1\nB 1: 1 0 0\nF 600: 400 - -\nG 6: 4 - -"},
		"compare: a running day until the same time": {[]querytest.Event{ev("e", "a", 0), {Name: "e", User: "b", At: on(0).Add(3 * time.Hour)}, ev("e", "a", 1)},
			insights.Trend{Range: calendar.Range{Last: "1d"}, Series: total("total"), Compare: "previous"}, "2026-03-03T13:00:00Z", "A 1: 1~\nprevious\nA 1: 2"},
		"no events": {nil, insights.Trend{Range: day(2), Series: total("uniqueUsers")}, "", "A 0: 0 0"},
		"first time ever, then filtered": {[]querytest.Event{ev("e", "old", -3), ev("e", "old", 0), ev("e", "new", 0, `{"p":"x"}`), ev("e", "new", 1, `{"p":"y"}`)},
			insights.Trend{Range: day(2), Series: total("firstTime"), Where: where("is", "y")}, "", "A 0: 0 0"},
		"first time ever": {[]querytest.Event{ev("e", "old", -3), ev("e", "old", 0), ev("e", "new", 0), ev("e", "late", 1)},
			insights.Trend{Range: day(2), Series: total("firstTime")}, "", "A 2: 1 1"},
		"did at least twice": {basic, insights.Trend{Range: day(3), Series: total("total"),
			Where: &insights.Filter{Did: &insights.Did{Event: "e", Op: "gte", N: 2}}}, "", "A 3: 2 1 0"},
		"did never": {basic, insights.Trend{Range: day(3), Series: []insights.Series{{}},
			Where: &insights.Filter{Did: &insights.Did{Event: "e", Op: "eq", N: 0}}}, "", "A 1: 1 0 0"},
		"not did is the complement": {basic, insights.Trend{Range: day(3), Series: total("total"),
			Where: &insights.Filter{Did: &insights.Did{Event: "e", Op: "gte", N: 2}, Not: true}}, "", "A 3: 2 0 1"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			now := tt.now
			if now == "" {
				now = "2026-06-01T00:00:00Z"
			}
			service, app, snapshot := stage.play(t, now, tt.events...)
			answer, err := service.Trend(context.Background(), app, tt.spec, false)
			if err != nil {
				t.Fatal(err)
			}
			got := render(answer.Series)
			if answer.Previous != nil {
				got += "\nprevious\n" + render(answer.Previous)
			}
			if m := answer.Meta; m.Skipped+m.Missing > 0 {
				got += fmt.Sprintf("\nskipped %d missing %d", m.Skipped, m.Missing)
			}
			if got != tt.want {
				t.Errorf("got\n%s\nwant\n%s\n%s", got, tt.want, answer.Meta.SQL)
			}
			// What the answer shows as its SQL is what people may run.
			if !stage.shows(name) {
				return
			}
			if _, err := query.New(stage.engine, querytest.Source(snapshot)).Run(context.Background(), app, answer.Meta.SQL, nil, 0); err != nil {
				t.Errorf("the SQL does not run on the SQL page: %v", err)
			}
		})
	}
}
