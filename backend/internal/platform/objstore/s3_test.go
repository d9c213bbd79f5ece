package objstore

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"os"
	"os/exec"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/s3"

	"github.com/causality-project/causality/backend/internal/platform/fault"
	"github.com/causality-project/causality/backend/internal/platform/objstore/s3test"
)

// creator makes the test binary a process that creates one object of a bucket
// and says whether it was the one.
const creator = "OBJSTORE_TEST_CREATE"

func TestMain(m *testing.M) {
	if at := os.Getenv(creator); at != "" {
		os.Exit(createOnce(at))
	}
	os.Exit(m.Run())
}

// A third of all requests fails, in each of the ways in which requests fail, and
// every promise holds all the same.
func TestPromisesHoldWhileRequestsFail(t *testing.T) {
	t.Parallel()
	server := s3test.Start(t)
	var prefixes atomic.Int64
	for name, way := range map[string]s3test.Fault{
		"answers are lost after the server did its work": {Lose: true},
		"the server is busy":                             {Status: http.StatusServiceUnavailable, Code: "SlowDown"},
		"connections break":                              {Refuse: true},
		"bodies are cut":                                 {Cut: true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			proxy := s3test.NewProxy(t, server)
			proxy.Inject(func(r *http.Request) s3test.Fault {
				if rand.N(3) > 0 || way.Cut && r.Method != http.MethodGet {
					return s3test.Fault{}
				}
				return way
			})
			for name, promise := range promises {
				t.Run(name, func(t *testing.T) {
					t.Parallel()
					cfg, err := ParseS3(fmt.Sprintf("s3://lake/failing-%d?endpoint=%s", prefixes.Add(1), proxy.URL))
					if err != nil {
						t.Fatal(err)
					}
					cfg.Logger, cfg.Attempts = discard(), 10
					store, err := NewS3(t.Context(), cfg)
					if err != nil {
						t.Fatal(err)
					}
					promise(t, store)
				})
			}
		})
	}
}

// A server that refuses a taken key may close the connection before it has read
// the body, so that the refusal never arrives.
func TestARefusalThatIsNotHeardIsFoundOut(t *testing.T) {
	t.Parallel()
	server := s3test.Start(t)
	store := newS3(t, server, "p")
	if err := put(store, "x", "first"); err != nil {
		t.Fatal(err)
	}
	server.Proxy.Inject(func(r *http.Request) s3test.Fault { return s3test.Fault{Refuse: r.Method == http.MethodPut} })
	if err := put(store, "x", strings.Repeat("second", 1<<20)); !errors.Is(err, ErrExists) {
		t.Errorf("error %v, want ErrExists", err)
	}
	if err := put(store, "y", "first"); !fault.Is(err, fault.Unavailable) {
		t.Errorf("a free key: %v, want Unavailable", err)
	}
	server.Proxy.Inject(nil)
	if got := read(t, store, "x"); got != "first" {
		t.Errorf("read %q", got[:10])
	}
}

func TestHangingRequestsEndAndAreTriedAgain(t *testing.T) {
	t.Parallel()
	server := s3test.Start(t)
	store := newS3(t, server, "p")
	store.cfg.Timeout = 200 * time.Millisecond
	var hung atomic.Bool
	server.Proxy.Inject(func(r *http.Request) s3test.Fault {
		if r.Method == http.MethodPut && hung.CompareAndSwap(false, true) {
			return s3test.Fault{Delay: time.Hour}
		}
		return s3test.Fault{}
	})
	if err := put(store, "x", "text"); err != nil || !hung.Load() {
		t.Errorf("error %v, hung %v", err, hung.Load())
	}
}

func TestWhatFailedUploadsLeaveIsRemoved(t *testing.T) {
	t.Parallel()
	server := s3test.Start(t)
	store := newS3(t, server, "p")
	uploads := func() int {
		out, err := server.Client().ListMultipartUploads(t.Context(), &s3.ListMultipartUploadsInput{Bucket: &server.Bucket})
		if err != nil {
			t.Fatal(err)
		}
		return len(out.Uploads)
	}
	failure := errors.New("halfway")
	_, err := store.Create(t.Context(), "x", func(w io.Writer) error {
		_, err := w.Write(make([]byte, partSize+1))
		return errors.Join(err, failure)
	})
	if !errors.Is(err, failure) || uploads() != 0 {
		t.Errorf("error %v, %d uploads are left", err, uploads())
	}
	// One of another store in the bucket, and one that a crash left.
	for _, key := range []string{"p/left", "other/left"} {
		if _, err := server.Client().CreateMultipartUpload(t.Context(), &s3.CreateMultipartUploadInput{Bucket: &server.Bucket, Key: aws.String(key)}); err != nil {
			t.Fatal(err)
		}
	}
	if n, err := store.sweep(t.Context(), time.Now().Add(-time.Hour)); n != 0 || err != nil {
		t.Errorf("%d young uploads were removed, %v", n, err)
	}
	if n, err := store.sweep(t.Context(), time.Now().Add(time.Hour)); n != 1 || err != nil || uploads() != 1 {
		t.Errorf("%d uploads were removed, %v; %d are left, want the other store's", n, err, uploads())
	}
}

func TestLargeObjectsTakeBoundedMemory(t *testing.T) {
	t.Parallel()
	server := s3test.Start(t)
	store := newS3(t, server, "p")
	// Parts arrive slowly; who writes must be held back instead of buffered.
	server.Proxy.Inject(func(r *http.Request) s3test.Fault {
		if r.Method == http.MethodPut {
			return s3test.Fault{Delay: 100 * time.Millisecond}
		}
		return s3test.Fault{}
	})
	most := 0
	chunk := make([]byte, 1<<20)
	_, err := store.Create(t.Context(), "x", func(w io.Writer) error {
		u := w.(*upload)
		for range 100 {
			if _, err := w.Write(chunk); err != nil {
				return err
			}
			u.mu.Lock()
			waiting := 0
			for i := range u.parts {
				if u.parts[i].ETag == nil {
					waiting++
				}
			}
			u.mu.Unlock()
			most = max(most, waiting)
		}
		return nil
	})
	if err != nil || most > partsAtOnce {
		t.Errorf("error %v; %d parts were held at once, want %d", err, most, partsAtOnce)
	}
}

func TestListsOfManyPagesAreWhole(t *testing.T) {
	t.Parallel()
	server := s3test.Start(t)
	store := newS3(t, server, "p")
	const objects = 1203
	var wait sync.WaitGroup
	for part := range 8 {
		wait.Go(func() {
			for i := part; i < objects; i += 8 {
				if err := server.Put(t.Context(), fmt.Sprintf("p/a/%04d", i), nil); err != nil {
					t.Error(err)
					return
				}
			}
		})
	}
	wait.Wait()
	n := 0
	for o, err := range store.List(t.Context(), "a/") {
		if err != nil {
			t.Fatal(err)
		}
		if want := fmt.Sprintf("a/%04d", n); o.Key != want {
			t.Fatalf("object %d is %s", n, o.Key)
		}
		n++
	}
	if n != objects {
		t.Errorf("%d objects, want %d", n, objects)
	}
	if err := store.count(t.Context()); err != nil {
		t.Fatal(err)
	}
	if usage, err := store.Usage(t.Context()); err != nil || usage.Objects != objects || usage.Path != "s3://lake/p" {
		t.Errorf("usage %+v, %v", usage, err)
	}
}

func TestErrorsSayWhatToDo(t *testing.T) {
	t.Parallel()
	server := s3test.Start(t)
	for name, test := range map[string]struct {
		fault  s3test.Fault
		change func(*S3)
		says   string
		passes bool
	}{
		"no bucket":   {change: func(s *S3) { s.cfg.Bucket = "another" }, says: "There is no bucket"},
		"denied":      {fault: s3test.Fault{Status: 403, Code: "AccessDenied"}, says: "Access to bucket lake"},
		"credentials": {fault: s3test.Fault{Status: 403, Code: "InvalidAccessKeyId"}, says: "AWS_ACCESS_KEY_ID"},
		"clock":       {fault: s3test.Fault{Status: 403, Code: "RequestTimeTooSkewed"}, says: "clock"},
		"region":      {fault: s3test.Fault{Status: 301, Code: "PermanentRedirect"}, says: "region"},
		"old server":  {fault: s3test.Fault{Status: 501, Code: "NotImplemented"}, says: "conditional writes"},
		"busy":        {fault: s3test.Fault{Status: 503, Code: "SlowDown"}, says: "503 SlowDown", passes: true},
		"away":        {fault: s3test.Fault{Refuse: true}, says: "cannot be reached", passes: true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			proxied := s3test.NewProxy(t, server)
			cfg, err := ParseS3("s3://lake/p?endpoint=" + proxied.URL)
			if err != nil {
				t.Fatal(err)
			}
			cfg.Logger, cfg.Attempts = discard(), 2
			store, err := NewS3(t.Context(), cfg)
			if err != nil {
				t.Fatal(err)
			}
			if test.change != nil {
				test.change(store)
			}
			if test.fault != (s3test.Fault{}) {
				proxied.Inject(func(*http.Request) s3test.Fault { return test.fault })
			}
			err = put(store, "x", "text")
			var f *fault.Error
			if !errors.As(err, &f) || f.Kind != fault.Unavailable || !strings.Contains(f.Message, test.says) {
				t.Fatalf("error %v, want Unavailable that says %q", err, test.says)
			}
			if (f.RetryAfter > 0) != test.passes {
				t.Errorf("it passes by itself: %v, want %v", f.RetryAfter > 0, test.passes)
			}
		})
	}
}

func TestCheckRefusesAServerThatOverwrites(t *testing.T) {
	t.Parallel()
	server := s3test.Start(t)
	store := newS3(t, server, "p")
	if err := store.Check(t.Context()); err != nil {
		t.Fatalf("a good server: %v", err)
	}
	for name, isIt := range map[string]func(*http.Request) bool{
		"object": func(r *http.Request) bool { return r.Method == http.MethodPut && !r.URL.Query().Has("uploadId") },
		"parts":  func(r *http.Request) bool { return r.Method == http.MethodPost && r.URL.Query().Has("uploadId") },
	} {
		first := name == "object"
		server.Proxy.Inject(func(r *http.Request) s3test.Fault {
			if !isIt(r) {
				return s3test.Fault{}
			}
			if first { // the object has to be there
				first = false
				return s3test.Fault{}
			}
			return s3test.Fault{Status: http.StatusOK}
		})
		if err := store.Check(t.Context()); !fault.Is(err, fault.Unsupported) || !strings.Contains(err.Error(), "If-None-Match") {
			t.Errorf("%s: %v, want Unsupported that names If-None-Match", name, err)
		}
	}
	server.Proxy.Inject(nil)
	if got := keys(t, store, ""); len(got) != 0 {
		t.Errorf("left behind: %v", got)
	}
}

func TestURLsAreReadOrRefused(t *testing.T) {
	t.Parallel()
	got, err := ParseS3("s3://my-bucket/a/b/?endpoint=http://h:9&region=eu-1&path_style=false&sse=aws:kms&kms_key=k")
	want := S3Config{Bucket: "my-bucket", Prefix: "a/b", Endpoint: "http://h:9", Region: "eu-1", SSE: "aws:kms", KMSKey: "k"}
	if err != nil || got != want {
		t.Errorf("%+v, %v; want %+v", got, err, want)
	}
	if got, err := ParseS3("s3://b-1"); err != nil || got.Bucket != "b-1" || got.Prefix != "" || got.PathStyle {
		t.Errorf("%+v, %v", got, err)
	}
	for text, says := range map[string]string{
		"s3://B": "no name of a bucket", "s3://bucket/a/../b": "prefix", "s3://u:p@bucket": "AWS_ACCESS_KEY_ID", "s3://bucket?endpoint=h": "scheme",
		"s3://bucket?sse=none": "AES256", "s3://bucket?kms_key=k": "aws:kms", "s3://bucket?what=1": "known", "s3://bucket?path_style=x": "true or false", "gs://bucket": "s3://",
	} {
		if _, err := ParseS3(text); err == nil || !strings.Contains(err.Error(), says) {
			t.Errorf("%s: %v, want %q", text, err, says)
		}
	}
}

func TestObjectsAreEncryptedAsAsked(t *testing.T) {
	t.Parallel()
	server := s3test.Start(t)
	store := newS3(t, server, "p")
	store.cfg.SSE = "AES256"
	var asked sync.Map
	server.Proxy.Inject(func(r *http.Request) s3test.Fault {
		if q := r.URL.Query(); r.Method == http.MethodPut && !q.Has("partNumber") || r.Method == http.MethodPost && q.Has("uploads") {
			asked.Store(fmt.Sprint(r.Method, r.URL.Query().Has("uploads")), r.Header.Get("x-amz-server-side-encryption"))
		}
		return s3test.Fault{}
	})
	for _, size := range []int{1, partSize + 1} {
		// The server may not know encryption; what matters is what it is asked.
		_, _ = store.Create(t.Context(), fmt.Sprint("x", size), func(w io.Writer) error { _, err := w.Write(make([]byte, size)); return err })
	}
	for _, request := range []string{"PUTfalse", "POSTtrue"} {
		if got, _ := asked.Load(request); got != "AES256" {
			t.Errorf("%s asked for %v", request, got)
		}
	}
}

func TestOneOfTwoProcessesCreatesAKey(t *testing.T) {
	t.Parallel()
	server := s3test.Start(t)
	outputs := make(chan string, 2)
	for range 2 {
		command := exec.Command(os.Args[0])
		command.Env = append(os.Environ(), creator+"="+server.URL("p"))
		var problems bytes.Buffer
		command.Stderr = &problems
		go func() {
			out, err := command.Output()
			outputs <- strings.TrimSpace(string(out))
			if err != nil {
				t.Errorf("a process failed: %v: %s", err, problems.String())
			}
		}()
	}
	wins := 0
	for range 2 {
		if out := <-outputs; out == "mine" {
			wins++
		} else if out != "taken" {
			t.Errorf("a process says %q", out)
		}
	}
	if wins != 1 {
		t.Errorf("%d processes won", wins)
	}
}

func createOnce(at string) int {
	cfg, err := ParseS3(at)
	if err == nil {
		cfg.Logger = discard()
		var store *S3
		if store, err = NewS3(context.Background(), cfg); err == nil {
			err = put(store, "wanted", fmt.Sprint(os.Getpid()))
		}
	}
	switch {
	case err == nil:
		fmt.Println("mine")
	case errors.Is(err, ErrExists):
		fmt.Println("taken")
	default:
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return 0
}
