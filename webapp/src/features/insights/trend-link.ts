// A trend question in an address, both ways. `range`, `grain` and `vs` stand
// readable; the rest is `q`: a version, a point, and the canonical spec (keys
// sorted, defaults left out) deflated and written in base64url. Addresses of
// version 1 are read for ever. `v` holds how it is looked at, in the same form,
// and is no part of the question.
import { deflateSync, inflateSync, strFromU8, strToU8 } from "fflate";
import type { TrendSearch } from "../../app/router";
import { type Grain, parseRangeCode, type Range, rangeCode } from "../../components/range";
import type { FilterJson } from "../../gen/causality/insights/v1/insights_pb";
import {
  aggregates,
  emptySpec,
  grains,
  type Measure,
  type Series,
  simpleMeasures,
  type TrendSpec,
} from "./trend-spec";

export type Question = { range: Range; grain: Grain; compare: boolean; spec: TrendSpec };

export type ChartType = "line" | "area" | "bar" | "number";
export type View = {
  chart: ChartType;
  hidden: string[];
  sort?: { id: string; desc: boolean };
  /** The table under the chart is folded away. */
  noTable?: boolean;
  /** Its cells are shaded by value. */
  heat?: boolean;
};

export const defaultRange: Range = { kind: "last", n: 30, unit: "d", complete: false };
export const defaultView: View = { chart: "line", hidden: [] };

/** A question of one event, all else as it begins. */
export function seriesOf(event: string, measure: Measure = "uniqueUsers"): Question {
  return {
    range: defaultRange,
    grain: "day",
    compare: false,
    spec: { ...emptySpec, series: [{ id: "A", event, measure }] },
  };
}

// JSON with sorted keys, so that equal questions have equal addresses.
function canonical(value: unknown): string {
  return JSON.stringify(value, (_, v) =>
    v !== null && typeof v === "object" && !Array.isArray(v)
      ? Object.fromEntries(Object.entries(v).sort(([a], [b]) => (a < b ? -1 : 1)))
      : v,
  );
}

export function pack(value: unknown): string {
  const bytes = deflateSync(strToU8(canonical(value)), { level: 9 });
  let binary = "";
  for (const b of bytes) binary += String.fromCharCode(b);
  return `1.${btoa(binary).replaceAll("+", "-").replaceAll("/", "_").replace(/=+$/, "")}`;
}

// What inflates to more was not written by pack: nobody's question is that long.
const mostBytes = 256 * 1024;

export function unpack(text: string): unknown {
  if (!text.startsWith("1.")) return undefined;
  try {
    const binary = atob(text.slice(2).replaceAll("-", "+").replaceAll("_", "/"));
    const packed = Uint8Array.from(binary, (c) => c.charCodeAt(0));
    const out = inflateSync(packed, { out: new Uint8Array(mostBytes) });
    return JSON.parse(strFromU8(out));
  } catch {
    return undefined;
  }
}

// The address is outside input: everything read from it is checked by shape.
const isObject = (v: unknown): v is Record<string, unknown> =>
  typeof v === "object" && v !== null && !Array.isArray(v);
const isText = (v: unknown): v is string => typeof v === "string" && v.length <= 2000;
const list = (v: unknown): unknown[] => (Array.isArray(v) ? v.slice(0, 100) : []);
const whole = (v: unknown, least: number, most: number, otherwise: number) =>
  typeof v === "number" && Number.isInteger(v) && v >= least && v <= most ? v : otherwise;

function readFilter(v: unknown, depth = 0): FilterJson | undefined {
  if (!isObject(v) || depth > 4) return undefined;
  for (const mode of ["all", "any"] as const) {
    if (Array.isArray(v[mode])) {
      const inside = list(v[mode]).flatMap((f) => readFilter(f, depth + 1) ?? []);
      return inside.length > 0 ? { [mode]: inside } : undefined;
    }
  }
  if (!isText(v.property) || !isText(v.op)) return undefined;
  const values = list(v.values).filter((x) => isText(x) || typeof x === "number" || typeof x === "boolean");
  return {
    property: v.property,
    op: v.op,
    ...(values.length > 0 ? { values: values as NonNullable<FilterJson["values"]> } : {}),
    ...(isText(v.source) && v.source ? { source: v.source } : {}),
    ...(v.caseSensitive === true ? { caseSensitive: true } : {}),
  };
}

function readMeasure(v: unknown): Measure {
  const simple = simpleMeasures.find((m) => m === v);
  if (simple) return simple;
  if (isObject(v) && isText(v.property)) {
    return { property: v.property, agg: aggregates.find((a) => a === v.agg) ?? "sum" };
  }
  return "uniqueUsers";
}

function readSpec(v: unknown): TrendSpec {
  if (!isObject(v)) return emptySpec;
  const where = readFilter(v.where);
  return {
    series: list(v.series)
      .slice(0, 26)
      .flatMap((s, i): Series[] => {
        if (!isObject(s)) return [];
        const own = readFilter(s.where);
        return [
          {
            id: isText(s.id) && /^[A-Z]$/.test(s.id) ? s.id : String.fromCharCode(65 + i),
            event: isText(s.event) ? s.event : "",
            measure: readMeasure(s.measure),
            ...(own ? { where: own } : {}),
            ...(isText(s.name) && s.name ? { name: s.name } : {}),
            ...(s.off === true ? { off: true } : {}),
          },
        ];
      }),
    formulas: list(v.formulas)
      .slice(0, 10)
      .flatMap((f) => (isObject(f) && isText(f.id) && isText(f.expr) ? [{ id: f.id, expr: f.expr }] : [])),
    ...(where ? { where } : {}),
    breakdowns: list(v.breakdowns)
      .slice(0, 3)
      .flatMap((b) =>
        isObject(b) && isText(b.property)
          ? [{ property: b.property, ...(isText(b.source) && b.source ? { source: b.source } : {}) }]
          : [],
      ),
    top: whole(v.top, 1, 250, 10),
    cumulative: v.cumulative === true,
    rolling: whole(v.rolling, 2, 365, 0),
  };
}

function bareSpec(spec: TrendSpec): Record<string, unknown> {
  return {
    // Kept when empty: an address without a question opens on the top event.
    ...{
      series: spec.series.map((s) => ({
        id: s.id,
        ...(s.event ? { event: s.event } : {}),
        ...(s.measure === "uniqueUsers" ? {} : { measure: s.measure }),
        ...(s.where ? { where: s.where } : {}),
        ...(s.name ? { name: s.name } : {}),
        ...(s.off ? { off: true } : {}),
      })),
    },
    ...(spec.formulas.length > 0 ? { formulas: spec.formulas } : {}),
    ...(spec.where ? { where: spec.where } : {}),
    ...(spec.breakdowns.length > 0 ? { breakdowns: spec.breakdowns } : {}),
    ...(spec.top === 10 ? {} : { top: spec.top }),
    ...(spec.cumulative ? { cumulative: true } : {}),
    ...(spec.rolling ? { rolling: spec.rolling } : {}),
  };
}

export function encodeTrendSearch(question: Question, view: View = defaultView): TrendSearch {
  const bare = bareSpec(question.spec);
  const seen = {
    ...(view.chart === "line" ? {} : { chart: view.chart }),
    ...(view.hidden.length > 0 ? { hidden: [...view.hidden].sort() } : {}),
    ...(view.sort ? { sort: view.sort } : {}),
    ...(view.noTable ? { noTable: true } : {}),
    ...(view.heat ? { heat: true } : {}),
  };
  return {
    range: rangeCode(question.range),
    grain: question.grain,
    ...(question.compare ? { vs: "previous" } : {}),
    ...(Object.keys(bare).length > 0 ? { q: pack(bare) } : {}),
    ...(Object.keys(seen).length > 0 ? { v: pack(seen) } : {}),
  };
}

/** `unreadable` is true when `q` is there but no version of ours wrote it. */
export function decodeTrendSearch(search: TrendSearch): {
  question: Question;
  view: View;
  unreadable: boolean;
} {
  const spec = search.q ? unpack(search.q) : {};
  const v = search.v ? unpack(search.v) : {};
  const seen = isObject(v) ? v : {};
  const sort =
    isObject(seen.sort) && isText(seen.sort.id)
      ? { id: seen.sort.id, desc: seen.sort.desc === true }
      : undefined;
  const chart = (["line", "area", "bar", "number"] as const).find((c) => c === seen.chart) ?? "line";
  return {
    question: {
      range: parseRangeCode(search.range) ?? defaultRange,
      grain: grains.find((g) => g === search.grain) ?? "day",
      compare: search.vs === "previous",
      spec: readSpec(spec),
    },
    view: {
      chart,
      hidden: list(seen.hidden).filter(isText),
      ...(sort ? { sort } : {}),
      ...(seen.noTable === true ? { noTable: true } : {}),
      ...(seen.heat === true ? { heat: true } : {}),
    },
    unreadable: spec === undefined,
  };
}
