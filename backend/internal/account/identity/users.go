package identity

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/causality-project/causality/backend/internal/account/tenancy"
	"github.com/causality-project/causality/backend/internal/platform/fault"
	"github.com/causality-project/causality/backend/internal/platform/postgres"
	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
)

const (
	// DefaultWorkspace is the slug of the workspace that the first start makes.
	DefaultWorkspace = "default"

	// LinkValidity is how long a sign-in link works; FirstLinkValidity is for the
	// link that a first start prints, which may scroll by unseen.
	LinkValidity      = 15 * time.Minute
	FirstLinkValidity = 24 * time.Hour

	// A session ends SessionLife after it began, and SessionIdle after it was
	// last used.
	SessionLife = 30 * 24 * time.Hour
	SessionIdle = 14 * 24 * time.Hour
)

// User is a person who can sign in.
type User struct {
	ID, Email, Name string
	CreatedAt       time.Time
	Role            string // in the workspace that was asked about; else empty
}

// Workspace is one that somebody can see, and as what.
type Workspace struct {
	ID, Slug, Name string
	Role           string
}

// Users keeps people, their memberships, sessions and sign-in links.
type Users struct {
	db   *tenancy.DB
	pool *pgxpool.Pool
}

// NewUsers keeps people in the database behind pool, which works as
// causality_app, and reads scoped rows through db.
func NewUsers(db *tenancy.DB, pool *pgxpool.Pool) *Users { return &Users{db: db, pool: pool} }

// EnsureDefault makes the workspace "default" and its owner at the first start,
// and returns the workspace at every one.
func (u *Users) EnsureDefault(ctx context.Context) (Workspace, error) {
	workspaceID, err := uuid.NewV7()
	if err != nil {
		return Workspace{}, fmt.Errorf("new id: %w", err)
	}
	ownerID, err := uuid.NewV7()
	if err != nil {
		return Workspace{}, fmt.Errorf("new id: %w", err)
	}
	if _, err := u.pool.Exec(ctx, "SELECT ensure_workspace($1, $2, $3, 'Owner')", workspaceID, DefaultWorkspace, ownerID); err != nil {
		return Workspace{}, postgres.Fault(ctx, fmt.Errorf("make the first workspace: %w", err))
	}
	return u.Workspace(ctx, DefaultWorkspace)
}

// Workspace finds a workspace by its id or slug, whoever asks: the caller
// checks membership.
func (u *Users) Workspace(ctx context.Context, idOrSlug string) (Workspace, error) {
	var w Workspace
	err := u.pool.QueryRow(ctx, "SELECT workspace_id::text, slug, name FROM find_workspace($1)", strings.ToLower(idOrSlug)).Scan(&w.ID, &w.Slug, &w.Name)
	if errors.Is(err, pgx.ErrNoRows) {
		return Workspace{}, errNoWorkspace(idOrSlug)
	}
	if err != nil {
		return Workspace{}, postgres.Fault(ctx, fmt.Errorf("find workspace: %w", err))
	}
	return w, nil
}

// errNoWorkspace is the same for a workspace that is not there and one that the
// caller may not see.
func errNoWorkspace(which string) error {
	return fault.New(fault.Denied, "There is no workspace %q that you can see", which)
}

// Workspaces returns what a user can see, oldest first.
func (u *Users) Workspaces(ctx context.Context, userID string) ([]Workspace, error) {
	rows, err := u.pool.Query(ctx, "SELECT workspace_id::text, slug, name, role FROM workspaces_of($1)", userID)
	var list []Workspace
	if err == nil {
		list, err = pgx.CollectRows(rows, func(row pgx.CollectableRow) (w Workspace, err error) {
			return w, row.Scan(&w.ID, &w.Slug, &w.Name, &w.Role)
		})
	}
	if err != nil {
		return nil, postgres.Fault(ctx, fmt.Errorf("list workspaces: %w", err))
	}
	return list, nil
}

// Members returns the people of the workspace in scope, longest members first.
func (u *Users) Members(ctx context.Context) ([]User, error) {
	var list []User
	err := u.db.Tx(ctx, func(ctx context.Context, tx pgx.Tx) error {
		rows, err := tx.Query(ctx, "SELECT user_id::text, coalesce(email, ''), name, created_at, role FROM members()")
		if err != nil {
			return fmt.Errorf("list members: %w", err)
		}
		list, err = pgx.CollectRows(rows, func(row pgx.CollectableRow) (user User, err error) {
			return user, row.Scan(&user.ID, &user.Email, &user.Name, &user.CreatedAt, &user.Role)
		})
		return err
	})
	return list, err
}

// User finds a person of the installation by id or e-mail address.
func (u *Users) User(ctx context.Context, idOrEmail string) (User, error) {
	user, err := u.one(ctx, "SELECT user_id::text, coalesce(email, ''), name, created_at FROM find_user($1)", strings.TrimSpace(idOrEmail))
	if errors.Is(err, pgx.ErrNoRows) {
		return User{}, fault.New(fault.NotFound, "Nobody with the id or e-mail address %q is known here. causality users list shows who is", idOrEmail)
	}
	return user, err
}

// Owner returns the first owner of a workspace.
func (u *Users) Owner(ctx context.Context, workspaceID string) (User, error) {
	user, err := u.one(ctx, "SELECT user_id::text, coalesce(email, ''), name, created_at FROM find_owner($1)", workspaceID)
	if errors.Is(err, pgx.ErrNoRows) {
		return User{}, fault.New(fault.NotFound, "This workspace has no owner")
	}
	user.Role = Owner
	return user, err
}

func (u *Users) one(ctx context.Context, query string, arg any) (user User, err error) {
	err = u.pool.QueryRow(ctx, query, arg).Scan(&user.ID, &user.Email, &user.Name, &user.CreatedAt)
	if err != nil && !errors.Is(err, pgx.ErrNoRows) {
		err = postgres.Fault(ctx, fmt.Errorf("find user: %w", err))
	}
	return user, err
}

// CreateSignInLink makes a token that signs userID in once, within validity.
func (u *Users) CreateSignInLink(ctx context.Context, userID string, validity time.Duration) (token string, expires time.Time, err error) {
	token, expires = randomText(), time.Now().Add(validity).UTC()
	hash := sha256.Sum256([]byte(token))
	if _, err := u.pool.Exec(ctx, "SELECT create_sign_in_link($1, $2, $3)", hash[:], userID, expires); err != nil {
		return "", time.Time{}, postgres.Fault(ctx, fmt.Errorf("make sign-in link: %w", err))
	}
	return token, expires, nil
}

// SignInURL is the page that uses a token up. The token stands behind the "#":
// browsers send that part to nobody, so it reaches no log and no referrer.
func SignInURL(publicURL, token string) string {
	return strings.TrimRight(publicURL, "/") + "/app/sign-in#token=" + token
}

// NewSession is what SignIn hands to a browser.
type NewSession struct {
	Token   string
	Expires time.Time
	User    User
}

// SignIn uses a link's token up and begins a session: both happen or neither.
func (u *Users) SignIn(ctx context.Context, token, userAgent string) (NewSession, error) {
	session := NewSession{Token: randomText(), Expires: time.Now().Add(SessionLife).UTC()}
	link, hash := sha256.Sum256([]byte(token)), sha256.Sum256([]byte(session.Token))
	err := u.db.TxAll(ctx, func(ctx context.Context, tx tenancy.ScopedTx) error {
		var who *string
		var state string
		if err := tx.QueryRow(ctx, "SELECT who::text, state FROM use_sign_in_link($1)", link[:]).Scan(&who, &state); err != nil {
			return fmt.Errorf("use sign-in link: %w", err)
		}
		const another = "Make a new one on the server with: causality users link"
		switch {
		case state == "used":
			return fault.New(fault.Unauthenticated, "This sign-in link was used already; each works once. %s", another)
		case state == "expired":
			return fault.New(fault.Unauthenticated, "This sign-in link has expired. %s", another)
		case state != "ok" || who == nil:
			return fault.New(fault.Unauthenticated, "This sign-in link is not known. Check that it was copied whole. %s", another)
		}
		agent := strings.ToValidUTF8(strings.ReplaceAll(userAgent, "\x00", ""), "")
		if _, err := tx.Exec(ctx, "SELECT create_session($1, $2, $3, $4)", hash[:], *who, session.Expires, agent); err != nil {
			return fmt.Errorf("begin session: %w", err)
		}
		return tx.QueryRow(ctx, "SELECT user_id::text, coalesce(email, ''), name, created_at FROM find_user($1)", *who).
			Scan(&session.User.ID, &session.User.Email, &session.User.Name, &session.User.CreatedAt)
	})
	if err != nil {
		return NewSession{}, err
	}
	return session, nil
}

// SignOut ends a session at once, everywhere: each request reads it anew.
func (u *Users) SignOut(ctx context.Context, sessionToken string) error {
	hash := sha256.Sum256([]byte(sessionToken))
	if _, err := u.pool.Exec(ctx, "SELECT revoke_session($1)", hash[:]); err != nil {
		return postgres.Fault(ctx, fmt.Errorf("end session: %w", err))
	}
	return nil
}

// session finds who a session belongs to and what they can see, in one trip.
func (u *Users) session(ctx context.Context, sessionToken string) (userID string, workspaces []Workspace, err error) {
	hash := sha256.Sum256([]byte(sessionToken))
	rows, err := u.pool.Query(ctx, `SELECT s.user_id::text, coalesce(w.workspace_id::text, ''), coalesce(w.slug, ''), coalesce(w.name, ''), coalesce(w.role, '')
		FROM find_session($1, $2) s LEFT JOIN LATERAL workspaces_of(s.user_id) w ON true`, hash[:], SessionIdle)
	if err == nil {
		workspaces, err = pgx.CollectRows(rows, func(row pgx.CollectableRow) (w Workspace, err error) {
			return w, row.Scan(&userID, &w.ID, &w.Slug, &w.Name, &w.Role)
		})
	}
	if err != nil {
		return "", nil, postgres.Fault(ctx, fmt.Errorf("find session: %w", err))
	}
	if len(workspaces) == 0 {
		return "", nil, fault.New(fault.Unauthenticated, "Your session has ended. Sign in again")
	}
	if workspaces[0].ID == "" {
		return userID, nil, nil
	}
	return userID, workspaces, nil
}
