/** What a host's start costs the etcd cluster, whatever the number of leases, and listings that need several pages. */

import assert from "node:assert/strict";
import { after, before, describe, it } from "node:test";
import { parseIp } from "../../src/address/ip.ts";
import { parseNetworkConfig } from "../../src/config/network-config.ts";
import { EtcdConnection } from "../../src/lease/etcd/etcd-connection.ts";
import { type EtcdOptions, readEtcdSettings } from "../../src/lease/etcd/etcd-options.ts";
import { toBytes } from "../../src/lease/etcd/etcd-range.ts";
import { createLeaseTable } from "../../src/lease/lease-table.ts";
import { type EtcdServer, startEtcd } from "../support/etcd.ts";
import { openEtcdStore } from "../support/etcd-store.ts";

const CONFIG = '{"Network":"10.0.0.0/8","Backend":{"Type":"vxlan"}}';
const LATE_PEER = "10.99.0.0-24";
const LATE_VALUE = '{"PublicIP":"192.168.0.2","PublicIPv6":null}';
const PASSWORD = "sehr-geheim";

let etcd: EtcdServer;
before(async () => {
  etcd = await startEtcd();
});
after(() => etcd[Symbol.asyncDispose]());

/** Writes leases of `count` hosts, a hundred to a transaction. */
async function fill(prefix: string, count: number): Promise<void> {
  const options: EtcdOptions = {
    endpoints: [etcd.endpoint],
    prefix,
    caFile: undefined,
    certFile: undefined,
    keyFile: undefined,
    username: undefined,
    password: undefined,
  };
  using connection = new EtcdConnection(readEtcdSettings(options));
  for (let first = 0; first < count; first += 100) {
    const success = Array.from({ length: Math.min(100, count - first) }, (_, index) => {
      const host = first + index;
      const key = toBytes(`${prefix}/subnets/10.${100 + (host >> 8)}.${host & 255}.0-24`);
      const value = toBytes(
        `{"PublicIP":"172.16.${host >> 8}.${host & 255}","PublicIPv6":null,"BackendType":"vxlan","BackendData":{"VNI":1,"VtepMAC":"02:00:00:00:00:01"}}`,
      );
      return { request: { case: "requestPut", value: { key, value } } } as const;
    });
    await connection.call(({ kv }, call) => kv.txn({ success }, call));
  }
}

/** All that a host does with its store until it knows every peer; how many requests it took and who is there. */
async function start(options: Partial<EtcdOptions>) {
  await using opened = openEtcdStore(etcd.endpoint, options);
  const { store } = opened;
  const network = parseNetworkConfig(await store.readNetworkConfig());
  const attributes = {
    publicIp: parseIp("192.168.0.1"),
    publicIpv6: undefined,
    backendType: "vxlan",
    backendData: { VNI: 1, VtepMAC: "02:00:00:00:00:99" },
    backendV6Data: undefined,
  };
  const own = await store.acquire({ network, attributes, previous: undefined });
  const table = createLeaseTable();
  const abort = new AbortController();
  for await (const update of store.watchLeases(abort.signal)) {
    table.apply(update);
    // A change that only the watch can tell of, so that all requests have been made.
    if (update.type === "snapshot")
      await etcd.ctl("put", `${options.prefix}/subnets/${LATE_PEER}`, LATE_VALUE);
    if (update.type === "put" && update.lease.key === LATE_PEER) abort.abort();
  }
  assert.notEqual(table.get(own.key), undefined);
  return { requests: store.requestCount, leases: table.size };
}

describe("a host's start", () => {
  it("W5 costs the same few requests with 10 and with 5,000 leases, first start and restart", async () => {
    for (const count of [10, 5_000]) {
      const prefix = `/flannel-${count}`;
      await etcd.ctl("put", `${prefix}/config`, CONFIG);
      await fill(prefix, count);
      assert.deepEqual(await start({ prefix }), { requests: 5, leases: count + 2 });
      assert.deepEqual(await start({ prefix }), { requests: 5, leases: count + 2 });
    }
  });

  it("reads more leases than fit a page, all as of one revision", async () => {
    const prefix = "/flannel-many";
    await etcd.ctl("put", `${prefix}/config`, CONFIG);
    await fill(prefix, 10_050);
    assert.deepEqual(await start({ prefix }), { requests: 6, leases: 10_052 });
  });

  it("W5 costs one request more with a password", async () => {
    const prefix = "/flannel-10";
    await etcd.enableAuth("flannel", PASSWORD, prefix);
    assert.deepEqual(await start({ prefix, username: "flannel", password: PASSWORD }), {
      requests: 6,
      leases: 12,
    });
  });
});
