package e2e

import (
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
)

// refusal starts a server that must not start, and returns what it says.
func (p *platform) refusal() string {
	p.t.Helper()
	p.launch()
	select {
	case <-p.exited:
	case <-time.After(30 * time.Second):
		p.t.Fatalf("the server started, or hangs:\n%s", p.stderr)
	}
	if code := p.process.ProcessState.ExitCode(); code != 1 {
		p.t.Errorf("exit code %d, want 1:\n%s", code, p.stderr)
	}
	return p.stderr.String()
}

func TestAPortInUseIsNamed(t *testing.T) {
	t.Parallel()
	p := newPlatform(t)
	listener, err := net.Listen("tcp", p.address)
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	if said := p.refusal(); !strings.Contains(said, p.address) || !strings.Contains(said, "--listen") {
		t.Errorf("the refusal names neither the address nor the way out: %s", said)
	}
}

func TestALockedDirectoryIsNamedAndItsServerGoesOn(t *testing.T) {
	t.Parallel()
	p := newPlatform(t)
	p.start()
	_, key := p.app("shop")
	second := newPlatform(t)
	second.data = p.data
	if said := second.refusal(); !strings.Contains(said, p.data) || !strings.Contains(said, strconv.Itoa(p.process.Process.Pid)) {
		t.Errorf("the refusal names neither the directory nor its holder: %s", said)
	}
	if status, _, _ := p.post(key, []byte(`[{"name":"still_here"}]`)); status != 200 {
		t.Errorf("the first server answers %d after the second was refused", status)
	}
	p.awaitCounts("shop", 1)
}

func TestADirectoryOfSomethingElseIsRefusedUntouched(t *testing.T) {
	t.Parallel()
	p := newPlatform(t)
	if err := os.MkdirAll(p.data, 0o755); err != nil {
		t.Fatal(err)
	}
	letter := filepath.Join(p.data, "letter.txt")
	if err := os.WriteFile(letter, []byte("dear"), 0o644); err != nil {
		t.Fatal(err)
	}
	if said := p.refusal(); !strings.Contains(said, p.data) {
		t.Errorf("the refusal does not name the directory: %s", said)
	}
	entries, err := os.ReadDir(p.data)
	if err != nil {
		t.Fatal(err)
	}
	if len(entries) != 1 {
		t.Errorf("the directory was touched: %v", entries)
	}
}

func TestAnotherPostgreSQLMajorIsRefusedUntouched(t *testing.T) {
	t.Parallel()
	p := newPlatform(t)
	p.start()
	_, key := p.app("shop")
	p.post(key, []byte(`[{"name":"kept"}]`))
	p.awaitCounts("shop", 1)
	p.stop()
	version := filepath.Join(p.data, "postgres", "PG_VERSION")
	if _, err := os.Stat(version); err != nil {
		version = filepath.Join(p.data, "postgres", "data", "PG_VERSION")
	}
	ours, err := os.ReadFile(version)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(version, []byte("9.6\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if said := p.refusal(); !strings.Contains(said, "9.6") || !strings.Contains(said, filepath.Dir(version)) {
		t.Errorf("the refusal names neither the version nor the directory: %s", said)
	}
	if err := os.WriteFile(version, ours, 0o600); err != nil {
		t.Fatal(err)
	}
	p.start()
	p.awaitCounts("shop", 1)
}

// While PostgreSQL hangs or is killed, ingest goes on into the stream; queries
// say what is wrong; afterwards everything lands by itself.
func TestIngestGoesOnWhilePostgreSQLIsAway(t *testing.T) {
	t.Parallel()
	p := newPlatform(t)
	p.start()
	_, key := p.app("shop")
	if status, _, _ := p.post(key, []byte(`[{"name":"before"}]`)); status != 200 {
		t.Fatalf("status %d", status)
	}
	p.awaitCounts("shop", 1)
	children := p.awaitPostgres()
	for _, pid := range children {
		_ = syscall.Kill(pid, syscall.SIGSTOP)
	}
	sent := 1
	for range 50 {
		if status, answer, _ := p.post(key, []byte(`[{"name":"during"}]`)); status != 200 {
			t.Fatalf("status %d while PostgreSQL hangs: %s", status, answer.Message)
		}
		sent++
	}
	for _, pid := range children {
		_ = syscall.Kill(pid, syscall.SIGCONT)
	}
	p.awaitCounts("shop", sent)

	for range 3 {
		for _, pid := range p.awaitPostgres() { // the supervisor may be starting it still
			_ = syscall.Kill(pid, syscall.SIGKILL)
		}
		for range 20 {
			if status, answer, _ := p.post(key, []byte(`[{"name":"after_kill"}]`)); status != 200 {
				t.Fatalf("status %d while PostgreSQL restarts: %s", status, answer.Message)
			}
			sent++
		}
	}
	p.awaitCounts("shop", sent)
}

// postgres lists the processes of the platform's own PostgreSQL, oldest first.
func (p *platform) postgres() []int {
	p.t.Helper()
	raw, err := exec.Command("ps", "-eo", "pid=,ppid=,comm=").Output()
	if err != nil {
		p.t.Fatal(err)
	}
	parents := map[int]bool{p.process.Process.Pid: true}
	var found []int
	for range 4 {
		for line := range strings.Lines(string(raw)) {
			fields := strings.Fields(line)
			if len(fields) < 3 {
				continue
			}
			pid, _ := strconv.Atoi(fields[0])
			parent, _ := strconv.Atoi(fields[1])
			if parents[parent] && !parents[pid] && strings.HasPrefix(fields[2], "postgres") {
				parents[pid] = true
				found = append(found, pid)
			}
		}
	}
	return found
}

func (p *platform) awaitPostgres() []int {
	p.t.Helper()
	var found []int
	p.await(30*time.Second, "PostgreSQL runs below the server", func() bool {
		found = p.postgres()
		return len(found) > 0
	})
	return found
}

// On a full disk ingest answers 503 with Retry-After and nothing is lost; when
// there is room again it goes on by itself.
func TestAFullDiskIsAClearRefusalAndRecovers(t *testing.T) {
	t.Parallel()
	if os.Getuid() != 0 {
		t.Fatal("this test mounts a small tmpfs: run it as root, or in a user namespace (unshare -rm)")
	}
	p := newPlatform(t)
	root := filepath.Dir(p.data)
	if err := syscall.Mount("tmpfs", root, "tmpfs", 0, "size=220m,mode=755"); err != nil {
		t.Fatalf("mount a small tmpfs: %v", err)
	}
	t.Cleanup(func() { _ = syscall.Unmount(root, syscall.MNT_DETACH) })
	p.start()
	_, key := p.app("shop")
	sent, number := 0, 0
	send := func() (int, answer, string) {
		var body strings.Builder
		body.WriteString("[")
		for i := range 50 {
			if i > 0 {
				body.WriteString(",")
			}
			fmt.Fprintf(&body, `{"id":"disk-%d-%d","name":"heavy","properties":{"n":%d}}`, number, i, i)
		}
		body.WriteString("]")
		status, answer, header := p.post(key, []byte(body.String()))
		if status == 200 {
			sent += 50
			number++
		}
		return status, answer, header.Get("Retry-After")
	}
	if status, answer, _ := send(); status != 200 {
		t.Fatalf("status %d: %s", status, answer.Message)
	}
	p.awaitCounts("shop", sent)

	ballast := filepath.Join(root, "ballast")
	fill(t, ballast)
	refused := false
	p.await(60*time.Second, "a full disk is refused with 503", func() bool {
		status, answer, retryAfter := send()
		if status == 503 {
			refused = true
			if retryAfter == "" || answer.Message == "" {
				t.Errorf("503 without Retry-After or without a sentence: %q %q", retryAfter, answer.Message)
			}
		} else if status != 200 {
			t.Errorf("status %d on a full disk: %s", status, answer.Message)
		}
		return refused
	})
	if err := os.Remove(ballast); err != nil {
		t.Fatal(err)
	}
	p.await(60*time.Second, "ingest goes on when there is room", func() bool {
		status, _, _ := send()
		return status == 200
	})
	p.awaitCounts("shop", sent)
}

// fill writes until the file system is full.
func fill(t *testing.T, path string) {
	t.Helper()
	file, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	for size := 1 << 20; size >= 4096; {
		if _, err := file.Write(make([]byte, size)); err != nil {
			size /= 2
		}
	}
}
