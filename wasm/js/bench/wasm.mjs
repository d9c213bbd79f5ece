// Measures the WebAssembly core in Chromium: node bench/wasm.mjs, after a build. Prints JSON [{name, value, unit}].
//
// Cold is a browser that has never seen the site; warm is its next visits, when scripts and compiled code are cached.
// The hand-off is what one track with four properties costs the page, from its call to its return.
import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { createServer } from "node:http";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { chromium } from "@playwright/test";
import { chromiumArgs, executablePath } from "../chromium.mjs";

const visits = { cold: 5, warm: 15 };
const batches = 60;
const perBatch = 50; // calls between two looks at the clock, which browsers make coarse

const dist = new URL("../dist/", import.meta.url);
const types = { js: "text/javascript", wasm: "application/wasm" };
const isolated = {
  // A page of its own process has a clock of 5 µs instead of 100.
  "Cross-Origin-Opener-Policy": "same-origin",
  "Cross-Origin-Embedder-Policy": "require-corp",
};

const server = createServer((request, response) => {
  const { pathname } = new URL(request.url, "http://site");
  if (request.method === "POST") {
    request.resume().on("end", () => response.writeHead(503, { "Retry-After": "60" }).end());
    return;
  }
  if (pathname === "/") {
    const data = 'data-key="wk_bench" data-core="wasm" data-auto=""';
    response.writeHead(200, { "Content-Type": "text/html", ...isolated });
    response.end(
      `<!doctype html><title>Bench</title><script src="/sdk/causality.js" ${data}></script><body>`,
    );
    return;
  }
  if (pathname === "/blank") {
    response
      .writeHead(200, { "Content-Type": "text/html", ...isolated })
      .end("<!doctype html><title>Bench</title>");
    return;
  }
  const [, name, ending] = /^\/sdk\/([\w-]+)\.(js|wasm)$/.exec(pathname) ?? [];
  if (!name) {
    response.writeHead(404).end();
    return;
  }
  const compressed = ending === "wasm";
  response.writeHead(200, {
    "Content-Type": types[ending],
    "Cache-Control": "public, max-age=3600",
    ...(compressed && { "Content-Encoding": "br" }),
    ...isolated,
  });
  response.end(readFileSync(new URL(`${name}.${ending}${compressed ? ".br" : ""}`, dist)));
});
await new Promise((resolve) => server.listen(0, "127.0.0.1", resolve));
const site = `http://localhost:${server.address().port}`;

const median = (list) => {
  list.sort((a, b) => a - b);
  console.error(`from ${list[0].toFixed(1)} to ${list.at(-1).toFixed(1)}`);
  return list[list.length >> 1];
};

/** Milliseconds from new Worker until it takes events, on a page that does nothing else. */
async function ready(context) {
  const page = await context.newPage();
  page.setDefaultTimeout(20_000);
  await page.goto(`${site}/blank`);
  const ms = await page.evaluate(
    (site) =>
      new Promise((resolve, reject) => {
        const from = performance.now();
        const worker = new Worker("/sdk/causality-worker.js");
        worker.onerror = ({ message }) => reject(new Error(message));
        worker.onmessage = ({ data: [, what, detail] }) => {
          if (what === "failed") reject(new Error(JSON.stringify(detail)));
          else resolve(performance.now() - from); // it has read who visits, and takes events
        };
        const config = { key: "wk_bench", url: `${site}/v1/batch?key=wk_bench` };
        const core = { library: { name: "bench", version: "1" }, shared: true };
        worker.postMessage([0, "open", `${site}/sdk/core.wasm`, config, core]);
      }),
    site,
  );
  await page.close();
  return ms;
}

/** Microseconds of one track, once the worker is there. */
async function handOff(context) {
  const page = await context.newPage();
  await page.goto(site);
  await page.waitForFunction(async () => (await window.causality.stats()).core === "wasm");
  const times = await page.evaluate(
    async ([batches, perBatch]) => {
      const times = [];
      for (let batch = 0; batch < batches; batch++) {
        const from = performance.now();
        for (let i = 0; i < perBatch; i++)
          window.causality.track("order paid", {
            plan: "pro",
            total: 12.5 + i,
            first: true,
            sku: `sku-${i}`,
          });
        times.push(((performance.now() - from) * 1e3) / perBatch);
        await new Promise((resolve) => setTimeout(resolve, 20)); // the worker keeps pace
      }
      return times.slice(5); // the first are spent on compiling the page's code
    },
    [batches, perBatch],
  );
  await page.waitForTimeout(3000);
  await page.close();
  return median(times);
}

const results = [];
const add = (name, value, unit) => results.push({ name, value: Number(value.toFixed(1)), unit });

const cold = [];
const warm = [];
const folders = [];
try {
  for (let i = 0; i < visits.cold; i++) {
    const folder = mkdtempSync(join(tmpdir(), "causality-bench-"));
    folders.push(folder);
    const context = await chromium.launchPersistentContext(folder, { executablePath, args: chromiumArgs });
    cold.push(await ready(context));
    if (i === visits.cold - 1) {
      // First a visit with events: the browser keeps compiled code once it was used for some seconds.
      add("track in the page, WebAssembly hand-off", await handOff(context), "µs");
      for (let visit = 0; visit < visits.warm; visit++) warm.push(await ready(context));
    }
    await context.close();
  }
  add("cold Worker ready", median(cold), "ms");
  add("warm Worker ready", median(warm), "ms");
  const bytes = (name) => readFileSync(new URL(name, dist)).length / 1e3;
  add("Go core as WebAssembly, brotli", bytes("core.wasm.br"), "KB");
  add("Go core as WebAssembly, gzip", bytes("core.wasm.gz"), "KB");
} finally {
  server.closeAllConnections();
  server.close();
  for (const folder of folders) rmSync(folder, { recursive: true, force: true, maxRetries: 10 });
}
console.log(JSON.stringify(results, null, 2));
