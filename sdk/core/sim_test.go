package core

import (
	"encoding/binary"
	"maps"
	"math/rand/v2"
	"slices"
	"testing"

	"pgregory.net/rapid"
)

func random() func() uint64 { return rand.New(rand.NewPCG(1, 2)).Uint64 }

func newCore(t testing.TB, cfg Config) *Core {
	t.Helper()
	if cfg.Random == nil {
		cfg.Random = random()
	}
	c, err := New(cfg, nil, nil)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// world is everything around a core: a clock that jumps, a disk that fills, a
// server with moods, and a process that crashes. It remembers what became of every
// event, and so can tell when one is lost.
type world struct {
	*rapid.T
	cfg    Config
	core   *Core
	now    Micros
	random *rand.Rand

	disk  []Block // what a crash leaves
	state []byte
	full  bool

	added     []string            // ids in order, of events that Add took
	fate      map[string]string   // settled ones: acknowledged, or a reason
	delivered map[string]bool     // at the server
	acked     map[string]bool     // settled, and known so to the disk
	batches   map[string][]string // contents by batch id
	missing   uint64              // at the start of this life: not queued, of no known fate
	crashes   int
	small     bool
	reported  map[Reason]uint64 // drops that acknowledged requests told of
	sent      *Request
	body      []byte
	volatile  map[string]bool // taken, not on disk: a crash may lose them
}

func (w *world) start() {
	w.cfg.Random = w.random.Uint64
	var infos []BlockInfo
	for _, b := range w.disk {
		infos = append(infos, BlockInfo{b.Seq, b.At, b.Events, len(b.Data)})
	}
	var err error
	if w.core, err = New(w.cfg, w.state, infos); err != nil {
		w.Fatal(err)
	}
	if w.small { // below what Config allows, so that it overflows often
		w.core.cfg.QueueBytes, w.core.cfg.QueueEvents = 20<<10, 200
	}
	w.sent = nil
	w.missing = w.countMissing()
}

func (w *world) track() {
	e := Event{Name: "event", UserID: "user", Properties: map[string]any{"n": len(w.added)}}
	if w.random.IntN(20) == 0 {
		e.Properties["pad"] = string(make([]byte, 5000))
	}
	encoded, err := Encode(nil, w.now, &e, nil)
	if err != nil {
		w.Fatal(err)
	}
	if _, err := w.core.Add(w.now, encoded); err == ErrQueueFull {
		return
	} else if err != nil {
		w.Fatal(err)
	}
	id := string(encoded.bytes[2:38])
	if n := len(w.added); n > 0 && id <= w.added[n-1] && w.core.ids.millis > 0 && w.volatile[w.added[n-1]] {
		w.Fatalf("id %s follows %s in one life", id, w.added[n-1])
	}
	w.added = append(w.added, id)
	w.volatile[id] = true
}

// idsOf reads the event ids of frames.
func idsOf(frames []byte) []string {
	var out []string
	for len(frames) > 0 && frames[0] == frameTag {
		n, size := binary.Uvarint(frames[1:])
		frames = frames[1+size:]
		out = append(out, string(frames[2:38]))
		frames = frames[n:]
	}
	return out
}

// work polls until nothing is due, and checks that the core then waits. It may be
// cut short by a crash.
func (w *world) work() {
	for range 10_000 {
		command, more := w.poll()
		switch {
		case !more:
			if at := w.core.Deadline(w.now); at <= w.now {
				w.Fatalf("nothing to do, yet the deadline is %d at %d", at, w.now)
			}
			return
		case command.Commit != nil:
			if w.crashNow() { // before the disk has it …
				return
			}
			ok := w.commit(command.Commit)
			if w.crashNow() { // … or after, but nobody was told
				return
			}
			w.core.Committed(w.now, ok)
			if ok {
				for id := range w.fate {
					w.acked[id] = true
				}
			}
		case command.Send != nil:
			w.send(command.Send)
			if w.crashNow() {
				return
			}
		}
	}
	w.Fatal("the core never rests")
}

func (w *world) crashNow() bool {
	if w.crashes <= 0 || w.random.IntN(10) > 0 {
		return false
	}
	w.crashes--
	w.crash()
	return true
}

// poll checks that what a Poll gives up is too old or too much, and is counted so.
func (w *world) poll() (Command, bool) {
	c := w.core
	before, done, counts := slices.Clone(c.blocks), c.done, maps.Clone(c.dropped)
	bytes, events := c.queuedBytes+len(c.open), c.queuedEvents+c.openEvents
	if c.openEvents > 0 {
		before = append(before, block{c.nextSeq, c.openAt, c.openEvents, len(c.open)})
	}
	command, more := c.Poll(w.now)
	kept := map[uint64]bool{c.nextSeq: true} // in the open block
	for _, b := range c.blocks {
		kept[b.seq] = true
	}
	for i, b := range before {
		if kept[b.seq] {
			continue
		}
		n := b.events
		if i == 0 {
			n -= done
		}
		switch {
		case w.now-b.at > c.cfg.MaxAge:
			counts[Expired] += uint64(n)
		case bytes > c.cfg.QueueBytes || events > c.cfg.QueueEvents:
			counts[Overflow] += uint64(n)
		default:
			w.Fatalf("block %d was given up at %d, from %d, with %d bytes and %d events queued", b.seq, w.now, b.at, bytes, events)
		}
		bytes, events = bytes-b.bytes, events-n
	}
	if counts[Expired] != c.dropped[Expired] || counts[Overflow] != c.dropped[Overflow] {
		w.Fatalf("dropped are %v, want %v", c.dropped, counts)
	}
	return command, more
}

// commit is what the disk does, whoever hears of it.
func (w *world) commit(change *Change) bool {
	if w.full && len(change.Append) > 0 {
		return false
	}
	for _, r := range change.Delete {
		w.disk = slices.DeleteFunc(w.disk, func(b Block) bool { return b.Seq >= r.First && b.Seq <= r.Last })
	}
	for _, b := range change.Append {
		if n := len(w.disk); n > 0 && w.disk[n-1].Seq >= b.Seq {
			w.Fatalf("block %d is appended after %d", b.Seq, w.disk[n-1].Seq)
		}
		w.disk = append(w.disk, b)
		for _, id := range idsOf(b.Data) {
			delete(w.volatile, id)
		}
	}
	w.state = change.State
	return true
}

func (w *world) send(r *Request) {
	if w.sent != nil {
		w.Fatal("two attempts at once")
	}
	var blocks [][]byte
	for _, b := range w.disk {
		if b.Seq >= r.First && b.Seq <= r.Last && (len(r.Unsaved) == 0 || b.Seq < r.Unsaved[0].Seq) {
			blocks = append(blocks, b.Data)
		}
	}
	for _, b := range r.Unsaved {
		blocks = append(blocks, b.Data)
	}
	body, ok := AppendBody(nil, blocks, r.Skip, r.Events, r.Trailer)
	if !ok || len(body) >= 1<<20 {
		w.Fatalf("a body of %d bytes (%v) for %+v", len(body), ok, r)
	}
	ids := idsOf(body)
	if len(ids) != r.Events || r.Events > MaxEvents {
		w.Fatalf("%d events in the body, %d in the request", len(ids), r.Events)
	}
	batch := w.core.batch.id
	if before, again := w.batches[batch]; again && !slices.Equal(before, ids) {
		w.Fatalf("batch %s changed from %d to %d events", batch, len(before), len(ids))
	}
	w.batches[batch] = ids
	for _, id := range ids {
		if w.acked[id] {
			w.Fatalf("event %s is sent again although the disk knows that it is settled", id)
		}
	}
	// Within a batch, and from batch to batch, the order of tracking is kept.
	at := slices.Index(w.added, ids[0])
	if !slices.IsSorted(ids) && !w.orderedAsAdded(ids) {
		w.Fatal("the order within a batch is not the order of tracking")
	}
	for _, earlier := range w.added[:at] {
		if w.fate[earlier] == "" && !w.gone(earlier) {
			w.Fatalf("event %s overtook %s", ids[0], earlier)
		}
	}
	w.sent, w.body = r, body
}

func (w *world) orderedAsAdded(ids []string) bool {
	last := -1
	for _, id := range ids {
		i := slices.Index(w.added, id)
		if i <= last {
			return false
		}
		last = i
	}
	return true
}

// gone tells whether an event is in no queue any more, as a drop leaves it.
func (w *world) gone(id string) bool { return !slices.Contains(w.queued(), id) }

// queued lists what the core still has, on disk or in memory.
func (w *world) queued() []string {
	var out []string
	for i, b := range w.core.blocks {
		data := w.data(b.seq)
		ids := idsOf(data)
		if i == 0 {
			ids = ids[w.core.done:]
		}
		out = append(out, ids...)
	}
	return append(out, idsOf(w.core.open)...)
}

func (w *world) data(seq uint64) []byte {
	for _, b := range w.core.unsaved {
		if b.Seq == seq {
			return b.Data
		}
	}
	for _, b := range w.disk {
		if b.Seq == seq {
			return b.Data
		}
	}
	w.Fatalf("block %d is nowhere", seq)
	return nil
}

func (w *world) answer(status int, lost bool) {
	if w.sent == nil {
		return
	}
	ids := idsOf(w.body)
	r := Response{Status: status}
	if status == 200 {
		for _, id := range ids {
			w.delivered[id] = true
		}
		r.Body = appendInt(nil, 1, int64(len(ids)))
	}
	if status == 503 && w.random.IntN(2) == 0 {
		r.RetryAfter = Micros(w.random.Int64N(int64(2 * Hour)))
	}
	if lost {
		r = Response{}
	}
	if r.Status == 200 {
		for _, id := range ids {
			w.fate[id] = "acknowledged"
		}
		for reason, n := range dropsOf(w.sent.Trailer) {
			if w.reported != nil {
				w.reported[reason] += n
			}
		}
	}
	if (r.Status == 400 || r.Status == 413) && len(ids) == 1 {
		w.fate[ids[0]] = "set aside"
	}
	if !w.core.Answered(w.now, w.sent.Attempt, r) {
		w.Fatal("the current attempt's answer was ignored")
	}
	w.sent = nil
}

// dropsOf reads what a trailer tells of drops.
func dropsOf(trailer []byte) map[Reason]uint64 {
	out := map[Reason]uint64{}
	r := reader{rest: trailer, ok: true}
	for {
		field, wire, more := r.field()
		if !more {
			return out
		}
		if field != 5 {
			r.skip(wire)
			continue
		}
		pair := reader{rest: r.bytes(), ok: true}
		pair.field()
		reason := Reason(pair.bytes())
		pair.field()
		out[reason] += pair.varint()
	}
}

// crash loses what is not on disk.
func (w *world) crash() {
	w.reported = nil // from now on drops may be told twice, or not
	onDisk := map[string]bool{}
	for _, b := range w.disk {
		for _, id := range idsOf(b.Data) {
			onDisk[id] = true
		}
	}
	for id := range onDisk { // the answer is forgotten with the process
		if w.fate[id] != "" && !w.acked[id] {
			delete(w.fate, id)
		}
	}
	for id := range w.volatile {
		if w.fate[id] == "" && !onDisk[id] {
			w.fate[id] = "crashed"
		}
	}
	w.volatile = map[string]bool{}
	w.start()
}

func (w *world) check() {
	s := w.core.Stats()
	if s.QueuedBytes > w.core.cfg.QueueBytes+w.core.cfg.BufferBytes+maxBodyBytes || w.core.unsavedBytes > w.core.cfg.BufferBytes {
		w.Fatalf("%d bytes queued, %d of them only in memory", s.QueuedBytes, w.core.unsavedBytes)
	}
	queued := w.queued()
	if len(queued) != s.Queued {
		w.Fatalf("the core counts %d queued events and has %d", s.Queued, len(queued))
	}
	// Whatever is neither queued nor settled was dropped, and counted.
	counted := w.core.dropped[Expired] + w.core.dropped[Overflow]
	if missing := w.countMissing() - w.missing; missing != counted {
		w.Fatalf("%d events vanished, %d were counted as dropped", missing, counted)
	}
}

func (w *world) countMissing() (n uint64) {
	has := map[string]bool{}
	for _, id := range w.queued() {
		has[id] = true
	}
	for _, id := range w.added {
		if w.fate[id] == "" && !has[id] {
			n++
		}
	}
	return n
}

// TestNothingIsLostOrSentAgain plays random lives.
func TestNothingIsLostOrSentAgain(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		seed := rapid.Uint64().Draw(t, "seed")
		w := &world{
			T: t, now: 1_790_000_000 * Second, random: rand.New(rand.NewPCG(seed, 0)),
			cfg:  Config{QueueBytes: 2 << 20, QueueEvents: 2 * MaxEvents, BufferBytes: 256 << 10},
			fate: map[string]string{}, delivered: map[string]bool{}, acked: map[string]bool{},
			batches: map[string][]string{}, reported: map[Reason]uint64{}, volatile: map[string]bool{},
			crashes: rapid.IntRange(-1, 3).Draw(t, "crashes at work, or none at all"),
			small:   rapid.Bool().Draw(t, "small queue"),
		}
		if rapid.Bool().Draw(t, "phone") {
			w.cfg.Visitor = &VisitorConfig{Background: 30 * Second}
		}
		w.start()
		statuses := []int{0, 200, 200, 200, 302, 400, 401, 413, 429, 500, 503}
		t.Repeat(map[string]func(*rapid.T){
			"track": func(*rapid.T) { w.track() },
			"track many": func(t *rapid.T) {
				for range rapid.IntRange(1, 300).Draw(t, "events") {
					w.track()
				}
			},
			"wait": func(t *rapid.T) {
				w.now += Micros(rapid.Int64Range(0, int64(20*Second)).Draw(t, "wait"))
				w.work()
			},
			"wait until due": func(*rapid.T) {
				if at := w.core.Deadline(w.now); at < w.now+Hour {
					w.now = max(at, w.now)
				}
				w.work()
			},
			"clock is set": func(t *rapid.T) {
				w.now += Micros(rapid.Int64Range(-int64(2*Day), int64(2*Day)).Draw(t, "jump"))
				w.work()
			},
			"answer":         func(t *rapid.T) { w.work(); w.answer(rapid.SampledFrom(statuses).Draw(t, "status"), false); w.work() },
			"answer is lost": func(*rapid.T) { w.work(); w.answer(200, true); w.work() },
			"disk":           func(t *rapid.T) { w.full = rapid.Bool().Draw(t, "full"); w.work() },
			"flush":          func(*rapid.T) { w.core.Flush(w.now); w.work() },
			"crash": func(*rapid.T) {
				if w.crashes >= 0 {
					w.crash()
					w.work()
				}
			},
			"": func(*rapid.T) { w.check() },
		})
		// In the end the disk has room and the server is well: everything arrives.
		w.full, w.crashes = false, 0
		for range 10_000 {
			if w.core.Stats().Queued == 0 {
				break
			}
			w.core.Flush(w.now)
			w.work()
			if w.sent == nil {
				w.now = max(w.now, min(w.core.Deadline(w.now), w.now+Hour))
				continue
			}
			w.answer(200, false)
			w.work()
		}
		w.check()
		if n := w.core.Stats().Queued; n > 0 {
			t.Fatalf("%d events are stuck", n)
		}
		if told := w.core.unreported == [len(reported)]uint64{}; told && w.reported != nil {
			for _, reason := range reported {
				if w.reported[reason] != w.core.dropped[reason] {
					t.Fatalf("%d events were dropped as %s, the server was told of %d", w.core.dropped[reason], reason, w.reported[reason])
				}
			}
		}
		for _, id := range w.added {
			if w.fate[id] == "acknowledged" && !w.delivered[id] {
				t.Fatalf("event %s counts as sent and never arrived", id)
			}
		}
	})
}
