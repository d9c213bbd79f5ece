package main_test

import (
	"os/exec"
	"path/filepath"
	"testing"
)

// TestAProgramInC builds the library as a phone's build does, but for this machine,
// and runs a program in C over it.
func TestAProgramInC(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	archive, program := filepath.Join(dir, "libcausality_core.a"), filepath.Join(dir, "use")
	for _, command := range []*exec.Cmd{
		exec.Command("go", "build", "-buildmode=c-archive", "-trimpath", "-gcflags=all=-l", "-ldflags=-s -w", "-o", archive, "."),
		exec.Command("gcc", "-Wall", "-Wextra", "-Werror", "-fsanitize=undefined", "-I.", "-o", program, "testdata/use.c", archive, "-lpthread"),
		exec.Command(program, dir),
	} {
		if out, err := command.CombinedOutput(); err != nil {
			t.Fatalf("%s: %v\n%s", command, err, out)
		}
	}
}
