// Package objstore keeps immutable objects under keys. It owns how they become
// durable and visible, and refuses to know what is in them. An object is seen
// whole or not at all, and is never overwritten.
package objstore

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"iter"
	"strings"
	"time"
)

var (
	// ErrExists is returned by Create for a key that is taken.
	ErrExists = errors.New("object exists already")
	// ErrNotFound is returned by Open and Local for a key that holds nothing.
	ErrNotFound = errors.New("object not found")
)

// Object is one entry of a listing.
type Object struct {
	Key        string
	Bytes      int64
	ModifiedAt time.Time
}

// Usage says how much room objects take and how much is left where they live.
type Usage struct {
	Path       string
	Objects    int64
	UsedBytes  int64
	FreeBytes  int64
	TotalBytes int64
}

// Reader reads one object at any position. It must be closed.
type Reader interface {
	io.ReaderAt
	io.Closer
	Size() int64
}

// Store is where objects live. Implementations are safe for concurrent use.
type Store interface {
	// Create writes a new object and returns its size once it is durable. When
	// write fails, or the process dies, nothing is seen under the key.
	Create(ctx context.Context, key string, write func(io.Writer) error) (int64, error)
	Open(ctx context.Context, key string) (Reader, error)
	// List yields the objects whose keys begin with prefix, in the order of
	// their keys within a folder. It ends after the first error.
	List(ctx context.Context, prefix string) iter.Seq2[Object, error]
	// Delete removes an object. One that is gone already is no error.
	Delete(ctx context.Context, key string) error
	// Local returns the path of a readable local file with the object's
	// contents, for engines that read files themselves.
	Local(ctx context.Context, key string) (string, error)
	Usage(ctx context.Context) (Usage, error)
}

// Range is a part of an object.
type Range struct{ Offset, Length int64 }

// checkKey refuses keys that are not the same text in every store.
func checkKey(key string) error {
	if !fs.ValidPath(key) || key == "." || strings.ContainsAny(key, "\\\x00") {
		return fmt.Errorf("object key %q is not a clean relative path", key)
	}
	return nil
}
