package lake

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/causality-project/causality/backend/internal/account/tenancy"
	"github.com/causality-project/causality/backend/internal/pipeline/stream"
	"github.com/causality-project/causality/backend/internal/platform/fault"
)

// DeadLetter is a message that was accepted and could not be landed.
type DeadLetter struct {
	Number     uint64
	AppID      string // empty: it cannot be read
	Lane       string
	SetAsideAt time.Time
	Events     int
	Bytes      int
	Reason     string
}

const (
	maxDeadLetters = 1000 // of one listing
	replayPatience = time.Minute
)

// eachDead yields the dead letters that a caller may see: those of ctx's
// workspace, and the unreadable ones, which are nobody's, to who operates the
// installation.
func (l *Lake) eachDead(ctx context.Context, operator bool, numbers []uint64, yield func(*stream.DeadLetter) error) error {
	workspaceID, err := tenancy.Workspace(ctx)
	if err != nil {
		return err
	}
	missing := slices.Clone(numbers)
	err = l.cfg.Stream.EachDeadLetter(ctx, func(letter *stream.DeadLetter) error {
		if letter.Err == nil && letter.Batch.WorkspaceID != workspaceID || letter.Err != nil && !operator || ctx.Err() != nil {
			return ctx.Err()
		}
		if len(numbers) > 0 && !slices.Contains(numbers, letter.Number) {
			return nil
		}
		missing = slices.DeleteFunc(missing, func(n uint64) bool { return n == letter.Number })
		return yield(letter)
	})
	if err == nil && len(missing) > 0 {
		err = fault.New(fault.NotFound, "No dead letter has the number %d. List them with: causality lake dead-letters list", missing[0])
	}
	return err
}

// DeadLetters lists the first 1,000, oldest first, and says whether there are
// more. Unreadable ones are listed for the operator alone.
func (l *Lake) DeadLetters(ctx context.Context, operator bool) (letters []DeadLetter, more bool, err error) {
	err = l.eachDead(ctx, operator, nil, func(letter *stream.DeadLetter) error {
		if len(letters) == maxDeadLetters {
			more = true
			return nil
		}
		letters = append(letters, DeadLetter{Number: letter.Number, AppID: letter.Batch.AppID, Lane: string(letter.Lane), SetAsideAt: letter.At,
			Events: letter.Batch.Count(), Bytes: len(letter.Raw), Reason: letter.Reason})
		return nil
	})
	return letters, more, err
}

// Replayed is what a replay did.
type Replayed struct {
	Letters    int // have landed, and are gone
	Events     int64
	Unreadable int // are kept
}

// ReplayDeadLetters sends letters through the stream again, all of them for no
// numbers, and deletes each once it has landed. Its events count once, however
// often it is replayed: their ids are known. A letter that fails again becomes
// a new one.
func (l *Lake) ReplayDeadLetters(ctx context.Context, operator bool, numbers []uint64) (done Replayed, err error) {
	type sent struct {
		number uint64
		events int64
	}
	var published []sent
	err = l.eachDead(ctx, operator, numbers, func(letter *stream.DeadLetter) error {
		if letter.Err != nil {
			done.Unreadable++
			return nil
		}
		kind := stream.Live
		if strings.HasPrefix(string(letter.Lane), string(stream.Import)) {
			kind = stream.Import
		}
		if err := l.cfg.Stream.Publish(ctx, kind, &letter.Batch); err != nil {
			return err
		}
		published = append(published, sent{letter.Number, int64(letter.Batch.Count())})
		return nil
	})
	if err != nil {
		return done, err
	}
	if len(published) == 0 {
		return done, nil
	}
	if err := l.waitLanded(ctx); err != nil {
		return done, err
	}
	for _, letter := range published {
		if err := l.cfg.Stream.DeleteDeadLetter(ctx, letter.number); err != nil {
			return done, err
		}
		done.Letters++
		done.Events += letter.events
	}
	return done, nil
}

// waitLanded waits until the lanes have landed what they hold now.
func (l *Lake) waitLanded(ctx context.Context) error {
	lanes, err := l.standing(ctx)
	if err != nil {
		return err
	}
	for deadline := time.Now().Add(replayPatience); ; {
		passed, err := l.hasLanded(ctx, lanes)
		if err != nil || passed {
			return err
		}
		if time.Now().After(deadline) {
			return fault.New(fault.Unavailable, "The events are in the stream and have not landed within %v: the health page says why. The dead letters are kept; replay them again later, which counts nothing twice", replayPatience)
		}
		if !sleep(ctx, landPoll) {
			return fmt.Errorf("wait for the events to land: %w", ctx.Err())
		}
	}
}

// DropDeadLetters deletes letters for good, all of them for no numbers.
func (l *Lake) DropDeadLetters(ctx context.Context, operator bool, numbers []uint64) (letters int, events int64, err error) {
	err = l.eachDead(ctx, operator, numbers, func(letter *stream.DeadLetter) error {
		if err := l.cfg.Stream.DeleteDeadLetter(ctx, letter.Number); err != nil {
			return err
		}
		letters++
		events += int64(letter.Batch.Count())
		return nil
	})
	if letters > 0 {
		l.log.WarnContext(ctx, "dead letters were dropped", "letters", letters, "events", events)
	}
	return letters, events, err
}
