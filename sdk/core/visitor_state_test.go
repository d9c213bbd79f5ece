package core_test

import (
	"testing"

	"github.com/causality-project/causality/sdk/core"
)

// The visitor's state holds numbers whose bytes are no text.
func TestTheVisitorSurvivesARestart(t *testing.T) {
	t.Parallel()
	n := uint64(0)
	cfg := core.Config{
		Random:  func() uint64 { n++; return n * 0x9e3779b97f4a7c15 },
		Visitor: &core.VisitorConfig{Background: 30 * core.Second},
	}
	c, err := core.New(cfg, nil, nil)
	if err != nil {
		t.Fatal(err)
	}
	const now = 1_795_267_000_123_456
	c.Visitor().Identify(now, "ann")
	if _, err := c.Track(now, &core.Event{Name: "a"}); err != nil {
		t.Fatal(err)
	}
	c.Flush(now)
	command, _ := c.Poll(now)
	if command.Commit == nil {
		t.Fatalf("got %+v, want a commit", command)
	}
	again, err := core.New(cfg, command.Commit.State, nil)
	if err != nil {
		t.Fatal(err)
	}
	before, after := c.Visitor(), again.Visitor()
	if after.UserID() != "ann" || after.AnonymousID() != before.AnonymousID() || after.SessionID() != before.SessionID() {
		t.Errorf("got %q %q %q after a restart, want ann %q %q", after.UserID(), after.AnonymousID(), after.SessionID(),
			before.AnonymousID(), before.SessionID())
	}
}
