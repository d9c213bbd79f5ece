package trino

import (
	"fmt"
	"slices"
	"strings"

	"github.com/causality-project/causality/backend/internal/analysis/query"
	"github.com/causality-project/causality/backend/internal/platform/fault"
)

// composed is a statement for Trino: the definitions of the tables that SQL names,
// and the SQL.
type composed struct {
	sql    string
	body   string // the SQL as its lines are counted
	before int    // lines before the body
}

// hidden are the tables that only ours are built from.
var hidden = map[string]bool{"lake_rows": true, "link_keys": true, "link_visitors": true, "link_users": true}

// compose puts the tables and functions that SQL names before it, as WITH: a
// session of Trino has no views of its own. Only those named are there, for each
// costs planning.
func (e *Engine) compose(r query.Request) (composed, error) {
	if strings.ContainsRune(r.SQL, 0) {
		return composed{}, invalid("holds a zero byte")
	}
	body := strings.TrimRight(r.SQL, " \t\r\n")
	tokens := lex(body)
	for len(tokens) > 0 && tokens[len(tokens)-1].is(";") { // the end
		tokens = tokens[:len(tokens)-1]
	}
	if len(tokens) > 0 {
		body = body[:tokens[len(tokens)-1].end]
	}
	blank := func(t token, with string) {
		body = body[:t.start] + with + strings.Repeat(" ", t.end-t.start-len(with)) + body[t.end:]
	}
	explain := ""
	if len(tokens) > 0 && tokens[0].is("explain") {
		if len(tokens) > 1 && (tokens[1].is("(") || tokens[1].is("analyze")) {
			return composed{}, invalid("%s. EXPLAIN takes no options here.", onlySelect)
		}
		explain = "EXPLAIN "
		blank(tokens[0], "")
		tokens = tokens[1:]
	}
	if !r.Trusted {
		if err := guard(tokens); err != nil {
			return composed{}, err
		}
	}

	tables := e.tables(tokens, r)
	prefix, recursive := "", false
	if len(tables) > 0 {
		prefix = "WITH "
		if tokens[0].is("with") {
			if own := clash(tokens); own != "" {
				return composed{}, invalid("A WITH query cannot be called %s, as the table is; give it another name.", own)
			}
			blank(tokens[0], ",")
			if tokens[1].is("recursive") {
				prefix, recursive = "WITH RECURSIVE ", true
				blank(tokens[1], "")
			}
		}
		for i, w := range tables {
			if i > 0 {
				prefix += ",\n"
			}
			prefix += w.name
			if recursive { // then each must say its columns
				prefix += "(" + strings.Join(w.columns, ", ") + ")"
			}
			prefix += " AS (" + w.text + ")"
		}
		prefix += "\n"
	}
	if list := functions(prefix + body); len(list) > 0 {
		prefix = "WITH " + strings.Join(list, ",\n") + "\n" + prefix
	}
	if prefix != "" && !strings.HasSuffix(prefix, "\n") {
		prefix += "\n"
	}
	out := composed{sql: explain + prefix + body, body: body, before: strings.Count(prefix, "\n")}
	if len(out.sql) > maxStatement {
		return composed{}, fault.New(fault.Exhausted, "The question is too long for Trino (%d KB of SQL); ask for fewer series, values or groups.", len(out.sql)>>10)
	}
	return out, nil
}

// with is a WITH query.
type with struct {
	name    string
	columns []string
	text    string
}

// maxStatement is the query.max-length that deploy/trino sets.
const maxStatement = 1_500_000

// clash is a table's name that a query of the outermost WITH has too.
func clash(tokens []token) string {
	depth, named := 0, true
	for i, t := range tokens[1:] {
		switch {
		case t.is("("):
			depth++
		case t.is(")"):
			depth--
		case depth > 0:
		case t.is(","):
			named = true
		case t.is("select"), t.is("values"), t.is("table"):
			return ""
		case named && t.name() && !(i == 0 && t.is("recursive")):
			if slices.Contains(query.Names, strings.ToLower(t.text)) {
				return t.text
			}
			named = false
		}
	}
	return ""
}

// tables are the WITH queries of the tables that tokens name.
func (e *Engine) tables(tokens []token, r query.Request) []with {
	named := map[string]bool{}
	for i, t := range tokens {
		if t.name() {
			named[strings.ToLower(t.text)] = true
		}
		if t.is("*") && (i == 0 || !tokens[i-1].is("(")) { // not that of count(*)
			named["*"] = true
		}
	}
	var list []with
	if named["sessions"] {
		named["events"] = true
	}
	if !named["events"] && !named["users"] && !named["groups"] {
		return nil
	}
	// Persons are looked up only where somebody counts them.
	persons := named["user_key"] || named["users"] || named["sessions"] || named["*"]
	list = append(list, e.lakeRows(r, persons)...)
	if named["events"] {
		list = append(list, events(r))
	}
	for i, text := range []string{usersTable, groupsTable, sessionsTable} {
		table := query.Schema()[i+1]
		if named[table.Name] {
			list = append(list, with{table.Name, columnNames(table.Columns), text})
		}
	}
	return list
}

func (e *Engine) published(table string, snapshot int64) string {
	name := e.cfg.Catalog + "." + e.cfg.Schema + "." + table
	if snapshot != 0 {
		name += fmt.Sprintf(" FOR VERSION AS OF %d", snapshot)
	}
	return name
}

// lakeRows are all rows of the app, each with its person by the newest links.
// The joins are with small tables, unique in their key, so that no row is
// repeated; a row whose links are folded in already is left as it is by them.
func (e *Engine) lakeRows(r query.Request, persons bool) []with {
	// The rules show a user nothing else; this holds even where they are not those
	// that we ship.
	own := "app_id = " + query.Text(r.App)
	rows := e.published("events", r.Published.Events)
	if !persons {
		return []with{{"lake_rows", rowColumns, "SELECT " + strings.Join(rowColumns, ", ") + " FROM " + rows + " WHERE " + own}}
	}
	links := e.published("links", r.Published.Links)
	columns := make([]string, 0, 64)
	for _, c := range rowColumns {
		if c == "user_key" {
			c = "CASE WHEN e.user_key IS NULL THEN NULL WHEN e.user_id IS NOT NULL THEN coalesce(lu.to_key, lk.to_key, e.user_key) ELSE coalesce(lv.to_key, lk.to_key, e.user_key) END AS user_key"
		} else {
			c = "e." + c
		}
		columns = append(columns, c)
	}
	byID := []string{"id", "to_key"}
	return []with{
		{"link_keys", []string{"from_key", "to_key"}, "SELECT from_key, to_key FROM " + links + " WHERE kind = 'key' AND " + own},
		{"link_visitors", byID, "SELECT id, to_key FROM " + links + " WHERE kind = 'visitor' AND " + own},
		{"link_users", byID, "SELECT id, to_key FROM " + links + " WHERE kind = 'user' AND " + own},
		{"lake_rows", rowColumns, "SELECT " + strings.Join(columns, ", ") + " FROM " + rows + " e" +
			" LEFT JOIN link_keys lk ON lk.from_key = e.user_key" +
			" LEFT JOIN link_visitors lv ON e.user_id IS NULL AND lv.id = e.anonymous_id" +
			" LEFT JOIN link_users lu ON lu.id = e.user_id WHERE e." + own},
	}
}

// rowColumns are the columns of the published rows that the tables are made of.
var rowColumns = func() []string {
	return append(columnNames(query.Schema()[0].Columns), "traits", "group_type", "group_id")
}()

func columnNames(columns []query.ColumnInfo) []string {
	names := make([]string, len(columns))
	for i, c := range columns {
		names[i] = c.Name
	}
	return names
}

// events are the app's tracked events. People see instants in the app's zone; our
// own SQL compares them as they are stored, by which Trino skips files.
func events(r query.Request) with {
	local := !r.Trusted && r.Zone != "" && r.Zone != "UTC"
	var columns []string
	for _, c := range query.Schema()[0].Columns {
		if local && strings.HasSuffix(c.Type, "WITH TIME ZONE") {
			columns = append(columns, c.Name+" AT TIME ZONE "+query.Text(r.Zone)+" AS "+c.Name)
		} else {
			columns = append(columns, c.Name)
		}
	}
	for _, p := range r.Promoted {
		value := "property_text(json_extract(properties, " + query.Text(Path(p.Name)) + "))"
		if p.Number {
			value = "text_number(" + value + ")"
		}
		columns = append(columns, value+" AS "+p.Column())
	}
	names := columnNames(query.Schema(r.Promoted...)[0].Columns)
	for i := range names {
		names[i] = query.Identifier(names[i])
	}
	return with{"events", names, "SELECT " + strings.Join(columns, ", ") + " FROM lake_rows WHERE type = 'TRACK'"}
}

// Path is Trino's JSON path to a top-level key.
func Path(key string) string {
	return `$["` + strings.ReplaceAll(strings.ReplaceAll(key, `\`, `\\`), `"`, `\"`) + `"]`
}

// foldedTraits folds {set, setOnce, add, unset} into the current value of each
// key, as the other engine's tables do: the newest set or unset is where a key's
// value starts; later a setOnce counts only where nothing is known, and adds
// count always.
func foldedTraits(owner, where string) string {
	return `SELECT ` + owner + `, CAST(map_agg(k, v) AS JSON) AS traits FROM (
  SELECT ` + owner + `, k, CASE
      WHEN added IS NULL THEN base
      WHEN base IS NULL OR text_number(json_extract_scalar(base, '$')) IS NOT NULL THEN CAST(coalesce(text_number(json_extract_scalar(base, '$')), 0e0) + added AS JSON)
      ELSE base END AS v
  FROM (
    SELECT ` + owner + `, k, any_value(CASE WHEN n = base_n AND op <> 'add' AND op <> 'unset' THEN value END) AS base,
      sum(text_number(json_extract_scalar(value, '$'))) FILTER (WHERE op = 'add' AND n >= base_n) AS added
    FROM (
      SELECT *, CASE
          WHEN reset_n IS NULL OR reset_op = 'unset' THEN min(CASE WHEN n > coalesce(reset_n, 0) THEN n END) OVER (PARTITION BY ` + owner + `, k)
          ELSE reset_n END AS base_n
      FROM (
        SELECT *, max(CASE WHEN op IN ('set', 'unset') THEN n END) OVER (PARTITION BY ` + owner + `, k) AS reset_n,
          max_by(op, CASE WHEN op IN ('set', 'unset') THEN n END) OVER (PARTITION BY ` + owner + `, k) AS reset_op
        FROM (
          SELECT *, row_number() OVER (PARTITION BY ` + owner + `, k ORDER BY ts, event_id, step) AS n FROM (
            SELECT ` + owner + `, ts, event_id, o.step, o.op, m.k, coalesce(m.value, json_parse('null')) AS value
            FROM lake_rows
            CROSS JOIN UNNEST(ARRAY[1, 2, 3], ARRAY['set', 'setOnce', 'add'], ARRAY[json_extract(traits, '$.set'), json_extract(traits, '$.setOnce'), json_extract(traits, '$.add')]) AS o(step, op, changes)
            CROSS JOIN UNNEST(TRY_CAST(o.changes AS MAP(VARCHAR, JSON))) AS m(k, value)
            WHERE ` + where + `
            UNION ALL
            SELECT ` + owner + `, ts, event_id, 4, 'unset', m.k, NULL
            FROM lake_rows CROSS JOIN UNNEST(TRY_CAST(json_extract(traits, '$.unset') AS ARRAY(VARCHAR))) AS m(k)
            WHERE ` + where + `))))
    GROUP BY ` + owner + `, k)
  ) WHERE v IS NOT NULL AND json_format(v) <> 'null' GROUP BY ` + owner
}

var (
	usersTable = `SELECT a.user_key, a.user_id, a.first_seen, a.last_seen, a.events, coalesce(t.traits, JSON '{}') AS traits
FROM (
  SELECT user_key, max_by(user_id, ROW(ts, event_id)) FILTER (WHERE user_id IS NOT NULL) AS user_id, min(ts) AS first_seen, max(ts) AS last_seen,
    count_if(type = 'TRACK') AS events
  FROM lake_rows WHERE user_key IS NOT NULL GROUP BY user_key) a
LEFT JOIN (` + foldedTraits("user_key", "type = 'IDENTIFY' AND user_key IS NOT NULL AND traits IS NOT NULL") + `) t ON t.user_key = a.user_key`

	groupsTable = `SELECT a.group_type, a.group_id, a.first_seen, a.last_seen, a.events, coalesce(t.traits, JSON '{}') AS traits
FROM (
  SELECT group_type, group_id, min(ts) AS first_seen, max(ts) AS last_seen, count_if(tracked) AS events FROM (
    SELECT m.group_type, json_extract_scalar(m.id, '$') AS group_id, ts, true AS tracked
    FROM lake_rows CROSS JOIN UNNEST(TRY_CAST(json_extract(groups, '$') AS MAP(VARCHAR, JSON))) AS m(group_type, id)
    WHERE type = 'TRACK'
    UNION ALL
    SELECT group_type, group_id, ts, false FROM lake_rows WHERE type = 'GROUP')
  WHERE group_id IS NOT NULL GROUP BY group_type, group_id) a
LEFT JOIN (` + foldedTraits("group_type, group_id", "type = 'GROUP' AND group_id IS NOT NULL AND traits IS NOT NULL") + `) t
  ON t.group_type = a.group_type AND t.group_id = a.group_id`

	sessionsTable = `SELECT user_key, session_id, min(ts) AS started_at, max(ts) AS ended_at, to_unixtime(max(ts)) - to_unixtime(min(ts)) AS seconds, count(*) AS events,
  min_by(event, ROW(ts, event_id)) AS first_event, min_by(page_path, ROW(ts, event_id)) FILTER (WHERE page_path IS NOT NULL) AS entry_page,
  max_by(page_path, ROW(ts, event_id)) FILTER (WHERE page_path IS NOT NULL) AS exit_page,
  min_by(platform, ROW(ts, event_id)) FILTER (WHERE platform IS NOT NULL) AS platform,
  min_by(country, ROW(ts, event_id)) FILTER (WHERE country IS NOT NULL) AS country,
  min_by(utm_source, ROW(ts, event_id)) FILTER (WHERE utm_source IS NOT NULL) AS utm_source
FROM events WHERE session_id IS NOT NULL GROUP BY user_key, session_id`
)

// functions are the definitions of those functions that SQL calls, in an order in
// which each comes after what it calls itself.
func functions(sql string) []string {
	need := map[string]bool{}
	for i := len(functionTexts) - 1; i >= 0; i-- { // callers are last
		f := functionTexts[i]
		if !strings.Contains(sql, f.name+"(") && !need[f.name] {
			continue
		}
		need[f.name] = true
		for _, called := range f.calls {
			need[called] = true
		}
	}
	var list []string
	for _, f := range functionTexts {
		if need[f.name] {
			list = append(list, "FUNCTION "+f.name+f.text)
		}
	}
	return list
}

// The values of JSON properties read the same as with the other engine.
var functionTexts = []struct {
	name  string
	calls []string
	text  string
}{
	{"number_text", nil, `(x double) RETURNS varchar DETERMINISTIC
BEGIN
  DECLARE s varchar DEFAULT CAST(x AS varchar);
  DECLARE sign varchar DEFAULT '';
  DECLARE digits varchar;
  DECLARE e integer;
  IF x = 0e0 THEN
    RETURN '0';
  END IF;
  IF strpos(s, 'E') = 0 THEN
    RETURN regexp_replace(s, '\.0$', '');
  END IF;
  IF substr(s, 1, 1) = '-' THEN
    SET sign = '-';
    SET s = substr(s, 2);
  END IF;
  SET e = CAST(substr(s, strpos(s, 'E') + 1) AS integer);
  SET digits = regexp_replace(replace(substr(s, 1, strpos(s, 'E') - 1), '.', ''), '0+$', '');
  IF e >= 0 AND e < 21 THEN
    IF length(digits) <= e + 1 THEN
      RETURN sign || rpad(digits, e + 1, '0');
    END IF;
    RETURN sign || substr(digits, 1, e + 1) || '.' || substr(digits, e + 2);
  END IF;
  IF e < 0 AND e > -7 THEN
    RETURN sign || '0.' || rpad('', -e - 1, '0') || digits;
  END IF;
  RETURN sign || substr(digits, 1, 1) || IF(length(digits) > 1, '.' || substr(digits, 2), '') || 'e' || CAST(e AS varchar);
END`},
	// The canonical text: 5 and 5.0 are both 5, JSON null is NULL, a list or an
	// object is its JSON.
	{"property_text", []string{"number_text"}, `(j json) RETURNS varchar DETERMINISTIC
BEGIN
  DECLARE t varchar DEFAULT json_format(j);
  DECLARE c varchar DEFAULT substr(t, 1, 1);
  IF t IS NULL OR t = 'null' THEN
    RETURN NULL;
  END IF;
  IF c = '"' THEN
    RETURN json_extract_scalar(j, '$');
  END IF;
  IF c <= '9' AND (strpos(t, '.') > 0 OR strpos(t, 'e') > 0 OR strpos(t, 'E') > 0) THEN
    RETURN number_text(CAST(t AS double));
  END IF;
  RETURN t;
END`},
	// The values that a condition looks at: a list's elements, or the one.
	{"property_values", []string{"property_text"}, `(j json) RETURNS array(varchar) DETERMINISTIC
BEGIN
  IF j IS NULL OR json_format(j) = 'null' THEN
    RETURN NULL;
  END IF;
  IF substr(json_format(j), 1, 1) = '[' THEN
    RETURN transform(CAST(j AS array(json)), e -> property_text(e));
  END IF;
  RETURN ARRAY[property_text(j)];
END`},
	// A number, or text that reads as a finite one.
	{"text_number", nil, `(t varchar) RETURNS double DETERMINISTIC
BEGIN
  DECLARE x double;
  IF t IS NULL OR NOT regexp_like(t, '\A\s*[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?\s*\z') THEN
    RETURN NULL;
  END IF;
  SET x = TRY_CAST(regexp_extract(t, '[^\s]+') AS double);
  RETURN IF(is_finite(x), x);
END`},
	// An instant in µs: epoch milliseconds, or ISO; without an offset, in the zone.
	{"text_time", nil, `(t varchar, zone varchar) RETURNS bigint DETERMINISTIC
BEGIN
  DECLARE wall varchar;
  DECLARE shift varchar;
  DECLARE minutes bigint;
  IF t IS NULL THEN
    RETURN NULL;
  END IF;
  IF regexp_like(t, '\A-?\d{5,16}(\.\d+)?\z') THEN
    RETURN TRY_CAST(round(TRY_CAST(t AS double) * 1e3) AS bigint);
  END IF;
  IF NOT regexp_like(t, '\A\d{4}-\d\d-\d\d([T ]\d\d:\d\d(:\d\d(\.\d+)?)?( ?([zZ]|[+-]\d\d(:?\d\d)?))?)?\z') THEN
    RETURN NULL;
  END IF;
  SET wall = replace(regexp_extract(t, '\A\d{4}-\d\d-\d\d([T ]\d\d:\d\d(:\d\d(\.\d+)?)?)?'), 'T', ' ');
  IF length(wall) = 10 THEN
    SET wall = wall || ' 00:00:00';
  END IF;
  IF TRY_CAST(wall AS timestamp(6)) IS NULL THEN
    RETURN NULL;
  END IF;
  SET shift = IF(length(t) > 10, regexp_extract(substr(t, 12), '([zZ]|[+-]\d\d(:?\d\d)?)\z'));
  IF shift IS NULL THEN
    RETURN CAST(round(to_unixtime(with_timezone(CAST(wall AS timestamp(6)), zone)) * 1e6) AS bigint);
  END IF;
  SET minutes = 0;
  IF length(shift) > 1 THEN
    SET shift = replace(shift, ':', '');
    SET minutes = CAST(substr(shift, 2, 2) AS bigint) * 60 + IF(length(shift) > 3, CAST(substr(shift, 4, 2) AS bigint), 0);
    SET minutes = IF(substr(shift, 1, 1) = '-', -minutes, minutes);
  END IF;
  RETURN CAST(round(to_unixtime(with_timezone(CAST(wall AS timestamp(6)), 'UTC')) * 1e6) AS bigint) - minutes * 60000000;
END`},
	// Exact, linear between ranks. The values are sorted.
	{"percentile", nil, `(list array(double), p double) RETURNS double DETERMINISTIC
BEGIN
  DECLARE place double;
  DECLARE low bigint;
  IF list IS NULL OR cardinality(list) = 0 THEN
    RETURN NULL;
  END IF;
  SET place = p * (cardinality(list) - 1);
  SET low = CAST(floor(place) AS bigint) + 1;
  IF low >= cardinality(list) THEN
    RETURN list[cardinality(list)];
  END IF;
  RETURN list[low] + (list[low + 1] - list[low]) * (place - (low - 1));
END`},
}
