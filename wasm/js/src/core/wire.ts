// The protobuf wire format, as far as ingest needs it. Field numbers are below 16, so that every tag is one byte.

export const utf8 = (s: string): Uint8Array => new TextEncoder().encode(s);

/** A negative number takes ten bytes, as the 64-bit two's complement that protobuf prescribes. */
export function varint(v: number): number[] {
  const out: number[] = [];
  const negative = v < 0;
  while (negative ? out.length < 9 : v > 127) {
    out.push((v & 127) | 128);
    v = Math.floor(v / 128);
  }
  out.push(negative ? 1 : v);
  return out;
}

export const message = (field: number, body: ArrayLike<number> & Iterable<number>): number[] => [
  field * 8 + 2,
  ...varint(body.length),
  ...body,
];

/** A message or text that is left out when empty. */
export const optional = (field: number, body: ArrayLike<number> & Iterable<number>): number[] =>
  body.length ? message(field, body) : [];

/** Lone surrogates become U+FFFD: one would make the whole request unreadable. */
export const text = (field: number, s: string | undefined): number[] => (s ? message(field, utf8(s)) : []);

export const int = (field: number, v: number): number[] => (v ? [field * 8, ...varint(v)] : []);

/** A google.protobuf.Timestamp. */
export function time(field: number, t: number): number[] {
  const micros = ((t % 1e6) + 1e6) % 1e6;
  return message(field, [...int(1, (t - micros) / 1e6), ...int(2, micros * 1000)]);
}

/**
 * Visits the varints and length-delimited fields of a message, with the place where each ends. False when it is no
 * message, or visit threw; what came before the fault has been visited.
 */
export function fields(
  bytes: Uint8Array,
  visit: (field: number, value: number, data: Uint8Array | undefined, end: number) => void,
): boolean {
  let at = 0;
  const next = () => {
    let v = 0n;
    for (let shift = 0; ; shift += 7) {
      const byte = bytes[at++]!;
      if (!(byte < (shift < 63 ? 256 : 2))) throw 0;
      v |= BigInt(byte & 127) << BigInt(shift);
      if (byte < 128) return Number(BigInt.asIntN(64, v));
    }
  };
  try {
    while (at < bytes.length) {
      const tag = next();
      if (tag < 8 || tag >= 2 ** 32) throw 0;
      const wire = tag & 7;
      const value = wire == 1 ? 8 : wire == 5 ? 4 : next();
      if (wire == 0) {
        visit(tag >>> 3, value, undefined, at);
        continue;
      }
      const from = at;
      at += value;
      if ((wire != 1 && wire != 2 && wire != 5) || value < 0 || at > bytes.length) throw 0;
      if (wire == 2) visit(tag >>> 3, 0, bytes.subarray(from, at), at);
    }
    return true;
  } catch {
    return false;
  }
}

export const string = (bytes: Uint8Array): string => new TextDecoder().decode(bytes);
