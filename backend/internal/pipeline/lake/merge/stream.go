package merge

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"slices"

	"github.com/causality-project/causality/backend/internal/pipeline/lake/columnar"
	"github.com/causality-project/causality/backend/internal/pipeline/lake/parquetv1"
)

// streamTexts encodes a column of texts that hardly repeat, such as properties,
// without having them all in memory. In the order of the output the rows of an
// input come in their own order, so that a page of each input is enough; rows
// that are displaced are put aside first.
func (w *writer) streamTexts(ctx context.Context, index int, column *columnar.Column) (err error) {
	aside := aside{texts: columnar.NewSpool(w.job.TempDir, spoolMemory)}
	defer func() { err = errors.Join(err, aside.texts.Close()) }()
	if err := w.putAside(ctx, index, &aside); err != nil {
		return err
	}
	cursors := make([]*cursor, len(w.job.Inputs))
	for i, in := range w.job.Inputs {
		cursors[i] = &cursor{reader: in.Texts(index), row: w.starts[i]}
		defer func() { err = errors.Join(err, cursors[i].reader.Close()) }()
	}
	inputs := w.inputsByBlock()
	streams := make([]*columnar.Stream, len(w.outputs))
	groups := make([]int, len(w.outputs))
	finish := func(i int) error {
		chunk, err := streams[i].Finish(w.encoder)
		if err != nil {
			return err
		}
		groups[i]++
		return w.outputs[i].events.Put(groups[i]-1, column, &chunk)
	}
	displaced := 0
	for n, row := range w.order {
		var text []byte
		if displaced < len(w.displaced) && w.displaced[displaced] == row {
			if text, err = aside.text(displaced); err != nil {
				return err
			}
			displaced++
		} else {
			input := inputs[row/inputBlock]
			for w.starts[input+1] <= row {
				input++
			}
			if text, err = cursors[input].at(row); err != nil {
				return fmt.Errorf("input %d: %w", input, err)
			}
		}
		i := w.partOf[n]
		if streams[i] == nil {
			streams[i] = columnar.NewStream(column)
		}
		if err := streams[i].Add(w.encoder, text); err != nil {
			return err
		}
		if streams[i].Rows() == parquetv1.RowGroupRows {
			if err := finish(int(i)); err != nil {
				return err
			}
		}
		if n%4096 == 0 {
			if err := w.job.Pace(ctx); err != nil {
				return err
			}
		}
	}
	for i, stream := range streams {
		if stream.Rows() > 0 {
			if err := finish(i); err != nil {
				return err
			}
		}
	}
	return nil
}

// inputBlock is how many rows share an entry of inputsByBlock.
const inputBlock = 1 << 12

// inputsByBlock says for each block of rows which input its first one is of.
func (p *plan) inputsByBlock() []int {
	blocks := make([]int, len(p.marks)/inputBlock+1)
	input := 0
	for block := range blocks {
		for input < len(p.job.Inputs)-1 && p.starts[input+1] <= uint32(block*inputBlock) {
			input++
		}
		blocks[block] = input
	}
	return blocks
}

// cursor reads a column of an input forwards.
type cursor struct {
	reader *parquetv1.TextReader
	text   *parquetv1.Text
	row    uint32 // the next one, over all inputs,
	end    uint32 // and the one after the page's last
}

// at is the text of a row behind those that were asked for before.
func (c *cursor) at(row uint32) ([]byte, error) {
	for {
		for c.row < c.end {
			text := c.text.Value()
			if c.row++; c.row > row {
				return text, nil
			}
		}
		text, err := c.reader.Next()
		if errors.Is(err, io.EOF) {
			err = fmt.Errorf("a column ends before row %d: %w", row, io.ErrUnexpectedEOF)
		}
		if err != nil {
			return nil, err
		}
		c.text, c.end = text, c.row+uint32(text.Rows)
	}
}

// aside holds the texts of displaced rows, by their places in plan.displaced,
// which is the order in which the output wants them.
type aside struct {
	places []place
	texts  *columnar.Spool
	buffer []byte
}

type place struct {
	at     int64
	length int32 // -1: the row has no text
}

func (a *aside) text(displaced int) ([]byte, error) {
	p := a.places[displaced]
	if p.length < 0 {
		return nil, nil
	}
	a.buffer = slices.Grow(a.buffer[:0], int(p.length)+1)[:p.length] // never nil
	_, err := a.texts.ReadAt(a.buffer, p.at)
	return a.buffer, err
}

func (w *writer) putAside(ctx context.Context, index int, aside *aside) error {
	if len(w.displaced) == 0 {
		return nil
	}
	aside.places = make([]place, len(w.displaced))
	byRow := make([]int, len(w.displaced)) // the order in which the inputs have them
	for i := range byRow {
		byRow[i] = i
	}
	slices.SortFunc(byRow, func(a, b int) int { return cmp.Compare(w.displaced[a], w.displaced[b]) })
	for i, in := range w.job.Inputs {
		n, _ := slices.BinarySearchFunc(byRow, w.starts[i+1], func(at int, row uint32) int { return cmp.Compare(w.displaced[at], row) })
		if err := w.putAsideOf(ctx, in, index, w.starts[i], byRow[:n], aside); err != nil {
			return fmt.Errorf("input %d: %w", i, err)
		}
		byRow = byRow[n:]
	}
	return nil
}

func (w *writer) putAsideOf(ctx context.Context, in *parquetv1.File, index int, first uint32, displaced []int, aside *aside) (err error) {
	if len(displaced) == 0 {
		return nil
	}
	c := cursor{reader: in.Texts(index), row: first}
	defer func() { err = errors.Join(err, c.reader.Close()) }()
	for n, at := range displaced {
		text, err := c.at(w.displaced[at])
		if err != nil {
			return err
		}
		p := place{length: -1}
		if text != nil {
			if p.at, err = aside.texts.Append(text); err != nil {
				return err
			}
			p.length = int32(len(text))
		}
		aside.places[at] = p
		if n%4096 == 0 {
			if err := w.job.Pace(ctx); err != nil {
				return err
			}
		}
	}
	return nil
}
