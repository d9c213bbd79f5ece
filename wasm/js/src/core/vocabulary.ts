// What the callers of the package meet, and so a part of its public types.

/** A value that has a JSON form. A bigint keeps every digit; a Date or anything else with toJSON is written by it; undefined is left out. */
// biome-ignore lint/suspicious/noExplicitAny: interfaces of the caller's own have no index signature
export type Properties = Record<string, any>;

/** Changes to what is known of a person or a group, key by key. */
export interface Traits {
  /** Replaces. */
  set?: Properties;
  /** Only where nothing is known yet. */
  setOnce?: Properties;
  /** Adds to numbers. */
  add?: Record<string, number | bigint>;
  /** Forgets keys. */
  unset?: string[];
}

/** The surroundings of an event. */
export interface Context {
  app?: { version?: string; build?: string; namespace?: string };
  device?: { id?: string; manufacturer?: string; model?: string; type?: string };
  os?: { name?: string; version?: string };
  /** In pixels. */
  screen?: { width?: number; height?: number; density?: number };
  /** BCP 47, for example en-GB. */
  locale?: string;
  /** IANA, for example Europe/Lisbon. */
  timeZone?: string;
  network?: { wifi?: boolean; cellular?: boolean; carrier?: string };
  page?: { url?: string; path?: string; title?: string; referrer?: string };
  /** The utm_ parameters. */
  campaign?: { source?: string; medium?: string; name?: string; term?: string; content?: string };
  /** Of the event's own source; the batch names this SDK. */
  library?: { name?: string; version?: string };
  ip?: string;
  userAgent?: string;
  geo?: { country?: string; region?: string; city?: string };
  /** web, ios, android, server, … */
  platform?: string;
}

/** Why an event was dropped; beside these, the code of the server's rejection. */
export type Reason =
  | "expired"
  | "overflow"
  | "queue_full"
  | "invalid"
  | "too_large"
  | "unreadable"
  | "damaged"
  | "opted_out"
  | (string & {});

/** What became of the events. */
export interface Stats {
  /** Not yet acknowledged, as far as this client knows: a follower knows its own unsaved ones. */
  queued: number;
  queuedBytes: number;
  /** Acknowledged and not rejected. */
  sent: number;
  dropped: Partial<Record<Reason, number>>;
  /** Attempts that failed in a row. */
  failures: number;
  /** 0 when nothing delays the next. */
  nextAttempt: number;
  /** The server refuses the key. */
  paused: boolean;
  optedOut: boolean;
}

/** Stats of a core, and of what its driver runs on. */
export interface DriverStats extends Stats {
  storage: "indexeddb" | "memory";
  /** Whether this tab sends for all tabs. */
  leads: boolean;
}
