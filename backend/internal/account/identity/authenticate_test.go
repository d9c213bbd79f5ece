package identity_test

import (
	"context"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/causality-project/causality/backend/internal/account/identity"
	"github.com/causality-project/causality/backend/internal/account/tenancy"
	"github.com/causality-project/causality/backend/internal/platform/fault"
	"github.com/causality-project/causality/backend/internal/platform/postgres/postgrestest"
	"github.com/jackc/pgx/v5"
)

func (h house) exec(t *testing.T, statement string, args ...any) {
	t.Helper()
	owner, err := pgx.ConnectConfig(t.Context(), h.server.OwnerConfig())
	if err != nil {
		t.Fatal(err)
	}
	defer owner.Close(context.Background())
	if _, err := owner.Exec(t.Context(), statement, args...); err != nil {
		t.Fatalf("%s: %v", statement, err)
	}
}

// signIn makes a session for the owner of the default workspace.
func (h house) signIn(t *testing.T) identity.NewSession {
	t.Helper()
	workspace, err := h.users.EnsureDefault(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	owner, err := h.users.Owner(t.Context(), workspace.ID)
	if err != nil {
		t.Fatal(err)
	}
	token, _, err := h.users.CreateSignInLink(t.Context(), owner.ID, time.Minute)
	if err != nil {
		t.Fatal(err)
	}
	session, err := h.users.SignIn(t.Context(), token, "a browser")
	if err != nil {
		t.Fatal(err)
	}
	return session
}

func request(ctx context.Context, headers ...string) *http.Request {
	r := httptest.NewRequestWithContext(ctx, http.MethodPost, "/", nil)
	for i := 0; i < len(headers); i += 2 {
		r.Header.Set(headers[i], headers[i+1])
	}
	return r
}

func cookie(session identity.NewSession) string { return identity.CookieName + "=" + session.Token }

func TestTheFirstStartMakesOneWorkspaceWithAnOwner(t *testing.T) {
	t.Parallel()
	h := move(t, postgrestest.New(t))
	ids := make(chan string, 8)
	var starts sync.WaitGroup
	for range cap(ids) {
		starts.Go(func() {
			workspace, err := h.users.EnsureDefault(t.Context())
			if err != nil {
				t.Error(err)
			}
			ids <- workspace.ID
		})
	}
	starts.Wait()
	first := <-ids
	for range cap(ids) - 1 {
		if id := <-ids; id != first {
			t.Errorf("workspaces %s and %s, want one", id, first)
		}
	}
	members, err := h.users.Members(tenancy.WithWorkspace(t.Context(), first))
	if err != nil || len(members) != 1 || members[0].Role != identity.Owner {
		t.Errorf("members = %+v, %v, want one owner", members, err)
	}
}

func TestASignInLinkWorksOnceAndInTime(t *testing.T) {
	t.Parallel()
	h := move(t, postgrestest.New(t))
	workspace, err := h.users.EnsureDefault(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	owner, err := h.users.Owner(t.Context(), workspace.ID)
	if err != nil {
		t.Fatal(err)
	}
	token, _, err := h.users.CreateSignInLink(t.Context(), owner.ID, time.Minute)
	if err != nil {
		t.Fatal(err)
	}
	var signedIn, refused int
	var mu sync.Mutex
	var tries sync.WaitGroup
	for range 8 {
		tries.Go(func() {
			session, err := h.users.SignIn(t.Context(), token, "a browser \x00\xff")
			mu.Lock()
			defer mu.Unlock()
			switch {
			case err == nil && session.User.ID == owner.ID:
				signedIn++
			case fault.Is(err, fault.Unauthenticated) && strings.Contains(err.Error(), "used already"):
				refused++
			default:
				t.Errorf("sign in: %+v, %v", session, err)
			}
		})
	}
	tries.Wait()
	if signedIn != 1 || refused != 7 {
		t.Errorf("%d signed in and %d were refused, want 1 and 7", signedIn, refused)
	}
	late, _, err := h.users.CreateSignInLink(t.Context(), owner.ID, -time.Second)
	if err != nil {
		t.Fatal(err)
	}
	for token, says := range map[string]string{late: "expired", "invented": "not known", "": "not known"} {
		if _, err := h.users.SignIn(t.Context(), token, ""); !fault.Is(err, fault.Unauthenticated) || !strings.Contains(err.Error(), says) {
			t.Errorf("token %q: %v, want %q", token, err, says)
		}
	}
}

func TestASessionEndsBySignOutByAgeAndByIdling(t *testing.T) {
	t.Parallel()
	h := move(t, postgrestest.New(t))
	authenticator := identity.NewAuthenticator(h.users, h.keys)
	ends := map[string]func(identity.NewSession){
		"sign-out": func(s identity.NewSession) {
			if err := h.users.SignOut(t.Context(), s.Token); err != nil {
				t.Error(err)
			}
		},
		"age":  func(identity.NewSession) { h.exec(t, "UPDATE sessions SET expires_at = now()") },
		"idle": func(identity.NewSession) { h.exec(t, "UPDATE sessions SET last_seen_at = now() - interval '14 days'") },
	}
	for name, end := range ends {
		session := h.signIn(t)
		if left := time.Until(session.Expires); left < identity.SessionLife-time.Minute || left > identity.SessionLife {
			t.Errorf("a session lasts %s", left)
		}
		r := request(t.Context(), "Cookie", cookie(session))
		if p, err := authenticator.FromRequest(r.Context(), r); err != nil || p.Kind != identity.Session || p.Role != identity.Owner || p.UserID != session.User.ID {
			t.Fatalf("signed in: %+v, %v", p, err)
		}
		end(session)
		if _, err := authenticator.FromRequest(r.Context(), r); !fault.Is(err, fault.Unauthenticated) {
			t.Errorf("after %s: %v, want unauthenticated", name, err)
		}
	}
}

func TestUsingASessionKeepsItAlive(t *testing.T) {
	t.Parallel()
	h := move(t, postgrestest.New(t))
	authenticator := identity.NewAuthenticator(h.users, h.keys)
	r := request(t.Context(), "Cookie", cookie(h.signIn(t)))
	for range 3 { // thirty days in all, longer than it may idle
		h.exec(t, "UPDATE sessions SET last_seen_at = last_seen_at - interval '10 days'")
		if _, err := authenticator.FromRequest(r.Context(), r); err != nil {
			t.Fatal(err)
		}
	}
}

func TestWhoSentARequest(t *testing.T) {
	t.Parallel()
	h := move(t, postgrestest.New(t))
	ctx, app := h.scope(t)
	_, secret := h.key(t, ctx, app, "secret")
	_, write := h.key(t, ctx, app, "write")
	session := h.signIn(t)
	h.exec(t, "SELECT ensure_workspace(gen_random_uuid(), 'other', gen_random_uuid(), 'Stranger')")
	other, err := h.users.Workspace(t.Context(), "other")
	if err != nil {
		t.Fatal(err)
	}
	local := identity.WithLocal(t.Context())
	const ok = fault.Kind(255)
	tests := map[string]struct {
		r         *http.Request
		want      fault.Kind
		principal identity.Principal
	}{
		"nothing shown":              {request(t.Context()), fault.Unauthenticated, identity.Principal{}},
		"an empty cookie":            {request(t.Context(), "Cookie", identity.CookieName+"="), fault.Unauthenticated, identity.Principal{}},
		"an invented cookie":         {request(t.Context(), "Cookie", identity.CookieName+"=x"), fault.Unauthenticated, identity.Principal{}},
		"a session":                  {request(t.Context(), "Cookie", cookie(session)), ok, identity.Principal{Kind: identity.Session, UserID: session.User.ID, WorkspaceID: app.WorkspaceID, Role: identity.Owner}},
		"a session, by slug":         {request(t.Context(), "Cookie", cookie(session), identity.WorkspaceHeader, "Default"), ok, identity.Principal{Kind: identity.Session, UserID: session.User.ID, WorkspaceID: app.WorkspaceID, Role: identity.Owner}},
		"a session, elsewhere":       {request(t.Context(), "Cookie", cookie(session), identity.WorkspaceHeader, other.ID), fault.Denied, identity.Principal{}},
		"a session, nowhere":         {request(t.Context(), "Cookie", cookie(session), identity.WorkspaceHeader, "'; --"), fault.Denied, identity.Principal{}},
		"a secret key":               {request(t.Context(), "Authorization", "Bearer "+secret), ok, identity.Principal{Kind: identity.SecretKey, WorkspaceID: app.WorkspaceID, AppID: app.ID}},
		"a secret key, lower case":   {request(t.Context(), "Authorization", "bearer "+secret), ok, identity.Principal{Kind: identity.SecretKey, WorkspaceID: app.WorkspaceID, AppID: app.ID}},
		"a secret key, elsewhere":    {request(t.Context(), "Authorization", "Bearer "+secret, identity.WorkspaceHeader, "other"), fault.Denied, identity.Principal{}},
		"a secret key, at home":      {request(t.Context(), "Authorization", "Bearer "+secret, identity.WorkspaceHeader, "default"), ok, identity.Principal{Kind: identity.SecretKey, WorkspaceID: app.WorkspaceID, AppID: app.ID}},
		"a write key":                {request(t.Context(), "Authorization", "Bearer "+write), fault.Denied, identity.Principal{}},
		"a wrong key and a session":  {request(t.Context(), "Authorization", "Bearer sk_x", "Cookie", cookie(session)), fault.Unauthenticated, identity.Principal{}},
		"a password":                 {request(t.Context(), "Authorization", "Basic eDp5"), fault.Unauthenticated, identity.Principal{}},
		"the socket":                 {request(local), ok, identity.Principal{Kind: identity.Local, WorkspaceID: app.WorkspaceID, Role: identity.Owner}},
		"the socket, elsewhere":      {request(local, identity.WorkspaceHeader, "other"), ok, identity.Principal{Kind: identity.Local, WorkspaceID: other.ID, Role: identity.Owner}},
		"the socket, nowhere":        {request(local, identity.WorkspaceHeader, "none"), fault.Denied, identity.Principal{}},
		"the socket with a bad key":  {request(local, "Authorization", "Bearer sk_x"), fault.Unauthenticated, identity.Principal{}},
		"the socket with a good key": {request(local, "Authorization", "Bearer "+secret), ok, identity.Principal{Kind: identity.SecretKey, WorkspaceID: app.WorkspaceID, AppID: app.ID}},
	}
	authenticator := identity.NewAuthenticator(h.users, h.keys)
	for name, tt := range tests {
		got, err := authenticator.FromRequest(tt.r.Context(), tt.r)
		if tt.want != ok {
			if !fault.Is(err, tt.want) || got != (identity.Principal{}) {
				t.Errorf("%s: %+v, %v, want a fault of kind %d", name, got, err, tt.want)
			}
			continue
		}
		if tt.principal.Kind == identity.SecretKey && err == nil && got.KeyID != "" {
			tt.principal.KeyID = got.KeyID
		}
		if err != nil || got != tt.principal {
			t.Errorf("%s: %+v, %v, want %+v", name, got, err, tt.principal)
		}
	}
}

func TestAnOutageIsNoSignOut(t *testing.T) {
	t.Parallel()
	server := postgrestest.Supervised(t)
	h := move(t, server)
	r := request(t.Context(), "Cookie", cookie(h.signIn(t)))
	authenticator := identity.NewAuthenticator(h.users, h.keys)
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	if err := server.Close(ctx); err != nil {
		t.Fatal(err)
	}
	if _, err := authenticator.FromRequest(r.Context(), r); !fault.Is(err, fault.Unavailable) {
		t.Errorf("with the database away: %v, want unavailable", err)
	}
}

func TestASecretKeyReachesItsOwnAppAlone(t *testing.T) {
	t.Parallel()
	h := move(t, postgrestest.New(t))
	ctx, app := h.scope(t)
	other, err := h.apps.Create(ctx, "secret project", "", nil)
	if err != nil {
		t.Fatal(err)
	}
	key := identity.WithPrincipal(ctx, identity.Principal{Kind: identity.SecretKey, WorkspaceID: app.WorkspaceID, AppID: app.ID})
	for _, which := range []string{"", app.ID, app.Name} {
		if got, err := identity.App(key, h.apps, which); err != nil || got.ID != app.ID {
			t.Errorf("App(%q) = %+v, %v", which, got, err)
		}
	}
	for _, which := range []string{other.ID, other.Name, "no such app"} {
		if _, err := identity.App(key, h.apps, which); !fault.Is(err, fault.Denied) {
			t.Errorf("App(%q): %v, want denied", which, err)
		}
	}
	if _, err := identity.App(ctx, h.apps, app.ID); !fault.Is(err, fault.Unauthenticated) {
		t.Errorf("without a principal: %v", err)
	}
	viewer := identity.WithPrincipal(ctx, identity.Principal{Kind: identity.Session, WorkspaceID: app.WorkspaceID, Role: identity.Viewer})
	if got, err := identity.App(viewer, h.apps, other.Name); err != nil || got.ID != other.ID {
		t.Errorf("a viewer's App = %+v, %v", got, err)
	}
}
