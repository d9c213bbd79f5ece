// Replays the golden vectors of sdk/vectors against a core of this package, as sdk/vectors does against Go's.
import { readFileSync } from "node:fs";
import { appendBody } from "../src/core";
import { CausalityError } from "../src/core/error";
import type { Random } from "../src/core/ids";
import type {
  Block,
  BlockInfo,
  Change,
  Command,
  CoreConfig,
  CoreLike,
  EventInput,
  EventType,
  Rejection,
} from "../src/core/types";

/** Parses JSON; integers that a number cannot hold become bigints. */
export function parse(text: string): unknown {
  const marked = text.replace(/"(?:[^"\\]|\\.)*"|-?\d+(?![\d.eE])/g, (token) =>
    token.startsWith('"') || Number.isSafeInteger(Number(token)) || !int64(token)
      ? token
      : `"\\u0000${token}"`,
  );
  return JSON.parse(marked, (_, v) => (typeof v === "string" && v[0] === "\0" ? BigInt(v.slice(1)) : v));
}

const int64 = (token: string) => BigInt.asIntN(64, BigInt(token)) === BigInt(token);

export const vectors = <V>(file: string): V[] =>
  parse(readFileSync(new URL(`../../../sdk/vectors/${file}`, import.meta.url), "utf8")) as V[];

export const hex = (bytes: Iterable<number>): string =>
  Array.from(bytes, (b) => b.toString(16).padStart(2, "0")).join("");
export const unhex = (text = ""): Uint8Array =>
  Uint8Array.from(text.match(/../g) ?? [], (pair) => Number.parseInt(pair, 16));

/** The generator of the vectors. */
export function splitMix(seed: number | bigint): Random {
  let state = BigInt(seed);
  const wrap = (v: bigint) => BigInt.asUintN(64, v);
  return () => {
    state = wrap(state + 0x9e3779b97f4a7c15n);
    let z = state;
    z = wrap((z ^ (z >> 30n)) * 0xbf58476d1ce4e5b9n);
    z = wrap((z ^ (z >> 27n)) * 0x94d049bb133111ebn);
    return z ^ (z >> 31n);
  };
}

/** An event as the vectors write it. */
export interface VectorEvent extends Omit<EventInput, "type"> {
  type?: "TRACK" | "IDENTIFY" | "GROUP" | "ALIAS";
}

export function eventOf({ type, ...event }: VectorEvent): EventInput {
  return type
    ? { ...event, type: (["TRACK", "IDENTIFY", "GROUP", "ALIAS"].indexOf(type) + 1) as EventType }
    : event;
}

export interface Script {
  name: string;
  seed: number | bigint;
  flushAt: number;
  flushEvery: number;
  maxAge: number;
  queueBytes?: number;
  queueEvents?: number;
  bufferBytes?: number;
  steps: Step[];
}

export interface Step {
  at: number;
  tab?: string;
  input: string;
  event?: VectorEvent;
  pad?: number;
  times?: number;
  blocks?: number[];
  answer?: { status: number; retryAfter?: number; body?: string };
  diskFull?: boolean;
  error?: string;
  commands?: string[];
  stats?: unknown;
  deadline?: number;
}

const longBody = 4096;

type NewCore = (config: CoreConfig, random: Random, state: Uint8Array, stored: BlockInfo[]) => CoreLike;

/** What a script's steps should say, computed with newCore. */
export function run(script: Script, shared: boolean, newCore: NewCore): Step[] {
  const replay = new Replay(script, shared, newCore);
  return script.steps.map((step) => replay.step(step));
}

/** Runs a script, a step at a time. */
export class Replay {
  private queue = new Queue();
  private tabs = new Map<string, Client>();

  constructor(
    private script: Script,
    private shared: boolean,
    private newCore: NewCore,
  ) {}

  step(step: Step): Step {
    const { queue, tabs, shared } = this;
    const name = step.tab ?? "";
    let tab = tabs.get(name);
    if (!tab) {
      const { flushAt, flushEvery, maxAge, queueBytes, queueEvents, bufferBytes, seed } = this.script;
      const config: CoreConfig = {
        ...{ flushAt, flushEvery, maxAge, queueBytes, queueEvents, bufferBytes, shared },
        library: { name: "vector", version: "1" },
      };
      const random = splitMix(BigInt(seed) + BigInt(tabs.size));
      tab = new Client(queue, () => this.newCore(config, random, queue.state, queue.stored()));
      tabs.set(name, tab);
    }
    return tab.step(step);
  }

  /** The numbers of the blocks in the queue. */
  held(): number[] {
    return this.queue.blocks.map((b) => b.seq);
  }
}

/** The disk that the clients of a script write to. */
class Queue {
  blocks: Block[] = [];
  state = new Uint8Array();
  private last = 0;
  private infos = new Map<number, BlockInfo>();

  commit(change: Change): number[] {
    const given: number[] = [];
    for (const [first, last] of change.delete) this.remove((seq) => seq >= first && seq <= last);
    for (const block of change.append) {
      const seq = block.seq || this.last + 1;
      if (!block.seq) given.push(seq);
      this.last = seq;
      this.blocks.push({ ...block, seq });
      this.infos.set(seq, { seq, at: block.at, events: block.events, bytes: block.data.length });
    }
    if (change.state) this.state = new Uint8Array(change.state);
    return given;
  }

  remove(gone: (seq: number) => boolean) {
    this.blocks = this.blocks.filter((b) => !gone(b.seq));
  }

  stored(): BlockInfo[] {
    return this.describe(this.blocks.map((b) => b.seq));
  }

  describe(seqs: number[]): BlockInfo[] {
    return seqs.map((seq) => this.infos.get(seq) ?? { seq: 0, at: 0, events: 0, bytes: 0 });
  }
}

/** A core with its driver. */
class Client {
  private core: CoreLike;
  private leading = false;
  private attempt = 0;

  constructor(
    private queue: Queue,
    private start: () => CoreLike,
  ) {
    this.core = start();
  }

  step(given: Step): Step {
    const { error: _, commands: __, stats: ___, deadline: ____, ...step } = given;
    const out: Step = step;
    const { core, queue } = this;
    const { at, blocks = [] } = step;
    switch (step.input) {
      case "track": {
        const event = eventOf(step.event ?? {});
        if (step.pad) event.properties = { ...event.properties, pad: "x".repeat(step.pad) };
        for (let i = 0; i < (step.times || 1); i++) {
          try {
            core.add(at, event);
          } catch (error) {
            if (!(error instanceof CausalityError)) throw error;
            out.error = error.message;
          }
        }
        break;
      }
      case "answer": {
        const { status, retryAfter = 0, body } = step.answer ?? { status: 0 };
        core.answered(at, this.attempt, { status, retryAfter, body: unhex(body) });
        break;
      }
      case "flush":
        core.flush(at);
        break;
      case "optOut":
        core.optOut();
        break;
      case "optIn":
        core.optIn();
        break;
      case "close":
        core.close();
        break;
      case "restart":
        this.core = this.start();
        this.leading = false;
        break;
      case "lead":
        this.leading = true;
        core.lead(at, queue.state, queue.stored());
        break;
      case "follow":
        this.leading = false;
        core.follow();
        break;
      case "stored":
        core.stored(at, queue.describe(blocks));
        break;
      case "lost":
        queue.remove((seq) => blocks.includes(seq));
        core.lost(at, blocks);
        break;
      case "tick":
      case "stats":
        break;
      default:
        throw new Error(`the input ${step.input} is unknown`);
    }
    const commands: string[] = [];
    for (let command = this.core.poll(at); command; command = this.core.poll(at))
      commands.push(this.perform(command, step));
    if (commands.length) out.commands = commands;
    if (step.input === "stats") {
      const { queued, queuedBytes, sent, ...rest } = this.core.stats();
      const told = Object.entries(rest).filter(([, v]) =>
        typeof v === "object" ? Object.keys(v).length : v,
      );
      out.stats = { queued, queuedBytes, sent, ...Object.fromEntries(told) };
    }
    const deadline = this.core.deadline(at);
    if (deadline !== Number.POSITIVE_INFINITY) out.deadline = deadline;
    return out;
  }

  // Does what the core asks for, and says what that was.
  private perform(command: Command, { at, diskFull }: Step): string {
    const { core, queue } = this;
    if (command.commit) {
      const text = [
        "commit",
        ...command.commit.append.map((b) => `append ${b.seq} (${b.events} events)`),
        ...command.commit.delete.map(([first, last]) => `delete ${first}-${last}`),
        ...(diskFull ? ["fails"] : []),
      ].join(" ");
      if (diskFull) {
        core.committed(at, false);
        return text;
      }
      const given = queue.commit(command.commit);
      core.committed(at, true);
      if (this.leading && given.length) core.stored(at, queue.describe(given));
      return text;
    }
    if (command.send) {
      const { attempt, first, last, unsaved, skip, events, trailer } = command.send;
      this.attempt = attempt;
      const blocks = [...queue.blocks, ...unsaved].filter((b) => b.seq >= first && b.seq <= last);
      const body = appendBody(
        blocks.map((b) => b.data),
        skip,
        events,
        trailer,
      );
      if (!body) throw new Error("the queue does not hold what is to be sent");
      return body.length > longBody
        ? `send ${events} events: ${body.length} bytes, fnv1a ${fnv1a(body).toString(16).padStart(8, "0")}`
        : `send ${events} events: ${hex(body)}`;
    }
    if (command.cancel) return "cancel";
    if (command.rejected) return `rejected [${command.rejected.map(goRejection).join(" ")}]`;
    return `dropped ${command.dropped?.events} ${command.dropped?.reason}`;
  }
}

const goRejection = (r: Rejection) =>
  `{Index:${r.index} ID:${r.id} Code:${r.code} Field:${r.field} Message:${r.message}}`;

function fnv1a(bytes: Uint8Array): number {
  let hash = 0x811c9dc5;
  for (const byte of bytes) hash = Math.imul(hash ^ byte, 0x01000193) >>> 0;
  return hash;
}
