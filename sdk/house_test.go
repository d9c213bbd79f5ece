package causality

import (
	"flag"
	"os"
	"os/exec"
	"slices"
	"strings"
	"testing"
)

var update = flag.Bool("update", false, "write api.txt anew")

// TestTheCoreImportsNoIO keeps the core fit for WebAssembly and for simulation.
func TestTheCoreImportsNoIO(t *testing.T) {
	t.Parallel()
	allowed := []string{
		"github.com/causality-project/causality/sdk/core",
		"cmp", "errors", "iter", "math", "math/bits", "runtime", "slices", "strconv", "unicode/utf8", "unsafe",
	}
	for _, dep := range dependencies(t, "./core") {
		if !slices.Contains(allowed, dep) && !strings.HasPrefix(dep, "internal/") {
			t.Errorf("core depends on %s", dep)
		}
	}
}

// TestTheSDKBringsOneDependency spares its users the rest of the house.
func TestTheSDKBringsOneDependency(t *testing.T) {
	t.Parallel()
	allowed := []string{"github.com/causality-project/causality/sdk", "go.etcd.io/bbolt", "golang.org/x/sys"}
	for _, dep := range dependencies(t, "./...") {
		if first, _, _ := strings.Cut(dep, "/"); !strings.Contains(first, ".") {
			continue // the standard library
		}
		if !slices.ContainsFunc(allowed, func(a string) bool { return dep == a || strings.HasPrefix(dep, a+"/") }) {
			t.Errorf("the SDK depends on %s", dep)
		}
	}
}

// TestTheDriverLeavesTheNetworkToItsHost keeps the phones' library small: each of
// these would add megabytes to it.
func TestTheDriverLeavesTheNetworkToItsHost(t *testing.T) {
	t.Parallel()
	for _, dep := range dependencies(t, "./driver") {
		if dep == "net" || dep == "encoding/json" || dep == "log/slog" || dep == "text/template" ||
			strings.HasPrefix(dep, "net/") || strings.HasPrefix(dep, "crypto") || strings.HasPrefix(dep, "compress/") {
			t.Errorf("driver depends on %s", dep)
		}
	}
}

func dependencies(t *testing.T, pattern string) []string {
	t.Helper()
	list := exec.Command("go", "list", "-deps", pattern)
	list.Env = append(os.Environ(), "GOWORK=off")
	out, err := list.Output()
	if err != nil {
		t.Fatal(err)
	}
	return strings.Fields(string(out))
}

// TestTheAPIIsTheOneWrittenDown makes each change of the public API visible in a
// review. go test -run TheAPI -update writes api.txt anew.
func TestTheAPIIsTheOneWrittenDown(t *testing.T) {
	t.Parallel()
	var got []byte
	for _, pkg := range []string{".", "core", "driver", "driver/queue", "connect", "otel"} {
		// What a child process reads does not end the test cache's answer; this does.
		if _, err := os.ReadDir(pkg); err != nil {
			t.Fatal(err)
		}
		doc := exec.Command("go", "-C", pkg, "doc", "-all", ".")
		doc.Env = append(os.Environ(), "GOWORK=off") // each module by itself, as its users have it
		out, err := doc.Output()
		if err != nil {
			t.Fatal(err)
		}
		got = append(got, out...)
	}
	if *update {
		if err := os.WriteFile("api.txt", got, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile("api.txt")
	if err != nil {
		t.Fatal(err)
	}
	if string(got) != string(want) {
		t.Error("the public API differs from api.txt; if that is meant, run: go test -run TheAPI -update")
	}
}
