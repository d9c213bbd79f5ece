package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"

	"connectrpc.com/connect"

	lakev1 "github.com/causality-project/causality/proto/gen/causality/lake/v1"
	tenancyv1 "github.com/causality-project/causality/proto/gen/causality/tenancy/v1"
)

type lakeErase struct {
	connection
	App       string  `name:"app" required:"" placeholder:"APP" help:"Id or name of the app."`
	User      *string `name:"user" placeholder:"ID" xor:"who" help:"A person by user id: its events, and those under every id that is linked to it."`
	Anonymous *string `name:"anonymous" placeholder:"ID" xor:"who" help:"A person by an anonymous id, likewise."`
	Event     *string `name:"event" placeholder:"NAME" help:"Only tracked events of this name."`
	From      *string `name:"from" placeholder:"TIME" help:"Only events from this time on: RFC 3339, or a date in the app's time zone."`
	To        *string `name:"to" placeholder:"TIME" help:"Only events before this time."`
	DryRun    bool    `name:"dry-run" help:"Count what would be removed, and remove nothing."`
	Yes       bool    `name:"yes" help:"Do not ask."`
}

func (c *lakeErase) Run(ctx context.Context, t *terminal) error {
	if err := c.conditions(); err != nil {
		return err
	}
	s, err := c.open(ctx)
	if err != nil {
		return err
	}
	if c.DryRun || !c.Yes {
		counts, err := c.count(ctx, s)
		if err != nil {
			return err
		}
		if c.DryRun {
			_, err = fmt.Fprintf(t.Out, "%.0f events in %.0f objects, %.0f ids, %.0f person links, %.0f refused events, %.0f events in dead letters; %.0f events wait in the stream and were not counted\n",
				counts.GetEvents(), counts.GetObjects(), counts.GetIds(), counts.GetLinks(), counts.GetRejected(), counts.GetDeadLetters(), counts.GetWaiting())
			return err
		}
		if err := c.confirm(ctx, s, t, counts); err != nil {
			return err
		}
	}
	return c.erase(ctx, s, t)
}

// conditions refuses an empty one: a script whose variable is unset would erase
// far more than it means.
func (c *lakeErase) conditions() error {
	given := false
	for _, condition := range []struct {
		flag  string
		value *string
	}{{"--user", c.User}, {"--anonymous", c.Anonymous}, {"--event", c.Event}, {"--from", c.From}, {"--to", c.To}} {
		if condition.value != nil && *condition.value == "" {
			return usagef("%s is empty; nothing was erased. Give it a value, or leave it out", condition.flag)
		}
		given = given || condition.value != nil
	}
	if !given {
		return usagef("say what to erase: give --user, --anonymous, --event, --from or --to")
	}
	return nil
}

func (c *lakeErase) request(dryRun bool) *connect.Request[lakev1.EraseRequest] {
	return connect.NewRequest(&lakev1.EraseRequest{AppId: c.App, UserId: text(c.User), AnonymousId: text(c.Anonymous), Event: text(c.Event), From: text(c.From), To: text(c.To), DryRun: dryRun})
}

func text(s *string) string {
	if s == nil {
		return ""
	}
	return *s
}

func (c *lakeErase) count(ctx context.Context, s *server) (*lakev1.EraseCounts, error) {
	stream, err := s.lake().Erase(ctx, c.request(true))
	if err != nil {
		return nil, err
	}
	last, err := follow(stream, func(*lakev1.EraseResponse) {})
	if err != nil {
		return nil, err
	}
	if last.GetCounts() == nil {
		return nil, errors.New("the server ended the count early; its log says why")
	}
	return last.GetCounts(), nil
}

// what says in words what is erased.
func (c *lakeErase) what() string {
	words := "every event"
	if c.Event != nil {
		words = fmt.Sprintf("every event %q", *c.Event)
	}
	switch {
	case c.User != nil:
		words += fmt.Sprintf(" of the person %q", *c.User)
	case c.Anonymous != nil:
		words += fmt.Sprintf(" of the person with the anonymous id %q", *c.Anonymous)
	}
	if c.From != nil {
		words += " from " + *c.From
	}
	if c.To != nil {
		words += " before " + *c.To
	}
	return words
}

// confirm wants the app's name, which is not typed by mistake.
func (c *lakeErase) confirm(ctx context.Context, s *server, t *terminal, counts *lakev1.EraseCounts) error {
	name, err := appName(ctx, s, c.App)
	if err != nil {
		return err
	}
	t.note("This removes %s from the app %q for good: %.0f events in %.0f objects so far, the links between ids, and all copies. A backup from before brings them back only into another object store, which does not know of it: erase them there again.",
		c.what(), name, counts.GetEvents(), counts.GetObjects())
	t.note("Type the app's name to go on:")
	line, err := bufio.NewReader(t.In).ReadString('\n')
	if err != nil && !errors.Is(err, io.EOF) {
		return fmt.Errorf("the answer cannot be read: %w", err)
	}
	if strings.TrimSpace(line) != name {
		return errors.New("nothing was erased: the app's name was not typed; give --yes to erase without being asked")
	}
	return nil
}

func appName(ctx context.Context, s *server, idOrName string) (string, error) {
	answer, err := s.tenancy().ListApps(ctx, connect.NewRequest(&tenancyv1.ListAppsRequest{}))
	if err != nil {
		return "", err
	}
	for _, app := range answer.Msg.GetApps() {
		if strings.EqualFold(app.GetId(), idOrName) {
			return app.GetName(), nil
		}
	}
	return idOrName, nil
}

func (c *lakeErase) erase(ctx context.Context, s *server, t *terminal) error {
	stream, err := s.lake().Erase(ctx, c.request(false))
	if err != nil {
		return err
	}
	state, problem := "", ""
	last, err := follow(stream, func(m *lakev1.EraseResponse) {
		if !m.GetDone() && m.GetState() != state {
			state = m.GetState()
			t.note("%s", eraseNotes[state])
		}
		if m.GetProblem() != problem {
			if problem = m.GetProblem(); problem != "" {
				t.note("it does not go on, and is tried again: %s", problem)
			}
		}
	})
	if err != nil {
		if id := last.GetErasureId(); id != "" {
			return fmt.Errorf("%w; erasure %s goes on without this command: see causality lake erasures", err, id)
		}
		return err
	}
	if !last.GetDone() {
		return errors.New("the server ended early; the erasure goes on: see causality lake erasures")
	}
	_, err = io.WriteString(t.Out, strings.TrimRight(last.GetReceipt(), "\n")+"\n")
	return err
}

var eraseNotes = map[string]string{
	"requested": "waiting for the stream to land what it holds",
	"rewriting": "rewriting objects",
	"cleaning":  "clearing links, refused events and dead letters",
	"deleting":  "deleting old objects and caches",
	"proving":   "scanning everything",
	"done":      "done",
}

type lakeErasures struct {
	lakeApp
	listing
}

func (c *lakeErasures) Run(ctx context.Context, t *terminal) error {
	s, err := c.open(ctx)
	if err != nil {
		return err
	}
	answer, err := s.lake().ListErasures(ctx, connect.NewRequest(&lakev1.ListErasuresRequest{AppId: c.App}))
	if err != nil {
		return err
	}
	list := table{columns: []string{"id", "app", "state", "requested_at", "finished_at", "events", "person_ids", "event", "from", "to", "problem"},
		right: []bool{5: true, 6: true}}
	for _, e := range answer.Msg.GetErasures() {
		list.rows = append(list.rows, []string{e.GetId(), e.GetAppId(), e.GetState(), e.GetRequestedAt(), e.GetFinishedAt(), whole(e.GetEvents()),
			strconv.Itoa(len(e.GetUserHashes())), e.GetEvent(), e.GetFrom(), e.GetTo(), e.GetProblem()})
	}
	return list.print(t.Out, c.Format)
}

type lakeReceipt struct {
	connection
	ID string `arg:"" help:"Id of the erasure, from lake erasures."`
}

func (c *lakeReceipt) Run(ctx context.Context, t *terminal) error {
	s, err := c.open(ctx)
	if err != nil {
		return err
	}
	answer, err := s.lake().GetReceipt(ctx, connect.NewRequest(&lakev1.GetReceiptRequest{Id: c.ID}))
	if err != nil {
		return err
	}
	_, err = io.WriteString(t.Out, strings.TrimRight(answer.Msg.GetReceipt(), "\n")+"\n")
	return err
}

type lakeDeadLetters struct {
	List   deadLettersList   `cmd:"" help:"List them, oldest first."`
	Replay deadLettersReplay `cmd:"" help:"Send them through the stream again and wait until they are stored; nothing counts twice."`
	Drop   deadLettersDrop   `cmd:"" help:"Give them up for good."`
}

type deadLettersList struct {
	connection
	listing
}

func (c *deadLettersList) Run(ctx context.Context, t *terminal) error {
	s, err := c.open(ctx)
	if err != nil {
		return err
	}
	answer, err := s.lake().ListDeadLetters(ctx, connect.NewRequest(&lakev1.ListDeadLettersRequest{}))
	if err != nil {
		return err
	}
	list := table{columns: []string{"number", "app", "lane", "set_aside_at", "events", "bytes", "reason"}, right: []bool{0: true, 4: true, 5: true, 6: false}}
	for _, d := range answer.Msg.GetDeadLetters() {
		list.rows = append(list.rows, []string{whole(d.GetNumber()), d.GetAppId(), d.GetLane(), d.GetSetAsideAt(), whole(d.GetEvents()), whole(d.GetBytes()), d.GetReason()})
	}
	if answer.Msg.GetMore() {
		t.note("these are the first %d; there are more", len(list.rows))
	}
	return list.print(t.Out, c.Format)
}

type deadLettersReplay struct {
	connection
	Numbers []uint64 `arg:"" optional:"" help:"Numbers of the letters, from dead-letters list (default: all)."`
}

func (c *deadLettersReplay) Run(ctx context.Context, t *terminal) error {
	s, err := c.open(ctx)
	if err != nil {
		return err
	}
	answer, err := s.lake().ReplayDeadLetters(ctx, connect.NewRequest(&lakev1.ReplayDeadLettersRequest{Numbers: lettersOf(c.Numbers)}))
	if err != nil {
		return err
	}
	if n := answer.Msg.GetUnreadable(); n > 0 {
		t.note("%.0f cannot be read and are kept; give them up with: causality lake dead-letters drop", n)
	}
	_, err = fmt.Fprintf(t.Out, "%.0f dead letters replayed, %.0f events\n", answer.Msg.GetReplayed(), answer.Msg.GetEvents())
	return err
}

type deadLettersDrop struct {
	connection
	Numbers []uint64 `arg:"" optional:"" help:"Numbers of the letters, from dead-letters list."`
	All     bool     `name:"all" help:"All of them."`
}

func (c *deadLettersDrop) Run(ctx context.Context, t *terminal) error {
	if c.All == (len(c.Numbers) > 0) {
		return usagef("say which dead letters to drop: give their numbers, or --all")
	}
	s, err := c.open(ctx)
	if err != nil {
		return err
	}
	answer, err := s.lake().DropDeadLetters(ctx, connect.NewRequest(&lakev1.DropDeadLettersRequest{Numbers: lettersOf(c.Numbers)}))
	if err != nil {
		return err
	}
	_, err = fmt.Fprintf(t.Out, "%.0f dead letters dropped, %.0f events\n", answer.Msg.GetDropped(), answer.Msg.GetEvents())
	return err
}

func lettersOf(numbers []uint64) []float64 {
	letters := make([]float64, len(numbers))
	for i, n := range numbers {
		letters[i] = float64(n)
	}
	return letters
}

func whole(n float64) string { return strconv.FormatFloat(n, 'f', 0, 64) }
