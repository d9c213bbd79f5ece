package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"connectrpc.com/connect"

	"github.com/causality-project/causality/backend/cmd/causality/demo"
	"github.com/causality-project/causality/backend/internal/server/app"
	healthv1 "github.com/causality-project/causality/proto/gen/causality/health/v1"
	identityv1 "github.com/causality-project/causality/proto/gen/causality/identity/v1"
	tenancyv1 "github.com/causality-project/causality/proto/gen/causality/tenancy/v1"
)

// trafficKey is the name of the write key that the live traffic uses.
const trafficKey = "demo traffic"

type demoCommand struct{ app.Config }

func (c *demoCommand) Run(ctx context.Context, t *terminal) error {
	if c.Data == "" {
		c.Data = app.DefaultDataDir("causality-demo")
	}
	log, err := logger(c.Config, t)
	if err != nil {
		return err
	}
	running, err := app.Start(ctx, c.Config, version, log)
	if err != nil {
		return started(ctx, err)
	}
	return serving(ctx, running, func(ctx context.Context) error {
		key, err := c.seed(ctx, t, running.Data())
		if err != nil {
			return started(ctx, err)
		}
		link, err := running.Link(ctx)
		if err != nil {
			return err
		}
		t.note("The sample shop is ready at %s/app/. Open this address to sign in (once, within 15 minutes):", running.URL())
		if _, err := fmt.Fprintln(t.Out, link); err != nil {
			return err
		}
		return demo.Traffic{Dir: running.Data(), Host: running.LocalURL(), WriteKey: key, Logger: log.With("part", "demo traffic")}.Run(ctx)
	})
}

// seed makes the app, its traffic's key, and the history that is missing.
func (c *demoCommand) seed(ctx context.Context, t *terminal, data string) (key string, err error) {
	s, err := connection{Data: data}.open(ctx)
	if err != nil {
		return "", err
	}
	apps, err := s.tenancy().ListApps(ctx, connect.NewRequest(&tenancyv1.ListAppsRequest{}))
	if err != nil {
		return "", err
	}
	if !slices.ContainsFunc(apps.Msg.GetApps(), func(a *tenancyv1.App) bool { return a.GetName() == demo.App }) {
		if _, err := s.tenancy().CreateApp(ctx, connect.NewRequest(&tenancyv1.CreateAppRequest{Name: demo.App})); err != nil {
			return "", err
		}
	}
	if key, err = writeKey(ctx, s); err != nil {
		return "", err
	}
	began, shown := time.Now(), time.Now()
	events, err := demo.Seed(ctx, demo.Seeding{
		Dir: data, Ingest: s.ingest(), Version: version, Note: func(text string) { t.note("%s", text) },
		Progress: func(done float64, events int64) {
			if time.Since(shown) > time.Second {
				shown = time.Now()
				t.note("making the sample shop: %3.0f %%, %d events", 100*done, events)
			}
		},
	}, time.Now())
	if err != nil {
		return "", err
	}
	if err := landed(ctx, s, time.Now()); err != nil {
		return "", err
	}
	if events > 0 {
		t.note("%d events of the sample shop were sent in %.1f s", events, time.Since(began).Seconds())
	}
	return key, nil
}

// landed waits until everything that was accepted before sent can be looked at.
func landed(ctx context.Context, s *server, sent time.Time) error {
	for {
		report, err := s.health().Report(ctx, connect.NewRequest(&healthv1.ReportRequest{AppId: demo.App}))
		if err != nil {
			return err
		}
		if lag := report.Msg.GetLagSeconds(); lag == 0 || lag < time.Since(sent).Seconds() {
			return nil
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(50 * time.Millisecond):
		}
	}
}

// writeKey finds the traffic's key or makes it.
func writeKey(ctx context.Context, s *server) (string, error) {
	keys, err := s.identity().ListKeys(ctx, connect.NewRequest(&identityv1.ListKeysRequest{AppId: demo.App}))
	if err != nil {
		return "", err
	}
	for _, k := range keys.Msg.GetKeys() {
		if k.GetName() == trafficKey && k.GetKind() == "write" && k.GetRevokedAt() == "" && k.GetExpiresAt() == "" {
			return k.GetDisplay(), nil // write keys are public and shown in full
		}
	}
	made, err := s.identity().CreateKey(ctx, connect.NewRequest(&identityv1.CreateKeyRequest{AppId: demo.App, Kind: "write", Name: trafficKey}))
	if err != nil {
		return "", err
	}
	if made.Msg.GetSecret() == "" {
		return "", errors.New("the server made a key and did not show it")
	}
	return made.Msg.GetSecret(), nil
}
