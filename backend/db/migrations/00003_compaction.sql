-- +goose Up
-- Objects settle: a merge leaves one object for each month and user bucket, and
-- derives projections from it.
ALTER TABLE lake_objects
  ADD COLUMN period      date, -- settled: first day of the month of its events, UTC
  ADD COLUMN bucket      int NOT NULL DEFAULT 0, -- settled: the top bucket_bits of its user keys
  ADD COLUMN bucket_bits int NOT NULL DEFAULT 0,
  ADD COLUMN columns     text[] NOT NULL DEFAULT '{}', -- promoted properties that it holds completely
  ADD COLUMN zone        text NOT NULL DEFAULT '', -- of a projection's days
  ADD COLUMN source_id   uuid REFERENCES lake_objects ON DELETE CASCADE, -- of a projection: what it is derived from
  ADD COLUMN merge_id    uuid, -- of the merge that wrote it
  ADD COLUMN parts       int NOT NULL DEFAULT 1, -- objects of whole events that the merge wrote
  ADD COLUMN version     bigint NOT NULL DEFAULT 0; -- listed by this version of the app, or an earlier one
ALTER TABLE lake_objects DROP CONSTRAINT lake_objects_kind_check;
ALTER TABLE lake_objects ADD CONSTRAINT lake_objects_kind_check
  CHECK (kind IN ('events', 'by_event', 'event_days', 'user_days', 'erased'));
CREATE INDEX ON lake_objects (source_id) WHERE source_id IS NOT NULL;
CREATE INDEX ON lake_objects (workspace_id, app_id, version);
DROP INDEX lake_objects_workspace_id_app_id_kind_max_ts_idx; -- readers keep the list and prune it themselves

-- What left the manifest, so that a reader that has the list of an earlier
-- version needs only what changed. The last 20,000 versions of an app are kept.
CREATE TABLE lake_removals (
  workspace_id uuid NOT NULL,
  app_id       uuid NOT NULL,
  version      bigint NOT NULL, -- of the app, from which on they are gone
  object_ids   uuid[] NOT NULL,
  PRIMARY KEY (workspace_id, app_id, version),
  FOREIGN KEY (workspace_id, app_id) REFERENCES apps (workspace_id, app_id)
);
CALL protect_tenant_table('lake_removals');
GRANT SELECT, INSERT, DELETE ON lake_removals TO causality_app;

-- A trigger, so that whoever removes an object tells the readers.
-- +goose StatementBegin
CREATE FUNCTION lake_note_removals() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
  gone record;
  now_at bigint;
BEGIN
  FOR gone IN SELECT workspace_id, app_id, array_agg(object_id) AS ids FROM removed GROUP BY workspace_id, app_id LOOP
    UPDATE lake_apps SET version = version + 1
      WHERE workspace_id = gone.workspace_id AND app_id = gone.app_id RETURNING version INTO now_at;
    CONTINUE WHEN NOT FOUND;
    INSERT INTO lake_removals VALUES (gone.workspace_id, gone.app_id, now_at, gone.ids);
    DELETE FROM lake_removals WHERE workspace_id = gone.workspace_id AND app_id = gone.app_id AND version < now_at - 20000;
  END LOOP;
  RETURN NULL;
END
$$;
-- +goose StatementEnd
CREATE TRIGGER lake_note_removals AFTER DELETE ON lake_objects
  REFERENCING OLD TABLE AS removed FOR EACH STATEMENT EXECUTE FUNCTION lake_note_removals();

-- +goose Down
DROP TRIGGER lake_note_removals ON lake_objects;
DROP FUNCTION lake_note_removals();
DROP TABLE lake_removals;
DELETE FROM lake_objects WHERE kind <> 'events'; -- derived again, or known from the objects
ALTER TABLE lake_objects DROP CONSTRAINT lake_objects_kind_check;
ALTER TABLE lake_objects ADD CONSTRAINT lake_objects_kind_check
  CHECK (kind IN ('events', 'by_event', 'event_days', 'user_days'));
ALTER TABLE lake_objects DROP COLUMN period, DROP COLUMN bucket, DROP COLUMN bucket_bits, DROP COLUMN columns, DROP COLUMN zone,
  DROP COLUMN source_id, DROP COLUMN merge_id, DROP COLUMN parts, DROP COLUMN version;
CREATE INDEX ON lake_objects (workspace_id, app_id, kind, max_ts);
