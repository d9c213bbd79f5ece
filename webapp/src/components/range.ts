// Time ranges: what people type ("last 12 weeks", "since 1 Sep"), the readable
// code in URLs ("12w", "2026-09-01.."), and which local days they mean. Days are
// calendar days of a zone, written YYYY-MM-DD; nothing here knows the browser's.
import type { RangeJson } from "../gen/causality/insights/v1/insights_pb";

export type RangeUnit = "h" | "d" | "w" | "m";
export type Range =
  | { kind: "last"; n: number; unit: RangeUnit; complete: boolean }
  /** Both days are in. */
  | { kind: "between"; from: string; to: string }
  | { kind: "since"; from: string }
  /** From start days ago to end days ago, both in. */
  | { kind: "ago"; start: number; end: number };

export type Grain = "hour" | "day" | "week" | "month";

const unitNames: Record<RangeUnit, string> = { h: "hour", d: "day", w: "week", m: "month" };
const unitLetters: Record<string, RangeUnit> = { hour: "h", day: "d", week: "w", month: "m" };
const monthNames = ["jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec"];

// Calendar arithmetic on YYYY-MM-DD. The UTC clock serves as a plain calendar.
const dayMs = 86_400_000;
const toMs = (day: string) => Date.parse(`${day}T00:00:00Z`);
const fromMs = (ms: number) => new Date(ms).toISOString().slice(0, 10);
export const addDays = (day: string, n: number) => fromMs(toMs(day) + n * dayMs);
export const daysBetween = (from: string, to: string) => Math.round((toMs(to) - toMs(from)) / dayMs);
function addMonths(day: string, n: number): string {
  const [y = 0, m = 1] = day.split("-").map(Number);
  return fromMs(Date.UTC(y, m - 1 + n, 1));
}
const monthStart = (day: string) => `${day.slice(0, 7)}-01`;
const weekStart = (day: string) => addDays(day, -((new Date(toMs(day)).getUTCDay() + 6) % 7));

/** The local day at an instant. */
export function localDay(zone: string, at: Date | number | string = Date.now()): string {
  const parts = new Intl.DateTimeFormat("en-CA", {
    timeZone: zone,
    year: "numeric",
    month: "2-digit",
    day: "2-digit",
  }).formatToParts(new Date(at));
  const get = (type: string) => parts.find((p) => p.type === type)?.value ?? "";
  return `${get("year")}-${get("month")}-${get("day")}`;
}

function validDay(y: number, m: number, d: number): string | undefined {
  const day = fromMs(Date.UTC(y, m - 1, d));
  return day === `${String(y).padStart(4, "0")}-${String(m).padStart(2, "0")}-${String(d).padStart(2, "0")}`
    ? day
    : undefined;
}

// "1 Sep", "Sep 1", "1 September 2026", "2026-09-01"; without a year, the latest not after today.
function parseDay(text: string, today: string): string | undefined {
  const t = text.trim().toLowerCase().replaceAll(",", " ");
  if (t === "today") return today;
  if (t === "yesterday") return addDays(today, -1);
  const iso = /^(\d{4})-(\d{1,2})-(\d{1,2})$/.exec(t);
  if (iso) return validDay(Number(iso[1]), Number(iso[2]), Number(iso[3]));
  const words = /^(?:(\d{1,2})\s+([a-z]{3,9})|([a-z]{3,9})\s+(\d{1,2}))(?:\s+(\d{4}))?$/.exec(t);
  if (!words) return undefined;
  const month = monthNames.indexOf((words[2] ?? words[3] ?? "").slice(0, 3)) + 1;
  const d = Number(words[1] ?? words[4]);
  if (month === 0) return undefined;
  if (words[5]) return validDay(Number(words[5]), month, d);
  const year = Number(today.slice(0, 4));
  const day = validDay(year, month, d);
  return day && day > today ? validDay(year - 1, month, d) : day;
}

/** Reads what a person typed; undefined when it is no range. `today` is the zone's local day. */
export function parseRangeText(text: string, today: string): Range | undefined {
  const t = text.trim().toLowerCase().replace(/\s+/g, " ");
  if (t === "today") return { kind: "last", n: 1, unit: "d", complete: false };
  if (t === "yesterday") return { kind: "last", n: 1, unit: "d", complete: true };
  const whole = /^(this|last) (hour|day|week|month)$/.exec(t);
  if (whole) {
    const unit = unitLetters[whole[2] ?? ""];
    return unit && { kind: "last", n: 1, unit, complete: whole[1] === "last" };
  }
  const last = /^(?:last |past )?(\d{1,4}) ?(complete |full )?(h|d|w|m|hour|day|week|month)s?$/.exec(t);
  if (last) {
    const name = last[3] ?? "";
    const unit = (name.length === 1 ? name : unitLetters[name]) as RangeUnit | undefined;
    const n = Number(last[1]);
    return unit && n > 0 ? { kind: "last", n, unit, complete: Boolean(last[2]) } : undefined;
  }
  const ago = /^(?:from )?(\d{1,4}) (?:to|-|–) (\d{1,4}) days ago$/.exec(t);
  if (ago) {
    const [start, end] = [Number(ago[1]), Number(ago[2])];
    return start >= end ? { kind: "ago", start, end } : undefined;
  }
  const since = /^since (.+)$/.exec(t);
  if (since) {
    const from = parseDay(since[1] ?? "", today);
    return from && from <= today ? { kind: "since", from } : undefined;
  }
  const pair = t.split(/ to | – | - |\.\.|–/);
  if (pair.length === 2) {
    const to = parseDay(pair[1] ?? "", today);
    let from = parseDay(pair[0] ?? "", to ?? today);
    // "1 to 20 Nov": the month stands once.
    const bare = /^(\d{1,2})$/.exec((pair[0] ?? "").trim());
    if (!from && bare && to) from = validDay(Number(to.slice(0, 4)), Number(to.slice(5, 7)), Number(bare[1]));
    return from && to && from <= to ? { kind: "between", from, to } : undefined;
  }
  const day = parseDay(t, today);
  return day ? { kind: "between", from: day, to: day } : undefined;
}

/** The readable code of URLs. */
export function rangeCode(range: Range): string {
  switch (range.kind) {
    case "last":
      return `${range.n}${range.unit}${range.complete ? ".complete" : ""}`;
    case "between":
      return `${range.from}..${range.to}`;
    case "since":
      return `${range.from}..`;
    case "ago":
      return `${range.start}d..${range.end}d`;
  }
}

export function parseRangeCode(code: string | undefined): Range | undefined {
  if (!code) return undefined;
  const last = /^(\d{1,4})([hdwm])(\.complete)?$/.exec(code);
  if (last && Number(last[1]) > 0) {
    return { kind: "last", n: Number(last[1]), unit: last[2] as RangeUnit, complete: Boolean(last[3]) };
  }
  const ago = /^(\d{1,4})d\.\.(\d{1,4})d$/.exec(code);
  if (ago && Number(ago[1]) >= Number(ago[2]))
    return { kind: "ago", start: Number(ago[1]), end: Number(ago[2]) };
  const days = /^(\d{4}-\d\d-\d\d)\.\.(\d{4}-\d\d-\d\d)?$/.exec(code);
  if (!days?.[1] || Number.isNaN(toMs(days[1])) || fromMs(toMs(days[1])) !== days[1]) return undefined;
  if (!days[2]) return { kind: "since", from: days[1] };
  if (Number.isNaN(toMs(days[2])) || days[2] < days[1]) return undefined;
  return { kind: "between", from: days[1], to: days[2] };
}

const longDay = (day: string, withYear: boolean) => {
  const month = monthNames[Number(day.slice(5, 7)) - 1] ?? "";
  const name = `${Number(day.slice(8))} ${month.charAt(0).toUpperCase()}${month.slice(1)}`;
  return withYear ? `${name} ${day.slice(0, 4)}` : name;
};

/** "22 Oct – 20 Nov 2026" */
export function daysLabel(from: string, to: string): string {
  if (from === to) return longDay(from, true);
  return `${longDay(from, from.slice(0, 4) !== to.slice(0, 4))} – ${longDay(to, true)}`;
}

/** How the range is called: "Last 30 days", "Since 1 Sep 2026". */
export function rangeLabel(range: Range): string {
  switch (range.kind) {
    case "last": {
      const { n, unit, complete } = range;
      if (n === 1 && unit === "d") return complete ? "Yesterday" : "Today";
      if (n === 1) return `${complete ? "Last" : "This"} ${unitNames[unit]}`;
      return `Last ${n} ${complete ? "complete " : ""}${unitNames[unit]}s`;
    }
    case "between":
      return daysLabel(range.from, range.to);
    case "since":
      return `Since ${longDay(range.from, true)}`;
    case "ago":
      return `${range.start} to ${range.end} days ago`;
  }
}

/** The local days a range covers, both in. Hours resolve to the days they touch. */
export function resolveRange(range: Range, today: string): { from: string; to: string } {
  switch (range.kind) {
    case "between":
      return { from: range.from, to: range.to };
    case "since":
      return { from: range.from, to: today };
    case "ago":
      return { from: addDays(today, -range.start), to: addDays(today, -range.end) };
    case "last": {
      const { n, unit, complete } = range;
      if (unit === "h") return { from: addDays(today, -Math.ceil(n / 24)), to: today };
      if (unit === "d")
        return { from: addDays(today, complete ? -n : 1 - n), to: complete ? addDays(today, -1) : today };
      if (unit === "w") {
        const start = weekStart(today);
        return {
          from: addDays(start, -7 * (complete ? n : n - 1)),
          to: complete ? addDays(start, -1) : today,
        };
      }
      const start = monthStart(today);
      return { from: addMonths(start, complete ? -n : 1 - n), to: complete ? addDays(start, -1) : today };
    }
  }
}

/** The same length directly before (-1) or after (+1), never past today. */
export function shiftRange(range: Range, by: -1 | 1, today: string): Range {
  const { from, to } = resolveRange(range, today);
  const whole = range.kind === "last" && range.unit === "m";
  const days = daysBetween(from, to) + 1;
  if (whole) {
    const next = addMonths(from, by * range.n);
    const end = addDays(addMonths(next, range.n), -1);
    return next > today ? range : { kind: "between", from: next, to: end > today ? today : end };
  }
  const start = addDays(from, by * days);
  if (start > today) return range;
  const end = addDays(start, days - 1);
  return { kind: "between", from: start, to: end > today ? today : end };
}

/** The range as questions state it. Days in, half-open out. */
export function rangeToApi(range: Range, today: string): RangeJson {
  if (range.kind === "last") {
    return { last: `${range.n}${range.unit}`, ...(range.complete ? { complete: true } : {}) };
  }
  const { from, to } = resolveRange(range, today);
  return { from, to: addDays(to, 1) };
}

/** About how many buckets a chart of it would have. */
export function pointCount(range: Range, grain: Grain, today: string): number {
  if (range.kind === "last" && range.unit === "h") {
    return grain === "hour"
      ? range.n
      : Math.max(1, Math.ceil(range.n / { day: 24, week: 168, month: 720 }[grain]));
  }
  const { from, to } = resolveRange(range, today);
  const days = daysBetween(from, to) + 1;
  switch (grain) {
    case "hour":
      return days * 24;
    case "day":
      return days;
    case "week":
      return daysBetween(weekStart(from), weekStart(to)) / 7 + 1;
    case "month":
      return (
        (Number(to.slice(0, 4)) - Number(from.slice(0, 4))) * 12 +
        Number(to.slice(5, 7)) -
        Number(from.slice(5, 7)) +
        1
      );
  }
}

/** More points than this cannot be told apart on a screen. */
export const maxPoints = 750;

const grains: Grain[] = ["hour", "day", "week", "month"];

/** Why a granularity cannot be used: "90 days by hour is 2,160 points; choose day." */
export function grainProblem(range: Range, grain: Grain, today: string): string | undefined {
  const points = pointCount(range, grain, today);
  if (points <= maxPoints) return undefined;
  const { from, to } = resolveRange(range, today);
  const fits = grains.find((g) => pointCount(range, g, today) <= maxPoints) ?? "month";
  const days = daysBetween(from, to) + 1;
  return `${days.toLocaleString("en-US")} days by ${grain} is ${points.toLocaleString("en-US")} points; choose ${fits}.`;
}
