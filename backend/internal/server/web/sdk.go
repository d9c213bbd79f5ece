package web

import (
	"crypto/sha256"
	"embed"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"path"
	"slices"
	"strings"
)

// The browser SDK as `make build` leaves it, each file beside its compressed
// forms. On a fresh clone only marker files are there.
//
//go:embed all:sdk
var embeddedSDK embed.FS

// What a page loads: the script, and from beside it the core in TypeScript or,
// when it asks for the one in Go, a worker and that.
const (
	sdkScript = "causality.js"
	sdkCore   = "causality-core.js"
	sdkWorker = "causality-worker.js"
	sdkWasm   = "core.wasm"
)

const missingSDK = "This binary was built without the browser SDK. Run `make build` in the repository, then start the new binary.\n"

var codings = []struct{ name, suffix string }{{"br", ".br"}, {"gzip", ".gz"}, {"", ""}}

// sdk serves the files to pages of every origin. It sets no
// Content-Security-Policy: a worker without one of its own may compile
// WebAssembly under any policy of its page.
type sdk struct {
	files   fs.FS
	etags   map[string]string // by file name, with the suffix of its coding
	version string            // of the files together; empty: there are none
}

func newSDK(files fs.FS) (*sdk, error) {
	if files == nil {
		sub, err := fs.Sub(embeddedSDK, "sdk")
		if err != nil {
			return nil, fmt.Errorf("open the embedded browser SDK: %w", err)
		}
		files = sub
	}
	s := &sdk{files: files, etags: map[string]string{}}
	all := sha256.New()
	for _, name := range []string{sdkScript, sdkCore, sdkWorker, sdkWasm} {
		for _, coding := range codings {
			sum, err := digest(files, name+coding.suffix)
			if errors.Is(err, fs.ErrNotExist) {
				continue
			}
			if err != nil {
				return nil, fmt.Errorf("read the browser SDK: %w", err)
			}
			s.etags[name+coding.suffix] = `"` + hex.EncodeToString(sum[:12]) + `"`
			if coding.name == "" {
				all.Write(sum)
			}
		}
	}
	if s.etags[sdkScript] != "" {
		s.version = hex.EncodeToString(all.Sum(nil)[:6])
	}
	return s, nil
}

func digest(files fs.FS, name string) ([]byte, error) {
	file, err := files.Open(name)
	if err != nil {
		return nil, err
	}
	defer func() { _ = file.Close() }()
	sum := sha256.New()
	if _, err := io.Copy(sum, file); err != nil {
		return nil, err
	}
	return sum.Sum(nil), nil
}

// SDKPaths lists what another name of the script answers: beside /a/b.js stand
// what it loads, under their own names and under the script's: /a/b-core.js,
// /a/b-worker.js and /a/b.wasm.
func SDKPaths(script string) []string {
	var out []string
	for name := range sdkAliases(script) {
		out = append(out, name)
	}
	slices.Sort(out)
	return out
}

func sdkAliases(script string) map[string]string {
	folder, stem := path.Dir(script), strings.TrimSuffix(script, path.Ext(script))
	return map[string]string{
		path.Join(folder, sdkCore):   sdkCore,
		path.Join(folder, sdkWorker): sdkWorker,
		path.Join(folder, sdkWasm):   sdkWasm,
		stem + "-core.js":            sdkCore,
		stem + "-worker.js":          sdkWorker,
		stem + ".wasm":               sdkWasm,
		script:                       sdkScript,
	}
}

// register mounts /sdk/ and every other name of the script. Files under
// /sdk/<version>/ never change, and those under another version are the current
// ones: an upgrade must not take the script from pages that name the old.
func (s *sdk) register(handle func(pattern string, handler http.Handler), scripts, ingest []string) {
	handle("GET /sdk/{$}", s.describe(scripts, ingest))
	handle("/sdk/{file}", s.handler(func(r *http.Request) (string, bool) { return r.PathValue("file"), false }))
	handle("/sdk/{version}/{file}", s.handler(func(r *http.Request) (string, bool) {
		return r.PathValue("file"), r.PathValue("version") == s.version
	}))
	names := map[string]string{}
	for _, script := range scripts {
		for name, file := range sdkAliases(script) {
			names[name] = file
		}
	}
	for name, file := range names {
		handle(name, s.handler(func(*http.Request) (string, bool) { return file, false }))
	}
}

// handler serves the file that find names, and whether its address is one whose
// content never changes.
func (s *sdk) handler(find func(*http.Request) (name string, unchanging bool)) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		header := w.Header()
		header.Set("Access-Control-Allow-Origin", "*")
		header.Set("Cross-Origin-Resource-Policy", "cross-origin")
		if r.Method != http.MethodGet && r.Method != http.MethodHead {
			header.Set("Allow", "GET, HEAD")
			http.Error(w, "The browser SDK is fetched with GET.", http.StatusMethodNotAllowed)
			return
		}
		name, unchanging := find(r)
		switch name {
		case sdkScript, sdkCore, sdkWorker:
			header.Set("Content-Type", "text/javascript; charset=utf-8")
		case sdkWasm:
			header.Set("Content-Type", "application/wasm")
		default:
			header.Set("Cache-Control", "no-store")
			http.Error(w, "The browser SDK has no file of this name; its script is "+sdkScript+".", http.StatusNotFound)
			return
		}
		if s.etags[name] == "" {
			header.Set("Content-Type", "text/plain; charset=utf-8")
			header.Set("Cache-Control", "no-store")
			w.WriteHeader(http.StatusNotFound)
			_, _ = io.WriteString(w, missingSDK)
			return
		}
		header.Set("Cache-Control", "public, max-age=3600")
		if unchanging {
			header.Set("Cache-Control", assetCache)
		}
		header.Add("Vary", "Accept-Encoding")
		for _, coding := range codings {
			etag := s.etags[name+coding.suffix]
			if etag == "" || coding.name != "" && !accepts(r, coding.name) {
				continue
			}
			if coding.name != "" {
				header.Set("Content-Encoding", coding.name)
			}
			header.Set("ETag", etag)
			name += coding.suffix
			break
		}
		http.ServeFileFS(w, r, s.files, name)
	})
}

// describe tells the web app what a page should load and where that should send
// to, so that its snippets name the addresses that the operator chose.
func (s *sdk) describe(scripts, ingest []string) http.Handler {
	about := struct {
		Version    string `json:"version"` // empty: none is built in
		Script     string `json:"script"`
		IngestPath string `json:"ingestPath"` // empty: the script's own default
	}{Version: s.version, Script: "/sdk/" + sdkScript}
	if len(scripts) > 0 {
		about.Script = scripts[0]
	}
	if len(ingest) > 0 {
		about.IngestPath = ingest[0]
	}
	return http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		w.Header().Set("Cache-Control", "no-store")
		_ = json.NewEncoder(w).Encode(about)
	})
}

// SDKVersion names the browser SDK that is built in; empty: none is.
func SDKVersion() (string, error) {
	s, err := newSDK(nil)
	if err != nil {
		return "", err
	}
	return s.version, nil
}
