package lake

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strconv"
	"time"

	"github.com/parquet-go/parquet-go"
	"github.com/parquet-go/parquet-go/compress/zstd"

	"github.com/causality-project/causality/backend/internal/pipeline/lake/parquetv1"
	"github.com/causality-project/causality/backend/internal/pipeline/lake/seen"
	"github.com/causality-project/causality/backend/internal/platform/event"
)

// erasedRow is the layout of objects of kind erased: ids of events that are
// gone, so that one that is sent again is known. They say nothing about anybody,
// and are kept for ever. Questions never read them; seen ids are made from them
// as from events.
type erasedRow struct {
	AppID   string   `parquet:"app_id,dict"`
	EventID [16]byte `parquet:"event_id,uuid"`
}

// writeErased writes ids in ascending order, each once.
func writeErased(out io.Writer, appID string, ids []event.ID, metadata map[string]string) error {
	w := parquet.NewGenericWriter[erasedRow](out, parquet.Compression(&zstd.Codec{Level: zstd.SpeedDefault, Concurrency: 1}),
		parquet.MaxRowsPerRowGroup(parquetv1.RowGroupRows), parquet.CreatedBy("causality", "1", ""))
	rows := make([]erasedRow, 0, 1024)
	for some := range slices.Chunk(ids, cap(rows)) {
		rows = rows[:0]
		for _, id := range some {
			rows = append(rows, erasedRow{appID, id})
		}
		if _, err := w.Write(rows); err != nil {
			return fmt.Errorf("write erased ids: %w", err)
		}
	}
	w.SetKeyValueMetadata(parquetv1.SchemaKey, strconv.Itoa(parquetv1.Version))
	for key, value := range metadata {
		w.SetKeyValueMetadata(key, value)
	}
	if err := w.Close(); err != nil {
		return fmt.Errorf("write erased ids: %w", err)
	}
	return nil
}

// readErased reads the ids of an object of kind erased.
func (l *Lake) readErased(ctx context.Context, key string, yield func(ids []event.ID) error) (err error) {
	object, err := l.cfg.Objects.Open(ctx, key)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, object.Close()) }()
	file, err := parquet.OpenFile(object, object.Size(), parquet.SkipPageIndex(true), parquet.SkipBloomFilters(true))
	if err != nil {
		return fmt.Errorf("read footer: %w", err)
	}
	if columns := file.Schema().Columns(); len(columns) != 2 || columns[1][0] != "event_id" {
		return fmt.Errorf("read footer: it is no object of erased ids")
	}
	reader := parquet.NewGenericReader[erasedRow](file)
	defer func() { err = errors.Join(err, reader.Close()) }()
	rows, ids := make([]erasedRow, 4096), make([]event.ID, 0, 4096)
	for {
		n, err := reader.Read(rows)
		ids = ids[:0]
		for i := range rows[:n] {
			ids = append(ids, event.ID(rows[i].EventID))
		}
		if n > 0 {
			if err := yield(ids); err != nil {
				return err
			}
		}
		if errors.Is(err, io.EOF) {
			return ctx.Err()
		}
		if err != nil {
			return fmt.Errorf("read erased ids: %w", err)
		}
		if ctx.Err() != nil {
			return ctx.Err()
		}
	}
}

// storeErased writes an object of erased ids that takes the place of sources'
// rows in what dedupe reads. counters are the app's without these. Nothing lists
// it yet.
func (l *Lake) storeErased(ctx context.Context, workspaceID, appID string, ids []event.ID, sources seen.Ranges, counters totals, now time.Time) (entry, error) {
	slices.SortFunc(ids, func(a, b event.ID) int { return slices.Compare(a[:], b[:]) })
	ids = slices.Compact(ids)
	e, err := newEntry(workspaceID, appID, 0, now, "erased")
	if err != nil {
		return entry{}, err
	}
	e.Kind, e.Rows, e.Sources, e.Totals = kindErased, int64(len(ids)), sources, counters
	e.Totals.Erased += e.Rows
	e.MinTS, e.MaxTS, e.MinReceivedAt, e.MaxReceivedAt = now, now, now, now // of the events nothing stays
	metadata, err := e.metadata()
	if err != nil {
		return entry{}, err
	}
	e.Bytes, err = l.cfg.Objects.Create(ctx, e.Key, func(out io.Writer) error { return writeErased(out, appID, ids, metadata) })
	if err != nil {
		return entry{}, err
	}
	var count int64
	err = l.readErased(ctx, e.Key, func(ids []event.ID) error { count += int64(len(ids)); return nil })
	if err == nil && count != e.Rows {
		err = fmt.Errorf("it has %d ids, not %d", count, e.Rows)
	}
	if err != nil {
		return entry{}, fmt.Errorf("object %s reads back wrong: %w", e.Key, err)
	}
	return e, nil
}
