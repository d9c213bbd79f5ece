package parquetv1

import (
	"bytes"
	"math"
	"slices"
	"strconv"
	"unicode/utf16"
	"unicode/utf8"
)

// Properties reads some top-level properties of JSON objects, with the same
// meaning as the query engine's macros property_text and text_number: of a
// repeated name the first counts, 5.0 is 5, null is absent. It is not for
// concurrent use.
type Properties struct {
	names  [][]byte
	values []Value
	key    []byte
	text   []byte
}

// NewProperties makes a reader of the named properties, at most 64.
func NewProperties(names []string) *Properties {
	p := &Properties{values: make([]Value, len(names))}
	for _, name := range names {
		p.names = append(p.names, []byte(name))
	}
	return p
}

// Value is a property of one object. It is valid until the next Read.
type Value struct {
	reader *Properties
	kind   valueKind
	raw    []byte // JSON
}

type valueKind uint8

const (
	absentValue valueKind = iota
	textValue
	numberValue
	literalValue  // true, false
	compoundValue // a list or an object
	brokenValue   // the object is not JSON
)

// Read reads an object; nil has no properties.
func (p *Properties) Read(object []byte) {
	clear(p.values)
	if object == nil {
		return
	}
	s := scanner{json: object}
	if !p.scan(&s) {
		for i := range p.values {
			p.values[i] = Value{kind: brokenValue}
		}
	}
}

// Value is the value of the i-th name.
func (p *Properties) Value(i int) Value {
	v := p.values[i]
	v.reader = p
	return v
}

func (p *Properties) scan(s *scanner) bool {
	var found, want uint64 = 0, 1<<len(p.names) - 1
	if !s.take('{') {
		return false
	}
	if s.take('}') {
		return true
	}
	for {
		key, ok := s.text()
		if !ok || !s.take(':') {
			return false
		}
		name := key[1 : len(key)-1]
		if bytes.IndexByte(name, '\\') >= 0 {
			if p.key, ok = unquote(p.key[:0], key); !ok {
				return false
			}
			name = p.key
		}
		s.space()
		from := s.at
		kind := s.value()
		if kind == brokenValue {
			return false
		}
		for i := range p.names {
			if found>>i&1 == 0 && bytes.Equal(p.names[i], name) {
				found |= 1 << i
				if value := s.json[from:s.at]; string(value) != "null" {
					p.values[i] = Value{kind: kind, raw: value}
				}
			}
		}
		if s.take('}') {
			return true
		}
		if !s.take(',') {
			return false
		}
		if found == want {
			return true
		}
	}
}

// Absent reports whether the object lacks the property, or has null.
func (v Value) Absent() bool { return v.kind == absentValue }

// Text is the canonical text of a scalar. Not ok: the value is something else.
func (v Value) Text() (text []byte, ok bool) {
	switch v.kind {
	case literalValue:
		return v.raw, true
	case numberValue:
		v.reader.text, ok = appendNumber(v.reader.text[:0], v.raw)
		return v.reader.text, ok
	case textValue:
		v.reader.text, ok = unquote(v.reader.text[:0], v.raw)
		return v.reader.text, ok
	}
	return nil, false
}

// Number is the value as a number. Not ok: it is not a JSON number, or not a
// finite one. Texts that read as a number are not ok either: "05" is not 5.
func (v Value) Number() (number float64, ok bool) {
	if v.kind != numberValue {
		return 0, false
	}
	text, ok := appendNumber(v.reader.text[:0], v.raw)
	if !ok {
		return 0, false
	}
	v.reader.text = text
	number, err := strconv.ParseFloat(string(text), 64)
	return number, err == nil && !math.IsInf(number, 0)
}

// appendNumber appends a JSON number in its canonical form: whole numbers keep
// their digits however many they are; others are written as a double in as few
// digits as tell it apart, without exponent between 1e-7 and 1e21.
func appendNumber(text, raw []byte) ([]byte, bool) {
	if !isNumberText(raw) {
		return text, false
	}
	if !bytes.ContainsAny(raw, ".eE") {
		if string(raw) == "-0" {
			return append(text, '0'), true
		}
		return append(text, raw...), true
	}
	number, err := strconv.ParseFloat(string(raw), 64)
	switch {
	case err != nil && math.IsInf(number, 0): // beyond a double: as it came
		return append(text, bytes.TrimSuffix(raw, []byte(".0"))...), true
	case err != nil:
		return text, false
	case number == 0:
		return append(text, '0'), true
	}
	if size := math.Abs(number); size >= 1e-6 && size < 1e21 {
		return strconv.AppendFloat(text, number, 'f', -1, 64), true
	}
	from := len(text)
	text = strconv.AppendFloat(text, number, 'e', -1, 64)
	// 1e+21 is written 1e21, and 1e-07 1e-7.
	if at := from + bytes.IndexByte(text[from:], 'e') + 1; text[at] == '+' {
		text = slices.Delete(text, at, at+1)
	} else if text[at+1] == '0' {
		text = slices.Delete(text, at+1, at+2)
	}
	return text, true
}

func isNumberText(raw []byte) bool {
	digits := func() bool {
		n := 0
		for n < len(raw) && raw[n] >= '0' && raw[n] <= '9' {
			n++
		}
		raw = raw[n:]
		return n > 0
	}
	raw = bytes.TrimPrefix(raw, []byte("-"))
	if len(raw) > 1 && raw[0] == '0' && raw[1] >= '0' && raw[1] <= '9' || !digits() {
		return false
	}
	if len(raw) > 0 && raw[0] == '.' {
		if raw = raw[1:]; !digits() {
			return false
		}
	}
	if len(raw) > 0 && (raw[0] == 'e' || raw[0] == 'E') {
		raw = raw[1:]
		if len(raw) > 0 && (raw[0] == '+' || raw[0] == '-') {
			raw = raw[1:]
		}
		if !digits() {
			return false
		}
	}
	return len(raw) == 0
}

// unquote appends what a JSON string stands for. Text that is not Unicode is
// not ok: no column of text may hold it.
func unquote(text, quoted []byte) ([]byte, bool) {
	from := len(text)
	rest := quoted[1 : len(quoted)-1]
	for {
		plain := bytes.IndexByte(rest, '\\')
		if plain < 0 {
			text = append(text, rest...)
			return text, utf8.Valid(text[from:])
		}
		text = append(text, rest[:plain]...)
		if rest = rest[plain+1:]; len(rest) == 0 {
			return text, false
		}
		c := rest[0]
		rest = rest[1:]
		switch c {
		case '"', '\\', '/':
			text = append(text, c)
		case 'b':
			text = append(text, '\b')
		case 'f':
			text = append(text, '\f')
		case 'n':
			text = append(text, '\n')
		case 'r':
			text = append(text, '\r')
		case 't':
			text = append(text, '\t')
		case 'u':
			r, ok := hex(rest)
			if !ok {
				return text, false
			}
			rest = rest[4:]
			if utf16.IsSurrogate(r) {
				if len(rest) < 6 || rest[0] != '\\' || rest[1] != 'u' {
					return text, false
				}
				low, ok := hex(rest[2:])
				if r = utf16.DecodeRune(r, low); !ok || r == utf8.RuneError {
					return text, false
				}
				rest = rest[6:]
			}
			text = utf8.AppendRune(text, r)
		default:
			return text, false
		}
	}
}

func hex(digits []byte) (rune, bool) {
	if len(digits) < 4 {
		return 0, false
	}
	n, err := strconv.ParseUint(string(digits[:4]), 16, 16)
	return rune(n), err == nil
}

// scanner steps through JSON. It tells values apart without checking them: text
// that is not JSON may pass, and never reads beyond its end.
type scanner struct {
	json []byte
	at   int
}

func (s *scanner) space() {
	for s.at < len(s.json) && (s.json[s.at] == ' ' || s.json[s.at] == '\n' || s.json[s.at] == '\t' || s.json[s.at] == '\r') {
		s.at++
	}
}

func (s *scanner) take(c byte) bool {
	s.space()
	if s.at == len(s.json) || s.json[s.at] != c {
		return false
	}
	s.at++
	return true
}

// text steps over a string and returns it with its quotes.
func (s *scanner) text() ([]byte, bool) {
	if !s.take('"') {
		return nil, false
	}
	from := s.at - 1
	for {
		n := bytes.IndexByte(s.json[s.at:], '"')
		if n < 0 {
			return nil, false
		}
		s.at += n + 1
		escapes := 0
		for i := s.at - 2; i > from && s.json[i] == '\\'; i-- {
			escapes++
		}
		if escapes%2 == 0 {
			return s.json[from:s.at], true
		}
	}
}

// value steps over a value.
func (s *scanner) value() valueKind {
	s.space()
	if s.at == len(s.json) {
		return brokenValue
	}
	switch c := s.json[s.at]; c {
	case '"':
		if _, ok := s.text(); !ok {
			return brokenValue
		}
		return textValue
	case '{', '[':
		return s.compound()
	default:
		from := s.at
		for s.at < len(s.json) && bytes.IndexByte([]byte(",}] \n\t\r"), s.json[s.at]) < 0 {
			s.at++
		}
		switch word := s.json[from:s.at]; {
		case c == '-' || c >= '0' && c <= '9':
			return numberValue
		case string(word) == "true" || string(word) == "false" || string(word) == "null":
			return literalValue
		}
		return brokenValue
	}
}

func (s *scanner) compound() valueKind {
	depth := 0
	for s.at < len(s.json) {
		switch s.json[s.at] {
		case '"':
			if _, ok := s.text(); !ok {
				return brokenValue
			}
			continue
		case '{', '[':
			depth++
		case '}', ']':
			if depth--; depth == 0 {
				s.at++
				return compoundValue
			}
		}
		s.at++
	}
	return brokenValue
}
