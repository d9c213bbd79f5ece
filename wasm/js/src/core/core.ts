import { CausalityError } from "./error";
import { encodeEvent } from "./event";
import { newIds, type Random } from "./ids";
import type { Block, BlockInfo, Command, CoreConfig, CoreLike, Reason, Rejection } from "./types";
import { pack, text, time, toBytes, unpack, varint } from "./wire";

// The policy of sdk/core, in TypeScript: sdk/vectors and the differential test keep the two alike. Where this file is
// short of comments, that package has them. State lives in variables of newCore, which minify to a letter each.

/** Set by the build: pages share their queue, and causality-core.js leaves the other kind out. */
declare const PAGE: boolean;

const never = 1 / 0;
const second = 1e6;
const hour = 3600 * second;
const maxEvents = 2000;
const maxBodyBytes = 2 ** 20 - 16384;
const maxBlockBytes = 65536;
const commitWithin = second / 10; // an event is handed to the queue
const maxSkipped = 64;

/** The reasons that travel with the next batch. */
const reported: Reason[] = [
  "expired",
  "overflow",
  "queue_full",
  "invalid",
  "too_large",
  "unreadable",
  "damaged",
];

/** The front of the queue, frozen under an id until the server has answered for it; empty when it has no events. */
interface Batch {
  id: string;
  events: number;
  blocks: number; // that it touches
}

const noBatch: Batch = { id: "", events: 0, blocks: 0 };

/**
 * The request's body: from the blocks' frames, leaving out the first skip, the given number of events, and then the
 * trailer. Undefined when the blocks do not hold that many whole frames.
 */
export function appendBody(
  blocks: Uint8Array[],
  skip: number,
  events: number,
  trailer: Uint8Array,
): Uint8Array | undefined {
  const parts: Uint8Array[] = [];
  for (const block of blocks) {
    const [whole, , [, frames = []]] = unpack(block);
    const ends = [0, ...frames.map((frame) => frame.byteOffset - block.byteOffset + frame.length)];
    const from = Math.min(skip, frames.length);
    const to = Math.min(from + events, frames.length);
    parts.push(block.subarray(ends[from], ends[to]));
    skip -= from;
    events -= to - from;
    if (!whole && events) return;
  }
  if (skip || events) return;
  parts.push(trailer);
  const body = new Uint8Array(parts.reduce((n, part) => n + part.length, 0));
  let at = 0;
  for (const part of parts) {
    body.set(part, at);
    at += part.length;
  }
  return body;
}

export interface Answer {
  accepted: number;
  duplicates: number;
  rejected: Rejection[];
}

/** Reads causality.ingest.v1.IngestResponse; undefined when the bytes are not one. */
export function decodeAnswer(body: Uint8Array): Answer | undefined {
  const [whole, ints, data] = unpack(body);
  const rejected = (data[3] || []).map((one) => {
    const [read, ints, data] = unpack(one);
    const [, , id, code, field, message] = [0, 1, 2, 3, 4, 5].map((field) => text(data[field]));
    return read && { index: ints[1]! | 0, id, code, field, message };
  });
  if (whole && rejected.length <= maxEvents && rejected.every((r) => r))
    return { accepted: ints[1]! | 0, duplicates: ints[2]! | 0, rejected: rejected as Rejection[] };
}

export function newCore(
  config: CoreConfig,
  random: Random,
  savedState: Uint8Array = new Uint8Array(),
  held: BlockInfo[] = [],
  newId: (now: number) => string = newIds(random),
): CoreLike {
  const orDefault = (v: number | undefined, standard: number, least: number) =>
    Math.max(v || standard, least);
  const shared = PAGE || config.shared;
  const flushAt = orDefault(config.flushAt, 20, 1);
  const flushEvery = orDefault(config.flushEvery, 3 * second, 1000);
  const maxAge = orDefault(config.maxAge, 7 * 24 * hour, second);
  const queueBytes = orDefault(config.queueBytes, 2 ** 26, 2 ** 21);
  const queueEvents = orDefault(config.queueEvents, 2e5, 2 * maxEvents);
  const bufferBytes = orDefault(config.bufferBytes, 2 ** 22, maxBlockBytes);

  // The block that events are added to.
  let open = "";
  let openEvents = 0;
  let openAt = 0;

  // The queue, oldest first. The first done events of the first block are settled.
  let blocks: BlockInfo[] = [];
  let done = 0;
  let queuedEvents = 0;
  let queuedBytes = 0;
  let nextSeq = 2; // of the next block sealed here

  let leading = !shared;
  let last = 0; // the highest number seen
  let skipped: number[] = []; // lower ones that may yet be reported
  let awaitMine = false; // a flush goes on with what is unsaved here

  // What the queue has yet to be told.
  let unsaved: Block[] = []; // the last of blocks, or in none yet that a shared queue has
  let deletes: [number, number][] = [];
  let stateDirty = false;
  let countsSince = 0; // 0 when the saved counts are right
  let commitAt = 0; // not before
  let commitFailed = false;
  let appending = 0;
  let deleting = 0;

  // Delivery.
  let batch = noBatch;
  let attempt = 0;
  let inFlight = false;
  let failures = 0;
  let next = 0; // the next attempt, unless a flush asks for one earlier …
  let floor = 0; // … but never before this, which the server named
  let paused = false;
  let limit = maxEvents; // events of the next batch; halved by a split, doubled by success
  let flushTo = 0; // send at once through this block
  let asked = false; // for a flush, since the attempt in flight began
  let closed = false;
  let optedOut = false;
  let chosen = false; // by optOut or optIn here, which outweighs what a shared queue's state says
  let clearTo = 0; // optOut was called when this was the last block; 0 once it is cleared
  const notices: Command[] = [];
  let sent = 0;
  const dropped = new Map<Reason, number>();
  const noCounts = reported.map(() => 0);
  const sum = (a: number[], b: number[]) => a.map((n, i) => n + b[i]!);
  let unreported = noCounts;
  let reporting = noCounts; // part of unreported that is in flight
  let saved = noCounts; // unreported, as last handed to the queue

  // Counts drops; without a time, those that the server knows or need not know.
  const count = (reason: Reason, n: number, now?: number) => {
    dropped.set(reason, (dropped.get(reason) || 0) + n);
    if (now) {
      unreported = unreported.map((before, i) => (reported[i] == reason ? before + n : before));
      countsSince ||= now;
    }
  };

  // Joins drops of one reason, which come by the block.
  const notify = (reason: Reason, events: number) => {
    const before = notices[notices.length - 1]?.dropped;
    if (before?.reason == reason) before.events += events;
    else notices.push({ dropped: { reason, events } });
  };

  const packUnreported = () => unreported.map((n, i) => (n ? pack(reported[i], n) : ""));

  const encodeState = () =>
    toBytes(
      pack(
        blocks[0]?.seq,
        blocks[0] && done,
        blocks[0] && batch.id,
        blocks[0] && batch.events,
        failures,
        !paused && next, // a restart may bring a new key: try it at once
        floor,
        limit,
        optedOut,
        packUnreported(),
        0, // a phone's visitor
        shared && last,
      ),
    );

  // Takes what it can read; a damaged state costs a repeated batch or a count, never an event.
  const decodeState = (state: Uint8Array) => {
    const [, ints, data] = unpack(state);
    const [, head, skip = 0, , events = 0, failed = 0, , , most = maxEvents] = ints;
    const id = text(data[3]);
    for (const one of data[10] || []) {
      const [whole, [, , n], [, reason]] = unpack(one);
      const i = reported.indexOf(text(reason));
      const more = noCounts.map((_, j) => (i == j && whole && n! > 0 ? n! : 0));
      unreported = sum(unreported, more);
      saved = sum(saved, more);
    }
    failures = Math.min(Math.max(failed, 0), 1000);
    next = ints[6] || 0;
    floor = ints[7] || 0;
    limit = Math.min(Math.max(most, 1), maxEvents);
    last = Math.max(last, ints[12] || 0);
    if (!chosen) optedOut = !!ints[9];
    const first = blocks.findIndex((b) => b.seq == head);
    if (first < 0 || (first && !shared)) return;
    const late = blocks.splice(0, first); // reported to the former leader after the batch was frozen
    if (skip > 0 && skip < blocks[0]!.events) {
      done = skip;
      queuedEvents -= skip;
    }
    if (id && events > 0 && events <= Math.min(queuedEvents, maxEvents)) {
      batch = { id, events, blocks: 0 };
      for (let left = events + done; left > 0 && blocks[batch.blocks]; )
        left -= blocks[batch.blocks++]!.events;
    }
    blocks.splice(batch.blocks || 1, 0, ...late);
  };

  const append = (b: BlockInfo) => {
    blocks.push(b);
    queuedEvents += b.events;
    queuedBytes += b.bytes;
  };

  // Adds a stored block at the end, unless its description is impossible.
  const take = (b: BlockInfo) => {
    if (b.events > 0 && b.bytes > 0 && b.seq > last) {
      append(b);
      last = b.seq;
    } else {
      count("damaged", Math.max(b.events, 1), 1);
      deletes.push([b.seq, b.seq]);
    }
  };

  const seal = () => {
    if (!openEvents) return;
    const block = { seq: nextSeq++, at: openAt, events: openEvents };
    unsaved.push({ ...block, data: toBytes(open) });
    if (!shared) append({ ...block, bytes: open.length });
    open = "";
    openEvents = 0;
  };

  // The oldest block that no attempt is carrying.
  const evictable = () => (inFlight ? batch.blocks : 0);

  // Removes a block from the queue.
  const forget = (i: number) => {
    const { seq, events, bytes } = blocks.splice(i, 1)[0]!;
    queuedEvents -= events;
    queuedBytes -= bytes;
    if (!i) {
      queuedEvents += done;
      done = 0;
    }
    if (!shared && unsaved[0] && seq >= unsaved[0].seq) {
      unsaved = unsaved.filter((u) => u.seq != seq);
      return;
    }
    const range = deletes[deletes.length - 1];
    if (range && range[1] + 1 == seq && deletes.length > deleting) range[1]++;
    else deletes.push([seq, seq]);
  };

  const give = (reason: Reason, n: number, now?: number) => {
    count(reason, n, now);
    notify(reason, n);
  };

  // Gives a block up. A frozen batch that loses events is no longer the same batch: what is left of it will travel
  // under a new id.
  const drop = (i: number, reason: Reason, now: number) => {
    const n = blocks[i]!.events - (i ? 0 : done);
    if (i < batch.blocks) {
      batch = noBatch;
      stateDirty = true;
    }
    forget(i);
    give(reason, n, now);
  };

  // Removes events from the front of the queue.
  const settle = (events: number) => {
    events += done;
    while (blocks[0] && events >= blocks[0].events) {
      events -= blocks[0].events;
      forget(0);
    }
    if (blocks[0]) {
      queuedEvents -= events - done;
      done = events;
    }
    batch = noBatch;
    stateDirty = true;
    commitAt = 0; // what is deleted may be the room that was missing
  };

  const cancel = () => {
    if (inFlight) notices.push({ cancel: attempt });
    inFlight = false;
  };

  // Drops what was queued when optOut was called, and what somebody who had not heard of it has added since.
  const clear = () => {
    cancel();
    let n = queuedEvents;
    while (blocks[0] && (optedOut || shared || blocks[0].seq <= clearTo)) forget(0);
    n -= queuedEvents;
    while (shared && unsaved[0] && unsaved[0].seq <= clearTo) n += unsaved.shift()!.events;
    batch = noBatch;
    clearTo = 0;
    stateDirty = true;
    if (n) give("opted_out", n);
  };

  // When the open block is handed over. A time in the future means that the clock was set back: then at once.
  const sealAt = (now: number) =>
    !openEvents
      ? never
      : openAt > now || (queuedEvents + openEvents >= flushAt && !inFlight && now >= Math.max(next, floor)) // a full batch waits for nothing
        ? now
        : openAt + commitWithin;

  // When the queue is told what has changed. A follower writes its blocks alone.
  const saveAt = (now: number) =>
    Math.max(
      commitAt,
      unsaved[0] || (leading && (deletes[0] || stateDirty))
        ? now
        : leading && countsSince
          ? Math.min(countsSince, now) + second
          : never,
    );

  const sendAt = (now: number) => {
    const oldest = blocks[0];
    return inFlight || optedOut || !oldest
      ? never
      : flushTo >= oldest.seq
        ? Math.max(now, floor)
        : Math.max(
            // At once: a batch to repeat, a full one, what a split has left, or a clock set back.
            batch.events || queuedEvents >= flushAt || limit < maxEvents || oldest.at > now
              ? now
              : oldest.at + flushEvery,
            next,
            floor,
          );
  };

  // Takes whole blocks from the front up to the size of a request, or as many events as the last split allows.
  const freeze = (now: number) => {
    let events = -done;
    let size = 0;
    let n = 0;
    for (const b of blocks) {
      if (
        n &&
        (size + b.bytes > maxBodyBytes ||
          events + b.events > maxEvents ||
          (shared && b.seq != blocks[n - 1]!.seq + 1)) // one between may yet be reported, and a batch is a range
      )
        break;
      events += b.events;
      size += b.bytes;
      n++;
      if (events >= limit) {
        events = limit;
        break;
      }
    }
    batch = { id: newId(now), events, blocks: n };
    stateDirty = true;
  };

  const commit = (): Command => {
    // A full disk has room for these once the deletes are made.
    const appends = commitFailed && deletes[0] ? [] : unsaved;
    appending = appends.length;
    deleting = deletes.length;
    stateDirty = false;
    countsSince = 0;
    if (leading) saved = unreported;
    return {
      commit: {
        append: shared ? appends.map((b) => ({ ...b, seq: 0 })) : [...appends],
        delete: [...deletes],
        state: leading ? encodeState() : undefined,
      },
    };
  };

  const send = (now: number): Command => {
    const last = blocks[batch.blocks - 1]!.seq;
    inFlight = true;
    asked = false;
    reporting = unreported;
    return {
      send: {
        attempt: ++attempt,
        first: blocks[0]!.seq,
        last,
        unsaved: shared ? [] : unsaved.filter((b) => b.seq <= last),
        skip: done,
        events: batch.events,
        trailer: toBytes(
          pack(0, time(now), batch.id, [pack(config.library.name, config.library.version)], packUnreported()),
        ),
      },
    };
  };

  const load = (state: Uint8Array, stored: BlockInfo[]) => {
    stored.forEach(take);
    decodeState(state);
  };

  const self: CoreLike = {
    add(now, event) {
      let bytes: string;
      try {
        bytes = encodeEvent(now, event);
      } catch (error) {
        count((error as CausalityError).reason || "invalid", 1, now);
        throw error;
      }
      if (closed) throw new CausalityError("closed", "the client is closed");
      if (optedOut) {
        count("opted_out", 1);
        return false;
      }
      if (unsaved.reduce((n, b) => n + b.data.length, open.length + bytes.length + 4) > bufferBytes) {
        count("queue_full", 1, now);
        throw new CausalityError("queue_full", "the queue is full; the event was not kept");
      }
      if (!event.id) bytes = bytes.slice(0, 2) + newId(now) + bytes.slice(38);
      const wake = !openEvents++;
      if (wake) openAt = now;
      open += `\n${varint(bytes.length)}${bytes}`;
      if (open.length < maxBlockBytes) return wake || queuedEvents + openEvents == flushAt;
      seal();
      return true;
    },

    poll(now) {
      // A clock that was set back must not make a wait endless.
      next = Math.min(next, now + hour);
      floor = Math.min(floor, now + hour);
      commitAt = Math.min(commitAt, now + second);
      if (clearTo || (optedOut && blocks[0])) clear();
      if (now >= sealAt(now)) seal();
      for (let i = evictable(); blocks[i]; ) {
        if (now - blocks[i]!.at > maxAge) drop(i, "expired", now);
        else if (queuedBytes > queueBytes || queuedEvents > queueEvents) drop(i, "overflow", now);
        else break;
      }
      if (notices[0]) return notices.shift();
      const due = now >= sendAt(now);
      if (due && !batch.events) freeze(now);
      return now >= saveAt(now) ? commit() : due ? send(now) : undefined;
    },

    deadline(now) {
      const oldest = blocks[evictable()];
      return Math.min(sealAt(now), saveAt(now), sendAt(now), oldest ? oldest.at + maxAge + 1 : never);
    },

    committed(now, ok) {
      if (ok) {
        unsaved.splice(0, appending);
        deletes.splice(0, deleting);
      } else stateDirty = true;
      commitFailed = !ok;
      commitAt = ok ? 0 : now + second;
      deleting = 0;
    },

    answered(now, n, { status, retryAfter, body }) {
      if (!inFlight || n != attempt) return false;
      const { events } = batch;
      inFlight = false;
      stateDirty = true;
      // An answer that accounts for nothing is not this server's: a proxy or a login page can say 200 too.
      const answer = status == 200 && body && decodeAnswer(body);
      if (answer && (answer.accepted > 0 || answer.duplicates > 0 || answer.rejected[0])) {
        const { rejected } = answer;
        settle(events);
        // A server that makes codes up cannot fill the memory with them.
        for (const { code } of rejected.slice(0, events))
          count(code && (dropped.has(code) || dropped.size < 32) ? code : "rejected", 1);
        sent += Math.max(events - rejected.length, 0);
        if (rejected[0]) notices.push({ rejected });
        unreported = unreported.map((before, i) => before - reporting[i]!);
        limit = Math.min(limit * 2, maxEvents);
        failures = next = floor = 0;
        paused = false;
      } else if (status != 400 && status != 413) {
        // Keeps the batch for a later attempt, after a wait anywhere up to the doubling bound.
        paused = status == 401 || status == 403;
        const bound = Math.min(2 ** failures++, 300) * second;
        const wait = paused ? hour : Number(random() % BigInt(bound + 1));
        if (!asked || retryAfter > 0) flushTo = 0;
        floor = retryAfter > 0 ? now + Math.min(retryAfter, hour) : 0;
        next = Math.max(now + wait, floor);
      } else if (events > 1) {
        limit = events >> 1;
        batch = noBatch;
      } else {
        settle(1);
        give(status == 400 ? "unreadable" : "too_large", 1, now);
      }
      return true;
    },

    flush(now) {
      seal();
      if (optedOut || now < floor) return false;
      flushTo = shared ? last : nextSeq - 1;
      awaitMine = leading && !!unsaved[0];
      asked = inFlight;
      return true;
    },

    close() {
      closed = true;
      seal();
    },

    optOut() {
      if (!optedOut) {
        seal();
        stateDirty = true;
        clearTo = nextSeq - 1;
      }
      chosen = optedOut = true;
    },

    optIn() {
      stateDirty ||= optedOut;
      chosen = true;
      optedOut = false;
    },

    lead(now, state, stored) {
      self.follow();
      const own = unreported;
      unreported = noCounts;
      leading = true;
      load(state, stored);
      unreported = sum(unreported, own);
      if (own.some((n) => n)) countsSince ||= now;
      stateDirty = chosen;
    },

    follow() {
      cancel();
      leading = awaitMine = stateDirty = paused = false;
      done =
        queuedEvents =
        queuedBytes =
        last =
        flushTo =
        countsSince =
        failures =
        next =
        floor =
        deleting =
          0;
      blocks = [];
      skipped = [];
      deletes = [];
      batch = noBatch;
      limit = maxEvents;
      unreported = unreported.map((n, i) => Math.max(n - saved[i]!, 0)); // the state has these
      saved = noCounts;
    },

    stored(_now, infos) {
      if (!leading) return;
      for (const b of infos) {
        if (b.seq > last) {
          // Remembers the numbers between, up to a bound; what is beyond it is found by the next leader.
          for (let missing = Math.max(last + 1, b.seq - maxSkipped); missing < b.seq; missing++)
            skipped.push(missing);
          skipped = skipped.slice(-maxSkipped);
          take(b);
        } else if (skipped.includes(b.seq) && b.events > 0 && b.bytes > 0) {
          // Reports of two clients may overtake each other. A batch that is frozen stays as it is: to the end.
          skipped = skipped.filter((seq) => seq != b.seq);
          append(b);
        }
      }
      if (awaitMine) {
        flushTo = last;
        awaitMine = !!unsaved[0];
      }
    },

    lost(now, seqs) {
      for (const seq of seqs) {
        const i = blocks.findIndex((b) => b.seq == seq);
        if (i < 0) continue;
        if (i < batch.blocks) inFlight = false;
        drop(i, "damaged", now);
      }
    },

    stats: () => ({
      queued: (shared ? unsaved : []).reduce((n, b) => n + b.events, queuedEvents + openEvents),
      queuedBytes: (shared ? unsaved : []).reduce((n, b) => n + b.data.length, queuedBytes + open.length),
      sent,
      dropped: Object.fromEntries(dropped),
      failures,
      nextAttempt: Math.max(next, floor),
      paused,
      optedOut,
    }),
  };

  if (shared) {
    decodeState(savedState);
    self.follow();
  } else {
    load(savedState, held);
    nextSeq = last + 1;
  }
  return self;
}
