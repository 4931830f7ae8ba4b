/**
 * The harness of the suite on a server of flannel's keys (etcd, its v2 API, the embedded store): each test has a key prefix
 * of its own, and stores connect through a proxy that can be cut. The tests reach the server directly.
 */

import { after, before } from "node:test";
import { silentLogger } from "../../src/base/logger.ts";
import type { openEtcdStore } from "../support/etcd-store.ts";
import { startTcpProxy, type TcpProxy } from "../support/tcp-proxy.ts";
import { describeLeaseStore } from "./lease-store.suite.ts";
import type { LeaseStoreHarness } from "./lease-store-harness.ts";

/** How the tests reach the server's keys. */
export interface KeyAccess {
  /** Writes a key that never expires. */
  put(key: string, value: string): Promise<unknown>;
  remove(key: string): Promise<unknown>;
  /** Ends the life of an expiring key. */
  revoke(key: string): Promise<unknown>;
  read: LeaseStoreHarness["read"];
  /** Discards the history of all changes so far. */
  discardHistory(): Promise<unknown>;
}

/** Runs the suite on the server that `start` starts, once for all tests. */
export function describeKeyStore<Server extends AsyncDisposable & { readonly endpoint: string }>(
  name: string,
  start: () => Promise<Server>,
  openStore: typeof openEtcdStore,
  accessTo: (server: Server) => KeyAccess,
): void {
  let server: Server;
  let proxy: TcpProxy;
  before(async () => {
    server = await start();
    proxy = await startTcpProxy(Number(new URL(server.endpoint).port));
  });
  after(async () => {
    await proxy?.[Symbol.asyncDispose]();
    await server?.[Symbol.asyncDispose]();
  });

  let networks = 0;

  describeLeaseStore(name, async () => {
    const prefix = `/coreos.com/network-${++networks}`;
    const pathOf = (key: string) => `${prefix}/subnets/${key}`;
    const access = accessTo(server);
    return {
      open({ logger = silentLogger, ttlSeconds } = {}) {
        const timings = {
          retryMinMs: 20,
          retryMaxMs: 200,
          ...(ttlSeconds && { leaseTtlSeconds: ttlSeconds }),
        };
        return openStore(`http://127.0.0.1:${proxy.port}`, { prefix, timings }, logger).store;
      },
      writeConfig: async (text) => void (await access.put(`${prefix}/config`, text)),
      write: async (key, value) => void (await access.put(pathOf(key), value)),
      remove: async (key) => void (await access.remove(pathOf(key))),
      revoke: async (key) => void (await access.revoke(pathOf(key))),
      read: (key) => access.read(pathOf(key)),
      async gap(meanwhile) {
        await proxy.cut();
        await meanwhile();
        await access.discardHistory();
        await proxy.restore();
      },
      [Symbol.asyncDispose]: async () => {},
    };
  });
}
