// Command trend measures the daily trend by event over 20 million events: this
// platform's own path (insights, the sandboxed DuckDB child) against ClickHouse
// (chdb) reading the same Parquet files in the same run. It prints one JSON list
// of {name, value, unit, peer, peerValue, ratio}; progress goes to stderr.
//
//	go run ./bench/trend --python .cache/bench/bin/python
//
// Without a Python that has chdb it prints its own figures alone.
package main

import (
	"cmp"
	"context"
	"database/sql"
	"encoding/json"
	"flag"
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"time"

	duck "github.com/duckdb/duckdb-go/v2"

	"github.com/causality-project/causality/backend/internal/analysis/insights"
	"github.com/causality-project/causality/backend/internal/analysis/query"
	"github.com/causality-project/causality/backend/internal/analysis/query/duckdb"
	"github.com/causality-project/causality/backend/internal/platform/calendar"
)

func main() {
	if len(os.Args) > 1 && os.Args[1] == "duckdb-worker" {
		os.Exit(duckdb.WorkerMain(os.Stdin, os.Stdout))
	}
	var b bench
	flag.StringVar(&b.dir, "dir", "", "keeps the files between runs; default: a temporary directory")
	flag.StringVar(&b.python, "python", "python3", "a Python with chdb")
	flag.Int64Var(&b.rows, "rows", 20_000_000, "events")
	flag.IntVar(&b.runs, "runs", 5, "runs of each question; the best counts")
	flag.Parse()
	if err := b.run(context.Background()); err != nil {
		fmt.Fprintln(os.Stderr, "trend:", err)
		os.Exit(1)
	}
}

type bench struct {
	dir, python string
	rows        int64
	runs        int
}

type result struct {
	Name      string  `json:"name"`
	Value     float64 `json:"value"`
	Unit      string  `json:"unit"`
	Peer      string  `json:"peer,omitempty"`
	PeerValue float64 `json:"peerValue,omitempty"`
	Ratio     float64 `json:"ratio,omitempty"`
	AtLeast   float64 `json:"atLeast,omitempty"`
	Aim       float64 `json:"aim,omitempty"`
}

const (
	files = 16
	days  = 60
)

func (b *bench) run(ctx context.Context) (err error) {
	if b.dir == "" {
		if b.dir, err = os.MkdirTemp("", "causality-trend-"); err != nil {
			return err
		}
		defer os.RemoveAll(b.dir)
		if err := os.Chmod(b.dir, 0o755); err != nil {
			return err
		}
	}
	if b.dir, err = filepath.Abs(b.dir); err != nil {
		return err
	}
	snapshot, err := b.generate(ctx)
	if err != nil {
		return fmt.Errorf("generate: %w", err)
	}
	pool, err := duckdb.New(duckdb.Config{ReadDirs: []string{b.dir}, Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		return err
	}
	defer pool.Close(ctx)
	service, err := insights.New(insights.Config{Engine: pool, Source: source(snapshot)})
	if err != nil {
		return err
	}
	peer, answers := b.peer(ctx)
	var results []result
	for _, measure := range []string{"total", "uniqueUsers"} {
		spec := insights.Trend{
			Range:      calendar.Range{From: "2026-03-01", To: "2026-04-30"},
			Series:     []insights.Series{{Measure: insights.Measure{Kind: measure}}},
			Breakdowns: []insights.Breakdown{{Property: "event"}}, Top: 50,
		}
		best := time.Duration(0)
		var sum float64
		for range b.runs {
			start := time.Now()
			answer, err := service.Trend(ctx, query.App{ID: "bench", WorkspaceID: "bench", TimeZone: "UTC"}, spec, true)
			if err != nil {
				return err
			}
			if took := time.Since(start); best == 0 || took < best {
				best = took
			}
			sum = 0
			for _, s := range answer.Series {
				sum += *s.Total
			}
		}
		r := result{Name: "trend_daily_by_event_20m_" + measure, Value: round(best.Seconds()), Unit: "s", AtLeast: 1, Aim: 0.5}
		if seconds, ok := peer[measure]; ok {
			if answers[measure] != sum {
				return fmt.Errorf("%s: our totals add to %.0f, the peer's to %.0f", measure, sum, answers[measure])
			}
			r.Peer, r.PeerValue, r.Ratio = "ClickHouse (chdb)", round(seconds), round(best.Seconds()/seconds)
		}
		results = append(results, r)
	}
	return json.NewEncoder(os.Stdout).Encode(results)
}

func round(f float64) float64 {
	out, _ := strconv.ParseFloat(strconv.FormatFloat(f, 'f', 3, 64), 64)
	return out
}

type source query.Snapshot

func (s source) Snapshot(context.Context, string, time.Time, time.Time) (query.Snapshot, error) {
	out := query.Snapshot(s)
	out.Release = func() {}
	return out, nil
}

// generate writes the files as compaction leaves them: ranges of people, sorted
// by person and time, row groups of 122,880, zstd. 40 events of long-tailed
// weight, 400,000 people.
func (b *bench) generate(ctx context.Context) (query.Snapshot, error) {
	connector, err := duck.NewConnector("", nil)
	if err != nil {
		return query.Snapshot{}, err
	}
	defer connector.Close()
	db := sql.OpenDB(connector)
	defer db.Close()
	db.SetMaxOpenConns(1)
	if _, err := db.ExecContext(ctx, "SET memory_limit = '4GB'"); err != nil {
		return query.Snapshot{}, err
	}
	var snapshot query.Snapshot
	for i := range files {
		path := filepath.Join(b.dir, fmt.Sprintf("events-%02d-of-%d.parquet", i, b.rows))
		if _, err := os.Stat(path); err != nil {
			fmt.Fprintf(os.Stderr, "generate %s\n", path)
			if _, err := db.ExecContext(ctx, fmt.Sprintf("COPY (%s) TO %s (FORMAT parquet, COMPRESSION zstd, ROW_GROUP_SIZE 122880)", rowsOf(i, b.rows/files), query.Text(path))); err != nil {
				return query.Snapshot{}, err
			}
			if err := os.Chmod(path, 0o644); err != nil {
				return query.Snapshot{}, err
			}
		}
		info, err := os.Stat(path)
		if err != nil {
			return query.Snapshot{}, err
		}
		snapshot.Objects = append(snapshot.Objects, query.Object{ID: path, Path: path, Rows: b.rows / files, Bytes: info.Size()})
	}
	return snapshot, nil
}

func rowsOf(file int, rows int64) string {
	empty := ""
	for _, c := range query.Schema()[0].Columns {
		switch c.Name {
		case "event_id", "event", "type", "user_key", "user_id", "session_key", "session_id", "ts", "received_at", "country", "os", "properties", "seq":
		default:
			empty += ", NULL::" + c.Type + " AS " + c.Name
		}
	}
	return fmt.Sprintf(`SELECT 'bench' AS app_id, i AS seq, uuid() AS event_id, 'event_' || lpad(CAST(floor(40 * pow(random(), 2.5)) AS INT)::VARCHAR, 2, '0') AS event,
		'TRACK' AS type, (hash(u) >> 1)::BIGINT AS user_key, 'user-' || u AS user_id, (hash(u, i // 20) >> 1)::BIGINT AS session_key,
		'session-' || u || '-' || (i // 20) AS session_id, happened AS ts, happened AS received_at,
		['DE', 'US', 'FR', 'GB', 'IN', 'BR', 'JP'][1 + u %% 7] AS country, ['ios', 'android', 'windows'][1 + u %% 3] AS os,
		'{"price":' || (i %% 997) / 10.0 || ',"plan":"' || ['free', 'pro', 'team'][1 + i %% 3] || '"}' AS properties %s,
		NULL::VARCHAR AS traits, NULL::VARCHAR AS group_type, NULL::VARCHAR AS group_id, NULL::VARCHAR AS previous_id
		FROM (SELECT i, %d + CAST(floor(25000 * pow(random(), 1.7)) AS BIGINT) AS u,
			TIMESTAMPTZ '2026-03-01 00:00:00+00' + to_microseconds(CAST(random() * %d AS BIGINT)) AS happened FROM range(%d) t(i))
		ORDER BY user_key, ts`, empty, file*25_000, int64(days*24*3600)*1_000_000-1, rows)
}

// peer asks ClickHouse the same questions. Its failure is told and leaves our
// own figures standing.
func (b *bench) peer(ctx context.Context) (seconds, sums map[string]float64) {
	script := `
import glob, json, os, sys, time
from chdb import session
s = session.Session()
files = os.path.join(sys.argv[1], "events-*-of-" + sys.argv[3] + ".parquet")
where = "FROM file('%s', Parquet) WHERE type = 'TRACK' AND ts >= toDateTime64('2026-03-01 00:00:00', 6, 'UTC') AND ts < toDateTime64('2026-04-30 00:00:00', 6, 'UTC')" % files
queries = {
  "total": ["SELECT event, toDate(ts, 'UTC') AS d, count() AS n %s GROUP BY GROUPING SETS ((event, d), (event)) FORMAT JSONCompact" % where],
  "uniqueUsers": ["SELECT event, toDate(ts, 'UTC') AS d, uniqExact(user_key) AS n %s GROUP BY GROUPING SETS ((event, d), (event)) FORMAT JSONCompact" % where],
}
out = {}
for name, statements in queries.items():
    best, total = None, 0
    for _ in range(int(sys.argv[2])):
        start = time.perf_counter()
        rows = [r for q in statements for r in json.loads(s.query(q).bytes())["data"]]
        took = time.perf_counter() - start
        best = took if best is None else min(best, took)
        total = sum(int(r[2]) for r in rows if r[1] in (None, "1970-01-01"))
    out[name] = [best, total]
print(json.dumps(out))
`
	cmd := exec.CommandContext(ctx, b.python, "-c", script, b.dir, strconv.Itoa(b.runs), strconv.FormatInt(b.rows, 10))
	cmd.Stderr = os.Stderr
	data, err := cmd.Output()
	var parsed map[string][2]float64
	if err := cmp.Or(err, json.Unmarshal(data, &parsed)); err != nil {
		fmt.Fprintf(os.Stderr, "trend: no figures of ClickHouse: %v (install chdb for %s)\n", err, b.python)
		return nil, nil
	}
	seconds, sums = map[string]float64{}, map[string]float64{}
	for name, v := range parsed {
		seconds[name], sums[name] = v[0], v[1]
	}
	return seconds, sums
}
