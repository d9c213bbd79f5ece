// Runs of the tabs: at most one a tab. A run keeps the answer before it in view
// until it has its own; cancelling aborts the call, which stops the server's
// query, and brings the answer before back.
import { useCallback, useEffect, useRef, useState } from "react";
import { isCanceled } from "../../api/errors";
import type { Scope } from "../../api/transport";
import { countRows, runStatement } from "./queries";
import type { Result } from "./result";
import type { Statement } from "./statements";

export type Run = {
  status: "running" | "done" | "failed" | "canceled";
  statement: Statement;
  startedAt: number;
  /** Until it ended, seconds; while it runs: 0. */
  seconds: number;
  /** The answer in view: its own once done, else the one before. */
  result?: Result;
  error?: unknown;
  /** Of a cut answer: how many rows there are in all, once counted. */
  total?: number | "counting" | "unknown";
};

export type Finished = { statement: string; at: number; seconds: number; result?: Result; error?: unknown };

// An answer that took longer is not computed a second time just to count it.
const countWithin = 10; // seconds

export function useRuns(scope: Scope, onFinished: (finished: Finished) => void) {
  const [runs, setRuns] = useState<ReadonlyMap<string, Run>>(new Map());
  const aborts = useRef(new Map<string, AbortController>());
  const finished = useRef(onFinished);
  finished.current = onFinished;

  const update = useCallback((tab: string, change: (run: Run | undefined) => Run | undefined) => {
    setRuns((all) => {
      const next = new Map(all);
      const run = change(all.get(tab));
      if (run) next.set(tab, run);
      else next.delete(tab);
      return next;
    });
  }, []);

  // Leaving the page gives up what still runs on the server.
  useEffect(() => {
    const open = aborts.current;
    return () => {
      for (const abort of open.values()) abort.abort();
      open.clear();
    };
  }, []);

  const start = useCallback(
    async (tab: string, statement: Statement) => {
      aborts.current.get(tab)?.abort();
      const abort = new AbortController();
      aborts.current.set(tab, abort);
      const mine = () => aborts.current.get(tab) === abort;
      const startedAt = Date.now();
      update(tab, (before) => ({
        status: "running",
        statement,
        startedAt,
        seconds: 0,
        ...(before?.result ? { result: before.result } : {}),
        ...(before?.total === undefined ? {} : { total: before.total }),
      }));
      const seconds = () => (Date.now() - startedAt) / 1000;
      try {
        const result = await runStatement(scope, statement.text, abort.signal);
        if (!mine()) return;
        const counted = result.truncated ? (seconds() < countWithin ? "counting" : "unknown") : undefined;
        update(tab, () => ({
          status: "done",
          statement,
          startedAt,
          seconds: seconds(),
          result,
          ...(counted ? { total: counted } : {}),
        }));
        finished.current({ statement: statement.text, at: startedAt, seconds: seconds(), result });
        if (counted !== "counting") return;
        const total = await countRows(scope, statement.text, abort.signal).catch(() => "unknown" as const);
        if (mine()) update(tab, (run) => run && { ...run, total });
      } catch (error) {
        if (!mine()) return;
        const canceled = isCanceled(error);
        update(tab, (run) => {
          const { total, ...rest } = run ?? { statement, startedAt };
          return {
            ...rest,
            ...(total === undefined ? {} : { total }),
            status: canceled ? "canceled" : "failed",
            seconds: seconds(),
            ...(canceled ? {} : { error }),
          };
        });
        if (!canceled)
          finished.current({ statement: statement.text, at: startedAt, seconds: seconds(), error });
      }
    },
    [scope, update],
  );

  const cancel = useCallback((tab: string) => aborts.current.get(tab)?.abort(), []);

  const forget = useCallback(
    (tab: string) => {
      aborts.current.get(tab)?.abort();
      aborts.current.delete(tab);
      update(tab, () => undefined);
    },
    [update],
  );

  return { runs, start, cancel, forget };
}
