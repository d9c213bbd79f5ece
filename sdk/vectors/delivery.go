package vectors

import (
	"encoding/hex"
	"errors"
	"fmt"
	"hash/fnv"
	"maps"
	"strings"

	"github.com/causality-project/causality/sdk/core"
)

// script is a vector of delivery.json, with one client and a queue of its own, or
// of shared.json, with several clients and one queue.
type script struct {
	Name        string      `json:"name"`
	Seed        uint64      `json:"seed"`
	FlushAt     int         `json:"flushAt"`
	FlushEvery  core.Micros `json:"flushEvery"`
	MaxAge      core.Micros `json:"maxAge"`
	QueueBytes  int         `json:"queueBytes,omitempty"`
	QueueEvents int         `json:"queueEvents,omitempty"`
	BufferBytes int         `json:"bufferBytes,omitempty"`
	Steps       []step      `json:"steps"`
}

type step struct {
	At       core.Micros `json:"at"`
	Tab      string      `json:"tab,omitempty"`
	Input    string      `json:"input"`
	Event    *event      `json:"event,omitempty"`
	Pad      int         `json:"pad,omitempty"`
	Times    int         `json:"times,omitempty"`
	Blocks   []uint64    `json:"blocks,omitempty"`
	Answer   *answer     `json:"answer,omitempty"`
	DiskFull bool        `json:"diskFull,omitempty"`
	Error    string      `json:"error,omitempty"`
	Commands []string    `json:"commands,omitempty"`
	Stats    *stats      `json:"stats,omitempty"`
	Deadline core.Micros `json:"deadline,omitempty"`
}

type answer struct {
	Status     int         `json:"status"`
	RetryAfter core.Micros `json:"retryAfter,omitempty"`
	Body       string      `json:"body,omitempty"`
}

type stats struct {
	Queued      int                    `json:"queued"`
	QueuedBytes int                    `json:"queuedBytes"`
	Sent        uint64                 `json:"sent"`
	Dropped     map[core.Reason]uint64 `json:"dropped,omitempty"`
	Failures    int                    `json:"failures,omitempty"`
	NextAttempt core.Micros            `json:"nextAttempt,omitempty"`
	Paused      bool                   `json:"paused,omitempty"`
	OptedOut    bool                   `json:"optedOut,omitempty"`
}

// longBody is the size in bytes above which a body is told by its hash.
const longBody = 4096

// delivery replays a script of delivery.json.
func delivery(vector []byte) ([]byte, error) {
	return replay(vector, func(s *script) error { return s.run(false) })
}

// shared replays a script of shared.json.
func shared(vector []byte) ([]byte, error) {
	return replay(vector, func(s *script) error { return s.run(true) })
}

// queue is the disk that the clients of a script write to.
type queue struct {
	blocks []core.Block
	state  []byte
	last   uint64                    // the highest number that it gave
	infos  map[uint64]core.BlockInfo // of every block that it ever held
}

// client is a core with its driver.
type client struct {
	core    *core.Core
	cfg     core.Config
	leading bool
	attempt uint64
}

func (s *script) run(shared bool) error {
	q := &queue{infos: map[uint64]core.BlockInfo{}}
	tabs := map[string]*client{}
	for i := range s.Steps {
		step := &s.Steps[i]
		tab := tabs[step.Tab]
		if tab == nil {
			tab = &client{cfg: core.Config{
				FlushAt: s.FlushAt, FlushEvery: s.FlushEvery, MaxAge: s.MaxAge,
				QueueBytes: s.QueueBytes, QueueEvents: s.QueueEvents, BufferBytes: s.BufferBytes, Shared: shared,
				Library: core.Library{Name: "vector", Version: "1"}, Random: splitMix(s.Seed + uint64(len(tabs))),
			}}
			tabs[step.Tab] = tab
			if err := tab.start(q); err != nil {
				return err
			}
		}
		if err := tab.step(step, q); err != nil {
			return fmt.Errorf("%s, step %d: %w", s.Name, i, err)
		}
	}
	return nil
}

// start begins a life of the client with what the queue holds.
func (t *client) start(q *queue) (err error) {
	t.core, err = core.New(t.cfg, q.state, q.stored())
	t.leading = false
	return err
}

func (t *client) step(s *step, q *queue) error {
	s.Error, s.Commands, s.Stats, s.Deadline = "", nil, nil, 0
	switch s.Input {
	case "track":
		if err := t.track(s); err != nil {
			return err
		}
	case "answer":
		body, err := hex.DecodeString(s.Answer.Body)
		if err != nil {
			return err
		}
		t.core.Answered(s.At, t.attempt, core.Response{Status: s.Answer.Status, RetryAfter: s.Answer.RetryAfter, Body: body})
	case "flush":
		t.core.Flush(s.At)
	case "optOut":
		t.core.OptOut()
	case "optIn":
		t.core.OptIn()
	case "close":
		t.core.Close()
	case "restart":
		if err := t.start(q); err != nil {
			return err
		}
	case "lead":
		t.leading = true
		t.core.Lead(s.At, q.state, q.stored())
	case "follow":
		t.leading = false
		t.core.Follow()
	case "stored":
		t.core.Stored(s.At, q.describe(s.Blocks)...)
	case "lost":
		q.remove(func(seq uint64) bool {
			for _, lost := range s.Blocks {
				if seq == lost {
					return true
				}
			}
			return false
		})
		t.core.Lost(s.At, s.Blocks...)
	case "tick", "stats":
	default:
		return fmt.Errorf("the input %q is unknown", s.Input)
	}
	for {
		command, more := t.core.Poll(s.At)
		if !more {
			break
		}
		text, err := t.perform(command, s, q)
		if err != nil {
			return err
		}
		s.Commands = append(s.Commands, text)
	}
	if s.Input == "stats" {
		now := t.core.Stats()
		s.Stats = &stats{
			now.Queued, now.QueuedBytes, now.Sent, now.Dropped, now.Failures, now.NextAttempt, now.Paused, now.OptedOut,
		}
	}
	if at := t.core.Deadline(s.At); at != core.Never {
		s.Deadline = at
	}
	return nil
}

func (t *client) track(s *step) error {
	e, err := s.Event.core()
	if err != nil {
		return err
	}
	if s.Pad > 0 {
		e.Properties = maps.Clone(e.Properties)
		if e.Properties == nil {
			e.Properties = map[string]any{}
		}
		e.Properties["pad"] = strings.Repeat("x", s.Pad)
	}
	for range max(s.Times, 1) {
		if _, err := t.core.Track(s.At, e); err != nil {
			s.Error = err.Error()
		}
	}
	return nil
}

// perform does what the core asks for, and says what that was.
func (t *client) perform(command core.Command, s *step, q *queue) (string, error) {
	switch {
	case command.Commit != nil:
		text := "commit"
		for _, b := range command.Commit.Append {
			text += fmt.Sprintf(" append %d (%d events)", b.Seq, b.Events)
		}
		for _, r := range command.Commit.Delete {
			text += fmt.Sprintf(" delete %d-%d", r.First, r.Last)
		}
		if s.DiskFull {
			t.core.Committed(s.At, false)
			return text + " fails", nil
		}
		given := q.commit(command.Commit)
		t.core.Committed(s.At, true)
		if t.leading && len(given) > 0 {
			t.core.Stored(s.At, q.describe(given)...)
		}
		return text, nil
	case command.Send != nil:
		r := command.Send
		t.attempt = r.Attempt
		var blocks [][]byte
		for _, b := range append(append([]core.Block{}, q.blocks...), r.Unsaved...) {
			if b.Seq >= r.First && b.Seq <= r.Last {
				blocks = append(blocks, b.Data)
			}
		}
		body, ok := core.AppendBody(nil, blocks, r.Skip, r.Events, r.Trailer)
		if !ok {
			return "", errors.New("the queue does not hold what is to be sent")
		}
		if len(body) > longBody {
			hash := fnv.New32a()
			_, _ = hash.Write(body) // never fails
			return fmt.Sprintf("send %d events: %d bytes, fnv1a %08x", r.Events, len(body), hash.Sum32()), nil
		}
		return fmt.Sprintf("send %d events: %x", r.Events, body), nil
	case command.Cancel != 0:
		return "cancel", nil
	case command.Rejected != nil:
		return fmt.Sprintf("rejected %+v", command.Rejected), nil
	}
	return fmt.Sprintf("dropped %d %s", command.Dropped.Events, command.Dropped.Reason), nil
}

// commit makes a change, and gives the numbers of the blocks that came without.
func (q *queue) commit(change *core.Change) (given []uint64) {
	for _, r := range change.Delete {
		q.remove(func(seq uint64) bool { return seq >= r.First && seq <= r.Last })
	}
	for _, b := range change.Append {
		if b.Seq == 0 {
			b.Seq = q.last + 1
			given = append(given, b.Seq)
		}
		q.last = b.Seq
		q.blocks = append(q.blocks, b)
		q.infos[b.Seq] = core.BlockInfo{Seq: b.Seq, At: b.At, Events: b.Events, Bytes: len(b.Data)}
	}
	if change.State != nil {
		q.state = change.State
	}
	return given
}

func (q *queue) remove(gone func(seq uint64) bool) {
	var kept []core.Block
	for _, b := range q.blocks {
		if !gone(b.Seq) {
			kept = append(kept, b)
		}
	}
	q.blocks = kept
}

func (q *queue) stored() []core.BlockInfo {
	var out []core.BlockInfo
	for _, b := range q.blocks {
		out = append(out, q.infos[b.Seq])
	}
	return out
}

func (q *queue) describe(seqs []uint64) []core.BlockInfo {
	var out []core.BlockInfo
	for _, seq := range seqs {
		out = append(out, q.infos[seq])
	}
	return out
}
