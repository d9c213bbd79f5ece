package lake

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"testing"

	"github.com/causality-project/causality/backend/internal/account/tenancy"
	"github.com/causality-project/causality/backend/internal/pipeline/stream"
	"github.com/causality-project/causality/backend/internal/platform/event"
)

func TestManyCommittedIDsAreReadInWithoutTheAppsRow(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	var all [][]event.Event
	for range gapMost + 2 {
		all = append(all, someEvents(3))
		h.send(stream.Live, all[len(all)-1]...)
		h.settle() // each a run of its own
	}
	h.close()
	if err := os.RemoveAll(filepath.Join(h.dir, "cache")); err != nil {
		t.Fatal(err)
	}
	h.openStopped()
	catchUp := func() error {
		return h.db.TxAll(h.ctx, func(ctx context.Context, tx tenancy.ScopedTx) error {
			if err := tx.Scope(ctx, h.workspace); err != nil {
				return err
			}
			run := &appRun{workspaceID: h.workspace, appID: h.app}
			if err := run.lock(ctx, tx); err != nil {
				return err
			}
			return h.lake.catchUp(ctx, tx, h.workspace, h.app, run.commits)
		})
	}
	if err := catchUp(); !errors.Is(err, errGap) {
		t.Fatalf("with a cold cache the app's row was held to read it all: %v", err)
	}
	h.start()
	for _, events := range all {
		h.send(stream.Live, events...)
	}
	h.settle()
	h.holds(h.app, idsOf(all...))
	if err := catchUp(); err != nil {
		t.Errorf("with a warm cache: %v", err)
	}
}
