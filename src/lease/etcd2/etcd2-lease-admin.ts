/** The operator's side of the store on the v2 API of etcd. */

import type { EtcdOptions } from "../etcd/etcd-options.ts";
import { completePorts, type EtcdPorts } from "../etcd/etcd-ports.ts";
import { type LeaseAttributes, overlapsPair, type SubnetPair } from "../lease.ts";
import type { LeaseAdmin, LeaseRecord, RecordUpdate, StoredConfig } from "../lease-admin.ts";
import { isProblem } from "../lease-codec.ts";
import type { Etcd2Connection } from "./etcd2-connection.ts";
import { openConnection } from "./etcd2-lease-store.ts";
import { createReservation, extendRecord, removeRecord } from "./etcd2-record-writes.ts";
import { decodeRecord, listRecords, nameOf, type RecordStore, recordsIn } from "./etcd2-records.ts";
import { listKeys, watchKeys } from "./etcd2-watch.ts";
import { isRefusal, type KeysNode } from "./keys-api.ts";

/** Opens it; nothing is sent yet. Throws ConfigError if a TLS file is no good. */
export function createEtcd2LeaseAdmin(options: EtcdOptions, ports: EtcdPorts): LeaseAdmin {
  const allPorts = completePorts(ports);
  return new Admin(openConnection(options, allPorts), allPorts);
}

class Admin implements LeaseAdmin {
  readonly configPlace: string;
  readonly #connection: Etcd2Connection;
  readonly #ports: Required<EtcdPorts>;
  readonly #records: RecordStore;
  readonly #configKey: string;

  constructor(connection: Etcd2Connection, ports: Required<EtcdPorts>) {
    const { prefix } = connection.settings;
    this.#connection = connection;
    this.#ports = ports;
    this.#records = { connection, directory: `${prefix}/subnets`, wallClockMs: ports.wallClockMs };
    this.#configKey = `${prefix}/config`;
    this.configPlace = `etcd (v2) key ${this.#configKey}`;
  }

  async readNetworkConfig(): Promise<StoredConfig | undefined> {
    const { leaves } = await listKeys(this.#connection, this.#configKey);
    const node = leaves.find(({ key }) => key === this.#configKey);
    return node && { text: node.value, revision: BigInt(node.modifiedIndex) };
  }

  async writeNetworkConfig(text: string, expected: StoredConfig | undefined): Promise<boolean> {
    const query: Record<string, string> =
      expected === undefined ? { prevExist: "false" } : { prevIndex: String(expected.revision) };
    const request = { method: "PUT", key: this.#configKey, query, form: { value: text } } as const;
    return !isRefusal((await this.#connection.call(request)).body);
  }

  async listRecords(): Promise<readonly LeaseRecord[]> {
    const { leaves } = await listKeys(this.#connection, this.#records.directory);
    return leaves.map((node) => this.#recordOf(node));
  }

  async readExpiries(records: readonly LeaseRecord[]): Promise<ReadonlyMap<string, number>> {
    const expiries = records.map(({ key, lifeId }) => [key, Date.parse(lifeId ?? "")] as const);
    return new Map(expiries.filter(([, expiresAtMs]) => !Number.isNaN(expiresAtMs)));
  }

  async *watchRecords(signal: AbortSignal): AsyncGenerator<RecordUpdate, void> {
    const { directory } = this.#records;
    const updates = watchKeys(this.#connection, directory, undefined, "the leases", this.#ports, signal);
    for await (const update of updates) {
      switch (update.type) {
        case "snapshot":
          yield { type: "snapshot", records: update.leaves.map((node) => this.#recordOf(node)) };
          break;
        case "put":
          yield { type: "put", record: this.#recordOf(update.node) };
          break;
        case "delete":
          yield { type: "delete", key: nameOf(this.#records, update.key) };
      }
    }
  }

  /** There are no transactions: a lease that was made meanwhile shows only afterwards, and then keeps its subnet. */
  async reserve(subnets: SubnetPair, attributes: LeaseAttributes): Promise<boolean> {
    const held = await createReservation(this.#records, subnets, attributes);
    if (held === undefined) return false;
    const others = recordsIn(await listRecords(this.#records)).filter(({ key }) => key !== held.record.key);
    if (!others.some((other) => overlapsPair(other.subnets, subnets))) return true;
    await removeRecord(this.#records, held.record);
    return false;
  }

  async keepForever({ key, subnets, attributes, revision }: LeaseRecord): Promise<boolean> {
    if (subnets === undefined || attributes === undefined) return false;
    const version = { key, modifiedIndex: Number(revision), hasTtl: false };
    return (await extendRecord(this.#records, version, subnets, attributes)) !== undefined;
  }

  release({ key, revision }: LeaseRecord): Promise<boolean> {
    return removeRecord(this.#records, { key, modifiedIndex: Number(revision) });
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#connection[Symbol.dispose]();
  }

  #recordOf(node: KeysNode): LeaseRecord {
    const [key, content] = decodeRecord(this.#records, node);
    const state = {
      key,
      lifeId: node.hasTtl ? (node.expiration ?? "") : undefined,
      revision: BigInt(node.modifiedIndex),
    };
    if (isProblem(content)) {
      return { ...state, subnets: undefined, attributes: undefined, problem: content.problem };
    }
    const { subnets, attributes, valueProblem } = content;
    return { ...state, subnets, attributes, problem: valueProblem };
  }
}
