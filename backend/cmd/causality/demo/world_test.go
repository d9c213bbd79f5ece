package demo

import (
	"reflect"
	"testing"
	"time"
)

var first = time.Date(2026, 8, 24, 0, 0, 0, 0, time.UTC)

func TestTheSameDayIsAlwaysTheSame(t *testing.T) {
	t.Parallel()
	a, b := NewWorld(first), NewWorld(first)
	a.Events(10) // other days were asked for before
	a.Events(3)
	if x, y := a.Events(40), b.Events(40); !reflect.DeepEqual(x, y) {
		t.Errorf("day 40 differs: %d and %d events", len(x), len(y))
	}
}

func TestHistoryKeepsItsPromises(t *testing.T) {
	t.Parallel()
	w := NewWorld(first)
	ids := map[[16]byte]bool{}
	perDay := make([]int, History)
	newUsers := make([]int, History)
	users := map[string]map[string]bool{} // event to who did it
	seen := map[string]int{}              // first day of a person
	back := map[int]int{}                 // days later to people
	var total, sessions, errorsOn320, errorsElsewhere, identified, server int
	for day := range History {
		for _, e := range w.Events(day) {
			if ids[e.ID] {
				t.Fatalf("id twice on day %d: %x", day, e.ID)
			}
			ids[e.ID] = true
			if e.Identify {
				identified++
				continue
			}
			total++
			perDay[day]++
			who := e.AnonymousID
			if who == "" {
				who = e.UserID
				server++
			}
			if users[e.Name] == nil {
				users[e.Name] = map[string]bool{}
			}
			users[e.Name][who] = true
			if e.Name == "page_view" || e.Name == "app_start" {
				sessions++
				if came, ok := seen[who]; !ok {
					seen[who] = day
					newUsers[day]++
				} else if came < History-31 {
					back[day-came]++
				}
			}
			if e.Name == "error" {
				if e.Visit.AppVersion == "3.2.0" && e.Visit.Platform == "android" {
					errorsOn320++
				} else {
					errorsElsewhere++
				}
			}
		}
	}
	t.Logf("%d events, %d people, first days %v, last days %v, day 1 back %d, day 7 %d, day 30 %d, errors %d/%d, identified %d, server %d",
		total, len(seen), perDay[:7], perDay[83:], back[1], back[7], back[30], errorsOn320, errorsElsewhere, identified, server)
	if total < 550_000 || total > 700_000 {
		t.Errorf("%d events; wanted about 600,000", total)
	}
	steps := []string{"product_view", "add_to_cart", "checkout_start", "purchase_complete"}
	for i := 1; i < len(steps); i++ {
		if a, b := len(users[steps[i-1]]), len(users[steps[i]]); b == 0 || float64(b) > 0.8*float64(a) {
			t.Errorf("%s → %s does not leak: %d → %d", steps[i-1], steps[i], a, b)
		}
	}
	if newUsers[launchDay] < 3*newUsers[launchDay-1] {
		t.Errorf("no launch spike: %d new people after %d", newUsers[launchDay], newUsers[launchDay-1])
	}
	if back[1] <= back[7] || back[7] <= back[30] || back[30] == 0 {
		t.Errorf("retention does not decay: %d, %d, %d", back[1], back[7], back[30])
	}
	if errorsOn320 < 20 || errorsElsewhere > 0 {
		t.Errorf("errors: %d on the bad release, %d elsewhere", errorsOn320, errorsElsewhere)
	}
	if identified < 1_000 || server < 1_000 {
		t.Errorf("%d identified, %d server events", identified, server)
	}
}

func TestExtraVisitsBeginNow(t *testing.T) {
	t.Parallel()
	w := NewWorld(first)
	now := w.Begin(89).Add(11 * time.Hour)
	for i := range uint64(50) {
		events := w.Extra(now, i)
		if len(events) == 0 || !events[0].Time.Equal(now) {
			t.Fatalf("visit %d: %d events", i, len(events))
		}
	}
}
