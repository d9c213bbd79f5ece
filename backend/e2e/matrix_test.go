package e2e

import (
	"bytes"
	"context"
	"errors"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/causality-project/causality/sdk"
)

// matrixEvents are sent by every platform: named "matrix", numbered from 1 in the
// property n.
const matrixEvents = 10_000

// A matrixSender delivers all events to a server through one client and returns
// when the server has acknowledged each.
type matrixSender func(t *testing.T, host, key, dir string)

// Every client delivers 10,000 events through a line that loses one answer in
// twenty after the server has taken the request, to a server that is killed
// twice: each event is there, once.
func TestEveryPlatformDeliversEachEventOnce(t *testing.T) {
	t.Parallel()
	senders := map[string]matrixSender{
		"go":           sendWithGo,
		"android":      command("../../mobile/android/matrix"), // on the host's JVM
		"browser":      browser("ts"),
		"browser-wasm": browser("wasm"),
	}
	p := newPlatform(t)
	p.start()
	line := newLossyLine(t, p.address)
	keys := map[string]string{}
	for name := range senders {
		_, keys[name] = p.app(name)
	}

	sending, ended := context.WithCancel(t.Context())
	var wait sync.WaitGroup
	for name, send := range senders {
		wait.Go(func() {
			t.Run(name, func(t *testing.T) { send(t, line.url, keys[name], t.TempDir()) })
		})
	}
	go func() { wait.Wait(); ended() }()
	for _, after := range []int64{20, 60} {
		tick := time.NewTicker(10 * time.Millisecond)
		for line.answered.Load() < after && sending.Err() == nil {
			<-tick.C
		}
		tick.Stop()
		if sending.Err() != nil {
			t.Errorf("the senders were done after %d requests: too few to kill the server in between", line.answered.Load())
			break
		}
		p.kill()
		p.start()
	}
	<-sending.Done()

	lost, doubled := 0, 0
	for name := range senders {
		if line.lost(keys[name]) == 0 {
			t.Errorf("%s never lost an answer: nothing is proven", name)
		}
		events, distinct := p.matrix(name, keys[name])
		if events != matrixEvents || distinct != matrixEvents {
			t.Errorf("%s: %d events with %d distinct numbers are there, want %d", name, events, distinct, matrixEvents)
		}
		lost += matrixEvents - distinct
		doubled += events - distinct
	}
	t.Logf("matrix: %d events lost, %d doubled, of %d", lost, doubled, len(senders)*matrixEvents) // the benchmark reads this
}

// matrix counts the events of the matrix, and their distinct numbers, once all
// that was accepted until now is queryable.
func (p *platform) matrix(app, key string) (events, distinct int) {
	p.t.Helper()
	// The stream keeps its order: behind this one nothing of the senders waits.
	if status, answer, _ := p.post(key, []byte(`[{"name":"last"}]`)); status != http.StatusOK {
		p.t.Fatalf("%s: status %d: %s", app, status, answer.Message)
	}
	p.await(60*time.Second, "the last event is queryable", func() bool {
		rows, ok := p.tryQuery(app, "select count(*) from events where event = 'last'")
		return ok && rows[0][0] == "1"
	})
	rows := p.query(app, "select count(*), count(distinct case when (properties->>'n')::int between 1 and "+strconv.Itoa(matrixEvents)+
		" then (properties->>'n')::int end) from events where event = 'matrix'")
	for i, count := range []*int{&events, &distinct} {
		var err error
		if *count, err = strconv.Atoi(rows[0][i]); err != nil {
			p.t.Fatal(err)
		}
	}
	return events, distinct
}

// lossyLine forwards to a server and cuts the connection in place of some of its
// answers: for each key the second one, and every twentieth.
type lossyLine struct {
	url      string
	answered atomic.Int64 // by the server

	mu       sync.Mutex
	requests map[string]int // by key
	cut      map[string]int
}

func newLossyLine(t *testing.T, address string) *lossyLine {
	l := &lossyLine{requests: map[string]int{}, cut: map[string]int{}}
	proxy := httputil.NewSingleHostReverseProxy(&url.URL{Scheme: "http", Host: address})
	proxy.ModifyResponse = func(r *http.Response) error {
		if r.Request.Method != http.MethodPost {
			return nil
		}
		l.answered.Add(1)
		if r.StatusCode == http.StatusOK && l.loses(r.Request) {
			return errLost
		}
		return nil
	}
	proxy.ErrorHandler = func(w http.ResponseWriter, _ *http.Request, _ error) {
		panic(http.ErrAbortHandler) // the client sees the connection break, as it would
	}
	proxy.ErrorLog = discardLog
	server := httptest.NewServer(proxy)
	server.Config.ErrorLog = discardLog
	t.Cleanup(server.Close)
	l.url = server.URL
	return l
}

func (l *lossyLine) loses(r *http.Request) bool {
	key := strings.TrimPrefix(r.Header.Get("Authorization"), "Bearer ")
	if key == "" {
		key = r.URL.Query().Get("key")
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.requests[key]++
	lose := l.requests[key] == 2 || l.requests[key]%20 == 0
	if lose {
		l.cut[key]++
	}
	return lose
}

func (l *lossyLine) lost(key string) int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.cut[key]
}

func sendWithGo(t *testing.T, host, key, dir string) {
	client, err := causality.New(causality.Options{Host: host, WriteKey: key, QueueFile: filepath.Join(dir, "events.queue")})
	if err != nil {
		t.Fatal(err)
	}
	for n := 1; n <= matrixEvents; n++ {
		err := client.Track(t.Context(), causality.Event{Name: "matrix", UserID: "u1", Properties: causality.Properties{"n": n}})
		if err != nil {
			t.Fatal(err)
		}
		if n%100 == 0 {
			_ = client.Flush(t.Context()) // as a program that wants its events out; a failure is retried
		}
	}
	ctx, cancel := context.WithTimeout(t.Context(), matrixPatience)
	defer cancel()
	for client.Flush(ctx) != nil {
		if ctx.Err() != nil {
			t.Fatalf("not delivered within %v: %+v", matrixPatience, client.Stats())
		}
	}
	if err := client.Close(ctx); err != nil {
		t.Fatal(err)
	}
}

const matrixPatience = 5 * time.Minute

// command runs a program as: program HOST KEY FIRST LAST DIR.
func command(program string, before ...string) matrixSender {
	return func(t *testing.T, host, key, dir string) {
		ctx, cancel := context.WithTimeout(t.Context(), matrixPatience)
		defer cancel()
		path, err := filepath.Abs(program)
		if err != nil {
			t.Fatal(err)
		}
		c := exec.CommandContext(ctx, path, append(before, host, key, "1", strconv.Itoa(matrixEvents), dir)...)
		c.Env = os.Environ()
		var out bytes.Buffer
		c.Stdout, c.Stderr = &out, &out
		if err := c.Run(); err != nil {
			t.Fatalf("%s: %v\n%s", program, err, tail(out.String(), 4000))
		}
	}
}

// browser sends from pages in Chromium, with the core that is named.
func browser(core string) matrixSender { return command("../../wasm/js/e2e/matrix.mjs", core) }

var (
	errLost    = errors.New("the answer is lost on the way")
	discardLog = log.New(io.Discard, "", 0)
)
