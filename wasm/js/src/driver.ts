// Runs a core: gives it the time, its queue, the network, and the lead among the tabs of an origin. It works the same
// in a page and in a worker, and so touches neither document nor window; it knows nothing of visitors, of sessions or
// of what an event means.
//
// Nothing here throws into its caller, and add neither waits for storage nor begins any.

import { appendBody, type CausalityError } from "./core";
import type { Change, CoreLike, EventInput, Request, Response } from "./core/types";
import type { DriverStats } from "./core/vocabulary";
import { type Database, memoryQueue, type Queue, storedQueue } from "./idb";

export type Notice =
  /** The visitor's record as saved: once at the start, when the driver is ready, and as often as another tab saves one. */
  | [kind: "visitor", record: string | undefined]
  /** So many events, counted from the first add, need no care any more: this tab can vanish. */
  | [kind: "safe", events: number]
  /**
   * For the page's owner. code is a reason of stats().dropped with the CausalityError, Rejection or number of events;
   * undelivered with the HTTP status (0: no answer), tried again; or storage with the cause, for which memory is used.
   */
  | [kind: "problem", code: string, detail: unknown]
  /** The core has crashed, and nothing more will come of this driver. */
  | [kind: "failed", cause: unknown];

/** What a driver is told; all but notice can be posted to a worker. */
export interface DriverConfig {
  /** The write key. */
  key: string;
  /** Absolute URL of the batch endpoint, with the key. */
  url: string;
  /** Keep nothing on the device. */
  memory?: boolean;
  notice(...notice: Notice): void;
}

export interface Driver {
  /** Queues an event, whose id is set. What is wrong with it is told to notice. */
  add(event: EventInput): void;
  /**
   * Stores and sends now. True when every event is acknowledged, or, where another tab leads, in its hands; false
   * when an attempt failed or may not be made yet: the events stay queued.
   */
  flush(): Promise<boolean>;
  stats(): DriverStats;
  /** Saves the visitor's record, and tells the other tabs. What it says is the page's business. */
  save(record: string): void;
  optOut(): void;
  optIn(): void;
  /** Lets another tab lead while the browser keeps this page without running it; until resume, which tells the record anew. */
  pause(): void;
  resume(): void;
  /** Tries once to send what is queued, and ends. What could not be sent stays in the queue. */
  close(): Promise<void>;
}

const requestTimeout = 3e4; // ms
const keepaliveBytes = 6e4; // browsers let 64 KiB outlive their page
const election = 100; // ms in which a lead that is free is surely had
const commitFailures = 3; // in a row, a second apart, until memory is used
const longestTimer = 1e9; // ms; browsers take longer ones for none

const now = () => Date.now() * 1e3;

/** Without a database, or where tabs cannot elect one sender, events wait in memory. */
export function newDriver(
  core: CoreLike,
  { key, url, memory, notice }: DriverConfig,
  database: Database,
): Driver {
  const name = `causality:${key}`;
  const { locks } = navigator;
  const jobs: (() => unknown)[] = [];
  let queue: Queue = memoryQueue();
  let channel: BroadcastChannel | undefined; // of the key
  let visitors: BroadcastChannel | undefined; // of the origin
  let running = false;
  let closed = false;
  let sending = false;
  let timer: ReturnType<typeof setTimeout>;
  let abort: AbortController;
  let added = 0;
  let failures = 0; // of commits, in a row
  let flushes: ((delivered: boolean) => void)[] = [];
  let out: boolean | undefined;
  let leads = false;
  let elected: unknown;
  let unlock: (() => void) | undefined;

  const problem = (code: string, detail: unknown) => notice("problem", code, detail);

  // The loop. Jobs are calls of the core, which may not come between a commit and its report.
  const run = async (job: () => unknown) => {
    jobs.push(job);
    if (running) return;
    running = true;
    try {
      for (;;) {
        const next = jobs.shift();
        if (next) await next();
        else {
          const { commit, send, cancel, dropped, rejected } = core.poll(now()) || {};
          if (commit) await change(commit);
          else if (send) await attempt(send);
          else if (cancel) abort.abort();
          else if (dropped) problem(dropped.reason, dropped.events);
          else if (rejected) for (const one of rejected) problem(one.code, one);
          else break;
        }
      }
    } catch (error) {
      closed = true; // and running for ever: nothing enters a core that has crashed
      settle(false);
      return notice("failed", error);
    }
    running = false;
    const settled = !core.stats().queued;
    if (settled) notice("safe", added);
    if (settled || !sending) settle(settled);
    arm();
  };

  const settle = (delivered: boolean) => {
    for (const done of flushes) done(delivered);
    flushes = [];
  };

  const arm = () => {
    if (running || closed) return; // the loop arms at its end
    clearTimeout(timer);
    timer = setTimeout(run, Math.min((core.deadline(now()) - now()) / 1e3, longestTimer), () => {});
  };

  const change = (change: Change) =>
    queue._change(change).then(
      (stored) => {
        failures = 0;
        core.committed(now(), true);
        core.stored(now(), stored);
        if (stored[0]) channel?.postMessage(stored);
      },
      (error) => {
        core.committed(now(), false);
        if (++failures >= commitFailures) useMemory(error);
      },
    );

  const lead = () =>
    queue
      ._read(0, Infinity, (seq, { at, events, data }) => ({ seq, at, events, bytes: data.length }))
      .then(([stored, state]) => {
        leads = true;
        core.lead(now(), state || new Uint8Array(), stored);
        if (out != null) core.optIn();
        if (out) core.optOut(); // anew, and so clears what the queue has
      }, useMemory);

  // Gives the database up until the next page. What it holds is sent by the next tab that can use it.
  const useMemory = (cause: unknown) => {
    problem("storage", cause);
    driver.pause();
    channel = channel?.close() as undefined;
    queue = memoryQueue();
    run(lead);
  };

  const attempt = async ({ attempt, first, last, skip, events, trailer }: Request) => {
    const found: number[] = [];
    const read = await queue
      ._read(first, last, (seq, { data }) => {
        found.push(seq);
        return data;
      })
      .catch(useMemory);
    if (!read) return;
    const body = appendBody(read[0], skip, events, trailer);
    if (!body) {
      const lost: number[] = [];
      for (; first <= last; first++) if (!found.includes(first)) lost.push(first);
      return core.lost(now(), lost[0] ? lost : found);
    }
    sending = true;
    abort = new AbortController();
    const { signal } = abort;
    setTimeout((abort: AbortController) => abort.abort(), requestTimeout, abort);
    fetch(url, {
      method: "POST",
      body: body as BodyInit, // bytes have no content type, and so need no preflight
      keepalive: body.length <= keepaliveBytes,
      credentials: "omit",
      signal,
    })
      .then(
        async (response): Promise<Response> => ({
          status: response.status,
          retryAfter: +response.headers.get("Retry-After")! * 1e6 || 0,
          body: new Uint8Array(await response.arrayBuffer()),
        }),
      )
      .catch(() => ({ status: 0, retryAfter: 0 }))
      .then((answer) =>
        run(() => {
          sending = false;
          if (core.answered(now(), attempt, answer) && core.stats().failures)
            problem("undelivered", answer.status);
        }),
      );
  };

  const readVisitor = () =>
    database((_, meta): IDBRequest<string> => meta.get("visitor")).then(({ result }) =>
      notice("visitor", result),
    );

  const stand = () => {
    if (unlock || !channel) return;
    const withdrawal = new AbortController();
    const { signal } = withdrawal;
    let release: () => void;
    const held = new Promise<void>((resolve) => {
      release = resolve;
    });
    unlock = () => {
      unlock = undefined;
      withdrawal.abort();
      release();
      run(() => {
        leads = false;
        core.follow();
      });
    };
    elected = new Promise((resolve) => setTimeout(resolve, election));
    locks
      .request(name, { signal }, () => {
        run(() => signal.aborted || lead());
        return held;
      })
      .catch(() => {}); // withdrawn
  };

  const driver: Driver = {
    add(event) {
      added++;
      try {
        if (core.add(now(), event)) arm();
      } catch (error) {
        problem((error as CausalityError).reason || "invalid", error);
      }
    },
    async flush() {
      const flush = () => core.flush(now());
      const led = leads;
      run(flush); // before anything is awaited: the page may be about to go
      await elected;
      return new Promise((resolve) => {
        run(() => {
          flushes.push(resolve);
          led || flush();
        });
      });
    },
    stats: () => ({ ...core.stats(), storage: channel ? "indexeddb" : "memory", leads }),
    save(record) {
      if (memory) return;
      database((_, meta) => meta.put(record, "visitor")).catch((error) => problem("storage", error));
      visitors?.postMessage(record);
    },
    optOut() {
      out = true;
      run(() => core.optOut());
    },
    optIn() {
      out = false;
      run(() => core.optIn());
    },
    pause: () => unlock?.(),
    resume() {
      if (!memory) readVisitor().catch(() => {}); // as it was before
      stand();
    },
    async close() {
      core.close();
      await driver.flush();
      closed = true;
      driver.pause();
      channel = channel?.close() as undefined;
      visitors = visitors?.close() as undefined;
    },
  };

  if (memory)
    queueMicrotask(() => notice("visitor", undefined)); // not before this driver can be called
  else {
    readVisitor().catch(() => notice("visitor", undefined)); // and the queue tells of the trouble
    if (self.BroadcastChannel) {
      visitors = new BroadcastChannel("causality");
      visitors.onmessage = ({ data }) => notice("visitor", data);
    }
  }
  if (memory || !locks || !visitors) run(lead);
  else {
    queue = storedQueue(database, key);
    channel = new BroadcastChannel(name);
    channel.onmessage = ({ data }) => run(() => core.stored(now(), data));
    stand();
  }
  return driver;
}
