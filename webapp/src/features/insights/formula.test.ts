import { describe, expect, it } from "vitest";
import { checkFormula } from "./formula";

const letters = new Set(["A", "B"]);

describe("a formula", () => {
  it.each(["A/B*100", "(A+B)/2", "-A + .5*b", "A", "((A))", "A / 0"])("may be %s", (text) => {
    expect(checkFormula(text, letters)).toBeUndefined();
  });

  it.each([
    ["A/", 2, "missing at the end"],
    ["A//B", 2, "cannot stand here"],
    ["A/C", 2, "no series C"],
    ["(A+B", 0, "never closed"],
    ["A B", 2, "operator is missing"],
    ["2*3", 0, "Name at least one series"],
    ["", 0, "Write a formula"],
    ["A^2", 1, "operator is missing"],
    ["alert(1)", 0, "no series alert"],
  ])("is told where %j goes wrong", (text, at, says) => {
    const problem = checkFormula(text, letters);
    expect(problem?.at).toBe(at);
    expect(problem?.says).toContain(says);
  });

  it("may not name a series that is switched off", () => {
    expect(checkFormula("A/B", new Set(["A"]), new Set(["B"]))?.says).toContain("switched off");
  });

  it("is bounded in depth", () => {
    expect(checkFormula(`${"(".repeat(80)}A${")".repeat(80)}`, letters)?.says).toContain("Too many brackets");
  });
});
