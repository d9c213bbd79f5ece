package postgres

import (
	"bufio"
	"bytes"
	"os"
	"strings"
	"sync"
	"time"
)

// serverLog keeps what the server writes: all of it in a file of at most
// maxLog bytes and one predecessor, and the newest lines for error messages.
type serverLog struct {
	path string

	mu     sync.Mutex
	file   *os.File
	size   int64
	recent []string

	followers sync.WaitGroup
	pipes     []*os.File
}

const (
	maxLog     = 4 << 20
	maxRecent  = 40
	maxLogLine = 8 << 10
)

func openServerLog(path string) (*serverLog, error) {
	l := &serverLog{path: path}
	return l, l.reopen()
}

func (l *serverLog) reopen() error {
	f, err := os.OpenFile(l.path, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o640)
	if err != nil {
		return err
	}
	l.file = f
	if info, err := f.Stat(); err == nil {
		l.size = info.Size()
	}
	return nil
}

// follow copies a server's output until all of its processes closed it.
func (l *serverLog) follow(output *os.File) {
	l.mu.Lock()
	l.pipes = append(l.pipes, output)
	l.recent = nil
	l.mu.Unlock()
	l.followers.Go(func() {
		defer output.Close()
		lines := bufio.NewReaderSize(output, maxLogLine)
		for {
			line, err := lines.ReadSlice('\n') // longer lines come in pieces
			if len(line) > 0 {
				l.write(line)
			}
			if err != nil && err != bufio.ErrBufferFull {
				return
			}
		}
	})
}

// write keeps going when the disk is full: a log must never stop the server.
func (l *serverLog) write(line []byte) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.recent = append(l.recent, string(bytes.TrimSpace(line))); len(l.recent) > maxRecent {
		l.recent = l.recent[1:]
	}
	if l.file == nil {
		return
	}
	n, _ := l.file.Write(line)
	if l.size += int64(n); l.size < maxLog {
		return
	}
	_ = l.file.Close()
	l.file = nil
	if os.Rename(l.path, l.path+".1") == nil {
		l.size = 0
	}
	_ = l.reopen()
}

// complaint is what the server last said that explains a failure.
func (l *serverLog) complaint() string {
	// The last words may be on their way through the pipe.
	time.Sleep(20 * time.Millisecond)
	l.mu.Lock()
	defer l.mu.Unlock()
	return lastComplaint([]byte(strings.Join(l.recent, "\n")))
}

// close waits a moment for the last lines, and then stops listening.
func (l *serverLog) close() {
	done := make(chan struct{})
	go func() {
		l.followers.Wait()
		close(done)
	}()
	select {
	case <-done:
	case <-time.After(time.Second):
		l.mu.Lock()
		for _, pipe := range l.pipes {
			_ = pipe.Close()
		}
		l.mu.Unlock()
		<-done
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.file != nil {
		_ = l.file.Close()
		l.file = nil
	}
}

// lastComplaint finds the most telling line of a server's or initdb's output:
// the last error with its hint, else the last line.
func lastComplaint(out []byte) string {
	lines := strings.Split(strings.TrimSpace(string(out)), "\n")
	// A full disk makes more noise after it.
	for _, line := range lines {
		if strings.Contains(line, "No space left on device") {
			return "the disk is full: free some space and start again (" + strings.TrimSpace(line) + ")"
		}
	}
	for i := len(lines) - 1; i >= 0; i-- {
		for _, mark := range []string{"PANIC:", "FATAL:", "error:", "ERROR:"} {
			_, text, found := strings.Cut(lines[i], mark)
			if !found {
				continue
			}
			text = strings.TrimSpace(text)
			for _, more := range lines[i+1:] {
				if _, hint, found := strings.Cut(more, "HINT:"); found {
					text += ". " + strings.TrimSpace(hint)
					break
				}
			}
			return text
		}
	}
	return strings.TrimSpace(lines[len(lines)-1])
}
