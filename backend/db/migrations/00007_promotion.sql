-- +goose Up
-- Properties that merges give a column of their own. A row stays when its
-- property is demoted: stored files still hold the column, in the kind that it
-- had, so that a property keeps its first kind.
CREATE TABLE promoted_properties (
  workspace_id uuid NOT NULL,
  app_id       uuid NOT NULL,
  name         text NOT NULL,
  kind         text NOT NULL CHECK (kind IN ('text', 'number')),
  promoted_at  timestamptz NOT NULL DEFAULT now(),
  demoted_at   timestamptz,
  PRIMARY KEY (workspace_id, app_id, name),
  FOREIGN KEY (workspace_id, app_id) REFERENCES apps (workspace_id, app_id)
);
-- Names of columns do not differ by case alone.
CREATE UNIQUE INDEX promoted_properties_column ON promoted_properties (workspace_id, app_id, lower(name));
CALL protect_tenant_table('promoted_properties');
GRANT SELECT, INSERT, UPDATE, DELETE ON promoted_properties TO causality_app;

-- +goose Down
DROP TABLE promoted_properties;
