package web

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"runtime/debug"
	"time"

	"connectrpc.com/connect"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/causality-project/causality/backend/internal/account/identity"
	"github.com/causality-project/causality/backend/internal/platform/fault"
)

// interceptor is what every procedure goes through, unary and streaming alike:
// admission, translation of errors, recovery from panics, measurement.
type interceptor struct {
	guard   guard
	log     *slog.Logger
	seconds *prometheus.HistogramVec
}

func newInterceptor(g guard, log *slog.Logger, registry prometheus.Registerer) *interceptor {
	i := &interceptor{guard: g, log: log, seconds: prometheus.NewHistogramVec(prometheus.HistogramOpts{
		Name:    "causality_rpc_seconds",
		Help:    "Time from a call to the end of its answer, by procedure and code.",
		Buckets: []float64{0.001, 0.005, 0.02, 0.1, 0.5, 2, 10, 60},
	}, []string{"procedure", "code"})}
	registry.MustRegister(i.seconds)
	return i
}

func (i *interceptor) WrapUnary(next connect.UnaryFunc) connect.UnaryFunc {
	return func(ctx context.Context, request connect.AnyRequest) (response connect.AnyResponse, err error) {
		procedure := request.Spec().Procedure
		defer i.finish(ctx, procedure, time.Now(), &err)
		ctx, principal, err := i.guard.admit(ctx, procedure)
		if err != nil {
			return nil, err
		}
		if err := i.guard.confine(ctx, principal, request.Any()); err != nil {
			return nil, err
		}
		response, err = next(ctx, request)
		if err == nil {
			ownApps(principal, response)
		}
		return response, err
	}
}

func (i *interceptor) WrapStreamingHandler(next connect.StreamingHandlerFunc) connect.StreamingHandlerFunc {
	return func(ctx context.Context, conn connect.StreamingHandlerConn) (err error) {
		procedure := conn.Spec().Procedure
		defer i.finish(ctx, procedure, time.Now(), &err)
		ctx, principal, err := i.guard.admit(ctx, procedure)
		if err != nil {
			return err
		}
		return next(ctx, confinedStream{conn, func(message any) error { return i.guard.confine(ctx, principal, message) }})
	}
}

// WrapStreamingClient has nothing to do: this is a server.
func (i *interceptor) WrapStreamingClient(next connect.StreamingClientFunc) connect.StreamingClientFunc {
	return next
}

func (i *interceptor) finish(ctx context.Context, procedure string, start time.Time, err *error) {
	if panicked := recover(); panicked != nil {
		if panicked == http.ErrAbortHandler { // net/http compares it so
			panic(panicked)
		}
		i.log.ErrorContext(ctx, "panic", "where", procedure, "reference", reference(ctx), "panic", fmt.Sprint(panicked),
			"stack", string(debug.Stack()))
		*err = connect.NewError(connect.CodeInternal, errors.New(internalMessage(ctx)))
	} else {
		*err = toConnect(ctx, i.log, procedure, *err)
	}
	code := "ok"
	if *err != nil {
		code = connect.CodeOf(*err).String()
	}
	elapsed := time.Since(start)
	// A procedure without a rule is one that does not exist; its name is the
	// caller's text and no label.
	if _, listed := rules[procedure]; listed {
		i.seconds.WithLabelValues(procedure, code).Observe(elapsed.Seconds())
	}
	i.log.DebugContext(ctx, "call", "procedure", procedure, "code", code, "seconds", elapsed.Seconds(), "reference", reference(ctx))
}

// requireSignIn guards a plain handler, such as the live stream, by the same rules.
func (g guard) requireSignIn(rule rule, log *slog.Logger, next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		// An EventSource cannot send headers, so the workspace may stand in the query.
		if workspace := r.URL.Query().Get("workspace"); workspace != "" {
			r.Header.Set(identity.WorkspaceHeader, workspace)
		}
		ctx, principal, err := g.authenticate(r.Context(), rule)
		if err == nil && principal.AppID != "" {
			err = g.confineQuery(ctx, principal.AppID, r)
		}
		if err != nil {
			writeFault(w, r, log, err)
			return
		}
		next.ServeHTTP(w, r.WithContext(ctx))
	})
}

// confineQuery holds a key to its own app in a request that names it as ?app=.
func (g guard) confineQuery(ctx context.Context, appID string, r *http.Request) error {
	query := r.URL.Query()
	if wanted := query.Get("app"); wanted != "" && wanted != appID {
		app, err := g.apps.Get(ctx, wanted)
		if fault.Is(err, fault.NotFound) || (err == nil && app.ID != appID) {
			return fault.New(fault.NotFound, "this key sees no app %q; use a key of that app", wanted)
		}
		if err != nil {
			return err
		}
	}
	query.Set("app", appID)
	r.URL.RawQuery = query.Encode()
	return nil
}
