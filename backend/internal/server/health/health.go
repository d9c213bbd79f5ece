// Package health tells an operator whether everything received can be queried,
// and if not, what is in the way. It asks each room and keeps nothing.
package health

import (
	"context"
	"fmt"
	"io/fs"
	"log/slog"
	"path/filepath"
	"sync"
	"syscall"
	"time"

	"connectrpc.com/connect"

	"github.com/causality-project/causality/backend/internal/account/identity"
	"github.com/causality-project/causality/backend/internal/account/tenancy"
	"github.com/causality-project/causality/backend/internal/pipeline/lake"
	"github.com/causality-project/causality/backend/internal/pipeline/stream"
	"github.com/causality-project/causality/backend/internal/platform/fault"
	"github.com/causality-project/causality/backend/internal/platform/objstore"
	"github.com/causality-project/causality/backend/internal/platform/postgres"
	healthv1 "github.com/causality-project/causality/proto/gen/causality/health/v1"
)

// Config says whom to ask. All are required.
type Config struct {
	Postgres    *postgres.Server
	Stream      *stream.Stream
	Lake        *lake.Lake
	Objects     objstore.Store
	Apps        *tenancy.Apps
	PostgresDir string    // of the supervised cluster; empty: it is elsewhere
	StreamDir   string    // of the embedded stream; empty: it is elsewhere
	Versions    []Version // of the program and what it is made of; PostgreSQL adds its own
	Started     time.Time
	Logger      *slog.Logger
}

// Version names a part and its version.
type Version struct{ Name, Version string }

// Handler answers HealthService.
type Handler struct {
	cfg Config

	mu       sync.Mutex // guards what follows
	measured time.Time  // when bytes was walked
	bytes    map[string]int64
}

// New makes a handler.
func New(cfg Config) *Handler { return &Handler{cfg: cfg, bytes: map[string]int64{}} }

// Report adds up the events of the workspace, or of one app, and asks every part
// how it does. A part that is away is a line of the report, not an error of it.
func (h *Handler) Report(
	ctx context.Context, request *connect.Request[healthv1.ReportRequest],
) (*connect.Response[healthv1.ReportResponse], error) {
	report := &healthv1.ReportResponse{StartedAt: stamp(h.cfg.Started)}
	// The lag is read before the counters: whoever sees that everything has landed
	// then sees it counted.
	lag := h.cfg.Lake.Lag(ctx)
	report.LagSeconds, report.LagP95Seconds = lag.Oldest.Seconds(), lag.P95.Seconds()
	for _, sample := range lag.History {
		report.LagHistory = append(report.LagHistory, &healthv1.LagSample{At: stamp(sample.At), P95Seconds: sample.P95.Seconds()})
	}
	if err := h.count(ctx, request.Msg.GetAppId(), report); err != nil && !fault.Is(err, fault.Unavailable) {
		return nil, err
	}
	if principal, _ := identity.FromContext(ctx); principal.Kind == identity.SecretKey {
		return connect.NewResponse(report), nil // the machine is not the business of an app's programs
	}
	database := h.cfg.Postgres.Status(ctx)
	report.Components = h.components(ctx, database)
	report.Disks = h.disks(ctx)
	report.Versions = h.versions(database)
	return connect.NewResponse(report), nil
}

// count fills the counters; while the database is away they are absent.
func (h *Handler) count(ctx context.Context, wanted string, report *healthv1.ReportResponse) error {
	appID := ""
	if wanted != "" {
		app, err := h.cfg.Apps.Get(ctx, wanted)
		if err != nil {
			return err
		}
		appID = app.ID
	}
	counters, each, err := h.cfg.Lake.Counters(ctx, appID)
	if err != nil {
		return err
	}
	apps, err := h.cfg.Apps.List(ctx)
	if err != nil {
		return err
	}
	report.Counters = countersOf(counters)
	for _, app := range apps {
		if appID != "" && app.ID != appID {
			continue
		}
		line := &healthv1.AppHealth{AppId: app.ID, AppName: app.Name, Counters: countersOf(each[app.ID])}
		if last := each[app.ID].LastReceivedAt; !last.IsZero() {
			line.LastReceivedAt = stamp(last)
		}
		report.Apps = append(report.Apps, line)
	}
	return nil
}

func countersOf(c lake.Counters) *healthv1.Counters {
	return &healthv1.Counters{
		Accepted: float64(c.Accepted), Waiting: float64(c.Waiting), Stored: float64(c.Stored), Duplicates: float64(c.Duplicates),
		Queryable: float64(c.Queryable), Rejected: float64(c.Rejected), DroppedBySenders: float64(c.Dropped),
		DeadLetters: float64(c.DeadLetters), Removed: float64(c.Erased + c.ErasedLate + c.Expired),
	}
}

func (h *Handler) components(ctx context.Context, database postgres.Status) []*healthv1.Component {
	message := database.Message
	if database.State == postgres.Down {
		message += " Events are still accepted and wait in the stream; signing in and questions wait for it."
		if !database.Supervised {
			message += " Start it, or correct --database-url."
		}
	}
	all := []*healthv1.Component{{Name: "PostgreSQL", Status: string(database.State), Message: message}, h.streamComponent(ctx)}
	for _, status := range h.cfg.Lake.Status(ctx) {
		component := &healthv1.Component{Name: status.Name, Status: status.State, Message: status.Message}
		for _, figure := range status.Figures {
			component.Figures = append(component.Figures, &healthv1.Figure{Name: figure.Name, Value: figure.Value, Unit: figure.Unit})
		}
		all = append(all, component)
	}
	return all
}

func (h *Handler) streamComponent(ctx context.Context) *healthv1.Component {
	component := &healthv1.Component{Name: "Stream", Status: "ok"}
	if err := h.cfg.Stream.Ready(ctx); err != nil {
		component.Status, component.Message = "down", err.Error()
		return component
	}
	for _, lane := range h.cfg.Stream.Lanes() {
		state, err := h.cfg.Stream.State(ctx, lane)
		if err != nil {
			component.Status, component.Message = "degraded", "The "+string(lane)+" lane cannot be read: "+err.Error()
			continue
		}
		component.Figures = append(component.Figures,
			&healthv1.Figure{Name: string(lane), Value: float64(state.Bytes), Unit: "bytes"},
			&healthv1.Figure{Name: string(lane) + ", at most", Value: float64(state.MaxBytes), Unit: "bytes"})
		if state.MaxBytes > 0 && float64(state.Bytes) > 0.8*float64(state.MaxBytes) {
			component.Status = "degraded"
			component.Message = fmt.Sprintf("The %s lane is %.0f %% full. Once it is full, events are answered with 503 and their senders keep them: "+
				"look at the sink below, or raise --stream-max-bytes.", lane, 100*float64(state.Bytes)/float64(state.MaxBytes))
		}
	}
	if dead, err := h.cfg.Stream.DeadLetters(ctx); err == nil {
		component.Figures = append(component.Figures, &healthv1.Figure{Name: "dead letters", Value: float64(dead), Unit: "messages"})
	}
	return component
}

func (h *Handler) disks(ctx context.Context) []*healthv1.Disk {
	var all []*healthv1.Disk
	if usage, err := h.cfg.Objects.Usage(ctx); err == nil && usage.TotalBytes > 0 { // a bucket is no disk
		all = append(all, &healthv1.Disk{
			Name: "Objects", Path: usage.Path, UsedBytes: float64(usage.UsedBytes), FreeBytes: float64(usage.FreeBytes), TotalBytes: float64(usage.TotalBytes),
		})
	}
	// Commands that wait for their events ask many times a second; the folders hold
	// thousands of files.
	h.mu.Lock()
	defer h.mu.Unlock()
	walk := time.Since(h.measured) > 10*time.Second
	if walk {
		h.measured = time.Now()
	}
	for _, dir := range []struct{ name, path string }{{"Stream", h.cfg.StreamDir}, {"PostgreSQL", h.cfg.PostgresDir}} {
		if dir.path == "" {
			continue
		}
		if walk {
			h.bytes[dir.path] = bytesUnder(dir.path)
		}
		disk := &healthv1.Disk{Name: dir.name, Path: dir.path, UsedBytes: float64(h.bytes[dir.path])}
		var stat syscall.Statfs_t
		if err := syscall.Statfs(dir.path, &stat); err == nil {
			disk.FreeBytes = float64(stat.Bavail) * float64(stat.Bsize)
			disk.TotalBytes = float64(stat.Blocks) * float64(stat.Bsize)
		}
		all = append(all, disk)
	}
	return all
}

func (h *Handler) versions(database postgres.Status) []*healthv1.Version {
	var all []*healthv1.Version
	for _, v := range h.cfg.Versions {
		all = append(all, &healthv1.Version{Name: v.Name, Version: v.Version})
	}
	if database.Version != "" {
		all = append(all, &healthv1.Version{Name: "PostgreSQL", Version: database.Version})
	}
	return all
}

// bytesUnder adds up a directory. Files that vanish meanwhile, and folders of
// another user, count nothing.
func bytesUnder(dir string) int64 {
	var sum int64
	_ = filepath.WalkDir(dir, func(_ string, entry fs.DirEntry, err error) error {
		if err != nil {
			return nil // counted as nothing, see above
		}
		if info, err := entry.Info(); err == nil && info.Mode().IsRegular() {
			sum += info.Size()
		}
		return nil
	})
	return sum
}

func stamp(t time.Time) string { return t.UTC().Format(time.RFC3339Nano) }
