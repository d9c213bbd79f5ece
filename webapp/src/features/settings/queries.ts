// What the settings ask the server, and what they change.
import { queryOptions } from "@tanstack/react-query";
import { identity, sql, tenancy } from "../../api/clients";
import { inWorkspace, type Scope } from "../../api/transport";
import { type Platform, platformOf, testEvent } from "./platforms";

export const appsQuery = (workspaceId: string) =>
  queryOptions({
    queryKey: ["settings", "apps", workspaceId],
    queryFn: async ({ signal }) => (await tenancy.listApps({}, inWorkspace(workspaceId, signal))).apps,
  });

export const keysQuery = (workspaceId: string) =>
  queryOptions({
    queryKey: ["settings", "keys", workspaceId],
    queryFn: async ({ signal }) => (await identity.listKeys({}, inWorkspace(workspaceId, signal))).keys,
    staleTime: 10_000,
  });

export const usersQuery = (workspaceId: string) =>
  queryOptions({
    queryKey: ["settings", "users", workspaceId],
    queryFn: async ({ signal }) => (await identity.listUsers({}, inWorkspace(workspaceId, signal))).users,
  });

/** What the server says of the browser SDK that it serves; version "" when none is built in. */
export type BrowserSdk = { version: string; script: string; ingestPath: string };

export const browserSdkQuery = queryOptions({
  queryKey: ["settings", "browser-sdk"],
  queryFn: async ({ signal }): Promise<BrowserSdk> => {
    const response = await fetch("/sdk/", { signal });
    if (!response.ok) throw new Error(`The server answered ${response.status}`);
    return response.json();
  },
  staleTime: Number.POSITIVE_INFINITY, // it changes with the process
});

/** The platforms that have sent events to an app in the last 30 days. */
export const sendersQuery = (scope: Scope) =>
  queryOptions({
    queryKey: ["settings", "senders", scope],
    queryFn: async ({ signal }): Promise<readonly Platform[]> => {
      const statement = `select distinct coalesce(library, '') from events where ts > now() - interval 30 day and event <> '${testEvent}'`;
      const { rows } = await sql.run(
        { appId: scope.appId, sql: statement, limit: 1000 },
        inWorkspace(scope.workspaceId, signal),
      );
      return rows.flatMap((row) => {
        const kind = row.values[0]?.kind;
        return (kind?.case === "stringValue" && platformOf(kind.value)) || [];
      });
    },
    staleTime: 5 * 60_000,
    retry: false, // the marks are worth one question
  });
