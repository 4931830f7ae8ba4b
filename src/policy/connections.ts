/**
 * Connections that began before a policy forbade them. Packets of known connections are not judged again, so the ids of those
 * that are forbidden now are put into a set whose members are dropped in both directions. Deleting them from the kernel's table
 * would not do: the next packet, also one from the server, would begin a connection anew, as its first packet, perhaps
 * in a direction that nobody forbids.
 */

import { judge } from "./judge.ts";
import type { DesiredFilter } from "./model.ts";

/** A connection that the kernel tracks. */
export interface TrackedConnection {
  /** As `ct id` of nft(8) and CTA_ID have it. */
  readonly id: number;
  readonly source: string;
  /** Where packets go after translation of the destination. */
  readonly destination: string;
  /** "TCP", "UDP", "SCTP", or a number. */
  readonly protocol: string;
  /** Destination port after translation; 0 = the protocol has none. */
  readonly port: number;
}

/** The kernel's table of connections. */
export interface ConnectionTable {
  /** All connections. Throws FlannelError. */
  list(): Promise<readonly TrackedConnection[]>;
  /** The node's own addresses, whose connections no policy concerns. */
  nodeAddresses(): Promise<ReadonlySet<string>>;
}

/** The ids of connections that the filter would not let begin now. */
export function forbiddenConnections(
  filter: DesiredFilter,
  connections: readonly TrackedConnection[],
  nodeAddresses: ReadonlySet<string>,
): Set<number> {
  const ids = new Set<number>();
  for (const connection of connections) {
    const { id, source, destination } = connection;
    const isFiltered = filter.egress.has(source) || filter.ingress.has(destination);
    if (!isFiltered && filter.pods === undefined) continue;
    if (nodeAddresses.has(source) || nodeAddresses.has(destination)) continue;
    if (!judge(filter, connection).isAllowed) ids.add(id);
  }
  return ids;
}
