// Package catalogrpc serves CatalogService. It translates between protobuf and
// package catalog; the values of properties come from whoever can ask the lake.
package catalogrpc

import (
	"context"
	"time"

	"connectrpc.com/connect"

	"github.com/causality-project/causality/backend/internal/account/identity"
	"github.com/causality-project/causality/backend/internal/pipeline/catalog"
	"github.com/causality-project/causality/backend/internal/platform/fault"
	catalogv1 "github.com/causality-project/causality/proto/gen/causality/catalog/v1"
	"github.com/causality-project/causality/proto/gen/causality/catalog/v1/catalogv1connect"
)

// Values lists the most frequent values of a property, for pickers.
type Values interface {
	Values(ctx context.Context, appID, property string, events []string, contains string, limit int) ([]catalog.PropertyValue, error)
}

// Handler implements CatalogService.
type Handler struct {
	catalog *catalog.Catalog
	apps    identity.AppGetter
	values  Values
}

var _ catalogv1connect.CatalogServiceHandler = (*Handler)(nil)

// New makes the handler.
func New(c *catalog.Catalog, apps identity.AppGetter, values Values) *Handler {
	return &Handler{catalog: c, apps: apps, values: values}
}

// Limits of a request.
const (
	defaultValues = 50
	maxValues     = 200
	maxEvents     = 200
)

// ListEvents lists an app's events, the most frequent first.
func (h *Handler) ListEvents(ctx context.Context, req *connect.Request[catalogv1.ListEventsRequest]) (*connect.Response[catalogv1.ListEventsResponse], error) {
	app, err := h.app(ctx, req.Msg.GetAppId())
	if err != nil {
		return nil, err
	}
	events, err := h.catalog.Events(ctx, app)
	if err != nil {
		return nil, err
	}
	res := &catalogv1.ListEventsResponse{Events: make([]*catalogv1.SeenEvent, len(events))}
	for i, e := range events {
		res.Events[i] = &catalogv1.SeenEvent{Name: e.Name, Count: float64(e.Count), Count_30D: float64(e.Count30d),
			FirstSeen: instant(e.FirstSeen), LastSeen: instant(e.LastSeen), Typed: e.Typed}
	}
	return connect.NewResponse(res), nil
}

// ListProperties ranks by coverage on the chosen events.
func (h *Handler) ListProperties(ctx context.Context, req *connect.Request[catalogv1.ListPropertiesRequest]) (*connect.Response[catalogv1.ListPropertiesResponse], error) {
	app, err := h.app(ctx, req.Msg.GetAppId())
	if err != nil {
		return nil, err
	}
	if err := bounded(req.Msg.GetEvents()); err != nil {
		return nil, err
	}
	properties, truncated, err := h.catalog.Properties(ctx, app, req.Msg.GetEvents())
	if err != nil {
		return nil, err
	}
	promotions, err := h.catalog.Promotions(ctx, app)
	if err != nil {
		return nil, err
	}
	promoted := make(map[string]string, len(promotions))
	for _, p := range promotions {
		promoted[p.Name] = p.Kind.String()
	}
	res := &catalogv1.ListPropertiesResponse{Truncated: truncated, Properties: make([]*catalogv1.SeenProperty, len(properties))}
	for i, p := range properties {
		res.Properties[i] = &catalogv1.SeenProperty{Name: p.Name, Types: p.Kinds.Names(), Count: float64(p.Count), Coverage: p.Coverage,
			Samples: p.Samples, LastSeen: instant(p.LastSeen), Builtin: p.Builtin}
		if !p.Builtin {
			res.Properties[i].Promoted = promoted[p.Name]
		}
	}
	return connect.NewResponse(res), nil
}

// ListValues asks for a property's most frequent values.
func (h *Handler) ListValues(ctx context.Context, req *connect.Request[catalogv1.ListValuesRequest]) (*connect.Response[catalogv1.ListValuesResponse], error) {
	app, err := h.app(ctx, req.Msg.GetAppId())
	if err != nil {
		return nil, err
	}
	if req.Msg.GetProperty() == "" {
		return nil, fault.InvalidField("property", "is missing: name the property whose values you want")
	}
	if err := bounded(req.Msg.GetEvents()); err != nil {
		return nil, err
	}
	limit := int(req.Msg.GetLimit())
	if limit <= 0 {
		limit = defaultValues
	}
	values, err := h.values.Values(ctx, app, req.Msg.GetProperty(), req.Msg.GetEvents(), req.Msg.GetContains(), min(limit, maxValues))
	if err != nil {
		return nil, err
	}
	res := &catalogv1.ListValuesResponse{Values: make([]*catalogv1.PropertyValue, len(values))}
	for i, v := range values {
		res.Values[i] = &catalogv1.PropertyValue{Value: v.Value, Count: float64(v.Count)}
	}
	return connect.NewResponse(res), nil
}

// ListRejected pages through refused events, newest first.
func (h *Handler) ListRejected(ctx context.Context, req *connect.Request[catalogv1.ListRejectedRequest]) (*connect.Response[catalogv1.ListRejectedResponse], error) {
	app, err := h.app(ctx, req.Msg.GetAppId())
	if err != nil {
		return nil, err
	}
	page, err := h.catalog.Rejected(ctx, app, catalog.RejectedQuery{Code: req.Msg.GetCode(), Limit: int(req.Msg.GetLimit()), Before: req.Msg.GetBefore()})
	if err != nil {
		return nil, err
	}
	res := &catalogv1.ListRejectedResponse{NextBefore: page.NextBefore}
	for _, g := range page.Groups {
		res.Groups = append(res.Groups, &catalogv1.RejectedGroup{Code: g.Code, Field: g.Field, Count: float64(g.Count),
			LastSeen: instant(g.LastSeen), Message: g.Message, Remedy: g.Remedy})
	}
	for _, e := range page.Events {
		res.Events = append(res.Events, &catalogv1.RejectedEvent{ReceivedAt: instant(e.ReceivedAt), Index: int32(e.Index), Id: e.ID, Name: e.Name,
			Code: e.Code, Field: e.Field, Message: e.Message, Event: e.Event})
	}
	return connect.NewResponse(res), nil
}

// Promote gives a property a column of its own.
func (h *Handler) Promote(ctx context.Context, req *connect.Request[catalogv1.PromoteRequest]) (*connect.Response[catalogv1.PromoteResponse], error) {
	app, err := h.app(ctx, req.Msg.GetAppId())
	if err != nil {
		return nil, err
	}
	p, err := h.catalog.Promote(ctx, app, req.Msg.GetProperty(), req.Msg.GetKind())
	if err != nil {
		return nil, err
	}
	return connect.NewResponse(&catalogv1.PromoteResponse{Promotion: promotionOf(p)}), nil
}

// Demote takes a property's column away from what is merged from now on.
func (h *Handler) Demote(ctx context.Context, req *connect.Request[catalogv1.DemoteRequest]) (*connect.Response[catalogv1.DemoteResponse], error) {
	app, err := h.app(ctx, req.Msg.GetAppId())
	if err != nil {
		return nil, err
	}
	if err := h.catalog.Demote(ctx, app, req.Msg.GetProperty()); err != nil {
		return nil, err
	}
	return connect.NewResponse(&catalogv1.DemoteResponse{}), nil
}

// ListPromotions lists an app's promoted properties.
func (h *Handler) ListPromotions(ctx context.Context, req *connect.Request[catalogv1.ListPromotionsRequest]) (*connect.Response[catalogv1.ListPromotionsResponse], error) {
	app, err := h.app(ctx, req.Msg.GetAppId())
	if err != nil {
		return nil, err
	}
	promotions, err := h.catalog.Promotions(ctx, app)
	if err != nil {
		return nil, err
	}
	res := &catalogv1.ListPromotionsResponse{Promotions: make([]*catalogv1.Promotion, len(promotions))}
	for i, p := range promotions {
		res.Promotions[i] = promotionOf(p)
	}
	return connect.NewResponse(res), nil
}

func promotionOf(p catalog.Promotion) *catalogv1.Promotion {
	return &catalogv1.Promotion{Property: p.Name, Kind: p.Kind.String(), Column: "p_" + p.Name, PromotedAt: instant(p.At)}
}

// app finds the app that a request names; a secret key sees its own alone.
func (h *Handler) app(ctx context.Context, idOrName string) (string, error) {
	app, err := identity.App(ctx, h.apps, idOrName)
	return app.ID, err
}

func bounded(events []string) error {
	if len(events) > maxEvents {
		return fault.InvalidField("events", "names %d events; at most %d, or none for all", len(events), maxEvents)
	}
	return nil
}

func instant(t time.Time) string {
	if t.IsZero() {
		return ""
	}
	return t.Format(time.RFC3339Nano)
}
