/** What the fake can do beyond what every store does (test/conformance): fail on demand. */

import assert from "node:assert/strict";
import { it } from "node:test";
import { hasCode, StoreError } from "../base/error.ts";
import { createMemoryLeaseStore, MemoryDatastore } from "./memory-lease-store.ts";

it("the fake store fails as often as requested", async () => {
  using data = new MemoryDatastore();
  data.setConfig("{}");
  await using store = createMemoryLeaseStore(data);
  data.failNext(
    new StoreError("UNAVAILABLE", "no etcd"),
    new StoreError("UNAUTHENTICATED", "wrong password"),
  );
  await assert.rejects(store.readNetworkConfig(), (error) => hasCode(error, "UNAVAILABLE"));
  await assert.rejects(store.readNetworkConfig(), (error) => hasCode(error, "UNAUTHENTICATED"));
  assert.equal(await store.readNetworkConfig(), "{}");
});
