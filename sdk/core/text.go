package core

import (
	"math"
	"strconv"
	"unicode/utf8"
)

// maxDepth bounds the nesting of properties. It also ends a map that contains
// itself, which would otherwise exhaust the host's stack.
const maxDepth = 32

// validLen is the length of s once every invalid byte is replaced by U+FFFD.
func validLen(s string) int {
	if utf8.ValidString(s) {
		return len(s)
	}
	n := 0
	for _, r := range s {
		n += utf8.RuneLen(r)
	}
	return n
}

func appendMended(dst []byte, s string) []byte {
	for _, r := range s {
		dst = utf8.AppendRune(dst, r)
	}
	return dst
}

// appendObject writes m as a JSON object with sorted keys, so that equal
// properties have equal bytes. It knows every built-in scalar, maps and lists of
// any; other goes to marshal, which may be nil.
func appendObject(dst []byte, m map[string]any, depth int, marshal Marshal) ([]byte, error) {
	if depth > maxDepth {
		return dst, invalid("", "is nested more than 32 levels deep, or contains itself")
	}
	var room [12]property
	list := room[:0]
	for k, v := range m {
		list = append(list, property{k, v})
	}
	sortByKey(list)
	dst = append(dst, '{')
	for i := range list {
		if i > 0 {
			dst = append(dst, ',')
		}
		dst = append(appendString(dst, list[i].key), ':')
		var err error
		if dst, err = appendValue(dst, list[i].value, depth, marshal); err != nil {
			return dst, within(list[i].key, err)
		}
	}
	return append(dst, '}'), nil
}

type property struct {
	key   string
	value any
}

// sortByKey is a Shell sort, which is an insertion sort for the few properties of
// most events: it needs no calls, and a browser need not load package slices.
func sortByKey(list []property) {
	gap := 1
	for gap < len(list)/12 {
		gap = 3*gap + 1
	}
	for ; gap > 0; gap /= 3 {
		for i := gap; i < len(list); i++ {
			for j := i; j >= gap && list[j].key < list[j-gap].key; j -= gap {
				list[j], list[j-gap] = list[j-gap], list[j]
			}
		}
	}
}

func appendValue(dst []byte, v any, depth int, marshal Marshal) ([]byte, error) {
	var n int64
	switch v := v.(type) {
	case nil:
		return append(dst, "null"...), nil
	case string:
		return appendString(dst, v), nil
	case bool:
		return strconv.AppendBool(dst, v), nil
	case float64:
		return appendFloat(dst, v, 64)
	case float32:
		return appendFloat(dst, float64(v), 32)
	case Number:
		if !v.valid() {
			return dst, invalid("", "is not a JSON number")
		}
		return append(dst, v...), nil
	case int:
		n = int64(v)
	case int8:
		n = int64(v)
	case int16:
		n = int64(v)
	case int32:
		n = int64(v)
	case int64:
		n = v
	case uint:
		return strconv.AppendUint(dst, uint64(v), 10), nil
	case uint8:
		n = int64(v)
	case uint16:
		n = int64(v)
	case uint32:
		n = int64(v)
	case uint64:
		return strconv.AppendUint(dst, v, 10), nil
	case map[string]any:
		return appendObject(dst, v, depth+1, marshal)
	case []any:
		return appendList(dst, v, depth+1, marshal)
	case []string:
		dst = append(dst, '[')
		for i, s := range v {
			if i > 0 {
				dst = append(dst, ',')
			}
			dst = appendString(dst, s)
		}
		return append(dst, ']'), nil
	default:
		if marshal == nil {
			return dst, invalid("", "is of a type that has no JSON form; use text, numbers, booleans, maps and lists")
		}
		return marshal(dst, v)
	}
	return strconv.AppendInt(dst, n, 10), nil
}

func appendList(dst []byte, list []any, depth int, marshal Marshal) ([]byte, error) {
	if depth > maxDepth {
		return dst, invalid("", "is nested more than 32 levels deep, or contains itself")
	}
	dst = append(dst, '[')
	for i, v := range list {
		if i > 0 {
			dst = append(dst, ',')
		}
		var err error
		if dst, err = appendValue(dst, v, depth, marshal); err != nil {
			return dst, within(strconv.Itoa(i), err)
		}
	}
	return append(dst, ']'), nil
}

// appendFloat writes the shortest text that reads back as v, in the form that
// JavaScript prints, so that every SDK sends the same bytes.
func appendFloat(dst []byte, v float64, bits int) ([]byte, error) {
	if math.IsNaN(v) || math.IsInf(v, 0) {
		return dst, invalid("", "is not a finite number (NaN and infinities have no JSON form)")
	}
	if v == 0 {
		return append(dst, '0'), nil
	}
	format := byte('f')
	if abs := math.Abs(v); abs < 1e-6 || abs >= 1e21 {
		format = 'e'
	}
	dst = strconv.AppendFloat(dst, v, format, -1, bits)
	if n := len(dst); format == 'e' && n >= 4 && dst[n-4] == 'e' && dst[n-3] == '-' && dst[n-2] == '0' {
		dst[n-2] = dst[n-1] // e-07 is written e-7
		dst = dst[:n-1]
	}
	return dst, nil
}

// Number is the text of a JSON number, which travels as it is, so that a host whose
// numbers are wider than Go's, or that has printed them already, loses no digit.
type Number string

// valid follows the grammar of RFC 8259, section 6.
func (n Number) valid() bool {
	i := 0
	digits := func() bool {
		from := i
		for i < len(n) && n[i] >= '0' && n[i] <= '9' {
			i++
		}
		return i > from
	}
	if i < len(n) && n[i] == '-' {
		i++
	}
	zero := i < len(n) && n[i] == '0'
	if from := i; !digits() || zero && i > from+1 {
		return false
	}
	if i < len(n) && n[i] == '.' {
		if i++; !digits() {
			return false
		}
	}
	if i < len(n) && n[i]|' ' == 'e' {
		if i++; i < len(n) && (n[i] == '+' || n[i] == '-') {
			i++
		}
		if !digits() {
			return false
		}
	}
	return i == len(n)
}

// plain tells whether eight bytes are ASCII that needs no escape, all at once: a
// byte below its bound borrows into its highest bit.
func plain(s string) bool {
	const low, high = 0x0101010101010101, 0x8080808080808080
	_ = s[7]
	v := uint64(s[0]) | uint64(s[1])<<8 | uint64(s[2])<<16 | uint64(s[3])<<24 |
		uint64(s[4])<<32 | uint64(s[5])<<40 | uint64(s[6])<<48 | uint64(s[7])<<56
	quote, slash := v^('"'*low), v^('\\'*low)
	return (v|(v-' '*low)|(quote-low)|(slash-low))&high == 0
}

const hexDigits = "0123456789abcdef"

func appendString(dst []byte, s string) []byte {
	dst = append(dst, '"')
	from := 0
	for i := 0; i < len(s); {
		if i+8 <= len(s) && plain(s[i:i+8]) {
			i += 8
			continue
		}
		b := s[i]
		if b < utf8.RuneSelf {
			if b >= ' ' && b != '"' && b != '\\' {
				i++
				continue
			}
			dst = append(dst, s[from:i]...)
			switch b {
			case '"', '\\':
				dst = append(dst, '\\', b)
			case '\n':
				dst = append(dst, '\\', 'n')
			case '\r':
				dst = append(dst, '\\', 'r')
			case '\t':
				dst = append(dst, '\\', 't')
			case '\b':
				dst = append(dst, '\\', 'b')
			case '\f':
				dst = append(dst, '\\', 'f')
			default:
				dst = append(dst, '\\', 'u', '0', '0', hexDigits[b>>4], hexDigits[b&15])
			}
			i++
			from = i
			continue
		}
		r, size := utf8.DecodeRuneInString(s[i:])
		if r == utf8.RuneError && size == 1 {
			dst = utf8.AppendRune(append(dst, s[from:i]...), utf8.RuneError)
			from = i + 1
		}
		i += size
	}
	return append(append(dst, s[from:]...), '"')
}
