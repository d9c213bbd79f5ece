package main

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"

	eventv1 "github.com/causality-project/causality/proto/gen/causality/event/v1"
	ingestv1 "github.com/causality-project/causality/proto/gen/causality/ingest/v1"

	"github.com/google/uuid"
)

// measureStart times the second start of the demo: from the command to its page.
func measureStart(ctx context.Context, binary string) ([]result, error) {
	root, remove, err := directory()
	if err != nil {
		return nil, err
	}
	defer remove()
	dir := filepath.Join(root, "demo")
	page := func() (float64, error) {
		begun := time.Now()
		s, err := startServer(ctx, binary, "demo", dir)
		if err != nil {
			return 0, err
		}
		defer s.stop()
		err = s.await(ctx, 3*time.Minute, "the sign-in link and the first page", func() bool {
			return strings.Contains(s.log.String(), "#token=") && s.ok("/app/")
		})
		return time.Since(begun).Seconds(), err
	}
	first, err := page()
	if err != nil {
		return nil, err
	}
	again, err := page()
	if err != nil {
		return nil, err
	}
	return []result{
		{Name: "make run to first page, new directory", Value: first, Unit: "s", AtLeast: pointer(15), Aim: pointer(6)},
		{Name: "make run to first page, existing directory", Value: again, Unit: "s", AtLeast: pointer(15), Aim: pointer(6)},
	}, nil
}

// measureIdle reads the memory of all processes once a fresh platform rests.
func measureIdle(ctx context.Context, binary string) ([]result, error) {
	root, remove, err := directory()
	if err != nil {
		return nil, err
	}
	defer remove()
	s, err := startServer(ctx, binary, "serve", filepath.Join(root, "data"))
	if err != nil {
		return nil, err
	}
	defer s.stop()
	if err := s.ready(ctx); err != nil {
		return nil, err
	}
	if _, err := s.cli(ctx, "apps", "create", "idle"); err != nil {
		return nil, err
	}
	if _, err := s.cli(ctx, "query", "--app", "idle", "--format", "csv", "select count(*) from events"); err != nil {
		return nil, err
	}
	select {
	case <-time.After(15 * time.Second):
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	return []result{{Name: "memory of the idle platform, all processes", Value: s.memory() / 1e6, Unit: "MB", AtLeast: pointer(400), Aim: pointer(250)}}, nil
}

const (
	batchSize   = 100
	loadSeconds = 10
	connections = 8
)

// measureIngest loads the front door: throughput a CPU second of the whole
// server, the share of raw publishes, the tail at half that load, and the time
// from accepted to queryable while the load goes on.
func measureIngest(ctx context.Context, binary string) ([]result, error) {
	root, remove, err := directory()
	if err != nil {
		return nil, err
	}
	defer remove()
	s, err := startServer(ctx, binary, "serve", filepath.Join(root, "data"))
	if err != nil {
		return nil, err
	}
	defer s.stop()
	if err := s.ready(ctx); err != nil {
		return nil, err
	}
	if _, err := s.cli(ctx, "apps", "create", "load"); err != nil {
		return nil, err
	}
	key, err := s.cli(ctx, "keys", "create", "--app", "load", "--kind", "write", "--rate-limit", "0")
	if err != nil {
		return nil, err
	}
	pool := bodies(2000)
	client := &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: connections, DisableCompression: true}, Timeout: 30 * time.Second}
	post := func(body []byte) error {
		request, err := http.NewRequestWithContext(ctx, http.MethodPost, "http://"+s.address+"/causality.ingest.v1.IngestService/Ingest", bytes.NewReader(body))
		if err != nil {
			return err
		}
		request.Header.Set("Authorization", "Bearer "+key)
		request.Header.Set("Content-Type", "application/proto")
		response, err := client.Do(request)
		if err != nil {
			return err
		}
		defer response.Body.Close()
		answer, err := io.ReadAll(response.Body)
		if err != nil || response.StatusCode != http.StatusOK {
			return fmt.Errorf("ingest: status %d: %s %w", response.StatusCode, answer, err)
		}
		return nil
	}

	// Full load: as fast as the connections go.
	var next atomic.Int64
	cpu, begun := s.cpuSeconds(), time.Now()
	latencies, err := load(ctx, connections, loadSeconds*time.Second, 0, func() error {
		return post(fresh(pool[int(next.Add(1))%len(pool)]))
	})
	if err != nil {
		return nil, fmt.Errorf("%w\n%s", err, s.log.String())
	}
	sent := len(latencies) * batchSize
	// The CPU that lands what was accepted belongs to it: wait for the sink.
	if err := s.await(ctx, 2*time.Minute, "everything is queryable", func() bool {
		out, err := s.cli(ctx, "query", "--app", "load", "--format", "csv", "select count(*) from events")
		return err == nil && strings.HasSuffix(out, "\n"+strconv.Itoa(sent))
	}); err != nil {
		return nil, err
	}
	perCPU := float64(sent) / (s.cpuSeconds() - cpu)
	rate := float64(sent) / loadSeconds
	fmt.Fprintf(os.Stderr, "%d events in %.1f s until queryable\n", sent, time.Since(begun).Seconds())

	raw, err := goBench(ctx, "internal/pipeline/ingest/ingestrpc", "BenchmarkRawPublish", "events/s")
	if err != nil {
		return nil, err
	}

	// Half load: a fixed rate, so that a slow answer does not lower the load.
	half, err := load(ctx, connections*4, loadSeconds*time.Second, rate/2/batchSize, func() error {
		return post(fresh(pool[int(next.Add(1))%len(pool)]))
	})
	if err != nil {
		return nil, err
	}

	fmt.Fprintf(os.Stderr, "acknowledgement at half load, ms: p50 %.1f, p90 %.1f, p99 %.1f, max %.1f\n",
		percentile(half, 0.5)*1000, percentile(half, 0.9)*1000, percentile(half, 0.99)*1000, percentile(half, 1)*1000)

	var lags []float64
	for i := range 20 {
		id := fmt.Sprintf("probe-%d", i)
		body, err := proto.Marshal(&ingestv1.IngestRequest{Events: []*eventv1.Event{{Id: id, Name: "probe", UserId: id}}})
		if err != nil {
			return nil, err
		}
		if err := post(body); err != nil {
			return nil, err
		}
		accepted := time.Now()
		err = s.await(ctx, 30*time.Second, "the probe is queryable", func() bool {
			out, err := s.cli(ctx, "query", "--app", "load", "--format", "csv", "select count(*) from events where user_id = '"+id+"'")
			return err == nil && strings.HasSuffix(out, "\n1")
		})
		if err != nil {
			return nil, err
		}
		lags = append(lags, time.Since(accepted).Seconds())
	}
	share := rate / raw
	return []result{
		{Name: "durable ingest over HTTP, per CPU second of the server until queryable", Value: perCPU, Unit: "events", AtLeast: pointer(30_000), Aim: pointer(60_000)},
		{Name: "the same, share of raw SyncAlways publishes", Value: rate, Unit: "events/s", Peer: "raw publish", PeerValue: &raw, Ratio: &share, AtLeast: pointer(0.3), Aim: pointer(0.6)},
		{Name: "p99 acknowledgement at half that load", Value: percentile(half, 0.99) * 1000, Unit: "ms", AtLeast: pointer(50), Aim: pointer(15)},
		{Name: "accepted to queryable, p95 (with the command line's own start)", Value: percentile(lags, 0.95), Unit: "s", AtLeast: pointer(5), Aim: pointer(2)},
	}, nil
}

// load calls send from so many workers until the time is over, at perSecond
// calls in all (0: as fast as they go), and returns each call's seconds. At a
// fixed rate a call's time counts from when it was due.
func load(ctx context.Context, workers int, length time.Duration, perSecond float64, send func() error) ([]float64, error) {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	begun := time.Now()
	var mu sync.Mutex
	var all []float64
	var turn atomic.Int64
	var wait sync.WaitGroup
	for range workers {
		wait.Go(func() {
			var own []float64
			for ctx.Err() == nil && time.Since(begun) < length {
				due := time.Now()
				if perSecond > 0 {
					due = begun.Add(time.Duration(float64(turn.Add(1)) / perSecond * float64(time.Second)))
					if due.Sub(begun) > length {
						break
					}
					timer := time.NewTimer(time.Until(due))
					<-timer.C
				}
				if err := send(); err != nil {
					cancel(err)
					return
				}
				own = append(own, time.Since(due).Seconds())
			}
			mu.Lock()
			all = append(all, own...)
			mu.Unlock()
		})
	}
	wait.Wait()
	if err := context.Cause(ctx); err != nil {
		return nil, err
	}
	return all, nil
}

func percentile(values []float64, p float64) float64 {
	slices.Sort(values)
	return values[min(len(values)-1, int(float64(len(values))*p))]
}

// bodies are requests of a hundred events of about 500 bytes each, with names,
// people and properties in the proportions of a shop.
func bodies(count int) []*ingestv1.IngestRequest {
	random := rand.New(rand.NewPCG(1, 2))
	names := []string{"page_view", "page_view", "page_view", "product_view", "product_view", "add_to_cart", "search", "purchase_complete"}
	requests := make([]*ingestv1.IngestRequest, count)
	for i := range requests {
		events := make([]*eventv1.Event, batchSize)
		for j := range events {
			user := random.IntN(100_000)
			events[j] = &eventv1.Event{
				Name: names[random.IntN(len(names))], UserId: fmt.Sprintf("user-%d", user), AnonymousId: fmt.Sprintf("device-%d-%d", user, user%3),
				SessionId: fmt.Sprintf("session-%d-%d", user, random.IntN(5)),
				Context: &eventv1.Context{
					App: &eventv1.App{Version: fmt.Sprintf("2.%d.0", random.IntN(5))}, Os: &eventv1.Os{Name: "iOS", Version: "19.1"},
					Device: &eventv1.Device{Model: "Phone 17", Type: "phone"}, Locale: "en-GB", TimeZone: "Europe/Berlin", Platform: "ios",
					Page: &eventv1.Page{Url: "https://shop.example/product/" + strconv.Itoa(random.IntN(500)), Title: "A product of the shop"},
				},
				Properties: fmt.Sprintf(`{"product_id":"p%d","category":"books","price":%d.%02d,"currency":"EUR","position":%d,"list":"search results","in_stock":true}`,
					random.IntN(500), 1+random.IntN(90), random.IntN(100), random.IntN(20)),
			}
		}
		requests[i] = &ingestv1.IngestRequest{Events: events, Library: &eventv1.Library{Name: "bench", Version: "1"}}
	}
	return requests
}

// fresh encodes a request with new ids and times, as a sender would.
func fresh(request *ingestv1.IngestRequest) []byte {
	request = proto.CloneOf(request)
	now := timestamppb.Now()
	for _, event := range request.Events {
		event.Id = uuid.Must(uuid.NewV7()).String()
		event.Timestamp = now
	}
	request.SentAt = now
	raw, err := proto.Marshal(request)
	if err != nil {
		panic(err) // our own message: cannot fail
	}
	return raw
}

// measureSDK reads the SDK's own benchmarks: what Track costs its caller.
func measureSDK(ctx context.Context, _ string) ([]result, error) {
	var results []result
	for _, queue := range []struct {
		name, bench  string
		atLeast, aim float64
	}{
		{"Go SDK Track returns, memory queue", "BenchmarkTrack/memory", 2, 0.5},
		{"Go SDK Track returns, bbolt queue", "BenchmarkTrack/file", 5, 1},
	} {
		nanoseconds, err := goBench(ctx, "../sdk", queue.bench, "ns/op")
		if err != nil {
			return results, err
		}
		results = append(results, result{Name: queue.name, Value: nanoseconds / 1000, Unit: "µs", AtLeast: pointer(queue.atLeast), Aim: pointer(queue.aim)})
	}
	file, err := measureQueue(ctx)
	return append(results, file...), err
}

// goBench runs one Go benchmark and returns the figure of the named unit. more are
// further arguments of go test.
func goBench(ctx context.Context, dir, name, unit string, more ...string) (float64, error) {
	arguments := append([]string{"test", "-run", "^$", "-timeout", "60m", "-bench", "^" + strings.ReplaceAll(name, "/", "$/^") + "$", "-benchtime", "2s", "."}, more...)
	command := exec.CommandContext(ctx, "go", arguments...)
	command.Dir = dir
	out, err := command.CombinedOutput()
	if err != nil {
		return 0, fmt.Errorf("%s: %w\n%s", name, err, out)
	}
	match := regexp.MustCompile(`(?m)^` + name + `.*?\s([0-9.e+]+) ` + regexp.QuoteMeta(unit)).FindSubmatch(out)
	if match == nil {
		return 0, fmt.Errorf("%s printed no %s:\n%s", name, unit, out)
	}
	return strconv.ParseFloat(string(match[1]), 64)
}
