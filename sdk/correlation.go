package causality

import (
	"context"
	crand "crypto/rand"
	"encoding/binary"
	"encoding/hex"
	"net/http"
	"strings"
	"time"

	"github.com/causality-project/causality/sdk/core"
)

// CorrelationHeader carries a correlation id from service to service.
const CorrelationHeader = "X-Correlation-Id"

type correlationKey struct{}

// WithCorrelationID names the request or job that a context belongs to. Every
// event recorded with the context has the id, unless it names another. An id that
// no event can have, because it is longer than 200 characters or not plain printable
// ASCII, is left out.
func WithCorrelationID(ctx context.Context, id string) context.Context {
	if !isCorrelationID(id) {
		return ctx
	}
	return context.WithValue(ctx, correlationKey{}, id)
}

// CorrelationID is the id that WithCorrelationID, Correlate or Middleware gave a
// context, or nothing.
func CorrelationID(ctx context.Context) string {
	id, _ := ctx.Value(correlationKey{}).(string)
	return id
}

// Correlate gives a context the correlation id of a request by its header: its
// CorrelationHeader; else the id that the context already has; else the trace id of
// its traceparent; else a new one. Middleware and the interceptors are made of it.
func Correlate(ctx context.Context, header http.Header) context.Context {
	id := header.Get(CorrelationHeader)
	if !isCorrelationID(id) {
		if CorrelationID(ctx) != "" {
			return ctx
		}
		if id = traceID(header.Get("Traceparent")); id == "" {
			id = newCorrelationID()
		}
	}
	return WithCorrelationID(ctx, id)
}

// Middleware gives each request's context its correlation id, as Correlate finds
// it, and answers with it in CorrelationHeader.
func Middleware(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		ctx := Correlate(r.Context(), r.Header)
		w.Header().Set(CorrelationHeader, CorrelationID(ctx))
		next.ServeHTTP(w, r.WithContext(ctx))
	})
}

// Propagate puts the correlation id of each request's context into its
// CorrelationHeader, for calls to services of your own. A header that is set stays.
// Without a transport it uses http.DefaultTransport.
func Propagate(transport http.RoundTripper) http.RoundTripper {
	if transport == nil {
		transport = http.DefaultTransport
	}
	return propagator{transport}
}

type propagator struct{ next http.RoundTripper }

func (p propagator) RoundTrip(r *http.Request) (*http.Response, error) {
	if id := CorrelationID(r.Context()); id != "" && r.Header.Get(CorrelationHeader) == "" {
		r = r.Clone(r.Context()) // the caller's request is not a transport's to change
		r.Header.Set(CorrelationHeader, id)
	}
	return p.next.RoundTrip(r)
}

func (p propagator) CloseIdleConnections() {
	if closer, ok := p.next.(interface{ CloseIdleConnections() }); ok {
		closer.CloseIdleConnections()
	}
}

func isCorrelationID(id string) bool {
	return id != "" && len(id) <= core.MaxNameLength &&
		!strings.ContainsFunc(id, func(r rune) bool { return r <= ' ' || r > '~' })
}

// traceID reads the second part of a W3C traceparent, for example
// 00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01.
func traceID(traceparent string) string {
	version, rest, _ := strings.Cut(traceparent, "-")
	id, _, found := strings.Cut(rest, "-")
	if !found || len(version) != 2 || version == "ff" || len(id) != 32 || strings.Trim(id, "0") == "" ||
		strings.ContainsFunc(id, func(r rune) bool { return !strings.ContainsRune("0123456789abcdef", r) }) {
		return ""
	}
	return id
}

// newCorrelationID makes a UUIDv7.
func newCorrelationID() string {
	var id [16]byte
	_, _ = crand.Read(id[:]) // cannot fail: the runtime ends the process instead
	binary.BigEndian.PutUint64(id[:], uint64(time.Now().UnixMilli())<<16|7<<12|uint64(id[6]&0xf)<<8|uint64(id[7]))
	id[8] = 1<<7 | id[8]&(1<<6-1)
	text := hex.EncodeToString(id[:])
	return text[:8] + "-" + text[8:12] + "-" + text[12:16] + "-" + text[16:20] + "-" + text[20:]
}
