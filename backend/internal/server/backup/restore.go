package backup

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"github.com/jackc/pgx/v5"

	"github.com/causality-project/causality/backend/internal/platform/objstore"
)

// Read opens a backup and checks that all of it is there.
func Read(dir string) (*Manifest, error) {
	text, err := os.ReadFile(filepath.Join(dir, manifestName))
	if errors.Is(err, os.ErrNotExist) {
		return nil, fmt.Errorf("%s holds no %s: it is no backup, or one that was cut short", dir, manifestName)
	}
	if err != nil {
		return nil, fmt.Errorf("read the backup: %w", err)
	}
	var m Manifest
	if err := json.Unmarshal(text, &m); err != nil || m.Format < 1 {
		return nil, fmt.Errorf("%s in %s is damaged", manifestName, dir)
	}
	if m.Format > format {
		return nil, fmt.Errorf("the backup was written by a newer causality (%s); restore it with that version", m.Version)
	}
	size, hash, err := hashFile(filepath.Join(dir, dumpName))
	if err != nil {
		return nil, fmt.Errorf("read the backup: %w", err)
	}
	if size != m.DumpBytes || hash != m.DumpHash {
		return nil, fmt.Errorf("%s in %s is not the one that was written: its SHA-256 is %s and should be %s", dumpName, dir, hash, m.DumpHash)
	}
	for _, o := range m.Objects {
		info, err := os.Stat(objectPath(dir, o.Key))
		if err != nil {
			return nil, fmt.Errorf("the backup lacks object %s: %w", o.Key, err)
		}
		if info.Size() != o.Bytes {
			return nil, fmt.Errorf("object %s in the backup has %d bytes and should have %d", o.Key, info.Size(), o.Bytes)
		}
	}
	return &m, nil
}

// RestoreObjects puts the backup's objects into a store. Those that are there already,
// of an installation that lost its database alone, are left as they are.
func (m *Manifest) RestoreObjects(ctx context.Context, dir string, into objstore.Store, report func(Progress)) error {
	return each(ctx, m.Objects, report, func(ctx context.Context, o Object) error {
		file, err := os.Open(objectPath(dir, o.Key))
		if err != nil {
			return fmt.Errorf("read the backup: %w", err)
		}
		defer func() { _ = file.Close() }()
		_, err = into.Create(ctx, o.Key, func(out io.Writer) error {
			_, err := io.Copy(out, file)
			return err
		})
		if errors.Is(err, objstore.ErrExists) {
			return nil
		}
		return err
	})
}

// RestoreDatabase fills an empty database from the backup's dump, as its owner.
func (m *Manifest) RestoreDatabase(ctx context.Context, dir, binDir string, owner *pgx.ConnConfig) error {
	conn, err := pgx.ConnectConfig(ctx, owner)
	if err != nil {
		return fmt.Errorf("reach the database: %w", err)
	}
	defer func() { _ = conn.Close(context.WithoutCancel(ctx)) }()
	var tables int
	if err := conn.QueryRow(ctx, "SELECT count(*) FROM information_schema.tables WHERE table_schema = 'public'").Scan(&tables); err != nil {
		return fmt.Errorf("look into the database: %w", err)
	}
	if tables > 0 {
		return fmt.Errorf("the database holds %d tables already; nothing was touched. Restore into an empty one", tables)
	}
	// One transaction: a restore that is cut short leaves the database empty.
	err = run(ctx, owner, filepath.Join(binDir, "pg_restore"), "--dbname="+owner.Database, "--no-owner", "--single-transaction", "--exit-on-error",
		filepath.Join(dir, dumpName))
	if err != nil {
		return fmt.Errorf("restore the database: %w", err)
	}
	return nil
}

// Mark tells a restored and migrated database what it is: what the store holds
// beyond the backup, and what was erased since, the objects tell. The next start
// reads them before anything is collected.
func (m *Manifest) Mark(ctx context.Context, owner *pgx.ConnConfig) error {
	conn, err := pgx.ConnectConfig(ctx, owner)
	if err != nil {
		return fmt.Errorf("reach the database: %w", err)
	}
	defer func() { _ = conn.Close(context.WithoutCancel(ctx)) }()
	if _, err := conn.Exec(ctx, "INSERT INTO lake_restores (backup_of) VALUES ($1)", m.At); err != nil {
		return fmt.Errorf("mark the database as restored: %w", err)
	}
	return nil
}
