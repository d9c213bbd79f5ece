package ingest

import (
	"time"

	"github.com/causality-project/causality/backend/internal/platform/event"
	"github.com/causality-project/causality/backend/internal/platform/fault"
)

// readJSON reads one event, an array of events, or a request. A body that is
// not JSON fails as a whole; an event that is JSON but no event is refused
// alone.
func (r *reader) readJSON(body []byte) error {
	if len(body) >= 3 && string(body[:3]) == "\xef\xbb\xbf" {
		body = body[3:]
	}
	s := &r.scan
	*s = scanner{data: body, arena: &r.arena}
	i := s.space(0)
	switch {
	case i == len(body):
		return fault.New(fault.Invalid, "The body is empty. Send one event, an array of events, or {\"events\": […]}.")
	case body[i] == '[':
		i = s.elements(i, r.readJSONEvent)
	case body[i] == '{':
		var err error
		if i, err = r.readJSONRequest(i); err != nil {
			return err
		}
	default:
		i = s.fail(i, "an object or an array is expected here")
	}
	if i >= 0 && s.space(i) != len(body) {
		i = s.fail(s.space(i), "something follows the end")
	}
	if r.count > event.MaxBatch {
		return tooMany(r.count)
	}
	if i < 0 {
		return fault.New(fault.Invalid, "The body is not JSON at %s: %s.", s.position(), s.why)
	}
	return nil
}

func (r *reader) readJSONRequest(start int) (int, error) {
	s := &r.scan
	isRequest, isEvent, badTime := false, false, false
	end := s.members(start, func(name string, i int) int {
		switch name {
		case "events":
			if s.data[i] != '[' {
				return s.fail(i, "\"events\" must be an array")
			}
			isRequest = true
			return s.elements(i, r.readJSONEvent)
		case "sentAt", "sent_at":
			text, end, ok := s.text(i)
			if end < 0 || text == "" && ok {
				return end
			}
			var err error
			if r.sentAt, err = time.Parse(time.RFC3339Nano, text); err != nil {
				badTime = true
			}
			return end
		case "library":
			if s.data[i] != '{' {
				return s.value(i, 0)
			}
			return s.members(i, func(name string, i int) int {
				text, end, _ := s.text(i)
				switch name {
				case "name":
					r.batch.Library = clip(text, maxName)
				case "version":
					r.batch.LibraryVersion = clip(text, maxName)
				}
				return end
			})
		case "dropped":
			if s.data[i] != '{' {
				return s.value(i, 0)
			}
			return s.members(i, func(reason string, i int) int {
				text, end, _ := s.text(i)
				if end >= 0 {
					r.dropped(reason, wholeNumber(text))
				}
				return end
			})
		case "batchId", "batch_id":
			return s.value(i, 0)
		default:
			isEvent = true
			return s.value(i, 0)
		}
	})
	if end >= 0 && isEvent && !isRequest {
		r.batch.Library, r.batch.LibraryVersion, r.batch.Dropped = "", "", nil
		if !r.sentAt.IsZero() || !badTime {
			return r.readJSONEvent(start), nil
		}
	}
	if end >= 0 && badTime {
		return 0, fault.InvalidField("sentAt", "is not a time such as 2026-01-31T12:00:00Z")
	}
	if !validText(viewBytes(r.batch.Library)) || !validText(viewBytes(r.batch.LibraryVersion)) {
		r.batch.Library, r.batch.LibraryVersion = "", ""
	}
	return end, nil
}

// wholeNumber reads up to 18 digits; anything else is 0.
func wholeNumber(text string) int64 {
	if len(text) > 18 {
		return 0
	}
	var n int64
	for _, c := range []byte(text) {
		if c < '0' || c > '9' {
			return 0
		}
		n = n*10 + int64(c-'0')
	}
	return n
}

func (r *reader) readJSONEvent(start int) int {
	s := &r.scan
	if r.count >= event.MaxBatch {
		r.count++ // only to be told the number
		return s.value(start, 0)
	}
	d := draft{isJSON: true}
	if s.data[start] != '{' {
		end := s.value(start, 0)
		if end >= 0 {
			d.raw = s.data[start:end]
			d.reject(invalidProperty, "", "The event is not a JSON object. Send {\"name\": …} for each event.")
			r.finish(&d)
		}
		return end
	}
	withContext := false
	end := s.members(start, func(name string, i int) int {
		switch name {
		case "id":
			return r.jsonText(&d, &d.id, "id", invalidID, i)
		case "name":
			return r.jsonText(&d, &d.Name, "name", invalidProperty, i)
		case "event":
			text, end, _ := s.text(i)
			d.named = clip(text, 60)
			return end
		case "type":
			return r.jsonType(&d, i)
		case "timestamp":
			text, end, ok := s.text(i)
			if end < 0 || ok && text == "" {
				return end
			}
			at, err := time.Parse(time.RFC3339Nano, text)
			if err != nil {
				d.reject(invalidTimestamp, "timestamp", "%q is not a time. Send RFC 3339 with a zone, such as \"2026-01-31T12:00:00Z\".", clip(text, 60))
			}
			d.TS = at.Truncate(time.Microsecond).UTC()
			return end
		case "userId", "user_id":
			return r.jsonText(&d, &d.UserID, "userId", invalidID, i)
		case "anonymousId", "anonymous_id":
			return r.jsonText(&d, &d.AnonymousID, "anonymousId", invalidID, i)
		case "sessionId", "session_id":
			return r.jsonText(&d, &d.SessionID, "sessionId", invalidID, i)
		case "correlationId", "correlation_id":
			return r.jsonText(&d, &d.CorrelationID, "correlationId", invalidID, i)
		case "groupType", "group_type":
			return r.jsonText(&d, &d.GroupType, "groupType", invalidID, i)
		case "groupId", "group_id":
			return r.jsonText(&d, &d.GroupID, "groupId", invalidID, i)
		case "previousId", "previous_id":
			return r.jsonText(&d, &d.PreviousID, "previousId", invalidID, i)
		case "groups":
			return r.jsonGroups(&d, i)
		case "properties":
			return r.jsonProperties(&d, &d.Properties, "properties", i)
		case "traits":
			return r.jsonTraits(&d, i)
		case "context":
			withContext = true
			return r.jsonContext(&d, i)
		default:
			end := s.value(i, 0)
			if end >= 0 && s.data[i] == '{' {
				if known := payloadNames[name]; known != nil {
					d.payload, d.payloadRaw = known, s.data[i:end]
				}
			}
			return end
		}
	})
	if end < 0 {
		return end
	}
	d.raw = s.data[start:end]
	if !withContext {
		r.jsonContext(&d, -1)
	}
	r.finish(&d)
	return end
}

func (r *reader) jsonText(d *draft, to *string, field, code string, i int) int {
	text, end, ok := r.scan.text(i)
	if !ok && end >= 0 {
		d.reject(code, field, "%s must be text.", field)
	}
	*to = text
	return end
}

func (r *reader) jsonType(d *draft, i int) int {
	text, end, _ := r.scan.text(i)
	if end < 0 {
		return end
	}
	switch text {
	case "TRACK", "track", "TYPE_UNSPECIFIED", "", "0", "1":
		d.Type = event.Track
	case "IDENTIFY", "identify", "2":
		d.Type = event.Identify
	case "GROUP", "group", "3":
		d.Type = event.Group
	case "ALIAS", "alias", "4":
		d.Type = event.Alias
	default:
		d.reject(invalidProperty, "type", "Type %q does not exist. It is TRACK, IDENTIFY, GROUP or ALIAS.", clip(text, 60))
	}
	return end
}

func (r *reader) jsonGroups(d *draft, i int) int {
	s := &r.scan
	if s.data[i] != '{' {
		end := s.value(i, 0)
		if end >= 0 && s.data[i] != 'n' {
			d.reject(invalidProperty, "groups", "groups must be an object of group type to group id, such as {\"company\":\"acme\"}.")
		}
		return end
	}
	r.groups = r.groups[:0]
	end := s.members(i, func(kind string, i int) int {
		id, end, ok := s.text(i)
		if !ok && end >= 0 {
			d.reject(invalidProperty, "groups", "groups.%s must be text.", clip(kind, 60))
		}
		r.addGroup(d, kind, id)
		return end
	})
	if end >= 0 {
		r.keepGroups(d)
	}
	return end
}

// jsonProperties takes an object as it came, or (as in protobuf's JSON) the
// text of one.
func (r *reader) jsonProperties(d *draft, to *string, field string, i int) int {
	s := &r.scan
	switch s.data[i] {
	case '{':
		s.deepest, s.names, s.badName, s.emptyName, s.naming = 0, 0, "", false, true
		s.tops = r.topsOf(field, i)
		end := s.value(i, 0)
		s.naming = false
		if end >= 0 {
			*to = view(s.data[i:end])
			r.checkNames(d, s, field)
		}
		return end
	case '"', 'n':
		text, end, ok := s.text(i)
		if end >= 0 && ok {
			*to = text
			r.checkProperties(d, to, field)
			return end
		}
		return end
	default:
		end := s.value(i, 0)
		if end >= 0 {
			d.reject(invalidProperty, field, "%s must be a JSON object, such as {\"plan\":\"pro\"}.", field)
		}
		return end
	}
}

func (r *reader) jsonTraits(d *draft, i int) int {
	s := &r.scan
	if s.data[i] != '{' {
		end := s.value(i, 0)
		if end >= 0 && s.data[i] != 'n' {
			d.reject(invalidProperty, "traits", "traits must be an object with set, setOnce, add or unset.")
		}
		return end
	}
	var set, once, add string
	var unset []string
	end := s.members(i, func(name string, i int) int {
		switch name {
		case "set":
			return r.jsonProperties(d, &set, "traits.set", i)
		case "setOnce", "set_once":
			return r.jsonProperties(d, &once, "traits.setOnce", i)
		case "add":
			return r.jsonProperties(d, &add, "traits.add", i)
		case "unset":
			if s.data[i] != '[' {
				d.reject(invalidProperty, "traits.unset", "traits.unset must be a list of names.")
				return s.value(i, 0)
			}
			return s.elements(i, func(i int) int {
				text, end, ok := s.text(i)
				if !ok && end >= 0 {
					d.reject(invalidProperty, "traits.unset", "traits.unset must be a list of names.")
				}
				unset = append(unset, text)
				return end
			})
		default:
			d.reject(invalidProperty, "traits", "traits.%s is unknown. Put what you know into traits.set: {\"traits\":{\"set\":{\"plan\":\"pro\"}}}.", clip(name, 60))
			return s.value(i, 0)
		}
	})
	if end >= 0 && d.code == "" {
		r.joinTraits(d, set, once, add, unset)
	}
	return end
}

// jsonContext reads the context at i, or makes one of the request alone for -1.
func (r *reader) jsonContext(d *draft, i int) int {
	s := &r.scan
	var raw []byte
	end := 0
	if i >= 0 && s.data[i] == '{' {
		s.deepest = 0
		if end = s.value(i, 0); end < 0 {
			return end
		}
		raw = s.data[i:end]
		if s.deepest > event.MaxDepth {
			d.reject(tooDeep, "context", "context is nested %d levels deep, the limit is %d. Flatten it.", s.deepest, event.MaxDepth)
			return end
		}
	} else if i >= 0 {
		end = s.value(i, 0)
		if end >= 0 && s.data[i] != 'n' {
			d.reject(invalidProperty, "context", "context must be a JSON object.")
			return end
		}
	}
	if end < 0 {
		return end
	}
	if r.context.hit(raw) {
		d.Context = r.context.value
		return end
	}
	c := r.context.start(raw)
	if raw == nil {
		d.Context = c.finish(&r.surround)
		return end
	}
	s.members(i, func(group string, i int) int {
		group = snakeContext(group)
		if s.data[i] != '{' {
			return r.jsonContextValue(c, "", group, i)
		}
		return s.members(i, func(name string, i int) int {
			return r.jsonContextValue(c, group, name, i)
		})
	})
	d.Context = c.finish(&r.surround)
	return end
}

func (r *reader) jsonContextValue(c *contextCache, group, name string, i int) int {
	s := &r.scan
	text, end, ok := s.text(i)
	switch {
	case end < 0 || s.data[i] == 'n':
	case ok && s.data[i] == '"':
		c.text(group, name, text)
	case ok && c.column(group, name) != nil: // a number where text belongs, such as an OS version
		c.text(group, name, text)
	default:
		c.raw(group, name, view(s.data[i:end]))
	}
	return end
}

func snakeContext(name string) string {
	switch name {
	case "timeZone", "timezone":
		return "time_zone"
	case "userAgent":
		return "user_agent"
	}
	return name
}

// appendJSONFields appends the members of a typed payload in JSON, under their
// names in the contract; members it does not know stay as they are.
func appendJSONFields(dst, object []byte, fields []payloadField, skip func(string) bool, arena *[]byte) ([]byte, bool) {
	s := scanner{data: object, arena: arena}
	start := len(dst)
	end := s.members(0, func(name string, i int) int {
		var known *payloadField
		for f := range fields {
			if fields[f].name == name || camel(fields[f].name) == name {
				known = &fields[f]
				name = known.name
				break
			}
		}
		end := s.value(i, 1)
		if end < 0 || skip != nil && skip(name) || s.data[i] == 'n' {
			return end
		}
		if len(dst) > start {
			dst = append(dst, ',')
		}
		dst = append(appendString(dst, name), ':')
		value := object[i:end]
		switch {
		case known != nil && (known.kind == kindInt || known.kind == kindNumber) && value[0] == '"':
			// Protobuf's JSON writes 64-bit integers as text.
			inner := scanner{data: value[1 : len(value)-1]}
			if len(inner.data) > 0 && (inner.data[0] == '-' || isDigit(inner.data[0])) && inner.number(0) == len(inner.data) {
				value = inner.data
			}
		case known != nil && known.kind == kindProducts && value[0] == '[':
			dst = appendJSONProducts(dst, value, arena)
			return end
		}
		dst = append(dst, value...)
		return end
	})
	return dst, end >= 0
}

// appendJSONProducts appends a list that was read before.
func appendJSONProducts(dst, list []byte, arena *[]byte) []byte {
	s := scanner{data: list, arena: arena}
	dst = append(dst, '[')
	start := len(dst)
	s.elements(0, func(i int) int {
		end := s.value(i, 1)
		if len(dst) > start {
			dst = append(dst, ',')
		}
		if item := list[i:end]; item[0] == '{' {
			dst, _ = appendJSONFields(append(dst, '{'), item, productFields, nil, arena)
			dst = append(dst, '}')
		} else {
			dst = append(dst, item...)
		}
		return end
	})
	return append(dst, ']')
}

func isDigit(c byte) bool { return '0' <= c && c <= '9' }
