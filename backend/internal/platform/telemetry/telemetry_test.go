package telemetry

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
)

func TestLoggerKeepsLevelAndFormat(t *testing.T) {
	t.Parallel()
	var out bytes.Buffer
	log, err := NewLogger(&out, "warn", "json")
	if err != nil {
		t.Fatal(err)
	}
	log.Info("quiet")
	log.Warn("loud", "n", 3)
	var line struct {
		Msg string
		N   int
	}
	if err := json.Unmarshal(out.Bytes(), &line); err != nil {
		t.Fatalf("not one JSON line: %v in %q", err, out.String())
	}
	if line.Msg != "loud" || line.N != 3 {
		t.Errorf("got %+v", line)
	}
}

func TestLoggerRefusesWhatItDoesNotKnow(t *testing.T) {
	t.Parallel()
	if _, err := NewLogger(io.Discard, "chatty", "text"); err == nil || !strings.Contains(err.Error(), "chatty") {
		t.Errorf("level: %v", err)
	}
	if _, err := NewLogger(io.Discard, "info", "xml"); err == nil || !strings.Contains(err.Error(), "xml") {
		t.Errorf("format: %v", err)
	}
}

func TestMetricsShowTheRuntime(t *testing.T) {
	t.Parallel()
	answer := httptest.NewRecorder()
	MetricsHandler(NewRegistry()).ServeHTTP(answer, httptest.NewRequest(http.MethodGet, "/metrics", nil))
	if answer.Code != http.StatusOK || !strings.Contains(answer.Body.String(), "go_goroutines") {
		t.Errorf("%d %.200s", answer.Code, answer.Body.String())
	}
}

func TestTracesAreOffWithoutAnEndpoint(t *testing.T) {
	t.Setenv("OTEL_EXPORTER_OTLP_ENDPOINT", "")
	t.Setenv("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "")
	traces, err := NewTraces(context.Background(), "test")
	if err != nil {
		t.Fatal(err)
	}
	if traces.Provider != nil {
		t.Error("spans without an endpoint")
	}
	if err := traces.Close(context.Background()); err != nil {
		t.Error(err)
	}
}

func TestTracesReachTheCollector(t *testing.T) {
	got := make(chan string, 1)
	collector := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		select {
		case got <- r.URL.Path:
		default:
		}
	}))
	defer collector.Close()
	t.Setenv("OTEL_EXPORTER_OTLP_ENDPOINT", collector.URL)
	traces, err := NewTraces(context.Background(), "test")
	if err != nil {
		t.Fatal(err)
	}
	_, span := traces.Provider.Tracer("x").Start(context.Background(), "y")
	span.End()
	if err := traces.Close(context.Background()); err != nil {
		t.Fatal(err)
	}
	if path := <-got; path != "/v1/traces" {
		t.Errorf("exported to %s", path)
	}
}
