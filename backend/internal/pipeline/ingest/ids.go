package ingest

import (
	"crypto/rand"
	"crypto/sha256"
	"encoding/binary"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/causality-project/causality/backend/internal/platform/event"
)

// newID makes the id of an event that came without one: a UUIDv7.
func newID(at time.Time) event.ID {
	var id event.ID
	_, _ = rand.Read(id[6:]) // never fails
	ms := uint64(at.UnixMilli())
	binary.BigEndian.PutUint16(id[:2], uint16(ms>>32))
	binary.BigEndian.PutUint32(id[2:6], uint32(ms))
	id[6] = id[6]&0x0f | 0x70
	id[8] = id[8]&0x3f | 0x80
	return id
}

// hashedID is the UUIDv8 of an id that is not a UUID: the first 16 bytes of the
// SHA-256 of its text, with version and variant set.
func hashedID(text string) event.ID {
	sum := sha256.Sum256(viewBytes(text))
	id := event.ID(sum[:16])
	id[6] = id[6]&0x0f | 0x80
	id[8] = id[8]&0x3f | 0x80
	return id
}

// parseUUID reads the 36 characters of a UUID of any version.
func parseUUID(text string, id *event.ID) bool {
	if len(text) != 36 || text[8] != '-' || text[13] != '-' || text[18] != '-' || text[23] != '-' {
		return false
	}
	var bad byte
	at := 0
	for i := range id {
		if at == 8 || at == 13 || at == 18 || at == 23 {
			at++
		}
		high, low := nibbles[text[at]], nibbles[text[at+1]]
		bad |= high | low
		id[i] = high<<4 | low
		at += 2
	}
	return bad < 16
}

var nibbles = func() (table [256]byte) {
	for i := range table {
		table[i] = 0xff
	}
	for i := range byte(10) {
		table['0'+i] = i
	}
	for i := range byte(6) {
		table['a'+i], table['A'+i] = 10+i, 10+i
	}
	return table
}()

const zeroUUID = "00000000-0000-0000-0000-000000000000"

// blocked reports ids that stand for nobody: what programs write where an id
// is missing. They would make one person of thousands.
func blocked(id string) bool {
	if len(id) > 64 {
		return strings.TrimSpace(id) == ""
	}
	id = strings.TrimSpace(id)
	if len(id) == len(zeroUUID) {
		return id == zeroUUID
	}
	var lower [15]byte // the longest is "[object object]"
	if len(id) > len(lower) {
		return false
	}
	for i := range len(id) {
		c := id[i]
		if 'A' <= c && c <= 'Z' {
			c += 'a' - 'A'
		}
		lower[i] = c
	}
	switch string(lower[:len(id)]) {
	case "", "null", "nil", "none", "undefined", "nan", "true", "false", "0", "-1", "unknown", "anonymous", "guest",
		"id", "user_id", "distinct_id", "[object object]":
		return true
	}
	return false
}

// badText reports a name or id that is empty, too long, or holds a control
// character.
func badText(s string) bool {
	plain := len(s) <= maxName && s != ""
	for i := 0; plain && i < len(s); i++ {
		plain = s[i] >= 0x20 && s[i] < 0x7f
	}
	if plain {
		return false
	}
	return s == "" || longText(s) || strings.IndexFunc(s, unicode.IsControl) >= 0
}

func longText(s string) bool { return len(s) > maxName && utf8.RuneCountInString(s) > maxName }

// clean copies text for the list of refused events: valid UTF-8, no NUL (which
// PostgreSQL cannot hold), and at most so many bytes.
func clean(s string, most int) string {
	s = strings.ToValidUTF8(s, "\uFFFD")
	s = strings.ReplaceAll(s, "\x00", "\uFFFD")
	return strings.Clone(clip(s, most))
}

func clip(s string, most int) string {
	if len(s) <= most {
		return s
	}
	for most > 0 && !utf8.RuneStart(s[most]) {
		most--
	}
	return s[:most]
}
