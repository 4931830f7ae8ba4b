/**
 * From a lease event to the kernel: joins, changes (another public IP and MAC) and leavings of peers, in a network of
 * 1,000, one at a time and in bursts. The clock starts before the put to etcd, and stops with the kernel's notification
 * of the route, or for a change of the neighbour, which comes after the FDB entry. The put itself, until etcd has
 * answered, is the floor.
 */

import type { BenchContext, Benchmark } from "./support/benchmark.ts";
import { Daemon } from "./support/daemon.ts";
import { appears, disappears, KernelEvents } from "./support/kernel-events.ts";
import { type Measurement, quantile } from "./support/measurement.ts";
import { peerAt } from "./support/peers.ts";

const PEERS = 1_000;
const BURST = 50;
/** Events per turn and kind (single, burst). */
const EVENTS_PER_TURN = 100;
const BARS_MS = { p50: 5, p99: 25 };

interface Sample {
  readonly totalMs: number;
  readonly putMs: number;
}

export const eventLatency: Benchmark = {
  name: "event-latency",
  async run(context) {
    const { bed, flanneld, turns, progress } = context;
    const prefix = await bed.etcd.networkOf(PEERS);
    await using host = await bed.host();
    await using daemon = new Daemon(host, {
      flanneld,
      etcdEndpoint: bed.etcd.endpoint,
      prefix,
      health: true,
    });
    await daemon.ready();
    using events = new KernelEvents(host.path);
    const slots = Array.from(
      { length: BURST },
      (_, index) => new Slot(context, prefix, events, PEERS + index),
    );
    // Each at another step, so that every burst holds events of each kind.
    for (const [index, slot] of slots.entries())
      for (let step = 0; step < index % 3; step++) await slot.step();
    const single: Sample[] = [];
    const burst: Sample[] = [];
    for (let turn = 1; turn <= turns; turn++) {
      progress(`turn ${turn} of ${turns}`);
      for (let event = 0; event < EVENTS_PER_TURN; event++) {
        single.push(await daemon.brings("an event", slots[event % BURST]!.step()));
      }
      for (let event = 0; event < EVENTS_PER_TURN; event += BURST) {
        burst.push(...(await daemon.brings("a burst", Promise.all(slots.map((slot) => slot.step())))));
      }
    }
    await Promise.all(slots.map((slot) => slot.clear()));
    await daemon.stop("SIGTERM");
    await bed.etcd.remove(prefix, daemon.leaseKey());
    return [...summarize("one at a time", single), ...summarize(`bursts of ${BURST}`, burst)];
  },
};

/** A peer that joins, changes and leaves, again and again. */
class Slot {
  readonly #context: BenchContext;
  readonly #prefix: string;
  readonly #events: KernelEvents;
  readonly #index: number;
  #state: "away" | "joined" | "changed" = "away";
  #generation = 0;

  constructor(context: BenchContext, prefix: string, events: KernelEvents, index: number) {
    this.#context = context;
    this.#prefix = prefix;
    this.#events = events;
    this.#index = index;
  }

  /** Takes the next step and waits until the kernel has followed. */
  async step(): Promise<Sample> {
    const { etcd } = this.#context.bed;
    if (this.#state === "changed") {
      const peer = this.#peer();
      this.#state = "away";
      return this.#timed(disappears.route(peer), () => etcd.remove(this.#prefix, peer.key));
    }
    const isNew = this.#state === "away";
    this.#generation = (this.#generation + 1) % 256;
    this.#state = isNew ? "joined" : "changed";
    const peer = this.#peer();
    return this.#timed(isNew ? appears.route(peer) : appears.neighbour(peer), () =>
      etcd.put(this.#prefix, peer),
    );
  }

  async clear(): Promise<void> {
    await this.#context.bed.etcd.remove(this.#prefix, this.#peer().key);
  }

  #peer() {
    return peerAt(this.#index, this.#generation);
  }

  async #timed(event: string, act: () => Promise<void>): Promise<Sample> {
    const seen = this.#events.next(event);
    seen.catch(() => {}); // if acting fails first
    const startedMs = performance.now();
    await act();
    const putMs = performance.now() - startedMs;
    return { totalMs: (await seen) - startedMs, putMs };
  }
}

function summarize(how: string, samples: readonly Sample[]): Measurement[] {
  const totals = samples.map(({ totalMs }) => totalMs);
  const puts = samples.map(({ putMs }) => putMs);
  return ([0.5, 0.99] as const).map((fraction) => {
    const name = fraction === 0.5 ? "p50" : "p99";
    return {
      measure: `${how}, ${samples.length} events: ${name}`,
      value: quantile(totals, fraction),
      unit: "ms",
      floor: quantile(puts, fraction),
      bar: BARS_MS[name],
      ...(fraction === 0.5 ? { samples: totals } : {}),
    };
  });
}
