package importer

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"math/big"
	"strconv"
	"sync/atomic"
	"time"
	"unicode/utf8"

	"github.com/google/uuid"
	"github.com/parquet-go/parquet-go"
	"github.com/parquet-go/parquet-go/format"
)

// parquetReader reads flat Parquet files: every column a plain value.
type parquetReader struct {
	file    *parquet.File
	columns []string
	convert []func(parquet.Value) (Value, error)

	groups []parquet.RowGroup
	rows   parquet.Rows
	buffer []parquet.Row
	have   []parquet.Row
	line   int64
	read   atomic.Int64 // rows, for those who watch
}

func newParquetReader(in io.ReaderAt, size int64) (*parquetReader, error) {
	file, err := parquet.OpenFile(in, size)
	if err != nil {
		return nil, fmt.Errorf("the file is not readable as Parquet: %w", err)
	}
	r := &parquetReader{file: file, groups: file.RowGroups(), buffer: make([]parquet.Row, 512)}
	for _, column := range file.Root().Columns() {
		if !column.Leaf() || column.Repeated() {
			return nil, fmt.Errorf("column %q is nested; import takes flat Parquet, so unnest it or write it as JSON text first", column.Name())
		}
		r.columns = append(r.columns, column.Name())
		r.convert = append(r.convert, converter(column.Type()))
	}
	return r, nil
}

func (r *parquetReader) Columns() []string { return r.columns }

// Rows is how many the file holds.
func (r *parquetReader) Rows() int64 { return r.file.NumRows() }

func (r *parquetReader) Next() (Row, error) {
	for len(r.have) == 0 {
		if r.rows == nil {
			if len(r.groups) == 0 {
				return Row{}, io.EOF
			}
			r.rows = r.groups[0].Rows()
			r.groups = r.groups[1:]
		}
		n, err := r.rows.ReadRows(r.buffer)
		r.have = r.buffer[:n]
		if errors.Is(err, io.EOF) || (err == nil && n == 0) {
			err = r.rows.Close()
			r.rows = nil
		}
		if err != nil {
			return Row{}, fmt.Errorf("read row %d: %w", r.line+int64(n)+1, err)
		}
	}
	cells := r.have[0]
	r.have = r.have[1:]
	r.line++
	r.read.Store(r.line)
	row := Row{Line: r.line, Values: make([]Value, len(r.columns))}
	for _, cell := range cells {
		i := cell.Column()
		if i < 0 || i >= len(r.columns) || cell.IsNull() {
			continue
		}
		value, err := r.convert[i](cell)
		if err != nil {
			return Row{}, &RowError{Line: r.line, What: fmt.Sprintf("column %q: %v", r.columns[i], err)}
		}
		row.Values[i] = value
	}
	return row, nil
}

// converter chooses by the logical type, else the physical one, how a column's
// values stand as text or JSON.
func converter(kind parquet.Type) func(parquet.Value) (Value, error) {
	if annotation := kind.LogicalType(); annotation != nil {
		switch logical := annotation.Value.(type) {
		case *format.TimestampType:
			layout := time.RFC3339Nano
			if !logical.IsAdjustedToUTC {
				layout = "2006-01-02T15:04:05.999999999" // a local time: the app's zone
			}
			unit := time.Millisecond
			switch logical.Unit.Value.(type) {
			case *format.MicroSeconds:
				unit = time.Microsecond
			case *format.NanoSeconds:
				unit = time.Nanosecond
			}
			perSecond := int64(time.Second / unit)
			return func(v parquet.Value) (Value, error) {
				t := time.Unix(floorDiv(v.Int64(), perSecond), floorMod(v.Int64(), perSecond)*int64(unit)).UTC()
				return text(t.Format(layout))
			}
		case *format.DateType:
			return func(v parquet.Value) (Value, error) {
				return text(time.Unix(int64(v.Int32())*86_400, 0).UTC().Format(time.DateOnly))
			}
		case *format.DecimalType:
			scale := int(logical.Scale)
			return func(v parquet.Value) (Value, error) { return decimal(v, scale) }
		case *format.UUIDType:
			return func(v parquet.Value) (Value, error) {
				id, err := uuid.FromBytes(v.ByteArray())
				if err != nil {
					return Value{}, fmt.Errorf("the value is no UUID: %w", err)
				}
				return text(id.String())
			}
		case *format.JsonType:
			return func(v parquet.Value) (Value, error) {
				if !json.Valid(v.ByteArray()) {
					return Value{}, errors.New("the value is no JSON")
				}
				return jsonValue(bytes.Clone(v.ByteArray())), nil
			}
		case *format.IntType:
			if !logical.IsSigned {
				return func(v parquet.Value) (Value, error) {
					if v.Kind() == parquet.Int32 {
						return Value{JSON, strconv.FormatUint(uint64(v.Uint32()), 10)}, nil
					}
					return Value{JSON, strconv.FormatUint(v.Uint64(), 10)}, nil
				}
			}
		}
	}
	return func(v parquet.Value) (Value, error) {
		switch v.Kind() { // the others are bytes
		case parquet.Boolean:
			return Value{JSON, strconv.FormatBool(v.Boolean())}, nil
		case parquet.Int32:
			return Value{JSON, strconv.FormatInt(int64(v.Int32()), 10)}, nil
		case parquet.Int64:
			return Value{JSON, strconv.FormatInt(v.Int64(), 10)}, nil
		case parquet.Int96:
			return Value{}, errors.New("INT96 timestamps are obsolete; write them as TIMESTAMP")
		case parquet.Float:
			return float(float64(v.Float()), 32)
		case parquet.Double:
			return float(v.Double(), 64)
		default:
			return text(string(v.ByteArray()))
		}
	}
}

func float(f float64, bits int) (Value, error) {
	if math.IsNaN(f) || math.IsInf(f, 0) {
		return Value{}, errors.New("NaN and infinity are no numbers that JSON can hold; write null")
	}
	format := byte('f')
	if a := math.Abs(f); a != 0 && (a < 1e-6 || a >= 1e21) {
		format = 'e'
	}
	return Value{JSON, strconv.FormatFloat(f, format, -1, bits)}, nil
}

func decimal(v parquet.Value, scale int) (Value, error) {
	number := new(big.Int)
	switch v.Kind() { // the others are bytes
	case parquet.Int32:
		number.SetInt64(int64(v.Int32()))
	case parquet.Int64:
		number.SetInt64(v.Int64())
	default: // big-endian two's complement
		raw := v.ByteArray()
		number.SetBytes(raw)
		if len(raw) > 0 && raw[0]&0x80 != 0 {
			number.Sub(number, new(big.Int).Lsh(big.NewInt(1), uint(8*len(raw))))
		}
	}
	sign := ""
	if number.Sign() < 0 {
		sign = "-"
		number.Neg(number)
	}
	digits := number.String()
	for len(digits) <= scale {
		digits = "0" + digits
	}
	if scale > 0 {
		digits = digits[:len(digits)-scale] + "." + digits[len(digits)-scale:]
	}
	return Value{JSON, sign + digits}, nil
}

func text(s string) (Value, error) {
	if !utf8.ValidString(s) {
		return Value{}, errors.New("the bytes are not UTF-8 text")
	}
	return Value{Text, s}, nil
}

func floorDiv(a, b int64) int64 {
	q := a / b
	if a%b < 0 {
		q--
	}
	return q
}

func floorMod(a, b int64) int64 { return a - floorDiv(a, b)*b }
