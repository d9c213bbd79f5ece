#!/usr/bin/env node
// Sends numbered events from two tabs of one browser, one of which is reloaded
// in between, and ends when the server has acknowledged all of them:
//   matrix ts|wasm HOST KEY FIRST LAST PROFILE_DIR
import { createReadStream } from "node:fs";
import { createServer } from "node:http";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { chromium } from "@playwright/test";
import { chromiumArgs, executablePath } from "../chromium.mjs";

const [core, host, key, first, last, profile] = process.argv.slice(2);
if (!profile) throw new Error("usage: matrix ts|wasm HOST KEY FIRST LAST PROFILE_DIR");
const dist = join(dirname(fileURLToPath(import.meta.url)), "..", "dist");
const types = { js: "text/javascript", wasm: "application/wasm" };

const site = createServer((request, response) => {
  const name = /^\/sdk\/([\w-]+\.(js|wasm))$/.exec(request.url ?? "");
  if (name) {
    response.setHeader("Content-Type", types[name[2]]);
    createReadStream(join(dist, name[1]))
      .on("error", () => response.writeHead(404).end())
      .pipe(response);
    return;
  }
  response.setHeader("Content-Type", "text/html");
  response.setHeader("Content-Security-Policy", `default-src 'self'; connect-src 'self' ${host}`);
  response.end(
    `<!doctype html><title>matrix</title><script src="/sdk/causality.js" data-key="${key}" data-host="${host}" data-core="${core}" data-auto=""></script>`,
  );
});
await new Promise((resolve) => site.listen(0, "127.0.0.1", resolve));
const address = `http://127.0.0.1:${site.address().port}/`;

const context = await chromium.launchPersistentContext(profile, {
  executablePath,
  args: chromiumArgs,
});
try {
  const tabs = [await context.newPage(), await context.newPage()];
  for (const tab of tabs) await tab.goto(address);

  // A few events per turn, as a page would send them, though in haste.
  const send = (tab, from, to) =>
    tab.evaluate(
      async ([from, to]) => {
        for (let n = from; n <= to; n++) {
          window.causality.track("matrix", { n });
          if (n % 50 === 0) await window.causality.flush().catch(() => {}); // a failure is tried again
        }
      },
      [from, to],
    );
  const middle = Math.floor((Number(first) + Number(last)) / 2);
  const half = Math.floor((Number(first) + middle) / 2);
  await Promise.all([send(tabs[0], Number(first), half), send(tabs[1], middle + 1, Number(last))]);
  await tabs[0].reload();
  await send(tabs[0], half + 1, middle);

  const left = () =>
    Promise.all(
      tabs.map((tab) =>
        tab.evaluate(async () => {
          await window.causality.flush().catch(() => {});
          return (await window.causality.stats()).queued;
        }),
      ),
    );
  const deadline = Date.now() + 240_000;
  let queued = await left();
  while (queued.some((n) => n > 0)) {
    if (Date.now() > deadline) throw new Error(`not delivered within 4 minutes: ${queued} events are queued`);
    queued = await left();
  }
  const stats = await Promise.all(tabs.map((tab) => tab.evaluate(() => window.causality.stats())));
  for (const s of stats) {
    if (s.core && s.core !== core) throw new Error(`the ${s.core} core ran, not ${core}`);
    if (Object.keys(s.dropped).length > 0)
      throw new Error(`events were dropped: ${JSON.stringify(s.dropped)}`);
  }
} finally {
  await context.close();
  site.close();
}
