package web

import (
	"bufio"
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"runtime/debug"
	"strconv"
	"strings"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

type (
	requestKey   struct{}
	referenceKey struct{}
)

// reference names one request in the log and in the error that a person sees.
func reference(ctx context.Context) string {
	ref, _ := ctx.Value(referenceKey{}).(string)
	return ref
}

func newReference() string {
	var random [4]byte
	_, _ = rand.Read(random[:])
	return strings.ToUpper(hex.EncodeToString(random[:]))
}

const (
	// bodyTimeout is the longest that a client may take to send its body: a slow
	// one would otherwise hold a connection and its buffers for nothing.
	bodyTimeout = 60 * time.Second
	// writeTimeout is the longest that one write may wait for a client that has
	// stopped reading. Streams may last as long as they like.
	writeTimeout = 60 * time.Second
)

// observe is the outermost layer: a reference for every request, deadlines that
// follow its progress, recovery from panics, measurement, and a log line that
// leaves the query string out, where keys may stand.
func observe(log *slog.Logger, registry prometheus.Registerer, next http.Handler) http.Handler {
	requests := prometheus.NewHistogramVec(prometheus.HistogramOpts{
		Name:    "causality_http_seconds",
		Help:    "Time from a request's headers to the end of its answer, by route and status.",
		Buckets: []float64{0.001, 0.005, 0.02, 0.1, 0.5, 2, 10, 60},
	}, []string{"route", "status"})
	registry.MustRegister(requests)
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		start := time.Now()
		control := http.NewResponseController(w)
		answer := &answer{ResponseWriter: w, control: control}
		ctx := context.WithValue(r.Context(), referenceKey{}, newReference())
		r = r.WithContext(ctx)
		if r.Body != nil && r.Body != http.NoBody {
			_ = control.SetReadDeadline(start.Add(bodyTimeout))
			r.Body = &body{ReadCloser: r.Body, control: control}
		}
		defer func() {
			if panicked := recover(); panicked != nil {
				if panicked == http.ErrAbortHandler { // net/http compares it so
					panic(panicked)
				}
				log.ErrorContext(ctx, "panic", "where", r.URL.Path, "reference", reference(ctx),
					"panic", fmt.Sprint(panicked), "stack", string(debug.Stack()))
				if answer.status != 0 {
					panic(http.ErrAbortHandler) // the answer has begun: cut it, so that nobody takes it for whole
				}
				writeJSONError(answer, http.StatusInternalServerError, "internal", internalMessage(ctx))
			}
			status := answer.status
			if status == 0 {
				status = http.StatusOK
			}
			elapsed := time.Since(start)
			route := r.Pattern
			if route == "" {
				route = "none"
			}
			requests.WithLabelValues(route, strconv.Itoa(status)).Observe(elapsed.Seconds())
			level := slog.LevelDebug
			if status >= 500 && status != http.StatusServiceUnavailable {
				level = slog.LevelWarn
			}
			if log.Enabled(ctx, level) {
				log.Log(ctx, level, "request", "method", r.Method, "path", r.URL.Path, "status", status,
					"seconds", elapsed.Seconds(), "reference", reference(ctx))
			}
		}()
		next.ServeHTTP(answer, r)
	})
}

// body clears the read deadline once everything has arrived. Left standing, it
// would end the connection, and with it the request, while an answer is made.
type body struct {
	io.ReadCloser
	control *http.ResponseController
	done    bool
}

func (b *body) Read(p []byte) (int, error) {
	n, err := b.ReadCloser.Read(p)
	if errors.Is(err, io.EOF) {
		b.finish()
	}
	return n, err
}

func (b *body) Close() error {
	err := b.ReadCloser.Close()
	b.finish()
	return err
}

func (b *body) finish() {
	if !b.done {
		b.done = true
		_ = b.control.SetReadDeadline(time.Time{})
	}
}

// answer remembers the status and gives every write its own deadline.
type answer struct {
	http.ResponseWriter
	control *http.ResponseController
	status  int
}

func (a *answer) WriteHeader(status int) {
	if a.status == 0 && status >= 200 {
		a.status = status
	}
	a.ResponseWriter.WriteHeader(status)
}

func (a *answer) Write(p []byte) (int, error) {
	if a.status == 0 {
		a.status = http.StatusOK
	}
	_ = a.control.SetWriteDeadline(time.Now().Add(writeTimeout))
	return a.ResponseWriter.Write(p)
}

func (a *answer) Flush() { _ = a.FlushError() }

func (a *answer) FlushError() error {
	_ = a.control.SetWriteDeadline(time.Now().Add(writeTimeout))
	return a.control.Flush()
}

func (a *answer) Hijack() (net.Conn, *bufio.ReadWriter, error) { return a.control.Hijack() }

func (a *answer) Unwrap() http.ResponseWriter { return a.ResponseWriter }

// secure sets the headers that every answer carries.
func secure(https bool, next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		header := w.Header()
		header.Set("X-Content-Type-Options", "nosniff")
		header.Set("Referrer-Policy", "same-origin")
		if https {
			header.Set("Strict-Transport-Security", "max-age=31536000")
		}
		next.ServeHTTP(w, r)
	})
}

// clientIP is the address that the event came from: the connection's, or, when
// that is a trusted proxy, the nearest address in X-Forwarded-For that is none.
// Anything further left in that header is the client's own claim.
func clientIP(r *http.Request, trusted []netip.Prefix) (netip.Addr, bool) {
	address, err := netip.ParseAddrPort(r.RemoteAddr)
	if err != nil {
		return netip.Addr{}, false // the unix socket
	}
	ip := address.Addr().Unmap()
	hops := strings.Split(strings.Join(r.Header.Values("X-Forwarded-For"), ","), ",")
	for i := len(hops) - 1; i >= 0 && isTrusted(ip, trusted); i-- {
		hop, err := netip.ParseAddr(strings.TrimSpace(hops[i]))
		if err != nil {
			break
		}
		ip = hop.Unmap().WithZone("")
	}
	return ip, true
}

func isTrusted(ip netip.Addr, trusted []netip.Prefix) bool {
	for _, prefix := range trusted {
		if prefix.Contains(ip) {
			return true
		}
	}
	return false
}
