/**
 * From a lease event to the kernel: peers that join and change (another public IP and MAC), in a network of 1,000, one at a
 * time and 50 at the same time (in one transaction: 50 requests would measure this program's own client). The clock starts
 * before the write to etcd, and stops with the kernel's notification of the route, or for a change of the neighbour, which
 * comes after the FDB entry. The write itself, until etcd has answered, is the floor. Peers that leave are measured apart:
 * their routes stay for a moment on purpose (agent/peers.ts). An executable that removes them at once waits as long before the
 * next step: caches that are warm would halve its figures, and two executables would not be comparable.
 */

import { setTimeout } from "node:timers/promises";
import type { Bed } from "./support/bed.ts";
import type { Benchmark } from "./support/benchmark.ts";
import { Daemon } from "./support/daemon.ts";
import type { LeaseChange } from "./support/etcd.ts";
import { appears, disappears, KernelEvents } from "./support/kernel-events.ts";
import { type Measurement, quantile } from "./support/measurement.ts";
import { peerAt } from "./support/peers.ts";

const PEERS = 1_000;
const BURST = 50;
/** From one departure to the next step, for all executables. */
const DEPARTURE_MS = 1_100;
const BARS_MS = { p50: 5, p99: 25 };

/** One event: until the kernel's notification, and until etcd's answer. */
interface Sample {
  readonly totalMs: number;
  readonly putMs: number;
}

export const eventLatency: Benchmark = {
  name: "event-latency",
  async run({ bed, flanneld, turns, progress }) {
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
    const slots = Array.from({ length: BURST }, (_, index) => new Slot(PEERS + index));
    const step = (some: readonly Slot[]) => daemon.brings("the events", timed(bed, prefix, events, some));
    const single: Sample[] = [];
    const burst: Sample[] = [];
    const departures: Sample[] = [];
    const leave = async () => {
      const startedMs = performance.now();
      departures.push(...(await step(slots)));
      await setTimeout(Math.max(0, startedMs + DEPARTURE_MS - performance.now()));
    };
    for (let turn = 1; turn <= turns; turn++) {
      progress(`turn ${turn} of ${turns}`);
      for (const slot of slots) for (let event = 0; event < 2; event++) single.push(...(await step([slot])));
      await leave();
      for (let event = 0; event < 2; event++) burst.push(...(await step(slots)));
      await leave();
    }
    await daemon.stop("SIGTERM");
    await bed.etcd.remove(prefix, daemon.leaseKey());
    return [
      ...summarize("one at a time", single),
      ...summarize(`${BURST} at a time`, burst),
      {
        measure: `${BURST} leave at a time: p50 until the last of their objects is gone`,
        value: quantile(
          departures.map(({ totalMs }) => totalMs),
          0.5,
        ),
        unit: "ms",
      },
    ];
  },
};

/** A peer that joins, changes and leaves, again and again. */
class Slot {
  readonly #index: number;
  #state: "away" | "joined" | "changed" = "away";
  #generation = 0;

  constructor(index: number) {
    this.#index = index;
  }

  /** Of its lease, below `subnets/`. */
  get key(): string {
    return peerAt(this.#index).key;
  }

  /** The next change of its lease, and the event in the kernel that shall follow. */
  next(): { readonly change: LeaseChange; readonly event: string } {
    const before = this.#state;
    if (before === "changed") {
      this.#state = "away";
      return { change: { remove: this.key }, event: disappears.route(peerAt(this.#index)) };
    }
    this.#generation = (this.#generation + 1) % 256;
    this.#state = before === "away" ? "joined" : "changed";
    const peer = peerAt(this.#index, this.#generation);
    return {
      change: { put: peer },
      event: before === "away" ? appears.route(peer) : appears.neighbour(peer),
    };
  }
}

/** Makes the next change of these slots at once and waits until the kernel has followed. */
async function timed(
  bed: Bed,
  prefix: string,
  events: KernelEvents,
  slots: readonly Slot[],
): Promise<Sample[]> {
  const steps = slots.map((slot) => slot.next());
  const seen = Promise.all(steps.map(({ event }) => events.next(event)));
  seen.catch(() => {}); // if the write fails first
  const startedMs = performance.now();
  await bed.etcd.apply(
    prefix,
    steps.map(({ change }) => change),
  );
  const putMs = performance.now() - startedMs;
  return (await seen).map((atMs) => ({ totalMs: atMs - startedMs, putMs }));
}

function summarize(how: string, samples: readonly Sample[]): Measurement[] {
  const total = samples.map(({ totalMs }) => totalMs);
  const put = samples.map(({ putMs }) => putMs);
  // What the daemon and the kernel add: the put itself is etcd's disk and network.
  const beyond = samples.map(({ totalMs, putMs }) => Math.max(0, totalMs - putMs));
  return ([0.5, 0.99] as const).flatMap((fraction) => {
    const name = fraction === 0.5 ? "p50" : "p99";
    return [
      {
        measure: `${how}, ${samples.length} events: ${name}`,
        value: quantile(total, fraction),
        unit: "ms",
        floor: quantile(put, fraction),
        bar: BARS_MS[name],
        ...(fraction === 0.5 ? { samples: total } : {}),
      },
      { measure: `${how}: ${name} after etcd's answer`, value: quantile(beyond, fraction), unit: "ms" },
    ];
  });
}
