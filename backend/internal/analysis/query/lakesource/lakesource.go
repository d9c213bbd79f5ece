// Package lakesource lets questions read the lake: it turns the lake's snapshots
// into what the query room asks of any source.
package lakesource

import (
	"context"
	"time"

	"github.com/causality-project/causality/backend/internal/analysis/query"
	"github.com/causality-project/causality/backend/internal/pipeline/catalog"
	"github.com/causality-project/causality/backend/internal/pipeline/lake"
)

// Lake is the part of the lake that questions need.
type Lake interface {
	Snapshot(ctx context.Context, appID string, from, to time.Time) (*lake.Snapshot, error)
}

// New returns a source over the lake.
func New(l Lake) query.Source { return source{l} }

type source struct{ lake Lake }

func (s source) Snapshot(ctx context.Context, appID string, from, to time.Time) (query.Snapshot, error) {
	snapshot, err := s.lake.Snapshot(ctx, appID, from, to)
	if err != nil {
		return query.Snapshot{}, err
	}
	out := query.Snapshot{
		Version: snapshot.Version, FreshTo: snapshot.FreshTo, Load: snapshot.Load, Release: snapshot.Release,
		Links: query.Links{
			Number: snapshot.Links.Number, ByKey: snapshot.Links.ByKey, Changed: snapshot.Links.Changed, ChangedUsers: snapshot.Links.ChangedUsers,
		},
	}
	out.Objects = make([]query.Object, len(snapshot.Objects))
	for i := range snapshot.Objects {
		o := &snapshot.Objects[i]
		out.Objects[i] = query.Object{ID: o.ID, Path: o.Path, Rows: o.Rows, Bytes: o.Bytes, LinkNumber: o.LinkNumber, MinTS: o.MinTS, MaxTS: o.MaxTS, Columns: o.Columns}
		for _, p := range o.Projections {
			out.Objects[i].Projections = append(out.Objects[i].Projections, query.Projection{Kind: p.Kind, Path: p.Path, Rows: p.Rows, Bytes: p.Bytes, Zone: p.Zone, Columns: p.Columns})
		}
	}
	return out, nil
}

// Promotions is the part of the catalog that questions need.
type Promotions interface {
	Promotions(ctx context.Context, appID string) ([]catalog.Promotion, error)
}

// Promoted is a source whose snapshots tell the app's promoted properties.
func Promoted(source query.Source, promotions Promotions) query.Source {
	return promoted{source, promotions}
}

type promoted struct {
	query.Source
	promotions Promotions
}

var _ query.Promoter = promoted{}

func (p promoted) Snapshot(ctx context.Context, appID string, from, to time.Time) (query.Snapshot, error) {
	list, err := p.Promoted(ctx, appID)
	if err != nil {
		return query.Snapshot{}, err
	}
	snapshot, err := p.Source.Snapshot(ctx, appID, from, to)
	snapshot.Promoted = list
	return snapshot, err
}

// Promoted implements query.Promoter.
func (p promoted) Promoted(ctx context.Context, appID string) ([]query.Promoted, error) {
	list, err := p.promotions.Promotions(ctx, appID)
	if err != nil {
		return nil, err
	}
	out := make([]query.Promoted, len(list))
	for i, promotion := range list {
		out[i] = query.Promoted{Name: promotion.Name, Number: promotion.Kind == catalog.Number}
	}
	return out, nil
}
