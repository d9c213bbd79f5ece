package causality

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

func TestCallbacksTellWhatBecameOfEvents(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var up atomic.Bool
		s := &server{reject: "bad", status: func(int) (int, http.Header) {
			if up.Load() {
				return 200, nil
			}
			return 503, nil
		}}
		var told []string
		tell := func(format string, args ...any) { told = append(told, fmt.Sprintf(format, args...)) }
		c := start(t, s, func(o *Options) {
			o.MaxAge = time.Hour
			o.OnReject = func(r Rejection) { tell("rejected %s", r.Code) }
			o.OnDrop = func(reason string, events int) { tell("dropped %d %s", events, reason) }
			o.OnDelivered = func(events int) { tell("delivered %d", events) }
			o.OnError = func(err error) { tell("failed %t", strings.Contains(err.Error(), "503")) }
		})
		track(t, c, "a", "b")
		if err := c.Flush(t.Context()); !errors.Is(err, ErrUndelivered) {
			t.Fatalf("Flush = %v, want ErrUndelivered", err)
		}
		time.Sleep(61 * time.Minute) // both expire
		up.Store(true)
		track(t, c, "c", "bad", "d")
		if err := c.Close(t.Context()); err != nil {
			t.Fatal(err)
		}
		got := strings.Join(slices.Compact(told), ", ")
		if want := "failed true, dropped 2 expired, delivered 2, rejected plan_violation"; got != want {
			t.Errorf("told %s, want %s", got, want)
		}
	})
}

func TestACallbacksPanicIsLoggedAndGoesNoFurther(t *testing.T) {
	t.Parallel()
	var text strings.Builder
	var lock sync.Mutex
	mistake := func() { panic("a host's mistake") }
	s := &server{reject: "bad"}
	c := start(t, s, func(o *Options) {
		o.Logger = slog.New(slog.NewTextHandler(lockedWriter{&lock, &text}, nil))
		o.OnReject = func(Rejection) { mistake() }
		o.OnDelivered = func(int) { mistake() }
	})
	track(t, c, "good", "bad")
	if err := errors.Join(c.Flush(t.Context()), c.Close(t.Context())); err != nil {
		t.Fatal(err)
	}
	for _, callback := range []string{"callback=OnReject", "callback=OnDelivered"} {
		if !strings.Contains(text.String(), callback) {
			t.Errorf("the log does not name %s:\n%s", callback, text.String())
		}
	}
}

type lockedWriter struct {
	lock *sync.Mutex
	text *strings.Builder
}

func (w lockedWriter) Write(b []byte) (int, error) {
	w.lock.Lock()
	defer w.lock.Unlock()
	return w.text.Write(b)
}

// TestWaitForRoomLosesNothing sends more than the queue holds while the server is
// away half of the time.
func TestWaitForRoomLosesNothing(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := &server{status: func(attempt int) (int, http.Header) {
			if attempt%2 == 1 {
				return 503, nil
			}
			return 200, nil
		}}
		c := start(t, s, func(o *Options) { o.WaitForRoom, o.QueueBytes = true, 2<<20 })
		const callers, each = 4, 1000
		pad := strings.Repeat("p", 1000)
		var group sync.WaitGroup
		for caller := range callers {
			group.Go(func() {
				for n := range each {
					if err := c.Track(t.Context(), Event{Name: fmt.Sprintf("%d %04d", caller, n), UserID: "u1", Properties: Properties{"pad": pad}}); err != nil {
						t.Error(err)
						return
					}
					if bytes := c.Stats().QueuedBytes; bytes > 2<<20 {
						t.Errorf("%d bytes are queued, more than allowed", bytes)
						return
					}
				}
			})
		}
		group.Wait()
		for c.Flush(t.Context()) != nil {
			time.Sleep(time.Minute)
		}
		if stats := c.Stats(); stats.Sent != callers*each || len(stats.Dropped) != 0 {
			t.Errorf("stats are %+v, want everything sent", stats)
		}
		if err := c.Close(t.Context()); err != nil {
			t.Error(err)
		}
	})
}

func TestWaitForRoomEndsWithItsContextAndWithClose(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := &server{status: func(int) (int, http.Header) { return 503, nil }}
		c := start(t, s, func(o *Options) { o.WaitForRoom, o.QueueBytes = true, 2<<20 })
		fill := func(ctx context.Context) error {
			for {
				if err := c.Track(ctx, Event{Name: "x", UserID: "u1", Properties: Properties{"pad": strings.Repeat("p", 20_000)}}); err != nil {
					return err
				}
			}
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		began := time.Now()
		if err := fill(ctx); !errors.Is(err, ErrQueueFull) || !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("Track = %v, want ErrQueueFull after the deadline", err)
		}
		if took := time.Since(began); took != time.Second {
			t.Errorf("Track waited for %s, want 1s", took)
		}
		if stats := c.Stats(); stats.Dropped["queue_full"] != 1 || len(stats.Dropped) != 1 {
			t.Errorf("stats are %+v, want the one refusal counted and nothing dropped", stats)
		}
		waiting := make(chan error, 1)
		go func() { waiting <- fill(t.Context()) }()
		synctest.Wait()
		if err := c.Close(t.Context()); !errors.Is(err, ErrUndelivered) {
			t.Errorf("Close = %v, want ErrUndelivered", err)
		}
		if err := <-waiting; !errors.Is(err, ErrClosed) {
			t.Errorf("Track = %v, want ErrClosed", err)
		}
	})
}
