package queue

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/fnv"
	"io"
)

// The layout of a bbolt file, version 2: pages of one size, in the byte order of
// the machine. A page is 16 bytes of header (id, flags, count, overflow), count
// elements of 16 bytes, and the keys and values that they point to; overflow pages
// continue it. The first two pages are metas, of which the newest valid one counts.
const (
	pageHeader  = 16
	elementSize = 16
	metaSize    = 64

	branchPage   = 0x01
	leafPage     = 0x02
	freelistPage = 0x10

	bucketElement = 0x01
	bucketHeader  = 16 // root page, sequence

	maxKeyBytes = 64 // ours are shorter
	maxDepth    = 32
)

// check follows the file's pages as bbolt will, and finds what bbolt trusts and
// damage breaks: pages that contain themselves (bbolt recurses until the process
// ends), runs of pages that never end (it counts through four billion), pages that
// are used and free at once (a commit overwrites them), keys out of order.
//
// It reads the head of each page and the keys, not the events.
func check(file io.ReaderAt, size int64, pageBytes int) error {
	c := checker{file: file, page: int64(pageBytes)}
	root, freelist, err := c.newestMeta(size)
	if err != nil {
		return err
	}
	if err := c.bucket(root, 0, true); err != nil {
		return err
	}
	if err := c.free(freelist); err != nil {
		return err
	}
	for id := uint64(2); id < uint64(len(c.taken)); id++ {
		if !c.taken[id] {
			return damaged(id, "is neither used nor free")
		}
	}
	return nil
}

type checker struct {
	file  io.ReaderAt
	page  int64
	taken []bool // by page
}

func damaged(page uint64, format string, args ...any) error {
	return fmt.Errorf("%w: page %d %s", ErrDamaged, page, fmt.Sprintf(format, args...))
}

func (c *checker) newestMeta(size int64) (root, freelist uint64, err error) {
	var high, newest uint64
	found := false
	for page := range uint64(2) {
		b := make([]byte, metaSize)
		if _, err := c.file.ReadAt(b, int64(page)*c.page+pageHeader); err != nil {
			continue
		}
		sum := fnv.New64a()
		_, _ = sum.Write(b[:56])
		if sum.Sum64() != binary.NativeEndian.Uint64(b[56:]) {
			continue
		}
		if transaction := binary.NativeEndian.Uint64(b[48:]); !found || transaction > newest {
			found, newest = true, transaction
			root, freelist, high = binary.NativeEndian.Uint64(b[16:]), binary.NativeEndian.Uint64(b[32:]), binary.NativeEndian.Uint64(b[40:])
		}
	}
	if !found {
		return 0, 0, damaged(0, "and 1 hold no valid meta")
	}
	if high > uint64(size/c.page) {
		return 0, 0, fmt.Errorf("%w: it ends before page %d", ErrDamaged, high)
	}
	c.taken = make([]bool, high)
	return root, freelist, nil
}

// run is a page with those that continue it.
type run struct {
	id    uint64
	flags uint16
	count int
	bytes int64
	head  []byte // its first page
}

// take reads the head of a page that is reached for the first and only time.
func (c *checker) take(id uint64) (run, error) {
	if id < 2 || id >= uint64(len(c.taken)) {
		return run{}, damaged(id, "is outside of the file's %d", len(c.taken))
	}
	r := run{id: id, head: make([]byte, c.page)}
	if err := c.read(r.head, int64(id)*c.page); err != nil {
		return run{}, err
	}
	if own := binary.NativeEndian.Uint64(r.head); own != id {
		return run{}, damaged(id, "says that it is page %d", own)
	}
	r.flags = binary.NativeEndian.Uint16(r.head[8:])
	r.count = int(binary.NativeEndian.Uint16(r.head[10:]))
	pages := uint64(binary.NativeEndian.Uint32(r.head[12:])) + 1
	if pages > uint64(len(c.taken))-id {
		return run{}, damaged(id, "continues for %d pages, beyond the file", pages)
	}
	for i := id; i < id+pages; i++ {
		if c.taken[i] {
			return run{}, damaged(i, "is used twice")
		}
		c.taken[i] = true
	}
	r.bytes = int64(pages) * c.page
	return r, nil
}

// at gives a part of a run.
func (c *checker) at(r run, from, n int64) ([]byte, error) {
	switch {
	case from < 0 || n < 0 || from+n > r.bytes:
		return nil, damaged(r.id, "points outside of itself")
	case from+n <= int64(len(r.head)):
		return r.head[from : from+n], nil
	}
	b := make([]byte, n)
	return b, c.read(b, int64(r.id)*c.page+from)
}

// read tells a disk that fails, and may work again, from a file that is too short.
func (c *checker) read(b []byte, from int64) error {
	_, err := c.file.ReadAt(b, from)
	if errors.Is(err, io.EOF) {
		err = fmt.Errorf("%w: it ends within page %d", ErrDamaged, from/c.page)
	}
	return err
}

// bucket checks a tree. The top one holds ours; the others hold keys and values.
func (c *checker) bucket(root uint64, depth int, top bool) error {
	var last []byte
	return c.tree(root, depth, nil, nil, &last, top)
}

// tree checks the pages below one. Its keys are at least low and below high, where
// those are known, and above last.
func (c *checker) tree(id uint64, depth int, low, high []byte, last *[]byte, top bool) error {
	if depth > maxDepth {
		return damaged(id, "lies %d levels deep", depth)
	}
	r, err := c.take(id)
	if err != nil {
		return err
	}
	switch {
	case r.flags == leafPage:
		return c.leaf(r, 0, r.bytes, depth, low, high, last, top)
	case r.flags != branchPage:
		return damaged(id, "is of kind %#x, not a branch or leaf", r.flags)
	case r.count == 0:
		return damaged(id, "is a branch without children")
	}
	keys := make([][]byte, r.count)
	children := make([]uint64, r.count)
	for i := range r.count {
		at := int64(pageHeader + i*elementSize)
		e, err := c.at(r, at, elementSize)
		if err != nil {
			return err
		}
		children[i] = binary.NativeEndian.Uint64(e[8:])
		keys[i], err = c.key(r, at+int64(binary.NativeEndian.Uint32(e)), binary.NativeEndian.Uint32(e[4:]))
		if err != nil {
			return err
		}
		if i > 0 && bytes.Compare(keys[i], keys[i-1]) <= 0 {
			return damaged(id, "has its keys out of order")
		}
	}
	for i, child := range children {
		below, above := keys[i], high
		if i == 0 {
			below = low // the first child takes whatever is smaller
		}
		if i+1 < len(keys) {
			above = keys[i+1]
		}
		if err := c.tree(child, depth+1, below, above, last, top); err != nil {
			return err
		}
	}
	return nil
}

func (c *checker) key(r run, from int64, n uint32) ([]byte, error) {
	if n == 0 || n > maxKeyBytes {
		return nil, damaged(r.id, "has a key of %d bytes", n)
	}
	return c.at(r, from, int64(n))
}

// leaf checks the elements of a leaf that lies in a run between two places.
func (c *checker) leaf(r run, from, to int64, depth int, low, high []byte, last *[]byte, top bool) error {
	for i := range r.count {
		at := from + int64(pageHeader+i*elementSize)
		e, err := c.at(r, at, elementSize)
		if err != nil {
			return err
		}
		flags := binary.NativeEndian.Uint32(e)
		position, keyBytes := at+int64(binary.NativeEndian.Uint32(e[4:])), binary.NativeEndian.Uint32(e[8:])
		value, valueBytes := position+int64(keyBytes), int64(binary.NativeEndian.Uint32(e[12:]))
		if at+elementSize > to || value+valueBytes > to {
			return damaged(r.id, "points outside of itself")
		}
		key, err := c.key(r, position, keyBytes)
		if err != nil {
			return err
		}
		if bytes.Compare(key, *last) <= 0 || bytes.Compare(key, low) < 0 || (high != nil && bytes.Compare(key, high) >= 0) {
			return damaged(r.id, "has its keys out of order")
		}
		*last = key
		switch {
		case top != (flags == bucketElement) || (!top && flags != 0):
			return damaged(r.id, "has an element of kind %#x", flags)
		case top && !bytes.Equal(key, blocksBucket) && !bytes.Equal(key, metaBucket):
			return damaged(r.id, "has a bucket that is not ours")
		case top:
			if err := c.element(r, value, valueBytes, depth); err != nil {
				return err
			}
		}
	}
	if top && r.count != 0 && r.count != 2 {
		return damaged(r.id, "has %d buckets, not two", r.count)
	}
	return nil
}

// element checks a bucket that is an element: a reference to a tree, or, while it
// is small, a leaf.
func (c *checker) element(r run, value, valueBytes int64, depth int) error {
	if valueBytes < bucketHeader {
		return damaged(r.id, "has a bucket of %d bytes", valueBytes)
	}
	b, err := c.at(r, value, bucketHeader)
	if err != nil {
		return err
	}
	if root := binary.NativeEndian.Uint64(b); root != 0 {
		return c.bucket(root, depth+1, false)
	}
	if valueBytes < bucketHeader+pageHeader {
		return damaged(r.id, "has a bucket of %d bytes", valueBytes)
	}
	if b, err = c.at(r, value+bucketHeader, pageHeader); err != nil {
		return err
	}
	if binary.NativeEndian.Uint64(b) != 0 || binary.NativeEndian.Uint16(b[8:]) != leafPage || binary.NativeEndian.Uint32(b[12:]) != 0 {
		return damaged(r.id, "has a small bucket that is not a leaf")
	}
	inline := r
	inline.count = int(binary.NativeEndian.Uint16(b[10:]))
	var last []byte
	return c.leaf(inline, value+bucketHeader, value+valueBytes, depth, nil, nil, &last, false)
}

// free takes the pages that are free.
func (c *checker) free(id uint64) error {
	r, err := c.take(id)
	if err != nil {
		return err
	}
	if r.flags != freelistPage {
		return damaged(id, "is of kind %#x, not the list of free pages", r.flags)
	}
	at, count := int64(pageHeader), uint64(r.count)
	if r.count == 1<<16-1 { // too many for the header
		b, err := c.at(r, at, 8)
		if err != nil {
			return err
		}
		at, count = at+8, binary.NativeEndian.Uint64(b)
	}
	if count > uint64(len(c.taken)) {
		return damaged(id, "lists %d free pages of %d", count, len(c.taken))
	}
	ids, err := c.at(r, at, int64(count)*8)
	if err != nil {
		return err
	}
	for ; len(ids) > 0; ids = ids[8:] {
		free := binary.NativeEndian.Uint64(ids)
		if free < 2 || free >= uint64(len(c.taken)) || c.taken[free] {
			return damaged(id, "lists page %d as free, which it is not", free)
		}
		c.taken[free] = true
	}
	return nil
}
