// Every event that was tracked arrives, and counts once: whatever happens to tabs, browser, network and answers.
import { type ChildProcess, spawn } from "node:child_process";
import { mkdtemp, readFile, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { type BrowserContext, chromium, type Page } from "@playwright/test";
import { chromiumArgs, executablePath } from "../chromium.mjs";
import { expect, expectDelivered, expectEvents, expectLeads, host, test, track, unique } from "./site";

const queued = (page: Page) => page.evaluate(async () => (await window.causality.stats()).queued);

/** Blocks in the database, whoever knows of them. */
const storedBlocks = (page: Page) =>
  page.evaluate(
    () =>
      new Promise<number>((resolve, reject) => {
        const request = indexedDB.open("causality");
        request.onerror = reject;
        request.onsuccess = () => {
          const db = request.result;
          const count = db.transaction("blocks").objectStore("blocks").count();
          count.onsuccess = () => {
            db.close();
            resolve(count.result);
          };
        };
      }),
  );

test("two tabs have one sender, and the other takes over when it is gone", async ({
  page,
  site,
  context,
}) => {
  const name = unique();
  site.page("/tab");
  await page.goto(site.url("/tab"));
  await expectLeads(page);
  const other = await context.newPage();
  await other.goto(site.url("/tab"));
  await expectLeads(other, false);
  await track(other, name, { from: "follower" });
  await other.evaluate(() => window.causality.flush());
  await expectDelivered(page);
  await expectEvents(name, 1);
  await page.close();
  await expectLeads(other);
  await track(other, name, { from: "heir" });
  await expectDelivered(other);
  await expectEvents(name, 2);
});

test("a tab that crashes leaves what it stored to the others", async ({ page, site, context }) => {
  const name = unique();
  site.page("/crash");
  let reachable = false;
  await context.route(`${host}/**`, (route) => (reachable ? route.continue() : route.abort()));
  await page.goto(site.url("/crash"));
  await expectLeads(page);
  for (let i = 0; i < 5; i++) await track(page, name, { i });
  await page.evaluate(() => window.causality.flush());
  const other = await context.newPage();
  await other.goto(site.url("/crash"));
  await expectLeads(other, false);
  const crashed = page.waitForEvent("crash");
  const cdp = await context.newCDPSession(page);
  cdp.send("Page.crash").catch(() => {}); // nobody is left to answer
  await crashed;
  await expectLeads(other);
  expect(await queued(other)).toBe(5);
  reachable = true;
  await expectDelivered(other);
  await expectEvents(name, 5);
});

test("events wait while the network is away, and go when it is back", async ({ page, site, context }) => {
  const name = unique();
  site.page("/offline");
  await page.goto(site.url("/offline"));
  await expectLeads(page);
  await context.setOffline(true);
  for (let i = 0; i < 30; i++) await track(page, name, { i });
  expect(await page.evaluate(() => window.causality.flush())).toBe(false);
  expect(await queued(page)).toBe(30);
  await context.setOffline(false); // nothing else: the browser says that it is online
  await expect.poll(() => queued(page)).toBe(0);
  await expectEvents(name, 30);
});

test("a reload while the server cannot be reached loses nothing", async ({ page, site, context }) => {
  const name = unique();
  site.page("/reload");
  await context.route(`${host}/**`, (route) => route.abort());
  await page.goto(site.url("/reload"));
  for (let i = 0; i < 5; i++) await track(page, name, { i });
  await page.evaluate(() => window.causality.flush());
  await page.reload();
  await expect.poll(() => queued(page)).toBe(5);
  await context.unroute(`${host}/**`);
  await expectDelivered(page);
  await expectEvents(name, 5);
});

test("answers that are lost make no event count twice", async ({ page, site, context }) => {
  const name = unique();
  let lost = 0;
  await context.route(`${host}/v1/batch*`, async (route) => {
    if (lost >= 3) return route.continue();
    lost++;
    await route.fetch(); // the server has it
    await route.abort();
  });
  site.page("/lost");
  await page.goto(site.url("/lost"));
  for (let i = 0; i < 10; i++) {
    await track(page, name, { i });
    if (i % 3 === 0) await page.evaluate(() => window.causality.flush());
  }
  await expectDelivered(page);
  expect(lost).toBe(3);
  await expectEvents(name, 10);
});

test("a refusal is obeyed: what the server asks to be silent for is waited", async ({
  page,
  site,
  context,
}) => {
  const name = unique();
  let refusals = 0;
  await context.route(`${host}/v1/batch*`, async (route) => {
    if (refusals > 0) return route.continue();
    refusals++;
    await route.fulfill({
      status: 503,
      headers: {
        "Retry-After": "2",
        "Access-Control-Allow-Origin": "*",
        "Access-Control-Expose-Headers": "Retry-After",
      },
    });
  });
  site.page("/busy");
  await page.goto(site.url("/busy"));
  await track(page, name);
  const started = Date.now();
  expect(await page.evaluate(() => window.causality.flush())).toBe(false);
  expect(await page.evaluate(() => window.causality.flush())).toBe(false); // not even when asked
  await expect.poll(() => queued(page)).toBe(0);
  expect(Date.now() - started).toBeGreaterThanOrEqual(2000);
  await expectEvents(name, 1);
});

test("a slow line takes longer, and no more", async ({ page, site, context }) => {
  const name = unique();
  site.page("/slow");
  await page.goto(site.url("/slow"));
  const cdp = await context.newCDPSession(page);
  await cdp.send("Network.emulateNetworkConditions", {
    offline: false,
    latency: 400,
    downloadThroughput: 50_000,
    uploadThroughput: 20_000,
  });
  await cdp.send("Emulation.setCPUThrottlingRate", { rate: 6 });
  await page.evaluate((name) => {
    for (let i = 0; i < 300; i++) window.causality.track(name, { i, text: "x".repeat(100) });
  }, name);
  await expectDelivered(page);
  await expectEvents(name, 300);
});

test("twenty pages that are left at once have their twenty events", async ({ page, site }) => {
  const name = unique();
  for (let i = 0; i < 20; i++)
    site.page(`/hop${i}`, { after: `causality.track("${name}", {i: ${i}}); location.href = "/hop${i + 1}"` });
  site.page("/hop20");
  await page.goto(site.url("/hop0"));
  await page.waitForURL("**/hop20");
  await expectDelivered(page);
  await expectEvents(name, 20);
});

test("tabs that are closed at once have their events", async ({ page, site, context, core }) => {
  const name = unique();
  site.page("/closed");
  for (let i = 0; i < 10; i++) {
    const tab = await context.newPage();
    await tab.goto(site.url("/closed"));
    await expect.poll(() => tab.evaluate(async () => (await window.causality.stats()).core)).toBe(core);
    await track(tab, name, { i });
    await tab.close({ runBeforeUnload: true });
  }
  await page.goto(site.url("/closed"));
  await expectDelivered(page);
  await expectEvents(name, 10);
});

test("a page that comes back from the browser's cache goes on", async ({ page, site }) => {
  const name = unique();
  site.page("/back");
  site.serve("/elsewhere", "text/html", "<!doctype html>elsewhere");
  await page.goto(site.url("/back"));
  await track(page, name, { visit: 1 });
  await expectDelivered(page);
  await page.goto(site.url("/elsewhere"));
  await page.goBack();
  await track(page, name, { visit: 2 });
  await expectDelivered(page);
  await expectEvents(name, 2);
});

test("close sends what is queued, and what is called afterwards does nothing", async ({ page, site }) => {
  const [before, after] = [unique(), unique()];
  site.page("/close");
  await page.goto(site.url("/close"));
  const stats = await page.evaluate(
    async ([before, after]) => {
      window.causality.track(before);
      await window.causality.close();
      window.causality.track(after);
      await window.causality.flush();
      return window.causality.stats();
    },
    [before, after] as const,
  );
  expect(stats.queued).toBe(0);
  await expectEvents(before, 1);
  await page.reload();
  await expectDelivered(page);
  await expectEvents(after, 0);
});

test("what is stored survives the browser being killed", async ({ site, core }) => {
  const name = unique();
  site.page("/killed");
  const profile = await mkdtemp(join(tmpdir(), "causality-profile-"));
  let browser: ChildProcess | undefined;
  const start = async (): Promise<BrowserContext> => {
    await rm(join(profile, "DevToolsActivePort"), { force: true });
    browser = spawn(
      executablePath,
      [...chromiumArgs, "--remote-debugging-port=0", `--user-data-dir=${profile}`, "about:blank"],
      { stdio: "ignore" },
    );
    let port = "";
    await expect
      .poll(async () => {
        [port = ""] = (await readFile(join(profile, "DevToolsActivePort"), "utf8").catch(() => "")).split(
          "\n",
        );
        return port;
      })
      .not.toBe("");
    const connection = await chromium.connectOverCDP(`http://127.0.0.1:${port}`);
    return connection.contexts()[0] as BrowserContext;
  };
  const kill = async () => {
    const dead = new Promise((resolve) => browser?.once("exit", resolve));
    browser?.kill("SIGKILL");
    await dead;
  };
  try {
    for (let round = 0; round < 2; round++) {
      const context = await start();
      await context.route(`${host}/**`, (route) => route.abort());
      const page = await context.newPage();
      await page.goto(site.url("/killed"));
      for (let i = 0; i < 50; i++) await track(page, name, { round, i });
      await page.evaluate(() => window.causality.flush()); // stored, though not sent
      expect(await queued(page)).toBe(50 * (round + 1));
      expect(await storedBlocks(page)).toBeGreaterThan(0);
      await kill();
    }
    const context = await start();
    const page = await context.newPage();
    await page.goto(site.url("/killed"));
    await expectDelivered(page);
    await expectEvents(name, 100);
    expect(await storedBlocks(page)).toBe(0);
    expect((await page.evaluate(() => window.causality.stats())).core).toBe(core);
  } finally {
    await kill();
    await rm(profile, { recursive: true, force: true, maxRetries: 10 });
  }
});
