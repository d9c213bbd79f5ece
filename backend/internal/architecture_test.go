// Package internal holds no code: this test keeps the rules of the house, so
// that the folders alone tell what may call what.
package internal

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"os/exec"
	"slices"
	"strings"
	"testing"
)

const (
	module = "github.com/causality-project/causality/"
	house  = module + "backend/internal/"
)

// floors from the top; a package may call lower ones.
var floors = []string{"server", "action", "analysis", "pipeline", "account", "platform"}

// neighbours are what a room may call on its own floor.
var neighbours = map[string][]string{
	"server/app":        {"server/web", "server/health", "server/backup"},
	"analysis/insights": {"analysis/query"},
	"pipeline/ingest":   {"pipeline/stream", "pipeline/catalog"},
	"pipeline/lake":     {"pipeline/stream", "pipeline/catalog"},
	"pipeline/live":     {"pipeline/stream"},
	"account/identity":  {"account/tenancy"},
	// Creating an app makes its first key; the RPC of one room calls the other's root.
	"account/tenancy": {"account/identity"},
}

// ground is what every platform package may stand on.
var ground = []string{"platform/event", "platform/fault", "platform/failpoint"}

type pkg struct {
	ImportPath string
	Imports    []string
}

func packages(t *testing.T, dir string) []pkg {
	t.Helper()
	command := exec.Command("go", "list", "-json=ImportPath,Imports", "./...")
	command.Dir = dir
	var problems bytes.Buffer
	command.Stderr = &problems
	out, err := command.Output()
	if err != nil {
		t.Fatalf("go list: %v\n%s", err, problems.String())
	}
	var all []pkg
	for decoder := json.NewDecoder(bytes.NewReader(out)); ; {
		var p pkg
		err := decoder.Decode(&p)
		if errors.Is(err, io.EOF) {
			return all
		}
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, p)
	}
}

// place says where in the house a package is.
type place struct {
	floor int    // index into floors
	room  string // floor/room
	inner string // the rest of the path: rpc and other inner packages
}

func placeOf(importPath string) (place, bool) {
	path, inside := strings.CutPrefix(importPath, house)
	if !inside {
		return place{}, false
	}
	parts := strings.SplitN(path, "/", 3)
	if len(parts) < 2 {
		return place{}, false
	}
	p := place{floor: slices.Index(floors, parts[0]), room: parts[0] + "/" + parts[1]}
	if len(parts) == 3 {
		p.inner = parts[2]
	}
	return p, true
}

func TestRoomsCallDownwardsOnly(t *testing.T) {
	t.Parallel()
	checked := 0
	for _, p := range packages(t, "..") {
		from, inside := placeOf(p.ImportPath)
		if !inside {
			continue
		}
		if from.floor < 0 {
			t.Errorf("%s is on no floor", p.ImportPath)
		}
		for _, imported := range p.Imports {
			to, inside := placeOf(imported)
			if !inside || to.room == from.room {
				continue
			}
			checked++
			switch {
			case to.floor < from.floor:
				t.Errorf("%s calls upwards: %s", p.ImportPath, imported)
			case to.floor == from.floor && !slices.Contains(neighbours[from.room], to.room) && !slices.Contains(ground, to.room):
				t.Errorf("%s calls its neighbour %s", p.ImportPath, imported)
			}
			// Only the composition root and the server's doors see inner packages.
			if to.inner != "" && from.room != "server/app" {
				t.Errorf("%s reaches into a room: %s", p.ImportPath, imported)
			}
		}
	}
	if checked < 50 {
		t.Errorf("only %d imports were seen", checked)
	}
}

func TestProtobufStaysAtTheDoors(t *testing.T) {
	t.Parallel()
	for _, p := range packages(t, "..") {
		from, inside := placeOf(p.ImportPath)
		if !inside || from.floor == 0 || strings.HasSuffix(p.ImportPath, "rpc") || from.room == "pipeline/stream" {
			continue
		}
		for _, imported := range p.Imports {
			if strings.HasPrefix(imported, module+"proto/") {
				t.Errorf("%s knows the wire: %s", p.ImportPath, imported)
			}
		}
	}
}

func TestOutsideSystemsHaveOneOwner(t *testing.T) {
	t.Parallel()
	owners := map[string][]string{
		"github.com/nats-io/":      {"pipeline/stream"},
		"github.com/duckdb/":       {"analysis/query"},
		"github.com/pressly/goose": {"platform/postgres"},
		"github.com/prometheus/client_golang/prometheus/promhttp": {"platform/telemetry"},
		"go.opentelemetry.io/otel/sdk":                            {"platform/telemetry"},
		"go.opentelemetry.io/otel/exporters":                      {"platform/telemetry"},
		"github.com/alecthomas/kong":                              nil, // the command alone
		module + "sdk":                                            nil, // the demo alone
	}
	for _, p := range packages(t, "..") {
		from, inside := placeOf(p.ImportPath)
		if !inside {
			continue
		}
		for _, imported := range p.Imports {
			for prefix, rooms := range owners {
				if strings.HasPrefix(imported, prefix) && !slices.Contains(rooms, from.room) {
					t.Errorf("%s imports %s, which belongs to %v", p.ImportPath, imported, rooms)
				}
			}
		}
	}
}

func TestNoRoomIsCalledUtil(t *testing.T) {
	t.Parallel()
	for _, p := range packages(t, "..") {
		for _, part := range strings.Split(p.ImportPath, "/") {
			if slices.Contains([]string{"util", "utils", "common", "models", "helpers", "misc", "shared"}, part) {
				t.Errorf("%s says nothing with its name", p.ImportPath)
			}
		}
	}
}

func TestTheSDKKnowsNeitherServerNorWire(t *testing.T) {
	t.Parallel()
	seen := 0
	for _, p := range packages(t, "../../sdk") {
		seen++
		for _, imported := range p.Imports {
			if strings.HasPrefix(imported, module+"backend") || strings.HasPrefix(imported, module+"proto") {
				t.Errorf("%s imports %s", p.ImportPath, imported)
			}
		}
	}
	if seen == 0 {
		t.Error("no package of the SDK was found")
	}
}
