/** The suite on the embedded store, through our own etcd client; stores reach it through a line that can be cut. */

import { after, before } from "node:test";
import { createClient } from "@connectrpc/connect";
import { createGrpcTransport } from "@connectrpc/connect-node";
import { silentLogger } from "../../src/base/logger.ts";
import { KV, Lease } from "../../src/etcd-api/rpc_pb.ts";
import { type RunningStore, startEmbedded } from "../support/embedded.ts";
import { openEtcdStore } from "../support/etcd-store.ts";
import { startTcpProxy, type TcpProxy } from "../support/tcp-proxy.ts";
import { describeLeaseStore } from "./lease-store.suite.ts";

let embedded: RunningStore;
let line: TcpProxy;
before(async () => {
  embedded = await startEmbedded();
  line = await startTcpProxy(Number(new URL(embedded.endpoint).port));
});
after(async () => {
  await line[Symbol.asyncDispose]();
  await embedded[Symbol.asyncDispose]();
});

let networks = 0;

describeLeaseStore("embedded", async () => {
  const prefix = `/coreos.com/network-${++networks}`;
  const pathOf = (key: string) => Buffer.from(`${prefix}/subnets/${key}`);
  const transport = createGrpcTransport({ baseUrl: embedded.endpoint });
  const kv = createClient(KV, transport);
  const lease = createClient(Lease, transport);
  const get = async (key: string) => (await kv.range({ key: pathOf(key) })).kvs[0];
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
    writeConfig: async (text) =>
      void (await kv.put({ key: Buffer.from(`${prefix}/config`), value: Buffer.from(text) })),
    write: async (key, value) => void (await kv.put({ key: pathOf(key), value: Buffer.from(value) })),
    remove: async (key) => void (await kv.deleteRange({ key: pathOf(key) })),
    revoke: async (key) => void (await lease.leaseRevoke({ ID: (await get(key))!.lease })),
    async read(key) {
      const found = await get(key);
      return found && { value: Buffer.from(found.value).toString(), expires: found.lease !== 0n };
    },
    async gap(meanwhile) {
      await line.cut();
      await meanwhile();
      const { header } = await kv.range({ key: Buffer.from("x") });
      await kv.compact({ revision: header!.revision });
      await line.mend();
    },
    [Symbol.asyncDispose]: async () => {},
  };
});
