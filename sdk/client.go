// Package causality sends events to a Causality server.
//
// A [Client] never blocks its host on the network or the disk, never panics into
// it, and keeps its memory and its queue file bounded. Any number of goroutines may
// share one. What it must drop it counts, by reason, in [Stats], and tells the server
// with the next batch.
//
//   - [Options].QueueFile keeps unsent events across restarts, crashes and a server
//     that is away for days; WaitForRoom slows a job down where a service would drop.
//   - [Middleware], [Propagate] and the module sdk/connect carry a correlation id from
//     request to request, and [Client.Track] puts it into events by their context;
//     the module sdk/otel takes it from traces, and shows Stats as metrics.
//   - The typed events, such as [PurchaseComplete], have the names and properties that
//     the server's reports know. What is not set is not sent; where zero is a value the
//     field is a pointer, as in Revenue: new(12.5).
//
// Package core holds the policy, package driver gives it a clock and a queue; this
// package adds HTTP, logs and the vocabulary of Go programs.
package causality

import (
	"context"
	"fmt"
	"log/slog"
	"time"

	"github.com/causality-project/causality/sdk/core"
	"github.com/causality-project/causality/sdk/driver"
)

// Version is the version of this SDK, sent with each request.
const Version = "0.1.0"

const libraryName = "causality-go"

// Rejection is an event that the server did not take. It is kept there too, in
// the app's list of rejected events.
type Rejection struct {
	ID      string // of the event
	Code    string // for example plan_violation
	Field   string
	Message string // what happened and what to do
}

// Client sends events to one app. It is safe for concurrent use.
type Client struct {
	opts   Options
	driver *driver.Driver
	sender *sender
}

// New starts a client. Its error names every invalid option; then nothing has
// started. A QueueFile that cannot be used is not an error: the client says so to
// Logger and in Stats, and keeps events in memory.
func New(opts Options) (*Client, error) {
	if err := opts.complete(); err != nil {
		return nil, fmt.Errorf("causality: invalid options: %w", err)
	}
	c := &Client{opts: opts, sender: newSender(&opts)}
	var err error
	c.driver, err = driver.Open(driver.Config{
		Core: core.Config{
			FlushAt:    opts.FlushAt,
			FlushEvery: micros(opts.FlushEvery),
			MaxAge:     micros(opts.MaxAge),
			QueueBytes: opts.QueueBytes,
			// Some tenths of a second at the highest rate, for a disk that stalls.
			BufferBytes: 16 << 20,
			Library:     core.Library{Name: libraryName, Version: Version},
			Marshal:     marshal,
		},
		QueueFile:   opts.QueueFile,
		Send:        c.sender.send,
		SendTimeout: opts.RequestTimeout,
		Notify:      c.notify,
		Rejected:    c.rejected,
	})
	if err != nil {
		return nil, err
	}
	return c, nil
}

// Track records that somebody did something. It returns without waiting for disk
// or network: a queue file has the event within 100 ms, and Flush confirms. ctx
// gives the event its correlation id, and does not need to outlive the call.
//
// The error is ErrInvalidEvent with the field that is wrong, ErrQueueFull when the
// event was not kept, or ErrClosed.
func (c *Client) Track(ctx context.Context, e Event) error {
	event := e.toCore()
	return c.add(ctx, &event)
}

// Identify records who somebody is and what is known of them. It returns like
// Track.
func (c *Client) Identify(ctx context.Context, id Identity) error {
	return c.add(ctx, &core.Event{
		Type:        core.Identify,
		UserID:      id.UserID,
		AnonymousID: id.AnonymousID,
		Timestamp:   instant(id.Timestamp),
		Traits:      id.Traits.toCore(),
		Context:     id.Context,
	})
}

// Group records what a group is and who is in it. It returns like Track.
func (c *Client) Group(ctx context.Context, g Group) error {
	return c.add(ctx, &core.Event{
		Type:      core.Group,
		UserID:    g.UserID,
		GroupType: g.Type,
		GroupID:   g.ID,
		Timestamp: instant(g.Timestamp),
		Traits:    g.Traits.toCore(),
		Context:   g.Context,
	})
}

// Alias records that two user ids are one person. It returns like Track.
func (c *Client) Alias(ctx context.Context, a Alias) error {
	return c.add(ctx, &core.Event{
		Type:       core.Alias,
		UserID:     a.UserID,
		PreviousID: a.PreviousID,
		Timestamp:  instant(a.Timestamp),
	})
}

func (c *Client) add(ctx context.Context, e *core.Event) error {
	if e.CorrelationID == "" {
		e.CorrelationID = c.correlationID(ctx)
	}
	if c.opts.WaitForRoom {
		return c.driver.AddWait(ctx, e)
	}
	return c.driver.Add(e)
}

func (c *Client) correlationID(ctx context.Context) (id string) {
	if id = CorrelationID(ctx); id != "" || c.opts.CorrelationID == nil {
		return id
	}
	defer func() {
		if cause := recover(); cause != nil {
			id = ""
			c.log(slog.LevelError, "causality: Options.CorrelationID panicked", "panic", cause)
		}
	}()
	if id = c.opts.CorrelationID(ctx); !isCorrelationID(id) {
		return ""
	}
	return id
}

// Flush stores and sends every event recorded before the call. It returns nil
// when the server has answered for all of them. When an attempt fails it does not
// wait for the next one: the error is then ErrUndelivered with the cause, and the
// events stay queued (in a QueueFile: on disk, unless the error says otherwise).
func (c *Client) Flush(ctx context.Context) error { return c.driver.Flush(ctx) }

// Close refuses further events, tries to send what is queued until an attempt
// fails or ctx ends, and ends every goroutine. It may be called again, and then
// waits for the same outcome.
//
// The error is ErrUndelivered when events end with the process. Events that are in
// the QueueFile are not lost, and so no error: the next client sends them.
func (c *Client) Close(ctx context.Context) error {
	defer c.sender.close()
	return c.driver.Close(ctx)
}

// OptOut clears the queue and ignores events until OptIn, across restarts when
// there is a QueueFile.
func (c *Client) OptOut() { c.driver.OptOut() }

// OptIn ends OptOut.
func (c *Client) OptIn() { c.driver.OptIn() }

// Stats is what became of the events since New.
type Stats struct {
	Queued      int    // not yet acknowledged, earlier runs' included
	QueuedBytes int    // of those, encoded
	Sent        uint64 // acknowledged and not rejected
	// Dropped counts lost events by reason: expired, overflow (the oldest of a full
	// queue), queue_full (refused with ErrQueueFull), invalid, too_large,
	// unreadable, damaged (by the disk), opted_out, or the code of the server's
	// rejection.
	Dropped map[string]uint64

	FailedAttempts uint64 // requests that the server did not answer, or answered with an error
	Paused         bool   // the server refuses the key; it is tried again every hour, and by Flush
	OptedOut       bool
	NextAttempt    time.Time // zero unless a failure delays it
	LastError      error     // of the last attempt; nil after a success

	InMemory   bool  // events end with the process
	QueueError error // why a QueueFile is not used, was begun anew, or takes no events
}

// Stats reports what became of the events.
func (c *Client) Stats() Stats {
	s := c.driver.Stats()
	out := Stats{
		Queued:         s.Queued,
		QueuedBytes:    s.QueuedBytes,
		Sent:           s.Sent,
		Dropped:        make(map[string]uint64, len(s.Dropped)),
		FailedAttempts: s.FailedAttempts,
		Paused:         s.Paused,
		OptedOut:       s.OptedOut,
		LastError:      s.LastError,
		InMemory:       s.InMemory,
		QueueError:     s.QueueError,
	}
	for reason, n := range s.Dropped {
		out.Dropped[string(reason)] = n
	}
	if s.NextAttempt > 0 {
		out.NextAttempt = time.UnixMicro(int64(s.NextAttempt))
	}
	return out
}

// notify tells the log what the driver has noticed.
func (c *Client) notify(n driver.Notice) {
	var args []any
	switch n.Kind {
	case driver.Dropped:
		args = []any{"reason", string(n.Reason), "events", n.Events}
	case driver.Undelivered:
		args = []any{"err", n.Err, "queued", n.Events, "paused", n.Paused}
	case driver.Refused:
		args = []any{"err", n.Err}
	case driver.Delivered:
		args = []any{"events", n.Events}
	case driver.QueueDamaged:
		args = []any{"file", c.opts.QueueFile, "moved_to", n.MovedTo, "err", n.Err}
	case driver.QueueUnusable, driver.QueueFailing, driver.QueueRecovered:
		args = []any{"file", c.opts.QueueFile}
		if n.Err != nil {
			args = append(args, "err", n.Err)
		}
	}
	level := [...]slog.Level{driver.Debug: slog.LevelDebug, driver.Info: slog.LevelInfo, driver.Warn: slog.LevelWarn, driver.Error: slog.LevelError}[n.Level()]
	c.log(level, n.Message(), args...)
	switch n.Kind {
	case driver.Dropped:
		if c.opts.OnDrop != nil {
			c.callback("OnDrop", func() { c.opts.OnDrop(string(n.Reason), n.Events) })
		}
	case driver.Delivered:
		if c.opts.OnDelivered != nil {
			c.callback("OnDelivered", func() { c.opts.OnDelivered(n.Events) })
		}
	case driver.Undelivered, driver.Refused, driver.QueueDamaged, driver.QueueUnusable, driver.QueueFailing:
		if c.opts.OnError != nil {
			c.callback("OnError", func() { c.opts.OnError(n.Err) })
		}
	}
}

func (c *Client) rejected(list []core.Rejection) {
	c.log(slog.LevelWarn, "causality: the server rejected events",
		"events", len(list), "code", list[0].Code, "field", list[0].Field, "message", list[0].Message)
	if c.opts.OnReject == nil {
		return
	}
	for _, r := range list {
		c.callback("OnReject", func() {
			c.opts.OnReject(Rejection{ID: r.ID, Code: string(r.Code), Field: r.Field, Message: r.Message})
		})
	}
}

func (c *Client) callback(name string, call func()) {
	defer func() {
		if cause := recover(); cause != nil {
			c.log(slog.LevelError, "causality: a callback panicked", "callback", name, "panic", cause)
		}
	}()
	call()
}

func (c *Client) log(level slog.Level, message string, args ...any) {
	defer func() { _ = recover() }() // a handler's panic has nowhere to be told
	c.opts.Logger.Log(context.Background(), level, message, args...)
}

func micros(d time.Duration) core.Micros { return core.Micros(d.Microseconds()) }
