package projection

import (
	"math/rand/v2"
	"testing"
	"time"

	"github.com/causality-project/causality/backend/internal/platform/calendar"
)

// A day of a projection is a day of a question, in zones that change at midnight,
// that set the clock back over it, and that leave a day out.
func TestDaysAreThoseOfTheCalendar(t *testing.T) {
	t.Parallel()
	from, to := time.Date(1995, 1, 1, 0, 0, 0, 0, time.UTC), time.Date(2030, 1, 1, 0, 0, 0, 0, time.UTC)
	for _, name := range []string{
		"UTC", "Europe/Berlin", "America/New_York", "Asia/Kathmandu", "Australia/Lord_Howe", "America/Sao_Paulo", "Asia/Beirut", "Pacific/Apia",
		"America/St_Johns", // 00:01 became 23:01 of the day before
		"Antarctica/Casey", // 02:00 became 23:00 of the day before
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			zone, err := calendar.LoadZone(name)
			if err != nil {
				t.Fatal(err)
			}
			days := calendar.New(zone, time.Monday)
			counted := Days{Zone: zone}
			check := func(at time.Time) {
				start, _ := days.Period(calendar.Day, at)
				y, m, d := start.In(zone).Date()
				want := time.Date(y, m, d, 0, 0, 0, 0, time.UTC).Unix() / 86_400
				if got := counted.Of(at.UnixMicro()); got != want {
					t.Errorf("%s is of day %d, want %d", at.In(zone), got, want)
				}
			}
			r := rand.New(rand.NewPCG(1, 2))
			for range 5_000 {
				check(time.UnixMicro(from.UnixMicro() + r.Int64N(to.UnixMicro()-from.UnixMicro())))
			}
			for at := from; at.Before(to); { // around every change of the clock
				_, end := at.In(zone).ZoneBounds()
				if end.IsZero() {
					break
				}
				for range 50 {
					check(end.Add(time.Duration(r.Int64N(int64(8*time.Hour))) - 4*time.Hour).Truncate(time.Microsecond))
				}
				check(end.Add(-time.Microsecond))
				check(end)
				at = end
			}
		})
	}
}
