package trino

import (
	"bytes"
	"database/sql"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"strconv"
	"strings"
	"time"

	client "github.com/trinodb/trino-go-client/trino"

	"github.com/causality-project/causality/backend/internal/analysis/query"
)

// typeName is a type's name as all engines write it: in capitals, and without
// the precision of timestamps and the length of text.
func typeName(t *sql.ColumnType) string {
	name := t.DatabaseTypeName()
	switch {
	case name == "REAL":
		return "FLOAT"
	case name == "VARBINARY":
		return "BLOB"
	case name == "UNKNOWN":
		return "NULL"
	case name == "DECIMAL":
		if precision, scale, ok := t.DecimalSize(); ok {
			return fmt.Sprintf("DECIMAL(%d,%d)", precision, scale)
		}
	}
	return name
}

// cell gives a value the text that it has with the other engine.
func cell(v any, typ string, zone *time.Location) (query.Cell, error) {
	switch v := v.(type) {
	case nil:
		return query.Cell{Null: true}, nil
	case string:
		return query.Cell{Text: v}, nil
	case bool:
		return query.Cell{Text: strconv.FormatBool(v)}, nil
	case int64:
		return query.Cell{Text: strconv.FormatInt(v, 10)}, nil
	case float64:
		return query.Cell{Text: query.FloatText(v, 64)}, nil
	case []byte:
		return query.Cell{Text: `\x` + hex.EncodeToString(v)}, nil
	case time.Time:
		switch {
		case typ == "DATE":
			return query.Cell{Text: v.Format(time.DateOnly)}, nil
		case strings.HasPrefix(typ, "TIME WITH"):
			return query.Cell{Text: v.Format("15:04:05.999999Z07:00")}, nil
		case typ == "TIME":
			return query.Cell{Text: v.Format("15:04:05.999999")}, nil
		case strings.HasSuffix(typ, "WITH TIME ZONE"):
			return query.Cell{Text: v.In(zone).Format(query.InstantLayout)}, nil
		}
		return query.Cell{Text: v.Format(query.WallLayout)}, nil
	}
	text, err := jsonText(v)
	return query.Cell{Text: text}, err
}

// jsonText writes lists, maps and rows as JSON.
func jsonText(v any) (string, error) {
	var b bytes.Buffer
	encoder := json.NewEncoder(&b)
	encoder.SetEscapeHTML(false)
	if err := encoder.Encode(nested(v)); err != nil {
		return "", fmt.Errorf("trino: a value of an answer: %w", err)
	}
	return strings.TrimSuffix(b.String(), "\n"), nil
}

func nested(v any) any {
	switch v := v.(type) {
	case []any:
		out := make([]any, len(v))
		for i := range v {
			out[i] = nested(v[i])
		}
		return out
	case map[string]any:
		out := make(map[string]any, len(v))
		for k := range v {
			out[k] = nested(v[k])
		}
		return out
	case client.Row:
		return ordered{v}
	}
	return v
}

// ordered writes a row's fields in their order.
type ordered struct{ row client.Row }

func (o ordered) MarshalJSON() ([]byte, error) {
	var b bytes.Buffer
	b.WriteByte('{')
	for i := range o.row.Len() {
		if i > 0 {
			b.WriteByte(',')
		}
		for j, part := range []any{o.row.Name(i), o.row.Value(i)} {
			text, err := jsonText(part)
			if err != nil {
				return nil, err
			}
			if j == 1 {
				b.WriteByte(':')
			}
			b.WriteString(text)
		}
	}
	b.WriteByte('}')
	return b.Bytes(), nil
}
