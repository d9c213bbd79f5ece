// What changed, computed from two questions about the last seven complete days
// and the seven before: active users, then the events that moved most. A change
// counts by its size and by how many events carry it, so that a rare event that
// doubled does not push out a fifth of the purchases.
import { changeText, exact } from "../../components/format";
import type { QueryTrendResponse } from "../../gen/causality/insights/v1/insights_pb";

export type Change = {
  /** Empty: any event. */
  event: string;
  measure: "uniqueUsers" | "total";
  now: number;
  before: number;
  /** Day by day, the older seven first. */
  days: (number | null)[];
};

/** Fewer events than this a week say nothing about a trend. */
const leastBefore = 20;
/** Below this nobody would call it a change. */
const leastChange = 0.05;

/** `ids` says which event a series of the answer counts. */
export function readChanges(
  answer: QueryTrendResponse | undefined,
  ids: ReadonlyMap<string, Pick<Change, "event" | "measure">>,
): Change[] {
  if (!answer) return [];
  return answer.series.flatMap((s) => {
    const what = ids.get(s.id);
    const old = answer.previous?.series.find((p) => p.id === s.id);
    if (!what || s.total === undefined || old?.total === undefined) return [];
    return [
      {
        ...what,
        now: s.total,
        before: old.total,
        days: [...old.points, ...s.points].map((p) => p.value ?? null),
      },
    ];
  });
}

const weight = (c: Change) => Math.abs(c.now - c.before) / Math.sqrt(Math.max(c.before, 1));

/** The three statements: active users, then the weightiest movers. */
export function whatChanged(users: readonly Change[], events: readonly Change[]): Change[] {
  const movers = events
    .filter((c) => Math.max(c.before, c.now) >= leastBefore)
    .filter((c) => c.before === 0 || Math.abs(c.now / c.before - 1) >= leastChange)
    .sort((a, b) => weight(b) - weight(a));
  return [...users.slice(0, 1), ...movers].slice(0, 3);
}

export function isSteady(c: Change): boolean {
  return c.before > 0 && Math.abs(c.now / c.before - 1) < leastChange;
}

/** The statement in words, and the figures it stands on. */
export function sayChange(c: Change): { subject: string; verb: string; by: string; evidence: string } {
  const subject = c.event === "" ? "Active users" : c.event;
  const noun = c.measure === "uniqueUsers" ? "users" : "events";
  const evidence = `${exact(c.now)} ${noun}, ${exact(c.before)} the week before`;
  if (c.before === 0) return { subject, verb: c.now === 0 ? "were silent" : "appeared", by: "", evidence };
  if (c.now === 0) return { subject, verb: "went silent", by: "", evidence };
  if (isSteady(c)) return { subject, verb: "held steady", by: `(${changeText(c.now, c.before)})`, evidence };
  return {
    subject,
    verb: c.now > c.before ? "rose" : "fell",
    by: changeText(c.now, c.before).replace(/^[+−]/, ""),
    evidence,
  };
}
