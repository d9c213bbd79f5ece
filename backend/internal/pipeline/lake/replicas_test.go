package lake

import (
	"context"
	"fmt"
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/causality-project/causality/backend/internal/account/tenancy"
	"github.com/causality-project/causality/backend/internal/pipeline/catalog"
	"github.com/causality-project/causality/backend/internal/pipeline/stream"
	"github.com/causality-project/causality/backend/internal/platform/event"
	"github.com/causality-project/causality/backend/internal/platform/lease"
	"github.com/causality-project/causality/backend/internal/platform/objstore"
	"github.com/causality-project/causality/backend/internal/platform/postgres"
)

// replica is a process that lands its share of the lanes of a stream elsewhere.
func replica(ctx context.Context, dir string, server *postgres.Server) error {
	id := os.Getenv("LAKE_TEST_REPLICA")
	st, err := stream.Open(ctx, stream.Config{URL: os.Getenv("LAKE_TEST_NATS"), Logger: discard()})
	if err != nil {
		return err
	}
	files, err := objstore.NewFiles(filepath.Join(dir, "objects"))
	if err != nil {
		return err
	}
	leases := lease.New(server.Pool(), id, "sink", discard())
	db := tenancy.NewDB(server.Pool(), discard())
	l, err := New(Config{Objects: files, DB: db, Stream: st, Catalog: catalog.New(db), CacheDir: filepath.Join(dir, "cache-"+id),
		MaxAge: 5 * time.Millisecond, Compaction: 500 * time.Millisecond, Leases: leases, Land: true, Maintain: true, Logger: discard()})
	if err != nil {
		return err
	}
	renewing, stop := context.WithCancel(context.Background())
	var running sync.WaitGroup
	running.Go(func() { _ = leases.Run(renewing) })
	_ = l.Run(ctx)
	stop()
	running.Wait()
	return st.Close(context.WithoutCancel(ctx))
}

type replicaProcess struct {
	h       *house
	id      string
	env     []string
	command *exec.Cmd
}

func (p *replicaProcess) start() {
	p.h.t.Helper()
	self, err := os.Executable()
	if err != nil {
		p.h.t.Fatal(err)
	}
	p.command = exec.Command(self)
	p.command.Env = append(os.Environ(), p.env...)
	p.command.Stderr = os.Stderr
	p.command.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := p.command.Start(); err != nil {
		p.h.t.Fatal(err)
	}
}

func (p *replicaProcess) kill() {
	_ = p.command.Process.Kill()
	_ = p.command.Wait()
}

// clusteredStreams opens three servers of one cluster within the test, and tells
// how other processes reach them.
func clusteredStreams(t testing.TB, shards int) (nodes []*stream.Stream, url string) {
	t.Helper()
	var addresses []string
	var listeners []net.Listener
	for range 6 {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		listeners, addresses = append(listeners, l), append(addresses, l.Addr().String())
	}
	for _, l := range listeners {
		_ = l.Close() // all at once: no two get the same port
	}
	const token = "a-token-that-is-only-for-tests"
	nodes = make([]*stream.Stream, 3)
	errs := make([]error, 3)
	var urls []string
	var opening sync.WaitGroup
	dir := t.TempDir()
	for i := range nodes {
		urls = append(urls, "nats://"+token+"@"+addresses[3+i])
		opening.Go(func() {
			ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
			defer cancel()
			nodes[i], errs[i] = stream.Open(ctx, stream.Config{Dir: filepath.Join(dir, fmt.Sprint(i)), Shards: shards, MaxBytes: 256 << 20, Logger: discard(),
				Cluster: stream.Cluster{Name: fmt.Sprint("node-", i), Listen: addresses[i], Routes: addresses[:3], ClientListen: addresses[3+i], Token: token}})
		})
	}
	opening.Wait()
	for i, node := range nodes {
		if errs[i] != nil {
			t.Fatal(errs[i])
		}
		t.Cleanup(func() { _ = node.Close(context.Background()) })
	}
	return nodes, strings.Join(urls, ",")
}

func TestReplicasThatAreKilledAtAnyTimeLandEachEventOnceAndAreReplaced(t *testing.T) {
	t.Parallel()
	h, url := newVictimHouse(t)
	nodes, nats := clusteredStreams(t, 2)
	h.stream = nodes[0]
	apps := []string{h.app}
	for len(apps) < 20 { // enough for every lane to get some
		apps = append(apps, h.addApp())
	}
	replicas := map[string]*replicaProcess{}
	for _, id := range []string{"sink-a", "sink-b"} {
		p := &replicaProcess{h: h, id: id, env: []string{"LAKE_TEST_PROCESS=1", "LAKE_TEST_DIR=" + h.dir, "LAKE_TEST_DATABASE=" + url,
			"LAKE_TEST_REPLICA=" + id, "LAKE_TEST_NATS=" + nats}}
		replicas[id] = p
		p.start()
		t.Cleanup(p.kill)
	}

	// Ingest processes send through every server, with clocks that are five
	// minutes off, and send what they sent again through another lane.
	sending, stop := context.WithCancel(context.Background())
	t.Cleanup(stop)
	var senders sync.WaitGroup
	var mu sync.Mutex
	accepted := map[string][]event.ID{}
	for n, node := range nodes {
		senders.Go(func() {
			skew := time.Duration(n-1) * 5 * time.Minute
			var app string
			var events []event.Event
			for i := 0; sending.Err() == nil; i++ {
				if i%3 != 2 { // every second batch twice, maybe in another lane
					app, events = apps[rand.IntN(len(apps))], someEvents(10)
				}
				batch := &stream.Batch{WorkspaceID: h.workspace, AppID: app, ReceivedAt: time.Now().UTC().Add(skew), Library: "test", Events: events}
				for node.Publish(h.ctx, []stream.Lane{stream.Live, stream.Import}[rand.IntN(2)], batch) != nil {
					time.Sleep(20 * time.Millisecond)
				}
				if i%3 != 2 {
					mu.Lock()
					accepted[app] = append(accepted[app], idsOf(events)...)
					mu.Unlock()
				}
				time.Sleep(10 * time.Millisecond)
			}
		})
	}

	offsets := func() map[string]int64 {
		rows, err := h.server.Pool().Query(h.ctx, `SELECT lane, last_seq FROM lake_offsets`)
		if err != nil {
			t.Fatal(err)
		}
		defer rows.Close()
		all := map[string]int64{}
		for rows.Next() {
			var lane string
			var last int64
			if err := rows.Scan(&lane, &last); err != nil {
				t.Fatal(err)
			}
			all[lane] = last
		}
		return all
	}
	held := func(id string) (names []string) {
		err := h.server.Pool().QueryRow(h.ctx, `SELECT coalesce(array_agg(l.name), '{}') FROM leases l JOIN replicas r ON r.session = l.holder
			WHERE r.replica_id = $1 AND l.expires_at > now() AND l.name <> 'maintenance'`, id).Scan(&names)
		if err != nil {
			t.Fatal(err)
		}
		return names
	}
	for range 3 {
		h.until("both replicas land two lanes each", func() bool { return len(held("sink-a")) == 2 && len(held("sink-b")) == 2 })
		victim := []string{"sink-a", "sink-b"}[rand.IntN(2)]
		lanes := held(victim)
		replicas[victim].kill()
		killed, before := time.Now(), offsets()
		h.until("the other replica lands the lanes of the dead one", func() bool {
			now := offsets()
			return !slices.ContainsFunc(lanes, func(lane string) bool { return now[lane] <= before[lane] })
		})
		// Printed, not judged: the ten seconds that are promised hold on a machine that
		// has time for it; package lease's tests judge the lives of leases.
		t.Logf("%s killed: %v landed again after %v", victim, lanes, time.Since(killed).Round(10*time.Millisecond))
		replicas[victim].start()
	}
	stop()
	senders.Wait()
	h.openReader(nodes[0])
	h.settle()
	for _, app := range apps {
		got := map[event.ID]int{}
		for _, row := range h.rows(app) {
			got[row.ID]++
		}
		for _, id := range accepted[app] {
			if got[id] != 1 {
				t.Fatalf("event %x is there %d times, want once", id, got[id])
			}
		}
		if len(got) != len(accepted[app]) {
			t.Errorf("app %s holds %d events, %d were accepted", app, len(got), len(accepted[app]))
		}
	}
	h.verified()
	h.stream = nil // its end is the cluster's
}

// openReader opens a lake that only answers questions.
func (h *house) openReader(s *stream.Stream) {
	h.t.Helper()
	files, err := objstore.NewFiles(filepath.Join(h.dir, "objects"))
	if err != nil {
		h.t.Fatal(err)
	}
	h.stream, h.objects = s, files
	h.lake, err = New(Config{Objects: files, DB: h.db, Stream: s, Catalog: catalog.New(h.db), CacheDir: filepath.Join(h.dir, "cache-reader"), Compaction: -1, Logger: discard()})
	if err != nil {
		h.t.Fatal(err)
	}
	h.stop = func() {}
}
