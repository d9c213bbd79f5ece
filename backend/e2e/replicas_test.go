package e2e

import (
	"cmp"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// Seven processes share one installation. While events come in, each of them is
// killed or restarted in turn, a keeper of the stream among them, PostgreSQL
// crashes and the object store is away for a while. Senders try again, as the
// SDKs do; afterwards every accepted event is there once, whichever replica is
// asked, and every object agrees with the manifest.
func TestReplicasShareTheWorkAndTakeOverFromEachOther(t *testing.T) {
	t.Parallel()
	c := newCluster(t, nil)
	api := c.replicas["api-1"]
	_, key := api.app("shop")
	load := c.startLoad(key)

	load.awaitMore(500)
	for _, name := range []string{"sink-1", "sink-2"} {
		c.replicas[name].kill()
		t.Logf("%s killed: what is sent afterwards can be queried after %s", name, c.takeOver(api, load, "shop"))
		c.again(name)
	}
	for _, name := range []string{"ingest-2", "worker"} { // each keeps a third of the stream
		c.replicas[name].kill()
		load.awaitMore(300)
		c.again(name)
	}
	c.database.crash()
	load.awaitMore(200) // the stream takes events without the database
	c.database.start()
	c.objects.kill()
	load.awaitMore(200) // and without the object store
	c.objects.start()
	refused := load.refused.Load()
	for _, name := range c.names { // a rolling restart
		c.replicas[name].stop()
		load.awaitMore(100)
		c.again(name)
	}
	t.Logf("%d requests had to be tried again during the rolling restart", load.refused.Load()-refused)
	sent := load.stop()

	api.awaitCounts("shop", sent)
	c.replicas["api-2"].awaitCounts("shop", sent)
	api.run("lake", "compact", "--app", "shop")
	api.run("lake", "verify", "--app", "shop")
	c.replicas["api-2"].awaitCounts("shop", sent)
	t.Logf("%d events, each once", sent)
}

// takeOver measures how long an event that is sent now takes to be in answers.
func (c *cluster) takeOver(api *platform, load *load, app string) time.Duration {
	c.t.Helper()
	begun := time.Now()
	want := load.accepted.Load() + 1
	api.await(90*time.Second, "what was sent after the loss has landed", func() bool {
		rows, ok := api.tryQuery(app, "select count(*) from events")
		if !ok {
			return false
		}
		n, _ := strconv.ParseInt(rows[0][0], 10, 64)
		return n >= want
	})
	return time.Since(begun).Round(100 * time.Millisecond)
}

// load sends events to whichever replica takes them until it is stopped.
type load struct {
	c        *cluster
	key      string
	patience time.Duration // with one request; default 2 min
	accepted atomic.Int64  // events
	refused  atomic.Int64  // requests that had to be tried again
	done     chan struct{}
	senders  sync.WaitGroup
}

func (c *cluster) startLoad(key string) *load {
	l := &load{c: c, key: key, done: make(chan struct{})}
	for sender := range 3 {
		l.senders.Go(func() { l.send(sender) })
	}
	c.t.Cleanup(func() { l.stop() })
	return l
}

func (l *load) send(sender int) {
	random := rand.New(rand.NewPCG(uint64(sender), 7))
	pace := time.NewTicker(20 * time.Millisecond)
	defer pace.Stop()
	for request := 0; ; request++ {
		select {
		case <-l.done:
			return
		case <-pace.C:
		}
		events := make([]map[string]any, 5)
		for i := range events {
			events[i] = map[string]any{
				"id": fmt.Sprintf("%d-%d-%d", sender, request, i), "name": "tick", "user_id": "u" + strconv.Itoa(random.IntN(200)),
			}
		}
		body, err := json.Marshal(events)
		if err != nil {
			l.c.t.Error(err)
			return
		}
		// A frozen batch is sent until it is answered, to either front door.
		begun := time.Now()
		for attempt := request; ; attempt++ {
			status, answer, _ := l.c.replicas["ingest-"+strconv.Itoa(1+attempt%2)].post(l.key, body)
			if status == 200 {
				if answer.Accepted+answer.Duplicates != len(events) {
					l.c.t.Errorf("of %d events %d were accepted and %d known", len(events), answer.Accepted, answer.Duplicates)
				}
				l.accepted.Add(int64(len(events)))
				break
			}
			if status != 0 && status != 503 && status != 429 {
				l.c.t.Errorf("a good request was answered with %d: %+v", status, answer)
				return
			}
			l.refused.Add(1)
			<-time.After(50 * time.Millisecond)
			if time.Since(begun) > cmp.Or(l.patience, 2*time.Minute) {
				l.c.t.Errorf("a request was refused for %s, %d times", time.Since(begun).Round(time.Second), attempt-request)
				return
			}
		}
	}
}

// awaitMore waits until n more events were accepted.
func (l *load) awaitMore(n int64) {
	l.c.t.Helper()
	want := l.accepted.Load() + n
	l.c.replicas["ingest-1"].await(90*time.Second, fmt.Sprintf("%d more events are accepted", n), func() bool { return l.accepted.Load() >= want })
}

// stop ends the senders, each after the request in hand, and tells how many
// events were accepted.
func (l *load) stop() int {
	select {
	case <-l.done:
	default:
		close(l.done)
	}
	l.senders.Wait()
	return int(l.accepted.Load())
}
