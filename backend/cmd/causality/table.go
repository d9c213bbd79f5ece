package main

import (
	"bufio"
	"bytes"
	"encoding/csv"
	"encoding/json"
	"fmt"
	"io"
	"strings"
	"unicode/utf8"
)

// table is an answer of rows and columns, printed for people, for spreadsheets
// or for programs.
type table struct {
	columns []string
	right   []bool // numbers stand right
	rows    [][]string
}

// print writes the table. json is one object a line.
func (t *table) print(out io.Writer, format string) error {
	switch format {
	case "csv":
		w := csv.NewWriter(out)
		if err := w.Write(t.columns); err != nil {
			return err
		}
		return w.WriteAll(t.rows)
	case "json":
		return t.printJSON(out)
	default:
		return t.printText(out)
	}
}

func (t *table) printJSON(out io.Writer) error {
	w := bufio.NewWriter(out)
	for _, row := range t.rows {
		_ = w.WriteByte('{')
		for i, name := range t.columns {
			if i > 0 {
				_ = w.WriteByte(',')
			}
			_, _ = fmt.Fprintf(w, "%s:%s", quoteJSON(name), quoteJSON(row[i]))
		}
		_, _ = w.WriteString("}\n")
	}
	return w.Flush()
}

func (t *table) printText(out io.Writer) error {
	widths := make([]int, len(t.columns))
	for i, name := range t.columns {
		widths[i] = utf8.RuneCountInString(name)
	}
	for _, row := range t.rows {
		for i, cell := range row {
			widths[i] = max(widths[i], utf8.RuneCountInString(oneLine(cell)))
		}
	}
	w := bufio.NewWriter(out)
	line := func(cells []string) {
		for i, cell := range cells {
			cell = oneLine(cell)
			gap := strings.Repeat(" ", widths[i]-utf8.RuneCountInString(cell))
			if i > 0 {
				_, _ = w.WriteString("  ")
			}
			switch {
			case i < len(t.right) && t.right[i]:
				_, _ = w.WriteString(gap + cell)
			case i == len(cells)-1:
				_, _ = w.WriteString(cell)
			default:
				_, _ = w.WriteString(cell + gap)
			}
		}
		_ = w.WriteByte('\n')
	}
	line(t.columns)
	rule := make([]string, len(widths))
	for i, width := range widths {
		rule[i] = strings.Repeat("-", width)
	}
	line(rule)
	for _, row := range t.rows {
		line(row)
	}
	return w.Flush()
}

// oneLine keeps a cell from breaking its row.
func oneLine(cell string) string {
	return strings.NewReplacer("\n", "⏎", "\r", "", "\t", " ").Replace(cell)
}

func quoteJSON(text string) string {
	var out bytes.Buffer
	encoder := json.NewEncoder(&out)
	encoder.SetEscapeHTML(false)
	_ = encoder.Encode(text) // text always encodes
	return strings.TrimSuffix(out.String(), "\n")
}
