package querytest

import (
	"context"
	"database/sql"
	"os"
	"strconv"
	"strings"
	"testing"
	"time"

	duck "github.com/duckdb/duckdb-go/v2"

	"github.com/causality-project/causality/backend/internal/analysis/query"
	"github.com/causality-project/causality/backend/internal/platform/calendar"
)

// Settle gives an object what merging gives it: columns for promoted properties,
// the bounds of its time, and projections of the kinds named, with days of zone.
func Settle(t testing.TB, object query.Object, zone string, promote []query.Promoted, kinds ...string) query.Object {
	t.Helper()
	connector, err := duck.NewConnector("", nil)
	check(t, err)
	defer connector.Close()
	db := sql.OpenDB(connector)
	defer db.Close()
	db.SetMaxOpenConns(1)
	run := func(statement string) {
		t.Helper()
		_, err := db.ExecContext(context.Background(), statement)
		check(t, err)
	}
	for _, statement := range query.TablesOf(query.Snapshot{}).Setup {
		if strings.HasPrefix(statement, "CREATE MACRO") {
			run(statement)
		}
	}
	run("SET TimeZone = 'UTC'")
	write := func(name, statement string) (path string, rows, bytes int64) {
		t.Helper()
		path = strings.TrimSuffix(object.Path, ".parquet") + "-" + name + ".parquet"
		run("COPY (" + statement + ") TO " + query.Text(path) + " (FORMAT parquet, COMPRESSION zstd)")
		check(t, os.Chmod(path, 0o644))
		info, err := os.Stat(path)
		check(t, err)
		check(t, db.QueryRow("SELECT count(*) FROM "+query.Text(path)).Scan(&rows))
		return path, rows, info.Size()
	}
	source := query.Text(object.Path)

	var promoted []string
	for _, p := range promote {
		pointer := query.Text(query.Pointer(p.Name))
		column := "property_text(properties, " + pointer + ")"
		whole := "coalesce(json_type(properties, " + pointer + ") NOT IN ('ARRAY', 'OBJECT'), true)"
		if p.Number {
			whole += " AND (" + column + " IS NULL OR text_number(" + column + ") IS NOT NULL)"
			column = "text_number(" + column + ")"
		} else {
			column = "CASE WHEN coalesce(json_type(properties, " + pointer + ") NOT IN ('ARRAY', 'OBJECT'), true) THEN " + column + " END"
		}
		promoted = append(promoted, column+" AS "+p.Column())
		var complete bool
		check(t, db.QueryRow("SELECT coalesce(bool_and("+whole+"), true) FROM "+source).Scan(&complete))
		if complete {
			object.Columns = append(object.Columns, p.Name)
		}
	}
	var first, last sql.NullTime
	check(t, db.QueryRow("SELECT min(ts), max(ts) FROM "+source).Scan(&first, &last))
	object.MinTS, object.MaxTS = first.Time.UTC(), last.Time.UTC()
	columns := strings.Join(append([]string{"*"}, promoted...), ", ")
	object.Path, _, object.Bytes = write("settled", "SELECT "+columns+" FROM "+source)

	loc, err := calendar.LoadZone(zone)
	check(t, err)
	run("CREATE TABLE days (day DATE, first TIMESTAMPTZ, until TIMESTAMPTZ)")
	days := calendar.New(loc, time.Monday)
	for at := object.MinTS; first.Valid && !at.After(object.MaxTS); {
		start, end := days.Period(calendar.Day, at)
		run("INSERT INTO days VALUES (DATE '" + start.In(loc).Format(time.DateOnly) + "', make_timestamptz(" + micros(start) + "), make_timestamptz(" + micros(end) + "))")
		at = end
	}
	tracked := " FROM " + query.Text(object.Path) + " JOIN days ON ts >= first AND ts < until WHERE type = 'TRACK' "
	hot := []string{"event", "user_key", "ts", "platform", "os", "app_version", "device_type", "browser", "country", "locale", "utm_source", "utm_medium",
		"utm_campaign", "page_path", "referrer_host", "revenue"}
	for _, p := range promote {
		hot = append(hot, p.Column())
	}
	for _, kind := range kinds {
		p := query.Projection{Kind: kind}
		switch kind {
		case "by_event":
			p.Columns = object.Columns
			p.Path, p.Rows, p.Bytes = write(kind, "SELECT "+strings.Join(hot, ", ")+tracked+"ORDER BY event, user_key, ts, event_id")
		case "event_days":
			p.Zone = zone
			p.Path, p.Rows, p.Bytes = write(kind, "SELECT event, day, user_key, count(*)::BIGINT AS n"+tracked+"GROUP BY ALL ORDER BY ALL")
		case "user_days":
			p.Zone = zone
			p.Path, p.Rows, p.Bytes = write(kind, "SELECT user_key, day, count(*)::BIGINT AS n"+tracked+"GROUP BY ALL ORDER BY ALL")
		}
		object.Projections = append(object.Projections, p)
	}
	return object
}

func micros(t time.Time) string { return strconv.FormatInt(t.UnixMicro(), 10) }
