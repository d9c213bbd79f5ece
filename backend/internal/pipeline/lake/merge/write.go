package merge

import (
	"context"
	"errors"
	"io"
	"slices"
	"time"

	"github.com/parquet-go/parquet-go"

	"github.com/causality-project/causality/backend/internal/pipeline/lake/parquetv1"
)

// write creates the parts' objects.
func (p *plan) write(ctx context.Context) error {
	rows := make([]parquet.Row, 0, len(p.ids))
	for _, in := range p.job.Inputs {
		reader := in.Read()
		for {
			row, err := reader.Next()
			if errors.Is(err, io.EOF) {
				break
			}
			if err != nil {
				return errors.Join(err, reader.Close())
			}
			row = row.Clone()
			parquetv1.SetUserKey(row, p.keys[len(rows)])
			rows = append(rows, row)
		}
		if err := reader.Close(); err != nil {
			return err
		}
	}
	for _, s := range p.slots {
		for i, row := range s.rows {
			ts, received := time.UnixMicro(parquetv1.TS(rows[row])).UTC(), time.UnixMicro(parquetv1.ReceivedAt(rows[row])).UTC()
			if i == 0 {
				s.part.MinTS, s.part.MaxTS, s.part.MinReceivedAt, s.part.MaxReceivedAt = ts, ts, received, received
			}
			s.part.MinTS, s.part.MaxTS = earlier(s.part.MinTS, ts), later(s.part.MaxTS, ts)
			s.part.MinReceivedAt, s.part.MaxReceivedAt = earlier(s.part.MinReceivedAt, received), later(s.part.MaxReceivedAt, received)
		}
		s.part.Objects[Events] = Written{Rows: s.part.Rows}
		bytes, err := p.job.Create(ctx, s.part, Events, func(out io.Writer) error {
			merger := parquetv1.NewMerger(out)
			for chunk := range slices.Chunk(s.rows, 1024) {
				for _, row := range chunk {
					if err := merger.Write(rows[row]); err != nil {
						return err
					}
				}
				if err := p.job.Pace(ctx); err != nil {
					return err
				}
			}
			var metadata map[string]string
			if p.job.Metadata != nil {
				var err error
				if metadata, err = p.job.Metadata(s.part, Events); err != nil {
					return err
				}
			}
			return merger.Close(metadata)
		})
		if err != nil {
			return err
		}
		s.part.Objects[Events] = Written{Rows: s.part.Rows, Bytes: bytes}
	}
	return nil
}

func earlier(a, b time.Time) time.Time {
	if b.Before(a) {
		return b
	}
	return a
}

func later(a, b time.Time) time.Time {
	if b.After(a) {
		return b
	}
	return a
}
