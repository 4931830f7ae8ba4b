/**
 * The lease store on the v2 API of etcd, as Go flannel up to 0.10 used it: same paths, values and TTLs. For clusters
 * whose etcd is old; whoever is free to choose takes etcd v3.
 *
 * A start costs the same few requests whatever the number of leases (W5): the config, a listing, the write and one more
 * listing if it made a new record, and the two polls.
 */

import { posix } from "node:path";
import { StoreError } from "../../base/error.ts";
import { acquireLease } from "../acquire.ts";
import { type EtcdOptions, readEtcdSettings } from "../etcd/etcd-options.ts";
import { completePorts, type EtcdPorts } from "../etcd/etcd-ports.ts";
import type { LeaseAttributes, OwnLease } from "../lease.ts";
import type { AcquireRequest, LeaseStore, LeaseUpdate } from "../lease-store.ts";
import { createLeaseView } from "../lease-view.ts";
import { outliveLostData, type StoreUpdate, snapshotAfterLoss } from "../lost-data.ts";
import { renewLease } from "../renewal.ts";
import { StreamScope } from "../stream-scope.ts";
import { Etcd2Connection } from "./etcd2-connection.ts";
import { createRecord, extendRecord, type Held, isOutranked, removeRecord } from "./etcd2-record-writes.ts";
import {
  decodeRecord,
  leaseEntryOf,
  listRecords,
  nameOf,
  type RecordListing,
  type RecordState,
  type RecordStore,
  readRecord,
  recordsIn,
} from "./etcd2-records.ts";
import { type KeysListing, type KeysPosition, listKeys, positionOf, watchKeys } from "./etcd2-watch.ts";
import type { KeysNode } from "./keys-api.ts";

/** With another endpoint at hand, one that cannot be reached is left within a second. */
const DIAL_TIMEOUT_AMONG_SEVERAL_MS = 800;

export interface Etcd2LeaseStore extends LeaseStore {
  /** Requests made so far. */
  readonly requestCount: number;
}

/** Opens the store; nothing is sent yet. Throws ConfigError if a TLS file is no good. */
export function createEtcd2LeaseStore(options: EtcdOptions, ports: EtcdPorts): Etcd2LeaseStore {
  const allPorts = completePorts(ports);
  return new Store(openConnection(options, allPorts), allPorts);
}

/** Nothing is sent yet. Throws ConfigError if a TLS file is no good. */
export function openConnection(
  options: EtcdOptions,
  { logger, random }: Required<EtcdPorts>,
): Etcd2Connection {
  const settings = readEtcdSettings(
    {
      ...options,
      prefix: posix.resolve("/", options.prefix).replace(/^\/$/, ""), // as etcd itself reads paths
      timings: {
        ...(options.endpoints.length > 1 && { dialTimeoutMs: DIAL_TIMEOUT_AMONG_SEVERAL_MS }),
        ...options.timings,
      },
    },
    logger,
  );
  for (const note of settings.notes) logger.warn(note);
  return new Etcd2Connection(settings, random);
}

class Store implements Etcd2LeaseStore {
  readonly #connection: Etcd2Connection;
  readonly #ports: Required<EtcdPorts>;
  readonly #records: RecordStore;
  readonly #configKey: string;
  readonly #disposed = new AbortController();
  /** What a watch that begins later goes on from; for leases only kept until there is one. */
  #configAtStart: KeysListing | undefined;
  #listingAtStart: RecordListing | undefined;
  #leaseWatches = 0;
  /** The record of the own lease, as last written. */
  #held: RecordState | undefined;

  constructor(connection: Etcd2Connection, ports: Required<EtcdPorts>) {
    const { prefix } = connection.settings;
    this.#connection = connection;
    this.#ports = ports;
    this.#configKey = `${prefix}/config`;
    this.#records = { connection, directory: `${prefix}/subnets`, wallClockMs: ports.wallClockMs };
  }

  get requestCount(): number {
    return this.#connection.requestCount;
  }

  async readNetworkConfig(): Promise<string> {
    const listing = await listKeys(this.#connection, this.#configKey);
    this.#configAtStart = listing;
    const text = this.#configIn(listing.leaves);
    if (text === undefined) {
      throw new StoreError(
        "NOT_FOUND",
        `no network config in etcd (v2); write one: ETCDCTL_API=2 etcdctl set ${this.#configKey} '{"Network":"10.5.0.0/16","Backend":{"Type":"vxlan"}}'`,
      );
    }
    return text;
  }

  async *watchNetworkConfig(signal: AbortSignal): AsyncGenerator<string | undefined, void> {
    const start = this.#configAtStart;
    if (start !== undefined) yield this.#configIn(start.leaves);
    for await (const update of this.#watch(
      this.#configKey,
      start && positionOf(start),
      "the network config",
      signal,
    )) {
      if (update.type === "snapshot") yield this.#configIn(update.leaves);
      else if (update.type === "put") yield this.#configIn([update.node]);
      else yield undefined;
    }
  }

  async acquire(request: AcquireRequest): Promise<OwnLease> {
    const { logger, random } = this.#ports;
    const records = this.#records;
    let listing: RecordListing | undefined;
    const list = async () => {
      listing = await listRecords(records);
      return listing;
    };
    const keep = (held: Held | undefined) => {
      this.#held = held?.record;
      return held?.lease;
    };
    const lease = await acquireLease(
      {
        list: async () => recordsIn(await list()),
        create: async (subnets, attributes) => {
          const held = await createRecord(records, subnets, attributes);
          if (held === undefined) return undefined;
          // There are no transactions: what was made between listing and writing shows only afterwards.
          if (!isOutranked(held.record, subnets, await list())) return keep(held);
          await removeRecord(records, held.record);
          return undefined;
        },
        refresh: async (stored, attributes) => {
          // Made by a start that ended before it could look.
          if (!isOutranked(stored, stored.subnets, listing!))
            return keep(await extendRecord(records, stored, stored.subnets, attributes));
          await removeRecord(records, stored);
          return undefined;
        },
        remove: (stored) => removeRecord(records, stored),
      },
      request,
      random,
      logger,
    );
    this.#listingAtStart = this.#leaseWatches === 0 ? listing : undefined;
    return lease;
  }

  async renew(lease: OwnLease, attributes: LeaseAttributes): Promise<OwnLease> {
    const held = this.#held?.key === lease.key ? this.#held : undefined;
    const renewer = {
      extend: (record: RecordState) => extendRecord(this.#records, record, lease.subnets, attributes),
      read: async () => {
        const current = await readRecord(this.#records, lease.key);
        if (current === undefined) return undefined;
        // Junk is written over, with the life that the lease had.
        const isJunk = current.attributes === undefined;
        return {
          version: isJunk ? { ...current, hasTtl: lease.expiresAtMs !== undefined } : current,
          attributes: current.attributes,
        };
      },
    };
    const renewed = await renewLease(renewer, held, lease, attributes, this.#ports.logger);
    this.#held = renewed.record;
    return renewed.lease;
  }

  async *watchLeases(signal: AbortSignal): AsyncGenerator<LeaseUpdate, void> {
    const { lostDataGraceMs } = this.#connection.settings.timings;
    using scope = new StreamScope(signal);
    this.#leaseWatches++;
    try {
      yield* outliveLostData(this.#followLeases(scope.signal), lostDataGraceMs, this.#ports);
    } finally {
      this.#leaseWatches--;
    }
  }

  async *#followLeases(signal: AbortSignal): AsyncGenerator<StoreUpdate, void> {
    const records = this.#records;
    const view = createLeaseView(`etcd (v2) under ${records.directory}/`, this.#ports.logger);
    const start = this.#listingAtStart && positionOf(this.#listingAtStart);
    const snapshot = this.#listingAtStart && view.snapshot(this.#listingAtStart.entries.map(leaseEntryOf));
    this.#listingAtStart = undefined; // thousands of records, needed once
    if (snapshot !== undefined) yield { update: snapshot };
    for await (const update of this.#watch(records.directory, start, "the leases", signal)) {
      if (update.type === "snapshot") {
        const entries = update.leaves.map((node) => leaseEntryOf(decodeRecord(records, node)));
        yield update.isAnotherStore
          ? snapshotAfterLoss(view, entries, this.#held?.key)
          : { update: view.snapshot(entries) };
        continue;
      }
      const change =
        update.type === "delete"
          ? view.delete(nameOf(records, update.key))
          : view.put(leaseEntryOf(decodeRecord(records, update.node)));
      if (change !== undefined) yield { update: change };
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#disposed.abort();
    this.#connection[Symbol.dispose]();
  }

  #configIn(leaves: readonly KeysNode[]): string | undefined {
    return leaves.find((node) => node.key === this.#configKey)?.value;
  }

  #watch(key: string, start: KeysPosition | undefined, what: string, signal: AbortSignal) {
    const either = AbortSignal.any([signal, this.#disposed.signal]);
    return watchKeys(this.#connection, key, start, what, this.#ports, either);
  }
}
