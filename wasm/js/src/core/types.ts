// What the core, its drivers and its callers exchange. Types only: nothing here reaches a bundle.
//
// Instants are microseconds since 1970 UTC and lengths of time are microseconds, both as numbers.

import type { Context, Properties, Reason, Stats, Traits } from "./vocabulary";

export type { Context, Properties, Reason, Stats, Traits };

/** Something that happened, something known of a person or of a group, or two ids of one person. */
export type EventType = 1 | 2 | 3 | 4; // TRACK, IDENTIFY, GROUP, ALIAS

/** One event, before it is encoded. Absent and empty fields are not sent. */
export interface EventInput {
  /** Default: a new UUIDv7. */
  id?: string;
  /** Default: 1, TRACK. */
  type?: EventType;
  /** Of a TRACK; at most 200 characters, like every id. */
  name?: string;
  /** Default: now. */
  timestamp?: number;
  userId?: string;
  anonymousId?: string;
  sessionId?: string;
  correlationId?: string;
  /** Group type to group id. */
  groups?: Record<string, string>;
  context?: Context;
  properties?: Properties;
  traits?: Traits; // IDENTIFY and GROUP
  groupType?: string; // GROUP
  groupId?: string; // GROUP
  previousId?: string; // ALIAS
}

/** Sets a core up. It can be posted to a worker. */
export interface CoreConfig {
  /** Waiting events before a batch is sent; default 20. */
  flushAt?: number;
  /** Longest wait of an event while online; default 3 s. */
  flushEvery?: number;
  /** Older events are dropped; default 7 days. */
  maxAge?: number;
  /** Above it the oldest are dropped; default 64 MiB, at least 2 MiB. */
  queueBytes?: number;
  /** Likewise; default 200,000, at least 4,000. */
  queueEvents?: number;
  /** Waiting for the queue to take them; above it add refuses; default 4 MiB, at least 64 KiB. */
  bufferBytes?: number;
  /** Names the SDK in each request. */
  library: { name: string; version: string };
  /** The queue is shared with other tabs: see CoreLike.lead. */
  shared?: boolean;
}

/** A run of events that is stored together. */
export interface Block {
  /** Its place in the queue; 0 in a shared queue, which gives it. */
  seq: number;
  /** When its first event was added. */
  at: number;
  events: number;
  /** Frames: the events as they travel. */
  data: Uint8Array;
}

/** Describes a stored block. */
export interface BlockInfo {
  seq: number;
  at: number;
  events: number;
  bytes: number;
}

/** Is made in the queue as a whole or not at all. */
export interface Change {
  append: Block[];
  /** First and last, both included. */
  delete: [first: number, last: number][];
  /** Replaces the saved state. */
  state?: Uint8Array;
}

/** One attempt to send a batch: its body is appendBody of the blocks first to last, of which those in unsaved, the last ones, are not in the queue. */
export interface Request {
  attempt: number;
  first: number;
  last: number;
  unsaved: Block[];
  /** Events at the front of the first block that are settled. */
  skip: number;
  events: number;
  trailer: Uint8Array;
}

/** The end of an attempt. */
export interface Response {
  /** HTTP; 0 when there was no answer. */
  status: number;
  /** 0 when the server named none. */
  retryAfter: number;
  /** Of a 200. */
  body?: Uint8Array;
}

/** An event that the server did not take. */
export interface Rejection {
  /** In the batch, from 0. */
  index: number;
  id: string;
  code: Reason;
  field: string;
  message: string;
}

/** A number of events that were given up. */
export interface Drop {
  reason: Reason;
  events: number;
}

/** Something for the driver to do: the one field that is set. */
export interface Command {
  /** Then report committed. */
  commit?: Change;
  /** Then report answered, or lost. */
  send?: Request;
  /** The attempt whose answer no longer matters. */
  cancel?: number;
  dropped?: Drop;
  rejected?: Rejection[];
}

/**
 * The state of one client. It does no I/O and knows no clock: the time comes with each call, what must be done comes
 * out of poll, and deadline says when to poll next.
 *
 * With CoreConfig.shared it seals and commits its own blocks but does not own the queue, which numbers blocks itself;
 * one client leads: it alone sends, evicts, deletes and saves the state.
 */
export interface CoreLike {
  /** Queues an event; true asks for a poll, since the deadline has moved forward. Throws CausalityError. After optOut it does nothing. */
  add(now: number, event: EventInput): boolean;
  /** The next thing to do; the driver calls it until it answers undefined. Between a commit and its report only add, flush, close, optOut and stats may be called. */
  poll(now: number): Command | undefined;
  /** When poll next has something to do if nothing else happens before; Infinity for never. */
  deadline(now: number): number;
  /** Reports the end of a commit. */
  committed(now: number, ok: boolean): void;
  /** Reports the end of an attempt; false for any but the current one, which is ignored. */
  answered(now: number, attempt: number, response: Response): boolean;
  /** Asks for everything added so far to be stored and sent now, whatever the backoff says. False when the server has asked for silence until later, or after optOut: then events are stored only. */
  flush(now: number): boolean;
  /** Refuses events from now on. What is queued stays queued. */
  close(): void;
  /** Clears the queue and ignores events until optIn. */
  optOut(): void;
  optIn(): void;
  /** Shared: from now on this client leads. */
  lead(now: number, state: Uint8Array, stored: BlockInfo[]): void;
  /** Shared: the lead was lost. */
  follow(): void;
  /** Shared: somebody, this client too, appended blocks. Ignored unless leading; known ones are ignored. */
  stored(now: number, blocks: BlockInfo[]): void;
  /** The queue no longer has these blocks. */
  lost(now: number, seqs: number[]): void;
  stats(): Stats;
}
