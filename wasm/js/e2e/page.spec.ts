// What a page adds: views, visits, visitors, and the wish to be left alone.
import { expect, expectDelivered, expectEvents, query, strictPolicy, test, track, unique } from "./site";

test("an event arrives with its properties, its page and its surroundings", async ({ page, site, core }) => {
  const name = unique();
  site.page("/shoes", { title: "Red shoes" });
  await page.goto(site.url("/shoes?size=42"));
  await track(page, name, { total: 12.5, plan: "pro", nested: { list: [1, null, "ü"] } });
  await expectDelivered(page);
  await expectEvents(name, 1);
  const [row] = await query(
    `SELECT properties, page_path, page_url, platform, library, anonymous_id, session_id FROM events WHERE event = '${name}'`,
  );
  expect(JSON.parse(String(row?.properties))).toEqual({
    total: 12.5,
    plan: "pro",
    nested: { list: [1, null, "ü"] },
  });
  expect(row).toMatchObject({
    page_path: "/shoes",
    page_url: site.url("/shoes?size=42"),
    platform: "web",
  });
  expect(row?.anonymous_id).toMatch(/^[0-9a-f-]{36}$/);
  expect(row?.session_id).toMatch(/^[0-9a-f-]{36}$/);
  const stats = await page.evaluate(() => window.causality.stats());
  expect(stats).toMatchObject({ core, storage: "indexeddb", leads: true, sent: 1, dropped: {} });
});

test("works under a policy that allows scripts of the site alone", async ({ page, site, core }) => {
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
