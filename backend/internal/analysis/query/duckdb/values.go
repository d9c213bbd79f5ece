package duckdb

import (
	"encoding/hex"
	"fmt"
	"math/big"
	"strconv"
	"time"

	"github.com/causality-project/causality/backend/internal/analysis/query"
)

// simpleType reports whether the driver hands values of the type over without
// loss. VARCHAR is not: the driver decodes JSON, which is one to the type system.
func simpleType(t string) bool {
	switch t {
	case "BOOLEAN", "TINYINT", "SMALLINT", "INTEGER", "BIGINT", "UTINYINT", "USMALLINT", "UINTEGER", "UBIGINT", "FLOAT", "DOUBLE",
		"HUGEINT", "UHUGEINT", "TIMESTAMP WITH TIME ZONE", "TIMESTAMP", "BLOB":
		return true
	}
	return false
}

// longNames spells out what the driver abbreviates.
var longNames = map[string]string{"TIMESTAMPTZ": "TIMESTAMP WITH TIME ZONE", "TIMETZ": "TIME WITH TIME ZONE"}

// renderer gives values their text. Timestamps with a zone read in the app's.
type renderer struct{ zone *time.Location }

func newRenderer(zone *time.Location) renderer { return renderer{zone} }

func (r renderer) text(v any, typ string) string {
	switch v := v.(type) {
	case string:
		return v
	case []byte:
		if typ == "BLOB" {
			return `\x` + hex.EncodeToString(v)
		}
		return string(v)
	case bool:
		return strconv.FormatBool(v)
	case int64:
		return strconv.FormatInt(v, 10)
	case float64:
		return query.FloatText(v, 64)
	case float32:
		return query.FloatText(float64(v), 32)
	case *big.Int:
		return v.String()
	case time.Time:
		if v.Year() > 9999 || v.Year() < -9999 {
			if v.Year() > 0 {
				return "infinity"
			}
			return "-infinity"
		}
		if typ == "TIMESTAMP WITH TIME ZONE" {
			return v.In(r.zone).Format(query.InstantLayout)
		}
		return v.UTC().Format(query.WallLayout)
	default:
		return fmt.Sprint(v)
	}
}
