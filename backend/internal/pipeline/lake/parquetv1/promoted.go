package parquetv1

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"

	"github.com/parquet-go/parquet-go"

	"github.com/causality-project/causality/backend/internal/pipeline/lake/columnar"
)

const (
	// PromotedPrefix begins the names of promoted columns.
	PromotedPrefix = "p_"
	// CompleteKey is the metadata key that lists, as a JSON array, the properties
	// whose promoted columns say all that the rows' JSON says of them.
	CompleteKey = "causality.columns"
)

// Promoted is a property that has a column of its own, behind those of the
// layout: p_<name>. A file may have any of them, or none.
type Promoted struct {
	Name   string
	Number bool // a DOUBLE; else text in its canonical form
}

// Column is the column's name.
func (p Promoted) Column() string { return PromotedPrefix + p.Name }

// Promoted lists the promoted columns of the file, in file order; the first is
// column ColPromoted.
func (f *File) Promoted() []Promoted { return f.promoted }

// CompleteColumn is the position of the column of a promoted property, where
// the file has it in that kind and complete.
func (f *File) CompleteColumn(p Promoted) (column int, ok bool) {
	i := slices.Index(f.promoted, p)
	if i < 0 || !slices.Contains(f.complete, p.Name) {
		return 0, false
	}
	return ColPromoted + i, true
}

func promotedOf(name string, column *parquet.Column) (Promoted, error) {
	property, ok := strings.CutPrefix(name, PromotedPrefix)
	if !ok || column == nil || !column.Optional() {
		return Promoted{}, fmt.Errorf("schema version %d has no column %q", Version, name)
	}
	switch column.Type().Kind() {
	case parquet.ByteArray:
		return Promoted{Name: property}, nil
	case parquet.Double:
		return Promoted{Name: property, Number: true}, nil
	}
	return Promoted{}, fmt.Errorf("column %q is neither text nor a number", name)
}

// base is the layout without promoted columns.
var base = columnar.MustLayoutOf(schema).Filter("event_id", "user_key").NoBounds("event_id", "context", "properties", "traits")

// LayoutWith is this layout with columns for promoted properties behind it.
func LayoutWith(promoted []Promoted) *columnar.Layout { return AddPromoted(base, promoted) }

// AddPromoted is a layout with columns for promoted properties behind it.
func AddPromoted(layout *columnar.Layout, promoted []Promoted) *columnar.Layout {
	for _, p := range promoted {
		if p.Number {
			layout = layout.WithNumber(p.Column())
		} else {
			layout = layout.WithText(p.Column())
		}
	}
	return layout
}

// Metadata adds to an object's metadata what every file of this layout has:
// its version and which of its promoted columns are complete.
func Metadata(metadata map[string]string, complete []string) (map[string]string, error) {
	all := maps.Clone(metadata)
	if all == nil {
		all = map[string]string{}
	}
	all[SchemaKey] = strconv.Itoa(Version)
	if len(complete) > 0 {
		list, err := json.Marshal(complete)
		if err != nil {
			return nil, fmt.Errorf("list the complete columns: %w", err)
		}
		all[CompleteKey] = string(list)
	}
	return all, nil
}
