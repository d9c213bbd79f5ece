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

// dedicatedUID owns the cluster where root finds no user "postgres". It lies
// above the ranges that systems hand out.
const dedicatedUID = 64932

// account is whom the server runs as. PostgreSQL refuses to be root, and to be
// a number without a name. Where the account that has to own the files is
// either, the server runs in a user namespace, in which that account appears as
// an ordinary named one and has no power over the machine.
type account struct {
	change    bool // false: ours
	uid, gid  int  // on the machine: the owner of the files
	namespace bool
	asUID     int // inside the namespace
	asGID     int
}

// attributes start a child as this account; it gets signal when we die.
func (a account) attributes(signal syscall.Signal) *syscall.SysProcAttr {
	attr := &syscall.SysProcAttr{Pdeathsig: signal}
	switch {
	case a.namespace:
		attr.Cloneflags = syscall.CLONE_NEWUSER
		attr.UidMappings = []syscall.SysProcIDMap{{ContainerID: a.asUID, HostID: a.uid, Size: 1}}
		attr.GidMappings = []syscall.SysProcIDMap{{ContainerID: a.asGID, HostID: a.gid, Size: 1}}
		attr.Credential = &syscall.Credential{Uid: uint32(a.asUID), Gid: uint32(a.asGID), NoSetGroups: true}
	case a.change:
		attr.Credential = &syscall.Credential{Uid: uint32(a.uid), Gid: uint32(a.gid)}
	}
	return attr
}

// own gives a file or directory to the account.
func (a account) own(path string) error {
	if !a.change {
		return nil
	}
	return os.Chown(path, a.uid, a.gid)
}

// reaches tries, as the account, to enter dir and run a program of PostgreSQL:
// permissions, mounts and security modules are all asked at once.
func (a account) reaches(ctx context.Context, dir string, bin binaries) error {
	cmd := exec.CommandContext(ctx, filepath.Join(bin.dir, "initdb"), "--version")
	cmd.Dir, cmd.Env, cmd.SysProcAttr = dir, environment(), a.attributes(syscall.SIGKILL)
	_, err := runLocked(cmd)
	return err
}

// chooseAccount finds who can own a new cluster in fresh, and gives it to them.
func chooseAccount(ctx context.Context, fresh string, bin binaries) (account, error) {
	if os.Geteuid() != 0 {
		return ourselves()
	}
	var candidates []account
	if postgres, ok := lookUp("postgres"); ok {
		candidates = append(candidates, account{change: true, uid: postgres.uid, gid: postgres.gid})
	} else if named, ok := lookUp("nobody"); ok {
		candidates = append(candidates, account{change: true, uid: dedicatedUID, gid: dedicatedUID, namespace: true, asUID: named.uid, asGID: named.gid})
	}
	// Where an ordinary user cannot go, such as below a home of root.
	if inside, err := namespaced(os.Geteuid(), os.Getegid()); err == nil {
		candidates = append(candidates, inside)
	}
	var tried []error
	for _, candidate := range candidates {
		if err := candidate.own(fresh); err != nil {
			tried = append(tried, err)
			continue
		}
		err := candidate.reaches(ctx, fresh, bin)
		if err == nil {
			return candidate, nil
		}
		tried = append(tried, err)
	}
	return account{}, unreachable(filepath.Dir(fresh), errors.Join(tried...))
}

// ownerOf finds how to run the server on an existing cluster: as its owner.
func ownerOf(ctx context.Context, dir string, bin binaries) (account, error) {
	info, err := os.Stat(dir)
	if err != nil {
		return account{}, fmt.Errorf("the database directory cannot be read: %w", err)
	}
	owner := info.Sys().(*syscall.Stat_t)
	uid, gid := int(owner.Uid), int(owner.Gid)
	if euid := os.Geteuid(); euid != 0 {
		if uid != euid {
			return account{}, fmt.Errorf("the database in %s belongs to user %d, and causality runs as user %d: start it as that user, or give the directory to this one with chown -R", dir, uid, euid)
		}
		return ourselves()
	}
	run := account{change: true, uid: uid, gid: gid}
	if _, err := user.LookupId(strconv.Itoa(uid)); uid == 0 || err != nil {
		if run, err = namespaced(uid, gid); err != nil {
			return account{}, err
		}
	}
	if err := run.reaches(ctx, dir, bin); err != nil {
		return account{}, unreachable(dir, err)
	}
	return run, nil
}

// ourselves is the account of this process, under a borrowed name when it has
// none, as in a container with a random user.
func ourselves() (account, error) {
	if _, err := user.LookupId(strconv.Itoa(os.Geteuid())); err == nil {
		return account{}, nil
	}
	return namespaced(os.Geteuid(), os.Getegid())
}

func namespaced(uid, gid int) (account, error) {
	for _, name := range []string{"postgres", "nobody"} {
		if named, ok := lookUp(name); ok {
			return account{change: true, uid: uid, gid: gid, namespace: true, asUID: named.uid, asGID: named.gid}, nil
		}
	}
	return account{}, errors.New("PostgreSQL needs a user with a name, and this machine has neither \"postgres\" nor \"nobody\"")
}

type passwd struct{ uid, gid int }

func lookUp(name string) (passwd, bool) {
	found, err := user.Lookup(name)
	if err != nil {
		return passwd{}, false
	}
	uid, err1 := strconv.Atoi(found.Uid)
	gid, err2 := strconv.Atoi(found.Gid)
	return passwd{uid, gid}, err1 == nil && err2 == nil
}

// unreachable names the directory that stands in the way.
func unreachable(dir string, cause error) error {
	blocked := dir
	for parent := dir; ; parent = filepath.Dir(parent) {
		if info, err := os.Stat(parent); err == nil && info.Mode().Perm()&0o001 == 0 && parent != dir {
			blocked = parent
		}
		if parent == filepath.Dir(parent) {
			break
		}
	}
	return fmt.Errorf("PostgreSQL does not run as root, and another user cannot enter %s: choose a directory with --data that every user can reach, run causality as an ordinary user, or use a server of your own with --database-url (%w)", blocked, cause)
}

// servesDir reports whether process pid is a PostgreSQL server that runs in dir.
// The number alone proves nothing: it may have been given to somebody else.
func servesDir(pid int, dir string) bool {
	proc := "/proc/" + strconv.Itoa(pid)
	cwd, err := os.Readlink(proc + "/cwd")
	if err != nil || strings.TrimSuffix(cwd, " (deleted)") != dir {
		return false
	}
	name, err := os.ReadFile(proc + "/comm")
	return err == nil && strings.HasPrefix(string(name), "postgres")
}
