// Package projection is the layout of the smaller objects that are derived from
// a settled object of events: which columns they have, in which order their rows
// lie and what a day is. Package merge writes them. They hold TRACK events only,
// and can be derived again at any time.
package projection

import (
	"maps"
	"math"
	"time"

	"github.com/parquet-go/parquet-go"

	"github.com/causality-project/causality/backend/internal/pipeline/lake/columnar"
	"github.com/causality-project/causality/backend/internal/pipeline/lake/parquetv1"
)

// Kinds of projections, as the manifest names them.
const (
	ByEvent   = "by_event"   // sorted by (event, user_key, ts, event_id)
	EventDays = "event_days" // sorted by (event, day, user_key)
	UserDays  = "user_days"  // sorted by (user_key, day)
)

// Metadata keys of a projection.
const (
	ZoneKey   = "causality.zone"       // the time zone of its days; by_event has none
	KindKey   = "causality.projection" // its kind
	LayoutKey = "causality.layout"     // the version of its layout, now LayoutVersion
)

// LayoutVersion is the version of the layouts here.
const LayoutVersion = "1"

// byEvent is what most questions ask of an event. The order of rows with one
// time, which is that of event_id, shows in their places alone.
type byEvent struct {
	Event        string  `parquet:"event"`
	UserKey      int64   `parquet:"user_key,optional"`
	TS           int64   `parquet:"ts,timestamp(microsecond)"`
	Platform     string  `parquet:"platform,optional"`
	OS           string  `parquet:"os,optional"`
	AppVersion   string  `parquet:"app_version,optional"`
	DeviceType   string  `parquet:"device_type,optional"`
	Browser      string  `parquet:"browser,optional"`
	Country      string  `parquet:"country,optional"`
	Locale       string  `parquet:"locale,optional"`
	PagePath     string  `parquet:"page_path,optional"`
	ReferrerHost string  `parquet:"referrer_host,optional"`
	UTMSource    string  `parquet:"utm_source,optional"`
	UTMMedium    string  `parquet:"utm_medium,optional"`
	UTMCampaign  string  `parquet:"utm_campaign,optional"`
	Revenue      float64 `parquet:"revenue,optional"`
}

type eventDays struct {
	Event   string `parquet:"event"`
	Day     int32  `parquet:"day,date"`
	UserKey int64  `parquet:"user_key,optional"`
	N       int64  `parquet:"n"`
}

type userDays struct {
	UserKey int64 `parquet:"user_key,optional"`
	Day     int32 `parquet:"day,date"`
	N       int64 `parquet:"n"`
}

// Hot are the columns of an object of events that by_event has too, without
// those that it is sorted by.
var Hot = []int{
	parquetv1.ColPlatform, parquetv1.ColOS, parquetv1.ColAppVersion, parquetv1.ColDeviceType, parquetv1.ColBrowser, parquetv1.ColCountry,
	parquetv1.ColLocale, parquetv1.ColPagePath, parquetv1.ColReferrerHost, parquetv1.ColUTMSource, parquetv1.ColUTMMedium,
	parquetv1.ColUTMCampaign, parquetv1.ColRevenue,
}

var (
	byEventLayout   = columnar.MustLayoutOf(parquet.SchemaOf(byEvent{}))
	eventDaysLayout = columnar.MustLayoutOf(parquet.SchemaOf(eventDays{}))
	userDaysLayout  = columnar.MustLayoutOf(parquet.SchemaOf(userDays{}))
)

// ByEventLayout is the layout of by_event with columns for promoted properties.
func ByEventLayout(promoted []parquetv1.Promoted) *columnar.Layout {
	return parquetv1.AddPromoted(byEventLayout, promoted)
}

// EventDaysLayout is the layout of event_days.
func EventDaysLayout() *columnar.Layout { return eventDaysLayout }

// UserDaysLayout is the layout of user_days.
func UserDaysLayout() *columnar.Layout { return userDaysLayout }

// Days counts civil days in a time zone, as package calendar bounds them. It is
// quick where instants lie together, and not for concurrent use.
type Days struct {
	Zone     *time.Location
	from, to int64 // µs; between them the zone has one offset,
	offset   int64 // µs
	begun    int64 // the day that had begun before: a clock set back does not return to the day before it
}

const dayMicros = int64(24 * time.Hour / time.Microsecond)

// Of is the day of an instant in µs since 1970, in days since 1970-01-01.
func (d *Days) Of(ts int64) int64 {
	if ts < d.from || ts >= d.to {
		at := time.UnixMicro(ts).In(d.Zone)
		_, seconds := at.Zone()
		d.offset = int64(seconds) * 1e6
		start, end := at.ZoneBounds()
		// Where a zone never changes, a bounded stretch will do as well.
		d.from, d.to = ts-400*dayMicros, ts+400*dayMicros
		d.begun = math.MinInt64
		if !start.IsZero() {
			d.from = max(d.from, start.UnixMicro())
			before := start.Add(-time.Microsecond).In(d.Zone)
			_, seconds := before.Zone()
			d.begun = dayOf(before.UnixMicro() + int64(seconds)*1e6)
		}
		if !end.IsZero() {
			d.to = min(d.to, end.UnixMicro())
		}
		d.to = max(d.to, ts+1)
	}
	return max(dayOf(ts+d.offset), d.begun)
}

func dayOf(local int64) int64 {
	day := local / dayMicros
	if local%dayMicros < 0 {
		day--
	}
	return day
}

// Metadata adds to an object's metadata what every projection has.
func Metadata(metadata map[string]string, kind string, zone *time.Location) map[string]string {
	all := maps.Clone(metadata)
	if all == nil {
		all = map[string]string{}
	}
	all[KindKey], all[LayoutKey] = kind, LayoutVersion
	if kind != ByEvent {
		all[ZoneKey] = zone.String()
	}
	return all
}
