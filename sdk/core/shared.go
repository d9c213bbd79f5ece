package core

// maxSkipped bounds the numbers that a leader remembers as not yet reported. What
// is beyond it is found by the next leader.
const maxSkipped = 64

// Lead makes this client the one of a shared queue that sends, evicts, deletes and
// saves State, until Follow. It is told all that the queue holds, in order, read
// when the one before had ended. Each block that anybody appends from now on must
// be reported with Stored.
func (c *Core) Lead(now Micros, state []byte, stored []BlockInfo) {
	if !c.cfg.Shared {
		return
	}
	c.Follow()
	c.leading = true
	own := c.unreported
	c.unreported = [len(reported)]uint64{}
	c.load(state, stored)
	for i, n := range own {
		if c.unreported[i] += n; n > 0 {
			c.countsChanged(now)
		}
	}
	if c.chosen {
		c.stateDirty = true
	}
}

// Follow ends Lead. An answer that is on its way is not waited for: whoever leads
// next sends that batch again, under the same id.
func (c *Core) Follow() {
	if !c.cfg.Shared {
		return
	}
	if c.inFlight {
		c.inFlight = false
		c.notices = append(c.notices, Command{Cancel: c.attempt})
	}
	c.leading = false
	c.blocks, c.done, c.queuedEvents, c.queuedBytes = nil, 0, 0, 0
	c.last, c.skipped, c.await, c.awaitMy, c.flushTo = 0, nil, 0, false, 0
	c.deletes, c.committing.deletes = nil, 0
	c.stateDirty, c.countsSince = false, 0
	c.batch, c.limit = batch{}, MaxEvents
	c.failures, c.next, c.floor, c.paused = 0, 0, 0, false
	for i := range c.unreported { // the state has these
		c.unreported[i] -= min(c.unreported[i], c.saved[i])
	}
	c.saved = [len(reported)]uint64{}
}

// Stored reports blocks that a shared queue was given, by this client or another,
// in any order; those that are known already are ignored, and so are all while
// another leads.
func (c *Core) Stored(now Micros, blocks ...BlockInfo) {
	if !c.leading {
		return
	}
	for _, b := range blocks {
		if b.Seq > c.last {
			c.skip(b.Seq)
			c.take(b)
			continue
		}
		// Reports of two clients may overtake each other. A batch that is frozen
		// stays as it is: the block goes to the end.
		for i, seq := range c.skipped {
			if seq == b.Seq && b.Events > 0 && b.Bytes > 0 {
				c.skipped = append(c.skipped[:i], c.skipped[i+1:]...)
				c.append(b)
				break
			}
		}
	}
	if c.awaitMy {
		c.flushTo, c.await = c.last, c.last
		c.awaitMy = len(c.unsaved) > 0
	}
}

// skip remembers the numbers between the last and seq.
func (c *Core) skip(seq uint64) {
	for missing := max(c.last+1, seq-min(seq, maxSkipped)); missing < seq; missing++ {
		c.skipped = append(c.skipped, missing)
	}
	if n := len(c.skipped); n > maxSkipped {
		c.skipped = c.skipped[n-maxSkipped:]
	}
}

// settledShared is Settled in the numbers of the blocks sealed here: what the
// queue has of them, and nothing while a leader's flush is not over.
func (c *Core) settledShared() uint64 {
	if c.awaitMy {
		return 0
	}
	for _, b := range c.blocks {
		if b.seq <= c.await {
			return 0
		}
	}
	if len(c.unsaved) > 0 {
		return c.unsaved[0].Seq - 1
	}
	return c.nextSeq - 1
}
