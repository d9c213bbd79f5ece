package queue

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"github.com/causality-project/causality/sdk/core"
	bolt "go.etcd.io/bbolt"
)

type queue interface {
	Commit(core.Change) error
	Read(first, last uint64) (data [][]byte, lost []uint64, err error)
	Reset() (setAside string, err error)
	Close() error
}

// TestQueue is what both queues promise.
func TestQueue(t *testing.T) {
	t.Parallel()
	kinds := map[string]func(*testing.T) queue{
		"memory": func(*testing.T) queue { return &Memory{} },
		"file":   func(t *testing.T) queue { return open(t, filepath.Join(t.TempDir(), "queue")) },
	}
	promises := map[string]func(*testing.T, queue){
		"reads blocks in order": func(t *testing.T, q queue) {
			commit(t, q, core.Change{Append: blocks(1, 2, 3)})
			commit(t, q, core.Change{Append: blocks(4, 5)})
			wantBlocks(t, q, 1, 9, 1, 2, 3, 4, 5)
			wantBlocks(t, q, 2, 4, 2, 3, 4)
		},
		"deletes ranges and appends in one change": func(t *testing.T, q queue) {
			commit(t, q, core.Change{Append: blocks(1, 2, 3, 4, 5, 6)})
			commit(t, q, core.Change{Append: blocks(7), Delete: []core.Range{{First: 1, Last: 2}, {First: 4, Last: 5}}})
			wantBlocks(t, q, 1, 9, 3, 6, 7)
		},
		"forgives deleting what is gone": func(t *testing.T, q queue) {
			commit(t, q, core.Change{Append: blocks(5)})
			commit(t, q, core.Change{Delete: []core.Range{{First: 1, Last: 4}, {First: 6, Last: 9}}})
			wantBlocks(t, q, 1, 9, 5)
		},
		"is empty after a reset and works on": func(t *testing.T, q queue) {
			commit(t, q, core.Change{Append: blocks(1, 2)})
			if _, err := q.Reset(); err != nil {
				t.Fatal(err)
			}
			commit(t, q, core.Change{Append: blocks(3)})
			wantBlocks(t, q, 1, 9, 3)
		},
		"closes twice": func(t *testing.T, q queue) {
			if err := errors.Join(q.Close(), q.Close()); err != nil {
				t.Error(err)
			}
		},
	}
	for kind, begin := range kinds {
		for promise, check := range promises {
			t.Run(kind+" "+promise, func(t *testing.T) {
				t.Parallel()
				q := begin(t)
				t.Cleanup(func() { _ = q.Close() })
				check(t, q)
			})
		}
	}
}

func TestFileKeepsBlocksAndStateAcrossRestarts(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "queue")
	f := open(t, path)
	commit(t, f, core.Change{Append: blocks(7, 8, 9), State: []byte("before")})
	commit(t, f, core.Change{Delete: []core.Range{{First: 7, Last: 7}}, State: []byte("state")})
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
	f, contents, err := Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	want := []core.BlockInfo{{Seq: 8, At: 80, Events: 1, Bytes: len(data(8))}, {Seq: 9, At: 90, Events: 1, Bytes: len(data(9))}}
	if fmt.Sprint(contents.Blocks) != fmt.Sprint(want) || string(contents.State) != "state" || contents.SetAside != "" {
		t.Errorf("contents are %+v, want %+v", contents, want)
	}
	wantBlocks(t, f, 1, 99, 8, 9)
}

func TestFileIsLockedForOthers(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "queue")
	owner := open(t, path)
	defer owner.Close()
	if _, _, err := Open(path); !errors.Is(err, ErrLocked) {
		t.Errorf("Open = %v, want ErrLocked", err)
	}
}

func TestDamageThatAnotherProcessHasSetAsideIsNotSetAsideAgain(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "queue")
	if err := os.WriteFile(path, bytes.Repeat([]byte("garbled "), 4096), 0o600); err != nil {
		t.Fatal(err)
	}
	late := &File{path: path}
	if err := late.open(); !errors.Is(err, ErrDamaged) {
		t.Fatalf("open = %v, want ErrDamaged", err)
	}
	ahead := open(t, path)
	commit(t, ahead, core.Change{Append: blocks(1)})
	if _, err := late.Reset(); !errors.Is(err, ErrLocked) {
		t.Errorf("Reset = %v, want ErrLocked", err)
	}
	if err := ahead.Close(); err != nil {
		t.Fatal(err)
	}
	again := open(t, path)
	defer again.Close()
	wantBlocks(t, again, 1, 99, 1)
}

func TestFileOfANewerFormatIsRefusedAndLeftAlone(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "queue")
	f := open(t, path)
	err := f.db.Update(func(tx *bolt.Tx) error { return tx.Bucket(metaBucket).Put(formatKey, []byte("2")) })
	if err := errors.Join(err, f.Close()); err != nil {
		t.Fatal(err)
	}
	if _, _, err := Open(path); err == nil || errors.Is(err, ErrDamaged) {
		t.Errorf("Open = %v, want a refusal", err)
	}
	if _, err := os.Stat(path + ".damaged"); err == nil {
		t.Error("the file was moved aside")
	}
}

func TestAFileThatWasLargeShrinksOnceItIsEmpty(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "queue")
	f := open(t, path)
	defer f.Close()
	size := func() int64 {
		t.Helper()
		info, err := os.Stat(path)
		if err != nil {
			t.Fatal(err)
		}
		return info.Size()
	}
	for round := uint64(0); round < 3; round++ { // as after three outages
		first := round*100 + 1
		for seq := first; seq < first+10; seq++ {
			commit(t, f, core.Change{Append: []core.Block{{Seq: seq, Events: 1, Data: make([]byte, 2<<20)}}})
		}
		commit(t, f, core.Change{Delete: []core.Range{{First: first, Last: first + 8}}, State: []byte("left")})
		if size() < 16<<20 {
			t.Fatalf("%d bytes while a block is left", size())
		}
		commit(t, f, core.Change{Delete: []core.Range{{First: first + 9, Last: first + 9}}, State: []byte("kept")})
		if size() > 1<<20 {
			t.Errorf("%d bytes once it is empty, want less than 1 MiB", size())
		}
		if _, _, err := Open(path); !errors.Is(err, ErrLocked) {
			t.Fatalf("Open = %v, want ErrLocked for others also then", err)
		}
		commit(t, f, core.Change{Append: blocks(first + 50), State: []byte("kept")})
		wantBlocks(t, f, 1, 999, first+50)
		commit(t, f, core.Change{Delete: []core.Range{{First: 1, Last: first + 50}}, State: []byte("kept")})
	}
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
	again, contents, err := Open(path)
	if err != nil || string(contents.State) != "kept" || len(contents.Blocks) != 0 {
		t.Fatalf("Open = %v with %+v, want no blocks and the state", err, contents)
	}
	defer again.Close()
	if left, err := filepath.Glob(path + ".*"); err != nil || len(left) > 0 {
		t.Errorf("%v are left behind (%v)", left, err)
	}
}

func TestAnEmptyFileThatCannotShrinkStaysInUse(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "queue")
	f := open(t, path)
	large := core.Block{Seq: 1, Events: 1, Data: make([]byte, 12<<20)}
	commit(t, f, core.Change{Append: []core.Block{large}})
	// Something that cannot be replaced by a file stands where the small one would.
	if err := os.MkdirAll(filepath.Join(path+".new", "folder"), 0o700); err != nil {
		t.Fatal(err)
	}
	commit(t, f, core.Change{Delete: []core.Range{{First: 1, Last: 1}}, State: []byte("kept")})
	commit(t, f, core.Change{Append: blocks(2), State: []byte("kept")})
	commit(t, f, core.Change{Delete: []core.Range{{First: 2, Last: 2}}, State: []byte("kept")})
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
	f, contents, err := Open(path)
	if err != nil || string(contents.State) != "kept" || contents.SetAside != "" {
		t.Fatalf("Open = %v with %+v, want the file in use", err, contents)
	}
	defer f.Close()
	commit(t, f, core.Change{Append: blocks(3)})
	wantBlocks(t, f, 1, 9, 3)
}

func TestAnEmptyFileShrinksWhenOpened(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "queue")
	f := open(t, path)
	large := core.Block{Seq: 1, Events: 1, Data: make([]byte, 4<<20)}
	commit(t, f, core.Change{Append: []core.Block{large}})
	commit(t, f, core.Change{Delete: []core.Range{{First: 1, Last: 1}}, State: []byte("kept")})
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
	f, contents, err := Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	info, err := os.Stat(path)
	if err != nil || info.Size() > 1<<20 || string(contents.State) != "kept" {
		t.Errorf("%d bytes (%v) with state %q, want less than 1 MiB and the state kept", info.Size(), err, contents.State)
	}
	commit(t, f, core.Change{Append: blocks(2)})
	wantBlocks(t, f, 1, 9, 2)
}

// TestDamageNeverPanics overwrites or cuts off a file in many places. Opening and
// using it then either works, or names what is lost, or begins anew.
func TestDamageNeverPanics(t *testing.T) {
	t.Parallel()
	folder := t.TempDir()
	path := filepath.Join(folder, "whole")
	f := open(t, path)
	for seq := uint64(1); seq <= 60; seq++ {
		commit(t, f, core.Change{Append: []core.Block{{Seq: seq, At: 1, Events: 1, Data: bytes.Repeat(data(seq), 100)}}})
	}
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
	whole, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	page := os.Getpagesize()
	damaged := 0
	try := func(name string, content []byte) {
		path := filepath.Join(folder, "damaged")
		if err := os.WriteFile(path, content, 0o600); err != nil {
			t.Fatal(err)
		}
		f, contents, err := Open(path)
		if err != nil {
			t.Fatalf("%s: Open = %v, want a fresh start", name, err)
		}
		_, lost, err := f.Read(1, 60)
		if err == nil {
			err = f.Commit(core.Change{Append: blocks(61), Delete: []core.Range{{First: 1, Last: 60}}})
		}
		if err != nil && !errors.Is(err, ErrDamaged) {
			t.Errorf("%s: %v, want ErrDamaged", name, err)
		}
		if err != nil || len(lost) > 0 || contents.SetAside != "" {
			damaged++
		}
		if _, err := f.Reset(); err != nil {
			t.Fatalf("%s: Reset = %v", name, err)
		}
		commit(t, f, core.Change{Append: blocks(1)})
		if err := f.Close(); err != nil {
			t.Errorf("%s: Close = %v", name, err)
		}
		if err := os.Remove(path); err != nil {
			t.Fatal(err)
		}
	}
	for at := 0; at < len(whole); at += page {
		garbage := bytes.Clone(whole)
		for i := range page {
			garbage[at+i] = byte(i * 7)
		}
		try(fmt.Sprintf("garbage at %d", at), garbage)
		zeros := bytes.Clone(whole)
		clear(zeros[at : at+page])
		try(fmt.Sprintf("zeros at %d", at), zeros)
		if at > 0 {
			try(fmt.Sprintf("cut at %d", at), bytes.Clone(whole[:at]))
		}
	}
	none := bytes.Clone(whole)
	clear(none[:2*page])
	try("both meta pages gone", none)
	try("not a queue", []byte("hello"))
	if damaged < len(whole)/page {
		t.Errorf("%d damages were noticed in %d pages", damaged, len(whole)/page)
	}
}

func open(t *testing.T, path string) *File {
	t.Helper()
	f, _, err := Open(path)
	if err != nil {
		t.Fatal(err)
	}
	return f
}

func commit(t *testing.T, q queue, change core.Change) {
	t.Helper()
	if err := q.Commit(change); err != nil {
		t.Fatal(err)
	}
}

func blocks(seqs ...uint64) []core.Block {
	var out []core.Block
	for _, seq := range seqs {
		out = append(out, core.Block{Seq: seq, At: core.Micros(seq) * 10, Events: 1, Data: data(seq)})
	}
	return out
}

func data(seq uint64) []byte { return fmt.Appendf(nil, "block %d", seq) }

func wantBlocks(t *testing.T, q queue, first, last uint64, seqs ...uint64) {
	t.Helper()
	got, lost, err := q.Read(first, last)
	if err != nil || len(lost) > 0 {
		t.Fatalf("Read = %v, lost %v", err, lost)
	}
	var want [][]byte
	for _, seq := range seqs {
		want = append(want, data(seq))
	}
	if fmt.Sprintf("%s", got) != fmt.Sprintf("%s", want) {
		t.Errorf("read %s, want %s", got, want)
	}
}
