// What changed, told as up to three different stories about the last seven
// complete days and the seven before: how many people came, which events they
// took up or left beyond chance, and what is new. That more of everything
// happens when more people come is the first story, not three: events are judged
// by the share of active users who did them, as two proportions are compared.
import { changeText, exact, percent } from "../../components/format";
import type { QueryTrendResponse } from "../../gen/causality/insights/v1/insights_pb";

type Days = (number | null)[];

export type Change =
  | { kind: "users"; now: number; before: number; days: Days }
  /** `did` of `active` users did the event. */
  | { kind: "share"; event: string; now: Share; before: Share; days: Days }
  | { kind: "new"; property: string; value: string; users: number; days: Days };

type Share = { did: number; active: number };

/** Below this nobody would call a number of people changed. */
const leastChange = 0.02;
/** Fewer people than this say nothing about a habit. */
const leastPeople = 20;
/** Standard errors; of twenty events that only vary by chance one passes in five weeks. */
const beyondChance = 2.6;

/** One series of an answer with its total before, and its days, the older seven first. */
function pair(answer: QueryTrendResponse | undefined, id: string, group: readonly string[] = []) {
  const same = (s: { id: string; group: string[] }) => s.id === id && s.group.join("\n") === group.join("\n");
  const now = answer?.series.find(same);
  const before = answer?.previous?.series.find(same);
  return {
    now: now?.total ?? 0,
    before: before?.total ?? 0,
    days: [...(before?.points ?? []), ...(now?.points ?? [])].map((p) => p.value ?? null),
  };
}

export function usersChange(answer: QueryTrendResponse, id: string): Change {
  return { kind: "users", ...pair(answer, id) };
}

/** `events` names the event whose users a series of the answer counts. */
export function shareChanges(
  answer: QueryTrendResponse,
  events: ReadonlyMap<string, string>,
  users: { now: number; before: number },
): Change[] {
  return [...events].map(([id, event]) => {
    const { now, before, days } = pair(answer, id);
    return {
      kind: "share",
      event,
      now: { did: now, active: users.now },
      before: { did: before, active: users.before },
      days,
    };
  });
}

/** Values of a property, such as campaigns and versions, that the week before did not have. */
export function newValues(answer: QueryTrendResponse, property: string): Change[] {
  return answer.series.flatMap((s): Change[] => {
    const [value] = s.group;
    if (value === undefined || value === "(not set)" || s.other || !s.total || s.total < leastPeople)
      return [];
    const { before, days } = pair(answer, s.id, s.group);
    return before === 0 ? [{ kind: "new", property, value, users: s.total, days }] : [];
  });
}

/** The difference of two shares in standard errors; 0 where there is nothing to compare. */
export function strength(c: Change): number {
  if (c.kind !== "share") return 0;
  const { now, before } = c;
  if (now.active === 0 || before.active === 0 || Math.max(now.did, before.did) < leastPeople) return 0;
  const both = (now.did + before.did) / (now.active + before.active);
  const error = Math.sqrt(both * (1 - both) * (1 / now.active + 1 / before.active));
  return error > 0 ? (ratio(now) - ratio(before)) / error : 0;
}

const ratio = (s: Share) => (s.active === 0 ? 0 : s.did / s.active);

export function isSteady(c: Change): boolean {
  if (c.kind === "users") return c.before > 0 && Math.abs(c.now / c.before - 1) < leastChange;
  return c.kind === "share" && Math.abs(strength(c)) < beyondChance;
}

// Names that conversions have, what is paid for first.
const conversions = [/purchase|order|subscri|paid|payment/i, /sign_?up|register/i];

/** The stories after the one about people: two at most, each about something else. */
export function stories(shares: readonly Change[], news: readonly Change[]): Change[] {
  const byStrength = [...shares].sort((a, b) => Math.abs(strength(b)) - Math.abs(strength(a)));
  const moved = byStrength.filter((c) => !isSteady(c));
  const told: Change[] = [];
  for (const c of [...moved.slice(0, 1), ...news.slice(0, 1), ...moved.slice(1), ...news.slice(1)]) {
    if (!told.some((t) => isTwin(t, c))) told.push(c);
  }
  // A quiet week is news too: conversions that held, the likeliest by their names.
  if (told.length < 2) {
    const held = byStrength.filter((c) => c.kind === "share" && isSteady(c) && c.now.did >= leastPeople);
    const named = conversions.flatMap((name) => {
      const first = held
        .filter((c) => c.kind === "share" && name.test(c.event))
        .sort((a, b) => (a.kind === "share" && b.kind === "share" ? b.now.did - a.now.did : 0))[0];
      return first ? [first] : [];
    });
    for (const c of named.length > 0 ? named : held.slice(0, 1)) {
      if (!told.some((t) => t === c || isTwin(t, c))) told.push(c);
    }
  }
  return told.slice(0, 2);
}

// Events that go together, such as a start and its end, are one story.
function isTwin(a: Change, b: Change): boolean {
  if (a.kind !== "share" || b.kind !== "share") return false;
  const near = (x: number, y: number) => Math.abs(x - y) <= 0.05 * Math.max(x, y);
  return near(a.now.did, b.now.did) && near(a.before.did, b.before.did);
}

/** "+1.2 pp" without its sign. */
const points = (difference: number) => `${(Math.abs(difference) * 100).toFixed(1)} pp`;

/** The statement in words, and the figures it stands on. */
export function sayChange(c: Change): { subject: string; verb: string; by: string; evidence: string } {
  switch (c.kind) {
    case "new":
      return {
        subject: c.value,
        verb: "is new in",
        by: c.property,
        evidence: `${exact(c.users)} people, none the week before`,
      };
    case "users": {
      const subject = "Active users";
      const evidence = `${exact(c.now)} people, ${exact(c.before)} the week before`;
      if (c.before === 0)
        return { subject, verb: c.now === 0 ? "stayed away" : "appeared", by: "", evidence };
      if (c.now === 0) return { subject, verb: "stayed away", by: "", evidence };
      const by = changeText(c.now, c.before);
      if (isSteady(c)) return { subject, verb: "held steady,", by, evidence };
      return { subject, verb: c.now > c.before ? "rose" : "fell", by: by.replace(/^[+−]/, ""), evidence };
    }
    case "share": {
      const [now, before] = [ratio(c.now), ratio(c.before)];
      const evidence = `${percent(now)} of active users did it, ${percent(before)} the week before`;
      const subject = c.event;
      if (isSteady(c)) {
        const was = `of active users did it, ${percent(before)} the week before: within chance`;
        return { subject, verb: "held at", by: percent(now), evidence: was };
      }
      if (c.before.did === 0) return { subject, verb: "appeared", by: "", evidence };
      if (c.now.did === 0) return { subject, verb: "went silent", by: "", evidence };
      return { subject, verb: now > before ? "rose by" : "fell by", by: points(now - before), evidence };
    }
  }
}
