package app

import (
	"bytes"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"
)

const (
	markerName = "causality.json"
	lockName   = "lock"
	// dataFormat grows when an older version could not work with a directory.
	dataFormat = 1
	// longestSocketPath keeps clear of the kernel's 108 bytes, with room for the
	// private directory that the socket is made in.
	longestSocketPath = 85
)

// marker tells our data directory from any other.
type marker struct {
	Format    int       `json:"format"`
	CreatedAt time.Time `json:"createdAt"`
	// Replica names the process that works on this directory among all processes
	// of the installation.
	Replica string `json:"replica,omitempty"`
	// OwnerInvitedAt is when the owner's first sign-in link was printed.
	OwnerInvitedAt time.Time `json:"ownerInvitedAt,omitzero"`
}

// dataDir is a data directory that this process alone uses. The layout:
//
//	causality.json     what this directory is, and its format
//	lock               held while a process serves from here; its text is the pid
//	causality.sock     commands on this machine
//	postgres/ stream/ lake/objects/ cache/
//	lake/cache/        local copies of a bucket's objects
type dataDir struct {
	path   string
	lock   *os.File
	marker marker
}

// openDataDir creates or recognises the directory and locks it. A directory
// that holds anything else is refused and left as it is.
func openDataDir(path string) (*dataDir, error) {
	if err := os.MkdirAll(path, 0o755); err != nil {
		return nil, fmt.Errorf("the data directory %s cannot be made: %w; choose another with --data", path, err)
	}
	found, err := recognise(path)
	if err != nil {
		return nil, err
	}
	lock, err := os.OpenFile(filepath.Join(path, lockName), os.O_RDWR|os.O_CREATE, 0o644)
	if err != nil {
		return nil, fmt.Errorf("the data directory %s cannot be written: %w; give it to this user or choose another with --data", path, err)
	}
	dir := &dataDir{path: path, lock: lock, marker: found}
	if err := syscall.Flock(int(lock.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		defer func() { _ = lock.Close() }()
		if errors.Is(err, syscall.EWOULDBLOCK) {
			return nil, fmt.Errorf("%s is in use by %s; stop it first, or choose another directory with --data", path, holder(path))
		}
		return nil, fmt.Errorf("%s cannot be locked: %w; a data directory must lie on a local file system", path, err)
	}
	if err := dir.settle(); err != nil {
		return nil, errors.Join(err, lock.Close())
	}
	return dir, nil
}

// recognise refuses a directory that is not ours, before anything is written. Of
// an empty one it returns the zero marker.
func recognise(path string) (marker, error) {
	file := filepath.Join(path, markerName)
	content, err := os.ReadFile(file)
	if errors.Is(err, fs.ErrNotExist) {
		entries, err := os.ReadDir(path)
		if err != nil {
			return marker{}, fmt.Errorf("the data directory %s cannot be read: %w", path, err)
		}
		for _, entry := range entries {
			// lost+found is on every fresh mount; a lock alone is a start that was killed.
			if name := entry.Name(); name != lockName && name != markerName+".new" && name != "lost+found" {
				return marker{}, fmt.Errorf("%s holds files but no %s, so it is not a data directory of causality; nothing was touched. Choose an empty or new directory with --data", path, markerName)
			}
		}
		return marker{}, nil
	}
	if err != nil {
		return marker{}, fmt.Errorf("%s cannot be read: %w", file, err)
	}
	var m marker
	if err := json.Unmarshal(content, &m); err != nil || m.Format < 1 {
		return marker{}, fmt.Errorf("%s is damaged; nothing was touched. Restore the file from a backup: {\"format\":%d} is its least content", file, dataFormat)
	}
	if m.Format > dataFormat {
		return marker{}, fmt.Errorf("%s was written by a newer causality (format %d, this one knows %d); nothing was touched. Start the newer version", path, m.Format, dataFormat)
	}
	return m, nil
}

// settle writes who holds the lock, and the marker of a new directory.
func (d *dataDir) settle() error {
	if err := d.lock.Truncate(0); err != nil {
		return fmt.Errorf("write %s: %w", d.lock.Name(), err)
	}
	if _, err := d.lock.WriteAt([]byte(strconv.Itoa(os.Getpid())+"\n"), 0); err != nil {
		return fmt.Errorf("write %s: %w", d.lock.Name(), err)
	}
	if d.marker.Format == 0 {
		d.marker = marker{Format: dataFormat, CreatedAt: time.Now().UTC().Truncate(time.Second)}
	}
	if d.marker.Replica == "" {
		d.marker.Replica = rand.Text()
		return d.writeMarker()
	}
	return nil
}

// ownerInvited remembers that the owner's first link was printed, so that it is
// printed at the first start that got so far, and not again.
func (d *dataDir) ownerInvited() error {
	d.marker.OwnerInvitedAt = time.Now().UTC().Truncate(time.Second)
	return d.writeMarker()
}

// writeMarker writes aside and renames: a crash leaves the old file or the new.
func (d *dataDir) writeMarker() error {
	file := d.join(markerName)
	content, err := json.Marshal(d.marker)
	if err != nil {
		return fmt.Errorf("write %s: %w", file, err)
	}
	if err := os.WriteFile(file+".new", append(content, '\n'), 0o644); err != nil {
		return fmt.Errorf("write %s: %w", file, err)
	}
	if err := os.Rename(file+".new", file); err != nil {
		return fmt.Errorf("write %s: %w", file, err)
	}
	return nil
}

func (d *dataDir) join(name string) string { return filepath.Join(d.path, name) }

func (d *dataDir) Close() error { return d.lock.Close() } // which unlocks

// holder names the process that holds the lock, as far as the lock file tells.
func holder(path string) string {
	content, err := os.ReadFile(filepath.Join(path, lockName))
	pid := strings.TrimSpace(string(bytes.TrimSpace(content)))
	if err != nil || pid == "" {
		return "another causality"
	}
	return "another causality (process " + pid + ")"
}

// Locked reports who serves from a data directory now; "" is nobody.
func Locked(path string) string {
	lock, err := os.Open(filepath.Join(path, lockName))
	if err != nil {
		return ""
	}
	defer func() { _ = lock.Close() }()
	if err := syscall.Flock(int(lock.Fd()), syscall.LOCK_SH|syscall.LOCK_NB); errors.Is(err, syscall.EWOULDBLOCK) {
		return holder(path)
	}
	return ""
}

// SocketPath is where the commands of this machine find the server of a data
// directory: inside it, or, where that path is too long for a socket, in a
// private directory under the system's temporary one.
func SocketPath(data string) string {
	inside := filepath.Join(data, "causality.sock")
	if len(inside) <= longestSocketPath {
		return inside
	}
	sum := sha256.Sum256([]byte(data))
	return filepath.Join(os.TempDir(), fmt.Sprintf("causality-%d-%s", os.Getuid(), hex.EncodeToString(sum[:6])), "s")
}

// makeSocketDir makes the private directory of a moved socket, and refuses one
// that somebody else prepared.
func makeSocketDir(data, socket string) error {
	dir := filepath.Dir(socket)
	if dir == data {
		return nil
	}
	if err := os.Mkdir(dir, 0o700); err != nil && !errors.Is(err, fs.ErrExist) {
		return fmt.Errorf("make %s for the local socket: %w", dir, err)
	}
	info, err := os.Lstat(dir)
	if err != nil {
		return fmt.Errorf("make %s for the local socket: %w", dir, err)
	}
	stat, ok := info.Sys().(*syscall.Stat_t)
	if !info.IsDir() || info.Mode().Perm() != 0o700 || !ok || int(stat.Uid) != os.Getuid() {
		return fmt.Errorf("%s is not a private directory of this user, so the local socket cannot stand there; remove it, or use a shorter --data path", dir)
	}
	return nil
}
