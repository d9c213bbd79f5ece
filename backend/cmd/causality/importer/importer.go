// Package importer brings rows of a file into an app as events: it reads CSV,
// newline-delimited JSON and Parquet, maps columns to an event's fields, and
// gives each row an id that makes a second import add nothing. It knows the
// server only by its calls.
package importer

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"connectrpc.com/connect"

	"github.com/causality-project/causality/backend/cmd/causality/send"
	eventv1 "github.com/causality-project/causality/proto/gen/causality/event/v1"
	healthv1 "github.com/causality-project/causality/proto/gen/causality/health/v1"
	"github.com/causality-project/causality/proto/gen/causality/health/v1/healthv1connect"
	"github.com/causality-project/causality/proto/gen/causality/ingest/v1/ingestv1connect"
)

// maxReported rows are named; the others are counted.
const maxReported = 20

// Options says what to import where.
type Options struct {
	Path      string // "-" reads standard input
	Format    string // csv, ndjson, parquet; empty: by the file's ending
	Delimiter byte   // of CSV; 0: found out
	Event     string
	Map       map[string]string // target to column
	App       string
	Zone      *time.Location // of times without an offset
	Strict    bool           // read everything first and send nothing if a row is broken

	Ingest   ingestv1connect.IngestServiceClient
	Health   healthv1connect.HealthServiceClient
	Version  string
	Notes    io.Writer // progress and remarks
	Terminal bool      // Notes is a terminal: progress may rewrite its line
}

// Summary is what became of the rows.
type Summary struct {
	Rows     int64 // read, broken ones included
	New      int64 // added by this import
	Known    int64 // were there already
	Rejected int64 // refused by the server
	Broken   int64 // could not be read
}

// UsageError is a wish that cannot be met, known before anything was sent.
type UsageError struct{ Err error }

func (e *UsageError) Error() string { return e.Err.Error() }
func (e *UsageError) Unwrap() error { return e.Err }

// Run imports, and returns once every accepted row can be queried. Its error is
// nil although rows were broken or rejected: the summary counts those. When ctx
// ends it stops cleanly; what was sent stays, and repeating the import adds the
// rest.
func Run(ctx context.Context, opts Options) (Summary, error) {
	file, err := open(opts)
	if err != nil {
		return Summary{}, err
	}
	in := &importing{opts: opts, file: file}
	defer func() { in.file.close() }()
	in.mapping, in.hints, err = newMapping(file.source.Columns(), opts.Event, opts.Map, opts.Zone, file.format != "ndjson")
	if err != nil {
		return Summary{}, &UsageError{err}
	}
	for _, hint := range in.hints {
		in.say("%s", hint)
	}
	if opts.Strict {
		if err := in.check(ctx); err != nil {
			return in.summary, err
		}
	}
	return in.run(ctx)
}

type importing struct {
	opts    Options
	file    *file
	mapping *mapping
	hints   []string
	summary Summary

	mu       sync.Mutex // around Notes and what follows
	reported int
	drawn    bool
}

func (in *importing) run(ctx context.Context) (Summary, error) {
	// What an interrupted import has sent may still be on its way; it is not new.
	before, err := in.settled(ctx, time.Now(), 0)
	if err != nil {
		return in.summary, err
	}
	sender := send.New(ctx, send.Options{
		Client: in.opts.Ingest, App: in.opts.App, Library: &eventv1.Library{Name: "causality-import", Version: in.opts.Version},
		Reject: func(r send.Rejection) {
			in.report(&RowError{Line: r.Line, What: "rejected: " + strings.TrimPrefix(r.Field+": "+r.Message, ": ")})
		},
		Note: func(text string) { in.say("%s", text) },
	})
	var rows atomic.Int64
	stop := in.drawProgress(&rows)
	readErr := in.read(func(event *eventv1.Event, line int64) error {
		rows.Add(1)
		return sender.Add(send.Item{Event: event, Line: line})
	})
	sendErr := sender.Close()
	stop()
	in.summary.Rejected = sender.Rejected()
	switch {
	case ctx.Err() != nil:
		return in.summary, fmt.Errorf("stopped after %s rows; run the same import again to add the rest, nothing counts twice", thousands(in.summary.Rows))
	case sendErr != nil:
		return in.summary, fmt.Errorf("%w; %s rows were sent, run the same import again to add the rest", sendErr, thousands(sender.Accepted()))
	case readErr != nil:
		return in.summary, fmt.Errorf("%w; the rows before it were sent", readErr)
	}
	after, err := in.settled(ctx, time.Now(), before.GetAccepted()+float64(sender.Accepted()))
	if err != nil {
		return in.summary, err
	}
	in.summary.New = min(max(int64(after.GetQueryable()-before.GetQueryable()), 0), sender.Accepted())
	in.summary.Known = sender.Accepted() - in.summary.New
	return in.summary, nil
}

// check reads everything without sending, with the same mapping afresh.
func (in *importing) check(ctx context.Context) error {
	if in.opts.Path == "-" {
		return &UsageError{errors.New("--strict reads the file twice, which standard input cannot do; save it to a file first")}
	}
	in.say("reading every row before anything is sent (--strict)")
	err := in.read(func(*eventv1.Event, int64) error { return ctx.Err() })
	if err != nil {
		return err
	}
	if broken := in.summary.Broken; broken > 0 {
		return fmt.Errorf("%s of %s rows cannot be read and nothing was sent; mend them, or leave out --strict to import the others",
			thousands(broken), thousands(in.summary.Rows))
	}
	in.file.close()
	again, err := open(in.opts)
	if err != nil {
		return err
	}
	in.file, in.summary = again, Summary{}
	in.mapping, _, err = newMapping(again.source.Columns(), in.opts.Event, in.opts.Map, in.opts.Zone, again.format != "ndjson")
	return err
}

// read hands every row that can be read to use, and reports the others.
func (in *importing) read(use func(*eventv1.Event, int64) error) error {
	for {
		row, err := in.file.source.Next()
		if errors.Is(err, io.EOF) {
			return nil
		}
		var broken *RowError
		if err != nil && !errors.As(err, &broken) {
			return err
		}
		in.summary.Rows++
		var event *eventv1.Event
		if broken == nil {
			event, broken = in.mapping.build(in.file.source.Columns(), row)
		}
		if broken != nil {
			in.summary.Broken++
			in.report(broken)
			continue
		}
		if err := use(event, row.Line); err != nil {
			return err
		}
	}
}

// settled waits until everything that was accepted before sent can be queried,
// and returns the counters then.
func (in *importing) settled(ctx context.Context, sent time.Time, accepted float64) (*healthv1.Counters, error) {
	noted := time.Now()
	for delay := 50 * time.Millisecond; ; delay = min(2*delay, time.Second) {
		asked := time.Now()
		report, err := in.opts.Health.Report(ctx, connect.NewRequest(&healthv1.ReportRequest{AppId: in.opts.App}))
		if err == nil {
			// Everything received before has landed when the oldest that still waits is
			// younger, by the server's clock and so by its own measure.
			landed := report.Msg.GetLagSeconds() == 0 || report.Msg.GetLagSeconds() < asked.Sub(sent).Seconds()-0.2
			if counters := report.Msg.GetCounters(); landed && counters.GetStored() >= min(accepted, counters.GetAccepted()) {
				return counters, nil
			}
		} else if code := connect.CodeOf(err); code != connect.CodeUnavailable && ctx.Err() == nil {
			return nil, fmt.Errorf("whether what was sent can be queried is not known: %w", err)
		}
		if time.Since(noted) > 10*time.Second {
			noted = time.Now()
			in.say("waiting until the last rows can be queried")
		}
		select {
		case <-ctx.Done():
			return nil, errors.New("stopped while waiting until what was sent can be queried; run the same import again, nothing counts twice")
		case <-time.After(delay):
		}
	}
}

// report names a row that was left out.
func (in *importing) report(row *RowError) {
	in.mu.Lock()
	in.reported++
	n := in.reported
	in.mu.Unlock()
	switch {
	case n <= maxReported:
		in.say("%s: left out", row)
	case n == maxReported+1:
		in.say("more rows are left out; they are counted at the end")
	}
}

func (in *importing) say(format string, args ...any) {
	in.mu.Lock()
	defer in.mu.Unlock()
	if in.drawn {
		_, _ = fmt.Fprint(in.opts.Notes, "\r\033[K")
		in.drawn = false
	}
	_, _ = fmt.Fprintf(in.opts.Notes, format+"\n", args...)
}

// drawProgress shows how far the file is: on a terminal as a bar that moves,
// elsewhere as a line every few seconds. The returned func ends it.
func (in *importing) drawProgress(rows *atomic.Int64) (stop func()) {
	every := 5 * time.Second
	if in.opts.Terminal {
		every = 200 * time.Millisecond
	}
	started := time.Now()
	done, gone := make(chan struct{}), make(chan struct{})
	draw := func() {
		line := progressLine(rows.Load(), in.file.progress(), time.Since(started))
		in.mu.Lock()
		defer in.mu.Unlock()
		if in.opts.Terminal {
			_, _ = fmt.Fprint(in.opts.Notes, "\r\033[K"+line)
			in.drawn = true
			return
		}
		_, _ = fmt.Fprintln(in.opts.Notes, line)
	}
	go func() {
		defer close(gone)
		ticker := time.NewTicker(every)
		defer ticker.Stop()
		for {
			select {
			case <-done:
				draw()
				return
			case <-ticker.C:
				draw()
			}
		}
	}()
	return func() {
		close(done)
		<-gone
		in.mu.Lock()
		defer in.mu.Unlock()
		if in.drawn {
			_, _ = fmt.Fprintln(in.opts.Notes)
			in.drawn = false
		}
	}
}

func progressLine(rows int64, share float64, elapsed time.Duration) string {
	rate := float64(rows) / max(elapsed.Seconds(), 0.001)
	line := fmt.Sprintf("%s rows, %s rows/s", thousands(rows), thousands(int64(rate)))
	if share < 0 {
		return line
	}
	const width = 24
	full := int(share * width)
	line = fmt.Sprintf("[%s%s] %3.0f %%  %s", strings.Repeat("#", full), strings.Repeat("-", width-full), share*100, line)
	if share > 0.01 && share < 1 {
		left := time.Duration(float64(elapsed) * (1 - share) / share).Round(time.Second)
		line += fmt.Sprintf(", %s left", left)
	}
	return line
}

func thousands(n int64) string {
	text := fmt.Sprint(n)
	for i := len(text) - 3; i > 0; i -= 3 {
		text = text[:i] + "," + text[i:]
	}
	return text
}

// String is the sentence at the end of an import.
func (s Summary) String() string {
	text := fmt.Sprintf("%s rows: %s new, %s already there", thousands(s.Rows), thousands(s.New), thousands(s.Known))
	if s.Rejected > 0 {
		text += fmt.Sprintf(", %s rejected", thousands(s.Rejected))
	}
	if s.Broken > 0 {
		text += fmt.Sprintf(", %s could not be read", thousands(s.Broken))
	}
	return text
}

// file is an open source and how far it has been read.
type file struct {
	source source
	format string
	handle *os.File
	size   int64 // 0: unknown
	read   atomic.Int64
	rows   func() (read, all int64)
}

func open(opts Options) (*file, error) {
	f := &file{format: opts.Format}
	if f.format == "" {
		switch ending := strings.ToLower(filepath.Ext(opts.Path)); ending {
		case ".csv", ".tsv", ".txt":
			f.format = "csv"
		case ".ndjson", ".jsonl", ".json":
			f.format = "ndjson"
		case ".parquet":
			f.format = "parquet"
		default:
			return nil, &UsageError{fmt.Errorf("what is in %s? Give --format csv, ndjson or parquet", opts.Path)}
		}
	}
	f.handle = os.Stdin
	if opts.Path != "-" {
		handle, err := os.Open(opts.Path)
		if err != nil {
			return nil, fmt.Errorf("the file cannot be opened: %w", err)
		}
		f.handle = handle
		info, err := handle.Stat()
		if err != nil || info.IsDir() {
			_ = handle.Close()
			return nil, fmt.Errorf("%s is a directory; name a file", opts.Path)
		}
		f.size = info.Size()
	}
	var err error
	switch f.format {
	case "csv":
		f.source, err = newCSVReader(counted{f.handle, &f.read}, opts.Delimiter)
	case "ndjson":
		f.source = newNDJSONReader(counted{f.handle, &f.read})
	case "parquet":
		if opts.Path == "-" {
			return nil, &UsageError{errors.New("parquet cannot be read from standard input; save it to a file first")}
		}
		var reader *parquetReader
		reader, err = newParquetReader(f.handle, f.size)
		if err == nil {
			f.source = reader
			f.size, f.rows = reader.Rows(), func() (int64, int64) { return reader.read.Load(), reader.Rows() }
		}
	default:
		err = fmt.Errorf("--format %s is none of csv, ndjson, parquet", f.format)
	}
	if err != nil {
		f.close()
		return nil, &UsageError{err}
	}
	return f, nil
}

// progress is the share that has been read, below zero when it cannot be known.
func (f *file) progress() float64 {
	if f.size <= 0 {
		return -1
	}
	if f.rows != nil {
		read, all := f.rows()
		return float64(read) / float64(all)
	}
	return min(float64(f.read.Load())/float64(f.size), 1)
}

func (f *file) close() {
	if f.handle != os.Stdin {
		_ = f.handle.Close()
	}
}

type counted struct {
	in io.Reader
	n  *atomic.Int64
}

func (c counted) Read(p []byte) (int, error) {
	n, err := c.in.Read(p)
	c.n.Add(int64(n))
	return n, err
}
