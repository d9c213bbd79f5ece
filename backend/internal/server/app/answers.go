package app

import (
	"context"

	"github.com/causality-project/causality/backend/internal/account/tenancy"
	"github.com/causality-project/causality/backend/internal/analysis/insights"
	"github.com/causality-project/causality/backend/internal/analysis/insights/insightsrpc"
	"github.com/causality-project/causality/backend/internal/analysis/query"
	"github.com/causality-project/causality/backend/internal/analysis/query/queryrpc"
	"github.com/causality-project/causality/backend/internal/pipeline/catalog"
	"github.com/causality-project/causality/backend/internal/pipeline/catalog/catalogrpc"
	"github.com/causality-project/causality/backend/internal/server/web"
)

// answers puts what answers questions on the store.
func (a *App) answers(h *web.API, p parts, seen *catalog.Catalog, source query.Source, engine query.Engine) error {
	questions, err := insights.New(insights.Config{Engine: engine, Source: source, EngineName: a.cfg.QueryEngine, HasProperty: seen.HasProperty, HoldsLists: seen.HoldsLists})
	if err != nil {
		return err
	}
	h.Query = queryrpc.New(query.New(engine, source), p.apps, a.cfg.QueryEngine)
	h.Insights = insightsrpc.New(questions, p.apps)
	h.Catalog = catalogrpc.New(seen, p.apps, values{questions, p.apps})
	return nil
}

// values lets the catalog's pickers ask the store, through the questions' own way.
type values struct {
	questions *insights.Service
	apps      *tenancy.Apps
}

func (v values) Values(ctx context.Context, appID, property string, events []string, contains string, limit int) ([]catalog.PropertyValue, error) {
	app, err := v.apps.Get(ctx, appID)
	if err != nil {
		return nil, err
	}
	found, err := v.questions.Values(ctx, query.App{ID: app.ID, WorkspaceID: app.WorkspaceID, Name: app.Name, TimeZone: app.TimeZone}, property, events, contains, limit)
	if err != nil {
		return nil, err
	}
	all := make([]catalog.PropertyValue, len(found))
	for i, value := range found {
		all[i] = catalog.PropertyValue{Value: value.Value, Count: value.Count}
	}
	return all, nil
}
