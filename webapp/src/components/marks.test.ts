import { describe, expect, it } from "vitest";
import { marks, marksOf } from "./marks";

const series = (n: number) => Array.from({ length: n }, (_, i) => ({ key: `s${i}` }));

describe("marks", () => {
  it("stay away while six colours are enough", () => {
    expect(marksOf(series(6)).size).toBe(0);
  });
  it("differ among ten, and pass over comparisons and the rest", () => {
    const found = marksOf([...series(10), { key: "before", compares: "s0" }, { key: "rest", other: true }]);
    expect(new Set(found.values()).size).toBe(10);
    expect(found.has("before") || found.has("rest")).toBe(false);
  });
  it("move on where colours repeat", () => {
    const found = marksOf(series(12));
    expect(found.get("s10")).not.toBe(found.get("s0"));
    expect([...found.values()].every((m) => m >= 0 && m < marks.length)).toBe(true);
  });
});
