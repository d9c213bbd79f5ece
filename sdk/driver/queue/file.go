package queue

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io/fs"
	"os"
	"path/filepath"
	"runtime/debug"
	"syscall"
	"time"

	"github.com/causality-project/causality/sdk/core"
	bolt "go.etcd.io/bbolt"
	bolterrors "go.etcd.io/bbolt/errors"
)

const (
	lockWait  = time.Second // for a process that is just ending
	closeWait = 2 * time.Second
	keyLength = 8 + 8 + 4 + 4 + 4

	// An empty file is made small when it is opened above the first size, and, so
	// that a busy queue does not do so all the time, in use above the second.
	compactOpened = 1 << 20
	compactInUse  = 8 << 20
)

var (
	blocksBucket = []byte("blocks")
	metaBucket   = []byte("meta")
	stateKey     = []byte("state")
	formatKey    = []byte("format")
	format       = []byte("1")
	checksums    = crc32.MakeTable(crc32.Castagnoli)
)

// File is a queue in a bbolt file, which one process at a time can open. A commit
// is synced to the disk when it returns. It is not safe for concurrent use.
//
// A block's key carries its description and checksum (sequence, time, events,
// bytes, CRC-32C, big-endian), so that opening reads no event.
//
// bbolt panics on some damaged files, and a truncated one faults; each call turns
// both into ErrDamaged.
type File struct {
	path string
	db   *bolt.DB
	last os.FileInfo // what path named when it was opened, as far as that came
}

// Open opens or creates the file at path, and its folder. A damaged file is moved
// aside and a fresh one begun; a file of a newer format is refused.
func Open(path string) (*File, Contents, error) {
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return nil, Contents{}, fmt.Errorf("open queue: %w", err)
	}
	if info, err := os.Stat(path); err == nil && !info.Mode().IsRegular() {
		return nil, Contents{}, fmt.Errorf("open queue: %s is a folder or a device, not a file", path)
	}
	f := &File{path: path}
	contents, err := f.load()
	if errors.Is(err, ErrDamaged) {
		aside, failure := f.Reset()
		switch {
		case failure == nil:
			return f, Contents{SetAside: aside, Damage: err}, nil
		case !errors.Is(failure, ErrLocked):
			return nil, Contents{}, errors.Join(err, failure)
		}
		contents, err = f.load() // what the other process has begun
	}
	if err != nil {
		return nil, Contents{}, errors.Join(err, f.Close())
	}
	return f, contents, nil
}

func (f *File) load() (Contents, error) {
	if err := f.open(); err != nil {
		return Contents{}, err
	}
	contents, err := f.contents()
	if err != nil || len(contents.Blocks) > 0 {
		return contents, err
	}
	f.shrinkAbove(compactOpened, contents.State)
	return contents, nil
}

func (f *File) open() error {
	return guard("open", func() error {
		var file *os.File
		db, err := bolt.Open(f.path, 0o600, &bolt.Options{
			Timeout:      lockWait,
			FreelistType: bolt.FreelistMapType,
			OpenFile: func(name string, flag int, mode os.FileMode) (*os.File, error) {
				var err error
				if file, err = os.OpenFile(name, flag, mode); err == nil {
					f.last, err = file.Stat()
				}
				return file, err
			},
		})
		switch {
		case errors.Is(err, bolterrors.ErrTimeout):
			return ErrLocked
		case err != nil && fromSystem(err):
			return err // no permission, no space, no such device: the file may be fine
		case err != nil:
			return fmt.Errorf("%w: %w", ErrDamaged, err)
		}
		f.db = db
		// The lock may have been waited for on a file that its owner has meanwhile
		// replaced; what is written there would be lost.
		if f.replaced() {
			return ErrLocked
		}
		mine, err := file.Stat()
		if err != nil {
			return err
		}
		if err := check(file, mine.Size(), db.Info().PageSize); err != nil {
			return err
		}
		err = db.Update(func(tx *bolt.Tx) error {
			meta, err := tx.CreateBucketIfNotExists(metaBucket)
			if err != nil {
				return err
			}
			if found := meta.Get(formatKey); found != nil && !bytes.Equal(found, format) {
				return fmt.Errorf("%w, %q; use that version, or another file", errNewer, found)
			}
			if _, err := tx.CreateBucketIfNotExists(blocksBucket); err != nil {
				return err
			}
			return meta.Put(formatKey, format)
		})
		if err != nil && !errors.Is(err, errNewer) && !fromSystem(err) {
			return fmt.Errorf("%w: %w", ErrDamaged, err)
		}
		syncFolder(f.path)
		return err
	})
}

// replaced reports whether path names another file than the one that was opened.
func (f *File) replaced() bool {
	named, err := os.Stat(f.path)
	return err != nil || f.last == nil || !os.SameFile(f.last, named)
}

// syncFolder makes a file's name as durable as its contents, where the system can.
func syncFolder(path string) {
	if folder, err := os.Open(filepath.Dir(path)); err == nil {
		_ = folder.Sync()
		_ = folder.Close()
	}
}

var errNewer = errors.New("its format is of a newer version")

func fromSystem(err error) bool {
	var path *fs.PathError
	var call *os.SyscallError
	var number syscall.Errno
	return errors.As(err, &path) || errors.As(err, &call) || errors.As(err, &number)
}

func (f *File) contents() (Contents, error) {
	var out Contents
	err := f.view("load", func(tx *bolt.Tx) error {
		out.State = bytes.Clone(tx.Bucket(metaBucket).Get(stateKey))
		c := tx.Bucket(blocksBucket).Cursor()
		last := uint64(0)
		for k, v := c.First(); k != nil; k, v = c.Next() {
			info, ok := parseKey(k)
			if !ok || info.Seq <= last || info.Bytes != len(v) {
				return ErrDamaged // an order that ends, even if pages form a circle
			}
			last = info.Seq
			out.Blocks = append(out.Blocks, info)
		}
		return nil
	})
	return out, err
}

// shrinkAbove replaces an empty file of more than a size, since bbolt would never
// make it smaller. When that fails, as on Windows, which renames no open file, it
// stays as it is. Both locks are held over the change: a process that came between
// would store its blocks in a file without a name, or number them as this one does.
func (f *File) shrinkAbove(size int64, state []byte) {
	if info, err := os.Stat(f.path); err != nil || info.Size() <= size {
		return
	}
	small := &File{path: f.path + ".new"}
	_ = os.Remove(small.path) // of a process that ended meanwhile
	err := small.open()
	if err == nil {
		err = small.Commit(core.Change{State: state})
	}
	if err == nil {
		err = os.Rename(small.path, f.path)
	}
	if err != nil {
		_ = small.Close()
		_ = os.Remove(small.path)
		return
	}
	f.db, f.last, small.db = small.db, small.last, f.db
	syncFolder(f.path)
	_ = small.Close()
}

// Commit makes the change as a whole, on disk, or returns an error and changes
// nothing. A full disk is such an error.
func (f *File) Commit(change core.Change) error {
	empty := false
	err := f.update("commit", func(tx *bolt.Tx) error {
		blocks := tx.Bucket(blocksBucket)
		blocks.FillPercent = 0.95 // keys only grow
		for _, r := range change.Delete {
			if err := deleteRange(blocks, r); err != nil {
				return err
			}
		}
		for _, b := range change.Append {
			if err := blocks.Put(key(b), b.Data); err != nil {
				return err
			}
		}
		if len(change.Delete) > 0 {
			first, _ := blocks.Cursor().First()
			empty = first == nil
		}
		return tx.Bucket(metaBucket).Put(stateKey, change.State)
	})
	if err == nil && empty {
		f.shrinkAbove(compactInUse, change.State)
	}
	return err
}

func deleteRange(blocks *bolt.Bucket, r core.Range) error {
	var doomed [][]byte // a cursor may skip keys that follow a deleted one
	c := blocks.Cursor()
	for k, _ := c.Seek(binary.BigEndian.AppendUint64(nil, r.First)); k != nil; k, _ = c.Next() {
		if info, ok := parseKey(k); !ok || info.Seq > r.Last {
			break
		}
		doomed = append(doomed, k)
	}
	for _, k := range doomed {
		if err := blocks.Delete(bytes.Clone(k)); err != nil {
			return err
		}
	}
	return nil
}

// Read gives the frames of the blocks from first to last, in order, and names
// those that the disk has changed.
func (f *File) Read(first, last uint64) (data [][]byte, lost []uint64, err error) {
	err = f.view("read", func(tx *bolt.Tx) error {
		c := tx.Bucket(blocksBucket).Cursor()
		for k, v := c.Seek(binary.BigEndian.AppendUint64(nil, first)); k != nil; k, v = c.Next() {
			info, ok := parseKey(k)
			if !ok {
				return ErrDamaged
			}
			if info.Seq > last {
				break
			}
			if len(v) != info.Bytes || crc32.Checksum(v, checksums) != binary.BigEndian.Uint32(k[24:]) {
				lost = append(lost, info.Seq)
				continue
			}
			data = append(data, bytes.Clone(v))
		}
		return nil
	})
	return data, lost, err
}

// Reset moves the file aside, to a name that it returns, and begins a fresh one.
// A file that was set aside before is replaced, so that damage cannot fill a disk.
//
// Another process may find the same damage. Once it has begun a fresh file, and
// perhaps stored something there, that stays, and the error is ErrLocked.
func (f *File) Reset() (setAside string, err error) {
	if f.replaced() {
		return "", errors.Join(ErrLocked, f.Close())
	}
	setAside = f.path + ".damaged"
	renamed := f.db != nil && os.Rename(f.path, setAside) == nil // while the lock is held, where the system can
	closing := f.Close()
	if !renamed {
		err = os.Rename(f.path, setAside)
	}
	if err != nil {
		return "", errors.Join(fmt.Errorf("set the damaged queue aside: %w", err), closing)
	}
	if err := f.open(); err != nil {
		return "", errors.Join(err, f.Close())
	}
	if began, err := f.contents(); err != nil || len(began.Blocks) > 0 || began.State != nil {
		return "", errors.Join(ErrLocked, err, f.Close())
	}
	return setAside, nil
}

// Close releases the file. It may be called again.
func (f *File) Close() error {
	db := f.db
	if db == nil {
		return nil
	}
	f.db = nil
	done := make(chan error, 1)
	go func() { done <- guard("close", db.Close) }()
	select {
	case err := <-done:
		return err
	case <-time.After(closeWait): // a panic inside bbolt has left its locks held
		return fmt.Errorf("close queue: still busy after %s", closeWait)
	}
}

func (f *File) view(operation string, read func(*bolt.Tx) error) error {
	return f.guarded(operation, func(db *bolt.DB) error { return db.View(read) })
}

func (f *File) update(operation string, write func(*bolt.Tx) error) error {
	return f.guarded(operation, func(db *bolt.DB) error { return db.Update(write) })
}

func (f *File) guarded(operation string, do func(*bolt.DB) error) error {
	if f.db == nil {
		return fmt.Errorf("%s queue: the file is closed", operation)
	}
	return guard(operation, func() error { return do(f.db) })
}

func guard(operation string, do func() error) (err error) {
	defer debug.SetPanicOnFault(debug.SetPanicOnFault(true))
	defer func() {
		if cause := recover(); cause != nil {
			err = fmt.Errorf("%s queue: %w: %v", operation, ErrDamaged, cause)
		}
	}()
	if err := do(); err != nil {
		return fmt.Errorf("%s queue: %w", operation, err)
	}
	return nil
}

func key(b core.Block) []byte {
	k := make([]byte, 0, keyLength)
	k = binary.BigEndian.AppendUint64(k, b.Seq)
	k = binary.BigEndian.AppendUint64(k, uint64(b.At))
	k = binary.BigEndian.AppendUint32(k, uint32(b.Events))
	k = binary.BigEndian.AppendUint32(k, uint32(len(b.Data)))
	return binary.BigEndian.AppendUint32(k, crc32.Checksum(b.Data, checksums))
}

func parseKey(k []byte) (core.BlockInfo, bool) {
	if len(k) != keyLength {
		return core.BlockInfo{}, false
	}
	return core.BlockInfo{
		Seq:    binary.BigEndian.Uint64(k),
		At:     core.Micros(binary.BigEndian.Uint64(k[8:])),
		Events: int(binary.BigEndian.Uint32(k[16:])),
		Bytes:  int(binary.BigEndian.Uint32(k[20:])),
	}, true
}
