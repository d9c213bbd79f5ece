package catalog

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/jackc/pgx/v5"

	"github.com/causality-project/causality/backend/internal/account/tenancy"
	"github.com/causality-project/causality/backend/internal/platform/fault"
)

// Promotion gives a property a column of its own, p_<name>, in the objects that
// are merged from now on. Questions that filter, break down or measure by it then
// need not read the JSON of all properties.
type Promotion struct {
	Name string
	Kind Kind // Text: its canonical text; Number: its numbers
	At   time.Time
}

// Bounds of promotion.
const (
	MaxPromotions     = 100 // of an app at once
	maxEverPromoted   = 1_000
	maxPromotedName   = 200 // bytes
	promotionsKept    = 10 * time.Second
	maxPromotionsApps = 10_000 // remembered at once
)

type promotionKey struct{ workspaceID, appID string }

type keptPromotions struct {
	list []Promotion
	at   time.Time
}

// Promotions lists an app's promoted properties by name. What another process
// changed is seen within 10 seconds: until then merges write a column that
// nobody asks for any more, or leave one out that later merges write. The list is
// shared and must not be changed.
func (c *Catalog) Promotions(ctx context.Context, appID string) ([]Promotion, error) {
	workspaceID, err := tenancy.Workspace(ctx)
	if err != nil {
		return nil, err
	}
	key := promotionKey{workspaceID, appID}
	c.mu.Lock()
	kept, ok := c.promotions[key]
	changes := c.promotionChanges
	c.mu.Unlock()
	if ok && time.Since(kept.at) < promotionsKept {
		return kept.list, nil
	}
	asked := time.Now()
	var list []Promotion
	err = c.db.Tx(ctx, func(ctx context.Context, tx pgx.Tx) error {
		rows, err := tx.Query(ctx, `SELECT name, kind, promoted_at FROM promoted_properties
			WHERE workspace_id = $1 AND app_id = $2 AND demoted_at IS NULL ORDER BY name COLLATE "C"`, workspaceID, appID)
		if err != nil {
			return err
		}
		list, err = pgx.CollectRows(rows, func(row pgx.CollectableRow) (Promotion, error) {
			var p Promotion
			var kind string
			err := row.Scan(&p.Name, &kind, &p.At)
			p.Kind, p.At = kindOf(kind), p.At.UTC()
			return p, err
		})
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("list promoted properties: %w", err)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.promotions == nil || len(c.promotions) >= maxPromotionsApps {
		c.promotions = map[promotionKey]keptPromotions{}
	}
	if changes == c.promotionChanges { // else it may have been read before the change
		c.promotions[key] = keptPromotions{list, asked}
	}
	return list, nil
}

func kindOf(name string) Kind {
	if name == "number" {
		return Number
	}
	return Text
}

// Promote gives a property a column. kind is text, number, or empty for what the
// property's values suggest. Promoting again changes nothing. A property keeps
// the kind of its first promotion, because stored files hold it.
func (c *Catalog) Promote(ctx context.Context, appID, property, kind string) (Promotion, error) {
	workspaceID, err := tenancy.Workspace(ctx)
	if err != nil {
		return Promotion{}, err
	}
	if err := promotable(property); err != nil {
		return Promotion{}, err
	}
	if kind != "" && kind != "text" && kind != "number" {
		return Promotion{}, fault.InvalidField("kind", "%q is neither text nor number; leave it out for what the property's values suggest", kind)
	}
	promotion := Promotion{Name: property}
	err = c.db.Tx(ctx, func(ctx context.Context, tx pgx.Tx) error {
		// One change of an app at a time, so that the bounds hold.
		if _, err := tx.Exec(ctx, `SELECT FROM apps WHERE workspace_id = $1 AND app_id = $2 FOR NO KEY UPDATE`, workspaceID, appID); err != nil {
			return err
		}
		var first, similar *string
		var now, ever int
		if err := tx.QueryRow(ctx, `SELECT min(kind) FILTER (WHERE name = $3), min(name) FILTER (WHERE name <> $3 AND lower(name) = lower($3)),
			count(*) FILTER (WHERE demoted_at IS NULL AND name <> $3), count(*) FILTER (WHERE name <> $3)
			FROM promoted_properties WHERE workspace_id = $1 AND app_id = $2`, workspaceID, appID, property).Scan(&first, &similar, &now, &ever); err != nil {
			return err
		}
		switch {
		case similar != nil:
			return fault.InvalidField("property", "%q differs from %q, which has been promoted, by case alone; columns cannot. Send the property under one of the two names.", property, *similar)
		case first != nil && kind != "" && kind != *first:
			return fault.InvalidField("kind", "%q has been promoted as %s before, and stored files hold it so; promote it as %s", property, *first, *first)
		case now >= MaxPromotions:
			return fault.New(fault.Exhausted, "%d properties of this app are promoted already, which is the most; demote one first", now)
		case ever >= maxEverPromoted:
			return fault.New(fault.Exhausted, "%d properties of this app have been promoted over time, which is the most", ever)
		case first != nil:
			kind = *first
		case kind == "":
			if kind, err = suggestedKind(ctx, tx, workspaceID, appID, property); err != nil {
				return err
			}
		}
		promotion.Kind = kindOf(kind)
		return tx.QueryRow(ctx, `INSERT INTO promoted_properties AS p (workspace_id, app_id, name, kind) VALUES ($1, $2, $3, $4)
			ON CONFLICT (workspace_id, app_id, name) DO UPDATE SET demoted_at = NULL,
			  promoted_at = CASE WHEN p.demoted_at IS NULL THEN p.promoted_at ELSE now() END
			RETURNING promoted_at`, workspaceID, appID, property, kind).Scan(&promotion.At)
	})
	c.forgetPromotions(workspaceID, appID)
	if err != nil {
		return Promotion{}, fmt.Errorf("promote: %w", err)
	}
	promotion.At = promotion.At.UTC()
	return promotion, nil
}

// suggestedKind is number for a property that has only been a number, else text.
func suggestedKind(ctx context.Context, tx pgx.Tx, workspaceID, appID, property string) (string, error) {
	var types *int16
	err := tx.QueryRow(ctx, `SELECT bit_or(types) FROM catalog_properties WHERE workspace_id = $1 AND app_id = $2 AND name = $3`,
		workspaceID, appID, property).Scan(&types)
	if err != nil {
		return "", err
	}
	if types == nil {
		return "", fault.InvalidField("kind", "is missing: no event of this app has carried the property %q yet, which could suggest one. Say text or number, or check the name.", property)
	}
	switch kinds := Kind(*types); {
	case kinds&(Text|Number|Boolean) == 0:
		return "", fault.InvalidField("property", "%q has only been a %s; texts, numbers and booleans get columns", property, strings.Join(kinds.Names(), " or a "))
	case kinds == Number:
		return "number", nil
	}
	return "text", nil
}

// promotable refuses names that no column can have.
func promotable(property string) error {
	switch {
	case property == "":
		return fault.InvalidField("property", "is missing: name the property")
	case len(property) > maxPromotedName:
		return fault.InvalidField("property", "is longer than %d bytes", maxPromotedName)
	case !utf8.ValidString(property) || strings.ContainsFunc(property, unicode.IsControl):
		return fault.InvalidField("property", "holds control characters or broken text, which no column's name can")
	}
	return nil
}

// Demote leaves a property's column out of the objects that are merged from now
// on. Files that hold it stay as they are.
func (c *Catalog) Demote(ctx context.Context, appID, property string) error {
	workspaceID, err := tenancy.Workspace(ctx)
	if err != nil {
		return err
	}
	err = c.db.Tx(ctx, func(ctx context.Context, tx pgx.Tx) error {
		var name string
		err := tx.QueryRow(ctx, `UPDATE promoted_properties SET demoted_at = now()
			WHERE workspace_id = $1 AND app_id = $2 AND name = $3 AND demoted_at IS NULL RETURNING name`, workspaceID, appID, Storable(property)).Scan(&name)
		if errors.Is(err, pgx.ErrNoRows) {
			return fault.New(fault.NotFound, "the property %q is not promoted; `causality lake promotions` lists those that are", property)
		}
		return err
	})
	c.forgetPromotions(workspaceID, appID)
	if err != nil {
		return fmt.Errorf("demote: %w", err)
	}
	return nil
}

func (c *Catalog) forgetPromotions(workspaceID, appID string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	delete(c.promotions, promotionKey{workspaceID, appID})
	c.promotionChanges++
}
