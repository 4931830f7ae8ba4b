/** The two families of addresses, by the names under which host, config, leases and attributes keep them. */

import type { Family } from "../address/ip.ts";
import type { NetworkFamilies } from "../config/network-config.ts";

export interface FamilyNames {
  readonly family: Family;
  /** In Host, NetworkFamilies and SubnetPair. */
  readonly name: "ipv4" | "ipv6";
  /** In Host and LeaseAttributes. */
  readonly publicName: "publicIp" | "publicIpv6";
  /** In PublishedData and LeaseAttributes. */
  readonly dataName: "backendData" | "backendV6Data";
}

const FAMILIES: readonly FamilyNames[] = [
  { family: 4, name: "ipv4", publicName: "publicIp", dataName: "backendData" },
  { family: 6, name: "ipv6", publicName: "publicIpv6", dataName: "backendV6Data" },
];

/** The families that the network config enables: one or both, IPv4 first. */
export const familiesOf = (network: NetworkFamilies): readonly FamilyNames[] =>
  FAMILIES.filter(({ name }) => network[name] !== undefined);

/** A message that concerns one family: its name is said where there are two. */
export const labelled = (enabled: readonly FamilyNames[], family: Family, message: string): string =>
  enabled.length > 1 ? `IPv${family}: ${message}` : message;
