// Package merge rewrites sorted event objects into larger ones, each id once,
// with their projections. It knows Parquet and order; it does not know the
// manifest, PostgreSQL or where objects are stored.
//
// A job works column by column. It reads the keys of all rows first, computes
// from them which rows stay, in which object and in which order, and then
// gathers each column once by that order. Chunks wait, compressed, in a
// temporary file until their objects are put together.
package merge

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/causality-project/causality/backend/internal/pipeline/lake/parquetv1"
	"github.com/causality-project/causality/backend/internal/platform/event"
)

// DefaultTarget is the size of a settled object that a job aims at.
const DefaultTarget = 192 << 20

// Kinds of objects, as Create and the manifest name them.
const (
	Events    = "events"
	ByEvent   = "by_event"
	EventDays = "event_days"
	UserDays  = "user_days"
)

// bytesPerRow is the memory that a job needs for each row of its inputs.
const bytesPerRow = 72

// Job is a rewrite of some objects of one app. It needs up to 72 bytes of memory
// a row of the inputs, 160 MiB beside them (mostly the distinct texts of one
// column), and once the distinct texts of that column of by_event which has
// most: 600 MiB for 6 million rows of a common shop.
type Job struct {
	AppID  string
	Inputs []*parquetv1.File // each sorted by (user_key, ts, event_id); stay the caller's

	// Stale says by input whether Resolve is asked for the person of its rows;
	// nil: of none. Resolve gets the row's key and ids and must be pure.
	Stale   []bool
	Resolve func(key int64, userID, anonymousID string) int64

	// Keep chooses the rows that stay; nil: all. It sees each id once, in the
	// copy that was accepted first, and Removed is told of those it refuses.
	Keep    func(row *Row) bool
	Removed func(id event.ID) error // nil: nobody is told

	// Promote lists the properties that get a column of their own in the outputs.
	Promote []parquetv1.Promoted

	// Settle splits the rows by the calendar month (UTC) of their time, and by
	// user where a month exceeds Target; else there is one output. MinBits are
	// bits of the user that outputs are split by at least: those of the inputs,
	// so that an object that is settled stays where it is.
	Settle  bool
	MinBits int
	Target  int64 // bytes of a settled object of events; default DefaultTarget

	// Zone is the time zone of the projections' days; nil: no projections. An
	// output that is not settled has none either.
	Zone *time.Location

	// Pace is called every few milliseconds of work; it may wait, and its error
	// ends the job. Nil: the job only looks at its context.
	Pace    func(context.Context) error
	TempDir string // holds one unnamed file; empty: the system's

	// Create stores an object that write produces, and returns its bytes. For a
	// part it is called for Events first, then for its projections. It must not
	// keep write, and the object must be gone when write or it fails.
	Create func(ctx context.Context, part *Part, kind string, write func(io.Writer) error) (int64, error)
	// Metadata is asked for an object's metadata when all but Objects[kind].Bytes
	// of the part is known. Nil: none.
	Metadata func(part *Part, kind string) (map[string]string, error)

	dictionary int // default dictionaryBytes; less in tests
}

// Row is what Keep sees of an event.
type Row struct {
	ID                  event.ID
	Event               string
	Type                event.Type
	UserKey             int64 // resolved; 0: nobody
	UserID, AnonymousID string
	TS, ReceivedAt      int64 // µs since 1970
}

// Part is one output: an object of events, and its projections.
type Part struct {
	Period       time.Time // first instant of its month; zero: not settled
	Bucket, Bits int       // its users' keys begin with these bits
	Number, Of   int       // from 1; how many parts the job has
	Rows         int64

	MinTS, MaxTS, MinReceivedAt, MaxReceivedAt time.Time

	Columns []string           // promoted properties whose columns are complete
	Objects map[string]Written // by kind
}

// Written is an object that Create has stored.
type Written struct{ Rows, Bytes int64 }

// Result is what a job did.
type Result struct {
	Parts    []*Part // none when no row is left
	Rows     int64   // written, of events
	Repeated int64   // left out: later copies of an id
	Removed  int64   // left out: refused by Keep
}

// Run does the job. When it fails, objects that it has created stay; the caller
// knows them from Create.
func Run(ctx context.Context, job Job) (Result, error) {
	if err := job.complete(ctx); err != nil {
		return Result{}, fmt.Errorf("merge: %w", err)
	}
	p, err := newPlan(ctx, &job)
	if err != nil {
		return Result{}, fmt.Errorf("merge: %w", err)
	}
	result := Result{Repeated: p.repeated, Removed: p.removed, Rows: int64(len(p.order))}
	for _, s := range p.slots {
		result.Parts = append(result.Parts, s.part)
	}
	if err := p.write(ctx); err != nil {
		return Result{}, fmt.Errorf("merge: %w", err)
	}
	return result, nil
}

func (j *Job) complete(ctx context.Context) error {
	var problems []error
	if j.Create == nil {
		problems = append(problems, errors.New("no Create"))
	}
	if j.Stale != nil && len(j.Stale) != len(j.Inputs) {
		problems = append(problems, fmt.Errorf("there are %d entries of Stale for %d inputs", len(j.Stale), len(j.Inputs)))
	}
	if j.Stale != nil && j.Resolve == nil {
		problems = append(problems, errors.New("no Resolve for Stale"))
	}
	if j.MinBits < 0 || j.MinBits > maxBits {
		problems = append(problems, fmt.Errorf("MinBits %d is not between 0 and %d", j.MinBits, maxBits))
	}
	if j.Target <= 0 {
		j.Target = DefaultTarget
	}
	if j.dictionary <= 0 {
		j.dictionary = dictionaryBytes
	}
	if j.Pace == nil {
		j.Pace = func(ctx context.Context) error { return ctx.Err() }
	}
	if err := ctx.Err(); err != nil {
		problems = append(problems, err)
	}
	return errors.Join(problems...)
}
