-- +goose Up
-- The publication: the manifest mirrored into Iceberg tables. All of it lives in
-- a schema of its own, apart from tenants' tables: readers such as Trino sign in
-- as a role that sees the catalog's two tables and nothing else:
--   CREATE ROLE trino LOGIN PASSWORD '…';
--   GRANT USAGE ON SCHEMA iceberg TO trino;
--   GRANT SELECT ON iceberg.iceberg_tables, iceberg.iceberg_namespace_properties TO trino;
CREATE SCHEMA iceberg;
GRANT USAGE ON SCHEMA iceberg TO causality_app;

-- The catalog, in the layout that Iceberg's JDBC catalogs share.
CREATE TABLE iceberg.iceberg_tables (
  catalog_name               varchar(255) NOT NULL,
  table_namespace            varchar(255) NOT NULL,
  table_name                 varchar(255) NOT NULL,
  metadata_location          varchar(1000),
  previous_metadata_location varchar(1000),
  iceberg_type               varchar(5),
  PRIMARY KEY (catalog_name, table_namespace, table_name)
);
CREATE TABLE iceberg.iceberg_namespace_properties (
  catalog_name   varchar(255) NOT NULL,
  namespace      varchar(255) NOT NULL,
  property_key   varchar(255) NOT NULL,
  property_value varchar(1000),
  PRIMARY KEY (catalog_name, namespace, property_key)
);

-- What was mirrored. Each commit moves sequence on, in the transaction that
-- moves the catalog.
CREATE TABLE iceberg.publication (
  only_row        boolean PRIMARY KEY DEFAULT true CHECK (only_row),
  sequence        bigint NOT NULL DEFAULT 0,
  events_snapshot bigint NOT NULL DEFAULT 0,
  links_snapshot  bigint NOT NULL DEFAULT 0,
  committed_at    timestamptz NOT NULL DEFAULT now(),
  promoted        jsonb NOT NULL DEFAULT '[]', -- columns of lake.events for promoted properties: name and kind
  alive_at        timestamptz NOT NULL DEFAULT '-infinity' -- when a publisher last said so
);
INSERT INTO iceberg.publication DEFAULT VALUES;

CREATE TABLE iceberg.published_apps (
  app_id       uuid PRIMARY KEY,
  version      bigint NOT NULL, -- of lake_apps, as mirrored
  link_number  bigint NOT NULL, -- person links up to here are in the table of links
  oldest_link  bigint NOT NULL, -- and serve objects that are folded through this one or a later
  link_files   bigint NOT NULL DEFAULT 0, -- objects of links
  link_rows    bigint NOT NULL DEFAULT 0, -- and the rows of them all
  links_reset  bigint NOT NULL DEFAULT 0, -- counts how often links were deleted
  links_seen   bigint NOT NULL DEFAULT 0  -- and how often that had happened when links were last published
);

-- Objects of the lake that a snapshot refers to: those without removed_at are in
-- the current one.
CREATE TABLE iceberg.published_objects (
  key        text PRIMARY KEY,
  app_id     uuid NOT NULL,
  object_id  uuid NOT NULL,
  removed_at timestamptz
);
CREATE INDEX ON iceberg.published_objects (app_id);
CREATE INDEX ON iceberg.published_objects (object_id);
CREATE INDEX ON iceberg.published_objects (removed_at) WHERE removed_at IS NOT NULL;

-- The publication's own objects. One that is stored and not listed was never
-- committed.
CREATE TABLE iceberg.files (
  key        text PRIMARY KEY,
  removed_at timestamptz -- the current snapshot needs it no more
);
CREATE INDEX ON iceberg.files (removed_at) WHERE removed_at IS NOT NULL;

-- Objects that must not be deleted yet, erasure apart. A publication that was
-- switched off, or has been down for a day, holds nothing.
CREATE VIEW iceberg.held_objects AS
  SELECT o.key FROM iceberg.published_objects o, iceberg.publication p WHERE p.alive_at > now() - interval '1 day';

GRANT SELECT, INSERT, UPDATE, DELETE ON iceberg.iceberg_tables, iceberg.iceberg_namespace_properties,
  iceberg.published_apps, iceberg.published_objects, iceberg.files TO causality_app;
GRANT SELECT, UPDATE ON iceberg.publication TO causality_app;
GRANT SELECT ON iceberg.held_objects TO causality_app;

-- Which version each app of the installation is at: one look at all of them,
-- many times a minute.
CREATE FUNCTION lake_versions() RETURNS TABLE (workspace_id uuid, app_id uuid, version bigint)
  LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, public, pg_temp
  AS $$ SELECT a.workspace_id, a.app_id, a.version FROM lake_apps a $$;
REVOKE EXECUTE ON FUNCTION lake_versions FROM PUBLIC;
GRANT EXECUTE ON FUNCTION lake_versions TO causality_app;

-- The promoted properties that lake.events has columns for. It is one table for
-- all: a name on whose kind or spelling two apps disagree is left to the JSON,
-- and so are all of them where there are several workspaces, which need not
-- know how the others name things. (Not SQL: the table comes with 00007.)
-- +goose StatementBegin
CREATE FUNCTION publishable_promotions() RETURNS jsonb
  LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = pg_catalog, public, pg_temp AS $$
BEGIN
  RETURN (SELECT coalesce(jsonb_agg(jsonb_build_object('name', name, 'kind', kind) ORDER BY name COLLATE "C"), '[]') FROM (
    SELECT min(p.name) AS name, min(p.kind) AS kind FROM promoted_properties p
    WHERE (SELECT count(*) FROM workspaces) = 1
    GROUP BY lower(p.name) HAVING min(p.name) = max(p.name) AND min(p.kind) = max(p.kind)
    ORDER BY min(p.promoted_at), 1 LIMIT 500) AS agreed);
END
$$;
-- +goose StatementEnd
REVOKE EXECUTE ON FUNCTION publishable_promotions FROM PUBLIC;
GRANT EXECUTE ON FUNCTION publishable_promotions TO causality_app;

-- Links are numbered anew by a rebuild, and forgotten by erasure: then those
-- that were published say nothing any more.
-- +goose StatementBegin
CREATE FUNCTION lake_links_deleted() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  INSERT INTO iceberg.published_apps AS p (app_id, version, link_number, oldest_link, links_reset)
    SELECT DISTINCT app_id, -1, 0, 0, 1 FROM deleted
    ON CONFLICT (app_id) DO UPDATE SET links_reset = p.links_reset + 1;
  RETURN NULL;
END
$$;
-- +goose StatementEnd
CREATE TRIGGER lake_links_deleted AFTER DELETE ON person_links
  REFERENCING OLD TABLE AS deleted FOR EACH STATEMENT EXECUTE FUNCTION lake_links_deleted();

-- +goose Down
DROP TRIGGER lake_links_deleted ON person_links;
DROP FUNCTION lake_links_deleted(), lake_versions(), publishable_promotions();
DROP VIEW iceberg.held_objects;
DROP TABLE iceberg.files, iceberg.published_objects, iceberg.published_apps, iceberg.publication,
  iceberg.iceberg_namespace_properties, iceberg.iceberg_tables;
DROP SCHEMA iceberg;
