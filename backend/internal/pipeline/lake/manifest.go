package lake

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"sync"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"

	"github.com/causality-project/causality/backend/internal/account/tenancy"
	"github.com/causality-project/causality/backend/internal/pipeline/lake/parquetv1"
	"github.com/causality-project/causality/backend/internal/pipeline/lake/seen"
	"github.com/causality-project/causality/backend/internal/pipeline/stream"
	"github.com/causality-project/causality/backend/internal/platform/objstore"
)

// manifestKey is the metadata entry of an object that holds its manifest row.
const manifestKey = "causality.manifest"

// Kinds of objects, beside those of package projection, which are derived from
// whole events. Those of whole events answer everything; erased ones name the ids
// of events that erasure removed, for dedupe alone.
const (
	kindEvents = "events"
	kindErased = "erased"
)

// Object is one Parquet object of whole events that answers count.
type Object struct {
	ID           string
	Key          string
	Path         string // a local file with its contents; sparse where Snapshot.Load is set
	Rows         int64
	Bytes        int64
	LinkNumber   int64     // its user keys are resolved through this person link
	MinTS, MaxTS time.Time // of its events, both inclusive
	Columns      []string  // promoted properties whose columns it holds completely
	Projections  []Projection
}

// Projection is a smaller object with what some questions need of an Object's
// tracked events: the same events, folded through the same link.
type Projection struct {
	Kind  string // by_event, event_days or user_days
	Key   string
	Path  string
	Rows  int64
	Bytes int64
	Zone  string // of its days

	Columns []string // by_event: promoted properties whose columns it holds completely
}

// entry is a manifest row with what only the lake needs. It is what an object
// carries as JSON in its metadata, so that the manifest can be made anew.
type entry struct {
	ID            string      `json:"id"`
	WorkspaceID   string      `json:"workspace"`
	AppID         string      `json:"app"`
	Key           string      `json:"key"`
	Kind          string      `json:"kind"`
	Level         int         `json:"level"`
	SchemaVersion int         `json:"schema"`
	Rows          int64       `json:"rows"`
	Bytes         int64       `json:"-"` // known only once it is written
	MinTS         time.Time   `json:"minTs"`
	MaxTS         time.Time   `json:"maxTs"`
	MinReceivedAt time.Time   `json:"minReceivedAt"`
	MaxReceivedAt time.Time   `json:"maxReceivedAt"`
	LinkNumber    int64       `json:"linkNumber"`
	Sources       seen.Ranges `json:"sources"`
	Lane          stream.Lane `json:"lane,omitempty"`
	Incarnation   string      `json:"incarnation,omitempty"`
	FirstSeq      uint64      `json:"firstSeq,omitempty"`
	LastSeq       uint64      `json:"lastSeq,omitempty"`
	CreatedAt     time.Time   `json:"createdAt"`

	Period     time.Time `json:"period,omitzero"` // settled: first day of the month of its events
	Bucket     int       `json:"bucket,omitempty"`
	BucketBits int       `json:"bucketBits,omitempty"`
	Columns    []string  `json:"columns,omitempty"` // promoted properties that it holds completely
	Zone       string    `json:"zone,omitempty"`    // of a projection's days
	Source     string    `json:"source,omitempty"`  // of a projection: the object that it is derived from
	Merge      string    `json:"merge,omitempty"`   // the merge that wrote it, none of a run of the sink
	Parts      int       `json:"parts,omitempty"`   // objects of whole events that the merge wrote
	Inputs     []string  `json:"inputs,omitempty"`  // ids of what the merge replaced; in the object alone

	// The app's counters with this object's commit, for a rebuild.
	Totals totals `json:"totals"`
}

// totals are the counters of an app that its objects' rows do not tell.
type totals struct {
	Duplicates int64 `json:"duplicates"`
	Rejected   int64 `json:"rejected"`
	Dropped    int64 `json:"dropped"`
	Erased     int64 `json:"erased,omitempty"`
	Late       int64 `json:"late,omitempty"`
	Expired    int64 `json:"expired,omitempty"`
}

func (e *entry) metadata() (map[string]string, error) {
	text, err := json.Marshal(e)
	if err != nil {
		return nil, fmt.Errorf("manifest row: %w", err)
	}
	return map[string]string{manifestKey: string(text)}, nil
}

// newEntry names an object in the Hive layout, by the hour of receipt.
func newEntry(workspaceID, appID string, level int, receivedAt time.Time, name string) (entry, error) {
	id, err := uuid.NewV7()
	if err != nil {
		return entry{}, fmt.Errorf("object id: %w", err)
	}
	t := receivedAt.UTC()
	return entry{
		ID: id.String(), WorkspaceID: workspaceID, AppID: appID, Kind: kindEvents, Level: level, SchemaVersion: parquetv1.Version,
		Key: fmt.Sprintf("%syear=%04d/month=%02d/day=%02d/hour=%02d/%s-%s.parquet", appPrefix(appID), t.Year(), t.Month(), t.Day(), t.Hour(),
			name, strings.ReplaceAll(id.String(), "-", "")),
		CreatedAt: time.Now().UTC().Truncate(time.Microsecond),
	}, nil
}

func appPrefix(appID string) string { return "app_id=" + appID + "/" }

const entryColumns = `object_id::text, workspace_id::text, app_id::text, key, kind, level, schema_version, rows, bytes,
	min_ts, max_ts, min_received_at, max_received_at, link_number, sources, lane, incarnation, first_seq, last_seq, created_at,
	period, bucket, bucket_bits, columns, zone, coalesce(source_id::text, ''), coalesce(merge_id::text, ''), parts`

func scanEntry(row pgx.CollectableRow) (entry, error) {
	var e entry
	var period *time.Time
	err := row.Scan(&e.ID, &e.WorkspaceID, &e.AppID, &e.Key, &e.Kind, &e.Level, &e.SchemaVersion, &e.Rows, &e.Bytes,
		&e.MinTS, &e.MaxTS, &e.MinReceivedAt, &e.MaxReceivedAt, &e.LinkNumber, &e.Sources, &e.Lane, &e.Incarnation,
		&e.FirstSeq, &e.LastSeq, &e.CreatedAt, &period, &e.Bucket, &e.BucketBits, &e.Columns, &e.Zone, &e.Source, &e.Merge, &e.Parts)
	if period != nil {
		e.Period = *period
	}
	return e, err
}

// queueInsert lists the object. The app's row must be locked, and its version
// moved by the same transaction. A projection comes after its source.
func (e *entry) queueInsert(batch *pgx.Batch) {
	columns := e.Columns
	if columns == nil {
		columns = []string{}
	}
	batch.Queue(`INSERT INTO lake_objects (object_id, workspace_id, app_id, key, kind, level, schema_version, rows, bytes,
		min_ts, max_ts, min_received_at, max_received_at, link_number, sources, lane, incarnation, first_seq, last_seq, created_at,
		period, bucket, bucket_bits, columns, zone, source_id, merge_id, parts, version)
		VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17, $18, $19, $20,
		$21, $22, $23, $24, $25, $26, $27, $28, (SELECT version + 1 FROM lake_apps WHERE workspace_id = $2 AND app_id = $3))`,
		e.ID, e.WorkspaceID, e.AppID, e.Key, e.Kind, e.Level, e.SchemaVersion, e.Rows, e.Bytes,
		e.MinTS, e.MaxTS, e.MinReceivedAt, e.MaxReceivedAt, e.LinkNumber, []int64(e.Sources), string(e.Lane), e.Incarnation,
		int64(e.FirstSeq), int64(e.LastSeq), e.CreatedAt,
		orNil(e.Period), e.Bucket, e.BucketBits, columns, e.Zone, uuidOrNil(e.Source), uuidOrNil(e.Merge), max(e.Parts, 1))
}

func uuidOrNil(id string) *string {
	if id == "" {
		return nil
	}
	return &id
}

// entriesOf lists an app's live objects, oldest first.
func entriesOf(ctx context.Context, tx pgx.Tx, workspaceID, appID string) ([]entry, error) {
	rows, err := tx.Query(ctx, `SELECT `+entryColumns+` FROM lake_objects
		WHERE workspace_id = $1 AND app_id = $2 ORDER BY created_at, object_id`, workspaceID, appID)
	if err != nil {
		return nil, fmt.Errorf("read manifest: %w", err)
	}
	entries, err := pgx.CollectRows(rows, scanEntry)
	if err != nil {
		return nil, fmt.Errorf("read manifest: %w", err)
	}
	return entries, nil
}

// Snapshot is the store of one app as it stood at one instant.
type Snapshot struct {
	Version int64
	Objects []Object // whose range of ts meets the one asked for, oldest first
	Links   Links
	FreshTo time.Time // everything accepted before it is in

	// Load makes sure that files hold the columns that a question reads; nil
	// columns: all. It is nil itself when all files are whole.
	Load func(ctx context.Context, paths, columns []string) error

	release func()
}

// Release lets the objects be deleted once they are garbage. It may be called
// again; a question that never calls it keeps files until the process ends.
func (s *Snapshot) Release() { s.release() }

// Snapshot reads the manifest of an app of ctx's workspace: the objects that
// hold events from from up to to, where zero means open. The caller must call
// Release when it has read them.
func (l *Lake) Snapshot(ctx context.Context, appID string, from, to time.Time) (*Snapshot, error) {
	workspaceID, err := tenancy.Workspace(ctx)
	if err != nil {
		return nil, err
	}
	snapshot := &Snapshot{}
	now := time.Now().UTC() // before the manifest is read: what was accepted until then has landed or waits
	var head manifestHead
	err = l.cfg.DB.Tx(ctx, func(ctx context.Context, tx pgx.Tx) error {
		var list *listing
		if head, list, err = l.readListing(ctx, tx, workspaceID, appID); err != nil {
			return err
		}
		snapshot.Version, snapshot.Links = head.version, Links{Number: head.links}
		snapshot.Objects = list.between(from, to)
		oldest := head.links
		for i := range snapshot.Objects {
			oldest = min(oldest, snapshot.Objects[i].LinkNumber)
		}
		if oldest < head.links {
			snapshot.Links, err = l.links.load(ctx, tx, workspaceID, appID, head.links, oldest)
			return err
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	snapshot.FreshTo = l.freshTo(ctx, head.through, now)
	var keys []string
	for i := range snapshot.Objects {
		keys = append(keys, snapshot.Objects[i].Key)
		for j := range snapshot.Objects[i].Projections {
			keys = append(keys, snapshot.Objects[i].Projections[j].Key)
		}
	}
	snapshot.release = l.holds.hold(keys)
	if remote, ok := l.cfg.Objects.(objstore.Remote); ok {
		release, unpin := snapshot.release, remote.Pin(keys)
		snapshot.release = func() { release(); unpin() }
		remotePaths(remote, snapshot.Objects)
		snapshot.Load = l.loader(remote, snapshot.Objects)
		return snapshot, nil
	}
	if err := l.localPaths(ctx, snapshot.Objects); err != nil {
		snapshot.Release()
		return nil, fmt.Errorf("snapshot: %w", err)
	}
	return snapshot, nil
}

// localPaths fills in where the objects and their projections can be read.
func (l *Lake) localPaths(ctx context.Context, objects []Object) (err error) {
	for i := range objects {
		o := &objects[i]
		if o.Path, err = l.cfg.Objects.Local(ctx, o.Key); err != nil {
			return err
		}
		for j := range o.Projections {
			p := &o.Projections[j]
			if p.Path, err = l.cfg.Objects.Local(ctx, p.Key); err != nil {
				return err
			}
		}
	}
	return nil
}

func remotePaths(remote objstore.Remote, objects []Object) {
	for i := range objects {
		o := &objects[i]
		o.Path = remote.Path(o.Key)
		for j := range o.Projections {
			o.Projections[j].Path = remote.Path(o.Projections[j].Key)
		}
	}
}

func orNil(t time.Time) *time.Time {
	if t.IsZero() {
		return nil
	}
	return &t
}

// holds know which objects questions may read. An object of a snapshot was live
// when the manifest was read, and garbage is kept for a while, so there is no
// gap between reading and holding.
type holds struct {
	mu   sync.Mutex
	held map[*[]string]struct{} // the keys of each question: holding many must be cheap, looking is rare
}

func (h *holds) hold(keys []string) (release func()) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.held == nil {
		h.held = map[*[]string]struct{}{}
	}
	holding := &keys
	h.held[holding] = struct{}{}
	return func() {
		h.mu.Lock()
		defer h.mu.Unlock()
		delete(h.held, holding)
	}
}

// among picks those of keys that some question holds.
func (h *holds) among(keys []string) map[string]struct{} {
	asked := make(map[string]struct{}, len(keys))
	for _, key := range keys {
		asked[key] = struct{}{}
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	held := map[string]struct{}{}
	for holding := range h.held {
		for _, key := range *holding {
			if _, ok := asked[key]; ok {
				held[key] = struct{}{}
			}
		}
	}
	return held
}
