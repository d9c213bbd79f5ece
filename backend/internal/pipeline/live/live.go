// Package live shows fresh events to browsers while they arrive. It follows the
// stream only while somebody watches, never slows it down, and says how many
// events a viewer did not get. It keeps nothing and answers no question about
// the past.
package live

import (
	"context"
	"log/slog"
	"maps"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/causality-project/causality/backend/internal/pipeline/stream"
	"github.com/causality-project/causality/backend/internal/platform/fault"
)

const (
	maxViewers = 500
	// maxFrames waits for one viewer; with maxRate it is a second and a half of
	// events. What does not fit is counted and stated.
	maxFrames = 300
	// maxRate is what a viewer gets a second at most: nobody reads faster.
	maxRate = 200
)

// Source is the stream as this package needs it.
type Source interface {
	Ends(ctx context.Context, kind stream.Lane) (stream.Positions, error)
	FollowFrom(ctx context.Context, from stream.Positions, fn func(stream.Message)) error
}

// Hub copies events from the stream to its viewers.
type Hub struct {
	source Source
	log    *slog.Logger

	mu      sync.Mutex
	viewers map[*viewer]struct{}
	from    stream.Positions // where the first of them begins
	changed chan struct{}    // holds one token: the set of viewers is another
}

// New makes a hub; Run makes it work.
func New(source Source, log *slog.Logger) *Hub {
	return &Hub{source: source, log: log, viewers: map[*viewer]struct{}{}, changed: make(chan struct{}, 1)}
}

// Run follows the stream whenever there are viewers, until ctx ends. It returns
// nil: what goes wrong is logged and tried again.
func (h *Hub) Run(ctx context.Context) error {
	for ctx.Err() == nil {
		if h.count() == 0 {
			select {
			case <-ctx.Done():
			case <-h.changed:
			}
			continue
		}
		h.follow(ctx)
	}
	return nil
}

// follow runs until nobody watches any more, the stream fails, or ctx ends.
func (h *Hub) follow(ctx context.Context) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	h.mu.Lock()
	from := h.from
	h.mu.Unlock()
	ended := make(chan error, 1)
	go func() { ended <- h.source.FollowFrom(ctx, from, h.deliver) }()
	for {
		select {
		case err := <-ended:
			if err == nil || ctx.Err() != nil {
				return
			}
			h.log.WarnContext(ctx, "live cannot follow the stream; trying again", "err", err)
			select {
			case <-ctx.Done():
			case <-time.After(time.Second):
			}
			return
		case <-h.changed:
			if h.count() == 0 {
				cancel()
				<-ended
				return
			}
		}
	}
}

func (h *Hub) count() int {
	h.mu.Lock()
	defer h.mu.Unlock()
	return len(h.viewers)
}

// deliver copies one message to who may see it. It never waits for a viewer.
func (h *Hub) deliver(message stream.Message) {
	batch := &message.Batch
	viewers := h.watching(batch.WorkspaceID, batch.AppID)
	if message.Missed > 0 { // the stream itself ran ahead of us, for everybody
		for _, v := range h.everyone() {
			v.lose(message.Missed)
		}
	}
	if len(viewers) == 0 || message.Err != nil {
		return
	}
	now := time.Now()
	for i := range batch.Events {
		offer(viewers, now, batch.Events[i].Name, func() []byte { return eventFrame(message.Seq, &batch.Events[i]) })
	}
	for i := range batch.Rejected {
		offer(viewers, now, batch.Rejected[i].Name, func() []byte {
			return rejectedFrame(message.Seq, batch.ReceivedAt, &batch.Rejected[i])
		})
	}
}

// offer makes a frame at most once, and not at all when nobody has room for it.
func offer(viewers []*viewer, now time.Time, name string, make func() []byte) {
	var frame []byte
	for _, v := range viewers {
		if !v.wants(name) || !v.admits(now) {
			continue
		}
		if frame == nil {
			frame = make()
		}
		v.frames <- frame // has room: only the hub's goroutine writes
	}
}

func (h *Hub) watching(workspaceID, appID string) []*viewer {
	h.mu.Lock()
	defer h.mu.Unlock()
	var found []*viewer
	for v := range h.viewers {
		if v.workspaceID == workspaceID && v.appID == appID {
			found = append(found, v)
		}
	}
	return found
}

func (h *Hub) everyone() []*viewer {
	h.mu.Lock()
	defer h.mu.Unlock()
	return slices.Collect(maps.Keys(h.viewers))
}

// join admits a viewer: what is published after it returns will be shown.
func (h *Hub) join(ctx context.Context, v *viewer) error {
	ends, err := h.source.Ends(ctx, stream.Live)
	if err != nil {
		return err
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	if len(h.viewers) >= maxViewers {
		return &fault.Error{
			Kind: fault.Unavailable, RetryAfter: 30 * time.Second,
			Message: "Too many people watch live events on this server. Try again in a minute",
		}
	}
	if len(h.viewers) == 0 {
		h.from = ends
	}
	h.viewers[v] = struct{}{}
	h.announce()
	return nil
}

func (h *Hub) leave(v *viewer) {
	h.mu.Lock()
	defer h.mu.Unlock()
	delete(h.viewers, v)
	h.announce()
}

func (h *Hub) announce() {
	select {
	case h.changed <- struct{}{}:
	default:
	}
}

// viewer is one open connection. Only the hub's goroutine writes into frames.
type viewer struct {
	workspaceID, appID string
	names              []string // empty: every event
	frames             chan []byte
	missed             atomic.Int64
	lost               chan struct{} // holds one token: missed has grown

	// Of the hub's goroutine alone.
	second time.Time // when the running second began
	taken  int       // frames in it
}

func newViewer(workspaceID, appID string, names []string) *viewer {
	return &viewer{workspaceID: workspaceID, appID: appID, names: names, frames: make(chan []byte, maxFrames), lost: make(chan struct{}, 1)}
}

func (v *viewer) lose(events int64) {
	v.missed.Add(events)
	select {
	case v.lost <- struct{}{}:
	default:
	}
}

func (v *viewer) wants(name string) bool { return len(v.names) == 0 || slices.Contains(v.names, name) }

// admits reports whether one more frame fits, and counts it as missed if not.
func (v *viewer) admits(now time.Time) bool {
	if now.Sub(v.second) >= time.Second {
		v.second, v.taken = now, 0
	}
	if v.taken >= maxRate || len(v.frames) == cap(v.frames) {
		v.lose(1)
		return false
	}
	v.taken++
	return true
}
