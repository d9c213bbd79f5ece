/** 64 random bits, from a cryptographic source, since ids are made of them. */
export type Random = () => bigint;

/**
 * Makes UUIDv7: 48 bits of milliseconds, then 12 bits that count within a millisecond (RFC 9562, section 6.2), then
 * 62 random bits. Every id is greater than the one before, even when the clock steps back or more than 4,096 are made
 * in a millisecond: the time part then runs ahead. (From 2039 a number cannot count so far, and ids of one millisecond
 * differ in their random part alone.)
 */
export const newIds = (random: Random): ((now: number) => string) => {
  let count = 0; // the time in milliseconds, times 4,096, and how many ids were made in it
  return (now) => {
    count = Math.max(count + 1, Math.floor(now / 1e3) * 4096);
    const text = count.toString(16).padStart(15, "0");
    return (
      text.slice(0, 12) +
      7 +
      text.slice(12) +
      (BigInt.asUintN(62, random()) | (1n << 63n)).toString(16)
    ).replace(/(.{8})(.{4})(.{4})(.{4})/, "$1-$2-$3-$4-");
  };
};

// biome-ignore lint/suspicious/noExplicitAny: callers without types pass anything
export const tooLong = (id: any): boolean => id.length > 200 && [...id].length > 200;
