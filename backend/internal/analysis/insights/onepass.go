package insights

import (
	"fmt"
	"strings"
)

// Trino reads a WITH query anew wherever it is named, so a trend names each
// reduced table once: the points and totals of all its series, the groups and
// what did not count come of one aggregation over grouping sets, whose columns
// are then turned into the rows that DuckDB gives by many SELECTs. Only running
// distinct counts take a pass of their own. Ranking groups takes another one.

// once are the SELECTs of a reduction. labelled says that the table has the
// values of each rank's group in its columns gs, and how many groups there are.
func (p *trendPlan) once(table string, r reduction, gs []string, labelled bool) []string {
	look := p.lookBack()
	// An aggregate over the rows that count for a bucket, or for the range.
	var columns, kinds, series, shown, present []string
	add := func(kind string, i int, value, count string) {
		kinds = append(kinds, "'"+kind+"'")
		series = append(series, fmt.Sprint(i))
		shown = append(shown, "CAST("+value+" AS DOUBLE)")
		present = append(present, count)
	}
	var passes []string
	for _, i := range r.series {
		m := p.spec.Series[i].Measure
		matched := fmt.Sprintf("n%d > 0", i)
		inRange := fmt.Sprintf("%s AND b >= %d", matched, look)
		total, point := fmt.Sprintf("t%d", i), fmt.Sprintf("p%d", i)
		columns = append(columns, p.aggregateWhere(r.class, i, inRange)+" AS "+total, "count_if("+inRange+") AS h"+total)
		add(kindTotal, i, total, "IF(whole = 1, h"+total+", 0)")
		if !p.totals {
			stepped := p.stepped(r.class, i)
			if stepped != "" {
				passes = append(passes, p.steps(table, r.class, i, stepped)...)
			} else {
				columns = append(columns, p.aggregateWhere(r.class, i, matched)+" AS "+point, "count_if("+matched+") AS h"+point)
				add(kindPoint, i, point, "IF(whole = 0, h"+point+", 0)")
			}
		}
		if m.Kind == "property" && !p.lists() {
			skipped := fmt.Sprintf("sum(n%d - c%d - m%d)", i, i, i)
			if r.class == values {
				skipped = fmt.Sprintf("count(*) FILTER (WHERE %s) - count(v) FILTER (WHERE %s) - sum(m%d)", inRange, inRange, i)
			}
			columns = append(columns, fmt.Sprintf("%s FILTER (WHERE %s) AS s%d", skipped, inRange, i), fmt.Sprintf("sum(m%d) FILTER (WHERE %s) AS a%d", i, inRange, i))
			add(kindSkipped, i, fmt.Sprintf("s%d", i), "IF(whole = 1, h"+total+", 0)")
			add(kindMissing, i, fmt.Sprintf("a%d", i), "IF(whole = 1, h"+total+", 0)")
		}
		if m.Kind == "property" && p.lists() {
			passes = append(passes, p.uncounted(table, r.class, i, inRange)...)
		}
	}
	labels := padded(nil)
	if labelled {
		columns = append(columns, "max(groups) AS groups")
		for n, g := range gs {
			columns = append(columns, "any_value("+g+") AS "+g)
			labels[n] = "IF(kind = '" + kindGroup + "', " + g + ")"
		}
		add(kindGroup, 0, "groups", "IF(whole = 1 AND rank > 0, 1, 0)")
	}
	sets := "GROUPING SETS ((rank, b), (rank))"
	if p.totals {
		sets = "GROUPING SETS ((rank))"
	}
	bucket, whole := "b", "grouping(b)"
	if p.totals {
		bucket, whole = "CAST(NULL AS INTEGER) AS b", "1"
	}
	inner := "SELECT rank, " + bucket + ", " + whole + " AS whole, " + strings.Join(columns, ", ") + " FROM " + table + " GROUP BY " + sets
	array := func(items []string) string { return "ARRAY[" + strings.Join(items, ", ") + "]" }
	out := "SELECT kind, series, rank, IF(kind = '" + kindPoint + "', b), value, " + strings.Join(labels, ", ") + "\n  FROM (" + inner + ")" +
		"\n  CROSS JOIN UNNEST(" + array(kinds) + ", " + array(series) + ", " + array(shown) + ", " + array(present) + ") AS answers(kind, series, value, present)" +
		"\n  WHERE present > 0"
	return append([]string{out}, passes...)
}

// aggregateWhere is a series' value over those reduced rows that a condition
// holds for.
func (p *trendPlan) aggregateWhere(c class, i int, where string) string {
	filter := " FILTER (WHERE " + where + ")"
	m := p.spec.Series[i].Measure
	in := p.compiler.in()
	switch {
	case c == users && m.Kind == "perUser":
		return fmt.Sprintf("CAST(sum(n%d)%s AS DOUBLE) / nullif(count(DISTINCT u)%s, 0)", i, filter, filter)
	case c == values:
		return in.percentile(quantiles[m.Agg], where)
	case c == rows && m.Agg == "sum":
		return "coalesce(" + in.sum(fmt.Sprintf("v%d", i)) + filter + ", 0)"
	case c == rows && m.Agg == "avg":
		return in.sum(fmt.Sprintf("v%d", i)) + filter + fmt.Sprintf(" / nullif(sum(c%d)%s, 0)", i, filter)
	}
	return p.aggregate(c, i) + filter
}

// labelled reports whether a reduction's table tells what the groups are: that of
// the first series, which ranks them.
func (p *trendPlan) labelled(k int) bool {
	return k == 0 && len(p.spec.Breakdowns) > 0 && p.groups == nil && p.compiler.in().onePass()
}
