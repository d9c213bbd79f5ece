package insights_test

import (
	"context"
	"errors"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/causality-project/causality/backend/internal/analysis/insights"
	"github.com/causality-project/causality/backend/internal/analysis/query"
	"github.com/causality-project/causality/backend/internal/analysis/query/querytest"
	"github.com/causality-project/causality/backend/internal/platform/calendar"
	"github.com/causality-project/causality/backend/internal/platform/event"
	"github.com/causality-project/causality/backend/internal/platform/fault"
)

func TestValidationNamesEveryWrongField(t *testing.T) {
	t.Parallel()
	spec := insights.Trend{
		Range:    calendar.Range{From: "soon", To: "later"},
		TimeZone: "Mars/Olympus", Granularity: "year", WeekStart: "friday", Compare: "next", Top: 251, Rolling: -1,
		Breakdowns: []insights.Breakdown{{}, {Property: "a", Source: "moon"}, {Property: "b"}, {Property: "c"}},
		Where:      &insights.Filter{Any: []insights.Filter{{Property: "p", Op: "like"}, {Property: "p", Op: "gt", Values: []any{"many"}}, {Property: "p", Op: "matches", Values: []any{"("}}}},
		Series: []insights.Series{
			{Measure: insights.Measure{Kind: "count"}}, {ID: "A"}, {Measure: insights.Measure{Kind: "property", Agg: "mode"}},
			{Event: "a\x00b", Where: &insights.Filter{Property: "p", Op: "before", Values: []any{"soon"}}}, {Where: &insights.Filter{Property: "p", Op: "between", Values: []any{1.0}}},
			{Where: &insights.Filter{Did: &insights.Did{Event: "\x00"}}},
		},
		Formulas: []insights.Formula{{ID: "1", Expr: "A"}, {ID: "F", Expr: "Q+1"}},
	}
	var f *fault.Error
	if err := spec.Validate(); !errors.As(err, &f) || f.Kind != fault.Invalid {
		t.Fatalf("error %v", err)
	}
	got := map[string]bool{}
	for _, field := range f.Fields {
		got[field.Name] = true
	}
	for _, want := range []string{
		"range.from", "range.to", "series[3].event", "series[5].where.did.event", "timeZone", "granularity", "weekStart", "compare", "top", "rolling", "breakdowns", "breakdowns[0].property", "breakdowns[1].source", "where.any[0].op",
		"where.any[1].values[0]", "where.any[2].values[0]", "series[0].measure", "series[1].id", "series[2].measure.property", "series[2].measure.agg",
		"series[3].where.values[0]", "series[4].where.values", "formulas[0].id", "formulas[1].expr",
	} {
		if !got[want] {
			t.Errorf("no word about %s", want)
		}
	}
}

func TestWhatIsNotBuiltYetIsRefusedWithTheReason(t *testing.T) {
	t.Parallel()
	for reason, spec := range map[string]insights.Trend{
		"cohorts do not exist yet": {Series: total(""), Where: &insights.Filter{Cohort: "c"}},
		"group properties":         {Series: total(""), Breakdowns: []insights.Breakdown{{Property: "p", Source: "group:company"}}},
	} {
		if err := spec.Validate(); !fault.Is(err, fault.Unsupported) || !strings.Contains(err.Error(), reason) {
			t.Errorf("error %v, want Unsupported with %q", err, reason)
		}
	}
}

// User properties are current values, whenever the event was.
func TestUserPropertiesAreCurrent(t *testing.T) {
	t.Parallel()
	testUserProperties(t, onDuckDB(t))
}

func testUserProperties(t *testing.T, stage stage) {
	service, app, _ := stage.play(t, "2026-06-01T00:00:00Z",
		ev("e", "a", 0), ev("e", "b", 0), ev("e", "", 0),
		querytest.Event{Name: "i", Type: event.Identify, User: "a", At: on(0), Traits: `{"set":{"plan":"free"}}`},
		querytest.Event{Name: "i", Type: event.Identify, User: "a", At: on(5), Traits: `{"set":{"plan":"pro"}}`},
	)
	for want, spec := range map[string]insights.Trend{
		"A 1: 1":                         {Where: &insights.Filter{Property: "plan", Source: "user", Op: "is", Values: []any{"pro"}}},
		"A 0: 0":                         {Where: &insights.Filter{Property: "plan", Source: "user", Op: "is", Values: []any{"free"}}},
		"A 2: 2":                         {Where: &insights.Filter{Property: "plan", Source: "user", Op: "isNot", Values: []any{"pro"}}},
		"A[(not set)] 2: 2\nA[pro] 1: 1": {Breakdowns: []insights.Breakdown{{Property: "plan", Source: "user"}}},
	} {
		spec.Range, spec.Series = day(1), total("total")
		answer, err := service.Trend(context.Background(), app, spec, false)
		if err != nil {
			t.Fatal(err)
		}
		if got := render(answer.Series); got != want {
			t.Errorf("got\n%s\nwant\n%s", got, want)
		}
	}
}

func TestDatesReadInTheReportsZone(t *testing.T) {
	t.Parallel()
	testDates(t, onDuckDB(t))
}

func testDates(t *testing.T, stage stage) {
	service, app, _ := stage.play(t, "2026-06-01T00:00:00Z",
		ev("e", "a", 0, `{"d":"2026-03-29"}`), ev("e", "a", 0, `{"d":"2026-03-28T23:30:00Z"}`), // both 29 March in Berlin
		ev("e", "a", 0, `{"d":"2026-03-29T22:30:00Z"}`), // 30 March in Berlin
		ev("e", "a", 0, `{"d":1774735200000}`),          // 2026-03-28T22:00Z, 23:00 on the 28th
		ev("e", "a", 0, `{"d":"soon"}`), ev("e", "a", 0),
	)
	for op, want := range map[string]string{"on": "2", "before": "1", "after": "1"} {
		spec := insights.Trend{Range: day(1), TimeZone: "Europe/Berlin", Series: total("total"), Where: &insights.Filter{Property: "d", Op: op, Values: []any{"2026-03-29"}}}
		answer, err := service.Trend(context.Background(), app, spec, false)
		if err != nil {
			t.Fatal(err)
		}
		if got := number(answer.Series[0].Total); got != want {
			t.Errorf("%s: %s, want %s", op, got, want)
		}
	}
}

// 22:30Z on 29 March is 30 March in Berlin (semantics 11, row 23).
func TestDaysAreLocal(t *testing.T) {
	t.Parallel()
	testDays(t, onDuckDB(t))
}

func testDays(t *testing.T, stage stage) {
	service, app, _ := stage.play(t, "2026-06-01T00:00:00Z", querytest.Event{Name: "e", At: time.Date(2026, 3, 29, 22, 30, 0, 0, time.UTC)}, querytest.Event{Name: "e", At: time.Date(2026, 3, 29, 21, 59, 59, 999999000, time.UTC)})
	spec := insights.Trend{Range: calendar.Range{From: "2026-03-28", To: "2026-03-31"}, TimeZone: "Europe/Berlin", Series: total("")}
	answer, err := service.Trend(context.Background(), app, spec, false)
	if err != nil {
		t.Fatal(err)
	}
	if got := render(answer.Series); got != "A 2: 0 1 1" {
		t.Error(got)
	}
	if got := answer.Series[0].Points[2].Start.Format(time.RFC3339); got != "2026-03-30T00:00:00+02:00" {
		t.Error(got)
	}
}

// counting counts how often the engine is asked.
type counting struct {
	query.Engine
	mu sync.Mutex
	n  int
}

func (c *counting) Query(ctx context.Context, r query.Request, s query.Sink) (query.Done, error) {
	c.mu.Lock()
	c.n++
	c.mu.Unlock()
	return c.Engine.Query(ctx, r, s)
}

func TestAnswersAreKeptWhileTheDataIsTheSame(t *testing.T) {
	t.Parallel()
	engine := &counting{Engine: querytest.Pool(t, nil)}
	source := querytest.Source(one(t, ev("e", "a", 0)))
	s, err := insights.New(insights.Config{Engine: engine, Source: &source})
	if err != nil {
		t.Fatal(err)
	}
	ask := func(fresh, want bool) {
		t.Helper()
		answer, err := s.Trend(context.Background(), app, insights.Trend{Range: day(1), Series: total("")}, fresh)
		if err != nil {
			t.Fatal(err)
		}
		if answer.Meta.Cached != want {
			t.Errorf("cached = %v, want %v", answer.Meta.Cached, want)
		}
	}
	ask(false, false)
	ask(false, true)
	ask(true, false)
	ask(false, true)
	source.Objects = append(source.Objects, querytest.Write(t, 0, []querytest.Event{ev("e", "b", 0)}))
	ask(false, false)
	source.Links.Number++ // a person was linked
	ask(false, false)
	if engine.n != 4 {
		t.Errorf("the engine was asked %d times, want 4", engine.n)
	}
}

func TestEqualQuestionsAtOnceRunOnce(t *testing.T) {
	t.Parallel()
	engine := &counting{Engine: querytest.Pool(t, nil)}
	s, err := insights.New(insights.Config{Engine: engine, Source: querytest.Source(one(t, ev("e", "a", 0)))})
	if err != nil {
		t.Fatal(err)
	}
	var wait sync.WaitGroup
	for range 20 {
		wait.Go(func() {
			if _, err := s.Trend(context.Background(), app, insights.Trend{Range: day(1), Series: total("")}, false); err != nil {
				t.Error(err)
			}
		})
	}
	wait.Wait()
	if engine.n != 1 {
		t.Errorf("the engine was asked %d times, want 1", engine.n)
	}
}

func TestValuesAreByFrequency(t *testing.T) {
	t.Parallel()
	testValues(t, onDuckDB(t))
}

func testValues(t *testing.T, stage stage) {
	s, app, _ := stage.play(t, "2026-06-01T00:00:00Z", ev("e", "a", 0, `{"p":"x"}`), ev("e", "a", 0, `{"p":["x","Y"]}`), ev("f", "a", 0, `{"p":5.0}`), ev("e", "a", 0, `{"p":null}`))
	for _, tt := range []struct {
		events   []string
		contains string
		want     string
	}{{nil, "", "x2 51 Y1"}, {[]string{"e"}, "", "x2 Y1"}, {nil, "y", "Y1"}} {
		values, err := s.Values(context.Background(), app, "p", tt.events, tt.contains, 0)
		if err != nil {
			t.Fatal(err)
		}
		var got []string
		for _, v := range values {
			n := float64(v.Count)
			got = append(got, v.Value+number(&n))
		}
		if strings.Join(got, " ") != tt.want {
			t.Errorf("%v %q: %v, want %s", tt.events, tt.contains, got, tt.want)
		}
	}
	for _, wrong := range [][2]string{{"e\x00", ""}, {"e", "y\x00"}} {
		if _, err := s.Values(context.Background(), app, "p", []string{wrong[0]}, wrong[1], 0); !fault.Is(err, fault.Invalid) || strings.Contains(err.Error(), "Parser") {
			t.Errorf("%q: %v, want Invalid that names the field", wrong, err)
		}
	}
}
