import { expect, test } from "@playwright/test";
import { expectAccessible, expectNoSidewaysScroll } from "./page-checks";

// Nobody is signed in here.
test.use({ storageState: { cookies: [], origins: [] } });

test("without a session a page leads to sign-in, which says how to get a link", async ({ page }) => {
  await page.goto("/app/");
  await expect(page.getByRole("heading", { name: "Sign in with a link" })).toBeVisible();
  await expect(page.getByText("causality users link", { exact: true })).toBeVisible();
  await expectAccessible(page);
  await expectNoSidewaysScroll(page);
});

test("a used or unknown link says so and how to get a new one", async ({ page }) => {
  await page.goto("/app/sign-in#token=not-a-token");
  await expect(page.getByRole("heading", { name: "This link no longer works" })).toBeVisible();
  await expect(page.getByText("causality users link", { exact: true })).toBeVisible();
  expect(page.url()).not.toContain("token");
  await expectAccessible(page);
});

test("something pasted that is no link is refused at its field", async ({ page }) => {
  await page.goto("/app/sign-in");
  await page.getByLabel("Have one? Paste it").fill("hello");
  await page.getByRole("button", { name: "Sign in" }).click();
  await expect(page.getByText("This is no sign-in link")).toBeVisible();
});
