// What the Data page asks the server.
import { infiniteQueryOptions, queryOptions } from "@tanstack/react-query";
import { catalog, insights } from "../../api/clients";
import { inWorkspace, type Scope } from "../../api/transport";

// A trend takes 26 series: the largest events get a picture, in one question.
const pictured = 26;

/** Events a day over 30 days, by name, of the largest events. */
export const volumesQuery = (scope: Scope, names: readonly string[]) =>
  queryOptions({
    queryKey: ["data", "volumes", scope, names.slice(0, pictured)],
    queryFn: async ({ signal }) => {
      const answer = await insights.queryTrend(
        {
          appId: scope.appId,
          range: { last: "30d" },
          granularity: "day",
          series: names.slice(0, pictured).map((event, i) => ({
            id: String.fromCharCode(65 + i),
            event,
            measure: { kind: { case: "stringValue" as const, value: "total" } },
          })),
        },
        inWorkspace(scope.workspaceId, signal),
      );
      return new Map(
        answer.series.map((s) => [
          names[s.id.charCodeAt(0) - 65] ?? "",
          { values: s.points.map((p) => p.value ?? null), open: s.points.at(-1)?.complete === false },
        ]),
      );
    },
    enabled: names.length > 0,
    staleTime: 5 * 60_000,
  });

export const rejectedQuery = (scope: Scope, code: string) =>
  infiniteQueryOptions({
    queryKey: ["data", "rejected", scope, code],
    queryFn: ({ signal, pageParam }) =>
      catalog.listRejected(
        { appId: scope.appId, code, limit: 50, before: pageParam },
        inWorkspace(scope.workspaceId, signal),
      ),
    initialPageParam: "",
    getNextPageParam: (last) => last.nextBefore || undefined,
    staleTime: 15_000,
  });
