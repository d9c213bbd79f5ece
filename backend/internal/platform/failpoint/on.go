//go:build failpoints

package failpoint

import (
	"os"
	"strconv"
	"strings"
	"sync/atomic"
	"syscall"
)

var (
	name, countText, _ = strings.Cut(os.Getenv("CAUSALITY_FAILPOINT"), ":")
	remaining          atomic.Int64
)

func init() {
	count, err := strconv.ParseInt(countText, 10, 64)
	if err != nil || count < 1 {
		count = 1
	}
	remaining.Store(count)
}

// Hit kills the process at the point that CAUSALITY_FAILPOINT names, at its
// N-th passing for "name:N". SIGKILL, so that nothing is flushed or deferred.
func Hit(point string) {
	if point == name && remaining.Add(-1) == 0 {
		_ = syscall.Kill(os.Getpid(), syscall.SIGKILL)
		select {}
	}
}
