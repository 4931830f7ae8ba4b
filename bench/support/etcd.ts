/** The benchmarks' etcd: leases written into it, its own count of the requests that it served. */

import { EtcdConnection } from "../../src/lease/etcd/etcd-connection.ts";
import { readEtcdSettings } from "../../src/lease/etcd/etcd-options.ts";
import { toBytes } from "../../src/lease/etcd/etcd-range.ts";
import { startEtcd } from "../../test/support/etcd.ts";
import { NETWORK_CONFIG, type Peer, peerAt } from "./peers.ts";

/** Puts per transaction; etcd takes 128 at most. */
const PUTS_PER_TRANSACTION = 100;
const LEASE_SECONDS = 86_400n;
const PORT = 2379;

/** A lease written, or taken away by its key below `subnets/`. */
export type LeaseChange = { readonly put: Peer } | { readonly remove: string };

/** What a network is for; vxlan unless said otherwise. */
export interface NetworkKind {
  /** Part of the key prefix. */
  readonly name: string;
  readonly config: string;
  /** The lease of a peer in it. */
  readonly leaseOf: (peer: Peer) => string;
}

const VXLAN: NetworkKind = { name: "vxlan", config: NETWORK_CONFIG, leaseOf: ({ value }) => value };

export interface BenchEtcd extends AsyncDisposable {
  /** For hosts on the bridge. */
  readonly endpoint: string;
  /** A key prefix with a network config and the leases of peers 0…`count`-1, written once per count and kind. */
  networkOf(count: number, kind?: NetworkKind): Promise<string>;
  /** Makes all these changes in one transaction (128 at most): watches see them at the same time. */
  apply(prefix: string, changes: readonly LeaseChange[]): Promise<void>;
  remove(prefix: string, key: string): Promise<void>;
  /** Requests served so far, by method; a stream counts as one. */
  requests(): Promise<ReadonlyMap<string, number>>;
}

/** Starts etcd on the given address of this namespace, and on loopback, port 2379. */
export async function startBenchEtcd(address: string): Promise<BenchEtcd> {
  const endpoint = `http://${address}:${PORT}`;
  const server = await startEtcd({
    flags: [
      ...["--listen-client-urls", `http://0.0.0.0:${PORT}`, "--advertise-client-urls", endpoint],
      // As etcd has them by default, not as the tests want them.
      ...["--heartbeat-interval", "100", "--election-timeout", "1000"],
    ],
  });
  const connection = new EtcdConnection(
    readEtcdSettings({
      endpoints: [`http://127.0.0.1:${PORT}`],
      prefix: "/bench",
      keyFile: undefined,
      certFile: undefined,
      caFile: undefined,
      username: undefined,
      password: undefined,
    }),
  );
  const { ID: lease } = await connection.call((clients, options) =>
    clients.lease.leaseGrant({ TTL: LEASE_SECONDS }, options),
  );
  const putOf = (prefix: string, { key, value }: Peer) =>
    ({
      request: {
        case: "requestPut",
        value: { key: toBytes(`${prefix}/subnets/${key}`), value: toBytes(value), lease },
      },
    }) as const;
  const removalOf = (prefix: string, key: string) =>
    ({
      request: { case: "requestDeleteRange", value: { key: toBytes(`${prefix}/subnets/${key}`) } },
    }) as const;
  const apply = async (prefix: string, changes: readonly LeaseChange[]): Promise<void> => {
    const success = changes.map((change) =>
      "put" in change ? putOf(prefix, change.put) : removalOf(prefix, change.remove),
    );
    await connection.call(({ kv }, options) => kv.txn({ success }, options));
  };
  const filled = new Set<string>();

  return {
    endpoint,
    async networkOf(count, { name, config, leaseOf } = VXLAN) {
      const prefix = `/bench/${name}/${count}`;
      if (filled.has(prefix)) return prefix;
      await connection.call(({ kv }, options) =>
        kv.put({ key: toBytes(`${prefix}/config`), value: toBytes(config) }, options),
      );
      for (let start = 0; start < count; start += PUTS_PER_TRANSACTION) {
        const length = Math.min(PUTS_PER_TRANSACTION, count - start);
        const peers = Array.from({ length }, (_, offset) => peerAt(start + offset));
        await apply(
          prefix,
          peers.map((peer) => ({ put: { ...peer, value: leaseOf(peer) } })),
        );
      }
      filled.add(prefix);
      return prefix;
    },
    apply,
    remove: (prefix, key) => apply(prefix, [{ remove: key }]),
    async requests() {
      const text = await (await fetch(`http://127.0.0.1:${PORT}/metrics`)).text();
      return new Map(
        Array.from(text.matchAll(/^grpc_server_started_total\{grpc_method="(\w+)".*\} (\d+)$/gm), (match) => [
          match[1]!,
          Number(match[2]),
        ]),
      );
    },
    async [Symbol.asyncDispose]() {
      connection[Symbol.dispose]();
      await server[Symbol.asyncDispose]();
    },
  };
}
