package parquetv1

import (
	"cmp"
	"fmt"
	"io"
	"slices"
	"strconv"
	"sync"
	"time"
	"unsafe"

	"github.com/parquet-go/parquet-go"
	"github.com/parquet-go/parquet-go/compress/zstd"

	"github.com/causality-project/causality/backend/internal/platform/event"
)

// Row is an event on its way into an object.
type Row struct {
	Event      *event.Event
	Seq        int64
	UserKey    int64 // person links applied; 0: nobody
	Revenue    float64
	HasRevenue bool
	Currency   string
}

// Compare orders rows as every object holds them: by person, nobody first, then
// time, then event id. Ties of time read the same everywhere for it.
func Compare(a, b *Row) int {
	if a.UserKey != b.UserKey {
		return cmp.Compare(a.UserKey, b.UserKey)
	}
	if c := a.Event.TS.Compare(b.Event.TS); c != 0 {
		return c
	}
	return slices.Compare(a.Event.ID[:], b.Event.ID[:])
}

// chunkRows is how many rows are turned into columns at a time: few enough that
// they and their values stay in the processor's cache.
const chunkRows = 256

// Writers are kept: a new one allocates about 2 MB for its 44 columns, which
// would cost more than a small object's rows do.
var ingestWriters = sync.Pool{New: func() any {
	return &columnWriter{
		parquet: parquet.NewGenericWriter[any](io.Discard, options(zstd.SpeedFastest)...),
		values:  make([]parquet.Value, chunkRows),
	}
}}

type columnWriter struct {
	parquet *parquet.GenericWriter[any]
	values  []parquet.Value
}

// Write writes one object of rows, which must be sorted by Compare. It writes
// column by column from the events themselves, without reflection: about half
// the time of writing structs.
func Write(out io.Writer, appID string, rows []Row, metadata map[string]string) error {
	w := ingestWriters.Get().(*columnWriter)
	w.parquet.Reset(out)
	if err := w.write(appID, rows, metadata); err != nil {
		return fmt.Errorf("write parquet: %w", err) // and drop the writer: its state is unknown
	}
	w.parquet.Reset(io.Discard) // let go of out
	ingestWriters.Put(w)
	return nil
}

func (w *columnWriter) write(appID string, rows []Row, metadata map[string]string) error {
	for start := 0; start < len(rows); start += RowGroupRows {
		group := rows[start:min(start+RowGroupRows, len(rows))]
		for at := 0; at < len(group); at += chunkRows {
			if err := w.writeChunk(appID, group[at:min(at+chunkRows, len(group))]); err != nil {
				return err
			}
		}
		if err := w.parquet.Flush(); err != nil {
			return err
		}
	}
	setMetadata(w.parquet, metadata)
	return w.parquet.Close()
}

func setMetadata(w *parquet.GenericWriter[any], metadata map[string]string) {
	w.SetKeyValueMetadata(SchemaKey, strconv.Itoa(Version))
	for key, value := range metadata {
		w.SetKeyValueMetadata(key, value)
	}
}

func (w *columnWriter) writeChunk(appID string, rows []Row) error {
	columns := w.parquet.ColumnWriters()
	values := w.values[:len(rows)]
	put := func(column int) error {
		_, err := columns[column].WriteRowValues(values)
		return err
	}
	app := required(appID, ColAppID)
	for i := range rows {
		values[i] = app
	}
	if err := put(ColAppID); err != nil {
		return err
	}
	for column := ColAppID + 1; column < columnCount; column++ {
		fillColumn(values, rows, column)
		if err := put(column); err != nil {
			return err
		}
	}
	return nil
}

func fillColumn(values []parquet.Value, rows []Row, column int) {
	switch column {
	case ColSeq:
		for i := range rows {
			values[i] = parquet.Int64Value(rows[i].Seq).Level(0, 0, column)
		}
	case ColEventID:
		for i := range rows {
			values[i] = parquet.FixedLenByteArrayValue(rows[i].Event.ID[:]).Level(0, 0, column)
		}
	case ColEvent:
		for i := range rows {
			values[i] = required(rows[i].Event.Name, column)
		}
	case ColType:
		for i := range rows {
			values[i] = required(rows[i].Event.Type.String(), column)
		}
	case ColUserKey:
		for i := range rows {
			values[i] = key(rows[i].UserKey, column)
		}
	case ColSessionKey:
		for i := range rows {
			k := int64(0)
			if id := rows[i].Event.SessionID; id != "" {
				if i > 0 && rows[i-1].Event.SessionID == id { // sorted by person: runs of one session
					values[i] = values[i-1]
					continue
				}
				k = event.SessionKey(id)
			}
			values[i] = key(k, column)
		}
	case ColTS:
		for i := range rows {
			values[i] = parquet.Int64Value(rows[i].Event.TS.UnixMicro()).Level(0, 0, column)
		}
	case ColOriginalTS:
		for i := range rows {
			if t := rows[i].Event.OriginalTS; t.IsZero() {
				values[i] = null(column)
			} else {
				values[i] = parquet.Int64Value(t.UnixMicro()).Level(0, 1, column)
			}
		}
	case ColReceivedAt:
		for i := range rows {
			values[i] = parquet.Int64Value(rows[i].Event.ReceivedAt.UnixMicro()).Level(0, 0, column)
		}
	case ColRevenue:
		for i := range rows {
			if rows[i].HasRevenue {
				values[i] = parquet.DoubleValue(rows[i].Revenue).Level(0, 1, column)
			} else {
				values[i] = null(column)
			}
		}
	case ColCurrency:
		for i := range rows {
			values[i] = optional(rows[i].Currency, column)
		}
	default:
		absent, offset := null(column), textOffsets[column]
		for i := range rows {
			s := *(*string)(unsafe.Add(unsafe.Pointer(rows[i].Event), offset))
			if s == "" {
				values[i] = absent
			} else {
				values[i] = parquet.ByteArrayValue(bytesOf(s)).Level(0, 1, column)
			}
		}
	}
}

// textOffsets holds where in an Event the text of each column lies. This loop
// runs for 31 columns of every event; calling textOf in it would double it.
var textOffsets = func() (offsets [columnCount]uintptr) {
	var e event.Event
	for column := range columnCount {
		if isText(column) {
			offsets[column] = uintptr(unsafe.Pointer(textOf(&e, column))) - uintptr(unsafe.Pointer(&e))
		}
	}
	return offsets
}()

// isText reports whether a column is one that textOf knows.
func isText(column int) bool {
	switch column {
	case ColAppID, ColSeq, ColEventID, ColEvent, ColType, ColUserKey, ColSessionKey, ColTS, ColOriginalTS,
		ColReceivedAt, ColRevenue, ColCurrency:
		return false
	}
	return true
}

// textOf points at the event's field for a column of optional text.
func textOf(e *event.Event, column int) *string {
	switch column {
	case ColUserID:
		return &e.UserID
	case ColAnonymousID:
		return &e.AnonymousID
	case ColSessionID:
		return &e.SessionID
	case ColPlatform:
		return &e.Context.Platform
	case ColOS:
		return &e.Context.OS
	case ColOSVersion:
		return &e.Context.OSVersion
	case ColAppVersion:
		return &e.Context.AppVersion
	case ColDeviceModel:
		return &e.Context.DeviceModel
	case ColDeviceType:
		return &e.Context.DeviceType
	case ColBrowser:
		return &e.Context.Browser
	case ColCountry:
		return &e.Context.Country
	case ColRegion:
		return &e.Context.Region
	case ColCity:
		return &e.Context.City
	case ColLocale:
		return &e.Context.Locale
	case ColPageURL:
		return &e.Context.PageURL
	case ColPagePath:
		return &e.Context.PagePath
	case ColReferrerHost:
		return &e.Context.ReferrerHost
	case ColUTMSource:
		return &e.Context.UTMSource
	case ColUTMMedium:
		return &e.Context.UTMMedium
	case ColUTMCampaign:
		return &e.Context.UTMCampaign
	case ColUTMTerm:
		return &e.Context.UTMTerm
	case ColUTMContent:
		return &e.Context.UTMContent
	case ColLibrary:
		return &e.Context.Library
	case ColLibraryVersion:
		return &e.Context.LibraryVersion
	case ColCorrelationID:
		return &e.CorrelationID
	case ColGroups:
		return &e.Groups
	case ColContext:
		return &e.Context.Rest
	case ColProperties:
		return &e.Properties
	case ColTraits:
		return &e.Traits
	case ColGroupType:
		return &e.GroupType
	case ColGroupID:
		return &e.GroupID
	case ColPreviousID:
		return &e.PreviousID
	}
	panic("parquetv1: column " + strconv.Itoa(column) + " is not optional text")
}

func null(column int) parquet.Value { return parquet.NullValue().Level(0, 0, column) }

func key(k int64, column int) parquet.Value {
	if k == 0 {
		return null(column)
	}
	return parquet.Int64Value(k).Level(0, 1, column)
}

func optional(s string, column int) parquet.Value {
	if s == "" {
		return null(column)
	}
	return parquet.ByteArrayValue(bytesOf(s)).Level(0, 1, column)
}

func required(s string, column int) parquet.Value {
	return parquet.ByteArrayValue(bytesOf(s)).Level(0, 0, column)
}

// bytesOf views a string as bytes without copying; the column writer copies
// them into its page and changes nothing.
func bytesOf(s string) []byte { return unsafe.Slice(unsafe.StringData(s), len(s)) }

func timeOf(micros int64) time.Time { return time.UnixMicro(micros).UTC() }
