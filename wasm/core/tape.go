package main

import "math"

// A tape is a run of values that both sides know the order of: a number is 8 bytes
// (a float64, little-endian, since JavaScript knows no other and every instant and
// count fits), bytes are their count and then themselves. Reading past its end
// gives zeros.

type tape []byte

func (t *tape) putNumber(v float64) {
	bits := math.Float64bits(v)
	for range 8 {
		*t = append(*t, byte(bits))
		bits >>= 8
	}
}

func (t *tape) putInt(v int) { t.putNumber(float64(v)) }

func (t *tape) putBool(v bool) {
	n := 0
	if v {
		n = 1
	}
	t.putInt(n)
}

func (t *tape) putText(s string) {
	t.putInt(len(s))
	*t = append(*t, s...)
}

func (t *tape) putBytes(b []byte) {
	t.putInt(len(b))
	*t = append(*t, b...)
}

func (t *tape) number() float64 {
	if len(*t) < 8 {
		*t = nil
		return 0
	}
	var bits uint64
	for i := range 8 {
		bits |= uint64((*t)[i]) << (8 * i)
	}
	*t = (*t)[8:]
	return math.Float64frombits(bits)
}

// int is a whole number from 0; what is none reads as 0.
func (t *tape) int() int {
	if v := t.number(); v > 0 && v < 1<<53 {
		return int(v)
	}
	return 0
}

// bytes shares the tape's memory.
func (t *tape) bytes() []byte {
	n := min(t.int(), len(*t))
	b := (*t)[:n]
	*t = (*t)[n:]
	return b
}
