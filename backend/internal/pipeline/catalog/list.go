package catalog

import (
	"context"
	"encoding/base64"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/causality-project/causality/backend/internal/account/tenancy"
	"github.com/causality-project/causality/backend/internal/platform/fault"
)

// SeenEvent is an event's name that an app has sent.
type SeenEvent struct {
	Name      string
	Count     int64 // all time
	Count30d  int64 // with an event time in the last 30 days (UTC days)
	FirstSeen time.Time
	LastSeen  time.Time
	Typed     bool // one of the typed events of the wire contract
}

// maxListed bounds a list; an app with more names sends data in its names.
const maxListed = 10_000

// Events lists an app's events, the most frequent first.
func (c *Catalog) Events(ctx context.Context, appID string) ([]SeenEvent, error) {
	workspaceID, err := tenancy.Workspace(ctx)
	if err != nil {
		return nil, err
	}
	var events []SeenEvent
	err = c.db.Tx(ctx, func(ctx context.Context, tx pgx.Tx) error {
		rows, err := tx.Query(ctx, `
			SELECT e.name, e.count, coalesce(d.n, 0)::bigint, e.first_seen, e.last_seen
			FROM catalog_events e LEFT JOIN (
			  SELECT name, sum(count) AS n FROM catalog_event_days
			  WHERE workspace_id = $1 AND app_id = $2 AND day > $3::date AND day <= $4::date GROUP BY name) d USING (name)
			WHERE e.workspace_id = $1 AND e.app_id = $2 ORDER BY e.count DESC, e.name LIMIT $5`,
			workspaceID, appID, time.Now().UTC().AddDate(0, 0, -30), time.Now().UTC(), maxListed)
		if err != nil {
			return fmt.Errorf("list events: %w", err)
		}
		events, err = pgx.CollectRows(rows, func(row pgx.CollectableRow) (SeenEvent, error) {
			var e SeenEvent
			err := row.Scan(&e.Name, &e.Count, &e.Count30d, &e.FirstSeen, &e.LastSeen)
			e.FirstSeen, e.LastSeen, e.Typed = e.FirstSeen.UTC(), e.LastSeen.UTC(), typed[e.Name]
			return e, err
		})
		if err != nil {
			return fmt.Errorf("list events: %w", err)
		}
		return nil
	})
	return events, err
}

// SeenProperty is a property that an app's events carry.
type SeenProperty struct {
	Name     string
	Kinds    Kind
	Count    int64   // events that carried it; of a column, all events
	Coverage float64 // of the chosen events, 0 to 1
	Samples  []string
	LastSeen time.Time
	Builtin  bool // a column of every event, such as os
}

// HasProperty reports whether any event of the app may carry a JSON property of
// this name: seen, or beyond the names that are kept.
func (c *Catalog) HasProperty(ctx context.Context, appID, name string) (bool, error) {
	workspaceID, err := tenancy.Workspace(ctx)
	if err != nil {
		return false, err
	}
	var has bool
	err = c.db.Tx(ctx, func(ctx context.Context, tx pgx.Tx) error {
		return tx.QueryRow(ctx, `
			SELECT EXISTS (SELECT FROM catalog_properties WHERE workspace_id = $1 AND app_id = $2 AND name = $3)
			  OR EXISTS (SELECT FROM catalog_events WHERE workspace_id = $1 AND app_id = $2 AND names_cut > 0)`,
			workspaceID, appID, name).Scan(&has)
	})
	if err != nil {
		return false, fmt.Errorf("look for property: %w", err)
	}
	return has, nil
}

// HoldsLists reports whether any event of the app may hold a list under this
// name: seen with one, or beyond the names that are kept.
func (c *Catalog) HoldsLists(ctx context.Context, appID, name string) (bool, error) {
	workspaceID, err := tenancy.Workspace(ctx)
	if err != nil {
		return false, err
	}
	if len(name) > maxNameBytes || name != Storable(name) {
		return true, nil // kept under another name
	}
	var holds bool
	err = c.db.Tx(ctx, func(ctx context.Context, tx pgx.Tx) error {
		return tx.QueryRow(ctx, `
			SELECT EXISTS (SELECT FROM catalog_properties WHERE workspace_id = $1 AND app_id = $2 AND name = $3 AND types & $4 <> 0)
			  OR EXISTS (SELECT FROM catalog_events WHERE workspace_id = $1 AND app_id = $2 AND names_cut > 0)`,
			workspaceID, appID, name, int16(List)).Scan(&holds)
	})
	if err != nil {
		return false, fmt.Errorf("look for lists: %w", err)
	}
	return holds, nil
}

// Properties lists what the chosen events carry, or all events for none chosen:
// the properties by coverage, then the built-in columns. truncated says that an
// event has carried more names than are kept or listed.
func (c *Catalog) Properties(ctx context.Context, appID string, events []string) (properties []SeenProperty, truncated bool, err error) {
	workspaceID, err := tenancy.Workspace(ctx)
	if err != nil {
		return nil, false, err
	}
	if events == nil {
		events = []string{}
	}
	var total int64
	err = c.db.Tx(ctx, func(ctx context.Context, tx pgx.Tx) error {
		err := tx.QueryRow(ctx, `SELECT coalesce(sum(count), 0)::bigint, coalesce(bool_or(names_cut > 0), false) FROM catalog_events
			WHERE workspace_id = $1 AND app_id = $2 AND (cardinality($3::text[]) = 0 OR name = ANY ($3))`, workspaceID, appID, events).Scan(&total, &truncated)
		if err != nil {
			return fmt.Errorf("list properties: %w", err)
		}
		rows, err := tx.Query(ctx, `
			SELECT name, bit_or(types), sum(count)::bigint,
			  string_to_array((array_agg(array_to_string(samples, E'\x1f') ORDER BY cardinality(samples) DESC, event))[1], E'\x1f'), max(last_seen)
			FROM catalog_properties
			WHERE workspace_id = $1 AND app_id = $2 AND (cardinality($3::text[]) = 0 OR event = ANY ($3))
			GROUP BY name ORDER BY sum(count) DESC, name LIMIT $4`, workspaceID, appID, events, maxListed+1)
		if err != nil {
			return fmt.Errorf("list properties: %w", err)
		}
		properties, err = pgx.CollectRows(rows, func(row pgx.CollectableRow) (SeenProperty, error) {
			var p SeenProperty
			var kinds int16
			err := row.Scan(&p.Name, &kinds, &p.Count, &p.Samples, &p.LastSeen)
			p.Kinds, p.LastSeen = Kind(kinds), p.LastSeen.UTC()
			if total > 0 {
				p.Coverage = min(1, float64(p.Count)/float64(total))
			}
			return p, err
		})
		if err != nil {
			return fmt.Errorf("list properties: %w", err)
		}
		return nil
	})
	if err != nil {
		return nil, false, err
	}
	if len(properties) > maxListed {
		properties, truncated = properties[:maxListed], true
	}
	for _, b := range Builtin {
		properties = append(properties, SeenProperty{Name: b.Name, Kinds: b.Kind, Count: total, Coverage: 1, Builtin: true})
	}
	return properties, truncated, nil
}

// RejectedQuery asks for a page of refused events.
type RejectedQuery struct {
	Code   string // empty: all
	Limit  int    // default 50, at most 500
	Before string // NextBefore of the page before; empty: the newest
}

// RejectedPage holds a page, newest first, and with the first page the groups
// that the kept events fall into.
type RejectedPage struct {
	Groups     []RejectedGroup
	Events     []RejectedEvent
	NextBefore string // empty: this was the last page
}

// RejectedGroup counts refused events of one reason and field.
type RejectedGroup struct {
	Code, Field string
	Count       int64
	LastSeen    time.Time
	Message     string // of the newest
	Remedy      string // what to do
}

// RejectedEvent is a refused event as it came.
type RejectedEvent struct {
	ReceivedAt time.Time
	Index      int
	ID, Name   string
	Code       string
	Field      string
	Message    string
	Event      string
}

// Rejected lists an app's refused events; the newest 10,000 are kept.
func (c *Catalog) Rejected(ctx context.Context, appID string, query RejectedQuery) (RejectedPage, error) {
	workspaceID, err := tenancy.Workspace(ctx)
	if err != nil {
		return RejectedPage{}, err
	}
	if query.Limit <= 0 {
		query.Limit = 50
	}
	query.Limit = min(query.Limit, 500)
	var before *int64
	if query.Before != "" {
		text, err := base64.RawURLEncoding.DecodeString(query.Before)
		n, numberErr := strconv.ParseInt(string(text), 10, 64)
		if err != nil || numberErr != nil {
			return RejectedPage{}, fault.InvalidField("before", "is no cursor of an earlier page; leave it empty for the newest")
		}
		before = &n
	}
	var page RejectedPage
	err = c.db.Tx(ctx, func(ctx context.Context, tx pgx.Tx) error {
		page = RejectedPage{}
		rows, err := tx.Query(ctx, `SELECT code, field, count(*), max(received_at), (array_agg(message ORDER BY rejected_id DESC))[1]
			FROM rejected_events WHERE workspace_id = $1 AND app_id = $2 AND ($3 = '' OR code = $3)
			GROUP BY code, field ORDER BY count(*) DESC, code, field LIMIT 100`, workspaceID, appID, query.Code)
		if err != nil {
			return fmt.Errorf("list refused events: %w", err)
		}
		page.Groups, err = pgx.CollectRows(rows, func(row pgx.CollectableRow) (RejectedGroup, error) {
			var g RejectedGroup
			err := row.Scan(&g.Code, &g.Field, &g.Count, &g.LastSeen, &g.Message)
			g.LastSeen, g.Remedy = g.LastSeen.UTC(), remedy(g.Code, g.Field)
			return g, err
		})
		if err != nil {
			return fmt.Errorf("list refused events: %w", err)
		}
		rows, err = tx.Query(ctx, `SELECT rejected_id, received_at, index, event_id, name, code, field, message, event
			FROM rejected_events WHERE workspace_id = $1 AND app_id = $2 AND ($3 = '' OR code = $3) AND ($4::bigint IS NULL OR rejected_id < $4)
			ORDER BY rejected_id DESC LIMIT $5`, workspaceID, appID, query.Code, before, query.Limit+1)
		if err != nil {
			return fmt.Errorf("list refused events: %w", err)
		}
		var ids []int64
		page.Events, err = pgx.CollectRows(rows, func(row pgx.CollectableRow) (RejectedEvent, error) {
			var e RejectedEvent
			var id int64
			err := row.Scan(&id, &e.ReceivedAt, &e.Index, &e.ID, &e.Name, &e.Code, &e.Field, &e.Message, &e.Event)
			e.ReceivedAt = e.ReceivedAt.UTC()
			ids = append(ids, id)
			return e, err
		})
		if err != nil {
			return fmt.Errorf("list refused events: %w", err)
		}
		if len(page.Events) > query.Limit {
			page.Events = page.Events[:query.Limit]
			page.NextBefore = base64.RawURLEncoding.EncodeToString(strconv.AppendInt(nil, ids[query.Limit-1], 10))
		}
		return nil
	})
	return page, err
}

// remedy says what to do about a reason of the wire contract.
func remedy(code, field string) string {
	switch code {
	case "missing_name":
		return "Give every tracked event a name, such as \"signup\"."
	case "invalid_id":
		return "Send ids as text of at most 200 characters; leave an id out rather than sending a placeholder."
	case "invalid_timestamp":
		return "Send the time as RFC 3339 with a zone, such as 2026-03-29T22:30:00Z, or leave it out to use the time of receipt."
	case "too_large":
		return "Keep an event below 32 KiB and names below 200 characters: move long text out of the properties."
	case "too_deep":
		return "Flatten the properties: at most 32 levels of nesting are taken."
	case "invalid_property":
		if name, ok := strings.CutPrefix(field, "properties."); ok {
			return "Send " + name + " as the typed event describes it (the SDKs' typed helpers do), or give the event a name of its own."
		}
		return "Send properties as a JSON object of finite numbers and valid UTF-8 text."
	case "plan_violation":
		return "Send the event as the tracking plan describes it, or change the plan."
	case "not_allowed":
		return "Use a secret key from a server for this: a write key is public and may not do it."
	}
	if field != "" {
		return "Look at the field " + field + " of the event below and compare it with the documentation of the event format."
	}
	return "Compare the event below with the documentation of the event format."
}

// BuiltinColumn is a column of every event that can be used like a property.
type BuiltinColumn struct {
	Name string
	Kind Kind
}

// Builtin lists the columns offered beside the properties.
var Builtin = []BuiltinColumn{
	{"platform", Text}, {"os", Text}, {"os_version", Text}, {"app_version", Text}, {"device_model", Text}, {"device_type", Text},
	{"browser", Text}, {"country", Text}, {"region", Text}, {"city", Text}, {"locale", Text}, {"page_url", Text}, {"page_path", Text},
	{"referrer_host", Text}, {"utm_source", Text}, {"utm_medium", Text}, {"utm_campaign", Text}, {"utm_term", Text}, {"utm_content", Text},
	{"revenue", Number}, {"currency", Text}, {"library", Text}, {"library_version", Text}, {"user_id", Text}, {"anonymous_id", Text},
	{"session_id", Text}, {"correlation_id", Text},
}

// typed names the typed events of the wire contract.
var typed = func() map[string]bool {
	names := map[string]bool{}
	for _, name := range strings.Fields(`user_login user_logout user_signup user_profile_update screen_view screen_exit button_tap
		swipe_gesture scroll_event text_input long_press double_tap product_view add_to_cart remove_from_cart checkout_start
		checkout_step purchase_complete purchase_failed app_start app_background app_foreground app_crash network_change
		permission_request permission_result memory_warning battery_change page_view search share notification_received
		notification_opened error custom`) {
		names[name] = true
	}
	return names
}()

// PropertyValue is a value of a property and how many events carry it.
type PropertyValue struct {
	Value string
	Count int64
}
