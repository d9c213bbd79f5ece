// Both queues pass one suite, as the browser runs them; then what can happen to a database.
import { join } from "node:path";
import type { Page } from "@playwright/test";
import { build } from "esbuild";
import type * as idb from "../src/idb";
import { expect, expectDelivered, expectEvents, type Site, test, track, unique } from "./site";

declare global {
  interface Window {
    idb: typeof idb;
    queue: idb.Queue;
    other: idb.Queue;
  }
}

async function open(page: Page, site: Site, kind: string) {
  const { outputFiles } = await build({
    entryPoints: [join(import.meta.dirname, "..", "src", "idb.ts")],
    bundle: true,
    write: false,
    format: "iife",
    globalName: "idb",
  });
  site.serve("/idb.js", "text/javascript", outputFiles[0]?.text ?? "");
  site.serve("/queue", "text/html", `<!doctype html><script src="/idb.js"></script>`);
  await page.goto(site.url("/queue"));
  await page.evaluate((kind) => {
    // Functions cannot be handed over: the page keeps what a test works with.
    window.queue =
      kind === "memory" ? window.idb.memoryQueue() : window.idb.storedQueue(window.idb.database(), "wk_one");
    Object.assign(window, {
      block: (n: number, size = 3) => ({
        seq: 0,
        at: Date.now() * 1e3,
        events: 1,
        data: new Uint8Array(size).fill(n),
      }),
      content: async (first = 0, last = Infinity, queue = window.queue) =>
        (await queue._read(first, last, (seq, b) => [seq, b.events, b.data[0]] as const))[0],
    });
  }, kind);
}

declare const block: (
  n: number,
  size?: number,
) => { seq: number; at: number; events: number; data: Uint8Array };
declare const content: (
  first?: number,
  last?: number,
  queue?: idb.Queue,
) => Promise<(readonly [number, number, number])[]>;

for (const kind of ["indexeddb", "memory"]) {
  test.describe(kind, () => {
    test("describes what it appends and reads it back in order", async ({ page, site }) => {
      await open(page, site, kind);
      const [stored, found] = await page.evaluate(async () => {
        const first = await window.queue._change({ append: [block(7, 5), block(8)], delete: [] });
        const second = await window.queue._change({ append: [block(9)], delete: [] });
        return [[...first, ...second].map(({ seq, events, bytes }) => [seq, events, bytes]), await content()];
      });
      expect(stored).toEqual([
        [1, 1, 5],
        [2, 1, 3],
        [3, 1, 3],
      ]);
      expect(found).toEqual([
        [1, 1, 7],
        [2, 1, 8],
        [3, 1, 9],
      ]);
    });

    test("reads the asked range, without what is gone", async ({ page, site }) => {
      await open(page, site, kind);
      const found = await page.evaluate(async () => {
        await window.queue._change({ append: [1, 2, 3, 4, 5].map((n) => block(n)), delete: [] });
        await window.queue._change({ append: [], delete: [[3, 3]] });
        return content(2, 4);
      });
      expect(found.map(([seq]) => seq)).toEqual([2, 4]);
    });

    test("deletes ranges, and numbers go on rising after the last block is gone", async ({ page, site }) => {
      await open(page, site, kind);
      const found = await page.evaluate(async () => {
        await window.queue._change({ append: [1, 2, 3, 4, 5].map((n) => block(n)), delete: [] });
        await window.queue._change({
          append: [],
          delete: [
            [1, 2],
            [4, 5],
          ],
        });
        await window.queue._change({ append: [], delete: [[3, 3]] });
        const [stored] = await window.queue._change({ append: [block(6)], delete: [] });
        return [stored?.seq, await content()];
      });
      expect(found).toEqual([6, [[6, 1, 6]]]);
    });
  });
}

test("keeps the state, and keeps it when a change says nothing of it", async ({ page, site }) => {
  await open(page, site, "indexeddb");
  const state = await page.evaluate(async () => {
    await window.queue._change({ append: [], delete: [], state: new Uint8Array([1, 2, 3]) });
    await window.queue._change({ append: [block(1)], delete: [] });
    const [, state] = await window.queue._read(0, Infinity, () => 0);
    return [...(state ?? [])];
  });
  expect(state).toEqual([1, 2, 3]);
});

test("keeps the blocks of two keys apart, and removes what no client has asked for in a week", async ({
  page,
  site,
}) => {
  await open(page, site, "indexeddb");
  const result = await page.evaluate(async () => {
    window.other = window.idb.storedQueue(window.idb.database(), "wk_two");
    const week = 7 * 864e8;
    await window.other._change({
      append: [block(1), { ...block(2), at: Date.now() * 1e3 - week - 1e6 }],
      delete: [],
    });
    await window.queue._change({ append: [block(3)], delete: [] });
    const own = await content();
    const others = await content(0, Infinity, window.other);
    return [own, others];
  });
  expect(result).toEqual([[[3, 1, 3]], [[1, 1, 1]]]);
});

test("a change is made as a whole or not at all when the quota is exceeded", async ({
  page,
  site,
  context,
}) => {
  await open(page, site, "indexeddb");
  const cdp = await context.newCDPSession(page);
  const origin = site.url("").replace(/\/$/, "");
  await cdp.send("Storage.overrideQuotaForOrigin", { origin, quotaSize: 200_000 });
  await page.evaluate(() => window.queue._change({ append: [block(1)], delete: [] }));
  const error = await page.evaluate(() =>
    window.queue._change({ append: [block(2, 1 << 20), block(3, 1 << 20)], delete: [[1, 1]] }).then(
      () => "none",
      (error) => error.name,
    ),
  );
  expect(error).toBe("QuotaExceededError");
  expect(await page.evaluate(() => content())).toEqual([[1, 1, 1]]);
  await cdp.send("Storage.overrideQuotaForOrigin", { origin });
  expect(
    await page.evaluate(async () => {
      await window.queue._change({ append: [block(2)], delete: [[1, 1]] });
      return (await content()).map(([, , n]) => n);
    }),
  ).toEqual([2]);
});

test("a severed connection is opened again, with what was stored", async ({ page, site }) => {
  await open(page, site, "indexeddb");
  const found = await page.evaluate(async () => {
    const connections: IDBDatabase[] = [];
    const transaction = IDBDatabase.prototype.transaction;
    IDBDatabase.prototype.transaction = function (...args) {
      connections.push(this);
      return transaction.apply(this, args);
    };
    await window.queue._change({ append: [block(1)], delete: [] });
    for (const connection of connections) connection.close();
    await window.queue._change({ append: [block(2)], delete: [] });
    return content();
  });
  expect(found.map(([, , n]) => n)).toEqual([1, 2]);
});

test("lets another tab delete the database, and begins anew", async ({ page, site, context }) => {
  await open(page, site, "indexeddb");
  await page.evaluate(() => window.queue._change({ append: [block(1)], delete: [] }));
  const other = await context.newPage();
  await other.goto(site.url("/queue"));
  const outcome = await other.evaluate(
    () =>
      new Promise((resolve) => {
        const request = indexedDB.deleteDatabase("causality");
        request.onsuccess = () => resolve("deleted");
        request.onblocked = () => resolve("blocked");
      }),
  );
  expect(outcome).toBe("deleted");
  const found = await page.evaluate(async () => {
    await window.queue._change({ append: [block(2)], delete: [] });
    return content();
  });
  expect(found.map(([, , n]) => n)).toEqual([2]);
});

test("without a database events wait in memory, are counted there, and arrive", async ({ page, site }) => {
  const name = unique();
  site.page("/blocked", {
    before: `IDBFactory.prototype.open = () => { throw new DOMException("denied", "SecurityError") }`,
  });
  await page.goto(site.url("/blocked"));
  await track(page, name);
  await expectDelivered(page);
  await expectEvents(name, 1);
  expect(await page.evaluate(() => window.causality.stats())).toMatchObject({
    storage: "memory",
    leads: true,
  });
});

test("a database that never answers costs seconds, and no event", async ({ page, site }) => {
  const name = unique();
  site.page("/hanging", { before: `IDBFactory.prototype.open = () => ({})` });
  await page.goto(site.url("/hanging"));
  await track(page, name);
  await expectDelivered(page);
  await expectEvents(name, 1);
  expect((await page.evaluate(() => window.causality.stats())).storage).toBe("memory");
});

test("a database that takes no more events gives way to memory", async ({ page, site }) => {
  const name = unique();
  site.page("/full", {
    before: `IDBObjectStore.prototype.add = () => { throw new DOMException("full", "QuotaExceededError") }`,
  });
  await page.goto(site.url("/full"));
  await track(page, name);
  await expect.poll(() => page.evaluate(async () => (await window.causality.stats()).storage)).toBe("memory");
  await expectDelivered(page);
  await expectEvents(name, 1);
});

test("without Web Locks each tab sends for itself, from memory", async ({ page, site }) => {
  const name = unique();
  site.page("/lockless", {
    before: `Object.defineProperty(Navigator.prototype, "locks", { value: undefined })`,
  });
  await page.goto(site.url("/lockless"));
  await track(page, name);
  await expectDelivered(page);
  await expectEvents(name, 1);
  expect((await page.evaluate(() => window.causality.stats())).storage).toBe("memory");
});
