package parquetv1

import (
	"errors"
	"fmt"
	"io"
	"unsafe"

	"github.com/parquet-go/parquet-go"

	"github.com/causality-project/causality/backend/internal/platform/event"
)

// Text is a page of a column of text. Its values are codes into a dictionary
// where the page has one, so that equal texts need to be looked at once.
type Text struct {
	Rows int
	// NewDictionary tells that codes of this page and later ones are of another
	// dictionary than those before.
	NewDictionary bool

	levels []byte // by row, 0: absent; nil: all rows have a value
	dict   parquet.Dictionary
	codes  []int32 // of the values; or they are
	bytes  []byte  // bytes[starts[i]:starts[i+1]]
	starts []uint32
	row    int // next to be given by Value
	value  int // likewise
}

// Dictionary is the number of texts that codes stand for; 0: there are no codes.
func (t *Text) Dictionary() int {
	if t.dict == nil {
		return 0
	}
	return t.dict.Len()
}

// Entry is the text that a code stands for.
func (t *Text) Entry(code int32) []byte { return t.dict.Index(code).ByteArray() }

// Codes are the codes of the rows that have a value, in order.
func (t *Text) Codes() []int32 { return t.codes }

// Present says by row whether it has a value, 0: no; nil: all have.
func (t *Text) Present() []byte { return t.levels }

// Value is the next row's text, valid as long as the page; nil: it has none.
func (t *Text) Value() []byte {
	present := t.levels == nil || t.levels[t.row] != 0
	t.row++
	if !present {
		return nil
	}
	t.value++
	var text []byte
	if t.dict != nil {
		text = t.Entry(t.codes[t.value-1])
	} else {
		text = t.bytes[t.starts[t.value-1]:t.starts[t.value]]
	}
	if text == nil {
		return []byte{} // a text, if an empty one
	}
	return text
}

// TextReader reads a column of text page by page.
type TextReader struct {
	file   *File
	column int
	group  int
	fresh  bool // the next page is the first of its row group
	pages  parquet.Pages
	page   parquet.Page
	text   Text
}

// Texts reads a column of text in file order. The caller closes the reader.
func (f *File) Texts(column int) *TextReader { return &TextReader{file: f, column: column} }

// Next is the next page, valid until the next call, or io.EOF.
func (r *TextReader) Next() (*Text, error) {
	r.release()
	for {
		if r.pages == nil {
			groups := r.file.file.RowGroups()
			if r.group == len(groups) {
				return nil, io.EOF
			}
			r.pages = groups[r.group].ColumnChunks()[r.column].Pages()
			r.group++
			r.fresh = true
		}
		page, err := r.pages.ReadPage()
		if errors.Is(err, io.EOF) {
			err = r.pages.Close()
			r.pages = nil
			if err == nil {
				continue
			}
		}
		if err != nil {
			return nil, fmt.Errorf("read column %s: %w", r.file.names[r.column], err)
		}
		r.page = page
		r.text = Text{Rows: int(page.NumRows()), NewDictionary: r.fresh, levels: page.DefinitionLevels(), dict: page.Dictionary()}
		values := page.Data()
		if r.text.dict != nil {
			r.text.codes = values.Int32()
		} else {
			r.text.bytes, r.text.starts = values.ByteArray()
		}
		r.fresh = false
		return &r.text, nil
	}
}

func (r *TextReader) release() {
	if r.page != nil {
		parquet.Release(r.page)
		r.page = nil
	}
}

// Close ends the reading; it may be called again.
func (r *TextReader) Close() error {
	r.release()
	r.group = len(r.file.file.RowGroups())
	if r.pages == nil {
		return nil
	}
	pages := r.pages
	r.pages = nil
	return pages.Close()
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
