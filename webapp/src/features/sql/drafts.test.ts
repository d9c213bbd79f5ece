import { describe, expect, it } from "vitest";
import { addToHistory, type HistoryEntry, mostHistory, nextName, parseDrafts, searchHistory } from "./drafts";

const run = (sql: string, at: number): HistoryEntry => ({ sql, at, seconds: 0.1, rows: 1 });

describe("history", () => {
  it("keeps the last hundred, newest first", () => {
    let history: HistoryEntry[] = [];
    for (let i = 0; i < mostHistory + 5; i++) history = addToHistory(history, run(`select ${i}`, i));
    expect(history).toHaveLength(mostHistory);
    expect(history[0]?.sql).toBe(`select ${mostHistory + 4}`);
  });
  it("moves a repeated statement up", () => {
    const history = addToHistory([run("b", 2), run("a", 1)], run("a", 3));
    expect(history.map((h) => h.sql)).toEqual(["a", "b"]);
  });
  it("finds words in any order", () => {
    expect(searchHistory([run("select revenue from events", 1)], "EVENTS rev")).toHaveLength(1);
  });
});

describe("drafts", () => {
  it("names a new tab with the first free number", () => {
    expect(nextName([{ id: "a", name: "Query 2", text: "" }])).toBe("Query 1");
  });
  it.each([null, {}, { tabs: [] }, { tabs: [{ id: 1 }] }])("refuses what it did not write: %j", (value) => {
    expect(parseDrafts(value)).toBeUndefined();
  });
  it("falls back to the first tab", () => {
    expect(parseDrafts({ tabs: [{ id: "a", name: "A", text: "" }], active: "gone" })?.active).toBe("a");
  });
});
