// Prints how large the bundles are, and fails when causality.js is above its budget: `npm run size` after a build.
import { readFileSync } from "node:fs";
import { brotliCompressSync, gzipSync } from "node:zlib";
import { bundle } from "./build.mjs";

const budget = 4096; // bytes of causality.js after gzip -9
const aim = 3277;

const row = (name, code) => {
  const gzip = gzipSync(code, { level: 9 }).length;
  const brotli = brotliCompressSync(code).length;
  const raw = Buffer.byteLength(code);
  console.log(name.padEnd(22), ...[raw, gzip, brotli].map((n) => String(n).padStart(8)));
  return gzip;
};

console.log("bytes".padEnd(22), ...["raw", "gzip -9", "brotli"].map((s) => s.padStart(8)));
row("core alone", await bundle("src/core/index.ts", "iife"));
const size = row("causality.js", readFileSync(new URL("dist/causality.js", import.meta.url)));
console.log(`budget of causality.js: ${budget} (aim ${aim})`);
if (size > budget) {
  console.error(`size: causality.js is ${size - budget} bytes above its budget of ${budget}`);
  process.exit(1);
}
