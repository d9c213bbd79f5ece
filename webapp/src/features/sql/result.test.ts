import { describe, expect, it } from "vitest";
import {
  asInstant,
  type Cell,
  cellText,
  kindOf,
  pictureOf,
  type ResultColumn,
  rowAsText,
  sortRows,
} from "./result";

const column = (name: string, type: string): ResultColumn => ({ name, type, kind: kindOf(type) });

describe("cells", () => {
  it.each<[Cell, string, string]>([
    [1204, "BIGINT", "1,204"],
    ["9007199254740993", "BIGINT", "9,007,199,254,740,993"],
    [0.1, "DOUBLE", "0.1"],
    [-1234.5, "DOUBLE", "-1,234.5"],
    ["00001", "VARCHAR", "00001"],
    [null, "VARCHAR", "NULL"],
    ["2026-07-01 12:00:00+00", "TIMESTAMP WITH TIME ZONE", "2026-07-01 13:00:00"],
    ["2026-07-01T12:00:00.120Z", "TIMESTAMP WITH TIME ZONE", "2026-07-01 13:00:00.12"],
    ["2026-07-01 12:00:00", "TIMESTAMP", "2026-07-01 12:00:00"],
    ["2026-07-01", "DATE", "2026-07-01"],
  ])("%s as %s reads %s", (cell, type, want) => {
    expect(cellText(cell, column("c", type), "Europe/Lisbon")).toBe(want);
  });

  it("keeps rows pasteable", () => expect(rowAsText(["a\tb", null, 1])).toBe("a b\t\t1"));
  it("reads offsets of every form", () => {
    expect(asInstant("2026-01-01 00:00:00+05:30")).toBe(Date.UTC(2025, 11, 31, 18, 30));
    expect(asInstant("2026-01-01 00:00:00-03")).toBe(Date.UTC(2026, 0, 1, 3));
  });
});

describe("sortRows", () => {
  const columns = [column("n", "BIGINT")];
  it("compares wide integers by every digit and keeps NULL last", () => {
    const rows: Cell[][] = [["9007199254740993"], [null], ["9007199254740992"]];
    expect(sortRows(rows, columns, { column: 0, desc: true })).toEqual([
      ["9007199254740993"],
      ["9007199254740992"],
      [null],
    ]);
    expect(sortRows(rows, columns, { column: 0, desc: false }).at(-1)).toEqual([null]);
  });
});

describe("pictureOf", () => {
  it("draws days as a line in their order", () => {
    const p = pictureOf(
      {
        columns: [column("day", "DATE"), column("n", "BIGINT")],
        rows: [
          ["2026-01-02", 2],
          ["2026-01-01", 1],
        ],
      },
      "UTC",
    );
    expect(p).toMatchObject({
      kind: "line",
      categories: ["2026-01-01", "2026-01-02"],
      series: [{ name: "n", values: [1, 2] }],
    });
  });
  it("draws one line a text, with gaps", () => {
    const p = pictureOf(
      {
        columns: [column("day", "DATE"), column("os", "VARCHAR"), column("n", "BIGINT")],
        rows: [
          ["2026-01-01", "iOS", 1],
          ["2026-01-02", "iOS", 2],
          ["2026-01-02", "Android", 3],
        ],
      },
      "UTC",
    );
    expect(p?.series).toEqual([
      { name: "iOS", values: [1, 2] },
      { name: "Android", values: [null, 3] },
    ]);
  });
  it("draws names as bars", () => {
    const rows: Cell[][] = [
      ["a", 1],
      ["b", 2],
    ];
    expect(pictureOf({ columns: [column("e", "VARCHAR"), column("n", "BIGINT")], rows }, "UTC")?.kind).toBe(
      "bar",
    );
  });
  it("draws nothing where points would hide each other", () => {
    const rows: Cell[][] = [
      ["2026-01-01", 1],
      ["2026-01-01", 2],
    ];
    expect(pictureOf({ columns: [column("d", "DATE"), column("n", "BIGINT")], rows }, "UTC")).toBeUndefined();
  });
});
