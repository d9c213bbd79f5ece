package web

import (
	"context"
	"net/http"
	"slices"
	"strings"

	"connectrpc.com/connect"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"

	"github.com/causality-project/causality/backend/internal/account/identity"
	"github.com/causality-project/causality/backend/internal/account/tenancy"
	"github.com/causality-project/causality/backend/internal/platform/fault"

	"github.com/causality-project/causality/proto/gen/causality/catalog/v1/catalogv1connect"
	"github.com/causality-project/causality/proto/gen/causality/health/v1/healthv1connect"
	"github.com/causality-project/causality/proto/gen/causality/identity/v1/identityv1connect"
	"github.com/causality-project/causality/proto/gen/causality/insights/v1/insightsv1connect"
	"github.com/causality-project/causality/proto/gen/causality/lake/v1/lakev1connect"
	"github.com/causality-project/causality/proto/gen/causality/query/v1/queryv1connect"
	tenancyv1 "github.com/causality-project/causality/proto/gen/causality/tenancy/v1"
	"github.com/causality-project/causality/proto/gen/causality/tenancy/v1/tenancyv1connect"
)

// rule says who may call a procedure. A procedure without a rule is refused to
// everybody, so that a new one is closed until somebody decides.
type rule struct {
	public bool   // no principal at all
	role   string // the least role of a person
	keys   bool   // secret keys too, for the app that they belong to
}

var (
	viewer = rule{role: identity.Viewer}
	editor = rule{role: identity.Editor}
	admin  = rule{role: identity.Admin}
	owner  = rule{role: identity.Owner}
	// question is asked of one app, by a person or a program.
	question = rule{role: identity.Viewer, keys: true}
)

// rules lists every procedure but IngestService/Ingest, which is mounted apart:
// its key is found on its own hot path.
var rules = map[string]rule{
	identityv1connect.IdentityServiceSignInProcedure:           {public: true},
	identityv1connect.IdentityServiceSignOutProcedure:          viewer,
	identityv1connect.IdentityServiceMeProcedure:               viewer,
	identityv1connect.IdentityServiceListUsersProcedure:        viewer,
	identityv1connect.IdentityServiceCreateSignInLinkProcedure: owner,
	identityv1connect.IdentityServiceListKeysProcedure:         viewer,
	identityv1connect.IdentityServiceCreateKeyProcedure:        admin,
	identityv1connect.IdentityServiceRotateKeyProcedure:        admin,
	identityv1connect.IdentityServiceRevokeKeyProcedure:        admin,

	tenancyv1connect.TenancyServiceListAppsProcedure:  question, // a key sees its own app, see ownApps
	tenancyv1connect.TenancyServiceCreateAppProcedure: admin,
	tenancyv1connect.TenancyServiceUpdateAppProcedure: admin,

	catalogv1connect.CatalogServiceListEventsProcedure:     question,
	catalogv1connect.CatalogServiceListPropertiesProcedure: question,
	catalogv1connect.CatalogServiceListValuesProcedure:     question,
	catalogv1connect.CatalogServiceListRejectedProcedure:   question,
	catalogv1connect.CatalogServicePromoteProcedure:        editor,
	catalogv1connect.CatalogServiceDemoteProcedure:         editor,
	catalogv1connect.CatalogServiceListPromotionsProcedure: question,

	queryv1connect.QueryServiceRunProcedure:    question,
	queryv1connect.QueryServiceExportProcedure: question,
	queryv1connect.QueryServiceSchemaProcedure: question,

	insightsv1connect.InsightsServiceQueryTrendProcedure: question,

	healthv1connect.HealthServiceReportProcedure: question,

	lakev1connect.LakeServiceVerifyProcedure:  owner,
	lakev1connect.LakeServiceRebuildProcedure: owner,
	lakev1connect.LakeServiceCompactProcedure: owner,
	lakev1connect.LakeServiceCollectProcedure: owner,
	lakev1connect.LakeServiceStatsProcedure:   admin,
	lakev1connect.LakeServicePublishProcedure: owner,

	lakev1connect.LakeServiceEraseProcedure:             admin,
	lakev1connect.LakeServiceListErasuresProcedure:      admin,
	lakev1connect.LakeServiceGetReceiptProcedure:        admin,
	lakev1connect.LakeServiceListDeadLettersProcedure:   admin,
	lakev1connect.LakeServiceReplayDeadLettersProcedure: admin,
	lakev1connect.LakeServiceDropDeadLettersProcedure:   owner,
}

var ranks = map[string]int{identity.Viewer: 1, identity.Editor: 2, identity.Admin: 3, identity.Owner: 4}

// Authenticator finds who is asking. identity implements it.
type Authenticator interface {
	FromRequest(ctx context.Context, r *http.Request) (identity.Principal, error)
}

// Apps resolves the app that a request names. tenancy implements it.
type Apps interface {
	Get(ctx context.Context, idOrName string) (tenancy.App, error)
}

// guard admits a call by its procedure's rule and binds the caller's workspace
// to the context.
type guard struct {
	auth Authenticator
	apps Apps
}

func (g guard) admit(ctx context.Context, procedure string) (context.Context, identity.Principal, error) {
	rule, listed := rules[procedure]
	if !listed {
		return ctx, identity.Principal{}, fault.New(fault.Denied, "nobody may call %s", procedure)
	}
	if rule.public {
		return ctx, identity.Principal{}, nil
	}
	return g.authenticate(ctx, rule)
}

func (g guard) authenticate(ctx context.Context, rule rule) (context.Context, identity.Principal, error) {
	request, ok := ctx.Value(requestKey{}).(*http.Request)
	if !ok {
		return ctx, identity.Principal{}, fault.New(fault.Unauthenticated, "sign in first")
	}
	principal, err := g.auth.FromRequest(ctx, request)
	if err != nil {
		return ctx, identity.Principal{}, err
	}
	if err := rule.allows(principal); err != nil {
		return ctx, identity.Principal{}, err
	}
	ctx = identity.WithPrincipal(ctx, principal)
	if principal.WorkspaceID != "" {
		ctx = tenancy.WithWorkspace(ctx, principal.WorkspaceID)
	}
	return ctx, principal, nil
}

func (r rule) allows(p identity.Principal) error {
	switch p.Kind {
	case identity.Local:
		return nil
	case identity.SecretKey:
		if !r.keys {
			return fault.New(fault.Denied, "a secret key may not do this; sign in, or use the command line on the server")
		}
		return nil
	case identity.Session:
		if ranks[p.Role] == 0 || ranks[p.Role] < ranks[r.role] {
			return fault.New(fault.Denied, "this needs the role %s; ask an admin of the workspace", r.role)
		}
		return nil
	default:
		return fault.New(fault.Denied, "a write key can only send events; use a secret key or sign in")
	}
}

// confine holds a secret key to its own app: an empty app_id becomes the key's,
// another one is refused like one that does not exist.
func (g guard) confine(ctx context.Context, principal identity.Principal, message any) error {
	if principal.Kind != identity.SecretKey {
		return nil
	}
	m, ok := message.(proto.Message)
	if !ok {
		return fault.New(fault.Denied, "a secret key may not do this")
	}
	if _, lists := message.(*tenancyv1.ListAppsRequest); lists {
		return nil
	}
	reflected := m.ProtoReflect()
	field := reflected.Descriptor().Fields().ByName("app_id")
	if field == nil || field.Kind() != protoreflect.StringKind {
		return fault.New(fault.Denied, "a secret key may not do this: it belongs to one app")
	}
	wanted := reflected.Get(field).String()
	if wanted != "" && !strings.EqualFold(wanted, principal.AppID) {
		app, err := g.apps.Get(ctx, wanted)
		if fault.Is(err, fault.NotFound) || (err == nil && app.ID != principal.AppID) {
			return fault.New(fault.NotFound, "this key sees no app %q; use a key of that app", wanted)
		}
		if err != nil {
			return err
		}
	}
	reflected.Set(field, protoreflect.ValueOfString(principal.AppID))
	return nil
}

// ownApps leaves a secret key its own app of a list: its time zone is what a
// program needs to read local times.
func ownApps(principal identity.Principal, response connect.AnyResponse) {
	if principal.Kind != identity.SecretKey {
		return
	}
	if list, ok := response.Any().(*tenancyv1.ListAppsResponse); ok {
		list.Apps = slices.DeleteFunc(list.GetApps(), func(app *tenancyv1.App) bool { return app.GetId() != principal.AppID })
	}
}

// confinedStream applies confine to the one request of a server stream.
type confinedStream struct {
	connect.StreamingHandlerConn
	receive func(message any) error
}

func (c confinedStream) Receive(message any) error {
	if err := c.StreamingHandlerConn.Receive(message); err != nil {
		return err
	}
	return c.receive(message)
}
