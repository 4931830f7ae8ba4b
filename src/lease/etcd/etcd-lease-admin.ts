/** The operator's side of the store on etcd v3. */

import { Event_EventType, type KeyValue } from "../../etcd-api/kv_pb.ts";
import { Compare_CompareResult, Compare_CompareTarget } from "../../etcd-api/rpc_pb.ts";
import type { LeaseAttributes, SubnetPair } from "../lease.ts";
import type { LeaseAdmin, LeaseRecord, RecordUpdate, StoredConfig } from "../lease-admin.ts";
import { isProblem } from "../lease-codec.ts";
import { EtcdConnection } from "./etcd-connection.ts";
import { type EtcdOptions, readEtcdSettings } from "./etcd-options.ts";
import { completePorts, type EtcdPorts } from "./etcd-ports.ts";
import { listRange, singleKey, toBytes, toText } from "./etcd-range.ts";
import { createRecord, keepRecordForever, NO_GRANT, removeRecord, transact } from "./etcd-record-writes.ts";
import { createRecordStore, decodeRecord, nameOf, type RecordStore } from "./etcd-records.ts";
import { watchRange } from "./etcd-watch.ts";

/** How many TimeToLive requests are under way at once: enough to hide the round trips, too few to be a burden. */
const CONCURRENCY = 32;

/** Opens it; nothing is sent yet. Throws ConfigError if a TLS file is no good. */
export function createEtcdLeaseAdmin(options: EtcdOptions, ports: EtcdPorts): LeaseAdmin {
  const settings = readEtcdSettings(options, ports.logger);
  for (const note of settings.notes) ports.logger.warn(note);
  const allPorts = completePorts(ports);
  return new Admin(new EtcdConnection(settings, allPorts.random), allPorts);
}

class Admin implements LeaseAdmin {
  readonly configPlace: string;
  readonly #connection: EtcdConnection;
  readonly #ports: Required<EtcdPorts>;
  readonly #records: RecordStore;
  readonly #configKey: string;
  /** Of the last listing: a reservation must not overlap what came after it. */
  #listedAtRevision = 0n;

  constructor(connection: EtcdConnection, ports: Required<EtcdPorts>) {
    this.#connection = connection;
    this.#ports = ports;
    this.#records = createRecordStore(connection, ports.wallClockMs);
    this.#configKey = `${connection.settings.prefix}/config`;
    this.configPlace = `etcd key ${this.#configKey}`;
  }

  async readNetworkConfig(): Promise<StoredConfig | undefined> {
    const { kvs } = await listRange(this.#connection, singleKey(this.#configKey));
    return kvs[0] && { text: toText(kvs[0].value), revision: kvs[0].modRevision };
  }

  async writeNetworkConfig(text: string, expected: StoredConfig | undefined): Promise<boolean> {
    const key = toBytes(this.#configKey);
    const result = await transact(
      this.#records,
      {
        key,
        target: Compare_CompareTarget.MOD,
        result: Compare_CompareResult.EQUAL,
        targetUnion: { case: "modRevision", value: expected?.revision ?? 0n }, // 0 = no such key
      },
      [{ request: { case: "requestPut", value: { key, value: toBytes(text) } } }],
    );
    return result.succeeded;
  }

  async listRecords(): Promise<readonly LeaseRecord[]> {
    const { kvs, revision } = await listRange(this.#connection, this.#records.range);
    this.#listedAtRevision = revision;
    return kvs.map((kv) => this.#recordOf(kv));
  }

  async readExpiries(records: readonly LeaseRecord[]): Promise<ReadonlyMap<string, number>> {
    const ids = new Set(records.map(({ lifeId }) => lifeId).filter((id) => id !== undefined));
    const byId = new Map<string, number>();
    const pending = ids.values();
    const work = async (): Promise<void> => {
      for (const id of pending) {
        const nowMs = this.#ports.wallClockMs();
        const { TTL } = await this.#connection.call(({ lease }, options) =>
          lease.leaseTimeToLive({ ID: BigInt(id) }, options),
        );
        if (TTL >= 0n) byId.set(id, nowMs + Number(TTL) * 1000); // -1 = it has ended
      }
    };
    await Promise.all(Array.from({ length: Math.min(CONCURRENCY, ids.size) }, work));
    const expiries = new Map<string, number>();
    for (const { key, lifeId } of records) {
      const expiry = lifeId === undefined ? undefined : byId.get(lifeId);
      if (expiry !== undefined) expiries.set(key, expiry);
    }
    return expiries;
  }

  async *watchRecords(signal: AbortSignal): AsyncGenerator<RecordUpdate, void> {
    const updates = watchRange(
      this.#connection,
      this.#records.range,
      undefined,
      "the leases",
      this.#ports,
      signal,
    );
    for await (const update of updates) {
      if (update.type === "snapshot") {
        yield { type: "snapshot", records: update.kvs.map((kv) => this.#recordOf(kv)) };
        continue;
      }
      for (const { type, kv } of update.events) {
        if (kv === undefined) continue;
        yield type === Event_EventType.DELETE
          ? { type: "delete", key: nameOf(this.#records, kv) }
          : { type: "put", record: this.#recordOf(kv) };
      }
    }
  }

  async reserve(subnets: SubnetPair, attributes: LeaseAttributes): Promise<boolean> {
    const revision = this.#listedAtRevision;
    return (await createRecord(this.#records, subnets, attributes, NO_GRANT, revision)) !== undefined;
  }

  keepForever({ key, revision }: LeaseRecord): Promise<boolean> {
    return keepRecordForever(this.#records, { key, modRevision: revision });
  }

  release({ key, revision }: LeaseRecord): Promise<boolean> {
    return removeRecord(this.#records, { key, modRevision: revision });
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#connection[Symbol.dispose]();
  }

  #recordOf(kv: KeyValue): LeaseRecord {
    const [key, content] = decodeRecord(this.#records, kv);
    const state = {
      key,
      lifeId: kv.lease === 0n ? undefined : String(kv.lease),
      revision: kv.modRevision,
    };
    if (isProblem(content)) {
      return { ...state, subnets: undefined, attributes: undefined, problem: content.problem };
    }
    const { subnets, attributes, valueProblem } = content;
    return { ...state, subnets, attributes, problem: valueProblem };
  }
}
