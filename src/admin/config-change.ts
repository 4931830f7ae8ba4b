/** The effect of a new network config on the hosts that run with the old one. */

import { fixedBackendDifferences, fixedNetworkDifferences } from "../backend/fixed-settings.ts";
import type { NetworkFamilies } from "../config/network-config.ts";
import { isCompatiblePair } from "../lease/allocation.ts";
import type { SubnetPair } from "../lease/lease.ts";
import type { LeaseRecord } from "../lease/lease-admin.ts";
import type { ConfigReport } from "./config-report.ts";
import { compareRecords, describeSubnet } from "./lease-text.ts";

/** How many leases a message names. */
const MAX_NAMED = 5;

/**
 * Why hosts with these leases cannot change from `before` to `after` without harm; empty = they can. A config with faults
 * is not compared: no host runs it.
 */
export function obstaclesToChange(
  before: ConfigReport,
  after: ConfigReport,
  records: readonly LeaseRecord[],
): string[] {
  const { network } = after;
  const held = records.filter(({ subnets }) => subnets !== undefined);
  if (network === undefined || held.length === 0) return [];
  const obstacles: string[] = [];
  const misfits = held.filter((record) => !fits(network, record)).sort(compareRecords);
  if (misfits.length > 0) {
    const named = misfits.slice(0, MAX_NAMED).map(describeSubnet).join(", ");
    const more = misfits.length > MAX_NAMED ? ", …" : "";
    obstacles.push(
      `${misfits.length} of ${held.length} leases do not fit it (${named}${more}): their hosts get other subnets at the next start of flanneld, and their containers other addresses`,
    );
  }
  const differences = differencesOf(before, after);
  if (differences.length > 0) {
    obstacles.push(
      `${differences.join(", ")}: running hosts keep the old value and do not reach those with the new one until flanneld is restarted on all of them`,
    );
  }
  return obstacles;
}

function differencesOf(before: ConfigReport, after: ConfigReport): string[] {
  if (before.network === undefined || after.network === undefined) return [];
  const differences = fixedNetworkDifferences(before.network, after.network);
  if (before.backend?.type === after.backend?.type && before.backend && after.backend) {
    differences.push(...fixedBackendDifferences(before.backend, after.backend));
  }
  return differences;
}

const NO_SUBNETS: SubnetPair = { ipv4: undefined, ipv6: undefined };

const fits = (network: NetworkFamilies, { subnets = NO_SUBNETS }: LeaseRecord): boolean =>
  isCompatiblePair(network, subnets);
