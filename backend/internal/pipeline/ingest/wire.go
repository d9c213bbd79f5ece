package ingest

import (
	"encoding/binary"
	"unicode/utf8"
	"unsafe"

	"google.golang.org/protobuf/encoding/protowire"
)

// wire walks the fields of one protobuf message in place. Every length is
// checked against the message, so that no input reads outside it.
type wire struct {
	data   []byte
	number protowire.Number
	kind   protowire.Type
	bytes  []byte // of a length-delimited field; shares data
	varint uint64 // of a varint, or the bits of a fixed field
	failed bool   // the message is malformed from here on
}

func (w *wire) next() bool {
	if len(w.data) == 0 {
		return false
	}
	tag, size := varint(w.data)
	w.number, w.kind = protowire.Number(tag>>3), protowire.Type(tag&7)
	if size == 0 || tag>>3 == 0 || tag>>3 > uint64(protowire.MaxValidNumber) {
		return w.fail()
	}
	rest := w.data[size:]
	w.bytes, w.varint = nil, 0
	switch w.kind {
	case protowire.VarintType:
		w.varint, size = varint(rest)
		if size == 0 {
			return w.fail()
		}
		w.data = rest[size:]
	case protowire.BytesType:
		length, size := varint(rest)
		if size == 0 || length > uint64(len(rest)-size) {
			return w.fail()
		}
		end := size + int(length)
		w.bytes, w.data = rest[size:end:end], rest[end:]
	case protowire.Fixed64Type:
		if len(rest) < 8 {
			return w.fail()
		}
		w.varint, w.data = binary.LittleEndian.Uint64(rest), rest[8:]
	case protowire.Fixed32Type:
		if len(rest) < 4 {
			return w.fail()
		}
		w.varint, w.data = uint64(binary.LittleEndian.Uint32(rest)), rest[4:]
	default: // groups ended with proto2
		return w.fail()
	}
	return true
}

func (w *wire) fail() bool {
	w.data, w.failed = nil, true
	return false
}

func varint(data []byte) (uint64, int) {
	if len(data) > 0 && data[0] < 0x80 {
		return uint64(data[0]), 1
	}
	n, size := protowire.ConsumeVarint(data)
	return n, max(size, 0)
}

// wellFormed walks a message to its end and counts its fields.
func wellFormed(message []byte) (fields int, ok bool) {
	w := wire{data: message}
	for w.next() {
		fields++
	}
	return fields, !w.failed
}

func validText(b []byte) bool { return utf8.Valid(b) }

// view shares memory with b: a request's buffers stay untouched until its
// events are stored and its answer is written.
func view(b []byte) string { return unsafe.String(unsafe.SliceData(b), len(b)) }

func viewBytes(s string) []byte { return unsafe.Slice(unsafe.StringData(s), len(s)) }
