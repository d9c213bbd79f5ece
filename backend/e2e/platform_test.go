// Package e2e proves the platform's promises from outside: the real binary, its
// command line and its HTTP surface, real kills and real full disks. It knows
// nothing of the server's packages.
package e2e

import (
	"bytes"
	"cmp"
	"context"
	"encoding/csv"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"
)

// binary is the server built with failpoints, once for all tests.
var binary string

func TestMain(m *testing.M) {
	os.Exit(func() int {
		dir, err := os.MkdirTemp("", "causality-e2e-")
		if err != nil {
			fmt.Fprintln(os.Stderr, err)
			return 1
		}
		defer os.RemoveAll(dir)
		// The engine's and the database's unprivileged users must reach it.
		if err := os.Chmod(dir, 0o755); err != nil {
			fmt.Fprintln(os.Stderr, err)
			return 1
		}
		binary = filepath.Join(dir, "causality")
		build := exec.Command("go", "build", "-tags", "failpoints", "-o", binary, "./cmd/causality")
		build.Dir = ".."
		build.Stdout, build.Stderr = os.Stderr, os.Stderr
		if err := build.Run(); err != nil {
			fmt.Fprintln(os.Stderr, "build the server:", err)
			return 1
		}
		return m.Run()
	}())
}

// platform is one data directory and the server that may run on it.
type platform struct {
	t        *testing.T
	data     string
	address  string
	args     []string      // of serve, beside data and address
	patience time.Duration // with a request; default 20 s
	within   []string      // a command that runs the server's command elsewhere, such as in a network namespace
	process  *exec.Cmd
	stderr   *lockedBuffer
	exited   chan struct{}
}

// newPlatform prepares a data directory and an address, and starts nothing.
func newPlatform(t *testing.T) *platform {
	t.Helper()
	return &platform{t: t, data: filepath.Join(dataRoot(t), "data"), address: freeAddress(t)}
}

// freeAddress is one that nobody takes before the server does, and again after
// each restart: below the ports that the kernel gives to connections and to
// listeners on port 0, and another for each call.
func freeAddress(t *testing.T) string {
	t.Helper()
	const first, count = 12_000, 18_000
	for range count {
		address := fmt.Sprintf("127.0.0.1:%d", first+(int(nextPort.Add(1))+37*os.Getpid())%count)
		listener, err := net.Listen("tcp", address)
		if err != nil {
			continue
		}
		listener.Close()
		return address
	}
	t.Fatal("no port is free")
	return ""
}

var nextPort atomic.Int32

// dataRoot is a temporary directory with a short path, removed at the end.
func dataRoot(t *testing.T) string {
	t.Helper()
	root, err := os.MkdirTemp("", "cz-")
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(root, 0o755); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(root) })
	return root
}

// start runs the server until the test ends, and waits until it is ready.
func (p *platform) start(env ...string) {
	p.t.Helper()
	p.launch(env...)
	p.await(60*time.Second, "the server is ready", func() bool {
		select {
		case <-p.exited:
			p.t.Fatalf("the server ended before it was ready:\n%s", p.stderr)
		default:
		}
		return p.ready()
	})
}

// launch starts the server and returns at once.
func (p *platform) launch(env ...string) {
	p.t.Helper()
	p.stderr = &lockedBuffer{}
	command := slices.Concat(p.within, []string{binary, "serve", "--data", p.data, "--listen", p.address}, p.args)
	p.process = exec.Command(command[0], command[1:]...)
	p.process.Env = append(os.Environ(), env...)
	p.process.Stdout, p.process.Stderr = p.stderr, p.stderr
	if err := p.process.Start(); err != nil {
		p.t.Fatal(err)
	}
	exited := make(chan struct{})
	p.exited = exited
	process := p.process
	go func() {
		_ = process.Wait()
		close(exited)
	}()
	p.t.Cleanup(func() {
		_ = process.Process.Kill()
		<-exited
	})
}

func (p *platform) ready() bool {
	response, err := http.Get("http://" + p.address + "/readyz")
	if err != nil {
		return false
	}
	response.Body.Close()
	return response.StatusCode == http.StatusOK
}

// kill ends the server as a crash does.
func (p *platform) kill() {
	p.t.Helper()
	_ = p.process.Process.Kill()
	<-p.exited
}

// stop ends the server as an operator does, and fails when it does not obey.
func (p *platform) stop() {
	p.t.Helper()
	_ = p.process.Process.Signal(syscall.SIGTERM)
	select {
	case <-p.exited:
	case <-time.After(30 * time.Second):
		p.t.Fatalf("the server did not stop within 30 s of SIGTERM:\n%s", p.stderr)
	}
	if code := p.process.ProcessState.ExitCode(); code != 0 {
		p.t.Fatalf("the server stopped with exit code %d:\n%s", code, p.stderr)
	}
}

// run calls the command line and returns its standard output, without the last
// newline. It fails the test on any exit code but 0.
func (p *platform) run(args ...string) string {
	p.t.Helper()
	stdout, stderr, code := p.try(args...)
	if code != 0 {
		p.t.Fatalf("causality %s: exit code %d\n%s", strings.Join(args, " "), code, stderr)
	}
	return strings.TrimSuffix(stdout, "\n")
}

// try calls the command line on the platform's data directory.
func (p *platform) try(args ...string) (stdout, stderr string, code int) {
	p.t.Helper()
	ctx, cancel := context.WithTimeout(p.t.Context(), 3*time.Minute)
	defer cancel()
	command := exec.CommandContext(ctx, binary, append(args, "--data", p.data)...)
	var out, errs bytes.Buffer
	command.Stdout, command.Stderr = &out, &errs
	err := command.Run()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		p.t.Fatalf("causality %s: %v", strings.Join(args, " "), err)
	}
	return out.String(), errs.String(), command.ProcessState.ExitCode()
}

// query answers one SELECT as rows of text, without the header.
func (p *platform) query(app, sql string) [][]string {
	p.t.Helper()
	rows, err := csv.NewReader(strings.NewReader(p.run("query", "--app", app, "--format", "csv", sql))).ReadAll()
	if err != nil {
		p.t.Fatalf("%s: %v", sql, err)
	}
	return rows[1:]
}

// tryQuery is query for a server that may be unwell: it reports success.
func (p *platform) tryQuery(app, sql string) ([][]string, bool) {
	stdout, _, code := p.try("query", "--app", app, "--format", "csv", sql)
	if code != 0 {
		return nil, false
	}
	rows, err := csv.NewReader(strings.NewReader(stdout)).ReadAll()
	if err != nil || len(rows) < 1 {
		return nil, false
	}
	return rows[1:], true
}

// app makes an app with a write key.
func (p *platform) app(name string) (id, key string) {
	p.t.Helper()
	id = p.run("apps", "create", name)
	return id, p.run("keys", "create", "--app", name, "--kind", "write", "--rate-limit", "0")
}

type answer struct {
	Accepted   int `json:"accepted"`
	Duplicates int `json:"duplicates"`
	Rejected   []struct {
		Index   int    `json:"index"`
		Code    string `json:"code"`
		Field   string `json:"field"`
		Message string `json:"message"`
	} `json:"rejected"`
	Code    string `json:"code"`
	Message string `json:"message"`
}

// post sends a body to /v1/events. A transport error is status 0.
func (p *platform) post(key string, body []byte) (int, answer, http.Header) {
	request, err := http.NewRequest(http.MethodPost, "http://"+p.address+"/v1/events", bytes.NewReader(body))
	if err != nil {
		p.t.Error(err)
		return 0, answer{}, nil
	}
	request.Header.Set("Authorization", "Bearer "+key)
	client := http.Client{Timeout: cmp.Or(p.patience, 20*time.Second)}
	response, err := client.Do(request)
	if err != nil {
		return 0, answer{}, nil
	}
	defer response.Body.Close()
	raw, err := io.ReadAll(response.Body)
	if err != nil {
		return 0, answer{}, nil
	}
	var decoded answer
	_ = json.Unmarshal(raw, &decoded)
	return response.StatusCode, decoded, response.Header
}

// await polls until done reports true, and fails the test after limit.
func (p *platform) await(limit time.Duration, what string, done func() bool) {
	p.t.Helper()
	deadline := time.Now().Add(limit)
	tick := time.NewTicker(25 * time.Millisecond)
	defer tick.Stop()
	for !done() {
		if time.Now().After(deadline) {
			p.t.Fatalf("not within %s: %s\n%s", limit, what, tail(p.stderr.String(), 4000))
		}
		<-tick.C
	}
}

// awaitCounts waits until the app's events and distinct ids are both want: every
// accepted event is there exactly once.
func (p *platform) awaitCounts(app string, want int) {
	p.t.Helper()
	p.await(60*time.Second, fmt.Sprintf("%d events, each once", want), func() bool {
		rows, ok := p.tryQuery(app, "select count(*), count(distinct event_id) from events")
		if !ok {
			return false
		}
		events, err := strconv.Atoi(rows[0][0])
		if err != nil || events > want {
			p.t.Fatalf("more than the %d events sent: count and distinct ids %v", want, rows[0])
		}
		return events == want && rows[0][1] == rows[0][0]
	})
}

func tail(text string, n int) string {
	if len(text) > n {
		return "…" + text[len(text)-n:]
	}
	return text
}

type lockedBuffer struct {
	mu     sync.Mutex
	buffer bytes.Buffer
}

func (b *lockedBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buffer.Write(p)
}

func (b *lockedBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buffer.String()
}
