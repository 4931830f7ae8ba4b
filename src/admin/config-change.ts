/** What a new network config would do to the hosts that run with the old one. */

import { isDeepStrictEqual } from "node:util";
import type { BackendConfig, NetworkConfig } from "../config/network-config.ts";
import { isCompatible } from "../lease/allocation.ts";
import type { LeaseRecord } from "../lease/lease-admin.ts";
import { compareRecords, describeSubnet } from "./lease-text.ts";

/** How many leases are named. */
const MAX_NAMED = 5;

/**
 * Why hosts that hold `records` cannot follow from `before` (undefined = there was no usable one) to `after` without
 * harm; empty = they can, at their next start.
 */
export function obstaclesToChange(
  before: NetworkConfig | undefined,
  after: NetworkConfig,
  records: readonly LeaseRecord[],
): string[] {
  const held = records.filter(({ subnets }) => subnets !== undefined);
  if (held.length === 0) return [];
  const obstacles: string[] = [];
  const misfits = held.filter((record) => !fits(after, record)).sort(compareRecords);
  if (misfits.length > 0) {
    const named = misfits.slice(0, MAX_NAMED).map(describeSubnet).join(", ");
    const more = misfits.length > MAX_NAMED ? ", …" : "";
    obstacles.push(
      `${misfits.length} of ${held.length} leases do not fit it (${named}${more}): their hosts get other subnets, and their containers other addresses`,
    );
  }
  const change = before === undefined ? undefined : describeBackendChange(before.backend, after.backend);
  if (change !== undefined) {
    obstacles.push(
      `${change}: hosts with the old and with the new one do not reach each other until flanneld has been restarted on all of them`,
    );
  }
  return obstacles;
}

function fits(network: NetworkConfig, { subnets }: LeaseRecord): boolean {
  return (["ipv4", "ipv6"] as const).every((family) => {
    const config = network[family];
    const subnet = subnets?.[family];
    return config === undefined || subnet === undefined ? config === subnet : isCompatible(config, subnet);
  });
}

/** Undefined = nothing changes. Values are not shown: there may be a key among them. */
function describeBackendChange(before: BackendConfig, after: BackendConfig): string | undefined {
  if (before.type !== after.type) return `the backend changes from ${before.type} to ${after.type}`;
  const members = (backend: BackendConfig): Record<string, unknown> =>
    Object.fromEntries(Object.entries(backend.members).map(([name, value]) => [name.toLowerCase(), value]));
  const [old, now] = [members(before), members(after)];
  const changed = [...new Set([...Object.keys(old), ...Object.keys(now)])].filter(
    (name) => !isDeepStrictEqual(old[name], now[name]),
  );
  return changed.length === 0 ? undefined : `Backend changes (${changed.join(", ")})`;
}
