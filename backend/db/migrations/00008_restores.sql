-- +goose Up
-- Backups that this database was made from. Until a restored manifest has been
-- compared with the objects, nothing is collected.
CREATE TABLE lake_restores (
  restored_at timestamptz PRIMARY KEY DEFAULT clock_timestamp(),
  backup_of   timestamptz NOT NULL, -- the instant that the backup held
  rebuilt_at  timestamptz
);
GRANT SELECT, UPDATE ON lake_restores TO causality_app;

-- +goose Down
DROP TABLE lake_restores;
