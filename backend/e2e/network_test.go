package e2e

import (
	"fmt"
	"os"
	"os/exec"
	"strings"
	"sync/atomic"
	"testing"
	"time"
)

// network is a bridge of this machine with hosts in network namespaces of their
// own, so that each can be cut off. A nil network is this machine's loopback.
type network struct {
	t     *testing.T
	name  string // of the bridge, and the beginning of all names
	ports atomic.Int32
	hosts map[string]int // number of each host; the bridge itself is 1
}

// newNetwork needs root: nobody else may make network namespaces.
func newNetwork(t *testing.T) *network {
	t.Helper()
	if os.Getuid() != 0 {
		t.Fatal("this test makes network namespaces, which needs root: run it with sudo")
	}
	n := &network{t: t, name: fmt.Sprintf("cz%d", os.Getpid()%100_000), hosts: map[string]int{}}
	t.Cleanup(func() { _ = exec.Command("ip", "link", "del", n.name).Run() })
	n.ip("link", "add", n.name, "type", "bridge")
	n.ip("addr", "add", n.host("")+"/24", "dev", n.name)
	n.ip("link", "set", n.name, "up")
	return n
}

func (n *network) ip(args ...string) {
	n.t.Helper()
	if out, err := exec.Command("ip", args...).CombinedOutput(); err != nil {
		n.t.Fatalf("ip %s: %v: %s", strings.Join(args, " "), err, out)
	}
}

// addHost makes a host in the network.
func (n *network) addHost(t *testing.T, name string) {
	t.Helper()
	if n == nil {
		return
	}
	number := len(n.hosts) + 2
	n.hosts[name] = number
	space, outer, inner := n.space(name), n.link(name), fmt.Sprintf("%si%d", n.name, number)
	n.ip("netns", "add", space)
	t.Cleanup(func() { _ = exec.Command("ip", "netns", "del", space).Run() })
	n.ip("link", "add", outer, "type", "veth", "peer", "name", inner)
	n.ip("link", "set", outer, "master", n.name, "up")
	n.ip("link", "set", inner, "netns", space)
	n.ip("-n", space, "addr", "add", n.host(name)+"/24", "dev", inner)
	n.ip("-n", space, "link", "set", inner, "up")
	n.ip("-n", space, "link", "set", "lo", "up")
}

func (n *network) space(name string) string { return fmt.Sprintf("%s-%s", n.name, name) }
func (n *network) link(name string) string  { return fmt.Sprintf("%so%d", n.name, n.hosts[name]) }

// host is a host's IP address; without a name, this machine's in the network.
func (n *network) host(name string) string {
	number := 1
	if name != "" {
		number = n.hosts[name]
	}
	return fmt.Sprintf("10.%d.%d.%d", 64+os.Getpid()/250%64, os.Getpid()%250, number)
}

// address is one that nobody listens on yet.
func (n *network) address(t *testing.T, name string) string {
	t.Helper()
	if n == nil {
		return freeAddress(t)
	}
	return fmt.Sprintf("%s:%d", n.host(name), 20_000+n.ports.Add(1))
}

// within is the command that runs another one on a host.
func (n *network) within(name string) []string {
	if n == nil {
		return nil
	}
	return []string{"ip", "netns", "exec", n.space(name)}
}

// cut drops everything from and to a host until mend: connections hang, as when
// a switch dies.
func (n *network) cut(name string)  { n.ip("link", "set", n.link(name), "down") }
func (n *network) mend(name string) { n.ip("link", "set", n.link(name), "up") }

// A sink, and then a front door that keeps a third of the stream, is cut off from
// everything for longer than its leases live, while its process goes on. The others go on without it, it does no harm
// when it is back, and each event counts once.
func TestAReplicaThatIsCutOffDoesNoHarm(t *testing.T) {
	t.Parallel()
	n := newNetwork(t)
	c := newCluster(t, n)
	api := c.replicas["api-1"]
	_, key := api.app("shop")
	load := c.startLoad(key)
	load.awaitMore(300)
	for _, name := range []string{"sink-1", "ingest-2"} {
		n.cut(name)
		begun := time.Now()
		took := c.takeOver(api, load, "shop")
		load.awaitMore(200)
		api.await(30*time.Second, "the leases of "+name+" have ended", func() bool { return time.Since(begun) > 8*time.Second })
		n.mend(name)
		t.Logf("%s cut off for %s: what was sent afterwards could be queried after %s", name, time.Since(begun).Round(100*time.Millisecond), took)
		c.awaitReady(name)
		load.awaitMore(100)
	}
	sent := load.stop()
	api.awaitCounts("shop", sent)
	c.replicas["api-2"].awaitCounts("shop", sent)
	api.run("lake", "verify", "--app", "shop")
	t.Logf("%d events, each once", sent)
}
