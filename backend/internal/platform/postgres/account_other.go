//go:build unix && !linux

package postgres

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
)

// account is whom the server runs as: ourselves, or the user "postgres" when we
// are root, which PostgreSQL refuses to be.
type account struct {
	change   bool
	uid, gid int
}

// attributes start a child as this account. Without a parent-death signal, a
// server that outlives us is stopped by the next start.
func (a account) attributes(syscall.Signal) *syscall.SysProcAttr {
	attr := &syscall.SysProcAttr{}
	if a.change {
		attr.Credential = &syscall.Credential{Uid: uint32(a.uid), Gid: uint32(a.gid)}
	}
	return attr
}

func (a account) own(path string) error {
	if !a.change {
		return nil
	}
	return os.Chown(path, a.uid, a.gid)
}

func (a account) reaches(ctx context.Context, dir string, bin binaries) error {
	cmd := exec.CommandContext(ctx, filepath.Join(bin.dir, "initdb"), "--version")
	cmd.Dir, cmd.Env, cmd.SysProcAttr = dir, environment(), a.attributes(syscall.SIGKILL)
	return cmd.Run()
}

func chooseAccount(ctx context.Context, fresh string, bin binaries) (account, error) {
	if os.Geteuid() != 0 {
		return account{}, nil
	}
	for _, name := range []string{"postgres", "_postgres"} {
		found, err := user.Lookup(name)
		if err != nil {
			continue
		}
		uid, err1 := strconv.Atoi(found.Uid)
		gid, err2 := strconv.Atoi(found.Gid)
		run := account{change: true, uid: uid, gid: gid}
		if err := errors.Join(err1, err2, run.own(fresh), run.reaches(ctx, fresh, bin)); err != nil {
			return account{}, fmt.Errorf("PostgreSQL does not run as root, and user %s cannot enter %s: choose another directory with --data, or run causality as an ordinary user (%w)", name, filepath.Dir(fresh), err)
		}
		return run, nil
	}
	return account{}, errors.New("PostgreSQL does not run as root: run causality as an ordinary user, or use a server of your own with --database-url")
}

func ownerOf(_ context.Context, dir string, _ binaries) (account, error) {
	info, err := os.Stat(dir)
	if err != nil {
		return account{}, fmt.Errorf("the database directory cannot be read: %w", err)
	}
	owner := info.Sys().(*syscall.Stat_t)
	switch euid := os.Geteuid(); {
	case euid == int(owner.Uid) && euid != 0:
		return account{}, nil
	case euid == 0 && owner.Uid != 0:
		return account{change: true, uid: int(owner.Uid), gid: int(owner.Gid)}, nil
	default:
		return account{}, fmt.Errorf("the database in %s belongs to user %d, and causality runs as user %d: start it as the owner, or give the directory to this user with chown -R", dir, owner.Uid, euid)
	}
}

// servesDir asks for the process's command line, which names the directory.
func servesDir(pid int, dir string) bool {
	out, err := exec.Command("ps", "-o", "command=", "-p", strconv.Itoa(pid)).Output()
	return err == nil && strings.Contains(string(out), "postgres") && strings.Contains(string(out), "-D "+dir+" ")
}
