package calendar_test

import (
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"github.com/causality-project/causality/backend/internal/platform/calendar"
	"github.com/causality-project/causality/backend/internal/platform/fault"
)

func in(t *testing.T, zone string) calendar.Calendar {
	t.Helper()
	location, err := calendar.LoadZone(zone)
	if err != nil {
		t.Fatal(err)
	}
	return calendar.New(location, time.Monday)
}

func instant(t *testing.T, text string) time.Time {
	t.Helper()
	at, err := time.Parse(time.RFC3339, text)
	if err != nil {
		t.Fatal(err)
	}
	return at
}

var someday = time.Date(2100, 1, 1, 0, 0, 0, 0, time.UTC)

// Each row is a period: what instant asks for it, and its bounds in UTC.
func TestPeriodsFollowTheClockOfTheZone(t *testing.T) {
	t.Parallel()
	tests := map[string]struct {
		zone, at   string
		unit       calendar.Unit
		start, end string
	}{
		"Berlin, spring day has 23 hours":      {"Europe/Berlin", "2026-03-29T12:00:00Z", calendar.Day, "2026-03-28T23:00:00Z", "2026-03-29T22:00:00Z"},
		"Berlin, autumn day has 25 hours":      {"Europe/Berlin", "2026-10-25T12:00:00Z", calendar.Day, "2026-10-24T22:00:00Z", "2026-10-25T23:00:00Z"},
		"Berlin, 22:30Z is the next day":       {"Europe/Berlin", "2026-03-29T22:30:00Z", calendar.Day, "2026-03-29T22:00:00Z", "2026-03-30T22:00:00Z"},
		"New York, spring day":                 {"America/New_York", "2026-03-08T12:00:00Z", calendar.Day, "2026-03-08T05:00:00Z", "2026-03-09T04:00:00Z"},
		"New York, first 01:00 hour":           {"America/New_York", "2026-11-01T05:30:00Z", calendar.Hour, "2026-11-01T05:00:00Z", "2026-11-01T06:00:00Z"},
		"New York, second 01:00 hour":          {"America/New_York", "2026-11-01T06:30:00Z", calendar.Hour, "2026-11-01T06:00:00Z", "2026-11-01T07:00:00Z"},
		"New York, week over the change":       {"America/New_York", "2026-11-01T12:00:00Z", calendar.Week, "2026-10-26T04:00:00Z", "2026-11-02T05:00:00Z"},
		"New York, month over the change":      {"America/New_York", "2026-11-15T12:00:00Z", calendar.Month, "2026-11-01T04:00:00Z", "2026-12-01T05:00:00Z"},
		"Lord Howe, spring day has 23.5 h":     {"Australia/Lord_Howe", "2026-10-04T00:00:00Z", calendar.Day, "2026-10-03T13:30:00Z", "2026-10-04T13:00:00Z"},
		"Lord Howe, half an hour repeats":      {"Australia/Lord_Howe", "2026-04-04T14:45:00Z", calendar.Hour, "2026-04-04T14:00:00Z", "2026-04-04T15:00:00Z"},
		"Lord Howe, the repeated half hour":    {"Australia/Lord_Howe", "2026-04-04T15:10:00Z", calendar.Hour, "2026-04-04T15:00:00Z", "2026-04-04T15:30:00Z"},
		"Lord Howe, the skipped half hour":     {"Australia/Lord_Howe", "2026-10-03T15:45:00Z", calendar.Hour, "2026-10-03T15:30:00Z", "2026-10-03T16:00:00Z"},
		"Kathmandu, hour of a 5:45 offset":     {"Asia/Kathmandu", "2026-05-01T00:20:00Z", calendar.Hour, "2026-05-01T00:15:00Z", "2026-05-01T01:15:00Z"},
		"Kathmandu, day":                       {"Asia/Kathmandu", "2026-05-01T00:20:00Z", calendar.Day, "2026-04-30T18:15:00Z", "2026-05-01T18:15:00Z"},
		"Sao Paulo, no midnight":               {"America/Sao_Paulo", "2018-11-04T12:00:00Z", calendar.Day, "2018-11-04T03:00:00Z", "2018-11-05T02:00:00Z"},
		"Sao Paulo, day before no midnight":    {"America/Sao_Paulo", "2018-11-03T12:00:00Z", calendar.Day, "2018-11-03T03:00:00Z", "2018-11-04T03:00:00Z"},
		"Sao Paulo, first hour is 01:00":       {"America/Sao_Paulo", "2018-11-04T03:30:00Z", calendar.Hour, "2018-11-04T03:00:00Z", "2018-11-04T04:00:00Z"},
		"Sao Paulo, 23:00 repeats":             {"America/Sao_Paulo", "2019-02-17T02:30:00Z", calendar.Day, "2019-02-16T02:00:00Z", "2019-02-17T03:00:00Z"},
		"Cairo, no midnight":                   {"Africa/Cairo", "2026-04-24T12:00:00Z", calendar.Day, "2026-04-23T22:00:00Z", "2026-04-24T21:00:00Z"},
		"Cairo, back over midnight":            {"Africa/Cairo", "2026-10-29T12:00:00Z", calendar.Day, "2026-10-28T21:00:00Z", "2026-10-29T22:00:00Z"},
		"Havana, midnight comes twice":         {"America/Havana", "2025-11-02T12:00:00Z", calendar.Day, "2025-11-02T04:00:00Z", "2025-11-03T05:00:00Z"},
		"St John's, a minute past midnight":    {"America/St_Johns", "2010-11-07T03:00:00Z", calendar.Day, "2010-11-07T02:30:00Z", "2010-11-08T03:30:00Z"},
		"Apia, a day that never was":           {"Pacific/Apia", "2011-12-30T09:00:00Z", calendar.Day, "2011-12-29T10:00:00Z", "2011-12-30T10:00:00Z"},
		"Apia, the day after it":               {"Pacific/Apia", "2011-12-30T11:00:00Z", calendar.Day, "2011-12-30T10:00:00Z", "2011-12-31T10:00:00Z"},
		"UTC, leap day":                        {"UTC", "2028-02-29T23:59:59Z", calendar.Day, "2028-02-29T00:00:00Z", "2028-03-01T00:00:00Z"},
		"UTC, ISO week over the year":          {"UTC", "2027-01-02T00:00:00Z", calendar.Week, "2026-12-28T00:00:00Z", "2027-01-04T00:00:00Z"},
		"Dublin, whose winter is its daylight": {"Europe/Dublin", "2026-03-29T12:00:00Z", calendar.Day, "2026-03-29T00:00:00Z", "2026-03-29T23:00:00Z"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			start, end := in(t, tt.zone).Period(tt.unit, instant(t, tt.at))
			if !start.Equal(instant(t, tt.start)) || !end.Equal(instant(t, tt.end)) {
				t.Errorf("period = [%s, %s), want [%s, %s)", start.Format(time.RFC3339), end.Format(time.RFC3339), tt.start, tt.end)
			}
		})
	}
}

func TestWeeksMayStartOnSunday(t *testing.T) {
	t.Parallel()
	start, _ := calendar.New(time.UTC, time.Sunday).Period(calendar.Week, instant(t, "2026-11-21T10:00:00Z"))
	if want := instant(t, "2026-11-15T00:00:00Z"); !start.Equal(want) {
		t.Errorf("week starts %s, want %s", start, want)
	}
}

// The periods of any zone tile time: no gap, no overlap, none empty.
func TestPeriodsTileTime(t *testing.T) {
	t.Parallel()
	zones := []string{
		"UTC", "America/New_York", "Europe/Berlin", "Australia/Lord_Howe", "Asia/Kathmandu", "America/Sao_Paulo",
		"Africa/Cairo", "America/Havana", "America/St_Johns", "Pacific/Apia", "Asia/Tehran", "Africa/Casablanca", "Antarctica/Troll",
	}
	for _, zone := range zones {
		c := in(t, zone)
		for unit := calendar.Hour; unit <= calendar.Month; unit++ {
			random := rand.New(rand.NewPCG(7, uint64(unit)))
			for range 60 {
				at := time.Unix(random.Int64N(int64(60*365*24*3600))+315532800, 0)
				for range 30 {
					start, end := c.Period(unit, at)
					if start.After(at) || !end.After(at) {
						t.Fatalf("%s %s: [%s, %s) lacks %s", zone, unit, start, end, at)
					}
					again, stop := c.Period(unit, start)
					last, edge := c.Period(unit, end.Add(-time.Nanosecond))
					if !again.Equal(start) || !stop.Equal(end) || !last.Equal(start) || !edge.Equal(end) {
						t.Fatalf("%s %s: the ends of [%s, %s) are of other periods", zone, unit, start, end)
					}
					at = end
				}
			}
		}
	}
}

func TestRanges(t *testing.T) {
	t.Parallel()
	now := "2026-11-21T13:30:00Z" // Saturday, 14:30 in Berlin
	tests := map[string]struct {
		r        calendar.Range
		unit     calendar.Unit
		from, to string
		points   int
	}{
		"last 7d is seven local days with today": {calendar.Range{Last: "7d"}, calendar.Day, "2026-11-14T23:00:00Z", "2026-11-21T23:00:00Z", 7},
		"complete ends where today starts":       {calendar.Range{Last: "7d", Complete: true}, calendar.Day, "2026-11-13T23:00:00Z", "2026-11-20T23:00:00Z", 7},
		"by hour ends with the current hour":     {calendar.Range{Last: "1d"}, calendar.Hour, "2026-11-20T23:00:00Z", "2026-11-21T14:00:00Z", 15},
		"hours":                                  {calendar.Range{Last: "24h"}, calendar.Hour, "2026-11-20T14:00:00Z", "2026-11-21T14:00:00Z", 24},
		"weeks start on Monday":                  {calendar.Range{Last: "2w"}, calendar.Week, "2026-11-08T23:00:00Z", "2026-11-22T23:00:00Z", 2},
		"months":                                 {calendar.Range{Last: "2m"}, calendar.Month, "2026-09-30T22:00:00Z", "2026-11-30T23:00:00Z", 2},
		"30 days by week cuts both ends":         {calendar.Range{Last: "30d"}, calendar.Week, "2026-10-22T22:00:00Z", "2026-11-21T23:00:00Z", 5},
		"dates are local and the end is open":    {calendar.Range{From: "2026-03-28", To: "2026-03-31"}, calendar.Day, "2026-03-27T23:00:00Z", "2026-03-30T22:00:00Z", 3},
		"instants":                               {calendar.Range{From: "2026-03-28T10:00:00Z", To: "2026-03-28T12:30:00+01:00"}, calendar.Hour, "2026-03-28T10:00:00Z", "2026-03-28T11:30:00Z", 2},
		"from alone runs to the end of today":    {calendar.Range{From: "2026-11-20"}, calendar.Day, "2026-11-19T23:00:00Z", "2026-11-21T23:00:00Z", 2},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c := in(t, "Europe/Berlin")
			span, err := c.Resolve(tt.r, tt.unit, instant(t, now))
			if err != nil {
				t.Fatal(err)
			}
			if !span.From.Equal(instant(t, tt.from)) || !span.To.Equal(instant(t, tt.to)) {
				t.Errorf("span = [%s, %s), want [%s, %s)", span.From.UTC(), span.To.UTC(), tt.from, tt.to)
			}
			buckets, err := c.Buckets(span, tt.unit, instant(t, now))
			if err != nil || len(buckets) != tt.points {
				t.Errorf("%d buckets (%v), want %d", len(buckets), err, tt.points)
			}
		})
	}
}

func TestWrongRangesSayWhatIsWrong(t *testing.T) {
	t.Parallel()
	tests := map[string]struct {
		r    calendar.Range
		want string
	}{
		"nothing":     {calendar.Range{}, "give last"},
		"both":        {calendar.Range{Last: "7d", From: "2026-01-01"}, "either last"},
		"unit":        {calendar.Range{Last: "7y"}, "h, d, w or m"},
		"zero":        {calendar.Range{Last: "0d"}, "1 to 100,000"},
		"backwards":   {calendar.Range{From: "2026-01-02", To: "2026-01-01"}, "not after"},
		"empty":       {calendar.Range{From: "2026-01-02", To: "2026-01-02"}, "not included"},
		"not a date":  {calendar.Range{From: "yesterday", To: "2026-01-02"}, "neither a date"},
		"no such day": {calendar.Range{From: "2026-02-30", To: "2026-03-02"}, "neither a date"},
		"too far":     {calendar.Range{From: "1800-01-01", To: "2026-03-02"}, "between 1970"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			_, err := in(t, "UTC").Resolve(tt.r, calendar.Day, instant(t, "2026-11-21T13:30:00Z"))
			if !fault.Is(err, fault.Invalid) || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("error %v, want Invalid with %q", err, tt.want)
			}
		})
	}
}

func TestTooManyPointsNameTheGranularityToChoose(t *testing.T) {
	t.Parallel()
	c := in(t, "UTC")
	span, err := c.Resolve(calendar.Range{From: "2026-01-01", To: "2026-04-01"}, calendar.Hour, someday)
	if err != nil {
		t.Fatal(err)
	}
	_, err = c.Buckets(span, calendar.Hour, someday)
	if want := "90 days by hour is 2,160 points; choose day."; !fault.Is(err, fault.Invalid) || !strings.Contains(err.Error(), want) {
		t.Errorf("error %v, want %q", err, want)
	}
}

func TestBucketsThatAreCutOrRunningAreMarked(t *testing.T) {
	t.Parallel()
	c := in(t, "Europe/Berlin")
	now := instant(t, "2026-11-21T13:30:00Z")
	span, _ := c.Resolve(calendar.Range{Last: "30d"}, calendar.Week, now)
	buckets, err := c.Buckets(span, calendar.Week, now)
	if err != nil {
		t.Fatal(err)
	}
	want := []bool{false, true, true, true, false}
	for i, b := range buckets {
		if b.Complete != want[i] {
			t.Errorf("week %s complete = %v, want %v", b.Start, b.Complete, want[i])
		}
	}
}

func TestPreviousPeriods(t *testing.T) {
	t.Parallel()
	tests := map[string]struct {
		r               calendar.Range
		unit            calendar.Unit
		now             string
		from, to, until string
	}{
		"seven days, today until the same time": {calendar.Range{Last: "7d"}, calendar.Day, "2026-11-21T13:30:00Z", "2026-11-07T23:00:00Z", "2026-11-14T23:00:00Z", "2026-11-14T13:30:00Z"},
		"over a clock change":                   {calendar.Range{Last: "2d"}, calendar.Day, "2026-03-30T10:00:00Z", "2026-03-26T23:00:00Z", "2026-03-28T23:00:00Z", "2026-03-28T11:00:00Z"},
		"finished days count whole":             {calendar.Range{From: "2026-03-01", To: "2026-04-01"}, calendar.Day, "2026-11-21T13:30:00Z", "2026-01-28T23:00:00Z", "2026-02-28T23:00:00Z", "2026-02-28T23:00:00Z"},
		"months are months":                     {calendar.Range{From: "2026-03-01", To: "2026-04-01"}, calendar.Month, "2026-11-21T13:30:00Z", "2026-01-31T23:00:00Z", "2026-02-28T23:00:00Z", "2026-02-28T23:00:00Z"},
		"the 31st stops at a short month's end": {calendar.Range{Last: "1m"}, calendar.Month, "2026-03-31T13:30:00Z", "2026-01-31T23:00:00Z", "2026-02-28T23:00:00Z", "2026-02-28T14:30:00Z"},
		"a running day by hour":                 {calendar.Range{Last: "2d"}, calendar.Hour, "2026-11-21T13:30:00Z", "2026-11-17T23:00:00Z", "2026-11-19T23:00:00Z", "2026-11-19T13:30:00Z"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c := in(t, "Europe/Berlin")
			now := instant(t, tt.now)
			span, err := c.Resolve(tt.r, tt.unit, now)
			if err != nil {
				t.Fatal(err)
			}
			previous, until := c.Previous(span, tt.unit, now)
			if !previous.From.Equal(instant(t, tt.from)) || !previous.To.Equal(instant(t, tt.to)) || !until.Equal(instant(t, tt.until)) {
				t.Errorf("previous = [%s, %s) until %s, want [%s, %s) until %s", previous.From.UTC().Format(time.RFC3339), previous.To.UTC().Format(time.RFC3339),
					until.UTC().Format(time.RFC3339), tt.from, tt.to, tt.until)
			}
		})
	}
}
