package ingestrpc_test

import (
	"bytes"
	"compress/gzip"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strings"
	"testing"
	"time"

	"connectrpc.com/connect"
	"github.com/causality-project/causality/backend/internal/account/identity"
	"github.com/causality-project/causality/backend/internal/account/tenancy"
	"github.com/causality-project/causality/backend/internal/pipeline/ingest"
	"github.com/causality-project/causality/backend/internal/pipeline/ingest/ingestrpc"
	"github.com/causality-project/causality/backend/internal/pipeline/stream"
	"github.com/causality-project/causality/backend/internal/platform/event"
	"github.com/causality-project/causality/backend/internal/platform/postgres/postgrestest"
	eventv1 "github.com/causality-project/causality/proto/gen/causality/event/v1"
	ingestv1 "github.com/causality-project/causality/proto/gen/causality/ingest/v1"
	"github.com/causality-project/causality/proto/gen/causality/ingest/v1/ingestv1connect"
	"github.com/klauspost/compress/zstd"
	"github.com/prometheus/client_golang/prometheus"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"
)

const rpcPath = "/causality.ingest.v1.IngestService/Ingest"

// house is the front door with all that stands behind it: PostgreSQL, keys, the
// embedded stream, and an HTTP server.
type house struct {
	url           string
	local         string // the same, as the socket would serve it
	write, secret string
	app           tenancy.App
	scope         context.Context
	keys          *identity.Keys
	stream        *stream.Stream
}

func newHouse(t testing.TB, streamConfig stream.Config) *house {
	t.Helper()
	log := slog.New(slog.DiscardHandler)
	pg := postgrestest.New(t)
	db := tenancy.NewDB(pg.Pool(), log)
	apps := tenancy.NewApps(db, pg)
	keys := identity.NewKeys(db, pg, log)
	users := identity.NewUsers(db, pg.Pool())
	workspace, err := users.EnsureDefault(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	h := &house{scope: tenancy.WithWorkspace(t.Context(), workspace.ID), keys: keys}
	if h.app, err = apps.Create(h.scope, "shop", "UTC", nil); err != nil {
		t.Fatal(err)
	}
	h.write = h.key(t, "write", nil)
	h.secret = h.key(t, "secret", nil)
	if streamConfig.Dir == "" {
		streamConfig.Dir = t.TempDir()
	}
	streamConfig.Logger = log
	if h.stream, err = stream.Open(t.Context(), streamConfig); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := h.stream.Close(context.Background()); err != nil {
			t.Error(err)
		}
	})
	registry := prometheus.NewRegistry()
	front, err := ingest.New(ingest.Config{Keys: keys, Apps: apps, Stream: h.stream, Metrics: registry, Logger: log})
	if err != nil {
		t.Fatal(err)
	}
	handler, err := ingestrpc.New(ingestrpc.Config{
		Front: front, Authenticator: identity.NewAuthenticator(users, keys),
		Paths: []string{"/quiet"}, Metrics: registry, Logger: log,
	})
	if err != nil {
		t.Fatal(err)
	}
	mux := http.NewServeMux()
	handler.Register(mux.Handle)
	serve := func(local bool) string {
		server := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			ctx := ingest.WithClientIP(r.Context(), netip.MustParseAddr("203.0.113.77"))
			if local {
				ctx = identity.WithLocal(ctx)
			}
			mux.ServeHTTP(w, r.WithContext(ctx))
		}))
		server.EnableHTTP2 = true
		server.Config.Protocols = new(http.Protocols)
		server.Config.Protocols.SetHTTP1(true)
		server.Config.Protocols.SetUnencryptedHTTP2(true)
		server.Start()
		t.Cleanup(server.Close)
		return server.URL
	}
	h.url, h.local = serve(false), serve(true)
	return h
}

func (h *house) key(t testing.TB, kind string, limit *float64) string {
	t.Helper()
	_, text, err := h.keys.Create(h.scope, h.app, identity.NewKey{Kind: kind, RateLimit: limit})
	if err != nil {
		t.Fatal(err)
	}
	return text
}

type reply struct {
	status int
	header http.Header
	body   string

	Accepted, Duplicates int
	Rejected             []struct {
		Index                    int
		ID, Code, Field, Message string
	}
	Code, Message string
	Details       []struct{ Type, Value string }
}

func send(t testing.TB, method, url string, body []byte, headers ...string) reply {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), method, url, bytes.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	for i := 0; i < len(headers); i += 2 {
		req.Header.Set(headers[i], headers[i+1])
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = resp.Body.Close() }()
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	out := reply{status: resp.StatusCode, header: resp.Header, body: string(text)}
	if strings.HasPrefix(resp.Header.Get("Content-Type"), "application/json") {
		if err := json.Unmarshal(text, &out); err != nil {
			t.Fatalf("answer %q: %v", text, err)
		}
	}
	return out
}

func (h *house) post(t testing.TB, path, key, body string, headers ...string) reply {
	t.Helper()
	return send(t, http.MethodPost, h.url+path, []byte(body), append([]string{"Authorization", "Bearer " + key}, headers...)...)
}

// stored returns everything in a lane.
func (h *house) stored(t testing.TB, lane stream.Lane) (events []event.Event, rejected []event.Rejected, batches []stream.Batch) {
	t.Helper()
	messages, err := h.stream.Fetch(t.Context(), lane, 1, stream.FetchLimit{})
	if err != nil {
		t.Fatal(err)
	}
	for _, m := range messages {
		if m.Err != nil {
			t.Fatal(m.Err)
		}
		events = append(events, m.Batch.Events...)
		rejected = append(rejected, m.Batch.Rejected...)
		batches = append(batches, m.Batch)
	}
	return events, rejected, batches
}

func TestRequestsAreAnsweredByTheContract(t *testing.T) {
	t.Parallel()
	h := newHouse(t, stream.Config{})
	events := func(n int) string {
		return "[" + strings.TrimSuffix(strings.Repeat(`{"name":"a"},`, n), ",") + "]"
	}
	gzipped := func(text string) string {
		var out bytes.Buffer
		w := gzip.NewWriter(&out)
		_, _ = io.WriteString(w, text)
		_ = w.Close()
		return out.String()
	}
	zstandard := func(text string) string {
		w, err := zstd.NewWriter(nil)
		if err != nil {
			t.Fatal(err)
		}
		return string(w.EncodeAll([]byte(text), nil))
	}
	protoOne, err := proto.Marshal(&ingestv1.IngestRequest{Events: []*eventv1.Event{{Name: "p"}}})
	if err != nil {
		t.Fatal(err)
	}
	bomb := strings.Repeat(" ", 64<<20)
	two := strings.Repeat(" ", 2<<20) + `{"name":"a"}`
	tests := map[string]struct {
		path, key, body string
		headers         []string
		status          int
		code            string
		accepted        int
	}{
		"one event":                    {"/v1/events", h.write, `{"name":"a"}`, nil, 200, "", 1},
		"an array":                     {"/v1/events", h.write, events(3), nil, 200, "", 3},
		"a request":                    {"/v1/events", h.write, `{"events":` + events(2) + `,"sentAt":"2026-01-01T00:00:00Z"}`, nil, 200, "", 2},
		"any content type":             {"/v1/events", h.write, `{"name":"a"}`, []string{"Content-Type", "text/plain;charset=UTF-8"}, 200, "", 1},
		"another name, protobuf":       {"/quiet", h.write, string(protoOne), []string{"Content-Type", "application/proto", "Accept", "application/json"}, 200, "", 1},
		"another name, a beacon":       {"/quiet?key=" + h.write, "", string(protoOne), []string{"Authorization", "", "Content-Type", "text/plain;charset=UTF-8", "Accept", "application/json"}, 200, "", 1},
		"another name, no type":        {"/quiet", h.write, string(protoOne), []string{"Accept", "application/json"}, 200, "", 1},
		"another name, rpc with json":  {"/quiet", h.write, `{"events":[{"name":"a"}]}`, []string{"Content-Type", "application/json"}, 200, "", 1},
		"another name of the events":   {"/quiet/events", h.write, `{"name":"a"}`, []string{"Content-Type", "text/plain"}, 200, "", 1},
		"another name of the batch":    {"/quiet/batch", h.write, string(protoOne), []string{"Content-Type", "text/plain", "Accept", "application/json"}, 200, "", 1},
		"the rpc below another name":   {"/quiet" + rpcPath, h.write, `{"events":[{"name":"a"}]}`, []string{"Content-Type", "application/json"}, 200, "", 1},
		"another name, broken":         {"/quiet", h.write, `{"name":"a"}`, []string{"Content-Type", "text/plain"}, 400, "invalid_argument", 0},
		"gzip":                         {"/v1/events", h.write, gzipped(events(2)), []string{"Content-Encoding", "gzip"}, 200, "", 2},
		"zstd":                         {"/v1/events", h.write, zstandard(events(2)), []string{"Content-Encoding", "zstd"}, 200, "", 2},
		"rpc with json":                {rpcPath, h.write, `{"events":[{"name":"a","properties":"{\"x\":1}"}]}`, []string{"Content-Type", "application/json; charset=utf-8"}, 200, "", 1},
		"protobuf batch":               {"/v1/batch", h.write, string(protoOne), []string{"Content-Type", "text/plain", "Accept", "application/json"}, 200, "", 1},
		"key in the query":             {"/v1/events?key=" + h.write, "", `{"name":"a"}`, []string{"Authorization", ""}, 200, "", 1},
		"2,000 events":                 {"/v1/events", h.write, events(2000), nil, 200, "", 2000},
		"2,001 events":                 {"/v1/events", h.write, events(2001), nil, 413, "resource_exhausted", 0},
		"empty body":                   {"/v1/events", h.write, "", nil, 400, "invalid_argument", 0},
		"not json":                     {"/v1/events", h.write, `{"name":`, nil, 400, "invalid_argument", 0},
		"NaN":                          {"/v1/events", h.write, `[{"name":"a"},{"name":"b","properties":{"x":NaN}}]`, nil, 400, "invalid_argument", 0},
		"something after the end":      {"/v1/events", h.write, `{"name":"a"} x`, nil, 400, "invalid_argument", 0},
		"broken gzip":                  {"/v1/events", h.write, "\x1f\x8bnothing", []string{"Content-Encoding", "gzip"}, 400, "invalid_argument", 0},
		"cut gzip":                     {"/v1/events", h.write, gzipped(events(50))[:40], []string{"Content-Encoding", "gzip"}, 400, "invalid_argument", 0},
		"broken zstd":                  {"/v1/events", h.write, "nothing", []string{"Content-Encoding", "zstd"}, 400, "invalid_argument", 0},
		"unknown encoding":             {"/v1/events", h.write, `{"name":"a"}`, []string{"Content-Encoding", "br"}, 400, "invalid_argument", 0},
		"gzip bomb":                    {"/v1/events", h.write, gzipped(bomb), []string{"Content-Encoding", "gzip"}, 413, "resource_exhausted", 0},
		"zstd bomb":                    {"/v1/events", h.write, zstandard(bomb), []string{"Content-Encoding", "zstd"}, 413, "resource_exhausted", 0},
		"2 MiB from a server":          {"/v1/events", h.write, two, nil, 200, "", 1},
		"2 MiB from a browser":         {"/v1/events", h.write, two, []string{"Origin", "https://shop.example"}, 413, "resource_exhausted", 0},
		"broken protobuf":              {"/v1/batch", h.write, "\xff\xff\xff", nil, 400, "invalid_argument", 0},
		"json where protobuf is":       {"/v1/batch", h.write, `[{"name":"a"}]`, nil, 400, "invalid_argument", 0},
		"wrong content type on rpc":    {rpcPath, h.write, `{}`, []string{"Content-Type", "text/plain"}, 415, "invalid_argument", 0},
		"no content type on rpc":       {rpcPath, h.write, `{}`, nil, 415, "invalid_argument", 0},
		"no key":                       {"/v1/events", "", `{"name":"a"}`, []string{"Authorization", ""}, 401, "unauthenticated", 0},
		"another scheme":               {"/v1/events", "", `{"name":"a"}`, []string{"Authorization", "Basic eA=="}, 401, "unauthenticated", 0},
		"unknown key":                  {"/v1/events", "wk_nobodyknowsthiskey", `{"name":"a"}`, nil, 401, "unauthenticated", 0},
		"import with a write key":      {"/v1/events", h.write, `{"name":"a"}`, []string{"Causality-Lane", "import"}, 403, "permission_denied", 0},
		"another app with a write key": {"/v1/events", h.write, `{"name":"a"}`, []string{"Causality-App", "other"}, 403, "permission_denied", 0},
		"its own app by name":          {"/v1/events", h.secret, `{"name":"a"}`, []string{"Causality-App", "shop"}, 200, "", 1},
		"unknown lane":                 {"/v1/events", h.secret, `{"name":"a"}`, []string{"Causality-Lane", "fast"}, 400, "invalid_argument", 0},
		"no events":                    {rpcPath, h.write, `{}`, []string{"Content-Type", "application/json"}, 200, "", 0},
		"a wrong time of sending":      {"/v1/events", h.write, `{"events":[{"name":"a"}],"sentAt":"yesterday"}`, nil, 400, "invalid_argument", 0},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			got := h.post(t, tt.path, tt.key, tt.body, tt.headers...)
			if got.status != tt.status || got.Code != tt.code || got.Accepted != tt.accepted {
				t.Fatalf("%d %q accepted %d: %s\nwant %d %q accepted %d", got.status, got.Code, got.Accepted, got.body, tt.status, tt.code, tt.accepted)
			}
			if tt.status != 200 && (got.Message == "" || got.Details == nil) {
				t.Errorf("error without message or details: %s", got.body)
			}
			if got.header.Get("Access-Control-Allow-Origin") != "*" {
				t.Error("no CORS header")
			}
		})
	}
	t.Run("GET", func(t *testing.T) {
		if got := send(t, http.MethodGet, h.url+"/v1/events", nil); got.status != 405 || got.header.Get("Allow") == "" {
			t.Errorf("GET = %d %v", got.status, got.header)
		}
	})
	t.Run("preflight", func(t *testing.T) {
		for _, path := range []string{rpcPath, "/v1/events", "/v1/batch", "/quiet"} {
			got := send(t, http.MethodOptions, h.url+path, nil, "Origin", "https://shop.example", "Access-Control-Request-Method", "POST")
			allowed := got.header.Get("Access-Control-Allow-Headers")
			if got.status != 204 || !strings.Contains(allowed, "Authorization") || !strings.Contains(allowed, "Content-Encoding") ||
				got.header.Get("Access-Control-Max-Age") != "86400" || got.header.Get("Access-Control-Allow-Credentials") != "" {
				t.Errorf("preflight of %s = %d %v", path, got.status, got.header)
			}
		}
	})
	t.Run("revoked key", func(t *testing.T) {
		info, text, err := h.keys.Create(h.scope, h.app, identity.NewKey{Kind: "write"})
		if err != nil {
			t.Fatal(err)
		}
		if got := h.post(t, "/v1/events", text, `{"name":"a"}`); got.status != 200 {
			t.Fatalf("before: %d %s", got.status, got.body)
		}
		if _, err := h.keys.Revoke(h.scope, info.ID); err != nil {
			t.Fatal(err)
		}
		waitFor(t, "403 after revoking", func() bool { return h.post(t, "/v1/events", text, `{"name":"a"}`).status == 403 })
	})
	t.Run("rate limit", func(t *testing.T) {
		limit := 10.0 // the burst is one full request
		key := h.key(t, "write", &limit)
		if got := h.post(t, "/v1/events", key, events(1995)); got.status != 200 {
			t.Fatalf("within the burst: %d %s", got.status, got.body)
		}
		got := h.post(t, "/v1/events", key, events(100))
		if got.status != 429 || got.Code != "resource_exhausted" || got.header.Get("Retry-After") == "" {
			t.Errorf("beyond it: %d %s %v", got.status, got.body, got.header)
		}
		if !strings.Contains(got.header.Get("Access-Control-Expose-Headers"), "Retry-After") {
			t.Errorf("pages of other origins cannot read Retry-After: %v", got.header)
		}
		none := 0.0
		key = h.key(t, "write", &none)
		for range 40 {
			if got := h.post(t, "/v1/events", key, events(2000)); got.status != 200 {
				t.Fatalf("without a limit: %d %s", got.status, got.body)
			}
		}
	})
	t.Run("the machine's owner", func(t *testing.T) {
		got := send(t, http.MethodPost, h.local+"/v1/events", []byte(`{"name":"a"}`), "Causality-App", "shop", "Causality-Lane", "import")
		if got.status != 200 || got.Accepted != 1 {
			t.Errorf("with an app: %d %s", got.status, got.body)
		}
		if got := send(t, http.MethodPost, h.local+"/v1/events", []byte(`{"name":"a"}`)); got.status != 400 {
			t.Errorf("without: %d %s", got.status, got.body)
		}
		if _, _, batches := h.stored(t, stream.Import); len(batches) != 1 || !batches[0].Imported {
			t.Errorf("import lane = %+v", batches)
		}
	})
}

// What navigator.sendBeacon sends as a page goes away: text/plain without a
// preflight, no header of ours, up to 64 KiB.
func TestBeaconsNeedNoHeaderOfOurs(t *testing.T) {
	t.Parallel()
	h := newHouse(t, stream.Config{})
	request := &ingestv1.IngestRequest{SentAt: timestamppb.Now(), Library: &eventv1.Library{Name: "causality-web"}}
	for i := 0; ; i++ {
		request.Events = append(request.Events, &eventv1.Event{Id: fmt.Sprintf("beacon %d", i), Name: "page_view", Properties: `{"path":"/` + strings.Repeat("x", 300) + `"}`})
		if proto.Size(request) > 64<<10 {
			request.Events = request.Events[:i]
			break
		}
	}
	full, err := proto.Marshal(request)
	if err != nil {
		t.Fatal(err)
	}
	beacon := func(key string, body []byte) reply {
		return send(t, http.MethodPost, h.url+"/v1/batch?key="+key, body, "Content-Type", "text/plain;charset=UTF-8", "Origin", "https://shop.example")
	}
	tests := map[string]struct {
		key      string
		body     []byte
		status   int
		accepted int
	}{
		"64 KiB":         {h.write, full, 200, len(request.Events)},
		"nothing":        {h.write, nil, 200, 0},
		"an unknown key": {"wk_nobodyknowsthiskey", full, 401, 0},
		"no key":         {"", full, 401, 0},
		"cut off":        {h.write, full[:len(full)-1], 400, 0},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			got := beacon(tt.key, tt.body)
			if got.status != tt.status || got.header.Get("Access-Control-Allow-Origin") != "*" {
				t.Fatalf("%d %v: %.300s", got.status, got.header, got.body)
			}
			var answer ingestv1.IngestResponse
			if got.status == 200 && (proto.Unmarshal([]byte(got.body), &answer) != nil || int(answer.Accepted) != tt.accepted || len(answer.Rejected) != 0) {
				t.Errorf("answer = %v", &answer)
			}
		})
	}
	events, _, _ := h.stored(t, stream.Live)
	if len(events) != len(request.Events) || events[0].Context.Library != "causality-web" {
		t.Errorf("%d events are stored, want %d", len(events), len(request.Events))
	}
}

func waitFor(t testing.TB, what string, done func() bool) {
	t.Helper()
	deadline := time.Now().Add(20 * time.Second)
	for !done() {
		if time.Now().After(deadline) {
			t.Fatalf("%s did not come about", what)
		}
		time.Sleep(5 * time.Millisecond)
	}
}

func TestConnectGRPCAndGRPCWebClientsAreServed(t *testing.T) {
	t.Parallel()
	h := newHouse(t, stream.Config{})
	protocols := new(http.Protocols)
	protocols.SetUnencryptedHTTP2(true)
	h2 := &http.Client{Transport: &http.Transport{Protocols: protocols}}
	for name, client := range map[string]ingestv1connect.IngestServiceClient{
		"connect":      ingestv1connect.NewIngestServiceClient(http.DefaultClient, h.url, connect.WithSendGzip()),
		"connect json": ingestv1connect.NewIngestServiceClient(http.DefaultClient, h.url, connect.WithProtoJSON()),
		"grpc":         ingestv1connect.NewIngestServiceClient(h2, h.url, connect.WithGRPC(), connect.WithSendGzip()),
		"grpc-web":     ingestv1connect.NewIngestServiceClient(http.DefaultClient, h.url, connect.WithGRPCWeb()),
	} {
		t.Run(name, func(t *testing.T) {
			req := connect.NewRequest(&ingestv1.IngestRequest{Events: []*eventv1.Event{
				{Id: "one " + name, Name: "good", Properties: `{"n":1.10}`, Timestamp: timestamppb.Now(),
					Payload: &eventv1.Event_Search{Search: &eventv1.Search{Query: "q"}}},
				{Id: "two " + name},
			}, SentAt: timestamppb.Now(), Library: &eventv1.Library{Name: "go"}})
			req.Header().Set("Authorization", "Bearer "+h.write)
			got, err := client.Ingest(t.Context(), req)
			if err != nil {
				t.Fatal(err)
			}
			if got.Msg.Accepted != 1 || len(got.Msg.Rejected) != 1 || got.Msg.Rejected[0].Code != "missing_name" || got.Msg.Rejected[0].Index != 1 || got.Msg.Rejected[0].Id != "two "+name {
				t.Errorf("answer = %v", got.Msg)
			}
			req = connect.NewRequest(&ingestv1.IngestRequest{})
			req.Header().Set("Authorization", "Bearer wk_unknown")
			if _, err = client.Ingest(t.Context(), req); connect.CodeOf(err) != connect.CodeUnauthenticated {
				t.Errorf("unknown key: %v", err)
			}
		})
	}
	events, rejected, _ := h.stored(t, stream.Live)
	if len(events) != 4 || len(rejected) != 4 {
		t.Fatalf("stored %d events and %d refused, want 4 and 4", len(events), len(rejected))
	}
	for _, e := range events {
		if e.Name != "search" || e.Properties != `{"query":"q","n":1.10}` || e.Context.Library != "go" {
			t.Errorf("stored %+v", e)
		}
	}
}

func TestAFullStreamIs503AndRecovers(t *testing.T) {
	t.Parallel()
	h := newHouse(t, stream.Config{MaxBytes: 256 << 10})
	none := 0.0
	key := h.key(t, "write", &none)
	body := "[" + strings.TrimSuffix(strings.Repeat(`{"name":"a","properties":{"text":"`+strings.Repeat("x", 400)+`"}},`, 100), ",") + "]"
	accepted := 0
	var full reply
	for range 100 {
		if full = h.post(t, "/v1/events", key, body); full.status != 200 {
			break
		}
		accepted += full.Accepted
	}
	if full.status != 503 || full.Code != "unavailable" || full.header.Get("Retry-After") == "" {
		t.Fatalf("full stream: %d %s", full.status, full.body)
	}
	events, _, _ := h.stored(t, stream.Live)
	if len(events) != accepted {
		t.Errorf("%d events stored, %d answered as accepted", len(events), accepted)
	}
	state, err := h.stream.State(t.Context(), stream.Live)
	if err != nil {
		t.Fatal(err)
	}
	if err := h.stream.Purge(t.Context(), stream.Live, state.LastSeq, 0, 0); err != nil {
		t.Fatal(err)
	}
	if got := h.post(t, "/v1/events", key, body); got.status != 200 {
		t.Errorf("after purging: %d %s", got.status, got.body)
	}
}

func TestOneBadEventAmong99GoodOnesIsRefusedAlone(t *testing.T) {
	t.Parallel()
	h := newHouse(t, stream.Config{})
	deep := strings.Repeat(`{"a":`, 40) + "1" + strings.Repeat("}", 40)
	many := &strings.Builder{}
	for i := range 1001 {
		fmt.Fprintf(many, `,"n%d":1`, i)
	}
	bads := map[string]struct{ event, code, field string }{
		"no name":                {`{"user_id":"u"}`, "missing_name", "name"},
		"another product's name": {`{"event":"signup"}`, "missing_name", "name"},
		"a name of 201":          {`{"name":"` + strings.Repeat("é", 201) + `"}`, "too_large", "name"},
		"a control character":    {`{"name":"a\u0000b"}`, "invalid_property", "name"},
		"33 KiB":                 {`{"name":"a","properties":{"x":"` + strings.Repeat("x", 33<<10) + `"}}`, "too_large", ""},
		"40 levels":              {`{"name":"a","properties":` + deep + `}`, "too_deep", "properties"},
		"properties as a list":   {`{"name":"a","properties":[1]}`, "invalid_property", "properties"},
		"1,001 property names":   {`{"name":"a","properties":{"x":1` + many.String() + `}}`, "invalid_property", "properties"},
		"a long property name":   {`{"name":"a","properties":{"` + strings.Repeat("x", 201) + `":1}}`, "invalid_property", "properties"},
		"a NUL in one":           {`{"name":"a","properties":{"a\u0000":1}}`, "invalid_property", "properties"},
		"invalid UTF-8":          {"{\"name\":\"a\",\"properties\":{\"x\":\"\xff\"}}", "invalid_property", ""},
		"a time in words":        {`{"name":"a","timestamp":"tomorrow"}`, "invalid_timestamp", "timestamp"},
		"a time as a number":     {`{"name":"a","timestamp":1700000000}`, "invalid_timestamp", "timestamp"},
		"a user id of 201":       {`{"name":"a","userId":"` + strings.Repeat("u", 201) + `"}`, "invalid_id", "userId"},
		"a line break in an id":  {`{"name":"a","anonymousId":"a\nb"}`, "invalid_id", "anonymousId"},
		"an object as user id":   {`{"name":"a","userId":{"id":1}}`, "invalid_id", "userId"},
		"identify nobody":        {`{"type":"IDENTIFY","userId":"null","anonymousId":"a"}`, "invalid_id", "userId"},
		"group without id":       {`{"type":"GROUP","groupType":"company"}`, "invalid_id", "groupId"},
		"alias by a write key":   {`{"type":"ALIAS","userId":"b","previousId":"a"}`, "not_allowed", "type"},
		"an unknown type":        {`{"type":"PAGE","name":"a"}`, "invalid_property", "type"},
		"unknown traits":         {`{"type":"IDENTIFY","userId":"u","traits":{"plan":"pro"}}`, "invalid_property", "traits"},
		"adding text":            {`{"type":"IDENTIFY","userId":"u","traits":{"add":{"n":"1"}}}`, "invalid_property", "traits.add"},
		"not an object":          {`7`, "invalid_property", ""},
	}
	for name, bad := range bads {
		t.Run(name, func(t *testing.T) {
			good := make([]string, 100)
			for i := range good {
				good[i] = fmt.Sprintf(`{"name":"good","properties":{"i":%d}}`, i)
			}
			good[42] = bad.event
			got := h.post(t, "/v1/events", h.write, "["+strings.Join(good, ",")+"]")
			if got.status != 200 || got.Accepted != 99 || len(got.Rejected) != 1 {
				t.Fatalf("%d accepted %d: %.500s", got.status, got.Accepted, got.body)
			}
			r := got.Rejected[0]
			if r.Index != 42 || r.Code != bad.code || r.Field != bad.field || r.Message == "" {
				t.Errorf("rejection = %+v, want %s at %q", r, bad.code, bad.field)
			}
		})
	}
	_, rejected, _ := h.stored(t, stream.Live)
	if len(rejected) != len(bads) {
		t.Errorf("%d refused events are kept, want %d", len(rejected), len(bads))
	}
	for _, r := range rejected {
		if r.Event == "" || strings.ContainsRune(r.Event, 0) || len(r.Event) > event.MaxBytes {
			t.Errorf("refused %s kept as %.80q", r.Code, r.Event)
		}
	}
}
