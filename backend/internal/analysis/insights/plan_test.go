package insights_test

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"

	"github.com/causality-project/causality/backend/internal/analysis/insights"
	"github.com/causality-project/causality/backend/internal/analysis/query"
	"github.com/causality-project/causality/backend/internal/analysis/query/querytest"
	"github.com/causality-project/causality/backend/internal/pipeline/lake/merge"
	"github.com/causality-project/causality/backend/internal/pipeline/lake/parquetv1"
	"github.com/causality-project/causality/backend/internal/platform/calendar"
	"github.com/causality-project/causality/backend/internal/platform/event"
)

var zones = []string{"UTC", "Europe/Berlin", "America/New_York", "Asia/Kathmandu", "Australia/Lord_Howe"}

// randomLayout stores events in objects of every kind: loose ones and settled
// ones with some of the projections, in some zone, with some promoted columns
// that hold everything or not, folded through links or not. It sets the events'
// people as they are after all links.
func randomLayout(t testing.TB, r *rand.Rand, events []referenceEvent) query.Snapshot {
	var s query.Snapshot
	for _, name := range append(slices.Clone(names), "country") {
		if r.IntN(2) == 0 {
			s.Promoted = append(s.Promoted, query.Promoted{Name: name, Number: r.IntN(3) == 0})
		}
	}
	// Link 1 gave d1 to u1 and merged u3 into u2; both were undone by link 2. Link
	// 3 gives d0 to u0 and merges u5 into u4.
	links := r.IntN(2) == 0
	corrected := links && r.IntN(2) == 0
	if links {
		s.Links = query.Links{Number: 3, ByKey: map[int64]int64{event.AnonymousKey("d0"): event.UserKey("u0"), event.UserKey("u5"): event.UserKey("u4")}}
		if corrected {
			s.Links.Changed = map[string]int64{"d1": event.AnonymousKey("d1")}
			s.Links.ChangedUsers = map[string]int64{"u3": event.UserKey("u3")}
		}
	}
	keyAt := func(e querytest.Event, number int64) int64 {
		own := querytest.Event{User: e.User, Anonymous: e.Anonymous}.UserKey()
		switch {
		case !links:
			return 0
		case own == event.AnonymousKey("d0") && number >= 3:
			return event.UserKey("u0")
		case own == event.UserKey("u5") && number >= 3:
			return event.UserKey("u4")
		case own == event.AnonymousKey("d1") && corrected && number == 1:
			return event.UserKey("u1")
		case own == event.UserKey("u3") && corrected && number == 1:
			return event.UserKey("u2")
		}
		return own
	}
	objects := 1 + r.IntN(3)
	rows := make([][]querytest.Event, objects)
	numbers := make([]int64, objects)
	for i := range numbers {
		numbers[i] = int64(1 + 2*r.IntN(2))
	}
	byTime := r.IntN(2) == 0 // as months settle, or overlapping as they arrive
	ordered := slices.Clone(events)
	slices.SortFunc(ordered, func(a, b referenceEvent) int { return a.At.Compare(b.At) })
	for i := range events {
		events[i].Key = keyAt(events[i].Event, 3)
	}
	for i, e := range ordered {
		at := r.IntN(objects)
		if byTime {
			at = i * objects / len(ordered)
		}
		e.Key = keyAt(e.Event, numbers[at])
		rows[at] = append(rows[at], e.Event)
	}
	for i := range rows {
		if len(rows[i]) == 0 {
			continue
		}
		object := querytest.Write(t, numbers[i], rows[i])
		if r.IntN(4) > 0 {
			var promote []query.Promoted
			var kinds []string
			for _, p := range s.Promoted {
				if r.IntN(4) > 0 {
					promote = append(promote, p)
				}
			}
			for _, kind := range []string{"by_event", "event_days", "user_days"} {
				if r.IntN(4) > 0 {
					kinds = append(kinds, kind)
				}
			}
			zone := pick(r, zones...)
			if r.IntN(2) == 0 {
				s.Objects = append(s.Objects, merged(t, numbers[i], rows[i], zone, promote, kinds)...)
				continue
			}
			object = querytest.Settle(t, object, zone, promote, kinds...)
		}
		s.Objects = append(s.Objects, object)
	}
	return s
}

// merged stores events as the lake's own merge leaves them: by month and user,
// with columns for promoted properties and projections.
func merged(t testing.TB, linkNumber int64, rows []querytest.Event, zone string, promote []query.Promoted, kinds []string) []query.Object {
	t.Helper()
	check := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	var stored []parquetv1.Row
	for i, e := range rows {
		stored = append(stored, parquetv1.Row{Seq: int64(i), UserKey: e.UserKey(), Event: &event.Event{
			ID: e.ID, Type: event.Track, Name: e.Name, TS: e.At, ReceivedAt: e.At, UserID: e.User, AnonymousID: e.Anonymous, SessionID: e.Session,
			Properties: e.Properties, Context: event.Context{Country: e.Columns["country"]},
		}})
	}
	slices.SortFunc(stored, func(a, b parquetv1.Row) int { return parquetv1.Compare(&a, &b) })
	var input bytes.Buffer
	check(parquetv1.Write(&input, "app", stored, nil))
	file, err := parquetv1.Open(bytes.NewReader(input.Bytes()), int64(input.Len()))
	check(err)
	loc, err := calendar.LoadZone(zone)
	check(err)
	dir := t.TempDir()
	check(os.Chmod(filepath.Dir(dir), 0o755)) // the engine is another user when this one is root
	path := func(part *merge.Part, kind string) string {
		return filepath.Join(dir, fmt.Sprintf("%s-%d-%d-%s.parquet", part.Period.Format("200601"), part.Bits, part.Bucket, kind))
	}
	job := merge.Job{
		AppID: "app", Inputs: []*parquetv1.File{file}, Settle: true, MinBits: 1, Zone: loc, TempDir: dir,
		Create: func(_ context.Context, part *merge.Part, kind string, write func(io.Writer) error) (int64, error) {
			var out bytes.Buffer
			if err := write(&out); err != nil {
				return 0, err
			}
			return int64(out.Len()), os.WriteFile(path(part, kind), out.Bytes(), 0o644)
		},
	}
	for _, p := range promote {
		job.Promote = append(job.Promote, parquetv1.Promoted{Name: p.Name, Number: p.Number})
	}
	result, err := merge.Run(context.Background(), job)
	check(err)
	var objects []query.Object
	for _, part := range result.Parts {
		o := query.Object{
			ID: path(part, merge.Events), Path: path(part, merge.Events), Rows: part.Rows, Bytes: part.Objects[merge.Events].Bytes, LinkNumber: linkNumber,
			MinTS: part.MinTS, MaxTS: part.MaxTS, Columns: part.Columns,
		}
		for _, kind := range kinds {
			p := query.Projection{Kind: kind, Path: path(part, kind), Rows: part.Objects[kind].Rows, Bytes: part.Objects[kind].Bytes}
			if kind == merge.ByEvent {
				p.Columns = part.Columns
			} else {
				p.Zone = zone
			}
			o.Projections = append(o.Projections, p)
		}
		objects = append(objects, o)
	}
	return objects
}

// holdsLists is what the catalog knows of the events.
func holdsLists(events []referenceEvent) func(context.Context, string, string) (bool, error) {
	return func(_ context.Context, _, name string) (bool, error) {
		return slices.ContainsFunc(events, func(e referenceEvent) bool {
			_, list := e.properties[name].([]any)
			return list
		}), nil
	}
}

// recording keeps the last request.
type recording struct {
	query.Engine
	mu   sync.Mutex
	last query.Request
}

func (e *recording) Query(ctx context.Context, r query.Request, s query.Sink) (query.Done, error) {
	e.mu.Lock()
	e.last = r
	e.mu.Unlock()
	return e.Engine.Query(ctx, r, s)
}

// sameRows reports whether the SQL that people are shown gives, over the tables
// that people have, what was run.
func (e *recording) sameRows(t *testing.T, source query.Source, shown string) bool {
	t.Helper()
	ran, err := query.Collect(context.Background(), e.Engine, e.last)
	if err != nil {
		t.Fatal(err)
	}
	again, err := query.New(e.Engine, source).Run(context.Background(), app, shown, nil, query.MaxRows)
	if err != nil {
		t.Errorf("%v\n%s", err, shown)
		return false
	}
	return slices.Equal(sortedRows(ran), sortedRows(again))
}

func sortedRows(answer *query.Answer) []string {
	var rows []string
	for _, row := range answer.Rows {
		var cells []string
		for i, c := range row {
			if f, err := strconv.ParseFloat(c.Text, 64); i == 4 && err == nil {
				c.Text = fmt.Sprintf("%.9g", f) // sums of fractions depend on their order
			}
			cells = append(cells, fmt.Sprint(c.Null, c.Text))
		}
		rows = append(rows, strings.Join(cells, "|"))
	}
	slices.Sort(rows)
	return rows
}

// settled is one object with all projections.
func settled(t testing.TB, zone string, promote []query.Promoted, events ...querytest.Event) query.Snapshot {
	t.Helper()
	return query.Snapshot{Promoted: promote, Objects: []query.Object{querytest.Settle(t, querytest.Write(t, 0, events), zone, promote, "by_event", "event_days", "user_days")}}
}

// Which files a question reads, by the number of their rows.
func TestQuestionsReadTheSmallestFiles(t *testing.T) {
	t.Parallel()
	price := query.Promoted{Name: "price", Number: true}
	plan := query.Promoted{Name: "plan"}
	snapshot := settled(t, "Europe/Berlin", []query.Promoted{price, plan},
		ev("e", "a", 0, `{"price":5,"plan":"pro","x":1}`), ev("e", "a", 0), ev("e", "a", 0), ev("f", "a", 0), ev("f", "b", 1),
		querytest.Event{Name: "i", Type: event.Identify, User: "a", At: on(0)}, querytest.Event{Name: "i", Type: event.Identify, User: "a", At: on(0)})
	const userDays, eventDays, byEvent, whole = 2, 3, 5, 7
	series := func(event string, kind string) insights.Series {
		return insights.Series{Event: event, Measure: insights.Measure{Kind: kind}}
	}
	of := func(property, agg string) insights.Series {
		return insights.Series{Event: "e", Measure: insights.Measure{Kind: "property", Property: property, Agg: agg}}
	}
	berlin := func(change func(*insights.Trend), all ...insights.Series) insights.Trend {
		spec := insights.Trend{Range: day(5), TimeZone: "Europe/Berlin", Series: all}
		if change != nil {
			change(&spec)
		}
		return spec
	}
	where := func(property, op string, values ...any) func(*insights.Trend) {
		return func(spec *insights.Trend) { spec.Where = &insights.Filter{Property: property, Op: op, Values: values} }
	}
	by := func(property, source string) func(*insights.Trend) {
		return func(spec *insights.Trend) {
			spec.Breakdowns = []insights.Breakdown{{Property: property, Source: source}}
		}
	}
	pool := querytest.Pool(t, nil)
	for name, tt := range map[string]struct {
		spec insights.Trend
		rows int64
	}{
		"active users":                          {berlin(nil, series("", "uniqueUsers")), userDays},
		"events of all names, by week":          {berlin(func(s *insights.Trend) { s.Granularity = "week" }, series("", "total"), series("", "perUser")), userDays},
		"users of an event":                     {berlin(nil, series("e", "uniqueUsers")), eventDays},
		"one of an event, one of all":           {berlin(nil, series("", "uniqueUsers"), series("e", "uniqueUsers")), eventDays},
		"by event":                              {berlin(by("event", ""), series("", "total")), eventDays},
		"a condition on the event":              {berlin(where("event", "startsWith", "e"), series("", "total")), eventDays},
		"another zone":                          {berlin(func(s *insights.Trend) { s.TimeZone = "UTC" }, series("e", "total")), byEvent},
		"by hour":                               {berlin(func(s *insights.Trend) { s.Granularity = "hour" }, series("e", "total")), byEvent},
		"a range that cuts a day of events":     {berlin(func(s *insights.Trend) { s.Range.From = "2026-03-02T12:00:00.000001Z" }, series("e", "total")), byEvent},
		"a range that cuts no day of events":    {berlin(func(s *insights.Trend) { s.Range.To = "2026-03-05T01:00:00Z" }, series("e", "total")), eventDays},
		"by country":                            {berlin(by("country", ""), series("e", "total")), whole}, // a JSON property may have the name too
		"did":                                   {berlin(func(s *insights.Trend) { s.Where = &insights.Filter{Did: &insights.Did{Event: "f"}} }, series("e", "total")), byEvent},
		"first-time users":                      {berlin(nil, series("e", "firstTime")), eventDays},
		"first-time users, a range within days": {berlin(func(s *insights.Trend) { s.Range.From = "2026-03-02T01:00:00Z" }, series("e", "firstTime")), byEvent},
		"first-time users by a property":        {berlin(by("plan", ""), series("e", "firstTime")), whole}, // ties are decided by the event's id
		"sessions":                              {berlin(nil, series("e", "sessions")), whole},
		"a promoted number":                     {berlin(nil, of("price", "sum")), byEvent},
		"a percentile of a promoted number":     {berlin(nil, of("price", "p90")), byEvent},
		"a promoted text as a number":           {berlin(nil, of("plan", "sum")), byEvent},
		"a condition on a promoted number":      {berlin(where("price", "gt", 1.0), series("e", "total")), byEvent},
		"a promoted number is set":              {berlin(where("price", "isSet"), series("e", "total")), byEvent},
		"a promoted number as text":             {berlin(where("price", "contains", "5"), series("e", "total")), whole},
		"a condition on a promoted text":        {berlin(where("plan", "isNot", "pro"), series("e", "total")), byEvent},
		"by a promoted text":                    {berlin(by("plan", ""), series("e", "total")), byEvent},
		"another property":                      {berlin(where("x", "isSet"), series("e", "total")), whole},
		"a property of the user":                {berlin(by("plan", "user"), series("e", "total")), byEvent + whole},
		"some by day, some not":                 {berlin(nil, series("e", "uniqueUsers"), of("price", "max")), eventDays + byEvent},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			engine := &recording{Engine: pool}
			answer, err := service(t, engine, "2026-06-01T00:00:00Z", snapshot).Trend(context.Background(), app, tt.spec, false)
			if err != nil {
				t.Fatal(err)
			}
			if answer.Meta.ScannedRows != tt.rows {
				t.Errorf("reads %d rows, want %d\n%s", answer.Meta.ScannedRows, tt.rows, engine.last.SQL)
			}
			if !engine.sameRows(t, querytest.Source(snapshot), answer.Meta.SQL) {
				t.Errorf("the SQL that is shown gives something else\n%s\n%s", answer.Meta.SQL, engine.last.SQL)
			}
		})
	}
}
