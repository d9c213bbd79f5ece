//go:build trino

package insights_test

import (
	"cmp"
	"fmt"
	"math/rand/v2"
	"os"
	"slices"
	"strconv"
	"testing"
	"time"

	"github.com/causality-project/causality/backend/internal/analysis/insights"
	"github.com/causality-project/causality/backend/internal/analysis/query"
	"github.com/causality-project/causality/backend/internal/analysis/query/querytest"
	"github.com/causality-project/causality/backend/internal/analysis/query/trino/trinotest"
)

// The same questions get the same answers from Trino, over the published tables.

func onTrino(t testing.TB) stage {
	t.Helper()
	server := trinotest.Start(t)
	return stage{server.Engine(t, nil), "trino", func(t testing.TB, events []querytest.Event) (query.App, query.Snapshot) {
		own := app
		own.ID = trinotest.NewApp()
		server.Lake.Add(t, own.ID, events, query.Links{})
		return own, query.Snapshot{}
	}, func(name string) bool { // each takes as long as the question
		return slices.Contains([]string{"a list is in each element's group", "did at least twice", "first time ever", "median", "cumulative sessions"}, name)
	}}
}

func TestTrinoTrends(t *testing.T) {
	t.Parallel()
	testTrends(t, onTrino(t))
}

func TestTrinoUserPropertiesAreCurrent(t *testing.T) {
	t.Parallel()
	testUserProperties(t, onTrino(t))
}

func TestTrinoDatesReadInTheReportsZone(t *testing.T) {
	t.Parallel()
	testDates(t, onTrino(t))
}

func TestTrinoDaysAreLocal(t *testing.T) {
	t.Parallel()
	testDays(t, onTrino(t))
}

func TestTrinoValuesAreByFrequency(t *testing.T) {
	t.Parallel()
	testValues(t, onTrino(t))
}

// TestTrinoTrendsAgreeWithTheReference runs for CAUSALITY_TEST_SECONDS (default
// 20) from a seed that a failure prints; CAUSALITY_TEST_SEED repeats it.
func TestTrinoTrendsAgreeWithTheReference(t *testing.T) {
	stage := onTrino(t)
	seconds, _ := strconv.Atoi(cmp.Or(os.Getenv("CAUSALITY_TEST_SECONDS"), "20"))
	seed, err := strconv.ParseUint(os.Getenv("CAUSALITY_TEST_SEED"), 10, 64)
	if err != nil {
		seed = uint64(time.Now().UnixNano())
	}
	now := time.Date(2026, 3, 30, 15, 20, 0, 0, time.UTC)
	deadline := time.Now().Add(time.Duration(seconds) * time.Second)
	cases := 0
	for set := uint64(0); cases == 0 || time.Now().Before(deadline); set++ {
		r := rand.New(rand.NewPCG(seed, set))
		events := randomEvents(r, 1+r.IntN(120))
		rows := make([]querytest.Event, len(events))
		for i, e := range events {
			rows[i] = e.Event
		}
		own, snapshot := stage.store(t, rows)
		service, err := insights.New(insights.Config{
			Engine: stage.engine, EngineName: stage.name, Source: querytest.Source(snapshot), HoldsLists: holdsLists(events), Now: func() time.Time { return now },
		})
		if err != nil {
			t.Fatal(err)
		}
		for range 10 {
			if cases > 0 && !time.Now().Before(deadline) {
				break
			}
			cases++
			if ok, _ := compareOnce(t, service, own, randomTrend(r), events, now, fmt.Sprintf("CAUSALITY_TEST_SEED=%d set %d", seed, set)); !ok {
				return
			}
		}
	}
	t.Logf("%d cases, seed %d", cases, seed)
}
