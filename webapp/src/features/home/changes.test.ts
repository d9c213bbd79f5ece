import { create } from "@bufbuild/protobuf";
import { describe, expect, it } from "vitest";
import { QueryTrendResponseSchema } from "../../gen/causality/insights/v1/insights_pb";
import { type Change, isSteady, newValues, sayChange, stories } from "./changes";

const share = (event: string, did: number, didBefore: number): Change => ({
  kind: "share",
  event,
  now: { did, active: 10_000 },
  before: { did: didBefore, active: 9000 },
  days: [],
});
const users = (now: number, before: number): Change => ({ kind: "users", now, before, days: [] });
const fresh: Change = { kind: "new", property: "app_version", value: "3.3.0", users: 80, days: [] };
const names = (found: Change[]) => found.map((c) => (c.kind === "share" ? c.event : c.kind));

describe("what changed", () => {
  it("does not tell again that more people came", () => {
    const all = [share("view", 5000, 4500), share("search", 2000, 1800)];
    expect(all.every(isSteady)).toBe(true);
  });
  it("prefers what moved beyond chance, then what is new", () => {
    const found = stories(
      [share("view", 5000, 4500), share("cart", 1500, 1000), share("search", 1400, 1800)],
      [fresh],
    );
    expect(names(found)).toEqual(["search", "new"]);
  });
  it("tells of events that go together once", () => {
    const found = stories(
      [share("open", 3000, 2000), share("close", 2990, 2010), share("cart", 1500, 1000)],
      [],
    );
    expect(names(found)).toEqual(["open", "cart"]);
  });
  it("names conversions that held when nothing moved, what is paid for first", () => {
    const found = stories(
      [share("user_signup", 700, 630), share("view", 5000, 4500), share("purchase", 500, 455)],
      [],
    );
    expect(names(found)).toEqual(["purchase", "user_signup"]);
    expect(found[0] && sayChange(found[0])).toEqual({
      subject: "purchase",
      verb: "held at",
      by: "5.0%",
      evidence: "of active users did it, 5.1% the week before: within chance",
    });
  });
  it("passes over events too few to mean anything", () => {
    expect(stories([share("rare", 9, 1)], [])).toEqual([]);
  });
  it("says when an event falls silent or appears", () => {
    expect(sayChange(share("cart", 0, 500)).verb).toBe("went silent");
    expect(sayChange(share("error", 500, 0)).verb).toBe("appeared");
  });
  it("states changes of shares in points and of people in percent", () => {
    expect(sayChange(share("cart", 1500, 1000))).toEqual({
      subject: "cart",
      verb: "rose by",
      by: "3.9 pp",
      evidence: "15.0% of active users did it, 11.1% the week before",
    });
    expect(sayChange(users(1100, 1000))).toMatchObject({ verb: "rose", by: "10.0%" });
    expect(sayChange(users(1010, 1000)).verb).toBe("held steady,");
  });
});

describe("a new value", () => {
  const answer = create(QueryTrendResponseSchema, {
    series: [
      { id: "A", group: ["3.3.0"], total: 80, points: [] },
      { id: "A", group: ["3.2.0"], total: 900, points: [] },
      { id: "A", group: ["beta"], total: 3, points: [] },
      { id: "A", group: ["(not set)"], total: 500, points: [] },
      { id: "A", group: ["Other"], other: true, total: 500, points: [] },
    ],
    previous: { series: [{ id: "A", group: ["3.2.0"], total: 950, points: [] }] },
  });
  it("was not there the week before, and has people behind it", () => {
    expect(newValues(answer, "app_version")).toMatchObject([{ value: "3.3.0", users: 80 }]);
  });
});
