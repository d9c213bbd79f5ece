// The core.wasm that ships.
import { existsSync, readFileSync } from "node:fs";

const file = new URL("../../dist/core.wasm", import.meta.url);
if (!existsSync(file)) throw new Error("dist/core.wasm is missing: run wasm/build first");

export const module = new WebAssembly.Module(readFileSync(file));
