package stream

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

// DeadLetter is a message that was set aside by a reader, with its reason. Its
// number names it for good.
type DeadLetter struct {
	Number   uint64
	At       time.Time
	Lane     Lane
	Seq      uint64 // in its lane
	Reason   string
	Replaces uint64 // number of the letter that this one takes the place of; 0: none
	Batch    Batch
	Raw      []byte
	Err      error // it cannot be read: Batch is empty
}

const (
	deadSubject    = "causality." + dead
	deadStream     = "causality_" + dead
	laneHeader     = "Causality-Lane"
	seqHeader      = "Causality-Seq"
	reasonHeader   = "Causality-Reason"
	replacesHeader = "Causality-Replaces"
)

// EachDeadLetter yields the dead letters of all workspaces, oldest first, until
// yield fails. Letters that are set aside meanwhile may be left out.
func (s *Stream) EachDeadLetter(ctx context.Context, yield func(*DeadLetter) error) error {
	stream, err := s.link.Load().js.Stream(ctx, deadStream)
	if err != nil {
		return readFault(err)
	}
	state := stream.CachedInfo().State
	if state.Msgs == 0 {
		return nil
	}
	for next := state.FirstSeq; next <= state.LastSeq; next++ {
		letter, err := deadLetter(ctx, stream, next)
		if errors.Is(err, jetstream.ErrMsgNotFound) {
			return nil
		}
		if err != nil {
			return readFault(err)
		}
		if letter.Number > state.LastSeq {
			return nil
		}
		if err := yield(letter); err != nil {
			return err
		}
		next = letter.Number
	}
	return nil
}

// deadLetter reads the first letter whose number is at least from.
func deadLetter(ctx context.Context, stream jetstream.Stream, from uint64) (*DeadLetter, error) {
	ctx, cancel := context.WithTimeout(ctx, readWait)
	defer cancel()
	message, err := stream.GetMsg(ctx, from, jetstream.WithGetMsgSubject(deadSubject))
	if err != nil {
		return nil, err
	}
	number := func(name string) uint64 {
		n, _ := strconv.ParseUint(message.Header.Get(name), 10, 64)
		return n
	}
	letter := &DeadLetter{
		Number: message.Sequence, At: message.Time.UTC(), Lane: Lane(message.Header.Get(laneHeader)), Seq: number(seqHeader),
		Reason: message.Header.Get(reasonHeader), Replaces: number(replacesHeader), Raw: message.Data,
	}
	letter.Batch, letter.Err = DecodeBatch(message.Data)
	if letter.Err == nil && (letter.Batch.WorkspaceID == "" || letter.Batch.AppID == "") {
		letter.Err = fmt.Errorf("%w: it names no app", errMalformed)
	}
	return letter, nil
}

// DeleteDeadLetter overwrites and removes a letter. One that is gone already is
// no error.
func (s *Stream) DeleteDeadLetter(ctx context.Context, number uint64) error {
	ctx, cancel := context.WithTimeout(ctx, readWait)
	defer cancel()
	stream, err := s.link.Load().js.Stream(ctx, deadStream)
	if err != nil {
		return readFault(err)
	}
	err = stream.SecureDeleteMsg(ctx, number)
	if err == nil || errors.Is(err, jetstream.ErrMsgNotFound) {
		return nil
	}
	// The server tells a letter that is gone by more than one error.
	if _, again := stream.GetMsg(ctx, number); errors.Is(again, jetstream.ErrMsgNotFound) {
		return nil
	}
	return unavailable(err, "The dead letter cannot be deleted now.")
}

// ReplaceDeadLetter puts batch in the place of a letter's. A crash may leave
// both; the new one's Replaces tells.
func (s *Stream) ReplaceDeadLetter(ctx context.Context, letter *DeadLetter, batch *Batch) error {
	publish, cancel := context.WithTimeout(ctx, ackWait)
	defer cancel()
	message := &nats.Msg{Subject: deadSubject, Data: AppendBatch(nil, batch), Header: nats.Header{
		laneHeader:     []string{string(letter.Lane)},
		seqHeader:      []string{strconv.FormatUint(letter.Seq, 10)},
		reasonHeader:   []string{letter.Reason},
		replacesHeader: []string{strconv.FormatUint(letter.Number, 10)},
	}}
	if _, err := s.link.Load().js.PublishMsg(publish, message); err != nil {
		return unavailable(err, "The dead letter cannot be rewritten now.")
	}
	return s.DeleteDeadLetter(ctx, letter.Number)
}

// DeadCount is what the dead letters hold.
type DeadCount struct {
	Letters, Events int64 // events in those that can be read

	first, last uint64
}

// CountDead counts them. Counting reads every letter, so known, the last count
// or nil, is returned again for as long as nothing has changed.
func (s *Stream) CountDead(ctx context.Context, known *DeadCount) (*DeadCount, error) {
	stream, err := s.link.Load().js.Stream(ctx, deadStream)
	if err != nil {
		return nil, readFault(err)
	}
	state := stream.CachedInfo().State
	now := &DeadCount{Letters: int64(state.Msgs), first: state.FirstSeq, last: state.LastSeq}
	if known != nil && known.Letters == now.Letters && known.first == now.first && known.last == now.last {
		return known, nil
	}
	if now.Letters == 0 {
		return now, nil
	}
	err = s.EachDeadLetter(ctx, func(letter *DeadLetter) error {
		now.Events += int64(letter.Batch.Count())
		return ctx.Err()
	})
	return now, err
}
