/**
 * The clock of WireGuard's initiations. A peer accepts only later timestamps than all before (wireguard.com/papers/wireguard.pdf,
 * §5.1), so a wall clock that is set back would end all handshakes until it has caught up. This clock is the monotonic one
 * plus the largest distance of the wall clock from it so far, which a file keeps over restarts of the process.
 */

import { readFileSync, renameSync, writeFileSync } from "node:fs";

/** The distance is raised by this much more than needed, so that a clock that is slewed does not cause a write each time. */
const MARGIN_MS = 100;

export interface HandshakeClockOptions {
  /** Beside the key, because peers remember timestamps of a key; undefined = nothing is kept. */
  readonly path: string | undefined;
  readonly wallClockMs: () => number;
  /** Milliseconds since the host has started (CLOCK_MONOTONIC). */
  readonly monotonicMs: () => number;
}

export const bootClockMs = (): number => Number(process.hrtime.bigint() / 1000n) / 1000;

/** Milliseconds since 1970, or later; never less than before on this host, as far as it has not been started again. */
export function createHandshakeClock({
  path,
  wallClockMs,
  monotonicMs,
}: HandshakeClockOptions): () => number {
  let distanceMs = path === undefined ? Number.NEGATIVE_INFINITY : readDistance(path);
  return () => {
    const nowMs = monotonicMs();
    const wallDistanceMs = wallClockMs() - nowMs;
    if (wallDistanceMs > distanceMs) {
      distanceMs = Math.ceil(wallDistanceMs) + MARGIN_MS;
      if (path !== undefined) writeDistance(path, distanceMs);
    }
    return nowMs + distanceMs;
  };
}

function readDistance(path: string): number {
  try {
    const text = readFileSync(path, "utf8").trim();
    return /^-?\d{1,15}$/.test(text) ? Number(text) : Number.NEGATIVE_INFINITY;
  } catch {
    return Number.NEGATIVE_INFINITY; // the first start with this key
  }
}

/** A directory that is not writable costs only what the file is for. */
function writeDistance(path: string, distanceMs: number): void {
  const fresh = `${path}.${process.pid}`;
  try {
    writeFileSync(fresh, `${distanceMs}\n`, { mode: 0o600 });
    renameSync(fresh, path);
  } catch {
    // The process that follows begins with the wall clock.
  }
}
