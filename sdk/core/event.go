package core

import (
	"errors"
	"unicode/utf8"
)

// Type says what an event does.
type Type uint8

const (
	Track    Type = 1 // something happened
	Identify Type = 2 // what is known of a person
	Group    Type = 3 // what is known of a group
	Alias    Type = 4 // two user ids are one person
)

// Event is one thing that happened. Zero fields are not sent.
type Event struct {
	ID            string // default: a new UUIDv7; at most 200 characters
	Type          Type   // default: Track
	Name          string // required for Track; at most 200 characters
	Timestamp     Micros // default: now
	UserID        string // at most 200 characters, like every other id
	AnonymousID   string
	SessionID     string
	CorrelationID string
	Groups        map[string]string // group type to group id
	Context       *Context
	Properties    map[string]any

	Traits     *Traits // Identify and Group
	GroupType  string  // Group
	GroupID    string  // Group
	PreviousID string  // Alias
}

// Traits change what is known of a person or group, key by key.
type Traits struct {
	Set     map[string]any // replaces
	SetOnce map[string]any // only where nothing is known yet
	Add     map[string]any // adds numbers
	Unset   []string       // forgets keys
}

// Context is the surroundings of an event. Zero fields are not sent.
type Context struct {
	App       App
	Device    Device
	OS        OS
	Screen    Screen
	Locale    string // BCP 47, for example en-GB
	TimeZone  string // IANA, for example Europe/Lisbon
	Network   Network
	Page      Page
	Campaign  Campaign
	Library   Library // of the event's own source; the batch names this SDK
	IP        string  // of the person; the server fills in the connection's
	UserAgent string
	Geo       Geo
	Platform  string // web, ios, android, server, …
}

// App is the program that the person used.
type App struct{ Version, Build, Namespace string }

// Device is the machine that the person used.
type Device struct{ ID, Manufacturer, Model, Type string }

// OS is the operating system of the device.
type OS struct{ Name, Version string }

// Screen is the device's screen, in pixels.
type Screen struct {
	Width, Height int32
	Density       float64
}

// Network is how the device was connected.
type Network struct {
	WiFi, Cellular bool
	Carrier        string
}

// Page is the web page that was open.
type Page struct{ URL, Path, Title, Referrer string }

// Campaign is what brought the person here: the utm_ parameters.
type Campaign struct{ Source, Medium, Name, Term, Content string }

// Library names the code that recorded an event.
type Library struct{ Name, Version string }

// Geo is where the person was.
type Geo struct{ Country, Region, City string }

// ErrInvalid is what every InvalidError is.
var ErrInvalid = errors.New("causality: invalid event")

// InvalidError names the field that keeps an event from being recorded.
type InvalidError struct {
	Field   string // for example properties.total
	Problem string
	Reason  Reason // Invalid or TooLarge
}

func (e *InvalidError) Error() string {
	return "causality: invalid event: " + e.Field + " " + e.Problem
}

func (e *InvalidError) Unwrap() error { return ErrInvalid }

func invalid(field, problem string) error {
	return &InvalidError{Field: field, Problem: problem, Reason: Invalid}
}

// within puts key before the field that err names.
func within(key string, err error) error {
	inner, ok := err.(*InvalidError)
	if !ok {
		return invalid(key, "has no JSON form: "+err.Error())
	}
	if inner.Field != "" {
		key += "." + inner.Field
	}
	return invalid(key, inner.Problem)
}

// Marshal appends the JSON text of a value of a type that this package does not
// know. The text must be valid JSON.
type Marshal func(dst []byte, v any) ([]byte, error)

// Encoded is an event as it will travel, apart from the id that Core.Add gives it
// when it has none.
type Encoded struct {
	bytes []byte
	hasID bool
}

// Bytes is the encoding, whose memory may serve the next call of Encode.
func (e Encoded) Bytes() []byte { return e.bytes }

// SetID gives an event without an id one, the 36 characters of a UUID. It answers
// false and changes nothing when the event has its own, or id is of another length.
func (e Encoded) SetID(id string) bool {
	if e.hasID || len(id) != len(idRoom)-2 {
		return false
	}
	copy(e.bytes[2:], id)
	return true
}

// Encode writes e into dst's memory as causality.event.v1.Event, its fields in
// the order of their numbers. It needs no Core, so that many callers can encode at
// once. marshal may be nil. The error is an *InvalidError.
func Encode(dst []byte, now Micros, e *Event, marshal Marshal) (Encoded, error) {
	out := Encoded{bytes: dst[:0], hasID: e.ID != ""}
	if err := e.check(); err != nil {
		return out, err
	}
	if out.hasID {
		dst = appendText(dst[:0], 1, e.ID)
	} else {
		dst = append(dst[:0], idRoom...)
	}
	at := e.Timestamp
	if at == 0 {
		at = now
	}
	if at < firstTime || at > lastTime {
		return out, invalid("timestamp", "is outside the years 1 to 9999")
	}
	dst = appendInt(dst, 2, int64(max(e.Type, Track)))
	dst = appendText(dst, 3, e.Name)
	dst = appendTime(dst, 4, at)
	dst = appendText(dst, 5, e.UserID)
	dst = appendText(dst, 6, e.AnonymousID)
	dst = appendText(dst, 7, e.SessionID)
	dst = appendGroups(dst, 8, e.Groups)
	dst = appendText(dst, 9, e.CorrelationID)
	if e.Context != nil {
		dst = appendContext(dst, e.Context)
	}
	dst, err := appendObjectField(dst, 11, "properties", e.Properties, marshal)
	if err == nil && e.Traits != nil {
		dst, err = appendTraits(dst, e.Traits, marshal)
	}
	if err != nil {
		return out, err
	}
	dst = appendText(dst, 13, e.GroupType)
	dst = appendText(dst, 14, e.GroupID)
	out.bytes = appendText(dst, 15, e.PreviousID)
	if len(out.bytes) > MaxEventBytes {
		return out, &InvalidError{"event", "is larger than 32 KiB once encoded; send less in its properties", TooLarge}
	}
	return out, nil
}

// The range of google.protobuf.Timestamp.
const (
	firstTime = -62_135_596_800 * Second
	lastTime  = 253_402_300_800*Second - 1
)

// idRoom is field 1 with the 36 bytes that Core.Add fills in.
const idRoom = "\x0a\x24000000000000000000000000000000000000"

func (e Encoded) setID(id *[36]byte) { copy(e.bytes[2:], id[:]) }

// check refuses what the server would certainly reject, while the caller can
// still see why.
func (e *Event) check() error {
	switch e.Type {
	case 0, Track:
		if e.Name == "" {
			return invalid("name", "is empty; every tracked event needs one")
		}
	case Identify:
		if e.UserID == "" && e.AnonymousID == "" {
			return invalid("user_id", "is empty; identify needs a user or an anonymous id")
		}
	case Group:
		if e.GroupType == "" || e.GroupID == "" {
			return invalid("group_id", "is empty; group needs a type and an id")
		}
	case Alias:
		if e.UserID == "" || e.PreviousID == "" {
			return invalid("previous_id", "is empty; alias needs a user id and a previous one")
		}
	default:
		return invalid("type", "is unknown")
	}
	for _, f := range [...]struct{ field, value string }{
		{"name", e.Name},
		{"id", e.ID},
		{"user_id", e.UserID},
		{"anonymous_id", e.AnonymousID},
		{"session_id", e.SessionID},
		{"correlation_id", e.CorrelationID},
		{"group_type", e.GroupType},
		{"group_id", e.GroupID},
		{"previous_id", e.PreviousID},
	} {
		if tooLong(f.value) {
			return invalid(f.field, "is longer than 200 characters")
		}
	}
	for kind, id := range e.Groups {
		if tooLong(kind) || tooLong(id) {
			return invalid("groups", "has a type or id longer than 200 characters")
		}
	}
	return nil
}

func tooLong(s string) bool {
	return len(s) > MaxNameLength && utf8.RuneCountInString(s) > MaxNameLength
}

func appendGroups(dst []byte, field int, groups map[string]string) []byte {
	if len(groups) == 0 {
		return dst
	}
	var room [12]property
	list := room[:0]
	for kind := range groups {
		list = append(list, property{key: kind})
	}
	sortByKey(list)
	for _, p := range list {
		dst = appendTexts(dst, field, p.key, groups[p.key])
	}
	return dst
}

func appendObjectField(dst []byte, field int, name string, m map[string]any, marshal Marshal) ([]byte, error) {
	if len(m) == 0 {
		return dst, nil
	}
	dst, start := openMessage(dst, field)
	dst, err := appendObject(dst, m, 1, marshal)
	if err != nil {
		return dst, within(name, err)
	}
	return closeMessage(dst, start), nil
}

func appendTraits(dst []byte, t *Traits, marshal Marshal) ([]byte, error) {
	for k, v := range t.Add {
		switch v.(type) {
		case int, int8, int16, int32, int64, uint, uint8, uint16, uint32, uint64, float32, float64, Number:
		default:
			return dst, invalid("traits.add."+k, "is not a number")
		}
	}
	dst, start := openMessage(dst, 12)
	dst, err := appendObjectField(dst, 1, "traits.set", t.Set, marshal)
	if err != nil {
		return dst, err
	}
	if dst, err = appendObjectField(dst, 2, "traits.set_once", t.SetOnce, marshal); err != nil {
		return dst, err
	}
	if dst, err = appendObjectField(dst, 3, "traits.add", t.Add, marshal); err != nil {
		return dst, err
	}
	for _, key := range t.Unset {
		dst = appendText(dst, 4, key)
	}
	return closeOptional(dst, start, 12), nil
}

func appendContext(dst []byte, c *Context) []byte {
	dst, start := openMessage(dst, 10)
	dst = appendTexts(dst, 1, c.App.Version, c.App.Build, c.App.Namespace)
	dst = appendTexts(dst, 2, c.Device.ID, c.Device.Manufacturer, c.Device.Model, c.Device.Type)
	dst = appendTexts(dst, 3, c.OS.Name, c.OS.Version)
	dst, inner := openMessage(dst, 4)
	dst = appendInt(dst, 1, int64(c.Screen.Width))
	dst = appendInt(dst, 2, int64(c.Screen.Height))
	dst = appendDouble(dst, 3, c.Screen.Density)
	dst = closeOptional(dst, inner, 4)
	dst = appendText(dst, 5, c.Locale)
	dst = appendText(dst, 6, c.TimeZone)
	dst, inner = openMessage(dst, 7)
	dst = appendBool(dst, 1, c.Network.WiFi)
	dst = appendBool(dst, 2, c.Network.Cellular)
	dst = appendText(dst, 3, c.Network.Carrier)
	dst = closeOptional(dst, inner, 7)
	dst = appendTexts(dst, 8, c.Page.URL, c.Page.Path, c.Page.Title, c.Page.Referrer)
	dst = appendTexts(dst, 9, c.Campaign.Source, c.Campaign.Medium, c.Campaign.Name, c.Campaign.Term, c.Campaign.Content)
	dst = appendTexts(dst, 10, c.Library.Name, c.Library.Version)
	dst = appendText(dst, 11, c.IP)
	dst = appendText(dst, 12, c.UserAgent)
	dst = appendTexts(dst, 13, c.Geo.Country, c.Geo.Region, c.Geo.City)
	dst = appendText(dst, 14, c.Platform)
	return closeOptional(dst, start, 10)
}

// appendTexts writes a message of string fields numbered from 1.
func appendTexts(dst []byte, field int, values ...string) []byte {
	dst, start := openMessage(dst, field)
	for i, v := range values {
		dst = appendText(dst, i+1, v)
	}
	return closeOptional(dst, start, field)
}
