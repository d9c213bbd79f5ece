package lake

import (
	"bytes"
	"cmp"
	"context"
	"fmt"
	"math"
	"slices"
	"sync"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
)

// Readers keep the list of an app's objects and ask PostgreSQL only for what
// changed since the version that they have. It is as exact as reading it all:
// the head, the removals and the additions come from one statement.
const (
	maxListed = 300_000 // objects kept over all apps, at about 400 bytes; a longer list is read for each question
	maxBehind = 10_000  // versions; removals are on record for twice as many
)

// listed is what readers and the policy of compaction need of a manifest row.
type listed struct {
	id     uuid.UUID
	source uuid.UUID // of a projection
	Object
	kind, zone   string
	level        int
	period       time.Time
	bucket, bits int
	createdAt    time.Time
}

// listing is the list of one app at one version. It never changes.
type listing struct {
	version int64
	rows    []*listed // of events and projections, by id and so by age
	objects []*listed // of events, by age, with their projections
	times   []span    // of objects, side by side: most questions pass most objects over
}

// span is the range of an object's event times in µs since 1970, both inclusive.
type span struct{ from, to int64 }

func spanOf(o *listed) span { return span{o.MinTS.UnixMicro(), o.MaxTS.UnixMicro()} }

// listings are the lists that readers keep.
type listings struct {
	mu    sync.Mutex
	apps  map[string]*listing
	total int // rows of all
}

func (l *listings) get(appID string) *listing {
	l.mu.Lock()
	defer l.mu.Unlock()
	if have := l.apps[appID]; have != nil {
		return have
	}
	return &listing{version: -1}
}

// put keeps a list unless a newer one is there. Any others make room for it.
func (l *listings) put(appID string, list *listing) {
	l.mu.Lock()
	defer l.mu.Unlock()
	have := l.apps[appID]
	if have != nil && have.version >= list.version {
		return
	}
	if l.apps == nil {
		l.apps = map[string]*listing{}
	}
	if have != nil {
		l.total -= len(have.rows)
		delete(l.apps, appID)
	}
	if len(list.rows) > maxListed {
		return
	}
	for other, dropped := range l.apps {
		if l.total+len(list.rows) <= maxListed {
			break
		}
		l.total -= len(dropped.rows)
		delete(l.apps, other)
	}
	l.apps[appID] = list
	l.total += len(list.rows)
}

// forget drops an app's list: its versions may start anew.
func (l *listings) forget(appID string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if have := l.apps[appID]; have != nil {
		l.total -= len(have.rows)
		delete(l.apps, appID)
	}
}

// manifestHead is what a snapshot needs beside the list, of the same instant.
type manifestHead struct {
	through landed
	version int64
	links   int64
}

// readListing reads the manifest of an app within tx, in one statement.
func (l *Lake) readListing(ctx context.Context, tx pgx.Tx, workspaceID, appID string) (manifestHead, *listing, error) {
	base := l.listings.get(appID)
	head, removed, added, err := l.readChanges(ctx, tx, workspaceID, appID, base.version)
	if err == nil && base.version >= 0 && (head.version < base.version || head.version-base.version > maxBehind) {
		base = &listing{version: -1}
		head, removed, added, err = l.readChanges(ctx, tx, workspaceID, appID, base.version)
	}
	if err != nil {
		return manifestHead{}, nil, fmt.Errorf("read manifest: %w", err)
	}
	if head.version == base.version {
		return head, base, nil
	}
	next := base.apply(head.version, removed, added)
	l.listings.put(appID, next)
	return head, next, nil
}

// readChanges reads what changed after version since; -1 reads everything.
func (l *Lake) readChanges(ctx context.Context, tx pgx.Tx, workspaceID, appID string, since int64) (head manifestHead, removed []uuid.UUID, added []*listed, err error) {
	rows, err := tx.Query(ctx, `
		SELECT offsets.landed, coalesce(a.version, 0), coalesce(a.link_number, 0),
		  (SELECT array_agg(gone.id) FROM (SELECT unnest(r.object_ids) AS id FROM lake_removals r
		    WHERE r.workspace_id = $1 AND r.app_id = $2 AND $3::bigint >= 0 AND r.version > $3) AS gone),
		  NULL::uuid, NULL, NULL, NULL, NULL, NULL, NULL::timestamptz, NULL::timestamptz, NULL::text[], NULL, NULL::uuid,
		  NULL, NULL::date, NULL, NULL, NULL::timestamptz
		FROM (SELECT `+offsetsJSON+` AS landed) AS offsets
		LEFT JOIN lake_apps a ON a.workspace_id = $1 AND a.app_id = $2
		UNION ALL
		SELECT NULL, NULL, NULL, NULL, o.object_id, o.kind, o.key, o.rows, o.bytes, o.link_number, o.min_ts, o.max_ts, o.columns, o.zone, o.source_id,
		  o.level, o.period, o.bucket, o.bucket_bits, o.created_at
		FROM lake_objects o WHERE o.workspace_id = $1 AND o.app_id = $2 AND o.version > $3 AND o.kind <> 'erased'`, workspaceID, appID, since)
	if err != nil {
		return head, nil, nil, err
	}
	defer rows.Close()
	for rows.Next() {
		var version, links, count, bytes, link *int64
		var through landed
		var gone []uuid.UUID
		var id, source *uuid.UUID
		var kind, key, zone *string
		var minTS, maxTS, period, createdAt *time.Time
		var columns []string
		var level, bucket, bits *int
		if err := rows.Scan(&through, &version, &links, &gone, &id, &kind, &key, &count, &bytes, &link, &minTS, &maxTS, &columns, &zone, &source,
			&level, &period, &bucket, &bits, &createdAt); err != nil {
			return head, nil, nil, err
		}
		if id == nil {
			head, removed = manifestHead{through, *version, *links}, gone
			continue
		}
		row := &listed{id: *id, kind: *kind, zone: *zone, level: *level, bucket: *bucket, bits: *bits, createdAt: *createdAt, Object: Object{ID: id.String(), Key: *key, Rows: *count, Bytes: *bytes, LinkNumber: *link,
			MinTS: *minTS, MaxTS: *maxTS, Columns: columns}}
		if source != nil {
			row.source = *source
		}
		if period != nil {
			row.period = *period
		}
		added = append(added, row)
	}
	return head, removed, added, rows.Err()
}

func compareListed(a, b *listed) int { return bytes.Compare(a.id[:], b.id[:]) }

// apply makes the list of a later version. A fresh object costs a copy of the
// pointers; anything else costs a pass over the list.
func (l *listing) apply(version int64, removed []uuid.UUID, added []*listed) *listing {
	next := &listing{version: version, rows: l.rows, objects: l.objects, times: l.times}
	if len(removed) == 0 && len(added) == 0 {
		return next
	}
	slices.SortFunc(added, compareListed)
	onlyFresh := len(removed) == 0 && (len(l.rows) == 0 || compareListed(l.rows[len(l.rows)-1], added[0]) < 0)
	for _, row := range added {
		onlyFresh = onlyFresh && row.kind == kindEvents
	}
	if onlyFresh {
		next.rows = append(slices.Clip(l.rows), added...)
		next.objects = append(slices.Clip(l.objects), added...)
		next.times = slices.Grow(slices.Clip(l.times), len(added))
		for _, row := range added {
			next.times = append(next.times, spanOf(row))
		}
		return next
	}
	drop := map[uuid.UUID]struct{}{}
	for _, id := range removed {
		drop[id] = struct{}{}
	}
	for _, row := range added { // listed again, or seen already: the new one counts
		drop[row.id] = struct{}{}
	}
	next.rows = make([]*listed, 0, len(l.rows)+len(added))
	for _, row := range l.rows {
		for len(added) > 0 && compareListed(added[0], row) < 0 {
			next.rows, added = append(next.rows, added[0]), added[1:]
		}
		if _, gone := drop[row.id]; !gone {
			next.rows = append(next.rows, row)
		}
	}
	next.rows = append(next.rows, added...)
	next.attach()
	return next
}

// attach makes the list of objects with their projections.
func (l *listing) attach() {
	bySource := map[uuid.UUID][]Projection{}
	for _, row := range l.rows {
		if row.kind != kindEvents {
			bySource[row.source] = append(bySource[row.source], Projection{Kind: row.kind, Key: row.Key, Rows: row.Rows, Bytes: row.Bytes, Zone: row.zone, Columns: row.Columns})
		}
	}
	l.objects = make([]*listed, 0, len(l.rows))
	l.times = make([]span, 0, len(l.rows))
	for _, row := range l.rows {
		if row.kind != kindEvents {
			continue
		}
		l.times = append(l.times, spanOf(row))
		projections := bySource[row.id]
		if len(projections) == 0 {
			l.objects = append(l.objects, row)
			continue
		}
		slices.SortFunc(projections, func(a, b Projection) int { return cmp.Or(cmp.Compare(a.Kind, b.Kind), cmp.Compare(a.Key, b.Key)) })
		object := *row
		object.Projections = projections
		l.objects = append(l.objects, &object)
	}
}

// between copies the objects whose events meet the half-open range of times.
func (l *listing) between(from, to time.Time) []Object {
	asked := span{math.MinInt64, math.MaxInt64}
	if !from.IsZero() {
		asked.from = from.UnixMicro()
	}
	if !to.IsZero() {
		asked.to = to.UnixMicro()
		if to.After(time.UnixMicro(asked.to)) { // within a microsecond
			asked.to++
		}
	}
	var meet []int32
	for i := range l.times {
		if l.times[i].to >= asked.from && l.times[i].from < asked.to {
			meet = append(meet, int32(i))
		}
	}
	objects := make([]Object, len(meet))
	for i, at := range meet {
		objects[i] = l.objects[at].Object
		objects[i].Projections = slices.Clone(objects[i].Projections) // whose paths are the snapshot's own
	}
	return objects
}
