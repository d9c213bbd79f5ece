package merge

import (
	"cmp"
	"context"
	"slices"

	"github.com/causality-project/causality/backend/internal/pipeline/lake/columnar"
	"github.com/causality-project/causality/backend/internal/pipeline/lake/parquetv1"
	"github.com/causality-project/causality/backend/internal/pipeline/lake/projection"
)

// days is a table of the two projections of days, in columns.
type days struct {
	events []int32
	users  []int64
	days   []int64
	n      []int64
}

func (d *days) add(event int32, user, day int64) {
	d.events, d.users, d.days, d.n = append(d.events, event), append(d.users, user), append(d.days, day), append(d.n, 1)
}

// putDays counts a part's events by event, day and user, and by user and day.
// The codes of the rows' events are in w.codes.
func (w *writer) putDays(ctx context.Context, o *output) error {
	calendar := projection.Days{Zone: w.job.Zone}
	var byUser days
	for _, row := range o.rows {
		if w.marks[row] != tracked {
			continue
		}
		user, day := w.keys[row], calendar.Of(w.ts[row])
		if last := len(byUser.n) - 1; last >= 0 && byUser.users[last] == user && byUser.days[last] == day {
			byUser.n[last]++
		} else {
			byUser.add(0, user, day)
		}
	}
	if err := w.job.Pace(ctx); err != nil {
		return err
	}
	layout := projection.UserDaysLayout()
	o.days.user = len(byUser.n)
	o.userDays = columnar.NewFile(layout, w.spool, groupsOf(len(byUser.n)))
	if err := w.putDayColumns(ctx, o.userDays, layout, &byUser); err != nil {
		return err
	}

	// by_event's order has each event's users together, and their days in order:
	// what is left is to sort each event's rows by day.
	var byEvent, sorted days
	var order []int32
	first := 0
	finish := func() {
		order = order[:0]
		for i := first; i < len(byEvent.n); i++ {
			order = append(order, int32(i))
		}
		slices.SortStableFunc(order, func(a, b int32) int { return cmp.Compare(byEvent.days[a], byEvent.days[b]) })
		for _, i := range order {
			sorted.events, sorted.users = append(sorted.events, byEvent.events[i]), append(sorted.users, byEvent.users[i])
			sorted.days, sorted.n = append(sorted.days, byEvent.days[i]), append(sorted.n, byEvent.n[i])
		}
		first = len(byEvent.n)
	}
	for _, row := range o.tracked {
		event, user, day := w.codes[row], w.keys[row], calendar.Of(w.ts[row])
		last := len(byEvent.n) - 1
		if last >= first && byEvent.events[last] == event && byEvent.users[last] == user && byEvent.days[last] == day {
			byEvent.n[last]++
			continue
		}
		if last >= 0 && byEvent.events[last] != event {
			finish()
		}
		byEvent.add(event, user, day)
	}
	finish()
	if err := w.job.Pace(ctx); err != nil {
		return err
	}
	layout = projection.EventDaysLayout()
	o.days.event = len(sorted.n)
	o.eventDays = columnar.NewFile(layout, w.spool, groupsOf(len(sorted.n)))
	event := layout.Column("event")
	for group, codes := range slices.Collect(slices.Chunk(sorted.events, parquetv1.RowGroupRows)) {
		chunk, err := w.encoder.Texts(event, codes, w.dictionary)
		if err != nil {
			return err
		}
		if err := o.eventDays.Put(group, event, chunk); err != nil {
			return err
		}
	}
	return w.putDayColumns(ctx, o.eventDays, layout, &sorted)
}

func (w *writer) putDayColumns(ctx context.Context, file *columnar.File, layout *columnar.Layout, d *days) error {
	for _, c := range []struct {
		name   string
		values []int64
		absent int64
	}{{"user_key", d.users, 0}, {"day", d.days, absentTime}, {"n", d.n, absentTime}} {
		column := layout.Column(c.name)
		group := 0
		for values := range slices.Chunk(c.values, parquetv1.RowGroupRows) {
			chunk, err := w.encoder.Int64s(column, values, c.absent, columnar.Coded)
			if err != nil {
				return err
			}
			if err := file.Put(group, column, chunk); err != nil {
				return err
			}
			group++
			if err := w.job.Pace(ctx); err != nil {
				return err
			}
		}
	}
	return nil
}
