// Signs in by the link that the server printed, and keeps the session.
import { expect, test } from "@playwright/test";
import { session } from "../playwright.config";

test("signs in by link", async ({ page }) => {
  const link = process.env.CAUSALITY_SIGN_IN;
  expect(link, "CAUSALITY_SIGN_IN must hold a fresh sign-in link").toBeTruthy();
  await page.goto(link ?? "");
  await expect(page.getByRole("heading", { name: "Home" })).toBeVisible();
  // The token is gone from the address as soon as it is read.
  expect(page.url()).not.toContain("token");
  await page.context().storageState({ path: session });
});
