// The origin's database, which every tab shares, and the queues: one in it, and one in memory for when it cannot be
// used. Nothing here knows of policy, of the page or of the network.

import type { Block, BlockInfo, Change } from "./core/types";

/**
 * Runs one transaction. What use returns is the result once it is complete; use may be called again. Only with more
 * may the requests that it makes make others: without, they outlive a page that goes away now.
 */
export type Database = <T>(
  use: (blocks: IDBObjectStore, meta: IDBObjectStore) => T,
  more?: boolean,
) => Promise<T>;

/** Where blocks wait. Both kinds pass one suite of tests. */
export interface Queue {
  /** Makes the whole change or none of it, and describes what was appended. */
  _change(change: Change): Promise<BlockInfo[]>;
  /** What pick takes from each block from first to last, and the saved state. */
  _read<T>(
    first: number,
    last: number,
    pick: (seq: number, block: Omit<Block, "seq">) => T,
  ): Promise<[taken: T[], state?: Uint8Array]>;
}

const patience = 3e3; // ms; browsers have been seen to leave requests unanswered for ever
const orphaned = 6048e8; // µs, 7 days: blocks of another key that nobody has sent by then

const connect = () =>
  new Promise<IDBDatabase>((resolve, reject) => {
    const request = indexedDB.open("causality", 1);
    request.onupgradeneeded = () => {
      request.result.createObjectStore("blocks", { autoIncrement: true });
      request.result.createObjectStore("meta");
    };
    request.onsuccess = () => {
      const db = request.result;
      db.onversionchange = () => db.close(); // somebody deletes it, or a later version changes it
      resolve(db);
    };
    request.onerror = () => reject(request.error);
    setTimeout(reject, patience);
  });

/** The database, opened by its first use. A use that fails is tried once more with a new connection. */
export const database = (): Database => {
  let db: Promise<IDBDatabase> | undefined;
  return async (use, more) => {
    for (let again = false; ; again = true) {
      db ||= connect();
      const connection = db;
      try {
        const open = await connection;
        return await new Promise((resolve, reject) => {
          const transaction = open.transaction(["blocks", "meta"], "readwrite");
          transaction.onabort = () => reject(transaction.error);
          transaction.oncomplete = () => resolve(result);
          setTimeout(reject, patience);
          const result = use(transaction.objectStore("blocks"), transaction.objectStore("meta"));
          if (!more) transaction.commit?.();
        });
      } catch (error) {
        connection.then((open) => open.close()).catch(() => {});
        if (db === connection) db = undefined;
        if (again) throw error;
      }
    }
  };
};

/** The queue of one write key. Its blocks are numbered by the database, ever rising and with gaps. */
export const storedQueue = (run: Database, key: string): Queue => ({
  async _change(change) {
    const requests = await run((blocks, meta) => {
      for (const [first, last] of change.delete) blocks.delete(IDBKeyRange.bound(first, last));
      if (change.state) meta.put(change.state, key);
      return change.append.map(({ at, events, data }) => blocks.add({ key, at, events, data }));
    });
    return change.append.map(({ at, events, data }, i) => ({
      seq: requests[i]?.result as number,
      at,
      events,
      bytes: data.length,
    }));
  },
  async _read(first, last, pick) {
    const result = await run((blocks, meta) => {
      const found: ReturnType<typeof pick>[] = [];
      blocks.openCursor(IDBKeyRange.bound(first, last)).onsuccess = (event) => {
        const cursor = (event.target as IDBRequest<IDBCursorWithValue | null>).result;
        if (!cursor) return;
        const block = cursor.value;
        if (block.key === key) found.push(pick(cursor.key as number, block));
        else if (block.at < Date.now() * 1e3 - orphaned) cursor.delete(); // and no client has that key
        cursor.continue();
      };
      return [found, meta.get(key)] as const;
    }, true);
    return [result[0], result[1].result];
  },
});

/** The queue of this page alone. */
export const memoryQueue = (): Queue => {
  const kept = new Map<number, Block>();
  let seq = 0;
  return {
    async _change(change) {
      for (const [first, last] of change.delete) for (let i = first; i <= last; i++) kept.delete(i);
      return change.append.map((block) => {
        kept.set(++seq, block);
        return { seq, at: block.at, events: block.events, bytes: block.data.length };
      });
    },
    async _read(first, last, pick) {
      return [[...kept].filter(([i]) => i >= first && i <= last).map(([i, block]) => pick(i, block))];
    },
  };
};
