// Numbers, durations, sizes and dates as people read them. Dates always take a
// zone: the app's, never the browser's.

const exactFormat = new Intl.NumberFormat("en-US", { maximumFractionDigits: 2 });
const compactFormat = new Intl.NumberFormat("en-US", { notation: "compact", maximumFractionDigits: 1 });

/** A missing value is a dash, never a zero. */
export const missing = "–";

/** 12,408,112 · 3.14: tables and tooltips. */
export function exact(n: number | null | undefined): string {
  return n == null ? missing : exactFormat.format(n);
}

/** 12.4K: axes and tiles. Small fractions keep two digits. */
export function compact(n: number | null | undefined): string {
  if (n == null) return missing;
  return Math.abs(n) < 1000 ? exactFormat.format(n) : compactFormat.format(n);
}

/** 0.1234 → 12.3% */
export function percent(ratio: number | null | undefined): string {
  return ratio == null || !Number.isFinite(ratio) ? missing : `${(ratio * 100).toFixed(1)}%`;
}

/** The relative change: "+12.3%"; from nothing there is none. */
export function changeText(now: number | null | undefined, before: number | null | undefined): string {
  if (now == null || before == null || before === 0) return missing;
  const change = (now - before) / Math.abs(before);
  const text = percent(Math.abs(change));
  return text === "0.0%" ? text : `${change > 0 ? "+" : "−"}${text}`;
}

/** The absolute change, signed: "+1,204". */
export function signed(n: number): string {
  return n === 0 ? "0" : `${n > 0 ? "+" : "−"}${exact(Math.abs(n))}`;
}

/** "1 event", "1,204 events". */
export function count(n: number, one: string, many = `${one}s`): string {
  return `${exact(n)} ${n === 1 ? one : many}`;
}

const units: [string, number][] = [
  ["d", 86_400],
  ["h", 3600],
  ["min", 60],
  ["s", 1],
];

/** Two units at most: "2 h 5 min", "0.42 s", "8 ms". */
export function duration(seconds: number | null | undefined): string {
  if (seconds == null) return missing;
  if (seconds < 0) return `−${duration(-seconds)}`;
  if (seconds === 0) return "0 s";
  if (seconds < 0.1) return `${Math.max(1, Math.round(seconds * 1000))} ms`;
  if (seconds < 60) return `${exactFormat.format(Number(seconds.toFixed(seconds < 10 ? 2 : 1)))} s`;
  let rest = Math.round(seconds);
  const parts: string[] = [];
  for (const [unit, size] of units) {
    const n = Math.floor(rest / size);
    if (n > 0 && parts.length < 2) parts.push(`${n} ${unit}`);
    else if (parts.length > 0) break;
    rest -= n * size;
  }
  return parts.join(" ");
}

/** 1.2 GB, in powers of 1,000 as disks are sold. */
export function bytes(n: number | null | undefined): string {
  if (n == null) return missing;
  const names = ["B", "kB", "MB", "GB", "TB", "PB"];
  let i = 0;
  let size = n;
  while (Math.abs(size) >= 999.5 && i < names.length - 1) {
    size /= 1000;
    i++;
  }
  return `${size.toFixed(i === 0 || size >= 99.95 ? 0 : 1)} ${names[i]}`;
}

type Parts = Record<"weekday" | "day" | "month" | "year" | "hour" | "minute" | "second", string>;

const formats = new Map<string, Intl.DateTimeFormat>();

function parts(at: Date, zone: string): Parts {
  let format = formats.get(zone);
  if (!format) {
    format = new Intl.DateTimeFormat("en-GB", {
      timeZone: zone,
      weekday: "short",
      day: "numeric",
      month: "short",
      year: "numeric",
      hour: "2-digit",
      minute: "2-digit",
      second: "2-digit",
      hourCycle: "h23",
    });
    formats.set(zone, format);
  }
  const out = {} as Record<string, string>;
  for (const p of format.formatToParts(at)) out[p.type] = p.value;
  out.month = (out.month ?? "").slice(0, 3);
  return out as Parts;
}

const toDate = (at: Date | string | number) => (at instanceof Date ? at : new Date(at));
const valid = (d: Date) => !Number.isNaN(d.getTime());

/** "Fri 20 Nov 2026, 14:05" */
export function dateTime(at: Date | string | number | null | undefined, zone: string): string {
  if (at == null || at === "") return missing;
  const d = toDate(at);
  if (!valid(d)) return missing;
  const p = parts(d, zone);
  return `${p.weekday} ${p.day} ${p.month} ${p.year}, ${p.hour}:${p.minute}`;
}

/** "Fri 20 Nov 2026" */
export function date(at: Date | string | number | null | undefined, zone: string): string {
  if (at == null || at === "") return missing;
  const d = toDate(at);
  if (!valid(d)) return missing;
  const p = parts(d, zone);
  return `${p.weekday} ${p.day} ${p.month} ${p.year}`;
}

/** "20 Nov": axes. */
export function shortDate(at: Date | string | number, zone: string): string {
  const p = parts(toDate(at), zone);
  return `${p.day} ${p.month}`;
}

/** "14:02:11", or "14:02" without seconds. */
export function time(at: Date | string | number, zone: string, seconds = true): string {
  const p = parts(toDate(at), zone);
  return seconds ? `${p.hour}:${p.minute}:${p.second}` : `${p.hour}:${p.minute}`;
}

/** "12 s ago" under 24 hours, else the date and time. Put `dateTime` in the title. */
export function ago(at: Date | string | number | null | undefined, zone: string, now = Date.now()): string {
  if (at == null || at === "") return missing;
  const d = toDate(at);
  if (!valid(d)) return missing;
  const seconds = (now - d.getTime()) / 1000;
  if (seconds < -60 || seconds >= 86_400) return dateTime(d, zone);
  if (seconds < 5) return "now";
  if (seconds < 60) return `${Math.floor(seconds)} s ago`;
  if (seconds < 3600) return `${Math.floor(seconds / 60)} min ago`;
  return `${Math.floor(seconds / 3600)} h ago`;
}

/** "UTC+2" for a zone at an instant; "UTC" when they agree. */
export function offsetName(zone: string, at: Date | string | number = Date.now()): string {
  const name = new Intl.DateTimeFormat("en-US", { timeZone: zone, timeZoneName: "shortOffset" })
    .formatToParts(toDate(at))
    .find((p) => p.type === "timeZoneName")?.value;
  return (name ?? "GMT")
    .replace("GMT", "UTC")
    .replace(/[+-]0$/, "")
    .replace("-", "−");
}

/** The zone's offset from UTC at an instant, in minutes. */
export function offsetMinutes(zone: string, at: Date | string | number): number {
  const found = /([+−])(\d+)(?::(\d+))?/.exec(offsetName(zone, at));
  if (!found) return 0;
  return (found[1] === "−" ? -1 : 1) * (Number(found[2]) * 60 + Number(found[3] ?? 0));
}

/** "Europe/Lisbon (UTC+1)"; "UTC" alone says it already. */
export function zoneName(zone: string): string {
  const offset = offsetName(zone);
  return zone === offset ? zone : `${zone} (${offset})`;
}

/** Shortens in the middle, where names of one family differ least at the ends. */
export function middle(text: string, most = 40): string {
  if (text.length <= most) return text;
  const head = Math.ceil((most - 1) / 2);
  return `${text.slice(0, head)}…${text.slice(text.length - (most - 1 - head))}`;
}

/** RFC 4180 with CRLF-free lines, as every CSV that leaves the app. */
export function csv(rows: readonly (readonly (string | number | boolean | null | undefined)[])[]): string {
  const cell = (v: string | number | boolean | null | undefined) => {
    const text = v == null ? "" : String(v);
    return /[",\n\r]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text;
  };
  return `${rows.map((r) => r.map(cell).join(",")).join("\n")}\n`;
}
