package e2e

import (
	"fmt"
	"net"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// cluster is an installation of several processes on this machine: replicas with
// parts of the roles, three of which keep the stream, one PostgreSQL and one S3
// server.
type cluster struct {
	t        *testing.T
	root     string
	database *database
	objects  *gateway
	replicas map[string]*platform
	names    []string
}

// newCluster starts PostgreSQL, the S3 server and every replica: the two that
// take events and the worker keep the stream. In a network, each replica has a
// host of its own there; without one all are on this machine.
func newCluster(t *testing.T, in *network) *cluster {
	t.Helper()
	c := &cluster{t: t, root: dataRoot(t), replicas: map[string]*platform{}}
	var starting sync.WaitGroup
	starting.Go(func() { c.database = startDatabase(t, filepath.Join(c.root, "db"), in.address(t, "")) })
	starting.Go(func() { c.objects = startGateway(t, filepath.Join(c.root, "s3"), in.address(t, "")) })
	starting.Wait()
	if t.Failed() {
		t.FailNow()
	}
	c.names = []string{"ingest-1", "ingest-2", "worker", "sink-1", "sink-2", "api-1", "api-2"}
	keepers := c.names[:3]
	var clients, routes []string
	listen := map[string][2]string{}
	for _, name := range c.names {
		in.addHost(t, name)
	}
	for _, name := range keepers {
		client, route := in.address(t, name), in.address(t, name)
		listen[name] = [2]string{client, route}
		clients = append(clients, "nats://"+natsToken+"@"+client)
		routes = append(routes, route)
	}
	for _, name := range c.names {
		role, _, _ := strings.Cut(name, "-")
		p := &platform{t: t, data: filepath.Join(c.root, name), address: in.address(t, name), within: in.within(name), patience: 3 * time.Second}
		p.args = []string{"--roles", role, "--database-url", c.database.url, "--object-store", c.objects.url, "--stream-shards", "2"}
		if slices.Contains(keepers, name) {
			p.args = append(p.args, "--nats-listen", listen[name][0], "--nats-cluster", listen[name][1], "--nats-peers", strings.Join(routes, ","))
		} else {
			p.args = append(p.args, "--nats-url", strings.Join(clients, ","))
		}
		c.replicas[name] = p
	}
	for _, p := range c.replicas {
		p.launch(c.environment()...)
	}
	for _, name := range c.names {
		c.awaitReady(name)
	}
	return c
}

const natsToken = "secretOfThisTest2026"

func (c *cluster) environment() []string {
	return []string{"CAUSALITY_NATS_TOKEN=" + natsToken, "AWS_ACCESS_KEY_ID=" + gatewayKey, "AWS_SECRET_ACCESS_KEY=" + gatewaySecret}
}

func (c *cluster) awaitReady(name string) {
	c.t.Helper()
	p := c.replicas[name]
	p.await(90*time.Second, name+" is ready", func() bool {
		select {
		case <-p.exited:
			c.t.Fatalf("%s ended before it was ready:\n%s", name, p.stderr)
		default:
		}
		return p.ready()
	})
}

// again starts a replica that was killed or stopped.
func (c *cluster) again(name string) {
	c.t.Helper()
	c.replicas[name].launch(c.environment()...)
	c.awaitReady(name)
}

// database is a PostgreSQL server of the test's own, reached over TCP.
type database struct {
	t       *testing.T
	bin     string
	dir     string
	url     string
	account *syscall.SysProcAttr
}

func startDatabase(t *testing.T, dir, address string) *database {
	t.Helper()
	bins, _ := filepath.Glob("/usr/lib/postgresql/*/bin")
	bin := ""
	if len(bins) > 0 {
		bin = bins[len(bins)-1]
	} else if path, err := exec.LookPath("initdb"); err == nil {
		bin = filepath.Dir(path)
	} else {
		t.Error("no PostgreSQL was found")
		return nil
	}
	d := &database{t: t, bin: bin, dir: dir}
	if err := os.Mkdir(dir, 0o700); err != nil {
		t.Error(err)
		return nil
	}
	if os.Getuid() == 0 { // PostgreSQL refuses root
		nobody, err := user.Lookup("nobody")
		if err != nil {
			t.Error(err)
			return nil
		}
		uid, _ := strconv.Atoi(nobody.Uid)
		gid, _ := strconv.Atoi(nobody.Gid)
		d.account = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: uint32(uid), Gid: uint32(gid)}}
		if err := os.Chown(dir, uid, gid); err != nil {
			t.Error(err)
			return nil
		}
	}
	host, port, _ := net.SplitHostPort(address)
	d.url = fmt.Sprintf("postgres://owner@%s/postgres?sslmode=disable", address)
	d.control("initdb", "-D", dir, "-U", "owner", "-A", "trust", "--no-sync", "-E", "UTF8", "--locale=C")
	settings := fmt.Sprintf("listen_addresses = '%s'\nport = %s\nunix_socket_directories = ''\nfsync = off\nmax_connections = 200\n", host, port)
	if err := os.WriteFile(filepath.Join(dir, "postgresql.auto.conf"), []byte(settings), 0o644); err != nil {
		t.Error(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "pg_hba.conf"), []byte("host all all samenet trust\n"), 0o644); err != nil {
		t.Error(err)
	}
	d.start()
	t.Cleanup(func() { d.control("pg_ctl", "-D", dir, "-m", "immediate", "-w", "stop") })
	return d
}

func (d *database) control(program string, args ...string) {
	d.t.Helper()
	command := exec.Command(filepath.Join(d.bin, program), args...)
	command.Dir, command.SysProcAttr = "/", d.account
	// A server inherits the pipe of its starter, so its output goes to a file.
	log, err := os.OpenFile(d.dir+".log", os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o666)
	if err != nil {
		d.t.Error(err)
		return
	}
	defer log.Close()
	command.Stdout, command.Stderr = log, log
	if err := command.Run(); err != nil {
		text, _ := os.ReadFile(d.dir + ".log")
		d.t.Errorf("%s: %v\n%s", program, err, tail(string(text), 2000))
	}
}

func (d *database) start() {
	d.control("pg_ctl", "-D", d.dir, "-w", "-l", d.dir+"/server.log", "start")
}

// crash ends the server as a machine that fails over does: sessions are cut, and
// it recovers when it is started again.
func (d *database) crash() { d.control("pg_ctl", "-D", d.dir, "-m", "immediate", "-w", "stop") }

const (
	gatewayKey    = "test-access-key"
	gatewaySecret = "test-secret-key"
	bucket        = "lake"
)

// gateway is an S3 server over a directory.
type gateway struct {
	t       *testing.T
	program string
	dir     string
	address string
	url     string // for --object-store
	process *exec.Cmd
	output  *lockedBuffer
	exited  chan struct{}
}

func startGateway(t *testing.T, dir, address string) *gateway {
	t.Helper()
	out, err := exec.Command("../../.ci/versitygw").Output()
	if err != nil {
		t.Errorf("the S3 server of the tests: %v", err)
		return nil
	}
	g := &gateway{t: t, program: strings.TrimSpace(string(out)), dir: dir, address: address}
	if err := os.MkdirAll(filepath.Join(dir, bucket), 0o755); err != nil {
		t.Error(err)
		return nil
	}
	g.url = fmt.Sprintf("s3://%s/objects?endpoint=http://%s&region=us-east-1&path_style=true", bucket, g.address)
	g.start()
	t.Cleanup(g.kill)
	return g
}

func (g *gateway) start() {
	g.t.Helper()
	g.output = &lockedBuffer{}
	g.process = exec.Command(g.program, "--access", gatewayKey, "--secret", gatewaySecret, "--port", g.address, "posix", g.dir)
	g.process.Stdout, g.process.Stderr = g.output, g.output
	if err := g.process.Start(); err != nil {
		g.t.Error(err)
		return
	}
	exited := make(chan struct{})
	g.exited = exited
	process := g.process
	go func() {
		_ = process.Wait()
		close(exited)
	}()
	deadline := time.Now().Add(30 * time.Second)
	for {
		conn, err := net.Dial("tcp", g.address)
		if err == nil {
			conn.Close()
			return
		}
		if time.Now().After(deadline) {
			g.t.Errorf("the S3 server does not listen: %s", g.output)
			return
		}
		<-time.After(20 * time.Millisecond)
	}
}

func (g *gateway) kill() {
	_ = g.process.Process.Kill()
	<-g.exited
}
