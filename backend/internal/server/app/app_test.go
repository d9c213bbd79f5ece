package app

import (
	"errors"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
)

func TestWrongSettingsAreAllNamedAtOnce(t *testing.T) {
	t.Parallel()
	err := Config{
		Stores: Stores{Data: t.TempDir(), ObjectStore: "s3://b"}, Roles: "sink", NatsListen: "127.0.0.1:4222", QueryEngine: "trino", PublicURL: "example.com", TrustedProxies: []string{"10.0.0.0/8", "proxy"},
		SinkMaxRows: -1, SDKPaths: []string{"a.js"}, IngestPaths: []string{"/app/c"},
	}.Check()
	var usage *UsageError
	if !errors.As(err, &usage) {
		t.Fatalf("got %v", err)
	}
	for _, want := range []string{"--roles sink needs --database-url", "--nats-cluster", "--query-engine trino needs --trino-url", "--public-url example.com", "--trusted-proxies proxy", "--object-store s3://b", "--sink-max-rows", "--sdk-path a.js", "--ingest-path /app/c"} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("%s is not in %v", want, err)
		}
	}
	if err := (Config{Stores: Stores{Data: "x", ObjectStore: "file:///srv/o"}, Roles: "all", PublicURL: "https://a.example.com", TrustedProxies: []string{"10.0.0.1", "::1/128"}}).Check(); err != nil {
		t.Errorf("good settings: %v", err)
	}
}

func TestOtherNamesOfPathsAreChecked(t *testing.T) {
	t.Parallel()
	tests := map[string]struct {
		scripts, ingest []string
		want            string // empty: they can be used
	}{
		"both":                          {[]string{"/assets/a.js", "/b"}, []string{"/c", "/_/c.1~x"}, ""},
		"the same twice":                {[]string{"/a.js", "/a.js"}, []string{"/c", "/c"}, ""},
		"two scripts of one folder":     {[]string{"/a.js", "/b.js"}, nil, ""},
		"no slash":                      {[]string{"a.js"}, nil, "--sdk-path a.js: give a path"},
		"the root":                      {nil, []string{"/"}, "give a path"},
		"an end slash":                  {nil, []string{"/c/"}, "give a path"},
		"a query":                       {nil, []string{"/c?d"}, "give a path"},
		"a wildcard":                    {[]string{"/{a}"}, nil, "give a path"},
		"upwards":                       {[]string{"/x/../app"}, nil, "give a path"},
		"a URL":                         {nil, []string{"https://a.example/c"}, "give a path"},
		"nothing":                       {[]string{""}, nil, "give a path"},
		"the web app's":                 {[]string{"/app/a.js"}, nil, "answers /app itself"},
		"the API's":                     {nil, []string{"/v1"}, "answers /v1 itself"},
		"a service's":                   {nil, []string{"/causality.ingest.v1.IngestService/c"}, "itself"},
		"a script where events go":      {[]string{"/c"}, []string{"/c"}, "--sdk-path answers /c already"},
		"a worker where events go":      {[]string{"/c.js"}, []string{"/c-worker.js"}, "--sdk-path answers /c-worker.js already"},
		"events below a script's name":  {[]string{"/c/events"}, []string{"/c"}, "--sdk-path answers /c/events already"},
		"a script beside where they go": {[]string{"/c/a.js"}, []string{"/c"}, ""},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			err := Config{Stores: Stores{Data: "x"}, SDKPaths: tt.scripts, IngestPaths: tt.ingest}.Check()
			if tt.want == "" && err != nil || tt.want != "" && (err == nil || !strings.Contains(err.Error(), tt.want)) {
				t.Errorf("got %v", err)
			}
		})
	}
}

func TestADataDirectoryIsUsedByOneProcess(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "new", "data")
	first, err := openDataDir(path)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := openDataDir(path); err == nil || !strings.Contains(err.Error(), "process "+strconv.Itoa(os.Getpid())) {
		t.Errorf("second: %v", err)
	}
	if Locked(path) == "" {
		t.Error("nobody is said to hold it")
	}
	if err := first.ownerInvited(); err != nil {
		t.Fatal(err)
	}
	if err := first.Close(); err != nil {
		t.Fatal(err)
	}
	if holder := Locked(path); holder != "" {
		t.Errorf("still held by %s", holder)
	}
	again, err := openDataDir(path)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = again.Close() }()
	if again.marker.OwnerInvitedAt.IsZero() || again.marker.CreatedAt.IsZero() {
		t.Errorf("forgotten: %+v", again.marker)
	}
}

func TestADirectoryThatIsNotOursIsLeftAsItIs(t *testing.T) {
	t.Parallel()
	tests := map[string]struct{ file, content, want string }{
		"somebody's files": {"thesis.txt", "x", "holds files but no causality.json"},
		"a newer version":  {markerName, `{"format":99}`, "newer causality"},
		"a damaged marker": {markerName, `{`, "damaged"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			path := t.TempDir()
			if err := os.WriteFile(filepath.Join(path, tt.file), []byte(tt.content), 0o600); err != nil {
				t.Fatal(err)
			}
			if _, err := openDataDir(path); err == nil || !strings.Contains(err.Error(), tt.want) || !strings.Contains(err.Error(), "nothing was touched") {
				t.Errorf("got %v", err)
			}
			entries, _ := os.ReadDir(path)
			if len(entries) != 1 {
				t.Errorf("it holds %v now", entries)
			}
		})
	}
	empty := t.TempDir() // what a killed first start may leave
	for _, name := range []string{lockName, markerName + ".new"} {
		if err := os.WriteFile(filepath.Join(empty, name), nil, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if dir, err := openDataDir(empty); err != nil {
		t.Error(err)
	} else {
		_ = dir.Close()
	}
}

func TestLongPathsMoveTheSocket(t *testing.T) {
	t.Parallel()
	if got := SocketPath("/srv/causality"); got != "/srv/causality/causality.sock" {
		t.Error(got)
	}
	long := "/srv/" + strings.Repeat("x", 100)
	moved := SocketPath(long)
	if len(moved) > longestSocketPath || moved == SocketPath(long+"y") || strings.HasPrefix(moved, long) {
		t.Error(moved)
	}
	if err := makeSocketDir(long, moved); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.Remove(filepath.Dir(moved)) })
	if err := os.Chmod(filepath.Dir(moved), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := makeSocketDir(long, moved); err == nil {
		t.Error("an open directory was taken")
	}
}

func TestVersionsAreReadable(t *testing.T) {
	t.Parallel()
	if got := duckdbVersion("v0.10505.0"); got != "1.5.5" {
		t.Error(got)
	}
}
