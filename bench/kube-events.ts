/**
 * From a node that is annotated to the route on every other node, with as many watches as 50 flannelds have: three hosts
 * with flanneld at rest, and 47 times its watches, in a network of 1,000 nodes of 8 KB. The clock starts before the PATCH of
 * nodes/status that the new node's flanneld would make, and stops with the last host's notification by its kernel. The
 * PATCH itself, until the API server has answered, is the floor.
 */

import type { Benchmark } from "./support/benchmark.ts";
import { Daemon } from "./support/daemon.ts";
import { appears, disappears, KernelEvents } from "./support/kernel-events.ts";
import { BenchKube } from "./support/kube.ts";
import { type Measurement, quantile } from "./support/measurement.ts";
import { peerAt } from "./support/peers.ts";
import { residentMb } from "./support/usage.ts";
import { steady, waitFor } from "./support/wait.ts";

const NODES = 1_000;
const AGENTS = 50;
const HOSTS = 3;
/** Nodes that join, one after the other or all at once. */
const JOINING = 50;
const P99_BAR_MS = 50;
const STEADY = { tolerance: 0.5, stableMs: 2_000 };

interface Sample {
  readonly totalMs: number;
  readonly patchMs: number;
}

export const kubeEvents: Benchmark = {
  name: "kube-events",
  async run({ bed, flanneld, turns, progress }) {
    await using kube = await BenchKube.start(bed.address);
    await kube.call("addPeers", 0, NODES);
    await kube.call("addPeers", NODES, NODES + JOINING, true);
    await using stack = new AsyncDisposableStack();
    // First in the server's row, as the worst case for the hosts.
    await kube.addWatchers(AGENTS - HOSTS);
    const hosts: { readonly daemon: Daemon; readonly events: KernelEvents }[] = [];
    for (let index = 0; index < HOSTS; index++) {
      const name = `node-${index}`;
      await kube.call("addNode", name, `10.0.${index + 1}.0/24`);
      const host = stack.use(await bed.host());
      const daemon = stack.use(new Daemon(host, { flanneld, pod: kube.pod(name), health: true }));
      await daemon.ready();
      hosts.push({ daemon, events: stack.use(new KernelEvents(host.path)) });
    }
    await waitFor("all watches", async () => (await kube.call("watches")) === 2 * AGENTS || undefined);

    // A second after its start flanneld tidies up, for some 10 to 50 ms: that is no part of an event's way.
    for (const { daemon } of hosts) await steady("memory", () => residentMb(daemon.pid), STEADY);

    const seenEverywhere = async (event: string): Promise<number> => {
      return Math.max(...(await Promise.all(hosts.map(({ events }) => events.next(event)))));
    };
    /** Fails at once if a flanneld ends meanwhile. */
    const step = <T>(work: Promise<T>): Promise<T> =>
      hosts.reduce((rest, { daemon }) => daemon.brings("the events", rest), work);
    let generation = 0;
    const join = async (offset: number): Promise<Sample> => {
      const index = NODES + offset;
      const seen = seenEverywhere(appears.route(peerAt(index)));
      seen.catch(() => {}); // if the patch fails first
      const startedMs = performance.now();
      await kube.annotate(index, generation);
      const patchMs = performance.now() - startedMs;
      return { totalMs: (await seen) - startedMs, patchMs };
    };
    const leave = async (offset: number): Promise<void> => {
      const index = NODES + offset;
      const gone = seenEverywhere(disappears.route(peerAt(index)));
      gone.catch(() => {});
      await kube.call("strip", index);
      await gone;
    };

    const everyone = Array.from({ length: JOINING }, (_, offset) => offset);
    const single: Sample[] = [];
    const burst: Sample[] = [];
    for (let turn = 1; turn <= turns; turn++) {
      progress(`turn ${turn} of ${turns}`);
      generation = (2 * turn) % 256;
      for (const offset of everyone) single.push(await step(join(offset)));
      await step(Promise.all(everyone.map(leave)));
      generation = (2 * turn + 1) % 256;
      burst.push(...(await step(Promise.all(everyone.map(join)))));
      await step(Promise.all(everyone.map(leave)));
    }
    for (const { daemon } of hosts) await daemon.stop("SIGTERM");
    return [...summarize("one at a time", single, P99_BAR_MS), ...summarize(`${JOINING} at a time`, burst)];
  },
};

function summarize(how: string, samples: readonly Sample[], p99BarMs?: number): Measurement[] {
  const totalMs = samples.map((sample) => sample.totalMs);
  const patchMs = samples.map((sample) => sample.patchMs);
  return ([0.5, 0.99] as const).map((fraction) => ({
    measure: `annotation to the route on every node, ${how}, ${samples.length} events: ${fraction === 0.5 ? "p50" : "p99"}`,
    value: quantile(totalMs, fraction),
    unit: "ms",
    floor: quantile(patchMs, fraction),
    ...(fraction === 0.99 ? { bar: p99BarMs } : { samples: totalMs }),
  }));
}
