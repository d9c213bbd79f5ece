-- +goose Up
-- Erasure, retention, and what they leave in the accounts.

ALTER TABLE apps ADD COLUMN retention_days int CHECK (retention_days BETWEEN 1 AND 36500); -- NULL: events are kept for ever

ALTER TABLE lake_apps
  ADD COLUMN erasures    bigint NOT NULL DEFAULT 0, -- moves when an erasure takes force or removes person links: what is cached of either holds for one number
  ADD COLUMN erased      bigint NOT NULL DEFAULT 0, -- stored events that erasure removed
  ADD COLUMN erased_late bigint NOT NULL DEFAULT 0, -- events of erased people that arrived after their erasure and were let go
  ADD COLUMN expired     bigint NOT NULL DEFAULT 0; -- stored events that retention removed

-- What was asked to be erased, and how far that is. Nobody's id stands here in
-- clear: keys are those of events (63 bits of SHA-256), hashes the SHA-256 of ids.
-- Rows stay: a late event or an old backup of an erased person meets them.
CREATE TABLE erasures (
  erasure_id   uuid PRIMARY KEY,
  workspace_id uuid NOT NULL,
  app_id       uuid NOT NULL,
  state        text NOT NULL DEFAULT 'requested' CHECK (state IN ('requested', 'rewriting', 'cleaning', 'deleting', 'proving', 'done')),
  requested_by text NOT NULL,
  requested_at timestamptz NOT NULL DEFAULT now(),
  keys         bigint[] NOT NULL, -- the person's ids; empty: everybody
  hashes       text[] NOT NULL,
  event        text NOT NULL DEFAULT '', -- tracked events of this name; empty: every event
  from_ts      timestamptz,
  to_ts        timestamptz,
  lanes        jsonb NOT NULL DEFAULT '{}', -- where the stream stood when it was asked
  -- Of the moment when it took force:
  active_at        timestamptz,
  commits          bigint NOT NULL DEFAULT 0, -- objects of these commits are looked at
  received_through timestamptz,
  link_number      bigint NOT NULL DEFAULT 0,
  record       jsonb NOT NULL DEFAULT '{}', -- what has been done so far
  problem      text NOT NULL DEFAULT '',    -- of the last try; empty: none
  receipt      text NOT NULL DEFAULT '',    -- JSON, once it is done
  finished_at  timestamptz,
  CHECK (cardinality(keys) > 0 OR event <> '' OR from_ts IS NOT NULL OR to_ts IS NOT NULL),
  FOREIGN KEY (workspace_id, app_id) REFERENCES apps (workspace_id, app_id)
);
CREATE INDEX ON erasures (workspace_id, app_id, requested_at);
CREATE INDEX ON erasures (workspace_id) WHERE state <> 'done';

-- The last run of an app's retention, and what all of them removed.
CREATE TABLE retention_runs (
  workspace_id uuid NOT NULL,
  app_id       uuid NOT NULL,
  ran_at       timestamptz NOT NULL,
  limit_ts     timestamptz NOT NULL, -- events before it had to go
  dropped      bigint NOT NULL DEFAULT 0, -- whole objects, ever
  rewritten    bigint NOT NULL DEFAULT 0, -- objects, ever
  rows         bigint NOT NULL DEFAULT 0, -- ever
  problem      text NOT NULL DEFAULT '',  -- of the last run
  PRIMARY KEY (workspace_id, app_id),
  FOREIGN KEY (workspace_id, app_id) REFERENCES apps (workspace_id, app_id)
);

CALL protect_tenant_table('erasures');
CALL protect_tenant_table('retention_runs');
GRANT SELECT, INSERT, UPDATE ON erasures, retention_runs TO causality_app;

-- What every replica must let go of in its memory and on its disk, until each
-- that is alive has said so. Ids of apps and keys of objects: no tenant's data.
CREATE TABLE lake_forgets (
  forget_id  bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  app_id     uuid NOT NULL,
  keys       text[] NOT NULL,
  asked_at   timestamptz NOT NULL DEFAULT now(),
  forgotten_by text[] NOT NULL DEFAULT '{}' -- replicas
);
GRANT SELECT, INSERT, UPDATE, DELETE ON lake_forgets TO causality_app;

-- +goose Down
DROP TABLE lake_forgets, retention_runs, erasures;
ALTER TABLE lake_apps DROP COLUMN erasures, DROP COLUMN erased, DROP COLUMN erased_late, DROP COLUMN expired;
ALTER TABLE apps DROP COLUMN retention_days;
