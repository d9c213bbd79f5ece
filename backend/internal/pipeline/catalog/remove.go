package catalog

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
)

// Removal gathers what events had added to the catalog that are now removed from
// the store, to be committed in the transaction that removes them. It is for one
// goroutine. First and last days of what stays are left as they were.
type Removal struct {
	catalog     *Catalog
	workspaceID string
	appID       string
	samples     map[[2]string][]string // that the catalog shows, by event and property
	events      map[string]*removedEvent
}

type removedEvent struct {
	count      int64
	days       map[int64]int64
	properties map[string]int64
	shown      map[[2]string]struct{} // property and sample: values of removed events
}

// BeginRemoval starts a removal for an app. It reads the samples that the
// catalog shows now: those equal to a removed event's value will go.
func (c *Catalog) BeginRemoval(ctx context.Context, tx pgx.Tx, workspaceID, appID string) (*Removal, error) {
	r := &Removal{catalog: c, workspaceID: workspaceID, appID: appID, samples: map[[2]string][]string{}, events: map[string]*removedEvent{}}
	rows, err := tx.Query(ctx, `SELECT event, name, samples FROM catalog_properties
		WHERE workspace_id = $1 AND app_id = $2 AND cardinality(samples) > 0`, workspaceID, appID)
	if err != nil {
		return nil, fmt.Errorf("catalog: read samples: %w", err)
	}
	var key [2]string
	var samples []string
	if _, err := pgx.ForEachRow(rows, []any{&key[0], &key[1], &samples}, func() error {
		r.samples[key] = samples
		samples = nil
		return nil
	}); err != nil {
		return nil, fmt.Errorf("catalog: read samples: %w", err)
	}
	return r, nil
}

// Event counts a removed TRACK event.
func (r *Removal) Event(name string, ts time.Time) {
	e := r.event(name)
	e.count++
	e.days[dayOf(ts)]++
}

// Properties counts the properties of a removed TRACK event, a JSON object.
func (r *Removal) Properties(name, properties string) {
	e := r.event(name)
	stored := Storable(name)
	Walk(properties, func(property string, kind Kind, raw string) {
		if len(property) > maxNameBytes {
			property = strings.ToValidUTF8(property[:maxNameBytes], "")
		}
		property = Storable(property)
		e.properties[property]++
		shown := r.samples[[2]string{stored, property}]
		if len(shown) == 0 {
			return
		}
		value := sampleOf(kind, raw)
		for _, sample := range shown {
			if sample == value {
				e.shown[[2]string{property, sample}] = struct{}{}
			}
		}
	})
}

func (r *Removal) event(name string) *removedEvent {
	e := r.events[name]
	if e == nil {
		e = &removedEvent{days: map[int64]int64{}, properties: map[string]int64{}, shown: map[[2]string]struct{}{}}
		r.events[strings.Clone(name)] = e
	}
	return e
}

// Commit takes the removal out of the catalog inside the caller's transaction,
// which must be scoped to the app's workspace and hold the app's row in
// lake_apps. Every process must then Forget the app.
func (r *Removal) Commit(ctx context.Context, tx pgx.Tx) error {
	if len(r.events) == 0 {
		return nil
	}
	var (
		names, dayNames, propertyEvents, propertyNames, sampleEvents, sampleNames, samples []string
		counts, dayCounts, propertyCounts                                                  []int64
		days                                                                               []time.Time
	)
	for original, e := range r.events {
		name := Storable(original)
		names, counts = append(names, name), append(counts, e.count)
		for day, n := range e.days {
			days, dayNames, dayCounts = append(days, time.Unix(day*86400, 0).UTC()), append(dayNames, name), append(dayCounts, n)
		}
		for property, n := range e.properties {
			propertyEvents, propertyNames, propertyCounts = append(propertyEvents, name), append(propertyNames, property), append(propertyCounts, n)
		}
		for shown := range e.shown {
			sampleEvents, sampleNames, samples = append(sampleEvents, name), append(sampleNames, shown[0]), append(samples, shown[1])
		}
	}
	var batch pgx.Batch
	batch.Queue(`UPDATE catalog_events c SET count = c.count - u.n
		FROM (SELECT name, sum(n) AS n FROM unnest($3::text[], $4::bigint[]) AS u (name, n) GROUP BY name) AS u
		WHERE c.workspace_id = $1 AND c.app_id = $2 AND c.name = u.name`, r.workspaceID, r.appID, names, counts)
	batch.Queue(`UPDATE catalog_event_days c SET count = c.count - u.n
		FROM (SELECT day, name, sum(n) AS n FROM unnest($3::date[], $4::text[], $5::bigint[]) AS u (day, name, n) GROUP BY day, name) AS u
		WHERE c.workspace_id = $1 AND c.app_id = $2 AND c.day = u.day AND c.name = u.name`, r.workspaceID, r.appID, days, dayNames, dayCounts)
	batch.Queue(`UPDATE catalog_properties c SET count = c.count - u.n
		FROM (SELECT event, name, sum(n) AS n FROM unnest($3::text[], $4::text[], $5::bigint[]) AS u (event, name, n) GROUP BY event, name) AS u
		WHERE c.workspace_id = $1 AND c.app_id = $2 AND c.event = u.event AND c.name = u.name`,
		r.workspaceID, r.appID, propertyEvents, propertyNames, propertyCounts)
	batch.Queue(`UPDATE catalog_properties c SET samples = ARRAY(SELECT s FROM unnest(c.samples) AS s WHERE s <> ALL (u.gone))
		FROM (SELECT event, name, array_agg(sample) AS gone FROM unnest($3::text[], $4::text[], $5::text[]) AS u (event, name, sample) GROUP BY event, name) AS u
		WHERE c.workspace_id = $1 AND c.app_id = $2 AND c.event = u.event AND c.name = u.name`,
		r.workspaceID, r.appID, sampleEvents, sampleNames, samples)
	// What no event shows any more is not listed.
	batch.Queue(`DELETE FROM catalog_properties WHERE workspace_id = $1 AND app_id = $2 AND event = ANY ($3) AND (count <= 0 OR event IN (
		SELECT name FROM catalog_events WHERE workspace_id = $1 AND app_id = $2 AND name = ANY ($3) AND count <= 0))`, r.workspaceID, r.appID, names)
	batch.Queue(`DELETE FROM catalog_event_days WHERE workspace_id = $1 AND app_id = $2 AND name = ANY ($3) AND count <= 0`, r.workspaceID, r.appID, names)
	batch.Queue(`DELETE FROM catalog_events WHERE workspace_id = $1 AND app_id = $2 AND name = ANY ($3) AND count <= 0`, r.workspaceID, r.appID, names)
	if err := tx.SendBatch(ctx, &batch).Close(); err != nil {
		return fmt.Errorf("catalog: remove: %w", err)
	}
	return nil
}
