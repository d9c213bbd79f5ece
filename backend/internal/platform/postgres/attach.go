package postgres

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/jackc/pgx/v5"
)

// Attach describes how to reach, as the owner of the schema, the database that
// another process of ours serves or uses, and where PostgreSQL's programs of its
// version are. It starts and changes nothing.
func Attach(ctx context.Context, cfg Config) (owner *pgx.ConnConfig, binDir string, err error) {
	if err := cfg.complete(); err != nil {
		return nil, "", err
	}
	if cfg.URL != "" {
		owner, err = pgx.ParseConfig(cfg.URL)
		if err != nil {
			return nil, "", fmt.Errorf("the database URL cannot be read: %w", err)
		}
		bin, err := findBinaries(ctx, cfg.BinDir, 0)
		return owner, bin.dir, err
	}
	major, err := inspectDir(cfg.Dir)
	if err != nil {
		return nil, "", err
	}
	bin, err := findBinaries(ctx, cfg.BinDir, major)
	if err != nil {
		return nil, "", err
	}
	socketDir, err := liveSocketDir(cfg.Dir)
	if err != nil {
		return nil, "", err
	}
	c := &cluster{cfg: cfg, dir: cfg.Dir, socketDir: socketDir}
	owner, err = c.connect(dbname, cfg.ConnectTimeout)
	return owner, bin.dir, err
}

// liveSocketDir reads where the running server of a cluster listens: the fifth
// line of its postmaster.pid.
func liveSocketDir(dir string) (string, error) {
	content, err := os.ReadFile(filepath.Join(dir, "postmaster.pid"))
	if errors.Is(err, fs.ErrNotExist) {
		return "", fmt.Errorf("no database server runs on %s", dir)
	}
	if err != nil {
		return "", fmt.Errorf("the database server of %s cannot be found: %w; call as the user that runs the platform", dir, err)
	}
	lines := strings.Split(string(content), "\n")
	if len(lines) < 5 || lines[4] == "" {
		return "", fmt.Errorf("the database server of %s is just starting or stopping; try again in a moment", dir)
	}
	return lines[4], nil
}
