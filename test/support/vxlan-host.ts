/** A host of a vxlan network, as the tests of stores join it: what it publishes, and that as a value in etcd. */

import { parseIp } from "../../src/address/ip.ts";
import { parseNetworkConfig } from "../../src/config/network-config.ts";
import type { LeaseAttributes, OwnLease } from "../../src/lease/lease.ts";
import type { LeaseStore } from "../../src/lease/lease-store.ts";

export const VXLAN_NETWORK = parseNetworkConfig('{"Network":"10.5.0.0/16","Backend":{"Type":"vxlan"}}');

const vxlanAttributes = (publicIp: string): LeaseAttributes => ({
  publicIp: parseIp(publicIp),
  publicIpv6: undefined,
  backendType: "vxlan",
  backendData: { VNI: 1, VtepMAC: "c6:d2:32:6f:8f:44" },
  backendV6Data: undefined,
});

/** The host of most tests. */
export const VXLAN_ATTRIBUTES = vxlanAttributes("192.168.64.3");

/** {@link VXLAN_ATTRIBUTES} as Go flannel writes them. */
export const VXLAN_VALUE =
  '{"PublicIP":"192.168.64.3","PublicIPv6":null,"BackendType":"vxlan","BackendData":{"VNI":1,"VtepMAC":"c6:d2:32:6f:8f:44"}}';

/** The lease that a host with this public IP gets in the network of the store's config. */
export async function acquireAs(store: LeaseStore, publicIp: string): Promise<OwnLease> {
  const network = parseNetworkConfig(await store.readNetworkConfig());
  return store.acquire({ network, attributes: vxlanAttributes(publicIp), previous: undefined });
}
