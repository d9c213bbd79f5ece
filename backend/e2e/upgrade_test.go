package e2e

import (
	"archive/tar"
	"compress/gzip"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"
)

// A directory that an earlier release wrote opens, and answers as it did there.
// Each folder of testdata is one release: its database as SQL, since a cluster's
// files fit one major version of PostgreSQL only, and the rest of its data
// directory. That server was killed: 25 events were accepted and had not landed.
func TestAnEarlierReleasesDirectoryOpensAndAnswersTheSame(t *testing.T) {
	t.Parallel()
	releases, err := filepath.Glob("testdata/release-*")
	if err != nil || len(releases) == 0 {
		t.Fatalf("no releases in testdata: %v", err)
	}
	for _, release := range releases {
		t.Run(filepath.Base(release), func(t *testing.T) {
			t.Parallel()
			p := newPlatform(t)
			p.start() // for its cluster, whose database is replaced
			replaceDatabase(t, p.data, filepath.Join(release, "database.sql.gz"))
			p.kill()
			for _, part := range []string{"lake", "stream", "cache"} {
				if err := os.RemoveAll(filepath.Join(p.data, part)); err != nil {
					t.Fatal(err)
				}
			}
			unpack(t, filepath.Join(release, "data.tar.gz"), p.data)
			p.start()

			p.awaitCounts("shop", 725) // 700 that had landed, 25 that waited in the stream
			const people = "select count(*), (select count(*) from users) from (select distinct user_key from events)"
			const byEvent = "select event, count(*), count(distinct user_key) from events group by 1 order by 1"
			check := func(when string) {
				t.Helper()
				if got := p.query("shop", people); strings.Join(got[0], " ") != "131 131" {
					t.Errorf("%s: people %v, want 131 in events and in users", when, got[0])
				}
				var lines []string
				for _, row := range p.query("shop", byEvent) {
					lines = append(lines, strings.Join(row, " "))
				}
				if got, want := strings.Join(lines, ", "), "late_landing 25 25, page_view 200 23, purchase 400 96, signup 100 23"; got != want {
					t.Errorf("%s: %s, want %s", when, got, want)
				}
			}
			check("as opened")
			p.run("lake", "compact", "--app", "shop")
			check("after compaction into this release's objects")
			p.run("lake", "verify", "--app", "shop")
			// Ids that only the earlier release has seen are still known.
			key := p.run("keys", "create", "--app", "shop", "--kind", "write")
			status, answer, _ := p.post(key, []byte(`{"id":"01939f00-0000-7000-8000-000000000007","name":"page_view","anonymous_id":"a7"}`))
			if status != 200 || answer.Accepted+answer.Duplicates != 1 {
				t.Fatalf("sending an old event again: status %d, %+v", status, answer)
			}
			p.run("lake", "rebuild", "--app", "shop")
			p.awaitCounts("shop", 725)
			check("after a rebuild")
		})
	}
}

// replaceDatabase puts a dump in the place of the running cluster's database.
func replaceDatabase(t *testing.T, data, dump string) {
	t.Helper()
	pid, err := os.ReadFile(filepath.Join(data, "postgres", "postmaster.pid"))
	if err != nil {
		t.Fatal(err)
	}
	socket := strings.Split(string(pid), "\n")[4]
	run := func(database, sql string) {
		t.Helper()
		config, err := pgx.ParseConfig("user=causality sslmode=disable dbname=" + database + " host=" + socket)
		if err != nil {
			t.Fatal(err)
		}
		conn, err := pgx.ConnectConfig(t.Context(), config)
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close(t.Context())
		if _, err := conn.PgConn().Exec(t.Context(), sql).ReadAll(); err != nil {
			t.Fatal(err)
		}
	}
	file, err := os.Open(dump)
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	unzipped, err := gzip.NewReader(file)
	if err != nil {
		t.Fatal(err)
	}
	text, err := io.ReadAll(unzipped)
	if err != nil {
		t.Fatal(err)
	}
	run("postgres", "CREATE DATABASE restored")
	run("restored", string(text))
	run("postgres", "DROP DATABASE causality WITH (FORCE)")
	run("postgres", "ALTER DATABASE restored RENAME TO causality")
}

// unpack extracts a tar archive over a directory.
func unpack(t *testing.T, archive, into string) {
	t.Helper()
	file, err := os.Open(archive)
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	unzipped, err := gzip.NewReader(file)
	if err != nil {
		t.Fatal(err)
	}
	root, err := os.OpenRoot(into)
	if err != nil {
		t.Fatal(err)
	}
	defer root.Close()
	for reader := tar.NewReader(unzipped); ; {
		header, err := reader.Next()
		if errors.Is(err, io.EOF) {
			return
		}
		if err != nil {
			t.Fatal(err)
		}
		name := filepath.Clean(header.Name)
		if header.Typeflag == tar.TypeDir {
			if err := root.MkdirAll(name, os.FileMode(header.Mode).Perm()); err != nil {
				t.Fatal(err)
			}
			continue
		}
		target, err := root.OpenFile(name, os.O_CREATE|os.O_WRONLY|os.O_TRUNC, os.FileMode(header.Mode).Perm())
		if err != nil {
			t.Fatal(err)
		}
		_, err = io.Copy(target, reader)
		if err := errors.Join(err, target.Close()); err != nil {
			t.Fatal(err)
		}
	}
}
