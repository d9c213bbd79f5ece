package lake

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/parquet-go/parquet-go"

	"github.com/causality-project/causality/backend/internal/account/tenancy"
	"github.com/causality-project/causality/backend/internal/pipeline/lake/parquetv1"
	"github.com/causality-project/causality/backend/internal/platform/objstore"
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
	defer l.leases.hold(held)()

	progress := VerifyProgress{ObjectsTotal: len(entries)}
	report(progress)
	for i := range entries {
		what, err := l.verifyObject(ctx, &entries[i])
		if err != nil {
			return err
		}
		progress.Objects++
		progress.Rows += entries[i].Rows
		progress.Bytes += entries[i].Bytes
		progress.Problems = nil
		for _, sentence := range what {
			progress.Problems = append(progress.Problems, Problem{entries[i].Key, sentence})
		}
		report(progress)
	}
	for _, app := range apps {
		orphans, live, err := l.orphans(ctx, workspaceID, app, time.Now().Add(-l.cfg.Grace))
		if err != nil {
			return err
		}
		slices.Sort(orphans)
		progress.Problems = nil
		for _, key := range orphans {
			what := "Nothing lists this object, and it holds events that no listed object holds: the manifest is incomplete; run `causality lake rebuild`."
			if e, err := l.readEntry(ctx, key); err != nil {
				what = fmt.Sprintf("Nothing lists this object, and it cannot be read (%v): keep a copy elsewhere if you need it, then delete it.", err)
			} else if live.Covers(e.Sources) {
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
func (l *Lake) verifyObject(ctx context.Context, want *entry) ([]string, error) {
	const restore = "Restore the object from a backup, or run `causality lake rebuild` to go on without it"
	object, err := l.cfg.Objects.Open(ctx, want.Key)
	switch {
	case ctx.Err() != nil:
		return nil, ctx.Err()
	case errors.Is(err, objstore.ErrNotFound):
		return []string{"The object is missing. " + restore + "."}, nil
	case err != nil:
		return []string{fmt.Sprintf("The object cannot be opened: %v. %s.", err, restore)}, nil
	}
	defer object.Close()
	var problems []string
	if object.Size() != want.Bytes {
		problems = append(problems, fmt.Sprintf("The object has %d bytes; the manifest says %d. %s.", object.Size(), want.Bytes, restore))
	}
	file, err := parquetv1.Open(object, object.Size())
	if err != nil {
		return append(problems, fmt.Sprintf("The object cannot be read: %v. %s.", err, restore)), nil
	}
	if carried, err := decodeEntry(file); err != nil {
		problems = append(problems, fmt.Sprintf("The object's own manifest row cannot be read: %v. Run `causality lake compact` to rewrite it.", err))
	} else if difference := want.differs(&carried); difference != "" {
		problems = append(problems, fmt.Sprintf("The manifest and the object's own row differ in %s. Run `causality lake rebuild`.", difference))
	}
	found := entry{}
	reader := file.Read()
	defer reader.Close()
	var last parquet.Row
	sorted := true
	for {
		row, err := reader.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return append(problems, fmt.Sprintf("The object is damaged after row %d: %v. %s.", found.Rows, err, restore)), nil
		}
		if app := string(row[parquetv1.ColAppID].ByteArray()); app != want.AppID {
			return append(problems, fmt.Sprintf("Row %d belongs to app %s. %s.", found.Rows, app, restore)), nil
		}
		found.Rows++
		found.extend(time.UnixMicro(parquetv1.TS(row)).UTC(), time.UnixMicro(parquetv1.ReceivedAt(row)).UTC())
		if last != nil && parquetv1.CompareStored(last, row) > 0 {
			sorted = false
		}
		last = append(last[:0], row...)
		last[parquetv1.ColEventID] = row[parquetv1.ColEventID].Clone()
		if found.Rows%4096 == 0 && ctx.Err() != nil {
			return nil, ctx.Err()
		}
	}
	if found.Rows != want.Rows {
		problems = append(problems, fmt.Sprintf("The object has %d rows; the manifest says %d. %s.", found.Rows, want.Rows, restore))
	}
	if !found.MinTS.Equal(want.MinTS) || !found.MaxTS.Equal(want.MaxTS) || !found.MinReceivedAt.Equal(want.MinReceivedAt) || !found.MaxReceivedAt.Equal(want.MaxReceivedAt) {
		problems = append(problems, "The times of the rows are not those that the manifest states. Run `causality lake rebuild`.")
	}
	if !sorted {
		problems = append(problems, "The rows are not in order. Run `causality lake compact` to rewrite it.")
	}
	return problems, ctx.Err()
}

func decodeEntry(file *parquetv1.File) (entry, error) {
	text, ok := file.Metadata(manifestKey)
	if !ok {
		return entry{}, errors.New("it carries no manifest row")
	}
	var e entry
	if err := json.Unmarshal([]byte(text), &e); err != nil {
		return entry{}, fmt.Errorf("its manifest row is unreadable: %w", err)
	}
	if e.Kind == "" || e.AppID == "" || e.Key == "" {
		return entry{}, errors.New("its manifest row is incomplete")
	}
	return e, nil
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
	case e.Lane != o.Lane || e.Incarnation != o.Incarnation || e.FirstSeq != o.FirstSeq || e.LastSeq != o.LastSeq:
		return "the run of sequences"
	}
	return ""
}
