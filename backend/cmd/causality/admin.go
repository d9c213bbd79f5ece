package main

import (
	"context"
	"fmt"

	"connectrpc.com/connect"

	identityv1 "github.com/causality-project/causality/proto/gen/causality/identity/v1"
	tenancyv1 "github.com/causality-project/causality/proto/gen/causality/tenancy/v1"
)

// listing is what commands that list things share.
type listing struct {
	Format string `name:"format" default:"table" enum:"table,csv,json" help:"table, csv or json."`
}

type appsCommand struct {
	Create appsCreate `cmd:"" help:"Create an app and print its id."`
	List   appsList   `cmd:"" help:"List the apps."`
	Update appsUpdate `cmd:"" help:"Change an app's name, time zone, IP policy or retention."`
}

type appsCreate struct {
	connection
	Name     string `arg:"" help:"Name, unique in the workspace."`
	TimeZone string `name:"time-zone" placeholder:"ZONE" help:"IANA time zone of its days, such as Europe/Berlin (default: UTC)."`
}

func (c *appsCreate) Run(ctx context.Context, t *terminal) error {
	s, err := c.open(ctx)
	if err != nil {
		return err
	}
	answer, err := s.tenancy().CreateApp(ctx, connect.NewRequest(&tenancyv1.CreateAppRequest{Name: c.Name, TimeZone: c.TimeZone}))
	if err != nil {
		return err
	}
	_, err = fmt.Fprintln(t.Out, answer.Msg.GetApp().GetId())
	return err
}

type appsList struct {
	connection
	listing
}

func (c *appsList) Run(ctx context.Context, t *terminal) error {
	s, err := c.open(ctx)
	if err != nil {
		return err
	}
	answer, err := s.tenancy().ListApps(ctx, connect.NewRequest(&tenancyv1.ListAppsRequest{}))
	if err != nil {
		return err
	}
	list := table{columns: []string{"id", "name", "time_zone", "ip_policy", "retention_days", "created_at"}}
	for _, a := range answer.Msg.GetApps() {
		list.rows = append(list.rows, []string{a.GetId(), a.GetName(), a.GetTimeZone(), a.GetIpPolicy(), fmt.Sprint(a.GetRetentionDays()), a.GetCreatedAt()})
	}
	return list.print(t.Out, c.Format)
}

type appsUpdate struct {
	connection
	App      string  `arg:"" help:"Id or name."`
	Name     *string `name:"name" placeholder:"NAME" help:"New name."`
	TimeZone *string `name:"time-zone" placeholder:"ZONE" help:"New IANA time zone."`
	IPPolicy *string `name:"ip-policy" placeholder:"POLICY" help:"keep, truncate or drop people's addresses."`
	Days     *int32  `name:"retention-days" placeholder:"N" help:"Remove events N days after their time, from 1 to 36500; 0 keeps them for ever."`
}

func (c *appsUpdate) Run(ctx context.Context, t *terminal) error {
	if c.Name == nil && c.TimeZone == nil && c.IPPolicy == nil && c.Days == nil {
		return usagef("nothing to change: give --name, --time-zone, --ip-policy or --retention-days")
	}
	s, err := c.open(ctx)
	if err != nil {
		return err
	}
	answer, err := s.tenancy().UpdateApp(ctx, connect.NewRequest(&tenancyv1.UpdateAppRequest{
		AppId: c.App, Name: c.Name, TimeZone: c.TimeZone, IpPolicy: c.IPPolicy, RetentionDays: c.Days,
	}))
	if err != nil {
		return err
	}
	a := answer.Msg.GetApp()
	kept := "kept for ever"
	if a.GetRetentionDays() > 0 {
		kept = fmt.Sprintf("removed after %d days", a.GetRetentionDays())
	}
	t.note("%s is now named %s, in %s, IP policy %s, events %s", a.GetId(), a.GetName(), a.GetTimeZone(), a.GetIpPolicy(), kept)
	return nil
}

type keysCommand struct {
	Create keysCreate `cmd:"" help:"Create a key and print it; a secret key is shown this once."`
	List   keysList   `cmd:"" help:"List the keys."`
	Rotate keysRotate `cmd:"" help:"Print a successor of a key, which stays valid for a while."`
	Revoke keysRevoke `cmd:"" help:"Refuse a key from now on."`
}

type keysCreate struct {
	connection
	App       string   `name:"app" required:"" placeholder:"APP" help:"Id or name of the app."`
	Kind      string   `name:"kind" required:"" enum:"write,secret" placeholder:"write|secret" help:"write keys send events and may be public; secret keys also read."`
	Name      string   `name:"name" placeholder:"NAME" help:"What it is for."`
	RateLimit *float64 `name:"rate-limit" placeholder:"N" help:"Events a second; 0 for no limit (default: 5000)."`
}

func (c *keysCreate) Run(ctx context.Context, t *terminal) error {
	s, err := c.open(ctx)
	if err != nil {
		return err
	}
	answer, err := s.identity().CreateKey(ctx, connect.NewRequest(&identityv1.CreateKeyRequest{
		AppId: c.App, Kind: c.Kind, Name: c.Name, RateLimit: c.RateLimit,
	}))
	if err != nil {
		return err
	}
	_, err = fmt.Fprintln(t.Out, answer.Msg.GetSecret())
	return err
}

type keysList struct {
	connection
	listing
	App string `name:"app" placeholder:"APP" help:"Only of this app, by id or name."`
}

func (c *keysList) Run(ctx context.Context, t *terminal) error {
	s, err := c.open(ctx)
	if err != nil {
		return err
	}
	answer, err := s.identity().ListKeys(ctx, connect.NewRequest(&identityv1.ListKeysRequest{AppId: c.App}))
	if err != nil {
		return err
	}
	list := table{columns: []string{"id", "app", "kind", "name", "key", "created_at", "last_used_at", "expires_at", "revoked_at", "rate_limit"}}
	for _, k := range answer.Msg.GetKeys() {
		list.rows = append(list.rows, []string{
			k.GetId(), k.GetAppName(), k.GetKind(), k.GetName(), k.GetDisplay(), k.GetCreatedAt(), k.GetLastUsedAt(),
			k.GetExpiresAt(), k.GetRevokedAt(), fmt.Sprint(k.GetRateLimit()),
		})
	}
	return list.print(t.Out, c.Format)
}

type keysRotate struct {
	connection
	ID      string `arg:"" help:"Id of the key, from keys list."`
	Overlap string `name:"overlap" placeholder:"DURATION" help:"How long the old key stays valid (default: 24h)."`
}

func (c *keysRotate) Run(ctx context.Context, t *terminal) error {
	s, err := c.open(ctx)
	if err != nil {
		return err
	}
	answer, err := s.identity().RotateKey(ctx, connect.NewRequest(&identityv1.RotateKeyRequest{Id: c.ID, Overlap: c.Overlap}))
	if err != nil {
		return err
	}
	_, err = fmt.Fprintln(t.Out, answer.Msg.GetSecret())
	return err
}

type keysRevoke struct {
	connection
	ID string `arg:"" help:"Id of the key, from keys list."`
}

func (c *keysRevoke) Run(ctx context.Context, t *terminal) error {
	s, err := c.open(ctx)
	if err != nil {
		return err
	}
	answer, err := s.identity().RevokeKey(ctx, connect.NewRequest(&identityv1.RevokeKeyRequest{Id: c.ID}))
	if err != nil {
		return err
	}
	t.note("%s is refused since %s", answer.Msg.GetKey().GetDisplay(), answer.Msg.GetKey().GetRevokedAt())
	return nil
}

type usersCommand struct {
	List usersList `cmd:"" help:"List the people of the workspace."`
	Link usersLink `cmd:"" help:"Print a link that signs somebody in, once."`
}

type usersList struct {
	connection
	listing
}

func (c *usersList) Run(ctx context.Context, t *terminal) error {
	s, err := c.open(ctx)
	if err != nil {
		return err
	}
	answer, err := s.identity().ListUsers(ctx, connect.NewRequest(&identityv1.ListUsersRequest{}))
	if err != nil {
		return err
	}
	list := table{columns: []string{"id", "name", "email", "role", "created_at"}}
	for _, u := range answer.Msg.GetUsers() {
		list.rows = append(list.rows, []string{u.GetId(), u.GetName(), u.GetEmail(), u.GetRole(), u.GetCreatedAt()})
	}
	return list.print(t.Out, c.Format)
}

type usersLink struct {
	connection
	User string `arg:"" optional:"" help:"Id or e-mail address (default: the owner)."`
}

func (c *usersLink) Run(ctx context.Context, t *terminal) error {
	s, err := c.open(ctx)
	if err != nil {
		return err
	}
	answer, err := s.identity().CreateSignInLink(ctx, connect.NewRequest(&identityv1.CreateSignInLinkRequest{User: c.User}))
	if err != nil {
		return err
	}
	t.note("valid once, until %s", answer.Msg.GetExpiresAt())
	_, err = fmt.Fprintln(t.Out, answer.Msg.GetUrl())
	return err
}
