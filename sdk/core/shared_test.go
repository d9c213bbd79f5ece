package core

import (
	"math/rand/v2"
	"slices"
	"testing"

	"pgregory.net/rapid"
)

// browser is several tabs over one queue: a leader that changes, reports that are
// late, overtake each other or come twice, tabs that die at any point, a disk that
// fills, and a server with moods.
type browser struct {
	*rapid.T
	cfg    Config
	random *rand.Rand
	now    Micros
	tabs   []*tab
	leader *tab

	disk  []Block
	state []byte
	last  uint64
	full  bool
	out   bool // every tab was told to opt out
	chose bool // somebody has opted in since the start

	home      map[string]*tab     // of each stored event
	order     map[string]int      // in which its tab tracked it
	answered  map[string]bool     // a leader knows that the server has settled it
	settled   map[string]bool     // … and the disk does
	dropped   map[string]bool     // given up for its age or for room
	delivered map[string]bool     // at the server
	batches   map[string][]string // contents by batch id
}

type tab struct {
	core    *Core
	tracked int
	mail    [][]uint64 // what other tabs said they stored, one letter each
	sent    *Request
	ids     []string // of the attempt's events
}

func (b *browser) open() {
	cfg := b.cfg
	cfg.Random = b.random.Uint64
	c, err := New(cfg, b.state, nil)
	if err != nil {
		b.Fatal(err)
	}
	switch { // a page knows that too, from before there was a leader to save it
	case b.out:
		c.OptOut()
	case b.chose:
		c.OptIn()
	}
	b.tabs = append(b.tabs, &tab{core: c})
}

// pick gives any tab, opening one when there is none.
func (b *browser) pick(t *rapid.T) *tab {
	if len(b.tabs) == 0 {
		b.open()
	}
	return b.tabs[rapid.IntRange(0, len(b.tabs)-1).Draw(t, "tab")]
}

func (b *browser) infos(seqs ...uint64) []BlockInfo {
	var out []BlockInfo
	for _, block := range b.disk {
		if seqs == nil || slices.Contains(seqs, block.Seq) {
			out = append(out, BlockInfo{block.Seq, block.At, block.Events, len(block.Data)})
		}
	}
	for _, seq := range seqs { // deleted since: its reporter still says what it was
		if !slices.ContainsFunc(b.disk, func(block Block) bool { return block.Seq == seq }) {
			out = append(out, BlockInfo{seq, b.now, 1, 60})
		}
	}
	return out
}

func (b *browser) lead(t *tab) {
	if b.leader != nil {
		b.leader.core.Follow()
		b.leader.sent = nil
		b.forget()
	}
	if t != nil {
		t.core.Lead(b.now, b.state, b.infos())
		if b.cfg.QueueBytes > 0 { // below what Config allows, so that it overflows often
			t.core.cfg.QueueBytes = b.cfg.QueueBytes
		}
		b.leader = t
	}
}

// die ends a tab without a word; who follows it learns of nothing that it held.
func (b *browser) die(t *tab) {
	if b.leader == t {
		b.forget()
	}
	b.tabs = slices.DeleteFunc(b.tabs, func(other *tab) bool { return other == t })
}

// forget leaves no leader, and of what the last one knew only what the disk has.
func (b *browser) forget() {
	b.leader = nil
	for id := range b.answered {
		if !b.settled[id] {
			delete(b.answered, id)
		}
	}
	for id := range b.dropped {
		if slices.ContainsFunc(b.disk, func(block Block) bool { return slices.Contains(idsOf(block.Data), id) }) {
			delete(b.dropped, id)
		}
	}
}

func (b *browser) track(t *tab) {
	e := Event{Name: "event", UserID: "user"}
	if b.random.IntN(10) == 0 {
		e.Properties = map[string]any{"pad": string(make([]byte, 1000))}
	}
	encoded, err := Encode(nil, b.now, &e, nil)
	if err != nil {
		b.Fatal(err)
	}
	switch _, err := t.core.Add(b.now, encoded); err {
	case nil:
		if b.out {
			return
		}
		id := string(encoded.bytes[2:38])
		b.home[id], b.order[id] = t, t.tracked
		t.tracked++
	case ErrQueueFull:
	default:
		b.Fatal(err)
	}
}

// work polls a tab until nothing is due. dies says at which command its process
// ends: before the command is done when half is false, after it when true.
func (b *browser) work(t *tab, dies int, half bool) {
	for n := range 10_000 {
		before, bytes, done := slices.Clone(t.core.blocks), t.core.queuedBytes, t.core.done
		command, more := t.core.Poll(b.now)
		b.noteDrops(t, before, bytes, done)
		if !more {
			if at := t.core.Deadline(b.now); at <= b.now {
				b.Fatalf("nothing to do, yet the deadline is %d at %d", at, b.now)
			}
			return
		}
		if n == dies && !half {
			b.die(t)
			return
		}
		var given []uint64
		ok := true
		switch {
		case command.Commit != nil:
			given, ok = b.commit(t, command.Commit)
		case command.Send != nil:
			b.send(t, command.Send)
		case command.Cancel != 0:
			t.sent = nil
		}
		if n == dies {
			b.die(t) // and its letters were never written
			return
		}
		if command.Commit == nil {
			continue
		}
		b.meanwhile(t)
		t.core.Committed(b.now, ok)
		b.tell(t, given)
	}
	b.Fatal("the core never rests")
}

// meanwhile is what may happen to a tab while its queue works.
func (b *browser) meanwhile(t *tab) {
	switch b.random.IntN(8) {
	case 0:
		b.track(t)
	case 1:
		t.core.Flush(b.now)
	case 2:
		for _, letter := range t.mail {
			t.core.Stored(b.now, b.infos(letter...)...)
		}
		t.mail = nil
	case 3:
		if b.leader == t {
			b.lead(b.tabs[b.random.IntN(len(b.tabs))])
		}
	}
}

// tell reports blocks to whom it may concern: at once to a leader that stored them
// itself, by letter to all others, since any of them may lead soon.
func (b *browser) tell(t *tab, given []uint64) {
	if len(given) == 0 {
		return
	}
	t.core.Stored(b.now, b.infos(given...)...)
	for _, other := range b.tabs {
		if other != t {
			other.mail = append(other.mail, given)
		}
	}
}

// noteDrops finds what a Poll has given up.
func (b *browser) noteDrops(t *tab, before []block, bytes, done int) {
	c := t.core
	kept := map[uint64]bool{}
	for _, block := range c.blocks {
		kept[block.seq] = true
	}
	for i, block := range before {
		if kept[block.seq] {
			continue
		}
		if !b.out && b.now-block.at <= c.cfg.MaxAge && bytes <= c.cfg.QueueBytes {
			b.Fatalf("block %d was given up for nothing", block.seq)
		}
		bytes -= block.bytes
		ids := b.idsIn(block.seq)
		if i == 0 {
			ids = ids[done:]
		}
		for _, id := range ids {
			b.dropped[id] = true
		}
	}
}

func (b *browser) idsIn(seq uint64) []string {
	for _, block := range b.disk {
		if block.Seq == seq {
			return idsOf(block.Data)
		}
	}
	return nil
}

func (b *browser) commit(t *tab, change *Change) (given []uint64, ok bool) {
	if t != b.leader && (change.State != nil || len(change.Delete) > 0) {
		b.Fatalf("a follower commits %+v", change)
	}
	if b.full && len(change.Append) > 0 {
		return nil, false
	}
	for _, r := range change.Delete {
		for seq := r.First; seq <= r.Last; seq++ {
			for _, id := range b.idsIn(seq) {
				if !b.answered[id] && !b.dropped[id] {
					b.Fatalf("event %s is deleted and neither acknowledged nor given up", id)
				}
			}
		}
		b.disk = slices.DeleteFunc(b.disk, func(block Block) bool { return block.Seq >= r.First && block.Seq <= r.Last })
	}
	for _, block := range change.Append {
		if block.Seq != 0 {
			b.Fatalf("a shared queue is told to number a block %d", block.Seq)
		}
		b.last++
		block.Seq = b.last
		b.disk = append(b.disk, block)
		given = append(given, block.Seq)
	}
	if change.State != nil {
		b.state = change.State
		for id := range b.answered {
			b.settled[id] = true
		}
	}
	return given, true
}

func (b *browser) send(t *tab, r *Request) {
	if t != b.leader || t.sent != nil || len(r.Unsaved) > 0 || b.out {
		b.Fatalf("an attempt that is not its to make: %+v", r)
	}
	var blocks [][]byte
	for _, block := range b.disk {
		if block.Seq >= r.First && block.Seq <= r.Last {
			blocks = append(blocks, block.Data)
		}
	}
	body, ok := AppendBody(nil, blocks, r.Skip, r.Events, r.Trailer)
	if !ok {
		b.Fatalf("the queue does not hold what %+v needs", r)
	}
	ids := idsOf(body)
	batch := t.core.batch.id
	if before, again := b.batches[batch]; again && !slices.Equal(before, ids) {
		b.Fatalf("batch %s changed from %v to %v", batch, before, ids)
	}
	b.batches[batch] = ids
	last := map[*tab]int{}
	for _, id := range ids {
		if b.settled[id] {
			b.Fatalf("event %s is sent again although the disk knows that it is settled", id)
		}
		home := b.home[id]
		if before, seen := last[home]; seen && b.order[id] <= before {
			b.Fatalf("event %s is not in the order of its tab", id)
		}
		last[home] = b.order[id]
	}
	t.sent, t.ids = r, ids
	b.inOrder(ids)
}

// inOrder checks that no event of the same tab waits that is older than those sent.
func (b *browser) inOrder(ids []string) {
	first := map[*tab]int{}
	sent := map[string]bool{}
	for _, id := range ids {
		sent[id] = true
		if home := b.home[id]; first[home] == 0 || b.order[id]+1 < first[home] {
			first[home] = b.order[id] + 1
		}
	}
	for _, block := range b.disk {
		for _, id := range idsOf(block.Data) {
			n := first[b.home[id]]
			if n > 0 && b.order[id]+1 < n && !sent[id] && !b.answered[id] && !b.dropped[id] {
				b.Fatalf("event %s was overtaken by another of its tab", id)
			}
		}
	}
}

func (b *browser) answer(status int, lost bool) {
	t := b.leader
	if t == nil || t.sent == nil {
		return
	}
	r := Response{Status: status}
	if status == 200 {
		for _, id := range t.ids {
			b.delivered[id] = true
		}
		r.Body = appendInt(nil, 1, int64(len(t.ids)))
	}
	if lost {
		r = Response{}
	}
	if r.Status == 200 || (r.Status == 400 || r.Status == 413) && len(t.ids) == 1 {
		for _, id := range t.ids {
			b.answered[id] = true
		}
	}
	if !t.core.Answered(b.now, t.sent.Attempt, r) {
		b.Fatal("the current attempt's answer was ignored")
	}
	t.sent = nil
}

// read delivers a letter to a tab. Letters of different senders may overtake each
// other, and a letter may come twice.
func (b *browser) read(t *rapid.T, reader *tab) {
	if len(reader.mail) == 0 {
		return
	}
	i := rapid.IntRange(0, min(len(reader.mail), 4)-1).Draw(t, "letter")
	for _, seq := range reader.mail[i] {
		for _, earlier := range reader.mail[:i] {
			if b.sameTab(seq, earlier) {
				i = 0 // one sender's letters arrive in order
			}
		}
	}
	letter := reader.mail[i]
	if !rapid.Bool().Draw(t, "again") {
		reader.mail = slices.Delete(reader.mail, i, i+1)
	}
	reader.core.Stored(b.now, b.infos(letter...)...)
}

func (b *browser) sameTab(seq uint64, letter []uint64) bool {
	a := b.idsIn(seq)
	for _, other := range letter {
		if ids := b.idsIn(other); len(a) == 0 || len(ids) == 0 || b.home[a[0]] == b.home[ids[0]] {
			return true
		}
	}
	return false
}

func (b *browser) check() {
	for _, t := range b.tabs {
		if t.core.unsavedBytes > t.core.cfg.BufferBytes || len(t.core.skipped) > maxSkipped {
			b.Fatalf("%d bytes unsaved, %d numbers skipped", t.core.unsavedBytes, len(t.core.skipped))
		}
		if t != b.leader && (len(t.core.blocks) > 0 || t.core.queuedEvents != 0 || t.core.queuedBytes != 0) {
			b.Fatal("a follower knows blocks of the queue")
		}
		events, bytes := 0, 0
		for _, block := range t.core.blocks {
			events, bytes = events+block.events, bytes+block.bytes
		}
		if events-t.core.done != t.core.queuedEvents || bytes != t.core.queuedBytes {
			b.Fatalf("the leader counts %d events of %d bytes and has %d of %d",
				t.core.queuedEvents, t.core.queuedBytes, events-t.core.done, bytes)
		}
	}
}

// TestTabsLoseNothingOfTheirQueue plays random lives of a browser.
func TestTabsLoseNothingOfTheirQueue(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		b := &browser{
			T: t, now: 1_790_000_000 * Second, random: rand.New(rand.NewPCG(rapid.Uint64().Draw(t, "seed"), 0)),
			cfg:  Config{Shared: true, FlushAt: 20, FlushEvery: 3 * Second, BufferBytes: 64 << 10},
			home: map[string]*tab{}, order: map[string]int{}, answered: map[string]bool{}, settled: map[string]bool{},
			dropped: map[string]bool{}, delivered: map[string]bool{}, batches: map[string][]string{},
		}
		if rapid.Bool().Draw(t, "small queue") {
			b.cfg.QueueBytes = 4 << 10
		}
		statuses := []int{0, 200, 200, 200, 302, 400, 401, 413, 429, 500, 503}
		work := func(tab *tab) { b.work(tab, -1, false) }
		stored := map[string]bool{}
		t.Repeat(map[string]func(*rapid.T){
			"open": func(*rapid.T) {
				if len(b.tabs) < 4 {
					b.open()
				}
			},
			"track": func(t *rapid.T) { b.track(b.pick(t)) },
			"track many": func(t *rapid.T) {
				tab := b.pick(t)
				for range rapid.IntRange(1, 50).Draw(t, "events") {
					b.track(tab)
				}
			},
			"work": func(t *rapid.T) { work(b.pick(t)) },
			"wait": func(t *rapid.T) {
				b.now += Micros(rapid.Int64Range(0, int64(10*Second)).Draw(t, "wait"))
				for _, tab := range slices.Clone(b.tabs) {
					work(tab)
				}
			},
			"clock is set": func(t *rapid.T) {
				b.now += Micros(rapid.Int64Range(-int64(2*Day), int64(4*Day)).Draw(t, "jump"))
				work(b.pick(t))
			},
			"lead":   func(t *rapid.T) { b.lead(b.pick(t)); work(b.leader) },
			"follow": func(*rapid.T) { b.lead(nil) },
			"read":   func(t *rapid.T) { b.read(t, b.pick(t)) },
			"overtake": func(t *rapid.T) {
				if b.leader == nil || b.full {
					return
				}
				for range 2 { // what the second stores is reported before what the first did
					b.open()
					tab := b.tabs[len(b.tabs)-1]
					b.track(tab)
					tab.core.Flush(b.now)
					work(tab)
					b.die(tab)
				}
				mail := b.leader.mail
				if len(mail) < 2 {
					return
				}
				b.leader.mail = slices.Delete(slices.Clone(mail), len(mail)-2, len(mail)-1)
				for _, letter := range b.leader.mail {
					b.leader.core.Stored(b.now, b.infos(letter...)...)
				}
				b.leader.mail = mail[len(mail)-2 : len(mail)-1]
				if rapid.Bool().Draw(t, "flush between") {
					b.leader.core.Flush(b.now)
				}
				work(b.leader)
			},
			"leader reads all": func(*rapid.T) {
				if b.leader != nil {
					for _, letter := range b.leader.mail {
						b.leader.core.Stored(b.now, b.infos(letter...)...)
					}
					b.leader.mail = nil
					work(b.leader)
				}
			},
			"answer": func(t *rapid.T) { b.answer(rapid.SampledFrom(statuses).Draw(t, "status"), false) },
			"answer and work": func(t *rapid.T) {
				b.answer(rapid.SampledFrom(statuses).Draw(t, "status"), false)
				if b.leader != nil {
					work(b.leader)
				}
			},
			"answer is lost": func(*rapid.T) { b.answer(200, true) },
			"disk":           func(t *rapid.T) { b.full = rapid.Bool().Draw(t, "full") },
			"flush":          func(t *rapid.T) { tab := b.pick(t); tab.core.Flush(b.now); work(tab) },
			"opt out": func(*rapid.T) {
				b.out = true
				for _, tab := range slices.Clone(b.tabs) {
					tab.core.OptOut()
					work(tab)
				}
			},
			"opt in": func(*rapid.T) {
				b.out, b.chose = false, true
				for _, tab := range slices.Clone(b.tabs) {
					tab.core.OptIn()
					work(tab)
				}
			},
			"die": func(t *rapid.T) { b.die(b.pick(t)) },
			"die at work": func(t *rapid.T) {
				tab := b.pick(t)
				tab.core.Flush(b.now)
				b.work(tab, rapid.IntRange(0, 3).Draw(t, "command"), rapid.Bool().Draw(t, "half"))
			},
			"": func(*rapid.T) {
				b.check()
				for _, block := range b.disk {
					for _, id := range idsOf(block.Data) {
						stored[id] = true
					}
				}
			},
		})
		// In the end one tab is left, the disk has room and the server is well.
		b.full, b.out = false, false
		b.forget()
		b.tabs = nil
		b.open()
		b.tabs[0].core.OptIn()
		b.lead(b.tabs[0])
		for range 10_000 {
			if b.leader.core.Stats().Queued == 0 {
				break
			}
			b.leader.core.Flush(b.now)
			work(b.leader)
			if b.leader.sent == nil {
				b.now = max(b.now, min(b.leader.core.Deadline(b.now), b.now+Hour))
				continue
			}
			b.answer(200, false)
			work(b.leader)
		}
		if len(b.disk) > 0 {
			t.Fatalf("%d blocks are stuck", len(b.disk))
		}
		for id := range stored {
			if !b.answered[id] && !b.dropped[id] {
				t.Fatalf("event %s is gone", id)
			}
		}
	})
}
