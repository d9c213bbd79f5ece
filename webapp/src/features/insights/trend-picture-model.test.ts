import { create } from "@bufbuild/protobuf";
import { describe, expect, it } from "vitest";
import { QueryTrendResponseSchema } from "../../gen/causality/insights/v1/insights_pb";
import { seriesOf } from "./trend-link";
import { dayHours, isBlank, picture, pictureRows, progressText, zoomTo } from "./trend-picture-model";

const spec = { ...seriesOf("signup").spec, breakdowns: [{ property: "platform" }] };
const points = (...values: (number | undefined)[]) =>
  values.map((value, i) => ({
    start: `2026-11-2${i}T00:00:00+01:00`,
    ...(value === undefined ? {} : { value }),
    complete: i < 1,
  }));
const answer = create(QueryTrendResponseSchema, {
  series: [
    { id: "A", group: ["web"], total: 7, points: points(5, 4) },
    { id: "A", group: ["Other"], total: 1, other: true, points: points(undefined, 1) },
  ],
  previous: { series: [{ id: "A", group: ["web"], total: 6, points: points(3, 3) }] },
});
const drawn = picture(answer, spec, "day", "Europe/Berlin", (names) => new Map(names.map((n, i) => [n, i])));

describe("a picture", () => {
  it("names series and value, and keeps Other grey", () => {
    expect(drawn.series.map((s) => s.name)).toEqual(["signup · web", "signup · Other"]);
    expect(drawn.series[1]?.color).toContain("other");
  });
  it("takes totals from the answer, never from adding points", () => {
    expect(drawn.series[0]?.total).toBe(7);
    expect(drawn.series[0]?.previousTotal).toBe(6);
  });
  it("keeps a gap a gap", () => {
    expect(drawn.series[1]?.values).toEqual([null, 1]);
  });
  it("names periods in the app's zone", () => {
    expect(drawn.titles[0]).toBe("Fri 20 Nov 2026, UTC+1");
    expect(drawn.complete).toEqual([true, false]);
  });
  it("is exported with the same numbers as it shows", () => {
    expect(pictureRows(drawn)).toEqual([
      ["period", "signup · web", "signup · Other", "signup · web, previous period"],
      ["2026-11-20T00:00:00+01:00", 5, null, 3],
      ["2026-11-21T00:00:00+01:00", 4, 1, 3],
      ["total", 7, 1, 6],
    ]);
  });
  it("is blank only when nothing at all was counted", () => {
    expect(isBlank(drawn)).toBe(false);
    const zero = create(QueryTrendResponseSchema, {
      series: [{ id: "A", total: 0, points: points(0, undefined) }],
    });
    expect(isBlank(picture(zero, spec, "day", "UTC", () => new Map()))).toBe(true);
  });
});

describe("an unfinished period", () => {
  it("says how far it is", () => {
    const now = Date.parse("2026-11-21T14:30:00+01:00");
    expect(progressText("2026-11-21T00:00:00+01:00", "day", true, "Europe/Berlin", now)).toBe("14 of 24 h");
    expect(progressText("2026-11-16T00:00:00+01:00", "week", true, "Europe/Berlin", now)).toBe("6 of 7 days");
    expect(progressText("2026-11-21T00:00:00+01:00", "day", false, "Europe/Berlin", now)).toBe(
      "cut by the range",
    );
  });
  it("knows the days on which clocks change", () => {
    expect(dayHours("2026-03-29T00:00:00+01:00", "Europe/Berlin")).toBe(23);
    expect(dayHours("2026-10-25T00:00:00+02:00", "Europe/Berlin")).toBe(25);
    expect(dayHours("2026-11-21T00:00:00+01:00", "Europe/Berlin")).toBe(24);
  });
});

describe("zooming", () => {
  const days = { starts: ["2026-10-24", "2026-10-25", "2026-10-26"].map((d) => `${d}T00:00:00+02:00`) };
  it("keeps the granularity for a stretch and takes a finer one for a single period", () => {
    expect(zoomTo(days, "day", 0, 1, "Europe/Berlin")).toEqual({
      range: { kind: "between", from: "2026-10-24", to: "2026-10-25" },
      grain: "day",
    });
    expect(zoomTo(days, "day", 1, 1, "Europe/Berlin")?.grain).toBe("hour");
  });
  it("ends the last period where the calendar does", () => {
    const months = { starts: ["2026-01-01T00:00:00Z", "2026-02-01T00:00:00Z"] };
    expect(zoomTo(months, "month", 1, 1, "UTC")).toEqual({
      range: { kind: "between", from: "2026-02-01", to: "2026-02-28" },
      grain: "day",
    });
    const weeks = { starts: ["2026-02-02T00:00:00Z"] };
    expect(zoomTo(weeks, "week", 0, 0, "UTC")?.range).toEqual({
      kind: "between",
      from: "2026-02-02",
      to: "2026-02-08",
    });
  });
  it("goes from hours to days, and not within one", () => {
    const hours = { starts: ["2026-02-02T22:00:00Z", "2026-02-02T23:00:00Z", "2026-02-03T00:00:00Z"] };
    expect(zoomTo(hours, "hour", 0, 1, "UTC")?.range).toEqual({
      kind: "between",
      from: "2026-02-02",
      to: "2026-02-02",
    });
    expect(zoomTo({ starts: hours.starts.slice(0, 2) }, "hour", 0, 0, "UTC")).toBeUndefined();
  });
});
