-- +goose Up
-- Workspaces, apps, people who sign in, and keys.
--
-- The server works as causality_app, which owns nothing and cannot bypass
-- row-level security. Every tenant table carries workspace_id and shows a row
-- only inside a transaction that has set app.current_workspace_id; without it
-- the setting is missing and the statement fails, so that a forgotten scope is
-- an error and never everything. Look-ups before a scope is known are the
-- SECURITY DEFINER functions at the end, and nothing else. They run as the owner
-- of the tables, which need be neither superuser nor BYPASSRLS: FORCE would hold
-- it to the tenant policy too, so each table has one more policy for it alone.
--
-- The role causality_app itself belongs to the cluster, not to one database, and
-- is made before the first migration.

GRANT USAGE ON SCHEMA public TO causality_app;

CREATE FUNCTION current_workspace() RETURNS uuid
  LANGUAGE sql STABLE
  RETURN current_setting('app.current_workspace_id')::uuid;

-- Makes tab a tenant table. Every migration that creates one calls it.
-- +goose StatementBegin
CREATE PROCEDURE protect_tenant_table(tab regclass) LANGUAGE plpgsql AS $$
BEGIN
  EXECUTE format('ALTER TABLE %s ENABLE ROW LEVEL SECURITY', tab);
  EXECUTE format('ALTER TABLE %s FORCE ROW LEVEL SECURITY', tab);
  EXECUTE format('CREATE POLICY tenant ON %s TO causality_app USING (workspace_id = current_workspace())', tab);
  EXECUTE format('CREATE POLICY owner ON %s TO CURRENT_USER USING (true)', tab);
END
$$;
-- +goose StatementEnd

CREATE TABLE workspaces (
  workspace_id uuid PRIMARY KEY,
  slug         text NOT NULL UNIQUE CHECK (slug ~ '^[a-z0-9][a-z0-9-]{0,62}$'),
  name         text NOT NULL CHECK (length(name) BETWEEN 1 AND 100),
  created_at   timestamptz NOT NULL DEFAULT now()
);
CALL protect_tenant_table('workspaces');
GRANT SELECT, UPDATE ON workspaces TO causality_app;

CREATE TABLE apps (
  app_id         uuid PRIMARY KEY,
  workspace_id   uuid NOT NULL REFERENCES workspaces,
  name           text NOT NULL CHECK (length(name) BETWEEN 1 AND 100),
  time_zone      text NOT NULL DEFAULT 'UTC',
  ip_policy      text NOT NULL DEFAULT 'truncate' CHECK (ip_policy IN ('keep', 'truncate', 'drop')),
  created_at     timestamptz NOT NULL DEFAULT now(),
  UNIQUE (workspace_id, name),
  UNIQUE (workspace_id, app_id)
);
CALL protect_tenant_table('apps');
GRANT SELECT, INSERT, UPDATE ON apps TO causality_app;

-- People sign in to the installation; memberships say what they see of it.
CREATE TABLE users (
  user_id    uuid PRIMARY KEY,
  email      text UNIQUE,
  name       text NOT NULL,
  created_at timestamptz NOT NULL DEFAULT now()
);

CREATE TABLE memberships (
  workspace_id uuid NOT NULL REFERENCES workspaces,
  user_id      uuid NOT NULL REFERENCES users,
  role         text NOT NULL CHECK (role IN ('owner', 'admin', 'editor', 'viewer')),
  created_at   timestamptz NOT NULL DEFAULT now(),
  PRIMARY KEY (workspace_id, user_id)
);
CALL protect_tenant_table('memberships');
GRANT SELECT ON memberships TO causality_app;

CREATE TABLE sessions (
  token_hash   bytea PRIMARY KEY,
  user_id      uuid NOT NULL REFERENCES users,
  created_at   timestamptz NOT NULL DEFAULT now(),
  last_seen_at timestamptz NOT NULL DEFAULT now(),
  expires_at   timestamptz NOT NULL,
  revoked_at   timestamptz,
  user_agent   text NOT NULL DEFAULT ''
);
CREATE INDEX ON sessions (user_id);

CREATE TABLE sign_in_links (
  token_hash bytea PRIMARY KEY,
  user_id    uuid NOT NULL REFERENCES users,
  created_at timestamptz NOT NULL DEFAULT now(),
  expires_at timestamptz NOT NULL,
  used_at    timestamptz
);

-- Only the SHA-256 of a key is kept: keys are long and random, so a slow hash
-- would guard nothing. A write key is public; its text is kept to be shown.
CREATE TABLE keys (
  key_id       uuid PRIMARY KEY,
  workspace_id uuid NOT NULL REFERENCES workspaces,
  app_id       uuid NOT NULL,
  kind         text NOT NULL CHECK (kind IN ('write', 'secret')),
  name         text NOT NULL DEFAULT '' CHECK (length(name) <= 100),
  key_hash     bytea NOT NULL UNIQUE,
  display      text NOT NULL,
  rate_limit   double precision NOT NULL DEFAULT 5000 CHECK (rate_limit >= 0),
  created_at   timestamptz NOT NULL DEFAULT now(),
  last_used_at timestamptz,
  expires_at   timestamptz,
  revoked_at   timestamptz,
  FOREIGN KEY (workspace_id, app_id) REFERENCES apps (workspace_id, app_id)
);
CREATE INDEX ON keys (workspace_id, app_id);
CALL protect_tenant_table('keys');
GRANT SELECT, INSERT, UPDATE ON keys TO causality_app;

-- Every change of a key is announced, so that replicas drop it at once.
-- +goose StatementBegin
CREATE FUNCTION announce_key() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  IF TG_OP = 'INSERT' OR NEW.revoked_at IS DISTINCT FROM OLD.revoked_at
     OR NEW.expires_at IS DISTINCT FROM OLD.expires_at OR NEW.rate_limit IS DISTINCT FROM OLD.rate_limit THEN
    PERFORM pg_notify('causality_keys', encode(NEW.key_hash, 'hex'));
  END IF;
  RETURN NULL;
END
$$;
-- +goose StatementEnd
CREATE TRIGGER announce AFTER INSERT OR UPDATE ON keys FOR EACH ROW EXECUTE FUNCTION announce_key();

-- So is every change of an app; the front door also holds its address policy
-- beside each key.
-- +goose StatementBegin
CREATE FUNCTION announce_app() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  PERFORM pg_notify('causality_apps', NEW.workspace_id::text);
  IF TG_OP = 'UPDATE' AND NEW.ip_policy IS DISTINCT FROM OLD.ip_policy THEN
    PERFORM pg_notify('causality_keys', encode(k.key_hash, 'hex')) FROM keys k
      WHERE k.app_id = NEW.app_id AND k.revoked_at IS NULL;
  END IF;
  RETURN NULL;
END
$$;
-- +goose StatementEnd
CREATE TRIGGER announce AFTER INSERT OR UPDATE ON apps FOR EACH ROW EXECUTE FUNCTION announce_app();

-- What is known of a key before any scope is: for the front door.
CREATE FUNCTION find_key(hash bytea)
  RETURNS TABLE (key_id uuid, workspace_id uuid, app_id uuid, kind text, rate_limit double precision,
                 expires_at timestamptz, revoked_at timestamptz, ip_policy text)
  LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, public, pg_temp
  AS $$ SELECT k.key_id, k.workspace_id, k.app_id, k.kind, k.rate_limit, k.expires_at, k.revoked_at, a.ip_policy
        FROM keys k JOIN apps a ON a.app_id = k.app_id WHERE k.key_hash = hash $$;

-- All keys that could be used now, so that the front door starts warm.
CREATE FUNCTION usable_keys(most int)
  RETURNS TABLE (key_hash bytea, key_id uuid, workspace_id uuid, app_id uuid, kind text, rate_limit double precision,
                 expires_at timestamptz, revoked_at timestamptz, ip_policy text)
  LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, public, pg_temp
  AS $$ SELECT k.key_hash, k.key_id, k.workspace_id, k.app_id, k.kind, k.rate_limit, k.expires_at, k.revoked_at, a.ip_policy
        FROM keys k JOIN apps a ON a.app_id = k.app_id
        WHERE k.revoked_at IS NULL AND (k.expires_at IS NULL OR k.expires_at > now())
        ORDER BY k.last_used_at DESC NULLS LAST LIMIT most $$;

CREATE FUNCTION touch_keys(ids uuid[]) RETURNS void
  LANGUAGE sql SECURITY DEFINER SET search_path = pg_catalog, public, pg_temp
  AS $$ UPDATE keys SET last_used_at = now() WHERE key_id = ANY (ids) $$;

-- The person behind a session, sliding its idle limit: at most one write a
-- minute, so that reading pages does not write.
-- +goose StatementBegin
CREATE FUNCTION find_session(hash bytea, idle interval)
  RETURNS TABLE (user_id uuid, email text, name text, created_at timestamptz, expires_at timestamptz)
  LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, public, pg_temp AS $$
BEGIN
  UPDATE sessions s SET last_seen_at = now()
  WHERE s.token_hash = hash AND s.revoked_at IS NULL AND s.expires_at > now()
    AND s.last_seen_at > now() - idle AND s.last_seen_at < now() - interval '1 minute';
  RETURN QUERY SELECT u.user_id, u.email, u.name, u.created_at, s.expires_at
    FROM sessions s JOIN users u ON u.user_id = s.user_id
    WHERE s.token_hash = hash AND s.revoked_at IS NULL AND s.expires_at > now() AND s.last_seen_at > now() - idle;
END
$$;
-- +goose StatementEnd

-- +goose StatementBegin
CREATE FUNCTION create_session(hash bytea, who uuid, until timestamptz, agent text) RETURNS void
  LANGUAGE sql SECURITY DEFINER SET search_path = pg_catalog, public, pg_temp
  AS $$ DELETE FROM sessions WHERE expires_at < now() - interval '30 days';
        INSERT INTO sessions (token_hash, user_id, expires_at, user_agent) VALUES (hash, who, until, left(agent, 400)) $$;
-- +goose StatementEnd

CREATE FUNCTION revoke_session(hash bytea) RETURNS void
  LANGUAGE sql SECURITY DEFINER SET search_path = pg_catalog, public, pg_temp
  AS $$ UPDATE sessions SET revoked_at = now() WHERE token_hash = hash AND revoked_at IS NULL $$;

-- +goose StatementBegin
CREATE FUNCTION create_sign_in_link(hash bytea, who uuid, until timestamptz) RETURNS void
  LANGUAGE sql SECURITY DEFINER SET search_path = pg_catalog, public, pg_temp
  AS $$ DELETE FROM sign_in_links WHERE expires_at < now() - interval '30 days';
        INSERT INTO sign_in_links (token_hash, user_id, expires_at) VALUES (hash, who, until) $$;
-- +goose StatementEnd

-- Uses a link up: only one caller ever gets its user. The state tells why not.
-- +goose StatementBegin
CREATE FUNCTION use_sign_in_link(hash bytea, OUT who uuid, OUT state text)
  LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, public, pg_temp AS $$
DECLARE link sign_in_links;
BEGIN
  SELECT * INTO link FROM sign_in_links WHERE token_hash = hash FOR UPDATE;
  IF NOT FOUND THEN state := 'unknown';
  ELSIF link.used_at IS NOT NULL THEN state := 'used';
  ELSIF link.expires_at <= now() THEN state := 'expired';
  ELSE
    UPDATE sign_in_links SET used_at = now() WHERE token_hash = hash;
    who := link.user_id;
    state := 'ok';
  END IF;
END
$$;
-- +goose StatementEnd

CREATE FUNCTION find_user(who text)
  RETURNS TABLE (user_id uuid, email text, name text, created_at timestamptz)
  LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, public, pg_temp
  AS $$ SELECT u.user_id, u.email, u.name, u.created_at FROM users u
        WHERE u.user_id::text = who OR lower(u.email) = lower(who) $$;

CREATE FUNCTION find_owner(workspace uuid)
  RETURNS TABLE (user_id uuid, email text, name text, created_at timestamptz)
  LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, public, pg_temp
  AS $$ SELECT u.user_id, u.email, u.name, u.created_at FROM users u JOIN memberships m USING (user_id)
        WHERE m.workspace_id = workspace AND m.role = 'owner' ORDER BY m.created_at LIMIT 1 $$;

-- The people of the workspace in scope.
CREATE FUNCTION members()
  RETURNS TABLE (user_id uuid, email text, name text, created_at timestamptz, role text)
  LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, public, pg_temp
  AS $$ SELECT u.user_id, u.email, u.name, u.created_at, m.role FROM users u JOIN memberships m USING (user_id)
        WHERE m.workspace_id = current_workspace() ORDER BY m.created_at, u.user_id $$;

CREATE FUNCTION workspaces_of(who uuid)
  RETURNS TABLE (workspace_id uuid, slug text, name text, role text)
  LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, public, pg_temp
  AS $$ SELECT w.workspace_id, w.slug, w.name, m.role FROM workspaces w JOIN memberships m USING (workspace_id)
        WHERE m.user_id = who ORDER BY w.created_at $$;

CREATE FUNCTION find_workspace(which text)
  RETURNS TABLE (workspace_id uuid, slug text, name text)
  LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, public, pg_temp
  AS $$ SELECT w.workspace_id, w.slug, w.name FROM workspaces w
        WHERE w.workspace_id::text = which OR w.slug = which $$;

-- First start: the workspace and its owner, once, however many replicas start.
-- +goose StatementBegin
CREATE FUNCTION ensure_workspace(new_workspace uuid, wanted_slug text, new_owner uuid, owner_name text) RETURNS uuid
  LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, public, pg_temp AS $$
DECLARE found uuid;
BEGIN
  PERFORM pg_advisory_xact_lock(hashtext('ensure_workspace'));
  SELECT workspace_id INTO found FROM workspaces WHERE slug = wanted_slug;
  IF found IS NULL THEN
    INSERT INTO workspaces (workspace_id, slug, name) VALUES (new_workspace, wanted_slug, initcap(wanted_slug));
    INSERT INTO users (user_id, name) VALUES (new_owner, owner_name);
    INSERT INTO memberships (workspace_id, user_id, role) VALUES (new_workspace, new_owner, 'owner');
    found := new_workspace;
  END IF;
  RETURN found;
END
$$;
-- +goose StatementEnd

-- Every workspace, for the workers that serve all of them, each in its own scope.
CREATE FUNCTION all_workspaces() RETURNS TABLE (workspace_id uuid)
  LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, public, pg_temp
  AS $$ SELECT w.workspace_id FROM workspaces w ORDER BY w.created_at $$;

REVOKE EXECUTE ON FUNCTION find_key, usable_keys, touch_keys, find_session, create_session, revoke_session,
  create_sign_in_link, use_sign_in_link, find_user, find_owner, members, workspaces_of, find_workspace,
  ensure_workspace, all_workspaces FROM PUBLIC;
GRANT EXECUTE ON FUNCTION current_workspace, find_key, usable_keys, touch_keys, find_session, create_session,
  revoke_session, create_sign_in_link, use_sign_in_link, find_user, find_owner, members, workspaces_of,
  find_workspace, ensure_workspace, all_workspaces TO causality_app;

-- +goose Down
DROP FUNCTION find_key, usable_keys, touch_keys, find_session, create_session, revoke_session, create_sign_in_link,
  use_sign_in_link, find_user, find_owner, members, workspaces_of, find_workspace, ensure_workspace, all_workspaces;
DROP TABLE keys, sign_in_links, sessions, memberships, users, apps, workspaces;
DROP FUNCTION announce_key, announce_app, current_workspace;
DROP PROCEDURE protect_tenant_table;
