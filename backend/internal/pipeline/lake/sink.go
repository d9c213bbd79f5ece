package lake

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/causality-project/causality/backend/internal/account/tenancy"
	"github.com/causality-project/causality/backend/internal/pipeline/stream"
	"github.com/causality-project/causality/backend/internal/platform/failpoint"
)

const (
	objectsPerSecond = 20          // runs grow until no more are written
	longestAge       = time.Minute // however many apps there are
	firstPause       = time.Second // after a failure, doubling
	longestPause     = 30 * time.Second
	triesBeforeAlone = 4 // of a run, before its messages are tried one by one
	triesAlone       = 3 // of a message, before it is dead-lettered
	storeTimeout     = 2 * time.Minute
	keepFor          = 10 * time.Minute // behind the committed offset, for live readers
	keepBytes        = 1 << 30
	offsetFor        = time.Second // how long a lane's offset read for people is good
)

// sink lands one lane of the stream. Runs of the lane follow one another; the
// lanes run side by side and meet at the rows of the apps.
type sink struct {
	lake *Lake
	lane stream.Lane

	// committed is the last sequence that landed; loaded says that it is known,
	// by which it is of the stream's incarnation.
	committed   atomic.Uint64
	loaded      atomic.Bool
	incarnation atomic.Pointer[string]

	mu      sync.Mutex // guards what follows, for Status
	trouble error      // of the last try; nil when it landed
	since   time.Time  // of the trouble
	parked  int64      // messages dead-lettered since the start
	read    uint64     // how far another replica has landed
	readAt  time.Time
}

// errStale is the end of a run that another sink has landed meanwhile, or whose
// commit went through although its answer was lost. The offset tells where to
// go on.
var errStale = errors.New("the lane's offset has moved")

// run lands the lane until ctx ends.
func (s *sink) run(ctx context.Context) {
	var (
		wait     = s.lake.cfg.MaxAge
		failures int
		alone    bool   // messages one by one, after a run that keeps failing
		until    uint64 // the last sequence to be tried alone
	)
	s.loaded.Store(false) // another replica may have landed meanwhile
	defer s.loaded.Store(false)
	for ctx.Err() == nil {
		if !s.loaded.Load() || *s.incarnation.Load() != s.lake.cfg.Stream.Incarnation(s.lane) {
			if err := s.loadOffset(ctx); err != nil {
				s.failed(ctx, err)
				failures++
				pause(ctx, failures)
				continue
			}
		}
		from := s.committed.Load() + 1
		limit := stream.FetchLimit{Messages: 20_000, Bytes: s.lake.cfg.MaxBytes, Rows: s.lake.cfg.MaxRows, Wait: wait}
		if alone {
			limit.Messages = 1
		}
		messages, err := s.lake.cfg.Stream.Fetch(ctx, s.lane, from, limit)
		if err == nil && len(messages) == 0 {
			continue
		}
		objects := 0
		if err == nil {
			objects, err = s.land(ctx, from, messages)
		}
		switch {
		case err == nil:
			s.succeeded()
			failures = 0
			if alone && s.committed.Load() >= until {
				alone = false
			}
			wait = min(max(s.lake.cfg.MaxAge, time.Duration(objects)*time.Second/objectsPerSecond), longestAge)
			continue
		case ctx.Err() != nil:
			return
		case errors.Is(err, errStale):
			s.loaded.Store(false)
			continue
		}
		s.failed(ctx, err)
		failures++
		if len(messages) > 0 && isOurs(err) {
			switch {
			case !alone && failures >= triesBeforeAlone:
				alone, until, failures = true, messages[len(messages)-1].Seq, 0
				continue
			case alone && failures >= triesAlone:
				if s.park(ctx, from, messages[0], err.Error()) == nil {
					failures = 0
					continue
				}
			}
		}
		pause(ctx, failures)
	}
}

// pause waits between tries; it returns at once when ctx ends.
func pause(ctx context.Context, failures int) {
	sleep(ctx, min(firstPause<<min(failures-1, 10), longestPause))
}

func (s *sink) failed(ctx context.Context, err error) {
	if ctx.Err() != nil {
		return
	}
	s.mu.Lock()
	if s.trouble == nil {
		s.since = time.Now()
	}
	s.trouble = err
	s.mu.Unlock()
	s.lake.log.ErrorContext(ctx, "sink could not land a run and will try again", "lane", s.lane, "after", s.committed.Load(), "err", err)
}

func (s *sink) succeeded() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.trouble = nil
}

// loadOffset reads where the lane stands. A stream that was made anew starts at
// its beginning. One that has lost what the manifest lacks means that the
// manifest is older than the stream: landing on it would bury events that are
// in objects already, so the sink waits for a rebuild.
func (s *sink) loadOffset(ctx context.Context) error {
	state, err := s.lake.cfg.Stream.State(ctx, s.lane)
	if err != nil {
		return err
	}
	incarnation := s.lake.cfg.Stream.Incarnation(s.lane)
	var last int64
	err = s.lake.cfg.DB.TxAll(ctx, func(ctx context.Context, tx tenancy.ScopedTx) error {
		last = 0
		var stored string
		err := tx.QueryRow(ctx, `SELECT incarnation, last_seq FROM lake_offsets WHERE lane = $1`, s.lane).Scan(&stored, &last)
		switch {
		case errors.Is(err, pgx.ErrNoRows):
			if state.FirstSeq > 1 {
				return errOldManifest
			}
			_, err = tx.Exec(ctx, `INSERT INTO lake_offsets (lane, incarnation, last_seq) VALUES ($1, $2, 0) ON CONFLICT DO NOTHING`, s.lane, incarnation)
		case err == nil && stored != incarnation:
			last = 0
			_, err = tx.Exec(ctx, `UPDATE lake_offsets SET incarnation = $2, last_seq = 0, committed_at = now() WHERE lane = $1 AND incarnation = $3`, s.lane, incarnation, stored)
		case err == nil && state.FirstSeq > uint64(last)+1:
			return errOldManifest
		}
		return err
	})
	if err != nil {
		return fmt.Errorf("read the sink's offset: %w", err)
	}
	s.committed.Store(uint64(last))
	s.incarnation.Store(&incarnation)
	s.loaded.Store(true)
	return nil
}

// through tells how far the lane has landed, whoever lands it.
func (s *sink) through(ctx context.Context) uint64 {
	if s.loaded.Load() {
		return s.committed.Load()
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if time.Since(s.readAt) > offsetFor {
		var last int64
		err := s.lake.cfg.DB.TxAll(ctx, func(ctx context.Context, tx tenancy.ScopedTx) error {
			return tx.QueryRow(ctx, `SELECT last_seq FROM lake_offsets WHERE lane = $1 AND incarnation = $2`,
				s.lane, s.lake.cfg.Stream.Incarnation(s.lane)).Scan(&last)
		})
		if err == nil {
			s.read = uint64(last)
		}
		s.readAt = time.Now()
	}
	return s.read
}

var errOldManifest = errors.New("the stream begins after what the manifest has landed: the database is older than the stream; run `causality lake rebuild`, which reads the objects again")

// land commits one run and tells how many objects it wrote. A run in hand is
// finished although ctx ends meanwhile.
func (s *sink) land(ctx context.Context, from uint64, messages []stream.Message) (int, error) {
	work, cancel := context.WithTimeout(context.WithoutCancel(ctx), storeTimeout)
	defer cancel()
	last := messages[len(messages)-1].Seq
	good := messages[:0:0]
	for i := range messages {
		if messages[i].Err == nil {
			good = append(good, messages[i])
			continue
		}
		if err := s.deadLetter(work, messages[i], messages[i].Err.Error()); err != nil {
			return 0, err
		}
	}
	c := newCommit(s.lake, s.lane, from, last, good)
	if err := c.run(work); err != nil {
		return 0, err
	}
	failpoint.Hit("lake.after-commit")
	now := time.Now()
	for i := range good {
		s.lake.lag.add(now.Sub(good[i].Batch.ReceivedAt), len(good[i].Batch.Events))
	}
	s.committed.Store(last)
	failpoint.Hit("lake.before-purge")
	if err := s.lake.cfg.Stream.Purge(work, s.lane, last, keepFor, keepBytes); err != nil {
		// The next run purges further; until then the lane is only larger.
		s.lake.log.WarnContext(ctx, "purge stream", "lane", s.lane, "err", err)
	}
	return len(c.objects), nil
}

// park sets a message aside that keeps failing by itself, and goes on behind it.
func (s *sink) park(ctx context.Context, from uint64, message stream.Message, reason string) error {
	if err := s.deadLetter(ctx, message, reason); err != nil {
		return err
	}
	if err := newCommit(s.lake, s.lane, from, message.Seq, nil).run(ctx); err != nil {
		return err
	}
	s.committed.Store(message.Seq)
	return nil
}

func (s *sink) deadLetter(ctx context.Context, message stream.Message, reason string) error {
	if err := s.lake.cfg.Stream.DeadLetter(ctx, s.lane, message, reason); err != nil {
		return fmt.Errorf("dead-letter message %d: %w", message.Seq, err)
	}
	s.lake.log.ErrorContext(ctx, "message set aside as a dead letter", "lane", s.lane, "seq", message.Seq, "reason", reason)
	s.mu.Lock()
	s.parked++
	s.mu.Unlock()
	return nil
}
