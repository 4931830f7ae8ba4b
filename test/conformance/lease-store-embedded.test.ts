/** The suite on the embedded store, through flanneld's own etcd client. */

import { createClient } from "@connectrpc/connect";
import { createGrpcTransport } from "@connectrpc/connect-node";
import { KV, Lease } from "../../src/etcd-api/rpc_pb.ts";
import { startEmbedded } from "../support/embedded.ts";
import { openEtcdStore } from "../support/etcd-store.ts";
import { describeKeyStore } from "./key-store-harness.ts";

describeKeyStore("embedded", startEmbedded, openEtcdStore, ({ endpoint }) => {
  const transport = createGrpcTransport({ baseUrl: endpoint });
  const kv = createClient(KV, transport);
  const lease = createClient(Lease, transport);
  const get = async (key: string) => (await kv.range({ key: Buffer.from(key) })).kvs[0];
  return {
    put: (key, value) => kv.put({ key: Buffer.from(key), value: Buffer.from(value) }),
    remove: (key) => kv.deleteRange({ key: Buffer.from(key) }),
    revoke: async (key) => lease.leaseRevoke({ ID: (await get(key))!.lease }),
    async read(key) {
      const found = await get(key);
      return found && { value: Buffer.from(found.value).toString(), expires: found.lease !== 0n };
    },
    async discardHistory() {
      const { header } = await kv.range({ key: Buffer.from("x") });
      await kv.compact({ revision: header!.revision });
    },
  };
});
