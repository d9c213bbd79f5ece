package ingest

import "github.com/prometheus/client_golang/prometheus"

type metrics struct {
	accepted   prometheus.Counter
	duplicates prometheus.Counter
	rejected   *prometheus.CounterVec
	bytes      prometheus.Counter
}

func newMetrics(to prometheus.Registerer) (metrics, error) {
	events := prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "causality_ingest_events_total",
		Help: "Events answered, by result: accepted, or duplicate (known to have been accepted before).",
	}, []string{"result"})
	m := metrics{
		accepted:   events.WithLabelValues("accepted"),
		duplicates: events.WithLabelValues("duplicate"),
		rejected: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "causality_ingest_rejected_total",
			Help: "Events refused, by code.",
		}, []string{"code"}),
		bytes: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "causality_ingest_bytes_total",
			Help: "Bytes of accepted requests, decompressed.",
		}),
	}
	for _, c := range []prometheus.Collector{events, m.rejected, m.bytes} {
		if err := to.Register(c); err != nil {
			return metrics{}, err
		}
	}
	return m, nil
}

func (m *metrics) count(a *Answer, bytes int) {
	m.accepted.Add(float64(a.Accepted))
	m.duplicates.Add(float64(a.Duplicates))
	m.bytes.Add(float64(bytes))
	for i := range a.Rejected {
		m.rejected.WithLabelValues(a.Rejected[i].Code).Inc()
	}
}
