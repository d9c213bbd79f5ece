// Package insights owns the questions of behavioural analytics: what they are,
// which are well formed, and the SQL that answers them exactly. What each number
// means is written in the semantics; this package follows it and approximates
// nothing. It knows no engine and no wire format.
package insights

import (
	"errors"
	"fmt"
	"math"
	"regexp"
	"strings"
	"time"

	"github.com/causality-project/causality/backend/internal/platform/calendar"
	"github.com/causality-project/causality/backend/internal/platform/fault"
)

// Limits of one question.
const (
	maxSeries     = 26
	maxFormulas   = 26
	maxBreakdowns = 3
	defaultTop    = 10
	maxTop        = 250
	maxRolling    = 366
	maxConditions = 200
	maxValues     = 1_000
	maxDepth      = 10
	maxText       = 4 << 10
)

// Trend asks how measures of events move over time.
type Trend struct {
	Range       calendar.Range
	TimeZone    string // IANA; default: the app's
	Granularity string // hour, day (default), week, month
	WeekStart   string // monday (default), sunday
	Where       *Filter
	Breakdowns  []Breakdown
	Top         int    // groups before Other; default 10, at most 250
	Compare     string // "" or previous
	Series      []Series
	Formulas    []Formula
	Cumulative  bool
	Rolling     int // buckets; 0 and 1: none
}

// Series counts events of one name, or of any.
type Series struct {
	ID      string // default: A, B, … by position
	Event   string // empty: any
	Measure Measure
	Where   *Filter
}

// Measure says what is counted. Kind property goes with Property and Agg.
type Measure struct {
	Kind     string // total (default), uniqueUsers, sessions, perUser, firstTime, property
	Property string
	Agg      string // sum, avg, min, max, median, p90, p95, p99
}

// Formula computes over series and other formulas, by their ids.
type Formula struct{ ID, Expr string }

// Breakdown splits by a property's values.
type Breakdown struct {
	Property string
	Source   string // event (default), user, group:<type>, cohort
}

// Filter is a tree: exactly one of All, Any, Property, Cohort and Did is used;
// an empty one is ignored.
type Filter struct {
	All, Any      []Filter
	Property      string
	Source        string // event (default), user, group:<type>
	Op            string
	Values        []any // string, float64 or bool
	CaseSensitive bool  // contains, startsWith, endsWith and their opposites
	Cohort        string
	Did           *Did
	Not           bool // with Cohort and Did
}

// Did holds for events of people who did an event often enough.
type Did struct {
	Event string
	Where *Filter
	Op    string // of the count: eq, ne, gt, gte (default), lt, lte
	N     int    // default 1 when Op is empty
	In    string // "30d", "range", or "ever" (default)
}

func (f *Filter) empty() bool {
	if f == nil {
		return true
	}
	if f.Property != "" || f.Op != "" || f.Cohort != "" || f.Did != nil {
		return false
	}
	for i := range f.All {
		if !f.All[i].empty() {
			return false
		}
	}
	for i := range f.Any {
		if !f.Any[i].empty() {
			return false
		}
	}
	return true
}

func seriesID(s Series, i int) string {
	if s.ID != "" {
		return s.ID
	}
	return string(rune('A' + i%26))
}

var idPattern = regexp.MustCompile(`^[A-Za-z][A-Za-z0-9_]{0,31}$`)

// Validate reports every field that is wrong, as one Invalid fault; what is
// understood but not built yet is Unsupported with the reason.
func (t *Trend) Validate() error {
	v := &validation{}
	if t.TimeZone != "" {
		if _, err := calendar.LoadZone(t.TimeZone); err != nil {
			v.add("timeZone", "%q is not a time zone; write an IANA name such as Europe/Berlin", t.TimeZone)
		}
	}
	if _, ok := calendar.ParseUnit(t.Granularity); !ok {
		v.add("granularity", "%q is not hour, day, week or month", t.Granularity)
	}
	v.oneOf("weekStart", t.WeekStart, "", "monday", "sunday")
	v.oneOf("compare", t.Compare, "", "previous")
	if t.Top < 0 || t.Top > maxTop {
		v.add("top", "must be 1 to %d (0 for %d)", maxTop, defaultTop)
	}
	if t.Rolling < 0 || t.Rolling > maxRolling {
		v.add("rolling", "must be 2 to %d buckets, or 0 for none", maxRolling)
	}
	if t.Cumulative && t.Rolling > 1 {
		v.add("rolling", "cannot go with cumulative; choose one")
	}
	if len(t.Series) == 0 {
		v.add("series", "pick an event to count")
	}
	if len(t.Series) > maxSeries {
		v.add("series", "are %d; at most %d fit one question", len(t.Series), maxSeries)
	}
	v.filter("where", t.Where, 0)
	if len(t.Breakdowns) > maxBreakdowns {
		v.add("breakdowns", "are %d; at most %d fit one question", len(t.Breakdowns), maxBreakdowns)
	}
	for i, b := range t.Breakdowns {
		path := fmt.Sprintf("breakdowns[%d]", i)
		v.property(path+".property", b.Property)
		v.source(path+".source", b.Source)
	}
	ids := map[string]bool{}
	for i, s := range t.Series {
		path := fmt.Sprintf("series[%d]", i)
		id := seriesID(s, i)
		v.id(path+".id", id, ids)
		v.event(path+".event", s.Event)
		v.measure(path+".measure", s.Measure, t.Cumulative)
		v.filter(path+".where", s.Where, 0)
	}
	if len(t.Formulas) > maxFormulas {
		v.add("formulas", "are %d; at most %d fit one question", len(t.Formulas), maxFormulas)
	}
	for i, f := range t.Formulas {
		v.id(fmt.Sprintf("formulas[%d].id", i), f.ID, ids)
	}
	if _, fields := compileFormulas(t.Formulas, ids); len(fields) > 0 {
		v.fields = append(v.fields, fields...)
	}
	if len(v.fields) > 0 {
		v.span(t) // else the plan says it, which knows the app's zone
		return fault.InvalidFields(v.fields)
	}
	return v.unsupported
}

type validation struct {
	fields      []fault.Field
	unsupported error
	conditions  int
}

func (v *validation) add(field, format string, args ...any) {
	v.fields = append(v.fields, fault.Field{Name: field, Message: fmt.Sprintf(format, args...)})
}

func (v *validation) oneOf(field, value string, allowed ...string) {
	for _, a := range allowed {
		if value == a {
			return
		}
	}
	v.add(field, "%q is not %s", value, strings.TrimPrefix(strings.Join(allowed, ", "), ", "))
}

func (v *validation) id(field, id string, ids map[string]bool) {
	switch {
	case !idPattern.MatchString(id):
		v.add(field, "%q must be a letter and then at most 31 letters, digits or _", id)
	case ids[id]:
		v.add(field, "%q names two series or formulas", id)
	}
	ids[id] = true
}

// span adds what is wrong with the range, so that it is not told after the rest.
func (v *validation) span(t *Trend) {
	zone, err := calendar.LoadZone(t.TimeZone)
	if err != nil {
		zone = time.UTC
	}
	unit, _ := calendar.ParseUnit(t.Granularity)
	var f *fault.Error
	if _, err := calendar.New(zone, time.Monday).Resolve(t.Range, unit, time.Now()); errors.As(err, &f) {
		v.fields = append(v.fields, f.Fields...)
	}
}

func (v *validation) event(field, name string) {
	if len(name) > maxText || strings.ContainsRune(name, 0) {
		v.add(field, "is not an event's name")
	}
}

func (v *validation) property(field, name string) {
	if name == "" {
		v.add(field, "pick a property")
	} else if len(name) > maxText || strings.ContainsRune(name, 0) {
		v.add(field, "is not a property's name")
	}
}

func (v *validation) source(field, source string) {
	switch {
	case source == "" || source == "event" || source == "user":
	case strings.HasPrefix(source, "group:"):
		v.refuse("%s: group properties cannot be used in questions yet; send the value with the event, or use the groups table in SQL.", field)
	case source == "cohort":
		v.refuse("%s: cohorts do not exist yet, so events cannot be split by them.", field)
	default:
		v.add(field, "%q is not event, user, group:<type> or cohort", source)
	}
}

func (v *validation) refuse(format string, args ...any) {
	if v.unsupported == nil {
		v.unsupported = fault.New(fault.Unsupported, format, args...)
	}
}

var aggregates = []string{"sum", "avg", "min", "max", "median", "p90", "p95", "p99"}

func (v *validation) measure(field string, m Measure, cumulative bool) {
	switch m.Kind {
	case "", "total", "uniqueUsers", "sessions", "firstTime":
	case "perUser":
		if cumulative {
			v.add(field, "an average per user cannot be cumulative")
		}
	case "property":
		v.property(field+".property", m.Property)
		v.oneOf(field+".agg", m.Agg, aggregates...)
		if cumulative && m.Agg != "sum" {
			v.add(field, "%s cannot be cumulative; only counts and sums can", m.Agg)
		}
	default:
		v.add(field, "%q is not total, uniqueUsers, sessions, perUser, firstTime or a property with its aggregate", m.Kind)
	}
}

func (v *validation) filter(path string, f *Filter, depth int) {
	if f.empty() {
		return
	}
	if v.conditions++; v.conditions > maxConditions {
		if v.conditions == maxConditions+1 {
			v.add(path, "the question has more than %d conditions", maxConditions)
		}
		return
	}
	if depth > maxDepth {
		v.add(path, "is nested more than %d levels deep", maxDepth)
		return
	}
	kinds := 0
	for _, used := range []bool{len(f.All) > 0, len(f.Any) > 0, f.Property != "" || f.Op != "", f.Cohort != "", f.Did != nil} {
		if used {
			kinds++
		}
	}
	if kinds != 1 {
		v.add(path, "must have exactly one of all, any, property, cohort and did")
		return
	}
	for i := range f.All {
		v.filter(fmt.Sprintf("%s.all[%d]", path, i), &f.All[i], depth+1)
	}
	for i := range f.Any {
		v.filter(fmt.Sprintf("%s.any[%d]", path, i), &f.Any[i], depth+1)
	}
	switch {
	case f.Cohort != "":
		v.refuse("%s: cohorts do not exist yet; use a condition on what people did.", path)
	case f.Did != nil:
		v.did(path+".did", f.Did, depth)
	case f.Property != "" || f.Op != "":
		v.property(path+".property", f.Property)
		v.source(path+".source", f.Source)
		v.condition(path, f)
	}
}

func (v *validation) did(path string, d *Did, depth int) {
	v.event(path+".event", d.Event)
	v.oneOf(path+".count.op", d.Op, "", "eq", "ne", "gt", "gte", "lt", "lte")
	if d.N < 0 {
		v.add(path+".count.n", "must not be negative")
	}
	if d.In != "" && d.In != "range" && d.In != "ever" {
		if _, err := calendar.New(time.UTC, time.Monday).Back(time.Unix(1e9, 0), d.In); err != nil {
			v.add(path+".in", "%s, or range, or ever", err.Error())
		}
	}
	v.filter(path+".where", d.Where, depth+1)
}

// operand is what an operator takes.
type operand uint8

const (
	takesNothing operand = iota
	takesTexts
	takesPatterns
	takesNumbers
	takesRange
	takesDate
	takesSpan
)

// operators lists every operator with its operand and, for a negative one, the
// positive that it is the exact complement of.
var operators = map[string]struct {
	operand  operand
	opposite string
}{
	"is": {takesTexts, ""}, "isNot": {takesTexts, "is"},
	"contains": {takesTexts, ""}, "notContains": {takesTexts, "contains"},
	"startsWith": {takesTexts, ""}, "endsWith": {takesTexts, ""},
	"matches": {takesPatterns, ""},
	"isSet":   {takesNothing, ""}, "isNotSet": {takesNothing, "isSet"},
	"eq": {takesNumbers, ""}, "ne": {takesNumbers, "eq"},
	"gt": {takesNumbers, ""}, "gte": {takesNumbers, ""}, "lt": {takesNumbers, ""}, "lte": {takesNumbers, ""},
	"between": {takesRange, ""},
	"before":  {takesDate, ""}, "after": {takesDate, ""}, "on": {takesDate, ""}, "inLast": {takesSpan, ""},
	"isTrue": {takesNothing, ""}, "isFalse": {takesNothing, ""},
}

func (v *validation) condition(path string, f *Filter) {
	op, ok := operators[f.Op]
	if !ok {
		v.add(path+".op", "%q is not an operator; is, contains, gt, before, isSet … are", f.Op)
		return
	}
	field := path + ".values"
	if len(f.Values) > maxValues {
		v.add(field, "are %d; at most %d", len(f.Values), maxValues)
		return
	}
	want := map[operand][2]int{
		takesNothing: {0, 0}, takesTexts: {1, maxValues}, takesPatterns: {1, maxValues}, takesNumbers: {1, maxValues}, takesRange: {2, 2},
		takesDate: {1, 1}, takesSpan: {1, 1},
	}[op.operand]
	if f.Op != "eq" && f.Op != "ne" && op.operand == takesNumbers {
		want[1] = 1
	}
	if len(f.Values) < want[0] || len(f.Values) > want[1] {
		switch {
		case want[1] == 0:
			v.add(field, "%s takes no value", f.Op)
		case want[0] == want[1]:
			v.add(field, "%s takes %d", f.Op, want[0])
		default:
			v.add(field, "%s needs a value", f.Op)
		}
		return
	}
	for i, value := range f.Values {
		v.value(fmt.Sprintf("%s[%d]", field, i), f, op.operand, value)
	}
}

func (v *validation) value(field string, f *Filter, op operand, value any) {
	switch value := value.(type) {
	case string:
		if len(value) > maxText || strings.ContainsRune(value, 0) {
			v.add(field, "is too long, or holds a zero byte")
			return
		}
	case bool:
	case float64:
		if math.IsNaN(value) || math.IsInf(value, 0) {
			v.add(field, "is not a finite number")
			return
		}
	default:
		v.add(field, "must be text, a number, true or false")
		return
	}
	switch op {
	case takesPatterns:
		if _, err := regexp.Compile(canonical(value)); err != nil {
			v.add(field, "is not a regular expression: %s", strings.TrimPrefix(err.Error(), "error parsing regexp: "))
		}
	case takesNumbers:
		if _, ok := number(value); !ok {
			v.add(field, "%q is not a number", canonical(value))
		}
	case takesRange:
		_, first := number(f.Values[0])
		_, second := number(f.Values[1])
		if first && second {
			return
		}
		fallthrough
	case takesDate:
		if _, _, err := utcCalendar.DateBounds(canonical(value)); err != nil {
			v.add(field, "%s", err.Error())
		}
	case takesSpan:
		if _, err := utcCalendar.Back(time.Unix(1e9, 0), canonical(value)); err != nil {
			v.add(field, "%s", err.Error())
		}
	}
}

var utcCalendar = calendar.New(time.UTC, time.Monday)
