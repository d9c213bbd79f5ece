package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"path/filepath"
	"strings"
	"time"

	"github.com/causality-project/causality/backend/internal/server/app"
	"github.com/causality-project/causality/proto/gen/causality/health/v1/healthv1connect"
	"github.com/causality-project/causality/proto/gen/causality/identity/v1/identityv1connect"
	"github.com/causality-project/causality/proto/gen/causality/ingest/v1/ingestv1connect"
	"github.com/causality-project/causality/proto/gen/causality/insights/v1/insightsv1connect"
	"github.com/causality-project/causality/proto/gen/causality/lake/v1/lakev1connect"
	"github.com/causality-project/causality/proto/gen/causality/query/v1/queryv1connect"
	"github.com/causality-project/causality/proto/gen/causality/tenancy/v1/tenancyv1connect"
)

// connection says which server a command talks to: the one that serves a data
// directory of this machine, or any by its address and a key.
type connection struct {
	Data      string `name:"data" env:"CAUSALITY_DATA" placeholder:"DIR" help:"Data directory of the server on this machine (default: ${data_default})."`
	Server    string `name:"server" env:"CAUSALITY_SERVER" placeholder:"URL" help:"Address of a server elsewhere; needs --key."`
	Key       string `name:"key" env:"CAUSALITY_KEY" placeholder:"sk_…" help:"Secret key for --server."`
	Workspace string `name:"workspace" env:"CAUSALITY_WORKSPACE" placeholder:"NAME" help:"Workspace, by id or slug (default: default)."`
}

// startPatience is how long a command waits for a server that is just starting.
const startPatience = 15 * time.Second

// server is an open way to a server.
type server struct {
	http *http.Client
	base string
}

func (c connection) open(ctx context.Context) (*server, error) {
	if c.Server == "" {
		if c.Key != "" {
			return nil, usagef("--key is for a server elsewhere: give --server URL too, or leave --key out")
		}
		return c.openLocal(ctx)
	}
	address, err := url.Parse(strings.TrimRight(c.Server, "/"))
	if err != nil || (address.Scheme != "http" && address.Scheme != "https") || address.Host == "" {
		return nil, usagef("--server %s: give an address such as https://causality.example.com", c.Server)
	}
	if c.Key == "" {
		return nil, usagef("--server needs --key: make one with causality keys create --app APP --kind secret on the server")
	}
	transport := http.DefaultTransport.(*http.Transport).Clone() // the standard library's own
	return &server{http: &http.Client{Transport: headers{transport, c.Key, c.Workspace}}, base: address.String()}, nil
}

func (c connection) openLocal(ctx context.Context) (*server, error) {
	data := c.Data
	if data == "" {
		data = app.DefaultDataDir("causality")
	}
	data, err := filepath.Abs(data)
	if err != nil {
		return nil, usagef("--data %s: %v", c.Data, err)
	}
	socket := app.SocketPath(data)
	dial := func(ctx context.Context, _, _ string) (net.Conn, error) {
		return (&net.Dialer{}).DialContext(ctx, "unix", socket)
	}
	if err := waitForSocket(ctx, data, dial); err != nil {
		return nil, err
	}
	transport := &http.Transport{DialContext: dial, MaxIdleConnsPerHost: 8, DisableCompression: true}
	return &server{http: &http.Client{Transport: headers{transport, "", c.Workspace}}, base: "http://local"}, nil
}

// waitForSocket tells at once when nobody serves the directory, and waits a
// little for a server that is starting.
func waitForSocket(ctx context.Context, data string, dial func(context.Context, string, string) (net.Conn, error)) error {
	for deadline := time.Now().Add(startPatience); ; {
		conn, err := dial(ctx, "", "")
		if err == nil {
			return conn.Close()
		}
		if ctx.Err() != nil {
			return ctx.Err()
		}
		if app.Locked(data) == "" {
			return errors.New("no server is running on " + data + "; start it with: causality serve --data " + data)
		}
		if time.Now().After(deadline) {
			return errors.New("a server holds " + data + " but does not answer: " + err.Error() + "; its log says why")
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(50 * time.Millisecond):
		}
	}
}

// headers says who asks and for which workspace.
type headers struct {
	next           http.RoundTripper
	key, workspace string
}

func (h headers) RoundTrip(r *http.Request) (*http.Response, error) {
	r = r.Clone(r.Context())
	if h.key != "" {
		r.Header.Set("Authorization", "Bearer "+h.key)
	}
	if h.workspace != "" {
		r.Header.Set("Causality-Workspace", h.workspace)
	}
	response, err := h.next.RoundTrip(r)
	if err != nil && h.key != "" && r.Context().Err() == nil {
		err = fmt.Errorf("the server at %s cannot be reached; check --server, and that it runs: %w", r.URL.Host, err)
	}
	return response, err
}

func (s *server) ingest() ingestv1connect.IngestServiceClient {
	return ingestv1connect.NewIngestServiceClient(s.http, s.base)
}

func (s *server) identity() identityv1connect.IdentityServiceClient {
	return identityv1connect.NewIdentityServiceClient(s.http, s.base)
}

func (s *server) tenancy() tenancyv1connect.TenancyServiceClient {
	return tenancyv1connect.NewTenancyServiceClient(s.http, s.base)
}

func (s *server) query() queryv1connect.QueryServiceClient {
	return queryv1connect.NewQueryServiceClient(s.http, s.base)
}

func (s *server) insights() insightsv1connect.InsightsServiceClient {
	return insightsv1connect.NewInsightsServiceClient(s.http, s.base)
}

func (s *server) lake() lakev1connect.LakeServiceClient {
	return lakev1connect.NewLakeServiceClient(s.http, s.base)
}

func (s *server) health() healthv1connect.HealthServiceClient {
	return healthv1connect.NewHealthServiceClient(s.http, s.base)
}
