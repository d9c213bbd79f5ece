import { describe, expect, it } from "vitest";
import { checkFormula, soundFormulas, usableIn } from "./formula";

const letters = new Set(["A", "B"]);

describe("a formula", () => {
  it.each(["A/B*100", "(A+B)/2", "-A + .5*b", "A", "((A))", "A / 0"])("may be %s", (text) => {
    expect(checkFormula(text, letters)).toBeUndefined();
  });

  it.each([
    ["A/", 2, "missing at the end"],
    ["A//B", 2, "cannot stand here"],
    ["A/C", 2, "no C to use"],
    ["(A+B", 0, "never closed"],
    ["A B", 2, "operator is missing"],
    ["2*3", 0, "Name at least one series"],
    ["", 0, "Write a formula"],
    ["A^2", 1, "operator is missing"],
    ["alert(1)", 0, "no alert to use"],
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

  it("may name other formulas, but none that leads back to it", () => {
    const formulas = [
      { id: "F1", expr: "A/B" },
      { id: "F2", expr: "f1*100" },
      { id: "F3", expr: "A" },
    ];
    expect(usableIn("F1", formulas)).toEqual(["F3"]);
    expect(usableIn("F2", formulas)).toEqual(["F1", "F3"]);
    expect(checkFormula("F2+1", new Set([...letters, "F2"]))).toBeUndefined();
  });

  it("with a mistake is left out together with those that name it", () => {
    const formulas = [
      { id: "F1", expr: "A/Q" },
      { id: "F2", expr: "F1*100" },
      { id: "F3", expr: "A/B" },
      { id: "F4", expr: "F5" },
      { id: "F5", expr: "F4" },
    ];
    expect(soundFormulas(formulas, letters).map((f) => f.id)).toEqual(["F3"]);
  });
});
