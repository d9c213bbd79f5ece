// Package identity knows who is asking: people by their session, programs by
// their key, and whoever sits on the machine itself by the socket. It owns
// users, sessions, sign-in links and keys, and says what each may do. It
// refuses to know what they ask for.
package identity

import (
	"context"

	"github.com/causality-project/causality/backend/internal/account/tenancy"
	"github.com/causality-project/causality/backend/internal/platform/fault"
)

// PrincipalKind says how a caller showed who it is.
type PrincipalKind uint8

const (
	Anonymous PrincipalKind = iota
	Local                   // through the socket in the data directory: the owner
	Session                 // a person in a browser
	SecretKey               // a program; it acts for its own app
	WriteKey                // ingest only
)

func (k PrincipalKind) String() string {
	return [...]string{"anonymous", "local", "session", "secret key", "write key"}[min(int(k), 4)]
}

// Roles, by falling power.
const (
	Owner  = "owner"
	Admin  = "admin"
	Editor = "editor"
	Viewer = "viewer"
)

// Principal is who asks, in one workspace.
type Principal struct {
	Kind        PrincipalKind
	UserID      string // of a session
	WorkspaceID string
	AppID       string // of a key
	KeyID       string // of a key
	Role        string // in the workspace; empty for keys
}

type principalKey struct{}

// WithPrincipal returns ctx on behalf of p.
func WithPrincipal(ctx context.Context, p Principal) context.Context {
	return context.WithValue(ctx, principalKey{}, p)
}

// FromContext returns on whose behalf ctx is.
func FromContext(ctx context.Context) (Principal, bool) {
	p, ok := ctx.Value(principalKey{}).(Principal)
	return p, ok && p.Kind != Anonymous
}

// MayManage reports whether p may manage keys, apps and people.
func (p Principal) MayManage() bool { return p.Role == Owner || p.Role == Admin }

// RequireManager refuses callers who may not manage; what names the deed, as in
// "create keys".
func RequireManager(ctx context.Context, what string) error {
	p, ok := FromContext(ctx)
	switch {
	case !ok:
		return errNobody()
	case p.MayManage():
		return nil
	case p.Kind == SecretKey || p.Kind == WriteKey:
		return fault.New(fault.Denied, "A key cannot %s. Sign in to the web app as an owner or admin, or use the command line on the server", what)
	default:
		return fault.New(fault.Denied, "Your role %q may not %s. Ask an owner or admin of this workspace", p.Role, what)
	}
}

// AppGetter finds an app of the workspace in scope; tenancy.Apps is one.
type AppGetter interface {
	Get(ctx context.Context, idOrName string) (tenancy.App, error)
}

// App finds the app that a request names by id or name, if the caller may use
// it: a secret key only its own, which it need not name.
func App(ctx context.Context, apps AppGetter, idOrName string) (tenancy.App, error) {
	p, ok := FromContext(ctx)
	if !ok {
		return tenancy.App{}, errNobody()
	}
	if p.AppID == "" {
		return apps.Get(ctx, idOrName)
	}
	own, err := apps.Get(ctx, p.AppID)
	if err != nil {
		return tenancy.App{}, err
	}
	if idOrName == "" || idOrName == own.ID || idOrName == own.Name {
		return own, nil
	}
	// Whether the other app exists is not this key's to know.
	return tenancy.App{}, fault.New(fault.Denied, "This key belongs to the app %q and cannot read %q. Use a key of that app", own.Name, idOrName)
}

func errNobody() error {
	return fault.New(fault.Unauthenticated, "Sign in, or send a secret key: Authorization: Bearer sk_…")
}
