// Package backup copies an installation to a directory and makes one anew from
// it: the database as one dump, and every object that the dump's manifest lists.
// Both are of one instant, since objects never change and none is deleted while
// a backup runs. It owns the layout of the directory and refuses to know what
// the tables and objects mean.
//
//	backup.json     what the backup holds; written last, so that a directory
//	                without it is no backup
//	database.dump   pg_dump's custom format
//	objects/KEY     the objects, under their keys
//
// Backing up into the same directory again copies only what is new in it.
// Events that wait in the stream are not in a backup: they land within seconds.
package backup

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/jackc/pgx/v5"
	"golang.org/x/sync/errgroup"

	"github.com/causality-project/causality/backend/internal/pipeline/lake"
	"github.com/causality-project/causality/backend/internal/platform/objstore"
)

const (
	manifestName = "backup.json"
	dumpName     = "database.dump"
	objectsName  = "objects"
	format       = 1
	// copies is how many objects are copied side by side.
	copies = 8
)

// Installation is what is copied.
type Installation struct {
	Database *pgx.ConnConfig // as the owner of the schema, which must not be subject to row-level security
	BinDir   string          // holds pg_dump and pg_restore
	Objects  objstore.Store
	Version  string // of this program
}

// Progress is told after each object.
type Progress struct {
	Objects, ObjectsTotal int
	Bytes, BytesTotal     int64
}

// Manifest is backup.json.
type Manifest struct {
	Format    int       `json:"format"`
	Version   string    `json:"version"`
	At        time.Time `json:"at"` // the instant that it holds, by the database's clock
	DumpBytes int64     `json:"dumpBytes"`
	DumpHash  string    `json:"dumpSha256"`
	Objects   []Object  `json:"objects"`
}

// Object is one object of a backup.
type Object struct {
	Key   string `json:"key"`
	Bytes int64  `json:"bytes"`
	Hash  string `json:"sha256"`
}

// Create backs an installation up into dir, which is made, or holds an earlier
// backup that this one replaces. Serving goes on meanwhile. When it fails, an
// earlier backup in dir is still whole.
func Create(ctx context.Context, from Installation, dir string, report func(Progress)) (*Manifest, error) {
	if err := prepare(dir); err != nil {
		return nil, err
	}
	conn, err := pgx.ConnectConfig(ctx, from.Database)
	if err != nil {
		return nil, fmt.Errorf("reach the database: %w", err)
	}
	defer func() { _ = conn.Close(context.WithoutCancel(ctx)) }()
	if _, err := conn.Exec(ctx, "SELECT pg_advisory_lock($1)", int64(lake.CollectorLock)); err != nil {
		return nil, fmt.Errorf("keep objects from being deleted: %w", err)
	}
	m := &Manifest{Format: format, Version: from.Version}
	if err := dump(ctx, conn, from, dir, m); err != nil {
		return nil, err
	}
	if err := addRecords(ctx, from.Objects, m); err != nil {
		return nil, err
	}
	if err := copyOut(ctx, from.Objects, dir, m, report); err != nil {
		return nil, err
	}
	// The manifest's rename is what replaces an earlier backup. Its hash tells the
	// dump under either name, should it end between the two.
	if err := writeManifest(dir, m); err != nil {
		return nil, err
	}
	if err := os.Rename(filepath.Join(dir, dumpName+".new"), filepath.Join(dir, dumpName)); err != nil {
		return nil, fmt.Errorf("finish the backup: %w", err)
	}
	return m, prune(dir, m)
}

// prepare makes dir, and refuses one that holds anything but a backup.
func prepare(dir string) error {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return fmt.Errorf("the backup directory cannot be made: %w", err)
	}
	entries, err := os.ReadDir(dir)
	if err != nil {
		return fmt.Errorf("the backup directory cannot be read: %w", err)
	}
	for _, entry := range entries {
		switch entry.Name() {
		case manifestName, manifestName + ".new", dumpName, dumpName + ".new", objectsName, "lost+found":
		default:
			return fmt.Errorf("%s holds %s, which is no part of a backup; nothing was touched. Choose an empty directory, or one of an earlier backup", dir, entry.Name())
		}
	}
	return nil
}

// dump writes the database and the list of objects as one snapshot saw them.
func dump(ctx context.Context, conn *pgx.Conn, from Installation, dir string, m *Manifest) error {
	tx, err := conn.BeginTx(ctx, pgx.TxOptions{IsoLevel: pgx.RepeatableRead, AccessMode: pgx.ReadOnly})
	if err != nil {
		return fmt.Errorf("read the database: %w", err)
	}
	defer func() { _ = tx.Rollback(context.WithoutCancel(ctx)) }()
	var snapshot string
	if err := tx.QueryRow(ctx, "SELECT pg_export_snapshot(), now()").Scan(&snapshot, &m.At); err != nil {
		return fmt.Errorf("read the database: %w", err)
	}
	rows, err := tx.Query(ctx, "SELECT key, bytes, '' FROM lake_objects ORDER BY key")
	if err != nil {
		return fmt.Errorf("read the list of objects: %w", err)
	}
	if m.Objects, err = pgx.CollectRows(rows, pgx.RowToStructByPos[Object]); err != nil {
		return fmt.Errorf("read the list of objects: %w", err)
	}
	path := filepath.Join(dir, dumpName+".new")
	if err := keepUnfinished(dir); err != nil {
		return err
	}
	if err := run(ctx, from.Database, filepath.Join(from.BinDir, "pg_dump"),
		"--format=custom", "--compress=6", "--no-owner", "--exclude-schema="+Unfinished, "--snapshot="+snapshot, "--file="+path); err != nil {
		return fmt.Errorf("dump the database: %w", err)
	}
	m.DumpBytes, m.DumpHash, err = hashFile(path)
	return err
}

// keepUnfinished gives its name to the dump of an earlier backup that ended just
// before it did, since the next dump is written where it lies.
func keepUnfinished(dir string) error {
	earlier, err := readManifest(dir)
	if err != nil {
		return nil //nolint:nilerr // no whole backup is there to be kept
	}
	path, err := earlier.dump(dir)
	if err != nil || path == filepath.Join(dir, dumpName) {
		return nil //nolint:nilerr // likewise
	}
	if err := os.Rename(path, filepath.Join(dir, dumpName)); err != nil {
		return fmt.Errorf("finish the earlier backup: %w", err)
	}
	return nil
}

// run calls one of PostgreSQL's programs. The password travels in its environment.
func run(ctx context.Context, database *pgx.ConnConfig, program string, args ...string) error {
	if _, err := os.Stat(program); err != nil {
		return fmt.Errorf("%s is missing: install PostgreSQL's client programs of the server's version, or name their directory with --postgres-bin", program)
	}
	cmd := exec.CommandContext(ctx, program, args...)
	cmd.Env = append(os.Environ(), "PGHOST="+database.Host, "PGPORT="+strconv.Itoa(int(database.Port)), "PGUSER="+database.User,
		"PGPASSWORD="+database.Password, "PGDATABASE="+database.Database, "PGCONNECT_TIMEOUT=10")
	if database.TLSConfig != nil {
		cmd.Env = append(cmd.Env, "PGSSLMODE=require")
	}
	var complaint bytes.Buffer
	cmd.Stdout, cmd.Stderr = &complaint, &complaint
	if err := cmd.Run(); err != nil {
		text := strings.TrimSpace(complaint.String())
		if strings.Contains(text, "row-level security") {
			text += "; give the role of --database-url the attribute BYPASSRLS, since a backup holds every workspace"
		}
		if len(text) > 2000 {
			text = text[:2000] + " …"
		}
		return fmt.Errorf("%s: %w: %s", filepath.Base(program), err, text)
	}
	return nil
}

// recordsPrefix holds what must outlive a restored database: what was erased.
const recordsPrefix = "erasures/"

func addRecords(ctx context.Context, objects objstore.Store, m *Manifest) error {
	for object, err := range objects.List(ctx, recordsPrefix) {
		if err != nil {
			return fmt.Errorf("list the record of erasures: %w", err)
		}
		m.Objects = append(m.Objects, Object{Key: object.Key, Bytes: object.Bytes})
	}
	return nil
}

// copyOut copies what is new. An object never changes, so one that an earlier
// backup holds is neither read nor hashed again.
func copyOut(ctx context.Context, objects objstore.Store, dir string, m *Manifest, report func(Progress)) error {
	held := map[string]Object{}
	if earlier, err := readManifest(dir); err == nil {
		for _, o := range earlier.Objects {
			held[o.Key] = o
		}
	}
	return each(ctx, m.Objects, report, func(ctx context.Context, o *Object) error {
		path := objectPath(dir, o.Key)
		if info, err := os.Stat(path); err == nil && info.Size() == o.Bytes && held[o.Key].Bytes == o.Bytes && held[o.Key].Hash != "" {
			o.Hash = held[o.Key].Hash
			return nil
		}
		reader, err := objects.Open(ctx, o.Key)
		if errors.Is(err, objstore.ErrNotFound) {
			return fmt.Errorf("object %s is listed but missing: if an erasure has just run, back up again; else run `causality lake verify`", o.Key)
		}
		if err != nil {
			return err
		}
		defer func() { _ = reader.Close() }()
		if reader.Size() != o.Bytes {
			return fmt.Errorf("object %s has %d bytes where the manifest says %d: run `causality lake verify`", o.Key, reader.Size(), o.Bytes)
		}
		hash := sha256.New()
		if err := writeFile(path, io.TeeReader(io.NewSectionReader(reader, 0, reader.Size()), hash)); err != nil {
			return err
		}
		o.Hash = hex.EncodeToString(hash.Sum(nil))
		return nil
	})
}

// each works on the objects side by side and reports after each.
func each(ctx context.Context, objects []Object, report func(Progress), work func(context.Context, *Object) error) error {
	progress := Progress{ObjectsTotal: len(objects)}
	for _, o := range objects {
		progress.BytesTotal += o.Bytes
	}
	report(progress)
	var mu sync.Mutex // report is called by one goroutine at a time
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(copies)
	for i := range objects {
		o := &objects[i]
		group.Go(func() error {
			if err := ctx.Err(); err != nil {
				return err
			}
			if err := work(ctx, o); err != nil {
				return err
			}
			mu.Lock()
			defer mu.Unlock()
			progress.Objects++
			progress.Bytes += o.Bytes
			report(progress)
			return nil
		})
	}
	return group.Wait()
}

func objectPath(dir, key string) string {
	return filepath.Join(dir, objectsName, filepath.FromSlash(key))
}

// writeFile makes a file whole or not at all.
func writeFile(path string, content io.Reader) (err error) {
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return fmt.Errorf("write the backup: %w", err)
	}
	file, err := os.OpenFile(path+".new", os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return fmt.Errorf("write the backup: %w", err)
	}
	_, err = io.Copy(file, content)
	if err == nil {
		err = file.Sync()
	}
	err = errors.Join(err, file.Close())
	if err == nil {
		err = os.Rename(path+".new", path)
	}
	if err != nil {
		return fmt.Errorf("write the backup: %w", err)
	}
	return nil
}

func hashFile(path string) (int64, string, error) {
	file, err := os.Open(path)
	if err != nil {
		return 0, "", err
	}
	defer func() { _ = file.Close() }()
	hash := sha256.New()
	n, err := io.Copy(hash, file)
	if err != nil {
		return 0, "", fmt.Errorf("read %s: %w", path, err)
	}
	return n, hex.EncodeToString(hash.Sum(nil)), nil
}

func writeManifest(dir string, m *Manifest) error {
	text, err := json.MarshalIndent(m, "", " ")
	if err != nil {
		return fmt.Errorf("write the backup: %w", err)
	}
	return writeFile(filepath.Join(dir, manifestName), bytes.NewReader(append(text, '\n')))
}

// prune removes the objects of an earlier backup that this one does not hold.
func prune(dir string, m *Manifest) error {
	held := make(map[string]struct{}, len(m.Objects))
	for _, o := range m.Objects {
		held[objectPath(dir, o.Key)] = struct{}{}
	}
	err := filepath.WalkDir(filepath.Join(dir, objectsName), func(path string, entry fs.DirEntry, err error) error {
		if errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		if err != nil || entry.IsDir() {
			return err
		}
		if _, ok := held[path]; ok {
			return nil
		}
		return os.Remove(path)
	})
	if err != nil {
		return fmt.Errorf("remove what an earlier backup held: %w", err)
	}
	return nil
}
