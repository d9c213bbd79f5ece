package insights

import (
	"fmt"
	"strings"
	"time"

	"github.com/causality-project/causality/backend/internal/analysis/query"
)

// valuesSQL lists the values of a property by how many events carry them; an
// event with a list counts for each of its elements once.
func valuesSQL(c *compiler, property string, events []string, contains string, limit int, from time.Time) string {
	where := []string{"true"}
	if !from.IsZero() {
		where = append(where, "ts >= "+c.in().instant(from))
	}
	if len(events) > 0 {
		quoted := make([]string, len(events))
		for i, e := range events {
			quoted[i] = query.Text(e)
		}
		where = append(where, "event IN ("+strings.Join(quoted, ", ")+")")
	}
	f := c.field(property)
	value, unnested := f.text(), ""
	if !f.scalar {
		value, unnested = c.in().elements(f.values())
	}
	keep := "value IS NOT NULL AND length(value) <= 500"
	if contains != "" {
		keep += " AND " + c.in().contains("lower(value)", "lower("+query.Text(contains)+")")
	}
	return fmt.Sprintf("SELECT value, count(*) FROM (SELECT %s AS value FROM events%s WHERE %s) WHERE %s GROUP BY value ORDER BY count(*) DESC, value LIMIT %d",
		value, unnested, strings.Join(where, " AND "), keep, limit)
}
