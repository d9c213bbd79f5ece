// Light, dark or the system's: kept on this device and applied to the root,
// where `color-scheme` picks every colour token.
import { useSyncExternalStore } from "react";

export type Theme = "system" | "light" | "dark";

const storageKey = "causality.theme";
const listeners = new Set<() => void>();
const dark = globalThis.matchMedia?.("(prefers-color-scheme: dark)");

function stored(): Theme {
  try {
    const value = localStorage.getItem(storageKey);
    return value === "light" || value === "dark" ? value : "system";
  } catch {
    return "system"; // storage is refused in some private windows
  }
}

let theme: Theme = stored();

function apply() {
  if (theme === "system") delete document.documentElement.dataset.theme;
  else document.documentElement.dataset.theme = theme;
  for (const listener of listeners) listener();
}

export function setTheme(next: Theme) {
  theme = next;
  try {
    localStorage.setItem(storageKey, next);
  } catch {
    // Then it lasts for this page only.
  }
  apply();
}

/** Call before the first render. */
export function startTheme() {
  apply();
  dark?.addEventListener("change", apply);
}

const subscribe = (listener: () => void) => {
  listeners.add(listener);
  return () => listeners.delete(listener);
};

/** The choice, and the theme that is shown now. */
export function useTheme(): { theme: Theme; resolved: "light" | "dark" } {
  const chosen = useSyncExternalStore(subscribe, () => theme);
  const system = useSyncExternalStore(subscribe, () => Boolean(dark?.matches));
  return { theme: chosen, resolved: chosen === "system" ? (system ? "dark" : "light") : chosen };
}
