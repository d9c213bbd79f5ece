package main

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"connectrpc.com/connect"

	"github.com/causality-project/causality/backend/internal/analysis/query/duckdb"
	healthv1 "github.com/causality-project/causality/proto/gen/causality/health/v1"
)

func TestMain(m *testing.M) {
	// The query engine starts this same binary as its child.
	if len(os.Args) == 2 && os.Args[1] == "duckdb-worker" {
		os.Exit(duckdb.WorkerMain(os.Stdin, os.Stdout))
	}
	os.Exit(m.Run())
}

// cli runs a command as main would, without the environment of the test.
func cli(t *testing.T, env map[string]string, args ...string) (code int, out, errOut string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	var stdout, stderr bytes.Buffer
	lookup := func(name string) (string, bool) {
		value, ok := env[name]
		return value, ok
	}
	code = run(ctx, args, strings.NewReader(""), &stdout, &stderr, lookup)
	return code, stdout.String(), stderr.String()
}

func TestWrongUsageIsToldFromFailure(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	write := func(name, content string) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	tests := map[string]struct {
		args []string
		code int
		want string
	}{
		"nothing":              {nil, exitUsage, "Usage: causality"},
		"unknown command":      {[]string{"bogus"}, exitUsage, "bogus"},
		"unknown flag":         {[]string{"serve", "--bogus"}, exitUsage, "--bogus"},
		"missing argument":     {[]string{"import", "--app", "x"}, exitUsage, "<file>"},
		"missing app":          {[]string{"import", "x.csv"}, exitUsage, "--app"},
		"wrong kind":           {[]string{"keys", "create", "--app", "x", "--kind", "blue"}, exitUsage, `"write","secret"`},
		"wrong role":           {[]string{"serve", "--data", dir, "--roles", "sink"}, exitUsage, "--roles sink"},
		"a path that is taken": {[]string{"serve", "--data", dir, "--ingest-path", "/app"}, exitUsage, "--ingest-path /app: the server answers /app itself"},
		"wrong log level":      {[]string{"serve", "--log-level", "loud"}, exitUsage, "log-level"},
		"key without server":   {[]string{"apps", "list", "--key", "sk_x"}, exitUsage, "--server"},
		"server without key":   {[]string{"apps", "list", "--server", "http://127.0.0.1:1"}, exitUsage, "--key"},
		"not an address":       {[]string{"apps", "list", "--server", "here", "--key", "sk_x"}, exitUsage, "--server here"},
		"nothing to change":    {[]string{"apps", "update", "x"}, exitUsage, "nothing to change"},
		"nothing to erase":     {[]string{"lake", "erase", "--app", "x"}, exitUsage, "say what to erase"},
		"two people to erase":  {[]string{"lake", "erase", "--app", "x", "--user", "a", "--anonymous", "b"}, exitUsage, "--user and --anonymous"},
		"erase without an app": {[]string{"lake", "erase", "--user", "a"}, exitUsage, "--app"},
		"no letter to drop":    {[]string{"lake", "dead-letters", "drop"}, exitUsage, "--all"},
		"nothing to publish":   {[]string{"lake", "publish"}, exitUsage, "--rebuild"},
		"no question":          {[]string{"insight", write("q.json", `{"trend":{"nonsense":1}}`)}, exitUsage, "nonsense"},
		"two-letter delimiter": {[]string{"import", "x.csv", "--app", "x", "--delimiter", "ab"}, exitUsage, "one character"},
		"unknown setting":      {[]string{"doctor", "--config", write("c.yaml", "lisen: x\n")}, exitUsage, "lisen"},
		"no YAML":              {[]string{"doctor", "--config", write("d.yaml", "a: [\n")}, exitUsage, "d.yaml"},
		"no server":            {[]string{"apps", "list", "--data", dir}, exitFailed, "no server is running on " + dir + "; start it with: causality serve --data " + dir},
		"no such question":     {[]string{"insight", filepath.Join(dir, "none.json")}, exitFailed, "none.json"},
		"not our directory":    {[]string{"serve", "--data", dir}, exitFailed, "nothing was touched"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			code, out, errOut := cli(t, nil, tt.args...)
			if code != tt.code || !strings.Contains(errOut, tt.want) || out != "" {
				t.Errorf("exit %d, out %q, err %q", code, out, errOut)
			}
		})
	}
}

func TestHelpAndVersionAreAnswers(t *testing.T) {
	t.Parallel()
	for _, args := range [][]string{{"--help"}, {"serve", "--help"}, {"version"}} {
		if code, out, errOut := cli(t, nil, args...); code != exitDone || out == "" || errOut != "" {
			t.Errorf("%v: exit %d, out %q, err %q", args, code, out, errOut)
		}
	}
	if _, out, _ := cli(t, nil, "serve", "--help"); !strings.Contains(out, "--sdk-path") || !strings.Contains(out, "--ingest-path") {
		t.Errorf("other names of paths are not explained:\n%s", out)
	}
	if _, out, _ := cli(t, nil, "demo", "--help"); !strings.Contains(out, "causality-demo") {
		t.Errorf("demo's data directory is not its own:\n%s", out)
	}
}

func TestFlagsWinOverVariablesOverTheFile(t *testing.T) {
	t.Parallel()
	file := filepath.Join(t.TempDir(), "c.yaml")
	content := "listen: 127.0.0.1:1001\nlog_level: warn\npublic-url: https://file.example.com\ntrusted-proxies: [10.0.0.1, 10.0.0.2]\ndatabase-url: postgres://u:secret@127.0.0.1:1/x\nsdk_path: [/a.js, /assets/b.js]\n"
	if err := os.WriteFile(file, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
	env := map[string]string{
		"CAUSALITY_CONFIG": file, "CAUSALITY_LISTEN": "127.0.0.1:1002", "CAUSALITY_LOG_LEVEL": "error", "CAUSALITY_DATA": filepath.Join(t.TempDir(), "d"),
		"CAUSALITY_NATS_URL": "", "CAUSALITY_INGEST_PATH": "/c,/d",
	}
	code, out, errOut := cli(t, env, "doctor", "--listen", "127.0.0.1:0")
	got := map[string][]string{}
	for line := range strings.Lines(out) {
		if fields := strings.Fields(line); len(fields) > 1 {
			got[fields[0]] = fields[1:]
		}
	}
	for name, want := range map[string]string{
		"listen":      "127.0.0.1:0 --listen",
		"log-level":   "error CAUSALITY_LOG_LEVEL",
		"public-url":  "https://file.example.com " + file,
		"log-format":  "text default",
		"sdk-path":    "[/a.js /assets/b.js] " + file,
		"ingest-path": "[/c /d] CAUSALITY_INGEST_PATH",
		"nats-url":    "– default",
	} {
		if strings.Join(got[name], " ") != want {
			t.Errorf("%s: %q, want %q", name, got[name], want)
		}
	}
	if !strings.Contains(out, "[10.0.0.1 10.0.0.2]") {
		t.Errorf("the list was not read:\n%s", out)
	}
	if !strings.Contains(out, "ok     browser SDK: ") {
		t.Errorf("the browser SDK was not looked at:\n%s", out)
	}
	if strings.Contains(out+errOut, "secret") {
		t.Error("a password was shown")
	}
	if code != exitFailed || !strings.Contains(out, "WRONG  PostgreSQL") {
		t.Errorf("exit %d: an unreachable database was not found:\n%s", code, out)
	}
}

func TestDatabaseURLHasItsConventionalAlias(t *testing.T) {
	t.Parallel()
	_, out, _ := cli(t, map[string]string{"DATABASE_URL": "postgres://127.0.0.1:1/x", "CAUSALITY_DATA": t.TempDir()}, "doctor")
	if !strings.Contains(out, "DATABASE_URL") {
		t.Error(out)
	}
}

// lines collects what a command prints while it runs.
type lines struct {
	mu   sync.Mutex
	text bytes.Buffer
	came chan struct{}
}

func newLines() *lines { return &lines{came: make(chan struct{}, 1)} }

func (l *lines) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	defer func() {
		select {
		case l.came <- struct{}{}:
		default:
		}
	}()
	return l.text.Write(p)
}

func (l *lines) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.String()
}

// serve starts a server as people do and returns its directory and its output.
func serve(t *testing.T, data string) (out, errOut *lines, stop func() int) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	out, errOut = newLines(), newLines()
	ended := make(chan int, 1)
	go func() {
		ended <- run(ctx, []string{"serve", "--data", data, "--listen", "127.0.0.1:0"}, strings.NewReader(""), out, errOut, func(string) (string, bool) { return "", false })
	}()
	stop = sync.OnceValue(func() int {
		cancel()
		return <-ended
	})
	t.Cleanup(func() { stop() })
	timeout := time.After(2 * time.Minute)
	for !strings.Contains(errOut.String(), "is ready at") {
		select {
		case <-errOut.came:
		case code := <-ended:
			ended <- code
			t.Fatalf("the server ended: %s", errOut)
		case <-timeout:
			t.Fatalf("the server does not start: %s", errOut)
		}
	}
	return out, errOut, stop
}

// TestTheWayOfAFile goes from an empty directory to answers and back to a
// stopped server, with the commands that people type.
func TestTheWayOfAFile(t *testing.T) {
	t.Parallel()
	data := filepath.Join(t.TempDir(), "data")
	out, errOut, stop := serve(t, data)
	must := func(wantCode int, args ...string) (string, string) {
		t.Helper()
		code, out, said := cli(t, map[string]string{"CAUSALITY_DATA": data}, args...)
		if code != wantCode {
			t.Fatalf("%v: exit %d, out %q, err %q; server: %s", args, code, out, said, errOut)
		}
		return out, said
	}
	id, _ := must(exitDone, "apps", "create", "shop", "--time-zone", "Europe/Berlin")
	if len(strings.TrimSpace(id)) != 36 {
		t.Errorf("an id alone was expected: %q", id)
	}
	must(exitFailed, "apps", "create", "shop")

	file := filepath.Join(t.TempDir(), "sales.csv")
	rows := "\xef\xbb\xbfwho;day;amount\r\n00001;1997-01-01;11.77\r\n00001;1997-01-01;11.77\r\n2;1997-02-01;12.00\r\n"
	if err := os.WriteFile(file, []byte(rows), 0o600); err != nil {
		t.Fatal(err)
	}
	imported := []string{"import", file, "--app", "shop", "--event", "sale", "--map", "user_id=who,timestamp=day"}
	if out, said := must(exitDone, imported...); out != "" || !strings.Contains(said, "3 rows: 3 new, 0 already there") {
		t.Errorf("first import: %q %q", out, said)
	}
	if _, said := must(exitDone, imported...); !strings.Contains(said, "3 rows: 0 new, 3 already there") {
		t.Errorf("second import: %q", said)
	}
	sql := "select user_id, count(*) n, sum((properties->>'amount')::decimal(9,2)) total from events group by 1 order by 1"
	if out, _ := must(exitDone, "query", "--app", "shop", "--format", "csv", sql); out != "user_id,n,total\n00001,2,23.54\n2,1,12.00\n" {
		t.Errorf("csv: %q", out)
	}
	if out, _ := must(exitDone, "query", "--app", "shop", sql); !strings.Contains(out, "user_id  n  total") {
		t.Errorf("table: %q", out)
	}

	// A broken row is named, left out, and makes the command fail.
	broken := rows + "3;soon;1\r\n4;1997-02-02;2\r\n"
	if err := os.WriteFile(file, []byte(broken), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, said := must(exitFailed, append(imported, "--strict")...); !strings.Contains(said, "nothing was sent") {
		t.Errorf("strict: %q", said)
	}
	if _, said := must(exitFailed, imported...); !strings.Contains(said, "line 5, column 2") || !strings.Contains(said, "5 rows: 1 new, 3 already there, 1 could not be read") {
		t.Errorf("broken row: %q", said)
	}
	if _, said := must(exitUsage, "import", file, "--app", "shop", "--event", "sale", "--map", "timestamp=date"); !strings.Contains(said, "it has who, day, amount") {
		t.Errorf("missing column: %q", said)
	}

	question := filepath.Join(t.TempDir(), "q.json")
	if err := os.WriteFile(question, []byte(`{"trend":{"range":{"from":"1997-01-01","to":"1997-03-01"},"granularity":"month","series":[{"event":"sale","measure":{"property":"amount","agg":"sum"}}]}}`), 0o600); err != nil {
		t.Fatal(err)
	}
	if out, _ := must(exitDone, "insight", question, "--app", "shop", "--format", "csv"); out != "series,start,value,complete\nA,1997-01-01T00:00:00+01:00,23.54,true\nA,1997-02-01T00:00:00+01:00,14,true\n" {
		t.Errorf("insight: %q", out)
	}
	answer, _ := must(exitDone, "insight", question, "--app", "shop", "--format", "json")
	var read struct{ Series []struct{ Total float64 } }
	if err := json.Unmarshal([]byte(answer), &read); err != nil || len(read.Series) != 1 {
		t.Errorf("json: %v %s", err, answer)
	}

	if _, said := must(exitDone, "lake", "promote", "amount", "--app", "shop", "--kind", "number"); !strings.Contains(said, "amount has the number column p_amount") {
		t.Errorf("promote: %q", said)
	}
	if out, _ := must(exitDone, "query", "--app", "shop", "--format", "csv", "select sum(p_amount) total from events"); out != "total\n37.54\n" {
		t.Errorf("a promoted property in SQL: %q", out)
	}
	if out, _ := must(exitDone, "lake", "promotions", "--app", "shop", "--format", "csv"); !strings.HasPrefix(out, "property,kind,column,promoted_at\namount,number,p_amount,2") {
		t.Errorf("promotions: %q", out)
	}
	// Merged, with that column and projections where they can say all: the same answers.
	must(exitDone, "lake", "compact", "--app", "shop")
	if out, _ := must(exitDone, "query", "--app", "shop", "--format", "csv", "select sum(p_amount) total, count(distinct user_key) users from events"); out != "total,users\n37.54,3\n" {
		t.Errorf("SQL after merging: %q", out)
	}
	if out, _ := must(exitDone, "insight", question, "--app", "shop", "--format", "csv"); out != "series,start,value,complete\nA,1997-01-01T00:00:00+01:00,23.54,true\nA,1997-02-01T00:00:00+01:00,14,true\n" {
		t.Errorf("insight after merging: %q", out)
	}
	must(exitDone, "lake", "demote", "amount", "--app", "shop")
	if _, said := must(exitFailed, "lake", "demote", "amount", "--app", "shop"); !strings.Contains(said, "is not promoted") {
		t.Errorf("demoted twice: %q", said)
	}

	checkHealth(t, data)

	// From elsewhere with a secret key, which sees its own app alone.
	address := strings.TrimSuffix(strings.Fields(strings.SplitAfter(errOut.String(), "is ready at ")[1])[0], "/app/")
	key, _ := must(exitDone, "keys", "create", "--app", "shop", "--kind", "secret")
	must(exitDone, "apps", "create", "other")
	remote := []string{"--server", address, "--key", strings.TrimSpace(key)}
	code, got, said := cli(t, nil, append([]string{"query", "--format", "csv", "--app", "shop", "select count(*) n from events"}, remote...)...)
	if code != exitDone || got != "n\n4\n" {
		t.Errorf("by key: exit %d %q %q", code, got, said)
	}
	if code, got, said := cli(t, nil, append([]string{"import", file, "--app", "shop", "--event", "sale", "--map", "user_id=who,timestamp=day"}, remote...)...); code != exitFailed || got != "" || !strings.Contains(said, "5 rows: 0 new, 4 already there") {
		t.Errorf("import by key: exit %d %q %q", code, got, said)
	}
	if code, got, _ := cli(t, nil, append([]string{"query", "--format", "csv", "--app", "other", "select 1"}, remote...)...); code != exitFailed || got != "" {
		t.Errorf("another app by key: exit %d %q", code, got)
	}

	// The link signs the owner in.
	link := strings.TrimSpace(out.String())
	_, token, ok := strings.Cut(link, address+"/app/sign-in#token=")
	if !ok {
		t.Fatalf("no link: %q", link)
	}
	response, err := http.Post(address+"/causality.identity.v1.IdentityService/SignIn", "application/json", strings.NewReader(`{"token":"`+token+`"}`))
	if err != nil {
		t.Fatal(err)
	}
	body, _ := io.ReadAll(response.Body)
	_ = response.Body.Close()
	if response.StatusCode != http.StatusOK || len(response.Cookies()) != 1 || !response.Cookies()[0].HttpOnly {
		t.Errorf("sign-in: %d %s %v", response.StatusCode, body, response.Cookies())
	}
	if out, _ := must(exitDone, "lake", "verify"); !strings.Contains(out, "4 rows") || !strings.Contains(out, " 0 problems") {
		t.Errorf("verify: %q", out)
	}
	lookAfterTheStore(t, must)

	if _, said := must(exitFailed, "serve"); !strings.Contains(said, "in use by another causality") {
		t.Errorf("a second server: %q", said)
	}
	if code := stop(); code != exitDone {
		t.Errorf("the server stopped with %d: %s", code, errOut)
	}
	if _, said := must(exitFailed, "apps", "list"); !strings.Contains(said, "no server is running on "+data) {
		t.Errorf("after the stop: %q", said)
	}
}

// checkHealth reads the report that an operator sees, with 4 rows imported and
// imported again.
func checkHealth(t *testing.T, data string) {
	t.Helper()
	s, err := connection{Data: data}.open(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	report, err := s.health().Report(t.Context(), connect.NewRequest(&healthv1.ReportRequest{AppId: "shop"}))
	if err != nil {
		t.Fatal(err)
	}
	c := report.Msg.GetCounters()
	if c.GetAccepted() != c.GetStored()+c.GetWaiting() || c.GetStored() != c.GetQueryable()+c.GetDuplicates() || c.GetQueryable() != 4 || c.GetDuplicates() != 6 {
		t.Errorf("counters do not add up: %v", c)
	}
	named := map[string]bool{}
	for _, component := range report.Msg.GetComponents() {
		named[component.GetName()] = true
		if component.GetStatus() != "ok" {
			t.Errorf("%s is %s: %s", component.GetName(), component.GetStatus(), component.GetMessage())
		}
	}
	for _, version := range report.Msg.GetVersions() {
		named[version.GetName()] = version.GetVersion() != ""
	}
	for _, disk := range report.Msg.GetDisks() {
		named["disk "+disk.GetName()] = disk.GetTotalBytes() > 0
	}
	for _, name := range []string{"PostgreSQL", "Stream", "Object store", "Causality", "Go", "disk Objects", "disk Stream", "disk PostgreSQL"} {
		if !named[name] {
			t.Errorf("%s is not reported", name)
		}
	}
}
