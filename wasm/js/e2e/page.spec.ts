// What a page adds: views, visits, visitors, and the wish to be left alone.
import type { Page } from "@playwright/test";
import {
  expect,
  expectDelivered,
  expectEvents,
  host,
  key,
  query,
  strictPolicy,
  test,
  track,
  unique,
} from "./site";

const rows = (name: string, columns: string) =>
  query(`SELECT ${columns} FROM events WHERE event = '${name}' ORDER BY event_id`);

/** The row of the only event of a name. */
async function only(page: Page, name: string, columns: string) {
  await expectDelivered(page);
  await expectEvents(name, 1);
  return (await rows(name, columns))[0] as Record<string, string | null>;
}

test("an event arrives with its properties, its page and its surroundings", async ({ page, site, core }) => {
  const name = unique();
  site.page("/shoes", { title: "Red shoes" });
  await page.goto(site.url("/shoes?size=42"));
  await track(page, name, { total: 12.5, plan: "pro", nested: { list: [1, null, "ü"] } });
  const row = await only(
    page,
    name,
    "properties, page_path, page_url, platform, locale, library, anonymous_id, session_id, user_id, context",
  );
  expect(JSON.parse(String(row.properties))).toEqual({
    total: 12.5,
    plan: "pro",
    nested: { list: [1, null, "ü"] },
  });
  expect(row).toMatchObject({
    page_path: "/shoes",
    page_url: site.url("/shoes?size=42"),
    platform: "web",
    locale: "en-US",
    library: "causality-web",
  });
  expect(row.anonymous_id).toMatch(/^[0-9a-f-]{36}$/);
  expect(row.session_id).toMatch(/^[0-9a-f-]{36}$/);
  expect(String(row.context)).toContain("Red shoes");
  const stats = await page.evaluate(() => window.causality.stats());
  expect(stats).toMatchObject({ core, storage: "indexeddb", leads: true, sent: 1, dropped: {} });
});

test("works under a policy that allows the site's own scripts alone", async ({ page, site, core }) => {
  const name = unique();
  const violations: string[] = [];
  page.on("console", (message) => {
    if (/Content Security Policy/.test(message.text())) violations.push(message.text());
  });
  site.serve("/app.js", "text/javascript", `causality.track("${name}", {a: 1})`);
  site.page("/strict", { policy: strictPolicy });
  await page.goto(site.url("/strict"));
  await page.addScriptTag({ url: "/app.js" });
  await expectDelivered(page);
  await expectEvents(name, 1);
  expect(violations).toEqual([]);
  expect((await page.evaluate(() => window.causality.stats())).core).toBe(core);
});

test("hands the nonce of its own script on, where a policy names one", async ({ page, site, core }) => {
  const name = unique();
  site.page("/nonce", {
    nonce: "n-1",
    policy: `default-src 'none'; script-src 'nonce-n-1'; worker-src 'self'; connect-src 'self' ${host}`,
    after: `causality.track("${name}")`,
  });
  await page.goto(site.url("/nonce"));
  await expectDelivered(page);
  await expectEvents(name, 1);
  expect((await page.evaluate(() => window.causality.stats())).core).toBe(core);
});

test("the server's own script works from another origin, under another name, to another path", async ({
  page,
  site,
}) => {
  const name = unique();
  site.page("/renamed", {
    script: `${host}/t/lib.js`,
    data: { host: undefined, core: undefined, global: "shopStats", "ingest-path": "/c" },
  });
  const posted = page.waitForRequest((request) => request.method() === "POST");
  await page.goto(site.url("/renamed"));
  const delivered = await page.evaluate(async (name) => {
    const client = (window as unknown as { shopStats: Window["causality"] }).shopStats;
    client.track(name);
    return client.flush();
  }, name);
  expect(delivered).toBe(true);
  expect((await posted).url().startsWith(`${host}/c/batch?key=`)).toBe(true);
  await expectEvents(name, 1);
  expect(await page.evaluate(() => "causality" in window)).toBe(false);
});

test("the npm package works as a module, under the same strict policy", async ({ page, site, core }) => {
  const name = unique();
  const options = {
    key,
    host,
    core,
    worker: "/sdk/causality-worker.js",
    wasm: "/sdk/core.wasm",
    pageViews: false,
  };
  site.serve(
    "/module.js",
    "text/javascript",
    `import { init } from "/sdk/index.js"; window.causality = init(${JSON.stringify(options)}); causality.track("${name}")`,
  );
  site.serve("/module", "text/html", `<!doctype html><script type="module" src="/module.js"></script>`, {
    "Content-Security-Policy": strictPolicy,
  });
  await page.goto(site.url("/module"));
  await expectDelivered(page);
  await expectEvents(name, 1);
  expect((await page.evaluate(() => window.causality.stats())).core).toBe(core);
});

test("calls made before the script is there are made once it is", async ({ page, site }) => {
  const [early, later] = [unique(), unique()];
  site.page("/early", {
    before: `window.causality = window.causality || [];
      causality.push(["identify", "early-user"]); causality.push(["track", "${early}", {n: 1}])`,
  });
  await page.goto(site.url("/early"));
  await page.evaluate((later) => window.causality.push(["track", later]), later);
  const row = await only(page, early, "user_id, properties");
  expect(row.user_id).toBe("early-user");
  await expectEvents(later, 1);
});

test("counts a view for each address of the history, once", async ({ page, site }) => {
  const path = `/views${unique("")}`;
  site.page(path, { data: { auto: "page_view" } });
  await page.goto(site.url(path));
  await page.evaluate(async (path) => {
    const settle = () => new Promise((resolve) => setTimeout(resolve));
    history.pushState({}, "", `${path}?two`);
    await settle();
    history.replaceState({}, "", `${path}?two`); // the same address
    await settle();
    history.replaceState({}, "", `${path}?three`);
    await settle();
    location.hash = "part"; // no other page
    await settle();
  }, path);
  const popped = page.evaluate(
    () => new Promise((resolve) => addEventListener("popstate", resolve, { once: true })),
  );
  await page.goBack();
  await popped;
  await page.goBack();
  await expect(async () => {
    await expectDelivered(page);
    const seen = await query(
      `SELECT page_url FROM events WHERE event = 'page_view' AND page_path = '${path}' ORDER BY event_id`,
    );
    expect(seen.map((row) => new URL(String(row.page_url)).search)).toEqual(["", "?two", "?three", ""]);
  }).toPass({ timeout: 30_000 });
});

test("another hash is another page where the site says so", async ({ page, site }) => {
  const path = `/hash${unique("")}`;
  site.page(path, { data: { auto: "page_view", hash: "" } });
  await page.goto(site.url(path));
  await page.evaluate(() => {
    location.hash = "#/cart";
  });
  await expect(async () => {
    await expectDelivered(page);
    const seen = await query(`SELECT page_url FROM events WHERE page_path = '${path}' ORDER BY event_id`);
    expect(seen.map((row) => new URL(String(row.page_url)).hash)).toEqual(["", "#/cart"]);
  }).toPass({ timeout: 30_000 });
});

test("the campaign and the site that brought a visitor stay with the session", async ({ page, site }) => {
  const [landing, later] = [unique(), unique()];
  site.page("/landing");
  site.page("/other");
  site.serve(
    "/partner",
    "text/html",
    `<!doctype html><a href="${site.url("/landing?utm_source=news&utm_medium=mail&utm_campaign=may&utm_term=t&utm_content=c", "shop.localhost")}">go</a>`,
  );
  await page.goto(site.url("/partner", "partner.localhost"));
  await page.click("a");
  await page.waitForURL(/landing/);
  await track(page, landing);
  await expectDelivered(page);
  await page.goto(site.url("/other", "shop.localhost"), { referer: site.url("/landing", "shop.localhost") });
  await track(page, later);
  const columns = "utm_source, utm_medium, utm_campaign, utm_term, utm_content, referrer_host, session_id";
  const first = await only(page, landing, columns);
  expect(first).toMatchObject({
    utm_source: "news",
    utm_medium: "mail",
    utm_campaign: "may",
    utm_term: "t",
    utm_content: "c",
    referrer_host: "partner.localhost",
  });
  expect(await only(page, later, columns)).toEqual(first);
});

test("a visitor keeps their id from page to page, is one with the user, and somebody new after a reset", async ({
  page,
  site,
}) => {
  const [anonymous, known, fresh] = [unique(), unique(), unique()];
  site.page("/a");
  site.page("/b");
  await page.goto(site.url("/a"));
  await track(page, anonymous);
  await expectDelivered(page);
  await page.goto(site.url("/b"));
  await page.evaluate((known) => {
    window.causality.identify("u-1", { set: { plan: "pro" } });
    window.causality.group("company", "acme", { set: { seats: 3 } });
    window.causality.track(known);
  }, known);
  await expectDelivered(page);
  await page.evaluate((fresh) => {
    window.causality.reset();
    window.causality.track(fresh);
  }, fresh);
  const columns = "anonymous_id, session_id, user_id, groups";
  const first = await only(page, anonymous, columns);
  const second = await only(page, known, columns);
  const third = await only(page, fresh, columns);
  expect(second).toMatchObject({
    anonymous_id: first.anonymous_id,
    session_id: first.session_id,
    user_id: "u-1",
  });
  expect(JSON.stringify(second.groups)).toContain("acme");
  expect(third.anonymous_id).not.toBe(first.anonymous_id);
  expect(third.session_id).not.toBe(first.session_id);
  expect(third.user_id ?? "").toBe("");
  expect(JSON.stringify(third.groups ?? "")).not.toContain("acme");
});

test("subdomains share the visitor by a cookie where the site names their domain", async ({
  page,
  site,
  context,
}) => {
  const [first, second] = [unique(), unique()];
  site.page("/", { data: { "cookie-domain": "shop.localhost" } });
  await page.goto(site.url("/", "www.shop.localhost"));
  await track(page, first);
  const here = await only(page, first, "anonymous_id, session_id");
  await expect
    .poll(async () => (await context.cookies()).map(({ domain }) => domain))
    .toEqual([".shop.localhost"]);
  await page.goto(site.url("/", "app.shop.localhost"));
  await track(page, second);
  expect(await only(page, second, "anonymous_id, session_id")).toEqual(here);
});

test("without cookies nothing is left on the device", async ({ page, site, context }) => {
  const name = unique();
  site.page("/cookieless", { data: { cookieless: "" } });
  await page.goto(site.url("/cookieless"));
  await track(page, name);
  await expectDelivered(page);
  await expectEvents(name, 1);
  expect(await context.cookies()).toEqual([]);
  const left = await page.evaluate(async () => [
    (await indexedDB.databases()).length,
    localStorage.length,
    sessionStorage.length,
    (await caches.keys()).length,
  ]);
  expect(left).toEqual([0, 0, 0, 0]);
  expect((await page.evaluate(() => window.causality.stats())).storage).toBe("memory");
});

for (const [signal, script] of [
  ["Do Not Track", `Object.defineProperty(Navigator.prototype, "doNotTrack", { value: "1" })`],
  [
    "Global Privacy Control",
    `Object.defineProperty(Navigator.prototype, "globalPrivacyControl", { value: true })`,
  ],
] as const) {
  test(`${signal} is heeded where the site asks for it, and only there`, async ({ page, site, context }) => {
    const [heeded, ignored] = [unique(), unique()];
    site.page("/heeds", { before: script, data: { "respect-dnt": "" } });
    site.page("/ignores", { before: script });
    const requests: string[] = [];
    context.on("request", (request) => {
      if (request.method() === "POST") requests.push(request.url());
    });
    await page.goto(site.url("/heeds"));
    await track(page, heeded);
    await page.evaluate(() => window.causality.flush());
    const stats = await page.evaluate(() => window.causality.stats());
    expect(stats).toMatchObject({ optedOut: true, queued: 0, dropped: { opted_out: 1 } });
    expect(await page.evaluate(async () => (await indexedDB.databases()).length)).toBe(0);
    expect(requests).toEqual([]);
    await page.goto(site.url("/ignores"));
    await track(page, ignored);
    await expectDelivered(page);
    await expectEvents(ignored, 1);
    await expectEvents(heeded, 0);
  });
}

test("opting out in one tab silences the others, clears the queue, and lasts", async ({
  page,
  site,
  context,
}) => {
  const name = unique();
  site.page("/out");
  await context.route(`${host}/**`, (route) => route.abort()); // what is queued stays queued
  await page.goto(site.url("/out"));
  const other = await context.newPage();
  await other.goto(site.url("/out"));
  await track(page, name, { from: "before" });
  await other.evaluate(() => window.causality.flush());
  await other.evaluate(() => window.causality.optOut());
  const optedOut = (tab: Page) => tab.evaluate(async () => (await window.causality.stats()).optedOut);
  await expect.poll(() => optedOut(page)).toBe(true);
  await track(page, name, { from: "silenced tab" });
  await track(other, name, { from: "opted out tab" });
  const queued = async () =>
    (
      await Promise.all(
        [page, other].map((tab) => tab.evaluate(async () => (await window.causality.stats()).queued)),
      )
    ).reduce((a, b) => a + b);
  await expect.poll(queued).toBe(0);
  await context.unroute(`${host}/**`);
  await other.close();
  await page.reload();
  await expect.poll(() => optedOut(page)).toBe(true);
  await track(page, name, { from: "later visit" });
  await page.evaluate(() => window.causality.optIn());
  await track(page, name, { from: "opted in" });
  const row = await only(page, name, "properties");
  expect(JSON.parse(String(row.properties))).toEqual({ from: "opted in" });
  await page.reload();
  await expect.poll(() => optedOut(page)).toBe(false);
});

test("a wrong call is counted and told, and never throws into the page", async ({ page, site }) => {
  const warnings: string[] = [];
  page.on("console", (message) => {
    if (message.type() === "warning") warnings.push(message.text());
  });
  page.on("pageerror", (error) => warnings.push(`thrown: ${error}`));
  site.page("/wrong", { data: { debug: "" } });
  await page.goto(site.url("/wrong"));
  await page.evaluate(() => {
    const circle: Record<string, unknown> = {};
    circle.self = circle;
    const { causality } = window;
    causality.track("");
    causality.track("circle", circle);
    causality.track("nan", { n: Number.NaN });
    causality.track("x".repeat(201));
    // biome-ignore lint/suspicious/noExplicitAny: what a page without types may do
    const untyped = causality as any;
    untyped.track();
    untyped.identify(undefined);
    untyped.group("company");
    untyped.track("getter", {
      get broken() {
        throw new Error("broken");
      },
    });
  });
  await expect
    .poll(() => page.evaluate(async () => (await window.causality.stats()).dropped.invalid ?? 0))
    .toBe(7);
  expect(warnings.filter((text) => text.startsWith("thrown"))).toEqual([]);
  expect(warnings.length).toBeGreaterThanOrEqual(7);
});

test("refuses and counts what comes faster than it can be kept", async ({ page, site }) => {
  const name = unique();
  site.page("/flood");
  await page.goto(site.url("/flood"));
  await expectDelivered(page);
  const refused = await page.evaluate(async (name) => {
    const text = "x".repeat(20_000);
    for (let i = 0; i < 200; i++) window.causality.track(name, { text });
    return (await window.causality.stats()).dropped.queue_full ?? 0;
  }, name);
  expect(refused).toBeGreaterThan(100);
  await expectDelivered(page);
  await expectEvents(name, 200 - refused);
});

test("without a core events wait in the page, and leave with it", async ({ page, site, context }) => {
  const name = unique();
  await context.route(/causality-(core|worker)\.js/, (route) => route.abort());
  site.page("/alone");
  await page.goto(site.url("/alone"));
  await page.evaluate((name) => {
    window.causality.identify(`user of ${name}`, { set: { plan: "pro" }, add: { visits: 1 } });
    window.causality.group("company", "acme");
    window.causality.track(name, { total: 1.5, at: new Date(0) });
  }, name);
  const stats = await page.evaluate(() => window.causality.stats());
  expect(stats).toMatchObject({ core: "none", storage: "memory", queued: 3 });
  await page.goto("about:blank");
  await expectEvents(name, 1);
  const [row] = await rows(name, "user_id, properties, page_path, library, session_id");
  expect(row).toMatchObject({ user_id: `user of ${name}`, page_path: "/alone", library: "causality-web" });
  const [user] = await query(`SELECT traits FROM users WHERE user_id = 'user of ${name}'`);
  expect(JSON.parse(String(user?.traits))).toEqual({ plan: "pro", visits: 1 });
  expect(JSON.parse(String(row?.properties))).toEqual({ total: 1.5, at: "1970-01-01T00:00:00.000Z" });
});

test("the TypeScript core takes over from a worker that does not start", async ({ page, site, context }) => {
  const name = unique();
  await context.route(/core\.wasm/, (route) => route.abort());
  site.page("/fallback", { data: { core: "wasm" } });
  await page.goto(site.url("/fallback"));
  await track(page, name);
  await expectDelivered(page);
  await expectEvents(name, 1);
  expect((await page.evaluate(() => window.causality.stats())).core).toBe("ts");
});

test("a worker of another origin is none: the TypeScript core is used", async ({ page, site }) => {
  const name = unique();
  site.page("/foreign", { script: `${host}/sdk/causality.js`, data: { core: "wasm", host: undefined } });
  await page.goto(site.url("/foreign"));
  await track(page, name);
  await expectDelivered(page);
  await expectEvents(name, 1);
  expect((await page.evaluate(() => window.causality.stats())).core).toBe("ts");
});
