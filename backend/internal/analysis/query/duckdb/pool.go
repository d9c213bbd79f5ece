// Package duckdb answers queries with DuckDB in child processes of this same
// binary. A child runs one query at a time in a fresh, sandboxed, in-memory
// instance; its crash, or its hunger for memory, ends one query and nothing
// else. The package knows no tables: they come with the request.
package duckdb

import (
	"bufio"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/causality-project/causality/backend/internal/analysis/query"
	"github.com/causality-project/causality/backend/internal/analysis/query/turns"
	"github.com/causality-project/causality/backend/internal/platform/fault"
)

// Config configures a Pool. Zero values select the stated defaults.
type Config struct {
	Command      []string      // starts WorkerMain; default: this binary with "duckdb-worker"
	Env          []string      // added to the child's otherwise empty environment
	Processes    int           // queries at once; default: the cores, at most 2
	Threads      int           // of one query; default: the cores
	MemoryBytes  int64         // of one query; default: a quarter of the machine's over Processes, at least 512 MiB
	TempDir      string        // where queries spill; default: the system's; made private to each child
	TempBytes    int64         // of one query; default 8 GiB
	ReadDirs     []string      // where objects lie; children can read nothing else
	UID, GID     int           // of children when this process is root; default 65534
	IdleFor      time.Duration // an idle child ends after it; default 1 min
	QueueLength  int           // waiting queries of one workspace; default 32
	CancelWithin time.Duration // after it a query that does not stop is killed; default 1 s
	Logger       *slog.Logger  // required
}

// keepResident is the memory up to which a child is worth keeping warm.
const keepResident = 160 << 20

// dataLimit bounds the memory that a child maps for itself. DuckDB's own limit is
// the one that people meet; this one is for what it does not count, and leaves
// room for threads and the Go runtime.
func (c *Config) dataLimit() int64 { return c.MemoryBytes + c.MemoryBytes/4 + 512<<20 }

// worthKeeping says whether a child takes little memory, and has room for
// another query's below its limit: what an earlier one mapped counts against it
// even after it was given back.
func (p *Pool) worthKeeping(c *child) bool {
	resident, data := memoryOf(c.cmd.Process.Pid)
	return resident < keepResident && data+p.cfg.MemoryBytes+64<<20 <= p.cfg.dataLimit()
}

// Pool is a query.Engine. Close ends its children.
type Pool struct {
	cfg   Config
	turns *turns.Turns
	start chan startRequest
	done  chan struct{} // the starter has ended
	stop  context.CancelFunc

	mu       sync.Mutex
	closed   bool
	idle     *child
	children map[*child]bool // all that live
	running  sync.WaitGroup
	number   uint64
}

type startRequest struct {
	cmd    *exec.Cmd
	result chan error
}

// New returns a pool; the first query starts the first child.
func New(cfg Config) (*Pool, error) {
	if cfg.Logger == nil {
		return nil, errors.New("duckdb: a logger is required")
	}
	if len(cfg.Command) == 0 {
		cfg.Command = []string{selfExecutable, "duckdb-worker"}
	}
	cores := runtime.GOMAXPROCS(0)
	cfg.Processes = cmp.Or(cfg.Processes, min(cores, 2))
	cfg.Threads = cmp.Or(cfg.Threads, cores)
	cfg.MemoryBytes = cmp.Or(cfg.MemoryBytes, max(machineMemory()/4/int64(cfg.Processes), 512<<20))
	cfg.TempDir = cmp.Or(cfg.TempDir, os.TempDir())
	cfg.TempBytes = cmp.Or(cfg.TempBytes, 8<<30)
	cfg.UID, cfg.GID = cmp.Or(cfg.UID, 65534), cmp.Or(cfg.GID, 65534)
	cfg.IdleFor = cmp.Or(cfg.IdleFor, time.Minute)
	cfg.QueueLength = cmp.Or(cfg.QueueLength, 32)
	cfg.CancelWithin = cmp.Or(cfg.CancelWithin, time.Second)

	ctx, stop := context.WithCancel(context.Background())
	p := &Pool{cfg: cfg, turns: turns.New(cfg.Processes, cfg.QueueLength), start: make(chan startRequest), done: make(chan struct{}), stop: stop, children: map[*child]bool{}}
	go p.starter(ctx)
	return p, nil
}

// starter starts every child from one thread that lives as long as the pool:
// the kernel ties a child's life to the thread that made it.
func (p *Pool) starter(ctx context.Context) {
	defer close(p.done)
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	for {
		select {
		case <-ctx.Done():
			return
		case r := <-p.start:
			r.result <- r.cmd.Start()
		}
	}
}

// Close refuses new queries, waits for those in hand until ctx ends, kills what
// is left and ends all children. It is repeatable.
func (p *Pool) Close(ctx context.Context) error {
	p.mu.Lock()
	p.closed = true
	idle := p.idle
	p.idle = nil
	p.mu.Unlock()
	p.turns.Close()
	if idle != nil {
		idle.end()
	}
	finished := make(chan struct{})
	go func() {
		defer close(finished)
		p.running.Wait()
	}()
	var err error
	select {
	case <-finished:
	case <-ctx.Done():
		err = ctx.Err()
		p.mu.Lock()
		for c := range p.children {
			c.kill()
		}
		p.mu.Unlock()
	}
	<-finished
	p.stop()
	<-p.done
	return err
}

// Query implements query.Engine.
func (p *Pool) Query(ctx context.Context, request query.Request, sink query.Sink) (query.Done, error) {
	if request.Tables.Load != nil {
		return p.queryLoaded(ctx, request, sink)
	}
	return p.run(ctx, request, false, sink)
}

// run takes a turn and a child for one job: the query, or only its plan.
func (p *Pool) run(ctx context.Context, request query.Request, plan bool, sink query.Sink) (query.Done, error) {
	p.mu.Lock()
	if p.closed {
		p.mu.Unlock()
		return query.Done{}, fault.New(fault.Unavailable, "The server is stopping; try again in a moment.")
	}
	p.running.Add(1)
	p.number++
	number := p.number
	p.mu.Unlock()
	defer p.running.Done()

	release, err := p.turns.Take(ctx, request.Workspace)
	if err != nil {
		return query.Done{}, err
	}
	defer release()
	c, err := p.child(ctx)
	if err != nil {
		return query.Done{}, fault.Wrap(err, fault.Unavailable, "The query engine could not be started; see Health.")
	}
	done, reusable, err := c.query(ctx, number, request, plan, sink, p.cfg)
	if reusable && p.worthKeeping(c) {
		p.keep(c)
	} else {
		c.end()
	}
	return done, err
}

func (p *Pool) child(ctx context.Context) (*child, error) {
	p.mu.Lock()
	c := p.idle
	p.idle = nil
	p.mu.Unlock()
	if c != nil && c.wake() {
		return c, nil
	}
	return p.spawn(ctx)
}

// keep makes the child the warm one, or ends it when there is one already.
func (p *Pool) keep(c *child) {
	p.mu.Lock()
	if p.closed || p.idle != nil {
		p.mu.Unlock()
		c.end()
		return
	}
	p.idle = c
	c.expiry = time.AfterFunc(p.cfg.IdleFor, func() {
		p.mu.Lock()
		mine := p.idle == c
		if mine {
			p.idle = nil
		}
		p.mu.Unlock()
		if mine {
			c.end()
		}
	})
	p.mu.Unlock()
}

// child is one process and its pipes. One goroutine uses it at a time.
type child struct {
	cmd    *exec.Cmd
	in     io.WriteCloser
	out    *bufio.Reader
	stderr *tail
	temp   string
	lent   map[string]string // directories by the paths that the child knows
	expiry *time.Timer
	room   []byte
	log    *slog.Logger
	forget func()
}

func (p *Pool) spawn(ctx context.Context) (*child, error) {
	if err := os.MkdirAll(p.cfg.TempDir, 0o711); err != nil {
		return nil, fmt.Errorf("make the spill directory: %w", err)
	}
	temp, err := os.MkdirTemp(p.cfg.TempDir, "query-")
	if err != nil {
		return nil, fmt.Errorf("make a spill directory: %w", err)
	}
	if os.Geteuid() == 0 {
		if err := os.Chown(temp, p.cfg.UID, p.cfg.GID); err != nil {
			return nil, errors.Join(err, os.RemoveAll(temp))
		}
	}
	cmd := exec.Command(p.cfg.Command[0], p.cfg.Command[1:]...)
	lent, opened, err := lend(cmd, append([]string{temp}, p.cfg.ReadDirs...))
	if err != nil {
		return nil, errors.Join(err, os.RemoveAll(temp))
	}
	defer func() {
		for _, f := range opened {
			_ = f.Close()
		}
	}()
	readDirs := make([]string, len(p.cfg.ReadDirs))
	for i, dir := range p.cfg.ReadDirs {
		readDirs[i] = cmp.Or(lent[dir], dir)
	}
	known := cmp.Or(lent[temp], temp)
	cmd.Dir = "/"
	list := string(os.PathListSeparator)
	cmd.Env = append([]string{
		envData + "=" + strconv.FormatInt(p.cfg.dataLimit(), 10),
		envRead + "=" + strings.Join(readDirs, list),
		envWrite + "=" + known,
		"GOMAXPROCS=2", "HOME=" + known, "TMPDIR=" + known, "LC_ALL=C.UTF-8",
	}, p.cfg.Env...)
	isolate(cmd, p.cfg.UID, p.cfg.GID)
	c := &child{cmd: cmd, stderr: &tail{}, temp: temp, lent: lent, log: p.cfg.Logger}
	cmd.Stderr = c.stderr
	in, err := cmd.StdinPipe()
	if err != nil {
		return nil, errors.Join(err, os.RemoveAll(temp))
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		return nil, errors.Join(err, os.RemoveAll(temp))
	}
	c.in, c.out = in, bufio.NewReaderSize(out, 128<<10)
	r := startRequest{cmd, make(chan error, 1)}
	select {
	case p.start <- r:
		err = <-r.result
	case <-p.done:
		err = errors.New("the pool is closed")
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("start the query engine: %w", err), os.RemoveAll(temp))
	}
	p.mu.Lock()
	p.children[c] = true
	p.mu.Unlock()
	c.forget = func() {
		p.mu.Lock()
		delete(p.children, c)
		p.mu.Unlock()
	}
	stopWatch := context.AfterFunc(ctx, c.kill)
	watchdog := time.AfterFunc(30*time.Second, c.kill)
	kind, _, err := readFrame(c.out, nil)
	watchdog.Stop()
	if !stopWatch() || err != nil || kind != frameReady {
		c.end()
		if ctx.Err() != nil {
			return nil, ctx.Err()
		}
		return nil, fmt.Errorf("the query engine did not come up: %w: %s", cmp.Or(err, errFrame), c.stderr)
	}
	return c, nil
}

// wake takes a child out of idleness; false if it is gone.
func (c *child) wake() bool {
	if c.expiry != nil && !c.expiry.Stop() {
		return false // it is being ended
	}
	if c.cmd.Process.Signal(syscall.Signal(0)) != nil {
		c.end()
		return false
	}
	return true
}

func (c *child) kill() { _ = c.cmd.Process.Kill() }

// end closes the child's input, which ends it when idle, and makes sure.
func (c *child) end() {
	_ = c.in.Close()
	timer := time.AfterFunc(200*time.Millisecond, c.kill)
	_, _ = io.Copy(io.Discard, c.out)
	_ = c.cmd.Wait()
	timer.Stop()
	c.forget()
	if err := os.RemoveAll(c.temp); err != nil {
		c.log.Warn("a query's spill directory could not be removed", "dir", c.temp, "err", err)
	}
}

// query runs one request. reusable says that the child can take another.
func (c *child) query(ctx context.Context, number uint64, request query.Request, plan bool, sink query.Sink, cfg Config) (done query.Done, reusable bool, err error) {
	timeout := cmp.Or(request.Timeout, defaultTimeout)
	timed, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()

	var write sync.Mutex // the request and its cancel
	watching := make(chan struct{})
	finished := make(chan struct{})
	go func() {
		defer close(watching)
		select {
		case <-finished:
			return
		case <-timed.Done():
		}
		killer := time.AfterFunc(cfg.CancelWithin, c.kill)
		defer killer.Stop()
		if write.TryLock() { // held: the child does not even read; it will be killed
			_ = writeFrame(c.in, frameCancel, []byte(strconv.FormatUint(number, 10)))
			write.Unlock()
		}
		<-finished
	}()
	write.Lock()
	err = c.send(number, request, plan, cfg)
	write.Unlock()
	var sinkErr error
	if err == nil {
		done, sinkErr, err = c.receive(sink, cancel)
	}
	close(finished)
	<-watching

	var f *failureError
	answered := err == nil || errors.As(err, &f)
	reusable = answered && (f == nil || !f.Fatal)
	switch {
	case sinkErr != nil:
		return done, reusable, sinkErr
	case err == nil:
		return done, reusable, nil
	case ctx.Err() != nil:
		return done, reusable, fault.Wrap(ctx.Err(), fault.Canceled, "The query was stopped.")
	case timed.Err() != nil:
		return done, reusable, fault.New(fault.Exhausted, "Stopped at the %s limit; choose a shorter range or fewer rows.", limitText(timeout))
	case f != nil && fault.Kind(f.Kind) == fault.Internal:
		return done, reusable, &brokenError{fmt.Errorf("query engine: %s", f.Message)}
	case f != nil && fault.Kind(f.Kind) == fault.Unavailable:
		return done, reusable, &brokenError{fault.New(fault.Unavailable, "%s", f.Message)}
	case f != nil:
		out := fault.New(fault.Kind(f.Kind), "%s", f.Message)
		if out.Kind == fault.Invalid {
			out.Fields = []fault.Field{{Name: "sql", Message: f.Message}}
		}
		return done, reusable, out
	}
	// The pipe broke: the child is gone, or talks nonsense.
	c.kill()
	_ = c.in.Close()
	_, _ = io.Copy(io.Discard, c.out)
	state := c.cmd.Wait()
	c.log.Error("the query engine ended in the middle of a query", "err", err, "state", state, "stderr", c.stderr.String())
	return done, false, fault.Wrap(err, fault.Exhausted,
		"The query engine ended while it ran this query, most likely for want of memory (%d MB a query); narrow the range or select less. Other queries are not affected.", cfg.MemoryBytes>>20)
}

func limitText(d time.Duration) string {
	if d%time.Minute == 0 && d > time.Minute {
		return fmt.Sprintf("%d min", d/time.Minute)
	}
	return fmt.Sprintf("%g s", d.Seconds())
}

func (c *child) send(number uint64, r query.Request, plan bool, cfg Config) error {
	for _, frame := range linkFrames(r.Tables.Links) {
		if err := writeFrame(c.in, frame.kind, frame.payload); err != nil {
			return err
		}
	}
	files, setup := r.Tables.Files, r.Tables.Setup
	for dir, known := range c.lent {
		files, setup = slices.Clone(files), slices.Clone(setup)
		for i, f := range files {
			if rest, ok := strings.CutPrefix(f, dir+"/"); ok {
				files[i] = known + "/" + rest
			}
		}
		from, to := strings.TrimSuffix(query.Text(dir+"/"), "'"), "'"+known+"/"
		for i, s := range setup {
			setup[i] = strings.ReplaceAll(s, from, to)
		}
	}
	payload, err := json.Marshal(job{
		Number: number, Zone: cmp.Or(r.Zone, "UTC"), Files: files, Setup: setup, SQL: r.SQL, Params: r.Params, Trusted: r.Trusted, Plan: plan,
		MaxRows: r.MaxRows, MaxBytes: r.MaxBytes, MemoryBytes: cfg.MemoryBytes, Threads: cfg.Threads, TempDir: filepath.Join(cmp.Or(c.lent[c.temp], c.temp), "spill"), TempBytes: cfg.TempBytes,
	})
	if err != nil {
		return err
	}
	return writeFrame(c.in, frameQuery, payload)
}

type linkFrame struct {
	kind    frameKind
	payload []byte
}

func linkFrames(links query.Links) []linkFrame {
	const most = 16 << 20
	var frames []linkFrame
	b := []byte(nil)
	flush := func(kind frameKind) {
		if len(b) > 0 {
			frames = append(frames, linkFrame{kind, b})
			b = nil
		}
	}
	for from, to := range links.ByKey {
		if b = appendPair(b, from, to); len(b) > most {
			flush(frameKeys)
		}
	}
	flush(frameKeys)
	for id, to := range links.Changed {
		if b = appendNamed(b, id, to); len(b) > most {
			flush(frameVisitors)
		}
	}
	flush(frameVisitors)
	for id, to := range links.ChangedUsers {
		if b = appendNamed(b, id, to); len(b) > most {
			flush(frameUsers)
		}
	}
	flush(frameUsers)
	return frames
}

// failureError is the child's own report; the child lives on unless it says
// otherwise.
type failureError struct{ failure }

func (e *failureError) Error() string { return e.Message }

// receive hands the answer on. After an error of the sink it cancels and reads
// on to the end, so that the child can be used again.
func (c *child) receive(sink query.Sink, cancel func()) (done query.Done, sinkErr, err error) {
	var row []query.Cell
	for {
		kind, payload, err := readFrame(c.out, c.room)
		if err != nil {
			return done, sinkErr, err
		}
		if cap(payload) <= 1<<20 {
			c.room = payload[:0]
		}
		switch kind {
		case frameColumns:
			var columns []query.Column
			if err := json.Unmarshal(payload, &columns); err != nil {
				return done, sinkErr, err
			}
			row = make([]query.Cell, len(columns))
			if sinkErr == nil {
				sinkErr = sink.Columns(columns)
			}
		case frameRows:
			for len(payload) > 0 && sinkErr == nil {
				if payload, err = readRow(payload, row); err != nil {
					return done, sinkErr, err
				}
				if len(row) == 0 {
					return done, sinkErr, errFrame
				}
				sinkErr = sink.Row(row)
			}
		case frameDone:
			return done, sinkErr, json.Unmarshal(payload, &done)
		case frameError:
			var f failureError
			if err := json.Unmarshal(payload, &f.failure); err != nil {
				return done, sinkErr, err
			}
			return done, sinkErr, &f
		default:
			return done, sinkErr, fmt.Errorf("%w: kind %q", errFrame, kind)
		}
		if sinkErr != nil {
			cancel()
		}
	}
}

// tail keeps the end of what a child writes to stderr.
type tail struct {
	mu   sync.Mutex
	text []byte
}

func (t *tail) Write(p []byte) (int, error) {
	const most = 4 << 10
	t.mu.Lock()
	defer t.mu.Unlock()
	t.text = append(t.text, p...)
	if len(t.text) > most {
		t.text = append(t.text[:0], t.text[len(t.text)-most:]...)
	}
	return len(p), nil
}

func (t *tail) String() string {
	t.mu.Lock()
	defer t.mu.Unlock()
	return strings.TrimSpace(string(t.text))
}
