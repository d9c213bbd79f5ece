// The Go core of sdk/core as a CoreLike: what wasm/core exports, given the shape of the TypeScript core. It owns the
// boundary (tapes, memory, the few system calls of Go's runtime) and nothing of what the core decides.

import { CausalityError } from "./core/error";
import type {
  Block,
  BlockInfo,
  Command,
  CoreConfig,
  CoreLike,
  EventInput,
  Rejection,
  Response,
  Stats,
} from "./core/types";

/** The calls of wasm/core/call.go, in its order. */
export enum Call {
  Open,
  Add,
  Poll,
  Deadline,
  Committed,
  Answered,
  Flush,
  Close,
  OptOut,
  OptIn,
  Lead,
  Follow,
  Stored,
  Lost,
  Stats,
  Encode,
  Answer,
  Visitor,
  Fill,
  Identify,
  Join,
  Reset,
  Background,
  Foreground,
  VisitorIDs,
  VisitorState,
}

/** Loads core.wasm. Where the server names another type than application/wasm it compiles after the download. */
export async function compileCore(url: string): Promise<WebAssembly.Module> {
  const response = await fetch(url);
  if (!response.ok) throw new Error(`${url} answers with HTTP status ${response.status}`);
  return /^application\/wasm\b/.test(response.headers.get("Content-Type") ?? "")
    ? WebAssembly.compileStreaming(response)
    : WebAssembly.compile(await response.arrayBuffer());
}

/** Begins a core. Like the TypeScript one it takes of a shared queue only whether its state says opted out. */
export function newWasmCore(
  module: WebAssembly.Module,
  config: CoreConfig,
  random: () => bigint,
  state: Uint8Array = new Uint8Array(),
  stored: BlockInfo[] = [],
): CoreLike {
  const instance = new CoreInstance(module, random);
  const { library } = config;
  instance.call(
    Call.Open,
    0,
    new Tape()
      .numbers(config.flushAt ?? 20, config.flushEvery ?? 3e6, config.maxAge ?? 0)
      .numbers(config.queueBytes ?? 0, config.queueEvents ?? 0, config.bufferBytes ?? 0, +!!config.shared)
      .text(library.name)
      .text(library.version)
      .bytes(state)
      .blocks(stored),
  );
  // The core is not to be polled again until a commit is reported, so one answer at a time is enough.
  return {
    add: (now, event) => {
      const add = (text: string) => instance.call(Call.Add, now, new Tape().rest(text)).flag();
      let text: string;
      try {
        text = eventText(event);
      } catch (error) {
        try {
          add("{}"); // which the core refuses too, and so counts
        } catch {}
        throw error;
      }
      return add(text);
    },
    poll: (now) => command(instance.call(Call.Poll, now)),
    deadline: (now) => instance.call(Call.Deadline, now).number(),
    committed: (now, ok) => void instance.call(Call.Committed, now, new Tape().numbers(+ok)),
    answered: (now, attempt, { status, retryAfter, body }: Response) =>
      instance
        .call(
          Call.Answered,
          now,
          new Tape().numbers(attempt, status, retryAfter).bytes(body ?? new Uint8Array()),
        )
        .flag(),
    flush: (now) => instance.call(Call.Flush, now).flag(),
    close: () => void instance.call(Call.Close),
    optOut: () => void instance.call(Call.OptOut),
    optIn: () => void instance.call(Call.OptIn),
    lead: (now, state, stored) => void instance.call(Call.Lead, now, new Tape().bytes(state).blocks(stored)),
    follow: () => void instance.call(Call.Follow),
    stored: (now, blocks) => void instance.call(Call.Stored, now, new Tape().blocks(blocks)),
    lost: (now, seqs) => void instance.call(Call.Lost, now, new Tape().numbers(...seqs)),
    stats: () => stats(instance.call(Call.Stats)),
  };
}

/** One instance of the module: one core, and one visitor beside it. */
export class CoreInstance {
  private readonly memory: WebAssembly.Memory;
  private readonly reserve: (size: number) => number;
  private readonly run: (call: number, now: number) => number;
  private crash: CoreCrash | undefined;

  constructor(module: WebAssembly.Module, random: () => bigint) {
    const memory = () => this.memory.buffer; // another buffer once memory has grown
    const { exports } = new WebAssembly.Instance(module, {
      causality: {
        random: () => BigInt.asIntN(64, random()),
        number: (at: number, size: number) => Number(utf8.decode(new Uint8Array(memory(), at, size))),
      },
      wasi_snapshot_preview1: system(memory),
    });
    this.memory = exports.memory as WebAssembly.Memory;
    this.reserve = exports.reserve as (size: number) => number;
    this.run = exports.call as (call: number, now: number) => number;
    // Not exports._initialize: names with _ are shortened where they are properties.
    (Reflect.get(exports, "_initialize") as () => void)();
  }

  /** Throws a CausalityError for an event that is refused, and a CoreCrash from the first crash on. */
  call(name: Call, now = 0, input = new Tape()): Answer {
    if (this.crash) throw this.crash;
    try {
      const at = this.reserve(input.size);
      if (!at) throw new Error(`it takes no ${input.size} bytes at once`);
      input.write(new Uint8Array(this.memory.buffer, at, input.size));
      const reply = this.run(name, now); // may grow the memory, and then its buffer is another
      const answer = new Answer(this.memory.buffer, reply);
      const end = answer.byte();
      if (end === 0) return answer;
      if (end === 1) throw new CausalityError(answer.text(), answer.text(), answer.text() || undefined);
      throw new Error(answer.text());
    } catch (error) {
      if (error instanceof CausalityError) throw error;
      this.crash = new CoreCrash(`the core has crashed: ${(error as Error).message}`);
      throw this.crash;
    }
  }
}

/** The core is not to be used again; its queue is as the last commit left it. */
export class CoreCrash extends Error {}

const utf8 = new TextDecoder();
const encoder = new TextEncoder();

/** Arguments, in the form of wasm/core/tape.go. */
export class Tape {
  private parts: Uint8Array[] = [];
  size = 0;

  rest(text: string): this {
    return this.raw(encoder.encode(text));
  }

  numbers(...values: number[]): this {
    const view = new DataView(new ArrayBuffer(8 * values.length));
    values.forEach((v, i) => {
      view.setFloat64(8 * i, v, true);
    });
    return this.raw(new Uint8Array(view.buffer));
  }

  bytes(bytes: Uint8Array): this {
    return this.numbers(bytes.length).raw(bytes);
  }

  text(text: string): this {
    return this.bytes(encoder.encode(text));
  }

  blocks(blocks: BlockInfo[]): this {
    const view = new Float64Array(4 * blocks.length); // little-endian, as every machine with a browser
    blocks.forEach(({ seq, at, events, bytes }, i) => {
      view.set([seq, at, events, bytes], 4 * i);
    });
    return this.raw(new Uint8Array(view.buffer));
  }

  write(to: Uint8Array): void {
    let at = 0;
    for (const part of this.parts) {
      to.set(part, at);
      at += part.length;
    }
  }

  private raw(bytes: Uint8Array): this {
    this.parts.push(bytes);
    this.size += bytes.length;
    return this;
  }
}

/** The tape of an answer, which is valid until the next call; what is read from it is a copy. */
export class Answer {
  private view: DataView;

  constructor(
    memory: ArrayBuffer,
    private at: number,
  ) {
    this.view = new DataView(memory);
  }

  byte(): number {
    return this.view.getUint8(this.at++);
  }

  number(): number {
    this.at += 8;
    return this.view.getFloat64(this.at - 8, true);
  }

  flag(): boolean {
    return this.number() !== 0;
  }

  bytes(): Uint8Array {
    const size = this.number();
    this.at += size;
    return new Uint8Array(this.view.buffer, this.at - size, size).slice();
  }

  text(): string {
    return utf8.decode(this.bytes());
  }

  list<T>(element: () => T): T[] {
    return Array.from({ length: this.number() }, element);
  }

  rejections(): Rejection[] {
    return this.list(() => ({
      index: this.number(),
      id: this.text(),
      code: this.text(),
      field: this.text(),
      message: this.text(),
    }));
  }
}

function command(answer: Answer): Command | undefined {
  const number = () => answer.number();
  const blocks = (): Block[] =>
    answer.list(() => ({ seq: number(), at: number(), events: number(), data: answer.bytes() }));
  switch (number()) {
    case 1: {
      const append = blocks();
      const ranges = answer.list((): [number, number] => [number(), number()]);
      const saved = answer.flag();
      const state = answer.bytes();
      return { commit: saved ? { append, delete: ranges, state } : { append, delete: ranges } };
    }
    case 2: {
      const [attempt, first, last, skip, events] = [number(), number(), number(), number(), number()];
      return { send: { attempt, first, last, skip, events, unsaved: blocks(), trailer: answer.bytes() } };
    }
    case 3:
      return { cancel: number() };
    case 4:
      return { dropped: { reason: answer.text(), events: number() } };
    case 5:
      return { rejected: answer.rejections() };
  }
  return undefined;
}

function stats(answer: Answer): Stats {
  const number = () => answer.number();
  return {
    queued: number(),
    queuedBytes: number(),
    sent: number(),
    failures: number(),
    nextAttempt: number(),
    paused: answer.flag(),
    optedOut: answer.flag(),
    dropped: Object.fromEntries(answer.list(() => [answer.text(), number()])),
  };
}

const invalid = (field: string, problem: string): never => {
  throw new CausalityError("invalid", `invalid event: ${field} ${problem}`, field);
};

/** The JSON text of an event as wasm/core/event.go reads it, in which a number keeps every digit. */
export function eventText({ properties, traits, ...event }: EventInput): string {
  const object = (v: unknown, path: string) => v && json(v, path, 1);
  const { set, setOnce, add, unset } = traits ?? {};
  const members = [
    ["properties", object(properties, "properties")],
    [
      "traits",
      traits &&
        text([
          ["set", object(set, "traits.set")],
          ["setOnce", object(setOnce, "traits.set_once")],
          ["add", object(add, "traits.add")],
          ["unset", unset && json(unset, "traits.unset", 1)],
        ]),
    ],
    ...Object.entries(event).map(([key, v]) => [key, v === undefined ? v : json(v, key, 1)]),
  ];
  return text(members);
}

const text = (members: unknown[][]): string =>
  `{${members.flatMap(([key, v]) => (v ? `${JSON.stringify(key)}:${v}` : []))}}`;

// biome-ignore lint/suspicious/noExplicitAny: of the caller's own types
function json(v: any, path: string, depth: number): string {
  if (v?.toJSON) v = v.toJSON();
  if (typeof v === "string") return JSON.stringify(v);
  if (v && typeof v === "object") {
    if (depth > 32) invalid(path, "is nested more than 32 levels deep, or contains itself");
    const inner = (key: string | number) => json(v[key] ?? null, `${path}.${key}`, depth + 1);
    return Array.isArray(v)
      ? `[${Array.from(v, (_, i) => inner(i))}]`
      : text(Object.keys(v).map((key) => [key, v[key] === undefined ? undefined : inner(key)]));
  }
  const plain = v === null || typeof v === "boolean" || typeof v === "bigint" || Number.isFinite(v);
  return plain ? `${v}` : invalid(path, "has no JSON form");
}

// The system calls of Go's runtime (WASI, preview 1): a clock for its collector, seeds for its maps, and what it
// writes before it gives up.
function system(memory: () => ArrayBuffer): WebAssembly.ModuleImports {
  const view = () => new DataView(memory());
  const none = (count: number, size: number) => {
    view().setUint32(count, 0, true);
    view().setUint32(size, 0, true);
    return 0;
  };
  let last = "";
  return {
    args_sizes_get: none,
    environ_sizes_get: none,
    args_get: () => 0,
    environ_get: () => 0,
    sched_yield: () => 0,
    clock_time_get(clock: number, _precision: bigint, at: number) {
      const ms = clock === 0 ? Date.now() : performance.now();
      view().setBigUint64(at, BigInt(Math.round(ms * 1e3)) * 1000n, true);
      return 0;
    },
    random_get(at: number, size: number) {
      for (
        let from = 0;
        from < size;
        from += 65_536 // as many as getRandomValues gives at once
      )
        crypto.getRandomValues(new Uint8Array(memory(), at + from, Math.min(size - from, 65_536)));
      return 0;
    },
    fd_write(_file: number, parts: number, count: number, written: number) {
      let total = 0;
      for (let i = 0; i < count; i++) {
        const at = view().getUint32(parts + 8 * i, true);
        const size = view().getUint32(parts + 8 * i + 4, true);
        last = (last + utf8.decode(new Uint8Array(memory(), at, size))).slice(0, 500);
        total += size;
      }
      view().setUint32(written, total, true);
      return 0;
    },
    // A sleep ends at once: nothing here may block.
    poll_oneoff(_subscriptions: number, _events: number, _count: number, happened: number) {
      view().setUint32(happened, 0, true);
      return 0;
    },
    proc_exit(code: number) {
      throw new Error(`the core has ended with ${code}: ${last}`);
    },
  };
}
