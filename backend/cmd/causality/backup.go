package main

import (
	"context"
	"time"

	"github.com/causality-project/causality/backend/internal/server/app"
	"github.com/causality-project/causality/backend/internal/server/backup"
)

type backupCommand struct {
	app.Stores
	Dir string `arg:"" placeholder:"DIR" help:"Directory of the backup: new, empty, or one of an earlier backup, which is brought up to date."`
}

func (c *backupCommand) Run(ctx context.Context, t *terminal) error {
	log, err := logger(app.Config{Stores: c.Stores}, t)
	if err != nil {
		return err
	}
	m, err := app.Backup(ctx, c.Stores, c.Dir, version, log, copying(t, "backed up"))
	if err != nil {
		return err
	}
	t.note("%s holds the installation as it was at %s: the database and %d objects", c.Dir, m.At.UTC().Format("2006-01-02 15:04:05 UTC"), len(m.Objects))
	return nil
}

type restoreCommand struct {
	app.Stores
	Dir string `arg:"" placeholder:"DIR" help:"Directory of the backup."`
}

func (c *restoreCommand) Run(ctx context.Context, t *terminal) error {
	log, err := logger(app.Config{Stores: c.Stores}, t)
	if err != nil {
		return err
	}
	m, err := app.Restore(ctx, c.Stores, c.Dir, log, copying(t, "restored"))
	if err != nil {
		return err
	}
	t.note("restored as of %s; start it with causality serve, which first compares the manifest with the objects", m.At.UTC().Format("2006-01-02 15:04:05 UTC"))
	t.note("what was erased after that is erased again at the start if the object store has kept its record (erasures/); in a new store, erase it yourself")
	return nil
}

// copying says every few seconds how far the objects are.
func copying(t *terminal, done string) func(backup.Progress) {
	const every = 2 * time.Second
	said := time.Now()
	return func(p backup.Progress) {
		if time.Since(said) < every {
			return
		}
		said = time.Now()
		t.note("%d of %d objects %s, %d of %d MiB", p.Objects, p.ObjectsTotal, done, p.Bytes>>20, p.BytesTotal>>20)
	}
}
