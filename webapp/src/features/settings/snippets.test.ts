import { describe, expect, it } from "vitest";
import { platforms } from "./platforms";
import { type Target, waysOf } from "./snippets";

const target: Target = {
  origin: "https://c.example",
  key: "wk_9fK2mQ7xVb3LpT8rYw4f2",
  script: "/sdk/causality.js",
  ingestPath: "",
};
const renamed: Target = { ...target, script: "/assets/a.js", ingestPath: "/c" };
const code = (platform: (typeof platforms)[number]["id"], of = target) =>
  waysOf(platform, of).flatMap((w) => w.blocks.map((b) => b.code));
const ways = platforms.flatMap((p) => waysOf(p.id, target).map((w) => [p.id, w.id, w] as const));

describe("snippets", () => {
  it.each(ways)(
    "%s, %s: the key and the address are inside, and nothing is left to fill in",
    (_, __, way) => {
      const text = way.blocks.map((b) => b.code).join("\n");
      expect(text).toContain(target.key);
      expect(text).toContain(target.origin);
      expect(text).toContain("signup");
      expect(text).not.toMatch(/…|<your|undefined|\{origin|\{key/);
    },
  );
  it.each(ways)("%s, %s: each block can be named by itself", (_, __, way) => {
    expect(new Set(way.blocks.map((b) => b.label)).size).toBe(way.blocks.length);
    for (const block of way.blocks) expect(block.title).not.toBe("");
  });
  it("the script tag holds no script that a policy without inline scripts would refuse", () => {
    expect(code("web")[0]).toBe(
      `<script async src="https://c.example/sdk/causality.js"\n  data-key="${target.key}"></script>`,
    );
  });
  it("the names that the operator chose are in what pages and apps hold", () => {
    expect(code("web", renamed)[0]).toBe(
      `<script async src="https://c.example/assets/a.js"\n  data-key="${target.key}"\n  data-ingest-path="/c"></script>`,
    );
    const npm = code("web", renamed)[3];
    expect(npm).toContain(`  ingestPath: "/c",\n})`);
    expect(code("android", renamed)[1]).toContain(`ingestPath = "/c"`);
    expect(code("ios", renamed)[1]).toContain(`$0.ingestPath = "/c"`);
  });
  it("Kotlin", () => {
    expect(code("android")).toEqual([
      `dependencies {
    implementation("io.github.causality-project:causality-android:0.1.0")
}`,
      `import android.app.Application
import io.causality.Causality

class MyApplication : Application() {
    lateinit var causality: Causality

    override fun onCreate() {
        super.onCreate()
        causality = Causality.start(this, "${target.key}") {
            host = "https://c.example"
        }
        causality.track("signup") { put("plan", "pro") }
    }
}`,
    ]);
  });
  it("Swift", () => {
    expect(code("ios")[1]).toBe(`import Causality
import SwiftUI

@main
struct MyApp: App {
    static let causality = try? Causality(writeKey: "${target.key}") {
        $0.host = "https://c.example"
    }

    init() {
        Self.causality?.track("signup", ["plan": "pro"])
    }

    var body: some Scene {
        WindowGroup { Text("Hello") }
    }
}`);
  });
  it("phones are told to allow plain http, and only then", () => {
    const plain = { ...target, origin: "http://192.168.0.7:8080" };
    expect(code("android", plain)[1]).toContain("allowInsecure = true");
    expect(code("ios", plain)[1]).toContain("$0.allowInsecure = true");
    expect([...code("android"), ...code("ios")].join("\n")).not.toMatch(/insecure/i);
  });
  it("the request's body is JSON", () => {
    const [, request] = code("http");
    expect(JSON.parse(request?.split("\n\n")[1] ?? "")).toMatchObject({
      name: "signup",
      properties: { plan: "pro" },
    });
  });
});
