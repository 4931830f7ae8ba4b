/**
 * flanneld in a cluster of 5,000 nodes of 8 KB: resident memory once it has settled after the start; before and after
 * 100,000 heartbeats of nodes, which concern no lease, what they cost and whether anything is done for them; and after
 * a watch that the API server has ended with 410 Gone, so that all nodes are listed again.
 */

import { silentLogger } from "../src/base/logger.ts";
import { createKubeLeaseStore, type KubeCounters } from "../src/lease/kube/kube-lease-store.ts";
import { openNotifications } from "../src/linux/notifications.ts";
import { ALL_GROUPS, monitor } from "../src/netlink/monitor.ts";
import type { Benchmark } from "./support/benchmark.ts";
import { Daemon } from "./support/daemon.ts";
import { PeerEntryCount } from "./support/kernel-events.ts";
import { BenchKube } from "./support/kube.ts";
import { processorMs, residentMb } from "./support/usage.ts";
import { steady, waitFor } from "./support/wait.ts";

const NODES = 5_000;
const NODE = "node-under-test";
const POD_CIDR = "10.0.1.0/24";
const MEMORY_BAR_MB = 110;
const HEARTBEATS = 100_000;
/** flanneld's two, and the reference client's one. */
const WATCHES = 3;
/** After the start flanneld gives back what it does not need when nothing happens: the first events bring it back. */
const WARM_UP_HEARTBEATS = 10_000;
const HALF = HEARTBEATS / 2;
/** Kubelets of 5,000 nodes make 17 a second (nodeStatusReportFrequency is 5 min), if all is well. */
const HEARTBEATS_PER_SECOND = 2_500;
/** What counts as flat: garbage comes and goes, but the second half of the heartbeats brings no higher peak than this. */
const GROWTH_BAR_MB = 5;
const SAMPLE_MS = 100;
/** Steady for longer than from one look of flanneld at its own memory to the next. */
const STEADY = { tolerance: 0.5, stableMs: 3_000, deadlineMs: 90_000 };

export const kubeMemory: Benchmark = {
  name: "kube-memory",
  async run({ bed, flanneld, progress }) {
    await using kube = await BenchKube.start(bed.address);
    await kube.call("addPeers", 0, NODES);
    await kube.call("addNode", NODE, POD_CIDR);
    await using host = await bed.host();
    progress(`${NODES} nodes`);
    using entries = new PeerEntryCount(host.path, NODES);
    await using daemon = new Daemon(host, { flanneld, pod: kube.pod(NODE), health: true });
    await daemon.brings("the last entry", entries.all, 120_000);
    await daemon.ready();
    const memory = () =>
      daemon.brings(
        "memory",
        steady("memory", () => residentMb(daemon.pid), STEADY),
        120_000,
      );
    const startMb = await memory();

    await using reference = await watchAlike(kube);
    let made = 0;
    /** Returns when they have come. */
    const heartbeats = async (count: number) => {
      progress(`${count.toLocaleString("en-US")} heartbeats`);
      made += count;
      await kube.call("heartbeats", count, HEARTBEATS_PER_SECOND);
      const isThrough = () => reference.counters().nodeEvents >= made || undefined;
      await waitFor("the last heartbeat", isThrough, { deadlineMs: 60_000 });
      return memory();
    };
    const highestOf = async (action: () => Promise<unknown>) => {
      using highest = new Highest(() => residentMb(daemon.pid));
      await action();
      return highest.value;
    };
    await heartbeats(WARM_UP_HEARTBEATS);
    const warmMs = processorMs(daemon.pid);
    const lists = await kube.call("requests", "list");
    using changes = new ChangesByProcesses(host.path);
    const firstMb = await highestOf(() => heartbeats(HALF));
    const secondMb = await highestOf(() => heartbeats(HALF));
    const heartbeatsMs = processorMs(daemon.pid) - warmMs;
    const listsInBetween = (await kube.call("requests", "list")) - lists;

    progress("410 Gone");
    const watches = await kube.call("requests", "watch");
    let listedMb = 0;
    const listingMb = await highestOf(async () => {
      await kube.call("expire");
      const isWatching = async () => (await kube.call("requests", "watch")) >= watches + WATCHES || undefined;
      await waitFor("the watches after 410", isWatching, { deadlineMs: 60_000 });
      listedMb = await memory();
    });
    host.expectComplete(NODES);
    await daemon.stop("SIGTERM");

    const nodes = `${NODES.toLocaleString("en-US")} nodes`;
    const halfOfBeats = `${HALF.toLocaleString("en-US")} heartbeats`;
    const beats = `${HEARTBEATS.toLocaleString("en-US")} heartbeats`;
    const resident = (when: string, value: number, bar?: number) => ({
      measure: `${nodes}: resident memory ${when}`,
      value,
      unit: "MB",
      bar,
    });
    return [
      resident("after the start", startMb, MEMORY_BAR_MB),
      resident(`with the first ${halfOfBeats}, highest`, firstMb, MEMORY_BAR_MB),
      resident(
        `with ${halfOfBeats} more, highest`,
        secondMb,
        Math.min(MEMORY_BAR_MB, firstMb + GROWTH_BAR_MB),
      ),
      resident("after another listing (410 Gone)", listedMb, MEMORY_BAR_MB),
      resident("meanwhile, highest", listingMb),
      { measure: `${beats}: changes in the kernel by any process`, value: changes.count, unit: "", bar: 0 },
      {
        measure: `${beats}: taken for changes of leases`,
        value: reference.counters().leaseChanges,
        unit: "",
        bar: 0,
      },
      { measure: `${beats}: listings`, value: listsInBetween, unit: "", bar: 0 },
      {
        measure: "processor time of 1,000 heartbeats",
        value: heartbeatsMs / (HEARTBEATS / 1_000),
        unit: "ms",
      },
    ];
  },
};

/** The store that flanneld has, in this process, where its counters can be read. */
async function watchAlike(
  kube: BenchKube,
): Promise<AsyncDisposable & { readonly counters: () => KubeCounters }> {
  const store = await createKubeLeaseStore(
    {
      annotationPrefix: "flannel.alpha.coreos.com",
      netConfigPath: kube.networkConfigFile,
      setNodeNetworkUnavailable: false,
      nodeName: NODE,
      serviceAccountDirectory: kube.account,
    },
    { logger: silentLogger, environment: kube.environment },
  );
  const stop = new AbortController();
  const updates = store.watchLeases(stop.signal)[Symbol.asyncIterator]();
  await updates.next(); // the snapshot
  const watching = (async () => {
    while (!(await updates.next()).done);
  })();
  return {
    counters: () => store.counters,
    async [Symbol.asyncDispose]() {
      stop.abort();
      await watching;
      await store[Symbol.asyncDispose]();
    },
  };
}

/** The highest of values taken again and again until it is disposed of. */
class Highest implements Disposable {
  value = 0;
  readonly #timer: NodeJS.Timeout;

  constructor(read: () => number) {
    this.#timer = setInterval(() => {
      this.value = Math.max(this.value, read());
    }, SAMPLE_MS);
  }

  [Symbol.dispose](): void {
    clearInterval(this.#timer);
  }
}

/** What processes change in a namespace: links, addresses, routes, neighbours. */
class ChangesByProcesses implements Disposable {
  readonly #source;
  count = 0;

  constructor(netns: string) {
    this.#source = openNotifications({ netns, groups: ALL_GROUPS });
    void this.#follow();
  }

  async #follow(): Promise<void> {
    for await (const batch of monitor(this.#source)) {
      // Number 0: the kernel by itself, as when it looks for a neighbour; also for VXLAN's FDB entries.
      this.count += batch.filter(
        (one) => one.type === "overrun" || one.type === "fdb" || one.portId !== 0,
      ).length;
    }
  }

  [Symbol.dispose](): void {
    this.#source[Symbol.dispose]();
  }
}
