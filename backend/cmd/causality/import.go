package main

import (
	"context"
	"errors"
	"io"
	"os"
	"strings"
	"time"

	"connectrpc.com/connect"

	"github.com/causality-project/causality/backend/cmd/causality/importer"
	"github.com/causality-project/causality/backend/internal/platform/calendar"
	tenancyv1 "github.com/causality-project/causality/proto/gen/causality/tenancy/v1"
)

type importCommand struct {
	connection
	File      string            `arg:"" help:"CSV, newline-delimited JSON or Parquet; - reads standard input."`
	App       string            `name:"app" required:"" placeholder:"APP" help:"Id or name of the app."`
	Event     string            `name:"event" placeholder:"NAME" help:"Event that every row is."`
	Map       map[string]string `name:"map" mapsep:"," placeholder:"FIELD=COLUMN,…" help:"Columns of an event's fields, such as user_id=customer_id,timestamp=date; the others become properties."`
	Format    string            `name:"format" placeholder:"FORMAT" help:"csv, ndjson or parquet (default: by the file's ending)."`
	Delimiter string            `name:"delimiter" placeholder:"CHAR" help:"Delimiter of CSV (default: found out)."`
	TimeZone  string            `name:"time-zone" placeholder:"ZONE" help:"Zone of times without an offset (default: the app's)."`
	Strict    bool              `name:"strict" help:"Read every row first, and send nothing if one is broken."`
}

func (c *importCommand) Run(ctx context.Context, t *terminal) error {
	delimiter, err := oneByte(c.Delimiter)
	if err != nil {
		return err
	}
	s, err := c.open(ctx)
	if err != nil {
		return err
	}
	zone, err := c.zone(ctx, s)
	if err != nil {
		return err
	}
	summary, err := importer.Run(ctx, importer.Options{
		Path: c.File, Format: c.Format, Delimiter: delimiter, Event: c.Event, Map: c.Map, App: c.App, Zone: zone, Strict: c.Strict,
		Ingest: s.ingest(), Health: s.health(), Version: version, Notes: t.Err, Terminal: isTerminal(t.Err),
	})
	if err != nil {
		return err
	}
	t.note("%s", summary)
	if summary.Broken+summary.Rejected > 0 {
		return errReported
	}
	return nil
}

// zone is the app's, which also says whether there is such an app.
func (c *importCommand) zone(ctx context.Context, s *server) (*time.Location, error) {
	if c.TimeZone != "" {
		zone, err := calendar.LoadZone(c.TimeZone)
		if err != nil {
			return nil, usagef("--time-zone: %v", err)
		}
		return zone, nil
	}
	answer, err := s.tenancy().ListApps(ctx, connect.NewRequest(&tenancyv1.ListAppsRequest{}))
	if err != nil {
		return nil, err
	}
	var names []string
	for _, a := range answer.Msg.GetApps() {
		if a.GetId() == c.App || a.GetName() == c.App {
			return calendar.LoadZone(a.GetTimeZone())
		}
		names = append(names, a.GetName())
	}
	if len(names) == 0 {
		return nil, errors.New("there is no app yet; make one with: causality apps create " + c.App)
	}
	return nil, errors.New("there is no app " + c.App + "; there are " + strings.Join(names, ", "))
}

func oneByte(text string) (byte, error) {
	switch {
	case text == "":
		return 0, nil
	case text == `\t` || text == "tab":
		return '\t', nil
	case len(text) == 1 && text[0] != '"' && text[0] != '\n' && text[0] != '\r':
		return text[0], nil
	default:
		return 0, usagef("--delimiter %q: give one character, or tab", text)
	}
}

// isTerminal tells a screen from a file or pipe.
func isTerminal(w io.Writer) bool {
	file, ok := w.(*os.File)
	if !ok {
		return false
	}
	info, err := file.Stat()
	return err == nil && info.Mode()&os.ModeCharDevice != 0 && os.Getenv("TERM") != "dumb"
}
