// Package mobile is the client core as phones see it: the surface that gobind
// turns into Java and Objective-C, and package cabi into C. It owns what these
// languages need around sdk/driver: values built call by call, errors instead of
// panics, the events of the moments before the queue file is open, and the life of
// an app (background, foreground, network, memory).
//
// It refuses to know any platform: HTTP, files' places, screens and settings are
// the business of the Kotlin and Swift wrappers, which app developers use.
//
// Every method may be called on nil, on a zero value, in any order, from any
// thread and after Close. A panic would end the app, so none leaves this package.
// No call waits for the network, the disk or another process, apart from Flush,
// Close and AwaitOpen, which wait as long as they are told.
package mobile

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"runtime/debug"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/causality-project/causality/sdk/core"
	"github.com/causality-project/causality/sdk/driver"
)

const (
	// What is recorded before the queue file is open waits in memory, up to this.
	mostEarly      = 2000
	mostEarlyBytes = 2 << 20

	mostWait  = 10 * time.Minute // of Flush and Close
	quietWait = 5 * time.Second  // of a Close that is not waited for
)

// errNotOpen is returned by what a no-argument constructor made.
var errNotOpen = errors.New("causality: this client was not made by Open")

// Client records events and sends them. Get one from Open.
type Client struct {
	observed  *observed
	opened    chan struct{} // closed when driver is set; nil in a zero value
	freeing   atomic.Bool
	closeOnce sync.Once
	closed    chan struct{} // closed when Close has ended
	closeErr  error         // then

	mu         sync.Mutex // guards what follows; never held while waiting
	driver     *driver.Driver
	early      []call // made before there was a driver, in order
	earlyBytes int
	dropped    map[core.Reason]int // events given up before there was a driver
	closing    bool
	optedOut   bool // as far as known before there is a driver
	network    core.Network
	online     bool
	described  *EventContext // as last set
	context    *core.Context // of the next event; replaced, never changed
	scratch    []byte
}

// call is something to do with the core at a time.
type call struct {
	at    core.Micros
	event bool // it adds one
	do    func(c *core.Core, at core.Micros) (wake bool, err error)
}

// Open starts a client whose queue file lies in dir, a folder of the app's own; an
// empty dir keeps events in memory. It returns at once: the file is opened beside
// it, and what is recorded meanwhile waits in memory. A file that cannot be used is
// told to the observer (which may be nil) and in Stats; events then wait in memory.
//
// The error names every wrong setting; then nothing has started.
func Open(dir string, cfg *Config, transport Transport, observer Observer) (client *Client, err error) {
	defer recovered(&err)
	if cfg == nil {
		cfg = &Config{}
	}
	settings := *cfg
	coreConfig, err := settings.coreConfig()
	if transport == nil {
		err = errors.Join(err, errors.New("causality: the transport is missing"))
	}
	if err != nil {
		return nil, err
	}
	c := &Client{
		observed:  observe(observer),
		opened:    make(chan struct{}),
		closed:    make(chan struct{}),
		online:    true,
		described: &EventContext{},
	}
	if settings.Context != nil {
		described := *settings.Context
		c.described = &described
	}
	c.context = c.described.toCore(c.network)
	timeout := time.Duration(settings.SendTimeoutMillis) * time.Millisecond
	if timeout == 0 {
		timeout = time.Minute
	}
	to := driver.Config{
		Core:        coreConfig,
		Send:        sender(transport),
		SendTimeout: timeout,
		Notify:      c.notice,
		Rejected:    c.rejected,
	}
	if dir != "" {
		to.QueueFile = filepath.Join(dir, settings.queueName())
	}
	go c.open(to)
	return c, nil
}

// open opens the queue and hands it what was recorded meanwhile.
func (c *Client) open(cfg driver.Config) {
	d := openDriver(cfg)
	for {
		c.mu.Lock()
		early, dropped := c.early, c.dropped
		c.early, c.dropped = nil, nil
		if len(early) == 0 && len(dropped) == 0 {
			c.driver = d
			c.earlyBytes = 0
			c.mu.Unlock()
			close(c.opened)
			return
		}
		c.mu.Unlock()
		for _, call := range early {
			_ = d.Do(func(core *core.Core, _ core.Micros) (bool, error) { return call.run(core) })
		}
		_ = d.Do(func(k *core.Core, now core.Micros) (bool, error) {
			for reason, n := range dropped {
				k.CountDropped(now, reason, n)
			}
			return len(dropped) > 0, nil
		})
	}
}

// openDriver falls back to memory should the file bring about something that
// nobody has foreseen.
func openDriver(cfg driver.Config) (d *driver.Driver) {
	defer func() {
		if cause := recover(); cause != nil || d == nil {
			cfg.QueueFile = ""
			cfg.Notify(driver.Notice{Kind: driver.QueueUnusable, Err: fmt.Errorf("open: %v", cause)})
			d, _ = driver.Open(cfg) // fails for a missing Send or Random alone
		}
	}()
	d, _ = driver.Open(cfg)
	return d
}

func (call call) run(c *core.Core) (wake bool, err error) {
	defer recovered(&err)
	return call.do(c, call.at)
}

// do makes a call with the core: now, or once the queue is open. bytes is the size of
// the event that it adds, 0 if it adds none.
func (c *Client) do(bytes int, f func(c *core.Core, at core.Micros) (wake bool, err error)) error {
	c.mu.Lock()
	if c.closing {
		c.mu.Unlock()
		return core.ErrClosed
	}
	if d := c.driver; d != nil {
		c.mu.Unlock()
		return d.Do(func(k *core.Core, now core.Micros) (wake bool, err error) {
			return call{at: now, do: f}.run(k)
		})
	}
	defer c.mu.Unlock()
	most := mostEarly
	if bytes == 0 { // what is no event has room when events have none any more
		most *= 2
	}
	if len(c.early) >= most || c.earlyBytes+bytes > mostEarlyBytes {
		if bytes > 0 {
			c.dropEarly(core.QueueFull)
		}
		return core.ErrQueueFull
	}
	c.early = append(c.early, call{now(), bytes > 0, f})
	c.earlyBytes += bytes
	return nil
}

// dropEarly counts an event that is given up before there is a driver. The lock is
// held.
func (c *Client) dropEarly(reason core.Reason) {
	if c.dropped == nil {
		c.dropped = make(map[core.Reason]int)
	}
	c.dropped[reason]++
}

// Track records that something happened. The error says what is wrong with the
// event, or that it was not kept.
func (c *Client) Track(name string, p *Properties) error {
	return c.TrackAt(name, p, 0, "", "")
}

// TrackAt records what happened at another time, such as the crash that ended the
// app's last run: timestampMillis since 1970 and the session of then. Zero and
// empty values stand for now. An eventID makes it safe to record the same thing
// again, should the app end before it knows that it has; it is a UUID, kept with
// what it is about.
func (c *Client) TrackAt(name string, p *Properties, timestampMillis int64, sessionID, eventID string) (err error) {
	defer recovered(&err)
	if c == nil || c.opened == nil {
		return errNotOpen
	}
	properties, err := p.snapshot("properties")
	return c.record(&core.Event{
		ID:         eventID,
		Name:       name,
		Timestamp:  core.Micros(min(max(timestampMillis, -mostMillis), mostMillis)) * core.Millisecond,
		SessionID:  sessionID,
		Properties: properties,
	}, err, nil)
}

// mostMillis is beyond every time that an event can have, and no overflow.
const mostMillis = 1 << 50

// Identify says who the visitor is, from now on, and what is known of them; t may
// be nil. Another user than the one before gets an anonymous id and a session of
// their own.
func (c *Client) Identify(userID string, t *Traits) (err error) {
	defer recovered(&err)
	if c == nil || c.opened == nil {
		return errNotOpen
	}
	if strings.TrimSpace(userID) == "" {
		userID = ""
	}
	traits, err := t.toCore()
	return c.record(&core.Event{Type: core.Identify, UserID: userID, Traits: traits}, err,
		func(v *core.Visitor, at core.Micros) { v.Identify(at, userID) })
}

// Group says which group of a kind (company, team) the visitor is in from now on,
// and what is known of it; t may be nil. An empty id leaves the kind's group.
func (c *Client) Group(kind, id string, t *Traits) (err error) {
	defer recovered(&err)
	if c == nil || c.opened == nil {
		return errNotOpen
	}
	join := func(v *core.Visitor, _ core.Micros) { v.Join(kind, id) }
	if id == "" {
		return c.visit(join)
	}
	traits, err := t.toCore()
	return c.record(&core.Event{Type: core.Group, GroupType: kind, GroupID: id, Traits: traits}, err, join)
}

// Alias says that two user ids are one person. The server takes it from secret
// keys alone.
func (c *Client) Alias(previousID, userID string) (err error) {
	defer recovered(&err)
	if c == nil || c.opened == nil {
		return errNotOpen
	}
	return c.record(&core.Event{Type: core.Alias, PreviousID: previousID, UserID: userID}, nil, nil)
}

// record adds an event, once the visitor knows what it says about them. problem is
// what was already found wrong with it.
func (c *Client) record(e *core.Event, problem error, about func(*core.Visitor, core.Micros)) error {
	c.mu.Lock()
	e.Context = c.context
	bytes := 0
	if problem == nil {
		// Before the queue is open, this is how the caller hears what is wrong; later it
		// keeps a wrong event from changing the visitor.
		var encoded core.Encoded
		if c.driver == nil || about != nil {
			encoded, problem = core.Encode(c.scratch, now(), e, nil)
			c.scratch = encoded.Bytes()
			if cap(c.scratch) > 2*core.MaxEventBytes {
				c.scratch = nil
			}
			bytes = len(encoded.Bytes())
		}
	}
	d := c.driver
	if problem != nil && d == nil && !c.closing {
		c.dropEarly(core.ReasonOf(problem))
	}
	c.mu.Unlock()
	if problem != nil {
		if d != nil {
			_ = c.do(0, func(k *core.Core, at core.Micros) (bool, error) {
				k.Refuse(at, problem)
				return true, nil
			})
		}
		return problem
	}
	return c.do(max(bytes, 1), func(k *core.Core, at core.Micros) (bool, error) {
		if about != nil && !k.Stats().OptedOut {
			about(k.Visitor(), at)
		}
		return k.Track(at, e)
	})
}

// visit changes the visitor without an event; after opting out there is none.
func (c *Client) visit(f func(*core.Visitor, core.Micros)) error {
	return c.do(0, func(k *core.Core, at core.Micros) (bool, error) {
		if !k.Stats().OptedOut {
			f(k.Visitor(), at)
		}
		return true, nil
	})
}

// Reset makes the visitor somebody new, for example after a logout. What is queued
// is still sent.
func (c *Client) Reset() {
	defer contain()
	if c == nil || c.opened == nil {
		return
	}
	_ = c.visit((*core.Visitor).Reset)
}

// SetOptOut clears the queue, forgets the visitor and ignores events until it is
// called with false, across restarts.
func (c *Client) SetOptOut(out bool) {
	defer contain()
	if c == nil || c.opened == nil {
		return
	}
	c.mu.Lock()
	c.optedOut = out
	if out { // of what was done before it, only the counts matter any more
		for _, call := range c.early {
			if call.event {
				c.dropEarly(core.OptedOut)
			}
		}
		c.early, c.earlyBytes = nil, 0
	}
	c.mu.Unlock()
	_ = c.do(0, func(k *core.Core, _ core.Micros) (bool, error) {
		if out {
			k.OptOut()
		} else {
			k.OptIn()
		}
		return true, nil
	})
}

// OptedOut reports whether events are ignored.
func (c *Client) OptedOut() (out bool) {
	defer contain()
	c.look(func(k *core.Core) { out = k.Stats().OptedOut }, func() { out = c.optedOut })
	return out
}

// AnonymousID is the visitor's id while the user is unknown. It is empty until the
// queue is open, as AwaitOpen tells, and somebody has been seen.
func (c *Client) AnonymousID() (id string) {
	defer contain()
	c.look(func(k *core.Core) { id = k.Visitor().AnonymousID() }, nil)
	return id
}

// UserID is empty while the user is unknown, and until the queue is open.
func (c *Client) UserID() (id string) {
	defer contain()
	c.look(func(k *core.Core) { id = k.Visitor().UserID() }, nil)
	return id
}

// SessionID is the session of the last event, empty until the queue is open.
func (c *Client) SessionID() (id string) {
	defer contain()
	c.look(func(k *core.Core) { id = k.Visitor().SessionID() }, nil)
	return id
}

// look reads the core, also after Close; without one it calls early, if that is
// given, under the lock.
func (c *Client) look(f func(*core.Core), early func()) {
	if c == nil || c.opened == nil {
		return
	}
	c.mu.Lock()
	d := c.driver
	if d == nil && early != nil {
		early()
	}
	c.mu.Unlock()
	if d != nil {
		_ = d.Do(func(k *core.Core, _ core.Micros) (bool, error) {
			defer contain()
			f(k)
			return false, nil
		})
	}
}

// OnForeground says that the app has come to the front, as it does at its start.
// It begins a session when one is due, and tries again what could not be sent.
func (c *Client) OnForeground() {
	defer contain()
	if c == nil || c.opened == nil {
		return
	}
	_ = c.do(0, func(k *core.Core, at core.Micros) (bool, error) {
		if !k.Stats().OptedOut {
			k.Visitor().Foreground(at)
		}
		retry(k, at)
		return true, nil
	})
}

// OnBackground says that the app has left the front: it may be ended any time. What
// is queued is stored and sent at once; a platform that grants some more time can
// wait for that with Flush.
func (c *Client) OnBackground() {
	defer contain()
	if c == nil || c.opened == nil {
		return
	}
	_ = c.do(0, func(k *core.Core, at core.Micros) (bool, error) {
		if !k.Stats().OptedOut {
			k.Visitor().Background(at)
		}
		k.Flush(at)
		return true, nil
	})
}

// OnTrimMemory says that the system is short of memory: what is held is stored, and
// free memory given back.
func (c *Client) OnTrimMemory() {
	defer contain()
	if c == nil || c.opened == nil {
		return
	}
	c.mu.Lock()
	c.scratch = nil
	c.mu.Unlock()
	_ = c.do(0, func(k *core.Core, at core.Micros) (bool, error) {
		k.Flush(at)
		return true, nil
	})
	if c.freeing.CompareAndSwap(false, true) {
		go func() {
			defer c.freeing.Store(false)
			debug.FreeOSMemory()
		}()
	}
}

// OnNetwork says how the device is connected: wifi, cellular, ethernet, other or
// none. When the network is back, what could not be sent is tried at once.
func (c *Client) OnNetwork(kind string) {
	defer contain()
	if c == nil || c.opened == nil {
		return
	}
	c.mu.Lock()
	back := kind != "none" && !c.online
	c.online = kind != "none"
	c.network = core.Network{WiFi: kind == "wifi", Cellular: kind == "cellular"}
	c.context = c.described.toCore(c.network)
	c.mu.Unlock()
	_ = c.do(0, func(k *core.Core, at core.Micros) (bool, error) {
		switch {
		case back:
			k.Flush(at)
		case kind != "none":
			retry(k, at)
		}
		return true, nil
	})
}

// retry ends the wait after a failure.
func retry(k *core.Core, at core.Micros) {
	if k.Stats().Failures > 0 {
		k.Flush(at)
	}
}

// SetContext replaces what events say of the device from now on; nil says nothing.
func (c *Client) SetContext(to *EventContext) {
	defer contain()
	if c == nil || c.opened == nil {
		return
	}
	described := EventContext{}
	if to != nil {
		described = *to
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.described = &described
	c.context = described.toCore(c.network)
}

// AwaitOpen waits until the queue file is open, or has turned out to be of no use,
// and reports whether that is so. It is not for the main thread.
func (c *Client) AwaitOpen(timeoutMillis int64) bool {
	if c == nil || c.opened == nil {
		return false
	}
	ctx, cancel := within(timeoutMillis)
	defer cancel()
	return c.await(ctx) == nil
}

func (c *Client) await(ctx context.Context) error {
	select {
	case <-c.opened:
		return nil
	default:
	}
	select {
	case <-c.opened:
		return nil
	case <-ctx.Done():
		return errors.New("causality: the queue file is not open yet: " + context.Cause(ctx).Error())
	}
}

// Flush stores and sends every event recorded before the call, and waits for that,
// at most for timeoutMillis; 0 begins it and does not wait. Without an error the
// server has answered for all of them. With one they stay queued: on disk, unless
// Stats says that the queue is in memory or takes no events.
func (c *Client) Flush(timeoutMillis int64) (err error) {
	defer recovered(&err)
	if c == nil || c.opened == nil {
		return errNotOpen
	}
	if timeoutMillis <= 0 {
		return c.do(0, func(k *core.Core, at core.Micros) (bool, error) {
			k.Flush(at)
			return true, nil
		})
	}
	ctx, cancel := within(timeoutMillis)
	defer cancel()
	if err := c.await(ctx); err != nil {
		return err
	}
	return c.driver.Flush(ctx)
}

// Close refuses further events, tries to send what is queued within timeoutMillis,
// and frees the queue file; 0 does so without being waited for. Events that are in
// the file are not lost, and so no error. It may be called again, and then waits for
// the same outcome.
func (c *Client) Close(timeoutMillis int64) (err error) {
	defer recovered(&err)
	if c == nil || c.opened == nil {
		return errNotOpen
	}
	c.mu.Lock()
	c.closing = true
	c.mu.Unlock()
	patience := quietWait
	if timeoutMillis > 0 {
		patience = wait(timeoutMillis)
	}
	c.closeOnce.Do(func() { go c.end(patience) })
	if timeoutMillis <= 0 {
		return nil
	}
	late := time.NewTimer(patience + closeGrace)
	defer late.Stop()
	select {
	case <-c.closed:
		return c.closeErr
	case <-late.C:
		return errors.New("causality: close: the disk or the observer holds the client up; it ends by itself")
	}
}

// closeGrace is for the last commit, once there is no more time to send.
const closeGrace = 2 * time.Second

// end waits for every goroutine.
func (c *Client) end(patience time.Duration) {
	defer close(c.closed)
	defer contain()
	<-c.opened
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	c.closeErr = c.driver.Close(ctx)
	close(c.observed.stop)
	<-c.observed.done
}

func (c *Client) notice(n driver.Notice) {
	level := "debug"
	switch n.Level() {
	case driver.Error:
		level = "error"
	case driver.Warn:
		level = "warning"
	case driver.Info:
		level = "info"
	}
	text := n.String()
	c.observed.tell(func(o Observer) { _ = o.Notice(level, text) })
}

func (c *Client) rejected(list []core.Rejection) {
	for _, r := range list {
		c.observed.tell(func(o Observer) { _ = o.Rejected(r.ID, string(r.Code), r.Field, r.Message) })
	}
}

func wait(millis int64) time.Duration {
	return time.Duration(min(max(millis, 0), mostWait.Milliseconds())) * time.Millisecond
}

func within(millis int64) (context.Context, context.CancelFunc) {
	return context.WithTimeout(context.Background(), wait(millis))
}

// recovered makes a panic an error.
func recovered(err *error) {
	if cause := recover(); cause != nil {
		*err = fmt.Errorf("causality: internal error: %v; please report it", cause)
	}
}

// contain ends a panic.
func contain() { _ = recover() }

func now() core.Micros { return core.Micros(time.Now().UnixMicro()) }
