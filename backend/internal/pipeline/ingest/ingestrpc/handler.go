// Package ingestrpc serves the front door over HTTP: Connect, gRPC, gRPC-Web and
// the plain aliases. It owns transport alone: keys in headers, compression,
// size, CORS, status codes. What an event must be is ingest's.
package ingestrpc

import (
	"context"
	"errors"
	"log/slog"
	"maps"
	"math"
	"mime"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/causality-project/causality/backend/internal/account/identity"
	"github.com/causality-project/causality/backend/internal/pipeline/ingest"
	"github.com/causality-project/causality/backend/internal/pipeline/stream"
	"github.com/causality-project/causality/backend/internal/platform/event"
	"github.com/causality-project/causality/backend/internal/platform/fault"
	"github.com/causality-project/causality/proto/gen/causality/ingest/v1/ingestv1connect"
	"github.com/prometheus/client_golang/prometheus"
)

// Headers of senders that hold a secret key or sit on the machine.
const (
	AppHeader  = "Causality-App"  // the app, by id or name
	LaneHeader = "Causality-Lane" // "import": behind live events
)

// Authenticator knows who sits on the machine itself; identity.Authenticator is
// one. It is asked only when no key was sent.
type Authenticator interface {
	FromRequest(ctx context.Context, r *http.Request) (identity.Principal, error)
}

// Config wires a Handler. Front, Authenticator, Metrics and Logger are required.
type Config struct {
	Front         *ingest.Front
	Authenticator Authenticator
	// Paths are other names for every ingest path, which ad blockers do not
	// know: see PathsOf.
	Paths   []string
	Metrics prometheus.Registerer
	Logger  *slog.Logger
}

// Handler serves every ingest path, CORS included: pages of any origin may send
// with a write key, and no cookie is ever read for it.
type Handler struct {
	cfg      Config
	grpc     http.Handler
	requests *prometheus.CounterVec
	seconds  prometheus.Histogram
}

// New makes a handler.
func New(cfg Config) (*Handler, error) {
	if cfg.Front == nil || cfg.Authenticator == nil || cfg.Metrics == nil || cfg.Logger == nil {
		return nil, errors.New("ingestrpc: Front, Authenticator, Metrics and Logger are required")
	}
	h := &Handler{
		cfg: cfg,
		requests: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "causality_ingest_requests_total",
			Help: "Ingest requests, by HTTP status.",
		}, []string{"status"}),
		seconds: prometheus.NewHistogram(prometheus.HistogramOpts{
			Name:    "causality_ingest_request_seconds",
			Help:    "From the request's headers to its durable answer.",
			Buckets: []float64{.0005, .001, .002, .005, .01, .015, .025, .05, .1, .25, 1, 5},
		}),
	}
	h.grpc = h.newGRPC()
	for _, c := range []prometheus.Collector{h.requests, h.seconds} {
		if err := cfg.Metrics.Register(c); err != nil {
			return nil, err
		}
	}
	return h, nil
}

type route uint8

const (
	rpcRoute route = iota
	eventsRoute
	batchRoute
	aliasRoute // any of them, told apart by the content type
)

// Register mounts every path. Each handler answers all methods itself, so that
// preflights and wrong methods are answered here, too.
func (h *Handler) Register(handle func(path string, handler http.Handler)) {
	for path, to := range h.paths() {
		handle(path, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { h.serve(w, r, to) }))
	}
}

// PathsOf lists what another name of the ingest paths answers: /c takes what the
// RPC takes and protobuf with any other content type, so that one path serves
// requests and beacons alike; /c/events and /c/batch are /v1/events and
// /v1/batch; and below /c is the RPC, for an SDK whose host is https://…/c.
func PathsOf(name string) []string {
	var out []string
	for path := range aliases(name) {
		out = append(out, path)
	}
	return out
}

func aliases(name string) map[string]route {
	return map[string]route{
		name:             aliasRoute,
		name + "/events": eventsRoute,
		name + "/batch":  batchRoute,
		name + ingestv1connect.IngestServiceIngestProcedure: rpcRoute,
	}
}

func (h *Handler) paths() map[string]route {
	paths := map[string]route{
		ingestv1connect.IngestServiceIngestProcedure: rpcRoute,
		"/v1/events": eventsRoute,
		"/v1/batch":  batchRoute,
	}
	for _, name := range h.cfg.Paths {
		maps.Copy(paths, aliases(name))
	}
	return paths
}

func (h *Handler) serve(w http.ResponseWriter, r *http.Request, to route) {
	header := w.Header()
	header["Access-Control-Allow-Origin"] = []string{"*"}
	header["Access-Control-Expose-Headers"] = []string{"Retry-After, Grpc-Status, Grpc-Message, Grpc-Status-Details-Bin"}
	switch r.Method {
	case http.MethodPost:
	case http.MethodOptions:
		header.Set("Access-Control-Allow-Methods", "POST, OPTIONS")
		header.Set("Access-Control-Allow-Headers", "Authorization, Content-Type, Content-Encoding, Connect-Protocol-Version, Connect-Timeout-Ms, Grpc-Timeout, X-Grpc-Web, X-User-Agent, Traceparent, Causality-App, Causality-Lane, Causality-Workspace")
		header.Set("Access-Control-Max-Age", "86400")
		w.WriteHeader(http.StatusNoContent)
		return
	default:
		header.Set("Allow", "POST, OPTIONS")
		writeError(w, http.StatusMethodNotAllowed, "unimplemented", "Events are sent with POST.", nil)
		return
	}
	started := time.Now()
	status := http.StatusOK
	switch kind := mediaType(r); {
	case (to == rpcRoute || to == aliasRoute) && strings.HasPrefix(kind, "application/grpc"):
		h.grpc.ServeHTTP(w, r) // its status travels in trailers
	case to == rpcRoute && kind != "application/proto" && kind != "application/json":
		status = http.StatusUnsupportedMediaType
		header.Set("Accept-Post", "application/proto, application/json, application/grpc, application/grpc-web")
		writeError(w, status, "invalid_argument", "The content type "+strconv.Quote(kind)+" is not read here. Send application/proto or application/json, or JSON with any content type to /v1/events.", nil)
	default:
		asJSON := to == eventsRoute || to != batchRoute && kind == "application/json"
		status = h.unary(w, r, to, asJSON)
	}
	h.seconds.Observe(time.Since(started).Seconds())
	h.requests.WithLabelValues(strconv.Itoa(status)).Inc()
}

func mediaType(r *http.Request) string {
	kind := r.Header.Get("Content-Type")
	if kind == "application/proto" || kind == "application/json" {
		return kind
	}
	parsed, _, err := mime.ParseMediaType(kind)
	if err != nil {
		return kind
	}
	return parsed
}

// unary serves one request and answers in its own format; /v1/batch and other
// names of it answer JSON to those who ask for it.
func (h *Handler) unary(w http.ResponseWriter, r *http.Request, to route, asJSON bool) int {
	ctx := r.Context()
	if ms := r.Header.Get("Connect-Timeout-Ms"); ms != "" && (to == rpcRoute || to == aliasRoute) {
		if n, err := strconv.ParseInt(ms, 10, 64); err == nil && n > 0 && n < int64(time.Hour/time.Millisecond) {
			var cancel context.CancelFunc
			ctx, cancel = context.WithTimeout(ctx, time.Duration(n)*time.Millisecond)
			defer cancel()
		}
	}
	req, err := h.request(ctx, r)
	if err != nil {
		return h.fail(ctx, w, err)
	}
	if asJSON {
		req.Format = ingest.JSON
	}
	buf, err := readBody(r, bodyLimit(req.Browser))
	if err != nil {
		return h.fail(ctx, w, err)
	}
	defer buf.free()
	req.Body = buf.bytes
	answer, err := h.cfg.Front.Accept(ctx, req)
	if err != nil {
		return h.fail(ctx, w, err)
	}
	var out [256]byte
	if asJSON || to != rpcRoute && strings.Contains(r.Header.Get("Accept"), "application/json") {
		w.Header()["Content-Type"] = []string{"application/json"}
		_, _ = w.Write(appendAnswerJSON(out[:0], &answer))
	} else {
		w.Header()["Content-Type"] = []string{"application/proto"}
		_, _ = w.Write(appendAnswerProto(out[:0], &answer))
	}
	return http.StatusOK
}

// request learns who sends, before anything of the body is read.
func (h *Handler) request(ctx context.Context, r *http.Request) (*ingest.Request, error) {
	req := &ingest.Request{
		Browser:   r.Header.Get("Origin") != "",
		UserAgent: r.UserAgent(),
		Lane:      stream.Live,
	}
	raw, err := keyOf(r)
	if err != nil {
		return nil, err
	}
	app := r.Header.Get(AppHeader)
	if raw == "" {
		who, authErr := h.cfg.Authenticator.FromRequest(ctx, r)
		switch {
		case authErr == nil && who.Kind == identity.Local:
			req.Sender, err = h.cfg.Front.LocalSender(ctx, who.WorkspaceID, app)
		case fault.Is(authErr, fault.Unavailable):
			err = authErr
		default:
			req.Sender, err = h.cfg.Front.SenderByKey(ctx, "", "")
		}
	} else {
		req.Sender, err = h.cfg.Front.SenderByKey(ctx, raw, app)
	}
	if err != nil {
		return nil, err
	}
	switch lane := r.Header.Get(LaneHeader); {
	case lane == "" || lane == string(stream.Live):
	case lane != string(stream.Import):
		return nil, fault.New(fault.Invalid, "The header Causality-Lane knows \"live\" and \"import\" only.")
	case !req.Sender.Trusted:
		return nil, fault.New(fault.Denied, "The import lane needs a secret key (sk_…).")
	default:
		req.Lane = stream.Import
	}
	return req, h.cfg.Front.Spent(&req.Sender)
}

func keyOf(r *http.Request) (string, error) {
	if header := r.Header.Get("Authorization"); header != "" {
		scheme, raw, _ := strings.Cut(header, " ")
		if raw = strings.TrimSpace(raw); !strings.EqualFold(scheme, "Bearer") || raw == "" {
			return "", fault.New(fault.Unauthenticated, "The Authorization header is not \"Bearer wk_…\".")
		}
		return raw, nil
	}
	if r.URL.RawQuery == "" {
		return "", nil
	}
	return r.URL.Query().Get("key"), nil
}

func bodyLimit(browser bool) int {
	if browser {
		return event.MaxBrowserBytes
	}
	return event.MaxRequestBytes
}

// fail answers an error in Connect's form. Only faults have words for people.
func (h *Handler) fail(ctx context.Context, w http.ResponseWriter, err error) int {
	status, code := http.StatusInternalServerError, "internal"
	message := "Something went wrong on the server; nothing was accepted. Send again later."
	var fields []fault.Field
	var f *fault.Error
	if errors.As(err, &f) && f.Kind != fault.Internal {
		message, fields = f.Message, f.Fields
		if f.RetryAfter > 0 {
			w.Header().Set("Retry-After", strconv.Itoa(int(math.Ceil(f.RetryAfter.Seconds()))))
		}
	}
	switch fault.KindOf(err) {
	case fault.Invalid, fault.NotFound, fault.Conflict, fault.Unsupported:
		status, code = http.StatusBadRequest, "invalid_argument"
	case fault.Unauthenticated:
		status, code = http.StatusUnauthorized, "unauthenticated"
	case fault.Denied:
		status, code = http.StatusForbidden, "permission_denied"
	case fault.TooLarge:
		status, code = http.StatusRequestEntityTooLarge, "resource_exhausted"
	case fault.RateLimited, fault.Exhausted:
		status, code = http.StatusTooManyRequests, "resource_exhausted"
	case fault.Unavailable:
		status, code = http.StatusServiceUnavailable, "unavailable"
		if w.Header().Get("Retry-After") == "" {
			w.Header().Set("Retry-After", "5")
		}
		h.cfg.Logger.WarnContext(ctx, "ingest is unavailable", "err", err)
	case fault.Canceled:
		status, code, message = 499, "canceled", "The request ended before its answer."
		if errors.Is(err, context.DeadlineExceeded) || errors.Is(ctx.Err(), context.DeadlineExceeded) {
			status, code = http.StatusGatewayTimeout, "deadline_exceeded"
		}
	default:
		h.cfg.Logger.ErrorContext(ctx, "ingest failed", "err", err)
	}
	writeError(w, status, code, message, fields)
	return status
}
