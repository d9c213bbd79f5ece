package queue

import (
	"bytes"
	"encoding/binary"
	"errors"
	"math/rand/v2"
	"os"
	"path/filepath"
	"sync"
	"testing"

	"github.com/causality-project/causality/sdk/core"
)

// wholeFile is a queue of 60 blocks, some of them deleted, and what is in it.
var wholeFile = sync.OnceValues(func() ([]byte, map[string]bool) {
	folder, err := os.MkdirTemp("", "queue")
	if err != nil {
		panic(err)
	}
	defer os.RemoveAll(folder)
	path := filepath.Join(folder, "whole")
	f, _, err := Open(path)
	if err != nil {
		panic(err)
	}
	known := map[string]bool{}
	for seq := uint64(1); seq <= 60; seq++ {
		b := core.Block{Seq: seq, At: 1, Events: 1, Data: bytes.Repeat(data(seq), 1+int(seq*37%150))}
		known[string(b.Data)] = true
		change := core.Change{Append: []core.Block{b}, State: data(seq)}
		if seq%7 == 0 {
			change.Delete = []core.Range{{First: seq - 3, Last: seq - 2}}
		}
		if err := f.Commit(change); err != nil {
			panic(err)
		}
	}
	if err := f.Close(); err != nil {
		panic(err)
	}
	whole, err := os.ReadFile(path)
	if err != nil {
		panic(err)
	}
	return whole, known
})

// FuzzDamage changes a queue's file in random ways. Opening and using it then
// either works, with every block intact or named as lost, or begins anew; it never
// panics, ends the process or hangs.
func FuzzDamage(f *testing.F) {
	for seed := range uint64(100) {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, seed uint64) {
		whole, known := wholeFile()
		path := filepath.Join(t.TempDir(), "queue")
		if err := os.WriteFile(path, damage(whole, seed), 0o600); err != nil {
			t.Fatal(err)
		}
		file, contents, err := Open(path)
		if err != nil {
			t.Fatalf("Open = %v, want a fresh start", err)
		}
		use := func() error {
			read, lost, err := file.Read(1, 60)
			if err != nil {
				return err
			}
			for _, b := range read {
				if !known[string(b)] {
					t.Errorf("read a block of %d bytes that nobody wrote", len(b))
				}
			}
			if len(read)+len(lost) != len(contents.Blocks) {
				t.Errorf("%d blocks read and %d lost of %d", len(read), len(lost), len(contents.Blocks))
			}
			for seq := uint64(1001); seq < 1008; seq++ {
				if err := file.Commit(core.Change{Append: blocks(seq), Delete: []core.Range{{First: 1, Last: seq - 5}}}); err != nil {
					return err
				}
			}
			read, lost, err = file.Read(1, 2000)
			if err == nil && (len(lost) > 0 || len(read) != 5) {
				t.Errorf("%d blocks and %d lost, want the last five", len(read), len(lost))
			}
			return err
		}
		if err := use(); err != nil && !errors.Is(err, ErrDamaged) {
			t.Errorf("%v, want ErrDamaged", err)
		}
		if info, err := os.Stat(path); err != nil || info.Size() > 64<<20 {
			t.Errorf("the file has %d bytes (%v)", info.Size(), err)
		}
		if _, err := file.Reset(); err != nil {
			t.Fatalf("Reset = %v", err)
		}
		commit(t, file, core.Change{Append: blocks(1)})
		wantBlocks(t, file, 1, 9, 1)
		if err := file.Close(); err != nil {
			t.Errorf("Close = %v", err)
		}
	})
}

// damage is what disks, crashes and other programs do to a file.
func damage(whole []byte, seed uint64) []byte {
	r := rand.New(rand.NewPCG(seed, 1))
	out := bytes.Clone(whole)
	page := os.Getpagesize()
	pages := len(out) / page
	at := func() []byte { p := r.IntN(pages); return out[p*page : (p+1)*page] }
	for range 1 + r.IntN(3) {
		switch r.IntN(7) {
		case 0: // one bit
			out[r.IntN(len(out))] ^= 1 << r.IntN(8)
		case 1: // one bit where the file's structure is
			out[r.IntN(pages)*page+r.IntN(128)] ^= 1 << r.IntN(8)
		case 2: // a small number where the file's structure is
			p := at()
			i := r.IntN(32) * 8
			clear(p[i : i+8])
			p[i] = byte(r.IntN(64))
		case 3: // a page of another place, or an older version of it
			copy(at(), at())
		case 4:
			clear(at())
		case 5:
			p := at()
			for i := range p {
				p[i] = byte(r.Uint32())
			}
		case 6:
			out = out[:1+r.IntN(len(out))]
			if pages = len(out) / page; pages == 0 {
				return out
			}
		}
	}
	return out
}

// TestAWholeFileIsNeverTakenForDamaged opens a file between random changes, which
// give it pages of every kind: branches above branches, blocks that fill many pages,
// buckets that are small or empty.
func TestAWholeFileIsNeverTakenForDamaged(t *testing.T) {
	t.Parallel()
	for name, shape := range map[string]struct{ commits, append, bytes, keep int }{
		"many small blocks":  {60, 400, 40, 1 << 30},
		"few small blocks":   {60, 3, 40, 20},
		"large blocks":       {60, 8, 64 << 10, 100},
		"filled and emptied": {60, 50, 5000, 0},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			path := filepath.Join(t.TempDir(), "queue")
			r := rand.New(rand.NewPCG(7, 7))
			var stored []uint64
			next := uint64(1)
			f := open(t, path)
			for n := range shape.commits {
				var change core.Change
				for range 1 + r.IntN(shape.append) {
					change.Append = append(change.Append, core.Block{Seq: next, At: 1, Events: 1, Data: make([]byte, 1+r.IntN(shape.bytes))})
					stored = append(stored, next)
					next++
				}
				// A change deletes what was stored before it.
				if before := len(stored) - len(change.Append); before > shape.keep || (before > 0 && r.IntN(9) == 0) {
					gone := 1 + r.IntN(before)
					if shape.keep == 0 {
						gone = before
					}
					change.Delete = []core.Range{{First: stored[0], Last: stored[gone-1]}}
					stored = stored[gone:]
				}
				change.State = make([]byte, r.IntN(2000))
				commit(t, f, change)
				if n%4 != 0 {
					continue
				}
				if err := f.Close(); err != nil {
					t.Fatal(err)
				}
				var contents Contents
				var err error
				if f, contents, err = Open(path); err != nil || contents.SetAside != "" {
					t.Fatalf("after %d commits: Open = %v, set aside %q", n, err, contents.SetAside)
				}
				if len(contents.Blocks) != len(stored) || contents.Blocks[0].Seq != stored[0] {
					t.Fatalf("after %d commits: %d blocks, want %d from %d", n, len(contents.Blocks), len(stored), stored[0])
				}
			}
			if err := f.Close(); err != nil {
				t.Error(err)
			}
		})
	}
}

// TestAPageThatContainsItselfIsDamage has the damage that bbolt would follow until
// the process ends.
func TestAPageThatContainsItselfIsDamage(t *testing.T) {
	t.Parallel()
	whole, _ := wholeFile()
	page := os.Getpagesize()
	cycles := 0
	for id := 2; id < len(whole)/page; id++ {
		if whole[id*page+8] != branchPage || binary.NativeEndian.Uint64(whole[id*page:]) != uint64(id) {
			continue
		}
		cycles++
		circle := bytes.Clone(whole)
		binary.NativeEndian.PutUint64(circle[id*page+pageHeader+8:], uint64(id)) // the first child
		path := filepath.Join(t.TempDir(), "queue")
		if err := os.WriteFile(path, circle, 0o600); err != nil {
			t.Fatal(err)
		}
		f, contents, err := Open(path)
		if err != nil {
			t.Fatal(err)
		}
		if contents.SetAside == "" && len(contents.Blocks) == 0 { // else it was an old page
			t.Errorf("page %d: the file was used, without its blocks", id)
		}
		if err := f.Close(); err != nil {
			t.Error(err)
		}
	}
	if cycles == 0 {
		t.Error("the file has no branch; give it more blocks")
	}
}
