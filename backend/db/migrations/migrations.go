// Package migrations holds the one ordered history of the database's schema.
package migrations

import "embed"

// FS holds the goose migrations, applied in the order of their numbers.
//
//go:embed *.sql
var FS embed.FS
