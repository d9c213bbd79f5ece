package importer

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"strings"
	"unicode/utf8"
)

// maxRecord bounds one row: larger ones are broken, and an unclosed quote must
// not swallow the rest of a huge file.
const maxRecord = 1 << 20

// RowError is a row that cannot be read. The rows after it still can.
type RowError struct {
	Line   int64 // where the row begins, from 1
	Column int   // from 1, in characters; 0: the whole row
	What   string
}

func (e *RowError) Error() string {
	if e.Column > 0 {
		return fmt.Sprintf("line %d, column %d: %s", e.Line, e.Column, e.What)
	}
	return fmt.Sprintf("line %d: %s", e.Line, e.What)
}

// csvReader reads RFC 4180 as people write it: any of four delimiters, either
// line ending, a byte order mark, quoted line breaks. Unlike encoding/csv it
// resumes at the line after a broken one, in bounded memory.
type csvReader struct {
	in        *bufio.Reader
	delimiter byte
	columns   []string
	line      int64    // of the last line read
	pushed    [][]byte // lines to read again, after an unclosed quote
	ended     error
}

// newCSVReader reads the header. delimiter 0 finds it out.
func newCSVReader(in io.Reader, delimiter byte) (*csvReader, error) {
	r := &csvReader{in: bufio.NewReaderSize(in, 256<<10), delimiter: delimiter}
	if mark, err := r.in.Peek(3); err == nil && bytes.Equal(mark, []byte("\xef\xbb\xbf")) {
		_, _ = r.in.Discard(3)
	}
	if mark, err := r.in.Peek(2); err == nil && (bytes.Equal(mark, []byte("\xff\xfe")) || bytes.Equal(mark, []byte("\xfe\xff"))) {
		return nil, errors.New("the file is UTF-16; save it as UTF-8")
	}
	if r.delimiter == 0 {
		head, _ := r.in.Peek(64 << 10)
		r.delimiter = sniff(head)
	}
	header, err := r.record()
	if errors.Is(err, io.EOF) {
		return nil, errors.New("the file is empty; its first line must name the columns")
	}
	if err != nil {
		return nil, fmt.Errorf("the header cannot be read: %w", err)
	}
	seen := map[string]int{}
	for i, cell := range header {
		name := strings.TrimSpace(cell)
		if name == "" {
			return nil, fmt.Errorf("column %d has no name in the header", i+1)
		}
		if strings.ContainsRune(name, '\r') { // else a whole file would be its own header, without a row
			return nil, errors.New("the lines end in CR alone, as on old Macs; save the file with LF or CRLF line ends")
		}
		if first, twice := seen[name]; twice {
			return nil, fmt.Errorf("columns %d and %d are both named %q in the header", first+1, i+1, name)
		}
		seen[name] = i
		r.columns = append(r.columns, name)
	}
	return r, nil
}

func (r *csvReader) Columns() []string { return r.columns }

// Next returns the next row, a *RowError, or io.EOF. Blank lines are no rows.
func (r *csvReader) Next() (Row, error) {
	for {
		start := r.line + 1
		cells, err := r.record()
		if err != nil {
			return Row{}, err
		}
		if len(cells) == 1 && cells[0] == "" {
			if len(r.columns) > 1 {
				continue
			}
		}
		if len(cells) != len(r.columns) {
			return Row{}, &RowError{Line: start, What: fmt.Sprintf("the row has %d columns, the header %d", len(cells), len(r.columns))}
		}
		row := Row{Line: start, Values: make([]Value, len(cells))}
		for i, cell := range cells {
			row.Values[i] = Value{Text: cell, Kind: cellKind(cell)}
		}
		return row, nil
	}
}

// record reads one record, over several lines where quotes hold line breaks.
func (r *csvReader) record() ([]string, error) {
	text, err := r.readLine()
	if err != nil {
		return nil, err
	}
	start := r.line
	var more [][]byte
	for {
		cells, open, broken := split(text, r.delimiter)
		if broken != nil {
			broken.Line = start
			r.pushBack(more)
			return nil, broken
		}
		if open == 0 {
			for i, cell := range cells {
				if !utf8.ValidString(cell) {
					return nil, &RowError{Line: start, What: fmt.Sprintf("the %s column is not UTF-8", ordinal(i+1))}
				}
			}
			return cells, nil
		}
		for closing := false; !closing; { // only a line with a quote can close it
			next, err := r.readLine()
			var long *RowError
			if errors.Is(err, io.EOF) || errors.As(err, &long) || (err == nil && len(text)+len(next) > maxRecord) {
				if err == nil {
					more = append(more, next)
				}
				r.pushBack(more)
				return nil, &RowError{Line: start, Column: open, What: "a quote is opened here and never closed"}
			}
			if err != nil {
				return nil, err
			}
			more = append(more, next)
			text = append(append(text, '\n'), next...)
			closing = bytes.IndexByte(next, '"') >= 0
		}
	}
}

func (r *csvReader) pushBack(lines [][]byte) {
	r.line -= int64(len(lines))
	r.pushed = append(lines, r.pushed...)
}

// readLine returns a line without its ending.
func (r *csvReader) readLine() ([]byte, error) {
	if len(r.pushed) > 0 {
		line := r.pushed[0]
		r.pushed = r.pushed[1:]
		r.line++
		return line, nil
	}
	if r.ended != nil {
		return nil, r.ended
	}
	var line []byte
	for {
		part, err := r.in.ReadSlice('\n')
		if len(line)+len(part) > maxRecord {
			r.line++
			skipped := r.skipLine(err)
			if skipped != nil {
				r.ended = skipped
			}
			return nil, &RowError{Line: r.line, What: "the row is longer than 1 MiB"}
		}
		line = append(line, part...)
		if errors.Is(err, bufio.ErrBufferFull) {
			continue
		}
		if err != nil {
			r.ended = err
			if !errors.Is(err, io.EOF) {
				return nil, fmt.Errorf("read the file: %w", err)
			}
			if len(line) == 0 {
				return nil, io.EOF
			}
		}
		r.line++
		line = bytes.TrimSuffix(line, []byte("\n"))
		return bytes.TrimSuffix(line, []byte("\r")), nil
	}
}

func (r *csvReader) skipLine(err error) error {
	for errors.Is(err, bufio.ErrBufferFull) {
		_, err = r.in.ReadSlice('\n')
	}
	return err
}

// split cuts a record into cells. open is the column, from 1, of a quote that
// the record does not close.
func split(text []byte, delimiter byte) (cells []string, open int, broken *RowError) {
	column := func(i int) int { return utf8.RuneCount(text[:i]) + 1 }
	i := 0
	for {
		if i < len(text) && text[i] == '"' {
			from := i
			var cell []byte
			i++
			for {
				end := bytes.IndexByte(text[i:], '"')
				if end < 0 {
					return nil, column(from), nil
				}
				cell = append(cell, text[i:i+end]...)
				i += end + 1
				if i < len(text) && text[i] == '"' { // two quotes stand for one
					cell = append(cell, '"')
					i++
					continue
				}
				break
			}
			cells = append(cells, string(cell))
			if i < len(text) && text[i] != delimiter {
				return nil, 0, &RowError{Column: column(i), What: "after a closing quote comes neither a delimiter nor the end of the row; write a quote inside a cell twice"}
			}
		} else {
			end := bytes.IndexByte(text[i:], delimiter)
			if end < 0 {
				end = len(text) - i
			}
			cells = append(cells, string(text[i:i+end]))
			i += end
		}
		if i >= len(text) {
			return cells, 0, nil
		}
		i++ // the delimiter; a trailing one makes an empty cell
	}
}

// sniff chooses the delimiter that cuts the header and the line after it into
// the same number of cells, more than one; else the most frequent of the header.
func sniff(head []byte) byte {
	first, rest, _ := bytes.Cut(head, []byte("\n"))
	second, _, _ := bytes.Cut(rest, []byte("\n"))
	count := func(line []byte, delimiter byte) int {
		cells, _, _ := split(bytes.TrimSuffix(line, []byte("\r")), delimiter)
		return len(cells)
	}
	best, most, agreed := byte(','), 1, false
	for _, delimiter := range []byte{',', ';', '\t', '|'} {
		n := count(first, delimiter)
		agrees := n > 1 && n == count(second, delimiter)
		if (agrees && !agreed) || (agrees == agreed && n > most) {
			best, most, agreed = delimiter, n, agrees
		}
	}
	return best
}

func ordinal(n int) string {
	suffix := "th"
	switch {
	case n%100 >= 11 && n%100 <= 13:
	case n%10 == 1:
		suffix = "st"
	case n%10 == 2:
		suffix = "nd"
	case n%10 == 3:
		suffix = "rd"
	}
	return fmt.Sprintf("%d%s", n, suffix)
}
