package lake

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/parquet-go/parquet-go"

	"github.com/causality-project/causality/backend/internal/account/tenancy"
	"github.com/causality-project/causality/backend/internal/pipeline/lake/parquetv1"
	"github.com/causality-project/causality/backend/internal/pipeline/lake/projection"
	"github.com/causality-project/causality/backend/internal/platform/event"
	"github.com/causality-project/causality/backend/internal/platform/objstore"
)

const (
	restore    = "Restore the object from a backup, or run `causality lake rebuild` to go on without it"
	deriveAnew = "Delete the object and run `causality lake rebuild`: it is derived anew"
)

// Problem is something wrong with an object.
type Problem struct {
	Object string // its key
	What   string // one sentence, with what to do
}

// VerifyProgress is told after each object.
type VerifyProgress struct {
	Objects      int // checked so far
	ObjectsTotal int
	Rows         int64
	Bytes        int64
	Problems     []Problem // found since the last time
}

// Verify reads every object of an app, or of all apps of ctx's workspace for an
// empty appID, to its last page and compares it with its row in the manifest. It
// changes nothing.
func (l *Lake) Verify(ctx context.Context, appID string, report func(VerifyProgress)) error {
	workspaceID, err := tenancy.Workspace(ctx)
	if err != nil {
		return err
	}
	apps, err := l.appsOf(ctx, workspaceID, appID)
	if err != nil {
		return err
	}
	var entries []entry
	var held []string
	for _, app := range apps {
		err := l.cfg.DB.Tx(ctx, func(ctx context.Context, tx pgx.Tx) error {
			found, err := entriesOf(ctx, tx, workspaceID, app)
			entries = append(entries, found...)
			return err
		})
		if err != nil {
			return err
		}
	}
	for i := range entries {
		held = append(held, entries[i].Key)
	}
	defer l.holds.hold(held)()
	// Objects of events before what is derived from them.
	slices.SortStableFunc(entries, func(a, b entry) int { return cmp.Compare(min(len(a.Source), 1), min(len(b.Source), 1)) })
	sums := map[string]*trackedSums{}
	for i := range entries {
		if e := &entries[i]; e.Source != "" {
			if sums[e.Source] == nil {
				sums[e.Source] = &trackedSums{}
			}
			if e.Zone != "" {
				sums[e.Source].zone = e.Zone
			}
		}
	}

	progress := VerifyProgress{ObjectsTotal: len(entries)}
	report(progress)
	for i := range entries {
		e := &entries[i]
		var what []string
		var err error
		switch {
		case e.Kind == kindErased:
			what, err = l.verifyErased(ctx, e)
		case e.Source != "":
			what, err = l.verifyProjection(ctx, e, sums[e.Source])
		default:
			what, err = l.verifyObject(ctx, e, sums[e.ID])
			progress.Rows += e.Rows
		}
		if err != nil {
			return err
		}
		progress.Objects++
		progress.Bytes += entries[i].Bytes
		progress.Problems = nil
		for _, sentence := range what {
			progress.Problems = append(progress.Problems, Problem{entries[i].Key, sentence})
		}
		report(progress)
	}
	for _, app := range apps {
		orphans, live, err := l.orphans(ctx, workspaceID, app, time.Now().Add(-l.cfg.Grace))
		if errors.Is(err, errOlderManifest) {
			continue // each missing object was named
		}
		if err != nil {
			return err
		}
		slices.Sort(orphans)
		progress.Problems = nil
		for _, key := range orphans {
			what := "Nothing lists this object, and it holds events that no listed object holds: the manifest is incomplete; run `causality lake rebuild`."
			if e, err := l.readEntry(ctx, key); err != nil {
				what = fmt.Sprintf("Nothing lists this object, and it cannot be read (%v): keep a copy elsewhere if you need it, then delete it.", err)
			} else if live.hold(&e) {
				what = "Nothing lists this object; a crash left it and its events are in other objects. It is collected within hours; nothing to do."
			}
			progress.Problems = append(progress.Problems, Problem{key, what})
		}
		if len(orphans) > 0 {
			report(progress)
		}
	}
	return nil
}

// verifyObject says what is wrong with one object. Its error is the end of ctx.
// sums, where it is not nil, gets what its projections are compared with.
func (l *Lake) verifyObject(ctx context.Context, want *entry, sums *trackedSums) ([]string, error) {
	object, problems, err := l.openToVerify(ctx, want, restore)
	if object == nil {
		return problems, err
	}
	defer object.Close()
	file, err := parquetv1.Open(object, object.Size())
	if storeAway(err) {
		return nil, err
	}
	if err != nil {
		return append(problems, fmt.Sprintf("The object cannot be read: %v. %s.", err, restore)), nil
	}
	if carried, err := decodeEntry(file.Metadata(manifestKey)); err != nil {
		problems = append(problems, fmt.Sprintf("The object's own manifest row cannot be read: %v. Run `causality lake compact` to rewrite it.", err))
	} else if difference := want.differs(&carried); difference != "" {
		problems = append(problems, fmt.Sprintf("The manifest and the object's own row differ in %s. Run `causality lake rebuild`.", difference))
	}
	if complete := completeColumns(file); !slices.Equal(complete, sorted(want.Columns)) {
		problems = append(problems, fmt.Sprintf("The object's promoted columns are %q; the manifest says %q. Run `causality lake rebuild`.", complete, want.Columns))
	}
	if sums != nil {
		if err := sums.begin(); err != nil {
			problems = append(problems, fmt.Sprintf("The time zone of its projections is not known: %v.", err))
			sums = nil
		}
	}
	found := entry{}
	reader := file.Read()
	defer reader.Close()
	var last parquet.Row
	ordered := true
	for {
		row, err := reader.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			if storeAway(err) {
				return nil, err
			}
			return append(problems, fmt.Sprintf("The object is damaged after row %d: %v. %s.", found.Rows, err, restore)), nil
		}
		if app := string(row[parquetv1.ColAppID].ByteArray()); app != want.AppID {
			return append(problems, fmt.Sprintf("Row %d belongs to app %s. %s.", found.Rows, app, restore)), nil
		}
		found.Rows++
		if sums != nil {
			sums.add(row)
		}
		found.extend(time.UnixMicro(parquetv1.TS(row)).UTC(), time.UnixMicro(parquetv1.ReceivedAt(row)).UTC())
		if last != nil && parquetv1.CompareStored(last, row) > 0 {
			ordered = false
		}
		last = append(last[:0], row...)
		last[parquetv1.ColEventID] = row[parquetv1.ColEventID].Clone()
		if found.Rows%4096 == 0 && ctx.Err() != nil {
			return nil, ctx.Err()
		}
	}
	if sums != nil {
		sums.complete = true
	}
	if found.Rows != want.Rows {
		problems = append(problems, fmt.Sprintf("The object has %d rows; the manifest says %d. %s.", found.Rows, want.Rows, restore))
	}
	if !found.MinTS.Equal(want.MinTS) || !found.MaxTS.Equal(want.MaxTS) || !found.MinReceivedAt.Equal(want.MinReceivedAt) || !found.MaxReceivedAt.Equal(want.MaxReceivedAt) {
		problems = append(problems, "The times of the rows are not those that the manifest states. Run `causality lake rebuild`.")
	}
	if !ordered {
		problems = append(problems, "The rows are not in order. Run `causality lake compact` to rewrite it.")
	}
	return problems, ctx.Err()
}

// openToVerify opens an object and checks its size. Without an object there is
// nothing more to check.
func (l *Lake) openToVerify(ctx context.Context, want *entry, remedy string) (objstore.Reader, []string, error) {
	object, err := l.cfg.Objects.Open(ctx, want.Key)
	switch {
	case ctx.Err() != nil:
		return nil, nil, ctx.Err()
	case errors.Is(err, objstore.ErrNotFound):
		return nil, []string{"The object is missing. " + remedy + "."}, nil
	case storeAway(err):
		return nil, nil, err
	case err != nil:
		return nil, []string{fmt.Sprintf("The object cannot be opened: %v. %s.", err, remedy)}, nil
	}
	if object.Size() != want.Bytes {
		return object, []string{fmt.Sprintf("The object has %d bytes; the manifest says %d. %s.", object.Size(), want.Bytes, remedy)}, nil
	}
	return object, nil, nil
}

func sorted(names []string) []string { return slices.Sorted(slices.Values(names)) }

func completeColumns(file *parquetv1.File) []string {
	var names []string
	for _, p := range file.Promoted() {
		if _, ok := file.CompleteColumn(p); ok {
			names = append(names, p.Name)
		}
	}
	return sorted(names)
}

// trackedSums are sums of hashes over an object's tracked events, one for each
// of its projections: whatever their order, equal rows make equal sums.
type trackedSums struct {
	zone                         string
	days                         projection.Days
	rows                         int64
	complete                     bool // the object was read to its end
	byEvent, eventDays, userDays uint64
}

func (s *trackedSums) begin() (err error) {
	s.days.Zone, err = time.LoadLocation(s.zone)
	return err
}

func (s *trackedSums) add(row parquet.Row) {
	if string(row[parquetv1.ColType].ByteArray()) != event.Track.String() {
		return
	}
	name, user, ts := row[parquetv1.ColEvent].ByteArray(), parquetv1.UserKey(row), parquetv1.TS(row)
	h := hashEvent(name, user, ts)
	for _, column := range projection.Hot {
		h.value(row[column])
	}
	day := s.days.Of(ts)
	s.rows++
	s.byEvent += uint64(h)
	s.eventDays += uint64(hashEvent(name, user, day))
	s.userDays += uint64(hashEvent(nil, user, day))
}

// rowHash is FNV-1a over the values of a row.
type rowHash uint64

func hashEvent(name []byte, numbers ...int64) rowHash {
	h := rowHash(14695981039346656037)
	h.bytes(name)
	for _, n := range numbers {
		h.number(uint64(n))
	}
	return h
}

func (h *rowHash) bytes(text []byte) {
	for _, b := range text {
		*h = (*h ^ rowHash(b)) * 1099511628211
	}
	h.number(uint64(len(text)))
}

func (h *rowHash) number(n uint64) {
	for ; n != 0; n >>= 8 {
		*h = (*h ^ rowHash(n&0xff)) * 1099511628211
	}
	*h = (*h ^ 0x100) * 1099511628211
}

func (h *rowHash) value(v parquet.Value) {
	switch {
	case v.IsNull():
		h.number(0)
	case v.Kind() == parquet.ByteArray:
		h.bytes(v.ByteArray())
	default:
		h.number(v.Uint64())
	}
}

// verifyProjection compares a projection with what its source said of itself.
func (l *Lake) verifyProjection(ctx context.Context, want *entry, sums *trackedSums) ([]string, error) {
	object, problems, err := l.openToVerify(ctx, want, deriveAnew)
	if object == nil {
		return problems, err
	}
	defer object.Close()
	file, err := parquet.OpenFile(object, object.Size(), parquet.SkipPageIndex(true), parquet.SkipBloomFilters(true))
	if err != nil {
		return append(problems, fmt.Sprintf("The object cannot be read: %v. %s.", err, deriveAnew)), nil
	}
	if carried, err := decodeEntry(file.Lookup(manifestKey)); err != nil {
		problems = append(problems, fmt.Sprintf("The object's own manifest row cannot be read: %v. %s.", err, deriveAnew))
	} else if difference := want.differs(&carried); difference != "" {
		problems = append(problems, fmt.Sprintf("The manifest and the object's own row differ in %s. Run `causality lake rebuild`.", difference))
	}
	if zone, _ := file.Lookup(projection.ZoneKey); zone != want.Zone {
		problems = append(problems, fmt.Sprintf("Its days are those of the time zone %q; the manifest says %q. %s.", zone, want.Zone, deriveAnew))
	}
	var rows, counted int64
	var sum uint64
	var last projected
	ordered := true
	err = eachProjected(ctx, file, want.Kind, func(row *projected) {
		if rows > 0 && last.compare(row) > 0 {
			ordered = false
		}
		rows++
		counted += row.n
		sum += uint64(row.hash) * uint64(row.n)
		last.event, last.keys = append(last.event[:0], row.event...), row.keys
	})
	switch {
	case ctx.Err() != nil:
		return nil, ctx.Err()
	case err != nil:
		return append(problems, fmt.Sprintf("The object is damaged after row %d: %v. %s.", rows, err, deriveAnew)), nil
	}
	if rows != want.Rows {
		problems = append(problems, fmt.Sprintf("The object has %d rows; the manifest says %d. %s.", rows, want.Rows, deriveAnew))
	}
	if !ordered {
		problems = append(problems, fmt.Sprintf("The rows are not in order. %s.", deriveAnew))
	}
	if sums.complete {
		expected := map[string]uint64{projection.ByEvent: sums.byEvent, projection.EventDays: sums.eventDays, projection.UserDays: sums.userDays}[want.Kind]
		switch {
		case counted != sums.rows:
			problems = append(problems, fmt.Sprintf("It counts %d events; its object has %d that are tracked. %s.", counted, sums.rows, deriveAnew))
		case sum != expected:
			problems = append(problems, fmt.Sprintf("It says something else than its object. %s.", deriveAnew))
		}
	}
	return problems, nil
}

// projected is a row of a projection: what it is sorted by, how many events it
// counts, and the hash of what it says of each.
type projected struct {
	event []byte
	keys  [2]int64
	n     int64
	hash  rowHash
}

func (p *projected) compare(o *projected) int {
	return cmp.Or(bytes.Compare(p.event, o.event), cmp.Compare(p.keys[0], o.keys[0]), cmp.Compare(p.keys[1], o.keys[1]))
}

func eachProjected(ctx context.Context, file *parquet.File, kind string, yield func(row *projected)) (err error) {
	number := func(v parquet.Value) int64 {
		if v.IsNull() {
			return 0
		}
		return v.Int64()
	}
	decode := map[string]func(row parquet.Row) projected{
		projection.ByEvent: func(row parquet.Row) projected {
			p := projected{event: row[0].ByteArray(), keys: [2]int64{number(row[1]), number(row[2])}, n: 1}
			p.hash = hashEvent(p.event, p.keys[0], p.keys[1])
			for i := range projection.Hot {
				p.hash.value(row[3+i])
			}
			return p
		},
		projection.EventDays: func(row parquet.Row) projected {
			p := projected{event: row[0].ByteArray(), keys: [2]int64{int64(row[1].Int32()), number(row[2])}, n: row[3].Int64()}
			p.hash = hashEvent(p.event, p.keys[1], p.keys[0])
			return p
		},
		projection.UserDays: func(row parquet.Row) projected {
			p := projected{keys: [2]int64{number(row[0]), int64(row[1].Int32())}, n: row[2].Int64()}
			p.hash = hashEvent(nil, p.keys[0], p.keys[1])
			return p
		},
	}[kind]
	if decode == nil {
		return fmt.Errorf("no program knows its kind, %q", kind)
	}
	if least := map[string]int{projection.ByEvent: 3 + len(projection.Hot), projection.EventDays: 4, projection.UserDays: 3}[kind]; len(file.Schema().Columns()) < least {
		return fmt.Errorf("it has fewer than %d columns", least)
	}
	buffer := make([]parquet.Row, 256)
	for _, group := range file.RowGroups() {
		rows := group.Rows()
		for {
			n, err := rows.ReadRows(buffer)
			for _, row := range buffer[:n] {
				p := decode(row)
				yield(&p)
			}
			if err != nil || n == 0 {
				closeErr := rows.Close()
				if err != nil && !errors.Is(err, io.EOF) {
					return err
				}
				if closeErr != nil {
					return closeErr
				}
				break
			}
			if ctx.Err() != nil {
				return errors.Join(ctx.Err(), rows.Close())
			}
		}
	}
	return nil
}

// verifyErased reads an object of erased ids.
func (l *Lake) verifyErased(ctx context.Context, want *entry) ([]string, error) {
	object, problems, err := l.openToVerify(ctx, want, restore)
	if object == nil {
		return problems, err
	}
	if err := object.Close(); err != nil {
		return nil, err
	}
	var rows int64
	err = l.readErased(ctx, want.Key, func(ids []event.ID) error { rows += int64(len(ids)); return ctx.Err() })
	switch {
	case ctx.Err() != nil:
		return nil, ctx.Err()
	case err != nil:
		return append(problems, fmt.Sprintf("The object is damaged after row %d: %v. %s.", rows, err, restore)), nil
	case rows != want.Rows:
		problems = append(problems, fmt.Sprintf("The object has %d ids; the manifest says %d. %s.", rows, want.Rows, restore))
	}
	return problems, nil
}

// readThrough reads every row of an object.
func readThrough(ctx context.Context, file *parquetv1.File) (err error) {
	reader := file.Read()
	defer func() { err = errors.Join(err, reader.Close()) }()
	for n := int64(0); ; n++ {
		switch _, err := reader.Next(); {
		case errors.Is(err, io.EOF) && n == file.Rows():
			return nil
		case errors.Is(err, io.EOF):
			return fmt.Errorf("it ends after %d of %d rows", n, file.Rows())
		case err != nil:
			return err
		}
		if n%4096 == 0 && ctx.Err() != nil {
			return ctx.Err()
		}
	}
}

// differs names the first field in which the manifest and an object's own row
// differ. The link number may: a rebuild numbers the links anew.
func (e *entry) differs(o *entry) string {
	switch {
	case e.ID != o.ID:
		return "the object's id"
	case e.AppID != o.AppID || e.WorkspaceID != o.WorkspaceID:
		return "the app"
	case e.Key != o.Key:
		return "the key"
	case e.Kind != o.Kind || e.Level != o.Level || e.SchemaVersion != o.SchemaVersion:
		return "the kind"
	case e.Rows != o.Rows:
		return "the number of rows"
	case !e.MinTS.Equal(o.MinTS) || !e.MaxTS.Equal(o.MaxTS) || !e.MinReceivedAt.Equal(o.MinReceivedAt) || !e.MaxReceivedAt.Equal(o.MaxReceivedAt):
		return "the range of times"
	case !slices.Equal(e.Sources, o.Sources):
		return "the commits it holds"
	case !e.Period.Equal(o.Period) || e.Bucket != o.Bucket || e.BucketBits != o.BucketBits:
		return "the month or users"
	case !slices.Equal(e.Columns, o.Columns):
		return "the promoted columns"
	case e.Zone != o.Zone || e.Source != o.Source:
		return "the source or time zone"
	case e.Merge != o.Merge || max(e.Parts, 1) != max(o.Parts, 1):
		return "the merge"
	case e.Lane != o.Lane || e.Incarnation != o.Incarnation || e.FirstSeq != o.FirstSeq || e.LastSeq != o.LastSeq:
		return "the run of sequences"
	}
	return ""
}
