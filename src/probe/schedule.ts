/** How many probes are sent, and how often a peer is probed. See docs/decisions.md for the measurements. */

/** Probes a second that suffice for most clusters: no more than 20 in any second. */
const BASE_RATE = 19;
/** A small cluster is probed faster: a fault shows within 3 s among 100 peers. */
const SMALL_CLUSTER_RATE = 60;
const SMALL_CLUSTER_PEERS = 100;
/** A large one needs more, so that a fault shows within 30 s among 5,000 peers. */
const LARGE_CLUSTER_PEERS = 1_000;
const PEERS_PER_EXTRA_PROBE = 19;
const MAX_RATE = 230;

/** Probes a second at most, for so many targets; fewer are sent where the interval between two probes of a target allows no more. */
export function probesPerSecond(targets: number): number {
  if (targets <= LARGE_CLUSTER_PEERS) {
    const shrinking = (SMALL_CLUSTER_RATE * SMALL_CLUSTER_PEERS) / Math.max(targets, 1);
    return Math.max(BASE_RATE, Math.min(SMALL_CLUSTER_RATE, shrinking));
  }
  return Math.min(MAX_RATE, BASE_RATE + (targets - LARGE_CLUSTER_PEERS) / PEERS_PER_EXTRA_PROBE);
}

/** Time between two batches of probes. Each wakes the process, which costs more than the packets: see docs/decisions.md. */
export const batchMs = (targets: number): number => (targets <= 300 ? 250 : targets <= 2_000 ? 1_000 : 500);

/** A token bucket: what was not sent is not made up for in a burst. */
export class Budget {
  #tokens = 1;
  #filledMs: number;

  constructor(nowMs: number) {
    this.#filledMs = nowMs;
  }

  refill(nowMs: number, perSecond: number): void {
    const most = Math.max(2, perSecond * 1.1);
    this.#tokens = Math.min(most, this.#tokens + ((nowMs - this.#filledMs) / 1_000) * perSecond);
    this.#filledMs = nowMs;
  }

  get available(): number {
    return Math.floor(this.#tokens);
  }

  spend(): void {
    this.#tokens--;
  }
}
