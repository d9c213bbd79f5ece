// Package driver gives a core.Core what it lacks: a clock, a queue on disk or in
// memory, and a goroutine that stores and sends. How a body reaches the server is
// the host's business, and so are logs: this package knows no HTTP, no JSON and no
// logger, so that the clients of phones and servers share it.
//
// It is public ground for SDKs of Causality, and changes with them. To send events
// from a Go program, use the package above it.
package driver

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math"
	"math/rand/v2"
	"os"
	"slices"
	"sync"
	"time"

	"github.com/causality-project/causality/sdk/core"
	"github.com/causality-project/causality/sdk/driver/queue"
)

// Config sets a Driver up. Zero values select the stated defaults.
type Config struct {
	Core core.Config // Random is filled in when it is nil

	// QueueFile keeps unsent events across restarts and crashes; its folder is
	// created. Default: events wait in memory and end with the process.
	QueueFile string

	// Send makes one attempt to deliver a body; required. The error explains any
	// response that is not a plain 200. One call runs at a time. A call that outlives
	// its context by a second is left behind, and no other begins before it returns.
	Send func(ctx context.Context, body []byte) (core.Response, error)

	SendTimeout time.Duration // ends the context of one Send; default 30 s

	// Notify and Rejected hear what happened, one call at a time, without a lock
	// held: they may add events. They hold delivery up, and must not call Flush or
	// Close, which wait for it. A panic in them goes no further.
	Notify   func(Notice)
	Rejected func([]core.Rejection)
}

const (
	leaveBehind = time.Second     // a Send that ignores its context
	stopWait    = 5 * time.Second // for the last commit, after Close's context has ended
)

// ErrUndelivered means that events are still queued after Flush or Close. The
// error's text says why.
var ErrUndelivered = errors.New("causality: not every event was delivered")

// Driver runs one core. It is safe for concurrent use.
type Driver struct {
	cfg    Config
	stop   context.CancelFunc
	done   chan struct{} // closed when every goroutine has ended
	wake   chan struct{}
	reply  chan reply
	buffer sync.Pool

	sending chan struct{} // holds an element while Send runs

	queue blockQueue // the run goroutine's

	mu      sync.Mutex // guards what follows
	core    *core.Core
	flushes []*flush
	room    chan struct{} // closed when something has left the queue; nil unless somebody waits
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
	attempt bool
	done    chan error
}

type reply struct {
	attempt  uint64
	response core.Response
	err      error
}

// Open starts a driver. A QueueFile that cannot be used is not an error: the
// driver says so to Notify and in Stats, and keeps events in memory.
func Open(cfg Config) (*Driver, error) {
	if cfg.Send == nil {
		return nil, errors.New("causality: driver: Config.Send is required")
	}
	if cfg.SendTimeout <= 0 {
		cfg.SendTimeout = 30 * time.Second
	}
	if cfg.Core.Random == nil {
		cfg.Core.Random = rand.NewChaCha8(seed()).Uint64
	}
	d := &Driver{
		cfg:     cfg,
		done:    make(chan struct{}),
		wake:    make(chan struct{}, 1),
		reply:   make(chan reply),
		sending: make(chan struct{}, 1),
		buffer:  sync.Pool{New: func() any { return new([]byte) }},
	}
	contents := d.openQueue()
	var err error
	d.core, err = core.New(cfg.Core, contents.State, contents.Blocks)
	if err != nil {
		return nil, errors.Join(err, d.queue.Close())
	}
	if contents.SetAside != "" {
		d.core.FileLost(now())
	}
	ctx, cancel := context.WithCancel(context.Background())
	d.stop = cancel
	go d.run(ctx)
	return d, nil
}

func (d *Driver) openQueue() queue.Contents {
	d.queue = &queue.Memory{}
	if d.cfg.QueueFile == "" {
		d.health.inMemory = true
		return queue.Contents{}
	}
	file, contents, err := queue.Open(d.cfg.QueueFile)
	if err != nil {
		d.useMemory(err)
		return queue.Contents{}
	}
	d.queue = file
	if contents.SetAside != "" {
		d.health.damage = fmt.Errorf("%w; it was moved to %s", contents.Damage, contents.SetAside)
		d.notify(Notice{Kind: QueueDamaged, Err: contents.Damage, MovedTo: contents.SetAside})
	}
	return contents
}

// useMemory gives up on the queue file until the next start.
func (d *Driver) useMemory(cause error) {
	d.mu.Lock()
	d.health.inMemory = true
	d.health.queue = cause
	d.mu.Unlock()
	d.notify(Notice{Kind: QueueUnusable, Err: cause})
}

// Add queues an event. It encodes outside the lock, since that is most of the work
// and may run the host's own methods; so it does not fill in what a
// core.Config.Visitor knows, which needs Do. It returns without waiting for disk or
// network: a queue file has the event within 100 ms.
func (d *Driver) Add(e *core.Event) error {
	return d.encode(e, func(at core.Micros, encoded core.Encoded) (bool, error) {
		return d.core.Add(at, encoded)
	})
}

// AddWait is Add for hosts that would rather wait than lose an event: while the
// queue has no room it waits, until ctx ends.
func (d *Driver) AddWait(ctx context.Context, e *core.Event) error {
	return d.encode(e, func(at core.Micros, encoded core.Encoded) (bool, error) {
		for !d.closing && !d.core.HasRoom(len(encoded.Bytes())) {
			if err := d.waitForRoom(ctx); err != nil {
				d.core.CountDropped(now(), core.QueueFull, 1)
				return false, fmt.Errorf("%w; waited for room: %w", core.ErrQueueFull, err)
			}
		}
		return d.core.Add(now(), encoded)
	})
}

func (d *Driver) encode(e *core.Event, add func(core.Micros, core.Encoded) (wake bool, err error)) error {
	at := now()
	buffer := d.buffer.Get().(*[]byte)
	defer d.buffer.Put(buffer)
	encoded, err := core.Encode(*buffer, at, e, d.cfg.Core.Marshal)
	if b := encoded.Bytes(); cap(b) <= 2*core.MaxEventBytes {
		*buffer = b
	}
	d.mu.Lock()
	if err != nil {
		d.core.Refuse(at, err)
		d.mu.Unlock()
		return err
	}
	wake, err := add(at, encoded)
	d.mu.Unlock()
	if wake {
		d.poke()
	}
	return err
}

// waitForRoom lets the lock go until something has left the queue.
func (d *Driver) waitForRoom(ctx context.Context) error {
	if d.room == nil {
		d.room = make(chan struct{})
	}
	room := d.room
	d.mu.Unlock()
	defer d.mu.Lock()
	select {
	case <-room:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// madeRoom lets those that wait look again, when there is something to see.
func (d *Driver) madeRoom() {
	if d.room != nil && (d.closing || d.core.HasRoom(core.MaxEventBytes)) {
		close(d.room)
		d.room = nil
	}
}

// Do runs f with the core under the driver's lock; f must not keep the core, nor
// wait for anything. The time is now. wake tells the driver to poll.
func (d *Driver) Do(f func(c *core.Core, now core.Micros) (wake bool, err error)) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	wake, err := f(d.core, now())
	if wake {
		d.poke()
	}
	return err
}

// Flush stores and sends every event added before the call. It returns nil when
// the server has answered for all of them. When an attempt fails it does not wait
// for the next one: the error is then ErrUndelivered with the cause, and the events
// stay queued (in a QueueFile: on disk, unless the error says otherwise).
func (d *Driver) Flush(ctx context.Context) error {
	d.mu.Lock()
	if d.closing {
		d.mu.Unlock()
		return core.ErrClosed
	}
	f := d.flush()
	d.mu.Unlock()
	return d.wait(ctx, f)
}

func (d *Driver) flush() *flush {
	f := &flush{done: make(chan error, 1)}
	f.through, f.attempt = d.core.Flush(now())
	d.flushes = append(d.flushes, f)
	d.poke()
	return f
}

func (d *Driver) wait(ctx context.Context, f *flush) error {
	select {
	case err := <-f.done:
		return err
	case <-ctx.Done():
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	if i := slices.Index(d.flushes, f); i >= 0 {
		d.flushes = slices.Delete(d.flushes, i, i+1)
	}
	return d.undelivered(context.Cause(ctx))
}

// Close refuses further events, tries to send what is queued until an attempt
// fails or ctx ends, and ends every goroutine. It may be called again, and then
// waits for the same outcome.
//
// The error is ErrUndelivered when events end with the process. Events that are in
// the QueueFile are not lost, and so no error: the next driver sends them.
func (d *Driver) Close(ctx context.Context) error {
	d.mu.Lock()
	if d.closing {
		d.mu.Unlock()
		select {
		case <-d.done:
			return d.closed
		case <-ctx.Done():
			return fmt.Errorf("causality: close: %w", context.Cause(ctx))
		}
	}
	d.closing = true
	d.core.Close()
	d.madeRoom()
	f := d.flush()
	d.mu.Unlock()
	_ = d.wait(ctx, f)
	d.stop()
	late := time.NewTimer(stopWait)
	defer late.Stop()
	select {
	case <-d.done:
		return d.closed
	case <-late.C:
		return fmt.Errorf("causality: close: a callback or the disk holds the client up, for %s by now", stopWait)
	}
}

// OptOut clears the queue and ignores events until OptIn, across restarts when
// there is a QueueFile.
func (d *Driver) OptOut() {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.core.OptOut()
	d.poke()
}

// OptIn ends OptOut.
func (d *Driver) OptIn() {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.core.OptIn()
	d.poke()
}

// Stats is what became of the events since Open.
type Stats struct {
	core.Stats
	FailedAttempts uint64 // since Open
	LastError      error  // of the last attempt; nil after a success
	InMemory       bool   // events end with the process
	QueueError     error  // why a QueueFile is not used, was begun anew, or takes no events
}

// Stats reports what became of the events.
func (d *Driver) Stats() Stats {
	d.mu.Lock()
	defer d.mu.Unlock()
	return Stats{
		Stats:          d.core.Stats(),
		FailedAttempts: d.core.Failed(),
		LastError:      d.health.attempt,
		InMemory:       d.health.inMemory,
		QueueError:     errors.Join(d.health.damage, d.health.queue),
	}
}

func (d *Driver) poke() {
	select {
	case d.wake <- struct{}{}:
	default:
	}
}

// run executes the core's commands until ctx ends; then it tells the queue what
// it does not have yet.
func (d *Driver) run(ctx context.Context) {
	defer close(d.done)
	attempts := attempts{driver: d, cancel: func() {}}
	timer := time.NewTimer(time.Hour)
	defer timer.Stop()
	for ctx.Err() == nil {
		d.step(ctx, &attempts)
		timer.Reset(d.pause())
		select {
		case <-d.wake:
		case <-timer.C:
		case r := <-d.reply:
			d.answered(r)
		case <-ctx.Done():
		}
	}
	attempts.end()
	d.step(ctx, nil)
	err := d.queue.Close()
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, f := range d.flushes {
		f.done <- d.undelivered(core.ErrClosed)
	}
	d.flushes = nil
	if s := d.core.Stats(); s.Queued > 0 && (d.health.inMemory || !d.core.Saved(math.MaxUint64)) {
		d.closed = d.undelivered(d.health.attempt)
	}
	if err != nil {
		d.closed = errors.Join(d.closed, fmt.Errorf("causality: %w", err))
	}
}

// pause is how long nothing needs to be done.
func (d *Driver) pause() time.Duration {
	d.mu.Lock()
	defer d.mu.Unlock()
	at := now()
	wait := d.core.Deadline(at) - at
	return time.Duration(min(max(wait, 0), core.Hour)) * time.Microsecond
}

// step does what is due. Without attempts it only stores.
func (d *Driver) step(ctx context.Context, attempts *attempts) {
	for {
		d.mu.Lock()
		command, more := d.core.Poll(now())
		d.mu.Unlock()
		switch {
		case !more:
			d.release()
			return
		case command.Commit != nil:
			d.commit(*command.Commit)
			d.release()
		case command.Send != nil:
			if attempts == nil {
				return
			}
			if body, ok := d.body(command.Send); ok {
				attempts.begin(ctx, command.Send.Attempt, body)
			}
		case command.Cancel != 0:
			if attempts != nil {
				attempts.cancel()
			}
		case command.Rejected != nil:
			d.rejected(command.Rejected)
		default:
			d.notify(Notice{Kind: Dropped, Reason: command.Dropped.Reason, Events: command.Dropped.Events})
		}
	}
}

func (d *Driver) commit(change core.Change) {
	err := d.queue.Commit(change)
	damaged := errors.Is(err, queue.ErrDamaged)
	if damaged {
		d.replaceQueue(err)
	}
	d.mu.Lock()
	d.core.Committed(now(), err == nil)
	failing := d.health.queue != nil
	recovered := failing && err == nil && !d.health.inMemory && d.core.Saved(math.MaxUint64)
	switch {
	case damaged:
		d.core.LostAll(now())
	case err != nil:
		d.health.queue = err
	case recovered:
		d.health.queue = nil
	}
	d.mu.Unlock()
	switch {
	case damaged:
	case err != nil && !failing:
		d.notify(Notice{Kind: QueueFailing, Err: err})
	case recovered:
		d.notify(Notice{Kind: QueueRecovered})
	}
}

// replaceQueue begins a fresh file in place of a damaged one.
func (d *Driver) replaceQueue(cause error) {
	setAside, err := d.queue.Reset()
	if err != nil {
		_ = d.queue.Close() // it is past use, and its failure is told
		d.queue = &queue.Memory{}
		d.useMemory(errors.Join(cause, err))
		return
	}
	d.mu.Lock()
	d.health.damage = fmt.Errorf("%w; it was moved to %s", cause, setAside)
	d.mu.Unlock()
	d.notify(Notice{Kind: QueueDamaged, Err: cause, MovedTo: setAside})
}

// body reads a batch from the queue.
func (d *Driver) body(r *core.Request) ([]byte, bool) {
	last := r.Last
	if len(r.Unsaved) > 0 {
		last = r.Unsaved[0].Seq - 1
	}
	var blocks [][]byte
	if r.First <= last {
		var lost []uint64
		var err error
		blocks, lost, err = d.queue.Read(r.First, last)
		if err != nil {
			d.replaceQueue(err)
			d.mu.Lock()
			defer d.mu.Unlock()
			d.core.LostAll(now())
			return nil, false
		}
		if len(lost) > 0 {
			d.mu.Lock()
			defer d.mu.Unlock()
			d.core.Lost(now(), lost...)
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
		d.mu.Lock()
		defer d.mu.Unlock()
		d.core.Lost(now(), gone...)
	}
	return body, ok
}

func (d *Driver) answered(r reply) {
	d.mu.Lock()
	before, attempts, failed := d.core.Stats(), d.core.Failed(), d.health.attempt
	current := d.core.Answered(now(), r.attempt, r.response)
	kept := d.core.Failed() > attempts
	if kept && r.err == nil {
		r.err = errors.New("the answer is not one to these events")
	}
	if current {
		d.health.attempt = r.err
	}
	after := d.core.Stats()
	d.mu.Unlock()
	switch {
	case !current:
	case !kept && r.err != nil:
		d.notify(Notice{Kind: Refused, Err: r.err})
	case r.err != nil:
		d.notify(Notice{
			Kind: Undelivered, Err: r.err, Events: after.Queued, Paused: after.Paused,
			Changed: failed == nil || failed.Error() != r.err.Error(),
		})
	default:
		d.notify(Notice{Kind: Delivered, Events: int(after.Sent - before.Sent), Changed: failed != nil})
	}
}

func (d *Driver) rejected(list []core.Rejection) {
	if d.cfg.Rejected == nil {
		return
	}
	defer func() {
		if cause := recover(); cause != nil {
			d.notify(Notice{Kind: CallbackPanicked, Err: fmt.Errorf("%v", cause)})
		}
	}()
	d.cfg.Rejected(list)
}

// notify is called without the lock, since a host may record events then.
func (d *Driver) notify(n Notice) {
	if d.cfg.Notify == nil {
		return
	}
	defer func() { _ = recover() }() // there is nobody left to tell
	d.cfg.Notify(n)
}

// release ends the flushes whose outcome is known.
func (d *Driver) release() {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.madeRoom()
	d.flushes = slices.DeleteFunc(d.flushes, func(f *flush) bool {
		switch {
		case d.core.Settled() >= f.through:
			f.done <- nil
		case f.attempt && d.core.Flushing(f.through):
			return false
		case !d.core.Saved(f.through) && d.health.queue == nil:
			return false // the commit is on its way
		default:
			f.done <- d.undelivered(d.health.attempt)
		}
		return true
	})
}

func (d *Driver) undelivered(cause error) error {
	queued := d.core.Stats().Queued
	err := fmt.Errorf("%w: %d queued", ErrUndelivered, queued)
	if cause != nil {
		err = fmt.Errorf("%w: %w", err, cause)
	}
	if d.health.queue != nil {
		err = fmt.Errorf("%w; %w", err, d.health.queue)
	}
	return err
}

// attempts runs one attempt at a time beside the run goroutine.
type attempts struct {
	driver *Driver
	cancel context.CancelFunc
	group  sync.WaitGroup
}

func (a *attempts) begin(ctx context.Context, attempt uint64, body []byte) {
	trying, cancel := context.WithTimeout(ctx, a.driver.cfg.SendTimeout)
	a.cancel = cancel
	a.group.Go(func() {
		defer cancel()
		r := a.driver.try(trying, body)
		r.attempt = attempt
		select {
		case a.driver.reply <- r:
		case <-ctx.Done():
		}
	})
}

func (a *attempts) end() {
	a.cancel()
	a.group.Wait()
}

// try calls Send and waits for it little longer than ctx lives. What it leaves
// behind then is a goroutine of the host's making, of which there is one at most.
func (d *Driver) try(ctx context.Context, body []byte) reply {
	select {
	case d.sending <- struct{}{}:
	case <-ctx.Done():
		return reply{err: errors.New("an earlier request has still not returned, although its time is over")}
	}
	answer := make(chan reply, 1)
	go func() {
		r := reply{err: errors.New("the transport ended its goroutine")}
		defer func() {
			if cause := recover(); cause != nil {
				r = reply{err: fmt.Errorf("the transport panicked: %v", cause)}
			}
			<-d.sending
			answer <- r
		}()
		r.response, r.err = d.cfg.Send(ctx, body)
	}()
	select {
	case r := <-answer:
		return r
	case <-ctx.Done():
	}
	late := time.NewTimer(leaveBehind)
	defer late.Stop()
	select {
	case r := <-answer:
		return r
	case <-late.C:
		return reply{err: fmt.Errorf("the transport does not return, although its time is over: %w", context.Cause(ctx))}
	}
}

// seed is unpredictable without crypto/rand, which would make the phones' library
// 65 KB larger (gzip). The runtime's generator is seeded by the system once for each
// program that was started, but Android forks every app from one: hence the device.
func seed() (out [32]byte) {
	var device [32]byte
	if f, err := os.Open("/dev/urandom"); err == nil {
		_, _ = io.ReadFull(f, device[:])
		_ = f.Close()
	}
	for i := 0; i < len(out); i += 8 {
		binary.LittleEndian.PutUint64(out[i:], rand.Uint64()^binary.LittleEndian.Uint64(device[i:]))
	}
	return out
}

func now() core.Micros { return core.Micros(time.Now().UnixMicro()) }
