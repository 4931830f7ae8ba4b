/**
 * Settings of the network config that running hosts cannot change, because all hosts agree on them from startup. Each difference reads like "Network 10.5.0.0/16 → 10.6.0.0/16".
 */

import { FAMILIES } from "../address/family.ts";
import { formatPrefix } from "../address/prefix.ts";
import type { NetworkFamilies } from "../config/network-config.ts";
import { FAMILY_RULES } from "../config/network-family.ts";
import type { Backend } from "./backend.ts";

/** The networks, and the type of the backend. */
export interface FixedSettings extends NetworkFamilies {
  readonly backend: { readonly type: string };
}

/** The differences in networks, subnet lengths and the type of the backend. */
export function fixedNetworkDifferences(before: FixedSettings, after: FixedSettings): string[] {
  const differences: string[] = [];
  const compare = (key: string, old: unknown, now: unknown) => {
    if (old !== now) differences.push(`${key} ${old} → ${now}`);
  };
  for (const { name } of FAMILIES) {
    const { enable, network, length } = FAMILY_RULES[name].keys;
    const [old, now] = [before[name], after[name]];
    compare(enable, old !== undefined, now !== undefined);
    if (old === undefined || now === undefined) continue;
    compare(network, formatPrefix(old.network), formatPrefix(now.network));
    compare(length, old.subnetLength, now.subnetLength);
  }
  compare("Backend.Type", before.backend.type, after.backend.type);
  return differences;
}

/** The differences between two backends of one type. */
export const fixedBackendDifferences = (before: Backend, after: Backend): string[] =>
  Object.entries(before.fixedMembers)
    .filter(([name, value]) => after.fixedMembers[name] !== value)
    .map(([name, value]) => `Backend.${name} ${value} → ${after.fixedMembers[name]}`);
