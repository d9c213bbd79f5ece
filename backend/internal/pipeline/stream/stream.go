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
	"hash/fnv"
	"log/slog"
	"maps"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/causality-project/causality/backend/internal/platform/fault"
	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

// Lane is a way to the lake with a sequence of its own. There are two kinds, so
// that live events never queue behind an import; with several shards each kind
// has as many lanes: live, live-1, live-2 and so on.
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
	shardsKey         = "causality-shards" // of the first live stream: how many there ever were
	shardsMost        = 64
	watchEvery        = time.Second
	reopenBackoffMost = 5 * time.Second
	answerWait        = 2 * time.Second        // for a cluster to say that it is well
	leaderPause       = 100 * time.Millisecond // between tries while a lane elects its leader
	clusterReplicas   = 3
)

// Config says where the stream lives. Zero values select the stated defaults.
type Config struct {
	Dir string // of the embedded server's files; required without URL
	// URL of a NATS server, or of several of one cluster with commas between
	// them, such as nats://token@a:4222,nats://token@b:4222. Empty: embedded.
	URL     string
	Cluster Cluster // of the embedded server; zero: it stands alone and does not listen
	// Replicas of each stream: default 3 in a cluster and 1 elsewhere. What a
	// server at URL has already stays as it is.
	Replicas int
	// Shards is how many lanes of each kind new events are spread over, by app;
	// default 1. Lanes of an earlier, larger number stay and are read.
	Shards   int
	MaxBytes int64        // of each lane; default 8 GiB
	Logger   *slog.Logger // required
}

// Stream is an open stream. It is safe for concurrent use.
type Stream struct {
	cfg   Config
	log   *slog.Logger
	lanes map[Lane]*lane // those of the shards that there ever were; fixed by Open
	slots chan struct{}  // bounds publishes in flight
	disk  diskGuard

	link    atomic.Pointer[link]
	pending atomic.Int64  // publishes that wait for an acknowledgement now
	suspect chan struct{} // buffered 1: asks the watch to look now

	asking   sync.Mutex // guards the last answer of a shared server to Ready
	asked    time.Time
	answered error

	behind atomic.Bool // there are lanes that were made after Open
	said   time.Time   // when a wait for other servers was logged
	stop   context.CancelFunc
	done   chan struct{}
	closed sync.Once
}

// link is one life of the connection and, when embedded, of the server. A write
// error makes the server's files read-only for the rest of that life, so
// recovery replaces the whole.
type link struct {
	server *server.Server // nil for a configured URL
	alone  bool           // nobody but this process writes to the server
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
	if cfg.URL == "" && cfg.Cluster.on() {
		if err := cfg.Cluster.check(); err != nil {
			return nil, fmt.Errorf("stream: %w", err)
		}
	}
	if cfg.MaxBytes <= 0 {
		cfg.MaxBytes = defaultMaxBytes
	}
	if cfg.Shards < 0 || cfg.Shards > shardsMost {
		return nil, fmt.Errorf("stream: %d shards: give a number from 1 to %d", cfg.Shards, shardsMost)
	}
	cfg.Shards = max(cfg.Shards, 1)
	s := &Stream{
		cfg:     cfg,
		log:     cfg.Logger,
		lanes:   map[Lane]*lane{},
		slots:   make(chan struct{}, maxInFlight),
		suspect: make(chan struct{}, 1),
		done:    make(chan struct{}),
	}
	if cfg.URL == "" {
		s.disk.dir = cfg.Dir
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

// laneOf names the lane of a kind and shard.
func laneOf(kind Lane, shard int) Lane {
	if shard == 0 {
		return kind
	}
	return Lane(fmt.Sprintf("%s-%d", kind, shard))
}

// Lanes lists all lanes that can hold events: live, import, live-1, import-1 and
// so on.
func (s *Stream) Lanes() []Lane {
	lanes := make([]Lane, 0, len(s.lanes))
	for shard := range len(s.lanes) / 2 {
		lanes = append(lanes, laneOf(Live, shard), laneOf(Import, shard))
	}
	return lanes
}

// addLanes makes the lanes of that many shards.
func (s *Stream) addLanes(shards int) {
	for shard := range shards {
		for _, kind := range []Lane{Live, Import} {
			name := laneOf(kind, shard)
			if s.lanes[name] == nil {
				s.lanes[name] = &lane{
					name: name, stream: "causality_" + string(name), subject: "causality." + string(name),
					queue: make(chan *waiter, maxInFlight), drained: make(chan struct{}),
				}
			}
		}
	}
}

// shard is where an app's events go. It may change with the number of shards:
// nothing depends on an app's events being in one lane.
func (s *Stream) shard(kind Lane, appID string) *lane {
	hash := fnv.New32a()
	_, _ = hash.Write([]byte(appID)) // never fails
	return s.lanes[laneOf(kind, int(hash.Sum32()%uint32(s.cfg.Shards)))]
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

// Publish stores a batch in a lane of a kind, Live or Import, and returns once
// it is on disk, in a cluster on a majority's. A full, absent or stalled stream
// is an Unavailable fault that says when to come back; then nothing is promised,
// and the sender sends again.
func (s *Stream) Publish(ctx context.Context, kind Lane, batch *Batch) error {
	if kind != Live && kind != Import {
		return fmt.Errorf("publish: no kind of lane %q", kind)
	}
	ln := s.shard(kind, batch.AppID)
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
	if err := s.Publish(ctx, kind, &first); err != nil {
		return err
	}
	return s.Publish(ctx, kind, &last)
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
	for errors.Is(err, nats.ErrNoResponders) && !l.alone && pauseFor(ctx, leaderPause) {
		// The lane has no leader at the moment, so nothing was stored.
		answer, err = l.conn.RequestMsgWithContext(ctx, &msg)
	}
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
	switch {
	case isFull(err):
		return unavailable(err, "The event stream is full; nothing was accepted. Send again later.")
	case errors.Is(err, context.Canceled):
		return &fault.Error{Kind: fault.Canceled, Message: "The sender went away.", Err: err}
	}
	s.suspectWrites()
	return unavailable(err, "The event stream does not answer; nothing was accepted. Send again later.")
}

// isFull tells a lane that has reached its limit from one that cannot write.
func isFull(err error) bool {
	var refused *jetstream.APIError
	return errors.As(err, &refused) && !isLeaderless(err)
}

// isLeaderless reports whether a cluster says that it cannot answer now.
func isLeaderless(err error) bool {
	var refused *jetstream.APIError
	if !errors.As(err, &refused) {
		return false
	}
	switch refused.ErrorCode {
	case 10005, // no suitable peers: not all servers are there yet
		10008,        // temporarily unavailable
		10009,        // not leader
		10039,        // JetStream not enabled for the account: the server is starting
		10074,        // a stream's raft group cannot be started
		10076,        // JetStream not enabled
		10118, 10194: // stream offline
		return true
	}
	return false
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
		if health := l.server.Healthz(&server.HealthzOptions{JSEnabledOnly: !l.alone}); health.StatusCode != 200 {
			return unavailable(errors.New(health.Error), "The event stream has stopped and is being restarted.")
		}
		if l.alone {
			return nil
		}
	}
	if !l.conn.IsConnected() {
		return unavailable(l.conn.LastError(), "The event stream's server cannot be reached.")
	}
	// Whoever asks often is told what was so a moment ago.
	s.asking.Lock()
	defer s.asking.Unlock()
	if time.Since(s.asked) > watchEvery {
		ctx, cancel := context.WithTimeout(ctx, answerWait)
		defer cancel()
		_, s.answered = s.info(ctx, l, s.lanes[Live])
		s.asked = time.Now()
	}
	if s.answered != nil {
		return unavailable(s.answered, "The event stream has no majority of its servers at the moment.")
	}
	return nil
}

// create makes or adapts the streams and learns their incarnations. At Open it
// also learns how many lanes there are.
func (s *Stream) create(ctx context.Context, l *link) error {
	replicas := s.cfg.Replicas
	if replicas == 0 {
		replicas = 1
		if l.conn.ConnectedClusterName() != "" {
			replicas = clusterReplicas
		}
	}
	if len(s.lanes) == 0 {
		s.addLanes(1)
	}
	open := func(ln *lane) (*jetstream.StreamInfo, error) {
		config := jetstream.StreamConfig{
			Name:        ln.stream,
			Subjects:    []string{ln.subject},
			Retention:   jetstream.LimitsPolicy,
			Discard:     jetstream.DiscardNew,
			MaxBytes:    s.cfg.MaxBytes,
			MaxMsgSize:  maxPayload + 4<<10,
			Storage:     jetstream.FileStorage,
			Replicas:    replicas,
			AllowDirect: true,
		}
		if ln.name == Live {
			config.Metadata = map[string]string{shardsKey: strconv.Itoa(s.cfg.Shards)}
		}
		info, err := s.ensure(ctx, l.js, config)
		if err == nil {
			s.learn(ctx, l, ln, info)
			ln.horizon.Store(info.State.LastSeq)
		}
		return info, err
	}
	// The first lane says how many there are: a lane that some process has written
	// to must be read by all, whatever their configuration.
	info, err := open(s.lanes[Live])
	if err != nil {
		return err
	}
	recorded, _ := strconv.Atoi(info.Config.Metadata[shardsKey])
	if s.link.Load() == nil {
		s.addLanes(min(max(recorded, s.cfg.Shards), shardsMost))
	}
	for name, ln := range s.lanes {
		if name == Live {
			continue
		}
		if _, err := open(ln); err != nil {
			return err
		}
	}
	_, err = s.ensure(ctx, l.js, jetstream.StreamConfig{
		Name:        "causality_" + dead,
		Subjects:    []string{"causality." + dead},
		Retention:   jetstream.LimitsPolicy,
		Discard:     jetstream.DiscardOld,
		MaxBytes:    deadMaxBytes,
		MaxMsgSize:  maxPayload + 8<<10,
		Storage:     jetstream.FileStorage,
		Replicas:    replicas,
		AllowDirect: true,
	})
	return err
}

// learn notes a stream's incarnation, and whether it is another than before.
func (s *Stream) learn(ctx context.Context, l *link, ln *lane, info *jetstream.StreamInfo) {
	if recorded, _ := strconv.Atoi(info.Config.Metadata[shardsKey]); s.link.Load() != nil && recorded > len(s.lanes)/2 && s.behind.CompareAndSwap(false, true) {
		s.log.ErrorContext(ctx, "other processes spread events over more lanes than this one reads; restart it", "shards", recorded, "here", len(s.lanes)/2)
	}
	// How sequences are counted is part of what they count: an offset of another
	// numbering must not be taken for one of this.
	id := fmt.Sprint(info.Config.Metadata[incarnationKey], ".", groupMost)
	old := ln.incarnation.Load()
	if old != nil && *old == id {
		if seen := ln.horizon.Load(); l.alone && info.State.LastSeq < seen {
			s.log.ErrorContext(ctx, "the event stream lost messages that were on disk", "lane", string(ln.name), "had", seen, "has", info.State.LastSeq)
		}
		return
	}
	if ln.incarnation.CompareAndSwap(old, &id) && old != nil {
		s.log.ErrorContext(ctx, "the event stream was created anew", "lane", string(ln.name))
		ln.index.reset()
	}
}

// ensure creates a stream with a fresh incarnation, or adapts the limits of an
// existing one and keeps its incarnation.
func (s *Stream) ensure(ctx context.Context, js jetstream.JetStream, want jetstream.StreamConfig) (*jetstream.StreamInfo, error) {
	// A server that has no leader yet does not answer at all: each question has
	// its own limit, and the whole is tried again.
	ask := func(call func(ctx context.Context) (jetstream.Stream, error)) (jetstream.Stream, error) {
		ctx, cancel := context.WithTimeout(ctx, ackWait)
		defer cancel()
		return call(ctx)
	}
	look := func(ctx context.Context) (jetstream.Stream, error) {
		ctx, cancel := context.WithTimeout(ctx, answerWait)
		defer cancel()
		return js.Stream(ctx, want.Name)
	}
	have, err := ask(look)
	if errors.Is(err, jetstream.ErrStreamNotFound) {
		fresh := want
		fresh.Metadata = maps.Clone(want.Metadata)
		if fresh.Metadata == nil {
			fresh.Metadata = map[string]string{}
		}
		fresh.Metadata[incarnationKey] = newIncarnation()
		have, err = ask(func(ctx context.Context) (jetstream.Stream, error) { return js.CreateStream(ctx, fresh) })
		if errors.Is(err, jetstream.ErrStreamNameAlreadyInUse) { // another replica was first
			have, err = ask(look)
		}
	}
	if err != nil {
		return nil, fmt.Errorf("open stream %s: %w", want.Name, err)
	}
	info := have.CachedInfo()
	if info.Config.Metadata[incarnationKey] == "" {
		return nil, fmt.Errorf("stream %s was not made by Causality: it has no incarnation. Use another server or account, or remove that stream", want.Name)
	}
	if s.cfg.Replicas == 0 && s.cfg.URL != "" {
		want.Replicas = info.Config.Replicas
	}
	metadata := maps.Clone(info.Config.Metadata)
	recorded, _ := strconv.Atoi(metadata[shardsKey])
	if wanted, _ := strconv.Atoi(want.Metadata[shardsKey]); wanted > recorded {
		metadata[shardsKey] = want.Metadata[shardsKey]
	}
	if info.Config.MaxBytes == want.MaxBytes && info.Config.MaxMsgSize == want.MaxMsgSize && info.Config.Replicas == want.Replicas &&
		maps.Equal(metadata, info.Config.Metadata) {
		return info, nil
	}
	want.Metadata = metadata
	have, err = ask(func(ctx context.Context) (jetstream.Stream, error) { return js.UpdateStream(ctx, want) })
	if err != nil {
		return nil, fmt.Errorf("change the limits of stream %s: %w", want.Name, err)
	}
	return have.CachedInfo(), nil
}

func newIncarnation() string {
	var id [8]byte
	_, _ = rand.Read(id[:]) // never fails
	return hex.EncodeToString(id[:])
}
