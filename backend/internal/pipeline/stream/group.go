package stream

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"sync/atomic"
	"time"

	"github.com/causality-project/causality/backend/internal/platform/failpoint"
	"github.com/nats-io/nats.go"
	"google.golang.org/protobuf/encoding/protowire"
)

// Group commit. A sync of the disk costs a millisecond or more, and the server
// makes one for each message. So the batches that arrive while one sync is under
// way share the next: they travel as one message, and stand or fall together.
//
// Each batch still has a sequence of its own. The message at place n of the
// stream has the sequences from (n-1)*groupMost+1 through n*groupMost, and its
// batches take the last of them; what is not taken is a gap. A reader that has
// stopped within a group so goes on where it was.
const (
	groupMost      = 64 // changing it changes what every stored offset means
	groupMostBytes = 1 << 20
	// groupMostEvents keeps a message's count within the index's 16 bits.
	groupMostEvents = 1<<16 - 1

	// batchesHeader tells how many batches a message holds, as the message
	// causality.stream.v1.Group. Without it the message is one batch.
	batchesHeader = "Causality-Batches"
)

func firstSeq(place uint64) uint64 {
	if place == 0 {
		return 0
	}
	return (place-1)*groupMost + 1
}

func lastSeq(place uint64) uint64 { return place * groupMost }

// placeOf is the place of the message that holds a sequence.
func placeOf(seq uint64) uint64 { return seq/groupMost + min(seq%groupMost, 1) }

// waiter is one batch on its way to the disk.
type waiter struct {
	data   []byte
	events int
	taken  atomic.Bool // by the committer, or by a sender who no longer waits
	done   chan error  // buffered 1: never holds the committer up
}

// commitAll writes what arrives in the lane's queue, and when ctx ends what is
// still in it.
func (s *Stream) commitAll(ctx context.Context, ln *lane) {
	defer close(ln.drained)
	var group []*waiter
	var buf []byte
	var next *waiter // did not fit into the last group
	for {
		if next == nil {
			select {
			case next = <-ln.queue:
			default:
				select {
				case next = <-ln.queue:
				case <-ctx.Done():
					return
				}
			}
		}
		group, next = ln.gather(group[:0], next)
		if len(group) == 0 {
			continue
		}
		var err error
		buf, err = s.commit(ln, group, buf[:0])
		for i, w := range group {
			w.done <- err
			group[i] = nil
		}
		if cap(buf) > 2*groupMostBytes {
			buf = nil
		}
	}
}

// gather takes the first and whatever else waits, as far as it fits.
func (ln *lane) gather(group []*waiter, w *waiter) (_ []*waiter, next *waiter) {
	bytes, events := 0, 0
	for {
		if len(group) > 0 && (bytes+len(w.data) > groupMostBytes || events+w.events > groupMostEvents) {
			return group, w
		}
		if w.taken.CompareAndSwap(false, true) {
			group = append(group, w)
			bytes += len(w.data)
			events += w.events
		}
		if len(group) == groupMost {
			return group, nil
		}
		select {
		case w = <-ln.queue:
		default:
			return group, nil
		}
	}
}

// commit publishes a group and waits for the acknowledgement, which follows the
// sync. No sender's context ends it, since it serves several.
func (s *Stream) commit(ln *lane, group []*waiter, buf []byte) ([]byte, error) {
	l := s.link.Load()
	ctx, cancel := context.WithTimeout(l.life, ackWait)
	defer cancel()
	data, events := group[0].data, group[0].events
	header := nats.Header{}
	if len(group) > 1 {
		events = 0
		for _, w := range group {
			buf = protowire.AppendTag(buf, 1, protowire.BytesType)
			buf = protowire.AppendBytes(buf, w.data)
			events += w.events
		}
		data = buf
		header[batchesHeader] = []string{strconv.Itoa(len(group))}
	}
	place, err := s.send(ctx, l, ln, header, data, events)
	if l.life.Err() != nil && err != nil {
		return buf, errRestarted
	}
	if err != nil {
		return buf, err
	}
	ln.stored(place, events)
	failpoint.Hit("stream.after-publish")
	return buf, nil
}

// enqueue hands a batch to the committer and returns its outcome. A sender whose
// context ends leaves the queue; once its batch is being written, it waits for
// the outcome, which commit bounds.
func (ln *lane) enqueue(ctx context.Context, data []byte, events int) error {
	w := &waiter{data: data, events: events, done: make(chan error, 1)}
	select {
	case ln.queue <- w:
	case <-ctx.Done():
		return ctx.Err()
	case <-ln.drained:
		return errClosed
	}
	select {
	case err := <-w.done:
		return err
	case <-ctx.Done():
		if w.taken.CompareAndSwap(false, true) {
			return ctx.Err()
		}
		return <-w.done
	case <-ln.drained:
		if w.taken.CompareAndSwap(false, true) {
			return errClosed
		}
		return <-w.done
	}
}

var (
	errClosed    = errors.New("the event stream is closed")
	errRestarted = errors.New("the event stream was restarted before it answered")
)

// ungroup calls each with every batch of the message at a place, in order. A
// message that cannot be taken apart is one unreadable batch.
func ungroup(place uint64, header nats.Header, data []byte, each func(seq uint64, data []byte, err error)) {
	count := header.Get(batchesHeader)
	if count == "" {
		each(lastSeq(place), data, nil)
		return
	}
	var parts [][]byte
	err := eachField(data, func(num protowire.Number, v []byte, _ uint64) error {
		if num != 1 || len(parts) == groupMost {
			return errMalformed
		}
		parts = append(parts, v)
		return nil
	})
	if err == nil && count != strconv.Itoa(len(parts)) {
		err = fmt.Errorf("%w: %d batches instead of %s", errMalformed, len(parts), count)
	}
	if err != nil {
		each(lastSeq(place), data, err)
		return
	}
	seq := lastSeq(place) - uint64(len(parts)) + 1
	for i, part := range parts {
		each(seq+uint64(i), part, nil)
	}
}

// restOf counts the events of a message that lie after a sequence within it.
func (s *Stream) restOf(ctx context.Context, l *link, ln *lane, after uint64) (events int64, at time.Time, err error) {
	place := placeOf(after)
	err = s.direct(ctx, l, ln, directGet{Seq: place, Batch: 1}, func(found uint64, when time.Time, header nats.Header, data []byte) {
		if found != place {
			return // purged
		}
		ungroup(place, header, data, func(seq uint64, data []byte, err error) {
			if seq <= after || err != nil {
				return
			}
			b, _ := DecodeBatch(data)
			if n := int64(b.Count()); n > 0 {
				events, at = events+n, when
			}
		})
	})
	return events, at, err
}
