// Package turns decides whose query runs next. It knows neither queries nor
// engines: each engine has turns of its own.
package turns

import (
	"context"
	"sync"

	"github.com/causality-project/causality/backend/internal/platform/fault"
)

// Turns admits a bounded number of queries at once. Those that wait are served
// first come, first served within a workspace, and in rotation over workspaces,
// so that one with many queries delays another by one query at most.
type Turns struct {
	mu       sync.Mutex
	free     int
	most     int                  // waiting of one workspace
	waiting  map[string][]*waiter // none is empty
	rotation []string             // workspaces that wait, next first
	closed   bool
}

type waiter struct {
	ready   chan struct{}
	refused bool
}

// New returns turns for so many queries at once; most may wait of one workspace.
func New(free, most int) *Turns {
	return &Turns{free: free, most: most, waiting: map[string][]*waiter{}}
}

// Take waits for a turn; release must be called once.
func (t *Turns) Take(ctx context.Context, workspace string) (release func(), err error) {
	stopping := fault.New(fault.Unavailable, "The server is stopping; try again in a moment.")
	t.mu.Lock()
	switch {
	case t.closed:
		t.mu.Unlock()
		return nil, stopping
	case t.free > 0 && len(t.rotation) == 0:
		t.free--
		t.mu.Unlock()
		return t.release, nil
	case len(t.waiting[workspace]) >= t.most:
		t.mu.Unlock()
		return nil, fault.New(fault.Exhausted, "%d queries of this workspace are waiting already; try again when some are done.", t.most)
	}
	w := &waiter{ready: make(chan struct{})}
	if len(t.waiting[workspace]) == 0 {
		t.rotation = append(t.rotation, workspace)
	}
	t.waiting[workspace] = append(t.waiting[workspace], w)
	t.mu.Unlock()

	select {
	case <-w.ready:
	case <-ctx.Done():
		t.mu.Lock()
		granted := !t.forget(workspace, w)
		t.mu.Unlock()
		if granted && !w.refused {
			t.release()
		}
		return nil, fault.Wrap(ctx.Err(), fault.Canceled, "The query was stopped while it waited for its turn.")
	}
	if w.refused {
		return nil, stopping
	}
	return t.release, nil
}

func (t *Turns) forget(workspace string, w *waiter) bool {
	queue := t.waiting[workspace]
	for i, other := range queue {
		if other != w {
			continue
		}
		queue = append(queue[:i], queue[i+1:]...)
		t.waiting[workspace] = queue
		if len(queue) == 0 {
			delete(t.waiting, workspace)
			for j, name := range t.rotation {
				if name == workspace {
					t.rotation = append(t.rotation[:j], t.rotation[j+1:]...)
					break
				}
			}
		}
		return true
	}
	return false
}

func (t *Turns) release() {
	t.mu.Lock()
	defer t.mu.Unlock()
	if len(t.rotation) == 0 {
		t.free++
		return
	}
	workspace := t.rotation[0]
	t.rotation = t.rotation[1:]
	queue := t.waiting[workspace]
	next := queue[0]
	if len(queue) == 1 {
		delete(t.waiting, workspace)
	} else {
		t.waiting[workspace] = queue[1:]
		t.rotation = append(t.rotation, workspace)
	}
	close(next.ready)
}

// Close refuses everyone who waits and all who come.
func (t *Turns) Close() {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.closed = true
	for _, queue := range t.waiting {
		for _, w := range queue {
			w.refused = true
			close(w.ready)
		}
	}
	t.waiting, t.rotation = map[string][]*waiter{}, nil
}

// Waiting counts the queries that wait.
func (t *Turns) Waiting() int {
	t.mu.Lock()
	defer t.mu.Unlock()
	n := 0
	for _, queue := range t.waiting {
		n += len(queue)
	}
	return n
}
