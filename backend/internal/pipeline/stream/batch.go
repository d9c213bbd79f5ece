package stream

import (
	"errors"
	"fmt"
	"slices"
	"time"
	"unsafe"

	"github.com/causality-project/causality/backend/internal/platform/event"
	"google.golang.org/protobuf/encoding/protowire"
)

// Batch is what one request left behind: the events that were accepted, those
// that were refused, and the losses that the sender reported.
type Batch struct {
	WorkspaceID    string
	AppID          string
	ReceivedAt     time.Time
	Library        string
	LibraryVersion string
	Events         []event.Event
	Rejected       []event.Rejected
	Dropped        map[string]int64 // by reason
	Imported       bool
}

// Count is the number of events that Waiting counts.
func (b *Batch) Count() int { return len(b.Events) }

// The stored form is the message causality.stream.v1.Batch, written and read by
// hand: reflection would cost more than everything else the front door does. A
// test holds it equal to the generated code.

// AppendBatch appends the stored form of b.
func AppendBatch(dst []byte, b *Batch) []byte {
	dst = appendString(dst, 1, b.WorkspaceID)
	dst = appendString(dst, 2, b.AppID)
	dst = appendInt(dst, 3, micros(b.ReceivedAt))
	if b.Library != "" || b.LibraryVersion != "" {
		at := 0
		dst, at = open(dst, 4)
		dst = appendString(dst, 1, b.Library)
		dst = appendString(dst, 2, b.LibraryVersion)
		dst = shut(dst, at)
	}
	for i := range b.Events {
		at := 0
		dst, at = open(dst, 5)
		dst = appendEvent(dst, &b.Events[i], b)
		dst = shut(dst, at)
	}
	for i := range b.Rejected {
		r, at := &b.Rejected[i], 0
		dst, at = open(dst, 6)
		dst = appendInt(dst, 1, int64(r.Index))
		dst = appendString(dst, 2, r.ID)
		dst = appendString(dst, 3, r.Code)
		dst = appendString(dst, 4, r.Field)
		dst = appendString(dst, 5, r.Message)
		dst = appendString(dst, 6, r.Event)
		dst = appendString(dst, 7, r.Name)
		dst = shut(dst, at)
	}
	if len(b.Dropped) > 0 {
		reasons := make([]string, 0, len(b.Dropped))
		for reason := range b.Dropped {
			reasons = append(reasons, reason)
		}
		slices.Sort(reasons)
		for _, reason := range reasons {
			at := 0
			dst, at = open(dst, 7)
			dst = protowire.AppendTag(dst, 1, protowire.BytesType)
			dst = protowire.AppendString(dst, reason)
			dst = protowire.AppendTag(dst, 2, protowire.VarintType)
			dst = protowire.AppendVarint(dst, uint64(b.Dropped[reason]))
			dst = shut(dst, at)
		}
	}
	if b.Imported {
		dst = appendInt(dst, 8, 1)
	}
	return dst
}

func appendEvent(dst []byte, e *event.Event, b *Batch) []byte {
	dst = protowire.AppendTag(dst, 1, protowire.BytesType)
	dst = protowire.AppendBytes(dst, e.ID[:])
	dst = appendInt(dst, 2, int64(e.Type))
	dst = appendString(dst, 3, e.Name)
	dst = appendInt(dst, 4, micros(e.TS))
	if !e.OriginalTS.IsZero() {
		dst = protowire.AppendTag(dst, 5, protowire.VarintType)
		dst = protowire.AppendVarint(dst, uint64(micros(e.OriginalTS)))
	}
	dst = appendString(dst, 6, e.UserID)
	dst = appendString(dst, 7, e.AnonymousID)
	dst = appendString(dst, 8, e.SessionID)
	dst = appendString(dst, 9, e.Groups)
	dst = appendString(dst, 10, e.CorrelationID)
	dst = appendString(dst, 11, e.Properties)
	dst, at := open(dst, 12)
	empty := len(dst)
	c := &e.Context
	dst = appendString(dst, 1, c.Platform)
	dst = appendString(dst, 2, c.OS)
	dst = appendString(dst, 3, c.OSVersion)
	dst = appendString(dst, 4, c.AppVersion)
	dst = appendString(dst, 5, c.DeviceModel)
	dst = appendString(dst, 6, c.DeviceType)
	dst = appendString(dst, 7, c.Browser)
	dst = appendString(dst, 8, c.Country)
	dst = appendString(dst, 9, c.Region)
	dst = appendString(dst, 10, c.City)
	dst = appendString(dst, 11, c.Locale)
	dst = appendString(dst, 12, c.PageURL)
	dst = appendString(dst, 13, c.PagePath)
	dst = appendString(dst, 14, c.ReferrerHost)
	dst = appendString(dst, 15, c.UTMSource)
	dst = appendString(dst, 16, c.UTMMedium)
	dst = appendString(dst, 17, c.UTMCampaign)
	dst = appendString(dst, 18, c.UTMTerm)
	dst = appendString(dst, 19, c.UTMContent)
	if c.Library != b.Library || c.LibraryVersion != b.LibraryVersion {
		dst = appendString(dst, 20, c.Library)
		dst = appendString(dst, 21, c.LibraryVersion)
	}
	dst = appendString(dst, 22, c.Rest)
	if len(dst) > empty {
		dst = shut(dst, at)
	} else {
		dst = dst[:at-1] // the tag of field 12 is one byte
	}
	dst = appendString(dst, 13, e.Traits)
	dst = appendString(dst, 14, e.GroupType)
	dst = appendString(dst, 15, e.GroupID)
	dst = appendString(dst, 16, e.PreviousID)
	return dst
}

// DecodeBatch reads the stored form. The batch's strings share data, which must
// not change afterwards.
func DecodeBatch(data []byte) (Batch, error) {
	var b Batch
	count := 0
	err := eachField(data, func(num protowire.Number, _ []byte, _ uint64) error {
		if num == 5 {
			count++
		}
		return nil
	})
	if err != nil {
		return Batch{}, err
	}
	if count > 0 {
		b.Events = make([]event.Event, 0, count)
	}
	err = eachField(data, func(num protowire.Number, v []byte, n uint64) error {
		switch num {
		case 1:
			b.WorkspaceID = text(v)
		case 2:
			b.AppID = text(v)
		case 3:
			b.ReceivedAt = fromMicros(n)
		case 4:
			return eachField(v, func(num protowire.Number, v []byte, _ uint64) error {
				switch num {
				case 1:
					b.Library = text(v)
				case 2:
					b.LibraryVersion = text(v)
				}
				return nil
			})
		case 5:
			b.Events = append(b.Events, event.Event{})
			return decodeEvent(v, &b.Events[len(b.Events)-1])
		case 6:
			b.Rejected = append(b.Rejected, event.Rejected{})
			return decodeRejected(v, &b.Rejected[len(b.Rejected)-1])
		case 7:
			return decodeDropped(v, &b)
		case 8:
			b.Imported = n != 0
		}
		return nil
	})
	if err != nil {
		return Batch{}, err
	}
	for i := range b.Events {
		e := &b.Events[i]
		e.ReceivedAt = b.ReceivedAt
		if e.Context.Library == "" && e.Context.LibraryVersion == "" {
			e.Context.Library, e.Context.LibraryVersion = b.Library, b.LibraryVersion
		}
	}
	return b, nil
}

func decodeEvent(data []byte, e *event.Event) error {
	e.TS = fromMicros(0) // absent on the wire: 1970, which an import may say
	return eachField(data, func(num protowire.Number, v []byte, n uint64) error {
		switch num {
		case 1:
			if len(v) != len(e.ID) {
				return fmt.Errorf("event id of %d bytes", len(v))
			}
			copy(e.ID[:], v)
		case 2:
			e.Type = event.Type(n)
		case 3:
			e.Name = text(v)
		case 4:
			e.TS = fromMicros(n)
		case 5:
			e.OriginalTS = fromMicros(n)
		case 6:
			e.UserID = text(v)
		case 7:
			e.AnonymousID = text(v)
		case 8:
			e.SessionID = text(v)
		case 9:
			e.Groups = text(v)
		case 10:
			e.CorrelationID = text(v)
		case 11:
			e.Properties = text(v)
		case 12:
			return decodeContext(v, &e.Context)
		case 13:
			e.Traits = text(v)
		case 14:
			e.GroupType = text(v)
		case 15:
			e.GroupID = text(v)
		case 16:
			e.PreviousID = text(v)
		}
		return nil
	})
}

func decodeContext(data []byte, c *event.Context) error {
	columns := [...]*string{
		1: &c.Platform, 2: &c.OS, 3: &c.OSVersion, 4: &c.AppVersion, 5: &c.DeviceModel, 6: &c.DeviceType,
		7: &c.Browser, 8: &c.Country, 9: &c.Region, 10: &c.City, 11: &c.Locale, 12: &c.PageURL, 13: &c.PagePath,
		14: &c.ReferrerHost, 15: &c.UTMSource, 16: &c.UTMMedium, 17: &c.UTMCampaign, 18: &c.UTMTerm,
		19: &c.UTMContent, 20: &c.Library, 21: &c.LibraryVersion, 22: &c.Rest,
	}
	return eachField(data, func(num protowire.Number, v []byte, _ uint64) error {
		if int(num) < len(columns) {
			*columns[num] = text(v)
		}
		return nil
	})
}

func decodeRejected(data []byte, r *event.Rejected) error {
	return eachField(data, func(num protowire.Number, v []byte, n uint64) error {
		switch num {
		case 1:
			r.Index = int(int32(n))
		case 2:
			r.ID = text(v)
		case 3:
			r.Code = text(v)
		case 4:
			r.Field = text(v)
		case 5:
			r.Message = text(v)
		case 6:
			r.Event = text(v)
		case 7:
			r.Name = text(v)
		}
		return nil
	})
}

func decodeDropped(data []byte, b *Batch) error {
	var reason string
	var lost int64
	err := eachField(data, func(num protowire.Number, v []byte, n uint64) error {
		switch num {
		case 1:
			reason = text(v)
		case 2:
			lost = int64(n)
		}
		return nil
	})
	if err != nil {
		return err
	}
	if b.Dropped == nil {
		b.Dropped = map[string]int64{}
	}
	b.Dropped[reason] = lost
	return nil
}

var errMalformed = errors.New("malformed stored batch")

// eachField walks the fields of one message. A field of an unexpected wire type
// reaches fn empty, as an unknown field would.
func eachField(data []byte, fn func(num protowire.Number, v []byte, n uint64) error) error {
	for len(data) > 0 {
		num, kind, size := protowire.ConsumeTag(data)
		if size < 0 {
			return errMalformed
		}
		data = data[size:]
		var v []byte
		var n uint64
		switch kind {
		case protowire.BytesType:
			v, size = protowire.ConsumeBytes(data)
		case protowire.VarintType:
			n, size = protowire.ConsumeVarint(data)
		default:
			size = protowire.ConsumeFieldValue(num, kind, data)
		}
		if size < 0 {
			return errMalformed
		}
		data = data[size:]
		if err := fn(num, v, n); err != nil {
			return err
		}
	}
	return nil
}

func appendString(dst []byte, num protowire.Number, s string) []byte {
	if s == "" {
		return dst
	}
	return protowire.AppendString(protowire.AppendTag(dst, num, protowire.BytesType), s)
}

func appendInt(dst []byte, num protowire.Number, n int64) []byte {
	if n == 0 {
		return dst
	}
	return protowire.AppendVarint(protowire.AppendTag(dst, num, protowire.VarintType), uint64(n))
}

// open starts a nested message with room for the usual two bytes of length, and
// returns where that room is; shut fills the length in.
func open(dst []byte, num protowire.Number) ([]byte, int) {
	dst = protowire.AppendTag(dst, num, protowire.BytesType)
	return append(dst, 0, 0), len(dst)
}

func shut(dst []byte, at int) []byte {
	size := len(dst) - at - 2
	var length [10]byte
	head := protowire.AppendVarint(length[:0], uint64(size))
	switch extra := len(head) - 2; {
	case extra < 0:
		copy(dst[at+1:], dst[at+2:])
		dst = dst[:len(dst)-1]
	case extra > 0:
		dst = append(dst, length[:extra]...)
		copy(dst[at+len(head):], dst[at+2:at+2+size])
	}
	copy(dst[at:], head)
	return dst
}

func micros(t time.Time) int64 {
	if t.IsZero() {
		return 0
	}
	return t.UnixMicro()
}

func fromMicros(n uint64) time.Time { return time.UnixMicro(int64(n)).UTC() }

func text(v []byte) string { return unsafe.String(unsafe.SliceData(v), len(v)) }
