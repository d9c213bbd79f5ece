package merge

import (
	"bytes"
	"cmp"
	"context"
	"encoding/binary"
	"fmt"
	"math"
	"slices"
	"time"

	"github.com/causality-project/causality/backend/internal/pipeline/lake/parquetv1"
	"github.com/causality-project/causality/backend/internal/platform/event"
)

// maxBits bounds the buckets of a month. A job of a few million rows never needs
// as many.
const maxBits = 12

// plan says which rows stay and where. A row is named by its place over all
// inputs, counted in their order.
type plan struct {
	job    *Job
	starts []uint32 // by input: its first row; one more: the number of rows
	keys   []int64  // by row: the person now, 0: nobody
	ts     []int64
	ids    []event.ID
	marks  []mark

	order     []uint32 // the rows that stay, by (user_key, ts, event_id)
	partOf    []uint16 // by place in order: index of its slot
	slots     []*slot
	displaced []uint32 // of order, those that are not where their input's order has them
	repeated  int64
	removed   int64
}

// mark says why a row is not simply taken from its input's order.
type mark uint8

const (
	dropped  mark = iota + 1 // repeats another, or was refused
	displace                 // belongs elsewhere than its neighbours
)

// slot is a part and its rows, in order.
type slot struct {
	part *Part
	rows []uint32
}

func newPlan(ctx context.Context, job *Job) (*plan, error) {
	p := &plan{job: job}
	var total int64
	for _, in := range job.Inputs {
		p.starts = append(p.starts, uint32(total))
		if total += in.Rows(); total > math.MaxInt32 {
			return nil, fmt.Errorf("the inputs have more than %d rows", math.MaxInt32)
		}
	}
	p.starts = append(p.starts, uint32(total))
	p.keys, p.ts = make([]int64, 0, total), make([]int64, 0, total)
	p.ids, p.marks = make([]event.ID, 0, total), make([]mark, total)
	for i, in := range job.Inputs {
		err := in.Int64s(parquetv1.ColUserKey, 0, func(keys []int64) error { p.keys = append(p.keys, keys...); return job.Pace(ctx) })
		if err == nil {
			err = in.Int64s(parquetv1.ColTS, 0, func(ts []int64) error { p.ts = append(p.ts, ts...); return job.Pace(ctx) })
		}
		if err == nil {
			err = in.ReadIDs(func(ids []event.ID) error { p.ids = append(p.ids, ids...); return job.Pace(ctx) })
		}
		if end := int(p.starts[i+1]); err == nil && (len(p.keys) != end || len(p.ts) != end || len(p.ids) != end) {
			err = fmt.Errorf("its columns end at rows %d, %d and %d, its footer states %d", len(p.keys), len(p.ts), len(p.ids), end)
		}
		if err != nil {
			return nil, fmt.Errorf("input %d: %w", i, err)
		}
	}
	for _, step := range []func(context.Context) error{p.findRepeats, p.resolve, p.refuse, p.sort, p.split} {
		if err := step(ctx); err != nil {
			return nil, err
		}
	}
	return p, nil
}

// findRepeats drops all copies of an id but the one that was accepted first.
//
// Ids are looked at in passes by their last bits, which are random in a UUID, so
// that the table of a pass stays in the processor's cache.
func (p *plan) findRepeats(ctx context.Context) error {
	const perPass = 1 << 18
	passes := uint64(1)
	for int64(len(p.ids))/int64(passes) > perPass {
		passes *= 2
	}
	copies := map[event.ID][]uint32{}
	table := make([]uint64, 4*perPass) // the hash's upper half and the row + 1
	for pass := range passes {
		clear(table)
		for row := range p.ids {
			hash := hashOf(&p.ids[row])
			if hash&(passes-1) != pass {
				continue
			}
			for at := hash >> 32 & uint64(len(table)-1); ; at = (at + 1) & uint64(len(table)-1) {
				if table[at] == 0 {
					table[at] = hash&^math.MaxUint32 | uint64(row+1)
					break
				}
				if table[at]>>32 != hash>>32 {
					continue
				}
				if first := uint32(table[at]) - 1; p.ids[first] == p.ids[row] {
					if copies[p.ids[row]] == nil {
						copies[p.ids[row]] = []uint32{first}
					}
					copies[p.ids[row]] = append(copies[p.ids[row]], uint32(row))
					break
				}
			}
		}
		if err := p.job.Pace(ctx); err != nil {
			return err
		}
	}
	if len(copies) == 0 {
		return nil
	}
	return p.dropRepeats(ctx, copies)
}

// hashOf mixes an id: ids that are not UUIDv7 may share any of their bits.
func hashOf(id *event.ID) uint64 {
	h := binary.LittleEndian.Uint64(id[:8])*0x9e3779b97f4a7c15 ^ binary.LittleEndian.Uint64(id[8:])
	h ^= h >> 32
	h *= 0xd6e8feb86659fd93
	return h ^ h>>29
}

func (p *plan) dropRepeats(ctx context.Context, copies map[event.ID][]uint32) error {
	type acceptance struct{ receivedAt, seq int64 }
	accepted := map[uint32]acceptance{}
	for _, rows := range copies {
		for _, row := range rows {
			accepted[row] = acceptance{}
		}
	}
	note := func(column int, set func(*acceptance, int64)) error {
		for i, in := range p.job.Inputs {
			row := p.starts[i]
			err := in.Int64s(column, 0, func(values []int64) error {
				for _, value := range values {
					if a, ok := accepted[row]; ok {
						set(&a, value)
						accepted[row] = a
					}
					row++
				}
				return p.job.Pace(ctx)
			})
			if err != nil {
				return fmt.Errorf("input %d: %w", i, err)
			}
		}
		return nil
	}
	if err := note(parquetv1.ColReceivedAt, func(a *acceptance, v int64) { a.receivedAt = v }); err != nil {
		return err
	}
	if err := note(parquetv1.ColSeq, func(a *acceptance, v int64) { a.seq = v }); err != nil {
		return err
	}
	for _, rows := range copies {
		first := slices.MinFunc(rows, func(a, b uint32) int {
			return cmp.Or(cmp.Compare(accepted[a].receivedAt, accepted[b].receivedAt), cmp.Compare(accepted[a].seq, accepted[b].seq), cmp.Compare(a, b))
		})
		for _, row := range rows {
			if row != first {
				p.marks[row] = dropped
				p.repeated++
			}
		}
	}
	return nil
}

// resolve asks for the person of each row of the stale inputs.
func (p *plan) resolve(ctx context.Context) error {
	for i, in := range p.job.Inputs {
		if p.job.Stale == nil || !p.job.Stale[i] {
			continue
		}
		users, err := textsOf(ctx, p.job, in, parquetv1.ColUserID)
		if err != nil {
			return fmt.Errorf("input %d: %w", i, err)
		}
		visitors, err := textsOf(ctx, p.job, in, parquetv1.ColAnonymousID)
		if err != nil {
			return fmt.Errorf("input %d: %w", i, err)
		}
		// A person's rows lie together: asking for one of a run is enough.
		type question struct {
			key           int64
			user, visitor int32
		}
		var asked question
		var answer int64
		ready := false
		for n := range users.codes {
			row := p.starts[i] + uint32(n)
			if p.marks[row] == dropped {
				continue
			}
			if q := (question{p.keys[row], users.codes[n], visitors.codes[n]}); q != asked || !ready {
				asked, answer, ready = q, p.job.Resolve(q.key, users.text(n), visitors.text(n)), true
			}
			if answer != p.keys[row] {
				p.keys[row], p.marks[row] = answer, displace
			}
		}
		if err := p.job.Pace(ctx); err != nil {
			return err
		}
	}
	return nil
}

// refuse drops what Keep does not want.
func (p *plan) refuse(ctx context.Context) error {
	if p.job.Keep == nil {
		return nil
	}
	for i, in := range p.job.Inputs {
		var columns [4]texts
		for n, column := range []int{parquetv1.ColEvent, parquetv1.ColType, parquetv1.ColUserID, parquetv1.ColAnonymousID} {
			read, err := textsOf(ctx, p.job, in, column)
			if err != nil {
				return fmt.Errorf("input %d: %w", i, err)
			}
			columns[n] = read
		}
		row := p.starts[i]
		n := 0
		err := in.Int64s(parquetv1.ColReceivedAt, 0, func(received []int64) error {
			for _, receivedAt := range received {
				if p.marks[row] != dropped {
					r := Row{
						ID: p.ids[row], Event: columns[0].text(n), Type: typeOf(columns[1].text(n)), UserKey: p.keys[row],
						UserID: columns[2].text(n), AnonymousID: columns[3].text(n), TS: p.ts[row], ReceivedAt: receivedAt,
					}
					if !p.job.Keep(&r) {
						p.marks[row] = dropped
						p.removed++
						if p.job.Removed != nil {
							if err := p.job.Removed(r.ID); err != nil {
								return err
							}
						}
					}
				}
				row++
				n++
			}
			return p.job.Pace(ctx)
		})
		if err != nil {
			return fmt.Errorf("input %d: %w", i, err)
		}
	}
	return nil
}

func typeOf(text string) event.Type {
	for _, t := range []event.Type{event.Track, event.Identify, event.Group, event.Alias} {
		if t.String() == text {
			return t
		}
	}
	return 0
}

func (p *plan) compare(a, b uint32) int {
	if c := cmp.Compare(p.keys[a], p.keys[b]); c != 0 {
		return c
	}
	if c := cmp.Compare(p.ts[a], p.ts[b]); c != 0 {
		return c
	}
	return bytes.Compare(p.ids[a][:], p.ids[b][:])
}

// sort merges the inputs' orders into one. Rows out of their input's order, by
// links or because the input never was sorted, are sorted first and merged like
// one input more.
func (p *plan) sort(ctx context.Context) error {
	var displaced []uint32
	var runs runs
	runs.plan = p
	left := 0
	for i := range p.job.Inputs {
		last := int64(-1)
		for row := p.starts[i]; row < p.starts[i+1]; row++ {
			switch {
			case p.marks[row] == dropped:
				continue
			case p.marks[row] == 0 && last >= 0 && p.compare(uint32(last), row) > 0:
				p.marks[row] = displace
				displaced = append(displaced, row)
			case p.marks[row] == displace:
				displaced = append(displaced, row)
			default:
				last = int64(row)
			}
			left++
		}
		runs.add(run{next: p.starts[i], end: p.starts[i+1]})
	}
	slices.SortFunc(displaced, p.compare)
	p.displaced = displaced
	runs.add(run{rows: displaced})
	p.order = make([]uint32, 0, left)
	for len(runs.heads) > 0 {
		p.order = runs.drain(p.order, 1<<16)
		if err := p.job.Pace(ctx); err != nil {
			return err
		}
	}
	return nil
}

// run is a source of rows in order: a range of rows without those that are
// marked, or a list.
type run struct {
	next, end uint32
	rows      []uint32
}

// head is a run's next row; its keys are copied here to be near when compared.
type head struct {
	key, ts int64
	row     uint32
	run     int32
}

// runs is a heap of the runs by their next rows.
type runs struct {
	plan  *plan
	runs  []run
	heads []head
}

func (r *runs) add(run run) {
	r.runs = append(r.runs, run)
	if head, ok := r.next(int32(len(r.runs) - 1)); ok {
		r.heads = append(r.heads, head)
		for i := len(r.heads) - 1; i > 0 && r.less(&r.heads[i], &r.heads[(i-1)/2]); i = (i - 1) / 2 {
			r.heads[i], r.heads[(i-1)/2] = r.heads[(i-1)/2], r.heads[i]
		}
	}
}

func (r *runs) next(index int32) (head, bool) {
	run := &r.runs[index]
	if run.rows != nil {
		row := run.rows[0]
		if run.rows = run.rows[1:]; len(run.rows) == 0 {
			run.rows = nil
		}
		return r.head(row, index), true
	}
	for ; run.next < run.end; run.next++ {
		if r.plan.marks[run.next] == 0 {
			run.next++
			return r.head(run.next-1, index), true
		}
	}
	return head{}, false
}

func (r *runs) head(row uint32, index int32) head {
	return head{r.plan.keys[row], r.plan.ts[row], row, index}
}

func (r *runs) less(a, b *head) bool {
	if a.key != b.key {
		return a.key < b.key
	}
	if a.ts != b.ts {
		return a.ts < b.ts
	}
	return bytes.Compare(r.plan.ids[a.row][:], r.plan.ids[b.row][:]) < 0
}

// drain appends up to n rows in order.
func (r *runs) drain(rows []uint32, n int) []uint32 {
	for ; n > 0 && len(r.heads) > 0; n-- {
		rows = append(rows, r.heads[0].row)
		if head, ok := r.next(r.heads[0].run); ok {
			r.heads[0] = head
		} else {
			last := len(r.heads) - 1
			r.heads[0] = r.heads[last]
			r.heads = r.heads[:last]
		}
		r.sink()
	}
	return rows
}

// sink moves the first head to its place.
func (r *runs) sink() {
	for i := 0; ; {
		least := i
		for child := 2*i + 1; child <= 2*i+2 && child < len(r.heads); child++ {
			if r.less(&r.heads[child], &r.heads[least]) {
				least = child
			}
		}
		if least == i {
			return
		}
		r.heads[i], r.heads[least] = r.heads[least], r.heads[i]
		i = least
	}
}

// split shares the rows out over parts.
func (p *plan) split(ctx context.Context) error {
	if len(p.order) == 0 {
		return nil
	}
	p.partOf = make([]uint16, len(p.order))
	if !p.job.Settle {
		p.slots = []*slot{{part: &Part{Number: 1, Of: 1, Rows: int64(len(p.order)), Objects: map[string]Written{}}, rows: p.order}}
		return p.job.Pace(ctx)
	}
	months := p.countMonths()
	index := map[int]int{} // by month: its first part
	var parts []*Part
	for _, m := range months {
		bits := m.bits(p.maxRows(), p.job.MinBits)
		m.width = maxBits - bits
		index[m.number] = len(parts)
		for bucket := range 1 << bits {
			parts = append(parts, &Part{Period: m.start, Bucket: bucket, Bits: bits, Objects: map[string]Written{}})
		}
	}
	if len(parts) > math.MaxUint16 {
		return fmt.Errorf("the rows fall into %d months and users' buckets; merge fewer objects at once", len(parts))
	}
	at := calendar{}
	byMonth := map[int]*month{}
	for _, m := range months {
		byMonth[m.number] = m
	}
	var m *month
	first := 0
	for i, row := range p.order {
		if number := at.month(p.ts[row]); m == nil || m.number != number {
			m, first = byMonth[number], index[number]
		}
		part := first + bucketOf(p.keys[row], maxBits)>>m.width
		p.partOf[i] = uint16(part)
		parts[part].Rows++
	}
	// Leave out the empty ones, and hand out the room for the rows.
	slotOf := make([]uint16, len(parts))
	room := make([]uint32, len(p.order))
	for i, part := range parts {
		if part.Rows == 0 {
			continue
		}
		slotOf[i] = uint16(len(p.slots))
		p.slots = append(p.slots, &slot{part: part, rows: room[:0:part.Rows]})
		room = room[part.Rows:]
	}
	for i, row := range p.order {
		p.partOf[i] = slotOf[p.partOf[i]]
		s := p.slots[p.partOf[i]]
		s.rows = append(s.rows, row)
	}
	for i, s := range p.slots {
		s.part.Number, s.part.Of = i+1, len(p.slots)
	}
	return p.job.Pace(ctx)
}

// maxRows is how many rows make an object as large as it may get: a third over
// the target, so that halving a part never leaves much less than half of that.
func (p *plan) maxRows() int64 {
	var bytes, rows int64
	for _, in := range p.job.Inputs {
		bytes += in.Size()
		rows += in.Rows()
	}
	return max(1, int64(float64(p.job.Target)*4/3*float64(rows)/float64(max(bytes, 1))))
}

// bucketOf is the first bits of a 63-bit key.
func bucketOf(key int64, bits int) int { return int(key >> (63 - bits)) }

// month counts the rows of a calendar month by their users' first bits.
type month struct {
	number int // since year 0
	start  time.Time
	width  int // maxBits less the bits that it is split by
	rows   [1 << maxBits]int64
	user   [1 << maxBits]int64 // rows of the largest user, who cannot be split
}

func (p *plan) countMonths() []*month {
	byNumber := map[int]*month{}
	var at calendar
	var m *month
	var key, run int64
	for _, row := range p.order {
		if number := at.month(p.ts[row]); m == nil || m.number != number {
			if m = byNumber[number]; m == nil {
				m = &month{number: number, start: at.start()}
				byNumber[number] = m
			}
			run = 0
		}
		// Within a user rows go by time, so that a month's lie together.
		if p.keys[row] != key {
			key, run = p.keys[row], 0
		}
		run++
		bucket := bucketOf(key, maxBits)
		m.rows[bucket]++
		m.user[bucket] = max(m.user[bucket], run)
	}
	months := make([]*month, 0, len(byNumber))
	for _, m := range byNumber {
		months = append(months, m)
	}
	slices.SortFunc(months, func(a, b *month) int { return cmp.Compare(a.number, b.number) })
	return months
}

// bits is the least number of bits that leaves no bucket with more rows than
// most, apart from what one user has alone.
func (m *month) bits(most int64, least int) int {
	for bits := least; bits < maxBits; bits++ {
		fits := true
		for bucket := 0; bucket < 1<<maxBits && fits; bucket += 1 << (maxBits - bits) {
			var rows, user int64
			for i := bucket; i < bucket+1<<(maxBits-bits); i++ {
				rows += m.rows[i]
				user = max(user, m.user[i])
			}
			fits = rows <= most || rows-user <= most/2
		}
		if fits {
			return bits
		}
	}
	return maxBits
}

// calendar tells the month of instants, quickly where they lie together.
type calendar struct {
	from, to int64 // µs; of the month last told
	number   int
}

func (c *calendar) month(ts int64) int {
	if ts < c.from || ts >= c.to {
		t := time.UnixMicro(ts).UTC()
		start := time.Date(t.Year(), t.Month(), 1, 0, 0, 0, 0, time.UTC)
		c.from, c.to = start.UnixMicro(), start.AddDate(0, 1, 0).UnixMicro()
		c.number = t.Year()*12 + int(t.Month()) - 1
	}
	return c.number
}

func (c *calendar) start() time.Time { return time.UnixMicro(c.from).UTC() }
