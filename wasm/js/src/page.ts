// The front, which a page waits for: who visits, their session, where they are and what brought them, page views, and
// the moment of leaving. It knows nothing of queues, batches and retries: a gear that is loaded behind it does.
//
// Nothing here throws into the page, and no call of the page waits for storage. Calls wait in `early` until the gear has
// read the visitor's record; events stay in `kept` until the gear calls them safe, which is also what a beacon carries
// when the page goes away.

import { newIds } from "./core/ids";
import type { CoreConfig, EventInput } from "./core/types";
import { newVisitor, type Visitor } from "./core/visitor";
import type { Context, DriverStats, Properties, Traits } from "./core/vocabulary";
import type { DriverConfig } from "./driver";
import type { TypedEvents } from "./typed";
import type { Method } from "./worker-protocol";

declare const VERSION: string;

/** How a client is set up. */
export interface Options {
  /** Names the app: a write key, wk_… */
  key: string;
  /** Where Causality is served, for example https://causality.example.com. Default: this page's origin. */
  host?: string;
  /** Path of the ingest endpoints below host; a name of your own escapes blockers. Default /v1. */
  ingestPath?: string;
  /** ts: the TypeScript core, complete by itself. wasm: the Go core in a worker of this origin. Default ts. */
  core?: "ts" | "wasm";
  /** Address of causality-worker.js; this page's origin. Default: beside the script. */
  worker?: string;
  /** Address of core.wasm. Default: beside the worker. */
  wasm?: string;
  /** Track page_view for each page and each change of its address by the history. Default true. */
  pageViews?: boolean;
  /** Whether another #hash is another page. Default false. */
  hash?: boolean;
  /** Keep nothing on the device: each page is another visitor's, and opting out ends with it. Default false. */
  cookieless?: boolean;
  /** A parent domain whose subdomains share the visitor by a cookie, for example example.com. Default: no cookies. */
  cookieDomain?: string;
  /** Record nothing when the browser asks so by Do Not Track or Global Privacy Control. Default false. */
  respectDnt?: boolean;
  /** Waiting events before a batch is sent; default 20. */
  flushAt?: number;
  /** Longest wait of an event while online, in milliseconds; default 3,000. */
  flushEvery?: number;
  /**
   * Told of everything that goes wrong: a reason of stats().dropped (invalid, plan_violation, …) with the error, the
   * rejection or the number of events; undelivered with the HTTP status (0: no answer), which is tried again; storage
   * with the cause, for which memory is used; wasm with the cause, for which the TypeScript core is used; ts with the
   * cause, for which events are sent when the page is left.
   */
  onError?: (code: string, detail: unknown) => void;
}

/** What an event may say beside its name and properties. */
export interface Extra {
  /** One id counts once. Default: a new one. */
  id?: string;
  /** When it happened. Default: now. */
  timestamp?: Date;
  /** Group type to group id. Default: the groups that were joined. */
  groups?: Record<string, string>;
  /** Joins events of one request or job. */
  correlationId?: string;
}

/** What became of the events, and what the client runs on. Without a core, what only that knows is missing. */
export type Stats = Partial<DriverStats> &
  Pick<DriverStats, "queued" | "dropped" | "optedOut" | "storage"> & {
    /** none: neither could be loaded; events wait in the page and leave with it. */
    core: "ts" | "wasm" | "none";
  };

/** Sends events. Every method may be called at any time, after close too, and none throws. */
export interface Client {
  /** Records that something happened. */
  track<Name extends keyof TypedEvents>(name: Name, properties?: TypedEvents[Name], extra?: Extra): void;
  track(name: string, properties?: Properties, extra?: Extra): void;
  /** Records a view of this page, as happens by itself unless pageViews is off. */
  page(properties?: Properties): void;
  /** Names the user. What was recorded of them anonymously is theirs. */
  identify(userId: string, traits?: Traits): void;
  /** Puts the user into a group, for example company acme; an empty id leaves it. */
  group(type: string, id: string, traits?: Traits): void;
  /** Says that previousId is userId's too. It needs a key that may. */
  alias(userId: string, previousId: string): void;
  /** Makes the visitor somebody new, as at a logout. What is queued stays queued. */
  reset(): void;
  /** Sends now. True when the server has everything, or the tab that sends for all; else it stays queued. */
  flush(): Promise<boolean>;
  /** Sends now and ends. What could not be sent stays queued for the next page. */
  close(): Promise<void>;
  /** Forgets the visitor and what is queued, and records nothing until optIn, in every tab and on later visits. */
  optOut(): void;
  optIn(): void;
  stats(): Promise<Stats>;
}

/** What owns the queue, the core and the network: a Worker, or what can be spoken to like one. */
export interface Gear {
  // biome-ignore lint/suspicious/noExplicitAny: worker-protocol.ts says what is posted
  postMessage(message: any): void;
  // biome-ignore lint/suspicious/noExplicitAny: likewise
  onmessage: ((event: any) => void) | null;
  onerror?: ((event: ErrorEvent) => void) | null;
  terminate(): void;
}

const mostKept = 1000; // events
const beaconBytes = 6e4; // browsers let 64 KiB outlive their page
const saveWithin = 100; // ms
const patience = 1e4; // ms until a gear answers
const sessionIdle = 18e8; // µs
const year = 31_536_000; // s
const OUT = "out"; // the record of somebody who wants to be left alone

const now = () => Date.now() * 1e3;
const id = (v: string) => v && `${v}`; // callers without types pass numbers

// Randomness is drawn for many ids at once: each drawing costs as much as the rest of an id.
const drawn = new BigUint64Array(64);
let used = 0;
const newId = newIds(() => {
  if (!(used %= 64)) crypto.getRandomValues(drawn);
  return drawn[used++]!;
});

/** load gives the TypeScript gear. */
export const init = (options: Options, load: () => Promise<Gear>): Client => {
  const { cookieDomain } = options;
  const silent =
    options.respectDnt &&
    (navigator.doNotTrack === "1" || (navigator as { globalPrivacyControl?: boolean }).globalPrivacyControl);
  const memory = !!(options.cookieless || silent);
  const path = (options.host || location.origin).replace(/\/$/, "") + (options.ingestPath || "/v1");
  const query = `?key=${encodeURIComponent(options.key)}`;
  const library = { name: "causality-web", version: VERSION };
  const config: Omit<DriverConfig, "notice"> = { key: options.key, url: `${path}/batch${query}`, memory };
  const coreConfig: CoreConfig = {
    flushAt: options.flushAt,
    flushEvery: options.flushEvery && options.flushEvery * 1e3,
    queueBytes: 2 ** 24,
    bufferBytes: 2 ** 20,
    library,
    shared: true,
  };

  const problem = (code: string, detail: unknown) => {
    try {
      options.onError?.(code, detail);
    } catch {} // has nowhere to be told
  };

  // The visitor's record: one text for the database, for the other tabs, and for the cookie.
  let visitor: Visitor | undefined;
  let visit: [session?: string, campaign?: Context["campaign"], referrer?: string] = [];
  let out = false;
  let ready = false; // the record was read
  let saving: ReturnType<typeof setTimeout> | undefined;
  let early: (() => void)[] = []; // calls that need the visitor
  const counts: Record<string, number> = {}; // of what was dropped here

  const readCookie = () => (memory ? "" : document.cookie.match(/(?:^|; )causality=([^;]*)/)?.[1]);
  const writeCookie = (text: string, age: number) => {
    if (memory) return;
    // biome-ignore lint/suspicious/noDocumentCookie: the Cookie Store API is not everywhere
    document.cookie = `causality=${text};path=/;max-age=${age};SameSite=Lax${cookieDomain ? `;domain=${cookieDomain}` : ""}${location.protocol === "https:" ? ";Secure" : ""}`;
  };

  const adopt = (text?: string) => {
    if (out !== (text === OUT)) {
      out = !out;
      engine?.(out ? "optOut" : "optIn");
    }
    if (out) kept = [];
    let state: Parameters<typeof newVisitor>[2];
    try {
      [state, ...visit] = JSON.parse(decodeURIComponent(text!)) as [typeof state, ...typeof visit];
    } catch {
      visit = []; // nobody yet, or nobody any more
    }
    mark = "";
    visitor = newVisitor({ idle: sessionIdle }, newId, state);
  };

  const tell = (text: string) => {
    engine?.("save", text);
    if (cookieDomain || text === OUT) writeCookie(text, year);
  };

  const save = () => {
    clearTimeout(saving);
    saving = undefined;
    if (ready && !out && visitor!.changed())
      tell(encodeURIComponent(JSON.stringify([visitor!.state(), ...visit])));
  };

  const drop = (reason: string, detail: unknown) => {
    counts[reason] = (counts[reason] || 0) + 1;
    problem(reason, detail);
  };
  // biome-ignore lint/suspicious/noExplicitAny: any function, with its own type
  const guard = <F extends (...args: any[]) => any>(f: F) =>
    ((...args) => {
      try {
        return f(...args);
      } catch (error) {
        drop("invalid", error);
      }
    }) as F;
  const push = <T>(list: T[], one: T) => {
    if (list.push(one) > mostKept && list.shift() && !engine) drop("queue_full", 1);
  };
  const known = (call: () => void) => {
    if (visitor) call();
    else push(early, guard(call));
  };
  const drain = () => {
    for (const call of early) call();
    early = [];
  };

  // What brought the visitor here: for the session's first page, and again when a campaign or another site is back.
  const source = (): [campaign: Record<string, string>, referrer: string] => {
    const campaign: Record<string, string> = {};
    new URLSearchParams(location.search).forEach((value, name) => {
      const [, field] = name.split("utm_");
      if (field) campaign[field === "campaign" ? "name" : field] = value;
    });
    const { referrer } = document;
    const site = `.${cookieDomain || location.hostname}`;
    return [campaign, referrer && `.${new URL(referrer).hostname}`.endsWith(site) ? "" : referrer];
  };

  // One object while page and visit stay the same, so that it is posted and encoded once.
  let mark = "";
  let surroundings: Context;
  const context = (page: { url: string; title: string }) => {
    const next = `${page.url} ${page.title}`;
    if (next !== mark) {
      mark = next;
      surroundings = {
        screen: { width: screen.width, height: screen.height, density: devicePixelRatio },
        locale: navigator.language,
        timeZone: Intl.DateTimeFormat().resolvedOptions().timeZone,
        page: { ...page, path: new URL(page.url).pathname, referrer: visit[2] },
        campaign: visit[1],
        platform: "web",
      };
    }
    return surroundings;
  };

  let kept: EventInput[] = [];
  let added = 0; // to the engine; kept are the last of them

  const add = (event: EventInput) => {
    added++;
    engine?.("add", event);
  };

  const record = (event: EventInput, before?: () => void) => {
    const at = now();
    const page = { url: location.href, title: document.title };
    event.id ||= newId(at);
    event.timestamp ||= at;
    known(() => {
      if (!out) {
        before?.();
        visitor!.fill(at, event);
        if (visit[0] !== event.sessionId) {
          visit = [event.sessionId, ...source()];
          mark = "";
        }
        event.context = context(page);
        if (before)
          save(); // before another tab's record comes in its place
        else if (visitor!.changed()) saving ||= setTimeout(save, saveWithin);
        push(kept, event);
      }
      add(event);
    });
  };

  // The gear, once it has answered: engine tells it, ask wants an answer too.
  let engine: ((method: Method, arg?: unknown) => void) | undefined;
  let ask: (method: Method) => Promise<unknown>;
  let core: Stats["core"] = "none";
  let started: () => void;
  const start = new Promise<void>((resolve) => {
    started = resolve;
  });

  const boot = (record?: string) => {
    if (!ready) {
      const cookie = readCookie();
      adopt(silent ? OUT : record === OUT ? record : cookie || record);
      ready = true;
      if (out) writeCookie(OUT, year); // some browsers let it lapse within days
      const [campaign, referrer] = source();
      if (referrer || campaign.source) visit = [];
    }
    added = 0;
    if (out) engine?.("optOut");
    kept.forEach(add);
    drain();
    started();
  };

  const use = (name: "ts" | "wasm", gear: Gear) => {
    const calls = new Map<number, (result: unknown) => void>();
    let call = 0;
    let last: Context | undefined;
    const fail = (cause: unknown) => {
      clearTimeout(timer);
      gear.onmessage = gear.onerror = null;
      gear.terminate();
      engine = undefined;
      core = "none";
      failed(name, cause);
      for (const resolve of calls.values()) resolve(0);
    };
    const timer = setTimeout(fail, patience, "no answer");
    gear.onerror = (event) => fail(event.message);
    gear.onmessage = ({ data: [n, value, detail, more] }) => {
      if (n) {
        calls.get(n)!(value);
        calls.delete(n);
      } else if (value === "safe") kept.splice(0, kept.length - added + detail);
      else if (value === "problem") problem(detail, more);
      else if (value === "failed") fail(detail);
      else if (value === "visitor")
        if (engine) adopt(detail);
        else {
          clearTimeout(timer);
          core = name;
          engine = (method, arg) => {
            const { context } = Object(arg);
            if (context && context === last) arg = { ...(arg as EventInput), context: undefined };
            last = context || last;
            try {
              gear.postMessage([0, method, arg]);
            } catch {
              gear.postMessage([0, method, JSON.parse(JSON.stringify(arg))]); // it has values that are no plain ones
            }
          };
          ask = (method) =>
            new Promise((resolve) => {
              calls.set(++call, resolve);
              gear.postMessage([call, method]);
            });
          boot(detail);
        }
    };
    gear.postMessage([0, "open", options.wasm, config, coreConfig]);
  };

  const failed = (name: "ts" | "wasm", cause: unknown) => {
    problem(name, cause);
    if (name === "wasm") useTypeScript();
    else boot();
  };
  const useTypeScript = () => {
    load().then(
      (gear) => use("ts", gear),
      (error) => failed("ts", error),
    );
  };

  // Once per address, so that a repeated replaceState counts nothing.
  let views = options.pageViews !== false;
  let shown: string | undefined;
  const view = () => {
    const address = options.hash ? location.href : location.href.split("#")[0];
    if (!views || address === shown) return;
    shown = address;
    record({ name: "page_view" });
  };

  // What a page cannot wait for. The server counts an id once, whichever way it came first.
  const beacon = () => {
    const events: object[] = [];
    let size = 200;
    for (const event of kept.slice().reverse())
      try {
        const sent = { ...event, timestamp: new Date(event.timestamp! / 1e3) };
        size += new Blob([JSON.stringify(sent)]).size + 1;
        if (size > beaconBytes) break;
        events.unshift(sent);
      } catch {} // has no JSON form: invalid, and told already
    if (events[0])
      navigator.sendBeacon(`${path}/events${query}`, JSON.stringify({ sentAt: new Date(), library, events }));
  };

  const leave = () => {
    view();
    if (!visitor) {
      // Too early to know who it is: the events go under a new anonymous id, unless the visitor opted out.
      const cookie = readCookie();
      if (cookie === OUT || silent) return;
      adopt(cookie);
      drain();
    }
    save();
    engine?.("flush");
    beacon();
    engine?.("pause");
  };

  const listen = (target: EventTarget, type: string, f: (event: Event) => void) =>
    target.addEventListener(type, guard(f));

  const client: Client = {
    track: guard((name: string, properties?: object, extra?: Extra) =>
      record({
        ...extra,
        timestamp: extra?.timestamp && +extra.timestamp * 1e3,
        name,
        properties: { ...properties },
      }),
    ),
    page: guard((properties) => record({ name: "page_view", properties: { ...properties } })),
    identify: guard((user, traits) => {
      const userId = id(user);
      record({ type: 2, userId, traits }, () => visitor!.identify(now(), userId));
    }),
    group: guard((type, group, traits) => {
      const groupType = id(type);
      const groupId = id(group);
      const join = () => visitor!.join(groupType, groupId);
      if (groupId) record({ type: 3, groupType, groupId, traits }, join);
      else
        known(() => {
          join();
          save();
        });
    }),
    alias: guard((userId, previousId) => record({ type: 4, userId: id(userId), previousId: id(previousId) })),
    reset: guard(() =>
      known(() => {
        visitor!.reset(now());
        save();
      }),
    ),
    optOut: guard(() =>
      known(() => {
        adopt(OUT);
        tell(OUT);
      }),
    ),
    optIn: guard(() =>
      known(() => {
        if (!out) return;
        writeCookie("", 0);
        adopt();
        visitor!.reset(now());
        save();
      }),
    ),
    async flush() {
      await start;
      if (engine) return !!(await ask("flush"));
      beacon();
      return false;
    },
    async close() {
      await start;
      views = false;
      save();
      if (engine) await ask("close");
      else beacon();
    },
    async stats() {
      await start;
      const stats = {
        queued: kept.length,
        optedOut: out,
        storage: "memory",
        dropped: {},
        ...((engine && (await ask("stats"))) as DriverStats | undefined),
        core,
      } as Stats;
      for (const reason in counts) stats.dropped[reason] = (stats.dropped[reason] || 0) + counts[reason]!;
      return stats;
    },
  };

  listen(self, "pagehide", leave);
  listen(self, "pageshow", (event) => {
    if ((event as PageTransitionEvent).persisted) engine?.("resume");
  });
  listen(self, "online", () => engine?.("flush"));
  listen(document, "visibilitychange", () => {
    save();
    if (document.hidden)
      if (engine) engine("flush");
      else if (ready) beacon(); // a page that is hidden may never hear of its end
  });
  if (views) {
    const later = () => setTimeout(guard(view)); // when the title is the new page's
    for (const method of ["pushState", "replaceState"] as const) {
      const original = history[method];
      history[method] = function (...args) {
        original.apply(this, args);
        later();
      };
    }
    listen(self, "popstate", later);
    if ((document as { prerendering?: boolean }).prerendering) listen(document, "prerenderingchange", view);
    else if (document.readyState === "loading") listen(document, "DOMContentLoaded", view);
    else view();
  }
  if (options.core === "wasm")
    try {
      use("wasm", new Worker(options.worker!));
    } catch (error) {
      failed("wasm", error); // a worker of another origin
    }
  else useTypeScript();
  return client;
};
