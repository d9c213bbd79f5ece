package query_test

import (
	"context"
	"strings"
	"testing"
	"time"

	"github.com/causality-project/causality/backend/internal/analysis/query"
	"github.com/causality-project/causality/backend/internal/analysis/query/querytest"
	"github.com/causality-project/causality/backend/internal/platform/event"
)

func TestMain(m *testing.M) { querytest.Main(m) }

var noon = time.Date(2026, 3, 29, 12, 0, 0, 0, time.UTC)

func run(t *testing.T, service *query.Service, sql string, params ...any) string {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	answer, err := service.Run(ctx, query.App{ID: "a", WorkspaceID: "w", TimeZone: "Europe/Berlin"}, sql, params, 0)
	if err != nil {
		t.Fatalf("%s: %v", sql, err)
	}
	var lines []string
	for _, row := range answer.Rows {
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
	return strings.Join(lines, "\n")
}

func TestValuesKeepTheirText(t *testing.T) {
	t.Parallel()
	service := query.New(querytest.Pool(t, nil), querytest.Source{})
	tests := map[string]string{
		`'00001'`: "00001",
		`170141183460469231731687303715884105727::HUGEINT`: "170141183460469231731687303715884105727",
		`1.10::DECIMAL(9,2)`:                 "1.10",
		`0.1::DOUBLE`:                        "0.1",
		`1e300::DOUBLE`:                      "1e+300",
		`'nan'::DOUBLE`:                      "NaN",
		`9007199254740993`:                   "9007199254740993",
		`NULL`:                               "NULL",
		`''`:                                 "",
		`TIMESTAMPTZ '2026-03-29 00:59:59Z'`: "2026-03-29T01:59:59+01:00",
		`TIMESTAMPTZ '2026-03-29 01:00:00.000001Z'`:          "2026-03-29T03:00:00.000001+02:00",
		`TIMESTAMP '2026-03-29 01:00:00'`:                    "2026-03-29T01:00:00",
		`DATE '2026-03-29'`:                                  "2026-03-29",
		`TIME '01:02:03'`:                                    "01:02:03",
		`INTERVAL 3 DAY`:                                     "3 days",
		`'0197f1a0-0000-7000-8000-000000000001'::UUID`:       "0197f1a0-0000-7000-8000-000000000001",
		`[1, NULL, 3]`:                                       "[1,null,3]",
		`{'a': 'x', 'b': [true]}`:                            `{"a":"x","b":[true]}`,
		`MAP {'k': 1}`:                                       `{"k":1}`,
		`'\xDE\xAD'::BLOB`:                                   `\xdead`,
		`'{"n": 5.0, "big": 12345678901234567890123}'::JSON`: `{"n": 5.0, "big": 12345678901234567890123}`,
		`true`:  "true",
		`'é😀"'`: `é😀"`,
	}
	for expression, want := range tests {
		t.Run(expression, func(t *testing.T) {
			t.Parallel()
			if got := run(t, service, "SELECT "+expression); got != want {
				t.Errorf("got %q, want %q", got, want)
			}
		})
	}
}

func TestStatementsThatRead(t *testing.T) {
	t.Parallel()
	object := querytest.Write(t, 0, []querytest.Event{
		{Name: "a", User: "u1", At: noon, Session: "s", Properties: `{"n":1}`},
		{Name: "b", User: "u1", At: noon.Add(time.Minute), Session: "s"},
		{Name: "$identify", Type: event.Identify, User: "u1", At: noon, Traits: `{"set":{"plan":"pro"}}`},
	})
	service := query.New(querytest.Pool(t, nil), querytest.Source{Objects: []query.Object{object}})
	tests := map[string]string{
		"SELECT count(*) FROM events":                         "2",
		"select count(*) from events; -- the end":             "2",
		"/* c */ FROM events SELECT event ORDER BY ts DESC":   "b\na",
		"VALUES (1, 'x')":                                     "1|x",
		"WITH x AS (SELECT 1 AS n) SELECT n, n AS n FROM x":   "1|1",
		"WITH events AS (SELECT 7 AS n) SELECT n FROM events": "7",
		"WITH events AS (SELECT count(*) AS n FROM events), Twice AS (SELECT 2 * n AS n FROM EVENTS) SELECT n FROM twice": "4",
		"WITH a AS (WITH b AS (SELECT 3 AS n) FROM b), c AS (FROM a) SELECT n + (SELECT n FROM a) FROM c":                 "6",
		"WITH RECURSIVE r(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM r WHERE n < 3) SELECT sum(n) FROM r":                "6",
		"SELECT seconds, events FROM sessions":                                                               "60|2",
		"SELECT user_id, events, traits->>'plan' FROM users":                                                 "u1|2|pro",
		"SELECT count(*) FROM groups":                                                                        "0",
		"SELECT column_name FROM (DESCRIBE events) LIMIT 1":                                                  "seq",
		"SELECT event, row_number() OVER (ORDER BY ts) FROM events QUALIFY 1 = 1 ORDER BY 2":                 "a|1\nb|2",
		"SELECT list_transform([1, 2], lambda x: x + 1)":                                                     "[2,3]",
		"SELECT * FROM range(2)":                                                                             "0\n1",
		"SELECT (properties->>'n')::int FROM events WHERE event = 'a'":                                       "1",
		"SELECT max(ts) FROM events":                                                                         "2026-03-29T14:01:00+02:00",
		"SELECT count(*) FROM events WHERE ts >= TIMESTAMPTZ '2026-03-29' AND ts < TIMESTAMPTZ '2026-03-30'": "2",
		"SELECT $$a;b$$": "a;b",
	}
	for sql, want := range tests {
		t.Run(sql, func(t *testing.T) {
			t.Parallel()
			if got := run(t, service, sql); got != want {
				t.Errorf("got %q, want %q", got, want)
			}
		})
	}
	if got := run(t, service, "SELECT ?, $2", "x", 2.0); got != "x|2" {
		t.Errorf("params: got %q", got)
	}
	for _, sql := range []string{"EXPLAIN SELECT count(*) FROM events", "DESCRIBE SELECT 1", "SUMMARIZE events", "DESCRIBE users"} {
		if got := run(t, service, sql); got == "" {
			t.Errorf("%s: no answer", sql)
		}
	}
}
