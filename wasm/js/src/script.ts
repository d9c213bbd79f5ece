// The script tag: sets a client up from the attributes of its own element and makes it global.
//
// Every address is derived from the script's, so that it works under any name, path and host.

import { type Client, init } from "./page";

type Call = [method: keyof Client, ...args: unknown[]];

const element = (document.currentScript || document.querySelector("script[data-key]")) as HTMLScriptElement;
const { key = "", host, core, ingestPath, cookieDomain, auto = "page_view", ...data } = element.dataset;
const flag = (name: string) => name in data && data[name] !== "false";
const at = (address: string) => new URL(address, element.src).href;
const name = data.global || "causality";
const { [name]: early } = window as unknown as Record<string, Call[] | undefined>;

// A page that has the script twice has one client.
if (!early || Array.isArray(early)) {
  const client = init({
    key,
    host: host || at("/"),
    ingestPath,
    core: core as "ts" | "wasm",
    worker: at(data.worker || element.src.replace(/(\.js)?(\?.*)?$/, "-worker.js")),
    wasm: at(data.wasm || "core.wasm"),
    pageViews: auto === "page_view",
    hash: flag("hash"),
    cookieless: flag("cookieless"),
    cookieDomain,
    respectDnt: flag("respectDnt"),
    onError: flag("debug") ? console.warn : undefined,
  });
  // biome-ignore lint/suspicious/noExplicitAny: a call by name
  const push = ([method, ...args]: Call) => (client[method] as any)?.(...args);
  Object.assign(window, { [name]: { ...client, push } });
  early?.forEach(push);
}
