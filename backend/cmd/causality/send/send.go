// Package send brings events to a server in bulk: batches with a few requests in
// flight, repeated while the server asks for patience. It knows the ingest call
// and nothing of where the events come from.
package send

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"connectrpc.com/connect"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"

	eventv1 "github.com/causality-project/causality/proto/gen/causality/event/v1"
	ingestv1 "github.com/causality-project/causality/proto/gen/causality/ingest/v1"
	"github.com/causality-project/causality/proto/gen/causality/ingest/v1/ingestv1connect"
)

const (
	maxEvents = 2_000
	maxBytes  = 4 << 20 // of a request; the server takes 5 MiB
	inFlight  = 4
	// patience is how long one batch is tried again before the whole is given up.
	patience = 15 * time.Minute
)

// Item is one event with a number that its rejection is reported under.
type Item struct {
	Event *eventv1.Event
	Line  int64
}

// Rejection is an event that the server refused for good.
type Rejection struct {
	Line    int64
	Field   string
	Message string
}

// Options configures a Sender.
type Options struct {
	Client  ingestv1connect.IngestServiceClient
	App     string            // id or name; empty with a key that belongs to an app
	Library *eventv1.Library  // names the sender
	Reject  func(Rejection)   // called one at a time; required
	Note    func(text string) // called when the server asks for patience; required
}

// Sender sends until Close. Add is for one goroutine.
type Sender struct {
	opts   Options
	ctx    context.Context // one sending, from New to Close
	cancel context.CancelCauseFunc
	batch  []Item
	bytes  int
	slots  chan struct{}
	wait   sync.WaitGroup
	mu     sync.Mutex // around Reject and Note

	accepted atomic.Int64
	rejected atomic.Int64
}

// New starts nothing yet; the first full batch does.
func New(ctx context.Context, opts Options) *Sender {
	ctx, cancel := context.WithCancelCause(ctx)
	return &Sender{opts: opts, ctx: ctx, cancel: cancel, slots: make(chan struct{}, inFlight)}
}

// Accepted and Rejected count what the server has answered so far.
func (s *Sender) Accepted() int64 { return s.accepted.Load() }
func (s *Sender) Rejected() int64 { return s.rejected.Load() }

// Add takes an event and waits while enough requests are in flight. It returns
// why the sending has failed, once it has.
func (s *Sender) Add(item Item) error {
	size := proto.Size(item.Event) + 8
	if len(s.batch) == maxEvents || (len(s.batch) > 0 && s.bytes+size > maxBytes) {
		if err := s.flush(); err != nil {
			return err
		}
	}
	s.batch = append(s.batch, item)
	s.bytes += size
	return nil
}

// Close sends the rest and waits for every answer.
func (s *Sender) Close() error {
	err := s.flush()
	s.wait.Wait()
	if cause := context.Cause(s.ctx); cause != nil {
		err = cause
	}
	s.cancel(nil)
	return err
}

func (s *Sender) flush() error {
	if len(s.batch) == 0 {
		return context.Cause(s.ctx)
	}
	select {
	case <-s.ctx.Done():
		return context.Cause(s.ctx)
	case s.slots <- struct{}{}:
	}
	batch := s.batch
	s.batch, s.bytes = make([]Item, 0, maxEvents), 0
	s.wait.Add(1)
	go func() {
		defer s.wait.Done()
		defer func() { <-s.slots }()
		if err := s.send(batch); err != nil {
			s.cancel(err)
		}
	}()
	return nil
}

func (s *Sender) send(batch []Item) error {
	message := &ingestv1.IngestRequest{Library: s.opts.Library, Events: make([]*eventv1.Event, len(batch))}
	for i, item := range batch {
		message.Events[i] = item.Event
	}
	started := time.Now()
	for attempt := 0; ; attempt++ {
		message.SentAt = timestamppb.Now()
		request := connect.NewRequest(message)
		request.Header().Set("Causality-Lane", "import")
		if s.opts.App != "" {
			request.Header().Set("Causality-App", s.opts.App)
		}
		response, err := s.opts.Client.Ingest(s.ctx, request)
		if err == nil {
			s.count(batch, response.Msg)
			return nil
		}
		if s.ctx.Err() != nil {
			return context.Cause(s.ctx)
		}
		if !retryable(err) {
			return fmt.Errorf("send events: %w", err)
		}
		if time.Since(started) > patience {
			return fmt.Errorf("the server has refused events for %s: %w", patience, err)
		}
		delay := after(err, attempt)
		s.mu.Lock()
		s.opts.Note(fmt.Sprintf("%s; trying again in %s", sentence(err), delay.Round(100*time.Millisecond)))
		s.mu.Unlock()
		select {
		case <-s.ctx.Done():
			return context.Cause(s.ctx)
		case <-time.After(delay):
		}
	}
}

func (s *Sender) count(batch []Item, answer *ingestv1.IngestResponse) {
	s.accepted.Add(int64(len(batch) - len(answer.GetRejected())))
	s.rejected.Add(int64(len(answer.GetRejected())))
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, r := range answer.GetRejected() {
		rejection := Rejection{Field: r.GetField(), Message: r.GetMessage()}
		if i := int(r.GetIndex()); i >= 0 && i < len(batch) {
			rejection.Line = batch[i].Line
		}
		s.opts.Reject(rejection)
	}
}

// retryable: the server, or the way to it, may do better later. Events have ids,
// so a batch that did arrive counts once.
func retryable(err error) bool {
	switch connect.CodeOf(err) { // the others are final
	case connect.CodeUnavailable, connect.CodeResourceExhausted, connect.CodeAborted, connect.CodeDeadlineExceeded:
		return true
	default:
		return false
	}
}

// after honours Retry-After, else doubles from half a second to ten.
func after(err error, attempt int) time.Duration {
	var failed *connect.Error
	if errors.As(err, &failed) {
		if seconds, err := strconv.Atoi(failed.Meta().Get("Retry-After")); err == nil && seconds > 0 {
			return min(time.Duration(seconds)*time.Second, time.Minute)
		}
	}
	return min(500*time.Millisecond<<min(attempt, 5), 10*time.Second)
}

func sentence(err error) string {
	var failed *connect.Error
	if errors.As(err, &failed) {
		return failed.Message()
	}
	return err.Error()
}
