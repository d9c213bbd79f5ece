package lake

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/causality-project/causality/backend/internal/account/tenancy"
)

// AppStats is what the store holds of one app.
type AppStats struct {
	AppID   string
	Objects []ObjectStats // by kind and level

	Events                       int64 // that answers count
	LooseObjects, SettledObjects int64
	LooseBytes, SettledBytes     int64 // of events alone
	Oldest, Newest               time.Time
	Garbage                      int64 // objects that left the manifest
	Orphans, OrphanBytes         int64
	// WrittenPerEvent is how often an event was written at most, by the levels
	// of the objects: each merge makes an object of a higher one.
	WrittenPerEvent float64

	Erased, ErasedLate, Expired int64
	ErasedIDs                   int64 // that stay known
	WaitingErasures             int64
	Retention                   *RetentionReport // nil: events are kept for ever
}

// ObjectStats are the objects of one kind and level.
type ObjectStats struct {
	Kind           string
	Level          int
	Objects, Rows  int64
	Bytes          int64
	Oldest, Newest time.Time
}

// Stats tells what the store holds of an app, or of each app of ctx's workspace
// for an empty appID. It lists the object store.
func (l *Lake) Stats(ctx context.Context, appID string) ([]AppStats, error) {
	workspaceID, err := tenancy.Workspace(ctx)
	if err != nil {
		return nil, err
	}
	apps, err := l.appsOf(ctx, workspaceID, appID)
	if err != nil {
		return nil, err
	}
	all := make([]AppStats, len(apps))
	for i, app := range apps {
		all[i].AppID = app
		stored := map[string]int64{}
		for object, err := range l.cfg.Objects.List(ctx, appPrefix(app)) {
			if err != nil {
				return nil, err
			}
			if strings.HasSuffix(object.Key, ".parquet") {
				stored[object.Key] = object.Bytes
			}
		}
		err := l.cfg.DB.Tx(ctx, func(ctx context.Context, tx pgx.Tx) error { return all[i].read(ctx, tx, workspaceID, stored) })
		if err != nil {
			return nil, fmt.Errorf("read statistics: %w", err)
		}
	}
	return all, nil
}

// read takes the listed objects out of stored; what is left are orphans.
func (s *AppStats) read(ctx context.Context, tx pgx.Tx, workspaceID string, stored map[string]int64) error {
	entries, err := entriesOf(ctx, tx, workspaceID, s.AppID)
	if err != nil {
		return err
	}
	var written int64
	for i := range entries {
		o := &entries[i]
		delete(stored, o.Key)
		s.add(o)
		switch {
		case o.Kind == kindErased:
			s.ErasedIDs += o.Rows
		case o.Kind != kindEvents:
		default:
			s.Events += o.Rows
			written += o.Rows * int64(o.Level+1)
			if o.Period.IsZero() {
				s.LooseObjects++
				s.LooseBytes += o.Bytes
			} else {
				s.SettledObjects++
				s.SettledBytes += o.Bytes
			}
			s.Oldest, s.Newest = earlier(s.Oldest, o.MinTS), later(s.Newest, o.MaxTS)
		}
	}
	if s.Events > 0 {
		s.WrittenPerEvent = float64(written) / float64(s.Events)
	}
	slices.SortFunc(s.Objects, func(a, b ObjectStats) int {
		if c := strings.Compare(kindOrder(a.Kind), kindOrder(b.Kind)); c != 0 {
			return c
		}
		return a.Level - b.Level
	})
	rows, err := tx.Query(ctx, `SELECT key FROM lake_garbage WHERE workspace_id = $1 AND starts_with(key, $2)`, workspaceID, appPrefix(s.AppID))
	if err != nil {
		return err
	}
	var key string
	if _, err := pgx.ForEachRow(rows, []any{&key}, func() error {
		s.Garbage++
		delete(stored, key)
		return nil
	}); err != nil {
		return err
	}
	for _, bytes := range stored {
		s.Orphans++
		s.OrphanBytes += bytes
	}
	err = tx.QueryRow(ctx, `SELECT coalesce(sum(erased), 0)::bigint, coalesce(sum(erased_late), 0)::bigint, coalesce(sum(expired), 0)::bigint,
		(SELECT count(*) FROM erasures WHERE workspace_id = $1 AND app_id = $2 AND state <> 'done')
		FROM lake_apps WHERE workspace_id = $1 AND app_id = $2`, workspaceID, s.AppID).Scan(&s.Erased, &s.ErasedLate, &s.Expired, &s.WaitingErasures)
	if err != nil {
		return err
	}
	reports, err := retentionOf(ctx, tx, workspaceID)
	s.Retention = reports[s.AppID]
	return err
}

func (s *AppStats) add(o *entry) {
	i := slices.IndexFunc(s.Objects, func(have ObjectStats) bool { return have.Kind == o.Kind && have.Level == o.Level })
	if i < 0 {
		i = len(s.Objects)
		s.Objects = append(s.Objects, ObjectStats{Kind: o.Kind, Level: o.Level})
	}
	have := &s.Objects[i]
	have.Objects++
	have.Rows += o.Rows
	have.Bytes += o.Bytes
	if o.Kind != kindErased { // of whose events nothing is told
		have.Oldest, have.Newest = earlier(have.Oldest, o.MinTS), later(have.Newest, o.MaxTS)
	}
}

// kindOrder puts whole events first and erased ids last.
func kindOrder(kind string) string {
	switch kind {
	case kindEvents:
		return "0"
	case kindErased:
		return "2"
	}
	return "1" + kind
}

func earlier(a, b time.Time) time.Time {
	if a.IsZero() || b.Before(a) {
		return b
	}
	return a
}

func later(a, b time.Time) time.Time {
	if b.After(a) {
		return b
	}
	return a
}
