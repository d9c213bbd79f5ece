// The protobuf wire format, as far as ingest needs it. Field numbers are below 16, so that every tag is one byte.
//
// What is written is text with a character for each byte: engines join texts faster than they copy arrays, and the code
// for it is shorter.

/** What a field holds. A message is a list of one, and a list of several a repeated field; the empty ones are left out. */
export type Value = string | number | boolean | undefined | string[];

const char = String.fromCharCode;

/** Lone surrogates become U+FFFD: one would make the whole request unreadable. */
export const mend = (s: string): string => s.replace(/\p{Cs}/gu, "\ufffd");

/** The bytes of a text. */
export const utf8 = (s: string): string =>
  /[^\0-\x7f]/.test(s) ? unescape(encodeURIComponent(mend(s))) : `${s}`;

export const toBytes = (s: string): Uint8Array => {
  const bytes = new Uint8Array(s.length);
  for (let i = 0; i < s.length; i++) bytes[i] = s.charCodeAt(i);
  return bytes;
};

/** A negative number takes ten bytes, as the 64-bit two's complement that protobuf prescribes. */
export const varint = (v: number): string => {
  let out = "";
  for (; (v > 127 || v < 0) && out.length < 9; v = Math.floor(v / 128)) out += char((v & 127) | 128);
  return out + char(v < 0 ? 1 : v);
};

const field = (n: number, v: Value): string =>
  Array.isArray(v)
    ? v.map((bytes) => bytes && char(n * 8 + 2) + varint(bytes.length) + bytes).join("")
    : typeof v == "string"
      ? field(n, [utf8(v)])
      : +v! > 0 || +v! < 0
        ? char(n * 8) + varint(+v!)
        : "";

/** A message of fields 1, 2, … in their order. */
export const pack = (...values: Value[]): string => values.map((v, i) => field(i + 1, v)).join("");

/** A google.protobuf.Timestamp. */
export const time = (t: number): string[] => {
  const micros = ((t % 1e6) + 1e6) % 1e6;
  return [pack((t - micros) / 1e6, micros * 1e3)];
};

/** Field n of 64 bits. */
export const double = (n: number, v: number): string =>
  char(n * 8 + 1, ...new Uint8Array(Float64Array.of(v).buffer));

/**
 * Reads a message: the last of each field of a number, and all of each field of bytes. When it is not a whole one, what
 * came before the fault is there.
 */
export function unpack(bytes: Uint8Array): [whole: boolean, ints: number[], data: Uint8Array[][]] {
  const ints: number[] = [];
  const data: Uint8Array[][] = [];
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
      const wire = tag & 7;
      const n = tag >>> 3;
      const size = wire == 1 ? 8 : wire == 5 ? 4 : next();
      if (tag < 8 || tag >= 2 ** 32) throw 0;
      if (!wire) ints[n] = size;
      else {
        at += size;
        if ((wire != 2 && wire != 1 && wire != 5) || size < 0 || at > bytes.length) throw 0;
        if (wire == 2) (data[n] ||= []).push(bytes.subarray(at - size, at));
      }
    }
    return [true, ints, data];
  } catch {
    return [false, ints, data];
  }
}

/** The text of the last of some fields. */
export const text = (all: Uint8Array[] | undefined): string => new TextDecoder().decode(all?.pop());
