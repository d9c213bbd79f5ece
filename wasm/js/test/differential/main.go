// Command differential replays vectors with the Go core, for the test beside it that compares them with the TypeScript
// core: each line of stdin is a file of sdk/vectors, a space and a vector as that file has them; each line of stdout is
// the vector with what came of it.
package main

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"os"

	"github.com/causality-project/causality/sdk/vectors"
)

func main() {
	if err := replay(os.Stdin, os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, "differential:", err)
		os.Exit(1)
	}
}

func replay(in io.Reader, out io.Writer) error {
	lines := bufio.NewScanner(in)
	lines.Buffer(nil, 64<<20)
	w := bufio.NewWriter(out)
	for n := 1; lines.Scan(); n++ {
		file, vector, found := bytes.Cut(lines.Bytes(), []byte(" "))
		if !found {
			return fmt.Errorf("line %d names no file", n)
		}
		got, err := vectors.Replay(string(file), vector)
		if err != nil {
			return fmt.Errorf("line %d: %w", n, err)
		}
		if _, err := w.Write(append(got, '\n')); err != nil {
			return err
		}
	}
	if err := lines.Err(); err != nil {
		return err
	}
	return w.Flush()
}
