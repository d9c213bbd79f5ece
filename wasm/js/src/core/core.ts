import { CausalityError } from "./error";
import { encodeEvent } from "./event";
import { newIds, type Random } from "./ids";
import type { Block, BlockInfo, Command, CoreConfig, CoreLike, Reason, Rejection, Stats } from "./types";
import { fields, int, message, optional, string, text, time, utf8, varint } from "./wire";

// The policy of sdk/core, in TypeScript: sdk/vectors and the differential test keep the two alike. Where this file is
// short of comments, that package has them. State lives in variables of newCore, which minify to a letter each.

/** Set by the build: causality.js has no queue of its own to number, and leaves that out. */
declare const ALWAYS_SHARED: boolean;

const second = 1e6;
const hour = 3600 * second;
const maxEvents = 2000;
const maxBodyBytes = 2 ** 20 - 16384;
const maxBlockBytes = 65536;
const commitWithin = 0.1 * second; // an event is handed to the queue
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
const noCounts = reported.map(() => 0);

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
    let from = 0;
    let to = 0;
    const whole = fields(block, (field, _, data, end) => {
      if (field != 1 || !data) throw 0;
      if (skip) {
        skip--;
        from = end;
      } else if (events) {
        events--;
        to = end;
      }
    });
    if (!whole && events) return;
    parts.push(block.subarray(from, to));
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
  const answer: Answer = { accepted: 0, duplicates: 0, rejected: [] };
  const whole = fields(body, (field, value, data) => {
    if (!data) {
      if (field == 1) answer.accepted = value | 0;
      if (field == 2) answer.duplicates = value | 0;
    } else if (field == 3) {
      const r: Rejection = { index: 0, id: "", code: "", field: "", message: "" };
      const read = fields(data, (field, value, data) => {
        if (!data) {
          if (field == 1) r.index = value | 0;
        } else {
          const name = (["id", "code", "field", "message"] as const)[field - 2];
          if (name) r[name] = string(data);
        }
      });
      if (!read || answer.rejected.push(r) > maxEvents) throw 0;
    }
  });
  return whole ? answer : undefined;
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
  const shared = ALWAYS_SHARED || config.shared;
  const flushAt = orDefault(config.flushAt, 20, 1);
  const flushEvery = orDefault(config.flushEvery, 3 * second, 1000);
  const maxAge = orDefault(config.maxAge, 7 * 24 * hour, second);
  const queueBytes = orDefault(config.queueBytes, 2 ** 26, 2 ** 21);
  const queueEvents = orDefault(config.queueEvents, 2e5, 2 * maxEvents);
  const bufferBytes = orDefault(config.bufferBytes, 2 ** 22, maxBlockBytes);

  // The block that events are added to.
  let open: number[] = [];
  let openEvents = 0;
  let openAt = 0;

  // The queue, oldest first. The first done events of the first block are settled.
  let blocks: BlockInfo[] = [];
  let done = 0;
  let queuedEvents = 0;
  let queuedBytes = 0;
  let nextSeq = 2; // of the next block sealed here

  // A shared queue.
  let leading = false;
  let last = 0; // the highest number seen
  let skipped: number[] = []; // lower ones that may yet be reported
  let awaitMine = false; // a flush goes on with what is unsaved here

  // What the queue has yet to be told.
  let unsaved: Block[] = []; // the last of blocks, or in none yet that a shared queue has
  let unsavedBytes = 0;
  let deletes: [number, number][] = [];
  let stateDirty = false;
  let countsSince = 0; // 0 when the saved counts are right
  let commitAt = 0; // not before
  let commitFailed = false;
  let committing = [0, 0, 0]; // appends, their bytes, deletes

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
  let closed = false;
  let optedOut = false;
  let chosen = false; // by optOut or optIn here, which outweighs what a shared queue's state says
  let clearTo = 0; // optOut was called when this was the last block; 0 once it is cleared
  const notices: Command[] = [];
  let sent = 0;
  const dropped = new Map<Reason, number>();
  let unreported = noCounts;
  let reporting = noCounts; // part of unreported that is in flight
  let saved = noCounts; // unreported, as last handed to the queue

  const count = (reason: Reason, n: number, now: number, told?: boolean) => {
    if (!dropped.has(reason) && dropped.size > 31) reason = "rejected";
    dropped.set(reason, (dropped.get(reason) ?? 0) + n);
    if (told) return;
    unreported = unreported.map((before, i) => (reported[i] == reason ? before + n : before));
    if (!countsSince) countsSince = Math.max(now, 1);
  };

  // Joins drops of one reason, which come by the block.
  const notify = (reason: Reason, events: number) => {
    const before = notices[notices.length - 1]?.dropped;
    if (before?.reason == reason) before.events += events;
    else notices.push({ dropped: { reason, events } });
  };

  const encodeUnreported = (field: number) =>
    unreported.flatMap((n, i) => (n ? message(field, [...text(1, reported[i]), ...int(2, n)]) : []));

  const encodeState = () =>
    Uint8Array.from([
      ...(blocks[0]
        ? [...int(1, blocks[0].seq), ...int(2, done), ...text(3, batch.id), ...int(4, batch.events)]
        : []),
      ...int(5, failures),
      ...int(6, paused ? 0 : next), // a restart may bring a new key: try it at once
      ...int(7, floor),
      ...int(8, limit),
      ...int(9, +optedOut),
      ...encodeUnreported(10),
      ...int(12, shared ? last : 0),
    ]);

  // Takes what it can read; a damaged state costs a repeated batch or a count, never an event.
  const decodeState = (state: Uint8Array) => {
    let id = "";
    const v: number[] = [];
    fields(state, (field, value, data) => {
      if (!data) v[field] = value;
      else if (field == 3) id = string(data);
      else if (field == 10) {
        let reason = "";
        let n = 0;
        const whole = fields(data, (field, value, data) => {
          if (field == 1 && data) reason = string(data);
          if (field == 2 && !data) n = value;
        });
        if (whole && n > 0) unreported = unreported.map((before, i) => (reported[i] == reason ? n : before));
      }
    });
    const number = (field: number, least: number, most: number, standard: number) =>
      Math.min(Math.max(v[field] ?? standard, least), most);
    failures = number(5, 0, 1000, failures);
    next = v[6] ?? next;
    floor = v[7] ?? floor;
    limit = number(8, 1, maxEvents, limit);
    last = Math.max(last, v[12] ?? 0);
    saved = unreported;
    if (!chosen) optedOut = !!v[9];
    const first = blocks.findIndex((b) => b.seq == v[1]);
    if (first < 0 || (first && !shared)) return;
    const late = blocks.splice(0, first); // reported to the former leader after the batch was frozen
    if (v[2]! > 0 && v[2]! < blocks[0]!.events) {
      done = v[2]!;
      queuedEvents -= done;
    }
    if (id && v[4]! > 0 && v[4]! <= Math.min(queuedEvents, maxEvents)) {
      let left = v[4]! + done;
      let touched = 0;
      while (left > 0 && touched < blocks.length) left -= blocks[touched++]!.events;
      batch = { id, events: v[4]!, blocks: touched };
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
    if (b.events < 1 || b.bytes < 1 || b.seq <= last) {
      count("damaged", Math.max(b.events, 1), 0);
      deletes.push([b.seq, b.seq]);
    } else {
      append(b);
      last = b.seq;
    }
  };

  const seal = () => {
    if (!openEvents) return;
    const data = Uint8Array.from(open);
    unsaved.push({ seq: nextSeq, at: openAt, events: openEvents, data });
    unsavedBytes += data.length;
    if (!shared) append({ seq: nextSeq, at: openAt, events: openEvents, bytes: data.length });
    nextSeq++;
    open = [];
    openEvents = 0;
  };

  // The oldest block that no attempt is carrying.
  const evictable = () => (inFlight ? batch.blocks : 0);

  // Gives a block up. A frozen batch that loses events is no longer the same batch: what is left of it will travel
  // under a new id.
  const drop = (i: number, reason: Reason, now: number) => {
    const n = blocks[i]!.events - (i ? 0 : done);
    if (i < batch.blocks) {
      batch = noBatch;
      stateDirty = true;
    }
    forget(i);
    count(reason, n, now);
    notify(reason, n);
  };

  const forget = (i: number) => {
    const b = blocks.splice(i, 1)[0]!;
    queuedEvents -= b.events;
    queuedBytes -= b.bytes;
    if (!i) {
      queuedEvents += done;
      done = 0;
    }
    if (!shared && unsaved[0] && b.seq >= unsaved[0].seq) {
      unsaved = unsaved.filter((u) => u.seq != b.seq);
      unsavedBytes -= b.bytes;
      return;
    }
    const range = deletes[deletes.length - 1];
    if (range && range[1] + 1 == b.seq) range[1] = b.seq;
    else deletes.push([b.seq, b.seq]);
  };

  // Removes events from the front of the queue.
  const settle = (events: number) => {
    while (events > 0 && blocks[0]) {
      const left = blocks[0].events - done;
      if (events < left) {
        done += events;
        queuedEvents -= events;
        break;
      }
      events -= left;
      forget(0);
    }
    batch = noBatch;
    stateDirty = true;
    commitAt = 0; // what is deleted may be the room that was missing
  };

  const cancel = () => {
    if (inFlight) notices.push({ cancel: attempt });
    inFlight = false;
  };

  // Drops what was queued when optOut was called.
  const clear = () => {
    cancel();
    let n = queuedEvents;
    while (blocks[0] && (shared || blocks[0].seq <= clearTo)) forget(0);
    n -= queuedEvents;
    while (shared && unsaved[0] && unsaved[0].seq <= clearTo) {
      n += unsaved[0].events;
      unsavedBytes -= unsaved.shift()!.data.length;
    }
    batch = noBatch;
    clearTo = 0;
    stateDirty = true;
    if (n) {
      count("opted_out", n, 0, true);
      notify("opted_out", n);
    }
  };

  // When the open block is handed over. A time in the future means that the clock was set back: then at once.
  const sealAt = (now: number) =>
    !openEvents
      ? Number.POSITIVE_INFINITY
      : openAt > now || (queuedEvents + openEvents >= flushAt && !inFlight && now >= Math.max(next, floor)) // a full batch waits for nothing
        ? now
        : openAt + commitWithin;

  // When the queue is told what has changed. A follower writes its blocks alone.
  const saveAt = (now: number) =>
    Math.max(
      commitAt,
      unsaved[0] || ((leading || !shared) && (deletes[0] || stateDirty))
        ? now
        : (leading || !shared) && countsSince
          ? Math.min(countsSince, now) + second
          : Number.POSITIVE_INFINITY,
    );

  const sendAt = (now: number) => {
    const oldest = blocks[0];
    if (inFlight || optedOut || !oldest) return Number.POSITIVE_INFINITY;
    if (flushTo >= oldest.seq) return Math.max(now, floor);
    // At once: a batch to repeat, a full one, what a split has left, or a clock set back.
    const waits = !batch.events && queuedEvents < flushAt && limit == maxEvents && oldest.at <= now;
    return Math.max(waits ? oldest.at + flushEvery : now, next, floor);
  };

  // Takes whole blocks from the front up to the size of a request, or as many events as the last split allows.
  const freeze = (now: number) => {
    let events = 0;
    let size = 0;
    let n = 0;
    for (const b of blocks) {
      const more = b.events - (n ? 0 : done);
      if (
        n &&
        (size + b.bytes > maxBodyBytes ||
          events + more > maxEvents ||
          (shared && b.seq != blocks[n - 1]!.seq + 1)) // one between may yet be reported, and a batch is a range
      )
        break;
      events += more;
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
    committing = [appends.length, appends[0] ? unsavedBytes : 0, deletes.length];
    stateDirty = false;
    countsSince = 0;
    const change: Command = {
      commit: {
        append: shared ? appends.map((b) => ({ ...b, seq: 0 })) : [...appends],
        delete: deletes.map(([first, last]) => [first, last]),
      },
    };
    if (leading || !shared) {
      change.commit!.state = encodeState();
      saved = unreported;
    }
    return change;
  };

  const send = (now: number): Command => {
    inFlight = true;
    reporting = unreported;
    const last = blocks[batch.blocks - 1]!.seq;
    return {
      send: {
        attempt: ++attempt,
        first: blocks[0]!.seq,
        last,
        unsaved: shared ? [] : unsaved.filter((b) => b.seq <= last),
        skip: done,
        events: batch.events,
        trailer: Uint8Array.from([
          ...time(2, now),
          ...text(3, batch.id),
          ...optional(4, [...text(1, config.library.name), ...text(2, config.library.version)]),
          ...encodeUnreported(5),
        ]),
      },
    };
  };

  // Keeps the batch for a later attempt.
  const fail = (now: number, wait: number, retryAfter: number) => {
    failures++;
    flushTo = 0;
    floor = retryAfter > 0 ? now + Math.min(retryAfter, hour) : 0;
    next = Math.max(now + wait, floor);
  };

  const accepted = ({ rejected }: Answer) => {
    const n = batch.events;
    settle(n);
    for (const r of rejected.slice(0, n)) count(r.code || "rejected", 1, 0, true); // the server knows
    sent += Math.max(n - rejected.length, 0);
    if (rejected[0]) notices.push({ rejected });
    unreported = unreported.map((before, i) => before - reporting[i]!);
    limit = Math.min(limit * 2, maxEvents);
    failures = next = floor = 0;
    paused = false;
  };

  const load = (state: Uint8Array, stored: BlockInfo[]) => {
    stored.forEach(take);
    decodeState(state);
  };

  const self: CoreLike = {
    add(now, event) {
      let bytes: number[];
      try {
        bytes = encodeEvent(now, event);
      } catch (error) {
        count((error as CausalityError).reason ?? "invalid", 1, now);
        throw error;
      }
      if (closed) throw new CausalityError("closed", "the client is closed");
      if (optedOut) {
        count("opted_out", 1, 0, true);
        return false;
      }
      if (unsavedBytes + open.length + bytes.length + 4 > bufferBytes) {
        count("queue_full", 1, now);
        throw new CausalityError("queue_full", "the queue is full; the event was not kept");
      }
      if (!event.id) bytes.splice(2, 36, ...utf8(newId(now)));
      const wake = !openEvents++;
      if (wake) openAt = now;
      open.push(10, ...varint(bytes.length), ...bytes);
      if (open.length >= maxBlockBytes) {
        seal();
        return true;
      }
      return wake || queuedEvents + openEvents == flushAt;
    },

    poll(now) {
      // A clock that was set back must not make a wait endless.
      next = Math.min(next, now + hour);
      floor = Math.min(floor, now + hour);
      commitAt = Math.min(commitAt, now + second);
      if (clearTo || (shared && optedOut && blocks[0])) clear();
      if (now >= sealAt(now)) seal();
      const oldest = evictable();
      while (blocks[oldest] && now - blocks[oldest].at > maxAge) drop(oldest, "expired", now);
      while (blocks[oldest] && (queuedBytes > queueBytes || queuedEvents > queueEvents))
        drop(oldest, "overflow", now);
      if (notices[0]) return notices.shift();
      const due = now >= sendAt(now);
      if (due && !batch.events) freeze(now);
      if (now >= saveAt(now)) return commit();
      if (due) return send(now);
    },

    deadline(now) {
      const b = blocks[evictable()];
      return Math.min(
        sealAt(now),
        saveAt(now),
        sendAt(now),
        b ? b.at + maxAge + 1 : Number.POSITIVE_INFINITY,
      );
    },

    committed(now, ok) {
      commitFailed = !ok;
      commitAt = ok ? 0 : now + second;
      if (ok) {
        unsaved.splice(0, committing[0]);
        unsavedBytes -= committing[1]!;
        deletes.splice(0, committing[2]);
      } else stateDirty = true;
      committing = [0, 0, 0];
    },

    answered(now, n, { status, retryAfter, body }) {
      if (!inFlight || n != attempt) return false;
      inFlight = false;
      stateDirty = true;
      // An answer that accounts for nothing is not this server's: a proxy or a login page can say 200 too.
      const answer = status == 200 && body && decodeAnswer(body);
      if (answer && (answer.accepted > 0 || answer.duplicates > 0 || answer.rejected[0])) accepted(answer);
      else if (status == 400 || status == 413) {
        if (batch.events > 1) {
          limit = batch.events >> 1;
          batch = noBatch;
        } else {
          const reason = status == 400 ? "unreadable" : "too_large";
          settle(1);
          count(reason, 1, now);
          notify(reason, 1);
        }
      } else {
        paused = status == 401 || status == 403;
        const bound = Math.min(2 ** failures, 300) * second;
        fail(now, paused ? hour : Number(random() % BigInt(bound + 1)), retryAfter);
      }
      return true;
    },

    flush(now) {
      seal();
      if (optedOut || now < floor) return false;
      flushTo = nextSeq - 1;
      if (shared) {
        flushTo = last;
        awaitMine = leading && !!unsaved[0];
      }
      return true;
    },

    close() {
      closed = true;
      seal();
    },

    optOut() {
      chosen = true;
      if (optedOut) return;
      seal();
      optedOut = stateDirty = true;
      clearTo = nextSeq - 1;
    },

    optIn() {
      chosen = true;
      if (optedOut) stateDirty = true;
      optedOut = false;
    },

    lead(now, state, stored) {
      self.follow();
      leading = true;
      const own = unreported;
      unreported = noCounts;
      load(state, stored);
      unreported = unreported.map((n, i) => n + own[i]!);
      if (own.some((n) => n)) countsSince ||= Math.max(now, 1);
      if (chosen) stateDirty = true;
    },

    follow() {
      cancel();
      leading = awaitMine = stateDirty = paused = false;
      blocks = [];
      skipped = [];
      deletes = [];
      done =
        queuedEvents =
        queuedBytes =
        last =
        flushTo =
        countsSince =
        failures =
        next =
        floor =
        committing[2] =
          0;
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
          for (let missing = Math.max(last + 1, b.seq - maxSkipped); last && missing < b.seq; missing++)
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

    stats(): Stats {
      const waiting = shared ? unsaved : [];
      return {
        queued: waiting.reduce((n, b) => n + b.events, queuedEvents + openEvents),
        queuedBytes: queuedBytes + open.length + (shared ? unsavedBytes : 0),
        sent,
        dropped: Object.fromEntries(dropped),
        failures,
        nextAttempt: Math.max(next, floor),
        paused,
        optedOut,
      };
    },
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
