import { packGroups, tooLong } from "./event";
import type { EventInput } from "./types";
import { pack, string, unpack } from "./wire";

/** Says when a session ends, in microseconds. */
export interface VisitorConfig {
  /** Without an event; default: never for that. */
  idle?: number;
  /** In the background; default: never for that. */
  background?: number;
  /** Since its start; default 24 h. */
  longest?: number;
}

/**
 * Who uses a device: an anonymous id, the user once known, their groups and the session. It is written as sdk/core's
 * Visitor, which says when a session ends.
 */
export interface Visitor {
  /** Completes an event where it says nothing. */
  fill(now: number, event: EventInput): void;
  /** Names the user; another one than is known resets first, so that two people never become one. */
  identify(now: number, userId: string): void;
  /** Puts the visitor into a group; an empty id leaves it. */
  join(groupType: string, groupId: string): void;
  /** Makes somebody new, with a session of their own. */
  reset(now: number): void;
  background(now: number): void;
  foreground(now: number): void;
  anonymousId(): string;
  userId(): string;
  sessionId(): string;
  /** What newVisitor continues from; makes changed false. */
  state(): Uint8Array;
  /** Whether state is worth saving: whether it differs by more than some seconds since the last event. */
  changed(): boolean;
}

const lastWithin = 5e6;

/** Blanks are no ids, nor is what the server refuses. */
const usable = (id: string) => /[^\0- ]/.test(id) && !tooLong(id);

/** Continues from what state returned; one that is empty or damaged makes somebody new. */
export function newVisitor(
  { idle, background, longest = 864e8 }: VisitorConfig,
  newId: (now: number) => string,
  savedState: Uint8Array = new Uint8Array(),
): Visitor {
  let anonymous = "";
  let user = "";
  let groups: Record<string, string> = {}; // replaced, never changed: events refer to it
  let session = "";
  let start = 0; // of the session
  let last = 0; // event, or start
  let away = 0; // in the background since; 0 in the foreground
  let changed = false;
  let savedLast = 0;

  const forget = () => {
    anonymous = user = session = "";
    groups = {};
    start = last = savedLast = 0;
  };

  // Makes sure of an anonymous id and a session that is not over.
  const arrive = (now: number) => {
    if (!anonymous) {
      anonymous = newId(now);
      changed = true;
    }
    start = Math.min(start, now);
    last = Math.min(last, now);
    away = Math.min(away, now);
    if (
      !session ||
      now - start > longest ||
      (idle && now - last > idle) ||
      (background && away && now - Math.max(away, last) > background)
    ) {
      session = newId(now);
      start = last = now;
      changed = true;
    }
  };

  const join = (kind: string, id: string) => {
    const { [kind]: before, ...others } = groups;
    if (
      id
        ? id == before || !usable(kind) || !usable(id) || (!before && Object.keys(groups).length > 31)
        : !before
    )
      return;
    groups = id ? { ...others, [kind]: id } : others;
    changed = true;
  };

  const [whole, ints, data] = unpack(savedState);
  const text = (bytes: Uint8Array[] = []) => bytes.map(string).filter(usable).pop() || "";
  if (whole) {
    // Half a state could give one person's user to another.
    [anonymous, user, , session] = [1, 2, 3, 4].map((field) => text(data[field])) as [
      string,
      string,
      string,
      string,
    ];
    [start, last, away] = [5, 6, 7].map((field) => Math.max(ints[field] || 0, 0)) as [number, number, number];
    for (const one of data[3] || []) {
      const [whole, , pair] = unpack(one);
      if (whole) join(text(pair[1]), text(pair[2]));
    }
  }
  away ||= last;
  savedLast = last;
  changed = false;

  return {
    fill(now, e) {
      arrive(now);
      last = now;
      if (now < savedLast || now - savedLast >= lastWithin) changed = true;
      e.anonymousId ||= anonymous;
      e.userId ||= user;
      e.sessionId ||= session;
      e.groups ||= groups;
    },
    identify(now, userId) {
      if (!usable(userId) || userId == user) return;
      if (user) {
        forget();
        arrive(now);
      }
      arrive(now);
      user = userId;
      changed = true;
    },
    join,
    reset(now) {
      forget();
      arrive(now);
    },
    background(now) {
      away = Math.max(now, 1);
      changed = true;
    },
    foreground(now) {
      arrive(now);
      if (away) changed = true;
      away = 0;
    },
    anonymousId: () => anonymous,
    userId: () => user,
    sessionId: () => session,
    state() {
      changed = false;
      savedLast = last;
      return Uint8Array.from(pack(anonymous, user, packGroups(groups), session, start, last, away));
    },
    changed: () => changed,
  };
}
