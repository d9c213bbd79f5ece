import { readFile } from "node:fs/promises";
import { expect, type Page, test } from "@playwright/test";
import { demo } from "./demo-app";
import { expectAccessible, expectNoSidewaysScroll, watchPolicy } from "./page-checks";

async function open(page: Page, sql?: string) {
  await page.goto(sql === undefined ? `${demo}/sql` : `${demo}/sql?sql=${encodeURIComponent(sql)}`);
  await expect(editor(page)).toBeVisible();
}

const editor = (page: Page) => page.getByRole("textbox", { name: "SQL editor" });
const grid = (page: Page) => page.getByRole("grid");
const cells = (page: Page) => grid(page).getByRole("gridcell");

async function write(page: Page, text: string) {
  await editor(page).click();
  await page.keyboard.press("Control+a");
  await page.keyboard.insertText(text);
  await page.keyboard.press("Escape");
}

test("runs the statement under the cursor and leaves the text alone", async ({ page }) => {
  const policy = watchPolicy(page);
  await open(page);
  await write(page, "select 11 as first;\nselect ';' as text, 22 as second");
  await page.keyboard.press("Control+Enter");
  await expect(cells(page)).toHaveText([";", "22"]);
  await page.keyboard.press("Control+Home");
  await page.keyboard.press("Control+Enter");
  await expect(cells(page)).toHaveText(["11"]);
  await expect(editor(page)).toContainText("select ';' as text");
  await expectAccessible(page);
  policy();
});

test("drafts survive a reload, and history brings a statement back", async ({ page }) => {
  await open(page, "select 'kept' as draft");
  await expect(editor(page)).toContainText("kept");
  await expect(page).toHaveURL(/\/sql$/);
  await page.keyboard.press("Control+Enter");
  await expect(cells(page)).toHaveText(["kept"]);
  await page.keyboard.press("Control+End");
  await page.keyboard.type(" -- typed later");
  await page.reload();
  await expect(editor(page)).toContainText("typed later");

  await write(page, "select 2 as other");
  await page.getByRole("button", { name: "History" }).click();
  await page.getByRole("searchbox", { name: "Search history" }).fill("kept draft");
  await expect(page.getByRole("dialog").getByText("1 row", { exact: true })).toBeVisible();
  await expectAccessible(page);
  await page
    .getByRole("dialog")
    .getByRole("button", { name: /select 'kept' as draft/ })
    .click();
  await expect(editor(page)).toContainText("select 'kept' as draft");
});

test("an error is marked at its place", async ({ page }) => {
  await open(page, "select event,\n  no_such_column\nfrom events");
  await page.keyboard.press("Control+Enter");
  await expect(page.getByText("The statement was refused")).toBeVisible();
  await expect(page.locator(".cm-refused")).toHaveText("no_such_column");
  await expectAccessible(page);
});

test("a cut result says so, and the export has every row", async ({ page }) => {
  await open(page, "select event_id, event from events limit 12000");
  await page.keyboard.press("Control+Enter");
  await expect(page.getByText("First 10,000 of 12,000 rows")).toBeVisible();
  await expect(grid(page)).toHaveAttribute("aria-rowcount", "10001");
  await expectAccessible(page);
  await page.getByRole("button", { name: "Export" }).click();
  const waiting = page.waitForEvent("download");
  await page.getByRole("menuitem", { name: "CSV" }).click();
  const file = await readFile(await (await waiting).path(), "utf8");
  expect(file.split("\n").length).toBe(12_002); // a head, the rows, and what follows the last line break
  expect(file.startsWith("event_id,event\n")).toBe(true);
});

test("Escape cancels what runs and brings the answer before back", async ({ page }) => {
  await open(page, "select 'before' as answer");
  await page.keyboard.press("Control+Enter");
  await expect(cells(page)).toHaveText(["before"]);
  await write(page, "select max(hash(a.event_id, b.event_id)) from events a, events b");
  await page.keyboard.press("Control+Enter");
  await expect(page.getByRole("timer")).toBeVisible();
  await page.keyboard.press("Escape");
  await expect(page.getByText(/^Cancelled after/)).toBeVisible();
  await expect(cells(page)).toHaveText(["before"]);
});

test("a result with dates is drawn as lines", async ({ page }) => {
  await open(
    page,
    "select date_trunc('day', ts)::date as day, platform, count(*) as n from events group by all",
  );
  await page.keyboard.press("Control+Enter");
  await page.getByRole("radio", { name: "Chart" }).click();
  await expect(page.getByRole("group", { name: /^Lines of/ })).toBeVisible();
  await expect(page.getByRole("button", { name: /^web/ })).toBeVisible();
  await expectAccessible(page);
});

test("the grid sorts, walks by keys and opens a row", async ({ page, context }) => {
  await context.grantPermissions(["clipboard-read", "clipboard-write"]);
  await open(page, "select * from (values (1, 'b', null), (2, 'a', 'x')) as t(n, name, missing)");
  await page.keyboard.press("Control+Enter");
  await expect(cells(page)).toHaveText(["1", "b", "NULL", "2", "a", "x"]);
  await page.getByRole("columnheader", { name: /^name/ }).getByRole("button").click();
  await expect(cells(page)).toHaveText(["2", "a", "x", "1", "b", "NULL"]);
  await cells(page).first().click();
  await page.keyboard.press("ArrowRight");
  await page.keyboard.press("Control+c");
  expect(await page.evaluate(() => navigator.clipboard.readText())).toBe("a");
  await page.keyboard.press("Enter");
  await expect(page.getByRole("dialog", { name: "Row 1" })).toContainText("missing");
  await expectAccessible(page);
});

test("the schema is searched, inserted by a click, and completed while typing", async ({ page }) => {
  await open(page, "select ");
  await page.getByRole("searchbox", { name: /^Search tables/ }).fill("platform");
  await page
    .getByRole("button", { name: /^platform/ })
    .first()
    .click();
  await expect(editor(page)).toContainText("select platform");
  await page.keyboard.type(" from events where properties->>'");
  await expect(page.getByRole("option", { name: /^\$\.category/ })).toBeVisible();
  await page.keyboard.type("$.cat");
  await expect(page.getByRole("option", { name: /^\$\.category/ })).toHaveAttribute("aria-selected", "true");
  // The list takes no key in its first moment.
  await expect(async () => {
    await page.keyboard.press("Tab");
    await expect(editor(page)).toContainText("properties->>'$.category'", { timeout: 500 });
  }).toPass();
});

test("SQL fits a phone", async ({ page }) => {
  await open(page, "select 1 as one");
  await page.getByRole("button", { name: "Run" }).click();
  await expect(cells(page)).toHaveText(["1"]);
  await expectNoSidewaysScroll(page);
  await page.getByRole("button", { name: "Schema" }).click();
  await expect(page.getByRole("dialog", { name: "Schema" })).toBeVisible();
  await expectAccessible(page);
});
