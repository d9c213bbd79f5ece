package lake

import (
	"slices"
	"testing"
	"time"

	"github.com/causality-project/causality/backend/internal/pipeline/stream"
	"github.com/causality-project/causality/backend/internal/platform/event"
)

// receivedAt publishes events as if they had been accepted at a time.
func (h *house) receivedAt(at time.Time, events ...event.Event) {
	h.t.Helper()
	err := h.stream.Publish(h.ctx, stream.Live, &stream.Batch{WorkspaceID: h.workspace, AppID: h.app, ReceivedAt: at.UTC(), Events: events})
	if err != nil {
		h.t.Fatal(err)
	}
	h.settle()
}

func TestRetentionRemovesWhatHasExpiredAndNothingElse(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	day := 24 * time.Hour
	now := time.Now().UTC().Truncate(time.Microsecond)
	ago := func(n int, age time.Duration) event.Event {
		e := track(id(n), "visit")
		e.UserID, e.TS = "u", now.Add(-age)
		return e
	}
	var old, straddling, young []event.Event
	for i := range 20 {
		old = append(old, ago(100+i, 200*day+time.Duration(i)*time.Hour))
		straddling = append(straddling, ago(200+i, time.Duration(85+i)*day)) // 85 to 104 days
		young = append(young, ago(300+i, time.Duration(i)*day))
	}
	h.receivedAt(now.Add(-100*day), old...)
	h.receivedAt(now.Add(-80*day), straddling...)
	h.receivedAt(now.Add(-time.Hour), young...)
	imported := ago(400, 300*day) // an old event that was received today: its id must stay known
	h.receivedAt(now.Add(-time.Hour), imported)
	everything := append(idsOf(old, straddling, young), imported.ID)
	retain := func() {
		t.Helper()
		if err := h.lake.retainDue(h.ctx); err != nil {
			t.Fatal(err)
		}
	}
	retain()
	h.holds(h.app, everything) // nothing goes without a set retention

	h.exec(`UPDATE apps SET retention_days = 90 WHERE app_id = $1`, h.app)
	retain()
	var stays []event.ID
	for _, e := range slices.Concat(straddling, young) {
		if now.Sub(e.TS) < 90*day {
			stays = append(stays, e.ID)
		}
	}
	stays = append(stays, imported.ID)
	if len(stays) != 5+20+1 {
		t.Fatalf("the test expects %d to stay", len(stays))
	}
	h.holds(h.app, stays)
	stats, err := h.lake.Stats(h.ctx, h.app)
	if err != nil {
		t.Fatal(err)
	}
	r := stats[0].Retention
	if r == nil || r.Days != 90 || r.Dropped != 1 || r.Rewritten != 1 || r.Rows != 35 || r.LastRun.IsZero() || r.Problem != "" || stats[0].Expired != 35 {
		t.Errorf("report %+v of %+v", r, stats[0])
	}
	if r != nil && (r.Limit.After(now.Add(-90*day).Add(time.Minute)) || r.Limit.Before(now.Add(-90*day))) {
		t.Errorf("the limit was %v", r.Limit)
	}
	// What was removed is known for a while: as long as this process's ids last.
	h.send(stream.Live, old[0])
	h.settle()
	h.holds(h.app, stays)

	version := stats[0].Objects
	retain() // once a day
	if again, err := h.lake.Stats(h.ctx, h.app); err != nil || !slices.Equal(again[0].Objects, version) || again[0].Retention.LastRun != r.LastRun {
		t.Errorf("retention ran again: %+v, %v", again, err)
	}
	h.exec(`UPDATE apps SET retention_days = 10 WHERE app_id = $1`, h.app) // a shorter one is applied at once
	retain()
	if again, err := h.lake.Stats(h.ctx, h.app); err != nil || again[0].Retention.LastRun == r.LastRun {
		t.Errorf("a shorter retention waits: %+v, %v", again, err)
	}
	h.holds(h.app, append(idsOf(young), imported.ID)) // young was received today and is left alone until its ids need not be known
}
