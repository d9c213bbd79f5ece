package lake

import (
	"context"
	"errors"
	"fmt"
	"io"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/parquet-go/parquet-go"

	"github.com/causality-project/causality/backend/internal/account/tenancy"
	"github.com/causality-project/causality/backend/internal/pipeline/lake/parquetv1"
	"github.com/causality-project/causality/backend/internal/pipeline/lake/projection"
	"github.com/causality-project/causality/backend/internal/pipeline/stream"
	"github.com/causality-project/causality/backend/internal/platform/event"
	"github.com/causality-project/causality/backend/internal/platform/failpoint"
	"github.com/causality-project/causality/backend/internal/platform/lease"
	"github.com/causality-project/causality/backend/internal/platform/objstore"
)

const (
	// forgetPatience is how long replicas may take to let go of an app before
	// the erasure goes on without those that do not answer; questions that still
	// read an old object then fail, and are right when asked again.
	forgetPatience = time.Minute
	forgetPoll     = 500 * time.Millisecond
	forgetLeftover = "1 hour" // what a crash left of earlier requests
	eraseAtOnce    = 1000     // objects
)

// eraseElsewhere takes the events out of everything that is kept beside the
// objects.
func (l *Lake) eraseElsewhere(ctx context.Context, e *erasure) error {
	if err := l.eraseDeadLetters(ctx, e); err != nil {
		return err
	}
	failpoint.Hit("erase.after-dead-letters")
	err := l.cfg.DB.Tx(ctx, func(ctx context.Context, tx pgx.Tx) error {
		// Whoever keeps links reads them anew when the counter has moved. New
		// numbers are given after it, so that links of a new life are in order.
		if _, err := tx.Exec(ctx, `UPDATE lake_apps SET version = version + 1, link_number = link_number + 1, erasures = erasures + 1
			WHERE workspace_id = $1 AND app_id = $2`, e.workspaceID, e.AppID); err != nil {
			return fmt.Errorf("lock app: %w", err)
		}
		refused, err := refusedOf(ctx, tx, e)
		if err != nil {
			return err
		}
		tag, err := tx.Exec(ctx, `DELETE FROM rejected_events WHERE workspace_id = $1 AND app_id = $2 AND rejected_id = ANY ($3)`, e.workspaceID, e.AppID, refused)
		if err != nil {
			return fmt.Errorf("erase refused events: %w", err)
		}
		e.record.Rejected += tag.RowsAffected()
		// A name or a range of times does not say who a person is: links stay.
		if e.target().whole() {
			tag, err = tx.Exec(ctx, `DELETE FROM person_links WHERE workspace_id = $1 AND app_id = $2 AND number <= $4
				AND (from_key = ANY ($3) OR to_key = ANY ($3))`, e.workspaceID, e.AppID, e.keys, e.linkNumber)
			if err != nil {
				return fmt.Errorf("erase person links: %w", err)
			}
			e.record.Links += tag.RowsAffected()
		}
		return e.update(ctx, tx, e.State)
	})
	if err != nil {
		return err
	}
	failpoint.Hit("erase.after-clean")
	return nil
}

// whole says that a person is erased entirely, and not only some events of it.
func (t *target) whole() bool {
	return t.person() && t.name == "" && t.from == minTime && t.to == maxTime
}

// refusedOf finds the refused events that the erasure concerns. They have no
// time of their own that could be trusted, so that of their receipt counts.
func refusedOf(ctx context.Context, tx pgx.Tx, e *erasure) (ids []int64, err error) {
	t := e.target()
	rows, err := tx.Query(ctx, `SELECT rejected_id, received_at, name, event, message FROM rejected_events WHERE workspace_id = $1 AND app_id = $2`, e.workspaceID, e.AppID)
	if err != nil {
		return nil, fmt.Errorf("read refused events: %w", err)
	}
	var id int64
	var received time.Time
	var name, text, message string
	_, err = pgx.ForEachRow(rows, []any{&id, &received, &name, &text, &message}, func() error {
		at := received.UnixMicro()
		if t.occurred(at, at) && (t.name == "" || name == t.name) && (!t.person() || t.mentionedIn(text)) {
			ids = append(ids, id)
		}
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("read refused events: %w", err)
	}
	return ids, nil
}

// Texts and numbers of JSON that may be damaged.
var scalars = regexp.MustCompile(`"(?:[^"\\]|\\.)*"|-?[0-9]+(?:\.[0-9]+)?`)

// mentionedIn looks for an id of the person among all texts and numbers of a
// refused event, wherever they stand: it was refused because it is not as it
// should be.
func (t *target) mentionedIn(text string) bool {
	for _, scalar := range scalars.FindAllString(text, -1) {
		if strings.HasPrefix(scalar, `"`) {
			if unquoted, err := strconv.Unquote(scalar); err == nil {
				scalar = unquoted
			} else {
				scalar = strings.Trim(scalar, `"`)
			}
		}
		for _, id := range []string{scalar, strings.TrimSpace(scalar)} {
			if _, ok := t.keys[event.UserKey(id)]; ok {
				return true
			}
			if _, ok := t.keys[event.AnonymousKey(id)]; ok {
				return true
			}
		}
	}
	return false
}

// split parts a dead letter of the erasure's app into the batch that stays and
// the number of what goes, refused events too.
func (t *target) split(letter *stream.DeadLetter, e *erasure) (stays stream.Batch, removed int) {
	stays = letter.Batch
	if letter.Err != nil || stays.WorkspaceID != e.workspaceID || stays.AppID != e.AppID {
		return stays, 0
	}
	received := stays.ReceivedAt.UnixMicro()
	stays.Events = slices.DeleteFunc(slices.Clone(letter.Batch.Events), func(ev event.Event) bool { return t.matches(&ev) })
	stays.Rejected = slices.DeleteFunc(slices.Clone(letter.Batch.Rejected), func(r event.Rejected) bool {
		return t.occurred(received, received) && (t.name == "" || r.Name == t.name) && (!t.person() || t.mentionedIn(r.Event))
	})
	return stays, len(letter.Batch.Events) - len(stays.Events) + len(letter.Batch.Rejected) - len(stays.Rejected)
}

func (l *Lake) eraseDeadLetters(ctx context.Context, e *erasure) error {
	t := e.target()
	present := map[uint64]bool{}
	unread := int64(0)
	err := l.cfg.Stream.EachDeadLetter(ctx, func(letter *stream.DeadLetter) error {
		present[letter.Number] = true
		if letter.Err != nil {
			unread++
			return ctx.Err()
		}
		if letter.Replaces != 0 && present[letter.Replaces] { // a crash came between
			if err := l.cfg.Stream.DeleteDeadLetter(ctx, letter.Replaces); err != nil {
				return err
			}
		}
		stays, removed := t.split(letter, e)
		if removed == 0 {
			return ctx.Err()
		}
		e.record.DeadLetters++
		e.record.DeadEvents += int64(len(letter.Batch.Events) - len(stays.Events))
		if len(stays.Events) == 0 && len(stays.Rejected) == 0 && len(stays.Dropped) == 0 {
			return l.cfg.Stream.DeleteDeadLetter(ctx, letter.Number)
		}
		return l.cfg.Stream.ReplaceDeadLetter(ctx, letter, &stays)
	})
	if err != nil {
		return fmt.Errorf("erase dead letters: %w", err)
	}
	e.record.DeadUnread = unread
	return l.cfg.DB.Tx(ctx, func(ctx context.Context, tx pgx.Tx) error { return e.update(ctx, tx, e.State) })
}

// eraseRemains deletes what nothing lists any more and still holds the events:
// old objects, caches, and the part of the stream that has landed.
func (l *Lake) eraseRemains(ctx context.Context, e *erasure) error {
	if l.cfg.Publication != nil {
		if err := l.cfg.Publication.Forget(ctx, e.AppID); err != nil {
			return fmt.Errorf("take the events out of what is published: %w", err)
		}
		e.record.Published = true
	}
	garbage, err := l.garbageOf(ctx, e)
	if err != nil {
		return err
	}
	if e.record.Replicas, err = l.forgetEverywhere(ctx, e.AppID, garbage); err != nil {
		return err
	}
	failpoint.Hit("erase.after-forget")
	for keys := range slices.Chunk(garbage, eraseAtOnce) {
		for _, key := range keys {
			if err := l.cfg.Objects.Delete(ctx, key); err != nil {
				return err
			}
			failpoint.Hit("erase.after-delete")
		}
		e.record.Deleted += len(keys)
		err := l.cfg.DB.Tx(ctx, func(ctx context.Context, tx pgx.Tx) error {
			if _, err := tx.Exec(ctx, `DELETE FROM lake_garbage WHERE workspace_id = $1 AND key = ANY ($2)`, e.workspaceID, keys); err != nil {
				return err
			}
			return e.update(ctx, tx, e.State)
		})
		if err != nil {
			return fmt.Errorf("strike garbage: %w", err)
		}
	}
	if err := l.eraseOrphans(ctx, e); err != nil {
		return err
	}
	return l.purgeStream(ctx, e)
}

// garbageOf lists the app's objects that left the manifest: those of this
// erasure, and others, which may hold its events as well. Those whose deletion
// a crash cut off are among them.
func (l *Lake) garbageOf(ctx context.Context, e *erasure) (keys []string, err error) {
	err = l.cfg.DB.Tx(ctx, func(ctx context.Context, tx pgx.Tx) error {
		rows, err := tx.Query(ctx, `SELECT g.key FROM lake_garbage g WHERE g.workspace_id = $1 AND starts_with(g.key, $2)
			AND NOT EXISTS (SELECT FROM lake_objects o WHERE o.key = g.key) ORDER BY g.key`, e.workspaceID, appPrefix(e.AppID))
		if err != nil {
			return err
		}
		keys, err = pgx.CollectRows(rows, pgx.RowTo[string])
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("list garbage: %w", err)
	}
	return keys, nil
}

// forgetEverywhere makes every replica let go of what it keeps of an app and of
// the objects, and returns those that did.
func (l *Lake) forgetEverywhere(ctx context.Context, appID string, keys []string) (replicas []string, err error) {
	if l.cfg.Leases == nil {
		return []string{"this process"}, l.forgetHere(ctx, appID, keys)
	}
	if keys == nil {
		keys = []string{}
	}
	var id int64
	err = l.cfg.DB.TxAll(ctx, func(ctx context.Context, tx tenancy.ScopedTx) error {
		if _, err := tx.Exec(ctx, `DELETE FROM lake_forgets WHERE asked_at < now() - interval '`+forgetLeftover+`'`); err != nil {
			return err
		}
		return tx.QueryRow(ctx, `INSERT INTO lake_forgets (app_id, keys) VALUES ($1, $2) RETURNING forget_id`, appID, keys).Scan(&id)
	})
	if err != nil {
		return nil, fmt.Errorf("ask replicas to forget: %w", err)
	}
	// This replica's own part is done here: a start that settles a restored backup
	// comes by before anything runs in the background.
	if err := l.forgetHere(ctx, appID, keys); err != nil {
		return nil, err
	}
	if err := l.acknowledge(ctx, id); err != nil {
		return nil, fmt.Errorf("ask replicas to forget: %w", err)
	}
	for deadline := time.Now().Add(forgetPatience + forgetPatience/2); ; {
		alive, err := l.cfg.Leases.Replicas(ctx)
		if err != nil {
			return nil, err
		}
		err = l.cfg.DB.TxAll(ctx, func(ctx context.Context, tx tenancy.ScopedTx) error {
			return tx.QueryRow(ctx, `SELECT forgotten_by FROM lake_forgets WHERE forget_id = $1`, id).Scan(&replicas)
		})
		if err != nil {
			return nil, fmt.Errorf("ask replicas to forget: %w", err)
		}
		missing := slices.DeleteFunc(alive, func(r lease.Replica) bool { return slices.Contains(replicas, r.ID) })
		if len(missing) == 0 {
			break
		}
		if time.Now().After(deadline) {
			return nil, fmt.Errorf("replica %s has not let go of its caches within %v; stop it, or see its log", missing[0].ID, forgetPatience)
		}
		if !sleep(ctx, forgetPoll) {
			return nil, ctx.Err()
		}
	}
	slices.Sort(replicas)
	err = l.cfg.DB.TxAll(ctx, func(ctx context.Context, tx tenancy.ScopedTx) error {
		_, err := tx.Exec(ctx, `DELETE FROM lake_forgets WHERE forget_id = $1`, id)
		return err
	})
	return replicas, err
}

// forgetInBackground does this replica's part of what others ask, until ctx ends.
func (l *Lake) forgetInBackground(ctx context.Context) {
	self := l.cfg.Leases.ID()
	for sleep(ctx, forgetPoll) {
		type request struct {
			id    int64
			appID string
			keys  []string
		}
		var requests []request
		err := l.cfg.DB.TxAll(ctx, func(ctx context.Context, tx tenancy.ScopedTx) error {
			rows, err := tx.Query(ctx, `SELECT forget_id, app_id::text, keys FROM lake_forgets WHERE NOT forgotten_by @> ARRAY[$1] ORDER BY forget_id`, self)
			if err != nil {
				return err
			}
			requests, err = pgx.CollectRows(rows, func(row pgx.CollectableRow) (r request, err error) {
				return r, row.Scan(&r.id, &r.appID, &r.keys)
			})
			return err
		})
		for i := 0; err == nil && i < len(requests); i++ {
			r := &requests[i]
			if err = l.forgetHere(ctx, r.appID, r.keys); err != nil {
				break
			}
			err = l.acknowledge(ctx, r.id)
		}
		if err != nil && ctx.Err() == nil {
			l.log.WarnContext(ctx, "caches could not be let go of; trying again", "err", err)
		}
	}
}

// acknowledge notes that this replica has let go of what it was asked to.
func (l *Lake) acknowledge(ctx context.Context, id int64) error {
	return l.cfg.DB.TxAll(ctx, func(ctx context.Context, tx tenancy.ScopedTx) error {
		_, err := tx.Exec(ctx, `UPDATE lake_forgets SET forgotten_by = forgotten_by || $2::text WHERE forget_id = $1 AND NOT forgotten_by @> ARRAY[$2]`, id, l.cfg.Leases.ID())
		return err
	})
}

// forgetHere lets go of what this process keeps of an app. It waits for the
// questions that read the objects, for a bounded time.
func (l *Lake) forgetHere(ctx context.Context, appID string, keys []string) error {
	l.links.forget(appID)
	l.resolve.forget(appID)
	l.cfg.Catalog.Forget(appID)
	for deadline := time.Now().Add(l.cfg.ForgetPatience); len(l.holds.among(keys)) > 0 && time.Now().Before(deadline); {
		if !sleep(ctx, landPoll) {
			return ctx.Err()
		}
	}
	if remote, ok := l.cfg.Objects.(objstore.Remote); ok && len(keys) > 0 {
		if err := remote.Forget(ctx, keys...); err != nil {
			return fmt.Errorf("forget cached objects: %w", err)
		}
	}
	return nil
}

// sleep reports false when ctx ends first.
func sleep(ctx context.Context, d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-timer.C:
		return true
	}
}

// eraseOrphans deletes objects that nothing lists and that hold the events. It
// finds them under the lock of the app's row: a sink writes under it, so that no
// unlisted object of its can be about to be listed then; and a merge that reads
// an object with the events cannot be committed, because its inputs were
// rewritten. What is so found is dead for good.
func (l *Lake) eraseOrphans(ctx context.Context, e *erasure) error {
	t := e.target()
	var dead []string
	err := l.cfg.DB.Tx(ctx, func(ctx context.Context, tx pgx.Tx) error {
		if _, err := tx.Exec(ctx, `SET LOCAL statement_timeout = 0; SET LOCAL idle_in_transaction_session_timeout = 0`); err != nil {
			return err
		}
		if _, err := tx.Exec(ctx, `SELECT FROM lake_apps WHERE workspace_id = $1 AND app_id = $2 FOR UPDATE`, e.workspaceID, e.AppID); err != nil {
			return fmt.Errorf("lock app: %w", err)
		}
		unlisted, err := l.unlisted(ctx, tx, e.workspaceID, e.AppID)
		if err != nil {
			return err
		}
		for _, key := range unlisted {
			matches, err := l.scanUnlisted(ctx, t, key)
			if ctx.Err() != nil {
				return ctx.Err()
			}
			if storeAway(err) {
				return fmt.Errorf("scan %s: %w", key, err)
			}
			if err != nil {
				l.log.WarnContext(ctx, "an object that nothing lists cannot be read; keep it only if you need it", "key", key, "err", err)
				continue
			}
			if matches == 0 {
				continue
			}
			dead = append(dead, key)
			if !slices.Contains(e.record.Orphans, key) {
				e.record.Orphans = append(e.record.Orphans, key)
			}
		}
		return e.update(ctx, tx, e.State)
	})
	if err != nil {
		return fmt.Errorf("look for objects that nothing lists: %w", err)
	}
	failpoint.Hit("erase.before-orphans")
	for _, key := range dead {
		if err := l.cfg.Objects.Delete(ctx, key); err != nil {
			return err
		}
	}
	if remote, ok := l.cfg.Objects.(objstore.Remote); ok && len(dead) > 0 {
		if err := remote.Forget(ctx, dead...); err != nil {
			return fmt.Errorf("forget cached objects: %w", err)
		}
	}
	return nil
}

// unlisted lists the app's objects in the store that the manifest does not name.
func (l *Lake) unlisted(ctx context.Context, tx pgx.Tx, workspaceID, appID string) ([]string, error) {
	rows, err := tx.Query(ctx, `SELECT key FROM lake_objects WHERE workspace_id = $1 AND app_id = $2`, workspaceID, appID)
	if err != nil {
		return nil, fmt.Errorf("read manifest: %w", err)
	}
	listed := map[string]struct{}{}
	var key string
	if _, err := pgx.ForEachRow(rows, []any{&key}, func() error { listed[key] = struct{}{}; return nil }); err != nil {
		return nil, fmt.Errorf("read manifest: %w", err)
	}
	var unlisted []string
	for object, err := range l.cfg.Objects.List(ctx, appPrefix(appID)) {
		if err != nil {
			return nil, err
		}
		if _, ok := listed[object.Key]; !ok && strings.HasSuffix(object.Key, ".parquet") {
			unlisted = append(unlisted, object.Key)
		}
	}
	return unlisted, nil
}

// scanUnlisted counts what an object of any kind holds of the target.
func (l *Lake) scanUnlisted(ctx context.Context, t *target, key string) (matches int64, err error) {
	_, o, err := l.footerOf(ctx, key)
	if err != nil {
		return 0, err
	}
	switch o.Kind {
	case kindErased:
		return 0, nil
	case kindEvents:
		err = l.withFile(ctx, key, func(file *parquetv1.File) error {
			f, err := t.scan(ctx, file)
			matches = f.rows
			return err
		})
		return matches, err
	}
	return l.scanProjection(ctx, t, &o)
}

// scanProjection counts the events in a projection that the target may mean, by
// what the projection tells of them.
func (l *Lake) scanProjection(ctx context.Context, t *target, o *entry) (matches int64, err error) {
	object, err := l.cfg.Objects.Open(ctx, o.Key)
	if err != nil {
		return 0, err
	}
	defer func() { err = errors.Join(err, object.Close()) }()
	file, err := parquet.OpenFile(object, object.Size(), parquet.SkipPageIndex(true), parquet.SkipBloomFilters(true))
	if err != nil {
		return 0, fmt.Errorf("read footer: %w", err)
	}
	position := map[string]int{}
	for i, path := range file.Schema().Columns() {
		position[path[0]] = i
	}
	to := t.to
	if t.person() {
		to = min(to, t.before)
	}
	tests := map[string]func(parquet.Value) bool{}
	if t.person() {
		tests["user_key"] = func(v parquet.Value) bool {
			_, ours := t.keys[v.Int64()]
			return ours && !v.IsNull()
		}
	}
	if t.name != "" && o.Kind != projection.UserDays {
		tests["event"] = func(v parquet.Value) bool { return string(v.ByteArray()) == t.name }
	}
	if o.Kind == projection.ByEvent {
		tests["ts"] = func(v parquet.Value) bool { return v.Int64() >= t.from && v.Int64() < to }
	}
	for _, group := range file.RowGroups() {
		match := make([]bool, group.NumRows())
		for i := range match {
			match[i] = true
		}
		for name, test := range tests {
			if err := eachValue(ctx, group, position, name, func(row int, v parquet.Value) { match[row] = match[row] && test(v) }); err != nil {
				return 0, err
			}
		}
		if o.Kind == projection.ByEvent {
			for _, yes := range match {
				if yes {
					matches++
				}
			}
			continue
		}
		err := eachValue(ctx, group, position, "n", func(row int, v parquet.Value) {
			if match[row] {
				matches += v.Int64()
			}
		})
		if err != nil {
			return 0, err
		}
	}
	return matches, nil
}

// eachValue reads a column of a row group.
func eachValue(ctx context.Context, group parquet.RowGroup, position map[string]int, name string, yield func(row int, v parquet.Value)) (err error) {
	column, ok := position[name]
	if !ok {
		return fmt.Errorf("it has no column %s", name)
	}
	pages := group.ColumnChunks()[column].Pages()
	defer func() { err = errors.Join(err, pages.Close()) }()
	values := make([]parquet.Value, 4096)
	row := 0
	for {
		page, err := pages.ReadPage()
		if errors.Is(err, io.EOF) {
			return ctx.Err()
		}
		if err != nil {
			return fmt.Errorf("read column %s: %w", name, err)
		}
		for reader := page.Values(); ; {
			n, err := reader.ReadValues(values)
			for _, v := range values[:n] {
				yield(row, v)
				row++
			}
			if errors.Is(err, io.EOF) {
				break
			}
			if err != nil {
				return fmt.Errorf("read column %s: %w", name, err)
			}
		}
		parquet.Release(page)
		if ctx.Err() != nil {
			return ctx.Err()
		}
	}
}

// purgeStream removes what has landed from every lane. Whoever watches live
// events misses the last minutes for it.
func (l *Lake) purgeStream(ctx context.Context, e *erasure) error {
	var through landed
	err := l.cfg.DB.TxAll(ctx, func(ctx context.Context, tx tenancy.ScopedTx) error {
		return tx.QueryRow(ctx, `SELECT `+offsetsJSON).Scan(&through)
	})
	if err != nil {
		return fmt.Errorf("read the sinks' offsets: %w", err)
	}
	if e.record.Stream == nil {
		e.record.Stream = map[stream.Lane]uint64{}
	}
	for lane := range l.sinks {
		if through[lane].Incarnation != l.cfg.Stream.Incarnation(lane) {
			continue
		}
		if err := l.cfg.Stream.Purge(ctx, lane, through[lane].Last, 0, 0); err != nil {
			return err
		}
		e.record.Stream[lane] = max(e.record.Stream[lane], through[lane].Last)
	}
	return nil
}
