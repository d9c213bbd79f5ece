package catalog

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/causality-project/causality/backend/internal/platform/fault"
)

func (h *house) promotions(c *Catalog) string {
	h.t.Helper()
	list, err := c.Promotions(h.ctx, h.app)
	if err != nil {
		h.t.Fatal(err)
	}
	var out []string
	for _, p := range list {
		if time.Since(p.At) > time.Minute {
			h.t.Errorf("%s was promoted at %s", p.Name, p.At)
		}
		out = append(out, p.Name+" "+p.Kind.String())
	}
	return strings.Join(out, ", ")
}

func TestPromotionsTakeTheKindOfTheValuesAndKeepIt(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	c := New(h.db)
	h.observe(c, sent("buy", `{"price":5,"plan":"pro","mixed":1,"tags":["a"],"odd \"name\"":true}`, today), sent("buy", `{"mixed":"x"}`, today))
	for _, property := range []string{"price", "plan", "mixed", `odd "name"`, "price"} {
		if _, err := c.Promote(h.ctx, h.app, property, ""); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := c.Promote(h.ctx, h.app, "unseen", "number"); err != nil {
		t.Fatal(err)
	}
	if got, want := h.promotions(c), `mixed text, odd "name" text, plan text, price number, unseen number`; got != want {
		t.Errorf("promoted %s, want %s", got, want)
	}
	if err := c.Demote(h.ctx, h.app, "price"); err != nil {
		t.Fatal(err)
	}
	for what, tt := range map[string]struct {
		property, kind string
		want           fault.Kind
	}{
		"stored files hold it as numbers":   {"price", "text", fault.Invalid},
		"differs by case alone":             {"Plan", "", fault.Invalid},
		"only lists":                        {"tags", "", fault.Invalid},
		"nobody has seen it":                {"typo", "", fault.Invalid},
		"no such kind":                      {"plan", "date", fault.Invalid},
		"no name":                           {"", "", fault.Invalid},
		"a name that PostgreSQL would cut":  {"a\x00b", "text", fault.Invalid},
		"a name longer than a column's may": {strings.Repeat("x", 201), "text", fault.Invalid},
	} {
		if _, err := c.Promote(h.ctx, h.app, tt.property, tt.kind); !fault.Is(err, tt.want) {
			t.Errorf("%s: %v", what, err)
		}
	}
	for _, property := range []string{"price", "never"} {
		if err := c.Demote(h.ctx, h.app, property); !fault.Is(err, fault.NotFound) {
			t.Errorf("demote %s: %v, want NotFound", property, err)
		}
	}
	if _, err := c.Promote(h.ctx, h.app, "price", ""); err != nil {
		t.Fatal(err)
	}
	if got, want := h.promotions(New(h.db)), `mixed text, odd "name" text, plan text, price number, unseen number`; got != want {
		t.Errorf("promoted %s, want %s", got, want)
	}
}

func TestPromotionsAreBounded(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	h.exec(`INSERT INTO promoted_properties (workspace_id, app_id, name, kind) SELECT $1, $2, 'p' || n, 'text' FROM generate_series(1, $3::int) n`, h.workspace, h.app, MaxPromotions)
	c := New(h.db)
	if _, err := c.Promote(h.ctx, h.app, "one-more", "text"); !fault.Is(err, fault.Exhausted) {
		t.Errorf("error %v, want Exhausted", err)
	}
	if _, err := c.Promote(h.ctx, h.app, fmt.Sprint("p", MaxPromotions), "text"); err != nil {
		t.Errorf("again: %v", err)
	}
	if err := c.Demote(h.ctx, h.app, "p1"); err != nil {
		t.Fatal(err)
	}
	if _, err := c.Promote(h.ctx, h.app, "one-more", "text"); err != nil {
		t.Errorf("after one was demoted: %v", err)
	}
}

func TestListsAreKnownOfAProperty(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	c := New(h.db)
	h.observe(c, sent("buy", `{"plan":"pro","tags":["a"],"sometimes":1}`, today), sent("sell", `{"sometimes":[]}`, today))
	for name, want := range map[string]bool{"plan": false, "unseen": false, "tags": true, "sometimes": true, "a\x00b": true, strings.Repeat("x", 401): true} {
		got, err := c.HoldsLists(h.ctx, h.app, name)
		if err != nil {
			t.Fatal(err)
		}
		if got != want {
			t.Errorf("%.20q holds lists: %v, want %v", name, got, want)
		}
	}
	h.exec(`UPDATE catalog_events SET names_cut = 1 WHERE name = 'buy'`)
	if got, err := c.HoldsLists(h.ctx, h.app, "plan"); err != nil || !got {
		t.Errorf("with names cut: %v, %v, want true", got, err)
	}
}
