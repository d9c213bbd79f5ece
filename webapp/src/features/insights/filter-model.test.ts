import { describe, expect, it } from "vitest";
import {
  conditions,
  conditionText,
  fromFilter,
  type Group,
  isReady,
  operatorsOf,
  toFilter,
  withOperator,
  without,
} from "./filter-model";

const group: Group = {
  mode: "all",
  items: [
    { property: "plan", op: "is", values: ["pro", "team"] },
    {
      mode: "any",
      items: [
        { property: "n", op: "between", values: [1, 5] },
        { property: "x", op: "isSet", values: [] },
      ],
    },
  ],
};

describe("filters", () => {
  it("survive being sent and read back", () => {
    expect(fromFilter(toFilter(group))).toEqual(group);
  });
  it("between two days travel as the server's between", () => {
    const days: Group = {
      mode: "all",
      items: [{ property: "renews", op: "betweenDates", values: ["2026-01-01", "2026-03-31"] }],
    };
    expect(toFilter(days)?.all?.[0]).toEqual({
      property: "renews",
      op: "between",
      values: ["2026-01-01", "2026-03-31"],
    });
    expect(fromFilter(toFilter(days))).toEqual(days);
    expect(conditionText(days.items[0] as never)).toBe("renews is between dates 2026-01-01 and 2026-03-31");
  });
  it("leave out conditions that have no value yet", () => {
    expect(toFilter({ mode: "all", items: [{ property: "plan", op: "is", values: [] }] })).toBeUndefined();
    expect(isReady({ property: "n", op: "between", values: ["", 5] })).toBe(false);
  });
  it("drop a nested group with its last condition", () => {
    const once = without(group, [1, 0]);
    expect(without(once, [1, 0]).items).toHaveLength(1);
  });
  it("name every condition by its path", () => {
    expect(conditions(group).map((c) => c.path)).toEqual([[0], [1, 0], [1, 1]]);
  });
  it("read as sentences", () => {
    expect(conditions(group).map((c) => conditionText(c.condition))).toEqual([
      "plan is pro or team",
      "n is between 1 and 5",
      "x is set",
    ]);
  });
  it("offer operators by type, the likeliest first", () => {
    expect(operatorsOf(["number"])[0]?.op).toBe("eq");
    expect(operatorsOf(["text"])[0]?.op).toBe("is");
    expect(operatorsOf(["boolean"])[0]?.op).toBe("isTrue");
  });
  it("keep the values that a new operator can use", () => {
    const is = { property: "plan", op: "is", values: ["pro", "team"] };
    expect(withOperator(is, "isNot").values).toEqual(["pro", "team"]);
    expect(withOperator(is, "contains").values).toEqual(["pro"]);
    expect(withOperator(is, "isSet").values).toEqual([]);
  });
});
