// Package trinotest gives tests a real Trino: the server that .ci/trino installs,
// configured with the files that we ship in deploy/trino, over an Iceberg catalogue
// in a PostgreSQL of its own. It is started once for a test process, at the first
// use, and ends with the process. Only tests import it.
package trinotest

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/base64"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"math/big"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"golang.org/x/crypto/bcrypt"

	"github.com/causality-project/causality/backend/internal/analysis/query"
	"github.com/causality-project/causality/backend/internal/analysis/query/trino"
)

const (
	User     = "causality" // who may act for apps
	Password = "a password of tests"
)

// Server is the process's Trino with its lake.
type Server struct {
	Lake     *Lake
	URL      string // https
	CAFile   string
	StartUp  time.Duration // from its start to the first answered query
	dir      string
	lifeline io.Closer
}

var shared = sync.OnceValues(start)

// Start returns the process's Trino. Without one the test fails: a component that
// was not run is not proven.
func Start(t testing.TB) *Server {
	t.Helper()
	server, err := shared()
	if err != nil {
		t.Fatalf("Trino is needed by this test: %v", err)
	}
	return server
}

// Config is how an engine reaches it.
func (s *Server) Config() trino.Config {
	return trino.Config{
		URL: s.URL, User: User, Password: Password, CAFile: s.CAFile, QueueLength: 1_000, Logger: slog.New(slog.DiscardHandler),
	}
}

// Engine returns an engine that ends with the test.
func (s *Server) Engine(t testing.TB, change func(*trino.Config)) *trino.Engine {
	t.Helper()
	cfg := s.Config()
	if change != nil {
		change(&cfg)
	}
	engine, err := trino.New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
		defer cancel()
		if err := engine.Close(ctx); err != nil {
			t.Errorf("close the engine: %v", err)
		}
	})
	return engine
}

func start() (*Server, error) {
	_, here, _, _ := runtime.Caller(0)
	root := filepath.Join(filepath.Dir(here), "../../../../../..")
	home, err := installed(root)
	if err != nil {
		return nil, err
	}
	java, err := installed(root, "java")
	if err != nil {
		return nil, err
	}
	dir, err := os.MkdirTemp("", "trinotest")
	if err != nil {
		return nil, err
	}
	if err := os.Chmod(dir, 0o755); err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(context.Background(), 6*time.Minute)
	defer cancel()
	s := &Server{dir: dir, CAFile: filepath.Join(dir, "ca.pem")}
	if s.Lake, err = newLake(ctx, dir); err != nil {
		return nil, errors.Join(fmt.Errorf("make the Iceberg tables: %w", err), os.RemoveAll(dir))
	}
	if err := s.run(ctx, home, java, filepath.Join(root, "backend/deploy/trino/etc")); err != nil {
		if s.lifeline != nil {
			_ = s.lifeline.Close()
		}
		return nil, err
	}
	return s, nil
}

func installed(root string, arguments ...string) (string, error) {
	var stderr bytes.Buffer
	cmd := exec.Command(filepath.Join(root, ".ci/trino"), arguments...)
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		return "", fmt.Errorf(".ci/trino: %w: %s", err, strings.TrimSpace(stderr.String()))
	}
	return strings.TrimSpace(string(out)), nil
}

// run starts Trino as it is shipped, with a small heap, and waits for an answer.
func (s *Server) run(ctx context.Context, home, java, shipped string) error {
	begun := time.Now()
	etc, data := filepath.Join(s.dir, "etc"), filepath.Join(s.dir, "data")
	if err := copyTree(shipped, etc); err != nil {
		return err
	}
	key, err := certificate(s.CAFile)
	if err != nil {
		return err
	}
	keystore := filepath.Join(s.dir, "key.pem")
	hash, err := bcrypt.GenerateFromPassword([]byte(Password), 8)
	if err != nil {
		return err
	}
	secret := make([]byte, 32)
	_, _ = rand.Read(secret)
	ports, err := freePorts(2)
	if err != nil {
		return err
	}
	passwords := filepath.Join(s.dir, "password.db")
	if err := errors.Join(
		os.WriteFile(keystore, key, 0o600),
		os.WriteFile(passwords, []byte(User+":$2y"+strings.TrimPrefix(string(hash), "$2a")+"\n"), 0o600),
		os.MkdirAll(data, 0o755),
		os.Symlink(filepath.Join(home, "plugin"), filepath.Join(s.dir, "plugin")),
		os.Symlink(filepath.Join(home, "secrets-plugin"), filepath.Join(s.dir, "secrets-plugin")),
	); err != nil {
		return err
	}
	log, err := os.Create(filepath.Join(s.dir, "log"))
	if err != nil {
		return err
	}
	defer log.Close()
	// Trino must end with us, however we end: a shell waits for our end, which it
	// sees by its input closing.
	const script = `exec 3<&0; "$@" & trino=$!; { read -r _ <&3; kill -KILL $trino; } & watch=$!; wait $trino; status=$?; kill $watch; [ -e /proc/$PPID ] && exit $status; rm -rf -- "$TRINO_TEST_DIR"`
	arguments := []string{"-c", script, "sh", filepath.Join(java, "bin/java")}
	options, err := os.ReadFile(filepath.Join(etc, "jvm.config"))
	if err != nil {
		return err
	}
	arguments = append(arguments, strings.Fields(string(options))...)
	arguments = append(arguments, "-XX:TieredStopAtLevel=1", "-Dnode.environment=test", "-Dnode.data-dir="+data, "-Dconfig="+filepath.Join(etc, "config.properties"),
		"-Dlog.levels-file="+filepath.Join(etc, "log.properties"), "-Dlog.enable-console=true",
		"-cp", filepath.Join(home, "lib/*"), "io.trino.server.TrinoServer")
	cmd := exec.Command("/bin/sh", arguments...)
	cmd.Dir = s.dir // as the launcher does: etc and plugin are found from here
	cmd.Stdout, cmd.Stderr = log, log
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	cmd.Env = append(os.Environ(),
		"TRINO_TEST_DIR="+s.dir, "TRINO_DATA_DIR="+data, "TRINO_HTTP_PORT="+ports[0], "TRINO_HTTPS_PORT="+ports[1],
		"TRINO_KEYSTORE="+keystore, "TRINO_PASSWORD_FILE="+passwords, "TRINO_SHARED_SECRET="+base64.StdEncoding.EncodeToString(secret),
		"TRINO_QUERY_MEMORY=400MB", "TRINO_HEAP_HEADROOM=250MB",
		"CAUSALITY_ICEBERG_CATALOG="+catalogName, "CAUSALITY_ICEBERG_JDBC_URL="+s.Lake.jdbc, "CAUSALITY_ICEBERG_USER="+s.Lake.user,
		"CAUSALITY_ICEBERG_PASSWORD=none", "CAUSALITY_ICEBERG_WAREHOUSE="+s.Lake.warehouse,
	)
	if s.lifeline, err = cmd.StdinPipe(); err != nil {
		return err
	}
	if err := cmd.Start(); err != nil {
		return err
	}
	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait() }()
	s.URL = "https://127.0.0.1:" + ports[1]

	// A port that is open, and even a server that says it is ready, may still
	// refuse queries: only an answer proves it.
	engine, err := trino.New(s.Config())
	if err != nil {
		return err
	}
	defer engine.Close(ctx)
	for {
		_, err := query.Collect(ctx, engine, query.Request{App: NewApp(), SQL: "SELECT count(*) FROM events", Timeout: 20 * time.Second, Trusted: true})
		if err == nil {
			s.StartUp = time.Since(begun)
			return nil
		}
		select {
		case <-ended:
			return fmt.Errorf("the server ended while it started: %s", lastLines(log.Name()))
		case <-ctx.Done():
			return fmt.Errorf("no query was answered within %s (%w): %s", time.Since(begun).Round(time.Second), err, lastLines(log.Name()))
		case <-time.After(250 * time.Millisecond):
		}
	}
}

func lastLines(path string) string {
	data, _ := os.ReadFile(path)
	if len(data) > 4<<10 {
		data = data[len(data)-4<<10:]
	}
	return string(data)
}

func copyTree(from, to string) error {
	return filepath.WalkDir(from, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		rest, err := filepath.Rel(from, path)
		if err != nil {
			return err
		}
		if d.IsDir() {
			return os.MkdirAll(filepath.Join(to, rest), 0o755)
		}
		data, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		return os.WriteFile(filepath.Join(to, rest), data, 0o644)
	})
}

func freePorts(n int) ([]string, error) {
	var ports []string
	for range n {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			return nil, err
		}
		defer l.Close()
		ports = append(ports, strconv.Itoa(l.Addr().(*net.TCPAddr).Port))
	}
	return ports, nil
}

// certificate writes a self-signed certificate for 127.0.0.1 and returns it with
// its key, as Trino wants them.
func certificate(caFile string) ([]byte, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, err
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "trino"}, NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(24 * time.Hour),
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, IsCA: true, BasicConstraintsValid: true,
		KeyUsage: x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		return nil, err
	}
	private, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return nil, err
	}
	public := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
	if err := os.WriteFile(caFile, public, 0o644); err != nil {
		return nil, err
	}
	return append(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: private}), public...), nil
}
