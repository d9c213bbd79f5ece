package importer

import (
	"crypto/sha256"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"hash"
	"slices"
	"sort"
	"strconv"
	"strings"
	"time"

	"github.com/google/uuid"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/causality-project/causality/backend/internal/platform/calendar"
	eventv1 "github.com/causality-project/causality/proto/gen/causality/event/v1"
)

// targets are the fields of an event that a column can be mapped to.
var targets = map[string]func(e *eventv1.Event, text string){
	"id":             func(e *eventv1.Event, s string) { e.Id = s },
	"event":          func(e *eventv1.Event, s string) { e.Name = s },
	"timestamp":      nil, // by parseTime
	"user_id":        func(e *eventv1.Event, s string) { e.UserId = s },
	"anonymous_id":   func(e *eventv1.Event, s string) { e.AnonymousId = s },
	"session_id":     func(e *eventv1.Event, s string) { e.SessionId = s },
	"correlation_id": func(e *eventv1.Event, s string) { e.CorrelationId = s },
	"platform":       func(e *eventv1.Event, s string) { e.Context.Platform = s },
	"os":             func(e *eventv1.Event, s string) { osOf(e).Name = s },
	"os_version":     func(e *eventv1.Event, s string) { osOf(e).Version = s },
	"app_version":    func(e *eventv1.Event, s string) { e.Context.App = &eventv1.App{Version: s} },
	"device_model":   func(e *eventv1.Event, s string) { deviceOf(e).Model = s },
	"device_type":    func(e *eventv1.Event, s string) { deviceOf(e).Type = s },
	"locale":         func(e *eventv1.Event, s string) { e.Context.Locale = s },
	"country":        func(e *eventv1.Event, s string) { geoOf(e).Country = s },
	"region":         func(e *eventv1.Event, s string) { geoOf(e).Region = s },
	"city":           func(e *eventv1.Event, s string) { geoOf(e).City = s },
	"page_url":       func(e *eventv1.Event, s string) { pageOf(e).Url = s },
	"page_path":      func(e *eventv1.Event, s string) { pageOf(e).Path = s },
	"referrer":       func(e *eventv1.Event, s string) { pageOf(e).Referrer = s },
	"user_agent":     func(e *eventv1.Event, s string) { e.Context.UserAgent = s },
	"utm_source":     func(e *eventv1.Event, s string) { campaignOf(e).Source = s },
	"utm_medium":     func(e *eventv1.Event, s string) { campaignOf(e).Medium = s },
	"utm_campaign":   func(e *eventv1.Event, s string) { campaignOf(e).Name = s },
	"utm_term":       func(e *eventv1.Event, s string) { campaignOf(e).Term = s },
	"utm_content":    func(e *eventv1.Event, s string) { campaignOf(e).Content = s },
}

// byName are the targets that a column of the same name fills unless told
// otherwise: nobody means them as properties.
var byName = []string{"timestamp", "user_id", "anonymous_id", "session_id"}

// mapping turns rows into events.
type mapping struct {
	event   string            // every row's event; empty: from the column
	column  map[string]string // column to target, "groups.<type>" or "properties.<name>"
	zone    *time.Location
	seen    map[uint64]struct{} // rows by hash, and how often those came that
	repeats map[uint64]uint32   // came more than once
}

// newMapping checks the wish against the columns there are. What it returns is
// a mistake of the caller.
func newMapping(columns []string, event string, wanted map[string]string, zone *time.Location, strictColumns bool) (*mapping, []string, error) {
	m := &mapping{
		event: event, column: map[string]string{}, zone: zone,
		seen: map[uint64]struct{}{}, repeats: map[uint64]uint32{},
	}
	for _, target := range sortedKeys(wanted) {
		column := wanted[target]
		if _, known := targets[target]; !known && !strings.HasPrefix(target, "groups.") && !strings.HasPrefix(target, "properties.") {
			return nil, nil, fmt.Errorf("--map %s=%s: an event has no field %q; there are %s, groups.<type> and properties.<name>",
				target, column, target, strings.Join(sortedKeys(targets), ", "))
		}
		if strictColumns && !slices.Contains(columns, column) {
			return nil, nil, fmt.Errorf("--map %s=%s: the file has no column %q; it has %s", target, column, column, strings.Join(columns, ", "))
		}
		if other, twice := m.column[column]; twice {
			return nil, nil, fmt.Errorf("--map: column %q is mapped to both %s and %s; choose one", column, other, target)
		}
		m.column[column] = target
	}
	var notes []string
	for _, target := range byName {
		_, taken := wanted[target]
		_, used := m.column[target]
		if !taken && !used && slices.Contains(columns, target) {
			m.column[target] = target
			notes = append(notes, fmt.Sprintf("column %q is read as %s", target, target))
		}
	}
	_, byColumn := wanted["event"]
	switch {
	case event != "" && byColumn:
		return nil, nil, fmt.Errorf("--event %s and --map event=%s contradict each other; give one", event, wanted["event"])
	case event == "" && !byColumn:
		return nil, nil, fmt.Errorf("what event is a row? Give --event NAME, or --map event=COLUMN with one of %s", strings.Join(columns, ", "))
	}
	mapped := false
	for _, target := range m.column {
		mapped = mapped || target == "timestamp"
	}
	if !mapped {
		return nil, nil, fmt.Errorf("when did a row happen? Give --map timestamp=COLUMN with one of %s", strings.Join(columns, ", "))
	}
	return m, notes, nil
}

// field is one value of a row under its target, for the hash and the event.
type field struct {
	target string
	value  Value
}

// build makes the event of one row.
func (m *mapping) build(columns []string, row Row) (*eventv1.Event, *RowError) {
	names := row.Names
	if names == nil {
		names = columns
	}
	fields := make([]field, 0, len(names))
	for i, name := range names {
		if row.Values[i].Kind == Absent {
			continue
		}
		target, mapped := m.column[name]
		if !mapped {
			target = "properties." + name
		}
		fields = append(fields, field{target, row.Values[i]})
	}
	// By target, so that the id does not depend on the order of columns.
	sort.SliceStable(fields, func(i, j int) bool { return fields[i].target < fields[j].target })

	event := &eventv1.Event{Name: m.event, Context: &eventv1.Context{}}
	var properties []byte
	for _, f := range fields {
		switch {
		case f.target == "timestamp":
			t, err := parseTime(f.value.Text, m.zone)
			if err != nil {
				return nil, &RowError{Line: row.Line, Column: columnOf(names, m.column, "timestamp"), What: "timestamp: " + err.Error()}
			}
			event.Timestamp = timestamppb.New(t)
		case strings.HasPrefix(f.target, "properties."):
			properties = appendProperty(properties, strings.TrimPrefix(f.target, "properties."), f.value)
		case strings.HasPrefix(f.target, "groups."):
			if event.Groups == nil {
				event.Groups = map[string]string{}
			}
			event.Groups[strings.TrimPrefix(f.target, "groups.")] = f.value.Text
		default:
			targets[f.target](event, f.value.Text)
		}
	}
	switch {
	case event.GetTimestamp() == nil:
		return nil, &RowError{Line: row.Line, Column: columnOf(names, m.column, "timestamp"), What: "timestamp: the cell is empty; every row needs a time"}
	case event.GetName() == "":
		return nil, &RowError{Line: row.Line, Column: columnOf(names, m.column, "event"), What: "event: the cell is empty; every row needs an event name"}
	}
	if properties != nil {
		event.Properties = string(append(properties, '}'))
	}
	if event.GetId() == "" {
		event.Id = m.id(event.GetName(), fields)
	}
	return event, nil
}

// id is a UUIDv8 over the event's name, the mapped row and its ordinal among the
// equal rows so far: the same file gives the same ids, and equal rows differ.
//
// Which rows came before is kept as 64 bits a row, about 20 bytes of memory
// (1 GB for 50 million rows). Two different rows with the same 64 bits only make
// the second one's ordinal larger than it need be; its id stays its own.
func (m *mapping) id(name string, fields []field) string {
	h := sha256.New()
	hashText(h, name)
	for _, f := range fields {
		hashText(h, f.target)
		_, _ = h.Write([]byte{byte(f.value.Kind)})
		hashText(h, f.value.Text)
	}
	sum := h.Sum(nil)
	key := binary.LittleEndian.Uint64(sum[16:])
	var ordinal uint32
	if _, again := m.seen[key]; again {
		m.repeats[key]++
		ordinal = m.repeats[key]
	} else {
		m.seen[key] = struct{}{}
	}
	sum = binary.LittleEndian.AppendUint32(sum, ordinal)
	full := sha256.Sum256(sum)
	id := uuid.UUID(full[:16])
	id[6] = id[6]&0x0f | 0x80
	id[8] = id[8]&0x3f | 0x80
	return id.String()
}

func hashText(h hash.Hash, s string) {
	var length [4]byte
	binary.LittleEndian.PutUint32(length[:], uint32(len(s)))
	_, _ = h.Write(length[:])
	_, _ = h.Write([]byte(s))
}

func appendProperty(to []byte, name string, value Value) []byte {
	if to == nil {
		to = append(to, '{')
	} else {
		to = append(to, ',')
	}
	to = appendJSONText(to, name)
	to = append(to, ':')
	if value.Kind == JSON {
		return append(to, value.Text...)
	}
	return appendJSONText(to, value.Text)
}

func appendJSONText(to []byte, s string) []byte {
	quoted, _ := json.Marshal(s) // text always encodes
	return append(to, quoted...)
}

// parseTime reads a time as files hold it. Without an offset it is local time in
// the app's zone.
func parseTime(text string, zone *time.Location) (time.Time, error) {
	text = strings.TrimSpace(text)
	if digits := strings.TrimPrefix(text, "-"); digits != "" && strings.Trim(digits, "0123456789") == "" {
		n, err := strconv.ParseInt(text, 10, 64)
		if err == nil {
			switch len(digits) {
			case 8: // 19970101
				if day, err := time.Parse("20060102", text); err == nil {
					return startOfDay(day, zone), nil
				}
			case 9, 10:
				return time.Unix(n, 0), nil
			case 12, 13:
				return time.UnixMilli(n), nil
			case 15, 16:
				return time.UnixMicro(n), nil
			}
		}
	}
	for _, layout := range []string{
		time.RFC3339Nano, "2006-01-02 15:04:05Z07:00", "2006-01-02 15:04:05Z07", "2006-01-02 15:04:05 Z07:00", "2006-01-02 15:04:05 -0700",
		"2006-01-02 15:04:05 MST",
	} {
		if layout == "2006-01-02 15:04:05 MST" && !strings.HasSuffix(text, " UTC") {
			continue // other abbreviations mean different zones in different places
		}
		if t, err := time.Parse(layout, text); err == nil {
			return t, nil
		}
	}
	for _, layout := range []string{time.DateOnly, "2006/01/02"} {
		if day, err := time.Parse(layout, text); err == nil {
			return startOfDay(day, zone), nil
		}
	}
	for _, layout := range []string{
		"2006-01-02T15:04:05", "2006-01-02 15:04:05", "2006-01-02T15:04", "2006-01-02 15:04", "2006/01/02 15:04:05",
	} {
		if t, err := time.ParseInLocation(layout, text, zone); err == nil {
			return t, nil
		}
	}
	if len(text) > 60 {
		text = text[:60] + "…"
	}
	return time.Time{}, fmt.Errorf("%q is no time; write 2026-03-01, 2026-03-01 14:05:00, 2026-03-01T14:05:00Z, or seconds or milliseconds since 1970", text)
}

// startOfDay is a date's first instant in the zone: not midnight where the clocks
// skip it.
func startOfDay(day time.Time, zone *time.Location) time.Time {
	year, month, date := day.Date()
	return calendar.New(zone, time.Monday).StartOfDay(calendar.Date{Year: year, Month: month, Day: date})
}

func columnOf(names []string, mapped map[string]string, target string) int {
	for i, name := range names {
		if mapped[name] == target {
			return i + 1
		}
	}
	return 0
}

func sortedKeys[V any](m map[string]V) []string {
	keys := make([]string, 0, len(m))
	for key := range m {
		keys = append(keys, key)
	}
	slices.Sort(keys)
	return keys
}

func osOf(e *eventv1.Event) *eventv1.Os {
	if e.Context.Os == nil {
		e.Context.Os = &eventv1.Os{}
	}
	return e.Context.Os
}

func deviceOf(e *eventv1.Event) *eventv1.Device {
	if e.Context.Device == nil {
		e.Context.Device = &eventv1.Device{}
	}
	return e.Context.Device
}

func geoOf(e *eventv1.Event) *eventv1.Geo {
	if e.Context.Geo == nil {
		e.Context.Geo = &eventv1.Geo{}
	}
	return e.Context.Geo
}

func pageOf(e *eventv1.Event) *eventv1.Page {
	if e.Context.Page == nil {
		e.Context.Page = &eventv1.Page{}
	}
	return e.Context.Page
}

func campaignOf(e *eventv1.Event) *eventv1.Campaign {
	if e.Context.Campaign == nil {
		e.Context.Campaign = &eventv1.Campaign{}
	}
	return e.Context.Campaign
}
