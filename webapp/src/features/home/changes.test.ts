import { describe, expect, it } from "vitest";
import { type Change, sayChange, whatChanged } from "./changes";

const change = (event: string, now: number, before: number): Change => ({
  event,
  measure: "total",
  now,
  before,
  days: [],
});
const users: Change = { event: "", measure: "uniqueUsers", now: 1100, before: 1000, days: [] };

describe("what changed", () => {
  it("begins with active users, then the weightiest movers", () => {
    const found = whatChanged(
      [users],
      [
        change("rare", 60, 30),
        change("purchase", 800, 1000),
        change("view", 10_100, 10_000),
        change("cart", 500, 900),
      ],
    );
    expect(found.map((c) => c.event)).toEqual(["", "cart", "purchase"]);
  });
  it("passes over events too few to mean anything", () => {
    expect(whatChanged([], [change("rare", 9, 1)])).toEqual([]);
  });
  it("says so when an event falls silent or appears", () => {
    expect(sayChange(change("cart", 0, 500)).verb).toBe("went silent");
    expect(sayChange(change("cart", 500, 0)).verb).toBe("appeared");
  });
  it("states the figures behind each sentence", () => {
    expect(sayChange(change("cart", 500, 1000))).toEqual({
      subject: "cart",
      verb: "fell",
      by: "50.0%",
      evidence: "500 events, 1,000 the week before",
    });
    expect(sayChange({ ...users, now: 1010 }).verb).toBe("held steady");
  });
});
