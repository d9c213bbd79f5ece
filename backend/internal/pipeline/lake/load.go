package lake

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"strings"
	"sync"

	"github.com/parquet-go/parquet-go"
	"golang.org/x/sync/errgroup"

	"github.com/causality-project/causality/backend/internal/platform/objstore"
)

const (
	// A file's end is asked for first, of a size that most footers fit: a 128th
	// of the file within these bounds. One that does not costs a second request.
	leastFooter = 16 << 10
	mostFooter  = 64 << 10
	// filesAtOnce is how many files of one question are looked into side by side.
	// The store bounds the requests of all questions together.
	filesAtOnce = 16
)

// loader makes local copies of remote objects hold what a question reads. A
// column is that of the file's footer, all of its chunks; a name after "=" asks
// for the column's bloom filters as well, which an engine that looks for single
// values of it would probe. No columns at all, as nil, ask for whole files, and
// an empty list for footers alone.
func (l *Lake) loader(remote objstore.Remote, objects []Object) func(ctx context.Context, paths, columns []string) error {
	sizes := sync.OnceValue(func() map[string]int64 {
		sizes := make(map[string]int64, 2*len(objects))
		for i := range objects {
			sizes[objects[i].Path] = objects[i].Bytes
			for j := range objects[i].Projections {
				sizes[objects[i].Projections[j].Path] = objects[i].Projections[j].Bytes
			}
		}
		return sizes
	})
	root := remote.Path("")
	return func(ctx context.Context, paths, columns []string) error {
		group, ctx := errgroup.WithContext(ctx)
		group.SetLimit(filesAtOnce)
		for _, path := range paths {
			key, inside := strings.CutPrefix(path, root)
			size, known := sizes()[path]
			if !inside || !known {
				_ = group.Wait()
				return fmt.Errorf("load %s: it is no file of this snapshot", path)
			}
			if ctx.Err() != nil {
				break
			}
			group.Go(func() error { return loadColumns(ctx, remote, key, size, columns) })
		}
		return group.Wait()
	}
}

func loadColumns(ctx context.Context, remote objstore.Remote, key string, size int64, columns []string) error {
	if columns == nil || size <= mostFooter {
		return remote.Fetch(ctx, key, size, nil)
	}
	guess := min(max(size/128, leastFooter), mostFooter)
	if err := remote.Fetch(ctx, key, size, []objstore.Range{{Offset: size - guess, Length: guess}}); err != nil {
		return err
	}
	file, err := os.Open(remote.Path(key))
	if err != nil {
		return fmt.Errorf("load %s: %w", key, err)
	}
	defer file.Close()
	var end [8]byte
	if _, err := file.ReadAt(end[:], size-int64(len(end))); err != nil {
		return fmt.Errorf("load %s: %w", key, err)
	}
	footer := int64(binary.LittleEndian.Uint32(end[:])) + int64(len(end))
	if footer > size {
		return fmt.Errorf("load %s: its footer is larger than itself", key)
	}
	if footer > guess {
		if err := remote.Fetch(ctx, key, size, []objstore.Range{{Offset: size - footer, Length: footer}}); err != nil {
			return err
		}
	}
	if len(columns) == 0 {
		return nil
	}
	ranges, err := columnRanges(file, size, columns)
	if err != nil {
		return fmt.Errorf("load %s: %w", key, err)
	}
	if ranges == nil {
		return nil // no column of that name: NULL everywhere, or an error of the engine
	}
	return remote.Fetch(ctx, key, size, ranges)
}

// columnRanges reads in the footer where columns lie. A footer that it cannot
// make sense of is an error: what it names must not be guessed.
func columnRanges(file *os.File, size int64, columns []string) ([]objstore.Range, error) {
	opened, err := parquet.OpenFile(file, size,
		parquet.SkipMagicBytes(true), parquet.SkipPageIndex(true), parquet.SkipBloomFilters(true), parquet.ReadBufferSize(mostFooter))
	if err != nil {
		return nil, fmt.Errorf("read footer: %w", err)
	}
	const probed = 2
	asked := make(map[string]int, len(columns))
	for _, name := range columns {
		name, bloom := strings.CutPrefix(name, "=")
		asked[name] |= 1
		if bloom {
			asked[name] |= probed
		}
	}
	var ranges []objstore.Range
	metadata := opened.Metadata()
	for i := range metadata.RowGroups {
		for j := range metadata.RowGroups[i].Columns {
			chunk := &metadata.RowGroups[i].Columns[j].MetaData
			if len(chunk.PathInSchema) == 0 {
				return nil, errors.New("read footer: a column without a name")
			}
			how := asked[chunk.PathInSchema[0]]
			if how == 0 {
				continue
			}
			start := chunk.DataPageOffset
			if at := chunk.DictionaryPageOffset; at > 0 && at < start {
				start = at
			}
			ranges = append(ranges, objstore.Range{Offset: start, Length: chunk.TotalCompressedSize})
			if how&probed != 0 && chunk.BloomFilterOffset > 0 {
				ranges = append(ranges, bloomRange(size, chunk.BloomFilterOffset, int64(chunk.BloomFilterLength), chunk.NumValues))
			}
		}
	}
	return ranges, nil
}

// bloomRange is where a bloom filter lies. Older writers do not state how long
// it is; none of ours takes more than two bytes a value.
func bloomRange(size, offset, length, values int64) objstore.Range {
	if length <= 0 {
		length = 4096 + 2*values
	}
	return objstore.Range{Offset: offset, Length: min(length, size-offset)}
}
