package main

import (
	"encoding/json"
	"strings"
	"testing"
)

// lookAfterTheStore erases one of the two people of the app shop, and reads what
// the store's commands say.
func lookAfterTheStore(t *testing.T, must func(code int, args ...string) (out, said string)) {
	t.Helper()
	if out, _ := must(exitDone, "lake", "erase", "--app", "shop", "--user", "00001", "--dry-run"); !strings.HasPrefix(out, "2 events in ") {
		t.Errorf("dry run: %q", out)
	}
	if out, said := must(exitFailed, "lake", "erase", "--app", "shop", "--user", "00001"); out != "" || !strings.Contains(said, `every event of the person "00001" from the app "shop" for good: 2 events`) ||
		!strings.Contains(said, "nothing was erased") {
		t.Errorf("without a confirmation: %q %q", out, said)
	}
	if _, said := must(exitFailed, "lake", "erase", "--app", "shop", "--from", "soon", "--yes"); !strings.Contains(said, "must be a date such as") {
		t.Errorf("a wrong time: %q", said)
	}
	if _, said := must(exitUsage, "lake", "erase", "--app", "shop", "--user=", "--event", "sale", "--yes"); !strings.Contains(said, "--user is empty") {
		t.Errorf("a condition that a script left empty: %q", said)
	}
	out, said := must(exitDone, "lake", "erase", "--app", "shop", "--user", "00001", "--yes")
	var receipt struct {
		Erasure       string
		EventsRemoved int
		Proof         struct{ Matches int }
	}
	if err := json.Unmarshal([]byte(out), &receipt); err != nil || receipt.EventsRemoved != 2 || receipt.Proof.Matches != 0 || !strings.Contains(said, "scanning everything") {
		t.Errorf("receipt %v: %s %q", err, out, said)
	}
	if again, _ := must(exitDone, "lake", "receipt", receipt.Erasure); again != out {
		t.Errorf("the receipt reads otherwise later: %s", again)
	}
	if list, _ := must(exitDone, "lake", "erasures", "--format", "csv"); !strings.Contains(list, receipt.Erasure) || !strings.Contains(list, ",done,") {
		t.Errorf("erasures: %q", list)
	}
	if count, _ := must(exitDone, "query", "--app", "shop", "--format", "csv", "select user_id, count(*) n from events group by 1 order by 1"); count != "user_id,n\n2,1\n4,1\n" {
		t.Errorf("what is left: %q", count)
	}
	must(exitFailed, "lake", "receipt", "none")

	if _, said := must(exitDone, "apps", "update", "shop", "--retention-days", "36500"); !strings.Contains(said, "removed after 36500 days") {
		t.Errorf("retention: %q", said)
	}
	if table, _ := must(exitDone, "lake", "stats", "--app", "shop"); !strings.Contains(table, "written per event") || !strings.Contains(table, "36500 days") || !strings.Contains(table, "2 events; 0 let go later; 2 ids stay known") {
		t.Errorf("stats: %q", table)
	}
	var stats struct {
		Apps []struct{ Events float64 }
	}
	if text, _ := must(exitDone, "lake", "stats", "--app", "shop", "--format", "json"); json.Unmarshal([]byte(text), &stats) != nil || len(stats.Apps) != 1 || stats.Apps[0].Events != 2 {
		t.Errorf("stats: %q", text)
	}
	if _, said := must(exitDone, "lake", "gc", "--dry-run"); !strings.Contains(said, "would be deleted") {
		t.Errorf("gc: %q", said)
	}
	must(exitDone, "lake", "gc")
	if out, _ := must(exitDone, "lake", "dead-letters", "list", "--format", "csv"); out != "number,app,lane,set_aside_at,events,bytes,reason\n" {
		t.Errorf("dead letters: %q", out)
	}
	if out, _ := must(exitDone, "lake", "dead-letters", "replay"); !strings.HasPrefix(out, "0 dead letters") {
		t.Errorf("replay: %q", out)
	}
	must(exitFailed, "lake", "dead-letters", "drop", "7")
	must(exitUsage, "lake", "dead-letters", "drop", "7.5")
}
