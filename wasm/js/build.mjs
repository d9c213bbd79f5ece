// Builds dist/: `node build.mjs` everything, `node build.mjs causality index` some of it.
//
// esbuild bundles, terser minifies: together they gzip smaller than esbuild alone, and causality.js has a budget of
// 4,096 bytes. dist/core.wasm comes from ../build and is left alone.
import { execFileSync } from "node:child_process";
import { cpSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { basename, dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { build } from "esbuild";
import { minify } from "terser";

const root = dirname(fileURLToPath(import.meta.url));
const { version } = JSON.parse(readFileSync(join(root, "package.json"), "utf8"));
const banner = `/*! @causality/web ${version} | Apache-2.0 */`;

// Properties that begin with _ get short names: they never leave a bundle, to be posted, stored or public.
const internal = /^_/;

// Scripts for a page that load one another, and the npm package, whose index loads chunk-*.js.
const bundles = {
  causality: { entry: "src/script.ts", format: "iife" },
  "causality-core": { entry: "src/gear.ts", format: "iife" },
  "causality-worker": { entry: "src/worker.ts", format: "iife" },
  index: { entry: "src/index.ts", format: "esm" },
};

/** The minified files of a bundle, by their names. */
export async function bundle(name, { entry, format }) {
  const { outputFiles } = await build({
    absWorkingDir: root,
    entryPoints: { [name]: entry },
    outdir: "dist",
    chunkNames: "chunk-[hash]",
    bundle: true,
    splitting: format === "esm",
    write: false,
    format,
    target: "es2020",
    define: { VERSION: JSON.stringify(version), PAGE: "true" },
    external: ["node:*"], // of tests
    legalComments: "none",
  });
  const nameCache = {}; // the chunks of one bundle share their short names
  const files = {};
  for (const file of outputFiles) {
    const { code } = await minify(file.text, {
      ecma: 2020,
      module: format === "esm",
      toplevel: true,
      compress: {
        passes: 4,
        unsafe_arrows: true,
        unsafe_methods: true,
        pure_getters: true,
        keep_fargs: false,
      },
      mangle: { properties: { regex: internal } },
      format: { ascii_only: true, preamble: banner },
      nameCache,
    });
    files[basename(file.path)] = code;
  }
  return files;
}

/** The declarations that the public ones name and no others, by their paths. */
export function declarations() {
  const out = mkdtempSync(join(tmpdir(), "causality-types-"));
  const tsc = join(root, "node_modules/.bin/tsc");
  const options = [
    "--noEmit",
    "false",
    "--declaration",
    "--emitDeclarationOnly",
    "--rootDir",
    ".",
    "--outDir",
    out,
  ];
  const files = {};
  const visit = (path) => {
    if (path in files) return;
    files[path] = ""; // on its way
    const text = readFileSync(join(out, "src", path), "utf8");
    files[path] = text.replace(/((?:from|import)\s*\(?)"(\.[^"]*?)(?:\.js|\.ts)?"/g, (_, before, target) => {
      visit(join(dirname(path), `${target}.d.ts`));
      return `${before}"${target}.js"`;
    });
  };
  try {
    execFileSync(tsc, options, { cwd: root, stdio: "inherit" });
    visit("index.d.ts");
  } finally {
    rmSync(out, { recursive: true });
  }
  return files;
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  const names = process.argv.length > 2 ? process.argv.slice(2) : Object.keys(bundles);
  const dist = join(root, "dist");
  for (const name of names) {
    const known = bundles[name];
    if (!known) throw new Error(`build.mjs: no bundle ${name}; there are ${Object.keys(bundles).join(", ")}`);
    const files = { ...(await bundle(name, known)), ...(name === "index" && declarations()) };
    for (const [file, text] of Object.entries(files)) {
      mkdirSync(dirname(join(dist, file)), { recursive: true });
      writeFileSync(join(dist, file), text);
    }
    if (name === "index")
      for (const old of readdirSync(dist, { recursive: true }))
        if (/(^|\/)chunk-|\.d\.ts$/.test(old) && !(old in files)) rmSync(join(dist, old));
  }
  cpSync(join(root, "../../LICENSE"), join(root, "LICENSE"));
}
