// From an answer to what is drawn, tabled and exported: one list of series with
// names, colours and values, so that chart, table and files show the same numbers.
import type { ChartSeries } from "../../components/chart";
import { date, offsetMinutes, offsetName, shortDate, time } from "../../components/format";
import { chartColor, otherColor } from "../../components/palette";
import { addDays, type Grain, localDay, type Range } from "../../components/range";
import type { QueryTrendResponse, SeriesAnswer } from "../../gen/causality/insights/v1/insights_pb";
import { eventLabel, seriesLabel, type TrendSpec } from "./trend-spec";

export type PictureSeries = ChartSeries & { total: number | null; previousTotal?: number | null };

export type Picture = {
  series: PictureSeries[];
  /** Dashed series of the period before. */
  previous: ChartSeries[];
  starts: string[];
  categories: string[];
  titles: string[];
  complete: boolean[];
};

const keyOf = (a: SeriesAnswer) =>
  a.group.length > 0 ? `${a.id}:${a.group.join(" / ")}${a.other ? " (rest)" : ""}` : a.id;
const valuesOf = (a: SeriesAnswer) => a.points.map((p) => p.value ?? null);

function names(spec: TrendSpec): Map<string, string> {
  const on = spec.series.filter((s) => !s.off);
  const events = new Set(on.map((s) => s.event));
  const short = spec.breakdowns.length > 0 && events.size === on.length;
  const out = new Map(on.map((s) => [s.id, s.name || (short ? eventLabel(s.event) : seriesLabel(s))]));
  for (const f of spec.formulas) out.set(f.id ?? "", f.expr ?? "");
  return out;
}

/** The name under the axis and the full one. */
export function periodNames(start: string, grain: Grain, zone: string): { short: string; full: string } {
  const at = new Date(start);
  const offset = offsetName(zone, at);
  switch (grain) {
    case "hour":
      return {
        short: `${shortDate(at, zone)} ${time(at, zone, false)}`,
        full: `${date(at, zone)}, ${time(at, zone, false)}, ${offset}`,
      };
    case "day":
      return { short: shortDate(at, zone), full: `${date(at, zone)}, ${offset}` };
    case "week":
      return { short: shortDate(at, zone), full: `Week of ${date(at, zone)}, ${offset}` };
    case "month": {
      const month = new Intl.DateTimeFormat("en-US", { timeZone: zone, month: "short" }).format(at);
      const year = new Intl.DateTimeFormat("en-US", { timeZone: zone, year: "numeric" }).format(at);
      return { short: `${month} ${year}`, full: `${month} ${year}, ${offset}` };
    }
  }
}

/** Hours of a local day: 23 and 25 where the clocks change. */
export function dayHours(start: string, zone: string): number {
  const at = Date.parse(start);
  return 24 - (offsetMinutes(zone, at + 24 * 3_600_000) - offsetMinutes(zone, at)) / 60;
}

/** How far an unfinished period is: "14 of 24 h"; a cut one says so. */
export function progressText(
  start: string,
  grain: Grain,
  last: boolean,
  zone: string,
  now = Date.now(),
): string {
  if (!last) return "cut by the range";
  const elapsed = (now - new Date(start).getTime()) / 3_600_000;
  switch (grain) {
    case "hour":
      return `${Math.max(0, Math.floor(elapsed * 60))} of 60 min`;
    case "day":
      return elapsed >= 0 && elapsed < 25
        ? `${Math.floor(elapsed)} of ${dayHours(start, zone)} h`
        : "in progress";
    case "week":
      return elapsed >= 0 && elapsed < 169 ? `${Math.floor(elapsed / 24) + 1} of 7 days` : "in progress";
    case "month":
      return `day ${Math.floor(elapsed / 24) + 1}, in progress`;
  }
}

export function picture(
  answer: QueryTrendResponse,
  spec: TrendSpec,
  grain: Grain,
  zone: string,
  /** Colours of a breakdown's values; see palette.ts. */
  placesOf: (names: readonly string[]) => ReadonlyMap<string, number>,
): Picture {
  const called = names(spec);
  // A series keeps its colour whatever is switched off or reordered around it.
  const place = (id: string) =>
    /^[A-Z]$/.test(id)
      ? id.charCodeAt(0) - 65
      : 5 +
        Math.max(
          0,
          spec.formulas.findIndex((f) => f.id === id),
        );
  const broken = answer.series.some((s) => s.group.length > 0);
  const many = new Set(answer.series.map((s) => s.id)).size > 1;
  const groups = placesOf(
    answer.series
      .filter((s) => s.group.length > 0 && !s.other)
      .map((s) => (many ? `${s.id} ` : "") + s.group.join(" / ")),
  );
  const before = new Map((answer.previous?.series ?? []).map((s) => [keyOf(s), s]));
  const previous: ChartSeries[] = [];
  const series = answer.series.map((s): PictureSeries => {
    const key = keyOf(s);
    const group = s.other ? "Other" : s.group.join(" / ");
    const base = called.get(s.id) ?? s.id;
    const name = s.group.length > 0 ? `${base} · ${group}` : base;
    const color = s.other
      ? otherColor
      : broken && s.group.length > 0
        ? chartColor(groups.get((many ? `${s.id} ` : "") + s.group.join(" / ")) ?? 0)
        : chartColor(place(s.id));
    const old = before.get(key);
    if (old)
      previous.push({
        key: `${key}|previous`,
        name: `${name}, previous period`,
        color,
        values: valuesOf(old),
        compares: key,
      });
    return {
      key,
      name,
      color,
      values: valuesOf(s),
      other: s.other,
      total: s.total ?? null,
      ...(answer.previous ? { previousTotal: old?.total ?? null } : {}),
    };
  });
  const points = answer.series[0]?.points ?? [];
  const named = points.map((p) => periodNames(p.start, grain, zone));
  return {
    series,
    previous,
    starts: points.map((p) => p.start),
    categories: named.map((n) => n.short),
    titles: named.map((n) => n.full),
    complete: points.map((p) => p.complete),
  };
}

/**
 * The periods from one to another as a range of days, with the granularity that
 * shows them: a single period is looked at more closely. Undefined where there
 * is nothing closer: ranges are made of days.
 */
export function zoomTo(
  p: Pick<Picture, "starts">,
  grain: Grain,
  from: number,
  to: number,
  zone: string,
): { range: Range; grain: Grain } | undefined {
  const start = p.starts[from];
  const end = p.starts[to];
  if (start === undefined || end === undefined) return undefined;
  const today = localDay(zone);
  const first = localDay(zone, start);
  const next = p.starts[to + 1];
  // The last one has no next: it ends with its own calendar period, at the latest today.
  const last = next
    ? localDay(zone, Date.parse(next) - 1)
    : [lastDayOf(localDay(zone, end), grain), today].sort()[0];
  if (last === undefined || first > last) return undefined;
  const closer: Record<Grain, Grain> = { hour: "hour", day: "hour", week: "day", month: "day" };
  const range: Range = { kind: "between", from: first, to: last };
  if (grain === "hour") {
    const days = new Set(p.starts.map((s) => localDay(zone, s)));
    return days.size > 1 ? { range, grain } : undefined;
  }
  return { range, grain: from === to ? closer[grain] : grain };
}

function lastDayOf(day: string, grain: Grain): string {
  if (grain === "week") return addDays(day, 6);
  if (grain !== "month") return day;
  const [y = 0, m = 1] = day.split("-").map(Number);
  return new Date(Date.UTC(y, m, 0)).toISOString().slice(0, 10);
}

/** True when nothing at all was counted. */
export function isBlank(p: Picture): boolean {
  return p.series.every((s) => !s.total && s.values.every((v) => !v));
}

/** Periods down, series across, totals last: as the table shows them, exact. */
export function pictureRows(p: Picture): (string | number | null)[][] {
  const columns = [...p.series, ...p.previous.map((s) => ({ ...s, total: totalBefore(p, s) }))];
  return [
    ["period", ...columns.map((s) => s.name)],
    ...p.starts.map((start, i) => [start, ...columns.map((s) => s.values[i] ?? null)]),
    ["total", ...columns.map((s) => s.total)],
  ];
}

function totalBefore(p: Picture, s: ChartSeries): number | null {
  return p.series.find((x) => x.key === s.compares)?.previousTotal ?? null;
}
