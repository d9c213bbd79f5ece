// Package ingest is the front door: it knows senders by their key, reads
// requests, checks every event, corrects its time, and answers once the good
// ones are durable in the stream. Nothing on its way asks the database.
//
// It owns the rules of the wire contract (limits, rejection codes, what a
// protobuf or JSON request means) and refuses to know how events are stored or
// counted. Requests are read by hand and in place: an event's text is not
// copied between the socket and the stream.
package ingest

import (
	"context"
	"errors"
	"hash/maphash"
	"log/slog"
	"math"
	"net/netip"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/causality-project/causality/backend/internal/account/identity"
	"github.com/causality-project/causality/backend/internal/account/tenancy"
	"github.com/causality-project/causality/backend/internal/pipeline/stream"
	"github.com/causality-project/causality/backend/internal/platform/event"
	"github.com/causality-project/causality/backend/internal/platform/failpoint"
	"github.com/causality-project/causality/backend/internal/platform/fault"
	"github.com/prometheus/client_golang/prometheus"
)

// Keys finds a key by its text, from memory; identity.Keys is one.
type Keys interface {
	Find(ctx context.Context, raw string) (identity.Key, error)
}

// Apps finds an app of the workspace in ctx; tenancy.Apps is one.
type Apps interface {
	Get(ctx context.Context, idOrName string) (tenancy.App, error)
}

// Publisher stores a batch durably; stream.Stream is one.
type Publisher interface {
	Publish(ctx context.Context, to stream.Lane, batch *stream.Batch) error
}

// Config wires a Front. All but Clock are required.
type Config struct {
	Keys    Keys
	Apps    Apps
	Stream  Publisher
	Metrics prometheus.Registerer
	Logger  *slog.Logger
	Clock   func() time.Time // default time.Now
}

// Front is the front door. It is safe for concurrent use.
type Front struct {
	cfg     Config
	agents  *agents
	limits  limits
	recent  *recentIDs
	readers sync.Pool
	metrics metrics
}

// New makes a front door.
func New(cfg Config) (*Front, error) {
	var missing []error
	for name, absent := range map[string]bool{
		"Keys": cfg.Keys == nil, "Apps": cfg.Apps == nil, "Stream": cfg.Stream == nil,
		"Metrics": cfg.Metrics == nil, "Logger": cfg.Logger == nil,
	} {
		if absent {
			missing = append(missing, errors.New("ingest: "+name+" is required"))
		}
	}
	if len(missing) > 0 {
		return nil, errors.Join(missing...)
	}
	if cfg.Clock == nil {
		cfg.Clock = time.Now
	}
	f := &Front{cfg: cfg, agents: newAgents(cfg.Logger), recent: newRecentIDs()}
	f.readers.New = func() any { return &reader{seen: map[event.ID]struct{}{}} }
	var err error
	f.metrics, err = newMetrics(cfg.Metrics)
	return f, err
}

// Sender is who sends a request, and into which app.
type Sender struct {
	WorkspaceID string
	AppID       string
	IPPolicy    string
	LimitID     string  // whose budget is charged; empty: unlimited
	RateLimit   float64 // events a second; 0: unlimited
	// Trusted senders hold a secret key or own the machine: they may write any
	// time from 1970 on, merge people, import, and speak for others' addresses.
	Trusted bool
}

// SenderByKey finds the sender of a key. A secret key may name an app of its
// own workspace by id or name; it must be its own.
func (f *Front) SenderByKey(ctx context.Context, raw, app string) (Sender, error) {
	if raw == "" {
		return Sender{}, fault.New(fault.Unauthenticated, "No key was sent. Send the app's write key as \"Authorization: Bearer wk_…\", or as ?key=wk_….")
	}
	key, err := f.cfg.Keys.Find(ctx, raw)
	if err != nil {
		return Sender{}, err
	}
	s := Sender{
		WorkspaceID: key.WorkspaceID,
		AppID:       key.AppID,
		IPPolicy:    key.IPPolicy,
		LimitID:     key.ID,
		RateLimit:   key.RateLimit,
		Trusted:     key.Kind == "secret",
	}
	if app == "" || app == key.AppID {
		return s, nil
	}
	if s.Trusted {
		named, err := f.cfg.Apps.Get(tenancy.WithWorkspace(ctx, key.WorkspaceID), app)
		if err == nil && named.ID == key.AppID {
			return s, nil
		}
		if err != nil && !fault.Is(err, fault.NotFound) {
			return Sender{}, err
		}
	}
	return Sender{}, fault.New(fault.Denied, "This key does not send to the app %q. Use a key of that app, or leave out the header Causality-App.", clip(app, maxName))
}

// LocalSender is the owner of the machine, who must name an app.
func (f *Front) LocalSender(ctx context.Context, workspaceID, app string) (Sender, error) {
	if app == "" {
		return Sender{}, fault.New(fault.Invalid, "Which app? Name it by id or name in the header Causality-App.")
	}
	found, err := f.cfg.Apps.Get(tenancy.WithWorkspace(ctx, workspaceID), app)
	if err != nil {
		return Sender{}, err
	}
	return Sender{WorkspaceID: found.WorkspaceID, AppID: found.ID, IPPolicy: found.IPPolicy, Trusted: true}, nil
}

// Format is how a body is written.
type Format uint8

const (
	Protobuf Format = iota
	JSON
)

// Request is one request for Accept, its body decompressed. Accept owns the
// body until it returns, and may mend it in place.
type Request struct {
	Sender    Sender
	Lane      stream.Lane // default stream.Live
	Format    Format
	Body      []byte
	Browser   bool   // it came from a page
	UserAgent string // of the request
}

// Answer says what became of a request's events: accepted, duplicates and
// rejected add up to all of them.
type Answer struct {
	Accepted   int
	Duplicates int
	Rejected   []event.Rejected
}

type clientIPKey struct{}

// WithClientIP tells whose address a request came from, after trusted proxies.
func WithClientIP(ctx context.Context, ip netip.Addr) context.Context {
	return context.WithValue(ctx, clientIPKey{}, ip)
}

// Spent reports whether a sender has no budget left at all, before its body is
// read.
func (f *Front) Spent(s *Sender) error {
	return f.limits.charge(s, 0, f.cfg.Clock())
}

// Accept reads a request and stores its good events. It fails as a whole with
// fault.Invalid (unreadable), TooLarge, RateLimited or Unavailable; then nothing
// was accepted.
func (f *Front) Accept(ctx context.Context, req *Request) (Answer, error) {
	now := f.cfg.Clock().Truncate(time.Microsecond).UTC()
	r := f.readers.Get().(*reader)
	defer f.release(r)
	r.sender = &req.Sender
	r.surround = surroundings{
		browser:  req.Browser,
		trusted:  req.Sender.Trusted,
		ipPolicy: req.Sender.IPPolicy,
		agents:   f.agents,
	}
	r.surround.clientIP, _ = ctx.Value(clientIPKey{}).(netip.Addr)
	if req.Browser && validText(viewBytes(req.UserAgent)) {
		r.surround.userAgent = clip(req.UserAgent, maxAgentLength)
	}
	r.batch.WorkspaceID, r.batch.AppID = req.Sender.WorkspaceID, req.Sender.AppID
	r.batch.ReceivedAt = now
	r.batch.Imported = req.Lane == stream.Import

	var err error
	if req.Format == JSON {
		err = r.readJSON(req.Body)
	} else {
		err = r.readProtobuf(req.Body)
	}
	if err != nil {
		return Answer{}, err
	}
	if err := f.limits.charge(&req.Sender, r.count, now); err != nil {
		return Answer{}, err
	}
	r.settle()
	answer := Answer{Rejected: copyRejected(r.batch.Rejected)}
	if len(r.batch.Events)+len(r.batch.Rejected)+len(r.batch.Dropped) > 0 {
		failpoint.Hit("ingest.before-publish")
		lane := req.Lane
		if lane == "" {
			lane = stream.Live
		}
		if err := f.cfg.Stream.Publish(ctx, lane, &r.batch); err != nil {
			return Answer{}, err
		}
	}
	known := f.recent.add(req.Sender.AppID, r.batch.Events)
	answer.Accepted = len(r.batch.Events) - known
	answer.Duplicates = r.repeated + known
	f.metrics.count(&answer, len(req.Body))
	return answer, nil
}

const (
	maxPooledEvents = 512
	maxPooledArena  = 256 << 10
)

// release returns a reader to the pool without what a large request made it
// hold.
func (f *Front) release(r *reader) {
	events := r.batch.Events
	clear(events)
	if cap(events) > maxPooledEvents {
		events = nil
	}
	arena := r.arena
	if cap(arena) > maxPooledArena {
		arena = nil
	}
	clear(r.seen)
	clear(r.names)
	clear(r.tops[:cap(r.tops)]) // at most event.MaxPropertyNames
	rest := r.context.rest
	clear(rest)
	*r = reader{seen: r.seen, arena: arena[:0], names: r.names[:0], groups: r.groups[:0], tops: r.tops[:0], context: contextCache{rest: rest[:0]}}
	r.batch.Events = events[:0]
	f.readers.Put(r)
}

// copyRejected frees an answer from the request's memory: what rejected()
// makes is copied already.
func copyRejected(in []event.Rejected) []event.Rejected {
	if len(in) == 0 {
		return nil
	}
	return append(make([]event.Rejected, 0, len(in)), in...)
}

// limits are token buckets, one a key. Keys are few and were found before, so
// that the map is bounded by them.
type limits struct{ buckets sync.Map }

type bucket struct {
	mu     sync.Mutex
	tokens float64
	last   time.Time
}

const (
	burstSeconds = 10 // of the key's rate: 50,000 events for 5,000 a second
	minBurst     = event.MaxBatch
)

// charge takes tokens for events, or says when to come back. Zero events ask
// whether there is any budget.
func (l *limits) charge(s *Sender, events int, now time.Time) error {
	if s.LimitID == "" || s.RateLimit <= 0 {
		return nil
	}
	burst := max(s.RateLimit*burstSeconds, minBurst)
	found, ok := l.buckets.Load(s.LimitID)
	if !ok {
		found, _ = l.buckets.LoadOrStore(strings.Clone(s.LimitID), &bucket{tokens: burst, last: now})
	}
	b := found.(*bucket)
	b.mu.Lock()
	defer b.mu.Unlock()
	if passed := now.Sub(b.last); passed > 0 {
		b.tokens = min(burst, b.tokens+passed.Seconds()*s.RateLimit)
		b.last = now
	}
	if want := max(float64(events), 1); b.tokens < want {
		wait := time.Duration(math.Ceil((want-b.tokens)/s.RateLimit)) * time.Second
		return &fault.Error{
			Kind:       fault.RateLimited,
			Message:    "This key sends more events than it may; nothing was accepted. Wait as Retry-After says and send again, or raise the key's rate limit.",
			RetryAfter: min(max(wait, time.Second), time.Hour),
		}
	}
	b.tokens -= float64(events)
	return nil
}

// recentIDs remembers ids that were accepted lately, to tell a sender that it
// repeats itself. Only the lake drops repeats: a copy is stored even when it
// looks known. 4 MiB; a place holds the last id that fell on it.
type recentIDs struct {
	seed  maphash.Seed
	slots []atomic.Uint64
}

const recentSlots = 1 << 19

func newRecentIDs() *recentIDs {
	return &recentIDs{seed: maphash.MakeSeed(), slots: make([]atomic.Uint64, recentSlots)}
}

// add remembers events and counts those that were known.
func (x *recentIDs) add(appID string, events []event.Event) (known int) {
	app := maphash.String(x.seed, appID)
	for i := range events {
		h := (maphash.Bytes(x.seed, events[i].ID[:]) ^ app) | 1
		slot := &x.slots[h>>32&(recentSlots-1)]
		if slot.Load() == h {
			known++
			continue
		}
		slot.Store(h)
	}
	return known
}
