/** The suite on a real etcd, whose data are emptied between the tests; stores reach it through a line that can be cut. */

import { after, before } from "node:test";
import { silentLogger } from "../../src/base/logger.ts";
import { type EtcdServer, startEtcd } from "../support/etcd.ts";
import { openEtcdStore } from "../support/etcd-store.ts";
import { startTcpProxy, type TcpProxy } from "../support/tcp-proxy.ts";
import { describeLeaseStore } from "./lease-store.suite.ts";

let etcd: EtcdServer;
let line: TcpProxy;
before(async () => {
  etcd = await startEtcd();
  line = await startTcpProxy(Number(new URL(etcd.endpoint).port));
});
after(async () => {
  await line[Symbol.asyncDispose]();
  await etcd[Symbol.asyncDispose]();
});

let networks = 0;

describeLeaseStore("etcd v3", async () => {
  const prefix = `/coreos.com/network-${++networks}`;
  const pathOf = (key: string) => `${prefix}/subnets/${key}`;
  const get = async (key: string) =>
    JSON.parse(await etcd.ctl("get", "--write-out=json", pathOf(key))).kvs?.[0] as
      | { value: string; lease?: bigint }
      | undefined;
  return {
    open: ({ logger = silentLogger, ttlSeconds } = {}) =>
      openEtcdStore(
        `http://127.0.0.1:${line.port}`,
        {
          prefix,
          timings: { retryMinMs: 20, retryMaxMs: 200, ...(ttlSeconds && { leaseTtlSeconds: ttlSeconds }) },
        },
        logger,
      ).store,
    writeConfig: async (text) => void (await etcd.ctl("put", `${prefix}/config`, "--", text)),
    write: async (key, value) => void (await etcd.ctl("put", pathOf(key), "--", value)),
    remove: async (key) => void (await etcd.ctl("del", pathOf(key))),
    async revoke(key) {
      // JSON would round the id, which has 63 bits.
      const fields = await etcd.ctl("get", "--write-out=fields", pathOf(key));
      const id = BigInt(/"Lease" : (\d+)/.exec(fields)![1]!);
      await etcd.ctl("lease", "revoke", id.toString(16));
    },
    async read(key) {
      const kv = await get(key);
      return kv && { value: Buffer.from(kv.value, "base64").toString(), expires: kv.lease !== undefined };
    },
    async gap(meanwhile) {
      await line.cut();
      await meanwhile();
      const { revision } = JSON.parse(await etcd.ctl("get", "--write-out=json", "x")).header;
      await etcd.ctl("compact", String(revision));
      await line.mend();
    },
    [Symbol.asyncDispose]: async () => {},
  };
});
