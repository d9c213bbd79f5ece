package lake

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math"
	"strings"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
	"golang.org/x/sync/errgroup"

	"github.com/causality-project/causality/backend/internal/pipeline/lake/merge"
	"github.com/causality-project/causality/backend/internal/pipeline/lake/parquetv1"
	"github.com/causality-project/causality/backend/internal/pipeline/lake/projection"
	"github.com/causality-project/causality/backend/internal/pipeline/lake/seen"
	"github.com/causality-project/causality/backend/internal/platform/event"
	"github.com/causality-project/causality/backend/internal/platform/failpoint"
	"github.com/causality-project/causality/backend/internal/platform/objstore"
)

// errOvertaken ends a rewrite whose inputs have left the manifest meanwhile.
var errOvertaken = errors.New("the objects were rewritten by somebody else")

// rewrite replaces some objects of an app by others that hold the same rows, or
// those that keep leaves of them: sorted, each id once, every key resolved
// through the newest link, settled ones with their projections. The objects are
// written first and listed in one transaction; a crash between leaves objects
// that nothing lists.
type rewrite struct {
	lake        *Lake
	workspaceID string
	appID       string
	inputs      []entry
	links       Links // as of now, for objects as old as the inputs
	totals      totals
	promote     []parquetv1.Promoted

	level  int    // of the outputs
	settle bool   // outputs are settled: split by month and user
	bits   int    // of the user that outputs are split by at least
	zone   string // the app's time zone; of the projections of settled outputs
	target int64  // bytes of a settled object; 0: the usual

	keep    func(*merge.Row) bool   // nil: everything stays
	removed func(id event.ID) error // told of what keep refuses; may be nil
	pace    func(context.Context) error
	also    func(ctx context.Context, tx pgx.Tx) error // more of the swap's transaction; may be nil

	id      string
	outputs []entry // events before the projections that are derived from them
	result  merge.Result
}

// loadRewrite reads what a rewrite of these objects needs. All of them must be
// live.
func (l *Lake) loadRewrite(ctx context.Context, workspaceID, appID string, ids []string) (*rewrite, error) {
	r := &rewrite{lake: l, workspaceID: workspaceID, appID: appID}
	err := l.cfg.DB.Tx(ctx, func(ctx context.Context, tx pgx.Tx) error {
		var number int64
		err := tx.QueryRow(ctx, `SELECT l.link_number, l.duplicates, l.rejected, l.dropped, l.erased, l.erased_late, l.expired, a.time_zone FROM lake_apps l JOIN apps a USING (workspace_id, app_id)
			WHERE l.workspace_id = $1 AND l.app_id = $2`, workspaceID, appID).
			Scan(&number, &r.totals.Duplicates, &r.totals.Rejected, &r.totals.Dropped, &r.totals.Erased, &r.totals.Late, &r.totals.Expired, &r.zone)
		if errors.Is(err, pgx.ErrNoRows) {
			return errOvertaken
		}
		if err != nil {
			return fmt.Errorf("read manifest: %w", err)
		}
		rows, err := tx.Query(ctx, `SELECT `+entryColumns+` FROM lake_objects
			WHERE workspace_id = $1 AND object_id = ANY ($2::uuid[]) AND kind = 'events' ORDER BY object_id`, workspaceID, ids)
		if err != nil {
			return fmt.Errorf("read manifest: %w", err)
		}
		if r.inputs, err = pgx.CollectRows(rows, scanEntry); err != nil {
			return fmt.Errorf("read manifest: %w", err)
		}
		if len(r.inputs) != len(ids) {
			return errOvertaken
		}
		oldest := number
		for i := range r.inputs {
			oldest = min(oldest, r.inputs[i].LinkNumber)
		}
		r.links, err = readLinks(ctx, tx, workspaceID, appID, number, oldest)
		return err
	})
	if err != nil {
		return nil, err
	}
	promotions, err := l.cfg.Catalog.Promotions(ctx, appID)
	if err != nil {
		return nil, err
	}
	r.promote = promotedOf(promotions)
	return r, nil
}

// inPlace has the outputs be what the first input is: loose, or settled there.
func (r *rewrite) inPlace() {
	first := &r.inputs[0]
	r.level = max(first.Level, 1)
	r.settle, r.bits = !first.Period.IsZero(), first.BucketBits
}

// run writes the outputs and swaps them in.
func (r *rewrite) run(ctx context.Context) (err error) {
	files, closeFiles, err := r.lake.openInputs(ctx, r.inputs)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, closeFiles()) }()
	id, err := uuid.NewV7()
	if err != nil {
		return fmt.Errorf("merge id: %w", err)
	}
	r.id = id.String()
	job := merge.Job{
		AppID: r.appID, Inputs: files, Stale: r.stale(), Resolve: r.links.Resolve, Keep: r.keep, Removed: r.removed, Promote: r.promote,
		Settle: r.settle, MinBits: r.bits, Target: r.target, Pace: r.pace, TempDir: r.lake.cfg.CacheDir, Create: r.create, Metadata: r.metadata,
	}
	if r.settle {
		if job.Zone, err = time.LoadLocation(r.zone); err != nil {
			return fmt.Errorf("the app's time zone: %w", err)
		}
	}
	r.result, err = merge.Run(ctx, job)
	if err == nil {
		err = r.checkOutputs(ctx)
	}
	if err == nil {
		err = r.swap(ctx)
		if err != nil && !errors.Is(err, errOvertaken) {
			return err // it may have been committed: the collector looks before it deletes
		}
	}
	if err != nil {
		for i := range r.outputs {
			err = errors.Join(err, r.lake.cfg.Objects.Delete(context.WithoutCancel(ctx), r.outputs[i].Key))
		}
		return err
	}
	r.lake.compaction.wrote(r.inputs, r.outputs)
	return nil
}

// stale says which inputs hold rows that links may have moved.
func (r *rewrite) stale() []bool {
	if len(r.links.ByKey)+len(r.links.Changed)+len(r.links.ChangedUsers) == 0 {
		return nil
	}
	stale := make([]bool, len(r.inputs))
	for i := range r.inputs {
		stale[i] = r.inputs[i].LinkNumber < r.links.Number
	}
	return stale
}

// openInputs opens objects of whole events for a merge.
func (l *Lake) openInputs(ctx context.Context, inputs []entry) (files []*parquetv1.File, closeAll func() error, err error) {
	var readers []objstore.Reader
	unpin := func() {}
	closeAll = func() error {
		var errs []error
		for _, r := range readers {
			errs = append(errs, r.Close())
		}
		unpin()
		return errors.Join(errs...)
	}
	if remote, ok := l.cfg.Objects.(objstore.Remote); ok {
		unpin = fetchWhole(ctx, remote, inputs)
	}
	for i := range inputs {
		reader, err := l.cfg.Objects.Open(ctx, inputs[i].Key)
		if err != nil {
			return nil, nil, errors.Join(err, closeAll())
		}
		readers = append(readers, reader)
		file, err := parquetv1.Open(reader, reader.Size())
		if err == nil && file.Rows() != inputs[i].Rows {
			err = fmt.Errorf("its footer states %d rows, the manifest %d", file.Rows(), inputs[i].Rows)
		}
		if err != nil {
			return nil, nil, errors.Join(fmt.Errorf("open %s: %w", inputs[i].Key, err), closeAll())
		}
		files = append(files, file)
	}
	return files, closeAll, nil
}

// fetchWhole makes local copies of objects that are read to their ends, column by
// column: a request for each column would take longer. What it does not get, for
// want of room, is read from afar.
func fetchWhole(ctx context.Context, remote objstore.Remote, inputs []entry) (unpin func()) {
	keys := make([]string, len(inputs))
	for i := range inputs {
		keys[i] = inputs[i].Key
	}
	unpin = remote.Pin(keys)
	var group errgroup.Group
	group.SetLimit(filesAtOnce)
	for i := range inputs {
		group.Go(func() error {
			_ = remote.Fetch(ctx, inputs[i].Key, inputs[i].Bytes, nil)
			return nil
		})
	}
	_ = group.Wait()
	return unpin
}

// create stores an object of a part under a name of its own.
func (r *rewrite) create(ctx context.Context, part *merge.Part, kind string, write func(io.Writer) error) (int64, error) {
	var err error
	var output entry
	if kind == merge.Events {
		output, err = r.newOutput(part)
	} else {
		output, err = newProjection(&r.outputs[r.eventsOf(part)], kind, r.zone)
	}
	if err != nil {
		return 0, err
	}
	r.outputs = append(r.outputs, output)
	failpoint.Hit("compaction.before-write")
	bytes, err := r.lake.cfg.Objects.Create(ctx, output.Key, write)
	if err != nil {
		return 0, err
	}
	failpoint.Hit("compaction.after-write")
	r.outputs[len(r.outputs)-1].Bytes = bytes
	return bytes, nil
}

// eventsOf is the place of a part's object of events: parts follow one another.
func (r *rewrite) eventsOf(part *merge.Part) int {
	at := len(r.outputs) - 1
	for r.outputs[at].Kind != kindEvents {
		at--
	}
	return at
}

func (r *rewrite) newOutput(part *merge.Part) (entry, error) {
	newest := r.inputs[0].MaxReceivedAt
	sources := make([]seen.Ranges, len(r.inputs))
	inputs := make([]string, len(r.inputs))
	for i := range r.inputs {
		sources[i], inputs[i] = r.inputs[i].Sources, r.inputs[i].ID
		if r.inputs[i].MaxReceivedAt.After(newest) {
			newest = r.inputs[i].MaxReceivedAt
		}
	}
	output, err := newEntry(r.workspaceID, r.appID, r.level, newest, fmt.Sprintf("merged-%d", r.level))
	if err != nil {
		return entry{}, err
	}
	if r.settle {
		output.Period, output.Bucket, output.BucketBits = part.Period, part.Bucket, part.Bits
		output.Key = settledKey(&output, kindEvents)
	}
	output.Sources, output.LinkNumber, output.Totals = seen.Union(sources...), r.links.Number, r.totals
	output.Merge, output.Parts, output.Inputs = r.id, part.Of, inputs
	return output, nil
}

// settledKey names a settled object or a projection of one by its month and users.
func settledKey(e *entry, kind string) string {
	return fmt.Sprintf("%syear=%04d/month=%02d/%s-%d-%d-%s.parquet", appPrefix(e.AppID), e.Period.Year(), e.Period.Month(),
		kind, e.BucketBits, e.Bucket, strings.ReplaceAll(e.ID, "-", ""))
}

// newProjection names a projection of a settled object. What it states of rows
// and times is that of its source, until it is written.
func newProjection(source *entry, kind, zone string) (entry, error) {
	output := *source
	id, err := uuid.NewV7()
	if err != nil {
		return entry{}, fmt.Errorf("object id: %w", err)
	}
	output.ID, output.Kind, output.Source = id.String(), kind, source.ID
	output.Key = settledKey(&output, kind)
	output.Columns, output.Inputs = nil, nil
	if kind != projection.ByEvent {
		output.Zone = zone
	}
	output.CreatedAt = time.Now().UTC().Truncate(time.Microsecond)
	return output, nil
}

// metadata completes an output's row and gives it to the object.
func (r *rewrite) metadata(part *merge.Part, kind string) (map[string]string, error) {
	output := &r.outputs[len(r.outputs)-1]
	output.Rows = part.Objects[kind].Rows
	output.MinTS, output.MaxTS, output.MinReceivedAt, output.MaxReceivedAt = part.MinTS, part.MaxTS, part.MinReceivedAt, part.MaxReceivedAt
	if kind == merge.Events || kind == merge.ByEvent {
		output.Columns = part.Columns
	}
	return output.metadata()
}

func (r *rewrite) checkOutputs(ctx context.Context) error {
	for i := range r.outputs {
		if err := r.lake.checkOutput(ctx, &r.outputs[i]); err != nil {
			return fmt.Errorf("object %s reads back wrong: %w", r.outputs[i].Key, err)
		}
	}
	return nil
}

// checkOutput reads the footer of a written object of any kind.
func (l *Lake) checkOutput(ctx context.Context, output *entry) (err error) {
	if output.Kind == kindEvents {
		return l.checkFooter(ctx, output)
	}
	rows, _, err := l.footerOf(ctx, output.Key)
	if err == nil && rows != output.Rows {
		err = fmt.Errorf("its footer states %d rows, not %d", rows, output.Rows)
	}
	return err
}

// swap lists the outputs in the place of the inputs. The app's row is locked as
// by a sink, and every input must still be live.
func (r *rewrite) swap(ctx context.Context) error {
	ids := make([]string, len(r.inputs))
	for i := range r.inputs {
		ids[i] = r.inputs[i].ID
	}
	err := r.lake.cfg.DB.Tx(ctx, func(ctx context.Context, tx pgx.Tx) error {
		tag, err := tx.Exec(ctx, `UPDATE lake_apps SET version = version + 1, duplicates = duplicates + $3 WHERE workspace_id = $1 AND app_id = $2`,
			r.workspaceID, r.appID, r.result.Repeated)
		if err != nil {
			return fmt.Errorf("lock app: %w", err)
		}
		if tag.RowsAffected() != 1 {
			return errOvertaken
		}
		if err := unlist(ctx, tx, r.workspaceID, ids); err != nil {
			return err
		}
		var batch pgx.Batch
		for i := range r.outputs {
			r.outputs[i].queueInsert(&batch)
		}
		if err := tx.SendBatch(ctx, &batch).Close(); err != nil {
			return fmt.Errorf("list outputs: %w", err)
		}
		if r.also != nil {
			if err := r.also(ctx, tx); err != nil {
				return err
			}
		}
		failpoint.Hit("compaction.before-commit")
		return nil
	})
	if err == nil {
		failpoint.Hit("compaction.after-commit")
	}
	return err
}

// unlist takes objects and their projections out of the manifest and makes them
// garbage. All of the objects must be live, else it is errOvertaken.
func unlist(ctx context.Context, tx pgx.Tx, workspaceID string, ids []string) error {
	if _, err := tx.Exec(ctx, `WITH derived AS (DELETE FROM lake_objects WHERE workspace_id = $1 AND source_id = ANY ($2::uuid[]) RETURNING key)
		INSERT INTO lake_garbage (key, workspace_id) SELECT key, $1 FROM derived ON CONFLICT DO NOTHING`, workspaceID, ids); err != nil {
		return fmt.Errorf("unlist projections: %w", err)
	}
	tag, err := tx.Exec(ctx, `WITH gone AS (DELETE FROM lake_objects WHERE workspace_id = $1 AND object_id = ANY ($2::uuid[]) RETURNING key)
		INSERT INTO lake_garbage (key, workspace_id) SELECT key, $1 FROM gone ON CONFLICT (key) DO UPDATE SET removed_at = now()`, workspaceID, ids)
	if err != nil {
		return fmt.Errorf("unlist inputs: %w", err)
	}
	if tag.RowsAffected() != int64(len(ids)) {
		return errOvertaken
	}
	return nil
}

// deriveProjections completes a settled object, or makes its projections anew
// for another time zone.
func (l *Lake) deriveProjections(ctx context.Context, workspaceID, appID, objectID string, pace func(context.Context) error) (err error) {
	r, err := l.loadRewrite(ctx, workspaceID, appID, []string{objectID})
	if err != nil {
		return err
	}
	zone, err := time.LoadLocation(r.zone)
	if err != nil {
		return fmt.Errorf("the app's time zone: %w", err)
	}
	source := &r.inputs[0]
	files, closeFiles, err := l.openInputs(ctx, r.inputs)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, closeFiles()) }()
	var outputs []entry
	drop := func(err error) error {
		for i := range outputs {
			err = errors.Join(err, l.cfg.Objects.Delete(context.WithoutCancel(ctx), outputs[i].Key))
		}
		return err
	}
	// A merge of the object alone, whose events go nowhere.
	job := merge.Job{
		AppID: appID, Inputs: files, Promote: r.promote, Settle: true, MinBits: source.BucketBits, Target: math.MaxInt64 / 4, Zone: zone, Pace: pace, TempDir: l.cfg.CacheDir,
		Create: func(ctx context.Context, part *merge.Part, kind string, write func(io.Writer) error) (int64, error) {
			if kind == merge.Events {
				if part.Of != 1 || part.Rows != source.Rows {
					return 0, fmt.Errorf("%d of %d rows fall into its partition", part.Rows, source.Rows)
				}
				return 0, write(io.Discard)
			}
			output, err := newProjection(source, kind, r.zone)
			if err != nil {
				return 0, err
			}
			outputs = append(outputs, output)
			failpoint.Hit("projection.before-write")
			bytes, err := l.cfg.Objects.Create(ctx, output.Key, write)
			outputs[len(outputs)-1].Bytes = bytes
			return bytes, err
		},
		Metadata: func(part *merge.Part, kind string) (map[string]string, error) {
			if kind == merge.Events {
				return nil, nil
			}
			output := &outputs[len(outputs)-1]
			output.Rows = part.Objects[kind].Rows
			if kind == projection.ByEvent {
				output.Columns = part.Columns
			}
			return output.metadata()
		},
	}
	if _, err := merge.Run(ctx, job); err != nil {
		return drop(err)
	}
	for i := range outputs {
		if err := l.checkOutput(ctx, &outputs[i]); err != nil {
			return drop(fmt.Errorf("object %s reads back wrong: %w", outputs[i].Key, err))
		}
	}
	err = l.cfg.DB.Tx(ctx, func(ctx context.Context, tx pgx.Tx) error {
		var live bool
		if _, err := tx.Exec(ctx, `UPDATE lake_apps SET version = version + 1 WHERE workspace_id = $1 AND app_id = $2`, workspaceID, appID); err != nil {
			return fmt.Errorf("lock app: %w", err)
		}
		if err := tx.QueryRow(ctx, `SELECT EXISTS (SELECT FROM lake_objects WHERE workspace_id = $1 AND object_id = $2)`, workspaceID, objectID).Scan(&live); err != nil {
			return fmt.Errorf("list projections: %w", err)
		}
		if !live {
			return errOvertaken
		}
		kinds := make([]string, len(outputs))
		var batch pgx.Batch
		for i := range outputs {
			kinds[i] = outputs[i].Kind
		}
		batch.Queue(`WITH old AS (DELETE FROM lake_objects WHERE workspace_id = $1 AND source_id = $2 AND kind = ANY ($3) RETURNING key)
			INSERT INTO lake_garbage (key, workspace_id) SELECT key, $1 FROM old ON CONFLICT DO NOTHING`, workspaceID, objectID, kinds)
		for i := range outputs {
			outputs[i].queueInsert(&batch)
		}
		if err := tx.SendBatch(ctx, &batch).Close(); err != nil {
			return fmt.Errorf("list projections: %w", err)
		}
		failpoint.Hit("projection.before-commit")
		return nil
	})
	if errors.Is(err, errOvertaken) {
		return drop(err)
	}
	if err == nil {
		l.compaction.wrote(nil, outputs)
	}
	return err
}

// countMoved counts the rows of an object that links have moved, or may have: rows of
// ids whose links were corrected count whether their key changes or not.
func (l *Lake) countMoved(ctx context.Context, key string, links *Links, pace func(context.Context) error) (moved int64, err error) {
	err = l.withFile(ctx, key, func(file *parquetv1.File) error {
		var last int64
		var lastMoved bool
		err := file.Int64s(parquetv1.ColUserKey, 0, func(keys []int64) error {
			for _, k := range keys {
				if k != last { // a person's rows lie together
					_, lastMoved = links.ByKey[k]
					last = k
				}
				if lastMoved {
					moved++
				}
			}
			return pace(ctx)
		})
		count := func(_ int, yes bool) {
			if yes {
				moved++
			}
		}
		if err == nil && len(links.Changed) > 0 {
			err = eachText(ctx, file, parquetv1.ColAnonymousID, func(id string) bool { _, ok := links.Changed[id]; return ok }, count)
		}
		if err == nil && len(links.ChangedUsers) > 0 {
			err = eachText(ctx, file, parquetv1.ColUserID, func(id string) bool { _, ok := links.ChangedUsers[id]; return ok }, count)
		}
		return err
	})
	return moved, err
}

// advance states that objects are folded through a later link: none of their rows
// is moved by any until then.
func (l *Lake) advance(ctx context.Context, workspaceID, appID string, ids []string, number int64) error {
	return l.cfg.DB.Tx(ctx, func(ctx context.Context, tx pgx.Tx) error {
		_, err := tx.Exec(ctx, `WITH app AS (UPDATE lake_apps SET version = version + 1 WHERE workspace_id = $1 AND app_id = $2 RETURNING version)
			UPDATE lake_objects o SET link_number = $4, version = app.version FROM app
			WHERE o.workspace_id = $1 AND o.app_id = $2 AND (o.object_id = ANY ($3::uuid[]) OR o.source_id = ANY ($3::uuid[])) AND o.link_number < $4`,
			workspaceID, appID, ids, number)
		if err != nil {
			return fmt.Errorf("fold objects: %w", err)
		}
		return nil
	})
}
