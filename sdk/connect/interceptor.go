// Package causalityconnect carries correlation ids through Connect, gRPC and
// gRPC-Web calls made with connectrpc.com/connect. It records no events: that is the
// handlers' to do, with the context that they are given.
package causalityconnect

import (
	"context"

	"connectrpc.com/connect"
	causality "github.com/causality-project/causality/sdk"
)

// NewInterceptor makes an interceptor for handlers and for clients, of unary calls
// and of streams.
//
// A handler's context gets the call's correlation id, as causality.Correlate finds
// it, and the answer names it in causality.CorrelationHeader. A client's call takes
// the id of its context along, unless its header is set.
func NewInterceptor() connect.Interceptor { return interceptor{} }

type interceptor struct{}

func (interceptor) WrapUnary(next connect.UnaryFunc) connect.UnaryFunc {
	return func(ctx context.Context, req connect.AnyRequest) (connect.AnyResponse, error) {
		if req.Spec().IsClient {
			id := causality.CorrelationID(ctx)
			if id != "" && req.Header().Get(causality.CorrelationHeader) == "" {
				req.Header().Set(causality.CorrelationHeader, id)
			}
			return next(ctx, req)
		}
		ctx = causality.Correlate(ctx, req.Header())
		// Not through the response or error, of which a failing call has none and the
		// other may be shared by many.
		if call, ok := connect.CallInfoForHandlerContext(ctx); ok {
			call.ResponseHeader().Set(causality.CorrelationHeader, causality.CorrelationID(ctx))
		}
		return next(ctx, req)
	}
}

func (interceptor) WrapStreamingClient(next connect.StreamingClientFunc) connect.StreamingClientFunc {
	return func(ctx context.Context, spec connect.Spec) connect.StreamingClientConn {
		conn := next(ctx, spec)
		if id := causality.CorrelationID(ctx); id != "" && conn.RequestHeader().Get(causality.CorrelationHeader) == "" {
			conn.RequestHeader().Set(causality.CorrelationHeader, id)
		}
		return conn
	}
}

func (interceptor) WrapStreamingHandler(next connect.StreamingHandlerFunc) connect.StreamingHandlerFunc {
	return func(ctx context.Context, conn connect.StreamingHandlerConn) error {
		ctx = causality.Correlate(ctx, conn.RequestHeader())
		conn.ResponseHeader().Set(causality.CorrelationHeader, causality.CorrelationID(ctx))
		return next(ctx, conn)
	}
}
