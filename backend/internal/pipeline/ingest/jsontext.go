package ingest

import (
	"encoding/binary"
	"math/bits"
	"strconv"
	"unicode/utf16"
	"unicode/utf8"

	"github.com/causality-project/causality/backend/internal/platform/event"
)

// maxScanDepth bounds the scanner's recursion. An event may only be 32 deep;
// one that is deeper is refused alone as long as the rest can be read.
const maxScanDepth = 1000

// scanner checks JSON text (RFC 8259) in one pass and builds no values. It
// writes to the text only to mend half surrogate pairs. Methods
// take the index where a value starts and return the index after it, or -1 with
// at and why set.
type scanner struct {
	data    []byte
	deepest int // levels of nesting seen since it was last reset
	at      int
	why     string
	arena   *[]byte // where escaped strings are unescaped

	// Of the properties object being checked: its names at the top.
	naming    bool
	names     int
	badName   string
	emptyName bool
	tops      *[]member // when set, gets its members at the top
}

// member is a name at the top of the properties, and where its value starts.
type member struct {
	name string
	at   int
}

func (s *scanner) fail(i int, why string) int {
	s.at, s.why = i, why
	return -1
}

func (s *scanner) space(i int) int {
	for i < len(s.data) && (s.data[i] == ' ' || s.data[i] == '\n' || s.data[i] == '\t' || s.data[i] == '\r') {
		i++
	}
	return i
}

func (s *scanner) value(i, depth int) int {
	if i >= len(s.data) {
		return s.fail(i, "the text ends too early")
	}
	switch c := s.data[i]; {
	case c == '"':
		end, _ := s.string(i)
		return end
	case c == '{':
		return s.object(i, depth+1)
	case c == '[':
		return s.array(i, depth+1)
	case c == '-' || '0' <= c && c <= '9':
		return s.number(i)
	case c == 't':
		return s.literal(i, "true")
	case c == 'f':
		return s.literal(i, "false")
	case c == 'n':
		return s.literal(i, "null")
	}
	return s.fail(i, "a value is expected here")
}

func (s *scanner) literal(i int, want string) int {
	if end := i + len(want); end <= len(s.data) && string(s.data[i:end]) == want {
		return end
	}
	return s.fail(i, "this is not a JSON value")
}

func (s *scanner) number(i int) int {
	d := s.data
	if d[i] == '-' {
		i++
	}
	switch {
	case i < len(d) && d[i] == '0':
		i++
	case i < len(d) && '1' <= d[i] && d[i] <= '9':
		i = s.digits(i)
	default:
		return s.fail(i, "this is not a JSON number")
	}
	if i < len(d) && d[i] == '.' {
		end := s.digits(i + 1)
		if end == i+1 {
			return s.fail(i, "a number ends after its point")
		}
		i = end
	}
	if i < len(d) && (d[i] == 'e' || d[i] == 'E') {
		i++
		if i < len(d) && (d[i] == '+' || d[i] == '-') {
			i++
		}
		end := s.digits(i)
		if end == i {
			return s.fail(i, "a number ends in its exponent")
		}
		i = end
	}
	return i
}

func (s *scanner) digits(i int) int {
	for i < len(s.data) && '0' <= s.data[i] && s.data[i] <= '9' {
		i++
	}
	return i
}

const (
	ones  = 0x0101010101010101
	highs = 0x8080808080808080
)

// string reads the string at i and says whether it holds escapes. It does not
// check UTF-8, which is cheaper over the whole event.
func (s *scanner) string(i int) (end int, escaped bool) {
	d := s.data
	start := i
	for i++; ; {
		// Eight bytes at a time, to the first quote, backslash or control.
		for i+8 <= len(d) {
			w := binary.LittleEndian.Uint64(d[i:])
			quote, slash := w^(ones*'"'), w^(ones*'\\')
			hit := ((w-ones*0x20)&^w | (quote-ones)&^quote | (slash-ones)&^slash) & highs
			if hit != 0 {
				i += bits.TrailingZeros64(hit) / 8
				break
			}
			i += 8
		}
		if i >= len(d) {
			return s.fail(start, "a string does not end"), false
		}
		switch c := d[i]; {
		case c == '"':
			return i + 1, escaped
		case c == '\\':
			escaped = true
			if i+1 >= len(d) {
				return s.fail(start, "a string does not end"), false
			}
			switch d[i+1] {
			case '"', '\\', '/', 'b', 'f', 'n', 'r', 't':
				i += 2
			case 'u':
				if i+6 > len(d) || !isHex(d[i+2]) || !isHex(d[i+3]) || !isHex(d[i+4]) || !isHex(d[i+5]) {
					return s.fail(i, "\\u needs four hexadecimal digits"), false
				}
				if d[i+2]|0x20 == 'd' && d[i+3] >= '8' {
					i = s.surrogate(i)
				} else {
					i += 6
				}
			default:
				return s.fail(i, "this escape does not exist in JSON"), false
			}
		case c < 0x20:
			return s.fail(i, "a string holds a control character; escape it"), false
		default:
			i++
		}
	}
}

// surrogate reads the surrogate escape at i and returns the index after its
// pair. Half a pair is what programs send that cut text by UTF-16 units, and
// stands for no character: engines refuse the whole text for it, so that one
// event would fail every question that reads it. It is overwritten in place with
// the escape of U+FFFD, as decoders read it.
func (s *scanner) surrogate(i int) int {
	d := s.data
	if utf16.DecodeRune(hex4(d[i+2:]), lowSurrogate(d[i+6:])) != utf8.RuneError {
		return i + 12
	}
	copy(d[i+2:], "fffd")
	return i + 6
}

// lowSurrogate reads the escape that d starts with; 0 when there is none.
func lowSurrogate(d []byte) rune {
	if len(d) < 6 || d[0] != '\\' || d[1] != 'u' || !isHex(d[2]) || !isHex(d[3]) || !isHex(d[4]) || !isHex(d[5]) {
		return 0
	}
	return hex4(d[2:])
}

func isHex(c byte) bool {
	return '0' <= c && c <= '9' || 'a' <= c && c <= 'f' || 'A' <= c && c <= 'F'
}

func (s *scanner) object(i, depth int) int {
	if depth > maxScanDepth {
		return s.fail(i, "the text is nested more than 1,000 levels deep")
	}
	s.deepest = max(s.deepest, depth)
	i = s.space(i + 1)
	if i < len(s.data) && s.data[i] == '}' {
		return i + 1
	}
	for {
		if i >= len(s.data) || s.data[i] != '"' {
			return s.fail(i, "a name in quotes is expected here")
		}
		end, escaped := s.string(i)
		if end < 0 {
			return -1
		}
		top := depth == 1 && s.naming
		var name string
		if top {
			name = s.name(i, end, escaped)
		}
		if i = s.space(end); i >= len(s.data) || s.data[i] != ':' {
			return s.fail(i, "a colon is expected here")
		}
		i = s.space(i + 1)
		if top && s.tops != nil && s.names <= event.MaxPropertyNames {
			*s.tops = append(*s.tops, member{name, i})
		}
		if i = s.value(i, depth); i < 0 {
			return -1
		}
		i = s.space(i)
		switch {
		case i < len(s.data) && s.data[i] == ',':
			i = s.space(i + 1)
		case i < len(s.data) && s.data[i] == '}':
			return i + 1
		default:
			return s.fail(i, "a comma or a closing brace is expected here")
		}
	}
}

func (s *scanner) array(i, depth int) int {
	if depth > maxScanDepth {
		return s.fail(i, "the text is nested more than 1,000 levels deep")
	}
	s.deepest = max(s.deepest, depth)
	i = s.space(i + 1)
	if i < len(s.data) && s.data[i] == ']' {
		return i + 1
	}
	for {
		if i = s.value(i, depth); i < 0 {
			return -1
		}
		i = s.space(i)
		switch {
		case i < len(s.data) && s.data[i] == ',':
			i = s.space(i + 1)
		case i < len(s.data) && s.data[i] == ']':
			return i + 1
		default:
			return s.fail(i, "a comma or a closing bracket is expected here")
		}
	}
}

// name reads and checks one name at the top of the properties.
func (s *scanner) name(i, end int, escaped bool) string {
	s.names++
	if !escaped && end-i-2 <= maxName && end-i-2 > 0 {
		return view(s.data[i+1 : end-1])
	}
	name := s.unquote(i, end, escaped)
	if badText(name) {
		s.badName, s.emptyName = name, name == ""
	}
	return name
}

// members walks the object at i, giving each name and the index of its value to
// fn, which returns the index after the value.
func (s *scanner) members(i int, fn func(name string, i int) int) int {
	i = s.space(i + 1)
	if i < len(s.data) && s.data[i] == '}' {
		return i + 1
	}
	for {
		if i >= len(s.data) || s.data[i] != '"' {
			return s.fail(i, "a name in quotes is expected here")
		}
		end, escaped := s.string(i)
		if end < 0 {
			return -1
		}
		name := s.unquote(i, end, escaped)
		if i = s.space(end); i >= len(s.data) || s.data[i] != ':' {
			return s.fail(i, "a colon is expected here")
		}
		if i = s.space(i + 1); i >= len(s.data) {
			return s.fail(i, "the text ends too early")
		}
		if i = fn(name, i); i < 0 {
			return -1
		}
		i = s.space(i)
		switch {
		case i < len(s.data) && s.data[i] == ',':
			i = s.space(i + 1)
		case i < len(s.data) && s.data[i] == '}':
			return i + 1
		default:
			return s.fail(i, "a comma or a closing brace is expected here")
		}
	}
}

// elements walks the array at i in the same way.
func (s *scanner) elements(i int, fn func(i int) int) int {
	i = s.space(i + 1)
	if i < len(s.data) && s.data[i] == ']' {
		return i + 1
	}
	for {
		if i >= len(s.data) {
			return s.fail(i, "the text ends too early")
		}
		if i = fn(i); i < 0 {
			return -1
		}
		i = s.space(i)
		switch {
		case i < len(s.data) && s.data[i] == ',':
			i = s.space(i + 1)
		case i < len(s.data) && s.data[i] == ']':
			return i + 1
		default:
			return s.fail(i, "a comma or a closing bracket is expected here")
		}
	}
}

// text reads the value at i as text: a string, or the digits of a number. ok is
// false for other values; null is empty text.
func (s *scanner) text(i int) (text string, end int, ok bool) {
	switch c := s.data[i]; {
	case c == '"':
		end, escaped := s.string(i)
		if end < 0 {
			return "", -1, false
		}
		return s.unquote(i, end, escaped), end, true
	case c == '-' || '0' <= c && c <= '9':
		end = s.number(i)
		if end < 0 {
			return "", -1, false
		}
		return view(s.data[i:end]), end, true
	default:
		end = s.value(i, 0)
		return "", end, c == 'n' && end >= 0
	}
}

// unquote returns the text between the quotes at i and end-1, unescaped into
// the arena where it must be.
func (s *scanner) unquote(i, end int, escaped bool) string {
	raw := s.data[i+1 : end-1]
	if !escaped {
		return view(raw)
	}
	out := *s.arena
	start := len(out)
	for at := 0; at < len(raw); {
		if raw[at] != '\\' {
			out = append(out, raw[at])
			at++
			continue
		}
		c := raw[at+1]
		at += 2
		switch c {
		case 'b':
			out = append(out, '\b')
		case 'f':
			out = append(out, '\f')
		case 'n':
			out = append(out, '\n')
		case 'r':
			out = append(out, '\r')
		case 't':
			out = append(out, '\t')
		case 'u':
			r := hex4(raw[at:])
			at += 4
			if utf16.IsSurrogate(r) {
				if at+6 <= len(raw) && raw[at] == '\\' && raw[at+1] == 'u' {
					if pair := utf16.DecodeRune(r, hex4(raw[at+2:])); pair != utf8.RuneError {
						out = utf8.AppendRune(out, pair)
						at += 6
						continue
					}
				}
				r = utf8.RuneError
			}
			out = utf8.AppendRune(out, r)
		default:
			out = append(out, c)
		}
	}
	*s.arena = out
	return view(out[start:])
}

func hex4(b []byte) rune {
	var r rune
	for _, c := range b[:4] {
		switch {
		case c >= 'a':
			c -= 'a' - 10
		case c >= 'A':
			c -= 'A' - 10
		default:
			c -= '0'
		}
		r = r<<4 | rune(c)
	}
	return r
}

// appendString writes a JSON string.
func appendString(dst []byte, s string) []byte {
	const digits = "0123456789abcdef"
	dst = append(dst, '"')
	from := 0
	for i := range len(s) {
		c := s[i]
		if c >= 0x20 && c != '"' && c != '\\' {
			continue
		}
		dst = append(dst, s[from:i]...)
		switch c {
		case '"', '\\':
			dst = append(dst, '\\', c)
		case '\n':
			dst = append(dst, '\\', 'n')
		case '\r':
			dst = append(dst, '\\', 'r')
		case '\t':
			dst = append(dst, '\\', 't')
		default:
			dst = append(dst, '\\', 'u', '0', '0', digits[c>>4], digits[c&15])
		}
		from = i + 1
	}
	return append(append(dst, s[from:]...), '"')
}

// position says where in a body the scanner failed, for people.
func (s *scanner) position() string {
	line, column := 1, 1
	for _, c := range s.data[:min(s.at, len(s.data))] {
		column++
		if c == '\n' {
			line, column = line+1, 1
		}
	}
	return "line " + strconv.Itoa(line) + ", column " + strconv.Itoa(column)
}
