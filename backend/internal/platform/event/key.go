package event

import (
	"crypto/sha256"
	"encoding/binary"
)

// The kinds of identity that a key is derived from. They keep the user "7" and
// the anonymous visitor "7" apart.
const (
	userKind      = "user\x00"
	anonymousKind = "anonymous\x00"
	sessionKind   = "session\x00"
)

// UserKey is the 63-bit key of a known user: the first 63 bits of SHA-256 over
// kind and id. It is never zero, which stands for "nobody". At 10⁹ users the
// chance of any collision is about 5 %.
func UserKey(userID string) int64 { return key(userKind, userID) }

// AnonymousKey is the key of a visitor who is not known yet.
func AnonymousKey(anonymousID string) int64 { return key(anonymousKind, anonymousID) }

// SessionKey is the key of a session id. Two people's equal session ids are
// told apart by the user key beside it.
func SessionKey(sessionID string) int64 { return key(sessionKind, sessionID) }

// OwnKey is the key of the event's own identity, before person links: its user
// id, else its anonymous id. Zero when it has neither.
func (e *Event) OwnKey() int64 {
	switch {
	case e.UserID != "":
		return UserKey(e.UserID)
	case e.AnonymousID != "":
		return AnonymousKey(e.AnonymousID)
	default:
		return 0
	}
}

func key(kind, id string) int64 {
	var room [256]byte
	sum := sha256.Sum256(append(append(room[:0], kind...), id...))
	k := int64(binary.BigEndian.Uint64(sum[:8]) >> 1)
	if k == 0 {
		return 1
	}
	return k
}
