package stream

import (
	"context"
	"fmt"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"
)

const testToken = "a-token-that-is-only-for-tests"

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
// URL for clients of all of them.
func members(t testing.TB) (configs []Config, url string) {
	t.Helper()
	routes, doors := freeAddresses(t, 3), freeAddresses(t, 3)
	dir := t.TempDir()
	var urls []string
	for i := range 3 {
		configs = append(configs, Config{Dir: filepath.Join(dir, fmt.Sprint(i)), MaxBytes: 256 << 20, Logger: testLog(), Cluster: Cluster{
			Name: fmt.Sprint("node-", i), Listen: routes[i], Routes: routes, ClientListen: doors[i], Token: testToken,
		}})
		urls = append(urls, "nats://"+testToken+"@"+doors[i])
	}
	return configs, strings.Join(urls, ",")
}

// openAll opens streams at once, as the processes of an installation do.
func openAll(t testing.TB, configs ...Config) []*Stream {
	t.Helper()
	streams, errs := make([]*Stream, len(configs)), make([]error, len(configs))
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	var opening sync.WaitGroup
	for i := range configs {
		opening.Go(func() {
			if streams[i], errs[i] = Open(ctx, configs[i]); errs[i] != nil {
				t.Log(i, errs[i])
				cancel()
			}
		})
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

func TestClusterStarts(t *testing.T) {
	configs, url := members(t)
	began := time.Now()
	nodes := openAll(t, configs...)
	t.Log("open", time.Since(began))
	client := openAll(t, Config{URL: url, Logger: testLog()})[0]
	t.Log("client", time.Since(began))
	for i := range 200 {
		publish(t, nodes[i%3], Live, smallBatch(3, fmt.Sprint(i)))
		publish(t, client, Live, smallBatch(3, fmt.Sprint(i)))
	}
	t.Log("published", time.Since(began))
	got := fetchAll(t, client, Live, 1)
	t.Log(len(got), time.Since(began))
	for _, s := range append(nodes, client) {
		events, _, err := s.Waiting(t.Context(), Live, 0)
		t.Log(events, err, s.Ready(t.Context()), s.Lanes())
	}
	began = time.Now()
	closeStream(t, nodes[0])
	t.Log("closed", time.Since(began))
	began = time.Now()
	for {
		if err := client.Publish(t.Context(), Live, smallBatch(1, "x")); err == nil {
			break
		} else {
			t.Log(err)
		}
	}
	t.Log("published again", time.Since(began))
}
