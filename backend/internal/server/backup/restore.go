package backup

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/causality-project/causality/backend/internal/platform/objstore"
)

// Read opens a backup and checks that all of it is there.
func Read(dir string) (*Manifest, error) {
	m, err := readManifest(dir)
	if err != nil {
		return nil, err
	}
	if _, err := m.dump(dir); err != nil {
		return nil, err
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
	return m, nil
}

func readManifest(dir string) (*Manifest, error) {
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
	return &m, nil
}

// dump is the path of the backup's dump. It still has its first name when the
// backup was cut off at its very end.
func (m *Manifest) dump(dir string) (string, error) {
	path := filepath.Join(dir, dumpName)
	size, hash, err := hashFile(path)
	if err == nil && size == m.DumpBytes && hash == m.DumpHash {
		return path, nil
	}
	if size, hash, err := hashFile(path + ".new"); err == nil && size == m.DumpBytes && hash == m.DumpHash {
		return path + ".new", nil
	}
	if err != nil {
		return "", fmt.Errorf("read the backup: %w", err)
	}
	return "", fmt.Errorf("%s in %s is not the one that was written: its SHA-256 is %s and should be %s", dumpName, dir, hash, m.DumpHash)
}

// RestoreObjects puts the backup's objects into a store. Those that are there already,
// of an installation that lost its database alone, are left as they are.
func (m *Manifest) RestoreObjects(ctx context.Context, dir string, into objstore.Store, report func(Progress)) error {
	return each(ctx, m.Objects, report, func(ctx context.Context, o *Object) error {
		file, err := os.Open(objectPath(dir, o.Key))
		if err != nil {
			return fmt.Errorf("read the backup: %w", err)
		}
		defer func() { _ = file.Close() }()
		_, err = into.Create(ctx, o.Key, func(out io.Writer) error {
			hash := sha256.New()
			if _, err := io.Copy(out, io.TeeReader(file, hash)); err != nil {
				return err
			}
			if got := hex.EncodeToString(hash.Sum(nil)); o.Hash != "" && got != o.Hash {
				return fmt.Errorf("object %s in the backup is damaged: its SHA-256 is %s and should be %s; restore another backup", o.Key, got, o.Hash)
			}
			return nil
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
	path, err := m.dump(dir)
	if err != nil {
		return err
	}
	// Until Finish, this tells the next start what it has to do, even when the
	// restore ends before it could say so.
	_, err = conn.Exec(ctx, "CREATE SCHEMA IF NOT EXISTS "+Unfinished+"; COMMENT ON SCHEMA "+Unfinished+" IS '"+m.At.UTC().Format(time.RFC3339Nano)+"'")
	if err != nil {
		return fmt.Errorf("mark the database as being restored: %w", err)
	}
	// One transaction: a restore that is cut short leaves the database empty.
	err = run(ctx, owner, filepath.Join(binDir, "pg_restore"), "--dbname="+owner.Database, "--no-owner", "--single-transaction", "--exit-on-error",
		path)
	if err != nil {
		return fmt.Errorf("restore the database: %w", err)
	}
	return nil
}

// Unfinished is a schema that stands in a database from before a dump fills it
// until Finish.
const Unfinished = "causality_restoring"

// Finish notes in a migrated database which backup it was made from, if it was
// just restored: what the store holds beyond the backup, and what was erased
// since, the objects tell, and who collects reads them before.
func Finish(ctx context.Context, owner *pgx.ConnConfig) error {
	conn, err := pgx.ConnectConfig(ctx, owner)
	if err != nil {
		return fmt.Errorf("reach the database: %w", err)
	}
	defer func() { _ = conn.Close(context.WithoutCancel(ctx)) }()
	_, err = conn.Exec(ctx, `DO $$ BEGIN
		IF to_regnamespace('`+Unfinished+`') IS NOT NULL THEN
			INSERT INTO lake_restores (backup_of) VALUES (obj_description('`+Unfinished+`'::regnamespace, 'pg_namespace')::timestamptz);
			DROP SCHEMA `+Unfinished+`;
		END IF; END $$`)
	if err != nil {
		return fmt.Errorf("mark the database as restored: %w", err)
	}
	return nil
}
