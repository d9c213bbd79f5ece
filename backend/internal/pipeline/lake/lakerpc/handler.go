// Package lakerpc serves LakeService. It translates between protobuf and package
// lake, and says who may look after the store.
package lakerpc

import (
	"context"
	"sync"
	"time"

	"connectrpc.com/connect"

	"github.com/causality-project/causality/backend/internal/account/identity"
	"github.com/causality-project/causality/backend/internal/pipeline/lake"
	lakev1 "github.com/causality-project/causality/proto/gen/causality/lake/v1"
	"github.com/causality-project/causality/proto/gen/causality/lake/v1/lakev1connect"
)

// Handler implements LakeService.
type Handler struct {
	lake *lake.Lake
	apps identity.AppGetter
}

var _ lakev1connect.LakeServiceHandler = (*Handler)(nil)

// New makes the handler.
func New(l *lake.Lake, apps identity.AppGetter) *Handler { return &Handler{lake: l, apps: apps} }

// every is how often progress without news is sent.
const every = 200 * time.Millisecond

// Verify reports each problem as it is found.
func (h *Handler) Verify(ctx context.Context, req *connect.Request[lakev1.VerifyRequest], stream *connect.ServerStream[lakev1.VerifyResponse]) error {
	app, err := h.app(ctx, "verify the store", req.Msg.GetAppId())
	if err != nil {
		return err
	}
	out := newReporter(stream.Send)
	var last lake.VerifyProgress
	err = h.lake.Verify(ctx, app, func(p lake.VerifyProgress) {
		last = p
		out.send(verifyToProto(p), len(p.Problems) > 0)
	})
	if err := out.end(err); err != nil {
		return err
	}
	last.Problems = nil
	final := verifyToProto(last)
	final.Done = true
	return stream.Send(final)
}

// Rebuild reports what could not be used.
func (h *Handler) Rebuild(ctx context.Context, req *connect.Request[lakev1.RebuildRequest], stream *connect.ServerStream[lakev1.RebuildResponse]) error {
	app, err := h.app(ctx, "rebuild the store", req.Msg.GetAppId())
	if err != nil {
		return err
	}
	out := newReporter(stream.Send)
	var last lake.RebuildProgress
	err = h.lake.Rebuild(ctx, app, func(p lake.RebuildProgress) {
		last = p
		out.send(rebuildToProto(p), len(p.Problems) > 0)
	})
	if err := out.end(err); err != nil {
		return err
	}
	last.Problems = nil
	final := rebuildToProto(last)
	final.Done = true
	return stream.Send(final)
}

// Compact reports after each merge.
func (h *Handler) Compact(ctx context.Context, req *connect.Request[lakev1.CompactRequest], stream *connect.ServerStream[lakev1.CompactResponse]) error {
	app, err := h.app(ctx, "compact the store", req.Msg.GetAppId())
	if err != nil {
		return err
	}
	out := newReporter(stream.Send)
	var last lake.CompactProgress
	err = h.lake.Compact(ctx, app, func(p lake.CompactProgress) {
		last = p
		out.send(compactToProto(p), false)
	})
	if err := out.end(err); err != nil {
		return err
	}
	final := compactToProto(last)
	final.Done = true
	return stream.Send(final)
}

// app lets managers in and finds the app that the request names, empty for all.
func (h *Handler) app(ctx context.Context, what, idOrName string) (string, error) {
	if err := identity.RequireManager(ctx, what); err != nil {
		return "", err
	}
	if idOrName == "" {
		return "", nil
	}
	app, err := h.apps.Get(ctx, idOrName)
	return app.ID, err
}

func verifyToProto(p lake.VerifyProgress) *lakev1.VerifyResponse {
	return &lakev1.VerifyResponse{Objects: float64(p.Objects), ObjectsTotal: float64(p.ObjectsTotal), Rows: float64(p.Rows),
		Bytes: float64(p.Bytes), Problems: problemsToProto(p.Problems)}
}

func rebuildToProto(p lake.RebuildProgress) *lakev1.RebuildResponse {
	return &lakev1.RebuildResponse{Objects: float64(p.Objects), ObjectsTotal: float64(p.ObjectsTotal), Rows: float64(p.Rows),
		Problems: problemsToProto(p.Problems)}
}

func compactToProto(p lake.CompactProgress) *lakev1.CompactResponse {
	return &lakev1.CompactResponse{ObjectsBefore: float64(p.ObjectsBefore), ObjectsAfter: float64(p.ObjectsAfter), Rows: float64(p.Rows)}
}

func problemsToProto(problems []lake.Problem) []*lakev1.Problem {
	out := make([]*lakev1.Problem, len(problems))
	for i, p := range problems {
		out[i] = &lakev1.Problem{Object: p.Object, What: p.What}
	}
	return out
}

// reporter sends progress, the dull part of it now and then only. Sending must
// not hold up the work's locks for ever: a caller that went away ends ctx.
type reporter[T any] struct {
	out  func(*T) error
	mu   sync.Mutex
	last time.Time
	err  error
}

func newReporter[T any](out func(*T) error) *reporter[T] { return &reporter[T]{out: out} }

func (r *reporter[T]) send(message *T, news bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.err != nil || !news && time.Since(r.last) < every {
		return
	}
	r.last = time.Now()
	r.err = r.out(message)
}

// end is the work's error, or the first of sending.
func (r *reporter[T]) end(err error) error {
	if err != nil {
		return err
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.err
}
