package insights

import (
	"fmt"
	"strconv"
	"time"

	"github.com/causality-project/causality/backend/internal/analysis/query"
)

// TrendAnswer holds the points of every series and formula.
type TrendAnswer struct {
	Series   []AnswerSeries
	Previous []AnswerSeries // nil unless asked for
	Meta     Meta
}

// AnswerSeries is one series of one group.
type AnswerSeries struct {
	ID     string
	Group  []string // one value a breakdown
	Other  bool     // everything beyond the top groups
	Total  *float64 // over the whole range, recomputed; nil: no value
	Points []Point
}

// Point is the value of one bucket.
type Point struct {
	Start    time.Time // in the question's zone
	Value    *float64
	Complete bool
}

// Meta says how an answer was made.
type Meta struct {
	FreshTo      time.Time
	ScannedRows  int64
	ScannedBytes int64
	Engine       string
	Elapsed      time.Duration
	Cached       bool
	SQL          string
	Skipped      int64 // values that are no numbers
	Missing      int64 // events without the property
	GroupsTotal  int
	From, To     time.Time
	TimeZone     string
}

// Labels of groups without a value of their own.
const (
	NotSet = "(not set)"
	Empty  = "(empty)"
	Other  = "Other"
)

type cellKey struct{ series, rank int }

// raw is an answer as the engine gave it.
type raw struct {
	points, steps    map[cellKey]map[int]float64
	totals           map[cellKey]float64
	groups           [][]*string // by rank-1
	groupsTotal      int
	other            bool
	skipped, missing int64

	scannedRows, scannedBytes int64
}

func parseRaw(answer *query.Answer, breakdowns int) (*raw, error) {
	r := &raw{points: map[cellKey]map[int]float64{}, steps: map[cellKey]map[int]float64{}, totals: map[cellKey]float64{}}
	groups := map[int][]*string{}
	for _, row := range answer.Rows {
		if len(row) != 5+maxBreakdowns {
			return nil, fmt.Errorf("a trend's answer has %d columns", len(row))
		}
		series, err1 := strconv.Atoi(row[1].Text)
		rank, err2 := strconv.Atoi(row[2].Text)
		if err1 != nil || err2 != nil {
			return nil, fmt.Errorf("a trend's answer has series %q and rank %q", row[1].Text, row[2].Text)
		}
		value, known := 0.0, !row[4].Null
		if known {
			var err error
			if value, err = strconv.ParseFloat(row[4].Text, 64); err != nil {
				return nil, fmt.Errorf("a trend's value: %w", err)
			}
		}
		key := cellKey{series, rank}
		switch row[0].Text {
		case kindGroup:
			group := make([]*string, breakdowns)
			for i := range group {
				if cell := row[5+i]; !cell.Null {
					group[i] = &cell.Text
				}
			}
			groups[rank] = group
			r.groupsTotal = int(value)
		case kindTotal:
			if rank == 0 {
				r.other = true
			}
			if known {
				r.totals[key] = value
			}
		case kindSkipped:
			r.skipped += int64(value)
		case kindMissing:
			r.missing += int64(value)
		case kindPoint, kindStep:
			table := r.points
			if row[0].Text == kindStep {
				table = r.steps
			}
			bucket, err := strconv.Atoi(row[3].Text)
			if err != nil {
				return nil, fmt.Errorf("a trend's bucket: %w", err)
			}
			if table[key] == nil {
				table[key] = map[int]float64{}
			}
			if known {
				table[key][bucket] = value
			}
		default:
			return nil, fmt.Errorf("a trend's answer has a row of kind %q", row[0].Text)
		}
	}
	r.groups = make([][]*string, len(groups))
	for rank, group := range groups {
		if rank < 1 || rank > len(groups) {
			return nil, fmt.Errorf("a trend's answer has rank %d of %d", rank, len(groups))
		}
		r.groups[rank-1] = group
	}
	return r, nil
}

// counts reports whether nothing is zero rather than no value.
func counts(m Measure) bool {
	switch m.Kind {
	case "perUser":
		return false
	case "property":
		return m.Agg == "sum"
	}
	return true
}

// values are the points of a series over the buckets that are read.
func (p *trendPlan) values(r *raw, i, rank int) []*float64 {
	measure := p.spec.Series[i].Measure
	key := cellKey{i, rank}
	all := make([]*float64, len(p.read))
	if steps, ok := r.steps[key]; ok || p.running(measure) {
		sum := 0.0
		for b := range all {
			sum += steps[b]
			all[b] = number64(sum)
		}
		return all[p.lookBack():]
	}
	for b := range all {
		if v, ok := r.points[key][b]; ok {
			all[b] = number64(v)
		} else if counts(measure) {
			all[b] = number64(0)
		}
	}
	look := p.lookBack()
	switch {
	case p.spec.Cumulative:
		sum := 0.0
		for b := look; b < len(all); b++ {
			sum += *all[b]
			all[b] = number64(sum)
		}
	case p.spec.Rolling > 1:
		return p.rollingMeans(all)
	}
	return all[look:]
}

// running reports whether the measure's points come as steps.
func (p *trendPlan) running(m Measure) bool {
	if p.spec.Cumulative {
		return m.Kind == "uniqueUsers" || m.Kind == "sessions" || m.Kind == "firstTime"
	}
	return p.spec.Rolling > 1 && m.Kind == "uniqueUsers"
}

// rollingMeans averages each bucket with the k-1 before it, complete ones and
// those with a value only.
func (p *trendPlan) rollingMeans(all []*float64) []*float64 {
	out := make([]*float64, len(p.buckets))
	for i := range out {
		sum, n := 0.0, 0
		at := i + p.lookBack()
		for b := max(at-p.spec.Rolling+1, 0); b <= at; b++ {
			if p.read[b].Complete && all[b] != nil {
				sum += *all[b]
				n++
			}
		}
		if n > 0 {
			out[i] = number64(sum / float64(n))
		}
	}
	return out
}

func number64(f float64) *float64 { return &f }

// assemble builds every series of every group, and the formulas over them.
func (p *trendPlan) assemble(r *raw, totals *raw, other bool) []AnswerSeries {
	ranks := []int{1}
	if len(p.spec.Breakdowns) > 0 {
		ranks = ranks[:0]
		for rank := range r.groups {
			ranks = append(ranks, rank+1)
		}
		if other {
			ranks = append(ranks, 0)
		}
	}
	ids := map[string]bool{}
	for i, s := range p.spec.Series {
		ids[seriesID(s, i)] = true
	}
	for _, f := range p.spec.Formulas {
		ids[f.ID] = true
	}
	formulas, _ := compileFormulas(p.spec.Formulas, ids) // validated

	zone := p.compiler.calendar.Zone()
	computed := map[string]map[int]AnswerSeries{}
	for _, rank := range ranks {
		series := map[string]AnswerSeries{}
		shape := func(id string) AnswerSeries {
			s := AnswerSeries{ID: id, Points: make([]Point, len(p.buckets)), Other: rank == 0}
			for b, bucket := range p.buckets {
				s.Points[b] = Point{Start: bucket.Start.In(zone), Complete: bucket.Complete}
			}
			if len(p.spec.Breakdowns) > 0 {
				s.Group = groupLabels(r.groups, rank, len(p.spec.Breakdowns))
			}
			return s
		}
		for i, spec := range p.spec.Series {
			s := shape(seriesID(spec, i))
			for b, v := range p.values(r, i, rank) {
				s.Points[b].Value = v
			}
			if total, ok := totals.totals[cellKey{i, rank}]; ok {
				s.Total = number64(total)
			} else if counts(spec.Measure) {
				s.Total = number64(0)
			}
			series[s.ID] = s
		}
		for _, f := range formulas {
			s := shape(f.id)
			at := map[string]*float64{}
			for b := range s.Points {
				for id, other := range series {
					at[id] = other.Points[b].Value
				}
				s.Points[b].Value = f.eval(at)
			}
			for id, other := range series {
				at[id] = other.Total
			}
			s.Total = f.eval(at)
			series[f.id] = s
		}
		for id, s := range series {
			if computed[id] == nil {
				computed[id] = map[int]AnswerSeries{}
			}
			computed[id][rank] = s
		}
	}
	var out []AnswerSeries
	add := func(id string) {
		for _, rank := range ranks {
			out = append(out, computed[id][rank])
		}
	}
	for i, s := range p.spec.Series {
		add(seriesID(s, i))
	}
	for _, f := range p.spec.Formulas {
		add(f.ID)
	}
	return out
}

func groupLabels(groups [][]*string, rank, n int) []string {
	labels := make([]string, n)
	for i := range labels {
		switch {
		case rank == 0:
			labels[i] = Other
		case groups[rank-1][i] == nil:
			labels[i] = NotSet
		case *groups[rank-1][i] == "":
			labels[i] = Empty
		default:
			labels[i] = *groups[rank-1][i]
		}
	}
	return labels
}
