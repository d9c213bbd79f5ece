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
	for i := range 8 {
		shift := 56 - 8*i
		putHex(dst, idPlaces[i], byte(high>>shift))
		putHex(dst, idPlaces[8+i], byte(low>>shift))
	}
	dst[8], dst[13], dst[18], dst[23] = '-', '-', '-', '-'
}

// idPlaces is where the digits of an id's 16 bytes begin.
var idPlaces = [16]int{0, 2, 4, 6, 9, 11, 14, 16, 19, 21, 24, 26, 28, 30, 32, 34}

func putHex(dst *[36]byte, at int, b byte) {
	dst[at], dst[at+1] = hexDigits[b>>4], hexDigits[b&15]
}
