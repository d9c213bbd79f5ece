package causality

import (
	"context"
	"net/http"
	"net/http/httptest"
	"regexp"
	"strings"
	"testing"
)

const traceparent = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"

var uuid7 = regexp.MustCompile(`^[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$`)

func TestMiddlewareFindsTheCorrelationIDOrMakesOne(t *testing.T) {
	t.Parallel()
	const trace = "4bf92f3577b34da6a3ce929d0e0e4736"
	for name, tt := range map[string]struct {
		header map[string]string
		ctx    string
		want   string // empty: a new one
	}{
		"nothing known":          {},
		"named":                  {header: map[string]string{CorrelationHeader: "job-7", "traceparent": traceparent}, ctx: "outer", want: "job-7"},
		"already known":          {header: map[string]string{"traceparent": traceparent}, ctx: "outer", want: "outer"},
		"traced":                 {header: map[string]string{"traceparent": traceparent}, want: trace},
		"traced by the future":   {header: map[string]string{"traceparent": "cc-" + trace + "-00f067aa0ba902b7-01-more"}, want: trace},
		"no trace":               {header: map[string]string{"traceparent": "00-00000000000000000000000000000000-00f067aa0ba902b7-01"}},
		"trace in capitals":      {header: map[string]string{"traceparent": strings.ToUpper(traceparent)}},
		"trace cut off":          {header: map[string]string{"traceparent": traceparent[:35]}},
		"forbidden version":      {header: map[string]string{"traceparent": "ff" + traceparent[2:]}},
		"too long":               {header: map[string]string{CorrelationHeader: strings.Repeat("x", 201)}},
		"as long as can be":      {header: map[string]string{CorrelationHeader: strings.Repeat("x", 200)}, want: strings.Repeat("x", 200)},
		"unprintable":            {header: map[string]string{CorrelationHeader: "a\x01b"}},
		"unprintable, but known": {header: map[string]string{CorrelationHeader: "a b"}, ctx: "outer", want: "outer"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			inside := ""
			handler := Middleware(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { inside = CorrelationID(r.Context()) }))
			r := httptest.NewRequestWithContext(WithCorrelationID(t.Context(), tt.ctx), http.MethodGet, "/", nil)
			for k, v := range tt.header {
				r.Header.Set(k, v)
			}
			w := httptest.NewRecorder()
			handler.ServeHTTP(w, r)
			if tt.want != "" && inside != tt.want || tt.want == "" && !uuid7.MatchString(inside) {
				t.Errorf("the request's id is %q, want %q or a new UUIDv7", inside, tt.want)
			}
			if got := w.Header().Get(CorrelationHeader); got != inside {
				t.Errorf("the answer names %q, want %q", got, inside)
			}
		})
	}
}

func TestPropagateCarriesTheIDAndLeavesTheCallersRequestAlone(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct{ ctx, header, want string }{
		"none":  {"", "", ""},
		"known": {"job-7", "", "job-7"},
		"set":   {"job-7", "other", "other"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			got := ""
			transport := Propagate(roundTripper(func(r *http.Request) (*http.Response, error) {
				got = r.Header.Get(CorrelationHeader)
				return httptest.NewRecorder().Result(), nil
			}))
			r := httptest.NewRequestWithContext(WithCorrelationID(t.Context(), tt.ctx), http.MethodGet, "http://b.test/", nil)
			if tt.header != "" {
				r.Header.Set(CorrelationHeader, tt.header)
			}
			if _, err := transport.RoundTrip(r); err != nil || got != tt.want {
				t.Errorf("the other service saw %q (%v), want %q", got, err, tt.want)
			}
			if r.Header.Get(CorrelationHeader) != tt.header {
				t.Error("the caller's request was changed")
			}
		})
	}
}

func TestEventsHaveTheCorrelationIDOfTheirContext(t *testing.T) {
	t.Parallel()
	s := &server{}
	type job struct{}
	c := start(t, s, func(o *Options) {
		o.CorrelationID = func(ctx context.Context) string {
			switch id := ctx.Value(job{}).(type) {
			case string:
				return id
			case int:
				panic("a host's mistake")
			}
			return ""
		}
	})
	ctx := WithCorrelationID(t.Context(), "request-1")
	record := func(ctx context.Context, e Event) {
		t.Helper()
		e.UserID = "u1"
		if err := c.Track(ctx, e); err != nil {
			t.Fatal(err)
		}
	}
	record(ctx, Event{Name: "of the context"})
	record(ctx, Event{Name: "of its own", CorrelationID: "mine"})
	record(t.Context(), Event{Name: "of none"})
	record(context.WithValue(t.Context(), job{}, "job-1"), Event{Name: "of the option"})
	record(context.WithValue(ctx, job{}, "job-1"), Event{Name: "of both"})
	record(context.WithValue(t.Context(), job{}, 7), Event{Name: "of a panic"})
	record(context.WithValue(t.Context(), job{}, "no\nid"), Event{Name: "of nonsense"})
	if err := c.Identify(ctx, Identity{UserID: "u1"}); err != nil {
		t.Fatal(err)
	}
	if err := c.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
	got := s.seen()[0].correlations
	want := []string{"request-1", "mine", "", "job-1", "request-1", "", "", "request-1"}
	if strings.Join(got, ",") != strings.Join(want, ",") {
		t.Errorf("correlation ids are %q, want %q", got, want)
	}
}
