import { expect, it } from "vitest";
import { seriesOf } from "./trend-link";
import { trendRequest } from "./trend-request";

const now = Date.parse("2026-11-21T10:00:00Z");
const question = seriesOf("signup");

it("asks in the app's zone, with nothing that is not needed", () => {
  expect(trendRequest(question, "Europe/Berlin", now)).toEqual({
    range: { last: "30d" },
    timeZone: "Europe/Berlin",
    granularity: "day",
    series: [{ id: "A", event: "signup", measure: "uniqueUsers" }],
  });
});

it("asks nothing while there is nothing to count", () => {
  const off = {
    ...question,
    spec: { ...question.spec, series: question.spec.series.map((s) => ({ ...s, off: true })) },
  };
  expect(trendRequest(off, "UTC", now)).toBeUndefined();
  expect(trendRequest({ ...question, spec: { ...question.spec, series: [] } }, "UTC", now)).toBeUndefined();
});

it("leaves out formulas with a mistake, so that the last valid picture stays", () => {
  const spec = {
    ...question.spec,
    formulas: [
      { id: "F1", expr: "A/B" },
      { id: "F2", expr: "a*2" },
    ],
  };
  expect(trendRequest({ ...question, spec }, "UTC", now)?.formulas).toEqual([{ id: "F2", expr: "A*2" }]);
});

it("ends an open range at the end of today in the zone", () => {
  const since = { ...question, range: { kind: "since" as const, from: "2026-11-01" } };
  expect(trendRequest(since, "Pacific/Auckland", now)?.range).toEqual({
    from: "2026-11-01",
    to: "2026-11-22",
  });
});
