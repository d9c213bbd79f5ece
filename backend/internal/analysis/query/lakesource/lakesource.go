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
		Version: snapshot.Version, FreshTo: snapshot.FreshTo, Release: snapshot.Release,
		Links: query.Links{
			Number: snapshot.Links.Number, ByKey: snapshot.Links.ByKey, Changed: snapshot.Links.Changed, ChangedUsers: snapshot.Links.ChangedUsers,
		},
	}
	for _, o := range snapshot.Objects {
		out.Objects = append(out.Objects, query.Object{ID: o.ID, Path: o.Path, Rows: o.Rows, Bytes: o.Bytes, LinkNumber: o.LinkNumber})
	}
	return out, nil
}
