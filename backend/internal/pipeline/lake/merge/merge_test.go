package merge

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"slices"
	"strconv"
	"testing"
	"time"

	gocmp "github.com/google/go-cmp/cmp"

	"github.com/causality-project/causality/backend/internal/pipeline/lake/parquetv1"
	"github.com/causality-project/causality/backend/internal/platform/event"
)

// shelf keeps what jobs create, in memory.
type shelf struct {
	objects map[string][]byte // by part and kind
}

func (s *shelf) name(part *Part, kind string) string {
	return fmt.Sprintf("%s-%d-%d-%s", part.Period.Format("200601"), part.Bits, part.Bucket, kind)
}

func (s *shelf) create(_ context.Context, part *Part, kind string, write func(io.Writer) error) (int64, error) {
	var out bytes.Buffer
	if err := write(&out); err != nil {
		return 0, err
	}
	if s.objects == nil {
		s.objects = map[string][]byte{}
	}
	name := s.name(part, kind)
	if s.objects[name] != nil {
		return 0, fmt.Errorf("%s is created twice", name)
	}
	s.objects[name] = out.Bytes()
	return int64(out.Len()), nil
}

func open(t testing.TB, data []byte) *parquetv1.File {
	t.Helper()
	file, err := parquetv1.Open(bytes.NewReader(data), int64(len(data)))
	if err != nil {
		t.Fatal(err)
	}
	return file
}

// object writes rows as the sink does.
func object(t testing.TB, rows []parquetv1.Row) *parquetv1.File {
	t.Helper()
	slices.SortFunc(rows, func(a, b parquetv1.Row) int { return parquetv1.Compare(&a, &b) })
	var out bytes.Buffer
	if err := parquetv1.Write(&out, "app", rows, nil); err != nil {
		t.Fatal(err)
	}
	return open(t, out.Bytes())
}

// stored is a row as a test reads it back.
type stored struct {
	Event   event.Event
	UserKey int64
	Seq     int64
	Revenue string
}

func read(t testing.TB, file *parquetv1.File) []stored {
	t.Helper()
	var rows []stored
	reader := file.Read()
	defer reader.Close()
	for {
		row, err := reader.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		revenue := ""
		if v := row[parquetv1.ColRevenue]; !v.IsNull() {
			revenue = strconv.FormatFloat(v.Double(), 'g', -1, 64) + row[parquetv1.ColCurrency].String()
		}
		rows = append(rows, stored{parquetv1.Decode(row), parquetv1.UserKey(row), parquetv1.Seq(row), revenue})
	}
	if int64(len(rows)) != file.Rows() {
		t.Fatalf("read %d rows of %d", len(rows), file.Rows())
	}
	return rows
}

func want(r parquetv1.Row) stored {
	revenue := ""
	if r.HasRevenue {
		revenue = strconv.FormatFloat(r.Revenue, 'g', -1, 64) + r.Currency
	}
	return stored{*r.Event, r.UserKey, r.Seq, revenue}
}

var values = []string{`1`, `1.0`, `-0.0`, `1e3`, `"a"`, `"ä\n\"x\""`, `null`, `[1]`, `{"x":1}`, `true`, `""`, `12345678901234567890123`, `0.5`, `"05"`}

// randomRows makes events with many ties of person and time, some of nobody, at
// the ends of months and long ago.
func randomRows(random *rand.Rand, n, firstSeq int) []parquetv1.Row {
	times := []time.Time{
		time.Date(2026, 1, 31, 23, 59, 59, 999_999_000, time.UTC), time.Date(2026, 2, 1, 0, 0, 0, 0, time.UTC),
		time.Date(2026, 3, 29, 0, 59, 59, 0, time.UTC), time.Date(2026, 3, 29, 1, 0, 0, 0, time.UTC),
		time.Date(2026, 3, 28, 23, 0, 0, 0, time.UTC), time.Date(2019, 12, 31, 23, 30, 0, 0, time.UTC), time.Date(1969, 7, 20, 20, 17, 0, 0, time.UTC),
	}
	rows := make([]parquetv1.Row, n)
	for i := range rows {
		e := &event.Event{
			ID: event.ID{byte(random.IntN(256)), byte(random.IntN(256)), 15: byte(random.IntN(256))}, Type: event.Track,
			Name:       []string{"view", "buy", "ähm", "a"}[random.IntN(4)],
			TS:         times[random.IntN(len(times))].Add(time.Duration(random.IntN(3)) * time.Hour),
			ReceivedAt: time.Date(2026, 4, 1, 0, 0, random.IntN(3), 0, time.UTC),
			Properties: fmt.Sprintf(`{"plan":%s,"x":%d,"price":%s}`, values[random.IntN(len(values))], random.IntN(3), values[random.IntN(len(values))]),
		}
		e.Context.Platform = []string{"", "web", "ios"}[random.IntN(3)]
		e.Context.PagePath = []string{"", "/", fmt.Sprint("/p/", random.IntN(1000))}[random.IntN(3)]
		e.Context.Rest = []string{"", `{"screen":{"width":1440}}`}[random.IntN(2)]
		switch random.IntN(8) {
		case 0:
			e.Type, e.Name, e.Traits = event.Identify, "$identify", `{"set":{"a":1}}`
		case 1:
			e.Properties = ""
		case 2:
			e.OriginalTS = time.Date(1970, 1, 2, 0, 0, 0, 0, time.UTC)
		}
		if who := random.IntN(10); who > 0 {
			e.AnonymousID = fmt.Sprint("visitor-", who)
			if random.IntN(2) == 0 {
				e.UserID = fmt.Sprint("user-", who%4)
			}
			e.SessionID = fmt.Sprint("session-", random.IntN(4))
		}
		rows[i] = parquetv1.Row{Event: e, Seq: int64(firstSeq + i), UserKey: e.OwnKey()}
		if random.IntN(3) == 0 {
			rows[i].Revenue, rows[i].HasRevenue, rows[i].Currency = float64(random.IntN(4))/4, true, "EUR"
		}
	}
	return rows
}

// links move visitor 1 to user 1 and, in a stale object, user 2's own id to 3.
func links(key int64, userID, anonymousID string) int64 {
	switch {
	case userID == "user-2":
		return event.UserKey("user-3")
	case userID == "" && anonymousID == "visitor-1":
		return event.UserKey("user-1")
	}
	return key
}

// reference does a job the obvious way.
func reference(inputs [][]parquetv1.Row, stale []bool, resolve func(int64, string, string) int64, keep func(*Row) bool) (kept []parquetv1.Row, repeated int64, removed []event.ID) {
	first := map[event.ID]parquetv1.Row{}
	for i, rows := range inputs {
		for _, r := range rows {
			if stale[i] {
				r.UserKey = resolve(r.UserKey, r.Event.UserID, r.Event.AnonymousID)
			}
			have, ok := first[r.Event.ID]
			if ok {
				repeated++
			}
			if c := cmp.Or(compareReceipt(r, have), cmp.Compare(r.Seq, have.Seq)); !ok || c < 0 {
				first[r.Event.ID] = r
			}
		}
	}
	for _, r := range first {
		if keep != nil && !keep(&Row{ID: r.Event.ID, Event: r.Event.Name, Type: r.Event.Type, UserKey: r.UserKey, UserID: r.Event.UserID,
			AnonymousID: r.Event.AnonymousID, TS: r.Event.TS.UnixMicro(), ReceivedAt: r.Event.ReceivedAt.UnixMicro()}) {
			removed = append(removed, r.Event.ID)
			continue
		}
		kept = append(kept, r)
	}
	slices.SortFunc(kept, func(a, b parquetv1.Row) int { return parquetv1.Compare(&a, &b) })
	return kept, repeated, removed
}

func compareReceipt(a, b parquetv1.Row) int {
	if b.Event == nil {
		return -1
	}
	return a.Event.ReceivedAt.Compare(b.Event.ReceivedAt)
}

// A job gives what sorting, removing repeats and splitting all rows gives,
// whatever is in its inputs and however they share it.
func TestJobsDoWhatTheObviousWayDoes(t *testing.T) {
	t.Parallel()
	for seed := range uint64(30) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			t.Parallel()
			random := rand.New(rand.NewPCG(seed, 7))
			inputs := make([][]parquetv1.Row, random.IntN(6))
			stale := make([]bool, len(inputs))
			job := Job{AppID: "app", Stale: stale, Resolve: links, Settle: seed%3 > 0, TempDir: t.TempDir()}
			for i := range inputs {
				inputs[i] = randomRows(random, random.IntN(400), 1000*i)
				if i > 0 && len(inputs[i-1]) > 0 { // the same event came twice
					again := inputs[i-1][random.IntN(len(inputs[i-1]))]
					other := *again.Event
					other.Name, other.TS = "again", other.TS.Add(time.Second)
					other.ReceivedAt = other.ReceivedAt.Add(time.Duration(random.IntN(3)-1) * time.Second)
					again.Event, again.Seq = &other, int64(1000*i+999)
					inputs[i] = append(inputs[i], again)
				}
				stale[i] = random.IntN(2) == 0
				job.Inputs = append(job.Inputs, object(t, inputs[i]))
			}
			if seed%2 == 0 {
				job.Keep = func(row *Row) bool { return row.Event != "buy" || row.UserID == "" }
			}
			if seed%3 == 2 {
				job.Target = 2000 // so that months are split by user
			}
			if seed%5 > 2 {
				job.dictionary = 1 // so that texts stream
			}
			var removed []event.ID
			job.Removed = func(id event.ID) error { removed = append(removed, id); return nil }
			var out shelf
			job.Create = out.create
			result, err := Run(t.Context(), job)
			if err != nil {
				t.Fatal(err)
			}
			kept, repeated, refused := reference(inputs, stale, links, job.Keep)
			slices.SortFunc(removed, func(a, b event.ID) int { return slices.Compare(a[:], b[:]) })
			slices.SortFunc(refused, func(a, b event.ID) int { return slices.Compare(a[:], b[:]) })
			if !slices.Equal(removed, refused) || result.Removed != int64(len(refused)) || result.Repeated != repeated || result.Rows != int64(len(kept)) {
				t.Errorf("rows %d repeated %d removed %d; want %d, %d, %d", result.Rows, result.Repeated, result.Removed, len(kept), repeated, len(refused))
			}
			byPart := map[string][]stored{}
			for _, part := range result.Parts {
				name := out.name(part, Events)
				for _, r := range kept {
					if in(part, r) {
						byPart[name] = append(byPart[name], want(r))
					}
				}
				if len(byPart[name]) == 0 {
					t.Errorf("part %s is empty", name)
					continue
				}
				rows := read(t, open(t, out.objects[name]))
				if diff := gocmp.Diff(byPart[name], rows); diff != "" {
					t.Fatalf("%s (-want +got):\n%s", name, diff)
				}
				checkBounds(t, part, rows)
			}
			total := 0
			for _, rows := range byPart {
				total += len(rows)
			}
			if total != len(kept) || len(out.objects) != len(byPart) {
				t.Errorf("%d objects of %d rows, want %d of %d", len(out.objects), total, len(byPart), len(kept))
			}
		})
	}
}

func in(part *Part, r parquetv1.Row) bool {
	if part.Period.IsZero() {
		return true
	}
	ts := r.Event.TS
	return ts.Year() == part.Period.Year() && ts.Month() == part.Period.Month() && bucketOf(r.UserKey, part.Bits) == part.Bucket
}

func checkBounds(t *testing.T, part *Part, rows []stored) {
	t.Helper()
	w := Part{MinTS: rows[0].Event.TS, MaxTS: rows[0].Event.TS, MinReceivedAt: rows[0].Event.ReceivedAt, MaxReceivedAt: rows[0].Event.ReceivedAt}
	for _, r := range rows {
		for _, b := range []struct {
			least, greatest *time.Time
			at              time.Time
		}{{&w.MinTS, &w.MaxTS, r.Event.TS}, {&w.MinReceivedAt, &w.MaxReceivedAt, r.Event.ReceivedAt}} {
			if b.at.Before(*b.least) {
				*b.least = b.at
			}
			if b.at.After(*b.greatest) {
				*b.greatest = b.at
			}
		}
	}
	if !w.MinTS.Equal(part.MinTS) || !w.MaxTS.Equal(part.MaxTS) || !w.MinReceivedAt.Equal(part.MinReceivedAt) || !w.MaxReceivedAt.Equal(part.MaxReceivedAt) {
		t.Errorf("bounds %v %v %v %v, want %v %v %v %v", part.MinTS, part.MaxTS, part.MinReceivedAt, part.MaxReceivedAt, w.MinTS, w.MaxTS, w.MinReceivedAt, w.MaxReceivedAt)
	}
	if part.Rows != int64(len(rows)) || part.Objects[Events].Rows != int64(len(rows)) || part.Objects[Events].Bytes == 0 {
		t.Errorf("part states %+v, has %d rows", part, len(rows))
	}
}

// A job that may not go on says why, and leaves nothing behind.
func TestJobsEnd(t *testing.T) {
	t.Parallel()
	random := rand.New(rand.NewPCG(2, 3))
	inputs := []*parquetv1.File{object(t, randomRows(random, 100, 0)), object(t, randomRows(random, 100, 1000))}
	enough := errors.New("enough")
	calls := 0
	job := Job{AppID: "app", Inputs: inputs, Settle: true, Zone: time.UTC, Promote: []parquetv1.Promoted{{Name: "plan"}}, TempDir: t.TempDir(), dictionary: 1}
	run := func(stopAt int) error {
		var out shelf
		calls = 0
		job.Create = out.create
		job.Pace = func(ctx context.Context) error {
			if calls++; calls == stopAt {
				return enough
			}
			return ctx.Err()
		}
		_, err := Run(t.Context(), job)
		return err
	}
	if err := run(0); err != nil {
		t.Fatal(err)
	}
	for stopAt := 1; stopAt <= calls; stopAt += 1 + calls/30 {
		all := calls
		if err := run(stopAt); !errors.Is(err, enough) {
			t.Errorf("stopped at %d of %d: %v", stopAt, all, err)
		}
		calls = all
	}
	job.Create = func(context.Context, *Part, string, func(io.Writer) error) (int64, error) { return 0, enough }
	job.Pace = nil
	if _, err := Run(t.Context(), job); !errors.Is(err, enough) {
		t.Errorf("an object that cannot be stored: %v", err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := Run(ctx, job); !errors.Is(err, context.Canceled) {
		t.Errorf("after cancel: %v", err)
	}
	if _, err := Run(t.Context(), Job{Stale: []bool{true}, MinBits: 99}); err == nil {
		t.Error("a job without Create runs")
	}
}

// Users share a bucket or not by the first bits of their keys, at whatever size;
// one who has more rows than an object should does not split the others.
func TestPartsAreSplitByUserOnlyAsFarAsItHelps(t *testing.T) {
	t.Parallel()
	at := time.Date(2026, 5, 5, 0, 0, 0, 0, time.UTC)
	rows := make([]parquetv1.Row, 4000)
	for i := range rows {
		e := &event.Event{ID: event.ID{byte(i), byte(i >> 8)}, Type: event.Track, Name: "view", TS: at, ReceivedAt: at}
		if i%8 == 0 {
			e.UserID = fmt.Sprint("user-", i)
		}
		rows[i] = parquetv1.Row{Event: e, UserKey: e.OwnKey()}
	}
	mostlyNobody := object(t, rows)
	for i := range rows {
		rows[i].Event.UserID = fmt.Sprint("user-", i)
		rows[i].UserKey = rows[i].Event.OwnKey()
	}
	people := object(t, rows)
	for _, test := range []struct {
		name    string
		input   *parquetv1.File
		target  int64
		minBits int
		parts   int
	}{
		{"all fit", people, people.Size(), 0, 1},
		{"twice too many", people, people.Size() * 45 / 100, 0, 2},
		{"eight times too many", people, people.Size() / 9, 0, 8},
		{"they were split before", people, people.Size(), 2, 4},
		{"nobody has most", mostlyNobody, mostlyNobody.Size() / 4, 0, 1},
	} {
		var out shelf
		result, err := Run(t.Context(), Job{AppID: "app", Inputs: []*parquetv1.File{test.input}, Settle: true, Target: test.target, MinBits: test.minBits, Create: out.create, TempDir: t.TempDir()})
		if err != nil {
			t.Fatal(err)
		}
		if len(result.Parts) != test.parts {
			t.Errorf("%s: %d parts, want %d", test.name, len(result.Parts), test.parts)
		}
		for i, part := range result.Parts {
			if part.Number != i+1 || part.Of != test.parts || 1<<part.Bits != test.parts || part.Bucket != i {
				t.Errorf("%s: part %+v", test.name, part)
			}
		}
	}
}
