// The demo's app, and events of our own sent to it.
import { expect, type Page } from "@playwright/test";

export const demo = "/app/default/demo";

type Key = { appName: string; kind: string; display: string; revokedAt: string };

/** A valid write key of an app, as the settings list it. */
export async function writeKey(page: Page, app = "demo"): Promise<string> {
  const response = await page.request.post("/causality.identity.v1.IdentityService/ListKeys", { data: {} });
  expect(response.ok(), await response.text()).toBe(true);
  const { keys } = (await response.json()) as { keys: Key[] };
  const key = keys.find((k) => k.appName === app && k.kind === "write" && !k.revokedAt);
  expect(key, `a write key of ${app}`).toBeTruthy();
  return key?.display ?? "";
}

export async function send(page: Page, key: string, events: object[]) {
  const response = await page.request.post("/v1/events", {
    headers: { Authorization: `Bearer ${key}` },
    data: events,
  });
  expect(response.ok(), await response.text()).toBe(true);
  return (await response.json()) as { accepted: number; rejected: { code: string }[] };
}

/** A name that no other run uses. */
export const unique = (prefix: string) =>
  `${prefix}_${Date.now().toString(36)}${Math.floor(Math.random() * 1e4)}`;
