package parquetv1

import (
	"errors"
	"fmt"
	"io"
	"unsafe"

	"github.com/parquet-go/parquet-go"

	"github.com/causality-project/causality/backend/internal/platform/event"
)

// Text is some consecutive values of a column of text. Values are codes into a
// dictionary where the page has one, so that equal texts are looked at once; or
// they lie one after the other in Bytes. Its memory is reused after the yield.
type Text struct {
	Rows   int
	levels []byte // by row, 0: absent; nil: none is
	dict   parquet.Dictionary
	codes  []int32  // of those present
	bytes  []byte   // or their text,
	starts []uint32 // value i is bytes[starts[i]:starts[i+1]]
}

// Dictionary is the number of distinct values that codes refer to; zero without
// a dictionary.
func (t *Text) Dictionary() int {
	if t.dict == nil {
		return 0
	}
	return t.dict.Len()
}

// Entry is a value of the dictionary.
func (t *Text) Entry(code int32) []byte { return t.dict.Index(code).ByteArray() }

// Codes are the dictionary codes of the rows that have a value, in order.
func (t *Text) Codes() []int32 { return t.codes }

// Present reports by row whether it has a value; nil: all have.
func (t *Text) Present() []byte { return t.levels }

// Values calls yield with each row's value, nil where absent.
func (t *Text) Values(yield func(value []byte)) {
	next := 0
	for i := range t.Rows {
		if t.levels != nil && t.levels[i] == 0 {
			yield(nil)
			continue
		}
		yield(t.value(next))
		next++
	}
}

func (t *Text) value(i int) []byte {
	if t.dict != nil {
		return t.Entry(t.codes[i])
	}
	// Never nil, which stands for absent.
	return t.bytes[t.starts[i]:t.starts[i+1]:t.starts[i+1]]
}

// Texts reads a column of text in file order. newDictionary tells that the codes
// of this and later yields are of another dictionary than before.
func (f *File) Texts(column int, yield func(text *Text, newDictionary bool) error) error {
	text := Text{}
	for _, group := range f.file.RowGroups() {
		newDictionary := true
		err := eachPage(group.ColumnChunks()[column], func(page parquet.Page) error {
			text = Text{Rows: int(page.NumRows()), levels: page.DefinitionLevels(), dict: page.Dictionary()}
			values := page.Data()
			if text.dict != nil {
				text.codes = values.Int32()
			} else {
				text.bytes, text.starts = values.ByteArray()
			}
			fresh := newDictionary
			newDictionary = false
			return yield(&text, fresh)
		})
		if err != nil {
			return fmt.Errorf("read column %s: %w", f.names[column], err)
		}
	}
	return nil
}

// Int64s reads a column of 64-bit values, numbers with a fraction as their bits,
// with absent in the place of those that a row lacks.
func (f *File) Int64s(column int, absent int64, yield func(values []int64) error) error {
	var out []int64
	for _, group := range f.file.RowGroups() {
		err := eachPage(group.ColumnChunks()[column], func(page parquet.Page) error {
			out = out[:0]
			values := page.Data()
			if dictionary := page.Dictionary(); dictionary != nil {
				for _, code := range values.Int32() {
					out = append(out, int64(dictionary.Index(code).Uint64()))
				}
			} else if bytes, _ := values.Data(); len(bytes) > 0 {
				out = append(out, unsafe.Slice((*int64)(unsafe.Pointer(unsafe.SliceData(bytes))), len(bytes)/8)...)
			}
			levels := page.DefinitionLevels()
			if levels == nil {
				return yield(out)
			}
			present := len(out)
			for range len(levels) - present {
				out = append(out, absent)
			}
			// Spread from the end: each value moves to its row or stays.
			for row := len(levels) - 1; row >= 0; row-- {
				if levels[row] == 0 {
					out[row] = absent
				} else {
					present--
					out[row] = out[present]
				}
			}
			return yield(out)
		})
		if err != nil {
			return fmt.Errorf("read column %s: %w", f.names[column], err)
		}
	}
	return nil
}

// ReadIDs reads the event ids alone, in file order.
func (f *File) ReadIDs(yield func(ids []event.ID) error) error {
	var ids []event.ID
	for _, group := range f.file.RowGroups() {
		err := eachPage(group.ColumnChunks()[ColEventID], func(page parquet.Page) error {
			data := page.Data()
			bytes, _ := data.FixedLenByteArray()
			ids = ids[:0]
			for ; len(bytes) >= len(event.ID{}); bytes = bytes[len(event.ID{}):] {
				ids = append(ids, event.ID(bytes))
			}
			return yield(ids)
		})
		if err != nil {
			return fmt.Errorf("read column event_id: %w", err)
		}
	}
	return nil
}

func eachPage(chunk parquet.ColumnChunk, yield func(parquet.Page) error) (err error) {
	pages := chunk.Pages()
	defer func() { err = errors.Join(err, pages.Close()) }()
	for {
		page, err := pages.ReadPage()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		err = yield(page)
		parquet.Release(page)
		if err != nil {
			return err
		}
	}
}
