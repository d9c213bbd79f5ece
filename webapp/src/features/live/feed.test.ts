import { describe, expect, it } from "vitest";
import {
  emptyFeed,
  eventRow,
  gapRow,
  matches,
  mostRows,
  noFilter,
  origin,
  Rate,
  receive,
  rejectedRow,
  resume,
  summary,
} from "./feed";

const event = (name: string, more = {}) =>
  eventRow({ type: "TRACK", name, receivedAt: "2026-11-20T10:00:00Z", ...more });
const names = (rows: readonly { kind: string; event?: { name?: string } }[]) =>
  rows.map((r) => r.event?.name ?? r.kind);

describe("feed", () => {
  it("shows the newest first and keeps the bound", () => {
    let feed = receive(emptyFeed, [event("a"), event("b")], false);
    expect(names(feed.rows)).toEqual(["b", "a"]);
    feed = receive(
      feed,
      Array.from({ length: mostRows }, () => event("x")),
      false,
    );
    expect(feed.rows).toHaveLength(mostRows);
    expect(feed.droppedRows).toBe(2);
  });
  it("says where an event came from", () => {
    const from = (context?: object) =>
      origin({ type: "TRACK", receivedAt: "", ...(context ? { context } : {}) });
    expect(
      from({ platform: "ios", os: { name: "iOS" }, library: { name: "causality-swift", version: "0.1.0" } }),
    ).toEqual({ short: "ios", long: "ios, iOS, causality-swift 0.1.0" });
    expect(from({ library: { name: "causality-go" } })).toEqual({
      short: "causality-go",
      long: "causality-go",
    });
    expect(from()).toEqual({ short: "–", long: "sent without an SDK" });
  });
  it("holds still while paused and counts what waits", () => {
    let feed = receive(emptyFeed, [event("a")], false);
    feed = receive(feed, [event("b"), event("c")], true);
    expect(names(feed.rows)).toEqual(["a"]);
    expect(feed.pendingCount).toBe(2);
    expect(names(resume(feed, 0).rows)).toEqual(["c", "b", "a"]);
  });
  it("states what did not fit while paused", () => {
    let feed = receive(emptyFeed, [event("before")], false);
    for (let i = 0; i < 3; i++)
      feed = receive(
        feed,
        Array.from({ length: 600 }, () => event("x")),
        true,
      );
    expect(feed.pendingCount).toBe(1800);
    const shown = resume(feed, 0);
    expect(shown.rows).toHaveLength(mostRows);
    expect(shown.pendingCount).toBe(0);
    const gap = resume({ ...feed, pending: feed.pending.slice(0, 10) }, 0).rows.find((r) => r.kind === "gap");
    expect(gap?.kind === "gap" && gap.sentence).toContain("1,790 events");
  });
  it("does not count gaps as events", () => {
    expect(receive(emptyFeed, [gapRow("lost", 0)], true).pendingCount).toBe(0);
  });
});

describe("matches", () => {
  const row = event("purchase", { userId: "u7", properties: { plan: "Pro" } });
  it.each([
    [{}, true],
    [{ events: ["purchase"] }, true],
    [{ events: ["signup"] }, false],
    [{ user: "U7" }, true],
    [{ user: "u8" }, false],
    [{ text: "pro plan" }, true],
    [{ text: "free" }, false],
    [{ kind: "people" as const }, false],
    [{ kind: "rejected" as const }, false],
  ])("%j is %s", (filter, want) => {
    expect(matches(row, { ...noFilter, ...filter })).toBe(want);
  });
  it("finds a rejected event by the user in its text", () => {
    const rejected = rejectedRow({
      index: 0,
      code: "x",
      message: "m",
      event: '{"userId":"u7"}',
      receivedAt: "",
    });
    expect(matches(rejected, { ...noFilter, user: "u7" })).toBe(true);
  });
});

it("reads the rate over the last ten seconds", () => {
  const rate = new Rate(0);
  for (let s = 0; s < 20; s++) rate.add(5, s * 1000);
  expect(rate.read(19_500)).toBe(5);
  expect(rate.read(60_000)).toBe(0);
});

it("sums up what an identify changes", () => {
  expect(
    summary({ type: "IDENTIFY", receivedAt: "", traits: { set: { plan: "pro" }, add: { logins: 1 } } }),
  ).toEqual([
    ["plan", "pro"],
    ["add.logins", "1"],
  ]);
});
