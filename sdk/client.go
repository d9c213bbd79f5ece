// Package causality sends events to a Causality server.
//
// A Client never blocks its host on the network or the disk, never panics into
// it, and keeps its memory and its queue file bounded. What it must drop it
// counts, by reason, in Stats, and tells the server with the next batch. Package
// core holds the policy; this package gives it a clock, a queue and HTTP.
package causality

import (
	"context"
	crand "crypto/rand"
	"errors"
	"fmt"
	"log/slog"
	"math"
	"math/rand/v2"
	"slices"
	"sync"
	"time"

	"github.com/causality-project/causality/sdk/core"
	"github.com/causality-project/causality/sdk/internal/queue"
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
	sender *sender
	stop   context.CancelFunc
	done   chan struct{} // closed when every goroutine has ended
	wake   chan struct{}
	reply  chan reply
	buffer sync.Pool

	queue blockQueue // the run goroutine's

	mu      sync.Mutex // guards what follows
	core    *core.Core
	flushes []*flush
	closing bool
	closed  error // the outcome of Close, once done is closed
	health  health
}

// blockQueue is where the core's blocks wait.
type blockQueue interface {
	Commit(core.Change) error
	Read(first, last uint64) (data [][]byte, lost []uint64, err error)
	Reset() (setAside string, err error)
	Close() error
}

// health is what went wrong last, for Stats and for errors.
type health struct {
	inMemory bool
	queue    error // why the queue takes no events, nil while it does
	damage   error // what was found and set aside
	attempt  error // of the last attempt, nil after a success
}

type flush struct {
	through uint64
	failed  uint64 // attempts that had failed when it began
	attempt bool
	done    chan error
}

type reply struct {
	attempt  uint64
	response core.Response
	err      error
}

// New starts a client. Its error names every invalid option; then nothing has
// started. A QueueFile that cannot be used is not an error: the client says so to
// Logger and in Stats, and keeps events in memory.
func New(opts Options) (*Client, error) {
	if err := opts.complete(); err != nil {
		return nil, fmt.Errorf("causality: invalid options: %w", err)
	}
	c := &Client{
		opts:   opts,
		sender: newSender(&opts),
		done:   make(chan struct{}),
		wake:   make(chan struct{}, 1),
		reply:  make(chan reply),
		buffer: sync.Pool{New: func() any { return new([]byte) }},
	}
	var seed [32]byte
	_, _ = crand.Read(seed[:]) // cannot fail: the runtime ends the process instead
	contents := c.openQueue()
	var err error
	c.core, err = core.New(core.Config{
		FlushAt:    opts.FlushAt,
		FlushEvery: micros(opts.FlushEvery),
		MaxAge:     micros(opts.MaxAge),
		QueueBytes: opts.QueueBytes,
		// Some tenths of a second at the highest rate, for a disk that stalls.
		BufferBytes: 16 << 20,
		Library:     core.Library{Name: libraryName, Version: Version},
		Random:      rand.NewChaCha8(seed).Uint64,
	}, contents.State, contents.Blocks)
	if err != nil {
		return nil, errors.Join(err, c.queue.Close())
	}
	if contents.SetAside != "" {
		c.core.FileLost(now())
	}
	ctx, cancel := context.WithCancel(context.Background())
	c.stop = cancel
	go c.run(ctx)
	return c, nil
}

func (c *Client) openQueue() queue.Contents {
	c.queue = &queue.Memory{}
	if c.opts.QueueFile == "" {
		c.health.inMemory = true
		return queue.Contents{}
	}
	file, contents, err := queue.Open(c.opts.QueueFile)
	if err != nil {
		c.useMemory(err)
		return queue.Contents{}
	}
	c.queue = file
	if contents.SetAside != "" {
		c.health.damage = fmt.Errorf("%w; it was moved to %s", queue.ErrDamaged, contents.SetAside)
		c.log(slog.LevelError, "causality: the queue file was damaged; its events are lost and a new one was begun",
			"file", c.opts.QueueFile, "moved_to", contents.SetAside)
	}
	return contents
}

// useMemory gives up on the queue file until the next start.
func (c *Client) useMemory(cause error) {
	c.mu.Lock()
	c.health.inMemory = true
	c.health.queue = cause
	c.mu.Unlock()
	c.log(slog.LevelError, "causality: the queue file cannot be used; events wait in memory and end with the process",
		"file", c.opts.QueueFile, "err", cause)
}

// Track records that somebody did something. It returns without waiting for disk
// or network: a queue file has the event within 100 ms, and Flush confirms. ctx
// does not need to outlive the call.
//
// The error is ErrInvalidEvent with the field that is wrong, ErrQueueFull when the
// event was not kept, or ErrClosed.
func (c *Client) Track(ctx context.Context, e Event) error {
	event := e.toCore()
	return c.add(&event)
}

// Identify records who somebody is and what is known of them. It returns like
// Track.
func (c *Client) Identify(ctx context.Context, id Identity) error {
	return c.add(&core.Event{
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
	return c.add(&core.Event{
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
	return c.add(&core.Event{
		Type:       core.Alias,
		UserID:     a.UserID,
		PreviousID: a.PreviousID,
		Timestamp:  instant(a.Timestamp),
	})
}

// add encodes outside the lock, since that is most of the work and may run the
// host's own methods.
func (c *Client) add(e *core.Event) error {
	at := now()
	buffer := c.buffer.Get().(*[]byte)
	defer c.buffer.Put(buffer)
	encoded, err := core.Encode(*buffer, at, e, marshal)
	if b := encoded.Bytes(); cap(b) <= 2*core.MaxEventBytes {
		*buffer = b
	}
	c.mu.Lock()
	if err != nil {
		c.core.Refuse(at, err)
		c.mu.Unlock()
		return err
	}
	wake, err := c.core.Add(at, encoded)
	c.mu.Unlock()
	if wake {
		c.poke()
	}
	return err
}

// Flush stores and sends every event recorded before the call. It returns nil
// when the server has answered for all of them. When an attempt fails it does not
// wait for the next one: the error is then ErrUndelivered with the cause, and the
// events stay queued (in a QueueFile: on disk, unless the error says otherwise).
func (c *Client) Flush(ctx context.Context) error {
	c.mu.Lock()
	if c.closing {
		c.mu.Unlock()
		return ErrClosed
	}
	f := c.flush()
	c.mu.Unlock()
	return c.wait(ctx, f)
}

func (c *Client) flush() *flush {
	f := &flush{failed: c.core.Failed(), done: make(chan error, 1)}
	f.through, f.attempt = c.core.Flush(now())
	c.flushes = append(c.flushes, f)
	c.poke()
	return f
}

func (c *Client) wait(ctx context.Context, f *flush) error {
	select {
	case err := <-f.done:
		return err
	case <-ctx.Done():
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if i := slices.Index(c.flushes, f); i >= 0 {
		c.flushes = slices.Delete(c.flushes, i, i+1)
	}
	return c.undelivered(context.Cause(ctx))
}

// Close refuses further events, tries to send what is queued until an attempt
// fails or ctx ends, and ends every goroutine. It may be called again, and then
// waits for the same outcome.
//
// The error is ErrUndelivered when events end with the process. Events that are in
// the QueueFile are not lost, and so no error: the next client sends them.
func (c *Client) Close(ctx context.Context) error {
	c.mu.Lock()
	if c.closing {
		c.mu.Unlock()
		select {
		case <-c.done:
			return c.closed
		case <-ctx.Done():
			return fmt.Errorf("causality: close: %w", context.Cause(ctx))
		}
	}
	c.closing = true
	c.core.Close()
	f := c.flush()
	c.mu.Unlock()
	_ = c.wait(ctx, f)
	c.stop()
	<-c.done
	return c.closed
}

// OptOut clears the queue and ignores events until OptIn, across restarts when
// there is a QueueFile.
func (c *Client) OptOut() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.core.OptOut()
	c.poke()
}

// OptIn ends OptOut.
func (c *Client) OptIn() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.core.OptIn()
	c.poke()
}

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

	Paused      bool // the server refuses the key; it is tried again every hour, and by Flush
	OptedOut    bool
	NextAttempt time.Time // zero unless a failure delays it
	LastError   error     // of the last attempt; nil after a success

	InMemory   bool  // events end with the process
	QueueError error // why a QueueFile is not used, was begun anew, or takes no events
}

// Stats reports what became of the events.
func (c *Client) Stats() Stats {
	c.mu.Lock()
	defer c.mu.Unlock()
	s := c.core.Stats()
	out := Stats{
		Queued:      s.Queued,
		QueuedBytes: s.QueuedBytes,
		Sent:        s.Sent,
		Dropped:     make(map[string]uint64, len(s.Dropped)),
		Paused:      s.Paused,
		OptedOut:    s.OptedOut,
		LastError:   c.health.attempt,
		InMemory:    c.health.inMemory,
		QueueError:  errors.Join(c.health.damage, c.health.queue),
	}
	for reason, n := range s.Dropped {
		out.Dropped[string(reason)] = n
	}
	if s.NextAttempt > 0 {
		out.NextAttempt = time.UnixMicro(int64(s.NextAttempt))
	}
	return out
}

func (c *Client) poke() {
	select {
	case c.wake <- struct{}{}:
	default:
	}
}

// run executes the core's commands until ctx ends; then it tells the queue what
// it does not have yet.
func (c *Client) run(ctx context.Context) {
	defer close(c.done)
	attempts := attempts{client: c, cancel: func() {}}
	timer := time.NewTimer(time.Hour)
	defer timer.Stop()
	for ctx.Err() == nil {
		c.step(ctx, &attempts)
		timer.Reset(c.pause())
		select {
		case <-c.wake:
		case <-timer.C:
		case r := <-c.reply:
			c.answered(r)
		case <-ctx.Done():
		}
	}
	attempts.end()
	c.sender.close()
	c.step(ctx, nil)
	err := c.queue.Close()
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, f := range c.flushes {
		f.done <- c.undelivered(ErrClosed)
	}
	c.flushes = nil
	if s := c.core.Stats(); s.Queued > 0 && (c.health.inMemory || !c.core.Saved(math.MaxUint64)) {
		c.closed = c.undelivered(c.health.attempt)
	}
	if err != nil {
		c.closed = errors.Join(c.closed, fmt.Errorf("causality: %w", err))
	}
}

// pause is how long nothing needs to be done.
func (c *Client) pause() time.Duration {
	c.mu.Lock()
	defer c.mu.Unlock()
	at := now()
	wait := c.core.Deadline(at) - at
	return time.Duration(min(max(wait, 0), core.Hour)) * time.Microsecond
}

// step does what is due. Without attempts it only stores.
func (c *Client) step(ctx context.Context, attempts *attempts) {
	for {
		c.mu.Lock()
		command, more := c.core.Poll(now())
		c.mu.Unlock()
		switch {
		case !more:
			c.release()
			return
		case command.Commit != nil:
			c.commit(*command.Commit)
			c.release()
		case command.Send != nil:
			if attempts == nil {
				return
			}
			if body, ok := c.body(command.Send); ok {
				attempts.begin(ctx, command.Send.Attempt, body)
			}
		case command.Cancel != 0:
			if attempts != nil {
				attempts.cancel()
			}
		case command.Rejected != nil:
			c.rejected(command.Rejected)
		default:
			c.log(slog.LevelWarn, "causality: events dropped", "reason", command.Dropped.Reason, "events", command.Dropped.Events)
		}
	}
}

func (c *Client) commit(change core.Change) {
	err := c.queue.Commit(change)
	damaged := errors.Is(err, queue.ErrDamaged)
	if damaged {
		c.replaceQueue(err)
	}
	c.mu.Lock()
	c.core.Committed(now(), err == nil)
	failing := c.health.queue != nil
	recovered := failing && err == nil && !c.health.inMemory && c.core.Saved(math.MaxUint64)
	switch {
	case damaged:
		c.core.LostAll(now())
	case err != nil:
		c.health.queue = err
	case recovered:
		c.health.queue = nil
	}
	c.mu.Unlock()
	switch {
	case damaged:
	case err != nil && !failing:
		c.log(slog.LevelError, "causality: the queue file takes no events; they wait in memory, and the newest are refused when that is full",
			"file", c.opts.QueueFile, "err", err)
	case recovered:
		c.log(slog.LevelInfo, "causality: the queue file takes events again", "file", c.opts.QueueFile)
	}
}

// replaceQueue begins a fresh file in place of a damaged one.
func (c *Client) replaceQueue(cause error) {
	setAside, err := c.queue.Reset()
	if err != nil {
		_ = c.queue.Close() // it is past use, and its failure is told
		c.queue = &queue.Memory{}
		c.useMemory(errors.Join(cause, err))
		return
	}
	c.mu.Lock()
	c.health.damage = fmt.Errorf("%w; it was moved to %s", cause, setAside)
	c.mu.Unlock()
	c.log(slog.LevelError, "causality: the queue file was found damaged; a new one was begun",
		"file", c.opts.QueueFile, "moved_to", setAside, "err", cause)
}

// body reads a batch from the queue.
func (c *Client) body(r *core.Request) ([]byte, bool) {
	last := r.Last
	if len(r.Unsaved) > 0 {
		last = r.Unsaved[0].Seq - 1
	}
	var blocks [][]byte
	if r.First <= last {
		var lost []uint64
		var err error
		blocks, lost, err = c.queue.Read(r.First, last)
		if err != nil {
			c.replaceQueue(err)
			c.mu.Lock()
			defer c.mu.Unlock()
			c.core.LostAll(now())
			return nil, false
		}
		if len(lost) > 0 {
			c.mu.Lock()
			defer c.mu.Unlock()
			c.core.Lost(now(), lost...)
			return nil, false
		}
	}
	for _, b := range r.Unsaved {
		blocks = append(blocks, b.Data)
	}
	body, ok := core.AppendBody(nil, blocks, r.Skip, r.Events, r.Trailer)
	if !ok {
		var gone []uint64
		for seq := r.First; seq <= r.Last; seq++ {
			gone = append(gone, seq)
		}
		c.mu.Lock()
		defer c.mu.Unlock()
		c.core.Lost(now(), gone...)
	}
	return body, ok
}

func (c *Client) answered(r reply) {
	c.mu.Lock()
	current := c.core.Answered(now(), r.attempt, r.response)
	before := c.health.attempt
	if current {
		c.health.attempt = r.err
	}
	stats := c.core.Stats()
	c.mu.Unlock()
	switch {
	case !current:
	case r.err != nil && (before == nil || before.Error() != r.err.Error()):
		c.log(slog.LevelWarn, "causality: events were not delivered and stay queued",
			"err", r.err, "queued", stats.Queued, "paused", stats.Paused)
	case r.err == nil && before != nil:
		c.log(slog.LevelInfo, "causality: events are delivered again")
	}
}

func (c *Client) rejected(list []core.Rejection) {
	c.log(slog.LevelWarn, "causality: the server rejected events",
		"events", len(list), "code", list[0].Code, "field", list[0].Field, "message", list[0].Message)
	if c.opts.OnReject == nil {
		return
	}
	defer func() {
		if cause := recover(); cause != nil {
			c.log(slog.LevelError, "causality: OnReject panicked", "panic", cause)
		}
	}()
	for _, r := range list {
		c.opts.OnReject(Rejection{ID: r.ID, Code: string(r.Code), Field: r.Field, Message: r.Message})
	}
}

// log is called without the lock, since a host's handler may record events.
func (c *Client) log(level slog.Level, message string, args ...any) {
	defer func() { _ = recover() }() // a handler's panic has nowhere to be told
	c.opts.Logger.Log(context.Background(), level, message, args...)
}

// release ends the flushes whose outcome is known.
func (c *Client) release() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.flushes = slices.DeleteFunc(c.flushes, func(f *flush) bool {
		switch {
		case c.core.Settled() >= f.through:
			f.done <- nil
		case f.attempt && c.core.Failed() == f.failed:
			return false
		case !c.core.Saved(f.through) && c.health.queue == nil:
			return false // the commit is on its way
		default:
			f.done <- c.undelivered(c.health.attempt)
		}
		return true
	})
}

func (c *Client) undelivered(cause error) error {
	queued := c.core.Stats().Queued
	err := fmt.Errorf("%w: %d queued", ErrUndelivered, queued)
	if cause != nil {
		err = fmt.Errorf("%w: %w", err, cause)
	}
	if c.health.queue != nil {
		err = fmt.Errorf("%w; %w", err, c.health.queue)
	}
	return err
}

// attempts runs one attempt at a time beside the run goroutine.
type attempts struct {
	client *Client
	cancel context.CancelFunc
	group  sync.WaitGroup
}

func (a *attempts) begin(ctx context.Context, attempt uint64, body []byte) {
	ctx, cancel := context.WithCancel(ctx)
	a.cancel = cancel
	a.group.Go(func() {
		defer cancel()
		response, err := a.client.sender.send(ctx, body)
		select {
		case a.client.reply <- reply{attempt, response, err}:
		case <-ctx.Done():
		}
	})
}

func (a *attempts) end() {
	a.cancel()
	a.group.Wait()
}

func now() core.Micros { return core.Micros(time.Now().UnixMicro()) }

func micros(d time.Duration) core.Micros { return core.Micros(d.Microseconds()) }
