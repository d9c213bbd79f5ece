// Package web is the HTTP face of the process: it listens, mounts every room's
// handlers, and gives all of them the same admission, errors, headers, limits
// and measurement. It decides who may call what and nothing else about a call.
package web

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"os"
	"path/filepath"
	"sync/atomic"
	"time"

	"connectrpc.com/connect"
	"connectrpc.com/otelconnect"
	"github.com/prometheus/client_golang/prometheus"
	"go.opentelemetry.io/otel/trace"

	"github.com/causality-project/causality/backend/internal/account/identity"
	"github.com/causality-project/causality/backend/internal/pipeline/ingest"

	"github.com/causality-project/causality/proto/gen/causality/catalog/v1/catalogv1connect"
	"github.com/causality-project/causality/proto/gen/causality/health/v1/healthv1connect"
	"github.com/causality-project/causality/proto/gen/causality/identity/v1/identityv1connect"
	"github.com/causality-project/causality/proto/gen/causality/insights/v1/insightsv1connect"
	"github.com/causality-project/causality/proto/gen/causality/lake/v1/lakev1connect"
	"github.com/causality-project/causality/proto/gen/causality/query/v1/queryv1connect"
	"github.com/causality-project/causality/proto/gen/causality/tenancy/v1/tenancyv1connect"
)

const (
	maxHeaderBytes = 64 << 10
	// maxMessageBytes bounds a request that is not ingest: the largest are SQL
	// and questions.
	maxMessageBytes = 4 << 20
)

// Handlers are what the rooms answer with. A process without the role ingest has
// no Ingest, one without api none of API; Health and Lake are required.
type Handlers struct {
	Ingest Front
	*API
	Lake   lakev1connect.LakeServiceHandler
	Health healthv1connect.HealthServiceHandler
}

// API is what a process with the role api answers. All are required.
type API struct {
	Live     http.Handler
	Identity identityv1connect.IdentityServiceHandler
	Tenancy  tenancyv1connect.TenancyServiceHandler
	Catalog  catalogv1connect.CatalogServiceHandler
	Query    queryv1connect.QueryServiceHandler
	Insights insightsv1connect.InsightsServiceHandler
}

// Front is the front door: every path that takes events. It knows its senders
// and answers pages of other origins by itself.
type Front interface {
	Register(handle func(path string, handler http.Handler))
}

// Config says where and for whom to serve.
type Config struct {
	PublicURL      *url.URL       // how browsers reach the server; nil: as they come
	TrustedProxies []netip.Prefix // whose X-Forwarded-For is believed
	Auth           Authenticator
	Apps           Apps
	Handlers       Handlers
	Roles          string // of this process, for people
	Registry       *prometheus.Registry
	Traces         trace.TracerProvider // nil: no spans
	Logger         *slog.Logger
	Dist           fs.FS    // the built web app; nil: the embedded one
	SDK            fs.FS    // the built browser SDK; nil: the embedded one
	SDKPaths       []string // other names of its script; see SDKPaths
	IngestPaths    []string // other names that Handlers.Ingest answers; pages are told the first
}

// Server serves one handler on several listeners.
type Server struct {
	http  *http.Server
	ready atomic.Bool
}

// New mounts everything. It fails only on a contradiction in its configuration.
func New(cfg Config) (*Server, error) {
	s := &Server{}
	handler, err := s.handler(cfg)
	if err != nil {
		return nil, err
	}
	protocols := &http.Protocols{}
	protocols.SetHTTP1(true)
	protocols.SetUnencryptedHTTP2(true) // gRPC without TLS
	s.http = &http.Server{
		Handler:           handler,
		Protocols:         protocols,
		ReadHeaderTimeout: 10 * time.Second,
		IdleTimeout:       2 * time.Minute,
		MaxHeaderBytes:    maxHeaderBytes,
		ErrorLog:          slog.NewLogLogger(cfg.Logger.Handler(), slog.LevelDebug),
		ConnContext: func(ctx context.Context, conn net.Conn) context.Context {
			if _, local := conn.(*net.UnixConn); local {
				return identity.WithLocal(ctx)
			}
			return ctx
		},
	}
	return s, nil
}

func (s *Server) handler(cfg Config) (http.Handler, error) {
	guard := guard{auth: cfg.Auth, apps: cfg.Apps}
	interceptors := []connect.Interceptor{newInterceptor(guard, cfg.Logger, cfg.Registry)}
	if cfg.Traces != nil {
		spans, err := otelconnect.NewInterceptor(
			otelconnect.WithTracerProvider(cfg.Traces), otelconnect.WithoutMetrics(), otelconnect.WithoutServerPeerAttributes())
		if err != nil {
			return nil, fmt.Errorf("trace calls: %w", err)
		}
		interceptors = append([]connect.Interceptor{spans}, interceptors...)
	}
	options := []connect.HandlerOption{
		connect.WithInterceptors(interceptors...),
		connect.WithCodec(jsonCodec{"json"}),
		connect.WithCodec(jsonCodec{"json; charset=utf-8"}),
		connect.WithReadMaxBytes(maxMessageBytes),
	}

	// What cookies reach stands behind the cross-origin check.
	inner := http.NewServeMux()
	mount := func(path string, handler http.Handler) { inner.Handle(path, noStore(handler)) }
	mount(lakev1connect.NewLakeServiceHandler(cfg.Handlers.Lake, options...))
	mount(healthv1connect.NewHealthServiceHandler(cfg.Handlers.Health, options...))
	if api := cfg.Handlers.API; api != nil {
		mount(identityv1connect.NewIdentityServiceHandler(api.Identity, options...))
		mount(tenancyv1connect.NewTenancyServiceHandler(api.Tenancy, options...))
		mount(catalogv1connect.NewCatalogServiceHandler(api.Catalog, options...))
		mount(queryv1connect.NewQueryServiceHandler(api.Query, options...))
		mount(insightsv1connect.NewInsightsServiceHandler(api.Insights, options...))
		inner.Handle("GET /v1/live", guard.requireSignIn(question, cfg.Logger, api.Live))
		dist := cfg.Dist
		if dist == nil {
			sub, err := fs.Sub(embedded, "dist")
			if err != nil {
				return nil, fmt.Errorf("open the embedded web app: %w", err)
			}
			dist = sub
		}
		inner.Handle("GET /app/", appHandler(dist))
		inner.Handle("GET /app", http.RedirectHandler("/app/", http.StatusFound))
		inner.Handle("GET /{$}", http.RedirectHandler("/app/", http.StatusFound))
	}
	inner.HandleFunc("GET /healthz", func(w http.ResponseWriter, _ *http.Request) { say(w, http.StatusOK, "alive") })
	inner.HandleFunc("GET /readyz", s.readyz)
	inner.HandleFunc("/", func(w http.ResponseWriter, r *http.Request) {
		message := "there is nothing at " + r.URL.Path
		if cfg.Handlers.API == nil || cfg.Handlers.Ingest == nil {
			message += " of this process, whose roles are " + cfg.Roles
		}
		writeJSONError(w, http.StatusNotFound, "not_found", message)
	})

	crossOrigin := http.NewCrossOriginProtection()
	if cfg.PublicURL != nil {
		if err := crossOrigin.AddTrustedOrigin(cfg.PublicURL.Scheme + "://" + cfg.PublicURL.Host); err != nil {
			return nil, fmt.Errorf("public URL %s: %w", cfg.PublicURL, err)
		}
	}
	crossOrigin.SetDenyHandler(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		writeJSONError(w, http.StatusForbidden, "permission_denied",
			"this request came from a page of another site; if that page is this server's own, set --public-url to its address")
	}))

	outer := http.NewServeMux()
	if cfg.Handlers.Ingest != nil {
		cfg.Handlers.Ingest.Register(func(path string, handler http.Handler) {
			outer.Handle(path, withClientIP(cfg.TrustedProxies, handler))
		})
		browserSDK, err := newSDK(cfg.SDK)
		if err != nil {
			return nil, err
		}
		browserSDK.register(outer.Handle, cfg.SDKPaths, cfg.IngestPaths)
	}
	outer.Handle("/", crossOrigin.Handler(withRequest(inner)))

	https := cfg.PublicURL != nil && cfg.PublicURL.Scheme == "https"
	return observe(cfg.Logger, cfg.Registry, secure(https, outer)), nil
}

// SetReady says whether every role of the process serves.
func (s *Server) SetReady(ready bool) { s.ready.Store(ready) }

func (s *Server) readyz(w http.ResponseWriter, _ *http.Request) {
	w.Header().Set("Cache-Control", "no-store")
	if !s.ready.Load() {
		say(w, http.StatusServiceUnavailable, "starting or stopping")
		return
	}
	say(w, http.StatusOK, "ready")
}

// Serve answers on a listener until Close. It returns nil after Close. A
// listener that fails ends the others too: whoever waits for all of them then
// hears of it, instead of running half a server.
func (s *Server) Serve(listener net.Listener) error {
	if err := s.http.Serve(listener); !errors.Is(err, http.ErrServerClosed) {
		return errors.Join(fmt.Errorf("serve %s: %w", listener.Addr(), err), s.http.Close())
	}
	return nil
}

// Close stops accepting and waits for answers in hand until ctx ends; then it
// cuts the rest. Streams without an end must have been told before. It may be
// called again.
func (s *Server) Close(ctx context.Context) error {
	s.ready.Store(false)
	if err := s.http.Shutdown(ctx); err != nil {
		return errors.Join(fmt.Errorf("requests were cut off: %w", err), s.http.Close())
	}
	return nil
}

// ListenLocal opens the socket that commands on this machine use. Whoever can
// open it acts as the owner, so only the user of the process may: it is made in
// a private directory, closed to others, and only then moved to path. A socket
// of a killed process is replaced; the data directory's lock already says that
// no other process serves here. Closing the listener leaves the file, which
// then refuses connections.
func ListenLocal(path string) (net.Listener, error) {
	private, err := os.MkdirTemp(filepath.Dir(path), ".s")
	if err != nil {
		return nil, fmt.Errorf("open the local socket: %w", err)
	}
	defer func() { _ = os.RemoveAll(private) }()
	made := filepath.Join(private, "s")
	listener, err := net.ListenUnix("unix", &net.UnixAddr{Name: made, Net: "unix"})
	if err != nil {
		return nil, fmt.Errorf("open the local socket: %w", err)
	}
	listener.SetUnlinkOnClose(false)
	if err := errors.Join(os.Chmod(made, 0o600), os.Rename(made, path)); err != nil {
		return nil, errors.Join(fmt.Errorf("open the local socket: %w", err), listener.Close())
	}
	return listener, nil
}

func noStore(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Cache-Control", "no-store")
		next.ServeHTTP(w, r)
	})
}

func withRequest(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		inner := r.WithContext(context.WithValue(r.Context(), requestKey{}, r))
		next.ServeHTTP(w, inner)
		r.Pattern = inner.Pattern // for the measurement outside
	})
}

func withClientIP(trusted []netip.Prefix, next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if ip, ok := clientIP(r, trusted); ok {
			r = r.WithContext(ingest.WithClientIP(r.Context(), ip))
		}
		next.ServeHTTP(w, r)
	})
}

func say(w http.ResponseWriter, status int, text string) {
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	w.WriteHeader(status)
	_, _ = w.Write([]byte(text + "\n"))
}
