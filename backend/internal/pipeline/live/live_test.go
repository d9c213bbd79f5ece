package live

import (
	"bufio"
	"context"
	"encoding/json"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/causality-project/causality/backend/internal/account/tenancy"
	"github.com/causality-project/causality/backend/internal/pipeline/stream"
	"github.com/causality-project/causality/backend/internal/platform/event"
	"github.com/causality-project/causality/backend/internal/platform/fault"
)

const workspace, other = "0192aaaa-0000-7000-8000-000000000001", "0192aaaa-0000-7000-8000-000000000002"

type apps map[string]tenancy.App

func (a apps) Get(_ context.Context, name string) (tenancy.App, error) {
	if app, ok := a[name]; ok {
		return app, nil
	}
	return tenancy.App{}, fault.New(fault.NotFound, "no app %q", name)
}

// room is a hub on a real stream, served over HTTP.
type room struct {
	stream   *stream.Stream
	hub      *Hub
	url      string
	stopping chan struct{}
}

func open(t *testing.T) *room {
	t.Helper()
	log := slog.New(slog.DiscardHandler)
	s, err := stream.Open(context.Background(), stream.Config{Dir: t.TempDir(), Logger: log})
	if err != nil {
		t.Fatal(err)
	}
	r := &room{stream: s, hub: New(s, log), stopping: make(chan struct{})}
	ctx, cancel := context.WithCancel(context.Background())
	ran := make(chan error, 1)
	go func() { ran <- r.hub.Run(ctx) }()
	known := apps{"a": {ID: "app-a", WorkspaceID: workspace}, "b": {ID: "app-a", WorkspaceID: other}}
	server := httptest.NewServer(r.hub.Handler(known, r.stopping, func(w http.ResponseWriter, _ *http.Request, err error) {
		http.Error(w, err.Error(), http.StatusNotFound)
	}))
	r.url = server.URL
	t.Cleanup(func() {
		close(r.stopping)
		server.Close()
		cancel()
		if err := <-ran; err != nil {
			t.Error(err)
		}
		if err := s.Close(context.Background()); err != nil {
			t.Error(err)
		}
	})
	return r
}

type message struct {
	name string
	data map[string]any
}

// watch subscribes and returns what comes, after ready.
func (r *room) watch(t *testing.T, query string) <-chan message {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	t.Cleanup(cancel)
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, r.url+"/v1/live?"+query, nil)
	if err != nil {
		t.Fatal(err)
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		t.Fatal(err)
	}
	if response.StatusCode != http.StatusOK || response.Header.Get("Content-Type") != "text/event-stream" {
		t.Fatalf("%d %v", response.StatusCode, response.Header)
	}
	came := make(chan message, 10_000)
	go func() {
		defer close(came)
		defer func() { _ = response.Body.Close() }()
		lines := bufio.NewScanner(response.Body)
		lines.Buffer(nil, 1<<20)
		var m message
		for lines.Scan() {
			if name, ok := strings.CutPrefix(lines.Text(), "event: "); ok {
				m = message{name: name}
			} else if data, ok := strings.CutPrefix(lines.Text(), "data: "); ok {
				_ = json.Unmarshal([]byte(data), &m.data)
				came <- m
			}
		}
	}()
	if first := next(t, came); first.name != "ready" {
		t.Fatalf("first came %v", first)
	}
	return came
}

func next(t *testing.T, came <-chan message) message {
	t.Helper()
	select {
	case m, ok := <-came:
		if !ok {
			t.Fatal("the stream ended")
		}
		return m
	case <-time.After(10 * time.Second):
		t.Fatal("nothing came")
		return message{}
	}
}

func (r *room) publish(t *testing.T, workspaceID string, events int, name string, rejected ...event.Rejected) {
	t.Helper()
	batch := &stream.Batch{WorkspaceID: workspaceID, AppID: "app-a", ReceivedAt: time.Now(), Library: "test", Rejected: rejected}
	for i := range events {
		batch.Events = append(batch.Events, event.Event{
			ID: event.ID{15: byte(i), 14: byte(i >> 8)}, Type: event.Track, Name: name, TS: time.Now(), UserID: "u1",
			Properties: `{"n": 1.10}`, Context: event.Context{Platform: "web", PagePath: "/"},
		})
	}
	if err := r.stream.Publish(context.Background(), stream.Live, batch); err != nil {
		t.Fatal(err)
	}
}

func TestViewersGetTheEventsOfTheirAppAlone(t *testing.T) {
	t.Parallel()
	r := open(t)
	mine, theirs := r.watch(t, "app=a"), r.watch(t, "app=b") // equal app ids, another workspace
	r.publish(t, other, 1, "secret")
	r.publish(t, workspace, 1, "signup", event.Rejected{Index: 1, Code: "missing_name", Event: `{"x":1}`})
	got := next(t, mine)
	properties, _ := got.data["properties"].(map[string]any)
	if got.name != "event" || got.data["name"] != "signup" || got.data["userId"] != "u1" || properties["n"] != 1.1 || got.data["receivedAt"] == nil {
		t.Errorf("got %v", got)
	}
	if got := next(t, mine); got.name != "rejected" || got.data["code"] != "missing_name" || got.data["event"] != `{"x":1}` {
		t.Errorf("got %v", got)
	}
	if got := next(t, theirs); got.data["name"] != "secret" {
		t.Errorf("got %v", got)
	}
}

func TestViewersMayWatchSomeEventsOnly(t *testing.T) {
	t.Parallel()
	r := open(t)
	came := r.watch(t, "app=a&event=buy&event=pay")
	r.publish(t, workspace, 3, "look")
	r.publish(t, workspace, 1, "pay")
	if got := next(t, came); got.data["name"] != "pay" {
		t.Errorf("got %v", got)
	}
}

func TestSlowViewersAreToldWhatTheyMissedAndHoldNobodyUp(t *testing.T) {
	t.Parallel()
	r := open(t)
	came := r.watch(t, "app=a")
	const sent = 2_000
	r.publish(t, workspace, sent, "burst")
	r.publish(t, workspace, 0, "", event.Rejected{Code: "end"})
	var events, missed int
	for events+missed < sent+1 {
		m := next(t, came)
		switch m.name {
		case "event", "rejected":
			events++
		case "missed":
			n, _ := m.data["missed"].(float64)
			missed += int(n)
		}
	}
	if missed == 0 || events < maxRate {
		t.Errorf("%d events and %d missed of %d", events, missed, sent)
	}
}

func TestAnUnknownAppIsSaidBeforeTheStreamBegins(t *testing.T) {
	t.Parallel()
	r := open(t)
	for _, query := range []string{"app=nope", ""} {
		response, err := http.Get(r.url + "/v1/live?" + query)
		if err != nil {
			t.Fatal(err)
		}
		_ = response.Body.Close()
		if response.StatusCode == http.StatusOK {
			t.Errorf("%q: a stream began", query)
		}
	}
}

func TestNobodyIsFollowedWhileNobodyWatches(t *testing.T) {
	t.Parallel()
	r := open(t)
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	request, _ := http.NewRequestWithContext(ctx, http.MethodGet, r.url+"/v1/live?app=a", nil)
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		t.Fatal(err)
	}
	if r.hub.count() != 1 {
		t.Errorf("%d viewers", r.hub.count())
	}
	cancel()
	_ = response.Body.Close()
	for deadline := time.Now().Add(10 * time.Second); r.hub.count() != 0; {
		if time.Now().After(deadline) {
			t.Fatal("the viewer is still counted")
		}
		time.Sleep(time.Millisecond)
	}
	came := r.watch(t, "app=a") // and the next one is served again
	r.publish(t, workspace, 1, "again")
	if got := next(t, came); got.data["name"] != "again" {
		t.Errorf("got %v", got)
	}
}

func TestTextCannotBreakOutOfItsFrame(t *testing.T) {
	t.Parallel()
	f := string(eventFrame(1, &event.Event{Name: "a\n\nevent: rejected\ndata: {}", Properties: "{\"x\":\n\n\"y\"}"}))
	if lines := strings.Count(f, "\n"); lines != 3 {
		t.Errorf("%d line ends in %q", lines, f)
	}
	if f := string(eventFrame(1, &event.Event{Properties: "{broken"})); !strings.Contains(f, "unreadable") {
		t.Errorf("%q", f)
	}
}
