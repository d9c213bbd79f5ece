// The live stream of an app as React reads it: rows in batches, at most five
// times a second, so that a thousand events a second cost no more than five.
import { useEffect, useMemo, useReducer, useRef, useState } from "react";
import type { Scope } from "../../api/transport";
import { emptyFeed, eventRow, type Feed, gapRow, Rate, type Row, receive, rejectedRow, resume } from "./feed";
import { follow, type LiveState, type Message } from "./sse";

const flushEvery = 200; // ms

export function liveUrl(scope: Scope, events: readonly string[] = []): string {
  const query = new URLSearchParams({ app: scope.appId });
  for (const name of events) query.append("event", name);
  return `/v1/live?${query}`;
}

/** A row for a message, or none when it is no message we know. */
export function rowOf(message: Message): Row | undefined {
  try {
    const data = JSON.parse(message.data);
    if (message.event === "event") return eventRow(data);
    if (message.event === "rejected") return rejectedRow(data);
    if (message.event === "missed" && Number(data.missed) > 0) {
      const n = Number(data.missed);
      return gapRow(
        `${n.toLocaleString("en-US")} ${n === 1 ? "event was" : "events were"} left out here: more came than a page can show. They are stored all the same.`,
        Date.now(),
      );
    }
  } catch {
    // Not ours to show.
  }
  return undefined;
}

type Action = { type: "receive"; rows: Row[]; paused: boolean } | { type: "resume" } | { type: "clear" };

function reduce(feed: Feed, action: Action): Feed {
  switch (action.type) {
    case "receive":
      return receive(feed, action.rows, action.paused);
    case "resume":
      return resume(feed, Date.now());
    case "clear":
      return emptyFeed;
  }
}

export function useLive(
  scope: Scope,
  events: readonly string[],
  paused: boolean,
  gapSentence: (from: number, to: number) => string,
) {
  const [feed, dispatch] = useReducer(reduce, emptyFeed);
  const [state, setState] = useState<LiveState>({ status: "connecting" });
  const [attempt, setAttempt] = useState(0);
  const [perSecond, setPerSecond] = useState(0);
  const pausedNow = useRef(paused);
  pausedNow.current = paused;
  const sentence = useRef(gapSentence);
  sentence.current = gapSentence;
  const url = useMemo(() => liveUrl(scope, events), [scope, events]);

  // biome-ignore lint/correctness/useExhaustiveDependencies: attempt is what starts it anew
  useEffect(() => {
    const abort = new AbortController();
    const rate = new Rate(Date.now());
    let arrived: Row[] = [];
    void follow(url, { "Causality-Workspace": scope.workspaceId }, abort.signal, {
      message: (message) => {
        const row = rowOf(message);
        if (!row) return;
        arrived.push(row);
        if (row.kind !== "gap") rate.add(1, Date.now());
      },
      state: setState,
      gap: (from, to) => arrived.push(gapRow(sentence.current(from, to), to)),
    });
    const flush = setInterval(() => {
      if (arrived.length > 0) {
        dispatch({ type: "receive", rows: arrived, paused: pausedNow.current });
        arrived = [];
      }
      setPerSecond(rate.read(Date.now()));
    }, flushEvery);
    return () => {
      abort.abort();
      clearInterval(flush);
    };
  }, [url, scope.workspaceId, attempt]);

  return {
    feed,
    state,
    perSecond,
    resume: () => dispatch({ type: "resume" }),
    clear: () => dispatch({ type: "clear" }),
    retry: () => setAttempt((n) => n + 1),
  };
}
