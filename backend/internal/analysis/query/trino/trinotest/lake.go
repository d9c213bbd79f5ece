package trinotest

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"sync"
	"testing"

	"github.com/apache/iceberg-go"
	"github.com/apache/iceberg-go/catalog"
	icebergsql "github.com/apache/iceberg-go/catalog/sql"
	_ "github.com/apache/iceberg-go/io" // files
	"github.com/apache/iceberg-go/table"
	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/stdlib"

	"github.com/causality-project/causality/backend/internal/analysis/query"
	"github.com/causality-project/causality/backend/internal/analysis/query/querytest"
	"github.com/causality-project/causality/backend/internal/platform/postgres"
)

const catalogName = "causality"

// NewApp is the id of an app that no other test has.
func NewApp() string { return uuid.NewString() }

// Lake is the published tables of all apps of a test process.
type Lake struct {
	jdbc, user, warehouse string

	dir      string
	database *postgres.Server
	catalog  *icebergsql.Catalog
	mu       sync.Mutex // one commit at a time
}

func newLake(ctx context.Context, dir string) (*Lake, error) {
	server, err := postgres.Open(ctx, postgres.Config{Dir: filepath.Join(dir, "db"), Logger: slog.New(slog.DiscardHandler), Settings: map[string]string{"fsync": "off"}})
	if err != nil {
		return nil, err
	}
	// The catalogue is the migrations', and Trino sees it as its README says.
	owner := server.OwnerConfig()
	owner.RuntimeParams["search_path"] = "iceberg"
	db := stdlib.OpenDB(*owner)
	for _, statement := range []string{
		"CREATE ROLE trino LOGIN", "GRANT USAGE ON SCHEMA iceberg TO trino",
		"GRANT SELECT ON iceberg.iceberg_tables, iceberg.iceberg_namespace_properties TO trino",
	} {
		if _, err := db.ExecContext(ctx, statement); err != nil {
			return nil, fmt.Errorf("%s: %w", statement, err)
		}
	}
	address, err := forward(owner)
	if err != nil {
		return nil, err
	}
	l := &Lake{
		jdbc: "jdbc:postgresql://" + address + "/" + owner.Database + "?currentSchema=iceberg", user: "trino", warehouse: "file://" + filepath.Join(dir, "warehouse"),
		dir: dir, database: server,
	}
	props := iceberg.Properties{"warehouse": l.warehouse}
	if l.catalog, err = icebergsql.NewCatalog(catalogName, db, icebergsql.Postgres, props); err != nil {
		return nil, err
	}
	if err := l.catalog.CreateNamespace(ctx, table.Identifier{"lake"}, nil); err != nil {
		return nil, err
	}
	for name, schema := range map[string]*iceberg.Schema{"events": eventsSchema(), "links": linksSchema()} {
		app, _ := schema.FindFieldByName("app_id")
		spec := iceberg.NewPartitionSpec(iceberg.PartitionField{SourceIDs: []int{app.ID}, FieldID: 1000, Name: "app_id", Transform: iceberg.IdentityTransform{}})
		if _, err := l.catalog.CreateTable(ctx, table.Identifier{"lake", name}, schema, catalog.WithPartitionSpec(&spec)); err != nil {
			return nil, fmt.Errorf("create %s: %w", name, err)
		}
	}
	return l, nil
}

// forward makes a server that listens on a socket file alone reachable through
// TCP, for Trino's driver speaks nothing else.
func forward(cfg *pgx.ConnConfig) (string, error) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", err
	}
	path := filepath.Join(cfg.Host, fmt.Sprintf(".s.PGSQL.%d", cfg.Port))
	go func() {
		for {
			from, err := listener.Accept()
			if err != nil {
				return
			}
			go func() {
				defer from.Close()
				to, err := net.Dial("unix", path)
				if err != nil {
					return
				}
				go func() {
					defer to.Close()
					_, _ = io.Copy(to, from)
				}()
				_, _ = io.Copy(from, to)
			}()
		}
	}()
	return listener.Addr().String(), nil
}

// Add publishes events and person links of an app.
func (l *Lake) Add(t testing.TB, app string, events []querytest.Event, links query.Links) {
	t.Helper()
	if len(events) > 0 {
		l.append(t, "events", querytest.WriteFor(t, app, 0, events).Path)
	}
	if len(links.ByKey)+len(links.Changed)+len(links.ChangedUsers) > 0 {
		l.append(t, "links", querytest.WriteLinks(t, app, links))
	}
}

func (l *Lake) append(t testing.TB, name, path string) {
	t.Helper()
	l.mu.Lock()
	defer l.mu.Unlock()
	// A test's directory ends with it, the table lives on.
	kept := filepath.Join(l.dir, uuid.NewString()+".parquet")
	data, err := os.ReadFile(path)
	if err == nil {
		err = os.WriteFile(kept, data, 0o644)
	}
	if err != nil {
		t.Fatal(err)
	}
	ctx := t.Context()
	published, err := l.catalog.LoadTable(ctx, table.Identifier{"lake", name})
	if err != nil {
		t.Fatal(err)
	}
	tx := published.NewTransaction()
	if err := tx.AddFiles(ctx, []string{"file://" + kept}, nil, true); err != nil {
		t.Fatalf("add to %s: %v", name, err)
	}
	if _, err := tx.Commit(ctx); err != nil {
		t.Fatalf("commit %s: %v", name, err)
	}
}

func eventsSchema() *iceberg.Schema {
	types := map[string]iceberg.Type{
		"VARCHAR": iceberg.PrimitiveTypes.String, "BIGINT": iceberg.PrimitiveTypes.Int64, "UUID": iceberg.PrimitiveTypes.UUID,
		"TIMESTAMPTZ": iceberg.PrimitiveTypes.TimestampTz, "DOUBLE": iceberg.PrimitiveTypes.Float64,
	}
	var fields []iceberg.NestedField
	for i, c := range querytest.FileColumns() {
		fields = append(fields, iceberg.NestedField{ID: i + 1, Name: c.Name, Type: types[c.Type]})
	}
	return iceberg.NewSchema(0, fields...)
}

func linksSchema() *iceberg.Schema {
	return iceberg.NewSchema(0,
		iceberg.NestedField{ID: 1, Name: "app_id", Type: iceberg.PrimitiveTypes.String},
		iceberg.NestedField{ID: 2, Name: "kind", Type: iceberg.PrimitiveTypes.String},
		iceberg.NestedField{ID: 3, Name: "id", Type: iceberg.PrimitiveTypes.String},
		iceberg.NestedField{ID: 4, Name: "from_key", Type: iceberg.PrimitiveTypes.Int64},
		iceberg.NestedField{ID: 5, Name: "to_key", Type: iceberg.PrimitiveTypes.Int64},
	)
}
