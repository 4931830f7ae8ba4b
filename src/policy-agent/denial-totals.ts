/**
 * Denied packets per policy since startup, from the kernel's counters per pod, which begin anew after a quiet hour. A packet
 * is denied by all policies that isolate its pod together, so these are one series; their number is bounded.
 */

import type { DesiredFilter } from "../policy/model.ts";
import type { Denial } from "../policy/policy-filter.ts";
import type { Metric } from "../status/metrics-text.ts";

/** Series beyond this are one, "other". */
const MAX_SERIES = 100;

interface Series {
  readonly direction: string;
  readonly policies: string;
  packets: number;
}

/** Adds up what is read now and then. */
export class DenialTotals {
  readonly #series = new Map<string, Series>();
  /** The latest count by direction and address. */
  #counts = new Map<string, number>();

  /** Takes new counts; `filter` says whose pods they are. */
  take(denials: readonly Denial[], filter: DesiredFilter): void {
    const counts = new Map<string, number>();
    for (const { direction, address, packets } of denials) {
      const key = `${direction} ${address}`;
      counts.set(key, packets);
      const before = this.#counts.get(key) ?? 0;
      const added = packets >= before ? packets - before : packets;
      const chain = filter.chains.get(filter[direction].get(address) ?? "");
      if (added > 0) this.#seriesOf(direction, chain?.policies.join(",") ?? "other").packets += added;
    }
    this.#counts = counts;
  }

  /** The metric. */
  get metric(): Metric {
    return {
      name: "flannel_policy_denied_packets_total",
      type: "counter",
      help: "Packets that network policies denied, by the policies that isolate the pod.",
      samples: [...this.#series.values()].map(({ direction, policies, packets }) => ({
        labels: { direction, policies },
        value: packets,
      })),
    };
  }

  #seriesOf(direction: string, policies: string): Series {
    const key = `${direction} ${policies}`;
    const known = this.#series.get(key);
    if (known !== undefined) return known;
    if (this.#series.size >= MAX_SERIES && policies !== "other") return this.#seriesOf(direction, "other");
    const series = { direction, policies, packets: 0 };
    this.#series.set(key, series);
    return series;
  }
}
