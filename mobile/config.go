package mobile

import (
	"errors"
	"hash/crc32"
	"strconv"
	"strings"

	"github.com/causality-project/causality/sdk/core"
)

// Config sets a Client up. Zero values select the stated defaults; values outside
// of a limit are errors of Open.
type Config struct {
	// Key is the app's write key; required. Each key has a queue file of its own, so
	// that another key never sends this one's events. The Transport sends it to the
	// server, as "Authorization: Bearer <key>".
	Key string

	FlushAt          int64 // events that are waiting before a batch is sent, 1 to 2,000; default 30
	FlushEveryMillis int64 // longest wait of an event while online, up to an hour; default 30,000
	MaxAgeMillis     int64 // older events are dropped, up to 30 days; default 7 days
	QueueBytes       int64 // above it the oldest events are dropped, 2 MiB to 1 GiB; default 32 MiB

	BackgroundMillis     int64 // in the background, after which a session ends; default 30,000
	LongestSessionMillis int64 // after which a session ends in any case; default 24 hours
	NoSessions           bool  // events do not say in which session they happened

	SendTimeoutMillis int64 // for one call of Transport.Send, 1 s to 5 minutes; default 60,000

	// The platform's SDK, for example causality-android. Default: causality-mobile.
	LibraryName, LibraryVersion string

	Context *EventContext // of the events from the start on, as SetContext; may be nil
}

// NewConfig returns the defaults.
func NewConfig() *Config { return &Config{} }

// Version is the version of the binding, and the default of Config.LibraryVersion.
const Version = "0.1.0"

// coreConfig is what c means to the core. The error names every wrong field.
func (c *Config) coreConfig() (core.Config, error) {
	var wrong []error
	number := func(field string, v, standard, least, most int64) int64 {
		if v == 0 {
			return standard
		}
		if v < least || v > most {
			wrong = append(wrong, errors.New(field+" is "+strconv.FormatInt(v, 10)+"; it must be between "+
				strconv.FormatInt(least, 10)+" and "+strconv.FormatInt(most, 10)))
		}
		return v
	}
	millis := func(field string, v, standard, least, most int64) core.Micros {
		return core.Micros(number(field, v, standard, least, most)) * core.Millisecond
	}
	const second, hour, day = 1000, 3_600_000, 86_400_000
	if strings.TrimSpace(c.Key) == "" {
		wrong = append(wrong, errors.New("the Key is empty; it is the app's write key (wk_…), found in Settings"))
	}
	number("SendTimeoutMillis", c.SendTimeoutMillis, 60*second, second, 300*second)
	out := core.Config{
		FlushAt:    int(number("FlushAt", c.FlushAt, 30, 1, core.MaxEvents)),
		FlushEvery: millis("FlushEveryMillis", c.FlushEveryMillis, 30*second, 10, hour),
		MaxAge:     millis("MaxAgeMillis", c.MaxAgeMillis, 7*day, 60*second, 30*day),
		QueueBytes: int(number("QueueBytes", c.QueueBytes, 32<<20, 2<<20, 1<<30)),
		Library:    core.Library{Name: c.LibraryName, Version: c.LibraryVersion},
		Visitor: &core.VisitorConfig{
			Background: millis("BackgroundMillis", c.BackgroundMillis, 30*second, second, day),
			Longest:    millis("LongestSessionMillis", c.LongestSessionMillis, day, 60*second, 30*day),
			NoSessions: c.NoSessions,
		},
	}
	if out.Library.Name == "" {
		out.Library.Name = "causality-mobile"
	}
	if out.Library.Version == "" {
		out.Library.Version = Version
	}
	if len(wrong) > 0 {
		return core.Config{}, errors.New("causality: invalid configuration: " + errors.Join(wrong...).Error())
	}
	return out, nil
}

// queueName is the same for a key at every start, and tells nobody the key.
func (c *Config) queueName() string {
	return "causality-" + strconv.FormatUint(uint64(crc32.ChecksumIEEE([]byte(strings.TrimSpace(c.Key)))), 16) + ".queue"
}

// EventContext is the surroundings of events. Zero fields are not sent.
type EventContext struct {
	AppVersion, AppBuild, AppNamespace string

	DeviceID, DeviceManufacturer, DeviceModel string
	DeviceType                                string // phone, tablet, tv, watch, car, desktop

	OSName, OSVersion string

	ScreenWidth, ScreenHeight int32 // pixels
	ScreenDensity             float64

	Locale   string // BCP 47, for example en-GB
	TimeZone string // IANA, for example Europe/Lisbon

	NetworkCarrier string // what the network is, OnNetwork says

	UserAgent string
	Platform  string // android or ios
}

// NewEventContext returns an empty one.
func NewEventContext() *EventContext { return &EventContext{} }

// toCore copies c. Strings from the platform are cut to what a name may have, so
// that a strange device cannot make every event too large.
func (c *EventContext) toCore(network core.Network) *core.Context {
	if c == nil {
		c = &EventContext{}
	}
	network.Carrier = short(c.NetworkCarrier)
	return &core.Context{
		App:    core.App{Version: short(c.AppVersion), Build: short(c.AppBuild), Namespace: short(c.AppNamespace)},
		Device: core.Device{ID: short(c.DeviceID), Manufacturer: short(c.DeviceManufacturer), Model: short(c.DeviceModel), Type: short(c.DeviceType)},
		OS:     core.OS{Name: short(c.OSName), Version: short(c.OSVersion)},
		Screen: core.Screen{Width: c.ScreenWidth, Height: c.ScreenHeight, Density: c.ScreenDensity},

		Locale: short(c.Locale), TimeZone: short(c.TimeZone), Network: network,
		UserAgent: short(c.UserAgent), Platform: short(c.Platform),
	}
}

// short cuts at a limit of bytes; the encoder mends a character that it splits.
func short(s string) string {
	const most = 4 * core.MaxNameLength
	return strings.Clone(s[:min(len(s), most)])
}
