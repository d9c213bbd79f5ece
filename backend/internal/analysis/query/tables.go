package query

import (
	"context"
	"slices"
	"strings"
)

// Tables is what a session must be given before SQL can name the tables: files
// to read, links to apply, and the statements that make macros and views.
type Tables struct {
	Files []string
	Links Links // empty maps unless an object needs them
	Setup []string

	// Load makes Files hold columns before they are read; see Snapshot.Load. It
	// is nil when they are whole.
	Load func(ctx context.Context, paths, columns []string) error
}

// Names are the tables that SQL may name.
var Names = []string{"events", "users", "groups", "sessions"}

// ColumnInfo describes one column of a table.
type ColumnInfo struct{ Name, Type, Description string }

// TableInfo describes one table.
type TableInfo struct {
	Name, Description string
	Columns           []ColumnInfo
}

// eventColumns are the columns of events, in order.
var eventColumns = []ColumnInfo{
	{"seq", "BIGINT", "Order of acceptance."},
	{"event_id", "UUID", "Id of the event; one id counts once."},
	{"event", "VARCHAR", "Name of the event."},
	{"type", "VARCHAR", "Always TRACK here."},
	{"user_key", "BIGINT", "The person: one key for all ids that are linked. Count people by it."},
	{"user_id", "VARCHAR", "User id as sent with the event."},
	{"anonymous_id", "VARCHAR", "Id of the device before the person was known."},
	{"session_key", "BIGINT", "Hash of session_id."},
	{"session_id", "VARCHAR", "Session as the SDK cut it: 30 minutes idle, 24 hours at most."},
	{"ts", "TIMESTAMP WITH TIME ZONE", "When it happened, shown in the app's time zone."},
	{"original_ts", "TIMESTAMP WITH TIME ZONE", "Time as sent, where it was corrected."},
	{"received_at", "TIMESTAMP WITH TIME ZONE", "When it was accepted."},
	{"platform", "VARCHAR", "web, ios, android, server, …"},
	{"os", "VARCHAR", "Operating system."},
	{"os_version", "VARCHAR", "Its version."},
	{"app_version", "VARCHAR", "Version of the app that sent it."},
	{"device_model", "VARCHAR", "Model of the device."},
	{"device_type", "VARCHAR", "desktop, phone, tablet, …"},
	{"browser", "VARCHAR", "Browser."},
	{"country", "VARCHAR", "Country."},
	{"region", "VARCHAR", "Region."},
	{"city", "VARCHAR", "City."},
	{"locale", "VARCHAR", "Language and region of the app."},
	{"page_url", "VARCHAR", "Address of the page."},
	{"page_path", "VARCHAR", "Path of the page."},
	{"referrer_host", "VARCHAR", "Host that the visit came from."},
	{"utm_source", "VARCHAR", "Campaign source."},
	{"utm_medium", "VARCHAR", "Campaign medium."},
	{"utm_campaign", "VARCHAR", "Campaign name."},
	{"utm_term", "VARCHAR", "Campaign term."},
	{"utm_content", "VARCHAR", "Campaign content."},
	{"revenue", "DOUBLE", "The property revenue, as a number."},
	{"currency", "VARCHAR", "The property currency."},
	{"library", "VARCHAR", "Library that sent it."},
	{"library_version", "VARCHAR", "Its version."},
	{"correlation_id", "VARCHAR", "Ties events of one operation together."},
	{"groups", "VARCHAR", "JSON object of group type to group id."},
	{"context", "VARCHAR", "JSON object: the rest of the event's surroundings."},
	{"properties", "VARCHAR", "JSON object of the event's properties, as sent: properties->>'plan'."},
}

// rowColumns are read beside eventColumns to build users and groups.
var rowColumns = []ColumnInfo{
	{"traits", "VARCHAR", ""}, {"group_type", "VARCHAR", ""}, {"group_id", "VARCHAR", ""},
}

// Schema describes the tables that SQL can name, of an app with these promoted
// properties.
func Schema(promoted ...Promoted) []TableInfo {
	events := slices.Clone(eventColumns)
	for _, p := range promoted[:min(len(promoted), maxPromoted)] {
		what := "as text: properties->>"
		if p.Number {
			what = "where it is a number: properties->>"
		}
		events = append(events, ColumnInfo{p.column(), p.sqlType(), "The promoted property " + p.Name + ", " + what + Text(p.Name) + ", read without the JSON where it can be."})
	}
	return []TableInfo{
		{"events", "One row an event of this app.", events},
		{"users", "One row a person.", []ColumnInfo{
			{"user_key", "BIGINT", "The person, as in events."},
			{"user_id", "VARCHAR", "Newest user id; NULL while the person is anonymous."},
			{"first_seen", "TIMESTAMP WITH TIME ZONE", "Time of the first event."},
			{"last_seen", "TIMESTAMP WITH TIME ZONE", "Time of the newest event."},
			{"events", "BIGINT", "Number of events."},
			{"traits", "JSON", "What identify said of the person, the newest of each key."},
		}},
		{"groups", "One row a group, such as a company.", []ColumnInfo{
			{"group_type", "VARCHAR", "Type of the group."},
			{"group_id", "VARCHAR", "Id of the group."},
			{"first_seen", "TIMESTAMP WITH TIME ZONE", "Time of the first event."},
			{"last_seen", "TIMESTAMP WITH TIME ZONE", "Time of the newest event."},
			{"events", "BIGINT", "Number of events."},
			{"traits", "JSON", "What is known of the group, the newest of each key."},
		}},
		{"sessions", "One row a session of a person.", []ColumnInfo{
			{"user_key", "BIGINT", "The person, as in events."},
			{"session_id", "VARCHAR", "The session's id."},
			{"started_at", "TIMESTAMP WITH TIME ZONE", "Time of its first event."},
			{"ended_at", "TIMESTAMP WITH TIME ZONE", "Time of its last event."},
			{"seconds", "DOUBLE", "Time between the two."},
			{"events", "BIGINT", "Number of events."},
			{"first_event", "VARCHAR", "Name of its first event."},
			{"entry_page", "VARCHAR", "Path of its first page."},
			{"exit_page", "VARCHAR", "Path of its last page."},
			{"platform", "VARCHAR", "Platform of its first event."},
			{"country", "VARCHAR", "Country of its first event."},
			{"utm_source", "VARCHAR", "Campaign source of its first event."},
		}},
	}
}

// Text quotes a string literal.
func Text(s string) string { return "'" + strings.ReplaceAll(s, "'", "''") + "'" }

// Pointer is the RFC 6901 pointer to a top-level key.
func Pointer(key string) string {
	return "/" + strings.ReplaceAll(strings.ReplaceAll(key, "~", "~0"), "/", "~1")
}

var macros = makeMacros()

// makeMacros says in SQL how values of JSON properties are read. A pointer is an
// RFC 6901 path such as '/plan'. Macros repeat their text, for a subquery inside
// one would cost a join.
func makeMacros() []string {
	text := `json_extract_string(j, pointer)`
	// The canonical text: 5 and 5.0 are both 5, JSON null is NULL, a list or an
	// object is its JSON. Only fractions need their type looked up.
	canonical := func(text, kind string) string {
		return `CASE WHEN left(` + text + `, 1) <= '9' AND (contains(` + text + `, '.') OR contains(` + text + `, 'e') OR contains(` + text + `, 'E')) AND ` + kind + ` = 'DOUBLE'` +
			` THEN CASE WHEN ` + text + ` = '-0.0' THEN '0' WHEN ends_with(` + text + `, '.0') THEN left(` + text + `, length(` + text + `) - 2) ELSE ` + text + ` END ELSE ` + text + ` END`
	}
	return []string{
		`CREATE MACRO property_text(j, pointer) AS ` + canonical(text, `json_type(j, pointer)`),
		// The values that a condition looks at: a list's elements, or the one.
		`CREATE MACRO property_values(j, pointer) AS CASE WHEN left(` + text + `, 1) = '[' AND json_type(j, pointer) = 'ARRAY'` +
			` THEN list_transform(CAST(json_extract(j, pointer) AS JSON[]), lambda e: ` + canonical(`json_extract_string(e, '$')`, `json_type(e)`) + `)` +
			` WHEN ` + text + ` IS NOT NULL THEN [` + canonical(text, `json_type(j, pointer)`) + `] END`,
		// A number, or text that reads as a finite one.
		`CREATE MACRO text_number(t) AS CASE WHEN regexp_full_match(t, '\s*[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?\s*') THEN` +
			` CASE WHEN isfinite(TRY_CAST(t AS DOUBLE)) THEN TRY_CAST(t AS DOUBLE) END END`,
		// An instant: epoch milliseconds, or ISO; without an offset, in the zone.
		`CREATE MACRO text_time(t, zone) AS CASE WHEN regexp_full_match(t, '-?\d{5,16}(\.\d+)?') THEN make_timestamptz(CAST(round(TRY_CAST(t AS DOUBLE) * 1000) AS BIGINT))` +
			` WHEN regexp_full_match(t, '\d{4}-\d\d-\d\d[T ]\d\d:\d\d.*([zZ]|[+-]\d\d(:?\d\d)?)') THEN TRY_CAST(t AS TIMESTAMPTZ)` +
			` WHEN regexp_full_match(t, '\d{4}-\d\d-\d\d([T ]\d\d:\d\d(:\d\d(\.\d+)?)?)?') THEN timezone(zone, TRY_CAST(t AS TIMESTAMP)) END`,
	}
}

// TablesOf builds the tables over a snapshot, for SQL that may name any of them
// and any of their columns.
func TablesOf(s Snapshot) Tables { return s.all().Tables }

func (s *Snapshot) all() Planned {
	p := newPlanner(s)
	p.Load = s.Load
	promoted := s.Promoted[:min(len(s.Promoted), maxPromoted)]
	p.Setup = slices.Clone(macros)
	p.view("lake_rows", p.whole(promoted))
	names := make([]string, 0, len(eventColumns)+len(promoted))
	for _, c := range eventColumns {
		names = append(names, c.Name)
	}
	for _, c := range promoted {
		names = append(names, c.Column())
	}
	p.view("events", "SELECT "+strings.Join(names, ", ")+" FROM lake_rows WHERE type = 'TRACK'")
	p.Setup = append(p.Setup, usersView, groupsView, sessionsView)
	return p.Planned
}

// foldedTraits folds {set, setOnce, add, unset} of the rows of a subquery "r"
// (owner columns, ts, event_id, traits) into the current value of each key. The
// newest set or unset is where a key's value starts; later a setOnce counts
// only where nothing is known, and adds count always.
func foldedTraits(owner, where string) string {
	return `SELECT ` + owner + `, json_group_object(k, v) AS traits FROM (
  SELECT ` + owner + `, k, CASE
      WHEN coalesce(len(adds), 0) = 0 THEN base
      WHEN base IS NULL OR text_number(base->>'$') IS NOT NULL THEN to_json(coalesce(text_number(base->>'$'), 0) + list_sum(adds))
      ELSE base END AS v
  FROM (
    SELECT ` + owner + `, k, any_value(CASE WHEN n = base_n AND op <> 'add' AND op <> 'unset' THEN value END) AS base,
      list(text_number(value->>'$')) FILTER (WHERE op = 'add' AND n >= base_n AND text_number(value->>'$') IS NOT NULL) AS adds
    FROM (
      SELECT *, CASE
          WHEN reset_n IS NULL OR reset_op = 'unset' THEN min(CASE WHEN n > coalesce(reset_n, 0) THEN n END) OVER (PARTITION BY ` + owner + `, k)
          ELSE reset_n END AS base_n
      FROM (
        SELECT *, max(CASE WHEN op IN ('set', 'unset') THEN n END) OVER (PARTITION BY ` + owner + `, k) AS reset_n,
          arg_max(op, CASE WHEN op IN ('set', 'unset') THEN n END) OVER (PARTITION BY ` + owner + `, k) AS reset_op
        FROM (
          SELECT *, row_number() OVER (PARTITION BY ` + owner + `, k ORDER BY ts, event_id, step) AS n FROM (
            SELECT ` + owner + `, ts, event_id, o.step, o.op, unnest(json_keys(traits, '/' || o.op)) AS k,
              json_extract(traits, '/' || o.op || '/' || replace(replace(k, '~', '~0'), '/', '~1')) AS value
            FROM lake_rows, (VALUES (1, 'set'), (2, 'setOnce'), (3, 'add')) o(step, op) WHERE ` + where + ` AND json_type(traits, '/' || o.op) = 'OBJECT'
            UNION ALL
            SELECT ` + owner + `, ts, event_id, 4, 'unset', unnest(CAST(json_extract(traits, '/unset') AS VARCHAR[])), NULL
            FROM lake_rows WHERE ` + where + ` AND json_type(traits, '/unset') = 'ARRAY'))))
    GROUP BY ` + owner + `, k)
  ) WHERE v IS NOT NULL AND json_type(v) <> 'NULL' GROUP BY ` + owner
}

var (
	usersView = `CREATE VIEW users AS
SELECT a.user_key, a.user_id, a.first_seen, a.last_seen, a.events, coalesce(t.traits, '{}')::JSON AS traits
FROM (
  SELECT user_key, arg_max(user_id, (ts, event_id)) FILTER (WHERE user_id IS NOT NULL) AS user_id, min(ts) AS first_seen, max(ts) AS last_seen,
    count(*) FILTER (WHERE type = 'TRACK') AS events
  FROM lake_rows WHERE user_key IS NOT NULL GROUP BY user_key) a
LEFT JOIN (` + foldedTraits("user_key", "type = 'IDENTIFY' AND user_key IS NOT NULL AND traits IS NOT NULL") + `) t ON t.user_key = a.user_key`

	groupsView = `CREATE VIEW groups AS
SELECT a.group_type, a.group_id, a.first_seen, a.last_seen, a.events, coalesce(t.traits, '{}')::JSON AS traits
FROM (
  SELECT group_type, group_id, min(ts) AS first_seen, max(ts) AS last_seen, count(*) FILTER (WHERE tracked) AS events FROM (
    SELECT unnest(json_keys(groups)) AS group_type, json_extract_string(groups, '/' || replace(replace(group_type, '~', '~0'), '/', '~1')) AS group_id, ts, true AS tracked
    FROM (SELECT groups, ts FROM lake_rows WHERE type = 'TRACK' AND groups IS NOT NULL)
    UNION ALL
    SELECT group_type, group_id, ts, false FROM lake_rows WHERE type = 'GROUP')
  WHERE group_id IS NOT NULL GROUP BY group_type, group_id) a
LEFT JOIN (` + foldedTraits("group_type, group_id", "type = 'GROUP' AND group_id IS NOT NULL AND traits IS NOT NULL") + `) t
  ON t.group_type = a.group_type AND t.group_id = a.group_id`

	sessionsView = `CREATE VIEW sessions AS
SELECT user_key, session_id, min(ts) AS started_at, max(ts) AS ended_at, epoch_us(max(ts)) / 1e6 - epoch_us(min(ts)) / 1e6 AS seconds, count(*) AS events,
  arg_min(event, (ts, event_id)) AS first_event, arg_min(page_path, (ts, event_id)) AS entry_page, arg_max(page_path, (ts, event_id)) AS exit_page,
  arg_min(platform, (ts, event_id)) AS platform, arg_min(country, (ts, event_id)) AS country, arg_min(utm_source, (ts, event_id)) AS utm_source
FROM events WHERE session_id IS NOT NULL GROUP BY user_key, session_id`
)
