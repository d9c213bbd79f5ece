// What the page and its worker say to each other. Types only: nothing here reaches a bundle.
//
// The page owns the visitor, opting out, ids, time and context; the worker owns the queue, the core and the network.
// It is a Driver (driver.ts) called by name, so that the page uses one set of calls whether the core is beside it or
// in a worker, and the worker is little more than
//
//   onmessage = async ({ data: [n, method, ...args] }) => postMessage([n, await driver[method](...args)])
//
// The page posts `open` first. It posts nothing else before `ready`, and takes over with its own core on `failed`, on
// the worker's `error` event, or when `ready` has not come within 10 s: it terminates the worker and adds again every
// event that no `safe` covered (its id is set, so the server counts it once even when both have sent it).

import type { CoreConfig, EventInput } from "./core/types";
import type { Driver, DriverConfig, Notice } from "./driver";

/** The methods of Driver that are called by message. */
export type Method = "add" | "flush" | "stats" | "optOut" | "optIn" | "pause" | "resume" | "close";

/** To the worker. n is 0 when no answer is wanted, else above every n before it. */
export type ToWorker =
  | [0, "open", wasm: string, config: Omit<DriverConfig, "notice">, core: CoreConfig]
  | [0, "add", event: EventInput] // id and timestamp set; without context when it is that of the event before
  | [n: number, method: Exclude<Method, "add">];

/** From the worker: the result of call n, or a notice of the driver. */
export type FromWorker =
  | [n: number, result: Awaited<ReturnType<Driver[Exclude<Method, "add">]>>]
  | [0, "ready"]
  | [0, ...Notice]; // failed too when there is no WebAssembly
