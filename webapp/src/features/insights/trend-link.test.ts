import { describe, expect, it } from "vitest";
import {
  decodeTrendSearch,
  defaultView,
  encodeTrendSearch,
  pack,
  type Question,
  seriesOf,
  unpack,
} from "./trend-link";
import { emptySpec } from "./trend-spec";

const rich: Question = {
  range: { kind: "last", n: 12, unit: "w", complete: true },
  grain: "week",
  compare: true,
  spec: {
    series: [
      {
        id: "A",
        event: "purchase_complete",
        measure: { property: "revenue", agg: "p90" },
        name: "Large orders",
      },
      {
        id: "B",
        event: "",
        measure: "total",
        off: true,
        where: {
          all: [
            { property: "plan", op: "is", values: ["pro", "größer"] },
            { any: [{ property: "n", op: "gt", values: [5] }] },
          ],
        },
      },
    ],
    formulas: [{ id: "F1", expr: "A/B*100" }],
    where: { any: [{ property: "is_member", op: "isTrue" }] },
    breakdowns: [{ property: "country" }],
    top: 25,
    cumulative: true,
    rolling: 7,
  },
};

describe("a question in an address", () => {
  it("comes back as it went in", () => {
    const search = encodeTrendSearch(rich, {
      chart: "bar",
      hidden: ["A"],
      sort: { id: "total", desc: true },
      noTable: true,
    });
    const back = decodeTrendSearch(search);
    expect(back.question).toEqual(rich);
    expect(back.view).toEqual({
      chart: "bar",
      hidden: ["A"],
      sort: { id: "total", desc: true },
      noTable: true,
    });
    expect(back.unreadable).toBe(false);
  });

  it("says range, granularity and comparison in the open", () => {
    const { range, grain, vs, q } = encodeTrendSearch(rich);
    expect({ range, grain, vs }).toEqual({ range: "12w.complete", grain: "week", vs: "previous" });
    expect(q).toMatch(/^1\.[\w-]+$/);
  });

  it("is the same text however its keys were ordered", () => {
    expect(pack({ b: 1, a: { d: 2, c: 3 } })).toBe(pack({ a: { c: 3, d: 2 }, b: 1 }));
  });

  it("stays far below 1,800 characters with ten series and their filters", () => {
    const series = [..."ABCDEFGHIJ"].map((id, i) => ({
      id,
      event: `checkout_step_number_${i}`,
      measure: "total" as const,
      where: { all: [{ property: `property_${i}`, op: "is", values: ["one", "two", `three ${i}`] }] },
    }));
    const search = encodeTrendSearch({ ...rich, spec: { ...rich.spec, series } });
    expect(new URLSearchParams(search as Record<string, string>).toString().length).toBeLessThan(1000);
  });

  it("leaves view state out of the question", () => {
    expect(encodeTrendSearch(rich, { chart: "bar", hidden: [] }).q).toBe(
      encodeTrendSearch(rich, defaultView).q,
    );
  });

  it("reads version 1 as it was written on the day it was published", () => {
    const { question } = decodeTrendSearch({ q: "1.q1YqTi3KTC1WsoquVkotS80rUbJSKs5MzystUNJRykwB8hyVamNrAQ" });
    expect(question).toEqual(seriesOf("signup"));
  });

  it("keeps an emptied question apart from an untouched one", () => {
    expect(encodeTrendSearch({ ...rich, spec: emptySpec }).q).toBeDefined();
    expect(decodeTrendSearch({}).question.spec).toEqual(emptySpec);
  });
});

describe("a damaged or hostile address", () => {
  it.each(["2.abc", "1.", "1.!!!", "1.AAAA", "garbage"])("is told, not guessed: %s", (q) => {
    expect(decodeTrendSearch({ q }).unreadable).toBe(true);
  });

  it("falls back to the default range and granularity", () => {
    const { question } = decodeTrendSearch({ range: "x", grain: "eon" });
    expect(question.range).toEqual({ kind: "last", n: 30, unit: "d", complete: false });
    expect(question.grain).toBe("day");
  });

  it("never becomes a question of another shape", () => {
    const q = pack({
      series: [
        { id: "<b>", event: 5, measure: { property: "p", agg: "drop" }, where: { op: "is" } },
        "x",
        null,
      ],
      breakdowns: [1, { property: "a" }, { property: "b" }, { property: "c" }],
      top: 1e9,
      rolling: -3,
      formulas: "A",
    });
    expect(decodeTrendSearch({ q }).question.spec).toEqual({
      ...emptySpec,
      series: [{ id: "A", event: "", measure: { property: "p", agg: "sum" } }],
      breakdowns: [{ property: "a" }, { property: "b" }],
    });
  });

  it("does not inflate without bound", () => {
    expect(unpack(pack({ a: "x".repeat(5_000_000) }))).toBeUndefined();
  });
});
