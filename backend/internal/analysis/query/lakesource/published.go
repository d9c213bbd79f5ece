package lakesource

import (
	"context"
	"time"

	"github.com/causality-project/causality/backend/internal/analysis/query"
	"github.com/causality-project/causality/backend/internal/pipeline/lake"
	"github.com/causality-project/causality/backend/internal/platform/fault"
)

// Publication is the part of the lake's publication that questions need.
type Publication interface {
	Instant(ctx context.Context, appID string) (lake.PublishedInstant, error)
}

// Published is a source for engines that read the published tables: its
// snapshots name the state of the tables, and are as fresh as that is.
func Published(source query.Source, publication Publication) query.Source {
	return published{source, publication}
}

type published struct {
	query.Source
	publication Publication
}

func (p published) Snapshot(ctx context.Context, appID string, from, to time.Time) (query.Snapshot, error) {
	// What is published is read first: the manifest may only have moved on since.
	instant, err := p.publication.Instant(ctx, appID)
	if err != nil {
		return query.Snapshot{}, err
	}
	if instant.EventsSnapshot == 0 || instant.LinksSnapshot == 0 {
		return query.Snapshot{}, fault.New(fault.Unavailable,
			"Nothing is published for Trino yet; it takes some seconds after the first start with --publish iceberg. If it stays so, see Health.")
	}
	now := time.Now()
	snapshot, err := p.Source.Snapshot(ctx, appID, from, to)
	if err != nil {
		return query.Snapshot{}, err
	}
	if instant.Version != snapshot.Version {
		// The published state lacks what landed since, and at the time of its commit
		// the stream was about as far behind as it is now.
		if then := instant.At.Add(-now.Sub(snapshot.FreshTo)); then.Before(snapshot.FreshTo) {
			snapshot.FreshTo = then
		}
	}
	snapshot.Version, snapshot.Published = instant.Version, query.Published{Events: instant.EventsSnapshot, Links: instant.LinksSnapshot}
	return snapshot, nil
}
