import { describe, expect, test } from "vitest";
import { bundle } from "../build.mjs";
import { encodeEvent, newCore } from "../src/core";
import { decodeAnswer } from "../src/core/core";
import { CausalityError } from "../src/core/error";
import { packGroups } from "../src/core/event";
import { newIds } from "../src/core/ids";
import { newVisitor, type VisitorState } from "../src/core/visitor";
import { pack, text, toBytes, unpack } from "../src/core/wire";
import {
  eventOf,
  hex,
  run,
  type Script,
  type Step,
  splitMix,
  unhex,
  type VectorEvent,
  vectors,
} from "./replay";

// What is said of a refused field is each SDK's own: here it must be short.
const refusal = (step: Step): Step =>
  step.error ? { ...step, error: step.error.replace(/^(causality: invalid event: \S+).*/, "$1") } : step;

describe("encode.json", () => {
  interface Vector {
    name: string;
    now: number;
    newId?: string;
    event: VectorEvent;
    bytes?: string;
    refused?: string;
  }
  test.each(vectors<Vector>("encode.json"))("$name", ({ now, newId, event, bytes, refused }) => {
    const input = eventOf(event);
    if (refused !== undefined) {
      let error: unknown;
      try {
        encodeEvent(now, input);
      } catch (thrown) {
        error = thrown;
      }
      expect(error).toBeInstanceOf(CausalityError);
      expect((error as CausalityError).field).toBe(refused);
      return;
    }
    const encoded = encodeEvent(now, input);
    expect(hex(toBytes(newId ? encoded.slice(0, 2) + newId + encoded.slice(38) : encoded))).toBe(bytes);
  });
});

describe("response.json", () => {
  interface Vector {
    name: string;
    bytes: string;
    unreadable?: boolean;
    accepted?: number;
    duplicates?: number;
    rejected?: { Index: number; ID: string; Code: string; Field: string; Message: string }[];
  }
  test.each(vectors<Vector>("response.json"))("$name", (v) => {
    const answer = decodeAnswer(unhex(v.bytes));
    if (v.unreadable) {
      expect(answer).toBeUndefined();
      return;
    }
    expect(answer).toEqual({
      accepted: v.accepted ?? 0,
      duplicates: v.duplicates ?? 0,
      rejected: (v.rejected ?? []).map((r) => ({
        index: r.Index,
        id: r.ID,
        code: r.Code,
        field: r.Field,
        message: r.Message,
      })),
    });
  });
});

test.each([
  ["delivery.json", false],
  ["shared.json", true],
])("%s has scripts", (file) => expect(vectors(file).length).toBeGreaterThan(0));

describe.each([
  ["delivery.json", false],
  ["shared.json", true],
])("%s", (file, shared) => {
  test.each(vectors<Script>(file))("$name", (script) => {
    expect(run(script, shared, newCore).map(refusal)).toEqual(script.steps.map(refusal));
  });
});

test("shared.json, by the core as it is minified", { timeout: 60_000 }, async () => {
  const files = await bundle("minified", { entry: "test/minified.ts", format: "esm" });
  const code = `data:text/javascript,${encodeURIComponent(files["minified.js"]!)}`;
  const { replayMinified } = (await import(/* @vite-ignore */ code)) as typeof import("./minified");
  for (const script of vectors<Script>("shared.json"))
    expect(replayMinified(script).map(refusal), script.name).toEqual(script.steps.map(refusal));
});

// The vectors have a visitor's state in Go's form; a page keeps its own as JSON.
const packState = ([anonymousId, userId, groups, sessionId, ...times]: VisitorState) =>
  toBytes(pack(anonymousId, userId, packGroups(groups), sessionId, ...times));

function unpackState(bytes: Uint8Array): VisitorState | undefined {
  const [whole, ints, data] = unpack(bytes);
  if (!whole) return;
  const groups = (data[3] ?? []).map((one) => {
    const [, , [, kind, id]] = unpack(one);
    return [text(kind), text(id)];
  });
  const [start = 0, last = 0, away = 0] = [5, 6, 7].map((field) => Math.max(ints[field] ?? 0, 0));
  return [text(data[1]), text(data[2]), Object.fromEntries(groups), text(data[4]), start, last, away];
}

describe("visitor.json", () => {
  interface VisitorStep {
    at: number;
    input: string;
    event?: VectorEvent;
    userId?: string;
    groupType?: string;
    groupId?: string;
    state?: string;
    filled?: unknown;
    visitor: unknown;
  }
  interface Vector {
    name: string;
    seed: number | bigint;
    idle?: number;
    background?: number;
    longest?: number;
    steps: VisitorStep[];
  }
  test.each(vectors<Vector>("visitor.json"))("$name", ({ seed, steps, ...config }) => {
    const random = splitMix(seed);
    const begin = (state?: VisitorState) => newVisitor(config, newIds(random), state);
    const present = (fields: object) =>
      Object.fromEntries(
        Object.entries(fields).filter(([, v]) => (typeof v === "object" ? Object.keys(v).length : v)),
      );
    let visitor = begin();
    for (const step of steps) {
      const { at, input, userId = "", groupType = "", groupId = "", state } = step;
      switch (input) {
        case "fill": {
          const event = eventOf(step.event ?? {});
          visitor.fill(at, event);
          const { anonymousId, userId, sessionId, groups } = event;
          expect(present({ anonymousId, userId, sessionId, groups })).toEqual(step.filled);
          break;
        }
        case "identify":
          visitor.identify(at, userId);
          break;
        case "join":
          visitor.join(groupType, groupId);
          break;
        case "reset":
          visitor.reset(at);
          break;
        case "background":
          visitor.background?.(at);
          break;
        case "foreground":
          visitor.foreground?.(at);
          break;
        case "restart": {
          const saved = visitor.state();
          expect(hex(packState(saved))).toBe(state ?? "");
          visitor = begin(JSON.parse(JSON.stringify(saved)));
          break;
        }
        case "load":
          visitor = begin(unpackState(unhex(state)));
          break;
        default:
          throw new Error(`the input ${input} is unknown`);
      }
      const [anonymousId, user, , sessionId] = visitor.state(true);
      expect(
        present({
          anonymousId,
          userId: user,
          sessionId,
          changed: visitor.changed(),
        }),
      ).toEqual(step.visitor);
    }
  });
});
