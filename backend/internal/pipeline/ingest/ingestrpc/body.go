package ingestrpc

import (
	"bytes"
	"errors"
	"io"
	"net/http"
	"strings"
	"sync"

	"github.com/causality-project/causality/backend/internal/platform/fault"
	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zstd"
)

// body is a pooled buffer that holds a whole request.
type body struct{ bytes []byte }

const (
	firstBody  = 64 << 10
	pooledBody = 1 << 20
)

var (
	bodies  = sync.Pool{New: func() any { return &body{bytes: make([]byte, 0, firstBody)} }}
	unzips  sync.Pool // *gzip.Reader
	unzstds sync.Pool // *zstd.Decoder
)

func (b *body) free() {
	if cap(b.bytes) <= pooledBody {
		b.bytes = b.bytes[:0]
		bodies.Put(b)
	}
}

// readBody reads and decompresses a request's body, never holding more than
// limit bytes of what comes out.
func readBody(r *http.Request, limit int) (*body, error) {
	from := io.Reader(r.Body)
	switch encoding := strings.ToLower(strings.TrimSpace(r.Header.Get("Content-Encoding"))); encoding {
	case "", "identity":
		if r.ContentLength > int64(limit) {
			return nil, errTooLarge(limit)
		}
	case "gzip":
		zip, err := openGzip(from)
		if err != nil {
			return nil, unreadable(err)
		}
		defer unzips.Put(zip)
		from = zip
	case "zstd":
		zip, err := openZstd(from)
		if err != nil {
			return nil, unreadable(err)
		}
		defer closeZstd(zip)
		from = zip
	default:
		return nil, fault.New(fault.Invalid, "The content encoding %q is not read. Send gzip, zstd or none.", encoding[:min(len(encoding), 40)])
	}
	b := bodies.Get().(*body)
	if want := int(r.ContentLength); want > cap(b.bytes) && want <= limit {
		b.bytes = make([]byte, 0, want+bytes.MinRead)
	}
	for {
		if len(b.bytes) == cap(b.bytes) {
			b.bytes = append(b.bytes, 0)[:len(b.bytes)]
		}
		n, err := from.Read(b.bytes[len(b.bytes):min(cap(b.bytes), limit+1)])
		b.bytes = b.bytes[:len(b.bytes)+n]
		if len(b.bytes) > limit {
			b.free()
			return nil, errTooLarge(limit)
		}
		if errors.Is(err, io.EOF) {
			return b, nil
		}
		if err != nil {
			b.free()
			return nil, unreadable(err)
		}
	}
}

func errTooLarge(limit int) error {
	return fault.New(fault.TooLarge, "The request is larger than %d MiB after decompression. Send fewer events at a time.", limit>>20)
}

func unreadable(err error) error {
	return fault.Wrap(err, fault.Invalid, "The body cannot be read: its compression is broken, or it was cut off.")
}

func openGzip(from io.Reader) (*gzip.Reader, error) {
	if zip, _ := unzips.Get().(*gzip.Reader); zip != nil {
		if err := zip.Reset(from); err != nil {
			unzips.Put(zip)
			return nil, err
		}
		return zip, nil
	}
	return gzip.NewReader(from)
}

// maxWindow is the most memory a zstd frame may ask for.
const maxWindow = 8 << 20

func openZstd(from io.Reader) (*zstd.Decoder, error) {
	if zip, _ := unzstds.Get().(*zstd.Decoder); zip != nil {
		return zip, zip.Reset(from)
	}
	return zstd.NewReader(from, zstd.WithDecoderConcurrency(1), zstd.WithDecoderMaxWindow(maxWindow), zstd.WithDecoderLowmem(true))
}

func closeZstd(zip *zstd.Decoder) {
	if zip.Reset(nil) == nil {
		unzstds.Put(zip)
	}
}
