package calendar

import (
	"time"

	"github.com/causality-project/causality/backend/internal/platform/fault"
)

// Range is a range of time as people write it: either From and To, or Last.
type Range struct {
	From, To string // RFC 3339, or a local date such as 2026-03-01; To is not included
	Last     string // "<int>h|d|w|m", counting the current one: "7d" is seven local days with today
	Complete bool   // with Last: whole periods only, ending where the current one starts
}

// Span is a resolved, half-open range.
type Span struct{ From, To time.Time }

// Contains reports whether t is in the span.
func (s Span) Contains(t time.Time) bool { return !t.Before(s.From) && t.Before(s.To) }

var (
	earliest = time.Date(1970, 1, 1, 0, 0, 0, 0, time.UTC).Add(-26 * time.Hour)
	latest   = time.Date(2200, 1, 1, 0, 0, 0, 0, time.UTC)
)

// Resolve turns a range into instants at the instant now. A range that runs
// still ends where its current period does, or sooner with the current period
// of granularity, so that a chart by hour has no hours that are yet to come.
func (c Calendar) Resolve(r Range, granularity Unit, now time.Time) (Span, error) {
	switch {
	case r.Last != "" && (r.From != "" || r.To != ""):
		return Span{}, fault.InvalidField("range", "give either last, or from and to")
	case r.Last != "":
		return c.resolveLast(r, granularity, now)
	case r.Complete:
		return Span{}, fault.InvalidField("range.complete", "goes with last only")
	case r.From == "":
		return Span{}, fault.InvalidField("range", `give last, such as "30d", or from and to`)
	}
	var fields []fault.Field
	from, err := c.parseInstant(r.From)
	if err != nil {
		fields = append(fields, fault.Field{Name: "range.from", Message: err.Error()})
	}
	_, to := c.Period(min(granularity, Day), now)
	if r.To != "" {
		if to, err = c.parseInstant(r.To); err != nil {
			fields = append(fields, fault.Field{Name: "range.to", Message: err.Error()})
		}
	}
	if err := fault.InvalidFields(fields); err != nil {
		return Span{}, err
	}
	return checked(Span{from, to})
}

func checked(span Span) (Span, error) {
	if !span.From.Before(span.To) {
		return Span{}, fault.InvalidField("range", "ends at %s, which is not after its start %s (the end is not included)",
			span.To.UTC().Format(time.RFC3339), span.From.UTC().Format(time.RFC3339))
	}
	if span.From.Before(earliest) || span.To.After(latest) {
		return Span{}, fault.InvalidField("range", "must lie between 1970 and 2200")
	}
	return span, nil
}

func (c Calendar) resolveLast(r Range, granularity Unit, now time.Time) (Span, error) {
	n, unit, err := parseCount(r.Last)
	if err != nil {
		return Span{}, fault.InvalidField("range.last", "%s", err.Error())
	}
	start, end := c.Period(unit, now)
	back := n - 1
	if r.Complete {
		end, back = start, n
	} else if _, soon := c.Period(granularity, now); soon.Before(end) {
		end = soon
	}
	return checked(Span{c.stepBack(start, unit, back), end})
}

// stepBack moves from the start of a period by n periods.
func (c Calendar) stepBack(start time.Time, u Unit, n int) time.Time {
	if u == Hour {
		for range n {
			start, _ = c.Period(Hour, start.Add(-time.Nanosecond))
		}
		return start
	}
	return c.StartOfDay(shift(u, c.dateOf(start), -n))
}

func (c Calendar) parseInstant(text string) (time.Time, error) {
	if d, err := time.Parse(time.DateOnly, text); err == nil {
		return c.firstInstant(d), nil
	}
	if t, err := time.Parse(time.RFC3339Nano, text); err == nil {
		return t.UTC(), nil
	}
	for _, layout := range []string{"2006-01-02T15:04:05", "2006-01-02T15:04"} {
		if t, err := time.Parse(layout, text); err == nil {
			return c.firstInstant(t), nil
		}
	}
	return time.Time{}, fault.New(fault.Invalid, "%q is neither a date such as 2026-03-01 nor an instant such as 2026-03-01T12:00:00Z", text)
}

// DateBounds reads a date or an instant and returns the half-open stretch that
// it names: a date's whole local day, an instant's microsecond.
func (c Calendar) DateBounds(text string) (start, end time.Time, err error) {
	if d, perr := time.Parse(time.DateOnly, text); perr == nil {
		y, m, day := d.Date()
		date := Date{y, m, day}
		return c.StartOfDay(date), c.StartOfDay(date.AddDays(1)), nil
	}
	t, err := c.parseInstant(text)
	return t, t.Add(time.Microsecond), err
}

// Back moves an instant back by a span such as "30d": hours are exact, the rest
// keep the local time of day.
func (c Calendar) Back(t time.Time, last string) (time.Time, error) {
	n, unit, err := parseCount(last)
	if err != nil {
		return time.Time{}, err
	}
	if unit == Hour {
		return t.Add(-time.Duration(n) * time.Hour), nil
	}
	return c.sameTime(t, unit, -n), nil
}

// sameTime is t's local time of day n periods away; a month too short for the
// day ends it.
func (c Calendar) sameTime(t time.Time, u Unit, n int) time.Time {
	local := t.In(c.zone)
	y, m, d := local.Date()
	clock := time.Date(1970, 1, 1, local.Hour(), local.Minute(), local.Second(), local.Nanosecond(), time.UTC).Sub(time.Unix(0, 0))
	switch u {
	case Week:
		d += 7 * n
	case Month:
		last := time.Date(y, m+time.Month(n)+1, 0, 0, 0, 0, 0, time.UTC)
		y, m, d = last.Year(), last.Month(), min(d, last.Day())
	default:
		d += n
	}
	return c.firstInstant(time.Date(y, m, d, 0, 0, 0, 0, time.UTC).Add(clock))
}

// Previous returns the span of as many calendar units directly before, and
// until where its headline counts: all of it, or, when span is running still,
// the same local time.
func (c Calendar) Previous(span Span, granularity Unit, now time.Time) (previous Span, until time.Time) {
	unit, n := c.lengthOf(span, granularity)
	running := span.Contains(now)
	switch unit {
	case 0, Hour:
		length := span.To.Sub(span.From)
		previous = Span{span.From.Add(-length), span.From}
		if unit == Hour {
			previous.From = c.stepBack(span.From, Hour, n)
		}
		until = previous.To
		if running {
			until = previous.From.Add(now.Sub(span.From))
		}
	default:
		previous = Span{c.StartOfDay(shift(unit, c.dateOf(span.From), -n)), span.From}
		until = previous.To
		if running {
			until = c.sameTime(now, unit, -n)
		}
	}
	if until.After(previous.To) {
		until = previous.To
	}
	return previous, until
}

// lengthOf counts a span in the largest unit, not above granularity, that both
// its ends lie on; an end inside the running period counts as that period's.
// Zero: no unit fits.
func (c Calendar) lengthOf(span Span, granularity Unit) (Unit, int) {
	for unit := granularity; unit >= Day; unit-- {
		from, _ := c.Period(unit, span.From)
		if !from.Equal(span.From) {
			continue
		}
		start, end := c.Period(unit, span.To.Add(-time.Nanosecond))
		if !end.Equal(span.To) {
			continue
		}
		first, last := c.dateOf(span.From), c.dateOf(start)
		switch unit {
		case Month:
			return Month, (last.Year-first.Year)*12 + int(last.Month-first.Month) + 1
		case Week:
			return Week, first.daysUntil(last)/7 + 1
		default:
			return Day, first.daysUntil(last) + 1
		}
	}
	// By hour, a range of whole days that still runs ends inside its last day.
	if granularity == Hour {
		from, _ := c.Period(Day, span.From)
		if from.Equal(span.From) && span.To.Sub(span.From) > 24*time.Hour {
			start, _ := c.Period(Day, span.To.Add(-time.Nanosecond))
			return Day, c.dateOf(span.From).daysUntil(c.dateOf(start)) + 1
		}
	}
	from, _ := c.Period(Hour, span.From)
	_, end := c.Period(Hour, span.To.Add(-time.Nanosecond))
	if !from.Equal(span.From) || !end.Equal(span.To) {
		return 0, 0
	}
	n := 0
	for at := span.From; at.Before(span.To); n++ {
		if n > MaxBuckets {
			return 0, 0
		}
		_, at = c.Period(Hour, at)
	}
	return Hour, n
}
