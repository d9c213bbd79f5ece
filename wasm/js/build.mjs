// Builds dist/: `node build.mjs` everything, `node build.mjs causality` (index, causality-worker) one bundle.
//
// esbuild bundles, terser minifies: together they gzip some 3 % smaller than esbuild alone, and the budget of
// causality.js is 4,096 bytes. dist/core.wasm comes from ../build and is left alone.
import { execFileSync } from "node:child_process";
import { cpSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join, relative } from "node:path";
import { fileURLToPath } from "node:url";
import { build } from "esbuild";
import { minify } from "terser";

const root = dirname(fileURLToPath(import.meta.url));
const { version } = JSON.parse(readFileSync(join(root, "package.json"), "utf8"));
const banner = `/*! @causality/web ${version} | Apache-2.0 */`;

// Properties that never leave a bundle get short names: those that begin with _, and these of core/types.ts. None of
// them may name a member of the platform's objects, of what is posted, stored or public.
const internal =
  /^(_.*|poll|deadline|committed|answered|follow|stored|commit|cancel|trailer|unsaved|retryAfter)$/;

export const bundles = {
  causality: { entry: "src/script.ts", format: "iife" },
  index: { entry: "src/index.ts", format: "esm" },
  "causality-worker": { entry: "src/worker.ts", format: "iife" },
};

/** The minified text of a bundle. */
export async function bundle(entry, format) {
  const result = await build({
    absWorkingDir: root,
    entryPoints: [entry],
    bundle: true,
    write: false,
    format,
    target: "es2020",
    define: { VERSION: JSON.stringify(version), PAGE: "true" },
    legalComments: "none",
  });
  const { code } = await minify(result.outputFiles[0].text, {
    ecma: 2020,
    module: format === "esm",
    toplevel: true,
    compress: { passes: 4, unsafe_arrows: true, unsafe_methods: true, pure_getters: true, keep_fargs: false },
    mangle: { properties: { regex: internal } },
    format: { ascii_only: true, preamble: banner },
  });
  return code;
}

// The declarations that the public ones name, and no others.
function declarations() {
  const out = mkdtempSync(join(tmpdir(), "causality-types-"));
  try {
    execFileSync(
      join(root, "node_modules/.bin/tsc"),
      ["--noEmit", "false", "--declaration", "--emitDeclarationOnly", "--rootDir", "src", "--outDir", out],
      { cwd: root, stdio: "inherit" },
    );
    const seen = new Set();
    const visit = (file) => {
      if (seen.has(file)) return;
      seen.add(file);
      const text = readFileSync(file, "utf8");
      const to = join(root, "dist", relative(out, file));
      mkdirSync(dirname(to), { recursive: true });
      writeFileSync(
        to,
        text.replace(
          /((?:from|import)\s*\(?)(['"])(\.[^'"]*?)(?:\.js|\.ts)?\2/g,
          (_, before, quote, path) => {
            visit(join(dirname(file), `${path}.d.ts`));
            return `${before}${quote}${path}.js${quote}`;
          },
        ),
      );
    };
    visit(join(out, "index.d.ts"));
  } finally {
    rmSync(out, { recursive: true });
  }
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  const names = process.argv.length > 2 ? process.argv.slice(2) : Object.keys(bundles);
  mkdirSync(join(root, "dist"), { recursive: true });
  for (const name of names) {
    const known = bundles[name];
    if (!known) throw new Error(`build.mjs: no bundle ${name}; there are ${Object.keys(bundles).join(", ")}`);
    writeFileSync(join(root, "dist", `${name}.js`), await bundle(known.entry, known.format));
    if (name === "index") declarations();
  }
  cpSync(join(root, "../../LICENSE"), join(root, "LICENSE"));
}
