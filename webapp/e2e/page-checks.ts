// What every page must pass, for all specs: no accessibility violation in light
// and dark, no sideways scroll on a phone, nothing refused by the page's own
// security policy and no request to another host.
import { AxeBuilder } from "@axe-core/playwright";
import { expect, type Page } from "@playwright/test";

export const themes = ["light", "dark"] as const;

export async function expectAccessible(page: Page) {
  for (const colorScheme of themes) {
    await page.emulateMedia({ colorScheme, reducedMotion: "reduce" });
    // Colours that are still changing would be measured half-way.
    await expect.poll(() => page.evaluate(() => document.getAnimations().length)).toBe(0);
    const axe = new AxeBuilder({ page });
    // Only colours differ between the themes; the rest is looked at once.
    const { violations } = await (colorScheme === themes[0]
      ? axe.withTags(["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa"])
      : axe.withRules(["color-contrast"])
    ).analyze();
    const said = violations.map(
      (v) =>
        `${colorScheme}: ${v.id}: ${v.help}\n  ${v.nodes.map((n) => `${n.target.join(" ")} ${n.failureSummary}`).join("\n  ")}`,
    );
    expect(said, said.join("\n")).toEqual([]);
  }
  await page.emulateMedia({ colorScheme: null, reducedMotion: null });
}

export async function expectNoSidewaysScroll(page: Page) {
  await page.setViewportSize({ width: 375, height: 800 });
  const width = () => page.evaluate(() => document.documentElement.scrollWidth);
  await expect.poll(width).toBeLessThanOrEqual(375);
}

/** Call before the first navigation; the returned function fails if anything was refused or left the origin. */
export function watchPolicy(page: Page): () => void {
  const wrong: string[] = [];
  const origin = new URL(process.env.CAUSALITY_URL ?? "http://localhost").origin;
  page.on("console", (m) => {
    if (/Content Security Policy|Refused to/.test(m.text())) wrong.push(m.text());
  });
  page.on("pageerror", (e) => wrong.push(e.message));
  page.on("request", (r) => {
    if (/^https?:/.test(r.url()) && new URL(r.url()).origin !== origin) wrong.push(`request to ${r.url()}`);
  });
  return () => expect(wrong).toEqual([]);
}
