// Package query owns how questions reach an engine: the Engine interface, the
// tables that SQL can name (events, users, groups, sessions of one app) and the
// running of SQL that people write. It does not know what a trend or a funnel
// is, nor where objects are stored.
package query

import (
	"context"
	"time"

	"github.com/causality-project/causality/backend/internal/platform/fault"
)

// Engine runs one SELECT at a time for its caller; calls are concurrent.
//
// Query hands the columns and then the rows to sink on the caller's goroutine.
// A slow sink slows the engine down; an error of the sink ends the query and is
// returned as it is. Ending ctx ends the query within about a second.
type Engine interface {
	Query(ctx context.Context, request Request, sink Sink) (Done, error)
}

// Sink receives an answer.
type Sink interface {
	Columns(columns []Column) error
	Row(row []Cell) error // row is valid until Row returns
}

// Column is a column of an answer, with the engine's name of its type.
type Column struct {
	Name string `json:"name"`
	Type string `json:"type"`
}

// Cell is one value as text, or NULL.
type Cell struct {
	Text string
	Null bool
}

// Request is one question in SQL.
type Request struct {
	Workspace string // whose turn it uses: the queue is fair over workspaces
	App       string // id of the app whose rows are asked for
	Tables    Tables // what the SQL can name
	Published Published
	Promoted  []Promoted // columns p_<name> of events, for engines that make their own tables
	Zone      string     // IANA name; timestamps are shown in it
	SQL       string
	Params    []any         // for ? or $1: nil, bool, float64, string
	Trusted   bool          // made by us: not guarded
	MaxRows   int64         // 0: no limit; more are cut and Done says so
	MaxBytes  int64         // of cells; 0: no limit; beyond it the query fails as Exhausted
	Timeout   time.Duration // from its turn on; default 60 s
}

// Done closes an answer.
type Done struct {
	Rows      int64
	Truncated bool // MaxRows cut the answer
}

// App is what a question needs to know of an app.
type App struct{ ID, WorkspaceID, Name, TimeZone string }

// Snapshot is one consistent view of an app's stored events. Release must be
// called when the question is done; until then no object of it is deleted.
type Snapshot struct {
	Version int64
	Objects []Object
	Links   Links
	FreshTo time.Time // everything accepted before is in
	Release func()

	Promoted []Promoted // the app's properties with a column of their own

	Published Published // zero unless the engine reads published tables

	// Load makes sure that files hold the columns that a question reads; nil
	// columns: all. It is nil itself when all files are whole.
	Load func(ctx context.Context, paths, columns []string) error
}

// Published is one state of the Iceberg tables that the lake publishes, by their
// snapshots. Zero is the newest of each.
type Published struct{ Events, Links int64 }

// Object is one Parquet file of full events.
type Object struct {
	ID, Path     string
	Rows, Bytes  int64
	LinkNumber   int64     // person links are folded into user_key through this number
	MinTS, MaxTS time.Time // of its events, both inclusive
	Columns      []string  // promoted properties whose columns p_<name> may replace reading JSON
	Projections  []Projection
}

// Projection is a smaller file with what some questions need of an object's
// tracked events, folded through the same number.
type Projection struct {
	Kind        string // by_event, event_days or user_days
	Path        string
	Rows, Bytes int64
	Zone        string // of its days; IANA name

	// by_event: promoted properties whose columns may replace reading JSON. They
	// are not always its object's: it may have been derived later.
	Columns []string
}

// Links are the person links that some objects do not have folded in. A row's
// person is the first that applies:
//
//	with user_id:    ChangedUsers[user_id], ByKey[user_key], user_key
//	without user_id: Changed[anonymous_id], ByKey[user_key], user_key
type Links struct {
	Number       int64
	ByKey        map[int64]int64
	Changed      map[string]int64
	ChangedUsers map[string]int64
}

// Source gives snapshots. from and to bound ts, half-open; zero is open. The
// context carries the workspace.
type Source interface {
	Snapshot(ctx context.Context, appID string, from, to time.Time) (Snapshot, error)
}

// Promoter is a Source that knows which properties of an app have a column of
// their own.
type Promoter interface {
	Promoted(ctx context.Context, appID string) ([]Promoted, error)
}

// Limits of SQL that people write.
const (
	DefaultRows = 10_000
	MaxRows     = 100_000
	MaxSQL      = 256 << 10
	maxBytes    = 64 << 20
	maxParams   = 1_000

	runTimeout    = 60 * time.Second
	exportTimeout = 15 * time.Minute // a slow reader holds the engine back
)

// Service runs people's SQL.
type Service struct {
	engine Engine
	source Source
	now    func() time.Time
}

// New returns a service on an engine and a source of snapshots.
func New(engine Engine, source Source) *Service {
	return &Service{engine: engine, source: source, now: time.Now}
}

// Meta says how an answer was made.
type Meta struct {
	FreshTo      time.Time
	ScannedRows  int64 // of the objects that the question reads
	ScannedBytes int64
	Elapsed      time.Duration
}

// Answer is a whole answer in memory.
type Answer struct {
	Columns   []Column
	Rows      [][]Cell
	Truncated bool
	Meta      Meta
}

// Run answers one SELECT with at most limit rows (0: DefaultRows).
func (s *Service) Run(ctx context.Context, app App, sql string, params []any, limit int) (*Answer, error) {
	if limit < 0 || limit > MaxRows {
		return nil, fault.InvalidField("limit", "must be 1 to 100,000 (0 for 10,000)")
	}
	if limit == 0 {
		limit = DefaultRows
	}
	answer := &Answer{}
	done, meta, err := s.query(ctx, app, Request{
		SQL: sql, Params: params, MaxRows: int64(limit), MaxBytes: maxBytes, Timeout: runTimeout,
	}, collector{answer})
	if err != nil {
		return nil, err
	}
	answer.Truncated, answer.Meta = done.Truncated, meta
	return answer, nil
}

// Export hands every row of one SELECT to sink.
func (s *Service) Export(ctx context.Context, app App, sql string, params []any, sink Sink) error {
	_, _, err := s.query(ctx, app, Request{SQL: sql, Params: params, Timeout: exportTimeout}, sink)
	return err
}

// Schema describes the tables of an app.
func (s *Service) Schema(ctx context.Context, app App) ([]TableInfo, error) {
	promoter, ok := s.source.(Promoter)
	if !ok {
		return Schema(), nil
	}
	promoted, err := promoter.Promoted(ctx, app.ID)
	if err != nil {
		return nil, err
	}
	return Schema(promoted...), nil
}

func (s *Service) query(ctx context.Context, app App, request Request, sink Sink) (Done, Meta, error) {
	if len(request.SQL) > MaxSQL {
		return Done{}, Meta{}, fault.InvalidField("sql", "is longer than 256 KiB")
	}
	if len(request.Params) > maxParams {
		return Done{}, Meta{}, fault.InvalidField("params", "are more than 1,000")
	}
	snapshot, err := s.source.Snapshot(ctx, app.ID, time.Time{}, time.Time{})
	if err != nil {
		return Done{}, Meta{}, err
	}
	defer snapshot.Release()
	tables := snapshot.all()
	request.Workspace, request.App, request.Zone, request.Tables, request.Published = app.WorkspaceID, app.ID, app.TimeZone, tables.Tables, snapshot.Published
	request.Promoted = snapshot.Promoted
	start := s.now()
	done, err := s.engine.Query(ctx, request, sink)
	return done, Meta{FreshTo: snapshot.FreshTo, ScannedRows: tables.Rows, ScannedBytes: tables.Bytes, Elapsed: s.now().Sub(start)}, err
}

// Collect runs a request and keeps its answer.
func Collect(ctx context.Context, engine Engine, request Request) (*Answer, error) {
	answer := &Answer{}
	done, err := engine.Query(ctx, request, collector{answer})
	if err != nil {
		return nil, err
	}
	answer.Truncated = done.Truncated
	return answer, nil
}

// collector keeps an answer in memory.
type collector struct{ answer *Answer }

func (c collector) Columns(columns []Column) error {
	c.answer.Columns = columns
	return nil
}

func (c collector) Row(row []Cell) error {
	c.answer.Rows = append(c.answer.Rows, append([]Cell(nil), row...))
	return nil
}
