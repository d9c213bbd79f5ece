package e2e

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	causality "github.com/causality-project/causality/sdk"
)

// Ten lines of Go, and one request by hand, are queryable within five seconds.
func TestAnEventFromTheSDKAndFromCurlIsQueryableWithinSeconds(t *testing.T) {
	t.Parallel()
	p := newPlatform(t)
	p.start()
	_, key := p.app("first")

	client, err := causality.New(causality.Options{WriteKey: key, Host: "http://" + p.address})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	if err := client.Track(ctx, causality.Event{Name: "signup", UserID: "u1", Properties: causality.Properties{"plan": "pro"}}); err != nil {
		t.Fatal(err)
	}
	if err := client.Close(ctx); err != nil {
		t.Fatal(err)
	}
	if status, answer, _ := p.post(key, []byte(`[{"name":"signup","user_id":"u2"}]`)); status != 200 || answer.Accepted != 1 {
		t.Fatalf("status %d, accepted %d: %s", status, answer.Accepted, answer.Message)
	}
	p.await(5*time.Second, "both are queryable", func() bool {
		rows, ok := p.tryQuery("first", "select count(*), count(distinct user_id) from events where event = 'signup'")
		return ok && rows[0][0] == "2" && rows[0][1] == "2"
	})
}

// An identify makes one person of the visitor before it and the user after it,
// in every answer, without waiting for any file to be rewritten.
func TestIdentifyJoinsPastAndFutureAtOnce(t *testing.T) {
	t.Parallel()
	p := newPlatform(t)
	p.start()
	_, key := p.app("people")
	people := func() string {
		rows, ok := p.tryQuery("people", "select count(*), count(distinct user_key) from events")
		if !ok {
			return ""
		}
		return rows[0][0] + " " + rows[0][1]
	}
	p.post(key, []byte(`[{"name":"page_view","anonymous_id":"visitor"},{"name":"page_view","user_id":"mira"}]`))
	p.await(10*time.Second, "two people", func() bool { return people() == "2 2" })
	p.post(key, []byte(`[{"type":"IDENTIFY","user_id":"mira","anonymous_id":"visitor"}]`))
	p.await(10*time.Second, "one person", func() bool { return people() == "2 1" })
	p.post(key, []byte(`[{"name":"page_view","anonymous_id":"visitor"}]`))
	p.await(10*time.Second, "still one person", func() bool { return people() == "3 1" })
}

// Whoever else has an account on the machine reads no event: each stored file
// lies behind a folder that is closed to others.
func TestNoOtherUserOfTheMachineReachesTheEvents(t *testing.T) {
	t.Parallel()
	p := newPlatform(t)
	p.start()
	_, key := p.app("private")
	p.post(key, []byte(`[{"name":"secret"}]`))
	p.awaitCounts("private", 1)
	objects := 0
	err := filepath.WalkDir(p.data, func(path string, entry fs.DirEntry, err error) error {
		if err != nil {
			return ignoreGone(err)
		}
		info, err := entry.Info()
		if err != nil || info.Mode().Type() != 0 {
			return ignoreGone(err)
		}
		if strings.HasSuffix(path, ".parquet") {
			objects++
		}
		open := info.Mode().Perm()&0o004 != 0
		for dir := filepath.Dir(path); open && strings.HasPrefix(dir, p.data); dir = filepath.Dir(dir) {
			info, err := os.Stat(dir)
			if err != nil {
				return ignoreGone(err)
			}
			open = info.Mode().Perm()&0o001 != 0
		}
		if name := filepath.Base(path); open && name != "causality.json" && name != "lock" && name != "postgres.lock" {
			t.Errorf("%s can be read by every user of the machine", path)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if objects == 0 {
		t.Error("no object was looked at: the test proves nothing")
	}
}

// ignoreGone forgives files that a running server removes meanwhile.
func ignoreGone(err error) error {
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return err
}
