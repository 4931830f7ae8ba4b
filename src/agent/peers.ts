/** Follows the leases of the network, and says what changed among the peers in the words of an operator. */

import { formatIp } from "../address/ip.ts";
import type { PeerProblem } from "../backend/backend.ts";
import type { Logger } from "../base/logger.ts";
import type { Lease } from "../lease/lease.ts";
import type { LeaseUpdate } from "../lease/lease-store.ts";
import { describeSubnets } from "./lease-keeper.ts";

/** One line for an update that changed something; a snapshot is one line however many leases it holds. */
export function logLeaseUpdate(logger: Logger, update: LeaseUpdate, before: Lease | undefined): void {
  switch (update.type) {
    case "snapshot":
      logger.info(`Leases in the network: ${update.leases.length}`);
      break;
    case "put":
      logger.info(`Peer ${before === undefined ? "joined" : "changed"}: ${describePeer(update.lease)}`);
      break;
    case "delete":
      logger.info(`Peer left: ${before === undefined ? update.key : describePeer(before)}`);
      break;
  }
}

function describePeer(lease: Lease): string {
  const { publicIp, publicIpv6, backendType } = lease.attributes;
  const addresses = [publicIp, publicIpv6].flatMap((ip) => (ip === undefined ? [] : [formatIp(ip)]));
  return `${describeSubnets(lease.subnets)} at ${addresses.join(", ") || "no address"} (${backendType || "no backend type"})`;
}

/** Says each problem once while it lasts. */
export class ProblemLog {
  readonly #logger: Logger;
  #known = new Set<string>();

  constructor(logger: Logger) {
    this.#logger = logger;
  }

  report(problems: readonly PeerProblem[]): void {
    if (problems.length === 0 && this.#known.size === 0) return;
    const now = new Set<string>();
    for (const { key, message } of problems) {
      const line = `Peer ${key} cannot be reached: ${message}`;
      now.add(line);
      if (!this.#known.has(line)) this.#logger.warn(line);
    }
    this.#known = now;
  }
}
