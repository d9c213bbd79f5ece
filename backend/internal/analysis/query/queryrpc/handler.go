// Package queryrpc serves QueryService: it translates requests, calls the query
// room and translates back.
package queryrpc

import (
	"cmp"
	"context"
	"math"
	"strconv"
	"time"

	"connectrpc.com/connect"
	"google.golang.org/protobuf/types/known/structpb"

	"github.com/causality-project/causality/backend/internal/account/identity"
	"github.com/causality-project/causality/backend/internal/account/tenancy"
	"github.com/causality-project/causality/backend/internal/analysis/query"
	"github.com/causality-project/causality/backend/internal/platform/fault"
	insightsv1 "github.com/causality-project/causality/proto/gen/causality/insights/v1"
	queryv1 "github.com/causality-project/causality/proto/gen/causality/query/v1"
)

// Apps finds an app of the caller's workspace.
type Apps interface {
	Get(ctx context.Context, idOrName string) (tenancy.App, error)
}

// Queries is the part of the query room that this handler calls.
type Queries interface {
	Run(ctx context.Context, app query.App, sql string, params []any, limit int) (*query.Answer, error)
	Export(ctx context.Context, app query.App, sql string, params []any, sink query.Sink) error
	Schema(ctx context.Context, app query.App) ([]query.TableInfo, error)
}

// Handler implements QueryService.
type Handler struct {
	queries Queries
	apps    Apps
	engine  string
}

// New returns a handler. engine is what answers say that ran them: duckdb (the
// default) or trino.
func New(queries Queries, apps Apps, engine string) *Handler {
	return &Handler{queries, apps, cmp.Or(engine, "duckdb")}
}

func (h *Handler) app(ctx context.Context, idOrName string) (query.App, error) {
	app, err := identity.App(ctx, h.apps, idOrName)
	return query.App{ID: app.ID, WorkspaceID: app.WorkspaceID, Name: app.Name, TimeZone: app.TimeZone}, err
}

// Run answers one SELECT.
func (h *Handler) Run(ctx context.Context, req *connect.Request[queryv1.RunRequest]) (*connect.Response[queryv1.RunResponse], error) {
	app, err := h.app(ctx, req.Msg.GetAppId())
	if err != nil {
		return nil, err
	}
	params, err := paramsOf(req.Msg.GetParams())
	if err != nil {
		return nil, err
	}
	answer, err := h.queries.Run(ctx, app, req.Msg.GetSql(), params, int(req.Msg.GetLimit()))
	if err != nil {
		return nil, err
	}
	out := &queryv1.RunResponse{
		Truncated: answer.Truncated,
		Meta: &insightsv1.Meta{
			FreshTo: timeText(answer.Meta.FreshTo), ScannedRows: float64(answer.Meta.ScannedRows), ScannedBytes: float64(answer.Meta.ScannedBytes),
			Engine: h.engine, Seconds: answer.Meta.Elapsed.Seconds(), Sql: req.Msg.GetSql(), TimeZone: app.TimeZone,
		},
	}
	for _, c := range answer.Columns {
		out.Columns = append(out.Columns, &queryv1.Column{Name: c.Name, Type: c.Type})
	}
	for _, row := range answer.Rows {
		list := &structpb.ListValue{Values: make([]*structpb.Value, len(row))}
		for i, cell := range row {
			list.Values[i] = value(cell, answer.Columns[i].Type)
		}
		out.Rows = append(out.Rows, list)
	}
	return connect.NewResponse(out), nil
}

// Export streams every row as text.
func (h *Handler) Export(ctx context.Context, req *connect.Request[queryv1.ExportRequest], stream *connect.ServerStream[queryv1.ExportResponse]) error {
	app, err := h.app(ctx, req.Msg.GetAppId())
	if err != nil {
		return err
	}
	params, err := paramsOf(req.Msg.GetParams())
	if err != nil {
		return err
	}
	sink, err := newWriter(req.Msg.GetFormat(), func(data []byte) error {
		return stream.Send(&queryv1.ExportResponse{Data: data})
	})
	if err != nil {
		return err
	}
	if err := h.queries.Export(ctx, app, req.Msg.GetSql(), params, sink); err != nil {
		return err
	}
	return sink.flush()
}

// Schema lists the tables.
func (h *Handler) Schema(ctx context.Context, req *connect.Request[queryv1.SchemaRequest]) (*connect.Response[queryv1.SchemaResponse], error) {
	app, err := h.app(ctx, req.Msg.GetAppId())
	if err != nil {
		return nil, err
	}
	tables, err := h.queries.Schema(ctx, app)
	if err != nil {
		return nil, err
	}
	out := &queryv1.SchemaResponse{}
	for _, t := range tables {
		table := &queryv1.Table{Name: t.Name, Description: t.Description}
		for _, c := range t.Columns {
			table.Columns = append(table.Columns, &queryv1.TableColumn{Name: c.Name, Type: c.Type, Description: c.Description})
		}
		out.Tables = append(out.Tables, table)
	}
	return connect.NewResponse(out), nil
}

func paramsOf(values []*structpb.Value) ([]any, error) {
	out := make([]any, len(values))
	for i, v := range values {
		switch v.GetKind().(type) {
		case *structpb.Value_ListValue, *structpb.Value_StructValue:
			return nil, fault.InvalidField("params["+strconv.Itoa(i)+"]", "must be text, a number, true, false or null")
		}
		out[i] = v.AsInterface()
	}
	return out, nil
}

// exactNumber is the largest whole number up to which JSON readers are exact.
const exactNumber = 1 << 53

// numeric reports whether a cell is written as a JSON number; what would lose
// digits stays text.
func numeric(cell query.Cell, typ string) (float64, bool) {
	switch typ {
	case "TINYINT", "SMALLINT", "INTEGER", "BIGINT", "UTINYINT", "USMALLINT", "UINTEGER", "UBIGINT", "HUGEINT", "UHUGEINT":
		f, err := strconv.ParseFloat(cell.Text, 64)
		return f, err == nil && math.Abs(f) < exactNumber
	case "FLOAT", "DOUBLE":
		f, err := strconv.ParseFloat(cell.Text, 64)
		return f, err == nil && !math.IsNaN(f) && !math.IsInf(f, 0)
	}
	return 0, false
}

func value(cell query.Cell, typ string) *structpb.Value {
	if cell.Null {
		return structpb.NewNullValue()
	}
	if f, ok := numeric(cell, typ); ok {
		return structpb.NewNumberValue(f)
	}
	if typ == "BOOLEAN" {
		return structpb.NewBoolValue(cell.Text == "true")
	}
	return structpb.NewStringValue(cell.Text)
}

func timeText(t time.Time) string {
	if t.IsZero() {
		return ""
	}
	return t.UTC().Format(time.RFC3339Nano)
}
