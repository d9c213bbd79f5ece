package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"runtime/debug"
	"strings"

	"github.com/causality-project/causality/backend/internal/platform/telemetry"
	"github.com/causality-project/causality/backend/internal/server/app"
)

// version is set by the build: -ldflags "-X main.version=…".
var version = "0.1.0-dev"

type serveCommand struct{ app.Config }

func (c *serveCommand) Run(ctx context.Context, t *terminal) error {
	log, err := logger(c.Config, t)
	if err != nil {
		return err
	}
	running, err := app.Start(ctx, c.Config, version, log)
	if err != nil {
		return started(ctx, err)
	}
	return serving(ctx, running, func(ctx context.Context) error {
		t.note("Causality is ready at %s/app/", running.URL())
		link, err := running.FirstLink(ctx)
		if err != nil {
			return err
		}
		if link != "" {
			another := "causality users link"
			if c.Data != "" {
				another += " --data " + c.Data
			}
			t.note("Open this address to sign in as the owner (once, within 24 hours; %s makes another):", another)
			if _, err := fmt.Fprintln(t.Out, link); err != nil {
				return err
			}
		}
		<-ctx.Done()
		return nil
	})
}

// serving works until ctx ends, the work fails or a part of the server does, and
// then stops everything in order.
func serving(ctx context.Context, running *app.App, work func(context.Context) error) error {
	ctx, cancel := context.WithCancel(ctx)
	failed := make(chan error, 1)
	go func() {
		failed <- running.Run(ctx)
		cancel()
	}()
	err := work(ctx)
	cancel()
	return errors.Join(err, <-failed, running.Close(context.WithoutCancel(ctx)))
}

// started tells a start that was interrupted from one that failed.
func started(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return errors.New("stopped while starting")
	}
	return err
}

func logger(cfg app.Config, t *terminal) (*slog.Logger, error) {
	log, err := telemetry.NewLogger(t.Err, cfg.LogLevel, cfg.LogFormat)
	if err != nil {
		return nil, usageError{err}
	}
	return log, nil
}

type migrateCommand struct{ app.Config }

func (c *migrateCommand) Run(ctx context.Context, t *terminal) error {
	log, err := logger(c.Config, t)
	if err != nil {
		return err
	}
	if err := app.Migrate(ctx, c.Config, log); err != nil {
		return started(ctx, err)
	}
	t.note("the database is at the version of this program")
	return nil
}

type versionCommand struct{}

func (versionCommand) Run(_ context.Context, t *terminal) error {
	_, err := fmt.Fprintln(t.Out, "causality "+describeVersion())
	return err
}

// describeVersion adds the commit, where the build knows it.
func describeVersion() string {
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return version
	}
	var commit, changed string
	for _, setting := range info.Settings {
		switch {
		case setting.Key == "vcs.revision" && len(setting.Value) >= 12:
			commit = setting.Value[:12]
		case setting.Key == "vcs.modified" && setting.Value == "true":
			changed = ", changed"
		}
	}
	text := version + " (go " + strings.TrimPrefix(info.GoVersion, "go")
	if commit != "" {
		text += ", commit " + commit + changed
	}
	return text + ")"
}
