package insights

import (
	"fmt"
	"math"
	"strconv"
	"strings"
	"time"

	"github.com/causality-project/causality/backend/internal/analysis/query"
)

// dialect writes what engines spell differently. All else of a question is the
// same SQL for each, over tables and functions (property_text, text_number, …)
// that the engines define alike.
type dialect interface {
	// onePass says that a WITH query is read anew wherever it is named.
	onePass() bool
	// text and values read a property of a JSON column: its canonical text, and
	// its list of values. isList tells whether it is a list.
	text(container, property string) string
	values(container, property string) string
	isList(container, property string) string
	// anyElement is true where the condition holds for an element of a list.
	anyElement(list string, condition func(element string) string) string
	list(elements string) string
	fraction(f float64) string // the text of a number that is no integer, as text spells it
	contains(text, part string) string
	endsWith(text, part string) string
	matches(text, pattern string) string
	// time reads text as an instant, and bound is an instant to compare it with.
	time(text, zone string) string
	bound(t time.Time) string
	instant(t time.Time) string                       // a literal, the same in every session's zone
	micros(instant string) string                     // since 1970, an integer
	quotient(a, b string) string                      // of positive integers, an integer
	same(a, b string) string                          // equal texts, NULL being one
	sum(numbers string) string                        // of doubles
	percentile(p, where string) string                // of the doubles v that a condition, if any, holds for
	first(fields []packed, byTime bool) string        // fields of the first row by (ts, event_id), or by ts alone
	explode(e exploded) string                        // rows under each element of their lists
	elements(values string) (expression, from string) // of a list, in SELECT and FROM
}

// packed is a field that is kept with a person's first event.
type packed struct{ name, value, typ string }

// exploded is a reduced table with lists in its group columns.
type exploded struct {
	table           string
	groups, columns []string // columns: all others
}

// duckdb is DuckDB's dialect.
type duckdb struct{}

func (duckdb) pointer(property string) string { return query.Text(query.Pointer(property)) }

func (d duckdb) text(container, property string) string {
	return "property_text(" + container + ", " + d.pointer(property) + ")"
}

func (d duckdb) values(container, property string) string {
	return "property_values(" + container + ", " + d.pointer(property) + ")"
}

func (d duckdb) isList(container, property string) string {
	return "left(json_extract_string(" + container + ", " + d.pointer(property) + "), 1) = '['"
}

func (duckdb) anyElement(list string, condition func(string) string) string {
	return "list_bool_or(list_transform(" + list + ", lambda e: coalesce(" + condition("e") + ", false)))"
}

func (duckdb) list(elements string) string { return "[" + elements + "]" }

func (duckdb) fraction(f float64) string {
	return "property_text('{\"v\":" + strconv.FormatFloat(f, 'e', -1, 64) + "}', '/v')"
}

func (duckdb) contains(text, part string) string { return "contains(" + text + ", " + part + ")" }
func (duckdb) endsWith(text, part string) string { return "ends_with(" + text + ", " + part + ")" }
func (duckdb) matches(text, pattern string) string {
	return "regexp_matches(" + text + ", " + pattern + ")"
}
func (duckdb) time(text, zone string) string {
	return "text_time(" + text + ", " + query.Text(zone) + ")"
}
func (duckdb) bound(t time.Time) string     { return instant(t) }
func (duckdb) instant(t time.Time) string   { return instant(t) }
func (duckdb) micros(instant string) string { return "epoch_us(" + instant + ")" }
func (duckdb) quotient(a, b string) string  { return a + " // " + b }
func (duckdb) same(a, b string) string      { return a + " IS NOT DISTINCT FROM " + b }
func (duckdb) sum(numbers string) string    { return "fsum(" + numbers + ")" }
func (duckdb) onePass() bool                { return false }

func (duckdb) percentile(p, where string) string {
	out := "quantile_cont(v, " + p + ")"
	if where != "" {
		out += " FILTER (WHERE " + where + ")"
	}
	return out
}

func (duckdb) first(fields []packed, byTime bool) string {
	parts := make([]string, len(fields))
	for i, f := range fields {
		parts[i] = f.name + " := " + f.value
	}
	order := "(ts, event_id)"
	if byTime {
		order = "ts"
	}
	return "arg_min(struct_pack(" + strings.Join(parts, ", ") + "), " + order + ")"
}

func (duckdb) explode(e exploded) string {
	from := "(SELECT row_number() OVER () AS row_id, * FROM " + e.table + ")"
	for _, g := range e.groups {
		from = fmt.Sprintf("(SELECT * REPLACE (unnest(CASE WHEN %s IS NULL THEN [NULL] WHEN len(list_distinct(%s)) = 0 THEN [''] ELSE list_distinct(%s) END) AS %s) FROM %s)", g, g, g, g, from)
	}
	return "SELECT * FROM " + from
}

func (duckdb) elements(values string) (expression, from string) {
	return "unnest(list_distinct(" + values + "))", ""
}

// instant is a TIMESTAMPTZ literal, the same in every session's zone.
func instant(t time.Time) string {
	return "TIMESTAMPTZ '" + t.UTC().Format("2006-01-02 15:04:05.999999") + "+00'"
}

// trino is Trino's dialect. Its numbers of JSON are spelled as DuckDB spells them.
type trino struct{}

func (trino) json(container, property string) string {
	path := `$["` + strings.ReplaceAll(strings.ReplaceAll(property, `\`, `\\`), `"`, `\"`) + `"]`
	return "json_extract(" + container + ", " + query.Text(path) + ")"
}

func (d trino) text(container, property string) string {
	return "property_text(" + d.json(container, property) + ")"
}

func (d trino) values(container, property string) string {
	return "property_values(" + d.json(container, property) + ")"
}

func (d trino) isList(container, property string) string {
	return "starts_with(json_format(" + d.json(container, property) + "), '[')"
}

func (trino) anyElement(list string, condition func(string) string) string {
	return "any_match(" + list + ", e -> coalesce(" + condition("e") + ", false))"
}

func (trino) list(elements string) string { return "ARRAY[" + elements + "]" }

func (trino) fraction(f float64) string { return "number_text(" + double(f) + ")" }

func double(f float64) string {
	if f == math.Trunc(f) && math.Abs(f) < 1e15 {
		return strconv.FormatFloat(f, 'f', 0, 64) + "e0"
	}
	return strconv.FormatFloat(f, 'e', -1, 64)
}

func (trino) contains(text, part string) string { return "(strpos(" + text + ", " + part + ") > 0)" }

func (trino) endsWith(text, part string) string {
	return "starts_with(reverse(" + text + "), reverse(" + part + "))"
}

func (trino) matches(text, pattern string) string {
	return "regexp_like(" + text + ", " + pattern + ")"
}

func (trino) time(text, zone string) string {
	return "text_time(" + text + ", " + query.Text(zone) + ")"
}

func (trino) bound(t time.Time) string { return strconv.FormatInt(t.UnixMicro(), 10) }

func (trino) instant(t time.Time) string {
	return "TIMESTAMP '" + t.UTC().Format("2006-01-02 15:04:05.000000") + " UTC'"
}

func (trino) micros(instant string) string {
	return "CAST(round(to_unixtime(" + instant + ") * 1e6) AS BIGINT)"
}

func (trino) quotient(a, b string) string { return a + " / " + b }

// same is an equality, for a join by IS NOT DISTINCT FROM would compare all pairs.
func (trino) same(a, b string) string {
	return "coalesce('=' || " + a + ", '') = coalesce('=' || " + b + ", '')"
}

func (trino) sum(numbers string) string { return "sum(" + numbers + ")" }

// percentile holds the numbers of a group in memory, as anything exact must that
// Trino has; it ends with the query's memory, never with a wrong number.
func (trino) percentile(p, where string) string {
	some := "v IS NOT NULL"
	if where != "" {
		some += " AND " + where
	}
	return "percentile(array_sort(array_agg(v) FILTER (WHERE " + some + ")), " + p + "e0)"
}

func (trino) onePass() bool { return true }

func (trino) first(fields []packed, byTime bool) string {
	var values, types []string
	for _, f := range fields {
		values = append(values, f.value)
		types = append(types, f.name+" "+f.typ)
	}
	order := "ROW(ts, event_id)"
	if byTime {
		order = "ts"
	}
	return "min_by(CAST(ROW(" + strings.Join(values, ", ") + ") AS ROW(" + strings.Join(types, ", ") + ")), " + order + ")"
}

func (trino) explode(e exploded) string {
	selected := append([]string{"x.row_id"}, e.columns...)
	from := "(SELECT row_number() OVER () AS row_id, * FROM " + e.table + ") x"
	for _, g := range e.groups {
		some := "filter(array_distinct(x." + g + "), e -> e IS NOT NULL)"
		selected = append(selected, "of_"+g+"."+g)
		from += fmt.Sprintf("\n  CROSS JOIN UNNEST(CASE WHEN x.%s IS NULL THEN ARRAY[CAST(NULL AS VARCHAR)] WHEN cardinality(%s) = 0 THEN ARRAY[''] ELSE %s END) AS of_%s(%s)", g, some, some, g, g)
	}
	return "SELECT " + strings.Join(selected, ", ") + " FROM " + from
}

func (trino) elements(values string) (expression, from string) {
	return "element", " CROSS JOIN UNNEST(array_distinct(" + values + ")) AS of_values(element)"
}
