package insights

import (
	"fmt"
	"math"
	"regexp"
	"strconv"
	"strings"
	"time"

	"github.com/causality-project/causality/backend/internal/analysis/query"
	"github.com/causality-project/causality/backend/internal/platform/calendar"
)

// columns are the event columns that are addressed like properties. A property
// of the same name answers where the column is empty, as with imported rows.
var columns = func() map[string]bool {
	set := map[string]bool{}
	for _, name := range strings.Fields(`event platform os os_version app_version device_model device_type browser country region city locale page_url
		page_path referrer_host utm_source utm_medium utm_campaign utm_term utm_content library library_version user_id anonymous_id session_id correlation_id`) {
		set[name] = true
	}
	return set
}()

// field is where a property's values are found in SQL.
type field struct {
	column    string // a text column; empty: none
	container string // a column of JSON; empty: none
	property  string // in container
	in        dialect
	number    bool // column holds numbers; only they are asked for
	scalar    bool // no event has a list there
}

// compiler turns conditions into SQL over the events table. The question has
// been validated.
type compiler struct {
	calendar calendar.Calendar
	span     calendar.Span
	now      time.Time
	shadowed func(property string) bool // a JSON property has this column's name
	listed   func(property string) bool // an event may hold a list under this name; nil: any may
	reads    *reads                     // nil: for people
	dialect  dialect                    // nil: DuckDB's
}

// in is the dialect that SQL is written in.
func (c *compiler) in() dialect {
	if c.dialect == nil {
		return duckdb{}
	}
	return c.dialect
}

// field is where a property's text is found.
func (c *compiler) field(property string) field {
	return c.reads.place(c.plainField(property), property, false)
}

func (c *compiler) plainField(property string) field {
	f := field{container: "properties", property: property, in: c.in()}
	if columns[property] {
		f.column = property
		if property == "event" || c.shadowed != nil && !c.shadowed(property) {
			f.container = ""
		}
	}
	f.scalar = f.container == "" || c.listed != nil && !c.listed(property)
	return f
}

// text is the canonical text of a scalar; a list's is its JSON.
func (f field) text() string {
	json := f.in.text(f.container, f.property)
	switch {
	case f.column == "":
		return json
	case f.container == "":
		return f.column
	case f.number:
		return "coalesce(CAST(" + f.column + " AS VARCHAR), " + json + ")"
	default:
		return "coalesce(" + f.column + ", " + json + ")"
	}
}

// values is the list of values that a breakdown puts an event under; NULL when
// there is none.
func (f field) values() string {
	list := f.in.values(f.container, f.property)
	if f.column == "" {
		return list
	}
	return "CASE WHEN " + f.column + " IS NOT NULL THEN " + f.in.list(f.column) + " ELSE " + list + " END"
}

// holds is true where the condition holds for the value, or for any element of a
// list. It is never NULL.
func (f field) holds(condition func(text string) string) string {
	if f.scalar && !f.number {
		return "coalesce(" + condition(f.text()) + ", false)"
	}
	one := condition(f.in.text(f.container, f.property))
	out := "CASE "
	if f.column != "" {
		out += "WHEN " + f.column + " IS NOT NULL THEN " + condition(f.column) + " "
	}
	if f.scalar {
		return "coalesce(" + out + "ELSE " + one + " END, false)"
	}
	return "coalesce(" + out + "WHEN " + f.in.isList(f.container, f.property) + " THEN " +
		f.in.anyElement(f.in.values(f.container, f.property), condition) + " ELSE " + one + " END, false)"
}

// canonical is the text that text operators compare with.
func canonical(v any) string {
	switch v := v.(type) {
	case string:
		return v
	case bool:
		return strconv.FormatBool(v)
	case float64:
		if v == math.Trunc(v) && math.Abs(v) < 1e15 {
			return strconv.FormatInt(int64(v), 10)
		}
		return strconv.FormatFloat(v, 'g', -1, 64)
	default:
		return fmt.Sprint(v)
	}
}

// literal is canonical in SQL. A fraction is spelled by the engine that spells
// the stored ones.
func (c *compiler) literal(v any) string {
	if f, ok := v.(float64); ok && (f != math.Trunc(f) || math.Abs(f) >= 1e15) {
		return c.in().fraction(f)
	}
	return query.Text(canonical(v))
}

var numberPattern = regexp.MustCompile(`^[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?$`)

// number reads a value as the numbers of properties are read.
func number(v any) (float64, bool) {
	switch v := v.(type) {
	case float64:
		return v, true
	case string:
		text := strings.Trim(v, " \t\n\r\f")
		if !numberPattern.MatchString(text) {
			return 0, false
		}
		f, err := strconv.ParseFloat(text, 64)
		return f, err == nil && !math.IsInf(f, 0)
	default:
		return 0, false
	}
}

func numberLiteral(v any) string {
	f, _ := number(v)
	return "CAST('" + strconv.FormatFloat(f, 'g', -1, 64) + "' AS DOUBLE)"
}

// filter is SQL that is true or false, never NULL; empty for no condition.
func (c *compiler) filter(f *Filter) string {
	if f.empty() {
		return ""
	}
	switch {
	case len(f.All) > 0:
		return c.tree(f.All, " AND ")
	case len(f.Any) > 0:
		return c.tree(f.Any, " OR ")
	case f.Did != nil:
		return c.did(f)
	}
	positive := *f
	opposite := operators[f.Op].opposite
	if opposite != "" {
		positive.Op = opposite
	}
	where := c.where(f)
	out := ""
	if positive.Op == "isSet" {
		out = "(" + where.text() + " IS NOT NULL)"
	} else {
		out = where.holds(func(text string) string { return c.condition(&positive, text) })
	}
	if f.Source == "user" {
		out = "coalesce(user_key IN (SELECT user_key FROM users WHERE " + out + "), false)"
	}
	if opposite != "" {
		out = "NOT " + out
	}
	return out
}

func (c *compiler) tree(children []Filter, join string) string {
	var parts []string
	for i := range children {
		if part := c.filter(&children[i]); part != "" {
			parts = append(parts, part)
		}
	}
	if len(parts) == 1 {
		return parts[0]
	}
	return "(" + strings.Join(parts, join) + ")"
}

func (c *compiler) condition(f *Filter, text string) string {
	each := func(one func(value any) string) string {
		parts := make([]string, len(f.Values))
		for i, v := range f.Values {
			parts[i] = one(v)
		}
		if len(parts) == 1 {
			return parts[0]
		}
		return "(" + strings.Join(parts, " OR ") + ")"
	}
	folded := func(test func(text, part string) string) string {
		return each(func(v any) string {
			if f.CaseSensitive {
				return test(text, c.literal(v))
			}
			return test("lower("+text+")", "lower("+c.literal(v)+")")
		})
	}
	compare := func(operator string) string {
		return each(func(v any) string { return c.number(text) + " " + operator + " " + numberLiteral(v) })
	}
	moment := c.in().time(text, c.calendar.Zone().String())
	bounds := func(i int) (string, string) {
		start, end, _ := c.calendar.DateBounds(canonical(f.Values[i])) // validated
		return c.in().bound(start), c.in().bound(end)
	}
	switch f.Op {
	case "is":
		values := make([]string, len(f.Values))
		for i, v := range f.Values {
			values[i] = c.literal(v)
		}
		return text + " IN (" + strings.Join(values, ", ") + ")"
	case "contains":
		return folded(c.in().contains)
	case "startsWith":
		return folded(func(text, part string) string { return "starts_with(" + text + ", " + part + ")" })
	case "endsWith":
		return folded(c.in().endsWith)
	case "matches":
		return each(func(v any) string { return c.in().matches(text, c.literal(v)) })
	case "eq":
		return compare("=")
	case "gt":
		return compare(">")
	case "gte":
		return compare(">=")
	case "lt":
		return compare("<")
	case "lte":
		return compare("<=")
	case "between":
		_, first := number(f.Values[0])
		_, second := number(f.Values[1])
		if first && second {
			return c.number(text) + " BETWEEN " + numberLiteral(f.Values[0]) + " AND " + numberLiteral(f.Values[1])
		}
		start, _ := bounds(0)
		_, end := bounds(1)
		return "(" + moment + " >= " + start + " AND " + moment + " < " + end + ")"
	case "before":
		start, _ := bounds(0)
		return moment + " < " + start
	case "after":
		_, end := bounds(0)
		return moment + " >= " + end
	case "on":
		start, end := bounds(0)
		return "(" + moment + " >= " + start + " AND " + moment + " < " + end + ")"
	case "inLast":
		end := c.end()
		start, _ := c.calendar.Back(end, canonical(f.Values[0]))
		return "(" + moment + " >= " + c.in().bound(start) + " AND " + moment + " < " + c.in().bound(end) + ")"
	case "isTrue":
		return text + " = 'true'"
	case "isFalse":
		return text + " = 'false'"
	}
	panic("insights: condition was not validated: " + f.Op)
}

// end is where "the last T" ends, so that old reports reproduce.
func (c *compiler) end() time.Time {
	if c.span.To.Before(c.now) {
		return c.span.To
	}
	return c.now
}

// did selects the events of people by what they did. People are found by what
// they did; a count that zero satisfies is asked for the other way around.
func (c *compiler) did(f *Filter) string {
	d := f.Did
	c.reads.column("user_key")
	op, n := d.Op, d.N
	if op == "" {
		op = "gte"
		if n == 0 {
			n = 1
		}
	}
	compare := func(a int) bool {
		switch op {
		case "eq":
			return a == n
		case "ne":
			return a != n
		case "gt":
			return a > n
		case "gte":
			return a >= n
		case "lt":
			return a < n
		default:
			return a <= n
		}
	}
	symbol := map[string]string{"eq": "=", "ne": "<>", "gt": ">", "gte": ">=", "lt": "<", "lte": "<="}[op]
	where := []string{"user_key IS NOT NULL"}
	if d.Event != "" {
		where = append(where, "event = "+query.Text(d.Event))
	}
	switch d.In {
	case "", "ever":
	case "range":
		where = append(where, "ts >= "+c.in().instant(c.span.From), "ts < "+c.in().instant(c.span.To))
	default:
		start, _ := c.calendar.Back(c.end(), d.In) // validated
		where = append(where, "ts >= "+c.in().instant(start), "ts < "+c.in().instant(c.end()))
	}
	if inner := c.filter(d.Where); inner != "" {
		where = append(where, inner)
	}
	having := "count(*) " + symbol + " " + strconv.Itoa(n)
	if compare(0) {
		having = "NOT (" + having + ")"
	}
	out := "coalesce(user_key IN (SELECT user_key FROM events WHERE " + strings.Join(where, " AND ") + " GROUP BY user_key HAVING " + having + "), false)"
	if compare(0) {
		out = "(user_key IS NOT NULL AND NOT " + out + ")"
	}
	if f.Not {
		out = "NOT " + out
	}
	return out
}
