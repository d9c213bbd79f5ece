package insights_test

import (
	"context"
	"database/sql"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"syscall"
	"testing"
	"time"

	duck "github.com/duckdb/duckdb-go/v2"

	"github.com/causality-project/causality/backend/internal/analysis/insights"
	"github.com/causality-project/causality/backend/internal/analysis/query"
	"github.com/causality-project/causality/backend/internal/analysis/query/querytest"
	"github.com/causality-project/causality/backend/internal/platform/calendar"
)

// BenchmarkQuestions asks trends of CAUSALITY_BENCH_EVENTS events (default two
// million, 60 days, 50,000 people, 40 names of events) in one settled object,
// with its projections and without. cpu-ms/op is what the engine's child took.
func BenchmarkQuestions(b *testing.B) {
	n, err := strconv.ParseInt(os.Getenv("CAUSALITY_BENCH_EVENTS"), 10, 64)
	if err != nil {
		n = 2_000_000
	}
	promote := []query.Promoted{{Name: "price", Number: true}, {Name: "plan"}}
	smaller := querytest.Settle(b, manyEvents(b, n), "UTC", promote, "by_event", "event_days", "user_days")
	whole := smaller
	whole.Projections, whole.Columns = nil, nil
	for _, p := range smaller.Projections {
		b.Logf("%s: %d rows, %.1f MB beside %.1f MB", p.Kind, p.Rows, float64(p.Bytes)/1e6, float64(smaller.Bytes)/1e6)
	}
	of := func(property, agg string) []insights.Series {
		return []insights.Series{{Event: "event_05", Measure: insights.Measure{Kind: "property", Property: property, Agg: agg}}}
	}
	one := func(event, kind string) []insights.Series {
		return []insights.Series{{Event: event, Measure: insights.Measure{Kind: kind}}}
	}
	for _, question := range []struct {
		name string
		spec insights.Trend
	}{
		{"events by name", insights.Trend{Series: one("", "total"), Breakdowns: []insights.Breakdown{{Property: "event"}}, Top: 50}},
		{"users by name", insights.Trend{Series: one("", "uniqueUsers"), Breakdowns: []insights.Breakdown{{Property: "event"}}, Top: 50}},
		{"users of one name", insights.Trend{Series: one("event_05", "uniqueUsers")}},
		{"active users", insights.Trend{Series: one("", "uniqueUsers")}},
		{"users by country", insights.Trend{Series: one("event_05", "uniqueUsers"), Breakdowns: []insights.Breakdown{{Property: "country"}}}},
		{"first-time users", insights.Trend{Series: one("event_05", "firstTime")}},
		{"sum of a property", insights.Trend{Series: of("price", "sum")}},
		{"users by a property", insights.Trend{Series: one("event_05", "uniqueUsers"), Breakdowns: []insights.Breakdown{{Property: "plan"}}}},
	} {
		question.spec.Range = calendar.Range{From: "2026-03-01", To: "2026-04-30"}
		for _, layout := range []struct {
			name     string
			snapshot query.Snapshot
		}{
			{"with projections", query.Snapshot{Objects: []query.Object{smaller}, Promoted: promote}},
			{"without", query.Snapshot{Objects: []query.Object{whole}}},
		} {
			b.Run(question.name+"/"+layout.name, func(b *testing.B) {
				pool := querytest.Pool(b, nil)
				no := func(context.Context, string, string) (bool, error) { return false, nil }
				s, err := insights.New(insights.Config{Engine: pool, Source: querytest.Source(layout.snapshot), HasProperty: no, HoldsLists: no})
				if err != nil {
					b.Fatal(err)
				}
				ask := func() {
					if _, err := s.Trend(context.Background(), app, question.spec, true); err != nil {
						b.Fatal(err)
					}
				}
				ask() // starts the child
				before := childrenCPU(b)
				asked := 0
				for b.Loop() {
					ask()
					asked++
				}
				b.StopTimer()
				b.ReportMetric(float64((childrenCPU(b)-before).Microseconds())/1e3/float64(asked), "cpu-ms/op")
			})
		}
	}
}

// childrenCPU is the time on processors of this process's living children.
func childrenCPU(b *testing.B) time.Duration {
	b.Helper()
	tasks, err := filepath.Glob("/proc/self/task/*/children")
	if err != nil {
		b.Fatal(err)
	}
	var ticks int64
	for _, task := range tasks {
		text, _ := os.ReadFile(task)
		var pid int
		for rest := string(text); ; {
			n, err := fmt.Sscan(rest, &pid)
			if n == 0 || err != nil {
				break
			}
			rest = rest[len(strconv.Itoa(pid))+1:]
			stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
			if err != nil {
				continue
			}
			var user, system int64
			fields := string(stat[len(fmt.Sprint(pid)):])
			for i := len(fields) - 1; i >= 0; i-- { // the name may hold anything
				if fields[i] == ')' {
					fields = fields[i+2:]
					break
				}
			}
			var skip string
			args := make([]any, 13)
			for i := range args {
				args[i] = &skip
			}
			args[11], args[12] = &user, &system
			if _, err := fmt.Sscan(fields, args...); err == nil {
				ticks += user + system
			}
		}
	}
	return time.Duration(ticks) * time.Second / 100
}

func manyEvents(b *testing.B, n int64) query.Object {
	b.Helper()
	dir := b.TempDir()
	if err := os.Chmod(filepath.Dir(dir), 0o755); err != nil {
		b.Fatal(err)
	}
	connector, err := duck.NewConnector("", nil)
	if err != nil {
		b.Fatal(err)
	}
	defer connector.Close()
	db := sql.OpenDB(connector)
	defer db.Close()
	var others string
	for _, c := range query.Schema()[0].Columns {
		switch c.Name {
		case "event_id", "event", "type", "user_key", "user_id", "session_key", "session_id", "ts", "received_at", "country", "os", "properties", "seq":
		default:
			others += ", NULL::" + c.Type + " AS " + c.Name
		}
	}
	path := filepath.Join(dir, "events.parquet")
	old := syscall.Umask(0o022)
	defer syscall.Umask(old)
	if _, err := db.Exec(fmt.Sprintf(`COPY (SELECT 'bench' AS app_id, i AS seq, uuid() AS event_id, 'event_' || lpad(CAST(floor(40 * pow(random(), 2.5)) AS INT)::VARCHAR, 2, '0') AS event,
		'TRACK' AS type, (hash(u) >> 1)::BIGINT AS user_key, 'user-' || u AS user_id, (hash(u, i // 20) >> 1)::BIGINT AS session_key,
		'session-' || u || '-' || (i // 20) AS session_id, happened AS ts, happened AS received_at,
		['DE', 'US', 'FR', 'GB', 'IN', 'BR', 'JP'][1 + u %% 7] AS country, ['ios', 'android', 'windows'][1 + u %% 3] AS os,
		'{"price":' || (i %% 997) / 10.0 || ',"plan":"' || ['free', 'pro', 'team'][1 + i %% 3] || '"}' AS properties %s,
		NULL::VARCHAR AS traits, NULL::VARCHAR AS group_type, NULL::VARCHAR AS group_id, NULL::VARCHAR AS previous_id
		FROM (SELECT i, CAST(floor(%d * pow(hash(i // 12) / 18446744073709551616.0, 1.7)) AS BIGINT) AS u, -- visits of 12 events
			TIMESTAMPTZ '2026-03-01 00:00:00+00' + to_microseconds((hash(i // 12, 'when') %% 5183400000000)::BIGINT + i %% 12 * 50000000) AS happened FROM range(%d) t(i))
		ORDER BY user_key, ts) TO %s (FORMAT parquet, COMPRESSION zstd, ROW_GROUP_SIZE 122880)`, others, max(n/40, 1), n, query.Text(path))); err != nil {
		b.Fatal(err)
	}
	info, err := os.Stat(path)
	if err != nil {
		b.Fatal(err)
	}
	return query.Object{ID: path, Path: path, Rows: n, Bytes: info.Size()}
}
