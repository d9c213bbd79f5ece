package importer

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"
	"unicode/utf8"
)

// Kind says how a value stands in JSON.
type Kind uint8

const (
	Absent Kind = iota // nothing: an empty cell, null
	Text               // Text is the string itself
	JSON               // Text is JSON already: a number, true, an object, …
)

// Value is one cell.
type Value struct {
	Kind Kind
	Text string
}

// Row is one record of the file. Values stand in the order of the columns; a
// source without fixed columns names them in Names.
type Row struct {
	Line   int64
	Names  []string // nil: the source's columns
	Values []Value
}

// source reads rows in the file's order. Next returns a *RowError for a row that
// is broken, after which it goes on, and io.EOF at the end.
type source interface {
	// Columns names the columns, or the ones seen at the beginning where rows
	// need not have the same.
	Columns() []string
	Next() (Row, error)
}

// cellKind: a cell is a number only where number and text say exactly the same,
// so that nothing is lost by reading it as one: 00001, 1.10, +5 and 1e3 stay text.
func cellKind(cell string) Kind {
	if cell == "" {
		return Absent
	}
	if isExactNumber(cell) {
		return JSON
	}
	return Text
}

func isExactNumber(cell string) bool {
	if len(cell) > 24 || cell == "-0" {
		return false
	}
	if c := cell[0]; c != '-' && (c < '0' || c > '9') {
		return false
	}
	number, err := strconv.ParseFloat(cell, 64)
	if err != nil {
		return false
	}
	var room [32]byte
	return string(strconv.AppendFloat(room[:0], number, 'f', -1, 64)) == cell
}

// ndjsonReader reads one JSON object a line.
type ndjsonReader struct {
	in      *bufio.Reader
	line    int64
	columns []string
	err     error // of the underlying reader
}

const lookAhead = 100 // rows that tell what columns there are

func newNDJSONReader(in io.Reader) *ndjsonReader {
	r := &ndjsonReader{in: bufio.NewReaderSize(in, 256<<10)}
	if mark, err := r.in.Peek(3); err == nil && bytes.Equal(mark, []byte("\xef\xbb\xbf")) {
		_, _ = r.in.Discard(3)
	}
	return r
}

// Columns names those of the first rows.
func (r *ndjsonReader) Columns() []string {
	if r.columns != nil {
		return r.columns
	}
	r.columns = []string{}
	head, _ := r.in.Peek(256 << 10)
	seen := map[string]bool{}
	for n := 0; n < lookAhead && len(head) > 0; n++ {
		var line []byte
		line, head, _ = bytes.Cut(head, []byte("\n"))
		row, err := objectRow(line)
		if err != nil {
			continue // the last may be cut; Next tells of a broken one
		}
		for _, name := range row.Names {
			if !seen[name] {
				seen[name] = true
				r.columns = append(r.columns, name)
			}
		}
	}
	return r.columns
}

func (r *ndjsonReader) Next() (Row, error) {
	for {
		if r.err != nil {
			return Row{}, r.err
		}
		line, err := r.readLine()
		if err != nil {
			return Row{}, err
		}
		if len(bytes.TrimSpace(line)) == 0 {
			continue
		}
		row, err := objectRow(line)
		if err != nil {
			var syntax *json.SyntaxError
			broken := &RowError{Line: r.line, What: err.Error()}
			if errors.As(err, &syntax) {
				broken.Column = int(syntax.Offset)
			}
			return Row{}, broken
		}
		row.Line = r.line
		return row, nil
	}
}

func (r *ndjsonReader) readLine() ([]byte, error) {
	var line []byte
	for {
		part, err := r.in.ReadSlice('\n')
		if len(line)+len(part) > maxRecord {
			r.line++
			for errors.Is(err, bufio.ErrBufferFull) {
				_, err = r.in.ReadSlice('\n')
			}
			r.err = err
			return nil, &RowError{Line: r.line, What: "the row is longer than 1 MiB"}
		}
		line = append(line, part...)
		switch {
		case errors.Is(err, bufio.ErrBufferFull):
			continue
		case errors.Is(err, io.EOF):
			r.err = io.EOF
			if len(line) == 0 {
				return nil, io.EOF
			}
		case err != nil:
			return nil, fmt.Errorf("read the file: %w", err)
		}
		r.line++
		return line, nil
	}
}

// objectRow reads an object with its keys in order and its values as they stand,
// so that no number loses a digit.
func objectRow(line []byte) (Row, error) {
	if !utf8.Valid(line) {
		return Row{}, errors.New("the row is not UTF-8")
	}
	decoder := json.NewDecoder(bytes.NewReader(line))
	token, err := decoder.Token()
	if err != nil {
		return Row{}, fmt.Errorf("the row is no JSON object: %w", err)
	}
	if token != json.Delim('{') {
		return Row{}, errors.New("the row is no JSON object; each line must be one, such as {\"user\":\"u1\"}")
	}
	var row Row
	for decoder.More() {
		key, err := decoder.Token()
		if err != nil {
			return Row{}, fmt.Errorf("the row is no JSON object: %w", err)
		}
		var value json.RawMessage
		if err := decoder.Decode(&value); err != nil {
			return Row{}, fmt.Errorf("the row is no JSON object: %w", err)
		}
		name, _ := key.(string)
		row.Names = append(row.Names, name)
		row.Values = append(row.Values, jsonValue(value))
	}
	if _, err := decoder.Token(); err != nil {
		return Row{}, fmt.Errorf("the row is no JSON object: %w", err)
	}
	if _, err := decoder.Token(); !errors.Is(err, io.EOF) {
		return Row{}, errors.New("after the JSON object comes something else; put each object on its own line")
	}
	return row, nil
}

func jsonValue(raw json.RawMessage) Value {
	text := string(bytes.TrimSpace(raw))
	switch {
	case text == "null" || text == "":
		return Value{}
	case strings.HasPrefix(text, `"`):
		var s string
		if json.Unmarshal(raw, &s) != nil {
			return Value{}
		}
		return Value{Kind: Text, Text: s}
	case strings.HasPrefix(text, "{") || strings.HasPrefix(text, "["):
		var compact bytes.Buffer
		if json.Compact(&compact, raw) != nil {
			return Value{}
		}
		return Value{Kind: JSON, Text: compact.String()}
	default:
		return Value{Kind: JSON, Text: text}
	}
}
