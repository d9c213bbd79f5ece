package app

import (
	"context"
	"errors"
	"fmt"
	"log/slog"

	"github.com/jackc/pgx/v5"

	"github.com/causality-project/causality/backend/internal/platform/postgres"
	"github.com/causality-project/causality/backend/internal/server/backup"
)

// Backup copies the installation of stores into dir, while it serves or
// while it is stopped.
func Backup(ctx context.Context, stores Stores, dir, version string, log *slog.Logger, report func(backup.Progress)) (_ *backup.Manifest, err error) {
	checked, err := Config{Stores: stores}.resolve()
	if err != nil {
		return nil, err
	}
	a := &App{cfg: checked, log: log}
	from := backup.Installation{Version: version}
	if Locked(checked.Data) == "" && checked.DatabaseURL == "" {
		// Nobody serves: the database is started for the time of the backup.
		found, err := recognise(checked.Data)
		if err != nil {
			return nil, err
		}
		if found.Format == 0 {
			return nil, fmt.Errorf("%s is empty: there is nothing to back up; name the data directory with --data", checked.Data)
		}
		if a.dir, err = openDataDir(checked.Data); err != nil {
			return nil, err
		}
		defer func() { err = errors.Join(err, a.dir.Close()) }()
		database, err := postgres.Open(ctx, a.postgresConfig())
		if err != nil {
			return nil, err
		}
		defer func() { err = errors.Join(err, database.Close(context.WithoutCancel(ctx))) }()
	} else {
		a.dir = &dataDir{path: checked.Data}
	}
	if from.Database, from.BinDir, err = postgres.Attach(ctx, a.postgresConfig()); err != nil {
		return nil, err
	}
	if from.Objects, err = a.objects(ctx); err != nil {
		return nil, err
	}
	return backup.Create(ctx, from, dir, report)
}

// Restore makes the installation of stores from a backup. Its data
// directory must be new or empty, and so must a database of --database-url. The
// first start afterwards compares the manifest with the objects.
func Restore(ctx context.Context, stores Stores, dir string, log *slog.Logger, report func(backup.Progress)) (_ *backup.Manifest, err error) {
	checked, err := Config{Stores: stores}.resolve()
	if err != nil {
		return nil, err
	}
	m, err := backup.Read(dir)
	if err != nil {
		return nil, err
	}
	data, err := openDataDir(checked.Data)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, data.Close()) }()
	a := &App{cfg: checked, log: log, dir: data}
	objects, err := a.objects(ctx)
	if err != nil {
		return nil, err
	}
	if err := m.RestoreObjects(ctx, dir, objects, report); err != nil {
		return nil, err
	}
	config := a.postgresConfig()
	config.Fill = func(ctx context.Context, owner *pgx.ConnConfig, binDir string) error {
		return m.RestoreDatabase(ctx, dir, binDir, owner)
	}
	database, err := postgres.Open(ctx, config)
	if err != nil {
		return nil, err
	}
	err = backup.Finish(ctx, database.OwnerConfig())
	return m, errors.Join(err, database.Close(context.WithoutCancel(ctx)))
}
