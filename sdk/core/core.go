// Package core is the client that every SDK shares: how an event becomes bytes,
// how events are batched, when they are sent, when one may be dropped, and, on
// devices, whose they are and in which session.
//
// It does no I/O and knows no clock. The time comes with each call; what must be
// done comes out of Poll as commands (commit this to the queue, send that), whose
// outcome the driver reports; Deadline says when to poll next. So one simulation
// covers phones, browsers and servers, and the package compiles to WebAssembly
// without fmt, reflect or a protobuf runtime.
//
// A Core is not safe for concurrent use: its driver holds a lock around each call.
package core

import "errors"

// Config sets a Core up. Zero values select the stated defaults.
type Config struct {
	FlushAt     int           // events that are waiting before a batch is sent; default 100
	FlushEvery  Micros        // longest wait of an event while online; default 10 s
	MaxAge      Micros        // older events are dropped; default 7 days
	QueueBytes  int           // above it the oldest are dropped; default 64 MiB, at least 2 MiB
	QueueEvents int           // likewise; default 200,000, at least 4,000
	BufferBytes int           // waiting for the queue to take them; above it Add refuses; default 4 MiB
	Library     Library       // names the SDK in each request
	Marshal     Marshal       // for property values of other types; default refuses them
	Random      func() uint64 // required; from a cryptographic source, since ids are made of it

	// Shared says that others write to the queue too, as several tabs do to one
	// IndexedDB. The queue then numbers the blocks itself, ever rising, and the core
	// appends its own without a number and forgets them once they are committed.
	// Only the one that Lead names sends, evicts, deletes and saves State, and what
	// it knows of the queue comes from Lead and Stored.
	Shared bool

	// Visitor, if set, completes the events of Track with who uses the device, kept
	// in State. Not with Shared: tabs have their visitor beside the queue.
	Visitor *VisitorConfig
}

var (
	// ErrClosed is returned for events after Close.
	ErrClosed = errors.New("causality: the client is closed")
	// ErrQueueFull is returned for an event that was not kept, because events come
	// faster than the queue takes them or its disk is full. It is counted as
	// QueueFull.
	ErrQueueFull = errors.New("causality: the queue is full; the event was not kept")
)

// Block is a run of events that is stored together.
type Block struct {
	Seq    uint64 // its place in the queue; 0 in an append to a shared one, which gives it
	At     Micros // when its first event was added
	Events int
	Data   []byte // frames
}

// BlockInfo describes a stored block.
type BlockInfo struct {
	Seq    uint64
	At     Micros
	Events int
	Bytes  int
}

// Range is the blocks from First to Last, both included.
type Range struct{ First, Last uint64 }

// Change is made in the queue as a whole or not at all.
type Change struct {
	Append []Block
	Delete []Range
	State  []byte // replaces the saved state; nil leaves it, as all but the leader of a shared queue do
}

// Request is one attempt to send a batch. Its body is AppendBody of the blocks
// First to Last, of which those in Unsaved, the last ones, are not in the queue.
type Request struct {
	Attempt     uint64
	First, Last uint64
	Unsaved     []Block
	Skip        int // events at the front of the first block that are settled
	Events      int
	Trailer     []byte
}

// Response is the end of an attempt.
type Response struct {
	Status     int    // HTTP; 0 when there was no answer
	RetryAfter Micros // 0 when the server named none
	Body       []byte // of a 200
}

// Command is something for the driver to do: the one field that is set.
type Command struct {
	Commit   *Change     // then report Committed
	Send     *Request    // then report Answered, or Lost
	Cancel   uint64      // the attempt whose answer no longer matters
	Dropped  Drop        // tell the host
	Rejected []Rejection // tell the host
}

// Drop is a number of events that were given up.
type Drop struct {
	Reason Reason
	Events int
}

// Stats is what became of the events.
type Stats struct {
	Queued      int // not yet acknowledged
	QueuedBytes int
	Sent        uint64 // acknowledged and not rejected
	Dropped     map[Reason]uint64
	Failures    int    // attempts that failed in a row
	NextAttempt Micros // 0 when nothing delays the next
	Paused      bool   // the server refuses the key
	OptedOut    bool
}

type block struct {
	seq           uint64
	at            Micros
	events, bytes int
}

// batch is the front of the queue, frozen under an id until the server has
// answered for it.
type batch struct {
	id     string
	events int
	blocks int // that it touches
}

// Core is the state of one client.
type Core struct {
	cfg     Config
	ids     ids
	visitor *Visitor // nil without Config.Visitor

	// The block that events are added to.
	open       []byte
	openEvents int
	openAt     Micros
	scratch    []byte

	// The queue, oldest first. The first done events of the first block are settled.
	blocks       []block
	done         int
	queuedEvents int
	queuedBytes  int
	nextSeq      uint64 // of the next block sealed here

	// A shared queue.
	leading bool
	last    uint64   // the highest number seen
	skipped []uint64 // lower ones that may yet be reported
	await   uint64   // flushes are over once this block is settled
	awaitMy bool     // … and what is unsaved here

	// What the queue has yet to be told.
	unsaved      []Block // the last of blocks, or in none yet that a shared queue has
	unsavedBytes int
	deletes      []Range
	stateDirty   bool
	countsSince  Micros // 0 when the saved counts are right
	commitAt     Micros // not before
	commitFailed bool
	committing   struct{ appends, bytes, deletes int }

	// Delivery.
	batch      batch
	attempt    uint64
	inFlight   bool
	failures   int
	failed     uint64 // attempts that failed, ever
	next       Micros // the next attempt, unless a flush asks for one earlier …
	floor      Micros // … but never before this, which the server named
	paused     bool
	limit      int    // events of the next batch; halved by a split, doubled by success
	flushTo    uint64 // send at once through this block
	asked      bool   // for a flush, since the attempt in flight began
	closed     bool
	optedOut   bool
	chosen     bool   // by OptOut or OptIn here, which outweighs what a shared queue's state says
	clearTo    uint64 // OptOut was called when this was the last block; 0 once it is cleared
	notices    []Command
	sent       uint64
	dropped    map[Reason]uint64
	unreported [len(reported)]uint64
	reporting  [len(reported)]uint64 // part of unreported that is in flight
	saved      [len(reported)]uint64 // unreported, as last handed to the queue
}

// New continues from what a queue holds: its blocks in order and its saved state,
// both empty for a fresh one. Of a shared queue it takes only whether the state
// says that the person opted out; Lead brings the rest.
func New(cfg Config, state []byte, stored []BlockInfo) (*Core, error) {
	if cfg.Random == nil {
		return nil, errors.New("causality: core: Config.Random is required")
	}
	if cfg.Shared && cfg.Visitor != nil {
		return nil, errors.New("causality: core: Config.Visitor cannot be had with Config.Shared")
	}
	cfg.FlushAt = orDefault(cfg.FlushAt, 100, 1)
	cfg.FlushEvery = orDefault(cfg.FlushEvery, 10*Second, Millisecond)
	cfg.MaxAge = orDefault(cfg.MaxAge, 7*Day, Second)
	cfg.QueueBytes = orDefault(cfg.QueueBytes, 64<<20, 2<<20)
	cfg.QueueEvents = orDefault(cfg.QueueEvents, 200_000, 2*MaxEvents)
	cfg.BufferBytes = orDefault(cfg.BufferBytes, 4<<20, maxBlockBytes)
	c := &Core{
		cfg:     cfg,
		ids:     ids{random: cfg.Random},
		nextSeq: 1,
		limit:   MaxEvents,
		dropped: make(map[Reason]uint64),
	}
	if cfg.Shared {
		c.nextSeq = 2 // so that every flush has a number to wait for, and 0 says not yet
		c.decodeState(state)
		c.Follow()
		return c, nil
	}
	c.load(state, stored)
	c.nextSeq = c.last + 1
	return c, nil
}

// load takes over what a queue holds.
func (c *Core) load(state []byte, stored []BlockInfo) {
	for _, b := range stored {
		c.take(b)
	}
	visitor := c.decodeState(state)
	if c.cfg.Visitor != nil {
		cfg := *c.cfg.Visitor
		if cfg.Random == nil {
			cfg.Random = c.cfg.Random
		}
		c.visitor = NewVisitor(cfg, visitor)
	}
}

// take adds a stored block at the end, unless its description is impossible.
func (c *Core) take(b BlockInfo) {
	if b.Events < 1 || b.Bytes < 1 || b.Seq <= c.last {
		c.count(Damaged, max(b.Events, 1))
		c.deletes = append(c.deletes, Range{b.Seq, b.Seq})
		return
	}
	c.append(b)
	c.last = b.Seq
}

func (c *Core) append(b BlockInfo) {
	c.blocks = append(c.blocks, block{b.Seq, b.At, b.Events, b.Bytes})
	c.queuedEvents += b.Events
	c.queuedBytes += b.Bytes
}

func orDefault[T int | Micros](v, standard, least T) T {
	if v == 0 {
		return standard
	}
	return max(v, least)
}

// Track encodes and adds e, completed by the visitor.
func (c *Core) Track(now Micros, e *Event) (wake bool, err error) {
	if c.visitor != nil && !c.optedOut && !c.closed {
		filled := *e
		c.visitor.Fill(now, &filled)
		e = &filled
	}
	encoded, err := Encode(c.scratch, now, e, c.cfg.Marshal)
	c.scratch = encoded.Bytes()
	if cap(c.scratch) > 2*MaxEventBytes {
		c.scratch = nil
	}
	if err != nil {
		c.Refuse(now, err)
		return false, err
	}
	return c.Add(now, encoded)
}

// Refuse counts an event that Encode refused.
func (c *Core) Refuse(now Micros, err error) { c.CountDropped(now, ReasonOf(err), 1) }

// ReasonOf is why an event that Encode refused is counted as dropped.
func ReasonOf(err error) Reason {
	if e, ok := err.(*InvalidError); ok {
		return e.Reason
	}
	return Invalid
}

// CountDropped counts events that the host gave up before the core had them.
func (c *Core) CountDropped(now Micros, reason Reason, n int) {
	c.count(reason, n)
	c.countsChanged(now)
}

// Add queues an event, copying it. wake tells the driver to poll, since Deadline
// has moved forward. After OptOut it does nothing.
func (c *Core) Add(now Micros, e Encoded) (wake bool, err error) {
	switch {
	case c.closed:
		return false, ErrClosed
	case c.optedOut:
		c.count(OptedOut, 1)
		return false, nil
	case c.unsavedBytes+len(c.open)+len(e.bytes)+frameRoom > c.cfg.BufferBytes:
		c.count(QueueFull, 1)
		c.countsChanged(now)
		return false, ErrQueueFull
	}
	if !e.hasID {
		var id [36]byte
		c.ids.next(&id, now)
		e.setID(&id)
	}
	if c.openEvents == 0 {
		c.openAt = now
		wake = true
	}
	c.open = appendVarint(append(c.open, frameTag), uint64(len(e.bytes)))
	c.open = append(c.open, e.bytes...)
	c.openEvents++
	if len(c.open) >= maxBlockBytes {
		c.seal()
		return true, nil
	}
	return wake || c.queuedEvents+c.openEvents == c.cfg.FlushAt, nil
}

// HasRoom reports whether an event of an encoded size can be added without being
// refused for the queue's sake, and without an older one being dropped for it.
func (c *Core) HasRoom(size int) bool {
	size += frameRoom
	return c.unsavedBytes+len(c.open)+size <= c.cfg.BufferBytes &&
		c.queuedBytes+len(c.open)+size <= c.cfg.QueueBytes &&
		c.queuedEvents+c.openEvents < c.cfg.QueueEvents
}

// Flush asks for everything added so far to be stored and sent now, whatever the
// backoff says. The flush is over when Settled reaches through, or failed when
// Flushing ends before. An attempt that was under way and fails does not end it: the
// network may be back since. attempt is false when the server has asked for silence until
// later, or after OptOut: then events are stored only. (With nothing to send it is
// true.) With a shared queue that another leads the flush is over when the queue has
// the events.
func (c *Core) Flush(now Micros) (through uint64, attempt bool) {
	c.seal()
	through = c.nextSeq - 1
	if c.optedOut || now < c.floor {
		return through, c.Settled() >= through
	}
	c.flushTo, c.asked = through, c.inFlight
	if c.cfg.Shared {
		c.flushTo, c.await = c.last, c.last
		c.awaitMy = c.leading && len(c.unsaved) > 0
	}
	return through, true
}

// Close refuses events from now on. What is queued stays queued; Poll goes on.
func (c *Core) Close() {
	c.closed = true
	c.seal()
}

// OptOut clears the queue and ignores events until OptIn, across restarts. The
// visitor is forgotten; who comes after OptIn is somebody new. Every client of a
// shared queue must be told; its leader clears it.
func (c *Core) OptOut() {
	c.chosen = true
	if !c.optedOut {
		c.seal()
		c.optedOut, c.stateDirty = true, true
		c.clearTo = c.nextSeq - 1
		if c.visitor != nil {
			c.visitor.forget()
		}
	}
}

// OptIn ends OptOut.
func (c *Core) OptIn() {
	c.chosen = true
	if c.optedOut {
		c.optedOut, c.stateDirty = false, true
	}
}

// Settled is the last block before which, itself included, every event is
// acknowledged or dropped.
func (c *Core) Settled() uint64 {
	if c.cfg.Shared {
		return c.settledShared()
	}
	if len(c.blocks) > 0 {
		return c.blocks[0].seq - 1
	}
	return c.nextSeq - 1
}

// Visitor is who uses the device; nil without Config.Visitor. After a call that
// changes it the driver polls.
func (c *Core) Visitor() *Visitor { return c.visitor }

// Saved reports whether the queue has everything up to a block.
func (c *Core) Saved(through uint64) bool {
	return len(c.unsaved) == 0 || c.unsaved[0].Seq > through
}

// Flushing reports whether a Flush that reached through still has an attempt under
// way or to come.
func (c *Core) Flushing(through uint64) bool { return c.flushTo >= through }

// Failed counts the attempts that did not settle their batch.
func (c *Core) Failed() uint64 { return c.failed }

// Stats reports what became of the events.
func (c *Core) Stats() Stats {
	s := Stats{
		Queued:      c.queuedEvents + c.openEvents,
		QueuedBytes: c.queuedBytes + len(c.open),
		Sent:        c.sent,
		Dropped:     make(map[Reason]uint64, len(c.dropped)),
		Failures:    c.failures,
		NextAttempt: max(c.next, c.floor),
		Paused:      c.paused,
		OptedOut:    c.optedOut,
	}
	if c.cfg.Shared {
		for _, b := range c.unsaved {
			s.Queued += b.Events
		}
		s.QueuedBytes += c.unsavedBytes
	}
	for reason, n := range c.dropped {
		s.Dropped[reason] = n
	}
	return s
}

// Poll gives the next thing to do at a time; the driver calls it until it answers
// false. Between a Commit and its report neither it nor Answered, Lost or LostAll
// may be called.
func (c *Core) Poll(now Micros) (Command, bool) {
	c.limitWaits(now)
	if c.clearTo > 0 || c.optedOut && len(c.blocks) > 0 {
		c.clear()
	}
	if c.openEvents > 0 && now >= c.sealAt(now) {
		c.seal()
	}
	c.evict(now)
	if len(c.notices) > 0 {
		notice := c.notices[0]
		c.notices = c.notices[1:]
		return notice, true
	}
	send := now >= c.sendAt(now)
	if send && c.batch.events == 0 {
		c.freeze(now)
	}
	if now >= c.saveAt(now) {
		return c.commit(), true
	}
	if send {
		return c.send(now), true
	}
	return Command{}, false
}

// Deadline is when Poll next has something to do if nothing else happens before.
func (c *Core) Deadline(now Micros) Micros {
	at := min(c.sealAt(now), c.saveAt(now), c.sendAt(now))
	if i := c.evictable(); i < len(c.blocks) && c.blocks[i].at < Never-c.cfg.MaxAge {
		at = min(at, c.blocks[i].at+c.cfg.MaxAge+1)
	}
	return at
}

// sealAt is when the open block is handed over. A time in the future means that
// the clock was set back: then at once.
func (c *Core) sealAt(now Micros) Micros {
	switch {
	case c.openEvents == 0:
		return Never
	case c.openAt > now:
		return now
	case c.queuedEvents+c.openEvents >= c.cfg.FlushAt && !c.inFlight && now >= max(c.next, c.floor):
		return now // a full batch waits for nothing
	}
	return c.openAt + commitWithin
}

// saveAt is when the queue is told what has changed.
func (c *Core) saveAt(now Micros) Micros {
	at := Never
	switch {
	case len(c.unsaved) > 0:
		at = now
	case c.cfg.Shared && !c.leading: // nothing else is its to write
	case len(c.deletes) > 0 || c.stateDirty:
		at = now
	case c.countsSince > 0:
		at = min(c.countsSince, now) + countsWithin
	}
	if c.visitor != nil && c.visitor.Changed() && !c.optedOut {
		at = min(at, min(c.visitor.changed, now)+commitWithin)
	}
	return max(at, c.commitAt)
}

// sendAt is when the next attempt is due.
func (c *Core) sendAt(now Micros) Micros {
	if c.inFlight || c.optedOut || len(c.blocks) == 0 {
		return Never
	}
	if c.flushTo >= c.blocks[0].seq {
		return max(now, c.floor)
	}
	due := now // a batch to repeat, a full one, what a split has left, or a clock set back
	oldest := c.blocks[0].at
	if c.batch.events == 0 && c.queuedEvents < c.cfg.FlushAt && c.limit == MaxEvents && oldest <= now {
		due = oldest + c.cfg.FlushEvery
	}
	return max(due, c.next, c.floor)
}

// limitWaits keeps a clock that was set back from making a wait endless.
func (c *Core) limitWaits(now Micros) {
	c.next = min(c.next, now+pauseProbe)
	c.floor = min(c.floor, now+maxRetryAfter)
	c.commitAt = min(c.commitAt, now+commitRetry)
}

func (c *Core) seal() {
	if c.openEvents == 0 {
		return
	}
	data := append([]byte(nil), c.open...)
	c.unsaved = append(c.unsaved, Block{c.nextSeq, c.openAt, c.openEvents, data})
	c.unsavedBytes += len(data)
	if !c.cfg.Shared {
		c.append(BlockInfo{c.nextSeq, c.openAt, c.openEvents, len(data)})
	}
	c.nextSeq++
	c.open, c.openEvents = c.open[:0], 0
}

// evictable is the oldest block that no attempt is carrying.
func (c *Core) evictable() int {
	if c.inFlight {
		return c.batch.blocks
	}
	return 0
}

func (c *Core) evict(now Micros) {
	oldest := c.evictable()
	for oldest < len(c.blocks) && now-c.blocks[oldest].at > c.cfg.MaxAge {
		c.drop(oldest, Expired, now)
	}
	for oldest < len(c.blocks) && (c.queuedBytes > c.cfg.QueueBytes || c.queuedEvents > c.cfg.QueueEvents) {
		c.drop(oldest, Overflow, now)
	}
}

// drop gives a block up. A frozen batch that loses events is no longer the same
// batch: what is left of it will travel under a new id.
func (c *Core) drop(i int, reason Reason, now Micros) {
	n := c.blocks[i].events
	if i == 0 {
		n -= c.done
	}
	if i < c.batch.blocks {
		c.batch = batch{}
		c.stateDirty = true
	}
	c.forget(i)
	c.count(reason, n)
	c.notify(reason, n)
	c.countsChanged(now)
}

// find gives the place of a block in the queue, -1 when it is not there.
func (c *Core) find(seq uint64) int {
	for i := range c.blocks {
		if c.blocks[i].seq == seq {
			return i
		}
	}
	return -1
}

// forget removes a block from the queue.
func (c *Core) forget(i int) {
	b := c.blocks[i]
	c.queuedEvents -= b.events
	c.queuedBytes -= b.bytes
	if i == 0 {
		c.queuedEvents += c.done
		c.done = 0
		c.blocks = c.blocks[1:]
	} else {
		c.blocks = append(c.blocks[:i], c.blocks[i+1:]...)
	}
	if len(c.unsaved) > 0 && !c.cfg.Shared && b.seq >= c.unsaved[0].Seq {
		j := 0
		for c.unsaved[j].Seq != b.seq {
			j++
		}
		last := len(c.unsaved) - 1
		copy(c.unsaved[j:], c.unsaved[j+1:])
		c.unsaved[last] = Block{} // lets go of its data
		c.unsaved = c.unsaved[:last]
		c.unsavedBytes -= b.bytes
		return
	}
	if n := len(c.deletes); n > 0 && c.deletes[n-1].Last+1 == b.seq {
		c.deletes[n-1].Last = b.seq
		return
	}
	c.deletes = append(c.deletes, Range{b.seq, b.seq})
}

// settle removes events from the front of the queue.
func (c *Core) settle(events int) {
	for events > 0 && len(c.blocks) > 0 {
		left := c.blocks[0].events - c.done
		if events < left {
			c.done += events
			c.queuedEvents -= events
			break
		}
		events -= left
		c.forget(0)
	}
	c.batch = batch{}
	c.stateDirty, c.commitAt = true, 0 // what is deleted may be the room that was missing
}

// clear drops what was queued when OptOut was called, and what somebody who had not
// heard of it has added since.
func (c *Core) clear() {
	if c.inFlight {
		c.notices = append(c.notices, Command{Cancel: c.attempt})
		c.inFlight = false
	}
	n := c.queuedEvents
	for len(c.blocks) > 0 && (c.optedOut || c.cfg.Shared || c.blocks[0].seq <= c.clearTo) {
		c.forget(0)
	}
	n -= c.queuedEvents
	for c.cfg.Shared && len(c.unsaved) > 0 && c.unsaved[0].Seq <= c.clearTo {
		n += c.unsaved[0].Events
		c.unsavedBytes -= len(c.unsaved[0].Data)
		c.unsaved = c.unsaved[1:]
	}
	c.batch, c.clearTo, c.stateDirty = batch{}, 0, true
	if n > 0 {
		c.count(OptedOut, n)
		c.notify(OptedOut, n)
	}
}

func (c *Core) count(reason Reason, n int) {
	c.dropped[reason] += uint64(n)
	for i := range reported {
		if reported[i] == reason {
			c.unreported[i] += uint64(n)
		}
	}
}

func (c *Core) countsChanged(now Micros) {
	if c.countsSince == 0 {
		c.countsSince = max(now, 1)
	}
}

// notify joins drops of one reason, which come by the block.
func (c *Core) notify(reason Reason, n int) {
	if last := len(c.notices) - 1; last >= 0 && c.notices[last].Dropped.Reason == reason {
		c.notices[last].Dropped.Events += n
		return
	}
	c.notices = append(c.notices, Command{Dropped: Drop{reason, n}})
}

func (c *Core) commit() Command {
	appends := c.unsaved
	if c.commitFailed && len(c.deletes) > 0 {
		appends = nil // a full disk has room for these once the deletes are made
	}
	change := &Change{Append: appends[:len(appends):len(appends)], Delete: c.deletes[:len(c.deletes):len(c.deletes)]}
	if c.cfg.Shared {
		change.Append = append([]Block(nil), appends...)
		for i := range change.Append {
			change.Append[i].Seq = 0
		}
	}
	if c.leading || !c.cfg.Shared {
		change.State = c.encodeState()
		c.saved = c.unreported
	}
	c.committing.appends, c.committing.bytes = 0, 0
	if len(appends) > 0 {
		c.committing.appends, c.committing.bytes = len(appends), c.unsavedBytes
	}
	c.committing.deletes = len(c.deletes)
	c.stateDirty, c.countsSince = false, 0
	return Command{Commit: change}
}

// Committed reports the end of a Commit. After a failure it is asked for again in
// a second; meanwhile events are sent from memory.
func (c *Core) Committed(now Micros, ok bool) {
	done := c.committing
	c.committing.appends, c.committing.bytes, c.committing.deletes = 0, 0, 0
	c.commitFailed = !ok
	if !ok {
		c.stateDirty = true
		c.commitAt = now + commitRetry
		return
	}
	c.commitAt = 0
	clear(c.unsaved[:done.appends])
	c.unsaved = c.unsaved[done.appends:]
	c.unsavedBytes -= done.bytes
	c.deletes = c.deletes[done.deletes:]
}

// freeze takes whole blocks from the front up to the size of a request, or as
// many events as the last split allows.
func (c *Core) freeze(now Micros) {
	events, size, blocks := 0, 0, 0
	for i, b := range c.blocks {
		n := b.events
		if i == 0 {
			n -= c.done
		}
		if i > 0 && (size+b.bytes > maxBodyBytes || events+n > MaxEvents) {
			break
		}
		if i > 0 && c.cfg.Shared && b.seq != c.blocks[i-1].seq+1 {
			break // a block between them may yet be reported, and a batch is a range
		}
		events, size, blocks = events+n, size+b.bytes, i+1
		if events >= c.limit {
			events = c.limit
			break
		}
	}
	var id [36]byte
	c.ids.next(&id, now)
	c.batch = batch{string(id[:]), events, blocks}
	c.stateDirty = true
}

// blocksOf is how many blocks the first events of the queue lie in.
func (c *Core) blocksOf(events int) int {
	events += c.done
	n := 0
	for events > 0 && n < len(c.blocks) {
		events -= c.blocks[n].events
		n++
	}
	return n
}

func (c *Core) send(now Micros) Command {
	c.attempt++
	c.inFlight, c.asked = true, false
	c.reporting = c.unreported
	first, last := c.blocks[0].seq, c.blocks[c.batch.blocks-1].seq
	var unsaved []Block
	for _, b := range c.unsaved {
		if b.Seq <= last && !c.cfg.Shared {
			unsaved = append(unsaved, b)
		}
	}
	return Command{Send: &Request{
		Attempt: c.attempt,
		First:   first,
		Last:    last,
		Unsaved: unsaved,
		Skip:    c.done,
		Events:  c.batch.events,
		Trailer: c.trailer(now),
	}}
}

// Answered reports the end of an attempt. It answers false for any but the
// current one, which is ignored.
func (c *Core) Answered(now Micros, attempt uint64, r Response) bool {
	if !c.inFlight || attempt != c.attempt {
		return false
	}
	c.inFlight = false
	c.stateDirty = true
	verdict := classify(r.Status, c.batch.events)
	var answer Answer
	if verdict == accept {
		// An answer that accounts for nothing is not this server's: a proxy or a
		// login page can say 200 too.
		var ok bool
		answer, ok = DecodeAnswer(r.Body)
		if !ok || (answer.Accepted <= 0 && answer.Duplicates <= 0 && len(answer.Rejected) == 0) {
			verdict = retry
		}
	}
	switch verdict {
	case accept:
		c.accepted(answer)
	case split:
		c.limit = c.batch.events / 2
		c.batch = batch{}
	case discard:
		reason := TooLarge
		if r.Status == 400 {
			reason = Unreadable
		}
		c.settle(1)
		c.count(reason, 1)
		c.notify(reason, 1)
		c.countsChanged(now)
	case pause:
		c.fail(now, pauseProbe, r.RetryAfter)
		c.paused = true
	case retry:
		c.fail(now, backoff(c.failures+1, c.cfg.Random()), r.RetryAfter)
		c.paused = false
	}
	return true
}

func (c *Core) accepted(answer Answer) {
	n := c.batch.events
	c.settle(n)
	for _, rejection := range answer.Rejected[:min(len(answer.Rejected), n)] {
		c.countRejection(rejection.Code)
	}
	c.sent += uint64(n - min(len(answer.Rejected), n))
	if len(answer.Rejected) > 0 {
		c.notices = append(c.notices, Command{Rejected: answer.Rejected})
	}
	for i := range c.unreported {
		c.unreported[i] -= c.reporting[i]
	}
	c.limit = min(c.limit*2, MaxEvents)
	c.failures, c.next, c.floor, c.paused = 0, 0, 0, false
}

// countRejection counts what the server has seen and need not be told. A server
// that makes codes up cannot fill the memory with them.
func (c *Core) countRejection(code Reason) {
	if _, known := c.dropped[code]; code == "" || !known && len(c.dropped) >= maxCodes {
		code = unknownCode
	}
	c.dropped[code]++
}

// fail keeps the batch for a later attempt.
func (c *Core) fail(now, wait, retryAfter Micros) {
	c.failures++
	c.failed++
	if !c.asked || retryAfter > 0 {
		c.flushTo = 0
	}
	c.floor = 0
	if retryAfter > 0 {
		c.floor = now + min(retryAfter, maxRetryAfter)
	}
	c.next = max(now+wait, c.floor)
}

// Lost reports that the queue no longer has these blocks. An attempt that needed
// them is over, and the rest of its batch travels under a new id.
func (c *Core) Lost(now Micros, seqs ...uint64) {
	for _, seq := range seqs {
		i := c.find(seq)
		if i < 0 {
			continue
		}
		if i < c.batch.blocks {
			c.inFlight = false
		}
		c.drop(i, Damaged, now)
	}
}

// LostAll reports that the queue was found damaged and begun anew.
func (c *Core) LostAll(now Micros) {
	stored := len(c.blocks)
	if !c.cfg.Shared {
		stored -= len(c.unsaved)
	}
	var saved []uint64
	for _, b := range c.blocks[:stored] {
		saved = append(saved, b.seq)
	}
	c.Lost(now, saved...)
	c.deletes = nil
	c.last, c.skipped = 0, nil
	c.stateDirty, c.commitAt = true, 0
}

// FileLost counts a queue that was found unreadable at the start. How many events
// it held nobody knows: it counts as one.
func (c *Core) FileLost(now Micros) {
	c.count(Damaged, 1)
	c.countsChanged(now)
}
