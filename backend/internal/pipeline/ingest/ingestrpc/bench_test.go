package ingestrpc_test

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"os/exec"
	"runtime/pprof"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/causality-project/causality/backend/internal/account/identity"
	"github.com/causality-project/causality/backend/internal/account/tenancy"
	"github.com/causality-project/causality/backend/internal/pipeline/ingest"
	"github.com/causality-project/causality/backend/internal/pipeline/ingest/ingestrpc"
	"github.com/causality-project/causality/backend/internal/pipeline/stream"
	eventv1 "github.com/causality-project/causality/proto/gen/causality/event/v1"
	ingestv1 "github.com/causality-project/causality/proto/gen/causality/ingest/v1"
	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/prometheus/client_golang/prometheus"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"
)

// The benchmarks count the CPU of the server alone, so the server runs as a
// process of its own: this test binary again, told by the environment.
const benchServer = "CAUSALITY_BENCH_SERVER"

func TestMain(m *testing.M) {
	if dir := os.Getenv(benchServer); dir != "" {
		if err := serveBench(dir); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		return
	}
	os.Exit(m.Run())
}

// anyKey stands for a key that identity holds in memory, which is all that the
// hot path sees of it.
type anyKey struct{}

func (anyKey) Find(context.Context, string) (identity.Key, error) {
	return identity.Key{
		ID: "0198c0de-0000-7000-8000-000000000001", WorkspaceID: "0198c0de-0000-7000-8000-000000000002",
		AppID: "0198c0de-0000-7000-8000-000000000003", Kind: "write", IPPolicy: "truncate",
	}, nil
}

type noApps struct{}

func (noApps) Get(context.Context, string) (tenancy.App, error) {
	return tenancy.App{}, fmt.Errorf("no apps here")
}

type nobody struct{}

func (nobody) FromRequest(context.Context, *http.Request) (identity.Principal, error) {
	return identity.Principal{}, fmt.Errorf("nobody")
}

// serveBench serves until stdin ends. A line on stdin is answered with the CPU
// time of the process so far.
func serveBench(dir string) error {
	log := slog.New(slog.NewTextHandler(os.Stderr, nil))
	s, err := stream.Open(context.Background(), stream.Config{Dir: dir, Logger: log})
	if err != nil {
		return err
	}
	defer func() { _ = s.Close(context.Background()) }()
	registry := prometheus.NewRegistry()
	front, err := ingest.New(ingest.Config{Keys: anyKey{}, Apps: noApps{}, Stream: s, Metrics: registry, Logger: log})
	if err != nil {
		return err
	}
	handler, err := ingestrpc.New(ingestrpc.Config{Front: front, Authenticator: nobody{}, Metrics: registry, Logger: log})
	if err != nil {
		return err
	}
	mux := http.NewServeMux()
	handler.Register(mux.Handle)
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	web := &http.Server{Handler: mux, ReadHeaderTimeout: 10 * time.Second}
	go func() { _ = web.Serve(listener) }()
	defer func() { _ = web.Close() }()
	if path := os.Getenv("CAUSALITY_BENCH_PROFILE"); path != "" {
		file, err := os.Create(path)
		if err != nil {
			return err
		}
		if err := pprof.StartCPUProfile(file); err != nil {
			return err
		}
		defer pprof.StopCPUProfile()
	}
	fmt.Println("http://" + listener.Addr().String())
	for in := bufio.NewScanner(os.Stdin); in.Scan(); {
		fmt.Println(cpuTime().Nanoseconds())
	}
	return nil
}

func cpuTime() time.Duration {
	var used syscall.Rusage
	_ = syscall.Getrusage(syscall.RUSAGE_SELF, &used)
	return time.Duration(used.Utime.Nano() + used.Stime.Nano())
}

type benchProcess struct {
	url   string
	in    io.WriteCloser
	out   *bufio.Scanner
	kill  func() error
	close func()
}

func startBench(b testing.TB, dir string) *benchProcess {
	b.Helper()
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), benchServer+"="+dir)
	cmd.Stderr = os.Stderr
	in, err := cmd.StdinPipe()
	if err != nil {
		b.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		b.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		b.Fatal(err)
	}
	p := &benchProcess{in: in, out: bufio.NewScanner(out), kill: cmd.Process.Kill}
	p.close = sync.OnceFunc(func() {
		_ = in.Close()
		_ = cmd.Wait()
	})
	b.Cleanup(p.close)
	if !p.out.Scan() {
		b.Fatal("the server did not start")
	}
	p.url = p.out.Text()
	return p
}

func (p *benchProcess) cpu(b *testing.B) time.Duration {
	b.Helper()
	if _, err := io.WriteString(p.in, "\n"); err != nil || !p.out.Scan() {
		b.Fatal("the server went away")
	}
	n, err := strconv.ParseInt(p.out.Text(), 10, 64)
	if err != nil {
		b.Fatal(err)
	}
	return time.Duration(n)
}

const perRequest = 100

// benchEvents are web events of about 500 bytes of protobuf each.
func benchEvents(serial int) []*eventv1.Event {
	events := make([]*eventv1.Event, perRequest)
	now := time.Now()
	for i := range events {
		n := serial*perRequest + i
		events[i] = &eventv1.Event{
			Id:          fmt.Sprintf("0198c0de-%04x-7%03x-8000-%012x", n>>12&0xffff, n&0xfff, n),
			Name:        [...]string{"page_view", "product_view", "add_to_cart", "signup"}[i%4],
			Timestamp:   timestamppb.New(now.Add(-time.Duration(i) * time.Second)),
			UserId:      fmt.Sprintf("user-%d", n%5000),
			AnonymousId: fmt.Sprintf("0198c0de-aaaa-7000-8000-%012x", n%7000),
			SessionId:   fmt.Sprintf("0198c0de-bbbb-7000-8000-%012x", n%900),
			Context: &eventv1.Context{
				App: &eventv1.App{Version: "4.2.1"}, Os: &eventv1.Os{Name: "iOS", Version: "17.5"},
				Device: &eventv1.Device{Model: "iPhone15,3", Type: "phone", Manufacturer: "Apple"},
				Locale: "de-DE", TimeZone: "Europe/Berlin", Platform: "ios",
				Page: &eventv1.Page{Url: "https://shop.example/products/42?utm_source=news", Title: "Product 42", Referrer: "https://search.example/"},
			},
			Properties: fmt.Sprintf(`{"product_id":"sku-%d","price":%d.95,"currency":"EUR","quantity":%d,"category":"shoes","in_stock":true,"tags":["new","sale"]}`, n%999, n%200, i%5),
		}
	}
	return events
}

func benchProto(b *testing.B, serial int) []byte {
	body, err := proto.Marshal(&ingestv1.IngestRequest{Events: benchEvents(serial), SentAt: timestamppb.Now(), Library: &eventv1.Library{Name: "causality-go", Version: "1.0.0"}})
	if err != nil {
		b.Fatal(err)
	}
	return body
}

func benchJSON(serial int) []byte {
	var out bytes.Buffer
	out.WriteByte('[')
	for i, e := range benchEvents(serial) {
		if i > 0 {
			out.WriteByte(',')
		}
		fmt.Fprintf(&out, `{"id":%q,"name":%q,"timestamp":%q,"userId":%q,"anonymousId":%q,"sessionId":%q,"context":{"app":{"version":"4.2.1"},"os":{"name":"iOS","version":"17.5"},"device":{"model":"iPhone15,3","type":"phone"},"locale":"de-DE","platform":"ios","page":{"url":%q}},"properties":%s}`,
			e.Id, e.Name, e.Timestamp.AsTime().Format(time.RFC3339Nano), e.UserId, e.AnonymousId, e.SessionId, e.Context.Page.Url, e.Properties)
	}
	out.WriteByte(']')
	return out.Bytes()
}

// load posts bodies from some connections until n requests are answered, each
// no earlier than its turn when a rate is given, and returns how long they took.
func load(b *testing.B, url, contentType string, bodies [][]byte, n, connections int, perSecond float64) []time.Duration {
	b.Helper()
	client := &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: connections, MaxConnsPerHost: connections, DisableCompression: true}}
	defer client.CloseIdleConnections()
	took := make([]time.Duration, n)
	var next atomic.Int64
	var failed atomic.Pointer[string]
	started := time.Now()
	var workers sync.WaitGroup
	for range connections {
		workers.Go(func() {
			for {
				i := int(next.Add(1)) - 1
				if i >= n || failed.Load() != nil {
					return
				}
				due := time.Now()
				if perSecond > 0 {
					due = started.Add(time.Duration(float64(i) / perSecond * float64(time.Second)))
					time.Sleep(time.Until(due))
				}
				req, _ := http.NewRequest(http.MethodPost, url, bytes.NewReader(bodies[i%len(bodies)]))
				req.Header.Set("Content-Type", contentType)
				req.Header.Set("Authorization", "Bearer wk_0123456789abcdefghijklmnopq")
				resp, err := client.Do(req)
				if err != nil {
					text := err.Error()
					failed.Store(&text)
					return
				}
				answer, _ := io.ReadAll(resp.Body)
				_ = resp.Body.Close()
				if resp.StatusCode != http.StatusOK {
					text := resp.Status + " " + string(answer)
					failed.Store(&text)
				}
				took[i] = time.Since(due)
			}
		})
	}
	workers.Wait()
	if text := failed.Load(); text != nil {
		b.Fatal(*text)
	}
	return took
}

func benchHTTP(b *testing.B, path, contentType string, bodies [][]byte) {
	p := startBench(b, b.TempDir())
	load(b, p.url+path, contentType, bodies, 200, 16, 0) // warm
	before, started := p.cpu(b), time.Now()
	b.ResetTimer()
	load(b, p.url+path, contentType, bodies, b.N, 16, 0)
	b.StopTimer()
	wall, used := time.Since(started), p.cpu(b)-before
	events := float64(b.N * perRequest)
	b.ReportMetric(events/used.Seconds(), "events/CPU-s")
	b.ReportMetric(events/wall.Seconds(), "events/s")
	b.ReportMetric(float64(len(bodies[0]))/perRequest, "B/event")
	half := float64(b.N) / wall.Seconds() / 2
	took := load(b, p.url+path, contentType, bodies, min(b.N, 2000), 16, half)
	slices.Sort(took)
	b.ReportMetric(float64(took[len(took)*99/100].Microseconds())/1000, "p99-ms-at-half-load")
}

func BenchmarkIngestHTTPProtobuf(b *testing.B) {
	var bodies [][]byte
	for i := range 64 {
		bodies = append(bodies, benchProto(b, i))
	}
	benchHTTP(b, rpcPath, "application/proto", bodies)
}

func BenchmarkIngestHTTPJSON(b *testing.B) {
	var bodies [][]byte
	for i := range 64 {
		bodies = append(bodies, benchJSON(i))
	}
	benchHTTP(b, "/v1/events", "application/json", bodies)
}

// BenchmarkRawPublish publishes the protobuf requests' bytes straight to an
// embedded SyncAlways stream: what the front door is measured against.
func BenchmarkRawPublish(b *testing.B) {
	srv, err := server.NewServer(&server.Options{DontListen: true, JetStream: true, StoreDir: b.TempDir(), SyncAlways: true, NoSigs: true, MaxPayload: 8 << 20})
	if err != nil {
		b.Fatal(err)
	}
	srv.Start()
	defer srv.WaitForShutdown()
	defer srv.Shutdown()
	srv.ReadyForConnections(10 * time.Second)
	conn, err := nats.Connect("", nats.InProcessServer(srv))
	if err != nil {
		b.Fatal(err)
	}
	defer conn.Close()
	js, err := jetstream.New(conn)
	if err != nil {
		b.Fatal(err)
	}
	if _, err := js.CreateStream(b.Context(), jetstream.StreamConfig{Name: "raw", Subjects: []string{"raw"}, Storage: jetstream.FileStorage}); err != nil {
		b.Fatal(err)
	}
	body := benchProto(b, 1)
	before, started := cpuTime(), time.Now()
	b.ResetTimer()
	var next atomic.Int64
	var workers sync.WaitGroup
	for range 16 {
		workers.Go(func() {
			for int(next.Add(1)) <= b.N {
				if _, err := js.Publish(context.Background(), "raw", body); err != nil {
					b.Error(err)
					return
				}
			}
		})
	}
	workers.Wait()
	b.StopTimer()
	wall, used := time.Since(started), cpuTime()-before
	events := float64(b.N * perRequest)
	b.ReportMetric(events/used.Seconds(), "events/CPU-s")
	b.ReportMetric(events/wall.Seconds(), "events/s")
	b.ReportMetric(float64(len(body))/perRequest, "B/event")
}

func TestAKilledServerKeepsEveryEventItAnsweredFor(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	answered := map[string]bool{}
	var mu sync.Mutex
	for round := range 3 {
		p := startBench(t, dir)
		var senders sync.WaitGroup
		var sent atomic.Int64
		for sender := range 4 {
			senders.Go(func() {
				for i := 0; ; i++ {
					name := fmt.Sprintf("e-%d-%d-%d", round, sender, i)
					resp, err := http.Post(p.url+"/v1/events?key=wk", "application/json", bytes.NewReader([]byte(`{"name":"`+name+`"}`)))
					if err != nil {
						return // killed
					}
					_, err = io.Copy(io.Discard, resp.Body)
					_ = resp.Body.Close()
					if resp.StatusCode == http.StatusOK && err == nil {
						mu.Lock()
						answered[name] = true
						mu.Unlock()
						sent.Add(1)
					}
				}
			})
		}
		waitFor(t, "some load", func() bool { return sent.Load() > 50 })
		if err := p.kill(); err != nil {
			t.Fatal(err)
		}
		senders.Wait()
		p.close()
	}
	s, err := stream.Open(t.Context(), stream.Config{Dir: dir, Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = s.Close(context.Background()) }()
	messages, err := s.Fetch(t.Context(), stream.Live, 1, stream.FetchLimit{Messages: 1 << 20})
	if err != nil {
		t.Fatal(err)
	}
	stored := map[string]bool{}
	for _, m := range messages {
		for _, e := range m.Batch.Events {
			stored[e.Name] = true
		}
	}
	for name := range answered {
		if !stored[name] {
			t.Errorf("%s was answered with 200 and is gone", name)
		}
	}
}
