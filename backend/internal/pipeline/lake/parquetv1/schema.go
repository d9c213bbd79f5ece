// Package parquetv1 is version 1 of the layout of the lake's event objects: its
// columns, their order and encodings, and how they are written and read. A
// change that an older reader could not bear becomes another package; which one
// reads an object is chosen by SchemaKey in the object's metadata.
package parquetv1

import (
	"github.com/parquet-go/parquet-go"
	"github.com/parquet-go/parquet-go/compress/zstd"
)

const (
	// Version is this layout's number, as objects and the manifest name it.
	Version = 1
	// SchemaKey is the metadata key that holds the version, in every version.
	SchemaKey = "causality.schema"
	// RowGroupRows is the length of a row group. The query engine reads row
	// groups in parallel, and skips them by their statistics and filters.
	RowGroupRows = 122_880
)

// Column describes a column as SQL sees it.
type Column struct {
	Name        string
	SQLType     string
	Description string
}

// layout names the columns in file order. Text that repeats has a dictionary;
// JSON and ids that do not repeat are plain, where a dictionary only costs.
type layout struct {
	AppID         string   `parquet:"app_id,dict"`
	Seq           int64    `parquet:"seq"`
	EventID       [16]byte `parquet:"event_id,uuid"`
	Event         string   `parquet:"event,dict"`
	Type          string   `parquet:"type,dict"`
	UserKey       int64    `parquet:"user_key,optional"`
	UserID        string   `parquet:"user_id,optional,dict"`
	AnonymousID   string   `parquet:"anonymous_id,optional,dict"`
	SessionKey    int64    `parquet:"session_key,optional"`
	SessionID     string   `parquet:"session_id,optional,dict"`
	TS            int64    `parquet:"ts,timestamp(microsecond)"`
	OriginalTS    int64    `parquet:"original_ts,optional,timestamp(microsecond)"`
	ReceivedAt    int64    `parquet:"received_at,timestamp(microsecond)"`
	Platform      string   `parquet:"platform,optional,dict"`
	OS            string   `parquet:"os,optional,dict"`
	OSVersion     string   `parquet:"os_version,optional,dict"`
	AppVersion    string   `parquet:"app_version,optional,dict"`
	DeviceModel   string   `parquet:"device_model,optional,dict"`
	DeviceType    string   `parquet:"device_type,optional,dict"`
	Browser       string   `parquet:"browser,optional,dict"`
	Country       string   `parquet:"country,optional,dict"`
	Region        string   `parquet:"region,optional,dict"`
	City          string   `parquet:"city,optional,dict"`
	Locale        string   `parquet:"locale,optional,dict"`
	PageURL       string   `parquet:"page_url,optional,dict"`
	PagePath      string   `parquet:"page_path,optional,dict"`
	ReferrerHost  string   `parquet:"referrer_host,optional,dict"`
	UTMSource     string   `parquet:"utm_source,optional,dict"`
	UTMMedium     string   `parquet:"utm_medium,optional,dict"`
	UTMCampaign   string   `parquet:"utm_campaign,optional,dict"`
	UTMTerm       string   `parquet:"utm_term,optional,dict"`
	UTMContent    string   `parquet:"utm_content,optional,dict"`
	Revenue       float64  `parquet:"revenue,optional"`
	Currency      string   `parquet:"currency,optional,dict"`
	Library       string   `parquet:"library,optional,dict"`
	LibVersion    string   `parquet:"library_version,optional,dict"`
	CorrelationID string   `parquet:"correlation_id,optional"`
	Groups        string   `parquet:"groups,optional"`
	Context       string   `parquet:"context,optional"`
	Properties    string   `parquet:"properties,optional"`
	Traits        string   `parquet:"traits,optional"`
	GroupType     string   `parquet:"group_type,optional,dict"`
	GroupID       string   `parquet:"group_id,optional,dict"`
	PreviousID    string   `parquet:"previous_id,optional"`
}

// Positions of the columns in the file, in layout's order.
const (
	ColAppID = iota
	ColSeq
	ColEventID
	ColEvent
	ColType
	ColUserKey
	ColUserID
	ColAnonymousID
	ColSessionKey
	ColSessionID
	ColTS
	ColOriginalTS
	ColReceivedAt
	ColPlatform
	ColOS
	ColOSVersion
	ColAppVersion
	ColDeviceModel
	ColDeviceType
	ColBrowser
	ColCountry
	ColRegion
	ColCity
	ColLocale
	ColPageURL
	ColPagePath
	ColReferrerHost
	ColUTMSource
	ColUTMMedium
	ColUTMCampaign
	ColUTMTerm
	ColUTMContent
	ColRevenue
	ColCurrency
	ColLibrary
	ColLibraryVersion
	ColCorrelationID
	ColGroups
	ColContext
	ColProperties
	ColTraits
	ColGroupType
	ColGroupID
	ColPreviousID
	columnCount
)

// Columns lists the columns in file order.
var Columns = []Column{
	{"app_id", "VARCHAR", "The app that sent the event"},
	{"seq", "BIGINT", "Order of acceptance within live traffic, and within imports"},
	{"event_id", "UUID", "Identity of the event; sent again, it counts once"},
	{"event", "VARCHAR", "Name of the event"},
	{"type", "VARCHAR", "TRACK, IDENTIFY, GROUP or ALIAS"},
	{"user_key", "BIGINT", "The person, person links applied; NULL without any identity"},
	{"user_id", "VARCHAR", "User id as sent"},
	{"anonymous_id", "VARCHAR", "Anonymous id as sent"},
	{"session_key", "BIGINT", "Key of the session id; unique together with user_key"},
	{"session_id", "VARCHAR", "Session id as sent"},
	{"ts", "TIMESTAMP WITH TIME ZONE", "When it happened, corrected for a wrong clock"},
	{"original_ts", "TIMESTAMP WITH TIME ZONE", "Time as sent, where ts was corrected"},
	{"received_at", "TIMESTAMP WITH TIME ZONE", "When the server accepted it"},
	{"platform", "VARCHAR", "web, ios, android, server, …"},
	{"os", "VARCHAR", "Operating system"},
	{"os_version", "VARCHAR", "Version of the operating system"},
	{"app_version", "VARCHAR", "Version of the sending app"},
	{"device_model", "VARCHAR", "Model of the device"},
	{"device_type", "VARCHAR", "desktop, phone, tablet, bot, …"},
	{"browser", "VARCHAR", "Browser"},
	{"country", "VARCHAR", "Country"},
	{"region", "VARCHAR", "Region or state"},
	{"city", "VARCHAR", "City"},
	{"locale", "VARCHAR", "Language and region of the device"},
	{"page_url", "VARCHAR", "Address of the page"},
	{"page_path", "VARCHAR", "Path of the page"},
	{"referrer_host", "VARCHAR", "Host that linked to the page"},
	{"utm_source", "VARCHAR", "Campaign source"},
	{"utm_medium", "VARCHAR", "Campaign medium"},
	{"utm_campaign", "VARCHAR", "Campaign name"},
	{"utm_term", "VARCHAR", "Campaign term"},
	{"utm_content", "VARCHAR", "Campaign content"},
	{"revenue", "DOUBLE", "The property revenue, where it is a number"},
	{"currency", "VARCHAR", "The property currency"},
	{"library", "VARCHAR", "SDK that sent the event"},
	{"library_version", "VARCHAR", "Version of that SDK"},
	{"correlation_id", "VARCHAR", "Ties the event to a request or trace"},
	{"groups", "VARCHAR", "JSON object of group type to group id"},
	{"context", "VARCHAR", "JSON object of what else surrounds the event"},
	{"properties", "VARCHAR", "JSON object of the event's properties"},
	{"traits", "VARCHAR", "JSON of traits, for IDENTIFY and GROUP"},
	{"group_type", "VARCHAR", "Type of the group, for GROUP"},
	{"group_id", "VARCHAR", "Id of the group, for GROUP"},
	{"previous_id", "VARCHAR", "User id that becomes user_id, for ALIAS"},
}

var schema = parquet.SchemaOf(layout{})

// options are a writer's. Pages stay small so that a merge of many objects, with
// a page of each column of each object in memory, stays small too.
func options(level zstd.Level) []parquet.WriterOption {
	return []parquet.WriterOption{
		schema,
		parquet.Compression(&zstd.Codec{Level: level, Concurrency: 1}),
		parquet.MaxRowsPerRowGroup(RowGroupRows),
		parquet.PageBufferSize(128 << 10),
		parquet.DataPageStatistics(true),
		parquet.DictionaryMaxBytes(1 << 20),
		parquet.BloomFilters(
			parquet.SplitBlockFilter(10, "event_id"),
			parquet.SplitBlockFilter(10, "user_key"),
		),
		parquet.SkipPageBounds("event_id"),
		parquet.SkipPageBounds("context"),
		parquet.SkipPageBounds("properties"),
		parquet.SkipPageBounds("traits"),
		parquet.CreatedBy("causality", "1", ""),
	}
}
