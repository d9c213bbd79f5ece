// The worker: a driver over the Go core, whose methods the page calls by name (worker-protocol.ts). It owns nothing
// else. What goes wrong while it starts is told as failed, and then the page does without it.

import type { Context } from "./core/types";
import { newDriver } from "./driver";
import { database } from "./idb";
import { CoreCrash, compileCore, newWasmCore } from "./wasm-core";
import type { FromWorker, ToWorker } from "./worker-protocol";

const post = (message: FromWorker) => postMessage(message);
const random = () => crypto.getRandomValues(new BigUint64Array(1))[0] as bigint;

async function open([, , wasm, config, core]: Extract<ToWorker, [0, "open", ...unknown[]]>) {
  const run = database();
  // It opens while the core compiles. What goes wrong is told when the driver asks again.
  if (!config.memory) run((_, meta) => meta.get("visitor")).catch(() => {});
  const module = await compileCore(wasm);
  const driver = newDriver(
    newWasmCore(module, core, random),
    {
      ...config,
      notice(...[kind, value, detail]) {
        if (detail instanceof CoreCrash) post([0, "failed", detail.message]);
        else post([0, kind, plain(value), plain(detail)] as FromWorker);
      },
    },
    run,
  );
  let last: Context | undefined;
  self.onmessage = async ({ data: [n, method, arg] }: MessageEvent) => {
    if (method === "add") {
      last = arg.context || last;
      driver.add({ ...arg, context: last });
      return;
    }
    const result = await driver[method as Exclude<ToWorker[1], "open" | "add">](arg);
    if (n) post([n, result]);
  };
}

// An error of ours would lose all but its text on the way.
// biome-ignore lint/suspicious/noExplicitAny: whatever a notice carries
const plain = (v: any) => (v instanceof Error ? { ...v, message: v.message } : v);

self.onmessage = ({ data }: MessageEvent) => {
  open(data).catch((error) => post([0, "failed", `${error}`]));
};
