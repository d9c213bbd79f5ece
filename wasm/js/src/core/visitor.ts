import { tooLong } from "./ids";
import type { EventInput } from "./types";

/** Set by the build: a page is never in the background as an app is, and causality.js leaves that out. */
declare const PAGE: boolean;

/** Says when a session ends, in microseconds. */
export interface VisitorConfig {
  /** Without an event; default: never for that. */
  idle?: number;
  /** In the background; default: never for that. */
  background?: number;
  /** Since its start; default 24 h. */
  longest?: number;
}

/** What a visitor continues from; it has a JSON form. */
export type VisitorState = [
  anonymousId: string,
  userId: string,
  groups: Record<string, string>,
  sessionId: string,
  start: number,
  last: number,
  away: number,
];

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
  background?(now: number): void;
  foreground?(now: number): void;
  /** What newVisitor continues from; makes changed false, unless it is only looked at. */
  state(look?: boolean): VisitorState;
  /** Whether state is worth saving: whether it differs by more than some seconds since the last event. */
  changed(): boolean;
}

const lastWithin = 5e6;

/** Blanks are no ids, nor is what the server refuses, such as a control character. */
const usable = (id: string) => /[^ ]/.test(id) && !/\p{Cc}/u.test(id) && !tooLong(id);

/** Continues from what state returned; what is missing there, or no id, is made anew. */
export const newVisitor = (
  { idle, background, longest = 864e8 }: VisitorConfig,
  newId: (now: number) => string,
  saved: Partial<VisitorState> = [],
): Visitor => {
  let changed = false;
  let anonymous: string;
  let user: string;
  let groups: Record<string, string>; // replaced, never changed: events refer to it
  let session: string;
  let start: number; // of the session
  let last: number; // event, or start
  let away: number; // in the background since; 0 in the foreground
  let savedLast: number;

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
    if (!PAGE) away = Math.min(away, now);
    if (
      !session ||
      now - start > longest ||
      (idle && now - last > idle) ||
      (!PAGE && background && away && now - Math.max(away, last) > background)
    ) {
      session = newId(now);
      start = last = now;
      changed = true;
    }
  };

  const join = (kind: string, id: string) => {
    const { [kind]: before, ...others } = groups;
    if (
      id ? id != before && usable(kind) && usable(id) && (before || Object.keys(groups).length < 32) : before
    ) {
      groups = id ? { ...others, [kind]: id } : others;
      changed = true;
    }
  };

  const self: Visitor = {
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
      if (user) self.reset(now);
      arrive(now);
      user = userId;
      changed = true;
    },
    join,
    reset(now) {
      forget();
      arrive(now);
    },
    state(look) {
      if (!look) {
        changed = false;
        savedLast = last;
      }
      return [anonymous, user, groups, session, start, last, away];
    },
    changed: () => changed,
  };

  if (!PAGE)
    Object.assign(self, {
      background(now: number) {
        away = Math.max(now, 1);
        changed = true;
      },
      foreground(now: number) {
        arrive(now);
        if (away) changed = true;
        away = 0;
      },
    });

  forget();
  const [anonymousId = "", userId = "", joined = {}, sessionId = "", ...times] = saved;
  if (usable(anonymousId)) anonymous = anonymousId;
  if (usable(userId)) user = userId;
  if (usable(sessionId)) session = sessionId;
  for (const kind in joined) join(kind, joined[kind]!);
  [start = 0, last = 0, away = 0] = times;
  if (!PAGE) away ||= last;
  savedLast = last;
  changed = false;
  return self;
};
