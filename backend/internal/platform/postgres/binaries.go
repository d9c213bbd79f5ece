package postgres

import (
	"cmp"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"
)

// binaries is one installed PostgreSQL.
type binaries struct {
	dir     string
	major   int
	version string
}

// whereDistributionsPutThem are globs of directories that hold postgres and
// initdb but are seldom in PATH.
var whereDistributionsPutThem = []string{
	"/usr/lib/postgresql/*/bin",                          // Debian, Ubuntu
	"/usr/pgsql-*/bin",                                   // the PostgreSQL project's packages for Red Hat
	"/usr/lib/postgresql*/bin",                           // SUSE
	"/usr/libexec/postgresql*",                           // Alpine
	"/opt/homebrew/opt/postgresql*/bin",                  // Homebrew on Apple silicon
	"/usr/local/opt/postgresql*/bin",                     // Homebrew on Intel
	"/home/linuxbrew/.linuxbrew/opt/postgresql*/bin",     // Homebrew on Linux
	"/Applications/Postgres.app/Contents/Versions/*/bin", // Postgres.app
	"/usr/local/pgsql/bin",                               // built from source
}

// Find says which installation Open would use for a new cluster, and its version.
func Find(ctx context.Context, binDir string) (dir, version string, err error) {
	found, err := findBinaries(ctx, binDir, 0)
	return found.dir, found.version, err
}

// findBinaries looks for an installation of the major version that a cluster
// needs, or of the newest one for major 0.
func findBinaries(ctx context.Context, binDir string, major int) (binaries, error) {
	var found []binaries
	if binDir != "" {
		b, err := inspectBinaries(ctx, binDir)
		if err != nil {
			return binaries{}, fmt.Errorf("no usable PostgreSQL in %s: %w", binDir, err)
		}
		found = append(found, b)
	} else {
		for _, dir := range candidateDirs() {
			if b, err := inspectBinaries(ctx, dir); err == nil && b.major >= oldest {
				found = append(found, b)
			}
		}
		slices.SortStableFunc(found, func(a, b binaries) int { return cmp.Compare(b.major, a.major) })
	}
	if len(found) == 0 {
		return binaries{}, fmt.Errorf("no PostgreSQL %d or newer was found on this machine: install it (Debian and Ubuntu: apt-get install postgresql; macOS: brew install postgresql), name its directory with --postgres-bin, or use a server of your own with --database-url", oldest)
	}
	if major == 0 {
		return found[0], nil
	}
	for _, b := range found {
		if b.major == major {
			return b, nil
		}
	}
	return binaries{}, &wrongMajorError{needs: major, found: found[0]}
}

type wrongMajorError struct {
	needs int
	found binaries
}

func (e *wrongMajorError) Error() string {
	return fmt.Sprintf("it needs PostgreSQL %d, and only %d is installed (in %s)", e.needs, e.found.major, e.found.dir)
}

func candidateDirs() []string {
	var dirs []string
	add := func(dir string) {
		if real, err := filepath.EvalSymlinks(dir); err == nil && !slices.Contains(dirs, real) {
			dirs = append(dirs, real)
		}
	}
	for _, name := range []string{"postgres", "pg_ctl"} {
		if path, err := exec.LookPath(name); err == nil {
			if real, err := filepath.EvalSymlinks(path); err == nil {
				add(filepath.Dir(real))
			}
		}
	}
	for _, glob := range whereDistributionsPutThem {
		matches, _ := filepath.Glob(glob)
		for _, dir := range matches {
			add(dir)
		}
	}
	return dirs
}

var versionText = regexp.MustCompile(`\(PostgreSQL\) (\d+)(\S*)`)

func inspectBinaries(ctx context.Context, dir string) (binaries, error) {
	if _, err := os.Stat(filepath.Join(dir, "initdb")); err != nil {
		return binaries{}, err
	}
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	out, err := exec.CommandContext(ctx, filepath.Join(dir, "postgres"), "-V").Output()
	if err != nil {
		return binaries{}, err
	}
	match := versionText.FindStringSubmatch(string(out))
	if match == nil {
		return binaries{}, fmt.Errorf("postgres -V answered %q", strings.TrimSpace(string(out)))
	}
	major, err := strconv.Atoi(match[1])
	return binaries{dir: dir, major: major, version: match[1] + match[2]}, err
}
