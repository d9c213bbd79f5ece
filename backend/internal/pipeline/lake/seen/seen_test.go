package seen

import (
	"encoding/binary"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/causality-project/causality/backend/internal/platform/event"
)

// ids makes n ids, timed ones over ten days and random ones, sorted.
func ids(random *rand.Rand, n int) []event.ID {
	made := make([]event.ID, n)
	for i := range made {
		binary.BigEndian.PutUint64(made[i][:], random.Uint64())
		binary.BigEndian.PutUint64(made[i][8:], random.Uint64())
		if i%2 == 0 {
			binary.BigEndian.PutUint64(made[i][:], uint64(1_770_000_000_000+random.Int64N(10*86_400_000))<<16)
			made[i][6] = 0x70 | made[i][6]&0xf
		} else {
			made[i][6] = 0x40 | made[i][6]&0xf
		}
	}
	slices.SortFunc(made, func(a, b event.ID) int { return slices.Compare(a[:], b[:]) })
	return made
}

func checked(t *testing.T, s *Store, app string, ids []event.ID, want bool) {
	t.Helper()
	found, err := s.Contains(app, ids)
	if err != nil {
		t.Fatal(err)
	}
	for i := range found {
		if found[i] != want {
			t.Fatalf("id %x: found %v, want %v", ids[i], found[i], want)
		}
	}
}

func TestIdsAreFoundInMemoryInFilesAndAfterReopening(t *testing.T) {
	t.Parallel()
	folder := t.TempDir()
	random := rand.New(rand.NewPCG(1, 1))
	s, err := Open(folder, 1<<20) // a budget that files are evicted under
	if err != nil {
		t.Fatal(err)
	}
	var added []event.ID
	for n := range int64(8) {
		some := ids(random, 40_000)
		if err := s.Add("app", One(n+1), some); err != nil {
			t.Fatal(err)
		}
		added = append(added, some...)
		checked(t, s, "app", some, true)
		if n%3 == 2 {
			if err := s.Close(); err != nil { // writes files, and merges short ones
				t.Fatal(err)
			}
		}
	}
	slices.SortFunc(added, func(a, b event.ID) int { return slices.Compare(a[:], b[:]) })
	strangers := ids(random, 10_000)
	checked(t, s, "app", added, true)
	checked(t, s, "app", strangers, false)
	checked(t, s, "other", added[:100], false)
	if _, mapped := s.Bytes(); mapped > 1<<20+1<<19 {
		t.Errorf("%d bytes are mapped beyond the budget", mapped)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}

	again, err := Open(folder, 0)
	if err != nil {
		t.Fatal(err)
	}
	covered, err := again.Covered("app")
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(Ranges{1, 8}, covered); diff != "" {
		t.Errorf("covered (-want +got):\n%s", diff)
	}
	checked(t, again, "app", added, true)
	checked(t, again, "app", strangers, false)
	if err := again.Reset("app"); err != nil {
		t.Fatal(err)
	}
	checked(t, again, "app", added[:100], false)
}

// Damage must read as "covers nothing", so that the ids are read again.
func TestADamagedStoreCoversNothing(t *testing.T) {
	t.Parallel()
	for name, damage := range map[string]func(folder string) error{
		"list": func(folder string) error {
			return os.WriteFile(filepath.Join(folder, "app", currentFile), []byte("00000000\n{}"), 0o600)
		},
		"file": func(folder string) error { return os.Truncate(filepath.Join(folder, "app", "0.ids"), 16) },
		"gone": func(folder string) error { return os.Remove(filepath.Join(folder, "app", "1.ids")) },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			folder := t.TempDir()
			s, err := Open(folder, 0)
			if err != nil {
				t.Fatal(err)
			}
			if err := s.Add("app", Ranges{1, 5}, ids(rand.New(rand.NewPCG(1, 2)), 10_000)); err != nil {
				t.Fatal(err)
			}
			if err := s.Close(); err != nil {
				t.Fatal(err)
			}
			if err := damage(folder); err != nil {
				t.Fatal(err)
			}
			if s, err = Open(folder, 0); err != nil {
				t.Fatal(err)
			}
			if covered, err := s.Covered("app"); err != nil || len(covered) != 0 {
				t.Errorf("covered %v, error %v; want nothing", covered, err)
			}
		})
	}
}

func TestRanges(t *testing.T) {
	t.Parallel()
	union := Union(Ranges{5, 7}, One(1), One(2), Ranges{8, 8}, Ranges{20, 30}, Ranges{22, 25})
	if diff := cmp.Diff(Ranges{1, 2, 5, 8, 20, 30}, union); diff != "" {
		t.Errorf("union (-want +got):\n%s", diff)
	}
	for _, tt := range []struct {
		other            Ranges
		covers, overlaps bool
	}{
		{Ranges{1, 2, 6, 7}, true, true}, {Ranges{2, 5}, false, true}, {Ranges{3, 4}, false, false},
		{Ranges{9, 40}, false, true}, {nil, true, false}, {Ranges{31, 31}, false, false},
	} {
		if union.Covers(tt.other) != tt.covers || union.Overlaps(tt.other) != tt.overlaps {
			t.Errorf("%v: covers %v, overlaps %v", tt.other, union.Covers(tt.other), union.Overlaps(tt.other))
		}
	}
}
