import { expect, it } from "vitest";
import { assignPlaces } from "./palette";

it("gives few names the first places", () => {
  expect([...assignPlaces(new Map(), ["web", "ios"])]).toEqual([
    ["web", 0],
    ["ios", 1],
  ]);
});

it("keeps a name's place whatever else is drawn", () => {
  const before = assignPlaces(new Map(), ["web", "ios", "android"]);
  expect(assignPlaces(before, ["android", "web"]).get("android")).toBe(2);
  expect(assignPlaces(before, ["tv", "android"]).get("tv")).toBe(0);
});

it("never gives two of ten names one place", () => {
  const names = Array.from({ length: 10 }, (_, i) => `n${i}`);
  expect(new Set(assignPlaces(new Map([["n3", 0]]), names).values()).size).toBe(10);
});

it("repeats places beyond ten rather than fail", () => {
  const names = Array.from({ length: 25 }, (_, i) => `n${i}`);
  expect(assignPlaces(new Map(), names).size).toBe(25);
});
