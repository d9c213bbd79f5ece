package tenancy

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"time"
	"unicode/utf8"

	"github.com/causality-project/causality/backend/internal/platform/fault"
	"github.com/causality-project/causality/backend/internal/platform/postgres"
	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
)

// App is one source of events inside a workspace.
type App struct {
	ID, WorkspaceID, Name string
	TimeZone              string // IANA
	IPPolicy              string // keep, truncate or drop
	RetentionDays         int    // after which events are removed; 0: never
	CreatedAt             time.Time
}

// AppUpdate changes what is not nil.
type AppUpdate struct {
	Name, TimeZone, IPPolicy *string
	RetentionDays            *int // 0: keep events for ever
}

const (
	maxName      = 100    // characters of an app's name
	maxRetention = 36_500 // days
	// MaxApps bounds the apps of one workspace.
	MaxApps = 1000
	// maxCached bounds the workspaces whose apps are held in memory.
	maxCached = 10_000
)

// Apps keeps the apps of workspaces. Reads are served from memory while the
// database's notifications are heard: a change shows everywhere once it is
// announced, and at once where it was made.
type Apps struct {
	db *DB

	mu     sync.Mutex
	heard  bool             // notifications arrive
	moves  uint64           // counts invalidations: a read that straddles one is not kept
	cached map[string][]App // by workspace
}

// Listening is what Apps needs of postgres.Server.
type Listening interface {
	Listen(channel string, l postgres.Listener)
}

// NewApps keeps apps in db and hears of their changes from server.
func NewApps(db *DB, server Listening) *Apps {
	a := &Apps{db: db, cached: map[string][]App{}}
	server.Listen("causality_apps", postgres.Listener{
		Up:     func(context.Context) { a.forgetAll(true) },
		Notify: func(_ context.Context, workspaceID string) { a.forget(workspaceID) },
		Down:   func() { a.forgetAll(false) },
	})
	return a
}

func (a *Apps) forget(workspaceID string) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.moves++
	delete(a.cached, workspaceID)
}

func (a *Apps) forgetAll(heard bool) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.moves++
	a.heard = heard
	clear(a.cached)
}

// List returns the apps of the workspace in scope, oldest first. The slice is
// shared: do not change it.
func (a *Apps) List(ctx context.Context) ([]App, error) {
	workspaceID, err := Workspace(ctx)
	if err != nil {
		return nil, err
	}
	a.mu.Lock()
	apps, ok := a.cached[workspaceID]
	moves := a.moves
	a.mu.Unlock()
	if ok {
		return apps, nil
	}
	err = a.db.Tx(ctx, func(ctx context.Context, tx pgx.Tx) error {
		rows, err := tx.Query(ctx, "SELECT "+appColumns+" FROM apps ORDER BY created_at, app_id")
		if err != nil {
			return fmt.Errorf("list apps: %w", err)
		}
		apps, err = pgx.CollectRows(rows, scanApp)
		return err
	})
	if err != nil {
		return nil, err
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.heard && a.moves == moves {
		if len(a.cached) >= maxCached {
			clear(a.cached)
		}
		a.cached[workspaceID] = apps
	}
	return apps, nil
}

const appColumns = "app_id::text, workspace_id::text, name, time_zone, ip_policy, coalesce(retention_days, 0), created_at"

func scanApp(row pgx.CollectableRow) (app App, err error) {
	err = row.Scan(&app.ID, &app.WorkspaceID, &app.Name, &app.TimeZone, &app.IPPolicy, &app.RetentionDays, &app.CreatedAt)
	return app, err
}

// Get finds an app of the workspace in scope by its id or its name. Its
// NotFound tells which apps exist.
func (a *Apps) Get(ctx context.Context, idOrName string) (App, error) {
	apps, err := a.List(ctx)
	if err != nil {
		return App{}, err
	}
	id := strings.ToLower(idOrName)
	for _, app := range apps {
		if app.ID == id {
			return app, nil
		}
	}
	for _, app := range apps {
		if app.Name == idOrName {
			return app, nil
		}
	}
	switch {
	case len(apps) == 0:
		return App{}, fault.New(fault.NotFound, "This workspace has no apps yet. Create one with: causality apps create NAME")
	case idOrName == "":
		return App{}, fault.InvalidField("appId", "name an app by its id or name; this workspace has %s", names(apps))
	default:
		return App{}, fault.New(fault.NotFound, "No app %q in this workspace. It has %s", idOrName, names(apps))
	}
}

// names lists up to ten apps for a sentence.
func names(apps []App) string {
	const most = 10
	var quoted []string
	for _, app := range apps[:min(len(apps), most)] {
		quoted = append(quoted, app.Name)
	}
	list := strings.Join(quoted, ", ")
	if len(apps) > most {
		list += fmt.Sprintf(" and %d more", len(apps)-most)
	}
	return list
}

// Create adds an app to the workspace in scope. Without a time zone it is UTC.
// Inside the same transaction it calls then, so that what an app needs to be of
// use appears with it; then may be nil.
func (a *Apps) Create(ctx context.Context, name, timeZone string, then func(context.Context, pgx.Tx, App) error) (App, error) {
	if timeZone == "" {
		timeZone = "UTC"
	}
	name = strings.TrimSpace(name)
	if err := fault.InvalidFields(append(checkName(name), checkTimeZone(timeZone)...)); err != nil {
		return App{}, err
	}
	workspaceID, err := Workspace(ctx)
	if err != nil {
		return App{}, err
	}
	var app App
	err = a.db.Tx(ctx, func(ctx context.Context, tx pgx.Tx) error {
		var count int
		if err := tx.QueryRow(ctx, "SELECT count(*) FROM apps").Scan(&count); err != nil {
			return fmt.Errorf("count apps: %w", err)
		}
		if count >= MaxApps {
			return fault.New(fault.Exhausted, "This workspace has %d apps, which is the most it can have. Use another workspace", count)
		}
		id, err := uuid.NewV7()
		if err != nil {
			return fmt.Errorf("new id: %w", err)
		}
		rows, err := tx.Query(ctx, "INSERT INTO apps (app_id, workspace_id, name, time_zone) VALUES ($1, $2, $3, $4) RETURNING "+appColumns,
			id, workspaceID, name, timeZone)
		if err == nil {
			app, err = pgx.CollectExactlyOneRow(rows, scanApp)
		}
		if err != nil {
			return nameTaken(err, name)
		}
		if then == nil {
			return nil
		}
		return then(ctx, tx, app)
	})
	if err != nil {
		return App{}, err
	}
	a.forget(workspaceID)
	return app, nil
}

// Update changes an app of the workspace in scope, found by its id or name.
func (a *Apps) Update(ctx context.Context, idOrName string, update AppUpdate) (App, error) {
	var wrong []fault.Field
	if update.Name != nil {
		trimmed := strings.TrimSpace(*update.Name)
		update.Name = &trimmed
		wrong = append(wrong, checkName(trimmed)...)
	}
	if update.TimeZone != nil {
		wrong = append(wrong, checkTimeZone(*update.TimeZone)...)
	}
	if update.IPPolicy != nil {
		switch *update.IPPolicy {
		case "keep", "truncate", "drop":
		default:
			wrong = append(wrong, fault.Field{Name: "ipPolicy", Message: fmt.Sprintf("must be keep, truncate or drop, not %q", *update.IPPolicy)})
		}
	}
	if days := update.RetentionDays; days != nil && (*days < 0 || *days > maxRetention) {
		wrong = append(wrong, fault.Field{Name: "retentionDays", Message: fmt.Sprintf("must be from 1 to %d days, or 0 to keep events for ever, not %d", maxRetention, *days)})
	}
	if err := fault.InvalidFields(wrong); err != nil {
		return App{}, err
	}
	app, err := a.Get(ctx, idOrName)
	if err != nil {
		return App{}, err
	}
	err = a.db.Tx(ctx, func(ctx context.Context, tx pgx.Tx) error {
		rows, err := tx.Query(ctx, `UPDATE apps SET name = coalesce($2, name), time_zone = coalesce($3, time_zone), ip_policy = coalesce($4, ip_policy),
			retention_days = CASE WHEN $5::int IS NULL THEN retention_days ELSE nullif($5, 0) END
			WHERE app_id = $1 RETURNING `+appColumns, app.ID, update.Name, update.TimeZone, update.IPPolicy, update.RetentionDays)
		if err == nil {
			app, err = pgx.CollectExactlyOneRow(rows, scanApp)
		}
		if err != nil && update.Name != nil {
			return nameTaken(err, *update.Name)
		}
		return err
	})
	if err != nil {
		return App{}, err
	}
	a.forget(app.WorkspaceID)
	return app, nil
}

func nameTaken(err error, name string) error {
	var answer *pgconn.PgError
	if errors.As(err, &answer) && answer.Code == "23505" {
		return &fault.Error{
			Kind:    fault.Conflict,
			Message: fmt.Sprintf("This workspace already has an app %q. Choose another name", name),
			Fields:  []fault.Field{{Name: "name", Message: "is taken"}},
			Err:     err,
		}
	}
	return fmt.Errorf("write app: %w", err)
}

func checkName(name string) []fault.Field {
	wrong := func(message string) []fault.Field { return []fault.Field{{Name: "name", Message: message}} }
	switch {
	case name == "":
		return wrong("is missing")
	case !utf8.ValidString(name) || strings.ContainsFunc(name, func(r rune) bool { return r < ' ' || r == 0x7f }):
		return wrong("must be text without control characters")
	case utf8.RuneCountInString(name) > maxName:
		return wrong(fmt.Sprintf("is longer than %d characters", maxName))
	}
	if _, err := uuid.Parse(name); err == nil {
		return wrong("must not look like an id")
	}
	return nil
}

// checkTimeZone wants a name that every machine reads alike: "Local" and ""
// mean something else on each.
func checkTimeZone(zone string) []fault.Field {
	if _, err := time.LoadLocation(zone); err != nil || zone == "" || zone == "Local" {
		return []fault.Field{{Name: "timeZone", Message: fmt.Sprintf("%q is no time zone; use an IANA name such as Europe/Berlin or UTC", zone)}}
	}
	return nil
}
