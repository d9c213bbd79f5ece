// Random events and random scripts of delivery, by the Go core and by this one: both must do the same. A failure prints
// the seed; DIFFERENTIAL_SEED=… repeats it.
import { execFileSync } from "node:child_process";
import { fileURLToPath } from "node:url";
import { isDeepStrictEqual } from "node:util";
import { expect, test } from "vitest";
import { encodeEvent, newCore } from "../src/core";
import { CausalityError } from "../src/core/error";
import { newIds } from "../src/core/ids";
import { newVisitor } from "../src/core/visitor";
import { toBytes } from "../src/core/wire";
import { eventOf, hex, parse, Replay, type Script, type Step, splitMix, type VectorEvent } from "./replay";

const seed = Number(process.env.DIFFERENTIAL_SEED ?? Math.floor(Math.random() * 2 ** 32));
const events = 2000;
const scripts = 300; // of each kind
const visitors = 200;

/** Choices from a seed. */
class Dice {
  private random: () => bigint;
  constructor(seed: number) {
    this.random = splitMix(seed);
  }
  below = (n: number) => Number(this.random() % BigInt(n));
  chance = (percent: number) => this.below(100) < percent;
  one = <T>(list: readonly T[]): T => list[this.below(list.length)] as T;
  word = () =>
    this.one([
      "a",
      "plan",
      "é",
      "😀",
      "\uffee",
      '\u0001\n\t"\\/',
      "\ud800",
      "x".repeat(130),
      "日本語",
      " ",
      "__proto__x",
    ]);
  text = () => Array.from({ length: 1 + this.below(3) }, this.word).join("");
  value = (depth = 0): unknown =>
    this.one<() => unknown>([
      () => this.below(1000) - 500,
      () => this.below(2 ** 31) * 2 ** 21,
      () => (this.below(2 ** 31) - 2 ** 30) / this.one([3, 1e6, 1e12, 1e-7]),
      () => this.one([1e21, 1e-7, 5e-324, 1.7976931348623157e308, -1e100, 123456789012345680000, 0.1]),
      () => BigInt.asIntN(64, this.random()),
      this.text,
      () => this.chance(50),
      () => null,
      () => (depth > 3 ? [] : Array.from({ length: this.below(4) }, () => this.value(depth + 1))),
      () => (depth > 3 ? {} : this.object(depth + 1)),
    ])();
  object = (depth = 0): Record<string, unknown> =>
    Object.fromEntries(Array.from({ length: this.below(6) }, () => [mended(this.text()), this.value(depth)]));
  some = <T>(percent: number, make: () => T): T | undefined => (this.chance(percent) ? make() : undefined);
}

// A key that Go mends too late would be another key there.
const mended = (s: string) => s.replace(/\p{Cs}/gu, "\ufffd");

const json = (v: unknown): string =>
  typeof v === "bigint"
    ? `${v}`
    : Array.isArray(v)
      ? `[${v.map(json)}]`
      : v && typeof v === "object"
        ? `{${Object.entries(v)
            .filter(([, v]) => v !== undefined)
            .map(([k, v]) => `${JSON.stringify(k)}:${json(v)}`)}}`
        : (JSON.stringify(v) ?? "null");

/** What the Go core makes of vectors of a file. */
function go(file: string, vectors: unknown[]): unknown[] {
  const input = vectors.map((v) => `${file} ${json(v)}\n`).join("");
  const output = execFileSync("go", ["run", "./js/test/differential"], {
    cwd: fileURLToPath(new URL("../..", import.meta.url)),
    input,
    encoding: "utf8",
    maxBuffer: 2 ** 30,
  });
  return output.trimEnd().split("\n").map(parse);
}

const start = 1_790_000_000_123_456;

test(`random events (seed ${seed})`, { timeout: 120_000 }, () => {
  const dice = new Dice(seed);
  const vectors = Array.from({ length: events }, (_, i) => ({
    name: `event ${i}`,
    now: start + dice.below(2 ** 40),
    event: randomEvent(dice),
  }));
  const want = go("encode.json", vectors) as { newId?: string; bytes?: string; refused?: string }[];
  vectors.forEach(({ name, now, event }, i) => {
    const { newId, bytes, refused } = want[i]!;
    let got: { bytes?: string; refused?: string };
    try {
      const encoded = encodeEvent(now, eventOf(event));
      got = { bytes: hex(toBytes(newId ? encoded.slice(0, 2) + newId + encoded.slice(38) : encoded)) };
    } catch (error) {
      if (!(error instanceof CausalityError)) throw error;
      got = { refused: error.field };
    }
    expect(got, `${name} ${json(event)}`).toEqual(bytes === undefined ? { refused } : { bytes });
  });
});

function randomEvent(dice: Dice): VectorEvent {
  const { some, text, object, below } = dice;
  const number = () => below(5000) / dice.one([1, 3]);
  return {
    id: some(30, text),
    type: some(60, () => dice.one(["TRACK", "IDENTIFY", "GROUP", "ALIAS"] as const)),
    name: some(90, text),
    timestamp: some(30, () => start - below(2 ** 50)),
    userId: some(70, text),
    anonymousId: some(70, text),
    sessionId: some(50, text),
    correlationId: some(10, () => (dice.chance(10) ? "é".repeat(201) : text())),
    groups: some(30, () =>
      Object.fromEntries(Array.from({ length: below(4) }, () => [mended(text()), text()])),
    ),
    context: some(50, () => ({
      app: some(50, () => ({ version: text(), build: some(50, text) })),
      device: some(50, () => ({ id: some(50, text), type: text() })),
      os: some(50, () => ({ name: text() })),
      screen: some(50, () => ({
        width: below(5000),
        height: some(50, () => below(300)),
        density: some(50, number),
      })),
      locale: some(50, text),
      timeZone: some(50, text),
      network: some(50, () => ({
        wifi: dice.chance(50),
        cellular: dice.chance(50),
        carrier: some(50, text),
      })),
      page: some(50, () => ({ url: text(), title: text(), referrer: some(50, text) })),
      campaign: some(50, () => ({ source: text(), content: text() })),
      library: some(30, () => ({ name: text() })),
      ip: some(30, text),
      userAgent: some(30, text),
      geo: some(30, () => ({ city: text() })),
      platform: some(50, text),
    })),
    properties: some(80, () => object()),
    traits: some(40, () => ({
      set: some(50, object),
      setOnce: some(50, object),
      add: some(50, () => ({ a: number(), b: dice.chance(10) ? (text() as unknown as number) : below(9) })),
      unset: some(50, () => [mended(text()), mended(text())]),
    })),
    groupType: some(50, text),
    groupId: some(50, text),
    previousId: some(50, text),
  };
}

test.each([
  ["delivery.json", false],
  ["shared.json", true],
] as const)(`random scripts as in %s (seed ${seed})`, { timeout: 300_000 }, (file, shared) => {
  const got = Array.from({ length: scripts }, (_, i) =>
    randomScript(new Dice(seed + i), `script ${i}`, shared),
  );
  const want = go(file, got) as Script[];
  for (const [i, { name, steps }] of got.entries())
    for (const [j, step] of steps.entries()) {
      const expected = refusal(want[i]!.steps[j]!);
      if (!isDeepStrictEqual(refusal(step), expected))
        expect(refusal(step), `${name}, step ${j} of ${json(steps.slice(0, j + 1))}`).toEqual(expected);
    }
});

// What is said of a refused field is each SDK's own.
const refusal = (step: Step): Step =>
  step.error ? { ...step, error: step.error.replace(/^(causality: invalid event: \S+).*/, "$1") } : step;

/** A script with what this core makes of it. Its inputs are those that a driver could give. */
function randomScript(dice: Dice, name: string, shared: boolean): Script {
  const { below, chance, one } = dice;
  const script: Script = {
    name,
    seed: below(2 ** 31),
    flushAt: 1 + below(6),
    flushEvery: one([1e6, 3e6, 1e7]),
    maxAge: one([6e8, 6048e8]),
    queueBytes: 2 ** 21,
    queueEvents: 4000,
    bufferBytes: one([65536, 2 ** 18]),
    steps: [],
  };
  const replay = new Replay(script, shared, newCore);
  let at = start;
  let leader: string | undefined;
  const push = (step: Omit<Step, "at">) =>
    script.steps.push(replay.step(JSON.parse(json({ at, ...step })) as Step));
  for (let i = 0; i < 60; i++) {
    at += one([0, 1, 1000, 1e5, 1e6, 5e6, 3e8, 2e9, 4e9, -5e6, -4e9]);
    const tab = shared ? one(["a", "b", "c"]) : undefined;
    const kind = below(100);
    if (kind < 45) {
      const event: VectorEvent = {
        name: chance(97) ? one(["a", "b", "order paid"]) : undefined,
        userId: "u1",
      };
      const large = chance(8);
      push({
        tab,
        input: "track",
        event,
        pad: large ? one([20_000, 32_000, 40_000]) : undefined,
        times: one([1, 1, 2, 7, large ? 70 : 3]),
        diskFull: chance(7) || undefined,
      });
    } else if (kind < 65) {
      const status = one([200, 200, 200, 200, 503, 0, 429, 400, 413, 401, 403, 302]);
      const retryAfter = chance(30) ? one([1e6, 6e7, 72e8]) : undefined;
      const body =
        status === 200
          ? one(["0801", "0864", "1001", undefined, "ff", "08011a080801" + "1a04706c616e", "1a001a001a00"])
          : undefined;
      push({
        tab: shared ? (leader ?? tab) : tab,
        input: "answer",
        answer: { status, retryAfter, body },
        diskFull: chance(7) || undefined,
      });
    } else if (kind < 72) push({ tab, input: "flush" });
    else if (kind < 74) push({ tab, input: "optOut" });
    else if (kind < 79) push({ tab, input: "optIn" });
    else if (kind < 82) {
      if (leader === tab) leader = undefined;
      push({ tab, input: "restart" });
    } else if (kind < 85) push({ tab, input: "stats" });
    else if (kind < 87) {
      const held = replay.held();
      if (held.length && (!shared || leader)) push({ tab: leader, input: "lost", blocks: [one(held)] });
    } else if (shared && kind < 95) {
      if (!leader) {
        leader = tab;
        push({ tab, input: "lead" });
      } else if (chance(30)) {
        push({ tab: leader, input: "follow" });
        leader = undefined;
      } else {
        const held = replay.held();
        if (held.length)
          push({
            tab: leader,
            input: "stored",
            blocks: Array.from({ length: 1 + below(3) }, () => one(held)),
          });
      }
    } else push({ tab, input: "tick" });
  }
  return script;
}

test(`random visitors (seed ${seed})`, { timeout: 120_000 }, () => {
  const dice = new Dice(seed);
  const scripts = Array.from({ length: visitors }, (_, i) => {
    let at = start;
    const steps = Array.from({ length: 40 }, () => {
      at += dice.one([0, 1, 1e6, 6e6, 29e6, 31e6, 18e8, 1801e6, 5e10, 9e10, -1e6, -4e9]);
      const input = dice.one([
        "fill",
        "fill",
        "fill",
        "identify",
        "join",
        "reset",
        "background",
        "foreground",
      ]);
      return {
        at,
        input,
        userId: input === "identify" ? dice.one(["u1", "u2", "", "  ", "x".repeat(201)]) : undefined,
        groupType: input === "join" ? dice.one(["company", "team", " "]) : undefined,
        groupId: input === "join" ? dice.one(["acme", "red", ""]) : undefined,
      };
    });
    const config = {
      idle: dice.one([undefined, 18e8]),
      background: dice.one([undefined, 30e6]),
      longest: dice.one([undefined, 36e8]),
    };
    return { name: `visitor ${i}`, seed: i, ...config, steps };
  });
  const want = go("visitor.json", scripts) as {
    steps: { visitor: Record<string, unknown>; filled?: unknown }[];
  }[];
  scripts.forEach(({ name, seed, steps, ...config }, i) => {
    const visitor = newVisitor(config, newIds(splitMix(seed)));
    steps.forEach(({ at, input, userId = "", groupType = "", groupId = "" }, j) => {
      const { filled, visitor: expected } = want[i]!.steps[j]!;
      const event = eventOf({});
      if (input === "fill") visitor.fill(at, event);
      else if (input === "identify") visitor.identify(at, userId);
      else if (input === "join") visitor.join(groupType, groupId);
      else if (input === "reset") visitor.reset(at);
      else if (input === "background") visitor.background?.(at);
      else visitor.foreground?.(at);
      const [anonymousId, user, , sessionId] = visitor.state(true);
      const present = (v: object) =>
        Object.fromEntries(
          Object.entries(v).filter(([, v]) => (typeof v === "object" ? Object.keys(v).length : v)),
        );
      const where = `${name}, step ${j}`;
      if (input === "fill") expect(present(event), where).toEqual(filled);
      expect(present({ anonymousId, userId: user, sessionId, changed: visitor.changed() }), where).toEqual(
        expected,
      );
    });
  });
});
