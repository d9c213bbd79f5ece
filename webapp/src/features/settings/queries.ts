// What the settings ask the server, and what they change.
import { queryOptions } from "@tanstack/react-query";
import { identity, tenancy } from "../../api/clients";
import { inWorkspace } from "../../api/transport";

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
