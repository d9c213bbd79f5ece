package ingest

import (
	"fmt"
	"strings"
	"time"

	"github.com/causality-project/causality/backend/internal/pipeline/stream"
	"github.com/causality-project/causality/backend/internal/platform/event"
)

// Codes of a rejection, as the contract names them.
const (
	missingName      = "missing_name"
	invalidID        = "invalid_id"
	invalidTimestamp = "invalid_timestamp"
	tooLarge         = "too_large"
	tooDeep          = "too_deep"
	invalidProperty  = "invalid_property"
	notAllowed       = "not_allowed"
)

const (
	maxName = event.MaxNameLength
	// maxRejectedBytes bounds the copies of refused events in one message.
	maxRejectedBytes = 1 << 20
)

// reader turns one request into a batch. Readers are pooled; everything that a
// batch points to lives in the request's body or in the reader's arena.
type reader struct {
	sender   *Sender
	surround surroundings
	batch    stream.Batch
	count    int // events of the request, good and bad
	sentAt   time.Time
	arena    []byte
	scan     scanner // of the body, when that is JSON
	texts    scanner // of properties and traits
	names    []string
	seen     map[event.ID]struct{}
	repeated int // events that repeat an id of the same request
	refused  int // bytes of refused events kept
	context  contextCache
	groups   []byte   // members of the groups object being built
	tops     []member // of the event's properties, whose text starts at topsAt
	topsAt   int
}

// draft is one event being read, with what has no place in event.Event.
type draft struct {
	event.Event
	id         string
	raw        []byte
	isJSON     bool
	named      string // the event's name under a name that other products use
	payload    *payload
	payloadRaw []byte

	code, field, message string
}

// reject notes the first thing that is wrong; later ones would confuse.
func (d *draft) reject(code, field, format string, args ...any) {
	if d.code == "" {
		d.code, d.field, d.message = code, field, fmt.Sprintf(format, args...)
	}
}

// finish checks a draft and adds it to the batch, as an event or as refused.
func (r *reader) finish(d *draft) {
	index := r.count
	r.count++
	r.check(d)
	if d.code != "" {
		r.batch.Rejected = append(r.batch.Rejected, r.rejected(index, d))
		return
	}
	if _, repeat := r.seen[d.ID]; repeat {
		r.repeated++
		return
	}
	r.seen[d.ID] = struct{}{}
	r.batch.Events = append(r.batch.Events, d.Event)
}

func (r *reader) check(d *draft) {
	if len(d.raw) > event.MaxBytes {
		d.code = ""
		d.reject(tooLarge, "", "The event is %d bytes long, the limit is %d. Send less with it.", len(d.raw), event.MaxBytes)
		return
	}
	if d.isJSON && !validText(d.raw) {
		d.code = ""
		d.reject(invalidProperty, "", "The event holds bytes that are not UTF-8. Encode its text as UTF-8.")
		return
	}
	if d.code != "" {
		return
	}
	if d.Type == 0 {
		d.Type = event.Track
	}
	typed := d.payload
	if typed != nil {
		if !r.mergePayload(d) {
			return
		}
	} else if typed = payloadNames[d.Name]; typed != nil && d.Type == event.Track {
		d.Name = typed.name
	}
	// An import is history: its source can no longer be mended, and a CSV file
	// does not tell text from numbers.
	if typed != nil && d.Type == event.Track && d.Properties != "" && !r.batch.Imported {
		r.checkTyped(d, typed)
	}
	r.checkName(d)
	r.checkIDs(d)
	if r.sender.Trusted && !d.TS.IsZero() && (d.TS.Unix() < 0 || d.TS.Year() > 9999) {
		d.reject(invalidTimestamp, "timestamp", "The time lies outside 1970 to 9999. Check its unit: it is seconds in protobuf, RFC 3339 text in JSON.")
	}
}

func (r *reader) checkName(d *draft) {
	switch {
	case d.Name == "":
		if d.Type != event.Track {
			return
		}
		if d.named != "" {
			d.reject(missingName, "name", "The event has no name. Send %q as \"name\".", d.named)
			return
		}
		d.reject(missingName, "name", "The event has no name. Give it one, such as \"signup\".")
	case badText(d.Name):
		if longText(d.Name) {
			d.reject(tooLarge, "name", "The name is longer than %d characters. Put what varies into properties.", maxName)
			return
		}
		d.reject(invalidProperty, "name", "The name holds a control character. Remove it.")
	case strings.TrimSpace(d.Name) == "":
		d.reject(missingName, "name", "The name is only white space. Give the event a name, such as \"signup\".")
	}
}

func (r *reader) checkIDs(d *draft) {
	if blocked(d.id) {
		d.id = ""
	}
	if d.id == "" {
		d.ID = newID(r.batch.ReceivedAt)
	} else if !parseUUID(d.id, &d.ID) {
		if badText(d.id) {
			d.reject(invalidID, "id", "The id is longer than %d characters or holds a control character. Use a UUID.", maxName)
		}
		d.ID = hashedID(d.id)
	}
	for _, id := range [...]struct {
		field string
		value *string
	}{
		{"userId", &d.UserID}, {"anonymousId", &d.AnonymousID}, {"sessionId", &d.SessionID},
		{"correlationId", &d.CorrelationID}, {"groupType", &d.GroupType}, {"groupId", &d.GroupID}, {"previousId", &d.PreviousID},
	} {
		if *id.value == "" {
			continue
		}
		if badText(*id.value) {
			d.reject(invalidID, id.field, "%s is longer than %d characters or holds a control character. Send the plain id.", id.field, maxName)
		}
		if blocked(*id.value) {
			*id.value = ""
		}
	}
	switch d.Type {
	case event.Identify:
		if d.UserID == "" {
			d.reject(invalidID, "userId", "IDENTIFY needs a userId that names one person; empty ids and placeholders such as \"null\" do not.")
		}
	case event.Group:
		if d.GroupType == "" || d.GroupID == "" {
			d.reject(invalidID, "groupId", "GROUP needs a groupType, such as \"company\", and a groupId.")
		}
	case event.Alias:
		if !r.sender.Trusted {
			d.reject(notAllowed, "type", "ALIAS merges two people and needs a secret key; this request came with a write key.")
		} else if d.UserID == "" || d.PreviousID == "" {
			d.reject(invalidID, "previousId", "ALIAS needs a userId and the previousId that becomes it.")
		}
	}
}

// mergePayload makes a typed payload's fields the event's properties. A
// property that is sent by name as well keeps the value sent by name: the
// sender wrote it for this event.
func (r *reader) mergePayload(d *draft) bool {
	d.Name = d.payload.name
	explicit := d.Properties
	r.names = r.names[:0]
	if explicit != "" {
		r.texts = scanner{data: viewBytes(explicit), arena: &r.arena}
		r.texts.members(0, func(name string, i int) int {
			r.names = append(r.names, name)
			return r.texts.value(i, 1)
		})
	}
	skip := func(name string) bool {
		for _, have := range r.names {
			if have == name {
				return true
			}
		}
		return false
	}
	out := append(make([]byte, 0, len(d.payloadRaw)+len(explicit)+64), '{')
	ok := true
	if d.isJSON {
		out, ok = appendJSONFields(out, d.payloadRaw, d.payload.fields, skip, &r.arena)
	} else {
		out, ok = appendFields(out, d.payloadRaw, d.payload.fields, skip)
	}
	if !ok {
		d.reject(invalidProperty, d.payload.name, "The payload cannot be read, or holds a number that is not finite. Check its fields.")
		return false
	}
	if explicit != "" {
		inner := strings.TrimSpace(explicit[1 : len(explicit)-1])
		if len(out) > 1 && inner != "" {
			out = append(out, ',')
		}
		out = append(out, inner...)
	}
	out = append(out, '}')
	d.Properties = ""
	if len(out) > 2 {
		d.Properties = view(out)
		return r.checkProperties(d, &d.Properties, "properties")
	}
	return true
}

// checkProperties checks JSON text that must be an object of properties, and
// trims the white space around it.
func (r *reader) checkProperties(d *draft, text *string, field string) bool {
	*text = strings.Trim(*text, " \t\r\n")
	if *text == "" {
		return true
	}
	s := &r.texts
	*s = scanner{data: viewBytes(*text), arena: &r.arena, naming: true, tops: r.topsOf(field, 0)}
	if (*text)[0] != '{' {
		d.reject(invalidProperty, field, "%s must be a JSON object, such as {\"plan\":\"pro\"}.", field)
		return false
	}
	if end := s.value(0, 0); end != len(*text) {
		if end >= 0 {
			s.at, s.why = end, "something follows the object"
		}
		d.reject(invalidProperty, field, "%s is not JSON: %s (%s).", field, s.why, s.position())
		return false
	}
	return r.checkNames(d, s, field)
}

// checkNames judges what the scanner saw in an object of properties.
func (r *reader) checkNames(d *draft, s *scanner, field string) bool {
	switch {
	case s.deepest > event.MaxDepth:
		d.reject(tooDeep, field, "%s is nested %d levels deep, the limit is %d. Flatten it.", field, s.deepest, event.MaxDepth)
	case s.names > event.MaxPropertyNames:
		d.reject(invalidProperty, field, "%s has %d names, the limit is %d. Names that vary belong into values.", field, s.names, event.MaxPropertyNames)
	case s.badName != "" || s.emptyName:
		d.reject(invalidProperty, field, "The property name %q is empty, longer than %d characters, or holds a control character. Rename it.", clip(s.badName, 60), maxName)
	default:
		return true
	}
	return false
}

func (r *reader) rejected(index int, d *draft) event.Rejected {
	out := event.Rejected{
		Index:   index,
		ID:      clean(d.id, maxName),
		Name:    clean(d.Name, maxName),
		Code:    d.code,
		Field:   d.field,
		Message: clean(d.message, 500),
	}
	if r.refused < maxRejectedBytes {
		if d.isJSON {
			out.Event = clean(view(d.raw), event.MaxBytes)
		} else {
			out.Event = clean(describe(d), event.MaxBytes)
		}
		r.refused += len(out.Event)
	}
	return out
}

// describe shows a refused protobuf event as the JSON it would have been.
func describe(d *draft) string {
	out := append(make([]byte, 0, 256), `{"type":`...)
	out = appendString(out, max(d.Type, event.Track).String())
	for _, field := range [...]struct{ name, value string }{
		{"id", d.id}, {"name", d.Name}, {"userId", d.UserID}, {"anonymousId", d.AnonymousID}, {"sessionId", d.SessionID},
		{"correlationId", d.CorrelationID}, {"groupType", d.GroupType}, {"groupId", d.GroupID}, {"previousId", d.PreviousID},
	} {
		if field.value != "" {
			out = append(appendString(append(out, ','), field.name), ':')
			out = appendString(out, field.value)
		}
	}
	if !d.TS.IsZero() && d.TS.Year() <= 9999 {
		out = append(out, `,"timestamp":"`...)
		out = append(d.TS.AppendFormat(out, time.RFC3339Nano), '"')
	}
	if d.Properties != "" {
		s := scanner{data: viewBytes(d.Properties)}
		out = append(out, `,"properties":`...)
		if s.value(0, 0) == len(d.Properties) {
			out = append(out, d.Properties...)
		} else {
			out = appendString(out, d.Properties)
		}
	}
	return string(append(out, '}'))
}

// settle corrects the times once the whole request is read, since sent_at may
// follow the events.
func (r *reader) settle() {
	received := r.batch.ReceivedAt
	var skew time.Duration
	if !r.sentAt.IsZero() && !r.sender.Trusted {
		skew = received.Sub(r.sentAt)
		if skew.Abs() <= time.Minute {
			skew = 0
		}
	}
	latest := received.Add(time.Minute)
	for i := range r.batch.Events {
		e := &r.batch.Events[i]
		e.ReceivedAt = received
		sent := e.TS
		switch {
		case sent.IsZero():
			e.TS = received
			continue
		case r.sender.Trusted:
			continue
		}
		e.TS = sent.Add(skew)
		if e.TS.After(latest) || e.TS.Before(earliest) {
			e.TS = received
		}
		if !e.TS.Equal(sent) {
			e.OriginalTS = sent
		}
	}
}

// earliest is what a clock that was ever set can show.
var earliest = time.Date(2000, 1, 1, 0, 0, 0, 0, time.UTC)
