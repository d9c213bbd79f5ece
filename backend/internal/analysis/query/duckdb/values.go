package duckdb

import (
	"encoding/hex"
	"fmt"
	"math"
	"math/big"
	"strconv"
	"time"
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

const (
	wallLayout    = "2006-01-02T15:04:05.999999"
	instantLayout = wallLayout + "Z07:00"
)

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
		return floatText(v, 64)
	case float32:
		return floatText(float64(v), 32)
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
			return v.In(r.zone).Format(instantLayout)
		}
		return v.UTC().Format(wallLayout)
	default:
		return fmt.Sprint(v)
	}
}

// floatText is the shortest text that reads back as the same number.
func floatText(f float64, bits int) string {
	switch {
	case math.IsNaN(f):
		return "NaN"
	case math.IsInf(f, 1):
		return "Infinity"
	case math.IsInf(f, -1):
		return "-Infinity"
	}
	if magnitude := math.Abs(f); magnitude != 0 && (magnitude < 1e-6 || magnitude >= 1e21) {
		return strconv.FormatFloat(f, 'e', -1, bits)
	}
	return strconv.FormatFloat(f, 'f', -1, bits)
}
