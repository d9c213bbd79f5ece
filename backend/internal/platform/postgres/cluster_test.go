package postgres

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/causality-project/causality/backend/internal/platform/fault"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
)

// TestMain is also the program that tests kill: with this variable set it
// serves the cluster in that directory, and says when it is up.
func TestMain(m *testing.M) {
	if dir := os.Getenv("POSTGRES_TEST_SERVE"); dir != "" {
		server, err := Open(context.Background(), Config{Dir: dir, Logger: slog.New(slog.DiscardHandler)})
		if err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		fmt.Println(server.Status(context.Background()).PID)
		_ = server.Run(context.Background())
	}
	os.Exit(m.Run())
}

func quietly() *slog.Logger { return slog.New(slog.DiscardHandler) }

// reachable is a directory that every user can enter; t.TempDir is private, so
// that tests run as root by root take the way through a namespace there.
func reachable(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "pg")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	if err := os.Chmod(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	return dir
}

func openIn(t *testing.T, dir string) (*Server, error) {
	t.Helper()
	server, err := Open(t.Context(), Config{Dir: dir, Settings: map[string]string{"fsync": "off"}, Logger: quietly()})
	if err == nil {
		t.Cleanup(func() { shut(t, server) })
	}
	return server, err
}

func mustOpen(t *testing.T, dir string) *Server {
	t.Helper()
	server, err := openIn(t, dir)
	if err != nil {
		t.Fatal(err)
	}
	return server
}

func shut(t *testing.T, server *Server) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	if err := server.Close(ctx); err != nil {
		t.Error(err)
	}
}

func eventually(t *testing.T, what string, done func() bool) {
	t.Helper()
	for end := time.Now().Add(30 * time.Second); !done(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("in 30 seconds it never came that %s", what)
		}
	}
}

func alive(pid int) bool {
	state, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	return err == nil && !strings.Contains(string(state), ") Z ")
}

func TestTheClusterOutlivesRestartsWhereverItsDirectoryIs(t *testing.T) {
	t.Parallel()
	for name, parent := range map[string]string{
		"reachable":                    reachable(t),
		"below a 0700":                 t.TempDir(),
		"with odd names":               filepath.Join(reachable(t), "a b'c*[d]"),
		"a path too long for a socket": filepath.Join(reachable(t), strings.Repeat("long/", 30)),
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			dir := filepath.Join(parent, "postgres")
			for start := range 2 {
				server, err := openIn(t, dir)
				if err != nil {
					t.Fatalf("start %d: %v", start+1, err)
				}
				if _, err := server.Pool().Exec(t.Context(), "SELECT ensure_workspace(gen_random_uuid(), $1, gen_random_uuid(), 'Owner')", fmt.Sprintf("start-%d", start)); err != nil {
					t.Fatal(err)
				}
				var n int
				if err := server.Pool().QueryRow(t.Context(), "SELECT count(*) FROM all_workspaces()").Scan(&n); err != nil || n != start+1 {
					t.Errorf("start %d sees %d workspaces (%v), want %d", start+1, n, err, start+1)
				}
				status := server.Status(t.Context())
				if status.State != OK || !status.Supervised || status.PID == 0 || status.Version == "" {
					t.Errorf("status = %+v", status)
				}
				socket := server.cluster.socketDir
				shut(t, server)
				if alive(status.PID) {
					t.Error("the server outlived Close")
				}
				if socket != dir {
					if _, err := os.Stat(socket); !errors.Is(err, os.ErrNotExist) {
						t.Errorf("the moved socket's directory is still there: %v", err)
					}
				}
			}
		})
	}
}

func TestWhatIsNoClusterOfOursIsRefusedAndUntouched(t *testing.T) {
	t.Parallel()
	tests := map[string]struct {
		files map[string]string
		says  string
	}{
		"another major version":  {map[string]string{"PG_VERSION": "9\n", "base/1": "precious"}, "needs PostgreSQL 9"},
		"a version of tomorrow":  {map[string]string{"PG_VERSION": "99\n", "base/1": "precious"}, "needs PostgreSQL 99"},
		"an unreadable version":  {map[string]string{"PG_VERSION": "?\n"}, "does not know"},
		"somebody else's files":  {map[string]string{"photos/cat.jpg": "meow"}, "no PostgreSQL database"},
		"a cluster with no root": {map[string]string{"base/1": "precious"}, "no PostgreSQL database"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			dir := filepath.Join(reachable(t), "postgres")
			for file, text := range tt.files {
				path := filepath.Join(dir, file)
				if err := errors.Join(os.MkdirAll(filepath.Dir(path), 0o700), os.WriteFile(path, []byte(text), 0o600)); err != nil {
					t.Fatal(err)
				}
			}
			_, err := openIn(t, dir)
			if err == nil || !strings.Contains(err.Error(), tt.says) || !strings.Contains(err.Error(), dir) || !strings.Contains(err.Error(), "left as it is") {
				t.Errorf("err = %v, want a sentence that names %s and says %q", err, dir, tt.says)
			}
			for file, text := range tt.files {
				if got, err := os.ReadFile(filepath.Join(dir, file)); err != nil || string(got) != text {
					t.Errorf("%s is now %q, %v", file, got, err)
				}
			}
		})
	}
}

func TestASecondServerOnTheSameDirectoryIsRefused(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(reachable(t), "postgres")
	first := mustOpen(t, dir)
	if _, err := openIn(t, dir); err == nil || !strings.Contains(err.Error(), fmt.Sprintf("process %d", os.Getpid())) {
		t.Errorf("err = %v, want the process that holds the directory", err)
	}
	if status := first.Status(t.Context()); status.State != OK {
		t.Errorf("the first server is now %+v", status)
	}
}

func TestAKilledServerIsStartedAgainAndThePoolRecovers(t *testing.T) {
	t.Parallel()
	server := mustOpen(t, filepath.Join(reachable(t), "postgres"))
	ctx, cancel := context.WithCancel(t.Context())
	var running sync.WaitGroup
	running.Go(func() { _ = server.Run(ctx) })
	defer running.Wait()
	defer cancel()
	ups := make(chan struct{}, 10)
	server.Listen("causality_apps", Listener{
		Up: func(context.Context) { ups <- struct{}{} }, Notify: func(context.Context, string) {}, Down: func() {},
	})
	<-ups
	before := server.Status(ctx).PID
	for range 2 {
		killed := server.Status(ctx).PID
		if err := syscall.Kill(killed, syscall.SIGKILL); err != nil {
			t.Fatal(err)
		}
		var lastErr error
		eventually(t, "the pool answers from a new server", func() bool {
			var one int
			err := server.Pool().QueryRow(ctx, "SELECT 1").Scan(&one)
			if err != nil {
				lastErr = err
				return false
			}
			pid := server.Status(ctx).PID
			return pid != 0 && pid != killed
		})
		if lastErr != nil && !fault.Is(Fault(ctx, lastErr), fault.Unavailable) {
			t.Errorf("during the outage: %v, want it to read as unavailable", lastErr)
		}
		<-ups // listening again
	}
	status := server.Status(ctx)
	if status.State != Degraded || !strings.Contains(status.Message, "started again") {
		t.Errorf("status after a restart = %+v", status)
	}
	if before == status.PID {
		t.Error("the server was never killed")
	}
}

// serve runs this test's binary as a causality of its own.
func serve(t *testing.T, dir string) (*exec.Cmd, func() (pid string)) {
	t.Helper()
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), "POSTGRES_TEST_SERVE="+dir)
	cmd.Stderr = os.Stderr
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = cmd.Process.Kill(); _ = cmd.Wait() })
	return cmd, func() string {
		line, _ := bufio.NewReader(out).ReadString('\n')
		return strings.TrimSpace(line)
	}
}

func TestAKilledCausalityLeavesAClusterThatStartsAgain(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(reachable(t), "postgres")
	for range 3 {
		cmd, up := serve(t, dir)
		pid := up()
		if pid == "" {
			t.Fatal("it did not start")
		}
		if err := cmd.Process.Kill(); err != nil {
			t.Fatal(err)
		}
		_ = cmd.Wait()
		// At once: the old server may still be shutting down.
	}
	server := mustOpen(t, dir)
	if status := server.Status(t.Context()); status.State != OK {
		t.Errorf("status = %+v", status)
	}
}

func TestAKillDuringTheFirstStartLeavesNothingHalf(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(reachable(t), "postgres")
	for _, stage := range []string{"", "/PG_VERSION", "/global/pg_control", "/base/1"} {
		cmd, _ := serve(t, dir)
		eventually(t, "initdb got to "+stage, func() bool {
			found, _ := filepath.Glob(dir + ".init-*" + stage)
			_, done := os.Stat(dir)
			return len(found) > 0 || done == nil
		})
		if err := cmd.Process.Kill(); err != nil {
			t.Fatal(err)
		}
		_ = cmd.Wait()
	}
	mustOpen(t, dir)
	if left, _ := filepath.Glob(dir + ".init-*"); len(left) > 0 {
		t.Errorf("left behind: %v", left)
	}
}

func TestALiveServerOfAnEarlierRunIsTakenOver(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(t.TempDir(), "postgres")
	first := mustOpen(t, dir)
	orphan := first.cluster.pid()
	if _, err := first.Pool().Exec(t.Context(), "SELECT ensure_workspace(gen_random_uuid(), 'kept', gen_random_uuid(), 'Owner')"); err != nil {
		t.Fatal(err)
	}
	// As if its causality had died without a parent-death signal.
	if err := syscall.Flock(int(first.cluster.lock.Fd()), syscall.LOCK_UN); err != nil {
		t.Fatal(err)
	}
	second := mustOpen(t, dir)
	if alive(orphan) {
		t.Error("two servers run")
	}
	var n int
	if err := second.Pool().QueryRow(t.Context(), "SELECT count(*) FROM all_workspaces()").Scan(&n); err != nil || n != 1 {
		t.Errorf("workspaces = %d, %v", n, err)
	}
}

func TestAStalePidFileThatNamesAStrangerHarmsNobody(t *testing.T) {
	t.Parallel()
	stranger := exec.Command("sleep", "600")
	if err := stranger.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() { _ = stranger.Process.Kill(); _ = stranger.Wait() }()
	// A process that ended and that nobody waited for yet.
	zombie := exec.Command("true")
	if err := zombie.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() { _ = zombie.Wait() }()
	eventually(t, "the process is a zombie", func() bool { return !alive(zombie.Process.Pid) })

	// In a private directory the server runs as our own user, in a namespace when
	// that is root: there a stranger of ours looks to it like one of its kind.
	for name, parent := range map[string]string{"reachable": reachable(t), "private": t.TempDir()} {
		dir := filepath.Join(parent, "postgres")
		shut(t, mustOpen(t, dir))
		info, err := os.Stat(dir)
		if err != nil {
			t.Fatal(err)
		}
		owner := info.Sys().(*syscall.Stat_t)
		for _, pid := range []int{stranger.Process.Pid, zombie.Process.Pid} {
			for file, text := range map[string]string{
				"postmaster.pid":     fmt.Sprintf("%d\n%s\n1\n5432\n%s\n\n  1 1\nready\n", pid, dir, dir),
				".s.PGSQL.5432.lock": fmt.Sprintf("%d\n%s\n1\n5432\n%s\n", pid, dir, dir),
			} {
				path := filepath.Join(dir, file)
				if err := errors.Join(os.WriteFile(path, []byte(text), 0o600), os.Chown(path, int(owner.Uid), int(owner.Gid))); err != nil {
					t.Fatal(err)
				}
			}
			server, err := openIn(t, dir)
			if err != nil {
				t.Fatalf("%s: %v", name, err)
			}
			shut(t, server)
		}
	}
	if !alive(stranger.Process.Pid) {
		t.Error("a stranger's process was ended")
	}
}

func TestAFailedStartSaysWhyAndLeavesNothingRunning(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(reachable(t), "postgres")
	_, err := Open(t.Context(), Config{Dir: dir, Settings: map[string]string{"shared_buffers": "nonsense"}, Logger: quietly()})
	if err == nil || !strings.Contains(err.Error(), "shared_buffers") || !strings.Contains(err.Error(), dir+".log") {
		t.Errorf("err = %v, want the server's reason and its log", err)
	}
	if _, err := Open(t.Context(), Config{Dir: dir, BinDir: t.TempDir(), Logger: quietly()}); err == nil || !strings.Contains(err.Error(), "no usable PostgreSQL in") {
		t.Errorf("wrong directory of programs: %v", err)
	}
	if _, err := Open(t.Context(), Config{URL: "postgres://nobody@127.0.0.1:1/none", ConnectTimeout: 300 * time.Millisecond, Logger: quietly()}); err == nil || !strings.Contains(err.Error(), "cannot be reached") {
		t.Errorf("nobody listens: %v", err)
	}
	mustOpen(t, dir) // nothing holds it
}

func TestTheServersLogIsBounded(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "log")
	log, err := openServerLog(path)
	if err != nil {
		t.Fatal(err)
	}
	out, in, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	log.follow(out)
	line := strings.Repeat("x", 100_000)
	for range 3 * maxLog / len(line) {
		if _, err := fmt.Fprintln(in, line); err != nil {
			t.Fatal(err)
		}
	}
	fmt.Fprintln(in, "2026-01-01 FATAL:  data directory has wrong ownership\n2026-01-01 HINT:  Mend it.")
	_ = in.Close()
	log.close()
	var total int64
	files, _ := filepath.Glob(path + "*")
	for _, file := range files {
		info, err := os.Stat(file)
		if err != nil {
			t.Fatal(err)
		}
		total += info.Size()
	}
	if total > 2*maxLog+maxLogLine || total < maxLog {
		t.Errorf("the log takes %d bytes in %d files", total, len(files))
	}
	if got, want := log.complaint(), "data directory has wrong ownership. Mend it."; got != want {
		t.Errorf("complaint = %q, want %q", got, want)
	}
}

func TestAFullDiskIsNamedWhateverTheServerSaysAfterIt(t *testing.T) {
	t.Parallel()
	out := "FATAL:  could not extend file: No space left on device\nPANIC:  cannot abort transaction 1, it was already committed\n"
	if got := lastComplaint([]byte(out)); !strings.Contains(got, "the disk is full") {
		t.Errorf("complaint = %q", got)
	}
}

func TestOutagesAreToldFromDefects(t *testing.T) {
	t.Parallel()
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	coded := func(code string) error { return fmt.Errorf("write: %w", &pgconn.PgError{Code: code}) }
	tests := map[string]struct {
		ctx  context.Context
		err  error
		want fault.Kind
	}{
		"shutting down":      {t.Context(), coded("57P01"), fault.Unavailable},
		"starting up":        {t.Context(), coded("57P03"), fault.Unavailable},
		"connection lost":    {t.Context(), coded("08006"), fault.Unavailable},
		"disk full":          {t.Context(), coded("53100"), fault.Unavailable},
		"statement timeout":  {t.Context(), coded("57014"), fault.Unavailable},
		"deadlock":           {t.Context(), coded("40P01"), fault.Unavailable},
		"broken pipe":        {t.Context(), &net.OpError{Op: "write", Err: syscall.EPIPE}, fault.Unavailable},
		"no socket":          {t.Context(), &net.OpError{Op: "dial", Err: syscall.ENOENT}, fault.Unavailable},
		"no slot in time":    {t.Context(), context.DeadlineExceeded, fault.Unavailable},
		"caller went away":   {ended, coded("57014"), fault.Internal},
		"unique violation":   {t.Context(), coded("23505"), fault.Internal},
		"permission":         {t.Context(), coded("42501"), fault.Internal},
		"a fault of a room":  {t.Context(), fault.New(fault.NotFound, "none"), fault.NotFound},
		"a defect elsewhere": {t.Context(), errors.New("index out of range"), fault.Internal},
	}
	for name, tt := range tests {
		if got := Fault(tt.ctx, tt.err); fault.KindOf(got) != tt.want {
			t.Errorf("%s: kind %d, want %d", name, fault.KindOf(got), tt.want)
		}
	}
	if Fault(t.Context(), nil) != nil {
		t.Error("no error became one")
	}
}

func TestASchemaOfANewerVersionIsRefused(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(reachable(t), "postgres")
	server := mustOpen(t, dir)
	conn, err := pgx.ConnectConfig(t.Context(), server.OwnerConfig())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := conn.Exec(t.Context(), "INSERT INTO goose_db_version (version_id, is_applied) VALUES (9999, true)"); err != nil {
		t.Fatal(err)
	}
	_ = conn.Close(t.Context())
	shut(t, server)
	if _, err := openIn(t, dir); err == nil || !strings.Contains(err.Error(), "schema version 9999") {
		t.Errorf("err = %v, want a refusal that names the version", err)
	}
}
