// What one track with four properties costs a page, from its call to its return: our cores and other browser SDKs in
// one page and run, each sending to a sink on this machine; and how large each script is. Prints JSON
// [{name, value, unit}], the best measured last. `npm ci && npm run bench`, after a build of the SDK.
import { readFileSync } from "node:fs";
import { createServer } from "node:http";
import { fileURLToPath } from "node:url";
import { gzipSync } from "node:zlib";
import { chromium } from "@playwright/test";
import { build } from "esbuild";
import { chromiumArgs, executablePath } from "../../chromium.mjs";

const batches = 60; // of each SDK, by turns
const perBatch = 50; // calls between two looks at the clock, which browsers make coarse
const here = fileURLToPath(new URL(".", import.meta.url));
const dist = new URL("../../dist/", import.meta.url);
const types = { js: "text/javascript", wasm: "application/wasm" };
const gzip = (text) => gzipSync(text, { level: 9 }).length;

const bundle = async (contents) => {
  const { outputFiles } = await build({
    stdin: { contents, resolveDir: here },
    bundle: true,
    minify: true,
    write: false,
    format: "iife",
    target: "es2020",
    logLevel: "error",
  });
  return outputFiles[0].text;
};

const peers = await bundle(readFileSync(new URL("peers.js", import.meta.url), "utf8"));
const { dependencies } = JSON.parse(readFileSync(new URL("package.json", import.meta.url), "utf8"));
const results = [];
for (const name of Object.keys(dependencies))
  results.push({
    name: `${name} ${dependencies[name]}, gzip`,
    value: gzip(
      await bundle(`import * as sdk from ${JSON.stringify(name)}; window.sdk = sdk.default ?? sdk;`),
    ),
    unit: "bytes",
  });
for (const name of ["causality.js", "causality-core.js", "causality-worker.js"])
  results.push({ name: `${name}, gzip`, value: gzip(readFileSync(new URL(name, dist))), unit: "bytes" });

// Every answer means that all is well, in each SDK's own words.
const answers = {
  v1: Buffer.from([0x08, 0x01]), // IngestResponse{accepted: 1}
  posthog: '{"status":1}',
  amplitude: '{"code":200,"events_ingested":1,"payload_size_bytes":1,"server_upload_time":1}',
  mixpanel: "1",
  snowplow: "ok",
};
const script = (core) =>
  `<script src="/sdk/causality.js" data-key="wk_${core}" data-core="${core}" data-auto="" data-global="${core}"></script>`;
const server = createServer((request, response) => {
  const [, first = "", second = ""] = new URL(request.url, "http://site").pathname.split("/");
  request.resume().on("end", () => {
    if (answers[first]) response.writeHead(200).end(answers[first]);
    else if (first === "peers.js") response.writeHead(200, { "Content-Type": types.js }).end(peers);
    else if (first === "sdk") {
      response.writeHead(200, {
        "Content-Type": types[second.split(".")[1]],
        "Cross-Origin-Embedder-Policy": "require-corp",
      });
      response.end(readFileSync(new URL(second, dist)));
    } else if (!first) {
      // A page of its own process has a clock of 5 µs instead of 100.
      response.writeHead(200, {
        "Content-Type": "text/html",
        "Cross-Origin-Opener-Policy": "same-origin",
        "Cross-Origin-Embedder-Policy": "require-corp",
      });
      response.end(
        `<!doctype html><title>Bench</title>${script("ts")}${script("wasm")}<script src="/peers.js"></script><body>`,
      );
    } else response.writeHead(404).end();
  });
});
await new Promise((resolve) => server.listen(0, "127.0.0.1", resolve));

const browser = await chromium.launch({ executablePath, args: chromiumArgs });
try {
  const page = await browser.newPage();
  await page.goto(`http://127.0.0.1:${server.address().port}/`);
  const measured = await page.evaluate(
    async ([batches, perBatch]) => {
      for (const core of ["ts", "wasm"]) {
        const stats = await window[core].stats();
        if (stats.core !== core) throw new Error(`the ${stats.core} core runs, not ${core}`);
      }
      const calls = {
        ...window.peers,
        "TypeScript core": (properties) => window.ts.track("order paid", properties),
        "WebAssembly core": (properties) => window.wasm.track("order paid", properties),
      };
      const times = {};
      for (let batch = 0; batch < batches; batch++)
        for (const name in calls) {
          const started = performance.now();
          for (let i = 0; i < perBatch; i++)
            calls[name]({ total: 12.5 + i, plan: "pro", items: i, gift: false });
          (times[name] ??= []).push(((performance.now() - started) * 1e3) / perBatch);
          // What an SDK put off runs before the next one is measured.
          await new Promise((resolve) => setTimeout(resolve, 10));
        }
      const sent = {};
      for (const core of ["ts", "wasm"]) {
        await window[core].flush();
        sent[core] = await window[core].stats();
      }
      return { times, sent };
    },
    [batches, perBatch],
  );
  for (const core of ["ts", "wasm"])
    if (measured.sent[core].sent < batches * perBatch)
      throw new Error(`the ${core} core sent ${measured.sent[core].sent} of ${batches * perBatch} events`);
  for (const [name, times] of Object.entries(measured.times)) {
    times.sort((a, b) => a - b);
    results.push({
      name: `track in the page, 4 properties, median: ${name}`,
      value: Number(times[times.length >> 1].toFixed(1)),
      unit: "µs",
    });
  }
} finally {
  await browser.close();
  server.close();
}
console.log(JSON.stringify(results, null, 2));
