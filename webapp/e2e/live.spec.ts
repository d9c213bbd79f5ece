import { expect, type Page, test } from "@playwright/test";
import { demo, send, unique, writeKey } from "./demo-app";
import { expectAccessible, expectNoSidewaysScroll, watchPolicy } from "./page-checks";

async function open(page: Page) {
  await page.goto(`${demo}/live`);
  await expect(page.getByText("Connected", { exact: true })).toBeVisible();
}

const list = (page: Page) => page.getByRole("region", { name: "Events, newest first" });

test("an event appears at once and opens to its JSON", async ({ page }) => {
  const policy = watchPolicy(page);
  await open(page);
  const user = unique("live");
  await send(page, await writeKey(page), [
    { name: "coupon_tried", userId: user, properties: { code: "SPRING" } },
  ]);
  await page.getByRole("searchbox", { name: "User" }).fill(user);
  const row = list(page).getByRole("button", { name: new RegExp(user) });
  await expect(row).toContainText("coupon_tried");
  await expect(row).toContainText("SPRING");
  await row.click();
  await expect(list(page).locator("pre")).toContainText('"code": "SPRING"');
  await expectAccessible(page);
  policy();
});

test("the list holds still under the pointer and resumes by one click", async ({ page }) => {
  await open(page);
  const key = await writeKey(page);
  const [first, second] = [unique("before"), unique("while")];
  await page.getByRole("searchbox", { name: "Text in the event" }).fill("hold_test");
  await send(page, key, [{ name: "hold_test", userId: first }]);
  await expect(list(page).getByText(first)).toBeVisible();
  await list(page).hover();
  await send(page, key, [{ name: "hold_test", userId: second }]);
  await expect(page.getByRole("button", { name: "1 new" })).toBeVisible();
  await expect(list(page).getByText(second)).toHaveCount(0);
  await page.getByRole("button", { name: "1 new" }).click();
  await expect(list(page).getByText(second)).toBeVisible();
});

test("a rejected event says why, with the field marked", async ({ page }) => {
  await open(page);
  const user = unique("bad");
  await page.getByRole("searchbox", { name: "User" }).fill(user);
  const { rejected } = await send(page, await writeKey(page), [
    { name: "signup", userId: user, timestamp: "yesterday" },
  ]);
  expect(rejected).toHaveLength(1);
  const row = list(page).getByRole("button", { name: /rejected/ });
  await row.click();
  await expect(list(page).locator("mark")).toContainText("yesterday");
  await expectAccessible(page);
});

test("a lost connection is said, and it connects again by itself", async ({ page, context }) => {
  await open(page);
  await context.setOffline(true);
  // The open response outlives the switch in some browsers: loading anew meets it.
  await page.getByRole("button", { name: "All events" }).click();
  await page.getByRole("option").first().click();
  await page.keyboard.press("Escape");
  await expect(page.getByText(/^Reconnecting in/)).toBeVisible();
  await context.setOffline(false);
  await expect(page.getByText("Connected", { exact: true })).toBeVisible({ timeout: 40_000 });
});

test("Live fits a phone", async ({ page }) => {
  await open(page);
  await expect(list(page).getByRole("button").first()).toBeVisible({ timeout: 30_000 });
  await expectNoSidewaysScroll(page);
  await page.getByRole("button", { name: "Pause" }).click();
  await expectAccessible(page);
});
