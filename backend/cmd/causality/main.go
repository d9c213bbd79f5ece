// Command causality is the platform and its tools: the server, the demo, and the
// commands that talk to a running server. It reads what was typed, calls, and
// prints; what the calls mean is the server's.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"strings"
	"syscall"

	"connectrpc.com/connect"
	"github.com/alecthomas/kong"
	"google.golang.org/genproto/googleapis/rpc/errdetails"

	"github.com/causality-project/causality/backend/cmd/causality/importer"
	"github.com/causality-project/causality/backend/internal/analysis/query/duckdb"
	"github.com/causality-project/causality/backend/internal/server/app"
)

// Exit codes of every command.
const (
	exitDone   = 0
	exitFailed = 1
	exitUsage  = 2
)

// commands is the whole command line.
type commands struct {
	ConfigFile string `name:"config" env:"CAUSALITY_CONFIG" placeholder:"FILE" help:"YAML file of settings; each key is a flag's name."` // read by settings

	Serve   serveCommand   `cmd:"" help:"Run the platform."`
	Demo    demoCommand    `cmd:"" set:"data_default=${demo_default}" help:"Run the platform with a sample shop, on a data directory of its own."`
	Import  importCommand  `cmd:"" help:"Import a file as events; importing it again adds nothing."`
	Export  exportCommand  `cmd:"" help:"Print every event of an app."`
	Query   queryCommand   `cmd:"" help:"Answer one SELECT."`
	Insight insightCommand `cmd:"" help:"Answer a question that a JSON file holds."`
	Apps    appsCommand    `cmd:"" help:"Create, list and change apps."`
	Keys    keysCommand    `cmd:"" help:"Create, list, rotate and revoke keys."`
	Users   usersCommand   `cmd:"" help:"List people, and make sign-in links."`
	Lake    lakeCommand    `cmd:"" help:"Look after the store: verify, rebuild, compact, erase, and more."`
	Backup  backupCommand  `cmd:"" help:"Copy the database and the objects of one instant into a directory, while serving."`
	Restore restoreCommand `cmd:"" help:"Make an installation anew from a backup, on an empty data directory."`
	Migrate migrateCommand `cmd:"" help:"Bring the database to this version, without serving."`
	Doctor  doctorCommand  `cmd:"" help:"Say what is wrong with the setup, and where each setting came from."`
	Version versionCommand `cmd:"" help:"Print the version."`
}

func main() {
	// The query engine's child process: its output is the engine's alone, and it
	// needs nothing that follows.
	if len(os.Args) == 2 && os.Args[1] == "duckdb-worker" {
		os.Exit(duckdb.WorkerMain(os.Stdin, os.Stdout))
	}
	// The first signal asks for a graceful end, a second one for an end.
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	context.AfterFunc(ctx, stop)
	code := run(ctx, os.Args[1:], os.Stdin, os.Stdout, os.Stderr, os.LookupEnv)
	stop()
	os.Exit(code)
}

// terminal is what a command reads and writes. The answer alone goes to Out.
type terminal struct {
	In       io.Reader
	Out      io.Writer
	Err      io.Writer
	settings *settings
}

func (t *terminal) note(format string, args ...any) { _, _ = fmt.Fprintf(t.Err, format+"\n", args...) }

// run is main without the process around it.
func run(ctx context.Context, args []string, in io.Reader, out, errOut io.Writer, lookup func(string) (string, bool)) (code int) {
	settings := newSettings(lookup)
	term := &terminal{In: in, Out: out, Err: errOut, settings: settings}
	var c commands
	exited := -1
	parser, err := kong.New(&c,
		kong.Name("causality"),
		kong.Description("Self-hosted behavioural analytics."),
		kong.Writers(out, errOut),
		kong.Exit(func(code int) { exited = code }),
		kong.ConfigureHelp(kong.HelpOptions{Compact: true}),
		kong.Resolvers(settings),
		kong.Vars{"data_default": app.DefaultDataDir("causality"), "demo_default": app.DefaultDataDir("causality-demo")},
		kong.BindTo(ctx, (*context.Context)(nil)),
		kong.Bind(term),
	)
	if err != nil {
		return fail(errOut, err)
	}
	if err := settings.load(args); err != nil {
		return fail(errOut, usageError{err})
	}
	if len(args) == 0 {
		parser.Stdout = errOut
		_, _ = parser.Parse([]string{"--help"})
		return exitUsage
	}
	parsed, err := parser.Parse(args)
	if exited >= 0 {
		return exited // help was asked for and printed
	}
	if err != nil {
		_, _ = fmt.Fprintf(errOut, "causality: %s\n", err)
		hint := "causality --help"
		var wrong *kong.ParseError
		if errors.As(err, &wrong) && wrong.Context != nil && wrong.Context.Command() != "" {
			hint = "causality " + strings.Fields(wrong.Context.Command())[0] + " --help"
		}
		_, _ = fmt.Fprintf(errOut, "See %s.\n", hint)
		return exitUsage
	}
	settings.record(parsed)
	if err := parsed.Run(); err != nil {
		return fail(errOut, err)
	}
	return exitDone
}

// usageError is a wish that the command cannot mean.
type usageError struct{ error }

func usagef(format string, args ...any) error { return usageError{fmt.Errorf(format, args...)} }

// errReported ends a command that has said everything already.
var errReported = errors.New("")

// fail prints an error as a sentence and returns the exit code.
func fail(errOut io.Writer, err error) int {
	if errors.Is(err, errReported) {
		return exitFailed
	}
	_, _ = fmt.Fprintf(errOut, "causality: %s\n", describe(err))
	var mine usageError
	var configured *app.UsageError
	var imported *importer.UsageError
	if errors.As(err, &mine) || errors.As(err, &configured) || errors.As(err, &imported) {
		return exitUsage
	}
	return exitFailed
}

// describe shows a server's error by its sentence and the fields it names.
func describe(err error) string {
	var remote *connect.Error
	if !errors.As(err, &remote) {
		return strings.TrimSpace(err.Error())
	}
	message := remote.Message()
	if errors.Is(remote, io.ErrUnexpectedEOF) {
		message = "the server went away before its answer was whole; its log says why"
	}
	text := strings.Replace(err.Error(), remote.Error(), message, 1)
	for _, detail := range remote.Details() {
		value, err := detail.Value()
		if err != nil {
			continue
		}
		if bad, ok := value.(*errdetails.BadRequest); ok && len(bad.GetFieldViolations()) > 1 {
			for _, field := range bad.GetFieldViolations() {
				text += fmt.Sprintf("\n  %s: %s", field.GetField(), field.GetDescription())
			}
		}
	}
	return text
}
