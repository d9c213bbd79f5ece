package causality

import (
	"encoding/json"
	"fmt"
	"time"

	"github.com/causality-project/causality/sdk/core"
	"github.com/causality-project/causality/sdk/driver"
)

// Properties describe an event, and Traits a person or group. Values may be text,
// numbers, booleans, nil, times, nested Properties, maps, slices, and whatever
// else encoding/json takes. NaN and infinities are refused.
type Properties map[string]any

// Event is one thing that somebody did. Set UserID, AnonymousID, or both.
type Event struct {
	Name          string // required; at most 200 characters
	UserID        string // who did it; at most 200 characters, like every other id
	AnonymousID   string // who did it, before you knew
	Properties    Properties
	Timestamp     time.Time         // when it happened; default now
	SessionID     string            // default none: servers have no sessions of their own
	Groups        map[string]string // group type to group id, for example {"company": "acme"}
	CorrelationID string            // joins events of one request or job
	Context       *Context          // where it happened
	ID            string            // one id counts once; default a new UUIDv7
}

// Traits change what is known of a person or group, key by key.
type Traits struct {
	Set     Properties // replaces
	SetOnce Properties // only where nothing is known yet
	Add     Properties // adds numbers
	Unset   []string   // forgets keys
}

// Identity says who somebody is. With both ids, what the anonymous one did is
// counted as the user's.
type Identity struct {
	UserID      string
	AnonymousID string
	Traits      Traits
	Timestamp   time.Time // default now
	Context     *Context
}

// Group says what a group is and, with UserID, that the user is in it.
type Group struct {
	Type      string // required; for example company
	ID        string // required; for example acme
	UserID    string
	Traits    Traits
	Timestamp time.Time // default now
	Context   *Context
}

// Alias says that two user ids are one person. It needs a secret key.
type Alias struct {
	UserID     string    // the id that stays
	PreviousID string    // the id that becomes UserID
	Timestamp  time.Time // default now
}

// The surroundings of an event. Zero fields are not sent.
type (
	Context  = core.Context
	App      = core.App
	Device   = core.Device
	OS       = core.OS
	Screen   = core.Screen
	Network  = core.Network
	Page     = core.Page
	Campaign = core.Campaign
	Library  = core.Library
	Geo      = core.Geo
)

func (e *Event) toCore() core.Event {
	return core.Event{
		ID:            e.ID,
		Type:          core.Track,
		Name:          e.Name,
		Timestamp:     instant(e.Timestamp),
		UserID:        e.UserID,
		AnonymousID:   e.AnonymousID,
		SessionID:     e.SessionID,
		CorrelationID: e.CorrelationID,
		Groups:        e.Groups,
		Context:       e.Context,
		Properties:    e.Properties,
	}
}

func (t *Traits) toCore() *core.Traits {
	return &core.Traits{Set: t.Set, SetOnce: t.SetOnce, Add: t.Add, Unset: t.Unset}
}

// instant is t for the core, where zero means now.
func instant(t time.Time) core.Micros {
	switch {
	case t.IsZero():
		return 0
	case t.Year() < 1 || t.Year() > 9999:
		return core.Never
	}
	if at := core.Micros(t.UnixMicro()); at != 0 {
		return at
	}
	return 1
}

// marshal writes values that the core does not know. It runs methods of the
// host's types, whose panic must not become the host's.
func marshal(dst []byte, v any) (out []byte, err error) {
	defer func() {
		if cause := recover(); cause != nil {
			out, err = dst, fmt.Errorf("its method panicked: %v", cause)
		}
	}()
	if failure, ok := v.(error); ok {
		v = failure.Error() // encoding/json would write {}
	}
	text, err := json.Marshal(v)
	if err != nil {
		return dst, err
	}
	return append(dst, text...), nil
}

// Errors that callers branch on.
var (
	// ErrInvalidEvent is what Track and its sisters return for an event that the
	// server would not take. The error's text names the field.
	ErrInvalidEvent = core.ErrInvalid
	// ErrQueueFull means that the event was not kept, because events come faster
	// than the queue takes them or its disk is full. It is counted in
	// Stats.Dropped as queue_full.
	ErrQueueFull = core.ErrQueueFull
	// ErrClosed means that the client was closed.
	ErrClosed = core.ErrClosed
	// ErrUndelivered means that events are still queued after Flush or Close. The
	// error's text says why.
	ErrUndelivered = driver.ErrUndelivered
)
