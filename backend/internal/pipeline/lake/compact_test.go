package lake

import (
	"slices"
	"testing"
)

// The thresholds, played through for three days at one object a second of 10 KiB,
// with a merge at most every 5 s.
func TestSteadyTrafficKeepsFewObjects(t *testing.T) {
	t.Parallel()
	var live []entry
	var rewritten, written int64
	most := 0
	for second := range 3 * 86400 {
		live = append(live, entry{ID: string(rune(second)), Bytes: 10 << 10, Rows: 100, Sources: []int64{int64(second), int64(second)}})
		written += 100
		if second%5 == 0 {
			if inputs := due(live, 0); len(inputs) > 0 {
				merged := entry{}
				for _, in := range inputs {
					merged.Bytes += in.Bytes
					merged.Rows += in.Rows
					merged.Level = max(merged.Level, in.Level+1)
					live = slices.DeleteFunc(live, func(e entry) bool { return slices.Equal(e.Sources, in.Sources) && e.Level == in.Level })
				}
				merged.Sources = inputs[0].Sources
				rewritten += merged.Rows
				live = append(live, merged)
			}
		}
		most = max(most, len(live))
	}
	if most >= 150 {
		t.Errorf("up to %d live objects, want fewer than 150", most)
	}
	if times := float64(rewritten) / float64(written); times > 7 {
		t.Errorf("a row is rewritten %.1f times, want at most 7", times)
	}
}

func TestObjectsBehindManyLinksAreFolded(t *testing.T) {
	t.Parallel()
	old := entry{ID: "old", Bytes: fullBytes, LinkNumber: 1}
	if got := due([]entry{old}, foldPending); got != nil {
		t.Errorf("folds %v too early", got)
	}
	if got := due([]entry{old}, foldPending+2); len(got) != 1 {
		t.Errorf("chose %v, want the object alone", got)
	}
}
