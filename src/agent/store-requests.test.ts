import assert from "node:assert/strict";
import { test } from "node:test";
import { StoreError } from "../base/error.ts";
import type { LeaseStore } from "../lease/lease-store.ts";
import { formatMetrics } from "../status/metrics-text.ts";
import { RequestMetrics } from "../status/request-metrics.ts";
import { FakeTimers } from "../testing/fake-timers.ts";
import { causeOf } from "./drift-cause.ts";
import { countRequests } from "./store-requests.ts";

test("requests are counted by operation and result, and everything else of the store is as before", async () => {
  const timers = new FakeTimers();
  const requests = new RequestMetrics();
  class Store {
    readonly hasLocalConfig = true;
    readonly #config = "{}";
    fails = true;
    async readNetworkConfig() {
      if (this.fails) throw new StoreError("UNAVAILABLE", "etcd is unavailable");
      return this.#config;
    }
    async renew() {
      throw new Error("a defect");
    }
    *watchLeases() {
      yield this.#config;
    }
    async [Symbol.asyncDispose]() {}
  }
  const inner = new Store();
  const store = countRequests(inner as unknown as LeaseStore, requests, timers);
  await assert.rejects(store.readNetworkConfig(), /etcd is unavailable/);
  inner.fails = false;
  assert.equal(await store.readNetworkConfig(), "{}");
  await assert.rejects(store.renew({} as never, {} as never), /a defect/);
  assert.equal(store.hasLocalConfig, true);
  assert.equal(store.addressesChanged, undefined, "what a store lacks stays absent");
  assert.deepEqual([...(store.watchLeases(AbortSignal.abort()) as unknown as Iterable<string>)], ["{}"]);
  await store[Symbol.asyncDispose]();
  const text = formatMetrics(requests.metrics);
  const counts = text.match(/^flannel_datastore_requests_total\{.*$/gm);
  assert.deepEqual(counts, [
    'flannel_datastore_requests_total{operation="read_config",result="unavailable"} 1',
    'flannel_datastore_requests_total{operation="read_config",result="success"} 1',
    'flannel_datastore_requests_total{operation="renew_lease",result="error"} 1',
  ]);
  assert.match(text, /^flannel_datastore_request_duration_seconds_count\{operation="read_config"\} 2$/m);
  assert.match(text, /_bucket\{operation="renew_lease",le="0\.001"\} 1$/m);
});

test("only known programs are named as the cause of drift", () => {
  assert.equal(causeOf("NetworkManager (pid 812)"), "NetworkManager");
  assert.equal(causeOf("iptables-legacy (pid 3)"), "iptables-legacy");
  assert.equal(causeOf("xtables-nft-mul (pid 3)"), "xtables-nft-multi");
  assert.equal(causeOf("x (pid 1), nft (pid 2)"), "nft");
  for (const hostile of ['evil"} 1\nfake_total{a="', "a".repeat(99), "", "__proto__"])
    assert.equal(causeOf(`${hostile} (pid 1)`), "other");
  assert.equal(causeOf(undefined), "unknown");
});
