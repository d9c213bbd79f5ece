package query

import (
	"cmp"
	"slices"
	"strings"
	"time"
)

// Kinds of projections.
const (
	byEvent   = "by_event"
	eventDays = "event_days"
	userDays  = "user_days"
)

// hot are the columns of events that by_event holds, beside those that are
// promoted. It holds tracked events alone, and no event_id.
var hot = map[string]bool{
	"event": true, "user_key": true, "ts": true,
	"platform": true, "os": true, "app_version": true, "device_type": true, "browser": true, "country": true, "locale": true,
	"utm_source": true, "utm_medium": true, "utm_campaign": true, "page_path": true, "referrer_host": true, "revenue": true,
}

// Promoted is a property that newer objects keep in a column of its own.
type Promoted struct {
	Name   string
	Number bool // its numbers; else its canonical text
}

// Column is the quoted name of the property's column.
func (p Promoted) Column() string { return Identifier(p.column()) }

func (p Promoted) column() string { return "p_" + p.Name }

func (p Promoted) sqlType() string {
	if p.Number {
		return "DOUBLE"
	}
	return "VARCHAR"
}

// fromJSON is the property as every object can tell it.
func (p Promoted) fromJSON() string {
	text := "property_text(properties, " + Text(Pointer(p.Name)) + ")"
	if p.Number {
		return "text_number(" + text + ")"
	}
	return text
}

// Identifier quotes the name of a column.
func Identifier(name string) string { return `"` + strings.ReplaceAll(name, `"`, `""`) + `"` }

// Need is what one question reads, so that the smallest files that hold it are
// taken. The zero value reads nothing.
type Need struct {
	// Columns of events that are read. event and ts are there always; user_key
	// is folded through the newest links only where it is asked for.
	Columns []string
	// Promoted properties that are read where an object holds them completely;
	// elsewhere their column is NULL and properties holds them.
	Promoted []Promoted
	// Events asks for the table events with these columns alone.
	Events bool
	// Users asks for the table users, which only whole events make up.
	Users bool
	// Days asks for the tables event_days and event_rest.
	Days *Days
}

// Days asks for counts by local day: event_days(event, day, user_key, n) where
// an object has them, and event_rest(event, ts, user_key) for all other events.
type Days struct {
	Zone  string // whose days count; IANA name
	Event bool   // event is read; else it may be NULL
	Users bool   // user_key is read
	// Whole reports whether the question's bounds cut none of the days on which
	// an object has events; its bounds are inclusive.
	Whole    func(first, last time.Time) bool
	From, To time.Time // objects without an event in between are left out
}

// Planned are the tables of one question.
type Planned struct {
	Tables
	Rows, Bytes int64 // of the files that are read
}

// Plan builds the tables that a question of ours needs, over the smallest files
// that answer it exactly. The tables are those of the need alone: SQL that people
// write gets TablesOf.
func (s *Snapshot) Plan(need Need) Planned {
	p := newPlanner(s)
	p.Load = s.Load
	p.Setup = slices.Clone(macros)
	if need.Users {
		p.view("lake_rows", p.whole(nil))
		p.Setup = append(p.Setup, usersView)
	}
	if need.Events {
		p.view("events", p.events(need, nil))
	}
	if need.Days != nil {
		p.days(*need.Days)
	}
	return p.Planned
}

type planner struct {
	Planned
	snapshot *Snapshot
	taken    []uint8 // by object: which of its files are read already
}

func newPlanner(s *Snapshot) *planner {
	p := &planner{snapshot: s, taken: make([]uint8, len(s.Objects))}
	p.Files = make([]string, 0, len(s.Objects))
	return p
}

func (p *planner) view(name, body string) {
	p.Setup = append(p.Setup, "CREATE VIEW "+name+" AS "+body)
}

// take reads a file of the object at index, or the object itself for a nil one.
func (p *planner) take(index int, smaller *Projection) (path string) {
	o := &p.snapshot.Objects[index]
	path, rows, bytes, bit := o.Path, o.Rows, o.Bytes, uint8(1)
	if smaller != nil {
		path, rows, bytes = smaller.Path, smaller.Rows, smaller.Bytes
		switch smaller.Kind {
		case byEvent:
			bit = 2
		case eventDays:
			bit = 4
		default:
			bit = 8
		}
	}
	if p.taken[index]&bit == 0 {
		p.taken[index] |= bit
		p.Files = append(p.Files, path)
		p.Rows += rows
		p.Bytes += bytes
	}
	return path
}

// open reports whether links must be applied to the object's rows.
func (s *Snapshot) open(o *Object) bool {
	return o.LinkNumber < s.Links.Number && len(s.Links.ByKey)+len(s.Links.Changed)+len(s.Links.ChangedUsers) > 0
}

// projection finds an object's smaller file of a kind, if its rows can be given
// their people: links by key apply to any file, corrections need the ids that
// only whole events have. A zone other than "" must be that of its days.
func (s *Snapshot) projection(o *Object, kind, zone string, people bool) *Projection {
	if people && s.open(o) && len(s.Links.Changed)+len(s.Links.ChangedUsers) > 0 {
		return nil
	}
	for i := range o.Projections {
		if p := &o.Projections[i]; p.Kind == kind && (zone == "" || p.Zone == zone) {
			return p
		}
	}
	return nil
}

// shape is what files must have in common to be read by one SELECT: a scan has
// the columns of its first file, by name, and asks them of all others.
type shape struct {
	kind     string // of projection; empty: whole events
	open     bool
	promoted [maxPromoted / 64]uint64 // of the need's, which the files hold completely
}

// maxPromoted bounds the promoted properties of an app that are used.
const maxPromoted = 128

func (s shape) has(i int) bool { return s.promoted[i/64]&(1<<(i%64)) != 0 }

// scans are files by their shape, in a steady order.
type scans struct {
	index  map[shape]int
	shapes []shape
	paths  [][]string
}

func (s *scans) add(of shape, path string) {
	i, known := s.index[of]
	if !known {
		if s.index == nil {
			s.index = map[shape]int{}
		}
		i = len(s.shapes)
		s.index[of], s.shapes, s.paths = i, append(s.shapes, of), append(s.paths, nil)
	}
	s.paths[i] = append(s.paths[i], path)
}

// body joins one SELECT a shape, or selects nothing with the types given.
func (s *scans) body(empty string, of func(shape shape, paths []string) string) string {
	if len(s.shapes) == 0 {
		return empty
	}
	parts := make([]string, len(s.shapes))
	for i, shape := range s.shapes {
		parts[i] = of(shape, s.paths[i])
	}
	return strings.Join(parts, " UNION ALL ")
}

// complete marks which of the promoted properties a file's columns are.
func complete(columns []string, index map[string]int) (mask [maxPromoted / 64]uint64, all bool) {
	n := 0
	for _, property := range columns {
		if i, ok := index[property]; ok && mask[i/64]&(1<<(i%64)) == 0 {
			mask[i/64] |= 1 << (i % 64)
			n++
		}
	}
	return mask, n == len(index)
}

func indexOf(promoted []Promoted) map[string]int {
	index := make(map[string]int, len(promoted))
	for i, p := range promoted {
		index[p.Name] = i
	}
	return index
}

// whole is all rows of all objects, with the promoted properties from their
// column or else from JSON.
func (p *planner) whole(promoted []Promoted) string {
	promoted = promoted[:min(len(promoted), maxPromoted)]
	index := indexOf(promoted)
	var s scans
	for i := range p.snapshot.Objects {
		o := &p.snapshot.Objects[i]
		of := shape{open: p.snapshot.open(o)}
		of.promoted, _ = complete(o.Columns, index)
		s.add(of, p.take(i, nil))
	}
	columns := slices.Concat(eventColumns, rowColumns)
	empty := make([]string, 0, len(columns)+len(promoted))
	for _, c := range columns {
		empty = append(empty, "NULL::"+c.Type+" AS "+c.Name)
	}
	for _, c := range promoted {
		empty = append(empty, "NULL::"+c.sqlType()+" AS "+c.Column())
	}
	return s.body("SELECT "+strings.Join(empty, ", ")+" WHERE false", func(of shape, paths []string) string {
		list := make([]string, 0, len(columns)+len(promoted))
		for _, c := range columns {
			list = append(list, c.Name)
		}
		for i, c := range promoted {
			if of.has(i) {
				list = append(list, c.Column())
			} else {
				list = append(list, c.fromJSON()+" AS "+c.Column())
			}
		}
		return p.read(list, paths, of.open, "")
	})
}

// events is the table events of a need over all objects, or some.
func (p *planner) events(need Need, only func(index int) bool) string {
	promoted := need.Promoted[:min(len(need.Promoted), maxPromoted)]
	index := indexOf(promoted)
	people := slices.Contains(need.Columns, "user_key")
	slim := true // by_event has what is needed
	for _, c := range need.Columns {
		slim = slim && hot[c]
	}
	var s scans
	for i := range p.snapshot.Objects {
		if only != nil && !only(i) {
			continue
		}
		o := &p.snapshot.Objects[i]
		of := shape{open: people && p.snapshot.open(o)}
		if slim {
			if smaller := p.snapshot.projection(o, byEvent, "", people); smaller != nil {
				if mask, all := complete(smaller.Columns, index); all {
					of.kind, of.promoted = byEvent, mask
					s.add(of, p.take(i, smaller))
					continue
				}
			}
		}
		of.promoted, _ = complete(o.Columns, index)
		s.add(of, p.take(i, nil))
	}
	names := []string{"event", "ts"}
	for _, c := range need.Columns {
		if !slices.Contains(names, c) {
			names = append(names, c)
		}
	}
	json := slices.Contains(names, "properties")
	if !json && len(promoted) > 0 {
		names = append(names, "properties")
	}
	empty := make([]string, 0, len(names)+len(promoted))
	for _, name := range names {
		empty = append(empty, "NULL::"+typeOf(name)+" AS "+name)
	}
	for _, c := range promoted {
		empty = append(empty, "NULL::"+c.sqlType()+" AS "+c.Column())
	}
	return s.body("SELECT "+strings.Join(empty, ", ")+" WHERE false", func(of shape, paths []string) string {
		list := make([]string, 0, len(names)+len(promoted))
		missing := json
		for i := range promoted {
			missing = missing || !of.has(i)
		}
		for _, name := range names {
			if name == "properties" && !missing {
				name = "NULL::VARCHAR AS properties"
			}
			list = append(list, name)
		}
		for i, c := range promoted {
			if of.has(i) {
				list = append(list, c.Column())
			} else {
				list = append(list, "NULL::"+c.sqlType()+" AS "+c.Column())
			}
		}
		where := ""
		if of.kind == "" {
			where = "type = 'TRACK'"
		}
		return p.read(list, paths, of.open, where)
	})
}

// days makes event_days and event_rest.
func (p *planner) days(days Days) {
	kind := userDays
	if days.Event {
		kind = eventDays
	}
	var s scans
	rest := make([]bool, len(p.snapshot.Objects))
	for i := range p.snapshot.Objects {
		o := &p.snapshot.Objects[i]
		if !days.From.IsZero() && !o.MaxTS.IsZero() && o.MaxTS.Before(days.From) || !days.To.IsZero() && !o.MinTS.Before(days.To) {
			continue
		}
		counts := p.snapshot.projection(o, kind, days.Zone, days.Users)
		if counts == nil || o.MaxTS.IsZero() || !days.Whole(o.MinTS, o.MaxTS) {
			rest[i] = true
			continue
		}
		s.add(shape{kind: kind, open: days.Users && p.snapshot.open(o)}, p.take(i, counts))
	}
	list := []string{"event", "day", "user_key", "n"}
	if !days.Event {
		list[0] = "NULL::VARCHAR AS event"
	}
	p.view("event_days", s.body("SELECT NULL::VARCHAR AS event, NULL::DATE AS day, NULL::BIGINT AS user_key, NULL::BIGINT AS n WHERE false",
		func(of shape, paths []string) string { return p.read(list, paths, of.open, "") }))
	need := Need{}
	if days.Users {
		need.Columns = []string{"user_key"}
	}
	p.view("event_rest", p.events(need, func(i int) bool { return rest[i] }))
}

// read selects columns of files; those that are open get the newest person
// links. The joins are with small tables, unique in their key, so that no row is
// repeated.
func (p *planner) read(columns, paths []string, open bool, where string) string {
	var b strings.Builder
	size := 200
	for _, path := range paths {
		size += len(path) + 4
	}
	b.Grow(size)
	joins := ""
	if open {
		links := p.snapshot.Links
		var keys []string
		// Files that are smaller are open only to links by key.
		if len(links.ChangedUsers) > 0 {
			keys = append(keys, "cu.to_key")
			joins += " LEFT JOIN link_users cu ON cu.id = r.user_id"
		}
		if len(links.Changed) > 0 {
			keys = append(keys, "ca.to_key")
			joins += " LEFT JOIN link_visitors ca ON r.user_id IS NULL AND ca.id = r.anonymous_id"
		}
		if len(links.ByKey) > 0 {
			keys = append(keys, "k.to_key")
			joins += " LEFT JOIN link_keys k ON k.from_key = r.user_key"
		}
		p.Links = links
		columns = slices.Clone(columns)
		if i := slices.Index(columns, "user_key"); i >= 0 {
			columns[i] = "coalesce(" + strings.Join(append(keys, "r.user_key"), ", ") + ") AS user_key"
		}
	}
	b.WriteString("SELECT " + strings.Join(columns, ", ") + " FROM read_parquet([")
	for i, path := range paths {
		if i > 0 {
			b.WriteString(", ")
		}
		if strings.IndexByte(path, '\'') >= 0 {
			path = strings.ReplaceAll(path, "'", "''")
		}
		b.WriteByte('\'')
		b.WriteString(path)
		b.WriteByte('\'')
	}
	b.WriteString("], hive_partitioning = false) r" + joins)
	if where != "" {
		b.WriteString(" WHERE " + where)
	}
	return b.String()
}

func typeOf(column string) string {
	i := slices.IndexFunc(eventColumns, func(c ColumnInfo) bool { return c.Name == column })
	if i < 0 {
		return "VARCHAR"
	}
	return cmp.Or(eventColumns[i].Type, "VARCHAR")
}
