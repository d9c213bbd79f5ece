package duckdb

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"

	"github.com/causality-project/causality/backend/internal/analysis/query"
)

// A frame is four bytes of length (big endian, of what follows), one of kind,
// and the payload.
type frameKind byte

const (
	// To the child.
	frameKeys     frameKind = 'k' // person links: pairs of int64, little endian
	frameVisitors frameKind = 'v' // changed anonymous ids: (text, int64) pairs
	frameUsers    frameKind = 'u' // changed user ids
	frameQuery    frameKind = 'q' // JSON job
	frameCancel   frameKind = 'x' // number of the job to stop

	// From the child.
	frameReady   frameKind = 'b'
	frameColumns frameKind = 'c' // JSON
	frameRows    frameKind = 'r' // cells: uvarint of length+1, 0 for NULL
	frameDone    frameKind = 'd' // JSON
	frameError   frameKind = 'e' // JSON
)

// maxFrame bounds what either side allocates for the other. One cell may be as
// large as a whole answer.
const maxFrame = 80 << 20

var errFrame = errors.New("malformed frame")

func writeFrame(w io.Writer, kind frameKind, payload []byte) error {
	if len(payload)+1 > maxFrame {
		return fmt.Errorf("%w: %d bytes", errFrame, len(payload))
	}
	header := make([]byte, 5, 5+len(payload))
	binary.BigEndian.PutUint32(header, uint32(len(payload)+1))
	header[4] = byte(kind)
	_, err := w.Write(append(header, payload...))
	return err
}

// readFrame reads into room where it fits; the payload is valid until room is
// used again.
func readFrame(r io.Reader, room []byte) (frameKind, []byte, error) {
	var header [5]byte
	if _, err := io.ReadFull(r, header[:]); err != nil {
		return 0, nil, err
	}
	n := binary.BigEndian.Uint32(header[:4])
	if n == 0 || n > maxFrame {
		return 0, nil, fmt.Errorf("%w: length %d", errFrame, n)
	}
	n--
	if uint32(cap(room)) < n {
		room = make([]byte, n)
	}
	if _, err := io.ReadFull(r, room[:n]); err != nil {
		return 0, nil, fmt.Errorf("%w: %w", errFrame, err)
	}
	return frameKind(header[4]), room[:n], nil
}

func appendCell(b []byte, text string) []byte {
	b = binary.AppendUvarint(b, uint64(len(text))+1)
	return append(b, text...)
}

func appendNull(b []byte) []byte { return append(b, 0) }

// readRow decodes the next row into row and returns what follows it.
func readRow(b []byte, row []query.Cell) ([]byte, error) {
	for i := range row {
		n, used := binary.Uvarint(b)
		if used <= 0 {
			return nil, errFrame
		}
		b = b[used:]
		if n == 0 {
			row[i] = query.Cell{Null: true}
			continue
		}
		if n--; n > uint64(len(b)) {
			return nil, errFrame
		}
		row[i] = query.Cell{Text: string(b[:n])}
		b = b[n:]
	}
	return b, nil
}

func appendPair(b []byte, from, to int64) []byte {
	return binary.LittleEndian.AppendUint64(binary.LittleEndian.AppendUint64(b, uint64(from)), uint64(to))
}

// eachPair decodes a payload of frameKeys.
func eachPair(b []byte, fn func(from, to int64) error) error {
	for ; len(b) >= 16; b = b[16:] {
		if err := fn(int64(binary.LittleEndian.Uint64(b)), int64(binary.LittleEndian.Uint64(b[8:]))); err != nil {
			return err
		}
	}
	if len(b) != 0 {
		return errFrame
	}
	return nil
}

// eachNamed decodes a payload of frameVisitors or frameUsers.
func eachNamed(b []byte, fn func(id string, to int64) error) error {
	for len(b) > 0 {
		n, used := binary.Uvarint(b)
		if used <= 0 || n > uint64(len(b)) || uint64(len(b)-used) < n+8 {
			return errFrame
		}
		b = b[used:]
		if err := fn(string(b[:n]), int64(binary.LittleEndian.Uint64(b[n:]))); err != nil {
			return err
		}
		b = b[n+8:]
	}
	return nil
}

func appendNamed(b []byte, id string, to int64) []byte {
	b = binary.AppendUvarint(b, uint64(len(id)))
	b = append(b, id...)
	return binary.LittleEndian.AppendUint64(b, uint64(to))
}

// job is a query as it travels to the child.
type job struct {
	Number      uint64   `json:"number"`
	Zone        string   `json:"zone"`
	Files       []string `json:"files"`
	Setup       []string `json:"setup"`
	SQL         string   `json:"sql"`
	Params      []any    `json:"params"`
	Trusted     bool     `json:"trusted"`
	Plan        bool     `json:"plan"` // do not run it: answer with the columns that it reads in files
	MaxRows     int64    `json:"maxRows"`
	MaxBytes    int64    `json:"maxBytes"`
	MemoryBytes int64    `json:"memoryBytes"`
	Threads     int      `json:"threads"`
	TempDir     string   `json:"tempDir"`
	TempBytes   int64    `json:"tempBytes"`
}

// failure is an error as it travels back.
type failure struct {
	Kind    uint8  `json:"kind"` // fault.Kind
	Message string `json:"message"`
	Fatal   bool   `json:"fatal"` // the child ends itself
}
