// Command cabi is package mobile for languages that call C: built with
// -buildmode=c-archive it is the library under the Swift wrapper. It owns handles,
// the copying of texts in both directions, and asynchronous sends; what the calls
// mean is mobile's. causality_core.h is its documentation.
package main

/*
#include <stdlib.h>
#include "causality_core.h"

static void cz_call_send(cz_send f, void *user, const uint8_t *body, int64_t length, cz_handle reply) { f(user, body, length, reply); }
static void cz_call_notice(cz_notice f, void *user, cz_text level, cz_text message) { f(user, level, message); }
static void cz_call_done(cz_done f, void *user) { f(user); }
*/
import "C"

import (
	"errors"
	"math"
	"strconv"
	"strings"
	"sync"
	"time"
	"unsafe"

	"github.com/causality-project/causality/mobile"
)

func main() {} // a c-archive needs one; nothing runs it

// handles gives numbers out for Go values. runtime/cgo.Handle would panic on a
// number that is not one; here it is nothing.
type handles[T any] struct {
	mu   sync.Mutex
	last uint64
	held map[uint64]T
}

func (h *handles[T]) add(v T) C.cz_handle {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.held == nil {
		h.held = make(map[uint64]T)
	}
	h.last++
	h.held[h.last] = v
	return C.cz_handle(h.last)
}

func (h *handles[T]) get(n C.cz_handle) T {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.held[uint64(n)]
}

func (h *handles[T]) take(n C.cz_handle) T {
	h.mu.Lock()
	defer h.mu.Unlock()
	v := h.held[uint64(n)]
	delete(h.held, uint64(n))
	return v
}

var (
	clients handles[*client]
	objects handles[*object]
	replies handles[chan<- outcome]
)

// client is a mobile.Client, nil-safe as that is, with what its context says.
type client struct {
	*mobile.Client
	host *platform

	mu      sync.Mutex
	context mobile.EventContext
}

var errNoClient = errors.New("causality: this client is closed already, or was never open")

// with makes a call that can fail.
func with(n C.cz_handle, f func(*mobile.Client) error) *C.char {
	c := of(n)
	if c == nil {
		return failure(errNoClient)
	}
	return failure(f(c))
}

func of(n C.cz_handle) *mobile.Client {
	if c := clients.get(n); c != nil {
		return c.Client
	}
	return nil
}

func text(t C.cz_text) string {
	if t.bytes == nil || t.length <= 0 {
		return ""
	}
	return unsafe.String((*byte)(unsafe.Pointer(t.bytes)), int(t.length))
}

// kept is text that outlives the call.
func kept(t C.cz_text) string { return strings.Clone(text(t)) }

func given(s string) *C.char {
	if s == "" {
		return nil
	}
	return C.CString(strings.ReplaceAll(s, "\x00", "")) // a C string would end there
}

func failure(err error) *C.char {
	if err == nil {
		return nil
	}
	return given(err.Error())
}

// mostReply is what mobile.Reply takes; more is not even copied.
const mostReply = 2 << 20

type outcome struct {
	status     int64
	retryAfter int64
	body       []byte
	failure    string
}

// platform is the host's transport and observer.
type platform struct {
	send    C.cz_send
	notice  C.cz_notice
	done    C.cz_done
	user    unsafe.Pointer
	timeout time.Duration

	using sync.RWMutex // read-locked by each call of the host
	over  bool         // no more calls: user may be gone
}

var errOver = errors.New("causality: the client has ended")

// call calls the host, unless it has been told that nobody will.
func (p *platform) call(f func()) error {
	p.using.RLock()
	defer p.using.RUnlock()
	if p.over {
		return errOver
	}
	f()
	return nil
}

// leave waits for the client's end and for calls of the host that are running, and
// tells it that there will be no more. A client that does not end for minutes is
// kept from calling.
func (p *platform) leave(c *mobile.Client) {
	_ = c.Close(math.MaxInt64) // once more, which waits for the end of the first
	p.using.Lock()
	p.over = true
	p.using.Unlock()
	if p.done != nil {
		C.cz_call_done(p.done, p.user)
	}
}

func (p *platform) Send(body []byte, reply *mobile.Reply) error {
	done := make(chan outcome, 1)
	ticket := replies.add(done)
	defer replies.take(ticket)
	err := p.call(func() {
		C.cz_call_send(p.send, p.user, (*C.uint8_t)(unsafe.SliceData(body)), C.int64_t(len(body)), ticket)
	})
	if err != nil {
		return err
	}
	timer := time.NewTimer(p.timeout)
	defer timer.Stop()
	select {
	case o := <-done:
		reply.SetStatus(o.status)
		reply.SetRetryAfterMillis(o.retryAfter)
		reply.SetBody(o.body)
		if o.failure != "" {
			reply.Fail(o.failure)
		}
		return nil
	case <-timer.C:
		return errors.New("the transport gave no answer within " + p.timeout.String())
	}
}

func (p *platform) Notice(level, message string) error {
	if p.notice == nil {
		return nil
	}
	cLevel, cMessage := C.CString(level), C.CString(message)
	defer C.free(unsafe.Pointer(cLevel))
	defer C.free(unsafe.Pointer(cMessage))
	return p.call(func() {
		C.cz_call_notice(p.notice, p.user, C.cz_text{cLevel, C.int64_t(len(level))}, C.cz_text{cMessage, C.int64_t(len(message))})
	})
}

func (p *platform) Rejected(id, code, field, message string) error {
	return p.Notice("warning", "the server rejected event "+id+": "+code+" "+field+": "+message)
}

//export cz_open
func cz_open(options *C.cz_options, problem **C.char) C.cz_handle {
	refuse := func(err error) C.cz_handle {
		if problem != nil {
			*problem = failure(err)
		}
		return 0
	}
	if options == nil || options.send == nil {
		return refuse(errors.New("causality: cz_open needs options with a send function"))
	}
	timeout := time.Duration(options.send_timeout_ms) * time.Millisecond
	if timeout == 0 {
		timeout = time.Minute
	}
	host := &platform{send: options.send, notice: options.notice, done: options.done, user: options.user, timeout: timeout}
	opened, err := mobile.Open(kept(options.directory), &mobile.Config{
		Key:               kept(options.key),
		FlushAt:           int64(options.flush_at),
		FlushEveryMillis:  int64(options.flush_every_ms),
		QueueBytes:        int64(options.queue_bytes),
		SendTimeoutMillis: int64(options.send_timeout_ms),
		LibraryName:       kept(options.library),
		LibraryVersion:    kept(options.library_version),
	}, host, host)
	if err != nil {
		return refuse(err)
	}
	return clients.add(&client{Client: opened, host: host})
}

//export cz_close
func cz_close(n C.cz_handle, timeoutMillis C.int64_t) *C.char {
	c := clients.take(n)
	if c == nil {
		return failure(errNoClient)
	}
	err := c.Close(int64(timeoutMillis))
	go c.host.leave(c.Client)
	return failure(err)
}

//export cz_await_open
func cz_await_open(n C.cz_handle, timeoutMillis C.int64_t) C.int32_t {
	return truth(of(n).AwaitOpen(int64(timeoutMillis)))
}

//export cz_flush
func cz_flush(n C.cz_handle, timeoutMillis C.int64_t) *C.char {
	return with(n, func(c *mobile.Client) error { return c.Flush(int64(timeoutMillis)) })
}

//export cz_track
func cz_track(n C.cz_handle, name C.cz_text, properties C.cz_handle, timeMillis C.int64_t, session, id C.cz_text) *C.char {
	p := objects.take(properties).finished()
	return with(n, func(c *mobile.Client) error {
		return c.TrackAt(kept(name), p, int64(timeMillis), kept(session), kept(id))
	})
}

func traits(set, setOnce, add C.cz_handle, unset C.cz_text) *mobile.Traits {
	t := mobile.NewTraits()
	objects.take(set).into(t.Set())
	objects.take(setOnce).into(t.SetOnce())
	objects.take(add).into(t.Add())
	for key := range strings.SplitSeq(kept(unset), "\n") {
		if key != "" {
			t.Unset(key)
		}
	}
	return t
}

//export cz_identify
func cz_identify(n C.cz_handle, user C.cz_text, set, setOnce, add C.cz_handle, unset C.cz_text) *C.char {
	t := traits(set, setOnce, add, unset)
	return with(n, func(c *mobile.Client) error { return c.Identify(kept(user), t) })
}

//export cz_group
func cz_group(n C.cz_handle, kind, id C.cz_text, set, setOnce, add C.cz_handle, unset C.cz_text) *C.char {
	t := traits(set, setOnce, add, unset)
	return with(n, func(c *mobile.Client) error { return c.Group(kept(kind), kept(id), t) })
}

//export cz_alias
func cz_alias(n C.cz_handle, previous, user C.cz_text) *C.char {
	return with(n, func(c *mobile.Client) error { return c.Alias(kept(previous), kept(user)) })
}

//export cz_reset
func cz_reset(n C.cz_handle) { of(n).Reset() }

//export cz_opt_out
func cz_opt_out(n C.cz_handle, out C.int32_t) { of(n).SetOptOut(out != 0) }

//export cz_opted_out
func cz_opted_out(n C.cz_handle) C.int32_t { return truth(of(n).OptedOut()) }

//export cz_foreground
func cz_foreground(n C.cz_handle) { of(n).OnForeground() }

//export cz_background
func cz_background(n C.cz_handle) { of(n).OnBackground() }

//export cz_trim_memory
func cz_trim_memory(n C.cz_handle) { of(n).OnTrimMemory() }

//export cz_network
func cz_network(n C.cz_handle, kind C.cz_text) { of(n).OnNetwork(kept(kind)) }

//export cz_context
func cz_context(n C.cz_handle, name, value C.cz_text) *C.char {
	c := clients.get(n)
	if c == nil {
		return failure(errNoClient)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if err := describe(&c.context, text(name), kept(value)); err != nil {
		return failure(err)
	}
	c.SetContext(&c.context)
	return nil
}

func describe(to *mobile.EventContext, name, value string) error {
	texts := map[string]*string{
		"app_version": &to.AppVersion, "app_build": &to.AppBuild, "app_namespace": &to.AppNamespace,
		"device_id": &to.DeviceID, "device_manufacturer": &to.DeviceManufacturer, "device_model": &to.DeviceModel, "device_type": &to.DeviceType,
		"os_name": &to.OSName, "os_version": &to.OSVersion, "locale": &to.Locale, "time_zone": &to.TimeZone,
		"carrier": &to.NetworkCarrier, "user_agent": &to.UserAgent, "platform": &to.Platform,
	}
	if field := texts[name]; field != nil {
		*field = value
		return nil
	}
	number, err := strconv.ParseFloat(value, 64)
	if err != nil || !(number >= 0 && number <= 1<<30) {
		number, err = 0, errors.New("causality: the context's "+name+" is "+strconv.Quote(value)+", not a number of pixels")
	}
	switch name {
	case "screen_width":
		to.ScreenWidth = int32(number)
	case "screen_height":
		to.ScreenHeight = int32(number)
	case "screen_density":
		to.ScreenDensity = number
	default:
		return errors.New("causality: a context has no " + strconv.Quote(name))
	}
	return err
}

//export cz_identity
func cz_identity(n C.cz_handle, name C.cz_text) *C.char {
	switch text(name) {
	case "anonymous_id":
		return given(of(n).AnonymousID())
	case "user_id":
		return given(of(n).UserID())
	case "session_id":
		return given(of(n).SessionID())
	}
	return nil
}

//export cz_stat
func cz_stat(n C.cz_handle, name C.cz_text) C.int64_t {
	s := of(n).Stats()
	if reason, ok := strings.CutPrefix(text(name), "dropped."); ok {
		return C.int64_t(s.Dropped(strings.Clone(reason)))
	}
	switch text(name) {
	case "queued":
		return C.int64_t(s.Queued())
	case "queued_bytes":
		return C.int64_t(s.QueuedBytes())
	case "sent":
		return C.int64_t(s.Sent())
	case "failures":
		return C.int64_t(s.Failures())
	case "paused":
		return C.int64_t(truth(s.Paused()))
	case "in_memory":
		return C.int64_t(truth(s.Storage() == "memory"))
	}
	return -1
}

//export cz_drop_reasons
func cz_drop_reasons(n C.cz_handle) *C.char { return given(of(n).Stats().Reasons()) }

//export cz_last_error
func cz_last_error(n C.cz_handle) *C.char { return given(of(n).Stats().LastError()) }

//export cz_reply
func cz_reply(n C.cz_handle, status C.int32_t, retryAfterMillis C.int64_t, body C.cz_data, length C.int64_t, problem C.cz_text) {
	done := replies.take(n)
	if done == nil {
		return
	}
	o := outcome{status: int64(status), retryAfter: int64(retryAfterMillis), failure: kept(problem)}
	if body != nil && length > 0 {
		if length > mostReply {
			o.status, o.failure = 0, "the answer is longer than 2 MiB"
		} else {
			o.body = C.GoBytes(unsafe.Pointer(body), C.int(length))
		}
	}
	done <- o
}

//export cz_free
func cz_free(t *C.char) { C.free(unsafe.Pointer(t)) }

func truth(b bool) C.int32_t {
	if b {
		return 1
	}
	return 0
}
