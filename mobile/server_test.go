package mobile

import (
	"bytes"
	"encoding/binary"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// got is an event as the server reads it.
type got struct {
	kind                               uint64
	id, name, user, anonymous, session string
	seconds                            uint64
	properties, context                string
}

// server takes what is posted to it, and is the Transport that posts it, as a
// platform's would.
type server struct {
	http *httptest.Server
	down atomic.Bool // the network is
	code atomic.Int64

	mu     sync.Mutex
	events []got
	change chan struct{} // closed and replaced by each request
}

func serve(t *testing.T) *server {
	s := &server{change: make(chan struct{})}
	s.code.Store(200)
	s.http = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		if err != nil || r.Header.Get("Authorization") != "Bearer wk_test" {
			w.WriteHeader(http.StatusBadRequest)
			return
		}
		if code := s.code.Load(); code != 200 {
			w.Header().Set("Retry-After", "1")
			w.WriteHeader(int(code))
			return
		}
		s.mu.Lock()
		defer s.mu.Unlock()
		accepted := uint64(0)
		fields(body, func(field int, _ uint64, event []byte) {
			if field == 1 {
				s.events = append(s.events, readEvent(event))
				accepted++
			}
		})
		close(s.change)
		s.change = make(chan struct{})
		w.Header().Set("Content-Type", "application/proto")
		_, _ = w.Write(binary.AppendUvarint([]byte{8}, accepted))
	}))
	t.Cleanup(s.http.Close)
	return s
}

func (s *server) Send(body []byte, reply *Reply) error {
	if s.down.Load() {
		return errors.New("the network is down")
	}
	req, err := http.NewRequest(http.MethodPost, s.http.URL, bytes.NewReader(body))
	if err != nil {
		return err
	}
	req.Header.Set("Authorization", "Bearer wk_test")
	answer, err := s.http.Client().Do(req)
	if err != nil {
		return err
	}
	defer answer.Body.Close()
	text, err := io.ReadAll(answer.Body)
	if err != nil {
		return err
	}
	seconds, _ := strconv.ParseInt(answer.Header.Get("Retry-After"), 10, 64)
	reply.SetStatus(int64(answer.StatusCode))
	reply.SetRetryAfterMillis(seconds * 1000)
	reply.SetBody(text)
	return nil
}

func (s *server) seen() []got {
	s.mu.Lock()
	defer s.mu.Unlock()
	return append([]got(nil), s.events...)
}

// await returns the events once there are n.
func (s *server) await(t *testing.T, n int) []got {
	t.Helper()
	late := time.After(30 * time.Second)
	for {
		s.mu.Lock()
		events, change := s.events, s.change
		s.mu.Unlock()
		if len(events) >= n {
			return events
		}
		select {
		case <-change:
		case <-late:
			t.Fatalf("%d events arrived, want %d", len(events), n)
		}
	}
}

func names(events []got) []string {
	var list []string
	for _, e := range events {
		list = append(list, e.name)
	}
	return list
}

// fields reads a protobuf message.
func fields(b []byte, f func(field int, n uint64, bytes []byte)) {
	for len(b) > 0 {
		tag, size := binary.Uvarint(b)
		b = b[size:]
		switch tag & 7 {
		case 0:
			n, size := binary.Uvarint(b)
			f(int(tag>>3), n, nil)
			b = b[size:]
		case 1:
			b = b[8:]
		case 2:
			n, size := binary.Uvarint(b)
			f(int(tag>>3), 0, b[size:size+int(n)])
			b = b[size+int(n):]
		default:
			panic("unknown wire type")
		}
	}
}

func readEvent(b []byte) got {
	var e got
	fields(b, func(field int, n uint64, bytes []byte) {
		switch field {
		case 1:
			e.id = string(bytes)
		case 2:
			e.kind = n
		case 3:
			e.name = string(bytes)
		case 4:
			fields(bytes, func(field int, n uint64, _ []byte) {
				if field == 1 {
					e.seconds = n
				}
			})
		case 5:
			e.user = string(bytes)
		case 6:
			e.anonymous = string(bytes)
		case 7:
			e.session = string(bytes)
		case 10:
			e.context = string(bytes)
		case 11:
			e.properties = string(bytes)
		}
	})
	return e
}

// open opens a client that is closed when the test ends.
func open(t *testing.T, dir string, transport Transport, observer Observer) *Client {
	t.Helper()
	c, err := Open(dir, &Config{Key: "wk_test"}, transport, observer)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close(10_000) })
	return c
}

func ready(t *testing.T, c *Client) *Client {
	t.Helper()
	if !c.AwaitOpen(30_000) {
		t.Fatal("the queue did not open")
	}
	return c
}

func flush(t *testing.T, c *Client) {
	t.Helper()
	if err := c.Flush(30_000); err != nil {
		t.Fatal(err)
	}
}

func track(t *testing.T, c *Client, name string) {
	t.Helper()
	if err := c.Track(name, nil); err != nil {
		t.Fatal(err)
	}
}
