package catalog

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"

	"github.com/causality-project/causality/backend/internal/account/tenancy"
	"github.com/causality-project/causality/backend/internal/platform/event"
	"github.com/causality-project/causality/backend/internal/platform/fault"
	"github.com/causality-project/causality/backend/internal/platform/postgres/postgrestest"
)

type house struct {
	t         *testing.T
	ctx       context.Context
	db        *tenancy.DB
	workspace string
	app       string
}

func newHouse(t *testing.T) *house {
	server := postgrestest.New(t)
	h := &house{t: t, app: uuid.NewString(), db: tenancy.NewDB(server.Pool(), slog.New(slog.NewTextHandler(io.Discard, nil)))}
	if err := server.Pool().QueryRow(t.Context(), `SELECT ensure_workspace(gen_random_uuid(), 'default', gen_random_uuid(), 'Owner')::text`).Scan(&h.workspace); err != nil {
		t.Fatal(err)
	}
	h.ctx = tenancy.WithWorkspace(context.Background(), h.workspace)
	h.exec(`INSERT INTO apps (workspace_id, app_id, name) VALUES ($1, $2, 'shop')`, h.workspace, h.app)
	return h
}

func (h *house) exec(sql string, args ...any) {
	h.t.Helper()
	if err := h.db.Tx(h.ctx, func(ctx context.Context, tx pgx.Tx) error { _, err := tx.Exec(ctx, sql, args...); return err }); err != nil {
		h.t.Fatal(err)
	}
}

func (h *house) observe(c *Catalog, events ...event.Event) {
	h.t.Helper()
	batch := c.Begin(h.workspace, h.app)
	for i := range events {
		batch.Observe(&events[i], nil)
	}
	if err := h.db.Tx(h.ctx, batch.Commit); err != nil {
		h.t.Fatal(err)
	}
	batch.Committed()
}

var today = time.Now().UTC().Truncate(24 * time.Hour)

func sent(name, properties string, at time.Time) event.Event {
	return event.Event{Type: event.Track, Name: name, TS: at, Properties: properties}
}

func TestEventsAndPropertiesAreListedAsSeen(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	for round := range 2 { // the second by a process that knows nothing yet
		c := New(h.db)
		h.observe(c,
			sent("search", `{"q":"shoes","page":1}`, today.AddDate(0, 0, -40)),
			sent("search", `{"q":"hats","page":"2","empty":null}`, today),
			sent("purchase_complete", `{"items":[1],"ok":true,"who":{"a":1},"page":3}`, today.Add(time.Hour)),
			event.Event{Type: event.Identify, Name: "identify", TS: today, Traits: `{"set":{}}`},
		)
		events, err := c.Events(h.ctx, h.app)
		if err != nil {
			t.Fatal(err)
		}
		n := int64(round + 1)
		want := []SeenEvent{
			{Name: "search", Count: 2 * n, Count30d: n, FirstSeen: today.AddDate(0, 0, -40), LastSeen: today, Typed: true},
			{Name: "purchase_complete", Count: n, Count30d: n, FirstSeen: today.Add(time.Hour), LastSeen: today.Add(time.Hour), Typed: true},
		}
		if diff := cmp.Diff(want, events); diff != "" {
			t.Errorf("events (-want +got):\n%s", diff)
		}
		properties, truncated, err := c.Properties(h.ctx, h.app, nil)
		if err != nil {
			t.Fatal(err)
		}
		if truncated {
			t.Error("truncated")
		}
		var lines []string
		for _, p := range properties {
			if !p.Builtin {
				lines = append(lines, fmt.Sprintf("%s %s %d %.2f %s", p.Name, strings.Join(p.Kinds.Names(), "+"), p.Count, p.Coverage, strings.Join(p.Samples, "|")))
			}
		}
		if diff := cmp.Diff([]string{
			fmt.Sprintf("page text+number %d 1.00 1|2", 3*n),
			fmt.Sprintf("q text %d 0.67 shoes|hats", 2*n),
			fmt.Sprintf("items list %d 0.33 [1]", n),
			fmt.Sprintf("ok boolean %d 0.33 true", n),
			fmt.Sprintf("who object %d 0.33 {\"a\":1}", n),
		}, lines); diff != "" {
			t.Errorf("properties (-want +got):\n%s", diff)
		}
		if !slices.ContainsFunc(properties, func(p SeenProperty) bool { return p.Name == "utm_source" && p.Builtin }) {
			t.Error("built-in columns are missing")
		}
		some, _, err := c.Properties(h.ctx, h.app, []string{"purchase_complete"})
		if err != nil {
			t.Fatal(err)
		}
		if some[0].Coverage != 1 || len(some) != 4+len(Builtin) {
			t.Errorf("properties of one event: %+v", some[:4])
		}
		for name, want := range map[string]bool{"page": true, "who": true, "country": false, "": false} {
			if has, err := c.HasProperty(h.ctx, h.app, name); err != nil || has != want {
				t.Errorf("HasProperty(%q) = %v, %v; want %v", name, has, err, want)
			}
		}
	}
}

// 10,000 names of an event are kept, whoever sends more.
func TestPropertyNamesAreBounded(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	for round := range 3 {
		c := New(h.db)
		for part := range 5 {
			var text strings.Builder
			text.WriteByte('{')
			for i := range 900 {
				fmt.Fprintf(&text, `"p%d":1,`, round*4500+part*900+i)
			}
			text.WriteString(`"known":1}`)
			h.observe(c, sent("many", text.String(), today))
		}
	}
	var kept int
	err := h.db.Tx(h.ctx, func(ctx context.Context, tx pgx.Tx) error {
		return tx.QueryRow(ctx, `SELECT count(*) FROM catalog_properties WHERE app_id = $1`, h.app).Scan(&kept)
	})
	if err != nil {
		t.Fatal(err)
	}
	_, truncated, err := New(h.db).Properties(h.ctx, h.app, nil)
	if err != nil {
		t.Fatal(err)
	}
	if has, err := New(h.db).HasProperty(h.ctx, h.app, "not among the kept"); err != nil || !has {
		t.Errorf("where names were cut, HasProperty = %v, %v; any name may be there", has, err)
	}
	if kept != MaxNames || !truncated {
		t.Errorf("%d names kept, truncated %v; want %d and true", kept, truncated, MaxNames)
	}
}

func TestRejectedEventsArePagedNewestFirst(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	h.exec(`INSERT INTO rejected_events (workspace_id, app_id, received_at, index, event_id, name, code, field, message, event)
		SELECT $1, $2, now(), n, 'id', 'name', CASE WHEN n % 5 = 0 THEN 'too_large' ELSE 'missing_name' END, 'name', 'message ' || n, '{}' FROM generate_series(1, 120) AS n`, h.workspace, h.app)
	c := New(h.db)
	var got []int
	query := RejectedQuery{}
	for pages := 1; ; pages++ {
		page, err := c.Rejected(h.ctx, h.app, query)
		if err != nil {
			t.Fatal(err)
		}
		for _, e := range page.Events {
			got = append(got, e.Index)
		}
		if page.NextBefore == "" {
			if pages != 3 {
				t.Errorf("%d pages, want 3", pages)
			}
			if len(page.Groups) != 2 || page.Groups[0].Code != "missing_name" || page.Groups[0].Count != 96 || page.Groups[0].Message != "message 119" || page.Groups[0].Remedy == "" {
				t.Errorf("groups %+v", page.Groups)
			}
			break
		}
		query.Before = page.NextBefore
	}
	if len(got) != 120 || got[0] != 120 || !slices.IsSortedFunc(got, func(a, b int) int { return b - a }) {
		t.Errorf("events %v", got)
	}
	large, err := c.Rejected(h.ctx, h.app, RejectedQuery{Code: "too_large", Limit: 500})
	if err != nil {
		t.Fatal(err)
	}
	if len(large.Events) != 24 || len(large.Groups) != 1 {
		t.Errorf("%d events in %d groups", len(large.Events), len(large.Groups))
	}
	if _, err := c.Rejected(h.ctx, h.app, RejectedQuery{Before: "no cursor"}); !fault.Is(err, fault.Invalid) {
		t.Errorf("a wrong cursor: %v", err)
	}
}

func TestEveryRejectionHasARemedy(t *testing.T) {
	t.Parallel()
	general := remedy("", "")
	for _, code := range strings.Fields("missing_name invalid_id invalid_timestamp too_large too_deep invalid_property plan_violation not_allowed") {
		if remedy(code, "") == general {
			t.Errorf("no remedy for %s", code)
		}
	}
	if got := remedy("invalid_property", "properties.revenue"); !strings.Contains(got, "revenue as the typed event") {
		t.Errorf("a typed event's field: %q", got)
	}
}
