package lake

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/causality-project/causality/backend/internal/account/tenancy"
	"github.com/causality-project/causality/backend/internal/pipeline/stream"
)

// offsetsJSON reads, within another statement and so of the same instant, how
// far each lane has landed.
const offsetsJSON = `(SELECT coalesce(jsonb_object_agg(lane, jsonb_build_object('incarnation', incarnation, 'last', last_seq)), '{}') FROM lake_offsets)`

// landed is how far the lanes have landed, as offsetsJSON reads it.
type landed map[stream.Lane]struct {
	Incarnation string `json:"incarnation"`
	Last        uint64 `json:"last"`
}

// waiting counts what the stream holds beyond, and tells the receipt of the
// oldest of it.
func (l *Lake) waiting(ctx context.Context, through landed) (events int64, oldest time.Time, err error) {
	for lane := range l.sinks {
		after := through[lane].Last
		if through[lane].Incarnation != l.cfg.Stream.Incarnation(lane) {
			after = 0 // the stream is new
		}
		n, first, err := l.cfg.Stream.Waiting(ctx, lane, after)
		if err != nil {
			return 0, time.Time{}, err
		}
		if n > 0 && (oldest.IsZero() || first.Before(oldest)) {
			oldest = first.UTC()
		}
		events += n
	}
	return events, oldest, nil
}

// freshTo is the instant before which everything accepted has landed, given how
// far the lanes had at now: the receipt of the oldest event that waits, or now.
// The zero time says that the stream cannot tell.
func (l *Lake) freshTo(ctx context.Context, through landed, now time.Time) time.Time {
	events, oldest, err := l.waiting(ctx, through)
	switch {
	case err != nil:
		return time.Time{}
	case events > 0 && oldest.Before(now):
		return oldest
	}
	return now
}

// Counters account for every event: Accepted = Stored + Waiting + DeadLetters, and
// Stored = Queryable + Duplicates + Erased + ErasedLate + Expired.
type Counters struct {
	Accepted       int64 // answered with 200
	Waiting        int64 // durable in the stream, on their way
	DeadLetters    int64 // set aside: they could not be landed
	Stored         int64 // landed
	Duplicates     int64 // sent again, counted once
	Queryable      int64 // rows that the manifest lists
	Rejected       int64
	Dropped        int64 // by senders, as they report
	Erased         int64 // removed by erasures
	ErasedLate     int64 // let go on arrival: of people erased before
	Expired        int64 // removed by retention
	LastReceivedAt time.Time
}

// Counters counts one app of ctx's workspace, or all of its apps for an empty
// appID, and each app by its id, as of one instant. Waiting and DeadLetters are
// known for the whole installation only, and zero for an app.
func (l *Lake) Counters(ctx context.Context, appID string) (sum Counters, each map[string]Counters, err error) {
	each, through, err := l.appCounters(ctx)
	if err != nil {
		return Counters{}, nil, err
	}
	if appID != "" {
		return each[appID], each, nil
	}
	for _, c := range each {
		sum.Stored += c.Stored
		sum.Duplicates += c.Duplicates
		sum.Queryable += c.Queryable
		sum.Rejected += c.Rejected
		sum.Dropped += c.Dropped
		sum.Erased += c.Erased
		sum.ErasedLate += c.ErasedLate
		sum.Expired += c.Expired
		if c.LastReceivedAt.After(sum.LastReceivedAt) {
			sum.LastReceivedAt = c.LastReceivedAt
		}
	}
	if sum.Waiting, _, err = l.waiting(ctx, through); err != nil {
		return Counters{}, nil, err
	}
	dead, err := l.cfg.Stream.CountDead(ctx, l.dead.Load())
	if err != nil {
		return Counters{}, nil, err
	}
	l.dead.Store(dead)
	sum.DeadLetters = dead.Events
	sum.Accepted = sum.Stored + sum.Waiting + sum.DeadLetters
	return sum, each, nil
}

func (l *Lake) appCounters(ctx context.Context) (counters map[string]Counters, through landed, err error) {
	workspaceID, err := tenancy.Workspace(ctx)
	if err != nil {
		return nil, nil, err
	}
	err = l.cfg.DB.Tx(ctx, func(ctx context.Context, tx pgx.Tx) error {
		counters = map[string]Counters{}
		rows, err := tx.Query(ctx, `SELECT offsets.landed, a.app_id::text, a.stored, a.duplicates, a.rejected, a.dropped,
			a.erased, a.erased_late, a.expired, a.last_received_at,
			(SELECT coalesce(sum(o.rows), 0)::bigint FROM lake_objects o
			 WHERE o.workspace_id = a.workspace_id AND o.app_id = a.app_id AND o.kind = 'events')
			FROM (SELECT `+offsetsJSON+` AS landed) AS offsets LEFT JOIN lake_apps a ON a.workspace_id = $1`, workspaceID)
		if err != nil {
			return fmt.Errorf("count events: %w", err)
		}
		var appID *string
		var stored, duplicates, rejected, dropped, erased, erasedLate, expired *int64
		var queryable int64
		var last *time.Time
		_, err = pgx.ForEachRow(rows, []any{&through, &appID, &stored, &duplicates, &rejected, &dropped, &erased, &erasedLate, &expired, &last, &queryable}, func() error {
			if appID == nil { // no app has anything yet
				return nil
			}
			c := Counters{Accepted: *stored, Stored: *stored, Duplicates: *duplicates, Rejected: *rejected, Dropped: *dropped,
				Erased: *erased, ErasedLate: *erasedLate, Expired: *expired, Queryable: queryable}
			if last != nil {
				c.LastReceivedAt = last.UTC()
			}
			counters[*appID] = c
			return nil
		})
		if err != nil {
			return fmt.Errorf("count events: %w", err)
		}
		return nil
	})
	return counters, through, err
}

// Status is the state of one part of the lake, for operators.
type Status struct {
	Name    string
	State   string // ok, degraded or down
	Message string // what is wrong and what to do; empty when ok
	Figures []Figure
}

// Figure is a number about a part.
type Figure struct {
	Name  string
	Value float64
	Unit  string // events, bytes, objects, messages, seconds
}

// Status tells how the sinks, the object store, compaction and the publication do.
func (l *Lake) Status(ctx context.Context) []Status {
	statuses := make([]Status, 0, 4)
	for lane, s := range l.sinks {
		statuses = append(statuses, s.status(ctx, string(lane)))
	}
	slices.SortFunc(statuses, func(a, b Status) int { return strings.Compare(b.Name, a.Name) }) // live first
	store := Status{Name: "Object store", State: "ok"}
	if usage, err := l.cfg.Objects.Usage(ctx); err != nil {
		store.State, store.Message = "down", "The object store cannot be read: "+err.Error()
	} else {
		store.Figures = []Figure{{"objects", float64(usage.Objects), "objects"}, {"used", float64(usage.UsedBytes), "bytes"}}
		if usage.TotalBytes > 0 { // a bucket has no end
			store.Figures = append(store.Figures, Figure{"free", float64(usage.FreeBytes), "bytes"})
		}
		if usage.TotalBytes > 0 && usage.FreeBytes < usage.TotalBytes/50 {
			store.State = "degraded"
			store.Message = fmt.Sprintf("Less than 2 %% of the disk at %s is free. Free some room: once it is full, events wait in the stream.", usage.Path)
		}
	}
	statuses = append(statuses, store, l.compaction.status())
	if erasing, troubled := l.erasing.status(); troubled {
		statuses = append(statuses, erasing)
	}
	if p := l.cfg.Publication; p != nil && !p.cfg.Off {
		statuses = append(statuses, p.health(ctx))
	}
	return statuses
}

func (s *sink) status(ctx context.Context, lane string) Status {
	s.mu.Lock()
	trouble, since, parked := s.trouble, s.since, s.parked
	s.mu.Unlock()
	status := Status{Name: "Sink (" + lane + ")", State: "ok"}
	if parked > 0 {
		status.State = "degraded"
		status.Message = fmt.Sprintf("%d messages could not be landed and were set aside as dead letters; the log names the reasons.", parked)
	}
	if trouble != nil {
		status.State = "degraded"
		status.Message = fmt.Sprintf("Nothing has landed since %s; events wait in the stream and are not lost. Cause: %v.", since.UTC().Format(time.RFC3339), trouble)
		if time.Since(since) > time.Minute {
			status.State = "down"
		}
	}
	through := s.through(ctx)
	status.Figures = append(status.Figures, Figure{"landed through", float64(through), "messages"})
	if waiting, oldest, err := s.lake.cfg.Stream.Waiting(ctx, s.lane, through); err == nil {
		status.Figures = append(status.Figures, Figure{"waiting", float64(waiting), "events"})
		if waiting > 0 {
			status.Figures = append(status.Figures, Figure{"oldest waits", time.Since(oldest).Seconds(), "seconds"})
		}
	}
	return status
}

// Lag tells how long events take from acceptance to being queryable.
type Lag struct {
	Oldest  time.Duration // age of the oldest event that waits; 0: none
	P95     time.Duration // over the last 5 minutes
	History []LagSample   // one a minute, the last hour, oldest first
}

// LagSample is the 95th percentile of one minute.
type LagSample struct {
	At  time.Time // start of the minute
	P95 time.Duration
}

// Lag reads the meters.
func (l *Lake) Lag(ctx context.Context) Lag {
	lag := l.lag.read(time.Now())
	for lane, s := range l.sinks {
		if events, oldest, err := l.cfg.Stream.Waiting(ctx, lane, s.through(ctx)); err == nil && events > 0 {
			lag.Oldest = max(lag.Oldest, time.Since(oldest))
		}
	}
	return lag
}

// lagMeter counts events by their lag in 20 buckets a decade (steps of 12 %),
// from 1 ms to a day, a minute at a time for an hour.
type lagMeter struct {
	mu      sync.Mutex
	minutes [60]lagMinute
}

const lagBuckets = 160

type lagMinute struct {
	at     time.Time
	counts [lagBuckets]int64
}

// lagBounds are the upper ends of the buckets.
var lagBounds = func() (bounds [lagBuckets]time.Duration) {
	at := float64(time.Millisecond)
	for i := range bounds {
		bounds[i] = time.Duration(at)
		at *= 1.1220184543019633 // 10^(1/20)
	}
	return bounds
}()

func (m *lagMeter) add(lag time.Duration, events int) {
	if events == 0 {
		return
	}
	bucket, _ := slices.BinarySearch(lagBounds[:], lag)
	m.mu.Lock()
	defer m.mu.Unlock()
	now := time.Now().UTC().Truncate(time.Minute)
	minute := &m.minutes[now.Unix()/60%60]
	if !minute.at.Equal(now) {
		*minute = lagMinute{at: now}
	}
	minute.counts[min(bucket, lagBuckets-1)] += int64(events)
}

func (m *lagMeter) read(now time.Time) Lag {
	m.mu.Lock()
	defer m.mu.Unlock()
	var lag Lag
	var recent [lagBuckets]int64
	this := now.UTC().Truncate(time.Minute)
	for age := 59; age >= 0; age-- {
		at := this.Add(-time.Duration(age) * time.Minute)
		minute := &m.minutes[at.Unix()/60%60]
		if !minute.at.Equal(at) {
			continue
		}
		lag.History = append(lag.History, LagSample{At: at, P95: percentile95(&minute.counts)})
		if age < 5 {
			for i, n := range minute.counts {
				recent[i] += n
			}
		}
	}
	lag.P95 = percentile95(&recent)
	return lag
}

func percentile95(counts *[lagBuckets]int64) time.Duration {
	var total int64
	for _, n := range counts {
		total += n
	}
	if total == 0 {
		return 0
	}
	rank := (total*95 + 99) / 100
	for i, n := range counts {
		if rank -= n; rank <= 0 {
			return lagBounds[i]
		}
	}
	return lagBounds[lagBuckets-1]
}
