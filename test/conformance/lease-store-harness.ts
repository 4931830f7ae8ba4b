/**
 * What the tests of every {@link LeaseStore} have in common: the harness of an implementation, networks, and hosts made of a
 * number: host 7 has the public address 192.168.0.7.
 */

import { it } from "node:test";
import { parseIp } from "../../src/address/ip.ts";
import { parsePrefix } from "../../src/address/prefix.ts";
import type { Logger } from "../../src/base/logger.ts";
import { type NetworkConfig, parseNetworkConfig } from "../../src/config/network-config.ts";
import type { Lease, LeaseAttributes, SubnetPair } from "../../src/lease/lease.ts";
import type { LeaseStore } from "../../src/lease/lease-store.ts";

interface StoreOptions {
  readonly logger?: Logger;
  readonly ttlSeconds?: number;
}

export interface LeaseStoreHarness extends AsyncDisposable {
  /** Opens the store as one more host does. */
  open(options?: StoreOptions): LeaseStore | Promise<LeaseStore>;
  /** Writes the network config. */
  writeConfig(text: string): Promise<void>;
  /** Writes a key under `subnets/` without a TTL, as an operator does. */
  write(key: string, value: string): Promise<void>;
  remove(key: string): Promise<void>;
  /** A key's value, and whether it will expire. */
  read(key: string): Promise<{ readonly value: string; readonly expires: boolean } | undefined>;
  /** Ends the life of a key before its time. */
  revoke(key: string): Promise<void>;
  /** Runs `meanwhile` while no watch sees anything and so that no watch can catch up with single changes. */
  gap(meanwhile: () => Promise<void>): Promise<void>;
}

export const NETWORK = parseNetworkConfig('{"Network":"10.5.0.0/16","Backend":{"Type":"vxlan"}}');
/** Subnets 10.5.0.64, .128 and .192. */
export const SMALL_NETWORK = parseNetworkConfig('{"Network":"10.5.0.0/24","Backend":{"Type":"vxlan"}}');
export const IPV6_NETWORK = parseNetworkConfig(
  '{"EnableIPv4":false,"EnableIPv6":true,"IPv6Network":"fc00::/48","Backend":{"Type":"vxlan"}}',
);
export const DUAL_NETWORK = parseNetworkConfig(
  '{"Network":"10.5.0.0/16","EnableIPv6":true,"IPv6Network":"fc00::/48","Backend":{"Type":"vxlan"}}',
);

export const attributesOf = (
  host: number,
  mac = `02:00:00:00:00:${host.toString(16).padStart(2, "0")}`,
): LeaseAttributes => ({
  publicIp: parseIp(`192.168.0.${host}`),
  publicIpv6: undefined,
  backendType: "vxlan",
  backendData: { VNI: 1, VtepMAC: mac },
  backendV6Data: undefined,
});

export const withIpv6 = (host: number, hasIpv4 = true): LeaseAttributes => ({
  ...attributesOf(host),
  ...(!hasIpv4 && { publicIp: undefined }),
  publicIpv6: parseIp(`fd00::${host}`),
  backendV6Data: { VNI: 1, VtepMAC: "02:00:00:00:06:01" },
});

export const acquire = (
  store: LeaseStore,
  host: number,
  network: NetworkConfig = NETWORK,
  previous?: SubnetPair,
) => store.acquire({ network, attributes: attributesOf(host), previous });

export const pair = (ipv4: string): SubnetPair => ({ ipv4: parsePrefix(ipv4), ipv6: undefined });

export const macOf = (lease: Lease | undefined) =>
  (lease?.attributes.backendData as { VtepMAC?: string } | undefined)?.VtepMAC;

type TestOn = (title: string, run: (harness: LeaseStoreHarness) => Promise<void>) => void;

export const testOn =
  (start: () => Promise<LeaseStoreHarness>): TestOn =>
  (title, run) =>
    it(title, async () => {
      await using harness = await start();
      await run(harness);
    });
