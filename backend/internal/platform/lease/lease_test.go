package lease

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/causality-project/causality/backend/internal/platform/postgres"
	"github.com/causality-project/causality/backend/internal/platform/postgres/postgrestest"
)

// board notes which replica runs what, and objects when two run the same.
type board struct {
	t  testing.TB
	mu sync.Mutex
	by map[string]string
}

func newBoard(t testing.TB) *board { return &board{t: t, by: map[string]string{}} }

func (b *board) run(ctx context.Context, replica, name string) error {
	b.mu.Lock()
	if other := b.by[name]; other != "" {
		b.t.Errorf("%s runs %s while %s does", replica, name, other)
	}
	b.by[name] = replica
	b.mu.Unlock()
	<-ctx.Done()
	b.mu.Lock()
	defer b.mu.Unlock()
	b.by[name] = ""
	return ctx.Err()
}

func (b *board) part(replica string) (names []string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for name, by := range b.by {
		if by == replica {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	return names
}

func (b *board) until(within time.Duration, what string, ok func() bool) time.Duration {
	b.t.Helper()
	began := time.Now()
	for !ok() {
		if time.Since(began) > within {
			b.t.Fatalf("after %v: not yet true that %s; %v", within, what, b.by)
		}
		time.Sleep(5 * time.Millisecond)
	}
	return time.Since(began)
}

// replica is one process's part.
type replica struct {
	*Leases
	worked, renewed chan error // what the work and Run returned
	stop            func()     // gracefully
}

func start(t testing.TB, server *postgres.Server, id string, do func(ctx context.Context, l *Leases) error) *replica {
	t.Helper()
	l := New(server.Pool(), id, "sink", slog.New(slog.DiscardHandler))
	working, stopWork := context.WithCancel(context.Background())
	renewing, stopRenewing := context.WithCancel(context.Background())
	worked, renewed := make(chan error, 1), make(chan error, 1)
	go func() { worked <- do(working, l); close(worked) }()
	go func() { renewed <- l.Run(renewing); close(renewed) }()
	stop := sync.OnceFunc(func() {
		stopWork()
		waitFor(t, worked)
		stopRenewing()
		waitFor(t, renewed)
	})
	t.Cleanup(stop)
	return &replica{l, worked, renewed, stop}
}

// waitFor returns what a part of a replica ended with, nil when that was read
// already.
func waitFor(t testing.TB, ended chan error) error {
	t.Helper()
	select {
	case err := <-ended:
		return err
	case <-time.After(20 * time.Second):
		t.Error("a replica does not end")
		return nil
	}
}

func TestNamesAreSharedFairlyAndEachIsRunByOneReplicaAtATime(t *testing.T) {
	t.Parallel()
	server, b := postgrestest.New(t), newBoard(t)
	names := []string{"live", "import", "live-1", "import-1", "live-2", "import-2"}
	join := func(id string) *replica {
		return start(t, server, id, func(ctx context.Context, l *Leases) error {
			return l.Share(ctx, names, func(ctx context.Context, name string) error { return b.run(ctx, id, name) })
		})
	}
	has := func(id string, n int) func() bool { return func() bool { return len(b.part(id)) == n } }
	first := join("a")
	b.until(5*time.Second, "a alone runs all", has("a", 6))
	join("b")
	third := join("c")
	for _, id := range []string{"a", "b", "c"} {
		b.until(15*time.Second, id+" has its third", has(id, 2))
	}
	replicas, err := third.Replicas(t.Context())
	if err != nil || len(replicas) != 3 || replicas[1].ID != "b" || !slices.Equal(replicas[1].Holds, b.part("b")) {
		t.Errorf("replicas = %+v, %v; b runs %v", replicas, err, b.part("b"))
	}
	first.stop()
	b.until(5*time.Second, "b has a half", has("b", 3))
	b.until(5*time.Second, "c has a half", has("c", 3))
}

func TestALeaderThatIsCutOffStopsBeforeAnotherBeginsWithinTenSeconds(t *testing.T) {
	t.Parallel()
	server, b := postgrestest.New(t), newBoard(t)
	join := func(id string) *replica {
		return start(t, server, id, func(ctx context.Context, l *Leases) error {
			return l.Lead(ctx, "maintenance", func(ctx context.Context) error { return b.run(ctx, id, "maintenance") })
		})
	}
	first := join("a")
	b.until(5*time.Second, "a leads", func() bool { return len(b.part("a")) == 1 })
	join("b")
	first.own.Close() // neither renews nor gives back from here on
	took := b.until(10*time.Second, "b leads", func() bool { return len(b.part("b")) == 1 })
	t.Logf("taken over after %v", took.Round(10*time.Millisecond))
	if took < TTL-2*roundEvery-roundLimit {
		t.Errorf("taken over after %v, before the lease ended", took)
	}
}

func TestARestartedReplicaTakesUpItsWorkAtOnceAndItsOldLifeEnds(t *testing.T) {
	t.Parallel()
	server := postgrestest.New(t)
	held := make(chan string, 2)
	join := func(life string) *replica {
		return start(t, server, "same", func(ctx context.Context, l *Leases) error {
			return l.Lead(ctx, "maintenance", func(ctx context.Context) error {
				held <- life
				<-ctx.Done()
				return nil
			})
		})
	}
	old := join("first")
	if life := <-held; life != "first" {
		t.Fatal(life)
	}
	began := time.Now()
	join("second")
	if life := <-held; life != "second" || time.Since(began) > TTL/2 {
		t.Errorf("%s life leads after %v", life, time.Since(began))
	}
	if err := waitFor(t, old.renewed); err == nil || !strings.Contains(err.Error(), "this replica's id") {
		t.Errorf("the old life ended with %v, want that another process has its id", err)
	}
}

func TestWorkThatFailsEndsItsCallAndIsFreeForOthers(t *testing.T) {
	t.Parallel()
	server := postgrestest.New(t)
	broken := errors.New("broken")
	failing := start(t, server, "a", func(ctx context.Context, l *Leases) error {
		return l.Lead(ctx, "maintenance", func(context.Context) error { return broken })
	})
	if err := waitFor(t, failing.worked); !errors.Is(err, broken) {
		t.Errorf("Lead returned %v, want the error of the work", err)
	}
	leads := make(chan struct{})
	start(t, server, "b", func(ctx context.Context, l *Leases) error {
		return l.Lead(ctx, "maintenance", func(ctx context.Context) error { close(leads); <-ctx.Done(); return nil })
	})
	select {
	case <-leads:
	case <-time.After(10 * time.Second):
		t.Fatal("b does not lead")
	}

}

func TestAProcessThatIsAloneRunsEverything(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithCancel(t.Context())
	b := newBoard(t)
	var none *Leases
	done := make(chan error, 1)
	go func() {
		done <- none.Share(ctx, []string{"live", "import"}, func(ctx context.Context, name string) error { return b.run(ctx, "alone", name) })
	}()
	b.until(5*time.Second, "it runs both", func() bool { return len(b.part("alone")) == 2 })
	cancel()
	if err := <-done; err != nil {
		t.Error(err)
	}
}

func TestReplicasThatWantDifferentNamesDealAlike(t *testing.T) {
	t.Parallel()
	sharers := []sharer{{"a", []string{"import", "import-1", "live", "live-1"}}, {"b", []string{"import", "live"}}, {"c", nil}}
	dealt := map[string][]string{}
	for _, s := range sharers {
		for name, mine := range deal(sharers, s.id) {
			if mine {
				dealt[name] = append(dealt[name], s.id)
			}
		}
	}
	if want := "map[import:[a] import-1:[a] live:[b] live-1:[a]]"; fmt.Sprint(dealt) != want {
		t.Errorf("dealt %v, want %s", dealt, want)
	}
}
