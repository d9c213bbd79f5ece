package core

import "unicode/utf8"

// VisitorConfig says when a session ends. Background is for apps, Idle for pages.
type VisitorConfig struct {
	Idle       Micros        // without an event; default: never for that
	Background Micros        // in the background; default: never for that
	Longest    Micros        // since its start; default 24 h
	NoSessions bool          // Fill leaves SessionID empty
	Random     func() uint64 // required (a Core lends its own); from a cryptographic source
}

// maxGroups bounds the kinds of group that a visitor is in, since each event names
// them all.
const maxGroups = 32

// lastWithin is how far the time of the last event may move before it is worth
// saving by itself.
const lastWithin = 5 * Second

// Visitor is who uses a device: an anonymous id, the user once known, their groups
// and the session. An app gives its Core a VisitorConfig; a page keeps a Visitor
// of its own, beside a queue that its other tabs share. Like a Core it is not safe
// for concurrent use.
//
// A session ends
//   - after Idle without an event,
//   - after Background in the background, where an event begins the count anew; a
//     process that died without a word went there with its last event,
//   - after Longest since its start, whatever happens,
//   - by Reset, and by Identify of another user than the known one.
//
// The next event, or Foreground, begins another. A clock that is set back ends
// none.
type Visitor struct {
	cfg       VisitorConfig
	ids       ids
	anonymous string
	user      string
	groups    map[string]string // replaced, never changed: events refer to it
	session   string
	start     Micros // of the session
	last      Micros // event, or start
	away      Micros // in the background since; 0 in the foreground
	changed   Micros // since when State differs from the saved one; 0 when it does not
	savedLast Micros
}

// NewVisitor continues from what State returned; a state that is empty or damaged
// makes somebody new.
func NewVisitor(cfg VisitorConfig, state []byte) *Visitor {
	if cfg.Longest == 0 {
		cfg.Longest = Day
	}
	v := &Visitor{cfg: cfg, ids: ids{random: cfg.Random}}
	v.decode(state)
	if v.away == 0 {
		v.away = v.last
	}
	v.changed, v.savedLast = 0, v.last
	return v
}

// Fill completes an event: AnonymousID, UserID, SessionID and Groups where it has
// none. It begins a session when one is due. Groups must not be changed then.
func (v *Visitor) Fill(now Micros, e *Event) {
	v.arrive(now)
	v.last = now
	if moved := now - v.savedLast; moved < 0 || moved >= lastWithin {
		v.change(now)
	}
	if e.AnonymousID == "" {
		e.AnonymousID = v.anonymous
	}
	if e.UserID == "" {
		e.UserID = v.user
	}
	if e.SessionID == "" && !v.cfg.NoSessions {
		e.SessionID = v.session
	}
	if len(e.Groups) == 0 {
		e.Groups = v.groups
	}
}

// Identify names the user. What the anonymous id did before is theirs, unless
// another user was known: then it resets first, so that two people never become
// one. Ids that are blank, longer than 200 characters or hold a control character
// are no ids and change nothing.
func (v *Visitor) Identify(now Micros, userID string) {
	if !usable(userID) || userID == v.user {
		return
	}
	if v.user != "" {
		v.Reset(now)
	}
	v.arrive(now)
	v.user = userID
	v.change(now)
}

// Join puts the visitor into a group, in place of any other of its type; an empty
// id leaves it. Types and ids that are no ids change nothing, and neither does a
// thirty-third type.
func (v *Visitor) Join(groupType, groupID string) {
	before, in := v.groups[groupType]
	switch {
	case groupID == "" && !in, in && groupID == before:
		return
	case groupID != "" && (!usable(groupType) || !usable(groupID) || !in && len(v.groups) == maxGroups):
		return
	}
	groups := make(map[string]string, len(v.groups)+1)
	for kind, id := range v.groups {
		if kind != groupType {
			groups[kind] = id
		}
	}
	if groupID != "" {
		groups[groupType] = groupID
	}
	v.groups = groups
	v.change(1) // at once: events name it already, and no time came with the call
}

// Reset makes somebody new, with a session of their own. Events that are queued
// stay as they are.
func (v *Visitor) Reset(now Micros) {
	v.forget()
	v.arrive(now)
}

// forget leaves nobody, until somebody arrives.
func (v *Visitor) forget() {
	v.anonymous, v.user, v.groups, v.session = "", "", nil, ""
	v.start, v.last, v.savedLast = 0, 0, 0
}

// Background says that the app is no longer in front.
func (v *Visitor) Background(now Micros) {
	v.away = max(now, 1)
	v.change(now)
}

// Foreground says that the app is in front, as it is at its start. It begins a
// session when one is due.
func (v *Visitor) Foreground(now Micros) {
	v.arrive(now)
	if v.away != 0 {
		v.away = 0
		v.change(now)
	}
}

// AnonymousID is the visitor's id while the user is unknown. It is empty until
// the first Fill, Identify, Foreground or Reset.
func (v *Visitor) AnonymousID() string { return v.anonymous }

// UserID is empty while the user is unknown.
func (v *Visitor) UserID() string { return v.user }

// SessionID is the last session's that began.
func (v *Visitor) SessionID() string { return v.session }

// Changed reports whether State is worth saving: whether it differs by more than
// some seconds since the last event.
func (v *Visitor) Changed() bool { return v.changed != 0 }

func (v *Visitor) change(now Micros) {
	if v.changed == 0 {
		v.changed = max(now, 1)
	}
}

// arrive makes sure of an anonymous id and a session that is not over.
func (v *Visitor) arrive(now Micros) {
	if v.anonymous == "" {
		v.anonymous = v.newID(now)
		v.change(now)
	}
	v.start, v.last, v.away = min(v.start, now), min(v.last, now), min(v.away, now)
	over := v.session == "" || now-v.start > v.cfg.Longest
	if v.cfg.Idle > 0 && now-v.last > v.cfg.Idle {
		over = true
	}
	if v.cfg.Background > 0 && v.away != 0 && now-max(v.away, v.last) > v.cfg.Background {
		over = true
	}
	if over {
		v.session, v.start, v.last = v.newID(now), now, now
		v.change(now)
	}
}

func (v *Visitor) newID(now Micros) string {
	var id [36]byte
	v.ids.next(&id, now)
	return string(id[:])
}

// usable tells ids from blanks and from what the server refuses, under which every
// event of the visitor would be lost.
func usable(id string) bool {
	if tooLong(id) || !utf8.ValidString(id) {
		return false
	}
	blank := true
	for _, r := range id {
		if r < ' ' || 0x7f <= r && r < 0xa0 {
			return false
		}
		blank = blank && r == ' '
	}
	return !blank
}

// State is what NewVisitor continues from: numbered fields, as a Core's. It makes
// Changed false.
func (v *Visitor) State() []byte {
	v.changed, v.savedLast = 0, v.last
	dst := appendText(make([]byte, 0, 128), 1, v.anonymous)
	dst = appendText(dst, 2, v.user)
	dst = appendGroups(dst, 3, v.groups)
	dst = appendText(dst, 4, v.session)
	dst = appendInt(dst, 5, int64(v.start))
	dst = appendInt(dst, 6, int64(v.last))
	return appendInt(dst, 7, int64(v.away))
}

func (v *Visitor) decode(state []byte) {
	r := reader{rest: state, ok: true}
	for {
		field, wire, more := r.field()
		if !more {
			break
		}
		switch {
		case wire == wireBytes && field <= 4:
			b := r.bytes()
			if field == 3 {
				v.decodeGroup(b)
				continue
			}
			id := string(b)
			if !usable(id) {
				continue
			}
			switch field {
			case 1:
				v.anonymous = id
			case 2:
				v.user = id
			case 4:
				v.session = id
			}
		case wire == wireVarint:
			at := max(Micros(r.varint()), 0)
			switch field {
			case 5:
				v.start = at
			case 6:
				v.last = at
			case 7:
				v.away = at
			}
		default:
			r.skip(wire)
		}
	}
	if !r.ok { // half a state could give one person's user to another
		v.forget()
		v.away = 0
	}
}

func (v *Visitor) decodeGroup(b []byte) {
	var pair [2]string
	r := reader{rest: b, ok: true}
	for {
		field, wire, more := r.field()
		if !more {
			break
		}
		if wire == wireBytes && field <= 2 {
			pair[field-1] = string(r.bytes())
		} else {
			r.skip(wire)
		}
	}
	if r.ok {
		v.Join(pair[0], pair[1])
	}
}
