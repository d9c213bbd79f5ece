package merge

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math"
	"slices"

	"github.com/causality-project/causality/backend/internal/pipeline/lake/columnar"
	"github.com/causality-project/causality/backend/internal/pipeline/lake/parquetv1"
)

// promotedAtOnce is how many promoted columns are read from the JSON at a time:
// each needs 4 or 8 bytes a row then, and the JSON is read that much less often.
const promotedAtOnce = 4

// What a promoted column cannot say of a row's property: a list, an object, or
// something else than a number in a column of numbers. It is stored as absent,
// and makes the column incomplete for the part.
const (
	unsaidText   = columnar.Absent - 1
	unsaidNumber = absentNumber + 1
)

// promoted is a promoted column in hand.
type promoted struct {
	parquetv1.Promoted
	codes      []int32
	dictionary *columnar.Dictionary
	ints       []int64
}

func (w *writer) gatherPromoted(ctx context.Context) error {
	position := parquetv1.ColPromoted
	for some := range slices.Chunk(w.job.Promote, promotedAtOnce) {
		columns := make([]*promoted, len(some))
		for i, p := range some {
			columns[i] = &promoted{Promoted: p, dictionary: columnar.NewDictionary()}
		}
		for i, in := range w.job.Inputs {
			err := w.readPromoted(ctx, in, columns)
			for _, c := range columns {
				if rows := max(len(c.codes), len(c.ints)); err == nil && rows != int(w.starts[i+1]) {
					err = fmt.Errorf("column %s ends at row %d of %d", c.Column(), rows-int(w.starts[i]), in.Rows())
				}
			}
			if err != nil {
				return fmt.Errorf("input %d: %w", i, err)
			}
		}
		for _, c := range columns {
			w.noteComplete(c)
			var err error
			if c.Number {
				w.ints = c.ints
				err = w.putInts(ctx, w.layout.Columns()[position], absentNumber, columnar.Coded, true)
			} else {
				w.codes, w.dictionary = c.codes, c.dictionary
				err = w.putTexts(ctx, w.layout.Columns()[position], true)
			}
			if err != nil {
				return err
			}
			position++
		}
	}
	return nil
}

// noteComplete lists the column with the parts that it is complete for, and
// makes what it cannot say absent.
func (w *writer) noteComplete(c *promoted) {
	for _, o := range w.outputs {
		complete := true
		for _, row := range o.rows {
			switch {
			case c.Number && c.ints[row] == unsaidNumber:
				c.ints[row], complete = absentNumber, false
			case !c.Number && c.codes[row] == unsaidText:
				c.codes[row], complete = columnar.Absent, false
			}
		}
		if complete {
			o.part.Columns = append(o.part.Columns, c.Name)
		}
	}
}

// readPromoted reads an input's rows for some promoted columns: from the columns
// that the input has complete, else from its JSON.
func (w *writer) readPromoted(ctx context.Context, in *parquetv1.File, columns []*promoted) error {
	var lacking []*promoted
	for _, c := range columns {
		index, ok := in.CompleteColumn(c.Promoted)
		var err error
		switch {
		case !ok:
			lacking = append(lacking, c)
		case c.Number:
			err = in.Int64s(index, absentNumber, func(values []int64) error { c.ints = append(c.ints, values...); return w.job.Pace(ctx) })
		default:
			c.codes, err = appendTexts(ctx, w.job, in, index, c.codes, c.dictionary, nil)
		}
		if err != nil {
			return err
		}
	}
	if len(lacking) == 0 {
		return nil
	}
	return w.readFromJSON(ctx, in, lacking)
}

func (w *writer) readFromJSON(ctx context.Context, in *parquetv1.File, columns []*promoted) (err error) {
	names := make([]string, len(columns))
	for i, c := range columns {
		names[i] = c.Name
	}
	properties := parquetv1.NewProperties(names)
	reader := in.Texts(parquetv1.ColProperties)
	defer func() { err = errors.Join(err, reader.Close()) }()
	for {
		text, err := reader.Next()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		for range text.Rows {
			properties.Read(text.Value())
			for i, c := range columns {
				c.add(properties.Value(i))
			}
		}
		if err := w.job.Pace(ctx); err != nil {
			return err
		}
	}
}

func (c *promoted) add(value parquetv1.Value) {
	if c.Number {
		switch number, ok := value.Number(); {
		case value.Absent():
			c.ints = append(c.ints, absentNumber)
		case ok:
			c.ints = append(c.ints, int64(math.Float64bits(number)))
		default:
			c.ints = append(c.ints, unsaidNumber)
		}
		return
	}
	switch text, ok := value.Text(); {
	case value.Absent():
		c.codes = append(c.codes, columnar.Absent)
	case ok:
		c.codes = append(c.codes, c.dictionary.Code(text))
	default:
		c.codes = append(c.codes, unsaidText)
	}
}
