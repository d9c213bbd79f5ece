// Package stream owns the durable queue between the front door and the lake:
// accepted requests in order, each acknowledged only after it is on disk. It embeds the NATS server, or talks to a cluster by URL, and is the only
// package that knows NATS and the stored protobuf form of a batch.
//
// It refuses to know what an event means, who may send one, and where the
// events end up: readers keep their own offset and resume by sequence.
package stream

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/causality-project/causality/backend/internal/platform/fault"
	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

// Lane is one of the two ways to the lake, each with its own sequence, so that
// live events never queue behind an import.
type Lane string

const (
	Live   Lane = "live"
	Import Lane = "import"
)

const (
	dead = "dead" // dead letters: not a lane, since nothing is read onwards from it

	defaultMaxBytes = 8 << 30
	deadMaxBytes    = 256 << 20

	maxPayload  = 8<<20 - 64<<10 // one message, with room for its headers
	maxInFlight = 256            // publishes that wait for their acknowledgement
	// ackWait bounds how long a request waits for room and for the disk. A
	// sender is better told to come back than kept on the line.
	ackWait    = 5 * time.Second
	retryAfter = 5 * time.Second

	eventsHeader      = "Causality-Events"
	incarnationKey    = "causality-incarnation"
	watchEvery        = time.Second
	reopenBackoffMost = 5 * time.Second
)

// Config says where the stream lives. Zero values select the stated defaults.
type Config struct {
	Dir      string       // of the embedded server's files; required without URL
	URL      string       // of a NATS server or cluster; empty: embedded
	Replicas int          // of each stream, for a cluster; default 1
	MaxBytes int64        // of each lane; default 8 GiB
	Logger   *slog.Logger // required
}

// Stream is an open stream. It is safe for concurrent use.
type Stream struct {
	cfg   Config
	log   *slog.Logger
	lanes map[Lane]*lane
	slots chan struct{} // bounds publishes in flight
	disk  diskGuard

	link    atomic.Pointer[link]
	pending atomic.Int64  // publishes that wait for an acknowledgement now
	suspect chan struct{} // buffered 1: asks the watch to look now

	stop   context.CancelFunc
	done   chan struct{}
	closed sync.Once
}

// link is one life of the connection and, when embedded, of the server. A write
// error makes the server's files read-only for the rest of that life, so
// recovery replaces the whole.
type link struct {
	server *server.Server // nil for a configured URL
	conn   *nats.Conn
	js     jetstream.JetStream
	life   context.Context // ends with the link: nothing answers from then on
	end    context.CancelFunc
}

type lane struct {
	name    Lane
	stream  string
	subject string

	incarnation atomic.Pointer[string]
	// horizon is the place of the last message known to be on disk. The embedded
	// server can show a message whose write failed; its place will be given away
	// again, so no reader may see past the horizon.
	horizon atomic.Uint64
	news    notifier
	index   index

	queue   chan *waiter
	drained chan struct{} // closed once nothing in the queue is written any more
}

// Open starts the embedded server, or connects to the configured one, and makes
// sure that the streams exist. It returns an error for a directory that cannot
// be used; a disk that is merely full opens, and answers Unavailable until there
// is room again.
func Open(ctx context.Context, cfg Config) (*Stream, error) {
	if cfg.Logger == nil {
		return nil, errors.New("stream: Logger is required")
	}
	if cfg.URL == "" && cfg.Dir == "" {
		return nil, errors.New("stream: Dir is required without URL")
	}
	if cfg.MaxBytes <= 0 {
		cfg.MaxBytes = defaultMaxBytes
	}
	if cfg.Replicas <= 0 {
		cfg.Replicas = 1
	}
	s := &Stream{
		cfg:     cfg,
		log:     cfg.Logger,
		lanes:   map[Lane]*lane{},
		slots:   make(chan struct{}, maxInFlight),
		disk:    diskGuard{dir: cfg.Dir},
		suspect: make(chan struct{}, 1),
		done:    make(chan struct{}),
	}
	for _, name := range []Lane{Live, Import} {
		s.lanes[name] = &lane{
			name: name, stream: "causality_" + string(name), subject: "causality." + string(name),
			queue: make(chan *waiter, maxInFlight), drained: make(chan struct{}),
		}
	}
	l, err := s.connect(ctx)
	if err != nil {
		return nil, err
	}
	s.link.Store(l)
	watch, stop := context.WithCancel(context.Background())
	s.stop = stop
	if err := s.mark(ctx, l); err != nil {
		s.log.WarnContext(ctx, "the event stream takes no writes yet", "err", err)
		s.suspectWrites()
	}
	var committers sync.WaitGroup
	for _, ln := range s.lanes {
		committers.Go(func() { s.commitAll(watch, ln) })
	}
	go func() {
		defer close(s.done)
		s.watch(watch)
		committers.Wait()
		s.link.Load().close()
	}()
	return s, nil
}

// Close finishes what is being published and stops the server. It is repeatable.
func (s *Stream) Close(ctx context.Context) error {
	s.closed.Do(func() {
		s.stop()
	})
	select {
	case <-s.done:
		return nil
	case <-ctx.Done():
		return fmt.Errorf("close the event stream: %w", ctx.Err())
	}
}

// Publish stores a batch and returns once it is on disk. A full, absent or
// stalled stream is an Unavailable fault that says when to come back; then
// nothing is promised, and the sender sends again.
func (s *Stream) Publish(ctx context.Context, to Lane, batch *Batch) error {
	ln, ok := s.lanes[to]
	if !ok {
		return fmt.Errorf("publish: no lane %q", to)
	}
	buf := buffers.Get().(*[]byte)
	defer func() {
		if cap(*buf) <= maxPooled {
			buffers.Put(buf)
		}
	}()
	data := AppendBatch((*buf)[:0], batch)
	*buf = data
	if len(data) <= maxPayload {
		return s.publish(ctx, ln, data, batch.Count())
	}
	// Transcoding can grow a request beyond one message. The halves are stored
	// one after the other; losses and refusals travel with the last, so that a
	// failure between the two counts nothing twice.
	if len(batch.Events) < 2 {
		return fault.New(fault.TooLarge, "The request is larger than 8 MiB once stored; send fewer events at a time.")
	}
	first, last := *batch, *batch
	half := len(batch.Events) / 2
	first.Events, first.Rejected, first.Dropped = batch.Events[:half], nil, nil
	last.Events = batch.Events[half:]
	if err := s.Publish(ctx, to, &first); err != nil {
		return err
	}
	return s.Publish(ctx, to, &last)
}

const maxPooled = 1 << 20

var buffers = sync.Pool{New: func() any { return new([]byte) }}

func (s *Stream) publish(ctx context.Context, ln *lane, data []byte, events int) error {
	if err := s.disk.check(); err != nil {
		return unavailable(err, "The disk of the event stream is nearly full; nothing was accepted. Make room, or send again later.")
	}
	ctx, cancel := context.WithTimeout(ctx, ackWait)
	defer cancel()
	select {
	case s.slots <- struct{}{}:
		defer func() { <-s.slots }()
	case <-ctx.Done():
		return s.publishFault(ctx, ctx.Err())
	}
	s.pending.Add(1)
	defer s.pending.Add(-1)
	if err := ln.enqueue(ctx, data, events); err != nil {
		return s.publishFault(ctx, err)
	}
	return nil
}

// send publishes one message and waits for its acknowledgement, which tells its
// place in the stream.
func (s *Stream) send(ctx context.Context, l *link, ln *lane, header nats.Header, data []byte, events int) (uint64, error) {
	header[eventsHeader] = []string{strconv.Itoa(events)}
	msg := nats.Msg{Subject: ln.subject, Data: data, Header: header}
	answer, err := l.conn.RequestMsgWithContext(ctx, &msg)
	if err != nil {
		return 0, err
	}
	var ack struct {
		Seq   uint64              `json:"seq"`
		Error *jetstream.APIError `json:"error"`
	}
	if err := json.Unmarshal(answer.Data, &ack); err != nil {
		return 0, fmt.Errorf("unreadable acknowledgement: %w", err)
	}
	if ack.Error != nil {
		return 0, ack.Error
	}
	if ack.Seq == 0 {
		return 0, errors.New("acknowledgement without a sequence")
	}
	return ack.Seq, nil
}

func (s *Stream) publishFault(ctx context.Context, err error) error {
	var refused *jetstream.APIError
	switch {
	case errors.As(err, &refused):
		return unavailable(err, "The event stream is full; nothing was accepted. Send again later.")
	case errors.Is(err, context.Canceled):
		return &fault.Error{Kind: fault.Canceled, Message: "The sender went away.", Err: err}
	}
	s.suspectWrites()
	return unavailable(err, "The event stream does not answer; nothing was accepted. Send again later.")
}

func unavailable(err error, message string) error {
	return &fault.Error{Kind: fault.Unavailable, Message: message, RetryAfter: retryAfter, Err: err}
}

// stored moves the horizon and the count of events after the acknowledgement of
// the message at a place, and wakes readers.
func (ln *lane) stored(place uint64, events int) {
	for {
		now := ln.horizon.Load()
		if place <= now || ln.horizon.CompareAndSwap(now, place) {
			break
		}
	}
	ln.index.add(place, events)
	ln.news.wake()
}

// Incarnation identifies the stream that a lane's sequences count: a stream
// that was created anew has another one, and its sequences start again.
func (s *Stream) Incarnation(of Lane) string {
	if ln := s.lanes[of]; ln != nil {
		if id := ln.incarnation.Load(); id != nil {
			return *id
		}
	}
	return ""
}

// Ready says whether the stream takes events now, and if not why.
func (s *Stream) Ready(ctx context.Context) error {
	if err := s.disk.check(); err != nil {
		return unavailable(err, "The disk of the event stream is nearly full.")
	}
	l := s.link.Load()
	if l.server != nil {
		if health := l.server.Healthz(&server.HealthzOptions{}); health.StatusCode != 200 {
			return unavailable(errors.New(health.Error), "The event stream has stopped and is being restarted.")
		}
		return nil
	}
	if !l.conn.IsConnected() {
		return unavailable(l.conn.LastError(), "The event stream's server cannot be reached.")
	}
	return nil
}

// create makes or adapts the streams and learns their incarnations.
func (s *Stream) create(ctx context.Context, l *link) error {
	for _, ln := range s.lanes {
		id, last, err := ensure(ctx, l.js, jetstream.StreamConfig{
			Name:        ln.stream,
			Subjects:    []string{ln.subject},
			Retention:   jetstream.LimitsPolicy,
			Discard:     jetstream.DiscardNew,
			MaxBytes:    s.cfg.MaxBytes,
			MaxMsgSize:  maxPayload + 4<<10,
			Storage:     jetstream.FileStorage,
			Replicas:    s.cfg.Replicas,
			AllowDirect: true,
		})
		if err != nil {
			return err
		}
		if old := ln.incarnation.Swap(&id); old != nil && *old != id {
			s.log.ErrorContext(ctx, "the event stream was created anew", "lane", string(ln.name))
			ln.index.reset()
		} else if seen := ln.horizon.Load(); last < seen {
			s.log.ErrorContext(ctx, "the event stream lost messages that were on disk", "lane", string(ln.name), "had", seen, "has", last)
		}
		ln.horizon.Store(last)
	}
	_, _, err := ensure(ctx, l.js, jetstream.StreamConfig{
		Name:        "causality_" + dead,
		Subjects:    []string{"causality." + dead},
		Retention:   jetstream.LimitsPolicy,
		Discard:     jetstream.DiscardOld,
		MaxBytes:    deadMaxBytes,
		MaxMsgSize:  maxPayload + 8<<10,
		Storage:     jetstream.FileStorage,
		Replicas:    s.cfg.Replicas,
		AllowDirect: true,
	})
	return err
}

// ensure creates a stream with a fresh incarnation, or adapts the limits of an
// existing one and keeps its incarnation.
func ensure(ctx context.Context, js jetstream.JetStream, want jetstream.StreamConfig) (incarnation string, last uint64, err error) {
	have, err := js.Stream(ctx, want.Name)
	if errors.Is(err, jetstream.ErrStreamNotFound) {
		want.Metadata = map[string]string{incarnationKey: newIncarnation()}
		have, err = js.CreateStream(ctx, want)
		if errors.Is(err, jetstream.ErrStreamNameAlreadyInUse) { // another replica was first
			have, err = js.Stream(ctx, want.Name)
		}
	}
	if err != nil {
		return "", 0, fmt.Errorf("open stream %s: %w", want.Name, err)
	}
	info := have.CachedInfo()
	incarnation = info.Config.Metadata[incarnationKey]
	if incarnation == "" {
		return "", 0, fmt.Errorf("stream %s was not made by Causality: it has no incarnation. Use another server or account, or remove that stream", want.Name)
	}
	if info.Config.MaxBytes != want.MaxBytes || info.Config.MaxMsgSize != want.MaxMsgSize || info.Config.Replicas != want.Replicas {
		want.Metadata = info.Config.Metadata
		if have, err = js.UpdateStream(ctx, want); err != nil {
			return "", 0, fmt.Errorf("change the limits of stream %s: %w", want.Name, err)
		}
		info = have.CachedInfo()
	}
	// How sequences are counted is part of what they count: an offset of another
	// numbering must not be taken for one of this.
	return fmt.Sprint(incarnation, ".", groupMost), info.State.LastSeq, nil
}

func newIncarnation() string {
	var id [8]byte
	_, _ = rand.Read(id[:]) // never fails
	return hex.EncodeToString(id[:])
}
