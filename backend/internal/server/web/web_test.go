package web

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"io/fs"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"testing/fstest"
	"time"

	"connectrpc.com/connect"
	"github.com/prometheus/client_golang/prometheus"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/reflect/protoregistry"

	"github.com/causality-project/causality/backend/internal/account/identity"
	"github.com/causality-project/causality/backend/internal/account/tenancy"
	"github.com/causality-project/causality/backend/internal/platform/fault"

	"github.com/causality-project/causality/proto/gen/causality/catalog/v1/catalogv1connect"
	healthv1 "github.com/causality-project/causality/proto/gen/causality/health/v1"
	"github.com/causality-project/causality/proto/gen/causality/health/v1/healthv1connect"
	"github.com/causality-project/causality/proto/gen/causality/identity/v1/identityv1connect"
	"github.com/causality-project/causality/proto/gen/causality/insights/v1/insightsv1connect"
	lakev1 "github.com/causality-project/causality/proto/gen/causality/lake/v1"
	"github.com/causality-project/causality/proto/gen/causality/lake/v1/lakev1connect"
	queryv1 "github.com/causality-project/causality/proto/gen/causality/query/v1"
	"github.com/causality-project/causality/proto/gen/causality/query/v1/queryv1connect"
	tenancyv1 "github.com/causality-project/causality/proto/gen/causality/tenancy/v1"
	"github.com/causality-project/causality/proto/gen/causality/tenancy/v1/tenancyv1connect"
)

// The rooms behind the doors are not what is tested here: the doors are.
type (
	frontDoor  struct{}
	signedIn   map[string]identity.Principal // by Authorization header
	apps       map[string]tenancy.App
	healthRoom struct {
		healthv1connect.UnimplementedHealthServiceHandler
		report func(context.Context) (*healthv1.ReportResponse, error)
	}
	queryRoom struct {
		queryv1connect.UnimplementedQueryServiceHandler
		ran chan string // the app of each export
	}
	tenancyRoom struct {
		tenancyv1connect.UnimplementedTenancyServiceHandler
	}
	lakeRoom struct {
		lakev1connect.UnimplementedLakeServiceHandler
	}
)

func (frontDoor) Register(handle func(string, http.Handler)) {
	handle("/v1/events", http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		w.WriteHeader(http.StatusOK)
	}))
}

func (s signedIn) FromRequest(ctx context.Context, r *http.Request) (identity.Principal, error) {
	if p, ok := s[r.Header.Get("Authorization")]; ok {
		return p, nil
	}
	return identity.Principal{}, fault.New(fault.Unauthenticated, "Sign in")
}

func (a apps) Get(_ context.Context, name string) (tenancy.App, error) {
	if app, ok := a[name]; ok {
		return app, nil
	}
	return tenancy.App{}, fault.New(fault.NotFound, "no app %q", name)
}

func (h healthRoom) Report(ctx context.Context, _ *connect.Request[healthv1.ReportRequest]) (*connect.Response[healthv1.ReportResponse], error) {
	answer, err := h.report(ctx)
	return connect.NewResponse(answer), err
}

func (q queryRoom) Export(_ context.Context, request *connect.Request[queryv1.ExportRequest], stream *connect.ServerStream[queryv1.ExportResponse]) error {
	q.ran <- request.Msg.GetAppId()
	return stream.Send(&queryv1.ExportResponse{Data: []byte("a\n1\n")})
}

func (tenancyRoom) ListApps(context.Context, *connect.Request[tenancyv1.ListAppsRequest]) (*connect.Response[tenancyv1.ListAppsResponse], error) {
	return connect.NewResponse(&tenancyv1.ListAppsResponse{Apps: []*tenancyv1.App{{Id: "app-1", Name: "one"}, {Id: "app-2", Name: "two"}}}), nil
}

func (lakeRoom) Verify(context.Context, *connect.Request[lakev1.VerifyRequest], *connect.ServerStream[lakev1.VerifyResponse]) error {
	panic("a wild pointer")
}

type house struct {
	*Server
	url    string
	health healthRoom
	query  queryRoom
	log    *bytes.Buffer
}

var people = signedIn{
	"viewer": {Kind: identity.Session, WorkspaceID: workspaceID, Role: identity.Viewer},
	"owner":  {Kind: identity.Session, WorkspaceID: workspaceID, Role: identity.Owner},
	"key":    {Kind: identity.SecretKey, WorkspaceID: workspaceID, AppID: "app-1"},
}

const workspaceID = "0192aaaa-0000-7000-8000-000000000001"

func open(t *testing.T, change func(*Config)) *house {
	t.Helper()
	h := &house{log: &bytes.Buffer{}}
	h.health.report = func(context.Context) (*healthv1.ReportResponse, error) { return &healthv1.ReportResponse{}, nil }
	h.query.ran = make(chan string, 10)
	cfg := Config{
		Auth: people, Apps: apps{"one": {ID: "app-1"}, "two": {ID: "app-2"}}, Registry: prometheus.NewRegistry(),
		Logger: slog.New(slog.NewTextHandler(h.log, nil)),
		Handlers: Handlers{
			Ingest: frontDoor{}, Lake: lakeRoom{}, Health: &h.health,
			API: &API{
				Live:     http.NotFoundHandler(),
				Identity: identityv1connect.UnimplementedIdentityServiceHandler{}, Tenancy: tenancyRoom{},
				Catalog: catalogv1connect.UnimplementedCatalogServiceHandler{}, Query: h.query, Insights: insightsv1connect.UnimplementedInsightsServiceHandler{},
			},
		},
	}
	if change != nil {
		change(&cfg)
	}
	server, err := New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	h.Server = server
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	h.url = "http://" + listener.Addr().String()
	served := make(chan error, 1)
	go func() { served <- server.Serve(listener) }()
	t.Cleanup(func() {
		if err := server.Close(context.Background()); err != nil {
			t.Error(err)
		}
		if err := <-served; err != nil {
			t.Error(err)
		}
	})
	return h
}

func (h *house) call(t *testing.T, procedure, who, body string) (*http.Response, string) {
	t.Helper()
	kind := "application/json"
	if method := describe(procedure); method != nil && method.IsStreamingServer() {
		kind = "application/connect+json"
		body = string([]byte{0, 0, 0, 0, byte(len(body))}) + body
	}
	request, err := http.NewRequest(http.MethodPost, h.url+procedure, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	request.Header.Set("Content-Type", kind)
	request.Header.Set("Authorization", who)
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = response.Body.Close() }()
	content, err := io.ReadAll(response.Body)
	if err != nil {
		t.Fatal(err)
	}
	return response, string(content)
}

func describe(procedure string) protoreflect.MethodDescriptor {
	name := strings.ReplaceAll(strings.TrimPrefix(procedure, "/"), "/", ".")
	found, err := protoregistry.GlobalFiles.FindDescriptorByName(protoreflect.FullName(name))
	if err != nil {
		return nil
	}
	method, _ := found.(protoreflect.MethodDescriptor)
	return method
}

// everyProcedure walks the contract itself, so that a new procedure is tested
// before anybody thinks of it.
func everyProcedure() []string {
	var all []string
	protoregistry.GlobalFiles.RangeFiles(func(file protoreflect.FileDescriptor) bool {
		if !strings.HasPrefix(string(file.Package()), "causality.") {
			return true
		}
		for i := range file.Services().Len() {
			service := file.Services().Get(i)
			for j := range service.Methods().Len() {
				all = append(all, "/"+string(service.FullName())+"/"+string(service.Methods().Get(j).Name()))
			}
		}
		return true
	})
	return all
}

func TestEveryProcedureRefusesStrangers(t *testing.T) {
	t.Parallel()
	h := open(t, nil)
	public := map[string]bool{identityv1connect.IdentityServiceSignInProcedure: true}
	checked := 0
	for _, procedure := range everyProcedure() {
		if strings.Contains(procedure, "IngestService") {
			continue // the front door knows its own senders
		}
		checked++
		_, body := h.call(t, procedure, "", "{}")
		if refused := strings.Contains(body, `"unauthenticated"`); refused == public[procedure] {
			t.Errorf("%s to a stranger: %s", procedure, body)
		}
		if _, listed := rules[procedure]; !listed {
			t.Errorf("%s has no rule", procedure)
		}
	}
	if checked < 24 {
		t.Errorf("only %d procedures were found", checked)
	}
}

func TestRolesAndKeysReachWhatTheyMay(t *testing.T) {
	t.Parallel()
	h := open(t, nil)
	tests := map[string]struct{ procedure, who, want string }{
		"viewer reads":             {"/causality.health.v1.HealthService/Report", "viewer", `"counters"`},
		"viewer makes no app":      {"/causality.tenancy.v1.TenancyService/CreateApp", "viewer", "permission_denied"},
		"viewer verifies nothing":  {"/causality.lake.v1.LakeService/Verify", "viewer", "permission_denied"},
		"owner gets to the room":   {"/causality.tenancy.v1.TenancyService/CreateApp", "owner", "unimplemented"},
		"key makes no key":         {"/causality.identity.v1.IdentityService/CreateKey", "key", "permission_denied"},
		"key verifies nothing":     {"/causality.lake.v1.LakeService/Verify", "key", "permission_denied"},
		"nobody calls the unknown": {"/causality.query.v1.QueryService/Drop", "owner", "404"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			response, body := h.call(t, tt.procedure, tt.who, "{}")
			if tt.want == "404" {
				if response.StatusCode != http.StatusNotFound {
					t.Errorf("%d %s", response.StatusCode, body)
				}
				return
			}
			if !strings.Contains(body, tt.want) && !(tt.want == `"counters"` && response.StatusCode == http.StatusOK) {
				t.Errorf("%d %s", response.StatusCode, body)
			}
		})
	}
}

func TestASecretKeySeesItsOwnAppAlone(t *testing.T) {
	t.Parallel()
	h := open(t, nil)
	export := queryv1connect.QueryServiceExportProcedure
	for _, named := range []string{"", "one", "app-1"} {
		_, body := h.call(t, export, "key", `{"appId":"`+named+`"}`)
		select {
		case app := <-h.query.ran:
			if app != "app-1" {
				t.Errorf("%q reached the room as %q", named, app)
			}
		default:
			t.Errorf("%q was refused: %s", named, body)
		}
	}
	for _, named := range []string{"two", "app-2", "three"} {
		_, body := h.call(t, export, "key", `{"appId":"`+named+`"}`)
		if !strings.Contains(body, "not_found") || len(h.query.ran) > 0 {
			t.Errorf("%q: %s", named, body)
		}
	}
}

func TestASecretKeyListsItsOwnAppAlone(t *testing.T) {
	t.Parallel()
	h := open(t, nil)
	list := tenancyv1connect.TenancyServiceListAppsProcedure
	if _, body := h.call(t, list, "key", "{}"); !strings.Contains(body, "app-1") || strings.Contains(body, "app-2") {
		t.Errorf("a key sees %s", body)
	}
	if _, body := h.call(t, list, "viewer", "{}"); !strings.Contains(body, "app-2") {
		t.Errorf("a person sees %s", body)
	}
}

func TestFaultsReachPeopleWithWhatTheyNeed(t *testing.T) {
	t.Parallel()
	tests := map[string]struct {
		err    error
		status int
		want   []string
		after  string
		logged string
	}{
		"fields": {
			fault.InvalidFields([]fault.Field{{Name: "a", Message: "wrong"}, {Name: "b", Message: "missing"}}),
			http.StatusBadRequest, []string{`"invalid_argument"`, "google.rpc.BadRequest"}, "", "",
		},
		"away": {
			&fault.Error{Kind: fault.Unavailable, Message: "PostgreSQL is down", RetryAfter: 1500 * time.Millisecond},
			http.StatusServiceUnavailable, []string{"PostgreSQL is down"}, "2", "",
		},
		"capped":      {fault.New(fault.Exhausted, "too much memory"), http.StatusTooManyRequests, []string{"too much memory"}, "1", ""},
		"unsupported": {fault.New(fault.Unsupported, "cannot"), http.StatusNotImplemented, []string{"unimplemented"}, "", ""},
		"defect":      {errors.New("password=hunter2"), http.StatusInternalServerError, []string{"under reference"}, "", "hunter2"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			h := open(t, nil)
			h.health.report = func(context.Context) (*healthv1.ReportResponse, error) { return nil, tt.err }
			response, body := h.call(t, healthv1connect.HealthServiceReportProcedure, "viewer", "{}")
			if response.StatusCode != tt.status || response.Header.Get("Retry-After") != tt.after {
				t.Errorf("%d, Retry-After %q", response.StatusCode, response.Header.Get("Retry-After"))
			}
			for _, want := range tt.want {
				if !strings.Contains(body, want) {
					t.Errorf("%q is not in %s", want, body)
				}
			}
			if strings.Contains(body, "hunter2") {
				t.Errorf("a secret went out: %s", body)
			}
			if !strings.Contains(h.log.String(), tt.logged) {
				t.Errorf("%q is not in the log: %s", tt.logged, h.log)
			}
		})
	}
}

func TestPanicsEndOneCallOnly(t *testing.T) {
	t.Parallel()
	h := open(t, nil)
	_, body := h.call(t, lakev1connect.LakeServiceVerifyProcedure, "owner", "{}") // a stream
	if !strings.Contains(body, "under reference") || strings.Contains(body, "wild pointer") {
		t.Errorf("answer: %s", body)
	}
	if !strings.Contains(h.log.String(), "wild pointer") {
		t.Error("the panic is not in the log")
	}
	if response, _ := h.call(t, healthv1connect.HealthServiceReportProcedure, "viewer", "{}"); response.StatusCode != http.StatusOK {
		t.Errorf("the next call: %d", response.StatusCode)
	}
}

func TestJSONPrintsZeros(t *testing.T) {
	t.Parallel()
	h := open(t, nil)
	_, body := h.call(t, healthv1connect.HealthServiceReportProcedure, "viewer", "{}")
	var answer map[string]any
	if err := json.Unmarshal([]byte(body), &answer); err != nil {
		t.Fatal(err)
	}
	if lag, there := answer["lagSeconds"]; !there || lag != 0.0 {
		t.Errorf("no zero in %s", body)
	}
}

func TestOtherSitesPagesAreRefusedExceptForEvents(t *testing.T) {
	t.Parallel()
	h := open(t, func(c *Config) { c.PublicURL, _ = url.Parse("https://stats.example.com") })
	post := func(path, origin string) int {
		request, err := http.NewRequest(http.MethodPost, h.url+path, strings.NewReader("{}"))
		if err != nil {
			t.Fatal(err)
		}
		request.Header.Set("Content-Type", "application/json")
		request.Header.Set("Origin", origin)
		request.Header.Set("Authorization", "viewer")
		response, err := http.DefaultClient.Do(request)
		if err != nil {
			t.Fatal(err)
		}
		_ = response.Body.Close()
		return response.StatusCode
	}
	report := healthv1connect.HealthServiceReportProcedure
	if got := post(report, "https://evil.example.net"); got != http.StatusForbidden {
		t.Errorf("another site: %d", got)
	}
	if got := post(report, "https://stats.example.com"); got != http.StatusOK {
		t.Errorf("the public address behind a proxy: %d", got)
	}
	if got := post("/v1/events", "https://evil.example.net"); got != http.StatusOK {
		t.Errorf("events: %d", got)
	}
}

func TestReadinessFollowsTheProcess(t *testing.T) {
	t.Parallel()
	h := open(t, nil)
	get := func(path string) int {
		response, err := http.Get(h.url + path)
		if err != nil {
			t.Fatal(err)
		}
		_ = response.Body.Close()
		return response.StatusCode
	}
	if get("/healthz") != http.StatusOK || get("/readyz") != http.StatusServiceUnavailable {
		t.Error("before it is ready")
	}
	h.SetReady(true)
	if get("/readyz") != http.StatusOK {
		t.Error("not ready")
	}
}

func TestTheAppIsServedStrictly(t *testing.T) {
	t.Parallel()
	dist := fstest.MapFS{
		"index.html":            {Data: []byte("<html>shell")},
		"assets/main-abc.js":    {Data: []byte("alert(1)")},
		"assets/main-abc.js.br": {Data: []byte("brotli")},
		"assets/main-abc.js.gz": {Data: []byte("gzip")},
		"favicon.svg":           {Data: []byte("<svg/>")},
		".gitkeep":              {Data: nil},
	}
	h := open(t, func(c *Config) { c.Dist = dist })
	client := &http.Client{
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
		Transport:     &http.Transport{DisableCompression: true},
	}
	tests := map[string]struct {
		path, accept  string
		status        int
		body, caching string
		coding        string
	}{
		"root":           {"/", "", http.StatusFound, "", "", ""},
		"shell":          {"/app/", "", http.StatusOK, "shell", "no-store", ""},
		"a page":         {"/app/default/demo/home", "", http.StatusOK, "shell", "no-store", ""},
		"asset":          {"/app/assets/main-abc.js", "", http.StatusOK, "alert", "immutable", ""},
		"brotli":         {"/app/assets/main-abc.js", "gzip, br", http.StatusOK, "brotli", "immutable", "br"},
		"gzip":           {"/app/assets/main-abc.js", "gzip, br;q=0", http.StatusOK, "gzip", "immutable", "gzip"},
		"old asset":      {"/app/assets/main-old.js", "", http.StatusNotFound, "reload", "no-store", ""},
		"plain file":     {"/app/favicon.svg", "", http.StatusOK, "svg", "no-cache", ""},
		"no hidden file": {"/app/.gitkeep", "", http.StatusOK, "shell", "no-store", ""},
		"nothing":        {"/wp-admin", "", http.StatusNotFound, "not_found", "", ""},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			request, err := http.NewRequest(http.MethodGet, h.url+tt.path, nil)
			if err != nil {
				t.Fatal(err)
			}
			request.Header.Set("Accept-Encoding", tt.accept)
			response, err := client.Do(request)
			if err != nil {
				t.Fatal(err)
			}
			defer func() { _ = response.Body.Close() }()
			body, _ := io.ReadAll(response.Body)
			header := response.Header
			if response.StatusCode != tt.status || !strings.Contains(string(body), tt.body) ||
				!strings.Contains(header.Get("Cache-Control"), tt.caching) || header.Get("Content-Encoding") != tt.coding {
				t.Errorf("%d %v %q", response.StatusCode, header, body)
			}
			if header.Get("X-Content-Type-Options") != "nosniff" {
				t.Error("types may be guessed")
			}
			if policy := header.Get("Content-Security-Policy"); strings.HasPrefix(tt.path, "/app/") &&
				(strings.Contains(policy, "unsafe") || !strings.Contains(policy, "frame-ancestors 'none'") || header.Get("X-Frame-Options") != "DENY") {
				t.Errorf("policy %q", policy)
			}
		})
	}
}

func TestWithoutAssetsThePageSaysHowToBuildThem(t *testing.T) {
	t.Parallel()
	h := open(t, func(c *Config) { c.Dist = fstest.MapFS{".gitkeep": {}} })
	response, err := http.Get(h.url + "/app/")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = response.Body.Close() }()
	if body, _ := io.ReadAll(response.Body); !strings.Contains(string(body), "make build") {
		t.Errorf("%s", body)
	}
}

func TestTheEmbeddedFolderIsThere(t *testing.T) {
	t.Parallel()
	if _, err := fs.Stat(embedded, "dist/.gitkeep"); err != nil {
		t.Error(err)
	}
}

func TestClientIPBelievesOnlyTrustedProxies(t *testing.T) {
	t.Parallel()
	trusted := []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8")}
	tests := map[string]struct{ remote, forwarded, want string }{
		"direct":             {"203.0.113.5:4711", "", "203.0.113.5"},
		"claimed":            {"203.0.113.5:4711", "198.51.100.9", "203.0.113.5"},
		"one proxy":          {"10.0.0.1:80", "198.51.100.9", "198.51.100.9"},
		"two proxies":        {"10.0.0.1:80", "198.51.100.9, 10.0.0.2", "198.51.100.9"},
		"claim before proxy": {"10.0.0.1:80", "1.2.3.4, 198.51.100.9", "198.51.100.9"},
		"garbage":            {"10.0.0.1:80", "unknown", "10.0.0.1"},
		"mapped":             {"[::ffff:203.0.113.5]:80", "", "203.0.113.5"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			request := httptest.NewRequest(http.MethodPost, "/", nil)
			request.RemoteAddr = tt.remote
			if tt.forwarded != "" {
				request.Header.Set("X-Forwarded-For", tt.forwarded)
			}
			if ip, _ := clientIP(request, trusted); ip.String() != tt.want {
				t.Errorf("got %s", ip)
			}
		})
	}
}

func TestTheSocketIsPrivateAndReplacesAnOldOne(t *testing.T) {
	t.Parallel()
	dir, err := os.MkdirTemp("", "s")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	path := filepath.Join(dir, "c.sock")
	for range 2 { // the second replaces what a killed process left
		listener, err := ListenLocal(path)
		if err != nil {
			t.Fatal(err)
		}
		info, err := os.Stat(path)
		if err != nil || info.Mode().Perm() != 0o600 {
			t.Errorf("%v %v", info, err)
		}
		conn, err := net.Dial("unix", path)
		if err != nil {
			t.Fatal(err)
		}
		_ = conn.Close()
		_ = listener.Close()
	}
	if left, _ := filepath.Glob(filepath.Join(dir, ".s*")); len(left) > 0 {
		t.Errorf("left behind: %v", left)
	}
}

func TestAListenerThatFailsEndsTheOthers(t *testing.T) {
	t.Parallel()
	h := open(t, nil)
	ended := make(chan error, 2)
	var listeners []net.Listener
	for range 2 {
		listener, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		listeners = append(listeners, listener)
		go func() { ended <- h.Serve(listener) }()
	}
	if err := listeners[0].Close(); err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(<-ended, <-ended); err == nil || !strings.Contains(err.Error(), listeners[0].Addr().String()) {
		t.Errorf("%v, want an error that names the listener", err)
	}
}

func TestCloseLetsAnswersInHandFinish(t *testing.T) {
	t.Parallel()
	h := open(t, nil)
	entered, leave := make(chan struct{}), make(chan struct{})
	h.health.report = func(context.Context) (*healthv1.ReportResponse, error) {
		close(entered)
		<-leave
		return &healthv1.ReportResponse{StartedAt: "then"}, nil
	}
	answered := make(chan string, 1)
	go func() {
		_, body := h.call(t, healthv1connect.HealthServiceReportProcedure, "viewer", "{}")
		answered <- body
	}()
	<-entered
	stopping := make(chan struct{})
	h.http.RegisterOnShutdown(sync.OnceFunc(func() { close(stopping) })) // the cleanup closes again
	closed := make(chan error, 1)
	go func() { closed <- h.Close(context.Background()) }()
	<-stopping
	close(leave)
	if body := <-answered; !strings.Contains(body, "then") {
		t.Errorf("cut off: %s", body)
	}
	if err := <-closed; err != nil {
		t.Error(err)
	}
}

func TestASlowBodyIsCutAndAFastOneIsNotTimedLater(t *testing.T) {
	t.Parallel()
	control := &deadlines{}
	r := &body{ReadCloser: io.NopCloser(strings.NewReader("all")), control: http.NewResponseController(control)}
	if _, err := io.ReadAll(r); err != nil {
		t.Fatal(err)
	}
	if len(control.read) != 1 || !control.read[0].IsZero() {
		t.Errorf("deadlines after the body: %v", control.read)
	}
}

type deadlines struct {
	http.ResponseWriter
	read []time.Time
}

func (d *deadlines) SetReadDeadline(t time.Time) error {
	d.read = append(d.read, t)
	return nil
}
