package lake

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/parquet-go/parquet-go"

	"github.com/causality-project/causality/backend/internal/account/tenancy"
	"github.com/causality-project/causality/backend/internal/pipeline/catalog"
	"github.com/causality-project/causality/backend/internal/pipeline/stream"
	"github.com/causality-project/causality/backend/internal/platform/event"
	"github.com/causality-project/causality/backend/internal/platform/fault"
	"github.com/causality-project/causality/backend/internal/platform/lease"
	"github.com/causality-project/causality/backend/internal/platform/postgres/postgrestest"
)

// erase runs an erasure to its end and returns the receipt.
func (h *house) erase(request EraseRequest) eraseReceipt {
	h.t.Helper()
	ctx, cancel := context.WithTimeout(h.ctx, patience)
	defer cancel()
	request.AppID, request.By = h.app, "a test"
	text, err := h.lake.Erase(ctx, request, func(Erasure) {})
	if err != nil {
		h.t.Fatal(err)
	}
	return h.receiptOf(text)
}

func (h *house) receiptOf(text string) (receipt eraseReceipt) {
	h.t.Helper()
	if err := json.Unmarshal([]byte(text), &receipt); err != nil {
		h.t.Fatalf("receipt %s: %v", text, err)
	}
	if receipt.Proof == nil || receipt.Proof.Matches != 0 || receipt.Proof.OldGone < len(receipt.Objects) {
		h.t.Errorf("the receipt proves nothing: %s", text)
	}
	return receipt
}

// mentions reads every value of every object, listed or not, and every other
// file of the store, without any of the lake's own code, and returns the files
// in which one of the texts or keys stands.
func (h *house) mentions(texts []string, keys ...int64) (files []string) {
	h.t.Helper()
	root := filepath.Join(h.dir, "objects")
	err := filepath.WalkDir(root, func(path string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() {
			return err
		}
		content, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		name, _ := filepath.Rel(root, path)
		if !strings.HasSuffix(path, ".parquet") {
			for _, text := range texts {
				if strings.Contains(string(content), text) {
					files = append(files, name)
				}
			}
			return nil
		}
		file, err := parquet.OpenFile(strings.NewReader(string(content)), int64(len(content)))
		if err != nil {
			return err
		}
		for _, group := range file.RowGroups() {
			for _, column := range group.ColumnChunks() {
				values := make([]parquet.Value, group.NumRows())
				pages := column.Pages()
				for {
					page, err := pages.ReadPage()
					if errors.Is(err, io.EOF) {
						break
					}
					if err != nil {
						return err
					}
					n, err := page.Values().ReadValues(values)
					if err != nil && !errors.Is(err, io.EOF) {
						return err
					}
					for _, v := range values[:n] {
						if v.Kind() == parquet.Int64 && !v.IsNull() && slices.Contains(keys, v.Int64()) {
							files = append(files, name)
						}
						for _, text := range texts {
							if v.Kind() == parquet.ByteArray && strings.Contains(string(v.ByteArray()), text) {
								files = append(files, name)
							}
						}
					}
				}
				_ = pages.Close()
			}
		}
		return nil
	})
	if err != nil {
		h.t.Fatal(err)
	}
	slices.Sort(files)
	return slices.Compact(files)
}

// crowd is an app's history with one person in it, ann, under several ids.
type crowd struct {
	others []event.Event
	ann    []event.Event
}

// all are everybody's, as they happened.
func (c *crowd) all() []event.Event {
	all := append(slices.Clone(c.others), c.ann...)
	slices.SortFunc(all, func(a, b event.Event) int { return slices.Compare(a.ID[8:], b.ID[8:]) })
	return all
}

// secret is in everything that ann did and nowhere else.
const secret = "ann-secret"

func makeCrowd(first int) *crowd {
	c := &crowd{}
	n := first * 1000
	next := func(name, anonymous, user string) event.Event {
		n++
		e := track(id(n), name)
		e.TS = start.Add(time.Duration(n%1000) * 5 * time.Hour) // over several months
		e.AnonymousID, e.UserID = anonymous, user
		e.Properties = `{"plan": "pro", "note": "from others"}`
		return e
	}
	own := func(e event.Event) event.Event {
		if e.Type == event.Track {
			e.Properties = `{"plan": "pro", "note": "` + secret + `"}`
		}
		c.ann = append(c.ann, e)
		return e
	}
	for i := range 20 {
		for j := range 15 {
			c.others = append(c.others, next("visit", "", fmt.Sprint("user-", j)))
		}
		own(next("visit", "ann-phone", ""))
		own(next("buy", "ann-laptop", "ann"))
		own(next("visit", "", "ann-old"))
		// Somebody else used ann's phone, signed in.
		c.others = append(c.others, next("visit", "ann-phone", fmt.Sprint("guest-", i%2)))
	}
	n++
	own(event.Event{ID: id(n), Type: event.Identify, Name: "identify", TS: at(1), AnonymousID: "ann-phone", UserID: "ann", Traits: `{"set":{"name":"` + secret + `"}}`})
	n++
	own(event.Event{ID: id(n), Type: event.Identify, Name: "identify", TS: at(2), AnonymousID: "ann-laptop", UserID: "ann"})
	n++
	own(event.Event{ID: id(n), Type: event.Alias, Name: "alias", TS: at(3), PreviousID: "ann-old", UserID: "ann"})
	n++
	c.others = append(c.others, event.Event{ID: id(n), Type: event.Identify, Name: "identify", TS: at(4), AnonymousID: "bob-phone", UserID: "bob"})
	c.others = append(c.others, next("visit", "bob-phone", ""))
	return c
}

var annKeys = []int64{event.UserKey("ann"), event.UserKey("ann-old"), event.AnonymousKey("ann-phone"), event.AnonymousKey("ann-laptop")}

// live sends a crowd so that it lies in settled and in loose objects.
func (h *house) live(c *crowd) {
	h.t.Helper()
	all := c.all()
	for i, part := range slices.Collect(slices.Chunk(all, 100)) {
		h.send(stream.Live, part...)
		h.settle()
		if i == 1 {
			h.compact()
		}
	}
}

// catalogAgrees checks that the catalog counts what is stored.
func (h *house) catalogAgrees() {
	h.t.Helper()
	var events, days int64
	h.query(`SELECT coalesce(sum(count), 0)::bigint FROM catalog_events WHERE app_id = $1`, []any{&events}, h.app)
	h.query(`SELECT coalesce(sum(count), 0)::bigint FROM catalog_event_days WHERE app_id = $1`, []any{&days}, h.app)
	if n := int64(h.tracked()); events != n || days != n {
		h.t.Errorf("the catalog counts %d events, %d by day; %d are stored", events, days, n)
	}
}

func TestAnErasedPersonIsGoneEverywhereAndEverybodyElseIsThere(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	c := makeCrowd(1)
	h.live(c)
	// Beside the objects: refused events, and dead letters with events of both.
	refuse := func(event string) {
		h.exec(`INSERT INTO rejected_events (workspace_id, app_id, received_at, index, event_id, name, code, field, message, event)
			VALUES ($1, $2, now() - interval '1 hour', 0, '', 'visit', 'invalid_id', '', '', $3)`, h.workspace, h.app, event)
	}
	refuse(`{"name":"visit","user_id":"ann","x":1`)
	refuse(`{"name":"visit","anonymousId":"ann-phone"}`)
	refuse(`{"name":"visit","user_id":"bob","note":"anna"}`)
	dead := makeCrowd(2)
	batch := &stream.Batch{WorkspaceID: h.workspace, AppID: h.app, ReceivedAt: time.Now().UTC(), Events: dead.all()}
	for _, letter := range []*stream.Batch{batch, {WorkspaceID: h.workspace, AppID: h.app, ReceivedAt: time.Now().UTC(), Events: dead.ann[:1]}} {
		if err := h.stream.DeadLetter(h.ctx, stream.Live, stream.Message{Seq: 1, Raw: stream.AppendBatch(nil, letter)}, "a test"); err != nil {
			t.Fatal(err)
		}
	}
	if files := h.mentions([]string{secret}); len(files) < 2 {
		t.Fatalf("the test would prove nothing: %v", files)
	}
	var samples int
	h.query(`SELECT count(*) FROM catalog_properties WHERE app_id = $1 AND $2 = ANY (samples)`, []any{&samples}, h.app, secret)
	if samples == 0 {
		t.Fatal("the test would prove nothing of samples")
	}

	counts, err := h.lake.CountErase(h.ctx, EraseRequest{AppID: h.app, AnonymousID: "ann-laptop"})
	if err != nil {
		t.Fatal(err)
	}
	if counts.Events != int64(len(c.ann)) || counts.IDs != 4 || counts.Links != 3 || counts.Rejected != 2 || counts.DeadLetters != int64(len(dead.ann)+1) {
		t.Errorf("a dry run counts %+v", counts)
	}
	h.holds(h.app, idsOf(c.all())) // it changed nothing

	receipt := h.erase(EraseRequest{UserID: "ann"})
	if receipt.Events != int64(len(c.ann)) || receipt.IDs != int64(len(c.ann)) || len(receipt.What.UserHashes) != 4 || receipt.Elsewhere.PersonLinks != 3 ||
		receipt.Elsewhere.RefusedEvents != 2 || receipt.Elsewhere.DeadEvents != int64(len(dead.ann)+1) || receipt.Elsewhere.DeadLetters != 2 {
		t.Errorf("receipt %+v", receipt)
	}
	h.holds(h.app, idsOf(c.others))
	h.catalogAgrees()
	if files := h.mentions([]string{secret}, annKeys...); len(files) > 0 {
		t.Errorf("something of ann is left in %v", files)
	}
	h.query(`SELECT count(*) FROM catalog_properties WHERE app_id = $1 AND $2 = ANY (samples)`, []any{&samples}, h.app, secret)
	var links, refused int
	h.query(`SELECT count(*) FROM person_links WHERE app_id = $1`, []any{&links}, h.app)
	h.query(`SELECT count(*) FROM rejected_events WHERE app_id = $1`, []any{&refused}, h.app)
	if samples != 0 || links != 1 || refused != 1 {
		t.Errorf("%d samples of ann are left, %d links (bob's is 1), %d refused events (bob's is 1)", samples, links, refused)
	}
	letters := 0
	err = h.stream.EachDeadLetter(h.ctx, func(letter *stream.DeadLetter) error {
		letters++
		if letter.Batch.Count() != len(dead.others) {
			t.Errorf("a dead letter holds %d events, want the %d of others", letter.Batch.Count(), len(dead.others))
		}
		return nil
	})
	if err != nil || letters != 1 {
		t.Errorf("%d dead letters: %v", letters, err)
	}
	if landed, err := h.stream.Fetch(h.ctx, stream.Live, 1, stream.FetchLimit{}); err != nil || len(landed) > 0 {
		t.Errorf("the stream still holds %d messages: %v", len(landed), err)
	}
	var row string
	h.query(`SELECT erasures::text FROM erasures`, []any{&row})
	for _, clear := range []string{`"ann`, "phone", secret} {
		if strings.Contains(row, clear) || strings.Contains(strings.Join(receipt.What.UserHashes, ""), clear) {
			t.Errorf("%q stands in clear: %s", clear, row)
		}
	}
}

func TestWhatWasErasedDoesNotComeBackAndAPersonMayBeginAnew(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	c := makeCrowd(1)
	h.live(c)
	before := h.erase(EraseRequest{UserID: "ann"}).RequestedAt
	counters := func() Counters {
		t.Helper()
		sum, _, err := h.lake.Counters(h.ctx, h.app)
		if err != nil {
			t.Fatal(err)
		}
		return sum
	}
	was := counters()
	if was.Erased != int64(len(c.ann)) || was.Stored != was.Queryable+was.Duplicates+was.Erased {
		t.Fatalf("counters %+v", was)
	}
	// A phone that was offline sends the same events again, and others of then.
	late := visit(90_001, "ann-phone", "")
	lateToo := visit(90_002, "other-phone", "ann")
	stranger := visit(90_003, "ann-phone", "guest-1")
	fresh := visit(90_004, "ann-phone", "")
	fresh.TS = before.Add(time.Minute)
	again := identify(90_005, 1, "ann-phone", "ann")
	again.TS = before.Add(2 * time.Minute)
	h.send(stream.Live, append(slices.Clone(c.ann), late, lateToo, stranger, fresh, again)...)
	h.settle()
	want := append(idsOf(c.others), stranger.ID, fresh.ID, again.ID)
	h.holds(h.app, want)
	now := counters()
	if now.Duplicates-was.Duplicates+now.ErasedLate != int64(len(c.ann))+2 || now.ErasedLate != 2 {
		t.Errorf("counters %+v, before %+v", now, was)
	}
	persons := h.persons()
	if persons[fresh.ID] != event.UserKey("ann") || persons[stranger.ID] != event.UserKey("guest-1") {
		t.Error("the new life is not the person's")
	}
	// The ids stay known when everything that is known of them is lost.
	h.close()
	if err := os.RemoveAll(filepath.Join(h.dir, "cache")); err != nil {
		t.Fatal(err)
	}
	h.open()
	h.send(stream.Import, c.ann...)
	h.settle()
	h.holds(h.app, want)
	h.compact()
	h.holds(h.app, want)
	// Erased again, the new life goes too.
	if receipt := h.erase(EraseRequest{UserID: "ann"}); receipt.Events != 0 {
		// fresh and again lie in the future of the request.
		t.Errorf("receipt %+v", receipt)
	}
	h.holds(h.app, want)
}

func TestEventsOfANameOrARangeAreErased(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct {
		request EraseRequest
		goes    func(e *event.Event) bool
	}{
		"a name": {EraseRequest{Event: "buy"}, func(e *event.Event) bool { return e.Name == "buy" }},
		"a range": {EraseRequest{From: at(0).AddDate(0, 1, 0), To: at(0).AddDate(0, 1, 10)}, func(e *event.Event) bool {
			return !e.TS.Before(at(0).AddDate(0, 1, 0)) && e.TS.Before(at(0).AddDate(0, 1, 10))
		}},
		"a name of a person": {EraseRequest{UserID: "ann", Event: "visit"}, func(e *event.Event) bool {
			return e.Name == "visit" && e.UserID != "guest-0" && e.UserID != "guest-1" && strings.HasPrefix(e.UserID+e.AnonymousID, "ann")
		}},
		"a name within a range": {EraseRequest{Event: "visit", To: at(0).AddDate(0, 1, 0)}, func(e *event.Event) bool {
			return e.Type == event.Track && e.Name == "visit" && e.TS.Before(at(0).AddDate(0, 1, 0))
		}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			h := newHouse(t)
			c := makeCrowd(1)
			h.live(c)
			var gone, stay []event.Event
			for _, e := range c.all() {
				if tt.goes(&e) {
					gone = append(gone, e)
				} else {
					stay = append(stay, e)
				}
			}
			if len(gone) == 0 || len(stay) == 0 {
				t.Fatalf("%d would go and %d stay: that shows nothing", len(gone), len(stay))
			}
			if receipt := h.erase(tt.request); receipt.Events != int64(len(gone)) {
				t.Errorf("%d events erased, want %d", receipt.Events, len(gone))
			}
			h.send(stream.Live, gone...) // sent again
			fresh := gone[0]
			fresh.ID, fresh.UserID, fresh.AnonymousID = id(90_000), "new", ""
			h.send(stream.Live, fresh) // of the same name and time, and new
			h.settle()
			h.holds(h.app, append(idsOf(stay), fresh.ID))
			h.catalogAgrees()
		})
	}
}

func TestAnErasureThatSaysNothingOrNonsenseIsRefused(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	for name, request := range map[string]EraseRequest{
		"nothing":       {},
		"two persons":   {UserID: "a", AnonymousID: "b"},
		"an empty time": {From: at(2), To: at(2)},
	} {
		request.AppID = h.app
		if _, err := h.lake.Erase(h.ctx, request, func(Erasure) {}); !fault.Is(err, fault.Invalid) {
			t.Errorf("%s: %v", name, err)
		}
		if _, err := h.lake.CountErase(h.ctx, request); !fault.Is(err, fault.Invalid) {
			t.Errorf("%s, counted: %v", name, err)
		}
	}
	if _, err := h.lake.Receipt(h.ctx, "0190b0a0-0000-7000-8000-000000000000"); !fault.Is(err, fault.NotFound) {
		t.Errorf("a receipt of nothing: %v", err)
	}
	// A person that nobody knows is erased at once, and what comes late is let go.
	if receipt := h.erase(EraseRequest{UserID: "nobody"}); receipt.Events != 0 || len(receipt.Objects) != 0 {
		t.Errorf("receipt %+v", receipt)
	}
	h.send(stream.Live, visit(1, "", "nobody"), visit(2, "", "somebody"))
	h.settle()
	h.holds(h.app, []event.ID{id(2)})
}

func TestAQuestionThatReadsIsWaitedFor(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	c := makeCrowd(1)
	h.live(c)
	snapshot, err := h.lake.Snapshot(h.ctx, h.app, time.Time{}, time.Time{})
	if err != nil {
		t.Fatal(err)
	}
	deleting := make(chan struct{})
	done := make(chan error, 1)
	go func() {
		closed := false
		_, err := h.lake.Erase(h.ctx, EraseRequest{AppID: h.app, UserID: "ann"}, func(e Erasure) {
			if e.State == eraseDeleting && !closed {
				closed = true
				close(deleting)
			}
		})
		done <- err
	}()
	<-deleting
	for i := range snapshot.Objects {
		if _, err := os.Stat(snapshot.Objects[i].Path); err != nil {
			t.Errorf("a question's object is gone: %v", err)
		}
	}
	snapshot.Release()
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	for i := range snapshot.Objects {
		if _, err := os.Stat(snapshot.Objects[i].Path); err == nil && len(h.mentions([]string{secret})) > 0 {
			t.Error("an old object is still there")
		}
	}
}

// What a backup brings back is erased again, whether the database remembers the
// erasure or not.
func TestAnOldBackupDoesNotBringErasedEventsBack(t *testing.T) {
	t.Parallel()
	for name, lost := range map[string]string{"with the database": "", "without the database": "all", "with the erasures alone": "the rest"} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			h := newHouse(t)
			c := makeCrowd(1)
			h.live(c)
			backup := filepath.Join(t.TempDir(), "objects")
			if err := os.CopyFS(backup, os.DirFS(filepath.Join(h.dir, "objects"))); err != nil {
				t.Fatal(err)
			}
			h.erase(EraseRequest{UserID: "ann"})
			h.erase(EraseRequest{Event: "buy"})
			h.close()
			if lost != "" {
				h.emptyTables()
			}
			if lost == "all" {
				h.asOwner(`DELETE FROM erasures`)
			}
			if err := os.RemoveAll(filepath.Join(h.dir, "cache")); err != nil {
				t.Fatal(err)
			}
			// The old objects stand beside the new ones.
			if err := copyMissing(backup, filepath.Join(h.dir, "objects")); err != nil {
				t.Fatal(err)
			}
			h.open()
			h.rebuild()
			h.settle()
			h.holds(h.app, idsOf(c.others))
			if files := h.mentions([]string{secret}, annKeys...); len(files) > 0 {
				t.Errorf("what the backup brought back stands in %q", files)
			}
			h.send(stream.Live, c.ann...)
			h.send(stream.Live, visit(90_001, "ann-phone", ""))
			h.settle()
			h.holds(h.app, idsOf(c.others))
			all, err := h.lake.Erasures(h.ctx, h.app)
			if err != nil || len(all) != 2 || all[0].State != eraseDone || all[0].Receipt == "" {
				t.Errorf("erasures %+v, %v", all, err)
			}
		})
	}
}

// asOwner does what the server itself has no right to.
func (h *house) asOwner(sql string) {
	h.t.Helper()
	owner, err := pgx.ConnectConfig(h.ctx, h.server.OwnerConfig())
	if err != nil {
		h.t.Fatal(err)
	}
	defer owner.Close(h.ctx)
	if _, err := owner.Exec(h.ctx, sql); err != nil {
		h.t.Fatal(err)
	}
}

func copyMissing(from, to string) error {
	return filepath.WalkDir(from, func(path string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() {
			return err
		}
		name, err := filepath.Rel(from, path)
		if err != nil {
			return err
		}
		target := filepath.Join(to, name)
		if _, err := os.Stat(target); err == nil {
			return nil
		}
		content, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		if err := os.MkdirAll(filepath.Dir(target), 0o700); err != nil {
			return err
		}
		return os.WriteFile(target, content, 0o600)
	})
}

// eraser is a process that erases a person, or with "resume" what another life of
// it has begun, and ends when that is done.
func eraser(ctx context.Context, l *Lake, workspace, app, who string) error {
	ctx, cancel := context.WithCancel(tenancy.WithWorkspace(ctx, workspace))
	running := make(chan error, 1)
	go func() { running <- l.Run(ctx) }()
	defer func() { cancel(); <-running }()
	if who != "resume" {
		_, err := l.Erase(ctx, EraseRequest{AppID: app, UserID: who, By: "a test"}, func(Erasure) {})
		return err
	}
	for sleep(ctx, 10*time.Millisecond) {
		all, err := l.Erasures(ctx, app)
		if err != nil {
			return err
		}
		if !slices.ContainsFunc(all, func(e Erasure) bool { return e.State != eraseDone }) {
			break
		}
	}
	return nil
}

func TestEveryReplicaLetsGoBeforeOldObjectsAreDeleted(t *testing.T) {
	t.Parallel()
	server := postgrestest.New(t)
	join := func(name string) *lease.Leases {
		leases := lease.New(server.Pool(), name, "all", discard())
		ctx, cancel := context.WithCancel(context.Background())
		done := make(chan error, 1)
		go func() { done <- leases.Run(ctx) }()
		t.Cleanup(func() {
			cancel()
			if err := <-done; err != nil {
				t.Errorf("leases of %s: %v", name, err)
			}
		})
		return leases
	}
	h := newHouseOn(t, server, func(c *Config) { c.Leases = join("one") })
	other, err := New(Config{Objects: h.objects, DB: h.db, Stream: h.stream, Catalog: catalog.New(h.db), CacheDir: t.TempDir(), Leases: join("two"), Logger: discard()})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	running := make(chan error, 1)
	go func() { running <- other.Run(ctx) }()
	defer func() {
		cancel()
		if err := <-running; err != nil {
			t.Error(err)
		}
	}()
	c := makeCrowd(1)
	h.live(c)
	snapshot, err := other.Snapshot(h.ctx, h.app, time.Time{}, time.Time{})
	if err != nil {
		t.Fatal(err)
	}
	type outcome struct {
		receipt string
		err     error
	}
	done := make(chan outcome, 1)
	go func() {
		receipt, err := h.lake.Erase(h.ctx, EraseRequest{AppID: h.app, UserID: "ann"}, func(Erasure) {})
		done <- outcome{receipt, err}
	}()
	h.until("the replica that nobody asks has let go", func() bool {
		var n int
		h.query(`SELECT count(*) FROM lake_forgets WHERE forgotten_by = '{one}'`, []any{&n})
		return n == 1
	})
	for i := range snapshot.Objects {
		if _, err := os.Stat(snapshot.Objects[i].Path); err != nil {
			t.Errorf("an object that another replica's question reads is gone: %v", err)
		}
	}
	snapshot.Release()
	ended := <-done
	if ended.err != nil {
		t.Fatal(ended.err)
	}
	if receipt := h.receiptOf(ended.receipt); !slices.Equal(receipt.Elsewhere.Replicas, []string{"one", "two"}) {
		t.Errorf("replicas %v", receipt.Elsewhere.Replicas)
	}
	if rows := len(h.mentions([]string{secret}, annKeys...)); rows > 0 {
		t.Errorf("%d objects still hold something", rows)
	}

	// One that settles a restored backup asks before it does anything in the background.
	starting, err := New(Config{Objects: h.objects, DB: h.db, Stream: h.stream, Catalog: catalog.New(h.db), CacheDir: t.TempDir(), Leases: join("three"), Logger: discard()})
	if err != nil {
		t.Fatal(err)
	}
	h.until("the starting replica is known", func() bool {
		replicas, err := starting.cfg.Leases.Replicas(h.ctx)
		return err == nil && len(replicas) == 3
	})
	patience, end := context.WithTimeout(h.ctx, 20*time.Second)
	defer end()
	if replicas, err := starting.forgetEverywhere(patience, h.app, nil); err != nil || len(replicas) != 3 {
		t.Errorf("a replica that is starting: %v, %v", replicas, err)
	}
}
