import { createServer } from "node:http";
import type { AddressInfo } from "node:net";
import { expect, type Page, test } from "@playwright/test";
import { send, unique, writeKey } from "./demo-app";
import { expectAccessible, expectNoSidewaysScroll, watchPolicy } from "./page-checks";

const settings = "/app/default/settings";

async function createApp(page: Page): Promise<string> {
  const name = unique("e2e");
  await page.goto(`${settings}/apps`);
  await page.getByRole("button", { name: "Create app" }).click();
  await page.getByRole("textbox", { name: "Name" }).last().fill(name);
  await expectAccessible(page);
  await page.keyboard.press("Enter");
  await expect(page.getByRole("heading", { name })).toBeAttached();
  return name;
}

test("an app is created, changed, and the change undone", async ({ page }) => {
  const policy = watchPolicy(page);
  const name = await createApp(page);
  await page.getByRole("button", { name: `Time zone of ${name}` }).click();
  await page.getByPlaceholder("City or region").fill("lisbon");
  await page.keyboard.press("Enter");
  await expect(page.getByRole("button", { name: `Time zone of ${name}: Europe/Lisbon` })).toBeVisible();
  await page.getByRole("button", { name: "Undo" }).click();
  await expect(page.getByRole("button", { name: `Time zone of ${name}: Europe/Lisbon` })).toHaveCount(0);
  await page.getByRole("button", { name: "Create app" }).click();
  await page.getByRole("textbox", { name: "Name" }).last().fill(name);
  await page.keyboard.press("Enter");
  await expect(page.getByText(/already has an app/)).toBeVisible();
  policy();
});

/** Opens the install page of a new app and returns its write key. */
async function install(page: Page): Promise<string> {
  const name = await createApp(page);
  await page.goto(`${settings}/install?app=${name}`);
  const missing = page.getByRole("button", { name: "Create a write key" });
  await expect(missing.or(page.getByText(/^Listening for wk_/))).toBeVisible();
  if (await missing.isVisible()) await missing.click();
  await expect(page.getByText(/^Listening for wk_…/)).toBeVisible();
  return writeKey(page, name);
}

const card = (page: Page) => page.getByRole("status").filter({ hasText: /Listening|It works/ });

test("every platform's snippet holds the key and the address", async ({ page }) => {
  const policy = watchPolicy(page);
  const key = await install(page);
  await expect(page.getByRole("timer")).toHaveText(/0:0[1-9]/);
  const { origin } = new URL(page.url());
  const { script } = await (await page.request.get("/sdk/")).json();
  const blocks = page.getByRole("tabpanel").locator("pre");
  for (const [tab, way, text] of [
    ["Web", "Script tag", `src="${origin}${script}"`],
    ["Web", "Script tag", `data-key="${key}"`],
    ["Web", "npm", `key: "${key}"`],
    ["Web", "React", `host: "${origin}"`],
    ["Android", "", `Causality.start(this, "${key}")`],
    ["iOS", "", `Causality(writeKey: "${key}")`],
    ["Go", "", `WriteKey: "${key}"`],
    ["HTTP", "curl", `Authorization: Bearer ${key}`],
    ["HTTP", "HTTP, JSON", `POST ${origin}/v1/events`],
  ] as const) {
    await page.getByRole("tab", { name: tab }).click();
    if (way) await page.getByRole("radio", { name: way, exact: true }).click();
    await expect(blocks.filter({ hasText: text })).toHaveCount(1);
    await expect(page.getByRole("tabpanel").getByRole("button", { name: /^Copy / })).toHaveCount(
      await blocks.count(),
    );
  }
  await page.getByRole("tab", { name: "Web" }).click();
  await expectAccessible(page);
  policy();
});

test("a platform turns green at its own first event, and is remembered", async ({ page }) => {
  const policy = watchPolicy(page);
  const key = await install(page);
  const marked = (name: string) => page.getByRole("tab", { name: `${name} has sent events` });
  await page.getByRole("button", { name: "Send test event" }).click();
  await expect(page.getByText("The server and the key work: your test event arrived.")).toBeVisible();
  await expect(card(page)).toContainText("Listening");

  // What another platform sends is told, and does not count for this one.
  const library = (name: string) => ({ context: { library: { name, version: "0.1.0" } } });
  await send(page, key, [{ name: "order_paid", ...library("causality-go") }]);
  await expect(page.getByText("order_paid arrived from the Go SDK.")).toBeVisible();
  await expect(card(page)).toContainText("Listening");
  await expect(marked("Go")).toBeVisible();
  await expect(marked("Web")).toHaveCount(0);

  await send(page, key, [{ name: "signup", ...library("causality-web") }]);
  await expect(card(page)).toContainText("It works: signup arrived from the browser SDK.");
  await expect(marked("Web")).toBeVisible();
  await expectAccessible(page);
  await page.getByRole("tab", { name: "Go" }).click();
  await expect(card(page)).toContainText("It works: order_paid arrived from the Go SDK.");
  await page.getByRole("tab", { name: "HTTP" }).click();
  await expect(card(page)).toContainText("It works: your test event arrived.");
  await page.getByRole("tab", { name: "iOS" }).click();
  await expect(card(page)).toContainText("Listening");
  await expect(card(page)).toContainText("from the iOS SDK");

  await expect(async () => {
    await page.reload();
    await expect(marked("Web")).toBeVisible({ timeout: 2000 });
    await expect(marked("Go")).toBeVisible({ timeout: 2000 });
  }).toPass();
  await expect(marked("iOS")).toHaveCount(0);
  await expect(marked("HTTP")).toHaveCount(0);
  policy();
});

test("the script tag, on a page of another origin, turns it green", async ({ page, browser }) => {
  const key = await install(page);
  const [tag, call] = await page.getByRole("tabpanel").locator("pre").allTextContents();
  expect(tag).toContain(key);
  // A shop of its own, that runs scripts of this server and none of its own text.
  const { origin } = new URL(page.url());
  const shop = createServer((_, response) => {
    response.setHeader("Content-Type", "text/html");
    response.setHeader(
      "Content-Security-Policy",
      `default-src 'none'; script-src ${origin}; connect-src ${origin}`,
    );
    response.end(`<!doctype html><title>Shop</title>${tag}`);
  });
  await new Promise<void>((listening) => shop.listen(0, "127.0.0.1", listening));
  const visitor = await browser.newContext();
  try {
    const visit = await visitor.newPage();
    await visit.goto(`http://127.0.0.1:${(shop.address() as AddressInfo).port}/welcome`);
    await expect(card(page)).toContainText("It works: page_view arrived from the browser SDK.");
    await page.getByRole("link", { name: "Watch Live" }).click();
    await expect(page.getByText("Connected")).toBeVisible();
    await visit.evaluate(call ?? "");
    await expect(page.getByRole("button", { name: /signup/ })).toBeVisible();
    await expect(page.getByTitle(/causality-web/)).toBeVisible();
  } finally {
    await visitor.close();
    shop.closeAllConnections();
    await new Promise((closed) => shop.close(closed));
  }
});

test("silence is explained after a minute", async ({ page }) => {
  await page.clock.install();
  await install(page);
  await page.getByRole("tab", { name: "Android" }).click();
  await page.clock.runFor(61_000);
  await expect(page.getByText("Nothing has ever arrived with this key.")).toBeVisible();
  await expect(page.getByText(/an emulator finds this machine at 10\.0\.2\.2/)).toBeVisible();
  await expectAccessible(page);
});

test("a secret key is shown once, rotated and revoked", async ({ page }) => {
  await page.goto(`${settings}/keys`);
  const name = unique("key");
  await page.getByRole("button", { name: "Create key" }).click();
  await page.getByRole("radio", { name: "Secret" }).click();
  await page.getByRole("textbox", { name: "Name" }).fill(name);
  await expectAccessible(page);
  await page.keyboard.press("Enter");
  const made = page.getByRole("dialog", { name: "Copy the secret key now" });
  const secret = await made.locator("pre").textContent();
  expect(secret).toMatch(/^sk_\w{20,}$/);
  await made.getByRole("button", { name: "Done" }).click();
  await expect(page.getByText(secret ?? "")).toHaveCount(0);
  await expectAccessible(page);

  await page.getByRole("button", { name: `Actions for ${name}` }).click();
  await page.getByRole("menuitem", { name: "Rotate" }).click();
  await page.getByRole("button", { name: "Rotate", exact: true }).click();
  await expect(page.getByText(/stays valid until/)).toBeVisible();
  await page.getByRole("button", { name: "Done" }).click();

  await page
    .getByRole("button", { name: `Actions for ${name}` })
    .first()
    .click();
  await page.getByRole("menuitem", { name: "Revoke" }).click();
  const ask = page.getByRole("dialog", { name: `Revoke ${name}?` });
  await expect(ask).toContainText("It has never been used.");
  await ask.getByRole("button", { name: `Revoke ${name}` }).click();
  await expect(page.getByText(`${name} revoked`)).toBeVisible();
});

test("a revoked write key is refused", async ({ page }) => {
  await page.goto(`${settings}/keys`);
  const name = unique("key");
  await page.getByRole("button", { name: "Create key" }).click();
  await page.getByRole("textbox", { name: "Name" }).fill(name);
  await page.keyboard.press("Enter");
  const key = (await page.getByRole("dialog", { name: "The write key" }).locator("pre").textContent()) ?? "";
  await page.getByRole("button", { name: "Done" }).click();
  expect((await send(page, key, [{ name: "signup", userId: "u1" }])).accepted).toBe(1);
  await page.getByRole("button", { name: `Actions for ${name}` }).click();
  await page.getByRole("menuitem", { name: "Revoke" }).click();
  await page.getByRole("button", { name: `Revoke ${name}` }).click();
  await expect(page.getByText(`${name} revoked`)).toBeVisible();
  await expect
    .poll(async () =>
      (
        await page.request.post("/v1/events", {
          headers: { Authorization: `Bearer ${key}` },
          data: [{ name: "signup", userId: "u1" }],
        })
      ).status(),
    )
    .toBe(403);
});

test("settings are found by what they are about", async ({ page }) => {
  await page.goto(`${settings}/apps`);
  await page.getByRole("searchbox", { name: "Search settings" }).fill("privacy");
  await expect(page.getByRole("link", { name: /IP addresses/ })).toBeVisible();
  await page.getByRole("searchbox", { name: "Search settings" }).fill("invite");
  await page.getByRole("link", { name: /Sign-in link/ }).click();
  await expect(page).toHaveURL(/settings\/members/);
  await page
    .getByRole("button", { name: /^Create a sign-in link/ })
    .first()
    .click();
  await expect(page.getByRole("dialog").locator("pre")).toContainText("/app/sign-in#token=");
  await expectAccessible(page);
});

test("Settings fit a phone", async ({ page }) => {
  for (const tab of ["apps", "keys", "install", "members"]) {
    await page.goto(`${settings}/${tab}`);
    await expect(page.getByRole("navigation", { name: "Settings" })).toBeVisible();
    await expectNoSidewaysScroll(page);
  }
  await expectAccessible(page);
});
