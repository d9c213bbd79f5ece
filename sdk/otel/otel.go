// Package causalityotel shows a client's work in OpenTelemetry's metrics, and joins
// its events with traces. It starts no spans: a request's own are what matters, and
// the transport that Options.Transport names can be an instrumented one.
package causalityotel

import (
	"context"
	"errors"
	"net/http"

	causality "github.com/causality-project/causality/sdk"
	"go.opentelemetry.io/otel"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/metric"
	"go.opentelemetry.io/otel/trace"
)

const scope = "github.com/causality-project/causality/sdk/otel"

// Register observes a client's Stats whenever metrics are collected, until the
// registration is ended; a program with several clients tells them apart by
// attributes. Without a provider it takes the global one. The instruments:
//
//	causality.client.queue.events      {event}    not yet acknowledged
//	causality.client.queue.size        By         of those, encoded
//	causality.client.events.sent       {event}    acknowledged and not rejected
//	causality.client.events.dropped    {event}    lost, by reason, as in Stats.Dropped
//	causality.client.attempts.failed   {request}  that the server did not answer with a success
//	causality.client.paused            1          1 while the server refuses the key
func Register(c *causality.Client, provider metric.MeterProvider, attributes ...attribute.KeyValue) (metric.Registration, error) {
	if provider == nil {
		provider = otel.GetMeterProvider()
	}
	meter := provider.Meter(scope, metric.WithInstrumentationVersion(causality.Version))
	queued, err1 := meter.Int64ObservableUpDownCounter("causality.client.queue.events",
		metric.WithUnit("{event}"), metric.WithDescription("Events that the server has not acknowledged yet."))
	size, err2 := meter.Int64ObservableUpDownCounter("causality.client.queue.size",
		metric.WithUnit("By"), metric.WithDescription("Encoded bytes of the events that the server has not acknowledged yet."))
	sent, err3 := meter.Int64ObservableCounter("causality.client.events.sent",
		metric.WithUnit("{event}"), metric.WithDescription("Events that the server has acknowledged and not rejected."))
	dropped, err4 := meter.Int64ObservableCounter("causality.client.events.dropped",
		metric.WithUnit("{event}"), metric.WithDescription("Events that are lost, by reason."))
	failed, err5 := meter.Int64ObservableCounter("causality.client.attempts.failed",
		metric.WithUnit("{request}"), metric.WithDescription("Requests that the server did not answer with a success."))
	paused, err6 := meter.Int64ObservableGauge("causality.client.paused",
		metric.WithUnit("1"), metric.WithDescription("1 while the server refuses the key."))
	if err := errors.Join(err1, err2, err3, err4, err5, err6); err != nil {
		return nil, err
	}
	common := metric.WithAttributes(attributes...)
	return meter.RegisterCallback(func(_ context.Context, o metric.Observer) error {
		s := c.Stats()
		o.ObserveInt64(queued, int64(s.Queued), common)
		o.ObserveInt64(size, int64(s.QueuedBytes), common)
		o.ObserveInt64(sent, int64(s.Sent), common)
		for reason, n := range s.Dropped {
			o.ObserveInt64(dropped, int64(n), common, metric.WithAttributes(attribute.String("reason", reason)))
		}
		o.ObserveInt64(failed, int64(s.FailedAttempts), common)
		refused := int64(0)
		if s.Paused {
			refused = 1
		}
		o.ObserveInt64(paused, refused, common)
		return nil
	}, queued, size, sent, dropped, failed, paused)
}

// TraceID is the id of the trace that a context belongs to, or nothing. It serves
// as causality.Options.CorrelationID, so that events name the trace that they were
// recorded in.
func TraceID(ctx context.Context) string {
	if span := trace.SpanContextFromContext(ctx); span.HasTraceID() {
		return span.TraceID().String()
	}
	return ""
}

// Middleware is causality.Middleware where the trace id of the request's span, such
// as otelhttp starts outside of it, comes before a new id. A
// causality.CorrelationHeader comes before both.
func Middleware(next http.Handler) http.Handler {
	inner := causality.Middleware(next)
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if ctx := r.Context(); causality.CorrelationID(ctx) == "" {
			r = r.WithContext(causality.WithCorrelationID(ctx, TraceID(ctx)))
		}
		inner.ServeHTTP(w, r)
	})
}
