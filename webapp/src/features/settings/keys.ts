// What a key is worth now, and how it is called.
import type { Key } from "../../gen/causality/identity/v1/identity_pb";

export type KeyState = "valid" | "expiring" | "expired" | "revoked";

export function keyState(key: Pick<Key, "revokedAt" | "expiresAt">, now = Date.now()): KeyState {
  if (key.revokedAt) return "revoked";
  if (!key.expiresAt) return "valid";
  return Date.parse(key.expiresAt) <= now ? "expired" : "expiring";
}

export const isUsable = (key: Pick<Key, "revokedAt" | "expiresAt">, now?: number) => {
  const state = keyState(key, now);
  return state === "valid" || state === "expiring";
};

/** "wk_…4f2": enough to tell keys apart. */
export function shortKey(display: string): string {
  return display.length > 12 ? `${display.slice(0, 3)}…${display.slice(-3)}` : display;
}

/** The write key a snippet should hold: usable, not on its way out, the newest. */
export function snippetKey(keys: readonly Key[], appId: string): Key | undefined {
  return keys
    .filter((k) => k.appId === appId && k.kind === "write" && isUsable(k))
    .sort(
      (a, b) =>
        Number(Boolean(a.expiresAt)) - Number(Boolean(b.expiresAt)) ||
        Date.parse(b.createdAt) - Date.parse(a.createdAt),
    )[0];
}
