// The worker with the Go core, and what becomes of events when it cannot be had or dies.
import { readFile } from "node:fs/promises";
import { join } from "node:path";
import { expect, expectDelivered, expectEvents, test, track, unique } from "./site";

const dist = join(import.meta.dirname, "..", "dist");
const script = (name: string) => readFile(join(dist, name), "utf8");

test("runs though the server names another type for core.wasm", async ({ page, site }) => {
  const name = unique();
  site.serve("/core.bin", "application/octet-stream", await readFile(join(dist, "core.wasm")));
  site.page("/", { data: { wasm: "/core.bin" } });
  await page.goto(site.url("/"));
  await track(page, name, { total: 12.5 });
  await expectDelivered(page);
  await expectEvents(name, 1);
  expect(await page.evaluate(async () => (await window.causality.stats()).core)).toBe("wasm");
});

for (const [what, data] of [
  ["core.wasm is missing", { wasm: "/none.wasm" }],
  ["core.wasm is no WebAssembly", { wasm: "/sdk/causality.js" }],
  ["the worker's script is missing", { worker: "/none.js" }],
] as const) {
  test(`the TypeScript core takes over when ${what}`, async ({ page, site }) => {
    const name = unique();
    site.page("/", { data });
    await page.goto(site.url("/"));
    await track(page, name, { early: true });
    await expect.poll(() => page.evaluate(async () => (await window.causality.stats()).core)).toBe("ts");
    await track(page, name, { early: false });
    await expectDelivered(page);
    await expectEvents(name, 2);
  });
}

// The 30th call of the core traps, as when memory runs out; or the worker's own script throws at the 5th event.
const crashes = {
  "the core crashes": `
    let calls = 0;
    const { Instance } = WebAssembly;
    WebAssembly.Instance = class {
      constructor(...from) {
        const { exports } = new Instance(...from);
        const call = (...args) => {
          if (++calls === 30) throw new WebAssembly.RuntimeError("unreachable");
          return exports.call(...args);
        };
        this.exports = { ...exports, call };
      }
    };`,
  "the worker throws": `
    let events = 0;
    addEventListener("message", ({ data }) => {
      if (data[1] === "add" && ++events === 5) setTimeout(() => { throw new Error("out of order"); });
    });`,
};

for (const [what, crash] of Object.entries(crashes)) {
  test(`what is not stored is taken back when ${what}`, async ({ page, site }) => {
    const name = unique();
    site.serve("/crashing.js", "text/javascript", `${crash}\n${await script("causality-worker.js")}`);
    site.page("/", { data: { worker: "/crashing.js" } });
    await page.goto(site.url("/"));
    await expect.poll(() => page.evaluate(async () => (await window.causality.stats()).core)).toBe("wasm");
    for (let n = 0; n < 60; n++) await track(page, name, { n });
    await expect.poll(() => page.evaluate(async () => (await window.causality.stats()).core)).toBe("ts");
    await expectDelivered(page);
    await expectEvents(name, 60);
  });
}
