import { expect, test } from "@playwright/test";
import { expectAccessible, expectNoSidewaysScroll, watchPolicy } from "./page-checks";

test("Home says what changed, with figures and links into Trends", async ({ page }) => {
  const policy = watchPolicy(page);
  await page.goto("/app/");
  await expect(page.getByRole("heading", { name: "What changed" })).toBeVisible();
  await expect(page.getByText("the week before").first()).toBeVisible();
  await expect(page.getByRole("heading", { name: "Key figures" })).toBeVisible();
  await expect(page.getByText(/^Data to /).first()).toBeVisible();
  await expectAccessible(page);
  const stories = page
    .locator("section")
    .filter({ has: page.getByRole("heading", { name: "What changed" }) })
    .getByRole("link");
  await expect(stories.nth(1)).toBeVisible();
  const links = await stories.evaluateAll((all) => all.map((a) => a.getAttribute("href")));
  expect(new Set(links).size).toBe(links.length);
  await page.getByRole("link", { name: /^Active users (rose|fell|held steady)/ }).click();
  await expect(page).toHaveURL(/insights\/new\/trend\?.*vs=previous/);
  await expect(page.getByText(/^Data to .* rows, /)).toBeVisible();
  policy();
});

test("Home fits a phone, with the bar at the bottom", async ({ page }) => {
  await page.goto("/app/");
  await expectNoSidewaysScroll(page);
  await expect(page.getByRole("button", { name: "More" })).toBeVisible();
  await expectAccessible(page);
});

test("the palette reaches pages and events by keyboard alone", async ({ page }) => {
  await page.goto("/app/");
  await expect(page.getByRole("heading", { name: "Home" })).toBeVisible();
  await page.keyboard.press("Control+k");
  await page.getByPlaceholder("Go to a page, an app or an event").fill("trends");
  await page.keyboard.press("Enter");
  await expect(page).toHaveURL(/insights\/new\/trend/);
  await expect(page.getByRole("heading", { name: "Trends" })).toBeVisible();
  await page.keyboard.press("g");
  await page.keyboard.press("h");
  await expect(page).toHaveURL(/\/home$/);
});
