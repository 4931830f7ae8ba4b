/** The enabled families of a network, with the fields of host and lease that belong to each. */

import { FAMILIES, type FamilyEntry, type FamilyName } from "../address/family.ts";
import type { Family } from "../address/ip.ts";
import type { NetworkFamilies } from "../config/network-config.ts";

/** A family, and the names of its fields. `name` is that in Host, NetworkFamilies and SubnetPair. */
export interface FamilyFields extends FamilyEntry {
  /** In Host and LeaseAttributes. */
  readonly publicName: "publicIp" | "publicIpv6";
  /** In PublishedData and LeaseAttributes. */
  readonly dataName: "backendData" | "backendV6Data";
}

const FIELDS: Readonly<Record<FamilyName, Pick<FamilyFields, "publicName" | "dataName">>> = {
  ipv4: { publicName: "publicIp", dataName: "backendData" },
  ipv6: { publicName: "publicIpv6", dataName: "backendV6Data" },
};

/** The families that the network config enables: one or both, IPv4 first. */
export const familiesOf = (network: NetworkFamilies): readonly FamilyFields[] =>
  FAMILIES.filter(({ name }) => network[name] !== undefined).map((entry) => ({
    ...entry,
    ...FIELDS[entry.name],
  }));

/** A message about one family, which names the family where two are enabled. */
export const labelled = (enabled: readonly FamilyEntry[], family: Family, message: string): string =>
  enabled.length > 1 ? `IPv${family}: ${message}` : message;
