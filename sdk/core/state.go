package core

// The state is what must outlive the process beside the blocks, so that a restart
// sends the same batch under the same id, at the time that was promised. It is a
// message of numbered fields, so that a later version can add some.

func (c *Core) encodeState() []byte {
	dst := make([]byte, 0, 128)
	if len(c.blocks) > 0 {
		dst = appendInt(dst, 1, int64(c.blocks[0].seq))
		dst = appendInt(dst, 2, int64(c.done))
		dst = appendText(dst, 3, c.batch.id)
		dst = appendInt(dst, 4, int64(c.batch.events))
	}
	dst = appendInt(dst, 5, int64(c.failures))
	if !c.paused { // a restart may bring a new key: try it at once
		dst = appendInt(dst, 6, int64(c.next))
	}
	dst = appendInt(dst, 7, int64(c.floor))
	dst = appendInt(dst, 8, int64(c.limit))
	dst = appendBool(dst, 9, c.optedOut)
	dst = c.appendUnreported(dst, 10)
	if c.visitor != nil && !c.optedOut { // nobody is remembered without consent
		var start int
		dst, start = openMessage(dst, 11) // as it is: text would be mended
		dst = closeMessage(append(dst, c.visitor.State()...), start)
	}
	if c.cfg.Shared {
		dst = appendInt(dst, 12, int64(c.last))
	}
	return dst
}

// decodeState takes what it can read, and gives the visitor's state; a damaged
// state costs a repeated batch or a count, never an event.
func (c *Core) decodeState(b []byte) (visitor []byte) {
	var head uint64
	var done int
	var next batch
	var optedOut bool
	r := reader{rest: b, ok: true}
	for {
		field, wire, more := r.field()
		if !more {
			break
		}
		switch {
		case field == 3 && wire == wireBytes:
			next.id = string(r.bytes())
		case field == 10 && wire == wireBytes:
			c.decodeCount(r.bytes())
		case field == 11 && wire == wireBytes:
			visitor = r.bytes()
		case wire == wireVarint:
			v := int64(r.varint())
			switch field {
			case 1:
				head = uint64(v)
			case 2:
				done = int(v)
			case 4:
				next.events = int(v)
			case 5:
				c.failures = int(min(max(v, 0), 1000))
			case 6:
				c.next = Micros(v)
			case 7:
				c.floor = Micros(v)
			case 8:
				c.limit = int(min(max(v, 1), MaxEvents))
			case 9:
				optedOut = v != 0
			case 12:
				c.last = max(c.last, uint64(v))
			}
		default:
			r.skip(wire)
		}
	}
	if !c.chosen {
		c.optedOut = optedOut
	}
	first := c.find(head)
	if first < 0 || first > 0 && !c.cfg.Shared {
		return visitor
	}
	late := c.blocks[:first] // reported to the former leader after the batch was frozen
	c.blocks = c.blocks[first:]
	if done > 0 && done < c.blocks[0].events {
		c.done = done
		c.queuedEvents -= done
	}
	if next.id != "" && next.events > 0 && next.events <= min(c.queuedEvents, MaxEvents) {
		c.batch = next
	}
	c.batch.blocks = c.blocksOf(c.batch.events)
	if n := max(c.batch.blocks, 1); first > 0 {
		rest := c.blocks[n:]
		c.blocks = append(append([]block(nil), c.blocks[:n]...), late...)
		c.blocks = append(c.blocks, rest...)
	}
	return visitor
}

func (c *Core) decodeCount(b []byte) {
	var reason Reason
	var n int64
	r := reader{rest: b, ok: true}
	for {
		field, wire, more := r.field()
		if !more {
			break
		}
		switch {
		case field == 1 && wire == wireBytes:
			reason = Reason(r.bytes())
		case field == 2 && wire == wireVarint:
			n = int64(r.varint())
		default:
			r.skip(wire)
		}
	}
	for i, known := range reported {
		if r.ok && n > 0 && reason == known {
			c.unreported[i] += uint64(n)
			c.saved[i] += uint64(n)
		}
	}
}
