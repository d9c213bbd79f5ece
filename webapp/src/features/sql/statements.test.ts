import { describe, expect, it } from "vitest";
import { errorPosition, errorSentence, statementAt, statements, statementToRun } from "./statements";

describe("statements", () => {
  it.each([
    ["one without semicolon", "select 1", ["select 1"]],
    ["two", "select 1; select 2;", ["select 1", "select 2"]],
    ["semicolon in text", "select ';'; select 'it''s; here'", ["select ';'", "select 'it''s; here'"]],
    ["semicolon in identifier", 'select "a;""b" from t', ['select "a;""b" from t']],
    ["line comment", "select 1 -- a; b\n, 2; select 3", ["select 1 -- a; b\n, 2", "select 3"]],
    [
      "nested block comment",
      "select /* a; /* b; */ c; */ 1; select 2",
      ["select /* a; /* b; */ c; */ 1", "select 2"],
    ],
    ["dollar quotes", "select $$a;b$$; select $x$;$x$", ["select $$a;b$$", "select $x$;$x$"]],
    ["parameter is no dollar quote", "select $1; select $2", ["select $1", "select $2"]],
    ["only comments", "-- nothing\n;;", []],
    ["unfinished text", "select 'a; b", ["select 'a; b"]],
  ])("%s", (_, text, want) => {
    expect(statements(text).map((s) => s.text)).toEqual(want);
  });

  it("keeps offsets of the text", () => {
    const text = "-- head\nselect 1;\n\nselect 2\n";
    for (const s of statements(text)) expect(text.slice(s.from, s.to)).toBe(s.text);
  });
});

describe("statementAt", () => {
  const text = "select 1;\n\nselect 2;\n";
  it.each([
    [0, "select 1"],
    [8, "select 1"],
    [9, "select 1"],
    [10, "select 1"],
    [11, "select 2"],
    [21, "select 2"],
  ])("cursor at %i", (at, want) => {
    expect(statementAt(text, at)?.text).toBe(want);
  });
  it("before the first takes the first", () => expect(statementAt("\n\nselect 1", 0)?.text).toBe("select 1"));
  it("nothing to run", () => expect(statementAt(" -- x", 2)).toBeUndefined());
});

describe("statementToRun", () => {
  it("runs a selection as it is, without its semicolon", () => {
    const text = "select 1; select a, b from t;";
    expect(statementToRun(text, 9, text.length)).toEqual({ from: 10, to: 28, text: "select a, b from t" });
  });
  it("an empty selection runs the statement", () =>
    expect(statementToRun("select 1", 8, 8)?.text).toBe("select 1"));
});

describe("errorPosition", () => {
  const sql = "select event,\n  nope\nfrom events";
  it("reads line and caret", () => {
    const message = 'Binder Error: column "nope" not found\n\nLINE 2:   nope\n          ^';
    expect(errorPosition(message, sql)).toEqual({ from: 16, to: 20 });
    expect(errorSentence(message)).toBe('Binder Error: column "nope" not found');
  });
  it("leaves out the name of the field", () => {
    expect(errorSentence("sql: is empty; write a SELECT")).toBe("is empty; write a SELECT");
  });
  it("reads a cut excerpt", () => {
    const long = `select ${"a, ".repeat(40)}nope from events`;
    const message = `Binder Error: x\n\nLINE 1: ...a, a, nope from events\n                  ^`;
    const at = errorPosition(message, long);
    expect(long.slice(at?.from, at?.to)).toMatch(/^\S+$/);
  });
  it("falls back to the name", () => {
    expect(errorPosition('Referenced column "nope" not found', sql)).toEqual({ from: 16, to: 20 });
  });
  it("says nothing when nothing is known", () => expect(errorPosition("out of memory", sql)).toBeUndefined());
});
