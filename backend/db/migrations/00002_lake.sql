-- +goose Up
-- The manifest: which objects hold an app's events, and how far each stream has
-- landed. Queries read exactly the objects that are listed here.

-- One row an app, locked by whoever commits events: commits that add ids are
-- serial per app. version moves with every change that an answer could see;
-- the counters only grow.
CREATE TABLE lake_apps (
  workspace_id uuid NOT NULL,
  app_id       uuid NOT NULL,
  version      bigint NOT NULL DEFAULT 0,
  commits      bigint NOT NULL DEFAULT 0, -- number of the last object that the sink wrote
  link_number  bigint NOT NULL DEFAULT 0, -- of the last change of a person link
  stored       bigint NOT NULL DEFAULT 0, -- accepted events that landed, repeats too
  duplicates   bigint NOT NULL DEFAULT 0,
  rejected     bigint NOT NULL DEFAULT 0,
  dropped      bigint NOT NULL DEFAULT 0, -- by senders, as they report
  last_received_at timestamptz,
  PRIMARY KEY (workspace_id, app_id),
  FOREIGN KEY (workspace_id, app_id) REFERENCES apps (workspace_id, app_id)
);

CREATE TABLE lake_objects (
  object_id      uuid PRIMARY KEY,
  workspace_id   uuid NOT NULL,
  app_id         uuid NOT NULL,
  key            text NOT NULL UNIQUE, -- in the object store
  kind           text NOT NULL CHECK (kind IN ('events', 'by_event', 'event_days', 'user_days')),
  level          smallint NOT NULL, -- 0 as ingested; merging objects of a level makes one of the next
  schema_version smallint NOT NULL,
  rows           bigint NOT NULL,
  bytes          bigint NOT NULL,
  min_ts         timestamptz NOT NULL,
  max_ts         timestamptz NOT NULL,
  min_received_at timestamptz NOT NULL,
  max_received_at timestamptz NOT NULL,
  link_number    bigint NOT NULL, -- folded through this person link
  sources        bigint[] NOT NULL, -- commits whose rows it holds: first and last of each range, in turn
  lane           text NOT NULL DEFAULT '', -- level 0: lane, incarnation and run of sequences
  incarnation    text NOT NULL DEFAULT '',
  first_seq      bigint NOT NULL DEFAULT 0,
  last_seq       bigint NOT NULL DEFAULT 0,
  created_at     timestamptz NOT NULL,
  FOREIGN KEY (workspace_id, app_id) REFERENCES apps (workspace_id, app_id)
);
CREATE INDEX ON lake_objects (workspace_id, app_id, kind, max_ts);

-- Objects that left the manifest; deleted once no question can read them still.
CREATE TABLE lake_garbage (
  key          text PRIMARY KEY,
  workspace_id uuid NOT NULL REFERENCES workspaces,
  removed_at   timestamptz NOT NULL DEFAULT now()
);

-- Anonymous → user and user → user, first come by event time; undone, never
-- deleted. number orders the changes of an app: a reader re-keys the rows of
-- objects that are folded through an earlier number. An alias that does not
-- count is kept undone from the start, because an earlier one may arrive that
-- lets it count.
CREATE TABLE person_links (
  workspace_id uuid NOT NULL,
  app_id       uuid NOT NULL,
  number       bigint NOT NULL,
  kind         text NOT NULL CHECK (kind IN ('identify', 'alias')),
  from_id      text NOT NULL, -- the anonymous id or previous user id
  from_key     bigint NOT NULL,
  to_id        text NOT NULL,
  to_key       bigint NOT NULL,
  ts           timestamptz NOT NULL,
  event_id     uuid NOT NULL,
  replaces     bigint, -- number of the link that this one corrects
  undone_at    timestamptz,
  undone_number bigint, -- of the change that undid it
  undone_why   text CHECK (undone_why IN ('earlier', 'cycle')), -- an earlier link counts; it would close a circle
  created_at   timestamptz NOT NULL DEFAULT now(),
  CHECK ((undone_at IS NULL) = (undone_number IS NULL)),
  PRIMARY KEY (workspace_id, app_id, number),
  FOREIGN KEY (workspace_id, app_id) REFERENCES apps (workspace_id, app_id)
);
CREATE UNIQUE INDEX person_links_current ON person_links (workspace_id, app_id, kind, from_id) WHERE undone_at IS NULL;
CREATE INDEX person_links_from_key ON person_links (workspace_id, app_id, from_key) WHERE undone_at IS NULL;
CREATE INDEX person_links_undone ON person_links (workspace_id, app_id, undone_number) WHERE undone_at IS NOT NULL;

-- How far each lane of the stream has landed, over all workspaces: no tenant's
-- data, and no tenant table. A sink moves it from where it stood or fails.
CREATE TABLE lake_offsets (
  lane        text PRIMARY KEY,
  incarnation text NOT NULL, -- of the created stream: a new one starts at sequence 1
  last_seq    bigint NOT NULL,
  committed_at timestamptz NOT NULL DEFAULT now()
);

-- What people may want to see of refused events: the newest 10,000 an app.
CREATE TABLE rejected_events (
  rejected_id  bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  workspace_id uuid NOT NULL,
  app_id       uuid NOT NULL,
  received_at  timestamptz NOT NULL,
  index        int NOT NULL,
  event_id     text NOT NULL,
  name         text NOT NULL,
  code         text NOT NULL,
  field        text NOT NULL,
  message      text NOT NULL,
  event        text NOT NULL,
  FOREIGN KEY (workspace_id, app_id) REFERENCES apps (workspace_id, app_id)
);
CREATE INDEX ON rejected_events (workspace_id, app_id, rejected_id DESC);

-- The catalog: events and properties seen.
CREATE TABLE catalog_events (
  workspace_id uuid NOT NULL,
  app_id       uuid NOT NULL,
  name         text NOT NULL,
  count        bigint NOT NULL,
  first_seen   timestamptz NOT NULL,
  last_seen    timestamptz NOT NULL,
  names_cut    bigint NOT NULL DEFAULT 0, -- properties seen beyond the names that are kept
  PRIMARY KEY (workspace_id, app_id, name),
  FOREIGN KEY (workspace_id, app_id) REFERENCES apps (workspace_id, app_id)
);

CREATE TABLE catalog_event_days (
  workspace_id uuid NOT NULL,
  app_id       uuid NOT NULL,
  day          date NOT NULL, -- of the event's time, UTC
  name         text NOT NULL,
  count        bigint NOT NULL,
  PRIMARY KEY (workspace_id, app_id, day, name),
  FOREIGN KEY (workspace_id, app_id) REFERENCES apps (workspace_id, app_id)
);

CREATE TABLE catalog_properties (
  workspace_id uuid NOT NULL,
  app_id       uuid NOT NULL,
  event        text NOT NULL,
  name         text NOT NULL,
  types        smallint NOT NULL, -- bits: 1 text, 2 number, 4 boolean, 8 list, 16 object
  count        bigint NOT NULL,
  samples      text[] NOT NULL,
  last_seen    timestamptz NOT NULL,
  PRIMARY KEY (workspace_id, app_id, event, name),
  FOREIGN KEY (workspace_id, app_id) REFERENCES apps (workspace_id, app_id)
);

CALL protect_tenant_table('lake_apps');
CALL protect_tenant_table('lake_objects');
CALL protect_tenant_table('lake_garbage');
CALL protect_tenant_table('person_links');
CALL protect_tenant_table('rejected_events');
CALL protect_tenant_table('catalog_events');
CALL protect_tenant_table('catalog_event_days');
CALL protect_tenant_table('catalog_properties');
GRANT SELECT, INSERT, UPDATE, DELETE ON lake_apps, lake_objects, lake_garbage, person_links,
  rejected_events, catalog_events, catalog_event_days, catalog_properties TO causality_app;
GRANT SELECT, INSERT, UPDATE ON lake_offsets TO causality_app;

-- +goose Down
DROP TABLE catalog_properties, catalog_event_days, catalog_events, rejected_events, lake_offsets, person_links,
  lake_garbage, lake_objects, lake_apps;
