package lake

import (
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/causality-project/causality/backend/internal/platform/event"
)

// late are the erasures of an app's people that are in force: an event of such a
// person from before its erasure is let go when it arrives. They hold for one
// value of the app's counter of erasures.
type late struct {
	number  int64
	targets []target
	byKey   map[int64][]int // key of an id → targets
}

// drops says whether an event has come too late.
func (l *late) drops(e *event.Event) bool {
	if len(l.byKey) == 0 {
		return false
	}
	for _, key := range [...]int64{e.OwnKey(), previousKey(e)} {
		if key == 0 {
			continue
		}
		for _, i := range l.byKey[key] {
			if l.targets[i].matches(e) {
				return true
			}
		}
	}
	return false
}

func previousKey(e *event.Event) int64 {
	if e.PreviousID == "" {
		return 0
	}
	return event.UserKey(e.PreviousID)
}

// lateCache keeps them per app: every commit asks, and few apps have any.
type lateCache struct {
	mu   sync.Mutex
	apps map[string]*late
}

// at returns the erasures in force at a value of the app's counter, whose row
// must be locked.
func (c *lateCache) at(ctx context.Context, tx pgx.Tx, workspaceID, appID string, number int64) (*late, error) {
	if number == 0 {
		return &late{}, nil
	}
	c.mu.Lock()
	have := c.apps[appID]
	c.mu.Unlock()
	if have != nil && have.number == number {
		return have, nil
	}
	rows, err := tx.Query(ctx, `SELECT keys, event, from_ts, to_ts, requested_at FROM erasures
		WHERE workspace_id = $1 AND app_id = $2 AND active_at IS NOT NULL AND cardinality(keys) > 0`, workspaceID, appID)
	if err != nil {
		return nil, fmt.Errorf("read erasures: %w", err)
	}
	fresh := &late{number: number, byKey: map[int64][]int{}}
	var keys []int64
	var name string
	var from, to *time.Time
	var before time.Time
	if _, err := pgx.ForEachRow(rows, []any{&keys, &name, &from, &to, &before}, func() error {
		t := target{keys: map[int64]struct{}{}, name: name, from: minTime, to: maxTime, before: before.UnixMicro()}
		if from != nil {
			t.from = from.UnixMicro()
		}
		if to != nil {
			t.to = to.UnixMicro()
		}
		for _, key := range keys {
			t.keys[key] = struct{}{}
			fresh.byKey[key] = append(fresh.byKey[key], len(fresh.targets))
		}
		fresh.targets = append(fresh.targets, t)
		keys = nil
		return nil
	}); err != nil {
		return nil, fmt.Errorf("read erasures: %w", err)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.apps == nil || len(c.apps) > 1000 {
		c.apps = map[string]*late{}
	}
	c.apps[appID] = fresh
	return fresh, nil
}
