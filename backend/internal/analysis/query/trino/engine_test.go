//go:build trino

package trino_test

import (
	"context"
	"strings"
	"testing"
	"time"

	"github.com/causality-project/causality/backend/internal/analysis/query"
	"github.com/causality-project/causality/backend/internal/analysis/query/querytest"
	"github.com/causality-project/causality/backend/internal/analysis/query/trino/trinotest"
	"github.com/causality-project/causality/backend/internal/platform/event"
)

func TestMain(m *testing.M) { querytest.Main(m) }

var noon = time.Date(2026, 3, 29, 12, 0, 0, 0, time.UTC)

// answer runs SQL and writes its rows as lines of cells.
func answer(t *testing.T, engine query.Engine, request query.Request) (string, error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	got, err := query.Collect(ctx, engine, request)
	if err != nil {
		return "", err
	}
	var lines []string
	for _, row := range got.Rows {
		var cells []string
		for _, c := range row {
			if c.Null {
				cells = append(cells, "NULL")
			} else {
				cells = append(cells, c.Text)
			}
		}
		lines = append(lines, strings.Join(cells, "|"))
	}
	return strings.Join(lines, "\n"), nil
}

func run(t *testing.T, engine query.Engine, app, sql string, params ...any) string {
	t.Helper()
	got, err := answer(t, engine, query.Request{Workspace: "w", App: app, Zone: "Europe/Berlin", SQL: sql, Params: params, MaxRows: 10_000})
	if err != nil {
		t.Fatalf("%s: %v", sql, err)
	}
	return got
}

func TestStatementsThatRead(t *testing.T) {
	t.Parallel()
	server := trinotest.Start(t)
	t.Logf("Trino answered its first query after %s", server.StartUp.Round(100*time.Millisecond))
	engine := server.Engine(t, nil)
	app := trinotest.NewApp()
	server.Lake.Add(t, app, []querytest.Event{
		{Name: "a", User: "u1", At: noon, Session: "s", Properties: `{"n":1}`},
		{Name: "b", User: "u1", At: noon.Add(time.Minute), Session: "s"},
		{Name: "$identify", Type: event.Identify, User: "u1", At: noon, Traits: `{"set":{"plan":"pro"}}`},
	}, query.Links{})
	tests := map[string]string{
		"SELECT count(*) FROM events":                       "2",
		"select count(*) from events; -- the end":           "2",
		"/* c */ SELECT event FROM events ORDER BY ts DESC": "b\na",
		"TABLE events":    "",
		"VALUES (1, 'x')": "1|x",
		"WITH x AS (SELECT 1 AS n) SELECT n, n AS n FROM x":                                                                   "1|1",
		"WITH x AS (SELECT count(*) AS n FROM events), Twice AS (SELECT 2 * n AS n FROM X) SELECT n FROM twice":               "4",
		"SELECT n FROM (WITH events AS (SELECT 7 AS n) SELECT n FROM events)":                                                 "7",
		"WITH RECURSIVE r(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM r WHERE n < 3) SELECT sum(n) FROM r":                    "6",
		"WITH RECURSIVE r(n) AS (SELECT count(*) FROM events UNION ALL SELECT n + 1 FROM r WHERE n < 3) SELECT sum(n) FROM r": "5",
		"SELECT seconds, events FROM sessions":                                                                                "60|2",
		"SELECT user_id, events, json_extract_scalar(traits, '$.plan') FROM users":                                            "u1|2|pro",
		"SELECT count(*) FROM groups":                                                                                      "0",
		"SELECT event, row_number() OVER (ORDER BY ts) FROM events ORDER BY 2":                                             "a|1\nb|2",
		"SELECT event FROM events WHERE EXTRACT(minute FROM ts) IS DISTINCT FROM 0":                                        "b",
		"SELECT CAST(json_extract_scalar(properties, '$.n') AS integer) FROM events WHERE event = 'a'":                     "1",
		"SELECT max(ts) FROM events":                                                                                       "2026-03-29T14:01:00+02:00",
		"SELECT date_trunc('day', ts) FROM events LIMIT 1":                                                                 "2026-03-29T00:00:00+01:00",
		"SELECT count(*) FROM events WHERE ts >= TIMESTAMP '2026-03-29 14:01:00' AND ts < TIMESTAMP '2026-03-30 00:00:00'": "1",
		"SELECT u.user_id, count(*) FROM events e JOIN users u ON u.user_key = e.user_key, (VALUES 1) v GROUP BY 1":        "u1|2",
	}
	for sql, want := range tests {
		t.Run(sql, func(t *testing.T) {
			t.Parallel()
			if got := run(t, engine, app, sql); got != want && want != "" {
				t.Errorf("got %q, want %q", got, want)
			}
		})
	}
	if got := run(t, engine, app, "SELECT ?, ? + 1", "it's", 2.0); got != "it's|3" {
		t.Errorf("params: got %q", got)
	}
	if got := run(t, engine, app, "EXPLAIN SELECT count(*) FROM events"); got == "" {
		t.Error("EXPLAIN: no answer")
	}
}
