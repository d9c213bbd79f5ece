package insights_test

import (
	"cmp"
	"context"
	"fmt"
	"math"
	"math/rand/v2"
	"os"
	"regexp"
	"slices"
	"sort"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/causality-project/causality/backend/internal/analysis/insights"
	"github.com/causality-project/causality/backend/internal/analysis/query"
	"github.com/causality-project/causality/backend/internal/analysis/query/querytest"
	"github.com/causality-project/causality/backend/internal/platform/calendar"
)

// The reference answers a trend slowly and plainly, from the words of the
// semantics: it loops over events in memory and knows no SQL. The property test
// below compares the two over random events and questions.
type reference struct {
	events  []referenceEvent
	spec    insights.Trend
	cal     calendar.Calendar
	unit    calendar.Unit
	now     time.Time
	span    calendar.Span
	buckets []calendar.Bucket
}

type referenceEvent struct {
	querytest.Event
	properties map[string]any // string, float64, bool, nil, []any
	order      int
}

// texts are the values of a property as conditions see them; none: missing.
func (e referenceEvent) texts(property string) (values []string, isList bool) {
	if property == "event" {
		return []string{e.Name}, false
	}
	if property == "country" && e.Columns["country"] != "" {
		return []string{e.Columns["country"]}, false
	}
	switch v := e.properties[property].(type) {
	case nil:
		return nil, false
	case []any:
		for _, element := range v {
			if element != nil {
				values = append(values, textOf(element))
			}
		}
		return values, true
	default:
		return []string{textOf(v)}, false
	}
}

func textOf(v any) string {
	switch v := v.(type) {
	case float64:
		return strconv.FormatFloat(v, 'f', -1, 64)
	case bool:
		return strconv.FormatBool(v)
	default:
		return v.(string)
	}
}

var numberText = regexp.MustCompile(`^[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?$`)

func numberOf(text string) (float64, bool) {
	text = strings.TrimSpace(text)
	if !numberText.MatchString(text) {
		return 0, false
	}
	f, err := strconv.ParseFloat(text, 64)
	return f, err == nil
}

func (r *reference) matches(e referenceEvent, f *insights.Filter) bool {
	if f == nil {
		return true
	}
	switch {
	case len(f.All) > 0:
		for i := range f.All {
			if !r.matches(e, &f.All[i]) {
				return false
			}
		}
		return true
	case len(f.Any) > 0:
		for i := range f.Any {
			if r.matches(e, &f.Any[i]) {
				return true
			}
		}
		return false
	case f.Did != nil:
		if e.UserKey() == 0 {
			return f.Not
		}
		n := 0
		for _, other := range r.events {
			if other.UserKey() != e.UserKey() || f.Did.Event != "" && other.Name != f.Did.Event {
				continue
			}
			if f.Did.In == "range" && !r.span.Contains(other.At) {
				continue
			}
			if r.matches(other, f.Did.Where) {
				n++
			}
		}
		holds := map[string]bool{"eq": n == f.Did.N, "ne": n != f.Did.N, "gt": n > f.Did.N, "gte": n >= f.Did.N, "lt": n < f.Did.N, "lte": n <= f.Did.N}[f.Did.Op]
		return holds != f.Not
	case f.Property == "":
		return true
	}
	values, list := e.texts(f.Property)
	some := func(test func(string) bool) bool { return slices.ContainsFunc(values, test) }
	argument := func(test func(text, argument string) bool) func(string) bool {
		return func(text string) bool {
			return slices.ContainsFunc(f.Values, func(v any) bool { return test(text, textOf(v)) })
		}
	}
	fold := func(s string) string {
		if f.CaseSensitive {
			return s
		}
		return strings.ToLower(s)
	}
	compare := func(test func(a, b float64) bool) bool {
		return some(argument(func(a, b string) bool {
			x, ok := numberOf(a)
			y, _ := numberOf(b)
			return ok && test(x, y)
		}))
	}
	is := func() bool { return some(argument(func(a, b string) bool { return a == b })) }
	contains := func() bool {
		return some(argument(func(a, b string) bool { return strings.Contains(fold(a), fold(b)) }))
	}
	switch f.Op {
	case "isSet":
		return len(values) > 0 || list
	case "isNotSet":
		return len(values) == 0 && !list
	case "is":
		return is()
	case "isNot":
		return !is()
	case "contains":
		return contains()
	case "notContains":
		return !contains()
	case "startsWith":
		return some(argument(func(a, b string) bool { return strings.HasPrefix(fold(a), fold(b)) }))
	case "endsWith":
		return some(argument(func(a, b string) bool { return strings.HasSuffix(fold(a), fold(b)) }))
	case "matches":
		return some(argument(func(a, b string) bool { return regexp.MustCompile(b).MatchString(a) }))
	case "eq":
		return compare(func(a, b float64) bool { return a == b })
	case "ne":
		return !compare(func(a, b float64) bool { return a == b })
	case "gt":
		return compare(func(a, b float64) bool { return a > b })
	case "gte":
		return compare(func(a, b float64) bool { return a >= b })
	case "lt":
		return compare(func(a, b float64) bool { return a < b })
	case "lte":
		return compare(func(a, b float64) bool { return a <= b })
	case "between":
		low, _ := numberOf(textOf(f.Values[0]))
		high, _ := numberOf(textOf(f.Values[1]))
		return some(func(a string) bool { x, ok := numberOf(a); return ok && x >= low && x <= high })
	case "isTrue":
		return some(func(a string) bool { return a == "true" })
	case "isFalse":
		return some(func(a string) bool { return a == "false" })
	}
	panic(f.Op)
}

// counted are the events that a series counts, of all time.
func (r *reference) counted(i int) []referenceEvent {
	s := r.spec.Series[i]
	var out []referenceEvent
	if s.Measure.Kind == "firstTime" {
		first := map[int64]referenceEvent{}
		for _, e := range r.events {
			if e.UserKey() == 0 || s.Event != "" && e.Name != s.Event || !r.matches(e, s.Where) {
				continue
			}
			if known, ok := first[e.UserKey()]; !ok || cmp.Or(e.At.Compare(known.At), slices.Compare(e.ID[:], known.ID[:])) < 0 {
				first[e.UserKey()] = e
			}
		}
		for _, e := range first {
			if r.matches(e, r.spec.Where) {
				out = append(out, e)
			}
		}
		return out
	}
	for _, e := range r.events {
		if (s.Event == "" || e.Name == s.Event) && r.matches(e, s.Where) && r.matches(e, r.spec.Where) {
			out = append(out, e)
		}
	}
	return out
}

// tuples are the groups of an event.
func (r *reference) tuples(e referenceEvent) [][]string {
	out := [][]string{nil}
	for _, b := range r.spec.Breakdowns {
		values, list := e.texts(b.Property)
		switch {
		case len(values) == 0 && list:
			values = []string{"(empty)"}
		case len(values) == 0:
			values = []string{"(not set)"}
		}
		seen := map[string]bool{}
		var next [][]string
		for _, v := range values {
			if v == "" {
				v = "(empty)"
			}
			if seen[v] {
				continue
			}
			seen[v] = true
			for _, prefix := range out {
				next = append(next, append(slices.Clone(prefix), v))
			}
		}
		out = next
	}
	return out
}

// value is a measure over events.
func value(m insights.Measure, events []referenceEvent) *float64 {
	users, sessions := map[int64]bool{}, map[string]bool{}
	var numbers []float64
	for _, e := range events {
		if k := e.UserKey(); k != 0 {
			users[k] = true
		}
		if e.Session != "" {
			sessions[fmt.Sprint(e.UserKey(), " ", e.Session)] = true
		}
		if m.Kind == "property" {
			if values, list := e.texts(m.Property); len(values) == 1 && !list {
				if f, ok := numberOf(values[0]); ok {
					numbers = append(numbers, f)
				}
			}
		}
	}
	sort.Float64s(numbers)
	sum := 0.0
	for _, f := range numbers {
		sum += f
	}
	some := func(f float64) *float64 { return &f }
	switch m.Kind {
	case "", "total":
		return some(float64(len(events)))
	case "uniqueUsers", "firstTime":
		return some(float64(len(users)))
	case "sessions":
		return some(float64(len(sessions)))
	case "perUser":
		if len(users) == 0 {
			return nil
		}
		return some(float64(len(events)) / float64(len(users)))
	}
	if m.Agg == "sum" {
		return some(sum)
	}
	if len(numbers) == 0 {
		return nil
	}
	switch m.Agg {
	case "avg":
		return some(sum / float64(len(numbers)))
	case "min":
		return some(numbers[0])
	case "max":
		return some(numbers[len(numbers)-1])
	}
	p := map[string]float64{"median": 0.5, "p90": 0.9, "p95": 0.95, "p99": 0.99}[m.Agg]
	rank := p * float64(len(numbers)-1)
	low := int(math.Floor(rank))
	high := min(low+1, len(numbers)-1)
	return some(numbers[low] + (numbers[high]-numbers[low])*(rank-float64(low)))
}

func within(events []referenceEvent, from, to time.Time) []referenceEvent {
	var out []referenceEvent
	for _, e := range events {
		if !e.At.Before(from) && e.At.Before(to) {
			out = append(out, e)
		}
	}
	return out
}

// points are a series' values by bucket over the events of one group.
func (r *reference) points(m insights.Measure, events []referenceEvent) []*float64 {
	cut := func(b calendar.Bucket) []referenceEvent {
		from, to := b.Start, b.End
		if !b.End.After(r.span.From) { // before the range: whole
			return within(events, from, to)
		}
		if from.Before(r.span.From) && r.spec.Rolling <= 1 {
			from = r.span.From
		}
		if to.After(r.span.To) {
			to = r.span.To
		}
		return within(events, from, to)
	}
	var out []*float64
	for i, b := range r.buckets {
		switch {
		case r.spec.Cumulative:
			out = append(out, value(m, within(events, r.span.From, minTime(b.End, r.span.To))))
		case r.spec.Rolling > 1:
			window := append(r.cal.Before(r.span.From, r.unit, r.spec.Rolling-1, r.now), r.buckets...)[i : i+r.spec.Rolling]
			var all []referenceEvent
			sum, n := 0.0, 0
			for _, w := range window {
				if !w.Complete {
					continue
				}
				these := cut(w)
				all = append(all, these...)
				if v := value(m, these); v != nil {
					sum += *v
					n++
				}
			}
			switch {
			case m.Kind == "uniqueUsers":
				out = append(out, value(m, all))
			case n == 0:
				out = append(out, nil)
			default:
				mean := sum / float64(n)
				out = append(out, &mean)
			}
		default:
			out = append(out, value(m, cut(b)))
		}
	}
	return out
}

func minTime(a, b time.Time) time.Time {
	if a.Before(b) {
		return a
	}
	return b
}

type referenceSeries struct {
	id     string
	group  []string
	total  *float64
	points []*float64
}

func (r *reference) answer() []referenceSeries {
	var out []referenceSeries
	if len(r.spec.Breakdowns) == 0 {
		for i, s := range r.spec.Series {
			events := r.counted(i)
			out = append(out, referenceSeries{string(rune('A' + i)), nil, value(s.Measure, within(events, r.span.From, r.span.To)), r.points(s.Measure, events)})
		}
		return out
	}
	// Rank by the first series over the range.
	byGroup := map[string][]referenceEvent{}
	tuple := map[string][]string{}
	for _, e := range within(r.counted(0), r.span.From, r.span.To) {
		if r.spec.Series[0].Measure.Kind == "sessions" && e.Session == "" {
			continue // has no session that could rank its group
		}
		for _, t := range r.tuples(e) {
			key := strings.Join(t, "\x00")
			byGroup[key] = append(byGroup[key], e)
			tuple[key] = t
		}
	}
	var keys []string
	for key := range byGroup {
		keys = append(keys, key)
	}
	sort.Slice(keys, func(a, b int) bool {
		x, y := value(r.spec.Series[0].Measure, byGroup[keys[a]]), value(r.spec.Series[0].Measure, byGroup[keys[b]])
		switch {
		case (x == nil) != (y == nil):
			return y == nil
		case x != nil && math.Abs(*x-*y) > 1e-9*(1+math.Abs(*x)):
			return *x > *y
		}
		return slices.Compare(tuple[keys[a]], tuple[keys[b]]) < 0
	})
	top := map[string]bool{}
	keys = keys[:min(len(keys), r.spec.Top)]
	for _, key := range keys {
		top[key] = true
	}
	other := false
	perSeries := make([]map[string][]referenceEvent, len(r.spec.Series))
	for i, s := range r.spec.Series {
		perSeries[i] = map[string][]referenceEvent{}
		for _, e := range r.counted(i) {
			if s.Measure.Kind == "sessions" && e.Session == "" {
				continue
			}
			groups := map[string]bool{}
			for _, t := range r.tuples(e) {
				key := strings.Join(t, "\x00")
				if !top[key] {
					key = "Other"
				}
				groups[key] = true
			}
			for key := range groups {
				perSeries[i][key] = append(perSeries[i][key], e)
			}
		}
		other = other || len(within(perSeries[i]["Other"], r.span.From, r.span.To)) > 0
	}
	for i, s := range r.spec.Series {
		add := func(key string, group []string) {
			events := perSeries[i][key]
			out = append(out, referenceSeries{string(rune('A' + i)), group, value(s.Measure, within(events, r.span.From, r.span.To)), r.points(s.Measure, events)})
		}
		for _, key := range keys {
			add(key, tuple[key])
		}
		if other {
			group := make([]string, len(r.spec.Breakdowns))
			for j := range group {
				group[j] = "Other"
			}
			add("Other", group)
		}
	}
	return out
}

func pick[T any](r *rand.Rand, values ...T) T { return values[r.IntN(len(values))] }

// jsonValues pairs a value with one of its spellings.
var jsonValues = []struct {
	text  string
	value any
}{
	{`5`, 5.0}, {`5.0`, 5.0}, {`5.5`, 5.5}, {`-3`, -3.0}, {`1e1`, 10.0}, {`0`, 0.0}, {`"5"`, "5"}, {`"5.0"`, "5.0"}, {`" 20 "`, " 20 "}, {`"1e2"`, "1e2"},
	{`".5"`, ".5"}, {`"+7."`, "+7."}, {`"1,000"`, "1,000"}, {`"$3"`, "$3"}, {`"0x10"`, "0x10"}, {`"nan"`, "nan"}, {`"1_0"`, "1_0"}, {`"1 2"`, "1 2"}, {`""`, ""}, {`"pro"`, "pro"},
	{`"Pro"`, "Pro"}, {`"ÄÖ"`, "ÄÖ"}, {`"äö"`, "äö"}, {`"it's"`, "it's"}, {`"[x]"`, "[x]"}, {`"😀"`, "😀"}, {`"a\"b\\c"`, `a"b\c`}, {`true`, true}, {`false`, false}, {`"true"`, "true"},
	{`null`, nil}, {`[]`, []any{}}, {`["pro","x"]`, []any{"pro", "x"}}, {`["x","x",5.0]`, []any{"x", "x", 5.0}}, {`[null]`, []any{nil}}, {`["",null,"pro"]`, []any{"", nil, "pro"}},
}

var names = []string{"p", "q", "a.b", `odd "name"/~1`}

func randomEvents(r *rand.Rand, n int) []referenceEvent {
	start := time.Date(2026, 3, 23, 0, 0, 0, 0, time.UTC) // the week of Berlin's spring change
	out := make([]referenceEvent, n)
	lists := r.IntN(2) == 0
	for i := range out {
		e := &out[i]
		e.order = i
		for b := range e.ID {
			e.ID[b] = byte(r.IntN(256))
		}
		e.Name = pick(r, "a", "a", "b", "c", "it's")
		switch r.IntN(8) {
		case 0:
		case 1, 2:
			e.Anonymous = fmt.Sprint("d", r.IntN(3))
		default:
			e.User = fmt.Sprint("u", r.IntN(6))
		}
		if r.IntN(3) > 0 {
			e.Session = fmt.Sprint("s", r.IntN(3))
		}
		e.At = start.Add(time.Duration(r.Int64N(int64(12*24*time.Hour/time.Microsecond))) * time.Microsecond)
		if r.IntN(4) == 0 {
			e.At = e.At.Truncate(24 * time.Hour).Add(-time.Hour * time.Duration(r.IntN(3))) // bounds of days
		}
		if r.IntN(2) == 0 {
			e.Columns = map[string]string{"country": pick(r, "DE", "US")}
		}
		e.properties = map[string]any{}
		var members []string
		for _, name := range append(slices.Clone(names), "country") {
			if r.IntN(3) == 0 || name == "country" && r.IntN(3) > 0 {
				continue
			}
			v := pick(r, jsonValues...)
			if _, list := v.value.([]any); list && !lists {
				continue
			}
			e.properties[name] = v.value
			members = append(members, strconv.Quote(name)+":"+v.text)
		}
		if len(members) > 0 {
			e.Properties = "{" + strings.Join(members, ", ") + "}"
		}
	}
	return out
}

func randomFilter(r *rand.Rand, depth int) *insights.Filter {
	f := &insights.Filter{}
	switch n := r.IntN(10); {
	case n < 2 && depth < 2:
		for range 1 + r.IntN(3) {
			f.All = append(f.All, *randomFilter(r, depth+1))
		}
		return f
	case n < 4 && depth < 2:
		for range 1 + r.IntN(3) {
			f.Any = append(f.Any, *randomFilter(r, depth+1))
		}
		return f
	case n == 4 && depth < 2:
		f.Did = &insights.Did{Event: pick(r, "a", "b", ""), Op: pick(r, "eq", "ne", "gt", "gte", "lt", "lte"), N: r.IntN(4), In: pick(r, "", "range", "ever")}
		if r.IntN(3) == 0 {
			f.Did.Where = randomFilter(r, 2)
		}
		f.Not = r.IntN(3) == 0
		return f
	}
	f.Property = pick(r, append(slices.Clone(names), "country", "event")...)
	f.Op = pick(r, "is", "isNot", "contains", "notContains", "startsWith", "endsWith", "matches", "isSet", "isNotSet", "eq", "ne", "gt", "gte", "lt", "lte", "between", "isTrue", "isFalse")
	text := func() any {
		for {
			if v := pick(r, jsonValues...).value; v != nil {
				if _, list := v.([]any); !list {
					return v
				}
			}
		}
	}
	switch f.Op {
	case "is", "isNot", "contains", "notContains", "startsWith", "endsWith":
		for range 1 + r.IntN(2) {
			f.Values = append(f.Values, text())
		}
		f.CaseSensitive = r.IntN(3) == 0
	case "matches":
		f.Values = []any{pick[any](r, "^p", "o$", "(?i)PRO", `\d+`, "", "ä|x", "[.]")}
	case "eq", "ne":
		f.Values = []any{pick[any](r, 5.0, 10.0, "20", 0.0), pick[any](r, 5.5, -3.0)}[:1+r.IntN(2)]
	case "gt", "gte", "lt", "lte":
		f.Values = []any{pick[any](r, 5.0, 10.0, "5", 0.5)}
	case "between":
		f.Values = []any{pick[any](r, 0.0, 5.0), pick[any](r, 5.5, "20")}
	}
	return f
}

func randomTrend(r *rand.Rand) insights.Trend {
	t := insights.Trend{
		TimeZone: pick(r, "UTC", "Europe/Berlin", "America/New_York", "Asia/Kathmandu", "Australia/Lord_Howe"), Granularity: pick(r, "hour", "day", "day", "week", "month"),
		WeekStart: pick(r, "", "sunday"), Range: calendar.Range{From: "2026-03-26", To: pick(r, "2026-03-31", "2026-04-02", "2026-03-29T13:30:00Z")},
		Top: 1 + r.IntN(4),
	}
	if t.Granularity == "hour" {
		t.Range = calendar.Range{From: "2026-03-28", To: "2026-03-30"}
	}
	if r.IntN(3) == 0 {
		t.Where = randomFilter(r, 0)
	}
	switch r.IntN(6) {
	case 0:
		t.Cumulative = true
	case 1:
		t.Rolling = 2 + r.IntN(3)
	}
	for range 1 + r.IntN(3) {
		s := insights.Series{Event: pick(r, "a", "a", "b", "it's", "", "none")}
		s.Measure.Kind = pick(r, "total", "uniqueUsers", "uniqueUsers", "sessions", "firstTime", "property", "perUser")
		if t.Cumulative && s.Measure.Kind == "perUser" {
			s.Measure.Kind = "total"
		}
		if s.Measure.Kind == "property" {
			s.Measure.Property, s.Measure.Agg = pick(r, names...), pick(r, "sum", "avg", "min", "max", "median", "p90", "p99")
			if t.Cumulative {
				s.Measure.Agg = "sum"
			}
		}
		if r.IntN(3) == 0 {
			s.Where = randomFilter(r, 0)
		}
		t.Series = append(t.Series, s)
	}
	if r.IntN(2) == 0 {
		for range 1 + r.IntN(2) {
			t.Breakdowns = append(t.Breakdowns, insights.Breakdown{Property: pick(r, append(slices.Clone(names), "country", "event")...)})
		}
	}
	return t
}

func agree(a, b *float64) bool {
	if a == nil || b == nil {
		return a == b
	}
	return math.Abs(*a-*b) <= 1e-9*(1+math.Abs(*a))
}

// TestTrendsAgreeWithTheReference runs for CAUSALITY_TEST_SECONDS (default 15)
// from a seed that a failure prints; CAUSALITY_TEST_SEED repeats it.
func TestTrendsAgreeWithTheReference(t *testing.T) {
	t.Parallel()
	seconds, _ := strconv.Atoi(cmp.Or(os.Getenv("CAUSALITY_TEST_SECONDS"), "15"))
	seed, err := strconv.ParseUint(os.Getenv("CAUSALITY_TEST_SEED"), 10, 64)
	if err != nil {
		seed = uint64(time.Now().UnixNano())
	}
	pool := querytest.Pool(t, nil)
	now := time.Date(2026, 3, 30, 15, 20, 0, 0, time.UTC)
	deadline := time.Now().Add(time.Duration(seconds) * time.Second)
	var cases, failures int
	var mu sync.Mutex
	var wait sync.WaitGroup
	for worker := range uint64(2) {
		wait.Go(func() {
			for set := uint64(0); time.Now().Before(deadline); set++ {
				r := rand.New(rand.NewPCG(seed+worker, set))
				events := randomEvents(r, 1+r.IntN(120))
				snapshot := randomLayout(t, r, events)
				engine := &recording{Engine: pool}
				service, err := insights.New(insights.Config{Engine: engine, Source: querytest.Source(snapshot), HoldsLists: holdsLists(events), Now: func() time.Time { return now }})
				if err != nil {
					t.Error(err)
					return
				}
				for i := range 40 {
					if !time.Now().Before(deadline) {
						break
					}
					spec := randomTrend(r)
					ok, shown := compareOnce(t, service, app, spec, events, now, fmt.Sprintf("CAUSALITY_TEST_SEED=%d worker %d set %d", seed, worker, set))
					if i%8 == 0 && ok && !engine.sameRows(t, querytest.Source(snapshot), shown) {
						ok = false
						t.Errorf("CAUSALITY_TEST_SEED=%d worker %d set %d\n%+v\nshown\n%s\nrun\n%s", seed, worker, set, spec, shown, engine.last.SQL)
					}
					mu.Lock()
					cases++
					if !ok {
						failures++
					}
					stop := failures > 3
					mu.Unlock()
					if stop {
						return
					}
				}
			}
		})
	}
	wait.Wait()
	t.Logf("%d cases, seed %d", cases, seed)
	if cases == 0 {
		t.Error("no case ran")
	}
}

func compareOnce(t *testing.T, service *insights.Service, app query.App, spec insights.Trend, events []referenceEvent, now time.Time, seed string) (same bool, shown string) {
	answer, err := service.Trend(context.Background(), app, spec, false)
	if err != nil {
		t.Errorf("%s: %v\n%+v", seed, err, spec)
		return false, ""
	}
	zone, _ := calendar.LoadZone(spec.TimeZone)
	weekStart := time.Monday
	if spec.WeekStart == "sunday" {
		weekStart = time.Sunday
	}
	cal := calendar.New(zone, weekStart)
	unit, _ := calendar.ParseUnit(spec.Granularity)
	span, _ := cal.Resolve(spec.Range, unit, now)
	buckets, _ := cal.Buckets(span, unit, now)
	r := &reference{events: events, spec: spec, cal: cal, unit: unit, now: now, span: span, buckets: buckets}
	want := r.answer()
	same = len(want) == len(answer.Series)
	for i := 0; same && i < len(want); i++ {
		got := answer.Series[i]
		same = got.ID == want[i].id && slices.Equal(got.Group, want[i].group) && agree(got.Total, want[i].total) && len(got.Points) == len(want[i].points)
		for j := 0; same && j < len(got.Points); j++ {
			same = agree(got.Points[j].Value, want[i].points[j])
		}
	}
	if !same {
		var lines []string
		for _, s := range want {
			line := s.id
			if s.group != nil {
				line += "[" + strings.Join(s.group, ",") + "]"
			}
			line += " " + number(s.total) + ":"
			for _, p := range s.points {
				line += " " + number(p)
			}
			lines = append(lines, line)
		}
		t.Errorf("%s\n%+v\ngot\n%s\nwant\n%s\n%s", seed, spec, render(answer.Series), strings.Join(lines, "\n"), answer.Meta.SQL)
	}
	return same, answer.Meta.SQL
}
