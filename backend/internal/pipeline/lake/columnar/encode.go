package columnar

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"math"

	"github.com/parquet-go/parquet-go/compress/zstd"
	"github.com/parquet-go/parquet-go/encoding/delta"
	"github.com/parquet-go/parquet-go/encoding/rle"
	"github.com/parquet-go/parquet-go/encoding/thrift"
	"github.com/parquet-go/parquet-go/format"
)

const (
	pageRows  = 20_480  // of codes and numbers: a sixth of a row group
	pageBytes = 1 << 20 // of texts
	// A least or greatest text that is longer is left out of the footer.
	boundBytes = 256
)

// Encoder turns columns into chunks, one at a time. It is not for concurrent use.
type Encoder struct {
	codec  zstd.Codec
	chunk  Chunk
	column *Column

	levels []byte   // by row of the chunk, 1: has a value
	used   []int32  // the chunk's own codes to those of the dictionary
	own    []int32  // by code of the dictionary: the chunk's own + 1
	codes  []int32  // by value of the chunk
	ints   []int64  // likewise
	table  []uint32 // of distinct ints: position in ints of the dictionary + 1
	body   []byte
	packed []byte
	encode []byte
	header bytes.Buffer
	thrift *thrift.Encoder
}

// NewEncoder makes an encoder that compresses as hard as level says.
func NewEncoder(level zstd.Level) *Encoder {
	e := &Encoder{codec: zstd.Codec{Level: level, Concurrency: 1}}
	e.thrift = thrift.NewEncoder(new(thrift.CompactProtocol).NewWriter(&e.header))
	return e
}

// Texts encodes a column of texts, given as codes of a dictionary or Absent.
func (e *Encoder) Texts(column *Column, codes []int32, dictionary *Dictionary) (*Chunk, error) {
	e.begin(column, len(codes))
	if len(e.own) < dictionary.Len() {
		e.own = make([]int32, dictionary.Len()+dictionary.Len()/4)
	}
	e.used, e.codes = e.used[:0], e.codes[:0]
	for i, code := range codes {
		if code < 0 {
			e.levels[i] = 0
			continue
		}
		e.levels[i] = 1
		own := e.own[code]
		if own == 0 {
			e.used = append(e.used, code)
			own = int32(len(e.used))
			e.own[code] = own
		}
		e.codes = append(e.codes, own-1)
	}
	size := 0
	var least, greatest []byte
	for _, code := range e.used {
		e.own[code] = 0
		text := dictionary.Text(code)
		size += 4 + len(text)
		if least == nil || bytes.Compare(text, least) < 0 {
			least = text
		}
		if greatest == nil || bytes.Compare(text, greatest) > 0 {
			greatest = text
		}
	}
	if !column.noBounds && len(e.used) > 0 && len(least) <= boundBytes && len(greatest) <= boundBytes {
		e.chunk.meta.Statistics.MinValue, e.chunk.meta.Statistics.MaxValue = bytes.Clone(least), bytes.Clone(greatest)
	}
	if e.worthDictionary(len(e.used)) {
		e.body = e.body[:0]
		for _, code := range e.used {
			text := dictionary.Text(code)
			e.body = append(binary.LittleEndian.AppendUint32(e.body, uint32(len(text))), text...)
		}
		return e.dictionaryPages(len(e.used))
	}
	values := e.codes
	return e.plainPages(func(n int) {
		for _, own := range values[:n] {
			text := dictionary.Text(e.used[own])
			e.body = append(binary.LittleEndian.AppendUint32(e.body, uint32(len(text))), text...)
		}
		values = values[n:]
	}, min(pageRows, max(1024, pageBytes/max(1, size/max(1, len(e.used))))))
}

// worthDictionary reports whether codes are worth their indirection: when most
// values differ they are not.
func (e *Encoder) worthDictionary(distinct int) bool {
	return distinct > 0 && distinct <= max(1, len(e.codes)/2)
}

// Encoding is how a column of numbers is best kept.
type Encoding int

const (
	Coded  Encoding = iota // few distinct values: a dictionary, or plain when they are many
	Deltas                 // numbers near the one before
	Plain
)

// Int64s encodes a column of 64-bit values, those with a fraction as their bits,
// or of days, where absent stands for a value that a row does not have.
func (e *Encoder) Int64s(column *Column, values []int64, absent int64, encoding Encoding) (*Chunk, error) {
	e.begin(column, len(values))
	e.ints = e.ints[:0]
	for i, value := range values {
		if value == absent && column.optional() {
			e.levels[i] = 0
			continue
		}
		e.levels[i] = 1
		e.ints = append(e.ints, value)
	}
	e.bound()
	if encoding == Coded && e.code() {
		return e.dictionaryPages(len(e.used))
	}
	ints := e.ints
	if column.filter != nil {
		e.fill(ints)
	}
	switch {
	case encoding == Deltas && column.physical() == format.Int64:
		e.chunk.meta.Encoding = []format.Encoding{format.DeltaBinaryPacked, format.RLE}
		return e.pages(format.DeltaBinaryPacked, func(n int) error {
			var err error
			e.encode, err = new(delta.BinaryPackedEncoding).EncodeInt64(e.encode[:0], ints[:n])
			e.body, ints = append(e.body, e.encode...), ints[n:]
			return err
		}, pageRows)
	default:
		return e.plainPages(func(n int) { e.body, ints = e.appendPlain(e.body, ints[:n]), ints[n:] }, pageRows)
	}
}

// code gives e.ints codes, and their dictionary to e.body, unless most differ.
func (e *Encoder) code() bool {
	size := 1024
	for size < 2*len(e.ints) {
		size *= 2
	}
	if len(e.table) < size {
		e.table = make([]uint32, size)
	}
	table := e.table[:size]
	clear(table)
	e.codes, e.used, e.body = e.codes[:0], e.used[:0], e.body[:0]
	most := max(1, len(e.ints)*7/10) // codes take about 2 bytes of the 8 that they save
	for i, value := range e.ints {
		if i > 0 && value == e.ints[i-1] {
			e.codes = append(e.codes, e.codes[i-1])
			continue
		}
		at := uint64(value) * 0x9e3779b97f4a7c15 >> 32 & uint64(size-1)
		for table[at] != 0 && e.ints[e.used[table[at]-1]] != value {
			at = (at + 1) & uint64(size-1)
		}
		if table[at] == 0 {
			if len(e.used) == most {
				return false
			}
			e.used = append(e.used, int32(i))
			table[at] = uint32(len(e.used))
		}
		e.codes = append(e.codes, int32(table[at]-1))
	}
	if len(e.used) == 0 {
		return false
	}
	distinct := make([]int64, len(e.used))
	for i, at := range e.used {
		distinct[i] = e.ints[at]
	}
	if e.column.filter != nil {
		e.fill(distinct)
	}
	e.body = e.appendPlain(e.body, distinct)
	return true
}

func (e *Encoder) appendPlain(body []byte, values []int64) []byte {
	if e.column.physical() == format.Int32 {
		for _, value := range values {
			body = binary.LittleEndian.AppendUint32(body, uint32(value))
		}
		return body
	}
	for _, value := range values {
		body = binary.LittleEndian.AppendUint64(body, uint64(value))
	}
	return body
}

// fill makes the chunk's filter of the values.
func (e *Encoder) fill(values []int64) {
	e.chunk.filter = make([]byte, e.column.filter.Size(int64(len(values))))
	e.chunk.filter, _ = e.column.filter.Encoding().EncodeInt64(e.chunk.filter, values) // refuses no values
}

// bound notes the least and the greatest of e.ints.
func (e *Encoder) bound() {
	if e.column.noBounds || len(e.ints) == 0 {
		return
	}
	least, greatest := e.ints[0], e.ints[0]
	if e.column.physical() == format.Double {
		for _, value := range e.ints {
			f := math.Float64frombits(uint64(value))
			if math.IsNaN(f) {
				return // has no place in the order
			}
			if f < math.Float64frombits(uint64(least)) {
				least = value
			}
			if f > math.Float64frombits(uint64(greatest)) {
				greatest = value
			}
		}
		// The format asks for it: a reader must find both zeros between them.
		if math.Float64frombits(uint64(least)) == 0 {
			least = int64(math.Float64bits(math.Copysign(0, -1)))
		}
		if math.Float64frombits(uint64(greatest)) == 0 {
			greatest = 0
		}
	} else {
		for _, value := range e.ints {
			least, greatest = min(least, value), max(greatest, value)
		}
	}
	s := &e.chunk.meta.Statistics
	s.MinValue, s.MaxValue = e.appendPlain(nil, []int64{least}), e.appendPlain(nil, []int64{greatest})
}

// UUIDs encodes a column of 16-byte values that all rows have.
func (e *Encoder) UUIDs(column *Column, rows int, value func(row int) *[16]byte) (*Chunk, error) {
	e.begin(column, rows)
	if column.filter != nil {
		all := make([]byte, 0, 16*rows)
		for row := range rows {
			all = append(all, value(row)[:]...)
		}
		e.chunk.filter = make([]byte, column.filter.Size(int64(rows)))
		e.chunk.filter, _ = column.filter.Encoding().EncodeFixedLenByteArray(e.chunk.filter, all, 16)
	}
	row := 0
	return e.plainPages(func(n int) {
		for range n {
			e.body = append(e.body, value(row)[:]...)
			row++
		}
	}, pageRows)
}

// Stream is a chunk of texts that come one by one. Several streams may be open
// over one encoder.
type Stream struct {
	column *Column
	chunk  Chunk
	levels []byte
	values []byte
	count  int32 // pages
}

// NewStream starts a chunk.
func NewStream(column *Column) *Stream {
	s := &Stream{column: column}
	s.reset()
	return s
}

// Rows is how many the chunk has so far.
func (s *Stream) Rows() int { return int(s.chunk.rows) }

// Add appends the next row's text; nil: it has none.
func (s *Stream) Add(e *Encoder, text []byte) error {
	s.chunk.rows++
	if text == nil {
		s.levels = append(s.levels, 0)
	} else {
		s.levels = append(s.levels, 1)
		s.values = append(binary.LittleEndian.AppendUint32(s.values, uint32(len(text))), text...)
	}
	if len(s.values) < pageBytes {
		return nil
	}
	return s.page(e)
}

func (s *Stream) page(e *Encoder) error {
	before, column := e.chunk, e.column
	defer func() { e.chunk, e.column = before, column }()
	e.chunk, e.column = s.chunk, s.column
	if err := e.beginPage(s.levels); err != nil {
		return err
	}
	e.present(s.levels)
	e.body = append(e.body, s.values...)
	if err := e.dataPage(format.Plain, len(s.levels)); err != nil {
		return err
	}
	s.chunk = e.chunk
	s.count++
	s.levels, s.values = s.levels[:0], s.values[:0]
	return nil
}

// Finish ends the chunk, which is valid until the next Add; that starts another.
func (s *Stream) Finish(e *Encoder) (Chunk, error) {
	if len(s.levels) > 0 {
		if err := s.page(e); err != nil {
			return Chunk{}, err
		}
	}
	done := s.chunk
	done.meta.Encoding = []format.Encoding{format.Plain, format.RLE}
	done.meta.EncodingStats = []format.PageEncodingStats{{PageType: format.DataPage, Encoding: format.Plain, Count: s.count}}
	s.reset()
	return done, nil
}

func (s *Stream) reset() {
	s.chunk, s.count = Chunk{Pages: s.chunk.Pages[:0], meta: metaOf(s.column)}, 0
}

func metaOf(column *Column) format.ColumnMetaData {
	return format.ColumnMetaData{Type: column.physical(), PathInSchema: []string{column.Name()}, Codec: format.Zstd}
}

func (e *Encoder) begin(column *Column, rows int) {
	e.column = column
	e.chunk = Chunk{Pages: e.chunk.Pages[:0], rows: int64(rows), meta: metaOf(column)}
	if cap(e.levels) < rows {
		e.levels = make([]byte, rows)
	}
	e.levels = e.levels[:rows]
	if !column.optional() {
		for i := range e.levels {
			e.levels[i] = 1
		}
	}
}

// dictionaryPages ends the chunk with e.body as the dictionary and pages of e.codes.
func (e *Encoder) dictionaryPages(distinct int) (*Chunk, error) {
	e.chunk.meta.Encoding = []format.Encoding{format.Plain, format.RLE, format.RLEDictionary}
	e.chunk.meta.EncodingStats = []format.PageEncodingStats{{PageType: format.DictionaryPage, Encoding: format.Plain, Count: 1}}
	err := e.page(format.PageHeader{Type: format.DictionaryPage, DictionaryPageHeader: thrift.New(format.DictionaryPageHeader{
		NumValues: int32(distinct), Encoding: format.Plain,
	})})
	if err != nil {
		return nil, err
	}
	codes := e.codes
	e.chunk.meta.DataPageOffset = int64(len(e.chunk.Pages))
	return e.pages(format.RLEDictionary, func(n int) (err error) {
		e.encode, err = new(rle.DictionaryEncoding).EncodeInt32(e.encode[:0], codes[:n])
		e.body, codes = append(e.body, e.encode...), codes[n:]
		return err
	}, pageRows)
}

func (e *Encoder) plainPages(appendValues func(n int), rows int) (*Chunk, error) {
	e.chunk.meta.Encoding = []format.Encoding{format.Plain, format.RLE}
	return e.pages(format.Plain, func(n int) error { appendValues(n); return nil }, rows)
}

// pages ends the chunk with its data pages. appendValues appends the next n
// values to e.body.
func (e *Encoder) pages(encoding format.Encoding, appendValues func(n int) error, rows int) (*Chunk, error) {
	var count int32
	for start := 0; start < len(e.levels) || count == 0; start += rows {
		levels := e.levels[start:min(start+rows, len(e.levels))]
		if err := e.beginPage(levels); err != nil {
			return nil, err
		}
		if err := appendValues(e.present(levels)); err != nil {
			return nil, fmt.Errorf("encode column %s: %w", e.column.Name(), err)
		}
		if err := e.dataPage(encoding, len(levels)); err != nil {
			return nil, err
		}
		count++
	}
	e.chunk.meta.EncodingStats = append(e.chunk.meta.EncodingStats, format.PageEncodingStats{PageType: format.DataPage, Encoding: encoding, Count: count})
	return &e.chunk, nil
}

func (e *Encoder) present(levels []byte) (n int) {
	for _, level := range levels {
		n += int(level)
	}
	e.chunk.meta.Statistics.NullCount += int64(len(levels) - n)
	return n
}

// beginPage starts e.body with the levels of a page.
func (e *Encoder) beginPage(levels []byte) (err error) {
	e.body = e.body[:0]
	if !e.column.optional() {
		return nil
	}
	if e.encode, err = (&rle.Encoding{BitWidth: 1}).EncodeLevels(e.encode[:0], levels); err != nil {
		return fmt.Errorf("encode column %s: %w", e.column.Name(), err)
	}
	e.body = append(binary.LittleEndian.AppendUint32(e.body, uint32(len(e.encode))), e.encode...)
	return nil
}

func (e *Encoder) dataPage(encoding format.Encoding, rows int) error {
	e.chunk.meta.NumValues += int64(rows)
	return e.page(format.PageHeader{Type: format.DataPage, DataPageHeader: thrift.New(format.DataPageHeader{
		NumValues: int32(rows), Encoding: encoding, DefinitionLevelEncoding: format.RLE, RepetitionLevelEncoding: format.RLE,
	})})
}

// page compresses e.body into a page of the chunk.
func (e *Encoder) page(header format.PageHeader) (err error) {
	if len(e.body) > math.MaxInt32/2 {
		return fmt.Errorf("encode column %s: a page of %d bytes is too large", e.column.Name(), len(e.body))
	}
	if e.packed, err = e.codec.Encode(e.packed[:0], e.body); err != nil {
		return fmt.Errorf("compress column %s: %w", e.column.Name(), err)
	}
	header.UncompressedPageSize, header.CompressedPageSize = int32(len(e.body)), int32(len(e.packed))
	header.CRC = int32(crc32.ChecksumIEEE(e.packed))
	e.header.Reset()
	if err := e.thrift.Encode(&header); err != nil {
		return fmt.Errorf("encode page of column %s: %w", e.column.Name(), err)
	}
	e.chunk.Pages = append(append(e.chunk.Pages, e.header.Bytes()...), e.packed...)
	e.chunk.meta.TotalUncompressedSize += int64(e.header.Len() + len(e.body))
	e.chunk.meta.TotalCompressedSize += int64(e.header.Len() + len(e.packed))
	return nil
}
