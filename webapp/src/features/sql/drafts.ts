// What a person has written and run, kept on this device an app at a time:
// drafts at every keystroke, and the last hundred runs. Storage that is refused
// or full costs only the memory of it, never the page.

export type Draft = { id: string; name: string; text: string };
export type Drafts = { tabs: Draft[]; active: string };

export type HistoryEntry = {
  sql: string;
  /** When it was run, ms. */
  at: number;
  seconds: number;
  rows?: number;
  truncated?: boolean;
  error?: string;
};

export const mostHistory = 100;
export const mostTabs = 20;
// A statement longer than this is run but not remembered.
const mostText = 200_000;

const draftsKey = (appId: string) => `causality.sql.drafts.${appId}`;
const historyKey = (appId: string) => `causality.sql.history.${appId}`;

function read(key: string): unknown {
  try {
    return JSON.parse(localStorage.getItem(key) ?? "null");
  } catch {
    return null;
  }
}

function write(key: string, value: unknown) {
  try {
    localStorage.setItem(key, JSON.stringify(value));
  } catch {
    // Full or refused: then it lasts for this page only.
  }
}

const isObject = (v: unknown): v is Record<string, unknown> => typeof v === "object" && v !== null;

export const newId = () => Math.random().toString(36).slice(2, 10);

/** "Query 3": the first number that is free. */
export function nextName(tabs: readonly Draft[]): string {
  const taken = new Set(tabs.map((t) => t.name));
  for (let i = 1; ; i++) if (!taken.has(`Query ${i}`)) return `Query ${i}`;
}

export function parseDrafts(value: unknown): Drafts | undefined {
  if (!isObject(value) || !Array.isArray(value.tabs)) return undefined;
  const tabs = value.tabs
    .slice(0, mostTabs)
    .flatMap((t): Draft[] =>
      isObject(t) && typeof t.id === "string" && typeof t.name === "string" && typeof t.text === "string"
        ? [{ id: t.id, name: t.name, text: t.text }]
        : [],
    );
  const [first] = tabs;
  if (!first) return undefined;
  const active = tabs.some((t) => t.id === value.active) ? String(value.active) : first.id;
  return { tabs, active };
}

export function loadDrafts(appId: string, first: string): Drafts {
  const kept = parseDrafts(read(draftsKey(appId)));
  if (kept) return kept;
  const tab = { id: newId(), name: "Query 1", text: first };
  return { tabs: [tab], active: tab.id };
}

export const saveDrafts = (appId: string, drafts: Drafts) => write(draftsKey(appId), drafts);

/** The newest stands first; running the same again moves it up. */
export function addToHistory(history: readonly HistoryEntry[], entry: HistoryEntry): HistoryEntry[] {
  if (entry.sql.length > mostText) return [...history];
  return [entry, ...history.filter((h) => h.sql !== entry.sql)].slice(0, mostHistory);
}

export function loadHistory(appId: string): HistoryEntry[] {
  const kept = read(historyKey(appId));
  if (!Array.isArray(kept)) return [];
  return kept
    .filter(
      (h): h is HistoryEntry =>
        isObject(h) && typeof h.sql === "string" && typeof h.at === "number" && typeof h.seconds === "number",
    )
    .slice(0, mostHistory);
}

export const saveHistory = (appId: string, history: readonly HistoryEntry[]) =>
  write(historyKey(appId), history);

export function searchHistory(history: readonly HistoryEntry[], text: string): HistoryEntry[] {
  const words = text.toLowerCase().split(/\s+/).filter(Boolean);
  return history.filter((h) => words.every((w) => h.sql.toLowerCase().includes(w)));
}
