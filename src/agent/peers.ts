/**
 * The peers of this host: follows the leases of the network and logs what changed.
 *
 * A lease that disappears (deleted, revoked, expired) counts for one more second. A host that lives notices the loss and
 * acquires its lease again within some 40 ms, and no packet is lost meanwhile. A lease of another host for the same
 * subnet, or of the same host for another one, ends that second at once. The same holds for every datastore.
 */

import { formatIp } from "../address/ip.ts";
import type { PeerProblem } from "../backend/backend.ts";
import type { Logger } from "../base/logger.ts";
import type { Timers } from "../base/timers.ts";
import { describeSubnets, type Lease, overlapsPair } from "../lease/lease.ts";
import { encodeLeaseKey } from "../lease/lease-codec.ts";
import type { LeaseStore, LeaseUpdate } from "../lease/lease-store.ts";
import { createLeaseTable, type LeaseTable, type SharedPublicIp } from "../lease/lease-table.ts";
import { replaces } from "../lease/lost-data.ts";
import { byEstablishment } from "../lease/precedence.ts";
import type { LeaseChanges } from "../recorder/input-changes.ts";
import type { LeaseKeeper } from "./lease-keeper.ts";

export interface PeerFollowerPorts {
  readonly store: LeaseStore;
  readonly logger: Logger;
  readonly timers: Timers;
}

/** How long a lease counts after it disappeared. */
const RETURN_MS = 1_000;

/** A lease that disappeared and still counts. */
interface DepartedPeer {
  readonly lease: Lease;
  readonly callOff: () => void;
}

export class PeerFollower {
  /** The leases as the datastore has them. */
  readonly table: LeaseTable = createLeaseTable();
  readonly #departed = new Map<string, DepartedPeer>();
  readonly #store: LeaseStore;
  readonly #keeper: Pick<LeaseKeeper, "own" | "observe">;
  readonly #logger: Logger;
  readonly #timers: Timers;
  readonly #replan: () => void;
  readonly #onNews: (message: string, lease?: Lease) => void;
  readonly #onLeases: (changes: LeaseChanges) => void;
  #isKnown = false;
  #isReplanDue = false;

  /**
   * `replan` is called in the turn after a change: a burst of changes costs one plan. `onNews` receives what is logged, with
   * the lease if it is about one; `onLeases` receives what counts from then on.
   */
  constructor(
    { store, logger, timers }: PeerFollowerPorts,
    keeper: Pick<LeaseKeeper, "own" | "observe">,
    replan: () => void,
    onNews: (message: string, lease?: Lease) => void = () => {},
    onLeases: (changes: LeaseChanges) => void = () => {},
  ) {
    this.#store = store;
    this.#keeper = keeper;
    this.#logger = logger;
    this.#timers = timers;
    this.#replan = replan;
    this.#onNews = onNews;
    this.#onLeases = onLeases;
  }

  /** Whether the leases were received yet: until then it is unknown which routes of an earlier run are stale. */
  get isKnown(): boolean {
    return this.#isKnown;
  }

  /** The leases of the other hosts, including those that disappeared just now. */
  peers(): readonly Lease[] {
    const listed = this.table.peers(this.#keeper.own?.key);
    return this.#departed.size === 0
      ? listed
      : [...listed, ...this.#departed.values().map(({ lease }) => lease)];
  }

  /** Follows the leases until aborted. */
  async run(signal: AbortSignal): Promise<void> {
    try {
      for await (const update of this.#store.watchLeases(signal)) this.#take(update);
    } finally {
      for (const { callOff } of this.#departed.values()) callOff();
    }
  }

  #take(update: LeaseUpdate): void {
    const key = keyOf(update);
    const before = key === undefined ? undefined : this.table.get(key);
    const listedBefore = update.type === "snapshot" && this.#isKnown ? this.table.peers(undefined) : [];
    const ownKey = this.#keeper.own?.key;
    const isChanged = this.table.apply(update);
    const hasReturned = update.type === "put" && this.#departed.has(update.lease.key);
    const displaced = this.#displaceDeparted(update);
    const gone = (update.type === "delete" ? (before === undefined ? [] : [before]) : listedBefore).filter(
      (lease) => this.table.get(lease.key) === undefined,
    );
    for (const lease of gone) if (lease.key !== ownKey) this.#depart(lease);
    this.#onLeases({
      ...this.#writtenBy(update, { isChanged, before, listedBefore }),
      gone: [...displaced, ...gone.filter(({ key }) => key === ownKey)]
        .map(({ key }) => key)
        .filter((key) => this.table.get(key) === undefined),
    });
    // The first snapshot may be the listing before the own lease was acquired: it need not contain the lease yet.
    const concernsOwn = key === undefined ? this.#isKnown : key === ownKey;
    if (ownKey !== undefined && concernsOwn) this.#keeper.observe(this.table.get(ownKey));
    if (isChanged && key !== ownKey) this.#reportUpdate(update, before, hasReturned);
    if (isChanged || displaced.length > 0 || !this.#isKnown) this.#replanSoon();
    this.#isKnown = true;
  }

  /** The leases that an update wrote, by whether anything but the time of their renewal changed. */
  #writtenBy(
    update: LeaseUpdate,
    {
      isChanged,
      before,
      listedBefore,
    }: {
      readonly isChanged: boolean;
      readonly before: Lease | undefined;
      readonly listedBefore: readonly Lease[];
    },
  ): Pick<LeaseChanges, "changed" | "renewed"> {
    const { table } = this;
    if (update.type === "delete") return { changed: [], renewed: [] };
    if (update.type === "put") {
      const lease = table.get(update.lease.key)!;
      if (lease === before) return { changed: [], renewed: [] };
      const isRenewal = !isChanged && lease.establishedAt === before?.establishedAt;
      return isRenewal ? { changed: [], renewed: [lease] } : { changed: [lease], renewed: [] };
    }
    const known = new Map(listedBefore.map((lease) => [lease.key, lease]));
    const changed = table.peers(undefined).filter((lease) => known.get(lease.key) !== lease);
    return { changed, renewed: [] };
  }

  #report(message: string, lease?: Lease): void {
    this.#logger.info(message);
    this.#onNews(message, lease);
  }

  /** One line for an update that changed something; a snapshot is one line however many leases it holds. */
  #reportUpdate(update: LeaseUpdate, before: Lease | undefined, hasReturned: boolean): void {
    if (update.type === "snapshot") this.#report(`Leases in the network: ${update.leases.length}`);
    else if (update.type === "put") {
      const what = hasReturned ? "acquired its lease again" : before === undefined ? "joined" : "changed";
      this.#report(`Peer ${what}: ${describePeer(update.lease)}`, update.lease);
    } // a deletion is reported when the lease no longer counts
  }

  #depart(lease: Lease): void {
    const callOff = this.#timers.after(RETURN_MS, () => {
      this.#departed.delete(lease.key);
      if (this.table.get(lease.key) === undefined)
        this.#onLeases({ changed: [], renewed: [], gone: [lease.key] });
      this.#report(`Peer left: ${describePeer(lease)}`, lease);
      this.#replanSoon();
    });
    this.#departed.set(lease.key, { lease, callOff });
  }

  /** Ends what contradicts the update, and returns it. */
  #displaceDeparted(update: LeaseUpdate): readonly Lease[] {
    if (this.#departed.size === 0 || update.type === "delete") return [];
    const leases = update.type === "put" ? [update.lease] : update.leases;
    const displaced = [...this.#departed.values()].filter((departed) =>
      leases.some((lease) => replaces(lease, departed.lease)),
    );
    for (const { lease, callOff } of displaced) {
      callOff();
      this.#departed.delete(lease.key);
    }
    return displaced.map(({ lease }) => lease);
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
