package stream

import "sync"

const indexBlock = 4096

// index counts the events of each message after a reader's offset: two bytes a
// message, so that 8 GiB of the smallest messages cost some 30 MB.
type index struct {
	mu     sync.Mutex
	from   uint64 // first sequence whose count is known; 0 until somebody asks
	base   uint64 // sequence of the first count held; nothing lies before it
	size   uint64 // messages covered
	blocks []*indexCounts
}

type indexCounts struct {
	sum    int64
	counts [indexBlock]uint16 // a request has at most 2,000 events
}

// cover makes the index hold everything after a sequence, emptying it when it
// starts later than that.
func (x *index) cover(after uint64) {
	x.mu.Lock()
	defer x.mu.Unlock()
	if x.from == 0 || after+1 < x.from {
		x.from, x.base, x.size, x.blocks = after+1, after+1, 0, nil
	}
}

func (x *index) next() uint64 {
	x.mu.Lock()
	defer x.mu.Unlock()
	return x.base + x.size
}

// add counts a message that was just stored. One that does not follow directly
// is left to be counted from the stream.
func (x *index) add(seq uint64, events int) {
	x.mu.Lock()
	defer x.mu.Unlock()
	if x.from != 0 && seq == x.base+x.size {
		x.push(events)
	}
}

// fill counts a message that was read from the stream; sequences missing before
// it hold nothing.
func (x *index) fill(seq uint64, events int) {
	x.mu.Lock()
	defer x.mu.Unlock()
	if x.from == 0 || seq < x.base+x.size {
		return
	}
	x.pad(seq)
	x.push(events)
}

// skip counts nothing through a sequence.
func (x *index) skip(through uint64) {
	x.mu.Lock()
	defer x.mu.Unlock()
	if x.from != 0 {
		x.pad(through + 1)
	}
}

func (x *index) pad(to uint64) {
	if len(x.blocks) == 0 && to > x.base {
		x.base, x.size = to, 0 // nothing is held yet: start there
		return
	}
	for x.base+x.size < to {
		x.push(0)
	}
}

func (x *index) push(events int) {
	if x.size == uint64(len(x.blocks))*indexBlock {
		x.blocks = append(x.blocks, &indexCounts{})
	}
	block := x.blocks[len(x.blocks)-1]
	block.counts[x.size%indexBlock] = uint16(min(events, 1<<16-1))
	block.sum += int64(events)
	x.size++
}

// after returns the events after a sequence and the first message that has any.
func (x *index) after(seq uint64) (events int64, first uint64) {
	x.mu.Lock()
	defer x.mu.Unlock()
	start := uint64(0)
	if seq >= x.base {
		start = seq + 1 - x.base
	}
	for at := start; at < x.size; {
		block := x.blocks[at/indexBlock]
		if at%indexBlock == 0 && (first != 0 || block.sum == 0) {
			events += block.sum
			at += indexBlock
			continue
		}
		n := block.counts[at%indexBlock]
		if n > 0 && first == 0 {
			first = x.base + at
		}
		events += int64(n)
		at++
	}
	return events, first
}

// forget drops whole blocks before a sequence.
func (x *index) forget(before uint64) {
	x.mu.Lock()
	defer x.mu.Unlock()
	drop := 0
	for drop < len(x.blocks)-1 && x.base+uint64(drop+1)*indexBlock <= before {
		drop++
	}
	if drop > 0 {
		x.blocks = append([]*indexCounts(nil), x.blocks[drop:]...)
		x.base += uint64(drop) * indexBlock
		x.size -= uint64(drop) * indexBlock
		x.from = x.base
	}
}

func (x *index) reset() {
	x.mu.Lock()
	defer x.mu.Unlock()
	x.from, x.base, x.size, x.blocks = 0, 0, 0, nil
}

// notifier wakes everybody who waits for a change.
type notifier struct {
	mu sync.Mutex
	ch chan struct{}
}

// wait returns a channel that closes at the next wake.
func (n *notifier) wait() <-chan struct{} {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.ch == nil {
		n.ch = make(chan struct{})
	}
	return n.ch
}

func (n *notifier) wake() {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.ch != nil {
		close(n.ch)
		n.ch = nil
	}
}
