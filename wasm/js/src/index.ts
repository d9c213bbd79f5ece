// The npm package: everything public, and nothing that runs by itself. The gear is a chunk that is loaded behind the
// front.
import { type Client, type Options, init as start } from "./page";

export type { Context, Properties, Traits } from "./core/vocabulary";
export type { Client, Extra, Options, Stats } from "./page";
export type { TypedEvents } from "./typed";

export const init = (options: Options): Client =>
  start(options, async () => (await import("./gear")).newGear());
