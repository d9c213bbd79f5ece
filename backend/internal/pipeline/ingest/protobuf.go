package ingest

import (
	"math"
	"strconv"
	"time"

	"github.com/causality-project/causality/backend/internal/platform/event"
	"github.com/causality-project/causality/backend/internal/platform/fault"
	"google.golang.org/protobuf/encoding/protowire"
)

// readProtobuf reads causality.ingest.v1.IngestRequest by hand. A request whose
// outer shape is broken fails; an event that is broken inside is refused alone.
func (r *reader) readProtobuf(body []byte) error {
	events := 0
	w := wire{data: body}
	for w.next() {
		if w.number == 1 && w.kind == protowire.BytesType {
			events++
		}
	}
	if w.failed {
		return fault.New(fault.Invalid, "The body is not a protobuf IngestRequest. Check the content type and the encoding.")
	}
	if events > event.MaxBatch {
		return tooMany(events)
	}
	for w = (wire{data: body}); w.next(); {
		if w.kind != protowire.BytesType {
			continue
		}
		switch w.number {
		case 1:
			r.readEvent(w.bytes)
		case 2:
			r.sentAt, _ = timestamp(w.bytes)
		case 4:
			for l := (wire{data: w.bytes}); l.next(); {
				if l.kind == protowire.BytesType && validText(l.bytes) {
					switch l.number {
					case 1:
						r.batch.Library = clip(view(l.bytes), maxName)
					case 2:
						r.batch.LibraryVersion = clip(view(l.bytes), maxName)
					}
				}
			}
		case 5:
			var reason string
			var lost int64
			for m := (wire{data: w.bytes}); m.next(); {
				switch m.number {
				case 1:
					reason = view(m.bytes)
				case 2:
					lost = int64(m.varint)
				}
			}
			r.dropped(reason, lost)
		}
	}
	return nil
}

func tooMany(events int) error {
	return fault.New(fault.TooLarge, "The request has %d events, the limit is %d. Send them in several requests.", events, event.MaxBatch)
}

// maxDropReasons bounds what a sender can make us keep of its own losses.
const maxDropReasons = 32

func (r *reader) dropped(reason string, lost int64) {
	if lost <= 0 || badText(reason) || !validText(viewBytes(reason)) || len(r.batch.Dropped) >= maxDropReasons {
		return
	}
	if r.batch.Dropped == nil {
		r.batch.Dropped = map[string]int64{}
	}
	r.batch.Dropped[reason] += lost
}

func (r *reader) readEvent(raw []byte) {
	d := draft{raw: raw}
	if len(raw) > event.MaxBytes {
		r.finish(&d)
		return
	}
	text := func(to *string, field, code string, b []byte) {
		if !validText(b) {
			d.reject(code, field, "%s holds bytes that are not UTF-8. Encode text as UTF-8.", field)
			return
		}
		*to = view(b)
	}
	r.groups = r.groups[:0]
	w := wire{data: raw}
	for w.next() {
		if w.kind == protowire.VarintType && w.number == 2 {
			if w.varint > uint64(event.Alias) {
				d.reject(invalidProperty, "type", "Type %d does not exist. It is TRACK (1), IDENTIFY (2), GROUP (3) or ALIAS (4).", w.varint)
				continue
			}
			d.Type = event.Type(w.varint)
		}
		if w.kind != protowire.BytesType {
			continue
		}
		switch w.number {
		case 1:
			text(&d.id, "id", invalidID, w.bytes)
		case 3:
			text(&d.Name, "name", invalidProperty, w.bytes)
		case 4:
			var ok bool
			if d.TS, ok = timestamp(w.bytes); !ok {
				d.reject(invalidTimestamp, "timestamp", "The time is not a valid protobuf timestamp. Send seconds since 1970 and 0 to 999,999,999 nanoseconds.")
			}
		case 5:
			text(&d.UserID, "userId", invalidID, w.bytes)
		case 6:
			text(&d.AnonymousID, "anonymousId", invalidID, w.bytes)
		case 7:
			text(&d.SessionID, "sessionId", invalidID, w.bytes)
		case 8:
			r.readGroup(&d, w.bytes)
		case 9:
			text(&d.CorrelationID, "correlationId", invalidID, w.bytes)
		case 10:
			r.readContext(&d, w.bytes)
		case 11:
			text(&d.Properties, "properties", invalidProperty, w.bytes)
		case 12:
			r.readTraits(&d, w.bytes)
		case 13:
			text(&d.GroupType, "groupType", invalidID, w.bytes)
		case 14:
			text(&d.GroupID, "groupId", invalidID, w.bytes)
		case 15:
			text(&d.PreviousID, "previousId", invalidID, w.bytes)
		default:
			if at := int(w.number) - firstPayload; at >= 0 && at < len(payloads) {
				d.payload, d.payloadRaw = &payloads[at], w.bytes
			}
		}
	}
	if w.failed {
		d.reject(invalidProperty, "", "The event is not a readable protobuf Event. Check how it was encoded.")
	}
	r.keepGroups(&d)
	if d.code == "" {
		r.checkProperties(&d, &d.Properties, "properties")
	}
	if d.Context == (event.Context{}) && d.code == "" {
		r.readContext(&d, nil)
	}
	r.finish(&d)
}

// readGroup reads one entry of the map of group types to group ids.
func (r *reader) readGroup(d *draft, entry []byte) {
	var kind, id string
	for w := (wire{data: entry}); w.next(); {
		switch w.number {
		case 1:
			kind = view(w.bytes)
		case 2:
			id = view(w.bytes)
		}
	}
	r.addGroup(d, kind, id)
}

func (r *reader) addGroup(d *draft, kind, id string) {
	if !validText(viewBytes(kind)) || !validText(viewBytes(id)) || badText(kind) || id != "" && badText(id) {
		d.reject(invalidID, "groups", "A group's type or id is empty, longer than %d characters, holds a control character, or is not UTF-8.", maxName)
		return
	}
	if blocked(id) {
		return
	}
	r.groups = append(r.groups, ',')
	r.groups = append(appendString(r.groups, kind), ':')
	r.groups = appendString(r.groups, id)
}

// keepGroups makes the JSON object of the groups that were added.
func (r *reader) keepGroups(d *draft) {
	if len(r.groups) == 0 {
		return
	}
	start := len(r.arena)
	r.arena = append(append(r.arena, r.groups...), '}')
	r.arena[start] = '{' // where the first comma was
	d.Groups = view(r.arena[start:])
}

func (r *reader) readTraits(d *draft, raw []byte) {
	var set, once, add string
	var unset []string
	w := wire{data: raw}
	for w.next() {
		if w.kind != protowire.BytesType {
			continue
		}
		if !validText(w.bytes) {
			d.reject(invalidProperty, "traits", "The traits hold bytes that are not UTF-8. Encode text as UTF-8.")
			return
		}
		switch w.number {
		case 1:
			set = view(w.bytes)
		case 2:
			once = view(w.bytes)
		case 3:
			add = view(w.bytes)
		case 4:
			unset = append(unset, view(w.bytes))
		}
	}
	if w.failed {
		d.reject(invalidProperty, "traits", "The traits are not a readable protobuf message.")
		return
	}
	r.joinTraits(d, set, once, add, unset)
}

// joinTraits checks the parts and writes them as one JSON object.
func (r *reader) joinTraits(d *draft, set, once, add string, unset []string) {
	if !r.checkProperties(d, &set, "traits.set") || !r.checkProperties(d, &once, "traits.setOnce") || !r.checkProperties(d, &add, "traits.add") {
		return
	}
	if add != "" {
		r.texts = scanner{data: viewBytes(add), arena: &r.arena}
		r.texts.members(0, func(name string, i int) int {
			if c := add[i]; c != '-' && (c < '0' || c > '9') {
				d.reject(invalidProperty, "traits.add", "traits.add.%s is not a number. Only numbers can be added; use set.", clip(name, 60))
			}
			return r.texts.value(i, 1)
		})
	}
	out := append(make([]byte, 0, len(set)+len(once)+len(add)+64), '{')
	for _, part := range [...]struct{ name, text string }{{`"set":`, set}, {`"setOnce":`, once}, {`"add":`, add}} {
		if len(part.text) > 2 {
			if len(out) > 1 {
				out = append(out, ',')
			}
			out = append(append(out, part.name...), part.text...)
		}
	}
	for i, name := range unset {
		if badText(name) {
			d.reject(invalidProperty, "traits.unset", "A name in traits.unset is empty, longer than %d characters, or holds a control character.", maxName)
			return
		}
		switch {
		case i > 0:
			out = append(out, ',')
		case len(out) > 1:
			out = append(out, `,"unset":[`...)
		default:
			out = append(out, `"unset":[`...)
		}
		out = appendString(out, name)
	}
	if len(unset) > 0 {
		out = append(out, ']')
	}
	if out = append(out, '}'); len(out) > 2 {
		d.Traits = view(out)
	}
}

// timestamp reads a google.protobuf.Timestamp, to the microsecond.
func timestamp(raw []byte) (time.Time, bool) {
	var seconds, nanos int64
	w := wire{data: raw}
	for w.next() {
		switch w.number {
		case 1:
			seconds = int64(w.varint)
		case 2:
			nanos = int64(int32(w.varint))
		}
	}
	if w.failed || nanos < 0 || nanos > 999_999_999 || seconds < minSeconds || seconds > maxSeconds {
		return time.Time{}, false
	}
	return time.UnixMicro(seconds*1e6 + nanos/1000).UTC(), true
}

const (
	minSeconds = -62135596800 // year 1
	maxSeconds = 253402300799 // year 9999
)

// The messages inside Context, by their field number there.
var contextGroups = [...]struct {
	name   string
	fields []payloadField
}{
	1:  {"app", []payloadField{{1, "version", kindText}, {2, "build", kindText}, {3, "namespace", kindText}}},
	2:  {"device", []payloadField{{1, "id", kindText}, {2, "manufacturer", kindText}, {3, "model", kindText}, {4, "type", kindText}}},
	3:  {"os", []payloadField{{1, "name", kindText}, {2, "version", kindText}}},
	4:  {"screen", []payloadField{{1, "width", kindInt}, {2, "height", kindInt}, {3, "density", kindNumber}}},
	7:  {"network", []payloadField{{1, "wifi", kindBool}, {2, "cellular", kindBool}, {3, "carrier", kindText}}},
	8:  {"page", []payloadField{{1, "url", kindText}, {2, "path", kindText}, {3, "title", kindText}, {4, "referrer", kindText}}},
	9:  {"campaign", []payloadField{{1, "source", kindText}, {2, "medium", kindText}, {3, "name", kindText}, {4, "term", kindText}, {5, "content", kindText}}},
	10: {"library", []payloadField{{1, "name", kindText}, {2, "version", kindText}}},
	13: {"geo", []payloadField{{1, "country", kindText}, {2, "region", kindText}, {3, "city", kindText}}},
}

var contextTexts = [...]string{5: "locale", 6: "time_zone", 11: "ip", 12: "user_agent", 14: "platform"}

// readContext reads an event's context, or makes one of the request alone. The
// events of a request mostly share theirs, so that the last one is kept.
func (r *reader) readContext(d *draft, raw []byte) {
	if r.context.hit(raw) {
		d.Context = r.context.value
		return
	}
	c := r.context.start(raw)
	w := wire{data: raw}
	for w.next() {
		if w.kind != protowire.BytesType {
			continue
		}
		number := int(w.number)
		if number < len(contextTexts) && contextTexts[number] != "" {
			if !validText(w.bytes) {
				d.reject(invalidProperty, "context", "context.%s holds bytes that are not UTF-8. Encode text as UTF-8.", contextTexts[number])
				continue
			}
			c.text("", contextTexts[number], view(w.bytes))
			continue
		}
		if number >= len(contextGroups) || contextGroups[number].name == "" {
			continue
		}
		group := &contextGroups[number]
		inner := wire{data: w.bytes}
		for inner.next() {
			at := int(inner.number) - 1
			if at >= len(group.fields) || inner.kind != group.fields[at].kind.wire() {
				continue
			}
			f := &group.fields[at]
			switch f.kind {
			case kindText:
				if !validText(inner.bytes) {
					d.reject(invalidProperty, "context", "context.%s.%s holds bytes that are not UTF-8. Encode text as UTF-8.", group.name, f.name)
					continue
				}
				c.text(group.name, f.name, view(inner.bytes))
			case kindBool:
				c.raw(group.name, f.name, strconv.FormatBool(inner.varint != 0))
			case kindInt:
				c.raw(group.name, f.name, strconv.FormatInt(int64(inner.varint), 10))
			case kindNumber:
				if n := math.Float64frombits(inner.varint); !math.IsNaN(n) && !math.IsInf(n, 0) {
					c.raw(group.name, f.name, string(appendNumber(nil, n)))
				}
			}
		}
		if inner.failed {
			d.reject(invalidProperty, "context", "context.%s is not a readable protobuf message.", group.name)
		}
	}
	if w.failed {
		d.reject(invalidProperty, "context", "The context is not a readable protobuf message.")
	}
	if d.code != "" {
		r.context.forget()
		return
	}
	d.Context = c.finish(&r.surround)
}
