// Package insightsrpc serves InsightsService: it translates questions, asks the
// insights room and translates the answers back.
package insightsrpc

import (
	"context"
	"strconv"
	"strings"
	"time"

	"connectrpc.com/connect"
	"google.golang.org/protobuf/types/known/structpb"

	"github.com/causality-project/causality/backend/internal/account/identity"
	"github.com/causality-project/causality/backend/internal/account/tenancy"
	"github.com/causality-project/causality/backend/internal/analysis/insights"
	"github.com/causality-project/causality/backend/internal/analysis/query"
	"github.com/causality-project/causality/backend/internal/platform/calendar"
	"github.com/causality-project/causality/backend/internal/platform/fault"
	insightsv1 "github.com/causality-project/causality/proto/gen/causality/insights/v1"
)

// Apps finds an app of the caller's workspace.
type Apps interface {
	Get(ctx context.Context, idOrName string) (tenancy.App, error)
}

// Trends answers trends.
type Trends interface {
	Trend(ctx context.Context, app query.App, spec insights.Trend, fresh bool) (*insights.TrendAnswer, error)
}

// Handler implements InsightsService.
type Handler struct {
	trends Trends
	apps   Apps
}

// New returns a handler.
func New(trends Trends, apps Apps) *Handler { return &Handler{trends, apps} }

// QueryTrend answers a trend. The header X-Cache says whether it was kept from
// before; Cache-Control: no-cache computes it anew.
func (h *Handler) QueryTrend(ctx context.Context, req *connect.Request[insightsv1.QueryTrendRequest]) (*connect.Response[insightsv1.QueryTrendResponse], error) {
	app, err := identity.App(ctx, h.apps, req.Msg.GetAppId())
	if err != nil {
		return nil, err
	}
	spec, err := Trend(req.Msg)
	if err != nil {
		return nil, err
	}
	fresh := strings.Contains(strings.ToLower(req.Header().Get("Cache-Control")), "no-cache")
	answer, err := h.trends.Trend(ctx, query.App{ID: app.ID, WorkspaceID: app.WorkspaceID, Name: app.Name, TimeZone: app.TimeZone}, spec, fresh)
	if err != nil {
		return nil, err
	}
	out := connect.NewResponse(answerToProto(answer))
	cached := "miss"
	if answer.Meta.Cached {
		cached = "hit"
	}
	out.Header().Set("X-Cache", cached)
	return out, nil
}

// Trend reads the wire form of a trend; what it cannot mean is an Invalid fault.
func Trend(in *insightsv1.QueryTrendRequest) (insights.Trend, error) {
	t := insights.Trend{
		Range: calendar.Range{
			From: in.GetRange().GetFrom(), To: in.GetRange().GetTo(), Last: in.GetRange().GetLast(), Complete: in.GetRange().GetComplete(),
		},
		TimeZone: in.GetTimeZone(), Granularity: in.GetGranularity(), WeekStart: in.GetWeekStart(), Where: filter(in.GetWhere()),
		Top: int(in.GetTop()), Compare: in.GetCompare(), Cumulative: in.GetCumulative(), Rolling: int(in.GetRolling()),
	}
	for _, b := range in.GetBreakdowns() {
		t.Breakdowns = append(t.Breakdowns, insights.Breakdown{Property: b.GetProperty(), Source: b.GetSource()})
	}
	var fields []fault.Field
	for i, s := range in.GetSeries() {
		m, ok := measure(s.GetMeasure())
		if !ok {
			fields = append(fields, fault.Field{Name: "series[" + strconv.Itoa(i) + "].measure", Message: `must be a name such as "uniqueUsers", or {"property": …, "agg": …}`})
		}
		t.Series = append(t.Series, insights.Series{ID: s.GetId(), Event: s.GetEvent(), Measure: m, Where: filter(s.GetWhere())})
	}
	for _, f := range in.GetFormulas() {
		t.Formulas = append(t.Formulas, insights.Formula{ID: f.GetId(), Expr: f.GetExpr()})
	}
	return t, fault.InvalidFields(fields)
}

func measure(v *structpb.Value) (insights.Measure, bool) {
	switch kind := v.GetKind().(type) {
	case nil, *structpb.Value_NullValue:
		return insights.Measure{}, true
	case *structpb.Value_StringValue:
		return insights.Measure{Kind: kind.StringValue}, kind.StringValue != "property"
	case *structpb.Value_StructValue:
		m := insights.Measure{Kind: "property"}
		for name, field := range kind.StructValue.GetFields() {
			text, ok := field.GetKind().(*structpb.Value_StringValue)
			switch {
			case ok && name == "property":
				m.Property = text.StringValue
			case ok && name == "agg":
				m.Agg = text.StringValue
			default:
				return m, false
			}
		}
		return m, true
	}
	return insights.Measure{}, false
}

func filter(in *insightsv1.Filter) *insights.Filter {
	if in == nil {
		return nil
	}
	f := &insights.Filter{
		Property: in.GetProperty(), Source: in.GetSource(), Op: in.GetOp(), CaseSensitive: in.GetCaseSensitive(), Cohort: in.GetCohort(), Not: in.GetNot(),
	}
	for _, child := range in.GetAll() {
		f.All = append(f.All, *filter(child))
	}
	for _, child := range in.GetAny() {
		f.Any = append(f.Any, *filter(child))
	}
	for _, v := range in.GetValues() {
		f.Values = append(f.Values, v.AsInterface())
	}
	if d := in.GetDid(); d != nil {
		f.Did = &insights.Did{Event: d.GetEvent(), Where: filter(d.GetWhere()), In: d.GetIn()}
		if c := d.GetCount(); c != nil {
			f.Did.Op, f.Did.N = c.GetOp(), int(c.GetN())
			if f.Did.Op == "" {
				f.Did.Op = "gte"
			}
		}
	}
	return f
}

func answerToProto(a *insights.TrendAnswer) *insightsv1.QueryTrendResponse {
	out := &insightsv1.QueryTrendResponse{Series: seriesToProto(a.Series), Meta: &insightsv1.Meta{
		FreshTo: timeText(a.Meta.FreshTo.UTC()), ScannedRows: float64(a.Meta.ScannedRows), ScannedBytes: float64(a.Meta.ScannedBytes), Engine: a.Meta.Engine,
		Seconds: a.Meta.Elapsed.Seconds(), Cached: a.Meta.Cached, Sql: a.Meta.SQL, Skipped: float64(a.Meta.Skipped), Missing: float64(a.Meta.Missing),
		GroupsTotal: int32(a.Meta.GroupsTotal), From: timeText(a.Meta.From), To: timeText(a.Meta.To), TimeZone: a.Meta.TimeZone,
	}}
	if a.Previous != nil {
		out.Previous = &insightsv1.PreviousTrend{Series: seriesToProto(a.Previous)}
	}
	return out
}

func seriesToProto(in []insights.AnswerSeries) []*insightsv1.SeriesAnswer {
	out := make([]*insightsv1.SeriesAnswer, len(in))
	for i, s := range in {
		points := make([]*insightsv1.Point, len(s.Points))
		for j, p := range s.Points {
			points[j] = &insightsv1.Point{Start: timeText(p.Start), Value: p.Value, Complete: p.Complete}
		}
		out[i] = &insightsv1.SeriesAnswer{Id: s.ID, Group: s.Group, Total: s.Total, Points: points, Other: s.Other}
	}
	return out
}

func timeText(t time.Time) string {
	if t.IsZero() {
		return ""
	}
	return t.Format(time.RFC3339Nano)
}
