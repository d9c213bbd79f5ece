// Package event holds the values that every room of the pipeline shares: the
// event as it was accepted, and the keys that people are counted by. It knows
// nothing of protobuf, Parquet or SQL.
package event

import "time"

// Type says what an event does. Only Track events are counted.
type Type uint8

const (
	Track Type = iota + 1
	Identify
	Group
	Alias
)

func (t Type) String() string {
	switch t {
	case Track:
		return "TRACK"
	case Identify:
		return "IDENTIFY"
	case Group:
		return "GROUP"
	case Alias:
		return "ALIAS"
	default:
		return "UNKNOWN"
	}
}

// Limits of the wire contract.
const (
	MaxNameLength    = 200      // characters of a name or id
	MaxBytes         = 32 << 10 // of one event
	MaxBatch         = 2_000    // events of one request
	MaxDepth         = 32       // levels of nesting in properties
	MaxBrowserBytes  = 1 << 20  // of a request from a browser, decompressed
	MaxRequestBytes  = 5 << 20  // of any other request, decompressed
	MaxPropertyNames = 1_000    // top-level properties of one event
)

// ID identifies an event within its app: a UUID.
type ID [16]byte

// Event is an accepted event: validated, its time corrected, its blocked ids
// removed. Absent text is empty.
type Event struct {
	ID            ID
	Type          Type
	Name          string
	TS            time.Time // UTC, µs
	OriginalTS    time.Time // as sent, where TS was changed; else zero
	ReceivedAt    time.Time // UTC, µs; one for all events of a request
	UserID        string
	AnonymousID   string
	SessionID     string
	Groups        string // JSON object of group type to group id; empty: none
	CorrelationID string
	Properties    string // JSON object as it came; empty: none
	Context       Context

	Traits     string // IDENTIFY, GROUP: JSON {set, setOnce, add, unset}
	GroupType  string // GROUP
	GroupID    string // GROUP
	PreviousID string // ALIAS: becomes UserID
}

// Context is what the columns of the lake need of an event's surroundings.
type Context struct {
	Platform       string // web, ios, android, server, …
	OS             string
	OSVersion      string
	AppVersion     string
	DeviceModel    string
	DeviceType     string // desktop, phone, tablet, bot, …
	Browser        string
	Country        string
	Region         string
	City           string
	Locale         string
	PageURL        string
	PagePath       string
	ReferrerHost   string
	UTMSource      string
	UTMMedium      string
	UTMCampaign    string
	UTMTerm        string
	UTMContent     string
	Library        string
	LibraryVersion string
	Rest           string // JSON object of everything else; empty: none
}

// Rejected is an event that was refused, kept for people to see.
type Rejected struct {
	Index   int
	ID      string
	Name    string
	Code    string
	Field   string
	Message string
	Event   string // as it came, JSON, at most MaxBytes
}
