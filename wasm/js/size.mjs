// Prints how large the built scripts are, and fails when one is above its limit: `npm run size` after a build.
import { readFileSync } from "node:fs";
import { brotliCompressSync, gzipSync } from "node:zlib";

// Bytes after gzip -9. causality.js is what a page waits for (aim 3,277); the other two come once it runs, one of them.
const limits = { "causality.js": 4096, "causality-core.js": 7168, "causality-worker.js": 5120 };

const print = (...cells) =>
  console.log(cells[0].padEnd(22), ...cells.slice(1).map((c) => String(c).padStart(8)));
const over = [];
print("bytes", "raw", "gzip -9", "brotli", "limit");
for (const [name, limit] of Object.entries(limits)) {
  const code = readFileSync(new URL(`dist/${name}`, import.meta.url));
  const size = gzipSync(code, { level: 9 }).length;
  print(name, code.length, size, brotliCompressSync(code).length, limit);
  if (size > limit) over.push(`${name} is ${size - limit} bytes above its limit of ${limit}`);
}
for (const problem of over) console.error(`size: ${problem}`);
process.exitCode = over.length ? 1 : 0;
