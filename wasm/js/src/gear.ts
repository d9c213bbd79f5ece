// The TypeScript gear: a driver over the TypeScript core, in the page, spoken to as if it were a worker.
//
// As causality-core.js it leaves its maker on its own script element, for whoever put that there; the npm package
// imports it.

import { newCore } from "./core";
import type { Context } from "./core/types";
import { type Driver, newDriver } from "./driver";
import { database } from "./idb";
import type { Gear } from "./page";

const random = () => crypto.getRandomValues(new BigUint64Array(1))[0]!;

export function newGear(): Gear {
  let driver: Driver;
  let last: Context | undefined;
  const gear: Gear = {
    onmessage: null,
    async postMessage([n, method, ...args]) {
      const post = (...data: unknown[]) => gear.onmessage?.({ data });
      if (method === "open")
        driver = newDriver(
          newCore(args[2], random),
          { ...args[1], notice: (...notice) => post(0, ...notice) },
          database(),
        );
      else if (method === "add") {
        last = args[0].context || last;
        driver.add({ ...args[0], context: last });
      } else {
        // biome-ignore lint/suspicious/noExplicitAny: a call by name
        const result = await (driver as any)[method](...args);
        if (n) post(n, result);
      }
    },
    terminate() {
      gear.onmessage = null;
    },
  };
  return gear;
}

if (typeof document !== "undefined" && document.currentScript)
  Object.assign(document.currentScript, { newGear });
