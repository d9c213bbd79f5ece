// The trend question as a query. The key holds the app and the whole request;
// an answer of one app never stands in for another's.

import { fromJson } from "@bufbuild/protobuf";
import { keepPreviousData, queryOptions } from "@tanstack/react-query";
import { insights } from "../../api/clients";
import { inWorkspace, type Scope } from "../../api/transport";
import {
  type QueryTrendRequestJson,
  QueryTrendRequestSchema,
  type QueryTrendResponse,
} from "../../gen/causality/insights/v1/insights_pb";

export const trendKey = (scope: Scope, request: QueryTrendRequestJson) =>
  ["insights", "trend", scope, request] as const;

/** `fresh` asks the server to compute anew rather than answer from its cache. */
export function trendQuery(scope: Scope, request: QueryTrendRequestJson, fresh = false) {
  return queryOptions({
    queryKey: trendKey(scope, request),
    queryFn: ({ signal }) => {
      const options = inWorkspace(scope.workspaceId, signal);
      return insights.queryTrend(
        fromJson(QueryTrendRequestSchema, { ...request, appId: scope.appId }),
        fresh ? { ...options, headers: { ...options.headers, "Cache-Control": "no-cache" } } : options,
      );
    },
    staleTime: 30_000, // ms
  });
}

/** Keeps the old picture while the new one is computed, within one app only. */
export function keepWithinApp(scope: Scope) {
  return (before: QueryTrendResponse | undefined, query: { queryKey: readonly unknown[] } | undefined) =>
    (query?.queryKey[2] as Scope | undefined)?.appId === scope.appId ? keepPreviousData(before) : undefined;
}
