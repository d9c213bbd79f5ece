// Package lakesource lets questions read the lake: it turns the lake's snapshots
// into what the query room asks of any source.
package lakesource

import (
	"context"
	"time"

	"github.com/causality-project/causality/backend/internal/analysis/query"
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
			out.Objects[i].Projections = append(out.Objects[i].Projections, query.Projection{Kind: p.Kind, Path: p.Path, Rows: p.Rows, Bytes: p.Bytes, Zone: p.Zone})
		}
	}
	return out, nil
}
