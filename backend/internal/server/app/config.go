package app

import (
	"errors"
	"fmt"
	"net/netip"
	"net/url"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"time"
)

// Config is everything that can be configured. The tags name each flag, its
// variables and its meaning; a YAML key is the flag's name. Zero values of the
// sink's limits select the lake's own.
type Config struct {
	Data   string `name:"data" env:"CAUSALITY_DATA" placeholder:"DIR" help:"Data directory (default: ${data_default})."`
	Listen string `name:"listen" env:"CAUSALITY_LISTEN" default:"127.0.0.1:8080" placeholder:"ADDR" help:"Address of the web app and the API."`
	Roles  string `name:"roles" env:"CAUSALITY_ROLES" default:"all" help:"What this process does: all."`

	PublicURL      string   `name:"public-url" env:"CAUSALITY_PUBLIC_URL" placeholder:"URL" help:"How browsers reach the server, when a proxy stands before it."`
	TrustedProxies []string `name:"trusted-proxies" env:"CAUSALITY_TRUSTED_PROXIES" placeholder:"CIDR" help:"Proxies whose X-Forwarded-For is believed: addresses or CIDR ranges."`
	MetricsListen  string   `name:"metrics-listen" env:"CAUSALITY_METRICS_LISTEN" placeholder:"ADDR" help:"Address of Prometheus metrics, at /metrics; none by default."`

	DatabaseURL string `name:"database-url" env:"CAUSALITY_DATABASE_URL,DATABASE_URL" placeholder:"URL" help:"PostgreSQL to use (default: one of its own, in the data directory)."`
	PostgresBin string `name:"postgres-bin" env:"CAUSALITY_POSTGRES_BIN" placeholder:"DIR" help:"Directory of pg_ctl and postgres (default: found)."`
	NatsURL     string `name:"nats-url" env:"CAUSALITY_NATS_URL" placeholder:"URL" help:"NATS with JetStream to use (default: embedded)."`
	ObjectStore string `name:"object-store" env:"CAUSALITY_OBJECT_STORE" placeholder:"URL" help:"Where Parquet objects live: file:///absolute/path (default: lake/objects in the data directory)."`
	QueryEngine string `name:"query-engine" env:"CAUSALITY_QUERY_ENGINE" default:"duckdb" help:"What answers questions: duckdb."`

	SinkMaxRows    int           `name:"sink-max-rows" env:"CAUSALITY_SINK_MAX_ROWS" placeholder:"N" help:"Events of one object at most (default: 50,000)."`
	SinkMaxBytes   int64         `name:"sink-max-bytes" env:"CAUSALITY_SINK_MAX_BYTES" placeholder:"N" help:"Bytes of events that one object takes at most (default: 32 MiB)."`
	SinkMaxAge     time.Duration `name:"sink-max-age" env:"CAUSALITY_SINK_MAX_AGE" placeholder:"DURATION" help:"Longest that an event waits for its object (default: 1s)."`
	StreamMaxBytes int64         `name:"stream-max-bytes" env:"CAUSALITY_STREAM_MAX_BYTES" placeholder:"N" help:"Bytes that the stream may hold before ingest answers 503 (default: 8 GiB)."`
	QueryMemory    int64         `name:"query-memory" env:"CAUSALITY_QUERY_MEMORY" placeholder:"BYTES" help:"Memory that one query may use (default: an eighth of the machine, at least 512 MiB)."`

	LogLevel  string `name:"log-level" env:"CAUSALITY_LOG_LEVEL" default:"info" enum:"debug,info,warn,error" help:"debug, info, warn or error."`
	LogFormat string `name:"log-format" env:"CAUSALITY_LOG_FORMAT" default:"text" enum:"text,json" help:"text or json."`
}

// DefaultDataDir is where the user's applications keep their data, with our name.
func DefaultDataDir(name string) string {
	if dir := os.Getenv("XDG_DATA_HOME"); filepath.IsAbs(dir) {
		return filepath.Join(dir, name)
	}
	home, err := os.UserHomeDir()
	if err != nil {
		return name
	}
	switch runtime.GOOS {
	case "darwin":
		return filepath.Join(home, "Library", "Application Support", name)
	case "windows":
		return filepath.Join(home, "AppData", "Local", name)
	default:
		return filepath.Join(home, ".local", "share", name)
	}
}

// resolved is a configuration that has been checked.
type resolved struct {
	Config
	publicURL *url.URL
	proxies   []netip.Prefix
	objects   string
}

// resolve reports every wrong value at once.
func (c Config) resolve() (resolved, error) {
	r := resolved{Config: c}
	var problems []error
	problem := func(format string, args ...any) { problems = append(problems, fmt.Errorf(format, args...)) }

	if c.Data == "" {
		c.Data = DefaultDataDir("causality")
	}
	data, err := filepath.Abs(c.Data)
	if err != nil {
		problem("--data %s: %w", c.Data, err)
	}
	r.Data = data
	if c.Roles != "" && c.Roles != "all" {
		problem("--roles %s: this version runs every role in one process; use --roles all", c.Roles)
	}
	if c.QueryEngine != "" && c.QueryEngine != "duckdb" {
		problem("--query-engine %s: this version answers with duckdb only", c.QueryEngine)
	}
	if c.PublicURL != "" {
		u, err := url.Parse(c.PublicURL)
		if err != nil || (u.Scheme != "http" && u.Scheme != "https") || u.Host == "" || strings.Trim(u.Path, "/") != "" {
			problem("--public-url %s: give scheme and host alone, such as https://causality.example.com", c.PublicURL)
		} else {
			r.publicURL = u
		}
	}
	for _, text := range c.TrustedProxies {
		text = strings.TrimSpace(text)
		prefix, err := netip.ParsePrefix(text)
		if err != nil {
			address, addressErr := netip.ParseAddr(text)
			if addressErr != nil {
				problem("--trusted-proxies %s: give addresses or ranges such as 10.0.0.0/8", text)
				continue
			}
			prefix = netip.PrefixFrom(address, address.BitLen())
		}
		r.proxies = append(r.proxies, prefix.Masked())
	}
	r.objects = filepath.Join(data, "lake", "objects")
	if c.ObjectStore != "" {
		u, err := url.Parse(c.ObjectStore)
		switch {
		case err != nil || u.Scheme == "":
			problem("--object-store %s: give a URL such as file:///var/lib/causality/objects", c.ObjectStore)
		case u.Scheme != "file":
			problem("--object-store %s: this version keeps objects in files only; use file:///absolute/path", c.ObjectStore)
		case u.Host != "" || !filepath.IsAbs(u.Path):
			problem("--object-store %s: a file URL has three slashes and an absolute path", c.ObjectStore)
		default:
			r.objects = filepath.Clean(u.Path)
		}
	}
	for name, n := range map[string]int64{
		"--sink-max-rows": int64(c.SinkMaxRows), "--sink-max-bytes": c.SinkMaxBytes, "--sink-max-age": int64(c.SinkMaxAge),
		"--stream-max-bytes": c.StreamMaxBytes, "--query-memory": c.QueryMemory,
	} {
		if n < 0 {
			problem("%s: %d is below zero", name, n)
		}
	}
	if err := errors.Join(problems...); err != nil {
		return resolved{}, &UsageError{err}
	}
	return r, nil
}

// Check reports every wrong value at once, as a *UsageError.
func (c Config) Check() error {
	_, err := c.resolve()
	return err
}

// UsageError is a mistake of whoever configured the process, not of the process.
type UsageError struct{ Err error }

func (e *UsageError) Error() string { return e.Err.Error() }
func (e *UsageError) Unwrap() error { return e.Err }
