package iceberg

import (
	"context"
	"errors"
	"fmt"

	"github.com/jackc/pgx/v5"
)

// ErrConflict is returned by Commit when somebody else changed the table since
// it was loaded: load it anew and stage the change again.
var ErrConflict = errors.New("the Iceberg table was changed by another process")

// Catalog is a catalog in the layout that Iceberg's JDBC catalogs share, in the
// tables of Schema.
type Catalog struct {
	Schema string // of PostgreSQL
	Name   string // by which its readers name it
}

// Current looks up where a table's metadata file is; empty when there is no
// such table.
func (c Catalog) Current(ctx context.Context, tx pgx.Tx, namespace, table string) (string, error) {
	var location string
	err := tx.QueryRow(ctx, `SELECT metadata_location FROM `+pgx.Identifier{c.Schema, "iceberg_tables"}.Sanitize()+`
		WHERE catalog_name = $1 AND table_namespace = $2 AND table_name = $3`, c.Name, namespace, table).Scan(&location)
	if err != nil && !errors.Is(err, pgx.ErrNoRows) {
		return "", fmt.Errorf("iceberg catalog: %w", err)
	}
	return location, nil
}

// Commit makes a staged change the table's current one within tx. replaces is
// the metadata file that must be current until then; empty for a new table. It
// is the one that the change was staged on, or that of a table made anew.
func (c Catalog) Commit(ctx context.Context, tx pgx.Tx, s *Staged, replaces string) error {
	tables := pgx.Identifier{c.Schema, "iceberg_tables"}.Sanitize()
	if replaces == "" {
		// Catalogs know a namespace by having any property of it.
		_, err := tx.Exec(ctx, `INSERT INTO `+pgx.Identifier{c.Schema, "iceberg_namespace_properties"}.Sanitize()+`
			(catalog_name, namespace, property_key, property_value) VALUES ($1, $2, 'exists', 'true') ON CONFLICT DO NOTHING`, c.Name, s.table.namespace)
		if err != nil {
			return fmt.Errorf("iceberg catalog: %w", err)
		}
		tag, err := tx.Exec(ctx, `INSERT INTO `+tables+` (catalog_name, table_namespace, table_name, metadata_location, iceberg_type)
			VALUES ($1, $2, $3, $4, 'TABLE') ON CONFLICT DO NOTHING`, c.Name, s.table.namespace, s.table.name, s.location)
		return committed(tag.RowsAffected(), err)
	}
	tag, err := tx.Exec(ctx, `UPDATE `+tables+` SET previous_metadata_location = metadata_location, metadata_location = $5
		WHERE catalog_name = $1 AND table_namespace = $2 AND table_name = $3 AND metadata_location = $4`,
		c.Name, s.table.namespace, s.table.name, replaces, s.location)
	return committed(tag.RowsAffected(), err)
}

func committed(rows int64, err error) error {
	if err != nil {
		return fmt.Errorf("iceberg catalog: %w", err)
	}
	if rows != 1 {
		return ErrConflict
	}
	return nil
}
