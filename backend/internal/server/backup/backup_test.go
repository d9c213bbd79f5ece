package backup_test

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"

	"github.com/causality-project/causality/backend/internal/platform/objstore"
	"github.com/causality-project/causality/backend/internal/platform/postgres"
	"github.com/causality-project/causality/backend/internal/platform/postgres/postgrestest"
	"github.com/causality-project/causality/backend/internal/server/backup"
)

// house is an installation with one object of the record of erasures, and a
// directory for its backups.
type house struct {
	*testing.T
	from backup.Installation
	dir  string
}

const record = "erasures/one.json"

func newHouse(t *testing.T) *house {
	t.Helper()
	owner, bin, err := postgres.Attach(t.Context(), postgres.Config{URL: postgrestest.Empty(t), Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	h := &house{T: t, from: backup.Installation{Database: owner, BinDir: bin, Objects: newStore(t), Version: "test"}, dir: t.TempDir()}
	h.put(record, "what was erased")
	return h
}

func newStore(t *testing.T) objstore.Store {
	t.Helper()
	store, err := objstore.NewFiles(filepath.Join(t.TempDir(), "objects"))
	if err != nil {
		t.Fatal(err)
	}
	return store
}

func (h *house) put(key, text string) {
	h.Helper()
	if _, err := h.from.Objects.Create(h.Context(), key, func(w io.Writer) error { _, err := io.WriteString(w, text); return err }); err != nil {
		h.Fatal(err)
	}
}

func (h *house) backUp() {
	h.Helper()
	if _, err := backup.Create(h.Context(), h.from, h.dir, func(backup.Progress) {}); err != nil {
		h.Fatal(err)
	}
}

func (h *house) read() *backup.Manifest {
	h.Helper()
	m, err := backup.Read(h.dir)
	if err != nil {
		h.Fatal(err)
	}
	return m
}

func TestABackupThatEndsBeforeItsDumpHasItsNameIsWhole(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	h.backUp()
	dump := filepath.Join(h.dir, "database.dump")
	if err := os.Rename(dump, dump+".new"); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(dump, []byte("of the backup before"), 0o600); err != nil {
		t.Fatal(err)
	}
	h.read()
	// The next one fails at an object: this one is still whole.
	h.put("erasures/two.json", "another")
	if err := os.Mkdir(filepath.Join(h.dir, "objects", "erasures", "two.json.new"), 0o700); err != nil {
		t.Fatal(err)
	}
	if _, err := backup.Create(t.Context(), h.from, h.dir, func(backup.Progress) {}); err == nil {
		t.Fatal("a backup that cannot write an object succeeds")
	}
	if m := h.read(); len(m.Objects) != 1 {
		t.Errorf("the earlier backup holds %v, want its one object", m.Objects)
	}
}

func TestADamagedObjectIsNotRestored(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	h.backUp()
	h.backUp() // which does not read it again
	if err := os.WriteFile(filepath.Join(h.dir, "objects", record), []byte("what was erasee"), 0o600); err != nil {
		t.Fatal(err)
	}
	into := newStore(t)
	err := h.read().RestoreObjects(t.Context(), h.dir, into, func(backup.Progress) {})
	if err == nil || !strings.Contains(err.Error(), record+" in the backup is damaged") {
		t.Errorf("error %v, want one that names the damaged object", err)
	}
	for object, err := range into.List(t.Context(), "") {
		t.Errorf("%s was restored, %v", object.Key, err)
	}
}

// Whatever starts on a restored database must know it, even if the restore ended
// before its last step: else objects that the backup does not know are collected.
func TestARestoredDatabaseIsKnownAsOneFromItsFirstInstant(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	h.backUp()
	owner := h.from.Database.Copy()
	name := owner.Database + "_restored"
	h.exec(owner, "CREATE DATABASE "+name)
	t.Cleanup(func() { h.exec(owner, "DROP DATABASE "+name+" WITH (FORCE)") })
	restored := owner.Copy()
	restored.Database = name
	m := h.read()
	if err := m.RestoreDatabase(t.Context(), h.dir, h.from.BinDir, restored); err != nil {
		t.Fatal(err)
	}
	if n := h.count(restored, "SELECT count(*) FROM pg_namespace WHERE nspname = '"+backup.Unfinished+"'"); n != 1 {
		t.Error("nothing tells that the database was restored")
	}
	for range 2 { // the second finds nothing to do
		if err := backup.Finish(t.Context(), restored); err != nil {
			t.Fatal(err)
		}
	}
	if n := h.count(restored, fmt.Sprintf("SELECT count(*) FROM lake_restores WHERE rebuilt_at IS NULL AND backup_of = '%s'", m.At.Format("2006-01-02 15:04:05.999999Z07:00"))); n != 1 {
		t.Errorf("%d restores are noted, want 1", n)
	}
	if err := m.RestoreDatabase(t.Context(), h.dir, h.from.BinDir, restored); err == nil || !strings.Contains(err.Error(), "nothing was touched") {
		t.Errorf("restoring over a database: %v", err)
	}
}

func (h *house) exec(owner *pgx.ConnConfig, sql string) {
	h.Helper()
	conn, err := pgx.ConnectConfig(context.Background(), owner)
	if err != nil {
		h.Fatal(err)
	}
	defer conn.Close(context.Background())
	if _, err := conn.Exec(context.Background(), sql); err != nil {
		h.Fatal(err)
	}
}

func (h *house) count(owner *pgx.ConnConfig, sql string) (n int) {
	h.Helper()
	conn, err := pgx.ConnectConfig(h.Context(), owner)
	if err != nil {
		h.Fatal(err)
	}
	defer conn.Close(context.Background())
	if err := conn.QueryRow(h.Context(), sql).Scan(&n); err != nil {
		h.Fatal(err)
	}
	return n
}
