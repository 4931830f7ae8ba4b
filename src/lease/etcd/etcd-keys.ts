/**
 * The key-value store on etcd v3.
 *
 * A key that expires is attached to an etcd lease; a reservation has none. A restart continues with the etcd lease that
 * the key has, so it leaves none behind and, if nothing changed, causes no event at the other hosts. Where a new etcd
 * lease is needed, the put detaches the key from the old one, which then ends without deleting the key.
 */

import type { MessageInitShape } from "@bufbuild/protobuf";
import { isNotFound } from "../../base/error.ts";
import {
  Compare_CompareResult,
  Compare_CompareTarget,
  type CompareSchema,
  type RequestOpSchema,
  type TxnResponse,
} from "../../etcd-api/rpc_pb.ts";
import type { KeyStorePorts } from "../keys/key-store-ports.ts";
import {
  type CreatedKey,
  FOREVER,
  type KeyLife,
  type KeyListing,
  type KeyRecord,
  type KeyUpdates,
  type KeyValueStore,
  type KeyVersion,
  type KeyWatch,
  type WrittenKey,
} from "../keys/key-value-store.ts";
import { EtcdConnection } from "./etcd-connection.ts";
import { EtcdKeyBase } from "./etcd-key-base.ts";
import { type EtcdOptions, type EtcdSettings, readEtcdSettings } from "./etcd-options.ts";
import { type Position, positionOf } from "./etcd-position.ts";
import { keysUnder, listRange, rangeOf, recordOf, toBytes, toText } from "./etcd-range.ts";
import { watchRange } from "./etcd-watch.ts";

/** How many TimeToLive requests run at once: enough to hide the round trips, too few to burden etcd. */
const CONCURRENT_TTL_REQUESTS = 32;

/** Opens the store; nothing is sent yet. Throws ConfigError if a TLS file is unusable. */
export const openEtcdKeys = (options: EtcdOptions, ports: KeyStorePorts): KeyValueStore<Position> =>
  new EtcdKeys(readEtcdSettings(options, ports.logger), ports);

class EtcdKeys extends EtcdKeyBase<EtcdConnection> implements KeyValueStore<Position> {
  readonly name = "etcd";
  readonly putCommand = "etcdctl put";
  readonly createsAtomically = true;

  constructor(settings: EtcdSettings, ports: KeyStorePorts) {
    super(settings, ports, EtcdConnection);
  }

  async list(path: string): Promise<KeyListing<Position>> {
    const listing = await listRange(this.connection, rangeOf(path));
    return { records: listing.records, position: positionOf(listing) };
  }

  async read(key: string): Promise<KeyRecord | undefined> {
    const request = { key: toBytes(key) };
    const { kvs } = await this.connection.call(({ kv }, options) => kv.range(request, options));
    return kvs[0] && recordOf(kvs[0]);
  }

  async grant(): Promise<KeyLife> {
    const startMs = this.ports.wallClockMs();
    const request = { TTL: BigInt(this.connection.settings.timings.leaseTtlSeconds) };
    const granted = await this.connection.call(({ lease }, options) => lease.leaseGrant(request, options));
    return { lifeId: String(granted.ID), expiresAtMs: startMs + Number(granted.TTL) * 1000 };
  }

  async revoke({ lifeId }: KeyLife): Promise<void> {
    const request = { ID: leaseIdOf(lifeId) };
    await this.connection.call(({ lease }, options) => lease.leaseRevoke(request, options));
  }

  async create(
    key: string,
    value: string,
    life: KeyLife,
    since: Position | undefined,
  ): Promise<CreatedKey<Position> | undefined> {
    const directory = keysUnder(key.slice(0, key.lastIndexOf("/") + 1));
    const listNewer: RequestOp = {
      request: {
        case: "requestRange",
        value: {
          key: directory.key,
          rangeEnd: directory.end,
          keysOnly: true,
          minCreateRevision: (since?.revision ?? 0n) + 1n,
        },
      },
    };
    const result = await this.#transact({ key, revision: ABSENT }, [put(key, value, life.lifeId), listNewer]);
    if (!result.succeeded) return undefined;
    const revision = revisionOf(result);
    const answer = result.responses[1]?.response;
    const newer = answer?.case === "responseRange" ? answer.value.kvs : [];
    return {
      record: { key, value, createdAt: revision, revision, lifeId: life.lifeId },
      expiresAtMs: life.expiresAtMs,
      rivals: newer.map((kv) => toText(kv.key)).filter((rival) => rival !== key),
    };
  }

  async write(key: string, value: string, revision = ABSENT): Promise<boolean> {
    return (await this.#transact({ key, revision }, [put(key, value, undefined)])).succeeded;
  }

  async extend(record: KeyRecord, value: string): Promise<WrittenKey | undefined> {
    try {
      const life = await this.#prolong(record.lifeId);
      if (life === undefined) return undefined;
      const { lifeId, expiresAtMs } = life;
      const isSame = value === record.value && lifeId === record.lifeId;
      const result = await this.#transact(record, isSame ? [] : [put(record.key, value, lifeId)]);
      if (!result.succeeded) return undefined;
      const revision = isSame ? record.revision : revisionOf(result);
      return { record: { ...record, value, revision, lifeId }, expiresAtMs };
    } catch (error) {
      if (isNotFound(error)) return undefined; // the etcd lease ended between the two requests
      throw error;
    }
  }

  async remove(version: KeyVersion): Promise<boolean> {
    const remove: RequestOp = {
      request: { case: "requestDeleteRange", value: { key: toBytes(version.key) } },
    };
    return (await this.#transact(version, [remove])).succeeded;
  }

  async keepForever(version: KeyVersion): Promise<boolean> {
    const detach: RequestOp = {
      request: { case: "requestPut", value: { key: toBytes(version.key), ignoreValue: true } },
    };
    return (await this.#transact(version, [detach])).succeeded;
  }

  async readExpiries(lifeIds: ReadonlySet<string>): Promise<ReadonlyMap<string, number>> {
    const expiries = new Map<string, number>();
    const pending = lifeIds.values();
    const work = async (): Promise<void> => {
      for (const lifeId of pending) {
        const nowMs = this.ports.wallClockMs();
        const { TTL } = await this.connection.call(({ lease }, options) =>
          lease.leaseTimeToLive({ ID: leaseIdOf(lifeId) }, options),
        );
        if (TTL >= 0n) expiries.set(lifeId, nowMs + Number(TTL) * 1000); // -1 = it has ended
      }
    };
    await Promise.all(Array.from({ length: Math.min(CONCURRENT_TTL_REQUESTS, lifeIds.size) }, work));
    return expiries;
  }

  watch(watch: KeyWatch<Position>): KeyUpdates {
    return watchRange(this.connection, watch, this.ports);
  }

  reconnect(): void {
    this.connection.reconnect();
  }

  /** Keeps an etcd lease alive, or replaces it if it was granted for a shorter life. Undefined = it has ended. */
  async #prolong(lifeId: string | undefined): Promise<KeyLife | undefined> {
    if (lifeId === undefined) return FOREVER;
    const startMs = this.ports.wallClockMs();
    const request = { ID: leaseIdOf(lifeId) };
    const ttlSeconds = await this.connection.call(async ({ lease }, options) => {
      let answered = 0;
      for await (const answer of lease.leaseKeepAlive(once(request), options)) answered = Number(answer.TTL);
      return answered;
    });
    if (ttlSeconds <= 0) return undefined;
    if (ttlSeconds < this.connection.settings.timings.leaseTtlSeconds) return this.grant();
    return { lifeId, expiresAtMs: startMs + ttlSeconds * 1000 };
  }

  /** Writes if the key was last written at this revision. */
  #transact({ key, revision }: KeyVersion, success: RequestOp[]): Promise<TxnResponse> {
    const unchanged: Comparison = {
      key: toBytes(key),
      target: Compare_CompareTarget.MOD,
      result: Compare_CompareResult.EQUAL,
      targetUnion: { case: "modRevision", value: revision },
    };
    return this.connection.call(({ kv }, options) => kv.txn({ compare: [unchanged], success }, options));
  }
}

type RequestOp = MessageInitShape<typeof RequestOpSchema>;
type Comparison = MessageInitShape<typeof CompareSchema>;

/** The modification revision of a key that does not exist. */
const ABSENT = 0n;

const revisionOf = (response: TxnResponse): bigint => response.header?.revision ?? 0n;

/** 0 = no etcd lease. */
const leaseIdOf = (lifeId: string | undefined): bigint => BigInt(lifeId ?? 0);

const put = (key: string, value: string, lifeId: string | undefined): RequestOp => ({
  request: {
    case: "requestPut",
    value: { key: toBytes(key), value: toBytes(value), lease: leaseIdOf(lifeId) },
  },
});

async function* once<T>(message: T): AsyncGenerator<T, void> {
  yield message;
}
