package insights

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/causality-project/causality/backend/internal/analysis/query"
	"github.com/causality-project/causality/backend/internal/platform/calendar"
)

// A question is written as SQL twice: for people, over the tables that they can
// name, and as it runs, over the smallest files that answer it exactly. The
// second reads promoted columns where objects have them, and counts by day
// instead of events where its bounds cut no day. Both give the same numbers.

// reads gathers what SQL reads while it is written. A nil one writes for people.
type reads struct {
	columns  map[string]bool
	users    bool
	promoted map[string]query.Promoted // of the app, by property
	used     map[string]query.Promoted
	numbers  map[string]bool // expressions that are numbers already
}

func newReads(promoted []query.Promoted) *reads {
	r := &reads{columns: map[string]bool{}, promoted: make(map[string]query.Promoted, len(promoted)), used: map[string]query.Promoted{}, numbers: map[string]bool{}}
	for _, p := range promoted {
		r.promoted[p.Name] = p
	}
	return r
}

func (r *reads) column(names ...string) {
	if r != nil {
		for _, name := range names {
			r.columns[name] = true
		}
	}
}

// people notes that traits of the table users are read.
func (r *reads) people() {
	if r != nil {
		r.users = true
		r.column("user_key")
	}
}

// place says where a property's values are read. Only numbers are asked of it if
// numeric is set, or whether it is there. An object that does not hold the
// property's column has NULL there and the JSON beside it, and the other way
// around, so that the column answers first and the JSON for the rest.
func (r *reads) place(f field, property string, numeric bool) field {
	if r == nil {
		return f
	}
	if f.column != "" {
		r.column(f.column)
	}
	if f.container == "" {
		return f
	}
	p, ok := r.promoted[property]
	if !ok || p.Number && (!numeric || f.column != "") {
		r.column("properties")
		return f
	}
	r.used[property] = p
	switch {
	case p.Number:
		f.column, f.number = p.Column(), true
		r.numbers[f.column] = true
	case f.column != "":
		f.column = "coalesce(" + f.column + ", " + p.Column() + ")"
	default:
		f.column = p.Column()
	}
	return f
}

// need is what was read, in a steady order.
func (r *reads) need() query.Need {
	var need query.Need
	for name := range r.columns {
		need.Columns = append(need.Columns, name)
	}
	slices.Sort(need.Columns)
	for _, p := range r.used {
		need.Promoted = append(need.Promoted, p)
	}
	slices.SortFunc(need.Promoted, func(a, b query.Promoted) int { return strings.Compare(a.Name, b.Name) })
	need.Users = r.users
	return need
}

// where is the field that a condition looks at.
func (c *compiler) where(f *Filter) field {
	if f.Source == "user" {
		c.reads.people()
		return field{container: "traits", property: f.Property, in: c.in()}
	}
	return c.reads.place(c.plainField(f.Property), f.Property, numeric(f))
}

// numeric reports whether a condition looks at numbers alone, or only at whether
// there is a value.
func numeric(f *Filter) bool {
	switch f.Op {
	case "eq", "ne", "gt", "gte", "lt", "lte", "isSet", "isNotSet":
		return true
	case "between":
		_, first := number(f.Values[0])
		_, second := number(f.Values[1])
		return first && second
	}
	return false
}

// number reads text, or a column of numbers, as a number.
func (c *compiler) number(text string) string {
	if c.reads != nil && c.reads.numbers[text] {
		return text
	}
	return "text_number(" + text + ")"
}

// measured is the number that a measure takes of each event, and the condition
// that there is no value at all.
func (c *compiler) measured(property string) (number, missing string) {
	f := c.reads.place(c.plainField(property), property, true)
	if !f.number {
		text := f.text()
		return "text_number(" + text + ")", text + " IS NULL"
	}
	json := f.in.text(f.container, f.property)
	return "coalesce(" + f.column + ", text_number(" + json + "))", "(" + f.column + " IS NULL AND " + json + " IS NULL)"
}

// planned is the question as it runs over a snapshot.
func (p *trendPlan) planned(s *query.Snapshot) (sql string, tables query.Planned) {
	run := *p
	inner := *p.compiler
	inner.reads = newReads(s.Promoted)
	run.compiler = &inner
	days := run.countDays(s)
	sql = run.sql()
	need := inner.reads.need()
	need.Events, need.Days = run.readsEvents(), days
	return sql, s.Plan(need)
}

// byDay reports whether counts by event, day and person answer a reduction: it
// counts events and people, and looks at nothing but the names of events. Who
// came first before the range and who in it must not be of one day.
func (p *trendPlan) byDay(r reduction) bool {
	switch {
	case !p.days:
		return false
	case r.class == firsts:
		if !p.startsDay(p.from()) || p.cut() || len(p.spec.Breakdowns) > 0 || !p.spec.Where.empty() {
			return false
		}
	case r.class != rows && r.class != users:
		return false
	}
	for _, b := range p.spec.Breakdowns {
		if b.Property != "event" || b.Source != "" && b.Source != "event" {
			return false
		}
	}
	for _, i := range r.series {
		if s := p.spec.Series[i]; s.Measure.Kind == "property" || !onlyNames(s.Where) {
			return false
		}
	}
	return onlyNames(p.spec.Where)
}

// onlyNames reports whether a condition looks at nothing but names of events.
func onlyNames(f *Filter) bool {
	if f.empty() {
		return true
	}
	if f.Did != nil || f.Cohort != "" {
		return false
	}
	for _, children := range [][]Filter{f.All, f.Any} {
		for i := range children {
			if !onlyNames(&children[i]) {
				return false
			}
		}
	}
	return len(f.All)+len(f.Any) > 0 || f.Property == "event" && (f.Source == "" || f.Source == "event")
}

// namesEvents reports whether a condition reads event.
func namesEvents(f *Filter) bool { return !f.empty() }

// countDays turns counts by day on for the reductions that they answer, if
// buckets are made of whole days and any object has such counts.
func (p *trendPlan) countDays(s *query.Snapshot) *query.Days {
	if unit, _ := calendar.ParseUnit(p.spec.Granularity); unit < calendar.Day {
		return nil
	}
	zone := p.compiler.calendar.Zone().String()
	if !slices.ContainsFunc(s.Objects, func(o query.Object) bool {
		return slices.ContainsFunc(o.Projections, func(p query.Projection) bool { return p.Zone == zone })
	}) {
		return nil
	}
	p.days = true
	days := &query.Days{Zone: zone, Whole: p.wholeDays(), From: p.from(), To: p.span.To}
	some := false
	for _, r := range p.reductions() {
		if !p.byDay(r) {
			continue
		}
		some = true
		days.Users = days.Users || r.class != rows
		if r.class == firsts {
			days.From = time.Time{}
		}
		days.Event = days.Event || len(p.spec.Breakdowns) > 0 || namesEvents(p.spec.Where)
		for _, i := range r.series {
			days.Event = days.Event || p.spec.Series[i].Event != "" || namesEvents(p.spec.Series[i].Where)
		}
	}
	if !some {
		p.days = false
		return nil
	}
	return days
}

// readsEvents reports whether any reduction reads single events.
func (p *trendPlan) readsEvents() bool {
	return slices.ContainsFunc(p.reductions(), func(r reduction) bool { return !p.byDay(r) })
}

// wholeDays tells whether the bounds of reading cut no day on which an object has
// events: each is the start of a day, or has all of them on one side.
func (p *trendPlan) wholeDays() func(first, last time.Time) bool {
	from, to := p.from(), p.span.To
	fromStarts, toStarts := p.startsDay(from), p.startsDay(to)
	if p.cut() && !p.startsDay(p.span.From) {
		return func(time.Time, time.Time) bool { return false }
	}
	return func(first, last time.Time) bool {
		return (fromStarts || !first.Before(from)) && (toStarts || last.Before(to))
	}
}

// startsDay reports whether a local day starts at an instant.
func (p *trendPlan) startsDay(t time.Time) bool {
	start, _ := p.compiler.calendar.Period(calendar.Day, t)
	return start.Equal(t)
}

// dayNumber counts local days as DATE - DATE '1970-01-01' does.
func (p *trendPlan) dayNumber(t time.Time) int64 {
	y, m, d := t.In(p.compiler.calendar.Zone()).Date()
	return time.Date(y, m, d, 0, 0, 0, 0, time.UTC).Unix() / 86_400
}

// date is the local date of an instant.
func (p *trendPlan) date(t time.Time) string {
	return "DATE '" + t.In(p.compiler.calendar.Zone()).Format(time.DateOnly) + "'"
}

// reduceDays is reduce over counts by day, and over the events of objects that
// have no such counts.
func (p *trendPlan) reduceDays(r reduction, gs []string) string {
	from, to := p.from(), p.span.To
	start, _ := p.compiler.calendar.Period(calendar.Day, to.Add(-time.Microsecond)) // to may be inside the last day that counts
	const day = "(day - DATE '1970-01-01')"
	inDays := []string{"day BETWEEN " + p.date(from) + " AND " + p.date(start)}
	inEvents := []string{"ts >= " + instant(from), "ts < " + instant(to)}
	if p.cut() {
		before := p.buckets[0].Start
		inDays = append(inDays, "(day < "+p.date(before)+" OR day >= "+p.date(p.span.From)+")")
		inEvents = append(inEvents, "(ts < "+instant(before)+" OR ts >= "+instant(p.span.From)+")")
	}
	// The buckets in days, as if a day lasted a microsecond.
	numbered := make([]calendar.Bucket, len(p.read))
	for i, b := range p.read {
		numbered[i] = calendar.Bucket{Start: time.UnixMicro(p.dayNumber(b.Start)), End: time.UnixMicro(p.dayNumber(b.End))}
	}
	inDay, inEvent := bucketOf(p.compiler.in(), day, numbered), bucketOf(p.compiler.in(), "epoch_us(ts)", p.read)
	carried, key := "event", ""
	switch r.class {
	case users:
		carried, key = "event, user_key", "user_key AS u"
	case firsts: // all before the range is one bucket before the first
		carried = "event, user_key"
		inDay = "CASE WHEN day < " + p.date(from) + " THEN -1 ELSE " + inDay + " END"
		inEvent = "CASE WHEN ts < " + instant(from) + " THEN -1 ELSE " + inEvent + " END"
		inDays, inEvents = []string{"day <= " + p.date(start)}, []string{"ts < " + instant(to)}
	}
	inner := "SELECT " + inDay + " AS b, " + carried + ", n FROM event_days WHERE " + strings.Join(inDays, " AND ") +
		"\n    UNION ALL SELECT " + inEvent + ", " + carried + ", 1 FROM event_rest WHERE " + strings.Join(inEvents, " AND ")
	if r.class == firsts {
		i := r.series[0]
		where := "user_key IS NOT NULL"
		if match := p.matches(i); match != "" {
			where += " AND " + match
		}
		return fmt.Sprintf("  SELECT b, u, 1 AS n%d, 0 AS m%d\n  FROM (SELECT user_key AS u, min(b) AS b\n    FROM (%s)\n    WHERE %s\n    GROUP BY user_key)\n  WHERE b >= 0", i, i, inner, where)
	}

	columns := []string{"b"}
	for _, g := range gs {
		columns = append(columns, "event AS "+g)
	}
	if key != "" {
		columns = append(columns, key)
	}
	keys := len(columns)
	var where, any []string
	if report := p.compiler.filter(p.spec.Where); report != "" {
		where = append(where, report)
	}
	every := false
	for _, i := range r.series {
		match := p.matches(i)
		every = every || match == ""
		any = append(any, match)
	}
	if !every {
		where = append(where, "("+strings.Join(any, " OR ")+")")
	}
	for n, i := range r.series {
		filter := ""
		if len(r.series) > 1 && any[n] != "" {
			filter = " FILTER (WHERE " + any[n] + ")"
		}
		count := "coalesce(CAST(sum(n)" + filter + " AS BIGINT), 0)"
		if r.class == users && p.spec.Series[i].Measure.Kind == "uniqueUsers" {
			count = "count(*)" + filter // that somebody is there is enough, and counting rows is twice as fast
		}
		columns = append(columns, fmt.Sprintf("%s AS n%d", count, i))
		if r.class == rows {
			columns = append(columns, fmt.Sprintf("NULL::DOUBLE AS v%d, 0 AS c%d", i, i))
		}
		columns = append(columns, fmt.Sprintf("0 AS m%d", i))
	}
	out := "  SELECT " + strings.Join(columns, ", ") + "\n  FROM (" + inner + ")"
	if len(where) > 0 {
		out += "\n  WHERE " + strings.Join(where, " AND ")
	}
	positions := make([]string, keys)
	for i := range positions {
		positions[i] = strconv.Itoa(i + 1)
	}
	return out + "\n  GROUP BY " + strings.Join(positions, ", ")
}
