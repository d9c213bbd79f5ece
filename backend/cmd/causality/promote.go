package main

import (
	"context"

	"connectrpc.com/connect"

	catalogv1 "github.com/causality-project/causality/proto/gen/causality/catalog/v1"
	"github.com/causality-project/causality/proto/gen/causality/catalog/v1/catalogv1connect"
)

// promotionCommands are the lake's commands about properties that have a column
// of their own.
type promotionCommands struct {
	Promote    lakePromote    `cmd:"" help:"Give a property a column of its own, so that questions about it read less."`
	Demote     lakeDemote     `cmd:"" help:"Take a property's column away from files that are merged from now on."`
	Promotions lakePromotions `cmd:"" help:"List the properties that have a column of their own."`
}

type lakePromote struct {
	connection
	Property string `arg:"" help:"Name of the property."`
	App      string `name:"app" required:"" placeholder:"APP" help:"Id or name of the app."`
	Kind     string `name:"kind" enum:",text,number" default:"" placeholder:"text|number" help:"What the column holds (default: what the property's values suggest)."`
}

func (c *lakePromote) Run(ctx context.Context, t *terminal) error {
	s, err := c.open(ctx)
	if err != nil {
		return err
	}
	answer, err := s.catalog().Promote(ctx, connect.NewRequest(&catalogv1.PromoteRequest{AppId: c.App, Property: c.Property, Kind: c.Kind}))
	if err != nil {
		return err
	}
	p := answer.Msg.GetPromotion()
	t.note("%s has the %s column %s in files that are merged from now on; `causality lake compact` merges now", p.GetProperty(), p.GetKind(), p.GetColumn())
	return nil
}

type lakeDemote struct {
	connection
	Property string `arg:"" help:"Name of the property."`
	App      string `name:"app" required:"" placeholder:"APP" help:"Id or name of the app."`
}

func (c *lakeDemote) Run(ctx context.Context, t *terminal) error {
	s, err := c.open(ctx)
	if err != nil {
		return err
	}
	if _, err := s.catalog().Demote(ctx, connect.NewRequest(&catalogv1.DemoteRequest{AppId: c.App, Property: c.Property})); err != nil {
		return err
	}
	t.note("%s has no column of its own any more; files that hold one keep it until they are merged", c.Property)
	return nil
}

type lakePromotions struct {
	connection
	listing
	App string `name:"app" required:"" placeholder:"APP" help:"Id or name of the app."`
}

func (c *lakePromotions) Run(ctx context.Context, t *terminal) error {
	s, err := c.open(ctx)
	if err != nil {
		return err
	}
	answer, err := s.catalog().ListPromotions(ctx, connect.NewRequest(&catalogv1.ListPromotionsRequest{AppId: c.App}))
	if err != nil {
		return err
	}
	list := table{columns: []string{"property", "kind", "column", "promoted_at"}}
	for _, p := range answer.Msg.GetPromotions() {
		list.rows = append(list.rows, []string{p.GetProperty(), p.GetKind(), p.GetColumn(), p.GetPromotedAt()})
	}
	return list.print(t.Out, c.Format)
}

func (s *server) catalog() catalogv1connect.CatalogServiceClient {
	return catalogv1connect.NewCatalogServiceClient(s.http, s.base)
}
