// The golden vectors against the core.wasm that ships, in a page: what wasm/js/test/wasm does in Node. One test stands
// for all of a file, since what is wrong is named there.
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { build } from "esbuild";
import { files } from "../test/wasm/replay";
import { expect, test } from "./site";

const root = join(import.meta.dirname, "..");

// The entry is a module of its own so that it, and not Playwright, reads core.wasm: as the worker does.
async function replayer(): Promise<string> {
  const result = await build({
    stdin: {
      contents: `
        import { compileCore } from "./src/wasm-core";
        import { replay } from "./test/wasm/replay";
        const module = compileCore("/sdk/core.wasm");
        window.replay = async (file, text) => replay(await module, file, text);`,
      resolveDir: root,
    },
    bundle: true,
    write: false,
    format: "esm",
    target: "es2020",
    // test/replay.ts can read files too, which a page does not ask it to.
    plugins: [
      {
        name: "no files",
        setup(plugins) {
          plugins.onResolve({ filter: /^node:fs$/ }, ({ path }) => ({ path, namespace: "none" }));
          plugins.onLoad({ filter: /.*/, namespace: "none" }, () => ({
            contents: "export const readFileSync = 0;",
          }));
        },
      },
    ],
  });
  return result.outputFiles[0]?.text ?? "";
}

declare global {
  interface Window {
    replay(file: string, text: string): Promise<{ name: string; want: unknown; got: unknown }[]>;
  }
}

for (const file of files) {
  test(`core.wasm does in Chromium as ${file} says`, async ({ page, site }) => {
    site.serve("/replay.js", "text/javascript", await replayer());
    site.serve(
      "/vectors",
      "text/html",
      '<!doctype html><title>Vectors</title><script type="module" src="/replay.js"></script>',
    );
    await page.goto(site.url("/vectors"));
    await page.waitForFunction(() => window.replay);
    const text = readFileSync(join(root, "../../sdk/vectors", file), "utf8");
    // Bigints do not travel from the page: both sides become text there.
    const results = await page.evaluate(
      async ([file, text]) => {
        const exact = (v: unknown) => JSON.stringify(v, (_, v) => (typeof v === "bigint" ? `${v}n` : v));
        const sorted = (v: unknown): unknown =>
          v && typeof v === "object" && !Array.isArray(v)
            ? Object.fromEntries(
                Object.entries(v)
                  .sort(([a], [b]) => (a < b ? -1 : 1))
                  .map(([k, v]) => [k, sorted(v)]),
              )
            : Array.isArray(v)
              ? v.map(sorted)
              : v;
        const all = await window.replay(file, text);
        return all.map(({ name, want, got }) => ({
          name,
          want: exact(sorted(want)),
          got: exact(sorted(got)),
        }));
      },
      [file, text] as const,
    );
    expect(results.length).toBeGreaterThan(5);
    for (const { name, want, got } of results) expect(got, name).toBe(want);
  });
}
