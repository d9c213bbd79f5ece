package causality

import (
	"net/http"
	"path/filepath"
	"strings"
	"testing"
)

// BenchmarkTrack measures how long a caller waits, without a pause, while the
// background work that its events cause runs beside it. The network is down, so
// that the queue is full and drops its oldest all the time. refused/op is the share
// of events that came faster than the disk takes them.
func BenchmarkTrack(b *testing.B) {
	for name, file := range map[string]string{"memory": "", "file": filepath.Join(b.TempDir(), "queue")} {
		b.Run(name, func(b *testing.B) {
			c, err := New(Options{
				Host: "http://causality.test", WriteKey: "wk_bench", QueueFile: file,
				Transport: roundTripper(func(*http.Request) (*http.Response, error) { return nil, http.ErrServerClosed }),
			})
			if err != nil {
				b.Fatal(err)
			}
			ctx := b.Context()
			e := Event{
				Name: "order paid", UserID: "user-4711", SessionID: "s-1",
				Properties: Properties{
					"total": 12.5, "plan": "pro", "items": 3, "coupon": strings.Repeat("c", 100),
				},
			}
			b.ReportAllocs()
			refused := 0
			for b.Loop() {
				if err := c.Track(ctx, e); err != nil {
					refused++
				}
			}
			b.ReportMetric(float64(refused)/float64(b.N), "refused/op")
			b.StopTimer()
			_ = c.Close(ctx)
		})
	}
}

type roundTripper func(*http.Request) (*http.Response, error)

func (f roundTripper) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }
