// Command store measures the lake with the events of the sample shop, as many
// shops side by side as it takes: landing from the stream to the committed
// manifest, compaction with its projections, the bytes that stay, and a check of
// every object. It prints one JSON list of {name, value, unit, atLeast, aim};
// progress goes to stderr. Processor time is this process's and PostgreSQL's.
//
//	go run ./bench/store --events 100000000
package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/causality-project/causality/backend/internal/account/identity"
	"github.com/causality-project/causality/backend/internal/account/tenancy"
	"github.com/causality-project/causality/backend/internal/pipeline/catalog"
	"github.com/causality-project/causality/backend/internal/pipeline/lake"
	"github.com/causality-project/causality/backend/internal/pipeline/stream"
	"github.com/causality-project/causality/backend/internal/platform/objstore"
	"github.com/causality-project/causality/backend/internal/platform/postgres"
)

type result struct {
	Name    string   `json:"name"`
	Value   float64  `json:"value"`
	Unit    string   `json:"unit"`
	AtLeast *float64 `json:"atLeast,omitempty"`
	Aim     *float64 `json:"aim,omitempty"`
}

func main() {
	var b bench
	flag.StringVar(&b.dir, "dir", "", "where to work; default: a temporary directory")
	flag.Int64Var(&b.events, "events", 5_000_000, "events")
	flag.IntVar(&b.days, "days", 60, "days that they are spread over")
	flag.Parse()
	if err := b.run(context.Background()); err != nil {
		fmt.Fprintln(os.Stderr, "store:", err)
		os.Exit(1)
	}
}

type bench struct {
	dir    string
	events int64
	days   int

	postgres *postgres.Server
	stream   *stream.Stream
	lake     *lake.Lake
	app      tenancy.App
	results  []result
}

func (b *bench) add(name string, value float64, unit string, bounds ...float64) {
	r := result{Name: name, Value: value, Unit: unit}
	if len(bounds) > 0 {
		r.AtLeast, r.Aim = &bounds[0], &bounds[1]
	}
	b.results = append(b.results, r)
	fmt.Fprintf(os.Stderr, "%s: %.4g %s\n", name, value, unit)
}

func (b *bench) run(ctx context.Context) (err error) {
	if b.dir == "" {
		if b.dir, err = os.MkdirTemp("", "causality-store-"); err != nil {
			return err
		}
		defer func() { err = errors.Join(err, os.RemoveAll(b.dir)) }()
		if err := os.Chmod(b.dir, 0o755); err != nil {
			return err
		}
	}
	closeAll, err := b.open(ctx)
	defer func() { err = errors.Join(err, closeAll()) }()
	if err != nil {
		return err
	}
	ctx = tenancy.WithWorkspace(ctx, b.app.WorkspaceID)
	if err := b.load(ctx); err != nil {
		return fmt.Errorf("load: %w", err)
	}
	if err := b.compact(ctx); err != nil {
		return fmt.Errorf("compact: %w", err)
	}
	if err := b.verify(ctx); err != nil {
		return fmt.Errorf("verify: %w", err)
	}
	b.add(fmt.Sprintf("store, %s events: most memory of the process, database aside", count(b.events)), peakMiB(), "MiB")
	return json.NewEncoder(os.Stdout).Encode(b.results)
}

func (b *bench) open(ctx context.Context) (closeAll func() error, err error) {
	log := slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelError}))
	var closers []func() error
	closeAll = func() error {
		var problems []error
		for _, c := range slices.Backward(closers) {
			problems = append(problems, c())
		}
		return errors.Join(problems...)
	}
	if b.postgres, err = postgres.Open(ctx, postgres.Config{Dir: filepath.Join(b.dir, "postgres"), Logger: log}); err != nil {
		return closeAll, err
	}
	closers = append(closers, func() error { return b.postgres.Close(context.Background()) })
	if b.stream, err = stream.Open(ctx, stream.Config{Dir: filepath.Join(b.dir, "stream"), Logger: log}); err != nil {
		return closeAll, err
	}
	closers = append(closers, func() error { return b.stream.Close(context.Background()) })
	objects, err := objstore.NewFiles(filepath.Join(b.dir, "objects"))
	if err != nil {
		return closeAll, err
	}
	db := tenancy.NewDB(b.postgres.Pool(), log)
	workspace, err := identity.NewUsers(db, b.postgres.Pool()).EnsureDefault(ctx)
	if err != nil {
		return closeAll, err
	}
	b.app, err = tenancy.NewApps(db, b.postgres).Create(tenancy.WithWorkspace(ctx, workspace.ID), "shop", "UTC", nil)
	if err != nil {
		return closeAll, err
	}
	b.lake, err = lake.New(lake.Config{
		Objects: objects, DB: db, Stream: b.stream, Catalog: catalog.New(db), CacheDir: filepath.Join(b.dir, "cache"),
		Land: true, Compaction: -1, Logger: log,
	})
	return closeAll, err
}

// load fills the stream and lands it, a part at a time, so that filling counts
// for nothing and the stream stays below its limit.
func (b *bench) load(ctx context.Context) error {
	const part = 2_000_000
	source := newShops(b.days, b.events, b.app)
	var cpu, wall time.Duration
	for sent := int64(0); sent < b.events; {
		n := min(part, b.events-sent)
		if err := source.publish(ctx, b.stream, n); err != nil {
			return err
		}
		sent += n
		cpuBefore, begun := b.processorTime(), time.Now()
		running, stop := context.WithCancel(ctx)
		var group errgroup.Group
		group.Go(func() error { return b.lake.Run(running) })
		err := b.landed(ctx, sent)
		wall += time.Since(begun)
		stop()
		if err := errors.Join(err, group.Wait()); err != nil {
			return err
		}
		cpu += b.processorTime() - cpuBefore
		fmt.Fprintf(os.Stderr, "%s of %s events landed\n", count(sent), count(b.events))
	}
	b.add(fmt.Sprintf("sink, %s events of the sample shop, from the stream to the committed manifest", count(b.events)), float64(b.events)/cpu.Seconds(), "events/CPU s", 150_000, 300_000)
	b.add(fmt.Sprintf("sink, %s events, time", count(b.events)), wall.Seconds(), "s")
	return nil
}

// landed waits until that many events are in the manifest.
func (b *bench) landed(ctx context.Context, want int64) error {
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for {
		var rows int64
		if err := b.scan(ctx, "SELECT coalesce(sum(rows), 0)::bigint FROM lake_objects WHERE kind = 'events'", &rows); err != nil {
			return err
		}
		if rows == want {
			return nil
		}
		if rows > want {
			return fmt.Errorf("%d events landed of %d sent", rows, want)
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-tick.C:
		}
	}
}

func (b *bench) scan(ctx context.Context, sql string, into ...any) error {
	tx, err := b.postgres.Pool().Begin(ctx)
	if err != nil {
		return err
	}
	defer func() { _ = tx.Rollback(ctx) }()
	if err := tenancy.Scope(ctx, tx, b.app.WorkspaceID); err != nil {
		return err
	}
	return tx.QueryRow(ctx, sql).Scan(into...)
}

func (b *bench) compact(ctx context.Context) error {
	cpuBefore, begun := b.processorTime(), time.Now()
	if err := b.lake.Compact(ctx, b.app.ID, func(p lake.CompactProgress) {
		fmt.Fprintf(os.Stderr, "%d objects, %s rows rewritten\n", p.ObjectsAfter, count(p.Rows))
	}); err != nil {
		return err
	}
	name := count(b.events)
	b.add(fmt.Sprintf("compaction, %s events, all projections", name), float64(b.events)/(b.processorTime()-cpuBefore).Seconds(), "events/CPU s", 150_000, 400_000)
	b.add(fmt.Sprintf("compaction, %s events, time", name), time.Since(begun).Seconds(), "s")
	var objects, all, events, byEvent, eventDays, userDays int64
	err := b.scan(ctx, `SELECT count(*) FILTER (WHERE kind = 'events'), sum(bytes)::bigint, sum(bytes) FILTER (WHERE kind = 'events')::bigint,
		coalesce(sum(bytes) FILTER (WHERE kind = 'by_event'), 0)::bigint, coalesce(sum(bytes) FILTER (WHERE kind = 'event_days'), 0)::bigint,
		coalesce(sum(bytes) FILTER (WHERE kind = 'user_days'), 0)::bigint FROM lake_objects`, &objects, &all, &events, &byEvent, &eventDays, &userDays)
	if err != nil {
		return err
	}
	fmt.Fprintf(os.Stderr, "%d objects; bytes an event: %.1f in whole events, %.1f by_event, %.2f event_days, %.2f user_days\n", objects,
		per(events, b.events), per(byEvent, b.events), per(eventDays, b.events), per(userDays, b.events))
	b.add(fmt.Sprintf("bytes an event, %s events, whole events alone", name), per(events, b.events), "B")
	b.add(fmt.Sprintf("bytes with all projections against whole events alone, %s events", name), per(all, events), "×", 1.35, 1.2)
	return nil
}

func (b *bench) verify(ctx context.Context) error {
	begun := time.Now()
	problems := 0
	err := b.lake.Verify(ctx, b.app.ID, func(p lake.VerifyProgress) {
		for _, problem := range p.Problems {
			problems++
			fmt.Fprintln(os.Stderr, problem.Object, problem.What)
		}
	})
	if err != nil {
		return err
	}
	if problems > 0 {
		return fmt.Errorf("%d problems", problems)
	}
	b.add(fmt.Sprintf("verify, %s events, time", count(b.events)), time.Since(begun).Seconds(), "s")
	return nil
}

func per(a, b int64) float64 { return float64(a) / float64(max(b, 1)) }

func count(n int64) string {
	if n >= 1_000_000 && n%100_000 == 0 {
		return strconv.FormatFloat(float64(n)/1e6, 'f', -1, 64) + " million"
	}
	return strconv.FormatInt(n, 10)
}

// processorTime is what this process and PostgreSQL's have used.
func (b *bench) processorTime() time.Duration {
	total := ticks(os.Getpid())
	leader := b.postgres.Status(context.Background()).PID
	entries, _ := filepath.Glob("/proc/[0-9]*/stat")
	for _, path := range entries {
		pid, _ := strconv.Atoi(filepath.Base(filepath.Dir(path)))
		if pid == leader || parent(pid) == leader {
			total += ticks(pid)
		}
	}
	return time.Duration(total) * (time.Second / 100)
}

// fields are those of /proc/PID/stat after the name.
func fields(pid int) []string {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return nil
	}
	_, after, _ := strings.Cut(string(text), ") ")
	return strings.Fields(after)
}

func parent(pid int) int {
	if f := fields(pid); len(f) > 1 {
		n, _ := strconv.Atoi(f[1])
		return n
	}
	return 0
}

// ticks are hundredths of a second, of ended children too.
func ticks(pid int) (sum int64) {
	if f := fields(pid); len(f) > 14 {
		for _, text := range f[11:15] {
			n, _ := strconv.ParseInt(text, 10, 64)
			sum += n
		}
	}
	return sum
}

// peakMiB is the most memory that this process ever had resident.
func peakMiB() float64 {
	file, err := os.Open("/proc/self/status")
	if err != nil {
		return 0
	}
	defer func() { _ = file.Close() }()
	for lines := bufio.NewScanner(io.LimitReader(file, 1<<16)); lines.Scan(); {
		if text, ok := strings.CutPrefix(lines.Text(), "VmHWM:"); ok {
			kib, _ := strconv.ParseFloat(strings.Fields(text)[0], 64)
			return kib / 1024
		}
	}
	return 0
}
