import { expect, test } from "@playwright/test";
import { expectAccessible, expectNoSidewaysScroll, watchPolicy } from "./page-checks";

test("Health says that accepted events can be queried, and the sum is right", async ({ page }) => {
  const policy = watchPolicy(page);
  await page.goto("/app/default/health");
  await expect(page.getByRole("heading", { name: /accepted events can be queried$/ })).toBeVisible();
  // One look: the page refreshes itself.
  const terms = await page.evaluate(() =>
    [...document.querySelectorAll("dl dd")]
      .slice(0, 5)
      .map((dd) => Number(dd.textContent?.replaceAll(",", ""))),
  );
  const [accepted = 0, waiting = 0, stored = 0, duplicates = 0, queryable = 0] = terms;
  expect(accepted).toBeGreaterThan(400_000);
  expect(accepted - waiting).toBe(stored);
  expect(stored - duplicates).toBe(queryable);
  for (const name of ["PostgreSQL", "Stream"])
    await expect(page.getByRole("heading", { name })).toBeVisible();
  await expect(page.getByRole("region", { name: "Apps" }).getByText("demo")).toBeVisible();
  await expectAccessible(page);
  policy();
});

test("Health refreshes itself and fits a phone", async ({ page }) => {
  await page.goto("/app/default/health");
  const checked = page.getByText(/^Checked at /);
  const before = await checked.textContent();
  await expect(checked).not.toHaveText(before ?? "", { timeout: 15_000 });
  await expectNoSidewaysScroll(page);
  await expectAccessible(page);
});
