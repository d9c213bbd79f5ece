import { create } from "@bufbuild/protobuf";
import { describe, expect, it } from "vitest";
import { KeySchema } from "../../gen/causality/identity/v1/identity_pb";
import { diagnose } from "./diagnose";
import { keyState, shortKey, snippetKey } from "./keys";

const since = Date.parse("2026-11-20T10:00:00Z");
const later = "2026-11-20T10:00:30Z";
const before = "2026-11-20T09:00:00Z";
const key = (id: string, more = {}) => ({
  id,
  appId: "a",
  appName: "shop",
  kind: "write",
  display: `wk_9fK2mQ7xVb3LpT8rYw${id}`,
  lastUsedAt: "",
  revokedAt: "",
  expiresAt: "",
  ...more,
});
const known = (
  own: object = {},
  others: ReturnType<typeof key>[] = [],
  rejected: { receivedAt: string; code: string; message: string }[] = [],
) => {
  const k = key("own", own);
  return {
    since,
    origin: "https://c.example",
    appId: "a",
    appName: "shop",
    key: k,
    keys: [k, ...others],
    platform: "web" as const,
    rejected,
  };
};
const titles = (...args: Parameters<typeof known>) => diagnose(known(...args)).map((f) => f.title);

describe("diagnose", () => {
  it("nothing ever arrived", () => expect(titles()).toEqual(["Nothing has ever arrived with this key."]));
  it("nothing arrived since", () =>
    expect(titles({ lastUsedAt: before })).toEqual(["Nothing has arrived since you opened this page."]));
  it("a rejected event names its reason", () => {
    const [first] = diagnose(
      known(
        { lastUsedAt: later },
        [],
        [{ receivedAt: later, code: "missing_name", message: "An event needs a name" }],
      ),
    );
    expect(first?.title).toBe("An event arrived and was rejected.");
    expect(first?.what).toContain("missing_name");
  });
  it("an old rejection says nothing", () =>
    expect(titles({}, [], [{ receivedAt: before, code: "x", message: "m" }])[0]).toMatch(/^Nothing/));
  it("a revoked key", () => expect(titles({ revokedAt: before })[0]).toContain("not valid any more"));
  it("the key of another app, which may be another matter", () =>
    expect(titles({}, [key("k2", { appId: "b", appName: "site", lastUsedAt: later })])).toEqual([
      "Events do arrive, but for site.",
      "Nothing has ever arrived with this key.",
    ]));
  it("another key of this app", () =>
    expect(titles({}, [key("k3", { lastUsedAt: later })])[0]).toContain("Another key of shop"));
  it("events from elsewhere name where, and what may be wrong here", () => {
    const found = diagnose({ ...known({ lastUsedAt: later }), heard: { library: "causality-go" } });
    expect(found.map((f) => f.title)).toEqual([
      "Events arrive from the Go SDK, none from the browser SDK yet.",
    ]);
    expect(found[0]?.what).toContain("--ingest-path");
    const [plain] = diagnose({ ...known(), heard: { library: "" } });
    expect(plain?.title).toBe("Events arrive over HTTP, none from the browser SDK yet.");
    const [own] = diagnose({ ...known(), heard: { library: "their-own" } });
    expect(own?.title).toBe("Events arrive from their-own, none from the browser SDK yet.");
  });
  it.each([
    ["web", "Content-Security-Policy"],
    ["android", "10.0.2.2"],
    ["ios", "App Transport Security"],
    ["go", "Flush or Close"],
    ["http", "curl"],
  ] as const)("silence on %s says what to look at", (platform, want) => {
    const [first] = diagnose({ ...known(), platform });
    expect(first?.what).toContain(want);
    expect(first?.what).toContain("https://c.example");
  });
  it("a request without events", () =>
    expect(titles({ lastUsedAt: later })[0]).toContain("no event came with it"));
});

describe("keys", () => {
  it.each([
    [{ revokedAt: "", expiresAt: "" }, "valid"],
    [{ revokedAt: before, expiresAt: "" }, "revoked"],
    [{ revokedAt: "", expiresAt: before }, "expired"],
    [{ revokedAt: "", expiresAt: later }, "expiring"],
  ])("%j is %s", (k, want) => expect(keyState(k, since)).toBe(want));
  it("shortens", () => expect(shortKey("wk_9fK2mQ7xVb3LpT8rYw4f2")).toBe("wk_…4f2"));
  it("puts the newest valid write key into snippets", () => {
    const keys = [
      create(KeySchema, { id: "old", appId: "a", kind: "write", createdAt: before }),
      create(KeySchema, { id: "new", appId: "a", kind: "write", createdAt: later }),
      create(KeySchema, { id: "gone", appId: "a", kind: "write", createdAt: later, revokedAt: later }),
      create(KeySchema, { id: "secret", appId: "a", kind: "secret", createdAt: later }),
    ];
    expect(snippetKey(keys, "a")?.id).toBe("new");
  });
});
