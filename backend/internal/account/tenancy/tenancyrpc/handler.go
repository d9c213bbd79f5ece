// Package tenancyrpc serves TenancyService. It translates between protobuf and
// package tenancy, and says who may call what.
package tenancyrpc

import (
	"context"
	"time"

	"connectrpc.com/connect"
	"github.com/causality-project/causality/backend/internal/account/identity"
	"github.com/causality-project/causality/backend/internal/account/tenancy"
	"github.com/causality-project/causality/backend/internal/platform/fault"
	tenancyv1 "github.com/causality-project/causality/proto/gen/causality/tenancy/v1"
	"github.com/causality-project/causality/proto/gen/causality/tenancy/v1/tenancyv1connect"
	"github.com/jackc/pgx/v5"
)

// Handler implements TenancyService.
type Handler struct {
	apps *tenancy.Apps
	keys *identity.Keys
}

var _ tenancyv1connect.TenancyServiceHandler = (*Handler)(nil)

// New makes the handler. keys gives each new app its first write key.
func New(apps *tenancy.Apps, keys *identity.Keys) *Handler { return &Handler{apps: apps, keys: keys} }

// ListApps shows a secret key its own app alone.
func (h *Handler) ListApps(ctx context.Context, _ *connect.Request[tenancyv1.ListAppsRequest]) (*connect.Response[tenancyv1.ListAppsResponse], error) {
	p, ok := identity.FromContext(ctx)
	if !ok {
		return nil, fault.New(fault.Unauthenticated, "Sign in first")
	}
	apps, err := h.apps.List(ctx)
	if err != nil {
		return nil, err
	}
	res := &tenancyv1.ListAppsResponse{}
	for _, app := range apps {
		if p.AppID == "" || p.AppID == app.ID {
			res.Apps = append(res.Apps, appToProto(app))
		}
	}
	return connect.NewResponse(res), nil
}

// CreateApp also makes a first write key: an app without one can receive nothing.
func (h *Handler) CreateApp(ctx context.Context, req *connect.Request[tenancyv1.CreateAppRequest]) (*connect.Response[tenancyv1.CreateAppResponse], error) {
	if err := identity.RequireManager(ctx, "create apps"); err != nil {
		return nil, err
	}
	app, err := h.apps.Create(ctx, req.Msg.GetName(), req.Msg.GetTimeZone(), func(ctx context.Context, tx pgx.Tx, app tenancy.App) error {
		_, _, err := h.keys.CreateIn(ctx, tx, app, identity.NewKey{Kind: "write", Name: "default"})
		return err
	})
	if err != nil {
		return nil, err
	}
	return connect.NewResponse(&tenancyv1.CreateAppResponse{App: appToProto(app)}), nil
}

func (h *Handler) UpdateApp(ctx context.Context, req *connect.Request[tenancyv1.UpdateAppRequest]) (*connect.Response[tenancyv1.UpdateAppResponse], error) {
	if err := identity.RequireManager(ctx, "change apps"); err != nil {
		return nil, err
	}
	update := tenancy.AppUpdate{Name: req.Msg.Name, TimeZone: req.Msg.TimeZone, IPPolicy: req.Msg.IpPolicy}
	if req.Msg.RetentionDays != nil {
		days := int(req.Msg.GetRetentionDays())
		update.RetentionDays = &days
	}
	app, err := h.apps.Update(ctx, req.Msg.GetAppId(), update)
	if err != nil {
		return nil, err
	}
	return connect.NewResponse(&tenancyv1.UpdateAppResponse{App: appToProto(app)}), nil
}

func appToProto(app tenancy.App) *tenancyv1.App {
	return &tenancyv1.App{
		Id: app.ID, Name: app.Name, TimeZone: app.TimeZone, IpPolicy: app.IPPolicy, RetentionDays: int32(app.RetentionDays),
		CreatedAt: app.CreatedAt.UTC().Format(time.RFC3339Nano),
	}
}
