import { CausalityError } from "./error";
import { tooLong } from "./ids";
import type { Context, EventInput, Properties } from "./types";
import { double, mend, pack, time, utf8 } from "./wire";

const invalid = (field: string, problem: string): never => {
  throw new CausalityError("invalid", `invalid event: ${field} ${problem}`, field);
};

// causality.event.v1.Context: the place of a name is its field number, and names after a point are a message's.
const contextNames = (
  "app.version.build.namespace device.id.manufacturer.model.type os.name.version screen.width.height locale timeZone " +
  "network.wifi.cellular.carrier page.url.path.title.referrer campaign.source.medium.name.term.content library.name.version " +
  "ip userAgent geo.country.region.city platform"
)
  .split(" ")
  .map((names) => names.split("."));

// A page has one context for many events, and encodes it once. Who makes a context must not change it then.
let lastContext: Context | undefined;
let lastBytes = "";

const encodeContext = (context?: Context): string => {
  if (context != lastContext) {
    lastContext = context;
    lastBytes = pack(
      ...contextNames.map(([name, ...parts]) => {
        // biome-ignore lint/suspicious/noExplicitAny: read by the names above
        const v = (context as any)?.[name!];
        if (!parts[0] || !v) return v;
        const { density } = v; // the one field of 64 bits
        return [
          pack(...parts.map((part) => v[part])) + (density > 0 && density < 1 / 0 ? double(3, density) : ""),
        ];
      }),
    );
  }
  return lastBytes;
};

/** The order of bytes, in which Go sorts texts; that of UTF-16 differs beyond U+FFFF. */
const byBytes = (a: string, b: string) => (utf8(a) < utf8(b) ? -1 : 1);

const jsonString = (s: string) => JSON.stringify(mend(s));

/** The JSON text of a value, with sorted keys, so that equal properties have equal bytes. */
// biome-ignore lint/suspicious/noExplicitAny: of the caller's own types
const json = (v: any, path: string, depth: number): string => {
  if (v?.toJSON) v = v.toJSON();
  if (typeof v == "string") return jsonString(v);
  if (v && typeof v == "object") {
    if (depth > 32) invalid(path, "is nested too deeply");
    const inner = (key: string | number) => json(v[key] ?? null, `${path}.${key}`, depth + 1);
    return Array.isArray(v)
      ? `[${Array.from(v, (_, i) => inner(i))}]`
      : `{${Object.keys(v)
          .sort(byBytes)
          .flatMap((key) => (v[key] === undefined ? [] : `${jsonString(key)}:${inner(key)}`))}}`;
  }
  // What is left of finite numbers, bigints, booleans and null is nothing.
  return v - v == 0 ? `${v}` : invalid(path, "has no JSON form");
};

const object = (path: string, v: Properties | undefined): string => {
  const s = v ? json(v, path, 1) : "{}";
  return s == "{}" ? "" : s;
};

// Callers without types pass numbers.
const id = (v: string | undefined) => v && `${v}`;

export const packGroups = (groups: Record<string, string>): string[] =>
  Object.keys(groups)
    .sort(byBytes)
    .map((kind) => pack(kind, id(groups[kind])));

/**
 * Encodes an event as causality.event.v1.Event, its fields in the order of their numbers, a character for each byte. One
 * without an id gets 36 zeros at bytes 2 to 38. Throws a CausalityError that names the field in the wire's spelling.
 */
export function encodeEvent(now: number, e: EventInput): string {
  const { type = 1, timestamp = now, groups = {}, traits = {} } = e;
  const missing = [
    "type",
    e.name ? "" : "name",
    e.userId || e.anonymousId ? "" : "user_id",
    e.groupType && e.groupId ? "" : "group_id",
    e.userId && e.previousId ? "" : "previous_id",
  ][type];
  if (missing != "") invalid(missing || "type", "is missing");
  for (const [name, v] of [
    ...Object.entries(e),
    ...Object.entries(groups)
      .flat()
      .map((v) => ["groups", v]),
  ])
    if (typeof v == "string" && tooLong(v))
      invalid(name.replace(/[A-Z]/, "_$&").toLowerCase(), "is longer than 200 characters");
  if (!(timestamp >= -62135596800e6 && timestamp < 253402300800e6)) invalid("timestamp", "is no time");
  for (const key in traits.add)
    if (!/num|big/.test(typeof traits.add[key])) invalid(`traits.add.${key}`, "is no number");
  const out = pack(
    id(e.id) || "0".repeat(36),
    type,
    id(e.name),
    time(timestamp),
    id(e.userId),
    id(e.anonymousId),
    id(e.sessionId),
    packGroups(groups),
    id(e.correlationId),
    [encodeContext(e.context)],
    object("properties", e.properties),
    [
      pack(
        object("traits.set", traits.set),
        object("traits.set_once", traits.setOnce),
        object("traits.add", traits.add),
        traits.unset?.map(utf8),
      ),
    ],
    id(e.groupType),
    id(e.groupId),
    id(e.previousId),
  );
  if (out.length > 32768)
    throw new CausalityError("too_large", "invalid event: event is larger than 32 KiB", "event");
  return out;
}
