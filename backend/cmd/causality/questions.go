package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"os"
	"strconv"
	"strings"

	"connectrpc.com/connect"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/structpb"

	insightsv1 "github.com/causality-project/causality/proto/gen/causality/insights/v1"
	queryv1 "github.com/causality-project/causality/proto/gen/causality/query/v1"
)

type queryCommand struct {
	connection
	listing
	App   string   `name:"app" placeholder:"APP" help:"Id or name of the app."`
	Param []string `name:"param" sep:"none" placeholder:"VALUE" help:"Value for ? or $1, in order; may be given again."`
	Limit int32    `name:"limit" placeholder:"N" help:"Rows of a table at most (default: 10,000); csv and json print all."`
	SQL   string   `arg:"" name:"sql" help:"One SELECT over events, users, groups and sessions; - reads it from standard input."`
}

func (c *queryCommand) Run(ctx context.Context, t *terminal) error {
	sql := c.SQL
	if sql == "-" {
		content, err := io.ReadAll(io.LimitReader(t.In, 1<<20))
		if err != nil {
			return fmt.Errorf("read the query: %w", err)
		}
		sql = string(content)
	}
	s, err := c.open(ctx)
	if err != nil {
		return err
	}
	if c.App == "" && c.Server == "" {
		return usagef("which app? Give --app with an id or a name")
	}
	var params []*structpb.Value
	for _, p := range c.Param {
		params = append(params, structpb.NewStringValue(p))
	}
	if c.Format != "table" {
		return export(ctx, s, t.Out, &queryv1.ExportRequest{AppId: c.App, Sql: sql, Params: params, Format: c.Format})
	}
	answer, err := s.query().Run(ctx, connect.NewRequest(&queryv1.RunRequest{AppId: c.App, Sql: sql, Params: params, Limit: c.Limit}))
	if err != nil {
		return err
	}
	list := table{}
	for _, column := range answer.Msg.GetColumns() {
		list.columns = append(list.columns, column.GetName())
		list.right = append(list.right, isNumber(column.GetType()))
	}
	for _, row := range answer.Msg.GetRows() {
		cells := make([]string, len(row.GetValues()))
		for i, value := range row.GetValues() {
			cells[i] = cellText(value)
		}
		list.rows = append(list.rows, cells)
	}
	if err := list.print(t.Out, c.Format); err != nil {
		return err
	}
	if answer.Msg.GetTruncated() {
		t.note("only the first %d rows are shown; --limit raises that, --format csv prints all", len(list.rows))
	}
	return nil
}

type exportCommand struct {
	connection
	App    string `name:"app" required:"" placeholder:"APP" help:"Id or name of the app."`
	Format string `name:"format" default:"csv" enum:"csv,json" help:"csv, or json: one object a line."`
}

func (c *exportCommand) Run(ctx context.Context, t *terminal) error {
	s, err := c.open(ctx)
	if err != nil {
		return err
	}
	return export(ctx, s, t.Out, &queryv1.ExportRequest{AppId: c.App, Sql: "SELECT * FROM events", Format: c.Format})
}

// export prints rows as they come; a failure after the first ones is an error,
// so that a cut file is never taken for whole.
func export(ctx context.Context, s *server, out io.Writer, request *queryv1.ExportRequest) error {
	stream, err := s.query().Export(ctx, connect.NewRequest(request))
	if err != nil {
		return err
	}
	defer func() { _ = stream.Close() }()
	for stream.Receive() {
		if _, err := out.Write(stream.Msg().GetData()); err != nil {
			return fmt.Errorf("write the answer: %w", err)
		}
	}
	return stream.Err()
}

type insightCommand struct {
	connection
	listing
	App  string `name:"app" placeholder:"APP" help:"App of a question that names none."`
	File string `arg:"" help:"JSON with one key, such as {\"trend\": {…}}; - reads standard input."`
}

func (c *insightCommand) Run(ctx context.Context, t *terminal) error {
	content, err := readFile(t.In, c.File)
	if err != nil {
		return err
	}
	var question insightsv1.Question
	if err := protojson.Unmarshal(content, &question); err != nil {
		return usagef("%s is no question: %s", c.File, strings.ReplaceAll(strings.TrimPrefix(err.Error(), "proto:\u00a0"), "proto: ", ""))
	}
	trend := question.GetTrend()
	if trend == nil {
		return usagef("%s asks nothing: it must hold one key, trend", c.File)
	}
	if trend.GetAppId() == "" {
		trend.AppId = c.App
	}
	s, err := c.open(ctx)
	if err != nil {
		return err
	}
	answer, err := s.insights().QueryTrend(ctx, connect.NewRequest(trend))
	if err != nil {
		return err
	}
	if c.Format == "json" {
		return printMessage(t.Out, answer.Msg)
	}
	return trendTable(answer.Msg, trend).print(t.Out, c.Format)
}

func readFile(in io.Reader, path string) ([]byte, error) {
	const most = 1 << 20
	if path != "-" {
		file, err := os.Open(path)
		if err != nil {
			return nil, fmt.Errorf("the question cannot be read: %w", err)
		}
		defer func() { _ = file.Close() }()
		in = file
	}
	content, err := io.ReadAll(io.LimitReader(in, most+1))
	if err != nil {
		return nil, fmt.Errorf("the question cannot be read: %w", err)
	}
	if len(content) > most {
		return nil, errors.New("the question is larger than 1 MiB")
	}
	return content, nil
}

// printMessage prints an answer as the API would, with zeros, indented.
func printMessage(out io.Writer, message proto.Message) error {
	raw, err := protojson.MarshalOptions{EmitDefaultValues: true}.Marshal(message)
	if err != nil {
		return fmt.Errorf("print the answer: %w", err)
	}
	var pretty bytes.Buffer
	if err := json.Indent(&pretty, raw, "", "  "); err != nil {
		return fmt.Errorf("print the answer: %w", err)
	}
	pretty.WriteByte('\n')
	_, err = out.Write(pretty.Bytes())
	return err
}

// trendTable is a row for each point of each series.
func trendTable(answer *insightsv1.QueryTrendResponse, question *insightsv1.QueryTrendRequest) *table {
	list := &table{columns: []string{"series"}}
	for _, breakdown := range question.GetBreakdowns() {
		list.columns = append(list.columns, breakdown.GetProperty())
	}
	list.columns = append(list.columns, "start", "value", "complete")
	list.right = make([]bool, len(list.columns))
	list.right[len(list.columns)-2] = true
	add := func(prefix string, all []*insightsv1.SeriesAnswer) {
		for _, series := range all {
			for _, point := range series.GetPoints() {
				row := []string{prefix + series.GetId()}
				for i := range question.GetBreakdowns() {
					value := ""
					if i < len(series.GetGroup()) {
						value = series.GetGroup()[i]
					}
					row = append(row, value)
				}
				value := ""
				if point.Value != nil {
					value = figure(point.GetValue())
				}
				list.rows = append(list.rows, append(row, point.GetStart(), value, strconv.FormatBool(point.GetComplete())))
			}
		}
	}
	add("", answer.GetSeries())
	add("previous ", answer.GetPrevious().GetSeries())
	return list
}

// figure shows whole numbers in full and others to the 12 digits that sums are
// good for, so that 0.1+0.2 reads 0.3.
func figure(value float64) string {
	if value == math.Trunc(value) {
		return strconv.FormatFloat(value, 'f', -1, 64)
	}
	rounded, _ := strconv.ParseFloat(strconv.FormatFloat(value, 'g', 12, 64), 64) // its own text always parses
	return strconv.FormatFloat(rounded, 'f', -1, 64)
}

// cellText shows a value of a row; missing is empty.
func cellText(value *structpb.Value) string {
	switch kind := value.GetKind().(type) {
	case nil, *structpb.Value_NullValue:
		return ""
	case *structpb.Value_StringValue:
		return kind.StringValue
	case *structpb.Value_NumberValue:
		return strconv.FormatFloat(kind.NumberValue, 'f', -1, 64)
	case *structpb.Value_BoolValue:
		return strconv.FormatBool(kind.BoolValue)
	default:
		raw, err := protojson.Marshal(value)
		if err != nil {
			return ""
		}
		var compact bytes.Buffer
		if json.Compact(&compact, raw) != nil {
			return string(raw)
		}
		return compact.String()
	}
}

func isNumber(kind string) bool {
	kind, _, _ = strings.Cut(strings.ToUpper(kind), "(")
	switch kind {
	case "TINYINT", "SMALLINT", "INTEGER", "BIGINT", "HUGEINT", "UTINYINT", "USMALLINT", "UINTEGER", "UBIGINT", "UHUGEINT", "FLOAT", "DOUBLE", "DECIMAL":
		return true
	default:
		return false
	}
}
