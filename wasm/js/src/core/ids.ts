export type Random = () => bigint;

/**
 * Makes UUIDv7: 48 bits of milliseconds, then 12 bits that count within a millisecond (RFC 9562, section 6.2), then
 * 62 random bits of random's 64. Every id is greater than the one before, even when the clock steps back or more than
 * 4,096 are made in a millisecond: the time part then runs ahead.
 */
export function newIds(random: Random): (now: number) => string {
  let last = 0;
  let count = 0;
  return (now) => {
    const millis = Math.max(Math.floor(now / 1000), 0);
    if (millis > last) {
      last = millis;
      count = 0;
    } else if (++count > 4095) {
      last++;
      count = 0;
    }
    return (
      last.toString(16).padStart(12, "0") +
      (0x7000 + count).toString(16) +
      (BigInt.asUintN(62, random()) | (1n << 63n)).toString(16)
    ).replace(/(.{8})(.{4})(.{4})(.{4})/, "$1-$2-$3-$4-");
  };
}
