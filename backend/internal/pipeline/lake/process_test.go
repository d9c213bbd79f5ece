package lake

import (
	"bufio"
	"context"
	"encoding/hex"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/causality-project/causality/backend/internal/account/tenancy"
	"github.com/causality-project/causality/backend/internal/pipeline/catalog"
	"github.com/causality-project/causality/backend/internal/pipeline/stream"
	"github.com/causality-project/causality/backend/internal/platform/event"
	"github.com/causality-project/causality/backend/internal/platform/objstore"
	"github.com/causality-project/causality/backend/internal/platform/postgres"
	"github.com/causality-project/causality/backend/internal/platform/postgres/postgrestest"
)

// TestMain turns the test binary into a process that can be killed: one that
// sends events to itself, lands them, merges them, and says which it has been
// promised are safe.
func TestMain(m *testing.M) {
	if os.Getenv("LAKE_TEST_PROCESS") != "" {
		if err := process(); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		return
	}
	os.Exit(m.Run())
}

func process() error {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM)
	defer stop()
	dir, workspace, app := os.Getenv("LAKE_TEST_DIR"), os.Getenv("LAKE_TEST_WORKSPACE"), os.Getenv("LAKE_TEST_APP")
	server, err := postgres.Open(ctx, postgres.Config{URL: os.Getenv("LAKE_TEST_DATABASE"), MaxConns: 6, Logger: discard()})
	if err != nil {
		return err
	}
	if os.Getenv("LAKE_TEST_REPLICA") != "" {
		return replica(ctx, dir, server)
	}
	st, err := stream.Open(ctx, stream.Config{Dir: filepath.Join(dir, "stream"), Logger: discard()})
	if err != nil {
		return err
	}
	files, err := objstore.NewFiles(filepath.Join(dir, "objects"))
	if err != nil {
		return err
	}
	db := tenancy.NewDB(server.Pool(), discard())
	var publication *Publication
	if os.Getenv("LAKE_TEST_PUBLISH") != "" {
		publication, err = NewPublication(PublicationConfig{Objects: files, DB: db, Root: "file://" + filepath.Join(dir, "objects"),
			Every: 5 * time.Millisecond, Logger: discard()})
		if err != nil {
			return err
		}
		publication.cfg.Retain = 100 * time.Millisecond // so that it deletes, too
	}
	l, err := New(Config{Publication: publication, Objects: files, DB: db, Stream: st, Catalog: catalog.New(db), CacheDir: filepath.Join(dir, "cache"),
		MaxAge: 5 * time.Millisecond, Compaction: -1, Land: true, Maintain: true, Logger: discard()})
	if err != nil {
		return err
	}
	if who := os.Getenv("LAKE_TEST_ERASE"); who != "" {
		return eraser(ctx, l, workspace, app, who)
	}
	// Several parts a merge, and nothing stays garbage for long.
	l.compaction.policy = defaultPolicy
	l.compaction.policy.target, l.compaction.policy.full = 16<<10, 8<<10
	l.cfg.Grace = 20 * time.Millisecond
	var running sync.WaitGroup
	running.Go(func() { _ = l.Run(ctx) })
	// Sending keeps step with merging: at full speed it would give each merge more
	// rows than the one before, until none ends on a busy machine.
	sendings := make(chan struct{}, 60)
	permit := func() {
		for len(sendings) < cap(sendings) {
			sendings <- struct{}{}
		}
	}
	permit()
	running.Go(func() {
		scoped := tenancy.WithWorkspace(ctx, workspace)
		for n := 0; ctx.Err() == nil; n++ {
			_ = db.Tx(scoped, func(ctx context.Context, tx pgx.Tx) error { // so that projections are derived anew
				_, err := tx.Exec(ctx, `UPDATE apps SET time_zone = $1`, []string{"UTC", "Asia/Tokyo"}[n/4%2])
				return err
			})
			_ = l.Compact(scoped, app, func(CompactProgress) {})
			_ = l.collectGarbage(scoped, time.Now().Add(-l.cfg.Grace))
			permit()
			time.Sleep(50 * time.Millisecond)
		}
	})
	out := bufio.NewWriter(os.Stdout)
	var printing sync.Mutex
	for _, lane := range []stream.Lane{stream.Live, stream.Import} {
		running.Go(func() {
			var last []event.Event
			for n := 0; ; n++ {
				select {
				case <-sendings:
				case <-ctx.Done():
					return
				}
				events := someEvents(20)
				events[0].Type, events[0].AnonymousID = event.Identify, fmt.Sprint("visitor-", n%5)
				sent := append(events, last...) // every event is sent twice
				err := st.Publish(ctx, lane, &stream.Batch{WorkspaceID: workspace, AppID: app, ReceivedAt: time.Now().UTC(), Events: sent})
				if err != nil {
					continue
				}
				last = events
				printing.Lock()
				for i := range events {
					fmt.Fprintln(out, hex.EncodeToString(events[i].ID[:]))
				}
				_ = out.Flush()
				printing.Unlock()
			}
		})
	}
	running.Wait()
	return st.Close(context.WithoutCancel(ctx))
}

// victim runs the process on a house's data until kill says it is dead, and
// returns the ids that it had acknowledged.
func (h *house) victim(url string, environment []string, kill func(p *os.Process, acknowledged func() int)) []event.ID {
	h.t.Helper()
	self, err := os.Executable()
	if err != nil {
		h.t.Fatal(err)
	}
	command := exec.Command(self)
	command.Env = append(os.Environ(), append([]string{"LAKE_TEST_PROCESS=1", "LAKE_TEST_DIR=" + h.dir, "LAKE_TEST_WORKSPACE=" + h.workspace,
		"LAKE_TEST_APP=" + h.app, "LAKE_TEST_DATABASE=" + url}, environment...)...)
	command.Stderr = os.Stderr
	command.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	out, err := command.StdoutPipe()
	if err != nil {
		h.t.Fatal(err)
	}
	if err := command.Start(); err != nil {
		h.t.Fatal(err)
	}
	var mu sync.Mutex
	var ids []event.ID
	killed := make(chan struct{})
	go func() {
		defer close(killed)
		kill(command.Process, func() int { mu.Lock(); defer mu.Unlock(); return len(ids) })
	}()
	lines := bufio.NewScanner(out)
	for lines.Scan() {
		id, err := hex.DecodeString(strings.TrimSpace(lines.Text()))
		if err != nil || len(id) != 16 {
			continue // cut by the kill
		}
		mu.Lock()
		ids = append(ids, event.ID(id))
		mu.Unlock()
	}
	<-killed
	_ = command.Wait()
	return ids
}

// newVictimHouse makes a house without a running lake, whose database other
// processes can open.
func newVictimHouse(t testing.TB) (*house, string) {
	t.Helper()
	url := postgrestest.Empty(t)
	h := &house{t: t, dir: t.TempDir(), server: postgrestest.Open(t, url)}
	h.workspace = makeWorkspace(t, h.server)
	h.ctx = tenancy.WithWorkspace(context.Background(), h.workspace)
	h.db = tenancy.NewDB(h.server.Pool(), discard())
	h.app = h.addApp()
	return h, url
}

// survived opens the data and checks that every acknowledged event is there
// exactly once. More may be there: those whose acknowledgement was cut off.
func (h *house) survived(acknowledged []event.ID) {
	h.t.Helper()
	h.open()
	h.settle()
	got := map[event.ID]int{}
	for _, row := range h.rows(h.app) {
		got[row.ID]++
		if got[row.ID] > 1 {
			h.t.Fatalf("event %x is there twice", row.ID)
		}
	}
	for _, id := range acknowledged {
		if got[id] != 1 {
			h.t.Fatalf("acknowledged event %x is there %d times", id, got[id])
		}
	}
	c, _, err := h.lake.Counters(h.ctx, h.app)
	if err != nil {
		h.t.Fatal(err)
	}
	if c.Queryable != int64(len(got)) || c.Stored != c.Queryable+c.Duplicates {
		h.t.Fatalf("counters %+v with %d rows", c, len(got))
	}
	h.verified()
	var wrong int
	h.query(`SELECT count(*) FROM (SELECT sum(count) AS n FROM catalog_events WHERE workspace_id = $1 AND app_id = $2) AS c WHERE n <> $3`,
		[]any{&wrong}, h.workspace, h.app, h.tracked())
	if wrong != 0 {
		h.t.Error("the catalog does not count what is stored")
	}
	h.close()
}

func (h *house) tracked() (n int) {
	for _, row := range h.rows(h.app) {
		if row.Type == event.Track {
			n++
		}
	}
	return n
}

func (h *house) query(sql string, into []any, args ...any) {
	h.t.Helper()
	if err := h.db.Tx(h.ctx, func(ctx context.Context, tx pgx.Tx) error { return tx.QueryRow(ctx, sql, args...).Scan(into...) }); err != nil {
		h.t.Fatal(err)
	}
}

func TestNothingIsLostOrDoubledByKillsAtAnyTime(t *testing.T) {
	t.Parallel()
	rounds := 8
	if n, err := strconv.Atoi(os.Getenv("LAKE_TEST_KILLS")); err == nil {
		rounds = n
	}
	h, url := newVictimHouse(t)
	var acknowledged []event.ID
	for round := range rounds {
		ids := h.victim(url, nil, func(p *os.Process, have func() int) {
			deadline := time.Now().Add(patience)
			for have() < 200+round*97 && time.Now().Before(deadline) {
				time.Sleep(time.Millisecond)
			}
			_ = p.Kill()
		})
		if len(ids) == 0 {
			t.Fatal("the process acknowledged nothing")
		}
		acknowledged = append(acknowledged, ids...)
	}
	h.survived(acknowledged)
}
