// The script tag: sets a client up from the attributes of its own element and makes it global.
//
// Every address is derived from the script's, so that it works under any name, path and host.

import { type Client, type Gear, init } from "./page";

type Call = [method: keyof Client, ...args: unknown[]];

const element = (document.currentScript || document.querySelector("script[data-key]")) as HTMLScriptElement;
const { key = "", host, core, ingestPath, cookieDomain, auto = "page_view", ...data } = element.dataset;
const flag = (name: string) => name in data && data[name] !== "false";
const at = (address: string) => new URL(address, element.src).href;
const name = data.global || "causality";
const { [name]: early } = window as unknown as Record<string, Call[] | undefined>;

const beside = (name: string) => at(element.src.replace(/(\.js)?(\?.*)?$/, `-${name}.js`));

const load = () =>
  new Promise<Gear>((resolve, reject) => {
    const script = document.createElement("script") as HTMLScriptElement & { newGear?(): Gear };
    script.onload = () => resolve(script.newGear!());
    script.onerror = () => reject(`${script.src} cannot be loaded`);
    script.src = beside("core");
    script.nonce = element.nonce;
    document.head.append(script);
  });

// A page that has the script twice has one client.
if (!early || Array.isArray(early)) {
  const client = init(
    {
      key,
      host: host || at("/"),
      ingestPath,
      core: core as "ts" | "wasm",
      worker: at(data.worker || beside("worker")),
      wasm: at(data.wasm || "core.wasm"),
      pageViews: auto === "page_view",
      hash: flag("hash"),
      cookieless: flag("cookieless"),
      cookieDomain,
      respectDnt: flag("respectDnt"),
      onError: flag("debug") ? console.warn : undefined,
    },
    load,
  );
  // biome-ignore lint/suspicious/noExplicitAny: a call by name
  const push = ([method, ...args]: Call) => (client[method] as any)?.(...args);
  Object.assign(window, { [name]: { ...client, push } });
  early?.forEach(push);
}
