package web

import (
	"embed"
	"io/fs"
	"mime"
	"net/http"
	"path"
	"strings"
)

// The web app as `make build` leaves it. On a fresh clone only a marker file is
// there, and a page says how to build the rest.
//
//go:embed all:dist
var embedded embed.FS

const (
	assetCache = "public, max-age=31536000, immutable"

	// contentSecurityPolicy lets the app load only what this server sends it.
	// Constructed style sheets are no inline styles, so style needs no exception;
	// style attributes that scripts set are not covered by it either.
	contentSecurityPolicy = "default-src 'self'; script-src 'self'; style-src 'self'; img-src 'self' data: blob:; " +
		"font-src 'self'; connect-src 'self'; worker-src 'self'; manifest-src 'self'; object-src 'none'; base-uri 'none'; " +
		"form-action 'self'; frame-src 'none'; frame-ancestors 'none'"
)

const missingApp = `<!doctype html>
<html lang="en"><meta charset="utf-8"><meta name="viewport" content="width=device-width"><title>Causality</title>
<h1>Causality is running</h1>
<p>This binary was built without the web app. Run <code>make build</code> in the repository, then start the new binary.</p>
<p>The API and the command line work meanwhile.</p>
</html>
`

// appHandler serves the web app under /app/: hashed assets for ever, the shell
// never from a cache, and the shell for every path that the app routes itself.
func appHandler(dist fs.FS) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		header := w.Header()
		header.Set("Content-Security-Policy", contentSecurityPolicy)
		header.Set("X-Frame-Options", "DENY")
		header.Set("Cross-Origin-Opener-Policy", "same-origin")
		header.Set("Permissions-Policy", "camera=(), microphone=(), geolocation=(), payment=(), usb=()")
		name := strings.TrimPrefix(path.Clean(r.URL.Path), "/app")
		name = strings.TrimPrefix(name, "/")
		switch {
		case name == "" || name == "index.html" || strings.HasPrefix(path.Base(name), "."):
			serveShell(w, r, dist)
		case isFile(dist, name):
			header.Set("Cache-Control", "no-cache")
			if strings.HasPrefix(name, "assets/") {
				header.Set("Cache-Control", assetCache)
			}
			serveFile(w, r, dist, name)
		case strings.HasPrefix(name, "assets/"):
			header.Set("Cache-Control", "no-store")
			http.Error(w, "This asset belongs to another version of the app; reload the page.", http.StatusNotFound)
		default:
			serveShell(w, r, dist)
		}
	})
}

func serveShell(w http.ResponseWriter, r *http.Request, dist fs.FS) {
	w.Header().Set("Cache-Control", "no-store")
	if !isFile(dist, "index.html") {
		w.Header().Set("Content-Type", "text/html; charset=utf-8")
		_, _ = w.Write([]byte(missingApp))
		return
	}
	serveFile(w, r, dist, "index.html")
}

// serveFile prefers a form that the build compressed already.
func serveFile(w http.ResponseWriter, r *http.Request, dist fs.FS, name string) {
	header := w.Header()
	kind := mime.TypeByExtension(path.Ext(name))
	if kind == "" {
		kind = "application/octet-stream"
	}
	header.Set("Content-Type", kind)
	header.Add("Vary", "Accept-Encoding")
	for _, form := range []struct{ coding, suffix string }{{"br", ".br"}, {"gzip", ".gz"}} {
		if accepts(r, form.coding) && isFile(dist, name+form.suffix) {
			header.Set("Content-Encoding", form.coding)
			name += form.suffix
			break
		}
	}
	http.ServeFileFS(w, r, dist, name)
}

func isFile(dist fs.FS, name string) bool {
	info, err := fs.Stat(dist, name)
	return err == nil && info.Mode().IsRegular()
}

// accepts reads Accept-Encoding; a coding with q=0 is refused.
func accepts(r *http.Request, coding string) bool {
	for part := range strings.SplitSeq(r.Header.Get("Accept-Encoding"), ",") {
		name, weight, _ := strings.Cut(strings.TrimSpace(part), ";")
		if strings.EqualFold(strings.TrimSpace(name), coding) {
			weight = strings.ReplaceAll(weight, " ", "")
			return weight != "q=0" && weight != "q=0.0" && weight != "q=0.00" && weight != "q=0.000"
		}
	}
	return false
}
