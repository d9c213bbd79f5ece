package queue

import (
	"cmp"
	"slices"

	"github.com/causality-project/causality/sdk/core"
)

// Memory is a queue that ends with the process. It is not safe for concurrent use.
type Memory struct {
	blocks []core.Block
}

// Commit makes the change; it cannot fail. The state is for a next process, and
// so for nobody here.
func (m *Memory) Commit(change core.Change) error {
	for _, r := range change.Delete {
		from := m.find(r.First)
		to := m.find(r.Last + 1)
		if from == 0 {
			clear(m.blocks[:to])
			m.blocks = m.blocks[to:]
		} else {
			m.blocks = slices.Delete(m.blocks, from, to)
		}
	}
	m.blocks = append(m.blocks, change.Append...)
	return nil
}

func (m *Memory) find(seq uint64) int {
	i, _ := slices.BinarySearchFunc(m.blocks, seq, func(b core.Block, seq uint64) int { return cmp.Compare(b.Seq, seq) })
	return i
}

// Read gives the frames of the blocks from first to last, in order.
func (m *Memory) Read(first, last uint64) (data [][]byte, lost []uint64, err error) {
	for i := m.find(first); i < len(m.blocks) && m.blocks[i].Seq <= last; i++ {
		data = append(data, m.blocks[i].Data)
	}
	return data, nil, nil
}

// Reset empties the queue.
func (m *Memory) Reset() (setAside string, err error) {
	*m = Memory{}
	return "", nil
}

// Close does nothing.
func (m *Memory) Close() error { return nil }
