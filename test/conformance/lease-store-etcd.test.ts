/** The suite on a real etcd. */

import { startEtcd } from "../support/etcd.ts";
import { openEtcdStore } from "../support/etcd-store.ts";
import { describeKeyStore } from "./key-store-harness.ts";

describeKeyStore("etcd v3", startEtcd, openEtcdStore, ({ ctl }) => ({
  put: (key, value) => ctl("put", key, "--", value),
  remove: (key) => ctl("del", key),
  async revoke(key) {
    // JSON would round the id, which has 63 bits.
    const fields = await ctl("get", "--write-out=fields", key);
    const id = BigInt(/"Lease" : (\d+)/.exec(fields)![1]!);
    await ctl("lease", "revoke", id.toString(16));
  },
  async read(key) {
    const kv = JSON.parse(await ctl("get", "--write-out=json", key)).kvs?.[0] as
      | { value: string; lease?: number }
      | undefined;
    return kv && { value: Buffer.from(kv.value, "base64").toString(), expires: kv.lease !== undefined };
  },
  async discardHistory() {
    const { revision } = JSON.parse(await ctl("get", "--write-out=json", "x")).header;
    await ctl("compact", String(revision));
  },
}));
