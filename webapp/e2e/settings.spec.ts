import { expect, type Page, test } from "@playwright/test";
import { send, unique } from "./demo-app";
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

test("the first event of a new app turns the listener green", async ({ page }) => {
  const policy = watchPolicy(page);
  const name = await createApp(page);
  await page.goto(`${settings}/install?app=${name}`);
  const missing = page.getByRole("button", { name: "Create a write key" });
  await expect(missing.or(page.getByText(/^Listening for wk_/))).toBeVisible();
  if (await missing.isVisible()) await missing.click();
  await expect(page.getByText(/^Listening for wk_…/)).toBeVisible();
  await expect(page.getByRole("timer")).toHaveText(/0:0[1-9]/);
  const go = await page.locator("pre").nth(1).textContent();
  expect(go).toContain(`Host:     "${new URL(page.url()).origin}"`);
  expect(go).toMatch(/WriteKey: "wk_\w+"/);
  await expectAccessible(page);
  await page.getByRole("radio", { name: "curl" }).click();
  await expect(page.locator("pre").first()).toContainText("Authorization: Bearer wk_");
  await page.getByRole("button", { name: "Send test event" }).click();
  await expect(page.getByText("your test event arrived.")).toBeVisible();
  await expectAccessible(page);
  policy();
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
