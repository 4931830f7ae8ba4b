/** The suite on the v2 API of a real etcd, whose data are emptied between the tests; stores reach it through a line that can be cut. */

import { after, before } from "node:test";
import { silentLogger } from "../../src/base/logger.ts";
import { openEtcd2Store } from "../support/etcd-store.ts";
import { type Etcd2Server, startEtcd2 } from "../support/etcd2.ts";
import { startTcpProxy, type TcpProxy } from "../support/tcp-proxy.ts";
import { describeLeaseStore } from "./lease-store.suite.ts";

let etcd: Etcd2Server;
let line: TcpProxy;
before(async () => {
  etcd = await startEtcd2();
  line = await startTcpProxy(Number(new URL(etcd.endpoint).port));
});
after(async () => {
  await line[Symbol.asyncDispose]();
  await etcd[Symbol.asyncDispose]();
});

let networks = 0;

describeLeaseStore("etcd v2", async () => {
  const prefix = `/coreos.com/network-${++networks}`;
  const pathOf = (key: string) => `${prefix}/subnets/${key}`;
  const get = async (key: string) => {
    const answer = await etcd.ctl2("--output", "json", "get", pathOf(key)).catch((error: Error) => {
      if (/Key not found/.test(error.message)) return undefined;
      throw error;
    });
    if (answer === undefined) return undefined;
    return JSON.parse(answer).node as { value: string; expiration?: string };
  };
  return {
    open: ({ logger = silentLogger, ttlSeconds } = {}) =>
      openEtcd2Store(
        `http://127.0.0.1:${line.port}`,
        {
          prefix,
          timings: { retryMinMs: 20, retryMaxMs: 200, ...(ttlSeconds && { leaseTtlSeconds: ttlSeconds }) },
        },
        logger,
      ).store,
    writeConfig: async (text) => void (await etcd.ctl2("set", `${prefix}/config`, "--", text)),
    write: async (key, value) => void (await etcd.ctl2("set", pathOf(key), "--", value)),
    remove: async (key) => void (await etcd.ctl2("rm", pathOf(key))),
    async revoke(key) {
      const node = await get(key);
      await etcd.ctl2("update", "--ttl", "1", pathOf(key), "--", node!.value);
    },
    async read(key) {
      const node = await get(key);
      return node && { value: node.value, expires: node.expiration !== undefined };
    },
    async gap(meanwhile) {
      await line.cut();
      await meanwhile();
      await etcd.forget();
      await line.mend();
    },
    [Symbol.asyncDispose]: async () => {},
  };
});
