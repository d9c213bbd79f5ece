package lake

import (
	"bytes"
	"cmp"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
	"github.com/parquet-go/parquet-go"
	"github.com/parquet-go/parquet-go/format"

	"github.com/causality-project/causality/backend/internal/account/tenancy"
	"github.com/causality-project/causality/backend/internal/pipeline/lake/iceberg"
	"github.com/causality-project/causality/backend/internal/pipeline/lake/parquetv1"
	"github.com/causality-project/causality/backend/internal/platform/failpoint"
	"github.com/causality-project/causality/backend/internal/platform/fault"
	"github.com/causality-project/causality/backend/internal/platform/objstore"
)

const (
	icebergCatalog   = "causality" // the name under which the tables are in the catalog
	icebergNamespace = "lake"      // the schema that they are in
	// sequenceProperty is the table property that numbers what was mirrored. Both
	// tables have the same number whenever they are read at one instant.
	sequenceProperty = "causality.manifest-seq"

	icebergPrefix = "iceberg/" // of the keys of the publication's own objects
	icebergSchema = "iceberg"  // of its tables in PostgreSQL

	publishTries   = 8
	publishTimeout = 10 * time.Minute // below any Grace that keeps what a round has read about
	appsPerRound   = 1000
	linkFiles      = 32     // of an app: with more than these, and
	linksAFile     = 10_000 // one more for so many links, they are written anew as one
	sweepEvery     = time.Hour
	aliveEvery     = time.Minute
	deletedARound  = 2000 // files, after one round
)

// PublicationConfig says where the lake is published.
type PublicationConfig struct {
	Objects objstore.Store // that of the lake
	DB      *tenancy.DB
	// Root is the URI under which readers find the root of Objects, such as
	// file:///var/lib/causality/objects or s3://bucket/prefix.
	Root string
	// Every is the pause between two looks at the manifest; default 2 s.
	Every time.Duration
	// Retain is how long a snapshot can be read after it was replaced: longer
	// than any query takes; default 1 h, at least 15 min.
	Retain time.Duration
	// Off publishes nothing; then Forget drops what was published before, which
	// nobody keeps true any more.
	Off    bool
	Logger *slog.Logger
}

// Publication mirrors the manifests of all apps into Iceberg tables that Trino
// and others read: lake.events, whose data are the lake's own objects, and
// lake.links, by which readers resolve persons. It can be made anew from the
// manifest at any time and is never the record of anything.
//
// One process publishes at a time, for economy; what several of them do is
// still right, for each commit must find the sequence where it left it.
type Publication struct {
	cfg       PublicationConfig
	log       *slog.Logger
	warehouse iceberg.Warehouse
	catalog   iceberg.Catalog

	working  sync.Mutex // one round at a time; guards what follows
	sequence int64
	events   *iceberg.Table // as of sequence; nil: not loaded
	links    *iceberg.Table
	aliveAt  time.Time // this process's clock

	trouble atomic.Pointer[error] // of this process's last round; nil: it went well
}

// NewPublication checks the configuration. Nothing happens before Run.
func NewPublication(cfg PublicationConfig) (*Publication, error) {
	var errs []error
	if cfg.Objects == nil || cfg.DB == nil || cfg.Logger == nil {
		errs = append(errs, errors.New("one of Objects, DB and Logger is missing"))
	}
	if !strings.Contains(cfg.Root, "://") {
		errs = append(errs, fmt.Errorf("the Root %q is no URI", cfg.Root))
	}
	if cfg.Every < 0 || cfg.Retain < 0 || cfg.Retain > 0 && cfg.Retain < 15*time.Minute {
		errs = append(errs, errors.New("the pause Every is negative, or Retain shorter than 15 minutes"))
	}
	if err := errors.Join(errs...); err != nil {
		return nil, fmt.Errorf("publication: invalid configuration: %w", err)
	}
	orDefault(&cfg.Every, 2*time.Second)
	orDefault(&cfg.Retain, time.Hour)
	cfg.Root = strings.TrimRight(cfg.Root, "/")
	return &Publication{
		cfg: cfg, log: cfg.Logger,
		warehouse: iceberg.Warehouse{Objects: cfg.Objects, Root: cfg.Root, Prefix: icebergPrefix},
		catalog:   iceberg.Catalog{Schema: icebergSchema, Name: icebergCatalog},
	}, nil
}

// Run publishes until ctx ends. It retries whatever fails: the manifest keeps
// what is to be published.
func (p *Publication) Run(ctx context.Context) {
	if p.cfg.Off {
		<-ctx.Done()
		return
	}
	ticker := time.NewTicker(p.cfg.Every)
	defer ticker.Stop()
	var sweepAt time.Time
	for {
		err := p.round(ctx, roundOptions{})
		if err == nil && !time.Now().Before(sweepAt) {
			sweepAt = time.Now().Add(sweepEvery)
			err = p.sweepOld(ctx)
		}
		if err != nil && ctx.Err() == nil {
			p.log.WarnContext(ctx, "publish to Iceberg; trying again", "err", err)
		}
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		}
	}
}

// Rebuild drops the tables and writes them anew from the manifest.
func (p *Publication) Rebuild(ctx context.Context) error {
	if p.cfg.Off {
		return fault.New(fault.Unsupported, "Nothing is published. Start the server with --publish iceberg first")
	}
	return p.round(ctx, roundOptions{rebuild: true})
}

// Republish makes the published tables anew from the manifest.
func (l *Lake) Republish(ctx context.Context) error {
	if l.cfg.Publication == nil {
		return fault.New(fault.Unsupported, "Nothing is published by this server. Publishing begins with: causality serve --publish iceberg")
	}
	return l.cfg.Publication.Rebuild(ctx)
}

// Forget publishes an app as its manifest stands and removes what was before:
// earlier snapshots of the tables and every file that mentions or holds what is
// gone. Queries that run on an earlier snapshot fail. When it returns, no
// snapshot refers to objects that had left the manifest when it was called.
func (p *Publication) Forget(ctx context.Context, appID string) error {
	// What is stored by now and not known afterwards never will be: a commit that
	// began before this one finds the sequence moved on.
	stored, err := p.stored(ctx, time.Time{})
	if err != nil {
		return err
	}
	if p.cfg.Off {
		err = p.drop(ctx)
	} else {
		err = p.round(ctx, roundOptions{forget: appID})
	}
	if err != nil {
		return err
	}
	return p.sweep(ctx, stored)
}

// PublishedInstant names the snapshots of both tables that show one instant.
type PublishedInstant struct {
	Sequence       int64
	EventsSnapshot int64
	LinksSnapshot  int64
	Version        int64 // of the app, as mirrored; -1: it was not yet
	At             time.Time
	Promoted       []PublishedColumn // columns of lake.events beside those that every object has
}

// PublishedColumn is a column of lake.events for a promoted property. It is
// NULL where an object lacks it: then the JSON of the properties tells.
type PublishedColumn struct {
	Name string `json:"name"` // of the property; the column is p_<name>
	Kind string `json:"kind"` // text or number
}

func (c PublishedColumn) column() iceberg.Column {
	kind := "string"
	if c.Kind == "number" {
		kind = "double"
	}
	return iceberg.Column{Name: parquetv1.PromotedPrefix + c.Name, Type: kind}
}

// Instant reads which snapshots to query for an app. They stay readable for
// Retain, unless something is erased.
func (p *Publication) Instant(ctx context.Context, appID string) (PublishedInstant, error) {
	var i PublishedInstant
	err := p.cfg.DB.TxAll(ctx, func(ctx context.Context, tx tenancy.ScopedTx) error {
		return tx.QueryRow(ctx, `SELECT p.sequence, p.events_snapshot, p.links_snapshot, p.committed_at, p.promoted, coalesce(a.version, -1)
			FROM iceberg.publication p LEFT JOIN iceberg.published_apps a ON a.app_id = $1`, appID).
			Scan(&i.Sequence, &i.EventsSnapshot, &i.LinksSnapshot, &i.At, &i.Promoted, &i.Version)
	})
	if err != nil {
		return i, fmt.Errorf("read what is published: %w", err)
	}
	return i, nil
}

type roundOptions struct {
	rebuild bool
	forget  string // an app
}

// round mirrors what changed, if anything did. Another process that commits
// meanwhile makes it start over from what that one left.
func (p *Publication) round(ctx context.Context, options roundOptions) (err error) {
	ctx, cancel := context.WithTimeout(ctx, publishTimeout)
	defer cancel()
	p.working.Lock()
	defer p.working.Unlock()
	defer func() {
		p.trouble.Store(nil)
		if err != nil {
			p.trouble.Store(&err)
		}
	}()
	for try := 1; ; try++ {
		again := false
		again, err = p.try(ctx, options)
		switch {
		case err == nil && !again:
			return nil
		case err == nil: // more apps wait than one round takes
			options.rebuild = false
			try = 0
			continue
		}
		p.events, p.links = nil, nil // what they are in the store is not known
		if try == publishTries || ctx.Err() != nil || !errors.Is(err, iceberg.ErrConflict) && options == (roundOptions{}) {
			return err
		}
		select {
		case <-ctx.Done():
			return err
		case <-time.After(time.Duration(try) * 50 * time.Millisecond):
		}
	}
}

// pending is what one round found to mirror.
type pending struct {
	sequence int64
	now      time.Time // of the database
	lapsed   bool      // nothing held the objects for a while: earlier snapshots may miss some
	apps     []*pendingApp
	more     bool // apps wait that did not fit
	promoted []PublishedColumn
	evolved  bool // promoted is not what is published

	current map[string]string // metadata files by table
}

type pendingApp struct {
	workspaceID, appID string
	version            int64
	linkNumber         int64 // of lake_apps
	linksReset         int64
	published          struct{ version, linkNumber, oldestLink, linksSeen, linkFiles, linkRows int64 }

	add    []entry
	remove []string // keys
	oldest int64    // the least link number that an object is folded through

	links      []linkRow
	keepLinks  bool // nothing of them changes
	linksAdded bool // links come to those that are there
}

// linkRow is a row of lake.links.
type linkRow struct {
	AppID   string  `parquet:"app_id,dict"`
	Kind    string  `parquet:"kind,dict"` // key: of rows with the key from_key; visitor: with anonymous id id and no user id; user: with user id id
	ID      *string `parquet:"id,optional"`
	FromKey *int64  `parquet:"from_key,optional"`
	ToKey   int64   `parquet:"to_key"`
}

var linkColumns = []iceberg.Column{{Name: "app_id", Type: "string"}, {Name: "kind", Type: "string"}, {Name: "id", Type: "string"},
	{Name: "from_key", Type: "long"}, {Name: "to_key", Type: "long"}}

func (p *Publication) try(ctx context.Context, options roundOptions) (again bool, err error) {
	found, err := p.look(ctx, options)
	if err != nil {
		return false, err
	}
	if err := p.load(ctx, found, &options); err != nil {
		return false, err
	}
	expire := found.now.Add(-p.cfg.Retain)
	first := p.events.Location() == "" || p.links.Location() == ""
	if len(found.apps) == 0 && !found.evolved && !first && options == (roundOptions{}) && !found.lapsed && !p.events.Outlived(expire) && !p.links.Outlived(expire) {
		if err := p.keepAlive(ctx); err != nil {
			return false, err
		}
		return false, p.deleteObsolete(ctx, expire)
	}
	if err := p.commit(ctx, found, options); err != nil {
		return false, err
	}
	if options.forget != "" {
		expire = time.Time{}
	}
	return found.more, p.deleteObsolete(ctx, expire)
}

// look reads, at one instant, what the tables lack.
func (p *Publication) look(ctx context.Context, options roundOptions) (*pending, error) {
	var found *pending
	err := p.cfg.DB.TxAll(ctx, func(ctx context.Context, tx tenancy.ScopedTx) error {
		found = &pending{current: map[string]string{}}
		if _, err := tx.Exec(ctx, `SET TRANSACTION ISOLATION LEVEL REPEATABLE READ`); err != nil {
			return err
		}
		err := tx.QueryRow(ctx, `SELECT sequence, clock_timestamp(), sequence > 0 AND alive_at < now() - interval '1 day', wanted, wanted <> promoted
			FROM iceberg.publication, publishable_promotions() AS wanted`).
			Scan(&found.sequence, &found.now, &found.lapsed, &found.promoted, &found.evolved)
		if err != nil {
			return fmt.Errorf("read what is published: %w", err)
		}
		for _, table := range []string{"events", "links"} {
			if found.current[table], err = p.catalog.Current(ctx, tx, icebergNamespace, table); err != nil {
				return err
			}
		}
		limit := appsPerRound
		if options.rebuild {
			limit = 1 << 30
		}
		rows, err := tx.Query(ctx, `SELECT v.workspace_id::text, v.app_id::text, v.version, coalesce(p.version, -1), coalesce(p.link_number, 0), coalesce(p.oldest_link, 0),
			  coalesce(p.links_reset, 0), coalesce(p.links_seen, 0), coalesce(p.link_files, 0), coalesce(p.link_rows, 0)
			FROM lake_versions() v LEFT JOIN iceberg.published_apps p USING (app_id)
			WHERE $1 OR p.version IS DISTINCT FROM v.version OR p.links_reset <> p.links_seen OR p.app_id = $2
			ORDER BY (p.app_id = $2) DESC NULLS LAST, v.workspace_id, v.app_id LIMIT $3`, options.rebuild, orNull(options.forget), limit+1)
		if err != nil {
			return fmt.Errorf("list apps to publish: %w", err)
		}
		found.apps, err = pgx.CollectRows(rows, func(row pgx.CollectableRow) (*pendingApp, error) {
			a := &pendingApp{}
			err := row.Scan(&a.workspaceID, &a.appID, &a.version, &a.published.version, &a.published.linkNumber, &a.published.oldestLink,
				&a.linksReset, &a.published.linksSeen, &a.published.linkFiles, &a.published.linkRows)
			return a, err
		})
		if err != nil {
			return fmt.Errorf("list apps to publish: %w", err)
		}
		if len(found.apps) > limit {
			found.apps, found.more = found.apps[:limit], true
		}
		scope := ""
		for _, a := range found.apps {
			if a.workspaceID != scope {
				scope = a.workspaceID
				if err := tx.Scope(ctx, scope); err != nil {
					return err
				}
			}
			if err := a.read(ctx, tx, options); err != nil {
				return fmt.Errorf("app %s: %w", a.appID, err)
			}
		}
		return nil
	})
	return found, err
}

func orNull(s string) *string {
	if s == "" {
		return nil
	}
	return &s
}

// read finds an app's objects that came and went since it was published, and
// the links that its readers need.
func (a *pendingApp) read(ctx context.Context, tx pgx.Tx, options roundOptions) error {
	since := a.published.version
	if options.rebuild || a.version-since > maxBehind {
		since = -1 // all that is listed, and all that is no more
	}
	rows, err := tx.Query(ctx, `SELECT `+entryColumns+` FROM lake_objects o
		WHERE workspace_id = $1 AND app_id = $2 AND kind = 'events' AND version > $3
		AND ($4 OR NOT EXISTS (SELECT FROM iceberg.published_objects p WHERE p.key = o.key AND p.removed_at IS NULL))`,
		a.workspaceID, a.appID, since, options.rebuild)
	if err != nil {
		return fmt.Errorf("list new objects: %w", err)
	}
	if a.add, err = pgx.CollectRows(rows, scanEntry); err != nil {
		return fmt.Errorf("list new objects: %w", err)
	}
	if !options.rebuild {
		gone, args := `p.app_id = $2`, []any{a.workspaceID, a.appID}
		if since >= 0 {
			gone = `p.object_id IN (SELECT unnest(r.object_ids) FROM lake_removals r WHERE r.workspace_id = $1 AND r.app_id = $2 AND r.version > $3)`
			args = append(args, since)
		}
		rows, err := tx.Query(ctx, `SELECT p.key FROM iceberg.published_objects p WHERE `+gone+` AND p.removed_at IS NULL
			AND NOT EXISTS (SELECT FROM lake_objects o WHERE o.object_id = p.object_id AND o.workspace_id = $1)`, args...)
		if err != nil {
			return fmt.Errorf("list removed objects: %w", err)
		}
		if a.remove, err = pgx.CollectRows(rows, pgx.RowTo[string]); err != nil {
			return fmt.Errorf("list removed objects: %w", err)
		}
	}
	err = tx.QueryRow(ctx, `SELECT link_number FROM lake_apps a WHERE workspace_id = $1 AND app_id = $2`, a.workspaceID, a.appID).Scan(&a.linkNumber)
	if err != nil {
		return fmt.Errorf("read link numbers: %w", err)
	}
	return a.readLinks(ctx, tx, options)
}

// readLinks decides how the published links become those of linkNumber. Readers
// apply all of them to every object, whatever it is folded through already:
// a link leads to the last person of its chain, which leads nowhere, and what a
// correction says of an id holds for all rows of that id. So links may stay
// longer than they are needed, and most changes only add some.
func (a *pendingApp) readLinks(ctx context.Context, tx pgx.Tx, options roundOptions) error {
	whole := options.rebuild || options.forget == a.appID || a.published.version < 0 || a.linksReset != a.published.linksSeen ||
		a.linkNumber < a.published.linkNumber || a.published.linkFiles > linkFiles+a.published.linkRows/linksAFile
	for i := range a.add {
		whole = whole || a.add[i].LinkNumber < a.published.oldestLink
	}
	if !whole {
		a.oldest = a.published.oldestLink
		if a.linkNumber == a.published.linkNumber {
			a.keepLinks = true
			return nil
		}
		added, ok, err := addedLinks(ctx, tx, a.workspaceID, a.appID, a.published.linkNumber, a.linkNumber)
		if err != nil {
			return err
		}
		if ok {
			a.linksAdded = true
			a.links = a.linkRows(&added)
			return nil
		}
	}
	err := tx.QueryRow(ctx, `SELECT coalesce(min(link_number), $3) FROM lake_objects WHERE workspace_id = $1 AND app_id = $2 AND kind = 'events'`,
		a.workspaceID, a.appID, a.linkNumber).Scan(&a.oldest)
	if err != nil {
		return fmt.Errorf("read link numbers: %w", err)
	}
	if a.oldest >= a.linkNumber { // every object is folded through the last link
		return nil
	}
	links, err := readLinks(ctx, tx, a.workspaceID, a.appID, a.linkNumber, a.oldest)
	if err != nil {
		return err
	}
	a.links = a.linkRows(&links)
	return nil
}

// addedLinks reads the links of (from, to] when all that happened is that
// visitors became known.
func addedLinks(ctx context.Context, tx pgx.Tx, workspaceID, appID string, from, to int64) (Links, bool, error) {
	var changed bool
	err := tx.QueryRow(ctx, `SELECT EXISTS (SELECT FROM person_links WHERE workspace_id = $1 AND app_id = $2 AND number > $3 AND number <= $4 AND kind = 'alias')
		OR EXISTS (SELECT FROM person_links WHERE workspace_id = $1 AND app_id = $2 AND undone_at IS NOT NULL AND undone_number > $3 AND undone_number <= $4)`,
		workspaceID, appID, from, to).Scan(&changed)
	if err != nil || changed {
		return Links{}, false, err
	}
	aliases, err := queryLinks(ctx, tx, `kind = 'alias' AND undone_at IS NULL`, workspaceID, appID)
	if err != nil {
		return Links{}, false, err
	}
	merged := hops{next: make(map[int64]int64, len(aliases))}
	for i := range aliases {
		merged.next[aliases[i].fromKey] = aliases[i].toKey
	}
	fresh, err := queryLinks(ctx, tx, `number > $3 AND number <= $4 AND undone_at IS NULL`, workspaceID, appID, from, to)
	if err != nil {
		return Links{}, false, err
	}
	links := Links{Number: to, ByKey: make(map[int64]int64, len(fresh))}
	for i := range fresh {
		links.ByKey[fresh[i].fromKey] = merged.person(fresh[i].toKey)
	}
	return links, true, nil
}

func (a *pendingApp) linkRows(links *Links) []linkRow {
	rows := make([]linkRow, 0, len(links.ByKey)+len(links.Changed)+len(links.ChangedUsers))
	for from, to := range links.ByKey {
		rows = append(rows, linkRow{AppID: a.appID, Kind: "key", FromKey: &from, ToKey: to})
	}
	for id, to := range links.Changed {
		rows = append(rows, linkRow{AppID: a.appID, Kind: "visitor", ID: &id, ToKey: to})
	}
	for id, to := range links.ChangedUsers {
		rows = append(rows, linkRow{AppID: a.appID, Kind: "user", ID: &id, ToKey: to})
	}
	slices.SortFunc(rows, func(a, b linkRow) int {
		return cmp.Or(strings.Compare(a.Kind, b.Kind), cmp.Compare(value(a.FromKey), value(b.FromKey)), strings.Compare(value(a.ID), value(b.ID)))
	})
	return rows
}

func value[T any](p *T) (v T) {
	if p != nil {
		v = *p
	}
	return v
}

// published describes an object to Iceberg. Its bounds come from the manifest:
// no footer is read, and no metadata says what ids or values an object holds.
func (e *entry) published() iceberg.File {
	return iceberg.File{Key: e.Key, Partition: e.AppID, Rows: e.Rows, Bytes: e.Bytes, Bounds: map[string]iceberg.Bounds{
		"app_id":      {Lower: []byte(e.AppID), Upper: []byte(e.AppID)},
		"ts":          {Lower: bound(e.MinTS), Upper: bound(e.MaxTS)},
		"received_at": {Lower: bound(e.MinReceivedAt), Upper: bound(e.MaxReceivedAt)},
	}}
}

func bound(t time.Time) []byte { return binary.LittleEndian.AppendUint64(nil, uint64(t.UnixMicro())) }

// eventColumns are the columns of lake.events.
func eventColumns(promoted []PublishedColumn) ([]iceberg.Column, error) {
	var columns []iceberg.Column
	for _, field := range parquetv1.Fields() {
		kind, err := icebergType(field)
		if err != nil {
			return nil, err
		}
		columns = append(columns, iceberg.Column{Name: field.Name(), Type: kind})
	}
	for _, p := range promoted {
		columns = append(columns, p.column())
	}
	return columns, nil
}

func icebergType(field parquet.Field) (string, error) {
	kind := field.Type()
	if logical := kind.LogicalType(); logical != nil {
		switch value := logical.Value.(type) {
		case *format.UUIDType:
			return "uuid", nil
		case *format.StringType:
			return "string", nil
		case *format.TimestampType:
			if _, ok := value.Unit.Value.(*format.MicroSeconds); ok && value.IsAdjustedToUTC {
				return "timestamptz", nil
			}
		}
	}
	switch kind.Kind() {
	case parquet.Int64:
		return "long", nil
	case parquet.Double:
		return "double", nil
	}
	return "", fmt.Errorf("column %s has type %v, which Iceberg is not told about", field.Name(), kind)
}

// load makes the tables in memory those of the sequence that was found. Tables
// that are not there, or are of another place, are made anew.
func (p *Publication) load(ctx context.Context, found *pending, options *roundOptions) error {
	if options.rebuild {
		return p.renew()
	}
	if found.sequence == 0 || found.current["events"] == "" || found.current["links"] == "" {
		if found.sequence > 0 {
			p.log.WarnContext(ctx, "the Iceberg tables are missing from their catalog and are written anew")
		}
		return p.startAnew(ctx, found, options)
	}
	if p.events != nil && p.sequence == found.sequence {
		return nil
	}
	var err error
	if p.events, err = iceberg.Load(ctx, p.warehouse, icebergNamespace, "events", found.current["events"]); err == nil {
		p.links, err = iceberg.Load(ctx, p.warehouse, icebergNamespace, "links", found.current["links"])
	}
	p.sequence = found.sequence
	if errors.Is(err, objstore.ErrNotFound) || errors.Is(err, iceberg.ErrForeign) {
		p.log.WarnContext(ctx, "the Iceberg tables cannot be read and are written anew", "err", err)
		return p.startAnew(ctx, found, options)
	}
	if err != nil {
		p.events, p.links = nil, nil
	}
	return err
}

func (p *Publication) startAnew(ctx context.Context, found *pending, options *roundOptions) error {
	options.rebuild = true
	again, err := p.look(ctx, *options)
	if err != nil {
		return err
	}
	*found = *again
	return p.renew()
}

func (p *Publication) renew() error {
	columns, err := eventColumns(nil)
	if err != nil {
		return err
	}
	if p.events, err = iceberg.New(p.warehouse, icebergNamespace, "events", columns); err == nil {
		p.links, err = iceberg.New(p.warehouse, icebergNamespace, "links", linkColumns)
	}
	return err
}

// commit stages the change of both tables and makes it so in one transaction.
func (p *Publication) commit(ctx context.Context, found *pending, options roundOptions) error {
	columns, err := eventColumns(found.promoted)
	if err != nil {
		return err
	}
	sequence := strconv.FormatInt(found.sequence+1, 10)
	base := iceberg.Change{
		Properties: map[string]string{sequenceProperty: sequence}, Summary: map[string]string{sequenceProperty: sequence},
		At: found.now, Expire: found.now.Add(-p.cfg.Retain), Forget: options.forget != "" || found.lapsed,
	}
	events, links := base, base
	events.Columns, links.Columns = columns, linkColumns
	written := &writtenObjects{objects: p.cfg.Objects}
	for _, a := range found.apps {
		for i := range a.add {
			events.Add = append(events.Add, a.add[i].published())
		}
		for _, key := range a.remove {
			events.Remove = append(events.Remove, iceberg.File{Key: key, Partition: a.appID})
		}
		if err := p.stageLinks(ctx, a, &links, written); err != nil {
			return fmt.Errorf("links of app %s: %w", a.appID, err)
		}
	}
	failpoint.Hit("publish.after-links")
	stagedEvents, err := p.events.Stage(ctx, events)
	if err != nil {
		return err
	}
	failpoint.Hit("publish.after-events")
	stagedLinks, err := p.links.Stage(ctx, links)
	if err != nil {
		return err
	}
	failpoint.Hit("publish.before-commit")
	fresh := slices.Concat(written.keys, stagedEvents.Written, stagedLinks.Written)
	obsolete := slices.Concat(stagedEvents.Obsolete, stagedLinks.Obsolete)
	for _, f := range links.Remove {
		obsolete = append(obsolete, f.Key)
	}
	err = p.cfg.DB.TxAll(ctx, func(ctx context.Context, tx tenancy.ScopedTx) error {
		tag, err := tx.Exec(ctx, `UPDATE iceberg.publication SET sequence = sequence + 1, events_snapshot = $2, links_snapshot = $3, promoted = $4,
			committed_at = now(), alive_at = now() WHERE sequence = $1`, found.sequence, stagedEvents.SnapshotID(), stagedLinks.SnapshotID(), found.promoted)
		if err != nil {
			return fmt.Errorf("move the publication on: %w", err)
		}
		if tag.RowsAffected() != 1 {
			return iceberg.ErrConflict
		}
		if err := p.catalog.Commit(ctx, tx, stagedEvents, found.current["events"]); err != nil {
			return err
		}
		if err := p.catalog.Commit(ctx, tx, stagedLinks, found.current["links"]); err != nil {
			return err
		}
		return tx.SendBatch(ctx, p.bookkeeping(found, options, base, fresh, obsolete)).Close()
	})
	if err != nil {
		return err
	}
	failpoint.Hit("publish.after-commit")
	stagedEvents.Apply()
	stagedLinks.Apply()
	p.sequence, p.aliveAt = found.sequence+1, time.Now()
	return nil
}

// bookkeeping notes what is mirrored now, in the transaction that mirrors it.
func (p *Publication) bookkeeping(found *pending, options roundOptions, base iceberg.Change, fresh, obsolete []string) *pgx.Batch {
	batch := &pgx.Batch{}
	if options.rebuild {
		batch.Queue(`UPDATE iceberg.published_objects SET removed_at = now() WHERE removed_at IS NULL`)
		batch.Queue(`UPDATE iceberg.files SET removed_at = now() WHERE removed_at IS NULL`)
	}
	var added, addedApps, addedIDs, removed []string
	apps := make([][]int64, 6)
	var ids []string
	for _, a := range found.apps {
		for i := range a.add {
			added, addedApps, addedIDs = append(added, a.add[i].Key), append(addedApps, a.appID), append(addedIDs, a.add[i].ID)
		}
		removed = append(removed, a.remove...)
		ids = append(ids, a.appID)
		files, rows := int64(min(len(a.links), 1)), int64(len(a.links))
		if a.keepLinks || a.linksAdded {
			files, rows = files+a.published.linkFiles, rows+a.published.linkRows
		}
		for i, n := range []int64{a.version, a.linkNumber, a.oldest, a.linksReset, files, rows} {
			apps[i] = append(apps[i], n)
		}
	}
	batch.Queue(`INSERT INTO iceberg.published_objects (key, app_id, object_id) SELECT * FROM unnest($1::text[], $2::uuid[], $3::uuid[])
		ON CONFLICT (key) DO UPDATE SET removed_at = NULL`, added, addedApps, addedIDs)
	batch.Queue(`UPDATE iceberg.published_objects SET removed_at = now() WHERE key = ANY ($1)`, removed)
	batch.Queue(`INSERT INTO iceberg.published_apps (app_id, version, link_number, oldest_link, links_seen, link_files, link_rows)
		SELECT * FROM unnest($1::uuid[], $2::bigint[], $3::bigint[], $4::bigint[], $5::bigint[], $6::bigint[], $7::bigint[])
		ON CONFLICT (app_id) DO UPDATE SET version = excluded.version, link_number = excluded.link_number, oldest_link = excluded.oldest_link,
		  links_seen = excluded.links_seen, link_files = excluded.link_files, link_rows = excluded.link_rows`,
		ids, apps[0], apps[1], apps[2], apps[3], apps[4], apps[5])
	batch.Queue(`INSERT INTO iceberg.files (key) SELECT unnest($1::text[])`, fresh)
	batch.Queue(`UPDATE iceberg.files SET removed_at = now() WHERE key = ANY ($1) AND removed_at IS NULL`, obsolete)
	// No snapshot that is left refers to these: they are the lake's alone again.
	batch.Queue(`DELETE FROM iceberg.published_objects WHERE removed_at IS NOT NULL AND ($1 OR removed_at < $2)`, base.Forget, base.Expire)
	return batch
}

// writtenObjects writes the publication's own data objects.
type writtenObjects struct {
	objects objstore.Store
	keys    []string
}

func (p *Publication) stageLinks(ctx context.Context, a *pendingApp, change *iceberg.Change, written *writtenObjects) error {
	if a.keepLinks {
		return nil
	}
	if !a.linksAdded {
		for _, key := range p.links.Keys(a.appID) {
			change.Remove = append(change.Remove, iceberg.File{Key: key, Partition: a.appID})
		}
	}
	if len(a.links) == 0 {
		return nil
	}
	file := iceberg.File{Key: icebergPrefix + icebergNamespace + "/links-data/app_id=" + a.appID + "/" + uuid.NewString() + ".parquet",
		Partition: a.appID, Rows: int64(len(a.links)), Bounds: map[string]iceberg.Bounds{"app_id": {Lower: []byte(a.appID), Upper: []byte(a.appID)}}}
	var err error
	file.Bytes, err = written.objects.Create(ctx, file.Key, func(out io.Writer) error {
		var buffer bytes.Buffer // parquet-go writes many small pieces
		w := parquet.NewGenericWriter[linkRow](&buffer, parquet.Compression(&parquet.Zstd), parquet.MaxRowsPerRowGroup(parquetv1.RowGroupRows))
		for rows := a.links; len(rows) > 0; {
			n := min(len(rows), 64<<10)
			if _, err := w.Write(rows[:n]); err != nil {
				return err
			}
			rows = rows[n:]
			if _, err := buffer.WriteTo(out); err != nil {
				return err
			}
		}
		if err := w.Close(); err != nil {
			return err
		}
		_, err := buffer.WriteTo(out)
		return err
	})
	if err != nil {
		return err
	}
	written.keys = append(written.keys, file.Key)
	change.Add = append(change.Add, file)
	return nil
}

// keepAlive says that what snapshots refer to is still to be held.
func (p *Publication) keepAlive(ctx context.Context) error {
	if time.Since(p.aliveAt) < aliveEvery {
		return nil
	}
	err := p.cfg.DB.TxAll(ctx, func(ctx context.Context, tx tenancy.ScopedTx) error {
		_, err := tx.Exec(ctx, `UPDATE iceberg.publication SET alive_at = now()`)
		return err
	})
	if err == nil {
		p.aliveAt = time.Now()
	}
	return err
}

// deleteObsolete deletes files that no snapshot needs since before the given
// time; since ever when it is zero.
func (p *Publication) deleteObsolete(ctx context.Context, before time.Time) error {
	for {
		var keys []string
		err := p.cfg.DB.TxAll(ctx, func(ctx context.Context, tx tenancy.ScopedTx) error {
			rows, err := tx.Query(ctx, `SELECT key FROM iceberg.files WHERE removed_at IS NOT NULL AND ($1::timestamptz IS NULL OR removed_at < $1)
				ORDER BY removed_at LIMIT $2`, orNil(before), deletedARound)
			if err == nil {
				keys, err = pgx.CollectRows(rows, pgx.RowTo[string])
			}
			return err
		})
		if err != nil || len(keys) == 0 {
			return err
		}
		for _, key := range keys {
			if err := p.cfg.Objects.Delete(ctx, key); err != nil {
				return err
			}
		}
		failpoint.Hit("publish.after-delete")
		err = p.cfg.DB.TxAll(ctx, func(ctx context.Context, tx tenancy.ScopedTx) error {
			_, err := tx.Exec(ctx, `DELETE FROM iceberg.files WHERE key = ANY ($1)`, keys)
			return err
		})
		if err != nil || len(keys) < deletedARound || !before.IsZero() {
			return err
		}
	}
}

// drop removes the tables from the catalog and all that was written for them.
// The objects of the lake stay as they are.
func (p *Publication) drop(ctx context.Context) error {
	p.working.Lock()
	defer p.working.Unlock()
	p.events, p.links = nil, nil
	err := p.cfg.DB.TxAll(ctx, func(ctx context.Context, tx tenancy.ScopedTx) error {
		batch := &pgx.Batch{}
		batch.Queue(`UPDATE iceberg.publication SET sequence = sequence + 1, events_snapshot = 0, links_snapshot = 0, promoted = '[]' WHERE sequence > 0`)
		batch.Queue(`DELETE FROM iceberg.iceberg_tables WHERE catalog_name = $1 AND table_namespace = $2`, p.catalog.Name, icebergNamespace)
		batch.Queue(`DELETE FROM iceberg.iceberg_namespace_properties WHERE catalog_name = $1 AND namespace = $2`, p.catalog.Name, icebergNamespace)
		batch.Queue(`DELETE FROM iceberg.published_apps`)
		batch.Queue(`DELETE FROM iceberg.published_objects`)
		batch.Queue(`UPDATE iceberg.files SET removed_at = now() WHERE removed_at IS NULL`)
		return tx.SendBatch(ctx, batch).Close()
	})
	if err != nil {
		return fmt.Errorf("drop what was published: %w", err)
	}
	return p.deleteObsolete(ctx, time.Time{})
}

// stored lists the publication's objects in the store, those alone that are
// older than before unless that is zero.
func (p *Publication) stored(ctx context.Context, before time.Time) ([]string, error) {
	var keys []string
	for object, err := range p.cfg.Objects.List(ctx, icebergPrefix) {
		if err != nil {
			return nil, err
		}
		if before.IsZero() || object.ModifiedAt.Before(before) {
			keys = append(keys, object.Key)
		}
	}
	return keys, nil
}

func (p *Publication) sweepOld(ctx context.Context) error {
	keys, err := p.stored(ctx, time.Now().Add(-sweepEvery)) // no commit takes that long
	if err != nil {
		return err
	}
	return p.sweep(ctx, keys)
}

// sweep deletes those of stored files that were written for a commit that never
// was.
func (p *Publication) sweep(ctx context.Context, stored []string) error {
	if len(stored) == 0 {
		return nil
	}
	var stray []string
	err := p.cfg.DB.TxAll(ctx, func(ctx context.Context, tx tenancy.ScopedTx) error {
		rows, err := tx.Query(ctx, `SELECT key FROM unnest($1::text[]) AS stored (key) WHERE NOT EXISTS (SELECT FROM iceberg.files f WHERE f.key = stored.key)`, stored)
		if err == nil {
			stray, err = pgx.CollectRows(rows, pgx.RowTo[string])
		}
		return err
	})
	if err != nil {
		return fmt.Errorf("list published files: %w", err)
	}
	for _, key := range stray {
		if err := p.cfg.Objects.Delete(ctx, key); err != nil {
			return err
		}
	}
	if len(stray) > 0 {
		p.log.InfoContext(ctx, "deleted files of publications that were cut off", "files", len(stray))
	}
	return nil
}

// health says how the publication does, whichever process publishes.
func (p *Publication) health(ctx context.Context) Status {
	status := Status{Name: "Publication", State: "ok"}
	var sequence, behind int64
	var committed, alive float64 // seconds ago
	err := p.cfg.DB.TxAll(ctx, func(ctx context.Context, tx tenancy.ScopedTx) error {
		return tx.QueryRow(ctx, `SELECT sequence, extract(epoch FROM now() - committed_at)::float8, least(extract(epoch FROM now() - alive_at), 1e9)::float8,
			  (SELECT count(*) FROM lake_versions() v LEFT JOIN iceberg.published_apps a USING (app_id) WHERE a.version IS DISTINCT FROM v.version)
			FROM iceberg.publication`).Scan(&sequence, &committed, &alive, &behind)
	})
	if err != nil {
		status.State, status.Message = "down", "What is published cannot be read: "+err.Error()
		return status
	}
	status.Figures = []Figure{{"commits", float64(sequence), "commits"}, {"last commit", committed, "seconds"}, {"apps behind", float64(behind), "apps"}}
	switch trouble := p.trouble.Load(); {
	case trouble != nil:
		status.State = "degraded"
		status.Message = fmt.Sprintf("Readers of the Iceberg tables see the lake as it was %.0f s ago, until this is mended: %v.", committed, *trouble)
	case alive > 3*aliveEvery.Seconds():
		status.State = "degraded"
		status.Message = "No process publishes: readers of the Iceberg tables see the lake as it was. Start one with the role worker and --publish iceberg."
	}
	return status
}
