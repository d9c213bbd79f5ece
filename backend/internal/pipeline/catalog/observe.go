package catalog

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/causality-project/causality/backend/internal/platform/event"
)

// Bounds of what is kept.
const (
	MaxNames       = 10_000 // property names of an event; further ones are counted as cut
	maxSamples     = 5      // of a property's values
	maxSampleRunes = 100
	maxNameBytes   = 400     // of a property's name; a longer one is cut
	maxKnown       = 400_000 // property names remembered over all apps, about 40 MB
)

// Batch gathers what a run of one app's events shows, to be committed in the
// transaction that lists their object. It is for one goroutine.
type Batch struct {
	catalog     *Catalog
	workspaceID string
	appID       string
	events      map[string]*seenEvent
	last        *seenEvent // of the last event: runs of one name are common
}

type seenEvent struct {
	name       string
	count      int64
	first      time.Time
	newest     time.Time
	days       map[int64]int64 // day since 1970 → events
	properties map[string]*seenProperty
	fresh      int   // of properties: not known to be stored
	cut        int64 // properties beyond the bound
	known      *knownEvent
}

type seenProperty struct {
	count   int64
	kinds   Kind
	samples []string
	newest  time.Time
	full    bool // enough samples are kept already
}

// Begin starts a batch for an app.
func (c *Catalog) Begin(workspaceID, appID string) *Batch {
	return &Batch{catalog: c, workspaceID: workspaceID, appID: appID, events: map[string]*seenEvent{}}
}

// Observe counts one event. Only what is tracked can be asked about, so other
// types are left out. visit, if not nil, is shown every property on the way, so
// that the JSON is walked only once. About 100 ns a property; strings are
// copied only when something new is seen.
func (b *Batch) Observe(e *event.Event, visit func(name string, kind Kind, raw string)) {
	if e.Type != event.Track {
		return
	}
	seen := b.last
	if seen == nil || seen.name != e.Name {
		seen = b.events[e.Name]
		if seen == nil {
			name := strings.Clone(e.Name)
			seen = &seenEvent{
				name: name, first: e.TS, newest: e.TS, days: map[int64]int64{}, properties: map[string]*seenProperty{},
				known: b.catalog.known(b.appID, name),
			}
			b.events[name] = seen
		}
		b.last = seen
	}
	seen.count++
	if e.TS.Before(seen.first) {
		seen.first = e.TS
	}
	if e.TS.After(seen.newest) {
		seen.newest = e.TS
	}
	seen.days[dayOf(e.TS)]++
	if e.Properties == "" {
		return
	}
	Walk(e.Properties, func(name string, kind Kind, raw string) {
		if visit != nil {
			visit(name, kind, raw)
		}
		seen.property(name, kind, raw, e.TS)
	})
}

func (s *seenEvent) property(name string, kind Kind, raw string, ts time.Time) {
	p := s.properties[name]
	if p == nil {
		if len(name) > maxNameBytes {
			name = strings.ToValidUTF8(name[:maxNameBytes], "")
			if p = s.properties[name]; p != nil {
				p.add(kind, raw, ts)
				return
			}
		}
		full, have, size := s.known.look(name)
		if !have {
			if size+s.fresh >= MaxNames {
				s.cut++
				return
			}
			s.fresh++
		}
		p = &seenProperty{full: full}
		s.properties[strings.Clone(name)] = p
	}
	p.add(kind, raw, ts)
}

func (p *seenProperty) add(kind Kind, raw string, ts time.Time) {
	p.count++
	p.kinds |= kind
	if ts.After(p.newest) {
		p.newest = ts
	}
	if p.full || len(p.samples) >= maxSamples {
		return
	}
	sample := sampleOf(kind, raw)
	for _, have := range p.samples {
		if have == sample {
			return
		}
	}
	p.samples = append(p.samples, strings.Clone(sample))
}

func sampleOf(kind Kind, raw string) string {
	if kind == Text {
		raw = Unquote(raw)
	}
	if len(raw) > maxSampleRunes {
		runes := 0
		for at := range raw {
			if runes == maxSampleRunes {
				raw = raw[:at]
				break
			}
			runes++
		}
	}
	return Storable(raw)
}

// Storable removes what PostgreSQL refuses in text: NUL and broken UTF-8. The
// unit separator goes too: it parts the samples on their way.
func Storable(s string) string {
	s = strings.ToValidUTF8(s, "\uFFFD")
	if strings.ContainsAny(s, "\x00\x1f") {
		s = strings.NewReplacer("\x00", "", "\x1f", "").Replace(s)
	}
	return s
}

func dayOf(t time.Time) int64 {
	seconds := t.Unix()
	day := seconds / 86400
	if seconds%86400 < 0 {
		day--
	}
	return day
}

// Commit adds the batch to the catalog inside the caller's transaction, which
// must be scoped to the app's workspace and hold the app's row in lake_apps:
// that lock keeps concurrent batches from deadlocking on these rows. Call
// Committed once the transaction is.
func (b *Batch) Commit(ctx context.Context, tx pgx.Tx) error {
	if len(b.events) == 0 {
		return nil
	}
	if err := b.loadKnown(ctx, tx); err != nil {
		return err
	}
	var (
		names, dayNames, propertyEvents, propertyNames, samples []string
		counts, cuts, dayCounts, propertyCounts                 []int64
		firsts, lasts, days, propertyLasts                      []time.Time
		kinds                                                   []int16
	)
	for _, seen := range b.events {
		name := Storable(seen.name)
		names, counts, cuts = append(names, name), append(counts, seen.count), append(cuts, seen.cut)
		firsts, lasts = append(firsts, seen.first), append(lasts, seen.newest)
		for day, n := range seen.days {
			days, dayNames, dayCounts = append(days, time.Unix(day*86400, 0).UTC()), append(dayNames, name), append(dayCounts, n)
		}
		for property, p := range seen.properties {
			propertyEvents, propertyNames = append(propertyEvents, name), append(propertyNames, Storable(property))
			kinds, propertyCounts = append(kinds, int16(p.kinds)), append(propertyCounts, p.count)
			samples, propertyLasts = append(samples, strings.Join(p.samples, "\x1f")), append(propertyLasts, p.newest)
		}
	}
	var batch pgx.Batch
	batch.Queue(`
		INSERT INTO catalog_events AS c (workspace_id, app_id, name, count, first_seen, last_seen, names_cut)
		SELECT $1::uuid, $2::uuid, name, sum(n), min(first), max(last), sum(cut)
		FROM unnest($3::text[], $4::bigint[], $5::timestamptz[], $6::timestamptz[], $7::bigint[]) AS u (name, n, first, last, cut)
		GROUP BY name
		ON CONFLICT (workspace_id, app_id, name) DO UPDATE SET
		  count = c.count + excluded.count, first_seen = least(c.first_seen, excluded.first_seen),
		  last_seen = greatest(c.last_seen, excluded.last_seen), names_cut = c.names_cut + excluded.names_cut`,
		b.workspaceID, b.appID, names, counts, firsts, lasts, cuts)
	batch.Queue(`
		INSERT INTO catalog_event_days AS c (workspace_id, app_id, day, name, count)
		SELECT $1::uuid, $2::uuid, day, name, sum(n)
		FROM unnest($3::date[], $4::text[], $5::bigint[]) AS u (day, name, n)
		GROUP BY day, name
		ON CONFLICT (workspace_id, app_id, day, name) DO UPDATE SET count = c.count + excluded.count`,
		b.workspaceID, b.appID, days, dayNames, dayCounts)
	if len(propertyNames) > 0 {
		batch.Queue(`
			INSERT INTO catalog_properties AS c (workspace_id, app_id, event, name, types, count, samples, last_seen)
			SELECT $1::uuid, $2::uuid, event, name, bit_or(types), sum(n), string_to_array(min(samples), E'\x1f'), max(last)
			FROM unnest($3::text[], $4::text[], $5::smallint[], $6::bigint[], $7::text[], $8::timestamptz[])
			  AS u (event, name, types, n, samples, last)
			GROUP BY event, name
			ON CONFLICT (workspace_id, app_id, event, name) DO UPDATE SET
			  types = c.types | excluded.types, count = c.count + excluded.count,
			  last_seen = greatest(c.last_seen, excluded.last_seen),
			  samples = CASE WHEN cardinality(c.samples) >= 5 OR cardinality(excluded.samples) = 0 THEN c.samples
			    ELSE (c.samples || ARRAY(SELECT s FROM unnest(excluded.samples) AS s WHERE s <> ALL (c.samples)))[1:5] END`,
			b.workspaceID, b.appID, propertyEvents, propertyNames, kinds, propertyCounts, samples, propertyLasts)
	}
	if err := tx.SendBatch(ctx, &batch).Close(); err != nil {
		return fmt.Errorf("catalog: %w", err)
	}
	return nil
}

// loadKnown reads what is kept of events that this process meets for the first
// time, and takes back the new names of the batch that there is no room for.
func (b *Batch) loadKnown(ctx context.Context, tx pgx.Tx) error {
	var missing []string
	for name, seen := range b.events {
		if !seen.known.isLoaded() && len(seen.properties) > 0 {
			missing = append(missing, Storable(name))
		}
	}
	if len(missing) == 0 {
		return nil
	}
	rows, err := tx.Query(ctx, `SELECT event, name, cardinality(samples) >= $4 FROM catalog_properties
		WHERE workspace_id = $1 AND app_id = $2 AND event = ANY ($3)`, b.workspaceID, b.appID, missing, maxSamples)
	if err != nil {
		return fmt.Errorf("catalog: read known properties: %w", err)
	}
	stored := map[string]map[string]bool{}
	var eventName, name string
	var full bool
	if _, err := pgx.ForEachRow(rows, []any{&eventName, &name, &full}, func() error {
		if stored[eventName] == nil {
			stored[eventName] = map[string]bool{}
		}
		stored[eventName][name] = full
		return nil
	}); err != nil {
		return fmt.Errorf("catalog: read known properties: %w", err)
	}
	for eventName, seen := range b.events {
		if seen.known.isLoaded() {
			continue
		}
		seen.known.load(stored[Storable(eventName)])
		room := MaxNames - len(stored[Storable(eventName)])
		for property, p := range seen.properties {
			if _, have := stored[Storable(eventName)][Storable(property)]; have {
				continue
			}
			if room--; room < 0 {
				seen.cut += p.count
				delete(seen.properties, property)
			}
		}
	}
	return nil
}

// Committed remembers what the batch stored.
func (b *Batch) Committed() {
	for _, seen := range b.events {
		seen.known.learn(seen.properties)
	}
	b.catalog.bound()
}
