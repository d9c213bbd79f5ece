package columnar

import (
	"bytes"
	"hash/maphash"
)

// Absent is the code of a value that a row does not have.
const Absent = -1

// Dictionary gives equal texts one code. Codes count from 0 in the order in
// which texts are first seen.
type Dictionary struct {
	bytes []byte
	ends  []int
	table []uint32 // code + 1, by hash
	seed  maphash.Seed
}

// NewDictionary makes an empty one.
func NewDictionary() *Dictionary {
	return &Dictionary{table: make([]uint32, 1<<10), seed: maphash.MakeSeed()}
}

// Len is the number of distinct texts, Size that of their bytes.
func (d *Dictionary) Len() int  { return len(d.ends) }
func (d *Dictionary) Size() int { return len(d.bytes) }

// Text is what a code stands for.
func (d *Dictionary) Text(code int32) []byte {
	start := 0
	if code > 0 {
		start = d.ends[code-1]
	}
	return d.bytes[start:d.ends[code]]
}

// Code is the code of a text, which is copied if it is new.
func (d *Dictionary) Code(text []byte) int32 {
	mask := uint64(len(d.table) - 1)
	at := maphash.Bytes(d.seed, text) & mask
	for ; d.table[at] != 0; at = (at + 1) & mask {
		if code := int32(d.table[at] - 1); bytes.Equal(d.Text(code), text) {
			return code
		}
	}
	d.bytes = append(d.bytes, text...)
	d.ends = append(d.ends, len(d.bytes))
	d.table[at] = uint32(len(d.ends))
	if 2*len(d.ends) > len(d.table) {
		d.grow()
	}
	return int32(len(d.ends) - 1)
}

func (d *Dictionary) grow() {
	d.table = make([]uint32, 2*len(d.table))
	mask := uint64(len(d.table) - 1)
	for code := range int32(len(d.ends)) {
		at := maphash.Bytes(d.seed, d.Text(code)) & mask
		for d.table[at] != 0 {
			at = (at + 1) & mask
		}
		d.table[at] = uint32(code + 1)
	}
}

// Reset forgets all texts and keeps the memory.
func (d *Dictionary) Reset() {
	d.bytes, d.ends = d.bytes[:0], d.ends[:0]
	clear(d.table)
}
