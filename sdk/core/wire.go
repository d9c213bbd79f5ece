package core

import "math"

// The protobuf wire format, as far as ingest needs it: varints, 64-bit fixed
// values and length-delimited fields. It is written here because the protobuf
// runtime would make the browser's core fifteen times larger.

const (
	wireVarint = 0
	wireFixed8 = 1
	wireBytes  = 2
	wireFixed4 = 5
)

func appendVarint(dst []byte, v uint64) []byte {
	for v >= 0x80 {
		dst = append(dst, byte(v)|0x80)
		v >>= 7
	}
	return append(dst, byte(v))
}

func varintLen(v uint64) int {
	n := 1
	for v >= 0x80 {
		v >>= 7
		n++
	}
	return n
}

func appendTag(dst []byte, field, wire int) []byte {
	return appendVarint(dst, uint64(field)<<3|uint64(wire))
}

// appendText writes a string field, leaving out the empty one as proto3 does.
// One invalid byte would make the whole request unreadable, so it becomes U+FFFD.
func appendText(dst []byte, field int, s string) []byte {
	if s == "" {
		return dst
	}
	dst = appendTag(dst, field, wireBytes)
	n := validLen(s)
	dst = appendVarint(dst, uint64(n))
	if n == len(s) {
		return append(dst, s...)
	}
	return appendMended(dst, s)
}

func appendInt(dst []byte, field int, v int64) []byte {
	if v == 0 {
		return dst
	}
	return appendVarint(appendTag(dst, field, wireVarint), uint64(v))
}

func appendBool(dst []byte, field int, v bool) []byte {
	if !v {
		return dst
	}
	return append(appendTag(dst, field, wireVarint), 1)
}

func appendDouble(dst []byte, field int, v float64) []byte {
	if v == 0 || math.IsNaN(v) || math.IsInf(v, 0) {
		return dst
	}
	dst = appendTag(dst, field, wireFixed8)
	bits := math.Float64bits(v)
	for range 8 {
		dst = append(dst, byte(bits))
		bits >>= 8
	}
	return dst
}

// appendTime writes a google.protobuf.Timestamp.
func appendTime(dst []byte, field int, t Micros) []byte {
	seconds, micros := int64(t/Second), int64(t%Second)
	if micros < 0 {
		seconds, micros = seconds-1, micros+int64(Second)
	}
	dst, start := openMessage(dst, field)
	dst = appendInt(dst, 1, seconds)
	dst = appendInt(dst, 2, micros*1000)
	return closeMessage(dst, start)
}

// openMessage begins a length-delimited field whose length is known only when
// closeMessage ends it. The length takes one byte at first; the rare longer
// message is moved along.
func openMessage(dst []byte, field int) ([]byte, int) {
	dst = append(appendTag(dst, field, wireBytes), 0)
	return dst, len(dst)
}

func closeMessage(dst []byte, start int) []byte {
	n := len(dst) - start
	if n < 0x80 {
		dst[start-1] = byte(n)
		return dst
	}
	extra := varintLen(uint64(n)) - 1
	for range extra {
		dst = append(dst, 0)
	}
	copy(dst[start+extra:], dst[start:start+n])
	appendVarint(dst[:start-1], uint64(n))
	return dst
}

// closeOptional is closeMessage for a message that is left out when empty.
func closeOptional(dst []byte, start, field int) []byte {
	if len(dst) == start {
		return dst[:start-1-varintLen(uint64(field)<<3|wireBytes)]
	}
	return closeMessage(dst, start)
}

// reader takes fields off the front of a message. After a fault, ok is false and
// stays so.
type reader struct {
	rest []byte
	ok   bool
}

func (r *reader) varint() uint64 {
	var v uint64
	for i := 0; i < len(r.rest) && i < 10; i++ {
		b := r.rest[i]
		if i == 9 && b > 1 {
			break
		}
		v |= uint64(b&0x7f) << (7 * i)
		if b < 0x80 {
			r.rest = r.rest[i+1:]
			return v
		}
	}
	r.fail()
	return 0
}

func (r *reader) bytes() []byte {
	n := r.varint()
	if !r.ok || n > uint64(len(r.rest)) {
		r.fail()
		return nil
	}
	b := r.rest[:n]
	r.rest = r.rest[n:]
	return b
}

// field reads the next tag; it answers false at the end or after a fault.
func (r *reader) field() (number, wire int, more bool) {
	if !r.ok || len(r.rest) == 0 {
		return 0, 0, false
	}
	tag := r.varint()
	if !r.ok || tag>>3 == 0 || tag>>3 > 1<<29-1 {
		r.fail()
		return 0, 0, false
	}
	return int(tag >> 3), int(tag & 7), true
}

func (r *reader) skip(wire int) {
	switch wire {
	case wireVarint:
		r.varint()
	case wireBytes:
		r.bytes()
	case wireFixed8:
		r.drop(8)
	case wireFixed4:
		r.drop(4)
	default:
		r.fail()
	}
}

func (r *reader) drop(n int) {
	if n > len(r.rest) {
		r.fail()
		return
	}
	r.rest = r.rest[n:]
}

func (r *reader) fail() { r.rest, r.ok = nil, false }
