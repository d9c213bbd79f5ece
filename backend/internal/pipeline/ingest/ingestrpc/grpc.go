package ingestrpc

import (
	"context"
	"errors"
	"fmt"
	"math"
	"net/http"
	"strconv"

	"connectrpc.com/connect"
	"github.com/causality-project/causality/backend/internal/pipeline/ingest"
	"github.com/causality-project/causality/backend/internal/platform/event"
	"github.com/causality-project/causality/backend/internal/platform/fault"
	"github.com/causality-project/causality/proto/gen/causality/ingest/v1/ingestv1connect"
)

// message is a gRPC message whose bytes go to and from the front door as they
// are: its readers are the ones that every other path uses.
type message struct{ bytes []byte }

// bytesCodec hands a message's bytes through; the format is known by its name.
type bytesCodec struct{ name string }

func (c bytesCodec) Name() string { return c.name }

func (c bytesCodec) Marshal(m any) ([]byte, error) {
	out, ok := m.(*message)
	if !ok {
		return nil, fmt.Errorf("marshal %T", m)
	}
	return out.bytes, nil
}

func (c bytesCodec) Unmarshal(data []byte, m any) error {
	in, ok := m.(*message)
	if !ok {
		return fmt.Errorf("unmarshal into %T", m)
	}
	in.bytes = append([]byte(nil), data...) // connect reuses its buffer
	return nil
}

type httpRequestKey struct{}

// newGRPC serves gRPC and gRPC-Web, whose framing connect knows.
func (h *Handler) newGRPC() http.Handler {
	handler := connect.NewUnaryHandler(ingestv1connect.IngestServiceIngestProcedure, h.ingestGRPC,
		connect.WithCodec(bytesCodec{"proto"}),
		connect.WithCodec(bytesCodec{"json"}),
		connect.WithReadMaxBytes(event.MaxRequestBytes),
	)
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		handler.ServeHTTP(w, r.WithContext(context.WithValue(r.Context(), httpRequestKey{}, r)))
	})
}

func (h *Handler) ingestGRPC(ctx context.Context, in *connect.Request[message]) (*connect.Response[message], error) {
	r, ok := ctx.Value(httpRequestKey{}).(*http.Request)
	if !ok {
		return nil, connect.NewError(connect.CodeInternal, errors.New("no request in context"))
	}
	req, err := h.request(ctx, r)
	if err == nil && req.Browser && len(in.Msg.bytes) > event.MaxBrowserBytes {
		err = errTooLarge(event.MaxBrowserBytes)
	}
	if err != nil {
		return nil, h.grpcError(ctx, err)
	}
	req.Body = in.Msg.bytes
	asJSON := mediaType(r) == "application/grpc+json" || mediaType(r) == "application/grpc-web+json"
	if asJSON {
		req.Format = ingest.JSON
	}
	answer, err := h.cfg.Front.Accept(ctx, req)
	if err != nil {
		return nil, h.grpcError(ctx, err)
	}
	if asJSON {
		return connect.NewResponse(&message{appendAnswerJSON(nil, &answer)}), nil
	}
	return connect.NewResponse(&message{appendAnswerProto(nil, &answer)}), nil
}

func (h *Handler) grpcError(ctx context.Context, err error) error {
	code, message := connect.CodeInternal, "Something went wrong on the server; nothing was accepted. Send again later."
	var f *fault.Error
	if errors.As(err, &f) && f.Kind != fault.Internal {
		message = f.Message
	}
	switch fault.KindOf(err) {
	case fault.Invalid, fault.NotFound, fault.Conflict, fault.Unsupported:
		code = connect.CodeInvalidArgument
	case fault.Unauthenticated:
		code = connect.CodeUnauthenticated
	case fault.Denied:
		code = connect.CodePermissionDenied
	case fault.TooLarge, fault.RateLimited, fault.Exhausted:
		code = connect.CodeResourceExhausted
	case fault.Unavailable:
		code = connect.CodeUnavailable
		h.cfg.Logger.WarnContext(ctx, "ingest is unavailable", "err", err)
	case fault.Canceled:
		code, message = connect.CodeCanceled, "The request ended before its answer."
	default:
		h.cfg.Logger.ErrorContext(ctx, "ingest failed", "err", err)
	}
	out := connect.NewError(code, errors.New(message))
	if f != nil && f.RetryAfter > 0 {
		out.Meta().Set("Retry-After", strconv.Itoa(int(math.Ceil(f.RetryAfter.Seconds()))))
	}
	return out
}
