package web

import (
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"math"
	"net/http"
	"strconv"
	"time"

	"connectrpc.com/connect"
	"google.golang.org/genproto/googleapis/rpc/errdetails"

	"github.com/causality-project/causality/backend/internal/platform/fault"
)

var codes = map[fault.Kind]connect.Code{
	fault.Internal:        connect.CodeInternal,
	fault.Invalid:         connect.CodeInvalidArgument,
	fault.NotFound:        connect.CodeNotFound,
	fault.Conflict:        connect.CodeAlreadyExists,
	fault.Unauthenticated: connect.CodeUnauthenticated,
	fault.Denied:          connect.CodePermissionDenied,
	fault.TooLarge:        connect.CodeInvalidArgument,
	fault.RateLimited:     connect.CodeResourceExhausted,
	fault.Exhausted:       connect.CodeResourceExhausted,
	fault.Unavailable:     connect.CodeUnavailable,
	fault.Canceled:        connect.CodeCanceled,
	fault.Unsupported:     connect.CodeUnimplemented,
}

// statuses are those of Connect's own mapping, for the plain HTTP handlers.
var statuses = map[fault.Kind]int{
	fault.Internal:        http.StatusInternalServerError,
	fault.Invalid:         http.StatusBadRequest,
	fault.NotFound:        http.StatusNotFound,
	fault.Conflict:        http.StatusConflict,
	fault.Unauthenticated: http.StatusUnauthorized,
	fault.Denied:          http.StatusForbidden,
	fault.TooLarge:        http.StatusRequestEntityTooLarge,
	fault.RateLimited:     http.StatusTooManyRequests,
	fault.Exhausted:       http.StatusTooManyRequests,
	fault.Unavailable:     http.StatusServiceUnavailable,
	fault.Canceled:        499,
	fault.Unsupported:     http.StatusNotImplemented,
}

// toConnect turns what a handler returned into what a caller may see, and logs
// what only an operator should: the cause of an internal error goes to the log
// under a reference that the caller can quote.
func toConnect(ctx context.Context, log *slog.Logger, where string, err error) error {
	if err == nil {
		return nil
	}
	var already *connect.Error
	if errors.As(err, &already) {
		if already.Code() != connect.CodeInternal && already.Code() != connect.CodeUnknown {
			return already
		}
	}
	var f *fault.Error
	if !errors.As(err, &f) {
		switch {
		case errors.Is(err, context.DeadlineExceeded):
			return connect.NewError(connect.CodeDeadlineExceeded, errors.New("the time that the caller gave is over"))
		case errors.Is(err, context.Canceled):
			return connect.NewError(connect.CodeCanceled, errors.New("the caller went away"))
		}
		f = &fault.Error{Kind: fault.Internal, Err: err}
	}
	if f.Kind == fault.Internal {
		log.ErrorContext(ctx, "internal error", "where", where, "reference", reference(ctx), "err", err)
		return connect.NewError(connect.CodeInternal, errors.New(internalMessage(ctx)))
	}
	if f.Err != nil {
		level := slog.LevelDebug // the caller's own mistake
		if f.Kind == fault.Unavailable || f.Kind == fault.Exhausted {
			level = slog.LevelWarn
		}
		log.Log(ctx, level, "request failed", "where", where, "reference", reference(ctx), "err", err)
	}
	answer := connect.NewError(codes[f.Kind], errors.New(f.Message))
	if len(f.Fields) > 0 {
		bad := &errdetails.BadRequest{}
		for _, field := range f.Fields {
			bad.FieldViolations = append(bad.FieldViolations,
				&errdetails.BadRequest_FieldViolation{Field: field.Name, Description: field.Message})
		}
		if detail, err := connect.NewErrorDetail(bad); err == nil {
			answer.AddDetail(detail)
		}
	}
	if after := retryAfter(f); after != "" {
		answer.Meta().Set("Retry-After", after)
	}
	return answer
}

// writeFault answers a plain HTTP request in the shape of a Connect error.
func writeFault(w http.ResponseWriter, r *http.Request, log *slog.Logger, err error) {
	var f *fault.Error
	if !errors.As(err, &f) {
		f = &fault.Error{Kind: fault.KindOf(err), Message: "the caller went away", Err: err}
	}
	message := f.Message
	if f.Kind == fault.Internal {
		log.ErrorContext(r.Context(), "internal error", "where", r.URL.Path, "reference", reference(r.Context()), "err", err)
		message = internalMessage(r.Context())
	}
	if after := retryAfter(f); after != "" {
		w.Header().Set("Retry-After", after)
	}
	writeJSONError(w, statuses[f.Kind], codes[f.Kind].String(), message)
}

func writeJSONError(w http.ResponseWriter, status int, code, message string) {
	body, _ := json.Marshal(struct {
		Code    string `json:"code"`
		Message string `json:"message"`
	}{code, message})
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Cache-Control", "no-store")
	w.WriteHeader(status)
	_, _ = w.Write(append(body, '\n'))
}

func internalMessage(ctx context.Context) string {
	return "the server failed at this request; its log says why under reference " + reference(ctx)
}

// retryAfter is in whole seconds, at least one. 429 and 503 always carry it.
func retryAfter(f *fault.Error) string {
	after := f.RetryAfter
	if after <= 0 {
		if f.Kind != fault.Unavailable && f.Kind != fault.RateLimited && f.Kind != fault.Exhausted {
			return ""
		}
		after = time.Second
	}
	return strconv.Itoa(max(1, int(math.Ceil(after.Seconds()))))
}

// WriteFault answers plain requests of other rooms like those of this one.
func WriteFault(log *slog.Logger) func(http.ResponseWriter, *http.Request, error) {
	return func(w http.ResponseWriter, r *http.Request, err error) { writeFault(w, r, log, err) }
}
