package columnar

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"math"
	"math/rand/v2"
	"testing"

	"github.com/parquet-go/parquet-go"
	"github.com/parquet-go/parquet-go/compress/zstd"
)

type sample struct {
	Name   string   `parquet:"name"`
	Note   string   `parquet:"note,optional"`
	ID     [16]byte `parquet:"id,uuid"`
	At     int64    `parquet:"at,timestamp(microsecond)"`
	Key    int64    `parquet:"key,optional"`
	Price  float64  `parquet:"price,optional"`
	Day    int32    `parquet:"day,date"`
	Stream string   `parquet:"stream,optional"`
}

const none = -1 << 62

// Whatever is in the columns, few values or many, runs or none, all absent or
// all there, comes back by the general library.
func TestFilesComeBack(t *testing.T) {
	t.Parallel()
	for _, groupRows := range [][]int{{}, {1}, {7, 8, 9}, {50_000, 3}} {
		for kinds := 1; kinds < 1_000_000; kinds *= 50 {
			t.Run(fmt.Sprint(groupRows, kinds), func(t *testing.T) {
				t.Parallel()
				random := rand.New(rand.NewPCG(uint64(kinds), uint64(len(groupRows))))
				layout := MustLayoutOf(parquet.SchemaOf(sample{})).Filter("id", "key").NoBounds("id")
				spool := NewSpool(t.TempDir(), 10_000)
				defer func() {
					if err := spool.Close(); err != nil {
						t.Error(err)
					}
				}()
				file, encoder := NewFile(layout, spool, len(groupRows)), NewEncoder(zstd.SpeedFastest)
				var want []sample
				for group, n := range groupRows {
					rows := make([]sample, n)
					for i := range rows {
						if i > 0 && random.IntN(3) == 0 {
							rows[i] = rows[i-1]
							continue
						}
						k := random.IntN(kinds)
						rows[i] = sample{Name: fmt.Sprintf("name %d", k), ID: [16]byte{byte(k), 15: 1}, At: int64(k)*1e9 - 5, Day: int32(k) - 10}
						if k%3 != 1 {
							rows[i].Note, rows[i].Key, rows[i].Price, rows[i].Stream = fmt.Sprintf("note %d", k), int64(k)+1, float64(k)/4+0.25, fmt.Sprintf("stream %d %s", k, bytes.Repeat([]byte{'x'}, 50))
						}
					}
					want = append(want, rows...)
					put(t, file, group, encoder, layout, rows)
				}
				var out bytes.Buffer
				if err := file.Write(&out, map[string]string{"a": "b"}); err != nil {
					t.Fatal(err)
				}
				check(t, out.Bytes(), want, len(groupRows))
			})
		}
	}
}

func put(t *testing.T, file *File, group int, encoder *Encoder, layout *Layout, rows []sample) {
	t.Helper()
	put := func(column *Column, chunk *Chunk, err error) {
		t.Helper()
		if err == nil {
			err = file.Put(group, column, chunk)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	dictionary := NewDictionary()
	var names, notes []int32
	var ats, keys, prices, days []int64
	stream := NewStream(layout.Column("stream"))
	for _, r := range rows {
		names = append(names, dictionary.Code([]byte(r.Name)))
		ats, days = append(ats, r.At), append(days, int64(r.Day))
		var text []byte
		if r.Note == "" {
			notes, keys, prices = append(notes, Absent), append(keys, none), append(prices, none)
		} else {
			notes, keys, prices = append(notes, dictionary.Code([]byte(r.Note))), append(keys, r.Key), append(prices, bits(r.Price))
			text = []byte(r.Stream)
		}
		if err := stream.Add(encoder, text); err != nil {
			t.Fatal(err)
		}
	}
	columns := layout.Columns()
	chunk, err := encoder.Texts(columns[0], names, dictionary)
	put(columns[0], chunk, err)
	chunk, err = encoder.Texts(columns[1], notes, dictionary)
	put(columns[1], chunk, err)
	chunk, err = encoder.UUIDs(columns[2], len(rows), func(i int) *[16]byte { return &rows[i].ID })
	put(columns[2], chunk, err)
	chunk, err = encoder.Int64s(columns[3], ats, none, Deltas)
	put(columns[3], chunk, err)
	chunk, err = encoder.Int64s(columns[4], keys, none, Coded)
	put(columns[4], chunk, err)
	chunk, err = encoder.Int64s(columns[5], prices, none, Plain)
	put(columns[5], chunk, err)
	chunk, err = encoder.Int64s(columns[6], days, none, Coded)
	put(columns[6], chunk, err)
	streamed, err := stream.Finish(encoder)
	put(columns[7], &streamed, err)
}

func check(t *testing.T, data []byte, want []sample, groups int) {
	t.Helper()
	file, err := parquet.OpenFile(bytes.NewReader(data), int64(len(data)))
	if err != nil {
		t.Fatal(err)
	}
	if value, _ := file.Lookup("a"); value != "b" || len(file.RowGroups()) != groups || file.NumRows() != int64(len(want)) {
		t.Errorf("metadata %q, %d row groups of %d rows", value, len(file.RowGroups()), file.NumRows())
	}
	got := make([]sample, len(want)+1)
	reader := parquet.NewGenericReader[sample](file)
	defer reader.Close()
	n, err := reader.Read(got)
	if err != nil && !errors.Is(err, io.EOF) || n != len(want) {
		t.Fatalf("read %d rows of %d: %v", n, len(want), err)
	}
	for i := range want {
		if got[i] != want[i] {
			t.Fatalf("row %d is %+v, want %+v", i, got[i], want[i])
		}
	}
	first := 0
	for g, group := range file.RowGroups() {
		rows := want[first : first+int(group.NumRows())]
		first += len(rows)
		for i, column := range file.Metadata().RowGroups[g].Columns {
			s := column.MetaData.Statistics
			least, greatest, nulls := boundsOf(rows, i)
			if s.NullCount != nulls || !bytes.Equal(s.MinValue, least) || !bytes.Equal(s.MaxValue, greatest) {
				t.Errorf("column %d: %d nulls in %q to %q, want %d in %q to %q", i, s.NullCount, s.MinValue, s.MaxValue, nulls, least, greatest)
			}
		}
		for _, column := range []int{2, 4} {
			filter := group.ColumnChunks()[column].BloomFilter()
			for _, r := range rows[:min(len(rows), 100)] {
				value := parquet.FixedLenByteArrayValue(r.ID[:])
				if column == 4 {
					value = parquet.Int64Value(r.Key)
				}
				if column == 4 && r.Key == 0 {
					continue
				}
				if ok, err := filter.Check(value); err != nil || !ok {
					t.Fatalf("the filter of column %d denies a value that is there: %v", column, err)
				}
			}
		}
	}
}

// boundsOf is what the footer must say of a column, found by looking at each row.
func boundsOf(rows []sample, column int) (least, greatest []byte, nulls int64) {
	for _, r := range rows {
		values := []parquet.Value{parquet.ByteArrayValue([]byte(r.Name)), parquet.ByteArrayValue([]byte(r.Note)), {}, parquet.Int64Value(r.At),
			parquet.Int64Value(r.Key), parquet.DoubleValue(r.Price), parquet.Int32Value(r.Day), {}}
		v := values[column]
		if r.Note == "" && (column == 1 || column == 4 || column == 5 || column == 7) {
			nulls++
			continue
		}
		if v.IsNull() {
			continue
		}
		kind := []parquet.Type{0: parquet.ByteArrayType, 1: parquet.ByteArrayType, 3: parquet.Int64Type, 4: parquet.Int64Type, 5: parquet.DoubleType, 6: parquet.Int32Type}[column]
		if least == nil || kind.Compare(v, kindValue(kind, least)) < 0 {
			least = v.Bytes()
		}
		if greatest == nil || kind.Compare(v, kindValue(kind, greatest)) > 0 {
			greatest = v.Bytes()
		}
	}
	return least, greatest, nulls
}

func kindValue(kind parquet.Type, data []byte) parquet.Value { return kind.Kind().Value(data) }

func TestSpoolsGiveBackWhatTheyTook(t *testing.T) {
	t.Parallel()
	random := rand.New(rand.NewPCG(1, 2))
	spool := NewSpool(t.TempDir(), 1000)
	type entry struct {
		at   int64
		data []byte
	}
	var entries []entry
	for range 500 {
		data := make([]byte, random.IntN(300))
		for i := range data {
			data[i] = byte(random.Uint32())
		}
		at, err := spool.Append(data)
		if err != nil {
			t.Fatal(err)
		}
		entries = append(entries, entry{at, data})
		e := entries[random.IntN(len(entries))]
		got := make([]byte, len(e.data))
		if _, err := spool.ReadAt(got, e.at); err != nil || !bytes.Equal(got, e.data) {
			t.Fatalf("at %d: %v", e.at, err)
		}
	}
	last := entries[len(entries)-1]
	if _, err := spool.ReadAt(make([]byte, 400), last.at); !errors.Is(err, io.EOF) {
		t.Errorf("beyond the end: %v", err)
	}
	for range 2 {
		if err := spool.Close(); err != nil {
			t.Error(err)
		}
	}
}

func TestAFileLacksNoColumn(t *testing.T) {
	t.Parallel()
	layout := MustLayoutOf(parquet.SchemaOf(sample{}))
	file := NewFile(layout, NewSpool("", 1000), 1)
	if err := file.Write(io.Discard, nil); err == nil {
		t.Error("a file without its columns was written")
	}
}

func bits(f float64) int64 { return int64(math.Float64bits(f)) }
