// The shipped core.wasm, with what it exports beside a CoreLike. Runs in Node and in Chromium alike.
import type { Random } from "../../src/core/ids";
import type { EventInput, Rejection } from "../../src/core/types";
import { Call, CoreInstance, eventText, Tape } from "../../src/wasm-core";

export interface Answered {
  accepted: number;
  duplicates: number;
  rejected: Rejection[];
}

export interface Filled {
  anonymousId: string;
  userId: string;
  sessionId: string;
  groups: Record<string, string>;
}

export type Codec = ReturnType<typeof newCodec>;

/** The encoder and the reader of answers. */
export function newCodec(module: WebAssembly.Module) {
  const instance = new CoreInstance(module, () => 0n);
  return {
    /** An event's bytes, and whether it was given the id. Throws CausalityError. */
    encode(now: number, event: EventInput, id: string): [bytes: Uint8Array, taken: boolean] {
      return this.encodeText(now, eventText(event), id);
    },
    encodeText(now: number, text: string, id: string): [bytes: Uint8Array, taken: boolean] {
      const answer = instance.call(Call.Encode, now, new Tape().text(id).rest(text));
      return [answer.bytes(), answer.flag()];
    },
    decode(body: Uint8Array): Answered | undefined {
      const answer = instance.call(Call.Answer, 0, new Tape().bytes(body));
      const readable = answer.flag();
      const out = {
        accepted: answer.number(),
        duplicates: answer.number(),
        rejected: answer.rejections(),
      };
      return readable ? out : undefined;
    },
  };
}

export interface VisitorConfig {
  idle?: number;
  background?: number;
  longest?: number;
}

export function newVisitors(module: WebAssembly.Module, config: VisitorConfig, random: Random) {
  const instance = new CoreInstance(module, random);
  const call = (name: Call, now = 0, tape?: Tape) => instance.call(name, now, tape);
  return (state: Uint8Array = new Uint8Array()) => {
    const { idle = 0, background = 0, longest = 0 } = config;
    call(Call.Visitor, 0, new Tape().numbers(idle, background, longest).bytes(state));
    return {
      fill(now: number, event: EventInput): Filled {
        const answer = call(Call.Fill, now, new Tape().rest(eventText(event)));
        const [anonymousId, userId, sessionId] = [answer.text(), answer.text(), answer.text()];
        const groups = Object.fromEntries(answer.list(() => [answer.text(), answer.text()]));
        return { anonymousId, userId, sessionId, groups };
      },
      identify: (now: number, userId: string) => void call(Call.Identify, now, new Tape().text(userId)),
      join: (kind: string, id: string) => void call(Call.Join, 0, new Tape().text(kind).text(id)),
      reset: (now: number) => void call(Call.Reset, now),
      background: (now: number) => void call(Call.Background, now),
      foreground: (now: number) => void call(Call.Foreground, now),
      is() {
        const answer = call(Call.VisitorIDs);
        const [anonymousId, userId, sessionId] = [answer.text(), answer.text(), answer.text()];
        return { anonymousId, userId, sessionId, changed: answer.flag() };
      },
      state: () => call(Call.VisitorState).bytes(),
    };
  };
}
