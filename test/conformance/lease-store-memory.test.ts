import { createMemoryLeaseStore, MemoryDatastore } from "../../src/testing/memory-lease-store.ts";
import { describeLeaseStore } from "./lease-store.suite.ts";

describeLeaseStore("the fake", async () => {
  const data = new MemoryDatastore();
  return {
    open: ({ logger, ttlSeconds } = {}) =>
      createMemoryLeaseStore(data, {
        ...(logger && { logger }),
        ...(ttlSeconds !== undefined && { ttlMs: ttlSeconds * 1000 }),
      }),
    writeConfig: async (text) => data.setConfig(text),
    write: async (key, value) => void data.put(key, value),
    remove: async (key) => data.delete(key),
    revoke: async (key) => data.delete(key),
    async read(key) {
      const entry = data.entries.get(key);
      return entry && { value: entry.value, expires: entry.expiresAtMs !== undefined };
    },
    async gap(meanwhile) {
      data.cut();
      await meanwhile();
      data.reconnect();
    },
    [Symbol.asyncDispose]: async () => data[Symbol.dispose](),
  };
});
