/**
 * A lease store in memory that behaves like the real ones: one {@link MemoryDatastore} is the cluster, each
 * {@link createMemoryLeaseStore} a host on it. Requests can be made to fail and watches to have gaps.
 */

import { isDeepStrictEqual } from "node:util";
import { StoreError } from "../base/error.ts";
import { type Logger, silentLogger } from "../base/logger.ts";
import { acquireLease, type StoredLease } from "../lease/acquire.ts";
import { type LeaseAttributes, type OwnLease, overlapsPair, type SubnetPair } from "../lease/lease.ts";
import {
  decodeLease,
  decodeLeaseKey,
  decodeLeaseValue,
  encodeLeaseKey,
  encodeLeaseValue,
  isProblem,
} from "../lease/lease-codec.ts";
import type { AcquireRequest, LeaseStore, LeaseUpdate } from "../lease/lease-store.ts";
import { createLeaseView, type LeaseEntry } from "../lease/lease-view.ts";

interface Entry {
  readonly value: string;
  readonly revision: number;
  /** Revision of the write that created the key. */
  readonly createdAt: number;
  /** Undefined = no TTL: a reservation. */
  readonly expiresAtMs: number | undefined;
}

type Change = { readonly key: string; readonly value: string | undefined };

/** The state that all hosts share. */
export class MemoryDatastore implements Disposable {
  readonly entries: Map<string, Entry> = new Map();
  readonly #leaseListeners = new Set<(change: Change | "gap") => void>();
  readonly #configListeners = new Set<(text: string | undefined) => void>();
  readonly #expiries = new Map<string, ReturnType<typeof setTimeout>>();
  readonly #faults: StoreError[] = [];
  #revision = 0;
  #isCut = false;
  config: string | undefined;

  /** Writes a key as an operator or another host would; without `ttlMs` it never expires. */
  put(key: string, value: string, ttlMs?: number): Entry {
    const expiresAtMs = ttlMs === undefined ? undefined : Date.now() + ttlMs;
    const revision = ++this.#revision;
    const entry = { value, revision, createdAt: this.entries.get(key)?.createdAt ?? revision, expiresAtMs };
    this.entries.set(key, entry);
    this.keep(key, ttlMs);
    this.#announce({ key, value });
    return entry;
  }

  /** Restarts the TTL of a key without a change that watches report. */
  keep(key: string, ttlMs: number | undefined): void {
    clearTimeout(this.#expiries.get(key));
    if (ttlMs === undefined) return;
    this.#expiries.set(key, setTimeout(() => this.delete(key), ttlMs).unref());
  }

  delete(key: string): void {
    clearTimeout(this.#expiries.get(key));
    if (!this.entries.delete(key)) return;
    this.#revision++;
    this.#announce({ key, value: undefined });
  }

  setConfig(text: string | undefined): void {
    this.config = text;
    for (const listener of this.#configListeners) listener(text);
  }

  /** The next requests fail with these errors, one each. */
  failNext(...errors: readonly StoreError[]): void {
    this.#faults.push(...errors);
  }

  /** Watches report nothing until {@link reconnect}; then they begin again with a snapshot. */
  cut(): void {
    this.#isCut = true;
  }

  reconnect(): void {
    this.#isCut = false;
    for (const listener of this.#leaseListeners) listener("gap");
  }

  /** One request of a host: takes a turn of the event loop, so that hosts interleave, and may fail. */
  async request(): Promise<void> {
    await new Promise(setImmediate);
    const fault = this.#faults.shift();
    if (fault !== undefined) throw fault;
  }

  onLeaseChange(listener: (change: Change | "gap") => void): () => void {
    this.#leaseListeners.add(listener);
    return () => this.#leaseListeners.delete(listener);
  }

  onConfigChange(listener: (text: string | undefined) => void): () => void {
    this.#configListeners.add(listener);
    return () => this.#configListeners.delete(listener);
  }

  [Symbol.dispose](): void {
    for (const timer of this.#expiries.values()) clearTimeout(timer);
  }

  #announce(change: Change): void {
    if (this.#isCut) return;
    for (const listener of this.#leaseListeners) listener(change);
  }
}

export interface MemoryStoreOptions {
  readonly logger?: Logger;
  readonly random?: () => number;
  /** TTL of a lease. */
  readonly ttlMs?: number;
}

/** A host's view of the datastore. */
export function createMemoryLeaseStore(data: MemoryDatastore, options: MemoryStoreOptions = {}): LeaseStore {
  const { logger = silentLogger, random = Math.random, ttlMs = 86_400_000 } = options;
  const disposed = new AbortController();

  const list = async (): Promise<(StoredLease & Entry)[]> => {
    await data.request();
    return [...data.entries].flatMap(([key, entry]) => {
      const subnets = decodeLeaseKey(key);
      if (isProblem(subnets)) return [];
      const attributes = decodeLeaseValue(entry.value);
      return [{ key, subnets, ...entry, attributes: isProblem(attributes) ? undefined : attributes }];
    });
  };

  /** Writes the own lease over `entry`; a reservation stays one. */
  const extend = (
    key: string,
    subnets: SubnetPair,
    attributes: LeaseAttributes,
    entry: Entry | undefined,
  ): OwnLease => {
    const life = entry !== undefined && entry.expiresAtMs === undefined ? undefined : ttlMs;
    const value = encodeLeaseValue(attributes);
    if (entry?.value === value) data.keep(key, life);
    else data.put(key, value, life);
    return { key, subnets, attributes, expiresAtMs: life === undefined ? undefined : Date.now() + life };
  };

  const isAsListed = (stored: StoredLease & Entry) =>
    data.entries.get(stored.key)?.revision === stored.revision;

  return {
    async readNetworkConfig() {
      await data.request();
      if (data.config === undefined) throw new StoreError("NOT_FOUND", "no network config in this datastore");
      return data.config;
    },

    watchNetworkConfig: (signal) =>
      queue(AbortSignal.any([signal, disposed.signal]), (push) => {
        push(data.config);
        return data.onConfigChange(push);
      }),

    acquire: (request: AcquireRequest) =>
      acquireLease(
        {
          list,
          async create(subnets, attributes) {
            await data.request();
            const isTaken = data.entries.keys().some((key) => {
              const other = decodeLeaseKey(key);
              return !isProblem(other) && overlapsPair(other, subnets);
            });
            return isTaken ? undefined : extend(encodeLeaseKey(subnets), subnets, attributes, undefined);
          },
          async refresh(stored, attributes) {
            await data.request();
            return isAsListed(stored) ? extend(stored.key, stored.subnets, attributes, stored) : undefined;
          },
          async remove(stored) {
            await data.request();
            if (!isAsListed(stored)) return false;
            data.delete(stored.key);
            return true;
          },
        },
        request,
        random,
        logger,
      ),

    async renew(lease, attributes) {
      await data.request();
      const entry = data.entries.get(lease.key);
      if (entry === undefined) throw new StoreError("LEASE_LOST", `the lease ${lease.key} does not exist`);
      const current = decodeLeaseValue(entry.value);
      const isOurs =
        isProblem(current) ||
        isDeepStrictEqual(publicAddresses(current), publicAddresses(lease.attributes)) ||
        isDeepStrictEqual(publicAddresses(current), publicAddresses(attributes));
      if (!isOurs) throw new StoreError("LEASE_LOST", `the lease ${lease.key} belongs to another host`);
      return extend(lease.key, lease.subnets, attributes, entry);
    },

    watchLeases(signal) {
      const view = createLeaseView("memory", logger);
      const read = (key: string, value: string): LeaseEntry => {
        const lease = decodeLease(key, value);
        const entry = data.entries.get(key);
        if (isProblem(lease) || entry === undefined) return [key, lease];
        const renewedAt = entry.expiresAtMs === undefined ? undefined : BigInt(entry.revision);
        return [key, { ...lease, establishedAt: BigInt(entry.createdAt), renewedAt }];
      };
      const snapshot = () => view.snapshot([...data.entries].map(([key, { value }]) => read(key, value)));
      return queue<LeaseUpdate>(AbortSignal.any([signal, disposed.signal]), (push) => {
        push(snapshot());
        return data.onLeaseChange((change) => {
          if (change === "gap") return push(snapshot());
          const { key, value } = change;
          const update = value === undefined ? view.delete(key) : view.put(read(key, value));
          if (update !== undefined) push(update);
        });
      });
    },

    async [Symbol.asyncDispose]() {
      disposed.abort();
    },
  };
}

const publicAddresses = ({ publicIp, publicIpv6 }: LeaseAttributes) => [publicIp, publicIpv6];

/** Yields what `subscribe` pushes until the signal is aborted. `subscribe` returns the function that ends it. */
async function* queue<T>(
  signal: AbortSignal,
  subscribe: (push: (item: T) => void) => () => void,
): AsyncGenerator<T, void> {
  const items: T[] = [];
  let wake = () => {};
  const unsubscribe = subscribe((item) => {
    items.push(item);
    wake();
  });
  const onAbort = () => wake();
  signal.addEventListener("abort", onAbort);
  try {
    while (!signal.aborted) {
      if (items.length > 0) yield items.shift()!;
      else
        await new Promise<void>((resolve) => {
          wake = resolve;
        });
    }
  } finally {
    unsubscribe();
    signal.removeEventListener("abort", onAbort);
  }
}
