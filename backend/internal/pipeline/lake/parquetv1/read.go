package parquetv1

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"

	"github.com/parquet-go/parquet-go"

	"github.com/causality-project/causality/backend/internal/platform/event"
)

// File is an object opened for reading. It reads pages as they are asked for.
type File struct {
	file     *parquet.File
	size     int64
	names    []string // of all columns
	promoted []Promoted
	complete []string
}

// Open reads the footer and refuses a file of another layout.
func Open(r io.ReaderAt, size int64) (*File, error) {
	file, err := parquet.OpenFile(r, size,
		parquet.SkipPageIndex(true), parquet.SkipBloomFilters(true), parquet.ReadBufferSize(64<<10))
	if err != nil {
		return nil, fmt.Errorf("read footer: %w", err)
	}
	f := &File{file: file, size: size, names: make([]string, 0, columnCount)}
	leaves, names := file.Schema().Columns(), schema.Columns()
	if len(leaves) < columnCount {
		return nil, fmt.Errorf("read footer: %d columns where schema version %d has %d", len(leaves), Version, columnCount)
	}
	for i, leaf := range leaves {
		if len(leaf) != 1 || i < columnCount && leaf[0] != names[i][0] {
			return nil, fmt.Errorf("read footer: column %d is %q where schema version %d has %q", i, leaf, Version, names[min(i, columnCount-1)][0])
		}
		f.names = append(f.names, leaf[0])
		if i < columnCount {
			continue
		}
		promoted, err := promotedOf(leaf[0], file.Root().Column(leaf[0]))
		if err != nil {
			return nil, fmt.Errorf("read footer: %w", err)
		}
		f.promoted = append(f.promoted, promoted)
	}
	if complete, ok := file.Lookup(CompleteKey); ok {
		if err := json.Unmarshal([]byte(complete), &f.complete); err != nil {
			return nil, fmt.Errorf("read footer: metadata %s: %w", CompleteKey, err)
		}
	}
	return f, nil
}

// Rows is the number of rows that the footer states.
func (f *File) Rows() int64 { return f.file.NumRows() }

// Size is the number of bytes of the file.
func (f *File) Size() int64 { return f.size }

// Metadata looks up a metadata entry.
func (f *File) Metadata(key string) (string, bool) { return f.file.Lookup(key) }

// Reader streams whole rows in file order.
type Reader struct {
	groups []parquet.RowGroup
	rows   parquet.Rows
	buffer []parquet.Row
	next   int
	have   int
}

// Read starts a stream over all rows. The caller closes it.
func (f *File) Read() *Reader {
	return &Reader{groups: f.file.RowGroups(), buffer: make([]parquet.Row, 64)}
}

// Next returns the next row, or io.EOF. The row is valid until the next call.
func (r *Reader) Next() (parquet.Row, error) {
	for r.next == r.have {
		if r.rows == nil {
			if len(r.groups) == 0 {
				return nil, io.EOF
			}
			r.rows, r.groups = r.groups[0].Rows(), r.groups[1:]
		}
		n, err := r.rows.ReadRows(r.buffer)
		r.next, r.have = 0, n
		if err != nil && !errors.Is(err, io.EOF) {
			return nil, fmt.Errorf("read rows: %w", err)
		}
		if err != nil || n == 0 { // the group's end; n rows may have come with it
			closeErr := r.rows.Close()
			r.rows = nil
			if closeErr != nil {
				return nil, fmt.Errorf("read rows: %w", closeErr)
			}
		}
	}
	row := r.buffer[r.next]
	r.next++
	return row, nil
}

// Close ends the stream; it may be called again.
func (r *Reader) Close() error {
	r.groups, r.next, r.have = nil, 0, 0
	if r.rows == nil {
		return nil
	}
	rows := r.rows
	r.rows = nil
	return rows.Close()
}

// The accessors below read single fields of a stored row.

func UserKey(row parquet.Row) int64 {
	if row[ColUserKey].IsNull() {
		return 0
	}
	return row[ColUserKey].Int64()
}

func TS(row parquet.Row) int64         { return row[ColTS].Int64() } // µs since 1970
func Seq(row parquet.Row) int64        { return row[ColSeq].Int64() }
func ReceivedAt(row parquet.Row) int64 { return row[ColReceivedAt].Int64() }
func ID(row parquet.Row) event.ID      { return event.ID(row[ColEventID].ByteArray()) }
func UserID(row parquet.Row) string    { return text(row[ColUserID]) }
func AnonymousID(row parquet.Row) string {
	return text(row[ColAnonymousID])
}

// CompareStored orders stored rows as Compare does.
func CompareStored(a, b parquet.Row) int {
	if ka, kb := UserKey(a), UserKey(b); ka != kb {
		if ka < kb {
			return -1
		}
		return 1
	}
	if ta, tb := TS(a), TS(b); ta != tb {
		if ta < tb {
			return -1
		}
		return 1
	}
	return bytes.Compare(a[ColEventID].ByteArray(), b[ColEventID].ByteArray())
}

// Decode turns a stored row back into the event that it was.
func Decode(row parquet.Row) event.Event {
	e := event.Event{
		ID:         ID(row),
		Name:       text(row[ColEvent]),
		TS:         timeOf(TS(row)),
		ReceivedAt: timeOf(ReceivedAt(row)),
	}
	switch text(row[ColType]) {
	case "TRACK":
		e.Type = event.Track
	case "IDENTIFY":
		e.Type = event.Identify
	case "GROUP":
		e.Type = event.Group
	case "ALIAS":
		e.Type = event.Alias
	}
	if !row[ColOriginalTS].IsNull() {
		e.OriginalTS = timeOf(row[ColOriginalTS].Int64())
	}
	for column := range columnCount {
		if isText(column) {
			*textOf(&e, column) = text(row[column])
		}
	}
	return e
}

func text(v parquet.Value) string {
	if v.IsNull() {
		return ""
	}
	return string(v.ByteArray())
}
