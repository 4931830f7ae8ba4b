/**
 * The key-value store on the v2 API of etcd, as Go flannel up to 0.10 used it: same paths, values and TTLs. For clusters
 * whose etcd is old; new installations use etcd v3.
 *
 * A key has a TTL, or none: then it is a reservation and stays one. The TTL is set with the value, so a renewal writes
 * the value again. There are no transactions: what was created between listing and writing is found by a second listing.
 */

import { posix } from "node:path";
import { EtcdKeyBase } from "../etcd/etcd-key-base.ts";
import { type EtcdOptions, type EtcdSettings, readEtcdSettings } from "../etcd/etcd-options.ts";
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
import { Etcd2Connection } from "./etcd2-connection.ts";
import { type KeysPosition, listKeys, watchKeys } from "./etcd2-watch.ts";
import { isRefusal, type KeysRequest, recordOf } from "./keys-api.ts";

/** With several endpoints, an unreachable one is given up within a second. */
const DIAL_TIMEOUT_AMONG_SEVERAL_MS = 800;

/** A life that ends; a key's expiry is known only once it is written. */
const EXPIRING: KeyLife = { lifeId: "", expiresAtMs: undefined };

/** Opens the store; nothing is sent yet. Throws ConfigError if a TLS file is unusable. */
export function openEtcd2Keys(options: EtcdOptions, ports: KeyStorePorts): KeyValueStore<KeysPosition> {
  const settings = readEtcdSettings(
    {
      ...options,
      prefix: posix.resolve("/", options.prefix).replace(/^\/$/, ""), // as etcd itself reads paths
      timings: {
        ...(options.endpoints.length > 1 && { dialTimeoutMs: DIAL_TIMEOUT_AMONG_SEVERAL_MS }),
        ...options.timings,
      },
    },
    ports.logger,
  );
  return new Etcd2Keys(settings, ports);
}

class Etcd2Keys extends EtcdKeyBase<Etcd2Connection> implements KeyValueStore<KeysPosition> {
  readonly name = "etcd (v2)";
  readonly putCommand = "ETCDCTL_API=2 etcdctl set";
  readonly createsAtomically = false;

  constructor(settings: EtcdSettings, ports: KeyStorePorts) {
    super(settings, ports, Etcd2Connection);
  }

  async list(path: string): Promise<KeyListing<KeysPosition>> {
    const position = await listKeys(this.connection, keyOf(path));
    return { records: position.records, position };
  }

  async read(key: string): Promise<KeyRecord | undefined> {
    const { body } = await this.connection.call({ method: "GET", key, query: { quorum: "true" } });
    return isRefusal(body) ? undefined : recordOf(body.node);
  }

  async grant(): Promise<KeyLife> {
    return EXPIRING;
  }

  async revoke(): Promise<void> {}

  async create(key: string, value: string, life: KeyLife): Promise<CreatedKey<KeysPosition> | undefined> {
    const written = await this.#put(key, value, { prevExist: "false" }, life);
    if (written === undefined) return undefined;
    const { record } = written;
    const listing = await this.list(key.slice(0, key.lastIndexOf("/") + 1));
    // Of two leases that overlap the older one stays; a reservation gives way to both.
    const rivals = listing.records.filter(
      (other) => other.key !== key && (record.lifeId === undefined || other.createdAt < record.createdAt),
    );
    return { ...written, rivals: rivals.map((rival) => rival.key), listing };
  }

  async write(key: string, value: string, revision: bigint | undefined): Promise<boolean> {
    const condition = revision === undefined ? ({ prevExist: "false" } as const) : unchangedSince(revision);
    return (await this.#put(key, value, condition, FOREVER)) !== undefined;
  }

  extend(record: KeyRecord, value: string): Promise<WrittenKey | undefined> {
    return this.#put(record.key, value, unchangedSince(record.revision), record);
  }

  async remove({ key, revision }: KeyVersion): Promise<boolean> {
    const { body } = await this.connection.call({ method: "DELETE", key, query: unchangedSince(revision) });
    return !isRefusal(body);
  }

  async keepForever({ key, revision }: KeyVersion): Promise<boolean> {
    const record = await this.read(key);
    return record?.revision === revision && this.write(key, record.value, revision);
  }

  async readExpiries(lifeIds: ReadonlySet<string>): Promise<ReadonlyMap<string, number>> {
    const expiries = [...lifeIds].map((lifeId) => [lifeId, Date.parse(lifeId)] as const);
    return new Map(expiries.filter(([, expiresAtMs]) => !Number.isNaN(expiresAtMs)));
  }

  watch(watch: KeyWatch<KeysPosition>): KeyUpdates {
    return watchKeys(this.connection, { ...watch, path: keyOf(watch.path) }, this.ports);
  }

  async #put(
    key: string,
    value: string,
    condition: KeysRequest["query"],
    { lifeId }: Pick<KeyLife, "lifeId">,
  ): Promise<WrittenKey | undefined> {
    const { leaseTtlSeconds } = this.connection.settings.timings;
    const expires = lifeId !== undefined;
    const startMs = this.ports.wallClockMs();
    const form = { value, ...(expires && { ttl: String(leaseTtlSeconds) }) };
    const { body } = await this.connection.call({ method: "PUT", key, query: condition, form });
    if (isRefusal(body)) return undefined;
    const expiresAtMs = expires ? startMs + leaseTtlSeconds * 1000 : undefined;
    return { record: recordOf(body.node), expiresAtMs };
  }
}

/** The key of a directory or key. */
const keyOf = (path: string): string => path.replace(/\/$/, "");

const unchangedSince = (revision: bigint) => ({ prevIndex: String(revision) }) as const;
