package core

// A queued event is a frame: field 1 of IngestRequest, so that a body is frames
// one after another, followed by what differs from attempt to attempt.

const (
	frameTag  = 1<<3 | wireBytes
	frameRoom = 4 // bytes at most that a frame adds to its event
)

// AppendBody appends a request's body: from the blocks' frames, leaving out the
// first skip, the given number of events, and then the trailer. It answers false
// when the blocks do not hold that many whole frames.
func AppendBody(dst []byte, blocks [][]byte, skip, events int, trailer []byte) ([]byte, bool) {
	for _, block := range blocks {
		from := 0
		for at := 0; at < len(block) && events > 0; {
			end, ok := frameEnd(block, at)
			if !ok {
				return dst, false
			}
			if skip > 0 {
				skip--
				from = end
			} else {
				events--
			}
			at = end
			if at == len(block) || events == 0 {
				dst = append(dst, block[from:at]...)
			}
		}
	}
	return append(dst, trailer...), events == 0 && skip == 0
}

func frameEnd(block []byte, at int) (int, bool) {
	if block[at] != frameTag {
		return 0, false
	}
	r := reader{rest: block[at+1:], ok: true}
	r.bytes()
	return len(block) - len(r.rest), r.ok
}

func (c *Core) trailer(now Micros) []byte {
	dst := appendTime(make([]byte, 0, 160), 2, now)
	dst = appendText(dst, 3, c.batch.id)
	dst = appendTexts(dst, 4, c.cfg.Library.Name, c.cfg.Library.Version)
	return c.appendUnreported(dst, 5)
}

// appendUnreported appends what was dropped and not told the server yet.
func (c *Core) appendUnreported(dst []byte, field int) []byte {
	for i, n := range c.unreported {
		if n == 0 {
			continue
		}
		var start int
		dst, start = openMessage(dst, field)
		dst = appendText(dst, 1, string(reported[i]))
		dst = appendInt(dst, 2, int64(n))
		dst = closeMessage(dst, start)
	}
	return dst
}

// Rejection is an event that the server did not take.
type Rejection struct {
	Index   int // in the batch, from 0
	ID      string
	Code    Reason
	Field   string
	Message string
}

// Answer is what the server says of a batch.
type Answer struct {
	Accepted, Duplicates int
	Rejected             []Rejection
}

// DecodeAnswer reads causality.ingest.v1.IngestResponse, the body of a 200. It
// answers false when b is not one.
func DecodeAnswer(b []byte) (Answer, bool) {
	var out Answer
	r := reader{rest: b, ok: true}
	for {
		field, wire, more := r.field()
		if !more {
			return out, r.ok
		}
		switch {
		case field == 1 && wire == wireVarint:
			out.Accepted = int(int32(r.varint()))
		case field == 2 && wire == wireVarint:
			out.Duplicates = int(int32(r.varint()))
		case field == 3 && wire == wireBytes:
			rejection, ok := decodeRejection(r.bytes())
			if !ok || len(out.Rejected) == MaxEvents {
				return out, false
			}
			out.Rejected = append(out.Rejected, rejection)
		default:
			r.skip(wire)
		}
	}
}

func decodeRejection(b []byte) (Rejection, bool) {
	var out Rejection
	r := reader{rest: b, ok: true}
	for {
		field, wire, more := r.field()
		if !more {
			return out, r.ok
		}
		switch {
		case field == 1 && wire == wireVarint:
			out.Index = int(int32(r.varint()))
		case field == 2 && wire == wireBytes:
			out.ID = string(r.bytes())
		case field == 3 && wire == wireBytes:
			out.Code = Reason(r.bytes())
		case field == 4 && wire == wireBytes:
			out.Field = string(r.bytes())
		case field == 5 && wire == wireBytes:
			out.Message = string(r.bytes())
		default:
			r.skip(wire)
		}
	}
}
