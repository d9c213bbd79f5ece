import { describe, expect, it } from "vitest";
import { eventRow, gapRow, type LiveEvent, rejectedRow } from "../live/feed";
import { fromOf, hear, heardElsewhere, nothingHeard, platformOf, testEvent } from "./platforms";

const from = (library: string | undefined, name = "signup"): LiveEvent => ({
  type: "TRACK",
  name,
  receivedAt: "2026-11-20T10:00:00Z",
  ...(library === undefined ? {} : { context: { library: { name: library } } }),
});
const rejected = (code: string) =>
  rejectedRow({ index: 0, code, message: `is ${code}`, event: "{}", receivedAt: "2026-11-20T10:00:00Z" });

describe("platforms", () => {
  it.each([
    ["causality-web", "web", "from the browser SDK"],
    ["causality-android", "android", "from the Android SDK"],
    ["causality-swift", "ios", "from the iOS SDK"],
    ["causality-go", "go", "from the Go SDK"],
    ["", "http", "over HTTP"],
    [undefined, "http", "over HTTP"],
    ["causality-import", undefined, "from causality-import"],
  ])("%s is %s", (library, platform, says) => {
    expect(platformOf(library)).toBe(platform);
    expect(fromOf(library)).toBe(says);
  });
});

describe("hear", () => {
  const all = [from("causality-go"), from("causality-web"), from("their-own"), from(undefined)];
  const heard = all.map(eventRow).reduce(hear, nothingHeard);

  it("keeps the first event of each platform apart", () => {
    expect(Object.keys(heard.first).sort()).toEqual(["go", "http", "web"]);
    expect(heard.first.web).toBe(all[1]);
    expect(heard.other).toBe(all[2]);
  });
  it("is the same value when nothing is new", () => {
    for (const event of all) expect(hear(heard, eventRow({ ...event }))).toBe(heard);
    expect(hear(heard, gapRow("some", 1))).toBe(heard);
    const refused = hear(heard, rejected("too_large"));
    expect(hear(refused, rejected("too_large"))).toBe(refused);
    expect(hear(refused, rejected("missing_name")).rejected?.code).toBe("missing_name");
  });
  it("takes the page's own test for no platform", () => {
    const tested = hear(nothingHeard, eventRow(from(undefined, testEvent)));
    expect(tested.first).toEqual({});
    expect(tested.test?.name).toBe(testEvent);
    expect(heardElsewhere(tested, "web")).toBeUndefined();
  });
  it("names what came from elsewhere", () => {
    expect(heardElsewhere(heard, "web")).toBe(all[0]);
    expect(heardElsewhere(heard, "go")).toBe(all[1]);
    expect(
      heardElsewhere(hear(nothingHeard, eventRow(from("their-own"))), "go")?.context?.library?.name,
    ).toBe("their-own");
    expect(heardElsewhere(nothingHeard, "go")).toBeUndefined();
  });
});
