package duckdb

import (
	"bufio"
	"cmp"
	"context"
	"database/sql"
	"database/sql/driver"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"runtime/debug"
	"strconv"
	"strings"
	"sync"
	"time"

	duck "github.com/duckdb/duckdb-go/v2"

	"github.com/causality-project/causality/backend/internal/analysis/query"
	"github.com/causality-project/causality/backend/internal/platform/calendar"
	"github.com/causality-project/causality/backend/internal/platform/fault"
)

// WorkerMain is the child process: it answers one query at a time, each in a
// fresh in-memory instance, until stdin ends. It returns the exit code. The
// caller's stdout is used for frames alone: whatever DuckDB prints goes to
// stderr.
func WorkerMain(stdin, stdout *os.File) int {
	out, err := takeStdout(stdout)
	if err != nil {
		fmt.Fprintln(os.Stderr, "duckdb worker:", err)
		return 1
	}
	if err := confine(); err != nil {
		fmt.Fprintln(os.Stderr, "duckdb worker: confine:", err)
		return 1
	}
	// Rows pass through this process without staying; a small heap is enough.
	debug.SetGCPercent(50)
	w := &worker{out: bufio.NewWriterSize(out, 64<<10)}
	if err := w.serve(bufio.NewReaderSize(stdin, 64<<10)); err != nil {
		fmt.Fprintln(os.Stderr, "duckdb worker:", err)
		return 1
	}
	return 0
}

type worker struct {
	out *bufio.Writer

	mu      sync.Mutex
	number  uint64 // of the job in hand
	cancel  context.CancelFunc
	pending map[frameKind][]byte // links that came before their job
}

func (w *worker) serve(in io.Reader) error {
	if err := w.send(frameReady, nil); err != nil {
		return err
	}
	jobs := make(chan job)
	failed := make(chan error, 1)
	go func() {
		defer close(jobs)
		failed <- w.read(in, jobs)
	}()
	for j := range jobs {
		fatal, err := w.answer(j)
		if err != nil {
			return err
		}
		if fatal {
			return errors.New("the engine is in an unknown state")
		}
		debug.FreeOSMemory()
	}
	return <-failed
}

// read takes frames while a query runs, so that a cancel is seen, and the end of
// stdin: then the parent is gone and so is the reason to go on.
func (w *worker) read(in io.Reader, jobs chan<- job) error {
	defer func() {
		w.mu.Lock()
		defer w.mu.Unlock()
		if w.cancel != nil {
			w.cancel()
			time.AfterFunc(time.Second, func() { os.Exit(1) })
		}
	}()
	for {
		kind, payload, err := readFrame(in, nil)
		if errors.Is(err, io.EOF) && payload == nil {
			return nil
		}
		if err != nil {
			return err
		}
		switch kind {
		case frameKeys, frameVisitors, frameUsers:
			w.mu.Lock()
			if w.pending == nil {
				w.pending = map[frameKind][]byte{}
			}
			w.pending[kind] = append(w.pending[kind], payload...)
			w.mu.Unlock()
		case frameQuery:
			var j job
			if err := json.Unmarshal(payload, &j); err != nil {
				return fmt.Errorf("read a job: %w", err)
			}
			jobs <- j
		case frameCancel:
			number, _ := strconv.ParseUint(string(payload), 10, 64)
			w.mu.Lock()
			if w.cancel != nil && w.number == number {
				w.cancel()
			}
			w.mu.Unlock()
		default:
			return fmt.Errorf("%w: kind %q", errFrame, kind)
		}
	}
}

func (w *worker) send(kind frameKind, payload []byte) error {
	if err := writeFrame(w.out, kind, payload); err != nil {
		return err
	}
	return w.out.Flush()
}

func (w *worker) sendJSON(kind frameKind, v any) error {
	payload, err := json.Marshal(v)
	if err != nil {
		return err
	}
	return w.send(kind, payload)
}

// errPipe wraps a failure to talk to the parent, the only error that ends the
// child.
type errPipe struct{ error }

func (w *worker) answer(j job) (fatal bool, err error) {
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	w.mu.Lock()
	w.number, w.cancel = j.Number, cancel
	links := w.pending
	w.pending = nil
	w.mu.Unlock()
	defer func() {
		w.mu.Lock()
		w.cancel = nil
		w.mu.Unlock()
	}()

	done, err := w.run(ctx, j, links)
	var pipe errPipe
	if errors.As(err, &pipe) {
		return false, pipe.error
	}
	if err != nil {
		f := describe(ctx, err, j)
		return f.Fatal, w.sendJSON(frameError, f)
	}
	return false, w.sendJSON(frameDone, done)
}

func (w *worker) run(ctx context.Context, j job, links map[frameKind][]byte) (query.Done, error) {
	zone, err := calendar.LoadZone(j.Zone)
	if err != nil {
		return query.Done{}, err
	}
	connector, err := duck.NewConnector("", nil)
	if err != nil {
		return query.Done{}, err
	}
	defer connector.Close()
	db := sql.OpenDB(connector)
	defer db.Close()
	db.SetMaxOpenConns(1)
	conn, err := db.Conn(ctx)
	if err != nil {
		return query.Done{}, err
	}
	defer conn.Close()
	if err := prepare(ctx, conn, j, links); err != nil {
		return query.Done{}, setupError{err}
	}

	s := statement{body: j.SQL}
	if !j.Trusted {
		s, err = guard(j.SQL, func(body string) (tree string, err error) {
			if strings.ContainsRune(body, 0) {
				return "", fault.InvalidField("sql", "holds a zero byte")
			}
			err = conn.QueryRowContext(ctx, "SELECT CAST(json_serialize_sql("+query.Text(body)+") AS VARCHAR)").Scan(&tree)
			return tree, err
		})
		if err != nil {
			return query.Done{}, err
		}
	}
	params := make([]any, len(j.Params))
	for i, p := range j.Params {
		if f, ok := p.(float64); ok && f == float64(int64(f)) && f > -1<<53 && f < 1<<53 {
			p = int64(f)
		}
		params[i] = p
	}
	columns, wrapped, err := describeColumns(ctx, conn, s, params, j.MaxRows)
	if err != nil {
		return query.Done{}, err
	}
	if j.Plan {
		if columns = nil; !s.explain {
			if columns, err = scannedColumns(ctx, conn, wrapped, params); err != nil {
				return query.Done{}, err
			}
		}
		if err := w.sendJSON(frameColumns, columns); err != nil {
			return query.Done{}, errPipe{err}
		}
		return query.Done{}, nil
	}
	rows, err := conn.QueryContext(ctx, wrapped, params...)
	if err != nil {
		return query.Done{}, err
	}
	defer rows.Close()
	return w.stream(rows, columns, j, newRenderer(zone))
}

// setupError is a failure of our own statements, which is never people's fault.
type setupError struct{ error }

func (e setupError) Unwrap() error { return e.error }

// prepare builds the sandbox and the tables. The order matters: after the lock
// nothing can be changed, and allowed paths must be set while access is open.
func prepare(ctx context.Context, conn *sql.Conn, j job, links map[frameKind][]byte) error {
	quoted := make([]string, len(j.Files))
	for i, f := range j.Files {
		quoted[i] = query.Text(f)
	}
	statements := []string{
		fmt.Sprintf("SET memory_limit = '%dKiB'", max(j.MemoryBytes>>10, 64<<10)),
		fmt.Sprintf("SET threads = %d", max(j.Threads, 1)),
		"SET autoinstall_known_extensions = false",
		"SET autoload_known_extensions = false",
		"SET allow_community_extensions = false",
		"SET enable_progress_bar = false",
		"SET temp_directory = " + query.Text(j.TempDir),
		fmt.Sprintf("SET max_temp_directory_size = '%dKiB'", max(j.TempBytes>>10, 1)),
		"SET TimeZone = " + query.Text(j.Zone),
		"SET allowed_paths = [" + strings.Join(quoted, ", ") + "]",
		"SET enable_external_access = false",
	}
	for _, s := range statements {
		if _, err := conn.ExecContext(ctx, s); err != nil {
			return fmt.Errorf("%s: %w", first(s, 60), err)
		}
	}
	for kind, table := range map[frameKind]string{frameKeys: "link_keys", frameVisitors: "link_visitors", frameUsers: "link_users"} {
		if payload, ok := links[kind]; ok {
			if err := load(ctx, conn, kind, table, payload); err != nil {
				return fmt.Errorf("load %s: %w", table, err)
			}
		}
	}
	for _, s := range append(j.Setup, "SET lock_configuration = true") {
		if _, err := conn.ExecContext(ctx, s); err != nil {
			return fmt.Errorf("%s: %w", first(s, 60), err)
		}
	}
	return nil
}

func load(ctx context.Context, conn *sql.Conn, kind frameKind, table string, payload []byte) error {
	create := "CREATE TABLE " + table + " (id VARCHAR, to_key BIGINT)"
	if kind == frameKeys {
		create = "CREATE TABLE " + table + " (from_key BIGINT, to_key BIGINT)"
	}
	if _, err := conn.ExecContext(ctx, create); err != nil {
		return err
	}
	return conn.Raw(func(raw any) error {
		appender, err := duck.NewAppenderFromConn(raw.(driver.Conn), "", table)
		if err != nil {
			return err
		}
		if kind == frameKeys {
			err = eachPair(payload, func(from, to int64) error { return appender.AppendRow(from, to) })
		} else {
			err = eachNamed(payload, func(id string, to int64) error { return appender.AppendRow(id, to) })
		}
		return errors.Join(err, appender.Close())
	})
}

// describeColumns names the columns of a statement, and wraps it so that types
// which lose something on their way through the driver arrive as text.
func describeColumns(ctx context.Context, conn *sql.Conn, s statement, params []any, maxRows int64) (columns []query.Column, wrapped string, err error) {
	prefix := ""
	if s.explain {
		prefix = "EXPLAIN "
	}
	err = conn.Raw(func(raw any) error {
		prepared, err := raw.(driver.ConnPrepareContext).PrepareContext(ctx, prefix+s.body)
		if err != nil {
			return err
		}
		defer prepared.Close()
		if want := prepared.NumInput(); want > len(params) {
			return fault.InvalidField("params", "are %d, but the statement needs %d; give a value for each $1, $2 …", len(params), want)
		}
		statement := prepared.(*duck.Stmt)
		n, err := statement.ColumnCount()
		if err != nil {
			return err
		}
		for i := range n {
			name, err := statement.ColumnName(i)
			if err != nil {
				return err
			}
			columns = append(columns, query.Column{Name: name})
		}
		return nil
	})
	if err != nil {
		return nil, "", err
	}
	if s.explain {
		for i := range columns {
			columns[i].Type = "VARCHAR"
		}
		return columns, prefix + s.body, nil
	}
	given, types, err := columnTypes(ctx, conn, "("+s.body+"\n) AS answer", params)
	if err != nil {
		return nil, "", err
	}
	if len(columns) != len(given) { // the columns of a statement with parameters are not known before they are bound
		columns = make([]query.Column, len(given))
		for i, name := range given {
			columns[i].Name = name
		}
	}
	names := make([]string, len(columns))
	for i := range columns {
		names[i] = "c" + strconv.Itoa(i+1)
	}
	inner := "(" + s.body + "\n) AS answer(" + strings.Join(names, ", ") + ")"
	selected := make([]string, len(columns))
	for i, t := range types {
		columns[i].Type = t
		selected[i] = names[i]
		switch {
		case strings.HasSuffix(t, "]"), strings.HasPrefix(t, "STRUCT"), strings.HasPrefix(t, "MAP"), strings.HasPrefix(t, "UNION"):
			selected[i] = "CAST(to_json(" + names[i] + ") AS VARCHAR)"
		case !simpleType(t):
			selected[i] = "CAST(" + names[i] + " AS VARCHAR)"
		}
	}
	wrapped = "SELECT " + strings.Join(selected, ", ") + " FROM " + inner
	if maxRows > 0 {
		wrapped += " LIMIT " + strconv.FormatInt(maxRows+1, 10)
	}
	return columns, wrapped, nil
}

// columnTypes asks for no rows, which costs planning alone.
func columnTypes(ctx context.Context, conn *sql.Conn, inner string, params []any) (names, types []string, err error) {
	rows, err := conn.QueryContext(ctx, "SELECT * FROM "+inner+" LIMIT 0", params...)
	if err != nil {
		return nil, nil, err
	}
	defer rows.Close()
	columns, err := rows.ColumnTypes()
	if err != nil {
		return nil, nil, err
	}
	types = make([]string, len(columns))
	for i, c := range columns {
		names = append(names, c.Name())
		types[i] = cmp.Or(c.DatabaseTypeName(), "VARCHAR")
		if long, ok := longNames[types[i]]; ok {
			types[i] = long
		}
	}
	return names, types, nil
}

// stream sends columns and rows, in frames of about 64 KiB.
func (w *worker) stream(rows *sql.Rows, columns []query.Column, j job, render renderer) (query.Done, error) {
	var done query.Done
	if err := w.sendJSON(frameColumns, columns); err != nil {
		return done, errPipe{err}
	}
	values := make([]any, len(columns))
	targets := make([]any, len(columns))
	for i := range values {
		targets[i] = &values[i]
	}
	var buffer []byte
	var sent int64
	for rows.Next() {
		if j.MaxRows > 0 && done.Rows == j.MaxRows {
			done.Truncated = true
			break
		}
		if err := rows.Scan(targets...); err != nil {
			return done, err
		}
		before := len(buffer)
		for i, v := range values {
			if v == nil {
				buffer = appendNull(buffer)
			} else {
				buffer = appendCell(buffer, render.text(v, columns[i].Type))
			}
			if len(buffer) > maxFrame-1<<10 {
				return done, fault.New(fault.Exhausted, "One row of the answer is larger than 80 MB; select less of it.")
			}
		}
		sent += int64(len(buffer) - before)
		if j.MaxBytes > 0 && sent > j.MaxBytes {
			return done, fault.New(fault.Exhausted, "The answer is larger than %d MB; select fewer columns or rows, or export it.", j.MaxBytes>>20)
		}
		done.Rows++
		if len(buffer) >= 64<<10 {
			if err := w.send(frameRows, buffer); err != nil {
				return done, errPipe{err}
			}
			buffer = buffer[:0]
		}
	}
	if err := rows.Err(); err != nil {
		return done, err
	}
	if len(buffer) > 0 {
		if err := w.send(frameRows, buffer); err != nil {
			return done, errPipe{err}
		}
	}
	return done, nil
}

var stackPattern = regexp.MustCompile(`(?s)\n\nStack Trace:.*`)

// describe turns an error into what travels to the parent. DuckDB's own
// sentences are good; paths of ours are cut from them.
func describe(ctx context.Context, err error, j job) failure {
	var known *fault.Error
	if errors.As(err, &known) {
		message := known.Message
		if len(known.Fields) > 0 {
			message = known.Fields[0].Message
		}
		return failure{Kind: uint8(known.Kind), Message: message}
	}
	message := stackPattern.ReplaceAllString(err.Error(), "")
	for _, file := range append([]string{j.TempDir}, j.Files...) {
		if file != "" && strings.Contains(message, file) {
			message = strings.ReplaceAll(message, file, filepath.Base(file))
		}
	}
	if len(message) > 4<<10 {
		message = message[:4<<10] + "…"
	}
	var setup setupError
	isSetup := errors.As(err, &setup)
	var dbErr *duck.Error
	errors.As(err, &dbErr)
	if dbErr != nil && ctx.Err() == nil {
		if object := brokenObject(dbErr.Type, message, j.Files); object != "" {
			return failure{Kind: uint8(fault.Unavailable), Message: object + " is missing or damaged. `causality lake verify` says what is wrong, and how to mend it."}
		}
	}
	switch {
	case ctx.Err() != nil:
		return failure{Kind: uint8(fault.Canceled), Message: "The query was stopped."}
	case dbErr == nil:
		return failure{Kind: uint8(fault.Internal), Message: message}
	case dbErr.Type == duck.ErrorTypeOutOfMemory || strings.Contains(message, "bad_alloc"):
		return failure{Kind: uint8(fault.Exhausted), Fatal: strings.Contains(message, "bad_alloc"), Message: fmt.Sprintf(
			"The query needs more than the %d MB of memory that one query may use; narrow the range, select fewer columns, or group by fewer values.", j.MemoryBytes>>20)}
	case dbErr.Type == duck.ErrorTypeInternal, dbErr.Type == duck.ErrorTypeFatal:
		return failure{Kind: uint8(fault.Internal), Message: message, Fatal: true}
	case isSetup, dbErr.Type == duck.ErrorTypeIO:
		return failure{Kind: uint8(fault.Internal), Message: message}
	default:
		return failure{Kind: uint8(fault.Invalid), Message: message}
	}
}

// brokenObject says which object an error of DuckDB complains of; it is empty
// for other errors. The sentence may name the file; the excerpt of SQL below it
// may name others. What the decoders of pages say names none.
func brokenObject(kind duck.ErrorType, message string, files []string) string {
	sentence, _, _ := strings.Cut(message, "\n\nLINE ")
	switch kind {
	case duck.ErrorTypeIO, duck.ErrorTypePermission, duck.ErrorTypeInvalidInput:
		for _, file := range files {
			if name := filepath.Base(file); strings.Contains(sentence, name) {
				return "The stored object " + name
			}
		}
	}
	if strings.Contains(sentence, "TProtocolException") || strings.Contains(sentence, "ZSTD Decompression failure") {
		return "A stored object of this app"
	}
	return ""
}

func first(s string, n int) string {
	if len(s) > n {
		return s[:n] + "…"
	}
	return s
}
