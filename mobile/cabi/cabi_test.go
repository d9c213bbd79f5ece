package main_test

import (
	"os/exec"
	"path/filepath"
	"testing"
)

// TestAProgramInC builds the library as the Swift wrapper gets it, and runs a program
// in C over it and over another Go library.
func TestAProgramInC(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	archive, other, program := filepath.Join(dir, "libcausality_core.a"), filepath.Join(dir, "other.a"), filepath.Join(dir, "use")
	commands := []*exec.Cmd{
		exec.Command("../bind", "archive", dir),
		exec.Command("go", "build", "-buildmode=c-archive", "-trimpath", "-gcflags=all=-l", "-ldflags=-s -w", "-o", other, "./testdata/other"),
		exec.Command("gcc", "-Wall", "-Wextra", "-Werror", "-fsanitize=undefined", "-I.", "-o", program, "testdata/use.c", archive, other, "-lpthread"),
	}
	for range 3 {
		commands = append(commands, exec.Command(program, t.TempDir()))
	}
	for _, command := range commands {
		if out, err := command.CombinedOutput(); err != nil {
			t.Fatalf("%s: %v\n%s", command, err, out)
		}
	}
}
