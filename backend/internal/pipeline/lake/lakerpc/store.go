package lakerpc

import (
	"context"

	"connectrpc.com/connect"

	"github.com/causality-project/causality/backend/internal/account/identity"
	"github.com/causality-project/causality/backend/internal/pipeline/lake"
	"github.com/causality-project/causality/backend/internal/platform/fault"
	lakev1 "github.com/causality-project/causality/proto/gen/causality/lake/v1"
)

const maxCollected = 10_000 // objects named in one answer

// Collect deletes garbage and orphans.
func (h *Handler) Collect(ctx context.Context, req *connect.Request[lakev1.CollectRequest]) (*connect.Response[lakev1.CollectResponse], error) {
	app, err := h.app(ctx, "collect garbage", req.Msg.GetAppId())
	if err != nil {
		return nil, err
	}
	res := &lakev1.CollectResponse{}
	err = h.lake.Collect(ctx, app, req.Msg.GetDryRun(), func(c lake.Collected) {
		if c.Deleted {
			res.Deleted++
			res.DeletedBytes += float64(c.Bytes)
		} else {
			res.Kept++
		}
		if len(res.Objects) < maxCollected {
			res.Objects = append(res.Objects, &lakev1.Collected{Key: c.Key, Bytes: float64(c.Bytes), Deleted: c.Deleted, Why: c.Why})
		}
	})
	if err != nil {
		return nil, err
	}
	return connect.NewResponse(res), nil
}

// Stats describes each app.
func (h *Handler) Stats(ctx context.Context, req *connect.Request[lakev1.StatsRequest]) (*connect.Response[lakev1.StatsResponse], error) {
	app, err := h.app(ctx, "see the store's statistics", req.Msg.GetAppId())
	if err != nil {
		return nil, err
	}
	all, err := h.lake.Stats(ctx, app)
	if err != nil {
		return nil, err
	}
	res := &lakev1.StatsResponse{}
	for i := range all {
		named, err := h.apps.Get(ctx, all[i].AppID)
		if err != nil {
			return nil, err
		}
		stats := statsToProto(&all[i])
		stats.AppName = named.Name
		res.Apps = append(res.Apps, stats)
	}
	return connect.NewResponse(res), nil
}

func statsToProto(s *lake.AppStats) *lakev1.AppStats {
	out := &lakev1.AppStats{
		AppId: s.AppID, Events: float64(s.Events), LooseObjects: float64(s.LooseObjects), LooseBytes: float64(s.LooseBytes),
		SettledObjects: float64(s.SettledObjects), SettledBytes: float64(s.SettledBytes), OldestEvent: instant(s.Oldest), NewestEvent: instant(s.Newest),
		GarbageObjects: float64(s.Garbage), OrphanObjects: float64(s.Orphans), OrphanBytes: float64(s.OrphanBytes), WrittenPerEvent: s.WrittenPerEvent,
		Erased: float64(s.Erased), ErasedLate: float64(s.ErasedLate), Expired: float64(s.Expired), ErasedIds: float64(s.ErasedIDs),
		WaitingErasures: float64(s.WaitingErasures),
	}
	for i := range s.Objects {
		o := &s.Objects[i]
		out.Objects = append(out.Objects, &lakev1.ObjectStats{Kind: o.Kind, Level: int32(o.Level), Objects: float64(o.Objects), Rows: float64(o.Rows),
			Bytes: float64(o.Bytes), Oldest: instant(o.Oldest), Newest: instant(o.Newest)})
	}
	if r := s.Retention; r != nil {
		out.Retention = &lakev1.RetentionStats{Days: int32(r.Days), LastRun: instant(r.LastRun), Limit: instant(r.Limit), DroppedObjects: float64(r.Dropped),
			RewrittenObjects: float64(r.Rewritten), RemovedEvents: float64(r.Rows), Problem: r.Problem}
	}
	return out
}

// Publish makes the published tables anew.
func (h *Handler) Publish(ctx context.Context, req *connect.Request[lakev1.PublishRequest], stream *connect.ServerStream[lakev1.PublishResponse]) error {
	if err := identity.RequireManager(ctx, "publish the store"); err != nil {
		return err
	}
	if !req.Msg.GetRebuild() {
		return fault.InvalidField("rebuild", "must be true: publishing goes on by itself, and can only be begun anew")
	}
	if err := h.lake.Republish(ctx); err != nil {
		return err
	}
	return stream.Send(&lakev1.PublishResponse{Done: true})
}
