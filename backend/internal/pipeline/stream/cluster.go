package stream

import (
	"errors"
	"fmt"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/nats-io/nats-server/v2/server"
)

// Cluster joins embedded servers of several processes, three at least, into one
// that holds every event on a majority of them before it is acknowledged. Events
// go from one to the other unencrypted: put them into a network of their own.
type Cluster struct {
	Name         string   // of this server in the cluster; stays the same over its life
	Listen       string   // host:port for the other servers
	Routes       []string // host:port where the other servers listen
	ClientListen string   // host:port for processes that use the cluster by URL; empty: this machine's alone, at a port of the kernel's choice
	Token        string   // whoever connects must know it; at least 16 characters
}

const (
	clusterName   = "causality"
	clusterDir    = "cluster"   // of a clustered server's files, within Dir
	jetstreamDir  = "jetstream" // that the server makes in its directory
	shortestToken = 16
)

func (c *Cluster) on() bool { return c.Name != "" || c.Listen != "" || len(c.Routes) > 0 }

// check names every wrong field.
func (c *Cluster) check() error {
	var problems []error
	problem := func(format string, args ...any) { problems = append(problems, fmt.Errorf(format, args...)) }
	if c.Name == "" || strings.ContainsAny(c.Name, " \t\n.*>/\\") {
		problem("the cluster's server name %q: give each server a name of its own, without spaces, dots and slashes", c.Name)
	}
	if len(c.Token) < shortestToken || strings.ContainsAny(c.Token, "@/?#: ,") {
		problem("the cluster's token: give all processes the same %d or more letters and digits", shortestToken)
	}
	if len(c.others()) < clusterReplicas-1 {
		problem("the cluster's routes name %d other servers: a cluster needs three at least, this one and two others", len(c.others()))
	}
	listen := []string{c.Listen}
	if c.ClientListen != "" {
		listen = append(listen, c.ClientListen)
	}
	for _, address := range append(listen, c.Routes...) {
		if _, _, err := splitAddress(address); err != nil {
			problem("the cluster's address %q: give host:port", address)
		}
	}
	return errors.Join(problems...)
}

// others are the routes without this server's own, so that all servers may be
// given the same list.
func (c *Cluster) others() []string {
	var others []string
	for _, route := range c.Routes {
		if route != c.Listen {
			others = append(others, route)
		}
	}
	return others
}

func splitAddress(address string) (string, int, error) {
	host, text, err := net.SplitHostPort(address)
	if err != nil {
		return "", 0, err
	}
	port, err := strconv.ParseUint(text, 10, 16)
	return host, int(port), err
}

// prepare makes the server's options those of the cluster, if there is one, and
// returns the directory of its files. A server that joins a cluster deletes
// streams that the cluster does not know, so the two ways to run never share
// files, and none is left behind unread.
func (c *Cluster) prepare(dir string, options *server.Options) (string, error) {
	clustered := filepath.Join(dir, clusterDir)
	own, other := filepath.Join(dir, jetstreamDir), filepath.Join(clustered, jetstreamDir)
	if c.on() {
		own, other = other, own
	}
	if exists(other) && !exists(own) {
		how := "ran alone"
		if !c.on() {
			how = "was part of a cluster"
		}
		return "", fmt.Errorf("%s holds the event stream of a server that %s. Run it that way once more without senders until nothing waits to be landed, stop it, move that folder away, and start again", other, how)
	}
	if !c.on() {
		return dir, nil
	}
	host, port, err := splitAddress(c.Listen)
	if err != nil {
		return "", err
	}
	options.ServerName = c.Name
	options.Cluster = server.ClusterOpts{
		Name: clusterName, Host: host, Port: port, NoAdvertise: true,
		Username: clusterName, Password: c.Token, PoolSize: -1,
		PingInterval: 2 * time.Second, // a route that is cut is noticed within some seconds
	}
	// The number of routes, this server's own among them, is how many servers the
	// first election waits for.
	if host == "" || net.ParseIP(host) != nil && net.ParseIP(host).IsUnspecified() {
		host = "127.0.0.1"
	}
	for _, address := range append(c.others(), net.JoinHostPort(host, strconv.Itoa(port))) {
		options.Routes = append(options.Routes, &url.URL{Scheme: "nats-route", User: url.UserPassword(clusterName, c.Token), Host: address})
	}
	// Routes open only after the door for clients, so there always is one.
	options.DontListen = false
	options.Host, options.Port = "127.0.0.1", server.RANDOM_PORT
	if c.ClientListen != "" {
		if options.Host, options.Port, err = splitAddress(c.ClientListen); err != nil {
			return "", err
		}
		if options.Host == "" {
			options.Host = "0.0.0.0"
		}
	}
	options.Authorization = c.Token
	options.LameDuckDuration, options.LameDuckGracePeriod = time.Second, 10*time.Millisecond
	return clustered, nil
}

func exists(path string) bool {
	_, err := os.Stat(path)
	return err == nil
}

func (c *Cluster) hint() string {
	if !c.on() {
		return ""
	}
	return ", and that no other program listens on " + c.Listen + " or " + c.ClientListen
}

// waitingFor says what keeps a cluster from answering.
func (s *Stream) waitingFor(l *link) string {
	if l.server == nil {
		return "waiting for a majority of the event stream's servers at " + hosts(s.cfg.URL)
	}
	return fmt.Sprintf("waiting for a majority of the event stream's servers: %s sees %d of the %d others (%s)",
		s.cfg.Cluster.Name, l.server.NumRemotes(), len(s.cfg.Cluster.others()), strings.Join(s.cfg.Cluster.others(), ", "))
}

// hosts takes tokens and passwords out of a list of URLs.
func hosts(urls string) string {
	var names []string
	for text := range strings.SplitSeq(urls, ",") {
		text = strings.TrimSpace(text)
		if !strings.Contains(text, "://") {
			text = "nats://" + text
		}
		if u, err := url.Parse(text); err == nil {
			names = append(names, u.Host)
		}
	}
	return strings.Join(names, ", ")
}

func isNetwork(err error) bool {
	var network net.Error
	return errors.As(err, &network)
}
