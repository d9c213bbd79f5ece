package causality

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

func TestEventsGoThroughAProxyThatTheTransportNames(t *testing.T) {
	t.Parallel()
	s := &server{}
	proxy := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Host != "causality.test" {
			http.Error(w, "not meant for a proxy", http.StatusTeapot)
			return
		}
		s.ServeHTTP(w, r)
	}))
	defer proxy.Close()
	address, err := url.Parse(proxy.URL)
	if err != nil {
		t.Fatal(err)
	}
	transport := &http.Transport{Proxy: http.ProxyURL(address)}
	defer transport.CloseIdleConnections()
	c := start(t, transport) // its Host, causality.test, has no address
	track(t, c, "through")
	if err := c.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
	if seen := s.seen(); len(seen) != 1 || seen[0].names[0] != "through" {
		t.Errorf("the server saw %+v, want the event", seen)
	}
}

// TestATransportThatIgnoresItsContextHoldsNobodyUp has one that waits for an hour.
func TestATransportThatIgnoresItsContextHoldsNobodyUp(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := &server{}
		var calls, running, most atomic.Int32
		c := start(t, roundTripper(func(r *http.Request) (*http.Response, error) {
			most.Store(max(most.Load(), running.Add(1)))
			defer running.Add(-1)
			if calls.Add(1) == 1 {
				time.Sleep(time.Hour)
			}
			return s.RoundTrip(r)
		}), func(o *Options) { o.RequestTimeout = 5 * time.Second })
		track(t, c, "kept")
		began := time.Now()
		if err := c.Flush(t.Context()); !errors.Is(err, ErrUndelivered) || !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("Flush = %v, want ErrUndelivered because of the deadline", err)
		}
		if took := time.Since(began); took != 6*time.Second {
			t.Errorf("Flush took %s, want the request's 5 s and a second of grace", took)
		}
		if err := c.Flush(t.Context()); !errors.Is(err, ErrUndelivered) || !strings.Contains(err.Error(), "earlier request") {
			t.Errorf("Flush = %v, want it to name the earlier request", err)
		}
		time.Sleep(2 * time.Hour)
		synctest.Wait()
		if stats := c.Stats(); stats.Sent != 1 || stats.Queued != 0 {
			t.Errorf("stats are %+v, want the event sent once the transport works", stats)
		}
		if most.Load() != 1 {
			t.Errorf("%d calls of the transport ran at once, want one", most.Load())
		}
		if err := c.Close(t.Context()); err != nil {
			t.Error(err)
		}
	})
}

func TestCloseLeavesAHangingTransportBehind(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		c := start(t, roundTripper(func(*http.Request) (*http.Response, error) {
			time.Sleep(time.Hour)
			return nil, errors.New("too late")
		}))
		track(t, c, "lost")
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		began := time.Now()
		if err := c.Close(ctx); !errors.Is(err, ErrUndelivered) {
			t.Errorf("Close = %v, want ErrUndelivered", err)
		}
		if took := time.Since(began); took > 3*time.Second {
			t.Errorf("Close took %s, want little more than its second", took)
		}
		time.Sleep(time.Hour) // so that the transport returns, too late
	})
}

func TestCloseEndsThoughACallbackHangs(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		release := make(chan struct{})
		c := start(t, &server{reject: "bad"}, func(o *Options) { o.OnReject = func(Rejection) { <-release } })
		track(t, c, "bad")
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		began := time.Now()
		if err := c.Close(ctx); err == nil || !strings.Contains(err.Error(), "callback") {
			t.Errorf("Close = %v, want it to name the callback", err)
		}
		if took := time.Since(began); took > 10*time.Second {
			t.Errorf("Close took %s", took)
		}
		close(release)
		if err := c.Close(t.Context()); err != nil {
			t.Errorf("Close = %v once the callback has returned", err)
		}
	})
}

func TestATransportThatAnswersNothingIsAFailedAttempt(t *testing.T) {
	t.Parallel()
	s := &server{}
	var calls atomic.Int32
	c := start(t, roundTripper(func(r *http.Request) (*http.Response, error) {
		if calls.Add(1) == 1 {
			var none *http.Response
			return none, nil // net/http refuses an answer without a response
		}
		return s.RoundTrip(r)
	}))
	track(t, c, "kept")
	if err := c.Flush(t.Context()); !errors.Is(err, ErrUndelivered) {
		t.Errorf("Flush = %v, want ErrUndelivered", err)
	}
	if err := errors.Join(c.Flush(t.Context()), c.Close(t.Context())); err != nil {
		t.Error(err)
	}
	if len(s.seen()) != 1 {
		t.Error("the event was not delivered by the second attempt")
	}
}

func TestAnAnswerThatNeverEndsIsCutOff(t *testing.T) {
	t.Parallel()
	endless := roundTripper(func(r *http.Request) (*http.Response, error) {
		return &http.Response{
			StatusCode: http.StatusOK, Status: "200 OK", Request: r,
			Header: http.Header{"Content-Type": {"application/proto"}}, Body: io.NopCloser(zeros{}),
		}, nil
	})
	c := start(t, endless)
	track(t, c, "kept")
	if err := c.Flush(t.Context()); !errors.Is(err, ErrUndelivered) || !strings.Contains(err.Error(), "2 MiB") {
		t.Errorf("Flush = %v, want it to name the length", err)
	}
	if err := c.Close(t.Context()); !errors.Is(err, ErrUndelivered) {
		t.Errorf("Close = %v, want ErrUndelivered", err)
	}
}

type zeros struct{}

func (zeros) Read(b []byte) (int, error) { clear(b); return len(b), nil }

// TestEventsAcceptedWhileClosingAreDelivered lets callers race Close: what Track
// took arrives once, and what it did not take says so.
func TestEventsAcceptedWhileClosingAreDelivered(t *testing.T) {
	t.Parallel()
	for name, withFile := range map[string]bool{"memory": false, "file": true} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			for range 5 {
				s := &server{}
				file := filepath.Join(t.TempDir(), "queue")
				c := start(t, s, func(o *Options) {
					if withFile {
						o.QueueFile = file
					}
				})
				taken := make([][]string, 8)
				begun := make(chan struct{})
				var once sync.Once
				var callers sync.WaitGroup
				for caller := range taken {
					callers.Go(func() {
						for n := 0; ; n++ {
							event := fmt.Sprintf("%d-%d", caller, n)
							err := c.Track(t.Context(), Event{Name: event, UserID: "u1"})
							if errors.Is(err, ErrClosed) {
								return
							}
							if err != nil {
								t.Error(err)
								return
							}
							taken[caller] = append(taken[caller], event)
							if n == 50 {
								once.Do(func() { close(begun) })
							}
						}
					})
				}
				<-begun
				if err := c.Close(t.Context()); err != nil {
					t.Fatal(err)
				}
				callers.Wait()
				arrived := map[string]int{}
				total := 0
				for _, r := range s.seen() {
					for _, event := range r.names {
						arrived[event]++
						total++
					}
				}
				for _, events := range taken {
					total -= len(events)
					for _, event := range events {
						if arrived[event] != 1 {
							t.Errorf("%s arrived %d times", event, arrived[event])
						}
					}
				}
				if total != 0 {
					t.Errorf("%d more events arrived than were taken", total)
				}
			}
		})
	}
}
