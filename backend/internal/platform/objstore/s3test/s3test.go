// Package s3test gives tests a real S3 server, versitygw on a directory, and a
// proxy before it that does to requests what networks and busy servers do. Only
// tests import it.
package s3test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/s3"
)

// The server's credentials, which Start also puts into this process's
// environment: stores read them from there and nowhere else.
const (
	accessKey = "causality-test"
	secretKey = "causality-test-secret"
)

// Server is a running S3 server with an empty bucket.
type Server struct {
	Bucket string
	Proxy  *Proxy // between the URL's endpoint and the server

	direct string
	client *s3.Client
}

// Start runs a server until the test ends. What it takes is said if versitygw
// cannot be had: a test without it would prove nothing.
func Start(t testing.TB) *Server {
	t.Helper()
	for name, value := range map[string]string{
		"AWS_ACCESS_KEY_ID": accessKey, "AWS_SECRET_ACCESS_KEY": secretKey, "AWS_EC2_METADATA_DISABLED": "true",
		"AWS_CONFIG_FILE": os.DevNull, "AWS_SHARED_CREDENTIALS_FILE": os.DevNull,
	} {
		if os.Getenv(name) != value {
			if err := os.Setenv(name, value); err != nil {
				t.Fatal(err)
			}
		}
	}
	dir := t.TempDir()
	port := freePort(t)
	// Its log names every request; a failed test shows the end of it.
	var out tail
	command := exec.Command(binary(t), "--access", accessKey, "--secret", secretKey, "--port", port, "--quiet", "--keep-alive", "posix", dir)
	command.Stdout, command.Stderr = &out, &out
	command.Dir = dir
	if err := command.Start(); err != nil {
		t.Fatal(err)
	}
	ended := make(chan struct{})
	go func() { defer close(ended); _ = command.Wait() }()
	s := &Server{Bucket: "lake", direct: "http://" + port}
	t.Cleanup(func() {
		_ = command.Process.Kill()
		<-ended
		if t.Failed() {
			t.Logf("versitygw: %s", out.String())
		}
	})
	s.client = s3.New(s3.Options{
		BaseEndpoint: &s.direct, UsePathStyle: true, Region: "us-east-1",
		Credentials: credentials.NewStaticCredentialsProvider(accessKey, secretKey, ""),
	})
	deadline := time.Now().Add(20 * time.Second)
	for {
		ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
		_, err := s.client.CreateBucket(ctx, &s3.CreateBucketInput{Bucket: &s.Bucket})
		cancel()
		if err == nil {
			break
		}
		select {
		case <-ended:
			t.Fatalf("versitygw ended: %s", out.String())
		case <-time.After(10 * time.Millisecond):
		}
		if time.Now().After(deadline) {
			t.Fatalf("versitygw does not answer: %v", err)
		}
	}
	s.Proxy = NewProxy(t, s)
	return s
}

// URL is the --object-store of a prefix in the bucket, through the proxy.
func (s *Server) URL(prefix string) string {
	return "s3://" + s.Bucket + "/" + prefix + "?" + url.Values{"endpoint": {s.Proxy.URL}}.Encode()
}

// Client talks to the server itself, past the proxy.
func (s *Server) Client() *s3.Client { return s.client }

// Put writes an object past the store.
func (s *Server) Put(ctx context.Context, key string, data []byte) error {
	_, err := s.client.PutObject(ctx, &s3.PutObjectInput{Bucket: &s.Bucket, Key: aws.String(key), Body: bytes.NewReader(data)})
	return err
}

var built struct {
	sync.Once
	path string
	err  error
}

func binary(t testing.TB) string {
	t.Helper()
	built.Do(func() {
		if built.path = os.Getenv("CAUSALITY_VERSITYGW"); built.path != "" {
			return
		}
		root, err := os.Getwd()
		for err == nil {
			if _, err := os.Stat(filepath.Join(root, "go.work")); err == nil {
				break
			}
			if parent := filepath.Dir(root); parent != root {
				root = parent
				continue
			}
			err = errors.New("this is no checkout of the repository")
		}
		var out []byte
		if err == nil {
			var problems bytes.Buffer
			command := exec.Command(filepath.Join(root, ".ci", "versitygw"))
			command.Stderr = &problems
			if out, err = command.Output(); err != nil {
				err = fmt.Errorf("%w: %s", err, problems.String())
			}
		}
		built.path, built.err = strings.TrimSpace(string(out)), err
	})
	if built.err != nil {
		t.Fatalf("versitygw: %v", built.err)
	}
	return built.path
}

func freePort(t testing.TB) string {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	return listener.Addr().String()
}

// tail keeps the end of a log.
type tail struct {
	mu   sync.Mutex
	text []byte
}

func (t *tail) Write(p []byte) (int, error) {
	const most = 8 << 10
	t.mu.Lock()
	defer t.mu.Unlock()
	t.text = append(t.text, p...)
	if len(t.text) > most {
		t.text = append(t.text[:0], t.text[len(t.text)-most:]...)
	}
	return len(p), nil
}

func (t *tail) String() string {
	t.mu.Lock()
	defer t.mu.Unlock()
	return string(t.text)
}

// Fault is what the proxy does to one request. The zero value passes it on.
type Fault struct {
	Delay  time.Duration // first
	Status int           // answer so instead of asking the server
	Code   string        // of such an answer; S3's name of the error
	Refuse bool          // close the connection instead of asking the server
	Lose   bool          // let the server do it, and close the connection instead of answering
	Cut    bool          // send half of the answer's body, then close the connection
}

// Proxy stands between a store and the server.
type Proxy struct {
	URL string

	closed   chan struct{}
	fault    atomic.Pointer[func(*http.Request) Fault]
	received atomic.Int64
	requests atomic.Int64
}

// Inject decides on every request that comes from now on; nil passes all.
func (p *Proxy) Inject(decide func(*http.Request) Fault) {
	if decide == nil {
		p.fault.Store(nil)
		return
	}
	p.fault.Store(&decide)
}

// Traffic says how many requests the store made and how many bytes of bodies it
// was sent.
func (p *Proxy) Traffic() (requests, bytes int64) { return p.requests.Load(), p.received.Load() }

// NewProxy puts another proxy before the server, for faults of one store alone.
func NewProxy(t testing.TB, before *Server) *Proxy {
	t.Helper()
	target := before.direct
	p := &Proxy{closed: make(chan struct{})}
	transport := &http.Transport{MaxIdleConnsPerHost: 64, DisableCompression: true}
	server := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		p.serve(w, r, target, transport)
	}))
	server.Start()
	p.URL = server.URL
	t.Cleanup(func() {
		close(p.closed)
		server.CloseClientConnections()
		server.Close()
		transport.CloseIdleConnections()
	})
	return p
}

func (p *Proxy) serve(w http.ResponseWriter, r *http.Request, target string, transport http.RoundTripper) {
	p.requests.Add(1)
	// Only a request that has been read whole is told that its client went away.
	sent, err := io.ReadAll(r.Body)
	if err != nil {
		panic(http.ErrAbortHandler)
	}
	var f Fault
	if decide := p.fault.Load(); decide != nil {
		f = (*decide)(r)
	}
	if f.Delay > 0 {
		select {
		case <-time.After(f.Delay):
		case <-r.Context().Done():
			panic(http.ErrAbortHandler)
		case <-p.closed:
			panic(http.ErrAbortHandler)
		}
	}
	if f.Refuse {
		panic(http.ErrAbortHandler)
	}
	if f.Status != 0 {
		w.Header().Set("Content-Type", "application/xml")
		w.WriteHeader(f.Status)
		if f.Code != "" && r.Method != http.MethodHead {
			_, _ = fmt.Fprintf(w, `<?xml version="1.0" encoding="UTF-8"?><Error><Code>%s</Code><Message>injected</Message></Error>`, f.Code)
		}
		return
	}
	out, err := http.NewRequestWithContext(r.Context(), r.Method, target+r.URL.RequestURI(), bytes.NewReader(sent))
	if err != nil {
		panic(http.ErrAbortHandler)
	}
	out.Header, out.Host, out.ContentLength = r.Header.Clone(), r.Host, int64(len(sent))
	out.Header.Del("Expect")
	out.URL.RawPath, out.URL.Path = r.URL.RawPath, r.URL.Path
	answer, err := transport.RoundTrip(out)
	if err != nil {
		panic(http.ErrAbortHandler)
	}
	defer answer.Body.Close()
	if f.Lose {
		_, _ = io.Copy(io.Discard, answer.Body)
		panic(http.ErrAbortHandler)
	}
	for name, values := range answer.Header {
		w.Header()[name] = values
	}
	w.WriteHeader(answer.StatusCode)
	var body io.Reader = answer.Body
	if f.Cut {
		body = io.LimitReader(body, answer.ContentLength/2)
	}
	_, err = io.Copy(counting{w, &p.received}, body)
	if f.Cut || err != nil {
		panic(http.ErrAbortHandler)
	}
}

// counting counts before it hands on, so that who has read an answer finds it
// counted.
type counting struct {
	io.Writer
	n *atomic.Int64
}

func (c counting) Write(p []byte) (int, error) {
	c.n.Add(int64(len(p)))
	return c.Writer.Write(p)
}
