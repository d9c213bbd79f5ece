package core

// ids makes UUIDv7: 48 bits of milliseconds, then 12 bits that count within a
// millisecond (RFC 9562, section 6.2), then 62 random bits. Within an instance
// every id is greater than the one before, even when the clock steps back or
// more than 4,096 are made in a millisecond: the time part then runs ahead.
type ids struct {
	random func() uint64
	millis int64
	count  uint64
}

// next writes the id's canonical text into dst.
func (g *ids) next(dst *[36]byte, now Micros) {
	millis := max(int64(now/Millisecond), 0)
	switch {
	case millis > g.millis:
		g.millis, g.count = millis, 0
	case g.count == 1<<12-1:
		g.millis, g.count = g.millis+1, 0
	default:
		g.count++
	}
	high := uint64(g.millis)<<16 | 7<<12 | g.count
	low := g.random()&(1<<62-1) | 1<<63
	at := 0
	for i := range 32 {
		switch i {
		case 8, 12, 16, 20:
			dst[at] = '-'
			at++
		}
		word := high
		if i >= 16 {
			word = low
		}
		dst[at] = hexDigits[word>>(60-4*(i%16))&15]
		at++
	}
}
