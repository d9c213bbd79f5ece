package query_test

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/causality-project/causality/backend/internal/analysis/query"
	"github.com/causality-project/causality/backend/internal/analysis/query/querytest"
	"github.com/causality-project/causality/backend/internal/platform/event"
)

// One meaning of p_<name> over objects that hold the column completely, hold it
// with gaps, or have never heard of it.
func TestPromotedColumnsReadTheSameFromEveryObject(t *testing.T) {
	t.Parallel()
	promoted := []query.Promoted{{Name: "plan"}, {Name: "n", Number: true}, {Name: `odd "name"/~1`}, {Name: "never"}}
	events := func(user string, properties ...string) []querytest.Event {
		var out []querytest.Event
		for i, p := range properties {
			out = append(out, querytest.Event{Name: "e", User: user, At: noon.Add(time.Duration(i) * time.Second), Properties: p})
		}
		return out
	}
	complete := events("a", `{"plan":"pro","n":5.0,"odd \"name\"/~1":true}`, `{"plan":5.0,"n":" 1e1 "}`, `{"plan":null}`, ``)
	gaps := events("b", `{"plan":["x",5],"n":"many"}`, `{"plan":"pro","n":1}`)
	loose := events("c", `{"plan":"pro","n":"7"}`, `{"plan":{"a":1},"n":true}`)
	settled := querytest.Settle(t, querytest.Write(t, 0, complete), "UTC", promoted)
	if len(settled.Columns) != 4 {
		t.Fatalf("the object holds %v completely", settled.Columns)
	}
	gapped := querytest.Settle(t, querytest.Write(t, 0, gaps), "UTC", promoted[:2])
	if len(gapped.Columns) != 0 {
		t.Fatalf("the object holds %v completely", gapped.Columns)
	}
	// Columns that nobody reads any more differ from file to file.
	other := querytest.Settle(t, querytest.Write(t, 0, events("d", `{"gone":1,"plan":"free"}`)), "UTC", []query.Promoted{{Name: "gone", Number: true}, {Name: "plan"}})
	source := querytest.Source{Promoted: promoted, Objects: []query.Object{other, settled, gapped, querytest.Write(t, 0, loose)}}
	service := query.New(querytest.Pool(t, nil), source)
	got := run(t, service, `SELECT user_id, "p_plan", p_n, "p_odd ""name""/~1", p_never FROM events ORDER BY user_id, ts`)
	want := strings.Join([]string{
		`a|pro|5|true|NULL`, `a|5|10|NULL|NULL`, `a|NULL|NULL|NULL|NULL`, `a|NULL|NULL|NULL|NULL`,
		`b|["x",5]|NULL|NULL|NULL`, `b|pro|1|NULL|NULL`,
		`c|pro|7|NULL|NULL`, `c|{"a":1}|NULL|NULL|NULL`, `d|free|NULL|NULL|NULL`,
	}, "\n")
	if got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
	if got := run(t, service, `SELECT count(*) FROM events WHERE p_plan = 'pro' AND p_n > 0`); got != "3" {
		t.Errorf("%s rows, want 3", got)
	}
	if got := run(t, service, `SELECT sum(events) FROM users`); got != "9" {
		t.Errorf("%s events of users, want 9", got)
	}
	if got := run(t, query.New(querytest.Pool(t, nil), querytest.Source{Promoted: promoted}), `SELECT count(p_n) FROM events`); got != "0" {
		t.Errorf("%s rows of an app without objects", got)
	}
}

// A question of ours reads no file that it does not need, and says which it read.
func TestPlansTakeWhatTheNeedIs(t *testing.T) {
	t.Parallel()
	plan := query.Promoted{Name: "plan"}
	object := func(id string, linkNumber int64, columns ...string) query.Object {
		return query.Object{
			ID: id, Path: id, Rows: 100, Bytes: 1_000, LinkNumber: linkNumber, MinTS: noon, MaxTS: noon.Add(time.Hour), Columns: columns,
			Projections: []query.Projection{
				{Kind: "by_event", Path: id + "/by_event", Rows: 90, Bytes: 100, Columns: columns},
				{Kind: "event_days", Path: id + "/event_days", Rows: 9, Bytes: 10, Zone: "UTC"},
				{Kind: "user_days", Path: id + "/user_days", Rows: 3, Bytes: 1, Zone: "UTC"},
			},
		}
	}
	loose := query.Object{ID: "loose", Path: "loose", Rows: 5, Bytes: 50, LinkNumber: 2, MinTS: noon, MaxTS: noon}
	whole := func(time.Time, time.Time) bool { return true }
	byKey := query.Links{Number: 2, ByKey: map[int64]int64{1: 2}}
	corrected := query.Links{Number: 2, ByKey: map[int64]int64{1: 2}, ChangedUsers: map[string]int64{"u": 3}}
	later := object("later", 2, "plan") // whose by_event was derived before, or after
	later.Projections[0].Columns = nil
	tests := map[string]struct {
		links query.Links
		need  query.Need
		files string
	}{
		"columns that by_event has":             {query.Links{}, query.Need{Events: true, Columns: []string{"country", "user_key"}}, "old/by_event new/by_event loose"},
		"a column that it lacks":                {query.Links{}, query.Need{Events: true, Columns: []string{"city"}}, "old new loose"},
		"a promoted property":                   {query.Links{}, query.Need{Events: true, Promoted: []query.Promoted{plan}}, "old new/by_event loose"},
		"another property":                      {query.Links{}, query.Need{Events: true, Columns: []string{"properties"}, Promoted: []query.Promoted{plan}}, "old new loose"},
		"links by key":                          {byKey, query.Need{Events: true, Columns: []string{"user_key"}}, "old/by_event new/by_event loose"},
		"links corrected":                       {corrected, query.Need{Events: true, Columns: []string{"user_key"}}, "old new/by_event loose"},
		"links corrected, but no people asked":  {corrected, query.Need{Events: true}, "old/by_event new/by_event loose"},
		"counts of people by day":               {query.Links{}, query.Need{Days: &query.Days{Zone: "UTC", Users: true, Whole: whole}}, "old/user_days new/user_days loose"},
		"counts by event and day":               {byKey, query.Need{Days: &query.Days{Zone: "UTC", Event: true, Users: true, Whole: whole}}, "old/event_days new/event_days loose"},
		"counts by day, links corrected":        {corrected, query.Need{Days: &query.Days{Zone: "UTC", Users: true, Whole: whole}}, "new/user_days old loose"},
		"days of another zone":                  {query.Links{}, query.Need{Days: &query.Days{Zone: "Europe/Berlin", Whole: whole}}, "old/by_event new/by_event loose"},
		"bounds that cut a day":                 {query.Links{}, query.Need{Days: &query.Days{Zone: "UTC", Whole: func(time.Time, time.Time) bool { return false }}}, "old/by_event new/by_event loose"},
		"only objects with events in the range": {query.Links{}, query.Need{Days: &query.Days{Zone: "UTC", Whole: whole, From: noon.Add(2 * time.Hour)}}, ""},
		"users, who are made of whole events":   {query.Links{}, query.Need{Events: true, Users: true}, "old new loose old/by_event new/by_event"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := query.Snapshot{Links: tt.links, Objects: []query.Object{object("old", 1), object("new", 2, "plan"), loose}}
			if tt.need.Events && len(tt.need.Promoted) > 0 {
				s.Objects, tt.files = append(s.Objects, later), tt.files+" later"
			}
			p := s.Plan(tt.need)
			if got := strings.Join(p.Files, " "); got != tt.files {
				t.Errorf("reads %s, want %s", got, tt.files)
			}
			var rows int64
			for _, o := range s.Objects {
				for _, f := range append([]query.Projection{{Path: o.Path, Rows: o.Rows}}, o.Projections...) {
					for _, path := range p.Files {
						if path == f.Path {
							rows += f.Rows
						}
					}
				}
			}
			if p.Rows != rows {
				t.Errorf("says %d rows, the files have %d", p.Rows, rows)
			}
			setup := strings.Join(p.Setup, "\n")
			if reads := strings.Contains(setup, "link_keys"); reads != (len(p.Links.ByKey) > 0) {
				t.Errorf("links are read: %v, and sent: %v", reads, len(p.Links.ByKey) > 0)
			}
		})
	}
}

// Links by key apply to projections as to whole events.
func TestProjectionsGetTheNewestPeople(t *testing.T) {
	t.Parallel()
	ann, device := event.UserKey("ann"), event.AnonymousKey("device")
	object := querytest.Settle(t, querytest.Write(t, 1, []querytest.Event{
		{Name: "visit", Anonymous: "device", At: noon}, {Name: "visit", User: "ann", At: noon}, {Name: "visit", At: noon},
	}), "UTC", nil, "by_event", "event_days", "user_days")
	s := query.Snapshot{Links: query.Links{Number: 2, ByKey: map[int64]int64{device: ann}}, Objects: []query.Object{object}}
	pool := querytest.Pool(t, nil)
	always := func(time.Time, time.Time) bool { return true }
	for table, need := range map[string]query.Need{
		"events":     {Events: true, Columns: []string{"user_key"}},
		"event_days": {Days: &query.Days{Zone: "UTC", Event: true, Users: true, Whole: always}},
	} {
		p := s.Plan(need)
		answer, err := query.Collect(context.Background(), pool, query.Request{
			Workspace: "w", Tables: p.Tables, Zone: "UTC", Trusted: true, SQL: "SELECT count(DISTINCT user_key), count(*) - count(user_key) FROM " + table,
		})
		if err != nil {
			t.Fatal(err)
		}
		if got := answer.Rows[0][0].Text + " " + answer.Rows[0][1].Text; got != "1 1" {
			t.Errorf("%s: people and nobodies %s, want 1 1", table, got)
		}
	}
}

func BenchmarkPlan10000Objects(b *testing.B) {
	s := query.Snapshot{Links: query.Links{Number: 2, ByKey: map[int64]int64{1: 2}}, Promoted: []query.Promoted{{Name: "plan"}}}
	for i := range 10_000 {
		o := query.Object{ID: fmt.Sprint(i), Path: fmt.Sprintf("/var/lib/causality/objects/app_id=0197f1a0-0000-7000-8000-000000000001/year=2026/month=03/%d.parquet", i), Rows: 1, Bytes: 1, LinkNumber: int64(i % 3), MinTS: noon, MaxTS: noon}
		if i%2 == 0 {
			o.Columns = []string{"plan"}
			for _, kind := range []string{"by_event", "event_days", "user_days"} {
				o.Projections = append(o.Projections, query.Projection{Kind: kind, Path: o.Path + kind, Rows: 1, Bytes: 1, Zone: "UTC"})
			}
		}
		s.Objects = append(s.Objects, o)
	}
	b.Run("people's SQL", func(b *testing.B) {
		for b.Loop() {
			query.TablesOf(s)
		}
	})
	b.Run("counts by day and events", func(b *testing.B) {
		for b.Loop() {
			s.Plan(query.Need{
				Events: true, Columns: []string{"user_key", "country"}, Promoted: s.Promoted,
				Days: &query.Days{Zone: "UTC", Event: true, Users: true, Whole: func(time.Time, time.Time) bool { return true }},
			})
		}
	})
}
