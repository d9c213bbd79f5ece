import { describe, expect, it } from "vitest";
import { backoff, createParser, type Message } from "./sse";

function parse(...chunks: string[]): Message[] {
  const found: Message[] = [];
  const feed = createParser((m) => found.push(m));
  for (const c of chunks) feed(c);
  return found;
}

describe("server-sent events", () => {
  it("reads a message in any pieces", () => {
    const text = 'event: event\ndata: {"name":"a"}\n\n';
    expect(parse(...text)).toEqual([{ event: "event", data: '{"name":"a"}' }]);
  });
  it("takes carriage returns, also split from their line feeds", () => {
    expect(parse("data: 1\r", "\n\r\ndata: 2\r\n\r\n")).toEqual([
      { event: "message", data: "1" },
      { event: "message", data: "2" },
    ]);
  });
  it("joins lines of data and skips comments", () => {
    expect(parse(": ping\n\ndata: a\ndata: b\n\n")).toEqual([{ event: "message", data: "a\nb" }]);
  });
  it("hands out nothing that is not finished", () => expect(parse("data: 1\n")).toEqual([]));
});

describe("backoff", () => {
  it.each([
    [0, 0, 1000],
    [3, 0, 8000],
    [9, 0, 30_000],
    [9, 1, 15_000],
  ])("attempt %i", (attempt, random, want) => expect(backoff(attempt, random)).toBe(want));
});
