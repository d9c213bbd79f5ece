package core

// HasRoom reports whether an event of an encoded size can be added without being
// refused for the queue's sake, and without an older one being dropped for it.
func (c *Core) HasRoom(size int) bool {
	size += frameRoom
	return c.unsavedBytes+len(c.open)+size <= c.cfg.BufferBytes &&
		c.queuedBytes+len(c.open)+size <= c.cfg.QueueBytes &&
		c.queuedEvents+c.openEvents < c.cfg.QueueEvents
}
