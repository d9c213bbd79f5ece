package lake

import (
	"context"
	"encoding/binary"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"

	"github.com/causality-project/causality/backend/internal/account/tenancy"
	"github.com/causality-project/causality/backend/internal/pipeline/catalog"
	"github.com/causality-project/causality/backend/internal/pipeline/lake/parquetv1"
	"github.com/causality-project/causality/backend/internal/pipeline/stream"
	"github.com/causality-project/causality/backend/internal/platform/event"
	"github.com/causality-project/causality/backend/internal/platform/objstore"
	"github.com/causality-project/causality/backend/internal/platform/postgres"
	"github.com/causality-project/causality/backend/internal/platform/postgres/postgrestest"
)

// patience is how long a test waits for what takes about a second.
const patience = 60 * time.Second

// house is a lake with all that it stands on, real and small.
type house struct {
	t         testing.TB
	dir       string
	server    *postgres.Server
	db        *tenancy.DB
	stream    *stream.Stream
	objects   objstore.Store
	lake      *Lake
	workspace string
	app       string
	ctx       context.Context // scoped
	stop      func()
}

func newHouse(t testing.TB, change ...func(*Config)) *house {
	t.Helper()
	return newHouseOn(t, postgrestest.New(t), change...)
}

func newHouseOn(t testing.TB, server *postgres.Server, change ...func(*Config)) *house {
	t.Helper()
	h := &house{t: t, dir: t.TempDir(), server: server}
	h.workspace = makeWorkspace(t, server)
	h.ctx = tenancy.WithWorkspace(context.Background(), h.workspace)
	h.db = tenancy.NewDB(server.Pool(), discard())
	h.app = h.addApp()
	h.open(change...)
	return h
}

func discard() *slog.Logger {
	if os.Getenv("LAKE_TEST_LOG") != "" {
		return slog.New(slog.NewTextHandler(os.Stderr, nil))
	}
	return slog.New(slog.NewTextHandler(io.Discard, nil))
}

func makeWorkspace(t testing.TB, server *postgres.Server) (id string) {
	t.Helper()
	if err := server.Pool().QueryRow(t.Context(), `SELECT ensure_workspace(gen_random_uuid(), 'default', gen_random_uuid(), 'Owner')::text`).Scan(&id); err != nil {
		t.Fatal(err)
	}
	return id
}

func (h *house) addApp() string {
	h.t.Helper()
	id := uuid.NewString()
	h.exec(`INSERT INTO apps (workspace_id, app_id, name) VALUES ($1, $2::uuid, $3)`, h.workspace, id, id)
	return id
}

func (h *house) exec(sql string, args ...any) {
	h.t.Helper()
	if err := h.db.Tx(h.ctx, func(ctx context.Context, tx pgx.Tx) error { _, err := tx.Exec(ctx, sql, args...); return err }); err != nil {
		h.t.Fatal(err)
	}
}

// open starts the stream and the lake, as a process would.
func (h *house) open(change ...func(*Config)) {
	h.t.Helper()
	h.openStopped(change...)
	h.start()
}

func (h *house) openStopped(change ...func(*Config)) {
	h.t.Helper()
	var err error
	if h.stream, err = stream.Open(h.ctx, stream.Config{Dir: filepath.Join(h.dir, "stream"), Logger: discard()}); err != nil {
		h.t.Fatal(err)
	}
	files, err := objstore.NewFiles(filepath.Join(h.dir, "objects"))
	if err != nil {
		h.t.Fatal(err)
	}
	h.objects = files
	cfg := Config{Objects: files, DB: h.db, Stream: h.stream, Catalog: catalog.New(h.db), CacheDir: filepath.Join(h.dir, "cache"),
		MaxAge: 20 * time.Millisecond, Compaction: -1, Land: true, Maintain: true, Logger: discard()}
	for _, fn := range change {
		fn(&cfg)
	}
	h.objects = cfg.Objects
	if h.lake, err = New(cfg); err != nil {
		h.t.Fatal(err)
	}
	h.stop = sync.OnceFunc(func() {})
	h.t.Cleanup(func() { h.close() })
}

func (h *house) start() {
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	l := h.lake
	go func() { done <- l.Run(ctx) }()
	h.stop = sync.OnceFunc(func() {
		cancel()
		if err := <-done; err != nil {
			h.t.Errorf("Run: %v", err)
		}
	})
}

// close ends the process's part; open may follow on the same data.
func (h *house) close() {
	h.stop()
	if h.stream != nil {
		if err := h.stream.Close(context.Background()); err != nil {
			h.t.Errorf("close stream: %v", err)
		}
		h.stream = nil
	}
}

// send publishes events of the house's app as one request.
func (h *house) send(lane stream.Lane, events ...event.Event) {
	h.t.Helper()
	h.sendTo(h.app, lane, events...)
}

func (h *house) sendTo(app string, lane stream.Lane, events ...event.Event) {
	h.t.Helper()
	now := time.Now().UTC().Truncate(time.Microsecond)
	err := h.stream.Publish(h.ctx, lane, &stream.Batch{WorkspaceID: h.workspace, AppID: app, ReceivedAt: now, Library: "test", Events: events})
	if err != nil {
		h.t.Fatal(err)
	}
}

// settle waits until nothing waits in the stream.
func (h *house) settle() {
	h.t.Helper()
	h.until("the stream has landed", func() bool {
		c, _, err := h.lake.Counters(h.ctx, "")
		return err == nil && c.Waiting == 0
	})
}

func (h *house) until(what string, ok func() bool) {
	h.t.Helper()
	deadline := time.Now().Add(patience)
	for !ok() {
		if time.Now().After(deadline) {
			h.t.Fatalf("after %v: not yet true that %s; status %+v", patience, what, h.lake.Status(h.ctx))
		}
		time.Sleep(5 * time.Millisecond)
	}
}

// stored is a row as a question sees it, its key resolved.
type stored struct {
	event.Event
	person int64
	key    int64 // as the object has it
}

// rows reads an app's snapshot as questions do.
func (h *house) rows(app string) []stored {
	h.t.Helper()
	snapshot, err := h.lake.Snapshot(h.ctx, app, time.Time{}, time.Time{})
	if err != nil {
		h.t.Fatal(err)
	}
	defer snapshot.Release()
	if snapshot.Load != nil {
		var paths []string
		for _, o := range snapshot.Objects {
			paths = append(paths, o.Path)
		}
		if err := snapshot.Load(h.ctx, paths, nil); err != nil {
			h.t.Fatal(err)
		}
	}
	var rows []stored
	for _, o := range snapshot.Objects {
		file, err := os.Open(o.Path)
		if err != nil {
			h.t.Fatal(err)
		}
		opened, err := parquetv1.Open(file, o.Bytes)
		if err != nil {
			h.t.Fatal(err)
		}
		if opened.Rows() != o.Rows {
			h.t.Errorf("object %s holds %d rows, the manifest says %d", o.Key, opened.Rows(), o.Rows)
		}
		reader := opened.Read()
		for range o.Rows {
			row, err := reader.Next()
			if err != nil {
				h.t.Fatal(err)
			}
			s := stored{Event: parquetv1.Decode(row), person: parquetv1.UserKey(row), key: parquetv1.UserKey(row)}
			if o.LinkNumber < snapshot.Links.Number {
				s.person = snapshot.Links.Resolve(s.person, s.UserID, s.AnonymousID)
			}
			rows = append(rows, s)
		}
		_ = reader.Close()
		_ = file.Close()
	}
	return rows
}

// holds checks that the app holds exactly these events, each once, and that the
// counters and Verify agree.
func (h *house) holds(app string, want []event.ID) {
	h.t.Helper()
	got := map[event.ID]int{}
	for _, row := range h.rows(app) {
		got[row.ID]++
	}
	for _, id := range want {
		if got[id] != 1 {
			h.t.Fatalf("event %x is there %d times, want once", id, got[id])
		}
	}
	distinct := map[event.ID]bool{}
	for _, id := range want {
		distinct[id] = true
	}
	if len(got) != len(distinct) {
		h.t.Fatalf("%d distinct events, want %d", len(got), len(distinct))
	}
	c, _, err := h.lake.Counters(h.ctx, app)
	if err != nil {
		h.t.Fatal(err)
	}
	if c.Queryable != int64(len(distinct)) || c.Stored != c.Queryable+c.Duplicates+c.Erased+c.ErasedLate+c.Expired {
		h.t.Fatalf("counters %+v, want %d queryable, and stored = queryable + duplicates + erased + late + expired", c, len(distinct))
	}
	h.verified()
}

func (h *house) verified() {
	h.t.Helper()
	err := h.lake.Verify(h.ctx, "", func(p VerifyProgress) {
		for _, problem := range p.Problems {
			h.t.Errorf("verify: %s: %s", problem.Object, problem.What)
		}
	})
	if err != nil {
		h.t.Fatal(err)
	}
}

// someEvents makes events of a few users; ids are UUIDv7 of now.
func someEvents(n int) []event.Event {
	events := make([]event.Event, n)
	for i := range events {
		id, _ := uuid.NewV7()
		events[i] = track(event.ID(id), "page_view")
		events[i].UserID = fmt.Sprint("user-", i%7)
	}
	return events
}

func track(id event.ID, name string) event.Event {
	return event.Event{ID: id, Type: event.Track, Name: name, TS: start.Add(time.Duration(binary.BigEndian.Uint16(id[14:])) * time.Second),
		Properties: `{"price": 12.5, "plan": "pro"}`, Context: event.Context{Platform: "web"}}
}

var start = time.Date(2026, 3, 1, 0, 0, 0, 0, time.UTC)

// id makes an event id of a small number: a UUIDv8, which carries no time.
func id(n int) (id event.ID) {
	binary.BigEndian.PutUint64(id[8:], uint64(n))
	id[0], id[6], id[8] = byte(n), 0x80, 0x80
	return id
}

func idsOf(events ...[]event.Event) (ids []event.ID) {
	for _, some := range events {
		for i := range some {
			ids = append(ids, some[i].ID)
		}
	}
	slices.SortFunc(ids, func(a, b event.ID) int { return slices.Compare(a[:], b[:]) })
	return ids
}

func sortIDs(ids []event.ID) {
	slices.SortFunc(ids, func(a, b event.ID) int { return slices.Compare(a[:], b[:]) })
}
