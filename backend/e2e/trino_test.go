package e2e

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"math/big"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

// The lake in S3 is published as Iceberg tables, and the shipped Trino answers
// the SQL page and a trend over them to the same numbers as DuckDB does over the
// lake, from the command line, with loose and settled objects, person links and
// what lands meanwhile.
func TestTrinoAnswersOverThePublishedLakeAsDuckDBDoes(t *testing.T) {
	t.Parallel()
	root := dataRoot(t)
	database := startDatabase(t, filepath.Join(root, "db"), freeAddress(t))
	objects := startGateway(t, filepath.Join(root, "s3"), freeAddress(t))
	if t.Failed() {
		t.FailNow()
	}
	p := &platform{t: t, data: filepath.Join(root, "data"), address: freeAddress(t)}
	p.args = []string{"--database-url", database.url, "--object-store", objects.url, "--publish", "iceberg"}
	secrets := []string{"AWS_ACCESS_KEY_ID=" + gatewayKey, "AWS_SECRET_ACCESS_KEY=" + gatewaySecret}
	p.start(secrets...)
	_, key := p.app("shop")
	_, other := p.app("other")
	send := func(key string, first, n int) {
		t.Helper()
		var events []map[string]any
		for i := first; i < first+n; i++ {
			events = append(events, map[string]any{"id": fmt.Sprintf("e%d", i), "name": []string{"visit", "purchase"}[i%7/6], "anonymous_id": fmt.Sprintf("a%d", i%90),
				"timestamp": time.Date(2026, 9+time.Month(i%2), 1+i%28, i%24, 0, 0, 0, time.UTC), "properties": map[string]any{"plan": []string{"free", "pro"}[i%2], "amount": i % 50}})
			if i%25 == 0 {
				events = append(events, map[string]any{"id": fmt.Sprintf("i%d", i), "type": "IDENTIFY", "anonymous_id": fmt.Sprintf("a%d", i%90), "user_id": fmt.Sprintf("u%d", i%30),
					"timestamp": "2026-10-28T12:00:00Z"})
			}
		}
		body, err := json.Marshal(events)
		if err != nil {
			t.Fatal(err)
		}
		if status, answer, _ := p.post(key, body); status != 200 || answer.Accepted != len(events) {
			t.Fatalf("status %d: %+v", status, answer)
		}
	}
	send(other, 100_000, 50)
	send(key, 0, 1000)
	p.awaitCounts("shop", 1000)
	p.run("lake", "compact", "--app", "shop")
	send(key, 1000, 300)
	p.awaitCounts("shop", 1300)

	question := filepath.Join(t.TempDir(), "trend.json")
	if err := os.WriteFile(question, []byte(`{"trend": {"appId": "shop", "range": {"from": "2026-09-01", "to": "2026-11-01"}, "granularity": "week",
		"series": [{"id": "A", "event": "purchase", "measure": "total"}, {"id": "B", "event": "visit", "measure": "uniqueUsers"},
		{"id": "C", "event": "purchase", "measure": {"property": "amount", "agg": "sum"}}], "breakdowns": [{"property": "plan"}]}}`), 0o644); err != nil {
		t.Fatal(err)
	}
	ask := func() (string, error) {
		var answers []string
		for _, sql := range []string{
			"select event, count(*), count(distinct user_key) from events group by event order by event",
			"select count(*), count(user_id), sum(events) from users",
			"select count(*) from sessions",
		} {
			rows, ok := p.tryQuery("shop", sql)
			if !ok {
				return "", fmt.Errorf("no answer to %s", sql)
			}
			answers = append(answers, fmt.Sprint(rows))
		}
		out, _, code := p.try("insight", question, "--format", "csv")
		if code != 0 {
			return "", fmt.Errorf("no answer to the trend")
		}
		return strings.Join(append(answers, out), "\n"), nil
	}
	duckdb, err := ask()
	if err != nil {
		t.Fatal(err)
	}

	trino := startTrino(t, filepath.Join(root, "trino"), database, objects)
	p.stop()
	p.args = append(p.args, "--query-engine", "trino", "--trino-url", trino.url, "--trino-ca", trino.ca)
	p.start(append(secrets, "CAUSALITY_TRINO_PASSWORD="+trinoPassword)...)
	var last string
	p.await(3*time.Minute, "Trino answers as DuckDB did", func() bool {
		select {
		case <-trino.exited:
			t.Fatalf("Trino ended: %s", tail(trino.output.String(), 4000))
		default:
		}
		answer, err := ask()
		if err != nil {
			return false
		}
		if answer != last && answer != duckdb {
			t.Logf("not yet as DuckDB:\n%s\nwant\n%s", answer, duckdb)
		}
		last = answer
		return answer == duckdb
	})
	send(key, 2000, 200)
	p.await(60*time.Second, "what landed meanwhile is published and answered", func() bool {
		rows, ok := p.tryQuery("shop", "select count(*) from events")
		return ok && rows[0][0] == "1500"
	})
	p.run("lake", "publish", "--rebuild")
	p.awaitCounts("shop", 1500)
}

const (
	trinoPassword = "password-of-tests"
	trinoHash     = "$2y$08$OFLngi/1.aLsuN8g9jYfzOfZiyYuU436xjkwpA0iLlMAyZdCnoc9i" // of it
)

type trinoServer struct {
	url, ca string
	output  *lockedBuffer
	exited  chan struct{}
}

// startTrino starts Trino with the configuration that is shipped, changed as its
// README says for S3.
func startTrino(t *testing.T, dir string, database *database, objects *gateway) *trinoServer {
	t.Helper()
	install := func(arguments ...string) string {
		out, err := exec.Command("../../.ci/trino", arguments...).Output()
		if err != nil {
			t.Fatalf("Trino is not installed: %v", err)
		}
		return strings.TrimSpace(string(out))
	}
	home, java := install(), install("java")
	etc := filepath.Join(dir, "etc")
	if err := os.CopyFS(etc, os.DirFS("../deploy/trino/etc")); err != nil {
		t.Fatal(err)
	}
	catalog := filepath.Join(etc, "catalog", "causality.properties")
	text, err := os.ReadFile(catalog)
	if err != nil {
		t.Fatal(err)
	}
	kept, _, found := strings.Cut(string(text), "# Objects are files")
	if !found {
		t.Fatalf("%s does not say where objects are", catalog)
	}
	kept += "fs.native-s3.enabled=true\ns3.region=us-east-1\ns3.endpoint=http://" + objects.address + "\ns3.path-style-access=true\n" +
		"s3.aws-access-key=${ENV:AWS_ACCESS_KEY_ID}\ns3.aws-secret-key=${ENV:AWS_SECRET_ACCESS_KEY}\n"
	server := &trinoServer{ca: filepath.Join(dir, "ca.pem"), output: &lockedBuffer{}, exited: make(chan struct{})}
	httpPort, httpsPort := port(freeAddress(t)), port(freeAddress(t))
	server.url = "https://127.0.0.1:" + httpsPort
	secret := make([]byte, 32)
	_, _ = rand.Read(secret)
	for path, content := range map[string][]byte{
		catalog: []byte(kept), filepath.Join(dir, "password.db"): []byte("causality:" + trinoHash + "\n"), filepath.Join(dir, "key.pem"): certificate(t, server.ca),
	} {
		if err := os.WriteFile(path, content, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	for _, folder := range []string{"plugin", "secrets-plugin"} {
		if err := os.Symlink(filepath.Join(home, folder), filepath.Join(dir, folder)); err != nil {
			t.Fatal(err)
		}
	}
	options, err := os.ReadFile(filepath.Join(etc, "jvm.config"))
	if err != nil {
		t.Fatal(err)
	}
	arguments := append(strings.Fields(string(options)), "-XX:TieredStopAtLevel=1", "-Dnode.environment=test", "-Dnode.data-dir="+filepath.Join(dir, "data"),
		"-Dconfig="+filepath.Join(etc, "config.properties"), "-Dlog.levels-file="+filepath.Join(etc, "log.properties"), "-Dlog.enable-console=true",
		"-cp", filepath.Join(home, "lib/*"), "io.trino.server.TrinoServer")
	command := exec.Command(filepath.Join(java, "bin/java"), arguments...)
	command.Dir, command.Stdout, command.Stderr = dir, server.output, server.output
	command.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	host := strings.TrimSuffix(strings.TrimPrefix(database.url, "postgres://owner@"), "?sslmode=disable")
	command.Env = append(os.Environ(), "TRINO_DATA_DIR="+filepath.Join(dir, "data"), "TRINO_HTTP_PORT="+httpPort, "TRINO_HTTPS_PORT="+httpsPort,
		"TRINO_KEYSTORE="+filepath.Join(dir, "key.pem"), "TRINO_PASSWORD_FILE="+filepath.Join(dir, "password.db"),
		"TRINO_SHARED_SECRET="+base64.StdEncoding.EncodeToString(secret), "TRINO_QUERY_MEMORY=400MB", "TRINO_HEAP_HEADROOM=250MB",
		"CAUSALITY_ICEBERG_CATALOG=causality", "CAUSALITY_ICEBERG_JDBC_URL=jdbc:postgresql://"+host+"?currentSchema=iceberg", "CAUSALITY_ICEBERG_USER=owner",
		"CAUSALITY_ICEBERG_PASSWORD=none", "CAUSALITY_ICEBERG_WAREHOUSE=s3://"+bucket+"/objects",
		"AWS_ACCESS_KEY_ID="+gatewayKey, "AWS_SECRET_ACCESS_KEY="+gatewaySecret)
	if err := command.Start(); err != nil {
		t.Fatal(err)
	}
	go func() {
		_ = command.Wait()
		close(server.exited)
	}()
	t.Cleanup(func() {
		_ = command.Process.Kill()
		<-server.exited
	})
	return server
}

func port(address string) string {
	_, port, _ := net.SplitHostPort(address)
	return port
}

// certificate writes a self-signed certificate for this machine and returns it
// with its key, as Trino wants them.
func certificate(t *testing.T, path string) []byte {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "trino"}, NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(24 * time.Hour),
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, IsCA: true, BasicConstraintsValid: true,
		KeyUsage: x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	private, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	public := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
	if err := os.WriteFile(path, public, 0o644); err != nil {
		t.Fatal(err)
	}
	return append(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: private}), public...)
}
