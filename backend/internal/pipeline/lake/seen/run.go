package seen

import (
	"bufio"
	"encoding/binary"
	"fmt"
	"os"
	"path/filepath"
	"sort"
	"syscall"

	"github.com/causality-project/causality/backend/internal/platform/event"
)

const idBytes = 16

// run is a file of sorted ids, mapped while it is used.
type run struct {
	Partition int64  `json:"partition"`
	File      string `json:"file"`
	Count     int    `json:"count"`
	Min       key    `json:"min"`
	Max       key    `json:"max"`

	path string
	data []byte // nil: not mapped
	used uint64 // the store's clock when it was last used
}

// key is an id as two numbers, which compare faster than bytes.
type key struct {
	High uint64 `json:"h,string"`
	Low  uint64 `json:"l,string"`
}

func keyOf(id []byte) key {
	return key{binary.BigEndian.Uint64(id), binary.BigEndian.Uint64(id[8:])}
}

func (k key) less(o key) bool { return k.High < o.High || k.High == o.High && k.Low < o.Low }

func (r *run) at(i int) key { return keyOf(r.data[i*idBytes:]) }

// find returns the position of the first id that is not less than k, from
// position from on, and whether it is k. It gallops before it bisects: callers
// ask in ascending order.
func (r *run) find(k key, from int) (int, bool) {
	step := 1
	low, high := from, from
	for high < r.Count && r.at(high).less(k) {
		low = high + 1
		high += step
		step *= 2
	}
	high = min(high, r.Count)
	at := low + sort.Search(high-low, func(i int) bool { return !r.at(low + i).less(k) })
	return at, at < r.Count && r.at(at) == k
}

func (r *run) open() error {
	file, err := os.Open(r.path)
	if err != nil {
		return err
	}
	defer file.Close()
	info, err := file.Stat()
	if err != nil {
		return err
	}
	if info.Size() != int64(r.Count)*idBytes {
		return fmt.Errorf("%s has %d bytes, not %d ids", r.path, info.Size(), r.Count)
	}
	r.data, err = syscall.Mmap(int(file.Fd()), 0, int(info.Size()), syscall.PROT_READ, syscall.MAP_SHARED)
	if err != nil {
		return fmt.Errorf("map %s: %w", r.path, err)
	}
	return nil
}

func (r *run) close() {
	if r.data != nil {
		_ = syscall.Munmap(r.data)
		r.data = nil
	}
}

// writeRun merges sorted ids and whole runs into one new file, durable when it
// returns. Ids that occur in several inputs are written once.
func writeRun(folder, name string, partition int64, ids []event.ID, runs []*run) (_ *run, err error) {
	path := filepath.Join(folder, name)
	file, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			_ = file.Close()
			_ = os.Remove(path)
		}
	}()
	out := bufio.NewWriterSize(file, 64<<10)
	merged := &run{Partition: partition, File: name, path: path}
	positions := make([]int, len(runs))
	for {
		var least []byte
		if len(ids) > 0 {
			least = ids[0][:]
		}
		for i, r := range runs {
			if positions[i] < r.Count {
				if id := r.data[positions[i]*idBytes : (positions[i]+1)*idBytes]; least == nil || keyOf(id).less(keyOf(least)) {
					least = id
				}
			}
		}
		if least == nil {
			break
		}
		k := keyOf(least)
		if merged.Count == 0 {
			merged.Min = k
		}
		merged.Max = k
		merged.Count++
		if _, err := out.Write(least); err != nil {
			return nil, err
		}
		for len(ids) > 0 && keyOf(ids[0][:]) == k {
			ids = ids[1:]
		}
		for i, r := range runs {
			for positions[i] < r.Count && r.at(positions[i]) == k {
				positions[i]++
			}
		}
	}
	if err := out.Flush(); err != nil {
		return nil, err
	}
	if err := file.Sync(); err != nil {
		return nil, err
	}
	return merged, file.Close()
}
