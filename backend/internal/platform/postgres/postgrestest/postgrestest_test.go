package postgrestest_test

import (
	"testing"

	"github.com/causality-project/causality/backend/internal/platform/postgres"
	"github.com/causality-project/causality/backend/internal/platform/postgres/postgrestest"
)

func TestEveryTestHasADatabaseOfItsOwn(t *testing.T) {
	t.Parallel()
	one, other := postgrestest.New(t), postgrestest.New(t)
	for _, server := range []*postgres.Server{one, other} {
		if _, err := server.Pool().Exec(t.Context(), "SELECT ensure_workspace(gen_random_uuid(), 'default', gen_random_uuid(), 'Owner')"); err != nil {
			t.Fatal(err)
		}
		var n int
		if err := server.Pool().QueryRow(t.Context(), "SELECT count(*) FROM all_workspaces()").Scan(&n); err != nil || n != 1 {
			t.Fatalf("workspaces = %d, %v, want 1", n, err)
		}
	}
}

func BenchmarkNew(b *testing.B) {
	postgrestest.New(b)
	for b.Loop() {
		postgrestest.New(b)
	}
}
