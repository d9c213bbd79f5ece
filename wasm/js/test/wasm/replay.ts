// Replays every golden vector against core.wasm, texts of refusals included: it is the same Go code that wrote them.
// It uses nothing of Node, so that a page can do it too.
import { CausalityError } from "../../src/core/error";
import { newWasmCore } from "../../src/wasm-core";
import { eventOf, hex, parse, run, type Script, splitMix, unhex, type VectorEvent } from "../replay";
import { type Codec, newCodec, newVisitors, type VisitorConfig } from "./core";

export const files = [
  "encode.json",
  "response.json",
  "delivery.json",
  "shared.json",
  "visitor.json",
] as const;

export type File = (typeof files)[number];

interface EncodeVector {
  now: number;
  newId?: string;
  event: VectorEvent;
  bytes?: string;
  refused?: string;
}

interface ResponseVector {
  bytes: string;
  unreadable?: boolean;
  accepted?: number;
  duplicates?: number;
  rejected?: unknown[];
}

interface VisitorVector extends VisitorConfig {
  seed: number | bigint;
  steps: {
    at: number;
    input: string;
    event?: VectorEvent;
    userId?: string;
    groupType?: string;
    groupId?: string;
    state?: string;
    filled?: unknown;
    visitor?: unknown;
  }[];
}

// Outputs that are empty are left out of the files.
const present = (fields: object) =>
  Object.fromEntries(
    Object.entries(fields).filter(([, v]) => (v && typeof v === "object" ? Object.keys(v).length : v)),
  );

/** The vectors of a file's text, and what core.wasm makes of each: they must be equal. */
export function replay(
  module: WebAssembly.Module,
  file: File,
  text: string,
): { name: string; want: unknown; got: unknown }[] {
  const codec = newCodec(module);
  return (parse(text) as { name: string }[]).map((vector) => ({
    name: vector.name,
    want: vector,
    got: replays[file](module, vector, codec),
  }));
}

// biome-ignore lint/suspicious/noExplicitAny: each file has vectors of its own form
const replays: Record<File, (module: WebAssembly.Module, vector: any, codec: Codec) => unknown> = {
  "encode.json"(_, { newId, bytes, refused, ...vector }: EncodeVector, codec) {
    const id = "01a0c450-6e06-7001-98a9-0805cb8887be";
    try {
      const [encoded, taken] = codec.encode(vector.now, eventOf(vector.event), id);
      return { ...vector, ...present({ newId: taken && id, bytes: hex(encoded) }) };
    } catch (error) {
      if (!(error instanceof CausalityError)) throw error;
      return { ...vector, refused: error.field };
    }
  },

  "response.json"(_, { unreadable, accepted, duplicates, rejected, ...vector }: ResponseVector, codec) {
    const answer = codec.decode(unhex(vector.bytes));
    if (!answer) return { ...vector, unreadable: true };
    const list = answer.rejected.map((r) => ({
      Index: r.index,
      ID: r.id,
      Code: r.code,
      Field: r.field,
      Message: r.message,
    }));
    return { ...vector, ...present({ ...answer, rejected: list }) };
  },

  "delivery.json": (module, script: Script) => ({
    ...script,
    steps: run(script, false, (...begin) => newWasmCore(module, ...begin)),
  }),

  "shared.json": (module, script: Script) => ({
    ...script,
    steps: run(script, true, (...begin) => newWasmCore(module, ...begin)),
  }),

  "visitor.json"(module, script: VisitorVector) {
    const begin = newVisitors(module, script, splitMix(script.seed));
    let visitor = begin();
    const steps = script.steps.map(({ filled: _, visitor: __, ...step }) => {
      const { at, input, userId = "", groupType = "", groupId = "" } = step;
      let out: object = step;
      if (input === "fill") out = { ...step, filled: present(visitor.fill(at, eventOf(step.event ?? {}))) };
      else if (input === "identify") visitor.identify(at, userId);
      else if (input === "join") visitor.join(groupType, groupId);
      else if (input === "reset" || input === "background" || input === "foreground") visitor[input](at);
      else if (input === "load") visitor = begin(unhex(step.state));
      else if (input === "restart") {
        const state = visitor.state();
        out = { ...step, ...present({ state: hex(state) }) };
        visitor = begin(state);
      } else throw new Error(`the input ${input} is unknown`);
      return { ...out, visitor: present(visitor.is()) };
    });
    return { ...script, steps };
  },
};
