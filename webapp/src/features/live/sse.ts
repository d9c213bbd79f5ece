// Server-sent events out of a fetch body. Our own reader, because EventSource
// says neither why it was refused nor when it will try again.

export type Message = { event: string; data: string };

/** Feeds on text in any pieces and hands out whole messages; comments are life signs only. */
export function createParser(onMessage: (message: Message) => void): (chunk: string) => void {
  let rest = "";
  let event = "";
  let data: string[] = [];
  const line = (text: string) => {
    if (text === "") {
      if (data.length > 0) onMessage({ event: event || "message", data: data.join("\n") });
      event = "";
      data = [];
      return;
    }
    if (text.startsWith(":")) return;
    const colon = text.indexOf(":");
    const field = colon < 0 ? text : text.slice(0, colon);
    const value = colon < 0 ? "" : text.slice(colon + 1).replace(/^ /, "");
    if (field === "event") event = value;
    else if (field === "data") data.push(value);
  };
  return (chunk) => {
    rest += chunk;
    let from = 0;
    for (let i = 0; i < rest.length; i++) {
      const c = rest[i];
      if (c !== "\n" && c !== "\r") continue;
      // A carriage return at the very end may have its line feed in the next piece.
      if (c === "\r" && i === rest.length - 1) break;
      line(rest.slice(from, i));
      if (c === "\r" && rest[i + 1] === "\n") i++;
      from = i + 1;
    }
    rest = rest.slice(from);
  };
}

export type LiveState =
  | { status: "connecting" }
  | { status: "live"; since: number }
  /** Tries again at `at`, ms. */
  | { status: "waiting"; at: number; sentence: string }
  /** Will not get better by itself. */
  | { status: "stopped"; sentence: string };

/** 1 s doubling to 30 s, with up to half of it taken off so that browsers do not return together. */
export function backoff(attempt: number, random = Math.random()): number {
  return Math.min(30_000, 1000 * 2 ** Math.min(attempt, 10)) * (1 - random / 2);
}

// The server sends a life sign every 15 s.
const silence = 40_000; // ms

class Refused extends Error {}

/**
 * Keeps one connection to `url` until `signal` aborts: reconnects with growing
 * pauses, at once when the browser is back online. `onGap` hears from when to when
 * nothing was received.
 */
export async function follow(
  url: string,
  headers: Record<string, string>,
  signal: AbortSignal,
  on: {
    message: (message: Message) => void;
    state: (state: LiveState) => void;
    gap: (from: number, to: number) => void;
  },
): Promise<void> {
  let attempt = 0;
  let lostAt: number | undefined;
  while (!signal.aborted) {
    const abort = new AbortController();
    const stop = () => abort.abort();
    signal.addEventListener("abort", stop);
    let alive = Date.now();
    const watchdog = setInterval(() => Date.now() - alive > silence && abort.abort(), 5000);
    let live = false;
    let sentence = "The connection ended.";
    try {
      if (lostAt === undefined) on.state({ status: "connecting" });
      const response = await fetch(url, {
        headers: { Accept: "text/event-stream", ...headers },
        signal: abort.signal,
        cache: "no-store",
      });
      if (!response.ok || !response.body) {
        const said = (await response.json().catch(() => null)) as { message?: string } | null;
        const text = said?.message ?? `The server answered ${response.status}`;
        const capital = text.charAt(0).toUpperCase() + text.slice(1);
        const full = /[.!?]$/.test(capital) ? capital : `${capital}.`;
        // What the request itself is refused for stays refused; overload and limits pass.
        if (
          response.status >= 400 &&
          response.status < 500 &&
          response.status !== 429 &&
          response.status !== 408
        ) {
          throw new Refused(full);
        }
        throw new Error(full);
      }
      const decoder = new TextDecoder();
      const feed = createParser((message) => {
        if (message.event === "ready") {
          live = true;
          attempt = 0;
          const now = Date.now();
          if (lostAt !== undefined) on.gap(lostAt, now);
          lostAt = undefined;
          on.state({ status: "live", since: now });
        } else on.message(message);
      });
      const reader = response.body.getReader();
      for (;;) {
        const { done, value } = await reader.read();
        if (done) break;
        alive = Date.now();
        feed(decoder.decode(value, { stream: true }));
      }
    } catch (error) {
      if (error instanceof Refused) {
        on.state({ status: "stopped", sentence: error.message });
        return;
      }
      if (error instanceof TypeError) sentence = "The server could not be reached.";
      else if (error instanceof Error && error.name !== "AbortError") sentence = error.message;
    } finally {
      clearInterval(watchdog);
      signal.removeEventListener("abort", stop);
      abort.abort();
    }
    if (signal.aborted) return;
    if (live) lostAt = Date.now();
    const pause = backoff(attempt++);
    on.state({ status: "waiting", at: Date.now() + pause, sentence });
    await new Promise<void>((resolve) => {
      const timer = setTimeout(done, pause);
      function done() {
        clearTimeout(timer);
        globalThis.removeEventListener("online", done);
        signal.removeEventListener("abort", done);
        resolve();
      }
      globalThis.addEventListener("online", done);
      signal.addEventListener("abort", done);
    });
  }
}
