// The protobuf wire format, as far as ingest needs it. Field numbers are below 16, so that every tag is one byte.

export const utf8 = (s: string): Uint8Array => new TextEncoder().encode(s);
export const string = (bytes: Uint8Array | undefined): string => new TextDecoder().decode(bytes);

/** What a field can hold; bytes are a message or a text, and a list of bytes is a repeated field. */
export type Value = string | number | boolean | undefined | Bytes | Bytes[];
export type Bytes = Uint8Array | number[];

/** A negative number takes ten bytes, as the 64-bit two's complement that protobuf prescribes. */
export function varint(v: number): number[] {
  const out: number[] = [];
  for (; (v > 127 || v < 0) && out.length < 9; v = Math.floor(v / 128)) out.push((v & 127) | 128);
  return [...out, v < 0 ? 1 : v];
}

// biome-ignore lint/suspicious/noExplicitAny: told apart by what they have
const field = (n: number, v: any): number[] => {
  if (v?.[0]?.map) return v.flatMap((one: Bytes) => field(n, one));
  if (typeof v == "string") v = utf8(v); // lone surrogates become U+FFFD: one would make the request unreadable
  return v?.length ? [n * 8 + 2, ...varint(v.length), ...v] : v > 0 || v < 0 ? [n * 8, ...varint(+v)] : [];
};

/** A message of fields 1, 2, … in their order. Empty ones are left out. */
export const pack = (...values: Value[]): number[] => values.flatMap((v, i) => field(i + 1, v));

/** A google.protobuf.Timestamp. */
export const time = (t: number): number[] => {
  const micros = ((t % 1e6) + 1e6) % 1e6;
  return pack((t - micros) / 1e6, micros * 1e3);
};

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
