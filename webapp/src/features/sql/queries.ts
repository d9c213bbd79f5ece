// What the SQL page asks the server.
import { queryOptions } from "@tanstack/react-query";
import { sql } from "../../api/clients";
import { inWorkspace, type Scope } from "../../api/transport";
import { download } from "../../components/download";
import { type Result, toResult } from "./result";

/** Rows that a page holds; more are counted, and all are exported. */
export const rowLimit = 10_000;

export const schemaQuery = (scope: Scope) =>
  queryOptions({
    queryKey: ["sql-schema", scope],
    queryFn: async ({ signal }) =>
      (await sql.schema({ appId: scope.appId }, inWorkspace(scope.workspaceId, signal))).tables,
    staleTime: 5 * 60_000,
  });

export async function runStatement(scope: Scope, statement: string, signal: AbortSignal): Promise<Result> {
  const response = await sql.run(
    { appId: scope.appId, sql: statement, limit: rowLimit },
    inWorkspace(scope.workspaceId, signal),
  );
  return toResult(response, statement, Date.now());
}

/** How many rows the whole answer has. */
export async function countRows(scope: Scope, statement: string, signal: AbortSignal): Promise<number> {
  // The line break ends a comment that the statement may end with.
  const counted = await runStatement(scope, `select count(*) from (\n${statement}\n) as answer`, signal);
  const total = Number(counted.rows[0]?.[0]);
  if (!Number.isFinite(total)) throw new Error("the count is no number");
  return total;
}

// Blobs leave the script's memory: chunks are handed over every few megabytes.
const blobBytes = 4 << 20;

/** Streams every row of a statement into a file. `onProgress` hears the bytes so far. */
export async function exportStatement(
  scope: Scope,
  statement: string,
  format: "csv" | "json",
  name: string,
  signal: AbortSignal,
  onProgress: (bytes: number) => void,
): Promise<number> {
  const type = format === "csv" ? "text/csv;charset=utf-8" : "application/x-ndjson";
  const parts: Blob[] = [];
  let chunks: Uint8Array<ArrayBuffer>[] = [];
  let held = 0;
  let total = 0;
  for await (const { data } of sql.export(
    { appId: scope.appId, sql: statement, format },
    inWorkspace(scope.workspaceId, signal),
  )) {
    chunks.push(data as Uint8Array<ArrayBuffer>);
    held += data.length;
    total += data.length;
    if (held >= blobBytes) {
      parts.push(new Blob(chunks));
      chunks = [];
      held = 0;
      onProgress(total);
    }
  }
  download(name, new Blob([...parts, ...chunks], { type }));
  return total;
}
