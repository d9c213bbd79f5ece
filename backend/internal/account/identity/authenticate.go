package identity

import (
	"context"
	"net/http"
	"strings"

	"github.com/causality-project/causality/backend/internal/platform/fault"
)

const (
	// CookieName holds a session's token.
	CookieName = "causality_session"
	// WorkspaceHeader selects a workspace by id or slug; membership decides.
	WorkspaceHeader = "Causality-Workspace"

	maxToken = 256 // bytes of a credential that is worth reading
)

type localKey struct{}

// WithLocal marks a connection through the socket in the data directory. Who
// can open that socket owns the installation. For http.Server.ConnContext of
// that listener, and nothing else.
func WithLocal(ctx context.Context) context.Context { return context.WithValue(ctx, localKey{}, true) }

// Authenticator tells who sent a request.
type Authenticator struct {
	users *Users
	keys  *Keys
}

// NewAuthenticator asks users about sessions and keys about keys.
func NewAuthenticator(users *Users, keys *Keys) *Authenticator {
	return &Authenticator{users: users, keys: keys}
}

// FromRequest tells who sent r and which workspace it is about: by a secret
// key, else by the session cookie, else by the socket. It fails with
// fault.Unauthenticated when r shows none of them or none that is valid, and
// with fault.Denied when what it shows is known and does not reach that far.
func (a *Authenticator) FromRequest(ctx context.Context, r *http.Request) (Principal, error) {
	wanted := strings.TrimSpace(r.Header.Get(WorkspaceHeader))
	if header := r.Header.Get("Authorization"); header != "" {
		scheme, raw, _ := strings.Cut(header, " ")
		if !strings.EqualFold(scheme, "Bearer") {
			return Principal{}, fault.New(fault.Unauthenticated, "Send the key as: Authorization: Bearer sk_…")
		}
		return a.byKey(ctx, strings.TrimSpace(raw), wanted)
	}
	if cookie, err := r.Cookie(CookieName); err == nil && cookie.Value != "" && len(cookie.Value) <= maxToken {
		return a.bySession(ctx, cookie.Value, wanted)
	}
	if local, _ := ctx.Value(localKey{}).(bool); local {
		if wanted == "" {
			wanted = DefaultWorkspace
		}
		workspace, err := a.users.Workspace(ctx, wanted)
		if err != nil {
			return Principal{}, err
		}
		return Principal{Kind: Local, WorkspaceID: workspace.ID, Role: Owner}, nil
	}
	return Principal{}, errNobody()
}

func (a *Authenticator) byKey(ctx context.Context, raw, wanted string) (Principal, error) {
	key, err := a.keys.Find(ctx, raw)
	if err != nil {
		return Principal{}, err
	}
	if key.Kind != "secret" {
		return Principal{}, fault.New(fault.Denied, "A write key can only send events. Use a secret key (sk_…): causality keys create --app APP --kind secret")
	}
	if wanted != "" && !strings.EqualFold(wanted, key.WorkspaceID) {
		workspace, err := a.users.Workspace(ctx, wanted)
		if err != nil {
			return Principal{}, err
		}
		if workspace.ID != key.WorkspaceID {
			return Principal{}, errNoWorkspace(wanted)
		}
	}
	return Principal{Kind: SecretKey, WorkspaceID: key.WorkspaceID, AppID: key.AppID, KeyID: key.ID}, nil
}

func (a *Authenticator) bySession(ctx context.Context, token, wanted string) (Principal, error) {
	userID, workspaces, err := a.users.session(ctx, token)
	if err != nil {
		return Principal{}, err
	}
	for _, workspace := range workspaces {
		if wanted == "" || strings.EqualFold(wanted, workspace.ID) || strings.EqualFold(wanted, workspace.Slug) {
			return Principal{Kind: Session, UserID: userID, WorkspaceID: workspace.ID, Role: workspace.Role}, nil
		}
	}
	if wanted == "" {
		return Principal{}, fault.New(fault.Denied, "You are not a member of any workspace. Ask an owner to add you")
	}
	return Principal{}, errNoWorkspace(wanted)
}
