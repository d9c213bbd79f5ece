// Package calendar owns the bounds of local time: which instants a day, week,
// month or hour of a zone spans, and what a range such as "last 30 days" means.
// Engines get these bounds as instants and compute none themselves, because
// their copies of the zone rules differ. It knows nothing of events or SQL.
package calendar

import (
	"fmt"
	"strconv"
	"strings"
	"time"
	_ "time/tzdata" // the same zones on machines that have none installed

	"github.com/causality-project/causality/backend/internal/platform/fault"
)

// MaxBuckets is the most points that one question may have.
const MaxBuckets = 2_000

// Unit is a calendar period.
type Unit uint8

const (
	Hour Unit = iota + 1
	Day
	Week
	Month
)

// ParseUnit reads a granularity; empty is Day.
func ParseUnit(name string) (Unit, bool) {
	switch name {
	case "hour":
		return Hour, true
	case "day", "":
		return Day, true
	case "week":
		return Week, true
	case "month":
		return Month, true
	default:
		return 0, false
	}
}

func (u Unit) String() string {
	switch u {
	case Hour:
		return "hour"
	case Day:
		return "day"
	case Week:
		return "week"
	case Month:
		return "month"
	default:
		return "unit?"
	}
}

// Calendar is the local time of one zone with its first day of the week.
type Calendar struct {
	zone      *time.Location
	weekStart time.Weekday
}

// New returns the calendar of a zone. weekStart is time.Monday or time.Sunday.
func New(zone *time.Location, weekStart time.Weekday) Calendar {
	return Calendar{zone: zone, weekStart: weekStart}
}

// LoadZone finds an IANA zone. "Local" is refused: the server's own zone means
// nothing to the people who ask.
func LoadZone(name string) (*time.Location, error) {
	if name == "" || name == "Local" {
		return nil, fmt.Errorf("unknown time zone %q", name)
	}
	return time.LoadLocation(name)
}

// Zone is the calendar's zone.
func (c Calendar) Zone() *time.Location { return c.zone }

// Date is a local calendar date.
type Date struct {
	Year  int
	Month time.Month
	Day   int
}

func (c Calendar) dateOf(t time.Time) Date {
	y, m, d := t.In(c.zone).Date()
	return Date{y, m, d}
}

// AddDays moves by whole days of the proleptic Gregorian calendar.
func (d Date) AddDays(n int) Date {
	y, m, day := time.Date(d.Year, d.Month, d.Day+n, 0, 0, 0, 0, time.UTC).Date()
	return Date{y, m, day}
}

func (d Date) utc() time.Time { return time.Date(d.Year, d.Month, d.Day, 0, 0, 0, 0, time.UTC) }

func (d Date) daysUntil(other Date) int {
	return int(other.utc().Sub(d.utc()) / (24 * time.Hour))
}

// segment is a run of instants that share one offset from UTC. A zero start or
// end is open.
type segment struct {
	start, end time.Time
	offset     int // seconds east
}

// segmentAt widens Go's zone bounds over changes of name that leave the offset.
// A few are enough: what matters is whether a clock changes near t.
func (c Calendar) segmentAt(t time.Time) segment {
	const few = 4
	local := t.In(c.zone)
	_, offset := local.Zone()
	start, end := local.ZoneBounds()
	for range few {
		if end.IsZero() {
			break
		}
		if _, next := end.In(c.zone).Zone(); next != offset {
			break
		}
		_, further := end.In(c.zone).ZoneBounds()
		if !further.IsZero() && !further.After(end) {
			break
		}
		end = further
	}
	for range few {
		if start.IsZero() {
			break
		}
		before := start.Add(-time.Nanosecond).In(c.zone)
		if _, previous := before.Zone(); previous != offset {
			break
		}
		start, _ = before.ZoneBounds()
	}
	return segment{start, end, offset}
}

// firstInstant finds the first instant whose local wall clock reads wall (given
// as if in UTC) or later on: where a change of the clock skips it, the change
// itself; where it comes twice, the first.
func (c Calendar) firstInstant(wall time.Time) time.Time {
	// No zone is further than 26 hours from UTC, so nothing earlier qualifies.
	at := wall.Add(-26 * time.Hour)
	for {
		s := c.segmentAt(at)
		candidate := wall.Add(-time.Duration(s.offset) * time.Second)
		if candidate.Before(at) {
			candidate = at // the clock jumped over it
		}
		if s.end.IsZero() || candidate.Before(s.end) {
			return candidate.UTC()
		}
		if !s.end.After(at) {
			return candidate.UTC() // zone data that does not advance
		}
		at = s.end
	}
}

// StartOfDay is the first instant of a local date. It is rarely not midnight.
func (c Calendar) StartOfDay(d Date) time.Time { return c.firstInstant(d.utc()) }

// periodStart is the date on which the period that holds d begins.
func (c Calendar) periodStart(u Unit, d Date) Date {
	switch u {
	case Week:
		back := (int(d.utc().Weekday()) - int(c.weekStart) + 7) % 7
		return d.AddDays(-back)
	case Month:
		return Date{d.Year, d.Month, 1}
	default:
		return d
	}
}

func shift(u Unit, d Date, n int) Date {
	switch u {
	case Week:
		return d.AddDays(7 * n)
	case Month:
		y, m, day := time.Date(d.Year, d.Month+time.Month(n), 1, 0, 0, 0, 0, time.UTC).Date()
		return Date{y, m, day}
	default:
		return d.AddDays(n)
	}
}

// Period returns the half-open bounds of the period that holds t.
func (c Calendar) Period(u Unit, t time.Time) (start, end time.Time) {
	if u == Hour {
		return c.hour(t)
	}
	d := c.periodStart(u, c.dateOf(t))
	start = c.StartOfDay(d)
	// A clock set back over midnight shows the old date again after the new one
	// began; the new one keeps those instants.
	for n := 1; ; n++ {
		end = c.StartOfDay(shift(u, d, n))
		if end.After(t) {
			return start, end
		}
		start = end
	}
}

// hour is the run of one local date, hour and offset around t.
func (c Calendar) hour(t time.Time) (start, end time.Time) {
	s := c.segmentAt(t)
	offset := time.Duration(s.offset) * time.Second
	wall := t.UTC().Add(offset)
	start = wall.Truncate(time.Hour).Add(-offset)
	end = start.Add(time.Hour)
	if !s.start.IsZero() && start.Before(s.start) {
		start = s.start.UTC()
	}
	if !s.end.IsZero() && end.After(s.end) {
		end = s.end.UTC()
	}
	return start, end
}

// Bucket is one period of a question. Start and End are the period's own bounds;
// the question's range may cut it.
type Bucket struct {
	Start, End time.Time
	Complete   bool // neither cut by the range nor still running
}

// Buckets lists the periods that the span touches, in order. More than
// MaxBuckets is an Invalid fault that names the granularity to choose.
func (c Calendar) Buckets(span Span, u Unit, now time.Time) ([]Bucket, error) {
	if estimate := c.estimate(span, u); estimate > MaxBuckets+2 {
		return nil, c.tooMany(span, u, estimate)
	}
	var buckets []Bucket
	for at := span.From; at.Before(span.To); {
		start, end := c.Period(u, at)
		buckets = append(buckets, Bucket{
			Start: start, End: end,
			Complete: !start.Before(span.From) && !end.After(span.To) && !end.After(now),
		})
		at = end
	}
	if len(buckets) > MaxBuckets {
		return nil, c.tooMany(span, u, len(buckets))
	}
	return buckets, nil
}

// Before lists n periods that end where the period holding t starts.
func (c Calendar) Before(t time.Time, u Unit, n int, now time.Time) []Bucket {
	buckets := make([]Bucket, n)
	end, _ := c.Period(u, t)
	for i := n - 1; i >= 0; i-- {
		start, _ := c.Period(u, end.Add(-time.Nanosecond))
		buckets[i] = Bucket{Start: start, End: end, Complete: !end.After(now)}
		end = start
	}
	return buckets
}

func (c Calendar) estimate(span Span, u Unit) int {
	hours := int(span.To.Sub(span.From) / time.Hour)
	switch u {
	case Hour:
		return hours
	case Day:
		return hours / 24
	case Week:
		return hours / (24 * 7)
	default:
		return hours / (24 * 30)
	}
}

func (c Calendar) tooMany(span Span, u Unit, points int) error {
	choose := Month
	for coarser := u + 1; coarser < Month; coarser++ {
		if c.estimate(span, coarser) <= MaxBuckets {
			choose = coarser
			break
		}
	}
	days := c.dateOf(span.From).daysUntil(c.dateOf(span.To))
	return fault.InvalidField("granularity", "%s days by %s is %s points; choose %s.",
		thousands(days), u, thousands(points), choose)
}

func thousands(n int) string {
	s := strconv.Itoa(n)
	for i := len(s) - 3; i > 0; i -= 3 {
		s = s[:i] + "," + s[i:]
	}
	return s
}

// parseCount reads "30d" as (30, Day).
func parseCount(text string) (int, Unit, error) {
	const want = "write a count and h, d, w or m, such as 30d"
	text = strings.TrimSpace(text)
	if len(text) < 2 {
		return 0, 0, fmt.Errorf("%q is not a time span; %s", text, want)
	}
	n, err := strconv.Atoi(text[:len(text)-1])
	if err != nil || n < 1 || n > 100_000 {
		return 0, 0, fmt.Errorf("%q is not a time span of 1 to 100,000 units; %s", text, want)
	}
	switch text[len(text)-1] {
	case 'h':
		return n, Hour, nil
	case 'd':
		return n, Day, nil
	case 'w':
		return n, Week, nil
	case 'm':
		return n, Month, nil
	default:
		return 0, 0, fmt.Errorf("%q is not a time span; %s", text, want)
	}
}
