/** Loads on a server of flannel's keys: hosts that register, watchers, listings, durable puts. Each returns what it took. */

import { create, type DescMessage, type MessageInitShape, toBinary } from "@bufbuild/protobuf";
import { parseIp } from "../../src/address/ip.ts";
import { hasCode } from "../../src/base/error.ts";
import { parseNetworkConfig } from "../../src/config/network-config.ts";
import {
  Compare_CompareTarget,
  KV,
  Lease,
  LeaseGrantRequestSchema,
  PutRequestSchema,
  RangeRequestSchema,
  TxnRequestSchema,
  Watch,
  WatchRequestSchema,
} from "../../src/etcd-api/rpc_pb.ts";
import { pathOf } from "../../src/etcd-server/grpc/grpc-server.ts";
import type { OwnLease } from "../../src/lease/lease.ts";
import type { LeaseStore } from "../../src/lease/lease-store.ts";
import { openEtcdStore } from "../../test/support/etcd-store.ts";
import { RawGrpc } from "./grpc.ts";
import { median } from "./measurement.ts";
import { peerAt } from "./peers.ts";
import { waitFor } from "./wait.ts";

export const HOSTS = 1_000;
export const WATCHERS = 1_000;
const WATCHED_PUTS = 20;
export const KEYS = 100_000;
const KEYS_PER_TXN = 100;
const WRITERS = 64;
const WRITERS_PUTS = 5_000;
const LONE_PUTS = 500;
const NETWORK = parseNetworkConfig('{"Network":"10.0.0.0/8","SubnetLen":24,"Backend":{"Type":"vxlan"}}');

/** Every host, with its own store and connection, acquires a lease. */
export async function registerAll(endpoint: string): Promise<number> {
  const stores = Array.from({ length: HOSTS }, () => openEtcdStore(endpoint));
  try {
    const startedMs = performance.now();
    const leases = await Promise.all(stores.map(({ store }, index) => acquireAsHost(store, index)));
    const tookMs = performance.now() - startedMs;
    const different = new Set(leases.map(({ key }) => key)).size;
    if (different !== HOSTS) throw new Error(`${HOSTS} hosts got ${different} subnets`);
    return tookMs;
  } finally {
    await Promise.all(stores.map((store) => store[Symbol.asyncDispose]()));
  }
}

/** Like the agent, a host that lost too many races starts again. */
async function acquireAsHost(store: LeaseStore, index: number): Promise<OwnLease> {
  const attributes = {
    publicIp: parseIp(`172.16.${index >> 8}.${index & 255}`),
    publicIpv6: undefined,
    backendType: "vxlan",
    backendData: { VNI: 1, VtepMAC: "02:00:00:00:00:01" },
    backendV6Data: undefined,
  };
  for (;;) {
    try {
      return await store.acquire({ network: NETWORK, attributes, previous: undefined });
    } catch (error) {
      if (!hasCode(error, "CONFLICT")) throw error;
    }
  }
}

/** The requests of a host without competition: the listing, a lease, the transaction that creates the record. */
export async function registerPlainly(endpoint: string): Promise<number> {
  const clients = Array.from({ length: HOSTS }, () => new RawGrpc(endpoint));
  const list = encode(RangeRequestSchema, { ...PREFIX, key: Buffer.from(PLAIN_PATH) });
  try {
    for (const client of clients)
      await client.unary(pathOf(KV.method.range), encode(RangeRequestSchema, { key: PREFIX.key }));
    const startedMs = performance.now();
    await Promise.all(
      clients.map(async (client, index) => {
        await client.unary(pathOf(KV.method.range), list);
        const ID = BigInt(index + 1);
        await client.unary(
          pathOf(Lease.method.leaseGrant),
          encode(LeaseGrantRequestSchema, { TTL: 86_400n, ID }),
        );
        const { value } = peerAt(index);
        const key = Buffer.from(`${PLAIN_PATH}${index}`);
        const create = {
          compare: [
            {
              key,
              target: Compare_CompareTarget.VERSION,
              targetUnion: { case: "version", value: 0n } as const,
            },
          ],
          success: [
            {
              request: { case: "requestPut", value: { key, value: Buffer.from(value), lease: ID } } as const,
            },
          ],
        };
        await client.unary(pathOf(KV.method.txn), encode(TxnRequestSchema, create));
      }),
    );
    return performance.now() - startedMs;
  } finally {
    for (const client of clients) client[Symbol.dispose]();
  }
}

/** Each watcher has its own connection; returns the samples of all watchers. */
export async function notifyAll(endpoint: string): Promise<number[]> {
  const samples: number[] = [];
  let putAtMs = 0;
  const create = { requestUnion: { case: "createRequest", value: PREFIX } } as const;
  const request = encode(WatchRequestSchema, create);
  const clients = Array.from({ length: WATCHERS }, () => new RawGrpc(endpoint));
  try {
    for (const client of clients) {
      await client.open(pathOf(Watch.method.watch), request, () => samples.push(performance.now() - putAtMs));
    }
    using writer = new RawGrpc(endpoint);
    for (let put = 1; put <= WATCHED_PUTS; put++) {
      putAtMs = performance.now();
      await writer.unary(pathOf(KV.method.put), putOf(put));
      const all = put * WATCHERS;
      await waitFor(`${all} notifications`, () => (samples.length >= all ? true : undefined), {
        intervalMs: 5,
      });
    }
    return samples;
  } finally {
    for (const client of clients) client[Symbol.dispose]();
  }
}

/** The median of several listings, each to its last byte. */
export async function listAll(endpoint: string): Promise<number> {
  using client = new RawGrpc(endpoint);
  for (let first = 0; first < KEYS; first += KEYS_PER_TXN) {
    const success = Array.from({ length: KEYS_PER_TXN }, (_, offset) => ({
      request: { case: "requestPut", value: keyValueOf(first + offset) } as const,
    }));
    await client.unary(pathOf(KV.method.txn), encode(TxnRequestSchema, { success }));
  }
  const request = encode(RangeRequestSchema, PREFIX);
  const samples: number[] = [];
  for (let turn = 0; turn < 7; turn++) {
    const startedMs = performance.now();
    const { length } = await client.unary(pathOf(KV.method.range), request);
    samples.push(performance.now() - startedMs);
    if (length < KEYS * 100) throw new Error(`a listing of ${length} bytes is incomplete`);
  }
  return median(samples);
}

export async function putMany(endpoint: string): Promise<number> {
  const clients = Array.from({ length: WRITERS }, () => new RawGrpc(endpoint));
  try {
    let next = 0;
    const startedMs = performance.now();
    await Promise.all(
      clients.map(async (client) => {
        while (next < WRITERS_PUTS) await client.unary(pathOf(KV.method.put), putOf(next++));
      }),
    );
    return (WRITERS_PUTS / (performance.now() - startedMs)) * 1_000;
  } finally {
    for (const client of clients) client[Symbol.dispose]();
  }
}

export async function putAlone(endpoint: string): Promise<number> {
  using client = new RawGrpc(endpoint);
  const samples: number[] = [];
  for (let put = 0; put < LONE_PUTS; put++) {
    const startedMs = performance.now();
    await client.unary(pathOf(KV.method.put), putOf(put));
    samples.push(performance.now() - startedMs);
  }
  return median(samples);
}

const PATH = "/coreos.com/network/subnets/";
const PLAIN_PATH = "/coreos.com/network/subnets/plain-";
const PREFIX = { key: Buffer.from(PATH), rangeEnd: Buffer.from("/coreos.com/network/subnets0") };

/** Leases of a large network; further keys continue the numbers. */
function keyValueOf(index: number) {
  const { value } = peerAt(index % 60_000);
  return { key: Buffer.from(`${PATH}${String(index).padStart(6, "0")}`), value: Buffer.from(value) };
}

const putOf = (index: number) => encode(PutRequestSchema, keyValueOf(index));

const encode = <D extends DescMessage>(schema: D, fields: MessageInitShape<D>): Uint8Array =>
  toBinary(schema, create(schema, fields));
