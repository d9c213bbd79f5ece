// Package identityrpc serves IdentityService. It translates between protobuf
// and package identity, and says who may call what.
package identityrpc

import (
	"context"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"time"

	"connectrpc.com/connect"
	"github.com/causality-project/causality/backend/internal/account/identity"
	"github.com/causality-project/causality/backend/internal/account/tenancy"
	"github.com/causality-project/causality/backend/internal/platform/fault"
	identityv1 "github.com/causality-project/causality/proto/gen/causality/identity/v1"
	"github.com/causality-project/causality/proto/gen/causality/identity/v1/identityv1connect"
)

// Config is what the service works with; every field is required.
type Config struct {
	Users *identity.Users
	Keys  *identity.Keys
	Apps  *tenancy.Apps
	// PublicURL returns where people reach this installation: links point there,
	// and the session cookie is Secure when it is https. A function, because the
	// port may be known only once the server listens.
	PublicURL func() string
}

// Handler implements IdentityService.
type Handler struct{ cfg Config }

var _ identityv1connect.IdentityServiceHandler = (*Handler)(nil)

// New makes the handler.
func New(cfg Config) *Handler { return &Handler{cfg: cfg} }

// SignIn needs no principal: the token is what the caller shows.
func (h *Handler) SignIn(ctx context.Context, req *connect.Request[identityv1.SignInRequest]) (*connect.Response[identityv1.SignInResponse], error) {
	token := strings.TrimSpace(req.Msg.GetToken())
	if token == "" || len(token) > 256 {
		return nil, fault.InvalidField("token", "is missing or not one of ours; open the whole sign-in link")
	}
	session, err := h.cfg.Users.SignIn(ctx, token, req.Header().Get("User-Agent"))
	if err != nil {
		return nil, err
	}
	res := connect.NewResponse(&identityv1.SignInResponse{User: userToProto(session.User)})
	h.setCookie(res.Header(), session.Token, session.Expires)
	return res, nil
}

func (h *Handler) SignOut(ctx context.Context, req *connect.Request[identityv1.SignOutRequest]) (*connect.Response[identityv1.SignOutResponse], error) {
	if cookie, err := (&http.Request{Header: req.Header()}).Cookie(identity.CookieName); err == nil {
		if err := h.cfg.Users.SignOut(ctx, cookie.Value); err != nil {
			return nil, err
		}
	}
	res := connect.NewResponse(&identityv1.SignOutResponse{})
	h.setCookie(res.Header(), "", time.Unix(1, 0))
	return res, nil
}

func (h *Handler) setCookie(header http.Header, value string, expires time.Time) {
	cookie := &http.Cookie{
		Name: identity.CookieName, Value: value, Path: "/", Expires: expires,
		HttpOnly: true, SameSite: http.SameSiteLaxMode,
		Secure: strings.HasPrefix(strings.ToLower(h.cfg.PublicURL()), "https://"),
	}
	if value == "" {
		cookie.MaxAge = -1
	}
	header.Add("Set-Cookie", cookie.String())
}

func (h *Handler) Me(ctx context.Context, _ *connect.Request[identityv1.MeRequest]) (*connect.Response[identityv1.MeResponse], error) {
	p, err := principal(ctx)
	if err != nil {
		return nil, err
	}
	res := &identityv1.MeResponse{}
	var workspaces []identity.Workspace
	switch p.Kind {
	case identity.Session:
		user, err := h.cfg.Users.User(ctx, p.UserID)
		if err != nil {
			return nil, err
		}
		user.Role = p.Role
		res.User = userToProto(user)
		if workspaces, err = h.cfg.Users.Workspaces(ctx, p.UserID); err != nil {
			return nil, err
		}
	default: // the socket and keys reach one workspace
		workspace, err := h.cfg.Users.Workspace(ctx, p.WorkspaceID)
		if err != nil {
			return nil, err
		}
		workspace.Role = p.Role
		workspaces = []identity.Workspace{workspace}
		if p.Kind == identity.Local {
			owner, err := h.cfg.Users.Owner(ctx, p.WorkspaceID)
			if err != nil {
				return nil, err
			}
			res.User = userToProto(owner)
		}
	}
	for _, workspace := range workspaces {
		apps, err := h.cfg.Apps.List(tenancy.WithWorkspace(ctx, workspace.ID))
		if err != nil {
			return nil, err
		}
		out := &identityv1.Workspace{Id: workspace.ID, Name: workspace.Name, Slug: workspace.Slug, Role: workspace.Role}
		for _, app := range apps {
			if p.AppID == "" || p.AppID == app.ID {
				out.Apps = append(out.Apps, &identityv1.App{Id: app.ID, Name: app.Name, TimeZone: app.TimeZone})
			}
		}
		res.Workspaces = append(res.Workspaces, out)
	}
	return connect.NewResponse(res), nil
}

// CreateSignInLink is for the machine's owner, who may sign in as anybody, and
// for people who sign in on another device. An owner of one workspace must not
// become a person who also sees another.
func (h *Handler) CreateSignInLink(ctx context.Context, req *connect.Request[identityv1.CreateSignInLinkRequest]) (*connect.Response[identityv1.CreateSignInLinkResponse], error) {
	p, err := principal(ctx)
	if err != nil {
		return nil, err
	}
	var user identity.User
	switch who := strings.TrimSpace(req.Msg.GetUser()); {
	case p.Kind == identity.Local && who == "":
		user, err = h.cfg.Users.Owner(ctx, p.WorkspaceID)
	case p.Kind == identity.Local:
		user, err = h.cfg.Users.User(ctx, who)
	case p.Kind == identity.Session:
		user, err = h.cfg.Users.User(ctx, p.UserID)
		if err == nil && who != "" && !strings.EqualFold(who, user.ID) && !strings.EqualFold(who, user.Email) {
			err = fault.New(fault.Denied, "You can make a sign-in link for yourself only. For others, use the command line on the server: causality users link")
		}
	default:
		err = fault.New(fault.Denied, "A key cannot make sign-in links. Use the command line on the server: causality users link")
	}
	if err != nil {
		return nil, err
	}
	token, expires, err := h.cfg.Users.CreateSignInLink(ctx, user.ID, identity.LinkValidity)
	if err != nil {
		return nil, err
	}
	return connect.NewResponse(&identityv1.CreateSignInLinkResponse{
		Url: identity.SignInURL(h.cfg.PublicURL(), token), ExpiresAt: timeToProto(expires),
	}), nil
}

func (h *Handler) ListUsers(ctx context.Context, _ *connect.Request[identityv1.ListUsersRequest]) (*connect.Response[identityv1.ListUsersResponse], error) {
	p, err := principal(ctx)
	if err != nil {
		return nil, err
	}
	if p.AppID != "" {
		return nil, fault.New(fault.Denied, "A key cannot list people. Sign in, or use the command line on the server")
	}
	members, err := h.cfg.Users.Members(ctx)
	if err != nil {
		return nil, err
	}
	res := &identityv1.ListUsersResponse{}
	for _, member := range members {
		res.Users = append(res.Users, userToProto(member))
	}
	return connect.NewResponse(res), nil
}

func (h *Handler) CreateKey(ctx context.Context, req *connect.Request[identityv1.CreateKeyRequest]) (*connect.Response[identityv1.CreateKeyResponse], error) {
	if err := identity.RequireManager(ctx, "create keys"); err != nil {
		return nil, err
	}
	app, err := identity.App(ctx, h.cfg.Apps, req.Msg.GetAppId())
	if err != nil {
		return nil, err
	}
	info, text, err := h.cfg.Keys.Create(ctx, app, identity.NewKey{Kind: req.Msg.GetKind(), Name: req.Msg.GetName(), RateLimit: req.Msg.RateLimit})
	if err != nil {
		return nil, err
	}
	return connect.NewResponse(&identityv1.CreateKeyResponse{Key: keyToProto(info), Secret: text}), nil
}

func (h *Handler) ListKeys(ctx context.Context, req *connect.Request[identityv1.ListKeysRequest]) (*connect.Response[identityv1.ListKeysResponse], error) {
	p, err := principal(ctx)
	if err != nil {
		return nil, err
	}
	if p.AppID != "" {
		return nil, fault.New(fault.Denied, "A key cannot list keys. Sign in, or use the command line on the server")
	}
	var appID string
	if which := req.Msg.GetAppId(); which != "" {
		app, err := identity.App(ctx, h.cfg.Apps, which)
		if err != nil {
			return nil, err
		}
		appID = app.ID
	}
	keys, err := h.cfg.Keys.List(ctx, appID)
	if err != nil {
		return nil, err
	}
	res := &identityv1.ListKeysResponse{}
	for _, key := range keys {
		res.Keys = append(res.Keys, keyToProto(key))
	}
	return connect.NewResponse(res), nil
}

func (h *Handler) RotateKey(ctx context.Context, req *connect.Request[identityv1.RotateKeyRequest]) (*connect.Response[identityv1.RotateKeyResponse], error) {
	if err := identity.RequireManager(ctx, "rotate keys"); err != nil {
		return nil, err
	}
	overlap, err := parseOverlap(req.Msg.GetOverlap())
	if err != nil {
		return nil, err
	}
	info, text, err := h.cfg.Keys.Rotate(ctx, req.Msg.GetId(), overlap)
	if err != nil {
		return nil, err
	}
	return connect.NewResponse(&identityv1.RotateKeyResponse{Key: keyToProto(info), Secret: text}), nil
}

func (h *Handler) RevokeKey(ctx context.Context, req *connect.Request[identityv1.RevokeKeyRequest]) (*connect.Response[identityv1.RevokeKeyResponse], error) {
	if err := identity.RequireManager(ctx, "revoke keys"); err != nil {
		return nil, err
	}
	info, err := h.cfg.Keys.Revoke(ctx, req.Msg.GetId())
	if err != nil {
		return nil, err
	}
	return connect.NewResponse(&identityv1.RevokeKeyResponse{Key: keyToProto(info)}), nil
}

// parseOverlap reads the protocol's durations: a whole number with one unit.
func parseOverlap(text string) (time.Duration, error) {
	if text == "" {
		return identity.DefaultOverlap, nil
	}
	units := map[byte]time.Duration{'s': time.Second, 'm': time.Minute, 'h': time.Hour, 'd': 24 * time.Hour, 'w': 7 * 24 * time.Hour}
	unit, known := units[text[len(text)-1]]
	n, err := strconv.ParseUint(text[:len(text)-1], 10, 32)
	if !known || err != nil || n > uint64(1000*24*time.Hour/unit) {
		return 0, fault.InvalidField("overlap", "%q is no duration; write a whole number with a unit, such as 24h or 7d", text)
	}
	return time.Duration(n) * unit, nil
}

func principal(ctx context.Context) (identity.Principal, error) {
	p, ok := identity.FromContext(ctx)
	if !ok {
		return p, fault.Wrap(fmt.Errorf("no principal in context"), fault.Unauthenticated, "Sign in first")
	}
	return p, nil
}

func userToProto(u identity.User) *identityv1.User {
	return &identityv1.User{Id: u.ID, Email: u.Email, Name: u.Name, CreatedAt: timeToProto(u.CreatedAt), Role: u.Role}
}

func keyToProto(k identity.KeyInfo) *identityv1.Key {
	return &identityv1.Key{
		Id: k.ID, AppId: k.AppID, AppName: k.AppName, Kind: k.Kind, Name: k.Name, Display: k.Display, RateLimit: k.RateLimit,
		CreatedAt: timeToProto(k.CreatedAt), LastUsedAt: timeToProto(k.LastUsedAt), RevokedAt: timeToProto(k.RevokedAt), ExpiresAt: timeToProto(k.ExpiresAt),
	}
}

// timeToProto writes RFC 3339 in UTC, and a missing time as "".
func timeToProto(t time.Time) string {
	if t.IsZero() {
		return ""
	}
	return t.UTC().Format(time.RFC3339Nano)
}
