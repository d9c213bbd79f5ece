package causality

import (
	"bytes"
	"compress/gzip"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

// server is a stand-in for ingest: it decodes requests and answers as told.
type server struct {
	mu       sync.Mutex
	requests []request
	status   func(attempt int) (int, http.Header)
	reject   string // the name of events to reject
}

type request struct {
	at      time.Time
	header  http.Header
	batchID string
	names   []string
	ids     []string

	correlations []string // of each event, empty for none
	dropped      map[string]int64
}

func (s *server) RoundTrip(r *http.Request) (*http.Response, error) {
	w := httptest.NewRecorder()
	s.ServeHTTP(w, r)
	return w.Result(), nil
}

func (s *server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	s.mu.Lock()
	defer s.mu.Unlock()
	unpacked, err := gzip.NewReader(r.Body)
	if err != nil || r.URL.Path != ingestPath {
		http.Error(w, "not a packed ingest request", http.StatusTeapot)
		return
	}
	body, err := io.ReadAll(unpacked)
	if err != nil {
		http.Error(w, err.Error(), http.StatusTeapot)
		return
	}
	req := parseRequest(body)
	req.at, req.header = time.Now(), r.Header.Clone()
	s.requests = append(s.requests, req)
	if s.status != nil {
		if status, header := s.status(len(s.requests)); status != http.StatusOK {
			for k, v := range header {
				w.Header()[k] = v
			}
			w.WriteHeader(status)
			return
		}
	}
	reply := []byte{}
	accepted := 0
	for i, name := range req.names {
		if s.reject == "" || name != s.reject {
			accepted++
			continue
		}
		rejection := append([]byte{1 << 3}, byte(i))
		rejection = appendField(rejection, 2, req.ids[i])
		rejection = appendField(rejection, 3, "plan_violation")
		rejection = appendField(rejection, 5, "Add it to the plan.")
		reply = appendField(reply, 3, string(rejection))
	}
	if accepted > 0 {
		reply = binary.AppendUvarint(append(reply, 1<<3), uint64(accepted))
	}
	w.Header().Set("Content-Type", "application/proto")
	_, _ = w.Write(reply)
}

func appendField(dst []byte, field byte, value string) []byte {
	return append(binary.AppendUvarint(append(dst, field<<3|2), uint64(len(value))), value...)
}

func (s *server) seen() []request {
	s.mu.Lock()
	defer s.mu.Unlock()
	return append([]request(nil), s.requests...)
}

func parseRequest(body []byte) request {
	out := request{dropped: map[string]int64{}}
	fields(body, func(field int, value []byte, _ uint64) {
		switch field {
		case 1:
			out.correlations = append(out.correlations, "")
			fields(value, func(field int, value []byte, _ uint64) {
				switch field {
				case 9:
					out.correlations[len(out.correlations)-1] = string(value)
				case 1:
					out.ids = append(out.ids, string(value))
				case 3:
					out.names = append(out.names, string(value))
				}
			})
		case 3:
			out.batchID = string(value)
		case 5:
			var reason string
			fields(value, func(field int, value []byte, n uint64) {
				if field == 1 {
					reason = string(value)
				} else {
					out.dropped[reason] = int64(n)
				}
			})
		}
	})
	return out
}

// fields walks a message of varint and length-delimited fields.
func fields(b []byte, each func(field int, value []byte, n uint64)) {
	for len(b) > 0 {
		tag, size := binary.Uvarint(b)
		v, length := binary.Uvarint(b[size:])
		b = b[size+length:]
		if tag&7 == 2 {
			each(int(tag>>3), b[:v], 0)
			b = b[v:]
		} else {
			each(int(tag>>3), nil, v)
		}
	}
}

func start(t *testing.T, transport http.RoundTripper, change ...func(*Options)) *Client {
	t.Helper()
	o := Options{Host: "http://causality.test", WriteKey: "wk_test", Transport: transport}
	for _, f := range change {
		f(&o)
	}
	c, err := New(o)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func track(t *testing.T, c *Client, names ...string) {
	t.Helper()
	for _, name := range names {
		if err := c.Track(t.Context(), Event{Name: name, UserID: "u1"}); err != nil {
			t.Fatal(err)
		}
	}
}

func TestFlushDeliversInOrderAsTheProtocolAsks(t *testing.T) {
	t.Parallel()
	s := &server{}
	web := httptest.NewServer(s)
	defer web.Close()
	c := start(t, nil, func(o *Options) { o.Host = web.URL + "/" })
	track(t, c, "a", "b", "c")
	if err := c.Identify(t.Context(), Identity{UserID: "u1", Traits: Traits{Set: Properties{"plan": "pro"}}}); err != nil {
		t.Fatal(err)
	}
	if err := c.Flush(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := c.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, r := range s.seen() {
		names = append(names, r.names...)
		for header, want := range map[string]string{
			"Authorization": "Bearer wk_test", "Content-Type": "application/proto",
			"Content-Encoding": "gzip", "Connect-Protocol-Version": "1",
		} {
			if got := r.header.Get(header); got != want {
				t.Errorf("%s = %q, want %q", header, got, want)
			}
		}
	}
	if strings.Join(names, "") != "abc" {
		t.Errorf("the server saw %q, want a, b, c", names)
	}
	if stats := c.Stats(); stats.Sent != 4 || stats.Queued != 0 {
		t.Errorf("stats are %+v, want 4 sent", stats)
	}
}

func TestHundredEventsOrTenSecondsStartARequest(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := &server{}
		c := start(t, s)
		began := time.Now()
		track(t, c, "early")
		time.Sleep(9999 * time.Millisecond)
		synctest.Wait()
		if n := len(s.seen()); n != 0 {
			t.Fatalf("%d requests before 10 s", n)
		}
		time.Sleep(2 * time.Millisecond)
		synctest.Wait()
		seen := s.seen()
		if len(seen) != 1 || seen[0].at.Sub(began) != 10*time.Second {
			t.Fatalf("requests %+v, want one after 10 s", seen)
		}
		for range 100 {
			track(t, c, "many")
		}
		synctest.Wait()
		if seen := s.seen(); len(seen) != 2 || len(seen[1].names) != 100 {
			t.Fatalf("%d requests, want a second one with 100 events at once", len(seen))
		}
		if err := c.Close(t.Context()); err != nil {
			t.Error(err)
		}
	})
}

func TestAFailingServerIsTriedAgainWithTheSameBatchUntilItAnswers(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := &server{status: func(attempt int) (int, http.Header) {
			switch {
			case attempt == 1:
				return 429, http.Header{"Retry-After": {"90"}}
			case attempt < 30:
				return 503, nil
			}
			return 200, nil
		}}
		c := start(t, s)
		track(t, c, "kept")
		if err := c.Flush(t.Context()); !errors.Is(err, ErrUndelivered) || !strings.Contains(err.Error(), "429") {
			t.Fatalf("Flush = %v, want ErrUndelivered naming 429", err)
		}
		if err := c.Flush(t.Context()); !errors.Is(err, ErrUndelivered) || len(s.seen()) != 1 {
			t.Fatalf("Flush = %v after %d requests; Retry-After is a floor even for it", err, len(s.seen()))
		}
		track(t, c, "later")
		time.Sleep(3 * time.Hour)
		synctest.Wait()
		seen := s.seen()
		if len(seen) < 30 {
			t.Fatalf("%d attempts in three hours, want 30", len(seen))
		}
		if gap := seen[1].at.Sub(seen[0].at); gap < 90*time.Second {
			t.Errorf("second attempt after %s, want at least 90 s", gap)
		}
		for i, r := range seen[:30] {
			if r.batchID != seen[0].batchID || len(r.ids) != 1 || r.ids[0] != seen[0].ids[0] {
				t.Errorf("attempt %d carries batch %s with %v, want the first one's", i, r.batchID, r.ids)
			}
			if i > 1 {
				if gap := r.at.Sub(seen[i-1].at); gap > 300*time.Second {
					t.Errorf("attempt %d after %s, want 300 s at most", i, gap)
				}
			}
		}
		if stats := c.Stats(); stats.Queued != 0 || stats.Sent != 2 {
			t.Errorf("stats are %+v, want both sent", stats)
		}
		if err := c.Close(t.Context()); err != nil {
			t.Error(err)
		}
	})
}

// TestAFlushDuringAnAttemptThatFailsGetsOneOfItsOwn: the network may be back since
// that attempt began.
func TestAFlushDuringAnAttemptThatFailsGetsOneOfItsOwn(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := &server{status: func(attempt int) (int, http.Header) {
			if attempt == 1 {
				time.Sleep(5 * time.Second)
				return 503, nil
			}
			return 200, nil
		}}
		c := start(t, s)
		track(t, c, "n")
		time.Sleep(11 * time.Second) // the first attempt is under way
		before := time.Now()
		if err := c.Flush(t.Context()); err != nil || len(s.seen()) != 2 || time.Since(before) > 5*time.Second {
			t.Errorf("Flush = %v after %s and %d requests, want success once the first has failed", err, time.Since(before), len(s.seen()))
		}
		if err := c.Close(t.Context()); err != nil {
			t.Error(err)
		}
	})
}

func TestARefusedKeyPausesAndKeeps(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		allowed := false
		s := &server{}
		s.status = func(int) (int, http.Header) {
			if allowed {
				return 200, nil
			}
			return 401, nil
		}
		c := start(t, s)
		track(t, c, "kept")
		time.Sleep(59 * time.Minute)
		synctest.Wait()
		if stats := c.Stats(); len(s.seen()) != 1 || !stats.Paused || stats.Queued != 1 {
			t.Fatalf("%d requests, stats %+v; want one request and a pause", len(s.seen()), stats)
		}
		s.mu.Lock()
		allowed = true
		s.mu.Unlock()
		if err := c.Flush(t.Context()); err != nil {
			t.Fatal(err)
		}
		if stats := c.Stats(); stats.Paused || stats.Sent != 1 {
			t.Errorf("stats are %+v, want it sent", stats)
		}
		if err := c.Close(t.Context()); err != nil {
			t.Error(err)
		}
	})
}

func TestRejectionsAreCountedByCodeAndTold(t *testing.T) {
	t.Parallel()
	s := &server{reject: "bad"}
	var told []Rejection
	c := start(t, s, func(o *Options) {
		o.OnReject = func(r Rejection) {
			told = append(told, r)
			panic("the host's mistake")
		}
	})
	track(t, c, "good", "bad", "good")
	if err := c.Flush(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := c.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
	if len(told) != 1 || told[0].Code != "plan_violation" || told[0].ID != s.requests[0].ids[1] {
		t.Errorf("told %+v, want the second event's rejection", told)
	}
	if stats := c.Stats(); stats.Sent != 2 || stats.Dropped["plan_violation"] != 1 {
		t.Errorf("stats are %+v", stats)
	}
}

func TestRefusedEventsAreCountedAndReportedWithTheNextBatch(t *testing.T) {
	t.Parallel()
	s := &server{}
	c := start(t, s)
	circle := Properties{}
	circle["self"] = circle
	nested := map[string]any{}
	nested["self"] = nested
	for problem, e := range map[string]Event{
		"name":                 {UserID: "u1"},
		"properties.total":     {Name: "x", Properties: Properties{"total": nan()}},
		"properties.f":         {Name: "x", Properties: Properties{"f": func() {}}},
		"properties.self":      {Name: "x", Properties: circle},
		"properties.self.self": {Name: "x", Properties: nested},
		"properties.p":         {Name: "x", Properties: Properties{"p": panics{}}},
		"timestamp":            {Name: "x", Timestamp: time.Date(12000, 1, 1, 0, 0, 0, 0, time.UTC)},
		"user_id":              {Name: "x", UserID: strings.Repeat("é", 201)},
	} {
		if err := c.Track(t.Context(), e); !errors.Is(err, ErrInvalidEvent) || !strings.Contains(err.Error(), problem) {
			t.Errorf("Track = %v, want ErrInvalidEvent naming %s", err, problem)
		}
	}
	if err := c.Track(t.Context(), Event{Name: "x", Properties: Properties{"s": strings.Repeat("s", 33<<10)}}); !errors.Is(err, ErrInvalidEvent) {
		t.Errorf("Track = %v, want ErrInvalidEvent for 33 KiB", err)
	}
	track(t, c, "fine")
	if err := c.Flush(t.Context()); err != nil {
		t.Fatal(err)
	}
	track(t, c, "fine too")
	if err := c.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
	seen := s.seen()
	if got := seen[0].dropped; got["invalid"] != 8 || got["too_large"] != 1 || len(got) != 2 {
		t.Errorf("first batch reports %v, want 8 invalid and 1 too_large", got)
	}
	if got := seen[1].dropped; len(got) != 0 {
		t.Errorf("second batch reports %v again", got)
	}
}

type panics struct{}

func (panics) MarshalJSON() ([]byte, error) { panic("a host's mistake") }

func nan() float64 { var zero float64; return zero / zero }

func TestOptOutClearsTheQueueAndIgnoresEventsAcrossRestarts(t *testing.T) {
	t.Parallel()
	s := &server{}
	file := filepath.Join(t.TempDir(), "queue")
	withFile := func(o *Options) { o.QueueFile = file }
	c := start(t, s, withFile)
	track(t, c, "before")
	c.OptOut()
	track(t, c, "during")
	if err := c.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
	c = start(t, s, withFile)
	track(t, c, "still out")
	if err := c.Flush(t.Context()); err != nil {
		t.Fatal(err)
	}
	c.OptIn()
	track(t, c, "after")
	if err := c.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
	seen := s.seen()
	if len(seen) != 1 || len(seen[0].names) != 1 || seen[0].names[0] != "after" || len(seen[0].dropped) != 0 {
		t.Errorf("the server saw %+v, want only what came after OptIn", seen)
	}
}

func TestARestartSendsTheSameBatchWithTheSameIDs(t *testing.T) {
	t.Parallel()
	down := &server{status: func(int) (int, http.Header) { return 503, nil }}
	file := filepath.Join(t.TempDir(), "folder", "queue")
	withFile := func(o *Options) { o.QueueFile = file }
	c := start(t, down, withFile)
	track(t, c, "a", "b")
	if err := c.Flush(t.Context()); !errors.Is(err, ErrUndelivered) {
		t.Fatalf("Flush = %v, want ErrUndelivered", err)
	}
	if err := c.Close(t.Context()); err != nil {
		t.Fatalf("Close = %v; events in a file are not lost", err)
	}
	up := &server{}
	c = start(t, up, withFile)
	track(t, c, "c")
	if err := c.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
	first, again := down.seen()[0], up.seen()[0]
	if again.batchID != first.batchID || strings.Join(again.ids, " ") != strings.Join(first.ids, " ") {
		t.Errorf("after the restart batch %s with %v, want %s with %v", again.batchID, again.ids, first.batchID, first.ids)
	}
	if n := len(up.seen()); n != 2 {
		t.Errorf("%d requests after the restart, want the old batch and the new event", n)
	}
}

func TestAQueueFileInUseFallsBackToMemoryAndSaysSo(t *testing.T) {
	t.Parallel()
	file := filepath.Join(t.TempDir(), "queue")
	withFile := func(o *Options) { o.QueueFile = file }
	owner := start(t, &server{}, withFile)
	s := &server{}
	c := start(t, s, withFile)
	if stats := c.Stats(); !stats.InMemory || stats.QueueError == nil {
		t.Errorf("stats are %+v, want InMemory and why", stats)
	}
	track(t, c, "delivered anyway")
	if err := errors.Join(c.Close(t.Context()), owner.Close(t.Context())); err != nil {
		t.Error(err)
	}
	if len(s.seen()) != 1 {
		t.Error("the event was not delivered")
	}
}

func TestADamagedQueueFileIsSetAsideAndCounted(t *testing.T) {
	t.Parallel()
	file := filepath.Join(t.TempDir(), "queue")
	if err := os.WriteFile(file, bytes.Repeat([]byte("not a queue"), 10_000), 0o600); err != nil {
		t.Fatal(err)
	}
	s := &server{}
	var c *Client
	handler := slog.NewTextHandler(trackingWriter{&c}, nil)
	c = start(t, s, func(o *Options) { o.QueueFile, o.Logger = file, slog.New(handler) })
	if stats := c.Stats(); stats.InMemory || stats.QueueError == nil || stats.Dropped["damaged"] != 1 {
		t.Errorf("stats are %+v, want the damage counted and a fresh file in use", stats)
	}
	if _, err := os.Stat(file + ".damaged"); err != nil {
		t.Error(err)
	}
	track(t, c, "after")
	if err := c.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
	if seen := s.seen(); len(seen) != 1 || seen[0].dropped["damaged"] != 1 {
		t.Errorf("the server saw %+v, want the event and the count", seen)
	}
}

// trackingWriter is a host that records its log as events, and then panics.
type trackingWriter struct{ c **Client }

func (w trackingWriter) Write(b []byte) (int, error) {
	if *w.c != nil {
		_ = (*w.c).Track(context.Background(), Event{Name: "log", UserID: "u1"})
	}
	panic("a host's mistake")
}

func TestALoggerMayRecordEventsAndPanic(t *testing.T) {
	t.Parallel()
	var c *Client
	down := &server{status: func(int) (int, http.Header) { return 503, nil }}
	handler := slog.NewTextHandler(trackingWriter{&c}, nil)
	c = start(t, down, func(o *Options) { o.Logger = slog.New(handler) })
	track(t, c, "first")
	if err := c.Flush(t.Context()); !errors.Is(err, ErrUndelivered) {
		t.Fatalf("Flush = %v, want ErrUndelivered", err)
	}
	if n := c.Stats().Queued; n != 2 {
		t.Errorf("%d events are queued, want the first and the log's", n)
	}
	if err := c.Close(t.Context()); !errors.Is(err, ErrUndelivered) {
		t.Errorf("Close = %v, want ErrUndelivered", err)
	}
}

func TestManyCallersKeepTheirOrder(t *testing.T) {
	t.Parallel()
	s := &server{}
	c := start(t, s, func(o *Options) { o.QueueFile = filepath.Join(t.TempDir(), "queue") })
	var callers sync.WaitGroup
	for caller := range 8 {
		callers.Go(func() {
			for n := range 500 {
				if err := c.Track(t.Context(), Event{Name: fmt.Sprintf("%d %04d", caller, n), UserID: "u1"}); err != nil {
					t.Error(err)
				}
				if n%100 == 0 {
					if err := c.Flush(t.Context()); err != nil {
						t.Error(err)
					}
				}
			}
		})
	}
	callers.Wait()
	if err := c.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
	last := map[byte]string{}
	total := 0
	for _, r := range s.seen() {
		for _, name := range r.names {
			if name <= last[name[0]] {
				t.Fatalf("%s follows %s", name, last[name[0]])
			}
			last[name[0]] = name
			total++
		}
	}
	if total != 4000 {
		t.Errorf("the server saw %d events, want 4000", total)
	}
}

func TestCloseIsRepeatableAndSaysWhatIsLost(t *testing.T) {
	t.Parallel()
	c := start(t, &server{status: func(int) (int, http.Header) { return 500, nil }})
	track(t, c, "lost")
	for range 2 {
		if err := c.Close(t.Context()); !errors.Is(err, ErrUndelivered) {
			t.Errorf("Close = %v, want ErrUndelivered", err)
		}
	}
	if err := c.Track(t.Context(), Event{Name: "x"}); !errors.Is(err, ErrClosed) {
		t.Errorf("Track = %v, want ErrClosed", err)
	}
	if err := c.Flush(t.Context()); !errors.Is(err, ErrClosed) {
		t.Errorf("Flush = %v, want ErrClosed", err)
	}
}

func TestCloseEndsWithItsContextWhenTheServerHangs(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		c := start(t, roundTripper(func(r *http.Request) (*http.Response, error) {
			<-r.Context().Done()
			return nil, r.Context().Err()
		}))
		track(t, c, "stuck")
		ctx, cancel := context.WithTimeout(t.Context(), 2*time.Second)
		defer cancel()
		began := time.Now()
		if err := c.Close(ctx); !errors.Is(err, ErrUndelivered) {
			t.Errorf("Close = %v, want ErrUndelivered", err)
		}
		if took := time.Since(began); took != 2*time.Second {
			t.Errorf("Close took %s, want 2s", took)
		}
	})
}

func TestAnswersOfOthersAreNotTakenForAcknowledgements(t *testing.T) {
	t.Parallel()
	answers := map[string]http.HandlerFunc{
		"login page":   func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "<html>please sign in") },
		"redirect":     func(w http.ResponseWriter, r *http.Request) { http.Redirect(w, r, "/login", http.StatusFound) },
		"empty answer": func(w http.ResponseWriter, _ *http.Request) { w.Header().Set("Content-Type", "application/proto") },
		"accounts for none": func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", "application/proto")
			_, _ = w.Write([]byte{8, 0})
		},
		"unknown route":      http.NotFound,
		"transport panicked": func(http.ResponseWriter, *http.Request) { panic("a transport's mistake") },
	}
	for name, answer := range answers {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			asked := 0
			c := start(t, roundTripper(func(r *http.Request) (*http.Response, error) {
				asked++
				w := httptest.NewRecorder()
				answer(w, r)
				return w.Result(), nil
			}))
			track(t, c, "kept")
			if err := c.Flush(t.Context()); !errors.Is(err, ErrUndelivered) {
				t.Errorf("Flush = %v, want ErrUndelivered", err)
			}
			if stats := c.Stats(); asked != 1 || stats.Queued != 1 || len(stats.Dropped) != 0 || stats.LastError == nil || stats.FailedAttempts != 1 {
				t.Errorf("asked %d times, stats %+v; want one request and the event kept", asked, stats)
			}
			ended, cancel := context.WithCancel(t.Context())
			cancel()
			_ = c.Close(ended)
		})
	}
}

func TestNewNamesEveryInvalidOption(t *testing.T) {
	t.Parallel()
	_, err := New(Options{Host: "ftp://x", WriteKey: "wk_a b", FlushAt: -1, FlushEvery: time.Nanosecond, QueueBytes: 1})
	for _, field := range []string{"Host", "WriteKey", "FlushAt", "FlushEvery", "QueueBytes"} {
		if err == nil || !strings.Contains(err.Error(), field) {
			t.Errorf("New = %v, want it to name %s", err, field)
		}
	}
}

func TestRetryAfterIsSecondsOrADate(t *testing.T) {
	t.Parallel()
	at := time.Date(2026, 11, 21, 9, 0, 0, 0, time.UTC)
	for header, want := range map[string]time.Duration{
		"": 0, "7": 7 * time.Second, "-1": 0, "soon": 0,
		"Sat, 21 Nov 2026 09:00:30 GMT": 30 * time.Second,
		"Sat, 21 Nov 2026 08:00:00 GMT": 0,
	} {
		if got := retryAfter(header, at); got != micros(want) {
			t.Errorf("retryAfter(%q) = %d, want %s", header, got, want)
		}
	}
}

func TestAQueueFileThatIsDamagedInUseIsReplacedAndCounted(t *testing.T) {
	t.Parallel()
	for name, harm := range map[string]func(file string) error{
		"cut off": func(file string) error { return os.Truncate(file, 2*int64(os.Getpagesize())) },
		"overwritten": func(file string) error {
			f, err := os.OpenFile(file, os.O_WRONLY, 0)
			if err != nil {
				return err
			}
			_, err = f.WriteAt(bytes.Repeat([]byte{0xa5}, 1<<20), 2*int64(os.Getpagesize()))
			return errors.Join(err, f.Close())
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := &server{}
			var up atomic.Bool
			s.status = func(int) (int, http.Header) {
				if up.Load() {
					return 200, nil
				}
				return 503, nil
			}
			file := filepath.Join(t.TempDir(), "queue")
			c := start(t, s, func(o *Options) { o.QueueFile = file })
			const lost = 50
			for n := range lost {
				track(t, c, fmt.Sprintf("lost %d", n))
			}
			if err := c.Flush(t.Context()); !errors.Is(err, ErrUndelivered) || c.Stats().QueueError != nil {
				t.Fatalf("Flush = %v, stats %+v", err, c.Stats())
			}
			if err := harm(file); err != nil {
				t.Fatal(err)
			}
			up.Store(true)
			track(t, c, "after")
			_ = c.Flush(t.Context()) // finds the damage
			if err := c.Flush(t.Context()); err != nil {
				t.Fatal(err)
			}
			if stats := c.Stats(); stats.Sent != 1 || stats.Dropped["damaged"] != lost || stats.QueueError == nil || stats.InMemory {
				t.Errorf("stats are %+v, want the damage counted, and a new file in use", stats)
			}
			if err := c.Close(t.Context()); err != nil {
				t.Error(err)
			}
			if _, err := os.Stat(file + ".damaged"); err != nil {
				t.Error(err)
			}
			last := s.seen()[len(s.seen())-1]
			if names := strings.Join(last.names, ","); names != "after" {
				t.Errorf("the last request carries %q, want what came after", names)
			}
		})
	}
}

func TestAQueueFileThatCannotBeFallsBackToMemory(t *testing.T) {
	t.Parallel()
	folder, err := os.MkdirTemp("", "queue") // a socket's path must be short
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(folder) })
	if err := os.WriteFile(filepath.Join(folder, "file"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	socket, err := net.Listen("unix", filepath.Join(folder, "socket"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = socket.Close() })
	for name, path := range map[string]string{
		"a folder":         folder,
		"below a file":     filepath.Join(folder, "file", "queue"),
		"of too long name": filepath.Join(folder, strings.Repeat("x", 300)),
		"of no valid name": filepath.Join(folder, "a\x00b"),
		"a socket":         filepath.Join(folder, "socket"),
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := &server{}
			c := start(t, s, func(o *Options) { o.QueueFile = path })
			if stats := c.Stats(); !stats.InMemory || stats.QueueError == nil {
				t.Errorf("stats are %+v, want InMemory and why", stats)
			}
			track(t, c, "delivered anyway")
			if err := c.Close(t.Context()); err != nil {
				t.Error(err)
			}
			if len(s.seen()) != 1 {
				t.Error("the event was not delivered")
			}
		})
	}
}
