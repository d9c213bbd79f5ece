// Package seen remembers which event ids an app has committed, exactly and for
// as long as the app lives, so that an event sent again counts once. It is a
// cache of the event_id columns of the lake's objects: it knows which commits it
// covers, and whoever opens it reads in the ids of the others. It refuses to
// know about objects, streams and databases.
//
// Ids are kept whole, sorted, in files that are mapped into memory: a lookup
// needs no second look at the object that holds the id, and neither compaction
// nor any other rewrite of objects touches them. An id costs 16 bytes of disk,
// and about 60 bytes of memory while it is in the tail that is not written yet.
//
// They are partitioned by the id's own day, which a UUIDv7 carries, and others
// by a prefix of the id. A twin is found in the same partition whatever
// happened to its timestamp. Live traffic asks for ids newer than every file of
// its day, which the files' bounds answer; an old or random id costs one
// bisection, about 0.3 µs, for each file of its partition.
package seen

import (
	"encoding/json"
	"errors"
	"fmt"
	"hash/crc32"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"

	"github.com/causality-project/causality/backend/internal/platform/event"
)

const (
	tailIDs      = 128 << 10 // ids of all apps in memory before they are written
	maxRunIDs    = 4 << 20   // a file of this length, 64 MiB, is not merged again
	mergeRuns    = 4         // shorter files of a partition that are merged into one
	hashPrefixes = 64        // partitions of ids that carry no day
	currentFile  = "current.json"
	// DefaultBudget is how much of the files is mapped at a time.
	DefaultBudget = 256 << 20
)

// Store keeps the ids of all apps under one folder. It is safe for concurrent
// use; asking and adding are short, and one lock serves them all.
type Store struct {
	folder string
	budget int64

	mu     sync.Mutex
	apps   map[string]*app
	tail   int // ids in all tails
	mapped int64
	clock  uint64
}

type app struct {
	folder     string
	covered    Ranges
	partitions map[int64]*partition
	next       int // number of the next file
}

type partition struct {
	runs []*run
	tail map[event.ID]struct{}
}

// current is the content of an app's list of files. It is replaced whole, so
// the files and what they cover always fit together.
type current struct {
	Covered Ranges `json:"covered"`
	Runs    []*run `json:"runs"`
	Next    int    `json:"next"`
}

// Open uses a folder, made if missing. budget bounds the bytes mapped; zero
// means DefaultBudget.
func Open(folder string, budget int64) (*Store, error) {
	if budget <= 0 {
		budget = DefaultBudget
	}
	if err := os.MkdirAll(folder, 0o700); err != nil {
		return nil, fmt.Errorf("seen ids: %w", err)
	}
	return &Store{folder: folder, budget: budget, apps: map[string]*app{}}, nil
}

// Covered tells which commits of the app are in the store.
func (s *Store) Covered(appID string) (Ranges, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	a, err := s.app(appID)
	if err != nil {
		return nil, err
	}
	return slices.Clone(a.covered), nil
}

// Contains reports, for ids in ascending order, which of them are committed.
func (s *Store) Contains(appID string, ids []event.ID) ([]bool, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	a, err := s.app(appID)
	if err != nil {
		return nil, err
	}
	found := make([]bool, len(ids))
	byPartition := map[int64][]int{}
	for i := range ids {
		p := PartitionOf(ids[i])
		byPartition[p] = append(byPartition[p], i)
	}
	for number, positions := range byPartition {
		p := a.partitions[number]
		if p == nil {
			continue
		}
		for _, i := range positions {
			_, found[i] = p.tail[ids[i]]
		}
		for _, r := range p.runs {
			from := 0
			for _, i := range positions {
				k := keyOf(ids[i][:])
				if found[i] || k.less(r.Min) {
					continue
				}
				if r.Max.less(k) {
					break
				}
				if err := s.use(r); err != nil {
					return nil, fmt.Errorf("seen ids: %w", err)
				}
				from, found[i] = r.find(k, from)
			}
		}
	}
	return found, nil
}

// Add puts in the ids of commits. Ids that are there already are no harm.
func (s *Store) Add(appID string, commits Ranges, ids []event.ID) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	a, err := s.app(appID)
	if err != nil {
		return err
	}
	for _, id := range ids {
		p := a.partition(PartitionOf(id))
		before := len(p.tail)
		p.tail[id] = struct{}{}
		s.tail += len(p.tail) - before
	}
	a.covered = Union(a.covered, commits)
	if s.tail < tailIDs {
		return nil
	}
	return s.flush()
}

// Cover marks commits as covered whose ids are in already, or that have none.
func (s *Store) Cover(appID string, commits Ranges) error { return s.Add(appID, commits, nil) }

// Reset forgets an app.
func (s *Store) Reset(appID string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if a := s.apps[appID]; a != nil {
		for _, p := range a.partitions {
			s.tail -= len(p.tail)
			for _, r := range p.runs {
				s.release(r)
			}
		}
		delete(s.apps, appID)
	}
	if err := os.RemoveAll(filepath.Join(s.folder, appID)); err != nil {
		return fmt.Errorf("seen ids: %w", err)
	}
	return nil
}

// Close writes what is in memory. The store may be used again.
func (s *Store) Close() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	err := s.flush()
	for _, a := range s.apps {
		for _, p := range a.partitions {
			for _, r := range p.runs {
				s.release(r)
			}
		}
	}
	return err
}

// Bytes is the room that the files take.
func (s *Store) Bytes() (disk, mapped int64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, a := range s.apps {
		for _, p := range a.partitions {
			for _, r := range p.runs {
				disk += int64(r.Count) * idBytes
			}
		}
	}
	return disk, s.mapped
}

// PartitionOf is the partition of an id: the day since 1970 of a UUIDv7, or a
// negative number for ids that carry no time.
func PartitionOf(id event.ID) int64 {
	if id[6]>>4 == 7 {
		milliseconds := int64(id[0])<<40 | int64(id[1])<<32 | int64(id[2])<<24 | int64(id[3])<<16 | int64(id[4])<<8 | int64(id[5])
		return milliseconds / 86_400_000
	}
	return -1 - int64(id[0]>>2)%hashPrefixes
}

func (s *Store) app(appID string) (*app, error) {
	if a := s.apps[appID]; a != nil {
		return a, nil
	}
	if strings.ContainsAny(appID, "/\\.") || appID == "" {
		return nil, fmt.Errorf("seen ids: %q is no app id", appID)
	}
	a := &app{folder: filepath.Join(s.folder, appID), partitions: map[int64]*partition{}}
	list, err := readCurrent(filepath.Join(a.folder, currentFile))
	if err != nil {
		return nil, fmt.Errorf("seen ids: %w", err)
	}
	a.covered, a.next = list.Covered, list.Next
	for _, r := range list.Runs {
		r.path = filepath.Join(a.folder, r.File)
		info, err := os.Stat(r.path)
		if err != nil || info.Size() != int64(r.Count)*idBytes {
			// A file is missing or cut: nothing that the list covers can be trusted.
			a.covered, a.partitions = nil, map[int64]*partition{}
			break
		}
		p := a.partition(r.Partition)
		p.runs = append(p.runs, r)
	}
	if err := a.removeUnlisted(); err != nil {
		return nil, fmt.Errorf("seen ids: %w", err)
	}
	s.apps[appID] = a
	return a, nil
}

func (a *app) partition(number int64) *partition {
	p := a.partitions[number]
	if p == nil {
		p = &partition{tail: map[event.ID]struct{}{}}
		a.partitions[number] = p
	}
	return p
}

// use maps a run, and unmaps those not used for longest beyond the budget.
func (s *Store) use(r *run) error {
	s.clock++
	r.used = s.clock
	if r.data != nil {
		return nil
	}
	if err := r.open(); err != nil {
		return err
	}
	s.mapped += int64(len(r.data))
	for s.mapped > s.budget {
		var oldest *run
		for _, a := range s.apps {
			for _, p := range a.partitions {
				for _, other := range p.runs {
					if other.data != nil && other != r && (oldest == nil || other.used < oldest.used) {
						oldest = other
					}
				}
			}
		}
		if oldest == nil {
			break
		}
		s.release(oldest)
	}
	return nil
}

func (s *Store) release(r *run) {
	s.mapped -= int64(len(r.data))
	r.close()
}

// flush writes every tail and then each app's new list. A crash before the list
// leaves the old one in force; its files are still there.
func (s *Store) flush() error {
	for appID, a := range s.apps {
		if err := s.flushApp(a); err != nil {
			return fmt.Errorf("seen ids of app %s: %w", appID, err)
		}
	}
	return nil
}

func (s *Store) flushApp(a *app) error {
	if err := os.MkdirAll(a.folder, 0o700); err != nil {
		return err
	}
	var obsolete []*run
	changed := map[*partition][]*run{}
	written := 0
	for number, p := range a.partitions {
		if len(p.tail) == 0 {
			continue
		}
		ids := make([]event.ID, 0, len(p.tail))
		for id := range p.tail {
			ids = append(ids, id)
		}
		slices.SortFunc(ids, func(a, b event.ID) int { return slices.Compare(a[:], b[:]) })
		runs, merged := p.mergeable(len(ids))
		for _, r := range merged {
			// Mapped outside the budget for the merge: it must not unmap one
			// input for the next.
			if r.data == nil {
				if err := r.open(); err != nil {
					return err
				}
				s.mapped += int64(len(r.data))
			}
		}
		r, err := writeRun(a.folder, strconv.Itoa(a.next)+".ids", number, ids, merged)
		if err != nil {
			return err
		}
		a.next++
		written += len(ids)
		changed[p] = append(runs, r)
		obsolete = append(obsolete, merged...)
	}
	list := current{Covered: a.covered, Next: a.next}
	for _, p := range a.partitions {
		if runs, ok := changed[p]; ok {
			list.Runs = append(list.Runs, runs...)
		} else {
			list.Runs = append(list.Runs, p.runs...)
		}
	}
	if err := writeCurrent(filepath.Join(a.folder, currentFile), list); err != nil {
		return err
	}
	for p, runs := range changed {
		p.runs = runs
		clear(p.tail)
	}
	s.tail -= written
	for _, r := range obsolete {
		s.release(r)
		_ = os.Remove(r.path)
	}
	return nil
}

// mergeable parts the runs into those that stay and those to merge with n new
// ids: all short ones, once there are enough of them. So an id is rewritten a
// few times, and a partition keeps few files.
func (p *partition) mergeable(n int) (stay, merge []*run) {
	short := 0
	for _, r := range p.runs {
		if r.Count < maxRunIDs {
			short++
		}
	}
	if short < mergeRuns {
		return slices.Clone(p.runs), nil
	}
	for _, r := range p.runs {
		if r.Count < maxRunIDs {
			merge = append(merge, r)
		} else {
			stay = append(stay, r)
		}
	}
	return stay, merge
}

func (a *app) removeUnlisted() error {
	entries, err := os.ReadDir(a.folder)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	listed := map[string]bool{currentFile: true}
	for _, p := range a.partitions {
		for _, r := range p.runs {
			listed[r.File] = true
		}
	}
	for _, entry := range entries {
		if !listed[entry.Name()] && (strings.HasSuffix(entry.Name(), ".ids") || strings.HasSuffix(entry.Name(), ".new")) {
			if err := os.Remove(filepath.Join(a.folder, entry.Name())); err != nil {
				return err
			}
		}
	}
	return nil
}

// The list is a checksum in hexadecimal, a line feed, and JSON.
func writeCurrent(path string, list current) error {
	body, err := json.Marshal(list)
	if err != nil {
		return err
	}
	text := fmt.Appendf(nil, "%08x\n%s", crc32.ChecksumIEEE(body), body)
	file, err := os.OpenFile(path+".new", os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return err
	}
	if _, err := file.Write(text); err != nil {
		_ = file.Close()
		return err
	}
	if err := file.Sync(); err != nil {
		_ = file.Close()
		return err
	}
	if err := file.Close(); err != nil {
		return err
	}
	return os.Rename(path+".new", path)
}

// readCurrent returns an empty list when there is none, or none that can be
// trusted: the ids are then read from the objects again.
func readCurrent(path string) (current, error) {
	text, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return current{}, nil
	}
	if err != nil {
		return current{}, err
	}
	var list current
	sum, body, ok := strings.Cut(string(text), "\n")
	if !ok || sum != fmt.Sprintf("%08x", crc32.ChecksumIEEE([]byte(body))) || json.Unmarshal([]byte(body), &list) != nil {
		return current{}, nil
	}
	return list, nil
}
