package insightsrpc_test

import (
	"context"
	"errors"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"connectrpc.com/connect"
	"google.golang.org/protobuf/encoding/protojson"

	"github.com/causality-project/causality/backend/internal/account/identity"
	"github.com/causality-project/causality/backend/internal/account/tenancy"
	"github.com/causality-project/causality/backend/internal/analysis/insights"
	"github.com/causality-project/causality/backend/internal/analysis/insights/insightsrpc"
	"github.com/causality-project/causality/backend/internal/analysis/query"
	"github.com/causality-project/causality/backend/internal/analysis/query/querytest"
	"github.com/causality-project/causality/backend/internal/platform/fault"
	insightsv1 "github.com/causality-project/causality/proto/gen/causality/insights/v1"
	"github.com/causality-project/causality/proto/gen/causality/insights/v1/insightsv1connect"
)

func TestMain(m *testing.M) { querytest.Main(m) }

// shop is the one app of these tests.
type shop struct{}

func (shop) Get(_ context.Context, idOrName string) (tenancy.App, error) {
	if idOrName != "shop" {
		return tenancy.App{}, fault.New(fault.NotFound, "There is no app %q.", idOrName)
	}
	return tenancy.App{ID: "a", WorkspaceID: "w", Name: "shop", TimeZone: "Europe/Berlin"}, nil
}

func client(t *testing.T) insightsv1connect.InsightsServiceClient {
	t.Helper()
	noon := time.Date(2026, 3, 2, 12, 0, 0, 0, time.UTC)
	object := querytest.Write(t, 0, []querytest.Event{
		{Name: "buy", User: "a", At: noon, Properties: `{"price":10,"plan":"pro"}`}, {Name: "buy", User: "b", At: noon, Properties: `{"price":"20","plan":"free"}`},
		{Name: "visit", User: "a", At: noon},
	})
	service, err := insights.New(insights.Config{Engine: querytest.Pool(t, nil), Source: querytest.Source(query.Snapshot{Objects: []query.Object{object}, FreshTo: noon})})
	if err != nil {
		t.Fatal(err)
	}
	_, handler := insightsv1connect.NewInsightsServiceHandler(insightsrpc.New(service, shop{}))
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		handler.ServeHTTP(w, r.WithContext(identity.WithPrincipal(r.Context(), identity.Principal{Kind: identity.Local, WorkspaceID: "w"})))
	}))
	t.Cleanup(server.Close)
	return insightsv1connect.NewInsightsServiceClient(server.Client(), server.URL)
}

const question = `{
  "appId": "shop", "range": {"from": "2026-03-02", "to": "2026-03-03"}, "granularity": "day",
  "series": [
    {"event": "buy", "measure": "uniqueUsers", "where": {"any": [{"property": "plan", "op": "is", "values": ["pro", "free"]}]}},
    {"event": "buy", "measure": {"property": "price", "agg": "sum"}},
    {"event": "visit", "where": {"did": {"event": "buy", "count": {"op": "gte", "n": 1}}}}
  ],
  "formulas": [{"id": "F", "expr": "B/A"}]
}`

func TestQueryTrendOverTheWire(t *testing.T) {
	t.Parallel()
	c := client(t)
	ask := func(cacheControl, wantCache string) *insightsv1.QueryTrendResponse {
		t.Helper()
		var in insightsv1.QueryTrendRequest
		if err := protojson.Unmarshal([]byte(question), &in); err != nil {
			t.Fatal(err)
		}
		request := connect.NewRequest(&in)
		request.Header().Set("Cache-Control", cacheControl)
		out, err := c.QueryTrend(context.Background(), request)
		if err != nil {
			t.Fatal(err)
		}
		if got := out.Header().Get("X-Cache"); got != wantCache {
			t.Errorf("X-Cache %q, want %q", got, wantCache)
		}
		return out.Msg
	}
	answer := ask("", "miss")
	ask("", "hit")
	ask("no-cache", "miss")
	want := map[string]float64{"A": 2, "B": 30, "C": 1, "F": 15}
	for _, s := range answer.GetSeries() {
		if s.GetTotal() != want[s.GetId()] || len(s.GetPoints()) != 1 || s.GetPoints()[0].GetStart() != "2026-03-02T00:00:00+01:00" || !s.GetPoints()[0].GetComplete() {
			t.Errorf("%s: %v", s.GetId(), s)
		}
	}
	if m := answer.GetMeta(); len(answer.GetSeries()) != 4 || m.GetEngine() != "duckdb" || m.GetScannedRows() != 3 || m.GetTimeZone() != "Europe/Berlin" ||
		m.GetFrom() != "2026-03-02T00:00:00+01:00" || m.GetFreshTo() != "2026-03-02T12:00:00Z" || m.GetSql() == "" {
		t.Errorf("meta %v", m)
	}
}

func TestUnreadableMeasuresAreNamed(t *testing.T) {
	t.Parallel()
	for _, measure := range []string{`5`, `["total"]`, `"property"`, `{"property": "p", "agg": 1}`, `{"property": "p", "of": "sum"}`} {
		var in insightsv1.QueryTrendRequest
		if err := protojson.Unmarshal([]byte(`{"series": [{"measure": `+measure+`}]}`), &in); err != nil {
			t.Fatal(err)
		}
		_, err := insightsrpc.Trend(&in)
		var f *fault.Error
		if !errors.As(err, &f) || len(f.Fields) != 1 || f.Fields[0].Name != "series[0].measure" {
			t.Errorf("%s: %v", measure, err)
		}
	}
}
