package lakerpc

import (
	"context"
	"time"

	"connectrpc.com/connect"

	"github.com/causality-project/causality/backend/internal/account/identity"
	"github.com/causality-project/causality/backend/internal/account/tenancy"
	"github.com/causality-project/causality/backend/internal/pipeline/lake"
	"github.com/causality-project/causality/backend/internal/platform/fault"
	lakev1 "github.com/causality-project/causality/proto/gen/causality/lake/v1"
)

// Erase reports until the receipt is there. The erasure goes on when the caller
// leaves.
func (h *Handler) Erase(ctx context.Context, req *connect.Request[lakev1.EraseRequest], stream *connect.ServerStream[lakev1.EraseResponse]) error {
	if err := identity.RequireManager(ctx, "erase events"); err != nil {
		return err
	}
	app, err := h.apps.Get(ctx, req.Msg.GetAppId())
	if err != nil {
		return err
	}
	request, err := eraseFromProto(req.Msg, app)
	if err != nil {
		return err
	}
	request.By = whoAsks(ctx)
	if req.Msg.GetDryRun() {
		counts, err := h.lake.CountErase(ctx, request)
		if err != nil {
			return err
		}
		return stream.Send(&lakev1.EraseResponse{Done: true, Events: float64(counts.Events), Objects: float64(counts.Objects), Counts: &lakev1.EraseCounts{
			Events: float64(counts.Events), Objects: float64(counts.Objects), Ids: float64(counts.IDs), Links: float64(counts.Links),
			Rejected: float64(counts.Rejected), DeadLetters: float64(counts.DeadLetters), Waiting: float64(counts.Waiting),
		}})
	}
	out := newReporter(stream.Send)
	state, problem := "", ""
	var last lake.Erasure
	receipt, err := h.lake.Erase(ctx, request, func(e lake.Erasure) {
		last = e
		out.send(erasingToProto(&e), e.State != state || e.Problem != problem)
		state, problem = e.State, e.Problem
	})
	if err := out.end(err); err != nil {
		return err
	}
	final := erasingToProto(&last)
	final.Done, final.Receipt = true, receipt
	return stream.Send(final)
}

// whoAsks names the caller in receipts.
func whoAsks(ctx context.Context) string {
	p, _ := identity.FromContext(ctx)
	if p.UserID != "" {
		return "user " + p.UserID
	}
	return "the command line on the server"
}

func eraseFromProto(m *lakev1.EraseRequest, app tenancy.App) (lake.EraseRequest, error) {
	r := lake.EraseRequest{AppID: app.ID, UserID: m.GetUserId(), AnonymousID: m.GetAnonymousId(), Event: m.GetEvent()}
	zone, err := time.LoadLocation(app.TimeZone)
	if err != nil {
		return r, fault.Wrap(err, fault.Internal, "the app's time zone cannot be read")
	}
	var wrong []fault.Field
	read := func(field, text string) time.Time {
		if text == "" {
			return time.Time{}
		}
		if t, err := time.Parse(time.RFC3339Nano, text); err == nil {
			return t.UTC()
		}
		if t, err := time.ParseInLocation(time.DateOnly, text, zone); err == nil {
			return t.UTC()
		}
		wrong = append(wrong, fault.Field{Name: field, Message: "must be a date such as 2026-03-29, or an instant such as 2026-03-29T22:30:00Z"})
		return time.Time{}
	}
	r.From, r.To = read("from", m.GetFrom()), read("to", m.GetTo())
	return r, fault.InvalidFields(wrong)
}

func erasingToProto(e *lake.Erasure) *lakev1.EraseResponse {
	return &lakev1.EraseResponse{ErasureId: e.ID, State: e.State, Objects: float64(e.Objects), Rewritten: float64(e.Rewritten),
		Events: float64(e.Events), Problem: e.Problem}
}

// ListErasures lists an app's, or the workspace's.
func (h *Handler) ListErasures(ctx context.Context, req *connect.Request[lakev1.ListErasuresRequest]) (*connect.Response[lakev1.ListErasuresResponse], error) {
	app, err := h.app(ctx, "see erasures", req.Msg.GetAppId())
	if err != nil {
		return nil, err
	}
	all, err := h.lake.Erasures(ctx, app)
	if err != nil {
		return nil, err
	}
	res := &lakev1.ListErasuresResponse{}
	for i := range all {
		e := &all[i]
		res.Erasures = append(res.Erasures, &lakev1.Erasure{Id: e.ID, AppId: e.AppID, State: e.State, RequestedBy: e.RequestedBy,
			RequestedAt: instant(e.RequestedAt), FinishedAt: instant(e.FinishedAt), UserHashes: e.UserHashes, Event: e.Event,
			From: instant(e.From), To: instant(e.To), Events: float64(e.Events), Problem: e.Problem})
	}
	return connect.NewResponse(res), nil
}

// GetReceipt returns a receipt as it was stored.
func (h *Handler) GetReceipt(ctx context.Context, req *connect.Request[lakev1.GetReceiptRequest]) (*connect.Response[lakev1.GetReceiptResponse], error) {
	if err := identity.RequireManager(ctx, "see receipts of erasures"); err != nil {
		return nil, err
	}
	receipt, err := h.lake.Receipt(ctx, req.Msg.GetId())
	if err != nil {
		return nil, err
	}
	return connect.NewResponse(&lakev1.GetReceiptResponse{Receipt: receipt}), nil
}

// operates reports whether the caller looks after the whole installation.
func operates(ctx context.Context) bool {
	p, ok := identity.FromContext(ctx)
	return ok && p.Kind == identity.Local
}

// ListDeadLetters lists the workspace's.
func (h *Handler) ListDeadLetters(ctx context.Context, _ *connect.Request[lakev1.ListDeadLettersRequest]) (*connect.Response[lakev1.ListDeadLettersResponse], error) {
	if err := identity.RequireManager(ctx, "see dead letters"); err != nil {
		return nil, err
	}
	letters, more, err := h.lake.DeadLetters(ctx, operates(ctx))
	if err != nil {
		return nil, err
	}
	res := &lakev1.ListDeadLettersResponse{More: more}
	for i := range letters {
		letter := &letters[i]
		res.DeadLetters = append(res.DeadLetters, &lakev1.DeadLetter{Number: float64(letter.Number), AppId: letter.AppID, Lane: letter.Lane,
			SetAsideAt: instant(letter.SetAsideAt), Events: float64(letter.Events), Bytes: float64(letter.Bytes), Reason: letter.Reason})
	}
	return connect.NewResponse(res), nil
}

// ReplayDeadLetters returns when what was replayed has landed.
func (h *Handler) ReplayDeadLetters(ctx context.Context, req *connect.Request[lakev1.ReplayDeadLettersRequest]) (*connect.Response[lakev1.ReplayDeadLettersResponse], error) {
	if err := identity.RequireManager(ctx, "replay dead letters"); err != nil {
		return nil, err
	}
	numbers, err := numbersOf(req.Msg.GetNumbers())
	if err != nil {
		return nil, err
	}
	done, err := h.lake.ReplayDeadLetters(ctx, operates(ctx), numbers)
	if err != nil {
		return nil, err
	}
	return connect.NewResponse(&lakev1.ReplayDeadLettersResponse{Replayed: float64(done.Letters), Events: float64(done.Events), Unreadable: float64(done.Unreadable)}), nil
}

// DropDeadLetters deletes events that were accepted.
func (h *Handler) DropDeadLetters(ctx context.Context, req *connect.Request[lakev1.DropDeadLettersRequest]) (*connect.Response[lakev1.DropDeadLettersResponse], error) {
	if err := identity.RequireManager(ctx, "drop dead letters"); err != nil {
		return nil, err
	}
	numbers, err := numbersOf(req.Msg.GetNumbers())
	if err != nil {
		return nil, err
	}
	letters, events, err := h.lake.DropDeadLetters(ctx, operates(ctx), numbers)
	if err != nil {
		return nil, err
	}
	return connect.NewResponse(&lakev1.DropDeadLettersResponse{Dropped: float64(letters), Events: float64(events)}), nil
}

// numbersOf refuses what is no number of a letter: one that is nearly another's
// must not drop that.
func numbersOf(numbers []float64) ([]uint64, error) {
	out := make([]uint64, len(numbers))
	for i, n := range numbers {
		if out[i] = uint64(max(n, 0)); n < 1 || n > 1<<53 || float64(out[i]) != n {
			return nil, fault.InvalidField("numbers", "%v is no number of a dead letter; list them with: causality lake dead-letters list", n)
		}
	}
	return out, nil
}

func instant(t time.Time) string {
	if t.IsZero() {
		return ""
	}
	return t.UTC().Format(time.RFC3339Nano)
}
