// Package trino answers queries with a Trino cluster that reads the Iceberg
// tables the lake publishes. Each query runs as a Trino user named by the app's
// id; the rules that are shipped in deploy/trino show such a user the rows of its
// own app and nothing else. The package knows where the published tables lie and
// builds from them the tables that SQL can name; it does not know how they are
// published.
package trino

import (
	"cmp"
	"context"
	"crypto/tls"
	"crypto/x509"
	"database/sql"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/url"
	"os"
	"regexp"
	"strings"
	"sync"
	"time"

	client "github.com/trinodb/trino-go-client/trino"

	"github.com/causality-project/causality/backend/internal/analysis/query"
	"github.com/causality-project/causality/backend/internal/analysis/query/turns"
	"github.com/causality-project/causality/backend/internal/platform/calendar"
	"github.com/causality-project/causality/backend/internal/platform/fault"
)

// Config configures an Engine. Zero values select the stated defaults.
type Config struct {
	URL      string // required: https://host:port; http only to this machine
	User     string // who may act for apps; default causality
	Password string // needs https
	CAFile   string // PEM that signs Trino's certificate; default: the system's
	Catalog  string // as Trino names it; default causality
	Schema   string // default lake
	Queries  int    // at once; default 8
	// QueueLength bounds the waiting queries of one workspace; default 32.
	QueueLength int
	Logger      *slog.Logger // required
}

// grace is what a query may take beyond its limit until Trino has said so.
const grace = 5 * time.Second

var namePattern = regexp.MustCompile(`^[a-z][a-z0-9_]{0,62}$`)

// Engine is a query.Engine.
type Engine struct {
	cfg    Config
	db     *sql.DB
	client *http.Client
	turns  *turns.Turns

	mu      sync.Mutex
	closed  bool
	running sync.WaitGroup
	stop    context.CancelFunc
	stopped context.Context
	proven  time.Time // when the rules were last seen to hold
}

// New returns an engine; it talks to Trino at the first query.
func New(cfg Config) (*Engine, error) {
	cfg.User, cfg.Catalog, cfg.Schema = cmp.Or(cfg.User, "causality"), cmp.Or(cfg.Catalog, "causality"), cmp.Or(cfg.Schema, "lake")
	cfg.Queries, cfg.QueueLength = cmp.Or(cfg.Queries, 8), cmp.Or(cfg.QueueLength, 32)
	if cfg.Logger == nil {
		return nil, errors.New("trino: a logger is required")
	}
	address, err := url.Parse(cfg.URL)
	var problems []error
	switch {
	case err != nil || address.Host == "" || address.Scheme != "https" && address.Scheme != "http":
		problems = append(problems, fmt.Errorf("the address of Trino %q is not https://host:port", cfg.URL))
	case address.User != nil:
		problems = append(problems, errors.New("the address of Trino holds a password; give it in CAUSALITY_TRINO_PASSWORD"))
	case address.Scheme == "http" && !loopback(address.Hostname()):
		problems = append(problems, errors.New("the address of Trino must be https: over http anybody could ask as any app"))
	case address.Scheme == "http" && cfg.Password != "":
		problems = append(problems, errors.New("a password goes to Trino through https alone"))
	}
	for _, name := range []string{cfg.Catalog, cfg.Schema} {
		if !namePattern.MatchString(name) {
			problems = append(problems, fmt.Errorf("%q is not the name of a catalogue or schema of Trino: small letters, digits and _", name))
		}
	}
	transport := http.DefaultTransport.(*http.Transport).Clone()
	transport.MaxIdleConnsPerHost = cfg.Queries
	if cfg.CAFile != "" {
		pem, err := os.ReadFile(cfg.CAFile)
		roots := x509.NewCertPool()
		switch {
		case err != nil:
			problems = append(problems, fmt.Errorf("read what signs Trino's certificate: %w", err))
		case !roots.AppendCertsFromPEM(pem):
			problems = append(problems, fmt.Errorf("%s holds no certificate", cfg.CAFile))
		}
		transport.TLSClientConfig = &tls.Config{RootCAs: roots, MinVersion: tls.VersionTLS12}
	}
	if err := errors.Join(problems...); err != nil {
		return nil, fmt.Errorf("trino: %w", err)
	}
	e := &Engine{cfg: cfg, client: &http.Client{Transport: transport}, turns: turns.New(cfg.Queries, cfg.QueueLength)}
	server := url.URL{Scheme: address.Scheme, Host: address.Host, User: url.User(cfg.User)}
	if cfg.Password != "" {
		server.User = url.UserPassword(cfg.User, cfg.Password)
	}
	attempts := 3 // of one HTTP request that met a passing fault
	retry := 10 * time.Second
	longest := time.Hour // every query has a shorter limit of its own
	connector, err := client.NewConnector(&client.Config{
		ServerURI: server.String(), Source: "causality", TimeZone: "UTC", DisableExplicitPrepare: true, HTTPClient: e.client,
		QueryTimeout: &longest, RequestRetryTimeout: &retry, RequestRetryMaxAttempts: &attempts,
	})
	if err != nil {
		return nil, fmt.Errorf("trino: %w", err)
	}
	e.db = sql.OpenDB(connector)
	e.db.SetMaxOpenConns(cfg.Queries)
	e.stopped, e.stop = context.WithCancel(context.Background())
	return e, nil
}

func loopback(host string) bool {
	ip := net.ParseIP(host)
	return host == "localhost" || ip != nil && ip.IsLoopback()
}

// Close refuses new queries, waits for those in hand until ctx ends and stops
// what is left. It is repeatable.
func (e *Engine) Close(ctx context.Context) error {
	e.mu.Lock()
	e.closed = true
	e.mu.Unlock()
	e.turns.Close()
	finished := make(chan struct{})
	go func() {
		defer close(finished)
		e.running.Wait()
	}()
	var err error
	select {
	case <-finished:
	case <-ctx.Done():
		err = ctx.Err()
	}
	e.stop()
	<-finished
	err = errors.Join(err, e.db.Close())
	e.client.CloseIdleConnections()
	return err
}

var appPattern = regexp.MustCompile(`^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$`)

// Query implements query.Engine.
func (e *Engine) Query(ctx context.Context, request query.Request, sink query.Sink) (query.Done, error) {
	e.mu.Lock()
	if e.closed {
		e.mu.Unlock()
		return query.Done{}, fault.New(fault.Unavailable, "The server is stopping; try again in a moment.")
	}
	e.running.Add(1)
	e.mu.Unlock()
	defer e.running.Done()

	// Rows are shown to the user of this name alone: without one there are none.
	if !appPattern.MatchString(request.App) {
		return query.Done{}, fmt.Errorf("trino: a query names the app %q, which is no app's id", request.App)
	}
	zone, err := calendar.LoadZone(cmp.Or(request.Zone, "UTC"))
	if err != nil {
		return query.Done{}, err
	}
	text, err := e.compose(request)
	if err != nil {
		return query.Done{}, err
	}
	release, err := e.turns.Take(ctx, request.Workspace)
	if err != nil {
		return query.Done{}, err
	}
	defer release()
	timeout := cmp.Or(request.Timeout, 60*time.Second)
	timed, cancel := context.WithTimeout(ctx, timeout+grace)
	defer cancel()
	defer context.AfterFunc(e.stopped, cancel)()
	if err := e.prove(timed); err != nil {
		return query.Done{}, err
	}
	done, err := e.run(timed, cancel, text, timeout, zone, request, sink)
	var told sinkError
	switch {
	case err == nil:
		return done, nil
	case errors.As(err, &told):
		return done, told.error
	case ctx.Err() != nil:
		return done, fault.Wrap(ctx.Err(), fault.Canceled, "The query was stopped.")
	case e.stopped.Err() != nil:
		return done, fault.New(fault.Unavailable, "The server is stopping; try again in a moment.")
	case timed.Err() != nil:
		return done, timedOut(timeout)
	}
	return done, e.explain(err, text, timeout, request.Trusted)
}

// proveEvery is how long the rules that were seen to hold are trusted.
const proveEvery = 10 * time.Minute

// prove makes sure that Trino's rules are in force, for one without rules, or with
// an empty file of them, lets everybody read everything: a user without an app
// must not see what runs on the server. Nothing is asked of one that shows it.
func (e *Engine) prove(ctx context.Context) error {
	e.mu.Lock()
	proven := time.Since(e.proven) < proveEvery
	e.mu.Unlock()
	if proven {
		return nil
	}
	const nobody = "00000000-0000-0000-0000-000000000000"
	rows, err := e.db.QueryContext(ctx, "SELECT count(*) FROM system.runtime.queries", sql.Named("X-Trino-User", nobody))
	if err == nil {
		return errors.Join(fault.New(fault.Unavailable, "Trino at %s does not keep apps apart: its rules are not those of deploy/trino. Nothing is asked of it until they are.", e.cfg.URL), rows.Close())
	}
	var reason *client.ErrTrino
	if errors.As(err, &reason) && reason.ErrorName == "PERMISSION_DENIED" {
		e.mu.Lock()
		e.proven = time.Now()
		e.mu.Unlock()
		return nil
	}
	if ctx.Err() != nil {
		return fault.Wrap(ctx.Err(), fault.Canceled, "The query was stopped.")
	}
	return e.explain(err, composed{}, 0, true)
}

// sinkError marks an error of the sink, which is returned as it is.
type sinkError struct{ error }

func (e *Engine) run(ctx context.Context, cancel func(), text composed, timeout time.Duration, zone *time.Location, request query.Request, sink query.Sink) (query.Done, error) {
	var done query.Done
	arguments := []any{
		sql.Named("X-Trino-User", request.App),
		sql.Named("X-Trino-Session", fmt.Sprintf("query_max_execution_time=%dms", timeout.Milliseconds())),
		// The session's zone is the app's. The client would also read timestamps
		// without a zone in it, which some do not have: a header's name is the same
		// to Trino however its letters are written, but not to the client.
		sql.Named("X-Trino-Time-zone", zone.String()),
	}
	for _, p := range request.Params {
		if f, ok := p.(float64); ok && f == float64(int64(f)) && f > -1<<53 && f < 1<<53 {
			p = int64(f)
		}
		arguments = append(arguments, p)
	}
	rows, err := e.db.QueryContext(ctx, text.sql, arguments...)
	if err != nil {
		return done, err
	}
	defer func() {
		cancel() // a query that is not read to its end stops at once
		_ = rows.Close()
	}()
	types, err := rows.ColumnTypes()
	if err != nil {
		return done, err
	}
	columns := make([]query.Column, len(types))
	values, targets := make([]any, len(types)), make([]any, len(types))
	for i, t := range types {
		columns[i] = query.Column{Name: t.Name(), Type: typeName(t)}
		targets[i] = &values[i]
	}
	if err := sink.Columns(columns); err != nil {
		return done, sinkError{err}
	}
	row := make([]query.Cell, len(types))
	var bytes int64
	for rows.Next() {
		if request.MaxRows > 0 && done.Rows == request.MaxRows {
			done.Truncated = true
			return done, nil
		}
		if err := rows.Scan(targets...); err != nil {
			return done, err
		}
		for i, v := range values {
			if row[i], err = cell(v, columns[i].Type, zone); err != nil {
				return done, err
			}
			bytes += int64(len(row[i].Text)) + 1
		}
		if request.MaxBytes > 0 && bytes > request.MaxBytes {
			return done, fault.New(fault.Exhausted, "The answer is larger than %d MB; select fewer columns or rows, or export it.", request.MaxBytes>>20)
		}
		done.Rows++
		if err := sink.Row(row); err != nil {
			return done, sinkError{err}
		}
	}
	return done, rows.Err()
}

func timedOut(limit time.Duration) error {
	text := fmt.Sprintf("%g s", limit.Seconds())
	if limit%time.Minute == 0 && limit > time.Minute {
		text = fmt.Sprintf("%d min", limit/time.Minute)
	}
	return fault.New(fault.Exhausted, "Stopped at the %s limit; choose a shorter range or fewer rows.", text)
}

// explain turns what went wrong into what people can act on.
func (e *Engine) explain(err error, text composed, limit time.Duration, trusted bool) error {
	var known *fault.Error
	if errors.As(err, &known) {
		return err
	}
	var failed *client.ErrQueryFailed
	var reason *client.ErrTrino
	if !errors.As(err, &reason) {
		e.cfg.Logger.Error("Trino did not answer", "url", e.cfg.URL, "err", err)
		if errors.As(err, &failed) && (failed.StatusCode == http.StatusUnauthorized || failed.StatusCode == http.StatusForbidden) {
			return fault.Wrap(err, fault.Unavailable, "Trino at %s refuses us (%d): its password or its rules do not fit; see deploy/trino.", e.cfg.URL, failed.StatusCode)
		}
		return fault.Wrap(err, fault.Unavailable, "Trino at %s does not answer; see Health.", e.cfg.URL)
	}
	switch reason.ErrorName {
	case "EXCEEDED_TIME_LIMIT":
		return timedOut(limit)
	case "TABLE_NOT_FOUND", "SCHEMA_NOT_FOUND", "CATALOG_NOT_FOUND":
		if strings.Contains(reason.Message, e.cfg.Catalog) {
			return fault.Wrap(err, fault.Unavailable, "The lake has not been published to Trino yet; see `causality lake publish`.")
		}
	case "SERVER_STARTING_UP", "SERVER_SHUTTING_DOWN", "NO_NODES_AVAILABLE", "REMOTE_HOST_GONE", "ADMINISTRATIVELY_KILLED", "ADMINISTRATIVELY_PREEMPTED":
		return fault.Wrap(err, fault.Unavailable, "Trino is not ready; try again in a moment.")
	}
	if strings.Contains(reason.Message, "nodes is empty") { // a server that has just started
		return fault.Wrap(err, fault.Unavailable, "Trino is not ready; try again in a moment.")
	}
	switch {
	case reason.ErrorType == "INSUFFICIENT_RESOURCES":
		return fault.Wrap(err, fault.Exhausted, "The query needs more than Trino gives to one: %s; narrow the range, select fewer columns, or group by fewer values.", reason.Message)
	case reason.ErrorType == "EXTERNAL":
		e.cfg.Logger.Error("Trino could not read the lake", "err", reason.Message)
		return fault.Wrap(err, fault.Unavailable, "Trino cannot read the published tables; see Health.")
	case reason.ErrorType != "USER_ERROR" || trusted:
		return fmt.Errorf("trino: %s: %s", reason.ErrorName, reason.Message)
	}
	message := text.message(reason)
	return &fault.Error{Kind: fault.Invalid, Message: message, Fields: []fault.Field{{Name: "sql", Message: message}}}
}
