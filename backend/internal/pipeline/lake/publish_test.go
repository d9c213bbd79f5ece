package lake

import (
	"context"
	"maps"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/causality-project/causality/backend/internal/account/tenancy"
	"github.com/causality-project/causality/backend/internal/pipeline/lake/iceberg"
	"github.com/causality-project/causality/backend/internal/pipeline/stream"
	"github.com/causality-project/causality/backend/internal/platform/event"
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
			location, err = p.catalog.Current(ctx, tx, PublicationNamespace, name)
			return err
		})
		if err != nil {
			h.t.Fatal(err)
		}
		if location == "" {
			h.t.Fatalf("the catalog does not know %s", name)
		}
		table, err := iceberg.Load(h.ctx, p.warehouse, PublicationNamespace, name, location)
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
	if a, b := events.Property(SequenceProperty), links.Property(SequenceProperty); a == "" || a != b {
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
	if err := p.Publish(h.ctx); err != nil { // before there is anything
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
		if err := p.Publish(h.ctx); err != nil {
			t.Fatal(err)
		}
		h.mirrored(p)
	}
	if err := h.lake.Compact(h.ctx, h.app, func(CompactProgress) {}); err != nil {
		t.Fatal(err)
	}
	if err := p.Publish(h.ctx); err != nil {
		t.Fatal(err)
	}
	h.mirrored(p)
	before := p.Status().Sequence
	if err := p.Publish(h.ctx); err != nil {
		t.Fatal(err)
	}
	if now := p.Status().Sequence; now != before {
		t.Errorf("publishing nothing moved the sequence from %d to %d", before, now)
	}
	// Another process, which knows only what is stored, goes on from there.
	next := h.publication()
	h.send(stream.Live, someEvents(5)...)
	h.settle()
	if err := next.Publish(h.ctx); err != nil {
		t.Fatal(err)
	}
	h.mirrored(p)
	h.send(stream.Live, someEvents(5)...)
	h.settle()
	if err := p.Publish(h.ctx); err != nil { // with tables in memory that are old by now
		t.Fatal(err)
	}
	h.mirrored(p)
	if err := p.Rebuild(h.ctx); err != nil {
		t.Fatal(err)
	}
	h.mirrored(p)
}
