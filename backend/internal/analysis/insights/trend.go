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

// A trend becomes one SELECT. Each class of measures is first reduced to a small
// table (rN) in one pass over the events: counts by bucket and group, or the
// people, sessions or values of each. Ranking the groups, Other, totals over the
// range and the points are then all read from the reduced tables, so that none
// is ever a sum of another.
//
// The answer's rows are (kind, series, rank, bucket, value, g1, g2, g3):
//
//	point    value of a bucket; rank 0 is Other
//	step     change of a running distinct count at a bucket
//	total    value over the whole range
//	group    the values of a rank, and in value how many groups there are
//	skipped, missing   values of a property that did not count
const (
	kindPoint   = "point"
	kindStep    = "step"
	kindTotal   = "total"
	kindGroup   = "group"
	kindSkipped = "skipped"
	kindMissing = "missing"
)

// class is what a measure is reduced to.
type class uint8

const (
	rows     class = iota // counts, sums and extremes by bucket
	users                 // distinct people by bucket
	sessions              // distinct sessions by bucket
	values                // the numbers themselves, for percentiles
	firsts                // people at their first event
)

func classOf(m Measure) class {
	switch m.Kind {
	case "uniqueUsers", "perUser":
		return users
	case "sessions":
		return sessions
	case "firstTime":
		return firsts
	case "property":
		if _, ok := quantiles[m.Agg]; ok {
			return values
		}
	}
	return rows
}

var quantiles = map[string]string{"median": "0.5", "p90": "0.9", "p95": "0.95", "p99": "0.99"}

// trendPlan is a trend with its time resolved.
type trendPlan struct {
	spec     *Trend
	compiler *compiler
	span     calendar.Span
	buckets  []calendar.Bucket // of the answer
	read     []calendar.Bucket // with those before that a rolling average needs
	groups   [][]*string       // fixed groups; nil: rank them
	totals   bool              // only totals are asked for
	days     bool              // counts by day answer what they can
}

func (p *trendPlan) lookBack() int { return len(p.read) - len(p.buckets) }

// from is where reading starts.
func (p *trendPlan) from() time.Time {
	if p.lookBack() > 0 {
		return p.read[0].Start
	}
	return p.span.From
}

// cut reports whether buckets before the range are read and the range cuts its
// first one, whose part before the range then counts nowhere.
func (p *trendPlan) cut() bool { return p.lookBack() > 0 && p.buckets[0].Start.Before(p.span.From) }

// history reports whether events before the range can matter.
func (p *trendPlan) history() bool {
	history := false
	var visit func(f *Filter)
	visit = func(f *Filter) {
		if f.empty() {
			return
		}
		history = history || f.Did != nil || f.Source == "user"
		for i := range f.All {
			visit(&f.All[i])
		}
		for i := range f.Any {
			visit(&f.Any[i])
		}
	}
	visit(p.spec.Where)
	for _, s := range p.spec.Series {
		visit(s.Where)
		history = history || classOf(s.Measure) == firsts
	}
	for _, b := range p.spec.Breakdowns {
		history = history || b.Source == "user"
	}
	return history
}

// bucketOf is the number of the bucket that the µs column holds. Runs of
// buckets of one length are a division; a tree of comparisons picks the run.
func bucketOf(in dialect, us string, buckets []calendar.Bucket) string {
	type run struct {
		index         int
		start, length int64
		count         int
	}
	var runs []run
	for i, b := range buckets {
		start, length := b.Start.UnixMicro(), b.End.Sub(b.Start).Microseconds()
		if n := len(runs); n > 0 && runs[n-1].length == length {
			runs[n-1].count++
			continue
		}
		runs = append(runs, run{i, start, length, 1})
	}
	var tree func(runs []run) string
	tree = func(runs []run) string {
		if len(runs) > 1 {
			middle := len(runs) / 2
			return fmt.Sprintf("CASE WHEN %s < %d THEN %s ELSE %s END", us, runs[middle].start, tree(runs[:middle]), tree(runs[middle:]))
		}
		r := runs[0]
		if r.count == 1 {
			return strconv.Itoa(r.index)
		}
		quotient := in.quotient(fmt.Sprintf("(%s - %d)", us, r.start), strconv.FormatInt(r.length, 10))
		if r.index == 0 {
			return quotient
		}
		return fmt.Sprintf("%d + %s", r.index, quotient)
	}
	if len(runs) == 0 {
		return "0"
	}
	return "CAST(" + tree(runs) + " AS INTEGER)"
}

// group is the expression of a breakdown; lists need unnesting.
func (p *trendPlan) group(b Breakdown) (expression string, list bool) {
	f := p.compiler.where(&Filter{Property: b.Property, Source: b.Source})
	if f.scalar {
		return f.text(), false
	}
	return f.values(), true
}

// lists reports whether a breakdown may put an event into several groups.
func (p *trendPlan) lists() bool {
	for _, b := range p.spec.Breakdowns {
		if _, list := p.group(b); list {
			return true
		}
	}
	return false
}

// source is what the reduced tables read.
func (p *trendPlan) source() string {
	for _, b := range p.spec.Breakdowns {
		if b.Source == "user" {
			return "events LEFT JOIN (SELECT user_key AS trait_key, traits FROM users) ON trait_key = user_key"
		}
	}
	return "events"
}

// reduction is one reduced table and the series that read it.
type reduction struct {
	class  class
	series []int
}

func (p *trendPlan) reductions() []reduction {
	var out []reduction
	for i, s := range p.spec.Series {
		c := classOf(s.Measure)
		if c == values || c == firsts { // one series each
			out = append(out, reduction{c, []int{i}})
			continue
		}
		at := slices.IndexFunc(out, func(r reduction) bool { return r.class == c })
		if at < 0 {
			out = append(out, reduction{c, []int{i}})
		} else {
			out[at].series = append(out[at].series, i)
		}
	}
	return out
}

func (p *trendPlan) matches(i int) string {
	s := p.spec.Series[i]
	var parts []string
	if s.Event != "" {
		parts = append(parts, "event = "+query.Text(s.Event))
	}
	if own := p.compiler.filter(s.Where); own != "" {
		parts = append(parts, own)
	}
	if len(parts) == 0 {
		return ""
	}
	return strings.Join(parts, " AND ")
}

func names(prefix string, n int) []string {
	out := make([]string, n)
	for i := range out {
		out[i] = prefix + strconv.Itoa(i+1)
	}
	return out
}

// sql is the whole SELECT. It names only tables that people can name.
func (p *trendPlan) sql() string {
	var with []string
	var selects []string
	breakdowns := len(p.spec.Breakdowns)
	gs := names("g", breakdowns)
	lists := p.lists()
	reductions := p.reductions()
	for k, r := range reductions {
		with = append(with, fmt.Sprintf("r%d AS (\n%s)", k, p.reduce(r, gs, lists)))
		table := fmt.Sprintf("r%d", k)
		if lists {
			with = append(with, fmt.Sprintf("x%d AS (%s)", k, p.compiler.in().explode(exploded{table, gs, reducedColumns(r)})))
			table = fmt.Sprintf("x%d", k)
		}
		if breakdowns == 0 {
			with = append(with, fmt.Sprintf("k%d AS (SELECT 1 AS rank, * FROM %s)", k, table))
			continue
		}
		if k == 0 { // series A is in the first reduction
			with = append(with, "top AS ("+p.top(table, r, gs)+")")
		}
		if k == 0 && !p.compiler.in().onePass() {
			selects = append(selects, "SELECT 'group', 0, rank, NULL, CAST(groups AS DOUBLE), "+strings.Join(padded(gs), ", ")+" FROM top")
		}
		var on, columns []string
		for _, g := range gs {
			on = append(on, p.compiler.in().same("x."+g, "top."+g))
		}
		columns = append(columns, "coalesce(top.rank, 0) AS rank")
		for _, c := range reducedColumns(r) {
			columns = append(columns, "x."+c)
		}
		if p.labelled(k) {
			columns = append(columns, "top.groups")
			for _, g := range gs {
				columns = append(columns, "top."+g)
			}
		}
		distinct := ""
		if lists { // an event with two values of Other is there once
			distinct = "DISTINCT "
			columns = append(columns, "x.row_id")
		}
		with = append(with, fmt.Sprintf("k%d AS (SELECT %s%s FROM %s x LEFT JOIN top ON %s)", k, distinct, strings.Join(columns, ", "), table, strings.Join(on, " AND ")))
	}
	for k, r := range reductions {
		if p.compiler.in().onePass() {
			selects = append(selects, p.once(fmt.Sprintf("k%d", k), r, gs, p.labelled(k))...)
			continue
		}
		for _, i := range r.series {
			selects = append(selects, p.answers(fmt.Sprintf("k%d", k), r.class, i)...)
		}
	}
	return "WITH " + strings.Join(with, ",\n") + "\n" + strings.Join(selects, "\nUNION ALL ")
}

func padded(gs []string) []string {
	out := slices.Clone(gs)
	for len(out) < maxBreakdowns {
		out = append(out, "NULL")
	}
	return out
}

// reducedColumns are the columns of a reduced table beside the groups.
func reducedColumns(r reduction) []string {
	out := []string{"b"}
	switch r.class {
	case users, firsts:
		out = append(out, "u")
	case sessions:
		out = append(out, "u", "s")
	case values:
		out = append(out, "v")
	}
	for _, i := range r.series {
		out = append(out, fmt.Sprintf("n%d", i))
		if r.class == rows {
			out = append(out, fmt.Sprintf("v%d", i), fmt.Sprintf("c%d", i))
		}
		out = append(out, fmt.Sprintf("m%d", i))
	}
	return out
}

// reduce reads the events once.
func (p *trendPlan) reduce(r reduction, gs []string, lists bool) string {
	if p.byDay(r) {
		return p.reduceDays(r, gs)
	}
	if r.class == firsts {
		return p.reduceFirsts(r.series[0], gs, lists)
	}
	where := []string{"ts >= " + p.compiler.in().instant(p.from()), "ts < " + p.compiler.in().instant(p.span.To)}
	if p.cut() {
		where = append(where, "(ts < "+p.compiler.in().instant(p.buckets[0].Start)+" OR ts >= "+p.compiler.in().instant(p.span.From)+")")
	}
	if report := p.compiler.filter(p.spec.Where); report != "" {
		where = append(where, report)
	}
	// Which rows concern any series at all.
	var events, any []string
	everyEvent := false
	for _, i := range r.series {
		if s := p.spec.Series[i]; s.Event == "" {
			everyEvent = true
		} else {
			events = append(events, query.Text(s.Event))
		}
		m := p.matches(i)
		if m == "" {
			m = "true"
		}
		any = append(any, "("+m+")")
	}
	conditions := make([]string, len(r.series))
	if len(r.series) == 1 {
		if m := p.matches(r.series[0]); m != "" {
			where = append(where, m)
		}
	} else {
		if !everyEvent {
			slices.Sort(events)
			where = append(where, "event IN ("+strings.Join(slices.Compact(events), ", ")+")")
		}
		if !slices.Contains(any, "(true)") {
			where = append(where, "("+strings.Join(any, " OR ")+")")
		}
		for n := range conditions {
			conditions[n] = any[n]
		}
	}
	if r.class == sessions {
		where = append(where, "session_id IS NOT NULL")
		p.compiler.reads.column("session_id", "session_key")
	}

	columns := []string{bucketOf(p.compiler.in(), p.compiler.in().micros("ts"), p.read) + " AS b"}
	for i, b := range p.spec.Breakdowns {
		expression, list := p.group(b)
		if lists && !list {
			expression = "CASE WHEN " + expression + " IS NOT NULL THEN " + p.compiler.in().list(expression) + " END"
		}
		columns = append(columns, expression+" AS "+gs[i])
	}
	if r.class == users || r.class == sessions {
		p.compiler.reads.column("user_key")
	}
	switch r.class {
	case users:
		columns = append(columns, "user_key AS u")
	case sessions:
		columns = append(columns, "user_key AS u", "session_key AS s")
	}
	keys := len(columns)
	filtered := func(aggregate, condition string) string {
		if condition == "" {
			return aggregate
		}
		return aggregate + " FILTER (WHERE " + condition + ")"
	}
	for n, i := range r.series {
		m := p.spec.Series[i].Measure
		condition := conditions[n]
		if m.Kind != "property" {
			columns = append(columns, fmt.Sprintf("%s AS n%d", filtered("count(*)", condition), i))
			if r.class == rows {
				columns = append(columns, fmt.Sprintf("CAST(NULL AS DOUBLE) AS v%d, 0 AS c%d", i, i))
			}
			columns = append(columns, fmt.Sprintf("0 AS m%d", i))
			continue
		}
		number, missing := p.compiler.measured(m.Property)
		if r.class == values {
			columns = append(columns, number+" AS v", fmt.Sprintf("1 AS n%d", i),
				fmt.Sprintf("CAST(%s AS INTEGER) AS m%d", missing, i))
			keys = 0 // not aggregated
			continue
		}
		aggregate := p.compiler.in().sum(number)
		if m.Agg == "min" || m.Agg == "max" {
			aggregate = m.Agg + "(" + number + ")"
		}
		columns = append(columns,
			fmt.Sprintf("%s AS n%d", filtered("count(*)", condition), i),
			fmt.Sprintf("%s AS v%d", filtered(aggregate, condition), i),
			fmt.Sprintf("%s AS c%d", filtered("count("+number+")", condition), i),
			fmt.Sprintf("%s AS m%d", filtered("count_if("+missing+")", condition), i))
	}
	out := "  SELECT " + strings.Join(columns, ",\n    ") + "\n  FROM " + p.source() + "\n  WHERE " + strings.Join(where, "\n    AND ")
	if keys > 0 {
		positions := make([]string, keys)
		for i := range positions {
			positions[i] = strconv.Itoa(i + 1)
		}
		out += "\n  GROUP BY " + strings.Join(positions, ", ")
	}
	return out
}

// reduceFirsts finds each person's first event of the series ever; the report's
// filters choose among these.
func (p *trendPlan) reduceFirsts(i int, gs []string, lists bool) string {
	where := []string{"user_key IS NOT NULL", "ts < " + p.compiler.in().instant(p.span.To)}
	if m := p.matches(i); m != "" {
		where = append(where, m)
	}
	report := p.compiler.filter(p.spec.Where)
	if report == "" {
		report = "true"
	}
	p.compiler.reads.column("user_key")
	in := p.compiler.in()
	byTime := report == "true" && len(p.spec.Breakdowns) == 0 && p.compiler.reads != nil // whichever of one instant comes first, its time is the same
	if !byTime {
		p.compiler.reads.column("event_id")
	}
	fields := []packed{{"at", in.micros("ts"), "BIGINT"}, {"kept", report, "BOOLEAN"}}
	outer := []string{bucketOf(p.compiler.in(), "f.at", p.read) + " AS b"}
	for n, b := range p.spec.Breakdowns {
		expression, list := p.group(b)
		if lists && !list {
			expression = "CASE WHEN " + expression + " IS NOT NULL THEN " + p.compiler.in().list(expression) + " END"
		}
		typ := "VARCHAR"
		if lists {
			typ = "ARRAY(VARCHAR)"
		}
		fields = append(fields, packed{gs[n], expression, typ})
		outer = append(outer, "f."+gs[n]+" AS "+gs[n])
	}
	outer = append(outer, "u", fmt.Sprintf("1 AS n%d", i), fmt.Sprintf("0 AS m%d", i))
	cut := ""
	if p.cut() {
		cut = fmt.Sprintf(" AND (f.at < %d OR f.at >= %d)", p.buckets[0].Start.UnixMicro(), p.span.From.UnixMicro())
	}
	return "  SELECT " + strings.Join(outer, ", ") + "\n  FROM (SELECT user_key AS u, " + in.first(fields, byTime) + " AS f\n    FROM " + p.source() + "\n    WHERE " + strings.Join(where, "\n      AND ") + "\n    GROUP BY user_key)" +
		fmt.Sprintf("\n  WHERE f.kept AND f.at >= %d", p.from().UnixMicro()) + cut
}

// label is how a group's value reads, which decides ties.
func label(g string) string {
	return "CASE WHEN " + g + " IS NULL THEN '(not set)' WHEN " + g + " = '' THEN '(empty)' ELSE " + g + " END"
}

func (p *trendPlan) top(table string, r reduction, gs []string) string {
	columns := strings.Join(gs, ", ")
	if p.groups != nil {
		var tuples []string
		for rank, group := range p.groups {
			values := []string{strconv.Itoa(rank + 1)}
			for _, g := range group {
				if g == nil {
					values = append(values, "CAST(NULL AS VARCHAR)")
				} else {
					values = append(values, query.Text(*g))
				}
			}
			tuples = append(tuples, "("+strings.Join(values, ", ")+")")
		}
		if len(tuples) == 0 {
			return "SELECT 1 AS rank, 0 AS groups, " + strings.Join(castNulls(gs), ", ") + " WHERE false"
		}
		return "SELECT rank, 0 AS groups, " + columns + " FROM (VALUES " + strings.Join(tuples, ", ") + ") AS t(rank, " + columns + ")"
	}
	top := p.spec.Top
	if top == 0 {
		top = defaultTop
	}
	labels := make([]string, len(gs))
	for i, g := range gs {
		labels[i] = label(g)
	}
	return fmt.Sprintf("SELECT * FROM (SELECT row_number() OVER (ORDER BY v DESC NULLS LAST, %s) AS rank, count(*) OVER () AS groups, v, %s\n  FROM (SELECT %s, %s AS v FROM %s WHERE n0 > 0 AND b >= %d GROUP BY %s))\n  WHERE rank <= %d",
		strings.Join(labels, ", "), columns, columns, p.aggregate(r.class, 0), table, p.lookBack(), columns, top)
}

func castNulls(gs []string) []string {
	out := make([]string, len(gs))
	for i, g := range gs {
		out[i] = "CAST(NULL AS VARCHAR) AS " + g
	}
	return out
}

// aggregate is a series' value over reduced rows.
func (p *trendPlan) aggregate(c class, i int) string {
	m := p.spec.Series[i].Measure
	switch c {
	case users, firsts:
		if m.Kind == "perUser" {
			return fmt.Sprintf("CAST(sum(n%d) AS DOUBLE) / nullif(count(DISTINCT u), 0)", i)
		}
		return "count(DISTINCT u)"
	case sessions:
		return "count(DISTINCT (u, s))"
	case values:
		return p.compiler.in().percentile(quantiles[m.Agg], "")
	}
	switch m.Agg {
	case "sum":
		return "coalesce(" + p.compiler.in().sum(fmt.Sprintf("v%d", i)) + ", 0)"
	case "avg":
		return p.compiler.in().sum(fmt.Sprintf("v%d", i)) + fmt.Sprintf(" / nullif(sum(c%d), 0)", i)
	case "min", "max":
		return fmt.Sprintf("%s(v%d)", m.Agg, i)
	}
	return fmt.Sprintf("sum(n%d)", i)
}

// answers are the SELECTs of one series.
func (p *trendPlan) answers(table string, c class, i int) []string {
	m := p.spec.Series[i].Measure
	look := p.lookBack()
	row := func(kind, bucket, value, from, where, group string) string {
		return fmt.Sprintf("SELECT '%s', %d, rank, %s, CAST(%s AS DOUBLE), NULL, NULL, NULL FROM %s WHERE %s GROUP BY %s", kind, i, bucket, value, from, where, group)
	}
	matched := fmt.Sprintf("n%d > 0", i)
	inRange := fmt.Sprintf("%s AND b >= %d", matched, look)
	var out []string
	if i == 0 && len(p.spec.Breakdowns) > 0 && p.groups == nil {
		// The first series ranked the groups by what are their totals.
		out = append(out, "SELECT 'total', 0, rank, NULL, CAST(v AS DOUBLE), NULL, NULL, NULL FROM top",
			row(kindTotal, "NULL", p.aggregate(c, i), table, inRange+" AND rank = 0", "rank"))
	} else {
		out = append(out, row(kindTotal, "NULL", p.aggregate(c, i), table, inRange, "rank"))
	}
	if !p.totals {
		out = append(out, p.points(table, c, i, matched, row)...)
	}
	if m.Kind == "property" {
		out = append(out, p.uncounted(table, c, i, inRange)...)
	}
	return out
}

func (p *trendPlan) points(table string, c class, i int, matched string, row func(kind, bucket, value, from, where, group string) string) []string {
	if distinct := p.stepped(c, i); distinct != "" {
		return p.steps(table, c, i, distinct)
	}
	switch {
	case c == users && p.spec.Series[i].Measure.Kind == "uniqueUsers" && !p.lists():
		// The reduced rows of one group are one for each person and bucket; only
		// Other mixes groups. Counting rows spares a second distinct pass.
		points := []string{row(kindPoint, "b", "count(u)", table, matched+" AND rank > 0", "rank, b")}
		if len(p.spec.Breakdowns) > 0 {
			points = append(points, row(kindPoint, "b", p.aggregate(c, i), table, matched+" AND rank = 0", "rank, b"))
		}
		return points
	default:
		return []string{row(kindPoint, "b", p.aggregate(c, i), table, matched, "rank, b")}
	}
}

// stepped names what a running count is distinct in; empty for all that points
// answer.
func (p *trendPlan) stepped(c class, i int) string {
	unique := c == users && p.spec.Series[i].Measure.Kind == "uniqueUsers"
	switch {
	case p.spec.Cumulative && c == sessions:
		return "u, s"
	case p.spec.Cumulative && (c == firsts || unique), p.spec.Rolling > 1 && unique:
		return "u"
	}
	return ""
}

// steps are the changes of a running distinct count.
func (p *trendPlan) steps(table string, c class, i int, distinct string) []string {
	matched := fmt.Sprintf("n%d > 0", i)
	row := func(value, from string) []string {
		return []string{fmt.Sprintf("SELECT '%s', %d, rank, b, CAST(%s AS DOUBLE), NULL, NULL, NULL FROM %s GROUP BY rank, b", kindStep, i, value, from)}
	}
	if p.spec.Cumulative {
		// Whoever is counted is counted from the first bucket on.
		return row("count(*)", fmt.Sprintf("(SELECT rank, %s, min(b) AS b FROM %s WHERE %s AND b >= %d%s GROUP BY rank, %s)", distinct, table, matched, p.lookBack(), notNobody(c), distinct))
	}
	// Each appearance counts for the next k buckets, or until the next one.
	incomplete := []string{"-1"}
	for n, b := range p.read {
		if !b.Complete {
			incomplete = append(incomplete, strconv.Itoa(n))
		}
	}
	seen := fmt.Sprintf("(SELECT DISTINCT rank, u, b FROM %s WHERE %s AND u IS NOT NULL AND b NOT IN (%s))", table, matched, strings.Join(incomplete, ", "))
	stays := fmt.Sprintf("(SELECT rank, b, least(b + %d, coalesce(lead(b) OVER (PARTITION BY rank, u ORDER BY b), b + %d)) AS until FROM %s)", p.spec.Rolling, p.spec.Rolling, seen)
	return row("sum(step)", fmt.Sprintf("(SELECT rank, CASE step WHEN 1 THEN b ELSE until END AS b, step FROM %s CROSS JOIN (VALUES (1), (-1)) AS sides(step))", stays))
}

// uncounted are the values of a property that did not count, over events and not
// over groups: an event of two groups counts once.
func (p *trendPlan) uncounted(table string, c class, i int, inRange string) []string {
	skipped, missing := fmt.Sprintf("sum(n%d - c%d - m%d)", i, i, i), fmt.Sprintf("sum(m%d)", i)
	if c == values {
		skipped = fmt.Sprintf("count(*) - count(v) - sum(m%d)", i)
	}
	source := strings.Replace(table, "k", "r", 1)
	var out []string
	for _, s := range [][2]string{{kindSkipped, skipped}, {kindMissing, missing}} {
		out = append(out, fmt.Sprintf("SELECT '%s', %d, 0, NULL, CAST(%s AS DOUBLE), NULL, NULL, NULL FROM %s WHERE %s", s[0], i, s[1], source, inRange))
	}
	return out
}

func notNobody(c class) string {
	if c == sessions {
		return ""
	}
	return " AND u IS NOT NULL"
}
