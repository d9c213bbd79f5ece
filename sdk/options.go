package causality

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"math"
	"net"
	"net/http"
	"net/url"
	"strings"
	"time"
)

// Options configures a Client. Zero values select the stated defaults.
type Options struct {
	Host     string // required; where Causality is served, for example https://causality.example.com
	WriteKey string // required; names the app, wk_…

	// QueueFile keeps unsent events across restarts and crashes; its folder is
	// created. One client at a time can have it open; New waits up to a second for
	// another to let go. Default: events wait in memory and end with the process.
	QueueFile string

	FlushAt    int           // events waiting that start a request, 1-2,000; default 100
	FlushEvery time.Duration // longest wait of an event while online, 10ms-1h; default 10s
	MaxAge     time.Duration // older events are dropped, 1m-30d; default 7 days
	QueueBytes int           // above it the oldest are dropped, 2 MiB-16 GiB; default 16 MiB in memory, 64 MiB in a file

	RequestTimeout time.Duration // for one attempt, 1s-5m; default 30s

	// Transport carries requests. The default connects directly, whatever the
	// environment says of proxies; to use one, pass an http.Transport that names it.
	// Redirects are never followed.
	Transport http.RoundTripper

	Logger *slog.Logger // delivery problems and drops; default discards

	// WaitForRoom makes Track and its sisters wait, until their context ends, while
	// the queue is full, where they would drop the oldest event or refuse the new one:
	// for imports and jobs that can wait for the server. The callbacks and Logger must
	// then record no events, which would wait for themselves.
	WaitForRoom bool

	// CorrelationID names the request or job of a context that WithCorrelationID has
	// given no id, for example by its trace (package causalityotel). Default: none.
	CorrelationID func(context.Context) string

	// The callbacks are called one at a time. They hold delivery up meanwhile, and
	// must not call Flush or Close, which wait for them. A panic in them is logged.
	OnReject    func(Rejection)                 // an event that the server did not take
	OnDrop      func(reason string, events int) // queued events were given up; the reasons are those of Stats.Dropped
	OnDelivered func(events int)                // the server took a batch, of which this many events count
	OnError     func(error)                     // an attempt failed, or the queue file; Stats says what became of the events
}

// complete fills in defaults and names every field that is wrong.
func (o *Options) complete() error {
	var wrong []error
	bad := func(format string, args ...any) { wrong = append(wrong, fmt.Errorf(format, args...)) }

	if o.Host == "" {
		bad("Host is empty; set it to where Causality is served, for example https://causality.example.com")
	} else if u, err := url.Parse(o.Host); err != nil || (u.Scheme != "http" && u.Scheme != "https") || u.Host == "" ||
		u.RawQuery != "" || u.Fragment != "" || u.User != nil {
		bad("Host is not an http or https address without query or password")
	}
	if o.WriteKey == "" {
		bad("WriteKey is empty; create one under Settings, or with: causality keys create --app APP --kind write")
	} else if strings.ContainsFunc(o.WriteKey, func(r rune) bool { return r <= ' ' || r > '~' }) {
		bad("WriteKey holds a space or another character that no key has")
	}
	between(&wrong, "FlushAt", &o.FlushAt, 100, 1, 2000)
	between(&wrong, "FlushEvery", &o.FlushEvery, 10*time.Second, 10*time.Millisecond, time.Hour)
	between(&wrong, "MaxAge", &o.MaxAge, 7*24*time.Hour, time.Minute, 30*24*time.Hour)
	between(&wrong, "RequestTimeout", &o.RequestTimeout, 30*time.Second, time.Second, 5*time.Minute)
	standard := 16 << 20
	if o.QueueFile != "" {
		standard = 64 << 20
	}
	between(&wrong, "QueueBytes", &o.QueueBytes, standard, 2<<20, min(16<<30, math.MaxInt))

	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	return errors.Join(wrong...)
}

func between[T int | time.Duration](wrong *[]error, field string, v *T, standard, least, most T) {
	if *v == 0 {
		*v = standard
	}
	if *v < least || *v > most {
		*wrong = append(*wrong, fmt.Errorf("%s is %v; it must be between %v and %v", field, *v, least, most))
	}
}

func newTransport() *http.Transport {
	return &http.Transport{
		DialContext:         (&net.Dialer{Timeout: 10 * time.Second, KeepAlive: 30 * time.Second}).DialContext,
		TLSClientConfig:     &tls.Config{MinVersion: tls.VersionTLS12},
		TLSHandshakeTimeout: 10 * time.Second,
		ForceAttemptHTTP2:   true,
		MaxIdleConns:        2,
		IdleConnTimeout:     90 * time.Second,
	}
}
