package app

import (
	"errors"
	"fmt"
	"net/netip"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"runtime"
	"slices"
	"strings"
	"time"

	"github.com/causality-project/causality/backend/internal/pipeline/ingest/ingestrpc"
	"github.com/causality-project/causality/backend/internal/platform/objstore"
	"github.com/causality-project/causality/backend/internal/server/web"
)

// Stores is the part of the configuration that says where an installation keeps
// what lasts: all that a backup needs.
type Stores struct {
	Data        string `name:"data" env:"CAUSALITY_DATA" placeholder:"DIR" help:"Data directory (default: ${data_default})."`
	DatabaseURL string `name:"database-url" env:"CAUSALITY_DATABASE_URL,DATABASE_URL" placeholder:"URL" help:"PostgreSQL to use (default: one of its own, in the data directory)."`
	PostgresBin string `name:"postgres-bin" env:"CAUSALITY_POSTGRES_BIN" placeholder:"DIR" help:"Directory of pg_ctl and postgres (default: found)."`
	ObjectStore string `name:"object-store" env:"CAUSALITY_OBJECT_STORE" placeholder:"URL" help:"Where Parquet objects live: file:///absolute/path, or s3://bucket/prefix?region=…&endpoint=…&path_style=…&sse=AES256|aws:kms&kms_key=… with the credentials of the AWS_* variables or profile (default: lake/objects in the data directory)."`
	LogLevel    string `name:"log-level" env:"CAUSALITY_LOG_LEVEL" default:"info" enum:"debug,info,warn,error" help:"debug, info, warn or error."`
	LogFormat   string `name:"log-format" env:"CAUSALITY_LOG_FORMAT" default:"text" enum:"text,json" help:"text or json."`
}

// Config is everything that can be configured. The tags name each flag, its
// variables and its meaning; a YAML key is the flag's name. Zero values of the
// sink's limits select the lake's own.
type Config struct {
	Stores

	Listen string `name:"listen" env:"CAUSALITY_LISTEN" default:"127.0.0.1:8080" placeholder:"ADDR" help:"Address of the web app and the API."`
	Roles  string `name:"roles" env:"CAUSALITY_ROLES" default:"all" help:"What this process does: all, or some of ingest (takes events), sink (lands them in the lake), api (web app, questions, settings) and worker (compaction, retention, erasure, publication), with commas between them. Processes with parts of the roles share --database-url, the stream and --object-store."`

	PublicURL      string   `name:"public-url" env:"CAUSALITY_PUBLIC_URL" placeholder:"URL" help:"How browsers reach the server, when a proxy stands before it."`
	TrustedProxies []string `name:"trusted-proxies" env:"CAUSALITY_TRUSTED_PROXIES" placeholder:"CIDR" help:"Proxies whose X-Forwarded-For is believed: addresses or CIDR ranges."`
	MetricsListen  string   `name:"metrics-listen" env:"CAUSALITY_METRICS_LISTEN" placeholder:"ADDR" help:"Address of Prometheus metrics, at /metrics; none by default."`

	SDKPaths    []string `name:"sdk-path" env:"CAUSALITY_SDK_PATH" placeholder:"PATH" help:"Another address of the browser SDK's script, for ad blockers, such as /assets/a.js; what it loads stands beside it, as a-core.js, a-worker.js and a.wasm. May be given several times; snippets name the first. /sdk/causality.js always answers."`
	IngestPaths []string `name:"ingest-path" env:"CAUSALITY_INGEST_PATH" placeholder:"PATH" help:"Another address of the ingest paths, for ad blockers, such as /c: it takes what the RPC and /v1/batch take, and /c/events and /c/batch what /v1/events and /v1/batch take. May be given several times; snippets name the first."`

	NatsURL       string   `name:"nats-url" env:"CAUSALITY_NATS_URL" placeholder:"URL" help:"NATS with JetStream to use, or several servers of one cluster with commas between them (default: embedded)."`
	NatsListen    string   `name:"nats-listen" env:"CAUSALITY_NATS_LISTEN" placeholder:"ADDR" help:"Address on which the embedded stream serves the other processes of this installation, who name it in --nats-url; goes with --nats-cluster."`
	NatsCluster   string   `name:"nats-cluster" env:"CAUSALITY_NATS_CLUSTER" placeholder:"ADDR" help:"Address on which the embedded stream meets those of --nats-peers: three of them keep every event three times and go on when one is lost."`
	NatsPeers     []string `name:"nats-peers" env:"CAUSALITY_NATS_PEERS" placeholder:"ADDR" help:"The --nats-cluster addresses of all three, this one's too."`
	NatsToken     string   `name:"nats-token" env:"CAUSALITY_NATS_TOKEN" placeholder:"SECRET" help:"What whoever connects to --nats-listen or --nats-cluster must know; better given in the environment."`
	StreamShards  int      `name:"stream-shards" env:"CAUSALITY_STREAM_SHARDS" placeholder:"N" help:"Parts of the stream, by app, that sinks share out; the same on every process (default: 1)."`
	ObjectCache   int64    `name:"object-cache-bytes" env:"CAUSALITY_OBJECT_CACHE_BYTES" placeholder:"N" help:"Bytes of an s3 store's objects that are kept in the data directory for questions (default: 20 GiB or a tenth of the disk, the smaller)."`
	QueryEngine   string   `name:"query-engine" env:"CAUSALITY_QUERY_ENGINE" default:"duckdb" enum:"duckdb,trino" help:"What answers questions: duckdb, or trino at --trino-url, which needs a process with --publish iceberg."`
	Publish       string   `name:"publish" env:"CAUSALITY_PUBLISH" placeholder:"iceberg" help:"Mirror the lake into Iceberg tables for Trino and others: iceberg (default: not)."`
	TrinoURL      string   `name:"trino-url" env:"CAUSALITY_TRINO_URL" placeholder:"URL" help:"Trino with the configuration of backend/deploy/trino, such as https://trino:8443."`
	TrinoUser     string   `name:"trino-user" env:"CAUSALITY_TRINO_USER" default:"causality" help:"Who may ask in the name of apps there."`
	TrinoPassword string   `name:"trino-password" env:"CAUSALITY_TRINO_PASSWORD" placeholder:"SECRET" help:"That user's password; better given in the environment."`
	TrinoCA       string   `name:"trino-ca" env:"CAUSALITY_TRINO_CA" placeholder:"FILE" help:"PEM file of what signs Trino's certificate (default: what the system trusts)."`

	SinkMaxRows    int           `name:"sink-max-rows" env:"CAUSALITY_SINK_MAX_ROWS" placeholder:"N" help:"Events of one object at most (default: 50,000)."`
	SinkMaxBytes   int64         `name:"sink-max-bytes" env:"CAUSALITY_SINK_MAX_BYTES" placeholder:"N" help:"Bytes of events that one object takes at most (default: 32 MiB)."`
	SinkMaxAge     time.Duration `name:"sink-max-age" env:"CAUSALITY_SINK_MAX_AGE" placeholder:"DURATION" help:"Longest that an event waits for its object (default: 1s)."`
	StreamMaxBytes int64         `name:"stream-max-bytes" env:"CAUSALITY_STREAM_MAX_BYTES" placeholder:"N" help:"Bytes that the stream may hold before ingest answers 503 (default: 8 GiB)."`
	QueryMemory    int64         `name:"query-memory" env:"CAUSALITY_QUERY_MEMORY" placeholder:"BYTES" help:"Memory that one query may use (default: an eighth of the machine, at least 512 MiB)."`
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
	objects   string             // the folder of a file store
	bucket    *objstore.S3Config // an s3 store instead
	roles     roles
}

// roles are what a process does.
type roles struct{ ingest, sink, api, worker bool }

var allRoles = roles{true, true, true, true}

func (r roles) String() string {
	if r == allRoles {
		return "all"
	}
	var names []string
	for _, role := range []struct {
		name string
		has  bool
	}{{"ingest", r.ingest}, {"sink", r.sink}, {"api", r.api}, {"worker", r.worker}} {
		if role.has {
			names = append(names, role.name)
		}
	}
	return strings.Join(names, ",")
}

func parseRoles(text string) (r roles, err error) {
	for name := range strings.SplitSeq(text, ",") {
		switch strings.TrimSpace(name) {
		case "all", "":
			r = allRoles
		case "ingest":
			r.ingest = true
		case "sink":
			r.sink = true
		case "api":
			r.api = true
		case "worker":
			r.worker = true
		default:
			return r, fmt.Errorf("--roles %s: there is no role %q; give all, or some of ingest, sink, api and worker with commas between them", text, name)
		}
	}
	return r, nil
}

// checkSharing refuses a process with some of the roles that would work on
// stores of its own: the others would never see what it does.
func (c Config) checkSharing(r roles) (problems []error) {
	if r != allRoles {
		for _, needed := range []struct{ flag, value, why string }{
			{"--database-url", c.DatabaseURL, "each process would start a database of its own"},
			{"--object-store", c.ObjectStore, "each process would keep objects in its own data directory"},
			{"--nats-url or --nats-cluster", c.NatsURL + c.NatsCluster, "each process would have a stream of its own"},
		} {
			if needed.value == "" {
				problems = append(problems, fmt.Errorf("--roles %s needs %s: without it %s", r, needed.flag, needed.why))
			}
		}
	}
	if c.NatsURL != "" && c.NatsListen+c.NatsCluster != "" {
		problems = append(problems, errors.New("--nats-url uses another stream than the embedded one; leave out --nats-listen and --nats-cluster"))
	}
	if (c.NatsCluster == "") != (len(c.NatsPeers) == 0) {
		problems = append(problems, errors.New("--nats-cluster and --nats-peers go together: an address of this process, and those of all three"))
	}
	if c.NatsListen != "" && c.NatsCluster == "" {
		problems = append(problems, errors.New("--nats-listen serves the stream of a cluster: give --nats-cluster and --nats-peers too"))
	}
	if c.NatsCluster != "" && c.NatsToken == "" {
		problems = append(problems, errors.New("--nats-cluster opens the stream to the network: set CAUSALITY_NATS_TOKEN to a secret of 16 or more letters and digits that all processes share"))
	}
	return problems
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
	if r.roles, err = parseRoles(c.Roles); err != nil {
		problems = append(problems, err)
	} else {
		problems = append(problems, c.checkSharing(r.roles)...)
	}
	switch {
	case c.QueryEngine == "trino" && c.TrinoURL == "":
		problem("--query-engine trino needs --trino-url")
	case c.QueryEngine != "" && c.QueryEngine != "duckdb" && c.QueryEngine != "trino":
		problem("--query-engine %s: give duckdb or trino", c.QueryEngine)
	}
	if c.Publish != "" && c.Publish != "iceberg" {
		problem("--publish %s: give iceberg", c.Publish)
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
	problems = append(problems, checkPaths(c.SDKPaths, c.IngestPaths)...)
	r.objects = filepath.Join(data, "lake", "objects")
	if c.ObjectStore != "" {
		u, err := url.Parse(c.ObjectStore)
		switch {
		case err != nil || u.Scheme != "file" && u.Scheme != "s3":
			problem("--object-store %s: give a URL such as file:///var/lib/causality/objects or s3://bucket/prefix", c.ObjectStore)
		case u.Scheme == "s3":
			bucket, err := objstore.ParseS3(c.ObjectStore)
			if err != nil {
				problem("--object-store %s: %w", c.ObjectStore, err)
			}
			r.bucket = &bucket
		case u.Host != "" || !filepath.IsAbs(u.Path):
			problem("--object-store %s: a file URL has three slashes and an absolute path", c.ObjectStore)
		default:
			r.objects = filepath.Clean(u.Path)
		}
	}
	for name, n := range map[string]int64{
		"--sink-max-rows": int64(c.SinkMaxRows), "--sink-max-bytes": c.SinkMaxBytes, "--sink-max-age": int64(c.SinkMaxAge),
		"--stream-max-bytes": c.StreamMaxBytes, "--query-memory": c.QueryMemory, "--object-cache-bytes": c.ObjectCache, "--stream-shards": int64(c.StreamShards),
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

// plainPath is a path without an end slash, dots alone, or anything that a URL
// or a route would read otherwise.
var plainPath = regexp.MustCompile(`^(/[A-Za-z0-9_~-][A-Za-z0-9._~-]*)+$`)

// ownPaths begin what this server answers itself, now or by its contract.
var ownPaths = []string{"/app", "/sdk", "/v1", "/docs", "/healthz", "/readyz", "/metrics"}

// checkPaths refuses names that are no paths, are taken, or answer two things.
func checkPaths(scripts, ingest []string) (problems []error) {
	taken := map[string]string{}
	check := func(flag, name, example string, expand func(string) []string) {
		if !plainPath.MatchString(name) {
			problems = append(problems, fmt.Errorf("%s %s: give a path of letters, digits, dots and dashes, such as %s", flag, name, example))
			return
		}
		first, _, _ := strings.Cut(name[1:], "/")
		if slices.Contains(ownPaths, "/"+first) || strings.HasPrefix(first, "causality.") {
			problems = append(problems, fmt.Errorf("%s %s: the server answers /%s itself; choose another, such as %s", flag, name, first, example))
			return
		}
		for _, answered := range expand(name) {
			if other := taken[answered]; other != "" && other != flag {
				problems = append(problems, fmt.Errorf("%s %s: %s answers %s already; choose another", flag, name, other, answered))
				return
			}
			taken[answered] = flag
		}
	}
	for _, name := range scripts {
		check("--sdk-path", name, "/assets/a.js", web.SDKPaths)
	}
	for _, name := range ingest {
		check("--ingest-path", name, "/c", ingestrpc.PathsOf)
	}
	return problems
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
