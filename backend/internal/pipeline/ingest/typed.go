package ingest

import (
	"math"
	"strconv"
	"strings"
)

// topsOf makes ready for the members of an event's properties, whose text
// starts at i; the members of other objects are of no interest.
func (r *reader) topsOf(field string, i int) *[]member {
	if field != "properties" {
		return nil
	}
	r.tops, r.topsAt = r.tops[:0], i
	return &r.tops
}

// checkTyped holds the properties of a typed event to its message: what carries
// the name of a field has a value of the field's kind, or null for none. Names
// that the message does not know are the sender's own. The text was read before;
// its members are in r.tops, and the first byte of a value mostly tells enough.
func (r *reader) checkTyped(d *draft, known *payload) {
	next := 0 // members mostly come in the order of the fields
	for _, m := range r.tops {
		for range known.fields {
			f := &known.fields[next]
			if next++; next == len(known.fields) {
				next = 0
			}
			if f.name != m.name {
				continue
			}
			at := m.at - r.topsAt
			if c := d.Properties[at]; c == 'n' ||
				f.kind == kindText && c == '"' ||
				f.kind == kindNumber && (c == '-' || isDigit(c)) ||
				f.kind == kindBool && (c == 't' || c == 'f') {
				break
			}
			r.texts = scanner{data: viewBytes(d.Properties), arena: &r.arena}
			r.typedValue(d, known.name, "", at, f)
			break
		}
	}
}

// typedMembers checks the object at i, which stands at path, and returns the
// index after it.
func (r *reader) typedMembers(d *draft, name, path string, i int, fields []payloadField) int {
	s := &r.texts
	return s.members(i, func(member string, i int) int {
		for f := range fields {
			if fields[f].name == member {
				return r.typedValue(d, name, path, i, &fields[f])
			}
		}
		return s.value(i, 1)
	})
}

func (r *reader) typedValue(d *draft, name, path string, i int, f *payloadField) int {
	s := &r.texts
	c := s.data[i]
	if c == 'n' {
		return s.value(i, 1)
	}
	fits, must := false, ""
	switch f.kind {
	case kindText:
		fits, must = c == '"', "text"
	case kindBool:
		fits, must = c == 't' || c == 'f', "true or false"
	case kindNumber:
		fits, must = c == '-' || isDigit(c), "a number"
	case kindInt:
		must = "a whole number"
		if c == '-' || isDigit(c) {
			end := s.number(i)
			if end < 0 || isWhole(view(s.data[i:end])) {
				return end
			}
		}
	case kindTexts:
		if c == '[' {
			return r.typedList(d, name, path+f.name, i, '"', "text", nil)
		}
		must = "a list of texts"
	case kindProducts:
		if c == '[' {
			return r.typedList(d, name, path+f.name, i, '{', "an object", productFields)
		}
		must = "a list of objects"
	}
	end := s.value(i, 1)
	if !fits && end >= 0 {
		rejectTyped(d, name, path+f.name, must, s.data[i:end])
	}
	return end
}

// typedList checks the list at i: each item begins with the given byte, and one
// that is an object has these fields.
func (r *reader) typedList(d *draft, name, path string, i int, begins byte, must string, fields []payloadField) int {
	s := &r.texts
	at := 0
	return s.elements(i, func(i int) int {
		fits := s.data[i] == begins
		at++
		if fits && fields != nil {
			return r.typedMembers(d, name, path+"["+strconv.Itoa(at-1)+"].", i, fields)
		}
		end := s.value(i, 1)
		if !fits && end >= 0 {
			rejectTyped(d, name, path+"["+strconv.Itoa(at-1)+"]", must, s.data[i:end])
		}
		return end
	})
}

func rejectTyped(d *draft, name, path, must string, value []byte) {
	is := "an object"
	switch c := value[0]; {
	case c == '"':
		is = "text (" + shortened(value) + ")"
	case c == 't' || c == 'f' || c == 'n':
		is = view(value)
	case c == '[':
		is = "a list"
	case c != '{':
		is = "the number " + shortened(value)
	}
	field := path // of the event: which item of a list it was stands in the message, or each would be a reason of its own
	if i := strings.IndexByte(path, '['); i >= 0 {
		field = path[:i]
	}
	d.reject(invalidProperty, "properties."+field,
		"%s of the typed event %s must be %s, not %s. Send it so, or give an event of your own another name.", path, name, must, is)
}

func shortened(value []byte) string {
	if text := clip(view(value), 60); len(text) < len(value) {
		return text + "…"
	}
	return view(value)
}

// isWhole reports whether a JSON number is a whole one of 64 bits, however it is
// written: programs whose numbers are all floating write 5.0 and 1e3.
func isWhole(number string) bool {
	const surely = 18 // digits and sign
	for i := range len(number) {
		if c := number[i]; c == '.' || c|0x20 == 'e' {
			n, err := strconv.ParseFloat(number, 64)
			return err == nil && n == math.Trunc(n) && math.Abs(n) < 1<<63
		}
	}
	if len(number) <= surely {
		return true
	}
	_, err := strconv.ParseInt(number, 10, 64)
	return err == nil
}
