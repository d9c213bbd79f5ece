package duckdb

import (
	"cmp"
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/causality-project/causality/backend/internal/analysis/query"
	"github.com/causality-project/causality/backend/internal/platform/fault"
)

// queryLoaded answers over files of which only parts are here. DuckDB plans the
// query over their footers and says which columns each scan reads; these are
// loaded, and the query runs. A part that is not here reads as zeros, which no
// column's pages begin with: should the plan not have told all, the query ends in
// an error, whole files are loaded and it runs again. It never answers wrongly.
//
// No turn is held while objects are on their way, so that slow ones delay their
// own question alone.
func (p *Pool) queryLoaded(ctx context.Context, request query.Request, sink query.Sink) (query.Done, error) {
	load, files := request.Tables.Load, request.Tables.Files
	if len(files) == 0 {
		return p.run(ctx, request, false, sink)
	}
	timeout := cmp.Or(request.Timeout, defaultTimeout)
	fetch := func(columns []string) error {
		timed, cancel := context.WithTimeout(ctx, timeout)
		defer cancel()
		err := load(timed, files, columns)
		if err != nil && ctx.Err() == nil && timed.Err() != nil {
			return fault.Wrap(err, fault.Exhausted, "What the query reads did not arrive within %s; try again, for what has arrived is kept, or choose a shorter range.", limitText(timeout))
		}
		return err
	}
	if err := fetch([]string{}); err != nil {
		return query.Done{}, err
	}
	var needed columnNames
	if _, err := p.run(ctx, request, true, &needed); err != nil {
		return query.Done{}, err
	}
	if len(needed) > 0 {
		if err := fetch(needed); err != nil {
			return query.Done{}, err
		}
	}
	held := &heldSink{Sink: sink}
	done, err := p.run(ctx, request, false, held)
	if err == nil {
		return done, held.flush()
	}
	var broken *brokenError
	if !errors.As(err, &broken) {
		return done, err
	}
	if err := fetch(nil); err != nil {
		return query.Done{}, err
	}
	if held.begun {
		return query.Done{}, fault.Wrap(err, fault.Unavailable, "A part of what the query reads was missing and has been fetched; run it again.")
	}
	p.cfg.Logger.WarnContext(ctx, "a query read more than its plan told, and ran again over whole files", "columns", []string(needed), "err", err)
	return p.run(ctx, request, false, sink)
}

// brokenError marks a failure that bytes which are not there can cause.
type brokenError struct{ error }

func (e *brokenError) Unwrap() error { return e.error }

// columnNames takes the answer to a job that only plans.
type columnNames []string

func (c *columnNames) Columns(columns []query.Column) error {
	for _, column := range columns {
		*c = append(*c, column.Name)
	}
	return nil
}

func (c *columnNames) Row([]query.Cell) error { return nil }

// heldSink keeps the columns back until the first row, so that a query which
// fails before can run again.
type heldSink struct {
	query.Sink
	columns []query.Column
	held    bool
	begun   bool
}

func (s *heldSink) Columns(columns []query.Column) error {
	s.columns, s.held = columns, true
	return nil
}

func (s *heldSink) Row(row []query.Cell) error {
	s.begun = true
	if err := s.flush(); err != nil {
		return err
	}
	return s.Sink.Row(row)
}

func (s *heldSink) flush() error {
	if !s.held {
		return nil
	}
	s.held = false
	return s.Sink.Columns(s.columns)
}

const defaultTimeout = 60 * time.Second

// scannedColumns asks DuckDB for the plan of a statement and collects the columns
// that its scans of files read: those that they hand on, and those of their
// filters.
func scannedColumns(ctx context.Context, conn *sql.Conn, statement string, params []any) ([]query.Column, error) {
	rows, err := conn.QueryContext(ctx, "EXPLAIN (FORMAT json) "+statement, params...)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	found := map[string]bool{}
	for rows.Next() {
		var kind, text string
		if err := rows.Scan(&kind, &text); err != nil {
			return nil, err
		}
		var plan []planNode
		if err := json.Unmarshal([]byte(text), &plan); err != nil {
			return nil, fmt.Errorf("read the plan: %w", err)
		}
		for i := range plan {
			plan[i].scans(found)
		}
	}
	if err := rows.Err(); err != nil {
		return nil, err
	}
	columns := make([]query.Column, 0, len(found))
	for name := range found {
		columns = append(columns, query.Column{Name: name})
	}
	slices.SortFunc(columns, func(a, b query.Column) int { return strings.Compare(a.Name, b.Name) })
	return columns, nil
}

// planNode is an operator of a plan as DuckDB's EXPLAIN prints it.
type planNode struct {
	Name     string     `json:"name"`
	Children []planNode `json:"children"`
	Extra    struct {
		Function    string `json:"Function"`
		Projections texts  `json:"Projections"`
		Filters     texts  `json:"Filters"`
	} `json:"extra_info"`
}

// texts is one text, or a list of them.
type texts []string

func (t *texts) UnmarshalJSON(data []byte) error {
	if len(data) > 0 && data[0] == '[' {
		return json.Unmarshal(data, (*[]string)(t))
	}
	var one string
	if err := json.Unmarshal(data, &one); err != nil {
		return err
	}
	*t = texts{one}
	return nil
}

var (
	sqlText = regexp.MustCompile(`'(?:[^']|'')*'`)
	// A name, and whether it is compared with a single value: then the scan
	// probes the column's bloom filter.
	filtered = regexp.MustCompile(`("(?:[^"]|"")*"|[\pL_][\pL\pN_$]*)("?\)? *(?:=|IN\b))?`)
)

func (n *planNode) scans(found map[string]bool) {
	if n.Extra.Function == "READ_PARQUET" || n.Extra.Function == "PARQUET_SCAN" {
		for _, name := range n.Extra.Projections {
			found[name] = true
		}
		for _, filter := range n.Extra.Filters {
			// Words that are no columns are in no file, and cost nothing.
			for _, m := range filtered.FindAllStringSubmatch(sqlText.ReplaceAllString(filter, "''"), -1) {
				name := m[1]
				if name[0] == '"' {
					name = strings.ReplaceAll(name[1:len(name)-1], `""`, `"`)
				}
				found[name] = true
				if m[2] != "" {
					found["="+name] = true
				}
			}
		}
	}
	for i := range n.Children {
		n.Children[i].scans(found)
	}
}
