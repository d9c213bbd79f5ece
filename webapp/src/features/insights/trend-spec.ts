// A trend question as the editor holds it: QueryTrendRequest in its JSON form
// without app, range and comparison, plus whether a series is switched off.

import type { Grain } from "../../components/range";
import type { BreakdownJson, FilterJson, FormulaJson } from "../../gen/causality/insights/v1/insights_pb";

export const simpleMeasures = ["uniqueUsers", "total", "sessions", "perUser", "firstTime"] as const;
export type SimpleMeasure = (typeof simpleMeasures)[number];
export const aggregates = ["sum", "avg", "min", "max", "median", "p90", "p95", "p99"] as const;
export type Aggregate = (typeof aggregates)[number];
export type Measure = SimpleMeasure | { property: string; agg: Aggregate };

export type Series = {
  /** A, B, …: what formulas name. */
  id: string;
  /** Empty: any event. */
  event: string;
  measure: Measure;
  where?: FilterJson;
  name?: string;
  off?: boolean;
};

export type TrendSpec = {
  series: Series[];
  formulas: FormulaJson[];
  where?: FilterJson;
  breakdowns: BreakdownJson[];
  top: number;
  cumulative: boolean;
  /** Periods of the rolling average; 0: none. */
  rolling: number;
};

export const emptySpec: TrendSpec = {
  series: [],
  formulas: [],
  breakdowns: [],
  top: 10,
  cumulative: false,
  rolling: 0,
};

export const grains: readonly Grain[] = ["hour", "day", "week", "month"];

/** The next free letter; undefined when all 26 are taken. */
export function freeLetter(series: readonly Series[]): string | undefined {
  return [..."ABCDEFGHIJKLMNOPQRSTUVWXYZ"].find((l) => !series.some((s) => s.id === l));
}

export const measureNames: Record<SimpleMeasure, string> = {
  uniqueUsers: "Unique users",
  total: "Total events",
  sessions: "Sessions",
  perUser: "Events per user",
  firstTime: "First-time users",
};

export const aggregateNames: Record<Aggregate, string> = {
  sum: "Sum",
  avg: "Average",
  min: "Minimum",
  max: "Maximum",
  median: "Median",
  p90: "90th percentile",
  p95: "95th percentile",
  p99: "99th percentile",
};

/** "Unique users", "Sum of revenue" */
export function measureLabel(measure: Measure): string {
  return typeof measure === "string"
    ? measureNames[measure]
    : `${aggregateNames[measure.agg]} of ${measure.property || "a property"}`;
}

export const eventLabel = (event: string) => event || "Any event";

/** What a series is called in legends, tooltips and tables. */
export function seriesLabel(series: Series): string {
  return series.name || `${eventLabel(series.event)}, ${measureLabel(series.measure).toLowerCase()}`;
}
