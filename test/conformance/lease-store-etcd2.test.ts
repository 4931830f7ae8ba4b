/** The suite on the v2 API of a real etcd. */

import { openEtcd2Store } from "../support/etcd-store.ts";
import { startEtcd2 } from "../support/etcd2.ts";
import { describeKeyStore } from "./key-store-harness.ts";

describeKeyStore("etcd v2", startEtcd2, openEtcd2Store, ({ ctl2, forget }) => {
  const get = async (key: string) => {
    const answer = await ctl2("--output", "json", "get", key).catch((error: Error) => {
      if (/Key not found/.test(error.message)) return undefined;
      throw error;
    });
    if (answer === undefined) return undefined;
    return JSON.parse(answer).node as { value: string; expiration?: string };
  };
  return {
    put: (key, value) => ctl2("set", key, "--", value),
    remove: (key) => ctl2("rm", key),
    revoke: async (key) => ctl2("update", "--ttl", "1", key, "--", (await get(key))!.value),
    async read(key) {
      const node = await get(key);
      return node && { value: node.value, expires: node.expiration !== undefined };
    },
    discardHistory: () => forget(),
  };
});
