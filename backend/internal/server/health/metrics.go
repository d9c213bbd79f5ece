package health

import (
	"context"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

var (
	lagDesc = prometheus.NewDesc("causality_lag_seconds", "Age of the oldest event that is accepted and not yet queryable.", nil, nil)
	p95Desc = prometheus.NewDesc("causality_lag_p95_seconds", "95th percentile from accepted to queryable, over the last 5 minutes.", nil, nil)
	useDesc = prometheus.NewDesc("causality_stream_bytes", "Bytes that a lane of the stream holds.", []string{"lane"}, nil)
	maxDesc = prometheus.NewDesc("causality_stream_max_bytes", "Bytes that a lane of the stream may hold.", []string{"lane"}, nil)
	upDesc  = prometheus.NewDesc("causality_postgres_up", "1 while PostgreSQL answers.", nil, nil)
)

// Describe implements prometheus.Collector.
func (h *Handler) Describe(descriptions chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{lagDesc, p95Desc, useDesc, maxDesc, upDesc} {
		descriptions <- d
	}
}

// Collect implements prometheus.Collector: figures over all workspaces.
func (h *Handler) Collect(metrics chan<- prometheus.Metric) {
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second) // the scraper's own context does not reach here
	defer cancel()
	gauge := func(d *prometheus.Desc, value float64, labels ...string) {
		metrics <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, value, labels...)
	}
	lag := h.cfg.Lake.Lag(ctx)
	gauge(lagDesc, lag.Oldest.Seconds())
	gauge(p95Desc, lag.P95.Seconds())
	for _, lane := range h.cfg.Stream.Lanes() {
		if state, err := h.cfg.Stream.State(ctx, lane); err == nil {
			gauge(useDesc, float64(state.Bytes), string(lane))
			gauge(maxDesc, float64(state.MaxBytes), string(lane))
		}
	}
	up := 0.0
	if h.cfg.Postgres.Pool().Ping(ctx) == nil {
		up = 1
	}
	gauge(upDesc, up)
}
