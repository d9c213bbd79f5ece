package lake

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
	"github.com/parquet-go/parquet-go"
	"github.com/twmb/avro/ocf"
	"golang.org/x/sync/errgroup"

	"github.com/causality-project/causality/backend/internal/account/tenancy"
	"github.com/causality-project/causality/backend/internal/pipeline/lake/iceberg"
	"github.com/causality-project/causality/backend/internal/pipeline/stream"
	"github.com/causality-project/causality/backend/internal/platform/event"
	"github.com/causality-project/causality/backend/internal/platform/objstore"
)

func (h *house) publication() *Publication {
	h.t.Helper()
	p, err := NewPublication(PublicationConfig{Objects: h.objects, DB: h.db, Root: "file://" + filepath.Join(h.dir, "objects"),
		Every: 10 * time.Millisecond, Logger: discard()})
	if err != nil {
		h.t.Fatal(err)
	}
	return p
}

// published reads the tables as they stand in the catalog, by another road than
// the publisher's memory.
func (h *house) published(p *Publication) (events, links *iceberg.Table) {
	h.t.Helper()
	load := func(name string) *iceberg.Table {
		var location string
		err := h.db.TxAll(h.ctx, func(ctx context.Context, tx tenancy.ScopedTx) (err error) {
			location, err = p.catalog.Current(ctx, tx, icebergNamespace, name)
			return err
		})
		if err != nil {
			h.t.Fatal(err)
		}
		if location == "" {
			h.t.Fatalf("the catalog does not know %s", name)
		}
		table, err := iceberg.Load(h.ctx, p.warehouse, icebergNamespace, name, location)
		if err != nil {
			h.t.Fatal(err)
		}
		return table
	}
	return load("events"), load("links")
}

// mirrored checks that lake.events is the manifest exactly, that nothing the
// tables need is missing, and that both carry one sequence.
func (h *house) mirrored(p *Publication) {
	h.t.Helper()
	events, links := h.published(p)
	want := map[string][]string{}
	err := h.db.Tx(h.ctx, func(ctx context.Context, tx pgx.Tx) error {
		rows, err := tx.Query(ctx, `SELECT app_id::text, key FROM lake_objects WHERE workspace_id = $1 AND kind = 'events' ORDER BY key`, h.workspace)
		if err != nil {
			return err
		}
		var app, key string
		_, err = pgx.ForEachRow(rows, []any{&app, &key}, func() error { want[app] = append(want[app], key); return nil })
		return err
	})
	if err != nil {
		h.t.Fatal(err)
	}
	got := map[string][]string{}
	for _, app := range events.Partitions() {
		got[app] = slices.Sorted(slices.Values(events.Keys(app)))
	}
	if !maps.EqualFunc(got, want, slices.Equal) {
		h.t.Fatalf("lake.events has %v, the manifest %v", got, want)
	}
	if a, b := events.Property(sequenceProperty), links.Property(sequenceProperty); a == "" || a != b {
		h.t.Errorf("lake.events is of sequence %q, lake.links of %q", a, b)
	}
	for _, table := range []*iceberg.Table{events, links} {
		needed, err := table.Metadata()
		if err != nil {
			h.t.Fatal(err)
		}
		for _, app := range table.Partitions() {
			needed = append(needed, table.Keys(app)...)
		}
		for _, key := range needed {
			object, err := h.objects.Open(h.ctx, key)
			if err != nil {
				h.t.Errorf("a table needs %s: %v", key, err)
				continue
			}
			_ = object.Close()
		}
	}
}

func TestThePublicationIsTheManifest(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	p := h.publication()
	if err := p.round(h.ctx, roundOptions{}); err != nil { // before there is anything
		t.Fatal(err)
	}
	h.mirrored(p)
	other := h.addApp()
	for range 4 {
		events := someEvents(50)
		events[0].Type, events[0].AnonymousID = event.Identify, "visitor-1"
		h.send(stream.Live, events...)
		h.sendTo(other, stream.Live, someEvents(10)...)
		h.settle()
		if err := p.round(h.ctx, roundOptions{}); err != nil {
			t.Fatal(err)
		}
		h.mirrored(p)
	}
	if err := h.lake.Compact(h.ctx, h.app, func(CompactProgress) {}); err != nil {
		t.Fatal(err)
	}
	if err := p.round(h.ctx, roundOptions{}); err != nil {
		t.Fatal(err)
	}
	h.mirrored(p)
	if status := p.health(h.ctx); status.State != "ok" || status.Figures[2].Value != 0 {
		t.Errorf("after a publication, health is %+v", status)
	}
	before := p.sequence
	if err := p.round(h.ctx, roundOptions{}); err != nil {
		t.Fatal(err)
	}
	if now := p.sequence; now != before {
		t.Errorf("publishing nothing moved the sequence from %d to %d", before, now)
	}
	// Another process, which knows only what is stored, goes on from there.
	next := h.publication()
	h.send(stream.Live, someEvents(5)...)
	h.settle()
	if err := next.round(h.ctx, roundOptions{}); err != nil {
		t.Fatal(err)
	}
	h.mirrored(p)
	h.send(stream.Live, someEvents(5)...)
	h.settle()
	if err := p.round(h.ctx, roundOptions{}); err != nil { // with tables in memory that are old by now
		t.Fatal(err)
	}
	h.mirrored(p)
	if err := p.Rebuild(h.ctx); err != nil {
		t.Fatal(err)
	}
	h.mirrored(p)
}

// secondReader reads both tables with PyIceberg. A line is the table's location
// and the values of the columns.
func (h *house) secondReader(p *Publication, eventColumns, linkColumns string) (events, links [][]any) {
	h.t.Helper()
	python, err := reader()
	if err != nil {
		h.t.Fatal(err)
	}
	a, b := h.published(p)
	command := exec.Command(python, "testdata/read_iceberg.py", a.Location(), eventColumns, b.Location(), linkColumns)
	var stderr bytes.Buffer
	command.Stderr = &stderr
	out, err := command.Output()
	if err != nil {
		h.t.Fatalf("read with PyIceberg: %v\n%s", err, stderr.String())
	}
	lines := json.NewDecoder(bytes.NewReader(out))
	lines.UseNumber()
	for {
		var row []any
		if err := lines.Decode(&row); errors.Is(err, io.EOF) {
			return events, links
		} else if err != nil {
			h.t.Fatal(err)
		}
		if row[0] == a.Location() {
			events = append(events, row[1:])
		} else {
			links = append(links, row[1:])
		}
	}
}

var reader = sync.OnceValues(func() (string, error) {
	out, err := exec.Command("../../../../.ci/iceberg-reader").Output()
	return strings.TrimSpace(string(out)), err
})

func TestAnotherIcebergReaderSeesTheSameRowsAndPersons(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	p := h.publication()
	other := h.addApp()
	publish := func() {
		t.Helper()
		h.settle()
		if err := p.round(h.ctx, roundOptions{}); err != nil {
			t.Fatal(err)
		}
	}
	for round := range 3 {
		anonymous := someEvents(30)
		for i := range anonymous {
			anonymous[i].UserID, anonymous[i].AnonymousID = "", fmt.Sprint("visitor-", i%9)
		}
		h.send(stream.Live, anonymous...)
		h.sendTo(other, stream.Live, someEvents(20)...)
		publish()
		known := someEvents(4)
		for i := range known {
			known[i].Type, known[i].AnonymousID = event.Identify, fmt.Sprint("visitor-", round*2+i)
			known[i].UserID = fmt.Sprint("user-", i)
		}
		h.send(stream.Live, known...) // only adds links in the first round
		publish()
		if round == 1 {
			if err := h.lake.Compact(h.ctx, h.app, func(CompactProgress) {}); err != nil {
				t.Fatal(err)
			}
			merged := someEvents(1)
			merged[0].Type, merged[0].PreviousID, merged[0].UserID = event.Alias, "user-1", "user-2"
			h.send(stream.Live, merged...)
			publish()
		}
	}
	events, links := h.secondReader(p, "app_id,event_id,event,type,user_id,anonymous_id,user_key,ts,received_at,properties", "app_id,kind,id,from_key,to_key")
	resolve := map[string]*Links{}
	for _, row := range links {
		app := row[0].(string)
		if resolve[app] == nil {
			resolve[app] = &Links{ByKey: map[int64]int64{}, Changed: map[string]int64{}, ChangedUsers: map[string]int64{}}
		}
		to := number(t, row[4])
		switch l := resolve[app]; row[1] {
		case "key":
			if _, twice := l.ByKey[number(t, row[3])]; twice {
				t.Errorf("two links from the key %v", row[3])
			}
			l.ByKey[number(t, row[3])] = to
		case "visitor":
			l.Changed[row[2].(string)] = to
		case "user":
			l.ChangedUsers[row[2].(string)] = to
		default:
			t.Errorf("a link of kind %v", row[1])
		}
	}
	for _, app := range []string{h.app, other} {
		want := map[string]string{}
		for _, row := range h.rows(app) {
			want[uuid.UUID(row.ID).String()] = fmt.Sprint(row.Name, " ", row.Type, " ", row.UserID, " ", row.AnonymousID, " ", row.person, " ",
				row.TS.UnixMicro(), " ", row.ReceivedAt.UnixMicro(), " ", row.Properties)
		}
		got := map[string]string{}
		for _, row := range events {
			if row[0] != app {
				continue
			}
			text := func(v any) string { s, _ := v.(string); return s }
			person := number(t, row[6])
			if links := resolve[app]; links != nil {
				person = links.Resolve(person, text(row[4]), text(row[5]))
			}
			id := row[1].(string)
			if _, twice := got[id]; twice {
				t.Errorf("event %s is read twice", id)
			}
			got[id] = fmt.Sprint(row[2], " ", row[3], " ", text(row[4]), " ", text(row[5]), " ", person, " ", number(t, row[7]), " ", number(t, row[8]), " ", text(row[9]))
		}
		if !maps.Equal(got, want) {
			t.Errorf("app %s: PyIceberg reads %d rows, the lake %d; the first that differs: %s", app, len(got), len(want), difference(got, want))
		}
	}
}

func number(t *testing.T, v any) int64 {
	t.Helper()
	n, err := v.(json.Number).Int64()
	if err != nil {
		t.Fatal(err)
	}
	return n
}

func difference(got, want map[string]string) string {
	for id, row := range want {
		if got[id] != row {
			return fmt.Sprintf("%s: %q, want %q", id, got[id], row)
		}
	}
	for id, row := range got {
		if _, ok := want[id]; !ok {
			return fmt.Sprintf("%s: %q, want none", id, row)
		}
	}
	return ""
}

func TestPromotedPropertiesAreColumnsWhereAllAppsAgree(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	p := h.publication()
	other := h.addApp()
	columns := func() (names []string) {
		t.Helper()
		if err := p.round(h.ctx, roundOptions{}); err != nil {
			t.Fatal(err)
		}
		instant, err := p.Instant(h.ctx, h.app)
		if err != nil {
			t.Fatal(err)
		}
		events, _ := h.published(p)
		all := events.Columns()
		for i, c := range all[len(all)-len(instant.Promoted):] {
			if c != instant.Promoted[i].column() {
				t.Errorf("the table has %v where %v is said to be", c, instant.Promoted[i])
			}
			names = append(names, c.Name+" "+c.Type)
		}
		if before := all[len(all)-len(instant.Promoted)-1].Name; before != "previous_id" {
			t.Errorf("the last column that every object has is %s", before)
		}
		return names
	}
	promote := func(app, name, kind string) {
		h.exec(`INSERT INTO promoted_properties (workspace_id, app_id, name, kind) VALUES ($1, $2, $3, $4)`, h.workspace, app, name, kind)
	}
	if got := columns(); got != nil {
		t.Errorf("promoted columns %v where nothing is promoted", got)
	}
	promote(h.app, "plan", "text")
	promote(other, "plan", "text")
	promote(h.app, "price", "number")
	promote(h.app, "size", "number")
	if got, want := columns(), []string{"p_plan string", "p_price double", "p_size double"}; !slices.Equal(got, want) {
		t.Errorf("promoted columns %v, want %v", got, want)
	}
	promote(other, "price", "text")
	promote(other, "Size", "number")
	if got, want := columns(), []string{"p_plan string"}; !slices.Equal(got, want) {
		t.Errorf("promoted columns %v, want %v", got, want)
	}
	h.send(stream.Live, someEvents(10)...)
	h.settle()
	if err := p.round(h.ctx, roundOptions{}); err != nil {
		t.Fatal(err)
	}
	events, _ := h.secondReader(p, "event_id,p_plan", "app_id")
	if len(events) != 10 || events[0][1] != nil {
		t.Errorf("an object without the column is read as %v", events)
	}
}

// publishedFiles lists the publication's own objects.
func (h *house) publishedFiles() (keys []string) {
	h.t.Helper()
	for object, err := range h.objects.List(h.ctx, icebergPrefix) {
		if err != nil {
			h.t.Fatal(err)
		}
		keys = append(keys, object.Key)
	}
	return keys
}

// aged makes everything that was published d older than it is.
func (h *house) aged(d time.Duration) {
	h.t.Helper()
	err := h.db.TxAll(h.ctx, func(ctx context.Context, tx tenancy.ScopedTx) error {
		for _, table := range []string{"published_objects", "files"} {
			if _, err := tx.Exec(ctx, `UPDATE iceberg.`+table+` SET removed_at = removed_at - $1::interval`, d); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		h.t.Fatal(err)
	}
}

func (h *house) has(key string) bool {
	h.t.Helper()
	object, err := h.objects.Open(h.ctx, key)
	if err == nil {
		_ = object.Close()
		return true
	}
	if !errors.Is(err, objstore.ErrNotFound) {
		h.t.Fatal(err)
	}
	return false
}

func TestObjectsOfRetainedSnapshotsAreNotCollected(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	p := h.publication()
	publish := func() {
		t.Helper()
		h.send(stream.Live, someEvents(20)...)
		h.settle()
		if err := p.round(h.ctx, roundOptions{}); err != nil {
			t.Fatal(err)
		}
	}
	publish()
	publish()
	events, _ := h.published(p)
	old := events.Keys(h.app)
	if err := h.lake.Compact(h.ctx, h.app, func(CompactProgress) {}); err != nil {
		t.Fatal(err)
	}
	publish()
	collect := func() {
		t.Helper()
		if err := h.lake.collectGarbage(h.ctx, time.Now().Add(time.Minute)); err != nil {
			t.Fatal(err)
		}
	}
	collect()
	for _, key := range old {
		if !h.has(key) {
			t.Fatalf("%s was collected while a snapshot refers to it", key)
		}
	}
	p.cfg.Retain = 0 // as if all snapshots were older than that
	h.aged(time.Hour)
	publish()
	events, _ = h.published(p)
	if n := events.Snapshots(); n > 2 {
		t.Errorf("%d snapshots are left of lake.events, want the newest and the one that it replaced just now", n)
	}
	h.aged(time.Hour)
	publish()
	collect()
	for _, key := range old {
		if h.has(key) {
			t.Errorf("%s is held by no snapshot and was not collected", key)
		}
	}
	h.aged(time.Hour)
	publish()
	if got, most := len(h.publishedFiles()), 24; got > most {
		t.Errorf("%d files are left: old ones are not deleted", got)
	}
	h.mirrored(p)
}

func TestAPublicationThatIsGoneHoldsNothing(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	p := h.publication()
	h.send(stream.Live, someEvents(20)...)
	h.settle()
	if err := p.round(h.ctx, roundOptions{}); err != nil {
		t.Fatal(err)
	}
	events, _ := h.published(p)
	old := events.Keys(h.app)
	h.send(stream.Live, someEvents(20)...)
	h.settle()
	if err := h.lake.Compact(h.ctx, h.app, func(CompactProgress) {}); err != nil {
		t.Fatal(err)
	}
	err := h.db.TxAll(h.ctx, func(ctx context.Context, tx tenancy.ScopedTx) error {
		_, err := tx.Exec(ctx, `UPDATE iceberg.publication SET alive_at = now() - interval '2 days'`)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	if err := h.lake.collectGarbage(h.ctx, time.Now().Add(time.Minute)); err != nil {
		t.Fatal(err)
	}
	for _, key := range old {
		if h.has(key) {
			t.Errorf("%s is held for a publication that is gone", key)
		}
	}
	// When it comes back, no snapshot that it can no longer serve is left.
	if err := h.publication().round(h.ctx, roundOptions{}); err != nil {
		t.Fatal(err)
	}
	events, _ = h.published(p)
	if n := events.Snapshots(); n != 1 {
		t.Errorf("%d snapshots are left, want the newest alone", n)
	}
	h.mirrored(p)
}

func TestForgettingLeavesNoTraceOfWhatWasPublished(t *testing.T) {
	t.Parallel()
	for _, off := range []bool{false, true} {
		t.Run(fmt.Sprint("off=", off), func(t *testing.T) {
			t.Parallel()
			h := newHouse(t)
			p := h.publication()
			for range 3 {
				some := someEvents(10)
				some[0].Type, some[0].AnonymousID = event.Identify, "visitor-of-old"
				h.send(stream.Live, some...)
				h.settle()
				if err := p.round(h.ctx, roundOptions{}); err != nil {
					t.Fatal(err)
				}
			}
			events, links := h.published(p)
			gone := slices.Concat(events.Keys(h.app), links.Keys(h.app), []string{keyOf(t, p, events), keyOf(t, p, links)})
			// Written and never committed, as by a process that was killed.
			stray := icebergPrefix + "lake/stray.avro"
			if _, err := h.objects.Create(h.ctx, stray, func(w io.Writer) error { _, err := w.Write([]byte("visitor-of-old")); return err }); err != nil {
				t.Fatal(err)
			}
			// As erasure does: objects leave the manifest for others, and links go.
			if err := h.lake.Compact(h.ctx, h.app, func(CompactProgress) {}); err != nil {
				t.Fatal(err)
			}
			h.exec(`DELETE FROM person_links WHERE app_id = $1`, h.app)
			if err := p.round(h.ctx, roundOptions{}); err != nil { // the leader came first: a manifest tells of removed objects
				t.Fatal(err)
			}
			forgetting := h.publication() // another process
			forgetting.cfg.Off = off
			if err := forgetting.Forget(h.ctx, h.app); err != nil {
				t.Fatal(err)
			}
			if err := h.lake.collectGarbage(h.ctx, time.Now().Add(time.Minute)); err != nil {
				t.Fatal(err)
			}
			for _, key := range append(gone, stray) {
				if h.has(key) {
					t.Errorf("%s is still there", key)
				}
			}
			for _, key := range h.publishedFiles() {
				object, err := h.objects.Open(h.ctx, key)
				if err != nil {
					t.Fatal(err)
				}
				data, err := io.ReadAll(io.NewSectionReader(object, 0, object.Size()))
				_ = object.Close()
				if err != nil {
					t.Fatal(err)
				}
				if strings.Contains(key, "-m0.avro") {
					reader, err := ocf.NewReader(bytes.NewReader(data))
					if err != nil {
						t.Fatal(err)
					}
					for {
						var entry any
						if err := reader.Decode(&entry); errors.Is(err, io.EOF) {
							break
						} else if err != nil {
							t.Fatal(err)
						}
						data = fmt.Append(data, entry)
					}
				}
				for _, old := range gone {
					if bytes.Contains(data, []byte(old)) {
						t.Errorf("%s still mentions %s", key, old)
					}
				}
			}
			if off {
				if left := h.publishedFiles(); len(left) > 0 {
					t.Errorf("a publication that is off left %v", left)
				}
				return
			}
			h.mirrored(p)
			if err := p.round(h.ctx, roundOptions{}); err != nil { // the process that knows the tables from before
				t.Fatal(err)
			}
			h.mirrored(p)
		})
	}
}

func keyOf(t *testing.T, p *Publication, table *iceberg.Table) string {
	t.Helper()
	key, ok := strings.CutPrefix(table.Location(), p.cfg.Root+"/")
	if !ok {
		t.Fatalf("%s is not below %s", table.Location(), p.cfg.Root)
	}
	return key
}

func TestTwoPublishersAgree(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	publishers := []*Publication{h.publication(), h.publication(), h.publication()}
	for range 5 {
		h.send(stream.Live, someEvents(20)...)
		h.settle()
		var group errgroup.Group
		for _, p := range publishers {
			group.Go(func() error { return p.round(h.ctx, roundOptions{}) })
		}
		if err := group.Wait(); err != nil {
			t.Fatal(err)
		}
		h.mirrored(publishers[0])
	}
}

func TestTablesThatAreLostAreWrittenAnew(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	p := h.publication()
	h.send(stream.Live, someEvents(20)...)
	h.settle()
	if err := p.round(h.ctx, roundOptions{}); err != nil {
		t.Fatal(err)
	}
	events, _ := h.published(p)
	if err := h.objects.Delete(h.ctx, keyOf(t, p, events)); err != nil {
		t.Fatal(err)
	}
	if err := h.publication().round(h.ctx, roundOptions{}); err != nil {
		t.Fatal(err)
	}
	h.mirrored(p)
}

// publishedExactly checks what kills leave: the tables are the manifest, also
// once the sweep has deleted what was never committed, and another reader counts
// what questions do.
func (h *house) publishedExactly() {
	h.t.Helper()
	h.open()
	h.settle()
	p := h.publication()
	if err := p.round(h.ctx, roundOptions{}); err != nil {
		h.t.Fatal(err)
	}
	h.mirrored(p)
	if err := p.sweep(h.ctx, h.publishedFiles()); err != nil {
		h.t.Fatal(err)
	}
	h.mirrored(p)
	want, got := 0, 0
	for range h.rows(h.app) {
		want++
	}
	events, _ := h.secondReader(p, "event_id", "app_id")
	distinct := map[any]struct{}{}
	for _, row := range events {
		got++
		distinct[row[0]] = struct{}{}
	}
	if got != want || len(distinct) != want {
		h.t.Errorf("PyIceberg reads %d rows, %d of them distinct; the lake has %d", got, len(distinct), want)
	}
	h.close()
}

func TestThePublicationIsTheManifestAfterKillsAtAnyTime(t *testing.T) {
	t.Parallel()
	h, url := newVictimHouse(t)
	for round := range 4 {
		h.victim(url, []string{"LAKE_TEST_PUBLISH=1"}, func(p *os.Process, have func() int) {
			deadline := time.Now().Add(patience)
			for have() < 150+round*83 && time.Now().Before(deadline) {
				time.Sleep(time.Millisecond)
			}
			_ = p.Kill()
		})
	}
	h.publishedExactly()
}

func TestLinksThatAreDeletedAreNotPublishedAnyMore(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	p := h.publication()
	visits := someEvents(3)
	for i := range visits {
		visits[i].UserID, visits[i].AnonymousID = "", "visitor-1"
	}
	h.send(stream.Live, visits...)
	h.settle()
	known := someEvents(1)
	known[0].Type, known[0].AnonymousID = event.Identify, "visitor-1"
	h.send(stream.Live, known...)
	h.settle()
	if err := p.round(h.ctx, roundOptions{}); err != nil {
		t.Fatal(err)
	}
	if links := h.publishedLinks(p, h.app); len(links.ByKey) != 1 {
		t.Fatalf("published links %v, want the one of visitor-1", links)
	}
	h.exec(`DELETE FROM person_links WHERE app_id = $1`, h.app) // as erasure and a rebuild do
	if err := p.round(h.ctx, roundOptions{}); err != nil {
		t.Fatal(err)
	}
	if links := h.publishedLinks(p, h.app); len(links.ByKey) != 0 {
		t.Errorf("links %v are published that are no more", links)
	}
}

// publishedLinks reads lake.links of an app.
func (h *house) publishedLinks(p *Publication, app string) Links {
	h.t.Helper()
	_, table := h.published(p)
	links := Links{ByKey: map[int64]int64{}, Changed: map[string]int64{}, ChangedUsers: map[string]int64{}}
	for _, key := range table.Keys(app) {
		rows, err := parquet.ReadFile[linkRow](filepath.Join(h.dir, "objects", key))
		if err != nil {
			h.t.Fatal(err)
		}
		for _, row := range rows {
			twice := false
			switch row.Kind {
			case "key":
				_, twice = links.ByKey[*row.FromKey]
				links.ByKey[*row.FromKey] = row.ToKey
			case "visitor":
				_, twice = links.Changed[*row.ID]
				links.Changed[*row.ID] = row.ToKey
			case "user":
				_, twice = links.ChangedUsers[*row.ID]
				links.ChangedUsers[*row.ID] = row.ToKey
			}
			if twice {
				h.t.Errorf("two links lead away from %+v", row)
			}
		}
	}
	return links
}

// Readers of lake.links apply all of them to all objects; questions apply those
// that an object lacks. Both must find the same person of every row, whatever
// people did in whatever order, what was merged when, and how often it was
// published in between.
func TestPublishedLinksFindThePersonsThatQuestionsFind(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	whole, added := 0, 0
	for seed := range uint64(4) {
		random := rand.New(rand.NewPCG(seed, 5))
		app := h.addApp()
		p := h.publication()
		numbers := map[string]int{}
		for range 10 {
			events := someEvents(12)
			for i := range events {
				e := &events[i]
				visitor, user := fmt.Sprint("visitor-", random.IntN(6)), fmt.Sprint("user-", random.IntN(5))
				// Out of order, so that links are corrected later.
				e.TS = start.Add(time.Duration(random.IntN(1000)) * time.Minute)
				switch n := random.IntN(20); {
				case n < 9:
					e.UserID, e.AnonymousID = "", visitor
				case n < 15:
					e.UserID, e.AnonymousID = user, ""
				case n < 19 || seed%2 == 0: // half of the apps merge no users
					e.Type, e.UserID, e.AnonymousID = event.Identify, user, visitor
					if seed%3 == 0 { // each visitor once: links are only added
						e.AnonymousID = fmt.Sprint("visitor-", len(numbers))
						numbers[e.AnonymousID] = 1
						e.UserID = fmt.Sprint("user-", len(numbers))
					}
				default:
					e.Type, e.UserID, e.PreviousID = event.Alias, user, fmt.Sprint("user-", random.IntN(5))
				}
			}
			h.sendTo(app, stream.Live, events...)
			h.settle()
			switch random.IntN(6) {
			case 0:
				if err := h.lake.Compact(h.ctx, app, func(CompactProgress) {}); err != nil {
					t.Fatal(err)
				}
			case 1:
				if err := h.lake.Rebuild(h.ctx, app, func(RebuildProgress) {}); err != nil {
					t.Fatal(err)
				}
			case 2:
				continue // several changes at once
			}
			before := map[string]bool{}
			if p.links != nil {
				for _, key := range p.links.Keys(app) {
					before[key] = true
				}
			}
			if err := p.round(h.ctx, roundOptions{}); err != nil {
				t.Fatal(err)
			}
			if now := p.links.Keys(app); len(now) > len(before) && len(before) > 0 {
				added++
			} else if len(now) > 0 && !before[now[0]] {
				whole++
			}
			links := h.publishedLinks(p, app)
			for _, row := range h.rows(app) {
				person := links.Resolve(row.key, row.UserID, row.AnonymousID)
				if person != row.person {
					t.Fatalf("seed %d: %s of user %q, visitor %q, key %d: published links lead to %d, questions find %d", seed, row.Type,
						row.UserID, row.AnonymousID, row.key, person, row.person)
				}
				if again := links.Resolve(person, row.UserID, row.AnonymousID); again != person {
					t.Fatalf("seed %d: links applied twice lead from %d on to %d", seed, person, again)
				}
			}
		}
	}
	h.mirrored(h.publication())
	if whole == 0 || added == 0 {
		t.Errorf("links were written whole %d times and added to %d times: one way was not tried", whole, added)
	}
}
