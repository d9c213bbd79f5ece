package mobile

import (
	"slices"
	"strings"

	"github.com/causality-project/causality/sdk/driver"
)

// Stats is what became of the events since Open, at the moment of the call.
type Stats struct {
	stats   driver.Stats
	storage string
}

// Stats reports what became of the events.
func (c *Client) Stats() (s *Stats) {
	defer contain()
	s = &Stats{}
	if c == nil || c.opened == nil {
		return s
	}
	c.mu.Lock()
	d := c.driver
	s.storage = "opening"
	s.stats.OptedOut = c.optedOut
	for _, call := range c.early {
		if call.event {
			s.stats.Queued++
		}
	}
	c.mu.Unlock()
	if d != nil {
		s.stats, s.storage = d.Stats(), "file"
		if s.stats.InMemory {
			s.storage = "memory"
		}
	}
	return s
}

func (s *Stats) get() driver.Stats {
	if s == nil {
		return driver.Stats{}
	}
	return s.stats
}

// Queued is the events that no server has answered for, earlier runs' included.
func (s *Stats) Queued() int64 {
	return int64(s.get().Queued)
}

// QueuedBytes is their size, encoded.
func (s *Stats) QueuedBytes() int64 { return int64(s.get().QueuedBytes) }

// Sent is the events that the server took.
func (s *Stats) Sent() int64 { return int64(s.get().Sent) }

// Dropped is the events that were given up for a reason: expired, overflow (the
// oldest of a full queue), queue_full, invalid, too_large, unreadable, damaged (by
// the disk), opted_out, or the code of the server's rejection.
func (s *Stats) Dropped(reason string) int64 {
	for r, n := range s.get().Dropped {
		if string(r) == reason {
			return int64(n)
		}
	}
	return 0
}

// Reasons is every reason for which Dropped is not 0, sorted, with commas between.
func (s *Stats) Reasons() string {
	var reasons []string
	for r, n := range s.get().Dropped {
		if n > 0 {
			reasons = append(reasons, string(r))
		}
	}
	slices.Sort(reasons)
	return strings.Join(reasons, ",")
}

// Failures is the attempts that failed in a row.
func (s *Stats) Failures() int64 { return int64(s.get().Failures) }

// NextAttemptMillis is when the next attempt is made, since 1970; 0 when nothing
// delays it.
func (s *Stats) NextAttemptMillis() int64 { return int64(s.get().NextAttempt) / 1000 }

// Paused tells that the server refuses the key. It is tried again every hour.
func (s *Stats) Paused() bool { return s.get().Paused }

// OptedOut tells that events are ignored.
func (s *Stats) OptedOut() bool { return s.get().OptedOut }

// LastError is why the last attempt failed; empty after a success.
func (s *Stats) LastError() string { return text(s.get().LastError) }

// Storage is where events wait: file, memory (they end with the process), opening,
// or nothing for a client that was not made by Open.
func (s *Stats) Storage() string {
	if s == nil {
		return ""
	}
	return s.storage
}

// QueueError is why the file is not used, was begun anew, or takes no events.
func (s *Stats) QueueError() string { return text(s.get().QueueError) }

func text(err error) string {
	if err == nil {
		return ""
	}
	return err.Error()
}
