/** The peers of this host: follows the leases of the network, and says what changed in the words of an operator. */

import { formatIp } from "../address/ip.ts";
import type { PeerProblem } from "../backend/backend.ts";
import type { Logger } from "../base/logger.ts";
import { describeSubnets, type Lease, overlapsPair } from "../lease/lease.ts";
import { encodeLeaseKey } from "../lease/lease-codec.ts";
import type { LeaseStore, LeaseUpdate } from "../lease/lease-store.ts";
import { createLeaseTable, type LeaseTable, type SharedPublicIp } from "../lease/lease-table.ts";
import { byEstablishment } from "../lease/precedence.ts";
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
 * Peers that publish a public IP which another host publishes too. All of them stay programmed: this host does not know
 * which of them has the address, and that one is to be reached. Peers in `reported` have a problem already.
 */
export function sharedAddressProblems(
  shared: readonly SharedPublicIp[],
  ownKey: string | undefined,
  reported: readonly PeerProblem[],
): PeerProblem[] {
  if (shared.length === 0) return [];
  const reportedKeys = new Set(reported.map(({ key }) => key));
  return shared.flatMap(({ ip, leases }) => {
    const keys = leases.toSorted(byEstablishment).map(({ key }) => key);
    const first = keys.find((key) => key === ownKey) ?? keys[0]!;
    return keys
      .filter((key) => key !== first && !reportedKeys.has(key))
      .map((key) => ({
        key,
        message: `its public IP ${formatIp(ip)} is also that of ${first === ownKey ? "this host" : first}, and packets reach only one of the two; give the other one another address with --public-ip or --iface`,
        isProgrammed: true,
      }));
  });
}

/**
 * Why the peers do not route to this host: its subnet overlaps one that another host established first. `own` and `peers`
 * are as the datastore lists them.
 */
export function ownSubnetProblems(own: Lease | undefined, peers: readonly Lease[]): string[] {
  if (own === undefined) return [];
  return peers
    .filter((peer) => overlapsPair(peer.subnets, own.subnets) && byEstablishment(peer, own) < 0)
    .map(
      (peer) =>
        `Peers do not route to this host: its subnet ${describeSubnets(own.subnets)} overlaps ${describeSubnets(peer.subnets)} of ${peer.key}, which was established first; give one of the two hosts another subnet`,
    );
}

/** An interface that goes down may take thousands of peers along. */
const LINES_AT_ONCE = 10;

/** Logs each problem once while it lasts. */
export class ProblemLog {
  readonly #logger: Logger;
  #known = new Set<string>();

  constructor(logger: Logger) {
    this.#logger = logger;
  }

  /** The problems that last, one line each; many are counted. */
  get lines(): string[] {
    const lines = [...this.#known];
    const more = lines.length - LINES_AT_ONCE;
    return more > 0 ? [...lines.slice(0, LINES_AT_ONCE), `${more} more peers cannot be reached`] : lines;
  }

  /** Replaces the known problems. `others` are problems of this host, as whole lines. */
  report(problems: readonly PeerProblem[], others: readonly string[] = []): void {
    if (problems.length + others.length === 0 && this.#known.size === 0) return;
    const now = new Set([...others, ...problems.map(describeProblem)]);
    const fresh = [...now].filter((line) => !this.#known.has(line));
    for (const line of fresh.slice(0, LINES_AT_ONCE)) this.#logger.warn(line);
    if (fresh.length > LINES_AT_ONCE)
      this.#logger.warn(`${fresh.length - LINES_AT_ONCE} more peers cannot be reached`);
    this.#known = now;
  }
}

const describeProblem = ({ key, message, isProgrammed }: PeerProblem): string =>
  isProgrammed ? `Peer ${key} may be unreachable: ${message}` : `Peer ${key} cannot be reached: ${message}`;
