package app

import (
	"context"
	"time"

	"github.com/causality-project/causality/backend/internal/analysis/query"
	"github.com/causality-project/causality/backend/internal/pipeline/catalog"
	"github.com/causality-project/causality/backend/internal/pipeline/lake"
	"github.com/causality-project/causality/backend/internal/pipeline/lake/lakerpc"
	"github.com/causality-project/causality/backend/internal/server/web"
	"github.com/causality-project/causality/proto/gen/causality/catalog/v1/catalogv1connect"
	"github.com/causality-project/causality/proto/gen/causality/insights/v1/insightsv1connect"
	"github.com/causality-project/causality/proto/gen/causality/query/v1/queryv1connect"
)

// answers puts what answers questions on the store.
func (a *App) answers(h *web.Handlers, p parts, seen *catalog.Catalog, store *lake.Lake, engine query.Engine) {
	h.Catalog = catalogv1connect.UnimplementedCatalogServiceHandler{}
	h.Query = queryv1connect.UnimplementedQueryServiceHandler{}
	h.Insights = insightsv1connect.UnimplementedInsightsServiceHandler{}
	h.Lake = lakerpc.New(store, p.apps)
}

// snapshots gives questions the lake's view of an app.
type snapshots struct{ lake *lake.Lake }

func (s snapshots) Snapshot(ctx context.Context, appID string, from, to time.Time) (query.Snapshot, error) {
	found, err := s.lake.Snapshot(ctx, appID, from, to)
	if err != nil {
		return query.Snapshot{}, err
	}
	snapshot := query.Snapshot{
		Version: found.Version, FreshTo: found.FreshTo, Release: found.Release,
		Objects: make([]query.Object, len(found.Objects)),
		Links: query.Links{
			Number: found.Links.Number, ByKey: found.Links.ByKey, Changed: found.Links.Changed, ChangedUsers: found.Links.ChangedUsers,
		},
	}
	for i, object := range found.Objects {
		snapshot.Objects[i] = query.Object{ID: object.ID, Path: object.Path, Rows: object.Rows, Bytes: object.Bytes, LinkNumber: object.LinkNumber}
	}
	return snapshot, nil
}
