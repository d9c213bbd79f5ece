package identityrpc_test

import (
	"context"
	"errors"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"connectrpc.com/connect"
	"github.com/causality-project/causality/backend/internal/account/identity"
	"github.com/causality-project/causality/backend/internal/account/identity/identityrpc"
	"github.com/causality-project/causality/backend/internal/account/tenancy"
	"github.com/causality-project/causality/backend/internal/account/tenancy/tenancyrpc"
	"github.com/causality-project/causality/backend/internal/platform/fault"
	"github.com/causality-project/causality/backend/internal/platform/postgres/postgrestest"
	identityv1 "github.com/causality-project/causality/proto/gen/causality/identity/v1"
	tenancyv1 "github.com/causality-project/causality/proto/gen/causality/tenancy/v1"
)

// office is the two services as a caller meets them, before the web's
// interceptors: a principal is in the context.
type office struct {
	identity  *identityrpc.Handler
	tenancy   *tenancyrpc.Handler
	users     *identity.Users
	keys      *identity.Keys
	workspace identity.Workspace
}

func open(t *testing.T, publicURL string) office {
	t.Helper()
	server, log := postgrestest.New(t), slog.New(slog.DiscardHandler)
	db := tenancy.NewDB(server.Pool(), log)
	apps, keys, users := tenancy.NewApps(db, server), identity.NewKeys(db, server, log), identity.NewUsers(db, server.Pool())
	workspace, err := users.EnsureDefault(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return office{
		identity: identityrpc.New(identityrpc.Config{Users: users, Keys: keys, Apps: apps, PublicURL: func() string { return publicURL }}),
		tenancy:  tenancyrpc.New(apps, keys), users: users, keys: keys, workspace: workspace,
	}
}

// as returns a context on behalf of p, in the default workspace.
func (o office) as(t *testing.T, p identity.Principal) context.Context {
	p.WorkspaceID = o.workspace.ID
	return tenancy.WithWorkspace(identity.WithPrincipal(t.Context(), p), o.workspace.ID)
}

func (o office) local(t *testing.T) context.Context {
	return o.as(t, identity.Principal{Kind: identity.Local, Role: identity.Owner})
}

func must[T any](t *testing.T, res *connect.Response[T], err error) *T {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
	return res.Msg
}

func TestAPersonSignsInByLinkAndOutAgain(t *testing.T) {
	t.Parallel()
	for url, secure := range map[string]bool{"http://127.0.0.1:8080/": false, "https://events.example.com": true} {
		o := open(t, url)
		res, err := o.identity.CreateSignInLink(o.local(t), connect.NewRequest(&identityv1.CreateSignInLinkRequest{}))
		link := must(t, res, err)
		base, token, found := strings.Cut(link.GetUrl(), "#token=")
		if !found || base != strings.TrimRight(url, "/")+"/app/sign-in" {
			t.Fatalf("link = %s", link.GetUrl())
		}
		if expires, err := time.Parse(time.RFC3339, link.GetExpiresAt()); err != nil || time.Until(expires) > identity.LinkValidity {
			t.Errorf("the link expires at %s", link.GetExpiresAt())
		}
		signedIn, err := o.identity.SignIn(t.Context(), connect.NewRequest(&identityv1.SignInRequest{Token: token}))
		if must(t, signedIn, err).GetUser().GetName() != "Owner" {
			t.Errorf("signed in as %v", signedIn.Msg.GetUser())
		}
		cookies := (&http.Response{Header: signedIn.Header()}).Cookies()
		if len(cookies) != 1 {
			t.Fatalf("cookies = %v", cookies)
		}
		c := cookies[0]
		if c.Name != identity.CookieName || !c.HttpOnly || c.SameSite != http.SameSiteLaxMode || c.Path != "/" || c.Secure != secure || c.Domain != "" {
			t.Errorf("cookie of %s = %s", url, c)
		}

		authenticator := identity.NewAuthenticator(o.users, o.keys)
		r := httptest.NewRequestWithContext(t.Context(), http.MethodPost, "/", nil)
		r.AddCookie(c)
		p, err := authenticator.FromRequest(r.Context(), r)
		if err != nil {
			t.Fatal(err)
		}
		me, err := o.identity.Me(o.as(t, p), connect.NewRequest(&identityv1.MeRequest{}))
		if got := must(t, me, err); got.GetUser().GetRole() != "owner" || len(got.GetWorkspaces()) != 1 || got.GetWorkspaces()[0].GetSlug() != "default" {
			t.Errorf("me = %v", got)
		}

		out := connect.NewRequest(&identityv1.SignOutRequest{})
		out.Header().Set("Cookie", r.Header.Get("Cookie"))
		gone, err := o.identity.SignOut(o.as(t, p), out)
		must(t, gone, err)
		if cleared := (&http.Response{Header: gone.Header()}).Cookies(); len(cleared) != 1 || cleared[0].MaxAge >= 0 || cleared[0].Value != "" {
			t.Errorf("sign-out leaves the cookie %v", cleared)
		}
		if _, err := authenticator.FromRequest(r.Context(), r); !fault.Is(err, fault.Unauthenticated) {
			t.Errorf("after sign-out: %v", err)
		}
	}
}

func TestANewAppComesWithAWriteKey(t *testing.T) {
	t.Parallel()
	o := open(t, "")
	ctx := o.local(t)
	created, err := o.tenancy.CreateApp(ctx, connect.NewRequest(&tenancyv1.CreateAppRequest{Name: "shop", TimeZone: "Europe/Berlin"}))
	app := must(t, created, err).GetApp()
	listed, err := o.identity.ListKeys(ctx, connect.NewRequest(&identityv1.ListKeysRequest{AppId: "shop"}))
	keys := must(t, listed, err).GetKeys()
	if len(keys) != 1 || keys[0].GetKind() != "write" || keys[0].GetName() != "default" || keys[0].GetAppId() != app.GetId() || keys[0].GetAppName() != "shop" || keys[0].GetRevokedAt() != "" {
		t.Fatalf("keys = %v", keys)
	}
	if found, err := o.keys.Find(ctx, keys[0].GetDisplay()); err != nil || found.AppID != app.GetId() {
		t.Errorf("the shown write key finds %+v, %v", found, err)
	}
	apps, err := o.tenancy.ListApps(ctx, connect.NewRequest(&tenancyv1.ListAppsRequest{}))
	if got := must(t, apps, err).GetApps(); len(got) != 1 || got[0].GetTimeZone() != "Europe/Berlin" || got[0].GetIpPolicy() != "truncate" {
		t.Errorf("apps = %v", got)
	}
}

func TestKeysAreCreatedRotatedAndRevoked(t *testing.T) {
	t.Parallel()
	o := open(t, "")
	ctx := o.local(t)
	created, err := o.tenancy.CreateApp(ctx, connect.NewRequest(&tenancyv1.CreateAppRequest{Name: "shop"}))
	must(t, created, err)
	zero := 0.0
	made, err := o.identity.CreateKey(ctx, connect.NewRequest(&identityv1.CreateKeyRequest{AppId: "shop", Kind: "secret", Name: "ci", RateLimit: &zero}))
	key := must(t, made, err)
	if !strings.HasPrefix(key.GetSecret(), "sk_") || strings.Contains(key.GetKey().GetDisplay(), key.GetSecret()[10:]) || key.GetKey().GetRateLimit() != 0 {
		t.Errorf("key = %v", key)
	}
	rotated, err := o.identity.RotateKey(ctx, connect.NewRequest(&identityv1.RotateKeyRequest{Id: key.GetKey().GetId(), Overlap: "7d"}))
	next := must(t, rotated, err)
	if next.GetSecret() == key.GetSecret() || next.GetKey().GetName() != "ci" || next.GetKey().GetRateLimit() != 0 {
		t.Errorf("successor = %v", next)
	}
	revoked, err := o.identity.RevokeKey(ctx, connect.NewRequest(&identityv1.RevokeKeyRequest{Id: next.GetKey().GetId()}))
	if must(t, revoked, err).GetKey().GetRevokedAt() == "" {
		t.Error("a revoked key shows no time")
	}
	listed, err := o.identity.ListKeys(ctx, connect.NewRequest(&identityv1.ListKeysRequest{}))
	for _, k := range must(t, listed, err).GetKeys() {
		if k.GetId() != key.GetKey().GetId() {
			continue
		}
		expires, err := time.Parse(time.RFC3339, k.GetExpiresAt())
		if left := time.Until(expires); err != nil || left < 7*24*time.Hour-time.Minute || left > 7*24*time.Hour {
			t.Errorf("the old key expires at %q", k.GetExpiresAt())
		}
	}
	for _, overlap := range []string{"1", "h", "-1h", "1.5h", "4000w", "99999999999s", "ä"} {
		_, err := o.identity.RotateKey(ctx, connect.NewRequest(&identityv1.RotateKeyRequest{Id: key.GetKey().GetId(), Overlap: overlap}))
		var wrong *fault.Error
		if !errors.As(err, &wrong) || wrong.Kind != fault.Invalid || len(wrong.Fields) != 1 || wrong.Fields[0].Name != "overlap" {
			t.Errorf("overlap %q: %v", overlap, err)
		}
	}
}

func TestWhoMayDoWhat(t *testing.T) {
	t.Parallel()
	o := open(t, "")
	created, err := o.tenancy.CreateApp(o.local(t), connect.NewRequest(&tenancyv1.CreateAppRequest{Name: "shop"}))
	app := must(t, created, err).GetApp()
	second, err := o.tenancy.CreateApp(o.local(t), connect.NewRequest(&tenancyv1.CreateAppRequest{Name: "other"}))
	must(t, second, err)
	owner, err := o.users.Owner(t.Context(), o.workspace.ID)
	if err != nil {
		t.Fatal(err)
	}
	session := func(role string) identity.Principal {
		return identity.Principal{Kind: identity.Session, UserID: owner.ID, Role: role}
	}
	callers := map[string]identity.Principal{
		"local": {Kind: identity.Local, Role: identity.Owner}, "owner": session(identity.Owner), "admin": session(identity.Admin),
		"editor": session(identity.Editor), "viewer": session(identity.Viewer),
		"key": {Kind: identity.SecretKey, AppID: app.GetId()}, "nobody": {},
	}
	calls := map[string]struct {
		call    func(ctx context.Context, caller string) error
		allowed string
	}{
		"CreateApp": {func(ctx context.Context, caller string) error {
			_, err := o.tenancy.CreateApp(ctx, connect.NewRequest(&tenancyv1.CreateAppRequest{Name: "by " + caller}))
			return err
		}, "local owner admin"},
		"UpdateApp": {func(ctx context.Context, caller string) error {
			_, err := o.tenancy.UpdateApp(ctx, connect.NewRequest(&tenancyv1.UpdateAppRequest{AppId: "other", TimeZone: &[]string{"UTC"}[0]}))
			return err
		}, "local owner admin"},
		"ListApps": {func(ctx context.Context, caller string) error {
			res, err := o.tenancy.ListApps(ctx, connect.NewRequest(&tenancyv1.ListAppsRequest{}))
			if caller == "key" && (err != nil || len(res.Msg.GetApps()) != 1) {
				return errors.New("a key sees other apps than its own")
			}
			return err
		}, "local owner admin editor viewer key"},
		"CreateKey": {func(ctx context.Context, _ string) error {
			_, err := o.identity.CreateKey(ctx, connect.NewRequest(&identityv1.CreateKeyRequest{AppId: "shop", Kind: "write"}))
			return err
		}, "local owner admin"},
		"ListKeys": {func(ctx context.Context, _ string) error {
			_, err := o.identity.ListKeys(ctx, connect.NewRequest(&identityv1.ListKeysRequest{}))
			return err
		}, "local owner admin editor viewer"},
		"ListUsers": {func(ctx context.Context, _ string) error {
			_, err := o.identity.ListUsers(ctx, connect.NewRequest(&identityv1.ListUsersRequest{}))
			return err
		}, "local owner admin editor viewer"},
		"Me": {func(ctx context.Context, caller string) error {
			res, err := o.identity.Me(ctx, connect.NewRequest(&identityv1.MeRequest{}))
			if caller == "key" && (err != nil || len(res.Msg.GetWorkspaces()[0].GetApps()) != 1) {
				return errors.New("a key sees other apps than its own")
			}
			return err
		}, "local owner admin editor viewer key"},
		"CreateSignInLink": {func(ctx context.Context, _ string) error {
			_, err := o.identity.CreateSignInLink(ctx, connect.NewRequest(&identityv1.CreateSignInLinkRequest{}))
			return err
		}, "local owner admin editor viewer"},
		"RevokeKey": {func(ctx context.Context, _ string) error {
			_, err := o.identity.RevokeKey(ctx, connect.NewRequest(&identityv1.RevokeKeyRequest{Id: app.GetId()}))
			if fault.Is(err, fault.NotFound) { // allowed, and there is no such key
				return nil
			}
			return err
		}, "local owner admin"},
	}
	for name, tt := range calls {
		for caller, p := range callers {
			err := tt.call(o.as(t, p), caller)
			allowed := strings.Contains(" "+tt.allowed+" ", " "+caller+" ")
			switch {
			case allowed && err != nil:
				t.Errorf("%s by %s: %v", name, caller, err)
			case !allowed && caller == "nobody" && !fault.Is(err, fault.Unauthenticated):
				t.Errorf("%s by nobody: %v, want unauthenticated", name, err)
			case !allowed && caller != "nobody" && !fault.Is(err, fault.Denied):
				t.Errorf("%s by %s: %v, want denied", name, caller, err)
			}
		}
	}
	_, err = o.identity.CreateSignInLink(o.as(t, session(identity.Owner)), connect.NewRequest(&identityv1.CreateSignInLinkRequest{User: "somebody@example.com"}))
	if !fault.Is(err, fault.Denied) {
		t.Errorf("a link for somebody else: %v, want denied", err)
	}
}
