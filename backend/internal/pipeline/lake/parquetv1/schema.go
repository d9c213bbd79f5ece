// Package parquetv1 is version 1 of the layout of the lake's event objects: its
// columns, their order and encodings, and how they are written and read. A
// change that an older reader could not bear becomes another package; which one
// reads an object is chosen by SchemaKey in the object's metadata.
package parquetv1

import "github.com/parquet-go/parquet-go"

const (
	// Version is this layout's number, as objects and the manifest name it.
	Version = 1
	// SchemaKey is the metadata key that holds the version, in every version.
	SchemaKey = "causality.schema"
	// RowGroupRows is the length of a row group. The query engine reads row
	// groups in parallel, and skips them by their statistics and filters.
	RowGroupRows = 122_880
)

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
	ColPromoted = columnCount // the first promoted column, where there is one
)

var schema = parquet.SchemaOf(layout{})
