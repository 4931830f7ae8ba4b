/** The peers of this host: follows the leases of the network, and says what changed in the words of an operator. */

import { formatIp } from "../address/ip.ts";
import type { PeerProblem } from "../backend/backend.ts";
import type { Logger } from "../base/logger.ts";
import { describeSubnets, type Lease } from "../lease/lease.ts";
import { encodeLeaseKey } from "../lease/lease-codec.ts";
import type { LeaseStore, LeaseUpdate } from "../lease/lease-store.ts";
import { createLeaseTable, type LeaseTable, type SharedPublicIp } from "../lease/lease-table.ts";
import type { LeaseKeeper } from "./lease-keeper.ts";

export class PeerFollower {
  readonly table: LeaseTable = createLeaseTable();
  readonly #store: LeaseStore;
  readonly #keeper: LeaseKeeper;
  readonly #logger: Logger;
  readonly #replan: () => void;
  #isKnown = false;
  #isReplanDue = false;

  /** `replan` is called in the turn after a change: a burst of changes costs one plan. */
  constructor(store: LeaseStore, keeper: LeaseKeeper, logger: Logger, replan: () => void) {
    this.#store = store;
    this.#keeper = keeper;
    this.#logger = logger;
    this.#replan = replan;
  }

  /** Whether the leases were seen yet: until then, nobody can tell which routes of an earlier run are stale. */
  get isKnown(): boolean {
    return this.#isKnown;
  }

  /** Follows the leases until aborted. */
  async run(signal: AbortSignal): Promise<void> {
    for await (const update of this.#store.watchLeases(signal)) this.#take(update);
  }

  #take(update: LeaseUpdate): void {
    const key = keyOf(update);
    const before = key === undefined ? undefined : this.table.get(key);
    const ownKey = this.#keeper.own?.key;
    const isChanged = this.table.apply(update);
    // The first snapshot may be the listing from which the lease was taken: it need not hold the lease yet.
    const tellsOfOwn = key === undefined ? this.#isKnown : key === ownKey;
    if (ownKey !== undefined && tellsOfOwn) this.#keeper.observe(this.table.get(ownKey));
    if (isChanged && key !== ownKey) logUpdate(this.#logger, update, before);
    if (isChanged || !this.#isKnown) this.#replanSoon();
    this.#isKnown = true;
  }

  #replanSoon(): void {
    if (this.#isReplanDue) return;
    this.#isReplanDue = true;
    setImmediate(() => {
      this.#isReplanDue = false;
      this.#replan();
    });
  }
}

const keyOf = (update: LeaseUpdate): string | undefined =>
  update.type === "snapshot" ? undefined : update.type === "put" ? update.lease.key : update.key;

/** One line for an update that changed something; a snapshot is one line however many leases it holds. */
function logUpdate(logger: Logger, update: LeaseUpdate, before: Lease | undefined): void {
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
  // In etcd the key is the subnets; in Kubernetes it says more: the node's name.
  const name = lease.key === encodeLeaseKey(lease.subnets) ? "" : `${lease.key}, `;
  return `${name}${describeSubnets(lease.subnets)} at ${addresses.join(", ") || "no address"} (${backendType || "no backend type"})`;
}

/**
 * Peers that name a public address which another host names too. Both stay programmed: nobody here can tell which of the
 * two really has it, and that one is to be reached. What has a problem already is not told again.
 */
export function sharedAddressProblems(
  shared: readonly SharedPublicIp[],
  ownKey: string | undefined,
  told: readonly PeerProblem[],
): PeerProblem[] {
  if (shared.length === 0) return [];
  const toldOf = new Set(told.map(({ key }) => key));
  return shared.flatMap(({ ip, leases }) => {
    const keys = leases.map(({ key }) => key).sort((a, b) => (a < b ? -1 : 1));
    const first = keys.find((key) => key === ownKey) ?? keys[0]!;
    return keys
      .filter((key) => key !== first && !toldOf.has(key))
      .map((key) => ({
        key,
        message: `its public IP ${formatIp(ip)} is also that of ${first === ownKey ? "this host" : first}, and packets reach only one of the two: give the other one another with --public-ip or --iface`,
      }));
  });
}

/** An interface that goes down may take thousands of peers along. */
const LINES_AT_ONCE = 10;

/** Says each problem once while it lasts. */
export class ProblemLog {
  readonly #logger: Logger;
  #known = new Set<string>();

  constructor(logger: Logger) {
    this.#logger = logger;
  }

  report(problems: readonly PeerProblem[]): void {
    if (problems.length === 0 && this.#known.size === 0) return;
    const now = new Set(problems.map(({ key, message }) => `Peer ${key} cannot be reached: ${message}`));
    const fresh = [...now].filter((line) => !this.#known.has(line));
    for (const line of fresh.slice(0, LINES_AT_ONCE)) this.#logger.warn(line);
    if (fresh.length > LINES_AT_ONCE)
      this.#logger.warn(`${fresh.length - LINES_AT_ONCE} more peers cannot be reached`);
    this.#known = now;
  }
}
