/**
 * The nodes of a cluster as leases. Nodes change all the time (heartbeats, images, conditions); only changes of a lease are
 * reported: of either family, of any podCIDR, and that flannel no longer manages a node (W13, W14).
 */

import type { Logger } from "../../base/logger.ts";
import type { LeaseUpdate } from "../lease-store.ts";
import { createLeaseView, type LeaseEntry } from "../lease-view.ts";
import type { OutagePorts } from "../outage.ts";
import { leaseOfNode } from "./node-lease.ts";
import { type NodeRecord, type PackedNode, packNode, unpackNode } from "./node-record.ts";
import { type ObjectSource, watchObjects } from "./object-watch.ts";

/** A wrong setting may concern thousands of nodes. */
const LINES_AT_ONCE = 10;

/** What is counted while watching; see KubeCounters. */
export interface LeaseWatchCounts {
  nodeEvents: number;
  leaseChanges: number;
  relists: number;
}

/** Until aborted; never throws. `asHeld` returns the own node as this host publishes it. */
export async function* watchNodeLeases(
  source: ObjectSource<PackedNode>,
  asHeld: (node: NodeRecord) => NodeRecord,
  counts: LeaseWatchCounts,
  ports: OutagePorts,
  signal: AbortSignal,
): AsyncGenerator<LeaseUpdate, void> {
  const capped = capWarnings(ports.logger);
  const view = createLeaseView("Kubernetes", capped.logger);
  /** The last known text of each node. */
  let known: Map<string, string> | undefined;
  /** For the own node the text of what it publishes, so that its repair is no change. */
  const take = (packed: PackedNode): NodeRecord => {
    const node = unpackNode(packed);
    const held = asHeld(node);
    known!.set(packed.name, held === node ? packed.text : packNode(held).text);
    return held;
  };
  for await (const update of watchObjects(source, ports, signal)) {
    if (update.type === "snapshot") {
      if (known !== undefined) counts.relists++;
      known = new Map();
      const snapshot = view.snapshot(update.objects.map(take).flatMap(entryOf));
      capped.flush();
      yield snapshot;
      continue;
    }
    counts.nodeEvents++;
    const change = update.type === "put" ? put(update.object) : remove(update.object.name);
    if (change === undefined) continue;
    counts.leaseChanges++;
    yield change;
  }

  function put(packed: PackedNode): LeaseUpdate | undefined {
    const before = known!.get(packed.name);
    if (before === packed.text) return undefined;
    const node = take(packed);
    if (known!.get(packed.name) === before) return undefined;
    const [entry] = entryOf(node);
    return entry === undefined ? view.delete(node.name) : view.put(entry);
  }

  function remove(name: string): LeaseUpdate | undefined {
    known!.delete(name);
    return view.delete(name);
  }
}

function entryOf(node: NodeRecord): LeaseEntry[] {
  const content = leaseOfNode(node);
  return content === undefined ? [] : [[node.name, content]];
}

/** Passes a few warnings, and counts the others for one line. */
function capWarnings(logger: Logger): { readonly logger: Logger; readonly flush: () => void } {
  let warnings = 0;
  return {
    logger: {
      info: (message) => logger.info(message),
      error: (message) => logger.error(message),
      debug: (message, verbosity) => logger.debug(message, verbosity),
      warn(message) {
        if (warnings++ < LINES_AT_ONCE) logger.warn(message);
      },
    },
    flush() {
      if (warnings > LINES_AT_ONCE)
        logger.warn(`${warnings - LINES_AT_ONCE} more nodes cannot be used as they are`);
      warnings = 0;
    },
  };
}
