package causalityotel_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	causality "github.com/causality-project/causality/sdk"
	causalityotel "github.com/causality-project/causality/sdk/otel"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/sdk/metric"
	"go.opentelemetry.io/otel/sdk/metric/metricdata"
	"go.opentelemetry.io/otel/trace"
)

// transport answers as Causality does, for one event a request.
type transport struct{ status int }

func (t transport) RoundTrip(r *http.Request) (*http.Response, error) {
	return &http.Response{
		StatusCode: t.status, Status: http.StatusText(t.status), Request: r,
		Header: http.Header{"Content-Type": {"application/proto"}}, Body: io.NopCloser(strings.NewReader("\x08\x01")),
	}, nil
}

func client(t *testing.T, status int) *causality.Client {
	t.Helper()
	c, err := causality.New(causality.Options{Host: "http://causality.test", WriteKey: "wk_test", Transport: transport{status}})
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// values collects what every instrument says, with its attributes.
func values(t *testing.T, reader metric.Reader) map[string]int64 {
	t.Helper()
	var all metricdata.ResourceMetrics
	if err := reader.Collect(t.Context(), &all); err != nil {
		t.Fatal(err)
	}
	out := map[string]int64{}
	for _, s := range all.ScopeMetrics {
		for _, m := range s.Metrics {
			var points []metricdata.DataPoint[int64]
			switch data := m.Data.(type) {
			case metricdata.Sum[int64]:
				points = data.DataPoints
			case metricdata.Gauge[int64]:
				points = data.DataPoints
			}
			for _, p := range points {
				out[m.Name+" "+p.Attributes.Encoded(attribute.DefaultEncoder())] = p.Value
			}
		}
	}
	return out
}

func TestMetricsFollowTheClient(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct {
		status int
		want   map[string]int64
	}{
		"delivered": {http.StatusOK, map[string]int64{"queue.events ": 0, "queue.size ": 0, "events.sent ": 1, "events.dropped invalid": 1, "attempts.failed ": 0, "paused ": 0}},
		"refused":   {http.StatusUnauthorized, map[string]int64{"queue.events ": 1, "events.sent ": 0, "attempts.failed ": 1, "paused ": 1}},
		"away":      {http.StatusBadGateway, map[string]int64{"queue.events ": 1, "events.sent ": 0, "attempts.failed ": 1, "paused ": 0}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c := client(t, tt.status)
			reader := metric.NewManualReader()
			registration, err := causalityotel.Register(c, metric.NewMeterProvider(metric.WithReader(reader)), attribute.String("app", "shop"))
			if err != nil {
				t.Fatal(err)
			}
			if err := c.Track(t.Context(), causality.Event{UserID: "u1"}); err == nil {
				t.Error("an event without a name was taken")
			}
			if err := c.Track(t.Context(), causality.Event{Name: "signup", UserID: "u1"}); err != nil {
				t.Fatal(err)
			}
			_ = c.Flush(t.Context())
			got := values(t, reader)
			for instrument, want := range tt.want {
				name, reason, _ := strings.Cut(instrument, " ")
				key := "causality.client." + name + " app=shop"
				if reason != "" {
					key += ",reason=" + reason
				}
				if v, known := got[key]; !known || v != want {
					t.Errorf("%s is %d (observed: %t), want %d", key, v, known, want)
				}
			}
			if err := registration.Unregister(); err != nil {
				t.Fatal(err)
			}
			if got := values(t, reader); len(got) != 0 {
				t.Errorf("observed %v after Unregister", got)
			}
			_ = c.Close(t.Context())
		})
	}
}

const traced = "4bf92f3577b34da6a3ce929d0e0e4736"

func withSpan(ctx context.Context) context.Context {
	id, _ := trace.TraceIDFromHex(traced)
	return trace.ContextWithSpanContext(ctx, trace.NewSpanContext(trace.SpanContextConfig{TraceID: id, SpanID: trace.SpanID{1}}))
}

func TestTheTraceIsTheCorrelationIDUnlessAnotherIsNamed(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct {
		ctx          context.Context
		header, want string
	}{
		"of the span":       {withSpan(t.Context()), "", traced},
		"of the header":     {withSpan(t.Context()), "job-7", "job-7"},
		"already known":     {causality.WithCorrelationID(withSpan(t.Context()), "outer"), "", "outer"},
		"nothing but a new": {t.Context(), "", ""},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			got := ""
			handler := causalityotel.Middleware(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { got = causality.CorrelationID(r.Context()) }))
			r := httptest.NewRequestWithContext(tt.ctx, http.MethodGet, "/", nil)
			if tt.header != "" {
				r.Header.Set(causality.CorrelationHeader, tt.header)
			}
			w := httptest.NewRecorder()
			handler.ServeHTTP(w, r)
			if tt.want != "" && got != tt.want || tt.want == "" && len(got) != 36 || w.Header().Get(causality.CorrelationHeader) != got {
				t.Errorf("the id is %q and the answer names %q, want %q", got, w.Header().Get(causality.CorrelationHeader), tt.want)
			}
		})
	}
	if got := causalityotel.TraceID(t.Context()); got != "" {
		t.Errorf("TraceID without a span is %q", got)
	}
}

// Metrics of the client go where the program's others go, and every event names the
// trace that it was recorded in.
func Example() {
	ctx := context.Background()
	c, err := causality.New(causality.Options{
		Host: "https://causality.example.com", WriteKey: "wk_0123456789",
		CorrelationID: causalityotel.TraceID,
		Transport:     transport{http.StatusOK}, // a service would leave it out, or pass an instrumented one
	})
	if err != nil {
		log.Fatal(err)
	}
	registration, err := causalityotel.Register(c, nil) // with the global provider
	if err != nil {
		log.Fatal(err)
	}
	err = c.Track(ctx, causality.Event{Name: "signup", UserID: "u1"})
	if err := errors.Join(err, c.Close(ctx), registration.Unregister()); err != nil {
		log.Fatal(err)
	}
	fmt.Println(c.Stats().Sent, "sent")
	// Output: 1 sent
}
