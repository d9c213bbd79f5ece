package mobile

import (
	"bytes"
	"context"
	"errors"
	"strconv"
	"sync"

	"github.com/causality-project/causality/sdk/core"
)

// Transport makes one attempt to deliver a body: a POST to the server's path
// /causality.ingest.v1.IngestService/Ingest with Content-Type application/proto
// and the key. Compressing it (Content-Encoding: gzip) is up to the platform, and
// so are redirects: none may be followed, since one may be a login page.
//
// Send blocks until the attempt has ended, and says in reply how. It is called on
// a thread of its own, one call at a time. An error that it returns, or an
// exception that it throws, is an attempt without an answer: the events stay
// queued. What reply is told after Send has returned counts no more.
type Transport interface {
	Send(body []byte, reply *Reply) error
}

// Reply is the outcome of an attempt. Without SetStatus there was no answer.
type Reply struct {
	mu         sync.Mutex
	over       bool
	status     int
	retryAfter core.Micros
	body       []byte
	failure    string
}

// mostReply is room for 2,000 rejections with their reasons.
const mostReply = 2 << 20

func (r *Reply) change(f func()) {
	defer contain()
	if r == nil {
		return
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if !r.over {
		f()
	}
}

// SetStatus tells the HTTP status.
func (r *Reply) SetStatus(status int64) { r.change(func() { r.status = int(status) }) }

// SetRetryAfterMillis tells how long the server asked to wait (Retry-After).
func (r *Reply) SetRetryAfterMillis(millis int64) {
	r.change(func() { r.retryAfter = core.Micros(min(max(millis, 0), 86_400_000)) * core.Millisecond })
}

// SetBody tells the body of the answer. Set it for a status of 200 with the
// Content-Type application/proto only; another 200 is not from the server, but a
// login page on the way: call Fail.
func (r *Reply) SetBody(body []byte) {
	r.change(func() {
		if len(body) > mostReply {
			r.failure = "the answer is longer than 2 MiB"
			return
		}
		r.body = bytes.Clone(body)
	})
}

// Fail says why there is no answer, or why it is not the server's.
func (r *Reply) Fail(reason string) {
	r.change(func() {
		if r.failure = short(reason); r.failure == "" {
			r.failure = "the attempt failed"
		}
	})
}

// response ends the reply.
func (r *Reply) response() (core.Response, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.over = true
	switch {
	case r.failure != "" && (r.status == 0 || r.status == 200):
		return core.Response{}, errors.New(r.failure)
	case r.status == 0:
		return core.Response{}, errors.New("there was no answer")
	}
	response := core.Response{Status: r.status, RetryAfter: r.retryAfter}
	if r.status != 200 {
		err := "the server answered " + strconv.Itoa(r.status)
		if r.failure != "" {
			err += ": " + r.failure
		}
		return response, errors.New(err)
	}
	response.Body = r.body
	return response, nil
}

// sender is a Transport for the driver, which keeps a platform that does not
// return from being called again.
func sender(t Transport) func(context.Context, []byte) (core.Response, error) {
	return func(_ context.Context, body []byte) (core.Response, error) {
		reply := &Reply{}
		if err := t.Send(body, reply); err != nil {
			reply.Fail(err.Error())
			reply.change(func() { reply.status = 0 })
		}
		return reply.response()
	}
}

// Observer hears what happened, on a thread of its own, one call at a time. What
// it returns or throws is ignored. It may call the Client.
type Observer interface {
	// Notice is for the platform's log; level is debug, info, warning or error.
	Notice(level, message string) error
	// Rejected is an event that the server did not take.
	Rejected(id, code, field, message string) error
}

// observed hands notices over without waiting for the observer, which may be slow
// or may wait for the driver itself. What it does not take in time is left out.
type observed struct {
	observer Observer
	calls    chan func(Observer)
	stop     chan struct{} // closed by end
	done     chan struct{} // closed when the goroutine has ended
}

func observe(o Observer) *observed {
	ob := &observed{observer: o, calls: make(chan func(Observer), 256), stop: make(chan struct{}), done: make(chan struct{})}
	go ob.run()
	return ob
}

func (o *observed) run() {
	defer close(o.done)
	for {
		select {
		case call := <-o.calls:
			o.make(call)
			continue
		case <-o.stop:
		}
		select {
		case call := <-o.calls: // what was said before the end
			o.make(call)
		default:
			return
		}
	}
}

func (o *observed) make(call func(Observer)) {
	defer contain()
	call(o.observer)
}

func (o *observed) tell(call func(Observer)) {
	if o.observer == nil {
		return
	}
	select {
	case o.calls <- call:
	default:
	}
}
