//go:build !linux

package duckdb

import (
	"fmt"
	"os"
	"os/exec"
	"syscall"
)

const (
	envData  = "CAUSALITY_DUCKDB_DATA_BYTES"
	envRead  = "CAUSALITY_DUCKDB_READ"
	envWrite = "CAUSALITY_DUCKDB_WRITE"
)

var selfExecutable, _ = os.Executable()

func takeStdout(stdout *os.File) (*os.File, error) {
	fd, err := syscall.Dup(int(stdout.Fd()))
	if err != nil {
		return nil, fmt.Errorf("duplicate stdout: %w", err)
	}
	syscall.CloseOnExec(fd)
	if err := syscall.Dup2(2, int(stdout.Fd())); err != nil {
		return nil, fmt.Errorf("redirect stdout: %w", err)
	}
	return os.NewFile(uintptr(fd), "frames"), nil
}

// confine relies on DuckDB's own limits where there is no Linux kernel to help.
func confine() error { return nil }

func isolate(cmd *exec.Cmd, uid, gid int) {
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if os.Geteuid() == 0 {
		cmd.SysProcAttr.Credential = &syscall.Credential{Uid: uint32(uid), Gid: uint32(gid)}
	}
}

// lend relies on permissions: the directories must be open to the child's user.
func lend(*exec.Cmd, []string) (map[string]string, []*os.File, error) { return nil, nil, nil }

func memoryOf(int) (resident, data int64) { return 0, 0 }

func machineMemory() int64 { return 8 << 30 }
