// What the page and its worker say to each other. Types only: nothing here reaches a bundle.
//
// The page owns the visitor, ids, time and context; the worker owns the queue, the core and the network. An event
// belongs to the page until `stored` covers its number: if the worker dies before, the page takes it back (its id
// is set, so the server counts it once even when both have sent it).
//
// Order: the page posts `open` first and may post everything else right behind it, without waiting for `ready`.
// On `failed`, on the worker's `error` event, or when `ready` has not come within 10 s, the page terminates the
// worker, opens its own core, and adds what is not stored yet.

import type { CoreConfig, EventInput, Stats } from "./core/types";

/** To the worker. */
export type ToWorker =
  | {
      op: "open";
      wasm: string; // absolute URL of core.wasm
      key: string; // the write key
      url: string; // absolute URL of the batch endpoint, without the key
      config: CoreConfig;
    }
  | {
      op: "add";
      n: number; // 1, 2, 3 … for each event of this page
      event: EventInput; // id and timestamp set; without its context, which is copied far more often than it changes
      context?: EventInput["context"]; // only when it differs from the one before; the worker remembers it
    }
  | { op: "flush"; n: number } // answered with `flushed`
  | { op: "exit" } // the page is being hidden: commit and send now, with keepalive; no answer
  | { op: "stats"; n: number } // answered with `stats`
  | { op: "optOut" }
  | { op: "optIn" }
  | { op: "visitor"; state: Uint8Array } // to be saved, and told to the other tabs
  | { op: "close"; n: number }; // stores what it has, then answers with `closed` and ends itself

/** From the worker. */
export type FromWorker =
  | { op: "ready"; optedOut: boolean; visitor?: Uint8Array } // what the queue's database says
  | { op: "stored"; through: number } // every event up to this number is in the queue, or was refused
  | { op: "refused"; n: number; code: "invalid" | "queue_full"; message: string } // this event will never be stored
  | { op: "flushed"; n: number; error?: string } // without error: everything added before is acknowledged
  | { op: "stats"; n: number; stats: Stats }
  | { op: "visitor"; state: Uint8Array } // another tab has changed it
  | { op: "optedOut"; optedOut: boolean } // another tab has
  | { op: "notice"; message: string } // for onError: drops, rejections, a queue that fails
  | { op: "closed"; n: number }
  | { op: "failed"; message: string }; // no WebAssembly, no database, or a crash of the core: the page takes over
