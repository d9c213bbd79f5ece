package mobile

import (
	"os/exec"
	"slices"
	"strings"
	"testing"
)

// TestPhonesCarryNothingThatTheyDoNotNeed keeps what is large out of the library:
// HTTP and TLS are the platform's.
func TestPhonesCarryNothingThatTheyDoNotNeed(t *testing.T) {
	t.Parallel()
	out, err := exec.Command("go", "list", "-deps", ".").Output()
	if err != nil {
		t.Fatal(err)
	}
	ours := []string{"github.com/causality-project/causality/mobile", "github.com/causality-project/causality/sdk/core", "github.com/causality-project/causality/sdk/driver", "go.etcd.io/bbolt", "golang.org/x/sys/unix"}
	standard := []string{
		"bytes", "cmp", "context", "encoding/binary", "encoding/hex", "errors", "fmt", "hash", "hash/crc32", "hash/fnv", "io", "io/fs",
		"iter", "log", "log/internal", "maps", "math", "math/bits", "math/rand", "math/rand/v2", "os", "path", "path/filepath", "reflect", "runtime",
		"runtime/debug", "slices", "sort", "strconv", "strings", "sync", "sync/atomic", "syscall", "time", "unicode", "unicode/utf8", "unsafe",
	}
	for _, dep := range strings.Fields(string(out)) {
		switch {
		case slices.Contains(standard, dep), strings.HasPrefix(dep, "internal/"), strings.Contains(dep, "/internal/"):
		case slices.ContainsFunc(ours, func(p string) bool { return dep == p || strings.HasPrefix(dep, p+"/") }):
		default:
			t.Errorf("the library would carry %s", dep)
		}
	}
}
