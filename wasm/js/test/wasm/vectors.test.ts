import { readFileSync } from "node:fs";
import { describe, expect, test } from "vitest";
import { module } from "./module";
import { files, replay } from "./replay";

describe.each(files)("core.wasm does as %s says", (file) => {
  const text = readFileSync(new URL(`../../../../sdk/vectors/${file}`, import.meta.url), "utf8");
  const vectors = replay(module, file, text);
  test("there are vectors", () => expect(vectors.length).toBeGreaterThan(5));
  test.each(vectors)("$name", ({ got, want }) => expect(got).toEqual(want));
});
