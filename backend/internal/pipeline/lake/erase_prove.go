package lake

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/causality-project/causality/backend/internal/pipeline/lake/parquetv1"
	"github.com/causality-project/causality/backend/internal/pipeline/lake/projection"
	"github.com/causality-project/causality/backend/internal/pipeline/stream"
	"github.com/causality-project/causality/backend/internal/platform/event"
	"github.com/causality-project/causality/backend/internal/platform/fault"
	"github.com/causality-project/causality/backend/internal/platform/objstore"
)

// prove looks through everything once more: every object that is listed, of
// whatever kind, every other object in the app's folder, the old ones, and the
// places beside the objects. It changes nothing.
func (l *Lake) prove(ctx context.Context, e *erasure) (*eraseProof, error) {
	t := e.target()
	proof := &eraseProof{}
	var entries []entry
	var unlisted []string
	var left int64
	err := l.cfg.DB.Tx(ctx, func(ctx context.Context, tx pgx.Tx) (err error) {
		if entries, err = entriesOf(ctx, tx, e.workspaceID, e.AppID); err != nil {
			return err
		}
		if unlisted, err = l.unlisted(ctx, tx, e.workspaceID, e.AppID); err != nil {
			return err
		}
		refused, err := refusedOf(ctx, tx, e)
		if err != nil {
			return err
		}
		if t.whole() {
			err = tx.QueryRow(ctx, `SELECT count(*) FROM person_links WHERE workspace_id = $1 AND app_id = $2 AND number <= $4
				AND (from_key = ANY ($3) OR to_key = ANY ($3))`, e.workspaceID, e.AppID, e.keys, e.linkNumber).Scan(&left)
		}
		left += int64(len(refused))
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("prove the erasure: %w", err)
	}
	proof.Matches += left
	sources := map[string]*shown{}
	for i := range entries {
		o := &entries[i]
		if o.Kind != kindEvents {
			continue
		}
		if sources[o.ID], err = l.proveObject(ctx, e, t, o, proof); err != nil {
			return nil, fmt.Errorf("scan %s: %w", o.Key, err)
		}
	}
	for i := range entries {
		o := &entries[i]
		if o.Source == "" {
			continue
		}
		matches, err := l.scanProjection(ctx, t, o)
		if err != nil {
			return nil, fmt.Errorf("scan %s: %w", o.Key, err)
		}
		proof.Projections++
		proof.Rows += o.Rows
		// Events of a new life, or of after a range was erased, are in the source
		// as well. What is here alone must not be.
		if source := sources[o.Source]; source == nil || matches > source.of(o.Kind) {
			proof.Matches += matches
		}
	}
	for _, key := range unlisted {
		matches, err := l.scanUnlisted(ctx, t, key)
		if errors.Is(err, objstore.ErrNotFound) { // collected meanwhile
			continue
		}
		if storeAway(err) {
			return nil, fmt.Errorf("scan %s: %w", key, err)
		}
		if err != nil {
			l.log.WarnContext(ctx, "an object that nothing lists cannot be read; keep it only if you need it", "key", key, "err", err)
			continue
		}
		proof.Objects++
		proof.Matches += matches
	}
	for i := range e.record.Rewritten {
		for _, key := range append([]string{e.record.Rewritten[i].Old}, e.record.Rewritten[i].With...) {
			gone, err := l.isGone(ctx, key)
			if err != nil {
				return nil, err
			}
			if gone {
				proof.OldGone++
			} else {
				proof.Matches++
			}
		}
	}
	err = l.cfg.Stream.EachDeadLetter(ctx, func(letter *stream.DeadLetter) error {
		_, removed := t.split(letter, e)
		proof.Matches += int64(removed)
		return ctx.Err()
	})
	proof.At = time.Now().UTC().Truncate(time.Millisecond)
	return proof, err
}

// storeAway tells a store that cannot be asked from an object that cannot be
// read: of the object it says nothing.
func storeAway(err error) bool {
	return fault.Is(err, fault.Unavailable) && !objstore.Damaged(err)
}

func (l *Lake) isGone(ctx context.Context, key string) (bool, error) {
	object, err := l.cfg.Objects.Open(ctx, key)
	if errors.Is(err, objstore.ErrNotFound) {
		return true, nil
	}
	if err != nil {
		return false, err
	}
	return false, object.Close()
}

// shown is how many events an object of events gives its projections to hold,
// by the conditions that each kind can tell.
type shown struct{ byEvent, eventDays, userDays int64 }

func (s *shown) of(kind string) int64 {
	switch kind {
	case projection.ByEvent:
		return s.byEvent
	case projection.EventDays:
		return s.eventDays
	}
	return s.userDays
}

// proveObject scans an object of events, and counts what its projections may
// show.
func (l *Lake) proveObject(ctx context.Context, e *erasure, t *target, o *entry, proof *eraseProof) (*shown, error) {
	counts := &shown{}
	err := l.withFile(ctx, o.Key, func(file *parquetv1.File) error {
		proof.Objects++
		proof.Rows += o.Rows
		if e.covers(o) && t.overlaps(o) {
			f, err := t.scan(ctx, file)
			if err != nil {
				return err
			}
			proof.Matches += f.rows
		}
		if o.Period.IsZero() { // it has no projections
			return nil
		}
		return t.show(ctx, file, counts)
	})
	return counts, err
}

// show counts tracked events by what projections tell: the key that is stored,
// the name, and by_event the time.
func (t *target) show(ctx context.Context, file *parquetv1.File, counts *shown) error {
	ours := make([]bool, file.Rows())
	row := 0
	err := file.Int64s(parquetv1.ColUserKey, 0, func(keys []int64) error {
		for _, key := range keys {
			_, has := t.keys[key]
			ours[row] = has || !t.person()
			row++
		}
		return ctx.Err()
	})
	if err != nil {
		return err
	}
	track := event.Track.String()
	err = eachText(ctx, file, parquetv1.ColType, func(text string) bool { return text == track }, func(row int, yes bool) {
		if ours[row] = ours[row] && yes; ours[row] {
			counts.userDays++
		}
	})
	if err != nil {
		return err
	}
	if t.name != "" {
		err := eachText(ctx, file, parquetv1.ColEvent, func(text string) bool { return text == t.name }, func(row int, yes bool) { ours[row] = ours[row] && yes })
		if err != nil {
			return err
		}
	}
	to := t.to
	if t.person() {
		to = min(to, t.before)
	}
	row = 0
	return file.Int64s(parquetv1.ColTS, 0, func(values []int64) error {
		for _, ts := range values {
			if ours[row] {
				counts.eventDays++
				if ts >= t.from && ts < to {
					counts.byEvent++
				}
			}
			row++
		}
		return ctx.Err()
	})
}
