/** The operator's side of a key-value store. */

import type { LeaseAttributes, SubnetPair } from "../lease.ts";
import type { LeaseAdmin, LeaseRecord, RecordUpdate, StoredConfig } from "../lease-admin.ts";
import { FOREVER, type KeyRecord, type KeyValueStore } from "./key-value-store.ts";
import { configKeyOf, createLease, decodeRecord, leasePathOf } from "./lease-keys.ts";

/** The admin of `store`, which it disposes when it is disposed itself. Nothing is sent yet. */
export const createKeyLeaseAdmin = <Position>(store: KeyValueStore<Position>): LeaseAdmin => new Admin(store);

class Admin<Position> implements LeaseAdmin {
  readonly configPlace: string;
  readonly #store: KeyValueStore<Position>;
  readonly #configKey: string;
  readonly #leasePath: string;
  /** Of the last listing: a reservation must not overlap what came after it. */
  #listedAt: Position | undefined;

  constructor(store: KeyValueStore<Position>) {
    this.#store = store;
    this.#configKey = configKeyOf(store);
    this.#leasePath = leasePathOf(store);
    this.configPlace = `${store.name} key ${this.#configKey}`;
  }

  async readNetworkConfig(): Promise<StoredConfig | undefined> {
    const { records } = await this.#store.list(this.#configKey);
    const record = records.find(({ key }) => key === this.#configKey);
    return record && { text: record.value, revision: record.revision };
  }

  writeNetworkConfig(text: string, expected: StoredConfig | undefined): Promise<boolean> {
    return this.#store.write(this.#configKey, text, expected?.revision);
  }

  async listRecords(): Promise<readonly LeaseRecord[]> {
    const { records, position } = await this.#store.list(this.#leasePath);
    this.#listedAt = position;
    return records.map(this.#leaseRecordOf);
  }

  async readExpiries(records: readonly LeaseRecord[]): Promise<ReadonlyMap<string, number>> {
    const lifeIds = new Set(records.map(({ lifeId }) => lifeId).filter((lifeId) => lifeId !== undefined));
    const byLife = await this.#store.readExpiries(lifeIds);
    const expiries = new Map<string, number>();
    for (const { key, lifeId } of records) {
      const expiry = lifeId === undefined ? undefined : byLife.get(lifeId);
      if (expiry !== undefined) expiries.set(key, expiry);
    }
    return expiries;
  }

  async *watchRecords(signal: AbortSignal): AsyncGenerator<RecordUpdate, void> {
    const watch = { path: this.#leasePath, start: undefined, what: "the leases", signal };
    for await (const update of this.#store.watch(watch)) {
      switch (update.type) {
        case "snapshot":
          yield { type: "snapshot", records: update.records.map(this.#leaseRecordOf) };
          break;
        case "put":
          yield { type: "put", record: this.#leaseRecordOf(update.record) };
          break;
        case "delete":
          yield { type: "delete", key: update.key.slice(this.#leasePath.length) };
      }
    }
  }

  async reserve(subnets: SubnetPair, attributes: LeaseAttributes): Promise<boolean> {
    return (await createLease(this.#store, subnets, attributes, FOREVER, this.#listedAt)) !== undefined;
  }

  keepForever({ key, revision }: LeaseRecord): Promise<boolean> {
    return this.#store.keepForever({ key: this.#leasePath + key, revision });
  }

  release({ key, revision }: LeaseRecord): Promise<boolean> {
    return this.#store.remove({ key: this.#leasePath + key, revision });
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#store[Symbol.dispose]();
  }

  readonly #leaseRecordOf = (record: KeyRecord): LeaseRecord => {
    const { key, subnets, attributes, problem } = decodeRecord(this.#leasePath, record);
    return { key, subnets, attributes, problem, lifeId: record.lifeId, revision: record.revision };
  };
}
