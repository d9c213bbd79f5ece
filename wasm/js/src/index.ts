// The npm package: everything public, and nothing that runs by itself.
export type { Context, Properties, Traits } from "./core/types";
export { type Client, type Extra, init, type Options, type Stats } from "./page";
export type { TypedEvents } from "./typed";
