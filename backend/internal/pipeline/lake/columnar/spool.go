package columnar

import (
	"errors"
	"fmt"
	"io"
	"os"
)

// Spool keeps bytes until they are wanted again: few in memory, more in an
// unnamed file, which is gone with the process however that ends.
type Spool struct {
	dir     string
	memory  int
	pending []byte // not in the file yet
	file    *os.File
	written int64 // bytes of the file
}

// NewSpool makes an empty one that holds so many bytes in memory before it makes
// a file in dir; empty: the system's directory for such files.
func NewSpool(dir string, memory int) *Spool { return &Spool{dir: dir, memory: memory} }

// Append adds bytes and returns where they begin.
func (s *Spool) Append(p []byte) (at int64, err error) {
	at = s.written + int64(len(s.pending))
	s.pending = append(s.pending, p...)
	if len(s.pending) < s.memory {
		return at, nil
	}
	if s.file == nil {
		if s.file, err = os.CreateTemp(s.dir, "merge-*"); err != nil {
			return 0, fmt.Errorf("make a temporary file: %w", err)
		}
		if err := os.Remove(s.file.Name()); err != nil {
			return 0, fmt.Errorf("make a temporary file: %w", err)
		}
	}
	if _, err := s.file.WriteAt(s.pending, s.written); err != nil {
		return 0, fmt.Errorf("write temporary file: %w", err)
	}
	s.written += int64(len(s.pending))
	s.pending = s.pending[:0]
	return at, nil
}

// ReadAt reads bytes that were appended.
func (s *Spool) ReadAt(p []byte, at int64) (n int, err error) {
	if at < s.written {
		n, err = s.file.ReadAt(p[:min(int64(len(p)), s.written-at)], at)
		if err != nil {
			return n, fmt.Errorf("read temporary file: %w", err)
		}
		at += int64(n)
	}
	if n < len(p) {
		if at-s.written > int64(len(s.pending)) {
			return n, io.EOF
		}
		m := copy(p[n:], s.pending[at-s.written:])
		if n += m; n < len(p) {
			return n, io.EOF
		}
	}
	return n, nil
}

// Close gives the file's room back.
func (s *Spool) Close() error {
	s.pending = nil
	if s.file == nil {
		return nil
	}
	err := s.file.Close()
	s.file = nil
	if err != nil && !errors.Is(err, os.ErrClosed) {
		return fmt.Errorf("close temporary file: %w", err)
	}
	return nil
}
