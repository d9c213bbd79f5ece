// Package columnar writes Parquet files a column at a time, from values that are
// in columns already: codes into a dictionary, numbers, texts. That saves the
// row by row detour of a general writer, which costs several times as much. It
// knows Parquet's pages, encodings and footer; it does not know what the columns
// mean, and it leaves reading to the general library.
package columnar

import (
	"bytes"
	"fmt"
	"slices"

	"github.com/parquet-go/parquet-go"
	"github.com/parquet-go/parquet-go/deprecated"
	"github.com/parquet-go/parquet-go/encoding/thrift"
	"github.com/parquet-go/parquet-go/format"
)

// Layout is the columns of a file, flat and in order.
type Layout struct {
	root    format.SchemaElement
	columns []*Column
}

// Column says how a column is stored.
type Column struct {
	element  format.SchemaElement
	index    int
	noBounds bool // no least and greatest value in the footer
	filter   parquet.BloomFilterColumn
}

// LayoutOf takes the columns of a schema, which must be flat.
func LayoutOf(schema *parquet.Schema) (*Layout, error) {
	// The library writes the schema into every footer; that of an empty file is
	// the shortest way to its elements.
	var empty bytes.Buffer
	if err := parquet.NewGenericWriter[any](&empty, schema).Close(); err != nil {
		return nil, fmt.Errorf("describe schema: %w", err)
	}
	file, err := parquet.OpenFile(bytes.NewReader(empty.Bytes()), int64(empty.Len()))
	if err != nil {
		return nil, fmt.Errorf("describe schema: %w", err)
	}
	elements := file.Metadata().Schema
	l := &Layout{root: elements[0]}
	for i, element := range elements[1:] {
		l.columns = append(l.columns, &Column{element: element, index: i})
	}
	return l, nil
}

// MustLayoutOf is LayoutOf for schemas that are part of the program.
func MustLayoutOf(schema *parquet.Schema) *Layout {
	l, err := LayoutOf(schema)
	if err != nil {
		panic(err)
	}
	return l
}

// WithText returns the layout with an optional column of text added at its end.
func (l *Layout) WithText(name string) *Layout {
	return l.with(format.SchemaElement{
		Type: thrift.New(format.ByteArray), RepetitionType: thrift.New(format.Optional), Name: name,
		ConvertedType: thrift.New(deprecated.UTF8), LogicalType: format.LogicalType{Value: &format.StringType{}},
	})
}

// WithNumber returns the layout with an optional column of doubles added.
func (l *Layout) WithNumber(name string) *Layout {
	return l.with(format.SchemaElement{Type: thrift.New(format.Double), RepetitionType: thrift.New(format.Optional), Name: name})
}

func (l *Layout) with(element format.SchemaElement) *Layout {
	added := &Layout{root: l.root, columns: append(slices.Clip(l.columns), &Column{element: element, index: len(l.columns)})}
	added.root.NumChildren = thrift.New(int32(len(added.columns)))
	return added
}

// Filter gives the named columns a filter that tells most values that a row
// group does not have, at 10 bits a distinct value.
func (l *Layout) Filter(names ...string) *Layout {
	for _, c := range l.columns {
		if slices.Contains(names, c.Name()) {
			c.filter = parquet.SplitBlockFilter(10, c.Name())
		}
	}
	return l
}

// NoBounds leaves least and greatest values of the named columns out.
func (l *Layout) NoBounds(names ...string) *Layout {
	for _, c := range l.columns {
		c.noBounds = c.noBounds || slices.Contains(names, c.Name())
	}
	return l
}

// Column finds a column by its name; it panics if there is none.
func (l *Layout) Column(name string) *Column {
	i := slices.IndexFunc(l.columns, func(c *Column) bool { return c.Name() == name })
	return l.columns[i]
}

// Columns are the layout's columns in order.
func (l *Layout) Columns() []*Column { return l.columns }

// Name is the column's name.
func (c *Column) Name() string { return c.element.Name }

func (c *Column) optional() bool { return c.element.RepetitionType.V == format.Optional }

func (c *Column) physical() format.Type { return c.element.Type.V }

// Chunk is an encoded column chunk: what the footer says of it, its offsets
// counted from the chunk's beginning, and its bytes.
type Chunk struct {
	Pages  []byte // valid until the encoder's next use
	rows   int64
	meta   format.ColumnMetaData
	filter []byte
}
