package postgres

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
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

	"github.com/causality-project/causality/backend/internal/platform/failpoint"
	"github.com/jackc/pgx/v5"
)

const (
	superuser = "causality" // of the cluster, and owner of the schema
	dbname    = "causality"
	port      = "5432" // part of the socket's name; nothing listens on TCP

	// A socket's path may have 107 bytes; some systems allow only 103.
	longestSocketPath = 100
	socketDirPrefix   = "causality-pg-"
)

// settings fit a small database that is busy with short transactions beside a
// platform on the same machine; each process it does not start saves memory.
// Nothing here trades durability.
var settings = []string{
	"listen_addresses=",
	"port=" + port,
	"synchronous_commit=on",
	"shared_buffers=32MB",
	"max_connections=40",
	"huge_pages=off",
	"max_wal_size=256MB",
	"min_wal_size=32MB",
	"max_worker_processes=2",
	"max_parallel_workers=2",
	"max_logical_replication_workers=0",
	"autovacuum_max_workers=2",
	"jit=off",
	"logging_collector=off",
	"log_destination=stderr",
	"log_checkpoints=off",
	"timezone=UTC",
	"log_timezone=UTC",
}

// cluster is a data directory and the server that we run on it.
type cluster struct {
	cfg       Config
	dir       string
	bin       binaries
	as        account
	lock      *os.File
	log       *serverLog
	socketDir string
	moved     bool // socketDir is a temporary one of ours

	mu        sync.Mutex
	child     *child // nil while none runs
	restarted time.Time
	closed    bool
}

// openCluster creates the cluster if there is none, and starts its server.
func openCluster(ctx context.Context, cfg Config) (_ *cluster, err error) {
	dir, err := filepath.Abs(cfg.Dir)
	if err != nil {
		return nil, fmt.Errorf("database directory %s: %w", cfg.Dir, err)
	}
	if err := os.MkdirAll(filepath.Dir(dir), 0o755); err != nil {
		return nil, fmt.Errorf("the data directory cannot be made: %w", err)
	}
	// Where links lead, so that a process's working directory can be compared.
	if parent, err := filepath.EvalSymlinks(filepath.Dir(dir)); err == nil {
		dir = filepath.Join(parent, filepath.Base(dir))
	}
	c := &cluster{cfg: cfg, dir: dir}
	defer func() {
		if err != nil {
			stop, cancel := context.WithTimeout(context.WithoutCancel(ctx), 30*time.Second)
			defer cancel()
			err = errors.Join(err, c.close(stop))
		}
	}()
	if c.lock, err = lockFile(dir + ".lock"); err != nil {
		return nil, err
	}
	if c.log, err = openServerLog(dir + ".log"); err != nil {
		return nil, fmt.Errorf("the database's log cannot be written: %w", err)
	}
	major, err := inspectDir(dir)
	if err != nil {
		return nil, err
	}
	c.bin, err = findBinaries(ctx, cfg.BinDir, major)
	var wrong *wrongMajorError
	if errors.As(err, &wrong) {
		return nil, fmt.Errorf("the database in %s was written by another PostgreSQL and is left as it is: %w; install PostgreSQL %d beside it, or move the database over with pg_upgrade or pg_dump", dir, err, major)
	}
	if err != nil {
		return nil, err
	}
	if major == 0 {
		err = c.create(ctx)
	} else {
		c.as, err = ownerOf(ctx, dir, c.bin)
	}
	if err != nil {
		return nil, err
	}
	if err := c.chooseSocketDir(); err != nil {
		return nil, err
	}
	if err := c.start(ctx); err != nil {
		return nil, err
	}
	return c, nil
}

// lockFile keeps a second causality away from the directory for as long as this
// process lives, however it ends.
func lockFile(path string) (*os.File, error) {
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o644)
	if errors.Is(err, fs.ErrPermission) {
		return nil, fmt.Errorf("user %d may not write in the data directory %s: start causality as the directory's owner, or choose another one with --data (%w)", os.Geteuid(), filepath.Dir(path), err)
	}
	if err != nil {
		return nil, fmt.Errorf("the data directory cannot be locked: %w", err)
	}
	for end := time.Now().Add(5 * time.Second); ; time.Sleep(10 * time.Millisecond) {
		err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB)
		if err == nil {
			break
		}
		if !errors.Is(err, syscall.EWOULDBLOCK) {
			return nil, errors.Join(fmt.Errorf("the data directory cannot be locked: %s: %w", path, err), f.Close())
		}
		text, _ := os.ReadFile(path)
		holder, _ := strconv.Atoi(strings.TrimSpace(string(text)))
		// A process that was killed while it started a child leaves the lock to
		// that child for the moment until the child becomes another program.
		if holder > 0 && errors.Is(syscall.Kill(holder, 0), syscall.ESRCH) && time.Now().Before(end) {
			continue
		}
		_ = f.Close()
		return nil, fmt.Errorf("another causality (process %d) uses the data directory %s: stop it, or choose another directory with --data", holder, filepath.Dir(path))
	}
	if err := f.Truncate(0); err == nil {
		_, _ = f.WriteAt([]byte(strconv.Itoa(os.Getpid())+"\n"), 0)
	}
	return f, nil
}

// inspectDir tells an existing cluster's major version, 0 for nothing there yet,
// and refuses what it does not recognise.
func inspectDir(dir string) (major int, err error) {
	entries, err := os.ReadDir(dir)
	if errors.Is(err, fs.ErrNotExist) || err == nil && len(entries) == 0 {
		return 0, nil
	}
	if err != nil {
		return 0, fmt.Errorf("the database directory cannot be read: %w", err)
	}
	text, err := os.ReadFile(filepath.Join(dir, "PG_VERSION"))
	if errors.Is(err, fs.ErrNotExist) {
		return 0, fmt.Errorf("%s holds files and is no PostgreSQL database; it is left as it is: move it away, or choose another directory with --data", dir)
	}
	if err != nil {
		return 0, fmt.Errorf("the database directory cannot be read: %w", err)
	}
	major, err = strconv.Atoi(strings.TrimSpace(string(text)))
	if err != nil || major < 1 {
		return 0, fmt.Errorf("%s says that it was written by PostgreSQL %q, which causality does not know; it is left as it is: choose another directory with --data", dir, strings.TrimSpace(string(text)))
	}
	return major, nil
}

// create runs initdb under a name of its own and renames the result, so that a
// kill half-way leaves nothing that looks like a database.
func (c *cluster) create(ctx context.Context) error {
	leftovers, _ := filepath.Glob(globQuote(c.dir) + ".init-*")
	for _, leftover := range leftovers {
		// A child of the killed initdb may write for a moment still.
		err := os.RemoveAll(leftover)
		for end := time.Now().Add(5 * time.Second); err != nil && time.Now().Before(end); err = os.RemoveAll(leftover) {
			select {
			case <-ctx.Done():
				return ctx.Err()
			case <-time.After(50 * time.Millisecond):
			}
		}
		if err != nil {
			return fmt.Errorf("what an interrupted first start left cannot be removed: %w", err)
		}
	}
	began := time.Now()
	fresh, err := os.MkdirTemp(filepath.Dir(c.dir), filepath.Base(c.dir)+".init-*")
	if err != nil {
		return fmt.Errorf("the database directory cannot be made: %w", err)
	}
	defer os.RemoveAll(fresh) // gone by its name when all went well
	if c.as, err = chooseAccount(ctx, fresh, c.bin); err != nil {
		return err
	}
	args := []string{"-D", fresh, "-U", superuser, "-A", "trust", "-E", "UTF8", "--no-locale"}
	if slices.Contains([]string{"off", "false", "no", "0"}, c.cfg.Settings["fsync"]) {
		args = append(args, "--no-sync")
	}
	cmd := exec.CommandContext(ctx, filepath.Join(c.bin.dir, "initdb"), args...)
	cmd.Dir, cmd.Env = fresh, environment()
	cmd.SysProcAttr = c.as.attributes(syscall.SIGKILL)
	cmd.WaitDelay = 5 * time.Second
	if out, err := runLocked(cmd); err != nil {
		return fmt.Errorf("PostgreSQL could not create its database in %s (%w): %s", c.dir, err, lastComplaint(out))
	}
	failpoint.Hit("postgres.after-initdb")
	if err := os.Rename(fresh, c.dir); err != nil {
		return fmt.Errorf("the new database cannot be moved into its place: %w", err)
	}
	if err := syncDir(filepath.Dir(c.dir)); err != nil {
		return fmt.Errorf("the new database cannot be made durable: %w", err)
	}
	c.cfg.Logger.InfoContext(ctx, "database created", "dir", c.dir, "postgres", c.bin.version, "seconds", time.Since(began).Seconds())
	return nil
}

// runLocked runs cmd on a thread that lives as long as it does: a parent-death
// signal is sent when the thread that started the child ends.
func runLocked(cmd *exec.Cmd) (out []byte, err error) {
	done := make(chan struct{})
	go func() {
		defer close(done)
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		out, err = cmd.CombinedOutput()
	}()
	<-done
	return out, err
}

func syncDir(dir string) error {
	f, err := os.Open(dir)
	if err != nil {
		return err
	}
	defer f.Close()
	return f.Sync()
}

func globQuote(path string) string {
	return strings.NewReplacer(`\`, `\\`, `*`, `\*`, `?`, `\?`, `[`, `\[`).Replace(path)
}

// environment is the child's: nothing of ours can change what it does.
func environment() []string {
	env := []string{"LC_ALL=C", "TZ=UTC", "PATH=/usr/local/bin:/usr/bin:/bin"}
	for _, name := range []string{"TMPDIR", "LD_LIBRARY_PATH", "DYLD_LIBRARY_PATH"} {
		if value, ok := os.LookupEnv(name); ok {
			env = append(env, name+"="+value)
		}
	}
	return env
}

// stopOrphan ends a server that a killed causality left behind. We hold the
// lock, so nobody uses it. It gets time for a clean shutdown, then is stopped
// at once; its data recovers at the next start either way.
func (c *cluster) stopOrphan(ctx context.Context) error {
	path := filepath.Join(c.dir, "postmaster.pid")
	text, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("the database directory cannot be read: %w", err)
	}
	lines := strings.Split(string(text), "\n")
	// The socket's directory is line 5; one that was moved is ours to remove.
	if len(lines) > 4 && strings.HasPrefix(filepath.Base(lines[4]), socketDirPrefix) && lines[4] != c.socketDir {
		defer os.RemoveAll(lines[4])
	}
	pid, err := strconv.Atoi(strings.TrimSpace(lines[0]))
	if err == nil && pid > 1 && servesDir(pid, c.dir) {
		c.cfg.Logger.WarnContext(ctx, "stopping the database server that an earlier run left", "pid", pid)
		if err := c.stopProcess(ctx, pid); err != nil {
			return err
		}
	}
	// What is left is stale: the number is free, a zombie's that nobody waits for,
	// or was given to somebody else, and PostgreSQL would take the latter two for
	// its own kind and refuse to start. It looks past its parent's number, though,
	// and still makes sure that no process of the old server lives.
	if text, err = os.ReadFile(path); errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	_, rest, _ := strings.Cut(string(text), "\n")
	mine := path + ".causality"
	err = errors.Join(err, os.WriteFile(mine, fmt.Appendf(nil, "%d\n%s", os.Getpid(), rest), 0o600))
	if err == nil {
		err = errors.Join(c.as.own(mine), os.Rename(mine, path))
	}
	// Beside the socket lies another such number, without a use of its own.
	if lock := os.Remove(filepath.Join(c.dir, ".s.PGSQL."+port+".lock")); !errors.Is(lock, fs.ErrNotExist) {
		err = errors.Join(err, lock)
	}
	if err != nil {
		return fmt.Errorf("what a killed database server left cannot be cleared: %w", err)
	}
	return nil
}

func (c *cluster) stopProcess(ctx context.Context, pid int) error {
	for _, step := range []struct {
		signal syscall.Signal
		wait   time.Duration
	}{{syscall.SIGINT, 20 * time.Second}, {syscall.SIGQUIT, 10 * time.Second}, {syscall.SIGKILL, 5 * time.Second}} {
		if err := syscall.Kill(pid, step.signal); errors.Is(err, syscall.ESRCH) {
			return nil
		} else if err != nil {
			return fmt.Errorf("a database server of an earlier run (process %d) uses %s and cannot be stopped: %w", pid, c.dir, err)
		}
		for end := time.Now().Add(step.wait); time.Now().Before(end); {
			if !servesDir(pid, c.dir) {
				return nil
			}
			select {
			case <-ctx.Done():
				return ctx.Err()
			case <-time.After(20 * time.Millisecond):
			}
		}
	}
	return fmt.Errorf("a database server of an earlier run (process %d) uses %s and does not stop: end that process and start again", pid, c.dir)
}

// chooseSocketDir takes the cluster's own directory, which only its owner can
// enter, or a short private one when that path is too long for a socket.
func (c *cluster) chooseSocketDir() error {
	c.socketDir = c.dir
	name := "/.s.PGSQL." + port
	if len(c.dir)+len(name) <= longestSocketPath {
		return nil
	}
	for _, parent := range []string{os.TempDir(), "/tmp"} {
		dir, err := os.MkdirTemp(parent, socketDirPrefix)
		if err != nil {
			continue
		}
		if len(dir)+len(name) > longestSocketPath || c.as.own(dir) != nil {
			_ = os.RemoveAll(dir)
			continue
		}
		c.socketDir, c.moved = dir, true
		return nil
	}
	return fmt.Errorf("the path %s is too long for the database's socket, and no short directory could be made in %s: choose a shorter --data", c.dir, os.TempDir())
}

// connect describes a connection to a database of the cluster.
func (c *cluster) connect(database string, timeout time.Duration) (*pgx.ConnConfig, error) {
	// Every setting is stated, so that PG* variables of the environment are not heard.
	cfg, err := pgx.ParseConfig("sslmode=disable")
	if err != nil {
		return nil, fmt.Errorf("connect: %w", err)
	}
	cfg.Host, cfg.Port, cfg.User, cfg.Password, cfg.Database = c.socketDir, 5432, superuser, "", database
	cfg.TLSConfig, cfg.Fallbacks, cfg.RuntimeParams = nil, nil, map[string]string{"application_name": "causality"}
	cfg.ConnectTimeout = timeout
	return cfg, nil
}

// database makes the platform's database at the first start, and describes it.
func (c *cluster) database(ctx context.Context, timeout time.Duration) (*pgx.ConnConfig, error) {
	cfg, err := c.connect("postgres", timeout)
	if err != nil {
		return nil, err
	}
	conn, err := pgx.ConnectConfig(ctx, cfg)
	if err != nil {
		return nil, fmt.Errorf("the database cannot be reached: %s", reason(err))
	}
	defer conn.Close(context.WithoutCancel(ctx))
	var exists bool
	if err := conn.QueryRow(ctx, "SELECT EXISTS (SELECT FROM pg_database WHERE datname = $1)", dbname).Scan(&exists); err != nil {
		return nil, fmt.Errorf("look for database: %w", err)
	}
	if !exists {
		if _, err := conn.Exec(ctx, "CREATE DATABASE "+dbname); err != nil {
			return nil, fmt.Errorf("create database: %w", err)
		}
	}
	return c.connect(dbname, timeout)
}

// child is one run of the server.
type child struct {
	pid    int
	done   chan struct{} // closed when it has ended
	err    error         // how, once done
	signal func(os.Signal) error
}

// start starts the server and waits until it answers. Processes of a killed
// server may live on for a moment, until they notice; the new one refuses to
// start beside them, and is tried again.
func (c *cluster) start(ctx context.Context) error {
	for end := time.Now().Add(20 * time.Second); ; {
		err := c.startOnce(ctx)
		if err == nil || time.Now().After(end) || !strings.Contains(err.Error(), "shared memory block") {
			return err
		}
		select {
		case <-ctx.Done():
			return err
		case <-time.After(100 * time.Millisecond):
		}
	}
}

func (c *cluster) startOnce(ctx context.Context) error {
	if err := c.stopOrphan(ctx); err != nil {
		return err
	}
	c.mu.Lock()
	if c.closed {
		c.mu.Unlock()
		return errors.New("the database is closed")
	}
	began, err := c.spawn()
	if err == nil {
		c.child = began
	}
	c.mu.Unlock()
	if err != nil {
		return fmt.Errorf("PostgreSQL could not be started (%s): %w", filepath.Join(c.bin.dir, "postgres"), err)
	}
	if err := c.ready(ctx, began); err != nil {
		return err
	}
	c.cfg.Logger.InfoContext(ctx, "database started", "dir", c.dir, "postgres", c.bin.version, "pid", began.pid)
	return nil
}

func (c *cluster) spawn() (*child, error) {
	args := []string{"-D", c.dir, "-k", c.socketDir}
	for _, setting := range settings {
		args = append(args, "-c", setting)
	}
	for name, value := range c.cfg.Settings {
		args = append(args, "-c", name+"="+value)
	}
	cmd := exec.Command(filepath.Join(c.bin.dir, "postgres"), args...)
	cmd.Dir, cmd.Env = c.dir, environment()
	// When we die it shuts down cleanly, and the next start waits for that.
	cmd.SysProcAttr = c.as.attributes(syscall.SIGINT)
	// A group of its own: Ctrl-C in a terminal reaches us alone, and we stop it last.
	cmd.SysProcAttr.Setpgid = true
	output, input, err := os.Pipe()
	if err != nil {
		return nil, err
	}
	cmd.Stdout, cmd.Stderr = input, input

	child := &child{done: make(chan struct{}), signal: func(s os.Signal) error { return cmd.Process.Signal(s) }}
	started := make(chan error)
	go func() {
		defer close(child.done)
		runtime.LockOSThread() // see runLocked
		defer runtime.UnlockOSThread()
		err := cmd.Start()
		_ = input.Close()
		if err == nil {
			child.pid = cmd.Process.Pid
		}
		started <- err
		if err == nil {
			child.err = cmd.Wait()
		}
	}()
	if err := <-started; err != nil {
		_ = output.Close()
		return nil, err
	}
	c.log.follow(output)
	return child, nil
}

// ready polls until the server answers. A server that recovers from a crash
// says so meanwhile, and is given the time.
func (c *cluster) ready(ctx context.Context, child *child) error {
	ctx, cancel := context.WithTimeout(ctx, c.cfg.StartTimeout)
	defer cancel()
	cfg, err := c.connect("postgres", time.Second)
	if err != nil {
		return err
	}
	for {
		conn, err := pgx.ConnectConfig(ctx, cfg)
		if err == nil {
			return conn.Close(ctx)
		}
		select {
		case <-child.done:
			return fmt.Errorf("PostgreSQL did not start on %s: %s (its log is %s)", c.dir, c.log.complaint(), c.log.path)
		case <-ctx.Done():
			return fmt.Errorf("PostgreSQL on %s did not answer within %s: %s (its log is %s)", c.dir, c.cfg.StartTimeout, reason(err), c.log.path)
		case <-time.After(20 * time.Millisecond):
		}
	}
}

// run starts the server again whenever it ends, with a pause that grows to ten
// seconds while it keeps failing.
func (c *cluster) run(ctx context.Context) {
	pause := 50 * time.Millisecond
	for ctx.Err() == nil {
		c.mu.Lock()
		child := c.child
		c.mu.Unlock()
		if child == nil {
			return
		}
		began := time.Now()
		select {
		case <-ctx.Done():
			return
		case <-child.done:
		}
		c.mu.Lock()
		if c.closed {
			c.mu.Unlock()
			return
		}
		c.restarted = time.Now()
		c.mu.Unlock()
		if time.Since(began) > time.Minute {
			pause = 50 * time.Millisecond
		}
		c.cfg.Logger.ErrorContext(ctx, "database server ended; starting it again", "err", child.err, "said", c.log.complaint(), "in", pause.String())
		select {
		case <-ctx.Done():
			return
		case <-time.After(pause):
		}
		pause = min(2*pause, 10*time.Second)
		if err := c.start(ctx); err != nil && ctx.Err() == nil {
			c.cfg.Logger.ErrorContext(ctx, "database server did not start", "err", err)
			c.quit(5 * time.Second) // one that started and never answered
		}
	}
}

// quit ends the running child at once, for another attempt.
func (c *cluster) quit(patience time.Duration) {
	c.mu.Lock()
	child := c.child
	c.mu.Unlock()
	if child == nil {
		return
	}
	for _, signal := range []os.Signal{syscall.SIGQUIT, syscall.SIGKILL} {
		_ = child.signal(signal)
		select {
		case <-child.done:
			return
		case <-time.After(patience):
		}
	}
}

func (c *cluster) pid() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.child == nil {
		return 0
	}
	select {
	case <-c.child.done:
		return 0
	default:
		return c.child.pid
	}
}

func (c *cluster) restartedWithin(d time.Duration) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return !c.restarted.IsZero() && time.Since(c.restarted) < d
}

// close stops the server: a clean shutdown until ctx ends or twenty seconds
// passed, then at once.
func (c *cluster) close(ctx context.Context) error {
	c.mu.Lock()
	c.closed = true
	child := c.child
	c.mu.Unlock()
	var err error
	if child != nil {
		_ = child.signal(syscall.SIGINT)
		select {
		case <-child.done:
		case <-ctx.Done():
			c.quit(3 * time.Second)
		case <-time.After(20 * time.Second):
			c.quit(3 * time.Second)
		}
		select {
		case <-child.done:
		default:
			err = fmt.Errorf("the database server (process %d) did not stop", child.pid)
		}
	}
	if c.moved {
		_ = os.RemoveAll(c.socketDir)
	}
	if c.log != nil {
		c.log.close()
	}
	if c.lock != nil {
		// A child that is being started at this moment holds the file open, too.
		_ = syscall.Flock(int(c.lock.Fd()), syscall.LOCK_UN)
		_ = c.lock.Close()
		c.lock = nil
	}
	return err
}
