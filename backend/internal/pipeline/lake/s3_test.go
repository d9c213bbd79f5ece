package lake

import (
	"context"
	"fmt"
	"math/rand/v2"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/parquet-go/parquet-go"

	"github.com/causality-project/causality/backend/internal/pipeline/lake/projection"
	"github.com/causality-project/causality/backend/internal/pipeline/stream"
	"github.com/causality-project/causality/backend/internal/platform/event"
	"github.com/causality-project/causality/backend/internal/platform/fault"
	"github.com/causality-project/causality/backend/internal/platform/objstore"
	"github.com/causality-project/causality/backend/internal/platform/objstore/s3test"
)

// inBucket makes a house keep its objects in a bucket.
func inBucket(t testing.TB, server *s3test.Server, cacheDir string) objstore.Remote {
	t.Helper()
	cfg, err := objstore.ParseS3(server.URL("lake"))
	if err != nil {
		t.Fatal(err)
	}
	cfg.Logger = discard()
	bucket, err := objstore.NewS3(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	cache, err := objstore.NewCache(bucket, objstore.CacheConfig{Dir: cacheDir, Logger: discard()})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = cache.Close(context.Background()) })
	return cache
}

// outageOf is how long the bucket is away: 20 s, or LAKE_TEST_OUTAGE for a soak.
func outageOf(t testing.TB) time.Duration {
	text := os.Getenv("LAKE_TEST_OUTAGE")
	if text == "" {
		return 20 * time.Second
	}
	outage, err := time.ParseDuration(text)
	if err != nil {
		t.Fatal(err)
	}
	return outage
}

func TestABucketMayBeAwayUnderLoad(t *testing.T) {
	t.Parallel()
	server := s3test.Start(t)
	cache := inBucket(t, server, t.TempDir())
	h := newHouse(t, func(c *Config) { c.Objects, c.Compaction = cache, 200*time.Millisecond })
	var all []event.Event
	send := func(n int) {
		events := someEvents(n)
		h.send(stream.Live, events...)
		all = append(all, events...)
	}
	for range 20 {
		send(50)
	}
	h.settle()

	// Some requests die at once, some are answered badly, and what the server did
	// without being heard counts once all the same.
	server.Proxy.Inject(func(*http.Request) s3test.Fault {
		return []s3test.Fault{{Refuse: true}, {Lose: true}, {Status: http.StatusServiceUnavailable, Code: "SlowDown"}, {Cut: true, Status: http.StatusInternalServerError}}[rand.N(4)]
	})
	began := time.Now()
	tick := time.NewTicker(100 * time.Millisecond)
	defer tick.Stop()
	told := false
	for range tick.C {
		send(20)
		if !told {
			told = slices.ContainsFunc(h.lake.Status(h.ctx), func(s Status) bool { return s.State != "ok" })
		}
		if time.Since(began) > outageOf(t) {
			break
		}
	}
	if !told {
		t.Error("the status never told of the outage")
	}
	server.Proxy.Inject(nil)
	back := time.Now()
	h.settle()
	t.Logf("away for %v: %d events, landed %v after the bucket was back", time.Since(began).Round(time.Second), len(all), time.Since(back).Round(100*time.Millisecond))
	h.holds(h.app, idsOf(all))
	h.send(stream.Live, all[len(all)-2000:]...)
	h.settle()
	h.holds(h.app, idsOf(all))
}

// An object that cannot be asked for is not a damaged one: a rebuild that left it
// out would lose its events, and a check that called it broken would advise to.
func TestABucketThatIsAwayEndsARebuildAndACheck(t *testing.T) {
	t.Parallel()
	server := s3test.Start(t)
	cache := inBucket(t, server, t.TempDir())
	h := newHouse(t, func(c *Config) { c.Objects = cache })
	all := someEvents(30)
	h.send(stream.Live, all...)
	h.settle()
	var keys []string
	for object, err := range cache.List(h.ctx, appPrefix(h.app)) {
		if err != nil {
			t.Fatal(err)
		}
		keys = append(keys, object.Key)
	}
	if err := cache.Forget(h.ctx, keys...); err != nil || len(keys) == 0 {
		t.Fatalf("%d objects, %v", len(keys), err)
	}
	server.Proxy.Inject(func(r *http.Request) s3test.Fault {
		if r.Method != http.MethodHead && !strings.HasSuffix(r.URL.Path, ".parquet") {
			return s3test.Fault{}
		}
		return s3test.Fault{Status: http.StatusServiceUnavailable, Code: "SlowDown"}
	})
	if err := h.lake.Rebuild(h.ctx, h.app, func(RebuildProgress) {}); !fault.Is(err, fault.Unavailable) {
		t.Errorf("rebuild: %v", err)
	}
	err := h.lake.Verify(h.ctx, h.app, func(p VerifyProgress) {
		for _, problem := range p.Problems {
			t.Errorf("%s: %s", problem.Object, problem.What)
		}
	})
	if !fault.Is(err, fault.Unavailable) {
		t.Errorf("verify: %v", err)
	}
	server.Proxy.Inject(nil)
	h.rebuild()
	h.holds(h.app, idsOf(all))
}

func TestABadNetworkToTheBucketLosesAndDoublesNothing(t *testing.T) {
	t.Parallel()
	server := s3test.Start(t)
	cache := inBucket(t, server, t.TempDir())
	h := newHouse(t, func(c *Config) { c.Objects = cache })
	server.Proxy.Inject(func(*http.Request) s3test.Fault {
		return []s3test.Fault{{}, {}, {}, {}, {}, {Lose: true}, {Cut: true}, {Delay: 50 * time.Millisecond}, {Status: http.StatusServiceUnavailable, Code: "SlowDown"}}[rand.N(9)]
	})
	var all []event.Event
	for range 30 {
		events := someEvents(40)
		h.send(stream.Live, events...)
		all = append(all, events...)
	}
	h.settle()
	h.until("everything is settled", func() bool {
		return h.lake.Compact(h.ctx, h.app, func(CompactProgress) {}) == nil
	})
	server.Proxy.Inject(nil)
	h.holds(h.app, idsOf(all))
}

// A trend over settled objects that are not here must fetch little more than the
// columns that it reads.
func TestAColdReadFetchesTheColumnsThatItReads(t *testing.T) {
	t.Parallel()
	server := s3test.Start(t)
	h := newHouse(t, func(c *Config) { c.Objects = inBucket(t, server, t.TempDir()) })
	for range 20 {
		events := make([]event.Event, 2000)
		for i := range events {
			id, _ := uuid.NewV7()
			events[i] = event.Event{
				ID: event.ID(id), Type: event.Track, Name: fmt.Sprint("event-", rand.N(40)), UserID: fmt.Sprint("user-", rand.N(5000)), SessionID: fmt.Sprint(rand.N(20000)),
				TS: start.Add(time.Duration(rand.N(30*24*3600)) * time.Second), Properties: fmt.Sprintf(`{"price": %d, "title": "%x"}`, rand.N(10_000), rand.Uint64()),
				Context: event.Context{Platform: "web", PagePath: fmt.Sprint("/", rand.N(500))},
			}
		}
		h.send(stream.Import, events...)
	}
	h.settle()
	if err := h.lake.Compact(h.ctx, h.app, func(CompactProgress) {}); err != nil {
		t.Fatal(err)
	}
	h.close()
	h.open(func(c *Config) { c.Objects = inBucket(t, server, filepath.Join(t.TempDir(), "cold")) })
	snapshot, err := h.lake.Snapshot(h.ctx, h.app, time.Time{}, time.Time{})
	if err != nil {
		t.Fatal(err)
	}
	defer snapshot.Release()
	for kind, paths := range map[string][]string{"events": pathsOf(snapshot, ""), projection.ByEvent: pathsOf(snapshot, projection.ByEvent)} {
		if len(paths) == 0 {
			t.Fatalf("no objects of %s", kind)
		}
		columns := []string{"event", "ts", "user_key"}
		_, before := server.Proxy.Traffic()
		if err := snapshot.Load(h.ctx, paths, columns); err != nil {
			t.Fatal(err)
		}
		requests, after := server.Proxy.Traffic()
		var needed, whole int64
		for _, path := range paths {
			n, size := bytesOf(t, path, columns)
			needed += n
			whole += size
		}
		ratio := float64(after-before) / float64(needed)
		t.Logf("%s: %d objects of %d bytes, %d of the columns, %d fetched: ratio %.3f (%d requests so far)", kind, len(paths), whole, needed, after-before, ratio, requests)
		if ratio > 1.3 {
			t.Errorf("%s: %.2f times the bytes of the columns were fetched", kind, ratio)
		}
		if err := snapshot.Load(h.ctx, paths, columns); err != nil {
			t.Fatal(err)
		}
		if _, again := server.Proxy.Traffic(); again != after {
			t.Errorf("%s: %d bytes were fetched again", kind, again-after)
		}
	}
}

func pathsOf(s *Snapshot, kind string) (paths []string) {
	for _, o := range s.Objects {
		if kind == "" {
			paths = append(paths, o.Path)
			continue
		}
		for _, p := range o.Projections {
			if p.Kind == kind {
				paths = append(paths, p.Path)
			}
		}
	}
	return paths
}

// bytesOf says what the chunks of columns take, and the file.
func bytesOf(t testing.TB, path string, columns []string) (needed, size int64) {
	t.Helper()
	file, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	info, err := file.Stat()
	if err != nil {
		t.Fatal(err)
	}
	opened, err := parquet.OpenFile(file, info.Size(), parquet.SkipMagicBytes(true), parquet.SkipPageIndex(true), parquet.SkipBloomFilters(true))
	if err != nil {
		t.Fatal(err)
	}
	for _, group := range opened.Metadata().RowGroups {
		for _, c := range group.Columns {
			if slices.Contains(columns, c.MetaData.PathInSchema[0]) {
				needed += c.MetaData.TotalCompressedSize
			}
		}
	}
	return needed, info.Size()
}
