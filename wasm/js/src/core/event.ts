import { CausalityError } from "./error";
import type { Context, EventInput, Properties } from "./types";
import { int, optional, text, time } from "./wire";

const invalid = (field: string, problem: string): never => {
  throw new CausalityError("invalid", `invalid event: ${field} ${problem}`, field);
};

export const tooLong = (s: string): boolean => s.length > 200 && [...s].length > 200;

// causality.event.v1.Context: the place of a name is its field number, and names after a point are a message's.
const context = (
  "app.version.build.namespace device.id.manufacturer.model.type os.name.version screen.width.height.density locale timeZone " +
  "network.wifi.cellular.carrier page.url.path.title.referrer campaign.source.medium.name.term.content library.name.version " +
  "ip userAgent geo.country.region.city platform"
)
  .split(" ")
  .map((names) => names.split("."));

// biome-ignore lint/suspicious/noExplicitAny: read by the names above
function contextValue(field: number, name: string, v: any): number[] {
  if (name == "density")
    return v && Number.isFinite(v) ? [field * 8 + 1, ...new Uint8Array(new Float64Array([v]).buffer)] : [];
  return typeof v == "string" ? text(field, v) : int(field, +v);
}

const encodeContext = (c: Context): number[] =>
  context.flatMap(([name, ...parts], i) => {
    // biome-ignore lint/suspicious/noExplicitAny: read by the names above
    const v = (c as any)[name!];
    return parts.length
      ? optional(
          i + 1,
          parts.flatMap((part, j) => contextValue(j + 1, part, v?.[part])),
        )
      : text(i + 1, v);
  });

const jsonString = (s: string) => JSON.stringify(s.replace(/\p{Cs}/gu, "\ufffd"));

/** The JSON text of a value, with sorted keys, so that equal properties have equal bytes. */
// biome-ignore lint/suspicious/noExplicitAny: of the caller's own types
function json(v: any, path: string, depth: number): string {
  if (typeof v == "string") return jsonString(v);
  if (v === null || typeof v == "boolean" || typeof v == "bigint") return `${v}`;
  if (typeof v == "number") return Number.isFinite(v) ? `${v}` : invalid(path, "is not a finite number");
  if (typeof v != "object") return invalid(path, "has no JSON form");
  if (v.toJSON) return json(v.toJSON(), path, depth);
  if (depth > 32) return invalid(path, "is nested more than 32 levels deep, or contains itself");
  return Array.isArray(v)
    ? `[${Array.from(v, (item, i) => json(item ?? null, `${path}.${i}`, depth + 1))}]`
    : `{${Object.keys(v)
        .filter((key) => v[key] !== undefined)
        .sort()
        .map((key) => `${jsonString(key)}:${json(v[key], `${path}.${key}`, depth + 1)}`)}}`;
}

function object(field: number, path: string, v: Properties | undefined): number[] {
  const s = v ? json(v, path, 1) : "{}";
  return text(field, s == "{}" ? "" : s);
}

export const encodeGroups = (field: number, groups: Record<string, string> = {}): number[] =>
  Object.keys(groups)
    .sort()
    .flatMap((kind) => optional(field, [...text(1, kind), ...text(2, groups[kind])]));

/** Where an event without an id has 36 zeros, from the third byte on. */
const noId = "0".repeat(36);

/**
 * Encodes an event as causality.event.v1.Event, its fields in the order of their numbers. One without an id gets 36
 * zeros at bytes 2 to 38. Throws a CausalityError that names the field in the wire's spelling.
 */
export function encodeEvent(now: number, e: EventInput): number[] {
  const { type = 1, timestamp = now, groups = {}, traits: t } = e;
  const missing = [
    "type",
    e.name ? "" : "name",
    e.userId || e.anonymousId ? "" : "user_id",
    e.groupType && e.groupId ? "" : "group_id",
    e.userId && e.previousId ? "" : "previous_id",
  ][type];
  if (missing != "") invalid(missing ?? "type", "is missing");
  const id = (field: number, name: string): number[] => {
    // biome-ignore lint/suspicious/noExplicitAny: read by name
    const v: string = (e as any)[name] ?? "";
    if (tooLong(v)) invalid(name.replace(/[A-Z]/, "_$&").toLowerCase(), "is longer than 200 characters");
    return text(field, v);
  };
  for (const kind in groups)
    if (tooLong(kind) || tooLong(groups[kind]!)) invalid("groups", "has an id longer than 200 characters");
  if (!(timestamp >= -62135596800e6 && timestamp < 253402300800e6))
    invalid("timestamp", "is outside the years 1 to 9999");
  for (const key in t?.add)
    if (!/num|big/.test(typeof t.add[key])) invalid(`traits.add.${key}`, "is not a number");
  const out = [
    ...(e.id ? id(1, "id") : text(1, noId)),
    ...int(2, type),
    ...id(3, "name"),
    ...time(4, timestamp),
    ...id(5, "userId"),
    ...id(6, "anonymousId"),
    ...id(7, "sessionId"),
    ...encodeGroups(8, groups),
    ...id(9, "correlationId"),
    ...optional(10, e.context ? encodeContext(e.context) : []),
    ...object(11, "properties", e.properties),
    ...optional(12, [
      ...object(1, "traits.set", t?.set),
      ...object(2, "traits.set_once", t?.setOnce),
      ...object(3, "traits.add", t?.add),
      ...(t?.unset ?? []).flatMap((key) => text(4, key)),
    ]),
    ...id(13, "groupType"),
    ...id(14, "groupId"),
    ...id(15, "previousId"),
  ];
  if (out.length > 32768)
    throw new CausalityError("too_large", "invalid event: event is larger than 32 KiB", "event");
  return out;
}
