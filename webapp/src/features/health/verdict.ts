// What the health report says in one sentence.

import { count, duration, exact } from "../../components/format";
import type { ReportResponse } from "../../gen/causality/health/v1/health_pb";

export type Tone = "good" | "warn" | "bad" | "neutral";
export type Verdict = { tone: Tone; sentence: string; note: string };

// A batch takes a second or two to land: waiting shorter than this is the normal course.
const patience = 15; // seconds

type Report = Pick<ReportResponse, "counters" | "lagSeconds" | "components">;

export function verdict({ counters, lagSeconds, components }: Report): Verdict {
  const accepted = counters?.accepted ?? 0;
  const waiting = counters?.waiting ?? 0;
  const stored = counters?.stored ?? 0;
  const queryable = counters?.queryable ?? 0;
  const duplicates = counters?.duplicates ?? 0;
  const deadLetters = counters?.deadLetters ?? 0;
  const removed = counters?.removed ?? 0;
  const names = (status: string) => components.filter((c) => c.status === status).map((c) => c.name);
  const down = names("down");
  const degraded = names("degraded");
  const why =
    down.length > 0
      ? `${down.join(" and ")} ${down.length === 1 ? "is" : "are"} down; see what to do below.`
      : degraded.length > 0
        ? `${degraded.join(" and ")} ${degraded.length === 1 ? "needs" : "need"} attention; see below.`
        : "";

  const unaccounted = accepted - stored - waiting - deadLetters;
  if (unaccounted !== 0) {
    return {
      tone: "bad",
      sentence: `${count(Math.abs(unaccounted), "accepted event")} ${Math.abs(unaccounted) === 1 ? "is" : "are"} unaccounted for`,
      note: "Accepted must equal stored plus waiting and dead letters. Run `causality lake verify` and report what it says.",
    };
  }
  if (stored !== queryable + duplicates + removed) {
    return {
      tone: "bad",
      sentence: `${count(Math.abs(stored - queryable - duplicates - removed), "stored event")} cannot be found`,
      note: "Stored must equal queryable plus duplicates and what was removed. Run `causality lake verify`; `causality lake rebuild` restores the list of files from the files.",
    };
  }
  if (waiting > 0) {
    const late = lagSeconds > patience;
    if (!late && down.length === 0) {
      return {
        tone: "good",
        sentence: `All but ${exact(waiting)} of ${exact(accepted)} accepted events can be queried`,
        note: `${waiting === 1 ? "It" : "They"} arrived in the last seconds and will be there in a moment.`,
      };
    }
    return {
      tone: down.length > 0 ? "bad" : "warn",
      sentence: `${exact(waiting)} of ${exact(accepted)} accepted events ${waiting === 1 ? "is" : "are"} not queryable yet`,
      note: `The oldest has waited ${duration(lagSeconds)}. They are kept durably and will land. ${why}`.trim(),
    };
  }
  if (accepted === 0) {
    return {
      tone: why ? (down.length > 0 ? "bad" : "warn") : "neutral",
      sentence: "No events have been accepted yet",
      note: why || "Everything is ready for the first one.",
    };
  }
  if (deadLetters > 0) {
    return {
      tone: down.length > 0 ? "bad" : "warn",
      sentence: `${count(deadLetters, "accepted event")} ${deadLetters === 1 ? "was" : "were"} set aside`,
      note: `They could not be written and are kept: \`causality lake dead-letters list\` says why, and \`replay\` sends them again. ${why}`.trim(),
    };
  }
  return {
    tone: down.length > 0 ? "bad" : degraded.length > 0 ? "warn" : "good",
    sentence:
      removed > 0
        ? `All accepted events can be queried, but for ${exact(removed)} that ${removed === 1 ? "was" : "were"} removed`
        : accepted === 1
          ? "The one accepted event can be queried"
          : `All ${exact(accepted)} accepted events can be queried`,
    note:
      why ||
      (duplicates > 0
        ? `${count(duplicates, "of them was", "of them were")} sent more than once and ${duplicates === 1 ? "counts" : "count"} once.`
        : ""),
  };
}
