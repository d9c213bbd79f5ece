package core

import (
	"encoding/binary"
	"math/rand/v2"
	"slices"
	"testing"

	"pgregory.net/rapid"
)

func newCore(t testing.TB, cfg Config) *Core {
	t.Helper()
	if cfg.Random == nil {
		cfg.Random = rand.New(rand.NewPCG(1, 2)).Uint64
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
	counts    map[Reason]uint64   // what the cores of earlier lives had counted
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
	w.sent = nil
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

// work polls until nothing is due, and checks that the core then waits.
func (w *world) work() {
	for range 10_000 {
		command, more := w.core.Poll(w.now)
		switch {
		case !more:
			if at := w.core.Deadline(w.now); at <= w.now {
				w.Fatalf("nothing to do, yet the deadline is %d at %d", at, w.now)
			}
			return
		case command.Commit != nil:
			w.commit(command.Commit)
		case command.Send != nil:
			w.send(command.Send)
		}
	}
	w.Fatal("the core never rests")
}

func (w *world) commit(change *Change) {
	if w.full && len(change.Append) > 0 {
		w.core.Committed(w.now, false)
		return
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
	w.core.Committed(w.now, true)
	for id := range w.fate {
		w.acked[id] = true
	}
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
	}
	if (r.Status == 400 || r.Status == 413) && len(ids) == 1 {
		w.fate[ids[0]] = "set aside"
	}
	if !w.core.Answered(w.now, w.sent.Attempt, r) {
		w.Fatal("the current attempt's answer was ignored")
	}
	w.sent = nil
}

// crash loses what is not on disk.
func (w *world) crash() {
	for reason, n := range w.core.dropped {
		w.counts[reason] += n
	}
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
	if s.QueuedBytes > w.core.cfg.QueueBytes+w.core.cfg.BufferBytes+MaxBodyBytes || w.core.unsavedBytes > w.core.cfg.BufferBytes {
		w.Fatalf("%d bytes queued, %d of them only in memory", s.QueuedBytes, w.core.unsavedBytes)
	}
	queued := w.queued()
	if len(queued) != s.Queued {
		w.Fatalf("the core counts %d queued events and has %d", s.Queued, len(queued))
	}
	// Whatever is neither queued nor settled was dropped, and counted.
	has := map[string]bool{}
	for _, id := range queued {
		has[id] = true
	}
	missing := uint64(0)
	for _, id := range w.added {
		if w.fate[id] == "" && !has[id] {
			missing++
		}
	}
	counted := uint64(0)
	for _, reason := range []Reason{Expired, Overflow} {
		counted += w.counts[reason] + w.core.dropped[reason]
	}
	if missing > counted {
		w.Fatalf("%d events vanished, %d were counted as dropped", missing, counted)
	}
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
			batches: map[string][]string{}, counts: map[Reason]uint64{}, volatile: map[string]bool{},
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
			"crash":          func(*rapid.T) { w.crash(); w.work() },
			"":               func(*rapid.T) { w.check() },
		})
		// In the end the disk has room and the server is well: everything arrives.
		w.full = false
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
		for _, id := range w.added {
			if w.fate[id] == "acknowledged" && !w.delivered[id] {
				t.Fatalf("event %s counts as sent and never arrived", id)
			}
		}
	})
}
