package objstore

import (
	"bufio"
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"iter"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/causality-project/causality/backend/internal/platform/fault"
)

// temporaryPrefix marks files that are being written. A crash leaves them
// behind; NewFiles removes those older than staleAfter.
const (
	temporaryPrefix = ".writing-"
	staleAfter      = time.Hour
)

// Files keeps objects as files below a root directory. Objects are 0644 and
// folders 0755, so that a query engine under another uid can read them and
// never write them.
type Files struct {
	root string

	mu      sync.Mutex // guards usage
	usage   Usage
	usageAt time.Time
}

// NewFiles opens or makes the directory and removes what crashed writers left.
func NewFiles(root string) (*Files, error) {
	root, err := filepath.Abs(root)
	if err != nil {
		return nil, fmt.Errorf("object store: %w", err)
	}
	if err := os.MkdirAll(root, 0o755); err != nil {
		return nil, fmt.Errorf("object store: make %s: %w", root, err)
	}
	f := &Files{root: root}
	if err := f.removeStale(); err != nil {
		return nil, fmt.Errorf("object store: clear %s: %w", root, err)
	}
	return f, nil
}

// Create writes a temporary file beside the final one, syncs it, links it to
// its name, which fails if the name is taken, and syncs the folder.
func (f *Files) Create(ctx context.Context, key string, write func(io.Writer) error) (size int64, err error) {
	defer func() {
		if errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EDQUOT) {
			err = fault.Wrap(err, fault.Unavailable, "The disk is full: an object could not be written under %s. Make room there and try again; nothing is lost.", f.root)
		}
	}()
	path, err := f.path(key)
	if err != nil {
		return 0, err
	}
	if err := ctx.Err(); err != nil {
		return 0, err
	}
	folder := filepath.Dir(path)
	if err := f.makeFolders(folder); err != nil {
		return 0, fmt.Errorf("create object %s: %w", key, err)
	}
	var random [8]byte
	_, _ = rand.Read(random[:])
	temporary := filepath.Join(folder, temporaryPrefix+hex.EncodeToString(random[:]))
	file, err := os.OpenFile(temporary, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o644)
	if err != nil {
		return 0, fmt.Errorf("create object %s: %w", key, err)
	}
	defer func() {
		_ = file.Close()
		_ = os.Remove(temporary)
	}()
	// The umask may have taken bits that readers need.
	if err := file.Chmod(0o644); err != nil {
		return 0, fmt.Errorf("create object %s: %w", key, err)
	}
	buffered := bufio.NewWriterSize(file, 256<<10)
	if err := write(buffered); err != nil {
		return 0, fmt.Errorf("create object %s: %w", key, err)
	}
	if err := buffered.Flush(); err != nil {
		return 0, fmt.Errorf("create object %s: %w", key, err)
	}
	if err := file.Sync(); err != nil {
		return 0, fmt.Errorf("create object %s: sync: %w", key, err)
	}
	info, err := file.Stat()
	if err != nil {
		return 0, fmt.Errorf("create object %s: %w", key, err)
	}
	if err := os.Link(temporary, path); err != nil {
		if errors.Is(err, fs.ErrExist) {
			return 0, fmt.Errorf("create object %s: %w", key, ErrExists)
		}
		return 0, fmt.Errorf("create object %s: %w", key, err)
	}
	if err := os.Remove(temporary); err != nil {
		return 0, fmt.Errorf("create object %s: %w", key, err)
	}
	if err := syncFolder(folder); err != nil {
		return 0, fmt.Errorf("create object %s: %w", key, err)
	}
	return info.Size(), nil
}

func (f *Files) Open(ctx context.Context, key string) (Reader, error) {
	path, err := f.path(key)
	if err != nil {
		return nil, err
	}
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	file, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("open object %s: %w", key, absent(err))
	}
	info, err := file.Stat()
	if err != nil {
		_ = file.Close()
		return nil, fmt.Errorf("open object %s: %w", key, err)
	}
	return &fileReader{File: file, size: info.Size()}, nil
}

type fileReader struct {
	*os.File
	size int64
}

func (r *fileReader) Size() int64 { return r.size }

func (f *Files) List(ctx context.Context, prefix string) iter.Seq2[Object, error] {
	return func(yield func(Object, error) bool) {
		// Walk from the deepest folder that the prefix names whole.
		start := f.root
		if i := strings.LastIndexByte(prefix, '/'); i >= 0 {
			folder, err := f.path(prefix[:i])
			if err != nil {
				yield(Object{}, err)
				return
			}
			start = folder
		}
		err := filepath.WalkDir(start, func(path string, entry fs.DirEntry, err error) error {
			if err != nil {
				if errors.Is(err, fs.ErrNotExist) {
					return nil // removed while we walk
				}
				return err
			}
			if err := ctx.Err(); err != nil {
				return err
			}
			if entry.IsDir() || strings.HasPrefix(entry.Name(), temporaryPrefix) {
				return nil
			}
			relative, err := filepath.Rel(f.root, path)
			if err != nil {
				return err
			}
			key := filepath.ToSlash(relative)
			if !strings.HasPrefix(key, prefix) {
				return nil
			}
			info, err := entry.Info()
			if errors.Is(err, fs.ErrNotExist) {
				return nil
			}
			if err != nil {
				return err
			}
			if !yield(Object{Key: key, Bytes: info.Size(), ModifiedAt: info.ModTime()}, nil) {
				return fs.SkipAll
			}
			return nil
		})
		if err != nil {
			yield(Object{}, fmt.Errorf("list objects: %w", err))
		}
	}
}

// Delete removes the object and the folders that it leaves empty.
func (f *Files) Delete(ctx context.Context, key string) error {
	path, err := f.path(key)
	if err != nil {
		return err
	}
	if err := ctx.Err(); err != nil {
		return err
	}
	if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("delete object %s: %w", key, err)
	}
	for folder := filepath.Dir(path); folder != f.root; folder = filepath.Dir(folder) {
		if os.Remove(folder) != nil { // not empty
			break
		}
	}
	return nil
}

func (f *Files) Local(ctx context.Context, key string) (string, error) {
	path, err := f.path(key)
	if err != nil {
		return "", err
	}
	return path, ctx.Err()
}

// Usage counts the objects, at most once a minute: the walk costs about 2 µs an
// object. Free and total bytes are read anew at every call.
func (f *Files) Usage(ctx context.Context) (Usage, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.usageAt.IsZero() || time.Since(f.usageAt) > time.Minute {
		usage := Usage{Path: f.root}
		for object, err := range f.List(ctx, "") {
			if err != nil {
				return Usage{}, err
			}
			usage.Objects++
			usage.UsedBytes += object.Bytes
		}
		f.usage, f.usageAt = usage, time.Now()
	}
	var stat syscall.Statfs_t
	if err := syscall.Statfs(f.root, &stat); err != nil {
		return Usage{}, fmt.Errorf("object store: %w", err)
	}
	usage := f.usage
	usage.FreeBytes = int64(stat.Bavail) * int64(stat.Bsize)
	usage.TotalBytes = int64(stat.Blocks) * int64(stat.Bsize)
	return usage, nil
}

// path maps a key to its file and refuses keys that could leave the root or
// look like a file in the making.
func (f *Files) path(key string) (string, error) {
	if err := checkKey(key); err != nil {
		return "", err
	}
	if strings.HasPrefix(key[strings.LastIndexByte(key, '/')+1:], temporaryPrefix) {
		return "", fmt.Errorf("object key %q is reserved", key)
	}
	return filepath.Join(f.root, filepath.FromSlash(key)), nil
}

// makeFolders makes what is missing of folder and syncs the parents, so that a
// power loss cannot take a new folder with its objects.
func (f *Files) makeFolders(folder string) error {
	if _, err := os.Stat(folder); err == nil {
		return nil
	}
	if folder != f.root {
		if err := f.makeFolders(filepath.Dir(folder)); err != nil {
			return err
		}
	}
	if err := os.Mkdir(folder, 0o755); err != nil && !errors.Is(err, fs.ErrExist) {
		return err
	}
	if err := os.Chmod(folder, 0o755); err != nil {
		return err
	}
	return syncFolder(filepath.Dir(folder))
}

func (f *Files) removeStale() error {
	return filepath.WalkDir(f.root, func(path string, entry fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if entry.IsDir() || !strings.HasPrefix(entry.Name(), temporaryPrefix) {
			return nil
		}
		info, err := entry.Info()
		if err != nil || time.Since(info.ModTime()) < staleAfter {
			return nil // gone, or another process may still write it
		}
		return os.Remove(path)
	})
}

func syncFolder(folder string) error {
	directory, err := os.Open(folder)
	if err != nil {
		return err
	}
	defer directory.Close()
	if err := directory.Sync(); err != nil {
		return fmt.Errorf("sync %s: %w", folder, err)
	}
	return nil
}

func absent(err error) error {
	if errors.Is(err, fs.ErrNotExist) {
		return ErrNotFound
	}
	return err
}
