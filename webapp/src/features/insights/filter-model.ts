// Filters as the editor edits them: a group (all or any) of conditions and of
// groups one level deeper. Which operators a property takes follows its type.
import type { FilterJson } from "../../gen/causality/insights/v1/insights_pb";

export type PropertyType = "text" | "number" | "boolean" | "list" | "object";
export type FilterValue = string | number | boolean;
export type Condition = { property: string; op: string; values: FilterValue[] };
export type Group = { mode: "all" | "any"; items: (Condition | Group)[] };

export const isGroup = (item: Condition | Group): item is Group => "mode" in item;

/** How many values an operator takes, and of which kind. */
export type Takes = "none" | "many" | "one" | "number" | "two" | "date" | "dates" | "duration";

type Operator = { op: string; label: string; takes: Takes };

const set: Operator[] = [
  { op: "isSet", label: "is set", takes: "none" },
  { op: "isNotSet", label: "is not set", takes: "none" },
];

const text: Operator[] = [
  { op: "is", label: "is", takes: "many" },
  { op: "isNot", label: "is not", takes: "many" },
  { op: "contains", label: "contains", takes: "one" },
  { op: "notContains", label: "does not contain", takes: "one" },
  { op: "startsWith", label: "starts with", takes: "one" },
  { op: "endsWith", label: "ends with", takes: "one" },
  { op: "matches", label: "matches regex", takes: "one" },
];

const dates: Operator[] = [
  { op: "on", label: "is on", takes: "date" },
  { op: "before", label: "is before", takes: "date" },
  { op: "after", label: "is after", takes: "date" },
  { op: "betweenDates", label: "is between dates", takes: "dates" },
  { op: "inLast", label: "is in the last", takes: "duration" },
];

const numbers: Operator[] = [
  { op: "eq", label: "=", takes: "number" },
  { op: "ne", label: "≠", takes: "number" },
  { op: "gt", label: ">", takes: "number" },
  { op: "gte", label: "≥", takes: "number" },
  { op: "lt", label: "<", takes: "number" },
  { op: "lte", label: "≤", takes: "number" },
  { op: "between", label: "is between", takes: "two" },
];

const truth: Operator[] = [
  { op: "isTrue", label: "is true", takes: "none" },
  { op: "isFalse", label: "is false", takes: "none" },
];

const byOp = new Map([...text, ...numbers, ...truth, ...dates, ...set].map((o) => [o.op, o]));

/** The operators of a property, the likeliest first; `types` as the catalogue saw them. */
export function operatorsOf(types: readonly string[]): Operator[] {
  const main = types[0];
  if (main === "number") return [...numbers, ...set, ...(types.includes("text") ? text : [])];
  if (main === "boolean") return [...truth, ...set, ...text.slice(0, 2)];
  if (main === "list") return [...text, ...set];
  return [...text, ...set, ...dates, ...(types.includes("number") ? numbers : [])];
}

export const takes = (op: string): Takes => byOp.get(op)?.takes ?? "one";

/** A condition that has all it needs; others are edited but not asked yet. */
export function isReady(c: Condition): boolean {
  switch (takes(c.op)) {
    case "none":
      return true;
    case "two":
    case "dates":
      return c.values.length === 2 && c.values.every((v) => v !== "");
    default:
      return c.values.length > 0 && c.values.every((v) => v !== "");
  }
}

/** Keeps the values that the new operator can use. */
export function withOperator(c: Condition, op: string): Condition {
  const [from, to] = [takes(c.op), takes(op)];
  if (from === to) return { ...c, op };
  const textual = (t: Takes) => t === "many" || t === "one";
  if (textual(from) && textual(to))
    return { ...c, op, values: to === "one" ? c.values.slice(0, 1) : c.values };
  if (from === "number" && to === "two") return { ...c, op, values: [] };
  if (from === "two" && to === "number") return { ...c, op, values: c.values.slice(0, 1) };
  return { ...c, op, values: [] };
}

// The server has one "between" and tells numbers from days by the values; a field
// for numbers is not one for days, so that the editor has two.
const isDay = (v: unknown) => typeof v === "string" && /^\d{4}-\d\d-\d\d$/.test(v);

export function toFilter(group: Group, ready = true): FilterJson | undefined {
  const inside = group.items.flatMap((item): FilterJson[] => {
    if (isGroup(item)) {
      const nested = toFilter(item, ready);
      return nested ? [nested] : [];
    }
    if (ready && !isReady(item)) return [];
    return [
      {
        property: item.property,
        op: item.op === "betweenDates" ? "between" : item.op,
        ...(item.values.length > 0 ? { values: item.values } : {}),
      },
    ];
  });
  return inside.length > 0 ? { [group.mode]: inside } : undefined;
}

export function fromFilter(filter: FilterJson | undefined): Group {
  if (!filter) return { mode: "all", items: [] };
  if (filter.property) return { mode: "all", items: [toCondition(filter)] };
  const mode = filter.any && filter.any.length > 0 ? "any" : "all";
  return {
    mode,
    items: (filter[mode] ?? []).map((f) => (f.property ? toCondition(f) : fromFilter(f))),
  };
}

function toCondition(f: FilterJson): Condition {
  const values = (f.values ?? []) as FilterValue[];
  const op = f.op === "between" && values.some(isDay) ? "betweenDates" : (f.op ?? "is");
  return { property: f.property ?? "", op, values };
}

/** "plan is pro", "revenue is between 5 and 10" */
export function conditionText(c: Condition): string {
  const operator = byOp.get(c.op)?.label ?? c.op;
  const kind = takes(c.op);
  if (kind === "none") return `${c.property} ${operator}`;
  const values = c.values.map(String);
  const said = kind === "two" || kind === "dates" ? values.join(" and ") : values.join(" or ");
  return `${c.property} ${operator} ${said}`;
}

/** "plan = pro" where it reads so: for the sentence that names a guilty filter. */
export function shortText(c: Condition): string {
  return c.op === "is" || c.op === "eq" ? `${c.property} = ${c.values.join(" or ")}` : conditionText(c);
}

/** Every condition with its path, outermost first. */
export function conditions(group: Group, path: number[] = []): { condition: Condition; path: number[] }[] {
  return group.items.flatMap((item, i) =>
    isGroup(item) ? conditions(item, [...path, i]) : [{ condition: item, path: [...path, i] }],
  );
}

export function without(group: Group, path: readonly number[]): Group {
  const [i, ...rest] = path;
  return {
    ...group,
    items: group.items.flatMap((item, at) => {
      if (at !== i) return [item];
      if (rest.length === 0 || !isGroup(item)) return [];
      const inner = without(item, rest);
      return inner.items.length > 0 ? [inner] : [];
    }),
  };
}

export function replaceAt(group: Group, path: readonly number[], next: Condition | Group): Group {
  const [i, ...rest] = path;
  return {
    ...group,
    items: group.items.map((item, at) =>
      at !== i ? item : rest.length === 0 || !isGroup(item) ? next : replaceAt(item, rest, next),
    ),
  };
}
