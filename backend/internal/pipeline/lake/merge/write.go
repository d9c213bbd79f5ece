package merge

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math"
	"slices"
	"time"

	"github.com/parquet-go/parquet-go/compress/zstd"

	"github.com/causality-project/causality/backend/internal/pipeline/lake/columnar"
	"github.com/causality-project/causality/backend/internal/pipeline/lake/parquetv1"
	"github.com/causality-project/causality/backend/internal/pipeline/lake/projection"
	"github.com/causality-project/causality/backend/internal/platform/event"
)

// writer gathers the columns of a plan's rows and puts the objects together.
type writer struct {
	*plan
	spool   *columnar.Spool
	encoder *columnar.Encoder
	layout  *columnar.Layout // of events
	byEvent *columnar.Layout
	outputs []*output

	codes      []int32 // by row, of the column in hand
	dictionary *columnar.Dictionary
	ints       []int64 // likewise, where it is one of numbers
	someCodes  []int32 // of the rows of a row group
	someInts   []int64
}

// output is a part's objects to be.
type output struct {
	*slot
	events    *columnar.File
	tracked   []uint32 // TRACK rows by (event, user_key, ts, event_id)
	byEvent   *columnar.File
	eventDays *columnar.File
	userDays  *columnar.File
	days      struct{ event, user int } // rows of the two
}

// write creates the parts' objects.
func (p *plan) write(ctx context.Context) (err error) {
	if len(p.slots) == 0 {
		return nil
	}
	w := &writer{
		plan: p, spool: columnar.NewSpool(p.job.TempDir, spoolMemory), encoder: columnar.NewEncoder(zstd.SpeedDefault), dictionary: columnar.NewDictionary(),
		layout: parquetv1.LayoutWith(p.job.Promote), byEvent: projection.ByEventLayout(p.job.Promote),
		codes: make([]int32, 0, len(p.ids)),
	}
	defer func() { err = errors.Join(err, w.spool.Close()) }()
	for _, s := range p.slots {
		w.outputs = append(w.outputs, &output{slot: s, events: columnar.NewFile(w.layout, w.spool, groupsOf(len(s.rows)))})
	}
	if err := w.gather(ctx); err != nil {
		return err
	}
	for _, o := range w.outputs {
		if err := w.create(ctx, o); err != nil {
			return err
		}
	}
	return nil
}

// What stands for a value that a row does not have: an instant out of every
// range, and the bits of a NaN that nothing computes.
const (
	absentTime   = math.MinInt64
	absentNumber = -1<<51 + 1
)

func groupsOf(rows int) int { return (rows + parquetv1.RowGroupRows - 1) / parquetv1.RowGroupRows }

// derives reports whether there are projections.
func (w *writer) derives() bool { return w.job.Settle && w.job.Zone != nil }

// gather encodes all columns. Those that the projections are made of come
// first, so that the rows' ids and times need not stay in memory.
func (w *writer) gather(ctx context.Context) error {
	if err := w.gatherEvents(ctx); err != nil {
		return err
	}
	if err := w.gatherKeys(ctx); err != nil {
		return err
	}
	hot := map[int]bool{}
	for _, column := range projection.Hot {
		hot[column] = true
	}
	for index := range parquetv1.ColPromoted {
		var err error
		switch column := w.layout.Columns()[index]; index {
		case parquetv1.ColType, parquetv1.ColEvent, parquetv1.ColEventID, parquetv1.ColUserKey, parquetv1.ColTS:
			continue
		case parquetv1.ColAppID:
			w.codes, w.dictionary = append(w.codes[:0], make([]int32, len(w.marks))...), columnar.NewDictionary()
			w.dictionary.Code([]byte(w.job.AppID))
			err = w.putTexts(ctx, column, false)
		case parquetv1.ColSeq, parquetv1.ColReceivedAt:
			err = w.gatherInts(ctx, index, column, 0, columnar.Deltas, false)
		case parquetv1.ColSessionKey:
			err = w.gatherInts(ctx, index, column, 0, columnar.Coded, false)
		case parquetv1.ColOriginalTS:
			err = w.gatherInts(ctx, index, column, absentTime, columnar.Coded, false)
		case parquetv1.ColRevenue:
			err = w.gatherInts(ctx, index, column, absentNumber, columnar.Coded, true)
		default:
			err = w.gatherTexts(ctx, index, column, hot[index])
		}
		if err != nil {
			return err
		}
	}
	return w.gatherPromoted(ctx)
}

// gatherEvents encodes type and event, and orders the rows of by_event.
func (w *writer) gatherEvents(ctx context.Context) error {
	if _, err := w.readTexts(ctx, parquetv1.ColType, true); err != nil {
		return err
	}
	if err := w.putTexts(ctx, w.layout.Columns()[parquetv1.ColType], false); err != nil {
		return err
	}
	// The marks have done their work: now they say which rows are tracked.
	track := int32(-1)
	for code := range int32(w.dictionary.Len()) {
		if string(w.dictionary.Text(code)) == event.Track.String() {
			track = code
		}
	}
	for row, code := range w.codes {
		w.marks[row] = 0
		if code == track {
			w.marks[row] = tracked
		}
	}
	if _, err := w.readTexts(ctx, parquetv1.ColEvent, true); err != nil {
		return err
	}
	if err := w.putTexts(ctx, w.layout.Columns()[parquetv1.ColEvent], false); err != nil {
		return err
	}
	if !w.derives() {
		return nil
	}
	// Ranks of the names, by code.
	byName := make([]int32, w.dictionary.Len())
	for code := range byName {
		byName[code] = int32(code)
	}
	slices.SortFunc(byName, func(a, b int32) int { return bytes.Compare(w.dictionary.Text(a), w.dictionary.Text(b)) })
	ranks := make([]int32, len(byName))
	for rank, code := range byName {
		ranks[code] = int32(rank)
	}
	for _, o := range w.outputs {
		w.orderByEvent(o, ranks)
		o.byEvent = columnar.NewFile(w.byEvent, w.spool, groupsOf(len(o.tracked)))
		if err := w.putDays(ctx, o); err != nil {
			return err
		}
	}
	return w.putTextsOf(ctx, w.byEvent.Column("event"), func(o *output) (*columnar.File, []uint32) { return o.byEvent, o.tracked })
}

// tracked marks rows of TRACK events.
const tracked mark = 1

// orderByEvent counts the rows by event and then puts each in its place, so that
// within an event they keep their order.
func (w *writer) orderByEvent(o *output, ranks []int32) {
	next := make([]int, len(ranks)+1)
	for _, row := range o.rows {
		if w.marks[row] == tracked {
			next[ranks[w.codes[row]]+1]++
		}
	}
	for i := 1; i < len(next); i++ {
		next[i] += next[i-1]
	}
	o.tracked = make([]uint32, next[len(ranks)])
	for _, row := range o.rows {
		if w.marks[row] == tracked {
			rank := ranks[w.codes[row]]
			o.tracked[next[rank]] = row
			next[rank]++
		}
	}
}

// gatherKeys encodes what the plan holds: ids, people and times.
func (w *writer) gatherKeys(ctx context.Context) error {
	id := w.layout.Columns()[parquetv1.ColEventID]
	for _, o := range w.outputs {
		err := w.eachGroup(ctx, o.rows, func(group int, rows []uint32) error {
			chunk, err := w.encoder.UUIDs(id, len(rows), func(i int) *[16]byte { return (*[16]byte)(&w.ids[rows[i]]) })
			if err != nil {
				return err
			}
			return o.events.Put(group, id, chunk)
		})
		if err != nil {
			return err
		}
	}
	w.ids = nil
	w.ints = w.keys
	if err := w.putInts(ctx, w.layout.Columns()[parquetv1.ColUserKey], 0, columnar.Coded, true); err != nil {
		return err
	}
	for _, o := range w.outputs {
		o.part.MinTS, o.part.MaxTS = w.span(o.rows, w.ts)
	}
	w.ints, w.keys = w.ts, nil
	err := w.putInts(ctx, w.layout.Columns()[parquetv1.ColTS], absentTime, columnar.Deltas, true)
	w.ts = nil
	return err
}

func (w *writer) span(rows []uint32, micros []int64) (least, greatest time.Time) {
	from, to := micros[rows[0]], micros[rows[0]]
	for _, row := range rows {
		from, to = min(from, micros[row]), max(to, micros[row])
	}
	return time.UnixMicro(from).UTC(), time.UnixMicro(to).UTC()
}

// gatherInts reads and encodes a column of numbers.
func (w *writer) gatherInts(ctx context.Context, index int, column *columnar.Column, absent int64, encoding columnar.Encoding, hot bool) error {
	w.ints = w.ints[:0]
	for i, in := range w.job.Inputs {
		err := in.Int64s(index, absent, func(values []int64) error { w.ints = append(w.ints, values...); return w.job.Pace(ctx) })
		if err == nil && len(w.ints) != int(w.starts[i+1]) {
			err = fmt.Errorf("column %s ends at row %d of %d", column.Name(), len(w.ints)-int(w.starts[i]), in.Rows())
		}
		if err != nil {
			return fmt.Errorf("input %d: %w", i, err)
		}
	}
	if index == parquetv1.ColReceivedAt {
		for _, o := range w.outputs {
			o.part.MinReceivedAt, o.part.MaxReceivedAt = w.span(o.rows, w.ints)
		}
	}
	return w.putInts(ctx, column, absent, encoding, hot)
}

// putInts encodes w.ints for events, and for by_event if hot.
func (w *writer) putInts(ctx context.Context, column *columnar.Column, absent int64, encoding columnar.Encoding, hot bool) error {
	put := func(column *columnar.Column, file *columnar.File, rows []uint32) error {
		return w.eachGroup(ctx, rows, func(group int, rows []uint32) error {
			w.someInts = w.someInts[:0]
			for _, row := range rows {
				w.someInts = append(w.someInts, w.ints[row])
			}
			chunk, err := w.encoder.Int64s(column, w.someInts, absent, encoding)
			if err != nil {
				return err
			}
			return file.Put(group, column, chunk)
		})
	}
	for _, o := range w.outputs {
		if err := put(column, o.events, o.rows); err != nil {
			return err
		}
		if hot && w.derives() {
			if err := put(w.byEvent.Column(column.Name()), o.byEvent, o.tracked); err != nil {
				return err
			}
		}
	}
	return nil
}

// gatherTexts reads and encodes a column of texts.
func (w *writer) gatherTexts(ctx context.Context, index int, column *columnar.Column, hot bool) error {
	repeats, err := w.readTexts(ctx, index, hot && w.derives())
	if err != nil {
		return err
	}
	if !repeats {
		return w.streamTexts(ctx, index, column)
	}
	return w.putTexts(ctx, column, hot)
}

// dictionaryBytes is the size of a column's dictionary that need not save
// anything; twice as large, it is given up in any case.
const dictionaryBytes = 32 << 20

// spoolMemory is what waits in memory, of chunks and of displaced texts each.
const spoolMemory = 16 << 20

// readTexts reads a column of texts into codes. It gives up, and reports false,
// when the dictionary grows large without saving much, unless it must have it.
func (w *writer) readTexts(ctx context.Context, index int, must bool) (bool, error) {
	w.codes = w.codes[:0]
	w.dictionary.Reset()
	large := func(rows int) bool {
		size := w.dictionary.Size()
		return !must && size > w.job.dictionary && (size > 2*w.job.dictionary || w.dictionary.Len() > rows/2)
	}
	for i, in := range w.job.Inputs {
		var err error
		if w.codes, err = appendTexts(ctx, w.job, in, index, w.codes, w.dictionary, large); err != nil {
			return false, fmt.Errorf("input %d: %w", i, err)
		}
		if large(len(w.codes)) {
			return false, nil
		}
	}
	return true, nil
}

// putTexts encodes w.codes for events, and for by_event if hot.
func (w *writer) putTexts(ctx context.Context, column *columnar.Column, hot bool) error {
	err := w.putTextsOf(ctx, column, func(o *output) (*columnar.File, []uint32) { return o.events, o.rows })
	if err != nil || !hot || !w.derives() {
		return err
	}
	return w.putTextsOf(ctx, w.byEvent.Column(column.Name()), func(o *output) (*columnar.File, []uint32) { return o.byEvent, o.tracked })
}

func (w *writer) putTextsOf(ctx context.Context, column *columnar.Column, of func(*output) (*columnar.File, []uint32)) error {
	for _, o := range w.outputs {
		file, rows := of(o)
		err := w.eachGroup(ctx, rows, func(group int, rows []uint32) error {
			w.someCodes = w.someCodes[:0]
			for _, row := range rows {
				w.someCodes = append(w.someCodes, w.codes[row])
			}
			chunk, err := w.encoder.Texts(column, w.someCodes, w.dictionary)
			if err != nil {
				return err
			}
			return file.Put(group, column, chunk)
		})
		if err != nil {
			return err
		}
	}
	return nil
}

func (w *writer) eachGroup(ctx context.Context, rows []uint32, yield func(group int, rows []uint32) error) error {
	for group := 0; len(rows) > 0; group++ {
		n := min(len(rows), parquetv1.RowGroupRows)
		if err := yield(group, rows[:n]); err != nil {
			return err
		}
		rows = rows[n:]
		if err := w.job.Pace(ctx); err != nil {
			return err
		}
	}
	return nil
}

// create puts a part's objects together and stores them.
func (w *writer) create(ctx context.Context, o *output) error {
	type object struct {
		kind string
		file *columnar.File
		rows int
	}
	objects := []object{{Events, o.events, len(o.rows)}}
	if w.derives() {
		objects = append(objects, object{ByEvent, o.byEvent, len(o.tracked)}, object{EventDays, o.eventDays, o.days.event}, object{UserDays, o.userDays, o.days.user})
	}
	for _, object := range objects {
		o.part.Objects[object.kind] = Written{Rows: int64(object.rows)}
		bytes, err := w.job.Create(ctx, o.part, object.kind, func(out io.Writer) error {
			metadata, err := w.metadata(o.part, object.kind)
			if err != nil {
				return err
			}
			return object.file.Write(out, metadata)
		})
		if err != nil {
			return fmt.Errorf("part %d of %d, %s: %w", o.part.Number, o.part.Of, object.kind, err)
		}
		o.part.Objects[object.kind] = Written{Rows: int64(object.rows), Bytes: bytes}
	}
	return nil
}

func (w *writer) metadata(part *Part, kind string) (metadata map[string]string, err error) {
	if w.job.Metadata != nil {
		if metadata, err = w.job.Metadata(part, kind); err != nil {
			return nil, err
		}
	}
	if kind == Events {
		return parquetv1.Metadata(metadata, part.Columns)
	}
	return projection.Metadata(metadata, kind, w.job.Zone), nil
}
