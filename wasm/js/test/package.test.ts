// What the npm package promises: its types, and its files.
import { execFileSync } from "node:child_process";
import { readFileSync, writeFileSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { expect, test } from "vitest";
import { declarations } from "../build.mjs";

const root = fileURLToPath(new URL("..", import.meta.url));

test("the public types are those of api.txt; UPDATE_API=1 writes it anew", { timeout: 60_000 }, () => {
  const file = `${root}/api.txt`;
  const got = Object.entries(declarations())
    .sort(([a], [b]) => (a < b ? -1 : 1))
    .map(([path, text]) => `// ${path}\n${text}`)
    .join("\n");
  if (process.env.UPDATE_API) writeFileSync(file, got);
  expect(got).toBe(readFileSync(file, "utf8"));
});

test("the package has what is built, and nothing else", { timeout: 60_000 }, () => {
  const output = execFileSync("npm", ["pack", "--dry-run", "--json", "--ignore-scripts"], {
    cwd: root,
    encoding: "utf8",
    stdio: ["ignore", "pipe", "ignore"],
  });
  const files = (JSON.parse(output) as { files: { path: string }[] }[])[0]!.files.map((f) => f.path);
  const known =
    /^(LICENSE|README\.md|package\.json|dist\/(causality(-core|-worker)?\.js|core\.wasm|index\.js|chunk-\w+\.js|[\w/-]+\.d\.ts))$/;
  expect(files.filter((path) => !known.test(path))).toEqual([]);
  expect(files, "npm run build makes dist/").toEqual(
    expect.arrayContaining([
      "LICENSE",
      "package.json",
      "dist/causality.js",
      "dist/causality-core.js",
      "dist/causality-worker.js",
      "dist/index.js",
      "dist/index.d.ts",
    ]),
  );
});
