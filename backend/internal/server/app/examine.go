package app

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/causality-project/causality/backend/internal/platform/fault"
	"github.com/causality-project/causality/backend/internal/platform/objstore"
	"github.com/causality-project/causality/backend/internal/platform/postgres"
	"github.com/causality-project/causality/backend/internal/server/web"
)

// Check is one thing that a setup needs.
type Check struct {
	Name    string
	Found   string // how it is
	Problem string // what is wrong and how to mend it; empty: nothing
}

// leastFree is the room that a start should find on the disk.
const leastFree = 1 << 30

// Examine looks at a setup without starting anything. It changes nothing but for
// a small object that it writes to a bucket and deletes again.
func Examine(ctx context.Context, cfg Config) []Check {
	checked, err := cfg.resolve()
	if err != nil {
		return []Check{{Name: "configuration", Problem: err.Error()}}
	}
	checks := []Check{{Name: "configuration", Found: "every value can be used"}}
	add := func(name, found string, problem error) {
		check := Check{Name: name, Found: found}
		if problem != nil {
			check.Problem = problem.Error()
		}
		checks = append(checks, check)
	}
	found, err := examineData(checked.Data)
	add("data directory", found, err)
	holder := Locked(checked.Data)
	if holder == "" {
		add("server", "none is running on "+checked.Data, nil)
		add("listen address", checked.Listen+" is free", examineAddress(checked.Listen))
	} else {
		add("server", holder+" is serving", examineSocket(ctx, checked.Data))
	}
	found, err = examineDisk(checked.Data)
	add("disk", found, err)
	found, err = examinePostgres(ctx, checked)
	add("PostgreSQL", found, err)
	if checked.bucket != nil {
		found, err = examineBucket(ctx, checked)
		add("object store", found, err)
	}
	found, err = examineSDK(checked)
	add("browser SDK", found, err)
	return checks
}

func examineData(path string) (string, error) {
	info, err := os.Stat(path)
	if errors.Is(err, os.ErrNotExist) {
		return path + " does not exist yet; the first start makes it", nil
	}
	if err != nil {
		return "", fmt.Errorf("%s cannot be looked at: %w", path, err)
	}
	if !info.IsDir() {
		return "", fmt.Errorf("%s is no directory; choose another with --data", path)
	}
	found, err := recognise(path)
	if err != nil {
		return "", err
	}
	if found.Format == 0 {
		return path + " is empty; the first start fills it", nil
	}
	return fmt.Sprintf("%s, format %d, since %s", path, found.Format, found.CreatedAt.Format(time.DateOnly)), nil
}

func examineAddress(address string) error {
	listener, err := listenOn("--listen", address)
	if err != nil {
		return err
	}
	return listener.Close()
}

func examineSocket(ctx context.Context, data string) error {
	conn, err := (&net.Dialer{Timeout: 2 * time.Second}).DialContext(ctx, "unix", SocketPath(data))
	if err != nil {
		return fmt.Errorf("the server holds %s but its socket does not answer: %w; look into its log", data, err)
	}
	return conn.Close()
}

func examineDisk(path string) (string, error) {
	for { // the nearest directory that is there
		if _, err := os.Stat(path); err == nil || filepath.Dir(path) == path {
			break
		}
		path = filepath.Dir(path)
	}
	var stat syscall.Statfs_t
	if err := syscall.Statfs(path, &stat); err != nil {
		return "", fmt.Errorf("the disk of %s cannot be looked at: %w", path, err)
	}
	free := float64(stat.Bavail) * float64(stat.Bsize)
	if free < leastFree {
		return "", fmt.Errorf("only %.1f GiB are free at %s; make room, or choose another disk with --data", free/(1<<30), path)
	}
	return fmt.Sprintf("%.1f GiB are free", free/(1<<30)), nil
}

// examineSDK is about this binary, which is also the one that serves as a rule.
func examineSDK(cfg resolved) (string, error) {
	version, err := web.SDKVersion()
	if err != nil {
		return "", err
	}
	if version == "" {
		return "not built into this binary; make build does that", nil
	}
	at := append([]string{"/sdk/causality.js"}, cfg.SDKPaths...)
	found := fmt.Sprintf("at %s; unchanging at /sdk/%s/causality.js", strings.Join(at, ", "), version)
	if len(cfg.IngestPaths) > 0 {
		found += "; events are also taken at " + strings.Join(cfg.IngestPaths, ", ")
	}
	return found, nil
}

// examineBucket writes and deletes a small object: nothing less tells whether
// the credentials, and the server's conditional writes, do.
func examineBucket(ctx context.Context, cfg resolved) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	a := &App{cfg: cfg, log: slog.New(slog.DiscardHandler)}
	objects, err := a.objects(ctx)
	if err != nil {
		return "", err
	}
	if err := objects.(*objstore.S3).Check(ctx); err != nil {
		var f *fault.Error
		if errors.As(err, &f) {
			return "", errors.New(f.Message)
		}
		return "", err
	}
	return "bucket " + cfg.bucket.Bucket + " can be written, read, listed and deleted from, and refuses to overwrite", nil
}

func examinePostgres(ctx context.Context, cfg resolved) (string, error) {
	if cfg.DatabaseURL == "" {
		dir, version, err := postgres.Find(ctx, cfg.PostgresBin)
		if err != nil {
			return "", err
		}
		return "version " + version + " in " + dir, nil
	}
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	conn, err := pgx.Connect(ctx, cfg.DatabaseURL)
	if err != nil {
		return "", fmt.Errorf("the database of --database-url cannot be reached: %w", err)
	}
	defer func() { _ = conn.Close(context.WithoutCancel(ctx)) }()
	var version string
	if err := conn.QueryRow(ctx, "SHOW server_version").Scan(&version); err != nil {
		return "", fmt.Errorf("the database of --database-url does not answer: %w", err)
	}
	return "version " + version + " answers", nil
}
