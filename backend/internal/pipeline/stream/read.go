package stream

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/causality-project/causality/backend/internal/platform/fault"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

// Message is one stored batch, with its sequence in the lane.
type Message struct {
	Seq   uint64
	At    time.Time // when the stream took it
	Batch Batch
	Bytes int
	// Err is set for a message that cannot be read; then Batch is empty, and
	// the reader hands the message to DeadLetter and goes on.
	Err error
	Raw []byte // as stored; Batch's strings share it
	// Missed counts the events that Follow skipped before this message.
	Missed int64
}

// FetchLimit bounds one Fetch. Zero values select the stated defaults; the
// first message is returned however large it is.
type FetchLimit struct {
	Messages int           // default 1,000
	Bytes    int           // default 32 MiB
	Rows     int           // events; default no limit
	Wait     time.Duration // how long to wait for more; default not at all
}

const (
	sequenceHeader     = "Nats-Sequence"
	lastSequenceHeader = "Nats-Last-Sequence"
	timestampHeader    = "Nats-Time-Stamp"

	fetchChunkMessages = 256
	fetchChunkBytes    = 4 << 20
	// pollEvery finds what other processes published to a shared server.
	pollEvery = 200 * time.Millisecond
)

// Fetch returns messages in sequence order from the given sequence on. It
// returns when a limit is reached or when Wait has passed since its first
// message (or since the call, in a quiet lane: then there are none). Sequences
// grow, with gaps.
func (s *Stream) Fetch(ctx context.Context, from Lane, seq uint64, limit FetchLimit) ([]Message, error) {
	ln, ok := s.lanes[from]
	if !ok {
		return nil, fmt.Errorf("fetch: no lane %q", from)
	}
	if limit.Messages <= 0 {
		limit.Messages = 1000
	}
	if limit.Bytes <= 0 {
		limit.Bytes = 32 << 20
	}
	seq = max(seq, 1)
	var out []Message
	bytes, rows := 0, 0
	deadline := time.Now().Add(limit.Wait)
	for {
		news := ln.news.wait()
		chunk, next, err := s.read(ctx, ln, seq, min(fetchChunkMessages, limit.Messages-len(out)), min(fetchChunkBytes, limit.Bytes-bytes))
		if err != nil {
			if len(out) > 0 {
				return out, nil // the error comes back with the next call
			}
			return nil, err
		}
		if len(out) == 0 && len(chunk) > 0 {
			deadline = time.Now().Add(limit.Wait)
		}
		for i := range chunk {
			out = append(out, chunk[i])
			bytes += chunk[i].Bytes
			rows += chunk[i].Batch.Count()
			if len(out) >= limit.Messages || bytes >= limit.Bytes || limit.Rows > 0 && rows >= limit.Rows {
				return out, nil
			}
		}
		more := next > seq
		seq = next
		if more {
			continue
		}
		rest := time.Until(deadline)
		if rest <= 0 {
			return out, nil
		}
		timer := time.NewTimer(min(rest, pollEvery))
		select {
		case <-news:
			timer.Stop()
		case <-timer.C:
		case <-ctx.Done():
			timer.Stop()
			return out, nil
		}
	}
}

// read asks for one chunk and returns the messages and the sequence to go on
// from, which is seq itself at the end of the lane.
func (s *Stream) read(ctx context.Context, ln *lane, seq uint64, messages, bytes int) ([]Message, uint64, error) {
	l := s.link.Load()
	horizon := ln.horizon.Load()
	if l.alone && placeOf(seq) > horizon {
		return nil, seq, nil
	}
	var out []Message
	next := seq
	err := s.direct(ctx, l, ln, directGet{Seq: placeOf(seq), Batch: messages, MaxBytes: bytes}, func(place uint64, when time.Time, header nats.Header, data []byte) {
		if l.alone && place > horizon {
			return
		}
		next = lastSeq(place) + 1
		if len(data) == 0 && header.Get(eventsHeader) == "0" {
			return // a mark
		}
		ungroup(place, header, data, func(at uint64, data []byte, err error) {
			if at < seq {
				return // of a group that was read in part
			}
			m := Message{Seq: at, At: when, Bytes: len(data), Raw: data, Err: err}
			if err == nil {
				m.Batch, m.Err = DecodeBatch(data)
			}
			out = append(out, m)
		})
	})
	return out, next, err
}

// directGet is the request of the server's batched direct get, which needs no
// consumer and so keeps no state across restarts of either side.
type directGet struct {
	Seq       uint64     `json:"seq,omitempty"`
	StartTime *time.Time `json:"start_time,omitempty"`
	NextFor   string     `json:"next_by_subj,omitempty"`
	Batch     int        `json:"batch,omitempty"`
	MaxBytes  int        `json:"max_bytes,omitempty"`
}

const readWait = 10 * time.Second

func (s *Stream) direct(ctx context.Context, l *link, ln *lane, ask directGet, each func(uint64, time.Time, nats.Header, []byte)) error {
	ctx, cancel := context.WithTimeout(ctx, readWait)
	defer cancel()
	inbox := l.conn.NewInbox()
	sub, err := l.conn.SubscribeSync(inbox)
	if err != nil {
		return readFault(err)
	}
	defer func() { _ = sub.Unsubscribe() }()
	body, err := json.Marshal(ask)
	if err != nil {
		return err
	}
	if err := l.conn.PublishRequest("$JS.API.DIRECT.GET."+ln.stream, inbox, body); err != nil {
		return readFault(err)
	}
	expected, last := ask.Seq, uint64(0)
	for {
		msg, err := sub.NextMsgWithContext(ctx)
		if err != nil {
			return readFault(err)
		}
		// Each message of a batch names the one before it, and the end names the
		// last: a connection that broke meanwhile must not pass for a gap.
		if named := msg.Header.Get(lastSequenceHeader); named != "" && named != strconv.FormatUint(last, 10) {
			return readFault(fmt.Errorf("direct get: %s %w", named, errIncomplete))
		}
		switch status := msg.Header.Get("Status"); status {
		case "":
		case "204", "404": // the end of the chunk, or nothing there
			return nil
		default:
			return readFault(fmt.Errorf("direct get: %s %s", status, msg.Header.Get("Description")))
		}
		seq, err := strconv.ParseUint(msg.Header.Get(sequenceHeader), 10, 64)
		if err != nil {
			return readFault(fmt.Errorf("direct get: sequence: %w", err))
		}
		if !l.alone && ask.Seq > 0 && seq > expected {
			if err := s.confirmGap(ctx, l, ln, expected, seq); err != nil {
				return err
			}
		}
		last, expected = seq, seq+1
		when, _ := time.Parse(time.RFC3339Nano, msg.Header.Get(timestampHeader))
		each(seq, when, msg.Header, msg.Data)
		if ask.Batch == 0 {
			return nil
		}
	}
}

var (
	errLeaderless = errors.New("the lane has no leader")
	errIncomplete = errors.New("is missing in the answer")
	errDamaged    = errors.New("the server that answered has lost a message that the lane's leader has; asking again")
)

// confirmGap makes sure that what a server of a cluster does not have was
// purged, and is not missing in its own files: from from up to, without, to.
func (s *Stream) confirmGap(ctx context.Context, l *link, ln *lane, from, to uint64) error {
	stream, err := l.js.Stream(ctx, ln.stream)
	if err != nil {
		return readFault(err)
	}
	first := stream.CachedInfo().State.FirstSeq
	if first >= to {
		return nil
	}
	_, err = stream.GetMsg(ctx, max(from, first)) // of the leader
	switch {
	case errors.Is(err, jetstream.ErrMsgNotFound):
		return nil
	case err != nil:
		return readFault(err)
	}
	s.log.ErrorContext(ctx, "a server of the event stream's cluster has lost messages", "lane", string(ln.name), "from", max(from, first), "to", to-1)
	return readFault(errDamaged)
}

func readFault(err error) error {
	if errors.Is(err, context.Canceled) {
		return err
	}
	return unavailable(err, "The event stream cannot be read now.")
}

// State is a lane's extent.
type State struct {
	FirstSeq, LastSeq uint64
	Bytes, MaxBytes   int64
}

// State asks the server for the lane's extent.
func (s *Stream) State(ctx context.Context, of Lane) (State, error) {
	ln, ok := s.lanes[of]
	if !ok {
		return State{}, fmt.Errorf("state: no lane %q", of)
	}
	l := s.link.Load()
	info, err := s.info(ctx, l, ln)
	if err != nil {
		return State{}, err
	}
	state := State{
		FirstSeq: firstSeq(info.State.FirstSeq),
		LastSeq:  lastSeq(info.State.LastSeq),
		Bytes:    int64(info.State.Bytes),
		MaxBytes: info.Config.MaxBytes,
	}
	if l.alone {
		state.LastSeq = min(state.LastSeq, lastSeq(ln.horizon.Load()))
	}
	return state, nil
}

func (s *Stream) info(ctx context.Context, l *link, ln *lane) (*jetstream.StreamInfo, error) {
	ctx, cancel := context.WithTimeout(ctx, readWait)
	defer cancel()
	stream, err := l.js.Stream(ctx, ln.stream)
	if err != nil {
		return nil, readFault(err)
	}
	info := stream.CachedInfo()
	if !l.alone {
		if info.Cluster != nil && info.Cluster.Leader == "" {
			return nil, readFault(errLeaderless) // the answer of a server that is cut off
		}
		s.learn(ctx, l, ln, info) // somebody else may have made it anew
	}
	return info, nil
}

// Waiting counts the events in messages after a sequence, exactly, and says
// when the oldest of them was stored (zero for none).
func (s *Stream) Waiting(ctx context.Context, in Lane, after uint64) (events int64, oldest time.Time, err error) {
	ln, ok := s.lanes[in]
	if !ok {
		return 0, time.Time{}, fmt.Errorf("waiting: no lane %q", in)
	}
	l := s.link.Load()
	last, purged := ln.horizon.Load(), uint64(0)
	if !l.alone {
		info, err := s.info(ctx, l, ln)
		if err != nil {
			return 0, time.Time{}, err
		}
		last, purged = info.State.LastSeq, info.State.FirstSeq-1
		ln.index.forget(info.State.FirstSeq) // whoever purges is elsewhere
	}
	ln.index.cover(placeOf(after))
	ends := time.Now().Add(readWait)
	// Messages that this process has not published, of an earlier life or of
	// another replica, are counted from their headers once.
	for next := ln.index.next(); next <= last; {
		seen := next
		err := s.direct(ctx, l, ln, directGet{Seq: next, Batch: fetchChunkMessages, MaxBytes: fetchChunkBytes}, func(seq uint64, _ time.Time, header nats.Header, data []byte) {
			if seq > last {
				return
			}
			n, err := strconv.Atoi(header.Get(eventsHeader))
			if err != nil {
				b, _ := DecodeBatch(data)
				n = b.Count()
			}
			ln.index.fill(seq, n)
			seen = seq + 1
		})
		if err != nil {
			return 0, time.Time{}, err
		}
		if seen == next && (l.alone || next <= purged) {
			if l.alone {
				purged = last // to the end
			}
			ln.index.skip(min(purged, last))
		} else if seen == next {
			// The server that answered has not got there yet: it is behind the
			// leader, which has told the last.
			if time.Now().After(ends) || !pauseFor(ctx, behindPause) {
				return 0, time.Time{}, readFault(errBehind)
			}
		}
		next = max(seen, ln.index.next())
	}
	var rest int64
	if after%groupMost != 0 {
		if rest, oldest, err = s.restOf(ctx, l, ln, after); err != nil {
			return 0, time.Time{}, err
		}
	}
	events, first := ln.index.after(placeOf(after))
	if events == 0 || rest > 0 {
		return events + rest, oldest, nil
	}
	err = s.direct(ctx, l, ln, directGet{Seq: first, Batch: 1}, func(_ uint64, when time.Time, _ nats.Header, _ []byte) {
		oldest = when
	})
	return events, oldest, err
}

const behindPause = 20 * time.Millisecond

var errBehind = errors.New("the servers that answer are behind the lane's leader")

// Purge removes messages that a reader has committed: never past through, and
// keeping those of the last keep (at most keepBytes of them) for live readers.
func (s *Stream) Purge(ctx context.Context, in Lane, through uint64, keep time.Duration, keepBytes int64) error {
	ln, ok := s.lanes[in]
	if !ok {
		return fmt.Errorf("purge: no lane %q", in)
	}
	l := s.link.Load()
	ctx, cancel := context.WithTimeout(ctx, readWait)
	defer cancel()
	stream, err := l.js.Stream(ctx, ln.stream)
	if err != nil {
		return readFault(err)
	}
	info := stream.CachedInfo()
	if info.Cluster != nil && info.Cluster.Leader == "" && !l.alone {
		return readFault(errLeaderless)
	}
	state := info.State
	committed := through / groupMost // a group that is committed in part stays
	if state.Msgs == 0 || committed < state.FirstSeq {
		return nil
	}
	// The first message that is young enough to stay.
	keepFrom := state.LastSeq + 1
	since := info.TimeStamp.Add(-keep).UTC() // by the clock that stamped the messages
	err = s.direct(ctx, l, ln, directGet{StartTime: &since, NextFor: ln.subject, Batch: 1}, func(seq uint64, _ time.Time, _ nats.Header, _ []byte) {
		keepFrom = seq
	})
	if err != nil {
		return err
	}
	// Beyond keepBytes the oldest go, counted by the mean size: readers commit
	// all the time, so each call corrects the last one.
	if excess := int64(state.Bytes) - keepBytes; excess > 0 {
		mean := max(int64(state.Bytes/state.Msgs), 1)
		keepFrom = max(keepFrom, state.FirstSeq+uint64(excess/mean))
	}
	keepFrom = min(keepFrom, committed+1)
	if keepFrom <= state.FirstSeq {
		return nil
	}
	if err := stream.Purge(ctx, jetstream.WithPurgeSequence(keepFrom)); err != nil {
		return unavailable(err, "The event stream cannot be purged now.")
	}
	ln.index.forget(keepFrom)
	return nil
}

// followBehind is how many stored messages a follower may fall behind before it
// skips.
const followBehind = 2000

// Follow calls fn with every message from now on until ctx ends. A follower
// that falls 2,000 messages behind loses the older ones, and the next message's
// Missed says how many events that were.
func (s *Stream) Follow(ctx context.Context, from Lane, fn func(Message)) error {
	state, err := s.State(ctx, from)
	if err != nil {
		return err
	}
	return s.followFrom(ctx, from, state.LastSeq+1, fn)
}

// Positions are places in several lanes: the next sequence to read of each.
type Positions map[Lane]uint64

// Ends tells where all lanes of a kind end now.
func (s *Stream) Ends(ctx context.Context, kind Lane) (Positions, error) {
	ends := Positions{}
	for shard := range len(s.lanes) / 2 {
		lane := laneOf(kind, shard)
		state, err := s.State(ctx, lane)
		if err != nil {
			return nil, err
		}
		ends[lane] = state.LastSeq + 1
	}
	return ends, nil
}

// FollowFrom is Follow of several lanes at once, from positions that the caller
// knows, so that nothing is lost between a promise to somebody and the first
// read. fn is called for one message at a time.
func (s *Stream) FollowFrom(ctx context.Context, from Positions, fn func(Message)) error {
	var calling sync.Mutex
	group, ctx := errgroup.WithContext(ctx)
	for lane, seq := range from {
		group.Go(func() error {
			return s.followFrom(ctx, lane, seq, func(m Message) {
				calling.Lock()
				defer calling.Unlock()
				fn(m)
			})
		})
	}
	return group.Wait()
}

func (s *Stream) followFrom(ctx context.Context, from Lane, seq uint64, fn func(Message)) error {
	incarnation := s.Incarnation(from)
	missed := int64(0)
	for ctx.Err() == nil {
		messages, err := s.Fetch(ctx, from, seq, FetchLimit{Messages: 100, Bytes: 8 << 20})
		if err == nil && len(messages) == 0 {
			messages, err = s.Fetch(ctx, from, seq, FetchLimit{Messages: 1, Wait: time.Minute})
		}
		if err != nil {
			select {
			case <-ctx.Done():
			case <-time.After(pollEvery):
			}
			continue
		}
		for _, m := range messages {
			m.Missed, missed = missed, 0
			fn(m)
			seq = m.Seq + 1
			if ctx.Err() != nil {
				return nil
			}
		}
		state, err := s.State(ctx, from)
		if err != nil {
			continue
		}
		if now := s.Incarnation(from); now != incarnation {
			incarnation, seq = now, state.FirstSeq
		}
		if state.LastSeq > seq+lastSeq(followBehind) {
			skipTo := state.LastSeq - lastSeq(followBehind/2) + 1
			all, _, err := s.Waiting(ctx, from, seq-1)
			if err != nil {
				continue
			}
			rest, _, err := s.Waiting(ctx, from, skipTo-1)
			if err != nil {
				continue
			}
			missed += max(all-rest, 0)
			seq = skipTo
		}
	}
	return nil
}

// DeadLetter keeps a message that a reader cannot use, with the reason, in a
// bounded stream of its own (256 MiB, oldest dropped first).
func (s *Stream) DeadLetter(ctx context.Context, from Lane, m Message, reason string) error {
	ctx, cancel := context.WithTimeout(ctx, ackWait)
	defer cancel()
	if len(reason) > 1000 {
		reason = reason[:1000]
	}
	msg := &nats.Msg{Subject: "causality." + dead, Data: m.Raw, Header: nats.Header{
		"Causality-Lane":   []string{string(from)},
		"Causality-Seq":    []string{strconv.FormatUint(m.Seq, 10)},
		"Causality-Reason": []string{oneLine(reason)},
	}}
	if _, err := s.link.Load().js.PublishMsg(ctx, msg); err != nil {
		return unavailable(err, "The message cannot be set aside now.")
	}
	return nil
}

// DeadLetters counts the messages set aside.
func (s *Stream) DeadLetters(ctx context.Context) (int64, error) {
	ctx, cancel := context.WithTimeout(ctx, readWait)
	defer cancel()
	stream, err := s.link.Load().js.Stream(ctx, "causality_"+dead)
	if err != nil {
		return 0, fault.Wrap(err, fault.Unavailable, "The event stream cannot be read now.")
	}
	return int64(stream.CachedInfo().State.Msgs), nil
}

func oneLine(s string) string {
	b := []byte(s)
	for i, c := range b {
		if c < ' ' {
			b[i] = ' '
		}
	}
	return string(b)
}
