// What the golden vectors do not say: the boundary between JavaScript and core.wasm.
import { describe, expect, test } from "vitest";
import { encodeEvent } from "../../src/core";
import { CausalityError } from "../../src/core/error";
import type { Context, CoreLike, EventInput } from "../../src/core/types";
import { toBytes } from "../../src/core/wire";
import { Call, CoreInstance, newWasmCore, Tape } from "../../src/wasm-core";
import { hex } from "../replay";
import { newCodec } from "./core";
import { module } from "./module";

const config = { library: { name: "test", version: "1" } };
const now = 1790000000123456;
const id = "01a0c450-6e06-7001-98a9-0805cb8887be";
const random = () => 0n;
const open = (more = {}): CoreLike => newWasmCore(module, { ...config, ...more }, random);
const refusal = (act: () => unknown): CausalityError => {
  try {
    act();
  } catch (error) {
    if (error instanceof CausalityError) return error;
    throw error;
  }
  throw new Error("nothing was refused");
};

class Money {
  toJSON() {
    return { amount: 1 };
  }
}

describe("an event is encoded as the TypeScript core encodes it", () => {
  const codec = newCodec(module);
  const properties: Record<string, unknown> = {
    "numbers as JavaScript prints them": [
      0, -0, 0.1, 1e21, 1e-7, 5e-324, 1.7976931348623157e308, 123456789012345680000,
    ],
    "bigints with every digit": [2n ** 64n, -(2n ** 63n), { deep: 9007199254740993n }],
    "dates and whatever else has toJSON": [new Date(0), new Money(), new URL("https://x.test/a?b")],
    "what is undefined": { left: undefined, out: [undefined, 1, null] },
    "lists with holes": new Array(3),
    "halves of surrogate pairs": ["\ud800", "a\udc00b", "😀", { "\ud83d": 1 }],
    "characters that JSON escapes": '"\\/\b\f\n\r\t\0\u001f\u007f\u2028',
    "keys in the order of their code units or bytes": { b: 1, a: 2, ä: 3, Z: 4, "": 5 },
    "what is empty": [{}, [], ""],
    "as deep as can be": JSON.parse(`${'{"a":'.repeat(30)}1${"}".repeat(30)}`),
  };
  test.each(Object.entries(properties))("%s", (key, value) => {
    const event: EventInput = { id, name: "e", properties: { [key]: value } };
    expect(hex(codec.encode(now, event, "")[0])).toBe(hex(toBytes(encodeEvent(now, event))));
  });

  const context: Context = {
    screen: { width: 1920, height: 1080, density: 1.100000023841858 },
    locale: "pt-PT",
    page: { url: "https://x.test/ü", title: "\ud800" },
    network: { wifi: true },
  };
  test.each<[string, EventInput]>([
    ["a context", { id, name: "e", context }],
    ["groups", { id, name: "e", groups: { team: "red", company: "acme" } }],
    [
      "an identify",
      { id, type: 2, userId: "u", traits: { set: { a: 1 }, setOnce: { b: 2n }, unset: ["c", "d"] } },
    ],
    ["a group", { id, type: 3, groupType: "team", groupId: "red", traits: { add: { n: 1.5 } } }],
    ["an alias", { id, type: 4, userId: "u", previousId: "p" }],
    ["a time before 1970", { id, name: "e", timestamp: -1 }],
  ])("%s", (_, event) => {
    expect(hex(codec.encode(now, event, "")[0])).toBe(hex(toBytes(encodeEvent(now, event))));
  });

  const cyclic: Record<string, unknown> = {};
  cyclic.self = cyclic;
  test.each<[string, EventInput]>([
    ["no number", { name: "e", properties: { a: { b: Number.NaN } } }],
    ["infinite", { name: "e", properties: { a: [1, Number.NEGATIVE_INFINITY] } }],
    ["a function", { name: "e", properties: { f: () => 1 } }],
    ["a cycle", { name: "e", properties: cyclic }],
    ["a trait that cannot be added", { type: 2, userId: "u", traits: { add: { n: "1" as never } } }],
    ["no name", {}],
    ["a long name", { name: "ü".repeat(201) }],
    ["too much", { name: "e", properties: { a: "x".repeat(40_000) } }],
    ["far too much", { name: "e", properties: { a: "x".repeat(400_000) } }],
  ])("refused alike: %s", (_, event) => {
    const ours = refusal(() => codec.encode(now, event, id));
    const theirs = refusal(() => encodeEvent(now, event));
    expect([ours.reason, ours.field]).toEqual([theirs.reason, theirs.field]);
    expect(ours.message).toMatch(/^causality: invalid event: /);
  });
});

test("a refusal is counted and leaves the core usable", () => {
  const core = open();
  expect(refusal(() => core.add(now, {})).field).toBe("name");
  expect(refusal(() => core.add(now, { name: "e", properties: { n: Number.NaN } })).field).toBe(
    "properties.n",
  );
  core.add(now, { name: "e" });
  expect(core.stats()).toMatchObject({ queued: 1, dropped: { invalid: 2 } });
});

test("a full buffer and a closed core refuse with their reason", () => {
  const core = open({ bufferBytes: 64 << 10 });
  const big = { name: "e", properties: { pad: "x".repeat(30_000) } };
  expect(refusal(() => [1, 2, 3, 4].map(() => core.add(now, big)))).toMatchObject({
    reason: "queue_full",
    message: "causality: the queue is full; the event was not kept",
  });
  core.close();
  expect(refusal(() => core.add(now, { name: "e" })).reason).toBe("closed");
});

// Go's memory grows during the call that needs more: what was read before must not be read again.
test("a body of a megabyte goes in and comes out while the memory grows", () => {
  const core = open({ shared: false, flushAt: 1e4, bufferBytes: 4 << 20 });
  const pads = Array.from({ length: 60 }, (_, i) => `${i}`.padEnd(30_000, "x"));
  for (const pad of pads) core.add(now, { id: pad.slice(0, 5), name: "e", properties: { pad } });
  core.flush(now);
  const { commit } = core.poll(now) ?? {};
  const text = (commit?.append ?? []).map(({ data }) => new TextDecoder().decode(data)).join("");
  for (const pad of pads) expect(text).toContain(pad);
  expect(core.deadline(now)).toBeLessThanOrEqual(now);
  core.committed(now, true);
  expect(core.poll(now)?.send?.events).toBeGreaterThan(30);
});

test("memory stays bounded over 60,000 events", () => {
  const instance: { memory?: WebAssembly.Memory } = {};
  const { Instance } = WebAssembly;
  const core = (() => {
    WebAssembly.Instance = class extends Instance {
      constructor(m: WebAssembly.Module, imports?: WebAssembly.Imports) {
        super(m, imports);
        instance.memory = this.exports.memory as WebAssembly.Memory;
      }
    };
    try {
      return open({ shared: true });
    } finally {
      WebAssembly.Instance = Instance;
    }
  })();
  const event: EventInput = {
    id,
    name: "order paid",
    properties: { plan: "pro", total: 12.5, list: [1, { a: "b" }] },
  };
  for (let i = 0; i < 60_000; i++) {
    core.add(now + i, event);
    if (i % 100) continue;
    core.flush(now + i);
    for (let c = core.poll(now + i); c; c = core.poll(now + i)) if (c.commit) core.committed(now + i, true);
  }
  expect(instance.memory?.buffer.byteLength).toBeLessThan(32 << 20);
}, 60_000);

test("after a crash every call fails with what happened", () => {
  const instance = new CoreInstance(module, random);
  expect(() => instance.call(Call.Poll, now)).toThrow("the core has crashed: a call before open");
  expect(() => instance.call(Call.Stats)).toThrow("the core has crashed: a call before open");
  expect(() =>
    newWasmCore(module, config, () => {
      throw new Error("no randomness");
    }).add(now, { name: "e" }),
  ).toThrow("no randomness");
});

test("more than 16 MiB at once is refused before it is copied", () => {
  const instance = new CoreInstance(module, random);
  expect(() => instance.call(Call.Answer, 0, new Tape().bytes(new Uint8Array(17 << 20)))).toThrow("takes no");
});

test.each([
  ["nothing", ""],
  ["another type", "[1]"],
  ["half an event", '{"name":"e"'],
  ["no UTF-8 of JavaScript's making", '{"name":"e","properties":{"a":"\ufffd"}'],
  ["nesting without end", `{"properties":${'{"a":'.repeat(40_000)}`],
])("a text that is no event is refused: %s", (_, text) => {
  const codec = newCodec(module);
  expect(refusal(() => codec.encodeText(now, text, id)).reason).toBe("invalid");
});
