// Queries that more than one page asks. Keys begin with what they are about and
// hold the workspace and app; a feature's own queries live in its queries.ts.
import { QueryClient, queryOptions } from "@tanstack/react-query";
import { catalog, health, identity } from "./clients";
import { isTransient } from "./errors";
import { inWorkspace, type Scope } from "./transport";

export function createQueryClient(): QueryClient {
  return new QueryClient({
    defaultOptions: {
      queries: {
        staleTime: 30_000, // ms
        gcTime: 10 * 60_000, // ms
        retry: (failures, error) => failures < 2 && isTransient(error),
        refetchOnWindowFocus: false,
      },
    },
  });
}

/** Who is signed in, and their workspaces with apps. */
export const meQuery = queryOptions({
  queryKey: ["me"],
  queryFn: ({ signal }) => identity.me({}, { signal }),
  staleTime: 5 * 60_000,
});

/** Events seen in an app, by volume. */
export const eventsQuery = (scope: Scope) =>
  queryOptions({
    queryKey: ["events", scope],
    queryFn: async ({ signal }) =>
      (await catalog.listEvents({ appId: scope.appId }, inWorkspace(scope.workspaceId, signal))).events,
    staleTime: 60_000,
  });

/** Properties of the chosen events (none: all), by coverage. */
export const propertiesQuery = (scope: Scope, events: readonly string[]) =>
  queryOptions({
    queryKey: ["properties", scope, [...events].sort()],
    queryFn: ({ signal }) =>
      catalog.listProperties(
        { appId: scope.appId, events: [...events] },
        inWorkspace(scope.workspaceId, signal),
      ),
    staleTime: 60_000,
  });

/** A property's most frequent values, searched on the server. */
export const valuesQuery = (scope: Scope, property: string, events: readonly string[], contains: string) =>
  queryOptions({
    queryKey: ["values", scope, property, [...events].sort(), contains],
    queryFn: async ({ signal }) =>
      (
        await catalog.listValues(
          { appId: scope.appId, property, events: [...events], contains, limit: 50 },
          inWorkspace(scope.workspaceId, signal),
        )
      ).values,
    staleTime: 60_000,
  });

/** Whether everything received can be queried; polled for the dot in the sidebar. */
export const healthQuery = (workspaceId: string, appId = "") =>
  queryOptions({
    queryKey: ["health", workspaceId, appId],
    queryFn: ({ signal }) => health.report({ appId }, inWorkspace(workspaceId, signal)),
    staleTime: 10_000,
    refetchInterval: 30_000,
  });
