package stream

import (
	"bufio"
	"context"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/causality-project/causality/backend/internal/platform/event"
	"github.com/causality-project/causality/backend/internal/platform/fault"
	"github.com/nats-io/nats-server/v2/server"
)

const testToken = "a-token-that-is-only-for-tests"

// TestMain turns the test binary into one server of a cluster that can be
// killed, when a test asks for it.
func TestMain(m *testing.M) {
	if text := os.Getenv("STREAM_TEST_NODE"); text != "" {
		if err := serveNode(text); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		return
	}
	os.Exit(m.Run())
}

func serveNode(text string) error {
	var cfg Config
	if err := json.Unmarshal([]byte(text), &cfg); err != nil {
		return err
	}
	cfg.Logger = testLog()
	s, err := Open(context.Background(), cfg)
	if err != nil {
		return err
	}
	fmt.Println("ready")
	_, _ = io.Copy(io.Discard, os.Stdin) // until the test closes it
	return s.Close(context.Background())
}

// node is a server of a cluster in a process of its own.
type node struct {
	t       testing.TB
	cfg     Config
	command *exec.Cmd
	stdin   io.Closer
	ready   chan struct{}
}

func startNode(t testing.TB, cfg Config) *node {
	t.Helper()
	n := &node{t: t, cfg: cfg}
	n.start()
	t.Cleanup(func() { n.kill() })
	return n
}

func (n *node) start() {
	n.t.Helper()
	cfg := n.cfg
	cfg.Logger = nil
	text, err := json.Marshal(cfg)
	if err != nil {
		n.t.Fatal(err)
	}
	self, err := os.Executable()
	if err != nil {
		n.t.Fatal(err)
	}
	n.command = exec.Command(self)
	n.command.Env = append(os.Environ(), "STREAM_TEST_NODE="+string(text))
	n.command.Stderr = os.Stderr
	n.command.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	out, err := n.command.StdoutPipe()
	if err != nil {
		n.t.Fatal(err)
	}
	if n.stdin, err = n.command.StdinPipe(); err != nil {
		n.t.Fatal(err)
	}
	if err := n.command.Start(); err != nil {
		n.t.Fatal(err)
	}
	n.ready = make(chan struct{})
	go func(ready chan struct{}) {
		if bufio.NewScanner(out).Scan() {
			close(ready)
		}
	}(n.ready)
}

func (n *node) isReady() {
	n.t.Helper()
	select {
	case <-n.ready:
	case <-time.After(time.Minute):
		n.t.Fatalf("%s does not become ready", n.cfg.Cluster.Name)
	}
}

func (n *node) kill() {
	_ = n.command.Process.Kill()
	_ = n.command.Wait()
}

func testLog() *slog.Logger {
	if os.Getenv("STREAM_TEST_LOG") != "" {
		return slog.New(slog.NewTextHandler(os.Stderr, nil))
	}
	return slog.New(slog.DiscardHandler)
}

// freeAddresses finds ports that the kernel gives to nobody else at the moment.
func freeAddresses(t testing.TB, n int) (addresses []string) {
	t.Helper()
	for range n {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		defer l.Close()
		addresses = append(addresses, l.Addr().String())
	}
	return addresses
}

// members are the configurations of three servers that form a cluster, and the
// URLs of their doors for clients.
func members(t testing.TB) (configs []Config, urls []string) {
	t.Helper()
	routes, doors := freeAddresses(t, 3), freeAddresses(t, 3)
	dir := t.TempDir()
	for i := range 3 {
		configs = append(configs, Config{Dir: filepath.Join(dir, fmt.Sprint(i)), MaxBytes: 256 << 20, Logger: testLog(), Cluster: Cluster{
			Name: fmt.Sprint("node-", i), Listen: routes[i], Routes: routes, ClientListen: doors[i], Token: testToken,
		}})
		urls = append(urls, "nats://"+testToken+"@"+doors[i])
	}
	return configs, urls
}

// openAll opens streams at once, as the processes of an installation do.
func openAll(t testing.TB, configs ...Config) []*Stream {
	t.Helper()
	streams, errs := make([]*Stream, len(configs)), make([]error, len(configs))
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	var opening sync.WaitGroup
	for i := range configs {
		opening.Go(func() { streams[i], errs[i] = Open(ctx, configs[i]) })
	}
	opening.Wait()
	for i, s := range streams {
		if errs[i] != nil {
			t.Fatal(errs[i])
		}
		t.Cleanup(func() { closeStream(t, s) })
	}
	return streams
}

func closeStream(t testing.TB, s *Stream) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	if err := s.Close(ctx); err != nil {
		t.Error(err)
	}
}

// load publishes numbered batches through several streams at once, each until it
// is accepted.
type load struct {
	t       testing.TB
	ctx     context.Context
	stop    context.CancelFunc
	senders sync.WaitGroup
	next    atomic.Uint64
	refused atomic.Int64

	mu       sync.Mutex
	accepted map[uint64]int // tries by number
	slowest  time.Duration
	longest  time.Duration // without any batch accepted
	last     time.Time
}

func startLoad(t testing.TB, each int, streams ...*Stream) *load {
	ctx, stop := context.WithCancel(context.Background())
	l := &load{t: t, ctx: ctx, stop: stop, accepted: map[uint64]int{}, last: time.Now()}
	for _, s := range streams {
		for range each {
			l.senders.Go(func() { l.send(s) })
		}
	}
	t.Cleanup(stop)
	return l
}

func (l *load) send(s *Stream) {
	for l.ctx.Err() == nil {
		number := l.next.Add(1)
		batch := numbered(number)
		began := time.Now()
		for tries := 1; ; tries++ {
			err := s.Publish(context.WithoutCancel(l.ctx), Live, batch)
			if err == nil {
				l.mu.Lock()
				l.accepted[number] = tries
				now := time.Now()
				l.slowest, l.longest, l.last = max(l.slowest, now.Sub(began)), max(l.longest, now.Sub(l.last)), now
				l.mu.Unlock()
				break
			}
			l.refused.Add(1)
			if !fault.Is(err, fault.Unavailable) {
				l.t.Errorf("batch %d: %v", number, err)
				return
			}
			if l.ctx.Err() != nil {
				return
			}
			time.Sleep(50 * time.Millisecond) // as a sender would, before it tries again
		}
		time.Sleep(time.Millisecond)
	}
}

func numbered(n uint64) *Batch {
	b := smallBatch(2, "n")
	binary.BigEndian.PutUint64(b.Events[0].ID[:], n)
	binary.BigEndian.PutUint64(b.Events[1].ID[:], n)
	b.AppID = fmt.Sprint("app-", n%7)
	return b
}

func (l *load) count() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return len(l.accepted)
}

// more waits until that many further batches were accepted.
func (l *load) more(n int, within time.Duration) time.Duration {
	l.t.Helper()
	began, want := time.Now(), l.count()+n
	for l.count() < want {
		if time.Since(began) > within {
			l.t.Fatalf("after %v: %d batches accepted, want %d", within, l.count(), want)
		}
		time.Sleep(2 * time.Millisecond)
	}
	return time.Since(began)
}

func (l *load) end() {
	l.stop()
	l.senders.Wait()
}

// seen is what a reader found: the batch's number by sequence.
type seen map[uint64]uint64

// readOn follows a lane as a sink does: what lies before the last message of a
// read is never asked for again.
func readOn(t testing.TB, ctx context.Context, s *Stream, lane Lane, from uint64, found seen) uint64 {
	for {
		messages, err := s.Fetch(context.WithoutCancel(ctx), lane, from, FetchLimit{Wait: 50 * time.Millisecond})
		for i := range messages {
			if messages[i].Err != nil || len(messages[i].Batch.Events) != 2 {
				t.Errorf("sequence %d cannot be read: %v", messages[i].Seq, messages[i].Err)
				continue
			}
			found[messages[i].Seq] = binary.BigEndian.Uint64(messages[i].Batch.Events[0].ID[:])
			from = messages[i].Seq + 1
		}
		if ctx.Err() != nil && err == nil && len(messages) == 0 {
			return from
		}
	}
}

// followInBackground reads until stop is called, which returns all that it read.
func followInBackground(t testing.TB, s *Stream, lane Lane) (stop func() seen) {
	ctx, cancel := context.WithCancel(context.Background())
	found, done := seen{}, make(chan struct{})
	go func() { defer close(done); readOn(t, ctx, s, lane, 1, found) }()
	t.Cleanup(cancel)
	return func() seen { cancel(); <-done; return found }
}

// check compares what was accepted with what readers saw, some of them while
// servers died and one afterwards.
func (l *load) check(readers ...seen) {
	l.t.Helper()
	times := map[uint64]int{}
	for _, number := range readers[0] {
		times[number]++
	}
	lost, doubled := 0, 0
	for number, tries := range l.accepted {
		switch n := times[number]; {
		case n == 0:
			lost++
		case n > tries: // a try whose answer was lost may have been stored
			doubled++
		}
	}
	if lost > 0 || doubled > 0 {
		l.t.Errorf("of %d accepted batches %d are lost and %d doubled", len(l.accepted), lost, doubled)
	}
	for i, other := range readers[1:] {
		for seq, number := range readers[0] {
			if other[seq] != number {
				l.t.Fatalf("reader %d saw batch %d at sequence %d, where batch %d is", i+1, other[seq], seq, number)
			}
		}
		if len(other) != len(readers[0]) {
			l.t.Errorf("reader %d saw %d batches, the first %d", i+1, len(other), len(readers[0]))
		}
	}
}

func TestSeveralProcessesPublishAndReadTheSameLanesExactly(t *testing.T) {
	t.Parallel()
	configs, urls := members(t)
	nodes := openAll(t, configs...)
	url := strings.Join(urls, ",")
	clients := openAll(t, Config{URL: url, Logger: testLog()}, Config{URL: url, Logger: testLog()})
	all := append(slices.Clone(nodes), clients...)
	first, second := followInBackground(t, clients[0], Live), followInBackground(t, nodes[0], Live)
	load := startLoad(t, 8, clients[0], clients[1], nodes[0])
	load.more(1500, time.Minute)
	for range 20 { // counting meanwhile must not lose track
		for _, s := range all {
			if _, _, err := s.Waiting(t.Context(), Live, 0); err != nil {
				t.Fatal(err)
			}
		}
	}
	load.end()
	after := followInBackground(t, clients[1], Live)()
	load.check(after, first(), second())
	grouped := 0
	for seq := range after {
		if seq%groupMost != 0 {
			grouped++
		}
	}
	if grouped == 0 {
		t.Error("no two batches shared a message: the test proves nothing about groups")
	}
	middle := slices.Sorted(func(yield func(uint64) bool) {
		for seq := range after {
			if !yield(seq) {
				return
			}
		}
	})[len(after)/3]
	rest := 0
	for seq := range after {
		if seq > middle {
			rest += 2
		}
	}
	for i, s := range all {
		for from, want := range map[uint64]int{0: 2 * len(after), middle: rest} {
			if n, _, err := s.Waiting(t.Context(), Live, from); err != nil || n != int64(want) {
				t.Errorf("stream %d counts %d events after %d, %v; want %d", i, n, from, err, want)
			}
		}
		if id := s.Incarnation(Live); id == "" || id != all[0].Incarnation(Live) {
			t.Errorf("stream %d has incarnation %q, another %q", i, id, all[0].Incarnation(Live))
		}
	}
}

func TestProcessesThatShareOneServerStartBeforeItAndAgree(t *testing.T) {
	t.Parallel()
	address := freeAddresses(t, 1)[0]
	host, port, err := splitAddress(address)
	if err != nil {
		t.Fatal(err)
	}
	options := &server.Options{Host: host, Port: port, NoSigs: true, JetStream: true, StoreDir: t.TempDir(), SyncAlways: true, MaxPayload: 8 << 20, Authorization: testToken}
	srv, err := server.NewServer(options)
	if err != nil {
		t.Fatal(err)
	}
	waiting := make(chan struct{})
	said := sync.OnceFunc(func() { close(waiting) })
	log := slog.New(slog.NewTextHandler(writerFunc(func(p []byte) (int, error) {
		if strings.Contains(string(p), "waiting for the event stream's servers at "+address) && !strings.Contains(string(p), testToken) {
			said()
		}
		return len(p), nil
	}), nil))
	go func() {
		<-waiting
		srv.Start()
	}()
	t.Cleanup(func() { srv.Shutdown(); srv.WaitForShutdown() })
	cfg := Config{URL: "nats://" + testToken + "@" + address, MaxBytes: 64 << 20, Logger: testLog()}
	patient := cfg
	patient.Logger = log
	first := openAll(t, patient)[0]
	second := openAll(t, cfg)[0]
	follow := followInBackground(t, second, Live)
	load := startLoad(t, 4, first, second)
	load.more(400, time.Minute)
	load.end()
	after := followInBackground(t, first, Live)()
	load.check(after, follow())
	for _, s := range []*Stream{first, second} {
		if n, _, err := s.Waiting(t.Context(), Live, 0); err != nil || n != int64(2*len(after)) {
			t.Errorf("%d events wait, %v; want %d", n, err, 2*len(after))
		}
		if err := s.Ready(t.Context()); err != nil {
			t.Error(err)
		}
	}
}

type writerFunc func([]byte) (int, error)

func (f writerFunc) Write(p []byte) (int, error) { return f(p) }

func TestTheLossOfAServerLosesNothing(t *testing.T) {
	t.Parallel()
	configs, urls := members(t)
	var nodes []*node
	for _, cfg := range configs {
		nodes = append(nodes, startNode(t, cfg))
	}
	url := strings.Join(urls, ",")
	clients := openAll(t, Config{URL: url, Logger: testLog()}, Config{URL: url, Logger: testLog()})
	follow := followInBackground(t, clients[0], Live)
	load := startLoad(t, 6, clients...)
	load.more(300, time.Minute)
	for _, victim := range []int{leaderOf(t, clients[0], Live), 0} {
		nodes[victim].isReady()
		refused := load.refused.Load()
		nodes[victim].kill()
		load.more(300, time.Minute)
		load.mu.Lock()
		t.Logf("%s killed: %v without an accepted batch, %d answers of 503", configs[victim].Cluster.Name, load.longest.Round(time.Millisecond), load.refused.Load()-refused)
		load.longest = 0
		load.mu.Unlock()
		began := time.Now()
		nodes[victim].start()
		nodes[victim].isReady()
		load.more(300, time.Minute)
		caughtUp(t, clients[0], configs[victim].Cluster.Name)
		t.Logf("%s is back and has caught up after %v", configs[victim].Cluster.Name, time.Since(began).Round(time.Millisecond))
	}
	load.end()
	after := followInBackground(t, clients[1], Live)()
	load.check(after, follow())
	t.Logf("%d batches accepted, %d refusals, the slowest took %v", load.count(), load.refused.Load(), load.slowest.Round(time.Millisecond))
}

func leaderOf(t testing.TB, s *Stream, lane Lane) (number int) {
	t.Helper()
	info, err := s.info(t.Context(), s.link.Load(), s.lanes[lane])
	if err != nil || info.Cluster == nil {
		t.Fatalf("info %+v, %v", info, err)
	}
	if _, err := fmt.Sscanf(info.Cluster.Leader, "node-%d", &number); err != nil {
		t.Fatalf("leader %q", info.Cluster.Leader)
	}
	return number
}

// caughtUp waits until a server holds what the others do, in all lanes.
func caughtUp(t testing.TB, s *Stream, name string) {
	t.Helper()
	deadline := time.Now().Add(time.Minute)
	for _, lane := range s.Lanes() {
		for current := false; !current; {
			if time.Now().After(deadline) {
				t.Fatalf("%s has not caught up", name)
			}
			info, err := s.info(t.Context(), s.link.Load(), s.lanes[lane])
			if err != nil {
				continue
			}
			current = info.Cluster.Leader == name
			for _, peer := range info.Cluster.Replicas {
				current = current || peer.Name == name && peer.Current && !peer.Offline
			}
			time.Sleep(10 * time.Millisecond)
		}
	}
}

// wire passes connections on to an address until it is cut. Cut, it stays open
// and passes nothing, as a broken network does.
type wire struct {
	listener net.Listener
	cut      atomic.Bool
	mu       sync.Mutex
	conns    []net.Conn
}

func newWire(t testing.TB, to string) *wire {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	w := &wire{listener: l}
	var passing sync.WaitGroup
	passing.Go(func() {
		for {
			in, err := l.Accept()
			if err != nil {
				return
			}
			out, err := net.Dial("tcp", to)
			if err != nil {
				_ = in.Close()
				continue
			}
			w.mu.Lock()
			w.conns = append(w.conns, in, out)
			w.mu.Unlock()
			passing.Go(func() { w.pass(in, out) })
			passing.Go(func() { w.pass(out, in) })
		}
	})
	t.Cleanup(func() {
		_ = l.Close()
		w.mu.Lock()
		for _, c := range w.conns {
			_ = c.Close()
		}
		w.mu.Unlock()
		passing.Wait()
	})
	return w
}

func (w *wire) pass(from, to net.Conn) {
	defer from.Close()
	defer to.Close()
	buf := make([]byte, 64<<10)
	for {
		n, err := from.Read(buf)
		if err != nil {
			return
		}
		if w.cut.Load() {
			continue // swallowed; the ends find out by themselves
		}
		if _, err := to.Write(buf[:n]); err != nil {
			return
		}
	}
}

func TestAServerThatIsCutOffRefusesAndTheOthersGoOn(t *testing.T) {
	t.Parallel()
	configs, urls := members(t)
	var wires []*wire // to and from the third server
	for i := range configs {
		routes := slices.Clone(configs[i].Cluster.Routes)
		for j := range routes {
			if i != j && (i == 2 || j == 2) {
				w := newWire(t, routes[j])
				wires, routes[j] = append(wires, w), w.listener.Addr().String()
			}
		}
		configs[i].Cluster.Routes = routes
	}
	nodes := openAll(t, configs...)
	// The client's first server is the one that will be cut off.
	clients := openAll(t, Config{URL: urls[2], Logger: testLog()}, Config{URL: urls[0] + "," + urls[1], Logger: testLog()})
	follow := followInBackground(t, clients[1], Live)
	load := startLoad(t, 4, clients[1])
	load.more(200, time.Minute)
	for _, w := range wires {
		w.cut.Store(true)
	}
	cut := time.Now()
	load.more(200, time.Minute)
	load.mu.Lock()
	t.Logf("a server cut off: %v without an accepted batch", load.longest.Round(time.Millisecond))
	load.mu.Unlock()
	// Alone it promises nothing.
	for _, s := range []*Stream{nodes[2], clients[0]} {
		if err := s.Publish(t.Context(), Live, numbered(1<<40)); !fault.Is(err, fault.Unavailable) {
			t.Errorf("a server without a majority answered %v", err)
		}
	}
	for nodes[2].Ready(t.Context()) == nil {
		if time.Since(cut) > time.Minute {
			t.Fatal("the server that is cut off says that it is ready")
		}
		time.Sleep(50 * time.Millisecond)
	}
	for _, w := range wires {
		w.cut.Store(false)
	}
	healed := time.Now()
	for {
		if err := nodes[2].Publish(t.Context(), Live, numbered(1<<41)); err == nil {
			break
		} else if time.Since(healed) > time.Minute {
			t.Fatal(err)
		}
	}
	caughtUp(t, clients[1], configs[2].Cluster.Name)
	t.Logf("back after %v", time.Since(healed).Round(time.Millisecond))
	load.end()
	load.check(followInBackground(t, nodes[2], Live)(), follow(), followInBackground(t, nodes[0], Live)())
}

func TestShardsGrowAndNeverLeaveALaneUnread(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	s := openStream(t, Config{Dir: dir})
	publish(t, s, Live, smallBatch(1, "one"))
	closeStream(t, s)
	s = openStream(t, Config{Dir: dir, Shards: 3})
	want := []Lane{Live, Import, "live-1", "import-1", "live-2", "import-2"}
	if got := s.Lanes(); !slices.Equal(got, want) {
		t.Fatalf("lanes %v, want %v", got, want)
	}
	used := map[Lane]bool{}
	for n := range uint64(40) {
		b := numbered(n)
		b.AppID = fmt.Sprint("app-", n)
		publish(t, s, Live, b)
	}
	total := func(s *Stream) (sum int64) {
		for _, lane := range s.Lanes() {
			n, _, err := s.Waiting(t.Context(), lane, 0)
			if err != nil {
				t.Fatal(err)
			}
			used[lane] = used[lane] || n > 0
			sum += n
		}
		return sum
	}
	if n := total(s); n != 81 || !used[Live] || !used["live-1"] || !used["live-2"] || used[Import] {
		t.Errorf("%d events in lanes %v, want 81 in all live lanes", n, used)
	}
	closeStream(t, s)
	s = openStream(t, Config{Dir: dir, Shards: 1})
	if got := s.Lanes(); !slices.Equal(got, want) {
		t.Errorf("after shrinking the lanes are %v, want all that there were", got)
	}
	before := total(s)
	for range 10 {
		publish(t, s, Live, &Batch{WorkspaceID: "w", AppID: "app-1", ReceivedAt: time.Now(), Events: []event.Event{{ID: event.ID{9}, Type: event.Track, Name: "x"}}})
	}
	if n, _, err := s.Waiting(t.Context(), Live, 0); err != nil || total(s) != before+10 || n < 10 {
		t.Errorf("after shrinking %d events are in the first lane, %v", n, err)
	}
}

func TestAClusterIsRefusedWhenItsConfigurationCannotWork(t *testing.T) {
	t.Parallel()
	for what, c := range map[string]Cluster{
		"token":         {Name: "a", Listen: "h:1", Routes: []string{"h:2", "h:3"}, Token: "short"},
		"other servers": {Name: "a", Listen: "h:1", Routes: []string{"h:1", "h:2"}, Token: testToken},
		"host:port":     {Name: "a", Listen: "h", Routes: []string{"h:2", "h:3"}, Token: testToken},
		"name":          {Listen: "h:1", Routes: []string{"h:2", "h:3"}, Token: testToken},
	} {
		if _, err := Open(t.Context(), Config{Dir: t.TempDir(), Cluster: c, Logger: testLog()}); err == nil || !strings.Contains(err.Error(), what) {
			t.Errorf("%s: %v", what, err)
		}
	}
}

func TestAServerNeverLeavesEventsOfItsOtherWayToRunBehind(t *testing.T) {
	t.Parallel()
	configs, _ := members(t)
	s := openStream(t, Config{Dir: configs[0].Dir})
	publish(t, s, Live, smallBatch(1, "alone"))
	closeStream(t, s)
	if _, err := Open(t.Context(), configs[0]); err == nil || !strings.Contains(err.Error(), "ran alone") {
		t.Errorf("a lone server's directory in a cluster: %v", err)
	}
	if err := os.MkdirAll(filepath.Join(configs[1].Dir, clusterDir, jetstreamDir), 0o700); err != nil {
		t.Fatal(err)
	}
	if _, err := Open(t.Context(), Config{Dir: configs[1].Dir, Logger: testLog()}); err == nil || !strings.Contains(err.Error(), "part of a cluster") {
		t.Errorf("a clustered server's directory alone: %v", err)
	}
}

func TestNobodyConnectsWithoutTheToken(t *testing.T) {
	t.Parallel()
	configs, urls := members(t)
	openAll(t, configs...)
	for _, url := range []string{strings.Replace(urls[0], testToken+"@", "", 1), strings.Replace(urls[0], testToken, "another-token-than-it", 1)} {
		_, err := Open(t.Context(), Config{URL: url, Logger: testLog()})
		if err == nil || strings.Contains(err.Error(), "another-token") {
			t.Errorf("without the token: %v", err)
		}
	}
}
