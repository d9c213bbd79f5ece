package lake

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"

	"github.com/parquet-go/parquet-go"

	"github.com/causality-project/causality/backend/internal/pipeline/lake/parquetv1"
)

// withFile opens an object of whichever schema version.
func (l *Lake) withFile(ctx context.Context, key string, fn func(*parquetv1.File) error) (err error) {
	reader, err := l.cfg.Objects.Open(ctx, key)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, reader.Close()) }()
	file, err := parquetv1.Open(reader, reader.Size())
	if err != nil {
		return err
	}
	if version, _ := file.Metadata(parquetv1.SchemaKey); version != strconv.Itoa(parquetv1.Version) {
		return fmt.Errorf("its schema version is %q; this program reads up to %d: use a newer one", version, parquetv1.Version)
	}
	return fn(file)
}

// checkFooter reads the footer of a written object and compares it with its row.
func (l *Lake) checkFooter(ctx context.Context, object *entry) error {
	return l.withFile(ctx, object.Key, func(file *parquetv1.File) error {
		if file.Rows() != object.Rows {
			return fmt.Errorf("its footer states %d rows, not %d", file.Rows(), object.Rows)
		}
		return nil
	})
}

// footerOf reads the number of rows and the manifest row of an object of any kind.
func (l *Lake) footerOf(ctx context.Context, key string) (rows int64, e entry, err error) {
	reader, err := l.cfg.Objects.Open(ctx, key)
	if err != nil {
		return 0, entry{}, err
	}
	defer func() { err = errors.Join(err, reader.Close()) }()
	file, err := parquet.OpenFile(reader, reader.Size(), parquet.SkipPageIndex(true), parquet.SkipBloomFilters(true))
	if err != nil {
		return 0, entry{}, fmt.Errorf("read footer: %w", err)
	}
	e, err = decodeEntry(file.Lookup(manifestKey))
	return file.NumRows(), e, err
}

// readEntry reads the manifest row that an object of any kind carries.
func (l *Lake) readEntry(ctx context.Context, key string) (entry, error) {
	rows, e, err := l.footerOf(ctx, key)
	if err == nil && rows != e.Rows {
		err = fmt.Errorf("its footer states %d rows, its manifest row %d", rows, e.Rows)
	}
	return e, err
}

// decodeEntry is of what an object carries under manifestKey.
func decodeEntry(text string, ok bool) (entry, error) {
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
