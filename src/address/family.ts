/** The two address families and the field names for values of each. */

import type { Family } from "./ip.ts";

/** The name of the field for one family, in records with a field for each. */
export type FamilyName = "ipv4" | "ipv6";

/** One family of addresses, by number and by name. */
export interface FamilyEntry {
  readonly family: Family;
  readonly name: FamilyName;
}

/** Both families, IPv4 first. Other tables of families derive from this one. */
export const FAMILIES: readonly FamilyEntry[] = [
  { family: 4, name: "ipv4" },
  { family: 6, name: "ipv6" },
];

/** "ipv4" for 4, "ipv6" for 6. */
export const familyName = (family: Family): FamilyName => (family === 4 ? "ipv4" : "ipv6");
