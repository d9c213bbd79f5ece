package objstore

import (
	"bufio"
	"cmp"
	"container/list"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"io/fs"
	"iter"
	"log/slog"
	"math"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"syscall"

	"golang.org/x/sync/errgroup"

	"github.com/causality-project/causality/backend/internal/platform/fault"
)

const (
	nearGap     = 64 << 10 // ranges that are this close are asked for together: a request costs more
	pieceBytes  = 8 << 20  // of a long range, each asked for by itself
	fetchAtOnce = 16       // requests for ranges, of all questions together
	blockBytes  = 4096     // of a file system: what a range takes on disk is whole ones
	firstAhead  = 64 << 10 // what a Reader asks for at first
	mostAhead   = 4 << 20  // and at most, as it reads on
)

// Remote is a store whose objects are elsewhere, with local copies of the parts
// that somebody asked for.
type Remote interface {
	Store
	// Fetch makes these ranges of an object of this size readable in the file at
	// Path; nil asks for all of it. What is there is not asked for again.
	Fetch(ctx context.Context, key string, size int64, ranges []Range) error
	// Path is where an object's local copy lies: a file of the object's size,
	// once something of it was fetched, whose other parts read as zeros.
	Path(key string) string
	// Pin keeps what is fetched of these objects until unpin is called.
	Pin(keys []string) (unpin func())
	// Forget removes local copies, pinned or not.
	Forget(ctx context.Context, keys ...string) error
}

// CacheConfig configures a Cache.
type CacheConfig struct {
	Dir    string // its own; the folder of files in it is open to other users, so put it into a closed one
	Bytes  int64  // that copies may take; default 20 GiB or a tenth of the disk, the smaller
	Logger *slog.Logger
}

// Cache keeps parts of a bucket's objects in local sparse files, for engines
// that read files themselves. It is bounded: the files that nobody used for the
// longest time go first. Objects never change, so what is there is right.
//
// A journal says which ranges are there, each with its checksum. Nothing is
// synced: after a restart, or a power loss, a range counts only once it has been
// read and its checksum holds, and is fetched again otherwise.
type Cache struct {
	s3    *S3
	log   *slog.Logger
	dir   string
	root  string // of the files
	lock  *os.File
	most  int64
	slots chan struct{}

	mu      sync.Mutex
	copies  map[string]*copied
	order   *list.List // of *copied, the longest unused first
	used    int64
	pins    map[string]int
	journal *journal
}

// copied is the local copy of one object. The Cache's mutex guards it.
type copied struct {
	key   string
	size  int64
	etag  string
	parts []part  // sorted, disjoint
	works []*work // that make parts, or check them
	used  int64   // bytes on disk, those that works will write included
	place *list.Element
	gone  bool // removed while somebody worked on it
}

// part is a range that was fetched.
type part struct {
	Range
	sum     uint32
	checked bool // false: the journal says so, and nobody has looked
}

// work is a range on its way; done is closed when it has become a part or not.
type work struct {
	Range
	done chan struct{}
}

func (r Range) end() int64 { return r.Offset + r.Length }

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// NewCache opens or makes the directory. A process that uses it already is an
// error.
func NewCache(s3 *S3, cfg CacheConfig) (*Cache, error) {
	if cfg.Logger == nil || cfg.Dir == "" {
		return nil, errors.New("object cache: a directory and a logger are required")
	}
	c := &Cache{
		s3: s3, log: cfg.Logger, dir: cfg.Dir, root: filepath.Join(cfg.Dir, "objects"), most: cfg.Bytes,
		slots: make(chan struct{}, fetchAtOnce), copies: map[string]*copied{}, order: list.New(), pins: map[string]int{},
	}
	for _, dir := range []string{c.dir, c.root} {
		if err := os.MkdirAll(dir, 0o755); err != nil {
			return nil, fmt.Errorf("object cache: %w", err)
		}
		if err := os.Chmod(dir, 0o755); err != nil { // the umask may have taken bits that engines need
			return nil, fmt.Errorf("object cache: %w", err)
		}
	}
	if c.most <= 0 {
		var stat syscall.Statfs_t
		if err := syscall.Statfs(c.root, &stat); err != nil {
			return nil, fmt.Errorf("object cache: %w", err)
		}
		c.most = min(20<<30, int64(stat.Blocks)*int64(stat.Bsize)/10)
	}
	lock, err := os.OpenFile(filepath.Join(c.dir, "lock"), os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, fmt.Errorf("object cache: %w", err)
	}
	if err := syscall.Flock(int(lock.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		_ = lock.Close()
		return nil, fmt.Errorf("object cache: another process uses %s: %w; give each its own data directory", c.dir, err)
	}
	c.lock = lock
	if err := c.load(); err != nil {
		_ = lock.Close()
		return nil, fmt.Errorf("object cache: %w", err)
	}
	return c, nil
}

// Dir is the folder that an engine must be able to read.
func (c *Cache) Dir() string { return c.root }

// Close ends the use of the directory. Copies stay.
func (c *Cache) Close(context.Context) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	err := c.lock.Close()
	if errors.Is(err, os.ErrClosed) {
		err = nil
	}
	return errors.Join(c.journal.close(), err)
}

// Run does the bucket's housekeeping until ctx ends.
func (c *Cache) Run(ctx context.Context) error { return c.s3.Run(ctx) }

// Check tries all that is needed of the bucket; see S3.Check.
func (c *Cache) Check(ctx context.Context) error { return c.s3.Check(ctx) }

// Create keeps a copy of an object that went in one request: who wrote it, or a
// question about what is fresh, reads it soon.
func (c *Cache) Create(ctx context.Context, key string, write func(io.Writer) error) (int64, error) {
	u, err := c.s3.create(ctx, key, write)
	if err != nil {
		return 0, err
	}
	if u.id == nil {
		if err := c.keep(key, u.etag, u.buffer); err != nil {
			c.log.DebugContext(ctx, "a new object is not cached", "key", key, "err", err)
		}
	}
	return u.size, nil
}

func (c *Cache) List(ctx context.Context, prefix string) iter.Seq2[Object, error] {
	return c.s3.List(ctx, prefix)
}

func (c *Cache) Usage(ctx context.Context) (Usage, error) { return c.s3.Usage(ctx) }

// Delete removes the object and its copy.
func (c *Cache) Delete(ctx context.Context, key string) error {
	return errors.Join(c.s3.Delete(ctx, key), c.Forget(ctx, key))
}

// Local fetches all of the object.
func (c *Cache) Local(ctx context.Context, key string) (string, error) {
	r, err := c.s3.Open(ctx, key)
	if err != nil {
		return "", err
	}
	if err := c.Fetch(ctx, key, r.Size(), nil); err != nil {
		return "", err
	}
	return c.Path(key), nil
}

// Path implements Remote.
func (c *Cache) Path(key string) string { return c.root + "/" + key }

// Pin implements Remote.
func (c *Cache) Pin(keys []string) (unpin func()) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, key := range keys {
		c.pins[key]++
	}
	return sync.OnceFunc(func() {
		c.mu.Lock()
		defer c.mu.Unlock()
		for _, key := range keys {
			if c.pins[key]--; c.pins[key] == 0 {
				delete(c.pins, key)
			}
		}
	})
}

// Forget implements Remote.
func (c *Cache) Forget(_ context.Context, keys ...string) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	var errs []error
	for _, key := range keys {
		if e := c.copies[key]; e != nil {
			e.gone = true
			errs = append(errs, c.drop(e))
		}
	}
	return errors.Join(errs...)
}

// Open asks the bucket whether the object is there, and reads through the copy:
// ever larger stretches, since who reads on mostly reads all.
func (c *Cache) Open(ctx context.Context, key string) (Reader, error) {
	opened, err := c.s3.Open(ctx, key)
	if err != nil {
		return nil, err
	}
	head := opened.(*s3Reader)
	c.mu.Lock()
	if e := c.copies[key]; e != nil && (e.size != head.size || e.etag != "" && e.etag != head.etag) {
		e.gone = true
		err = c.drop(e)
	}
	c.mu.Unlock()
	if err != nil {
		return nil, fmt.Errorf("open object %s: %w", key, err)
	}
	return &cacheReader{cache: c, ctx: ctx, key: key, size: head.size, ahead: firstAhead, unpin: c.Pin([]string{key})}, nil
}

type cacheReader struct {
	cache *Cache
	ctx   context.Context //nolint:containedctx // io.ReaderAt has none
	key   string
	size  int64
	unpin func()

	mu    sync.Mutex
	of    *copied // the copy that file is of
	file  *os.File
	ahead int64
}

func (r *cacheReader) Size() int64 { return r.size }

func (r *cacheReader) Close() error {
	r.unpin()
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.file == nil {
		return nil
	}
	return r.file.Close()
}

func (r *cacheReader) ReadAt(p []byte, at int64) (int, error) {
	if at < 0 {
		return 0, errors.New("read before the start of an object")
	}
	if at >= r.size {
		return 0, io.EOF
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if err := r.have(Range{at, min(int64(len(p)), r.size-at)}); err != nil {
		return 0, err
	}
	return r.file.ReadAt(p, at)
}

// have makes sure that the open file holds a range. The copy can be removed and
// made anew meanwhile, so the file must be that of the copy that was asked.
func (r *cacheReader) have(want Range) error {
	for {
		now := r.cache.holding(r.key, want)
		if now != nil && now == r.of {
			return nil
		}
		if now == nil {
			start := want.Offset / r.ahead * r.ahead
			end := min((want.end()+r.ahead-1)/r.ahead*r.ahead, r.size)
			if err := r.cache.Fetch(r.ctx, r.key, r.size, []Range{{start, end - start}}); err != nil {
				return err
			}
			r.ahead = min(2*r.ahead, mostAhead)
			continue
		}
		if r.file != nil {
			_ = r.file.Close()
			r.file, r.of = nil, nil
		}
		file, err := os.Open(r.cache.Path(r.key))
		if errors.Is(err, fs.ErrNotExist) {
			continue // it is being made anew
		}
		if err != nil {
			return fmt.Errorf("read object %s: %w", r.key, err)
		}
		r.file, r.of = file, now
	}
}

// holding returns the copy that holds a range, checked; nil if none does.
func (c *Cache) holding(key string, want Range) *copied {
	c.mu.Lock()
	defer c.mu.Unlock()
	e := c.copies[key]
	if e == nil {
		return nil
	}
	c.order.MoveToBack(e.place)
	if missing, unchecked := e.lacks([]Range{want}); len(missing) > 0 || len(unchecked) > 0 {
		return nil
	}
	return e
}

// Fetch implements Remote. A range that another call has on its way is waited
// for, and asked for here if that call fails or gives up.
func (c *Cache) Fetch(ctx context.Context, key string, size int64, ranges []Range) error {
	if err := checkKey(key); err != nil {
		return err
	}
	if ranges == nil {
		ranges = []Range{{0, size}}
	}
	ranges, err := joined(ranges, size)
	if err != nil {
		return fmt.Errorf("fetch object %s: %w", key, err)
	}
	defer c.Pin([]string{key})() // not evicted meanwhile
	for {
		c.mu.Lock()
		e, err := c.copy(key, size)
		var mine, others []*work
		var checks []part
		if err == nil {
			mine, checks, others, err = c.claim(e, ranges)
		}
		c.mu.Unlock()
		if err != nil {
			return fmt.Errorf("fetch object %s: %w", key, c.s3.explain(err))
		}
		if len(mine) == 0 && len(checks) == 0 && len(others) == 0 {
			return nil
		}
		if err := c.do(ctx, e, mine, checks); err != nil {
			return fmt.Errorf("fetch object %s: %w", key, err)
		}
		for _, w := range others {
			select {
			case <-w.done:
			case <-ctx.Done():
				return ctx.Err()
			}
		}
	}
}

// joined sorts ranges, checks them, and makes one of those that are near.
func joined(ranges []Range, size int64) ([]Range, error) {
	ranges = slices.Clone(ranges)
	slices.SortFunc(ranges, func(a, b Range) int { return cmp.Compare(a.Offset, b.Offset) })
	out := ranges[:0]
	for _, r := range ranges {
		if r.Offset < 0 || r.Length < 0 || r.Length > size || r.Offset > size-r.Length {
			return nil, fmt.Errorf("bytes %d to %d are not in an object of %d", r.Offset, r.end(), size)
		}
		if r.Length == 0 {
			continue
		}
		if n := len(out); n > 0 && r.Offset <= out[n-1].end()+nearGap {
			out[n-1].Length = max(out[n-1].Length, r.end()-out[n-1].Offset)
			continue
		}
		out = append(out, r)
	}
	return out, nil
}

// copy returns the object's entry and makes it, with its file, if need be.
func (c *Cache) copy(key string, size int64) (*copied, error) {
	path := c.Path(key)
	if e := c.copies[key]; e != nil {
		if e.size != size {
			return nil, &changedError{fmt.Sprintf("a copy of %d bytes is here where the manifest says %d", e.size, size)}
		}
		if info, err := os.Lstat(path); err == nil && info.Size() == size {
			c.order.MoveToBack(e.place)
			return e, nil
		}
		// Somebody cleared the directory.
		e.gone = true
		if err := c.drop(e); err != nil {
			return nil, err
		}
	}
	if err := c.makeFolders(filepath.Dir(path)); err != nil {
		return nil, c.full(err)
	}
	file, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o644)
	if err != nil {
		return nil, c.full(err)
	}
	err = errors.Join(file.Chmod(0o644), file.Truncate(size), file.Close())
	if err != nil {
		return nil, c.full(errors.Join(err, os.Remove(path)))
	}
	e := &copied{key: key, size: size, used: blockBytes}
	e.place = c.order.PushBack(e)
	c.copies[key] = e
	c.used += e.used
	return e, nil
}

// makeFolders makes what is missing, whatever the umask says: engines enter it.
func (c *Cache) makeFolders(folder string) error {
	if _, err := os.Stat(folder); err == nil {
		return nil
	}
	if folder != c.root {
		if err := c.makeFolders(filepath.Dir(folder)); err != nil {
			return err
		}
	}
	if err := os.Mkdir(folder, 0o755); err != nil {
		return err
	}
	return os.Chmod(folder, 0o755)
}

// lacks says what of ranges is neither there nor on its way, and which parts in
// them nobody has checked.
func (e *copied) lacks(ranges []Range) (missing []Range, unchecked []part) {
	for _, want := range ranges {
		at := want.Offset
		first, _ := slices.BinarySearchFunc(e.parts, at, func(p part, at int64) int {
			if p.end() <= at {
				return -1
			}
			return 1
		})
		for _, p := range e.parts[first:] {
			if p.Offset >= want.end() {
				break
			}
			if !p.checked {
				unchecked = append(unchecked, p)
			}
			if p.Offset > at {
				missing = append(missing, Range{at, p.Offset - at})
			}
			at = max(at, p.end())
		}
		if at < want.end() {
			missing = append(missing, Range{at, want.end() - at})
		}
	}
	return missing, unchecked
}

// claim makes works of what is missing and makes room for them, and names the
// works of others that cover the rest.
func (c *Cache) claim(e *copied, ranges []Range) (mine []*work, checks []part, others []*work, err error) {
	missing, unchecked := e.lacks(ranges)
	for _, w := range e.works {
		var rest []Range
		overlaps := false
		for _, m := range missing {
			if w.Offset >= m.end() || m.Offset >= w.end() {
				rest = append(rest, m)
				continue
			}
			overlaps = true
			if m.Offset < w.Offset {
				rest = append(rest, Range{m.Offset, w.Offset - m.Offset})
			}
			if m.end() > w.end() {
				rest = append(rest, Range{w.end(), m.end() - w.end()})
			}
		}
		if missing = rest; overlaps {
			others = append(others, w)
		}
	}
	var need int64
	for _, m := range missing {
		need += onDisk(m)
	}
	if err := c.room(need); err != nil {
		return nil, nil, nil, err
	}
	begin := func(r Range) *work {
		w := &work{Range: r, done: make(chan struct{})}
		e.works = append(e.works, w)
		return w
	}
	for _, m := range missing {
		for m.Length > 0 {
			piece := Range{m.Offset, min(m.Length, pieceBytes)}
			if m.Length < pieceBytes*3/2 {
				piece.Length = m.Length
			}
			mine = append(mine, begin(piece))
			c.used += onDisk(piece)
			e.used += onDisk(piece)
			m = Range{piece.end(), m.Length - piece.Length}
		}
	}
	// A part that is to be checked is no part until it has been.
	for _, p := range unchecked {
		e.parts = slices.DeleteFunc(e.parts, func(other part) bool { return other.Range == p.Range })
		checks = append(checks, p)
		mine = append(mine, begin(p.Range))
	}
	return mine, checks, others, nil
}

func onDisk(r Range) int64 {
	return (r.end()+blockBytes-1)/blockBytes*blockBytes - r.Offset/blockBytes*blockBytes
}

var errForgotten = fault.New(fault.Unavailable, "A stored object was removed while it was read; try again.")

// room evicts until need bytes more fit.
func (c *Cache) room(need int64) error {
	for at := c.order.Front(); at != nil && c.used+need > c.most; {
		e := at.Value.(*copied)
		at = at.Next()
		if c.pins[e.key] > 0 || len(e.works) > 0 {
			continue
		}
		if err := c.drop(e); err != nil {
			return err
		}
	}
	if need > 0 && c.used+need > c.most {
		return fault.New(fault.Exhausted, "The objects in use and %d MiB more do not fit the local cache of %d MiB; narrow the range, or raise --object-cache-bytes.", need>>20, c.most>>20)
	}
	return nil
}

// drop removes a copy and the folders that it leaves empty.
func (c *Cache) drop(e *copied) error {
	path := c.Path(e.key)
	if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("remove a copy: %w", err)
	}
	for folder := filepath.Dir(path); folder != c.root; folder = filepath.Dir(folder) {
		if os.Remove(folder) != nil { // not empty
			break
		}
	}
	delete(c.copies, e.key)
	c.order.Remove(e.place)
	c.used -= e.used
	return nil
}

// do checks parts and fetches the rest of mine, and settles every work whatever
// happens. The works of checks are the last of mine.
func (c *Cache) do(ctx context.Context, e *copied, mine []*work, checks []part) error {
	if len(mine) == 0 {
		return nil
	}
	settled := 0 // works before it
	defer func() {
		for _, w := range mine[settled:] {
			c.settle(e, w, nil)
		}
	}()
	file, err := os.OpenFile(c.Path(e.key), os.O_RDWR, 0)
	if errors.Is(err, fs.ErrNotExist) {
		return errForgotten
	}
	if err != nil {
		return err
	}
	defer file.Close()
	group, ctx := errgroup.WithContext(ctx)
	for i, w := range mine {
		settled = i + 1
		if n := i - (len(mine) - len(checks)); n >= 0 {
			group.Go(func() error {
				var found *part
				if c.holds(file, checks[n]) {
					checks[n].checked = true
					found = &checks[n]
				} else {
					c.log.WarnContext(ctx, "a cached range is damaged and is fetched again", "key", e.key, "offset", w.Offset, "bytes", w.Length)
				}
				return c.settle(e, w, found)
			})
			continue
		}
		group.Go(func() error {
			found, err := c.download(ctx, e, file, w.Range)
			return errors.Join(err, c.settle(e, w, found))
		})
	}
	return group.Wait()
}

func (c *Cache) holds(file *os.File, p part) bool {
	sum := crc32.New(castagnoli)
	n, err := io.Copy(sum, io.NewSectionReader(file, p.Offset, p.Length))
	return err == nil && n == p.Length && sum.Sum32() == p.sum
}

func (c *Cache) download(ctx context.Context, e *copied, file *os.File, r Range) (*part, error) {
	select {
	case c.slots <- struct{}{}:
		defer func() { <-c.slots }()
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	c.mu.Lock()
	etag := e.etag
	c.mu.Unlock()
	for again := true; ; again = false {
		w := &summing{file: file, base: r.Offset}
		etag, err := c.s3.get(ctx, e.key, e.size, etag, r, w)
		if err == nil {
			c.mu.Lock()
			e.etag = cmp.Or(e.etag, etag)
			c.mu.Unlock()
			return &part{Range: r, sum: w.sum, checked: true}, nil
		}
		if !errors.Is(err, syscall.ENOSPC) {
			return nil, err
		}
		// The disk is fuller than the bound says: others fill it too.
		if !again || !c.shrink(r.Length) {
			return nil, c.full(err)
		}
	}
}

// shrink evicts a quarter of the cache, or what is needed; false if nothing can go.
func (c *Cache) shrink(need int64) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	before, most := c.used, c.most
	c.most = max(c.used-max(c.used/4, need), 0)
	err := c.room(0)
	c.most = most
	return err == nil && c.used < before
}

func (c *Cache) full(err error) error {
	if errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EDQUOT) {
		return fault.Wrap(err, fault.Unavailable, "The disk of the object cache at %s is full; make room, or lower --object-cache-bytes.", c.dir)
	}
	return err
}

// summing writes a range into the file and sums it up, from its start at each try.
type summing struct {
	file *os.File
	base int64
	sum  uint32
}

func (w *summing) WriteAt(p []byte, at int64) (int, error) {
	if at == 0 {
		w.sum = 0
	}
	n, err := w.file.WriteAt(p, w.base+at)
	if err != nil {
		return n, &localError{err}
	}
	w.sum = crc32.Update(w.sum, castagnoli, p)
	return n, nil
}

// settle ends a work: with a part, or giving back its room.
func (c *Cache) settle(e *copied, w *work, found *part) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	e.works = slices.DeleteFunc(e.works, func(other *work) bool { return other == w })
	close(w.done)
	switch {
	case e.gone:
		return errForgotten
	case found == nil:
		c.used -= onDisk(w.Range)
		e.used -= onDisk(w.Range)
		return nil
	}
	at, _ := slices.BinarySearchFunc(e.parts, found.Offset, func(p part, at int64) int { return cmp.Compare(p.Offset, at) })
	e.parts = slices.Insert(e.parts, at, *found)
	c.journal.add(c.copies, c.order, e, *found)
	return nil
}

// keep makes a copy of an object that was just written.
func (c *Cache) keep(key, etag string, data []byte) error {
	size := int64(len(data))
	defer c.Pin([]string{key})()
	c.mu.Lock()
	e, err := c.copy(key, size)
	var mine []*work
	if err == nil {
		e.etag = cmp.Or(e.etag, etag)
		mine, _, _, err = c.claim(e, []Range{{0, size}})
	}
	c.mu.Unlock()
	if err != nil {
		return err
	}
	file, err := os.OpenFile(c.Path(key), os.O_RDWR, 0)
	for _, w := range mine {
		var found *part
		bytes := data[w.Offset:w.end()]
		if err == nil {
			if _, err = file.WriteAt(bytes, w.Offset); err == nil {
				found = &part{Range: w.Range, sum: crc32.Checksum(bytes, castagnoli), checked: true}
			}
		}
		err = errors.Join(err, c.settle(e, w, found))
	}
	if file != nil {
		err = errors.Join(err, file.Close())
	}
	return err
}

// journal is a file of lines, one a fetched range. It may miss the newest and
// may tell of copies that are gone: load sorts that out.
type journal struct {
	path  string
	file  *os.File
	out   *bufio.Writer
	lines int
	log   *slog.Logger
}

type journalLine struct {
	Key    string `json:"k"`
	Size   int64  `json:"s"`
	ETag   string `json:"e,omitempty"`
	Offset int64  `json:"o"`
	Length int64  `json:"n"`
	Sum    uint32 `json:"c"`
}

// add writes a line, and the journal anew when most of its lines are old.
func (j *journal) add(copies map[string]*copied, order *list.List, e *copied, p part) {
	if j.file == nil {
		return
	}
	err := j.write(e, p)
	if err == nil {
		err = j.out.Flush()
	}
	if live := 0; err == nil && j.lines > 10_000 && j.lines&1023 == 0 {
		for _, e := range copies {
			live += len(e.parts)
		}
		if j.lines > 2*live {
			err = j.rewrite(order)
		}
	}
	if err != nil {
		j.abandon(err)
	}
}

// abandon ends a journal that cannot be written.
func (j *journal) abandon(err error) {
	j.log.Warn("the object cache's journal cannot be written: what is fetched from now on is fetched again after a restart", "err", err)
	_ = j.close()
}

func (j *journal) write(e *copied, p part) error {
	line, err := json.Marshal(journalLine{e.key, e.size, e.etag, p.Offset, p.Length, p.sum})
	if err != nil {
		return err
	}
	j.lines++
	_, err = j.out.Write(append(line, '\n'))
	return err
}

// rewrite replaces the journal by one of what is there, the longest unused first.
func (j *journal) rewrite(order *list.List) error {
	file, err := os.OpenFile(j.path+".new", os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return err
	}
	old := j.file
	j.file, j.out, j.lines = file, bufio.NewWriter(file), 0
	if old != nil {
		_ = old.Close()
	}
	for at := order.Front(); at != nil; at = at.Next() {
		e := at.Value.(*copied)
		for _, p := range e.parts {
			if err := j.write(e, p); err != nil {
				return err
			}
		}
	}
	return errors.Join(j.out.Flush(), os.Rename(j.path+".new", j.path))
}

func (j *journal) close() error {
	if j.file == nil {
		return nil
	}
	err := errors.Join(j.out.Flush(), j.file.Close())
	j.file = nil
	return err
}

// load reads the journal, keeps what its lines and the files agree on, and
// removes every other file.
func (c *Cache) load() error {
	c.journal = &journal{path: filepath.Join(c.dir, "journal"), log: c.log}
	if err := c.readJournal(); err != nil {
		return err
	}
	err := filepath.WalkDir(c.root, func(path string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() {
			return err
		}
		relative, err := filepath.Rel(c.root, path)
		if err != nil {
			return err
		}
		if info, err := entry.Info(); err == nil {
			if e := c.copies[filepath.ToSlash(relative)]; e != nil && e.size == info.Size() && entry.Type().IsRegular() {
				e.used += blockBytes // marks it as found
				return nil
			}
		}
		return os.Remove(path)
	})
	if err != nil {
		return err
	}
	for _, e := range c.copies {
		if e.used == 0 {
			delete(c.copies, e.key)
			c.order.Remove(e.place)
			continue
		}
		for _, p := range e.parts {
			e.used += onDisk(p.Range)
		}
		c.used += e.used
	}
	if err := c.room(0); err != nil { // the bound may be lower than it was
		return err
	}
	if err := c.journal.rewrite(c.order); err != nil {
		c.journal.abandon(err)
	}
	return nil
}

func (c *Cache) readJournal() error {
	file, err := os.Open(c.journal.path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	defer file.Close()
	lines := bufio.NewScanner(file)
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		var l journalLine
		if json.Unmarshal(lines.Bytes(), &l) != nil || checkKey(l.Key) != nil || l.Offset < 0 || l.Length <= 0 || l.Offset > math.MaxInt64-l.Length ||
			l.Offset+l.Length > l.Size {
			continue // torn by a crash
		}
		e := c.copies[l.Key]
		if e == nil || e.size != l.Size {
			if e != nil {
				c.order.Remove(e.place)
			}
			e = &copied{key: l.Key, size: l.Size}
			e.place = c.order.PushBack(e)
			c.copies[l.Key] = e
		}
		c.order.MoveToBack(e.place)
		e.etag = l.ETag
		p := part{Range: Range{l.Offset, l.Length}, sum: l.Sum}
		// A newer line of the same bytes is of a newer copy.
		e.parts = slices.DeleteFunc(e.parts, func(other part) bool { return other.Offset < p.end() && p.Offset < other.end() })
		at, _ := slices.BinarySearchFunc(e.parts, p.Offset, func(other part, at int64) int { return cmp.Compare(other.Offset, at) })
		e.parts = slices.Insert(e.parts, at, p)
	}
	return nil // an unreadable rest is fetched again
}
