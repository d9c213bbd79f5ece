//go:build unix

package stream

import (
	"fmt"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"
)

const (
	diskCheckEvery = int64(250 * time.Millisecond)
	diskReserve    = 256 << 20 // kept free, or a tenth of a smaller disk
)

// diskGuard refuses writes while there is little room, so that the server's
// files never meet a full disk: PostgreSQL and the lake share it, and need the
// rest to drain the stream.
type diskGuard struct {
	dir     string // empty: not our disk
	checked atomic.Int64
	short   atomic.Pointer[error]
}

// check is full, looked up at most every 250 ms.
func (g *diskGuard) check() error {
	now := time.Now().UnixNano()
	if last := g.checked.Load(); now-last > diskCheckEvery && g.checked.CompareAndSwap(last, now) {
		_ = g.full()
	}
	if err := g.short.Load(); err != nil {
		return *err
	}
	return nil
}

func (g *diskGuard) full() error {
	if g.dir == "" {
		return nil
	}
	var disk unix.Statfs_t
	if err := unix.Statfs(g.dir, &disk); err != nil {
		g.short.Store(nil) // unknown: the write itself will tell
		return nil
	}
	block := uint64(disk.Bsize)
	free, reserve := uint64(disk.Bavail)*block, min(diskReserve, uint64(disk.Blocks)*block/10)
	if free >= reserve {
		g.short.Store(nil)
		return nil
	}
	err := fmt.Errorf("%s has %d MiB free, of which %d MiB are kept in reserve", g.dir, free>>20, reserve>>20)
	g.short.Store(&err)
	return err
}
