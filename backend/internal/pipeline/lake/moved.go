package lake

import (
	"errors"
	"fmt"
	"io"
	"os"
	"slices"

	"github.com/parquet-go/parquet-go"

	"github.com/causality-project/causality/backend/internal/pipeline/lake/parquetv1"
)

// movedRowsOf gathers the rows that links have moved to another person, and so
// to another place in the order. They are few; when they are not, sorted runs of
// them go to unnamed temporary files.
type movedRowsOf struct {
	lake  *Lake
	rows  []parquet.Row
	files []*spill
}

func (m *movedRowsOf) add(row parquet.Row, person int64) error {
	row = row.Clone()
	parquetv1.SetUserKey(row, person)
	m.rows = append(m.rows, row)
	if len(m.rows) < movedRows {
		return nil
	}
	return m.spill()
}

func (m *movedRowsOf) sort() { slices.SortFunc(m.rows, parquetv1.CompareStored) }

func (m *movedRowsOf) spill() (err error) {
	file, err := os.CreateTemp(m.lake.cfg.CacheDir, "merge-*.parquet")
	if err != nil {
		return fmt.Errorf("spill moved rows: %w", err)
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, file.Close())
		}
	}()
	// Nameless from here on: it is gone with the process, however that ends.
	if err := os.Remove(file.Name()); err != nil {
		return fmt.Errorf("spill moved rows: %w", err)
	}
	m.sort()
	merger := parquetv1.NewMerger(file)
	for _, row := range m.rows {
		if err := merger.Write(row); err != nil {
			return fmt.Errorf("spill moved rows: %w", err)
		}
	}
	if err := merger.Close(nil); err != nil {
		return fmt.Errorf("spill moved rows: %w", err)
	}
	m.rows = m.rows[:0]
	info, err := file.Stat()
	if err != nil {
		return fmt.Errorf("spill moved rows: %w", err)
	}
	opened, err := parquetv1.Open(file, info.Size())
	if err != nil {
		return fmt.Errorf("spill moved rows: %w", err)
	}
	m.files = append(m.files, &spill{file: file, reader: opened.Read()})
	return nil
}

// streams hands over what was gathered; the caller closes the streams.
func (m *movedRowsOf) streams() []rowStream {
	m.sort()
	streams := []rowStream{&memoryStream{rows: m.rows}}
	for _, s := range m.files {
		streams = append(streams, s)
	}
	return streams
}

func (m *movedRowsOf) discard() error {
	var errs []error
	for _, s := range m.files {
		errs = append(errs, s.close())
	}
	return errors.Join(errs...)
}

type memoryStream struct{ rows []parquet.Row }

func (s *memoryStream) next() (parquet.Row, error) {
	if len(s.rows) == 0 {
		return nil, io.EOF
	}
	row := s.rows[0]
	s.rows = s.rows[1:]
	return row, nil
}

func (s *memoryStream) close() error { return nil }

type spill struct {
	file   *os.File
	reader *parquetv1.Reader
}

func (s *spill) next() (parquet.Row, error) { return s.reader.Next() }
func (s *spill) close() error               { return errors.Join(s.reader.Close(), s.file.Close()) }
