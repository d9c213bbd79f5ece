// Runs a core: gives it the time, its queue, the network, and the lead among the tabs of an origin. It works the same
// in a page and in a worker, and so touches neither document nor window; it knows nothing of visitors, of sessions or
// of what an event means.
//
// Nothing here throws into its caller, and add neither waits for storage nor begins any.

import { appendBody, type CausalityError } from "./core";
import type { BlockInfo, Change, CoreLike, EventInput, Request, Response, Stats } from "./core/types";
import { type Database, memoryQueue, type Queue, storedQueue } from "./idb";

/** Something that a page's owner may want to know. */
export interface Problem {
  /** A reason of stats().dropped, or undelivered (tried again), storage (memory is used), failed. */
  code: string;
  message: string;
  /** Of the event, when one field is wrong. */
  field?: string;
}

export type Notice =
  | [kind: "safe", events: number]
  | [kind: "problem", problem: Problem]
  | [kind: "failed", message: string];

/** What a driver is told; all but notice can be posted to a worker. */
export interface DriverConfig {
  /** The write key. */
  key: string;
  /** Absolute URL of the batch endpoint, with the key. */
  url: string;
  /** Keep nothing on the device. */
  memory?: boolean;
  /**
   * safe: so many events, counted from the first add, need no care any more: this tab can vanish. problem: for the
   * page's owner. failed: the core has crashed, and nothing more will come of this driver.
   */
  notice(...notice: Notice): void;
}

/** Stats of a core, and of what its driver runs on. */
export interface DriverStats extends Stats {
  storage: "indexeddb" | "memory";
  /** Whether this tab sends for all tabs. */
  leads: boolean;
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
  optOut(): void;
  optIn(): void;
  /** Lets another tab lead while the browser keeps this page without running it; until resume. */
  pause(): void;
  resume(): void;
  /** Tries once to send what is queued, and ends. What could not be sent stays in the queue. */
  close(): Promise<void>;
}

const requestTimeout = 3e4; // ms
const keepaliveBytes = 6e4; // browsers let 64 KiB outlive their page
const election = 100; // ms in which a lead that is free is surely had
const commitFailures = 3; // in a row, a second apart, until memory is used
const longestTimer = 36e5; // ms

const now = () => Date.now() * 1e3;

/** Without a database, or where tabs cannot elect one sender, events wait in memory. */
export function newDriver(core: CoreLike, config: DriverConfig, database: Database): Driver {
  const { key, url, notice } = config;
  const name = `causality:${key}`;
  const { locks } = navigator;
  const jobs: (() => unknown)[] = [];
  let queue: Queue;
  let channel: BroadcastChannel | undefined;
  let running = false;
  let closed = false;
  let sending = false;
  let timer: ReturnType<typeof setTimeout> | undefined;
  let abort: AbortController | undefined;
  let added = 0;
  let failures = 0; // of commits, in a row
  let flushes: ((delivered: boolean) => void)[] = [];
  let out: boolean | undefined;
  let leads = false;
  let known = 0; // the last block of the shared queue that the core was told of
  let elected: unknown;
  let unlock: (() => void) | undefined;

  const problem = (code: string, message: string, field?: string) =>
    notice("problem", { code, message, field });

  // The loop. Jobs are calls of the core, which may not come between a commit and its report.
  const run = async (job: () => unknown) => {
    jobs.push(job);
    if (running) return;
    running = true;
    try {
      for (;;) {
        const next = jobs.shift();
        if (next) {
          await next();
          continue;
        }
        const command = core.poll(now());
        if (!command) break;
        if (command.commit) await commit(command.commit);
        else if (command.send) await send(command.send);
        else if (command.cancel) abort?.abort();
        else if (command.dropped) problem(command.dropped.reason, `${command.dropped.events} dropped`);
        else for (const { code, message, field } of command.rejected!) problem(code, message, field);
      }
    } catch (error) {
      closed = true; // and running: nothing enters a core that has crashed
      notice("failed", `${error}`);
      settle(false);
      return;
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

  const commit = async (change: Change) => {
    let stored: BlockInfo[];
    try {
      stored = await queue._change(change);
    } catch (error) {
      core.committed(now(), false);
      if (++failures >= commitFailures) useMemory(error);
      return;
    }
    failures = 0;
    core.committed(now(), true);
    if (stored.length) {
      if (!closed) channel?.postMessage(stored);
      await heard(stored);
    }
  };

  // The database numbers blocks in the order of its transactions. So a gap means that a tab had no time to tell, or
  // tells late, and reading what is beyond the known finds all there is.
  const heard = async (stored: BlockInfo[]) => {
    if (!leads) return;
    try {
      if (stored[0]!.seq > known + 1) [stored] = await scan(known + 1);
      know(stored.filter(({ seq }) => seq > known));
    } catch {} // what is missed leaves a gap for the next one
  };

  const know = (stored: BlockInfo[]) => {
    for (const { seq } of stored) known = seq;
    core.stored(now(), stored);
  };

  const scan = (from: number) =>
    queue._read(from, Infinity, (seq, { at, events, data }) => ({ seq, at, events, bytes: data.length }));

  const lead = async () => {
    try {
      const [stored, state] = await scan(0);
      leads = true;
      known = stored.length ? stored[stored.length - 1]!.seq : 0;
      core.lead(now(), state || new Uint8Array(), stored);
      if (out !== undefined) core.optIn();
      if (out) core.optOut(); // anew, and so clears what the queue has
    } catch (error) {
      useMemory(error);
    }
  };

  const follow = () => {
    leads = false;
    core.follow();
  };

  // Gives the database up until the next page. What it holds is sent by the next tab that can use it.
  const useMemory = (cause: unknown) => {
    problem("storage", `events wait in memory: ${cause}`);
    unlock?.();
    channel?.close();
    channel = undefined;
    run(() => {
      queue = memoryQueue();
      return lead();
    });
  };

  const send = async ({ attempt, first, last, skip, events, trailer }: Request) => {
    const found = new Set<number>();
    let body: Uint8Array | undefined;
    try {
      const [blocks] = await queue._read(first, last, (seq, { data }) => {
        found.add(seq);
        return data;
      });
      body = appendBody(blocks, skip, events, trailer);
    } catch (error) {
      useMemory(error);
      return;
    }
    if (!body) {
      const lost: number[] = [];
      for (let seq = first; seq <= last; seq++) if (!found.has(seq)) lost.push(seq);
      core.lost(now(), lost.length ? lost : [...found]);
      return;
    }
    sending = true;
    abort = new AbortController();
    const timeout = setTimeout(() => abort!.abort(), requestTimeout);
    let answer: Response = { status: 0, retryAfter: 0 };
    fetch(url, {
      method: "POST",
      body: body as BodyInit, // bytes have no content type, and so need no preflight
      keepalive: body.length <= keepaliveBytes,
      credentials: "omit",
      signal: abort.signal,
    })
      .then(async (response) => {
        answer = {
          status: response.status,
          retryAfter: (+response.headers.get("Retry-After")! || 0) * 1e6,
          body: new Uint8Array(await response.arrayBuffer()),
        };
      })
      .catch(() => {})
      .then(() =>
        run(() => {
          clearTimeout(timeout);
          sending = false;
          if (core.answered(now(), attempt, answer) && core.stats().failures)
            problem("undelivered", `HTTP status ${answer.status}; events are kept`);
        }),
      );
  };

  const driver: Driver = {
    add(event) {
      added++;
      try {
        if (core.add(now(), event)) arm();
      } catch (error) {
        const { reason = "invalid", message, field } = error as CausalityError;
        problem(reason, message, field);
      }
    },
    async flush() {
      const flush = () => core.flush(now());
      run(flush); // before anything is awaited: the page may be about to go
      await elected;
      return new Promise((resolve) => {
        run(() => {
          flushes.push(resolve);
          flush();
        });
      });
    },
    stats: () => ({ ...core.stats(), storage: channel ? "indexeddb" : "memory", leads }),
    optOut() {
      out = true;
      run(() => core.optOut());
    },
    optIn() {
      out = false;
      run(() => core.optIn());
    },
    pause() {
      unlock?.();
    },
    resume() {
      if (closed || unlock || !channel) return;
      const withdrawal = new AbortController();
      const { signal } = withdrawal;
      let release: (() => void) | undefined;
      unlock = () => {
        unlock = undefined;
        withdrawal.abort();
        release?.();
        run(follow);
      };
      elected = new Promise((resolve) => {
        setTimeout(resolve, election);
        locks
          .request(name, { signal }, () => {
            run(() => !signal.aborted && lead().then(resolve));
            return new Promise<void>((done) => {
              release = done;
              if (signal.aborted) done();
            });
          })
          .catch(resolve);
      });
    },
    async close() {
      core.close();
      await driver.flush();
      closed = true;
      unlock?.();
      channel?.close();
      clearTimeout(timer);
    },
  };

  if (config.memory || !locks || !self.BroadcastChannel) {
    queue = memoryQueue();
    run(lead);
  } else {
    queue = storedQueue(database, key);
    channel = new BroadcastChannel(name);
    channel.onmessage = ({ data }) => run(() => heard(data));
    driver.resume();
  }
  return driver;
}
