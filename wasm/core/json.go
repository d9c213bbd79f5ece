package main

import "unicode/utf8"

// reader reads JSON text (RFC 8259). Of equal keys the last one counts, and what
// is not Unicode becomes U+FFFD, as encoding/json and JavaScript have it. Numbers
// stay text. After a fault, fault says what is wrong and everything reads as
// empty.
type reader struct {
	text  string
	at    int
	depth int
	fault string
}

// maxNesting ends the recursion; the core itself refuses properties deeper than
// half of it, with the name of the property.
const maxNesting = 64

func (r *reader) fail(fault string) {
	if r.fault == "" {
		r.fault = fault
	}
	r.at = len(r.text)
}

// next skips white space and looks at the next byte, 0 at the end.
func (r *reader) next() byte {
	for r.at < len(r.text) {
		switch b := r.text[r.at]; b {
		case ' ', '\t', '\n', '\r':
			r.at++
		default:
			return b
		}
	}
	return 0
}

func (r *reader) skip(b byte) bool {
	if r.next() != b {
		return false
	}
	r.at++
	return true
}

// elements calls element for each one between two brackets.
func (r *reader) elements(open, end byte, element func()) {
	if !r.skip(open) {
		r.fail("has a value of another type than expected")
		return
	}
	if r.depth++; r.depth > maxNesting {
		r.fail("is nested more than 32 levels deep, or contains itself")
		return
	}
	if !r.skip(end) {
		for r.fault == "" {
			element()
			if r.skip(end) {
				break
			}
			if !r.skip(',') {
				r.fail(notJSON)
			}
		}
	}
	r.depth--
}

const notJSON = "is not JSON"

// object calls member with each key, for it to read the value. null reads as an
// object without members.
func (r *reader) object(member func(key string)) {
	if r.null() {
		return
	}
	r.elements('{', '}', func() {
		key := r.string()
		if !r.skip(':') {
			r.fail(notJSON)
			return
		}
		member(key)
	})
}

func (r *reader) literal(word string) bool {
	r.next()
	if rest := r.text[r.at:]; len(rest) < len(word) || rest[:len(word)] != word {
		return false
	}
	r.at += len(word)
	return true
}

func (r *reader) null() bool { return r.literal("null") }

func (r *reader) bool() bool {
	if r.literal("true") {
		return true
	}
	if !r.literal("false") && !r.null() {
		r.fail("has a value of another type than expected")
	}
	return false
}

// number is the text of a number, or empty for null.
func (r *reader) number() string {
	b := r.next()
	if b != '-' && (b < '0' || b > '9') {
		if !r.null() {
			r.fail("has a value of another type than expected")
		}
		return ""
	}
	from := r.at
	if b == '-' {
		r.at++
	}
	if lead := r.at; r.digits() > 1 && r.text[lead] == '0' {
		r.fail(notJSON)
	}
	if r.at < len(r.text) && r.text[r.at] == '.' {
		r.at++
		r.digits()
	}
	if r.at < len(r.text) && r.text[r.at]|' ' == 'e' {
		r.at++
		if r.at < len(r.text) && (r.text[r.at] == '+' || r.text[r.at] == '-') {
			r.at++
		}
		r.digits()
	}
	if r.fault != "" {
		return ""
	}
	return r.text[from:r.at]
}

// digits skips at least one digit.
func (r *reader) digits() int {
	from := r.at
	for r.at < len(r.text) && r.text[r.at] >= '0' && r.text[r.at] <= '9' {
		r.at++
	}
	if r.at == from {
		r.fail(notJSON)
		return 0
	}
	return r.at - from
}

// string is the value of a string, or empty for null.
func (r *reader) string() string {
	if !r.skip('"') {
		if !r.null() {
			r.fail("has a value of another type than expected")
		}
		return ""
	}
	from, ascii := r.at, true
	for ; r.at < len(r.text); r.at++ {
		switch b := r.text[r.at]; {
		case b == '"':
			s := r.text[from:r.at]
			if !ascii && !utf8.ValidString(s) {
				r.at = from
				return r.mended()
			}
			r.at++
			return s
		case b == '\\':
			r.at = from
			return r.mended()
		case b < ' ':
			r.fail(notJSON)
			return ""
		case b >= utf8.RuneSelf:
			ascii = false
		}
	}
	r.fail(notJSON)
	return ""
}

// mended is the string that begins here, when it is not what it reads as.
func (r *reader) mended() string {
	var out []byte
	for r.at < len(r.text) {
		b := r.text[r.at]
		switch {
		case b == '"':
			r.at++
			return string(out)
		case b == '\\':
			r.at++
			out = r.escape(out)
		case b < ' ':
			r.fail(notJSON)
		case b < utf8.RuneSelf:
			r.at++
			out = append(out, b)
		default:
			c, size := utf8.DecodeRuneInString(r.text[r.at:])
			r.at += size
			out = utf8.AppendRune(out, c)
		}
	}
	r.fail(notJSON)
	return ""
}

const (
	escapes = `"\/bfnrt`
	escaped = "\"\\/\b\f\n\r\t"
)

func (r *reader) escape(out []byte) []byte {
	if r.at < len(r.text) {
		b := r.text[r.at]
		r.at++
		if b == 'u' {
			return utf8.AppendRune(out, r.escapedRune())
		}
		for i := range len(escapes) {
			if escapes[i] == b {
				return append(out, escaped[i])
			}
		}
	}
	r.fail(notJSON)
	return out
}

// escapedRune joins the halves of a surrogate pair; a half alone is no character.
func (r *reader) escapedRune() rune {
	c := r.hex()
	if c < 0xd800 || c > 0xdfff {
		return c
	}
	if c < 0xdc00 && r.at+1 < len(r.text) && r.text[r.at] == '\\' && r.text[r.at+1] == 'u' {
		before := r.at
		r.at += 2
		if low := r.hex(); low >= 0xdc00 && low <= 0xdfff {
			return (c-0xd800)<<10 + (low - 0xdc00) + 0x10000
		}
		if r.fault == "" {
			r.at = before
		}
	}
	return utf8.RuneError
}

func (r *reader) hex() rune {
	var c rune
	for range 4 {
		if r.at >= len(r.text) {
			r.fail(notJSON)
			return 0
		}
		b := r.text[r.at]
		switch {
		case b >= '0' && b <= '9':
			b -= '0'
		case b|' ' >= 'a' && b|' ' <= 'f':
			b = b | ' ' - 'a' + 10
		default:
			r.fail(notJSON)
			return 0
		}
		c = c<<4 | rune(b)
		r.at++
	}
	return c
}
