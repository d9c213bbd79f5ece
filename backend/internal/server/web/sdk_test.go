package web

import (
	"encoding/json"
	"io"
	"io/fs"
	"net/http"
	"slices"
	"strings"
	"testing"
	"testing/fstest"
)

var builtSDK = fstest.MapFS{
	"causality.js":           {Data: []byte("script")},
	"causality.js.br":        {Data: []byte("script in brotli")},
	"causality.js.gz":        {Data: []byte("script in gzip")},
	"causality-core.js":      {Data: []byte("core")},
	"causality-worker.js":    {Data: []byte("worker")},
	"causality-worker.js.gz": {Data: []byte("worker in gzip")},
	"core.wasm":              {Data: []byte("\x00asm")},
	"core.wasm.br":           {Data: []byte("wasm in brotli")},
	".gitkeep":               {},
}

// fetch asks as a page of another origin does, and undoes no compression.
func fetch(t *testing.T, method, url string, headers ...string) (*http.Response, string) {
	t.Helper()
	request, err := http.NewRequestWithContext(t.Context(), method, url, nil)
	if err != nil {
		t.Fatal(err)
	}
	request.Header.Set("Origin", "https://shop.example")
	for i := 0; i < len(headers); i += 2 {
		request.Header.Set(headers[i], headers[i+1])
	}
	transport := &http.Transport{DisableCompression: true}
	defer transport.CloseIdleConnections()
	response, err := transport.RoundTrip(request)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = response.Body.Close() }()
	body, err := io.ReadAll(response.Body)
	if err != nil {
		t.Fatal(err)
	}
	return response, string(body)
}

func TestTheSDKIsServedToEveryPage(t *testing.T) {
	t.Parallel()
	h := open(t, func(c *Config) {
		c.SDK, c.SDKPaths, c.IngestPaths = builtSDK, []string{"/assets/a.js", "/b"}, []string{"/c"}
	})
	about := struct{ Version, Script, IngestPath string }{}
	if _, body := fetch(t, http.MethodGet, h.url+"/sdk/"); json.Unmarshal([]byte(body), &about) != nil ||
		about.Script != "/assets/a.js" || about.IngestPath != "/c" || about.Version == "" {
		t.Fatalf("it says of itself: %s", body)
	}
	const hour, forever = "public, max-age=3600", "public, max-age=31536000, immutable"
	tests := map[string]struct {
		path, accept         string
		body, kind           string
		coding, cacheControl string
	}{
		"script":                     {"/sdk/causality.js", "", "script", "text/javascript; charset=utf-8", "", hour},
		"script in brotli":           {"/sdk/causality.js", "gzip, deflate, br, zstd", "script in brotli", "text/javascript; charset=utf-8", "br", hour},
		"script in gzip":             {"/sdk/causality.js", "gzip", "script in gzip", "text/javascript; charset=utf-8", "gzip", hour},
		"a coding that is refused":   {"/sdk/causality.js", "br;q=0, gzip;q=0", "script", "text/javascript; charset=utf-8", "", hour},
		"worker":                     {"/sdk/causality-worker.js", "", "worker", "text/javascript; charset=utf-8", "", hour},
		"a coding that was not made": {"/sdk/causality-worker.js", "br", "worker", "text/javascript; charset=utf-8", "", hour},
		"core":                       {"/sdk/causality-core.js", "br", "core", "text/javascript; charset=utf-8", "", hour},
		"WebAssembly":                {"/sdk/core.wasm", "gzip, br", "wasm in brotli", "application/wasm", "br", hour},
		"this version":               {"/sdk/" + about.Version + "/causality.js", "", "script", "text/javascript; charset=utf-8", "", forever},
		"another version":            {"/sdk/0123456789ab/core.wasm", "", "\x00asm", "application/wasm", "", hour},
		"another name":               {"/assets/a.js", "br", "script in brotli", "text/javascript; charset=utf-8", "br", hour},
		"its worker":                 {"/assets/a-worker.js", "", "worker", "text/javascript; charset=utf-8", "", hour},
		"its core":                   {"/assets/a-core.js", "", "core", "text/javascript; charset=utf-8", "", hour},
		"its WebAssembly":            {"/assets/a.wasm", "", "\x00asm", "application/wasm", "", hour},
		"the worker's own name":      {"/assets/causality-worker.js", "", "worker", "text/javascript; charset=utf-8", "", hour},
		"the WebAssembly's own name": {"/assets/core.wasm", "", "\x00asm", "application/wasm", "", hour},
		"a name without an ending":   {"/b", "", "script", "text/javascript; charset=utf-8", "", hour},
		"its worker at the root":     {"/b-worker.js", "", "worker", "text/javascript; charset=utf-8", "", hour},
	}
	etags := map[string]string{} // a tag names one content in one coding
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			response, body := fetch(t, http.MethodGet, h.url+tt.path, "Accept-Encoding", tt.accept)
			header := response.Header
			if response.StatusCode != http.StatusOK || body != tt.body {
				t.Fatalf("%d %q", response.StatusCode, body)
			}
			for field, want := range map[string]string{
				"Content-Type": tt.kind, "Content-Encoding": tt.coding, "Cache-Control": tt.cacheControl, "Vary": "Accept-Encoding",
				"Access-Control-Allow-Origin": "*", "Cross-Origin-Resource-Policy": "cross-origin", "X-Content-Type-Options": "nosniff",
				// A worker without a policy of its own may compile WebAssembly under its page's.
				"Content-Security-Policy": "", "Content-Security-Policy-Report-Only": "", "Set-Cookie": "",
			} {
				if got := header.Get(field); got != want {
					t.Errorf("%s = %q, want %q", field, got, want)
				}
			}
			etag := header.Get("ETag")
			if known, ok := etags[etag]; etag == "" || ok && known != body {
				t.Errorf("the tag %s names %q and %q", etag, known, body)
			}
			etags[etag] = body
			again, body := fetch(t, http.MethodGet, h.url+tt.path, "Accept-Encoding", tt.accept, "If-None-Match", etag)
			if again.StatusCode != http.StatusNotModified || body != "" || again.Header.Get("Access-Control-Allow-Origin") != "*" {
				t.Errorf("what is known already: %d %q", again.StatusCode, body)
			}
			head, body := fetch(t, http.MethodHead, h.url+tt.path, "Accept-Encoding", tt.accept)
			if head.StatusCode != http.StatusOK || body != "" || head.Header.Get("ETag") != etag {
				t.Errorf("HEAD: %d %q %v", head.StatusCode, body, head.Header)
			}
		})
	}
	refusals := map[string]struct {
		method, path string
		status       int
	}{
		"marker":             {http.MethodGet, "/sdk/.gitkeep", http.StatusNotFound},
		"a compressed form":  {http.MethodGet, "/sdk/causality.js.br", http.StatusNotFound},
		"another file":       {http.MethodGet, "/sdk/config.json", http.StatusNotFound},
		"deeper":             {http.MethodGet, "/sdk/a/b/causality.js", http.StatusNotFound},
		"POST":               {http.MethodPost, "/sdk/causality.js", http.StatusMethodNotAllowed},
		"POST to a new name": {http.MethodPost, "/assets/a.js", http.StatusMethodNotAllowed},
	}
	for name, tt := range refusals {
		t.Run(name, func(t *testing.T) {
			response, body := fetch(t, tt.method, h.url+tt.path)
			if response.StatusCode != tt.status || strings.Contains(response.Header.Get("Cache-Control"), "max-age") {
				t.Errorf("%d %v %q", response.StatusCode, response.Header, body)
			}
		})
	}
}

func TestWithoutTheSDKItsAddressesSayHowToBuildIt(t *testing.T) {
	t.Parallel()
	h := open(t, func(c *Config) {
		c.SDK, c.SDKPaths = fstest.MapFS{".gitkeep": {}}, []string{"/a.js"}
	})
	for _, path := range []string{"/sdk/causality.js", "/sdk/causality-core.js", "/sdk/causality-worker.js", "/sdk/core.wasm", "/sdk/1/core.wasm", "/a.js"} {
		response, body := fetch(t, http.MethodGet, h.url+path)
		if response.StatusCode != http.StatusNotFound || !strings.Contains(body, "make build") ||
			!strings.HasPrefix(response.Header.Get("Content-Type"), "text/plain") || response.Header.Get("Cache-Control") != "no-store" {
			t.Errorf("%s: %d %v %q", path, response.StatusCode, response.Header, body)
		}
	}
	if _, body := fetch(t, http.MethodGet, h.url+"/sdk/"); !strings.Contains(body, `"version":""`) {
		t.Errorf("it says of itself: %s", body)
	}
}

func TestTheEmbeddedSDKsFolderIsThere(t *testing.T) {
	t.Parallel()
	if _, err := fs.Stat(embeddedSDK, "sdk/.gitkeep"); err != nil {
		t.Error(err)
	}
	if _, err := SDKVersion(); err != nil {
		t.Error(err)
	}
}

func TestTheVersionFollowsEveryFile(t *testing.T) {
	t.Parallel()
	version := func(files fstest.MapFS) string {
		s, err := newSDK(files)
		if err != nil {
			t.Fatal(err)
		}
		return s.version
	}
	seen := []string{version(builtSDK)}
	for _, name := range []string{sdkScript, sdkCore, sdkWorker, sdkWasm} {
		changed := fstest.MapFS{}
		for other, file := range builtSDK {
			changed[other] = file
		}
		changed[name] = &fstest.MapFile{Data: []byte("newer")}
		if v := version(changed); v == "" || slices.Contains(seen, v) {
			t.Errorf("a newer %s makes version %q; seen are %q", name, v, seen)
		} else {
			seen = append(seen, v)
		}
	}
}
