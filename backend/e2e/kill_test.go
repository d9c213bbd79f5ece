package e2e

import (
	"encoding/json"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// traffic sends numbered batches until it is stopped. An event of a request that
// was not answered with 200 is sent again with its id until one is: so at the
// end every event must be there, exactly once.
type traffic struct {
	p    *platform
	key  string
	name string
	sent atomic.Int64 // events answered with 200
	stop chan struct{}
	done sync.WaitGroup
}

func (p *platform) traffic(key, name string, workers, batch int) *traffic {
	tr := &traffic{p: p, key: key, name: name, stop: make(chan struct{})}
	for worker := range workers {
		tr.done.Go(func() {
			for number := 0; ; number++ {
				select {
				case <-tr.stop:
					return
				default:
				}
				tr.deliver(worker, number, batch)
			}
		})
	}
	return tr
}

func (tr *traffic) deliver(worker, number, batch int) {
	events := make([]map[string]any, batch)
	for i := range events {
		events[i] = map[string]any{
			"id": fmt.Sprintf("%s-%d-%d-%d", tr.name, worker, number, i), "name": "step",
			"user_id": fmt.Sprintf("u%d", (number*batch+i)%500), "properties": map[string]any{"n": number, "text": "plain"},
		}
	}
	body, err := json.Marshal(events)
	if err != nil {
		tr.p.t.Error(err)
		return
	}
	for deadline := time.Now().Add(3 * time.Minute); time.Now().Before(deadline); {
		status, answer, _ := tr.p.post(tr.key, body)
		if status == 200 {
			if answer.Accepted+answer.Duplicates != batch {
				tr.p.t.Errorf("of %d events %d were accepted, %d duplicates, %d rejected", batch, answer.Accepted, answer.Duplicates, len(answer.Rejected))
			}
			tr.sent.Add(int64(batch))
			return
		}
		if status != 0 && status != 503 && status != 429 {
			tr.p.t.Errorf("status %d: %s", status, answer.Message)
			return
		}
		pause := time.NewTimer(20 * time.Millisecond)
		<-pause.C
	}
	tr.p.t.Error("a batch was not accepted within 3 minutes")
}

// finish lets every batch in hand be accepted and returns how many events were.
func (tr *traffic) finish() int {
	close(tr.stop)
	tr.done.Wait()
	return int(tr.sent.Load())
}

// Each named failpoint of the server is hit once by a SIGKILL from inside, under
// load; afterwards every accepted event is there exactly once. The names are read
// from the source, so a new failpoint is proven without touching this test.
func TestNoAcceptedEventIsLostOrDoubledWhenKilledAtAnyFailpoint(t *testing.T) {
	t.Parallel()
	points := failpoints(t)
	if len(points) < 8 {
		t.Fatalf("only %d failpoints are named: %v", len(points), points)
	}
	for _, point := range points {
		t.Run(point, func(t *testing.T) {
			t.Parallel()
			slots <- struct{}{}
			defer func() { <-slots }()
			p := newPlatform(t)
			if strings.HasPrefix(point, "postgres.") {
				p.launch("CAUSALITY_FAILPOINT=" + point)
				p.awaitExit(60 * time.Second)
				p.start()
				_, key := p.app("shop")
				tr := p.traffic(key, "after", 1, 10)
				p.await(30*time.Second, "a batch is accepted", func() bool { return tr.sent.Load() >= 100 })
				p.awaitCounts("shop", tr.finish())
				return
			}
			p.start()
			_, key := p.app("shop")
			p.stop()
			p.start("CAUSALITY_FAILPOINT=" + point + ":3")
			tr := p.traffic(key, "load", 4, 20)
			p.provoke(point, key)
			p.awaitExit(60 * time.Second)
			p.start()
			before := tr.sent.Load()
			p.await(30*time.Second, "ingest goes on after the restart", func() bool { return tr.sent.Load() > before+200 })
			p.awaitCounts("shop", tr.finish())
			p.stop()
			p.start()
			if _, stderr, code := p.try("lake", "verify"); code != 0 {
				t.Fatalf("lake verify: exit code %d\n%s", code, stderr)
			}
		})
	}
}

// slots bounds how many platforms run side by side.
var slots = make(chan struct{}, 3)

// provoke does what leads to a point that plain traffic does not pass.
func (p *platform) provoke(point, key string) {
	switch {
	case strings.HasPrefix(point, "compaction."):
		for deadline := time.Now().Add(30 * time.Second); time.Now().Before(deadline); {
			p.try("lake", "compact")
			select {
			case <-p.exited:
				return
			case <-time.After(500 * time.Millisecond): // more objects land meanwhile
			}
		}
	case strings.HasPrefix(point, "links."):
		for i := range 100 {
			p.post(key, fmt.Appendf(nil, `[{"id":"identify-%d","type":"IDENTIFY","user_id":"u%d","anonymous_id":"a%d"}]`, i, i, i))
			select {
			case <-p.exited:
				return
			case <-time.After(300 * time.Millisecond): // the next one belongs to another run
			}
		}
	}
}

func (p *platform) awaitExit(limit time.Duration) {
	p.t.Helper()
	select {
	case <-p.exited:
	case <-time.After(limit):
		p.t.Fatalf("the failpoint was not reached within %s:\n%s", limit, tail(p.stderr.String(), 2000))
	}
}

// elsewhere are points off the way of an event, where the lake's own tests kill
// its process: they can bring about what leads there.
var elsewhere = regexp.MustCompile(`^(collect|erase|projection|publish|retention)\.`)

func failpoints(t *testing.T) []string {
	t.Helper()
	pattern := regexp.MustCompile(`failpoint\.Hit\("([a-z.-]+)"\)`)
	seen := map[string]bool{}
	var names []string
	err := filepath.WalkDir("../internal", func(path string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() || !strings.HasSuffix(path, ".go") || strings.HasSuffix(path, "_test.go") {
			return err
		}
		source, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		for _, match := range pattern.FindAllSubmatch(source, -1) {
			if name := string(match[1]); !seen[name] && !elsewhere.MatchString(name) {
				seen[name] = true
				names = append(names, name)
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return names
}

// Fifty kills at random moments under load lose nothing and double nothing.
func TestFiftyRandomKillsUnderLoadKeepEveryAcceptedEventOnce(t *testing.T) {
	t.Parallel()
	slots <- struct{}{}
	defer func() { <-slots }()
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	random := rand.New(rand.NewPCG(seed, 1))
	p := newPlatform(t)
	p.start()
	_, key := p.app("shop")
	tr := p.traffic(key, "kills", 4, 25)
	for range 50 {
		p.kill()
		p.launch()
		moment := time.NewTimer(time.Duration(100+random.IntN(1500)) * time.Millisecond)
		<-moment.C
	}
	p.kill()
	p.start()
	before := tr.sent.Load()
	p.await(30*time.Second, "ingest goes on after the last restart", func() bool { return tr.sent.Load() > before })
	p.awaitCounts("shop", tr.finish())
	if tr.sent.Load() < 1_000 {
		t.Errorf("only %d events were sent: the load proves little", tr.sent.Load())
	}
}
