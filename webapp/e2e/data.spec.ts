import { expect, test } from "@playwright/test";
import { demo, send, unique, writeKey } from "./demo-app";
import { expectAccessible, expectNoSidewaysScroll, watchPolicy } from "./page-checks";

test("events are listed by volume and open with their properties", async ({ page }) => {
  const policy = watchPolicy(page);
  await page.goto(`${demo}/data`);
  const table = page.getByRole("region", { name: "Events" });
  await expect(table.getByRole("row").nth(5)).toBeVisible();
  await expect(table.getByRole("img", { name: /events in the last 30 days/ }).first()).toBeVisible();
  await expectAccessible(page);
  await table.getByRole("button", { name: "product_view" }).click();
  await expect(page).toHaveURL(/event=product_view/);
  const sheet = page.getByRole("dialog", { name: /product_view/ });
  await expect(sheet.getByText("price", { exact: true })).toBeVisible();
  await expectAccessible(page);
  await sheet.getByRole("link", { name: "Open in Trends" }).click();
  await expect(page).toHaveURL(/insights\/new\/trend/);
  policy();
});

test("properties lead to a breakdown", async ({ page }) => {
  await page.goto(`${demo}/data?tab=properties`);
  await page.getByRole("searchbox", { name: "Search properties" }).fill("category");
  const table = page.getByRole("region", { name: "Properties" });
  await expect(table.getByText("category", { exact: true })).toBeVisible();
  await table.getByRole("button", { name: "Promote category" }).click();
  await expect(table.getByText("promoted")).toBeVisible();
  await expectAccessible(page);
  await table.getByRole("button", { name: "Demote category" }).click();
  await expect(table.getByText("promoted")).toBeHidden();
  await page.getByRole("link", { name: "Break down a trend by category" }).click();
  await expect(page).toHaveURL(/insights\/new\/trend/);
});

test("rejected events are grouped with a remedy, and the bad field is marked", async ({ page }) => {
  const key = await writeKey(page);
  const user = unique("rejected");
  const { rejected } = await send(page, key, [
    { name: "signup", userId: user, timestamp: "the day before" },
    { name: "", userId: user },
  ]);
  expect(rejected.map((r) => r.code)).toEqual(["invalid_timestamp", "missing_name"]);
  const reason = page.getByRole("listitem").filter({ hasText: "invalid_timestamp" }).first();
  // Rejections land with the next batch of the lake.
  await expect(async () => {
    await page.goto(`${demo}/data?tab=rejected`);
    await expect(page.getByRole("listitem").filter({ hasText: "signup" }).first()).toBeVisible({
      timeout: 2000,
    });
  }).toPass({ timeout: 30_000 });
  await reason.getByRole("button", { name: "Show only these" }).click();
  await expect(page.getByRole("heading", { name: "Newest with invalid_timestamp" })).toBeVisible();
  await page
    .getByRole("button", { name: /signup/ })
    .first()
    .click();
  await expect(page.locator("mark").first()).toContainText("the day before");
  await expectAccessible(page);
});

test("Data fits a phone", async ({ page }) => {
  await page.goto(`${demo}/data`);
  await expect(page.getByRole("region", { name: "Events" })).toBeVisible();
  await expectNoSidewaysScroll(page);
  await page.getByRole("tab", { name: /Properties/ }).click();
  await expect(page.getByRole("region", { name: "Properties" })).toBeVisible();
  await expectNoSidewaysScroll(page);
  await expectAccessible(page);
});
