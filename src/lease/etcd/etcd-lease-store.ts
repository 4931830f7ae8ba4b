/**
 * The lease store on etcd v3, sharing keys and values with Go flannel.
 *
 * A start costs the same few requests whatever the number of leases (W5): the config, one listing, a lease, a
 * transaction; the watches go on from the revisions of what was read.
 */

import { messageOf, StoreError } from "../../base/error.ts";
import { Event_EventType } from "../../etcd-api/kv_pb.ts";
import { acquireLease } from "../acquire.ts";
import type { LeaseAttributes, OwnLease } from "../lease.ts";
import type { AcquireRequest, LeaseStore, LeaseUpdate } from "../lease-store.ts";
import { createLeaseView } from "../lease-view.ts";
import { outliveLostData, type StoreUpdate, snapshotAfterLoss } from "../lost-data.ts";
import { renewLease } from "../renewal.ts";
import { StreamScope } from "../stream-scope.ts";
import { EtcdConnection } from "./etcd-connection.ts";
import { type EtcdOptions, readEtcdSettings } from "./etcd-options.ts";
import { completePorts, type EtcdPorts } from "./etcd-ports.ts";
import { type Position, positionOf } from "./etcd-position.ts";
import { type KeyRange, listRange, singleKey, toText } from "./etcd-range.ts";
import {
  createRecord,
  extendRecord,
  type Grant,
  grantLease,
  removeRecord,
  revokeLease,
} from "./etcd-record-writes.ts";
import {
  createRecordStore,
  decodeRecord,
  leaseEntryOf,
  listRecords,
  nameOf,
  type RecordListing,
  type RecordState,
  readRecord,
  recordsIn,
} from "./etcd-records.ts";
import { watchRange } from "./etcd-watch.ts";

export interface EtcdLeaseStore extends LeaseStore {
  /** RPCs made so far; a stream counts as one. */
  readonly requestCount: number;
}

/** Opens the store; nothing is sent yet. Throws ConfigError if a TLS file is no good. */
export function createEtcdLeaseStore(options: EtcdOptions, ports: EtcdPorts): EtcdLeaseStore {
  const settings = readEtcdSettings(options, ports.logger);
  for (const note of settings.notes) ports.logger.warn(note);
  const allPorts = completePorts(ports);
  return new Store(new EtcdConnection(settings, allPorts.random), allPorts);
}

class Store implements EtcdLeaseStore {
  readonly #connection: EtcdConnection;
  readonly #ports: Required<EtcdPorts>;
  readonly #records: ReturnType<typeof createRecordStore>;
  readonly #disposed = new AbortController();
  /** What a watch that begins later goes on from; for leases only kept until there is one. */
  #configAtStart: { readonly text: string | undefined; readonly position: Position } | undefined;
  #listingAtStart: RecordListing | undefined;
  #leaseWatches = 0;
  /** The record of the own lease, as last written. */
  #held: RecordState | undefined;

  constructor(connection: EtcdConnection, ports: Required<EtcdPorts>) {
    this.#connection = connection;
    this.#ports = ports;
    this.#records = createRecordStore(connection, ports.wallClockMs);
  }

  get requestCount(): number {
    return this.#connection.requestCount;
  }

  get #configKey(): string {
    return `${this.#connection.settings.prefix}/config`;
  }

  async readNetworkConfig(): Promise<string> {
    const listing = await listRange(this.#connection, singleKey(this.#configKey));
    const text = listing.kvs[0] && toText(listing.kvs[0].value);
    this.#configAtStart = { text, position: positionOf(listing) };
    if (text === undefined) {
      throw new StoreError(
        "NOT_FOUND",
        `no network config in etcd; write one: etcdctl put ${this.#configKey} '{"Network":"10.5.0.0/16","Backend":{"Type":"vxlan"}}'`,
      );
    }
    return text;
  }

  async *watchNetworkConfig(signal: AbortSignal): AsyncGenerator<string | undefined, void> {
    const start = this.#configAtStart;
    if (start !== undefined) yield start.text;
    for await (const update of this.#watch(
      singleKey(this.#configKey),
      start?.position,
      "the network config",
      signal,
    )) {
      if (update.type === "snapshot") yield update.kvs[0] && toText(update.kvs[0].value);
      else
        for (const event of update.events)
          yield event.type === Event_EventType.PUT ? toText(event.kv!.value) : undefined;
    }
  }

  async acquire(request: AcquireRequest): Promise<OwnLease> {
    const { logger, random } = this.#ports;
    const records = this.#records;
    let grant: Grant | undefined;
    let listing: RecordListing | undefined;
    const keep = (held: Awaited<ReturnType<typeof extendRecord>>) => {
      this.#held = held?.record;
      return held?.lease;
    };
    try {
      const lease = await acquireLease(
        {
          list: async () => {
            listing = await listRecords(records);
            return recordsIn(listing);
          },
          create: async (subnets, attributes) => {
            grant ??= await grantLease(records);
            return keep(await createRecord(records, subnets, attributes, grant, listing!.position.revision));
          },
          refresh: async (stored, attributes) =>
            keep(await extendRecord(records, stored, stored.subnets, attributes)),
          remove: (stored) => removeRecord(records, stored),
        },
        request,
        random,
        logger,
      );
      this.#listingAtStart = this.#leaseWatches === 0 ? listing : undefined;
      return lease;
    } finally {
      if (grant !== undefined && grant.id !== this.#held?.leaseId) {
        // It would end by itself, a day later.
        revokeLease(records, grant).catch((error) =>
          logger.debug(`unused etcd lease not revoked: ${messageOf(error)}`),
        );
      }
    }
  }

  async renew(lease: OwnLease, attributes: LeaseAttributes): Promise<OwnLease> {
    const held = this.#held?.key === lease.key ? this.#held : undefined;
    const renewer = {
      extend: (record: RecordState) => extendRecord(this.#records, record, lease.subnets, attributes),
      read: async () => {
        const current = await readRecord(this.#records, lease.key);
        if (current === undefined) return undefined;
        // Junk is written over, on the etcd lease that we had.
        const isJunk = current.attributes === undefined && held !== undefined;
        return {
          version: isJunk ? { ...current, leaseId: held.leaseId } : current,
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
    const view = createLeaseView(`etcd under ${records.prefix}`, this.#ports.logger);
    const position = this.#listingAtStart?.position;
    const snapshot = this.#listingAtStart && view.snapshot(this.#listingAtStart.entries.map(leaseEntryOf));
    this.#listingAtStart = undefined; // thousands of records, needed once
    if (snapshot !== undefined) yield { update: snapshot };
    for await (const update of this.#watch(records.range, position, "the leases", signal)) {
      if (update.type === "snapshot") {
        const entries = update.kvs.map((kv) => leaseEntryOf(decodeRecord(records, kv)));
        yield update.isAnotherStore
          ? snapshotAfterLoss(view, entries, this.#held?.key)
          : { update: view.snapshot(entries) };
        continue;
      }
      for (const { type, kv } of update.events) {
        if (kv === undefined) continue;
        const change =
          type === Event_EventType.DELETE
            ? view.delete(nameOf(records, kv))
            : view.put(leaseEntryOf(decodeRecord(records, kv)));
        if (change !== undefined) yield { update: change };
      }
    }
  }

  addressesChanged(): void {
    this.#connection.reconnect();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#disposed.abort();
    this.#connection[Symbol.dispose]();
  }

  #watch(range: KeyRange, start: Position | undefined, what: string, signal: AbortSignal) {
    const either = AbortSignal.any([signal, this.#disposed.signal]);
    return watchRange(this.#connection, range, start, what, this.#ports, either);
  }
}
