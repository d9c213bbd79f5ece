package lake

import (
	"encoding/binary"
	"slices"
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/causality-project/causality/backend/internal/pipeline/lake/projection"
)

// traffic plays a policy through with made-up objects: what a sink writes each
// second, and what merges make of them.
type traffic struct {
	policy policy
	live   []*listed
	number uint64

	ingested, written int64 // rows; written by the sink too
	most              int   // live objects
	largest           int64 // rows of a merge's inputs
}

func (s *traffic) add(o listed) {
	s.number++
	binary.BigEndian.PutUint64(o.id[:], s.number)
	o.ID = o.id.String()
	s.written += o.Rows
	s.live = append(s.live, &o)
}

// settledBytes are those of rows in a large sorted object.
func settledBytes(rows int64) int64 { return 10<<10 + rows*45 }

// sink lands a second's rows, some of which are of the month before.
func (s *traffic) sink(rows int64, at time.Time) {
	s.ingested += rows
	s.add(listed{createdAt: at, Object: Object{Rows: rows, Bytes: 8<<10 + rows*60, MinTS: at.AddDate(0, 0, -3), MaxTS: at}})
}

// settleDown does what is due.
func (s *traffic) settleDown(t *testing.T, c *circumstances) {
	t.Helper()
	for {
		next := s.policy.next(s.live, c)
		if next.work == nothing {
			return
		}
		var rows, late int64
		level := 0
		gone := map[uuid.UUID]bool{}
		for _, in := range next.inputs {
			gone[in.id] = true
			rows += in.Rows
			level = max(level, in.level)
			if !settled(in) && in.MinTS.Month() != in.MaxTS.Month() {
				late += max(in.Rows/200, 1)
			}
		}
		s.largest = max(s.largest, rows)
		s.live = slices.DeleteFunc(s.live, func(o *listed) bool { return gone[o.id] })
		first, last := next.inputs[0], next.inputs[len(next.inputs)-1]
		switch next.work {
		case mergeFresh:
			s.add(listed{level: 1, Object: Object{Rows: rows, Bytes: 20<<10 + rows*52, MinTS: first.MinTS, MaxTS: last.MaxTS}})
		case settle:
			period := time.Date(last.MaxTS.Year(), last.MaxTS.Month(), 1, 0, 0, 0, 0, time.UTC)
			s.split(2, 0, 0, period, rows-late)
			if late > 0 {
				s.split(2, 0, 0, period.AddDate(0, -1, 0), late)
			}
		case regroup:
			s.split(level+1, next.bits, first.bucket>>(first.bits-next.bits), first.period, rows)
		default:
			t.Fatalf("nothing asks for %v", next.work)
		}
	}
}

// split shares the rows of a partition out as a merge would.
func (s *traffic) split(level, bits, bucket int, period time.Time, rows int64) {
	more := 0
	for settledBytes(rows>>more) > s.policy.target*4/3 {
		more++
	}
	for i := range 1 << more {
		projections := []Projection{{Kind: projection.ByEvent}, {Kind: projection.EventDays, Zone: "UTC"}, {Kind: projection.UserDays, Zone: "UTC"}}
		part := rows >> more
		s.add(listed{level: level, period: period, bits: bits + more, bucket: bucket<<more + i,
			Object: Object{Rows: part, Bytes: settledBytes(part), MinTS: period, MaxTS: period.AddDate(0, 1, 0), Projections: projections}})
	}
}

func TestAnEventIsWrittenAboutThreeTimesIn30Days(t *testing.T) {
	t.Parallel()
	// Fresh objects are 16 times as large here and as few; all else is as it is.
	const scale = 16
	tests := map[string]struct {
		perDay int64   // 0: an import of 100 million, 50,000 an object
		times  float64 // writes of a row, the sink's among them
		most   int     // live objects
	}{
		"100 million events a day": {100_000_000, 3.1, 900},
		"10 million events a day":  {10_000_000, 3.1, 500},
		"a million events a day":   {1_000_000, 4, 400},
		"10,000 events a day":      {10_000, 3.7, 400},
		"an import of 100 million": {0, 2.1, 150},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := &traffic{policy: defaultPolicy}
			if tt.perDay > 0 {
				s.policy.fresh /= scale
			}
			c := &circumstances{zone: "UTC"}
			at := time.Date(2026, 2, 20, 0, 0, 0, 0, time.UTC)
			every, rows, objects := scale*time.Second, tt.perDay*scale/86400, 30*86400/scale
			if rows < scale {
				every, rows, objects = 24*time.Hour*scale/time.Duration(tt.perDay+1), scale, int(tt.perDay)*30/scale
			}
			if tt.perDay == 0 {
				every, rows, objects = time.Second/20, 50_000, 2000
			}
			for n := range objects {
				s.sink(rows, at.Add(time.Duration(n)*every))
				if n%s.policy.fresh == 0 {
					s.settleDown(t, c)
					s.most = max(s.most, len(s.live))
				}
			}
			times := float64(s.written) / float64(s.ingested)
			t.Logf("a row is written %.2f times; at most %d live objects, %d at the end; a merge has at most %d rows", times, s.most, len(s.live), s.largest)
			if times > tt.times {
				t.Errorf("a row is written %.2f times, want at most %.1f", times, tt.times)
			}
			if s.most > tt.most {
				t.Errorf("up to %d live objects, want at most %d", s.most, tt.most)
			}
			if s.largest > s.policy.jobRows {
				t.Errorf("a merge of %d rows, want at most %d", s.largest, s.policy.jobRows)
			}
		})
	}
}

func settledObject(n byte, bytes int64, period time.Time, bits, bucket int) *listed {
	o := &listed{period: period, bits: bits, bucket: bucket, level: 2, Object: Object{ID: string(rune(n)), Bytes: bytes, Rows: bytes / 45, LinkNumber: 1}}
	o.id[15] = n
	o.Projections = []Projection{{Kind: projection.ByEvent}, {Kind: projection.EventDays, Zone: "UTC"}, {Kind: projection.UserDays, Zone: "UTC"}}
	return o
}

func TestSettledObjectsAreMergedOnlyWithThoseOfTheirMonthAndUsersAndSize(t *testing.T) {
	t.Parallel()
	march, april := time.Date(2026, 3, 1, 0, 0, 0, 0, time.UTC), time.Date(2026, 4, 1, 0, 0, 0, 0, time.UTC)
	p := policy{small: 3, full: 100, target: 150, jobInputs: 10, jobRows: 1 << 40, jobBytes: 1 << 40}
	tests := map[string]struct {
		objects []*listed
		want    []byte
		bits    int
	}{
		"full ones stay":             {[]*listed{settledObject(1, 100, march, 0, 0), settledObject(2, 100, march, 0, 0), settledObject(3, 120, march, 0, 0)}, nil, 0},
		"months stay apart":          {[]*listed{settledObject(1, 10, march, 0, 0), settledObject(2, 10, march, 0, 0), settledObject(3, 10, april, 0, 0)}, nil, 0},
		"users stay apart":           {[]*listed{settledObject(1, 10, march, 1, 0), settledObject(2, 10, march, 1, 0), settledObject(3, 10, march, 1, 1)}, nil, 0},
		"many of a size":             {[]*listed{settledObject(1, 10, march, 1, 1), settledObject(2, 11, march, 1, 1), settledObject(3, 12, march, 1, 1)}, []byte{1, 2, 3}, 1},
		"finer ones join coarser":    {[]*listed{settledObject(1, 10, march, 2, 3), settledObject(2, 10, march, 1, 1), settledObject(3, 10, march, 2, 2)}, []byte{1, 2, 3}, 1},
		"a large one is not dragged": {[]*listed{settledObject(1, 1, march, 0, 0), settledObject(2, 1, march, 0, 0), settledObject(3, 90, march, 0, 0)}, nil, 0},
		"tiny ones come along": {[]*listed{settledObject(1, 1, march, 0, 0), settledObject(2, 60, march, 0, 0), settledObject(3, 61, march, 0, 0), settledObject(4, 62, march, 0, 0)},
			[]byte{1, 2, 3, 4}, 0},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			got := p.regroup(tt.objects, &circumstances{zone: "UTC"})
			var ids []byte
			for _, o := range got.inputs {
				ids = append(ids, o.id[15])
			}
			slices.Sort(ids)
			if !slices.Equal(ids, tt.want) || got.bits != tt.bits {
				t.Errorf("merges %v by %d bits, want %v by %d", ids, got.bits, tt.want, tt.bits)
			}
		})
	}
}

func TestWhatIsDueDependsOnZoneLinksAndPromotions(t *testing.T) {
	t.Parallel()
	march := time.Date(2026, 3, 1, 0, 0, 0, 0, time.UTC)
	tests := map[string]struct {
		change func(o *listed, c *circumstances)
		want   work
	}{
		"nothing":                 {func(*listed, *circumstances) {}, nothing},
		"another time zone":       {func(_ *listed, c *circumstances) { c.zone = "Asia/Tokyo" }, derive},
		"a projection is missing": {func(o *listed, _ *circumstances) { o.Projections = o.Projections[:2] }, derive},
		"few links since":         {func(_ *listed, c *circumstances) { c.links = 10 }, nothing},
		"many links since":        {func(_ *listed, c *circumstances) { c.links = 100_001 }, fold},
		"looked at not long ago":  {func(o *listed, c *circumstances) { c.links, c.folds[o.id] = 100_001, &foldCheck{next: 200_000} }, nothing},
		"any links, asked":        {func(_ *listed, c *circumstances) { c.links, c.asked = 2, true }, fold},
		"cannot be read":          {func(o *listed, c *circumstances) { c.zone, c.avoid[o.id] = "Asia/Tokyo", true }, nothing},
		"a new column":            {func(o *listed, c *circumstances) { c.column["plan"] = o.createdAt.Add(time.Hour) }, nothing},
		"a new column, asked":     {func(o *listed, c *circumstances) { c.asked, c.column["plan"] = true, o.createdAt.Add(time.Hour) }, columns},
		"a column that is no new": {func(o *listed, c *circumstances) { c.asked, c.column["plan"] = true, o.createdAt.Add(-time.Hour) }, nothing},
		"a column that it has": {func(o *listed, c *circumstances) {
			o.Columns, c.asked, c.column["plan"] = []string{"plan"}, true, o.createdAt.Add(time.Hour)
		}, nothing},
		"by_event has no time zone": {func(o *listed, c *circumstances) { o.Projections[0].Zone = "" }, nothing},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			o := settledObject(1, 128<<20, march, 0, 0)
			c := &circumstances{links: 1, zone: "UTC", folds: map[uuid.UUID]*foldCheck{}, avoid: map[uuid.UUID]bool{}, column: map[string]time.Time{}}
			tt.change(o, c)
			p := defaultPolicy
			if got := p.next([]*listed{o}, c); got.work != tt.want {
				t.Errorf("does %v, want %v", got.work, tt.want)
			}
		})
	}
}
