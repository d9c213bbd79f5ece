package parquetv1

import (
	"cmp"
	"fmt"
	"io"
	"math"
	"slices"
	"strconv"
	"sync"
	"time"
	"unsafe"

	"github.com/parquet-go/parquet-go/compress/zstd"

	"github.com/causality-project/causality/backend/internal/pipeline/lake/columnar"
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

// chunkRows is how many rows are gathered at a time for all columns: few enough
// that they stay in the processor's cache meanwhile.
const chunkRows = 256

// Writers are kept: their buffers would cost more than a small object's rows do.
var writers = sync.Pool{New: func() any {
	return &columnWriter{encoder: columnar.NewEncoder(zstd.SpeedFastest)}
}}

type columnWriter struct {
	encoder *columnar.Encoder
	columns [columnCount]gathered
}

// gathered is what a column of a row group will hold.
type gathered struct {
	ints  []int64 // of numbers
	codes []int32 // of texts, in the dictionary
	texts *columnar.Dictionary
	last  string // the text before, and its code
	code  int32
}

// What stands for a value that a row does not have: no instant, and a NaN that
// no number is.
const (
	absentTime    = math.MinInt64
	absentNumber  = -1<<51 + 1
	largeTexts    = 1 << 11 // beyond so many, clearing a dictionary costs more than a new one
	largestInside = 1 << 30 // pages wait in memory until the file is written
)

// Write writes one object of rows, which must be sorted by Compare. It gathers
// columns from the events themselves, without reflection.
func Write(out io.Writer, appID string, rows []Row, metadata map[string]string) error {
	w := writers.Get().(*columnWriter)
	if err := w.write(out, appID, rows, metadata); err != nil {
		return fmt.Errorf("write parquet: %w", err) // and drop the writer: its state is unknown
	}
	writers.Put(w)
	return nil
}

func (w *columnWriter) write(out io.Writer, appID string, rows []Row, metadata map[string]string) error {
	all, err := Metadata(metadata, nil)
	if err != nil {
		return err
	}
	spool := columnar.NewSpool("", largestInside)
	defer func() { _ = spool.Close() }() // holds memory alone
	file := columnar.NewFile(base, spool, (len(rows)+RowGroupRows-1)/RowGroupRows)
	for group := 0; group*RowGroupRows < len(rows); group++ {
		some := rows[group*RowGroupRows : min((group+1)*RowGroupRows, len(rows))]
		for index := range w.columns {
			w.columns[index].reset()
		}
		for at := 0; at < len(some); at += chunkRows {
			for index := range w.columns {
				w.columns[index].gather(index, appID, some[at:min(at+chunkRows, len(some))])
			}
		}
		for index, column := range base.Columns() {
			chunk, err := w.encode(column, index, some)
			w.columns[index].last = "" // it is part of a larger message
			if err == nil {
				err = file.Put(group, column, chunk)
			}
			if err != nil {
				return err
			}
		}
	}
	return file.Write(out, all)
}

func (g *gathered) reset() {
	g.ints, g.codes, g.last, g.code = g.ints[:0], g.codes[:0], "", columnar.Absent
	switch {
	case g.texts == nil || g.texts.Len() > largeTexts:
		g.texts = columnar.NewDictionary()
	case g.texts.Len() > 0:
		g.texts.Reset()
	}
}

// gather appends the column's values of some rows.
func (g *gathered) gather(index int, appID string, rows []Row) {
	switch index {
	case ColAppID:
		for range rows {
			g.text(appID)
		}
	case ColEventID: // read where they lie
	case ColSeq:
		for i := range rows {
			g.ints = append(g.ints, rows[i].Seq)
		}
	case ColEvent:
		for i := range rows {
			g.required(rows[i].Event.Name)
		}
	case ColType:
		for i := range rows {
			g.required(rows[i].Event.Type.String())
		}
	case ColUserKey:
		for i := range rows {
			g.ints = append(g.ints, rows[i].UserKey)
		}
	case ColSessionKey:
		key := int64(0)
		for i := range rows {
			id := rows[i].Event.SessionID
			if i == 0 || id != rows[i-1].Event.SessionID { // sorted by person: runs of one session
				if key = 0; id != "" {
					key = event.SessionKey(id)
				}
			}
			g.ints = append(g.ints, key)
		}
	case ColTS:
		for i := range rows {
			g.ints = append(g.ints, rows[i].Event.TS.UnixMicro())
		}
	case ColOriginalTS:
		for i := range rows {
			at := int64(absentTime)
			if t := rows[i].Event.OriginalTS; !t.IsZero() {
				at = t.UnixMicro()
			}
			g.ints = append(g.ints, at)
		}
	case ColReceivedAt:
		for i := range rows {
			g.ints = append(g.ints, rows[i].Event.ReceivedAt.UnixMicro())
		}
	case ColRevenue:
		for i := range rows {
			bits := int64(absentNumber)
			if rows[i].HasRevenue {
				bits = int64(math.Float64bits(rows[i].Revenue))
			}
			g.ints = append(g.ints, bits)
		}
	case ColCurrency:
		for i := range rows {
			g.text(rows[i].Currency)
		}
	default:
		offset := textOffsets[index]
		for i := range rows {
			g.text(*(*string)(unsafe.Add(unsafe.Pointer(rows[i].Event), offset)))
		}
	}
}

// text appends the code of a text; the empty one is none.
func (g *gathered) text(text string) {
	if text != g.last { // many columns say the same in row after row
		if g.last = text; text == "" {
			g.code = columnar.Absent
		} else {
			g.code = g.texts.Code(bytesOf(text))
		}
	}
	g.codes = append(g.codes, g.code)
}

// required appends the code of a text that all rows have, maybe an empty one.
func (g *gathered) required(text string) {
	if text != g.last || g.code == columnar.Absent {
		g.last, g.code = text, g.texts.Code(bytesOf(text))
	}
	g.codes = append(g.codes, g.code)
}

// encode makes the chunk of a column.
func (w *columnWriter) encode(column *columnar.Column, index int, rows []Row) (*columnar.Chunk, error) {
	g := &w.columns[index]
	switch index {
	case ColEventID:
		return w.encoder.UUIDs(column, len(rows), func(row int) *[16]byte { return (*[16]byte)(&rows[row].Event.ID) })
	case ColSeq, ColTS, ColReceivedAt:
		return w.encoder.Int64s(column, g.ints, 0, columnar.Deltas)
	case ColUserKey, ColSessionKey:
		return w.encoder.Int64s(column, g.ints, 0, columnar.Coded)
	case ColOriginalTS:
		return w.encoder.Int64s(column, g.ints, absentTime, columnar.Coded)
	case ColRevenue:
		return w.encoder.Int64s(column, g.ints, absentNumber, columnar.Coded)
	}
	return w.encoder.Texts(column, g.codes, g.texts)
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

// bytesOf views a string as bytes without copying; the dictionary copies what
// it keeps and changes nothing.
func bytesOf(s string) []byte { return unsafe.Slice(unsafe.StringData(s), len(s)) }

func timeOf(micros int64) time.Time { return time.UnixMicro(micros).UTC() }
