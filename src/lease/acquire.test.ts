/** What the algorithm does when it loses; what it does when it wins is in the conformance suite of the stores. */

import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { parseIp } from "../address/ip.ts";
import { parsePrefix } from "../address/prefix.ts";
import { hasCode } from "../base/error.ts";
import { silentLogger } from "../base/logger.ts";
import { parseNetworkConfig } from "../config/network-config.ts";
import { acquireLease, type LeaseWriter, type StoredLease } from "./acquire.ts";
import type { OwnLease, SubnetPair } from "./lease.ts";
import { decodeLeaseKey, encodeLeaseKey } from "./lease-codec.ts";

const network = parseNetworkConfig('{"Network":"10.5.0.0/16","Backend":{"Type":"vxlan"}}');
const attributes = {
  publicIp: parseIp("192.168.0.1"),
  publicIpv6: undefined,
  backendType: "vxlan",
  backendData: undefined,
  backendV6Data: undefined,
};

const stored = (key: string, isOurs: boolean): StoredLease => ({
  key,
  subnets: decodeLeaseKey(key) as SubnetPair,
  attributes: { ...attributes, publicIp: parseIp(isOurs ? "192.168.0.1" : "192.168.0.9") },
});

const won = (subnets: SubnetPair): OwnLease => ({
  key: encodeLeaseKey(subnets),
  subnets,
  attributes,
  expiresAtMs: 1,
});

const acquire = (writer: Partial<LeaseWriter<StoredLease>>) =>
  acquireLease(
    {
      list: async () => [],
      create: async (subnets) => won(subnets),
      refresh: async (lease) => won(lease.subnets),
      remove: async () => true,
      ...writer,
    },
    { network, attributes, previous: undefined },
    () => 0,
    silentLogger,
  );

describe("acquiring a lease", () => {
  it("F11 draws no subnet that the host uses itself, unless no other is free, and keeps its own", async () => {
    const draw = async (avoid: string[], previous?: string, size = 24) => {
      const { key } = await acquireLease(
        {
          list: async () => [],
          create: async (subnets) => won(subnets),
          refresh: async (lease: StoredLease) => won(lease.subnets),
          remove: async () => true,
        },
        {
          network: parseNetworkConfig(`{"Network":"10.5.0.0/${size}","SubnetLen":${size + 2}}`),
          attributes,
          previous: previous === undefined ? undefined : { ipv4: parsePrefix(previous), ipv6: undefined },
          avoid: avoid.map((text) => parsePrefix(text)!),
        },
        () => 0,
        silentLogger,
      );
      return key;
    };
    assert.equal(await draw([]), "10.5.0.64-26");
    assert.equal(await draw(["10.5.0.64/26"]), "10.5.0.128-26");
    assert.equal(await draw(["10.5.0.70/32", "10.5.0.0/25"]), "10.5.0.128-26");
    assert.equal(await draw(["10.5.0.64/26"], "10.5.0.64/26"), "10.5.0.64-26");
    assert.equal(await draw(["10.5.0.0/25", "10.5.0.128/25"]), "10.5.0.64-26");
  });

  it("W4 the loser of a race looks again and takes another subnet", async () => {
    const leases: StoredLease[] = [];
    const lease = await acquire({
      list: async () => [...leases],
      async create(subnets) {
        if (leases.length === 3) return won(subnets);
        leases.push(stored(encodeLeaseKey(subnets), false)); // another host was faster
        return undefined;
      },
    });
    assert.equal(lease.key, "10.5.4.0-24");
  });

  it("W4 gives up for now after ten lost races, with an error that can be retried", async () => {
    let tries = 0;
    await assert.rejects(
      acquire({
        async create() {
          tries++;
          return undefined;
        },
      }),
      (error) => hasCode(error, "CONFLICT"),
    );
    assert.equal(tries, 10);
  });

  it("takes a lease that turns up as its own after an answer was lost", async () => {
    let lists = 0;
    const lease = await acquire({
      list: async () => (lists++ === 0 ? [] : [stored("10.5.1.0-24", true)]),
      create: async () => undefined,
    });
    assert.equal(lease.key, "10.5.1.0-24");
  });

  it("looks again when its lease changes or ends while it is being refreshed", async () => {
    let lists = 0;
    const lease = await acquire({
      list: async () => (lists++ === 0 ? [stored("10.5.7.0-24", true)] : []),
      refresh: async () => undefined,
    });
    assert.equal(lease.key, "10.5.1.0-24");
  });

  it("creates nothing while a lease that does not fit could not be deleted", async () => {
    let lists = 0;
    const lease = await acquire({
      list: async () => [stored(lists++ === 0 ? "10.5.7.0-25" : "10.5.7.0-24", true)],
      remove: async () => false,
      create: async () => assert.fail("must look again first"),
    });
    assert.equal(lease.key, "10.5.7.0-24");
  });
});
