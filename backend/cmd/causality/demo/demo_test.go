package demo

import (
	"context"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"sync"
	"testing"
	"time"

	"connectrpc.com/connect"

	ingestv1 "github.com/causality-project/causality/proto/gen/causality/ingest/v1"
	"github.com/causality-project/causality/proto/gen/causality/ingest/v1/ingestv1connect"
)

// counter is a server that remembers how often each event came.
type counter struct {
	mu   sync.Mutex
	seen map[string]int
	stop func() // called with the 20th request, when set
	n    int
}

func (c *counter) Ingest(_ context.Context, request *connect.Request[ingestv1.IngestRequest]) (*connect.Response[ingestv1.IngestResponse], error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.n++; c.n == 20 && c.stop != nil {
		c.stop()
	}
	for _, e := range request.Msg.GetEvents() {
		c.seen[e.GetId()]++
		if text := e.GetProperties(); text != "" && !json.Valid([]byte(text)) {
			return nil, connect.NewError(connect.CodeInvalidArgument, nil)
		}
	}
	return connect.NewResponse(&ingestv1.IngestResponse{Accepted: int32(len(request.Msg.GetEvents()))}), nil
}

func TestSeedingCanBeKilledRepeatedAndContinued(t *testing.T) {
	t.Parallel()
	c := &counter{seen: map[string]int{}}
	mux := http.NewServeMux()
	mux.Handle(ingestv1connect.NewIngestServiceHandler(c))
	server := httptest.NewServer(mux)
	defer server.Close()
	dir := t.TempDir()
	now := first.AddDate(0, 0, History-1).Add(15 * time.Hour)
	seed := func(ctx context.Context, now time.Time) (int64, error) {
		return Seed(ctx, Seeding{
			Dir: dir, Ingest: ingestv1connect.NewIngestServiceClient(server.Client(), server.URL),
			Progress: func(float64, int64) {}, Note: func(text string) { t.Log(text) },
		}, now)
	}
	ctx, cancel := context.WithCancel(context.Background())
	c.stop = cancel
	if _, err := seed(ctx, now); err == nil {
		t.Fatal("the kill was not noticed")
	}
	if _, err := seed(context.Background(), now); err != nil {
		t.Fatal(err)
	}
	later := now.Add(30 * time.Hour)
	added, err := seed(context.Background(), later)
	if err != nil || added < 5_000 || added > 30_000 {
		t.Errorf("30 hours later: %d events, %v", added, err)
	}
	if again, err := seed(context.Background(), later); err != nil || again != 0 {
		t.Errorf("nothing was missing, but %d events were sent: %v", again, err)
	}
	world := NewWorld(first)
	want := 0
	for day := range History + 1 {
		for _, e := range world.Events(day) {
			if !e.Time.Before(later) {
				continue
			}
			want++
			if c.seen[e.idText()] == 0 {
				t.Fatalf("an event of day %d at %s never came", day, e.Time)
			}
		}
	}
	if len(c.seen) != want {
		t.Errorf("%d events came, the story has %d", len(c.seen), want)
	}
}

func TestPlayFollowsTheStoryAndAddsVisits(t *testing.T) {
	t.Parallel()
	world := NewWorld(first)
	start := world.Begin(60).Add(23*time.Hour + 50*time.Minute)
	p := newPlay(NewWorld(first), start)
	came := map[[16]byte]bool{}
	var extra int
	last := start
	for now := start; now.Before(start.Add(30 * time.Minute)); {
		now = p.next()
		if now.Before(last) {
			t.Fatal("time runs backwards")
		}
		last = now
		for _, e := range p.due(now) {
			came[e.ID] = true
			extra++
		}
	}
	for day := 60; day <= 61; day++ {
		for _, e := range world.Events(day) {
			if e.Time.Before(start) || e.Time.After(last) {
				continue
			}
			extra--
			if !came[e.ID] {
				t.Errorf("the story's %s at %s was left out", e.Name, e.Time)
			}
		}
	}
	if extra < 500 {
		t.Errorf("only %d events beyond the story in half an hour", extra)
	}
}
