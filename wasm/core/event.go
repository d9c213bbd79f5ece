package main

import (
	"github.com/causality-project/causality/sdk/core"
)

// maxText bounds an event's text: no event of core.MaxEventBytes is longer, even
// when every byte of it is written as an escape.
const maxText = 8 * core.MaxEventBytes

// readEvent reads an event as EventInput of the TypeScript core writes it as JSON.
// Members that it does not know are skipped. Its error names the field.
func readEvent(text string) (core.Event, *core.InvalidError) {
	if len(text) > maxText {
		return core.Event{}, &core.InvalidError{
			Field: "event", Problem: "is larger than 32 KiB once encoded; send less in its properties", Reason: core.TooLarge,
		}
	}
	r := eventReader{reader: reader{text: text}}
	r.member("event", func() {
		r.event()
		if r.next(); r.at < len(text) {
			r.fail(notJSON)
		}
	})
	if r.fault != "" {
		return core.Event{}, &core.InvalidError{Field: r.field, Problem: r.fault, Reason: core.Invalid}
	}
	return r.out, nil
}

type eventReader struct {
	reader
	out   core.Event
	field string // in which the first fault is
}

// member reads a value that belongs to a field.
func (r *eventReader) member(field string, read func()) {
	if r.fault == "" {
		if read(); r.fault != "" && r.field == "" {
			r.field = field
		}
	}
}

func (r *eventReader) event() {
	e := &r.out
	if r.next() != '{' {
		r.fail("is not an object")
		return
	}
	r.object(func(key string) {
		switch key {
		case "id":
			r.textOf(key, &e.ID)
		case "type":
			r.member(key, func() { e.Type = core.Type(min(uint64(r.integer()), 255)) })
		case "name":
			r.textOf(key, &e.Name)
		case "timestamp":
			r.member(key, func() { e.Timestamp = core.Micros(r.integer()) })
		case "userId":
			r.textOf("user_id", &e.UserID)
		case "anonymousId":
			r.textOf("anonymous_id", &e.AnonymousID)
		case "sessionId":
			r.textOf("session_id", &e.SessionID)
		case "correlationId":
			r.textOf("correlation_id", &e.CorrelationID)
		case "groups":
			r.member(key, func() {
				e.Groups = nil
				r.object(func(kind string) {
					if e.Groups == nil {
						e.Groups = make(map[string]string)
					}
					e.Groups[kind] = r.string()
				})
			})
		case "context":
			r.member(key, r.context)
		case "properties":
			r.member(key, func() { e.Properties = r.properties() })
		case "traits":
			r.traits()
		case "groupType":
			r.textOf("group_type", &e.GroupType)
		case "groupId":
			r.textOf("group_id", &e.GroupID)
		case "previousId":
			r.textOf("previous_id", &e.PreviousID)
		default:
			r.value()
		}
	})
}

func (r *eventReader) textOf(field string, to *string) {
	r.member(field, func() { *to = r.string() })
}

func (r *eventReader) traits() {
	t := &core.Traits{}
	r.member("traits", func() {
		r.object(func(key string) {
			switch key {
			case "set":
				r.member("traits.set", func() { t.Set = r.properties() })
			case "setOnce":
				r.member("traits.set_once", func() { t.SetOnce = r.properties() })
			case "add":
				r.member("traits.add", func() { t.Add = r.properties() })
			case "unset":
				r.member("traits.unset", func() {
					t.Unset = nil
					if !r.null() {
						r.elements('[', ']', func() { t.Unset = append(t.Unset, r.string()) })
					}
				})
			default:
				r.value()
			}
		})
	})
	r.out.Traits = t
}

func (r *eventReader) context() {
	c := &core.Context{}
	r.object(func(key string) {
		switch key {
		case "app":
			r.texts([]string{"version", "build", "namespace"}, &c.App.Version, &c.App.Build, &c.App.Namespace)
		case "device":
			d := &c.Device
			r.texts([]string{"id", "manufacturer", "model", "type"}, &d.ID, &d.Manufacturer, &d.Model, &d.Type)
		case "os":
			r.texts([]string{"name", "version"}, &c.OS.Name, &c.OS.Version)
		case "screen":
			r.object(func(key string) {
				switch key {
				case "width":
					c.Screen.Width = r.int32()
				case "height":
					c.Screen.Height = r.int32()
				case "density":
					if text := r.number(); text != "" {
						c.Screen.Density = parseNumber(text)
					}
				default:
					r.value()
				}
			})
		case "locale":
			c.Locale = r.string()
		case "timeZone":
			c.TimeZone = r.string()
		case "network":
			r.object(func(key string) {
				switch key {
				case "wifi":
					c.Network.WiFi = r.bool()
				case "cellular":
					c.Network.Cellular = r.bool()
				case "carrier":
					c.Network.Carrier = r.string()
				default:
					r.value()
				}
			})
		case "page":
			p := &c.Page
			r.texts([]string{"url", "path", "title", "referrer"}, &p.URL, &p.Path, &p.Title, &p.Referrer)
		case "campaign":
			m := &c.Campaign
			r.texts([]string{"source", "medium", "name", "term", "content"}, &m.Source, &m.Medium, &m.Name, &m.Term, &m.Content)
		case "library":
			r.texts([]string{"name", "version"}, &c.Library.Name, &c.Library.Version)
		case "ip":
			c.IP = r.string()
		case "userAgent":
			c.UserAgent = r.string()
		case "geo":
			r.texts([]string{"country", "region", "city"}, &c.Geo.Country, &c.Geo.Region, &c.Geo.City)
		case "platform":
			c.Platform = r.string()
		default:
			r.value()
		}
	})
	r.out.Context = c
}

// texts reads an object of strings.
func (r *reader) texts(keys []string, to ...*string) {
	r.object(func(key string) {
		for i := range keys {
			if keys[i] == key {
				*to[i] = r.string()
				return
			}
		}
		r.value()
	})
}

// properties reads an object of any values.
func (r *reader) properties() map[string]any {
	var out map[string]any
	r.object(func(key string) {
		if out == nil {
			out = make(map[string]any)
		}
		out[key] = r.value()
	})
	return out
}

func (r *reader) value() any {
	switch r.next() {
	case '{':
		if out := r.properties(); out != nil {
			return out
		}
		return map[string]any{}
	case '[':
		list := []any{}
		r.elements('[', ']', func() { list = append(list, r.value()) })
		return list
	case '"':
		return r.string()
	case 't', 'f':
		return r.bool()
	case 'n':
		if r.null() {
			return nil
		}
	default:
		if text := r.number(); text != "" {
			return core.Number(text)
		}
	}
	r.fail(notJSON)
	return nil
}

// integer is the whole part of a number. One that has an exponent, or that 64 bits
// do not hold, is none.
func (r *reader) integer() int64 {
	text := r.number()
	var v uint64
	for i := 0; i < len(text); i++ {
		b := text[i]
		switch {
		case b == '-':
		case b == '.':
			return signed(v, text)
		case b < '0' || b > '9' || v > (1<<63-10)/10:
			r.fail("is not a whole number")
			return 0
		default:
			v = v*10 + uint64(b-'0')
		}
	}
	return signed(v, text)
}

func signed(v uint64, text string) int64 {
	if len(text) > 0 && text[0] == '-' {
		return -int64(v)
	}
	return int64(v)
}

func (r *reader) int32() int32 { return int32(min(max(r.integer(), -1<<31), 1<<31-1)) }
