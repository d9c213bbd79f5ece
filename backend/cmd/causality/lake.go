package main

import (
	"context"
	"fmt"
	"io"

	"connectrpc.com/connect"
	"google.golang.org/protobuf/encoding/protojson"

	lakev1 "github.com/causality-project/causality/proto/gen/causality/lake/v1"
)

type lakeCommand struct {
	Verify      lakeVerify      `cmd:"" help:"Check every object against the manifest."`
	Rebuild     lakeRebuild     `cmd:"" help:"Make the manifest anew from the objects."`
	Compact     lakeCompact     `cmd:"" help:"Merge small objects now."`
	Stats       lakeStats       `cmd:"" help:"Say what the store holds."`
	GC          lakeGC          `cmd:"" name:"gc" help:"Delete garbage and orphans now, as far as that is safe, and say of each why."`
	Publish     lakePublish     `cmd:"" help:"Make the published Iceberg tables anew from the manifest."`
	Erase       lakeErase       `cmd:"" help:"Remove a person, an event or a range of times for good, and print the receipt."`
	Erasures    lakeErasures    `cmd:"" help:"List what was erased and what is being erased."`
	Receipt     lakeReceipt     `cmd:"" help:"Print the receipt of a finished erasure."`
	DeadLetters lakeDeadLetters `cmd:"" name:"dead-letters" help:"List, replay and drop what was accepted and could not be stored."`
	promotionCommands
}

type lakeApp struct {
	connection
	App string `name:"app" placeholder:"APP" help:"Only this app, by id or name."`
}

type lakeVerify struct{ lakeApp }

func (c *lakeVerify) Run(ctx context.Context, t *terminal) error {
	s, err := c.open(ctx)
	if err != nil {
		return err
	}
	stream, err := s.lake().Verify(ctx, connect.NewRequest(&lakev1.VerifyRequest{AppId: c.App}))
	if err != nil {
		return err
	}
	problems := 0
	last, err := follow(stream, func(m *lakev1.VerifyResponse) { problems += t.problems(m.GetProblems()) })
	if err != nil {
		return err
	}
	if !last.GetDone() {
		return fmt.Errorf("the server ended the check early; its log says why")
	}
	_, err = fmt.Fprintf(t.Out, "%.0f objects, %.0f rows, %.0f bytes, %d problems\n", last.GetObjects(), last.GetRows(), last.GetBytes(), problems)
	if problems > 0 {
		return errReported
	}
	return err
}

type lakeRebuild struct{ lakeApp }

func (c *lakeRebuild) Run(ctx context.Context, t *terminal) error {
	s, err := c.open(ctx)
	if err != nil {
		return err
	}
	stream, err := s.lake().Rebuild(ctx, connect.NewRequest(&lakev1.RebuildRequest{AppId: c.App}))
	if err != nil {
		return err
	}
	problems := 0
	last, err := follow(stream, func(m *lakev1.RebuildResponse) { problems += t.problems(m.GetProblems()) })
	if err != nil {
		return err
	}
	if !last.GetDone() {
		return fmt.Errorf("the server ended the rebuilding early; its log says why, and it can be repeated")
	}
	_, err = fmt.Fprintf(t.Out, "%.0f objects, %.0f rows, %d problems\n", last.GetObjects(), last.GetRows(), problems)
	if problems > 0 {
		return errReported
	}
	return err
}

type lakeCompact struct{ lakeApp }

func (c *lakeCompact) Run(ctx context.Context, t *terminal) error {
	s, err := c.open(ctx)
	if err != nil {
		return err
	}
	stream, err := s.lake().Compact(ctx, connect.NewRequest(&lakev1.CompactRequest{AppId: c.App}))
	if err != nil {
		return err
	}
	last, err := follow(stream, func(*lakev1.CompactResponse) {})
	if err != nil {
		return err
	}
	if !last.GetDone() {
		return fmt.Errorf("the server ended the compaction early; its log says why, and it can be repeated")
	}
	_, err = fmt.Fprintf(t.Out, "%.0f objects became %.0f, %.0f rows\n", last.GetObjectsBefore(), last.GetObjectsAfter(), last.GetRows())
	return err
}

// follow reads a stream of the server's to its end, shows each message to seen
// and returns the last; nil when there was none.
func follow[M any](stream *connect.ServerStreamForClient[M], seen func(*M)) (last *M, err error) {
	defer func() { _ = stream.Close() }()
	for stream.Receive() {
		last = stream.Msg()
		seen(last)
	}
	return last, stream.Err()
}

func (t *terminal) problems(problems []*lakev1.Problem) int {
	for _, p := range problems {
		t.note("%s: %s", p.GetObject(), p.GetWhat())
	}
	return len(problems)
}

type lakeStats struct {
	lakeApp
	Format string `name:"format" default:"table" enum:"table,json" help:"table or json."`
}

func (c *lakeStats) Run(ctx context.Context, t *terminal) error {
	s, err := c.open(ctx)
	if err != nil {
		return err
	}
	answer, err := s.lake().Stats(ctx, connect.NewRequest(&lakev1.StatsRequest{AppId: c.App}))
	if err != nil {
		return err
	}
	if c.Format == "json" {
		text, err := protojson.MarshalOptions{Multiline: true, EmitUnpopulated: true}.Marshal(answer.Msg)
		if err != nil {
			return err
		}
		_, err = fmt.Fprintln(t.Out, string(text))
		return err
	}
	for i, app := range answer.Msg.GetApps() {
		if i > 0 {
			_, _ = fmt.Fprintln(t.Out)
		}
		if err := printStats(t.Out, app); err != nil {
			return err
		}
	}
	return nil
}

func printStats(out io.Writer, app *lakev1.AppStats) error {
	_, _ = fmt.Fprintf(out, "%s  %s\n", app.GetAppName(), app.GetAppId())
	objects := table{columns: []string{"kind", "level", "objects", "rows", "bytes", "oldest", "newest"}, right: []bool{1: true, 2: true, 3: true, 4: true}}
	for _, o := range app.GetObjects() {
		objects.rows = append(objects.rows, []string{o.GetKind(), fmt.Sprint(o.GetLevel()), whole(o.GetObjects()), whole(o.GetRows()), whole(o.GetBytes()), o.GetOldest(), o.GetNewest()})
	}
	if err := objects.print(out, "table"); err != nil {
		return err
	}
	facts := table{columns: []string{"fact", "value"}, rows: [][]string{
		{"events", whole(app.GetEvents())},
		{"loose", fmt.Sprintf("%.0f objects, %.0f bytes", app.GetLooseObjects(), app.GetLooseBytes())},
		{"settled", fmt.Sprintf("%.0f objects, %.0f bytes", app.GetSettledObjects(), app.GetSettledBytes())},
		{"written per event, at most", fmt.Sprintf("%.2f times", app.GetWrittenPerEvent())},
		{"garbage", fmt.Sprintf("%.0f objects", app.GetGarbageObjects())},
		{"orphans", fmt.Sprintf("%.0f objects, %.0f bytes", app.GetOrphanObjects(), app.GetOrphanBytes())},
		{"erased", fmt.Sprintf("%.0f events; %.0f let go later; %.0f ids stay known; %.0f erasures not finished", app.GetErased(), app.GetErasedLate(), app.GetErasedIds(), app.GetWaitingErasures())},
	}}
	retention := "events are kept for ever"
	if r := app.GetRetention(); r != nil {
		retention = fmt.Sprintf("%d days; %.0f events removed, %.0f objects dropped, %.0f rewritten", r.GetDays(), r.GetRemovedEvents(), r.GetDroppedObjects(), r.GetRewrittenObjects())
		if r.GetLastRun() != "" {
			retention += fmt.Sprintf("; last run %s, up to %s", r.GetLastRun(), r.GetLimit())
		}
		if r.GetProblem() != "" {
			retention += "; it failed and is repeated: " + r.GetProblem()
		}
	}
	facts.rows = append(facts.rows, []string{"retention", retention})
	_, _ = fmt.Fprintln(out)
	return facts.print(out, "table")
}

type lakeGC struct {
	lakeApp
	listing
	DryRun bool `name:"dry-run" help:"Only say what would be deleted."`
}

func (c *lakeGC) Run(ctx context.Context, t *terminal) error {
	s, err := c.open(ctx)
	if err != nil {
		return err
	}
	answer, err := s.lake().Collect(ctx, connect.NewRequest(&lakev1.CollectRequest{AppId: c.App, DryRun: c.DryRun}))
	if err != nil {
		return err
	}
	list := table{columns: []string{"object", "bytes", "deleted", "why"}, right: []bool{1: true, 3: false}}
	for _, o := range answer.Msg.GetObjects() {
		list.rows = append(list.rows, []string{o.GetKey(), whole(o.GetBytes()), fmt.Sprint(o.GetDeleted()), o.GetWhy()})
	}
	verb := "deleted"
	if c.DryRun {
		verb = "would be deleted"
	}
	t.note("%.0f objects, %.0f bytes %s; %.0f kept", answer.Msg.GetDeleted(), answer.Msg.GetDeletedBytes(), verb, answer.Msg.GetKept())
	return list.print(t.Out, c.Format)
}

type lakePublish struct {
	connection
	Rebuild bool `name:"rebuild" help:"Make the tables anew; readers see the old ones until then."`
}

func (c *lakePublish) Run(ctx context.Context, t *terminal) error {
	if !c.Rebuild {
		return usagef("publishing goes on by itself; give --rebuild to begin it anew")
	}
	s, err := c.open(ctx)
	if err != nil {
		return err
	}
	stream, err := s.lake().Publish(ctx, connect.NewRequest(&lakev1.PublishRequest{Rebuild: true}))
	if err != nil {
		return err
	}
	last, err := follow(stream, func(*lakev1.PublishResponse) {})
	if err != nil {
		return err
	}
	if !last.GetDone() {
		return fmt.Errorf("the server ended the publication early; its log says why, and it can be repeated")
	}
	t.note("the published tables were made anew")
	return nil
}
