/** Logs packets that were dropped for reasons that an operator can act on, at most once a minute. */

import type { Logger } from "../base/logger.ts";
import type { Timers } from "../base/timers.ts";
import type { CounterName, CounterValues } from "./counters.ts";

const INTERVAL_MS = 60_000;

/** Other drops (no route, TTL) are normal, and ICMP notifies their senders. */
const REASONS: readonly (readonly [CounterName, string])[] = [
  ["droppedStranger", "from addresses that are not a peer's"],
  [
    "droppedSpoofed",
    "with a source that is not in the sending peer's subnet (Backend.StrictSource false accepts them)",
  ],
  ["droppedMisdirected", "not for this host's subnet"],
  ["droppedMalformed", "malformed"],
  ["droppedNotIpv4", "that are not IPv4"],
  ["droppedTooBig", "larger than the path MTU to the peer (ICMP notified the senders)"],
  ["droppedSend", "that the kernel refused to send"],
  ["droppedWrite", "that the kernel refused to receive from the tunnel"],
];

/** Checks the counters every minute; the returned function stops it. */
export function reportDrops(
  device: string,
  counters: () => CounterValues,
  { logger, timers }: { readonly logger: Logger; readonly timers: Timers },
): () => void {
  let before = counters();
  let cancel = timers.after(INTERVAL_MS, look);
  function look(): void {
    const now = counters();
    const dropped = REASONS.flatMap(([name, what]) => {
      const count = now[name] - before[name];
      return count > 0 ? [`${count} packets ${what}`] : [];
    });
    before = now;
    if (dropped.length > 0) logger.warn(`Data path on ${device}, last minute: dropped ${dropped.join("; ")}`);
    cancel = timers.after(INTERVAL_MS, look);
  }
  return () => cancel();
}
