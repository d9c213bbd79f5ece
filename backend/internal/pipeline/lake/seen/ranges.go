package seen

import (
	"cmp"
	"slices"
)

// Ranges is a set of commit numbers: first and last of each range in turn, both
// inclusive, ascending, never touching. Runs of commits are merged together, so
// that a set stays short however many commits it names.
type Ranges []int64

// One is the set of a single number.
func One(n int64) Ranges { return Ranges{n, n} }

// Union is the set of the numbers in any of the sets.
func Union(sets ...Ranges) Ranges {
	type span struct{ first, last int64 }
	var spans []span
	for _, set := range sets {
		for i := 0; i+1 < len(set); i += 2 {
			spans = append(spans, span{set[i], set[i+1]})
		}
	}
	slices.SortFunc(spans, func(a, b span) int { return cmp.Compare(a.first, b.first) })
	var union Ranges
	for _, s := range spans {
		if n := len(union); n > 0 && s.first <= union[n-1]+1 {
			union[n-1] = max(union[n-1], s.last)
		} else {
			union = append(union, s.first, s.last)
		}
	}
	return union
}

// Covers reports whether every number of other is in r.
func (r Ranges) Covers(other Ranges) bool {
	at := 0
	for i := 0; i+1 < len(other); i += 2 {
		for at+1 < len(r) && r[at+1] < other[i] {
			at += 2
		}
		if at+1 >= len(r) || other[i] < r[at] || other[i+1] > r[at+1] {
			return false
		}
	}
	return true
}

// Overlaps reports whether a number is in both sets.
func (r Ranges) Overlaps(other Ranges) bool {
	for i, j := 0, 0; i+1 < len(r) && j+1 < len(other); {
		switch {
		case r[i+1] < other[j]:
			i += 2
		case other[j+1] < r[i]:
			j += 2
		default:
			return true
		}
	}
	return false
}

// Last is the largest number, 0 of the empty set.
func (r Ranges) Last() int64 {
	if len(r) == 0 {
		return 0
	}
	return r[len(r)-1]
}
