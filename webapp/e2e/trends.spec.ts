import { readFile } from "node:fs/promises";
import { expect, type Page, test } from "@playwright/test";
import { expectAccessible, expectNoSidewaysScroll, watchPolicy } from "./page-checks";

async function open(page: Page) {
  await page.goto("/app/");
  await expect(page.getByRole("heading", { name: "Home" })).toBeVisible();
  await page.getByRole("link", { name: "Trends", exact: true }).first().click();
  await expect(page.getByText(/^Data to .* rows, /)).toBeVisible();
}

const table = (page: Page) => page.getByRole("region", { name: "Numbers of the chart" });

test("opens on the top event, unique users, 30 days by day", async ({ page }) => {
  const policy = watchPolicy(page);
  await open(page);
  await expect(page.getByRole("button", { name: /Last 30 days/ })).toBeVisible();
  await expect(page.getByRole("radio", { name: "Day" })).toBeChecked();
  await expect(page.getByLabel("Measure of series A")).toHaveText("Unique users");
  await expect(table(page).getByRole("row")).toHaveCount(2);
  await expectAccessible(page);
  policy();
});

test("a breakdown by keyboard, kept by a pasted link, undone by Back", async ({ page, context }) => {
  await open(page);
  const before = page.url();
  await page.keyboard.press("b");
  await page.getByPlaceholder("Search properties").fill("platform");
  await page.keyboard.press("Enter");
  await expect(table(page).getByRole("row").nth(2)).toBeVisible();
  const names = await table(page).getByRole("row").allInnerTexts();

  const other = await context.newPage();
  await other.goto(page.url());
  await expect(table(other).getByRole("row").nth(2)).toBeVisible();
  expect((await table(other).getByRole("row").allInnerTexts()).length).toBe(names.length);

  await page.goBack();
  await expect(page).toHaveURL(before);
  await expect(table(page).getByRole("row")).toHaveCount(2);
});

test("a filter leads from property to value without a mouse", async ({ page }) => {
  await open(page);
  await page.keyboard.press("f");
  await page.getByPlaceholder("Search properties").fill("platform");
  await page.keyboard.press("Enter");
  await expect(page.getByPlaceholder("Search or type a value")).toBeFocused();
  await expect(page.getByRole("option").first()).toBeVisible();
  await page.keyboard.press("Enter");
  await page.keyboard.press("Escape");
  await expect(page).toHaveURL(/q=1\./);
  await expect(page.getByRole("button", { name: "Remove platform" })).toBeVisible();
});

test("nothing matched names the guilty filter", async ({ page }) => {
  await open(page);
  await page.keyboard.press("f");
  await page.getByPlaceholder("Search properties").fill("platform");
  await page.keyboard.press("Enter");
  await page.getByPlaceholder("Search or type a value").fill("no such platform");
  await expect(page.getByRole("option", { name: "Use “no such platform”" })).toBeVisible();
  await page.keyboard.press("Enter");
  await page.keyboard.press("Escape");
  await expect(
    page.getByText(/Nothing matched from .* Without platform = no such platform there would be/),
  ).toBeVisible();
  await page.getByRole("button", { name: "Remove filter" }).click();
  await expect(table(page).getByRole("row")).toHaveCount(2);
});

test("comparison, series, formula and chart types", async ({ page }) => {
  await open(page);
  await page.keyboard.press("x");
  await expect(page).toHaveURL(/vs=previous/);
  await expect(table(page).getByText("previous period")).toBeVisible();
  await page.getByRole("button", { name: "Add series" }).click();
  await page.getByRole("dialog", { name: "Add series" }).getByRole("option").nth(1).click();
  await page.getByRole("button", { name: "Add formula" }).click();
  await page.getByLabel("Formula F1", { exact: true }).fill("B/Q");
  await expect(page.getByText("There is no Q to use here; use A, B.")).toBeVisible();
  await page.getByLabel("Formula F1", { exact: true }).fill("B/A*100");
  await expect(table(page).getByText("B/A*100").first()).toBeVisible();
  await page.getByRole("button", { name: "Add formula" }).click();
  await page.getByLabel("Formula F2", { exact: true }).fill("F1/100");
  await expect(table(page).getByText("F1/100").first()).toBeVisible();
  for (const type of ["Bars", "Area", "Numbers", "Line"]) {
    await page.getByRole("radio", { name: type }).click();
    await expect(page.getByRole("radio", { name: type })).toBeChecked();
    if (type !== "Area") await expectAccessible(page); // drawn like lines
  }
});

test("the table and the file hold the same numbers", async ({ page }) => {
  await open(page);
  const cell = table(page).getByRole("row").nth(1).getByRole("cell").nth(1);
  await expect(cell).toHaveText(/^[\d,]+$/);
  const total = (await cell.textContent()) ?? "";
  const download = page.waitForEvent("download");
  await page.getByRole("button", { name: "CSV" }).click();
  const stream = await (await download).createReadStream();
  let text = "";
  for await (const chunk of stream) text += chunk;
  const last = text.trim().split("\n").at(-1);
  expect(last).toBe(`total,${total.replaceAll(",", "")}`);
});

test("a point's menu and a dragged stretch zoom, and Back undoes both", async ({ page }) => {
  await open(page);
  const whole = page.url();
  const chart = page.getByRole("group", { name: /by day$/ });
  await expect(chart.locator("canvas")).toBeVisible();
  const box = await chart.boundingBox();
  if (!box) throw new Error("the chart has no place on the page");
  await page.mouse.move(box.x + box.width * 0.4, box.y + box.height / 2);
  await page.mouse.down();
  await page.mouse.move(box.x + box.width * 0.5, box.y + box.height / 2, { steps: 4 });
  await page.mouse.move(box.x + box.width * 0.6, box.y + box.height / 2, { steps: 4 });
  await page.mouse.up();
  await expect(page).toHaveURL(/range=\d{4}-\d\d-\d\d\.\.\d{4}-\d\d-\d\d/);
  await page.goBack();
  await expect(page).toHaveURL(whole);

  await expect(page.getByRole("button", { name: /Last 30 days/ })).toBeVisible();
  await chart.focus();
  await page.keyboard.press("ArrowRight");
  await page.keyboard.press("ArrowRight");
  await page.keyboard.press("Enter");
  const zoom = chart.getByRole("button", { name: "Zoom into this day" });
  await expect(zoom).toBeFocused();
  await expectAccessible(page);
  await page.keyboard.press("Escape");
  await expect(zoom).toBeHidden();
  await expect(chart).toBeFocused();
  await page.keyboard.press("ArrowRight");
  await page.keyboard.press("Enter");
  await page.keyboard.press("Enter");
  await expect(page.getByRole("radio", { name: "Hour" })).toBeChecked();
});

test("the picture as a file opens, with its title and legend", async ({ page }) => {
  await open(page);
  const waiting = page.waitForEvent("download");
  await page.getByRole("button", { name: "PNG" }).click();
  const file = await readFile(await (await waiting).path());
  const size = await page.evaluate(async (base64) => {
    const bytes = Uint8Array.from(atob(base64), (c) => c.charCodeAt(0));
    const { width, height } = await createImageBitmap(new Blob([bytes], { type: "image/png" }));
    return { width, height };
  }, file.toString("base64"));
  const plot = await page.getByRole("group", { name: /by day$/ }).boundingBox();
  // Twice the pixels, with a margin and a head.
  expect(size.width).toBe(2 * Math.round(plot?.width ?? 0) + 64);
  expect(size.height).toBeGreaterThan(2 * (plot?.height ?? 0) + 64);
});

test("more than six series have shapes, and the picture keeps its place beside its table", async ({
  page,
}) => {
  await open(page);
  await page.keyboard.press("b");
  await page.getByPlaceholder("Search properties").fill("country");
  await page.keyboard.press("Enter");
  await expect(table(page).getByRole("row").nth(8)).toBeVisible();
  const chart = page.getByRole("group", { name: /by country/ });
  expect((await chart.boundingBox())?.height).toBeGreaterThan(280);
  await expect(table(page).locator("tbody svg").first()).toBeVisible();
  await page.getByRole("button", { name: "Shade cells by value" }).click();
  await expectAccessible(page);
});

test("a granularity that is too fine explains itself", async ({ page }) => {
  await open(page);
  await page.keyboard.press("9");
  await expect(page.getByRole("button", { name: /Last 90 days/ })).toBeVisible();
  await page.getByRole("radio", { name: "Hour" }).hover();
  await expect(page.getByRole("tooltip")).toContainText("90 days by hour is 2,160 points; choose day.");
});

test("fits a phone, with the query in a sheet", async ({ page }) => {
  await open(page);
  await expectNoSidewaysScroll(page);
  await page.getByRole("button", { name: "Query" }).click();
  await expect(page.getByRole("dialog", { name: "Query" })).toBeVisible();
  await expect(page.getByRole("dialog").getByText("Break down by")).toBeVisible();
  await expectAccessible(page);
});
