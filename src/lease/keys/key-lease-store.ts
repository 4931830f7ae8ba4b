/**
 * The lease store over a key-value store, sharing keys and values with Go flannel.
 *
 * A start costs the same few requests whatever the number of leases (W5): the config, one listing, a grant, the write
 * (and a second listing where the store has no transactions); the watches continue from what was read.
 */

import { messageOf, StoreError } from "../../base/error.ts";
import { acquireLease } from "../acquire.ts";
import type { LeaseAttributes, OwnLease, SubnetPair } from "../lease.ts";
import { encodeLeaseValue } from "../lease-codec.ts";
import type { AcquireRequest, LeaseStore, LeaseUpdate } from "../lease-store.ts";
import { createLeaseView } from "../lease-view.ts";
import { outliveLostData, type StoreUpdate, snapshotAfterLoss } from "../lost-data.ts";
import { renewLease } from "../renewal.ts";
import { StreamScope } from "../stream-scope.ts";
import { completePorts, type KeyStorePorts } from "./key-store-ports.ts";
import type {
  KeyLife,
  KeyListing,
  KeyRecord,
  KeyUpdate,
  KeyUpdates,
  KeyValueStore,
  KeyWatch,
  WrittenKey,
} from "./key-value-store.ts";
import {
  configKeyOf,
  createLease,
  type DecodedRecord,
  decodeRecord,
  isOutranked,
  leaseEntryOf,
  leasePathOf,
  namesSubnet,
} from "./lease-keys.ts";

/** A LeaseStore that counts its requests, for tests and benchmarks of what a start costs. */
export interface KeyLeaseStore extends LeaseStore {
  /** Requests made so far; a stream counts as one. */
  readonly requestCount: number;
}

/** A lease store over `store`, which it disposes when it is disposed itself. Nothing is sent yet. */
export const createKeyLeaseStore = <Position>(
  store: KeyValueStore<Position>,
  ports: KeyStorePorts,
): KeyLeaseStore => new Store(store, completePorts(ports));

/** The leases at one time, and where a watch on them continues. */
interface LeaseListing<Position> {
  readonly decoded: readonly DecodedRecord[];
  readonly position: Position;
}

class Store<Position> implements KeyLeaseStore {
  readonly #store: KeyValueStore<Position>;
  readonly #ports: Required<KeyStorePorts>;
  readonly #configKey: string;
  readonly #leasePath: string;
  readonly #disposed = new AbortController();
  /** Where watches that begin later continue; for leases only kept until there is one. */
  #configAtStart: KeyListing<Position> | undefined;
  #leasesAtStart: LeaseListing<Position> | undefined;
  #leaseWatches = 0;
  /** The record of the own lease, as last written. */
  #held: KeyRecord | undefined;
  #own: OwnLease | undefined;

  constructor(store: KeyValueStore<Position>, ports: Required<KeyStorePorts>) {
    this.#store = store;
    this.#ports = ports;
    this.#configKey = configKeyOf(store);
    this.#leasePath = leasePathOf(store);
  }

  get requestCount(): number {
    return this.#store.requestCount;
  }

  async readNetworkConfig(): Promise<string> {
    const { name, putCommand } = this.#store;
    this.#configAtStart = await this.#store.list(this.#configKey);
    const text = this.#configIn(this.#configAtStart.records);
    if (text === undefined) {
      this.#ports.onMissingConfig();
      throw new StoreError(
        "NOT_FOUND",
        `no network config in ${name}; write one: ${putCommand} ${this.#configKey} '{"Network":"10.5.0.0/16","Backend":{"Type":"vxlan"}}'`,
      );
    }
    return text;
  }

  async *watchNetworkConfig(signal: AbortSignal): AsyncGenerator<string | undefined, void> {
    const listing = this.#configAtStart;
    if (listing !== undefined) yield this.#configIn(listing.records);
    const start = listing?.position;
    const watch = { path: this.#configKey, start, what: "the network config", signal };
    for await (const update of this.#watch(watch)) {
      if (update.type === "snapshot") yield this.#configIn(update.records);
      else yield update.type === "put" ? this.#configIn([update.record]) : undefined;
    }
  }

  async acquire(request: AcquireRequest): Promise<OwnLease> {
    const store = this.#store;
    const { logger, random } = this.#ports;
    let life: KeyLife | undefined;
    let listing: LeaseListing<Position> | undefined;
    const listed = () => listing!.decoded.filter(namesSubnet);
    const keep = (written: WrittenKey | undefined, subnets: SubnetPair, attributes: LeaseAttributes) => {
      this.#held = undefined;
      return written && this.#hold(written, subnets, attributes);
    };
    try {
      const lease = await acquireLease(
        {
          list: async () => {
            listing = this.#decode(await store.list(this.#leasePath));
            return listed();
          },
          create: async (subnets, attributes) => {
            life ??= await store.grant();
            const created = await createLease(store, subnets, attributes, life, listing!.position);
            if (created?.listing !== undefined) listing = this.#decode(created.listing);
            return keep(created, subnets, attributes);
          },
          refresh: async (stored, attributes) => {
            // Left by a process that ended before it could look for rivals.
            if (!store.createsAtomically && isOutranked(stored, listed())) {
              await store.remove(stored.record);
              return undefined;
            }
            const written = await store.extend(stored.record, encodeLeaseValue(attributes));
            return keep(written, stored.subnets, attributes);
          },
          remove: ({ record }) => store.remove(record),
        },
        request,
        random,
        logger,
      );
      this.#leasesAtStart = this.#leaseWatches === 0 ? listing : undefined;
      return lease;
    } finally {
      if (life !== undefined && life.lifeId !== this.#held?.lifeId) {
        // It would end by itself, a day later.
        store
          .revoke(life)
          .catch((error) =>
            logger.debug(`Failed to revoke an unused ${store.name} lease: ${messageOf(error)}`),
          );
      }
    }
  }

  async renew(lease: OwnLease, attributes: LeaseAttributes): Promise<OwnLease> {
    const store = this.#store;
    const key = this.#leasePath + lease.key;
    const held = this.#held?.key === key ? this.#held : undefined;
    const value = encodeLeaseValue(attributes);
    const lifeOfMalformed = async () => {
      if (held !== undefined) return held.lifeId;
      return lease.expiresAtMs === undefined ? undefined : (await store.grant()).lifeId;
    };
    const renewer = {
      extend: (record: KeyRecord) => store.extend(record, value),
      read: async () => {
        const record = await store.read(key);
        if (record === undefined) return undefined;
        const current = decodeRecord(this.#leasePath, record);
        // A malformed value is overwritten, with the life that the lease had.
        const version =
          current.attributes === undefined ? { ...record, lifeId: await lifeOfMalformed() } : record;
        return { version, attributes: current.attributes };
      },
    };
    const renewed = await renewLease(renewer, held, lease, attributes, this.#ports.logger);
    return this.#hold(renewed, lease.subnets, attributes);
  }

  async *watchLeases(signal: AbortSignal): AsyncGenerator<LeaseUpdate, void> {
    using scope = new StreamScope(signal);
    this.#leaseWatches++;
    try {
      yield* outliveLostData(this.#followLeases(scope.signal), this.#store.lostDataGraceMs, this.#ports);
    } finally {
      this.#leaseWatches--;
    }
  }

  async *#followLeases(signal: AbortSignal): AsyncGenerator<StoreUpdate, void> {
    const path = this.#leasePath;
    const view = createLeaseView(`${this.#store.name} under ${path}`, this.#ports.logger);
    const entryOf = (record: KeyRecord) => leaseEntryOf(decodeRecord(path, record));
    const snapshot = this.#leasesAtStart && view.snapshot(this.#leasesAtStart.decoded.map(leaseEntryOf));
    const updates = this.#watch({ path, start: this.#leasesAtStart?.position, what: "the leases", signal });
    this.#leasesAtStart = undefined; // thousands of records, needed once: no variable keeps them either
    if (snapshot !== undefined) yield { update: snapshot };
    for await (const update of updates) {
      this.#restoreOwn(update);
      if (update.type === "snapshot") {
        const entries = update.records.map(entryOf);
        yield update.isAnotherStore
          ? snapshotAfterLoss(view, entries, this.#held?.key.slice(path.length))
          : { update: view.snapshot(entries) };
        continue;
      }
      const change =
        update.type === "delete"
          ? view.delete(update.key.slice(path.length))
          : view.put(entryOf(update.record));
      if (change !== undefined) yield { update: change };
    }
  }

  /**
   * Overwrites a malformed value under the own key. Peers keep the last valid one, but a host that joins learns of no peer,
   * and a restart of this host would find its subnet taken by an unknown owner, and move to another.
   */
  #restoreOwn(update: KeyUpdate): void {
    const own = this.#own;
    if (own === undefined || update.type === "delete") return;
    const records = update.type === "snapshot" ? update.records : [update.record];
    const record = records.find(({ key }) => key === this.#leasePath + own.key);
    const { logger } = this.#ports;
    const problem = record && decodeRecord(this.#leasePath, record).problem;
    if (problem === undefined) return;
    logger.warn(
      `Lease ${own.key} of this host was overwritten with an invalid value; restoring it: ${problem}`,
    );
    this.renew(own, own.attributes).catch((error) =>
      logger.warn(`Failed to restore lease ${own.key}; the next renewal overwrites it: ${messageOf(error)}`),
    );
  }

  addressesChanged(): void {
    this.#store.reconnect?.();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#disposed.abort();
    this.#store[Symbol.dispose]();
  }

  #decode({ records, position }: KeyListing<Position>): LeaseListing<Position> {
    return { decoded: records.map((record) => decodeRecord(this.#leasePath, record)), position };
  }

  #configIn(records: readonly KeyRecord[]): string | undefined {
    return records.find(({ key }) => key === this.#configKey)?.value;
  }

  #hold({ record, expiresAtMs }: WrittenKey, subnets: SubnetPair, attributes: LeaseAttributes): OwnLease {
    this.#held = record;
    this.#own = { key: record.key.slice(this.#leasePath.length), subnets, attributes, expiresAtMs };
    return this.#own;
  }

  #watch(watch: KeyWatch<Position>): KeyUpdates {
    return this.#store.watch({ ...watch, signal: AbortSignal.any([watch.signal, this.#disposed.signal]) });
  }
}
