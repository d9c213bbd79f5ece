import { create } from "@bufbuild/protobuf";
import { describe, expect, it } from "vitest";
import { CountersSchema, ReportResponseSchema } from "../../gen/causality/health/v1/health_pb";
import { verdict } from "./verdict";

const report = (
  counters: Partial<{
    accepted: number;
    waiting: number;
    stored: number;
    duplicates: number;
    queryable: number;
    deadLetters: number;
    removed: number;
  }>,
  rest: { lagSeconds?: number; components?: { name: string; status: string }[] } = {},
) => create(ReportResponseSchema, { counters: create(CountersSchema, counters), ...rest });

describe("verdict", () => {
  it("says that everything can be queried, duplicates told apart", () => {
    const v = verdict(
      report({ accepted: 12_408_112, stored: 12_408_112, duplicates: 4, queryable: 12_408_108 }),
    );
    expect(v).toMatchObject({ tone: "good", sentence: "All 12,408,112 accepted events can be queried" });
    expect(v.note).toContain("count once");
  });
  it("takes seconds of waiting as the normal course", () => {
    expect(
      verdict(report({ accepted: 10, waiting: 4, stored: 6, queryable: 6 }, { lagSeconds: 2 })),
    ).toMatchObject({
      tone: "good",
      sentence: "All but 4 of 10 accepted events can be queried",
    });
  });
  it("warns when waiting lasts, and names who is down", () => {
    const v = verdict(
      report(
        { accepted: 10, waiting: 4, stored: 6, queryable: 6 },
        { lagSeconds: 380, components: [{ name: "Object store", status: "down" }] },
      ),
    );
    expect(v.tone).toBe("bad");
    expect(v.note).toContain("6 min 20 s");
    expect(v.note).toContain("Object store is down");
  });
  it("says it when an accepted event is nowhere", () => {
    expect(verdict(report({ accepted: 10, stored: 9, queryable: 9 }))).toMatchObject({
      tone: "bad",
      sentence: "1 accepted event is unaccounted for",
    });
  });
  it("says it when a stored event cannot be found", () => {
    expect(verdict(report({ accepted: 10, stored: 10, queryable: 8 })).sentence).toBe(
      "2 stored events cannot be found",
    );
  });
  it("misses nothing that was erased or has expired", () => {
    expect(verdict(report({ accepted: 10, stored: 10, queryable: 7, removed: 3 }))).toMatchObject({
      tone: "good",
      sentence: "All accepted events can be queried, but for 3 that were removed",
    });
  });
  it("warns of events that were set aside", () => {
    const v = verdict(report({ accepted: 10, stored: 9, queryable: 9, deadLetters: 1 }));
    expect(v).toMatchObject({ tone: "warn", sentence: "1 accepted event was set aside" });
    expect(v.note).toContain("causality lake dead-letters list");
  });
  it("is neutral about an empty installation", () => {
    expect(verdict(report({})).tone).toBe("neutral");
  });
});
