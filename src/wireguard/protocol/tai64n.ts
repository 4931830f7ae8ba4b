/**
 * TAI64N timestamps (cr.yp.to/libtai/tai64.html): an initiation must have a later one than all before it from its sender.
 * Nanoseconds are rounded down to 16.8 ms, as the kernel does, so that they reveal little of the clock.
 */

/** Label of 1970-01-01 TAI, with the 10 s that TAI was ahead of UTC then. */
const EPOCH = 2n ** 62n + 10n;
const ROUNDING = 0x1000000;

/** 12 bytes for a time in milliseconds since 1970. */
export function tai64n(wallClockMs: number): Uint8Array {
  const stamp = new Uint8Array(12);
  const view = new DataView(stamp.buffer);
  const seconds = Math.floor(wallClockMs / 1000);
  const nanoseconds = Math.floor((wallClockMs - seconds * 1000) * 1e6);
  view.setBigUint64(0, EPOCH + BigInt(seconds));
  view.setUint32(8, nanoseconds - (nanoseconds % ROUNDING));
  return stamp;
}

/** Whether `stamp` is later than `before`. */
export function isLater(stamp: Uint8Array, before: Uint8Array): boolean {
  for (let index = 0; index < 12; index++) {
    if (stamp[index] !== before[index]) return stamp[index]! > before[index]!;
  }
  return false;
}
