package columnar

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"fmt"
	"io"
	"maps"
	"slices"

	"github.com/parquet-go/parquet-go/encoding/thrift"
	"github.com/parquet-go/parquet-go/format"
)

const magic = "PAR1"

// File is a file to be: chunks that wait in a spool, column by column in any
// order.
type File struct {
	layout *Layout
	spool  *Spool
	groups [][]stored // by row group and column
}

type stored struct {
	chunk *Chunk // without its pages,
	at    int64  // which are here
}

// NewFile starts a file of a number of row groups.
func NewFile(layout *Layout, spool *Spool, rowGroups int) *File {
	f := &File{layout: layout, spool: spool, groups: make([][]stored, rowGroups)}
	for i := range f.groups {
		f.groups[i] = make([]stored, len(layout.columns))
	}
	return f
}

// Put takes the chunk of a column in a row group.
func (f *File) Put(rowGroup int, column *Column, chunk *Chunk) error {
	at, err := f.spool.Append(chunk.Pages)
	if err != nil {
		return err
	}
	kept := *chunk
	kept.Pages = nil
	f.groups[rowGroup][column.index] = stored{&kept, at}
	return nil
}

// Write writes the file. Every column of every row group must have been put.
func (f *File) Write(out io.Writer, metadata map[string]string) error {
	buffered := bufio.NewWriterSize(out, 256<<10)
	w := &counter{to: buffered}
	if err := f.write(w, metadata); err != nil {
		return fmt.Errorf("write parquet: %w", err)
	}
	if err := buffered.Flush(); err != nil {
		return fmt.Errorf("write parquet: %w", err)
	}
	return nil
}

func (f *File) write(w *counter, metadata map[string]string) error {
	if _, err := io.WriteString(w, magic); err != nil {
		return err
	}
	footer := format.FileMetaData{Version: 2, CreatedBy: "causality version 1 (build )"}
	root := f.layout.root
	footer.Schema = append(footer.Schema, root)
	for _, column := range f.layout.columns {
		footer.Schema = append(footer.Schema, column.element)
		footer.ColumnOrders = append(footer.ColumnOrders, format.ColumnOrder{Value: &format.TypeDefinedOrder{}})
	}
	for i, group := range f.groups {
		written, err := f.writeGroup(w, group)
		if err != nil {
			return err
		}
		written.Ordinal = int16(i)
		footer.NumRows += written.NumRows
		footer.RowGroups = append(footer.RowGroups, written)
	}
	// After the pages, so that what a scan reads lies together.
	for i, group := range f.groups {
		for n, stored := range group {
			if len(stored.chunk.filter) == 0 {
				continue
			}
			meta := &footer.RowGroups[i].Columns[n].MetaData
			meta.BloomFilterOffset = w.n
			if err := writeFilter(w, stored.chunk.filter); err != nil {
				return err
			}
			meta.BloomFilterLength = int32(w.n - meta.BloomFilterOffset)
		}
	}
	for _, key := range slices.Sorted(maps.Keys(metadata)) {
		footer.KeyValueMetadata = append(footer.KeyValueMetadata, format.KeyValue{Key: key, Value: metadata[key]})
	}
	var encoded bytes.Buffer
	if err := thrift.NewEncoder(new(thrift.CompactProtocol).NewWriter(&encoded)).Encode(&footer); err != nil {
		return err
	}
	length := binary.LittleEndian.AppendUint32(nil, uint32(encoded.Len()))
	for _, p := range [][]byte{encoded.Bytes(), length, []byte(magic)} {
		if _, err := w.Write(p); err != nil {
			return err
		}
	}
	return nil
}

func (f *File) writeGroup(w *counter, group []stored) (format.RowGroup, error) {
	written := format.RowGroup{FileOffset: w.n}
	for i, stored := range group {
		if stored.chunk == nil {
			return written, fmt.Errorf("column %s is missing", f.layout.columns[i].Name())
		}
		if i == 0 {
			written.NumRows = stored.chunk.rows
		}
		if stored.chunk.rows != written.NumRows {
			return written, fmt.Errorf("column %s has %d rows where %s has %d",
				f.layout.columns[i].Name(), stored.chunk.rows, f.layout.columns[0].Name(), written.NumRows)
		}
		meta := stored.chunk.meta
		if meta.EncodingStats[0].PageType == format.DictionaryPage {
			meta.DictionaryPageOffset = w.n
		}
		meta.DataPageOffset += w.n
		written.TotalByteSize += meta.TotalUncompressedSize
		written.TotalCompressedSize += meta.TotalCompressedSize
		written.Columns = append(written.Columns, format.ColumnChunk{MetaData: meta})
		if _, err := io.Copy(w, io.NewSectionReader(f.spool, stored.at, meta.TotalCompressedSize)); err != nil {
			return written, err
		}
	}
	return written, nil
}

func writeFilter(w *counter, filter []byte) error {
	header := format.BloomFilterHeader{
		NumBytes:    int32(len(filter)),
		Algorithm:   format.BloomFilterAlgorithm{Value: &format.SplitBlockAlgorithm{}},
		Hash:        format.BloomFilterHash{Value: &format.XxHash{}},
		Compression: format.BloomFilterCompression{Value: &format.BloomFilterUncompressed{}},
	}
	var encoded bytes.Buffer
	if err := thrift.NewEncoder(new(thrift.CompactProtocol).NewWriter(&encoded)).Encode(&header); err != nil {
		return err
	}
	if _, err := w.Write(encoded.Bytes()); err != nil {
		return err
	}
	_, err := w.Write(filter)
	return err
}

// counter counts what goes through it, which is where the next byte will lie.
type counter struct {
	to io.Writer
	n  int64
}

func (c *counter) Write(p []byte) (int, error) {
	n, err := c.to.Write(p)
	c.n += int64(n)
	return n, err
}
