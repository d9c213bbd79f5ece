//go:build unix

package stream

import (
	"fmt"
	"sync/atomic"

	"golang.org/x/sys/unix"
)

const diskReserve = 256 << 20 // kept free, or a tenth of a smaller disk

// diskGuard refuses writes while there is little room, so that the server's
// files do not meet a full disk: PostgreSQL and the lake share it, and need the
// rest to drain the stream. Asking costs a microsecond, so every publish asks.
type diskGuard struct {
	dir string      // empty: not our disk
	off atomic.Bool // tests meet the full disk itself
}

func (g *diskGuard) check() error {
	if g.dir == "" || g.off.Load() {
		return nil
	}
	var disk unix.Statfs_t
	if err := unix.Statfs(g.dir, &disk); err != nil {
		return nil // unknown: the write itself will tell
	}
	block := uint64(disk.Bsize)
	free, reserve := uint64(disk.Bavail)*block, min(diskReserve, uint64(disk.Blocks)*block/10)
	if free >= reserve {
		return nil
	}
	return fmt.Errorf("%s has %d MiB free, of which %d MiB are kept in reserve", g.dir, free>>20, reserve>>20)
}
