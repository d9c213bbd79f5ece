// What JavaScript adds to the vectors: values that Go has not, callers without types, and queues that lost bytes.
import { describe, expect, test } from "vitest";
import { appendBody, CausalityError, encodeEvent } from "../src/core";
import { newIds } from "../src/core/ids";
import { pack, text, toBytes, unpack } from "../src/core/wire";
import { splitMix } from "./replay";

const now = 1_790_000_000_123_456;

/** The JSON text of an event's properties as they travel. */
const sent = (properties: object) =>
  text(unpack(toBytes(encodeEvent(now, { name: "e", properties })))[2][11]);

describe("properties", () => {
  const cyclic: Record<string, unknown> = {};
  cyclic.self = cyclic;
  test.each<[what: string, properties: object, json: string]>([
    ["a date is its ISO text", { at: new Date(0) }, '{"at":"1970-01-01T00:00:00.000Z"}'],
    ["toJSON is asked", { price: { toJSON: () => 5 } }, '{"price":5}'],
    ["a bigint keeps its digits", { n: 12345678901234567890n }, '{"n":12345678901234567890}'],
    ["undefined is left out, and null in a list", { a: undefined, b: [undefined, 1] }, '{"b":[null,1]}'],
    ["so is what an array lacks", { a: new Array(2) }, '{"a":[null,null]}'],
    ["minus zero is zero", { a: -0 }, '{"a":0}'],
    ["half a surrogate pair is U+FFFD, in keys too", { "\ud800": "\udc00" }, '{"\ufffd":"\ufffd"}'],
    [
      "keys have the order of their bytes",
      { "\u{1f600}": 1, "\uffee": 2, b: 3, a: 4 },
      '{"a":4,"b":3,"\uffee":2,"\u{1f600}":1}',
    ],
    ["only undefined is nothing", { a: undefined }, ""],
  ])("%s", (_, properties, json) => expect(sent(properties)).toBe(json));

  test.each<[what: string, properties: object, field: RegExp]>([
    ["no number", { a: { b: Number.NaN } }, /^properties\.a\.b$/],
    ["an infinite one", { a: [1, Number.POSITIVE_INFINITY] }, /^properties\.a\.1$/],
    ["a function", { f: () => 1 }, /^properties\.f$/],
    ["an object that contains itself", cyclic, /^properties(\.self){32}$/],
  ])("refused: %s", (_, properties, field) => {
    let error: unknown;
    try {
      sent(properties);
    } catch (thrown) {
      error = thrown;
    }
    expect(error).toBeInstanceOf(CausalityError);
    expect(error).toMatchObject({ reason: "invalid", field: expect.stringMatching(field) });
  });
});

test("a number where a text belongs is its text", () => {
  const [, , data] = unpack(toBytes(encodeEvent(now, { name: "e", userId: 42 as unknown as string })));
  expect(text(data[5])).toBe("42");
});

test("a time that is none is refused", () => {
  expect(() => encodeEvent(now, { name: "e", timestamp: Number.NaN })).toThrow(/timestamp/);
});

test("ids rise when the clock steps back and when a millisecond is full", () => {
  const newId = newIds(splitMix(1));
  let last = "";
  for (let i = 0; i < 10_000; i++) {
    const id = newId(i < 9000 ? now : now - 5e9);
    expect(id).toMatch(/^[\da-f]{8}-[\da-f]{4}-7[\da-f]{3}-[89ab][\da-f]{3}-[\da-f]{12}$/);
    expect(id > last).toBe(true);
    last = id;
  }
});

describe("a body", () => {
  const frames = ["a", "bc", "d".repeat(200)].map((s) => pack([s]));
  const block = toBytes(frames.join(""));
  const body = (blocks: Uint8Array[], skip: number, events: number) => {
    const bytes = appendBody(blocks, skip, events, toBytes("!"));
    return bytes && String.fromCharCode(...bytes);
  };

  test("is whole frames and the trailer", () => {
    expect(body([block], 0, 3)).toBe(`${frames.join("")}!`);
    expect(body([block], 1, 1)).toBe(`${frames[1]}!`);
    expect(body([block, block], 2, 2)).toBe(`${frames[2]}${frames[0]}!`);
    expect(body([block, block], 3, 3)).toBe(`${frames.join("")}!`);
  });

  test("is none when frames are missing or cut", () => {
    expect(body([block], 0, 4)).toBeUndefined();
    expect(body([block], 4, 0)).toBeUndefined();
    expect(body([block.subarray(0, -1)], 0, 3)).toBeUndefined();
    expect(body([block.subarray(0, -1), block], 0, 5)).toBeUndefined();
    expect(body([block.subarray(0, -1)], 0, 2)).toBe(`${frames[0]}${frames[1]}!`);
  });
});
