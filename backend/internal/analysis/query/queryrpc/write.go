package queryrpc

import (
	"encoding/json"
	"strconv"
	"strings"

	"github.com/causality-project/causality/backend/internal/analysis/query"
	"github.com/causality-project/causality/backend/internal/platform/fault"
)

// writer turns rows into CSV (one header line, RFC 4180 quotes, LF) or JSON (one
// object a line), sent in pieces of about 64 KiB. In CSV, NULL is nothing and
// empty text is "".
type writer struct {
	json    bool
	send    func([]byte) error
	columns []query.Column
	keys    [][]byte // of json
	buffer  []byte
}

func newWriter(format string, send func([]byte) error) (*writer, error) {
	switch format {
	case "", "csv":
		return &writer{send: send}, nil
	case "json":
		return &writer{json: true, send: send}, nil
	default:
		return nil, fault.InvalidField("format", "%q is not csv or json", format)
	}
}

// Columns implements query.Sink.
func (w *writer) Columns(columns []query.Column) error {
	w.columns = columns
	if w.json {
		seen := map[string]int{}
		for _, c := range columns {
			name := c.Name
			if seen[c.Name]++; seen[c.Name] > 1 { // a repeated key would hide the first
				name += "_" + strconv.Itoa(seen[c.Name])
			}
			w.keys = append(w.keys, quoted(name))
		}
		return nil
	}
	for i, c := range columns {
		if i > 0 {
			w.buffer = append(w.buffer, ',')
		}
		w.field(c.Name)
	}
	w.buffer = append(w.buffer, '\n')
	return nil
}

// Row implements query.Sink.
func (w *writer) Row(row []query.Cell) error {
	if w.json {
		w.object(row)
	} else {
		for i, cell := range row {
			if i > 0 {
				w.buffer = append(w.buffer, ',')
			}
			if !cell.Null {
				w.field(cell.Text)
			}
		}
	}
	w.buffer = append(w.buffer, '\n')
	if len(w.buffer) >= 64<<10 {
		return w.flush()
	}
	return nil
}

func (w *writer) field(text string) {
	if text != "" && !strings.ContainsAny(text, ",\"\n\r") && text[0] != ' ' && text[len(text)-1] != ' ' {
		w.buffer = append(w.buffer, text...)
		return
	}
	w.buffer = append(w.buffer, '"')
	w.buffer = append(w.buffer, strings.ReplaceAll(text, `"`, `""`)...)
	w.buffer = append(w.buffer, '"')
}

func (w *writer) object(row []query.Cell) {
	w.buffer = append(w.buffer, '{')
	for i, cell := range row {
		if i > 0 {
			w.buffer = append(w.buffer, ',')
		}
		w.buffer = append(append(w.buffer, w.keys[i]...), ':')
		_, isNumber := numeric(cell, w.columns[i].Type)
		switch {
		case cell.Null:
			w.buffer = append(w.buffer, "null"...)
		case isNumber, w.columns[i].Type == "BOOLEAN":
			w.buffer = append(w.buffer, cell.Text...)
		default:
			w.buffer = append(w.buffer, quoted(cell.Text)...)
		}
	}
	w.buffer = append(w.buffer, '}')
}

func quoted(s string) []byte {
	var b strings.Builder
	encoder := json.NewEncoder(&b)
	encoder.SetEscapeHTML(false)
	_ = encoder.Encode(s) // a string cannot fail
	return []byte(strings.TrimSuffix(b.String(), "\n"))
}

func (w *writer) flush() error {
	if len(w.buffer) == 0 {
		return nil
	}
	err := w.send(w.buffer)
	w.buffer = w.buffer[:0]
	return err
}
