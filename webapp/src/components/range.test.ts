import { describe, expect, it } from "vitest";
import {
  daysLabel,
  grainProblem,
  localDay,
  parseRangeCode,
  parseRangeText,
  pointCount,
  type Range,
  rangeCode,
  rangeLabel,
  rangeToApi,
  resolveRange,
  shiftRange,
} from "./range";

const today = "2026-11-21"; // a Saturday
const last = (n: number, unit: "h" | "d" | "w" | "m", complete = false): Range => ({
  kind: "last",
  n,
  unit,
  complete,
});

describe("ranges in words", () => {
  const cases: [string, Range | undefined][] = [
    ["last 12 weeks", last(12, "w")],
    ["12 weeks", last(12, "w")],
    ["12w", last(12, "w")],
    ["Last 3 complete months", last(3, "m", true)],
    ["today", last(1, "d")],
    ["yesterday", last(1, "d", true)],
    ["last week", last(1, "w", true)],
    ["this month", last(1, "m")],
    ["since 1 Sep", { kind: "since", from: "2026-09-01" }],
    ["since 1 Dec", { kind: "since", from: "2025-12-01" }],
    ["15 to 1 days ago", { kind: "ago", start: 15, end: 1 }],
    ["1 to 15 days ago", undefined],
    ["1 Oct to 20 Nov", { kind: "between", from: "2026-10-01", to: "2026-11-20" }],
    ["1 to 20 Nov", { kind: "between", from: "2026-11-01", to: "2026-11-20" }],
    ["20 Dec to 3 Jan", { kind: "between", from: "2025-12-20", to: "2026-01-03" }],
    ["2026-03-01..2026-03-10", { kind: "between", from: "2026-03-01", to: "2026-03-10" }],
    ["5 nov", { kind: "between", from: "2026-11-05", to: "2026-11-05" }],
    ["31 feb", undefined],
    ["last 0 days", undefined],
    ["soon", undefined],
    ["", undefined],
  ];
  it.each(cases)("reads %j", (text, want) => {
    expect(parseRangeText(text, today)).toEqual(want);
  });
});

describe("range codes", () => {
  const ranges: Range[] = [
    last(30, "d"),
    last(1, "m", true),
    last(6, "h"),
    { kind: "between", from: "2026-03-01", to: "2026-03-10" },
    { kind: "since", from: "2026-09-01" },
    { kind: "ago", start: 15, end: 1 },
  ];
  it.each(ranges)("survive the address: %j", (range) => {
    expect(parseRangeCode(rangeCode(range))).toEqual(range);
  });
  it.each(["", "30", "0d", "30x", "2026-13-01..2026-01-01", "2026-03-10..2026-03-01", "2026-02-31.."])(
    "refuse %j",
    (code) => {
      expect(parseRangeCode(code)).toBeUndefined();
    },
  );
});

describe("the days of a range", () => {
  it("count today as the last of N days", () => {
    expect(resolveRange(last(7, "d"), today)).toEqual({ from: "2026-11-15", to: today });
  });
  it("leave today out when only complete days are asked", () => {
    expect(resolveRange(last(7, "d", true), today)).toEqual({ from: "2026-11-14", to: "2026-11-20" });
  });
  it("start weeks on Monday", () => {
    expect(resolveRange(last(1, "w"), today)).toEqual({ from: "2026-11-16", to: today });
    expect(resolveRange(last(1, "w", true), today)).toEqual({ from: "2026-11-09", to: "2026-11-15" });
  });
  it("start months on the first", () => {
    expect(resolveRange(last(1, "m", true), today)).toEqual({ from: "2026-10-01", to: "2026-10-31" });
    expect(resolveRange(last(12, "m"), "2026-01-31")).toEqual({ from: "2025-02-01", to: "2026-01-31" });
  });
  it("belong to the zone, not to the machine", () => {
    const instant = "2026-03-29T22:30:00Z";
    expect(localDay("Europe/Berlin", instant)).toBe("2026-03-30");
    expect(localDay("America/New_York", instant)).toBe("2026-03-29");
  });
});

it("states a range half-open for the server", () => {
  expect(rangeToApi({ kind: "between", from: "2026-03-01", to: "2026-03-10" }, today)).toEqual({
    from: "2026-03-01",
    to: "2026-03-11",
  });
  expect(rangeToApi(last(7, "d", true), today)).toEqual({ last: "7d", complete: true });
});

describe("moving a range", () => {
  it("steps back by its own length", () => {
    expect(shiftRange(last(7, "d"), -1, today)).toEqual({
      kind: "between",
      from: "2026-11-08",
      to: "2026-11-14",
    });
  });
  it("steps months as months", () => {
    expect(shiftRange(last(1, "m", true), -1, today)).toEqual({
      kind: "between",
      from: "2026-09-01",
      to: "2026-09-30",
    });
  });
  it("never goes past today", () => {
    expect(shiftRange(last(7, "d"), 1, today)).toEqual(last(7, "d"));
  });
});

describe("granularity", () => {
  it("counts points", () => {
    expect(pointCount(last(90, "d"), "hour", today)).toBe(2160);
    expect(pointCount(last(12, "w"), "week", today)).toBe(12);
    expect(pointCount(last(12, "m"), "month", today)).toBe(12);
    expect(pointCount(last(48, "h"), "hour", today)).toBe(48);
  });
  it("says why one cannot be used, and which can", () => {
    expect(grainProblem(last(90, "d"), "hour", today)).toBe("90 days by hour is 2,160 points; choose day.");
    expect(grainProblem(last(90, "d"), "day", today)).toBeUndefined();
  });
});

it("labels say whether a period is whole", () => {
  expect(rangeLabel(last(7, "d"))).toBe("Last 7 days");
  expect(rangeLabel(last(1, "w", true))).toBe("Last week");
  expect(rangeLabel(last(1, "w"))).toBe("This week");
  expect(daysLabel("2026-10-23", "2026-11-21")).toBe("23 Oct – 21 Nov 2026");
  expect(daysLabel("2025-12-20", "2026-01-03")).toBe("20 Dec 2025 – 3 Jan 2026");
});
