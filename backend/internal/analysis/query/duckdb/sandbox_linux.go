package duckdb

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"

	"github.com/landlock-lsm/go-landlock/landlock"
	"golang.org/x/sys/unix"
)

// The parent tells the child its bounds through these variables.
const (
	envData  = "CAUSALITY_DUCKDB_DATA_BYTES"
	envRead  = "CAUSALITY_DUCKDB_READ"
	envWrite = "CAUSALITY_DUCKDB_WRITE"
)

// selfExecutable is this binary by a name that no directory's permissions hide.
const selfExecutable = "/proc/self/exe"

// takeStdout keeps stdout for frames and points descriptor 1 at stderr, because
// DuckDB prints profiles to it.
func takeStdout(stdout *os.File) (*os.File, error) {
	fd, err := unix.FcntlInt(stdout.Fd(), unix.F_DUPFD_CLOEXEC, 3)
	if err != nil {
		return nil, fmt.Errorf("duplicate stdout: %w", err)
	}
	if err := unix.Dup3(2, int(stdout.Fd()), 0); err != nil {
		return nil, fmt.Errorf("redirect stdout: %w", err)
	}
	return os.NewFile(uintptr(fd), "frames"), nil
}

// confine bounds the child itself. Memory beyond the limit fails an allocation
// here; if the machine runs out, the kernel takes this process first.
func confine() error {
	_ = os.WriteFile("/proc/self/oom_score_adj", []byte("1000"), 0) // best effort
	if err := unix.Prctl(unix.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0); err != nil {
		return fmt.Errorf("no new privileges: %w", err)
	}
	if err := unix.Setrlimit(unix.RLIMIT_CORE, &unix.Rlimit{}); err != nil {
		return fmt.Errorf("limit core files: %w", err)
	}
	if n, err := strconv.ParseUint(os.Getenv(envData), 10, 64); err == nil && n > 0 {
		if err := unix.Setrlimit(unix.RLIMIT_DATA, &unix.Rlimit{Cur: n, Max: n}); err != nil {
			return fmt.Errorf("limit memory: %w", err)
		}
	}
	var rules []landlock.Rule
	for _, dir := range filepath.SplitList(os.Getenv(envRead)) {
		rules = append(rules, landlock.RODirs(dir).IgnoreIfMissing())
	}
	for _, dir := range filepath.SplitList(os.Getenv(envWrite)) {
		rules = append(rules, landlock.RWDirs(dir).IgnoreIfMissing())
	}
	if os.Getenv(envRead) != "" {
		rules = append(rules, landlock.RODirs("/proc/self", "/sys/fs/cgroup").IgnoreIfMissing(), landlock.ROFiles("/proc/meminfo", "/proc/cpuinfo").IgnoreIfMissing())
		if err := landlock.V5.BestEffort().Restrict(rules...); err != nil {
			return fmt.Errorf("landlock: %w", err)
		}
	}
	return nil
}

// isolate prepares the command: it dies with the thread that starts it, and runs
// as an unprivileged user when this process is root.
func isolate(cmd *exec.Cmd, uid, gid int) {
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL, Setpgid: true}
	if os.Geteuid() == 0 {
		cmd.SysProcAttr.Credential = &syscall.Credential{Uid: uint32(uid), Gid: uint32(gid)}
	}
}

// lend hands the command an open descriptor of each directory that its user
// could not reach by path, such as one in root's home, and returns the paths by
// which it knows them. The descriptors give no right to write.
func lend(cmd *exec.Cmd, dirs []string) (paths map[string]string, opened []*os.File, err error) {
	paths = map[string]string{}
	for _, dir := range dirs {
		if os.Geteuid() != 0 || othersMayEnter(filepath.Dir(dir)) {
			continue
		}
		f, err := os.OpenFile(dir, unix.O_PATH|unix.O_DIRECTORY, 0)
		if err != nil {
			for _, other := range opened {
				_ = other.Close()
			}
			return nil, nil, fmt.Errorf("open %s for the query engine: %w", dir, err)
		}
		paths[dir] = "/proc/self/fd/" + strconv.Itoa(3+len(cmd.ExtraFiles))
		cmd.ExtraFiles = append(cmd.ExtraFiles, f)
		opened = append(opened, f)
	}
	return paths, opened, nil
}

func othersMayEnter(dir string) bool {
	for {
		info, err := os.Stat(dir)
		if err == nil && info.Mode().Perm()&1 == 0 {
			return false
		}
		parent := filepath.Dir(dir)
		if parent == dir {
			return true
		}
		dir = parent
	}
}

// memoryOf is what a process holds in memory now, and what it has mapped to write
// to, which its limit counts; 0 when not known.
func memoryOf(pid int) (resident, data int64) {
	text, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/statm")
	if err != nil {
		return 0, 0
	}
	fields := strings.Fields(string(text))
	if len(fields) < 6 {
		return 0, 0
	}
	page := int64(os.Getpagesize())
	resident, _ = strconv.ParseInt(fields[1], 10, 64)
	data, _ = strconv.ParseInt(fields[5], 10, 64)
	return resident * page, data * page
}

// machineMemory is the memory of the machine, or of the control group that
// bounds this process.
func machineMemory() int64 {
	total := int64(2 << 30)
	var info unix.Sysinfo_t
	if unix.Sysinfo(&info) == nil {
		total = int64(info.Totalram) * int64(info.Unit)
	}
	for _, file := range []string{"/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes"} {
		if data, err := os.ReadFile(file); err == nil {
			if n, err := strconv.ParseInt(strings.TrimSpace(string(data)), 10, 64); err == nil && n > 0 && n < total {
				total = n
			}
		}
	}
	return total
}
