// What a page adds to a driver: who visits, their session, where they are and what brought them, page views, and the
// moment of leaving. It owns the visitor's record and the choice to be left alone; it knows nothing of queues, batches
// and retries.
//
// Nothing here throws into the page, and no call of the page waits for storage: until the record is read, events wait
// in `kept`, which is also what a beacon carries when the page goes away.

import { encodeEvent, newCore, newIds, newVisitor } from "./core";
import type { Context, CoreConfig, EventInput, Properties, Traits } from "./core/types";
import type { Visitor } from "./core/visitor";
import { pack, time } from "./core/wire";
import { type DriverStats, type Notice, newDriver } from "./driver";
import { database } from "./idb";
import type { TypedEvents } from "./typed";
import type { Method } from "./worker-protocol";

declare const VERSION: string;

/** How a client is set up. */
export interface Options {
  /** Names the app: a write key, wk_… */
  key: string;
  /** Where Causality is served, for example https://causality.example.com. Default: this page's origin. */
  host?: string;
  /** Path of the batch endpoint below host; a name of your own escapes blockers. Default /v1/batch. */
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
   * with the cause, for which memory is used; worker with the cause, for which the TypeScript core is used.
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

/** What became of the events, and what the client runs on. */
export interface Stats extends DriverStats {
  core: "ts" | "wasm";
}

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

/** The calls of a Driver, whether it is here or in a worker. */
// biome-ignore lint/suspicious/noExplicitAny: what the method returns, or a promise of it
type Engine = (method: Method, event?: EventInput) => any;

const mostKept = 250; // events
const beaconBytes = 6e4; // browsers let 64 KiB outlive their page
const saveWithin = 100; // ms
const workerPatience = 10e3; // ms
const sessionIdle = 18e8; // µs
const year = 31_536_000; // s
const OUT = "out"; // the record of somebody who wants to be left alone

const now = () => Date.now() * 1e3;
const random = () => crypto.getRandomValues(new BigUint64Array(1))[0]!;

export const init = (options: Options): Client => {
  const { key, cookieDomain, onError } = options;
  const silent =
    options.respectDnt &&
    (navigator.doNotTrack === "1" || (navigator as { globalPrivacyControl?: boolean }).globalPrivacyControl);
  const memory = !!(options.cookieless || silent);
  const url = `${(options.host || location.origin).replace(/\/$/, "")}${options.ingestPath || "/v1/batch"}?key=${encodeURIComponent(key)}`;
  const library = { name: "causality-web", version: VERSION };
  const coreConfig: CoreConfig = {
    flushAt: options.flushAt,
    flushEvery: options.flushEvery && options.flushEvery * 1e3,
    queueBytes: 16 << 20,
    bufferBytes: 1 << 20,
    library,
    shared: true,
  };

  const problem = (code: string, detail: unknown) => {
    try {
      onError?.(code, detail);
    } catch {} // has nowhere to be told
  };

  // The visitor's record: one text for the database, for the other tabs, and for the cookie.
  const run = database();
  const channel = memory || !self.BroadcastChannel ? undefined : new BroadcastChannel("causality");
  let visitor: Visitor | undefined;
  let visit: [session?: string, campaign?: Context["campaign"], referrer?: string] = [];
  let out = !!silent;
  let saving: ReturnType<typeof setTimeout> | undefined;
  let early: (() => void)[] = []; // calls that need the visitor

  const readCookie = () => (memory ? "" : document.cookie.match(/(?:^|; )causality=([^;]*)/)?.[1] || "");
  const writeCookie = (text: string, age: number) => {
    // biome-ignore lint/suspicious/noDocumentCookie: the Cookie Store API is not everywhere
    document.cookie = `causality=${text};path=/;max-age=${age};SameSite=Lax${cookieDomain ? `;domain=${cookieDomain}` : ""}${location.protocol === "https:" ? ";Secure" : ""}`;
  };

  const adopt = (text?: string) => {
    if (out !== (text === OUT)) {
      out = !out;
      engine?.(out ? "optOut" : "optIn");
    }
    let state: Uint8Array | undefined;
    visit = [];
    mark = "";
    if (out) kept = [];
    else
      try {
        const [bytes, ...rest] = JSON.parse(decodeURIComponent(text as string));
        state = Uint8Array.from(atob(bytes), (c) => c.charCodeAt(0));
        visit = rest;
      } catch {} // nobody yet, or damaged: somebody new
    visitor = newVisitor({ idle: sessionIdle }, newId, state);
  };

  const tell = (text: string) => {
    if (memory) return;
    run((_, meta) => meta.put(text, "visitor")).catch((error) => problem("storage", error));
    channel?.postMessage(text);
    if (cookieDomain || text === OUT) writeCookie(text, year);
  };

  const save = () => {
    clearTimeout(saving);
    saving = undefined;
    if (!out && ready && visitor?.changed())
      tell(encodeURIComponent(JSON.stringify([btoa(String.fromCharCode(...visitor.state())), ...visit])));
  };

  const known = (call: () => void) => {
    if (visitor) call();
    else if (early.push(call) > mostKept) early.shift();
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

  // One object while page and visit stay the same, so that it is encoded and posted once.
  let mark = "";
  let surroundings: Context;
  const context = (page: NonNullable<Context["page"]>) => {
    const next = `${page.url} ${page.title}`;
    if (next !== mark) {
      mark = next;
      surroundings = {
        screen: { width: screen.width, height: screen.height, density: devicePixelRatio },
        locale: navigator.language,
        timeZone: Intl.DateTimeFormat().resolvedOptions().timeZone,
        page: { ...page, referrer: visit[2] },
        campaign: visit[1],
        platform: "web",
      };
    }
    return surroundings;
  };

  // Events that only this page has, or that nobody has acknowledged; the newest of them.
  let kept: EventInput[] = [];
  let added = 0; // to the engine; kept are the last of them
  const newId = newIds(random);

  const add = (event: EventInput) => {
    added++;
    engine?.("add", event);
  };

  const record = (event: EventInput, before?: () => void) => {
    const at = now();
    const page = { url: location.href, path: location.pathname, title: document.title };
    event.id ||= newId(at);
    event.timestamp ||= at;
    known(() => {
      if (!out) {
        before?.();
        visitor?.fill(at, event);
        if (visit[0] !== event.sessionId) {
          visit = [event.sessionId, ...source()];
          mark = "";
        }
        event.context = context(page);
        if (visitor?.changed()) saving ||= setTimeout(save, saveWithin);
        if (kept.push(event) > mostKept) kept.shift();
      }
      add(event);
    });
  };

  // Where events go: a driver in this page, or one in a worker.
  let engine: Engine | undefined;
  let coreName: "ts" | "wasm" = "ts";
  let started: () => void;
  const start = new Promise<void>((resolve) => {
    started = resolve;
  });
  const use = (next: Engine) => {
    engine = next;
    added = 0;
    if (out) engine("optOut");
    kept.forEach(add);
    started();
  };
  const notice = (...[kind, value, detail]: Notice) => {
    if (kind === "safe") kept.splice(0, kept.length - added + value);
    else if (kind === "problem") problem(value, detail);
    else problem(kind, value);
  };
  const config = { key, url, memory };
  const useTypeScript = () => {
    const driver = newDriver(newCore(coreConfig, random), { ...config, notice }, run);
    use((method, event) => driver[method](event!));
  };
  const useWorker = () => {
    const calls = new Map<number, [resolve: (result: unknown) => void, method: Method]>();
    let call = 0;
    let last: Context | undefined;
    const worker = new Worker(options.worker!);
    const fail = (cause: unknown) => {
      clearTimeout(timer);
      worker.onmessage = worker.onerror = null;
      worker.terminate();
      coreName = "ts";
      problem("worker", cause);
      useTypeScript();
      for (const [resolve, method] of calls.values()) resolve(engine!(method));
    };
    const timer = setTimeout(fail, workerPatience, "no answer");
    worker.onerror = (event) => fail(event.message);
    worker.onmessage = ({ data: [id, value, detail] }) => {
      if (id) {
        calls.get(id)![0](value);
        calls.delete(id);
      } else if (value === "ready") {
        clearTimeout(timer);
        coreName = "wasm";
        use((method, event) => {
          if (!event)
            return new Promise((resolve) => {
              calls.set(++call, [resolve, method]);
              worker.postMessage([call, method]);
            });
          const { context, ...rest } = event;
          const copy = context === last ? rest : event;
          last = context;
          try {
            worker.postMessage([0, method, copy]);
          } catch {
            worker.postMessage([0, method, JSON.parse(JSON.stringify(copy))]); // what has a JSON form but is no plain value
          }
        });
      } else if (value === "failed") fail(detail);
      else notice(value, detail);
    };
    worker.postMessage([0, "open", options.wasm, config, coreConfig]);
  };

  // The record is read: from here on it is known who visits, or that nobody wants to be seen.
  let ready = false;
  const drain = () => {
    for (const call of early) call();
    early = [];
  };
  const read = () => run((_, meta) => meta.get("visitor") as IDBRequest<string>).then(({ result }) => result);
  const boot = (text?: string) => {
    const cookie = readCookie();
    adopt(text === OUT ? text : cookie || text);
    if (out && !memory) writeCookie(OUT, year); // some browsers let it lapse within days
    ready = true;
    const [campaign, referrer] = source();
    if (referrer || campaign.source) visit = [];
    drain();
    if (options.core === "wasm")
      try {
        return useWorker();
      } catch (error) {
        problem("worker", error);
      }
    useTypeScript();
  };

  // Once per address, so that a repeated replaceState counts nothing.
  let views = options.pageViews !== false;
  let shown: string | undefined;
  const view = () => {
    const [address] = options.hash ? [location.href] : location.href.split("#");
    if (!views || address === shown) return;
    shown = address;
    record({ name: "page_view" });
  };

  const leave = () => {
    view();
    if (!visitor) {
      // Too early to know who it is: the events go under a new anonymous id, unless the visitor opted out.
      const cookie = readCookie();
      if (cookie === OUT) return;
      adopt(cookie);
      drain();
    }
    save();
    engine?.("flush");
    const events: number[][] = [];
    let size = 0;
    for (const event of kept.slice().reverse())
      try {
        const bytes = encodeEvent(now(), event);
        size += bytes.length + 5;
        if (size > beaconBytes) break;
        events.unshift(bytes);
      } catch {} // invalid, and told already
    if (size)
      navigator.sendBeacon(
        url,
        Uint8Array.from(pack(events, time(now()), "", pack(library.name, library.version))),
      );
    engine?.("pause");
  };

  // biome-ignore lint/suspicious/noExplicitAny: any function, with its own type
  const guard = <F extends (...args: any[]) => any>(f: F) =>
    ((...args) => {
      try {
        return f(...args);
      } catch (error) {
        problem("invalid", error);
      }
    }) as F;

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
    identify: guard((userId, traits) =>
      record({ type: 2, userId, traits }, () => visitor!.identify(now(), userId)),
    ),
    group: guard((groupType, groupId, traits) => {
      const join = () => visitor!.join(groupType, groupId);
      if (groupId) record({ type: 3, groupType, groupId, traits }, join);
      else known(join);
    }),
    alias: guard((userId, previousId) => record({ type: 4, userId, previousId })),
    reset: guard(() => known(() => visitor!.reset(now()))),
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
        save();
      }),
    ),
    flush: () => start.then(() => engine!("flush")),
    async close() {
      await start;
      views = false;
      save();
      await engine!("close");
      channel?.close();
    },
    async stats() {
      await start;
      return { ...(await engine!("stats")), core: coreName };
    },
  };

  listen(self, "pagehide", leave);
  listen(self, "pageshow", (event) => {
    if (!(event as PageTransitionEvent).persisted) return;
    engine?.("resume");
    if (!memory)
      read()
        .then(adopt)
        .catch(() => {});
  });
  listen(self, "online", () => engine?.("flush"));
  listen(document, "visibilitychange", () => {
    save();
    if (document.hidden) engine?.("flush");
  });
  if (channel) channel.onmessage = ({ data }) => ready && adopt(data);
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
  if (memory) boot(silent ? OUT : undefined);
  else
    read().then(boot, (error) => {
      config.memory = true;
      problem("storage", error);
      boot();
    });
  return client;
};
