package lake

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/causality-project/causality/backend/internal/pipeline/catalog"
	"github.com/causality-project/causality/backend/internal/pipeline/lake/merge"
	"github.com/causality-project/causality/backend/internal/pipeline/lake/parquetv1"
	"github.com/causality-project/causality/backend/internal/platform/event"
)

// target says which events an erasure concerns: those that fulfil every
// condition that it has. A person's events are those under one of its ids, and
// those that name such an id as one that merges into another. A user id decides
// before an anonymous one, as everywhere: what another user did on a shared
// device stays.
type target struct {
	keys   map[int64]struct{} // of the person's ids; empty: everybody
	name   string             // tracked events of this name; empty: every event
	from   int64              // µs; of the event's time, inclusive
	to     int64              // exclusive
	before int64              // µs; of a person: what it does from then on is a new life
	// receivedTo bounds what is not a person's by its receipt, inclusive: a name
	// or a range of times is erased as it stood, and what comes later is new.
	receivedTo int64
}

const (
	minTime = -1 << 62
	maxTime = 1 << 62
)

func micros(t time.Time, absent int64) int64 {
	if t.IsZero() {
		return absent
	}
	return t.UnixMicro()
}

func (t *target) person() bool { return len(t.keys) > 0 }

// concerns looks at the ids of an event.
func (t *target) concerns(userID, anonymousID, previousID string) bool {
	has := func(key int64) bool { _, ok := t.keys[key]; return ok }
	switch {
	case userID != "" && has(event.UserKey(userID)):
		return true
	case userID == "" && anonymousID != "" && has(event.AnonymousKey(anonymousID)):
		return true
	}
	return previousID != "" && has(event.UserKey(previousID))
}

// occurred looks at an event's times.
func (t *target) occurred(ts, receivedAt int64) bool {
	if t.person() {
		return ts >= t.from && ts < min(t.to, t.before)
	}
	return ts >= t.from && ts < t.to && receivedAt <= t.receivedTo
}

func (t *target) named(kind event.Type, name string) bool {
	return t.name == "" || kind == event.Track && name == t.name
}

// matches looks at a whole event.
func (t *target) matches(e *event.Event) bool {
	return t.occurred(e.TS.UnixMicro(), e.ReceivedAt.UnixMicro()) && t.named(e.Type, e.Name) &&
		(!t.person() || t.concerns(e.UserID, e.AnonymousID, e.PreviousID))
}

// overlaps says whether an object may hold a matching event, by its row alone.
func (t *target) overlaps(o *entry) bool {
	from, to := o.MinTS.UnixMicro(), o.MaxTS.UnixMicro()
	if t.person() && from >= t.before {
		return false
	}
	return to >= t.from && from < t.to && (t.person() || o.MinReceivedAt.UnixMicro() <= t.receivedTo)
}

// found is what a scan sees in an object.
type found struct {
	rows int64  // that match
	at   []bool // by row; nil when none matches
	// misplaced says that rows of others stand under a key of the person, by a
	// link that counts no more. They must be folded before its links go.
	misplaced bool
}

// scan looks for matching events. It reads the columns of the conditions alone,
// and of a person first its ids, which most objects lack.
func (t *target) scan(ctx context.Context, file *parquetv1.File) (found, error) {
	at := make([]bool, file.Rows())
	if t.person() {
		misplaced, any, err := t.scanIDs(ctx, file, at)
		if err != nil || !any {
			return found{misplaced: misplaced}, err
		}
		result, err := t.narrow(ctx, file, at)
		result.misplaced = misplaced
		return result, err
	}
	for i := range at {
		at[i] = true
	}
	return t.narrow(ctx, file, at)
}

// scanIDs marks the rows that concern the person, whatever their time.
func (t *target) scanIDs(ctx context.Context, file *parquetv1.File, at []bool) (misplaced, any bool, err error) {
	hasUser := make([]bool, len(at))
	for _, column := range []struct {
		position int
		key      func(string) int64
		user     bool
	}{{parquetv1.ColUserID, event.UserKey, true}, {parquetv1.ColAnonymousID, event.AnonymousKey, false}, {parquetv1.ColPreviousID, event.UserKey, true}} {
		err := eachText(ctx, file, column.position, func(text string) bool {
			_, ours := t.keys[column.key(text)]
			return ours
		}, func(row int, ours bool) {
			if column.position == parquetv1.ColUserID {
				hasUser[row] = true
			}
			if ours && (column.user || !hasUser[row]) {
				at[row], any = true, true
			}
		})
		if err != nil {
			return false, false, err
		}
	}
	row := 0
	err = file.Int64s(parquetv1.ColUserKey, 0, func(keys []int64) error {
		for _, key := range keys {
			if _, ours := t.keys[key]; ours && !at[row] {
				misplaced = true
			}
			row++
		}
		return ctx.Err()
	})
	return misplaced, any, err
}

// narrow takes the rows out of at that do not fulfil the other conditions.
func (t *target) narrow(ctx context.Context, file *parquetv1.File, at []bool) (found, error) {
	keep := func(column int, ok func(int64) bool) error {
		row := 0
		return file.Int64s(column, 0, func(values []int64) error {
			for _, v := range values {
				at[row] = at[row] && ok(v)
				row++
			}
			return ctx.Err()
		})
	}
	to := t.to
	if t.person() {
		to = min(to, t.before)
	}
	if t.from > minTime || to < maxTime {
		if err := keep(parquetv1.ColTS, func(ts int64) bool { return ts >= t.from && ts < to }); err != nil {
			return found{}, err
		}
	}
	if !t.person() {
		if err := keep(parquetv1.ColReceivedAt, func(received int64) bool { return received <= t.receivedTo }); err != nil {
			return found{}, err
		}
	}
	if t.name != "" {
		for column, want := range map[int]string{parquetv1.ColEvent: t.name, parquetv1.ColType: event.Track.String()} {
			if err := eachText(ctx, file, column, func(text string) bool { return text == want }, func(row int, same bool) { at[row] = at[row] && same }); err != nil {
				return found{}, err
			}
		}
	}
	var result found
	for _, match := range at {
		if match {
			result.rows++
		}
	}
	if result.rows > 0 {
		result.at = at
	}
	return result, nil
}

// eachText asks test about each distinct text of a dictionary once, and tells
// yield the answer of every row that has a value.
func eachText(ctx context.Context, file *parquetv1.File, column int, test func(string) bool, yield func(row int, yes bool)) error {
	var verdicts []int8 // by code: 0 not asked, 1 yes, 2 no
	row := 0
	return eachPage(ctx, file, column, func(text *parquetv1.Text) {
		if text.NewDictionary {
			verdicts = append(verdicts[:0], make([]int8, text.Dictionary())...)
		}
		if text.Dictionary() == 0 {
			for range text.Rows {
				if value := text.Value(); value != nil {
					yield(row, test(string(value)))
				}
				row++
			}
			return
		}
		present, codes := text.Present(), text.Codes()
		for i := range text.Rows {
			if present == nil || present[i] != 0 {
				code := codes[0]
				codes = codes[1:]
				if verdicts[code] == 0 {
					verdicts[code] = 2
					if test(string(text.Entry(code))) {
						verdicts[code] = 1
					}
				}
				yield(row, verdicts[code] == 1)
			}
			row++
		}
	})
}

// eachPage reads a column of text.
func eachPage(ctx context.Context, file *parquetv1.File, column int, yield func(*parquetv1.Text)) (err error) {
	reader := file.Texts(column)
	defer func() { err = errors.Join(err, reader.Close()) }()
	for {
		text, err := reader.Next()
		if errors.Is(err, io.EOF) {
			return ctx.Err()
		}
		if err != nil {
			return err
		}
		yield(text)
		if ctx.Err() != nil {
			return ctx.Err()
		}
	}
}

// observe shows the catalog what the matching rows had added to it.
func (f *found) observe(ctx context.Context, file *parquetv1.File, removal *catalog.Removal) error {
	if f.rows == 0 {
		return nil
	}
	type seenRow struct {
		name    string
		tracked bool
		ts      int64
	}
	rows := make([]seenRow, f.rows)
	place := make([]int32, len(f.at)) // of a matching row among them, plus 1
	n := int32(0)
	for row, match := range f.at {
		if match {
			n++
			place[row] = n
		}
	}
	texts := func(column int, set func(*seenRow, string)) error {
		row := 0
		return eachPage(ctx, file, column, func(text *parquetv1.Text) {
			for range text.Rows {
				if value := text.Value(); value != nil && place[row] > 0 {
					set(&rows[place[row]-1], string(value))
				}
				row++
			}
		})
	}
	if err := texts(parquetv1.ColEvent, func(r *seenRow, s string) { r.name = s }); err != nil {
		return err
	}
	if err := texts(parquetv1.ColType, func(r *seenRow, s string) { r.tracked = s == event.Track.String() }); err != nil {
		return err
	}
	row := 0
	err := file.Int64s(parquetv1.ColTS, 0, func(values []int64) error {
		for _, ts := range values {
			if at := place[row]; at > 0 {
				rows[at-1].ts = ts
			}
			row++
		}
		return ctx.Err()
	})
	if err != nil {
		return err
	}
	for i := range rows {
		if rows[i].tracked {
			removal.Event(rows[i].name, time.UnixMicro(rows[i].ts).UTC())
		}
	}
	return texts(parquetv1.ColProperties, func(r *seenRow, properties string) {
		if r.tracked {
			removal.Properties(r.name, properties)
		}
	})
}

// keeper answers a merge's question for each row. Rows of one person lie together,
// so the last answer about ids is kept.
func (t *target) keeper(previous map[event.ID]struct{}) func(*merge.Row) bool {
	var user, visitor string
	var ours, known bool
	return func(row *merge.Row) bool {
		if !t.occurred(row.TS, row.ReceivedAt) || !t.named(row.Type, row.Event) {
			return true
		}
		if !t.person() {
			return false
		}
		if !known || row.UserID != user || row.AnonymousID != visitor {
			user, visitor, known = row.UserID, row.AnonymousID, true
			ours = t.concerns(user, visitor, "")
		}
		if ours {
			return false
		}
		_, ours := previous[row.ID] // an alias that names the person's id: its row does not say so here
		return !ours
	}
}

// aliases reads the ids of the events that name an id of the person as one that
// merges into another's.
func (t *target) aliases(ctx context.Context, file *parquetv1.File) (map[event.ID]struct{}, error) {
	if !t.person() {
		return nil, nil
	}
	var rows map[int]struct{}
	err := eachText(ctx, file, parquetv1.ColPreviousID, func(text string) bool {
		_, ours := t.keys[event.UserKey(text)]
		return ours
	}, func(row int, ours bool) {
		if ours {
			if rows == nil {
				rows = map[int]struct{}{}
			}
			rows[row] = struct{}{}
		}
	})
	if err != nil || rows == nil {
		return nil, err
	}
	ids := map[event.ID]struct{}{}
	row := 0
	err = file.ReadIDs(func(some []event.ID) error {
		for _, id := range some {
			if _, ok := rows[row]; ok {
				ids[id] = struct{}{}
			}
			row++
		}
		return ctx.Err()
	})
	if err != nil {
		return nil, fmt.Errorf("read ids: %w", err)
	}
	return ids, nil
}
