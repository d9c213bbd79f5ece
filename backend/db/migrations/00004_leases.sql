-- +goose Up
-- Which processes of the installation are alive and what each of them does, by
-- the database's clock. No tenant's data: one row a process, one a piece of work.

CREATE TABLE replicas (
  replica_id text PRIMARY KEY CHECK (replica_id <> ''),
  session    uuid NOT NULL,            -- one life of the process
  roles      text NOT NULL,
  wants      text[] NOT NULL,          -- pieces of work that it shares in
  started_at timestamptz NOT NULL DEFAULT now(),
  seen_at    timestamptz NOT NULL DEFAULT now()
);

CREATE TABLE leases (
  name       text PRIMARY KEY,
  holder     uuid NOT NULL,            -- a replica's session
  expires_at timestamptz NOT NULL
);

GRANT SELECT, INSERT, UPDATE, DELETE ON replicas, leases TO causality_app;

-- +goose Down
DROP TABLE leases, replicas;
