// A result as the page needs it: plain values with their types known, so that
// the grid, the chart and copying agree on what a number, a time and NULL are.

import type { Value } from "@bufbuild/protobuf/wkt";
import type { RunResponse } from "../../gen/causality/query/v1/query_pb";

export type Cell = string | number | boolean | null;
export type Kind = "number" | "time" | "date" | "boolean" | "json" | "text";
export type ResultColumn = { name: string; type: string; kind: Kind };
export type Result = {
  columns: ResultColumn[];
  rows: Cell[][];
  truncated: boolean;
  seconds: number;
  scannedRows: number;
  engine: string;
  freshTo: string;
  sql: string;
  at: number;
};

export function kindOf(type: string): Kind {
  const t = type.toUpperCase();
  if (/^(JSON|STRUCT|MAP|UNION)|\[\d*\]$/.test(t)) return "json";
  if (/^(U?(TINY|SMALL|BIG|HUGE)?INT(EGER)?|DOUBLE|FLOAT|REAL|DECIMAL|NUMERIC)/.test(t)) return "number";
  if (/^(TIMESTAMP|DATETIME)/.test(t)) return "time";
  if (t === "DATE") return "date";
  if (/^BOOL/.test(t)) return "boolean";
  return "text";
}

/** A short name for the head of a column. */
export function shortType(type: string): string {
  const t = type.toLowerCase();
  if (t === "timestamp with time zone") return "timestamptz";
  return t.length > 24 ? `${t.slice(0, 23)}…` : t;
}

function plain(value: Value): Cell {
  const { kind } = value;
  switch (kind.case) {
    case "stringValue":
    case "numberValue":
    case "boolValue":
      return kind.value;
    case "listValue":
    case "structValue":
      return JSON.stringify(kind.case === "listValue" ? kind.value.values.map(plain) : kind.value);
    default:
      return null;
  }
}

export function toResult(response: RunResponse, sql: string, at: number): Result {
  return {
    columns: response.columns.map((c) => ({ name: c.name, type: c.type, kind: kindOf(c.type) })),
    rows: response.rows.map((row) => row.values.map(plain)),
    truncated: response.truncated,
    seconds: response.meta?.seconds ?? 0,
    scannedRows: response.meta?.scannedRows ?? 0,
    engine: response.meta?.engine ?? "",
    freshTo: response.meta?.freshTo ?? "",
    sql,
    at,
  };
}

/** Integers of 64 bits travel as text; they sort and draw as numbers. */
export function asNumber(cell: Cell): number | null {
  if (typeof cell === "number") return cell;
  if (typeof cell === "string" && cell.trim() !== "") {
    const n = Number(cell);
    return Number.isNaN(n) ? null : n;
  }
  return null;
}

/** Milliseconds since 1970 of a time as the engine writes it; a time without a zone is UTC. */
export function asInstant(cell: Cell): number | null {
  if (typeof cell !== "string") return null;
  const m = /^(\d{4}-\d\d-\d\d)[T ](\d\d:\d\d(?::\d\d(?:\.\d+)?)?)\s*(Z|[+-]\d\d(?::?\d\d)?)?$/.exec(cell);
  if (!m) return null;
  let offset = m[3] ?? "Z";
  if (/^[+-]\d\d$/.test(offset)) offset += ":00";
  const at = Date.parse(`${m[1]}T${m[2]}${offset}`);
  return Number.isNaN(at) ? null : at;
}

const wallClocks = new Map<string, Intl.DateTimeFormat>();

/** A time of the engine on the clock of `zone`: 2026-11-20 14:05:11.123. */
export function timeText(cell: Cell, zone: string, withZone: boolean): string {
  const at = withZone ? asInstant(cell) : null;
  if (at === null) return String(cell).replace("T", " ");
  let format = wallClocks.get(zone);
  if (!format) {
    format = new Intl.DateTimeFormat("sv-SE", {
      timeZone: zone,
      dateStyle: "short",
      timeStyle: "medium",
    });
    wallClocks.set(zone, format);
  }
  const fraction = /\.(\d+)/.exec(String(cell))?.[1]?.replace(/0+$/, "");
  return `${format.format(at)}${fraction ? `.${fraction}` : ""}`;
}

const whole = new Intl.NumberFormat("en-US", { maximumFractionDigits: 0 });

// A number that names something is no quantity.
const naming = /(^|_)(id|key|seq|year)$/i;

/** What the grid shows: numbers with separators, unless they are ids. */
export function cellText(cell: Cell, column: ResultColumn, zone: string): string {
  if (cell === null) return "NULL";
  if (column.kind === "number" && naming.test(column.name)) return String(cell);
  switch (column.kind) {
    case "number": {
      if (typeof cell === "string") return /^-?\d+$/.test(cell) ? whole.format(BigInt(cell)) : cell;
      if (typeof cell === "number") return Number.isInteger(cell) ? whole.format(cell) : fraction(cell);
      return String(cell);
    }
    case "time":
      return timeText(cell, zone, /ZONE|TZ/i.test(column.type));
    default:
      return String(cell);
  }
}

// The digits that the number has, with separators before the point.
function fraction(n: number): string {
  const text = String(n);
  if (/e/.test(text)) return text;
  const [head = "0", tail] = text.split(".");
  const sign = head.startsWith("-") ? "-" : "";
  return `${sign}${whole.format(BigInt(head.replace("-", "")))}.${tail}`;
}

/** What copying gives: the value as it came, nothing for NULL. */
export const copyText = (cell: Cell) => (cell === null ? "" : String(cell));

export function rowAsJson(columns: readonly ResultColumn[], row: readonly Cell[]): string {
  return JSON.stringify(Object.fromEntries(columns.map((c, i) => [c.name, row[i] ?? null])), null, 2);
}

/** Tab-separated, as spreadsheets take it. */
export function rowAsText(row: readonly Cell[]): string {
  return row.map((c) => copyText(c).replace(/[\t\n\r]+/g, " ")).join("\t");
}

/** Order of two cells of one column; NULL stands last either way, see the grid. */
export function compareCells(a: Cell, b: Cell, kind: Kind): number {
  if (kind === "number") {
    // Wide integers keep every digit in text: BigInt tells neighbours apart.
    if (typeof a === "string" && typeof b === "string" && /^-?\d+$/.test(a) && /^-?\d+$/.test(b)) {
      const [x, y] = [BigInt(a), BigInt(b)];
      return x < y ? -1 : x > y ? 1 : 0;
    }
    return (asNumber(a) ?? 0) - (asNumber(b) ?? 0);
  }
  if (kind === "time") {
    const [x, y] = [asInstant(a), asInstant(b)];
    if (x !== null && y !== null) return x - y;
  }
  const [x, y] = [String(a), String(b)];
  return x < y ? -1 : x > y ? 1 : 0;
}

export function sortRows(
  rows: readonly Cell[][],
  columns: readonly ResultColumn[],
  sort: { column: number; desc: boolean } | undefined,
): readonly Cell[][] {
  const column = sort && columns[sort.column];
  if (!sort || !column) return rows;
  const sign = sort.desc ? -1 : 1;
  return [...rows].sort((a, b) => {
    const [x, y] = [a[sort.column] ?? null, b[sort.column] ?? null];
    if (x === null || y === null) return x === y ? 0 : x === null ? 1 : -1;
    return sign * compareCells(x, y, column.kind);
  });
}

export type Picture = {
  kind: "line" | "bar";
  categories: string[];
  titles: string[];
  series: { name: string; values: (number | null)[] }[];
};

const mostBars = 60;
const mostSeries = 8;
const mostPoints = 2000;

/**
 * The picture a result makes by itself: a time or date with numbers is a line, a
 * text with numbers are bars, and a time with a text and a number is a line a text.
 */
export function pictureOf(result: Pick<Result, "columns" | "rows">, zone: string): Picture | undefined {
  const { columns, rows } = result;
  if (rows.length < 2) return undefined;
  const index = (kinds: Kind[]) => columns.flatMap((c, i) => (kinds.includes(c.kind) ? [i] : []));
  const label = (row: Cell[], i: number) => {
    const column = columns[i];
    const cell = row[i] ?? null;
    if (!column || cell === null) return "NULL";
    return column.kind === "time" ? cellText(cell, column, zone).replace(/ 00:00:00$/, "") : String(cell);
  };
  const numbers = index(["number"]);
  const [time] = index(["time", "date"]);
  const texts = index(["text", "boolean"]);
  if (numbers.length === 0) return undefined;

  if (time !== undefined && rows.length <= mostPoints) {
    const ordered = [...rows].sort((a, b) =>
      compareCells(a[time] ?? "", b[time] ?? "", columns[time]?.kind ?? "text"),
    );
    if (texts.length === 0 && columns.length === numbers.length + 1) {
      const seen = new Set(ordered.map((r) => label(r, time)));
      if (seen.size !== rows.length) return undefined;
      const categories = ordered.map((r) => label(r, time));
      return {
        kind: "line",
        categories,
        titles: categories,
        series: numbers.slice(0, mostSeries).map((n) => ({
          name: columns[n]?.name ?? "",
          values: ordered.map((r) => asNumber(r[n] ?? null)),
        })),
      };
    }
    const [group] = texts;
    const [value] = numbers;
    if (
      texts.length === 1 &&
      numbers.length === 1 &&
      columns.length === 3 &&
      group !== undefined &&
      value !== undefined
    ) {
      const categories = [...new Set(ordered.map((r) => label(r, time)))];
      const names = [...new Set(ordered.map((r) => label(r, group)))];
      if (names.length > mostSeries || categories.length < 2) return undefined;
      const at = new Map(categories.map((c, i) => [c, i]));
      const series = names.map((name) => ({ name, values: categories.map((): number | null => null) }));
      for (const row of ordered) {
        const s = series[names.indexOf(label(row, group))];
        const i = at.get(label(row, time));
        if (s && i !== undefined) s.values[i] = asNumber(row[value] ?? null);
      }
      return { kind: "line", categories, titles: categories, series };
    }
    return undefined;
  }

  if (texts.length === 1 && columns.length === numbers.length + 1 && rows.length <= mostBars) {
    const [name] = texts;
    if (name === undefined) return undefined;
    const categories = rows.map((r) => label(r, name));
    if (new Set(categories).size !== rows.length) return undefined;
    return {
      kind: "bar",
      categories,
      titles: categories,
      series: numbers.slice(0, mostSeries).map((n) => ({
        name: columns[n]?.name ?? "",
        values: rows.map((r) => asNumber(r[n] ?? null)),
      })),
    };
  }
  return undefined;
}
