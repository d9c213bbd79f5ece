// The rows of the Live page: newest first and bounded. While it is paused what
// arrives waits beside it; what is too much for either is counted, never hidden.

export type LiveEvent = {
  id?: string;
  type: string;
  name?: string;
  timestamp?: string;
  originalTimestamp?: string;
  userId?: string;
  anonymousId?: string;
  sessionId?: string;
  context?: {
    platform?: string;
    os?: { name?: string };
    library?: { name?: string; version?: string };
    page?: { path?: string; url?: string };
  };
  properties?: Record<string, unknown>;
  traits?: Record<string, unknown>;
  groupType?: string;
  groupId?: string;
  previousId?: string;
  receivedAt: string;
  seq?: number;
};

export type LiveRejected = {
  index: number;
  id?: string;
  name?: string;
  code: string;
  field?: string;
  message: string;
  /** As it came. */
  event: string;
  receivedAt: string;
};

export type Row =
  | { key: number; kind: "event"; event: LiveEvent; text: string }
  | { key: number; kind: "rejected"; rejected: LiveRejected; text: string }
  | { key: number; kind: "gap"; at: number; sentence: string };

export type Feed = {
  rows: readonly Row[];
  /** Newest first; waiting to be shown. */
  pending: readonly Row[];
  /** How many have come while paused, those that no longer fit included. */
  pendingCount: number;
  /** Older rows that were let go to stay within the bound. */
  droppedRows: number;
};

export const mostRows = 1000;
export const emptyFeed: Feed = { rows: [], pending: [], pendingCount: 0, droppedRows: 0 };

let nextKey = 1;

/** Everything of an event in one lower-case text, for the text filter. */
const searchable = (value: unknown) => JSON.stringify(value).toLowerCase();

export const eventRow = (event: LiveEvent): Row => ({
  key: nextKey++,
  kind: "event",
  event,
  text: searchable(event),
});
export const rejectedRow = (rejected: LiveRejected): Row => ({
  key: nextKey++,
  kind: "rejected",
  rejected,
  text: searchable(rejected),
});
export const gapRow = (sentence: string, at: number): Row => ({ key: nextKey++, kind: "gap", at, sentence });

const counted = (rows: readonly Row[]) => rows.filter((r) => r.kind !== "gap").length;

/** Adds rows in the order they came. */
export function receive(feed: Feed, arrived: readonly Row[], paused: boolean): Feed {
  if (arrived.length === 0) return feed;
  const newest = [...arrived].reverse();
  if (paused) {
    return {
      ...feed,
      pending: [...newest, ...feed.pending].slice(0, mostRows),
      pendingCount: feed.pendingCount + counted(arrived),
    };
  }
  const all = [...newest, ...feed.rows];
  return {
    ...feed,
    rows: all.slice(0, mostRows),
    droppedRows: feed.droppedRows + counted(all.slice(mostRows)),
  };
}

/** Shows what waited; what did not fit while waiting is stated in its place. */
export function resume(feed: Feed, now: number): Feed {
  if (feed.pending.length === 0) return feed;
  const lost = feed.pendingCount - counted(feed.pending);
  const all = [
    ...feed.pending,
    ...(lost > 0
      ? [
          gapRow(
            `${lost.toLocaleString("en-US")} events came while this was paused and are not kept here.`,
            now,
          ),
        ]
      : []),
    ...feed.rows,
  ];
  return {
    rows: all.slice(0, mostRows),
    pending: [],
    pendingCount: 0,
    droppedRows: feed.droppedRows + counted(all.slice(mostRows)),
  };
}

export type LiveFilter = {
  events: readonly string[];
  user: string;
  text: string;
  kind: "all" | "TRACK" | "people" | "rejected";
};
export const noFilter: LiveFilter = { events: [], user: "", text: "", kind: "all" };

export function matches(row: Row, filter: LiveFilter): boolean {
  if (row.kind === "gap") return true;
  if (filter.kind === "rejected" && row.kind !== "rejected") return false;
  if (filter.kind === "TRACK" && !(row.kind === "event" && row.event.type === "TRACK")) return false;
  if (filter.kind === "people" && !(row.kind === "event" && row.event.type !== "TRACK")) return false;
  const name = row.kind === "event" ? row.event.name : row.rejected.name;
  if (filter.events.length > 0 && !filter.events.includes(name ?? "")) return false;
  const user = filter.user.trim().toLowerCase();
  if (user) {
    if (row.kind === "rejected") {
      if (!row.text.includes(user)) return false;
    } else {
      const ids = [row.event.userId, row.event.anonymousId, row.event.previousId];
      if (!ids.some((id) => id?.toLowerCase().includes(user))) return false;
    }
  }
  return filter.text
    .toLowerCase()
    .split(/\s+/)
    .filter(Boolean)
    .every((word) => row.text.includes(word));
}

/** Events a second over the last ten, from the seconds' counts. */
export class Rate {
  private readonly buckets = new Map<number, number>();
  private readonly started: number;
  constructor(now: number) {
    this.started = now;
  }
  add(n: number, now: number) {
    const second = Math.floor(now / 1000);
    this.buckets.set(second, (this.buckets.get(second) ?? 0) + n);
    for (const s of this.buckets.keys()) if (s < second - 10) this.buckets.delete(s);
  }
  read(now: number): number {
    const second = Math.floor(now / 1000);
    let sum = 0;
    for (const [s, n] of this.buckets) if (s > second - 10) sum += n;
    const window = Math.max(1, Math.min(10, (now - this.started) / 1000));
    return sum / window;
  }
}

/** What names an event in the list: its own name, or what it does to people. */
export function title(event: LiveEvent): string {
  switch (event.type) {
    case "IDENTIFY":
      return "identify";
    case "GROUP":
      return `group ${event.groupType ?? ""}`.trim();
    case "ALIAS":
      return "alias";
    default:
      return event.name || "(no name)";
  }
}

/** Where an event came from, in a word, and in more of them. */
export function origin({ context }: LiveEvent): { short: string; long: string } {
  const library = context?.library?.name ?? "";
  const sender = `${library} ${context?.library?.version ?? ""}`.trim();
  return {
    short: context?.platform || context?.os?.name || library || "–",
    long: [context?.platform, context?.os?.name, sender].filter(Boolean).join(", ") || "sent without an SDK",
  };
}

/** The first few properties as one line. */
export function summary(event: LiveEvent): [string, string][] {
  const from =
    event.type === "ALIAS"
      ? { from: event.previousId, to: event.userId }
      : event.type === "TRACK"
        ? (event.properties ?? {})
        : flatten(event.traits ?? {});
  return Object.entries(from)
    .slice(0, 8)
    .map(([k, v]) => [k, typeof v === "string" ? v : JSON.stringify(v)] as [string, string]);
}

// set.plan rather than set={"plan":…}: what changes is what one looks for.
function flatten(traits: Record<string, unknown>): Record<string, unknown> {
  return Object.fromEntries(
    Object.entries(traits).flatMap(([verb, change]) =>
      typeof change === "object" && change !== null && !Array.isArray(change)
        ? Object.entries(change).map(([k, v]) => [verb === "set" ? k : `${verb}.${k}`, v])
        : [[verb, change]],
    ),
  );
}
