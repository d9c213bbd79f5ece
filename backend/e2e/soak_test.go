//go:build soak

package e2e

import (
	"math/rand/v2"
	"os"
	"testing"
	"time"
)

// The replicas lose something again and again, at random, for SOAKTIME (10 min
// unless told), and then the object store is away for as long as that again. Each
// accepted event is there once afterwards. A seed that is printed repeats the
// order of losses.
func TestSoakReplicasLoseSomethingAgainAndAgain(t *testing.T) {
	length := 10 * time.Minute
	if text := os.Getenv("SOAKTIME"); text != "" {
		var err error
		if length, err = time.ParseDuration(text); err != nil {
			t.Fatalf("SOAKTIME: %v", err)
		}
	}
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	random := rand.New(rand.NewPCG(seed, 0))
	n := newNetwork(t)
	c := newCluster(t, n)
	api := c.replicas["api-1"]
	_, key := api.app("shop")
	load := c.startLoad(key)
	load.patience = 15 * time.Minute

	any := func() string { return c.names[random.IntN(len(c.names)-2)] } // the api replicas are asked throughout
	for end := time.Now().Add(length); time.Now().Before(end); {
		name := any()
		switch what := random.IntN(5); what {
		case 0:
			t.Logf("%s is killed", name)
			c.replicas[name].kill()
			load.awaitMore(100)
			c.again(name)
		case 1:
			t.Logf("%s is restarted", name)
			c.replicas[name].stop()
			c.again(name)
		case 2:
			t.Logf("%s is cut off", name)
			n.cut(name)
			load.awaitMore(200)
			n.mend(name)
			c.awaitReady(name)
		case 3:
			t.Log("PostgreSQL crashes")
			c.database.crash()
			load.awaitMore(100)
			c.database.start()
		case 4:
			t.Log("the object store is away")
			c.objects.kill()
			load.awaitMore(300)
			c.objects.start()
		}
		begun := time.Now()
		took := c.takeOver(api, load, "shop")
		t.Logf("  what was sent afterwards could be queried after %s", took)
		if time.Since(begun) > 2*time.Minute {
			t.Fatal("that took too long")
		}
	}
	t.Logf("the object store is away for %s", length)
	c.objects.kill()
	for end := time.Now().Add(length); time.Now().Before(end); {
		load.awaitMore(100)
	}
	c.objects.start()
	begun := time.Now()
	sent := load.stop()
	c.replicas["api-2"].awaitCounts("shop", sent)
	t.Logf("all %d events, each once, %s after it was back", sent, time.Since(begun).Round(time.Second))
	api.run("lake", "compact", "--app", "shop")
	api.run("lake", "verify", "--app", "shop")
	api.awaitCounts("shop", sent)
}
