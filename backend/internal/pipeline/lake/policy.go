package lake

import (
	"cmp"
	"slices"
	"time"

	"github.com/google/uuid"

	"github.com/causality-project/causality/backend/internal/pipeline/lake/projection"
)

// policy says which objects of an app are rewritten next, from the list of its
// objects alone.
//
// Objects are loose as the sink writes them, and after a first merge of many
// small ones. Loose objects settle together, by month and user. Settled objects
// of less than full size are merged again with those of their month and users
// when there are many of a size; one of full size never is. At a hundred million
// events a day a row is so written three times: by the sink, at level 1, and
// settled. An app of a million a day has one more, when its settled objects grow.
type policy struct {
	fresh       int   // loose objects of level 0 that start a merge to level 1
	loose       int   // loose objects of higher levels that settle
	settleBytes int64 // of loose objects, which settle
	settleRows  int64 // likewise
	small       int   // small settled objects of a partition that are merged
	full        int64 // bytes from which on a settled object is left alone
	target      int64 // bytes of a settled object that a merge aims at

	jobInputs int // of one merge: each is an open file
	jobRows   int64
	jobBytes  int64

	foldShare   float64 // of an object's rows under changed links that have it rewritten
	foldPending int64   // links since an object was written that have it rewritten if it holds any of them
}

// defaultPolicy bounds a merge to about 500 MB of memory.
var defaultPolicy = policy{
	fresh: 96, loose: 160, settleBytes: 256 << 20, settleRows: 5_000_000, small: 12, full: 64 << 20, target: 192 << 20,
	jobInputs: 512, jobRows: 6_000_000, jobBytes: 512 << 20,
	foldShare: 0.01, foldPending: 1_000_000,
}

// work is a kind of task.
type work int

const (
	nothing work = iota
	mergeFresh
	settle
	regroup
	derive
	fold // looks at the objects' rows, and rewrites those that hold enough moved ones
	columns
)

// task is what compaction does next for an app.
type task struct {
	work   work
	inputs []*listed
	bits   int // of the partition that settled inputs share
}

// circumstances are what the policy looks at beside the objects.
type circumstances struct {
	links  int64                    // the app's last link
	zone   string                   // the app's time zone
	asked  bool                     // by a person, who wants all of it done
	folds  map[uuid.UUID]*foldCheck // what is known of objects behind links
	avoid  map[uuid.UUID]bool       // objects that cannot be read for now
	column map[string]time.Time     // promoted properties, and since when merges write them
}

// foldCheck says when an object's moved rows are worth counting again.
type foldCheck struct {
	next    int64 // link number
	rewrite bool  // enough were counted
}

func settled(o *listed) bool { return !o.period.IsZero() }

// next picks an app's next task. What keeps questions fast comes first.
func (p *policy) next(objects []*listed, c *circumstances) task {
	var loose, kept []*listed
	for _, o := range objects {
		switch {
		case c.avoid[o.id]:
		case settled(o):
			kept = append(kept, o)
		default:
			loose = append(loose, o)
		}
	}
	for _, pick := range []func() task{
		func() task { return p.settle(loose, c) },
		func() task { return p.mergeFresh(loose) },
		func() task { return p.derive(kept, c) },
		func() task { return p.regroup(kept, c) },
		func() task { return p.fold(kept, c) },
		func() task { return p.columns(kept, c) },
	} {
		if t := pick(); t.work != nothing {
			return t
		}
	}
	return task{}
}

func (p *policy) settle(loose []*listed, c *circumstances) task {
	var bytes, rows int64
	merged := 0
	for _, o := range loose {
		bytes += o.Bytes
		rows += o.Rows
		if o.level > 0 {
			merged++
		}
	}
	due := merged >= p.loose || bytes >= p.settleBytes || rows >= p.settleRows || c.asked && len(loose) > 0
	if !due {
		return task{}
	}
	return task{work: settle, inputs: p.fitting(loose)}
}

func (p *policy) mergeFresh(loose []*listed) task {
	var fresh []*listed
	for _, o := range loose {
		if o.level == 0 {
			fresh = append(fresh, o)
		}
	}
	if len(fresh) < p.fresh {
		return task{}
	}
	return task{work: mergeFresh, inputs: p.fitting(fresh)}
}

// derive picks settled objects whose projections are missing or tell days of
// another zone than the app's now.
func (p *policy) derive(kept []*listed, c *circumstances) task {
	for _, o := range kept {
		if len(missingProjections(o.Projections, c.zone)) > 0 {
			return task{work: derive, inputs: []*listed{o}}
		}
	}
	return task{}
}

func missingProjections(have []Projection, zone string) (missing []string) {
	for _, kind := range []string{projection.ByEvent, projection.EventDays, projection.UserDays} {
		if !slices.ContainsFunc(have, func(p Projection) bool { return p.Kind == kind && (kind == projection.ByEvent || p.Zone == zone) }) {
			missing = append(missing, kind)
		}
	}
	return missing
}

// regroup picks small settled objects of one partition.
func (p *policy) regroup(kept []*listed, c *circumstances) task {
	for _, group := range p.smallByPartition(kept) {
		slices.SortFunc(group, func(a, b *listed) int { return cmp.Or(cmp.Compare(a.Bytes, b.Bytes), compareListed(a, b)) })
		inputs := group
		if !c.asked {
			inputs = p.alike(group)
		}
		if inputs = p.fitting(inputs); len(inputs) > 1 {
			bits := inputs[0].bits
			for _, o := range inputs {
				bits = min(bits, o.bits)
			}
			return task{work: regroup, inputs: inputs, bits: bits}
		}
	}
	return task{}
}

// smallByPartition groups the objects of less than full size by month and users.
// Objects of different widths fall into the coarsest partition among them.
func (p *policy) smallByPartition(kept []*listed) [][]*listed {
	var small []*listed
	for _, o := range kept {
		if o.Bytes < p.full {
			small = append(small, o)
		}
	}
	slices.SortStableFunc(small, func(a, b *listed) int {
		return cmp.Or(a.period.Compare(b.period), cmp.Compare(a.bits, b.bits))
	})
	var groups [][]*listed
	first := 0 // group of the month at hand
	for _, o := range small {
		if len(groups) > 0 && !groups[len(groups)-1][0].period.Equal(o.period) {
			first = len(groups)
		}
		at := slices.IndexFunc(groups[first:], func(g []*listed) bool { return o.bucket>>(o.bits-g[0].bits) == g[0].bucket })
		if at < 0 {
			groups = append(groups, []*listed{o})
		} else {
			groups[first+at] = append(groups[first+at], o)
		}
	}
	return groups
}

// alike takes objects that are of a size, from the smallest on, if they are many
// or make a full object: a large one is not rewritten for the sake of a few small
// ones. Smaller ones come along.
func (p *policy) alike(group []*listed) []*listed {
	for start := range group {
		var sum int64
		end := start
		for end < len(group) && (end == start || group[end].Bytes <= 2*sum) {
			sum += group[end].Bytes
			end++
		}
		if n := end - start; n >= p.small || n >= 3 && sum >= p.target {
			return group[:end]
		}
	}
	return nil
}

// fold picks objects whose keys many links have moved since they were written.
// How many of their rows that concerns is known only once they were looked at.
func (p *policy) fold(kept []*listed, c *circumstances) task {
	var look []*listed
	for _, o := range kept {
		pending := c.links - o.LinkNumber
		if pending <= 0 {
			continue
		}
		check := c.folds[o.id]
		switch {
		case check != nil && check.rewrite:
			return task{work: fold, inputs: []*listed{o}, bits: o.bits}
		case c.asked,
			check == nil && pending >= max(64, int64(float64(o.Rows)*p.foldShare)),
			check == nil && pending > p.foldPending,
			check != nil && c.links >= check.next:
			look = append(look, o)
		}
	}
	if len(look) == 0 {
		return task{}
	}
	return task{work: fold, inputs: look[:min(len(look), 64)]}
}

// columns picks objects that lack a promoted column, when a person asks for it;
// else columns come with the merges that are due anyway.
func (p *policy) columns(kept []*listed, c *circumstances) task {
	if !c.asked {
		return task{}
	}
	for _, o := range kept {
		for name, since := range c.column {
			if o.createdAt.Before(since) && !slices.Contains(o.Columns, name) {
				return task{work: columns, inputs: []*listed{o}, bits: o.bits}
			}
		}
	}
	return task{}
}

// fitting takes objects from the front while one merge may take them, but one in
// any case.
func (p *policy) fitting(objects []*listed) []*listed {
	var bytes, rows int64
	for i, o := range objects {
		bytes += o.Bytes
		rows += o.Rows
		if i >= p.jobInputs || i > 0 && (bytes > p.jobBytes || rows > p.jobRows) {
			return objects[:i]
		}
	}
	return objects
}
