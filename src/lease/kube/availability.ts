/**
 * The node condition NetworkUnavailable: as long as it is true, or missing where a cloud provider set the taint, no pod is
 * scheduled on the node. flanneld sets it to false, with retries (W15), and again when that is undone.
 */

import { sleep } from "../../base/timers.ts";
import type { OutagePorts } from "../outage.ts";
import type { KubeTimings } from "./kube-options.ts";
import type { OwnNodeRecord } from "./node-record.ts";
import type { OwnNode } from "./own-node.ts";
import { createContest, persist } from "./persist.ts";

const REASON = "FlannelIsUp";
const MESSAGE = "Flannel is running on this node";

/** An outage's ports, and the wall clock in ms since the epoch, for the condition's lastTransitionTime. */
export interface AvailabilityPorts extends OutagePorts {
  readonly wallClockMs: () => number;
}

/** Until aborted; never throws. */
export async function keepAvailable(
  node: OwnNode,
  timings: KubeTimings,
  ports: AvailabilityPorts,
  signal: AbortSignal,
): Promise<void> {
  const contest = createContest(timings.contestMaxMs, ports.timers);
  /** At first the reason has to be flannel's too; later another program may report that the network works. */
  let isEnough = (record: OwnNodeRecord) =>
    isAvailable(record) && record.networkUnavailable?.reason === REASON;
  /** It was undone and not yet set again. */
  let isUndone = false;
  while (!signal.aborted) {
    const seen = node.changes;
    await persist(
      "report to Kubernetes that the network of this node works",
      async () => {
        if (isEnough(await node.read())) return;
        if (isUndone) {
          isUndone = false;
          ports.logger.info("Condition NetworkUnavailable of this node is true again; setting it to false");
          await sleep(ports.timers, contest.next().pauseMs, signal);
          if (signal.aborted) return;
        }
        await node.patch({ status: { conditions: [conditionAt(ports.wallClockMs())] } });
      },
      timings,
      ports,
      signal,
    );
    isEnough = isAvailable;
    isUndone = true;
    await changeFor(node, seen, (record) => !isAvailable(record), signal);
  }
}

/** Resolves once the watch has seen such a node, after `seen` changes. */
async function changeFor(
  node: OwnNode,
  seen: number,
  isSo: (record: OwnNodeRecord) => boolean,
  signal: AbortSignal,
): Promise<void> {
  let changes = seen;
  do {
    await node.changedSince(changes, signal);
    changes = node.changes;
  } while (!signal.aborted && (node.record === undefined || !isSo(node.record)));
}

const isAvailable = ({ networkUnavailable }: OwnNodeRecord): boolean =>
  networkUnavailable?.status === "False";

function conditionAt(wallClockMs: number) {
  const now = new Date(wallClockMs).toISOString().replace(/\.\d+Z$/, "Z");
  return {
    type: "NetworkUnavailable",
    status: "False",
    reason: REASON,
    message: MESSAGE,
    lastTransitionTime: now,
    lastHeartbeatTime: now,
  };
}
