// The npm package: everything public, and nothing that runs by itself. The gear is a chunk that is loaded behind the
// front.
import { type Client, type Options, init as start } from "./page";

export type { Context, Properties, Traits } from "./core/vocabulary";
export type { Client, Extra, Options, Stats } from "./page";
export type { TypedEvents } from "./typed";

const nothing = () => {};

// Where pages are rendered for a browser there is nobody to record yet.
const absent: Client = {
  track: nothing,
  page: nothing,
  identify: nothing,
  group: nothing,
  alias: nothing,
  reset: nothing,
  optOut: nothing,
  optIn: nothing,
  flush: async () => false,
  close: async () => {},
  stats: async () => ({ queued: 0, dropped: {}, optedOut: false, storage: "memory", core: "none" }),
};

/** Starts a client for this page, or one that does nothing where there is no page. */
export const init = (options: Options): Client =>
  typeof document === "undefined" ? absent : start(options, async () => (await import("./gear")).newGear());
