package identity_test

import (
	"context"
	"log/slog"
	"math"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/causality-project/causality/backend/internal/account/identity"
	"github.com/causality-project/causality/backend/internal/account/tenancy"
	"github.com/causality-project/causality/backend/internal/platform/fault"
	"github.com/causality-project/causality/backend/internal/platform/postgres"
	"github.com/causality-project/causality/backend/internal/platform/postgres/postgrestest"
	"github.com/jackc/pgx/v5"
)

// house is one process on a database.
type house struct {
	server *postgres.Server
	db     *tenancy.DB
	apps   *tenancy.Apps
	keys   *identity.Keys
	users  *identity.Users
}

func move(t testing.TB, server *postgres.Server) house {
	t.Helper()
	log := slog.New(slog.DiscardHandler)
	db := tenancy.NewDB(server.Pool(), log)
	h := house{server, db, tenancy.NewApps(db, server), identity.NewKeys(db, server, log), identity.NewUsers(db, server.Pool())}
	ctx, cancel := context.WithCancel(context.Background())
	var running sync.WaitGroup
	running.Go(func() { _ = h.keys.Run(ctx) })
	t.Cleanup(func() { cancel(); running.Wait() })
	return h
}

// scope makes the default workspace and one app.
func (h house) scope(t testing.TB) (context.Context, tenancy.App) {
	t.Helper()
	workspace, err := h.users.EnsureDefault(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	ctx := tenancy.WithWorkspace(t.Context(), workspace.ID)
	app, err := h.apps.Create(ctx, "shop", "", nil)
	if err != nil {
		t.Fatal(err)
	}
	return ctx, app
}

func (h house) key(t testing.TB, ctx context.Context, app tenancy.App, kind string) (identity.KeyInfo, string) {
	t.Helper()
	info, text, err := h.keys.Create(ctx, app, identity.NewKey{Kind: kind})
	if err != nil {
		t.Fatal(err)
	}
	return info, text
}

// eventually polls until done reports true.
func eventually(t testing.TB, what string, done func() bool) {
	t.Helper()
	for end := time.Now().Add(20 * time.Second); !done(); time.Sleep(2 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("in 20 seconds it never came that %s", what)
		}
	}
}

func TestFindKnowsAKeyWithItsAppAndLimits(t *testing.T) {
	t.Parallel()
	h := move(t, postgrestest.New(t))
	ctx, app := h.scope(t)
	limit := 12.5
	info, text, err := h.keys.Create(ctx, app, identity.NewKey{Kind: "write", Name: "web", RateLimit: &limit})
	if err != nil {
		t.Fatal(err)
	}
	want := identity.Key{ID: info.ID, WorkspaceID: app.WorkspaceID, AppID: app.ID, Kind: "write", RateLimit: 12.5, IPPolicy: "truncate"}
	for range 2 { // from the database, and from memory
		if got, err := h.keys.Find(t.Context(), text); err != nil || got != want {
			t.Fatalf("Find = %+v, %v, want %+v", got, err, want)
		}
	}
	policy := "drop"
	if _, err := h.apps.Update(ctx, app.ID, tenancy.AppUpdate{IPPolicy: &policy}); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the app's new policy is beside its key", func() bool {
		got, err := h.keys.Find(t.Context(), text)
		return err == nil && got.IPPolicy == "drop"
	})
}

func TestFindTellsUnknownFromRevokedFromRotated(t *testing.T) {
	t.Parallel()
	h := move(t, postgrestest.New(t))
	ctx, app := h.scope(t)
	info, text := h.key(t, ctx, app, "write")
	mistyped := text[:10] + strings.Map(func(r rune) rune {
		if r == 'a' {
			return 'b'
		}
		return 'a'
	}, text[10:11]) + text[11:]
	for name, raw := range map[string]string{
		"empty": "", "foreign": "Bearer", "mistyped": mistyped, "huge": strings.Repeat("w", 1<<16), "prefix": "wk_",
		"a well-formed one that was never made": "wk_00000000000000000000000000000000" + "0000",
	} {
		if _, err := h.keys.Find(t.Context(), raw); !fault.Is(err, fault.Unauthenticated) {
			t.Errorf("%s: %v, want unauthenticated", name, err)
		}
	}
	if _, err := h.keys.Find(t.Context(), text); err != nil {
		t.Fatal(err)
	}
	if _, err := h.keys.Revoke(ctx, info.ID); err != nil {
		t.Fatal(err)
	}
	if _, err := h.keys.Find(t.Context(), text); !fault.Is(err, fault.Denied) {
		t.Errorf("revoked: %v, want denied at once", err)
	}
	again, err := h.keys.Revoke(ctx, info.ID)
	if err != nil || again.RevokedAt.IsZero() {
		t.Errorf("revoked again: %+v, %v", again, err)
	}
	if _, _, err := h.keys.Rotate(ctx, info.ID, time.Hour); !fault.Is(err, fault.Conflict) {
		t.Errorf("rotate a revoked key: %v", err)
	}

	old, oldText := h.key(t, ctx, app, "secret")
	_, newText, err := h.keys.Rotate(ctx, old.ID, time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	for name, raw := range map[string]string{"old": oldText, "new": newText} {
		if _, err := h.keys.Find(t.Context(), raw); err != nil {
			t.Errorf("%s key during the overlap: %v", name, err)
		}
	}
	if _, _, err := h.keys.Rotate(ctx, old.ID, time.Hour); !fault.Is(err, fault.Conflict) {
		t.Errorf("rotate twice: %v", err)
	}
	brief, briefText := h.key(t, ctx, app, "secret")
	if _, _, err := h.keys.Rotate(ctx, brief.ID, 0); err != nil {
		t.Fatal(err)
	}
	eventually(t, "a key rotated without overlap is denied", func() bool {
		_, err := h.keys.Find(t.Context(), briefText)
		return fault.Is(err, fault.Denied)
	})
}

func TestSecretKeysAreShownOnceAndKeptAsAHash(t *testing.T) {
	t.Parallel()
	h := move(t, postgrestest.New(t))
	ctx, app := h.scope(t)
	_, secret := h.key(t, ctx, app, "secret")
	_, write := h.key(t, ctx, app, "write")
	list, err := h.keys.List(ctx, app.ID)
	if err != nil || len(list) != 2 {
		t.Fatalf("list = %v, %v", list, err)
	}
	if list[0].Display != write || list[1].Display != secret[:8]+"…" {
		t.Errorf("displays = %q, %q", list[0].Display, list[1].Display)
	}
	owner, err := pgx.ConnectConfig(t.Context(), h.server.OwnerConfig())
	if err != nil {
		t.Fatal(err)
	}
	defer owner.Close(context.Background())
	var row string
	if err := owner.QueryRow(t.Context(), "SELECT string_agg(k::text, ' ') FROM keys k WHERE kind = 'secret'").Scan(&row); err != nil {
		t.Fatal(err)
	}
	if strings.Contains(row, secret[8:]) {
		t.Error("the database holds the text of a secret key")
	}
}

func TestARevocationReachesOtherProcesses(t *testing.T) {
	t.Parallel()
	url := postgrestest.Empty(t)
	here, there := move(t, postgrestest.Open(t, url)), move(t, postgrestest.Open(t, url))
	ctx, app := here.scope(t)
	info, text := here.key(t, ctx, app, "write")
	if _, err := there.keys.Find(t.Context(), text); err != nil {
		t.Fatal(err)
	}
	if _, err := here.keys.Revoke(ctx, info.ID); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the other process denies it", func() bool {
		_, err := there.keys.Find(t.Context(), text)
		return fault.Is(err, fault.Denied)
	})
}

func TestAKeyThatWasTriedBeforeItWasMadeWorksOnceItIs(t *testing.T) {
	t.Parallel()
	h := move(t, postgrestest.New(t))
	ctx, app := h.scope(t)
	_, text := h.key(t, ctx, app, "write")
	owner, err := pgx.ConnectConfig(t.Context(), h.server.OwnerConfig())
	if err != nil {
		t.Fatal(err)
	}
	defer owner.Close(context.Background())
	// Take the row away behind everybody's back, and bring it back as a restore would.
	for _, statement := range []string{"CREATE TABLE aside AS SELECT * FROM keys", "DELETE FROM keys"} {
		if _, err := owner.Exec(t.Context(), statement); err != nil {
			t.Fatal(err)
		}
	}
	fresh := move(t, h.server)
	eventually(t, "the key is unknown", func() bool {
		_, err := fresh.keys.Find(t.Context(), text)
		return fault.Is(err, fault.Unauthenticated)
	})
	if _, err := owner.Exec(t.Context(), "INSERT INTO keys SELECT * FROM aside"); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the key works", func() bool {
		_, err := fresh.keys.Find(t.Context(), text)
		return err == nil
	})
}

func TestKeysInMemoryOutliveTheDatabase(t *testing.T) {
	t.Parallel()
	server := postgrestest.Supervised(t)
	h := move(t, server)
	ctx, app := h.scope(t)
	warm, warmText := h.key(t, ctx, app, "write")
	_, coldText := h.key(t, ctx, app, "write")
	if _, err := h.keys.Find(t.Context(), warmText); err != nil {
		t.Fatal(err)
	}
	cold := identity.NewKeys(h.db, quiet{server}, slog.New(slog.DiscardHandler)) // has loaded nothing
	pid := server.Status(t.Context()).PID
	// Stopped, not killed: an outage that lasts until we end it.
	if err := syscall.Kill(pid, syscall.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	server.Pool().Reset()
	got, warmErr := h.keys.Find(t.Context(), warmText)
	_, coldErr := cold.Find(t.Context(), coldText)
	if err := syscall.Kill(pid, syscall.SIGCONT); err != nil {
		t.Fatal(err)
	}
	if warmErr != nil || got.ID != warm.ID {
		t.Errorf("known key during the outage: %+v, %v", got, warmErr)
	}
	if !fault.Is(coldErr, fault.Unavailable) {
		t.Errorf("unseen key during the outage: %v, want unavailable", coldErr)
	}
	eventually(t, "the unseen key is found after the outage", func() bool {
		_, err := cold.Find(t.Context(), coldText)
		return err == nil
	})
}

// quiet is a server whose notifications never come.
type quiet struct{ *postgres.Server }

func (quiet) Listen(string, postgres.Listener) {}

func TestUnknownKeysCannotFloodTheDatabase(t *testing.T) {
	t.Parallel()
	h := move(t, postgrestest.New(t))
	h.scope(t)
	var limited, unknown int
	for i := range 2000 {
		_, err := h.keys.Find(t.Context(), identity.InventKey(i))
		switch {
		case fault.Is(err, fault.RateLimited):
			limited++
		case fault.Is(err, fault.Unauthenticated):
			unknown++
		default:
			t.Fatalf("invented key: %v", err)
		}
	}
	if limited == 0 || unknown == 0 {
		t.Errorf("%d were limited and %d unknown, want some of both", limited, unknown)
	}
}

func TestUseOfAKeyIsNoted(t *testing.T) {
	t.Parallel()
	h := move(t, postgrestest.New(t))
	ctx, app := h.scope(t)
	_, text := h.key(t, ctx, app, "write")
	run, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	keys := identity.NewKeys(h.db, quiet{h.server}, slog.New(slog.DiscardHandler))
	go func() { defer close(done); _ = keys.Run(run) }()
	if _, err := keys.Find(t.Context(), text); err != nil {
		t.Fatal(err)
	}
	cancel() // what waits is written when it stops
	<-done
	list, err := keys.List(ctx, "")
	if err != nil || len(list) != 1 || list[0].LastUsedAt.IsZero() {
		t.Errorf("list = %+v, %v, want a time of use", list, err)
	}
}

func TestWrongKeysAreRefusedWithTheirFields(t *testing.T) {
	t.Parallel()
	h := move(t, postgrestest.New(t))
	ctx, app := h.scope(t)
	limit := func(f float64) *float64 { return &f }
	for name, key := range map[string]identity.NewKey{
		"kind":      {Kind: "admin"},
		"name":      {Kind: "write", Name: strings.Repeat("x", 101)},
		"rateLimit": {Kind: "write", RateLimit: limit(-1)},
		"NaN":       {Kind: "write", RateLimit: limit(math.NaN())},
		"infinite":  {Kind: "write", RateLimit: limit(math.Inf(1))},
	} {
		if _, _, err := h.keys.Create(ctx, app, key); !fault.Is(err, fault.Invalid) {
			t.Errorf("%s: %v", name, err)
		}
	}
	for name, id := range map[string]string{"no id": "x", "unknown": app.ID} {
		if _, err := h.keys.Revoke(ctx, id); !fault.Is(err, fault.Invalid) && !fault.Is(err, fault.NotFound) {
			t.Errorf("revoke %s: %v", name, err)
		}
	}
	if _, _, err := h.keys.Rotate(ctx, app.ID, -time.Second); !fault.Is(err, fault.Invalid) {
		t.Errorf("negative overlap: %v", err)
	}
}

func BenchmarkFind(b *testing.B) {
	h := move(b, postgrestest.New(b))
	ctx, app := h.scope(b)
	_, text := h.key(b, ctx, app, "write")
	if _, err := h.keys.Find(b.Context(), text); err != nil {
		b.Fatal(err)
	}
	b.ReportAllocs()
	b.ResetTimer()
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			if _, err := h.keys.Find(ctx, text); err != nil {
				b.Error(err)
			}
		}
	})
}
