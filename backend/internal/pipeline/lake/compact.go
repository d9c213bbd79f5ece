package lake

import (
	"cmp"
	"container/heap"
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"sync"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/parquet-go/parquet-go"

	"github.com/causality-project/causality/backend/internal/account/tenancy"
	"github.com/causality-project/causality/backend/internal/pipeline/lake/parquetv1"
	"github.com/causality-project/causality/backend/internal/pipeline/lake/seen"
	"github.com/causality-project/causality/backend/internal/platform/event"
	"github.com/causality-project/causality/backend/internal/platform/failpoint"
	"github.com/causality-project/causality/backend/internal/platform/objstore"
)

// Objects are merged by level. At one object a second an app holds at most about
// 48 fresh ones and a few of each level above: a row is rewritten about once for
// each factor of 8 in time, and never again in an object of full size.
const (
	mergeFresh    = 48        // objects of level 0 that start a merge
	mergeLater    = 8         // objects of a higher level that do
	mergeMost     = 128       // inputs of one merge: each holds its pages open
	mergeLaterMax = 12        // inputs of a higher level
	fullBytes     = 128 << 20 // an object of this size is left alone, and a merge's inputs are at most that
	fullRows      = 4_000_000 // likewise; bounds the ids in memory, 64 MB
	foldPending   = 100_000   // links behind which an object is rewritten to fold them
	movedRows     = 20_000    // re-keyed rows of a merge held in memory, about 40 MB; more go to a file
	shareOfCPU    = 0.5       // of one core, in the background
)

// compactionState is what Status tells of compaction.
type compactionState struct {
	mu      sync.Mutex
	merges  int64
	rows    int64
	trouble error
	since   time.Time
}

func (s *compactionState) record(rows int64, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case err == nil:
		s.merges++
		s.rows += rows
		s.trouble = nil
	case s.trouble == nil:
		s.trouble, s.since = err, time.Now()
	default:
		s.trouble = err
	}
}

func (s *compactionState) status() Status {
	s.mu.Lock()
	defer s.mu.Unlock()
	status := Status{Name: "Compaction", State: "ok", Figures: []Figure{{"merges", float64(s.merges), ""}, {"rows merged", float64(s.rows), "events"}}}
	if s.trouble != nil {
		status.State = "degraded"
		status.Message = fmt.Sprintf("Objects have not been merged since %s; questions get slower and stay right. Cause: %v.", s.since.UTC().Format(time.RFC3339), s.trouble)
	}
	return status
}

// compactInBackground merges whatever is due, one merge at a time over all apps.
func (l *Lake) compactInBackground(ctx context.Context) {
	ticker := time.NewTicker(l.cfg.Compaction)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		}
		if err := l.compactDue(ctx); err != nil && ctx.Err() == nil {
			l.compaction.record(0, err)
			l.log.ErrorContext(ctx, "compaction will try again", "err", err)
		}
	}
}

func (l *Lake) compactDue(ctx context.Context) error {
	workspaces, err := l.cfg.DB.Workspaces(ctx)
	if err != nil {
		return err
	}
	// One app with a damaged object must not keep the others from being merged.
	var problems []error
	for _, workspaceID := range workspaces {
		apps, err := l.appsToCompact(ctx, workspaceID)
		if err != nil {
			return errors.Join(append(problems, err)...)
		}
		for _, appID := range apps {
			for merged := true; merged; {
				if merged, err = l.compactOnce(ctx, workspaceID, appID, due, shareOfCPU); err != nil {
					problems = append(problems, fmt.Errorf("compact app %s: %w", appID, err))
				}
			}
			if ctx.Err() != nil {
				return ctx.Err()
			}
		}
	}
	return errors.Join(problems...)
}

// appsToCompact lists the apps that may have something due, cheaply.
func (l *Lake) appsToCompact(ctx context.Context, workspaceID string) ([]string, error) {
	var apps []string
	err := l.cfg.DB.Tx(tenancy.WithWorkspace(ctx, workspaceID), func(ctx context.Context, tx pgx.Tx) error {
		rows, err := tx.Query(ctx, `SELECT DISTINCT app_id::text FROM (
			SELECT app_id FROM lake_objects WHERE workspace_id = $1 AND kind = 'events'
			GROUP BY app_id, level HAVING count(*) >= CASE WHEN level = 0 THEN $2::int ELSE $3::int END
			UNION ALL
			SELECT o.app_id FROM lake_objects o JOIN lake_apps a USING (workspace_id, app_id)
			WHERE o.workspace_id = $1 AND o.link_number < a.link_number - $4::bigint) AS due`,
			workspaceID, mergeFresh, mergeLater, foldPending)
		if err != nil {
			return fmt.Errorf("find objects to merge: %w", err)
		}
		apps, err = pgx.CollectRows(rows, pgx.RowTo[string])
		if err != nil {
			return fmt.Errorf("find objects to merge: %w", err)
		}
		return nil
	})
	return apps, err
}

// choose picks the inputs of an app's next merge, or none.
type choose func(entries []entry, linkNumber int64) []entry

// due picks what the thresholds ask for.
func due(entries []entry, linkNumber int64) []entry {
	byLevel := map[int][]entry{}
	levels := []int{}
	for _, e := range entries {
		if e.LinkNumber < linkNumber-foldPending {
			return []entry{e}
		}
		if e.Bytes >= fullBytes || e.Rows >= fullRows {
			continue
		}
		if byLevel[e.Level] == nil {
			levels = append(levels, e.Level)
		}
		byLevel[e.Level] = append(byLevel[e.Level], e)
	}
	slices.Sort(levels)
	for _, level := range levels {
		least, most := mergeFresh, mergeMost
		if level > 0 {
			least, most = mergeLater, mergeLaterMax
		}
		if len(byLevel[level]) < least {
			continue
		}
		if inputs := fitting(byLevel[level], most); len(inputs) > 1 {
			return inputs
		}
	}
	return nil
}

// everything picks whatever can be merged, for people who ask for it.
func everything(entries []entry, linkNumber int64) []entry {
	var small []entry
	for _, e := range entries {
		if e.Bytes < fullBytes && e.Rows < fullRows {
			small = append(small, e)
		}
	}
	slices.SortStableFunc(small, func(a, b entry) int { return cmp.Compare(a.Bytes, b.Bytes) })
	if inputs := fitting(small, mergeMost); len(inputs) > 1 {
		return inputs
	}
	for _, e := range entries {
		if e.LinkNumber < linkNumber {
			return []entry{e}
		}
	}
	return nil
}

// fitting takes entries from the front while they make an object of full size
// at most, but two in any case: else objects of half that size would never merge.
func fitting(entries []entry, most int) []entry {
	var bytes, rows int64
	for i, e := range entries {
		bytes += e.Bytes
		rows += e.Rows
		if i >= most || i >= 2 && (bytes > fullBytes || rows > fullRows) {
			return entries[:i]
		}
	}
	return entries
}

// CompactProgress is told after each merge.
type CompactProgress struct {
	ObjectsBefore int
	ObjectsAfter  int
	Rows          int64 // rewritten so far
}

// Compact merges all of an app's objects that can be merged, or of all apps of
// ctx's workspace for an empty appID.
func (l *Lake) Compact(ctx context.Context, appID string, report func(CompactProgress)) error {
	workspaceID, err := tenancy.Workspace(ctx)
	if err != nil {
		return err
	}
	apps, err := l.appsOf(ctx, workspaceID, appID)
	if err != nil {
		return err
	}
	var progress CompactProgress
	for _, app := range apps {
		before, err := l.countObjects(ctx, workspaceID, app)
		if err != nil {
			return err
		}
		progress.ObjectsBefore += before
		progress.ObjectsAfter += before
	}
	report(progress)
	for _, app := range apps {
		for {
			var inputs, rows int64
			merged, err := l.compactOnce(ctx, workspaceID, app, func(entries []entry, linkNumber int64) []entry {
				chosen := everything(entries, linkNumber)
				inputs, rows = int64(len(chosen)), 0
				for _, e := range chosen {
					rows += e.Rows
				}
				return chosen
			}, 1)
			if err != nil {
				return fmt.Errorf("compact app %s: %w", app, err)
			}
			if !merged {
				break
			}
			progress.ObjectsAfter -= int(inputs) - 1
			progress.Rows += rows
			report(progress)
		}
	}
	return nil
}

func (l *Lake) countObjects(ctx context.Context, workspaceID, appID string) (n int, err error) {
	err = l.cfg.DB.Tx(tenancy.WithWorkspace(ctx, workspaceID), func(ctx context.Context, tx pgx.Tx) error {
		return tx.QueryRow(ctx, `SELECT count(*) FROM lake_objects WHERE workspace_id = $1 AND app_id = $2`, workspaceID, appID).Scan(&n)
	})
	return n, err
}

// appsOf lists the apps of a workspace that have something in the lake, or the
// one asked for.
func (l *Lake) appsOf(ctx context.Context, workspaceID, appID string) ([]string, error) {
	if appID != "" {
		return []string{appID}, nil
	}
	var apps []string
	err := l.cfg.DB.Tx(tenancy.WithWorkspace(ctx, workspaceID), func(ctx context.Context, tx pgx.Tx) error {
		rows, err := tx.Query(ctx, `SELECT app_id::text FROM apps WHERE workspace_id = $1 ORDER BY created_at`, workspaceID)
		if err != nil {
			return err
		}
		apps, err = pgx.CollectRows(rows, pgx.RowTo[string])
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("list apps: %w", err)
	}
	return apps, nil
}

// errOvertaken ends a merge whose inputs have left the manifest meanwhile.
var errOvertaken = errors.New("the objects were merged by somebody else")

// compactOnce makes one merge of an app and reports whether there was one.
func (l *Lake) compactOnce(ctx context.Context, workspaceID, appID string, pick choose, share float64) (bool, error) {
	l.compacting.Lock()
	defer l.compacting.Unlock()
	return l.compactLocked(ctx, workspaceID, appID, pick, share)
}

func (l *Lake) compactLocked(ctx context.Context, workspaceID, appID string, pick choose, share float64) (merged bool, err error) {
	ctx = tenancy.WithWorkspace(ctx, workspaceID)
	m := merge{lake: l, workspaceID: workspaceID, appID: appID, pace: pacer{share: share, since: time.Now()}}
	err = l.cfg.DB.Tx(ctx, func(ctx context.Context, tx pgx.Tx) error {
		var number int64
		err := tx.QueryRow(ctx, `SELECT link_number, duplicates, rejected, dropped FROM lake_apps WHERE workspace_id = $1 AND app_id = $2`, workspaceID, appID).
			Scan(&number, &m.totals.Duplicates, &m.totals.Rejected, &m.totals.Dropped)
		if errors.Is(err, pgx.ErrNoRows) {
			return nil
		}
		if err != nil {
			return fmt.Errorf("read manifest: %w", err)
		}
		entries, err := entriesOf(ctx, tx, workspaceID, appID)
		if err != nil {
			return err
		}
		entries = slices.DeleteFunc(entries, func(e entry) bool { return e.Kind != kindEvents })
		if m.inputs = pick(entries, number); len(m.inputs) == 0 {
			return nil
		}
		oldest := number
		for i := range m.inputs {
			oldest = min(oldest, m.inputs[i].LinkNumber)
		}
		m.links, err = readLinks(ctx, tx, workspaceID, appID, number, oldest)
		return err
	})
	if err != nil || len(m.inputs) == 0 {
		return false, err
	}
	err = m.run(ctx)
	if errors.Is(err, errOvertaken) {
		return true, nil // look again
	}
	if err != nil {
		return false, err
	}
	l.compaction.record(m.output.Rows, nil)
	return true, nil
}

// merge rewrites some objects of an app into one, sorted, each id once, its keys
// resolved through the newest link. Every input is sorted already, so that it
// streams: memory holds the open pages of the inputs, their ids, and the rows
// that links have moved to another person.
type merge struct {
	lake        *Lake
	workspaceID string
	appID       string
	inputs      []entry
	links       Links
	totals      totals
	pace        pacer
	output      entry
	repeated    int64
}

func (m *merge) run(ctx context.Context) (err error) {
	drop, err := m.findRepeats(ctx)
	if err != nil {
		return err
	}
	newest := m.inputs[0].MaxReceivedAt
	level := 0
	sources := make([]seen.Ranges, len(m.inputs))
	for i := range m.inputs {
		level = max(level, m.inputs[i].Level+1)
		sources[i] = m.inputs[i].Sources
		if m.inputs[i].MaxReceivedAt.After(newest) {
			newest = m.inputs[i].MaxReceivedAt
		}
	}
	if len(m.inputs) == 1 { // a fold alone keeps its place
		level = max(m.inputs[0].Level, 1)
	}
	m.output, err = newEntry(m.workspaceID, m.appID, level, newest, fmt.Sprintf("merged-%d", level))
	if err != nil {
		return err
	}
	m.output.Sources, m.output.LinkNumber, m.output.Totals = seen.Union(sources...), m.links.Number, m.totals
	m.output.Totals.Duplicates += m.repeated

	var streams []rowStream
	defer func() {
		for _, s := range streams {
			err = errors.Join(err, s.close())
		}
	}()
	moved, err := m.openInputs(ctx, drop, &streams)
	if err != nil {
		return err
	}
	streams = append(streams, moved...)
	m.output.Bytes, err = m.lake.cfg.Objects.Create(ctx, m.output.Key, func(out io.Writer) error {
		return m.write(ctx, out, streams)
	})
	if err != nil {
		return err
	}
	failpoint.Hit("compaction.after-write")
	err = m.lake.checkFooter(ctx, &m.output)
	if err == nil {
		err = m.commit(ctx)
	}
	if err != nil && !mayHaveCommitted(err) {
		err = errors.Join(err, m.lake.cfg.Objects.Delete(context.WithoutCancel(ctx), m.output.Key))
	}
	return err
}

// mayHaveCommitted reports whether the output could be in the manifest although
// the commit failed. It is then left to the collector, which looks first.
func mayHaveCommitted(err error) bool { return !errors.Is(err, errOvertaken) }

// findRepeats looks for ids that occur twice, which only a damaged store or a
// rebuild after one can hold. The first accepted copy stays.
func (m *merge) findRepeats(ctx context.Context) (map[event.ID]int64, error) {
	var total int64
	for i := range m.inputs {
		total += m.inputs[i].Rows
	}
	ids := make([]event.ID, 0, total)
	for i := range m.inputs {
		err := m.lake.withFile(ctx, m.inputs[i].Key, func(file *parquetv1.File) error {
			return file.ReadIDs(func(some []event.ID) error {
				ids = append(ids, some...)
				return m.pace.wait(ctx)
			})
		})
		if err != nil {
			return nil, fmt.Errorf("read the ids of %s: %w", m.inputs[i].Key, err)
		}
	}
	slices.SortFunc(ids, func(a, b event.ID) int { return slices.Compare(a[:], b[:]) })
	repeats := map[event.ID]int64{}
	for i := 1; i < len(ids); i++ {
		if ids[i] == ids[i-1] {
			repeats[ids[i]] = -1
			m.repeated++
		}
	}
	if len(repeats) == 0 {
		return nil, nil
	}
	// Which copy was accepted first: by receipt, then by sequence. The map keeps
	// the place of the copy that stays, counted over all inputs.
	type copyOf struct{ receivedAt, seq int64 }
	best := map[event.ID]copyOf{}
	var place int64
	for i := range m.inputs {
		err := m.eachRow(ctx, m.inputs[i].Key, func(row parquet.Row) error {
			id := parquetv1.ID(row)
			if _, repeated := repeats[id]; repeated {
				this := copyOf{parquetv1.ReceivedAt(row), parquetv1.Seq(row)}
				have, ok := best[id]
				if !ok || this.receivedAt < have.receivedAt || this.receivedAt == have.receivedAt && this.seq < have.seq {
					best[id], repeats[id] = this, place
				}
			}
			place++
			return nil
		})
		if err != nil {
			return nil, err
		}
	}
	return repeats, nil
}

func (m *merge) eachRow(ctx context.Context, key string, yield func(parquet.Row) error) error {
	return m.lake.withFile(ctx, key, func(file *parquetv1.File) (err error) {
		reader := file.Read()
		defer func() { err = errors.Join(err, reader.Close()) }()
		for n := 0; ; n++ {
			row, err := reader.Next()
			if errors.Is(err, io.EOF) {
				return nil
			}
			if err == nil {
				err = yield(row)
			}
			if err == nil && n%1024 == 0 {
				err = m.pace.wait(ctx)
			}
			if err != nil {
				return fmt.Errorf("read %s: %w", key, err)
			}
		}
	})
}

// openInputs opens a stream over each input that leaves out repeats and rows
// that have moved to another person, and returns streams of the moved rows.
func (m *merge) openInputs(ctx context.Context, drop map[event.ID]int64, streams *[]rowStream) (_ []rowStream, err error) {
	moved := &movedRowsOf{lake: m.lake}
	defer func() {
		if err != nil {
			err = errors.Join(err, moved.discard())
		}
	}()
	var first int64
	for i := range m.inputs {
		in := &m.inputs[i]
		stale := in.LinkNumber < m.links.Number && (len(m.links.ByKey) > 0 || len(m.links.Changed) > 0 || len(m.links.ChangedUsers) > 0)
		place := first
		if stale {
			err := m.eachRow(ctx, in.Key, func(row parquet.Row) error {
				here := place
				place++
				if stays, repeated := drop[parquetv1.ID(row)]; repeated && stays != here {
					return nil
				}
				key := parquetv1.UserKey(row)
				if now := m.links.Resolve(key, parquetv1.UserID(row), parquetv1.AnonymousID(row)); now != key {
					return moved.add(row, now)
				}
				return nil
			})
			if err != nil {
				return nil, err
			}
		}
		s, err := m.openInput(ctx, in, first, stale, drop)
		if err != nil {
			return nil, err
		}
		*streams = append(*streams, s)
		first += in.Rows
	}
	return moved.streams(), nil
}

func (m *merge) openInput(ctx context.Context, in *entry, first int64, stale bool, drop map[event.ID]int64) (rowStream, error) {
	object, err := m.lake.cfg.Objects.Open(ctx, in.Key)
	if err != nil {
		return nil, err
	}
	file, err := parquetv1.Open(object, object.Size())
	if err != nil {
		return nil, errors.Join(fmt.Errorf("open %s: %w", in.Key, err), object.Close())
	}
	s := &fileStream{object: object, reader: file.Read(), place: first}
	if stale || len(drop) > 0 {
		s.keep = func(row parquet.Row, place int64) bool {
			if stays, repeated := drop[parquetv1.ID(row)]; repeated && stays != place {
				return false
			}
			if !stale {
				return true
			}
			key := parquetv1.UserKey(row)
			return m.links.Resolve(key, parquetv1.UserID(row), parquetv1.AnonymousID(row)) == key
		}
	}
	return s, nil
}

// write merges the streams into out.
func (m *merge) write(ctx context.Context, out io.Writer, streams []rowStream) error {
	merger := parquetv1.NewMerger(out)
	var queue mergeQueue
	for _, s := range streams {
		switch row, err := s.next(); {
		case err == nil:
			queue = append(queue, head{row, s})
		case !errors.Is(err, io.EOF):
			return err
		}
	}
	heap.Init(&queue)
	for len(queue) > 0 {
		row := queue[0].row
		m.output.extend(time.UnixMicro(parquetv1.TS(row)).UTC(), time.UnixMicro(parquetv1.ReceivedAt(row)).UTC())
		m.output.Rows++
		if err := merger.Write(row); err != nil {
			return err
		}
		switch row, err := queue[0].stream.next(); {
		case err == nil:
			queue[0].row = row
			heap.Fix(&queue, 0)
		case errors.Is(err, io.EOF):
			heap.Pop(&queue)
		default:
			return err
		}
		if m.output.Rows%1024 == 0 {
			if err := m.pace.wait(ctx); err != nil {
				return err
			}
		}
	}
	metadata, err := m.output.metadata()
	if err != nil {
		return err
	}
	return merger.Close(metadata)
}

// commit swaps the inputs for the output. The app's row is locked as by a sink,
// and every input must still be live.
func (m *merge) commit(ctx context.Context) error {
	ids, keys := make([]string, len(m.inputs)), make([]string, len(m.inputs))
	for i := range m.inputs {
		ids[i], keys[i] = m.inputs[i].ID, m.inputs[i].Key
	}
	err := m.lake.cfg.DB.Tx(ctx, func(ctx context.Context, tx pgx.Tx) error {
		tag, err := tx.Exec(ctx, `UPDATE lake_apps SET version = version + 1, duplicates = duplicates + $3 WHERE workspace_id = $1 AND app_id = $2`,
			m.workspaceID, m.appID, m.repeated)
		if err != nil {
			return fmt.Errorf("lock app: %w", err)
		}
		if tag.RowsAffected() != 1 {
			return errOvertaken
		}
		tag, err = tx.Exec(ctx, `DELETE FROM lake_objects WHERE workspace_id = $1 AND object_id = ANY ($2::uuid[])`, m.workspaceID, ids)
		if err != nil {
			return fmt.Errorf("unlist inputs: %w", err)
		}
		if tag.RowsAffected() != int64(len(ids)) {
			return errOvertaken
		}
		var batch pgx.Batch
		m.output.queueInsert(&batch)
		batch.Queue(`INSERT INTO lake_garbage (key, workspace_id) SELECT unnest($1::text[]), $2::uuid`, keys, m.workspaceID)
		if err := tx.SendBatch(ctx, &batch).Close(); err != nil {
			return fmt.Errorf("list output: %w", err)
		}
		failpoint.Hit("compaction.before-commit")
		return nil
	})
	if err == nil {
		failpoint.Hit("compaction.after-commit")
	}
	return err
}

// pacer keeps a worker to a share of one core, so that ingest has the rest.
type pacer struct {
	share float64
	since time.Time
}

func (p *pacer) wait(ctx context.Context) error {
	worked := time.Since(p.since)
	if p.share >= 1 || worked < 20*time.Millisecond {
		return ctx.Err()
	}
	timer := time.NewTimer(time.Duration(float64(worked) * (1 - p.share) / p.share))
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-timer.C:
	}
	p.since = time.Now()
	return nil
}

// rowStream yields rows in the order of objects, then io.EOF. A row is valid
// until the next call.
type rowStream interface {
	next() (parquet.Row, error)
	close() error
}

type fileStream struct {
	object objstore.Reader
	reader *parquetv1.Reader
	keep   func(row parquet.Row, place int64) bool
	place  int64
}

func (s *fileStream) next() (parquet.Row, error) {
	for {
		row, err := s.reader.Next()
		if err != nil {
			return nil, err
		}
		place := s.place
		s.place++
		if s.keep == nil || s.keep(row, place) {
			return row, nil
		}
	}
}

func (s *fileStream) close() error { return errors.Join(s.reader.Close(), s.object.Close()) }

type head struct {
	row    parquet.Row
	stream rowStream
}

type mergeQueue []head

func (q mergeQueue) Len() int           { return len(q) }
func (q mergeQueue) Less(i, j int) bool { return parquetv1.CompareStored(q[i].row, q[j].row) < 0 }
func (q mergeQueue) Swap(i, j int)      { q[i], q[j] = q[j], q[i] }
func (q *mergeQueue) Push(x any)        { *q = append(*q, x.(head)) }
func (q *mergeQueue) Pop() any {
	old := *q
	last := old[len(old)-1]
	*q = old[:len(old)-1]
	return last
}
