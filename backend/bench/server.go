package main

import (
	"bytes"
	"context"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// server is the measured platform: one real process tree on a directory of its
// own.
type server struct {
	binary, data, address string
	process               *exec.Cmd
	log                   bytes.Buffer
	exited                chan struct{}
}

func startServer(ctx context.Context, binary, command string, dir string, args ...string) (*server, error) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	address := listener.Addr().String()
	listener.Close()
	s := &server{binary: binary, data: dir, address: address, exited: make(chan struct{})}
	s.process = exec.CommandContext(ctx, binary, append([]string{command, "--data", s.data, "--listen", address}, args...)...)
	s.process.Stdout, s.process.Stderr = &s.log, &s.log
	s.process.Cancel = func() error { return s.process.Process.Signal(syscall.SIGTERM) }
	if err := s.process.Start(); err != nil {
		return nil, err
	}
	go func() {
		_ = s.process.Wait()
		close(s.exited)
	}()
	return s, nil
}

// await polls until done, at most limit.
func (s *server) await(ctx context.Context, limit time.Duration, what string, done func() bool) error {
	deadline := time.Now().Add(limit)
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for !done() {
		select {
		case <-tick.C:
		case <-ctx.Done():
			return ctx.Err()
		case <-s.exited:
			return fmt.Errorf("the server ended: %s", s.log.String())
		}
		if time.Now().After(deadline) {
			return fmt.Errorf("not within %s: %s\n%s", limit, what, s.log.String())
		}
	}
	return nil
}

func (s *server) ready(ctx context.Context) error {
	return s.await(ctx, time.Minute, "ready", func() bool { return s.ok("/readyz") })
}

func (s *server) ok(path string) bool {
	response, err := http.Get("http://" + s.address + path)
	if err != nil {
		return false
	}
	response.Body.Close()
	return response.StatusCode == http.StatusOK
}

func (s *server) cli(ctx context.Context, args ...string) (string, error) {
	command := exec.CommandContext(ctx, s.binary, append(args, "--data", s.data)...)
	var stderr bytes.Buffer
	command.Stderr = &stderr
	out, err := command.Output()
	if err != nil {
		return "", fmt.Errorf("causality %s: %w: %s", strings.Join(args, " "), err, stderr.String())
	}
	return strings.TrimSpace(string(out)), nil
}

func (s *server) stop() {
	_ = s.process.Process.Signal(syscall.SIGTERM)
	select {
	case <-s.exited:
	case <-time.After(20 * time.Second):
		_ = s.process.Process.Kill()
		<-s.exited
	}
}

// tree lists the server's processes: itself, PostgreSQL and the query engines.
func (s *server) tree() []int {
	pids := []int{s.process.Process.Pid}
	for i := 0; i < len(pids); i++ {
		tasks, _ := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/children", pids[i]))
		for _, task := range tasks {
			raw, err := os.ReadFile(task)
			if err != nil {
				continue
			}
			for _, field := range strings.Fields(string(raw)) {
				if pid, err := strconv.Atoi(field); err == nil {
					pids = append(pids, pid)
				}
			}
		}
	}
	return pids
}

// cpuSeconds is what the tree has used so far, ended children included.
func (s *server) cpuSeconds() float64 {
	const ticksPerSecond = 100
	total := 0.0
	for _, pid := range s.tree() {
		raw, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
		if err != nil {
			continue
		}
		fields := strings.Fields(string(raw[bytes.LastIndexByte(raw, ')')+1:]))
		for _, field := range fields[11:15] { // utime stime cutime cstime
			ticks, _ := strconv.ParseFloat(field, 64)
			total += ticks / ticksPerSecond
		}
	}
	return total
}

// memory is the tree's proportional set size in bytes: shared pages once.
func (s *server) memory() float64 {
	total := 0.0
	for _, pid := range s.tree() {
		raw, err := os.ReadFile(fmt.Sprintf("/proc/%d/smaps_rollup", pid))
		if err != nil {
			continue
		}
		for line := range strings.Lines(string(raw)) {
			if rest, found := strings.CutPrefix(line, "Pss:"); found {
				kilobytes, _ := strconv.ParseFloat(strings.Fields(rest)[0], 64)
				total += kilobytes * 1024
			}
		}
	}
	return total
}

// directory is a temporary one that the engine's unprivileged user can reach.
func directory() (string, func(), error) {
	dir, err := os.MkdirTemp("", "cz-bench-")
	if err != nil {
		return "", nil, err
	}
	if err := os.Chmod(dir, 0o755); err != nil {
		return "", nil, err
	}
	return dir, func() { os.RemoveAll(dir) }, nil
}
