package query_test

import (
	"context"
	"math"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/causality-project/causality/backend/internal/analysis/query"
	"github.com/causality-project/causality/backend/internal/analysis/query/querytest"
	"github.com/causality-project/causality/backend/internal/platform/event"
)

// Objects folded before the newest link are re-keyed as they are read; newer
// ones are read as they are.
func TestPersonLinksApplyToObjectsThatLackThem(t *testing.T) {
	t.Parallel()
	ann, bob, device, shared := event.UserKey("ann"), event.UserKey("bob"), event.AnonymousKey("device"), event.AnonymousKey("shared")
	old := querytest.Write(t, 1, []querytest.Event{
		{Name: "visit", Anonymous: "device", At: noon},                    // by key: ann
		{Name: "visit", Anonymous: "shared", At: noon, Key: bob},          // folded to bob, since corrected: ann
		{Name: "visit", User: "bob", Anonymous: "shared", At: noon},       // its own user id wins
		{Name: "visit", User: "old-ann", At: noon},                        // alias, by key
		{Name: "visit", User: "moved", Anonymous: "x", At: noon, Key: 42}, // alias, corrected
		{Name: "visit", At: noon},                                         // nobody
		{Name: "visit", Anonymous: "stranger", At: noon},
	})
	fresh := querytest.Write(t, 2, []querytest.Event{{Name: "visit", Anonymous: "device", At: noon, Key: ann}})
	links := query.Links{
		Number: 2, ByKey: map[int64]int64{device: ann, event.UserKey("old-ann"): ann, shared: bob},
		Changed: map[string]int64{"shared": ann}, ChangedUsers: map[string]int64{"moved": ann},
	}
	service := query.New(querytest.Pool(t, nil), querytest.Source{Objects: []query.Object{old, fresh}, Links: links})
	got := run(t, service, "SELECT CASE user_key WHEN "+itoa(ann)+" THEN 'ann' WHEN "+itoa(bob)+" THEN 'bob' WHEN "+itoa(event.AnonymousKey("stranger"))+
		" THEN 'stranger' ELSE coalesce(user_key::VARCHAR, 'nobody') END AS who, count(*) FROM events GROUP BY who ORDER BY who")
	if want := "ann|5\nbob|1\nnobody|1\nstranger|1"; got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
}

func itoa(n int64) string { return strconv.FormatInt(n, 10) }

func TestManyLinksArriveWhole(t *testing.T) {
	t.Parallel()
	links := query.Links{Number: 1, ByKey: map[int64]int64{}}
	for i := range int64(1_200_000) { // more than a frame holds
		links.ByKey[i+1] = math.MaxInt64 - i
	}
	object := querytest.Write(t, 0, []querytest.Event{{Name: "a", At: noon, Key: 1}, {Name: "a", At: noon, Key: 1_200_000}})
	service := query.New(querytest.Pool(t, nil), querytest.Source{Objects: []query.Object{object}, Links: links})
	if got, want := run(t, service, "SELECT user_key FROM events ORDER BY 1"), itoa(math.MaxInt64-1_199_999)+"\n"+itoa(math.MaxInt64); got != want {
		t.Errorf("got %s, want %s", got, want)
	}
}

// The newest set or unset of a key starts it; setOnce counts where nothing is
// known; adds count always.
func TestTraitsFold(t *testing.T) {
	t.Parallel()
	tests := map[string]struct {
		changes []string
		want    string // of key k, or NULL
	}{
		"set replaces":                   {[]string{`{"set":{"k":"a"}}`, `{"set":{"k":"b"}}`}, `b`},
		"setOnce keeps what is known":    {[]string{`{"set":{"k":"a"}}`, `{"setOnce":{"k":"b"}}`}, `a`},
		"setOnce where nothing is known": {[]string{`{"setOnce":{"k":"a"}}`, `{"setOnce":{"k":"b"}}`}, `a`},
		"set after setOnce":              {[]string{`{"setOnce":{"k":"a"}}`, `{"set":{"k":"b"}}`}, `b`},
		"unset forgets":                  {[]string{`{"set":{"k":"a"}}`, `{"unset":["k"]}`}, `NULL`},
		"setOnce after unset":            {[]string{`{"set":{"k":"a"}}`, `{"unset":["k"]}`, `{"setOnce":{"k":"c"}}`}, `c`},
		"add starts at zero":             {[]string{`{"add":{"k":2}}`, `{"add":{"k":3.5}}`}, `5.5`},
		"add to a set number":            {[]string{`{"set":{"k":10}}`, `{"add":{"k":-1}}`}, `9.0`},
		"set after add":                  {[]string{`{"add":{"k":2}}`, `{"set":{"k":7}}`, `{"add":{"k":1}}`}, `8.0`},
		"setOnce after add keeps":        {[]string{`{"add":{"k":2}}`, `{"setOnce":{"k":7}}`}, `2.0`},
		"add to text leaves it":          {[]string{`{"set":{"k":"x"}}`, `{"add":{"k":1}}`}, `x`},
		"null is missing":                {[]string{`{"set":{"k":"a"}}`, `{"set":{"k":null}}`}, `NULL`},
		"other keys stay apart":          {[]string{`{"set":{"k":"a","j":"b"}}`, `{"set":{"j":"c"}}`}, `a`},
	}
	pool := querytest.Pool(t, nil)
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var events []querytest.Event
			for i, change := range tt.changes {
				events = append(events, querytest.Event{Type: event.Identify, Name: "$identify", User: "u", At: noon.Add(time.Duration(i) * time.Second), Traits: change})
			}
			service := query.New(pool, querytest.Source{Objects: []query.Object{querytest.Write(t, 0, events)}})
			if got := run(t, service, "SELECT traits->>'k' FROM users"); got != tt.want {
				t.Errorf("got %s, want %s", got, tt.want)
			}
		})
	}
}

func TestGroupsAndSessions(t *testing.T) {
	t.Parallel()
	object := querytest.Write(t, 0, []querytest.Event{
		{Name: "a", User: "u", Session: "s", At: noon, Groups: `{"company":"acme","team/x":"1"}`, Columns: map[string]string{"page_path": "/in"}},
		{Name: "b", User: "u", Session: "s", At: noon.Add(time.Minute), Groups: `{"company":"acme"}`, Columns: map[string]string{"page_path": "/out"}},
		{Name: "c", User: "v", Session: "s", At: noon},
		{Name: "$group", Type: event.Group, User: "u", At: noon, GroupType: "company", GroupID: "acme", Traits: `{"set":{"plan":"pro"}}`},
	})
	service := query.New(querytest.Pool(t, nil), querytest.Source{Objects: []query.Object{object}})
	if got, want := run(t, service, "SELECT group_type, group_id, events, traits->>'plan' FROM groups ORDER BY 1"), "company|acme|2|pro\nteam/x|1|1|NULL"; got != want {
		t.Errorf("groups\n%s\nwant\n%s", got, want)
	}
	if got, want := run(t, service, "SELECT session_id, events, seconds, first_event, entry_page, exit_page FROM sessions ORDER BY events DESC"), "s|2|60|a|/in|/out\ns|1|0|c|NULL|NULL"; got != want {
		t.Errorf("sessions\n%s\nwant\n%s", got, want)
	}
}

func TestSchemaIsWhatTheTablesHave(t *testing.T) {
	t.Parallel()
	service := query.New(querytest.Pool(t, nil), querytest.Source{})
	for _, table := range query.Schema() {
		answer, err := service.Run(context.Background(), query.App{TimeZone: "UTC"}, "SELECT * FROM "+table.Name, nil, 0)
		if err != nil {
			t.Fatal(err)
		}
		var got, want []string
		for _, c := range answer.Columns {
			got = append(got, c.Name+" "+c.Type)
		}
		for _, c := range table.Columns {
			want = append(want, c.Name+" "+c.Type)
		}
		if g, w := strings.Join(got, "\n"), strings.Join(want, "\n"); g != w {
			t.Errorf("%s has\n%s\nand says\n%s", table.Name, g, w)
		}
	}
}
