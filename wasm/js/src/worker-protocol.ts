// What the page and its gear say to each other. Types only: nothing here reaches a bundle.
//
// The page owns the visitor, opting out, ids, time and context; the gear owns the queue, the core and the network, in
// the page (gear.ts) or in a worker (worker.ts). It is a Driver (driver.ts) called by name:
//
//   onmessage = async ({ data: [n, method, ...args] }) => postMessage([n, await driver[method](...args)])
//
// The page posts `open` first, and nothing else before the first `visitor`. When `failed`, an error event or no answer
// within 10 s comes instead, it does without this gear: it terminates it and hands every event that no `safe` covered
// to another one (ids are set, so the server counts them once even when both have sent them).

import type { CoreConfig, EventInput } from "./core/types";
import type { Driver, DriverConfig, Notice } from "./driver";

/** The methods of Driver that are called by message. */
export type Method = "add" | "save" | "flush" | "stats" | "optOut" | "optIn" | "pause" | "resume" | "close";

/** To the worker. n is 0 when no answer is wanted, else above every n before it. */
export type ToWorker =
  | [0, "open", wasm: string, config: Omit<DriverConfig, "notice">, core: CoreConfig]
  | [0, "add", event: EventInput] // id and timestamp set; without context when it is that of the event before
  | [0, "save", record: string]
  | [n: number, method: Exclude<Method, "add" | "save">];

/** From the worker: the result of call n, or a notice of the driver. */
export type FromWorker =
  | [n: number, result: Awaited<ReturnType<Driver[Exclude<Method, "add">]>>]
  | [0, ...Notice]; // failed too when there is no WebAssembly
